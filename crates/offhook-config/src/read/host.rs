//! `[[host]]`, `[switchover]` and `[[proxy]]`.

use std::net::{Ipv4Addr, Ipv6Addr};

use offhook_model::{DomainName, Health, Order, Provisioning, SipPorts, Switchover};

use super::health::{self, Ports};
use crate::Code;
use crate::names::{Names, Zone};
use crate::read::network::seconds;
use crate::report::{Problem, Span};
use crate::tree::{Field, List, Table, Value};

pub(crate) struct HostFacts {
    pub(crate) name: Field<DomainName>,
    pub(crate) address: Field<Ipv4Addr>,
    pub(crate) ipv6: Field<Ipv6Addr>,
    pub(crate) span: Span,
    /// The name was lost to broken syntax: some name that looks unknown may be this host's.
    pub(crate) lost: bool,
    /// There is not even a text that was meant as its name.
    pub(crate) is_nameless: bool,
}

impl HostFacts {
    pub(crate) fn read(table: &Table<'_>, zone: Option<&Zone>) -> Self {
        let name = table.required("name", "\"vm40ic1\"", Value::name);
        let lost = name.is_bad();
        let is_text = |value: Option<Value<'_>>| value.is_some_and(|value| value.is_string());
        let is_nameless = !table.all().any(|(key, value)| key.value == "name" && is_text(value));
        let name = qualified(table, name, zone);
        let address = table.required("address", "\"10.250.1.151\"", Value::address);
        let ipv6 = table.field("ipv6", Value::ipv6);
        table.finish();
        Self { name, address, ipv6, span: table.span.clone(), lost, is_nameless }
    }
}

/// A name inside the zone; reports one that is not.
fn qualified(table: &Table<'_>, name: Field<String>, zone: Option<&Zone>) -> Field<DomainName> {
    let Field::Good(text) = name else { return Field::Bad };
    let Some(zone) = zone else { return Field::Bad };
    let Some(full) = zone.qualify(&text.value) else { return Field::Bad };
    if let Some(zone) = zone.stated()
        && !full.is_within(zone)
    {
        table.report.push(
            Problem::error(
                Code::HostOutsideZone,
                &text.span,
                format!("`{full}` is not in the zone `{zone}`"),
            )
            .label("another zone")
            .hint(format!("write a name in `{zone}`, without a dot at its end")),
        );
        return Field::Bad;
    }
    Field::Good(crate::report::Spanned::new(full, text.span))
}

/// Full name and address of each host of a group; an address that is unreadable is none.
pub(crate) type GroupHosts = Field<List<(DomainName, Option<Ipv4Addr>)>>;

pub(crate) struct SwitchoverFacts {
    pub(crate) name: Field<DomainName>,
    pub(crate) hosts: GroupHosts,
    pub(crate) provisioning: Field<Provisioning>,
    pub(crate) sip: SipPorts,
    pub(crate) order: Order,
    pub(crate) health: Option<Health>,
    pub(crate) priority: Field<u16>,
    pub(crate) weight: u16,
    pub(crate) ttl: u32,
    pub(crate) span: Span,
}

pub(crate) struct ProxyFacts {
    pub(crate) name: Field<DomainName>,
    pub(crate) hosts: GroupHosts,
    pub(crate) sip: SipPorts,
    pub(crate) order: Order,
    pub(crate) health: Option<Health>,
    pub(crate) ttl: u32,
    pub(crate) span: Span,
}

impl ProxyFacts {
    pub(crate) fn read(table: &Table<'_>, names: &Names) -> Self {
        let name = table.required("name", "\"proxies\"", Value::name);
        let name = qualified(table, name, names.zone());
        let hosts = table.required("hosts", "[\"proxy1\", \"proxy2\"]", |value| {
            value.list("host names", |item| pair_host(item, names))
        });
        let sip = table.field("sip", |value| Some(sip(&value.table("[[proxy]] sip")?)));
        let incomplete = sip.is_bad();
        let sip = sip.into_value().unwrap_or_default();
        let ports = Ports { provisioning: None, sip: &sip, incomplete };
        let (order, health) = health::read(table, "[[proxy]] health", &ports);
        let ttl = short_ttl(table);
        table.finish();
        Self { name, hosts, sip, order, health, ttl, span: table.span.clone() }
    }
}

/// `ttl` of records that change when a server dies.
fn short_ttl(table: &Table<'_>) -> u32 {
    let ttl = table.field("ttl", |value| value.duration(1, 604_800)).into_value();
    ttl.map_or(Switchover::TTL, seconds)
}

const SCHEMES: [(&str, (&str, u16)); 4] = [
    ("http", ("http", 8088)),
    ("https", ("https", 8089)),
    ("ftp", ("ftp", 21)),
    ("tftp", ("tftp", 69)),
];

impl SwitchoverFacts {
    pub(crate) fn read(table: &Table<'_>, names: &Names) -> Self {
        let name = table.required("name", "\"provision\"", Value::name);
        let name = qualified(table, name, names.zone());
        let hosts = table.required("hosts", "[\"vm40ic1\", \"vm40ic2\"]", |value| {
            value.list("host names", |item| pair_host(item, names))
        });
        let provisioning = table.field("provisioning", |value| {
            provisioning(&value.table("[switchover] provisioning")?)
        });
        let sip = table.field("sip", |value| Some(sip(&value.table("[switchover] sip")?)));
        let incomplete = provisioning.is_bad() || sip.is_bad();
        let sip = sip.into_value().unwrap_or_default();
        let ports = Ports { provisioning: provisioning.value(), sip: &sip, incomplete };
        let priority = table.field("priority", |value| value.integer::<u16>(0, 65_535));
        let weight = table.field("weight", |value| value.integer::<u16>(0, 65_535));
        let ttl = short_ttl(table);
        let (order, health) = health::read(table, "[switchover] health", &ports);
        table.finish();
        let weight = weight.into_value().unwrap_or_default();
        let span = table.span.clone();
        Self { name, hosts, provisioning, sip, order, health, priority, weight, ttl, span }
    }
}

fn pair_host(value: &Value<'_>, names: &Names) -> Option<(DomainName, Option<Ipv4Addr>)> {
    let text = value.string_for("a string with a host's name", None)?;
    if text.parse::<Ipv4Addr>().is_ok() {
        value.bad(
            Code::UnknownHost,
            format!("`{text}` is an address, not the name of a host"),
            "add a [[host]] with this address and write its name here",
        );
        return None;
    }
    names.host(value, text)
}

fn provisioning(table: &Table<'_>) -> Option<Provisioning> {
    let scheme = table.field("scheme", |value| value.choice(Code::BadScheme, &SCHEMES));
    let port = table.field("port", |value| value.integer::<u16>(1, 65_535));
    table.finish();
    if scheme.is_bad() || port.is_bad() {
        return None;
    }
    let (scheme, default) = scheme.into_value().unwrap_or(("http", 8088));
    let port = port.into_value().unwrap_or(default);
    Some(Provisioning { scheme: scheme.to_owned(), port })
}

fn sip(table: &Table<'_>) -> SipPorts {
    let port = |key| table.field(key, |value| value.integer::<u16>(1, 65_535)).into_value();
    let ports = SipPorts { udp: port("udp"), tcp: port("tcp"), tls: port("tls") };
    table.finish();
    ports
}
