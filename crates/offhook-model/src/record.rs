//! Resource records that the configuration states itself.

use std::fmt;

use crate::{DomainName, Origin};

/// A domain name as the wire has it: labels with their lengths, the root's zero octet last, 255 octets at most.
///
/// Labels may hold any octets, as a zone file may write them. Letter case is kept, and does not count where
/// names are compared by [`WireName::is_within`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WireName(Box<[u8]>);

impl WireName {
    /// The name with these labels, leftmost first; none when a label is empty or longer than 63 octets, or the
    /// name longer than 255.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let mut wire = Vec::new();
        for label in labels {
            if label.is_empty() || label.len() > 63 {
                return None;
            }
            wire.push(label.len() as u8);
            wire.extend_from_slice(label);
        }
        wire.push(0);
        (wire.len() <= 255).then(|| Self(wire.into()))
    }

    /// The root: no label at all.
    pub fn root() -> Self {
        Self([0].into())
    }

    /// The octets.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// The labels, leftmost first; none for the root.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (&length, after) = rest.split_first()?;
            let (label, after) = after.split_at_checked(usize::from(length))?;
            rest = after;
            (!label.is_empty()).then_some(label)
        })
    }

    /// The name without its first label; none for the root.
    pub fn parent(&self) -> Option<Self> {
        let (&length @ 1.., rest) = self.0.split_first()? else { return None };
        rest.get(usize::from(length)..).map(|rest| Self(rest.into()))
    }

    /// Whether this is `other`, or lies below it.
    pub fn is_within(&self, other: &Self) -> bool {
        let mut rest = &*self.0;
        loop {
            if rest.eq_ignore_ascii_case(&other.0) {
                return true;
            }
            let Some(&length @ 1..) = rest.first() else { return false };
            let Some(after) = rest.get(usize::from(length) + 1..) else { return false };
            rest = after;
        }
    }

    /// Whether the first label is `*`: the name stands for those that are not there.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(b"\x01*")
    }

    /// This name in lower case.
    pub fn to_lowercase(&self) -> Self {
        Self(self.0.to_ascii_lowercase().into())
    }

    /// This name with `suffix` below its last label; none when that is longer than a name can be.
    pub fn below(&self, suffix: &Self) -> Option<Self> {
        Self::from_labels(self.labels().chain(suffix.labels()))
    }
}

impl From<&DomainName> for WireName {
    fn from(name: &DomainName) -> Self {
        let mut wire = Vec::with_capacity(name.as_str().len() + 2);
        for label in name.labels() {
            wire.push(label.len() as u8);
            wire.extend_from_slice(label.as_bytes());
        }
        wire.push(0);
        Self(wire.into())
    }
}

impl fmt::Display for WireName {
    /// As a zone file writes it, with the dot at its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for label in self.labels() {
            for &octet in label {
                match octet {
                    b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => {
                        write!(f, "\\{}", char::from(octet))?;
                    }
                    0x21..=0x7e => write!(f, "{}", char::from(octet))?,
                    _ => write!(f, "\\{octet:03}")?,
                }
            }
            f.write_str(".")?;
        }
        if *self.0 == [0] { f.write_str(".") } else { Ok(()) }
    }
}

impl fmt::Debug for WireName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A record of a `[[record]]` or of the zone file: checked, and inside one of the site's zones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The name it is found by, in lower case; a first label `*` stands for names that are not there.
    pub owner: WireName,
    /// TYPE, as IANA numbers it.
    pub rtype: u16,
    /// How long resolvers may keep it; seconds.
    pub ttl: u32,
    /// RDATA without compression; well formed for types of RFC 1035 and those whose data has names in it.
    pub data: Box<[u8]>,
    /// The line that states it.
    pub origin: Origin,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(labels: &[&str]) -> WireName {
        WireName::from_labels(labels.iter().map(|label| label.as_bytes())).unwrap()
    }

    #[test]
    fn names_are_written_as_a_zone_file_has_them() {
        assert_eq!(name(&[]).to_string(), ".");
        assert_eq!(name(&["*", "Lab", "voip"]).to_string(), "*.Lab.voip.");
        assert_eq!(name(&["a.b", "\\", "\u{7f} "]).to_string(), "a\\.b.\\\\.\\127\\032.");
    }

    #[test]
    fn a_name_lies_within_itself_and_what_is_above_whatever_its_case() {
        let zone = name(&["lab", "voip"]);
        assert!(name(&["LAB", "voip"]).is_within(&zone));
        assert!(name(&["x", "y", "Lab", "VOIP"]).is_within(&zone));
        assert!(zone.is_within(&name(&[])));
        assert!(!name(&["notlab", "voip"]).is_within(&zone));
        assert!(!name(&["voip"]).is_within(&zone));
        assert_eq!(name(&["x"]).below(&zone), Some(name(&["x", "lab", "voip"])));
        assert_eq!(name(&["x", "lab", "voip"]).parent(), Some(zone));
        assert_eq!(name(&["x"]).parent(), Some(WireName::root()));
        assert_eq!(WireName::root().parent(), None);
    }

    #[test]
    fn what_the_wire_cannot_carry_is_no_name() {
        assert_eq!(WireName::from_labels([&b""[..]]), None);
        assert_eq!(WireName::from_labels([&[b'x'; 64][..]]), None);
        let long = [&[b'x'; 63][..]; 4];
        assert_eq!(WireName::from_labels(long), None);
        assert!(WireName::from_labels(long.into_iter().take(3)).is_some());
        let longest: DomainName =
            format!("{}.{}", ["x".repeat(63).as_str(); 3].join("."), "y".repeat(61))
                .parse()
                .unwrap();
        assert_eq!(WireName::from(&longest).as_wire().len(), 255);
    }
}
