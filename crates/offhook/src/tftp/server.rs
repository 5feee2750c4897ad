//! The task at the well-known port: who is being served, and who may be.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use offhook_tftp::{FirstContact, Refusal, first_contact};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tracing::{error, info, warn};

use super::library::Library;
use super::listener::{Bound, Listener, Received};
use super::session::{self, Session, Stage};
use super::throttle::Throttle;
use super::{Settings, session::Signal};

/// The longest request read. RFC 2347 has 512 bytes suffice; who sends more is still told what is wrong with it.
const LONGEST_REQUEST: usize = 8192;
/// Lines a second about requests that are refused.
const LINES_PER_SECOND: u32 = 20;
/// Files looked up at the same time: a thread each.
const LOOKUPS: usize = 16;
/// How long to wait after an error of the listener.
const PAUSE: Duration = Duration::from_millis(100);

/// What all transfers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) root: PathBuf,
    pub(super) settings: Settings,
    pub(super) library: Library,
    pub(super) lookups: Semaphore,
    pub(super) complaints: Throttle,
}

impl Shared {
    /// Says that somebody was refused.
    pub(super) fn complain(
        &self,
        peer: SocketAddr,
        name: Option<&[u8]>,
        reason: &dyn std::fmt::Display,
    ) {
        let Some(suppressed) = self.complaints.permit(Instant::now()) else { return };
        let file = session::printable(name.unwrap_or_default());
        warn!(client = %peer, file, %reason, suppressed, "TFTP request refused");
    }
}

pub(super) async fn serve(
    bound: Bound,
    root: PathBuf,
    settings: Settings,
    mut shutdown: watch::Receiver<bool>,
) {
    let listener = match bound.listen() {
        Ok(listener) => listener,
        Err(error) => return error!(%error, "cannot serve TFTP"),
    };
    info!(address = %listener.address(), root = %root.display(), "serving TFTP");
    let shared = Shared {
        root,
        settings,
        library: Library::default(),
        lookups: Semaphore::new(LOOKUPS),
        complaints: Throttle::new(LINES_PER_SECOND),
    };
    let mut server = Server::new(listener, shared);
    tokio::select! {
        () = server.run() => {}
        // An error means that whoever could tell us is gone: that is the end as well.
        _ = shutdown.wait_for(|stop| *stop) => {}
    }
    server.sessions.shutdown().await;
}

struct Server {
    listener: Listener,
    shared: Arc<Shared>,
    sessions: JoinSet<()>,
    running: HashMap<SocketAddr, Running>,
    /// The client of each task of `sessions`, those on their way out included.
    clients: HashMap<Id, SocketAddr>,
    per_client: HashMap<IpAddr, usize>,
    claims: Claims,
}

/// Where transfers say that they are the one of two their client is at.
type Claims = (mpsc::UnboundedSender<(SocketAddr, Id)>, mpsc::UnboundedReceiver<(SocketAddr, Id)>);

struct Running {
    task: AbortHandle,
    request: Box<[u8]>,
    signal: Arc<Signal>,
    /// The transfer this one is about to replace. The same request once more may come from a phone that has begun
    /// anew, or late, from one that is well into its transfer: whose ACK comes first says which.
    before: Option<Box<Running>>,
}

impl Server {
    fn new(listener: Listener, shared: Shared) -> Self {
        Self {
            listener,
            shared: Arc::new(shared),
            sessions: JoinSet::new(),
            running: HashMap::new(),
            clients: HashMap::new(),
            per_client: HashMap::new(),
            claims: mpsc::unbounded_channel(),
        }
    }

