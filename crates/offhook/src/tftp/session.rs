//! One transfer: its task, its port, its log lines.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use offhook_tftp::{
    FirstContact, NameError, Outcome, Packet, Refusal, Request, Transfer, first_contact, lookup,
    stray_reply,
};
use tokio::net::UdpSocket;
use tokio::sync::{Notify, mpsc};
use tokio::task::Id;
use tracing::{debug, info, warn};

use super::library::LibraryImage;
use super::root::{OpenedFile, Root};
use super::server::Shared;

/// Datagrams made at a time; a bound on the memory of a transfer, with the block size.
const BATCH: usize = 16;
/// What a client sends fits: an ACK, or an ERROR whose text may be cut.
const RECEIVE_BUFFER: usize = 600;
/// Errors of its socket in a row after which a transfer is given up.
const MAX_ERRORS: u32 = 16;
/// How often a transfer that is muted looks whether it still is.
const MUTED_PAUSE: Duration = Duration::from_millis(500);

/// How far a transfer is, as the listener has to know to tell a repeated request from a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    /// Nothing was sent yet.
    Preparing,
    /// The first packet was.
    Answered,
    /// The client has acknowledged something.
    Acknowledged,
}

/// What the listener and a transfer tell each other.
#[derive(Debug, Default)]
pub(super) struct Signal {
    stage: AtomicU8,
    repeat: Notify,
    /// There are two transfers for this client: the first to make progress is to say so.
    contested: AtomicBool,
    /// It may answer, and send nothing on its own account.
    muted: AtomicBool,
}

impl Signal {
    pub(super) fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Relaxed) {
            0 => Stage::Preparing,
            1 => Stage::Answered,
            _ => Stage::Acknowledged,
        }
    }

    /// Has the first packet sent again.
    pub(super) fn repeat(&self) {
        self.repeat.notify_one();
    }

    pub(super) fn contest(&self, contested: bool) {
        self.contested.store(contested, Ordering::Relaxed);
    }

    pub(super) fn mute(&self, muted: bool) {
        self.muted.store(muted, Ordering::Relaxed);
    }

    fn is_muted(&self) -> bool {
        self.muted.load(Ordering::Relaxed)
    }

    fn reached(&self, stage: Stage) {
        self.stage.fetch_max(stage as u8, Ordering::Relaxed);
    }
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) signal: Arc<Signal>,
    /// Where to say that this one of two transfers is the one the client is at.
    pub(super) claims: mpsc::UnboundedSender<(SocketAddr, Id)>,
    pub(super) request: Box<[u8]>,
    /// The address to answer from.
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
}

/// A request whose file was found.
struct Ready {
    path: Vec<u8>,
    image: LibraryImage,
    socket: UdpSocket,
}

impl Session {
    pub(super) async fn run(self) {
        let FirstContact::Read(request) = first_contact(&self.request) else { return };
        let Ready { path, image, socket } = match self.prepare(&request).await {
            Ok(ready) => ready,
            Err(refusal) => {
                return answer_once(self.local, self.peer, &refusal.packet());
            }
        };
        let began = Instant::now();
        let mut transfer = Transfer::new(&request, image, &self.shared.settings.limits, began);
        info!(
            client = %self.peer,
            file = printable(request.name),
            path = printable(&path),
            mode = %request.mode,
            options = %request.options,
            accepted = %transfer.terms(),
            "TFTP request"
        );
        self.drive(&mut transfer, &socket).await;
        self.report(&request, &transfer, began);
    }

    async fn prepare(&self, request: &Request<'_>) -> Result<Ready, Refusal> {
        let refused = |reason: &dyn std::fmt::Display| {
            self.shared.complain(self.peer, Some(request.name), reason);
        };
        let (path, opened) = self.find(request.name.into()).await.inspect_err(|error| {
            refused(error);
        })?;
        let image = self.shared.library.image(opened).await.map_err(|error| {
            refused(&error);
            Refusal::Failed
        })?;
        let socket = UdpSocket::bind(self.local).await.map_err(|error| {
            refused(&format_args!("no socket to send from: {error}"));
            Refusal::Failed
        })?;
        Ok(Ready { path, image, socket })
    }

    /// Finds the file on a thread that may wait for the disk.
    async fn find(&self, name: Box<[u8]>) -> Result<(Vec<u8>, OpenedFile), Missing> {
        let shared = Arc::clone(&self.shared);
        let _permit = self.shared.lookups.acquire().await;
        let found = tokio::task::spawn_blocking(move || {
            let root = Root::open(&shared.root)
                .map_err(|error| Missing::Root(shared.root.display().to_string(), error))?;
            let found = lookup(&name, &root).map_err(Missing::Name)?;
            Ok((found.path, found.file))
        });
        found.await.unwrap_or_else(|error| Err(Missing::Task(error)))
    }

