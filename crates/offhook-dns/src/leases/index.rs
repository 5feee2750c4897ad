//! A hash table of which there are snapshots: from a 32-bit hash to some of the numbers that were put in with it.
//!
//! A tree whose branches go by five bits of the hash each, and whose leaves are short lists. Branches share a leaf
//! until it is full, so leaves are never much emptier than half. What has grown does not shrink, but is used again.

use std::ops::Range;
use std::sync::atomic::AtomicU64;

use super::words::{Edit, Place, Words, load, units};

/// Marks the place of a branch.
const BRANCH: Place = 1 << 31;

/// Places in a branch, two in a word.
const WAYS: usize = 32;
const BITS: u32 = WAYS.ilog2();
const BRANCH_UNITS: usize = units(1 + WAYS / 2);

/// Words of a leaf, all but the first for an entry each: hash, number.
const LEAF: usize = 16;
const LEAF_UNITS: usize = units(LEAF);

/// Branches, one below the other, that a hash has bits for.
const DEEPEST: u32 = u32::BITS / BITS;

/// The numbers that were put in with this hash.
pub(super) fn find(words: &Words, root: Place, hash: u32) -> impl Iterator<Item = u32> {
    let leaf = leaf(words, root, hash);
    entries(words.block(leaf)).filter(move |(found, _)| *found == hash).map(|(_, number)| number)
}

/// The leaf that a hash leads to.
pub(super) fn leaf(words: &Words, root: Place, hash: u32) -> Place {
    let (mut at, mut depth) = (root, 0);
    while at & BRANCH != 0 {
        at = below(words.block(at & !BRANCH), way(hash, depth));
        depth += 1;
    }
    at
}

/// Every number, in no order.
pub(super) fn all(words: &Words, root: Place) -> impl Iterator<Item = u32> {
    let mut branches = vec![root];
    let leaves = std::iter::from_fn(move || {
        loop {
            let at = branches.pop()?;
            if at & BRANCH == 0 {
                return Some(words.block(at));
            }
            let branch = words.block(at & !BRANCH);
            let mut last = 0;
            for way in 0..WAYS {
                let at = below(branch, way);
                if at != std::mem::replace(&mut last, at) {
                    branches.push(at);
                }
            }
        }
    });
    leaves.flat_map(|leaf| entries(leaf).map(|(_, number)| number))
}

/// Which way a hash goes at a branch.
fn way(hash: u32, depth: u32) -> usize {
    (hash >> (u32::BITS - BITS * (1 + depth))) as usize % WAYS
}

fn below(branch: &[AtomicU64], way: usize) -> Place {
    (load(branch, 1 + way / 2) >> (way % 2 * 32)) as Place
}

pub(super) fn entries(leaf: &[AtomicU64]) -> impl Iterator<Item = (u32, u32)> {
    let words = (1..LEAF).map(|place| load(leaf, place)).filter(|word| *word != 0);
    words.map(|word| ((word >> 32) as u32, word as u32))
}

fn word(hash: u32, number: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(number)
}

