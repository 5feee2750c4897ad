//! Replies, option by option in the order given.
//!
//! The header is written by dhcproto's owned `Message`. Its `DhcpOptions` is a map ordered by code and drops
//! options without a payload, while replies here must come in the client's order, the mask before the router, an
//! overloaded `file` and `sname` where the message would grow too long, and the relay's option last: so options
//! are written here.

use std::net::Ipv4Addr;

use dhcproto::v4::{Flags, HType, MIN_PACKET_SIZE, Message, Opcode};
use dhcproto::{Encodable, Encoder};
use offhook_model::HardwareAddress;

use super::{FILE, HEADER, SNAME, code};

/// The longest DHCP message in one Ethernet frame.
const LONGEST: usize = 1472;

/// The header fields of a reply that are not the same in all of them.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// As in the request.
    pub hardware: HardwareAddress,
    /// As in the request, to its last byte.
    pub chaddr: [u8; 16],
    /// As in the request.
    pub xid: u32,
    /// As in the request, but for a NAK through a relay.
    pub flags: Flags,
    /// The client's address in an ACK.
    pub ciaddr: Ipv4Addr,
    /// The leased address.
    pub yiaddr: Ipv4Addr,
    /// The TFTP server, for boot loaders.
    pub siaddr: Ipv4Addr,
    /// As in the request.
    pub giaddr: Ipv4Addr,
    /// The boot file, for boot loaders; at most 127 bytes.
    pub file: &'a [u8],
}

/// What goes first when a reply is too long, last variant first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Without it the reply is none.
    Protocol,
    /// A provisioning option, or one without which the phone is of no use.
    Always,
    /// Sent because the client asked.
    Asked,
}

/// The payload of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// As it is; split where longer than 255 bytes.
    Bytes(&'a [u8]),
    /// An address or a number.
    Word([u8; 4]),
    /// One byte.
    Byte([u8; 1]),
}

impl Value<'_> {
    /// The payload.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Word(bytes) => bytes,
            Self::Byte(bytes) => bytes,
        }
    }
}

impl From<Ipv4Addr> for Value<'_> {
    fn from(address: Ipv4Addr) -> Self {
        Self::Word(address.octets())
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Word(number.to_be_bytes())
    }
}

impl From<u8> for Value<'_> {
    fn from(number: u8) -> Self {
        Self::Byte([number])
    }
}

/// One option of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The code, 1 to 254.
    pub code: u8,
    /// The payload.
    pub value: Value<'a>,
    /// How important it is.
    pub rank: Rank,
}

impl Field<'_> {
    /// Bytes on the wire, code and length of every piece included (RFC 3396).
    fn cost(&self) -> usize {
        let len = self.value.as_slice().len();
        len + 2 * len.div_ceil(255).max(1)
    }
}

/// A reply as it leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The DHCP message.
    pub bytes: Vec<u8>,
    /// Codes of options left off because the client does not take a message that long.
    pub dropped: Vec<u8>,
}

/// Which part of the message holds an option.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Main,
    File,
    Sname,
    Nowhere,
}

