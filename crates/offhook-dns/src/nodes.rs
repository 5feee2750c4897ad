//! The names that exist, and what each of them has.

use std::sync::Arc;

use hickory_proto::rr::{Name, RData, RecordType};

use crate::name::{NameKey, parent, suffixes};
use crate::named::{Named, Shard, hash};

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
    pub(crate) rrsets: Vec<RrSet>,
    /// Whether `*` is a label below this name: names that are not there may have records all the same.
    pub(crate) wildcard: bool,
    /// How many names are one label below this one.
    children: u32,
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        (self.wildcard, self.children) == (other.wildcard, other.children)
            && self.rrsets.len() == other.rrsets.len()
            && self.rrsets.iter().all(|set| other.rrset(set.rtype) == Some(set))
    }
}

impl Node {
    pub(crate) fn rrset(&self, rtype: RecordType) -> Option<&RrSet> {
        self.rrsets.iter().find(|set| set.rtype == rtype)
    }

    /// Adds a set of a type that it has none of.
    fn push(&mut self, set: RrSet) {
        // Most names have one and no more.
        self.rrsets.reserve_exact(1);
        self.rrsets.push(set);
    }

    fn is_of_use(&self) -> bool {
        self.children > 0 || !self.rrsets.is_empty()
    }
}

/// Where a name was found.
#[derive(Debug)]
pub(crate) enum Found<'a, 'n> {
    /// The name exists.
    Node(&'a Named),
    /// It does not; this is the nearest name above it that does, in the same zone, and its wire form.
    Missing { closest: &'a Named, encloser: &'n [u8] },
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

impl Nodes {
    pub(crate) fn new() -> Self {
        Self { shards: Box::new(std::array::from_fn(|_| Arc::default())) }
    }

    /// The node of a name in lower-case wire form.
    pub(crate) fn node(&self, wire: &[u8]) -> Option<&Named> {
        let hash = hash(wire);
        self.shards.get(shard_of(hash))?.find(hash, wire)
    }

    /// Something of the name that has this hash.
    pub(crate) fn glance(&self, hash: u64) -> Option<u32> {
        self.shards.get(shard_of(hash))?.glance(hash)
    }

    /// Whether there are some thousands of names: more than the processor's caches have room for.
    pub(crate) fn are_many(&self) -> bool {
        // One part is about as large as the other.
        self.shards.first().is_some_and(|shard| shard.len() > 16)
    }

    /// Where a name in lower-case wire form is that has this hash.
    pub(crate) fn find<'n>(&self, wire: &'n [u8], hash: u64) -> Found<'_, 'n> {
        if let Some(node) = self.shards.get(shard_of(hash)).and_then(|it| it.find(hash, wire)) {
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
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Named> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    /// Makes `apex` the top of the zone with this index.
    pub(crate) fn add_apex(&mut self, apex: &Name, zone: usize) {
        let key = NameKey::of(apex);
        self.shard_mut(key.as_wire()).insert(key.as_wire(), zone);
    }

    /// Adds one record, once, and the empty non-terminals above it; the zone, or none when the name is in none.
    ///
    /// The records of a set have one TTL (RFC 2181 section 5.2): the shortest of those they were added with.
    pub(crate) fn add(&mut self, name: &Name, ttl: u32, data: RData) -> Option<usize> {
        let key = NameKey::of(name);
        let zone = self.make(&key)?;
        let rtype = data.record_type();
        self.change(key.as_wire(), |node| {
            match node.rrsets.iter_mut().find(|set| set.rtype == rtype) {
                Some(set) => {
                    set.ttl = set.ttl.min(ttl);
                    if !set.data.contains(&data) {
                        set.data.push(data);
                    }
                }
                None => node.push(RrSet { rtype, ttl, data: vec![data], ahead: 0 }),
            }
        })?;
        Some(zone)
    }

    /// Puts a whole record set in place of that of its type; the zone, or none when the name is in none.
    pub(crate) fn set(&mut self, name: &Name, set: RrSet) -> Option<usize> {
        let key = NameKey::of(name);
        let zone = self.make(&key)?;
        self.change(key.as_wire(), |node| {
            match node.rrsets.iter_mut().find(|old| old.rtype == set.rtype) {
                Some(old) => *old = set,
                None => node.push(set),
            }
        })?;
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
        let named = self.node(key.as_wire())?;
        let zone = named.zone();
        if !named.rrset(rtype)?.data.iter().any(&which) {
            return None;
        }
        self.change(key.as_wire(), |node| {
            node.rrsets.retain_mut(|set| {
                if set.rtype == rtype {
                    let before = set.data.iter().take(set.ahead);
                    let before = before.filter(|data| !which(data)).count();
                    set.data.retain(|data| !which(data));
                    set.ahead = before;
                }
                !set.data.is_empty()
            });
        })?;
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
            self.change(above, |node| {
                node.children = node.children.saturating_sub(1);
                node.wildcard &= !name.starts_with(b"\x01*");
            });
            name = above;
        }
    }

    /// Makes a name exist, and the names between it and the nearest existing one; the zone, or none when that
    /// would be in none.
    fn make(&mut self, key: &NameKey) -> Option<usize> {
        let (zone, missing) = match self.find(key.as_wire(), hash(key.as_wire())) {
            Found::Node(node) => return Some(node.zone()),
            Found::Outside => return None,
            Found::Missing { closest, encloser } => {
                let above = suffixes(key.as_wire()).take_while(|name| name.len() > encloser.len());
                (closest.zone(), above)
            }
        };
        for name in missing {
            self.shard_mut(name).insert(name, zone);
            if let Some(above) = parent(name) {
                // The name above is not there yet unless it is the last one of all.
                self.shard_mut(above).insert(above, zone);
                self.change(above, |node| {
                    node.children += 1;
                    node.wildcard |= name.starts_with(b"\x01*");
                });
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

    fn change<R>(&mut self, wire: &[u8], change: impl FnOnce(&mut Node) -> R) -> Option<R> {
        self.shard_mut(wire).change(wire, change)
    }

    #[expect(clippy::indexing_slicing, reason = "shard_of is below SHARDS")]
    fn shard_mut(&mut self, wire: &[u8]) -> &mut Shard {
        Arc::make_mut(&mut self.shards[shard_of(hash(wire))])
    }
}

/// By bits of the hash that tell names apart within a part the least.
fn shard_of(hash: u64) -> usize {
    (hash >> 40) as usize % SHARDS
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
        let mut names: Vec<_> = nodes.iter().map(|named| named.wire().to_vec()).collect();
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
        const ABOVE: &[u8] = b"\x01b\x03lab\x04voip\0";
        let mut nodes = Nodes::new();
        nodes.add_apex(&name("lab.voip."), 0);
        nodes.add(&name("lab.voip."), 60, a(9));
        nodes.add(&name("a.b.lab.voip."), 60, a(1));
        nodes.add(&name("c.b.lab.voip."), 60, a(1));
        let find = |nodes: &Nodes| match nodes.find(ABOVE, hash(ABOVE)) {
            Found::Node(node) => Some(node.rrsets.len()),
            Found::Missing { .. } => None,
            Found::Outside => unreachable!(),
        };
        nodes.remove(&name("a.b.lab.voip."), RecordType::A, |_| true);
        assert_eq!(find(&nodes), Some(0));
        nodes.remove(&name("c.b.lab.voip."), RecordType::A, |_| true);
        assert_eq!(find(&nodes), None);
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
