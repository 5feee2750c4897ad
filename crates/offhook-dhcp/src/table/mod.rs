//! Who has which address.
//!
//! Three layers on one address: the *entry* (who has it, or had it last), a *change* of the entry that is not
//! durable yet, and an *offer* of it, in memory only, that leaves the entry as it is until the REQUEST comes.
//! Every operation costs O(log n) at most, however many leases there are and however many addresses are free.

mod changes;
mod directory;
mod entry;
mod foresee;
mod hop;
mod index;
mod near;
mod offers;
mod pending;
mod pool;
mod probed;
mod queue;
mod record;
mod rewrite;
mod slab;

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use offhook_model::{
    AddressRange, ClassId, ClientId, HardwareAddress, Lease, LeaseState, LeaseWrite, ScopeId, Site,
    Time,
};

use directory::{Directory, Key};
use entry::{Entry, NO_SCOPE, Names};
use hop::Hop;
use offers::Offers;
use pending::Pending;
use pool::{Claim, Pools};
use rewrite::Rewrite;

use crate::scope::Subnets;
use crate::wall::{Hindsight, Wall};
use crate::{ClockSet, Outline, Ticket};

/// A client that asks for an address, as far as the table is concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker<'a> {
    pub(crate) scope: ScopeId,
    pub(crate) client: &'a ClientId,
    pub(crate) hardware: HardwareAddress,
    /// Index of the phone in the inventory.
    pub(crate) phone: Option<usize>,
    /// What it was recognised as.
    pub(crate) class: Option<ClassId>,
}

/// What an address is to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Its own, now or until lately.
    Own,
    /// Nobody's; it may have it.
    Free,
    /// Somebody else's: leased, offered, or about to be.
    Taken,
    /// Declined; withheld from everyone.
    Withheld,
    /// Not an address to be leased to this client: outside the pools, excluded, or kept for a phone.
    NotLeasable,
    /// Nobody's, but of the share that is left to clients that are known (`reserved_share`).
    Reserved,
}

/// A lease about to be granted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grant<'a> {
    pub(crate) asker: Asker<'a>,
    pub(crate) address: Ipv4Addr,
    pub(crate) duration: Duration,
    pub(crate) scope_name: &'a str,
    pub(crate) class_name: Option<&'a str>,
    pub(crate) host_name: Option<&'a [u8]>,
    /// Whether neither the message nor the inventory says anything of the client's class, nor the message of its name:
    /// then a lease that goes on keeps what it has.
    pub(crate) keeps_class: bool,
    pub(crate) keeps_name: bool,
    /// The scopes that share a link with the client's own, and it: a client has one address on a link.
    pub(crate) network: &'a [ScopeId],
    /// Whether it has waited for the answer to a probe: the client may have gone on meanwhile.
    pub(crate) waited: bool,
}

/// A provisional change and what makes it durable.
pub(crate) type Provisional = (Ticket, Vec<LeaseWrite>);

/// The table.
pub(crate) struct Table {
    names: Names,
    entries: Directory<Entry>,
    offers: Offers,
    pending: Pending,
    scopes: Vec<Pools>,
    /// The ranges of all scopes in order of address, and the index of the scope each is of.
    ranges: Vec<(AddressRange, u16)>,
    /// How long a declined address is withheld from everyone.
    decline_hold: Duration,
    hop: Hop,
    /// Addresses whose decline could not be written. It is written with the next lease of the client that declined
    /// them: else, after a crash, that client would hold two.
    unwritten: HashSet<Ipv4Addr>,
    wall: Wall,
    rewrite: Rewrite,
}

