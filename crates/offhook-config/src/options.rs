//! `options` tables: DHCP options by name or number, with typed values.

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
use offhook_model::registry::{self, Kind};
use offhook_model::{DomainName, OptionRule, Send};

use crate::Code;
use crate::names::Names;
use crate::report::{Problem, Report, Span, Spanned};
use crate::tree::{Table, Value};
use crate::words;

/// One option that the file sets.
#[derive(Clone, Debug)]
pub(crate) struct Explicit {
    pub(crate) rule: OptionRule,
    /// The key.
    pub(crate) span: Span,
    /// The value could not be read; the rule stands for "something is set here".
    pub(crate) broken: bool,
}

/// Who an `options` table is for: whether vendors' options go out unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// The site or a scope.
    Everyone,
    /// A class or a phone.
    Phones,
}

/// No reply has room for more.
const LONGEST: usize = 1024;

/// Options that the server computes for every reply, and what to write instead.
const OWN: [(u8, &str); 13] = [
    (50, "clients send this one"),
    (51, "write `lease` in the scope"),
    (52, "it follows from the size of the reply"),
    (53, "it follows from what the client sent"),
    (54, "it is the address of the interface"),
    (55, "clients send this one"),
    (57, "clients send this one"),
    (58, "it follows from `lease` in the scope"),
    (59, "it follows from `lease` in the scope"),
    (60, "clients send this one; write `vendor_class` in a [[class]]"),
    (61, "clients send this one"),
    (81, "it follows from what the client sent"),
    (82, "relays send this one"),
];

/// Reads a table of options; what is wrong is reported and kept as broken.
pub(crate) fn read(table: &Table<'_>, level: Level, names: &Names) -> Vec<Explicit> {
    let mut all: Vec<Explicit> = Vec::new();
    for (key, value) in table.all() {
        let Some(code) = code_of(table.report, &key) else { continue };
        if let Some((_, hint)) = OWN.iter().find(|(own, _)| *own == code) {
            table.report.push(
                Problem::error(
                    Code::OptionNotSettable,
                    &key.span,
                    format!("option {code} is not for the configuration to set"),
                )
                .label("the server takes care of it")
                .hint(*hint),
            );
            continue;
        }
        if let Some(first) = all.iter().find(|other| other.rule.code == code) {
            table.report.push(
                Problem::error(Code::OptionTwice, &key.span, format!("option {code} is set twice"))
                    .label("the same option")
                    .related(&first.span, "first set here")
                    .hint("leave one of them out"),
            );
            continue;
        }
        let read = value.and_then(|value| rule(&value, code, level, names));
        let broken = read.is_none();
        let (bytes, send) = read.unwrap_or_else(|| (Vec::new(), default_send(code, level)));
        let origin = table.report.origin(&key.span);
        let rule = OptionRule { code, value: bytes.into_boxed_slice(), send, origin };
        all.push(Explicit { rule, span: key.span, broken });
    }
    all
}

/// Provisioning options of phones go out asked for or not; standard ones as asked.
fn default_send(code: u8, level: Level) -> Send {
    let of_a_vendor = matches!(code, 66 | 67) || code >= 128;
    if level == Level::Phones && of_a_vendor { Send::Always } else { Send::IfRequested }
}

/// The code of an option named by registry name or number; reports one that there is not.
pub(crate) fn code_of(report: &Report, key: &Spanned<&str>) -> Option<u8> {
    let text = key.value;
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        if let Ok(code @ 1..=254) = text.parse::<u8>() {
            return Some(code);
        }
        report.push(
            Problem::error(
                Code::UnknownOption,
                &key.span,
                format!("`{text}` is not an option code"),
            )
            .label("not an option code")
            .hint("option codes go from 1 to 254"),
        );
        return None;
    }
    let name = text.to_ascii_lowercase().replace('_', "-");
    if let Some(option) = registry::by_name(&name) {
        return Some(option.code);
    }
    let all = registry::OPTIONS.iter().map(|option| option.name);
    let hint = match words::nearest(&name, all) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "use the registry's name, as in `ntp-servers`, or the number".to_owned(),
    };
    report.push(
        Problem::error(Code::UnknownOption, &key.span, format!("unknown option `{text}`"))
            .label("no such option")
            .hint(hint),
    );
    None
}

const SENDS: [(&str, Send); 3] =
    [("always", Send::Always), ("if-requested", Send::IfRequested), ("never", Send::Never)];

