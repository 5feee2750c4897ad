//! Plain questions: told from all others at a glance, and answered by a copy.

use hickory_proto::rr::RecordType;

use super::Answered;
use crate::UDP_PAYLOAD;
use crate::request::is_cookie;

pub(super) const HEADER: usize = 12;

/// QTYPE and QCLASS.
const TYPE_AND_CLASS: usize = 4;

/// An OPT record without options.
const OPT: usize = 11;

/// Before the octets of the only option.
const OPTION: usize = 4;

/// The longest key: a name, its type and class, and what [`Plain::key`] adds.
pub(super) const LONGEST: usize = 255 + TYPE_AND_CLASS + 1;

/// QR and OPCODE: set in nothing that is plain.
const NOT_PLAIN: u16 = 0xf800;

const QR_AA: u16 = 0x8400;
const RD: u16 = 0x0100;
const CD: u16 = 0x0010;

/// A request for one name and type of class IN, with or without an OPT record that has no options but perhaps a
/// cookie, and with nothing else in it. A server without cookies takes no notice of them (RFC 7873 section 5.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain<'a> {
    id: [u8; 2],
    /// RD and CD.
    flags: u16,
    /// Name, type and class, as sent.
    question: &'a [u8],
    edns: Option<Opt>,
}

#[derive(Clone, Copy, Debug)]
struct Opt {
    payload: u16,
    dnssec_ok: bool,
}

impl<'a> Plain<'a> {
    pub(super) fn read(packet: &'a [u8]) -> Option<Self> {
        let &[id0, id1, flags0, flags1, 0, 1, 0, 0, 0, 0, 0, additionals] =
            packet.first_chunk::<HEADER>()?
        else {
            return None;
        };
        let flags = u16::from_be_bytes([flags0, flags1]);
        if flags & NOT_PLAIN != 0 {
            return None;
        }
        let body = packet.get(HEADER..)?;
        let mut end = 0;
        loop {
            match body.get(end)? {
                0 => break,
                // A name has at most 255 octets, its last included.
                length @ 1..=63 if end < 254 => end += usize::from(*length) + 1,
                _ => return None,
            }
        }
        if end > 254 {
            return None;
        }
        let (question, rest) = body.split_at_checked(end + 1 + TYPE_AND_CLASS)?;
        if !question.ends_with(&[0, 1]) {
            return None;
        }
        let edns = match (additionals, rest.len()) {
            (0, 0) => None,
            (1, OPT..) => Some(Opt::read(rest)?),
            _ => return None,
        };
        Some(Self { id: [id0, id1], flags: flags & (RD | CD), question, edns })
    }

