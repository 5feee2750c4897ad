//! A whole site: everything the servers need to know, checked and derived.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnetwork::Ipv4Network;

use crate::{
    Class, ClassId, DomainName, Health, ImageDigests, OptionRule, Order, Origin, Phone, Record,
    Scope, ScopeId, TftpLimits, Upstream,
};

/// A site: one configuration file, checked, with everything derived that can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// What the site is called in logs.
    pub name: String,
    /// The voice zone: option 15, and the zone the DNS server is authoritative for.
    pub zone: DomainName,
    /// Where the site is, as an IANA time zone, if that is stated.
    pub time_zone: Option<String>,
    /// What holds for DHCP in every scope.
    pub dhcp: Dhcp,
    /// The DNS server.
    pub dns: Dns,
    /// The TFTP server, when there is one.
    pub tftp: Option<Tftp>,
    /// Servers of the zone: an A and a PTR record each.
    pub hosts: Vec<Host>,
    /// Pairs of CIC servers.
    pub switchovers: Vec<Switchover>,
    /// Pools of SIP proxies.
    pub proxies: Vec<Proxy>,
    /// Records that the file or its zone file states, beside those that follow from all of the above.
    pub records: Vec<Record>,
    /// Subnets in which addresses are leased.
    pub scopes: Vec<Scope>,
    /// Phone families and other classes, in the order in which they are tried: the administrator's before
    /// the catalogue's.
    pub classes: Vec<Class>,
    /// The inventory.
    pub phones: Vec<Phone>,
    /// Options for every client: the least specific level. 2, 4 or 42, 6, 15.
    pub options: Vec<OptionRule>,
}

impl Site {
    /// A site with this zone and nothing else: what another one is built from.
    pub fn new(zone: DomainName) -> Self {
        Self {
            name: zone.to_string(),
            zone,
            time_zone: None,
            dhcp: Dhcp::default(),
            dns: Dns::default(),
            tftp: None,
            hosts: Vec::new(),
            switchovers: Vec::new(),
            proxies: Vec::new(),
            records: Vec::new(),
            scopes: Vec::new(),
            classes: Vec::new(),
            phones: Vec::new(),
            options: Vec::new(),
        }
    }

    /// The offset in force in the time zone is this one now, in seconds east of UTC: daylight saving has begun or ended,
    /// or the clock was set. Whether that makes a difference to any option.
    pub fn follow_offset(&mut self, seconds: i32) -> bool {
        let classes = self.classes.iter_mut().flat_map(|class| {
            let by_scope = class.scope_options.iter_mut().map(|(_, options)| options);
            by_scope.chain([&mut class.options])
        });
        let levels = [&mut self.options]
            .into_iter()
            .chain(self.scopes.iter_mut().map(|scope| &mut scope.options))
            .chain(classes)
            .chain(self.phones.iter_mut().map(|phone| &mut phone.options));
        let mut differs = false;
        for rule in levels.flatten().filter(|rule| rule.follows_time_zone) {
            let value = seconds.to_be_bytes();
            differs |= *rule.value != value;
            rule.value = value.into();
        }
        differs
    }

    /// Everything that is one name for several servers: switchovers, then pools of proxies.
    pub fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        let switchovers = self.switchovers.iter().map(|switchover| Group {
            name: &switchover.name,
            domain: &self.zone,
            hosts: &switchover.hosts,
            sip: &switchover.sip,
            health: switchover.health.as_ref(),
            order: switchover.order,
        });
        let proxies = self.proxies.iter().map(|proxy| Group {
            name: &proxy.name,
            domain: &proxy.name,
            hosts: &proxy.hosts,
            sip: &proxy.sip,
            health: proxy.health.as_ref(),
            order: proxy.order,
        });
        switchovers.chain(proxies)
    }

    /// The scope with this id.
    pub fn scope(&self, id: ScopeId) -> Option<&Scope> {
        self.scopes.get(usize::from(id.0))
    }

    /// The class with this id.
    pub fn class(&self, id: ClassId) -> Option<&Class> {
        self.classes.get(usize::from(id.0))
    }

    /// Every scope with its id.
    pub fn scope_ids(&self) -> impl Iterator<Item = (ScopeId, &Scope)> {
        self.scopes.iter().enumerate().map(|(i, scope)| (ScopeId(i as u16), scope))
    }

    /// Every class with its id.
    pub fn class_ids(&self) -> impl Iterator<Item = (ClassId, &Class)> {
        self.classes.iter().enumerate().map(|(i, class)| (ClassId(i as u16), class))
    }
}

