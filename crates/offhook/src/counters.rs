//! How often what happened, since the program started: what the servers' counters have in common.

use std::sync::atomic::{AtomicU64, Ordering};

/// An enum of what a server counts, each thing with its name.
macro_rules! counts {
    ($($(#[$doc:meta])+ $variant:ident $name:literal)+) => {
        /// What is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Count {
            $($(#[$doc])+ $variant,)+
        }

        impl Count {
            /// Everything, in the order of the declaration.
            pub(crate) const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name, lower case with hyphens; stable.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

pub(crate) use counts;

/// As many counters as there are things to count. Any thread may raise them; reading them disturbs nobody.
#[derive(Debug)]
pub(crate) struct Counts<const N: usize>([AtomicU64; N]);

impl<const N: usize> Default for Counts<N> {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; N])
    }
}

impl<const N: usize> Counts<N> {
    /// What is at this place of the enum happened so often.
    pub(crate) fn add(&self, place: usize, times: u64) {
        if let Some(counter) = self.0.get(place) {
            counter.fetch_add(times, Ordering::Relaxed);
        }
    }

    /// How often it happened.
    pub(crate) fn of(&self, place: usize) -> u64 {
        self.0.get(place).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}
