//! Whole zones, for secondary servers: AXFR (RFC 5936), and IXFR (RFC 1995) as far as it is answered with all of the
//! zone or with nothing new.
//!
//! A transfer holds the snapshot that it began with, so that what it sends belongs together, whatever changes
//! meanwhile.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::vec::IntoIter;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use crate::answer::{Client, Outcome, Transport};
use crate::name::{NameKey, reverse_address};
use crate::named::Named;
use crate::nodes::{Found, Node};
use crate::reply::Reply;
use crate::request::Request;
use crate::zones::{Zone, Zones};

/// Octets of a message: what compression pointers reach (RFC 1035, section 4.1.4).
const MESSAGE: u16 = 16_383;

/// Records that are at hand to be put into the next message.
const AT_HAND: usize = 512;

/// QTYPE of a request for changes.
const IXFR: u16 = 251;

/// TC, in the third octet of a message.
const TRUNCATED: u8 = 0x02;

/// A zone on its way to a secondary: an iterator over messages.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// What every message has but the records; the question is in the first one only.
    reply: Reply,
    zones: Zones,
    zone: usize,
    soa: Record,
    names: IntoIter<NameKey>,
    leased: IntoIter<Leased>,
    at_hand: VecDeque<Record>,
    /// Whether the SOA record that ends the transfer is at hand, or sent.
    is_ended: bool,
}

/// What has a name because of a lease.
#[derive(Clone, Debug)]
enum Leased {
    Label(Box<str>),
    Address(Ipv4Addr),
}

/// Answers a request for a whole zone or its changes.
pub(crate) fn transfer(
    zones: &Zones,
    request: &Request,
    qtype: u16,
    client: Client,
    mut reply: Reply,
) -> Outcome {
    if !zones.access.transfers(client.address) {
        return Outcome::Reply(reply.with(ResponseCode::Refused));
    }
    if client.transport == Transport::Udp && qtype != IXFR {
        return Outcome::Reply(reply.with(ResponseCode::FormErr));
    }
    if qtype == IXFR && request.serial.is_none() {
        return Outcome::Reply(reply.with(ResponseCode::FormErr));
    }
    let is_it = |zone: &Zone| zone.key.as_wire() == request.key;
    let Some(index) = zones.zones.iter().position(is_it) else {
        return Outcome::Reply(reply.with(ResponseCode::NotAuth));
    };
    let Some(soa) = zones.zones.get(index).and_then(|zone| soa(zones, zone)) else {
        return Outcome::Reply(reply.with(ResponseCode::ServFail));
    };
    reply.metadata.authoritative = true;
    // RFC 1995, sections 2 and 4: nothing newer, or more than a datagram takes: then it asks again over TCP.
    let is_new = request.serial.is_none_or(|theirs| is_later(zones.serial, theirs));
    if client.transport == Transport::Udp || !is_new {
        reply.answers.push(soa);
        return Outcome::Reply(reply);
    }
    Outcome::Transfer(Box::new(Transfer::new(zones, index, soa, reply)))
}

/// RFC 1982.
fn is_later(ours: u32, theirs: u32) -> bool {
    ours != theirs && ours.wrapping_sub(theirs) < 1 << 31
}

fn soa(zones: &Zones, zone: &Zone) -> Option<Record> {
    let set = zones.nodes.node(zone.key.as_wire())?.rrset(RecordType::SOA)?;
    let RData::SOA(soa) = set.data.first()? else { return None };
    let mut soa = soa.clone();
    soa.serial = zones.serial;
    Some(Record::from_rdata(zone.apex.clone(), set.ttl, RData::SOA(soa)))
}

