//! What a first look at a message tells: for what need not be right, and must cost next to nothing.

use std::net::Ipv4Addr;

use super::request::segments;
use super::{HEADER, code};

/// The client of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Glance<'a> {
    /// The relay's address; unspecified when there is none.
    pub(crate) giaddr: Ipv4Addr,
    /// `htype`.
    pub(crate) htype: u8,
    /// The first `hlen` bytes of `chaddr`.
    pub(crate) chaddr: &'a [u8],
    /// Option 61, or its first piece, unless empty.
    pub(crate) client_id: Option<&'a [u8]>,
    /// Whether option 54 is there: the message is about what was offered before.
    pub(crate) is_about_offer: bool,
}

impl<'a> Glance<'a> {
    /// Of any bytes; `None` when they can be no message.
    pub(crate) fn at(bytes: &'a [u8]) -> Option<Self> {
        let (htype, hlen) = (*bytes.get(1)?, *bytes.get(2)?);
        let giaddr: [u8; 4] = bytes.get(24..28)?.try_into().ok()?;
        let chaddr = bytes.get(28..44)?.get(..usize::from(hlen))?;
        let options = bytes.len().checked_sub(HEADER).map(|_| HEADER..bytes.len())?;
        let (mut client_id, mut is_about_offer) = (None, false);
        for (option, at) in segments(bytes, options) {
            match option {
                code::CLIENT_ID => client_id = client_id.or(bytes.get(at)),
                code::SERVER_ID => is_about_offer = true,
                _ => {}
            }
        }
        let client_id = client_id.filter(|id| !id.is_empty());
        Some(Self { giaddr: giaddr.into(), htype, chaddr, client_id, is_about_offer })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{Header, Request};

    fn message(hlen: u8, giaddr: [u8; 4], options: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = vec![1, 1, hlen, 0];
        bytes.resize(24, 0);
        bytes.extend(giaddr);
        bytes.extend((0..16).map(|n| n * 7 + 1));
        bytes.resize(HEADER - 4, 0);
        bytes.extend([99, 130, 83, 99, 53, 1, 1]);
        for (option, value) in options {
            bytes.extend([*option, value.len() as u8]);
            bytes.extend(value);
        }
        bytes.push(code::END);
        bytes
    }

    proptest! {
        #[test]
        fn it_sees_what_who_reads_the_whole_message_sees(
            hlen in 0..=16_u8,
            giaddr in any::<[u8; 4]>(),
            codes in prop::sample::subsequence(vec![12, 50, 54, 55, 60, 61, 81], 0..=7),
            value in prop::collection::vec(any::<u8>(), 0..20),
            pads in 0..3_usize,
        ) {
            let options: Vec<_> = codes.iter().map(|option| (*option, value.clone())).collect();
            let mut bytes = message(hlen, giaddr, &options);
            bytes.splice(HEADER..HEADER, vec![code::PAD; pads]);
            let header = Header::read(&bytes).unwrap();
            let request = Request::read(header, &bytes).unwrap();
            let glance = Glance::at(&bytes).unwrap();
            prop_assert_eq!(glance.giaddr, header.giaddr);
            prop_assert_eq!(glance.htype, header.hardware.htype());
            prop_assert_eq!(glance.chaddr, header.hardware.bytes());
            prop_assert_eq!(glance.client_id, request.client_id());
            prop_assert_eq!(glance.is_about_offer, request.option(code::SERVER_ID).is_some());
        }

        #[test]
        fn it_can_be_had_of_anything(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let glance = Glance::at(&bytes);
            prop_assert_eq!(glance.is_some(), bytes.len() >= HEADER && bytes[2] <= 16);
        }
    }
}
