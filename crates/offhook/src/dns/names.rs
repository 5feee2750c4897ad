//! Names of leases: from what is on disk and acknowledged to what DNS answers.
//!
//! A thread of its own keeps the [`NameBook`]. The DHCP server hands it what it has written, once that is answered,
//! and goes on at once; names are published some sixty times a second at most, a thousand changes at a time, so that in a
//! storm of phones the processor is DHCP's, and some hundred milliseconds later they all have their names.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ipnetwork::Ipv4Network;
use offhook_dns::{NameBook, NameRules, Zones};
use offhook_model::{Lease, LeaseWrite, Site, Time};
use tokio::sync::oneshot;
use tracing::debug;

use super::first::FirstHolders;
use super::publish::{Publisher, Replaced};
use super::reload::Servers;
use crate::clock::{self, Clock};

/// Changes that are made before they are published: some milliseconds' work, and publishing waits for its time.
const STEP: usize = 1024;

/// How far the thread stands back when others want the processor: in a storm of phones it has some 4 % of it.
const NICE: u8 = 15;

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60);

/// How soon it is on disk who came first to a name.
const SAVED: Duration = Duration::from_secs(1);

/// Changes that wait before those that others have overtaken are dropped.
const MANY: usize = 16_384;

/// Where the DHCP server tells what has become of leases; without names, nobody listens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Feed(Option<Arc<Shared>>);

/// Where the thread that keeps the names is told of another configuration.
#[derive(Clone, Debug)]
pub(super) struct Keeping(Arc<Shared>);

/// What the thread keeps, lent to whoever takes over another configuration: the thread itself stands back when others want
/// the processor, and a configuration is not to wait for that.
struct Loan {
    keeper: Keeper,
    back: mpsc::Sender<Keeper>,
}

/// Somebody who wants a [`Loan`].
struct Borrower(oneshot::Sender<Loan>);

impl fmt::Debug for Borrower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Borrower")
    }
}

/// The thread that keeps the names.
#[derive(Debug)]
pub(crate) struct Names {
    feed: Feed,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Milliseconds that the clock on the wall is ahead of the one that elapses.
    ahead: AtomicI64,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

/// What has become of a lease, or is written again as it was.
#[derive(Debug)]
struct Told {
    write: LeaseWrite,
    is_news: bool,
}

impl Told {
    fn address(&self) -> Ipv4Addr {
        self.write.address()
    }
}

#[derive(Debug)]
struct Waiting {
    writes: Vec<Told>,
    /// How many may wait before they are gone through.
    limit: usize,
    borrower: Option<Borrower>,
    stop: bool,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { writes: Vec::new(), limit: MANY, borrower: None, stop: false }
    }
}

impl Feed {
    /// These leases are on disk, and whoever asked for them has been answered; before that, others were written `again`,
    /// by a clock that was set. Never waits for names.
    pub(crate) fn tell(&self, again: Vec<LeaseWrite>, writes: Vec<LeaseWrite>) {
        let is_silent = again.is_empty() && writes.is_empty();
        let Some(shared) = self.0.as_ref().filter(|_| !is_silent) else { return };
        let again = again.into_iter().map(|write| Told { write, is_news: false });
        let news = writes.into_iter().map(|write| Told { write, is_news: true });
        let told = again.chain(news).collect();
        let mut waiting = shared.lock();
        waiting.add(told);
        drop(waiting);
        shared.changed.notify_one();
    }

    /// The clock on the wall, which the times of leases are by, shows `wall` at `now`.
    pub(crate) fn wall_is(&self, now: Time, wall: Time) {
        if let Some(shared) = &self.0 {
            let ahead = wall.as_millis().wrapping_sub(now.as_millis()).cast_signed();
            shared.ahead.store(ahead, Ordering::Relaxed);
        }
    }
}

impl Keeping {
    /// Has the zones of another configuration served in one step with the names that leases have then, and with what is
    /// known of its servers.
    ///
    /// # Errors
    /// There is nobody to do it, and nothing has changed.
    pub(super) async fn replace(
        &self,
        servers: Servers,
        zones: Zones,
    ) -> Result<Replaced, Box<(Servers, Zones)>> {
        let (lend, lent) = oneshot::channel();
        let left = Box::new((servers.clone(), zones.clone()));
        {
            let mut waiting = self.0.lock();
            if waiting.stop {
                return Err(left);
            }
            waiting.borrower = Some(Borrower(lend));
        }
        self.0.changed.notify_one();
        let Ok(Loan { mut keeper, back }) = lent.await else { return Err(left) };
        let replaced = tokio::task::spawn_blocking(move || {
            let replaced = keeper.take_over(&servers, zones);
            let _ = back.send(keeper);
            replaced
        });
        replaced.await.map_err(|_| left)
    }
}

/// What leases of a site are called.
fn rules(site: &Site) -> NameRules {
    let rules = site.dns.names;
    let hosts = rules.leases && rules.hosts;
    NameRules { models: rules.leases, hosts, ttl: site.dns.ttl }
}

