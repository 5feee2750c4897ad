//! Payloads by the kind of their option, from values that are no tables.

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
use offhook_model::DomainName;
use offhook_model::registry::Kind;

use super::{Wanted, complete, tables, vendor};
use crate::Code;
use crate::known::Offset;
use crate::names::Names;
use crate::tree::{Table, Value};

/// The payload that `value` says, in the form that the option's kind asks for.
pub(super) fn read(wanted: &Wanted<'_>, value: &Value<'_>) -> Option<Vec<u8>> {
    let Wanted { code, kind, names } = *wanted;
    if value.is_table() {
        return tables::alone(wanted, value);
    }
    match kind {
        Kind::Empty => match value.boolean()? {
            true => Some(Vec::new()),
            false => {
                value.bad(
                    Code::BadChoice,
                    "an option without payload is set by `true`",
                    "write true, or { send = \"never\" }",
                );
                None
            }
        },
        Kind::Address => match addresses(value, names)?.as_slice() {
            [mask] if code == 1 && mask.to_bits().leading_ones() != mask.to_bits().count_ones() => {
                value.bad(
                    Code::BadAddress,
                    format!("`{mask}` is not the mask of a subnet"),
                    "write one as in \"255.255.255.0\", or leave the option out: it follows from `subnet`",
                );
                None
            }
            [one] => Some(one.octets().to_vec()),
            _ => {
                value.bad(
                    Code::BadAddress,
                    format!("option {code} is one address"),
                    "write one address, or a name that has one",
                );
                None
            }
        },
        Kind::Addresses => {
            let all = addresses(value, names)?;
            if code == 33 || code == 21 {
                return pairs(value, code, &all);
            }
            Some(octets(&all))
        }
        Kind::Ipv6 => value.ipv6().map(|address| address.octets().to_vec()),
        Kind::Bool => value.boolean().map(|value| vec![u8::from(value)]),
        Kind::U8 => {
            let number = value.integer::<u8>(least(code), u8::MAX.into())?;
            one_of(value, code, number).map(|n| vec![n])
        }
        Kind::U8List => numbers(value, 1),
        Kind::U16 => {
            let number = value.integer::<u16>(least(code), u16::MAX.into())?;
            Some(number.to_be_bytes().to_vec())
        }
        Kind::U16List => {
            let most = i128::from(u16::MAX);
            let list = value.one_or_many(|item| item.integer::<u16>(least(code), most))?;
            Some(complete(value, list)?.into_iter().flat_map(u16::to_be_bytes).collect())
        }
        Kind::U32 => {
            let seconds = value.duration(0, u32::MAX.into())?.as_secs();
            Some(u32::try_from(seconds).ok()?.to_be_bytes().to_vec())
        }
        Kind::I32 if code == 2 => time_offset(value, names).map(|n| n.to_be_bytes().to_vec()),
        Kind::I32 => {
            value.integer::<i32>(i32::MIN.into(), i32::MAX.into()).map(|n| n.to_be_bytes().to_vec())
        }
        Kind::Text => text(value, code),
        Kind::Domains => domain_list(value).map(|all| domains(&all)),
        Kind::PlainDomains => {
            let all = domain_list(value)?;
            // RFC 5223, 8973 and 5986.
            if matches!(code, 137 | 147 | 213) && all.len() > 1 {
                let message = format!("option {code} is one domain name");
                value.bad(Code::BadName, message, "write one name");
                return None;
            }
            Some(all.iter().flat_map(wire).collect())
        }
        Kind::Routes => {
            let list = value.one_or_many(|item| route(item, names))?;
            Some(complete(value, list)?.concat())
        }
        Kind::SipServers => vendor::sip_servers(value, names),
        Kind::DirectoryAgents => Some([vec![0], octets(&addresses(value, names)?)].concat()),
        Kind::ServiceScopes => Some([vec![0], text(value, code)?].concat()),
        // A list of lists is several servers.
        Kind::PcpServer if value.elements().iter().any(Value::is_list) => {
            let list = value.one_or_many(|item| pcp_server(item, names))?;
            Some(complete(value, list)?.concat())
        }
        Kind::PcpServer => pcp_server(value, names),
        Kind::Uris => uris(value),
        Kind::VendorClasses | Kind::VendorOptions if value.is_list() => {
            let list = value.one_or_many(|item| tables::alone(wanted, item))?;
            Some(complete(value, list)?.concat())
        }
        Kind::Bytes | Kind::Suboptions | Kind::VendorClasses | Kind::VendorOptions => {
            untyped(value)
        }
    }
}

