//! One question on its way: to one server after the other, until one has an answer.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use offhook_dns::Forward;
use offhook_dns::forward::{Answer, Inquiry, Query, Step, Trust};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use super::exchange::{Ask, ask, check};
use super::{Count, IN_FLIGHT_PER_ZONE, NoAnswer, Shared, lock};

/// How long a silent server may take for an answer, to show that it is back.
const PROBE: Duration = Duration::from_secs(2);

/// What became of a flight; nothing while it is under way.
type Landing = Option<Option<Arc<Answer>>>;

/// Every flight that is under way.
#[derive(Debug, Default)]
pub(super) struct Flights(HashMap<Query, Flight>);

/// A question that is being asked.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    landing: watch::Receiver<Landing>,
    pub(super) since: Instant,
    servers: Arc<[SocketAddr]>,
}

impl Flight {
    /// The flight of `query`, a new one unless there is one. It goes on whether it is waited for or not.
    pub(super) fn board(
        shared: &Arc<Shared>,
        runtime: &Handle,
        forward: &Forward,
        query: &Query,
    ) -> Result<Self, NoAnswer> {
        let mut flights = lock(&shared.flights);
        // One of other servers is of another configuration, and of no use any more.
        let same_servers = |flight: &&Self| Arc::ptr_eq(&flight.servers, &forward.servers);
        if let Some(flight) = flights.0.get(query).filter(same_servers) {
            shared.counters.count(Count::Coalesced);
            return Ok(flight.clone());
        }
        if flights.0.values().filter(same_servers).count() >= IN_FLIGHT_PER_ZONE {
            return Err(NoAnswer::Overloaded);
        }
        let place = Arc::clone(&shared.places).try_acquire_owned();
        let place = place.map_err(|_| NoAnswer::Overloaded)?;
        let now = Instant::now();
        // Only where there is room for it: a check that was due is taken for under way from now on.
        let mut inquiry = {
            let mut upstreams = lock(&shared.upstreams);
            Inquiry::new(&forward.servers, &mut upstreams, now)
        };
        if inquiry.is_over() {
            return Err(NoAnswer::Failed);
        }
        let (land, landing) = watch::channel(None);
        let flight = Self { landing, since: now, servers: Arc::clone(&forward.servers) };
        flights.0.insert(query.clone(), flight.clone());
        drop(flights);
        let take_off = Landed {
            shared: Arc::clone(shared),
            query: query.clone(),
            servers: Arc::clone(&forward.servers),
            _place: place,
        };
        let ask = Ask {
            query: query.clone(),
            check: forward.check(),
            trust: forward.trust(Arc::clone(&shared.zones.current())),
        };
        runtime.spawn(async move {
            let (shared, ask) = (&take_off.shared, Arc::new(ask));
            let answer = fly(shared, &ask, &mut inquiry).await.map(Arc::new);
            take_off.keep(answer.as_ref(), &ask.trust);
            drop(take_off);
            let _ = land.send(Some(answer));
        });
        Ok(flight)
    }

    /// Waits for the answer, or for there being none.
    pub(super) async fn landed(mut self) -> Option<Arc<Answer>> {
        let landing = self.landing.wait_for(Option::is_some).await.ok()?;
        landing.clone().flatten()
    }
}

/// Takes a flight off the list when it is over, in whatever way.
struct Landed {
    shared: Arc<Shared>,
    query: Query,
    servers: Arc<[SocketAddr]>,
    _place: OwnedSemaphorePermit,
}

impl Landed {
    /// Keeps what came of it for whoever asks next, if it was learnt from those who are asked now.
    fn keep(&self, answer: Option<&Arc<Answer>>, trust: &Trust) {
        let now = Instant::now();
        let mut cache = lock(&self.shared.cache);
        // What is served now was so before the cache is gone through for it, or is gone through for what comes next.
        let zones = self.shared.zones.current();
        // The question may be older than what is trusted.
        if !zones.asks(&self.query, &self.servers) {
            return;
        }
        match answer {
            Some(answer) if trust.holds(&zones, &self.query, answer) => {
                cache.insert(&self.query, answer, now);
            }
            Some(_) => {}
            None => cache.fail(&self.query, now),
        }
    }
}

impl Drop for Landed {
    fn drop(&mut self) {
        let mut flights = lock(&self.shared.flights);
        let own = |flight: &Flight| Arc::ptr_eq(&flight.servers, &self.servers);
        if flights.0.get(&self.query).is_some_and(own) {
            flights.0.remove(&self.query);
        }
    }
}

async fn fly(shared: &Arc<Shared>, question: &Arc<Ask>, inquiry: &mut Inquiry) -> Option<Answer> {
    let mut attempts: JoinSet<(SocketAddr, Option<Answer>)> = JoinSet::new();
    loop {
        let step = inquiry.step(&lock(&shared.upstreams), Instant::now());
        let until = match step {
            Step::Ask(server) => {
                let (shared, question) = (Arc::clone(shared), Arc::clone(question));
                attempts.spawn(async move { (server, ask(&shared, server, &question).await) });
                continue;
            }
            Step::Check(server) => {
                check(shared, server, question);
                let (shared, question) = (Arc::clone(shared), Arc::clone(question));
                tokio::spawn(async move { timeout(PROBE, ask(&shared, server, &question)).await });
                continue;
            }
            Step::Wait(until) => until,
            Step::GiveUp => return None,
        };
        tokio::select! {
            Some(done) = attempts.join_next() => match done {
                Ok((_, Some(answer))) => return Some(answer),
                Ok((server, None)) => inquiry.failed(server, Instant::now()),
                // A panic there is logged, and the time runs.
                Err(_) => {}
            },
            () = sleep_until(until.into()) => {}
        }
    }
}
