//! "There is none": the SOA record of a zone, as it follows any question about the zone.

use hickory_proto::rr::RData;

use super::query::Writer;
use crate::answer::{Client, Transport};
use crate::name::{NameKey, suffixes};
use crate::reply::Reply;
use crate::request::Request;
use crate::zones::Zone;

/// A label that stands for those a question has above the zone; not one that a host has.
const ANY_LABEL: &[u8] = b"\x01\0";

/// Longer names may have so many labels that the library, which points to the first 64 only, finds no apex.
const LONGEST: usize = 100;

/// The SOA record of a zone behind a question for a name in it, written once.
#[derive(Debug)]
pub(super) struct Negative {
    /// As it is behind a question whose name is [`ANY_LABEL`] and the apex.
    record: Box<[u8]>,
    /// Where in it there are compression pointers. All point to the apex in the question, or to what is behind
    /// the question: both move with the length of the labels above the apex.
    pointers: Vec<usize>,
    /// Octets of the apex.
    apex: usize,
    /// The names right below the apex that the record has: questions in which they occur have something more to
    /// point to.
    mentioned: Vec<NameKey>,
}

impl Negative {
    /// None when the record cannot be written like this.
    pub(super) fn of(zone: &Zone, serial: u32) -> Option<Self> {
        let apex = zone.key.as_wire();
        let RData::SOA(soa) = &zone.negative.data else { return None };
        let any = [ANY_LABEL, apex].concat();
        let below = |name: &NameKey| {
            let name = name.as_wire();
            let below =
                suffixes(name).zip(suffixes(name).skip(1)).find(|(_, above)| *above == apex);
            below.map(|(below, _)| NameKey::from_wire(below))
        };
        let names = [NameKey::of(&soa.mname), NameKey::of(&soa.rname)];
        let mentioned: Vec<_> = names.iter().filter_map(below).collect();
        if mentioned.iter().any(|name| name.as_wire() == any) {
            return None;
        }

        let mut query = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        query.extend(&any);
        query.extend([0, 1, 0, 1]);
        let client = Client { address: [0, 0, 0, 0].into(), transport: Transport::Tcp };
        let mut reply = Reply::to(&Request::read(&query).ok()?, client);
        reply.authorities.push(zone.negative.clone());
        reply.stamp(serial);
        let wire = reply.encode().ok()?;
        let record = wire.get(query.len()..)?;
        Some(Self {
            pointers: pointers(record)?,
            record: record.into(),
            apex: apex.len(),
            mentioned,
        })
    }

    /// Writes the record behind a question for `name`, in lower-case wire form; none when it would not be the same.
    pub(super) fn write(&self, name: &[u8], writer: &mut Writer<'_>) -> Option<()> {
        let apex = name.len().checked_sub(self.apex)?;
        let has = |below: &NameKey| name.ends_with(below.as_wire());
        if name.len() > LONGEST || self.mentioned.iter().any(has) {
            return None;
        }
        let record = writer.space(self.record.len())?;
        record.copy_from_slice(&self.record);
        for &at in &self.pointers {
            let pointer = record.get_mut(at..)?.first_chunk_mut::<2>()?;
            let target = u16::from_be_bytes(*pointer) + apex as u16 - ANY_LABEL.len() as u16;
            *pointer = target.to_be_bytes();
        }
        Some(())
    }
}

/// Where the names of an SOA record end in a pointer; none when it is not whole.
fn pointers(record: &[u8]) -> Option<Vec<usize>> {
    let mut pointers = Vec::new();
    let mut at = 0;
    // Owner, MNAME, RNAME.
    for field in 0..3 {
        loop {
            match *record.get(at)? {
                0 => {
                    at += 1;
                    break;
                }
                length @ 1..=63 => at += usize::from(length) + 1,
                _ => {
                    pointers.push(at);
                    at += 2;
                    break;
                }
            }
        }
        if field == 0 {
            // TYPE, CLASS, TTL, RDLENGTH.
            at += 10;
        }
    }
    // SERIAL, REFRESH, RETRY, EXPIRE, MINIMUM.
    (at + 20 == record.len()).then_some(pointers)
}
