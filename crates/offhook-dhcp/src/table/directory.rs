//! Things that have an address and belong to a client, found by either.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::net::Ipv4Addr;

use offhook_model::ClientId;

use super::index::Index;
use super::slab::Slab;

/// A client in a scope: what a lease or an offer is unique for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key<'a> {
    /// Index of the scope.
    pub(crate) scope: u16,
    /// `None` for option 61, else `htype`.
    pub(crate) htype: Option<u8>,
    /// The client identifier or the hardware address.
    pub(crate) bytes: &'a [u8],
}

impl<'a> Key<'a> {
    pub(crate) fn new(scope: u16, client: &'a ClientId) -> Self {
        match client {
            ClientId::Option61(bytes) => Self { scope, htype: None, bytes },
            ClientId::Hardware(hardware) => {
                Self { scope, htype: Some(hardware.htype()), bytes: hardware.bytes() }
            }
        }
    }
}

/// What a [`Directory`] holds.
pub(crate) trait Held {
    /// Unique among all.
    fn address(&self) -> Ipv4Addr;

    /// Whom it is found by; `None` when by nobody.
    fn key(&self) -> Option<Key<'_>>;
}

/// Slots whose numbers were found lately: as many as may well be decided about before the first is on disk.
const LATELY: usize = 1024;

/// A slab with two indexes of slot numbers, so that nothing is stored twice.
pub(crate) struct Directory<T> {
    slots: Slab<T>,
    by_address: Index,
    by_client: Index,
    /// Keyed at random: clients choose their identifiers.
    hasher: RandomState,
    /// By the end of its address, the slot of what was found lately. Who is found by the client is looked for by the
    /// address next, and again and again; and among very many, every place in memory that nobody has been at lately
    /// is one more to wait for.
    lately: Vec<Cell<u32>>,
}

impl<T: Held> Directory<T> {
    pub(crate) fn new() -> Self {
        Self::with_capacity(0)
    }

    pub(crate) fn with_capacity(count: usize) -> Self {
        Self {
            slots: Slab::new(),
            by_address: Index::with_capacity(count),
            by_client: Index::with_capacity(count),
            hasher: RandomState::new(),
            lately: vec![Cell::new(u32::MAX); LATELY],
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_address.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.from(0).flatten()
    }

    /// What is in at most `limit` slots from slot `from` on, and the slot to go on from; `None` when that was all.
    /// What is put in the place of something at the same address keeps its slot.
    pub(crate) fn page(
        &self,
        from: usize,
        limit: usize,
    ) -> (impl Iterator<Item = &T>, Option<usize>) {
        let end = from.saturating_add(limit);
        let slots = self.slots.from(from).take(limit);
        (slots.flatten(), (end < self.slots.len()).then_some(end))
    }

    /// Everything, leaving nothing.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::replace(self, Self::new()).slots.into_iter()
    }

    pub(crate) fn at(&self, address: Ipv4Addr) -> Option<&T> {
        self.slots.get(self.slot_at(address)?)
    }

    /// What is at an address, to be changed in what it is neither found by nor at.
    pub(crate) fn at_mut(&mut self, address: Ipv4Addr) -> Option<&mut T> {
        self.slots.get_mut(self.slot_at(address)?)
    }

    fn slot_at(&self, address: Ipv4Addr) -> Option<u32> {
        let is_there = |slot| self.slots.get(slot).is_some_and(|held| held.address() == address);
        let lately = self.lately(address);
        let known = lately.map(Cell::get).filter(|slot| is_there(*slot));
        let found = known.or_else(|| self.by_address.find(address_hash(address), is_there))?;
        lately.inspect(|lately| lately.set(found));
        Some(found)
    }

    fn lately(&self, address: Ipv4Addr) -> Option<&Cell<u32>> {
        self.lately.get(address.to_bits() as usize % LATELY)
    }

    pub(crate) fn of(&self, key: Key<'_>) -> Option<&T> {
        let has_key = |slot| self.slots.get(slot).and_then(Held::key) == Some(key);
        let slot = self.by_client.find(self.key_hash(key), has_key)?;
        let held = self.slots.get(slot)?;
        self.lately(held.address()).inspect(|lately| lately.set(slot));
        Some(held)
    }

    /// Puts one in the place of what was at its address. Another one that was found by the same key stays, and is
    /// found by its address only.
    pub(crate) fn insert(&mut self, new: T) -> Option<T> {
        self.place(new, true)
    }

    /// As [`Directory::insert`], but what is found by the same key goes on being found by it.
    pub(crate) fn restore(&mut self, new: T) -> Option<T> {
        self.place(new, false)
    }

    fn place(&mut self, new: T, takes_key: bool) -> Option<T> {
        let address = new.address();
        let Some(slot) = self.slot_at(address) else {
            let slot = self.slots.insert(new);
            self.by_address.insert(address_hash(address), slot);
            self.index(slot, takes_key);
            return None;
        };
        let old = std::mem::replace(self.slots.get_mut(slot)?, new);
        // A renewal changes neither, most of the time.
        let is_same = old.key() == self.slots.get(slot)?.key();
        if let Some(key) = old.key().filter(|_| !is_same) {
            let hash = self.key_hash(key);
            self.by_client.remove(hash, slot);
        }
        if !is_same || takes_key {
            self.index(slot, takes_key);
        }
        Some(old)
    }

    /// Makes what is in a slot be found by its key.
    fn index(&mut self, slot: u32, takes_key: bool) {
        let Self { slots, by_client, hasher, .. } = self;
        let Some(key) = slots.get(slot).and_then(Held::key) else { return };
        let hash = hasher.hash_one(key) as u32;
        let has_key = |slot| slots.get(slot).and_then(Held::key) == Some(key);
        let is_found = if takes_key {
            by_client.replace(hash, has_key, slot)
        } else {
            by_client.find(hash, has_key).is_some()
        };
        if !is_found {
            by_client.insert(hash, slot);
        }
    }

    pub(crate) fn remove(&mut self, address: Ipv4Addr) -> Option<T> {
        let slot = self.slot_at(address)?;
        let old = self.slots.remove(slot)?;
        self.by_address.remove(address_hash(address), slot);
        if let Some(key) = old.key() {
            let hash = self.key_hash(key);
            self.by_client.remove(hash, slot);
        }
        Some(old)
    }

    fn key_hash(&self, key: Key<'_>) -> u32 {
        self.hasher.hash_one(key) as u32
    }
}

/// Addresses follow one another, and nobody can choose which: a multiplication spreads them.
fn address_hash(address: Ipv4Addr) -> u32 {
    (u64::from(address.to_bits()).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}
