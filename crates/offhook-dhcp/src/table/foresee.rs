//! What a lease will be, should its offer be taken.

use std::net::Ipv4Addr;

use offhook_model::{Lease, LeaseState, Time};

use super::record::Record;
use super::{Grant, Table};

impl Table {
    /// What [`Table::grant`] of an address on offer would have written, if it is that and nothing else. It ends when
    /// it would at the latest, were it granted at the last moment.
    pub(crate) fn foresee(&self, now: Time, grant: &Grant<'_>) -> Option<Lease> {
        let Grant { asker, address, .. } = *grant;
        let is_all = self.offer_of(&asker) == Some(address)
            && self.address_of(&asker).is_none_or(|own| own == address)
            && !self.pending.is_changing(address)
            && self.unwritten.is_empty()
            && self.left_behind(now, None, grant).is_empty();
        // Whatever else the client is granted counts more, be it in the same millisecond.
        let since = Time::from_millis(self.wall.at(now).as_millis().saturating_sub(1));
        let record = Record::new(asker.client, asker.hardware, grant.host_name);
        is_all.then(|| Lease {
            address,
            client: record.client(),
            hardware: record.hardware(),
            state: LeaseState::Bound,
            since,
            expires: self.wall.at(now + self.offers.duration() + grant.duration),
            scope: grant.scope_name.into(),
            class: grant.class_name.map(Box::from),
            host_name: record.host_name().map(Box::from),
        })
    }

    /// Whether an address is neither on offer nor on its way to the store.
    pub(crate) fn is_settled(&self, address: Ipv4Addr) -> bool {
        !self.offers.is_held(address) && !self.pending.is_changing(address)
    }
}
