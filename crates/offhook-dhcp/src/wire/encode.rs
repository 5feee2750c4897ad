//! Replies, option by option in the order given.
//!
//! The header is written by dhcproto's owned `Message`. Its `DhcpOptions` is a map ordered by code and drops
//! options without a payload, while replies here must come in the client's order, the mask before the router, an
//! overloaded `file` and `sname` where the message would grow too long, and the relay's option last: so options
//! are written here.

use std::net::Ipv4Addr;
use std::ops::Range;

use dhcproto::v4::{Flags, HType, MIN_PACKET_SIZE, Message, Opcode};
use dhcproto::{Encodable, Encoder};
use offhook_model::HardwareAddress;

use super::{FILE, HEADER, SNAME, code};

/// The longest DHCP message in one Ethernet frame.
const LONGEST: usize = 1472;

/// Bytes of option 52.
const OVERLOAD_COST: usize = 3;

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
    /// The name of that server; at most 63 bytes. Gives way as `file` does.
    pub sname: &'a [u8],
    /// The boot file, for boot loaders; at most 127 bytes. Gives way where an important option would have no place.
    pub file: &'a [u8],
}

/// What goes first when a reply is too long, last variant first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Without it the reply is none.
    Protocol,
    /// A provisioning option, or one without which the phone is of no use.
    Always,
    /// One that the guide has in every lease, though a phone works without it.
    Usual,
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

/// A part of the message that holds options, in the order in which clients join them (RFC 3396).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Main,
    File,
    Sname,
}

/// A part, and which bytes of an option's payload it holds.
type Piece = (Part, Range<usize>);

/// Writes a reply of at most `limit` bytes, and at least 300. `relay` is option 82, verbatim: always last, never
/// split off into `file` or `sname`, and never left off. The reply is longer than `limit` only when message type,
/// addresses, times, the client's identifier and the relay's option alone are.
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
    let room = limit.min(LONGEST).saturating_sub(HEADER + tail);

    let mut bytes = Vec::with_capacity(limit.clamp(MIN_PACKET_SIZE, LONGEST));
    write_head(head, &mut bytes);
    if fields.iter().map(Field::cost).sum::<usize>() <= room {
        fields.iter().for_each(|field| write_field(field, &mut bytes));
        finish(&mut bytes, relay.as_ref());
        return Encoded { bytes, dropped: Vec::new() };
    }

    let mut places = place(fields, room, [head.file.is_empty(), head.sname.is_empty()]);
    let lost = |places: &[Vec<Piece>]| {
        let mut fields = fields.iter().zip(places);
        fields.any(|(field, pieces)| field.rank <= Rank::Always && pieces.is_empty())
    };
    if !(head.file.is_empty() && head.sname.is_empty()) && lost(&places) {
        // A boot file's name is an option too; what a phone is provisioned by is only that.
        places = place(fields, room, [true; 2]);
        for byte in bytes.get_mut(SNAME.start..FILE.end).unwrap_or_default() {
            *byte = 0;
        }
    }
    let write_part = |wanted, bytes: &mut Vec<u8>| {
        for (field, pieces) in fields.iter().zip(&places) {
            let value = field.value.as_slice();
            for (_, range) in pieces.iter().filter(|(part, _)| *part == wanted) {
                write_option(field.code, value.get(range.clone()).unwrap_or_default(), bytes);
            }
        }
    };
    let mut overload = 0_u8;
    for (wanted, range, bit) in [(Part::File, FILE, 1), (Part::Sname, SNAME, 2)] {
        let mut part = Vec::new();
        write_part(wanted, &mut part);
        if !part.is_empty() {
            overload |= bit;
            part.push(code::END);
            overlay(&mut bytes, range.start, &part);
        }
    }
    let mut main = Vec::new();
    write_part(Part::Main, &mut main);
    // The message type is where everybody looks for it; what says where to read on comes next.
    let (first, others) = main.split_at(main.len().min(3));
    bytes.extend_from_slice(first);
    if overload != 0 {
        write_option(code::OVERLOAD, &[overload], &mut bytes);
    }
    bytes.extend_from_slice(others);
    finish(&mut bytes, relay.as_ref());
    let dropped = fields.iter().zip(&places).filter(|(_, pieces)| pieces.is_empty());
    Encoded { bytes, dropped: dropped.map(|(field, _)| field.code).collect() }
}

