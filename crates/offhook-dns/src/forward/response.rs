//! What a message from an upstream's address is to a question, and how much of it is believed.

use std::collections::HashSet;

use hickory_proto::op::ResponseCode;

use super::answer::{Answer, Set, rtype};
use super::query::Query;
use super::wire::{HEADER, RawRecord, Reader};
use crate::name::suffixes;

const CLASS_IN: u16 = 1;

/// Aliases that are followed one after the other; more is a loop or a prank.
const LONGEST_CHAIN: usize = 16;

/// Types that are taken of an answer to "any".
const MOST_TYPES: usize = 64;

/// Response codes that say "I know no EDNS" when they answer a question with it (RFC 6891 section 7).
const FORMERR: u16 = 1;
const NOTIMP: u16 = 4;
const BADVERS: u16 = 16;

const NOERROR: u16 = 0;
const SERVFAIL: u16 = 2;
const NXDOMAIN: u16 = 3;
const REFUSED: u16 = 5;

/// A message from an upstream's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Not the answer to this question: another id, another question, no response at all. Whoever sent it, the
    /// answer may still come.
    Foreign,
    /// It answers the question, and cannot be read or contradicts itself.
    Malformed,
    /// It did not fit; TCP will have all of it.
    Truncated,
    /// The server does not take EDNS: to be asked again without.
    NoEdns,
    /// The server has no answer: SERVFAIL, REFUSED or another code that says nothing about the name.
    Failed(ResponseCode),
    /// The server only knows who would know: it is no resolver, nor does it serve the zone.
    Referral,
    /// The answer.
    Answer(Answer),
}

/// How long answers hold, whatever they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of records, seconds.
    pub max_ttl: u32,
    /// Of "there is none", seconds.
    pub negative_ttl: u32,
}

/// The parts of a message that are looked at.
struct Sections {
    answers: Vec<RawRecord>,
    authorities: Vec<RawRecord>,
    additionals: Vec<RawRecord>,
    /// The upper eight bits of the response code, from OPT.
    rcode_high: u8,
}

impl Query {
    /// What `packet` is to this question, asked with `id` and with or without EDNS.
    ///
    /// `trusts` says for which names in lower-case wire form the one who sent it is responsible.
    pub fn read(
        &self,
        id: u16,
        edns: bool,
        packet: &[u8],
        limits: &Limits,
        trusts: &dyn Fn(&[u8]) -> bool,
    ) -> Response {
        let mut reader = Reader::new(packet);
        let header = (|| {
            let (id, flags) = (reader.u16()?, reader.u16()?);
            Some((id, flags, [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?]))
        })();
        let Some((theirs, flags, [questions, answers, authorities, additionals])) = header else {
            return Response::Foreign;
        };
        // QR set, opcode QUERY.
        if theirs != id || flags & 0xf800 != 0x8000 {
            return Response::Foreign;
        }
        let low = flags & 0xf;
        match questions {
            // A server that could not read the question cannot repeat it.
            0 if packet.len() == HEADER => {
                return match low {
                    FORMERR | NOTIMP if edns => Response::NoEdns,
                    FORMERR | NOTIMP | SERVFAIL | REFUSED => failed(low),
                    _ => Response::Foreign,
                };
            }
            1 => match reader.question() {
                Some(asked)
                    if asked.name.eq_ignore_ascii_case(self.name.as_wire())
                        && asked.qtype == self.qtype
                        && asked.qclass == CLASS_IN => {}
                _ => return Response::Foreign,
            },
            _ => return Response::Foreign,
        }
        if flags & 0x0200 != 0 {
            return Response::Truncated;
        }
        let Some(sections) = read_sections(&mut reader, [answers, authorities, additionals]) else {
            return if edns && matches!(low, FORMERR | NOTIMP) {
                Response::NoEdns
            } else {
                Response::Malformed
            };
        };
        match low | u16::from(sections.rcode_high) << 4 {
            code @ (NOERROR | NXDOMAIN) => {
                let authoritative = flags & 0x0400 != 0;
                Scrub { query: self, sections: &sections, limits, trusts }
                    .run(code == NXDOMAIN, authoritative)
            }
            FORMERR | NOTIMP | BADVERS if edns => Response::NoEdns,
            code => failed(code),
        }
    }
}

fn failed(code: u16) -> Response {
    // Twelve bits: more does not fit into a message.
    Response::Failed(ResponseCode::from((code >> 4) as u8, (code & 0xf) as u8))
}

