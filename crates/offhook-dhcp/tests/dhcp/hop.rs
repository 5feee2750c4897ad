//! The hop from the native to the voice VLAN.

use offhook_dhcp::NoReply;
use offhook_model::{Event, Lease, LeaseState};

use crate::support::*;

fn at<'a>(disk: &'a [Lease], address: &str) -> &'a Lease {
    disk.iter().find(|lease| lease.address == ip(address)).unwrap()
}

fn select(n: u8) -> Message {
    Message::request(mac(n)).with(50, [10, 250, 1, 20]).with(54, VOICE_ADDRESS.octets())
}

/// A phone, by whatever name it goes, with 10.0.0.100 in the native scope.
fn server_with_native_lease(name: Option<&[u8]>) -> Server {
    let mut server = Server::lab();
    let mut discover = Message::discover(mac(1));
    if let Some(name) = name {
        discover = discover.with(61, name);
    }
    assert_eq!(server.lease(ON_NATIVE, &discover).yiaddr(), ip("10.0.0.100"));
    server
}

#[test]
fn a_phone_that_has_arrived_leaves_no_lease_behind() {
    for name in [None, Some(&b"boot loader"[..])] {
        let mut server = server_with_native_lease(name);
        server.lease(ON_NATIVE, &Message::discover(mac(2)));
        let decision = server.decide(ON_VOICE, &select(1).bytes());
        assert_eq!(decision.writes.len(), 2);
        let events = server.commit(&decision);
        let [Event::Acknowledged(here), Event::Released(left)] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!((here.address, left.address), (ip("10.250.1.20"), ip("10.0.0.100")));
        assert_eq!((left.state, left.expires), (LeaseState::Released, server.now));
        assert_eq!(at(&server.disk, "10.0.0.100"), left);
        // Somebody else's is as it was.
        assert_eq!(at(&server.disk, "10.0.0.101").state, LeaseState::Bound);
        assert_eq!(server.core.unsettled_count(), 0);
        // Once, not with every renewal.
        let renewal =
            server.decide(ON_VOICE, &Message::request(mac(1)).using(ip("10.250.1.20")).bytes());
        assert_eq!(renewal.writes.len(), 1);
    }
}

#[test]
fn a_native_scope_may_become_one_while_phones_are_in_it() {
    let mut lab = site();
    lab.scopes[1].voice = None;
    let mut server = Server::new(lab);
    server.lease(ON_NATIVE, &Message::discover(mac(1)));
    server.core.set_site(site().into(), links(), server.now);
    let decision = server.decide(ON_VOICE, &select(1).bytes());
    server.commit(&decision);
    assert_eq!(at(&server.disk, "10.0.0.100").state, LeaseState::Released);
}

#[test]
fn a_crash_leaves_both_leases_or_one() {
    for written in [false, true] {
        let mut server = server_with_native_lease(None);
        let decision = server.decide(ON_VOICE, &select(1).bytes());
        if written {
            write(&mut server.disk, &decision.writes);
        }
        server.restart();
        let live = server.core.leases().filter(|lease| lease.is_live(server.now));
        let mut addresses: Vec<_> = live.map(|lease| lease.address).collect();
        addresses.sort_unstable();
        assert_eq!(addresses, [if written { ip("10.250.1.20") } else { ip("10.0.0.100") }]);
    }
}

#[test]
fn an_arrival_that_cannot_be_written_gives_nothing_back() {
    let mut server = server_with_native_lease(None);
    let decision = server.decide(ON_VOICE, &select(1).bytes());
    server.core.failed(decision.ticket.unwrap());
    let renewal = Message::request(mac(1)).using(ip("10.0.0.100"));
    assert_eq!(server.reply(ON_NATIVE, &renewal).message_type(), 5);
    let again = server.decide(ON_VOICE, &select(1).bytes());
    assert_eq!(server.commit(&again).len(), 2);
}

#[test]
fn an_arrival_before_the_native_lease_is_durable_gives_that_back_too() {
    let mut server = Server::lab();
    let native =
        Message::request(mac(1)).with(50, [10, 0, 0, 100]).with(54, NATIVE_ADDRESS.octets());
    let first = server.decide(ON_NATIVE, &native.bytes());
    let second = server.decide(ON_VOICE, &select(1).bytes());
    assert_eq!(second.writes.len(), 2);
    let told: Vec<_> =
        [first, second].iter().flat_map(|decision| server.commit(decision)).collect();
    assert!(matches!(
        told[..],
        [Event::Acknowledged(_), Event::Acknowledged(_), Event::Released(_)]
    ));
    assert_eq!(at(&server.disk, "10.0.0.100").state, LeaseState::Released);
    // The address is free again, and the phone finds it should it come back.
    assert_eq!(server.lease(ON_NATIVE, &Message::discover(mac(1))).yiaddr(), ip("10.0.0.100"));
    let release = Message::release(mac(1), ip("10.0.0.100"));
    assert_eq!(server.send(ON_NATIVE, &release), Err(NoReply::Released));
}

#[test]
fn what_is_given_back_survives_a_restart_and_a_reload() {
    let mut server = server_with_native_lease(Some(b"boot loader"));
    server.restart();
    let mut other = (*server.site).clone();
    other.scopes[1].voice = None;
    server.core.set_site(other.into(), links(), server.now);
    server.core.set_site(server.site.clone(), links(), server.now);
    let decision = server.decide(ON_VOICE, &select(1).bytes());
    assert_eq!(server.commit(&decision).len(), 2);
}

#[test]
fn a_phone_that_goes_back_while_its_request_waits_for_a_probe_keeps_what_it_was_given_there() {
    let mut lab = site();
    lab.scopes[0].probe = true;
    let mut server = Server::new(lab);
    assert_eq!(server.decide(ON_VOICE, &select(1).bytes()).reply, Err(NoReply::Probing));
    let native = server.lease(ON_NATIVE, &Message::discover(mac(1))).yiaddr();
    // Whatever is configured meanwhile: then it has to wait once more.
    server.core.set_site(server.site.clone(), links(), server.now);
    server.now = server.now + std::time::Duration::from_millis(100);
    let again = server.resume(ON_VOICE, &select(1).bytes());
    assert_eq!(again.reply, Err(NoReply::Probing));
    server.now = server.now + std::time::Duration::from_millis(100);
    let late = server.resume(ON_VOICE, &select(1).bytes());
    assert!(late.reply.is_ok());
    server.commit(&late);
    assert_eq!(at(&server.disk, &native.to_string()).state, LeaseState::Bound);
    // What it says from there on is the newest there is.
    let renewal = Message::request(mac(1)).using(ip("10.250.1.20"));
    assert!(server.send(ON_VOICE, &renewal).is_ok());
    assert_eq!(at(&server.disk, &native.to_string()).state, LeaseState::Released);
}
