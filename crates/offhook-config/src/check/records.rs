//! Records against one another, and against what follows from hosts and switchovers.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use offhook_model::{DomainName, WireName};

use super::Context;
use crate::Code;
use crate::report::{Problem, Span};
use crate::zone::{RecordFacts, name_of_type, reverse, target, types};

pub(super) fn check(context: &Context<'_>) {
    let facts = context.facts;
    if facts.records.is_empty() || facts.site.zone.value().is_none() {
        return;
    }
    let records = Records::new(context);
    for record in &facts.records {
        if records.outside(record) {
            continue;
        }
        records.place(record);
        records.occluded(record);
    }
    records.together();
    records.derived();
    records.targets();
    records.aliases();
}

/// Aliases that are followed.
const LONGEST_CHAIN: usize = 16;

/// Where a record stands: the file, and the place in it.
type Place<'f> = (Option<usize>, &'f Span);

struct Records<'c, 'f> {
    context: &'c Context<'f>,
    zone: WireName,
    /// Stated records by name.
    names: HashMap<&'f WireName, Vec<&'f RecordFacts>>,
    /// Names with address records that follow from hosts and their groups.
    derived: HashMap<WireName, &'f Span>,
    /// Reverse names of hosts' addresses, each a zone of its own where no scope has it.
    reverse: HashSet<WireName>,
}

impl<'c, 'f> Records<'c, 'f> {
    fn new(context: &'c Context<'f>) -> Self {
        let facts = context.facts;
        let mut names: HashMap<_, Vec<_>> = HashMap::new();
        for record in &facts.records {
            names.entry(&record.record.owner).or_default().push(record);
        }
        let hosts = facts.hosts.iter().map(|host| &host.name);
        let groups = facts.switchovers.iter().map(|switchover| &switchover.name);
        let groups = groups.chain(facts.proxies.iter().map(|proxy| &proxy.name));
        let derived = hosts
            .chain(groups)
            .filter_map(|name| name.good())
            .map(|name| (WireName::from(&name.value), &name.span))
            .collect();
        let zone = facts.site.zone.value().map_or_else(WireName::root, WireName::from);
        let addresses = facts.hosts.iter().flat_map(|host| {
            let ipv4 = host.address.value().copied().map(IpAddr::V4);
            ipv4.into_iter().chain(host.ipv6.value().copied().map(IpAddr::V6))
        });
        Self { context, zone, names, derived, reverse: addresses.filter_map(reverse).collect() }
    }