/// Payload and sending of one option.
fn rule(value: &Value<'_>, code: u8, level: Level, names: &Names) -> Option<(Vec<u8>, Send)> {
    let default = default_send(code, level);
    let kind = registry::by_code(code).map_or(Kind::Bytes, |option| option.kind);
    let (bytes, send) = match value.is_table().then(|| value.table("option value")).flatten() {
        Some(table) if table.has("send") || table.has("value") => {
            let payload = table.field("value", |value| payload(value, code, kind, names));
            let send = table.field("send", |value| value.choice(Code::BadChoice, &SENDS));
            table.finish();
            if payload.is_bad() || send.is_bad() {
                return None;
            }
            let send = send.into_value().unwrap_or(default);
            if payload.is_absent() && send != Send::Never {
                value.report.push(
                    Problem::error(Code::MissingKey, &value.span, "this option has no `value`")
                        .label("has no `value`")
                        .hint("add: value = …, or send = \"never\" to withhold the option"),
                );
                return None;
            }
            (payload.into_value().unwrap_or_default(), send)
        }
        _ => (payload(value, code, kind, names)?, default),
    };
    if bytes.len() > LONGEST {
        value.bad(
            Code::OptionTooLong,
            format!("option {code} has {} bytes", bytes.len()),
            format!("at most {LONGEST} bytes fit into a reply"),
        );
        return None;
    }
    Some((bytes, send))
}

fn payload(value: &Value<'_>, code: u8, kind: Kind, names: &Names) -> Option<Vec<u8>> {
    if value.is_table() {
        return raw(value, names);
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
                return pairs(value, &all);
            }
            Some(octets(&all))
        }
        Kind::Bool => value.boolean().map(|value| vec![u8::from(value)]),
        Kind::U8 => value.integer::<u8>(0, u8::MAX.into()).map(|n| vec![n]),
        Kind::U16 => value.integer::<u16>(0, u16::MAX.into()).map(|n| n.to_be_bytes().to_vec()),
        Kind::U16List => {
            let list = value.one_or_many(|item| item.integer::<u16>(0, u16::MAX.into()))?;
            let list = complete(value, list)?;
            Some(list.iter().flat_map(|n| n.to_be_bytes()).collect())
        }
        Kind::U32 => {
            let seconds = value.duration(0, u32::MAX.into())?.as_secs();
            Some(u32::try_from(seconds).ok()?.to_be_bytes().to_vec())
        }
        Kind::I32 if code == 2 => crate::read_time_offset(value).map(|n| n.to_be_bytes().to_vec()),
        Kind::I32 => {
            value.integer::<i32>(i32::MIN.into(), i32::MAX.into()).map(|n| n.to_be_bytes().to_vec())
        }
        Kind::Text => text(value, code),
        Kind::Domains => {
            let list = value.one_or_many(Value::domain)?;
            Some(domains(&complete(value, list)?))
        }
        Kind::Routes => {
            let list = value.one_or_many(|item| route(item, names))?;
            Some(complete(value, list)?.concat())
        }
        Kind::Bytes => {
            if let Some(number) = value.as_integer() {
                let _ = number;
                value.wrong_type("a string or { hex = \"…\" }", None);
                return None;
            }
            value
                .string_for("a string or { hex = \"…\" }", None)
                .map(|text| text.as_bytes().to_vec())
        }
    }
}

/// The values, when none was bad and there is one at all.
fn complete<T>(value: &Value<'_>, list: crate::tree::List<T>) -> Option<Vec<T>> {
    let list = crate::read_non_empty(value, list)?;
    list.complete.then(|| list.items.into_iter().map(|item| item.value).collect())
}