/// Where leases of a site have names.
fn subnets(site: &Site) -> Vec<Ipv4Network> {
    site.scopes.iter().map(|scope| scope.subnet).collect()
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// However far names are behind, no more waits than twice as many changes as there are addresses.
    fn add(&mut self, writes: Vec<Told>) {
        match self.writes.is_empty() {
            true => self.writes = writes,
            false => self.writes.extend(writes),
        }
        if self.writes.len() >= self.limit {
            latest(&mut self.writes);
            self.limit = MANY.max(2 * self.writes.len());
        }
    }
}

/// Drops every change of an address that another one follows, which is news if one of those was.
fn latest(writes: &mut Vec<Told>) {
    let mut last: HashMap<Ipv4Addr, (usize, bool)> = HashMap::new();
    for (place, told) in writes.iter().enumerate() {
        let known = last.entry(told.address()).or_default();
        *known = (place, known.1 || told.is_news);
    }
    let mut place = 0;
    writes.retain_mut(|told| {
        place += 1;
        let known = last.get(&told.address()).filter(|known| known.0 == place - 1);
        told.is_news = known.is_some_and(|known| known.1);
        known.is_some()
    });
}

impl Names {
    /// Starts the thread with the leases that the store has kept in the directory `state`. The second value is told
    /// once their names are published.
    ///
    /// # Errors
    /// The kernel grants no more threads.
    pub(crate) fn start(
        site: &Site,
        leases: &[Lease],
        state: &Path,
        zones: Arc<Publisher>,
    ) -> io::Result<(Self, oneshot::Receiver<()>)> {
        let (ready, published) = oneshot::channel();
        if !site.dns.names.leases {
            let _ = ready.send(());
            return Ok((Self { feed: Feed::default(), thread: None }, published));
        }
        let clock = Clock::start(offhook_dhcp::beginning(clock::wall(), leases));
        let now = clock.now();
        let is_live = |lease: &&Lease| lease.is_live(now);
        let mut kept: Vec<Lease> = leases.iter().filter(is_live).cloned().collect();
        let first = FirstHolders::load(state);
        let (rules, subnets) = (rules(site), subnets(site));
        let book = NameBook::new(&site.zone, rules);
        let keeper = Keeper { book, zones, rules, subnets, clock, first, unsaved: None };
        let shared = Arc::new(Shared::default());
        let feed = Feed(Some(Arc::clone(&shared)));
        let ended = Ended(Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("names".into()).spawn(move || {
            let _ended = ended;
            let mut keeper = keeper;
            if let Err(error) = offhook_net::give_way(NICE) {
                debug!(%error, "names of leases take as much of the processor as leases");
            }
            // Who came first, as far as leases tell, and then what is known better.
            kept.sort_unstable_by_key(|lease| (lease.since, lease.address));
            kept.iter().for_each(|lease| keeper.put(lease, true));
            drop(kept);
            for (label, address) in keeper.first.holders() {
                keeper.book.came_first(label, *address);
            }
            keeper.publish();
            let _ = ready.send(());
            keeper.keep(&shared);
        })?;
        Ok((Self { feed, thread: Some(thread) }, published))
    }

    /// Where the DHCP server tells what has become of leases.
    pub(crate) fn feed(&self) -> Feed {
        self.feed.clone()
    }

    /// Where the thread is told of another configuration; nowhere, when it began without names: a million leases are not
    /// kept twice for what may never come.
    pub(super) fn keeping(&self) -> Option<Keeping> {
        self.feed.0.clone().map(Keeping)
    }

    /// Ends the thread.
    pub(crate) fn stop(self) {
        if let Some(shared) = &self.feed.0 {
            shared.lock().stop = true;
            shared.changed.notify_one();
        }
        if let Some(thread) = self.thread {
            let _ = thread.join();
        }
    }
}

/// Lets nobody wait for a thread that is gone.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        waiting.stop = true;
        waiting.borrower = None;
    }
}

/// The book, and where it is published.
struct Keeper {
    book: NameBook,
    zones: Arc<Publisher>,
    rules: NameRules,
    /// Leases elsewhere have no names, until there is a scope for them again.
    subnets: Vec<Ipv4Network>,
    clock: Clock,
    first: FirstHolders,
    /// When what has changed in the book is to be written: who came first.
    unsaved: Option<Instant>,
}

impl Keeper {
    fn keep(mut self, shared: &Shared) {
        while let Some((writes, borrower)) = self.next(shared) {
            self.book.expire(self.clock.now());
            if let Some(borrower) = borrower {
                // Who panics with it returns nothing: then nobody keeps the names any more.
                let Some(keeper) = self.lend(borrower) else { return };
                self = keeper;
            }
            let mut writes = writes.into_iter();
            loop {
                for Told { write, is_news } in writes.by_ref().take(STEP) {
                    match write {
                        LeaseWrite::Put(mut lease) => {
                            // The book goes by time that elapses: a clock that is set ends no lease.
                            let ahead = shared.ahead.load(Ordering::Relaxed);
                            lease.since = elapsed(lease.since, ahead);
                            lease.expires = elapsed(lease.expires, ahead);
                            self.put(&lease, is_news);
                        }
                        LeaseWrite::Remove(address) => self.book.remove(address),
                    }
                }
                self.publish();
                if writes.len() == 0 {
                    break;
                }
            }
            if self.unsaved.is_some_and(|at| at <= Instant::now()) {
                self.save();
            }
        }
        self.save();
    }

