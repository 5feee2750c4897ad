//! Records of the configuration: aliases, wildcards, delegations, DNAME, and what goes with an answer.

use super::support::*;
use crate::{Transport, Zones};

const YXDOMAIN: u16 = 6;

fn zones() -> Zones {
    Zones::from_site(
        &lab_with(&[
            ("alias", CNAME, "VM40ic1.lab.voip."),
            ("alias2", CNAME, "alias.lab.voip."),
            ("dangling", CNAME, "nothere.lab.voip."),
            ("nodata", CNAME, "provision.lab.voip."),
            ("toptr", CNAME, "151.1.250.10.in-addr.arpa."),
            ("outside", CNAME, "www.example.com."),
            ("tolocal", CNAME, "pc.lab.local."),
            ("loop1", CNAME, "loop2.lab.voip."),
            ("loop2", CNAME, "loop1.lab.voip."),
            ("self", CNAME, "self.lab.voip."),
            ("todeleg", CNAME, "x.deleg.lab.voip."),
            ("*.wild", A, "192.0.2.1"),
            ("*.wild", TXT, "wild"),
            ("there.wild", TXT, "there"),
            ("b.ent.wild", TXT, "deep"),
            ("*.calls", CNAME, "provision.lab.voip."),
            ("deleg", NS, "ns1.deleg.lab.voip."),
            ("deleg", NS, "ns.sibling.lab.voip."),
            ("deleg", NS, "ns.example.com."),
            ("deleg", DS, "\0\x01\x0d\x02\x0f"),
            ("ns1.deleg", A, "192.0.2.53"),
            ("sibling", NS, "ns.sibling.lab.voip."),
            ("ns.sibling", AAAA, "2001:db8::53"),
            ("deleg", TXT, "occluded"),
            ("x.y.deleg", TXT, "occluded"),
            ("old", DNAME, "new.lab.voip."),
            ("old", TXT, "itself"),
            ("a.new", A, "192.0.2.2"),
            ("@", MX, "10 mail.lab.voip."),
            ("mail", A, "192.0.2.25"),
            ("mail", AAAA, "2001:db8::25"),
            ("srv", SRV, "1 2 5060 x.wild.lab.voip."),
            ("srvout", SRV, "1 2 5060 ns1.deleg.lab.voip."),
            ("opaque", 65280, "\x01\x02"),
            ("empty", 65281, ""),
        ]),
        7,
    )
}

#[track_caller]
fn ask(owner: &str, qtype: u16) -> Reply {
    let owner = if owner.contains('.') && owner.ends_with('.') {
        owner.to_owned()
    } else {
        format!("{owner}.lab.voip")
    };
    Query::new(&owner, qtype).opt(1232, 0, b"").ask(&zones())
}

/// Owner, type and data of each record.
fn rrs(records: &[Rr]) -> Vec<(String, u16, String)> {
    let mut all: Vec<_> = records
        .iter()
        .map(|rr| (rr.owner.trim_end_matches(".lab.voip.").to_owned(), rr.rtype, rr.data.clone()))
        .collect();
    all.sort();
    all
}

fn rr(owner: &str, rtype: u16, data: &str) -> (String, u16, String) {
    (owner.to_owned(), rtype, data.to_owned())
}

#[track_caller]
fn assert_soa(reply: &Reply) {
    assert_eq!(reply.authorities.len(), 1);
    assert_eq!(
        (reply.authorities[0].rtype, reply.authorities[0].owner.as_str()),
        (SOA, "lab.voip.")
    );
}

#[test]
fn an_alias_is_answered_with_what_it_leads_to() {
    let reply = ask("alias2", A);
    let chain: Vec<_> = reply.answers.iter().map(|rr| (rr.owner.as_str(), rr.rtype)).collect();
    let expected =
        [("alias2.lab.voip.", CNAME), ("alias.lab.voip.", CNAME), ("VM40ic1.lab.voip.", A)];
    assert_eq!((chain, reply.aa(), reply.rcode), (expected.to_vec(), true, NOERROR));
    assert_eq!(reply.answers[0].ttl, 120);
    for qtype in [CNAME, ANY] {
        assert_eq!(rrs(&ask("alias2", qtype).answers), [rr("alias2", CNAME, "alias.lab.voip.")]);
    }
    // What is about the alias itself is not asked of its target.
    let reply = ask("alias", 47);
    assert!(reply.answers.is_empty());
    assert_soa(&reply);
    assert_eq!(ask("toptr", PTR).answers[1].data, "vm40ic1.lab.voip.");
}