/// What holds for DHCP in every scope: `[dhcp]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dhcp {
    /// How long a declined address is withheld from everyone.
    pub decline_hold: Duration,
    /// How long an offered address is kept for its client.
    pub offer_hold: Duration,
    /// Whether option 118 chooses the subnet (RFC 3011). Off by default: any client could choose.
    pub subnet_selection: bool,
    /// How long the answer to a conflict probe is waited for.
    pub probe_wait: Duration,
    /// Messages a second that one client may send; bursts of four seconds' worth. 0 is no limit.
    pub client_rate: u32,
    /// Messages a second from one circuit of a relay (option 82, sub-option 1); 0 is no limit.
    pub circuit_rate: u32,
    /// The DSCP of replies, 0 to 63.
    pub dscp: u8,
}

impl Default for Dhcp {
    fn default() -> Self {
        Self {
            decline_hold: Duration::from_secs(24 * 3600),
            offer_hold: Duration::from_secs(30),
            subnet_selection: false,
            probe_wait: Duration::from_millis(100),
            client_rate: 100,
            circuit_rate: 0,
            dscp: 0,
        }
    }
}

/// The DNS server of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Addresses it listens on, port 53: option 6.
    pub listen: Vec<SocketAddr>,
    /// Zones somebody else serves, and who; `None` is the root, for every other name.
    pub forward: BTreeMap<Option<DomainName>, Vec<SocketAddr>>,
    /// How long resolvers may keep a record; seconds.
    pub ttl: u32,
    /// How long they may keep "there is none" (RFC 2308), unless the zone file has an SOA of its own; seconds,
    /// at most 60.
    pub negative_ttl: u32,
    /// What is kept of other servers' answers.
    pub cache: DnsCache,
    /// What leases are called in the zone.
    pub names: DnsNames,
    /// Who is answered, and how often.
    pub access: DnsAccess,
    /// Whether the zone has NAPTR records for the transports of its switchovers (RFC 3263).
    pub naptr: bool,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            forward: BTreeMap::new(),
            ttl: 300,
            negative_ttl: 30,
            cache: DnsCache::default(),
            names: DnsNames::default(),
            access: DnsAccess::default(),
            naptr: true,
        }
    }
}

/// What leases are called in the zone: `lease_names` and `host_names` of `[dns]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DnsNames {
    /// Whether a lease has a name in the zone at all: `<model>-<mac>`.
    pub leases: bool,
    /// Whether it has what its client calls itself (option 12, or 81) for a name as well; nothing without `leases`.
    pub hosts: bool,
}

impl Default for DnsNames {
    fn default() -> Self {
        Self { leases: true, hosts: true }
    }
}

/// Who is answered, and how often. This machine itself always is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsAccess {
    /// Whose questions are answered at all. `None` is the scopes, the hosts of the site, and the networks that the
    /// listeners are in.
    pub allow: Option<Vec<Ipv4Network>>,
    /// Of those, for whom other servers are asked. `None` is the scopes.
    pub allow_forward: Option<Vec<Ipv4Network>>,
    /// Who may have whole zones (AXFR, RFC 5936), and ask about them.
    pub transfer: Vec<Ipv4Network>,
    /// Answers of one kind that one client is given a second, over UDP; 0 is no limit.
    pub rate_limit: u32,
    /// Refusals that one network (a /24) is sent a second, over UDP; 0 is no limit.
    pub refusal_limit: u32,
}

impl Default for DnsAccess {
    fn default() -> Self {
        Self {
            allow: None,
            allow_forward: None,
            transfer: Vec::new(),
            rate_limit: 0,
            refusal_limit: 10,
        }
    }
}

/// The cache of answers to forwarded questions: `[dns.cache]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DnsCache {
    /// Answers that are kept, of 512 bytes each; a longer one counts as several. 0 keeps none.
    pub entries: u32,
    /// The longest time an answer is kept for, whatever its TTL says.
    pub max_ttl: Duration,
    /// The same for "there is none" (RFC 2308).
    pub negative_ttl: Duration,
    /// How long past its TTL an answer may still be given while no upstream answers (RFC 8767); 0 is never.
    pub stale: Duration,
}

impl Default for DnsCache {
    fn default() -> Self {
        Self {
            entries: 10_000,
            max_ttl: Duration::from_secs(86_400),
            negative_ttl: Duration::from_secs(60),
            stale: Duration::from_secs(86_400),
        }
    }
}

