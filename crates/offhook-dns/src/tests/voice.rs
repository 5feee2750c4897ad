//! What a voice zone has beside hosts: NAPTR, several switchovers, proxy pools, IPv6 addresses.

use offhook_model::{Origin, Proxy, SipPorts, Switchover};

use super::support::*;
use crate::Zones;

fn origin() -> Origin {
    Origin::default("test")
}

#[test]
fn a_naptr_answer_carries_the_services_and_their_servers() {
    let reply = Query::new("lab.voip", NAPTR).opt(1232, 0, b"").ask_lab();
    let services: Vec<_> = reply.answers.iter().map(|rr| rr.data.as_str()).collect();
    assert_eq!(services.len(), 3);
    assert!(services.is_sorted(), "UDP before TCP before TLS: {services:?}");
    let of_type = |rtype| reply.additionals.iter().filter(move |rr| rr.rtype == rtype).count();
    assert_eq!((of_type(SRV), of_type(A)), (6, 2));
}

#[test]
fn transports_without_a_port_have_no_naptr_and_it_can_be_switched_off() {
    let mut site = lab();
    site.switchovers[0].sip = SipPorts { udp: None, tcp: Some(5060), tls: None };
    let reply = Query::new("lab.voip", NAPTR).ask(&Zones::from_site(&site, 1));
    assert_eq!(reply.data(), ["20 50 \"s\" \"SIP+D2T\" \"\" _sip._tcp.lab.voip."]);
    site.dns.naptr = false;
    let reply = Query::new("lab.voip", NAPTR).ask(&Zones::from_site(&site, 1));
    assert_eq!((reply.rcode, reply.answers.len()), (NOERROR, 0));

    let mine = "5 5 \"s\" \"SIP+D2U\" \"\" _sip._udp.lab.voip.";
    let stated = Zones::from_site(&lab_with(&[("@", NAPTR, mine)]), 1);
    assert_eq!(Query::new("lab.voip", NAPTR).ask(&stated).data(), [mine], "it replaces ours");
}

#[test]
fn another_sites_pair_comes_after_ours() {
    let mut site = lab();
    let pair = [("bc1.lab.voip", [10, 251, 1, 151]), ("bc2.lab.voip", [10, 251, 1, 152])];
    site.hosts.extend(pair.map(|(label, address)| host(label, address)));
    site.switchovers.push(Switchover {
        sip: SipPorts { udp: Some(8060), ..SipPorts::default() },
        priority: 10,
        weight: 3,
        ttl: 7,
        ..Switchover::new(
            name("provision-bc.lab.voip"),
            pair.map(|(label, address)| (name(label), address.into())).to_vec(),
            origin(),
        )
    });
    let zones = Zones::from_site(&site, 1);
    let services = Query::new("_sip._udp.lab.voip", SRV).ask(&zones);
    assert_eq!(
        services.data(),
        [
            "0 0 8060 vm40ic1.lab.voip.",
            "0 0 8060 vm40ic2.lab.voip.",
            "10 3 8060 bc1.lab.voip.",
            "10 3 8060 bc2.lab.voip."
        ]
    );
    // One set, one TTL: the shorter one.
    assert!(services.answers.iter().all(|rr| rr.ttl == 7));
    assert_eq!(Query::new("_sip._tcp.lab.voip", SRV).ask(&zones).answers.len(), 2);
    let provision = Query::new("provision-bc.lab.voip", A).ask(&zones);
    assert_eq!(
        (provision.data(), provision.answers[0].ttl),
        (vec!["10.251.1.151", "10.251.1.152"], 7)
    );
    assert_eq!(Query::new("lab.voip", NAPTR).ask(&zones).answers.len(), 3);
    assert_eq!(Query::new("151.1.251.10.in-addr.arpa", PTR).ask(&zones).data(), ["bc1.lab.voip."]);
}

