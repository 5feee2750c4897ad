//! The guide's sample site by hand, packets as phones send them, and a client that speaks to the core.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use offhook_dhcp::{Arrival, Core, Decision, Link, NoReply, Reply};
use offhook_model::{
    Class, ClassId, Evidence, Lease, LeaseWrite, Mac, OptionRule, Origin, Phone, Scope, ScopeId,
    Send, Site, Time,
};

pub(crate) const VOICE: ScopeId = ScopeId(0);
pub(crate) const NATIVE: ScopeId = ScopeId(1);
pub(crate) const VOICE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 250, 1, 5);
pub(crate) const NATIVE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 11);
pub(crate) const BROADCAST: Ipv4Addr = Ipv4Addr::BROADCAST;
pub(crate) const NOBODY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
/// The links, in this order.
pub(crate) const ON_VOICE: usize = 0;
pub(crate) const ON_NATIVE: usize = 1;

const ORIGIN: Origin = Origin::default("test");

pub(crate) fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

pub(crate) fn rule(code: u8, value: &[u8], send: Send) -> OptionRule {
    let value = value.into();
    let (is_text, follows_time_zone, repeats_boot) = (false, false, false);
    OptionRule { code, value, send, is_text, follows_time_zone, repeats_boot, origin: ORIGIN }
}

fn addresses(list: &[&str]) -> Vec<u8> {
    list.iter().flat_map(|text| ip(text).octets()).collect()
}

const URL: &[u8] = b"http://provision.lab.voip:8088";

/// Model name and, for all but Polycom and the soft phone, the firmware file.
pub(crate) const FAMILIES: [(&str, &str); 7] = [
    ("SIP100", "sip100.img"),
    ("SIP200", "sip200.img"),
    ("405", "405.img"),
    ("405HD", "405hd.img"),
    ("420HD", "420hd.img"),
    ("430HD", "430hd.img"),
    ("440HD", "440hd.img"),
];

fn class(name: &str, evidence: Vec<Evidence>, options: Vec<OptionRule>) -> Class {
    Class {
        name: name.into(),
        label: name.into(),
        evidence,
        condition: None,
        scopes: Vec::new(),
        lease: None,
        times: offhook_model::LeaseTimes::default(),
        boot: offhook_model::BootFields::default(),
        trailing_nul: false,
        options,
        scope_options: Vec::new(),
        boot_header: false,
        firmware: None,
        origin: ORIGIN,
    }
}

fn image(name: &str, file: &str) -> Class {
    let mut evidence = vec![
        Evidence::VendorClass(name.as_bytes().into()),
        Evidence::UserClass(name.as_bytes().into()),
    ];
    // As the catalogue does: where only the OUI speaks, the likeliest model of its maker.
    match name {
        "SIP100" => evidence.push(Evidence::Oui([0x00, 0x26, 0xfd])),
        "440HD" => evidence.push(Evidence::Oui([0x00, 0x90, 0x8f])),
        _ => {}
    }
    Class {
        scope_options: vec![(NATIVE, vec![rule(132, b"100", Send::Always)])],
        boot_header: true,
        firmware: Some(file.into()),
        ..class(
            name,
            evidence,
            vec![
                rule(66, b"10.0.0.11", Send::Always),
                rule(67, file.as_bytes(), Send::Always),
                rule(160, URL, Send::Always),
            ],
        )
    }
}