impl Table {
    /// Takes over leases from the store, whose times are `now`'s as far as they can be right. `ours` are the addresses
    /// of this machine, which are nobody else's to have.
    ///
    /// Should one client hold several addresses in one scope, the latest counts and the others are forgotten, on disk
    /// too: the clock that dated them may be found to have been wrong, and then it is not to be seen which one was first.
    pub(crate) fn new(
        site: &Site,
        subnets: &Subnets,
        ours: &[Ipv4Addr],
        mut leases: Vec<Lease>,
        now: Time,
    ) -> Self {
        // What was given back when something else was granted is not what counts.
        leases.sort_unstable_by_key(|lease| {
            (lease.since, lease.state == LeaseState::Bound, lease.address)
        });
        let mut table = Self {
            names: Names::default(),
            entries: Directory::with_capacity(leases.len()),
            offers: Offers::new(site.dhcp.offer_hold),
            pending: Pending::default(),
            scopes: Vec::new(),
            ranges: Vec::new(),
            decline_hold: site.dhcp.decline_hold,
            hop: Hop::new(site),
            unwritten: HashSet::new(),
            wall: Wall::default(),
            rewrite: Rewrite::default(),
        };
        let hindsight = Hindsight::new(now, &leases);
        for lease in &mut leases {
            if hindsight.correct(lease) {
                table.rewrite.one(lease.address);
            }
            let scope = scope_of(subnets, lease.address);
            let entry = Entry::from_lease(lease, scope, &mut table.names);
            table.supersede(&entry);
            table.insert(entry);
        }
        table.set_scopes(site.scopes.iter().map(|scope| Pools::new(site, scope, ours)).collect());
        table
    }

    /// Takes over a new configuration. Leases stay, offers are forgotten: their clients are served by the REQUEST
    /// all the same.
    pub(crate) fn set_site(&mut self, site: &Site, subnets: &Subnets, ours: &[Ipv4Addr]) {
        self.decline_hold = site.dhcp.decline_hold;
        self.offers.set_hold(site.dhcp.offer_hold);
        let scopes: Vec<_> =
            site.scopes.iter().map(|scope| Pools::new(site, scope, ours)).collect();
        let unmoved = scopes.len() == self.scopes.len()
            && scopes.iter().zip(&self.scopes).all(|(new, old)| new.same_rules(old))
            && self.hop.same_rules(&Hop::new(site))
            && self.entries.iter().all(|entry| entry.scope == scope_of(subnets, entry.address));
        if unmoved {
            return;
        }
        self.offers = Offers::new(site.dhcp.offer_hold);
        let mut entries: Vec<_> = self.entries.drain().collect();
        entries.sort_unstable_by_key(|entry| {
            (entry.since, entry.state == LeaseState::Bound, entry.address)
        });
        self.entries = Directory::with_capacity(entries.len());
        self.rewrite.moved();
        self.hop = Hop::new(site);
        for mut entry in entries {
            entry.scope = scope_of(subnets, entry.address);
            self.insert(entry);
        }
        for entry in self.pending.values_mut() {
            entry.scope = scope_of(subnets, entry.address);
        }
        self.set_scopes(scopes);
    }

    fn set_scopes(&mut self, scopes: Vec<Pools>) {
        let ranges = |(at, pools): (usize, &Pools)| {
            let scope = u16::try_from(at).unwrap_or(NO_SCOPE);
            pools.ranges().map(|range| (range, scope)).collect::<Vec<_>>()
        };
        self.ranges = scopes.iter().enumerate().flat_map(ranges).collect();
        self.ranges.sort_unstable_by_key(|(range, _)| range.first());
        self.scopes = scopes;
        let changing: Vec<_> = self.pending.changing().collect();
        for address in changing {
            self.count_change(address, true);
        }
        self.enqueue_all();
    }

    fn supersede(&mut self, entry: &Entry) {
        if entry.state == LeaseState::Declined || entry.scope == NO_SCOPE {
            return;
        }
        let older = self.entries.of(entry.record.key(entry.scope)).map(|older| older.address);
        if let Some(address) = older.filter(|address| *address != entry.address) {
            self.remove(address);
            self.rewrite.before_others(address);
        }
    }

    fn enqueue_all(&mut self) {
        let Self { entries, scopes, pending, .. } = self;
        for entry in entries.iter().filter(|entry| !pending.is_changing(entry.address)) {
            if let Some(pools) = scopes.get_mut(usize::from(entry.scope)) {
                pools.enqueue(entry.address, entry.expires);
            }
        }
        // Now rather than while the first client waits.
        for pools in scopes {
            pools.skip(|address| entries.at(address).is_some() || pending.is_changing(address));
        }
    }

    /// The wall clock shows `wall` at `now`. When it was set, every lease is to be written again.
    pub(crate) fn follow(&mut self, now: Time, wall: Time) -> Option<ClockSet> {
        let set = self.wall.follow(now, wall)?;
        self.rewrite.all();
        Some(set)
    }

    /// What the wall clock shows.
    pub(crate) fn wall(&self, now: Time) -> Time {
        self.wall.at(now)
    }

