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

    /// The addresses that these keys most likely belong to. As no look at one waits for that at another, many take
    /// hardly longer than one, however far apart they are in memory.
    pub(crate) fn likely<'a>(&self, keys: impl Iterator<Item = Key<'a>>) -> Vec<Option<Ipv4Addr>> {
        let hashes: Vec<_> = keys.map(|key| self.key_hash(key)).collect();
        let slots: Vec<_> = hashes.iter().map(|hash| self.by_client.likely(*hash)).collect();
        slots.into_iter().map(|slot| self.slots.get(slot?).map(Held::address)).collect()
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
        let is_same = old.key() == self.slots.get(slot)?.key();
        if let Some(key) = old.key().filter(|_| !is_same) {
            let hash = self.key_hash(key);
            self.by_client.remove(hash, slot);
        }
        self.index(slot, takes_key);
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// Something at an address, of a client or of nobody.
    #[derive(Clone, Debug, PartialEq)]
    struct Thing(u8, Option<[u8; 1]>, usize);

    impl Held for Thing {
        fn address(&self) -> Ipv4Addr {
            address(self.0)
        }

        fn key(&self) -> Option<Key<'_>> {
            self.1.as_ref().map(key)
        }
    }

    fn address(last: u8) -> Ipv4Addr {
        // Some share a place among those found lately.
        Ipv4Addr::from_bits(u32::from(last % 4) * LATELY as u32 + u32::from(last / 4))
    }

    fn key(client: &[u8; 1]) -> Key<'_> {
        Key { scope: 0, htype: None, bytes: client }
    }

    #[derive(Clone, Copy, Debug)]
    enum Op {
        Insert(u8, Option<[u8; 1]>),
        Restore(u8, Option<[u8; 1]>),
        Remove(u8),
    }

    fn op() -> impl Strategy<Value = Op> {
        let client = prop::option::of((0..5_u8).prop_map(|client| [client]));
        let put = (0..12_u8, client);
        prop_oneof![
            4 => put.clone().prop_map(|(last, client)| Op::Insert(last, client)),
            1 => put.prop_map(|(last, client)| Op::Restore(last, client)),
            2 => (0..12_u8).prop_map(Op::Remove),
        ]
    }

    proptest! {
        #[test]
        fn things_are_found_by_their_address_and_by_who_had_one_last(
            ops in prop::collection::vec(op(), 1..120),
        ) {
            let mut directory = Directory::new();
            let mut things: HashMap<u8, Thing> = HashMap::new();
            let mut found: HashMap<[u8; 1], u8> = HashMap::new();
            for (number, op) in ops.into_iter().enumerate() {
                let (last, new, takes_key) = match op {
                    Op::Insert(last, client) => (last, Some(Thing(last, client, number)), true),
                    Op::Restore(last, client) => (last, Some(Thing(last, client, number)), false),
                    Op::Remove(last) => (last, None, false),
                };
                let old = match new.clone() {
                    Some(thing) if takes_key => directory.insert(thing),
                    Some(thing) => directory.restore(thing),
                    None => directory.remove(address(last)),
                };
                prop_assert_eq!(&old, &things.remove(&last));
                let stays = new.as_ref().and_then(|thing| thing.1);
                found.retain(|client, at| *at != last || stays == Some(*client));
                if let Some(thing) = new {
                    if let Some(client) = thing.1 {
                        let at = found.entry(client).or_insert(last);
                        if takes_key {
                            *at = last;
                        }
                    }
                    things.insert(last, thing);
                }
                prop_assert_eq!(directory.len(), things.len());
                for last in 0..12 {
                    prop_assert_eq!(directory.at(address(last)), things.get(&last));
                }
                for client in 0..5 {
                    let known = found.get(&[client]).and_then(|at| things.get(at));
                    prop_assert_eq!(directory.of(key(&[client])), known);
                    // But for two keys with one hash of 32 bits.
                    let likely = directory.likely(std::iter::once(key(&[client])));
                    prop_assert_eq!(likely, [known.map(Held::address)]);
                }
                let (some, mut next) = directory.page(0, 3);
                let mut count = some.count();
                while let Some(from) = next {
                    let (some, after) = directory.page(from, 3);
                    count += some.count();
                    next = after;
                }
                prop_assert_eq!(count, things.len());
            }
        }
    }
}
