//! How many TCP connections there may be, and who goes when there are too many.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{Count, Counters};

/// What connections may use of us.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Connections over all listeners.
    pub(super) most: usize,
    /// Connections of one address: a resolver that asks on behalf of a house opens a few.
    pub(super) most_per_client: usize,
    /// A connection on which no whole request arrives for this long is closed, unless answers are still to come.
    pub(super) idle: Duration,
    /// How long a client may take to make room for what it is sent.
    pub(super) stalled: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            most: 256,
            most_per_client: 32,
            idle: offhook_dns::TCP_IDLE,
            stalled: Duration::from_secs(10),
        }
    }
}

/// Every connection there is.
#[derive(Debug)]
pub(super) struct Connections {
    open: Arc<Mutex<Open>>,
    pub(super) bounds: Bounds,
}

#[derive(Debug, Default)]
struct Open {
    number: u64,
    connections: HashMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    client: IpAddr,
    /// When it last sent a whole request, or was opened.
    used: Instant,
    displace: watch::Sender<bool>,
}

/// The place of one connection; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    open: Arc<Mutex<Open>>,
    number: u64,
    displaced: watch::Receiver<bool>,
}

impl Connections {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { open: Arc::default(), bounds }
    }

    /// A place for a connection of `client`. When all places are taken, or all of this client's, the connection that
    /// was idle for longest makes room: whoever opens many and says nothing keeps nobody out.
    pub(super) fn open(&self, client: IpAddr, counters: &Counters) -> Connection {
        let mut open = lock(&self.open);
        let of_client = |entry: &&Entry| entry.client == client;
        if open.connections.values().filter(of_client).count() >= self.bounds.most_per_client {
            open.displace(|entry| entry.client == client, counters);
        } else if open.connections.len() >= self.bounds.most {
            open.displace(|_| true, counters);
        }
        counters.count(Count::TcpOpened);
        open.number += 1;
        let number = open.number;
        let (displace, displaced) = watch::channel(false);
        open.connections.insert(number, Entry { client, used: Instant::now(), displace });
        Connection { open: Arc::clone(&self.open), number, displaced }
    }
}

impl Open {
    /// Closes the connection that was idle for longest, of those that `may_go`.
    fn displace(&mut self, may_go: impl Fn(&Entry) -> bool, counters: &Counters) {
        let candidates = self.connections.iter().filter(|(_, entry)| may_go(entry));
        let idlest = candidates.min_by_key(|(_, entry)| entry.used).map(|(number, _)| *number);
        if let Some(entry) = idlest.and_then(|number| self.connections.remove(&number)) {
            counters.count(Count::TcpDisplaced);
            let _ = entry.displace.send(true);
        }
    }
}

impl Connection {
    /// The client sent a request.
    pub(super) fn is_used(&self) {
        if let Some(entry) = lock(&self.open).connections.get_mut(&self.number) {
            entry.used = Instant::now();
        }
    }

    /// Tells when it has to make room.
    pub(super) fn displaced(&self) -> Displaced {
        Displaced(self.displaced.clone())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        lock(&self.open).connections.remove(&self.number);
    }
}

/// Tells when a connection has to make room.
pub(super) struct Displaced(watch::Receiver<bool>);

impl Displaced {
    /// Waits until then, for ever if need be.
    pub(super) async fn wait(&mut self) {
        if self.0.wait_for(|displaced| *displaced).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn client(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 250, 1, last).into()
    }

    fn displaced(connection: &Connection) -> bool {
        *connection.displaced.borrow()
    }

    #[test]
    fn one_client_has_its_share_and_displaces_itself_only() {
        let all = Connections::new(Bounds { most_per_client: 2, ..Bounds::default() });
        let counters = Counters::default();
        let [first, second] = [1, 1].map(|last| all.open(client(last), &counters));
        let other = all.open(client(2), &counters);
        let third = all.open(client(1), &counters);
        assert!(displaced(&first) && ![&second, &other, &third].into_iter().any(displaced));
        drop(second);
        let fourth = all.open(client(1), &counters);
        assert!(!displaced(&third) && !displaced(&fourth), "a place was free again");
        assert_eq!(counters.of(Count::TcpDisplaced), 1);
    }

    #[test]
    fn the_idlest_makes_room_for_a_new_one() {
        let all = Connections::new(Bounds { most: 3, ..Bounds::default() });
        let counters = Counters::default();
        let [first, second, third] = [1, 2, 3].map(|last| all.open(client(last), &counters));
        let later = Instant::now() + Duration::from_millis(1);
        while Instant::now() < later {}
        first.is_used();
        let fourth = all.open(client(4), &counters);
        assert!(displaced(&second) && ![&first, &third, &fourth].into_iter().any(displaced));
        drop(second);
        let fifth = all.open(client(5), &counters);
        assert!(displaced(&third) && !displaced(&first) && !displaced(&fifth));
        assert_eq!(counters.of(Count::TcpDisplaced), 2);
        assert_eq!(lock(&all.open).connections.len(), 3);
    }
}
