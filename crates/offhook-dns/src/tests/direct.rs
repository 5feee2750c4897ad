//! The direct path says what the other one says.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use offhook_model::{Origin, Proxy, Record, SipPorts, Site, WireName};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::support::*;
use crate::health::Ranking;
use crate::order::EveryOrder;
use crate::{Client, DIRECT_ROOM, Direct, NameBook, NameRules, Outcome, Transport, Zones, answer};

const INSIDE: &str = "10.250.1.20";
const CLIENTS: [&str; 4] = [INSIDE, "192.0.2.9", "::1", "2001:db8::9"];

/// Everything the other path may send; none when it is not an answer that it gives.
fn answers(zones: &Zones, packet: &[u8], client: IpAddr) -> Option<Vec<Vec<u8>>> {
    let (mut every, mut all) = (EveryOrder::default(), Vec::new());
    loop {
        let client = Client { address: client, transport: Transport::Udp };
        match answer(zones, packet, client, &mut every) {
            Outcome::Reply(reply) => all.push(reply.encode().unwrap()),
            _ => return None,
        }
        if !every.advance() {
            return Some(all);
        }
    }
}

struct Both {
    direct: Direct,
    zones: Arc<Zones>,
}

impl Both {
    fn new(zones: Zones) -> Self {
        Self { direct: Direct::new(1), zones: Arc::new(zones) }
    }

    fn direct(&mut self, packet: &[u8], client: &str) -> Option<Vec<u8>> {
        let mut room = [0xee; DIRECT_ROOM];
        let answered =
            self.direct.answer(&self.zones, packet, client.parse().unwrap(), &mut room)?;
        assert_eq!(answered.rcode, room[3] & 15);
        Some(room[..answered.length].to_vec())
    }

    /// Asks both, several times, and holds them to each other; how often the direct path answered.
    fn alike(&mut self, packet: &[u8], client: &str) -> usize {
        let mut expected = None;
        let mut times = 0;
        for _ in 0..3 {
            let Some(said) = self.direct(packet, client) else { continue };
            let expected = expected
                .get_or_insert_with(|| answers(&self.zones, packet, client.parse().unwrap()));
            let expected =
                expected.as_ref().unwrap_or_else(|| panic!("not its own: {packet:02x?}"));
            assert!(
                expected.contains(&said),
                "{client} asked {packet:02x?}\n   got {said:02x?}\nnot of {expected:02x?}"
            );
            times += 1;
        }
        times
    }
}

