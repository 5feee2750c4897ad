//! From the TOML tree to the facts of the file, each with its place; one module a section.

mod class;
mod host;
mod network;
mod phone;
mod scope;
mod site;

use offhook_model::DomainName;

pub(crate) use class::ClassFacts;
pub(crate) use host::{HostFacts, SwitchoverFacts};
pub(crate) use network::non_empty as read_non_empty;
pub(crate) use network::{DnsFacts, TftpFacts, TimeFacts};
pub(crate) use phone::PhoneFacts;
pub(crate) use scope::{LEASE, ScopeFacts};
pub(crate) use site::SiteFacts;
pub(crate) use site::time_offset as read_time_offset;

use crate::Code;
use crate::names::Names;
use crate::options::{Explicit, Level};
use crate::report::{Problem, Report};
use crate::tree::{Table, Value};

/// Everything the file says.
pub(crate) struct Facts {
    pub(crate) site: SiteFacts,
    pub(crate) names: Names,
    pub(crate) dns: DnsFacts,
    pub(crate) tftp: Option<TftpFacts>,
    pub(crate) time: TimeFacts,
    pub(crate) hosts: Vec<HostFacts>,
    pub(crate) switchovers: Vec<SwitchoverFacts>,
    pub(crate) scopes: Vec<ScopeFacts>,
    pub(crate) classes: Vec<ClassFacts>,
    pub(crate) phones: Vec<PhoneFacts>,
    pub(crate) options: Vec<Explicit>,
}

/// Reads the whole file; `catalogue` completes classes of the same name.
pub(crate) fn read(root: &Table<'_>, catalogue: &[ClassFacts]) -> Facts {
    let report = root.report;
    let site = SiteFacts::read(section(root, "site", "[site]"), root);
    let hosts: Vec<_> = sections(root, "host", "[[host]]")
        .iter()
        .map(|table| HostFacts::read(table, &site))
        .collect();
    let mut names = Names::new(site.zone.value().cloned(), &hosts);
    let switchovers: Vec<_> = sections(root, "switchover", "[switchover]")
        .iter()
        .map(|table| SwitchoverFacts::read(table, &names))
        .collect();
    names.add_switchovers(&switchovers);

    let time = TimeFacts::read(section(root, "time", "[time]"), &names);
    let dns = DnsFacts::read(section(root, "dns", "[dns]"), root);
    let tftp = section(root, "tftp", "[tftp]").map(|table| TftpFacts::read(&table));
    let scopes = sections(root, "scope", "[[scope]]")
        .iter()
        .map(|table| ScopeFacts::read(table, &names))
        .collect();
    let classes: Vec<_> = sections(root, "class", "[[class]]")
        .iter()
        .map(|table| ClassFacts::read(table, &names, catalogue))
        .collect();
    let phones = sections(root, "phone", "[[phone]]")
        .iter()
        .map(|table| PhoneFacts::read(table, &names))
        .collect();
    let options = options(root, "[options]", Level::Everyone, &names);
    root.finish();
    check_names(report, &site);
    Facts { site, names, dns, tftp, time, hosts, switchovers, scopes, classes, phones, options }
}

/// The classes of a catalogue.
pub(crate) fn read_classes(root: &Table<'_>) -> Vec<ClassFacts> {
    let names = Names::default();
    let classes = sections(root, "class", "[[class]]");
    let classes = classes.iter().map(|table| ClassFacts::read(table, &names, &[])).collect();
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

/// A table that may be there any number of times.
fn sections<'a>(root: &Table<'a>, key: &'static str, name: &str) -> Vec<Table<'a>> {
    root.field(key, |value| {
        if value.is_table() && name == "[switchover]" {
            return value.table(name).map(|table| vec![table]);
        }
        if value.is_table() {
            value.wrong_type("a list of tables", format!("write {name} in two pairs of brackets"));
            return None;
        }
        if !value.is_list() {
            value.wrong_type("a list of tables", format!("start each one with {name}"));
            return None;
        }
        Some(value.elements().iter().filter_map(|element| element.table(name)).collect::<Vec<_>>())
    })
    .into_value()
    .unwrap_or_default()
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

/// A name completed with the zone, or nothing when the zone is not known.
fn qualify(text: &str, zone: Option<&DomainName>) -> Option<DomainName> {
    DomainName::qualify(text, zone?).ok()
}
