//! What a name leads to (RFC 1034 section 4.3.2): its records, a wildcard's, a referral, a DNAME, or nothing.

use std::borrow::Cow;

use hickory_proto::rr::RecordType;

use crate::leases::{Lead, Leased};
use crate::name::suffixes;
use crate::named::{Named, hash};
use crate::nodes::{Found, Node, RrSet};
use crate::zones::{Zone, Zones};

/// DS (RFC 4034), the one type that the parent's side of a delegation answers.
const DS: u16 = 43;

/// The longest name, octets.
const LONGEST: usize = 255;

/// What a name leads to; `'n` is the life of the name asked for.
#[derive(Debug)]
pub(crate) enum Lookup<'z, 'n> {
    /// The name exists, or a wildcard stands for it.
    Node { zone: &'z Zone, node: &'z Named },
    /// The name exists for a lease's sake.
    Lease { zone: &'z Zone, leased: Leased<'z> },
    /// The name does not exist, and no wildcard stands for it.
    Missing { zone: &'z Zone },
    /// The name is at or below a delegation: whom to ask instead.
    Referral { cut: &'n [u8], servers: &'z RrSet },
    /// Everything below `owner` is elsewhere.
    Dname { owner: &'n [u8], set: &'z RrSet },
    /// The name is in none of our zones.
    Outside,
}

impl Zones {
    /// What a name in lower-case wire form leads to, when records of type `qtype` are wanted.
    pub(crate) fn lookup<'n>(&self, wire: &'n [u8], qtype: u16) -> Lookup<'_, 'n> {
        self.lookup_from(wire, qtype, hash(wire), Lead::default())
    }

    /// The same when the hash of the name is known, and perhaps a lead to the lease that may have it.
    pub(crate) fn lookup_from<'n>(
        &self,
        wire: &'n [u8],
        qtype: u16,
        hash: u64,
        lead: Lead,
    ) -> Lookup<'_, 'n> {
        let (found, zone) = self.find_by(wire, hash);
        let Some(zone) = zone else { return Lookup::Outside };
        if zone.has_cuts
            && let Some(elsewhere) = self.cut(zone, wire, qtype)
        {
            return elsewhere;
        }
        match found {
            Found::Node(node) => Lookup::Node { zone, node },
            Found::Missing { closest, encloser } => {
                if let Some(leased) = self.leases.find_by(wire, lead) {
                    return Lookup::Lease { zone, leased };
                }
                // RFC 4592 section 3.3.1: the source of synthesis is the `*` right below the closest encloser.
                let wildcard = closest.wildcard && !self.is_below_a_lease(wire, encloser);
                match wildcard.then(|| self.wildcard(encloser)).flatten() {
                    Some(node) => Lookup::Node { zone, node },
                    None => Lookup::Missing { zone },
                }
            }
            Found::Outside => Lookup::Outside,
        }
    }

    /// The name that may go with an answer as its target, in lower-case wire form: ours, and not below a
    /// delegation, where it is somebody else's.
    pub(crate) fn target(&self, wire: &[u8]) -> Option<Cow<'_, Node>> {
        match self.lookup(wire, 0) {
            Lookup::Node { node, .. } => Some(Cow::Borrowed(&**node)),
            Lookup::Lease { leased, .. } => Some(Cow::Owned(leased.node())),
            _ => None,
        }
    }

    /// Whether a name in lower-case wire form is none that a lease may have: the configuration has it, it is in no
    /// zone of ours, or somebody else has been given what it is in.
    pub fn is_taken(&self, wire: &[u8]) -> bool {
        match self.find(wire) {
            (Found::Missing { .. }, Some(zone)) => {
                zone.has_cuts && self.cut(zone, wire, 0).is_some()
            }
            _ => true,
        }
    }

    /// Whether the name of a lease is nearer above `wire` than the closest encloser that the configuration has.
    fn is_below_a_lease(&self, wire: &[u8], encloser: &[u8]) -> bool {
        let between = suffixes(wire).skip(1).take_while(|name| name.len() > encloser.len());
        between.into_iter().any(|name| self.leases.find(name).is_some())
    }

    fn wildcard(&self, encloser: &[u8]) -> Option<&Named> {
        let mut buffer = [0; LONGEST];
        let name = buffer.get_mut(..encloser.len() + 2)?;
        let (star, rest) = name.split_at_mut(2);
        star.copy_from_slice(b"\x01*");
        rest.copy_from_slice(encloser);
        self.nodes.node(name)
    }

    /// The topmost delegation or DNAME that a name in this zone is at or below.
    fn cut<'n>(&self, zone: &Zone, wire: &'n [u8], qtype: u16) -> Option<Lookup<'_, 'n>> {
        let apex = zone.key.as_wire();
        let mut topmost = None;
        for name in suffixes(wire).take_while(|name| name.len() >= apex.len()) {
            let Some(node) = self.nodes.node(name) else { continue };
            let is_apex = name.len() == apex.len();
            if let Some(servers) = node.rrset(RecordType::NS)
                && !is_apex
                && !(qtype == DS && name.len() == wire.len())
            {
                topmost = Some(Lookup::Referral { cut: name, servers });
            } else if let Some(set) = node.rrset(RecordType::DNAME)
                && name.len() < wire.len()
            {
                topmost = Some(Lookup::Dname { owner: name, set });
            }
        }
        topmost
    }
}
