//! A client's message, read as far as it can be.
//!
//! The header is read with `dhcproto::v4::borrowed`. The options are not: its iterator ends at the first option
//! that runs past the end and joins only neighbours, and its typed decoders refuse what phones really send. Here
//! every option is bytes with a code, and what cannot be understood is only itself lost.

use std::net::Ipv4Addr;
use std::ops::Range;

use dhcproto::v4::{Flags, MAGIC, MessageType, Opcode, borrowed};
use offhook_model::{ClientId, HardwareAddress};

use super::fqdn::ClientName;
use super::vendor::sub_options;
use super::{FILE, HEADER, SNAME, code, fqdn};
use crate::NoReply;

/// Client identifiers longer than this are refused: real ones (RFC 4361) stay below 140 bytes, and each is kept
/// in memory with its lease.
const MAX_CLIENT_ID: usize = 512;

/// The type of a client identifier that is an IAID and a DUID (RFC 4361, 6.1).
const NODE_SPECIFIC: u8 = 255;

/// Bytes of an IAID.
const IAID: usize = 4;

/// The fixed header of a BOOTREQUEST.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// `htype`, and the first `hlen` bytes of `chaddr`.
    pub hardware: HardwareAddress,
    /// All of `chaddr`, echoed as it came.
    pub chaddr: [u8; 16],
    /// Transaction id.
    pub xid: u32,
    /// Seconds since the client began.
    pub secs: u16,
    /// The flags, the reserved ones included.
    pub flags: Flags,
    /// The client's address, when it has one that answers.
    pub ciaddr: Ipv4Addr,
    /// The relay's address; unspecified when there is none.
    pub giaddr: Ipv4Addr,
}

impl Header {
    /// Reads the header.
    ///
    /// # Errors
    /// [`NoReply::Truncated`], [`NoReply::NotARequest`], [`NoReply::HardwareLength`], [`NoReply::NoCookie`].
    pub fn read(bytes: &[u8]) -> Result<Self, NoReply> {
        let message = borrowed::Message::new(bytes).map_err(|_| NoReply::Truncated)?;
        if message.opcode() != Opcode::BootRequest {
            return Err(NoReply::NotARequest);
        }
        // Checked before chaddr() is called, which slices by it.
        if message.hlen() > 16 {
            return Err(NoReply::HardwareLength);
        }
        if bytes.get(236..HEADER) != Some(&MAGIC[..]) {
            return Err(NoReply::NoCookie);
        }
        let chaddr = bytes.get(28..44).and_then(|slice| slice.try_into().ok()).unwrap_or_default();
        Ok(Self {
            hardware: HardwareAddress::new(message.htype().into(), message.chaddr()),
            chaddr,
            xid: message.xid(),
            secs: message.secs(),
            flags: message.flags(),
            ciaddr: message.ciaddr(),
            giaddr: message.giaddr(),
        })
    }

    /// `ciaddr`, if a host can have that address.
    pub fn client_address(&self) -> Option<Ipv4Addr> {
        let address = self.ciaddr;
        let is_none = address.octets().first() == Some(&0)
            || address.is_loopback()
            || address.is_multicast()
            || address.is_broadcast();
        (!is_none).then_some(address)
    }

    /// Whether a relay forwarded the message.
    pub fn is_relayed(&self) -> bool {
        !self.giaddr.is_unspecified()
    }
}

/// Where an option's bytes are.
#[derive(Clone, Copy)]
enum Slot {
    Absent,
    /// In the message itself.
    Once {
        start: u16,
        len: u16,
    },
    /// In `Request::joined`: it came in several pieces.
    Joined(u16),
}

/// How long a DHCP message may be, in octets, where IP datagrams may have `datagram`. RFC 2131 has 576 taken everywhere,
/// and more than an Ethernet frame holds is never used.
pub(crate) fn longest_message(datagram: u16) -> usize {
    usize::from(datagram.clamp(576, 1500)) - 28
}

/// A whole message.
pub struct Request<'a> {
    /// The fixed header.
    pub header: Header,
    /// Option 53.
    pub message: MessageType,
    bytes: &'a [u8],
    slots: [Slot; 256],
    joined: Vec<Vec<u8>>,
}

