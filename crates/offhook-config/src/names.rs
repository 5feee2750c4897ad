//! Host names of the file, and their addresses.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use offhook_model::{DomainName, WireName};

use crate::Code;
use crate::known::Known;
use crate::read::{GroupHosts, HostFacts};
use crate::report::Problem;
use crate::tree::{Field, Value};
use crate::words;
use crate::zone::{RecordFacts, types};

/// The zone that names are in.
#[derive(Clone)]
pub(crate) struct Zone {
    pub(crate) name: DomainName,
    /// Its line could not be read: names are still compared with one another, by their first label.
    is_stand_in: bool,
}

impl Zone {
    /// The zone as the file states it, or one that stands in for it.
    pub(crate) fn new(stated: Option<&DomainName>) -> Option<Self> {
        match stated {
            Some(name) => Some(Self { name: name.clone(), is_stand_in: false }),
            None => Some(Self { name: "zone.invalid".parse().ok()?, is_stand_in: true }),
        }
    }

    /// The zone that names have to be in; none when nobody knows it.
    pub(crate) fn stated(&self) -> Option<&DomainName> {
        (!self.is_stand_in).then_some(&self.name)
    }

    pub(crate) fn qualify(&self, text: &str) -> Option<DomainName> {
        DomainName::qualify(text, &self.name).ok()
    }

    fn is_same(&self, one: &DomainName, other: &DomainName) -> bool {
        one == other || self.is_stand_in && one.labels().next() == other.labels().next()
    }
}

/// Which names have addresses in the zone.
#[derive(Default)]
pub(crate) struct Names {
    zone: Option<Zone>,
    pub(crate) known: Known,
    hosts: BTreeMap<DomainName, Option<Ipv4Addr>>,
    /// Switchovers, proxies and names of records, with the addresses that are known here.
    others: BTreeMap<DomainName, Vec<Ipv4Addr>>,
    /// Those of them that have a host which could not be read.
    unreadable: BTreeSet<DomainName>,
    /// Some names are not known, because their lines could not be read.
    incomplete: bool,
    /// How many of those have no text that could be compared.
    nameless: usize,
    /// The names that are taken to be theirs.
    excused: RefCell<BTreeSet<String>>,
}

impl Names {
    pub(crate) fn new(zone: Option<Zone>, hosts: &[HostFacts], incomplete: bool) -> Self {
        let mut names = Self { zone, incomplete, ..Self::default() };
        for host in hosts {
            match host.name.value() {
                Some(name) => {
                    let address = host.address.value().copied();
                    names.hosts.entry(name.clone()).or_insert(address);
                }
                None => {
                    names.incomplete |= host.lost;
                    names.nameless += usize::from(host.is_nameless);
                }
            }
        }
        names
    }

