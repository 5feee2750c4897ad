//! `match` in `[[class]]`: an expression over what a client sends.
//!
//! Several keys of one table must all hold; of a list of values any one suffices; `all`, `any` and `not` hold
//! further tables.

use ipnetwork::Ipv4Network;
use offhook_model::{BytesTest, Condition};

use crate::Code;
use crate::names::Names;
use crate::report::Problem;
use crate::tree::{Field, Table, Value};

/// Reads one table of the expression.
pub(crate) fn read(value: &Value<'_>, names: &Names) -> Option<Condition> {
    let table = value.table("[[class]] match")?;
    let mut found = Found { conditions: Vec::new(), good: true };

    table.expect(&["vendor_class", "vendor_class_of", "vendor_options_of"]);
    found.add(table.field("all", |value| many(value, names).map(Condition::All)));
    found.add(table.field("any", |value| many(value, names).map(Condition::Any)));
    found.add(table.field("not", |value| read(value, names).map(negated)));

    found.add(table.field("vendor_class", |v| tests(v, &|test| Condition::Option(60, test))));
    found.add(table.field("user_class", |v| tests(v, &Condition::UserClass)));
    found.add(table.field("polycom", |v| any(v, &polycom)));
    found.add(table.field("vendor_class_of", |v| any(v, &|v| of(v, Condition::VendorClassOf))));
    found.add(table.field("vendor_options_of", |v| any(v, &|v| of(v, Condition::VendorOptionsOf))));
    found.add(table.field("mac", |v| any(v, &hardware)));
    found.add(table.field("host_name", |v| tests(v, &Condition::HostName)));
    found.add(table.field("circuit_id", |v| tests(v, &Condition::CircuitId)));
    found.add(table.field("remote_id", |v| tests(v, &Condition::RemoteId)));
    found.add(table.field("relay", |v| any(v, &relay)));
    found.add(table.field("scope", |v| any(v, &|v| names.scope(v).map(Condition::Scope))));
    found.add(table.field("option", |v| any(v, &option)));
    table.finish();

    if found.good && found.conditions.is_empty() && table.is_empty() {
        value.bad(
            Code::EmptyValue,
            "this condition says nothing",
            "write at least one key, as in { vendor_class = \"door-*\" }",
        );
        return None;
    }
    // A key that is unknown may have narrowed the condition down.
    found.into_all()
}

/// What the keys of one table say.
struct Found {
    conditions: Vec<Condition>,
    good: bool,
}

impl Found {
    fn add(&mut self, field: Field<Condition>) {
        self.good &= !field.is_bad();
        self.conditions.extend(field.into_value());
    }

    fn into_all(mut self) -> Option<Condition> {
        if !self.good || self.conditions.is_empty() {
            return None;
        }
        match self.conditions.len() {
            1 => self.conditions.pop(),
            _ => Some(Condition::All(self.conditions)),
        }
    }
}

fn negated(condition: Condition) -> Condition {
    Condition::Not(Box::new(condition))
}

/// The tables of `all` or `any`.
fn many(value: &Value<'_>, names: &Names) -> Option<Vec<Condition>> {
    let list = value.list("conditions", |item| read(item, names))?;
    let list = super::read_non_empty(value, list)?;
    list.complete.then(|| list.items.into_iter().map(|item| item.value).collect())
}

/// One value, or a list of which any one suffices.
fn any(value: &Value<'_>, read: &dyn Fn(&Value<'_>) -> Option<Condition>) -> Option<Condition> {
    let list = super::read_non_empty(value, value.one_or_many(read)?)?;
    if !list.complete {
        return None;
    }
    let mut all: Vec<_> = list.items.into_iter().map(|item| item.value).collect();
    if all.len() == 1 { all.pop() } else { Some(Condition::Any(all)) }
}

/// Tests of some bytes: text, a pattern, a table, `true`, or a list of these.
fn tests(value: &Value<'_>, make: &dyn Fn(BytesTest) -> Condition) -> Option<Condition> {
    any(value, &|item| test(item, make))
}

fn test(value: &Value<'_>, make: &dyn Fn(BytesTest) -> Condition) -> Option<Condition> {
    if value.is_boolean() {
        return Some(present(value.boolean()?, make));
    }
    if !value.is_table() {
        let expected = "a string, true or a table such as { prefix = \"…\" }";
        value.string_for(expected, None)?;
        return Some(make(text_test(value.text()?)));
    }
    let table = value.table("[[class]] match test")?;
    let mut found = Found { conditions: Vec::new(), good: true };
    test_keys(&table, &mut found, make);
    table.finish();
    if found.good && found.conditions.is_empty() {
        no_test(value, &table);
    }
    found.into_all()
}

/// `*` and `?` make a pattern of a text.
fn text_test(text: String) -> BytesTest {
    let is_pattern = text.contains(['*', '?']);
    let bytes = text.into_bytes().into_boxed_slice();
    if is_pattern { BytesTest::Pattern(bytes) } else { BytesTest::Is(bytes) }
}

fn present(is_there: bool, make: &dyn Fn(BytesTest) -> Condition) -> Condition {
    let condition = make(BytesTest::Present);
    if is_there { condition } else { negated(condition) }
}

