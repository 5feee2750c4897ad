//! The direct path: the common question, answered from memory.
//!
//! A [`Direct`] belongs to one thread. It remembers what [`crate::answer`] said to a question, in every order in
//! which the records may come, and says it again with the id and the letter case of the next one who asks: no
//! lock, no allocation, two copies of some hundred octets. Whatever is not a plain question (one question of class
//! IN, at most an OPT record without options, nothing else) is left to [`crate::answer`], and so is what has no
//! answer of ours. There is thus one place only that knows what is right, and nothing to keep in step.
//!
//! What is remembered belongs to one snapshot of the zones. With the next one it counts for nothing, which costs
//! the same however much it was; what is asked again is then learnt again.
//!
//! ```text
//! bytes → Plain (query.rs) → Memo (memo.rs) ─ known ──────────────→ copy → bytes
//!                                    └─ asked twice → compile.rs ──↗
//! ```

mod compile;
mod memo;
mod query;

use std::hash::Hasher;
use std::net::IpAddr;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustc_hash::FxHasher;

use crate::zones::Zones;
use compile::{Answers, compile, refresh};
use memo::{Looked, Memo};
use query::Plain;

/// Room for any answer the direct path gives, octets.
pub const DIRECT_ROOM: usize = crate::UDP_PAYLOAD as usize;

/// What one thread remembers of the answers it gave.
#[derive(Debug)]
pub struct Direct {
    memo: Memo,
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
        let query = Plain::read(packet)?;
        if !self.zones.as_ref().is_some_and(|known| Arc::ptr_eq(known, zones)) {
            self.memo.forget();
            self.zones = Some(Arc::clone(zones));
        }
        let mut lower = [0; query::LONGEST];
        let key = query.key(zones.upstreams.available_to(client), &mut lower)?;
        let mut hasher = FxHasher::with_seed(self.seed);
        hasher.write(key);
        let answers = match self.memo.look(hasher.finish(), key) {
            Looked::Known(answers) => answers,
            Looked::Again(place) => place.learn(key, compile(zones, &query, client)),
            Looked::First => return None,
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