#[test]
fn a_proxy_pool_is_one_name_with_many_addresses_and_services_of_its_own() {
    let mut site = lab();
    let hosts: Vec<_> = (1..=40).map(|n| (format!("p{n}.lab.voip"), [10, 250, 1, n])).collect();
    site.hosts.extend(hosts.iter().map(|(label, address)| host(label, *address)));
    site.proxies.push(Proxy {
        name: name("proxies.lab.voip"),
        hosts: hosts.iter().map(|(label, address)| (name(label), (*address).into())).collect(),
        sip: SipPorts { udp: Some(5060), ..SipPorts::default() },
        ttl: 15,
        health: None,
        order: offhook_model::Order::Random,
        origin: origin(),
    });
    let zones = Zones::from_site(&site, 1);
    let query = Query::new("proxies.lab.voip", A);
    let small = query.ask(&zones);
    assert!(small.tc() && small.wire.len() <= 512);
    let whole = query.opt(1232, 0, b"").ask(&zones);
    assert_eq!((whole.tc(), whole.answers.len(), whole.answers[0].ttl), (false, 40, 15));
    let srv = Query::new("_sip._udp.proxies.lab.voip", SRV).ask_tcp(&zones);
    assert_eq!((srv.answers.len(), srv.additionals.len()), (40, 40));
    let naptr = Query::new("proxies.lab.voip", NAPTR).ask(&zones);
    assert_eq!(naptr.data(), ["10 50 \"s\" \"SIP+D2U\" \"\" _sip._udp.proxies.lab.voip."]);
    // The zone's own services are those of the pair alone.
    assert_eq!(Query::new("_sip._udp.lab.voip", SRV).ask(&zones).answers.len(), 2);
}

#[test]
fn a_host_with_an_ipv6_address_is_found_by_it() {
    let mut site = lab();
    site.hosts[0].ipv6 = Some("2001:db8::151".parse().unwrap());
    let zones = Zones::from_site(&site, 1);
    let reply = Query::new("vm40ic1.lab.voip", AAAA).ask(&zones);
    assert_eq!((reply.rcode, reply.answers.len()), (NOERROR, 1));
    let reverse = format!("1.5.1.0.{}8.b.d.0.1.0.0.2.ip6.arpa", "0.".repeat(20));
    let ptr = Query::new(&reverse, PTR).ask(&zones);
    assert_eq!((ptr.data(), ptr.aa()), (vec!["vm40ic1.lab.voip."], true));
    let other = reverse.replacen('1', "2", 1);
    assert_eq!(Query::new(&other, PTR).ask(&zones).rcode, REFUSED, "no more than that is ours");
    let services = Query::new("_sip._udp.lab.voip", SRV).ask(&zones);
    assert_eq!(services.additionals.iter().filter(|rr| rr.rtype == AAAA).count(), 1);
}

#[test]
fn what_is_changed_is_served_and_nothing_else() {
    use hickory_proto::rr::rdata;
    use hickory_proto::rr::{Name, RData, RecordType};
    let before = Zones::from_site(&lab(), 1);
    let owner = Name::from_ascii("a.phone.lab.voip.").unwrap();
    let address = |last| RData::A(rdata::A::new(10, 250, 1, last));
    let mut zones = before.clone();
    assert!(zones.add_record(&owner, 60, address(20)));
    assert!(!zones.add_record(&owner, 60, address(20)), "it is there");
    assert!(zones.add_record(&owner, 30, address(20)), "its TTL is not");
    assert!(!zones.add_record(&Name::from_ascii("x.example.").unwrap(), 30, address(20)));
    assert_eq!(Query::new("a.phone.lab.voip", A).ask(&zones).data(), ["10.250.1.20"]);
    assert_eq!(Query::new("phone.lab.voip", A).ask(&zones).rcode, NOERROR);
    assert_eq!(Query::new("phone.lab.voip", A).ask(&before).rcode, NXDOMAIN);

    // Two ahead of the third, each of them first as often as the other.
    assert!(zones.set_records(&owner, 5, vec![address(1), address(2), address(3)], 2));
    assert!(!zones.set_records(&owner, 5, vec![address(1), address(2), address(3)], 2));
    let mut firsts = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let query = Query::new("a.phone.lab.voip", A).bytes();
        let reply = reply(&zones, &query, crate::Transport::Udp, seed);
        assert_eq!(reply.answers[2].data, "10.250.1.3");
        firsts.insert(reply.answers[0].data.clone());
    }
    assert_eq!(firsts.len(), 2);

    assert!(!zones.remove_record(&owner, &address(9)));
    assert!(zones.remove_record(&owner, &address(1)));
    assert!(zones.remove_records(&owner, RecordType::A));
    assert!(!zones.remove_records(&owner, RecordType::A));
    assert_eq!(Query::new("phone.lab.voip", A).ask(&zones).rcode, NXDOMAIN);
    assert_eq!(zones.names(), before.names());
    let apex = Name::from_ascii("lab.voip.").unwrap();
    assert!(!zones.remove_records(&apex, RecordType::SOA));
}