/// The number, where the option has no other values than it (RFC 2132, 8.7; RFC 2563, 2).
fn one_of(value: &Value<'_>, code: u8, number: u8) -> Option<u8> {
    let known: &[u8] = match code {
        46 => &[1, 2, 4, 8],
        116 => &[0, 1],
        _ => return Some(number),
    };
    if !known.contains(&number) {
        value.bad(
            Code::BadChoice,
            format!("`{number}` is no value of option {code}"),
            format!("write one of {}", crate::words::list(known)),
        );
        return None;
    }
    Some(number)
}

/// The least number that a client may be told (RFC 2132: 4.4, 4.5, 4.7, 5.1 and 7.1).
fn least(code: u8) -> i128 {
    match code {
        22 => 576,
        23 | 37 => 1,
        25 | 26 => 68,
        _ => 0,
    }
}

/// Text, a list of bytes, or a boolean: what needs no type to be told.
pub(super) fn untyped(value: &Value<'_>) -> Option<Vec<u8>> {
    if value.is_list() {
        if let Some(text) = value.elements().iter().find(|element| element.is_string()) {
            let hint = "say what it is a list of, as in { addresses = [\"10.0.0.11\"] } or { domains = [\"lab.voip\"] }";
            text.wrong_type("a byte from 0 to 255", Some(hint.to_owned()));
            return None;
        }
        return numbers(value, 1);
    }
    if value.is_boolean() {
        return value.boolean().map(|value| vec![u8::from(value)]);
    }
    let hint = value.as_integer().map(|number| {
        format!("say how wide it is, as in {{ u8 = {number} }}, or write text: \"{number}\"")
    });
    let text = value.string_for("a string or { hex = \"…\" }", hint)?;
    if text.is_empty() {
        let hint = "write something, or { hex = \"\" } if nothing is what is meant";
        value.bad(Code::EmptyValue, "this must not be empty", hint);
        return None;
    }
    Some(text.as_bytes().to_vec())
}

/// One unsigned number or several, each of `width` bytes.
pub(super) fn numbers(value: &Value<'_>, width: u32) -> Option<Vec<u8>> {
    let most = (1i128 << (8 * width)) - 1;
    let list = value.one_or_many(|item| item.integer::<u32>(0, most))?;
    let width = width as usize;
    let bytes = |n: &u32| n.to_be_bytes().into_iter().skip(4 - width);
    Some(complete(value, list)?.iter().flat_map(bytes).collect())
}

/// An offset from UTC, or which one of the site's time zone.
fn time_offset(value: &Value<'_>, names: &Names) -> Option<i32> {
    let which = match value.as_str() {
        Some("standard") => Offset::Standard,
        Some("current") => Offset::Current,
        Some(text) if let Some(near) = crate::words::nearest(text, ["standard", "current"]) => {
            value.bad(
                Code::BadTimeOffset,
                format!("`{text}` is not an offset from UTC"),
                format!("did you mean \"{near}\"?"),
            );
            return None;
        }
        _ => return crate::read_time_offset(value),
    };
    names.offset_of_option(value, which)
}

pub(super) fn text(value: &Value<'_>, code: u8) -> Option<Vec<u8>> {
    let hint = (code == 132)
        .then(|| value.as_integer())
        .flatten()
        .map(|vlan| format!("phones read the VLAN as text: \"{vlan}\""));
    value.string_for("a string", hint)?;
    let text = value.text()?;
    if code == 132 && !matches!(text.parse::<u16>(), Ok(1..=4094)) {
        value.bad(
            Code::OutOfRange,
            format!("`{text}` is not a VLAN"),
            "write a number from 1 to 4094 in quotes",
        );
        return None;
    }
    Some(text.into_bytes())
}

pub(super) fn addresses(value: &Value<'_>, names: &Names) -> Option<Vec<Ipv4Addr>> {
    let list = value.one_or_many(|item| names.resolve(item, Code::UnknownHost, "host"))?;
    Some(complete(value, list)?.concat())
}

pub(super) fn octets(addresses: &[Ipv4Addr]) -> Vec<u8> {
    addresses.iter().flat_map(Ipv4Addr::octets).collect()
}

/// Options 21 and 33 hold pairs of addresses (RFC 2132, 4.3 and 5.8).
fn pairs(value: &Value<'_>, code: u8, addresses: &[Ipv4Addr]) -> Option<Vec<u8>> {
    if code == 33 && addresses.iter().step_by(2).any(Ipv4Addr::is_unspecified) {
        value.bad(
            Code::BadAddress,
            "a static route does not lead to 0.0.0.0",
            "write `router` in the scope, or a \"default\" in `classless-static-route`",
        );
        return None;
    }
    if !addresses.len().is_multiple_of(2) {
        value.bad(
            Code::BadAddress,
            "this option is a list of pairs of addresses",
            "write an even number of addresses",
        );
        return None;
    }
    Some(octets(addresses))
}

