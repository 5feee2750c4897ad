//! DNS over UDP.
//!
//! Not hickory-server's loop, because a handler cannot mend what that does before and after it: it answers
//! malformed *responses* with FORMERR, so that two servers can be made to talk to each other for ever; its own
//! FORMERR has neither question nor OPT; a truncated answer keeps octets of the record that did not fit; and its
//! queue of 32 answers drops the rest of a burst. A loop this short is also where a faster one will go.

use std::io;
use std::net::{SocketAddr, UdpSocket as StdUdpSocket};
use std::sync::Arc;
use std::time::Duration;

use offhook_dns::{Outcome, Reply, Transport};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::service::Service;
use super::told_to_stop;

/// The largest UDP payload there is: a request that would not fit would be read as a malformed one.
const LARGEST: usize = 65_535;

/// Breathing space after the socket reported an error, so that a lasting one does not take a whole core.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// Serves one socket until told to stop.
///
/// # Errors
/// The socket could not be handed to the runtime, or is of no use any more.
pub(super) async fn serve(
    service: Arc<Service>,
    socket: Arc<StdUdpSocket>,
    mut shutdown: watch::Receiver<bool>,
) -> io::Result<()> {
    let socket = Arc::new(UdpSocket::from_std(socket.try_clone()?)?);
    let mut forwards = JoinSet::new();
    let mut buffer = vec![0; LARGEST];
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            Some(_) = forwards.join_next(), if !forwards.is_empty() => continue,
            () = told_to_stop(&mut shutdown) => return Ok(()),
        };
        let (packet, peer) = match received {
            Ok((length, peer)) => (buffer.get(..length).unwrap_or_default(), peer),
            Err(error) => {
                if offhook_net::recovery(&error) == offhook_net::Recovery::Reopen {
                    warn!(%error, "cannot receive DNS requests");
                }
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        match service.decide(packet, peer, Transport::Udp) {
            Outcome::Ignore(_) => {}
            Outcome::Reply(reply) => send(&socket, &reply, peer).await,
            Outcome::Forward(forward) => {
                let (service, socket) = (Arc::clone(&service), Arc::clone(&socket));
                forwards.spawn(async move {
                    let reply = service.forward(forward, peer, Transport::Udp).await;
                    send(&socket, &reply, peer).await;
                });
            }
        }
    }
}

async fn send(socket: &UdpSocket, reply: &Reply, peer: SocketAddr) {
    let wire = match reply.encode() {
        Ok(wire) => wire,
        Err(error) => {
            warn!(client = %peer, %error, "cannot encode an answer");
            return;
        }
    };
    // Lost answers are asked for again; what was wrong with the way to this client is not for the log's top.
    if let Err(error) = socket.send_to(&wire, peer).await {
        debug!(client = %peer, %error, "cannot send an answer");
    }
}
