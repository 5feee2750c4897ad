//! Clients that are known by what their relay says, when they write to the server alone.

use std::net::Ipv4Addr;

use offhook_dhcp::{NoReply, Recognition};
use offhook_model::{BytesTest, Class, Condition, Phone, PhoneKey, Send, Serve, Site};

use crate::support::*;

const RELAY: Ipv4Addr = Ipv4Addr::new(10, 250, 1, 1);

/// A class of its own that sends its name as option 224.
fn class(lab: &Site, name: &str, condition: Option<Condition>) -> Class {
    Class {
        name: name.into(),
        label: name.into(),
        evidence: Vec::new(),
        condition,
        scope_options: Vec::new(),
        options: vec![rule(224, name.as_bytes(), Send::Always)],
        ..lab.classes[0].clone()
    }
}

fn circuit(port: &str) -> Condition {
    Condition::CircuitId(BytesTest::Exact(port.as_bytes().into()))
}

/// Where nobody is served who is of no class, the classes for the two ports of a relay.
fn ports() -> Site {
    let mut lab = site();
    lab.scopes[0].serve = Serve::Phones;
    let classes = ["a", "b"].map(|port| class(&lab, port, Some(circuit(port))));
    lab.classes.splice(0..0, classes);
    lab
}

fn on_port(message: Message, port: &str) -> Message {
    message.through(RELAY).with(82, [&[1, port.len() as u8][..], port.as_bytes()].concat())
}

fn renewal(n: u8, address: Ipv4Addr) -> Message {
    Message::request(mac(n)).using(address)
}

#[test]
fn whatever_the_relay_tells_of_a_class_is_missing_past_it() {
    let of_82 = |value: &[u8]| Condition::Option(82, BytesTest::ExactPrefix(value.into()));
    for condition in [
        circuit("a"),
        Condition::RemoteId(BytesTest::Is(b"switch"[..].into())),
        Condition::Relay("10.250.1.1/32".parse().unwrap()),
        of_82(b"\x01\x01a"),
        Condition::Not(Box::new(Condition::Not(Box::new(of_82(b"\x01"))))),
    ] {
        let mut lab = site();
        lab.scopes[0].serve = Serve::Phones;
        lab.classes.insert(0, class(&lab, "told", Some(condition.clone())));
        let mut server = Server::new(lab);
        let relayed = Message::discover(mac(1)).through(RELAY).with(82, b"\x01\x01a\x02\x06switch");
        let address = server.lease(ON_VOICE, &relayed).yiaddr();
        let ack = server.reply(ON_VOICE, &renewal(1, address));
        assert_eq!((ack.message_type(), ack.text(224)), (5, Some("told")), "{condition:?}");
        // Not for the address alone, and not once it is over.
        assert_eq!(server.send(ON_VOICE, &renewal(2, address)), Err(NoReply::NotServed));
        server.wait(86_400);
        assert_eq!(server.send(ON_VOICE, &renewal(1, address)), Err(NoReply::NotServed));
    }
}

#[test]
fn what_a_switch_says_that_is_no_relay_goes_before_what_was_told_when_the_lease_began() {
    let mut server = Server::new(ports());
    let address = server.lease(ON_VOICE, &on_port(Message::discover(mac(1)), "a")).yiaddr();
    let moved = renewal(1, address).with(82, b"\x01\x01b");
    assert_eq!(server.reply(ON_VOICE, &moved).text(224), Some("b"));
}

#[test]
fn a_client_that_the_relay_tells_nothing_of_any_more_has_lost_its_class_past_it_too() {
    let mut lab = ports();
    lab.scopes[0].serve = Serve::All;
    for moved in [|port| on_port(port, "c"), |port: Message| port.through(RELAY)] {
        let mut server = Server::new(lab.clone());
        let address = server.lease(ON_VOICE, &on_port(Message::discover(mac(1)), "a")).yiaddr();
        assert_eq!(server.reply(ON_VOICE, &renewal(1, address)).text(224), Some("a"));
        let ack = server.reply(ON_VOICE, &moved(renewal(1, address)));
        assert_eq!((ack.message_type(), ack.text(224)), (5, None));
        assert_eq!(server.reply(ON_VOICE, &renewal(1, address)).text(224), None);
    }
    // What it said itself when it began, and does not say again, is not the relay's to tell.
    let mut server = Server::new(lab);
    let phone = Message::discover(mac(1)).with(60, "440HD");
    let address = server.lease(ON_VOICE, &on_port(phone, "c")).yiaddr();
    server.reply(ON_VOICE, &on_port(renewal(1, address), "c"));
    assert_eq!(server.disk[0].class.as_deref(), Some("440HD"));
}

