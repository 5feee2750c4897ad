//! Answers that are kept for whoever asks next.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use offhook_model::DnsCache;

use super::answer::Answer;
use super::query::Query;

/// What one entry may take, octets; a longer one counts as several.
const UNIT: usize = 512;

/// One answer has at most this share of the cache.
const LARGEST_SHARE: usize = 8;

/// How long nobody is asked again after all failed (RFC 9520 asks for at least a second): so long a client waits
/// for a server that is back.
const FAILURE: Duration = Duration::from_secs(1);

/// Failures that are remembered; beyond, servers that fail are simply asked again.
const MOST_FAILURES: usize = 1024;

/// An answer that lives longer than this is fetched anew before it expires, when it is asked for in the last tenth
/// of its life.
const WORTH_PREFETCHING: u32 = 10;

/// Answers by question, with an end to how many. The one to go is one that nobody asked for lately.
#[derive(Debug)]
pub struct Cache {
    index: HashMap<Query, usize>,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    /// Where the search for one to go continues.
    hand: usize,
    used: usize,
    capacity: usize,
    stale: Duration,
    /// Questions that nobody has an answer to, and until when that is not asked again. Not among the answers: those
    /// are needed most when there are many failures.
    failures: HashMap<Query, Instant>,
}

#[derive(Debug)]
struct Slot {
    query: Query,
    units: usize,
    /// Asked for since the hand last came by.
    wanted: bool,
    answer: Arc<Answer>,
    /// When it came, or so long before as its life was shortened since.
    since: Instant,
    shortened: Duration,
}

impl Slot {
    fn expires(&self) -> Instant {
        self.since + Duration::from_secs(self.answer.ttl().into())
    }
}

/// What there is to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// An answer that holds.
    Fresh {
        /// The answer.
        answer: Arc<Answer>,
        /// Seconds since it came.
        age: u32,
        /// Whether it is wanted, and about to expire: to be fetched anew while it still holds.
        expiring: bool,
    },
    /// An answer that has expired: good only while nobody gives a newer one (RFC 8767).
    Stale {
        /// The answer.
        answer: Arc<Answer>,
        /// Whether everybody was asked a moment ago, and failed.
        failed: bool,
    },
    /// Everybody was asked a moment ago, and failed.
    Failed,
    /// Nothing.
    Missing,
}

impl Cache {
    /// An empty cache with the bounds of `settings`.
    pub fn new(settings: &DnsCache) -> Self {
        Self {
            index: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            hand: 0,
            used: 0,
            capacity: settings.entries as usize,
            stale: settings.stale,
            failures: HashMap::new(),
        }
    }

    /// What is kept for `query`.
    pub fn look_up(&mut self, query: &Query, now: Instant) -> Lookup {
        let failed = self.failures.get(query).is_some_and(|until| now < *until);
        let slot = self.index.get(query).and_then(|&place| self.slots.get_mut(place));
        match slot {
            Some(Some(slot)) if now < slot.expires() => {
                slot.wanted = true;
                let age = now.saturating_duration_since(slot.since).as_secs() as u32;
                let ttl = slot.answer.ttl();
                let expiring = ttl > WORTH_PREFETCHING && age >= ttl - ttl / 10 && !failed;
                Lookup::Fresh { answer: Arc::clone(&slot.answer), age, expiring }
            }
            Some(Some(slot)) if now < slot.expires() + self.stale => {
                slot.wanted = true;
                Lookup::Stale { answer: Arc::clone(&slot.answer), failed }
            }
            _ if failed => Lookup::Failed,
            _ => Lookup::Missing,
        }
    }

    /// Keeps an answer that came at `now`, unless it holds for this once only.
    pub fn insert(&mut self, query: &Query, answer: &Arc<Answer>, now: Instant) {
        self.remove(query);
        self.failures.remove(query);
        let units = (answer.cost() + 2 * query.cost() + size_of::<Slot>()).div_ceil(UNIT);
        let most = (self.capacity / LARGEST_SHARE).max(1).min(self.capacity);
        if answer.ttl() == 0 || units > most {
            return;
        }
        while self.used + units > self.capacity {
            self.evict();
        }
        let slot = Slot {
            query: query.clone(),
            units,
            wanted: false,
            answer: Arc::clone(answer),
            since: now,
            shortened: Duration::ZERO,
        };
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        if let Some(free) = self.slots.get_mut(place) {
            *free = Some(slot);
            self.used += units;
            self.index.insert(query.clone(), place);
        }
    }

    /// Remembers that nobody has an answer; what is kept is good as a stale one still.
    pub fn fail(&mut self, query: &Query, now: Instant) {
        if self.failures.len() >= MOST_FAILURES {
            self.failures.retain(|_, until| now < *until);
        }
        if self.failures.len() < MOST_FAILURES {
            self.failures.insert(query.clone(), now + FAILURE);
        }
    }

    /// Has the bounds of `settings` from now on. What was kept under others is kept no longer than if it had come under
    /// these.
    pub fn set(&mut self, settings: &DnsCache) {
        self.capacity = settings.entries as usize;
        self.stale = settings.stale;
        while self.used > self.capacity {
            self.evict();
        }
        for slot in self.slots.iter_mut().flatten() {
            let most = if slot.answer.is_negative() {
                settings.negative_ttl.min(settings.max_ttl)
            } else {
                settings.max_ttl
            };
            let excess = Duration::from_secs(slot.answer.ttl().into()).saturating_sub(most);
            let shortened = slot.shortened.max(excess);
            // As if it had come so much sooner.
            if let Some(since) = slot.since.checked_sub(shortened - slot.shortened) {
                (slot.since, slot.shortened) = (since, shortened);
            }
        }
    }

    /// Keeps what `is_good` says is good still, of so many from a place on, and no failures: whoever is asked now has not
    /// failed yet. Whether there are more.
    pub(super) fn retain(
        &mut self,
        (from, most): (usize, usize),
        is_good: impl Fn(&Query, &Answer) -> bool,
    ) -> bool {
        self.failures.clear();
        for (place, entry) in self.slots.iter_mut().enumerate().skip(from).take(most) {
            let Some(slot) = entry.take_if(|slot| !is_good(&slot.query, &slot.answer)) else {
                continue;
            };
            self.index.remove(&slot.query);
            self.used -= slot.units;
            self.free.push(place);
        }
        from + most < self.slots.len()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.index.clear();
        self.slots.clear();
        self.free.clear();
        self.failures.clear();
        (self.hand, self.used) = (0, 0);
    }

    /// How many answers there are, expired ones included.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    fn remove(&mut self, query: &Query) {
        let Some(place) = self.index.remove(query) else { return };
        if let Some(slot) = self.slots.get_mut(place).and_then(Option::take) {
            self.used -= slot.units;
            self.free.push(place);
        }
    }

    /// Removes one that was not asked for since the hand last came by.
    fn evict(&mut self) {
        // Twice round: the first time everything may have been wanted.
        for _ in 0..=2 * self.slots.len() {
            self.hand = if self.hand + 1 < self.slots.len() { self.hand + 1 } else { 0 };
            match self.slots.get_mut(self.hand) {
                Some(Some(slot)) if slot.wanted => slot.wanted = false,
                Some(Some(slot)) => {
                    let query = slot.query.clone();
                    self.remove(&query);
                    return;
                }
                _ => {}
            }
        }
    }

    /// Places in use or not.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.slots.len()
    }

    /// Units in use, of how many.
    #[cfg(test)]
    pub(super) fn usage(&self) -> (usize, usize) {
        (self.used, self.capacity)
    }
}
