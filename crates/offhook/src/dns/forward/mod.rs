//! Asking somebody else: names outside our zones.
//!
//! What is asked, believed, kept and tried next is decided in `offhook_dns::forward`; here are the sockets, the
//! clock and the tasks. Every question that is asked upstream is a flight: a task of its own that goes on whether or
//! not anybody still waits for it, so that an answer that comes too late for one client is there for the next.
//! Equal questions share one.

mod exchange;
mod flight;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use offhook_dns::forward::{
    Cache, Change, Fetched, Limits, Lookup, Query, Resumed, Upstream, Upstreams,
};
use offhook_dns::{Client, Forward, Outcome, Reply, Zones};
use offhook_model::DnsCache;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout_at;
use tracing::{info, warn};

use super::publish::Publisher;
use super::{Count, Counters};
use crate::log::Throttle;
use flight::{Flight, Flights};

/// Different questions that are asked at the same time, altogether and of the servers of one zone: those of one that
/// is down are to leave room for the others'. More are answered SERVFAIL at once.
const IN_FLIGHT: usize = 256;
const IN_FLIGHT_PER_ZONE: usize = 192;

/// Sockets that wait for upstreams, all questions together: well below the files that a process may have open.
const SOCKETS: usize = 512;

/// Clients' questions that wait for an answer, altogether and of one address.
const WAITING: usize = 4096;
const WAITING_PER_CLIENT: usize = 128;

/// How long a client is kept waiting: a resolver in a phone gives up after some five seconds.
const PATIENCE: Duration = Duration::from_millis(4500);

/// The same when every server is known not to answer: one of them may just be back.
const HOPELESS_PATIENCE: Duration = Duration::from_millis(1500);

/// How long a newer answer is waited for when there is a stale one (RFC 8767 section 5 has 1.8 s).
const STALE_PATIENCE: Duration = Duration::from_secs(1);

/// Log lines a second about servers that cease or begin to answer, at most.
const CHANGE_LINES: u32 = 5;

/// How often what is wrong with one server's answers is said, at most.
const COMPLAINTS: Duration = Duration::from_secs(60);

/// Puts questions to upstream servers, and keeps their answers.
#[derive(Debug)]
pub(super) struct Forwarder {
    shared: Arc<Shared>,
    runtime: Handle,
}

/// What the flights have in common.
#[derive(Debug)]
struct Shared {
    zones: Arc<Publisher>,
    counters: Arc<Counters>,
    limits: Mutex<Limits>,
    cache: Mutex<Cache>,
    upstreams: Mutex<Upstreams>,
    flights: Mutex<Flights>,
    places: Arc<Semaphore>,
    sockets: Semaphore,
    waiting: Mutex<Queue>,
    change_lines: Mutex<Throttle>,
    /// When something was last wrong with a server's answers and said so, and how often it was not said since.
    complaints: Mutex<HashMap<SocketAddr, (Instant, u64)>>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoAnswer {
    /// Nobody gave one, or not in time.
    Failed,
    /// Too much is being asked already.
    Overloaded,
}

impl Forwarder {
    /// Must be called inside the runtime.
    pub(super) fn new(zones: Arc<Publisher>, settings: &DnsCache, counters: Arc<Counters>) -> Self {
        let shared = Shared {
            zones,
            counters,
            limits: Mutex::new(limits(settings)),
            cache: Mutex::new(Cache::new(settings)),
            upstreams: Mutex::default(),
            flights: Mutex::default(),
            places: Arc::new(Semaphore::new(IN_FLIGHT)),
            sockets: Semaphore::new(SOCKETS),
            waiting: Mutex::default(),
            change_lines: Mutex::new(Throttle::new(CHANGE_LINES)),
            complaints: Mutex::default(),
        };
        Self { shared: Arc::new(shared), runtime: Handle::current() }
    }

