//! The names of leases: what answers beside the zones of the configuration.
//!
//! [`NameBook`] knows who may have which name; what it publishes, [`LeaseNames`], is what answers come from.

mod book;
#[cfg(test)]
mod tests;
mod trie;

use std::hash::BuildHasher;
use std::net::Ipv4Addr;
use std::sync::Arc;

use hickory_proto::rr::rdata::{A, PTR};
use hickory_proto::rr::{Name, RData};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use offhook_model::{DomainName, HardwareAddress};
use rustc_hash::FxBuildHasher;

use crate::name::{NameKey, wire_name};
use crate::nodes::{Node, RrSet};
use trie::Trie;

pub use book::{NameBook, Rules};

/// The names of leases at one moment. Cloning costs a few reference counts.
#[derive(Clone, Debug)]
pub struct LeaseNames {
    /// The zone that they are in, in lower-case wire form.
    zone: NameKey,
    /// Addresses, by label in lower case.
    addresses: Trie<Arc<str>, Target<Ipv4Addr>>,
    /// Labels, by address.
    labels: Trie<Ipv4Addr, Target<Arc<str>>>,
    /// How many addresses with a label begin with these two or three octets: empty non-terminals of a reverse zone.
    above: Trie<Octets, u32>,
}

/// What a name or an address leads to, and for how long that may be remembered; seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target<T> {
    to: T,
    ttl: u32,
    /// Of the client's hardware address.
    fingerprint: u32,
}

/// The first octets of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Octets {
    Two([u8; 2]),
    Three([u8; 3]),
}

impl Octets {
    /// Those of an address.
    fn of(address: Ipv4Addr) -> [Self; 2] {
        let [a, b, c, _] = address.octets();
        [Self::Two([a, b]), Self::Three([a, b, c])]
    }
}

impl LeaseNames {
    /// No names, yet, in `zone`.
    pub fn new(zone: &DomainName) -> Self {
        let zone =
            wire_name(zone).map_or_else(|| NameKey::of(&Name::root()), |zone| NameKey::of(&zone));
        Self { zone, addresses: Trie::new(), labels: Trie::new(), above: Trie::new() }
    }

    /// How many names have an address.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether no lease has a name.
    pub fn is_empty(&self) -> bool {
        self.addresses.len() == 0 && self.labels.len() == 0
    }

    /// The label whose name the PTR record of an address has.
    pub fn label_of(&self, address: Ipv4Addr) -> Option<&str> {
        self.labels.get(&address).map(|label| &*label.to)
    }

    /// The address of a label in lower case.
    pub fn address_of(&self, label: &str) -> Option<Ipv4Addr> {
        self.addresses.get(label).map(|address| address.to)
    }

    /// Whether another client than this one has a label.
    pub fn is_anothers(&self, label: &str, client: HardwareAddress) -> bool {
        let held = self.addresses.get(label.to_ascii_lowercase().as_str());
        held.is_some_and(|held| held.fingerprint != fingerprint(client))
    }

    /// What a name in lower-case wire form is, as far as leases make it exist. What the configuration has by this
    /// name comes first, and which zone it is in the caller knows.
    pub(crate) fn find(&self, wire: &[u8]) -> Option<Leased<'_>> {
        if self.is_empty() {
            return None;
        }
        if let Some(label) = self.label(wire) {
            let target = self.addresses.get(label)?;
            return Some(Leased::Address { to: target.to, ttl: target.ttl });
        }
        let (octets, count) = reverse_octets(wire)?;
        let [a, b, c, _] = octets;
        let above = match count {
            2 => self.above.get(&Octets::Two([a, b])),
            3 => self.above.get(&Octets::Three([a, b, c])),
            4 => {
                let target = self.labels.get(&Ipv4Addr::from(octets))?;
                let (label, zone) = (&*target.to, self.zone.as_wire());
                return Some(Leased::Name { label, zone, ttl: target.ttl });
            }
            _ => None,
        };
        above.map(|_| Leased::Above)
    }

    /// The zone that they are in.
    pub(crate) fn zone(&self) -> &NameKey {
        &self.zone
    }

    /// Every label that has an address, in no order.
    pub(crate) fn labels(&self) -> impl Iterator<Item = &Arc<str>> {
        self.addresses.iter().map(|(label, _)| label)
    }

    /// Every address that has a label, in no order.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.labels.iter().map(|(address, _)| *address)
    }

    /// The label of a name one below the zone.
    fn label<'a>(&self, wire: &'a [u8]) -> Option<&'a str> {
        let (length, rest) = wire.split_first()?;
        let (label, zone) = rest.split_at_checked(usize::from(*length))?;
        if zone != self.zone.as_wire() {
            return None;
        }
        std::str::from_utf8(label).ok()
    }

    /// The name of a label in the zone, in lower-case wire form.
    pub(crate) fn wire(&self, label: &str) -> Vec<u8> {
        // A label has at most 63 octets.
        [&[label.len() as u8], label.as_bytes(), self.zone.as_wire()].concat()
    }
}

/// What leases make of a name.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Leased<'a> {
    /// It has an address; TTL in seconds.
    Address { to: Ipv4Addr, ttl: u32 },
    /// It is that of an address, which has this label in this zone, in lower-case wire form; TTL in seconds.
    Name { label: &'a str, zone: &'a [u8], ttl: u32 },
    /// It is an empty non-terminal.
    Above,
}

impl Leased<'_> {
    /// The same as a name of the configuration would be.
    pub(crate) fn node(self) -> Node {
        match self {
            Self::Address { to, ttl } => node(ttl, RData::A(A(to))),
            Self::Name { label, zone, ttl } => {
                let wire = [&[label.len() as u8], label.as_bytes(), zone].concat();
                // A label and a zone that make a name, or they would not be there.
                let name = Name::read(&mut BinDecoder::new(&wire)).unwrap_or_default();
                node(ttl, RData::PTR(PTR(name)))
            }
            Self::Above => Node::default(),
        }
    }
}

/// Tells clients apart, nearly always.
fn fingerprint(client: HardwareAddress) -> u32 {
    FxBuildHasher.hash_one(client) as u32
}

/// A name with one record.
fn node(ttl: u32, data: RData) -> Node {
    let mut node = Node::default();
    node.rrsets.push(RrSet { rtype: data.record_type(), ttl, data: vec![data], ahead: 0 });
    node
}

/// The octets of the address that a reverse name has, and how many of them: as many as labels stand before
/// `in-addr.arpa`, at most four. Numbers are written in one way only, without leading zeros.
fn reverse_octets(wire: &[u8]) -> Option<([u8; 4], usize)> {
    let mut rest = wire.strip_suffix(b"\x07in-addr\x04arpa\0")?;
    let (mut octets, mut count) = ([0; 4], 0);
    while let Some((length, after)) = rest.split_first() {
        let (digits, after) = after.split_at_checked(usize::from(*length))?;
        let digits = std::str::from_utf8(digits).ok()?;
        if digits.len() > 1 && digits.starts_with('0') {
            return None;
        }
        if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        // The last octet comes first.
        *octets.get_mut(count)? = digits.parse().ok()?;
        count += 1;
        rest = after;
    }
    octets.get_mut(..count)?.reverse();
    Some((octets, count))
}
