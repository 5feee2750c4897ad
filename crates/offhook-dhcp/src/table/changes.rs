//! Changes of the table that go to disk: granted, given back, declined; durable, or failed.

use std::net::Ipv4Addr;

use offhook_model::{Event, LeaseState, LeaseWrite, ScopeId, Time};

use super::directory::Key;
use super::entry::{Entry, Name};
use super::pending::{Change, Meaning};
use super::pool::Claim;
use super::record::Record;
use super::{Asker, Grant, Provisional, Table};
use crate::Ticket;

impl Table {
    /// Grants a lease, provisionally. What else the client had in the scope is taken from it.
    pub(crate) fn grant(&mut self, now: Time, grant: &Grant<'_>) -> Provisional {
        let Grant { asker, address, .. } = *grant;
        let asked = self.offers.asked_since(asker.scope.0, asker.client, address);
        self.withdraw(&asker);
        let given_up = self.address_of(&asker).filter(|other| *other != address);
        // A retransmission takes what the first message took: that one may yet fail.
        let own = self.entries.at(address).is_some_and(|entry| entry.belongs_to(asker.client));
        let before = self.pending.last(address).filter(|change| own && change.address == address);
        let before = before.cloned();
        let gone = before.as_ref().and_then(|change| change.given_up);
        let given_up = given_up.or(gone.filter(|other| self.entries.at(*other).is_none()));
        let class_name = grant.class_name.map_or(Name::NONE, |name| self.names.intern(name));
        let goes_on = self.entries.at(address).filter(|entry| {
            let is_bound = entry.state == LeaseState::Bound;
            is_bound && entry.scope == asker.scope.0 && entry.belongs_to(asker.client)
        });
        let class_before = goes_on.filter(|_| grant.keeps_class).map(|entry| entry.class_name);
        let name_before = goes_on.filter(|_| grant.keeps_name).map(|entry| &entry.record);
        let host_name = name_before.map_or(grant.host_name, Record::host_name);
        let entry = Entry {
            address,
            scope: asker.scope.0,
            scope_name: self.names.intern(grant.scope_name),
            class_name: class_before.filter(|name| *name != Name::NONE).unwrap_or(class_name),
            state: LeaseState::Bound,
            since: now,
            expires: now + grant.duration,
            record: Record::new(asker.client, asker.hardware, host_name),
        };
        let mut writes = vec![LeaseWrite::Put(self.lease_of(&entry))];
        writes.extend(given_up.map(LeaseWrite::Remove));
        let declined = self.unwritten.iter().filter_map(|address| self.entries.at(*address));
        let by_client = declined.filter(|entry| {
            entry.address != address
                && entry.record.key(entry.scope) == Key::new(asker.scope.0, asker.client)
        });
        writes.extend(by_client.map(|entry| LeaseWrite::Put(self.lease_of(entry))));
        let mut left = self.left_behind(now, asked, grant);
        let again = before.iter().flat_map(|change| &change.released);
        let again = again.filter_map(|address| self.entries.at(*address));
        left.extend(again.filter(|entry| entry.state == LeaseState::Released).cloned());
        writes.extend(left.iter().map(|entry| LeaseWrite::Put(self.lease_of(entry))));
        let mut change = Change::new(Meaning::Acknowledged, address);
        change.given_up = given_up;
        change.released = left.iter().map(|entry| entry.address).collect();
        let ticket = self.pending.issue(change);
        if let Some(address) = given_up {
            self.put(ticket, asker.scope.0, address, None);
        }
        for entry in left {
            self.put(ticket, entry.scope, entry.address, Some(entry));
        }
        self.put(ticket, asker.scope.0, address, Some(entry));
        (ticket, writes)
    }

    /// What a client gives back with a lease, as it is then: what it has in other scopes of the same link, and what
    /// the same phone has in the native scopes it has come from. What it was given while its message waited for a probe,
    /// since it `asked`, it has gone on to.
    pub(super) fn left_behind(
        &self,
        now: Time,
        asked: Option<Time>,
        grant: &Grant<'_>,
    ) -> Vec<Entry> {
        let Grant { asker, address, network, waited, .. } = *grant;
        let others = network.iter().filter(|scope| **scope != asker.scope);
        let mut addresses: Vec<_> = others
            .filter_map(|scope| self.entries.of(Key::new(scope.0, asker.client)))
            .map(|entry| entry.address)
            .chain(self.hop.left_by(asker.scope.0, asker.hardware))
            .filter(|other| *other != address)
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        let live = addresses.into_iter().filter_map(|address| self.entries.at(address));
        let is_left = |entry: &&Entry| !waited || asked.is_some_and(|asked| entry.since < asked);
        live.filter(|entry| entry.is_live(now))
            .filter(is_left)
            .map(|entry| Entry {
                state: LeaseState::Released,
                since: now,
                expires: now,
                ..entry.clone()
            })
            .collect()
    }

