//! `[[scope]]`.

use std::net::Ipv4Addr;
use std::time::Duration;

use ipnetwork::Ipv4Network;
use offhook_model::{AddressRange, BootFields, Serve};

use super::lease::{self, LeaseFacts};
use crate::Code;
use crate::names::Names;
use crate::options::{Explicit, Level};
use crate::report::{Span, Spanned};
use crate::tree::{Field, List, Table, Value};

pub(crate) struct ScopeFacts {
    pub(crate) name: Field<String>,
    pub(crate) interface: Field<String>,
    pub(crate) vlan: Field<u16>,
    pub(crate) subnet: Field<Ipv4Network>,
    pub(crate) pools: Field<List<PoolFacts>>,
    pub(crate) exclude: Field<List<AddressRange>>,
    pub(crate) router: Field<Ipv4Addr>,
    pub(crate) lease: LeaseFacts,
    pub(crate) phone_lease: Field<Duration>,
    pub(crate) serve: Serve,
    pub(crate) authoritative: bool,
    pub(crate) probe: bool,
    pub(crate) reserved_share: u8,
    pub(crate) shared_network: Field<String>,
    pub(crate) voice: Field<String>,
    /// Whether phones are expected here.
    pub(crate) phones: bool,
    pub(crate) boot: BootFields,
    pub(crate) options: Vec<Explicit>,
    pub(crate) span: Span,
}

/// One entry of `pools`.
#[derive(Clone, Debug)]
pub(crate) struct PoolFacts {
    pub(crate) range: AddressRange,
    pub(crate) only: Vec<Spanned<PoolUserFacts>>,
}

/// Who a pool is for; a class is not looked up yet.
#[derive(Clone, Debug)]
pub(crate) enum PoolUserFacts {
    Phones,
    Inventory,
    Class(String),
}

/// Percent of the pools that are kept for the inventory and returning clients, unless the file says otherwise.
const RESERVED_SHARE: u8 = 10;

const SERVES: [(&str, Serve); 3] =
    [("all", Serve::All), ("phones", Serve::Phones), ("inventory", Serve::Inventory)];

impl ScopeFacts {
    pub(crate) fn read(table: &Table<'_>, names: &Names) -> Self {
        let flag = |key| table.field(key, Value::boolean).into_value().unwrap_or(true);
        let facts = Self {
            name: table.required("name", "\"voice\"", Value::text),
            interface: table.field("interface", interface),
            vlan: table.field("vlan", |value| value.integer(1, 4094)),
            subnet: table.required("subnet", "\"10.250.1.0/24\"", Value::subnet),
            pools: table.field("pools", |value| value.one_or_many(pool)),
            exclude: table.field("exclude", |value| value.one_or_many(Value::range)),
            router: table.field("router", Value::address),
            lease: LeaseFacts::read(table),
            phone_lease: table.field("phone_lease", lease::duration),
            serve: table
                .field("serve", |value| value.choice(Code::BadChoice, &SERVES))
                .into_value()
                .unwrap_or_default(),
            authoritative: flag("authoritative"),
            probe: flag("probe"),
            reserved_share: table
                .field("reserved_share", |value| value.integer(0, 90))
                .into_value()
                .unwrap_or(RESERVED_SHARE),
            shared_network: table.field("shared_network", Value::text),
            voice: table.field("voice", Value::text),
            phones: flag("phones"),
            boot: super::boot::read(table, names),
            options: super::options(table, "[[scope]] options", Level::Everyone, names),
            span: table.span.clone(),
        };
        table.finish();
        facts
    }
}

/// `"10.0.0.20-10.0.0.29"`, or a table that also says who it is for.
fn pool(value: &Value<'_>) -> Option<PoolFacts> {
    if !value.is_table() {
        return Some(PoolFacts { range: value.range()?, only: Vec::new() });
    }
    let table = value.table("[[scope]] pools")?;
    let range = table.required("range", "\"10.0.0.100-10.0.0.199\"", Value::range);
    let only =
        table.field("only", |value| super::read_non_empty(value, value.one_or_many(pool_user)?));
    table.finish();
    if only.is_bad() || only.value().is_some_and(|only| !only.complete) {
        return None;
    }
    let only = only.into_value().map(|only| only.items).unwrap_or_default();
    Some(PoolFacts { range: range.into_value()?, only })
}

fn pool_user(value: &Value<'_>) -> Option<PoolUserFacts> {
    value.string_for("a string: \"phones\", \"inventory\" or a class", None)?;
    Some(match value.text()?.as_str() {
        "phones" => PoolUserFacts::Phones,
        "inventory" => PoolUserFacts::Inventory,
        class => PoolUserFacts::Class(class.to_owned()),
    })
}

fn interface(value: &Value<'_>) -> Option<String> {
    let text = value.string()?;
    let bad = text.is_empty()
        || text.len() > 15
        || matches!(text, "." | "..")
        || text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control());
    if bad {
        value.bad(
            Code::BadInterface,
            format!("`{text}` is not the name of a network interface"),
            "write a name of at most 15 characters, as `ip link` shows it",
        );
        return None;
    }
    Some(text.to_owned())
}
