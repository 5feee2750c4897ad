//! Filling the sections of an answer from the zones: records, aliases and where they lead, referrals, and what
//! goes with them in the additional section.

use std::borrow::Cow;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use crate::lookup::Lookup;
use crate::name::NameKey;
use crate::nodes::{Node, RrSet};
use crate::order::{Order, shuffle};
use crate::reply::Reply;
use crate::zones::{Zone, Zones};

/// How many aliases are followed one after the other: more is a mistake of the zone's.
const LONGEST_CHAIN: usize = 16;

/// RFC 8482 section 4.1: one record set is answer enough.
const ANY: u16 = 255;

const CNAME_TYPE: u16 = 5;

/// Types that an alias itself may have: CNAME, and KEY, RRSIG and NSEC, which are about this very name (RFC 2181
/// section 10.1, RFC 4034 sections 3 and 4).
const OF_AN_ALIAS: [u16; 4] = [CNAME_TYPE, 25, 46, 47];

/// Where a walk through the zones ended.
pub(crate) enum End {
    /// The answer is all there.
    Complete,
    /// The name asked for is in none of our zones.
    Outside,
    /// Aliases lead to this name, which is in none of our zones.
    LeadsTo(Name),
}

/// An answer in the making.
pub(crate) struct Respond<'z, 'r, O> {
    zones: &'z Zones,
    reply: &'r mut Reply,
    order: &'r mut O,
    qtype: u16,
}

impl<'z, 'r, O: Order> Respond<'z, 'r, O> {
    pub(crate) fn new(
        zones: &'z Zones,
        reply: &'r mut Reply,
        order: &'r mut O,
        qtype: u16,
    ) -> Self {
        Self { zones, reply, order, qtype }
    }

    /// Answers for `name`, whose lower-case wire form is `key`, and for every name that it is an alias of.
    pub(crate) fn run(mut self, name: &Name, key: &[u8]) -> End {
        let mut name = name.clone();
        let mut key = key.to_vec();
        let mut visited: Vec<Vec<u8>> = Vec::new();
        loop {
            let alias = match self.zones.lookup(&key, self.qtype) {
                Lookup::Node { zone, node } => match self.alias(node, &name) {
                    Some(target) => target,
                    None => {
                        self.records_of(zone, node, &name);
                        return End::Complete;
                    }
                },
                Lookup::Lease { zone, leased } => {
                    self.records_of(zone, &leased.node(), &name);
                    return End::Complete;
                }
                Lookup::Missing { zone } => {
                    self.reply.metadata.response_code = ResponseCode::NXDomain;
                    self.reply.authorities.push(zone.negative.clone());
                    return End::Complete;
                }
                Lookup::Referral { cut, servers } => {
                    // RFC 1034 section 6.2.6: a referral alone is nobody's authoritative answer.
                    self.reply.metadata.authoritative &= !visited.is_empty();
                    self.refer(cut, servers);
                    return End::Complete;
                }
                Lookup::Dname { owner, set, .. } => match self.dname(&name, &key, owner, set) {
                    // The alias itself was asked for, and is there now.
                    Some(_) if matches!(self.qtype, CNAME_TYPE | ANY) => return End::Complete,
                    Some(target) => target,
                    None => {
                        self.reply.metadata.response_code = ResponseCode::YXDomain;
                        return End::Complete;
                    }
                },
                Lookup::Outside if visited.is_empty() => return End::Outside,
                Lookup::Outside => return End::LeadsTo(name),
            };
            visited.push(key);
            key = NameKey::of(&alias).as_wire().to_vec();
            if visited.contains(&key) || visited.len() >= LONGEST_CHAIN {
                // What is there looks like "no such record" otherwise.
                self.reply.metadata.response_code = ResponseCode::ServFail;
                return End::Complete;
            }
            name = alias;
        }
    }

    /// What the name is an alias of, unless it is the alias itself that was asked for; its CNAME is then in the
    /// answer.
    fn alias(&mut self, node: &Node, name: &Name) -> Option<Name> {
        if self.is_of_an_alias() {
            return None;
        }
        let set = node.rrset(RecordType::CNAME)?;
        let RData::CNAME(CNAME(target)) = set.data.first()? else { return None };
        self.reply.answers.push(Record::from_rdata(
            name.clone(),
            set.ttl,
            RData::CNAME(CNAME(target.clone())),
        ));
        Some(target.clone())
    }

    fn is_of_an_alias(&self) -> bool {
        self.qtype == ANY || OF_AN_ALIAS.contains(&self.qtype)
    }

