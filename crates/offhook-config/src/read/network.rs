//! `[dns]`, `[tftp]` and `[time]`.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use offhook_model::{DnsAccess, DnsCache, DomainName, ImageDigests, Sha256, TftpLimits};

use super::access::{AccessSpans, NamesFacts};
use super::dns_cache;
use super::upstream::UpstreamFacts;
use crate::Code;
use crate::known::Offset;
use crate::names::Names;
use crate::report::{Problem, Span, Spanned};
use crate::tree::{Field, List, Table, Value};

pub(crate) struct DnsFacts {
    pub(crate) listen: Field<List<SocketAddr>>,
    pub(crate) forward: Vec<(Spanned<Option<DomainName>>, Vec<SocketAddr>)>,
    pub(crate) ttl: u32,
    pub(crate) negative_ttl: u32,
    pub(crate) cache: DnsCache,
    pub(crate) names: NamesFacts,
    pub(crate) access: DnsAccess,
    pub(crate) access_spans: AccessSpans,
    pub(crate) naptr: bool,
    /// As they are named.
    pub(crate) zone_files: Field<List<String>>,
}

/// Seconds that a resolver may keep a record, unless the file says otherwise.
const TTL: u32 = 300;
/// Seconds that it may keep the absence of one.
const NEGATIVE_TTL: u32 = 30;

impl DnsFacts {
    pub(crate) fn read(table: Option<Table<'_>>, root: &Table<'_>) -> Self {
        let Some(table) = table else {
            missing_section(root, "dns", "[dns] with listen = [\"10.250.1.5\"]");
            return Self {
                listen: Field::Bad,
                forward: Vec::new(),
                ttl: TTL,
                negative_ttl: NEGATIVE_TTL,
                cache: DnsCache::default(),
                names: NamesFacts::default(),
                access: DnsAccess::default(),
                access_spans: AccessSpans::default(),
                naptr: true,
                zone_files: Field::Absent,
            };
        };
        let listen = table.required("listen", "[\"10.250.1.5\"]", |value| {
            non_empty(value, value.one_or_many(|item| item.listener(53))?)
        });
        let forward = table.field("forward", |value| Some(forward(&value.table("[dns] forward")?)));
        let ttl = table.field("ttl", |value| value.duration(1, 604_800)).into_value();
        let negative = table.field("negative_ttl", |value| value.duration(1, 60)).into_value();
        let cache = dns_cache::read(&table);
        let names = super::access::names(&table);
        let (access, access_spans) = super::access::access(&table);
        let naptr = table.field("naptr", Value::boolean).into_value().unwrap_or(true);
        let zone_files =
            table.field("zone_file", |value| non_empty(value, value.one_or_many(Value::text)?));
        table.finish();
        Self {
            listen,
            forward: forward.into_value().unwrap_or_default(),
            ttl: ttl.map_or(TTL, seconds),
            negative_ttl: negative.map_or(NEGATIVE_TTL, seconds),
            cache,
            names,
            access,
            access_spans,
            naptr,
            zone_files,
        }
    }
}

/// A TTL, as records have it.
pub(crate) fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

fn forward(table: &Table<'_>) -> Vec<(Spanned<Option<DomainName>>, Vec<SocketAddr>)> {
    let mut all = BTreeMap::new();
    for (key, value) in table.all() {
        let zone = if key.value == "." {
            None
        } else {
            match key.value.parse::<DomainName>() {
                Ok(zone) => Some(zone),
                Err(error) => {
                    table.report.push(
                        Problem::error(
                            Code::BadName,
                            &key.span,
                            format!("`{}` is not a zone: {error}", key.value),
                        )
                        .label("not a zone")
                        .hint("write a zone in quotes, or \".\" for every other name"),
                    );
                    continue;
                }
            }
        };
        let Some(value) = value else { continue };
        let servers = value.one_or_many(|item| item.upstream(53));
        let Some(servers) = servers.and_then(|servers| non_empty(&value, servers)) else {
            continue;
        };
        let servers = servers.items.into_iter().map(|server| server.value).collect();
        let span = key.span;
        if let Some((first, _)) = all.insert(zone.clone(), (span.clone(), servers)) {
            duplicate_zone(table, &span, &first);
        }
    }
    all.into_iter().map(|(zone, (span, servers))| (Spanned::new(zone, span), servers)).collect()
}

/// Two spellings of one zone; the parser itself sees only equal ones.
fn duplicate_zone(table: &Table<'_>, span: &Span, first: &Span) {
    table.report.push(
        Problem::error(Code::DuplicateKey, span, "this zone is given twice")
            .label("the same zone in another spelling")
            .related(first, "first given here")
            .hint("put all servers into one list"),
    );
}

