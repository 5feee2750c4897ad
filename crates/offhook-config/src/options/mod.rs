//! `options` tables: DHCP options by name or number, with typed values.

mod payload;
mod tables;
mod vendor;

use offhook_model::registry::{self, Kind};
use offhook_model::{OptionRule, Send};

use crate::Code;
use crate::names::Names;
use crate::report::{Problem, Report, Span, Spanned};
use crate::tree::{List, Table, Value};
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
    (51, "write `lease` in the scope or the class"),
    (52, "it follows from the size of the reply"),
    (53, "it follows from what the client sent"),
    (54, "it is the address of the interface"),
    (55, "clients send this one"),
    (57, "clients send this one"),
    (58, "write `renew` in the scope or the class"),
    (59, "write `rebind` in the scope or the class"),
    (61, "clients send this one"),
    (81, "it follows from what the client sent"),
    (82, "relays send this one"),
    (118, "clients send this one; `subnet_selection` in [dhcp] says whether it counts"),
];

/// Whether the server computes this option itself; reports it.
pub(crate) fn is_own(report: &Report, code: u8, span: &Span) -> bool {
    let Some((_, hint)) = OWN.iter().find(|(own, _)| *own == code) else { return false };
    report.push(
        Problem::error(
            Code::OptionNotSettable,
            span,
            format!("option {code} is not for the configuration to set"),
        )
        .label("the server takes care of it")
        .hint(*hint),
    );
    true
}

/// Reads a table of options; what is wrong is reported and kept as broken.
pub(crate) fn read(table: &Table<'_>, level: Level, names: &Names) -> Vec<Explicit> {
    let mut all: Vec<Explicit> = Vec::new();
    for (key, value) in table.all() {
        let Some(code) = code_of(table.report, &key) else { continue };
        if is_own(table.report, code, &key.span) {
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
        let is_text = value.as_ref().is_some_and(|value| is_text(value, code));
        let read = value.and_then(|value| rule(&value, code, level, names));
        let broken = read.is_none();
        let (bytes, send) = read.unwrap_or_else(|| (Vec::new(), default_send(code, level)));
        let origin = table.report.origin(&key.span);
        let value = bytes.into_boxed_slice();
        let (follows_time_zone, repeats_boot) = (names.known.asked_current(), false);
        let rule =
            OptionRule { code, value, send, is_text, follows_time_zone, repeats_boot, origin };
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
    if let Some(option) = registry::by_name(text) {
        return Some(option.code);
    }
    let name = text.to_ascii_lowercase().replace(['_', ' ', '/'], "-");
    let number = name.trim_start_matches("opt").trim_start_matches("ion").trim_matches(['-', '.']);
    let number = number.parse::<u8>().ok().filter(|code| (1..=254).contains(code));
    let number = number.map(|code| code.to_string());
    let near = number.as_deref().or_else(|| words::nearest(&name, registry::names()));
    let hint = match near {
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

/// Whether the payload is written as text where it may be anything.
fn is_text(value: &Value<'_>, code: u8) -> bool {
    fn is_written(value: &Value<'_>) -> bool {
        if !value.is_table() {
            return value.is_string();
        }
        let Some(table) = value.table("option value") else { return false };
        let is_its = |key| table.field(key, |value| Some(is_written(value))).into_value();
        ["text", "value"].into_iter().any(|key| is_its(key) == Some(true))
    }
    let kind = registry::by_code(code).map_or(Kind::Bytes, |option| option.kind);
    matches!(kind, Kind::Bytes | Kind::Suboptions) && is_written(value)
}

/// Payload and sending of one option.
fn rule(value: &Value<'_>, code: u8, level: Level, names: &Names) -> Option<(Vec<u8>, Send)> {
    let kind = registry::by_code(code).map_or(Kind::Bytes, |option| option.kind);
    let default = default_send(code, level);
    let (bytes, send) = match value.is_table() {
        true => table_rule(&Wanted { code, kind, names }, value, default)?,
        false => (payload::read(&Wanted { code, kind, names }, value)?, default),
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

/// `{ value = …, send = … }`, or a table that is the payload and may have `send` as well.
fn table_rule(wanted: &Wanted<'_>, value: &Value<'_>, default: Send) -> Option<(Vec<u8>, Send)> {
    let table = value.table("option value")?;
    let send = table.field("send", |value| value.choice(Code::BadChoice, &SENDS));
    let mut bytes = table.field("value", |value| payload::read(wanted, value));
    if bytes.is_absent() {
        bytes = tables::read(wanted, value, &table);
    }
    table.finish();
    if bytes.is_bad() || send.is_bad() {
        return None;
    }
    if bytes.is_absent() && send.value() != Some(&Send::Never) {
        if send.is_absent() {
            tables::nothing(value, &table);
        } else {
            value.report.push(
                Problem::error(Code::MissingKey, &value.span, "this option has no `value`")
                    .label("has no `value`")
                    .hint("add: value = …, or send = \"never\" to withhold the option"),
            );
        }
        return None;
    }
    Some((bytes.into_value().unwrap_or_default(), send.into_value().unwrap_or(default)))
}

/// What a value is for.
struct Wanted<'n> {
    code: u8,
    kind: Kind,
    names: &'n Names,
}

/// The values, when none was bad and there is one at all.
fn complete<T>(value: &Value<'_>, list: List<T>) -> Option<Vec<T>> {
    let list = crate::read_non_empty(value, list)?;
    list.complete.then(|| list.items.into_iter().map(|item| item.value).collect())
}

/// Bytes of `{ hex = "…" }` and nothing else.
pub(crate) fn hex_table(value: &Value<'_>) -> Option<Vec<u8>> {
    let table = value.table("bytes")?;
    let hex = table.required("hex", "\"00 00 36 3d\"", Value::hex);
    table.finish();
    hex.into_value()
}
