//! DHCP messages as phones read them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use dhcproto::v4::borrowed::{DhcpOptionIterator, Message};
use dhcproto::v4::{MAGIC, Opcode};
use offhook_model::Mac;

/// What a server says (RFC 2132, option 53).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// 2.
    Offer,
    /// 5.
    Ack,
    /// 6.
    Nak,
}

/// Options of a message by code, repeated ones joined (RFC 3396).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<u8, Vec<u8>>);

impl Options {
    /// The payload of an option.
    pub fn get(&self, code: u8) -> Option<&[u8]> {
        self.0.get(&code).map(Vec::as_slice)
    }

    /// Whether the option is there at all.
    pub fn contains(&self, code: u8) -> bool {
        self.0.contains_key(&code)
    }

    /// The payload as one address; none when it is not four bytes.
    pub fn address(&self, code: u8) -> Option<Ipv4Addr> {
        self.get(code)?
            .first_chunk()
            .filter(|_| self.get(code).map(<[u8]>::len) == Some(4))
            .map(|&bytes: &[u8; 4]| Ipv4Addr::from(bytes))
    }

    /// The payload as a list of addresses; none when it is empty or not a multiple of four bytes.
    pub fn addresses(&self, code: u8) -> Option<Vec<Ipv4Addr>> {
        let (chunks, rest) = self.get(code)?.as_chunks::<4>();
        (rest.is_empty() && !chunks.is_empty())
            .then(|| chunks.iter().map(|&bytes| Ipv4Addr::from(bytes)).collect())
    }

    /// The payload as an unsigned 32-bit number.
    pub fn u32(&self, code: u8) -> Option<u32> {
        self.get(code)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// The payload as text; none when it is not UTF-8.
    pub fn text(&self, code: u8) -> Option<&str> {
        str::from_utf8(self.get(code)?).ok()
    }

    /// The payload as readable text whatever it is: text, addresses where the code is a list of them, or hex.
    pub fn display(&self, code: u8) -> String {
        let Some(bytes) = self.get(code) else { return "nothing".to_owned() };
        let addresses = matches!(code, 1 | 3 | 4 | 6 | 28 | 42 | 54);
        match (self.addresses(code), self.text(code)) {
            (Some(list), _) if addresses => {
                list.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>().join(", ")
            }
            (_, Some(text)) if !addresses && !text.contains(|c: char| c.is_control()) => {
                text.to_owned()
            }
            _ => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }

    /// Every code, lowest first.
    pub fn codes(&self) -> impl Iterator<Item = u8> {
        self.0.keys().copied()
    }

    fn join(&mut self, options: DhcpOptionIterator<'_>) {
        for option in options {
            self.0.entry(option.code().into()).or_default().extend_from_slice(option.data());
        }
    }
}

impl<V: Into<Vec<u8>>> FromIterator<(u8, V)> for Options {
    fn from_iter<I: IntoIterator<Item = (u8, V)>>(options: I) -> Self {
        Self(options.into_iter().map(|(code, value)| (code, value.into())).collect())
    }
}

/// A message from a DHCP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Option 53.
    pub kind: MessageKind,
    /// The transaction.
    pub xid: u32,
    /// The client it is for, when `chaddr` is an Ethernet address.
    pub mac: Option<Mac>,
    /// The address given.
    pub yiaddr: Ipv4Addr,
    /// The next server, of boot loaders that read nothing else.
    pub siaddr: Ipv4Addr,
    /// The header field `file`, up to its first NUL; empty when it holds options (option 52).
    pub file: Vec<u8>,
    /// Everything else, overloaded fields included.
    pub options: Options,
    /// Bytes in the whole message.
    pub length: usize,
}

/// Why bytes are not a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseReplyError {
    /// Shorter than the fixed fields and the cookie.
    Short,
    /// A request, or nothing known.
    NotAReply,
    /// BOOTP without the DHCP cookie.
    NoCookie,
    /// No option 53 with a server's message in it.
    NoMessageKind,
}

impl fmt::Display for ParseReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "shorter than a DHCP message",
            Self::NotAReply => "not a reply",
            Self::NoCookie => "no DHCP cookie",
            Self::NoMessageKind => "no message type of a server",
        })
    }
}

impl std::error::Error for ParseReplyError {}