    /// The name that a DNAME makes of `name`; none when that is longer than a name can be (RFC 6672 section 2.2).
    fn dname(&mut self, name: &Name, key: &[u8], owner: &[u8], set: &RrSet) -> Option<Name> {
        let owner_labels = crate::name::suffixes(owner).count() - 1;
        let kept = crate::name::suffixes(key).count() - 1 - owner_labels;
        let RData::Unknown { rdata: data, .. } = set.data.first()? else { return None };
        let target = Name::read(&mut BinDecoder::new(&data.anything)).ok()?;
        let owner = Name::from_labels(name.iter().skip(kept)).ok()?;
        self.reply.answers.push(Record::from_rdata(
            owner,
            set.ttl,
            RData::Unknown { code: set.rtype, rdata: data.clone() },
        ));
        let new = Name::from_labels(name.iter().take(kept).chain(target.iter())).ok()?;
        let alias = RData::CNAME(CNAME(new.clone()));
        self.reply.answers.push(Record::from_rdata(name.clone(), set.ttl, alias));
        Some(new)
    }

    /// The records of a name that exists, or that it has none of this type.
    fn records_of(&mut self, zone: &Zone, node: &Node, name: &Name) {
        let set = match self.qtype {
            ANY => node.rrsets.first(),
            rtype => node.rrset(RecordType::from(rtype)),
        };
        let Some(set) = set else {
            self.reply.authorities.push(zone.negative.clone());
            return;
        };
        let records = self.ordered(set, name);
        self.reply.answers.extend(records);
        if self.qtype != ANY {
            self.go_along(set);
        }
    }

    /// What whoever gets this set asks for next, as far as we have it.
    fn go_along(&mut self, set: &RrSet) {
        let mut targets: Vec<&Name> = Vec::new();
        let mut services: Vec<&Name> = Vec::new();
        for data in &set.data {
            let target = match data {
                RData::SRV(srv) => &srv.target,
                RData::NS(ns) => &ns.0,
                RData::MX(mx) => &mx.exchange,
                RData::NAPTR(naptr) if naptr.flags.eq_ignore_ascii_case(b"a") => &naptr.replacement,
                RData::NAPTR(naptr) if naptr.flags.eq_ignore_ascii_case(b"s") => {
                    services.push(&naptr.replacement);
                    continue;
                }
                _ => continue,
            };
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        for service in services {
            // Leases have no SRV records.
            let node = self.zones.target(NameKey::of(service).as_wire());
            let Some(Cow::Borrowed(node)) = node else { continue };
            let Some(set) = node.rrset(RecordType::SRV) else { continue };
            let records = self.ordered(set, service);
            self.add_along(records);
            for data in &set.data {
                if let RData::SRV(srv) = data
                    && !targets.contains(&&srv.target)
                {
                    targets.push(&srv.target);
                }
            }
        }
        for target in targets {
            if let Some(node) = self.zones.target(NameKey::of(target).as_wire()) {
                self.addresses(&node, target);
            }
        }
    }

    fn addresses(&mut self, node: &Node, name: &Name) {
        for rtype in [RecordType::A, RecordType::AAAA] {
            if let Some(set) = node.rrset(rtype) {
                let records = self.ordered(set, name);
                self.add_along(records);
            }
        }
    }

    /// Adds a record set to the additional section, unless the message has it already.
    fn add_along(&mut self, records: Vec<Record>) {
        let Some(first) = records.first() else { return };
        let is_same =
            |other: &Record| other.record_type() == first.record_type() && other.name == first.name;
        let reply = &mut self.reply;
        if !reply.answers.iter().chain(&reply.additionals).any(is_same) {
            reply.additionals.extend(records);
        }
    }

    /// Whom to ask instead, and where those are.
    fn refer(&mut self, cut: &[u8], servers: &RrSet) {
        let Ok(owner) = Name::read(&mut BinDecoder::new(cut)) else { return };
        let records = self.ordered(servers, &owner);
        // RFC 9471: addresses of servers below the cut cannot be had from anybody else, so they go first and an
        // answer without them is truncated.
        let (below, beside): (Vec<_>, Vec<_>) = servers
            .data
            .iter()
            .filter_map(|data| match data {
                RData::NS(ns) => Some(&ns.0),
                _ => None,
            })
            .partition(|name| owner.zone_of(name));
        self.reply.authorities.extend(records);
        for name in below {
            if let Some(node) = self.zones.nodes.node(NameKey::of(name).as_wire()) {
                self.addresses(node, name);
            }
        }
        self.reply.needed_additionals = self.reply.additionals.len();
        for name in beside {
            // What we hold below another delegation is glue as well.
            if let Some(node) = self.zones.nodes.node(NameKey::of(name).as_wire()) {
                self.addresses(node, name);
            }
        }
    }

    /// A record set under the name it was asked by, in the order it is to be sent.
    fn ordered(&mut self, set: &RrSet, owner: &Name) -> Vec<Record> {
        let mut records: Vec<Record> = set
            .data
            .iter()
            .map(|data| Record::from_rdata(owner.clone(), set.ttl, data.clone()))
            .collect();
        if set.shuffled() {
            let (ahead, others) = records.split_at_mut(set.ahead.min(set.data.len()));
            shuffle(ahead, self.order);
            shuffle(others, self.order);
        }
        records
    }
}