fn read_sections(reader: &mut Reader<'_>, counts: [u16; 3]) -> Option<Sections> {
    let mut rcode_high = 0;
    let [answers, authorities, additionals] = counts.map(|count| {
        let mut records = Vec::new();
        for _ in 0..count {
            let record = reader.record()?;
            match record.rtype {
                rtype::OPT => rcode_high = (record.ttl >> 24) as u8,
                _ if record.class == CLASS_IN => records.push(record),
                _ => {}
            }
        }
        Some(records)
    });
    Some(Sections {
        answers: answers?,
        authorities: authorities?,
        additionals: additionals?,
        rcode_high,
    })
}

/// Takes from a message what belongs to the question.
struct Scrub<'a> {
    query: &'a Query,
    sections: &'a Sections,
    limits: &'a Limits,
    trusts: &'a dyn Fn(&[u8]) -> bool,
}

impl Scrub<'_> {
    fn run(&self, nxdomain: bool, authoritative: bool) -> Response {
        let mut answer = Answer {
            nxdomain,
            next: None,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
            ttl: self.limits.max_ttl,
        };
        let mut name = self.query.name.as_wire().to_vec();
        let mut visited = Vec::new();
        let found = loop {
            let records = self.final_records(&name);
            if !records.is_empty() {
                answer.answers.extend(records);
                break true;
            }
            let Some(alias) = self.alias(&name) else { break false };
            let Some(target) = alias.data.first().map(|data| data.to_ascii_lowercase()) else {
                break false;
            };
            for set in self.dname(&name, &target).into_iter().chain([alias]) {
                self.push_signed(&mut answer.answers, &self.sections.answers, set);
            }
            visited.push(std::mem::replace(&mut name, target));
            if visited.contains(&name) || visited.len() > LONGEST_CHAIN {
                return Response::Malformed;
            }
            if !(self.trusts)(&name) {
                answer.next = Some(name.clone());
                break false;
            }
        };
        if found && nxdomain {
            return Response::Malformed;
        }
        if answer.next.is_some() {
            // What is said about where it leads is said by the wrong one.
            answer.nxdomain = false;
        } else if found {
            answer.additionals = self.addresses_of(&answer.answers);
            answer.authorities = self.proofs();
        } else {
            match self.negative(&name) {
                Some((soa, ttl)) => {
                    answer.ttl = answer.ttl.min(ttl);
                    self.push_signed(&mut answer.authorities, &self.sections.authorities, soa);
                    answer.authorities.extend(self.proofs());
                }
                // Whoever follows aliases only so far is asked for the rest.
                None if !nxdomain && !visited.is_empty() => answer.next = Some(name),
                None if !nxdomain && !authoritative && self.refers(&name) => {
                    return Response::Referral;
                }
                // RFC 2308 section 5: without SOA it is not kept.
                None => answer.ttl = 0,
            }
        }
        let kept = answer.answers.iter().chain(&answer.authorities).map(|set| set.ttl);
        answer.ttl = kept.fold(answer.ttl, u32::min);
        Response::Answer(answer)
    }

    /// The records of `name` that were asked for, with their signatures.
    fn final_records(&self, name: &[u8]) -> Vec<Set> {
        let mut types: Vec<u16> = Vec::new();
        for record in &self.sections.answers {
            let wanted = record.rtype == self.query.qtype || self.query.qtype == rtype::ANY;
            if wanted
                && is(&record.owner, name)
                && !types.contains(&record.rtype)
                && types.len() < MOST_TYPES
            {
                types.push(record.rtype);
            }
        }
        let mut sets = Vec::new();
        for rtype in types {
            match self.set(&self.sections.answers, name, rtype) {
                // The signatures are among "any".
                Some(set) if self.query.qtype == rtype::ANY => sets.push(set),
                Some(set) => self.push_signed(&mut sets, &self.sections.answers, set),
                None => {}
            }
        }
        sets
    }

    /// The alias that `name` is: one record, whatever else is claimed.
    fn alias(&self, name: &[u8]) -> Option<Set> {
        let mut set = self.set(&self.sections.answers, name, rtype::CNAME)?;
        set.data.truncate(1);
        Some(set)
    }

    /// The DNAME that makes `name` an alias of `target` (RFC 6672), if there is one.
    fn dname(&self, name: &[u8], target: &[u8]) -> Option<Set> {
        suffixes(name).skip(1).filter(|owner| (self.trusts)(owner)).find_map(|owner| {
            let set = self.set(&self.sections.answers, owner, rtype::DNAME)?;
            let prefix = name.get(..name.len() - owner.len())?;
            let to = target.strip_prefix(prefix)?;
            set.data.first().is_some_and(|data| is(data, to)).then_some(set)
        })
    }

    /// The SOA that goes with "there is none", with how long that holds: RFC 2308 section 5.
    fn negative(&self, name: &[u8]) -> Option<(Set, u32)> {
        suffixes(name).find_map(|owner| {
            let mut set = self.set(&self.sections.authorities, owner, rtype::SOA)?;
            set.data.truncate(1);
            let minimum = set.data.first()?.last_chunk::<4>().copied().map(u32::from_be_bytes)?;
            set.ttl = set.ttl.min(minimum).min(self.limits.negative_ttl);
            let ttl = set.ttl;
            Some((set, ttl))
        })
    }

    /// Whether it says who else would know about `name`.
    fn refers(&self, name: &[u8]) -> bool {
        self.sections.authorities.iter().any(|record| {
            record.rtype == rtype::NS && suffixes(name).any(|owner| is(&record.owner, owner))
        })
    }

    /// Addresses of the servers that records name, of those that the upstream is trusted for.
    fn addresses_of(&self, answers: &[Set]) -> Vec<Set> {
        let mut targets: Vec<Vec<u8>> = Vec::new();
        for set in answers {
            let skip = match set.rtype {
                rtype::NS => 0,
                rtype::MX => 2,
                rtype::SRV => 6,
                _ => continue,
            };
            for target in set.data.iter().filter_map(|data| data.get(skip..)) {
                let target = target.to_ascii_lowercase();
                if !targets.contains(&target) && targets.len() < LONGEST_CHAIN {
                    targets.push(target);
                }
            }
        }
        targets
            .iter()
            .filter(|target| (self.trusts)(target))
            .flat_map(|target| [rtype::A, rtype::AAAA].map(|rtype| (target, rtype)))
            .filter_map(|(target, rtype)| self.set(&self.sections.additionals, target, rtype))
            .collect()
    }

    /// What proves to a client that validates that there is none, or no closer one.
    fn proofs(&self) -> Vec<Set> {
        let mut sets = Vec::new();
        if !self.query.dnssec_ok {
            return sets;
        }
        let authorities = &self.sections.authorities;
        for record in
            authorities.iter().filter(|record| matches!(record.rtype, rtype::NSEC | rtype::NSEC3))
        {
            let is_known = |set: &Set| set.rtype == record.rtype && is(&set.owner, &record.owner);
            if sets.iter().any(is_known) || !(self.trusts)(&record.owner.to_ascii_lowercase()) {
                continue;
            }
            if let Some(set) = self.set(authorities, &record.owner, record.rtype) {
                self.push_signed(&mut sets, authorities, set);
            }
            if sets.len() > 2 * LONGEST_CHAIN {
                break;
            }
        }
        sets
    }

    /// Adds a record set, and its signatures where they are wanted.
    fn push_signed(&self, to: &mut Vec<Set>, records: &[RawRecord], set: Set) {
        let covers = |record: &&RawRecord| {
            record.rtype == rtype::RRSIG
                && is(&record.owner, &set.owner)
                && record.data.first_chunk::<2>() == Some(&set.rtype.to_be_bytes())
        };
        let signatures = match self.query.dnssec_ok {
            true => self.gather(records.iter().filter(covers)),
            false => None,
        };
        to.push(set);
        to.extend(signatures);
    }

    fn set(&self, records: &[RawRecord], owner: &[u8], rtype: u16) -> Option<Set> {
        let belongs = |record: &&RawRecord| record.rtype == rtype && is(&record.owner, owner);
        self.gather(records.iter().filter(belongs))
    }

    /// Records of one name and type as a set: one TTL, no record twice (RFC 2181 section 5).
    fn gather<'r>(&self, mut records: impl Iterator<Item = &'r RawRecord>) -> Option<Set> {
        let first = records.next()?;
        let mut set = Set {
            owner: first.owner.as_slice().into(),
            rtype: first.rtype,
            ttl: first.ttl.min(self.limits.max_ttl),
            data: vec![first.data.as_slice().into()],
        };
        let mut seen = HashSet::from([first.data.as_slice()]);
        for record in records {
            set.ttl = set.ttl.min(record.ttl);
            if seen.insert(&record.data) {
                set.data.push(record.data.as_slice().into());
            }
        }
        Some(set)
    }
}

/// Whether two names in wire form are the same.
fn is(a: &[u8], b: &[u8]) -> bool {
    a.eq_ignore_ascii_case(b)
}