#[test]
fn an_alias_of_nothing_is_nxdomain_with_the_alias_and_one_without_the_type_nodata() {
    let reply = ask("dangling", A);
    assert_eq!((reply.rcode, reply.aa()), (NXDOMAIN, true));
    assert_eq!(rrs(&reply.answers), [rr("dangling", CNAME, "nothere.lab.voip.")]);
    assert_soa(&reply);
    let reply = ask("nodata", TXT);
    assert_eq!((reply.rcode, reply.answers.len(), reply.aa()), (NOERROR, 1, true));
    assert_soa(&reply);
}

#[test]
fn an_alias_that_leads_out_of_our_zones_is_followed_by_whoever_may_and_wants_to() {
    let reply = ask("outside", A);
    assert_eq!((reply.rcode, reply.aa(), reply.authorities.len()), (NOERROR, true, 0));
    assert_eq!(rrs(&reply.answers), [rr("outside", CNAME, "www.example.com.")]);

    let query = Query::new("tolocal.lab.voip", A);
    let asked = forward(&zones(), &query, "10.250.1.20").unwrap();
    assert_eq!(asked.question.name.to_ascii(), "pc.lab.local.");
    // Without an answer from there, what we have is of no use; a SERVFAIL has clients ask somebody else.
    let failed = Reply::read(&asked.failed().encode().unwrap());
    assert_eq!((failed.rcode, failed.questions[0].0.as_str()), (SERVFAIL, "tolocal.lab.voip."));

    assert!(forward(&zones(), &query.clone().flags(0), "10.250.1.20").is_none(), "RD is clear");
    assert!(forward(&zones(), &query, "192.0.2.1").is_none(), "a stranger");
}

#[test]
fn aliases_in_a_circle_come_to_an_end() {
    for owner in ["loop1", "self"] {
        let reply = ask(owner, A);
        assert_eq!(reply.rcode, SERVFAIL, "{owner}");
        assert!(reply.answers.len() <= 2);
    }
    let chain: Vec<_> =
        (0..40).map(|n| (format!("c{n}"), format!("c{}.lab.voip.", n + 1))).collect();
    let records: Vec<_> = chain.iter().map(|(a, b)| (a.as_str(), CNAME, b.as_str())).collect();
    let reply = Query::new("c0.lab.voip", A).ask_tcp(&Zones::from_site(&lab_with(&records), 1));
    assert_eq!((reply.rcode, reply.answers.len()), (SERVFAIL, 16));
}

#[test]
fn a_wildcard_stands_for_names_that_are_not_there() {
    for owner in ["x.wild", "x.y.wild", "_sip._udp.wild", "*.wild"] {
        let reply = ask(owner, A);
        assert_eq!(rrs(&reply.answers), [rr(owner, A, "192.0.2.1")], "{owner}");
        assert!(reply.aa() && reply.authorities.is_empty());
    }
    let reply = ask("x.wild", SRV);
    assert_eq!((reply.rcode, reply.answers.len()), (NOERROR, 0));
    assert_soa(&reply);
    let reply = ask("any.calls", A);
    assert_eq!((reply.rcode, reply.answers.len()), (NOERROR, 3));
    assert_eq!(reply.answers[0].owner, "any.calls.lab.voip.");
    assert_eq!(
        rrs(&ask("any.calls", CNAME).answers),
        [rr("any.calls", CNAME, "provision.lab.voip.")]
    );
}

#[test]
fn a_wildcard_does_not_stand_for_what_exists_nor_for_what_is_below_that() {
    // RFC 4592 section 2.2.1: a name that exists, one below it, an empty non-terminal, one below that, and the
    // wildcard's own subtree.
    for (owner, rcode) in [
        ("there.wild", NOERROR),
        ("x.there.wild", NXDOMAIN),
        ("ent.wild", NOERROR),
        ("x.ent.wild", NXDOMAIN),
        ("x.b.ent.wild", NXDOMAIN),
        ("x.*.wild", NXDOMAIN),
        ("wild", NOERROR),
        ("calls", NOERROR),
    ] {
        let reply = ask(owner, A);
        assert_eq!((reply.rcode, reply.answers.len()), (rcode, 0), "{owner}");
        assert_soa(&reply);
    }
}

#[test]
fn a_delegation_is_a_referral_with_glue() {
    for owner in ["deleg", "x.deleg", "ns1.deleg", "x.y.deleg", "y.deleg"] {
        for qtype in [A, NS, SOA, TXT, ANY, CNAME] {
            let reply = ask(owner, qtype);
            assert_eq!(
                (reply.rcode, reply.aa(), reply.answers.len()),
                (NOERROR, false, 0),
                "{owner} {qtype}"
            );
            let servers = ["ns.example.com.", "ns.sibling.lab.voip.", "ns1.deleg.lab.voip."];
            assert_eq!(rrs(&reply.authorities), servers.map(|server| rr("deleg", NS, server)));
            let glue = [rr("ns.sibling", AAAA, "2001:db8::53"), rr("ns1.deleg", A, "192.0.2.53")];
            assert_eq!(rrs(&reply.additionals), glue);
        }
    }
    let reply = ask("x.deleg", DS);
    assert_eq!((reply.aa(), reply.authorities.len()), (false, 3), "below the cut");
    let reply = ask("deleg", DS);
    assert_eq!((reply.aa(), reply.answers.len()), (true, 1), "the parent's own");
    let reply = ask("sibling", DS);
    assert_eq!((reply.aa(), reply.answers.len()), (true, 0));
    assert_soa(&reply);
    // An alias of ours that leads there.
    let reply = ask("todeleg", A);
    assert_eq!((reply.rcode, reply.aa(), reply.answers.len()), (NOERROR, true, 1));
    assert_eq!(reply.authorities.len(), 3);
}

