//! Machines that answer for addresses nobody has.
//!
//! A router with local proxy ARP (RFC 3069, 2.3) answers every question in its network. Believed, it would have every
//! address of a pool withheld, and no phone would get one any more.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use offhook_model::{Mac, Time};

/// How many addresses one machine may be found to use, in so long a time. Few have as many of a pool without asking.
const MANY: usize = 8;
const PERIOD: Duration = Duration::from_secs(24 * 3600);

/// Machines that are remembered. As many have no business in a pool; who makes them up gains nothing here.
const MEMORY: usize = 1024;

/// Who has answered for what.
#[derive(Debug, Default)]
pub(crate) struct Proxies {
    found: HashMap<Mac, Vec<(Ipv4Addr, Time)>>,
    /// Not told yet.
    news: Vec<Mac>,
}

impl Proxies {
    /// Whether the answer of a machine for an address is to be believed. Its answers for those addresses that it was
    /// believed for always are.
    pub(crate) fn believe(&mut self, now: Time, by: Mac, address: Ipv4Addr) -> bool {
        if self.found.len() >= MEMORY && !self.found.contains_key(&by) {
            self.found.clear();
        }
        let found = self.found.entry(by).or_default();
        found.retain(|(_, at)| now.since(*at) < PERIOD);
        if found.iter().any(|(known, _)| *known == address) {
            return true;
        }
        if found.len() >= MANY {
            return false;
        }
        found.push((address, now));
        if found.len() == MANY {
            self.news.push(by);
        }
        true
    }

    /// Machines that are not believed any more, since this was last asked.
    pub(crate) fn news(&mut self) -> Vec<Mac> {
        std::mem::take(&mut self.news)
    }
}
