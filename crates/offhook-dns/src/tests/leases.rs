//! Names of leases beside those of the configuration.

use std::net::Ipv4Addr;
use std::time::Duration;

use hickory_proto::rr::rdata::{A as Address, CNAME, NS as Server, PTR as Pointer};
use hickory_proto::rr::{Name, RData};
use offhook_model::{ClientId, HardwareAddress, Lease, LeaseState, Mac, Time};

use super::support::*;
use crate::{NameBook, NameRules, Zones};

pub(super) const NOW: Time = Time::from_secs(1_000_000);

pub(super) fn lease(address: [u8; 4], mac: u8, host: &str) -> Lease {
    let hardware = HardwareAddress::from(Mac([0, 0x90, 0x8f, 0, 0, mac]));
    Lease {
        address: address.into(),
        client: ClientId::Hardware(hardware),
        hardware,
        state: LeaseState::Bound,
        since: NOW,
        expires: NOW + Duration::from_secs(3600),
        scope: "voice".into(),
        class: Some("440HD".into()),
        host_name: Some(host.as_bytes().into()),
    }
}

fn full(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

/// What the zones answer with these leases.
fn with(mut zones: Zones, leases: &[Lease]) -> Zones {
    let rules = NameRules { models: true, hosts: true, ttl: 300 };
    let mut book = NameBook::new(&name("lab.voip"), rules);
    for lease in leases {
        book.put(NOW, lease, |wire| zones.is_taken(wire));
    }
    zones.set_lease_names(book.names().clone());
    zones
}

fn site() -> Zones {
    Zones::from_site(&lab(), 7)
}

#[test]
fn a_lease_is_answered_for_as_any_other_name() {
    let zones = with(site(), &[lease([10, 250, 1, 20], 1, "Desk")]);
    for owner in ["440hd-00908f000001.lab.voip", "desk.lab.voip", "DESK.lab.VOIP"] {
        let reply = Query::new(owner, A).ask(&zones);
        assert_eq!((reply.rcode, reply.aa(), reply.data()), (NOERROR, true, vec!["10.250.1.20"]));
        assert_eq!(reply.answers[0].ttl, 60);
        assert_eq!(Query::new(owner, ANY).ask(&zones).data(), ["10.250.1.20"]);
        for qtype in [AAAA, SRV, NAPTR] {
            let reply = Query::new(owner, qtype).ask(&zones);
            assert_eq!(
                (reply.rcode, reply.answers.len(), reply.authorities.len()),
                (NOERROR, 0, 1)
            );
        }
    }
    let reply = Query::new("20.1.250.10.in-addr.arpa", PTR).ask(&zones);
    assert_eq!((reply.aa(), reply.data()), (true, vec!["desk.lab.voip."]));
    for missing in
        ["x.desk.lab.voip", "desk.lab", "21.1.250.10.in-addr.arpa", "020.1.250.10.in-addr.arpa"]
    {
        assert_ne!(Query::new(missing, A).ask(&zones).rcode, NOERROR, "{missing}");
    }
    let gone = with(zones, &[]);
    assert_eq!(Query::new("desk.lab.voip", A).ask(&gone).rcode, NXDOMAIN);
    assert_eq!(Query::new("20.1.250.10.in-addr.arpa", PTR).ask(&gone).rcode, NXDOMAIN);
}

#[test]
fn what_the_configuration_has_comes_first() {
    let mut zones = site();
    let other = RData::PTR(Pointer(full("printer.lab.voip.")));
    assert!(zones.add_record(&full("22.1.250.10.in-addr.arpa."), 300, other));
    let zones = with(
        zones,
        &[
            lease([10, 250, 1, 20], 1, "vm40ic1"),
            lease([10, 250, 1, 21], 2, "_udp"),
            lease([10, 250, 1, 22], 3, "desk"),
        ],
    );
    assert_eq!(Query::new("vm40ic1.lab.voip", A).ask(&zones).data(), ["10.250.1.151"]);
    let pointer = |last: u8| {
        let owner = format!("{last}.1.250.10.in-addr.arpa");
        Query::new(&owner, PTR).ask(&zones).data().concat()
    };
    assert_eq!(pointer(20), "440hd-00908f000001.lab.voip.");
    assert_eq!(pointer(21), "udp.lab.voip.");
    assert_eq!(pointer(22), "printer.lab.voip.");
    assert_eq!(Query::new("_udp.lab.voip", A).ask(&zones).rcode, NOERROR);
    assert_eq!(Query::new("desk.lab.voip", A).ask(&zones).data(), ["10.250.1.22"]);
}

#[test]
fn names_of_leases_stop_wildcards_and_end_aliases() {
    let mut zones = site();
    let elsewhere = RData::A(Address(Ipv4Addr::new(10, 250, 1, 99)));
    zones.add_record(&full("*.lab.voip."), 300, elsewhere);
    zones.add_record(
        &full("reception.lab.voip."),
        300,
        RData::CNAME(CNAME(full("desk.lab.voip."))),
    );
    let zones = with(zones, &[lease([10, 250, 1, 20], 1, "desk")]);
    assert_eq!(Query::new("desk.lab.voip", A).ask(&zones).data(), ["10.250.1.20"]);
    assert_eq!(Query::new("other.lab.voip", A).ask(&zones).data(), ["10.250.1.99"]);
    assert_eq!(Query::new("x.other.lab.voip", A).ask(&zones).data(), ["10.250.1.99"]);
    // RFC 4592 section 2.2.1: the closest encloser is the lease's name, and that has no wildcard.
    assert_eq!(Query::new("x.desk.lab.voip", A).ask(&zones).rcode, NXDOMAIN);
    let reply = Query::new("reception.lab.voip", A).ask(&zones);
    assert_eq!(reply.answers.len(), 2);
    assert_eq!(reply.answers[1].data, "10.250.1.20");
}

#[test]
fn a_lease_gets_no_name_that_was_given_away() {
    let mut zones = site();
    zones.add_record(&full("desk.lab.voip."), 300, RData::NS(Server(full("ns.example.com."))));
    let zones = with(zones, &[lease([10, 250, 1, 20], 1, "desk")]);
    let reply = Query::new("desk.lab.voip", A).ask(&zones);
    assert_eq!((reply.aa(), reply.answers.len(), reply.authorities[0].rtype), (false, 0, NS));
    let pointer = Query::new("20.1.250.10.in-addr.arpa", PTR).ask(&zones);
    assert_eq!(pointer.data(), ["440hd-00908f000001.lab.voip."]);
}

#[test]
fn names_between_a_wide_reverse_zone_and_a_lease_exist() {
    let site = everybody(lab_with_subnets(&["10.32.0.0/16"]));
    let zones = Zones::from_site(&site, 7);
    let between = Query::new("5.32.10.in-addr.arpa", PTR);
    assert_eq!(between.ask(&zones).rcode, NXDOMAIN);
    let zones = with(zones, &[lease([10, 32, 5, 20], 1, "desk")]);
    let reply = between.ask(&zones);
    assert_eq!((reply.rcode, reply.answers.len()), (NOERROR, 0));
    assert_eq!(Query::new("6.32.10.in-addr.arpa", PTR).ask(&zones).rcode, NXDOMAIN);
    assert_eq!(Query::new("20.5.32.10.in-addr.arpa", PTR).ask(&zones).data(), ["desk.lab.voip."]);
}

#[test]
fn a_change_of_names_shares_everything_else() {
    let before = site();
    let after = with(before.clone(), &[lease([10, 250, 1, 20], 1, "desk")]);
    assert!(std::sync::Arc::ptr_eq(&before.nodes, &after.nodes));
    assert_eq!((before.lease_names().len(), after.lease_names().len()), (0, 2));
}
