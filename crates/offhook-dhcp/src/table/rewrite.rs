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
    /// Those that come before all others: a crash in between is not to leave them.
    first: Vec<Ipv4Addr>,
    /// Single ones.
    rest: HashSet<Ipv4Addr>,
    under_way: Option<UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    ticket: Ticket,
    addresses: Vec<Ipv4Addr>,
    /// They come before all others.
    is_first: bool,
}

impl Rewrite {
    /// All of them, from the start.
    pub(super) fn all(&mut self) {
        self.next = Some(0);
    }

    /// Leases have other slots than before: those that are not written yet may be in slots that were seen.
    pub(super) fn moved(&mut self) {
        self.next = self.next.map(|_| 0);
    }

    pub(super) fn one(&mut self, address: Ipv4Addr) {
        self.rest.insert(address);
    }

    /// One that is to be written before all others. Only at a start, when nothing is changing.
    pub(super) fn before_others(&mut self, address: Ipv4Addr) {
        self.rest.remove(&address);
        self.first.push(address);
    }

    /// Takes note of what became of some of them; false when the ticket is of something else.
    pub(super) fn settled(&mut self, ticket: Ticket, is_durable: bool) -> bool {
        let Some(under_way) = self.under_way.take_if(|under_way| under_way.ticket == ticket) else {
            return false;
        };
        let UnderWay { addresses, is_first, .. } = under_way;
        match is_first {
            _ if is_durable => {}
            true => self.first.extend(addresses),
            false => self.rest.extend(addresses),
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
        let is_changing = |address: &Ipv4Addr| self.pending.is_changing(*address);
        let first = self.rewrite.first.len().min(limit);
        let mut addresses: Vec<_> = self.rewrite.first.drain(..first).collect();
        // Whoever has one of them by now has it written.
        addresses.retain(|address| !is_changing(address));
        let is_first = !addresses.is_empty();
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
        self.rewrite.under_way = Some(UnderWay { ticket, addresses, is_first });
        Some((ticket, writes))
    }
}
