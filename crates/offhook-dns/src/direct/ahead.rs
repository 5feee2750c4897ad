//! Looking ahead: the memory that the next answers come from, waited for all at once.
//!
//! A name among 100,000 is in none of the processor's caches, and the way to it is one wait after another. The ways to
//! several names have nothing to do with each other: when the first step of each is taken before the second of any, the
//! processor waits for all of them together.

use std::hint::black_box;

use super::query::{LONGEST, Plain};
use crate::leases::Lead;
use crate::named::hash;
use crate::zones::Zones;

/// Requests whose names are looked for together.
const MOST: usize = 32;

/// What was found out about the names of some requests.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    ways: [Way; MOST],
    /// How many requests there are.
    count: usize,
    /// How many of them were answered.
    done: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Way {
    /// Of the name.
    hash: u64,
    lead: Lead,
}

impl Ahead {
    /// Forgets everything: the zones have changed.
    pub(super) fn forget(&mut self) {
        self.count = 0;
    }

    /// Looks for the names of these requests, if there are so many names that answers might have to wait.
    pub(super) fn look<'a>(&mut self, zones: &Zones, packets: impl Iterator<Item = &'a [u8]>) {
        (self.count, self.done) = (0, 0);
        let (has_names, has_leases) = (zones.nodes.are_many(), zones.leases.are_many());
        if !has_names && !has_leases {
            return;
        }
        let mut lower = [0; LONGEST];
        for (way, packet) in self.ways.iter_mut().zip(packets) {
            *way = Way::default();
            self.count += 1;
            let Some(query) = Plain::read(packet) else { continue };
            let name = query.key(false, &mut lower).and_then(|key| key.get(..query.name_len()));
            let Some(name) = name else { continue };
            way.hash = hash(name);
            if has_leases {
                way.lead = zones.leases.lead(name);
            }
        }
        let ways = self.ways.get_mut(..self.count).unwrap_or_default();
        if has_names {
            for way in ways.iter() {
                black_box(zones.nodes.glance(way.hash));
            }
        }
        if has_leases {
            ways.iter_mut().for_each(|way| zones.leases.to_leaf(&mut way.lead));
            ways.iter_mut().for_each(|way| zones.leases.to_record(&mut way.lead));
        }
    }

    /// What is known of the next request, whose name has this hash.
    pub(super) fn next(&mut self, hash: u64) -> Lead {
        let way = self.ways.get(..self.count).and_then(|ways| ways.get(self.done));
        self.done += 1;
        way.filter(|way| way.hash == hash).map(|way| way.lead).unwrap_or_default()
    }

    /// Leaves out the next request.
    pub(super) fn skip(&mut self) {
        self.done += 1;
    }
}
