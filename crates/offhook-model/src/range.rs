//! Ranges of IPv4 addresses.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// Addresses from `first` to `last`, both included; never empty.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressRange {
    first: Ipv4Addr,
    last: Ipv4Addr,
}

impl AddressRange {
    /// The range from `first` to `last`.
    ///
    /// # Errors
    /// [`RangeError::Reversed`] when `first` is above `last`.
    pub fn new(first: Ipv4Addr, last: Ipv4Addr) -> Result<Self, RangeError> {
        if first > last { Err(RangeError::Reversed) } else { Ok(Self { first, last }) }
    }

    /// The lowest address.
    pub fn first(&self) -> Ipv4Addr {
        self.first
    }

    /// The highest address.
    pub fn last(&self) -> Ipv4Addr {
        self.last
    }

    /// How many addresses: 1 to 2³².
    pub fn count(&self) -> u64 {
        u64::from(self.last.to_bits()) - u64::from(self.first.to_bits()) + 1
    }

    /// Whether `address` lies in the range.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address)
    }

    /// Whether the two ranges share an address.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// Every address, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        (self.first.to_bits()..=self.last.to_bits()).map(Ipv4Addr::from_bits)
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            self.first.fmt(f)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl fmt::Debug for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not an address range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeError {
    /// Not `ADDRESS` or `ADDRESS-ADDRESS`.
    Syntax,
    /// The first address is above the last.
    Reversed,
}

impl fmt::Display for RangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "not an address range",
            Self::Reversed => "the first address is above the last",
        })
    }
}

impl std::error::Error for RangeError {}

impl FromStr for AddressRange {
    type Err = RangeError;

    /// `10.0.0.100-10.0.0.199`, or one address alone.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let parse = |part: &str| part.trim().parse().map_err(|_| RangeError::Syntax);
        Self::new(parse(first)?, parse(last)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_knows_its_borders() {
        let range: AddressRange = "10.0.0.100-10.0.0.199".parse().unwrap();
        assert_eq!(range.count(), 100);
        assert_eq!(range.iter().count(), 100);
        assert!(range.contains(Ipv4Addr::new(10, 0, 0, 100)));
        assert!(range.contains(Ipv4Addr::new(10, 0, 0, 199)));
        assert!(!range.contains(Ipv4Addr::new(10, 0, 0, 200)));
        assert_eq!("10.0.0.2 - 10.0.0.1".parse::<AddressRange>(), Err(RangeError::Reversed));
        assert_eq!("10.0.0".parse::<AddressRange>(), Err(RangeError::Syntax));
        assert_eq!("0.0.0.0-255.255.255.255".parse::<AddressRange>().unwrap().count(), 1 << 32);
    }
}
