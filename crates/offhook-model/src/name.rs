//! Domain names as the configuration writes them.

use std::fmt;
use std::str::FromStr;

/// A fully qualified domain name: lower case, no trailing dot, at least one label, safe to write on the wire.
///
/// Underscores are allowed: SRV owners and Polycom host names have them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(String);

impl DomainName {
    /// The name as text, without a trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The labels, leftmost first.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('.')
    }

    /// Whether this name is `zone` or lies below it.
    pub fn is_within(&self, zone: &DomainName) -> bool {
        self.0
            .strip_suffix(zone.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// The full name that `text` stands for in `zone`: a single label is completed with the zone, a name with a
    /// dot in it is taken to be full.
    ///
    /// # Errors
    /// As [`DomainName::from_str`].
    pub fn qualify(text: &str, zone: &DomainName) -> Result<Self, ParseNameError> {
        let name: DomainName = text.parse()?;
        if text.contains('.') { Ok(name) } else { format!("{name}.{zone}").parse() }
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not a domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseNameError {
    /// Nothing, or nothing between two dots.
    EmptyLabel,
    /// A label of more than 63 characters.
    LongLabel,
    /// More than 253 characters in all.
    Long,
    /// A character other than letters, digits, `-` and `_`.
    Character(char),
}

impl fmt::Display for ParseNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyLabel => f.write_str("a domain name has no empty labels"),
            Self::LongLabel => f.write_str("a label has at most 63 characters"),
            Self::Long => f.write_str("a domain name has at most 253 characters"),
            Self::Character(c) => write!(f, "`{c}` cannot be in a domain name"),
        }
    }
}

impl std::error::Error for ParseNameError {}

impl FromStr for DomainName {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.len() > 253 {
            return Err(ParseNameError::Long);
        }
        for label in text.split('.') {
            if label.is_empty() {
                return Err(ParseNameError::EmptyLabel);
            }
            if label.len() > 63 {
                return Err(ParseNameError::LongLabel);
            }
            let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if let Some(c) = label.chars().find(|&c| !allowed(c)) {
                return Err(ParseNameError::Character(c));
            }
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DomainName {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_completed_with_the_zone_once() {
        let zone = name("lab.voip");
        for text in ["vm40ic1", "VM40IC1", "vm40ic1.lab.voip", "vm40ic1.lab.voip."] {
            assert_eq!(DomainName::qualify(text, &zone), Ok(name("vm40ic1.lab.voip")), "{text}");
        }
        for text in ["ntp.example", "ntp.example."] {
            assert_eq!(DomainName::qualify(text, &zone), Ok(name("ntp.example")));
        }
        assert!(!name("notlab.voip").is_within(&zone));
        assert!(zone.is_within(&zone));
    }

    #[test]
    fn what_cannot_go_on_the_wire_is_refused() {
        assert_eq!("".parse::<DomainName>(), Err(ParseNameError::EmptyLabel));
        assert_eq!("a..b".parse::<DomainName>(), Err(ParseNameError::EmptyLabel));
        assert_eq!("a b".parse::<DomainName>(), Err(ParseNameError::Character(' ')));
        assert_eq!("x".repeat(64).parse::<DomainName>(), Err(ParseNameError::LongLabel));
        assert_eq!("Polycom_64167f97e4f6".parse(), Ok(name("polycom_64167f97e4f6")));
    }
}
