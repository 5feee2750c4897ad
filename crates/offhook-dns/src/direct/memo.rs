//! What was asked, and what was said to it.

use super::compile::Answers;

/// How many questions are remembered, a power of two. One that falls on the place of another takes it: a flood of
/// names costs those it hits a second asking, and no memory.
const PLACES: usize = 4096;

/// Questions with their answers, found by a hash of the question.
#[derive(Debug)]
pub(super) struct Memo {
    places: Box<[Place]>,
    /// Grows when everything is to be forgotten.
    generation: u64,
}

#[derive(Debug)]
pub(super) struct Place {
    hash: u64,
    generation: u64,
    known: Option<Known>,
}

#[derive(Debug)]
struct Known {
    key: Box<[u8]>,
    answers: Answers,
}

/// What became of looking for a question.
#[derive(Debug)]
pub(super) enum Looked<'a> {
    /// It was not asked lately. Most that are asked once are not asked twice, so nothing was kept but its hash.
    First,
    /// Something with its hash was asked before: worth remembering.
    Again(&'a mut Place),
    /// This is what is said to it.
    Known(&'a mut Answers),
}

impl Memo {
    pub(super) fn new() -> Self {
        let empty = || Place { hash: 0, generation: 0, known: None };
        Self { places: (0..PLACES).map(|_| empty()).collect(), generation: 1 }
    }

    /// Forgets everything, at once.
    pub(super) fn forget(&mut self) {
        self.generation += 1;
    }

    #[expect(clippy::indexing_slicing, reason = "a remainder of PLACES is below it")]
    pub(super) fn look(&mut self, hash: u64, key: &[u8]) -> Looked<'_> {
        let place = &mut self.places[hash as usize % PLACES];
        let current = place.generation == self.generation;
        let known = place.hash == hash && place.known.as_ref().is_some_and(|k| *k.key == *key);
        if !current || place.hash != hash {
            *place = Place { hash, generation: self.generation, known: None };
            // What the snapshot before was asked twice will be asked again.
            return if known { Looked::Again(place) } else { Looked::First };
        }
        if !known {
            return Looked::Again(place);
        }
        match &mut place.known {
            Some(known) => Looked::Known(&mut known.answers),
            None => Looked::First,
        }
    }
}

impl Place {
    pub(super) fn learn(&mut self, key: &[u8], answers: Answers) -> &mut Answers {
        &mut self.known.insert(Known { key: key.into(), answers }).answers
    }
}
