//! The thread that serves: it waits for all sockets at once, and drives every transfer.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use offhook_net::{Events, Interest, Multiplexer, Waker};
use offhook_tftp::{FirstContact, Refusal, first_contact};
use tokio::runtime::Handle;
use tracing::{info, warn};

use super::Key;
use super::access::Own;
use super::clients::{Admission, Client, Clients};
use super::counters::{Count, Counters};
use super::eager::{Eager, FEW};
use super::finder::{Finder, Found};
use super::listener::{Listener, Received};
use super::session::{MUTED_PAUSE, Received as Heard, Session, answer_once, open_port};
use super::settings::{Current, Settings};
use super::throttle::{Lines, Throttle};

/// The longest request read. RFC 2347 has 512 bytes suffice; who sends more is still told what is wrong with it.
const LONGEST_REQUEST: usize = 8192;
/// Requests taken before transfers have their turn again.
const REQUESTS: usize = 64;
/// Datagrams taken of one client before others have their turn.
const DATAGRAMS: usize = 64;
/// How long to wait after an error of the listener.
const PAUSE: Duration = Duration::from_millis(100);
/// What the IPv4, UDP and DATA headers take of a packet, octets.
const HEADERS: u16 = 20 + 8 + 4;
/// Strangers that are told so in a second; the others are not: whoever they claim to be is not to be flooded.
const DENIALS_PER_SECOND: u32 = 100;
/// The token of the listener; every other one is a [`Key`].
const LISTENER: u64 = u64::MAX;

/// Everything the thread has.
pub(super) struct Engine {
    listener: Arc<Listener>,
    /// What is in force, looked up for every request.
    current: arc_swap::Cache<Current, Arc<Settings>>,
    /// What was when that was last acted upon.
    known: Option<Arc<Settings>>,
    own: Own,
    denials: Throttle,
    lines: Lines,
    counters: Arc<Counters>,
    multiplexer: Multiplexer,
    finder: Finder,
    clients: Clients,
    /// When to look at whom. An entry counts that is its client's alarm.
    alarms: BinaryHeap<Reverse<(Instant, Key)>>,
    /// Transfers that wait for the bytes of their file.
    starved: Vec<Key>,
    scratch: Vec<u8>,
    stop: Arc<AtomicBool>,
}

impl Engine {
    /// # Errors
    /// There is no file descriptor left.
    pub(super) fn new(
        listener: Arc<Listener>,
        current: Current,
        runtime: Handle,
        counters: Arc<Counters>,
        stop: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let multiplexer = Multiplexer::new()?;
        multiplexer.add(listener.as_fd(), LISTENER, Interest::Readable)?;
        let finder = Finder::new(runtime, multiplexer.waker());
        Ok(Self {
            listener,
            current: arc_swap::Cache::new(current),
            known: None,
            own: Own::default(),
            denials: Throttle::new(DENIALS_PER_SECOND),
            lines: Lines::default(),
            counters,
            multiplexer,
            finder,
            clients: Clients::default(),
            alarms: BinaryHeap::new(),
            starved: Vec::new(),
            scratch: Vec::new(),
            stop,
        })
    }

    /// Ends the wait of [`run`](Self::run).
    pub(super) fn waker(&self) -> Waker {
        self.multiplexer.waker()
    }