    fn lease_of(&self, entry: &Entry) -> Lease {
        entry.to_lease(&self.names, self.wall)
    }

    /// Every lease, those on their way to the store included.
    pub(crate) fn leases(&self) -> impl Iterator<Item = Lease> + '_ {
        self.entries.iter().map(|entry| self.lease_of(entry))
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Some leases at a glance, and where to go on: see [`crate::Core::outline`].
    pub(crate) fn outline(&self, from: usize, limit: usize) -> (Vec<Outline>, Option<usize>) {
        let (entries, next) = self.entries.page(from, limit);
        (entries.map(|entry| entry.outline(self.wall)).collect(), next)
    }

    /// The lease of an address, as [`Table::leases`] has it.
    pub(crate) fn lease_at(&self, address: Ipv4Addr) -> Option<Lease> {
        self.entries.at(address).map(|entry| self.lease_of(entry))
    }

    /// Every address held for a client that was offered it, in no order.
    pub(crate) fn offered(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.offers.addresses()
    }

    pub(crate) fn offers(&self) -> usize {
        self.offers.len()
    }

    pub(crate) fn unsettled(&self) -> usize {
        self.pending.len()
    }

    /// The address a client has, or had last, in a scope.
    pub(crate) fn address_of(&self, asker: &Asker<'_>) -> Option<Ipv4Addr> {
        self.entries.of(Key::new(asker.scope.0, asker.client)).map(|entry| entry.address)
    }

    /// The phone an address is kept for, if this client has it now.
    pub(crate) fn kept_for(
        &self,
        now: Time,
        asker: &Asker<'_>,
        address: Ipv4Addr,
    ) -> Option<usize> {
        // Few addresses are kept for phones: that is known sooner than who has it.
        let phone = self.scopes.get(usize::from(asker.scope.0))?.reserved_for(address)?;
        let entry = self.entries.at(address)?;
        (entry.is_live(now) && entry.belongs_to(asker.client)).then_some(phone)
    }

    /// The class that this client has an address as, or had it as last.
    pub(crate) fn class_of(&self, asker: &Asker<'_>, address: Ipv4Addr) -> Option<&str> {
        let entry = self.entries.at(address)?;
        let is_its = entry.scope == asker.scope.0 && entry.belongs_to(asker.client);
        self.names.text(entry.class_name).filter(|_| is_its)
    }

    /// Whether somebody has an address now.
    pub(crate) fn is_live(&self, now: Time, address: Ipv4Addr) -> bool {
        self.entries.at(address).is_some_and(|entry| entry.is_live(now))
    }

    /// The address held for a client, whether it was offered it or asked for it.
    pub(crate) fn offer_of(&self, asker: &Asker<'_>) -> Option<Ipv4Addr> {
        self.offers.of(asker.scope.0, asker.client).map(|offer| offer.address)
    }

    /// The address offered to a client.
    pub(crate) fn offer_to(&self, asker: &Asker<'_>) -> Option<Ipv4Addr> {
        let offer = self.offers.of(asker.scope.0, asker.client).filter(|offer| offer.is_told);
        offer.map(|offer| offer.address)
    }

    /// Whether the client's last change still waits for the store and is about another address.
    pub(crate) fn is_unsettled_elsewhere(&self, asker: &Asker<'_>, address: Ipv4Addr) -> bool {
        self.address_of(asker).is_some_and(|own| own != address && self.pending.is_changing(own))
    }

    /// Whether a client that waited for an address has another one now, and waits no more.
    pub(crate) fn has_gone_on(&self, now: Time, asker: &Asker<'_>, address: Ipv4Addr) -> bool {
        let own = self.address_of(asker).filter(|own| *own != address && self.is_live(now, *own));
        own.is_some() && self.offers.asked_since(asker.scope.0, asker.client, address).is_none()
    }

    /// Whether this server certainly decides about an address: it is leased, withheld or on its way to be, or this
    /// client had it from here.
    pub(crate) fn is_in_our_hands(&self, now: Time, asker: &Asker<'_>, address: Ipv4Addr) -> bool {
        let entry = self.entries.at(address);
        entry.is_some_and(|entry| {
            entry.is_live(now) || entry.is_withheld(now) || entry.belongs_to(asker.client)
        }) || self.pending.is_changing(address)
    }

    /// What an address is to a client.
    pub(crate) fn standing(&self, now: Time, asker: &Asker<'_>, address: Ipv4Addr) -> Standing {
        self.standing_in_use(now, asker, address, false)
    }