#[test]
fn the_class_that_a_phone_is_listed_with_meanwhile_goes_before_what_the_relay_told() {
    let mut server = Server::new(ports());
    let address = server.lease(ON_VOICE, &on_port(Message::discover(mac(1)), "a")).yiaddr();
    let mut lab = ports();
    let listed = Some(class_id(&lab, "b"));
    lab.phones.push(Phone { class: listed, ..phone(mac(1), None, Vec::new()) });
    let now = server.now;
    server.core.set_site(lab.into(), links(), now);
    let decision = server.decide(ON_VOICE, &renewal(1, address).bytes());
    assert_eq!(decision.trace.recognition, Some(Recognition::Inventory));
    server.commit(&decision);
    assert_eq!(Read::new(&decision.reply.unwrap().bytes).text(224), Some("b"));
    assert_eq!(server.disk[0].class.as_deref(), Some("b"));
}

#[test]
fn a_class_that_only_the_list_of_ports_gives_stays_past_the_relay() {
    let mut lab = site();
    lab.scopes[0].serve = Serve::Phones;
    lab.classes.insert(0, class(&lab, "listed", None));
    let listed = Some(class_id(&lab, "listed"));
    let key = PhoneKey::CircuitId(b"a"[..].into());
    // Nothing is kept for the port but its class.
    lab.phones.push(Phone { key, class: listed, ..phone(mac(0), None, Vec::new()) });
    let mut server = Server::new(lab);
    let address = server.lease(ON_VOICE, &on_port(Message::discover(mac(1)), "a")).yiaddr();
    assert_eq!(server.reply(ON_VOICE, &renewal(1, address)).text(224), Some("listed"));
}

#[test]
fn a_class_that_is_not_one_of_the_scope_any_more_is_not_kept_past_the_relay() {
    let mut server = Server::new(ports());
    let address = server.lease(ON_VOICE, &on_port(Message::discover(mac(1)), "a")).yiaddr();
    let mut lab = ports();
    lab.classes[0].scopes = vec![NATIVE];
    let now = server.now;
    server.core.set_site(lab.into(), links(), now);
    assert_eq!(server.send(ON_VOICE, &renewal(1, address)), Err(NoReply::NotServed));
}

#[test]
fn a_class_of_other_scopes_that_a_port_is_listed_with_is_none_past_the_relay_either() {
    let mut lab = site();
    let elsewhere = Class { scopes: vec![NATIVE], ..class(&lab, "elsewhere", None) };
    lab.classes.insert(0, elsewhere);
    let (key, listed) = (PhoneKey::CircuitId(b"a"[..].into()), Some(class_id(&lab, "elsewhere")));
    let kept = phone(mac(0), Some("10.250.1.200"), Vec::new());
    lab.phones.push(Phone { key, class: listed, ..kept });
    let mut server = Server::new(lab);
    let ack = server.lease(ON_VOICE, &on_port(Message::discover(mac(1)), "a"));
    assert_eq!(ack.text(224), None);
    let ack = server.reply(ON_VOICE, &renewal(1, ack.yiaddr()));
    assert_eq!((ack.message_type(), ack.text(224)), (5, None));
}

#[test]
fn what_is_kept_for_a_port_is_not_had_through_another_nor_by_what_is_kept_for_a_mac_address() {
    let mut lab = site();
    let key = PhoneKey::CircuitId(b"a"[..].into());
    lab.phones.push(Phone { key, ..phone(mac(0), Some("10.250.1.200"), Vec::new()) });
    lab.phones.push(phone(mac(2), Some("10.250.1.201"), Vec::new()));
    let mut server = Server::new(lab);
    let kept = server.lease(ON_VOICE, &on_port(Message::discover(mac(1)), "a")).yiaddr();
    assert_eq!(kept, ip("10.250.1.200"));
    // The phone was plugged in elsewhere: it is told so by the relay there.
    assert_eq!(server.reply(ON_VOICE, &on_port(renewal(1, kept), "b")).message_type(), 6);
    assert_eq!(server.reply(ON_VOICE, &on_port(renewal(1, kept), "a")).message_type(), 5);
    // Another machine that calls itself the same is not the phone of that MAC address.
    let own = server.lease(ON_VOICE, &Message::discover(mac(2)).with(61, b"same")).yiaddr();
    assert_eq!(own, ip("10.250.1.201"));
    assert_eq!(server.reply(ON_VOICE, &renewal(3, own).with(61, b"same")).message_type(), 6);
    assert_eq!(server.reply(ON_VOICE, &renewal(2, own).with(61, b"same")).message_type(), 5);
}

#[test]
fn what_is_kept_for_a_port_is_its_holders_past_the_relay_and_only_while_it_is() {
    let mut lab = site();
    let key = PhoneKey::CircuitId(b"a"[..].into());
    let options = vec![rule(224, b"port a", Send::Always)];
    lab.phones.push(Phone { key, ..phone(mac(0), Some("10.250.1.200"), options) });
    let mut server = Server::new(lab);
    let kept = server.lease(ON_VOICE, &on_port(Message::discover(mac(1)), "a")).yiaddr();
    let mut told = |n| server.reply(ON_VOICE, &Message::inform(mac(n), kept)).text(224).is_some();
    assert_eq!((told(1), told(2)), (true, false));
    server.wait(8 * 3600);
    assert_eq!(server.reply(ON_VOICE, &Message::inform(mac(1), kept)).text(224), None);
    assert_eq!(server.reply(ON_VOICE, &renewal(1, kept)).message_type(), 6);
}
