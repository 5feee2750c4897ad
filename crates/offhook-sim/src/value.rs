//! Options as phones understand them.

use std::net::Ipv4Addr;

use crate::Options;

/// An option's text as phones take it: without trailing NULs.
pub(crate) fn text(options: &Options, code: u8) -> Option<&str> {
    options.text(code).map(|text| text.trim_end_matches('\0')).filter(|text| !text.is_empty())
}

/// The host of `proto://host:port/path;more`, or of `host` alone.
pub(crate) fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let end = rest.find(['/', ':', ';']).unwrap_or(rest.len());
    rest.get(..end).unwrap_or_default()
}

/// Whether these are decimal digits that name a VLAN, 1 to 4094.
pub(crate) fn is_vlan(bytes: &[u8]) -> bool {
    let number = str::from_utf8(bytes).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    number.and_then(|text| text.parse().ok()).is_some_and(|id: u16| (1..=4094).contains(&id))
}

/// The prefix length of option 1, when it is a mask.
pub(crate) fn prefix_of(options: &Options) -> Option<u8> {
    let mask = options.address(1)?.to_bits();
    (mask.leading_ones() + mask.trailing_zeros() == 32).then(|| mask.leading_ones() as u8)
}

/// The prefix length of an address without a mask (RFC 791).
pub(crate) fn classful(address: Ipv4Addr) -> u8 {
    match address.octets() {
        [0..=127, ..] => 8,
        [128..=191, ..] => 16,
        _ => 24,
    }
}
