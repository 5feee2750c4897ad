//! One transfer: its port, its state machine, its log lines.

use std::io;
use std::mem::MaybeUninit;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use offhook_net::{PeerSocket, set_dscp};
use offhook_tftp::{Limits, Outcome, Packet, Request, Transfer, stray_reply};
use tracing::{debug, info, warn};

use super::counters::Counters;
use super::library::LibraryImage;
use super::throttle::Lines;

/// Datagrams made at a time: what one call sends.
const BATCH: usize = 64;
/// ... and octets, about.
const BATCH_OCTETS: usize = 60_000;
/// What a client sends fits: an ACK, or an ERROR whose text may be cut.
const RECEIVE_BUFFER: usize = 600;
/// Errors of its socket in a row after which a transfer is given up.
const MAX_ERRORS: u32 = 16;

/// A transfer that has its file and its port.
#[derive(Debug)]
pub(super) struct Session {
    peer: SocketAddr,
    /// The name that was asked for, for the log.
    file: String,
    socket: PeerSocket,
    transfer: Transfer<LibraryImage>,
    began: Instant,
    /// What the socket had no room for: datagrams of so many octets.
    unsent: Vec<u8>,
    segment: usize,
    errors: u32,
    /// It is on the list of those that wait for the bytes of their file.
    pub(super) is_listed: bool,
}

/// What the listener has to know of a transfer to tell a repeated request from a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing was acknowledged yet.
    Answered,
    /// The client has acknowledged something.
    Acknowledged,
}

/// What came of looking for a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// There was none.
    Nothing,
    /// It changed nothing, or ended the transfer.
    Something,
    /// The client has acknowledged anything new.
    Progress,
}

impl Session {
    /// Begins; nothing is sent yet.
    pub(super) fn new(
        request: &Request<'_>,
        image: LibraryImage,
        limits: &Limits,
        (socket, peer): (PeerSocket, SocketAddr),
        now: Instant,
    ) -> Self {
        let transfer = Transfer::new(request, image, limits, now);
        let file = printable(request.name);
        Self {
            peer,
            file,
            socket,
            transfer,
            began: now,
            unsent: Vec::new(),
            segment: 0,
            errors: 0,
            is_listed: false,
        }
    }

    /// Says what was asked for and what is given.
    pub(super) fn announce(&self, request: &Request<'_>, path: &[u8], lines: &Lines) {
        let Some(suppressed) = lines.begun.permit(self.began) else { return };
        info!(
            client = %self.peer,
            file = self.file,
            path = printable(path),
            mode = %request.mode,
            options = %request.options,
            accepted = %self.transfer.terms(),
            suppressed,
            "TFTP request"
        );
    }

    pub(super) fn socket(&self) -> &PeerSocket {
        &self.socket
    }

    /// Whether the client acknowledges each block before the next one is sent.
    pub(super) fn is_in_lock_step(&self) -> bool {
        self.transfer.terms().window == 1
    }

    pub(super) fn stage(&self) -> Stage {
        match self.transfer.stats().progress {
            0 => Stage::Answered,
            _ => Stage::Acknowledged,
        }
    }

