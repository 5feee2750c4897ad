//! The names that exist, and what each of them has.

use std::collections::HashMap;
use std::sync::Arc;

use hickory_proto::rr::{Name, RData, RecordType};

use crate::name::{NameKey, parent, suffixes};

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
    /// How many of them go before the others; each of the two parts is spread by itself. 0 is "all alike".
    pub(crate) ahead: usize,
}

impl PartialEq for RrSet {
    /// The order in which records are kept is nobody's business but that of the first ones.
    fn eq(&self, other: &Self) -> bool {
        let parts = |set: &Self| {
            set.data.split_at_checked(set.ahead).map(|(a, b)| [a.to_vec(), b.to_vec()])
        };
        let same = |(one, other): (Vec<RData>, Vec<RData>)| {
            one.len() == other.len() && one.iter().all(|data| other.contains(data))
        };
        (self.rtype, self.ttl, self.ahead) == (other.rtype, other.ttl, other.ahead)
            && (self.data == other.data
                || parts(self)
                    .zip(parts(other))
                    .is_some_and(|(one, other)| one.into_iter().zip(other).all(same)))
    }
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
    /// Whether `*` is a label below this name: names that are not there may have records all the same.
    pub(crate) wildcard: bool,
    /// How many names are one label below this one.
    children: u32,
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        (self.zone, self.wildcard, self.children) == (other.zone, other.wildcard, other.children)
            && self.rrsets.len() == other.rrsets.len()
            && self.rrsets.iter().all(|set| other.rrset(set.rtype) == Some(set))
    }
}

impl Node {
    pub(crate) fn rrset(&self, rtype: RecordType) -> Option<&RrSet> {
        self.rrsets.iter().find(|set| set.rtype == rtype)
    }

    fn is_of_use(&self) -> bool {
        self.children > 0 || !self.rrsets.is_empty()
    }
}