    /// The same, where the client may say that it uses the address.
    pub(crate) fn standing_in_use(
        &self,
        now: Time,
        asker: &Asker<'_>,
        address: Ipv4Addr,
        says_so: bool,
    ) -> Standing {
        let Some(pools) = self.scopes.get(usize::from(asker.scope.0)) else {
            return Standing::NotLeasable;
        };
        let reserved = pools.reserved_for(address);
        let is_for_it = reserved.is_some() && reserved == asker.phone;
        let entry = self.entries.at(address);
        let is_its_user = self.is_its_user(asker, address, says_so);
        if entry.is_some_and(|entry| entry.is_withheld(now)) && !is_its_user {
            return Standing::Withheld;
        }
        let own = entry
            .is_some_and(|entry| entry.scope == asker.scope.0 && entry.belongs_to(asker.client));
        if !own {
            // The same phone under another name: a boot loader sends no option 61, its firmware does.
            let same = |entry: &Entry| is_for_it && entry.record.hardware() == asker.hardware;
            if entry.is_some_and(|entry| entry.is_live(now) && !same(entry))
                || (self.pending.is_changing(address) && !is_its_user)
            {
                return Standing::Taken;
            }
        }
        if !is_for_it && !pools.admits(asker, address) {
            return Standing::NotLeasable;
        }
        let held_for = self.offers.held_for_another(address, asker.scope.0, asker.client);
        if held_for.is_some_and(|hardware| !(is_for_it && hardware == asker.hardware))
            && !entry.is_some_and(|entry| own && entry.is_live(now))
        {
            return Standing::Taken;
        }
        if own {
            Standing::Own
        } else if is_for_it
            || is_its_user
            || self.offers.is_held(address)
            || self.has_room_for(asker)
        {
            Standing::Free
        } else {
            Standing::Reserved
        }
    }

    /// Whether a client is in the inventory, or has been here before. Its class is what it says of itself, and anybody
    /// can say that.
    fn is_known(&self, asker: &Asker<'_>) -> bool {
        asker.phone.is_some() || self.address_of(asker).is_some()
    }

    /// Whether a client may take one more address, as far as the reserved share goes.
    fn has_room_for(&self, asker: &Asker<'_>) -> bool {
        let pools = self.scopes.get(usize::from(asker.scope.0));
        pools.is_some_and(|pools| pools.has_room_for_strangers(asker)) || self.is_known(asker)
    }

    /// Whether a client gets no address only because those that are left are for clients that are known.
    pub(crate) fn is_only_reserved(&self, asker: &Asker<'_>) -> bool {
        let pools = self.scopes.get(usize::from(asker.scope.0));
        !self.has_room_for(asker) && pools.is_some_and(|pools| pools.free_for(asker) > 0)
    }

    /// Finds an address for a client that has none, in time that does not depend on how many there are: one that has
    /// been free for as long as any.
    pub(crate) fn next_free(&mut self, now: Time, asker: &Asker<'_>) -> Option<Ipv4Addr> {
        if !self.has_room_for(asker) {
            return None;
        }
        let found = self.next_in_order(now, asker);
        if found.is_some() || self.expire_offers(now, 1024) == 0 {
            return found;
        }
        self.next_in_order(now, asker)
    }

    /// Takes back an offer that has been waiting for long, for a client that would get nothing else.
    pub(crate) fn take_unclaimed(&mut self, now: Time, asker: &Asker<'_>) -> Option<Ipv4Addr> {
        let pools = self.scopes.get(usize::from(asker.scope.0))?;
        let unclaimed = pools.unclaimed(now, asker, self.is_known(asker))?;
        self.drop_offer(unclaimed);
        // Only after a clock was set back.
        (!self.is_out(now, unclaimed)).then_some(unclaimed)
    }

    /// Whether somebody has an address, or its last change is not durable.
    fn is_out(&self, now: Time, address: Ipv4Addr) -> bool {
        self.is_live(now, address) || self.pending.is_changing(address)
    }

    fn next_in_order(&mut self, now: Time, asker: &Asker<'_>) -> Option<Ipv4Addr> {
        let Self { entries, offers, pending, scopes, .. } = self;
        scopes.get_mut(usize::from(asker.scope.0))?.next(now, asker, |address| {
            entries.at(address).is_some() || offers.is_held(address) || pending.is_changing(address)
        })
    }

