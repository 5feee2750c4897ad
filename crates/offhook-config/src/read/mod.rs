//! From the TOML tree to the facts of the file, each with its place; one module a section.

mod access;
mod boot;
pub(crate) mod class;
mod condition;
mod dhcp;
mod dns_cache;
mod health;
mod host;
mod lease;
mod network;
mod phone;
mod scope;
mod site;
mod tftp;
mod upstream;

use std::path::Path;

use offhook_model::{Dhcp, Time};

pub(crate) use class::ClassFacts;
pub(crate) use host::{GroupHosts, HostFacts, ProxyFacts, SwitchoverFacts};
pub(crate) use lease::{LEASE, LeaseFacts, PHONE_LEASE};
pub(crate) use network::non_empty as read_non_empty;
pub(crate) use network::{DnsFacts, TftpFacts, TimeFacts};
pub(crate) use phone::PhoneFacts;
pub(crate) use scope::{PoolFacts, PoolUserFacts, ScopeFacts};
pub use site::offset_at;
pub(crate) use site::time_offset as read_time_offset;
pub(crate) use site::{SiteFacts, SiteTime};
pub(crate) use upstream::{UpstreamFacts, format_size};

use crate::inventory::{ListedPhone, SecondFile};
use crate::names::{Names, Zone};
use crate::options::{Explicit, Level};
use crate::report::{Problem, Report};
use crate::tree::{Field, List, Table, Value};
use crate::zone::RecordFacts;
use crate::{Code, Files};

/// Everything the file says.
pub(crate) struct Facts {
    pub(crate) site: SiteFacts,
    pub(crate) names: Names,
    pub(crate) dhcp: Dhcp,
    pub(crate) dns: DnsFacts,
    pub(crate) tftp: Option<TftpFacts>,
    pub(crate) time: TimeFacts,
    pub(crate) hosts: Vec<HostFacts>,
    pub(crate) switchovers: Vec<SwitchoverFacts>,
    pub(crate) proxies: Vec<ProxyFacts>,
    /// Those of the file, then those of the zone files.
    pub(crate) records: Vec<RecordFacts>,
    pub(crate) zone_files: Vec<SecondFile>,
    pub(crate) scopes: Vec<ScopeFacts>,
    pub(crate) classes: Vec<ClassFacts>,
    pub(crate) phones: Vec<PhoneFacts>,
    /// The files with phone lists, as they are named.
    pub(crate) inventory: Field<List<String>>,
    /// What those hold; filled in once they are read.
    pub(crate) rows: Vec<ListedPhone>,
    pub(crate) options: Vec<Explicit>,
    /// Some scopes could not be read at all.
    pub(crate) scopes_bad: bool,
    /// Some tables could not be read at all, and nobody knows which.
    pub(crate) sections_lost: bool,
}

