//! DHCP messages as phones send them.

use std::net::Ipv4Addr;

use dhcproto::v4::{Flags, Message, OptionCode, UnknownOption};
use dhcproto::{Encodable, Encoder};
use offhook_model::Mac;

/// The least a BOOTP message may be; boot loaders pad to it (RFC 951).
const MIN_LENGTH: usize = 300;

/// A message of a client; options go out in the order in which they were added, as real phones have their own.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) xid: u32,
    pub(crate) secs: u16,
    pub(crate) broadcast: bool,
    pub(crate) ciaddr: Ipv4Addr,
    pub(crate) mac: Mac,
    options: Vec<(u8, Vec<u8>)>,
}

impl Request {
    pub(crate) fn new(mac: Mac, xid: u32) -> Self {
        Self {
            xid,
            secs: 0,
            broadcast: false,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            mac,
            options: Vec::new(),
        }
    }

    /// Adds an option; at most 255 bytes of `value` count.
    pub(crate) fn option(mut self, code: u8, value: &[u8]) -> Self {
        self.options.push((code, value.iter().copied().take(255).collect()));
        self
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let zero = Ipv4Addr::UNSPECIFIED;
        let mut header = Message::new_with_id(self.xid, self.ciaddr, zero, zero, zero, &self.mac.0);
        header.set_secs(self.secs);
        if self.broadcast {
            header.set_flags(Flags::default().set_broadcast());
        }
        let mut bytes = Vec::with_capacity(MIN_LENGTH);
        // Neither can fail: the header has fixed fields only, and the options fit their length bytes.
        let mut written = header.encode(&mut Encoder::new(&mut bytes)).is_ok();
        for (code, value) in &self.options {
            // The raw form, so that a fixture's odd bytes go out as they are.
            let option = UnknownOption::new(OptionCode::from(*code), value.clone());
            let mut tail = Vec::new();
            written &= option.encode(&mut Encoder::new(&mut tail)).is_ok();
            bytes.append(&mut tail);
        }
        debug_assert!(written);
        bytes.push(u8::from(OptionCode::End));
        bytes.resize(bytes.len().max(MIN_LENGTH), 0);
        bytes
    }
}
