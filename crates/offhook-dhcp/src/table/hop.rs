//! The hop from a native scope to the voice scope: which leases a phone leaves behind.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use offhook_model::{HardwareAddress, LeaseState, Site};

use super::entry::Entry;

/// Leases in native scopes by hardware address: a phone's boot loader may have called itself something else there.
#[derive(Default)]
pub(super) struct Hop {
    /// By scope, the scopes its phones come from.
    from: Vec<Vec<u16>>,
    /// By scope, whether phones go on from there.
    is_native: Vec<bool>,
    /// Leases in those, live or run out.
    leases: BTreeSet<(u16, HardwareAddress, Ipv4Addr)>,
}

impl Hop {
    pub(super) fn new(site: &Site) -> Self {
        let from = site.scope_ids().map(|(voice, _)| {
            let native = site.scope_ids().filter(|(_, scope)| scope.voice == Some(voice));
            native.map(|(id, _)| id.0).collect()
        });
        let is_native = site.scopes.iter().map(|scope| scope.voice.is_some());
        Self { from: from.collect(), is_native: is_native.collect(), leases: BTreeSet::new() }
    }

    /// Whether phones come from the same scopes.
    pub(super) fn same_rules(&self, other: &Self) -> bool {
        self.from == other.from
    }

    /// An entry is there, or no longer.
    pub(super) fn note(&mut self, entry: &Entry, there: bool) {
        let native = self.is_native.get(usize::from(entry.scope)).copied().unwrap_or_default();
        if entry.state != LeaseState::Bound || !native {
            return;
        }
        let key = (entry.scope, entry.record.hardware(), entry.address);
        if there {
            self.leases.insert(key);
        } else {
            self.leases.remove(&key);
        }
    }

    /// What a phone that has arrived in a scope has in those it came from.
    pub(super) fn left_by(
        &self,
        scope: u16,
        hardware: HardwareAddress,
    ) -> impl Iterator<Item = Ipv4Addr> {
        let from = self.from.get(usize::from(scope)).filter(|_| !hardware.bytes().is_empty());
        from.into_iter().flatten().flat_map(move |id| {
            let first = (*id, hardware, Ipv4Addr::UNSPECIFIED);
            let last = (*id, hardware, Ipv4Addr::BROADCAST);
            self.leases.range(first..=last).map(|(.., address)| *address)
        })
    }
}
