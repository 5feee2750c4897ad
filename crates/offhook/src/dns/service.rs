//! What both protocols share: the zones, the upstreams, the log.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use hickory_proto::op::OpCode;
use hickory_proto::rr::RecordType;
use offhook_dns::{Client, Forward, Outcome, Reply, Transport, Zones, answer};
use offhook_model::Dns;
use tokio::sync::Semaphore;
use tracing::{debug, info};

use super::connections::{Bounds, Connections};
use super::forward::Forwarder;
use super::publish::Publisher;
use super::{Count, Counters};
use crate::log::Throttle;

/// Log lines about refused updates, at most so many a second.
const UPDATE_LINES: u32 = 5;

/// The same about questions of clients that are not answered.
const DENIAL_LINES: u32 = 1;

/// Zones on their way to secondaries at one time: each is a list of all names while it lasts.
const TRANSFERS: usize = 4;

/// Answers requests, whatever they came over.
#[derive(Debug)]
pub(super) struct Service {
    zones: Arc<Publisher>,
    forwarder: Forwarder,
    connections: Connections,
    counters: Arc<Counters>,
    updates: Mutex<Throttle>,
    denials: Mutex<Throttle>,
    transfers: Semaphore,
}

impl Service {
    /// Must be called inside the runtime.
    pub(super) fn new(zones: Arc<Publisher>, dns: &Dns) -> Self {
        let counters = Arc::new(Counters::default());
        Self {
            forwarder: Forwarder::new(Arc::clone(&zones), &dns.cache, Arc::clone(&counters)),
            connections: Connections::new(Bounds::default()),
            zones,
            counters,
            updates: Mutex::new(Throttle::new(UPDATE_LINES)),
            denials: Mutex::new(Throttle::new(DENIAL_LINES)),
            transfers: Semaphore::new(TRANSFERS),
        }
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What is served at this moment.
    pub(super) fn zones(&self) -> arc_swap::Guard<Arc<Zones>> {
        self.zones.current()
    }

    /// The same with other bounds for TCP connections.
    #[cfg(test)]
    pub(super) fn bounded(mut self, bounds: Bounds) -> Self {
        self.connections = Connections::new(bounds);
        self
    }

    pub(super) fn connections(&self) -> &Connections {
        &self.connections
    }

    /// A permit for each zone on its way.
    pub(super) fn transfers(&self) -> &Semaphore {
        &self.transfers
    }

    pub(super) fn forwarder(&self) -> &Forwarder {
        &self.forwarder
    }

    /// What to do with a request from `peer`. Never waits.
    pub(super) fn decide(&self, packet: &[u8], peer: SocketAddr, transport: Transport) -> Outcome {
        if transport == Transport::Tcp {
            // A thread of UDP counts for itself.
            self.counters.count(Count::Received);
        }
        let client = Client { address: peer.ip(), transport };
        let zones = self.zones.current();
        let mut outcome = answer(&zones, packet, client, &mut rand::rng());
        if let Outcome::Forward(forward) = outcome {
            self.counters.count(Count::Forwarded);
            outcome = self.forwarder.recall(forward, client);
        }
        match &outcome {
            Outcome::Reply(reply) if !zones.answers(peer.ip()) => self.denied(reply, peer),
            Outcome::Reply(reply) => self.log(reply, peer, transport),
            Outcome::Ignore(reason) => {
                self.counters.count(Count::Ignored);
                debug!(client = %peer, %reason, "ignored");
            }
            Outcome::Forward(_) | Outcome::Transfer(_) => {}
        }
        outcome
    }

    /// Asks the upstreams, and says what the client is to be sent.
    pub(super) async fn forward(
        &self,
        forward: Forward,
        peer: SocketAddr,
        transport: Transport,
    ) -> Reply {
        let client = Client { address: peer.ip(), transport };
        let reply = self.forwarder.ask(forward, client).await;
        self.log(&reply, peer, transport);
        reply
    }

    /// What the client is to be sent when there is no room for its question any more.
    pub(super) fn overloaded(&self, forward: Forward) -> Reply {
        self.counters.count(Count::ForwardOverloaded);
        self.counters.count(Count::ServFail);
        forward.overloaded()
    }

    /// A whole zone is sent to a secondary, or as much of it as it took.
    pub(super) fn transferred(&self, zone: &str, serial: u32, messages: usize, peer: SocketAddr) {
        self.counters.count(Count::Transfer);
        info!(secondary = %peer, zone, serial, messages, "zone transferred");
    }

    /// An answer is not sent, or not all of it.
    pub(super) fn limited(&self) {
        self.counters.count(Count::RateLimited);
    }

    fn denied(&self, reply: &Reply, peer: SocketAddr) {
        self.counters.count(Count::Denied);
        self.counters.count(Count::of_rcode(reply.metadata.response_code.into()));
        let pass = self.denials.lock().unwrap_or_else(PoisonError::into_inner).pass();
        if let Some(suppressed) = pass {
            let name =
                reply.question.as_ref().map(|question| tracing::field::display(&question.name));
            info!(client = %peer, name, suppressed, "refused: the client is in no network that is answered");
        }
    }

    fn log(&self, reply: &Reply, peer: SocketAddr, transport: Transport) {
        self.counters.count(Count::of_rcode(reply.metadata.response_code.into()));
        let Some(question) = &reply.question else {
            debug!(client = %peer, ?transport, rcode = ?reply.metadata.response_code, "no question");
            return;
        };
        let name = &question.name;
        if reply.metadata.op_code == OpCode::Update {
            let pass = self.updates.lock().unwrap_or_else(PoisonError::into_inner).pass();
            if let Some(suppressed) = pass {
                info!(client = %peer, zone = %name, suppressed, "dynamic update refused");
            }
            return;
        }
        debug!(
            client = %peer,
            ?transport,
            %name,
            qtype = %RecordType::from(question.qtype),
            rcode = ?reply.metadata.response_code,
            answers = reply.answers.len(),
            authoritative = reply.metadata.authoritative,
            "query"
        );
    }
}
