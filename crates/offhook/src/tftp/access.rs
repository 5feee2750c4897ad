//! Whose requests are answered.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use ipnetwork::{IpNetwork, Ipv4Network};
use offhook_model::{Site, TftpLimits};
use offhook_net::interfaces;

/// How long the addresses of this machine are taken to be what they were.
const FRESH: Duration = Duration::from_secs(1);
/// The prefix length that IPv6 networks of one link have.
const LINK: u8 = 64;

/// Who is answered. This machine itself always is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    networks: Vec<IpNetwork>,
    /// Whether the networks that the listener's address is in are among them.
    near: bool,
}

/// The addresses of this machine, as they were a moment ago.
#[derive(Debug, Default)]
pub(super) struct Own(Option<(Instant, Vec<(Ipv4Addr, u8)>)>);

impl Own {
    /// Asked only about who is in none of the networks.
    fn addresses(&mut self, now: Instant) -> &[(Ipv4Addr, u8)] {
        let fresh = |(at, _): &(Instant, _)| now.saturating_duration_since(*at) < FRESH;
        if !self.0.as_ref().is_some_and(fresh) {
            let all = interfaces().unwrap_or_default();
            self.0 = Some((now, all.into_iter().flat_map(|it| it.addresses).collect()));
        }
        self.0.as_ref().map_or(&[], |(_, own)| own)
    }
}

impl Access {
    /// As a configuration has it: what it states, or the scopes, the hosts and the networks of the listener.
    pub(crate) fn new(site: &Site, limits: &TftpLimits) -> Self {
        let stated = limits.allow.clone();
        let near = stated.is_none();
        let networks = stated.unwrap_or_else(|| {
            let scopes = site.scopes.iter().map(|scope| scope.subnet.into());
            let hosts = site.hosts.iter().flat_map(|host| {
                let ipv6 = host.ipv6.map(|address| IpNetwork::from(IpAddr::V6(address)));
                std::iter::once(IpAddr::V4(host.address).into()).chain(ipv6)
            });
            scopes.chain(hosts).collect()
        });
        Self { networks, near }
    }

    /// Whether a request from `peer` that was sent to `local` is to be answered.
    pub(super) fn allows(&self, peer: IpAddr, local: IpAddr, own: &mut Own, now: Instant) -> bool {
        let (peer, local) = (peer.to_canonical(), local.to_canonical());
        if peer.is_loopback()
            || peer == local
            || self.networks.iter().any(|network| network.contains(peer))
        {
            return true;
        }
        match (peer, local) {
            (IpAddr::V4(peer), IpAddr::V4(local)) => {
                let near = self.near;
                own.addresses(now).iter().any(|&(own, prefix)| {
                    let network = Ipv4Network::new(own, prefix);
                    own == peer || near && own == local && network.is_ok_and(|it| it.contains(peer))
                })
            }
            // Only from this link do those come.
            (IpAddr::V6(peer), IpAddr::V6(local)) if self.near => {
                let network = |address| IpNetwork::new(IpAddr::V6(address), LINK);
                peer.is_unicast_link_local()
                    || network(local).is_ok_and(|it| it.contains(peer.into()))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(near: bool, networks: &[&str]) -> Access {
        let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
        Access { networks, near }
    }

    fn allowed_to(access: &Access, peer: &str, local: &str) -> bool {
        let own = vec![("10.0.0.11".parse().unwrap(), 24), ("192.0.2.1".parse().unwrap(), 24)];
        let mut own = Own(Some((Instant::now() + Duration::from_secs(60), own)));
        access.allows(peer.parse().unwrap(), local.parse().unwrap(), &mut own, Instant::now())
    }

    fn allowed(access: &Access, peer: &str) -> bool {
        let local = if peer.contains(':') { "2001:db8::1" } else { "10.0.0.11" };
        allowed_to(access, peer, local)
    }

    #[test]
    fn what_is_stated_is_all_but_for_this_machine_itself() {
        let access = access(false, &["10.9.0.0/16", "2001:db8:9::/64"]);
        for peer in ["10.9.255.1", "2001:db8:9::5", "127.0.0.2", "::1", "10.0.0.11", "192.0.2.1"] {
            assert!(allowed(&access, peer), "{peer}");
        }
        for peer in ["10.10.0.1", "10.0.0.12", "192.0.2.2", "2001:db8::5", "fe80::5"] {
            assert!(!allowed(&access, peer), "{peer}");
        }
        assert!(allowed_to(&access, "::ffff:10.9.0.1", "::ffff:10.0.0.11"));
    }

    #[test]
    fn by_default_the_networks_of_the_listener_are_allowed_and_no_other_of_this_machine() {
        let access = access(true, &["10.9.0.0/16"]);
        for peer in ["10.9.0.1", "10.0.0.200", "2001:db8::5", "fe80::5"] {
            assert!(allowed(&access, peer), "{peer}");
        }
        for peer in ["192.0.2.2", "10.0.1.1", "2001:db8:0:1::5"] {
            assert!(!allowed(&access, peer), "{peer}");
        }
    }
}
