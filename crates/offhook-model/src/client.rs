//! Who a DHCP client is.

use std::fmt;

use crate::Mac;

/// The `htype` and `chaddr` of a DHCP message: up to 16 bytes of link-layer address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HardwareAddress {
    htype: u8,
    len: u8,
    bytes: [u8; 16],
}

impl HardwareAddress {
    /// ARP hardware type of Ethernet.
    pub const ETHERNET: u8 = 1;

    /// `bytes` past the 16th do not exist in a DHCP message and are dropped.
    pub fn new(htype: u8, bytes: &[u8]) -> Self {
        let mut all = [0; 16];
        let len = bytes.len().min(all.len());
        for (to, from) in all.iter_mut().zip(bytes) {
            *to = *from;
        }
        Self { htype, len: len as u8, bytes: all }
    }

    /// ARP hardware type (RFC 1700); 1 is Ethernet.
    pub fn htype(&self) -> u8 {
        self.htype
    }

    /// The address itself, `hlen` bytes long.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The Ethernet address, when it is one.
    pub fn mac(&self) -> Option<Mac> {
        match (self.htype, self.bytes()) {
            (Self::ETHERNET, &[a, b, c, d, e, f]) => Some(Mac([a, b, c, d, e, f])),
            _ => None,
        }
    }
}

impl From<Mac> for HardwareAddress {
    fn from(mac: Mac) -> Self {
        Self::new(Self::ETHERNET, &mac.0)
    }
}

impl fmt::Display for HardwareAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mac() {
            Some(mac) => mac.fmt(f),
            None if self.bytes().is_empty() => f.write_str("-"),
            None => {
                write!(f, "{}/", self.htype)?;
                write_hex(f, self.bytes())
            }
        }
    }
}

impl fmt::Debug for HardwareAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a lease belongs to (RFC 2131, 4.2): the client identifier where one is sent, else the hardware address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientId {
    /// The bytes of option 61, whatever they are.
    Option61(Box<[u8]>),
    /// `htype` and `chaddr` of a client that sends no option 61.
    Hardware(HardwareAddress),
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option61(bytes) => {
                f.write_str("id:")?;
                write_hex(f, bytes)
            }
            Self::Hardware(hardware) => hardware.fmt(f),
        }
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hardware_address_reads_as_a_mac_address_with_its_type_or_as_none() {
        let text = |htype, bytes: &[u8]| HardwareAddress::new(htype, bytes).to_string();
        assert_eq!(text(1, &[0, 0x11, 0x22, 0x33, 0x44, 0x55]), "00:11:22:33:44:55");
        assert_eq!(text(32, &[0xab, 1]), "32/ab01");
        assert_eq!((text(0, b""), text(1, b"")), ("-".to_owned(), "-".to_owned()));
    }
}
