//! One log line for each thing that happened to a client, whatever thread it happened on.

use std::fmt::{self, Display};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::slice::EscapeAscii;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use offhook_dhcp::{MessageType, NoReply, Reply, Trace};
use offhook_model::{HardwareAddress, Lease, Mac, Site};
use offhook_store::CommitError;
use tracing::{Level, enabled, error, info, warn};

use super::counters::{Count, Counters};
use super::ports::Ports;
use crate::log::Throttle;

/// Lines a second for what anybody on the wire can cause at will.
const STRANGERS: u32 = 20;
/// Lines a second for offers and what else costs the asker nothing.
const OFFERS: u32 = 200;
/// Lines a second for leases that were granted, given back or declined, and how many at once: all of an office that
/// boots, but not all of what somebody can make of an address by taking it and giving it back without end.
const LEASES: u32 = 200;
const LEASES_AT_ONCE: u32 = 20_000;
/// Lines a second for each thing that is wrong with this machine.
const TROUBLE: u32 = 1;

/// The line of a reply.
macro_rules! told {
    ($event:literal, $client:ident, $reason:ident, $interface:ident, $unsaid:expr) => {
        info!(
            mac = %$client.mac, ip = %$client.ip, scope = $client.scope, family = $client.family,
            known_by = $client.known_by, reason = $reason, host = %$client.host,
            relay = %$client.relay, interface = $interface, unsaid = $unsaid, $event
        )
    };
}

/// Writes the DHCP server's log lines.
#[derive(Debug)]
pub(super) struct Journal {
    /// What scopes and families are called; another one after a reload.
    site: ArcSwap<Site>,
    counters: Arc<Counters>,
    offers: Mutex<Throttle>,
    leases: Mutex<Throttle>,
    refusals: Mutex<Throttle>,
    silence: Mutex<Throttle>,
    malformed: Mutex<Throttle>,
    proxies: Mutex<Throttle>,
    /// Each by itself: what happens all the time is not to hide that leases cannot be written.
    commits: Mutex<Throttle>,
    overload: Mutex<Throttle>,
    sockets: Mutex<Throttle>,
}

impl Journal {
    pub(super) fn new(site: Arc<Site>, counters: Arc<Counters>) -> Self {
        let throttle = |per_second| Mutex::new(Throttle::new(per_second));
        Self {
            site: ArcSwap::new(site),
            counters,
            offers: throttle(OFFERS),
            leases: Mutex::new(Throttle::with_burst(LEASES, LEASES_AT_ONCE)),
            refusals: throttle(STRANGERS),
            silence: throttle(STRANGERS),
            malformed: throttle(STRANGERS),
            proxies: throttle(STRANGERS),
            commits: throttle(TROUBLE),
            overload: throttle(TROUBLE),
            sockets: throttle(TROUBLE),
        }
    }

    /// Goes by another configuration from now on.
    pub(super) fn set_site(&self, site: Arc<Site>) {
        self.site.store(site);
    }

    /// A reply was sent.
    pub(super) fn answered(&self, trace: &Trace, reply: &Reply, ports: &Ports, link: usize) {
        let interface = ports.interface(link);
        self.counters.count(match (reply.message, trace.message) {
            (MessageType::Offer, _) => Count::Offer,
            (MessageType::Nak, _) => Count::Nak,
            (_, Some(MessageType::Inform)) => Count::Inform,
            _ => Count::Ack,
        });
        if !enabled!(Level::INFO) && trace.dropped.is_empty() {
            return;
        }
        let Some(unsaid) = pass(self.throttle(reply.message, trace.message)) else { return };
        let unsaid = if_any(unsaid);
        let site = self.site.load();
        let client = client(&site, trace);
        if !trace.dropped.is_empty() {
            let options = &trace.dropped;
            warn!(mac = %client.mac, ?options, "the client takes no message long enough for these options");
        }
        // What the client was about, or why it was refused.
        let reason = trace.refusal.or(trace.reason).unwrap_or("-");
        match (reply.message, trace.message) {
            (MessageType::Offer, _) => told!("offer", client, reason, interface, unsaid),
            (MessageType::Nak, _) => told!("nak", client, reason, interface, unsaid),
            (_, Some(MessageType::Inform)) => told!("inform", client, reason, interface, unsaid),
            _ => told!("ack", client, reason, interface, unsaid),
        }
    }

