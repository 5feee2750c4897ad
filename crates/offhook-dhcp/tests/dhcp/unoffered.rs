//! REQUESTs for addresses that were not offered: by clients that had an offer when the server was restarted, and by
//! those that use an address it has no record of.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use offhook_dhcp::{Core, Decision, NoReply, Probe, ProbeKind};
use offhook_model::{Mac, Site};

use crate::support::*;

const SQUATTER: Mac = Mac([2, 9, 9, 9, 9, 9]);
const A: Ipv4Addr = Ipv4Addr::new(10, 250, 1, 20);
const WAIT: Duration = Duration::from_millis(100);

fn probing() -> Server {
    let mut lab = site();
    lab.scopes[0].probe = true;
    Server::new(lab)
}

fn selecting(n: u8) -> Vec<u8> {
    Message::request(mac(n)).with(50, A.octets()).with(54, VOICE_ADDRESS.octets()).bytes()
}

fn message_type(decision: &Decision) -> u8 {
    Read::new(&decision.reply.as_ref().unwrap().bytes).message_type()
}

#[track_caller]
fn assert_waits(server: &mut Server, decision: &Decision) {
    assert_eq!(decision.reply, Err(NoReply::Probing));
    assert_eq!(decision.hold, Some(server.now + WAIT));
    assert_eq!((decision.ticket, decision.writes.len()), (None, 0));
    let probe = Probe { address: A, kind: ProbeKind::Arp { link: ON_VOICE } };
    assert!(server.core.probes(server.now).contains(&probe));
}

fn renewal(server: &mut Server, n: u8, destination: Ipv4Addr) -> Decision {
    let source = SocketAddrV4::new(A, 68);
    server.decide_from(ON_VOICE, source, destination, &Message::request(mac(n)).using(A).bytes())
}

#[test]
fn a_client_whose_offer_a_restart_forgot_has_its_address_once_it_is_known_to_be_free() {
    let mut server = probing();
    server.core.probes(server.now);
    server.now = server.now + WAIT;
    assert_eq!(server.reply(ON_VOICE, &Message::discover(mac(1))).yiaddr(), A);
    server.restart();
    let decision = server.decide(ON_VOICE, &selecting(1));
    assert_waits(&mut server, &decision);
    // Meanwhile nobody else is offered it, and who is impatient waits as well.
    assert_ne!(server.reply(ON_VOICE, &Message::discover(mac(2))).yiaddr(), A);
    let again = server.decide(ON_VOICE, &selecting(1));
    assert_eq!((again.reply, again.hold), (Err(NoReply::Probing), Some(server.now + WAIT)));
    server.now = server.now + WAIT;
    let decision = server.resume(ON_VOICE, &selecting(1));
    assert_eq!(message_type(&decision), 5);
    assert_eq!(server.commit(&decision).len(), 1);
}

#[test]
fn a_client_whose_offer_a_restart_forgot_is_refused_when_somebody_uses_its_address() {
    let mut server = probing();
    let decision = server.decide(ON_VOICE, &selecting(1));
    assert_waits(&mut server, &decision);
    let (ticket, writes) = server.core.in_use(server.now, A, Some(SQUATTER)).unwrap();
    write(&mut server.disk, &writes);
    server.core.committed(ticket);
    server.now = server.now + WAIT;
    assert_eq!(message_type(&server.resume(ON_VOICE, &selecting(1))), 6);
}

#[test]
fn an_offered_address_is_acknowledged_at_once() {
    let mut server = probing();
    let offer = server.decide(ON_VOICE, &Message::discover(mac(1)).bytes());
    assert_eq!(offer.trace.address, Some(A));
    assert_eq!(message_type(&server.decide(ON_VOICE, &selecting(1))), 5);
}

#[test]
fn what_a_client_is_told_to_wait_for_is_no_offer() {
    let mut server = probing();
    server.decide(ON_VOICE, &selecting(1));
    let other = Message::request(mac(1)).with(50, [10, 250, 1, 77]);
    let other = other.with(54, VOICE_ADDRESS.octets()).bytes();
    assert_eq!(server.decide(ON_VOICE, &other).reply, Err(NoReply::Probing));
    // The first address is anybody's again.
    assert_eq!(server.reply(ON_VOICE, &Message::discover(mac(2))).yiaddr(), A);
}

#[test]
fn a_restart_amid_a_storm_makes_few_wait_and_nobody_long() {
    let mut server = probing();
    let mut waiting = 0;
    for n in 0..130 {
        let request = Message::request(mac(n)).with(50, [10, 250, 1, 20 + n]);
        let request = request.with(54, VOICE_ADDRESS.octets());
        let decision = server.decide(ON_VOICE, &request.bytes());
        match decision.hold {
            Some(_) => waiting += 1,
            None => assert_eq!(message_type(&decision), 5),
        }
    }
    assert_eq!((waiting, server.core.probes(server.now).len()), (96, 96));
}

