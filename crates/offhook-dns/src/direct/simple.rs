//! Answers too simple to be worth remembering: one address or PTR record, or that there is none.
//!
//! Of these there may be as many as there are phones, or as strangers can think of names. They are put together
//! from what [`Zones::lookup`] finds, which is what [`crate::answer`] starts from, too.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, RecordType};
use rustc_hash::FxHashMap;

use super::query::{Head, Plain, Writer};
use super::{Answered, negative::Negative};
use crate::leases::Leased;
use crate::lookup::Lookup;
use crate::name::{NameKey, suffixes};
use crate::named::Sole;
use crate::nodes::{Node, RrSet};
use crate::zones::{Zone, Zones};

/// What is remembered to say "there is none" with, by zone.
#[derive(Debug, Default)]
pub(super) struct Simple {
    negatives: FxHashMap<NameKey, Option<Negative>>,
}

impl Simple {
    /// Forgets everything: the zones have changed.
    pub(super) fn forget(&mut self) {
        self.negatives.clear();
    }

    /// Writes the answer to a query for `name`, in lower-case wire form, which leads to what was found; none when it is
    /// not a simple one.
    pub(super) fn answer(
        &mut self,
        zones: &Zones,
        found: Lookup<'_, '_>,
        query: &Plain<'_>,
        name: &[u8],
        recursion_available: bool,
        room: &mut [u8],
    ) -> Option<Answered> {
        let qtype = query.qtype();
        // OPT, and QTYPEs that are no record types (RFC 6895 section 3.1).
        if matches!(qtype, 41 | 128..=255) {
            return None;
        }
        let head = Head { recursion_available, ..Head::default() };
        match found {
            Lookup::Node { node, .. }
                if qtype == u16::from(RecordType::A)
                    && let Some(Sole { address, ttl }) = node.sole_address() =>
            {
                let mut writer = query.start(Head { answers: 1, ..head }, room)?;
                writer.record(RecordType::A, ttl, 4)?;
                writer.put(&address.octets())?;
                query.finish(writer)
            }
            Lookup::Node { zone, node } => match record_set(node, qtype) {
                Some(Some(set)) => {
                    let mut writer = query.start(Head { answers: 1, ..head }, room)?;
                    record(set, name, &mut writer)?;
                    query.finish(writer)
                }
                Some(None) => self.none(zones, zone, query, name, head, room),
                None => None,
            },
            Lookup::Lease { zone, leased } => {
                let mut writer = query.start(Head { answers: 1, ..head }, room)?;
                match (leased, RecordType::from(qtype)) {
                    (Leased::Address { to, ttl }, RecordType::A) => {
                        writer.record(RecordType::A, ttl, 4)?;
                        writer.put(&to.octets())?;
                    }
                    (Leased::Name { label, zone, ttl }, RecordType::PTR) => {
                        let length = 1 + label.len() + zone.len();
                        let top = suffixes(zone).filter(|rest| rest.len() > 1).last()?;
                        is_apart(top.get(1..top.len() - 1)?, name)?;
                        writer.record(RecordType::PTR, ttl, length as u16)?;
                        writer.put(&[label.len() as u8])?;
                        writer.put(label.as_bytes())?;
                        writer.put(zone)?;
                    }
                    _ => return self.none(zones, zone, query, name, head, room),
                }
                query.finish(writer)
            }
            Lookup::Missing { zone } => {
                let head = Head { rcode: ResponseCode::NXDomain.low(), ..head };
                self.none(zones, zone, query, name, head, room)
            }
            Lookup::Referral { .. } | Lookup::Dname { .. } | Lookup::Outside => None,
        }
    }

    fn none(
        &mut self,
        zones: &Zones,
        zone: &Zone,
        query: &Plain<'_>,
        name: &[u8],
        head: Head,
        room: &mut [u8],
    ) -> Option<Answered> {
        let negative = match self.negatives.get(zone.key.as_wire()) {
            Some(known) => known,
            None => self
                .negatives
                .entry(zone.key.clone())
                .or_insert_with(|| Negative::of(zone, zones.serial())),
        };
        let mut writer = query.start(Head { authorities: 1, ..head }, room)?;
        negative.as_ref()?.write(name, &mut writer)?;
        query.finish(writer)
    }
}

/// The record set that answers for a type, if there is one; none when the name leads somewhere else.
fn record_set(node: &Node, qtype: u16) -> Option<Option<&RrSet>> {
    let rtype = RecordType::from(qtype);
    if node.rrset(RecordType::CNAME).is_some() {
        return None;
    }
    Some(node.rrset(rtype))
}

/// Writes the only record of a set, if it is one of a kind that nothing goes along with.
fn record(set: &RrSet, name: &[u8], writer: &mut Writer<'_>) -> Option<()> {
    let [data] = set.data.as_slice() else { return None };
    match data {
        RData::AAAA(address) => {
            writer.record(set.rtype, set.ttl, 16)?;
            writer.put(&address.octets())
        }
        RData::PTR(target) => {
            is_apart(target.iter().next_back()?, name)?;
            let length = target.iter().map(|label| label.len() + 1).sum::<usize>() + 1;
            writer.record(set.rtype, set.ttl, u16::try_from(length).ok()?)?;
            for label in target.iter() {
                writer.put(&[label.len() as u8])?;
                writer.put(label)?;
            }
            writer.put(&[0])
        }
        _ => None,
    }
}

/// None when a name with this last label has something in common with the name in the question, or may have: then
/// there is something to compress.
fn is_apart(last: &[u8], name: &[u8]) -> Option<()> {
    (!name.strip_suffix(b"\0")?.ends_with(last)).then_some(())
}
