//! From a site to its zones.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hickory_proto::rr::rdata::{A, AAAA, NS, PTR, SOA, SRV};
use hickory_proto::rr::{Name, RData, Record};
use ipnetwork::Ipv4Network;
use offhook_model::{DomainName, Site};

use crate::MAX_NEGATIVE_TTL;
use crate::name::{NameKey, below, reverse, reverse_address, wire_name};
use crate::nodes::Nodes;
use crate::zones::{Upstreams, Zone, Zones};

/// SOA timers for secondaries, seconds (RIPE-203's range, shortened: a voice zone is small).
const REFRESH: i32 = 3600;
const RETRY: i32 = 600;
const EXPIRE: i32 = 604_800;

impl Zones {
    /// The zones of a site, as configured: no lease has a name yet.
    ///
    /// The forward zone has SOA, NS, an A record per host and per server of a switchover (at the provisioning
    /// name), and SRV records per transport that has a port. Reverse zones cover the scopes' subnets in whole
    /// octets, and have a PTR per host; a host outside all of them is a reverse zone of its own, so that nothing
    /// is claimed that is not ours. `serial` is that of every SOA. Names too long for the wire are left out.
    pub fn from_site(site: &Site, serial: u32) -> Self {
        let servers = NameServers::of(site);
        let hosts: Vec<(&DomainName, IpAddr)> = site
            .hosts
            .iter()
            .map(|host| (&host.name, IpAddr::V4(host.address)))
            .chain(servers.own.iter().map(|(name, address)| (name, *address)))
            .collect();

        let mut build = Build::new(site, serial, &servers);
        if let Some(apex) = wire_name(&site.zone) {
            build.zone(apex);
        }
        for prefix in reverse_zones(site, &hosts) {
            if let Some(apex) = reverse(&prefix) {
                build.zone(apex);
            }
        }
        for (name, address) in hosts {
            build.host(name, address);
        }
        build.switchovers(site);
        Zones {
            serial,
            zones: build.zones.into(),
            nodes: Arc::new(build.nodes),
            upstreams: Arc::new(upstreams(site)),
        }
    }
}

/// A snapshot in the making.
struct Build {
    zones: Vec<Zone>,
    nodes: Nodes,
    /// Of ordinary records, seconds.
    ttl: u32,
    /// Of "there is none", seconds.
    negative_ttl: u32,
    servers: Vec<Name>,
    soa: Option<SOA>,
}

impl Build {
    fn new(site: &Site, serial: u32, servers: &NameServers) -> Self {
        let negative_ttl = site.dns.negative_ttl.min(MAX_NEGATIVE_TTL);
        let servers: Vec<Name> = servers.names.iter().filter_map(wire_name).collect();
        let soa = servers.first().cloned().zip(below(&["hostmaster"], &site.zone)).map(
            |(primary, mailbox)| {
                SOA::new(primary, mailbox, serial, REFRESH, RETRY, EXPIRE, negative_ttl)
            },
        );
        Self {
            zones: Vec::new(),
            nodes: Nodes::new(),
            ttl: site.dns.ttl,
            negative_ttl,
            servers,
            soa,
        }
    }

    fn zone(&mut self, apex: Name) {
        let Some(soa) = self.soa.clone() else { return };
        self.nodes.add_apex(&apex, self.zones.len());
        self.nodes.add(&apex, self.negative_ttl, RData::SOA(soa.clone()));
        for server in &self.servers {
            self.nodes.add(&apex, self.ttl, RData::NS(NS(server.clone())));
        }
        let negative = Record::from_rdata(apex.clone(), self.negative_ttl, RData::SOA(soa));
        self.zones.push(Zone { apex, negative });
    }

    /// The address record, and for IPv4 the PTR.
    fn host(&mut self, name: &DomainName, address: IpAddr) {
        let Some(name) = wire_name(name) else { return };
        match address {
            IpAddr::V4(v4) => {
                if self.nodes.add(&name, self.ttl, RData::A(A(v4)))
                    && let Some(reverse) = reverse_address(v4)
                {
                    self.nodes.add(&reverse, self.ttl, RData::PTR(PTR(name)));
                }
            }
            IpAddr::V6(v6) => {
                self.nodes.add(&name, self.ttl, RData::AAAA(AAAA(v6)));
            }
        }
    }