#[test]
fn a_client_that_uses_an_address_without_a_record_here_answers_for_it_itself_and_goes_on() {
    for destination in [VOICE_ADDRESS, BROADCAST] {
        let mut server = probing();
        let decision = renewal(&mut server, 1, destination);
        assert_waits(&mut server, &decision);
        assert_eq!(server.core.in_use(server.now, A, Some(mac(1))), None);
        server.now = server.now + WAIT;
        assert_eq!(message_type(&renewal(&mut server, 1, destination)), 5);
    }
}

#[test]
fn a_client_that_uses_an_address_somebody_else_answers_for_is_refused() {
    let mut server = probing();
    let decision = renewal(&mut server, 1, VOICE_ADDRESS);
    assert_waits(&mut server, &decision);
    assert_eq!(server.core.in_use(server.now, A, Some(mac(1))), None);
    assert!(server.core.in_use(server.now, A, Some(SQUATTER)).is_some());
    server.now = server.now + WAIT;
    assert_eq!(message_type(&renewal(&mut server, 1, VOICE_ADDRESS)), 6);
}

#[test]
fn behind_a_relay_an_echo_would_tell_nothing_of_a_client_that_uses_its_address() {
    let mut lab: Site = site();
    lab.scopes[0].probe = true;
    lab.scopes[0].interface = None;
    let mut server = Server::new(lab);
    server.core = Core::new(server.site.clone(), links()[1..].to_vec(), Vec::new(), server.now);
    let source = SocketAddrV4::new(A, 68);
    let request = Message::request(mac(1)).using(A);
    let decision = server.decide_from(0, source, NATIVE_ADDRESS, &request.bytes());
    assert_eq!(message_type(&decision), 5);
    // One that does not use it yet waits for the echo.
    let relay = ip("10.250.1.1");
    let selecting = Message::request(mac(2)).through(relay).with(50, [10, 250, 1, 21]);
    let selecting = selecting.with(54, NATIVE_ADDRESS.octets()).bytes();
    let source = SocketAddrV4::new(relay, 67);
    let decision = server.decide_from(0, source, NATIVE_ADDRESS, &selecting);
    assert_eq!(decision.reply, Err(NoReply::Probing));
    assert!(server.core.probes(server.now).iter().all(|probe| probe.kind == ProbeKind::Icmp));
}

#[test]
fn a_client_without_a_record_here_asks_any_server_in_vain_where_another_may_know_it() {
    let mut lab = site();
    lab.scopes[0].authoritative = false;
    let mut server = Server::new(lab);
    assert_eq!(renewal(&mut server, 1, BROADCAST).reply, Err(NoReply::UnknownClient));
    // Who writes to us alone had it from here.
    assert_eq!(message_type(&renewal(&mut server, 1, VOICE_ADDRESS)), 5);
}

#[test]
fn a_client_without_a_record_here_goes_on_with_a_reserved_address_and_is_not_cut_off() {
    let mut lab = site();
    lab.scopes[0].reserved_share = 100;
    lab.scopes[0].pools = vec!["10.250.1.20-10.250.1.20".parse().unwrap()];
    let mut server = Server::new(lab);
    assert_eq!(renewal(&mut server, 1, VOICE_ADDRESS).reply, Err(NoReply::ReservedShare));
}

#[test]
fn a_message_handed_over_again_is_not_counted_twice() {
    let mut lab = site();
    lab.scopes[0].probe = true;
    lab.dhcp.client_rate = 1;
    let mut server = Server::new(lab);
    for _ in 0..4 {
        assert_eq!(server.decide(ON_VOICE, &selecting(1)).reply, Err(NoReply::Probing));
    }
    assert_eq!(server.decide(ON_VOICE, &selecting(1)).reply, Err(NoReply::RateLimited));
    server.now = server.now + WAIT;
    assert_eq!(message_type(&server.resume(ON_VOICE, &selecting(1))), 5);
}

#[test]
fn a_client_that_goes_on_with_what_it_has_while_its_request_for_another_waits_keeps_that() {
    let mut server = probing();
    let own = server.lease(ON_VOICE, &Message::discover(mac(1))).yiaddr();
    let other = Message::request(mac(1)).with(50, [10, 250, 1, 77]);
    let other = other.with(54, VOICE_ADDRESS.octets()).bytes();
    assert_eq!(server.decide(ON_VOICE, &other).reply, Err(NoReply::Probing));
    let renewed = server.reply(ON_VOICE, &Message::request(mac(1)).using(own));
    assert_eq!((renewed.message_type(), renewed.yiaddr()), (5, own));
    server.now = server.now + WAIT;
    assert_eq!(server.resume(ON_VOICE, &other).reply, Err(NoReply::Superseded));
    let held: Vec<_> = server.disk.iter().map(|lease| lease.address).collect();
    assert_eq!(held, [own]);
}
