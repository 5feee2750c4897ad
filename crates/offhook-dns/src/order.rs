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
}
