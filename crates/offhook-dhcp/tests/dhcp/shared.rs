//! Several scopes on one link.

use offhook_dhcp::NoReply;
use offhook_model::{Serve, Site};

use crate::support::*;

/// The voice scope and a second one of four addresses share a link, and the relay 10.250.1.1.
fn campus() -> Site {
    let mut lab = site();
    let mut more = lab.scopes[0].clone();
    more.name = "more".into();
    more.interface = None;
    more.subnet = "10.251.0.0/24".parse().unwrap();
    more.pools = vec!["10.251.0.10-10.251.0.13".parse().unwrap()];
    more.options = vec![rule(3, &[10, 251, 0, 1], offhook_model::Send::Always)];
    lab.scopes[0].pools = vec!["10.250.1.20-10.250.1.21".parse().unwrap()];
    for scope in [&mut lab.scopes[0], &mut more] {
        scope.shared_network = Some("floor".into());
    }
    lab.scopes.push(more);
    lab.phones.push(phone(mac(7), Some("10.251.0.99"), Vec::new()));
    lab
}

const FIRST: [&str; 6] =
    ["10.250.1.20", "10.250.1.21", "10.251.0.10", "10.251.0.11", "10.251.0.12", "10.251.0.13"];

#[test]
fn clients_get_addresses_of_the_next_scope_when_the_first_is_full() {
    for relay in [NOBODY, ip("10.250.1.1")] {
        let mut server = Server::new(campus());
        for (n, expected) in FIRST.iter().enumerate() {
            let ack = server.lease(ON_VOICE, &Message::discover(mac(n as u8)).through(relay));
            assert_eq!(ack.yiaddr(), ip(expected));
            let router = if n < 2 { [10, 250, 1, 1] } else { [10, 251, 0, 1] };
            assert_eq!(ack.option(3), Some(&router[..]));
        }
        let one_more = Message::discover(mac(99)).through(relay);
        assert_eq!(server.send(ON_VOICE, &one_more), Err(NoReply::PoolFull));
    }
}

#[test]
fn a_client_keeps_the_address_it_has_wherever_on_the_link_that_is() {
    let mut server = Server::new(campus());
    let wish = Message::discover(mac(1)).with(50, [10, 251, 0, 12]);
    assert_eq!(server.lease(ON_VOICE, &wish).yiaddr(), ip("10.251.0.12"));
    for message in [
        Message::request(mac(1)).with(50, [10, 251, 0, 12]),
        Message::request(mac(1)).using(ip("10.251.0.12")),
    ] {
        assert_eq!(server.reply(ON_VOICE, &message).message_type(), 5);
    }
    server.wait(9 * 3600);
    assert_eq!(server.lease(ON_VOICE, &Message::discover(mac(1))).yiaddr(), ip("10.251.0.12"));
    let release = Message::release(mac(1), ip("10.251.0.12"));
    assert_eq!(server.send(ON_VOICE, &release), Err(NoReply::Released));
}

#[test]
fn only_what_is_wrong_for_the_whole_link_is_refused() {
    let mut server = Server::new(campus());
    server.lease(ON_VOICE, &Message::discover(mac(1)));
    for (address, server_id) in [
        ("10.250.1.20", false),
        ("192.168.1.1", false),
        ("10.0.0.100", false),
        ("10.250.1.99", true),
    ] {
        let mut message = Message::request(mac(2)).with(50, ip(address).octets());
        if server_id {
            message = message.with(54, VOICE_ADDRESS.octets());
        }
        assert_eq!(server.reply(ON_VOICE, &message).message_type(), 6, "{address}");
    }
    let unknown = Message::request(mac(2)).with(50, [10, 251, 0, 10]);
    assert_eq!(server.send(ON_VOICE, &unknown), Err(NoReply::UnknownClient));
}

#[test]
fn a_client_that_takes_an_address_of_one_scope_gives_back_that_of_the_other() {
    let mut server = Server::new(campus());
    server.lease(ON_VOICE, &Message::discover(mac(1)));
    let request =
        Message::request(mac(1)).with(50, [10, 251, 0, 13]).with(54, VOICE_ADDRESS.octets());
    let decision = server.decide(ON_VOICE, &request.bytes());
    assert_eq!(decision.writes.len(), 2);
    server.commit(&decision);
    let live: Vec<_> = server.disk.iter().filter(|lease| lease.is_live(server.now)).collect();
    assert_eq!(live.len(), 1);
    assert_eq!(live[0].address, ip("10.251.0.13"));
}

