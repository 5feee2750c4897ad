//! From a site to its zones.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hickory_proto::rr::rdata::{A, AAAA, NAPTR, NS, PTR, SOA, SRV};
use hickory_proto::rr::{Name, RData, RecordType};
use offhook_model::{DomainName, SipPorts, Site};

use crate::MAX_NEGATIVE_TTL;
use crate::access::Access;
use crate::leases::LeaseNames;
use crate::name::{NameKey, below, reverse_address, wire_name};
use crate::nodes::Nodes;
use crate::rdata::{name_of, rdata_of};
use crate::reverse::{ReverseZone, reverse_zones};
use crate::zones::{Upstreams, Zone, Zones};

/// SOA timers for secondaries, seconds (RIPE-203's range, shortened: a voice zone is small).
const REFRESH: i32 = 3600;
const RETRY: i32 = 600;
/// The first two where there are secondaries: those that are told when leases come and go may miss it, and those of a
/// whole network that may have the zones are not told.
const REFRESH_OFTEN: i32 = 60;
const RETRY_OFTEN: i32 = 30;
const EXPIRE: i32 = 604_800;

/// The services of a SIP domain (RFC 3263 section 4.1): labels of the SRV records, and what NAPTR calls them. In
/// the order that phones are to try them in: what they speak without being told first, and last what needs a
/// certificate and the time.
pub(crate) const SERVICES: [(Transport, [&str; 2], &[u8]); 3] = [
    (|sip| sip.udp, ["_sip", "_udp"], b"SIP+D2U"),
    (|sip| sip.tcp, ["_sip", "_tcp"], b"SIP+D2T"),
    (|sip| sip.tls, ["_sips", "_tcp"], b"SIPS+D2T"),
];

/// The port of one transport.
pub(crate) type Transport = fn(&SipPorts) -> Option<u16>;

impl Zones {
    /// The zones of a site, as configured: no lease has a name yet.
    ///
    /// The forward zone has SOA, NS, address records of every host and, under their own names, of the servers of
    /// a switchover or proxy pool, SRV records per transport that has a port, NAPTR records for those transports,
    /// and whatever records the configuration states. Reverse zones cover the scopes' subnets, and have a PTR
    /// per address of a host; a host outside all of them is a reverse zone of its own, so that nothing is
    /// claimed that is not ours. `serial` is that of every SOA. Names too long for the wire are left out.
    pub fn from_site(site: &Site, serial: u32) -> Self {
        let servers = NameServers::of(site);
        let hosts = site.hosts.iter().flat_map(|host| {
            let ipv6 = host.ipv6.map(|address| (&host.name, IpAddr::V6(address)));
            [(&host.name, IpAddr::V4(host.address))].into_iter().chain(ipv6)
        });
        let own = servers.own.iter().map(|(name, address)| (name, *address));
        let hosts: Vec<(&DomainName, IpAddr)> = hosts.chain(own).collect();

        let mut build = Build::new(site, serial, &servers);
        if let Some(apex) = wire_name(&site.zone) {
            build.zone(ReverseZone { apex, part: None });
        }
        for zone in reverse_zones(site, hosts.iter().map(|(_, address)| *address)) {
            build.zone(zone);
        }
        build.stated();
        for (name, address) in hosts {
            build.host(name, address);
        }
        build.groups();
        build.naptr();
        build.zones
    }
}

/// A snapshot in the making.
struct Build<'s> {
    site: &'s Site,
    zones: Zones,
    /// Of the forward zone and of every reverse zone that has none of its own.
    soa: Option<SOA>,
    /// The names of the NS records.
    servers: Vec<Name>,
    /// Addresses whose names are stated, by their reverse names.
    stated_ptrs: HashSet<NameKey>,
}

