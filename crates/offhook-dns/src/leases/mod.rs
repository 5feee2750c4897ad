//! The names of leases: what answers beside the zones of the configuration.
//!
//! [`NameBook`] knows who may have which name; what it publishes, [`LeaseNames`], is what answers come from.

mod book;
mod index;
mod record;
#[cfg(test)]
mod tests;
mod words;

use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;

use hickory_proto::rr::rdata::{A, PTR};
use hickory_proto::rr::{Name, RData};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use offhook_model::{DomainName, HardwareAddress};

use crate::name::{NameKey, wire_name};
use crate::nodes::{Node, RrSet};
use record::Record;
use words::{Place, Words, load};

pub use book::{NameBook, Rules};
pub use record::Label;

/// The names of leases at one moment. Cloning costs a few reference counts.
#[derive(Clone, Debug)]
pub struct LeaseNames {
    /// The zone that they are in, in lower-case wire form.
    zone: NameKey,
    words: Words,
    /// The index of the records that labels in lower case lead to, by label.
    labels: Place,
    /// The index of all records, by address.
    addresses: Place,
    /// The index of the first octets of addresses with a label: empty non-terminals of a reverse zone.
    above: Place,
    /// How many labels lead somewhere.
    len: usize,
    /// The longest TTL, seconds.
    ttl: u32,
    /// Keyed: clients choose their names, and must not choose them to collide.
    hasher: RandomState,
    /// Who has a copy has one of this: what the copy leads to is not changed meanwhile.
    readers: Arc<()>,
}

/// On the way to the record that may have a name, by steps that each wait for memory once: [`LeaseNames::lead`], then
/// [`LeaseNames::to_leaf`], then [`LeaseNames::to_record`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lead {
    /// The index, then its leaf, then the record; zero for nothing.
    at: Place,
    hash: u32,
}

/// The first octets of an address, as a number of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Octets(u32);

impl Octets {
    fn two([a, b]: [u8; 2]) -> Self {
        Self(u32::from_be_bytes([1, 0, a, b]))
    }

    fn three([a, b, c]: [u8; 3]) -> Self {
        Self(u32::from_be_bytes([0, a, b, c]))
    }

    /// Those of an address.
    fn of(address: Ipv4Addr) -> [Self; 2] {
        let [a, b, c, _] = address.octets();
        [Self::two([a, b]), Self::three([a, b, c])]
    }
}

/// Spreads numbers over all numbers, each to one of its own: no two collide.
fn spread(number: u32) -> u32 {
    let number = (number ^ number >> 16).wrapping_mul(0x85eb_ca6b);
    let number = (number ^ number >> 13).wrapping_mul(0xc2b2_ae35);
    number ^ number >> 16
}

impl LeaseNames {
    /// No names, yet, in `zone`.
    pub fn new(zone: &DomainName) -> Self {
        let zone =
            wire_name(zone).map_or_else(|| NameKey::of(&Name::root()), |zone| NameKey::of(&zone));
        Self {
            zone,
            words: Words::new(),
            labels: 0,
            addresses: 0,
            above: 0,
            len: 0,
            ttl: u32::MAX,
            hasher: RandomState::new(),
            readers: Arc::new(()),
        }
    }

    /// How many names have an address.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no lease has a name.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The label whose name the PTR record of an address has.
    pub fn label_of(&self, address: Ipv4Addr) -> Option<Label> {
        self.held(address)?.1.pointer()
    }

    /// The address of a label in lower case.
    pub fn address_of(&self, label: &str) -> Option<Ipv4Addr> {
        self.led_to(label.as_bytes()).map(|(_, record)| record.address)
    }

    /// Whether another client than this one has a label.
    pub fn is_anothers(&self, label: &str, client: HardwareAddress) -> bool {
        let held = self.led_to(label.to_ascii_lowercase().as_bytes());
        held.is_some_and(|(_, held)| held.hardware() != client)
    }