/// Where a name was found.
#[derive(Debug)]
pub(crate) enum Found<'a, 'n> {
    /// The name exists.
    Node(&'a Node),
    /// It does not; this is the nearest name above it that does, in the same zone, and its wire form.
    Missing { closest: &'a Node, encloser: &'n [u8] },
    /// It is in none of our zones.
    Outside,
}

/// Every existing name of every zone, empty non-terminals included: one look-up finds a name, and its ancestors
/// lead to the zone a missing one would be in.
///
/// Cloning is cheap and shares everything; a change copies only the part it is in.
#[derive(Clone, Debug, PartialEq)]
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
    pub(crate) fn find<'n>(&self, wire: &'n [u8]) -> Found<'_, 'n> {
        if let Some(node) = self.node(wire) {
            return Found::Node(node);
        }
        let above = suffixes(wire).skip(1);
        let mut existing = above.filter_map(|suffix| Some((self.node(suffix)?, suffix)));
        match existing.next() {
            Some((closest, encloser)) => Found::Missing { closest, encloser },
            None => Found::Outside,
        }
    }

    /// Every name that exists, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&NameKey, &Node)> {
        self.shards.iter().flat_map(|shard| shard.iter()).map(|(key, node)| (key, &**node))
    }

    /// Makes `apex` the top of the zone with this index.
    pub(crate) fn add_apex(&mut self, apex: &Name, zone: usize) {
        let node = Node { zone, ..Node::default() };
        self.shard_mut(NameKey::of(apex).as_wire()).insert(NameKey::of(apex), Arc::new(node));
    }

    /// Adds one record, once, and the empty non-terminals above it; the zone, or none when the name is in none.
    ///
    /// The records of a set have one TTL (RFC 2181 section 5.2): the shortest of those they were added with.
    pub(crate) fn add(&mut self, name: &Name, ttl: u32, data: RData) -> Option<usize> {
        let key = NameKey::of(name);
        let zone = self.make(&key)?;
        let node = self.node_mut(key.as_wire())?;
        let rtype = data.record_type();
        match node.rrsets.iter_mut().find(|set| set.rtype == rtype) {
            Some(set) => {
                set.ttl = set.ttl.min(ttl);
                if !set.data.contains(&data) {
                    set.data.push(data);
                }
            }
            None => node.rrsets.push(RrSet { rtype, ttl, data: vec![data], ahead: 0 }),
        }
        Some(zone)
    }

    /// Puts a whole record set in place of that of its type; the zone, or none when the name is in none.
    pub(crate) fn set(&mut self, name: &Name, set: RrSet) -> Option<usize> {
        let key = NameKey::of(name);
        let zone = self.make(&key)?;
        let node = self.node_mut(key.as_wire())?;
        match node.rrsets.iter_mut().find(|old| old.rtype == set.rtype) {
            Some(old) => *old = set,
            None => node.rrsets.push(set),
        }
        Some(zone)
    }

    /// Removes the records of `rtype` that `which` picks, and every name that nothing is left of; the zone, or
    /// none when there was nothing to remove.
    pub(crate) fn remove(
        &mut self,
        name: &Name,
        rtype: RecordType,
        which: impl Fn(&RData) -> bool,
    ) -> Option<usize> {
        let key = NameKey::of(name);
        let set = self.node(key.as_wire())?.rrset(rtype)?;
        if !set.data.iter().any(&which) {
            return None;
        }
        let node = self.node_mut(key.as_wire())?;
        let zone = node.zone;
        node.rrsets.retain_mut(|set| {
            if set.rtype == rtype {
                let before = set.data.iter().take(set.ahead).filter(|data| !which(data)).count();
                set.data.retain(|data| !which(data));
                set.ahead = before;
            }
            !set.data.is_empty()
        });
        self.prune(key.as_wire());
        Some(zone)
    }

    /// Removes a name that nothing is left of, and those above it that were there for its sake only.
    fn prune(&mut self, wire: &[u8]) {
        let mut name = wire;
        // An apex is never without its SOA.
        while self.node(name).is_some_and(|node| !node.is_of_use()) {
            self.shard_mut(name).remove(name);
            let Some(above) = parent(name) else { return };
            if let Some(node) = self.node_mut(above) {
                node.children = node.children.saturating_sub(1);
                node.wildcard &= !name.starts_with(b"\x01*");
            }
            name = above;
        }
    }

    /// Makes a name exist, and the names between it and the nearest existing one; the zone, or none when that
    /// would be in none.
    fn make(&mut self, key: &NameKey) -> Option<usize> {
        let (zone, missing) = match self.find(key.as_wire()) {
            Found::Node(node) => return Some(node.zone),
            Found::Outside => return None,
            Found::Missing { closest, encloser } => {
                let above = suffixes(key.as_wire()).take_while(|name| name.len() > encloser.len());
                (closest.zone, above)
            }
        };
        for name in missing {
            let node = Node { zone, ..Node::default() };
            self.shard_mut(name).entry(NameKey::from_wire(name)).or_insert_with(|| Arc::new(node));
            if let Some(above) = parent(name) {
                // The name above is not there yet unless it is the last one of all.
                let node = self.shard_mut(above).entry(NameKey::from_wire(above)).or_default();
                let node = Arc::make_mut(node);
                node.zone = zone;
                node.children += 1;
                node.wildcard |= name.starts_with(b"\x01*");
            }
        }
        Some(zone)
    }

    /// How many parts a change has copied since `other` was cloned from this, or this from it.
    #[cfg(test)]
    pub(crate) fn parts_not_shared_with(&self, other: &Self) -> usize {
        let pairs = self.shards.iter().zip(other.shards.iter());
        pairs.filter(|(a, b)| !Arc::ptr_eq(a, b)).count()
    }

    fn node_mut(&mut self, wire: &[u8]) -> Option<&mut Node> {
        self.shard_mut(wire).get_mut(wire).map(Arc::make_mut)
    }

    #[expect(clippy::indexing_slicing, reason = "shard_of is below SHARDS")]
    fn shard_mut(&mut self, wire: &[u8]) -> &mut Shard {
        Arc::make_mut(&mut self.shards[shard_of(wire)])
    }
}