impl<'s> Build<'s> {
    fn new(site: &'s Site, serial: u32, servers: &NameServers) -> Self {
        let negative_ttl = site.dns.negative_ttl.min(MAX_NEGATIVE_TTL);
        let servers: Vec<Name> = servers.names.iter().filter_map(wire_name).collect();
        let soa = servers.first().cloned().zip(below(&["hostmaster"], &site.zone)).map(
            |(primary, mailbox)| {
                let (refresh, retry) = match site.dns.access.transfer.is_empty() {
                    true => (REFRESH, RETRY),
                    false => (REFRESH_OFTEN, RETRY_OFTEN),
                };
                SOA::new(primary, mailbox, serial, refresh, retry, EXPIRE, negative_ttl)
            },
        );
        let zones = Zones {
            serial,
            zones: Arc::default(),
            nodes: Arc::new(Nodes::new()),
            upstreams: Arc::new(upstreams(site)),
            leases: LeaseNames::new(&site.zone),
            access: Arc::new(Access::of(site)),
        };
        Self { site, zones, soa, servers, stated_ptrs: HashSet::new() }
    }

    /// A zone with its SOA and NS records: those that the configuration states for it, or else ours.
    fn zone(&mut self, ReverseZone { apex, part }: ReverseZone) {
        let key = NameKey::of(&apex);
        let at_apex = |record: &&offhook_model::Record, rtype: RecordType| {
            record.rtype == u16::from(rtype) && record.owner.as_wire() == key.as_wire()
        };
        let stated = |rtype| self.site.records.iter().filter(move |it| at_apex(it, rtype));
        let own = stated(RecordType::SOA).find_map(|record| match rdata_of(record) {
            Some(RData::SOA(soa)) => Some((soa, record.ttl)),
            _ => None,
        });
        let has_servers = stated(RecordType::NS).next().is_some();
        let (soa, ttl) = match (own, &self.soa) {
            (Some(own), _) => own,
            (None, Some(soa)) => (soa.clone(), self.site.dns.ttl),
            (None, None) => return,
        };
        self.zones.add_zone(Zone { part, ..Zone::new(apex.clone(), soa, ttl) });
        if !has_servers {
            for server in &self.servers {
                self.zones.add_record(&apex, self.site.dns.ttl, RData::NS(NS(server.clone())));
            }
        }
    }

    /// The records that the configuration states.
    fn stated(&mut self) {
        for record in &self.site.records {
            let (Some(owner), Some(data)) = (name_of(&record.owner), rdata_of(record)) else {
                continue;
            };
            if data.record_type() == RecordType::PTR {
                self.stated_ptrs.insert(NameKey::of(&owner));
            }
            if data.record_type() != RecordType::SOA {
                self.zones.add_record(&owner, record.ttl, data);
            }
        }
    }

    /// Adds what follows from other facts, unless the configuration states it with a TTL of its own; whether it is
    /// there then.
    fn derive(&mut self, owner: &Name, ttl: u32, data: RData) -> bool {
        let stated = self.zones.rrset(owner, data.record_type());
        stated.is_some_and(|set| set.data.contains(&data))
            || self.zones.add_record(owner, ttl, data)
    }

    /// The address record, and the PTR.
    fn host(&mut self, name: &DomainName, address: IpAddr) {
        let Some(name) = wire_name(name) else { return };
        let data = match address {
            IpAddr::V4(v4) => RData::A(A(v4)),
            IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
        };
        if self.derive(&name, self.site.dns.ttl, data)
            && let Some(reverse) = reverse_address(address)
            && !self.stated_ptrs.contains(&NameKey::of(&reverse))
        {
            self.derive(&reverse, self.site.dns.ttl, RData::PTR(PTR(name)));
        }
    }

    /// Switchovers and proxy pools.
    fn groups(&mut self) {
        for switchover in &self.site.switchovers {
            self.addresses(&switchover.name, &switchover.hosts, switchover.ttl);
            let rank = (switchover.priority, switchover.weight);
            let (sip, ttl) = (&switchover.sip, switchover.ttl);
            self.services(&self.site.zone, &switchover.hosts, sip, rank, ttl);
        }
        for proxy in &self.site.proxies {
            self.addresses(&proxy.name, &proxy.hosts, proxy.ttl);
            self.services(&proxy.name, &proxy.hosts, &proxy.sip, (0, 0), proxy.ttl);
        }
    }