impl Reply {
    /// Reads a UDP payload. Never panics, whatever the bytes.
    ///
    /// # Errors
    /// [`ParseReplyError`] when it is no message of a DHCP server.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseReplyError> {
        let message = Message::new(bytes).map_err(|_| ParseReplyError::Short)?;
        if message.opcode() != Opcode::BootReply {
            return Err(ParseReplyError::NotAReply);
        }
        if bytes.get(236..240) != Some(MAGIC.as_slice()) {
            return Err(ParseReplyError::NoCookie);
        }
        let mut options = Options::default();
        options.join(message.opts());
        let overload = match options.get(52) {
            Some(&[fields]) => fields,
            _ => 0,
        };
        if overload & 1 != 0 {
            options.join(DhcpOptionIterator::new(bytes.get(108..236).unwrap_or_default()));
        }
        if overload & 2 != 0 {
            options.join(DhcpOptionIterator::new(bytes.get(44..108).unwrap_or_default()));
        }
        let kind = match options.get(53) {
            Some([2]) => MessageKind::Offer,
            Some([5]) => MessageKind::Ack,
            Some([6]) => MessageKind::Nak,
            _ => return Err(ParseReplyError::NoMessageKind),
        };
        // Not `Message::chaddr`: it trusts hlen.
        let mac = match (bytes.get(1..3), bytes.get(28..34)) {
            (Some([1, 6]), Some(&[a, b, c, d, e, f])) => Some(Mac([a, b, c, d, e, f])),
            _ => None,
        };
        Ok(Self {
            kind,
            xid: message.xid(),
            mac,
            yiaddr: message.yiaddr(),
            siaddr: message.siaddr(),
            file: if overload & 1 == 0 { message.fname().to_vec() } else { Vec::new() },
            options,
            length: bytes.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A reply with these bytes after the cookie.
    fn message(options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 236];
        bytes[..4].copy_from_slice(&[2, 1, 6, 0]);
        bytes[28..34].copy_from_slice(&[0, 0x90, 0x8f, 1, 2, 3]);
        bytes.extend([99, 130, 83, 99]);
        bytes.extend(options);
        bytes
    }

    #[test]
    fn options_split_or_overloaded_are_read_as_one() {
        let mut bytes = message(&[53, 1, 5, 160, 2, b'h', b't', 52, 1, 3, 160, 2, b't', b'p', 255]);
        bytes[108..115].copy_from_slice(&[67, 3, b'i', b'm', b'g', 255, 0]);
        bytes[44..48].copy_from_slice(&[66, 1, b'x', 255]);
        let reply = Reply::parse(&bytes).unwrap();
        assert_eq!(reply.options.text(160), Some("http"));
        assert_eq!(reply.options.text(67), Some("img"));
        assert_eq!(reply.options.text(66), Some("x"));
        assert_eq!(reply.file, b"");
        assert_eq!(reply.mac, Some(Mac([0, 0x90, 0x8f, 1, 2, 3])));
    }

    #[test]
    fn what_is_no_reply_is_told_apart() {
        let ack = message(&[53, 1, 5, 255]);
        assert_eq!(Reply::parse(&ack[..239]), Err(ParseReplyError::Short));
        let mut request = ack.clone();
        request[0] = 1;
        assert_eq!(Reply::parse(&request), Err(ParseReplyError::NotAReply));
        let mut bootp = ack.clone();
        bootp[236] = 0;
        assert_eq!(Reply::parse(&bootp), Err(ParseReplyError::NoCookie));
        assert_eq!(Reply::parse(&message(&[255])), Err(ParseReplyError::NoMessageKind));
        assert_eq!(Reply::parse(&message(&[53, 1, 1])), Err(ParseReplyError::NoMessageKind));
    }

    #[test]
    fn values_of_the_wrong_size_are_no_values() {
        let options: Options =
            [(3, vec![10, 0, 0, 1, 9]), (6, vec![]), (51, vec![0, 0, 1]), (54, vec![1, 2, 3, 4])]
                .into_iter()
                .collect();
        assert_eq!(options.addresses(3), None);
        assert_eq!(options.addresses(6), None);
        assert_eq!(options.u32(51), None);
        assert_eq!(options.address(54), Some(Ipv4Addr::new(1, 2, 3, 4)));
        assert_eq!(options.address(3), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = Reply::parse(&bytes);
        }

        #[test]
        fn any_options_after_a_good_header_are_read_without_panic(
            hlen in any::<u8>(),
            overload in any::<u8>(),
            fields in prop::collection::vec(any::<u8>(), 192),
            tail in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut bytes = message(&[53, 1, 5, 52, 1, overload]);
            bytes[2] = hlen;
            bytes[44..236].copy_from_slice(&fields);
            bytes.extend(tail);
            if let Ok(reply) = Reply::parse(&bytes) {
                for code in reply.options.codes() {
                    let _ = (reply.options.display(code), reply.options.addresses(code));
                }
            }
        }
    }
}
