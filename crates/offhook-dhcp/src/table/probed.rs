//! What the network is asked about, and what its answers change.

use std::net::Ipv4Addr;
use std::time::Duration;

use offhook_model::{HardwareAddress, LeaseState, LeaseWrite, Mac, ScopeId, Time};

use super::entry::{Entry, Name, nobody};
use super::pending::{Change, Meaning};
use super::record::Record;
use super::{Asker, Provisional, Table};

/// How long an address is withheld whose last holder still answers for it.
const LINGER: Duration = Duration::from_secs(300);

/// For how long after its end a lease was lately its client's: the address is given back to it without asking the
/// network first.
const LATELY: Duration = Duration::from_secs(600);

impl Table {
    /// The addresses of a scope that are given out next: at most `limit` of each pool, and those kept for phones that
    /// have none, unless there are more than so many.
    pub(crate) fn upcoming(&self, now: Time, scope: ScopeId, limit: usize) -> Vec<Ipv4Addr> {
        let Some(pools) = self.scopes.get(usize::from(scope.0)) else { return Vec::new() };
        let mut found = pools.upcoming(now, limit, |address| {
            self.entries.at(address).is_some()
                || self.offers.is_held(address)
                || self.pending.is_changing(address)
        });
        let is_withheld =
            |address| self.entries.at(address).is_some_and(|entry: &Entry| entry.is_withheld(now));
        let idle = pools.few_reserved().filter(|address| {
            !self.is_out(now, *address) && !self.offers.is_held(*address) && !is_withheld(*address)
        });
        let idle: Vec<_> = idle.take(limit + 1).collect();
        if idle.len() <= limit {
            found.extend(idle);
        }
        found
    }

    /// Whether an address is the client's, or was until lately ([`LATELY`]).
    pub(crate) fn was_lately_of(&self, now: Time, asker: &Asker<'_>, address: Ipv4Addr) -> bool {
        self.entries.at(address).is_some_and(|entry| {
            entry.scope == asker.scope.0
                && entry.state != LeaseState::Declined
                && now.since(entry.expires) < LATELY
                && (entry.belongs_to(asker.client) || entry.record.hardware() == asker.hardware)
        })
    }

    /// Whether a client is the one that was found to use an address that is withheld for that: by its hardware address,
    /// or, where nobody's is known, by its word.
    pub(super) fn is_its_user(&self, asker: &Asker<'_>, address: Ipv4Addr, says_so: bool) -> bool {
        self.entries.at(address).filter(|entry| entry.is_found_in_use()).is_some_and(|entry| {
            let by = entry.record.hardware();
            if by.bytes().is_empty() { says_so } else { by == asker.hardware }
        })
    }

    /// Whether who answers for an address is the very client that it is held for.
    pub(crate) fn is_held_for(&self, address: Ipv4Addr, by: Mac) -> bool {
        self.offers.at(address).is_some_and(|offer| offer.hardware.mac() == Some(by))
    }

    /// Withholds an address that somebody uses without a lease, provisionally; `None` when it is leased, withheld or
    /// on its way to be.
    pub(crate) fn withhold(
        &mut self,
        now: Time,
        scope: ScopeId,
        scope_name: &str,
        address: Ipv4Addr,
        by: Option<Mac>,
    ) -> Option<Provisional> {
        let entry = self.entries.at(address);
        if self.is_out(now, address) || entry.is_some_and(|entry| entry.is_withheld(now)) {
            return None;
        }
        // Who had it may be about to leave: a phone that hops to another VLAN.
        let lingers = entry.is_some_and(|entry| {
            entry.state != LeaseState::Declined
                && by.is_some()
                && entry.record.hardware().mac() == by
        });
        let hold = if lingers { self.decline_hold.min(LINGER) } else { self.decline_hold };
        self.drop_offer(address);
        let hardware = by.map_or(HardwareAddress::new(0, &[]), HardwareAddress::from);
        let entry = Entry {
            address,
            scope: scope.0,
            scope_name: self.names.intern(scope_name),
            class_name: Name::NONE,
            state: LeaseState::Declined,
            since: now,
            expires: now + hold,
            record: Record::new(&nobody(), hardware, None),
        };
        let writes = vec![LeaseWrite::Put(self.lease_of(&entry))];
        let ticket = self.pending.issue(Change::new(Meaning::Declined, address));
        self.put(ticket, scope.0, address, Some(entry));
        Some((ticket, writes))
    }
}