#[test]
fn a_reserved_address_is_found_in_any_scope_of_the_link() {
    let mut server = Server::new(campus());
    assert_eq!(server.lease(ON_VOICE, &Message::discover(mac(7))).yiaddr(), ip("10.251.0.99"));
    let elsewhere = Message::request(mac(7)).using(ip("10.250.1.20"));
    assert_eq!(server.reply(ON_VOICE, &elsewhere).message_type(), 6);
}

#[test]
fn one_offer_for_each_client_on_a_link() {
    let mut server = Server::new(campus());
    let wish = |last| Message::discover(mac(1)).with(50, [10, 251, 0, last]);
    assert_eq!(server.reply(ON_VOICE, &wish(12)).yiaddr(), ip("10.251.0.12"));
    assert_eq!(server.reply(ON_VOICE, &wish(13)).yiaddr(), ip("10.251.0.12"));
    let other = Message::request(mac(1)).with(50, [10, 250, 1, 77]).with(54, [10, 250, 1, 9]);
    assert_eq!(server.send(ON_VOICE, &other), Err(NoReply::OtherServer));
    assert_eq!(server.core.offer_count(), 0);
}

#[test]
fn a_scope_of_a_link_may_be_for_phones_only() {
    let mut lab = campus();
    lab.scopes[0].serve = Serve::Phones;
    let mut server = Server::new(lab.clone());
    assert_eq!(server.lease(ON_VOICE, &Message::discover(mac(1))).yiaddr(), ip("10.251.0.10"));
    let known = Message::discover(mac(2)).with(60, b"440HD");
    assert_eq!(server.lease(ON_VOICE, &known).yiaddr(), ip("10.250.1.20"));
    lab.scopes[2].serve = Serve::Phones;
    let mut server = Server::new(lab);
    assert_eq!(server.send(ON_VOICE, &Message::discover(mac(1))), Err(NoReply::NotServed));
}

#[test]
fn who_belongs_in_another_scope_of_the_link_is_answered_about_addresses_of_none() {
    let mut lab = campus();
    lab.scopes[0].serve = Serve::Phones;
    let foreign = ip("172.16.0.9");
    let asks = |n: u8| {
        [
            Message::request(mac(n)).with(50, foreign.octets()),
            Message::request(mac(n)).using(foreign),
            Message::request(mac(n)).using(foreign).through(ip("10.250.1.1")),
            Message::inform(mac(n), foreign),
        ]
    };
    let mut server = Server::new(lab.clone());
    for (ask, expected) in asks(1).iter().zip([6, 6, 6, 5]) {
        let reply = server.reply(ON_VOICE, ask);
        assert_eq!(reply.message_type(), expected);
        // The router of the scope that serves it.
        assert_eq!(reply.option(3).is_some(), expected == 5);
        assert!(reply.option(3).is_none_or(|router| router == [10, 251, 0, 1]));
    }
    // An address of the scope that does not serve it is not its business.
    let there = Message::request(mac(1)).with(50, ip("10.250.1.99").octets());
    assert_eq!(server.send(ON_VOICE, &there), Err(NoReply::NotServed));
    lab.scopes[2].serve = Serve::Phones;
    let mut server = Server::new(lab);
    for ask in asks(1) {
        assert_eq!(server.send(ON_VOICE, &ask), Err(NoReply::NotServed));
    }
}

#[test]
fn the_first_scope_of_the_link_that_serves_a_client_answers_it_and_is_the_one_that_is_logged() {
    let mut lab = campus();
    let mut last = lab.scopes[2].clone();
    last.name = "last".into();
    last.subnet = "10.252.0.0/24".parse().unwrap();
    last.pools = Vec::new();
    last.options = vec![rule(3, &[10, 252, 0, 1], offhook_model::Send::Always)];
    lab.scopes.push(last);
    lab.scopes[0].serve = Serve::Phones;
    lab.scopes[2].serve = Serve::Phones;
    let mut server = Server::new(lab);
    let decision = server.decide(ON_VOICE, &Message::inform(mac(1), ip("172.16.0.9")).bytes());
    assert_eq!(decision.trace.scope, Some(offhook_model::ScopeId(3)));
    let reply = Read::new(&decision.reply.unwrap().bytes);
    assert_eq!(reply.option(3), Some(&[10, 252, 0, 1][..]));
}