pub(crate) fn site() -> Site {
    let asked = |code, value: &[u8]| rule(code, value, Send::IfRequested);
    let scope = |name: &str, subnet: &str, pool: &str, router: &str, hours: u64| Scope {
        name: name.into(),
        interface: Some(format!("{name}0")),
        vlan: (name == "voice").then_some(100),
        subnet: subnet.parse().unwrap(),
        pools: vec![pool.parse().unwrap()],
        excluded: Vec::new(),
        router: Some(ip(router)),
        lease: Duration::from_secs(hours * 3600),
        times: offhook_model::LeaseTimes::default(),
        boot: offhook_model::BootFields::default(),
        phone_lease: None,
        serve: offhook_model::Serve::All,
        authoritative: true,
        probe: false,
        reserved_share: 0,
        shared_network: None,
        voice: (name == "native").then_some(VOICE),
        options: vec![asked(1, &[255, 255, 255, 0]), asked(3, &ip(router).octets())],
        origin: ORIGIN,
    };
    let mut classes: Vec<_> = FAMILIES.iter().map(|(name, file)| image(name, file)).collect();
    classes.push(class(
        "Polycom",
        vec![
            Evidence::VendorClassPrefix(b"Poly".as_slice().into()),
            Evidence::VendorClassBinary { enterprise: 13885 },
            Evidence::Oui([0x00, 0x04, 0xf2]),
        ],
        vec![
            rule(66, b"", Send::Never),
            rule(67, b"", Send::Never),
            rule(132, b"", Send::Never),
            rule(160, URL, Send::Always),
        ],
    ));
    classes.push(class(
        "SoftPhone",
        vec![Evidence::InformRequests(160)],
        vec![rule(160, URL, Send::Always)],
    ));
    Site {
        name: "lab".into(),
        scopes: vec![
            scope("voice", "10.250.1.0/24", "10.250.1.20-10.250.1.149", "10.250.1.1", 8),
            scope("native", "10.0.0.0/24", "10.0.0.100-10.0.0.199", "10.0.0.1", 1),
        ],
        classes,
        options: vec![
            asked(2, &(-18000_i32).to_be_bytes()),
            asked(6, &addresses(&["10.250.1.5", "10.250.0.2"])),
            asked(15, b"lab.voip"),
            asked(42, &addresses(&["10.250.1.6"])),
        ],
        ..Site::new("lab.voip".parse().unwrap())
    }
}

pub(crate) fn phone(mac: Mac, address: Option<&str>, options: Vec<OptionRule>) -> Phone {
    Phone {
        name: None,
        key: offhook_model::PhoneKey::Mac(mac),
        class: None,
        address: address.map(ip),
        options,
        origin: ORIGIN,
    }
}

pub(crate) fn class_id(site: &Site, name: &str) -> ClassId {
    site.class_ids().find(|(_, class)| class.name == name).unwrap().0
}

pub(crate) fn links() -> Vec<Link> {
    vec![
        Link { scope: Some(VOICE), address: VOICE_ADDRESS, mtu: 1500 },
        Link { scope: Some(NATIVE), address: NATIVE_ADDRESS, mtu: 1500 },
    ]
}

/// A message a client sends.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) mac: Mac,
    pub(crate) xid: u32,
    pub(crate) flags: u16,
    pub(crate) ciaddr: Ipv4Addr,
    pub(crate) giaddr: Ipv4Addr,
    pub(crate) options: Vec<(u8, Vec<u8>)>,
}

impl Message {
    pub(crate) fn new(message_type: u8, mac: Mac) -> Self {
        let options = vec![(53, vec![message_type])];
        Self { mac, xid: 0x1234_5678, flags: 0, ciaddr: NOBODY, giaddr: NOBODY, options }
    }

    pub(crate) fn discover(mac: Mac) -> Self {
        Self::new(1, mac)
    }

    pub(crate) fn request(mac: Mac) -> Self {
        Self::new(3, mac)
    }

    pub(crate) fn decline(mac: Mac, address: Ipv4Addr) -> Self {
        Self::new(4, mac).with(50, address.octets())
    }

    pub(crate) fn release(mac: Mac, address: Ipv4Addr) -> Self {
        Self::new(7, mac).using(address)
    }

    pub(crate) fn inform(mac: Mac, address: Ipv4Addr) -> Self {
        Self::new(8, mac).using(address)
    }

    pub(crate) fn with(mut self, code: u8, value: impl AsRef<[u8]>) -> Self {
        self.options.push((code, value.as_ref().to_vec()));
        self
    }

    pub(crate) fn asking(self, codes: &[u8]) -> Self {
        self.with(55, codes)
    }

    pub(crate) fn using(mut self, address: Ipv4Addr) -> Self {
        self.ciaddr = address;
        self
    }

    pub(crate) fn through(mut self, relay: Ipv4Addr) -> Self {
        self.giaddr = relay;
        self
    }

