//! The direct path: the common question, answered from memory.
//!
//! A [`Direct`] belongs to one thread. It remembers what [`crate::answer`] said to a question, in every order in
//! which the records may come, and says it again with the id and the letter case of the next one who asks: no
//! lock, no allocation, two copies of some hundred octets. What there may be more of than can be remembered, names
//! of phones and names that are not there, it puts together itself (simple.rs). Whatever is not a plain question
//! (one question of class IN, at most an OPT record without options, nothing else) is left to [`crate::answer`],
//! and so is what has no answer of ours.
//!
//! What is remembered belongs to one snapshot of the zones. With the next one it counts for nothing, which costs
//! the same however much it was; what is asked again is then learnt again.
//!
//! ```text
//! bytes → Plain (query.rs) → Memo (memo.rs) ─ known ──────────→ copy ──→ bytes
//!                               ├─ one record, or none → simple.rs ──↗
//!                               └─ asked twice → compile.rs ────────↗
//! ```

mod compile;
mod memo;
mod negative;
mod query;
mod simple;

use std::hash::Hasher;
use std::net::IpAddr;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustc_hash::FxHasher;

use crate::zones::Zones;
use compile::{Answers, compile, refresh};
use memo::Memo;
use query::Plain;
use simple::Simple;

/// Room for any answer the direct path gives, octets.
pub const DIRECT_ROOM: usize = crate::UDP_PAYLOAD as usize;

/// What one thread remembers of the answers it gave.
#[derive(Debug)]
pub struct Direct {
    memo: Memo,
    simple: Simple,
    /// The snapshot the memory is of; kept, so that its address is nobody else's.
    zones: Option<Arc<Zones>>,
    /// Nobody gains by guessing the order of two records.
    rng: SmallRng,
    /// Keeps strangers from choosing names that push out each other's.
    seed: usize,
}

/// What was written for a plain question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Octets of the answer.
    pub length: usize,
    /// RCODE: 0 for NOERROR, 3 for NXDOMAIN.
    pub rcode: u8,
}

impl Direct {
    /// One that remembers nothing. `seed` is from a good source of chance, different for each.
    pub fn new(seed: u64) -> Self {
        Self {
            memo: Memo::new(),
            simple: Simple::default(),
            zones: None,
            rng: SmallRng::seed_from_u64(seed),
            seed: seed as usize,
        }
    }

    /// Writes the answer to a request that came over UDP into `room` ([`DIRECT_ROOM`] octets); none when it is one
    /// for [`crate::answer`].
    ///
    /// The octets are those that [`crate::answer`] and [`crate::Reply::encode`] give, in one of the orders that
    /// they may give them in, each as likely as there.
    pub fn answer(
        &mut self,
        zones: &Arc<Zones>,
        packet: &[u8],
        client: IpAddr,
        room: &mut [u8],
    ) -> Option<Answered> {
        if !zones.access.answers(client) {
            return None;
        }
        let query = Plain::read(packet)?;
        if !self.zones.as_ref().is_some_and(|known| Arc::ptr_eq(known, zones)) {
            self.memo.forget();
            self.simple.forget();
            self.zones = Some(Arc::clone(zones));
        }
        let recursion_available = zones.upstreams.available_to(client);
        let mut lower = [0; query::LONGEST];
        let key = query.key(recursion_available, &mut lower)?;
        let mut hasher = FxHasher::with_seed(self.seed);
        hasher.write(key);
        let hash = hasher.finish();
        let answers = match self.memo.known(hash, key) {
            Some(answers) => answers,
            None => {
                let name = key.get(..query.name_len())?;
                let simple = self.simple.answer(zones, &query, name, recursion_available, room);
                if simple.is_some() {
                    return simple;
                }
                let place = self.memo.worth(hash, key)?;
                place.learn(key, compile(zones, &query, client))
            }
        };
        let (answers, choice) = match answers {
            Answers::All(all) => {
                let choice = if all.len() > 1 { self.rng.random_range(0..all.len()) } else { 0 };
                (all, choice)
            }
            Answers::Some(sample) => {
                let choice = refresh(sample, zones, &query, client, &mut self.rng)?;
                (sample, choice)
            }
            Answers::NotOurs => return None,
        };
        query.write(answers.get(choice)?, room)
    }
}