    /// Serves until told to stop.
    ///
    /// # Errors
    /// The kernel does not let us wait.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Events::default();
        let mut eager = Eager::default();
        self.renew();
        while !self.stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            let wait = self.alarms.peek().map(|Reverse((at, _))| at.saturating_duration_since(now));
            eager.wait(&self.multiplexer, &mut events, wait, self.clients.len())?;
            let now = Instant::now();
            for event in events.iter() {
                match event.token {
                    LISTENER => self.requests(),
                    token => self.ready(Key::from(token), event.readable, now),
                }
            }
            if events.woken() {
                self.renew();
                while let Some(found) = self.finder.next() {
                    self.found(found);
                }
                self.feed();
            }
            if self.finder.is_searching() {
                // Their files are looked for on other threads: where they have no other processor, they go first.
                std::thread::yield_now();
            }
            self.alarms(now);
            self.counters.set_active(self.clients.len());
        }
        Ok(())
    }

    /// Another configuration may be in force: its images are looked at before the first phone asks, and the one before
    /// is let go of.
    fn renew(&mut self) {
        let settings = self.current.load();
        if self.known.as_ref().is_some_and(|known| Arc::ptr_eq(known, settings)) {
            return;
        }
        if !self.known.as_ref().is_some_and(|known| known.has_images_of(settings)) {
            self.finder.check_all(settings);
        }
        self.known = Some(Arc::clone(settings));
    }

    fn requests(&mut self) {
        let mut buffer = [0; LONGEST_REQUEST];
        for _ in 0..REQUESTS {
            match self.listener.receive(&mut buffer) {
                Ok(received) => {
                    let datagram = buffer.get(..received.length).unwrap_or_default();
                    self.request(datagram, &received);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.finder.complaints().cannot_receive(&error);
                    std::thread::sleep(PAUSE);
                    return;
                }
            }
        }
    }

    fn request(&mut self, datagram: &[u8], received: &Received) {
        let &Received { peer, local, .. } = received;
        if peer.port() == 0 {
            return;
        }
        let contact = first_contact(datagram);
        let settings = Arc::clone(self.current.load());
        let (access, dscp) = (&settings.access, settings.dscp);
        let request = match contact {
            FirstContact::Ignore => return,
            _ if !access.allows(peer.ip(), local.ip(), &mut self.own, Instant::now()) => {
                return self.deny(&contact, received, dscp);
            }
            FirstContact::Refuse(refusal, name) => {
                return self.refuse(refusal, name.unwrap_or_default(), received, dscp);
            }
            FirstContact::Read(request) => request,
        };
        self.counters.count(Count::Requested);
        match self.clients.admit(datagram, (local, peer), &settings, Instant::now()) {
            Admission::Ignore => {}
            Admission::Repeat(key) => {
                if let Some(session) = self.clients.client(key).and_then(|c| c.session.as_mut()) {
                    session.request_repeated();
                    self.drive(key, Instant::now());
                }
            }
            Admission::Busy => self.refuse(Refusal::Busy, request.name, received, dscp),
            Admission::New { key, ended, ousted } => {
                ended.into_iter().for_each(|client| self.replaced(&client));
                if let Some(peer) = ousted {
                    self.ousted(peer);
                }
                self.finder.search(key, peer, request.name, &settings);
            }
        }
    }

    /// The search for a file has come to its end.
    fn found(&mut self, Found { key, settings, result }: Found) {
        // Gone, when the client has begun anew meanwhile.
        let Some(client) = self.clients.client(key) else { return };
        let (local, peer) = (client.local, client.peer);
        let begun = result.and_then(|(path, image)| {
            let FirstContact::Read(request) = first_contact(&client.request) else {
                return Err(Refusal::Malformed);
            };
            let failed = |error| {
                let reason = format_args!("no socket to send from: {error}");
                self.finder.complaints().say(peer, request.name, &reason);
                Refusal::Failed
            };
            let socket = open_port(local, peer, settings.dscp).map_err(failed)?;
            let token = key.into();
            self.multiplexer.add(socket.as_fd(), token, Interest::Arrivals).map_err(failed)?;
            self.multiplexer.add(socket.strays(), token, Interest::Readable).map_err(failed)?;
            let mut limits = settings.limits.clone();
            if let Some(mtu) = socket.path_mtu().filter(|_| settings.whole_packets) {
                limits.block_size = limits.block_size.min(mtu.saturating_sub(HEADERS).max(8));
            }
            let now = Instant::now();
            let session = Session::new(&request, image, &limits, (socket, peer), now);
            session.announce(&request, &path, &self.lines);
            Ok(session)
        });
        match begun {
            Ok(session) => {
                let now = Instant::now();
                client.session = Some(session);
                self.clients.listen_for(key, now);
                self.drive(key, now);
            }
            Err(refusal) => {
                self.counters.count(refusal.into());
                answer_once(local, peer, settings.dscp, &refusal.packet());
                self.clients.remove(key);
            }
        }
    }

    /// A transfer's port has a datagram, or room for one.
    fn ready(&mut self, key: Key, readable: bool, now: Instant) {
        if readable {
            self.receive(key, now);
        }
        self.drive(key, now);
    }

    /// Takes what there is of a client's datagrams, which is told only once. In lock step there is nothing more to come
    /// after what acknowledges the block under way, and nobody looks for it: that is a call for each block.
    fn receive(&mut self, key: Key, now: Instant) {
        let Some(client) = self.clients.client(key) else { return };
        let Some(session) = &mut client.session else { return };
        let (mut progress, mut is_all) = (false, false);
        for turn in 0..DATAGRAMS {
            match session.receive(now) {
                Heard::Nothing => {
                    if turn == 0 {
                        session.receive_stray();
                    }
                    is_all = true;
                    break;
                }
                Heard::Something => {}
                Heard::Progress => {
                    progress = true;
                    is_all = session.is_in_lock_step();
                    if is_all {
                        break;
                    }
                }
            }
        }
        if !is_all {
            // Others have their turn first.
            self.watch(key);
        }
        if progress && let Some(other) = self.clients.progressed(key) {
            self.replaced(&other);
        }
    }

    /// There may be more of the files that transfers wait for.
    fn feed(&mut self) {
        let now = Instant::now();
        for key in std::mem::take(&mut self.starved) {
            let Some(client) = self.clients.client(key) else { continue };
            if client.muted {
                self.starved.push(key);
                continue;
            }
            let Some(session) = &mut client.session else { continue };
            session.is_listed = false;
            self.drive(key, now);
        }
    }

    /// Looks at the timers that have run out.
    fn alarms(&mut self, now: Instant) {
        while let Some(&Reverse((at, key))) = self.alarms.peek()
            && at <= now
        {
            self.alarms.pop();
            let Some(client) = self.clients.client(key) else { continue };
            if client.alarm.take_if(|alarm| *alarm == at).is_none() {
                continue;
            }
            if client.muted {
                self.set_alarm(key, now + MUTED_PAUSE);
                continue;
            }
            // In lock step something may have come that nobody looked for.
            self.receive(key, now);
            if let Some(session) = self.clients.client(key).and_then(|c| c.session.as_mut()) {
                session.timeout(now);
                self.drive(key, now);
            }
        }
    }

    /// Has a client looked at by then. Deadlines move away with every packet: an alarm is moved only when it would
    /// come too late.
    fn set_alarm(&mut self, key: Key, at: Instant) {
        let Some(client) = self.clients.client(key) else { return };
        if client.alarm.is_none_or(|alarm| at < alarm) {
            client.alarm = Some(at);
            self.alarms.push(Reverse((at, key)));
        }
    }

    /// Sends what a transfer has to send, and takes leave of it when it is over.
    fn drive(&mut self, key: Key, now: Instant) {
        let wake = self.clients.len() <= FEW;
        let Some(client) = self.clients.client(key) else { return };
        let muted = client.muted;
        let Some(session) = &mut client.session else { return };
        let waited = session.wants_room();
        session.transmit(now, &mut self.scratch, wake);
        if session.is_over() {
            session.report(now, &self.counters, &self.lines);
            // Its socket closes, and so is watched no more.
            self.clients.remove(key);
            return;
        }
        if session.is_starved() && !std::mem::replace(&mut session.is_listed, true) {
            self.starved.push(key);
        }
        let deadline = session.deadline().filter(|_| !muted);
        if session.wants_room() != waited {
            self.watch(key);
        }
        if let Some(deadline) = deadline {
            self.set_alarm(key, deadline);
        }
    }

    /// Waits for what a transfer needs now, and hears at once of what is there already.
    fn watch(&mut self, key: Key) {
        let session = self.clients.client(key).and_then(|client| client.session.as_ref());
        let Some(session) = session else { return };
        let interest =
            if session.wants_room() { Interest::ArrivalsAndRoom } else { Interest::Arrivals };
        let socket = session.socket().as_fd();
        if let Err(error) = self.multiplexer.modify(socket, key.into(), interest) {
            warn!(%error, "cannot wait for a TFTP transfer");
        }
    }

    fn refuse(&self, refusal: Refusal, name: &[u8], received: &Received, dscp: u8) {
        self.counters.count(refusal.into());
        self.finder.complaints().say(received.peer, name, &refusal);
        answer_once(received.local, received.peer, dscp, &refusal.packet());
    }

    /// Refuses a stranger, unless there are too many of them.
    fn deny(&self, contact: &FirstContact<'_>, received: &Received, dscp: u8) {
        let name = match contact {
            FirstContact::Read(request) => request.name,
            FirstContact::Refuse(_, name) => name.unwrap_or_default(),
            FirstContact::Ignore => return,
        };
        match self.denials.permit(Instant::now()) {
            Some(_) => self.refuse(Refusal::Denied, name, received, dscp),
            None => self.counters.count(Count::Denied),
        }
    }

    fn replaced(&self, client: &Client) {
        let peer: SocketAddr = client.peer;
        self.counters.count(Count::Replaced);
        if let Some(suppressed) = self.lines.ended.permit(Instant::now()) {
            info!(client = %peer, suppressed, "TFTP transfer replaced by a new request");
        }
    }

    /// Whoever forged its request is not to be sent anything more.
    fn ousted(&self, peer: SocketAddr) {
        self.counters.count(Count::Ousted);
        if let Some(suppressed) = self.lines.silent.permit(Instant::now()) {
            warn!(
                client = %peer, suppressed,
                hint = "too many requests at a time, and nobody behind this one: are they forged? See `transfers` in [tftp]",
                "TFTP transfer ended to make room for another: the client is silent"
            );
        }
    }
}
