//! `[[phone]]`.

use std::net::Ipv4Addr;

use offhook_model::PhoneKey;

use crate::Code;
use crate::names::Names;
use crate::options::{Explicit, Level};
use crate::report::{Problem, Span, Spanned};
use crate::tree::{Field, Table, Value};

pub(crate) struct PhoneFacts {
    pub(crate) key: Option<Spanned<PhoneKey>>,
    pub(crate) name: Field<String>,
    pub(crate) class: Field<String>,
    pub(crate) address: Field<Ipv4Addr>,
    pub(crate) options: Vec<Explicit>,
    pub(crate) span: Span,
}

impl PhoneFacts {
    pub(crate) fn read(table: &Table<'_>, names: &Names) -> Self {
        let key = key(table);
        let facts = Self {
            key,
            name: table.field("name", Value::text),
            class: table.field("class", Value::text),
            address: table.field("address", Value::address),
            options: super::options(table, "[[phone]] options", Level::Phones, names),
            span: table.span.clone(),
        };
        table.finish();
        facts
    }
}

/// The one thing that a phone is known by. Circuit and remote end are one: a port of a switch.
fn key(table: &Table<'_>) -> Option<Spanned<PhoneKey>> {
    const KEYS: [&str; 5] = ["mac", "client_id", "circuit_id", "remote_id", "host_name"];
    let is_near = KEYS.iter().any(|key| table.has_near(key));
    table.expect(&KEYS);
    let fields = [
        table.field("mac", |value| value.mac().map(PhoneKey::Mac)),
        table.field("client_id", |value| {
            identifier(value, LONGEST_CLIENT_ID).map(PhoneKey::ClientId)
        }),
        table.field("circuit_id", |value| identifier(value, 255).map(PhoneKey::CircuitId)),
        table.field("remote_id", |value| identifier(value, 255).map(PhoneKey::RemoteId)),
        table.field("host_name", |value| host_name(value).map(PhoneKey::HostName)),
    ];
    if fields.iter().all(Field::is_absent) && !table.is_damaged() && !is_near {
        table.report.push(
            Problem::error(
                Code::MissingKey,
                &table.span,
                "this phone has no `mac`, `client_id`, `circuit_id`, `remote_id` or `host_name`",
            )
            .label("has no `mac`")
            .hint("add: mac = \"00:90:8f:12:34:56\""),
        );
    }
    let mut found: Option<(&str, Spanned<PhoneKey>)> = None;
    for (name, field) in KEYS.into_iter().zip(fields) {
        let Field::Good(key) = field else { continue };
        let Some((first, known)) = &mut found else {
            found = Some((name, key));
            continue;
        };
        if let (PhoneKey::CircuitId(circuit), PhoneKey::RemoteId(remote)) =
            (&known.value, &key.value)
        {
            known.value = PhoneKey::Port { remote: remote.clone(), circuit: circuit.clone() };
            continue;
        }
        table.report.push(
            Problem::error(
                Code::BadChoice,
                &key.span,
                format!("a phone is known by `{first}` or by `{name}`, not both"),
            )
            .label("one of the two is enough")
            .hint(format!("leave out `{name}`; to name the phone in logs, write name = \"…\"")),
        );
    }
    found.map(|(_, key)| key)
}

/// Option 61 may come in pieces (RFC 3396); the server takes it up to this length.
const LONGEST_CLIENT_ID: usize = 512;

/// Bytes as text, as `{ hex = "…" }`, or as hex with a colon after each byte; `most` of them.
fn identifier(value: &Value<'_>, most: usize) -> Option<Box<[u8]>> {
    let bytes = if value.is_table() {
        crate::options::hex_table(value)?
    } else {
        value.string_for("a string or { hex = \"…\" }", None)?;
        let text = value.text()?;
        let mut pairs = text.split(':');
        let is_pair = |pair: &str| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit());
        match text.contains(':') && pairs.all(is_pair) {
            true => value.hex()?,
            false => text.into_bytes(),
        }
    };
    if bytes.is_empty() || bytes.len() > most {
        value.bad(
            Code::OutOfRange,
            format!("an identifier of {} bytes cannot be sent", bytes.len()),
            format!("write 1 to {most} bytes"),
        );
        return None;
    }
    Some(bytes.into_boxed_slice())
}

/// The first label of a computer's name, lower case: what option 12 holds.
fn host_name(value: &Value<'_>) -> Option<String> {
    let name = value.domain()?;
    name.labels().next().map(str::to_owned)
}
