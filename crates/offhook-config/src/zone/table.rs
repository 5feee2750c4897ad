//! `[[record]]`.

use std::net::IpAddr;

use offhook_model::{DomainName, Record, WireName};

use super::token::{Lexer, Token};
use super::{Base, Fault, RecordFacts, name, rdata, rtype, types};
use crate::Code;
use crate::read::read_non_empty;
use crate::report::{Report, Span, Spanned};
use crate::tree::{Field, Table, Value};

/// The records of all tables, and whether some could not be read.
pub(crate) fn read(tables: &[Table<'_>], zone: &DomainName, ttl: u32) -> (Vec<RecordFacts>, bool) {
    let zone = WireName::from(zone);
    let mut records = Vec::new();
    let mut bad = false;
    for table in tables {
        match one(table, &zone, ttl) {
            Some(some) => records.extend(some),
            None => bad = true,
        }
    }
    (records, bad)
}

/// The records of one table; none when anything about it is wrong.
fn one(table: &Table<'_>, zone: &WireName, ttl: u32) -> Option<Vec<RecordFacts>> {
    let rtype = table.required("type", "\"CNAME\"", |value| {
        let text = value.string_for("a string with a record type", None)?;
        reported(rdata::holdable(text, &value.span).and_then(unsigned), value)
    });
    let code = rtype.value().copied();
    let owner = table.required("name", "\"sip\"", |value| {
        let text = value.text()?;
        reported(owner(&text, code, zone), value)
    });
    let example = format!("\"{}\"", rdata::example(code.unwrap_or(types::CNAME)));
    let values = table.required("value", &example, |value| {
        let all = value.one_or_many(|item| {
            let text = item.string_for("a string with the record's data", None)?;
            reported(data(code?, text, zone), item)
        })?;
        read_non_empty(value, all)
    });
    let ttl = match table.field("ttl", |value| value.duration(0, i32::MAX as u64)) {
        Field::Good(ttl) => u32::try_from(ttl.value.as_secs()).ok(),
        Field::Absent => Some(ttl),
        Field::Bad => None,
    };
    table.finish();
    let (owner, rtype, ttl) = (owner.good()?, rtype.into_value()?, ttl?);
    let values = values.into_value()?;
    let record = |data: Spanned<Vec<u8>>| RecordFacts {
        record: Record {
            owner: owner.value.to_lowercase(),
            rtype,
            ttl,
            data: data.value.into(),
            origin: table.report.origin(&data.span),
        },
        file: None,
        span: data.span,
        owner_span: owner.span.clone(),
    };
    values.complete.then(|| values.items.into_iter().map(record).collect())
}

/// The value, when there is one; else the fault is reported, inside of the string where that is possible.
fn reported<T>(result: Result<T, Fault>, value: &Value<'_>) -> Option<T> {
    result
        .map_err(|fault| {
            let span = inside(value.report, value, &fault.span);
            value.report.push(fault.problem(&span));
        })
        .ok()
}

/// The place in the file of a place in a string, when the string stands there as it is.
fn inside(report: &Report, value: &Value<'_>, span: &Span) -> Span {
    let Some(text) = value.as_str() else { return value.span.clone() };
    let start = value.span.start + 1;
    let is_plain = report.source(&(start..value.span.end.saturating_sub(1))) == text;
    if is_plain && span.end <= text.len() && !text.is_empty() && *span != (0..text.len()) {
        start + span.start..start + span.end
    } else {
        value.span.clone()
    }
}

/// Types of a signature are of no use here.
fn unsigned(rtype: u16) -> Result<u16, Fault> {
    if rtype::is_of_a_signature(rtype) {
        let message = format!("{} records are not served", rtype::name_of_type(rtype));
        return Err(Fault::new(&(0..0), message, "zones are not signed here: leave it out")
            .of(Code::UnknownRecordType));
    }
    Ok(rtype)
}

/// The name of a record: completed with the zone, unless it ends in a dot, or is in the zone or a reverse zone
/// already. An address is its reverse name.
fn owner(text: &str, rtype: Option<u16>, zone: &WireName) -> Result<WireName, Fault> {
    if rtype == Some(types::PTR)
        && let Ok(address) = text.parse::<IpAddr>()
        && let Some(name) = reverse(address)
    {
        return Ok(name);
    }
    let token = Token { text, is_quoted: false, span: 0..text.len() };
    if text == "@" {
        return Ok(zone.clone());
    }
    let full = name::read(&token, &Base::Origin(WireName::root()))?;
    let is_full = (text.ends_with('.') && !text.ends_with("\\."))
        || full.is_within(zone)
        || ["in-addr", "ip6"].iter().any(|top| {
            WireName::from_labels([top.as_bytes(), b"arpa"]).is_some_and(|top| full.is_within(&top))
        });
    if is_full {
        return Ok(full);
    }
    full.below(zone).ok_or_else(|| {
        Fault::new(&token.span, format!("`{text}` is longer than a name can be"), "shorten it")
    })
}

/// The name under which an address is looked up.
pub(crate) fn reverse(address: IpAddr) -> Option<WireName> {
    let (mut labels, top): (Vec<String>, _) = match address {
        IpAddr::V4(address) => {
            (address.octets().iter().rev().map(u8::to_string).collect(), "in-addr")
        }
        IpAddr::V6(address) => {
            let nibbles = address.octets().into_iter().rev().flat_map(|o| [o & 15, o >> 4]);
            (nibbles.map(|nibble| format!("{nibble:x}")).collect(), "ip6")
        }
    };
    labels.extend([top.to_owned(), "arpa".to_owned()]);
    WireName::from_labels(labels.iter().map(String::as_bytes))
}

/// The data of a record. A TXT record's is the text itself unless it begins with a quote: nobody expects spaces
/// to part it.
fn data(rtype: u16, text: &str, zone: &WireName) -> Result<Vec<u8>, Fault> {
    if rtype == types::TXT && !text.trim_start().starts_with(['"', '\\']) {
        return Ok(rdata::texts_of(text));
    }
    let words = Lexer::words(text)?;
    let end = text.len()..text.len();
    rdata::read(rtype, &words, &end, &Base::Zone(zone.clone()))
}