/// The lab with everything that makes an answer more than a look-up.
fn site() -> Site {
    let mut site = lab();
    // The first client is in a scope, the second is answered but not asked for, the last is nobody's.
    let allowed = ["10.250.1.0/24", "192.0.2.0/24"];
    site.dns.access.allow = Some(allowed.map(|network| network.parse().unwrap()).to_vec());
    let pool = (1..=6).map(|n| (name(&format!("edge{n}.lab.voip")), [10, 250, 1, 60 + n].into()));
    site.proxies.push(Proxy {
        name: name("edge.lab.voip"),
        hosts: pool.collect(),
        sip: SipPorts { udp: Some(5060), tcp: None, tls: None },
        health: None,
        order: offhook_model::Order::Random,
        ttl: 60,
        origin: Origin::default("test"),
    });
    let a = |last| vec![192, 0, 2, last];
    let preference = |target| [&[0, 10][..], &wire_name(target)].concat();
    for (owner, rtype, data) in [
        ("*.wild.lab.voip", A, a(1)),
        ("there.wild.lab.voip", AAAA, vec![0; 16]),
        ("*.alias.lab.voip", CNAME, wire_name("provision.lab.voip")),
        ("alias.lab.voip", CNAME, wire_name("alias2.lab.voip")),
        ("alias2.lab.voip", CNAME, wire_name("vm40ic1.lab.voip")),
        ("dangling.lab.voip", CNAME, wire_name("nothere.lab.voip")),
        ("round.lab.voip", CNAME, wire_name("round2.lab.voip")),
        ("round2.lab.voip", CNAME, wire_name("round.lab.voip")),
        ("data.lab.voip", CNAME, wire_name("pc.lab.local")),
        ("away.lab.voip", CNAME, wire_name("www.example.com")),
        ("sub.lab.voip", NS, wire_name("ns.sub.lab.voip")),
        ("sub.lab.voip", NS, wire_name("ns.elsewhere.example")),
        ("ns.sub.lab.voip", A, a(2)),
        ("moved.lab.voip", DNAME, wire_name("wild.lab.voip")),
        ("text.lab.voip", TXT, [&[255][..], &[b'x'; 255]].concat()),
        ("long.lab.voip", TXT, [&[255][..], &[b'x'; 255]].concat().repeat(3)),
        ("longer.lab.voip", TXT, [&[255][..], &[b'x'; 255]].concat().repeat(6)),
        ("lab.voip", MX, preference("vm40ic1.lab.voip")),
        ("v6.lab.voip", AAAA, [0; 15].into_iter().chain([1]).collect()),
        ("odd.lab.voip", 65280, vec![1, 2, 3]),
        ("many.lab.voip", A, a(11)),
        ("many.lab.voip", A, a(12)),
        ("many.lab.voip", A, a(13)),
    ] {
        site.records.push(Record {
            owner: WireName::from_labels(owner.split('.').map(str::as_bytes)).unwrap(),
            rtype,
            ttl: 120,
            data: data.into(),
            origin: Origin::default("test"),
        });
    }
    site
}

fn zones() -> Zones {
    let mut zones = Zones::from_site(&site(), 7);
    let rules = NameRules { models: true, hosts: true, ttl: 300 };
    let mut book = NameBook::new(&name("lab.voip"), rules);
    for (last, host) in [(20, "Desk"), (21, "hall_phone"), (22, "provision")] {
        let lease = super::leases::lease([10, 250, 1, last], last, host);
        book.put(super::leases::NOW, &lease, |wire| zones.is_taken(wire));
    }
    zones.set_lease_names(book.names().clone());
    zones
}

#[test]
fn both_put_live_servers_first_whoever_they_are_now() {
    let mut site = site();
    for order in [&mut site.switchovers[0].order, &mut site.proxies[0].order] {
        *order = offhook_model::Order::ActiveFirst;
    }
    let ranking = Ranking::new(&site);
    let mut both = Both::new(Zones::from_site(&site, 7));
    for dead in [&[][..], &[(0, 0)], &[(0, 1), (1, 2), (1, 5)], &[(0, 0), (0, 1)], &[]] {
        let mut zones = Zones::clone(&both.zones);
        ranking.apply(&mut zones, |group, host| !dead.contains(&(group, host)));
        zones.set_serial(zones.serial() + 1);
        both.zones = Arc::new(zones);
        for (owner, qtype) in [
            ("provision.lab.voip", A),
            ("x.alias.lab.voip", A),
            ("edge.lab.voip", A),
            ("_sip._udp.lab.voip", SRV),
        ] {
            let times = both.alike(&Query::new(owner, qtype).bytes(), INSIDE);
            assert!(times > 0, "{owner} with {dead:?} dead");
        }
    }
}

