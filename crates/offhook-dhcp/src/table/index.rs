//! A hash table of slot numbers whose keys stay in the slots.
//!
//! It is made for being asked about one of very many that nobody has asked about lately: a look-up costs one place in
//! memory here and one in the slot. What is removed leaves nothing behind, so that no clean-up ever falls due; and
//! growing moves numbers, without a look at the slots.

/// Slots by hash: in the upper half of a cell its 32 bits, in the lower one the slot's number and one; 0 is empty.
/// Open addressing, linear probing.
pub(super) struct Index {
    cells: Vec<u64>,
    /// How many cells there are, less one: they are a power of two.
    mask: usize,
    len: usize,
}

impl Index {
    const FEWEST: usize = 64;

    pub(super) fn with_capacity(count: usize) -> Self {
        // Never more than two thirds full: chains stay within a line of the cache.
        let cells = (count + count / 2).next_power_of_two().max(Self::FEWEST);
        Self { cells: vec![0; cells], mask: cells - 1, len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The slot with this hash that `is_it`.
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        self.position(hash, is_it).map(|(_, slot)| slot)
    }

    /// The first slot with this hash, without a look at it.
    pub(super) fn likely(&self, hash: u32) -> Option<u32> {
        self.find(hash, |_| true)
    }

    /// Puts one slot in the place of another; whether that was there.
    pub(super) fn replace(&mut self, hash: u32, is_it: impl Fn(u32) -> bool, slot: u32) -> bool {
        let found = self.position(hash, is_it);
        if let Some(cell) = found.and_then(|(at, _)| self.cells.get_mut(at)) {
            *cell = pack(hash, slot);
        }
        found.is_some()
    }

    /// Puts a slot in that is not in.
    pub(super) fn insert(&mut self, hash: u32, slot: u32) {
        if (self.len + 1) * 3 > self.cells.len() * 2 {
            let cells = vec![0; self.cells.len() * 2];
            self.mask = cells.len() - 1;
            for cell in
                std::mem::replace(&mut self.cells, cells).into_iter().filter(|cell| *cell != 0)
            {
                self.put(cell);
            }
        }
        self.put(pack(hash, slot));
        self.len += 1;
    }

    /// Takes a slot out, if it is in.
    pub(super) fn remove(&mut self, hash: u32, slot: u32) {
        let Some((mut hole, _)) = self.position(hash, |other| other == slot) else { return };
        self.len -= 1;
        // Whatever comes behind and belongs at or before the hole moves up.
        let mut at = hole;
        loop {
            at = (at + 1) & self.mask;
            let cell = self.cell(at);
            if cell == 0 {
                break;
            }
            let from_home = at.wrapping_sub(self.home(cell)) & self.mask;
            if from_home >= at.wrapping_sub(hole) & self.mask {
                self.set(hole, cell);
                hole = at;
            }
        }
        self.set(hole, 0);
    }

    fn position(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<(usize, u32)> {
        let mut at = hash as usize & self.mask;
        loop {
            let cell = self.cell(at);
            if cell == 0 {
                return None;
            }
            let slot = (cell as u32).wrapping_sub(1);
            if cell >> 32 == u64::from(hash) && is_it(slot) {
                return Some((at, slot));
            }
            at = (at + 1) & self.mask;
        }
    }

    fn put(&mut self, cell: u64) {
        let mut at = self.home(cell);
        while self.cell(at) != 0 {
            at = (at + 1) & self.mask;
        }
        self.set(at, cell);
    }

    fn home(&self, cell: u64) -> usize {
        (cell >> 32) as usize & self.mask
    }

    fn cell(&self, at: usize) -> u64 {
        self.cells.get(at).copied().unwrap_or_default()
    }

    fn set(&mut self, at: usize, cell: u64) {
        if let Some(place) = self.cells.get_mut(at) {
            *place = cell;
        }
    }
}

fn pack(hash: u32, slot: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(slot.wrapping_add(1))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_finds_what_was_put_in_and_not_taken_out(
            ops in prop::collection::vec((any::<bool>(), 0..400_u32), 1..800),
            mask in prop::sample::select(vec![0, 3, 63, u32::MAX]),
        ) {
            // Few different hashes, all the same, or wrapped around the end.
            let hash = |slot: u32| slot.wrapping_mul(0x9e37_79b1) & mask | !mask;
            let mut index = Index::with_capacity(0);
            let mut model = HashMap::new();
            for (there, slot) in ops {
                if there && !model.contains_key(&slot) {
                    index.insert(hash(slot), slot);
                    model.insert(slot, ());
                } else {
                    index.remove(hash(slot), slot);
                    model.remove(&slot);
                }
                prop_assert_eq!(index.len(), model.len());
            }
            for slot in 0..400 {
                let found = index.find(hash(slot), |other| other == slot);
                prop_assert_eq!(found, model.contains_key(&slot).then_some(slot));
            }
        }
    }

    #[test]
    fn one_is_put_in_the_place_of_another() {
        let mut index = Index::with_capacity(1);
        index.insert(7, 1);
        assert!(index.replace(7, |slot| slot == 1, 2));
        assert!(!index.replace(7, |slot| slot == 1, 3));
        assert!(!index.replace(8, |_| true, 3));
        assert_eq!((index.find(7, |_| true), index.len()), (Some(2), 1));
    }
}
