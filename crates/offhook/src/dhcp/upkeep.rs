//! Tells of what goes on in the lease store behind the commits, and of interfaces that are gone.

use offhook_store::{Health, Store};
use tracing::{error, info};

use super::ports::Ports;

/// Looks, to be told again that something is wrong.
const AGAIN: u32 = 60;

/// What is known of the store's upkeep.
#[derive(Debug)]
pub(super) struct Upkeep {
    health: Health,
    trouble: Option<String>,
    /// Looks since it was told.
    looks: u32,
    lost: Lost,
}

/// Interfaces that are gone, as far as that was told.
#[derive(Debug, Default)]
struct Lost {
    told: Vec<String>,
    /// Looks since then.
    looks: u32,
}

impl Upkeep {
    pub(super) fn new(store: &Store) -> Self {
        Self { health: store.health(), trouble: None, looks: 0, lost: Lost::default() }
    }

    /// Looks whether all is well. To be called once a second.
    pub(super) fn look(&mut self, ports: &Ports) {
        self.lost.look(ports);
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

impl Lost {
    fn look(&mut self, ports: &Ports) {
        let lost = ports.lost();
        self.looks += 1;
        if lost == self.told && (lost.is_empty() || self.looks < AGAIN) {
            return;
        }
        self.looks = 0;
        for interface in &lost {
            error!(
                interface,
                hint = "DHCP goes on by itself once it is there again with the address it had; for another one, restart offhook",
                "an interface was deleted: no phone on it gets a lease"
            );
        }
        self.told = lost.into_iter().map(str::to_owned).collect();
    }
}
