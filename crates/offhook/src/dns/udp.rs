//! DNS over UDP.
//!
//! Not hickory-server's loop, because a handler cannot mend what that does before and after it: it answers
//! malformed *responses* with FORMERR, so that two servers can be made to talk to each other for ever; its own
//! FORMERR has neither question nor OPT; a truncated answer keeps octets of the record that did not fit; and its
//! queue of 32 answers drops the rest of a burst.
//!
//! And not one of the runtime's: each socket has a thread that waits in the system call that receives, takes all
//! that has come in, answers it from memory (see [`Direct`]) and sends all answers with one call. What has to wait
//! for somebody else goes to the runtime.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::socket::{Shutdown, shutdown};
use offhook_dns::limit::{Kind, RateLimit, Verdict};
use offhook_dns::{Client, DIRECT_ROOM, Direct, Forward, Outcome, Reply, Transport, Zones};
use offhook_net::Exchanges;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::counters::Tally;
use super::pace::Pace;
use super::service::Service;
use super::told_to_stop;

/// Breathing space after the socket reported an error, so that a lasting one does not take a whole core.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// How long the thread may not notice that it is to stop, where it is not woken for that. An idle one is to sleep.
const PATIENCE: Duration = Duration::from_secs(10);

/// Questions for other servers that the runtime has not taken yet.
const FORWARDS: usize = 256;

