//! Which zones and names follow from a site.

use hickory_proto::rr::{Name, RecordType};
use offhook_model::Site;

use super::support::*;
use crate::Zones;

fn reverse_apexes(subnets: &[&str]) -> Vec<String> {
    let mut site = lab_with_subnets(subnets);
    site.hosts.clear();
    site.switchovers.clear();
    site.dns.listen.clear();
    let mut apexes: Vec<_> = Zones::from_site(&site, 1).apexes().skip(1).collect();
    apexes.sort();
    apexes
}

#[test]
fn zones_have_the_same_records_in_whatever_order_and_not_when_anything_is_otherwise() {
    let zones = |site: &Site| Zones::from_site(site, 1);
    let same = lab();
    let mut turned = lab();
    turned.hosts.reverse();
    turned.switchovers[0].hosts.reverse();
    turned.dns.access.refusal_limit = 99;
    turned.dns.forward.clear();
    assert!(zones(&turned).has_records_of(&zones(&same)));
    let changes: [fn(&mut Site); 8] = [
        |site| site.hosts[0].address = [10, 250, 1, 99].into(),
        |site| site.hosts.push(host("more.lab.voip", [10, 250, 1, 98])),
        |site| site.hosts.truncate(2),
        |site| site.switchovers[0].ttl = 7,
        |site| site.dns.ttl = 7,
        |site| site.dns.negative_ttl = 7,
        |site| site.dns.naptr = false,
        |site| site.scopes[0].subnet = "10.250.0.0/23".parse().unwrap(),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut other = lab();
        change(&mut other);
        assert_ne!(other, same, "{number}");
        assert!(!zones(&other).has_records_of(&zones(&same)), "{number}");
        assert!(!zones(&same).has_records_of(&zones(&other)), "{number}");
    }
    // Some go before the others.
    let mut ranked = zones(&same);
    let owner = Name::from_ascii("provision.lab.voip.").unwrap();
    let set = ranked.rrset(&owner, RecordType::A).unwrap().clone();
    assert!(ranked.set_records(&owner, set.ttl, set.data.clone(), 1));
    assert!(!ranked.has_records_of(&zones(&same)));
    let mut other = zones(&same);
    other.set_records(&owner, set.ttl, set.data.iter().rev().cloned().collect(), 1);
    assert!(!ranked.has_records_of(&other));
}

#[test]
fn reverse_zones_cover_the_scopes_in_whole_octets() {
    assert_eq!(reverse_apexes(&["10.250.1.0/24"]), ["1.250.10.in-addr.arpa."]);
    assert_eq!(
        reverse_apexes(&["10.250.2.0/23"]),
        ["2.250.10.in-addr.arpa.", "3.250.10.in-addr.arpa."]
    );
    assert_eq!(reverse_apexes(&["10.250.0.0/16"]), ["250.10.in-addr.arpa."]);
    assert_eq!(reverse_apexes(&["192.0.2.64/26"]), ["2.0.192.in-addr.arpa."]);
    assert_eq!(reverse_apexes(&["10.4.0.0/15"]), ["4.10.in-addr.arpa.", "5.10.in-addr.arpa."]);
    assert_eq!(reverse_apexes(&["10.0.0.0/8"]), ["10.in-addr.arpa."]);
    assert_eq!(reverse_apexes(&["10.0.0.0/17"]).len(), 128);
    assert_eq!(reverse_apexes(&["0.0.0.0/0"]).len(), 256);
}

#[test]
fn a_reverse_zone_inside_another_is_one_with_it() {
    assert_eq!(
        reverse_apexes(&["10.250.1.0/24", "10.250.0.0/16", "10.250.1.128/25", "10.3.0.0/24"]),
        ["0.3.10.in-addr.arpa.", "250.10.in-addr.arpa."]
    );
}

#[test]
fn a_host_outside_every_scope_is_a_zone_of_its_own() {
    let mut site = lab();
    site.hosts.push(host("far.lab.voip", [192, 0, 2, 9]));
    let zones = Zones::from_site(&site, 1);
    let reply = Query::new("9.2.0.192.in-addr.arpa", PTR).ask(&zones);
    assert_eq!((reply.rcode, reply.data()), (NOERROR, vec!["far.lab.voip."]));
    assert_eq!(Query::new("9.2.0.192.in-addr.arpa", SOA).ask(&zones).answers.len(), 1);
    for not_ours in ["8.2.0.192.in-addr.arpa", "2.0.192.in-addr.arpa"] {
        assert_eq!(Query::new(not_ours, PTR).ask(&zones).rcode, REFUSED, "{not_ours}");
    }
}

