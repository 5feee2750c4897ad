//! The wire format: RFC 1350, section 5, and RFC 2347.

use std::fmt;

use crate::{ErrorCode, Options};

/// The largest `blksize` of RFC 2348: what fits into a UDP datagram over IPv4.
pub const MAX_BLOCK_SIZE: u16 = 65464;

const RRQ: u16 = 1;
const WRQ: u16 = 2;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OACK: u16 = 6;

/// One TFTP packet, borrowed from its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// RRQ: somebody wants to read a file.
    ReadRequest(Request<'a>),
    /// WRQ: somebody wants to write one.
    WriteRequest(Request<'a>),
    /// DATA: one block.
    Data {
        /// The block number as it is on the wire, 16 bits that roll over.
        block: u16,
        /// Up to `blksize` bytes; fewer in the last block.
        payload: &'a [u8],
    },
    /// ACK of a block, or of an OACK as block 0.
    Ack {
        /// The block number as it is on the wire.
        block: u16,
    },
    /// ERROR: ends the transfer.
    Error {
        /// The code, whether known or not.
        code: u16,
        /// The text, for people.
        message: &'a [u8],
    },
    /// OACK: the options the server has accepted.
    OptionAck(Options<'a>),
}

/// What a RRQ or a WRQ asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The name as the client spells it: bytes, without a NUL.
    pub name: &'a [u8],
    /// How the file is to be sent.
    pub mode: Mode,
    /// The options, known or not.
    pub options: Options<'a>,
}

/// A transfer mode, RFC 1350 section 1; its letter case is of no matter on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The bytes as they are.
    Octet,
    /// Text: LF goes out as CR LF, CR as CR NUL.
    Netascii,
    /// Mail to a user: obsolete, always refused.
    Mail,
    /// Anything else, refused as well.
    Unknown,
}

impl Mode {
    fn parse(text: &[u8]) -> Self {
        let known: [(&[u8], Self); 3] =
            [(b"octet", Self::Octet), (b"netascii", Self::Netascii), (b"mail", Self::Mail)];
        known
            .into_iter()
            .find_map(|(name, mode)| text.eq_ignore_ascii_case(name).then_some(mode))
            .unwrap_or(Self::Unknown)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Octet => "octet",
            Self::Netascii => "netascii",
            Self::Mail => "mail",
            Self::Unknown => "unknown",
        })
    }
}

/// Why a datagram is not a TFTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Too few bytes for its kind.
    #[error("the packet ends early")]
    Short,
    /// An operation code that does not exist.
    #[error("operation {0} does not exist")]
    Opcode(u16),
    /// A request without a NUL after its file name: where the name ends cannot be known.
    #[error("the request has no transfer mode")]
    NoMode,
}

impl<'a> Packet<'a> {
    /// Reads a datagram. Tolerated: a missing NUL at the very end, padding behind an ACK, an option without a
    /// value, options of any name and value.
    ///
    /// # Errors
    /// [`DecodeError`] when not even the kind of packet, a block number, or the end of a name can be made out.
    pub fn decode(datagram: &'a [u8]) -> Result<Self, DecodeError> {
        let (opcode, body) = split_u16(datagram)?;
        match opcode {
            RRQ => Request::decode(body).map(Self::ReadRequest),
            WRQ => Request::decode(body).map(Self::WriteRequest),
            DATA => split_u16(body).map(|(block, payload)| Self::Data { block, payload }),
            ACK => split_u16(body).map(|(block, _)| Self::Ack { block }),
            ERROR => split_u16(body).map(|(code, text)| Self::Error {
                code,
                message: text.split(|byte| *byte == 0).next().unwrap_or_default(),
            }),
            OACK => Ok(Self::OptionAck(Options::new(body))),
            other => Err(DecodeError::Opcode(other)),
        }
    }

    /// Appends the packet to `out` as it goes on the wire.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::ReadRequest(request) => request.encode(RRQ, out),
            Self::WriteRequest(request) => request.encode(WRQ, out),
            Self::Data { block, payload } => {
                out.extend(data_header(*block));
                out.extend_from_slice(payload);
            }
            Self::Ack { block } => {
                out.extend(ACK.to_be_bytes());
                out.extend(block.to_be_bytes());
            }
            Self::Error { code, message } => encode_error(*code, message, out),
            Self::OptionAck(options) => {
                out.extend(option_ack_header());
                out.extend_from_slice(options.as_bytes());
            }
        }
    }

    /// The packet as a datagram of its own.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    /// An ERROR of one of the known codes.
    pub fn error(code: ErrorCode, message: &'a str) -> Self {
        Self::Error { code: code as u16, message: message.as_bytes() }
    }
}

impl<'a> Request<'a> {
    fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let (name, rest) = split_nul(body).ok_or(DecodeError::NoMode)?;
        // A mode at the very end without its NUL can be nothing else; none at all is no request.
        let (mode, options) = split_nul(rest).unwrap_or((rest, &[]));
        if mode.is_empty() {
            return Err(DecodeError::NoMode);
        }
        Ok(Self { name, mode: Mode::parse(mode), options: Options::new(options) })
    }

    fn encode(&self, opcode: u16, out: &mut Vec<u8>) {
        out.extend(opcode.to_be_bytes());
        out.extend_from_slice(self.name);
        out.push(0);
        out.extend_from_slice(self.mode.to_string().as_bytes());
        out.push(0);
        out.extend_from_slice(self.options.as_bytes());
    }
}

/// The four bytes before the payload of a DATA packet.
pub(crate) fn data_header(block: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (DATA.to_be_bytes(), block.to_be_bytes());
    [a, b, c, d]
}

/// The two bytes before the options of an OACK.
pub(crate) fn option_ack_header() -> [u8; 2] {
    OACK.to_be_bytes()
}

fn encode_error(code: u16, message: &[u8], out: &mut Vec<u8>) {
    out.extend(ERROR.to_be_bytes());
    out.extend(code.to_be_bytes());
    out.extend(message.iter().filter(|byte| **byte != 0));
    out.push(0);
}

fn split_u16(bytes: &[u8]) -> Result<(u16, &[u8]), DecodeError> {
    let (head, rest) = bytes.split_first_chunk().ok_or(DecodeError::Short)?;
    Ok((u16::from_be_bytes(*head), rest))
}

fn split_nul(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}
