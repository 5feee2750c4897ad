//! The task that watches.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use offhook_dns::health::{Change, Failure, Monitor, Ranking, State};
use offhook_model::{Health, Order, Site};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep_until;
use tracing::{debug, error, info, warn};

use super::ask::{Trouble, ask};
use super::view::{Handle, LastFailure, ServerState, ServerStatus};
use crate::dns::Publisher;
use crate::log::Throttle;

/// The first probes are spread over this, or over the interval if that is shorter.
const SPREAD: Duration = Duration::from_secs(1);

/// Lines about probes that could not be sent, a second.
const TROUBLE_LINES: u32 = 1;

/// How long to wait before a watch that ended unasked begins again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Watches the servers of `site` and has `publisher` serve what follows, until `shutdown` says `true` or its sender
/// is gone. Must be called inside the runtime.
pub(crate) fn spawn(
    site: &Arc<Site>,
    publisher: &Arc<Publisher>,
    mut shutdown: watch::Receiver<bool>,
) -> (Handle, JoinHandle<()>) {
    let handle = Handle::default();
    let (site, publisher, view) = (Arc::clone(site), Arc::clone(publisher), handle.clone());
    let task = tokio::spawn(async move {
        if site.groups().all(|group| group.health.is_none()) {
            return;
        }
        loop {
            // A task of its own, so that a panic ends this watch, and no other server of ours.
            let mut watch = JoinSet::new();
            watch.spawn(Watch::new(&site, &publisher, &view).run());
            tokio::select! {
                ended = watch.join_next() => match ended {
                    Some(Err(error)) => error!(%error, "the watch over the servers ended, beginning again"),
                    _ => return,
                },
                _ = shutdown.wait_for(|stop| *stop) => return,
            }
            tokio::time::sleep(RESTART_PAUSE).await;
        }
    });
    (handle, task)
}

/// All monitors.
struct Watch {
    groups: Vec<Group>,
    servers: Vec<Server>,
    ranking: Ranking,
    publisher: Arc<Publisher>,
    view: Handle,
    trouble: Throttle,
}

/// A switchover or pool, watched or not.
struct Group {
    name: Arc<str>,
    order: Order,
    /// Its servers among all; empty when nobody watches them.
    servers: std::ops::Range<usize>,
    /// Whether none of them was up when that was last looked at.
    is_lost: bool,
}

/// A server that is watched.
struct Server {
    group: usize,
    address: SocketAddr,
    health: Arc<Health>,
    monitor: Monitor,
    /// As it is shown.
    status: ServerStatus,
}

/// What became of a probe.
struct Outcome {
    server: usize,
    probe: u64,
    begun: Instant,
    answer: Result<(), Trouble>,
}

impl Watch {
    fn new(site: &Site, publisher: &Arc<Publisher>, view: &Handle) -> Self {
        let start = Instant::now();
        let count: u32 = site
            .groups()
            .filter(|group| group.health.is_some())
            .map(|group| group.hosts.len() as u32)
            .sum();
        let (mut groups, mut servers) = (Vec::new(), Vec::new());
        for (index, group) in site.groups().enumerate() {
            let first = servers.len();
            let health = group.health.map(|health| Arc::new(health.clone()));
            for (name, address) in group.hosts.iter().filter(|_| health.is_some()) {
                let Some(health) = health.clone() else { continue };
                // Not all at once, neither now nor ever after.
                let turn = SPREAD.min(health.interval) / count.max(1) * servers.len() as u32;
                let status = ServerStatus {
                    group: group.name.to_string(),
                    order: group.order.as_str().to_owned(),
                    name: name.to_string(),
                    address: *address,
                    probe: health.to_string(),
                    state: ServerState::Unknown,
                    since: now(),
                    held: false,
                    last_failure: None,
                    milliseconds: None,
                    probes: 0,
                    failures: 0,
                    changes: 0,
                };
                view.set(servers.len(), status.clone());
                servers.push(Server {
                    group: index,
                    address: SocketAddr::from((*address, health.port)),
                    monitor: Monitor::new(&health, start + turn),
                    health,
                    status,
                });
            }
            groups.push(Group {
                name: group.name.to_string().into(),
                order: group.order,
                servers: first..servers.len(),
                is_lost: false,
            });
        }
        let ranking = Ranking::new(site);
        let mut watch = Self {
            groups,
            servers,
            ranking,
            publisher: Arc::clone(publisher),
            view: view.clone(),
            trouble: Throttle::new(TROUBLE_LINES),
        };
        // A watch before this one may have left something.
        watch.publish();
        watch
    }

