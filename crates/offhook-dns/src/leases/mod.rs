//! The names of leases: what answers beside the zones of the configuration.
//!
//! [`NameBook`] knows who may have which name; what it publishes, [`LeaseNames`], is what answers come from.

mod book;
#[cfg(test)]
mod tests;
mod trie;

use std::net::Ipv4Addr;
use std::sync::Arc;

use hickory_proto::rr::rdata::{A, PTR};
use hickory_proto::rr::{Name, RData};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use offhook_model::DomainName;

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

    /// What a name in lower-case wire form is, as far as leases make it exist. What the configuration has by this
    /// name comes first, and which zone it is in the caller knows.
    pub(crate) fn find(&self, wire: &[u8]) -> Option<Node> {
        if self.is_empty() {
            return None;
        }
        if let Some(label) = self.label(wire) {
            let Target { to, ttl } = self.addresses.get(label)?;
            return Some(node(*ttl, RData::A(A(*to))));
        }
        match *reverse_octets(wire)?.as_slice() {
            [a, b] => self.above(Octets::Two([a, b])),
            [a, b, c] => self.above(Octets::Three([a, b, c])),
            [a, b, c, d] => {
                let Target { to, ttl } = self.labels.get(&Ipv4Addr::new(a, b, c, d))?;
                Some(node(*ttl, RData::PTR(PTR(self.name(to)?))))
            }
            _ => None,
        }
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

    /// An empty non-terminal.
    fn above(&self, octets: Octets) -> Option<Node> {
        self.above.get(&octets).map(|_| Node::default())
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

    fn name(&self, label: &str) -> Option<Name> {
        Name::read(&mut BinDecoder::new(&self.wire(label))).ok()
    }
}

/// A name with one record.
fn node(ttl: u32, data: RData) -> Node {
    let mut node = Node::default();
    node.rrsets.push(RrSet { rtype: data.record_type(), ttl, data: vec![data], ahead: 0 });
    node
}

/// The octets that a reverse name has: as many as labels stand before `in-addr.arpa`, at most four. Numbers are
/// written in one way only, without leading zeros.
fn reverse_octets(wire: &[u8]) -> Option<Vec<u8>> {
    let mut rest = wire.strip_suffix(b"\x07in-addr\x04arpa\0")?;
    let mut octets = Vec::with_capacity(4);
    while let Some((length, after)) = rest.split_first() {
        let (digits, after) = after.split_at_checked(usize::from(*length))?;
        let digits = std::str::from_utf8(digits).ok()?;
        if octets.len() == 4 || (digits.len() > 1 && digits.starts_with('0')) {
            return None;
        }
        if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        octets.push(digits.parse().ok()?);
        rest = after;
    }
    octets.reverse();
    Some(octets)
}
