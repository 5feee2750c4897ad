//! An answer, and its wire form.

use hickory_proto::ProtoError;
use hickory_proto::op::{Edns, Header, HeaderCounts, MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{Name, RData, Record};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};

use crate::answer::{Client, Transport};
use crate::request::{KEEPALIVE, Request, Signature};
use crate::{TCP_IDLE, UDP_PAYLOAD};

const HEADER: usize = 12;

const TYPE_TSIG: u16 = 250;
const CLASS_ANY: u16 = 255;

/// Octets of an OPT record without options.
const OPT: usize = 11;

/// The EDNS option that an extended error is in (RFC 8914).
const EXTENDED_ERROR: u16 = 15;

/// A question, as it came: the case of the name is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// QNAME.
    pub name: Name,
    /// QTYPE, as on the wire.
    pub qtype: u16,
    /// QCLASS, as on the wire.
    pub qclass: u16,
}

/// An answer to one request.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Id, flags, opcode and response code.
    pub metadata: Metadata,
    /// The question, when the request had exactly one.
    pub question: Option<Question>,
    /// The answer section.
    pub answers: Vec<Record>,
    /// The authority section.
    pub authorities: Vec<Record>,
    /// The additional section without OPT.
    pub additionals: Vec<Record>,
    /// How many of those the answer is no use without: the first ones. The others are help.
    pub(crate) needed_additionals: usize,
    /// OPT, if and only if the request had one.
    pub edns: Option<Edns>,
    /// A TSIG record that says why a signature is no good, the last of all records.
    rejection: Option<Box<[u8]>>,
    /// The most octets the client takes.
    limit: u16,
}

impl Reply {
    /// An answer with nothing in it yet, NOERROR.
    pub(crate) fn to(request: &Request, client: Client) -> Self {
        let mut metadata =
            Metadata::new(request.id, MessageType::Response, OpCode::from_u8(request.opcode));
        // These two mean something in queries only.
        if metadata.op_code == OpCode::Query {
            metadata.recursion_desired = request.recursion_desired;
            metadata.checking_disabled = request.checking_disabled;
        }
        let edns = request.edns.map(|theirs| {
            let mut ours = Edns::new();
            // RFC 3225 section 3: DO is copied.
            ours.set_max_payload(UDP_PAYLOAD).set_dnssec_ok(theirs.dnssec_ok);
            if theirs.keepalive && client.transport == Transport::Tcp {
                // In tenths of a second.
                let idle = (TCP_IDLE.as_millis() / 100) as u16;
                let option = EdnsOption::Unknown(KEEPALIVE, idle.to_be_bytes().to_vec());
                ours.options_mut().insert(option);
            }
            ours
        });
        let limit = match (client.transport, request.edns) {
            (Transport::Tcp, _) => u16::MAX,
            (Transport::Udp, Some(edns)) => edns.payload.clamp(512, UDP_PAYLOAD),
            (Transport::Udp, None) => 512,
        };
        Self {
            metadata,
            question: request.question.clone(),
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
            needed_additionals: 0,
            edns,
            rejection: None,
            limit,
        }
    }

    pub(crate) fn with(mut self, code: ResponseCode) -> Self {
        self.metadata.response_code = code;
        self
    }

    /// Says that nobody here knows the key of a signature: a TSIG record without one (RFC 8945 section 5.2.1).
    pub(crate) fn reject(&mut self, signature: &Signature) {
        const BADKEY: u16 = 17;
        let length = signature.terms.len() as u16 + 8;
        let fixed = [TYPE_TSIG, CLASS_ANY, 0, 0, length].map(u16::to_be_bytes);
        // No signature, the id, the error, and nothing else.
        let end = [0, self.metadata.id, BADKEY, 0].map(u16::to_be_bytes);
        let parts = [&signature.key, fixed.as_flattened(), &signature.terms, end.as_flattened()];
        self.rejection = Some(parts.concat().into());
    }

    /// Lets it have so many octets, whatever the client takes.
    pub(crate) fn allow(&mut self, limit: u16) {
        self.limit = limit;
    }

    /// Gives our SOA records the serial of the snapshot: they are built once, and the serial changes often.
    pub(crate) fn stamp(&mut self, serial: u32) {
        for record in self.answers.iter_mut().chain(&mut self.authorities) {
            if let RData::SOA(soa) = &mut record.data {
                soa.serial = serial;
            }
        }
    }

    /// Adds what another answer has to the end of this one.
    pub(crate) fn append(&mut self, other: Self) {
        self.answers.extend(other.answers);
        self.authorities.extend(other.authorities);
        self.additionals.extend(other.additionals);
    }

    /// Says why the answer is as it is, to a client that has EDNS: an extended DNS error (RFC 8914).
    pub(crate) fn explain(&mut self, code: u16) {
        if let Some(edns) = &mut self.edns {
            let option = EdnsOption::Unknown(EXTENDED_ERROR, code.to_be_bytes().to_vec());
            edns.options_mut().remove((&option).into());
            edns.options_mut().insert(option);
        }
    }