/// FNV-1a, for the even spread only: inside a shard the standard, keyed hash is what an adversary meets.
fn shard_of(wire: &[u8]) -> usize {
    let hash = wire
        .iter()
        .fold(0x811c_9dc5_u32, |hash, &octet| (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193));
    (hash ^ (hash >> 16)) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::A;

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn a(last: u8) -> RData {
        RData::A(A::new(192, 0, 2, last))
    }

    fn names(nodes: &Nodes) -> Vec<Vec<u8>> {
        let mut names: Vec<_> = nodes.iter().map(|(key, _)| key.as_wire().to_vec()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_added_and_removed_leaves_nothing() {
        let mut nodes = Nodes::new();
        nodes.add_apex(&name("lab.voip."), 3);
        nodes.add(&name("lab.voip."), 60, a(9));
        let before = names(&nodes);
        for owner in ["a.b.c.lab.voip.", "b.c.lab.voip.", "*.c.lab.voip.", "x.lab.voip."] {
            assert_eq!(nodes.add(&name(owner), 60, a(1)), Some(3));
            assert_eq!(nodes.add(&name(owner), 30, a(2)), Some(3));
        }
        assert_eq!(names(&nodes).len(), before.len() + 5);
        assert!(nodes.node(b"\x01c\x03lab\x04voip\0").is_some_and(|node| node.wildcard));
        let two =
            nodes.node(b"\x01x\x03lab\x04voip\0").and_then(|n| n.rrset(RecordType::A)).unwrap();
        assert_eq!((two.ttl, two.data.len()), (30, 2));
        for owner in ["b.c.lab.voip.", "x.lab.voip.", "*.c.lab.voip.", "a.b.c.lab.voip."] {
            assert_eq!(nodes.remove(&name(owner), RecordType::AAAA, |_| true), None);
            assert_eq!(nodes.remove(&name(owner), RecordType::A, |data| *data == a(1)), Some(3));
            assert_eq!(nodes.remove(&name(owner), RecordType::A, |data| *data == a(1)), None);
            assert_eq!(nodes.remove(&name(owner), RecordType::A, |_| true), Some(3));
        }
        assert_eq!(names(&nodes), before);
        assert_eq!(nodes.add(&name("x.example."), 60, a(1)), None);
        assert_eq!(names(&nodes), before);
    }

    #[test]
    fn an_empty_non_terminal_stays_while_something_is_below_it() {
        let mut nodes = Nodes::new();
        nodes.add_apex(&name("lab.voip."), 0);
        nodes.add(&name("lab.voip."), 60, a(9));
        nodes.add(&name("a.b.lab.voip."), 60, a(1));
        nodes.add(&name("c.b.lab.voip."), 60, a(1));
        nodes.remove(&name("a.b.lab.voip."), RecordType::A, |_| true);
        assert!(
            matches!(nodes.find(b"\x01b\x03lab\x04voip\0"), Found::Node(n) if n.rrsets.is_empty())
        );
        nodes.remove(&name("c.b.lab.voip."), RecordType::A, |_| true);
        assert!(matches!(nodes.find(b"\x01b\x03lab\x04voip\0"), Found::Missing { .. }));
    }

    #[test]
    fn what_goes_ahead_stays_so_when_others_are_removed() {
        let mut nodes = Nodes::new();
        nodes.add_apex(&name("lab.voip."), 0);
        let set = RrSet { rtype: RecordType::A, ttl: 5, data: vec![a(1), a(2), a(3)], ahead: 2 };
        nodes.set(&name("x.lab.voip."), set);
        nodes.remove(&name("x.lab.voip."), RecordType::A, |data| *data == a(2));
        let set = nodes.node(b"\x01x\x03lab\x04voip\0").unwrap().rrset(RecordType::A).unwrap();
        assert_eq!((set.ahead, set.data.clone()), (1, vec![a(1), a(3)]));
    }
}