    /// When [`timeout`](Self::timeout) is due; none once it is over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.errors >= MAX_ERRORS { None } else { self.transfer.deadline() }
    }

    /// Whether the socket is to be watched for room.
    pub(super) fn wants_room(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Whether it has to wait for the bytes of its file.
    pub(super) fn is_starved(&self) -> bool {
        self.transfer.is_starved()
    }

    /// The client has sent its request once more, before anything of the transfer was acknowledged.
    pub(super) fn request_repeated(&mut self) {
        self.transfer.request_repeated();
    }

    pub(super) fn timeout(&mut self, now: Instant) {
        self.transfer.timeout(now);
    }

    /// Takes one datagram of the client's.
    pub(super) fn receive(&mut self, now: Instant) -> Received {
        let mut buffer = [MaybeUninit::uninit(); RECEIVE_BUFFER];
        let datagram = match self.socket.receive(&mut buffer) {
            Ok(datagram) => datagram,
            Err(error) if would_block(&error) => return Received::Nothing,
            Err(error) => {
                debug!(client = %self.peer, %error, "cannot receive");
                // Where nobody listens now, somebody may again: a phone that begins anew. The socket is not broken.
                if error.kind() != io::ErrorKind::ConnectionRefused {
                    self.errors += 1;
                }
                return Received::Something;
            }
        };
        self.errors = 0;
        // What is no packet at all is no reason to end a phone's last chance.
        let Ok(packet) = Packet::decode(datagram) else { return Received::Something };
        let before = self.transfer.stats().progress;
        self.transfer.handle(now, &packet);
        match self.transfer.stats().progress > before {
            true => Received::Progress,
            false => Received::Something,
        }
    }

    /// Tells one of those who are not the client that nothing is here for them.
    pub(super) fn receive_stray(&self) {
        let mut buffer = [MaybeUninit::uninit(); RECEIVE_BUFFER];
        let Ok((datagram, from)) = self.socket.receive_stray(&mut buffer) else { return };
        if let Some(reply) = stray_reply(datagram) {
            let _ = self.socket.answer_stray(&reply, from);
        }
    }

    /// Sends what there is to send, as far as the socket takes it. `scratch` is any buffer. With `wake` one datagram
    /// goes ahead of the others: a client that is near wakes up while they are still being made.
    pub(super) fn transmit(&mut self, now: Instant, scratch: &mut Vec<u8>, wake: bool) {
        if !self.flush() {
            return;
        }
        let size = usize::from(self.transfer.terms().block_size) + 4;
        let most = (BATCH_OCTETS / size).clamp(1, BATCH);
        scratch.clear();
        let mut turn = if wake { 1 } else { most };
        while let Some(segment) = self.transfer.poll_transmit(now, scratch, turn) {
            turn = most;
            let sent = self.send(scratch, segment);
            if let Some(rest) = scratch.get(sent..).filter(|rest| !rest.is_empty()) {
                self.unsent.extend_from_slice(rest);
                self.segment = segment;
                return;
            }
            scratch.clear();
        }
    }

    /// Sends what the socket had no room for; false when there still is none.
    fn flush(&mut self) -> bool {
        if self.unsent.is_empty() {
            return true;
        }
        let unsent = std::mem::take(&mut self.unsent);
        let sent = self.send(&unsent, self.segment);
        self.unsent.extend_from_slice(unsent.get(sent..).unwrap_or_default());
        self.unsent.is_empty()
    }

    /// How many octets were sent, or are as good as sent.
    fn send(&mut self, bytes: &[u8], segment: usize) -> usize {
        match self.socket.send_train(bytes, segment) {
            Ok(sent) => sent,
            Err(error) if would_block(&error) => 0,
            Err(error) => {
                // What cannot be sent is as good as lost on the way: the timer sends it again.
                debug!(client = %self.peer, %error, "cannot send");
                bytes.len()
            }
        }
    }

    /// Whether it is over.
    pub(super) fn is_over(&self) -> bool {
        self.transfer.outcome().is_some() && self.unsent.is_empty() || self.errors >= MAX_ERRORS
    }

    /// Says how it ended.
    pub(super) fn report(&self, now: Instant, counters: &Counters, lines: &Lines) {
        let Self { peer: client, file, transfer, .. } = self;
        let stats = transfer.stats();
        let (bytes, retransmits) = (stats.bytes, stats.retransmitted);
        counters.ended(transfer.outcome(), stats.bytes);
        let lines = match self.stage() {
            Stage::Answered => &lines.silent,
            Stage::Acknowledged => &lines.ended,
        };
        let Some(suppressed) = lines.permit(now) else { return };
        let elapsed = now.saturating_duration_since(self.began).as_millis();
        let ms = u64::try_from(elapsed).unwrap_or(u64::MAX);
        match transfer.outcome() {
            Some(Outcome::Complete) => {
                info!(%client, file, bytes, ms, retransmits, suppressed, "TFTP transfer done");
            }
            Some(Outcome::Unconfirmed) => {
                info!(%client, file, bytes, ms, retransmits, suppressed, "TFTP transfer sent, its end not acknowledged");
            }
            Some(Outcome::Declined) => {
                debug!(%client, file, ms, suppressed, "TFTP transfer declined after its options");
            }
            Some(Outcome::Aborted { code, message }) => {
                let message = printable(message);
                info!(%client, file, bytes, ms, retransmits, code, message, suppressed, "TFTP transfer ended by the client");
            }
            Some(Outcome::TimedOut) => {
                warn!(%client, file, bytes, ms, retransmits, suppressed, "TFTP transfer given up: the client is silent");
            }
            Some(Outcome::Failed(reason)) => {
                warn!(%client, file, bytes, ms, %reason, suppressed, "TFTP transfer failed: cannot read the file");
            }
            None => {
                warn!(%client, file, bytes, ms, suppressed, "TFTP transfer failed: its socket is broken");
            }
        }
    }
}

/// The port that a transfer is to have, and the code point of what it sends.
///
/// # Errors
/// There is no port or no file descriptor left, or no way to the client.
pub(super) fn open_port(local: SocketAddr, peer: SocketAddr, dscp: u8) -> io::Result<PeerSocket> {
    let socket = PeerSocket::open(local, peer)?;
    // A packet of the common kind is better than none.
    if dscp > 0
        && let Err(error) = socket.set_dscp(dscp)
    {
        debug!(%error, dscp, "cannot set the DSCP");
    }
    Ok(socket)
}

/// Sends one datagram from a port of its own, as a transfer's answer would come.
pub(super) fn answer_once(local: SocketAddr, peer: SocketAddr, dscp: u8, packet: &[u8]) {
    let sent = UdpSocket::bind(local).and_then(|socket| {
        socket.set_nonblocking(true)?;
        if dscp > 0 {
            let _ = set_dscp(&socket, dscp);
        }
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

fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// How often a transfer that is muted looks whether it still is.
pub(super) const MUTED_PAUSE: Duration = Duration::from_millis(500);
