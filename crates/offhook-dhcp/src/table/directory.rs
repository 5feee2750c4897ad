//! Things that have an address and belong to a client, found by either.

use std::hash::{BuildHasher, RandomState};
use std::net::Ipv4Addr;

use hashbrown::HashTable;
use offhook_model::ClientId;
use rustc_hash::FxHashMap;

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

/// A slab with two indexes of four-byte slot numbers, so that nothing is stored twice.
pub(crate) struct Directory<T> {
    slots: Vec<Option<T>>,
    vacant: Vec<u32>,
    by_address: FxHashMap<Ipv4Addr, u32>,
    by_client: HashTable<u32>,
    /// Keyed at random: clients choose their identifiers.
    hasher: RandomState,
}

impl<T: Held> Directory<T> {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            vacant: Vec::new(),
            by_address: FxHashMap::default(),
            by_client: HashTable::new(),
            hasher: RandomState::new(),
        }
    }

    pub(crate) fn with_capacity(count: usize) -> Self {
        let mut directory = Self::new();
        directory.slots.reserve(count);
        directory.by_address.reserve(count);
        directory
    }

    pub(crate) fn len(&self) -> usize {
        self.by_address.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten()
    }

    /// What is in at most `limit` slots from slot `from` on, and the slot to go on from; `None` when that was all.
    /// What is put in the place of something at the same address keeps its slot.
    pub(crate) fn page(
        &self,
        from: usize,
        limit: usize,
    ) -> (impl Iterator<Item = &T>, Option<usize>) {
        let end = from.saturating_add(limit).min(self.slots.len());
        let slots = self.slots.get(from..end).unwrap_or_default();
        (slots.iter().flatten(), (end < self.slots.len()).then_some(end))
    }

    /// Everything, leaving nothing.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::replace(self, Self::new()).slots.into_iter().flatten()
    }

    pub(crate) fn at(&self, address: Ipv4Addr) -> Option<&T> {
        self.slot(*self.by_address.get(&address)?)
    }

    /// What is at an address, to be changed in what it is neither found by nor at.
    pub(crate) fn at_mut(&mut self, address: Ipv4Addr) -> Option<&mut T> {
        let slot = *self.by_address.get(&address)?;
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    pub(crate) fn of(&self, key: Key<'_>) -> Option<&T> {
        let slot = self.by_client.find(self.hasher.hash_one(key), |slot| {
            self.slot(*slot).and_then(Held::key) == Some(key)
        })?;
        self.slot(*slot)
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
        let old = self.remove(new.address());
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        self.by_address.insert(new.address(), slot);
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(new);
        }
        let Self { slots, by_client, hasher, .. } = self;
        let key = |slot: u32| slots.get(slot as usize).and_then(Option::as_ref).and_then(Held::key);
        if let Some(wanted) = key(slot) {
            let hash = hasher.hash_one(wanted);
            match by_client.find_mut(hash, |other| key(*other) == Some(wanted)) {
                Some(found) if takes_key => *found = slot,
                Some(_) => {}
                None => {
                    by_client.insert_unique(hash, slot, |slot| {
                        key(*slot).map_or(0, |key| hasher.hash_one(key))
                    });
                }
            }
        }
        old
    }

    pub(crate) fn remove(&mut self, address: Ipv4Addr) -> Option<T> {
        let slot = self.by_address.remove(&address)?;
        let old = self.slots.get_mut(slot as usize)?.take()?;
        if let Some(key) = old.key()
            && let Ok(found) =
                self.by_client.find_entry(self.hasher.hash_one(key), |other| *other == slot)
        {
            found.remove();
        }
        self.vacant.push(slot);
        Some(old)
    }

    fn slot(&self, slot: u32) -> Option<&T> {
        self.slots.get(slot as usize)?.as_ref()
    }
}
