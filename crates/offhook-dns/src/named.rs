//! The names of a part of the zones, kept so that most questions are answered from one line of the processor's cache.
//!
//! With 100,000 names what a look-up costs is the memory it has to wait for: a name and its only address are therefore
//! side by side, and what else the name has is elsewhere.

use std::hash::Hasher;
use std::net::Ipv4Addr;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use hashbrown::HashTable;
use hickory_proto::rr::{RData, RecordType};
use rustc_hash::FxHasher;

use crate::nodes::Node;

/// Octets of the longest name that needs no memory of its own: a phone's in most zones.
const SHORT: usize = 38;

/// By which a name in lower-case wire form is found, as long as the program runs.
pub(crate) fn hash(wire: &[u8]) -> u64 {
    // Keeps strangers from choosing names that collide.
    static SEED: LazyLock<usize> = LazyLock::new(|| rand::random::<u64>() as usize);
    let mut hasher = FxHasher::with_seed(*SEED);
    hasher.write(wire);
    hasher.finish()
}

/// A name that exists, and what it has.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(crate) struct Named {
    key: Key,
    node: Arc<Node>,
    /// Index of the zone the name belongs to.
    zone: u32,
    address: Option<Sole>,
}

const _: () = assert!(size_of::<Named>() == 64);

/// A name in lower-case wire form.
#[derive(Clone, Debug)]
enum Key {
    Short { length: u8, octets: [u8; SHORT] },
    Long(Arc<[u8]>),
}

/// The only address of a name that is no alias, as in its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sole {
    pub(crate) address: Ipv4Addr,
    /// Seconds.
    pub(crate) ttl: u32,
}

impl Named {
    fn new(wire: &[u8], zone: usize) -> Self {
        let mut octets = [0; SHORT];
        let key = match octets.get_mut(..wire.len()) {
            Some(short) => {
                short.copy_from_slice(wire);
                Key::Short { length: wire.len() as u8, octets }
            }
            None => Key::Long(wire.into()),
        };
        Self { key, node: Arc::default(), zone: zone as u32, address: None }
    }

    /// The name in lower-case wire form.
    pub(crate) fn wire(&self) -> &[u8] {
        match &self.key {
            Key::Short { length, octets } => octets.get(..usize::from(*length)).unwrap_or_default(),
            Key::Long(wire) => wire,
        }
    }

    /// Index of the zone the name belongs to.
    pub(crate) fn zone(&self) -> usize {
        self.zone as usize
    }

    /// All there is to say to who asks for its IPv4 address, if that is one record.
    pub(crate) fn sole_address(&self) -> Option<Sole> {
        self.address
    }

    fn change<R>(&mut self, change: impl FnOnce(&mut Node) -> R) -> R {
        let node = Arc::make_mut(&mut self.node);
        let result = change(node);
        self.address = Sole::of(node);
        result
    }
}

impl Deref for Named {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

impl Sole {
    fn of(node: &Node) -> Option<Self> {
        if node.rrset(RecordType::CNAME).is_some() {
            return None;
        }
        let set = node.rrset(RecordType::A)?;
        let [RData::A(address)] = set.data.as_slice() else { return None };
        Some(Self { address: address.0, ttl: set.ttl })
    }
}

/// Names by their hash.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shard(HashTable<Named>);

impl PartialEq for Shard {
    fn eq(&self, other: &Self) -> bool {
        let same = |named: &Named| {
            let twin = other.find(hash(named.wire()), named.wire());
            twin.is_some_and(|twin| twin.zone == named.zone && twin.node == named.node)
        };
        self.0.len() == other.0.len() && self.0.iter().all(same)
    }
}

impl Shard {
    pub(crate) fn find(&self, hash: u64, wire: &[u8]) -> Option<&Named> {
        self.0.find(hash, |named| named.wire() == wire)
    }

    /// Something of the name that has this hash.
    pub(crate) fn glance(&self, hash: u64) -> Option<u32> {
        self.0.find(hash, |_| true).map(|named| named.zone)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// In no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Named> {
        self.0.iter()
    }

    /// Makes a name exist, if it does not.
    pub(crate) fn insert(&mut self, wire: &[u8], zone: usize) {
        let is_it = |named: &Named| named.wire() == wire;
        let hash_of = |named: &Named| hash(named.wire());
        self.0.entry(hash(wire), is_it, hash_of).or_insert_with(|| Named::new(wire, zone));
    }

