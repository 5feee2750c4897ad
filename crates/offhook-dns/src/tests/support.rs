//! The sample site, requests by hand, and a reader of replies.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use offhook_model::{
    DomainName, Host, Origin, Provisioning, Record, Scope, ScopeId, SipPorts, Site, Switchover,
    WireName,
};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::{Client, Forward, Outcome, Transport, Zones, answer};

pub(crate) const A: u16 = 1;
pub(crate) const NS: u16 = 2;
pub(crate) const CNAME: u16 = 5;
pub(crate) const SOA: u16 = 6;
pub(crate) const PTR: u16 = 12;
pub(crate) const MX: u16 = 15;
pub(crate) const TXT: u16 = 16;
pub(crate) const AAAA: u16 = 28;
pub(crate) const SRV: u16 = 33;
pub(crate) const NAPTR: u16 = 35;
pub(crate) const DNAME: u16 = 39;
pub(crate) const OPT: u16 = 41;
pub(crate) const DS: u16 = 43;
pub(crate) const ANY: u16 = 255;

pub(crate) const NOERROR: u16 = 0;
pub(crate) const FORMERR: u16 = 1;
pub(crate) const SERVFAIL: u16 = 2;
pub(crate) const NXDOMAIN: u16 = 3;
pub(crate) const NOTIMP: u16 = 4;
pub(crate) const REFUSED: u16 = 5;
pub(crate) const BADVERS: u16 = 16;

pub(crate) fn name(text: &str) -> DomainName {
    text.parse().unwrap()
}

fn scope(label: &str, subnet: &str) -> Scope {
    Scope {
        name: label.into(),
        interface: None,
        vlan: None,
        subnet: subnet.parse().unwrap(),
        pools: Vec::new(),
        excluded: Vec::new(),
        router: None,
        lease: Duration::from_secs(3600),
        times: offhook_model::LeaseTimes::default(),
        boot: offhook_model::BootFields::default(),
        phone_lease: None,
        serve: offhook_model::Serve::All,
        authoritative: true,
        probe: false,
        reserved_share: 0,
        shared_network: None,
        voice: None::<ScopeId>,
        options: Vec::new(),
        origin: Origin::default("test"),
    }
}

pub(crate) fn host(label: &str, address: [u8; 4]) -> Host {
    Host::new(name(label), address.into(), Origin::default("test"))
}

/// `config/lab.toml`, as far as DNS reads it.
pub(crate) fn lab() -> Site {
    let pair = [("vm40ic1.lab.voip", [10, 250, 1, 151]), ("vm40ic2.lab.voip", [10, 250, 1, 152])];
    Site {
        name: "lab".into(),
        dns: offhook_model::Dns {
            listen: vec!["10.250.1.5:53".parse().unwrap()],
            forward: BTreeMap::from([(
                Some(name("lab.local")),
                vec!["10.250.0.2:53".parse().unwrap()],
            )]),
            negative_ttl: 45,
            ..offhook_model::Dns::default()
        },
        hosts: pair
            .iter()
            .map(|&(label, address)| host(label, address))
            .chain([host("mytimeserver.lab.voip", [10, 250, 1, 6])])
            .collect(),
        switchovers: vec![Switchover {
            provisioning: Some(Provisioning { scheme: "http".into(), port: 8088 }),
            sip: SipPorts { udp: Some(8060), tcp: Some(8060), tls: Some(8061) },
            ..Switchover::new(
                name("provision.lab.voip"),
                pair.iter().map(|&(label, address)| (name(label), address.into())).collect(),
                Origin::default("test"),
            )
        }],
        scopes: vec![scope("voice", "10.250.1.0/24"), scope("native", "10.0.0.0/24")],
        ..Site::new(name("lab.voip"))
    }
}

/// The lab with these subnets instead of its own.
pub(crate) fn lab_with_subnets(subnets: &[&str]) -> Site {
    Site { scopes: subnets.iter().map(|subnet| scope("s", subnet)).collect(), ..lab() }
}