    async fn run(&mut self) {
        let mut buffer = vec![0; LONGEST_REQUEST];
        loop {
            tokio::select! {
                received = self.listener.receive(&mut buffer) => match received {
                    Ok(received) => {
                        let datagram = buffer.get(..received.length).unwrap_or_default();
                        self.take(datagram, &received);
                    }
                    Err(error) => {
                        if self.shared.complaints.permit(Instant::now()).is_some() {
                            warn!(%error, "cannot receive TFTP requests");
                        }
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                Some(ended) = self.sessions.join_next_with_id() => self.ended(ended),
                Some((peer, task)) = self.claims.1.recv() => self.decide(peer, task),
            }
        }
    }

    fn take(&mut self, datagram: &[u8], received: &Received) {
        let &Received { peer, local, .. } = received;
        if peer.port() == 0 {
            return;
        }
        match first_contact(datagram) {
            FirstContact::Ignore => {}
            FirstContact::Refuse(refusal, name) => self.refuse(refusal, name, received),
            FirstContact::Read(request) => {
                if self.running.get(&peer).is_some_and(|old| old.repeated_by(datagram)) {
                    return;
                }
                let before = self.running.remove(&peer);
                if before.is_none() && self.is_full(peer.ip()) {
                    return self.refuse(Refusal::Busy, Some(request.name), received);
                }
                let before = before.and_then(|before| before.give_way_to(datagram, peer));
                self.start(datagram.into(), local, peer, before);
            }
        }
    }

    /// One of two transfers for a client has made progress: that ends the other one.
    fn decide(&mut self, peer: SocketAddr, task: Id) {
        let Some(running) = self.running.get_mut(&peer) else { return };
        if running.task.id() == task {
            if let Some(before) = running.before.take() {
                before.task.abort();
                info!(client = %peer, "TFTP transfer replaced by a new request");
            }
        } else if running.before.as_ref().is_some_and(|before| before.task.id() == task) {
            running.task.abort();
            running.go_back();
        }
    }

    fn is_full(&self, client: IpAddr) -> bool {
        let Settings { transfers, transfers_per_client, .. } = self.shared.settings;
        self.sessions.len() >= transfers
            || self.per_client.get(&client).is_some_and(|count| *count >= transfers_per_client)
    }

    fn start(
        &mut self,
        request: Box<[u8]>,
        local: SocketAddr,
        peer: SocketAddr,
        before: Option<Box<Running>>,
    ) {
        let signal = Arc::new(Signal::default());
        signal.contest(before.is_some());
        let session = Session {
            shared: Arc::clone(&self.shared),
            signal: Arc::clone(&signal),
            claims: self.claims.0.clone(),
            request: request.clone(),
            local,
            peer,
        };
        let task = self.sessions.spawn(session.run());
        self.clients.insert(task.id(), peer);
        *self.per_client.entry(peer.ip()).or_default() += 1;
        self.running.insert(peer, Running { task, request, signal, before });
    }

    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                if error.is_panic() {
                    error!(%error, "a TFTP transfer failed");
                }
                error.id()
            }
        };
        // What it claimed before it ended counts.
        while let Ok((peer, task)) = self.claims.1.try_recv() {
            self.decide(peer, task);
        }
        let Some(peer) = self.clients.remove(&id) else { return };
        if let Some(count) = self.per_client.get_mut(&peer.ip()) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.per_client.remove(&peer.ip());
            }
        }
        let Some(running) = self.running.get_mut(&peer) else { return };
        if running.before.as_ref().is_some_and(|before| before.task.id() == id) {
            running.before = None;
        } else if running.task.id() == id && !running.go_back() {
            self.running.remove(&peer);
        }
    }

    fn refuse(&self, refusal: Refusal, name: Option<&[u8]>, received: &Received) {
        self.shared.complain(received.peer, name, &refusal);
        session::answer_once(received.local, received.peer, &refusal.packet());
    }
}

impl Running {
    /// Whether this is the same request once more, come before anything of the transfer was acknowledged: its
    /// answer is on the way, or was lost and goes out again.
    fn repeated_by(&self, request: &[u8]) -> bool {
        if *self.request != *request {
            return false;
        }
        match self.signal.stage() {
            Stage::Preparing => true,
            Stage::Answered => {
                self.signal.repeat();
                true
            }
            Stage::Acknowledged => false,
        }
    }

    /// A request has come that is not answered by this transfer. Another request ends it at once: the client has
    /// begun anew from the same port, as U-Boot does. The same one silences it, until it is known whose it is.
    fn give_way_to(mut self, request: &[u8], peer: SocketAddr) -> Option<Box<Self>> {
        if let Some(before) = self.before.take() {
            before.task.abort();
        }
        if *self.request != *request {
            self.task.abort();
            info!(client = %peer, "TFTP transfer replaced by a new request");
            return None;
        }
        self.signal.mute(true);
        self.signal.contest(true);
        Some(Box::new(self))
    }

    /// Puts the transfer before in the place of this one, which is over; false when there is none.
    fn go_back(&mut self) -> bool {
        let Some(before) = self.before.take() else { return false };
        before.signal.contest(false);
        before.signal.mute(false);
        *self = *before;
        true
    }
}
