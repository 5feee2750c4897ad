//! Tells of what goes on in the lease store behind the commits.

use offhook_store::{Health, Store};
use tracing::{error, info};

/// Looks, to be told again that something is wrong.
const AGAIN: u32 = 60;

/// What is known of the store's upkeep.
#[derive(Debug)]
pub(super) struct Upkeep {
    health: Health,
    trouble: Option<String>,
    /// Looks since it was told.
    looks: u32,
}

impl Upkeep {
    pub(super) fn new(store: &Store) -> Self {
        Self { health: store.health(), trouble: None, looks: 0 }
    }

    /// Looks whether all is well. To be called once a second.
    pub(super) fn look(&mut self) {
        let trouble = self.health.trouble();
        self.looks += 1;
        if trouble == self.trouble && (trouble.is_none() || self.looks < AGAIN) {
            return;
        }
        self.looks = 0;
        match &trouble {
            Some(error) => error!(
                error,
                "the journal of the leases cannot be brought into their database: leases are acknowledged only as \
                 long as it has room"
            ),
            None => info!("the journal of the leases is brought into their database again"),
        }
        self.trouble = trouble;
    }
}
