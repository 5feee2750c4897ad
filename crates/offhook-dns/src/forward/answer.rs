//! What is believed and kept of an upstream's answer.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::NULL;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, Restrict};

use crate::name::NameKey;
use crate::reply::Question;

/// The longest name, octets.
pub(super) const NAME_MAX: usize = 255;

/// Record types that something here depends on.
pub(super) mod rtype {
    pub(in crate::forward) const A: u16 = 1;
    pub(in crate::forward) const NS: u16 = 2;
    pub(in crate::forward) const CNAME: u16 = 5;
    pub(in crate::forward) const SOA: u16 = 6;
    pub(in crate::forward) const PTR: u16 = 12;
    pub(in crate::forward) const MX: u16 = 15;
    pub(in crate::forward) const AAAA: u16 = 28;
    pub(in crate::forward) const SRV: u16 = 33;
    pub(in crate::forward) const NAPTR: u16 = 35;
    pub(in crate::forward) const DNAME: u16 = 39;
    pub(in crate::forward) const OPT: u16 = 41;
    pub(in crate::forward) const RRSIG: u16 = 46;
    pub(in crate::forward) const NSEC: u16 = 47;
    pub(in crate::forward) const NSEC3: u16 = 50;
    pub(in crate::forward) const ANY: u16 = 255;
}

/// An answer, scrubbed: nothing in it that the question does not lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether the name, or the last one of the chain of aliases, does not exist.
    pub(super) nxdomain: bool,
    /// Where the chain of aliases leaves what the upstream is trusted for; the rest is asked for elsewhere.
    pub(super) next: Option<Vec<u8>>,
    pub(super) answers: Vec<Set>,
    pub(super) authorities: Vec<Set>,
    pub(super) additionals: Vec<Set>,
    /// How long it holds, seconds; 0 is for this once.
    pub(super) ttl: u32,
}

/// All records of one name and type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Set {
    /// Wire form, in the upstream's letter case.
    pub(super) owner: Box<[u8]>,
    pub(super) rtype: u16,
    /// Seconds.
    pub(super) ttl: u32,
    /// Uncompressed.
    pub(super) data: Vec<Box<[u8]>>,
}

/// How old an answer is, for the TTLs that go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// Within its TTL, so many seconds after it came.
    Seconds(u32),
    /// Past its TTL; this is the TTL of everything in it now.
    Stale(u32),
}

impl Answer {
    /// How long it holds, seconds; 0 is for this once.
    pub fn ttl(&self) -> u32 {
        self.ttl
    }

    /// The response code: NOERROR or NXDOMAIN.
    pub fn response_code(&self) -> ResponseCode {
        if self.nxdomain { ResponseCode::NXDomain } else { ResponseCode::NoError }
    }

    /// Whether it says that there is nothing (RFC 2308): no such name, or no such record.
    pub(super) fn is_negative(&self) -> bool {
        self.nxdomain || self.authorities.iter().any(|set| set.rtype == rtype::SOA)
    }

    /// Names that it says something about, in lower-case wire form: those that it has records of, and those that aliases
    /// lead to, of which it may say that there are none.
    pub(super) fn names(&self) -> impl Iterator<Item = Vec<u8>> {
        let sections = [&self.answers, &self.authorities, &self.additionals];
        let owners = sections.into_iter().flatten().map(|set| &set.owner);
        let aliases = self.answers.iter().filter(|set| set.rtype == rtype::CNAME);
        let targets = aliases.flat_map(|set| &set.data);
        owners.chain(targets).map(|name| name.to_ascii_lowercase())
    }

    /// Octets in memory, about.
    pub(super) fn cost(&self) -> usize {
        let sections = [&self.answers, &self.authorities, &self.additionals];
        size_of::<Self>() + sections.into_iter().flatten().map(Set::cost).sum::<usize>()
    }

    /// The records of the answer section; what is owned by the name asked for has its name as the client spelt it.
    pub(super) fn answer_records(&self, asked: &Question, age: Age) -> Vec<Record> {
        records(&self.answers, asked, age)
    }

    pub(super) fn authority_records(&self, asked: &Question, age: Age) -> Vec<Record> {
        records(&self.authorities, asked, age)
    }

    pub(super) fn additional_records(&self, asked: &Question, age: Age) -> Vec<Record> {
        records(&self.additionals, asked, age)
    }
}

impl Set {
    fn cost(&self) -> usize {
        let data: usize = self.data.iter().map(|data| data.len() + size_of::<Box<[u8]>>()).sum();
        size_of::<Self>() + self.owner.len() + data
    }
}

fn records(sets: &[Set], asked: &Question, age: Age) -> Vec<Record> {
    let mut records = Vec::with_capacity(sets.iter().map(|set| set.data.len()).sum());
    let key = NameKey::of(&asked.name);
    for set in sets {
        let ttl = match age {
            Age::Seconds(seconds) => set.ttl.saturating_sub(seconds),
            Age::Stale(ttl) => ttl,
        };
        // What goes with an answer may have a shorter life than the answer.
        if ttl == 0 && set.ttl > 0 {
            continue;
        }
        let owner = match set.owner.eq_ignore_ascii_case(key.as_wire()) {
            true => asked.name.clone(),
            false => library_name(&set.owner).unwrap_or_default(),
        };
        for data in &set.data {
            records.push(Record::from_rdata(owner.clone(), ttl, rdata(set.rtype, data)));
        }
    }
    records
}

/// A name in wire form as the library has it.
pub(super) fn library_name(wire: &[u8]) -> Option<Name> {
    Name::read(&mut BinDecoder::new(wire)).ok()
}

/// Record data as the library has it: the types whose names it compresses (RFC 1035 knows no others that are in
/// use) in their own form, the others as octets.
fn rdata(rtype: u16, data: &[u8]) -> RData {
    let code = RecordType::from(rtype);
    if matches!(
        rtype,
        rtype::A | rtype::NS | rtype::CNAME | rtype::SOA | rtype::PTR | rtype::MX | rtype::AAAA
    ) && let Ok(length) = u16::try_from(data.len())
        && let Ok(data) = RData::read(&mut BinDecoder::new(data), code, Restrict::new(length))
    {
        return data;
    }
    let mut octets = NULL::new();
    octets.anything = data.to_vec();
    RData::Unknown { code, rdata: octets }
}