/// Every name of the zones, and some that are not there.
fn names() -> Vec<String> {
    let zones = zones();
    let presentation = |mut wire: &[u8]| {
        let mut labels = Vec::new();
        while let Some((&length @ 1.., rest)) = wire.split_first() {
            let (label, rest) = rest.split_at(usize::from(length));
            labels.push(std::str::from_utf8(label).unwrap().to_owned());
            wire = rest;
        }
        labels.join(".")
    };
    let mut names: Vec<_> = zones.nodes.iter().map(|named| presentation(named.wire())).collect();
    assert!(names.len() >= 40, "{}", names.len());
    names.extend(
        [
            "nothere.lab.voip",
            "a.b.c.lab.voip",
            "x.vm40ic1.lab.voip",
            "x.wild.lab.voip",
            "x.y.wild.lab.voip",
            "x.there.wild.lab.voip",
            "x.alias.lab.voip",
            "x.sub.lab.voip",
            "x.ns.sub.lab.voip",
            "x.moved.lab.voip",
            "there.moved.lab.voip",
            "desk.lab.voip",
            "x.desk.lab.voip",
            "hall-phone.lab.voip",
            "440hd-00908f000014.lab.voip",
            "20.1.250.10.in-addr.arpa",
            "22.1.250.10.in-addr.arpa",
            "250.10.in-addr.arpa",
            "9.1.250.10.in-addr.arpa",
            "example.com",
            "pc.lab.local",
            "voip",
            "",
        ]
        .map(str::to_owned),
    );
    names.push(format!("{}.lab.voip", vec!["x"; 122].join(".")));
    names.push(format!("{}.moved.lab.voip", vec!["x"; 119].join(".")));
    names.push(format!("{}.lab.voip", "x".repeat(63)));
    names.sort();
    names
}

fn mixed_case(rng: &mut StdRng, name: &str) -> String {
    name.chars().map(|c| if rng.random() { c.to_ascii_uppercase() } else { c }).collect()
}

#[test]
fn every_name_and_type_is_answered_alike_by_both_paths() {
    let mut rng = StdRng::seed_from_u64(1);
    let mut both = Both::new(zones());
    let mut total = 0;
    let types = [1, 2, 5, 6, 12, 15, 16, 28, 33, 35, 39, 41, 43, 46, 64, 99, 65280, 65535];
    let types = types.into_iter().chain(249..=257);
    for (name, qtype) in names().iter().flat_map(|n| types.clone().map(move |t| (n, t))) {
        let mut direct = 0;
        for flags in [0, 0x0100, 0x0110, 0x07f0] {
            let name = mixed_case(&mut rng, name);
            let query = Query::new(&name, qtype).flags(flags);
            for query in [
                query.clone(),
                query.clone().opt(1232, 0x8000, b""),
                query.clone().opt(4096, 0x4001, b""),
                query.clone().opt(0, 0, b""),
                query.clone().opt(1232, 0, b"\0\x0a\0\x08aaaaaaaa"),
                query.class(255),
            ] {
                let client = CLIENTS.choose(&mut rng).unwrap();
                direct += both.alike(&query.bytes(), client);
            }
        }
        total += direct;
    }
    assert!(total > 40_000, "{total}");
}

/// None, a client's cookie, one with a server's, two that are too short and too long, and one beside another option.
const COOKIES: [&[u8]; 6] = [
    b"",
    b"\0\x0a\0\x08aaaaaaaa",
    b"\0\x0a\0\x18aaaaaaaabbbbbbbbbbbbbbbb",
    b"\0\x0a\0\x07aaaaaaa",
    b"\0\x0a\0\x09aaaaaaaab",
    b"\0\x0a\0\x08aaaaaaaa\0\x03\0\0",
];

#[test]
fn a_cookie_is_for_the_direct_path() {
    let mut both = Both::new(zones());
    for (options, is_direct) in COOKIES.iter().zip([true, true, true, false, false, false]) {
        let query = Query::new("vm40ic1.lab.voip", A).opt(1232, 0, options).bytes();
        assert_eq!(both.alike(&query, INSIDE) > 0, is_direct, "{options:?}");
    }
}

