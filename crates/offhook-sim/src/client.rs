//! One DHCP exchange of a client (RFC 2131, 4.4): from DISCOVER, INFORM or a renewing REQUEST to its answer.

use std::net::Ipv4Addr;
use std::time::Duration;

use offhook_model::{Mac, Time};

use crate::request::Request;
use crate::rng::Rng;
use crate::{DhcpFailure, Family, MessageKind, Reply, Stage, Timing, UserClass};

/// More servers than this on one link are not waited for.
const MAX_OFFERS: usize = 8;
/// How often a client that is refused begins again.
const MAX_NAKS: u32 = 2;

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) payload: Vec<u8>,
}

/// What an event led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Wait,
    Send(Packet),
    /// As `Send`, because no answer came.
    Resend(Packet),
    Answered(Reply),
    Failed(DhcpFailure),
}

#[derive(Clone, Debug)]
enum Phase {
    Discover { offers: Vec<Reply> },
    Request { offer: Reply, server: Ipv4Addr },
    Inform { address: Ipv4Addr },
    Renew { address: Ipv4Addr, server: Ipv4Addr },
}

#[derive(Clone, Debug)]
pub(crate) struct Client {
    family: &'static Family,
    mac: Mac,
    stage: Stage,
    timing: Timing,
    xid: u32,
    started: Time,
    phase: Phase,
    /// Times the current message was sent.
    sent: u32,
    naks: u32,
    deadline: Time,
}

impl Client {
    /// An exchange that begins with DISCOVER.
    pub(crate) fn discover(
        family: &'static Family,
        mac: Mac,
        stage: Stage,
        timing: Timing,
        now: Time,
        rng: &mut Rng,
    ) -> (Self, Packet) {
        Self::begin(family, mac, stage, timing, Phase::Discover { offers: Vec::new() }, now, rng)
    }

    /// An exchange of one DHCPINFORM, from an address somebody else leased.
    pub(crate) fn inform(
        family: &'static Family,
        mac: Mac,
        stage: Stage,
        timing: Timing,
        address: Ipv4Addr,
        now: Time,
        rng: &mut Rng,
    ) -> (Self, Packet) {
        Self::begin(family, mac, stage, timing, Phase::Inform { address }, now, rng)
    }

    /// A REQUEST for the lease one has, straight to the server that gave it.
    pub(crate) fn renew(
        family: &'static Family,
        mac: Mac,
        stage: Stage,
        timing: Timing,
        (address, server): (Ipv4Addr, Ipv4Addr),
        now: Time,
        rng: &mut Rng,
    ) -> (Self, Packet) {
        Self::begin(family, mac, stage, timing, Phase::Renew { address, server }, now, rng)
    }

    fn begin(
        family: &'static Family,
        mac: Mac,
        stage: Stage,
        timing: Timing,
        phase: Phase,
        now: Time,
        rng: &mut Rng,
    ) -> (Self, Packet) {
        let xid = rng.u32();
        let mut client = Self {
            family,
            mac,
            stage,
            timing,
            xid,
            started: now,
            phase,
            sent: 0,
            naks: 0,
            deadline: now,
        };
        let packet = client.transmit(now, rng);
        (client, packet)
    }

    /// When [`Client::on_timeout`] is due.
    pub(crate) fn deadline(&self) -> Time {
        self.deadline
    }

    /// When the exchange began.
    pub(crate) fn started(&self) -> Time {
        self.started
    }

    pub(crate) fn on_timeout(&mut self, now: Time, rng: &mut Rng) -> Progress {
        if let Phase::Discover { offers } = &mut self.phase
            && !offers.is_empty()
        {
            let offers = std::mem::take(offers);
            return self.choose(offers, now, rng);
        }
        if self.sent < self.timing.dhcp_attempts {
            return Progress::Resend(self.transmit(now, rng));
        }
        Progress::Failed(match &self.phase {
            Phase::Discover { .. } => DhcpFailure::NoOffer(self.sent),
            Phase::Request { .. } | Phase::Renew { .. } => DhcpFailure::NoAck,
            Phase::Inform { .. } => DhcpFailure::NoAnswer,
        })
    }