    /// Adds names that stand for several hosts.
    pub(crate) fn add_groups<'f>(
        &mut self,
        groups: impl Iterator<Item = (&'f Field<DomainName>, &'f GroupHosts)>,
        incomplete: bool,
    ) {
        self.incomplete |= incomplete;
        for (name, hosts) in groups {
            let Some(name) = name.value() else {
                self.incomplete = true;
                continue;
            };
            let hosts = hosts.value();
            let addresses = hosts
                .filter(|hosts| hosts.complete)
                .and_then(|hosts| hosts.items.iter().map(|host| host.value.1).collect());
            if addresses.is_none() {
                self.unreadable.insert(name.clone());
            }
            self.others.insert(name.clone(), addresses.unwrap_or_default());
        }
    }

    /// Adds the names that records state: those with addresses, and aliases of them.
    pub(crate) fn add_records(&mut self, records: &[RecordFacts], incomplete: bool) {
        self.incomplete |= incomplete;
        let text = |name: &WireName| name.to_string().parse::<DomainName>().ok();
        let mut aliases = Vec::new();
        for record in records.iter().map(|facts| &facts.record) {
            let Some(owner) = text(&record.owner) else { continue };
            match record.rtype {
                types::A => {
                    let octets: Option<[u8; 4]> = (*record.data).try_into().ok();
                    self.others.entry(owner).or_default().extend(octets.map(Ipv4Addr::from));
                }
                types::AAAA => {
                    self.others.entry(owner).or_default();
                }
                types::CNAME => {
                    let target = crate::zone::target(record.rtype, &record.data);
                    aliases.extend(target.and_then(|name| text(&name)).map(|to| (owner, to)));
                }
                _ => {}
            }
        }
        // An alias of an alias is one that the next round resolves.
        for _ in 0..aliases.len().min(8) {
            for (alias, target) in &aliases {
                let host = self.hosts.get(target).map(|address| Vec::from_iter(*address));
                if self.unreadable.contains(target) {
                    self.unreadable.insert(alias.clone());
                }
                if let Some(addresses) = host.or_else(|| self.others.get(target).cloned()) {
                    self.others.insert(alias.clone(), addresses);
                }
            }
        }
        // What leads out of the zone has its addresses elsewhere.
        for (alias, _) in aliases {
            self.others.entry(alias).or_default();
        }
    }

    pub(crate) fn zone(&self) -> Option<&Zone> {
        self.zone.as_ref()
    }

    /// The host called `name`, and its address where that could be read.
    fn known_host(&self, name: &DomainName) -> Option<(&DomainName, &Option<Ipv4Addr>)> {
        let zone = self.zone()?;
        self.hosts
            .get_key_value(name)
            .or_else(|| self.hosts.iter().find(|(known, _)| zone.is_same(known, name)))
    }

    fn known_other(&self, name: &DomainName) -> Option<&Vec<Ipv4Addr>> {
        let zone = self.zone()?;
        let other = self.others.iter().find(|(known, _)| zone.is_same(known, name));
        other.map(|(_, addresses)| addresses)
    }

    /// Whether the name that `value` gives may be one of those that could not be read: the file says it in
    /// some other place as well, or there are as many hosts without a name.
    fn may_be_lost(&self, value: &Value<'_>, text: &str) -> bool {
        if !self.incomplete {
            return false;
        }
        if value.report.mentions(text) > 1 {
            return true;
        }
        let mut excused = self.excused.borrow_mut();
        if excused.len() < self.nameless {
            excused.insert(text.to_owned());
        }
        excused.contains(text)
    }

    /// Whether `name` has an address, or its absence was already reported.
    pub(crate) fn knows(&self, name: &DomainName) -> bool {
        self.hosts.contains_key(name) || self.others.contains_key(name) || self.incomplete
    }

    /// The host that `text` names, for a switchover; reports one that there is not.
    pub(crate) fn host(
        &self,
        value: &Value<'_>,
        text: &str,
    ) -> Option<(DomainName, Option<Ipv4Addr>)> {
        let name = self.zone()?.qualify(text);
        if let Some((name, address)) = name.as_ref().and_then(|name| self.known_host(name)) {
            return Some((name.clone(), *address));
        }
        if self.may_be_lost(value, text) {
            return None;
        }
        let outside =
            name.is_some() && text.contains('.') && words::nearest(text, self.short()).is_none();
        let problem = if outside {
            Problem::error(
                Code::SrvTargetWithoutAddress,
                &value.span,
                format!("`{text}` would be the target of SRV records, and has no address here"),
            )
            .label("no [[host]] has this name")
            .hint("add a [[host]] with this name and its address")
        } else {
            self.unknown(Code::UnknownHost, value, "host", text)
        };
        value.report.push(problem);
        None
    }

    /// The addresses of an address literal or of a name in the zone; reports, under `code`, a name without.
    pub(crate) fn resolve(
        &self,
        value: &Value<'_>,
        code: Code,
        what: &str,
    ) -> Option<Vec<Ipv4Addr>> {
        let text = value.string_for("a string with an address or a host's name", None)?;
        self.resolve_text(value, text, code, what)
    }

    /// The same of `text`, which is part of `value`.
    pub(crate) fn resolve_text(
        &self,
        value: &Value<'_>,
        text: &str,
        code: Code,
        what: &str,
    ) -> Option<Vec<Ipv4Addr>> {
        // What has no letter is meant as an address.
        if !text.contains(|c: char| c.is_alphabetic()) {
            return value.address_in(text).map(|address| vec![address]);
        }
        if let Some(name) = self.zone()?.qualify(text) {
            if let Some((_, address)) = self.known_host(&name) {
                return address.map(|address| vec![address]);
            }
            if let Some(addresses) = self.known_other(&name) {
                if addresses.is_empty() && !self.unreadable.contains(&name) && !self.incomplete {
                    value.report.push(
                        Problem::error(
                            code,
                            &value.span,
                            format!("{what} `{text}` has no IPv4 address that is known here"),
                        )
                        .label("only IPv6, or an alias of a name elsewhere")
                        .hint("write an address, or the name of a [[host]]"),
                    );
                }
                return (!addresses.is_empty()).then(|| addresses.clone());
            }
        }
        if !self.may_be_lost(value, text) {
            value.report.push(self.unknown(code, value, what, text));
        }
        None
    }

    fn unknown(&self, code: Code, value: &Value<'_>, what: &str, text: &str) -> Problem {
        let hint = match words::nearest(text, self.short()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if code == Code::UnknownHost => {
                "add a [[host]] with this name and its address".to_owned()
            }
            None => "only names in the zone can be resolved: add a [[host]], or write an address"
                .to_owned(),
        };
        let message = match code {
            Code::UnknownHost => format!("unknown {what} `{text}`"),
            _ => format!("{what} `{text}` has no address in the zone"),
        };
        Problem::error(code, &value.span, message).label("no [[host]] has this name").hint(hint)
    }

    /// Every name, without the zone where that is shorter.
    pub(crate) fn short(&self) -> impl Iterator<Item = &str> {
        self.hosts.keys().chain(self.others.keys()).map(|name| {
            let zone = self.zone.as_ref().map_or("", |zone| zone.name.as_str());
            let stem = name.as_str().strip_suffix(zone).and_then(|stem| stem.strip_suffix('.'));
            stem.unwrap_or(name.as_str())
        })
    }
}