#[test]
fn a_host_at_the_listeners_address_is_the_name_server() {
    let mut site = lab();
    site.hosts.push(host("appliance.lab.voip", [10, 250, 1, 5]));
    let zones = Zones::from_site(&site, 1);
    for zone in ["lab.voip", "1.250.10.in-addr.arpa"] {
        assert_eq!(Query::new(zone, NS).ask(&zones).data(), ["appliance.lab.voip."]);
    }
    assert_eq!(Query::new("ns1.lab.voip", A).ask(&zones).rcode, NXDOMAIN);
    let soa = Query::new("lab.voip", SOA).ask(&zones);
    assert!(soa.answers[0].data.starts_with("appliance.lab.voip. "));
}

#[test]
fn every_other_listener_has_an_address_record_and_a_ptr() {
    let mut site = lab();
    site.dns.listen = servers(&["10.250.1.5:53", "10.0.0.11:53", "[2001:db8::5]:53"]);
    site.hosts.push(host("ns1.lab.voip", [10, 250, 1, 9]));
    let zones = Zones::from_site(&site, 1);
    assert_eq!(Query::new("lab.voip", NS).ask(&zones).data(), ["ns2.lab.voip."]);
    assert_eq!(Query::new("ns2.lab.voip", A).ask(&zones).data(), ["10.0.0.11", "10.250.1.5"]);
    assert_eq!(Query::new("ns2.lab.voip", AAAA).ask(&zones).answers.len(), 1);
    let ptr = Query::new("11.0.0.10.in-addr.arpa", PTR).ask(&zones);
    assert_eq!(ptr.data(), ["ns2.lab.voip."]);
}

#[test]
fn transports_without_a_port_have_no_srv_records() {
    let mut site = lab();
    site.switchovers[0].sip.tcp = None;
    let zones = Zones::from_site(&site, 1);
    assert_eq!(Query::new("_sip._tcp.lab.voip", SRV).ask(&zones).rcode, NXDOMAIN);
    assert_eq!(Query::new("_sips._tcp.lab.voip", SRV).ask(&zones).answers.len(), 2);
    assert_eq!(Query::new("_tcp.lab.voip", A).ask(&zones).rcode, NOERROR);
}

#[test]
fn negatives_are_never_remembered_for_more_than_a_minute() {
    let mut site = lab();
    site.dns.negative_ttl = 3600;
    let reply = Query::new("nothere.lab.voip", A).ask(&Zones::from_site(&site, 1));
    assert_eq!(reply.authorities[0].ttl, 60);
    assert!(reply.authorities[0].data.ends_with("minimum 60"));
}

#[test]
fn a_changed_copy_of_a_large_zone_leaves_the_original_alone() {
    let mut site = lab();
    for number in 0..20_000u32 {
        let [_, a, b, c] = number.to_be_bytes();
        site.hosts.push(host(&format!("phone{number}.lab.voip"), [10, 100 + a, b, c]));
    }
    site.scopes.push(lab_with_subnets(&["10.100.0.0/16"]).scopes.remove(0));
    let zones = Zones::from_site(&site, 1);
    let mut changed = zones.clone();
    let name = hickory_proto::rr::Name::from_ascii("new.lab.voip.").unwrap();
    let data = hickory_proto::rr::rdata::A::new(10, 250, 1, 33);
    assert!(changed.add_record(&name, 60, hickory_proto::rr::RData::A(data)));
    assert_eq!(Query::new("new.lab.voip", A).ask(&changed).data(), ["10.250.1.33"]);
    assert_eq!(Query::new("new.lab.voip", A).ask(&zones).rcode, NXDOMAIN);
    assert_eq!(Query::new("phone19999.lab.voip", A).ask(&changed).answers.len(), 1);
    // Its own, and the apex's, which counts what is below it.
    assert_eq!(changed.nodes.parts_not_shared_with(&zones.nodes), 2);
}
