//! `order` and `health` of a switchover or a pool of proxies.

use std::time::Duration;

use offhook_model::{Health, Order, Probe, Provisioning, SipPorts};

use crate::Code;
use crate::report::{Problem, Span};
use crate::tree::{Field, Table, Value};

const ORDERS: [(&str, Order); 3] = [
    (Order::Random.as_str(), Order::Random),
    (Order::ActiveFirst.as_str(), Order::ActiveFirst),
    (Order::ActiveOnly.as_str(), Order::ActiveOnly),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    SipUdp,
    SipTcp,
    Tcp,
    Tls,
    Http,
}

const KINDS: [(&str, Kind); 5] = [
    ("sip-udp", Kind::SipUdp),
    ("sip-tcp", Kind::SipTcp),
    ("tcp", Kind::Tcp),
    ("tls", Kind::Tls),
    ("http", Kind::Http),
];

const INTERVAL: Duration = Duration::from_secs(2);
/// RFC 3261 takes a round trip for at most that (T1) until it knows better.
const TIMEOUT: Duration = Duration::from_millis(500);
const RISE: u32 = 2;
const FALL: u32 = 3;
const DAMPING: Duration = Duration::from_secs(30);

/// What else is known of the servers: where a probe may go.
pub(super) struct Ports<'f> {
    pub(super) provisioning: Option<&'f Provisioning>,
    pub(super) sip: &'f SipPorts,
    /// Some of it could not be read.
    pub(super) incomplete: bool,
}

impl Ports<'_> {
    fn of(&self, kind: Kind) -> Option<u16> {
        let provisioned = |by: &[&str]| {
            let to = self.provisioning.filter(|to| by.contains(&to.scheme.as_str()));
            to.map(|to| to.port)
        };
        match kind {
            Kind::SipUdp => self.sip.udp,
            Kind::SipTcp => self.sip.tcp,
            Kind::Tcp => {
                self.sip.tcp.or(self.sip.tls).or_else(|| provisioned(&["http", "https", "ftp"]))
            }
            Kind::Tls => self.sip.tls.or_else(|| provisioned(&["https"])),
            Kind::Http => provisioned(&["http"]),
        }
    }

    /// The first probe that has somewhere to go, the one that knows most about SIP before the others.
    fn best(&self) -> Option<Kind> {
        [Kind::SipUdp, Kind::SipTcp, Kind::Tls, Kind::Http, Kind::Tcp]
            .into_iter()
            .find(|&kind| self.of(kind).is_some())
    }
}

/// Reads both keys of `table`, a switchover or pool, whose `health` is called `section` in messages. Servers are watched when `health` is there, or when an order asks for it.
pub(super) fn read(table: &Table<'_>, section: &str, ports: &Ports<'_>) -> (Order, Option<Health>) {
    let order = table.field("order", |value| value.choice(Code::BadChoice, &ORDERS));
    let health = table.field("health", |value| health(&value.table(section)?, ports));
    let (wanted, span) = match &order {
        Field::Good(order) => (order.value, Some(&order.span)),
        Field::Absent | Field::Bad => (Order::Random, None),
    };
    let health = match (health, span) {
        (Field::Absent, Some(span)) if wanted != Order::Random => {
            let kind = ports.best();
            if kind.is_none() && !ports.incomplete {
                no_port(table, span, "the servers cannot be watched: no port of theirs is known");
            }
            kind.and_then(|kind| Some(defaults(kind, ports.of(kind)?)))
        }
        (health, _) => health.into_value(),
    };
    (wanted, health)
}

fn defaults(kind: Kind, port: u16) -> Health {
    Health {
        probe: probe(kind, None),
        port,
        interval: INTERVAL,
        timeout: TIMEOUT,
        rise: RISE,
        fall: FALL,
        damping: DAMPING,
    }
}

fn probe(kind: Kind, path: Option<String>) -> Probe {
    match kind {
        Kind::SipUdp => Probe::SipUdp,
        Kind::SipTcp => Probe::SipTcp,
        Kind::Tcp => Probe::Tcp,
        Kind::Tls => Probe::Tls,
        Kind::Http => Probe::Http { path: path.unwrap_or_else(|| "/".to_owned()) },
    }
}

fn health(table: &Table<'_>, ports: &Ports<'_>) -> Option<Health> {
    let stated = table.field("probe", |value| value.choice(Code::BadChoice, &KINDS));
    let port = table.field("port", |value| value.integer::<u16>(1, 65_535));
    let path = table.field("path", path);
    let interval = table.field("interval", |value| value.millis(100, 3_600_000));
    let timeout = table.field("timeout", |value| value.millis(10, 10_000));
    let count = |key| table.field(key, |value| value.integer::<u32>(1, 100));
    let (rise, fall) = (count("rise"), count("fall"));
    let damping = table.field("damping", |value| value.millis(0, 3_600_000));
    table.finish();

    let kind = match &stated {
        Field::Good(kind) => Some(kind.value),
        Field::Absent => ports.best(),
        Field::Bad => return None,
    };
    let port = match (port, kind) {
        (Field::Good(port), _) => Some(port.value),
        (Field::Bad, _) => return None,
        (Field::Absent, Some(kind)) => ports.of(kind),
        (Field::Absent, None) => None,
    };
    let (Some(kind), Some(port)) = (kind, port) else {
        if !ports.incomplete {
            let span = stated.good().map_or(&table.span, |stated| &stated.span);
            no_port(table, span, "no port is known that this probe could go to");
        }
        return None;
    };
    if let (Some(path), false) = (path.good(), kind == Kind::Http) {
        table.report.push(
            Problem::error(Code::ProbePath, &path.span, "only an HTTP probe asks for a path")
                .label("of no use here")
                .hint("leave it out, or write probe = \"http\""),
        );
        return None;
    }
    let span = timeout.good().map(|timeout| timeout.span.clone());
    let every = interval.into_value().unwrap_or(INTERVAL);
    let wait = timeout.into_value().unwrap_or(TIMEOUT.min(every));
    if let (Some(span), true) = (span, wait > every) {
        table.report.push(
            Problem::error(
                Code::ProbeTimes,
                &span,
                "an answer is waited for longer than until the next probe",
            )
            .label(format!("more than {} ms", every.as_millis()))
            .hint("write a `timeout` of at most `interval`"),
        );
        return None;
    }
    Some(Health {
        probe: probe(kind, path.into_value()),
        port,
        interval: every,
        timeout: wait,
        rise: rise.into_value().unwrap_or(RISE),
        fall: fall.into_value().unwrap_or(FALL),
        damping: damping.into_value().unwrap_or(DAMPING),
    })
}

fn path(value: &Value<'_>) -> Option<String> {
    let text = value.string_for("a string with a path", None)?;
    let good = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !good {
        value.bad(
            Code::ProbePath,
            format!("`{}` is not a path that a server can be asked for", text.escape_debug()),
            "write a path that starts with `/`, without spaces, as in \"/status\"",
        );
    }
    good.then(|| text.to_owned())
}

fn no_port(table: &Table<'_>, span: &Span, message: &str) {
    table.report.push(
        Problem::error(Code::ProbePort, span, message)
            .label("neither `sip` nor `provisioning` has one")
            .hint("write the `port` into `health`, or the ports of `sip` or `provisioning`"),
    );
}
