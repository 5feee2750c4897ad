//! Leases that are about to be looked at.

use std::hint::black_box;

use offhook_model::ScopeId;

use super::Table;
use super::directory::Key;
use crate::wire::Glance;

/// So many leases are more than a processor keeps at hand.
const VAST: usize = 50_000;

impl Table {
    /// Whether it takes time to get at a lease that nobody has been at for hours.
    pub(crate) fn is_vast(&self) -> bool {
        self.entries.len() >= VAST
    }

    /// Has the processor fetch what there is of some clients, of all of them at a time. Changes nothing.
    pub(crate) fn bring_near(&self, clients: &[(ScopeId, Glance<'_>)]) {
        let keys = clients.iter().map(|(scope, client)| match client.client_id {
            Some(bytes) => Key { scope: scope.0, htype: None, bytes },
            None => Key { scope: scope.0, htype: Some(client.htype), bytes: client.chaddr },
        });
        let addresses = self.entries.likely(keys);
        // When it becomes free is kept elsewhere.
        let kept = clients.iter().zip(addresses).filter_map(|((scope, _), address)| {
            self.scopes.get(usize::from(scope.0))?.free_at(address?)
        });
        black_box(kept.fold(0, |all, at| all ^ at.as_millis()));
    }
}
