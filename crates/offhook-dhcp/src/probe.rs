//! Whether somebody uses an address that is about to be given out.
//!
//! Waiting for an answer that mostly does not come would make every first OFFER late. So addresses are probed ahead of
//! time: of each pool, those that come next are kept probed, a few of them a second, and an OFFER takes one at once. A
//! client that gets one that is not known to be free (just after a start, or because it asked for it) waits for the
//! result, and nobody waits with it. In a boot storm that would be everybody: there, after the first few, an OFFER waits
//! for as long only as a machine near by takes to answer, and what comes later counts if it is in before the REQUEST.
//! More than a network should have to hear is not probed at all; phones look for themselves, and decline.

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use offhook_model::{ScopeId, Site, Time};

use crate::Link;

/// How long the result of a probe counts.
const FRESH: Duration = Duration::from_secs(120);
/// How many addresses of a pool are kept probed, and of the phones of a scope: phones that come at once, and are more than
/// so many, wait.
const STOCK: usize = 64;
/// How many are at most, of all pools. A pool has fewer than [`STOCK`] where there are hundreds: what the rounds of a server
/// that is idle, of which there is one a second, come about with while the first results still count.
const STOCKS: usize = 24_576;
/// How often that is looked after, in how many scopes at a time, and until how many are to be asked about: a site of
/// thousands of scopes is asked little by little.
const ROUND: (Duration, usize, usize) = (Duration::from_millis(200), 64, 256);
/// Addresses that are remembered as probed.
const MEMORY: usize = 65_536;
/// Milliseconds from one probe in a scope to the next, and the most that may be saved up.
const PROBES: (u64, u64) = (20, 96 * 20);
/// The same for those that are kept probed: there is always something left for who asks for an address it had.
const PROBES_AHEAD: (u64, u64) = (20, 64 * 20);
/// Milliseconds from one OFFER that waits for its probe to the next, and the most that may be saved up.
const WAITS: (u64, u64) = (1000, 4 * 1000);

/// How long an OFFER waits that may not wait for the whole time: who uses its address mostly has answered by then.
const GLANCE: Duration = Duration::from_millis(8);

/// A question to the network: does anybody have this address?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The address.
    pub address: Ipv4Addr,
    /// How to ask.
    pub kind: ProbeKind,
}

/// How to ask whether somebody has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// By an ARP request without a sender's address (RFC 5227, 2.1.1).
    Arp {
        /// Index of the interface in the links.
        link: usize,
    },
    /// By an ICMP echo request: the address is behind a relay.
    Icmp,
}

/// What an OFFER of an address known to be free takes of that: when many come at once, a storm is on.
const KNOWN: u64 = 125;

/// Something that may be done so often.
#[derive(Clone, Copy, Debug, Default)]
struct Budget {
    full_at: u64,
}

impl Budget {
    fn take(&mut self, now: Time, (cost, burst): (u64, u64)) -> bool {
        let now = now.as_millis();
        let after = self.full_at.max(now) + cost;
        let is_left = after <= now + burst;
        if is_left {
            self.full_at = after;
        }
        is_left
    }

    /// Takes as much as there is, up to `cost`.
    fn spend(&mut self, now: Time, cost: u64, burst: u64) {
        let now = now.as_millis();
        self.full_at = (self.full_at.clamp(now, now + burst) + cost).min(now + burst);
    }
}

/// What is asked and what is known. A probe that was not answered in time means that the address is free.
#[derive(Default)]
pub(crate) struct Probes {
    wait: Duration,
    /// How each scope is probed, if it is, and how often it may be.
    scopes: Vec<Option<(ProbeKind, Budget)>>,
    waits: Budget,
    /// When each address was last asked about.
    asked: HashMap<Ipv4Addr, Time>,
    order: VecDeque<(Time, Ipv4Addr)>,
    /// Not sent yet.
    next: Vec<Probe>,
    /// How many addresses of a pool are kept probed.
    stock: usize,
    /// The scopes that are probed, the one to go on from first.
    turns: VecDeque<ScopeId>,
    /// When the last round began, and how many scopes are left of it.
    looked: Option<Time>,
    left: usize,
}

