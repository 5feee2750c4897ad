//! DNS over TCP (RFC 7766).
//!
//! Not hickory-server's connections: those answer one question at a time, so that one for a slow upstream holds up
//! what was sent after it; forget what is still to be sent when the client closes its half; answer a malformed
//! *response*; and there may be any number of them.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::sync::Arc;
use std::time::Duration;

use offhook_dns::{Outcome, Transfer, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use super::connections::{Bounds, Connection};
use super::service::Service;
use super::{Count, told_to_stop};
use crate::log::Throttle;

/// Questions of one connection that may wait for upstreams; until there is an answer, no more are read.
const WAITING: usize = 64;

/// Answers are gathered up to this size before they are sent, octets.
const GATHER: usize = 16 << 10;

/// What a message may take with its length, octets.
const LARGEST: usize = 2 + u16::MAX as usize;

/// Breathing space after a connection could not be accepted for want of something that others have.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// Serves one listener until told to stop.
///
/// # Errors
/// The listener could not be handed to the runtime, or is of no use any more.
pub(super) async fn serve(
    service: Arc<Service>,
    listener: Arc<StdTcpListener>,
    mut shutdown: watch::Receiver<bool>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener.try_clone()?)?;
    let mut connections = JoinSet::new();
    let mut lines = Throttle::new(1);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            // What remains is dropped, and closed with that.
            () = told_to_stop(&mut shutdown) => return Ok(()),
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            // Gone before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                if let Some(suppressed) = lines.pass() {
                    warn!(%error, suppressed, "cannot accept DNS connections");
                }
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        let connection = service.connections().open(peer.ip(), service.counters());
        let service = Arc::clone(&service);
        connections.spawn(async move {
            let mut displaced = connection.displaced();
            let mut client = Client::new(service, stream, peer, connection);
            let ended = tokio::select! {
                ended = client.serve() => ended,
                () = displaced.wait() => Ok(()),
            };
            if let Err(error) = ended {
                debug!(client = %peer, %error, "a DNS connection ended early");
            }
        });
    }
}

/// One connection.
struct Client {
    service: Arc<Service>,
    stream: TcpStream,
    peer: SocketAddr,
    place: Connection,
    /// Octets that were received and are not yet a whole request.
    received: Vec<u8>,
    /// Answers to be sent, each with its length.
    answers: Vec<u8>,
    /// Answers that are waited for; they are sent as they come, in whatever order (RFC 7766 section 7).
    forwards: JoinSet<Option<Vec<u8>>>,
}

impl Client {
    fn new(service: Arc<Service>, stream: TcpStream, peer: SocketAddr, place: Connection) -> Self {
        // An answer is to leave when it is there.
        let _ = stream.set_nodelay(true);
        Self {
            service,
            stream,
            peer,
            place,
            received: Vec::new(),
            answers: Vec::new(),
            forwards: JoinSet::new(),
        }
    }

    /// Answers until the client is done, or says nothing any more.
    async fn serve(&mut self) -> io::Result<()> {
        let Bounds { idle, stalled, .. } = self.service.connections().bounds;
        let mut until = Instant::now() + idle;
        let mut is_open = true;
        while is_open || !self.forwards.is_empty() {
            let may_read = is_open && self.forwards.len() < WAITING;
            tokio::select! {
                read = read_more(&mut self.stream, &mut self.received), if may_read => {
                    is_open = read? > 0;
                    if self.answer_whole_requests().await? {
                        until = Instant::now() + idle;
                        self.place.is_used();
                    }
                }
                Some(answer) = self.forwards.join_next(), if !self.forwards.is_empty() => {
                    if let Ok(Some(answer)) = answer {
                        self.push(&answer);
                    }
                    self.flush().await?;
                    // Requests that were held back may be there in whole.
                    self.answer_whole_requests().await?;
                    until = Instant::now() + idle;
                }
                () = tokio::time::sleep_until(until), if self.forwards.is_empty() => break,
            }
        }
        let _ = timeout(stalled, self.stream.shutdown()).await;
        Ok(())
    }

