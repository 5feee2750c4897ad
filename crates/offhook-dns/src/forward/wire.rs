//! Reading a message that nobody vouches for: every name is expanded, every length is checked.
//!
//! Our own walk over the bytes: a record type that the library reads more strictly than the one who serves it
//! means must not cost the whole answer, and what is not understood passes through as it came (RFC 3597).

use super::answer::{NAME_MAX, rtype};

pub(super) const HEADER: usize = 12;

/// Expanded, an answer is larger than on the wire, but not by any factor: octets of record data.
const MOST_DATA: usize = 512 << 10;

/// Pointers in one name: more than labels fit into it is somebody playing.
const MOST_JUMPS: usize = 127;

/// A record as it came, with the names in it expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RawRecord {
    /// Wire form, in its own letter case.
    pub(super) owner: Vec<u8>,
    pub(super) rtype: u16,
    pub(super) class: u16,
    pub(super) ttl: u32,
    pub(super) data: Vec<u8>,
}

/// A question as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RawQuestion {
    pub(super) name: Vec<u8>,
    pub(super) qtype: u16,
    pub(super) qclass: u16,
}

/// A place in a message.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    packet: &'a [u8],
    at: usize,
    /// Octets of record data that may still be expanded.
    allowance: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(packet: &'a [u8]) -> Self {
        Self { packet, at: 0, allowance: MOST_DATA }
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.packet.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    pub(super) fn question(&mut self) -> Option<RawQuestion> {
        Some(RawQuestion { name: self.name()?, qtype: self.u16()?, qclass: self.u16()? })
    }

    pub(super) fn record(&mut self) -> Option<RawRecord> {
        let owner = self.name()?;
        let (rtype, class, ttl) = (self.u16()?, self.u16()?, self.u32()?);
        let length = usize::from(self.u16()?);
        let end = self.at.checked_add(length)?;
        self.packet.get(self.at..end)?;
        let data = self.data(rtype, end)?;
        self.allowance = self.allowance.checked_sub(owner.len() + data.len())?;
        // RFC 2181 section 8: a TTL with the topmost bit set means zero.
        let ttl = if ttl > i32::MAX as u32 { 0 } else { ttl };
        Some(RawRecord { owner, rtype, class, ttl, data })
    }

    /// The data of a record that ends at `end`, exactly.
    fn data(&mut self, rtype: u16, end: usize) -> Option<Vec<u8>> {
        let mut data = Vec::with_capacity(end - self.at);
        for part in layout(rtype) {
            match part {
                Part::Octets(count) => data.extend_from_slice(self.take(*count)?),
                Part::Text => {
                    let length = self.u8()?;
                    data.push(length);
                    data.extend_from_slice(self.take(usize::from(length))?);
                }
                Part::Name => data.extend_from_slice(&self.name()?),
                Part::Rest => data.extend_from_slice(self.take(end.checked_sub(self.at)?)?),
            }
        }
        (self.at == end).then_some(data)
    }

    /// A name in wire form, with pointers followed. They lead backwards only (RFC 1035 section 4.1.4), each
    /// further than the one before, so that there is an end.
    fn name(&mut self) -> Option<Vec<u8>> {
        let mut name = Vec::with_capacity(32);
        let mut at = self.at;
        let mut behind = self.at;
        let mut jumps = 0;
        loop {
            let length = *self.packet.get(at)?;
            match length {
                0 => {
                    at += 1;
                    name.push(0);
                    break;
                }
                1..=63 => {
                    let end = at + 1 + usize::from(length);
                    name.extend_from_slice(self.packet.get(at..end)?);
                    at = end;
                }
                0xc0.. => {
                    let low = *self.packet.get(at + 1)?;
                    let target = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                    if jumps == 0 {
                        self.at = at + 2;
                    }
                    jumps += 1;
                    if target >= behind || target < HEADER || jumps > MOST_JUMPS {
                        return None;
                    }
                    (at, behind) = (target, target);
                }
                _ => return None,
            }
            if name.len() >= NAME_MAX {
                return None;
            }
        }
        if jumps == 0 {
            self.at = at;
        }
        (name.len() <= NAME_MAX).then_some(name)
    }
}

/// What record data is made of.
enum Part {
    Octets(usize),
    /// A length octet and as many more.
    Text,
    /// A name, which may be compressed (RFC 3597 section 4 lists the types).
    Name,
    Rest,
}

fn layout(rtype: u16) -> &'static [Part] {
    use Part::{Name, Octets, Rest, Text};
    match rtype {
        rtype::A => &[Octets(4)],
        rtype::AAAA => &[Octets(16)],
        // NS, MD, MF, CNAME, MB, MG, MR, PTR, DNAME.
        2..=5 | 7..=9 | 12 | rtype::DNAME => &[Name],
        rtype::SOA => &[Name, Name, Octets(20)],
        // MINFO, RP.
        14 | 17 => &[Name, Name],
        // MX, AFSDB, RT, KX.
        rtype::MX | 18 | 21 | 36 => &[Octets(2), Name],
        // PX.
        26 => &[Octets(2), Name, Name],
        rtype::SRV => &[Octets(6), Name],
        rtype::NAPTR => &[Octets(4), Text, Text, Text, Name],
        _ => &[Rest],
    }
}
