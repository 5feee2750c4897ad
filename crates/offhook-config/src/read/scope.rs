//! `[[scope]]`.

use std::net::Ipv4Addr;
use std::time::Duration;

use ipnetwork::Ipv4Network;
use offhook_model::AddressRange;

use crate::Code;
use crate::names::Names;
use crate::options::{Explicit, Level};
use crate::report::Span;
use crate::tree::{Field, List, Table, Value};

pub(crate) struct ScopeFacts {
    pub(crate) name: Field<String>,
    pub(crate) interface: Field<String>,
    pub(crate) vlan: Field<u16>,
    pub(crate) subnet: Field<Ipv4Network>,
    pub(crate) pools: Field<List<AddressRange>>,
    pub(crate) exclude: Field<List<AddressRange>>,
    pub(crate) router: Field<Ipv4Addr>,
    pub(crate) lease: Field<Duration>,
    pub(crate) voice: Field<String>,
    /// Whether phones are expected here.
    pub(crate) phones: bool,
    pub(crate) options: Vec<Explicit>,
    pub(crate) span: Span,
}

/// A lease, unless the file says otherwise.
pub(crate) const LEASE: Duration = Duration::from_secs(8 * 3600);

impl ScopeFacts {
    pub(crate) fn read(table: &Table<'_>, names: &Names) -> Self {
        let facts = Self {
            name: table.required("name", "\"voice\"", Value::text),
            interface: table.field("interface", interface),
            vlan: table.field("vlan", |value| value.integer(1, 4094)),
            subnet: table.required("subnet", "\"10.250.1.0/24\"", Value::subnet),
            pools: table.field("pools", |value| value.one_or_many(Value::range)),
            exclude: table.field("exclude", |value| value.one_or_many(Value::range)),
            router: table.field("router", Value::address),
            // A year is more than anybody means, and seconds fit into option 51.
            lease: table.field("lease", |value| value.duration(1, 366 * 86_400)),
            voice: table.field("voice", Value::text),
            phones: table.field("phones", Value::boolean).into_value().unwrap_or(true),
            options: super::options(table, "[[scope]] options", Level::Everyone, names),
            span: table.span.clone(),
        };
        table.finish();
        facts
    }
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