    fn addresses(
        &mut self,
        name: &DomainName,
        hosts: &[(DomainName, std::net::Ipv4Addr)],
        ttl: u32,
    ) {
        let Some(name) = wire_name(name) else { return };
        for &(_, address) in hosts {
            self.zones.add_record(&name, ttl, RData::A(A(address)));
        }
    }

    /// SRV records of a SIP domain: `rank` is priority and weight.
    fn services(
        &mut self,
        domain: &DomainName,
        hosts: &[(DomainName, std::net::Ipv4Addr)],
        sip: &SipPorts,
        (priority, weight): (u16, u16),
        ttl: u32,
    ) {
        for (transport, labels, _) in SERVICES {
            let Some((port, owner)) = transport(sip).zip(below(&labels, domain)) else { continue };
            for target in hosts.iter().filter_map(|(host, _)| wire_name(host)) {
                let srv = SRV::new(priority, weight, port, target);
                self.zones.add_record(&owner, ttl, RData::SRV(srv));
            }
        }
    }

    /// NAPTR records of every SIP domain that has none of its own (RFC 3263 section 4.1).
    fn naptr(&mut self) {
        if !self.site.dns.naptr {
            return;
        }
        let site = self.site;
        let zone = site.switchovers.iter().map(|switchover| (&site.zone, &switchover.sip));
        let proxies = site.proxies.iter().map(|proxy| (&proxy.name, &proxy.sip));
        let domains: Vec<_> = zone.chain(proxies).collect();
        let stated: Vec<_> = domains.iter().map(|(domain, _)| self.has_naptr(domain)).collect();
        for ((domain, sip), stated) in domains.into_iter().zip(stated) {
            let Some(owner) = wire_name(domain).filter(|_| !stated) else { continue };
            for (number, (transport, labels, service)) in (1..).zip(SERVICES) {
                if let Some(replacement) = transport(sip).and_then(|_| below(&labels, domain)) {
                    let (flags, regexp) = ([b's'].into(), [].into());
                    let naptr =
                        NAPTR::new(number * 10, 50, flags, service.into(), regexp, replacement);
                    self.derive(&owner, site.dns.ttl, RData::NAPTR(naptr));
                }
            }
        }
    }

    fn has_naptr(&self, domain: &DomainName) -> bool {
        wire_name(domain).is_some_and(|name| self.zones.rrset(&name, RecordType::NAPTR).is_some())
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
            let host = site.hosts.iter().find(|host| {
                IpAddr::V4(host.address) == address || host.ipv6.map(IpAddr::V6) == Some(address)
            });
            match host {
                Some(host) if !names.contains(&host.name) => names.push(host.name.clone()),
                None if !address.is_unspecified() && !nameless.contains(&address) => {
                    nameless.push(address);
                }
                _ => {}
            }
        }
        let mut own = Vec::new();
        if names.is_empty() || !nameless.is_empty() {
            let groups = site.switchovers.len() + site.proxies.len();
            let most = site.hosts.len() + groups + site.records.len() + 1;
            let free = (1..=most)
                .filter_map(|number| format!("ns{number}.{}", site.zone).parse().ok())
                .find(|name| !is_taken(site, name))
                .unwrap_or_else(|| site.zone.clone());
            own.extend(nameless.into_iter().map(|address| (free.clone(), address)));
            names.push(free);
        }
        Self { names, own }
    }
}

fn is_taken(site: &Site, name: &DomainName) -> bool {
    let wire = offhook_model::WireName::from(name);
    site.hosts.iter().any(|host| host.name == *name)
        || site.switchovers.iter().any(|switchover| switchover.name == *name)
        || site.proxies.iter().any(|proxy| proxy.name == *name)
        || site.records.iter().any(|record| record.owner.is_within(&wire))
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
        networks: match &site.dns.access.allow_forward {
            Some(stated) => stated.clone(),
            None => site.scopes.iter().map(|scope| scope.subnet).collect(),
        },
        addresses: site.dns.listen.iter().map(|listener| listener.ip().to_canonical()).collect(),
    }
}
