//! Addresses kept for a phone, whatever it is known by.

use offhook_dhcp::NoReply;
use offhook_model::{Phone, PhoneKey, Site};

use crate::support::*;

fn keyed(key: PhoneKey, address: &str) -> Phone {
    Phone { key, ..phone(mac(0), Some(address), Vec::new()) }
}

/// 20 (in the pool) by client identifier, 200 (outside) by circuit.
fn kept() -> Site {
    let mut lab = site();
    lab.phones = vec![
        keyed(PhoneKey::ClientId(b"lobby"[..].into()), "10.250.1.20"),
        keyed(PhoneKey::CircuitId(b"ge-0/0/7"[..].into()), "10.250.1.200"),
    ];
    lab
}

fn on_port(n: u8) -> Message {
    let agent = [&[1, 8][..], b"ge-0/0/7"].concat();
    Message::discover(mac(n)).through(ip("10.250.1.1")).with(82, agent)
}

fn lobby(n: u8) -> Message {
    Message::discover(mac(n)).with(61, b"lobby")
}

#[test]
fn an_address_is_kept_for_a_client_identifier_whatever_the_hardware() {
    let mut server = Server::new(kept());
    assert_eq!(server.lease(ON_VOICE, &Message::discover(mac(9))).yiaddr(), ip("10.250.1.21"));
    assert_eq!(server.lease(ON_VOICE, &lobby(1)).yiaddr(), ip("10.250.1.20"));
    assert_eq!(server.lease(ON_VOICE, &lobby(2)).yiaddr(), ip("10.250.1.20"));
    let other =
        Message::request(mac(9)).with(50, [10, 250, 1, 20]).with(54, VOICE_ADDRESS.octets());
    assert_eq!(server.reply(ON_VOICE, &other).message_type(), 6);
}

#[test]
fn an_address_is_kept_for_a_circuit_and_one_client_of_it_at_a_time() {
    let mut server = Server::new(kept());
    assert_eq!(server.lease(ON_VOICE, &on_port(1)).yiaddr(), ip("10.250.1.200"));
    // Behind the phone: the circuit's address is in use.
    let second = server.lease(ON_VOICE, &on_port(2)).yiaddr();
    assert_ne!(second, ip("10.250.1.200"));
    let renewal = Message::request(mac(1)).using(ip("10.250.1.200"));
    let agent = [&[1, 8][..], b"ge-0/0/7"].concat();
    let renewed = server.reply(ON_VOICE, &renewal.with(82, agent).through(ip("10.250.1.1")));
    assert_eq!(renewed.message_type(), 5);
    // Unplugged, and another in its place.
    let release = Message::release(mac(1), ip("10.250.1.200"));
    assert_eq!(server.send(ON_VOICE, &release), Err(NoReply::Released));
    assert_eq!(server.lease(ON_VOICE, &on_port(3)).yiaddr(), ip("10.250.1.200"));
}

#[test]
fn an_address_is_kept_for_a_remote_end_or_a_port_of_it_and_its_holder_renews_past_the_relay() {
    let mut lab = site();
    let (remote, circuit) = (b"floor-3"[..].into(), b"7"[..].into());
    lab.phones = vec![
        keyed(PhoneKey::RemoteId(b"modem 9"[..].into()), "10.250.1.20"),
        keyed(PhoneKey::Port { remote, circuit }, "10.250.1.200"),
    ];
    let mut server = Server::new(lab);
    let behind = |n, agent: &[u8]| {
        let message = Message::discover(mac(n)).through(ip("10.250.1.1"));
        message.with(82, agent)
    };
    let cases: [(u8, &[u8], &str); 5] = [
        // Whatever the order of the sub-options.
        (1, b"\x01\x017\x02\x07modem 9", "10.250.1.20"),
        (2, b"\x02\x07floor-3\x01\x017", "10.250.1.200"),
        // The same port of another switch, another port of this one, and none.
        (3, b"\x02\x07floor-4\x01\x017", "10.250.1.21"),
        (4, b"\x02\x07floor-3\x01\x018", "10.250.1.22"),
        (5, b"\x02\x07floor-3", "10.250.1.23"),
    ];
    for (n, agent, address) in cases {
        assert_eq!(server.lease(ON_VOICE, &behind(n, agent)).yiaddr(), ip(address), "{n}");
    }
    for (n, _, address) in cases {
        let renewal = Message::request(mac(n)).using(ip(address));
        assert_eq!(server.reply(ON_VOICE, &renewal).message_type(), 5, "{n}");
    }
}

#[test]
fn a_renewal_sent_straight_to_us_says_no_circuit_and_is_the_holders_all_the_same() {
    let mut server = Server::new(kept());
    server.lease(ON_VOICE, &on_port(1));
    let renewal = Message::request(mac(1)).using(ip("10.250.1.200"));
    assert_eq!(server.reply(ON_VOICE, &renewal).message_type(), 5);
    // It is still nobody else's.
    let other = Message::request(mac(2)).using(ip("10.250.1.200"));
    assert_eq!(server.reply(ON_VOICE, &other).message_type(), 6);
}

#[test]
fn a_decline_of_a_kept_address_withholds_it_and_its_phone_gets_another() {
    let mut server = Server::new(kept());
    server.lease(ON_VOICE, &lobby(1));
    let decline = Message::decline(mac(1), ip("10.250.1.20")).with(61, b"lobby");
    assert_eq!(server.send(ON_VOICE, &decline), Err(NoReply::Declined));
    assert_eq!(server.lease(ON_VOICE, &lobby(1)).yiaddr(), ip("10.250.1.21"));
}

#[test]
fn a_phone_that_changes_its_name_between_two_discovers_keeps_its_address() {
    let mut lab = site();
    lab.phones = vec![phone(mac(1), Some("10.250.1.20"), Vec::new())];
    let mut server = Server::new(lab);
    let loader = Message::discover(mac(1));
    assert_eq!(server.reply(ON_VOICE, &loader).yiaddr(), ip("10.250.1.20"));
    // The loader takes no offer; its firmware has another identifier.
    let firmware = Message::discover(mac(1)).with(61, b"\0firmware");
    assert_eq!(server.reply(ON_VOICE, &firmware).yiaddr(), ip("10.250.1.20"));
    assert_eq!(server.core.offer_count(), 1);
    assert_eq!(server.lease(ON_VOICE, &firmware).yiaddr(), ip("10.250.1.20"));
}

#[test]
fn a_phone_of_a_list_has_what_is_kept_for_its_port_all_the_same() {
    let mut lab = kept();
    let class = Some(class_id(&lab, "SIP200"));
    lab.phones.insert(0, Phone { class, ..phone(mac(1), None, Vec::new()) });
    let mut server = Server::new(lab);
    let ack = server.lease(ON_VOICE, &on_port(1));
    assert_eq!((ack.yiaddr(), ack.text(67)), (ip("10.250.1.200"), Some("sip200.img")));
    // Past the relay, where nobody tells of its port.
    let renewal = Message::request(mac(1)).using(ip("10.250.1.200"));
    let ack = server.reply(ON_VOICE, &renewal);
    assert_eq!((ack.message_type(), ack.text(67)), (5, Some("sip200.img")));
    // What is kept for the phone itself goes before.
    let mut lab = kept();
    lab.phones.insert(0, phone(mac(1), Some("10.250.1.30"), Vec::new()));
    assert_eq!(Server::new(lab).lease(ON_VOICE, &on_port(1)).yiaddr(), ip("10.250.1.30"));
}