/// A record of a zone file; names are full, data is as [`Rr`] has it.
pub(crate) fn record(owner: &str, rtype: u16, ttl: u32, data: &str) -> Record {
    let labels = owner.split('.').map(str::as_bytes);
    let numbers_and_name = |text: &str| {
        let words: Vec<_> = text.split(' ').collect();
        let (target, numbers) = words.split_last().unwrap();
        let numbers = numbers.iter().flat_map(|n| n.parse::<u16>().unwrap().to_be_bytes());
        numbers.chain(wire_name(target)).collect::<Vec<u8>>()
    };
    let data = match rtype {
        A => data.parse::<Ipv4Addr>().unwrap().octets().to_vec(),
        AAAA => data.parse::<std::net::Ipv6Addr>().unwrap().octets().to_vec(),
        NS | CNAME | PTR | DNAME | MX | SRV => numbers_and_name(data),
        TXT => [&[data.len() as u8], data.as_bytes()].concat(),
        NAPTR => {
            let words: Vec<_> = data.split(' ').collect();
            let mut wire = numbers_and_name(&words[..2].join(" "));
            wire.truncate(2);
            wire.extend(words[1].parse::<u16>().unwrap().to_be_bytes());
            for text in &words[2..5] {
                let text = text.trim_matches('"');
                wire.push(text.len() as u8);
                wire.extend(text.as_bytes());
            }
            [wire, wire_name(words[5])].concat()
        }
        SOA => {
            let words: Vec<_> = data.split(' ').collect();
            let numbers = words[2..].iter().flat_map(|n| n.parse::<u32>().unwrap().to_be_bytes());
            [wire_name(words[0]), wire_name(words[1]), numbers.collect()].concat()
        }
        _ => data.as_bytes().to_vec(),
    };
    Record {
        owner: WireName::from_labels(labels).unwrap(),
        rtype,
        ttl,
        data: data.into(),
        origin: Origin::default("test"),
    }
}

/// The lab with these records as well: owner below the zone (or `@`, or full with a dot), type, data.
pub(crate) fn lab_with(records: &[(&str, u16, &str)]) -> Site {
    let full = |owner: &str| match owner.strip_suffix('.') {
        Some(full) => full.to_owned(),
        None if owner == "@" => "lab.voip".to_owned(),
        None => format!("{owner}.lab.voip"),
    };
    let records =
        records.iter().map(|(owner, rtype, data)| record(&full(owner), *rtype, 120, data));
    Site { records: records.collect(), ..lab() }
}

/// The same site, with answers for everybody.
pub(crate) fn everybody(mut site: Site) -> Site {
    site.dns.access.allow = Some(vec!["0.0.0.0/0".parse().unwrap()]);
    site
}

pub(crate) fn wire_name(text: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in text.trim_end_matches('.').split('.').filter(|label| !label.is_empty()) {
        wire.push(label.len() as u8);
        wire.extend_from_slice(label.as_bytes());
    }
    wire.push(0);
    wire
}

/// A request in the making.
#[derive(Clone)]
pub(crate) struct Query {
    pub(crate) flags: u16,
    pub(crate) questions: Vec<Vec<u8>>,
    pub(crate) authorities: Vec<Vec<u8>>,
    pub(crate) additionals: Vec<Vec<u8>>,
}

impl Query {
    pub(crate) fn new(owner: &str, qtype: u16) -> Self {
        Self {
            flags: 0x0100,
            questions: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
        }
        .question(owner, qtype, 1)
    }

    pub(crate) fn question(mut self, owner: &str, qtype: u16, qclass: u16) -> Self {
        let mut question = wire_name(owner);
        question.extend(qtype.to_be_bytes());
        question.extend(qclass.to_be_bytes());
        self.questions.push(question);
        self
    }

    pub(crate) fn class(self, qclass: u16) -> Self {
        let mut query = self;
        for question in &mut query.questions {
            let at = question.len() - 2;
            question[at..].copy_from_slice(&qclass.to_be_bytes());
        }
        query
    }

    pub(crate) fn flags(self, flags: u16) -> Self {
        Self { flags, ..self }
    }

    pub(crate) fn opcode(self, opcode: u16) -> Self {
        Self { flags: self.flags | opcode << 11, ..self }
    }

    /// An OPT record: class is the payload, `ttl` is extended rcode, version and flags.
    pub(crate) fn opt(mut self, payload: u16, ttl: u32, options: &[u8]) -> Self {
        let mut record = vec![0];
        record.extend(OPT.to_be_bytes());
        record.extend(payload.to_be_bytes());
        record.extend(ttl.to_be_bytes());
        record.extend((options.len() as u16).to_be_bytes());
        record.extend(options);
        self.additionals.push(record);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut wire = vec![0xab, 0xcd];
        wire.extend(self.flags.to_be_bytes());
        wire.extend((self.questions.len() as u16).to_be_bytes());
        wire.extend([0; 2]);
        wire.extend((self.authorities.len() as u16).to_be_bytes());
        wire.extend((self.additionals.len() as u16).to_be_bytes());
        wire.extend(self.questions.concat());
        wire.extend(self.authorities.concat());
        wire.extend(self.additionals.concat());
        wire
    }

