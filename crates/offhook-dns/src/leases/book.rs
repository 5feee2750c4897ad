//! Who may have which name.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use offhook_model::{DomainName, Lease, Time};
use rustc_hash::FxHashMap;

use super::record::{LABELS, Rank, Record, UNSETTLED};
use super::words::{Arena, Edit, Place};
use super::{LeaseNames, Octets, index, spread};

/// The longest time that the name of a lease may be remembered: what is gone is soon gone everywhere.
const LONGEST: Duration = Duration::from_secs(60);

/// Times to look at leases that have gone, beside as many as there are leases, before they are dropped.
const STALE: usize = 64;

/// The live leases, the names that they claim, and who has them.
///
/// A name belongs to the client that claimed it first, and leads to what that client was last acknowledged. Model and
/// hardware address are a client's own: what others call themselves does not take that name away. Names that the
/// configuration has are not given to leases at all.
///
/// What is known of a lease is in one place, its record, which readers and the book share; a renewal changes there what
/// no reader looks at. Of a name that one client alone claims nothing is kept but that it leads to the record. A record
/// has all that its client would be called, whatever the configuration has to say to that: it may say otherwise later.
#[derive(Debug)]
pub struct NameBook {
    rules: Rules,
    names: LeaseNames,
    arena: Arena,
    changed: bool,
    /// How many records there are.
    holders: usize,
    /// Names that several addresses claim, in the order in which they did.
    contested: HashMap<Box<str>, Vec<Ipv4Addr>>,
    /// How many addresses with a label begin with these octets.
    above: FxHashMap<Octets, u32>,
    /// When to look whether a lease has ended. Where its record says otherwise, the record is right.
    ends: BinaryHeap<Reverse<(Time, Ipv4Addr)>>,
    /// Counts acknowledgements: what came last.
    count: u64,
    /// Addresses to or from which a name has moved.
    moved: Vec<Ipv4Addr>,
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

#[derive(Debug)]
struct Claim {
    text: String,
    rank: Rank,
    hash: u32,
    /// Whether rules and configuration let it have the name.
    is_granted: bool,
}

impl Rules {
    fn grant(&self, rank: Rank) -> bool {
        match rank {
            Rank::Model => self.models,
            Rank::HostName => self.hosts,
        }
    }
}

impl NameBook {
    /// A book of `zone`, without leases.
    pub fn new(zone: &DomainName, rules: Rules) -> Self {
        let mut names = LeaseNames::new(zone);
        names.ttl = rules.ttl.max(1);
        Self {
            rules,
            names,
            arena: Arena::new(),
            changed: false,
            holders: 0,
            contested: HashMap::new(),
            above: FxHashMap::default(),
            ends: BinaryHeap::new(),
            count: 0,
            moved: Vec::new(),
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
        self.ends.peek().map(|Reverse((at, _))| *at)
    }

    /// A lease is as it is from now on: acknowledged, given back, declined. `is_taken` tells whether the configuration
    /// has the name of a label, given in lower-case wire form.
    pub fn put(&mut self, now: Time, lease: &Lease, is_taken: impl Fn(&[u8]) -> bool) {
        self.count += 1;
        self.set(now, lease, self.count, is_taken);
    }

    /// The same about a lease that is as it was before: a client that has others as well may have been acknowledged one
    /// of those since.
    pub fn restate(&mut self, now: Time, lease: &Lease, is_taken: impl Fn(&[u8]) -> bool) {
        let own = |record: &Record| record.hardware() == lease.hardware;
        let known = self.names.held(lease.address).filter(|(_, record)| own(record));
        match known {
            Some((_, record)) => self.set(now, lease, record.last, is_taken),
            None => self.put(now, lease, is_taken),
        }
    }

    /// The lease, whose latest acknowledgement is the `last`-th.
    fn set(&mut self, now: Time, lease: &Lease, last: u64, is_taken: impl Fn(&[u8]) -> bool) {
        let Lease { address, hardware, expires, .. } = *lease;
        if !lease.is_live(now) {
            return self.remove(address);
        }
        self.begin();
        let mut before = self.names.held(address);
        if before.as_ref().is_some_and(|(_, record)| record.hardware() != hardware) {
            self.remove(address);
            before = None;
        }
        let claims = self.claims(lease, is_taken);
        let ttl = ttl(lease);
        let looked_at = before.as_ref().map(|(_, record)| record.looked_at);
        let looked_at = self.look_at(address, expires, looked_at);
        let labels = claims.iter().map(|claim| (claim.text.as_str(), claim.rank));
        let mut record = Record::new(address, hardware, ttl, labels);
        (record.expires, record.looked_at, record.last) = (expires, looked_at, last);
        match before {
            Some((at, before))
                if before.ttl == ttl
                    && before.labels().eq(record.labels())
                    && claims
                        .iter()
                        .all(|claim| claim.is_granted == self.has(claim, address, at)) =>
            {
                self.renew(at, &record, &claims);
            }
            before => self.replace(before, record, &claims),
        }
        self.settled();
    }

    /// The address is nobody's any more.
    pub fn remove(&mut self, address: Ipv4Addr) {
        self.begin();
        let Some((at, record)) = self.names.held(address) else { return };
        self.holders -= 1;
        self.lead_address(address, Some(at), None);
        for (label, _) in record.labels() {
            self.unclaim(label, address, at);
        }
        if record.pointer != 0 {
            self.changed = true;
            self.count_above(address, false);
        }
        self.edit().drop(at, record.units());
        self.settled();
    }

    /// Takes the names of leases that have ended.
    pub fn expire(&mut self, now: Time) {
        while let Some(Reverse((at, address))) =
            self.ends.peek().copied().filter(|end| end.0.0 <= now)
        {
            self.ends.pop();
            match self.names.held(address) {
                Some((_, record)) if record.looked_at != at => {}
                Some((_, record)) if record.expires <= now => self.remove(address),
                Some((place, mut record)) => {
                    record.looked_at = record.expires;
                    self.edit().set_tail(place, &record);
                    self.ends.push(Reverse((record.expires, address)));
                }
                None => {}
            }
        }
    }

    /// Other rules hold from now on, and the configuration has other names. What it has now is taken from leases, and
    /// what it has no longer goes to those that claim it: of several, to the one that was acknowledged longest ago.
    /// `is_taken` tells whether a lease of this address may not have a name, given in lower-case wire form. Takes as
    /// long as there are leases; what was published before stays as it was.
    pub fn set_rules(&mut self, rules: Rules, is_taken: impl Fn(Ipv4Addr, &[u8]) -> bool) {
        self.begin();
        self.rules = rules;
        let ttl = rules.ttl.max(1);
        self.changed |= std::mem::replace(&mut self.names.ttl, ttl) != ttl && self.holders > 0;
        let all = self.names.records().map(|(_, record)| (record.last, record.address));
        let mut all: Vec<_> = all.collect();
        all.sort_unstable();
        for (_, address) in all {
            let Some((at, record)) = self.names.held(address) else { continue };
            for (label, rank) in record.labels() {
                // Labels of leases are ASCII.
                let text = String::from_utf8_lossy(label).into_owned();
                let hash = self.names.hash(label);
                let is_granted = rules.grant(rank) && !is_taken(address, &self.names.wire(&text));
                let claim = Claim { text, rank, hash, is_granted };
                match (self.has(&claim, address, at), is_granted) {
                    (true, false) => self.unclaim(label, address, at),
                    (false, true) => self.claim(&claim, address, at),
                    _ => continue,
                }
                self.moved.push(address);
            }
            self.settled();
        }
    }

    /// Names that several addresses claim, each with the address that came first.
    pub fn first_holders(&self) -> impl Iterator<Item = (&str, Ipv4Addr)> {
        let first = |(label, claims): (_, &Vec<_>)| Some((label, *claims.first()?));
        self.contested.iter().map(|(label, claims)| (&**label, claims)).filter_map(first)
    }

    /// The address came first to this name, if it claims it at all: what was known before a restart.
    pub fn came_first(&mut self, label: &str, address: Ipv4Addr) {
        self.begin();
        let Some(claims) = self.contested.get_mut(label) else { return };
        let Some(place) = claims.iter().position(|other| *other == address) else { return };
        if let Some(earlier) = claims.get_mut(..=place) {
            earlier.rotate_right(1);
        }
        self.settle(label.as_bytes());
        self.settled();
    }

    /// How many holders, contested names and ends there are, and units of memory that are in use.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 4] {
        [self.holders, self.contested.len(), self.ends.len(), self.arena.in_use()]
    }