    /// Counts what has become free in a scope, a bounded number of addresses.
    pub(crate) fn settle(&mut self, now: Time, scope: ScopeId) {
        const STEP: usize = 16;
        if let Some(pools) = self.scopes.get_mut(usize::from(scope.0)) {
            pools.settle(now, STEP);
        }
    }

    /// Holds an address for a client that is offered it, in the place of what was held for it before.
    pub(crate) fn hold(&mut self, now: Time, asker: &Asker<'_>, address: Ipv4Addr) {
        self.hold_as(now, asker, address, true);
    }

    /// The same for a client that asked for it without an offer, until it is known whether it is free.
    pub(crate) fn hold_untold(&mut self, now: Time, asker: &Asker<'_>, address: Ipv4Addr) {
        self.hold_as(now, asker, address, false);
    }

    fn hold_as(&mut self, now: Time, asker: &Asker<'_>, address: Ipv4Addr, is_told: bool) {
        // Who has to wait once more has not asked anew.
        let asked = self.offers.asked_since(asker.scope.0, asker.client, address);
        let since = asked.filter(|_| !is_told).unwrap_or(now);
        self.withdraw(asker);
        self.drop_offer(address);
        self.dequeue(asker.scope.0, address);
        let is_in_use = self.entries.at(address).is_some_and(|entry| entry.is_withheld(now));
        let claim = if self.is_out(now, address) || is_in_use {
            Claim::Holder
        } else if self.is_known(asker) {
            Claim::Known
        } else {
            Claim::Stranger
        };
        if self.pending.is_changing(address) {
            self.count_change(address, false);
        }
        self.offers.hold(now, since, asker, address, claim, is_told);
        if let Some(pools) = self.scopes.get_mut(usize::from(asker.scope.0)) {
            pools.count_offer(address, since, claim, true);
        }
    }

    /// Drops the offer to a client, if there is one.
    pub(crate) fn withdraw(&mut self, asker: &Asker<'_>) {
        if let Some(address) = self.offer_of(asker) {
            self.drop_offer(address);
        }
    }

    fn drop_offer(&mut self, address: Ipv4Addr) {
        let Some(offer) = self.offers.drop(address) else { return };
        if let Some(pools) = self.scopes.get_mut(usize::from(offer.scope)) {
            pools.count_offer(address, offer.since, offer.claim, false);
        }
        if self.pending.is_changing(address) {
            self.count_change(address, true);
        }
        self.enqueue(offer.scope, address);
    }

    /// Drops at most `limit` offers whose time is over; tells how many it were.
    pub(crate) fn expire_offers(&mut self, now: Time, limit: usize) -> usize {
        let mut dropped = 0;
        while dropped < limit
            && let Some(address) = self.offers.overdue(now)
        {
            self.drop_offer(address);
            dropped += 1;
        }
        dropped
    }

    /// When an address becomes free; those without an entry have always been.
    fn free_at(&self, address: Ipv4Addr) -> Time {
        self.entries.at(address).map(|entry| entry.expires).unwrap_or_default()
    }

    fn dequeue(&mut self, scope: u16, address: Ipv4Addr) {
        let free_at = self.free_at(address);
        if let Some(pools) = self.scopes.get_mut(usize::from(scope)) {
            pools.dequeue(address, free_at);
        }
    }

    /// Puts an address back into the order in which addresses are given out, if it belongs there.
    fn enqueue(&mut self, scope: u16, address: Ipv4Addr) {
        if self.offers.is_held(address) || self.pending.is_changing(address) {
            return;
        }
        let free_at = self.free_at(address);
        let has_entry = self.entries.at(address).is_some();
        if let Some(pools) = self.scopes.get_mut(usize::from(scope))
            && (has_entry || pools.has_passed(address))
        {
            pools.enqueue(address, free_at);
        }
    }

    /// The scope one of whose pools has an address.
    fn scope_index(&self, address: Ipv4Addr) -> Option<u16> {
        let after = self.ranges.partition_point(|(range, _)| range.first() <= address);
        let (range, scope) = self.ranges.get(after.checked_sub(1)?)?;
        range.contains(address).then_some(*scope)
    }
}

fn scope_of(subnets: &Subnets, address: Ipv4Addr) -> u16 {
    subnets.holding(address).map_or(NO_SCOPE, |id| id.0)
}