    /// The reply of the lab over UDP.
    pub(crate) fn ask_lab(&self) -> Reply {
        self.ask(&Zones::from_site(&lab(), 7))
    }

    pub(crate) fn ask(&self, zones: &Zones) -> Reply {
        reply(zones, &self.bytes(), Transport::Udp, 0)
    }

    pub(crate) fn ask_tcp(&self, zones: &Zones) -> Reply {
        reply(zones, &self.bytes(), Transport::Tcp, 0)
    }
}

pub(crate) fn phone(transport: Transport) -> Client {
    Client { address: IpAddr::V4(Ipv4Addr::new(10, 250, 1, 20)), transport }
}

pub(crate) fn reply(zones: &Zones, packet: &[u8], transport: Transport, seed: u64) -> Reply {
    match answer(zones, packet, phone(transport), &mut StdRng::seed_from_u64(seed)) {
        Outcome::Reply(reply) => Reply::read(&reply.encode().unwrap()),
        other => panic!("no reply but {other:?}"),
    }
}

pub(crate) fn forward(zones: &Zones, query: &Query, address: &str) -> Option<Forward> {
    let client = Client { address: address.parse().unwrap(), transport: Transport::Udp };
    match answer(zones, &query.bytes(), client, &mut StdRng::seed_from_u64(0)) {
        Outcome::Forward(forward) => Some(forward),
        _ => None,
    }
}

pub(crate) fn servers(addresses: &[&str]) -> Vec<SocketAddr> {
    addresses.iter().map(|address| address.parse().unwrap()).collect()
}

/// A reply, read back without the code under test.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) wire: Vec<u8>,
    pub(crate) id: u16,
    pub(crate) flags: u16,
    pub(crate) rcode: u16,
    /// Presentation form, with the case it has on the wire.
    pub(crate) questions: Vec<(String, u16, u16)>,
    pub(crate) answers: Vec<Rr>,
    pub(crate) authorities: Vec<Rr>,
    /// Without OPT.
    pub(crate) additionals: Vec<Rr>,
    /// Payload, extended rcode-version-flags, data.
    pub(crate) opt: Vec<(u16, u32, Vec<u8>)>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rr {
    pub(crate) owner: String,
    pub(crate) rtype: u16,
    pub(crate) class: u16,
    pub(crate) ttl: u32,
    /// Presentation form of what this zone has; hex of anything else.
    pub(crate) data: String,
}

impl Reply {
    pub(crate) fn read(wire: &[u8]) -> Self {
        let u16_at = |at: usize| u16::from_be_bytes([wire[at], wire[at + 1]]);
        let mut at = 12;
        let mut questions = Vec::new();
        for _ in 0..u16_at(4) {
            let owner = read_name(wire, &mut at);
            questions.push((owner, u16_at(at), u16_at(at + 2)));
            at += 4;
        }
        let mut sections = [Vec::new(), Vec::new(), Vec::new()];
        let mut opt = Vec::new();
        for (section, records) in sections.iter_mut().enumerate() {
            for _ in 0..u16_at(6 + 2 * section) {
                let owner = read_name(wire, &mut at);
                let (rtype, class) = (u16_at(at), u16_at(at + 2));
                let ttl = u32::from_be_bytes(wire[at + 4..at + 8].try_into().unwrap());
                let (start, end) = (at + 10, at + 10 + usize::from(u16_at(at + 8)));
                at = end;
                if rtype == OPT {
                    assert_eq!(section, 2, "OPT outside the additional section");
                    opt.push((class, ttl, wire[start..end].to_vec()));
                } else {
                    let data = read_data(wire, rtype, start, end);
                    records.push(Rr { owner, rtype, class, ttl, data });
                }
            }
        }
        assert_eq!(at, wire.len(), "octets after the last record");
        let [answers, authorities, additionals] = sections;
        let high = opt.first().map_or(0, |&(_, ttl, _)| (ttl >> 24) as u16) << 4;
        Self {
            wire: wire.to_vec(),
            id: u16_at(0),
            flags: u16_at(2),
            rcode: high | (u16_at(2) & 0x0f),
            questions,
            answers,
            authorities,
            additionals,
            opt,
        }
    }