    fn switchovers(&mut self, site: &Site) {
        for switchover in &site.switchovers {
            if let Some(name) = wire_name(&switchover.name) {
                for &(_, address) in &switchover.hosts {
                    self.nodes.add(&name, self.ttl, RData::A(A(address)));
                }
            }
            let services = [
                (["_sip", "_udp"], switchover.sip.udp),
                (["_sip", "_tcp"], switchover.sip.tcp),
                (["_sips", "_tcp"], switchover.sip.tls),
            ];
            for (labels, port) in services {
                let Some((port, owner)) = port.zip(below(&labels, &site.zone)) else { continue };
                for target in switchover.hosts.iter().filter_map(|(host, _)| wire_name(host)) {
                    self.nodes.add(&owner, self.ttl, RData::SRV(SRV::new(0, 0, port, target)));
                }
            }
        }
    }
}

/// The names of the NS records.
struct NameServers {
    /// Never empty; the first is the primary of the SOA.
    names: Vec<DomainName>,
    /// A name we had to make up for listeners that are no host's address, once per address.
    own: Vec<(DomainName, IpAddr)>,
}

impl NameServers {
    fn of(site: &Site) -> Self {
        let mut names = Vec::new();
        let mut nameless = Vec::new();
        for listener in &site.dns.listen {
            let address = listener.ip().to_canonical();
            match site.hosts.iter().find(|host| IpAddr::V4(host.address) == address) {
                Some(host) if !names.contains(&host.name) => names.push(host.name.clone()),
                None if !address.is_unspecified() && !nameless.contains(&address) => {
                    nameless.push(address);
                }
                _ => {}
            }
        }
        let mut own = Vec::new();
        if names.is_empty() || !nameless.is_empty() {
            let taken = |name: &DomainName| {
                site.hosts.iter().any(|host| host.name == *name)
                    || site.switchovers.iter().any(|switchover| switchover.name == *name)
            };
            let free = (1..=site.hosts.len() + site.switchovers.len() + 1)
                .filter_map(|number| format!("ns{number}.{}", site.zone).parse().ok())
                .find(|name| !taken(name))
                .unwrap_or_else(|| site.zone.clone());
            own.extend(nameless.into_iter().map(|address| (free.clone(), address)));
            names.push(free);
        }
        Self { names, own }
    }
}

/// Leading octets of the reverse zones of a site, none inside another.
fn reverse_zones(site: &Site, hosts: &[(&DomainName, IpAddr)]) -> BTreeSet<Vec<u8>> {
    let mut prefixes: BTreeSet<Vec<u8>> =
        site.scopes.iter().flat_map(|scope| octet_prefixes(scope.subnet)).collect();
    prefixes.extend(hosts.iter().filter_map(|(_, address)| match address {
        IpAddr::V4(v4) => Some(v4.octets().to_vec()),
        IpAddr::V6(_) => None,
    }));
    let inside_another = |prefix: &Vec<u8>| {
        (1..prefix.len()).any(|n| prefix.get(..n).is_some_and(|above| prefixes.contains(above)))
    };
    prefixes.iter().filter(|prefix| !inside_another(prefix)).cloned().collect()
}

/// Leading octets that together cover a subnet: one to three of them, since nobody delegates less than a /24
/// by whole octets.
fn octet_prefixes(subnet: Ipv4Network) -> impl Iterator<Item = Vec<u8>> {
    let octets = usize::from(subnet.prefix().div_ceil(8).clamp(1, 3));
    let bits = octets as u32 * 8;
    let count = 1u32 << bits.saturating_sub(u32::from(subnet.prefix()));
    let first = subnet.network().to_bits() >> (32 - bits);
    (first..first + count).map(move |prefix| {
        Ipv4Addr::from_bits(prefix << (32 - bits)).octets().into_iter().take(octets).collect()
    })
}

fn upstreams(site: &Site) -> Upstreams {
    let servers: HashMap<_, _> = site
        .dns
        .forward
        .iter()
        .filter_map(|(zone, servers)| {
            // Asking ourselves would go round until every socket is taken.
            let others = servers.iter().filter(|server| !site.dns.listen.contains(server));
            let servers: Arc<[SocketAddr]> = others.copied().collect();
            if servers.is_empty() {
                return None;
            }
            let top = match zone {
                Some(zone) => wire_name(zone)?,
                None => Name::root(),
            };
            Some((NameKey::of(&top), servers))
        })
        .collect();
    Upstreams {
        servers,
        networks: site.scopes.iter().map(|scope| scope.subnet).collect(),
        addresses: site.dns.listen.iter().map(|listener| listener.ip().to_canonical()).collect(),
    }
}
