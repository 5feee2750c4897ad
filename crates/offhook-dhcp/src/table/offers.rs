//! Addresses held for a client between OFFER and REQUEST. In memory only.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use offhook_model::{ClientId, HardwareAddress, Time};

use super::Asker;
use super::directory::{Directory, Held, Key};
use super::pool::Claim;

/// An address held for a client.
pub(crate) struct Offer {
    pub(crate) address: Ipv4Addr,
    /// Index of the scope.
    pub(crate) scope: u16,
    client: ClientId,
    /// Of the client: who answers a probe with it is the client itself.
    pub(crate) hardware: HardwareAddress,
    /// Whether the client was told. Else it asked for the address without an offer, and waits for the probe.
    pub(crate) is_told: bool,
    /// When it was last offered.
    pub(crate) since: Time,
    until: Time,
    pub(crate) claim: Claim,
}

impl Held for Offer {
    fn address(&self) -> Ipv4Addr {
        self.address
    }

    fn key(&self) -> Option<Key<'_>> {
        Some(Key::new(self.scope, &self.client))
    }
}

/// All offers. Never more than there are addresses to offer.
pub(crate) struct Offers {
    held: Directory<Offer>,
    ends: BTreeSet<(Time, Ipv4Addr)>,
    /// How long an offer is held. Clients that collect offers (Polycom) choose within some ten seconds.
    hold: Duration,
}

impl Offers {
    pub(crate) fn new(hold: Duration) -> Self {
        Self { held: Directory::new(), ends: BTreeSet::new(), hold }
    }

    /// Holds offers from now on for so long.
    pub(crate) fn set_hold(&mut self, hold: Duration) {
        self.hold = hold;
    }

    /// How long offers are held.
    pub(crate) fn duration(&self) -> Duration {
        self.hold
    }

    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// Every address held, in no order.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.held.iter().map(|offer| offer.address)
    }

    /// What is held for a client, overdue or not: nobody else has it yet.
    pub(crate) fn of(&self, scope: u16, client: &ClientId) -> Option<&Offer> {
        self.held.of(Key::new(scope, client))
    }

    /// What is held for whom.
    pub(crate) fn at(&self, address: Ipv4Addr) -> Option<&Offer> {
        self.held.at(address)
    }

    pub(crate) fn is_held(&self, address: Ipv4Addr) -> bool {
        self.held.at(address).is_some()
    }

    /// The hardware address of another client that an address is held for.
    pub(crate) fn held_for_another(
        &self,
        address: Ipv4Addr,
        scope: u16,
        client: &ClientId,
    ) -> Option<HardwareAddress> {
        let offer = self.held.at(address)?;
        (offer.key() != Some(Key::new(scope, client))).then_some(offer.hardware)
    }

    /// Since when a client that was not told so waits for an address.
    pub(crate) fn asked_since(
        &self,
        scope: u16,
        client: &ClientId,
        address: Ipv4Addr,
    ) -> Option<Time> {
        let offer = self.of(scope, client).filter(|offer| offer.address == address)?;
        (!offer.is_told).then_some(offer.since)
    }

    /// The one to whom an address was offered because it had it does not have it after all; since when it is on offer
    /// and in which scope.
    pub(crate) fn lose_hold(&mut self, address: Ipv4Addr) -> Option<(Time, u16)> {
        let offer = self.held.at_mut(address).filter(|offer| offer.claim == Claim::Holder)?;
        offer.claim = Claim::Known;
        Some((offer.since, offer.scope))
    }

    /// Holds an address that nobody holds, for a client that has asked for it `since` then.
    pub(crate) fn hold(
        &mut self,
        now: Time,
        since: Time,
        asker: &Asker<'_>,
        address: Ipv4Addr,
        claim: Claim,
        is_told: bool,
    ) {
        let until = now + self.hold;
        self.ends.insert((until, address));
        self.held.insert(Offer {
            address,
            scope: asker.scope.0,
            client: asker.client.clone(),
            hardware: asker.hardware,
            is_told,
            since,
            until,
            claim,
        });
    }

    /// Holds an address no longer; what was held.
    pub(crate) fn drop(&mut self, address: Ipv4Addr) -> Option<Offer> {
        let offer = self.held.remove(address)?;
        self.ends.remove(&(offer.until, address));
        Some(offer)
    }

    /// An offer whose time is over, or that a clock set back has left far in the future.
    pub(crate) fn overdue(&self, now: Time) -> Option<Ipv4Addr> {
        let first = self.ends.first().filter(|(until, _)| *until <= now);
        let last = || self.ends.last().filter(|(until, _)| *until > now + self.hold);
        first.or_else(last).map(|(_, address)| *address)
    }
}