    /// Gives an address back, provisionally; `None` when it is not the client's.
    pub(crate) fn release(
        &mut self,
        now: Time,
        asker: &Asker<'_>,
        address: Ipv4Addr,
    ) -> Option<Provisional> {
        self.end(now, asker, address, Meaning::Released)
    }

    /// Gives an address back, whoever has it, or no longer withholds it, provisionally; `None` when it is neither
    /// leased nor withheld.
    pub(crate) fn give_back(&mut self, now: Time, address: Ipv4Addr) -> Option<Provisional> {
        let entry = self.entries.at(address)?;
        if entry.is_withheld(now) {
            // Whoever declined it has another address by now, and is not to be found by this one again.
            let scope = entry.scope;
            let ticket = self.pending.issue(Change::new(Meaning::Released, address));
            self.put(ticket, scope, address, None);
            return Some((ticket, vec![LeaseWrite::Remove(address)]));
        }
        let (scope, client) = (ScopeId(entry.scope), entry.record.client());
        let hardware = entry.record.hardware();
        let holder = Asker { scope, client: &client, hardware, phone: None, class: None };
        self.end(now, &holder, address, Meaning::Released)
    }

    /// Withholds an address from everyone, provisionally; `None` when it is neither the client's nor offered to it.
    pub(crate) fn decline(
        &mut self,
        now: Time,
        asker: &Asker<'_>,
        address: Ipv4Addr,
        scope_name: &str,
    ) -> Option<Provisional> {
        // A phone that has taken what was offered to its boot loader, which has another name, has it now.
        let is_offered = self.offer_to(asker) == Some(address) && !self.is_live(now, address);
        self.end(now, asker, address, Meaning::Declined)
            .or_else(|| is_offered.then(|| self.decline_offer(now, asker, address, scope_name)))
    }

    fn decline_offer(
        &mut self,
        now: Time,
        asker: &Asker<'_>,
        address: Ipv4Addr,
        scope_name: &str,
    ) -> Provisional {
        let entry = Entry {
            address,
            scope: asker.scope.0,
            scope_name: self.names.intern(scope_name),
            class_name: Name::NONE,
            state: LeaseState::Declined,
            since: now,
            expires: now + self.decline_hold,
            record: Record::new(asker.client, asker.hardware, None),
        };
        self.withdraw(asker);
        let writes = vec![LeaseWrite::Put(self.lease_of(&entry))];
        let ticket = self.pending.issue(Change::new(Meaning::Declined, address));
        self.put(ticket, asker.scope.0, address, Some(entry));
        (ticket, writes)
    }

    fn end(
        &mut self,
        now: Time,
        asker: &Asker<'_>,
        address: Ipv4Addr,
        meaning: Meaning,
    ) -> Option<Provisional> {
        let entry = self.entries.at(address)?;
        if !entry.is_live(now) || entry.scope != asker.scope.0 || !entry.belongs_to(asker.client) {
            return None;
        }
        let mut entry = entry.clone();
        entry.since = now;
        (entry.state, entry.expires) = match meaning {
            Meaning::Declined => (LeaseState::Declined, now + self.decline_hold),
            Meaning::Released | Meaning::Acknowledged => (LeaseState::Released, now),
        };
        if self.offer_of(asker) == Some(address) {
            self.withdraw(asker);
        }
        let writes = vec![LeaseWrite::Put(self.lease_of(&entry))];
        let ticket = self.pending.issue(Change::new(meaning, address));
        self.put(ticket, asker.scope.0, address, Some(entry));
        Some((ticket, writes))
    }

