//! The task that watches.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use offhook_dns::health::{Change, Failure, Monitor, Ranking, State};
use offhook_model::{Health, Order, Probe, Site};
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep_until;
use tracing::{debug, error, info, warn};

use super::ask::{Trouble, ask};
use super::reload::{Reload, Reloads, Standing, is_alive};
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
) -> (Handle, Reloads, JoinHandle<()>) {
    let handle = Handle::default();
    let (reloads, reloaded) = Reloads::new();
    let current = Arc::new(Mutex::new(Arc::clone(site)));
    let reloaded = Arc::new(AsyncMutex::new(reloaded));
    let (publisher, view, open) = (Arc::clone(publisher), handle.clone(), reloads.clone());
    let task = tokio::spawn(async move {
        // Somebody may tell it something for as long as it runs.
        let _open = open;
        loop {
            // A task of its own, so that a panic ends this watch, and no other server of ours.
            let mut watch = JoinSet::new();
            let new = Watch::new(Arc::clone(&current), &publisher, &view);
            watch.spawn(new.run(Arc::clone(&reloaded)));
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
    (handle, reloads, task)
}

/// All monitors.
struct Watch {
    /// Whose servers are watched; also for a watch after this one.
    site: Arc<Mutex<Arc<Site>>>,
    groups: Vec<Group>,
    servers: Vec<Server>,
    /// How many servers there have been.
    count: u64,
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

impl Group {
    fn say_lost(&self) {
        let order = self.order.as_str();
        error!(switchover = %self.name, order, "no server is up: all are answered as if they were");
    }
}

/// A server that is watched.
struct Server {
    /// Its own: places change with the configuration.
    number: u64,
    group: usize,
    address: SocketAddr,
    health: Arc<Health>,
    monitor: Monitor,
    /// As it is shown.
    status: ServerStatus,
}

/// What became of a probe.
struct Outcome {
    server: u64,
    probe: u64,
    begun: Instant,
    answer: Result<(), Trouble>,
}

impl Watch {
    fn new(site: Arc<Mutex<Arc<Site>>>, publisher: &Arc<Publisher>, view: &Handle) -> Self {
        let first = Arc::clone(&site.lock().unwrap_or_else(PoisonError::into_inner));
        let mut watch = Self {
            site,
            groups: Vec::new(),
            servers: Vec::new(),
            count: 0,
            ranking: Ranking::new(&first),
            publisher: Arc::clone(publisher),
            view: view.clone(),
            trouble: Throttle::new(TROUBLE_LINES),
        };
        watch.set_site(&first);
        // A watch before this one may have left something.
        watch.publish();
        watch
    }

    /// Watches the servers of `site`, and those that were watched before as they were.
    fn set_site(&mut self, site: &Site) {
        let start = Instant::now();
        let groups = std::mem::take(&mut self.groups);
        let mut before = std::mem::take(&mut self.servers);
        let count: u32 = site
            .groups()
            .filter(|group| group.health.is_some())
            .map(|group| group.hosts.len() as u32)
            .sum();
        for (index, group) in site.groups().enumerate() {
            let first = self.servers.len();
            let health = group.health.map(|health| Arc::new(health.clone()));
            let name_of_group = group.name.to_string();
            for (name, address) in group.hosts.iter().filter(|_| health.is_some()) {
                let Some(health) = health.clone() else { continue };
                // Not all at once, neither now nor ever after.
                let turn = SPREAD.min(health.interval) / count.max(1) * self.servers.len() as u32;
                let address = SocketAddr::from((*address, health.port));
                let known = before
                    .iter()
                    .position(|server| server.is(&name_of_group, address, &health.probe));
                let mut server = match known.map(|place| before.swap_remove(place)) {
                    Some(server) => server,
                    None => {
                        self.count += 1;
                        let monitor = Monitor::new(&health, start + turn);
                        Server::new(self.count, address, Arc::clone(&health), monitor)
                    }
                };
                if server.health != health {
                    server.monitor.adopt(&health, start);
                    server.health = health;
                }
                server.group = index;
                let status = &mut server.status;
                status.group.clone_from(&name_of_group);
                status.order = group.order.as_str().to_owned();
                status.name = name.to_string();
                status.probe = server.health.to_string();
                self.servers.push(server);
            }
            let name: Arc<str> = name_of_group.into();
            let was_lost = groups.iter().any(|before| before.name == name && before.is_lost);
            let servers = first..self.servers.len();
            let own = self.servers.get(servers.clone()).unwrap_or_default();
            let is_lost = !own.is_empty() && !own.iter().any(Server::is_alive);
            let group = Group { name, order: group.order, servers, is_lost };
            if is_lost && !was_lost {
                group.say_lost();
            }
            self.groups.push(group);
        }
        self.ranking = Ranking::new(site);
        self.view.replace(self.servers.iter().map(|server| server.status.clone()).collect());
    }

    async fn take_over(&mut self, Reload { site, ready }: Reload) {
        *self.site.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&site);
        self.set_site(&site);
        let (wait, waited) = oneshot::channel();
        let (ranking, alive) = (self.ranking.clone(), self.alive());
        if ready.send(Standing { ranking, alive, _wait: wait }).is_ok() {
            let _ = waited.await;
        }
        // Nothing has changed meanwhile: that should be nothing new.
        self.publish();
    }

    async fn run(mut self, reloads: Arc<AsyncMutex<mpsc::Receiver<Reload>>>) {
        // The one before, if there was one, has let it go.
        let mut reloads = reloads.lock().await;
        let mut probes = JoinSet::new();
        loop {
            let next = self.servers.iter().map(|server| server.monitor.next_probe()).min();
            let due = async {
                match next {
                    Some(next) => sleep_until(next.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(reload) = reloads.recv() => self.take_over(reload).await,
                Some(outcome) = probes.join_next(), if !probes.is_empty() => {
                    // One that did not end as it should says nothing.
                    if let Ok(outcome) = outcome {
                        self.heard(outcome);
                    }
                }
                () = due => self.begin_due(&mut probes),
                else => return,
            }
        }
    }

    fn begin_due(&mut self, probes: &mut JoinSet<Outcome>) {
        for server in &mut self.servers {
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
            let server = server.number;
            probes.spawn(async move { Outcome { server, probe, begun, answer: answer.await } });
        }
    }

    fn heard(&mut self, outcome: Outcome) {
        let Outcome { server: number, probe, begun, answer } = outcome;
        // One that is not watched any more is of no interest.
        let place = self.servers.iter().position(|server| server.number == number);
        let Some(place) = place else { return };
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
        let Some(group) = self.groups.get_mut(group) else { return };
        let servers = self.servers.get(group.servers.clone()).unwrap_or_default();
        let was_lost = group.is_lost;
        group.is_lost = !servers.iter().any(Server::is_alive);
        if group.is_lost && !was_lost {
            group.say_lost();
        }
    }

    /// Which servers of which group are alive, as far as anybody knows.
    fn alive(&self) -> Vec<Vec<bool>> {
        let of_group = |group: &Group| {
            let servers = self.servers.get(group.servers.clone()).unwrap_or_default();
            servers.iter().map(Server::is_alive).collect()
        };
        self.groups.iter().map(of_group).collect()
    }

    /// Serves what follows from the states of all servers, if that is anything new.
    fn publish(&mut self) {
        let alive = self.alive();
        let is_alive = |group, host| is_alive(&alive, group, host);
        self.publisher.change(|zones| self.ranking.apply(zones, is_alive));
    }
}

impl Server {
    /// One of which nothing is known yet.
    fn new(number: u64, address: SocketAddr, health: Arc<Health>, monitor: Monitor) -> Self {
        let status = ServerStatus {
            group: String::new(),
            order: String::new(),
            name: String::new(),
            address: match address {
                SocketAddr::V4(address) => *address.ip(),
                SocketAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
            },
            probe: String::new(),
            state: ServerState::Unknown,
            since: now(),
            held: false,
            last_failure: None,
            milliseconds: None,
            probes: 0,
            failures: 0,
            changes: 0,
        };
        Self { number, group: 0, address, health, monitor, status }
    }

    /// Whether what is known of it is known of a server of this group that is asked this.
    fn is(&self, group: &str, address: SocketAddr, probe: &Probe) -> bool {
        self.status.group == group && self.address == address && self.health.probe == *probe
    }

    fn is_alive(&self) -> bool {
        self.monitor.state() != State::Down
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
