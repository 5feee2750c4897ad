//! `[tftp]`: what is granted, and whom, and what images are to be.

use ipnetwork::{IpNetwork, Ipv6Network};
use offhook_model::{Sha256, TftpLimits};

use super::network::non_empty;
use crate::Code;
use crate::report::Spanned;
use crate::tree::{Table, Value};

/// The names of code points: RFC 2474, 2597, 3246, 5865 and 8622.
const DSCP: [(&str, u8); 24] = [
    ("cs0", 0),
    ("le", 1),
    ("cs1", 8),
    ("af11", 10),
    ("af12", 12),
    ("af13", 14),
    ("cs2", 16),
    ("af21", 18),
    ("af22", 20),
    ("af23", 22),
    ("cs3", 24),
    ("af31", 26),
    ("af32", 28),
    ("af33", 30),
    ("cs4", 32),
    ("af41", 34),
    ("af42", 36),
    ("af43", 38),
    ("cs5", 40),
    ("voice-admit", 44),
    ("ef", 46),
    ("cs6", 48),
    ("cs7", 56),
    ("default", 0),
];

/// What the table says, and the defaults for the rest.
pub(super) fn limits(table: &Table<'_>) -> TftpLimits {
    let default = TftpLimits::default();
    let short = |key, least, most, default| {
        let field = table.field(key, |value| value.integer::<u16>(least, most));
        field.into_value().unwrap_or(default)
    };
    let long = |key, least, most, default| {
        let field = table.field(key, |value| value.integer::<u32>(least, most));
        field.into_value().unwrap_or(default)
    };
    let fragment = table.field("fragment", Value::boolean);
    let timeout = table.field("timeout", |value| value.millis(100, 60_000));
    let give_up = table.field("give_up", |value| value.duration(1, 3600));
    let dscp = table.field("dscp", dscp);
    let allow = table.field("allow", |value| non_empty(value, value.one_or_many(network)?));
    TftpLimits {
        block_size: short("block_size", 8, 65_464, default.block_size),
        fragment: fragment.into_value().unwrap_or(default.fragment),
        window: short("window", 1, 32_767, default.window),
        rollover: short("rollover", 0, 1, default.rollover),
        timeout: timeout.into_value().unwrap_or(default.timeout),
        retries: long("retries", 1, 100, default.retries),
        give_up: give_up.into_value().unwrap_or(default.give_up),
        transfers: long("transfers", 1, 60_000, default.transfers),
        transfers_per_client: long("transfers_per_client", 1, 60_000, default.transfers_per_client),
        dscp: dscp.into_value().unwrap_or(default.dscp),
        allow: allow
            .into_value()
            .map(|list| list.items.into_iter().map(|item| item.value).collect()),
    }
}

/// A differentiated services code point: a number, or the name of one.
pub(super) fn dscp(value: &Value<'_>) -> Option<u8> {
    if value.as_integer().is_some() {
        return value.integer(0, 63);
    }
    let Some(name) = value.as_str() else {
        value.wrong_type(
            "an integer or a name",
            "write a number from 0 to 63, or \"cs1\"".to_owned(),
        );
        return None;
    };
    let found = DSCP.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    if found.is_none() {
        value.bad(
            Code::BadChoice,
            format!("`{name}` is no differentiated services code point"),
            "write a number from 0 to 63, or one of cs0 to cs7, af11 to af43, ef, voice-admit and le",
        );
    }
    found.map(|(_, code)| *code)
}

/// A network of either family, or one address.
fn network(value: &Value<'_>) -> Option<IpNetwork> {
    let Some(text) = value.as_str().filter(|text| text.contains(':')) else {
        return value.network().map(IpNetwork::V4);
    };
    match text.parse::<Ipv6Network>() {
        Ok(network) if network.ip() == network.network() => Some(network.into()),
        Ok(network) => {
            let hint = format!("the network is \"{}/{}\"", network.network(), network.prefix());
            value.bad(Code::BadSubnet, format!("`{text}` is an address in a network"), hint);
            None
        }
        Err(_) => {
            let hint = "write address and prefix length, as in \"2001:db8:20::/64\"";
            value.bad(Code::BadSubnet, format!("`{text}` is not a network"), hint);
            None
        }
    }
}

/// Digests by name.
pub(super) fn images(table: &Table<'_>) -> Vec<(Spanned<String>, Sha256)> {
    let images = table.field("images", |value| {
        let table = value.table("[tftp] images")?;
        let mut all = Vec::new();
        for (name, value) in table.all() {
            let Some(digest) = value.and_then(|value| digest(&value, name.value)) else { continue };
            all.push((Spanned::new(name.value.to_owned(), name.span), digest));
        }
        Some(all)
    });
    images.into_value().unwrap_or_default()
}

fn digest(value: &Value<'_>, name: &str) -> Option<Sha256> {
    let text = value.string_for("a string of 64 hex digits", None)?;
    let digest = text.parse().ok();
    if digest.is_none() {
        value.bad(
            Code::BadHex,
            format!("`{text}` is not a SHA-256 digest"),
            format!("write the 64 hex digits that `sha256sum {name}` prints"),
        );
    }
    digest
}
