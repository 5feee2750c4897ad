//! Payloads that are tables: bytes of a stated type, sub-options, and what belongs to one kind of option.

use offhook_model::registry::Kind;

use super::{Wanted, payload, vendor};
use crate::Code;
use crate::report::{Problem, Span};
use crate::tree::{Field, Table, Value};

/// A table that is a payload and nothing else.
pub(super) fn alone(wanted: &Wanted<'_>, value: &Value<'_>) -> Option<Vec<u8>> {
    let table = value.table("option value")?;
    let bytes = read(wanted, value, &table);
    table.finish();
    if bytes.is_absent() {
        nothing(value, &table);
    }
    bytes.into_value()
}

/// Reports a table without a payload.
pub(super) fn nothing(value: &Value<'_>, table: &Table<'_>) {
    // A key that is unknown is one mistake, not two.
    if table.is_empty() || table.has("send") && !table.has_unknown() {
        value.bad(
            Code::MissingKey,
            "this table says nothing about the option's payload",
            "write { hex = \"…\" }, { text = \"…\" }, { suboptions = { … } } or { value = … }",
        );
    }
}

/// The payload in `table`, which may have other keys as well; the caller finishes it.
pub(super) fn read(wanted: &Wanted<'_>, value: &Value<'_>, table: &Table<'_>) -> Field<Vec<u8>> {
    let own = match wanted.kind {
        Kind::Routes if table.has("to") || table.has("via") => {
            of_kind(value, payload::route_table(table, wanted.names))
        }
        Kind::SipServers => vendor::sip_table(value, table, wanted.names),
        Kind::VendorClasses if table.has("enterprise") || table.has("classes") => {
            of_kind(value, vendor::classes(value, table))
        }
        Kind::VendorOptions if table.has("enterprise") || table.has("options") => {
            of_kind(value, vendor::options(value, table, wanted))
        }
        Kind::DirectoryAgents if table.has("mandatory") => {
            of_kind(value, vendor::directory_agents(table, wanted.names))
        }
        Kind::ServiceScopes if table.has("mandatory") => {
            of_kind(value, vendor::service_scopes(table))
        }
        Kind::Suboptions => numbered(wanted, table),
        _ => Field::Absent,
    };
    if !own.is_absent() {
        return own;
    }
    let names = wanted.names;
    table.expect(&["u8", "u16", "u32", "i32"]);
    let of = |field: Field<Vec<u8>>, key: &'static str| (key, field);
    let all = [
        of(table.field("hex", Value::hex), "hex"),
        of(table.field("text", |v| v.string().map(|text| text.as_bytes().to_vec())), "text"),
        of(table.field("u8", |v| payload::numbers(v, 1)), "u8"),
        of(table.field("u16", |v| payload::numbers(v, 2)), "u16"),
        of(table.field("u32", |v| payload::numbers(v, 4)), "u32"),
        of(table.field("i32", signed), "i32"),
        of(
            table.field("addresses", |v| {
                payload::addresses(v, names).map(|all| payload::octets(&all))
            }),
            "addresses",
        ),
        of(
            table.field("domains", |v| {
                payload::domain_list(v).map(|all| all.iter().flat_map(payload::wire).collect())
            }),
            "domains",
        ),
        of(table.field("suboptions", |v| suboptions(wanted, v)), "suboptions"),
    ];
    one_of(table, all)
}

fn of_kind(value: &Value<'_>, bytes: Option<Vec<u8>>) -> Field<Vec<u8>> {
    match bytes {
        Some(bytes) => Field::Good(crate::report::Spanned::new(bytes, value.span.clone())),
        None => Field::Bad,
    }
}

