//! Who may have which name.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use offhook_model::{DomainName, HardwareAddress, Lease, Time};

use super::{LeaseNames, Octets, Target, fingerprint};

/// The longest time that the name of a lease may be remembered: what is gone is soon gone everywhere.
const LONGEST: Duration = Duration::from_secs(60);

/// The live leases, the names that they claim, and who has them.
///
/// A name belongs to the client that claimed it first, and leads to what that client was last acknowledged. Model and
/// hardware address are a client's own: what others call themselves does not take that name away. Names that the
/// configuration has are not given to leases at all.
#[derive(Debug)]
pub struct NameBook {
    rules: Rules,
    names: LeaseNames,
    changed: bool,
    holders: HashMap<Ipv4Addr, Holder>,
    /// Everybody who would have a name, in no order; never empty.
    claims: HashMap<Arc<str>, Vec<Claim>>,
    /// When to look whether a lease has ended, one time for each.
    ends: BTreeSet<(Time, Ipv4Addr)>,
    /// Counts acknowledgements: what came first.
    count: u64,
}

/// What is published of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// `<model>-<mac>`.
    pub models: bool,
    /// What clients call themselves.
    pub hosts: bool,
    /// The longest TTL, seconds.
    pub ttl: u32,
}

/// Who has an address.
#[derive(Debug)]
struct Holder {
    hardware: HardwareAddress,
    expires: Time,
    /// The time in [`NameBook::ends`], never after `expires`.
    looked_at: Time,
    /// Of its records, seconds.
    ttl: u32,
    /// What it claims, the best for its PTR record first.
    labels: Vec<Label>,
}