/// Reads the whole file and the zone files that it names, which are relative to `base`; `catalogue` completes
/// classes of the same name.
pub(crate) fn read(
    root: &Table<'_>,
    catalogue: &[ClassFacts],
    now: Time,
    base: &Path,
    files: &dyn Files,
) -> Facts {
    let report = root.report;
    let site = SiteFacts::read(section(root, "site", "[site]"), root, now);
    let zone = Zone::new(site.zone.value());
    let (host_tables, hosts_bad) = sections(root, "host", "[[host]]");
    let hosts: Vec<_> =
        host_tables.iter().map(|table| HostFacts::read(table, zone.as_ref())).collect();
    let mut names = Names::new(zone, &hosts, hosts_bad);
    names.set_time(&site);
    let (switchover_tables, switchovers_bad) = sections(root, "switchover", "[switchover]");
    let switchovers: Vec<_> =
        switchover_tables.iter().map(|table| SwitchoverFacts::read(table, &names)).collect();
    let (proxy_tables, proxies_bad) = sections(root, "proxy", "[[proxy]]");
    let proxies: Vec<_> =
        proxy_tables.iter().map(|table| ProxyFacts::read(table, &names)).collect();
    names.add_groups(switchovers.iter().map(|it| (&it.name, &it.hosts)), switchovers_bad);
    names.add_groups(proxies.iter().map(|it| (&it.name, &it.hosts)), proxies_bad);

    let dns = DnsFacts::read(section(root, "dns", "[dns]"), root);
    let (record_tables, records_bad) = sections(root, "record", "[[record]]");
    let zone_name = names.zone().map(|zone| zone.name.clone());
    let (mut records, mut lost) = match &zone_name {
        Some(zone) => crate::zone::read_tables(&record_tables, zone, dns.ttl),
        None => (Vec::new(), true),
    };
    lost |= records_bad || dns.zone_files.is_bad();
    let mut zone_files = Vec::new();
    if let (Some(zone), Some(stated)) = (&zone_name, dns.zone_files.value()) {
        let read =
            crate::zone::read_files(&stated.items, zone.into(), dns.ttl, base, files, report);
        lost |= read.read.len() < stated.items.len()
            || read.read.iter().any(|file| file.report.has_errors());
        records.extend(read.records);
        zone_files = read.read;
    }
    names.add_records(&records, lost);

    let time = TimeFacts::read(section(root, "time", "[time]"), &names);
    let dhcp = dhcp::read(section(root, "dhcp", "[dhcp]"));
    let tftp = section(root, "tftp", "[tftp]").map(|table| TftpFacts::read(&table));
    let (scope_tables, scopes_bad) = sections(root, "scope", "[[scope]]");
    let scopes: Vec<_> = scope_tables.iter().map(|table| ScopeFacts::read(table, &names)).collect();
    names.add_scopes(&scopes, scopes_bad);
    let (class_tables, classes_bad) = sections(root, "class", "[[class]]");
    let classes =
        class_tables.iter().map(|table| ClassFacts::read(table, &names, catalogue)).collect();
    let (phone_tables, _) = sections(root, "phone", "[[phone]]");
    let phones = phone_tables.iter().map(|table| PhoneFacts::read(table, &names)).collect();
    let inventory = section(root, "inventory", "[inventory]").map_or(Field::Absent, |table| {
        let file = table.required("file", "\"phones.csv\"", |value| {
            network::non_empty(value, value.one_or_many(Value::text)?)
        });
        table.finish();
        file
    });
    let options = options(root, "[options]", Level::Everyone, &names);
    root.finish();
    check_names(report, &site);
    Facts {
        site,
        names,
        dhcp,
        dns,
        tftp,
        time,
        hosts,
        switchovers,
        proxies,
        records,
        zone_files,
        scopes,
        classes,
        phones,
        inventory,
        rows: Vec::new(),
        options,
        scopes_bad,
        sections_lost: classes_bad || report.are_sections_lost(),
    }
}

/// The classes of a catalogue.
pub(crate) fn read_classes(root: &Table<'_>) -> Vec<ClassFacts> {
    let names = Names::default();
    let (tables, _) = sections(root, "class", "[[class]]");
    let classes = tables.iter().map(|table| ClassFacts::read(table, &names, &[])).collect();
    root.finish();
    classes
}

/// The `options` table of `table`, at one level of precedence.
pub(crate) fn options(
    table: &Table<'_>,
    section: &str,
    level: Level,
    names: &Names,
) -> Vec<Explicit> {
    table
        .field("options", |value| {
            value.table(section).map(|table| crate::options::read(&table, level, names))
        })
        .into_value()
        .unwrap_or_default()
}

/// A table that may be there once.
fn section<'a>(root: &Table<'a>, key: &'static str, name: &str) -> Option<Table<'a>> {
    root.field(key, |value| {
        if value.is_list() && value.elements().iter().all(Value::is_table) {
            value.wrong_type(
                "one table",
                format!("write {name} instead of [{name}], and only once"),
            );
            return None;
        }
        value.table(name)
    })
    .into_value()
}

/// Tables of which there may be any number, and whether some could not be read.
fn sections<'a>(root: &Table<'a>, key: &'static str, name: &str) -> (Vec<Table<'a>>, bool) {
    let field = root.field(key, |value| {
        if value.is_table() {
            // One switchover is the rule, so that it goes without double brackets.
            if key != "switchover" {
                let hint = format!("write {name}, with two pairs of brackets");
                value.wrong_type("a list of tables", hint);
            }
            return value.table(name).map(|table| vec![table]);
        }
        if !value.is_list() {
            value.wrong_type("a list of tables", format!("start each one with {name}"));
            return None;
        }
        Some(value.elements().iter().filter_map(|element| element.table(name)).collect())
    });
    let bad = field.is_bad() || root.report.are_sections_lost() || root.has_near(key);
    (field.into_value().unwrap_or_default(), bad)
}

/// A site whose zone is a single label works, but hardly anybody means it.
fn check_names(report: &Report, site: &SiteFacts) {
    let Some(zone) = site.zone.good() else { return };
    if zone.value.labels().count() == 1 {
        report.push(
            Problem::warning(
                Code::BadName,
                &zone.span,
                format!("the zone `{}` is a single label", zone.value),
            )
            .label("a top-level domain")
            .hint(format!("did you mean something like \"{}.voip\"?", zone.value)),
        );
    }
}