#[test]
fn what_is_said_of_an_address_is_said_in_the_scope_that_has_it() {
    let mut server = Server::new(campus());
    let there = ip("10.251.0.12");
    // Broadcast, as a soft phone does it.
    let inform = server.decide(ON_VOICE, &Message::inform(mac(1), there).bytes());
    let reply = Read::new(&inform.reply.unwrap().bytes);
    assert_eq!(reply.option(3), Some(&[10, 251, 0, 1][..]));
    let wish = Message::discover(mac(1)).with(50, there.octets());
    assert_eq!(server.lease(ON_VOICE, &wish).yiaddr(), there);
    let decline = Message::decline(mac(1), there);
    assert_eq!(server.send(ON_VOICE, &decline), Err(NoReply::Declined));
}

#[test]
fn scopes_of_one_interface_share_its_link() {
    let mut lab = campus();
    for scope in &mut lab.scopes {
        scope.shared_network = None;
    }
    lab.scopes[2].interface = lab.scopes[0].interface.clone();
    let mut server = Server::new(lab);
    for (n, expected) in FIRST.iter().enumerate() {
        assert_eq!(server.lease(ON_VOICE, &Message::discover(mac(n as u8))).yiaddr(), ip(expected));
    }
}

#[test]
fn nothing_is_taken_back_in_one_scope_while_another_has_a_free_address() {
    let mut server = Server::new(campus());
    for n in 0..2 {
        server.reply(ON_VOICE, &Message::discover(mac(n)));
    }
    server.wait(6);
    for (n, expected) in FIRST.iter().enumerate().skip(2) {
        assert_eq!(server.reply(ON_VOICE, &Message::discover(mac(n as u8))).yiaddr(), ip(expected));
    }
    assert_eq!(server.reply(ON_VOICE, &Message::discover(mac(99))).yiaddr(), ip(FIRST[0]));
}

#[test]
fn a_client_is_offered_what_it_was_offered_though_an_earlier_scope_has_room_again() {
    let mut server = Server::new(campus());
    for (n, expected) in (1..).zip(&FIRST[..2]) {
        assert_eq!(server.lease(ON_VOICE, &Message::discover(mac(n))).yiaddr(), ip(expected));
    }
    let third = Message::discover(mac(3));
    assert_eq!(server.reply(ON_VOICE, &third).yiaddr(), ip(FIRST[2]));
    let _ = server.send(ON_VOICE, &Message::release(mac(1), ip(FIRST[0])));
    assert_eq!(server.reply(ON_VOICE, &third).yiaddr(), ip(FIRST[2]));
}

#[test]
fn what_a_client_has_goes_before_what_it_had_in_another_scope_of_the_link() {
    let mut server = Server::new(campus());
    assert_eq!(server.lease(ON_VOICE, &Message::discover(mac(1))).yiaddr(), ip(FIRST[0]));
    let there = Message::request(mac(1)).with(50, ip(FIRST[3]).octets());
    let there = there.with(54, VOICE_ADDRESS.octets());
    assert_eq!(server.reply(ON_VOICE, &there).yiaddr(), ip(FIRST[3]));
    assert_eq!(server.reply(ON_VOICE, &Message::discover(mac(1))).yiaddr(), ip(FIRST[3]));
}

#[test]
fn an_offer_in_one_scope_ends_when_another_is_made_in_the_next() {
    let mut lab = campus();
    lab.scopes[2].pools = Vec::new();
    let mut server = Server::new(lab);
    let kept = server.lease(ON_VOICE, &Message::discover(mac(7))).yiaddr();
    assert_eq!(kept, ip("10.251.0.99"));
    let _ = server.send(ON_VOICE, &Message::decline(mac(7), kept));
    assert_eq!(server.reply(ON_VOICE, &Message::discover(mac(7))).yiaddr(), ip(FIRST[0]));
    let (ticket, _) = server.core.release(server.now, kept).unwrap();
    server.core.committed(ticket);
    assert_eq!(server.reply(ON_VOICE, &Message::discover(mac(7))).yiaddr(), kept);
    assert_eq!(server.core.offer_count(), 1);
}