#[test]
fn a_referral_without_the_glue_that_is_needed_is_truncated() {
    let servers: Vec<_> =
        (0..12).map(|n| format!("a-long-name-of-a-server-{n}.far.lab.voip.")).collect();
    let owners: Vec<_> =
        servers.iter().map(|name| name.trim_end_matches(".lab.voip.").to_owned()).collect();
    let mut records: Vec<_> = servers.iter().map(|name| ("far", NS, name.as_str())).collect();
    records.extend(owners.iter().map(|owner| (owner.as_str(), A, "192.0.2.1")));
    let zones = Zones::from_site(&lab_with(&records), 1);
    let query = Query::new("x.far.lab.voip", A);
    let short = query.ask(&zones);
    assert!(short.tc() && short.wire.len() <= 512);
    let long = query.clone().opt(1232, 0, b"").ask(&zones);
    assert_eq!((long.tc(), long.additionals.len()), (false, 12));
    assert_eq!(query.ask_tcp(&zones).additionals.len(), 12);
}

#[test]
fn names_below_a_dname_are_renamed() {
    let reply = ask("a.old", A);
    let expected = [
        rr("a.new", A, "192.0.2.2"),
        rr("a.old", CNAME, "a.new.lab.voip."),
        rr("old", DNAME, "new.lab.voip."),
    ];
    assert_eq!((rrs(&reply.answers), reply.rcode, reply.aa()), (expected.to_vec(), NOERROR, true));
    assert_eq!(reply.answers[0].rtype, DNAME);
    let reply = ask("b.old", A);
    assert_eq!((reply.rcode, reply.answers.len()), (NXDOMAIN, 2));
    assert_soa(&reply);
    assert_eq!(rrs(&ask("old", TXT).answers).len(), 1, "the owner itself is not renamed");
    assert_eq!(ask("x.old", CNAME).answers.len(), 2);
    assert_eq!(rrs(&ask("old", DNAME).answers), [rr("old", DNAME, "new.lab.voip.")]);

    let long = [&["x".repeat(60).as_str(); 3].join("."), ".y"].concat();
    let far = format!("{}.lab.voip.", "z".repeat(63));
    let zones = Zones::from_site(&lab_with(&[("old", DNAME, &far)]), 1);
    let reply = Query::new(&format!("{long}.old.lab.voip"), A).ask(&zones);
    assert_eq!((reply.rcode, reply.answers.len()), (YXDOMAIN, 1));
}

#[test]
fn who_gets_a_name_to_look_up_next_gets_its_addresses_too() {
    let mail = [rr("mail", A, "192.0.2.25"), rr("mail", AAAA, "2001:db8::25")];
    assert_eq!(rrs(&Query::new("lab.voip", MX).ask(&zones()).additionals), mail);
    assert_eq!(rrs(&ask("srv", SRV).additionals), [rr("x.wild", A, "192.0.2.1")]);
    assert!(ask("srvout", SRV).additionals.is_empty(), "that address is somebody else's");
    assert!(ask("srv", ANY).additionals.is_empty(), "nobody asked for that much");
    assert!(Query::new("opaque.lab.voip", 65280).ask(&zones()).additionals.is_empty());
}

#[test]
fn types_nobody_knows_are_answered_as_octets() {
    assert_eq!(ask("opaque", 65280).answers[0].data, "0102");
    assert_eq!(ask("empty", 65281).answers[0].data, "");
    assert_eq!(ask("opaque", 65281).answers.len(), 0);
}