/// Writes a reply of at most `limit` bytes, and at least 300. `relay` is option 82, verbatim: always last, never
/// split off into `file` or `sname`, and never left off.
///
/// The first field is the message type.
pub fn encode(
    head: &Head<'_>,
    fields: &[Field<'_>],
    relay: Option<&[u8]>,
    limit: usize,
) -> Encoded {
    let relay = relay.map(|bytes| Field {
        code: code::RELAY_AGENT,
        value: Value::Bytes(bytes),
        rank: Rank::Protocol,
    });
    let tail = relay.map_or(0, |field| field.cost()) + 1;
    let needed: usize =
        fields.iter().filter(|field| field.rank == Rank::Protocol).map(Field::cost).sum();
    // The relay takes its option off again before the client sees the message.
    let limit = limit.min(LONGEST).max(HEADER + needed + tail);
    let room = limit.saturating_sub(HEADER + tail);

    let mut bytes = Vec::with_capacity(limit.max(MIN_PACKET_SIZE));
    write_head(head, &mut bytes);
    if fields.iter().map(Field::cost).sum::<usize>() <= room {
        fields.iter().for_each(|field| write_field(field, &mut bytes));
        finish(&mut bytes, relay.as_ref());
        return Encoded { bytes, dropped: Vec::new() };
    }

    let places = place(fields, room, head.file.is_empty());
    let part = |wanted| {
        let mut part = Vec::new();
        for (field, _) in fields.iter().zip(&places).filter(|(_, place)| **place == wanted) {
            write_field(field, &mut part);
        }
        part
    };
    let mut overload = 0_u8;
    for (wanted, range, bit) in [(Place::File, FILE, 1), (Place::Sname, SNAME, 2)] {
        let mut part = part(wanted);
        if !part.is_empty() {
            overload |= bit;
            part.push(code::END);
            overlay(&mut bytes, range.start, &part);
        }
    }
    let main = fields.iter().zip(&places).filter(|(_, place)| **place == Place::Main);
    for (index, (field, _)) in main.enumerate() {
        write_field(field, &mut bytes);
        if index == 0 && overload != 0 {
            let value = Value::from(overload);
            write_field(&Field { code: code::OVERLOAD, value, rank: Rank::Protocol }, &mut bytes);
        }
    }
    finish(&mut bytes, relay.as_ref());
    let dropped = fields.iter().zip(&places).filter(|(_, place)| **place == Place::Nowhere);
    Encoded { bytes, dropped: dropped.map(|(field, _)| field.code).collect() }
}

/// Finds a place for every option, whole: in the options field as long as there is room, then in `file`, then in
/// `sname`. When not all fit, the least important goes, the last of its rank first.
fn place(fields: &[Field<'_>], room: usize, file_is_free: bool) -> Vec<Place> {
    let mut given_up = vec![false; fields.len()];
    loop {
        let mut main = room.saturating_sub(3);
        let mut file = if file_is_free { FILE.len() - 1 } else { 0 };
        let mut sname = SNAME.len() - 1;
        let mut all = true;
        let places: Vec<Place> = fields
            .iter()
            .zip(&given_up)
            .map(|(field, given_up)| {
                if *given_up {
                    return Place::Nowhere;
                }
                let cost = field.cost();
                for (left, place) in
                    [(&mut main, Place::Main), (&mut file, Place::File), (&mut sname, Place::Sname)]
                {
                    // The message type is where everybody looks for it.
                    if cost <= *left && (place == Place::Main || field.rank != Rank::Protocol) {
                        *left -= cost;
                        return place;
                    }
                }
                all = false;
                Place::Nowhere
            })
            .collect();
        let least = fields
            .iter()
            .zip(&mut given_up)
            .filter(|(_, given_up)| !**given_up)
            .max_by_key(|(field, _)| field.rank);
        match least {
            Some((_, given_up)) if !all => *given_up = true,
            _ => return places,
        }
    }
}

fn write_head(head: &Head<'_>, bytes: &mut Vec<u8>) {
    let mut message = Message::new_with_id(
        head.xid,
        head.ciaddr,
        head.yiaddr,
        head.siaddr,
        head.giaddr,
        head.hardware.bytes(),
    );
    message
        .set_opcode(Opcode::BootReply)
        .set_htype(HType::from(head.hardware.htype()))
        .set_flags(head.flags);
    let written = message.encode(&mut Encoder::new(bytes));
    debug_assert!(written.is_ok(), "a header without names and options always fits");
    bytes.resize(HEADER, 0);
    overlay(bytes, 28, &head.chaddr);
    overlay(bytes, FILE.start, head.file.get(..FILE.len() - 1).unwrap_or(head.file));
}

fn overlay(bytes: &mut [u8], at: usize, part: &[u8]) {
    for (to, from) in bytes.iter_mut().skip(at).zip(part) {
        *to = *from;
    }
}

fn write_field(field: &Field<'_>, bytes: &mut Vec<u8>) {
    let value = field.value.as_slice();
    if value.is_empty() {
        bytes.extend_from_slice(&[field.code, 0]);
    }
    for piece in value.chunks(255) {
        bytes.extend_from_slice(&[field.code, piece.len() as u8]);
        bytes.extend_from_slice(piece);
    }
}

fn finish(bytes: &mut Vec<u8>, relay: Option<&Field<'_>>) {
    if let Some(field) = relay {
        write_field(field, bytes);
    }
    bytes.push(code::END);
    if bytes.len() < MIN_PACKET_SIZE {
        bytes.resize(MIN_PACKET_SIZE, 0);
    }
}
