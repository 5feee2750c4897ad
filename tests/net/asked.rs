//! DNS requests from octets, and what comes back.

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RData;

/// Of the header: RD, and AA, TC, RA, Z, AD, CD as answers have them.
pub(crate) const RD: u16 = 0x0100;
pub(crate) const CD: u16 = 0x0010;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Udp,
    Tcp,
}

/// A request: header fields, then octets.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) flags: u16,
    pub(crate) counts: [u16; 4],
    pub(crate) body: Vec<u8>,
}

pub(crate) fn wire(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut wire: Vec<u8> =
        labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    wire.push(0);
    wire
}

pub(crate) fn ask(name: &str, qtype: u16) -> Ask {
    ask_class(name, qtype, 1)
}

pub(crate) fn ask_class(name: &str, qtype: u16, class: u16) -> Ask {
    let name = if name.contains('.') { name.to_owned() } else { format!("{name}.lab.voip") };
    Ask { flags: RD, counts: [0; 4], body: Vec::new() }.and_ask(&name, qtype, class)
}

impl Ask {
    pub(crate) fn and_ask(mut self, name: &str, qtype: u16, class: u16) -> Self {
        self.counts[0] += 1;
        self.body.extend(wire(name));
        self.body.extend([qtype.to_be_bytes(), class.to_be_bytes()].concat());
        self
    }

    pub(crate) fn raw(mut self, section: usize, octets: &[u8]) -> Self {
        self.counts[section] += 1;
        self.body.extend(octets);
        self
    }

    /// An OPT record.
    pub(crate) fn opt(self, payload: u16, version: u8, flags: u16, options: &[u8]) -> Self {
        let mut record = vec![0, 0, 41];
        record.extend(payload.to_be_bytes());
        record.extend([0, version]);
        record.extend(flags.to_be_bytes());
        record.extend((options.len() as u16).to_be_bytes());
        record.extend(options);
        self.raw(3, &record)
    }

    pub(crate) fn edns(self) -> Self {
        self.opt(1232, 0, 0, b"")
    }

    pub(crate) fn flags(self, flags: u16) -> Self {
        Self { flags, ..self }
    }

    pub(crate) fn opcode(self, opcode: u16) -> Self {
        Self { flags: opcode << 11, ..self }
    }

    pub(crate) fn octets(&self, id: u16) -> Vec<u8> {
        let mut octets = [id.to_be_bytes(), self.flags.to_be_bytes()].concat();
        octets.extend(self.counts.iter().flat_map(|count| count.to_be_bytes()));
        octets.extend(&self.body);
        octets
    }
}

/// An answer, with what the library does not keep of it.
pub(crate) struct Got {
    pub(crate) octets: Vec<u8>,
    pub(crate) message: Message,
    pub(crate) over: Over,
}

impl Got {
    pub(crate) fn rcode(&self) -> ResponseCode {
        self.message.metadata.response_code
    }

    pub(crate) fn is(&self, code: ResponseCode) -> bool {
        // One number has two names.
        u16::from(self.rcode()) == u16::from(code) && self.message.answers.is_empty()
    }

    /// An answer that is ours, with so many records.
    pub(crate) fn ours(&self, answers: usize) -> bool {
        self.rcode() == ResponseCode::NoError
            && self.message.metadata.authoritative
            && self.message.answers.len() == answers
    }

    pub(crate) fn negative(&self, code: ResponseCode) -> bool {
        let soa = self.message.authorities.first();
        self.rcode() == code
            && self.message.metadata.authoritative
            && soa.is_some_and(|record| match &record.data {
                RData::SOA(soa) => record.ttl == soa.minimum.min(300),
                _ => false,
            })
    }

    /// Payload, extended RCODE, version, flags as one number, and whether there are options; none without OPT.
    pub(crate) fn opt(&self) -> Option<(u16, u8, u16, bool)> {
        let edns = self.message.edns.as_ref()?;
        let flags = u16::from(edns.flags().dnssec_ok) << 15 | edns.flags().z;
        Some((edns.max_payload(), edns.version(), flags, !edns.options().as_ref().is_empty()))
    }

    /// OPT as it has to be: ours, of version 0, empty.
    pub(crate) fn has_opt(&self) -> bool {
        self.opt() == Some((1232, 0, 0, false))
    }

    pub(crate) fn flags(&self) -> u16 {
        u16::from_be_bytes([self.octets[2], self.octets[3]])
    }

    pub(crate) fn counts(&self) -> [u16; 4] {
        std::array::from_fn(|n| {
            u16::from_be_bytes([self.octets[4 + 2 * n], self.octets[5 + 2 * n]])
        })
    }
}