/// The keys of a test, in a table that may have others as well.
fn test_keys(table: &Table<'_>, found: &mut Found, make: &dyn Fn(BytesTest) -> Condition) {
    let is = |v: &Value<'_>| bytes(v, BytesTest::Is, BytesTest::Exact).map(make);
    found.add(table.field("is", |v| any(v, &is)));
    let prefix = |v: &Value<'_>| bytes(v, BytesTest::Prefix, BytesTest::ExactPrefix).map(make);
    found.add(table.field("prefix", |v| any(v, &prefix)));
    found.add(table.field("pattern", |v| {
        any(v, &|v| {
            v.text().map(|text| make(BytesTest::Pattern(text.into_bytes().into_boxed_slice())))
        })
    }));
    found.add(table.field("hex", |value| {
        let bytes = non_empty_hex(value)?;
        Some(make(BytesTest::Exact(bytes)))
    }));
    found.add(table.field("present", |value| Some(present(value.boolean()?, make))));
}

fn no_test(value: &Value<'_>, table: &Table<'_>) {
    if ["is", "prefix", "pattern", "hex", "present"].iter().any(|key| table.has_near(key)) {
        return;
    }
    value.bad(
        Code::MissingKey,
        "this table does not say what to test for",
        "add `is`, `prefix`, `pattern`, `hex`, or present = true",
    );
}

/// A test of text as it stands, or one of the bytes of `{ hex = "…" }`.
fn bytes(
    value: &Value<'_>,
    text: fn(Box<[u8]>) -> BytesTest,
    exact: fn(Box<[u8]>) -> BytesTest,
) -> Option<BytesTest> {
    if value.is_table() {
        let table = value.table("bytes")?;
        let hex = table.required("hex", "\"00 00 36 3d\"", non_empty_hex);
        table.finish();
        return hex.into_value().map(exact);
    }
    Some(text(value.text()?.into_bytes().into_boxed_slice()))
}

fn non_empty_hex(value: &Value<'_>) -> Option<Box<[u8]>> {
    let bytes = value.hex()?;
    if bytes.is_empty() {
        value.bad(Code::EmptyValue, "this must not be empty", "write at least one byte");
        return None;
    }
    Some(bytes.into_boxed_slice())
}

/// Sub-fields of Polycom's binary option 60, by the number of each.
fn polycom(value: &Value<'_>) -> Option<Condition> {
    const FIELDS: [(&str, u8); 5] =
        [("company", 1), ("part", 2), ("part_number", 3), ("version", 4), ("updater", 5)];
    let table = value.table("[[class]] match polycom")?;
    let mut found = Found { conditions: Vec::new(), good: true };
    table.expect(&FIELDS.map(|(key, _)| key));
    for (key, number) in FIELDS {
        let make = move |test| Condition::PolycomField(number, test);
        found.add(table.field(key, |value| tests(value, &make)));
    }
    table.finish();
    if found.good && found.conditions.is_empty() && table.is_empty() {
        value.bad(
            Code::EmptyValue,
            "this table names no field",
            "write { part = \"VVX*\" }, { version = \"5.*\" } or both",
        );
    }
    found.into_all()
}

/// Data of one enterprise in option 124 or 125.
fn of(value: &Value<'_>, make: fn(u32, BytesTest) -> Condition) -> Option<Condition> {
    let table = value.table("[[class]] match enterprise")?;
    let enterprise =
        table.required("enterprise", "13885", |value| value.integer(1, u32::MAX.into()));
    with_test(value, &table, enterprise, &make)
}

/// Any option, by name or number.
fn option(value: &Value<'_>) -> Option<Condition> {
    let table = value.table("[[class]] match option")?;
    let code = table.required("code", "93", super::class::any_option);
    with_test(value, &table, code, &|code, test| Condition::Option(code, test))
}

/// The test beside `of`; that it is there, where there is no more.
fn with_test<T: Copy>(
    value: &Value<'_>,
    table: &Table<'_>,
    of: Field<T>,
    make: &dyn Fn(T, BytesTest) -> Condition,
) -> Option<Condition> {
    let mut found = Found { conditions: Vec::new(), good: !of.is_bad() };
    // Keys are read, and their mistakes reported, even where the first one is bad.
    let of = of.into_value();
    let test = |test: BytesTest| match of {
        Some(of) => make(of, test),
        None => Condition::All(Vec::new()),
    };
    test_keys(table, &mut found, &test);
    table.finish();
    if found.good && found.conditions.is_empty() {
        no_test(value, table);
    }
    found.into_all()
}

/// The first bytes of a hardware address, one to six.
fn hardware(value: &Value<'_>) -> Option<Condition> {
    let text = value.string_for("a string with the start of a MAC address", None)?;
    match crate::scalar::parse_mac_prefix(text) {
        Some(bytes) => Some(Condition::Hardware(bytes)),
        None => {
            value.report.push(
                Problem::error(
                    Code::BadMac,
                    &value.span,
                    format!("`{text}` is not the start of a MAC address"),
                )
                .label("not one to six bytes in hex")
                .hint("write one to six bytes, as in \"00:04:f2\""),
            );
            None
        }
    }
}

/// A network that holds the relay's address, one address, or whether there is a relay at all.
fn relay(value: &Value<'_>) -> Option<Condition> {
    if value.is_boolean() {
        let any = Ipv4Network::new(std::net::Ipv4Addr::UNSPECIFIED, 0).ok()?;
        let condition = Condition::Relay(any);
        return Some(if value.boolean()? { condition } else { negated(condition) });
    }
    value.network().map(Condition::Relay)
}