    /// What was published stays as it is.
    fn begin(&mut self) {
        if Arc::get_mut(&mut self.names.readers).is_none() {
            let readers = std::mem::replace(&mut self.names.readers, Arc::new(()));
            self.arena.share(readers);
        }
    }

    fn edit(&mut self) -> Edit<'_> {
        Edit { words: &mut self.names.words, arena: &mut self.arena }
    }

    /// What a lease claims, the best for its PTR record first.
    fn claims(&self, lease: &Lease, is_taken: impl Fn(&[u8]) -> bool) -> Vec<Claim> {
        let mut claims: Vec<Claim> = Vec::with_capacity(LABELS);
        let mut add = |text: String, rank| {
            let hash = self.names.hash(text.as_bytes());
            match claims.iter_mut().find(|claim| claim.hash == hash) {
                // One of two labels, once in four thousand million times, if they are not the same.
                Some(claim) if claim.text == text => claim.rank = claim.rank.min(rank),
                Some(_) => {}
                None => claims.push(Claim { text, rank, hash, is_granted: false }),
            };
        };
        if let Some(name) = lease.host_label() {
            // Programs that hold names to the letter of RFC 1123 take no underscore.
            let strict = name.contains('_').then(|| name.replace('_', "-"));
            add(name, Rank::HostName);
            strict.into_iter().for_each(|name| add(name, Rank::HostName));
        }
        if let Some(name) = lease.model_label() {
            add(name, Rank::Model);
        }
        for claim in &mut claims {
            claim.is_granted =
                self.rules.grant(claim.rank) && !is_taken(&self.names.wire(&claim.text));
        }
        claims
    }

