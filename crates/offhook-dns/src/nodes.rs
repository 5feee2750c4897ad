//! The names that exist, and what each of them has.

use std::collections::HashMap;
use std::sync::Arc;

use hickory_proto::rr::{Name, RData, RecordType};

use crate::name::{NameKey, suffixes};

/// How many parts the names are kept in. Snapshots share the parts that did not change, so with 100,000 names
/// a change copies some 400 pointers, not 100,000.
const SHARDS: usize = 256;

/// All records of one name and type.
#[derive(Clone, Debug)]
pub(crate) struct RrSet {
    pub(crate) rtype: RecordType,
    /// Seconds.
    pub(crate) ttl: u32,
    /// Never empty, no duplicates.
    pub(crate) data: Vec<RData>,
}

impl RrSet {
    /// Whether the records are to be spread over those who ask: which server a phone tries first.
    pub(crate) fn shuffled(&self) -> bool {
        self.data.len() > 1
            && matches!(self.rtype, RecordType::A | RecordType::AAAA | RecordType::SRV)
    }
}

/// A name that exists. One without record sets is an empty non-terminal: something below it exists.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    /// Index of the zone the name belongs to.
    pub(crate) zone: usize,
    pub(crate) rrsets: Vec<RrSet>,
}

impl Node {
    pub(crate) fn rrset(&self, rtype: RecordType) -> Option<&RrSet> {
        self.rrsets.iter().find(|set| set.rtype == rtype)
    }
}

/// Where a name was found.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// The name exists.
    Node(&'a Node),
    /// It does not; this is the nearest name above it that does, in the same zone.
    Missing { closest: &'a Node },
    /// It is in none of our zones.
    Outside,
}

/// Every existing name of every zone, empty non-terminals included: one look-up finds a name, and its ancestors
/// lead to the zone a missing one would be in.
///
/// Cloning is cheap and shares everything; a change copies only the part it is in.
#[derive(Clone, Debug)]
pub(crate) struct Nodes {
    shards: Box<[Arc<Shard>; SHARDS]>,
}

type Shard = HashMap<NameKey, Arc<Node>>;

impl Nodes {
    pub(crate) fn new() -> Self {
        Self { shards: Box::new(std::array::from_fn(|_| Arc::default())) }
    }

    /// The node of a name in lower-case wire form.
    pub(crate) fn node(&self, wire: &[u8]) -> Option<&Node> {
        self.shards.get(shard_of(wire))?.get(wire).map(Arc::as_ref)
    }

    /// Where a name in lower-case wire form is.
    pub(crate) fn find(&self, wire: &[u8]) -> Found<'_> {
        if let Some(node) = self.node(wire) {
            return Found::Node(node);
        }
        match suffixes(wire).skip(1).find_map(|suffix| self.node(suffix)) {
            Some(closest) => Found::Missing { closest },
            None => Found::Outside,
        }
    }

    /// Makes `apex` the top of the zone with this index.
    pub(crate) fn add_apex(&mut self, apex: &Name, zone: usize) {
        self.node_mut(NameKey::of(apex), zone).zone = zone;
    }

    /// Adds one record, once, and the empty non-terminals above it; `false` when the name is in no zone.
    pub(crate) fn add(&mut self, name: &Name, ttl: u32, data: RData) -> bool {
        let key = NameKey::of(name);
        let mut missing = Vec::new();
        let mut zone = None;
        for suffix in suffixes(key.as_wire()) {
            match self.node(suffix) {
                Some(node) => {
                    zone = Some(node.zone);
                    break;
                }
                None => missing.push(suffix),
            }
        }
        let Some(zone) = zone else { return false };
        for suffix in missing {
            self.node_mut(NameKey::from_wire(suffix), zone);
        }
        let node = self.node_mut(key, zone);
        let rtype = data.record_type();
        match node.rrsets.iter_mut().find(|set| set.rtype == rtype) {
            Some(set) if set.data.contains(&data) => {}
            Some(set) => set.data.push(data),
            None => node.rrsets.push(RrSet { rtype, ttl, data: vec![data] }),
        }
        true
    }

    /// How many parts a change has copied since `other` was cloned from this, or this from it.
    #[cfg(test)]
    pub(crate) fn parts_not_shared_with(&self, other: &Self) -> usize {
        let pairs = self.shards.iter().zip(other.shards.iter());
        pairs.filter(|(a, b)| !Arc::ptr_eq(a, b)).count()
    }

    #[expect(clippy::indexing_slicing, reason = "shard_of is below SHARDS")]
    fn node_mut(&mut self, key: NameKey, zone: usize) -> &mut Node {
        let index = shard_of(key.as_wire());
        let shard = Arc::make_mut(&mut self.shards[index]);
        Arc::make_mut(shard.entry(key).or_insert_with(|| Arc::new(Node { zone, rrsets: vec![] })))
    }
}

/// FNV-1a, for the even spread only: inside a shard the standard, keyed hash is what an adversary meets.
fn shard_of(wire: &[u8]) -> usize {
    let hash = wire
        .iter()
        .fold(0x811c_9dc5_u32, |hash, &octet| (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193));
    (hash ^ (hash >> 16)) as usize % SHARDS
}
