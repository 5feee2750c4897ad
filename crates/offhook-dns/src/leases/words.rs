//! Memory that snapshots read while whoever owns it goes on writing, without a lock and without a copy of it all.
//!
//! It is handed out in blocks, and what a snapshot leads to is not changed for as long as there is that snapshot: a
//! change is made to a copy of the block, and the block is used again once no snapshot leads to it. So a snapshot costs
//! nothing to take, and a change the few blocks on its way. The words are atomic because owner and readers share them,
//! not because they race: a reader learns of a block by way of the snapshot that was handed to it, and the owner of
//! the end of a snapshot by the count of who has it, both of which order what came before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Words of a chunk: 64 KiB.
const CHUNK: usize = 8192;

/// Words of a unit, which blocks are multiples of.
const UNIT: usize = 2;

/// Units of a chunk.
const UNITS: u32 = (CHUNK / UNIT) as u32;

/// Units of the longest block.
const LONGEST: usize = 20;

/// Where a block begins, in units; less than 2³¹, which is 32 GiB. There is none at 0.
pub(super) type Place = u32;

/// What is read. A copy is one reference count.
#[derive(Clone, Debug)]
pub(super) struct Words(Arc<[Arc<[AtomicU64]>]>);

impl Words {
    pub(super) fn new() -> Self {
        Self(Arc::new([]))
    }

    /// The words from where a block begins, to its end and beyond; its first one is the owner's.
    pub(super) fn block(&self, at: Place) -> &[AtomicU64] {
        if at == 0 {
            return &[];
        }
        let word = at as usize * UNIT;
        let chunk = self.0.get(word / CHUNK);
        chunk.and_then(|chunk| chunk.get(word % CHUNK..)).unwrap_or_default()
    }

    fn grow(&mut self) {
        let chunk = (0..CHUNK).map(|_| AtomicU64::new(0)).collect();
        self.0 = self.0.iter().cloned().chain([chunk]).collect();
    }
}

/// One word of a block.
pub(super) fn load(block: &[AtomicU64], place: usize) -> u64 {
    block.get(place).map_or(0, |word| word.load(Ordering::Relaxed))
}

/// Units of a block of so many words.
pub(super) const fn units(words: usize) -> usize {
    words.div_ceil(UNIT)
}

/// Which blocks are free, and which ones snapshots lead to.
#[derive(Debug)]
pub(super) struct Arena {
    /// By length in units.
    free: [Vec<Place>; LONGEST + 1],
    /// The first unit that was never handed out.
    next: Place,
    /// Of what is being written.
    version: u64,
    /// Those that somebody may still read, the oldest first.
    shared: Vec<Version>,
}

/// What was handed out as a snapshot.
#[derive(Debug)]
struct Version {
    number: u64,
    /// Every copy of the snapshot has this.
    readers: Arc<()>,
    /// What it leads to and the next one does not.
    dead: Vec<Dead>,
}

#[derive(Debug)]
struct Dead {
    at: Place,
    units: usize,
    birth: u64,
}

impl Arena {
    pub(super) fn new() -> Self {
        Self { free: Default::default(), next: 1, version: 1, shared: Vec::new() }
    }

    /// What was written so far is a snapshot, which whoever has a copy of `readers` reads.
    pub(super) fn share(&mut self, readers: Arc<()>) {
        self.shared.push(Version { number: self.version, readers, dead: Vec::new() });
        self.version += 1;
        let mut place = 0;
        while let Some(version) = self.shared.get_mut(place) {
            if Arc::get_mut(&mut version.readers).is_none() {
                place += 1;
                continue;
            }
            let gone = self.shared.remove(place);
            for dead in gone.dead {
                // Or the one before leads to it as well.
                match place.checked_sub(1).and_then(|before| self.shared.get_mut(before)) {
                    Some(before) if dead.birth <= before.number => before.dead.push(dead),
                    _ => self.free(dead.at, dead.units),
                }
            }
        }
    }

    /// Whether no snapshot leads to what was made in this version.
    fn is_own(&self, birth: u64) -> bool {
        self.shared.last().is_none_or(|newest| newest.number < birth)
    }

    fn free(&mut self, at: Place, units: usize) {
        if let Some(free) = self.free.get_mut(units) {
            free.push(at);
        }
    }

