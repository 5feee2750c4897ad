//! Host names of the file, and their addresses.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use offhook_model::DomainName;

use crate::Code;
use crate::read::{HostFacts, SwitchoverFacts};
use crate::report::Problem;
use crate::tree::Value;
use crate::words;

/// Which names have addresses in the zone.
#[derive(Default)]
pub(crate) struct Names {
    zone: Option<DomainName>,
    hosts: BTreeMap<DomainName, Option<Ipv4Addr>>,
    /// Switchovers; no addresses where a host of theirs is unreadable.
    others: BTreeMap<DomainName, Vec<Ipv4Addr>>,
    /// Some names are not known, because their lines could not be read.
    incomplete: bool,
}

impl Names {
    pub(crate) fn new(zone: Option<DomainName>, hosts: &[HostFacts], incomplete: bool) -> Self {
        let mut names = Self { zone, incomplete, ..Self::default() };
        for host in hosts {
            match host.name.value() {
                Some(name) => {
                    let address = host.address.value().copied();
                    names.hosts.entry(name.clone()).or_insert(address);
                }
                None => names.incomplete |= host.lost,
            }
        }
        names
    }

    pub(crate) fn add_switchovers(&mut self, switchovers: &[SwitchoverFacts], incomplete: bool) {
        self.incomplete |= incomplete;
        for switchover in switchovers {
            let Some(name) = switchover.name.value() else {
                self.incomplete = true;
                continue;
            };
            let hosts = switchover.hosts.value();
            let addresses = hosts
                .filter(|hosts| hosts.complete)
                .and_then(|hosts| hosts.items.iter().map(|host| host.value.1).collect())
                .unwrap_or_default();
            self.others.insert(name.clone(), addresses);
        }
    }

    pub(crate) fn zone(&self) -> Option<&DomainName> {
        self.zone.as_ref()
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
        let name = DomainName::qualify(text, self.zone()?);
        if let Ok(name) = &name
            && let Some(address) = self.hosts.get(name)
        {
            return Some((name.clone(), *address));
        }
        if self.incomplete {
            return None;
        }
        let outside =
            name.is_ok() && text.contains('.') && words::nearest(text, self.short()).is_none();
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
        // What has no letter is meant as an address.
        if !text.contains(|c: char| c.is_alphabetic()) {
            return value.address().map(|address| vec![address]);
        }
        let name = DomainName::qualify(text, self.zone()?);
        if let Ok(name) = &name {
            if let Some(address) = self.hosts.get(name) {
                return address.map(|address| vec![address]);
            }
            if let Some(addresses) = self.others.get(name) {
                return (!addresses.is_empty()).then(|| addresses.clone());
            }
        }
        if !self.incomplete {
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
            let zone = self.zone.as_ref().map_or("", DomainName::as_str);
            let stem = name.as_str().strip_suffix(zone).and_then(|stem| stem.strip_suffix('.'));
            stem.unwrap_or(name.as_str())
        })
    }
}