impl<'a> Request<'a> {
    /// Reads the options that follow a header read before.
    ///
    /// Pieces of one option are joined in the order of RFC 3396 (options, `file`, `sname`), neighbours or not. An
    /// option whose length runs past its field is clipped when it is text or a list; of others, half is nothing, and a
    /// message that ends so is as little.
    ///
    /// # Errors
    /// [`NoReply::Bootp`] without a message type, [`NoReply::MessageType`] with one that clients do not send,
    /// [`NoReply::CutShort`].
    pub fn read(header: Header, bytes: &'a [u8]) -> Result<Self, NoReply> {
        let mut request = Self {
            header,
            message: MessageType::Unknown(0),
            bytes,
            slots: [Slot::Absent; 256],
            joined: Vec::new(),
        };
        let main = HEADER..bytes.len();
        let (mut repeats, is_whole) = request.index(main.clone());
        let overload = request.option(code::OVERLOAD).and_then(<[u8]>::first).copied().unwrap_or(0);
        let fields = [
            Some(main),
            (overload == 1 || overload == 3).then_some(FILE),
            (overload == 2 || overload == 3).then_some(SNAME),
        ];
        for field in fields.iter().skip(1).flatten() {
            repeats |= request.index(field.clone()).0;
        }
        if repeats {
            request.join(fields.into_iter().flatten());
        }
        request.message = match request.option(code::MESSAGE_TYPE).map(<[u8]>::first) {
            None => return Err(NoReply::Bootp),
            Some(None) => return Err(NoReply::MessageType),
            Some(Some(&number)) => MessageType::from(number),
        };
        match request.message {
            MessageType::Discover
            | MessageType::Request
            | MessageType::Decline
            | MessageType::Release
            | MessageType::Inform => is_whole.then_some(request).ok_or(NoReply::CutShort),
            _ => Err(NoReply::MessageType),
        }
    }

    /// Header and options at once.
    ///
    /// # Errors
    /// As [`Header::read`] and [`Request::read`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, NoReply> {
        Self::read(Header::read(bytes)?, bytes)
    }

    /// Notes where each option of a field is; tells whether one came again, and whether the field ends as it should:
    /// with End, or after an option.
    fn index(&mut self, field: Range<usize>) -> (bool, bool) {
        let mut repeats = false;
        let mut rest = field.clone();
        for (code, piece) in segments(self.bytes, field) {
            rest.start = piece.end;
            let (Ok(start), Ok(len)) = (u16::try_from(piece.start), u16::try_from(piece.len()))
            else {
                break;
            };
            if let Some(slot) = self.slots.get_mut(usize::from(code)) {
                match slot {
                    Slot::Absent => *slot = Slot::Once { start, len },
                    Slot::Once { .. } | Slot::Joined(_) => repeats = true,
                }
            }
        }
        let mut rest = self.bytes.get(rest).unwrap_or_default().iter();
        (repeats, rest.find(|&&code| code != code::PAD).is_none_or(|&code| code == code::END))
    }

    /// Joins the pieces of options that came more than once. One walk, however many they are: all pieces
    /// together are no longer than the message.
    fn join(&mut self, fields: impl Iterator<Item = Range<usize>>) {
        for field in fields {
            for (code, piece) in segments(self.bytes, field) {
                let Some(slot) = self.slots.get_mut(usize::from(code)) else { continue };
                let bytes = self.bytes.get(piece.clone()).unwrap_or_default();
                match *slot {
                    Slot::Once { start, .. } if usize::from(start) == piece.start => {}
                    Slot::Once { start, len } => {
                        let first = usize::from(start)..usize::from(start) + usize::from(len);
                        let first = self.bytes.get(first).unwrap_or_default();
                        *slot = Slot::Joined(self.joined.len() as u16);
                        self.joined.push([first, bytes].concat());
                    }
                    Slot::Joined(at) => {
                        if let Some(whole) = self.joined.get_mut(usize::from(at)) {
                            whole.extend_from_slice(bytes);
                        }
                    }
                    Slot::Absent => {}
                }
            }
        }
    }

    /// The bytes of an option, joined; `None` when it did not come.
    pub fn option(&self, code: u8) -> Option<&[u8]> {
        match *self.slots.get(usize::from(code))? {
            Slot::Absent => None,
            Slot::Once { start, len } => {
                self.bytes.get(usize::from(start)..usize::from(start) + usize::from(len))
            }
            Slot::Joined(at) => self.joined.get(usize::from(at)).map(Vec::as_slice),
        }
    }

    /// An option that is one address; `None` also when it is too short to be one.
    pub fn address(&self, code: u8) -> Option<Ipv4Addr> {
        self.option(code)?.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets))
    }

    /// An option that is a 32-bit number; `None` also when it is too short to be one.
    pub fn number(&self, code: u8) -> Option<u32> {
        self.option(code)?.first_chunk::<4>().map(|octets| u32::from_be_bytes(*octets))
    }

    /// The codes of option 55, duplicates and all; `None` when the client sent none.
    pub fn requested(&self) -> Option<&[u8]> {
        self.option(code::REQUEST_LIST).filter(|codes| !codes.is_empty())
    }

    /// How long a reply this client takes, in bytes of DHCP message. Option 57 counts an IP datagram, as the 576
    /// of RFC 2131 does; more than an Ethernet frame is never used.
    pub fn reply_limit(&self) -> usize {
        let asked = self.option(code::MAX_SIZE).and_then(|bytes| bytes.first_chunk::<2>());
        longest_message(asked.map_or(576, |octets| u16::from_be_bytes(*octets)))
    }

    /// A sub-option of option 82 (RFC 3046), whoever added it: a switch may do so without being a relay.
    pub fn agent_option(&self, sub_option: u8) -> Option<&[u8]> {
        let mut found = sub_options(self.option(code::RELAY_AGENT)?);
        found.find(|(code, _)| *code == sub_option).map(|(_, value)| value)
    }

    /// A sub-option of the relay's option 82 that is one address; `None` without a relay.
    pub fn relay_address(&self, sub_option: u8) -> Option<Ipv4Addr> {
        let value = self.agent_option(sub_option).filter(|_| self.header.is_relayed())?;
        <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from)
    }

    /// What the server is to be called in replies (RFC 5107): by a relay, or a switch that adds the option without
    /// being one.
    pub fn server_id_override(&self) -> Option<Ipv4Addr> {
        let value = self.agent_option(code::SERVER_ID_OVERRIDE)?;
        let address = <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from);
        address.filter(|address| !address.is_unspecified())
    }

    /// Option 12, without trailing NULs; `None` when nothing is left.
    pub fn host_name(&self) -> Option<&[u8]> {
        self.option(code::HOST_NAME).map(trim_nuls).filter(|name| !name.is_empty())
    }

    /// Option 81 (RFC 4702).
    pub(crate) fn fqdn(&self) -> Option<ClientName<'_>> {
        ClientName::read(self.option(code::FQDN)?)
    }

    /// The first label of option 81, in either of its encodings.
    pub fn fqdn_label(&self) -> Option<&[u8]> {
        self.fqdn()?.labels.first().copied()
    }

    /// What the client calls itself: the first label of option 81 where it sends that (RFC 4702, 3: option 12 then
    /// does not count), else option 12. None when it wants its name in no DNS.
    pub fn own_name(&self) -> Option<&[u8]> {
        match self.fqdn() {
            Some(name) if name.flags.contains(fqdn::Flags::NO_UPDATE) => None,
            Some(name) => name.labels.first().copied(),
            None => self.host_name(),
        }
    }

    /// The bytes of option 61, unless empty.
    pub fn client_id(&self) -> Option<&[u8]> {
        self.option(code::CLIENT_ID).filter(|id| !id.is_empty())
    }

    /// Who a lease would belong to: option 61, else the hardware address.
    ///
    /// # Errors
    /// [`NoReply::NoIdentity`] when there is neither, [`NoReply::ClientIdTooLong`], [`NoReply::NoDuid`].
    pub fn identity(&self) -> Result<ClientId, NoReply> {
        match self.client_id() {
            Some([NODE_SPECIFIC, rest @ ..]) if rest.len() <= IAID => Err(NoReply::NoDuid),
            Some(id) if id.len() > MAX_CLIENT_ID => Err(NoReply::ClientIdTooLong),
            Some(id) => Ok(ClientId::Option61(id.into())),
            None if self.header.hardware.bytes().is_empty() => Err(NoReply::NoIdentity),
            None => Ok(ClientId::Hardware(self.header.hardware)),
        }
    }
}