    /// What decides the answer, written into `buffer`: the question in lower case, and one octet for the rest.
    pub(super) fn key<'b>(
        &self,
        recursion_available: bool,
        buffer: &'b mut [u8; LONGEST],
    ) -> Option<&'b [u8]> {
        let key = buffer.get_mut(..=self.question.len())?;
        let (last, question) = key.split_last_mut()?;
        question.copy_from_slice(self.question);
        // Lengths are below the letters.
        question.get_mut(..self.name_len())?.make_ascii_lowercase();
        *last = [
            self.edns.is_some(),
            self.edns.is_some_and(|opt| opt.dnssec_ok),
            self.flags & RD != 0,
            self.flags & CD != 0,
            recursion_available,
        ]
        .into_iter()
        .fold(0, |bits, bit| bits << 1 | u8::from(bit));
        Some(key)
    }

    /// The same request as everybody might send it: id 0, in lower case, and for as long an answer as there may be.
    pub(super) fn canonical(&self) -> Vec<u8> {
        let mut packet = vec![0; 2];
        packet.extend(self.flags.to_be_bytes());
        packet.extend([0, 1, 0, 0, 0, 0, 0, u8::from(self.edns.is_some())]);
        packet.extend(self.question);
        if let Some(name) = packet.get_mut(HEADER..HEADER + self.name_len()) {
            name.make_ascii_lowercase();
        }
        if let Some(opt) = self.edns {
            packet.extend([0, 0, 41, 0xff, 0xff, 0, 0, u8::from(opt.dnssec_ok) << 7, 0, 0, 0]);
        }
        packet
    }

    /// Writes an answer to the canonical request as one to this request; none when the client does not take as
    /// much.
    pub(super) fn write(&self, answer: &[u8], room: &mut [u8]) -> Option<Answered> {
        if answer.len() > self.limit() {
            return None;
        }
        let reply = room.get_mut(..answer.len())?;
        reply.copy_from_slice(answer);
        reply.first_chunk_mut::<2>()?.copy_from_slice(&self.id);
        let rcode = reply.get(3)? & 0x0f;
        let name = self.name_len();
        reply.get_mut(HEADER..HEADER + name)?.copy_from_slice(self.question.get(..name)?);
        Some(Answered { length: answer.len(), rcode })
    }

    /// QTYPE.
    pub(super) fn qtype(&self) -> u16 {
        match self.question.get(self.name_len()..) {
            Some(&[high, low, ..]) => u16::from_be_bytes([high, low]),
            _ => 0,
        }
    }

    /// Begins an authoritative answer: header and question.
    pub(super) fn start<'r>(&self, head: Head, room: &'r mut [u8]) -> Option<Writer<'r>> {
        let mut writer = Writer { room, written: 0 };
        let flags = QR_AA | self.flags | u16::from(head.recursion_available) << 7;
        let [high, low] = (flags | u16::from(head.rcode)).to_be_bytes();
        let [id0, id1] = self.id;
        let additionals = u8::from(self.edns.is_some());
        let (answers, authorities) = (head.answers, head.authorities);
        writer.put(&[id0, id1, high, low, 0, 1, 0, answers, 0, authorities, 0, additionals])?;
        writer.put(self.question)?;
        Some(writer)
    }

    /// Ends it; none when the client does not take as much.
    pub(super) fn finish(&self, mut writer: Writer<'_>) -> Option<Answered> {
        if let Some(opt) = self.edns {
            let [high, low] = UDP_PAYLOAD.to_be_bytes();
            writer.put(&[0, 0, 41, high, low, 0, 0, u8::from(opt.dnssec_ok) << 7, 0, 0, 0])?;
        }
        let rcode = writer.room.get(3)? & 0x0f;
        (writer.written <= self.limit()).then_some(Answered { length: writer.written, rcode })
    }

    /// The most octets the client takes.
    fn limit(&self) -> usize {
        self.edns.map_or(512, |opt| usize::from(opt.payload.max(512)))
    }

    pub(super) fn name_len(&self) -> usize {
        self.question.len() - TYPE_AND_CLASS
    }
}

impl Opt {
    /// One of version 0, whatever its unassigned flags.
    fn read(record: &[u8]) -> Option<Self> {
        let (head, options) = record.split_first_chunk::<OPT>()?;
        let [0, 0, 41, payload0, payload1, 0, 0, flags, _, length0, length1] = *head else {
            return None;
        };
        if usize::from(u16::from_be_bytes([length0, length1])) != options.len() {
            return None;
        }
        if let Some((option, cookie)) = options.split_first_chunk::<OPTION>() {
            let length = cookie.len();
            if *option != [0, 10, 0, length as u8] || !is_cookie(length) {
                return None;
            }
        } else if !options.is_empty() {
            return None;
        }
        Some(Self {
            payload: u16::from_be_bytes([payload0, payload1]),
            dnssec_ok: flags & 0x80 != 0,
        })
    }
}

/// What an answer says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Head {
    pub(super) rcode: u8,
    pub(super) recursion_available: bool,
    pub(super) answers: u8,
    pub(super) authorities: u8,
}

/// An answer in the making.
#[derive(Debug)]
pub(super) struct Writer<'r> {
    room: &'r mut [u8],
    written: usize,
}

impl Writer<'_> {
    /// The next octets, to be filled in; none when there is no room.
    pub(super) fn space(&mut self, length: usize) -> Option<&mut [u8]> {
        let space = self.room.get_mut(self.written..)?.get_mut(..length)?;
        self.written += length;
        Some(space)
    }

    pub(super) fn put(&mut self, octets: &[u8]) -> Option<()> {
        self.space(octets.len())?.copy_from_slice(octets);
        Some(())
    }

    /// A record of the name asked for, up to its data.
    pub(super) fn record(&mut self, rtype: RecordType, ttl: u32, length: u16) -> Option<()> {
        let [type0, type1] = u16::from(rtype).to_be_bytes();
        let [ttl0, ttl1, ttl2, ttl3] = ttl.to_be_bytes();
        let [length0, length1] = length.to_be_bytes();
        // The name is a pointer to the question.
        self.put(&[
            0xc0,
            HEADER as u8,
            type0,
            type1,
            0,
            1,
            ttl0,
            ttl1,
            ttl2,
            ttl3,
            length0,
            length1,
        ])
    }
}
