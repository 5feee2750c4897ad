//! Names, types, flags and sections of the sample zone.

use std::collections::BTreeSet;

use super::support::*;
use crate::{Transport, Zones};

const APEX: &str = "ns1.lab.voip. hostmaster.lab.voip. 7 minimum 45";

#[track_caller]
fn assert_negative(owner: &str, qtype: u16, rcode: u16, zone: &str) {
    let reply = Query::new(owner, qtype).ask_lab();
    assert_eq!(reply.rcode, rcode, "{owner} {qtype}");
    assert!(reply.aa(), "{owner} {qtype}: not authoritative");
    assert!(reply.answers.is_empty() && reply.additionals.is_empty(), "{owner} {qtype}");
    let soa = Rr { owner: zone.into(), rtype: SOA, class: 1, ttl: 45, data: APEX.into() };
    assert_eq!(reply.authorities, [soa], "{owner} {qtype}");
}

#[test]
fn every_record_of_the_sample_zone_is_there() {
    let pair = ["10.250.1.151", "10.250.1.152"];
    let sip = ["0 0 8060 vm40ic1.lab.voip.", "0 0 8060 vm40ic2.lab.voip."];
    let sips = ["0 0 8061 vm40ic1.lab.voip.", "0 0 8061 vm40ic2.lab.voip."];
    let expected: &[(&str, u16, &[&str])] = &[
        ("vm40ic1.lab.voip", A, &["10.250.1.151"]),
        ("vm40ic2.lab.voip", A, &["10.250.1.152"]),
        ("mytimeserver.lab.voip", A, &["10.250.1.6"]),
        ("ns1.lab.voip", A, &["10.250.1.5"]),
        ("provision.lab.voip", A, &pair),
        ("_sip._udp.lab.voip", SRV, &sip),
        ("_sip._tcp.lab.voip", SRV, &sip),
        ("_sips._tcp.lab.voip", SRV, &sips),
        ("lab.voip", SOA, &[APEX]),
        ("lab.voip", NS, &["ns1.lab.voip."]),
        (
            "lab.voip",
            NAPTR,
            &[
                "10 50 \"s\" \"SIP+D2U\" \"\" _sip._udp.lab.voip.",
                "20 50 \"s\" \"SIP+D2T\" \"\" _sip._tcp.lab.voip.",
                "30 50 \"s\" \"SIPS+D2T\" \"\" _sips._tcp.lab.voip.",
            ],
        ),
        ("1.250.10.in-addr.arpa", SOA, &[APEX]),
        ("1.250.10.in-addr.arpa", NS, &["ns1.lab.voip."]),
        ("0.0.10.in-addr.arpa", NS, &["ns1.lab.voip."]),
        ("151.1.250.10.in-addr.arpa", PTR, &["vm40ic1.lab.voip."]),
        ("152.1.250.10.in-addr.arpa", PTR, &["vm40ic2.lab.voip."]),
        ("6.1.250.10.in-addr.arpa", PTR, &["mytimeserver.lab.voip."]),
        ("5.1.250.10.in-addr.arpa", PTR, &["ns1.lab.voip."]),
    ];
    for &(owner, qtype, data) in expected {
        let reply = Query::new(owner, qtype).ask_lab();
        assert_eq!((reply.rcode, reply.data()), (NOERROR, data.to_vec()), "{owner} {qtype}");
        assert!(reply.aa() && reply.rd() && !reply.tc(), "{owner} {qtype}");
        assert!(reply.authorities.is_empty() && reply.opt.is_empty(), "{owner} {qtype}");
        let of_the_pair = owner.starts_with("provision") || owner.starts_with("_sip");
        let ttl = if of_the_pair { 30 } else { 300 };
        for rr in &reply.answers {
            assert_eq!((rr.rtype, rr.class, rr.ttl), (qtype, 1, ttl), "{owner}");
            assert_eq!(rr.owner, format!("{owner}."));
        }
        assert_eq!(reply.id, 0xabcd);
        assert_eq!(reply.questions, [(format!("{owner}."), qtype, 1)]);
    }
}