/// `bytes` without the NULs that some phones end their strings with.
pub(crate) fn trim_nuls(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    bytes.get(..end).unwrap_or_default()
}

/// The options of one field, as code and range; ends at End, at the end of the field, or after an option that runs
/// past it.
pub(super) fn segments(
    bytes: &[u8],
    field: Range<usize>,
) -> impl Iterator<Item = (u8, Range<usize>)> {
    let end = field.end.min(bytes.len());
    let mut at = field.start;
    std::iter::from_fn(move || {
        while at < end && bytes.get(at) == Some(&code::PAD) {
            at += 1;
        }
        let code = *bytes.get(at).filter(|&&code| at < end && code != code::END)?;
        let len = usize::from(*bytes.get(at + 1).filter(|_| at + 1 < end)?);
        let start = at + 2;
        if start + len > end {
            at = end;
            // What is left of a name or a list is worth having; half of an address or of an identity is not.
            return bears_clipping(code).then_some((code, start..end));
        }
        at = start + len;
        Some((code, start..at))
    })
}

fn bears_clipping(code: u8) -> bool {
    matches!(
        code,
        code::HOST_NAME
            | code::REQUEST_LIST
            | code::VENDOR_CLASS
            | code::USER_CLASS
            | code::VENDOR_CLASS_BY_ENTERPRISE
            | code::VENDOR_OPTIONS_BY_ENTERPRISE
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes[0] = 1;
        bytes[1] = 1;
        bytes[2] = 6;
        bytes[236..].copy_from_slice(&MAGIC);
        bytes.extend_from_slice(options);
        bytes
    }

    #[test]
    fn a_short_option_is_itself_lost_and_a_text_that_runs_past_the_end_is_clipped() {
        let bytes = message(b"\x35\x01\x01\x3c\x05440HD\x33\x02\x00\x01");
        let request = Request::decode(&bytes).unwrap();
        assert_eq!(request.message, MessageType::Discover);
        assert_eq!(request.option(60), Some(&b"440HD"[..]));
        assert_eq!(request.number(51), None);
        let clipped = message(b"\x35\x01\x01\x3c\x09440HD");
        assert_eq!(Request::decode(&clipped).unwrap().option(60), Some(&b"440HD"[..]));
    }

    #[test]
    fn a_message_that_ends_within_an_address_or_an_identity_is_none() {
        for tail in [&b"\x36"[..], b"\x36\x04\x01\x02", b"\x3d\xff\x01", b"\0\0\x32\x04"] {
            for number in [1, 3, 4, 7, 8] {
                let bytes = message(&[&[53, 1, number][..], tail].concat());
                assert_eq!(Request::decode(&bytes).err(), Some(NoReply::CutShort), "{tail:?}");
            }
        }
        for tail in [&b""[..], b"\0\0\0", b"\xff", b"\xff\x36", b"\0\xff\x3d\xff\x01"] {
            assert!(
                Request::decode(&message(&[b"\x35\x01\x01", tail].concat())).is_ok(),
                "{tail:?}"
            );
        }
    }

    #[test]
    fn an_identifier_of_type_255_is_one_only_with_its_duid() {
        let identity = |id: &[u8]| {
            let option = [&[61, id.len() as u8][..], id].concat();
            Request::decode(&message(&[b"\x35\x01\x01", &option[..]].concat())).unwrap().identity()
        };
        for id in [&b"\xff"[..], b"\xff\x44", b"\xff\x44\x44\x44\x44"] {
            assert_eq!(identity(id), Err(NoReply::NoDuid));
        }
        let id = b"\xff\x44\x44\x44\x44\x00";
        assert_eq!(identity(id), Ok(ClientId::Option61(id[..].into())));
        assert!(identity(b"\xfe").is_ok());
    }

    #[test]
    fn pieces_of_an_option_are_joined_across_others_and_across_file_and_sname() {
        let mut bytes =
            message(b"\x35\x01\x01\x3c\x02aa\x34\x01\x03\x00\x0c\x01h\x3c\x01b\xff\x3c\x09ignored");
        bytes[108..114].copy_from_slice(b"\x3c\x02cd\xff\xff");
        bytes[44..48].copy_from_slice(b"\x3c\x02ef");
        let request = Request::decode(&bytes).unwrap();
        assert_eq!(request.option(60), Some(&b"aabcdef"[..]));
        assert_eq!(request.host_name(), Some(&b"h"[..]));
    }

    #[test]
    fn file_and_sname_are_options_only_when_option_52_says_so() {
        let mut bytes = message(b"\x35\x01\x01\xff");
        bytes[108..112].copy_from_slice(b"\x3c\x02cd");
        assert_eq!(Request::decode(&bytes).unwrap().option(60), None);
    }

    #[test]
    fn what_is_no_request_is_refused_by_name() {
        let refused = |bytes: &[u8]| Request::decode(bytes).err();
        let good = message(b"\x35\x01\x01\xff");
        assert_eq!(refused(&good), None);
        assert_eq!(refused(&good[..239]), Some(NoReply::Truncated));
        assert_eq!(refused(&message(b"")), Some(NoReply::Bootp));
        assert_eq!(refused(&message(b"\x35\x00")), Some(NoReply::MessageType));
        for number in [0, 2, 5, 6, 9, 10, 255] {
            assert_eq!(refused(&message(&[53, 1, number])), Some(NoReply::MessageType));
        }
        let mut reply = good.clone();
        reply[0] = 2;
        assert_eq!(refused(&reply), Some(NoReply::NotARequest));
        let mut long = good.clone();
        long[2] = 17;
        assert_eq!(refused(&long), Some(NoReply::HardwareLength));
        let mut cookie = good;
        cookie[236] = 0;
        assert_eq!(refused(&cookie), Some(NoReply::NoCookie));
    }

    #[test]
    fn the_first_label_of_option_81_is_found_in_both_encodings() {
        let ascii = message(b"\x35\x01\x08\x51\x0d\x01\x00\x00pc-7.lab.x");
        assert_eq!(Request::decode(&ascii).unwrap().fqdn_label(), Some(&b"pc-7"[..]));
        let wire = message(b"\x35\x01\x08\x51\x09\x05\x00\x00\x04pc-7\x00");
        assert_eq!(Request::decode(&wire).unwrap().fqdn_label(), Some(&b"pc-7"[..]));
    }
}
