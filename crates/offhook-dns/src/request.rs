//! Reading a request, as far as an answer depends on it.
//!
//! Our own walk over the bytes, not the library's full decoding: what is wrong with a message must still leave
//! its id, question and OPT to answer with, and nothing here allocates in proportion to what a stranger claims.

use std::fmt;
use std::ops::RangeInclusive;

use hickory_proto::rr::Name;
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use crate::reply::Question;

const HEADER: usize = 12;
const TYPE_SOA: u16 = 6;
const TYPE_OPT: u16 = 41;
const TYPE_TSIG: u16 = 250;
const CLASS_ANY: u16 = 255;
/// The EDNS option that asks how long a connection may be idle (RFC 7828).
pub(crate) const KEEPALIVE: u16 = 11;
/// The EDNS option with cookies (RFC 7873).
const COOKIE: u16 = 10;
/// Octets of a client's cookie alone, and of one with a server's (RFC 7873 section 4).
const CLIENT_COOKIE: usize = 8;
const BOTH_COOKIES: RangeInclusive<usize> = 16..=40;

const MAX_NAME: usize = 255;

/// Why a message is met with silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// Shorter than a header: there is no id to answer to.
    Short,
    /// A response. Answering those makes two servers talk for ever.
    Response,
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "shorter than a DNS header",
            Self::Response => "a response, not a query",
        })
    }
}

/// A request, as far as it could be read.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) id: u16,
    /// 0 to 15.
    pub(crate) opcode: u8,
    pub(crate) recursion_desired: bool,
    pub(crate) checking_disabled: bool,
    /// The question, when there is exactly one and it could be read.
    pub(crate) question: Option<Question>,
    /// The name of the question: lower-case wire form.
    pub(crate) key: Vec<u8>,
    /// Of the first SOA record in the authority section: what a secondary has (RFC 1995).
    pub(crate) serial: Option<u32>,
    pub(crate) edns: Option<RequestEdns>,
    /// Who signed it (RFC 8945), if anybody did: the start of the TSIG record that says so back.
    pub(crate) signature: Option<Signature>,
    /// Something in it is not as RFC 1035 or 6891 has it: FORMERR.
    pub(crate) malformed: bool,
}

/// What the OPT record of a request says (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestEdns {
    /// As sent; values below 512 mean 512.
    pub(crate) payload: u16,
    pub(crate) version: u8,
    pub(crate) dnssec_ok: bool,
    /// Whether it asks how long a connection may be idle (RFC 7828).
    pub(crate) keepalive: bool,
}

impl Request {
    /// Reads one message.
    ///
    /// # Errors
    /// [`Ignored`] when no answer must be given at all.
    pub(crate) fn read(packet: &[u8]) -> Result<Self, Ignored> {
        let mut cursor = Cursor { packet, at: 0 };
        let header = (|| {
            Some((
                cursor.u16()?,
                cursor.u16()?,
                cursor.u16()?,
                [cursor.u16()?, cursor.u16()?, cursor.u16()?],
            ))
        })();
        let Some((id, flags, questions, records)) = header else { return Err(Ignored::Short) };
        if flags & 0x8000 != 0 {
            return Err(Ignored::Response);
        }
        let mut request = Self {
            id,
            opcode: (flags >> 11) as u8 & 0x0f,
            recursion_desired: flags & 0x0100 != 0,
            checking_disabled: flags & 0x0010 != 0,
            question: None,
            key: Vec::new(),
            serial: None,
            edns: None,
            signature: None,
            malformed: false,
        };
        request.malformed = request.read_body(&mut cursor, questions, records).is_none();
        Ok(request)
    }

    /// None when the message is malformed; what was read up to there is kept.
    fn read_body(
        &mut self,
        cursor: &mut Cursor<'_>,
        questions: u16,
        records: [u16; 3],
    ) -> Option<()> {
        for number in 0..questions {
            let key = match number {
                0 => cursor.plain_name()?,
                // More than one is an error, which is said with an OPT record: that comes after them.
                _ => {
                    cursor.skip_name()?;
                    cursor.take(4)?;
                    continue;
                }
            };
            let question = Question {
                // The walk above has already held the name against every rule the library has.
                name: Name::read(&mut BinDecoder::new(key)).ok()?,
                qtype: cursor.u16()?,
                qclass: cursor.u16()?,
            };
            if questions == 1 {
                self.key = key.to_ascii_lowercase();
                self.question = Some(question);
            }
        }
        let [answers, authorities, additionals] = records;
        for _ in 0..u32::from(answers) + u32::from(authorities) {
            let record = cursor.record()?;
            // These two belong in the additional section only.
            if matches!(record.rtype, TYPE_OPT | TYPE_TSIG) {
                return None;
            }
            if record.rtype == TYPE_SOA && self.serial.is_none() {
                // Before it are two names, after it four more numbers.
                let numbers = record.data.last_chunk::<20>()?;
                self.serial = numbers.first_chunk().copied().map(u32::from_be_bytes);
            }
        }
        let mut second_opt = false;
        for number in 1..=additionals {
            let record = cursor.record()?;
            if record.rtype == TYPE_TSIG {
                self.signature = Some(Signature::read(&record)?);
                // RFC 8945 section 5.1: it is the last record, and thus the only one.
                if number < additionals {
                    return None;
                }
            }
            if record.rtype != TYPE_OPT {
                continue;
            }
            if self.edns.is_some() {
                second_opt = true;
                continue;
            }
            self.edns = Some(RequestEdns {
                payload: record.class,
                version: (record.ttl >> 16) as u8,
                dnssec_ok: record.ttl & 0x8000 != 0,
                keepalive: false,
            });
            let options = Options::read(record.data)?;
            // What the options of versions to come are to look like, we cannot know.
            let version = (record.ttl >> 16) as u8;
            if !record.at_root || options.bad_cookie && version == 0 {
                return None;
            }
            let keepalive = options.keepalive;
            self.edns = self.edns.map(|edns| RequestEdns { keepalive, ..edns });
        }
        (!second_opt).then_some(())
    }
}