    pub(crate) fn broadcast(mut self) -> Self {
        self.flags = 0x8000;
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; 240];
        bytes[..3].copy_from_slice(&[1, 1, 6]);
        bytes[4..8].copy_from_slice(&self.xid.to_be_bytes());
        bytes[10..12].copy_from_slice(&self.flags.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.ciaddr.octets());
        bytes[24..28].copy_from_slice(&self.giaddr.octets());
        bytes[28..34].copy_from_slice(&self.mac.0);
        bytes[236..240].copy_from_slice(&[99, 130, 83, 99]);
        for (code, value) in &self.options {
            if value.is_empty() {
                bytes.extend_from_slice(&[*code, 0]);
            }
            for piece in value.chunks(255) {
                bytes.extend_from_slice(&[*code, piece.len() as u8]);
                bytes.extend_from_slice(piece);
            }
        }
        bytes.push(255);
        bytes
    }
}

/// What a reply says, read without the crate under test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) bytes: Vec<u8>,
    /// In order, as they are in the options field; pieces of one code joined with the first.
    pub(crate) options: Vec<(u8, Vec<u8>)>,
}

impl Read {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        assert!(bytes.len() >= 300, "padded");
        assert_eq!(&bytes[236..240], &[99, 130, 83, 99]);
        let mut options: Vec<(u8, Vec<u8>)> = Vec::new();
        let mut field = |mut rest: &[u8]| {
            while rest[0] != 255 {
                let (code, len) = (rest[0], usize::from(rest[1]));
                match options.iter_mut().find(|(other, _)| *other == code) {
                    Some((_, value)) => value.extend_from_slice(&rest[2..2 + len]),
                    None => options.push((code, rest[2..2 + len].to_vec())),
                }
                rest = &rest[2 + len..];
            }
            options.iter().find(|(code, _)| *code == 52).map_or(0, |(_, value)| value[0])
        };
        let overload = field(&bytes[240..]);
        if overload & 1 != 0 {
            field(&bytes[108..236]);
        }
        if overload & 2 != 0 {
            field(&bytes[44..108]);
        }
        Self { bytes: bytes.to_vec(), options }
    }

    pub(crate) fn codes(&self) -> Vec<u8> {
        self.options.iter().map(|(code, _)| *code).collect()
    }

    pub(crate) fn option(&self, code: u8) -> Option<&[u8]> {
        self.options.iter().find(|(other, _)| *other == code).map(|(_, value)| &value[..])
    }

    pub(crate) fn text(&self, code: u8) -> Option<&str> {
        self.option(code).map(|value| std::str::from_utf8(value).unwrap())
    }

    pub(crate) fn message_type(&self) -> u8 {
        self.option(53).unwrap()[0]
    }

    fn address(&self, at: usize) -> Ipv4Addr {
        Ipv4Addr::from(<[u8; 4]>::try_from(&self.bytes[at..at + 4]).unwrap())
    }

    pub(crate) fn ciaddr(&self) -> Ipv4Addr {
        self.address(12)
    }

    pub(crate) fn yiaddr(&self) -> Ipv4Addr {
        self.address(16)
    }

    pub(crate) fn siaddr(&self) -> Ipv4Addr {
        self.address(20)
    }

    pub(crate) fn file(&self) -> &[u8] {
        let end = self.bytes[108..236].iter().position(|byte| *byte == 0).unwrap();
        &self.bytes[108..108 + end]
    }
}

/// The core with a clock and a store that writes at once.
pub(crate) struct Server {
    pub(crate) core: Core,
    pub(crate) site: Arc<Site>,
    pub(crate) now: Time,
    pub(crate) disk: Vec<Lease>,
    /// Milliseconds that the core's time is ahead of `now`: not 0 after a start with a wall clock that is wrong.
    ahead: i64,
}

impl Server {
    pub(crate) fn new(site: Site) -> Self {
        let site = Arc::new(site);
        let now = Time::from_secs(1_800_000_000);
        let core = Core::new(site.clone(), links(), Vec::new(), now);
        Self { core, site, now, disk: Vec::new(), ahead: 0 }
    }

    pub(crate) fn lab() -> Self {
        Self::new(site())
    }

    pub(crate) fn wait(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
    }

    /// As after SIGKILL: what is on disk, and nothing else.
    pub(crate) fn restart(&mut self) {
        self.core = Core::new(self.site.clone(), links(), self.disk.clone(), self.now);
    }

    /// The same, when the wall clock shows this.
    pub(crate) fn restart_at(&mut self, wall: Time) {
        let now = offhook_dhcp::beginning(wall, &self.disk);
        self.ahead = now.as_millis() as i64 - self.now.as_millis() as i64;
        self.core = Core::new(self.site.clone(), links(), self.disk.clone(), now);
        self.core.follow(now, wall);
    }

