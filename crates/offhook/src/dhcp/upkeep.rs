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
    /// Those that are back and why they are of no use yet, and for how many more failures that is not told again.
    useless: Vec<Useless>,
}

#[derive(Debug)]
struct Useless {
    interface: String,
    error: String,
    quiet: u32,
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

    /// An interface is there again, and its sockets cannot be had; that is tried again once a second.
    pub(super) fn cannot_renew(&mut self, interface: &str, error: String) {
        if self.lost.is_news(interface, &error) {
            error!(
                interface,
                error,
                "an interface is there again, but DHCP cannot listen on it: no phone on it gets a lease; tried again \
                 every second"
            );
        }
    }
}

impl Lost {
    /// Whether this failure is to be told: another than before, or one that has lasted.
    fn is_news(&mut self, interface: &str, error: &str) -> bool {
        let before = self.useless.iter_mut().find(|before| before.interface == interface);
        if let Some(before) = before
            && before.error == error
            && before.quiet > 0
        {
            before.quiet -= 1;
            return false;
        }
        self.useless.retain(|before| before.interface != interface);
        let (interface, error) = (interface.to_owned(), error.to_owned());
        self.useless.push(Useless { interface, error, quiet: AGAIN - 1 });
        true
    }

    fn look(&mut self, ports: &Ports) {
        let lost = ports.lost();
        self.useless.retain(|useless| lost.contains(&&*useless.interface));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_stays_useless_is_told_once_a_minute_and_for_every_other_cause() {
        let mut lost = Lost::default();
        let told = |lost: &mut Lost, interface: &str, error: &str, times: u32| {
            (0..times).filter(|_| lost.is_news(interface, error)).count()
        };
        assert_eq!(told(&mut lost, "voice0", "in use", AGAIN), 1);
        assert_eq!(told(&mut lost, "voice0", "in use", AGAIN), 1);
        assert_eq!(told(&mut lost, "native0", "in use", 10), 1, "another interface");
        assert_eq!(told(&mut lost, "voice0", "not permitted", 10), 1, "another cause");
        assert_eq!(told(&mut lost, "native0", "in use", 10), 0);
    }
}
