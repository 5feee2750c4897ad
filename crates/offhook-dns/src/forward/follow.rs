//! Other servers are asked from now on: what of those before is still believed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::answer::Answer;
use super::cache::Cache;
use super::query::Query;
use super::resume::{Trust, covers};
use super::upstreams::Upstreams;
use crate::zones::Zones;

/// Answers that are gone through at a time: some hundred microseconds.
const STEP: usize = 128;

impl Cache {
    /// `now` is served instead of `before`, which it [succeeds](Zones::succeed): keeps what the same servers said, as
    /// far as they are believed about all of it still. Goes through a part of what there is, from place `from` on (0 at
    /// first), and says where to go on; none at the end.
    pub fn follow(&mut self, before: &Zones, now: &Zones, from: usize) -> Option<usize> {
        let there_are_more =
            self.retain((from, STEP), |query, answer| is_believed(before, now, query, answer));
        there_are_more.then_some(from + STEP)
    }
}

impl Trust {
    /// Whether an answer of those who are trusted with this may be kept while `now` is served.
    pub fn holds(&self, now: &Zones, query: &Query, answer: &Answer) -> bool {
        is_believed(&self.zones, now, query, answer)
    }
}

impl Upstreams {
    /// `zones` are served from `now` on: forgets servers that they ask nothing, and has silent ones checked at once. One of
    /// those may be all that is left, or what the new configuration is about.
    pub fn follow(&mut self, zones: &Zones, now: Instant) {
        let servers = &zones.upstreams.servers;
        self.retain(|server| servers.values().any(|servers| servers.contains(&server)));
        self.doubt(now);
    }
}

impl Zones {
    /// Whether a question is for these very servers: those of another snapshot are that only if it
    /// [succeeds](Zones::succeed) the one that they are from.
    pub fn asks(&self, query: &Query, servers: &Arc<[SocketAddr]>) -> bool {
        let name = query.name.as_wire();
        let responsible = self.upstreams.responsible(name);
        self.is_outside(name) && responsible.is_some_and(|(_, own)| Arc::ptr_eq(own, servers))
    }
}

fn is_believed(before: &Zones, now: &Zones, query: &Query, answer: &Answer) -> bool {
    let Some((top, servers)) = before.upstreams.responsible(query.name.as_wire()) else {
        return false;
    };
    let is_believed = |name: Vec<u8>| covers(now, top, &name) || !covers(before, top, &name);
    now.asks(query, servers) && answer.names().all(is_believed)
}