#[test]
fn mutated_queries_are_answered_alike_by_both_paths() {
    // A million: PROPTEST_CASES=1000000
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(3000);
    let mut both = Both::new(zones());
    let names = names();
    let mut direct = 0;
    for seed in 0..cases {
        let mut rng = StdRng::seed_from_u64(seed);
        let qtype =
            *[A, NS, SOA, PTR, AAAA, SRV, NAPTR, ANY, rng.random()].choose(&mut rng).unwrap();
        let name = names.choose(&mut rng).unwrap();
        let name = if rng.random() { mixed_case(&mut rng, name) } else { name.clone() };
        let mut query = Query::new(&name, qtype);
        if rng.random() {
            let options = COOKIES.choose(&mut rng).unwrap();
            query = query.opt(rng.random(), u32::from(rng.random::<bool>()) << 15, options);
        }
        let mut packet = query.bytes();
        for _ in 0..rng.random_range(0..3) {
            mutate(&mut rng, &mut packet);
        }
        direct += both.alike(&packet, CLIENTS.choose(&mut rng).unwrap());
    }
    assert!(direct as u64 > cases / 2, "too few of {cases} were for the direct path: {direct}");
}

fn mutate(rng: &mut StdRng, packet: &mut Vec<u8>) {
    if packet.is_empty() {
        return;
    }
    let at = rng.random_range(0..packet.len());
    match rng.random_range(0..6) {
        0 => packet[at] ^= 1 << rng.random_range(0..8),
        1 => packet[at] = rng.random(),
        2 => packet.insert(at, rng.random()),
        3 => drop(packet.remove(at)),
        4 => packet.truncate(at),
        _ => packet.extend_from_within(at..),
    }
}

#[test]
fn both_servers_come_first_equally_often() {
    let mut both = Both::new(zones());
    for (name, qtype) in [("provision.lab.voip", A), ("_sip._udp.lab.voip", SRV)] {
        let mut first = BTreeMap::new();
        for _ in 0..=2000 {
            let Some(wire) = both.direct(&Query::new(name, qtype).bytes(), INSIDE) else {
                continue;
            };
            let reply = Reply::read(&wire);
            *first.entry(reply.answers[0].data.clone()).or_insert(0) += 1;
        }
        assert_eq!(first.len(), 2, "{first:?}");
        assert!(first.values().all(|&times| (850..1150).contains(&times)), "{first:?}");
    }
}

#[test]
fn in_a_large_pool_each_comes_first_as_often_as_the_others() {
    let mut site = lab();
    let members = (1..=8).map(|n| (name(&format!("ic{n}.lab.voip")), [10, 250, 1, n].into()));
    site.switchovers[0].hosts = members.collect();
    let mut both = Both::new(Zones::from_site(&site, 7));
    let mut first = BTreeMap::new();
    for _ in 0..32_000 {
        let query = Query::new("provision.lab.voip", A).bytes();
        let Some(wire) = both.direct(&query, INSIDE) else { continue };
        let reply = Reply::read(&wire);
        assert_eq!(reply.answers.len(), 8);
        *first.entry(reply.answers[0].data.clone()).or_insert(0) += 1;
    }
    assert_eq!(first.len(), 8, "{first:?}");
    assert!(first.values().all(|&times| (3200..4800).contains(&times)), "{first:?}");
}

#[test]
fn a_new_snapshot_is_what_the_next_question_sees() {
    let mut both = Both::new(zones());
    let [pair, one] =
        ["provision", "vm40ic1"].map(|host| Query::new(&format!("{host}.lab.voip"), A));
    assert_eq!(both.alike(&pair.bytes(), INSIDE), 2, "learnt at the second asking");
    assert_eq!(both.alike(&one.bytes(), INSIDE), 3, "nothing to learn");
    let mut site = site();
    site.hosts[0].address = [10, 250, 1, 99].into();
    site.switchovers[0].hosts[0].1 = [10, 250, 1, 99].into();
    both.zones = Arc::new(Zones::from_site(&site, 8));
    let said = both.direct(&pair.bytes(), INSIDE).expect("asked before, so worth learning at once");
    assert_eq!(Reply::read(&said).data(), ["10.250.1.152", "10.250.1.99"]);
    let said = both.direct(&one.bytes(), INSIDE).unwrap();
    assert_eq!(Reply::read(&said).data(), ["10.250.1.99"]);
    both.zones = Arc::new(Zones::from_site(&Site { hosts: Vec::new(), ..lab() }, 9));
    let missing = Query::new("mytimeserver.lab.voip", A).bytes();
    let said = both.direct(&missing, INSIDE).unwrap();
    assert_eq!(Reply::read(&said).rcode, NXDOMAIN);
    assert!(Reply::read(&said).authorities[0].data.contains(" 9 minimum"));
}

