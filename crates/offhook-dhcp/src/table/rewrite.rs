//! Leases that are on disk with times that are not right any more.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use offhook_model::LeaseWrite;

use super::{Provisional, Table};
use crate::Ticket;

/// Which leases are to be written again. Those with a change on its way come last: what is on disk meanwhile is not
/// theirs to overwrite.
#[derive(Debug, Default)]
pub(super) struct Rewrite {
    /// The slot of the table to go on from; `None` when all have been seen.
    next: Option<usize>,
    /// Single ones.
    rest: HashSet<Ipv4Addr>,
    under_way: Option<(Ticket, Vec<Ipv4Addr>)>,
}

impl Rewrite {
    /// All of them, from the start.
    pub(super) fn all(&mut self) {
        self.next = Some(0);
    }

    pub(super) fn one(&mut self, address: Ipv4Addr) {
        self.rest.insert(address);
    }

    /// Takes note of what became of some of them; false when the ticket is of something else.
    pub(super) fn settled(&mut self, ticket: Ticket, is_durable: bool) -> bool {
        let Some((_, addresses)) = self.under_way.take_if(|(own, _)| *own == ticket) else {
            return false;
        };
        if !is_durable {
            self.rest.extend(addresses);
        }
        true
    }
}

impl Table {
    /// Some of the leases that are to be written again; `None` when there are none, or some are on their way already.
    pub(crate) fn rewrite(&mut self, limit: usize) -> Option<Provisional> {
        if self.rewrite.under_way.is_some() {
            return None;
        }
        let mut addresses: Vec<Ipv4Addr> = Vec::new();
        while addresses.is_empty()
            && let Some(from) = self.rewrite.next
        {
            let (entries, next) = self.entries.page(from, limit);
            for entry in entries {
                if self.pending.is_changing(entry.address) {
                    self.rewrite.rest.insert(entry.address);
                } else {
                    addresses.push(entry.address);
                }
            }
            self.rewrite.next = next;
        }
        if addresses.is_empty() {
            let settled = |address: &&Ipv4Addr| !self.pending.is_changing(**address);
            addresses = self.rewrite.rest.iter().filter(settled).take(limit).copied().collect();
            for address in &addresses {
                self.rewrite.rest.remove(address);
            }
        }
        let writes = addresses.iter().map(|address| match self.lease_at(*address) {
            Some(lease) => LeaseWrite::Put(lease),
            None => LeaseWrite::Remove(*address),
        });
        let writes: Vec<_> = writes.collect();
        if writes.is_empty() {
            return None;
        }
        let ticket = self.pending.number();
        self.rewrite.under_way = Some((ticket, addresses));
        Some((ticket, writes))
    }
}