    pub(crate) fn aa(&self) -> bool {
        self.flags & 0x0400 != 0
    }

    pub(crate) fn tc(&self) -> bool {
        self.flags & 0x0200 != 0
    }

    pub(crate) fn rd(&self) -> bool {
        self.flags & 0x0100 != 0
    }

    /// The data of the answer section, sorted.
    pub(crate) fn data(&self) -> Vec<&str> {
        let mut data: Vec<_> = self.answers.iter().map(|rr| rr.data.as_str()).collect();
        data.sort_unstable();
        data
    }
}

fn read_name(wire: &[u8], at: &mut usize) -> String {
    let mut text = String::new();
    let mut cursor = *at;
    let mut jumped = false;
    loop {
        let length = usize::from(wire[cursor]);
        match length {
            0 => {
                if !jumped {
                    *at = cursor + 1;
                }
                return if text.is_empty() { ".".into() } else { text };
            }
            1..=63 => {
                let label = &wire[cursor + 1..cursor + 1 + length];
                text.push_str(&String::from_utf8_lossy(label));
                text.push('.');
                cursor += 1 + length;
            }
            _ => {
                assert!(length >= 0xc0, "label type {length:#x}");
                let target = (length & 0x3f) << 8 | usize::from(wire[cursor + 1]);
                assert!(target < cursor && target >= 12, "pointer from {cursor} to {target}");
                if !jumped {
                    *at = cursor + 2;
                }
                jumped = true;
                cursor = target;
            }
        }
    }
}

fn read_data(wire: &[u8], rtype: u16, start: usize, end: usize) -> String {
    let mut at = start;
    let u16_at = |at: usize| u16::from_be_bytes([wire[at], wire[at + 1]]);
    let text = match rtype {
        A => Ipv4Addr::new(wire[start], wire[start + 1], wire[start + 2], wire[start + 3])
            .to_string(),
        AAAA => {
            let octets: [u8; 16] = wire[start..end].try_into().unwrap();
            std::net::Ipv6Addr::from(octets).to_string()
        }
        NS | PTR | CNAME => read_name(wire, &mut at),
        DNAME => {
            // RFC 6672 section 2.5: the target is never compressed.
            assert!(wire[start..end].iter().all(|&octet| octet < 0xc0), "compressed target");
            read_name(wire, &mut at)
        }
        MX => {
            at += 2;
            let exchange = read_name(wire, &mut at);
            format!("{} {exchange}", u16_at(start))
        }
        SRV => {
            at += 6;
            // RFC 2782: the target is never compressed.
            assert!(wire[start + 6..end].iter().all(|&octet| octet < 0xc0), "compressed target");
            let target = read_name(wire, &mut at);
            format!("{} {} {} {target}", u16_at(start), u16_at(start + 2), u16_at(start + 4))
        }
        NAPTR => {
            at += 4;
            let mut strings = Vec::new();
            for _ in 0..3 {
                let length = usize::from(wire[at]);
                strings.push(String::from_utf8_lossy(&wire[at + 1..at + 1 + length]).into_owned());
                at += 1 + length;
            }
            // RFC 3403 section 4.1: the replacement is never compressed.
            assert!(wire[at..end].iter().all(|&octet| octet < 0xc0), "compressed replacement");
            let replacement = read_name(wire, &mut at);
            format!("{} {} {strings:?} {replacement}", u16_at(start), u16_at(start + 2))
                .replace(['[', ']', ','], "")
        }
        SOA => {
            let (primary, mailbox) = (read_name(wire, &mut at), read_name(wire, &mut at));
            let number =
                |n: usize| u32::from_be_bytes(wire[at + 4 * n..at + 4 * n + 4].try_into().unwrap());
            format!("{primary} {mailbox} {} minimum {}", number(0), number(4))
        }
        _ => wire[start..end].iter().map(|octet| format!("{octet:02x}")).collect(),
    };
    if matches!(rtype, NS | PTR | CNAME | DNAME | MX | SRV | NAPTR) {
        assert_eq!(at, end, "record data ends elsewhere");
    }
    text
}