    /// Whether an address, whose record is there, was granted a name: it leads to it, or would if nobody else had it.
    fn has(&self, claim: &Claim, address: Ipv4Addr, at: Place) -> bool {
        match self.contested.get(claim.text.as_str()) {
            Some(claims) => claims.contains(&address),
            None => self.names.leads_to(claim.hash, at),
        }
    }

    /// Sees to it that a lease is looked at when it ends, or before; tells when. A renewal moves nothing.
    fn look_at(&mut self, address: Ipv4Addr, expires: Time, before: Option<Time>) -> Time {
        if let Some(before) = before.filter(|before| *before <= expires) {
            return before;
        }
        if self.ends.len() > 2 * self.holders + STALE {
            let all = index::all(&self.names.words, self.names.addresses);
            let ends = all.map(|at| Reverse(Record::look(&self.names.words, at)));
            // The new one has its own below.
            self.ends = ends.filter(|Reverse((_, of))| *of != address).collect();
        }
        self.ends.push(Reverse((expires, address)));
        expires
    }

    /// A client was acknowledged what it has: of its names, those that others claim as well may lead here now.
    fn renew(&mut self, at: Place, record: &Record, claims: &[Claim]) {
        self.edit().set_tail(at, record);
        if !self.contested.is_empty() {
            claims.iter().for_each(|claim| self.settle(claim.text.as_bytes()));
        }
    }

    /// A client has an address, or has it under other names.
    fn replace(&mut self, before: Option<(Place, Record)>, mut record: Record, claims: &[Claim]) {
        let address = record.address;
        let was_pointed = before.as_ref().is_some_and(|(_, before)| before.pointer != 0);
        self.changed |= was_pointed;
        record.pointer = if was_pointed { UNSETTLED } else { 0 };
        let at = self.edit().put_record(&record);
        self.holders += usize::from(before.is_none());
        self.lead_address(address, before.as_ref().map(|(at, _)| *at), Some(at));
        if let Some((at, before)) = &before {
            let stays = |label: &[u8]| {
                claims.iter().any(|claim| claim.is_granted && claim.text.as_bytes() == label)
            };
            let gone = before.labels().filter(|(label, _)| !stays(label));
            gone.for_each(|(label, _)| self.unclaim(label, address, *at));
        }
        for claim in claims.iter().filter(|claim| claim.is_granted) {
            self.claim(claim, address, at);
        }
        self.moved.push(address);
        if let Some((at, before)) = before {
            self.edit().drop(at, before.units());
        }
    }

    fn claim(&mut self, claim: &Claim, address: Ipv4Addr, at: Place) {
        let text = claim.text.as_str();
        if let Some(claims) = self.contested.get_mut(text) {
            if !claims.contains(&address) {
                claims.push(address);
            }
            return self.settle(text.as_bytes());
        }
        match self.names.led_to(text.as_bytes()) {
            Some((_, other)) if other.address != address => {
                self.contested.insert(text.into(), vec![other.address, address]);
                self.settle(text.as_bytes());
            }
            own => self.lead(claim.hash, own.map(|(before, _)| before), Some(at)),
        }
    }

    /// The record that was there claims a label no more.
    fn unclaim(&mut self, label: &[u8], address: Ipv4Addr, at: Place) {
        let contested = std::str::from_utf8(label).ok().filter(|_| !self.contested.is_empty());
        let contested = contested.and_then(|text| Some((text, self.contested.get_mut(text)?)));
        if let Some((text, claims)) = contested {
            claims.retain(|other| *other != address);
            let is_settled = claims.len() < 2;
            self.settle(label);
            if is_settled {
                self.contested.remove(text);
            }
            return;
        }
        let hash = self.names.hash(label);
        if self.names.leads_to(hash, at) {
            self.lead(hash, Some(at), None);
        }
    }

