//! A question to an upstream server; also what its answer is kept by.

use std::fmt;

use hickory_proto::rr::RecordType;

use super::answer::library_name;
use crate::UDP_PAYLOAD;
use crate::name::NameKey;

/// What is asked. Equal questions have one answer: the name is in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    pub(crate) name: NameKey,
    /// QTYPE, as on the wire; the class is IN.
    pub(crate) qtype: u16,
    /// CD: the upstream need not validate.
    pub(crate) checking_disabled: bool,
    /// DO: DNSSEC records are wanted.
    pub(crate) dnssec_ok: bool,
}

impl Query {
    /// The message, with EDNS unless the server is known not to take it.
    pub fn encode(&self, id: u16, edns: bool) -> Vec<u8> {
        let mut wire = Vec::with_capacity(32 + self.name.as_wire().len());
        wire.extend_from_slice(&id.to_be_bytes());
        // RD, and CD where the client has it.
        wire.extend_from_slice(&[0x01, if self.checking_disabled { 0x10 } else { 0 }]);
        wire.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, u8::from(edns)]);
        wire.extend_from_slice(self.name.as_wire());
        wire.extend_from_slice(&self.qtype.to_be_bytes());
        wire.extend_from_slice(&[0, 1]);
        if edns {
            let [high, low] = UDP_PAYLOAD.to_be_bytes();
            let flags = if self.dnssec_ok { 0x80 } else { 0 };
            wire.extend_from_slice(&[0, 0, 41, high, low, 0, 0, flags, 0, 0, 0]);
        }
        wire
    }

    /// Octets in memory.
    pub(super) fn cost(&self) -> usize {
        size_of::<Self>() + self.name.as_wire().len()
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = library_name(self.name.as_wire()).unwrap_or_default();
        write!(f, "{name} {}", RecordType::from(self.qtype))
    }
}