    pub(crate) fn remove(&mut self, wire: &[u8]) {
        if let Ok(found) = self.0.find_entry(hash(wire), |named| named.wire() == wire) {
            found.remove();
        }
    }

    /// Changes what a name has; none when it does not exist.
    pub(crate) fn change<R>(
        &mut self,
        wire: &[u8],
        change: impl FnOnce(&mut Node) -> R,
    ) -> Option<R> {
        let named = self.0.find_mut(hash(wire), |named| named.wire() == wire)?;
        Some(named.change(change))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hickory_proto::rr::Name;
    use hickory_proto::rr::rdata::{A, CNAME};
    use proptest::prelude::*;

    use super::*;
    use crate::name::NameKey;
    use crate::nodes::{Nodes, RrSet};

    /// One name above another, short ones, and some as long as names kept apart are, and a little shorter.
    fn owner(number: usize) -> Name {
        let label = match number {
            0..4 => format!("phone{number}"),
            4..6 => format!("x.phone{number}"),
            _ => "y".repeat(21 + number),
        };
        Name::from_ascii(format!("{label}.lab.voip.")).unwrap()
    }

    fn data(kind: u8) -> RData {
        match kind {
            0..3 => RData::A(A::new(192, 0, 2, kind)),
            _ => RData::CNAME(CNAME(owner(0))),
        }
    }

    fn empty() -> Nodes {
        let mut nodes = Nodes::new();
        let apex = Name::from_ascii("lab.voip.").unwrap();
        nodes.add_apex(&apex, 0);
        // Or it would be gone with the last name below it.
        nodes.add(&apex, 60, data(0));
        nodes
    }

    proptest! {
        #[test]
        fn the_sole_address_of_a_name_is_the_one_it_has(
            steps in prop::collection::vec((0..12_usize, 0..4_u8, 1..5_u32, 0..3_u8), 1..80),
        ) {
            let mut nodes = empty();
            let mut model: BTreeMap<(usize, RecordType), (u32, Vec<RData>)> = BTreeMap::new();
            for (number, kind, ttl, what) in steps {
                let (name, data) = (owner(number), data(kind));
                let rtype = data.record_type();
                match what {
                    0 => {
                        nodes.remove(&name, rtype, |other| *other == data);
                        if let Some((_, all)) = model.get_mut(&(number, rtype)) {
                            all.retain(|other| *other != data);
                        }
                        model.retain(|_, (_, all)| !all.is_empty());
                    }
                    1 => {
                        nodes.add(&name, ttl, data.clone());
                        let (shortest, all) = model.entry((number, rtype)).or_insert((ttl, vec![]));
                        *shortest = ttl.min(*shortest);
                        if !all.contains(&data) {
                            all.push(data);
                        }
                    }
                    _ => {
                        let set = RrSet { rtype, ttl, data: vec![data.clone()], ahead: 0 };
                        nodes.set(&name, set);
                        model.insert((number, rtype), (ttl, vec![data]));
                    }
                }
                for number in 0..12 {
                    let is_alias = model.contains_key(&(number, RecordType::CNAME));
                    let expected = match model.get(&(number, RecordType::A)) {
                        Some((ttl, all)) if !is_alias && all.len() == 1 => {
                            let RData::A(address) = all[0] else { unreachable!() };
                            Some(Sole { address: address.0, ttl: *ttl })
                        }
                        _ => None,
                    };
                    let key = NameKey::of(&owner(number));
                    let named = nodes.node(key.as_wire());
                    prop_assert_eq!(named.and_then(Named::sole_address), expected);
                    let exists = is_alias || model.contains_key(&(number, RecordType::A));
                    prop_assert_eq!(named.is_some(), exists);
                    prop_assert!(named.is_none_or(|named| named.wire() == key.as_wire()));
                }
            }
            // The same in another order is the same, and with one record less it is not.
            let mut again = empty();
            for ((number, _), (ttl, all)) in model.iter().rev() {
                for data in all {
                    again.add(&owner(*number), *ttl, data.clone());
                }
            }
            prop_assert_eq!(&again, &nodes);
            if let Some(((number, rtype), (_, all))) = model.first_key_value() {
                again.remove(&owner(*number), *rtype, |data| *data == all[0]);
                prop_assert_ne!(&again, &nodes);
            }
        }
    }
}