impl Probes {
    pub(crate) fn new(site: &Site, links: &[Link]) -> Self {
        let scopes = site.scope_ids().map(|(id, scope)| {
            let link = links.iter().position(|link| link.scope == Some(id));
            let kind = link.map_or(ProbeKind::Icmp, |link| ProbeKind::Arp { link });
            scope.probe.then_some((kind, Budget::default()))
        });
        let probed = || site.scope_ids().filter(|(_, scope)| scope.probe);
        let pools: usize = probed().map(|(_, scope)| scope.pools.len()).sum();
        // Those kept for the phones of a scope are as good as a pool.
        let phones = site.phones.iter().filter(|phone| phone.address.is_some());
        let stocks = pools + phones.count().min(probed().count());
        Self {
            wait: site.dhcp.probe_wait,
            scopes: scopes.collect(),
            stock: (STOCKS / stocks.max(1)).clamp(1, STOCK),
            turns: probed().map(|(id, _)| id).collect(),
            ..Self::default()
        }
    }

    /// The next scope whose stock is to be looked after now. To be asked until there is none.
    pub(crate) fn due(&mut self, now: Time) -> Option<ScopeId> {
        let (every, scopes, probes) = ROUND;
        if self.looked.is_none_or(|at| now.since(at) >= every) {
            self.looked = Some(now);
            self.left = self.turns.len().min(scopes);
        }
        if self.left == 0 || self.next.len() >= probes {
            self.left = 0;
            return None;
        }
        self.left -= 1;
        self.turns.rotate_left(1);
        self.turns.back().copied()
    }

    /// How many addresses of a pool are kept probed.
    pub(crate) fn stock(&self) -> usize {
        self.stock
    }

    /// Asks about one of those that are kept probed.
    pub(crate) fn ask_ahead(&mut self, now: Time, scope: ScopeId, address: Ipv4Addr) {
        self.ask_within(now, scope, address, PROBES_AHEAD);
    }

    /// Asks about an address, unless it was lately or too much is asked in its scope. Tells when the answer is in; in
    /// the past when it is known to be free.
    pub(crate) fn ask(&mut self, now: Time, scope: ScopeId, address: Ipv4Addr) -> Option<Time> {
        self.ask_within(now, scope, address, PROBES)
    }

    fn ask_within(
        &mut self,
        now: Time,
        scope: ScopeId,
        address: Ipv4Addr,
        probes: (u64, u64),
    ) -> Option<Time> {
        let asked = self.asked.get(&address).filter(|at| **at <= now && now.since(**at) < FRESH);
        if let Some(at) = asked {
            return Some(*at + self.wait);
        }
        let (kind, budget) = self.scopes.get_mut(usize::from(scope.0))?.as_mut()?;
        if !budget.take(now, probes) {
            return None;
        }
        self.next.push(Probe { address, kind: *kind });
        while let Some((at, oldest)) = self.order.front().copied()
            && (self.order.len() >= MEMORY || now.since(at) >= FRESH)
        {
            self.order.pop_front();
            if self.asked.get(&oldest) == Some(&at) {
                self.asked.remove(&oldest);
            }
        }
        self.asked.insert(address, now);
        self.order.push_back((now, address));
        Some(now + self.wait)
    }

    /// Until when the OFFER of an address is to wait, if it is.
    pub(crate) fn hold(&mut self, now: Time, scope: ScopeId, address: Ipv4Addr) -> Option<Time> {
        let known_at = self.ask(now, scope, address)?;
        if known_at <= now {
            self.waits.spend(now, KNOWN, WAITS.1);
            return None;
        }
        Some(if self.waits.take(now, WAITS) { known_at } else { known_at.min(now + GLANCE) })
    }

