//! Changes that are not durable yet, and how to undo them.

use std::net::Ipv4Addr;

use rustc_hash::FxHashMap;

use super::entry::Entry;
use crate::Ticket;

/// What a change means once it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    Acknowledged,
    Released,
    Declined,
}

/// One change: the address it is about, and what it takes from the same client.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) meaning: Meaning,
    pub(crate) address: Ipv4Addr,
    /// The address it had in the same scope, forgotten.
    pub(crate) given_up: Option<Ipv4Addr>,
    /// Addresses it had in other scopes, given back.
    pub(crate) released: Vec<Ipv4Addr>,
}

impl Change {
    pub(crate) fn new(meaning: Meaning, address: Ipv4Addr) -> Self {
        Self { meaning, address, given_up: None, released: Vec::new() }
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        let own = [Some(self.address), self.given_up].into_iter().flatten();
        own.chain(self.released.iter().copied())
    }
}

/// The values an address has had since the last durable one. The newest value is in the table itself.
#[derive(Debug)]
struct Chain {
    /// What is durable, as far as is known.
    base: Option<Entry>,
    /// Values between the durable one and the newest, oldest first.
    between: Vec<(Ticket, Option<Entry>)>,
    /// Whose value is in the table.
    newest: Ticket,
}

/// What becomes of an address when one of its changes is settled.
#[derive(Debug)]
pub(crate) struct Settled {
    /// Whether no change is pending any more.
    pub(crate) last: bool,
    /// The value to put back, when the newest change failed.
    pub(crate) restore: Option<Option<Entry>>,
}

/// All changes on their way to the store.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    changes: FxHashMap<u64, Change>,
    chains: FxHashMap<Ipv4Addr, Chain>,
    last_ticket: u64,
}

impl Pending {
    pub(crate) fn len(&self) -> usize {
        self.changes.len()
    }

    pub(crate) fn is_changing(&self, address: Ipv4Addr) -> bool {
        self.chains.contains_key(&address)
    }

    /// Every address with a change on its way, in no order.
    pub(crate) fn changing(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.chains.keys().copied()
    }

    pub(crate) fn issue(&mut self, change: Change) -> Ticket {
        let ticket = self.number();
        self.changes.insert(ticket.0, change);
        ticket
    }

    /// A ticket for something that changes nothing here.
    pub(crate) fn number(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }

    /// Notes that `ticket` has put a new value in the place of `old`.
    pub(crate) fn replaced(&mut self, ticket: Ticket, address: Ipv4Addr, old: Option<Entry>) {
        match self.chains.get_mut(&address) {
            Some(chain) => {
                let before = std::mem::replace(&mut chain.newest, ticket);
                chain.between.push((before, old));
            }
            None => {
                let chain = Chain { base: old, between: Vec::new(), newest: ticket };
                self.chains.insert(address, chain);
            }
        }
    }

    /// The last change of an address, if it is not durable.
    pub(crate) fn last(&self, address: Ipv4Addr) -> Option<&Change> {
        self.changes.get(&self.chains.get(&address)?.newest.0)
    }

    /// The change of a ticket, once.
    pub(crate) fn redeem(&mut self, ticket: Ticket) -> Option<Change> {
        self.changes.remove(&ticket.0)
    }

    /// The value a ticket gave an address; `None` when it is the one in the table.
    pub(crate) fn older_value(&self, ticket: Ticket, address: Ipv4Addr) -> Option<&Entry> {
        let chain = self.chains.get(&address)?;
        chain.between.iter().find(|(other, _)| *other == ticket)?.1.as_ref()
    }

    /// The value of `ticket` is durable.
    pub(crate) fn committed(&mut self, ticket: Ticket, address: Ipv4Addr) -> Settled {
        let Some(chain) = self.chains.get_mut(&address) else {
            return Settled { last: false, restore: None };
        };
        if chain.newest == ticket {
            self.chains.remove(&address);
            return Settled { last: true, restore: None };
        }
        if let Some(at) = chain.between.iter().position(|(other, _)| *other == ticket)
            && let Some((_, value)) = chain.between.drain(..=at).next_back()
        {
            chain.base = value;
        }
        Settled { last: false, restore: None }
    }

    /// The value of `ticket` never became durable.
    pub(crate) fn failed(&mut self, ticket: Ticket, address: Ipv4Addr) -> Settled {
        let Some(chain) = self.chains.get_mut(&address) else {
            return Settled { last: false, restore: None };
        };
        if chain.newest != ticket {
            chain.between.retain(|(other, _)| *other != ticket);
            return Settled { last: false, restore: None };
        }
        match chain.between.pop() {
            Some((before, value)) => {
                chain.newest = before;
                Settled { last: false, restore: Some(value) }
            }
            None => {
                let base = self.chains.remove(&address).and_then(|chain| chain.base);
                Settled { last: true, restore: Some(base) }
            }
        }
    }

    /// Every value that may yet be put back.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.chains.values_mut().flat_map(|chain| {
            chain.base.iter_mut().chain(chain.between.iter_mut().filter_map(|(_, e)| e.as_mut()))
        })
    }
}