/// Finds a place for every option: whole if that can be, the important ones in the main part if that can be too, else in
/// pieces. Where not all fit, what is less important than the one without a place goes, the last of its rank first. One
/// that has none even so is left off instead of all of those. What is left off has no piece.
fn place(fields: &[Field<'_>], room: usize, is_free: [bool; 2]) -> Vec<Vec<Piece>> {
    let [file_is_free, sname_is_free] = is_free;
    // Relays look for the message type among the options alone, and take no other message for DHCP.
    let message_type = fields.first().map_or(0, Field::cost);
    let mut room = [
        room.saturating_sub(OVERLOAD_COST).max(message_type),
        if file_is_free { FILE.len() - 1 } else { 0 },
        if sname_is_free { SNAME.len() - 1 } else { 0 },
    ];
    let rank = |at: usize| fields.get(at).map(|field| field.rank);
    let all_but = |hopeless: &[usize]| {
        let mut kept: Vec<_> = (0..fields.len()).filter(|at| !hopeless.contains(at)).collect();
        kept.sort_by_key(|at| rank(*at));
        kept
    };
    let mut hopeless = Vec::new();
    let mut kept = all_but(&hopeless);
    // What only the main part can hold whole.
    let [_, parts @ ..] = room;
    let is_bulky = |at: &usize| {
        fields.get(*at).is_some_and(|field| parts.iter().all(|room| field.cost() > *room))
    };
    loop {
        let whole = || {
            let mut bulky_first = kept.clone();
            bulky_first.sort_by_key(|at| !is_bulky(at));
            fit(fields, &kept, room, false).or_else(|_| fit(fields, &bulky_first, room, false))
        };
        let kept_cost: usize = kept.iter().filter_map(|at| fields.get(*at)).map(Field::cost).sum();
        // Mostly it is far too much, and that is known sooner: anybody can ask for a reply like that.
        let whole =
            Some(kept_cost).filter(|cost| *cost <= room.iter().sum()).and_then(|_| whole().ok());
        let homeless = match whole.map_or_else(|| fit(fields, &kept, room, true), Ok) {
            Ok(places) => return places,
            Err(homeless) => homeless,
        };
        if kept.last().is_some_and(|last| rank(*last) > rank(homeless)) {
            kept.pop();
        } else if rank(homeless) == Some(Rank::Protocol) {
            // Not even what makes it a reply fits: the client has sent an identifier that long.
            let protocol = fields.iter().filter(|field| field.rank == Rank::Protocol);
            let needed: usize = protocol.map(Field::cost).sum();
            match &mut room {
                [main, ..] if *main < needed => *main = needed,
                _ => return vec![Vec::new(); fields.len()],
            }
            kept = all_but(&hopeless);
        } else {
            // Nothing that gave way for it made room enough: that comes back.
            hopeless.push(homeless);
            kept = all_but(&hopeless);
        }
    }
}

/// Places the options `kept`, the important ones first. Those that fit nowhere whole are cut to fill what is left,
/// if `split` allows it.
fn fit(
    fields: &[Field<'_>],
    kept: &[usize],
    room: [usize; 3],
    split: bool,
) -> Result<Vec<Vec<Piece>>, usize> {
    const PARTS: [Part; 3] = [Part::Main, Part::File, Part::Sname];
    let mut room = room;
    let mut places = vec![Vec::new(); fields.len()];
    let mut uncut = Vec::new();
    for at in kept {
        let (field, place) = fields.get(*at).zip(places.get_mut(*at)).ok_or(*at)?;
        let cost = field.cost();
        // What every client must understand is where every client looks.
        let parts = if field.rank == Rank::Protocol { 1 } else { PARTS.len() };
        match PARTS.into_iter().zip(&mut room).take(parts).find(|(_, room)| cost <= **room) {
            Some((part, room)) => {
                *room -= cost;
                place.push((part, 0..field.value.as_slice().len()));
            }
            None => uncut.push(*at),
        }
    }
    if let Some(at) = uncut.first().filter(|_| !split) {
        return Err(*at);
    }
    for at in uncut {
        let (field, place) = fields.get(at).zip(places.get_mut(at)).ok_or(at)?;
        let len = field.value.as_slice().len();
        let cost = field.cost();
        // An address or a time in pieces is more than some clients put together.
        if let Some((part, room)) =
            PARTS.into_iter().zip(&mut room).find(|(_, room)| cost <= **room)
        {
            *room -= cost;
            place.push((part, 0..len));
            continue;
        }
        let mut from = 0;
        for (part, room) in PARTS.into_iter().zip(&mut room) {
            while from < len && *room > 2 {
                let piece = (len - from).min(*room - 2).min(255);
                place.push((part, from..from + piece));
                from += piece;
                *room -= piece + 2;
            }
        }
        if from < len || place.is_empty() {
            return Err(at);
        }
    }
    Ok(places)
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
    overlay(bytes, SNAME.start, head.sname.get(..SNAME.len() - 1).unwrap_or(head.sname));
    overlay(bytes, FILE.start, head.file.get(..FILE.len() - 1).unwrap_or(head.file));
}

fn overlay(bytes: &mut [u8], at: usize, part: &[u8]) {
    for (to, from) in bytes.iter_mut().skip(at).zip(part) {
        *to = *from;
    }
}

fn write_field(field: &Field<'_>, bytes: &mut Vec<u8>) {
    write_option(field.code, field.value.as_slice(), bytes);
}

fn write_option(code: u8, value: &[u8], bytes: &mut Vec<u8>) {
    if value.is_empty() {
        bytes.extend_from_slice(&[code, 0]);
    }
    for piece in value.chunks(255) {
        bytes.extend_from_slice(&[code, piece.len() as u8]);
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