    /// What a name in lower-case wire form is, as far as leases make it exist. What the configuration has by this
    /// name comes first, and which zone it is in the caller knows.
    pub(crate) fn find(&self, wire: &[u8]) -> Option<Leased<'_>> {
        self.find_by(wire, Lead::default())
    }

    /// The same with a lead to its record, or none.
    pub(crate) fn find_by(&self, wire: &[u8], lead: Lead) -> Option<Leased<'_>> {
        if self.is_empty() {
            return None;
        }
        if let Some(label) = self.label(wire) {
            let read = |at| Record::address_of(&self.words, at, label);
            let (to, ttl) = read(lead.at).or_else(|| {
                index::find(&self.words, self.labels, self.hash(label)).find_map(read)
            })?;
            return Some(Leased::Address { to, ttl: ttl.min(self.ttl) });
        }
        let (octets, count) = reverse_octets(wire)?;
        let [a, b, c, _] = octets;
        let above = match count {
            2 => Octets::two([a, b]),
            3 => Octets::three([a, b, c]),
            4 => {
                let known = (lead.at != 0).then(|| Record::read(&self.words, lead.at));
                let known = known.filter(|record| record.address == Ipv4Addr::from(octets));
                let record = known.or_else(|| Some(self.held(octets.into())?.1))?;
                let (label, zone) = (record.pointer()?, self.zone.as_wire());
                return Some(Leased::Name { label, zone, ttl: record.ttl.min(self.ttl) });
            }
            _ => return None,
        };
        self.is_above(above).then_some(Leased::Above)
    }

    /// Whether there are more than the processor's caches have room for.
    pub(crate) fn are_many(&self) -> bool {
        self.len > 4096
    }

    /// Where to begin to look for a name in lower-case wire form.
    pub(crate) fn lead(&self, wire: &[u8]) -> Lead {
        if let Some(label) = self.label(wire) {
            return Lead { at: self.labels, hash: self.hash(label) };
        }
        match reverse_octets(wire) {
            Some((octets, 4)) => {
                Lead { at: self.addresses, hash: spread(u32::from_be_bytes(octets)) }
            }
            _ => Lead::default(),
        }
    }

    /// Goes from where to begin to the leaf of the index.
    pub(crate) fn to_leaf(&self, lead: &mut Lead) {
        lead.at = index::leaf(&self.words, lead.at, lead.hash);
        self.touch(lead.at);
    }

    /// Goes from the leaf of the index to the first record that has this hash.
    pub(crate) fn to_record(&self, lead: &mut Lead) {
        lead.at = index::find(&self.words, lead.at, lead.hash).next().unwrap_or(0);
        self.touch(lead.at);
    }

    /// Has the beginning of a block fetched: two lines of the processor's cache.
    fn touch(&self, at: Place) {
        let block = self.words.block(at);
        black_box((load(block, 1), load(block, 8)));
    }

    /// The zone that they are in.
    pub(crate) fn zone(&self) -> &NameKey {
        &self.zone
    }

    /// Every label that has an address, in no order.
    pub(crate) fn labels(&self) -> impl Iterator<Item = Box<str>> {
        self.records().flat_map(|(at, record)| {
            let leads_here = |label: &[u8]| self.leads_to(self.hash(label), at);
            let labels = record.labels().filter(|(label, _)| leads_here(label));
            let labels = labels.map(|(label, _)| String::from_utf8_lossy(label).into());
            labels.collect::<Vec<Box<str>>>()
        })
    }

    /// Every address that has a label, in no order.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        let pointed = self.records().filter(|(_, record)| record.pointer != 0);
        pointed.map(|(_, record)| record.address)
    }

    /// The label of a name one below the zone.
    fn label<'a>(&self, wire: &'a [u8]) -> Option<&'a [u8]> {
        let (length, rest) = wire.split_first()?;
        let (label, zone) = rest.split_at_checked(usize::from(*length))?;
        (zone == self.zone.as_wire()).then_some(label)
    }

    /// The name of a label in the zone, in lower-case wire form.
    pub(crate) fn wire(&self, label: &str) -> Vec<u8> {
        // A label has at most 63 octets.
        [&[label.len() as u8], label.as_bytes(), self.zone.as_wire()].concat()
    }

    /// By which a label is found. No two labels of one record have the same.
    fn hash(&self, label: &[u8]) -> u32 {
        self.hasher.hash_one(label) as u32
    }

    /// The record that a label leads to.
    fn led_to(&self, label: &[u8]) -> Option<(Place, Record)> {
        let found = index::find(&self.words, self.labels, self.hash(label));
        let mut records = found.map(|at| (at, Record::read(&self.words, at)));
        records.find(|(_, record)| record.rank_of(label).is_some())
    }

    /// Whether the label of a record with this hash leads to that record.
    fn leads_to(&self, hash: u32, at: Place) -> bool {
        index::find(&self.words, self.labels, hash).any(|found| found == at)
    }

    /// The record of an address.
    fn held(&self, address: Ipv4Addr) -> Option<(Place, Record)> {
        let at = index::find(&self.words, self.addresses, spread(address.to_bits())).next()?;
        Some((at, Record::read(&self.words, at)))
    }

    fn is_above(&self, octets: Octets) -> bool {
        index::find(&self.words, self.above, spread(octets.0)).next().is_some()
    }

    /// Every record, in no order.
    fn records(&self) -> impl Iterator<Item = (Place, Record)> {
        let all = index::all(&self.words, self.addresses);
        all.map(|at| (at, Record::read(&self.words, at)))
    }
}

/// What leases make of a name.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Leased<'a> {
    /// It has an address; TTL in seconds.
    Address { to: Ipv4Addr, ttl: u32 },
    /// It is that of an address, which has this label in this zone, in lower-case wire form; TTL in seconds.
    Name { label: Label, zone: &'a [u8], ttl: u32 },
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
