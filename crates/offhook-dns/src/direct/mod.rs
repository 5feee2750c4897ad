//! The direct path: the common question, answered from memory.
//!
//! A [`Direct`] belongs to one thread. It remembers what [`crate::answer`] said to a question, in every order in
//! which the records may come, and says it again with the id and the letter case of the next one who asks: no
//! lock, no allocation, two copies of some hundred octets. What there may be more of than can be remembered, names
//! of phones and names that are not there, it puts together itself (simple.rs). Whatever is not a plain question
//! (one question of class IN, at most an OPT record without options, nothing else) is left to [`crate::answer`],
//! and so is what has no answer of ours.
//!
//! Who has several questions at hand lets it look at all of them first (ahead.rs): then it waits for memory once, and
//! not for each.
//!
//! What is remembered belongs to one snapshot of the zones. With the next one it counts for nothing, which costs
//! the same however much it was; what is asked again is then learnt again.
//!
//! ```text
//! bytes → Plain (query.rs) → Memo (memo.rs) ─ known ──────────→ copy ──→ bytes
//!                               ├─ one record, or none → simple.rs ──↗
//!                               └─ asked twice → compile.rs ────────↗
//! ```

mod ahead;
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

use crate::named;
use crate::zones::Zones;
use ahead::Ahead;
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
    ahead: Ahead,
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
            ahead: Ahead::default(),
            simple: Simple::default(),
            zones: None,
            rng: SmallRng::seed_from_u64(seed),
            seed: seed as usize,
        }
    }

    /// Looks for what the answers to these requests will need, at most 32 of them. For those who have several at hand:
    /// [`Direct::answer`] is to be asked about each of them next, in this order.
    pub fn look_ahead<'a>(&mut self, zones: &Arc<Zones>, packets: impl Iterator<Item = &'a [u8]>) {
        self.turn_to(zones);
        self.ahead.look(zones, packets);
    }

    fn turn_to(&mut self, zones: &Arc<Zones>) {
        if !self.zones.as_ref().is_some_and(|known| Arc::ptr_eq(known, zones)) {
            self.memo.forget();
            self.simple.forget();
            self.ahead.forget();
            self.zones = Some(Arc::clone(zones));
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
        self.turn_to(zones);
        let query = Plain::read(packet).filter(|_| zones.access.answers(client));
        let Some(query) = query else {
            self.ahead.skip();
            return None;
        };
        let recursion_available = zones.upstreams.available_to(client);
        let mut lower = [0; query::LONGEST];
        let key = query.key(recursion_available, &mut lower)?;
        let (name, rest) = key.split_at_checked(query.name_len())?;
        let name_hash = named::hash(name);
        let lead = self.ahead.next(name_hash);
        let mut hasher = FxHasher::with_seed(self.seed);
        hasher.write_u64(name_hash);
        hasher.write(rest);
        let hash = hasher.finish();
        let answers = match self.memo.known(hash, key) {
            Some(answers) => answers,
            None => {
                let found = zones.lookup_from(name, query.qtype(), name_hash, lead);
                let simple =
                    self.simple.answer(zones, found, &query, name, recursion_available, room);
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