    /// The writes of a ticket are durable.
    pub(crate) fn committed(&mut self, ticket: Ticket) -> Vec<Event> {
        if self.rewrite.settled(ticket, true) {
            return Vec::new();
        }
        let Some(change) = self.pending.redeem(ticket) else { return Vec::new() };
        let value = |address| {
            let older = self.pending.older_value(ticket, address);
            older.or_else(|| self.entries.at(address)).map(|entry| self.lease_of(entry))
        };
        let told = value(change.address).map(|lease| match change.meaning {
            Meaning::Acknowledged => Event::Acknowledged(lease),
            Meaning::Released => Event::Released(lease),
            Meaning::Declined => Event::Declined(lease),
        });
        let released = change.released.iter().filter_map(|address| value(*address));
        let events = told.into_iter().chain(released.map(Event::Released)).collect();
        for address in change.addresses() {
            if self.pending.committed(ticket, address).last {
                self.settled(address);
            }
        }
        events
    }

    /// The writes of a ticket were not made. What it changed is as before, except that an address somebody
    /// declined stays withheld: it is in use, written down or not.
    pub(crate) fn failed(&mut self, ticket: Ticket) {
        if self.rewrite.settled(ticket, false) {
            return;
        }
        let Some(change) = self.pending.redeem(ticket) else { return };
        for address in change.addresses() {
            let settled = self.pending.failed(ticket, address);
            if settled.restore.is_some() && change.meaning == Meaning::Declined {
                self.unwritten.insert(address);
            } else if let Some(value) = settled.restore {
                match value {
                    // Its client may have another address by now.
                    Some(entry) => self.restore(entry),
                    None => {
                        self.remove(address);
                    }
                }
            }
            self.lose_hold(address);
            if settled.last {
                self.settled(address);
            }
        }
    }

    /// No change of an address is on its way any more.
    fn settled(&mut self, address: Ipv4Addr) {
        if !self.offers.is_held(address) {
            self.count_change(address, false);
        }
        // What was offered to the one that had it, while it was being given back, is nobody's now.
        if self.entries.at(address).is_none_or(|entry| entry.state != LeaseState::Bound) {
            self.lose_hold(address);
        }
        if let Some(scope) = self.scope_index(address) {
            self.enqueue(scope, address);
        }
    }

    /// An offer of an address to the one that had it is an offer like others from now on, but for one that was found to
    /// use it.
    fn lose_hold(&mut self, address: Ipv4Addr) {
        if self.entries.at(address).is_some_and(Entry::is_found_in_use) {
            return;
        }
        if let Some((since, scope)) = self.offers.lose_hold(address)
            && let Some(pools) = self.scopes.get_mut(usize::from(scope))
        {
            pools.count_offer(address, since, Claim::Holder, false);
            pools.count_offer(address, since, Claim::Known, true);
        }
    }

    /// An address that is on offer as well is counted as that alone.
    pub(super) fn count_change(&mut self, address: Ipv4Addr, on: bool) {
        if let Some(scope) = self.scope_index(address)
            && let Some(pools) = self.scopes.get_mut(usize::from(scope))
        {
            pools.count_change(address, on);
        }
    }

    /// Replaces the entry of an address, remembering the old one.
    pub(super) fn put(
        &mut self,
        ticket: Ticket,
        scope: u16,
        address: Ipv4Addr,
        entry: Option<Entry>,
    ) {
        self.dequeue(scope, address);
        if !self.pending.is_changing(address) && !self.offers.is_held(address) {
            self.count_change(address, true);
        }
        self.unwritten.remove(&address);
        let old = match entry {
            Some(entry) => self.insert(entry),
            None => self.remove(address),
        };
        self.pending.replaced(ticket, address, old);
    }

    pub(super) fn insert(&mut self, entry: Entry) -> Option<Entry> {
        self.hop.note(&entry, true);
        let old = self.entries.insert(entry);
        old.inspect(|old| self.forget(old))
    }

    /// As [`Table::insert`], for an entry whose client may have another one by now.
    fn restore(&mut self, entry: Entry) {
        self.hop.note(&entry, true);
        if let Some(old) = self.entries.restore(entry) {
            self.forget(&old);
        }
    }

    pub(super) fn remove(&mut self, address: Ipv4Addr) -> Option<Entry> {
        let old = self.entries.remove(address);
        old.inspect(|old| self.forget(old))
    }

    /// An entry was replaced, or removed.
    fn forget(&mut self, old: &Entry) {
        self.hop.note(old, false);
        if let Some(entry) = self.entries.at(old.address) {
            self.hop.note(entry, true);
        }
    }
}
