//! Which reverse zones a site has: those of its scopes, and no more than those.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use hickory_proto::rr::Name;
use ipnetwork::Ipv4Network;
use offhook_model::Site;

use crate::name::{reverse, reverse_address};

/// A reverse zone.
pub(crate) struct ReverseZone {
    pub(crate) apex: Name,
    /// The last octets of the addresses that are ours, when not all are: a subnet smaller than a /24 does not
    /// make the rest of it ours.
    pub(crate) part: Option<Vec<RangeInclusive<u8>>>,
}

/// The reverse zones of a site with hosts at these addresses, none inside another.
///
/// Scopes have zones in whole octets, as they are delegated; a host outside of them has a zone of its own.
pub(crate) fn reverse_zones(
    site: &Site,
    hosts: impl Iterator<Item = IpAddr>,
) -> impl Iterator<Item = ReverseZone> {
    let (small, large): (Vec<_>, Vec<_>) =
        site.scopes.iter().map(|scope| scope.subnet).partition(|subnet| subnet.prefix() > 24);
    let whole: BTreeSet<Vec<u8>> = large.into_iter().flat_map(octet_prefixes).collect();
    let mut prefixes = whole.clone();
    let mut parts: BTreeMap<Vec<u8>, Vec<RangeInclusive<u8>>> = BTreeMap::new();
    for subnet in small {
        let [a, b, c, first] = subnet.network().octets();
        let [.., last] = subnet.broadcast().octets();
        let prefix = vec![a, b, c];
        if !is_covered(&prefix, &whole) && !whole.contains(&prefix) {
            parts.entry(prefix.clone()).or_default().push(first..=last);
        }
        prefixes.insert(prefix);
    }
    let mut ipv6 = BTreeSet::new();
    for address in hosts {
        match address {
            IpAddr::V4(v4) => {
                prefixes.insert(v4.octets().to_vec());
            }
            IpAddr::V6(_) => ipv6.extend(reverse_address(address)),
        }
    }
    let ours: Vec<_> =
        prefixes.iter().filter(|prefix| !is_covered(prefix, &prefixes)).cloned().collect();
    let ipv4 = ours.into_iter().filter_map(move |prefix| {
        let part = parts.remove(&prefix).filter(|part| !is_all(part));
        Some(ReverseZone { apex: reverse(&prefix)?, part })
    });
    ipv4.chain(ipv6.into_iter().map(|apex| ReverseZone { apex, part: None }))
}

/// Whether a shorter prefix of it is among `others`.
fn is_covered(prefix: &[u8], others: &BTreeSet<Vec<u8>>) -> bool {
    (1..prefix.len()).any(|n| prefix.get(..n).is_some_and(|above| others.contains(above)))
}

fn is_all(part: &[RangeInclusive<u8>]) -> bool {
    (0..=u8::MAX).all(|octet| part.iter().any(|range| range.contains(&octet)))
}

/// Leading octets that together cover a subnet of a /24 or larger: one to three of them.
fn octet_prefixes(subnet: Ipv4Network) -> impl Iterator<Item = Vec<u8>> {
    let octets = usize::from(subnet.prefix().div_ceil(8).clamp(1, 3));
    let bits = octets as u32 * 8;
    let count = 1u32 << bits.saturating_sub(u32::from(subnet.prefix()));
    let first = subnet.network().to_bits() >> (32 - bits);
    (first..first + count).map(move |prefix| {
        Ipv4Addr::from_bits(prefix << (32 - bits)).octets().into_iter().take(octets).collect()
    })
}