impl Holder {
    fn target<T>(&self, to: T) -> Target<T> {
        Target { to, ttl: self.ttl, fingerprint: fingerprint(self.hardware) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Label {
    text: Arc<str>,
    rank: Rank,
}

/// By what a name is claimed, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Model,
    HostName,
}

#[derive(Clone, Copy, Debug)]
struct Claim {
    address: Ipv4Addr,
    hardware: HardwareAddress,
    rank: Rank,
    /// The acknowledgement that made it.
    first: u64,
    /// The latest one.
    last: u64,
}

impl NameBook {
    /// A book of `zone`, without leases.
    pub fn new(zone: &DomainName, rules: Rules) -> Self {
        Self {
            rules,
            names: LeaseNames::new(zone),
            changed: false,
            holders: HashMap::new(),
            claims: HashMap::new(),
            ends: BTreeSet::new(),
            count: 0,
        }
    }

    /// What is to be published, when it has changed since this was last asked.
    pub fn changed(&mut self) -> Option<&LeaseNames> {
        std::mem::take(&mut self.changed).then_some(&self.names)
    }

    /// What is to be published.
    pub fn names(&self) -> &LeaseNames {
        &self.names
    }

    /// When [`NameBook::expire`] has something to do again.
    pub fn next_end(&self) -> Option<Time> {
        self.ends.first().map(|(at, _)| *at)
    }

    /// A lease is as it is from now on: acknowledged, given back, declined. `is_taken` tells whether the configuration
    /// has the name of a label, given in lower-case wire form.
    pub fn put(&mut self, now: Time, lease: &Lease, is_taken: impl Fn(&[u8]) -> bool) {
        let Lease { address, hardware, expires, .. } = *lease;
        if !lease.is_live(now) {
            return self.remove(address);
        }
        if self.holders.get(&address).is_some_and(|holder| holder.hardware != hardware) {
            self.remove(address);
        }
        self.count += 1;
        let labels = self.labels(lease, is_taken);
        let looked_at = self.look_at(address, expires);
        let ttl = self.ttl(lease);
        if let Some(holder) = self.holders.get_mut(&address)
            && holder.ttl == ttl
            && holder.labels == labels
        {
            (holder.expires, holder.looked_at) = (expires, looked_at);
            return self.renew(address, &labels);
        }
        let holder = Holder { hardware, expires, looked_at, ttl, labels: labels.clone() };
        let before = self.holders.insert(address, holder);
        let dropped = before.into_iter().flat_map(|before| before.labels);
        for Label { text, .. } in
            dropped.filter(|old| !labels.iter().any(|new| new.text == old.text))
        {
            self.unclaim(&text, address);
        }
        for Label { text, rank } in labels {
            self.claim(text, address, hardware, rank);
        }
        self.point(address);
    }

    /// The address is nobody's any more.
    pub fn remove(&mut self, address: Ipv4Addr) {
        let Some(holder) = self.holders.remove(&address) else { return };
        self.ends.remove(&(holder.looked_at, address));
        for Label { text, .. } in holder.labels {
            self.unclaim(&text, address);
        }
        self.point(address);
    }

    /// Takes the names of leases that have ended.
    pub fn expire(&mut self, now: Time) {
        while let Some((_, address)) = self.ends.first().copied().filter(|(at, _)| *at <= now) {
            match self.holders.get_mut(&address) {
                Some(holder) if now < holder.expires => {
                    let looked_at = std::mem::replace(&mut holder.looked_at, holder.expires);
                    let next = (holder.expires, address);
                    self.ends.remove(&(looked_at, address));
                    self.ends.insert(next);
                }
                _ => self.remove(address),
            }
        }
    }

    /// How many holders, claimed names and ends there are.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 3] {
        [self.holders.len(), self.claims.len(), self.ends.len()]
    }

    /// What a lease claims, the best for its PTR record first.
    fn labels(&self, lease: &Lease, is_taken: impl Fn(&[u8]) -> bool) -> Vec<Label> {
        let mut labels: Vec<Label> = Vec::with_capacity(3);
        let mut add = |text: String, rank| {
            match labels.iter_mut().find(|label| *label.text == *text) {
                Some(label) => label.rank = label.rank.min(rank),
                None if is_taken(&self.names.wire(&text)) => {}
                None => {
                    let known = self.claims.get_key_value(text.as_str()).map(|(text, _)| text);
                    let text = known.cloned().unwrap_or_else(|| text.into());
                    labels.push(Label { text, rank });
                }
            };
        };
        if let Some(name) = lease.host_label().filter(|_| self.rules.hosts) {
            // Programs that hold names to the letter of RFC 1123 take no underscore.
            let strict = name.contains('_').then(|| name.replace('_', "-"));
            add(name, Rank::HostName);
            strict.into_iter().for_each(|name| add(name, Rank::HostName));
        }
        if let Some(name) = lease.model_label().filter(|_| self.rules.models) {
            add(name, Rank::Model);
        }
        labels
    }

    /// A third of the lease at most (RFC 4702, section 5); the lease may be given back any time.
    fn ttl(&self, lease: &Lease) -> u32 {
        let third = lease.expires.since(lease.since) / 3;
        let seconds = u32::try_from(third.min(LONGEST).as_secs()).unwrap_or_default();
        seconds.clamp(1, self.rules.ttl.max(1))
    }

    /// Sees to it that a lease is looked at when it ends, or before; tells when. A renewal moves nothing.
    fn look_at(&mut self, address: Ipv4Addr, expires: Time) -> Time {
        let before = self.holders.get(&address).map(|holder| holder.looked_at);
        if let Some(before) = before.filter(|before| *before <= expires) {
            return before;
        }
        if let Some(before) = before {
            self.ends.remove(&(before, address));
        }
        self.ends.insert((expires, address));
        expires
    }

    /// A client was acknowledged what it has: of its names, those that others claim as well may lead here now.
    fn renew(&mut self, address: Ipv4Addr, labels: &[Label]) {
        for Label { text, .. } in labels {
            let Some(claims) = self.claims.get_mut(text) else { continue };
            let is_contested = claims.len() > 1;
            if let Some(claim) = claims.iter_mut().find(|claim| claim.address == address) {
                claim.last = self.count;
            }
            if is_contested {
                self.settle(text);
            }
        }
    }

    fn claim(&mut self, text: Arc<str>, address: Ipv4Addr, hardware: HardwareAddress, rank: Rank) {
        let now = self.count;
        let claims = self.claims.entry(Arc::clone(&text)).or_default();
        match claims.iter_mut().find(|claim| claim.address == address) {
            Some(claim) => (claim.rank, claim.last) = (rank, now),
            None => claims.push(Claim { address, hardware, rank, first: now, last: now }),
        }
        self.settle(&text);
    }

    fn unclaim(&mut self, text: &Arc<str>, address: Ipv4Addr) {
        if let Some(claims) = self.claims.get_mut(text) {
            claims.retain(|claim| claim.address != address);
            if claims.is_empty() {
                self.claims.remove(text);
            }
        }
        self.settle(text);
    }

    /// Gives a name to whom it belongs now.
    fn settle(&mut self, text: &Arc<str>) {
        let winner = self.claims.get(text).and_then(|claims| winner(claims));
        let wanted = winner.and_then(|to| Some(self.holders.get(&to)?.target(to)));
        let current = self.names.addresses.get(&**text).cloned();
        if wanted == current {
            return;
        }
        self.changed = true;
        match &wanted {
            Some(target) => self.names.addresses.insert(Arc::clone(text), target.clone()),
            None => self.names.addresses.remove(&**text),
        };
        let (wanted, current) = (wanted.map(|target| target.to), current.map(|target| target.to));
        if wanted != current {
            current.into_iter().chain(wanted).for_each(|address| self.point(address));
        }
    }

    /// Points an address at the best name that leads to it.
    fn point(&mut self, address: Ipv4Addr) {
        let leads_here = |label: &&Label| {
            self.names.addresses.get(&*label.text).is_some_and(|target| target.to == address)
        };
        let wanted = self.holders.get(&address).and_then(|holder| {
            let label = holder.labels.iter().find(leads_here)?;
            Some(holder.target(Arc::clone(&label.text)))
        });
        let current = self.names.labels.get(&address);
        if wanted.as_ref() == current {
            return;
        }
        self.changed = true;
        let was_there = current.is_some();
        if wanted.is_some() != was_there {
            for octets in Octets::of(address) {
                let count = self.names.above.get(&octets).copied().unwrap_or_default();
                match if was_there { count.saturating_sub(1) } else { count + 1 } {
                    0 => self.names.above.remove(&octets),
                    count => self.names.above.insert(octets, count),
                };
            }
        }
        match wanted {
            Some(target) => self.names.labels.insert(address, target),
            None => self.names.labels.remove(&address),
        };
    }
}

/// Where a name leads: to what the client that came first was last acknowledged.
fn winner(claims: &[Claim]) -> Option<Ipv4Addr> {
    if let [one] = claims {
        return Some(one.address);
    }
    let rank = claims.iter().map(|claim| claim.rank).min()?;
    let strongest = claims.iter().filter(|claim| claim.rank == rank);
    let first = strongest.clone().min_by_key(|claim| claim.first)?;
    let has_hardware = !first.hardware.bytes().is_empty();
    let own = strongest.filter(|claim| has_hardware && claim.hardware == first.hardware);
    Some(own.max_by_key(|claim| claim.last).unwrap_or(first).address)
}
