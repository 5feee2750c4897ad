//! Options with an inner form of their own: 78, 79, 120, 124 and 125.

use std::net::Ipv4Addr;

use offhook_model::DomainName;

use super::{Wanted, complete, payload, tables};
use crate::Code;
use crate::names::Names;
use crate::report::Spanned;
use crate::tree::{Field, Table, Value};

/// The byte in front of domain names (RFC 3361, 3.1).
const SIP_DOMAINS: u8 = 0;
/// The byte in front of addresses (RFC 3361, 3.2).
const SIP_ADDRESSES: u8 = 1;

/// SIP servers as addresses, or as domain names that clients look up by NAPTR and SRV; never both.
pub(super) fn sip_servers(value: &Value<'_>, names: &Names) -> Option<Vec<u8>> {
    enum Server {
        Address(Ipv4Addr),
        Domain(DomainName),
    }
    let server = |item: &Value<'_>| {
        let text = item.string_for("a string with an address or a domain name", None)?;
        if !text.contains(|c: char| c.is_alphabetic()) {
            return item.address().map(Server::Address);
        }
        let name = item.domain()?;
        // A bare name is one of the zone, as everywhere.
        let is_bare = name.labels().count() == 1 && !text.ends_with('.');
        let name = if is_bare { names.zone()?.qualify(text)? } else { name };
        Some(Server::Domain(name))
    };
    let list = value.one_or_many(server)?;
    let all = complete(value, list)?;
    let (mut addresses, mut domains) = (vec![SIP_ADDRESSES], vec![SIP_DOMAINS]);
    for server in &all {
        match server {
            Server::Address(address) => addresses.extend(address.octets()),
            Server::Domain(name) => domains.extend(payload::wire(name)),
        }
    }
    match (addresses.len() > 1, domains.len() > 1) {
        (true, true) => {
            value.bad(
                Code::BadChoice,
                "SIP servers are addresses or domain names, not both",
                "write one kind only; { addresses = [\"vm40ic1\"] } resolves names of hosts",
            );
            None
        }
        (true, false) => Some(addresses),
        (false, _) => Some(domains),
    }
}

/// `{ addresses = [ … ] }` or `{ domains = [ … ] }`.
pub(super) fn sip_table(value: &Value<'_>, table: &Table<'_>, names: &Names) -> Field<Vec<u8>> {
    let with = |first: u8, bytes: Vec<u8>| [vec![first], bytes].concat();
    if table.has("addresses") == table.has("domains") {
        if table.has("domains") {
            table.expect(&["addresses", "domains"]);
            value.bad(
                Code::BadChoice,
                "SIP servers are addresses or domain names, not both",
                "leave out `addresses` or `domains`",
            );
            return Field::Bad;
        }
        return Field::Absent;
    }
    let addresses = table.field("addresses", |value| {
        let all = payload::addresses(value, names)?;
        Some(with(SIP_ADDRESSES, payload::octets(&all)))
    });
    let domains = table.field("domains", |value| {
        let all = payload::domain_list(value)?;
        Some(with(SIP_DOMAINS, all.iter().flat_map(payload::wire).collect()))
    });
    if addresses.is_absent() { domains } else { addresses }
}

/// `{ mandatory = true, addresses = [ … ] }` (RFC 2610, section 3).
pub(super) fn directory_agents(table: &Table<'_>, names: &Names) -> Option<Vec<u8>> {
    let mandatory = table.field("mandatory", Value::boolean);
    let all = table.required("addresses", "[\"10.0.0.9\"]", |v| payload::addresses(v, names));
    let mandatory = u8::from(mandatory.into_value()?);
    Some([vec![mandatory], payload::octets(&all.into_value()?)].concat())
}

