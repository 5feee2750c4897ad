//! Whose questions are answered, and who gets whole zones.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::rr::rdata::{A as Address, NS as Server, TXT};
use hickory_proto::rr::{Name, RData};
use offhook_model::{ClientId, HardwareAddress, Lease, LeaseState, Mac, Site, Time};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::support::*;
use crate::{Client, NameBook, NameRules, Outcome, Transport, Zones, answer};

const AXFR: u16 = 252;
const IXFR: u16 = 251;
const NOTAUTH: u16 = 9;
const SECONDARY: &str = "10.9.9.9";

fn full(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn ask(zones: &Zones, query: &Query, from: &str, transport: Transport) -> Outcome {
    let client = Client { address: from.parse().unwrap(), transport };
    answer(zones, &query.bytes(), client, &mut StdRng::seed_from_u64(0))
}

fn said(zones: &Zones, query: &Query, from: &str, transport: Transport) -> Reply {
    match ask(zones, query, from, transport) {
        Outcome::Reply(reply) => Reply::read(&reply.encode().unwrap()),
        other => panic!("{other:?}"),
    }
}

fn networks(list: &[&str]) -> Vec<ipnetwork::Ipv4Network> {
    list.iter().map(|network| network.parse().unwrap()).collect()
}

#[test]
fn strangers_are_refused_whatever_they_ask_and_in_few_octets() {
    let zones = Zones::from_site(&lab(), 7);
    for (owner, qtype) in [
        ("vm40ic1.lab.voip", A),
        ("lab.voip", SOA),
        ("lab.voip", ANY),
        ("example.com", A),
        ("lab.voip", AXFR),
    ] {
        for transport in [Transport::Udp, Transport::Tcp] {
            let plain = Query::new(owner, qtype);
            let reply = said(&zones, &plain, "192.0.2.9", transport);
            assert_eq!(
                (reply.rcode, reply.aa(), reply.flags & 0x80),
                (REFUSED, false, 0),
                "{owner}"
            );
            assert_eq!(reply.wire.len(), plain.bytes().len(), "{owner}: a question and no more");
            let reply = said(&zones, &plain.opt(4096, 0, b""), "192.0.2.9", transport);
            assert_eq!(reply.rcode, REFUSED);
            assert_eq!(reply.opt[0].2, b"\0\x0f\0\x02\0\x12", "RFC 8914: prohibited");
        }
    }
    // What can be read of a message is answered alike.
    let update = Query::new("lab.voip", SOA).opcode(5);
    assert_eq!(said(&zones, &update, "192.0.2.9", Transport::Udp).rcode, REFUSED);
}

#[test]
fn who_is_answered_follows_from_the_site_unless_it_is_stated() {
    let mut site = lab();
    site.hosts.push(host("far.lab.voip", [10, 8, 8, 8]));
    let query = Query::new("vm40ic1.lab.voip", A);
    let answered = |zones: &Zones, from: &str| {
        let client: IpAddr = from.parse().unwrap();
        let code = said(zones, &query, from, Transport::Udp).rcode;
        assert_eq!(zones.answers(client), code == NOERROR, "{from}");
        code == NOERROR
    };
    let mut zones = Zones::from_site(&site, 7);
    for (from, expected) in [
        ("10.250.1.20", true),
        ("10.0.0.255", true),
        ("::ffff:10.0.0.7", true),
        ("10.250.1.5", true),
        ("127.0.0.1", true),
        ("::1", true),
        ("10.8.8.8", true),
        ("10.8.8.9", false),
        ("10.250.2.1", false),
        ("10.0.1.0", false),
        ("2001:db8::1", false),
    ] {
        assert_eq!(answered(&zones, from), expected, "{from}");
    }
    zones.allow(networks(&["10.250.2.0/24"]));
    assert!(answered(&zones, "10.250.2.1"));

    site.dns.access.allow = Some(networks(&["192.0.2.0/24"]));
    site.dns.access.transfer = networks(&[SECONDARY]);
    let mut zones = Zones::from_site(&site, 7);
    zones.allow(networks(&["10.250.2.0/24"]));
    for (from, expected) in [
        ("192.0.2.9", true),
        ("10.250.1.5", true),
        ("127.0.0.1", true),
        (SECONDARY, true),
        ("10.250.1.20", false),
        ("10.250.2.1", false),
    ] {
        assert_eq!(answered(&zones, from), expected, "{from}");
    }
}

#[test]
fn for_whom_others_are_asked_can_be_stated() {
    let mut site = everybody(lab());
    let query = Query::new("pc.lab.local", A);
    let zones = Zones::from_site(&site, 7);
    assert!(forward(&zones, &query, "10.250.1.20").is_some());
    assert!(forward(&zones, &query, "192.0.2.9").is_none());
    site.dns.access.allow_forward = Some(networks(&["192.0.2.0/24"]));
    let zones = Zones::from_site(&site, 7);
    assert!(forward(&zones, &query, "10.250.1.20").is_none());
    assert!(forward(&zones, &query, "192.0.2.9").is_some());
}

/// The lab with a secondary, records of every kind, and phones with names.
fn site_with_secondary() -> Site {
    let mut site = lab();
    site.dns.access.transfer = networks(&[SECONDARY]);
    site
}

fn zones_with_leases(leases: u32) -> Zones {
    let mut zones = Zones::from_site(&site_with_secondary(), 7);
    let address = |last| RData::A(Address::new(10, 250, 1, last));
    zones.add_record(&full("*.wild.lab.voip."), 60, address(9));
    zones.add_record(&full("sub.lab.voip."), 60, RData::NS(Server(full("ns.sub.lab.voip."))));
    zones.add_record(&full("ns.sub.lab.voip."), 60, address(10));
    zones.add_record(&full("taken.lab.voip."), 60, address(11));
    let long = RData::TXT(TXT::new(vec!["x".repeat(250); 100]));
    zones.add_record(&full("long.lab.voip."), 60, long);
    let now = Time::from_secs(1_000_000);
    let rules = NameRules { models: true, hosts: true, ttl: 300 };
    let mut book = NameBook::new(&name("lab.voip"), rules);
    for n in 0..leases {
        let [a, b, c, d] = n.to_be_bytes();
        let hardware = HardwareAddress::from(Mac([2, 0, a, b, c, d]));
        let lease = Lease {
            // Half of them in the voice scope's subnet, as far as that goes.
            address: [10, if n % 2 == 0 { 250 } else { 0 }, u8::from(n % 2 == 0), (n / 2) as u8]
                .into(),
            client: ClientId::Hardware(hardware),
            hardware,
            state: LeaseState::Bound,
            since: now,
            expires: now + Duration::from_secs(3600),
            scope: "voice".into(),
            class: None,
            host_name: Some(format!("host-{n}").into_bytes().into()),
        };
        book.put(now, &lease, |wire| zones.is_taken(wire));
    }
    // Got into the zone after the lease.
    zones.set_lease_names(book.names().clone());
    zones.add_record(&full("host-3.lab.voip."), 60, address(12));
    zones
}

fn messages(zones: &Zones, query: &Query) -> Vec<Reply> {
    match ask(zones, query, SECONDARY, Transport::Tcp) {
        Outcome::Transfer(transfer) => transfer.map(|wire| Reply::read(&wire)).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_transfer_is_the_whole_zone_between_two_soa_records() {
    let zones = zones_with_leases(400);
    for (apex, phones, stated) in [
        ("lab.voip", 800 - 1, 20),
        ("1.250.10.in-addr.arpa", 200 - 4, 4),
        ("0.0.10.in-addr.arpa", 200, 0),
    ] {
        let query = Query::new(apex, AXFR);
        let messages = messages(&zones, &query);
        for (place, message) in messages.iter().enumerate() {
            assert_eq!(
                (message.id, message.rcode, message.aa(), message.tc()),
                (0xabcd, NOERROR, true, false)
            );
            assert_eq!(message.questions.len(), usize::from(place == 0));
            assert!(message.authorities.is_empty() && message.additionals.is_empty());
            assert!(
                message.wire.len() <= 16_383 || message.answers.len() == 1,
                "{}",
                message.wire.len()
            );
        }
        let records: Vec<_> = messages.into_iter().flat_map(|message| message.answers).collect();
        let (first, last) = (&records[0], records.last().unwrap());
        assert_eq!((first.rtype, first), (SOA, last));
        assert!(first.data.contains(" 7 "), "the serial: {first:?}");
        let between = &records[1..records.len() - 1];
        assert!(between.iter().all(|record| record.rtype != SOA));
        let distinct: BTreeSet<_> = between.iter().collect();
        assert_eq!(distinct.len(), between.len(), "no record twice");
        // Whatever is asked for in the zone is in the transfer, with the same TTL, and the other way round.
        let owners: BTreeSet<_> =
            between.iter().map(|record| (&record.owner, record.rtype)).collect();
        for (owner, rtype) in owners {
            let there: BTreeSet<_> =
                between.iter().filter(|r| r.owner == *owner && r.rtype == rtype).cloned().collect();
            if owner.contains("sub.lab") {
                continue;
            }
            let reply = said(
                &zones,
                &Query::new(owner, rtype).opt(1232, 0, b""),
                SECONDARY,
                Transport::Tcp,
            );
            assert_eq!(
                reply.answers.into_iter().collect::<BTreeSet<_>>(),
                there,
                "{owner} {rtype}"
            );
        }
        let leased = between.iter().filter(|record| {
            ["host-", "client-"]
                .iter()
                .any(|name| record.owner.starts_with(name) || record.data.starts_with(name))
        });
        assert_eq!(
            leased.clone().filter(|record| record.owner != "host-3.lab.voip.").count(),
            phones,
            "{apex}"
        );
        assert!(between.len() >= phones + stated, "{} {apex}", between.len());
        if apex == "lab.voip" {
            for (owner, rtype) in [
                ("sub.lab.voip.", NS),
                ("ns.sub.lab.voip.", A),
                ("*.wild.lab.voip.", A),
                ("long.lab.voip.", 16),
            ] {
                assert!(between.iter().any(|r| r.owner == owner && r.rtype == rtype), "{owner}");
            }
            let host_3: Vec<_> = between.iter().filter(|r| r.owner == "host-3.lab.voip.").collect();
            assert_eq!(host_3.len(), 1);
            assert_eq!(host_3[0].data, "10.250.1.12", "what the configuration has, not the lease");
        }
    }
}

#[test]
fn a_transfer_sends_what_was_there_when_it_began() {
    let zones = zones_with_leases(200);
    let Outcome::Transfer(mut transfer) =
        ask(&zones, &Query::new("lab.voip", AXFR), SECONDARY, Transport::Tcp)
    else {
        panic!("no transfer");
    };
    assert_eq!((transfer.zone(), transfer.serial()), ("lab.voip.".to_owned(), 7));
    let before = transfer.clone().count();
    let first = transfer.next().unwrap();
    drop(zones);
    assert_eq!(transfer.count(), before - 1);
    assert_eq!(Reply::read(&first).answers[0].rtype, SOA);
}

#[test]
fn zones_are_for_secondaries_over_tcp_and_for_nobody_else() {
    let zones = zones_with_leases(4);
    let axfr = Query::new("lab.voip", AXFR);
    for from in ["10.250.1.20", "127.0.0.1", "10.250.1.5", "10.9.9.8"] {
        for transport in [Transport::Udp, Transport::Tcp] {
            assert_eq!(said(&zones, &axfr, from, transport).rcode, REFUSED, "{from}");
        }
    }
    assert_eq!(said(&zones, &axfr, SECONDARY, Transport::Udp).rcode, FORMERR);
    for owner in ["vm40ic1.lab.voip", "example.com", "voip"] {
        let reply = said(&zones, &Query::new(owner, AXFR), SECONDARY, Transport::Tcp);
        assert_eq!(reply.rcode, NOTAUTH, "{owner}");
    }
    assert_eq!(
        said(&zones, &Query::new("lab.voip", SOA), SECONDARY, Transport::Udp).rcode,
        NOERROR
    );
    assert!(messages(&zones, &Query::new("LAB.voip", AXFR))[0].questions[0].0.starts_with("LAB."));
    let refresh = |zones: &Zones| {
        let wire = said(zones, &Query::new("lab.voip", SOA), "127.0.0.1", Transport::Udp).wire;
        let numbers = wire.last_chunk::<20>().unwrap();
        u32::from_be_bytes([numbers[4], numbers[5], numbers[6], numbers[7]])
    };
    assert_eq!(refresh(&zones), 60, "nobody tells a secondary of changes");
    assert_eq!(refresh(&Zones::from_site(&lab(), 7)), 3600);
}

/// A request for what has changed since `serial`.
fn ixfr(serial: u32) -> Query {
    let mut soa = wire_name("lab.voip");
    soa.extend([0, 6, 0, 1, 0, 0, 0, 0, 0, 22, 0, 0]);
    for number in [serial, 0, 0, 0, 0] {
        soa.extend(number.to_be_bytes());
    }
    let mut query = Query::new("lab.voip", IXFR);
    query.authorities.push(soa);
    query
}

#[test]
fn changes_are_told_as_nothing_new_or_as_the_whole_zone() {
    let zones = zones_with_leases(4);
    for current in [7, 8, 7 + (1 << 31) - 1] {
        for transport in [Transport::Udp, Transport::Tcp] {
            let reply = said(&zones, &ixfr(current), SECONDARY, transport);
            assert_eq!(
                (reply.rcode, reply.answers.len(), reply.answers[0].rtype),
                (NOERROR, 1, SOA)
            );
            assert!(reply.aa());
        }
    }
    for old in [6, 0, u32::MAX, 8 + (1 << 31)] {
        let reply = said(&zones, &ixfr(old), SECONDARY, Transport::Udp);
        assert_eq!((reply.answers.len(), reply.answers[0].rtype), (1, SOA), "ask over TCP");
        let whole = messages(&zones, &ixfr(old));
        assert_eq!(whole[0].questions[0].1, IXFR);
        assert!(whole.iter().map(|message| message.answers.len()).sum::<usize>() > 10, "{old}");
    }
    let without = Query::new("lab.voip", IXFR);
    assert_eq!(said(&zones, &without, SECONDARY, Transport::Tcp).rcode, FORMERR);
    assert_eq!(said(&zones, &ixfr(6), "10.250.1.20", Transport::Tcp).rcode, REFUSED);
}