impl Transfer {
    fn new(zones: &Zones, zone: usize, soa: Record, reply: Reply) -> Self {
        let in_zone =
            |named: &Named| (named.zone() == zone).then(|| NameKey::from_wire(named.wire()));
        let names: Vec<NameKey> = zones.nodes.iter().filter_map(in_zone).collect();
        let is_forward = zones.zones.get(zone).is_some_and(|zone| zone.key == *zones.leases.zone());
        let leased: Vec<Leased> = match is_forward {
            true => zones.leases.labels().map(Leased::Label).collect(),
            false => zones.leases.addresses().map(Leased::Address).collect(),
        };
        Self {
            reply,
            zones: zones.clone(),
            zone,
            at_hand: VecDeque::from([soa.clone()]),
            soa,
            names: names.into_iter(),
            leased: leased.into_iter(),
            is_ended: false,
        }
    }

    /// The zone, in presentation form.
    pub fn zone(&self) -> String {
        self.soa.name.to_ascii()
    }

    /// The serial of what is transferred.
    pub fn serial(&self) -> u32 {
        self.zones.serial
    }

    /// What is sent instead when there is no room for a transfer: SERVFAIL, and a secondary tries again later.
    pub fn failed(mut self) -> Reply {
        self.reply.answers.clear();
        self.reply.with(ResponseCode::ServFail)
    }

    /// Puts the records that come next at hand.
    fn fill(&mut self) {
        while self.at_hand.len() < AT_HAND && !self.is_ended {
            if let Some(key) = self.names.next() {
                if let Some(node) = self.zones.nodes.node(key.as_wire()) {
                    let records = records(key.as_wire(), node);
                    self.at_hand.extend(records.filter(|it| it.record_type() != RecordType::SOA));
                }
            } else if let Some(leased) = self.leased.next() {
                if let Some((key, node)) = self.lease(&leased) {
                    self.at_hand.extend(records(&key, &node));
                }
            } else {
                self.at_hand.push_back(self.soa.clone());
                self.is_ended = true;
            }
        }
    }

    /// The name and the record of a lease, if it is in this zone and the configuration has no such name.
    fn lease(&self, leased: &Leased) -> Option<(Vec<u8>, Node)> {
        let key = match leased {
            Leased::Label(label) => self.zones.leases.wire(label),
            Leased::Address(address) => {
                NameKey::of(&reverse_address((*address).into())?).as_wire().to_vec()
            }
        };
        let (found, zone) = self.zones.find(&key);
        let own = self.zones.zones.get(self.zone)?;
        let is_ours = matches!(found, Found::Missing { .. }) && zone?.key == own.key;
        let leased =
            (is_ours && !self.zones.is_taken(&key)).then(|| self.zones.leases.find(&key))??;
        let node = leased.node();
        Some((key, node))
    }
}

impl Iterator for Transfer {
    type Item = Vec<u8>;

    /// The next message, without its length.
    fn next(&mut self) -> Option<Vec<u8>> {
        self.fill();
        if self.at_hand.is_empty() {
            return None;
        }
        self.reply.answers = self.at_hand.iter().cloned().collect();
        self.reply.allow(MESSAGE);
        let mut wire = self.reply.encode().ok()?;
        if answers(&wire) == 0 {
            // One record that is longer than all that usually goes together.
            self.reply.answers.truncate(1);
            self.reply.allow(u16::MAX);
            wire = self.reply.encode().ok()?;
        }
        if let Some(flags) = wire.get_mut(2) {
            *flags &= !TRUNCATED;
        }
        let sent = usize::from(answers(&wire));
        self.at_hand.drain(..sent.max(1));
        self.reply.question = None;
        Some(wire)
    }
}

/// ANCOUNT.
fn answers(wire: &[u8]) -> u16 {
    wire.get(6..8).and_then(|count| count.try_into().ok()).map_or(0, u16::from_be_bytes)
}

fn records(key: &[u8], node: &Node) -> impl Iterator<Item = Record> {
    let owner = Name::read(&mut BinDecoder::new(key)).unwrap_or_default();
    let sets = node.rrsets.iter();
    sets.flat_map(move |set| {
        let owner = owner.clone();
        let record = move |data: &RData| Record::from_rdata(owner.clone(), set.ttl, data.clone());
        set.data.iter().map(record)
    })
}
