//! Which lease a person means.

use std::net::Ipv4Addr;
use std::str::FromStr;

use offhook_model::Mac;

use crate::control::Filter;

/// An address, or a phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The lease of this address.
    Address(Ipv4Addr),
    /// The leases of this phone.
    Mac(Mac),
}

impl Target {
    /// What finds its leases, live or not.
    pub(super) fn filter(self) -> Filter {
        let all = Filter { all: true, ..Filter::default() };
        match self {
            Self::Address(address) => Filter { address: Some(address), ..all },
            Self::Mac(mac) => Filter { mac: Some(mac), ..all },
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Mac(mac) => mac.fmt(f),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let mac = text.parse().map(Self::Mac);
        mac.map_err(|error| format!("neither an IPv4 address nor a MAC address ({error})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_and_a_mac_are_told_apart_however_they_are_written() {
        assert_eq!("10.250.1.20".parse(), Ok(Target::Address(Ipv4Addr::new(10, 250, 1, 20))));
        let mac = Target::Mac(Mac([0x00, 0x90, 0x8f, 0x12, 0x34, 0x56]));
        for text in ["00:90:8f:12:34:56", "00908F123456", "00.90.8f.12.34.56", "0090.8f12.3456"] {
            assert_eq!(text.parse(), Ok(mac), "{text}");
        }
        for text in ["", "10.250.1", "10.250.1.256", "phone"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
