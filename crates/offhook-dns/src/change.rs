//! Changing a snapshot: each method copies what it changes and shares the rest with whoever serves the old one.

use std::sync::Arc;

use hickory_proto::rr::{Name, RData, RecordType};

use crate::name::NameKey;
use crate::nodes::RrSet;
use crate::zones::{Zone, Zones};

impl Zones {
    /// Adds a record; whether anything is different now: not when it is there already, or `owner` is in none of
    /// our zones. The TTL of the set becomes the shorter one (RFC 2181 section 5.2); seconds.
    pub fn add_record(&mut self, owner: &Name, ttl: u32, data: RData) -> bool {
        let rtype = data.record_type();
        let there = |set: &RrSet| set.ttl <= ttl && set.data.contains(&data);
        if self.rrset(owner, rtype).is_some_and(there) {
            return false;
        }
        let zone = Arc::make_mut(&mut self.nodes).add(owner, ttl, data);
        self.notice(zone, owner, rtype)
    }

    /// Puts these records, all of one type, in place of those of their type; whether anything is different now.
    /// The first `ahead` of them go before the others in every answer; 0 is "all alike". TTL in seconds.
    pub fn set_records(&mut self, owner: &Name, ttl: u32, data: Vec<RData>, ahead: usize) -> bool {
        let Some(rtype) = data.first().map(RData::record_type) else { return false };
        let ahead = ahead.min(data.len());
        let same = |set: &RrSet| set.ttl == ttl && set.ahead == ahead && set.data == data;
        if self.rrset(owner, rtype).is_some_and(same) {
            return false;
        }
        let set = RrSet { rtype, ttl, data, ahead };
        let zone = Arc::make_mut(&mut self.nodes).set(owner, set);
        self.notice(zone, owner, rtype)
    }

    /// Removes one record; whether it was there.
    pub fn remove_record(&mut self, owner: &Name, data: &RData) -> bool {
        let rtype = data.record_type();
        self.rrset(owner, rtype).is_some_and(|set| set.data.contains(data))
            && Arc::make_mut(&mut self.nodes).remove(owner, rtype, |other| other == data).is_some()
    }

    /// Removes all records of a name and type; whether there were any. The SOA of a zone stays.
    pub fn remove_records(&mut self, owner: &Name, rtype: RecordType) -> bool {
        rtype != RecordType::SOA
            && self.rrset(owner, rtype).is_some()
            && Arc::make_mut(&mut self.nodes).remove(owner, rtype, |_| true).is_some()
    }

    /// Adds a zone with its SOA.
    pub(crate) fn add_zone(&mut self, zone: Zone) {
        let zones = Arc::make_mut(&mut self.zones);
        let nodes = Arc::make_mut(&mut self.nodes);
        nodes.add_apex(&zone.apex, zones.len());
        nodes.add(&zone.apex, zone.soa_ttl, zone.negative.data.clone());
        zones.push(zone);
    }

    pub(crate) fn rrset(&self, owner: &Name, rtype: RecordType) -> Option<&RrSet> {
        self.nodes.node(NameKey::of(owner).as_wire())?.rrset(rtype)
    }

    /// Remembers that names below `owner` are answered otherwise than elsewhere; whether there is such a zone.
    fn notice(&mut self, index: Option<usize>, owner: &Name, rtype: RecordType) -> bool {
        let Some((index, zone)) = index.and_then(|index| Some((index, self.zones.get(index)?)))
        else {
            return false;
        };
        let is_cut = rtype == RecordType::DNAME || (rtype == RecordType::NS && *owner != zone.apex);
        if is_cut
            && !zone.has_cuts
            && let Some(zone) = Arc::make_mut(&mut self.zones).get_mut(index)
        {
            zone.has_cuts = true;
        }
        true
    }
}
