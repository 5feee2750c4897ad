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

impl Memo {
    pub(super) fn new() -> Self {
        let empty = || Place { hash: 0, generation: 0, known: None };
        Self { places: (0..PLACES).map(|_| empty()).collect(), generation: 1 }
    }

    /// Forgets everything, at once.
    pub(super) fn forget(&mut self) {
        self.generation += 1;
    }

    /// What is said to a question.
    pub(super) fn known(&mut self, hash: u64, key: &[u8]) -> Option<&mut Answers> {
        let generation = self.generation;
        let place = self.place(hash);
        let known = place.known.as_mut().filter(|known| *known.key == *key)?;
        (place.generation == generation).then_some(&mut known.answers)
    }

    /// The place for what is not known, if it is worth one: most questions that are asked once are not asked
    /// twice, so the first time nothing is kept but the hash.
    pub(super) fn worth(&mut self, hash: u64, key: &[u8]) -> Option<&mut Place> {
        let generation = self.generation;
        let place = self.place(hash);
        // What the snapshot before was asked twice will be asked again.
        let twice = place.hash == hash
            && (place.generation == generation
                || place.known.as_ref().is_some_and(|k| *k.key == *key));
        *place = Place { hash, generation, known: None };
        twice.then_some(place)
    }

    #[expect(clippy::indexing_slicing, reason = "a remainder of PLACES is below it")]
    fn place(&mut self, hash: u64) -> &mut Place {
        &mut self.places[hash as usize % PLACES]
    }
}

impl Place {
    pub(super) fn learn(&mut self, key: &[u8], answers: Answers) -> &mut Answers {
        &mut self.known.insert(Known { key: key.into(), answers }).answers
    }
}