/// What a TSIG record says that is said back: all but the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    /// Wire form.
    pub(crate) key: Box<[u8]>,
    /// Algorithm, time signed and fudge, as sent.
    pub(crate) terms: Box<[u8]>,
}

impl Signature {
    /// None when the record is not as RFC 8945 section 4.2 has it.
    fn read(record: &RawRecord<'_>) -> Option<Self> {
        let key = Cursor { packet: record.name, at: 0 }.plain_name()?;
        let mut cursor = Cursor { packet: record.data, at: 0 };
        cursor.plain_name()?;
        // 48 bits of time, 16 of fudge.
        cursor.take(8)?;
        let terms = record.data.get(..cursor.at)?;
        let mac = cursor.u16()?;
        cursor.take(usize::from(mac))?;
        // Original id and error.
        cursor.take(4)?;
        let other = cursor.u16()?;
        cursor.take(usize::from(other))?;
        let is_whole = cursor.at == record.data.len();
        (is_whole && record.class == CLASS_ANY && record.ttl == 0)
            .then(|| Self { key: key.into(), terms: terms.into() })
    }
}

/// A resource record, unread but for what its fixed fields say.
struct RawRecord<'a> {
    /// As sent, a pointer at its end included.
    name: &'a [u8],
    at_root: bool,
    rtype: u16,
    class: u16,
    ttl: u32,
    data: &'a [u8],
}

struct Cursor<'a> {
    packet: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.packet.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// A name without compression, as a question's is: nothing comes before it that it could point to.
    fn plain_name(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        loop {
            match self.u8()? {
                0 => break,
                length @ 1..=63 => self.take(usize::from(length))?,
                _ => return None,
            };
            if self.at - start >= MAX_NAME {
                return None;
            }
        }
        self.packet.get(start..self.at)
    }

    /// Skips a name that may end in a pointer, and says whether it is the root.
    fn skip_name(&mut self) -> Option<bool> {
        let start = self.at;
        loop {
            match self.u8()? {
                0 => return Some(self.at - start == 1),
                length @ 1..=63 => self.take(usize::from(length))?,
                0xc0.. => {
                    let target = (usize::from(self.packet.get(self.at - 1)? & 0x3f) << 8)
                        | usize::from(self.u8()?);
                    // Pointers point backwards, past the header (RFC 1035 section 4.1.4).
                    return (HEADER..start).contains(&target).then_some(false);
                }
                _ => return None,
            };
            if self.at - start >= MAX_NAME {
                return None;
            }
        }
    }

    fn record(&mut self) -> Option<RawRecord<'a>> {
        let start = self.at;
        let at_root = self.skip_name()?;
        let name = self.packet.get(start..self.at)?;
        let (rtype, class, ttl) = (self.u16()?, self.u16()?, self.u32()?);
        let length = usize::from(self.u16()?);
        Some(RawRecord { name, at_root, rtype, class, ttl, data: self.take(length)? })
    }
}

/// What matters to us of EDNS options.
#[derive(Default)]
struct Options {
    keepalive: bool,
    /// The first cookie has a length that no cookie has: FORMERR (RFC 7873 section 5.2.2).
    bad_cookie: bool,
}

impl Options {
    /// None when they do not fill their record exactly.
    fn read(data: &[u8]) -> Option<Self> {
        let mut cursor = Cursor { packet: data, at: 0 };
        let mut options = Self::default();
        let mut has_cookie = false;
        while cursor.at < data.len() {
            let code = cursor.u16()?;
            let length = usize::from(cursor.u16()?);
            cursor.take(length)?;
            match code {
                KEEPALIVE => options.keepalive = true,
                // Only the first counts (RFC 7873 section 5.2).
                COOKIE if !has_cookie => {
                    has_cookie = true;
                    options.bad_cookie = !is_cookie(length);
                }
                _ => {}
            }
        }
        Some(options)
    }
}

/// Whether a cookie may have so many octets.
pub(crate) fn is_cookie(length: usize) -> bool {
    length == CLIENT_COOKIE || BOTH_COOKIES.contains(&length)
}