fn text(value: &Value<'_>, code: u8) -> Option<Vec<u8>> {
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

fn addresses(value: &Value<'_>, names: &Names) -> Option<Vec<Ipv4Addr>> {
    let list = value.one_or_many(|item| names.resolve(item, Code::UnknownHost, "host"))?;
    Some(complete(value, list)?.concat())
}

fn octets(addresses: &[Ipv4Addr]) -> Vec<u8> {
    addresses.iter().flat_map(Ipv4Addr::octets).collect()
}

/// Options 21 and 33 hold pairs of addresses (RFC 2132, 4.3 and 5.8).
fn pairs(value: &Value<'_>, addresses: &[Ipv4Addr]) -> Option<Vec<u8>> {
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

/// `"10.1.0.0/16 via 10.0.0.1"` or `{ to = "10.1.0.0/16", via = "10.0.0.1" }`, as RFC 3442 writes it.
fn route(value: &Value<'_>, names: &Names) -> Option<Vec<u8>> {
    let form = "write \"10.1.0.0/16 via 10.0.0.1\"";
    let (to, via) = if value.is_table() {
        let table = value.table("route")?;
        let to = table.required("to", "\"10.1.0.0/16\"", Value::string);
        let via = table.required("via", "\"10.0.0.1\"", |value| {
            names.resolve(value, Code::UnknownHost, "host")
        });
        table.finish();
        (to.into_value()?.to_owned(), via.into_value()?.first().copied())
    } else {
        let text = value.string_for("a string with a route", None)?;
        let Some((to, via)) = text.split_once("via") else {
            value.bad(Code::BadRoute, format!("`{text}` is not a route"), form);
            return None;
        };
        (to.trim().to_owned(), via.trim().parse::<Ipv4Addr>().ok())
    };
    let subnet = if to == "default" { "0.0.0.0/0".parse() } else { to.parse::<Ipv4Network>() };
    let (Ok(subnet), Some(via), true) = (subnet, via, to == "default" || to.contains('/')) else {
        value.bad(Code::BadRoute, "this is not a route", form);
        return None;
    };
    let significant = usize::from(subnet.prefix()).div_ceil(8);
    let mut bytes = vec![subnet.prefix()];
    bytes.extend(subnet.network().octets().iter().take(significant));
    bytes.extend(via.octets());
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

/// `{ hex = "…" }`, `{ text = "…" }` or `{ suboptions = { … } }`.
fn raw(value: &Value<'_>, names: &Names) -> Option<Vec<u8>> {
    let table = value.table("option value")?;
    let hex = table.field("hex", Value::hex);
    let text = table.field("text", |value| value.string().map(|text| text.as_bytes().to_vec()));
    let sub = table.field("suboptions", |value| suboptions(value, names));
    // Known here, so that a misspelt `value` is found.
    let _ = table.field("value", |_| Some(()));
    let _ = table.field("send", |_| Some(()));
    table.finish();
    if hex.is_absent() && text.is_absent() && sub.is_absent() {
        if !["hex", "text", "suboptions", "value"].iter().any(|key| table.has_near(key)) {
            value.bad(
                Code::MissingKey,
                "this table says nothing about the option's payload",
                "write { hex = \"…\" }, { text = \"…\" }, { suboptions = { … } } or { value = … }",
            );
        }
        return None;
    }
    [hex, text, sub].into_iter().find_map(crate::tree::Field::into_value)
}

/// Bytes of `{ hex = "…" }` and nothing else.
pub(crate) fn hex_table(value: &Value<'_>) -> Option<Vec<u8>> {
    let table = value.table("bytes")?;
    let hex = table.required("hex", "\"00 00 36 3d\"", Value::hex);
    table.finish();
    hex.into_value()
}

/// Sub-options by number: code, length, payload each.
fn suboptions(value: &Value<'_>, names: &Names) -> Option<Vec<u8>> {
    let table = value.table("suboptions")?;
    let mut bytes = Vec::new();
    let mut good = true;
    for (key, value) in table.all() {
        let Ok(code @ 1..=254) = key.value.parse::<u8>() else {
            table.report.push(
                Problem::error(
                    Code::UnknownOption,
                    &key.span,
                    format!("`{}` is not a sub-option code", key.value),
                )
                .label("not a sub-option code")
                .hint("sub-options go by number, from 1 to 254"),
            );
            good = false;
            continue;
        };
        let payload = value.and_then(|value| {
            if value.is_table() { raw(&value, names) } else { Some(value.string()?.into()) }
        });
        match payload.as_deref().map(|payload| (u8::try_from(payload.len()), payload)) {
            Some((Ok(len), payload)) => {
                bytes.extend([code, len]);
                bytes.extend(payload);
            }
            Some((Err(_), _)) => {
                table.report.push(
                    Problem::error(
                        Code::OptionTooLong,
                        &key.span,
                        "a sub-option has at most 255 bytes",
                    )
                    .label("too long")
                    .hint("shorten it"),
                );
                good = false;
            }
            None => good = false,
        }
    }
    good.then_some(bytes)
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