#[test]
fn an_srv_answer_carries_the_addresses_of_its_targets() {
    for owner in ["_sip._udp.lab.voip", "_sip._tcp.lab.voip", "_sips._tcp.lab.voip"] {
        let mut additionals = Query::new(owner, SRV).ask_lab().additionals;
        additionals.sort();
        let a = |owner: &str, data: &str| Rr {
            owner: owner.into(),
            rtype: A,
            class: 1,
            ttl: 300,
            data: data.into(),
        };
        assert_eq!(
            additionals,
            [a("vm40ic1.lab.voip.", "10.250.1.151"), a("vm40ic2.lab.voip.", "10.250.1.152")]
        );
    }
    let ns = Query::new("lab.voip", NS).ask_lab();
    assert_eq!(ns.additionals[0].data, "10.250.1.5");
}

#[test]
fn both_orders_of_a_pair_occur_and_only_they() {
    let zones = Zones::from_site(&lab(), 1);
    for (owner, qtype) in [("provision.lab.voip", A), ("_sip._udp.lab.voip", SRV)] {
        let mut orders = [BTreeSet::new(), BTreeSet::new()];
        let mut firsts = 0;
        for seed in 0..200 {
            let reply = reply(&zones, &Query::new(owner, qtype).bytes(), Transport::Udp, seed);
            let order: Vec<_> = reply.answers.iter().map(|rr| rr.data.clone()).collect();
            firsts += usize::from(order.is_sorted());
            orders[usize::from(order.is_sorted())].insert(order);
        }
        assert_eq!(orders.each_ref().map(BTreeSet::len), [1, 1], "{owner}");
        assert!((60..140).contains(&firsts), "{owner}: {firsts} of 200 in one order");
    }
}

#[test]
fn a_name_that_is_not_there_is_nxdomain_with_the_soa() {
    for owner in ["nothere.lab.voip", "a.b.c.lab.voip", "x.provision.lab.voip", "_sip.lab.voip"] {
        assert_negative(owner, A, NXDOMAIN, "lab.voip.");
    }
    assert_negative("77.1.250.10.in-addr.arpa", PTR, NXDOMAIN, "1.250.10.in-addr.arpa.");
    assert_negative("1.0.0.10.in-addr.arpa", PTR, NXDOMAIN, "0.0.10.in-addr.arpa.");
}

#[test]
fn a_type_that_is_not_there_is_nodata_with_the_soa() {
    for qtype in [AAAA, 15, 16, 0, 65, 127, 256, 1000, 65535] {
        for owner in ["lab.voip", "provision.lab.voip", "vm40ic1.lab.voip", "_sip._udp.lab.voip"] {
            assert_negative(owner, qtype, NOERROR, "lab.voip.");
        }
    }
    assert_negative("vm40ic1.lab.voip", PTR, NOERROR, "lab.voip.");
    assert_negative("provision.lab.voip", NAPTR, NOERROR, "lab.voip.");
    assert_negative("151.1.250.10.in-addr.arpa", A, NOERROR, "1.250.10.in-addr.arpa.");
}

#[test]
fn an_empty_non_terminal_exists() {
    for qtype in [A, SRV, ANY, NS, SOA] {
        assert_negative("_udp.lab.voip", qtype, NOERROR, "lab.voip.");
        assert_negative("_tcp.lab.voip", qtype, NOERROR, "lab.voip.");
    }
    let wide = Zones::from_site(&lab_with_subnets(&["10.250.0.0/16"]), 7);
    let reply = Query::new("1.250.10.in-addr.arpa", PTR).ask(&wide);
    assert_eq!(
        (reply.rcode, reply.authorities[0].owner.as_str()),
        (NOERROR, "250.10.in-addr.arpa.")
    );
    let reply = Query::new("2.250.10.in-addr.arpa", PTR).ask(&wide);
    assert_eq!(reply.rcode, NXDOMAIN);
}

#[test]
fn the_switchover_name_has_no_ptr() {
    for last in ["151", "152"] {
        let reply = Query::new(&format!("{last}.1.250.10.in-addr.arpa"), PTR).ask_lab();
        assert!(reply.answers.iter().all(|rr| !rr.data.starts_with("provision")));
        assert_eq!(reply.answers.len(), 1);
    }
}