#[test]
fn an_answer_longer_than_the_client_takes_is_left_to_who_can_shorten_it() {
    let mut site = lab();
    for n in 0..8 {
        let label = format!("a-listener-with-a-long-name-{n}.lab.voip");
        site.hosts.push(host(&label, [10, 250, 1, 200 + n]));
        site.dns.listen.push(format!("10.250.1.{}:53", 200 + n).parse().unwrap());
    }
    let mut both = Both::new(Zones::from_site(&site, 7));
    let query = Query::new("lab.voip", NS);
    let whole = query.clone().opt(1232, 0, b"").ask(&both.zones).wire.len() as u16;
    assert!((513..=1232).contains(&whole), "{whole}");
    for (payload, direct) in [(0, 0), (512, 0), (whole - 1, 0), (whole, 3), (1232, 3), (4096, 3)] {
        let asked = both.alike(&query.clone().opt(payload, 0, b"").bytes(), INSIDE);
        assert_eq!(asked, direct, "{payload} of {whole}");
    }
    assert_eq!(both.alike(&query.bytes(), INSIDE), 0);
    // SOA and the rest are short.
    assert!(both.alike(&Query::new("lab.voip", SOA).bytes(), INSIDE) >= 2);
}

#[test]
fn a_flood_of_names_does_not_push_out_what_was_learnt() {
    let mut both = Both::new(zones());
    let kept = Query::new("provision.lab.voip", A).bytes();
    assert_eq!(both.alike(&kept, INSIDE), 2);
    for n in 0..20_000 {
        let query = Query::new(&format!("x{n}.lab.voip"), A).bytes();
        assert!(both.direct(&query, INSIDE).is_some());
    }
    assert_eq!(both.alike(&kept, INSIDE), 3);
}

#[test]
fn there_is_nothing_to_learn_about_leases_and_names_that_are_not_there() {
    let mut both = Both::new(zones());
    for (name, qtype) in [
        ("440hd-00908f000014.lab.voip", A),
        ("DESK.lab.voip", A),
        ("desk.lab.voip", AAAA),
        ("20.1.250.10.in-addr.arpa", PTR),
        ("20.1.250.10.in-addr.arpa", A),
        ("nobody.lab.voip", A),
        ("99.1.250.10.in-addr.arpa", PTR),
        ("vm40ic1.lab.voip", A),
        ("vm40ic1.lab.voip", SRV),
    ] {
        assert_eq!(both.alike(&Query::new(name, qtype).bytes(), INSIDE), 3, "{name} {qtype}");
        assert_eq!(both.alike(&Query::new(name, qtype).opt(1232, 0x8000, b"").bytes(), INSIDE), 3);
    }
}

#[test]
fn names_that_the_soa_record_mentions_are_answered_alike() {
    for (zone, subnet) in [("lab.voip", "10.250.1.0/24"), ("10.in-addr.arpa", "10.0.0.0/8")] {
        let mut site = lab_with_subnets(&[subnet]);
        site.zone = name(zone);
        (site.hosts, site.switchovers) = (Vec::new(), Vec::new());
        let mut both = Both::new(Zones::from_site(&site, 7));
        for label in ["", "x.", "ns1.", "x.ns1.", "hostmaster.", "x.hostmaster.", "xns1."] {
            for qtype in [A, AAAA, SOA, PTR] {
                let name = format!("{label}{zone}");
                both.alike(&Query::new(&name, qtype).bytes(), INSIDE);
                both.alike(
                    &Query::new(&name.to_uppercase(), qtype).opt(1232, 0, b"").bytes(),
                    INSIDE,
                );
            }
        }
        assert_eq!(both.alike(&Query::new(&format!("x.{zone}"), A).bytes(), INSIDE), 3);
    }
}
