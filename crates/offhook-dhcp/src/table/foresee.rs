//! What a lease will be, should its offer be taken.

use std::net::Ipv4Addr;

use offhook_model::{Lease, LeaseState, Time};

use super::record::Record;
use super::{Grant, Table};

impl Table {
    /// What [`Table::grant`] of an address on offer would have written, if it is that and nothing else. It ends when
    /// it would at the latest, were it granted at the last moment; and no sooner than what the client has now, which is
    /// no less its own while it thinks about a shorter one.
    pub(crate) fn foresee(&self, now: Time, grant: &Grant<'_>, spare: u64) -> Option<Lease> {
        let Grant { asker, address, .. } = *grant;
        let is_all = self.offer_of(&asker) == Some(address)
            && self.address_of(&asker).is_none_or(|own| own == address)
            && !self.pending.is_changing(address)
            && self.unwritten.is_empty()
            && self.is_spare(now, grant, spare)
            && self.left_behind(now, None, grant).is_empty();
        // Whatever else the client is granted counts more, be it in the same millisecond.
        let since = Time::from_millis(self.wall.at(now).as_millis().saturating_sub(1));
        let record = Record::new(asker.client, asker.hardware, grant.host_name);
        let own = self.lease_at(address).filter(|own| {
            own.state == LeaseState::Bound
                && self.entries.at(address).is_some_and(|entry| entry.belongs_to(asker.client))
        });
        let expires = self.wall.at(now + self.offers.duration() + grant.duration);
        is_all.then(|| Lease {
            address,
            client: record.client(),
            hardware: record.hardware(),
            state: LeaseState::Bound,
            since,
            expires: own.map_or(expires, |own| own.expires.max(expires)),
            scope: grant.scope_name.into(),
            class: grant.class_name.map(Box::from),
            host_name: record.host_name().map(Box::from),
        })
    }

    /// Whether nobody would miss the address, were it leased to the client: so many others are free, or it is its own.
    fn is_spare(&self, now: Time, grant: &Grant<'_>, spare: u64) -> bool {
        let Grant { asker, address, .. } = *grant;
        let entry = self.entries.at(address);
        let is_own =
            entry.is_some_and(|entry| entry.is_live(now) && entry.belongs_to(asker.client));
        is_own
            || self.scopes.get(usize::from(asker.scope.0)).is_some_and(|pools| {
                pools.reserved_for(address).is_some() || pools.free_for(&asker) >= spare
            })
    }

    /// Whether an address is neither on offer nor on its way to the store.
    pub(crate) fn is_settled(&self, address: Ipv4Addr) -> bool {
        !self.offers.is_held(address) && !self.pending.is_changing(address)
    }
}