    /// Units that are in use, or that a snapshot may still lead to.
    #[cfg(test)]
    pub(super) fn in_use(&self) -> usize {
        let free = self.free.iter().enumerate().map(|(units, free)| units * free.len());
        self.next as usize - 1 - free.sum::<usize>()
    }
}

/// What is read, by its owner.
pub(super) struct Edit<'a> {
    pub(super) words: &'a mut Words,
    pub(super) arena: &'a mut Arena,
}

impl Edit<'_> {
    /// A block with this content, after the word that is the owner's.
    pub(super) fn put(&mut self, units: usize, content: impl Iterator<Item = u64>) -> Place {
        let at = self.allocate(units);
        let content = [self.arena.version].into_iter().chain(content).chain(std::iter::repeat(0));
        for (word, content) in self.words.block(at).iter().take(units * UNIT).zip(content) {
            word.store(content, Ordering::Relaxed);
        }
        at
    }

    /// The block itself when no snapshot leads to it, or else a copy, in the place of which it is not used any more.
    pub(super) fn own(&mut self, at: Place, units: usize) -> Place {
        if self.is_own(at) {
            return at;
        }
        let copy = self.allocate(units);
        let (from, to) = (self.words.block(at), self.words.block(copy));
        for (from, to) in from.iter().zip(to).take(units * UNIT) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.set(copy, 0, self.arena.version);
        self.drop(at, units);
        copy
    }

    /// Whether no snapshot leads to a block.
    pub(super) fn is_own(&self, at: Place) -> bool {
        self.arena.is_own(load(self.words.block(at), 0))
    }

    pub(super) fn set(&mut self, at: Place, place: usize, word: u64) {
        if let Some(to) = self.words.block(at).get(place) {
            to.store(word, Ordering::Relaxed);
        }
    }

    /// The block is not used any more, but by snapshots that lead to it.
    pub(super) fn drop(&mut self, at: Place, units: usize) {
        let birth = load(self.words.block(at), 0);
        match self.arena.shared.last_mut() {
            Some(newest) if birth <= newest.number => newest.dead.push(Dead { at, units, birth }),
            _ => self.arena.free(at, units),
        }
    }

    fn allocate(&mut self, units: usize) -> Place {
        if let Some(at) = self.arena.free.get_mut(units).and_then(Vec::pop) {
            return at;
        }
        let mut at = self.arena.next;
        let end = self.words.0.len() as Place * UNITS;
        if end.saturating_sub(at) < units as Place {
            at = end.max(1);
            self.words.grow();
        }
        // What is left of a chunk is left.
        self.arena.next = at + units as Place;
        at
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_snapshot_stays_what_it_was_and_what_nobody_reads_is_used_again(
            steps in prop::collection::vec((0..4u8, 0..8usize), 1..300),
        ) {
            let (mut words, mut arena) = (Words::new(), Arena::new());
            let mut blocks = vec![];
            for _ in 0..8 {
                blocks.push(Edit { words: &mut words, arena: &mut arena }.put(1, [0].into_iter()));
            }
            let mut current = Arc::new(());
            let mut snapshots = Vec::new();
            let content = |words: &Words, blocks: &[Place]| -> Vec<u64> {
                blocks.iter().map(|at| load(words.block(*at), 1)).collect()
            };
            for (count, (what, place)) in steps.into_iter().enumerate() {
                match what {
                    0 if snapshots.len() < 4 => {
                        let taken = content(&words, &blocks);
                        snapshots.push((Arc::clone(&current), words.clone(), blocks.clone(), taken));
                        arena.share(std::mem::replace(&mut current, Arc::new(())));
                    }
                    1 if !snapshots.is_empty() => {
                        snapshots.remove(place % snapshots.len());
                    }
                    _ => {
                        let mut edit = Edit { words: &mut words, arena: &mut arena };
                        blocks[place] = edit.own(blocks[place], 1);
                        edit.set(blocks[place], 1, count as u64);
                    }
                }
                for (_, words, blocks, taken) in &snapshots {
                    prop_assert_eq!(&content(words, blocks), taken);
                }
                // Never more than what somebody reads, and what waits for the next look.
                prop_assert!(arena.in_use() <= 8 * 7, "{}", arena.in_use());
            }
            snapshots.clear();
            arena.share(current);
            prop_assert_eq!(arena.in_use(), 8);
        }
    }
}