    async fn run(mut self) {
        let mut probes = JoinSet::new();
        loop {
            let next = self.servers.iter().map(|server| server.monitor.next_probe()).min();
            let Some(next) = next else { return };
            tokio::select! {
                biased;
                Some(outcome) = probes.join_next(), if !probes.is_empty() => {
                    // One that did not end as it should says nothing.
                    if let Ok(outcome) = outcome {
                        self.heard(outcome);
                    }
                }
                () = sleep_until(next.into()) => self.begin_due(&mut probes),
            }
        }
    }

    fn begin_due(&mut self, probes: &mut JoinSet<Outcome>) {
        for (place, server) in self.servers.iter_mut().enumerate() {
            let begun = Instant::now();
            if server.monitor.next_probe() > begun {
                continue;
            }
            let probe = server.monitor.begin_probe(begun);
            let Some(group) = self.groups.get(server.group) else { continue };
            let answer = ask(
                server.health.probe.clone(),
                server.address,
                Arc::clone(&group.name),
                begun + server.health.timeout,
            );
            probes.spawn(
                async move { Outcome { server: place, probe, begun, answer: answer.await } },
            );
        }
    }

    fn heard(&mut self, outcome: Outcome) {
        let Outcome { server: place, probe, begun, answer } = outcome;
        let Some(server) = self.servers.get_mut(place) else { return };
        let heard = Instant::now();
        let failure = match answer {
            Ok(()) => None,
            Err(Trouble::Theirs(failure)) => Some(failure),
            Err(Trouble::Ours(error)) => {
                if let Some(suppressed) = self.trouble.pass() {
                    warn!(server = %server.status.name, %error, suppressed, "cannot ask a server whether it is alive");
                }
                return;
            }
        };
        debug!(server = %server.status.name, failure = ?failure, "probed");
        let change = server.monitor.heard(probe, failure.as_ref().map_or(Ok(()), Err), heard);
        match &failure {
            None => {
                let took = heard.saturating_duration_since(begun).as_millis();
                server.status.milliseconds = u64::try_from(took).ok();
            }
            Some(failure) => {
                let why = failure.to_string();
                server.status.last_failure = Some(LastFailure { at: now(), why });
            }
        }
        if let Some(change) = change {
            self.changed(place, change, failure);
        }
        if let Some(Server { monitor, status, .. }) = self.servers.get_mut(place) {
            status.held = monitor.is_held();
            status.probes = monitor.probes();
            status.failures = monitor.failures();
            self.view.set(place, status.clone());
        }
    }

    fn changed(&mut self, place: usize, Change { from, to }: Change, failure: Option<Failure>) {
        let Some(Server { group, status, .. }) = self.servers.get_mut(place) else { return };
        let group = *group;
        status.state = shown(to);
        status.since = now();
        status.changes += u64::from(from != State::Unknown);
        let ServerStatus { group: switchover, name, address, probe, changes, .. } = &*status;
        match failure {
            Some(why) => {
                warn!(%switchover, server = %name, %address, %probe, %why, changes, "a server is down");
            }
            None => info!(%switchover, server = %name, %address, %probe, changes, "a server is up"),
        }
        self.publish();
        let is_up = |server: &Server| server.monitor.state() != State::Down;
        let Some(group) = self.groups.get_mut(group) else { return };
        let servers = self.servers.get(group.servers.clone()).unwrap_or_default();
        let was_lost = group.is_lost;
        group.is_lost = !servers.iter().any(is_up);
        if group.is_lost && !was_lost {
            let order = group.order.as_str();
            error!(switchover = %group.name, order, "no server is up: all are answered as if they were");
        }
    }

    /// Serves what follows from the states of all servers, if that is anything new.
    fn publish(&mut self) {
        let is_alive = |group: usize, host: usize| {
            let servers = self.groups.get(group).map(|group| group.servers.clone());
            let servers = servers.and_then(|servers| self.servers.get(servers));
            let server = servers.and_then(|servers| servers.get(host));
            server.is_none_or(|server| server.monitor.state() != State::Down)
        };
        self.publisher.change(|zones| self.ranking.apply(zones, is_alive));
    }
}

fn shown(state: State) -> ServerState {
    match state {
        State::Unknown => ServerState::Unknown,
        State::Up => ServerState::Up,
        State::Down => ServerState::Down,
    }
}

/// ISO 8601, UTC, whole seconds.
fn now() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default()
}