/// The one key that is there; reports two.
fn one_of<const N: usize>(
    table: &Table<'_>,
    all: [(&'static str, Field<Vec<u8>>); N],
) -> Field<Vec<u8>> {
    let mut found: Option<(&'static str, Field<Vec<u8>>)> = None;
    for (key, field) in all {
        match (&found, &field) {
            (_, Field::Absent) => {}
            (Some((first, Field::Good(_))), Field::Good(second)) => {
                table.report.push(
                    Problem::error(
                        Code::BadChoice,
                        &second.span,
                        format!("`{first}` and `{key}` both say what the payload is"),
                    )
                    .label("one of the two is enough")
                    .hint("leave one of them out"),
                );
                return Field::Bad;
            }
            (Some((_, Field::Bad)), _) => {}
            _ => found = Some((key, field)),
        }
    }
    found.map_or(Field::Absent, |(_, field)| field)
}

fn signed(value: &Value<'_>) -> Option<Vec<u8>> {
    let list = value.one_or_many(|item| item.integer::<i32>(i32::MIN.into(), i32::MAX.into()))?;
    Some(super::complete(value, list)?.iter().flat_map(|n| n.to_be_bytes()).collect())
}

/// Sub-options whose numbers are keys of the table itself.
fn numbered(wanted: &Wanted<'_>, table: &Table<'_>) -> Field<Vec<u8>> {
    let mut all = Suboptions::default();
    let mut span = None;
    for (key, value) in table.all() {
        if key.value.starts_with(|c: char| c.is_ascii_digit()) {
            table.take(key.value);
            span.get_or_insert(table.span.clone());
            all.add(wanted, table, &key.span, key.value, value);
        }
    }
    match (span, all.into_bytes()) {
        (None, _) => Field::Absent,
        (Some(_), None) => Field::Bad,
        (Some(span), Some(bytes)) => Field::Good(crate::report::Spanned::new(bytes, span)),
    }
}

/// Sub-options by number: code, length, payload each.
pub(super) fn suboptions(wanted: &Wanted<'_>, value: &Value<'_>) -> Option<Vec<u8>> {
    parts(wanted, value)?.into_bytes()
}

/// The same, one by one.
pub(super) fn parts(wanted: &Wanted<'_>, value: &Value<'_>) -> Option<Suboptions> {
    let table = value.table("suboptions")?;
    let mut all = Suboptions::default();
    for (key, value) in table.all() {
        all.add(wanted, &table, &key.span, key.value, value);
    }
    Some(all)
}

/// Sub-options in the order of the file, as far as they could be read.
#[derive(Default)]
pub(super) struct Suboptions {
    parts: Vec<Vec<u8>>,
    codes: Vec<u8>,
    bad: bool,
}

impl Suboptions {
    fn into_bytes(self) -> Option<Vec<u8>> {
        self.into_parts().map(|parts| parts.concat())
    }

    pub(super) fn into_parts(self) -> Option<Vec<Vec<u8>>> {
        (!self.bad).then_some(self.parts)
    }

    fn add(
        &mut self,
        wanted: &Wanted<'_>,
        table: &Table<'_>,
        span: &Span,
        key: &str,
        value: Option<Value<'_>>,
    ) {
        let problem = |code, message: String, label: &str, hint: &str| {
            table.report.push(Problem::error(code, span, message).label(label).hint(hint));
        };
        let Ok(code @ 1..=254) = key.parse::<u8>() else {
            self.bad = true;
            let message = format!("`{key}` is not a sub-option code");
            let hint = "sub-options go by number, from 1 to 254";
            return problem(Code::UnknownOption, message, "not a sub-option code", hint);
        };
        if self.codes.contains(&code) {
            self.bad = true;
            let message = format!("sub-option {code} is set twice");
            return problem(
                Code::OptionTwice,
                message,
                "the same sub-option",
                "leave one of them out",
            );
        }
        self.codes.push(code);
        let inner = Wanted { code, kind: Kind::Bytes, names: wanted.names };
        let payload = value.and_then(|value| payload::read(&inner, &value));
        let Some(payload) = payload else {
            self.bad = true;
            return;
        };
        let Ok(len) = u8::try_from(payload.len()) else {
            self.bad = true;
            let message = "a sub-option has at most 255 bytes".to_owned();
            return problem(Code::OptionTooLong, message, "too long", "shorten it");
        };
        self.parts.push([vec![code, len], payload].concat());
    }
}