const ROUTE_FORM: &str = "write \"10.1.0.0/16 via 10.0.0.1\"";

/// `"10.1.0.0/16 via 10.0.0.1"` or `{ to = "10.1.0.0/16", via = "10.0.0.1" }`, as RFC 3442 writes it.
fn route(value: &Value<'_>, names: &Names) -> Option<Vec<u8>> {
    if value.is_table() {
        let table = value.table("route")?;
        let route = route_table(&table, names);
        table.finish();
        return route;
    }
    let text = value.string_for("a string with a route", None)?;
    let mut words = text.split_whitespace();
    let (Some(to), Some("via"), Some(via), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        value.bad(Code::BadRoute, format!("`{text}` is not a route"), ROUTE_FORM);
        return None;
    };
    let via = names.resolve_text(value, via, Code::UnknownHost, "host");
    let first = via.and_then(|all| all.first().copied());
    // Read whether or not its other half could be.
    let route = route_bytes(value, to, first.unwrap_or(Ipv4Addr::UNSPECIFIED));
    first.and(route)
}

/// The keys `to` and `via` of a table, which the caller finishes.
pub(super) fn route_table(table: &Table<'_>, names: &Names) -> Option<Vec<u8>> {
    let via = table
        .required("via", "\"10.0.0.1\"", |value| names.resolve(value, Code::UnknownHost, "host"));
    let via = via.into_value().and_then(|all| all.first().copied());
    let to = table.required("to", "\"10.1.0.0/16\"", |value| {
        // Read whether or not `via` is there.
        route_bytes(value, value.string()?, via.unwrap_or(Ipv4Addr::UNSPECIFIED))
    });
    via.and(to.into_value())
}

fn route_bytes(value: &Value<'_>, to: &str, via: Ipv4Addr) -> Option<Vec<u8>> {
    let subnet = if to == "default" { "0.0.0.0/0".parse() } else { to.parse::<Ipv4Network>() };
    let (Ok(subnet), true) = (subnet, to == "default" || to.contains('/')) else {
        value.bad(Code::BadRoute, "this is not a route", ROUTE_FORM);
        return None;
    };
    let significant = usize::from(subnet.prefix()).div_ceil(8);
    let mut bytes = vec![subnet.prefix()];
    bytes.extend(subnet.network().octets().iter().take(significant));
    bytes.extend(via.octets());
    Some(bytes)
}

pub(super) fn domain_list(value: &Value<'_>) -> Option<Vec<DomainName>> {
    let list = value.one_or_many(Value::domain)?;
    complete(value, list)
}

/// A domain name in wire form, in full (RFC 1035, 3.1).
pub(super) fn wire(name: &DomainName) -> Vec<u8> {
    let labels = name.labels().flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
    labels.chain([0]).collect()
}

/// The addresses of one server, after their length in bytes (RFC 7291, section 4).
fn pcp_server(value: &Value<'_>, names: &Names) -> Option<Vec<u8>> {
    let all = octets(&addresses(value, names)?);
    let Ok(len) = u8::try_from(all.len()) else {
        value.bad(Code::OptionTooLong, "this server has too many addresses", "write at most 63");
        return None;
    };
    Some([vec![len], all].concat())
}

/// URIs, each after its length in two bytes (RFC 8572, 8.2).
fn uris(value: &Value<'_>) -> Option<Vec<u8>> {
    let list = value.one_or_many(Value::text)?;
    let mut bytes = Vec::new();
    for uri in complete(value, list)? {
        bytes.extend(u16::try_from(uri.len()).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend(uri.as_bytes());
    }
    Some(bytes)
}

/// Domain names in wire form; a name that ends as an earlier one does points there (RFC 3397).
fn domains(names: &[DomainName]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut seen: Vec<(String, u16)> = Vec::new();
    for name in names {
        let mut rest = name.as_str();
        loop {
            if let Some((_, offset)) = seen.iter().find(|(suffix, _)| suffix == rest) {
                bytes.extend((0xc000 | offset).to_be_bytes());
                break;
            }
            if let Ok(offset @ 0..0x4000) = u16::try_from(bytes.len()) {
                seen.push((rest.to_owned(), offset));
            }
            let (label, tail) = rest.split_once('.').unwrap_or((rest, ""));
            bytes.push(label.len() as u8);
            bytes.extend(label.as_bytes());
            if tail.is_empty() {
                bytes.push(0);
                break;
            }
            rest = tail;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domain_names_share_their_ends() {
        let names = ["lab.voip", "lab.local", "eng.lab.voip"].map(|name| name.parse().unwrap());
        assert_eq!(domains(&names), b"\x03lab\x04voip\0\x03lab\x05local\0\x03eng\xc0\x00");
    }
}