    /// `now` is served instead of `before`: whoever is asked still is known as before, and their answers are kept. What is
    /// under way goes on, and what comes of it is given to those who wait for it.
    pub(super) fn follow(&self, before: &Zones, now: &Zones, settings: &DnsCache) {
        *lock(&self.shared.limits) = limits(settings);
        lock(&self.shared.cache).set(settings);
        let mut place = Some(0);
        while let Some(from) = place {
            // A part at a time: whoever asks meanwhile does not wait for all of it.
            place = lock(&self.shared.cache).follow(before, now, from);
        }
        let mut upstreams = lock(&self.shared.upstreams);
        upstreams.follow(now, Instant::now());
        lock(&self.shared.complaints).retain(|server, _| upstreams.get(*server).is_some());
    }

    /// The answer, if all of it is in the cache; otherwise what remains to be asked. Never waits.
    pub(super) fn recall(&self, mut forward: Forward, client: Client) -> Outcome {
        loop {
            let query = forward.query();
            let looked_up = lock(&self.shared.cache).look_up(&query, Instant::now());
            let Lookup::Fresh { answer, age, expiring } = looked_up else {
                return Outcome::Forward(forward);
            };
            if expiring {
                // Whether it can be had does not matter: this one holds.
                let _ = self.fly(&forward, &query);
            }
            match self.resume(forward, &Fetched::fresh(answer, age), client) {
                Resumed::Onward(next) => forward = next,
                Resumed::Complete(reply) => {
                    self.shared.counters.count(Count::CacheHit);
                    return Outcome::Reply(reply);
                }
            }
        }
    }

    /// What the client is to be sent: the answer, a stale one while nobody gives a newer one, or SERVFAIL.
    pub(super) async fn ask(&self, mut forward: Forward, client: Client) -> Reply {
        let Some(_waiting) = Waiting::enter(&self.shared.waiting, client.address) else {
            self.shared.counters.count(Count::ForwardOverloaded);
            return forward.overloaded();
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.fetch(&forward, deadline).await {
                Ok(fetched) => match self.resume(forward, &fetched, client) {
                    Resumed::Onward(next) => forward = next,
                    Resumed::Complete(reply) => return reply,
                },
                Err(NoAnswer::Failed) => {
                    self.shared.counters.count(Count::ForwardFailed);
                    return forward.failed();
                }
                Err(NoAnswer::Overloaded) => {
                    self.shared.counters.count(Count::ForwardOverloaded);
                    return forward.overloaded();
                }
            }
        }
    }

    /// Every server that is configured, for which part of the name space, and what is known of it.
    pub(super) fn upstreams(&self) -> Vec<(String, SocketAddr, Upstream)> {
        let upstreams = lock(&self.shared.upstreams);
        let known = |server| upstreams.get(server).cloned().unwrap_or_default();
        let zones = self.shared.zones.current();
        let servers = zones
            .forwards()
            .flat_map(|(zone, servers)| servers.iter().map(move |server| (zone.clone(), *server)));
        servers.map(|(zone, server)| (zone, server, known(server))).collect()
    }

    /// How many answers are in the cache.
    pub(super) fn cached(&self) -> usize {
        lock(&self.shared.cache).len()
    }

    /// By what it keeps answers, and those that it keeps.
    #[cfg(test)]
    pub(super) fn settings(&self) -> String {
        format!("{:?} {:?}", lock(&self.shared.limits), lock(&self.shared.cache))
    }

    fn resume(&self, forward: Forward, fetched: &Fetched, client: Client) -> Resumed {
        forward.resume(fetched, &self.shared.zones.current(), client, &mut rand::rng())
    }