    /// Takes every request that is there in whole, as far as answers may be waited for; whether there was one.
    async fn answer_whole_requests(&mut self) -> io::Result<bool> {
        let mut taken = 0;
        let mut any = false;
        while self.forwards.len() < WAITING {
            let rest = self.received.get(taken..).unwrap_or_default();
            let Some((length, rest)) = rest.split_first_chunk::<2>() else { break };
            let Some(request) = rest.get(..usize::from(u16::from_be_bytes(*length))) else { break };
            taken += 2 + request.len();
            match self.service.decide(request, self.peer, Transport::Tcp) {
                // Neither keeps the connection open: what is empty, too short or a response is no request.
                Outcome::Ignore(_) => {}
                Outcome::Reply(reply) => {
                    any = true;
                    if let Some(answer) = encoded(&reply, self.peer) {
                        self.push(&answer);
                    }
                }
                Outcome::Transfer(transfer) => {
                    any = true;
                    self.transfer(*transfer).await?;
                }
                Outcome::Forward(forward) => {
                    any = true;
                    let (service, peer) = (Arc::clone(&self.service), self.peer);
                    self.forwards.spawn(async move {
                        let reply = service.forward(forward, peer, Transport::Tcp).await;
                        encoded(&reply, peer)
                    });
                }
            }
            if self.answers.len() >= GATHER {
                self.flush().await?;
            }
        }
        self.received.drain(..taken);
        self.flush().await?;
        Ok(any)
    }

    /// Sends a whole zone, a message at a time.
    async fn transfer(&mut self, transfer: Transfer) -> io::Result<()> {
        let service = Arc::clone(&self.service);
        let Ok(_permit) = service.transfers().try_acquire() else {
            if let Some(answer) = encoded(&transfer.failed(), self.peer) {
                self.push(&answer);
            }
            return Ok(());
        };
        let (zone, serial) = (transfer.zone(), transfer.serial());
        let mut messages = 0;
        for message in transfer {
            self.push(&message);
            self.flush().await?;
            messages += 1;
        }
        service.transferred(&zone, serial, messages, self.peer);
        Ok(())
    }

    /// Puts one message in line. An answer of several messages is several of these, with a [`flush`](Self::flush)
    /// after each, so that no more than one of them is in memory.
    fn push(&mut self, message: &[u8]) {
        // No answer is longer: that is the limit it was encoded with.
        let Ok(length) = u16::try_from(message.len()) else { return };
        self.answers.extend_from_slice(&length.to_be_bytes());
        self.answers.extend_from_slice(message);
    }

    /// Sends what is in line. While the client takes nothing, nothing is read from it.
    async fn flush(&mut self) -> io::Result<()> {
        let stalled = self.service.connections().bounds.stalled;
        let mut answers = self.answers.as_slice();
        while !answers.is_empty() {
            let Ok(written) = timeout(stalled, self.stream.write(answers)).await else {
                self.service.counters().count(Count::TcpStalled);
                return Err(io::ErrorKind::TimedOut.into());
            };
            let written = written?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            answers = answers.get(written..).unwrap_or_default();
        }
        self.answers.clear();
        // A client that asked for much once is not held against us for ever.
        self.answers.shrink_to(GATHER);
        Ok(())
    }
}

/// Reads what there is, never more than one request beyond what is there in whole; 0 at the end.
async fn read_more(stream: &mut TcpStream, received: &mut Vec<u8>) -> io::Result<usize> {
    let room = LARGEST.saturating_sub(received.len()).min(GATHER);
    received.reserve(room);
    let mut limited = stream.take(room as u64);
    limited.read_buf(received).await
}

fn encoded(reply: &offhook_dns::Reply, peer: SocketAddr) -> Option<Vec<u8>> {
    match reply.encode() {
        Ok(wire) => Some(wire),
        Err(error) => {
            warn!(client = %peer, %error, "cannot encode an answer");
            None
        }
    }
}