/// The TFTP server of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tftp {
    /// The address it listens on, port 69: option 66.
    pub listen: SocketAddr,
    /// The directory it serves; absolute, or relative to the working directory.
    pub root: PathBuf,
    /// What it grants, and whom.
    pub limits: TftpLimits,
    /// What its images are to be; a list in the root may say more.
    pub images: ImageDigests,
    /// Where it has files from that are not in the root.
    pub upstream: Option<Upstream>,
}

/// A server with an address record and a PTR record for each of its addresses: `[[host]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The full name, inside the zone.
    pub name: DomainName,
    /// The address.
    pub address: Ipv4Addr,
    /// Its IPv6 address, if it has one.
    pub ipv6: Option<Ipv6Addr>,
    /// The line that defines it.
    pub origin: Origin,
}

impl Host {
    /// A host with an IPv4 address only.
    pub fn new(name: DomainName, address: Ipv4Addr, origin: Origin) -> Self {
        Self { name, address, ipv6: None, origin }
    }
}

/// A switchover pair of CIC servers: `[switchover]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switchover {
    /// The provisioning name, inside the zone: one A record per host, no PTR.
    pub name: DomainName,
    /// The pair: full name and address of each.
    pub hosts: Vec<(DomainName, Ipv4Addr)>,
    /// Where phones fetch their configuration: option 160.
    pub provisioning: Option<Provisioning>,
    /// The ports of the SRV records.
    pub sip: SipPorts,
    /// How its servers are watched; nobody asks them without it.
    pub health: Option<Health>,
    /// What their state does to the answers; anything but random only with `health`.
    pub order: Order,
    /// The priority of its SRV records: phones try the lowest first. Another site's pair has a higher one.
    pub priority: u16,
    /// The weight of its SRV records among those of one priority.
    pub weight: u16,
    /// How long resolvers may keep its records; seconds.
    pub ttl: u32,
    /// The line that defines it.
    pub origin: Origin,
}

/// A pool of SIP proxies under one name: `[[proxy]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// The name, inside the zone: one A record per host, no PTR.
    pub name: DomainName,
    /// The proxies: full name and address of each.
    pub hosts: Vec<(DomainName, Ipv4Addr)>,
    /// The ports of the SRV records below the name; none of them without.
    pub sip: SipPorts,
    /// How they are watched; nobody asks them without it.
    pub health: Option<Health>,
    /// What their state does to the answers; anything but random only with `health`.
    pub order: Order,
    /// How long resolvers may keep its records; seconds.
    pub ttl: u32,
    /// The line that defines it.
    pub origin: Origin,
}

impl Switchover {
    /// A switchover with the name, the hosts and what is so by default.
    pub fn new(name: DomainName, hosts: Vec<(DomainName, Ipv4Addr)>, origin: Origin) -> Self {
        Self {
            name,
            hosts,
            provisioning: None,
            sip: SipPorts::default(),
            health: None,
            order: Order::Random,
            priority: 0,
            weight: 0,
            ttl: Self::TTL,
            origin,
        }
    }

    /// How long resolvers may keep its records by default: a dead server is not asked for long; seconds.
    pub const TTL: u32 = 30;

    /// The provisioning URL, as option 160 carries it: `http://provision.lab.voip:8088`.
    pub fn url(&self) -> Option<String> {
        self.provisioning
            .as_ref()
            .map(|Provisioning { scheme, port }| format!("{scheme}://{}:{port}", self.name))
    }
}

/// One name for several servers: a switchover or a pool of proxies.
#[derive(Clone, Copy, Debug)]
pub struct Group<'s> {
    /// The name that has their addresses.
    pub name: &'s DomainName,
    /// The name that their SRV records are below.
    pub domain: &'s DomainName,
    /// Full name and address of each.
    pub hosts: &'s [(DomainName, Ipv4Addr)],
    /// The ports of the SRV records.
    pub sip: &'s SipPorts,
    /// How they are watched, if they are.
    pub health: Option<&'s Health>,
    /// What their state does to the answers.
    pub order: Order,
}

/// Scheme and port of the provisioning URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provisioning {
    /// `http`, `https`, `ftp` or `tftp`.
    pub scheme: String,
    /// The TCP (or, for TFTP, UDP) port.
    pub port: u16,
}

/// Ports of SIP by transport; a transport without one has no SRV records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SipPorts {
    /// `_sip._udp`.
    pub udp: Option<u16>,
    /// `_sip._tcp`.
    pub tcp: Option<u16>,
    /// `_sips._tcp`.
    pub tls: Option<u16>,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.zone)
    }
}
