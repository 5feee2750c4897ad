//! In which order records are sent that are to be spread over those who ask.

use rand::{Rng, RngExt};

/// What decides the order of records: a source of chance, or somebody who wants to see every order there is.
///
/// How often it is asked, and for what, must depend on nothing but the records and the decisions before.
pub trait Order {
    /// A number below `bound`, which is at least 1; each as likely as the other.
    fn below(&mut self, bound: usize) -> usize;
}

impl<R: Rng> Order for R {
    fn below(&mut self, bound: usize) -> usize {
        self.random_range(0..bound.max(1))
    }
}

/// Puts `items` into any of their orders, each as likely as the other (Fisher and Yates).
pub(crate) fn shuffle<T>(items: &mut [T], order: &mut impl Order) {
    for remaining in (2..=items.len()).rev() {
        items.swap(remaining - 1, order.below(remaining));
    }
}

/// Takes every decision there is, one after the other: what asks it again and again, until there is no [`advance`],
/// gives every order there is.
///
/// [`advance`]: EveryOrder::advance
#[derive(Debug, Default)]
pub struct EveryOrder {
    /// What was decided so far this time, out of how many.
    decisions: Vec<(usize, usize)>,
    /// How many of them were asked for this time.
    taken: usize,
}

impl Order for EveryOrder {
    fn below(&mut self, bound: usize) -> usize {
        let place = self.taken;
        self.taken += 1;
        if let Some(&(decision, _)) = self.decisions.get(place) {
            return decision;
        }
        self.decisions.push((0, bound));
        0
    }
}

impl EveryOrder {
    /// How unlikely this order is: chance would decide for it once in so many times.
    pub fn odds(&self) -> usize {
        self.decisions.iter().fold(1, |product, &(_, bound)| product.saturating_mul(bound))
    }

    /// Prepares the next; false when that was the last.
    pub fn advance(&mut self) -> bool {
        self.taken = 0;
        while let Some((decision, bound)) = self.decisions.last_mut() {
            *decision += 1;
            if *decision < *bound {
                return true;
            }
            self.decisions.pop();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn every_order_comes_about_as_often_as_any_other() {
        let mut seen: BTreeMap<[u8; 3], u32> = BTreeMap::new();
        let mut rng = StdRng::seed_from_u64(1);
        for _ in 0..6000 {
            let mut items = [1, 2, 3];
            shuffle(&mut items, &mut rng);
            *seen.entry(items).or_default() += 1;
        }
        assert_eq!(seen.len(), 6);
        assert!(seen.values().all(|&times| (850..1150).contains(&times)), "{seen:?}");
    }

    #[test]
    fn every_order_there_is_comes_once() {
        let (mut every, mut seen) = (EveryOrder::default(), BTreeMap::new());
        loop {
            let (mut three, mut two) = ([1, 2, 3], [4, 5]);
            shuffle(&mut three, &mut every);
            shuffle(&mut two, &mut every);
            *seen.entry((three, two)).or_insert(0) += 1;
            assert_eq!(every.odds(), 12);
            if !every.advance() {
                break;
            }
        }
        assert_eq!(seen.len(), 12);
        assert!(seen.values().all(|&times| times == 1), "{seen:?}");
    }
}