    /// What bounds the lines of such a reply to such a message.
    fn throttle(&self, reply: MessageType, message: Option<MessageType>) -> &Mutex<Throttle> {
        match (reply, message) {
            (MessageType::Nak, _) => &self.refusals,
            (MessageType::Offer, _) | (_, Some(MessageType::Inform)) => &self.offers,
            _ => &self.leases,
        }
    }

    /// A RELEASE or DECLINE is durable.
    pub(super) fn taken(&self, trace: &Trace, ports: &Ports, link: Option<usize>) {
        let interface = link.map_or("-", |link| ports.interface(link));
        let site = self.site.load();
        let client = client(&site, trace);
        self.counters.count(match trace.message {
            Some(MessageType::Decline) => Count::Decline,
            _ => Count::Release,
        });
        let Some(unsaid) = pass(&self.leases) else { return };
        let unsaid = if_any(unsaid);
        match trace.message {
            Some(MessageType::Decline) => warn!(
                mac = %client.mac, ip = %client.ip, scope = client.scope, family = client.family, interface,
                reason = "somebody else uses the address: it is withheld", unsaid, "decline"
            ),
            _ => info!(
                mac = %client.mac, ip = %client.ip, scope = client.scope, family = client.family, interface,
                unsaid, "release"
            ),
        }
    }

    /// The administrator gave a lease back, or ended the withholding of an address; that is durable.
    pub(super) fn released(&self, lease: &Lease) {
        self.counters.count(Count::ReleasedByHand);
        info!(
            mac = %lease.hardware, ip = %lease.address, scope = %lease.scope,
            family = lease.class.as_deref().unwrap_or("-"), reason = "by the administrator", "release"
        );
    }

    /// There is no reply, for this reason.
    pub(super) fn silent(
        &self,
        trace: &Trace,
        reason: NoReply,
        ports: &Ports,
        link: usize,
        source: SocketAddrV4,
    ) {
        let interface = ports.interface(link);
        let site = self.site.load();
        let client = client(&site, trace);
        self.counters.silent(reason);
        match trace.message {
            Some(message) => {
                let Some(unsaid) = pass(&self.silence) else { return };
                let reason = reason.as_str();
                info!(
                    mac = %client.mac, ip = %client.ip, scope = client.scope, family = client.family, reason,
                    request = ?message, relay = %client.relay, interface, unsaid, "silent"
                );
            }
            // Too many are not even looked into.
            None if reason == NoReply::RateLimited => {
                let Some(unsaid) = pass(&self.silence) else { return };
                info!(%source, mac = %client.mac, reason = reason.as_str(), interface, unsaid, "silent");
            }
            None => {
                let Some(unsaid) = pass(&self.malformed) else { return };
                let reason = reason.as_str();
                warn!(%source, mac = %client.mac, reason, interface, unsaid, "not a DHCP message");
            }
        }
    }

    /// A machine is not believed any more about who uses an address.
    pub(super) fn proxy(&self, by: Mac) {
        if let Some(unsaid) = pass(&self.proxies) {
            warn!(
                mac = %by, unsaid,
                hint = "turn local proxy ARP off there, or `probe` in this scope, and give back what was withheld for it: \
                        offhook leases release",
                "a machine answers for more addresses than it can have: no more are withheld for it"
            );
        }
    }

    /// A batch is durable.
    pub(super) fn committed(&self) {
        self.counters.committed();
    }

    /// A batch could not be made durable: none of it was acknowledged.
    pub(super) fn commit_failed(&self, error: &CommitError, unanswered: usize) {
        // While the store rests after a failure, the failure is what there is to know.
        let news = !matches!(error, CommitError::Resting { .. });
        self.counters.commit_failed(news.then(|| error.to_string()), unanswered as u64);
        if let Some(unsaid) = pass(&self.commits) {
            error!(
                %error, unanswered, unsaid,
                "leases cannot be written: no lease is offered or acknowledged until they can"
            );
        }
    }

