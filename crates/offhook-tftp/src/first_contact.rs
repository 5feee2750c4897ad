//! What to do with a datagram that belongs to no transfer.

use crate::{DecodeError, Mode, Packet, Refusal, Request};

/// What to do with a datagram at the well-known port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstContact<'a> {
    /// A read in a mode that is served: look the file up.
    Read(Request<'a>),
    /// Answer with an ERROR. Holds the name where one was asked for.
    Refuse(Refusal, Option<&'a [u8]>),
    /// Say nothing: it is an ERROR, or nothing at all.
    Ignore,
}

/// Decides on a datagram at the well-known port.
pub fn first_contact(datagram: &[u8]) -> FirstContact<'_> {
    match Packet::decode(datagram) {
        Ok(Packet::ReadRequest(request)) => match request.mode {
            Mode::Octet | Mode::Netascii => FirstContact::Read(request),
            Mode::Mail => FirstContact::Refuse(Refusal::Mail, Some(request.name)),
            Mode::Unknown => FirstContact::Refuse(Refusal::UnknownMode, Some(request.name)),
        },
        Ok(Packet::WriteRequest(request)) => match request.mode {
            Mode::Mail => FirstContact::Refuse(Refusal::Mail, Some(request.name)),
            _ => FirstContact::Refuse(Refusal::ReadOnly, Some(request.name)),
        },
        Ok(Packet::Data { .. } | Packet::Ack { .. } | Packet::OptionAck(_)) => {
            FirstContact::Refuse(Refusal::UnknownTransfer, None)
        }
        // An ERROR is never answered, however it is broken; nor is what has no operation code at all.
        Ok(Packet::Error { .. }) => FirstContact::Ignore,
        Err(DecodeError::Short) if datagram.len() < 2 || datagram.starts_with(&[0, 5]) => {
            FirstContact::Ignore
        }
        Err(_) => FirstContact::Refuse(Refusal::Malformed, None),
    }
}

/// The answer to a datagram that reached a transfer's port from anywhere but its client: ERROR 5, which leaves the
/// transfer unharmed (RFC 1350, section 4); none to an ERROR.
pub fn stray_reply(datagram: &[u8]) -> Option<Vec<u8>> {
    match datagram {
        [] | [_] | [0, 5, ..] => None,
        _ => Some(Refusal::UnknownTransfer.packet()),
    }
}
