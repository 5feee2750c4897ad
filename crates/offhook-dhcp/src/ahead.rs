//! Leases that are written before anybody asks for them.
//!
//! A lease must be on disk before its ACK leaves, and a client that is alone waits for the disk: nobody else's lease
//! is written with its own. But who is offered an address mostly takes it. So a shell whose disk has nothing to do may
//! write the lease when it is offered ([`Core::foresee`]), while the client reads the offer; the ACK of just that lease
//! then waits for no more than that this write is done. On disk it ends as late as it may end at all, and a crash in
//! between is as if it had been acknowledged: nothing that anybody was told is ever lost. What became of it is written
//! later: the lease with its times, or what the address was before.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use offhook_model::{ClientId, Lease, LeaseWrite};

use crate::Core;

/// Offers that may be written and not taken yet: a flood of clients that take none costs the disk next to nothing, and
/// after a crash no more addresses than these are leased to nobody, of pools that have many more.
const UNTAKEN: usize = 8;

/// How many addresses are to be free besides one that is written ahead: should it look leased after a crash, which is
/// for as long as the lease was to be, nobody goes without one for that.
pub const SPARE: u64 = 64;

/// Leases written whose outcome is not yet.
const MOST: usize = 8192;

/// A lease that was written ahead.
#[derive(Debug)]
struct Written<F> {
    lease: Lease,
    fate: F,
    taken: bool,
}

/// Leases that were written ahead and whose outcome was not written yet. An `F` tells whether one is on disk.
#[derive(Debug)]
pub struct Ahead<F> {
    written: HashMap<Ipv4Addr, Written<F>>,
    /// Whose they are.
    clients: HashMap<ClientId, Ipv4Addr>,
    untaken: usize,
    /// Addresses whose outcome was told and did not get to the disk.
    untold: BTreeSet<Ipv4Addr>,
}

impl<F> Default for Ahead<F> {
    fn default() -> Self {
        Self {
            written: HashMap::new(),
            clients: HashMap::new(),
            untaken: 0,
            untold: BTreeSet::new(),
        }
    }
}

impl<F: Clone> Ahead<F> {
    /// Whether one more may be written.
    pub fn has_room(&self) -> bool {
        self.untaken < UNTAKEN && self.written.len() + self.untold.len() < MOST
    }

    /// Notes that a lease is to be written. False when it is not: of two that a client was only offered, perhaps in the
    /// same millisecond, nobody could tell after a crash which one it took.
    #[must_use]
    pub fn note(&mut self, lease: Lease, fate: F) -> bool {
        let (client, address) = (lease.client.clone(), lease.address);
        if self.clients.get(&client).is_some_and(|other| *other != address) {
            return false;
        }
        let before = self.written.insert(address, Written { lease, fate, taken: false });
        if before.as_ref().is_none_or(|before| before.taken) {
            self.untaken += 1;
        }
        if let Some(before) = before {
            self.clients.remove(&before.lease.client);
        }
        self.clients.insert(client, address);
        true
    }

    /// To be told of the writes of every decision, before they are made. When they are nothing but a lease that was
    /// written ahead, its fate: once that is on disk, so is this.
    pub fn take(&mut self, writes: &[LeaseWrite]) -> Option<F> {
        let mut fate = None;
        for write in writes {
            let lease = match write {
                LeaseWrite::Put(lease) => Some(lease),
                LeaseWrite::Remove(_) => None,
            };
            let Some(written) = self.written.get_mut(&write.address()) else { continue };
            if !std::mem::replace(&mut written.taken, true) {
                self.untaken -= 1;
                let is_all = writes.len() == 1;
                let covered = lease.filter(|lease| is_all && covers(&written.lease, lease));
                fate = covered.map(|_| written.fate.clone());
            }
        }
        fate
    }

    /// What is to be on disk now about addresses written ahead, as far as that is known; of `all`, when there will be
    /// no other time. Each is told once, unless that [failed](Self::untold).
    pub fn outcomes(&mut self, core: &Core, all: bool) -> Vec<LeaseWrite> {
        let is_known = |address| all || core.is_settled(address);
        let mut known: Vec<_> = self.untold.extract_if(.., |address| is_known(*address)).collect();
        self.written.retain(|address, written| {
            let is_known = is_known(*address);
            if is_known {
                self.untaken -= usize::from(!written.taken);
                self.clients.remove(&written.lease.client);
                known.push(*address);
            }
            !is_known
        });
        let outcome =
            |address| core.lease_at(address).map_or(LeaseWrite::Remove(address), LeaseWrite::Put);
        known.into_iter().map(outcome).collect()
    }

    /// Outcomes of these addresses did not get to the disk: they are told again.
    pub fn untold(&mut self, addresses: impl IntoIterator<Item = Ipv4Addr>) {
        self.untold.extend(addresses);
    }
}

/// Whether what is on disk is as good as the lease: the same, but for ending later.
fn covers(on_disk: &Lease, lease: &Lease) -> bool {
    let Lease { since, expires, .. } = *on_disk;
    lease.expires <= expires && Lease { since, expires, ..lease.clone() } == *on_disk
}