    /// One piece of an answer, from the cache or from a flight.
    async fn fetch(&self, forward: &Forward, deadline: Instant) -> Result<Fetched, NoAnswer> {
        let (query, now) = (forward.query(), Instant::now());
        let looked_up = lock(&self.shared.cache).look_up(&query, now);
        let stale = match looked_up {
            Lookup::Fresh { answer, age, .. } => return Ok(Fetched::fresh(answer, age)),
            Lookup::Stale { answer, failed: true } => {
                self.shared.counters.count(Count::CacheStale);
                return Ok(Fetched::stale(answer));
            }
            Lookup::Stale { answer, failed: false } => Some(answer),
            Lookup::Failed => return Err(NoAnswer::Failed),
            Lookup::Missing => None,
        };
        let landed = match self.fly(forward, &query) {
            Ok(flight) => {
                let hopeless = lock(&self.shared.upstreams).all_silent(&forward.servers);
                let until = match (&stale, hopeless) {
                    (Some(_), true) => now,
                    // Only the first of those who ask waits all of it.
                    (Some(_), false) => flight.since + STALE_PATIENCE,
                    (None, true) => now + HOPELESS_PATIENCE,
                    (None, false) => deadline,
                };
                let until = until.min(deadline);
                let landed = timeout_at(until.into(), flight.landed()).await;
                landed.unwrap_or(None).ok_or(NoAnswer::Failed)
            }
            Err(why) => Err(why),
        };
        match (landed, stale) {
            (Ok(answer), _) => Ok(Fetched::fresh(answer, 0)),
            (Err(_), Some(answer)) => {
                self.shared.counters.count(Count::CacheStale);
                Ok(Fetched::stale(answer))
            }
            (Err(why), None) => Err(why),
        }
    }

    /// The flight of a question: one that is under way, or a new one.
    fn fly(&self, forward: &Forward, query: &Query) -> Result<Flight, NoAnswer> {
        Flight::board(&self.shared, &self.runtime, forward, query)
    }
}

/// How long answers hold.
fn limits(settings: &DnsCache) -> Limits {
    let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    Limits { max_ttl: seconds(settings.max_ttl), negative_ttl: seconds(settings.negative_ttl) }
}

impl Shared {
    /// Says that a server ceased or began to answer.
    fn tell(&self, change: Option<Change>) {
        let Some(change) = change else { return };
        let Some(suppressed) = lock(&self.change_lines).pass() else { return };
        match change {
            Change::Silent(server) => {
                warn!(suppressed, "upstream {} does not answer", Short(server));
            }
            Change::Back(server, after) => {
                let after = format_args!("{}s", after.as_secs());
                info!(%after, suppressed, "upstream {} answers again", Short(server));
            }
        }
    }

    /// Says what is wrong with an answer, now and then.
    fn complain(&self, server: SocketAddr, query: &Query, what: &str) {
        let now = Instant::now();
        let mut complaints = lock(&self.complaints);
        let suppressed = match complaints.get_mut(&server) {
            Some((last, suppressed)) if now.duration_since(*last) < COMPLAINTS => {
                *suppressed += 1;
                return;
            }
            Some((_, suppressed)) => *suppressed,
            None => 0,
        };
        complaints.insert(server, (now, 0));
        drop(complaints);
        warn!(question = %query, suppressed, "upstream {} {what}", Short(server));
    }
}

/// An address, with its port only if it is not the usual one.
struct Short(SocketAddr);

impl std::fmt::Display for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.port() == 53 { self.0.ip().fmt(f) } else { self.0.fmt(f) }
    }
}

/// Clients that wait for an answer.
#[derive(Debug, Default)]
struct Queue {
    length: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// A client's place among those who wait.
struct Waiting<'a> {
    queue: &'a Mutex<Queue>,
    client: IpAddr,
}

impl<'a> Waiting<'a> {
    /// None when there are too many, or too many of this client's.
    fn enter(queue: &'a Mutex<Queue>, client: IpAddr) -> Option<Self> {
        let mut waiting = lock(queue);
        let of_client = waiting.by_client.get(&client).copied().unwrap_or_default();
        if of_client >= WAITING_PER_CLIENT || waiting.length >= WAITING {
            return None;
        }
        waiting.length += 1;
        waiting.by_client.insert(client, of_client + 1);
        Some(Self { queue, client })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiting = lock(self.queue);
        waiting.length -= 1;
        if let Some(count) = waiting.by_client.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                waiting.by_client.remove(&self.client);
            }
        }
    }
}

/// A lock that a panic elsewhere does not take away.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