    /// When it is known whether an address is free, if it is not known already, and as far as may be asked. An ACK
    /// waits for that, however many do: nothing can take it back.
    pub(crate) fn known_at(
        &mut self,
        now: Time,
        scope: ScopeId,
        address: Ipv4Addr,
    ) -> Option<Time> {
        self.ask(now, scope, address).filter(|at| *at > now)
    }

    /// Whether the scope is asked by ARP: an answer tells whose it is.
    pub(crate) fn is_by_arp(&self, scope: ScopeId) -> bool {
        let scope = self.scopes.get(usize::from(scope.0)).and_then(Option::as_ref);
        scope.is_some_and(|(kind, _)| matches!(kind, ProbeKind::Arp { .. }))
    }

    /// Whether an address was asked about so lately that an answer may be one to that.
    pub(crate) fn is_asked(&self, now: Time, address: Ipv4Addr) -> bool {
        self.asked.get(&address).is_some_and(|at| now.since(*at) < FRESH)
    }

    /// An address is in use, or was given to somebody: what was known of it is of no use any more.
    pub(crate) fn forget(&mut self, address: Ipv4Addr) {
        self.asked.remove(&address);
    }

    /// What is to be sent.
    pub(crate) fn take(&mut self) -> Vec<Probe> {
        std::mem::take(&mut self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_secs(1_800_000_000);

    fn probes(scopes: usize) -> Probes {
        let scopes = vec![Some((ProbeKind::Icmp, Budget::default())); scopes];
        Probes { scopes, ..Probes::default() }
    }

    #[test]
    fn what_was_asked_is_remembered_for_as_long_as_it_counts() {
        const SCOPE: ScopeId = ScopeId(0);
        let again = Ipv4Addr::new(10, 0, 0, 1);
        let mut probes = probes(1);
        let mut now = START;
        for n in 0..20_000 {
            now = now + Duration::from_millis(PROBES.0);
            let other = Ipv4Addr::from_bits(0x0a01_0000 + n);
            assert!(probes.ask(now, SCOPE, other).is_some(), "{n}");
            // Time and again, so that it is not forgotten when its first time is.
            if n % 64 == 0 {
                now = now + Duration::from_millis(PROBES.0);
                probes.forget(again);
                assert!(probes.ask(now, SCOPE, again).is_some(), "{n}");
            }
            assert!(probes.is_asked(now, again), "{n}");
        }
        // Two minutes, 50 a second.
        assert_eq!(probes.order.len(), 6000);
        assert!(probes.asked.len() <= 6000, "{}", probes.asked.len());
    }

    #[test]
    fn what_many_scopes_asked_is_remembered_in_bounded_memory_the_latest_of_it() {
        let mut probes = probes(1000);
        let asked = |n: u32| (ScopeId((n / 96) as u16), Ipv4Addr::from_bits(0x0a01_0000 + n));
        for n in 0..96_000 {
            let (scope, address) = asked(n);
            assert!(probes.ask(START, scope, address).is_some(), "{n}");
        }
        assert_eq!((probes.asked.len(), probes.order.len()), (MEMORY, MEMORY));
        assert!(!probes.is_asked(START, asked(0).1) && probes.is_asked(START, asked(95_999).1));
    }

    #[test]
    fn those_that_are_kept_probed_leave_something_for_who_asks_for_one() {
        let mut probes = probes(1);
        let mut address = (0x0a01_0000..).map(Ipv4Addr::from_bits);
        for _ in 0..200 {
            probes.ask_ahead(START, ScopeId(0), address.next().unwrap());
        }
        assert_eq!(probes.take().len(), 64);
        let asked = address.take(200).filter(|one| probes.ask(START, ScopeId(0), *one).is_some());
        assert_eq!(asked.count(), 32);
        probes.ask_ahead(START + Duration::from_secs(1), ScopeId(0), Ipv4Addr::LOCALHOST);
        // The 32 are paid back first.
        assert_eq!(probes.take().len(), 32 + 1);
    }
}
