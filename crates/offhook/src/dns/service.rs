//! What both protocols share: the zones, the upstreams, the log.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use hickory_proto::op::OpCode;
use hickory_proto::rr::RecordType;
use offhook_dns::{Client, Forward, Outcome, Reply, Transport, Zones, answer};
use offhook_model::DnsCache;
use tracing::{debug, info};

use super::connections::{Bounds, Connections};
use super::forward::Forwarder;
use super::publish::Publisher;
use super::{Count, Counters};
use crate::log::Throttle;

/// Log lines about refused updates, at most so many a second.
const UPDATE_LINES: u32 = 5;

/// Answers requests, whatever they came over.
#[derive(Debug)]
pub(super) struct Service {
    zones: Arc<Publisher>,
    forwarder: Forwarder,
    connections: Connections,
    counters: Arc<Counters>,
    updates: Mutex<Throttle>,
}

impl Service {
    /// Must be called inside the runtime.
    pub(super) fn new(zones: Arc<Publisher>, cache: &DnsCache) -> Self {
        let counters = Arc::new(Counters::new());
        Self {
            forwarder: Forwarder::new(Arc::clone(&zones), cache, Arc::clone(&counters)),
            connections: Connections::new(Bounds::default()),
            zones,
            counters,
            updates: Mutex::new(Throttle::new(UPDATE_LINES)),
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
        let mut outcome = answer(&self.zones.current(), packet, client, &mut rand::rng());
        if let Outcome::Forward(forward) = outcome {
            self.counters.count(Count::Forwarded);
            outcome = self.forwarder.recall(forward, client);
        }
        match &outcome {
            Outcome::Reply(reply) => self.log(reply, peer, transport),
            Outcome::Ignore(reason) => {
                self.counters.count(Count::Ignored);
                debug!(client = %peer, %reason, "ignored");
            }
            Outcome::Forward(_) => {}
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