/// `{ mandatory = true, text = "a,b" }` (RFC 2610, section 4).
pub(super) fn service_scopes(table: &Table<'_>) -> Option<Vec<u8>> {
    let mandatory = table.field("mandatory", Value::boolean);
    let text = table.required("text", "\"default\"", Value::text);
    let mandatory = u8::from(mandatory.into_value()?);
    Some([vec![mandatory], text.into_value()?.into_bytes()].concat())
}

fn enterprise(table: &Table<'_>) -> Field<u32> {
    table.required("enterprise", "13885", |value| value.integer(1, u32::MAX.into()))
}

/// Data of a vendor in `hex` or `text`, as it stands.
fn raw(table: &Table<'_>) -> Field<Vec<u8>> {
    let hex = table.field("hex", Value::hex);
    let text = table.field("text", |v| v.string().map(|text| text.as_bytes().to_vec()));
    if hex.is_absent() { text } else { hex }
}

/// `{ enterprise = 9, classes = ["a", { hex = "…" }] }`: the number, and each class after its length.
pub(super) fn classes(value: &Value<'_>, table: &Table<'_>) -> Option<Vec<u8>> {
    let enterprise = enterprise(table);
    let classes = table.field("classes", |value| {
        let list = value.one_or_many(|item| {
            let bytes = match item.is_table() {
                true => super::hex_table(item)?,
                false => item.text()?.into_bytes(),
            };
            let Ok(len) = u8::try_from(bytes.len()) else {
                too_long(item);
                return None;
            };
            Some([vec![len], bytes].concat())
        })?;
        Some(complete(value, list)?.concat())
    });
    let data = if classes.is_absent() { raw(table) } else { classes };
    let data = stated(value, table, data, "classes", "classes = [\"…\"]")?;
    in_blocks(value, enterprise.into_value()?, &[data])
}

/// `{ enterprise = 1234, options = { 1 = "text", 2 = { hex = "…" } } }`.
pub(super) fn options(
    value: &Value<'_>,
    table: &Table<'_>,
    wanted: &Wanted<'_>,
) -> Option<Vec<u8>> {
    let enterprise = enterprise(table);
    let options = table.field("options", |value| tables::parts(wanted, value)?.into_parts());
    let data = match options {
        Field::Absent => match raw(table) {
            Field::Good(data) => Field::Good(Spanned::new(vec![data.value], data.span)),
            Field::Bad => Field::Bad,
            Field::Absent => Field::Absent,
        },
        options => options,
    };
    let data = stated(value, table, data, "options", "options = { 1 = \"…\" }")?;
    in_blocks(value, enterprise.into_value()?, &data)
}

/// The data; reports that there is none.
fn stated<T>(
    value: &Value<'_>,
    table: &Table<'_>,
    data: Field<T>,
    key: &str,
    example: &str,
) -> Option<T> {
    if data.is_absent() && !table.has_near(key) {
        value.bad(
            Code::MissingKey,
            "this enterprise has no data",
            format!("add: {example}, hex = \"…\" or text = \"…\""),
        );
    }
    data.into_value()
}

fn too_long(value: &Value<'_>) {
    value.bad(
        Code::OptionTooLong,
        "data of a vendor has at most 255 bytes",
        "shorten it, or split it into several sub-options",
    );
}

/// The enterprise number, the length and the data, again for each 255 bytes of data; a part is never split.
fn in_blocks(value: &Value<'_>, enterprise: u32, parts: &[Vec<u8>]) -> Option<Vec<u8>> {
    let mut blocks: Vec<Vec<u8>> = vec![Vec::new()];
    for part in parts {
        if part.len() > 255 {
            too_long(value);
            return None;
        }
        match blocks.last_mut() {
            Some(block) if block.len() + part.len() <= 255 => block.extend(part),
            _ => blocks.push(part.clone()),
        }
    }
    let block = |data: &Vec<u8>| {
        [&enterprise.to_be_bytes()[..], &[data.len() as u8], data.as_slice()].concat()
    };
    Some(blocks.iter().flat_map(block).collect())
}