    pub(crate) fn on_reply(&mut self, reply: Reply, now: Time, rng: &mut Rng) -> Progress {
        if reply.xid != self.xid || reply.mac != Some(self.mac) {
            return Progress::Wait;
        }
        match (&mut self.phase, reply.kind) {
            (Phase::Discover { offers }, MessageKind::Offer) => {
                // An offer that names no server or no address cannot be taken up.
                if server_of(&reply).is_none() || reply.yiaddr.is_unspecified() {
                    return Progress::Wait;
                }
                if self.family.offer_wait == 0 {
                    return self.choose(vec![reply], now, rng);
                }
                if offers.is_empty() {
                    self.deadline = now + Duration::from_millis(self.family.offer_wait);
                }
                if offers.len() < MAX_OFFERS {
                    offers.push(reply);
                }
                Progress::Wait
            }
            (Phase::Request { server, .. }, MessageKind::Ack)
                if server_of(&reply) == Some(*server) && !reply.yiaddr.is_unspecified() =>
            {
                Progress::Answered(reply)
            }
            (Phase::Request { .. }, MessageKind::Nak) => {
                self.naks += 1;
                if self.naks > MAX_NAKS {
                    return Progress::Failed(DhcpFailure::Refused);
                }
                self.phase = Phase::Discover { offers: Vec::new() };
                self.sent = 0;
                self.xid = rng.u32();
                Progress::Send(self.transmit(now, rng))
            }
            (Phase::Inform { .. }, MessageKind::Ack)
            | (Phase::Renew { .. }, MessageKind::Ack | MessageKind::Nak) => {
                Progress::Answered(reply)
            }
            _ => Progress::Wait,
        }
    }

    /// Takes the first offer that says where the configuration is, else the first.
    fn choose(&mut self, mut offers: Vec<Reply>, now: Time, rng: &mut Rng) -> Progress {
        let best = offers.iter().position(|offer| offer.options.contains(160)).unwrap_or(0);
        if best >= offers.len() {
            return Progress::Wait;
        }
        let offer = offers.swap_remove(best);
        let Some(server) = server_of(&offer) else { return Progress::Wait };
        self.phase = Phase::Request { offer, server };
        self.sent = 0;
        Progress::Send(self.transmit(now, rng))
    }

    /// Writes the message of the current phase, and sets the time at which it is sent again: doubling, with
    /// a quarter more or less (RFC 2131, 4.1).
    fn transmit(&mut self, now: Time, rng: &mut Rng) -> Packet {
        let base = self.timing.dhcp.saturating_mul(1 << self.sent.min(4));
        let permille = 750 + u32::from(rng.below(501));
        self.deadline = now + base.saturating_mul(permille) / 1000;
        self.sent += 1;

        let mut request = Request::new(self.mac, self.xid);
        request.secs = now.since(self.started).as_secs().try_into().unwrap_or(u16::MAX);
        let everyone = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
        let ((source, destination), kind) = match &self.phase {
            Phase::Discover { .. } => (everyone, 1),
            Phase::Request { .. } => (everyone, 3),
            Phase::Inform { address } => ((*address, Ipv4Addr::BROADCAST), 8),
            Phase::Renew { address, server } => ((*address, *server), 3),
        };
        request.ciaddr = source;
        request.broadcast = self.family.broadcast && source.is_unspecified();
        let mut request = request.option(53, &[kind]);
        if let Phase::Request { offer, server } = &self.phase {
            request = request.option(50, &offer.yiaddr.octets()).option(54, &server.octets());
        }
        Packet { source, destination, payload: self.identify(request).encode() }
    }

    /// Adds what every message says of the phone.
    fn identify(&self, mut request: Request) -> Request {
        if self.family.client_id {
            let mut id = vec![1];
            id.extend(self.mac.0);
            request = request.option(61, &id);
        }
        request = request
            .option(12, self.family.host_name(self.mac).as_bytes())
            .option(60, self.stage.vendor_class);
        match self.family.user_class {
            Some(UserClass::Raw(name)) => request = request.option(77, name.as_bytes()),
            Some(UserClass::Prefixed(name)) => {
                let mut value = vec![name.len() as u8];
                value.extend(name.as_bytes());
                request = request.option(77, &value);
            }
            None => {}
        }
        request.option(55, self.stage.requests)
    }
}

pub(crate) fn server_of(reply: &Reply) -> Option<Ipv4Addr> {
    reply.options.address(54)
}