    /// More waits for the disk than may.
    pub(super) fn overloaded(&self) {
        self.counters.count(Count::Overloaded);
        if let Some(unsaid) = pass(&self.overload) {
            error!(unsaid, "too many leases wait for the disk: requests go unanswered");
        }
    }

    /// More DISCOVERs came than could be served.
    pub(super) fn shed(&self, discovers: u64) {
        self.counters.add(Count::Shed, discovers);
        if let Some(unsaid) = pass(&self.overload) {
            warn!(
                discovers,
                unsaid, "more clients ask than can be served: the newest have to ask again"
            );
        }
    }

    /// A socket does not receive.
    pub(super) fn receive_failed(&self, error: &io::Error) {
        self.counters.count(Count::ReceiveFailed);
        if let Some(unsaid) = pass(&self.sockets) {
            error!(%error, unsaid, "a DHCP socket does not receive");
        }
    }

    /// A reply could not be sent.
    pub(super) fn send_failed(&self, error: &io::Error, reply: &Reply, interface: &str) {
        self.counters.count(Count::SendFailed);
        if let Some(unsaid) = pass(&self.sockets) {
            warn!(%error, to = ?reply.to, interface, unsaid, "a DHCP reply could not be sent");
        }
    }
}

fn client<'a>(site: &'a Site, trace: &'a Trace) -> Client<'a> {
    let scope = trace.scope.and_then(|id| site.scope(id));
    let class = trace.class.and_then(|id| site.class(id));
    Client {
        mac: Known(trace.hardware),
        ip: Known(trace.address),
        scope: scope.map_or("-", |scope| scope.name.as_str()),
        family: class.map_or("-", |class| class.name.as_str()),
        known_by: trace.recognition.map_or("-", |by| by.as_str()),
        host: Known(trace.host_name.as_deref().map(<[u8]>::escape_ascii)),
        relay: Known(trace.relay),
    }
}

/// The fields every line has.
struct Client<'a> {
    mac: Known<HardwareAddress>,
    ip: Known<Ipv4Addr>,
    scope: &'a str,
    family: &'a str,
    known_by: &'static str,
    host: Known<EscapeAscii<'a>>,
    relay: Known<Ipv4Addr>,
}

/// `-` where nothing is known.
struct Known<T>(Option<T>);

impl<T: Display> Display for Known<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("-"),
        }
    }
}

fn pass(throttle: &Mutex<Throttle>) -> Option<u64> {
    throttle.lock().unwrap_or_else(PoisonError::into_inner).pass()
}

/// What is none is not said in the lines of each and every lease.
fn if_any(unsaid: u64) -> Option<u64> {
    Some(unsaid).filter(|unsaid| *unsaid > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_reply_is_a_bounded_number_of_lines_and_an_office_that_boots_is_all_told() {
        let lab = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/lab.toml");
        let site = offhook_config::load(std::path::Path::new(lab)).site.unwrap();
        let journal = Journal::new(Arc::new(site), Arc::default());
        let told = |reply, message| {
            (0..50_000).filter(|_| pass(journal.throttle(reply, Some(message))).is_some()).count()
        };
        // A few seconds may go by meanwhile.
        let most = |least: usize| least..least + 2_000;
        assert!(most(20_000).contains(&told(MessageType::Ack, MessageType::Request)));
        assert!(most(200).contains(&told(MessageType::Offer, MessageType::Discover)));
        assert!(most(20).contains(&told(MessageType::Nak, MessageType::Request)));
        assert!(most(0).contains(&told(MessageType::Ack, MessageType::Inform)), "as offers");
        // What an overload says hides no failure of the disk.
        (0..10).for_each(|_| journal.overloaded());
        (0..10).for_each(|_| journal.shed(1));
        journal.receive_failed(&io::Error::other("gone"));
        assert_eq!(pass(&journal.commits), Some(0));
    }
}