impl Edit<'_> {
    /// Puts a number in, which is not zero; returns the root from now on. The sixteenth of one hash, or
    /// of hashes that branches do not tell apart, would have no room and is left out: hashes are keyed, or of one number
    /// each.
    pub(super) fn insert(&mut self, root: Place, hash: u32, number: u32) -> Place {
        self.insert_at(root, 0, hash, number)
    }

    /// Puts another number in the place of one that is there, or none when that is zero; returns the root from now on.
    pub(super) fn replace(&mut self, root: Place, hash: u32, old: u32, new: u32) -> Place {
        self.replace_at(root, 0, word(hash, old), if new == 0 { 0 } else { word(hash, new) })
    }

    fn insert_at(&mut self, at: Place, depth: u32, hash: u32, number: u32) -> Place {
        if at == 0 {
            return self.leaf([(hash, number)].into_iter());
        }
        if at & BRANCH == 0 {
            // The root: leaves below a branch are shared, and that branch's business.
            if let Some(room) = self.place_of(at, 0) {
                let leaf = self.own(at, LEAF_UNITS);
                self.set(leaf, room, word(hash, number));
                return leaf;
            }
            let branch = self.branch(at);
            return self.insert_at(branch, depth, hash, number);
        }
        let branch = self.own(at & !BRANCH, BRANCH_UNITS);
        let way = way(hash, depth);
        loop {
            let at = below(self.words.block(branch), way);
            if at & BRANCH != 0 {
                let new = self.insert_at(at, depth + 1, hash, number);
                self.lead(branch, way..way + 1, new);
                break;
            }
            let ways = self.ways(branch, way);
            if let Some(room) = self.place_of(at, 0) {
                let leaf = self.own(at, LEAF_UNITS);
                self.set(leaf, room, word(hash, number));
                self.lead(branch, ways, leaf);
                break;
            }
            if ways.len() > 1 {
                self.split(branch, ways, at, depth);
            } else if depth + 1 < DEEPEST {
                let new = self.branch(at);
                self.lead(branch, ways, new);
            } else {
                break;
            }
        }
        branch | BRANCH
    }

    fn replace_at(&mut self, at: Place, depth: u32, old: u64, new: u64) -> Place {
        if at & BRANCH == 0 {
            let Some(place) = self.place_of(at, old) else { return at };
            let leaf = self.own(at, LEAF_UNITS);
            self.set(leaf, place, new);
            return leaf;
        }
        let way = way((old >> 32) as u32, depth);
        let branch = self.own(at & !BRANCH, BRANCH_UNITS);
        let before = below(self.words.block(branch), way);
        let after = self.replace_at(before, depth + 1, old, new);
        if after != before {
            let ways = self.ways(branch, way);
            self.lead(branch, ways, after);
        }
        branch | BRANCH
    }

    fn leaf(&mut self, entries: impl Iterator<Item = (u32, u32)>) -> Place {
        self.put(LEAF_UNITS, entries.map(|(hash, number)| word(hash, number)))
    }

    /// A branch all of whose ways lead to one leaf.
    fn branch(&mut self, leaf: Place) -> Place {
        self.put(BRANCH_UNITS, std::iter::repeat_n(word(leaf, leaf), WAYS / 2)) | BRANCH
    }

    /// Where in a leaf a word is.
    fn place_of(&self, leaf: Place, word: u64) -> Option<usize> {
        let leaf = self.words.block(leaf);
        (1..LEAF).find(|place| leaf.len() > *place && load(leaf, *place) == word)
    }

    /// The ways that lead where this one does.
    fn ways(&self, branch: Place, way: usize) -> Range<usize> {
        let branch = self.words.block(branch);
        let is_other = |other: &usize| below(branch, *other) != below(branch, way);
        let start = (0..way).rev().find(is_other).map_or(0, |other| other + 1);
        start..(way..WAYS).find(is_other).unwrap_or(WAYS)
    }

    fn lead(&mut self, branch: Place, ways: Range<usize>, to: Place) {
        for way in ways {
            let (place, shift) = (1 + way / 2, way % 2 * 32);
            let other = load(self.words.block(branch), place) & !(u64::from(u32::MAX) << shift);
            self.set(branch, place, other | u64::from(to) << shift);
        }
    }

    /// Divides a leaf, and the ways that lead there, in two.
    fn split(&mut self, branch: Place, ways: Range<usize>, leaf: Place, depth: u32) {
        let middle = ways.start + ways.len() / 2;
        let all: Vec<_> = entries(self.words.block(leaf)).collect();
        let is_low = |(hash, _): &(u32, u32)| way(*hash, depth) < middle;
        let low = self.leaf(all.iter().copied().filter(is_low));
        let high = self.leaf(all.iter().copied().filter(|entry| !is_low(entry)));
        self.drop(leaf, LEAF_UNITS);
        self.lead(branch, ways.start..middle, low);
        self.lead(branch, middle..ways.end, high);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::words::Arena;
    use super::*;

    /// Spread as hashes are, or the worst that they can be.
    fn hash(key: u32, is_good: bool) -> u32 {
        if is_good { key.wrapping_mul(0x9e37_79b1) } else { key / 3 }
    }

    fn numbers(words: &Words, root: Place) -> Vec<u32> {
        let mut all: Vec<_> = all(words, root).collect();
        all.sort_unstable();
        all
    }

    proptest! {
        #[test]
        fn it_is_a_map_and_a_snapshot_keeps_what_it_was(
            steps in prop::collection::vec((0..400u32, any::<bool>(), 0..20u8), 1..900),
            is_good: bool,
        ) {
            let (mut words, mut arena, mut root) = (Words::new(), Arena::new(), 0);
            let mut model = BTreeMap::new();
            let mut current = Arc::new(());
            let mut kept = Vec::new();
            for (count, (key, is_put, keep)) in steps.into_iter().enumerate() {
                if keep == 0 {
                    if kept.len() > 2 {
                        kept.remove(1);
                    }
                    let numbers: Vec<u32> = model.values().copied().collect();
                    kept.push((words.clone(), root, Arc::clone(&current), numbers));
                    arena.share(std::mem::replace(&mut current, Arc::new(())));
                }
                let mut edit = Edit { words: &mut words, arena: &mut arena };
                let (hash, new) = (hash(key, is_good), ((count as u32) << 9) | (key + 1));
                root = match (model.get(&key).copied(), is_put) {
                    (None, true) => edit.insert(root, hash, new),
                    (Some(old), true) => edit.replace(root, hash, old, new),
                    (Some(old), false) => edit.replace(root, hash, old, 0),
                    (None, false) => root,
                };
                if is_put {
                    model.insert(key, new);
                } else {
                    model.remove(&key);
                }
                let found = find(&words, root, hash).find(|number| number & 511 == key + 1);
                prop_assert_eq!(found, model.get(&key).copied());
            }
            kept.push((words, root, current, model.values().copied().collect()));
            for (words, root, _, mut expected) in kept {
                expected.sort_unstable();
                prop_assert_eq!(numbers(&words, root), expected);
            }
        }
    }

    #[test]
    fn a_change_copies_few_blocks_however_many_entries_there_are() {
        let (mut words, mut arena, mut root) = (Words::new(), Arena::new(), 0);
        for key in 1..=100_000 {
            root = Edit { words: &mut words, arena: &mut arena }.insert(root, hash(key, true), key);
        }
        let filled = arena.in_use();
        assert!(filled * 16 < 100_000 * 15, "{filled} units");
        let snapshot = Arc::new(());
        arena.share(Arc::clone(&snapshot));
        let edit = &mut Edit { words: &mut words, arena: &mut arena };
        let changed = edit.insert(root, hash(100_001, true), 100_001);
        let changed = edit.replace(changed, hash(7, true), 7, 0);
        assert_ne!(changed, root);
        assert!(arena.in_use() - filled <= 2 * (6 * BRANCH_UNITS + 2 * LEAF_UNITS));
        assert_eq!(find(&words, root, hash(7, true)).count(), 1);
        drop(snapshot);
        arena.share(Arc::new(()));
        assert!(arena.in_use() <= filled + 2 * LEAF_UNITS + BRANCH_UNITS);
    }

    #[test]
    fn what_has_no_room_is_left_out() {
        let (mut words, mut arena, mut root) = (Words::new(), Arena::new(), 0);
        for number in 1..=20 {
            root = Edit { words: &mut words, arena: &mut arena }.insert(root, 7, number);
        }
        assert_eq!(find(&words, root, 7).collect::<Vec<_>>(), (1..=15).collect::<Vec<_>>());
    }
}