pub(crate) struct TftpFacts {
    pub(crate) listen: Field<SocketAddr>,
    pub(crate) root: Field<String>,
    pub(crate) limits: TftpLimits,
    /// What images are to be, by name.
    pub(crate) images: Vec<(Spanned<String>, Sha256)>,
    /// Where files come from that are not in the root.
    pub(crate) upstream: Option<UpstreamFacts>,
}

impl TftpFacts {
    pub(crate) fn read(table: &Table<'_>) -> Self {
        let listen = table.required("listen", "\"10.0.0.11\"", |value| {
            if value.is_list() {
                value.wrong_type(
                    "a string with one address",
                    "option 66 names one TFTP server only".to_owned(),
                );
                return None;
            }
            value.listener(69)
        });
        let root = table.required("root", "\"firmware\"", Value::text);
        let limits = super::tftp::limits(table);
        let images = super::tftp::images(table);
        let upstream = UpstreamFacts::read(table);
        table.finish();
        Self { listen, root, limits, images, upstream }
    }

    /// What images are to be.
    pub(crate) fn images(&self) -> ImageDigests {
        let images = self.images.iter().map(|(name, digest)| (name.value.clone(), *digest));
        ImageDigests(images.collect())
    }
}

pub(crate) struct TimeFacts {
    pub(crate) servers: Field<List<Ipv4Addr>>,
    /// 4 or 42, and the line that says so.
    pub(crate) code: u8,
    /// Which offset option 2 is.
    pub(crate) offset: Offset,
}

const OFFSETS: [(&str, Offset); 2] = [("standard", Offset::Standard), ("current", Offset::Current)];

impl TimeFacts {
    pub(crate) fn read(table: Option<Table<'_>>, names: &Names) -> Self {
        let Some(table) = table else {
            return Self { servers: Field::Absent, code: 42, offset: Offset::Standard };
        };
        let offset = table.field("offset", |value| {
            let which = value.choice(Code::BadChoice, &OFFSETS)?;
            names.offset(value, which).map(|_| which)
        });
        let read = |value: &Value<'_>| {
            let list = value.one_or_many(|item| time_server(item, names))?;
            let list = non_empty(value, list)?;
            let mut flat = List { items: Vec::new(), complete: list.complete };
            for server in list.items {
                for address in server.value {
                    flat.items.push(Spanned::new(address, server.span.clone()));
                }
            }
            Some(flat)
        };
        let servers = match offset.is_absent() {
            true => table.required("servers", "[\"mytimeserver\"]", read),
            false => table.field("servers", read),
        };
        let offset = offset.into_value().unwrap_or(Offset::Standard);
        let code = table.field("option", time_option).into_value().unwrap_or(42);
        table.finish();
        Self { servers, code, offset }
    }
}

fn time_server(value: &Value<'_>, names: &Names) -> Option<Vec<Ipv4Addr>> {
    names.resolve(value, Code::TimeServerUnresolvable, "time server")
}

/// 42, or 4, and not both.
fn time_option(value: &Value<'_>) -> Option<u8> {
    let code = |value: &Value<'_>| match value.as_integer() {
        Some(4) => Some(4),
        Some(42) => Some(42),
        Some(_) => {
            value.bad(Code::BadChoice, "time servers go into option 42 or 4", "write 42 or 4");
            None
        }
        None => {
            value.wrong_type("an integer, 42 or 4", None);
            None
        }
    };
    let codes = value.one_or_many(code)?;
    let mut distinct: Vec<_> = codes.items.iter().map(|code| code.value).collect();
    distinct.sort_unstable();
    distinct.dedup();
    match distinct.as_slice() {
        [one] => Some(*one),
        [] => {
            if codes.complete {
                value.bad(Code::EmptyValue, "this must not be empty", "write 42 or 4");
            }
            None
        }
        _ => {
            value.report.push(
                Problem::error(
                    Code::Both4And42,
                    &value.span,
                    "time servers go into option 4 or option 42, never both",
                )
                .label("both")
                .hint("write 42, unless your phones read only 4"),
            );
            None
        }
    }
}

/// The list, unless there is nothing in it.
pub(crate) fn non_empty<T>(value: &Value<'_>, list: List<T>) -> Option<List<T>> {
    if list.items.is_empty() && list.complete {
        value.bad(Code::EmptyValue, "this list must not be empty", "write at least one element");
        return None;
    }
    Some(list)
}

/// Reports that a table is missing altogether.
pub(crate) fn missing_section(root: &Table<'_>, key: &'static str, example: &str) {
    if root.has(key) || root.report.are_sections_lost() || root.has_near(key) {
        return;
    }
    root.report.push(
        Problem::error(Code::MissingKey, &(0..0), format!("there is no [{key}]"))
            .label("this file")
            .hint(format!("add {example}")),
    );
}