#[test]
fn names_match_in_any_case_and_keep_the_case_of_the_question() {
    let reply = Query::new("VM40ic1.LAB.vOIp", A).ask_lab();
    assert_eq!(reply.data(), ["10.250.1.151"]);
    assert_eq!(reply.questions[0].0, "VM40ic1.LAB.vOIp.");
    assert_eq!(reply.answers[0].owner, "VM40ic1.LAB.vOIp.");
    let reply = Query::new("_SIP._Udp.Lab.Voip", SRV).ask_lab();
    assert_eq!((reply.answers.len(), reply.additionals.len()), (2, 2));
    let reply = Query::new("NotHere.Lab.Voip", A).ask_lab();
    assert_eq!((reply.rcode, reply.questions[0].0.as_str()), (NXDOMAIN, "NotHere.Lab.Voip."));
}

#[test]
fn an_answer_to_mixed_case_is_that_to_lower_case_but_for_the_question() {
    for (owner, qtype) in [
        ("VM40ic1.LAB.vOIp", A),
        ("NotHere.Lab.Voip", A),
        ("_SIP._udp.laB.voip", SRV),
        ("LAB.voip", ANY),
        ("151.1.250.10.IN-ADDR.arpa", PTR),
        ("EXAMPLE.com", A),
    ] {
        let mixed = Query::new(owner, qtype).opt(1232, 0, b"").ask_lab().wire;
        let lower = Query::new(&owner.to_lowercase(), qtype).opt(1232, 0, b"").ask_lab().wire;
        let name = wire_name(owner);
        assert_eq!(mixed[12..12 + name.len()], name[..], "{owner}");
        assert_eq!(mixed[12..].to_ascii_lowercase(), lower[12..].to_ascii_lowercase(), "{owner}");
        assert_eq!(mixed[12 + name.len()..], lower[12 + name.len()..], "{owner}");
    }
}

#[test]
fn any_is_answered_with_one_record_set() {
    let reply = Query::new("vm40ic1.lab.voip", ANY).ask_lab();
    assert_eq!((reply.rcode, reply.data()), (NOERROR, vec!["10.250.1.151"]));
    let reply = Query::new("lab.voip", ANY).ask_lab();
    assert!(reply.answers.iter().all(|rr| rr.rtype == reply.answers[0].rtype));
}

#[test]
fn other_classes_are_refused_and_class_any_is_not_authoritative() {
    for (owner, qtype, qclass) in
        [("version.bind", 16, 3), ("lab.voip", SOA, 3), ("lab.voip", SOA, 4), ("lab.voip", A, 254)]
    {
        let reply = Query::new(owner, qtype).class(qclass).ask_lab();
        assert_eq!((reply.rcode, reply.aa()), (REFUSED, false), "{owner} class {qclass}");
        assert_eq!(reply.questions, [(format!("{owner}."), qtype, qclass)]);
        assert!(reply.answers.is_empty() && reply.authorities.is_empty());
    }
    let reply = Query::new("vm40ic1.lab.voip", A).class(255).ask_lab();
    assert_eq!((reply.rcode, reply.aa(), reply.answers.len()), (NOERROR, false, 1));
}

#[test]
fn transfers_and_types_that_are_no_records_are_turned_down() {
    for (qtype, rcode) in [
        (251, REFUSED),
        (252, REFUSED),
        (253, NOTIMP),
        (254, NOTIMP),
        (41, FORMERR),
        (250, FORMERR),
    ] {
        for owner in ["lab.voip", "lab.local", "example.com"] {
            let reply = Query::new(owner, qtype).ask_lab();
            assert_eq!((reply.rcode, reply.answers.len()), (rcode, 0), "{owner} {qtype}");
        }
        let tcp = Query::new("lab.voip", qtype).ask_tcp(&Zones::from_site(&lab(), 1));
        assert_eq!(tcp.rcode, rcode);
    }
}

#[test]
fn updates_are_refused_and_other_operations_not_implemented() {
    // RFC 2136: zone section, and in the update section `host.lab.voip 300 A 192.0.2.1`.
    let mut update = Query::new("lab.voip", SOA).flags(0).opcode(5).bytes();
    update[9] = 1;
    update.extend(wire_name("host.lab.voip"));
    update.extend([0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 192, 0, 2, 1]);
    let zones = Zones::from_site(&lab(), 1);
    let refused = reply(&zones, &update, Transport::Udp, 0);
    assert_eq!(
        (refused.rcode, refused.flags >> 11 & 0xf, refused.questions.len()),
        (REFUSED, 5, 1)
    );
    assert_eq!(Query::new("host.lab.voip", A).ask(&zones).rcode, NXDOMAIN);

    for opcode in [1, 2, 3, 4, 6, 15] {
        let reply = Query::new("lab.voip", SOA).opcode(opcode).opt(1232, 0, b"").ask_lab();
        assert_eq!((reply.rcode, reply.flags >> 11 & 0xf), (NOTIMP, opcode));
        assert_eq!(reply.opt.len(), 1, "opcode {opcode}");
    }
    let bare = Query { questions: Vec::new(), ..Query::new(".", A).flags(15 << 11) };
    assert_eq!(bare.ask_lab().rcode, NOTIMP);
}