#[test]
fn the_soa_and_the_servers_of_the_zone_may_be_stated() {
    let mut site = lab_with(&[("@", NS, "primary.lab.voip."), ("@", NS, "other.example.com.")]);
    site.records.push(record(
        "lab.voip",
        SOA,
        600,
        "primary.lab.voip. admin.lab.voip. 1 2 3 4 120",
    ));
    site.records.push(record(
        "1.250.10.in-addr.arpa",
        SOA,
        30,
        "primary.lab.voip. admin.lab.voip. 1 2 3 4 120",
    ));
    let zones = Zones::from_site(&site, 99);
    let soa = Query::new("lab.voip", SOA).ask(&zones);
    let expected = "primary.lab.voip. admin.lab.voip. 99 minimum 120";
    assert_eq!((soa.data(), soa.answers[0].ttl), (vec![expected], 600), "but the serial is ours");
    let servers = Query::new("lab.voip", NS).ask(&zones);
    assert_eq!(servers.data(), ["other.example.com.", "primary.lab.voip."]);
    // RFC 2308 section 5: the smaller of the SOA's TTL and its minimum.
    for (owner, ttl) in
        [("x.lab.voip", 120), ("9.1.250.10.in-addr.arpa", 30), ("9.0.0.10.in-addr.arpa", 45)]
    {
        assert_eq!(Query::new(owner, A).ask(&zones).authorities[0].ttl, ttl, "{owner}");
    }
    let mut site = lab();
    site.dns.ttl = 20;
    let reply = Query::new("x.lab.voip", A).ask(&Zones::from_site(&site, 1));
    assert_eq!(reply.authorities[0].ttl, 20);
}

#[test]
fn stated_records_join_derived_ones_once() {
    let mut site = lab_with(&[
        ("vm40ic1", A, "10.250.1.151"),
        ("vm40ic1", TXT, "a server"),
        ("_sip._udp", SRV, "5 0 5060 mail.lab.voip."),
        ("ns1", A, "192.0.2.9"),
        ("provision", A, "10.250.1.151"),
    ]);
    site.records.push(record("151.1.250.10.in-addr.arpa", PTR, 60, "one.lab.voip."));
    let zones = Zones::from_site(&site, 1);
    let host = Query::new("vm40ic1.lab.voip", A).ask(&zones);
    assert_eq!((host.data(), host.answers[0].ttl), (vec!["10.250.1.151"], 120));
    assert_eq!(Query::new("_sip._udp.lab.voip", SRV).ask(&zones).answers.len(), 3);
    // A switchover's are short-lived, whoever else states them.
    let pair = Query::new("provision.lab.voip", A).ask(&zones);
    assert_eq!((pair.answers.len(), pair.answers[0].ttl), (2, 30));
    // The server needs a name, and this one is taken.
    assert_eq!(Query::new("lab.voip", NS).ask(&zones).data(), ["ns2.lab.voip."]);
    // What is said of an address by hand replaces what follows.
    assert_eq!(Query::new("151.1.250.10.in-addr.arpa", PTR).ask(&zones).data(), ["one.lab.voip."]);
}

#[test]
fn a_subnet_smaller_than_a_24_makes_no_more_ours_than_it_has() {
    let mut site = lab_with_subnets(&["10.250.1.128/26", "10.250.1.16/28"]);
    site.records = lab_with(&[("9.1.250.10.in-addr.arpa.", PTR, "stated.lab.voip.")]).records;
    site.dns.forward.insert(None, servers(&["192.0.2.1:53"]));
    let zones = Zones::from_site(&site, 1);
    let reverse = |last: &str| format!("{last}.1.250.10.in-addr.arpa");
    for last in ["128", "150", "191", "16", "31", "x.150"] {
        let query = Query::new(&reverse(last), PTR);
        let reply = reply(&zones, &query.bytes(), Transport::Udp, 0);
        assert_eq!((reply.rcode, reply.aa()), (NXDOMAIN, true), "{last}");
        assert_eq!(reply.authorities[0].owner, "1.250.10.in-addr.arpa.");
    }
    // Hosts and stated records are ours wherever they are.
    for (last, count) in [("151", 1), ("5", 1), ("6", 1), ("9", 1)] {
        let reply = Query::new(&reverse(last), PTR).ask(&zones);
        assert_eq!((reply.answers.len(), reply.aa()), (count, true), "{last}");
        assert_eq!(Query::new(&reverse(last), TXT).ask(&zones).rcode, NOERROR);
    }
    for last in ["127", "192", "1", "15", "32", "255", "x", "128-191", "0150", "x.200", "256"] {
        let query = Query::new(&reverse(last), PTR);
        assert!(forward(&zones, &query, "10.250.1.130").is_some(), "{last} is somebody else's");
        let stranger = Query::new(&reverse(last), PTR);
        assert!(forward(&zones, &stranger, "192.0.2.7").is_none());
    }
    assert_eq!(Query::new("1.250.10.in-addr.arpa", SOA).ask(&zones).answers.len(), 1);
    let whole = Zones::from_site(&lab_with_subnets(&["10.250.1.0/25", "10.250.1.128/25"]), 1);
    assert_eq!(Query::new(&reverse("77"), PTR).ask(&whole).rcode, NXDOMAIN);
    assert_eq!(Query::new(&reverse("x"), PTR).ask(&whole).rcode, NXDOMAIN);
}
