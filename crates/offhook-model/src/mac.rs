//! Ethernet hardware addresses.

use std::fmt;
use std::str::FromStr;

/// A 48-bit Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Everybody on the link.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// The three bytes that name the manufacturer.
    pub fn oui(self) -> [u8; 3] {
        let [a, b, c, ..] = self.0;
        [a, b, c]
    }

    /// Whether one device can have it: it is not a group's, broadcast included (IEEE 802, 8.2), and not all zeros.
    pub fn is_of_a_device(self) -> bool {
        let [first, ..] = self.0;
        first & 1 == 0 && self.0 != [0; 6]
    }

    /// Twelve lower-case hex digits without separators, as phones write themselves into file and host names.
    pub fn plain(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a MAC address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseMacError {
    /// Not twelve hex digits; holds how many there were.
    Digits(usize),
    /// A character that is neither a hex digit nor a separator.
    Character(char),
}

impl fmt::Display for ParseMacError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digits(n) => write!(f, "a MAC address has 12 hex digits, this has {n}"),
            Self::Character(c) => write!(f, "`{c}` is not part of a MAC address"),
        }
    }
}

impl std::error::Error for ParseMacError {}

impl FromStr for Mac {
    type Err = ParseMacError;

    /// Accepts `00:90:8f:12:34:56`, `00-90-8F-12-34-56`, `00.90.8f.12.34.56`, `0090.8f12.3456`,
    /// `00 90 8F 12 34 56` and `00908F123456`: every form found on labels and in the guide's phone list.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut digits = Vec::with_capacity(12);
        for c in text.chars() {
            match c.to_digit(16) {
                Some(digit) => digits.push(digit as u8),
                None if matches!(c, ':' | '-' | '.' | ' ') => {}
                None => return Err(ParseMacError::Character(c)),
            }
        }
        if digits.len() != 12 {
            return Err(ParseMacError::Digits(digits.len()));
        }
        let mut bytes = [0; 6];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair.iter().fold(0, |value, digit| value << 4 | digit);
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_in_the_guide_is_read() {
        let mac = Mac([0x00, 0x90, 0x8f, 0x12, 0x34, 0x56]);
        for text in [
            "00908F123456",
            "00:90:8f:12:34:56",
            "00.90.8f.12.34.56",
            "0090.8f12.3456",
            "00-90-8F-12-34-56",
            "00 90 8F 12 34 56",
        ] {
            assert_eq!(text.parse(), Ok(mac), "{text}");
        }
        assert_eq!(mac.to_string(), "00:90:8f:12:34:56");
        assert_eq!(mac.plain(), "00908f123456");
    }

    #[test]
    fn groups_and_nobody_are_no_device() {
        for (text, is_one) in [
            ("00:90:8f:12:34:56", true),
            ("02:00:00:00:00:00", true),
            ("00:00:00:00:00:00", false),
            ("ff:ff:ff:ff:ff:ff", false),
            ("01:00:5e:00:00:01", false),
        ] {
            assert_eq!(text.parse::<Mac>().unwrap().is_of_a_device(), is_one, "{text}");
        }
    }

    #[test]
    fn the_short_row_of_the_guides_list_is_refused() {
        assert_eq!("0026DF00020".parse::<Mac>(), Err(ParseMacError::Digits(11)));
        assert_eq!("00:90:8g:12:34:56".parse::<Mac>(), Err(ParseMacError::Character('g')));
    }
}