    /// Gives a name that several claim to whom it belongs now.
    fn settle(&mut self, label: &[u8]) {
        let claims = std::str::from_utf8(label).ok().and_then(|text| self.contested.get(text));
        let Some(claims) = claims else { return };
        let wanted = self.winner(label, claims);
        let current = self.names.led_to(label);
        if wanted.map(|(at, _)| at) == current.as_ref().map(|(at, _)| *at) {
            return;
        }
        let (from, to) = (current.as_ref().map(|it| it.1.address), wanted.map(|(_, to)| to));
        if from != to {
            self.moved.extend(from.into_iter().chain(to));
        }
        let (current, wanted) = (current.map(|(at, _)| at), wanted.map(|(at, _)| at));
        self.lead(self.names.hash(label), current, wanted);
    }

    /// Where a name leads: to what the client that came first was last acknowledged.
    fn winner(&self, label: &[u8], claims: &[Ipv4Addr]) -> Option<(Place, Ipv4Addr)> {
        let claims = claims.iter().filter_map(|address| {
            let (at, record) = self.names.held(*address)?;
            Some((record.rank_of(label)?, at, record))
        });
        let claims: Vec<_> = claims.collect();
        let rank = claims.iter().map(|(rank, ..)| *rank).min()?;
        let mut strongest = claims.iter().filter(|(own, ..)| *own == rank);
        let (_, at, first) = strongest.next()?;
        let hardware = first.hardware();
        let own = strongest
            .filter(|(.., other)| !hardware.bytes().is_empty() && other.hardware() == hardware);
        let own = own.map(|(_, at, record)| (at, record)).chain([(at, first)]);
        own.max_by_key(|(_, record)| record.last).map(|(at, record)| (*at, record.address))
    }

    /// Addresses from or to which names have moved point at the best name that leads there now.
    fn settled(&mut self) {
        while let Some(address) = self.moved.pop() {
            self.point(address);
        }
    }

    fn point(&mut self, address: Ipv4Addr) {
        let Some((at, mut record)) = self.names.held(address) else { return };
        let hashes: Vec<_> = record.labels().map(|(label, _)| self.names.hash(label)).collect();
        let leads_here = |hash: &u32| self.names.leads_to(*hash, at);
        // There are three at most.
        let wanted = hashes.iter().position(leads_here).map_or(0, |place| place as u8 + 1);
        let before = std::mem::replace(&mut record.pointer, wanted);
        if wanted == before {
            return;
        }
        self.changed = true;
        if (wanted == 0) != (before == 0) {
            self.count_above(address, wanted != 0);
        }
        if self.edit().is_own(at) {
            return self.edit().set_pointer(at, &record);
        }
        let copy = self.edit().put_record(&record);
        self.lead_address(address, Some(at), Some(copy));
        for hash in hashes {
            if self.names.leads_to(hash, at) {
                self.lead(hash, Some(at), Some(copy));
            }
        }
        self.edit().drop(at, record.units());
    }

    /// A label leads to another record than before.
    fn lead(&mut self, hash: u32, before: Option<Place>, to: Option<Place>) {
        if before != to {
            self.changed = true;
            self.names.labels = self.led(self.names.labels, hash, before, to);
            self.names.len =
                self.names.len + usize::from(to.is_some()) - usize::from(before.is_some());
        }
    }

    fn lead_address(&mut self, address: Ipv4Addr, before: Option<Place>, to: Option<Place>) {
        let hash = spread(address.to_bits());
        self.names.addresses = self.led(self.names.addresses, hash, before, to);
    }

    /// The root of an index in which this has changed.
    fn led(&mut self, root: Place, hash: u32, before: Option<u32>, to: Option<u32>) -> Place {
        match (before, to) {
            (Some(before), to) => self.edit().replace(root, hash, before, to.unwrap_or(0)),
            (None, Some(to)) => self.edit().insert(root, hash, to),
            (None, None) => root,
        }
    }

    /// An address has a label from now on, or none any more.
    fn count_above(&mut self, address: Ipv4Addr, is_labelled: bool) {
        for octets in Octets::of(address) {
            let count = self.above.entry(octets).or_default();
            *count = if is_labelled { *count + 1 } else { count.saturating_sub(1) };
            let (before, to) = match (*count, is_labelled) {
                (1, true) => (None, Some(1)),
                (0, false) => (Some(1), None),
                _ => continue,
            };
            if to.is_none() {
                self.above.remove(&octets);
            }
            self.names.above = self.led(self.names.above, spread(octets.0), before, to);
        }
    }
}

/// A third of the lease at most (RFC 4702, section 5); the lease may be given back any time.
fn ttl(lease: &Lease) -> u32 {
    let third = lease.expires.since(lease.since) / 3;
    let seconds = u32::try_from(third.min(LONGEST).as_secs()).unwrap_or_default();
    seconds.max(1)
}