    async fn drive(&self, transfer: &mut Transfer<LibraryImage>, socket: &UdpSocket) {
        let mut out = Vec::new();
        let mut buffer = [0; RECEIVE_BUFFER];
        let mut errors = 0;
        let mut alarm = pin!(tokio::time::sleep_until(Instant::now().into()));
        while errors < MAX_ERRORS {
            while let Some(segment) = transfer.poll_transmit(Instant::now(), &mut out, BATCH) {
                for datagram in out.chunks(segment) {
                    // What cannot be sent is as good as lost on the way: the timer sends it again.
                    if let Err(error) = socket.send_to(datagram, self.peer).await {
                        debug!(client = %self.peer, %error, "cannot send");
                    }
                }
                out.clear();
                self.signal.reached(Stage::Answered);
            }
            let Some(deadline) = transfer.deadline() else { return };
            // The alarm is moved only when it has to be: deadlines move away with every packet.
            if alarm.is_elapsed()
                || deadline < alarm.deadline().into_std() && !self.signal.is_muted()
            {
                alarm.as_mut().reset(deadline.into());
            }
            tokio::select! {
                biased;
                received = socket.recv_from(&mut buffer) => match received {
                    Ok((length, from)) => {
                        errors = 0;
                        let datagram = buffer.get(..length).unwrap_or_default();
                        self.take(transfer, socket, datagram, from).await;
                    }
                    Err(error) => {
                        errors += 1;
                        debug!(client = %self.peer, %error, "cannot receive");
                    }
                },
                () = &mut alarm => {
                    let now = Instant::now();
                    if self.signal.is_muted() {
                        alarm.as_mut().reset((now + MUTED_PAUSE).into());
                    } else {
                        transfer.timeout(now);
                    }
                }
                () = self.signal.repeat.notified() => {
                    transfer.request_repeated();
                }
            }
        }
    }

    async fn take(
        &self,
        transfer: &mut Transfer<LibraryImage>,
        socket: &UdpSocket,
        datagram: &[u8],
        from: SocketAddr,
    ) {
        if from != self.peer {
            if let Some(reply) = stray_reply(datagram) {
                let _ = socket.send_to(&reply, from).await;
            }
            return;
        }
        // What is no packet at all is no reason to end a phone's last chance.
        let Ok(packet) = Packet::decode(datagram) else { return };
        let before = transfer.stats().progress;
        transfer.handle(Instant::now(), &packet);
        if transfer.stats().progress > before {
            self.signal.reached(Stage::Acknowledged);
            if self.signal.contested.swap(false, Ordering::Relaxed) {
                self.signal.mute(false);
                // Without the listener the server is at its end.
                let _ = self.claims.send((self.peer, tokio::task::id()));
            }
        }
    }

    fn report(&self, request: &Request<'_>, transfer: &Transfer<LibraryImage>, began: Instant) {
        let client = self.peer;
        let file = printable(request.name);
        let stats = transfer.stats();
        let (bytes, retransmits) = (stats.bytes, stats.retransmitted);
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        match transfer.outcome() {
            Some(Outcome::Complete) => {
                info!(%client, file, bytes, ms, retransmits, "TFTP transfer done");
            }
            Some(Outcome::Unconfirmed) => {
                info!(%client, file, bytes, ms, retransmits, "TFTP transfer sent, its end not acknowledged");
            }
            Some(Outcome::Declined) => {
                debug!(%client, file, ms, "TFTP transfer declined after its options");
            }
            Some(Outcome::Aborted { code, message }) => {
                let message = printable(message);
                info!(%client, file, bytes, ms, retransmits, code, message, "TFTP transfer ended by the client");
            }
            Some(Outcome::TimedOut) => {
                warn!(%client, file, bytes, ms, retransmits, "TFTP transfer given up: the client is silent");
            }
            Some(Outcome::Failed(reason)) => {
                warn!(%client, file, bytes, ms, %reason, "TFTP transfer failed: cannot read the file");
            }
            None => warn!(%client, file, bytes, ms, "TFTP transfer failed: its socket is broken"),
        }
    }
}

/// Why there is no file to send, for the log; the client is told less.
#[derive(Debug)]
enum Missing {
    Root(String, io::Error),
    Name(NameError),
    Task(tokio::task::JoinError),
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Root(path, error) => write!(f, "the TFTP root {path} cannot be opened: {error}"),
            Self::Name(error) => error.fmt(f),
            Self::Task(error) => error.fmt(f),
        }
    }
}

impl From<Missing> for Refusal {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::Root(..) => Self::NotFound,
            Missing::Name(error) => error.into(),
            Missing::Task(_) => Self::Failed,
        }
    }
}

/// Sends one datagram from a port of its own, as a transfer's answer would come.
pub(super) fn answer_once(local: SocketAddr, peer: SocketAddr, packet: &[u8]) {
    let sent = std::net::UdpSocket::bind(local).and_then(|socket| {
        socket.set_nonblocking(true)?;
        socket.send_to(packet, peer)
    });
    if let Err(error) = sent {
        debug!(client = %peer, %error, "cannot send");
    }
}

/// Bytes from the network as text for the log: printable ASCII, the rest escaped, not too much of it.
pub(super) fn printable(bytes: &[u8]) -> String {
    const MOST: usize = 200;
    let mut text = bytes.get(..MOST).unwrap_or(bytes).escape_ascii().to_string();
    if bytes.len() > MOST {
        text.push_str("...");
    }
    text
}
