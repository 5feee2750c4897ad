//! Names as the zone data is keyed by: wire form, lower case.

use std::borrow::Borrow;
use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::rr::Name;
use offhook_model::DomainName;

/// A name in lower-case wire form (length octets, labels, the root's zero octet): what names are equal by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NameKey(Arc<[u8]>);

impl NameKey {
    pub(crate) fn of(name: &Name) -> Self {
        let mut wire = Vec::with_capacity(usize::from(name.num_labels()) * 8 + 8);
        for label in name.iter() {
            // A label has at most 63 octets.
            wire.push(label.len() as u8);
            wire.extend_from_slice(label);
        }
        wire.push(0);
        wire.make_ascii_lowercase();
        Self(wire.into())
    }

    /// `wire` must be a whole name in lower case.
    pub(crate) fn from_wire(wire: &[u8]) -> Self {
        Self(wire.into())
    }

    pub(crate) fn as_wire(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for NameKey {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// A wire-form name, then the name without its first label, and so on to the root.
pub(crate) fn suffixes(wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(wire), |name| match name.first() {
        None | Some(0) => None,
        Some(&length) => name.get(usize::from(length) + 1..).filter(|rest| !rest.is_empty()),
    })
}

/// The name without its first label; none for the root.
pub(crate) fn parent(wire: &[u8]) -> Option<&[u8]> {
    suffixes(wire).nth(1)
}

/// `prefix` labels in front of `name`; none when that is longer than a name can be.
pub(crate) fn below(prefix: &[&str], name: &DomainName) -> Option<Name> {
    Name::from_labels(prefix.iter().copied().chain(name.labels()).map(str::as_bytes)).ok()
}

/// The name as the wire library has it; none when it is longer than a name can be.
pub(crate) fn wire_name(name: &DomainName) -> Option<Name> {
    below(&[], name)
}

/// The reverse name of the first octets of an address: `[10, 250, 1]` is `1.250.10.in-addr.arpa`.
pub(crate) fn reverse(octets: &[u8]) -> Option<Name> {
    let numbers = octets.iter().rev().map(u8::to_string);
    let labels: Vec<String> = numbers.chain(["in-addr".into(), "arpa".into()]).collect();
    Name::from_labels(labels.iter().map(String::as_bytes)).ok()
}

/// The reverse name of a whole address.
pub(crate) fn reverse_address(address: IpAddr) -> Option<Name> {
    match address {
        IpAddr::V4(address) => reverse(&address.octets()),
        IpAddr::V6(address) => {
            let nibbles = address.octets().into_iter().rev().flat_map(|o| [o & 15, o >> 4]);
            let labels: Vec<String> = nibbles.map(|nibble| format!("{nibble:x}")).collect();
            let labels = labels.iter().map(String::as_bytes);
            Name::from_labels(labels.chain([&b"ip6"[..], b"arpa"])).ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_keyed_by_its_lower_case_wire_form() {
        let name = Name::from_ascii("Vm40.LAB.voip.").unwrap();
        assert_eq!(NameKey::of(&name).as_wire(), b"\x04vm40\x03lab\x04voip\0");
        assert_eq!(NameKey::of(&Name::root()).as_wire(), b"\0");
    }

    #[test]
    fn suffixes_end_with_the_root() {
        let found: Vec<_> = suffixes(b"\x03lab\x04voip\0").collect();
        assert_eq!(found, [&b"\x03lab\x04voip\0"[..], b"\x04voip\0", b"\0"]);
        assert_eq!(suffixes(b"\x09lab").collect::<Vec<_>>(), [b"\x09lab"]);
        assert_eq!(suffixes(b"").count(), 1);
    }

    #[test]
    fn reverse_names_run_backwards() {
        let name = |text: &str| reverse_address(text.parse().unwrap()).unwrap().to_ascii();
        assert_eq!(name("10.250.1.5"), "5.1.250.10.in-addr.arpa.");
        let zeros = "0.".repeat(20);
        assert_eq!(name("2001:db8::f05"), format!("5.0.f.0.{zeros}8.b.d.0.1.0.0.2.ip6.arpa."));
    }
}