    fn save(&mut self) {
        self.unsaved = None;
        let holders = self.book.first_holders().map(|(label, address)| (label.into(), address));
        self.first.save(holders.collect());
    }

    /// What has changed; nothing when a lease has ended, and none when it is time to stop.
    fn next(&self, shared: &Shared) -> Option<(Vec<Told>, Option<Borrower>)> {
        let now = self.clock.now();
        let until = self.book.next_end().map_or(LONGEST, |end| end.since(now).min(LONGEST));
        let save = self.unsaved.map(|at| at.saturating_duration_since(Instant::now()));
        let until = save.map_or(until, |save| save.min(until));
        let idle = |waiting: &mut Waiting| {
            waiting.writes.is_empty() && waiting.borrower.is_none() && !waiting.stop
        };
        let waited = shared.changed.wait_timeout_while(shared.lock(), until, idle);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let writes = std::mem::take(&mut waiting.writes);
        let borrower = waiting.borrower.take();
        waiting.limit = MANY;
        (!waiting.stop).then_some((writes, borrower))
    }

    fn put(&mut self, lease: &Lease, is_news: bool) {
        let (zones, now) = (self.zones.current(), self.clock.now());
        let is_ours = is_in(&self.subnets, lease.address);
        let is_taken = |name: &[u8]| !is_ours || zones.is_taken(name);
        match is_news {
            true => self.book.put(now, lease, is_taken),
            false => self.book.restate(now, lease, is_taken),
        }
    }

    /// Lets somebody have all of it for a while.
    fn lend(self, Borrower(lend): Borrower) -> Option<Self> {
        let (back, returned) = mpsc::channel();
        match lend.send(Loan { keeper: self, back }) {
            Ok(()) => returned.recv().ok(),
            // Nobody wants it any more.
            Err(Loan { keeper, .. }) => Some(keeper),
        }
    }

    /// Serves another configuration, with the names that leases have then. Waits.
    fn take_over(&mut self, servers: &Servers, mut zones: Zones) -> Replaced {
        let (rules, subnets) = (rules(&servers.site), subnets(&servers.site));
        // Where nothing that names go by has changed, a hundred thousand of them need not be looked at.
        let is_same = (self.rules, &self.subnets) == (rules, &subnets);
        if !is_same || !zones.has_records_of(&self.zones.current()) {
            (self.rules, self.subnets) = (rules, subnets);
            self.book.set_rules(rules, |address, name| {
                !is_in(&self.subnets, address) || zones.is_taken(name)
            });
        }
        let names = self.book.changed().cloned();
        if names.is_some() {
            self.unsaved.get_or_insert_with(|| Instant::now() + SAVED);
        }
        // The last step: nobody waits for the others.
        let standing = servers.settle(&mut zones);
        let replaced = self.zones.replace(zones, names);
        drop(standing);
        replaced
    }

    fn publish(&mut self) {
        if let Some(names) = self.book.changed() {
            self.unsaved.get_or_insert_with(|| Instant::now() + SAVED);
            self.zones.change(|zones| {
                zones.set_lease_names(names.clone());
                true
            });
        }
    }
}

fn is_in(subnets: &[Ipv4Network], address: Ipv4Addr) -> bool {
    subnets.iter().any(|subnet| subnet.contains(address))
}

/// The time that elapses, when the clock on the wall shows `wall`.
fn elapsed(wall: Time, ahead: i64) -> Time {
    Time::from_millis(wall.as_millis().saturating_add_signed(ahead.saturating_neg()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_by_the_number_of_addresses() {
        let mut waiting = Waiting::default();
        for round in 0..3u32 {
            for n in 0..MANY as u32 {
                let write = LeaseWrite::Remove(Ipv4Addr::from_bits(n % 10_000));
                waiting.add(vec![Told { write, is_news: n % 10_000 == 0 && n < 10_000 }]);
                assert!(waiting.writes.len() <= 2 * MANY, "round {round}");
            }
        }
        latest(&mut waiting.writes);
        assert_eq!(waiting.writes.len(), 10_000);
        let order: Vec<_> = waiting.writes.iter().map(Told::address).collect();
        let last = Ipv4Addr::from_bits((MANY as u32 - 1) % 10_000);
        assert_eq!(order.last(), Some(&last), "the latest stays the latest");
        let news: Vec<_> = waiting.writes.iter().filter(|told| told.is_news).collect();
        assert!(matches!(news[..], [one] if one.address() == Ipv4Addr::UNSPECIFIED));
    }
}