#[test]
fn only_rd_and_cd_of_the_request_come_back() {
    let reply = Query::new("vm40ic1.lab.voip", A).flags(0x07f0).ask_lab();
    // QR AA RD, CD, and RA because the lab forwards lab.local; not TC, Z, AD.
    assert_eq!(reply.flags, 0x8000 | 0x0400 | 0x0100 | 0x0080 | 0x0010);
    let mut site = lab();
    site.dns.forward.clear();
    let alone = Query::new("vm40ic1.lab.voip", A).flags(0).ask(&Zones::from_site(&site, 1));
    assert_eq!(alone.flags, 0x8000 | 0x0400);
}

#[test]
fn names_outside_our_zones_are_refused() {
    let reply = Query::new("example.com", A).ask_lab();
    assert_eq!((reply.rcode, reply.aa()), (REFUSED, false));
    assert!(reply.answers.is_empty() && reply.authorities.is_empty());
    for owner in ["voip", ".", "notlab.voip", "5.2.250.10.in-addr.arpa", "250.10.in-addr.arpa"] {
        assert_eq!(Query::new(owner, A).ask_lab().rcode, REFUSED, "{owner}");
    }
}

#[test]
fn the_longest_forward_wins_and_our_own_zones_always_do() {
    let mut site = lab();
    site.dns.forward.insert(None, servers(&["192.0.2.1:53"]));
    site.dns.forward.insert(Some(name("sub.lab.local")), servers(&["192.0.2.2:53"]));
    site.dns.forward.insert(Some(name("voip")), servers(&["192.0.2.3:53"]));
    let zones = Zones::from_site(&site, 1);
    let asked = |owner: &str| {
        forward(&zones, &Query::new(owner, A), "10.250.1.20").map(|f| f.servers[0].to_string())
    };
    assert_eq!(asked("pc.lab.local").as_deref(), Some("10.250.0.2:53"));
    assert_eq!(asked("LAB.local").as_deref(), Some("10.250.0.2:53"));
    assert_eq!(asked("pc.Sub.lab.local").as_deref(), Some("192.0.2.2:53"));
    assert_eq!(asked("other.voip").as_deref(), Some("192.0.2.3:53"));
    assert_eq!(asked("example.com").as_deref(), Some("192.0.2.1:53"));
    assert_eq!(asked("notlab.local").as_deref(), Some("192.0.2.1:53"));
    for ours in ["lab.voip", "nothere.lab.voip", "9.1.250.10.in-addr.arpa", "_udp.lab.voip"] {
        assert_eq!(asked(ours), None, "{ours}");
    }
}

#[test]
fn we_are_no_upstream_of_ourselves() {
    let mut site = lab();
    site.dns.forward = [
        (None, servers(&["10.250.1.5:53"])),
        (Some(name("lab.local")), servers(&["10.250.1.5:53", "10.250.0.2:53"])),
    ]
    .into();
    let zones = Zones::from_site(&site, 1);
    let asked = forward(&zones, &Query::new("pc.lab.local", A), "10.250.1.20").unwrap();
    assert_eq!(asked.servers[..], servers(&["10.250.0.2:53"]));
    assert_eq!(Query::new("example.com", A).ask(&zones).rcode, REFUSED);
}

#[test]
fn strangers_are_not_forwarded_for() {
    let zones = Zones::from_site(&lab(), 1);
    let query = Query::new("pc.lab.local", A);
    for inside in ["10.250.1.77", "10.0.0.3", "127.0.0.1", "::1", "::ffff:10.0.0.3"] {
        assert!(forward(&zones, &query, inside).is_some(), "{inside}");
    }
    for outside in ["10.250.2.1", "192.0.2.1", "2001:db8::1"] {
        assert!(forward(&zones, &query, outside).is_none(), "{outside}");
    }
}