    /// What the core is told that it is.
    pub(crate) fn core_now(&self) -> Time {
        Time::from_millis(self.now.as_millis().saturating_add_signed(self.ahead))
    }

    /// What its leases are timed by.
    pub(crate) fn wall(&self) -> Time {
        self.core.wall(self.core_now())
    }

    /// Decides, without redeeming the ticket.
    pub(crate) fn decide(&mut self, link: usize, bytes: &[u8]) -> Decision {
        self.decide_from(link, SocketAddrV4::new(NOBODY, 68), BROADCAST, bytes)
    }

    pub(crate) fn decide_from(
        &mut self,
        link: usize,
        source: SocketAddrV4,
        destination: Ipv4Addr,
        bytes: &[u8],
    ) -> Decision {
        self.core.handle(self.core_now(), &Arrival { link, source, destination }, bytes)
    }

    /// Hands a broadcast over again that was to wait.
    pub(crate) fn resume(&mut self, link: usize, bytes: &[u8]) -> Decision {
        let source = SocketAddrV4::new(NOBODY, 68);
        self.core.resume(self.core_now(), &Arrival { link, source, destination: BROADCAST }, bytes)
    }

    /// What a REQUEST would lease, after a DISCOVER that was broadcast.
    pub(crate) fn foresee(&self, link: usize, discover: &[u8], offered: Ipv4Addr) -> Option<Lease> {
        self.foresee_with(link, discover, offered, 0)
    }

    /// The same, if so many more addresses are free.
    pub(crate) fn foresee_with(
        &self,
        link: usize,
        discover: &[u8],
        offered: Ipv4Addr,
        spare: u64,
    ) -> Option<Lease> {
        let source = SocketAddrV4::new(NOBODY, 68);
        let arrival = Arrival { link, source, destination: BROADCAST };
        self.core.foresee(self.core_now(), &arrival, discover, offered, spare)
    }

    pub(crate) fn commit(&mut self, decision: &Decision) -> Vec<offhook_model::Event> {
        write(&mut self.disk, &decision.writes);
        decision.ticket.map(|ticket| self.core.committed(ticket)).unwrap_or_default()
    }

    /// Sends a message the way its addresses say and commits what it changes.
    pub(crate) fn send(&mut self, link: usize, message: &Message) -> Result<Reply, NoReply> {
        let destination = if message.ciaddr.is_unspecified() && message.giaddr.is_unspecified() {
            BROADCAST
        } else {
            links()[link].address
        };
        let source = if message.giaddr.is_unspecified() {
            SocketAddrV4::new(message.ciaddr, 68)
        } else {
            SocketAddrV4::new(message.giaddr, 67)
        };
        let decision = self.decide_from(link, source, destination, &message.bytes());
        self.commit(&decision);
        decision.reply
    }

    pub(crate) fn reply(&mut self, link: usize, message: &Message) -> Read {
        Read::new(&self.send(link, message).unwrap().bytes)
    }

    /// DISCOVER to ACK; what was acknowledged.
    pub(crate) fn lease(&mut self, link: usize, message: &Message) -> Read {
        let offer = self.reply(link, message);
        assert_eq!(offer.message_type(), 2);
        let mut request = message.clone();
        request.options[0].1 = vec![3];
        let request = request.with(50, offer.yiaddr().octets()).with(54, offer.option(54).unwrap());
        let ack = self.reply(link, &request);
        assert_eq!(ack.message_type(), 5);
        assert_eq!(ack.yiaddr(), offer.yiaddr());
        ack
    }
}

/// What the store does with writes.
pub(crate) fn write(disk: &mut Vec<Lease>, writes: &[LeaseWrite]) {
    for write in writes {
        disk.retain(|lease| lease.address != write.address());
        if let LeaseWrite::Put(lease) = write {
            disk.push(lease.clone());
        }
    }
}

pub(crate) fn mac(last: u8) -> Mac {
    Mac([0x00, 0x11, 0x22, 0x33, 0x44, last])
}

/// So many cases of a property, or what `PROPTEST_CASES` says.
pub(crate) fn cases(few: u32) -> proptest::test_runner::Config {
    let mut config = proptest::test_runner::Config::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = few;
    }
    config.failure_persistence = None;
    config
}