    /// The message as it goes on the wire, never longer than the client takes.
    ///
    /// What does not fit is left out: record sets of the additional section silently unless they are needed,
    /// anything else with TC, and then the client asks again over TCP.
    ///
    /// # Errors
    /// When a record cannot be written, which no record of ours is.
    pub fn encode(&self) -> Result<Vec<u8>, ProtoError> {
        match &self.question {
            Some(question) if question.name.iter().flatten().any(u8::is_ascii_uppercase) => {
                self.encode_mixed_case(question)
            }
            _ => self.encode_lower_case(),
        }
    }

    /// Everything but the question's name is written as if it had been asked in lower case: names are compressed
    /// against it whatever its case, and the records of a name are the same octets for everybody who asks.
    fn encode_mixed_case(&self, question: &Question) -> Result<Vec<u8>, ProtoError> {
        let mut lower = self.clone();
        let name = question.name.to_lowercase();
        for record in lower.answers.iter_mut().filter(|record| record.name == name) {
            record.name.clone_from(&name);
        }
        let mut as_asked = Vec::with_capacity(question.name.len() + 1);
        question.name.emit(&mut BinEncoder::new(&mut as_asked))?;
        if let Some(question) = &mut lower.question {
            question.name = name;
        }
        let mut wire = lower.encode_lower_case()?;
        if let Some(place) = wire.get_mut(HEADER..HEADER + as_asked.len()) {
            place.copy_from_slice(&as_asked);
        }
        Ok(wire)
    }

    fn encode_lower_case(&self) -> Result<Vec<u8>, ProtoError> {
        let mut wire = Vec::with_capacity(512);
        let mut encoder = BinEncoder::new(&mut wire);
        let room = usize::from(self.limit) - self.edns.as_ref().map_or(0, opt_size);
        encoder.emit_vec(&[0; HEADER])?;

        let mut metadata = self.metadata;
        let mut counts = HeaderCounts::default();
        if let Some(question) = &self.question {
            question.name.emit(&mut encoder)?;
            encoder.emit_u16(question.qtype)?;
            encoder.emit_u16(question.qclass)?;
            counts.queries = 1;
        }
        counts.answers = emit_section(&mut encoder, &self.answers, room, &mut metadata.truncation)?;
        if !metadata.truncation {
            counts.authorities =
                emit_section(&mut encoder, &self.authorities, room, &mut metadata.truncation)?;
        }
        let (needed, help) =
            self.additionals.split_at(self.needed_additionals.min(self.additionals.len()));
        if !metadata.truncation {
            counts.additionals =
                emit_section(&mut encoder, needed, room, &mut metadata.truncation)?;
        }
        if !metadata.truncation {
            counts.additionals += emit_whole_sets(&mut encoder, help, room)?;
        }
        if let Some(edns) = &self.edns {
            let mut edns = edns.clone();
            edns.set_rcode_high(metadata.response_code.high());
            edns.emit(&mut encoder)?;
            counts.additionals += 1;
        }
        if let Some(rejection) = &self.rejection
            && encoder.offset() + rejection.len() <= usize::from(self.limit)
        {
            encoder.emit_vec(rejection)?;
            counts.additionals += 1;
        }

        let mut header = Vec::with_capacity(HEADER);
        Header { metadata, counts }.emit(&mut BinEncoder::new(&mut header))?;
        if let Some(place) = wire.get_mut(..HEADER) {
            place.copy_from_slice(&header);
        }
        Ok(wire)
    }
}

/// Octets of an OPT record with what is in it.
fn opt_size(edns: &Edns) -> usize {
    let options = edns.options().options.iter();
    OPT + options.map(|(_, option)| 4 + usize::from(option.len())).sum::<usize>()
}

/// Writes as many records as fit into `room` octets, and says how many; the first that does not fit sets
/// `truncated`.
fn emit_section(
    encoder: &mut BinEncoder<'_>,
    records: &[Record],
    room: usize,
    truncated: &mut bool,
) -> Result<u16, ProtoError> {
    let mut written = 0;
    for record in records {
        if !emit_if_it_fits(encoder, std::slice::from_ref(record), room)? {
            *truncated = true;
            break;
        }
        written += 1;
    }
    Ok(written)
}

/// Writes the record sets that fit as a whole: half a set looks like all of it (RFC 2181 section 5.1).
fn emit_whole_sets(
    encoder: &mut BinEncoder<'_>,
    records: &[Record],
    room: usize,
) -> Result<u16, ProtoError> {
    let mut written = 0;
    for set in records.chunk_by(|a, b| a.name == b.name && a.record_type() == b.record_type()) {
        if emit_if_it_fits(encoder, set, room)? {
            // More than 65,535 records do not fit in 65,535 octets.
            written += set.len() as u16;
        }
    }
    Ok(written)
}

/// Writes all of these records, or none.
fn emit_if_it_fits(
    encoder: &mut BinEncoder<'_>,
    records: &[Record],
    room: usize,
) -> Result<bool, ProtoError> {
    let before = encoder.offset();
    for record in records {
        // The encoder's own limit will not do: it counts a name before it is compressed.
        let fits = match record.emit(encoder) {
            Ok(()) => encoder.offset() <= room,
            Err(ProtoError::MaxBufferSizeExceeded(_)) => false,
            Err(error) => return Err(error),
        };
        if !fits {
            encoder.set_offset(before);
            encoder.trim();
            return Ok(false);
        }
    }
    Ok(true)
}