    fn at(record: &RecordFacts) -> Place<'_> {
        (record.file, &record.span)
    }

    /// Reports a problem in the file it is in; `first` is another place, which is shown if that is in the same.
    fn push(&self, (file, _): Place<'_>, problem: Problem, first: Option<(Place<'_>, &str)>) {
        let problem = match first {
            Some(((other, span), label)) if other == file => problem.related(span, label),
            _ => problem,
        };
        match file.and_then(|file| self.context.facts.zone_files.get(file)) {
            Some(file) => file.report.push(problem),
            None => self.context.report.push(problem),
        }
    }

    fn has(&self, owner: &WireName, rtype: u16) -> Option<&'f RecordFacts> {
        let records = self.names.get(owner)?;
        records.iter().find(|record| record.record.rtype == rtype).copied()
    }

    /// Reports a record in none of our zones.
    fn outside(&self, record: &RecordFacts) -> bool {
        let owner = &record.record.owner;
        if owner.is_within(&self.zone) || self.is_reverse(owner) {
            return false;
        }
        let zone = &self.zone;
        let problem = Problem::error(
            Code::RecordOutsideZone,
            &record.owner_span,
            format!("`{owner}` is neither in `{zone}` nor in a reverse zone of this site"),
        )
        .label("another zone")
        .hint("write a name in the zone; without a dot at its end it is completed");
        self.push(Self::at(record), problem, None);
        true
    }

    /// Whether the name is in the reverse zone of a scope or a host.
    fn is_reverse(&self, owner: &WireName) -> bool {
        let facts = self.context.facts;
        let mut above = std::iter::successors(Some(owner.clone()), WireName::parent);
        let subnets = || facts.scopes.iter().filter_map(|scope| scope.subnet.value());
        above.any(|name| self.reverse.contains(&name))
            || reverse_octets(owner).is_some_and(|octets| {
                subnets().any(|subnet| {
                    // A zone is whole octets, and three of them at most.
                    let length = usize::from(subnet.prefix().div_ceil(8).clamp(1, 3));
                    let mut whole = [0; 4];
                    let fits = octets.get(..length).map(|octets| {
                        whole.iter_mut().zip(octets).for_each(|(to, from)| *to = *from);
                    });
                    let first = u32::from(subnet.network()) & mask(length);
                    let last = u32::from(subnet.broadcast());
                    fits.is_some()
                        && (first..=last).contains(&u32::from(Ipv4Addr::from(whole)))
                })
            })
            // A scope that could not be read may be what the record is in.
            || (subnets().count() < facts.scopes.len() || facts.scopes_bad)
                && reverse_octets(owner).is_some()
    }

    /// An SOA belongs to the top of a zone, and neither a delegation nor a DNAME to a wildcard.
    fn place(&self, record: &RecordFacts) {
        let (owner, rtype) = (&record.record.owner, record.record.rtype);
        let is_below = owner.is_within(&self.zone) && *owner != self.zone;
        let (what, hint) = match rtype {
            types::SOA if is_below => {
                ("an SOA record below the top of the zone", "write it for @, the zone itself")
            }
            types::NS | types::DNAME if owner.is_wildcard() => {
                ("a wildcard that leads elsewhere", "name what leads elsewhere, without *")
            }
            _ => return,
        };
        let problem = Problem::error(Code::RecordConflict, &record.span, format!("this is {what}"))
            .label(format!("`{owner}` is not the place of it"))
            .hint(hint);
        self.push(Self::at(record), problem, None);
    }

    /// The delegation or DNAME of ours that `owner` is below.
    fn cut_above(&self, owner: &WireName) -> Option<&'f RecordFacts> {
        let mut name = owner.parent()?;
        while name.is_within(&self.zone) {
            let cut = if name == self.zone { None } else { self.has(&name, types::NS) };
            if let Some(cut) = cut.or_else(|| self.has(&name, types::DNAME)) {
                return Some(cut);
            }
            name = name.parent()?;
        }
        None
    }

    /// Only addresses of the servers themselves may stand below a delegation.
    fn occluded(&self, record: &RecordFacts) {
        let (owner, rtype) = (&record.record.owner, record.record.rtype);
        let own = self.has(owner, types::NS).filter(|_| {
            owner.is_within(&self.zone)
                && *owner != self.zone
                && !matches!(rtype, types::NS | types::DS)
        });
        let Some(cut) = self.cut_above(owner).or(own) else { return };
        if matches!(rtype, types::A | types::AAAA) && cut.record.rtype == types::NS {
            return;
        }
        let problem = Problem::warning(
            Code::RecordOccluded,
            &record.span,
            format!("`{}` belongs to somebody else's zone", record.record.owner),
        )
        .label("nobody is answered with this")
        .hint("write it where that zone is served, or leave the delegation out");
        self.push(Self::at(record), problem, Some((Self::at(cut), "led elsewhere here")));
    }

    /// Records of one name.
    fn together(&self) {
        for records in self.names.values() {
            let mut by_type: BTreeMap<u16, Vec<&RecordFacts>> = BTreeMap::new();
            for record in records {
                by_type.entry(record.record.rtype).or_default().push(record);
            }
            if let Some(alias) = by_type.get(&types::CNAME).and_then(|records| records.first()) {
                let others = by_type.iter().filter(|(rtype, _)| **rtype != types::CNAME);
                for other in others.filter_map(|(_, records)| records.first()) {
                    let (first, second) = match alias.order() < other.order() {
                        true => (alias, other),
                        false => (other, alias),
                    };
                    self.alias_and(second, Some((Self::at(first), "first given here")));
                }
            }
            for (rtype, records) in by_type {
                self.set(rtype, &records);
            }
        }
    }

    fn alias_and(&self, record: &RecordFacts, first: Option<(Place<'_>, &str)>) {
        let owner = &record.record.owner;
        let problem = Problem::error(
            Code::RecordConflict,
            &record.span,
            format!("`{owner}` is an alias, and has other records as well"),
        )
        .label("a CNAME record stands alone")
        .hint("leave out the CNAME record, or everything else of this name");
        self.push(Self::at(record), problem, first);
    }

    /// Records of one name and type.
    fn set(&self, rtype: u16, records: &[&RecordFacts]) {
        let Some((first, others)) = records.split_first() else { return };
        let is_single = matches!(rtype, types::CNAME | types::DNAME | types::SOA);
        let mut before = HashMap::from([(&first.record.data, *first)]);
        for record in others {
            let name = name_of_type(rtype);
            let owner = &record.record.owner;
            if let Some(same) = before.insert(&record.record.data, record) {
                let problem = Problem::warning(
                    Code::DuplicateRecord,
                    &record.span,
                    format!("this {name} record of `{owner}` is there twice"),
                )
                .label("given again here")
                .hint("leave one of them out");
                self.push(Self::at(record), problem, Some((Self::at(same), "first given here")));
            } else if is_single {
                let problem = Problem::error(
                    Code::RecordConflict,
                    &record.span,
                    format!("`{owner}` has two {name} records"),
                )
                .label("one more")
                .hint("leave one of them out");
                self.push(Self::at(record), problem, Some((Self::at(first), "first given here")));
            } else if record.record.ttl != first.record.ttl {
                let problem = Problem::warning(
                    Code::RecordTtl,
                    &record.span,
                    format!("the {name} records of `{owner}` have different TTLs"),
                )
                .label(format!("{} s here, and {} s before", record.record.ttl, first.record.ttl))
                .hint("give all of them the same; the shortest is used");
                self.push(Self::at(record), problem, Some((Self::at(first), "first given here")));
            }
        }
    }

    /// Records against what follows from other facts.
    fn derived(&self) {
        let sip = self.sip_names();
        for (owner, records) in &self.names {
            let Some(alias) = records.iter().find(|record| record.record.rtype == types::CNAME)
            else {
                continue;
            };
            let derived = self.derived.get(*owner).copied().or_else(|| sip.get(*owner).copied());
            let label = "this gives the name records";
            if derived.is_some() || **owner == self.zone {
                let first = derived.map(|span| ((None, span), label));
                if records.len() == 1 {
                    self.alias_and(alias, first);
                }
            }
        }
        for (name, span) in &self.derived {
            let Some(cut) = self
                .cut_above(name)
                .or_else(|| self.has(name, types::NS).filter(|_| *name != self.zone))
            else {
                continue;
            };
            let problem = Problem::warning(
                Code::RecordOccluded,
                span,
                format!("`{name}` is in a zone that is delegated to somebody else"),
            )
            .label("nobody is answered with this")
            .hint("give it another name, or leave the delegation out");
            self.push((None, span), problem, Some((Self::at(cut), "led elsewhere here")));
        }
    }

    /// Owners of SRV records that follow from switchovers and proxies.
    fn sip_names(&self) -> HashMap<WireName, &'f Span> {
        let facts = self.context.facts;
        let zone = facts.site.zone.value();
        let pairs = facts.switchovers.iter().filter_map(|it| Some((zone?, &it.sip, &it.span)));
        let pools =
            facts.proxies.iter().filter_map(|it| Some((it.name.value()?, &it.sip, &it.span)));
        let mut names = HashMap::new();
        for (domain, sip, span) in pairs.chain(pools) {
            let services =
                [("_sip._udp", sip.udp), ("_sip._tcp", sip.tcp), ("_sips._tcp", sip.tls)];
            for (service, _) in services.iter().filter(|(_, port)| port.is_some()) {
                if let Ok(name) = format!("{service}.{domain}").parse::<DomainName>() {
                    names.insert(WireName::from(&name), span);
                }
            }
        }
        names
    }

    /// Whoever is named by an NS, MX or SRV record has addresses (RFC 2181 section 10.3).
    fn targets(&self) {
        for record in &self.context.facts.records {
            let rtype = record.record.rtype;
            if !matches!(rtype, types::NS | types::MX | types::SRV) {
                continue;
            }
            let Some(target) = target(rtype, &record.record.data) else { continue };
            let target = target.to_lowercase();
            if !target.is_within(&self.zone) || self.derived.contains_key(&target) {
                continue;
            }
            let name = name_of_type(rtype);
            let has = |rtype| self.has(&target, rtype).is_some();
            let (message, label) = if has(types::CNAME) {
                (format!("this {name} record points to `{target}`, which is an alias"), "an alias")
            } else if has(types::A) || has(types::AAAA) || self.is_elsewhere(&target) {
                continue;
            } else {
                let message = format!("this {name} record points to `{target}`");
                (message, "which has no address in the zone")
            };
            let problem = Problem::warning(Code::RecordTarget, &record.span, message)
                .label(label)
                .hint("write an A record for it, or the name of another machine");
            self.push(Self::at(record), problem, None);
        }
    }

    /// Aliases that lead back to themselves: whoever asks for one gets nowhere.
    fn aliases(&self) {
        let next = |of: &RecordFacts| {
            let target = target(types::CNAME, &of.record.data)?.to_lowercase();
            self.has(&target, types::CNAME)
        };
        let all = self.context.facts.records.iter();
        for record in all.filter(|it| it.record.rtype == types::CNAME) {
            let is_it = |other: &&RecordFacts| other.record.owner == record.record.owner;
            let after =
                std::iter::successors(next(record), |alias| next(alias)).take(LONGEST_CHAIN);
            let after: Vec<_> = after.collect();
            // Told once, at the first of them; what only leads into a loop is not part of it.
            let Some(end) = after.iter().position(is_it) else { continue };
            let others = after.get(..end).unwrap_or_default();
            if others.iter().any(|other| other.order() < record.order()) {
                continue;
            }
            let chain = [record].into_iter().chain(others.iter().copied()).chain([record]);
            let names: Vec<_> = chain.map(|it| format!("`{}`", it.record.owner)).collect();
            let problem = Problem::warning(
                Code::AliasLoop,
                &record.span,
                format!("this alias leads back to itself: {}", names.join(", ")),
            )
            .label("nobody gets further")
            .hint("let one of them point to a name that has an address");
            self.push(Self::at(record), problem, None);
        }
    }

    /// Whether a name may have addresses that we do not see: a wildcard's, or those of a zone that is delegated
    /// and whose server is another one.
    fn is_elsewhere(&self, target: &WireName) -> bool {
        let mut name = target.parent();
        while let Some(above) = name.filter(|name| name.is_within(&self.zone)) {
            let star = WireName::from_labels([&b"*"[..]]).and_then(|star| star.below(&above));
            if star.is_some_and(|star| self.names.contains_key(&star)) {
                return true;
            }
            name = above.parent();
        }
        // A server that is named for its own zone needs its address here, as glue.
        self.cut_above(target).is_some_and(|cut| {
            let servers = self.names.get(&cut.record.owner).into_iter().flatten();
            let named = servers.filter_map(|it| crate::zone::target(types::NS, &it.record.data));
            !named.into_iter().any(|server| server.to_lowercase() == *target)
        })
    }
}

impl RecordFacts {
    /// Records of the configuration itself come before those of zone files.
    fn order(&self) -> (Option<usize>, usize) {
        (self.file, self.span.start)
    }
}

/// The octets of the address, most significant first, that a name in `in-addr.arpa` begins with.
fn reverse_octets(name: &WireName) -> Option<Vec<u8>> {
    let mut labels: Vec<_> = name.labels().collect();
    let top = labels.split_off(labels.len().checked_sub(2)?);
    let is_arpa =
        top.iter().zip([&b"in-addr"[..], b"arpa"]).all(|(a, b)| a.eq_ignore_ascii_case(b));
    let octet = |label: &[u8]| std::str::from_utf8(label).ok()?.parse::<u8>().ok();
    is_arpa.then(|| labels.iter().rev().map_while(|label| octet(label)).collect())
}

/// The mask of a number of octets, up to four.
fn mask(octets: usize) -> u32 {
    let bits = 32 - 8 * octets.min(4) as u32;
    u32::MAX.checked_shl(bits).unwrap_or(0)
}