/// Serves one socket until told to stop.
///
/// # Errors
/// The socket is of no use any more, or the kernel grants no thread for it.
pub(super) async fn serve(
    service: Arc<Service>,
    socket: Arc<UdpSocket>,
    mut shutdown: watch::Receiver<bool>,
) -> io::Result<()> {
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    if let Err(error) = offhook_net::never_fragment(&socket) {
        debug!(%error, "answers may be fragmented");
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (ask, mut asked) = mpsc::channel(FORWARDS);
    let (ended, mut end) = oneshot::channel();
    let thread = Listener {
        service: Arc::clone(&service),
        socket: Arc::clone(&socket),
        forwards: ask,
        stop: Arc::clone(&stop),
    };
    std::thread::Builder::new().name("dns".into()).spawn(move || {
        // When the listener panics, `ended` is dropped, and that says it.
        let _ = ended.send(thread.run());
    })?;
    let mut forwards = JoinSet::new();
    loop {
        tokio::select! {
            Some((forward, peer)) = asked.recv() => {
                let (service, socket) = (Arc::clone(&service), Arc::clone(&socket));
                forwards.spawn(async move {
                    let reply = service.forward(forward, peer, Transport::Udp).await;
                    send(&socket, &reply, peer);
                });
            }
            Some(_) = forwards.join_next(), if !forwards.is_empty() => {}
            () = told_to_stop(&mut shutdown), if !stop.load(Ordering::Relaxed) => {
                stop.store(true, Ordering::Relaxed);
                wake(&socket);
            }
            result = &mut end => return result.unwrap_or_else(|_| Err(io::Error::other("panicked"))),
        }
    }
}

/// Ends the wait of the thread that receives from the socket: nothing more is received, and what is left to answer is
/// still sent. The kernel says that the socket has no peer, and does it all the same.
fn wake(socket: &UdpSocket) {
    let _ = shutdown(socket.as_raw_fd(), Shutdown::Read);
}

/// What the thread of a socket has.
struct Listener {
    service: Arc<Service>,
    socket: Arc<UdpSocket>,
    forwards: mpsc::Sender<(Forward, SocketAddr)>,
    stop: Arc<AtomicBool>,
}

impl Listener {
    fn run(self) -> io::Result<()> {
        let mut exchanges = Exchanges::new(DIRECT_ROOM);
        let mut direct = Direct::new(rand::random());
        let mut pace = Pace::new();
        let mut tally = Tally::default();
        // Or a wait of 50 µs would be one of 100: the kernel likes to end waits together.
        if let Err(error) = nix::sys::prctl::set_timerslack(1) {
            debug!(%error, "waits are not exact");
        }
        let mut limit = RateLimit::new(0, 0);
        let start = Instant::now();
        while !self.stop.load(Ordering::Relaxed) {
            let received = match exchanges.receive(&self.socket) {
                Ok(received) => received,
                Err(error) => {
                    if offhook_net::recovery(&error) == offhook_net::Recovery::Reopen {
                        warn!(%error, "cannot receive DNS requests");
                    }
                    std::thread::sleep(ERROR_PAUSE);
                    continue;
                }
            };
            // What a socket that is shut gives is no question.
            if received == 0 || self.stop.load(Ordering::Relaxed) {
                continue;
            }
            let zones = self.service.zones();
            let (answers, refusals) = zones.rate_limits();
            limit.set(answers, refusals);
            // Who wants to see every query wants to see all of it.
            let in_detail = tracing::enabled!(tracing::Level::DEBUG);
            direct.look_ahead(&zones, exchanges.requests());
            exchanges.serve(|request, peer, room| {
                tally.received();
                let answered = match in_detail {
                    false => direct.answer(&zones, request, peer.ip(), room),
                    true => None,
                };
                let length = match answered {
                    Some(answered) => {
                        tally.answered(answered.rcode);
                        answered.length
                    }
                    None => self.answer(request, peer, room),
                };
                let client = Client { address: peer.ip(), transport: Transport::Udp };
                let answer = room.get(..length).unwrap_or_default();
                match limited(&mut limit, &zones, client, answer, start) {
                    Verdict::Send => length,
                    Verdict::Truncate => {
                        self.service.limited();
                        let is_refused = !zones.answers(peer.ip());
                        let cut = offhook_dns::limit::truncated(request, client, is_refused);
                        cut.map_or(0, |reply| put(&reply, peer, room))
                    }
                    Verdict::Drop => {
                        self.service.limited();
                        0
                    }
                }
            });
            // Before anybody has an answer and looks whether it was counted.
            tally.publish(self.service.counters());
            exchanges.send(&self.socket, |client, error| {
                debug!(%client, %error, "cannot send an answer");
            });
            if let Some(wait) = pace.after(received, Instant::now) {
                std::thread::sleep(wait);
            }
        }
        Ok(())
    }

    /// What the direct path does not answer; returns how many octets of `room` are to be sent.
    fn answer(&self, request: &[u8], peer: SocketAddr, room: &mut [u8]) -> usize {
        match self.service.decide(request, peer, Transport::Udp) {
            // Zones go over TCP only.
            Outcome::Ignore(_) | Outcome::Transfer(_) => 0,
            Outcome::Reply(reply) => put(&reply, peer, room),
            Outcome::Forward(forward) => match self.forwards.try_send((forward, peer)) {
                Ok(()) => 0,
                Err(refused) => put(&self.service.overloaded(refused.into_inner().0), peer, room),
            },
        }
    }
}

/// What is to become of an answer.
fn limited(
    limit: &mut RateLimit,
    zones: &Zones,
    client: Client,
    answer: &[u8],
    start: Instant,
) -> Verdict {
    const REFUSED: u8 = 5;
    let (Some(flags), Some(count)) = (answer.get(3), answer.get(6..8)) else {
        return Verdict::Send;
    };
    let rcode = flags & 0x0f;
    let is_refused = rcode == REFUSED && !zones.answers(client.address);
    if !limit.counts(is_refused) {
        return Verdict::Send;
    }
    let answers = count.try_into().map_or(0, u16::from_be_bytes);
    limit.pass(start.elapsed(), client, Kind::of(rcode, answers), is_refused)
}

/// Writes a reply into `room`, and says how long it is.
fn put(reply: &Reply, client: SocketAddr, room: &mut [u8]) -> usize {
    let wire = encode(reply, client);
    match room.get_mut(..wire.len()) {
        Some(place) => {
            place.copy_from_slice(&wire);
            wire.len()
        }
        None => 0,
    }
}

/// Empty when it cannot be encoded.
fn encode(reply: &Reply, client: SocketAddr) -> Vec<u8> {
    reply.encode().unwrap_or_else(|error| {
        warn!(%client, %error, "cannot encode an answer");
        Vec::new()
    })
}

/// Sends a reply by itself, from the runtime.
fn send(socket: &UdpSocket, reply: &Reply, client: SocketAddr) {
    let wire = encode(reply, client);
    if wire.is_empty() {
        return;
    }
    // Lost answers are asked for again; what was wrong with the way to this client is not for the log's top.
    if let Err(error) = offhook_net::send_now(socket, &wire, client) {
        debug!(%client, %error, "cannot send an answer");
    }
}
