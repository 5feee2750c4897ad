//! Between a decision and its being durable.

use std::sync::Arc;

use offhook_dhcp::NoReply;
use offhook_model::{Event, Site};

use crate::support::*;

fn pool(last: u8) -> Site {
    let mut lab = site();
    lab.scopes[0].pools = vec![format!("10.250.1.20-10.250.1.{last}").parse().unwrap()];
    lab
}

fn select(n: u8, last: u8) -> Message {
    Message::request(mac(n)).with(50, [10, 250, 1, last]).with(54, VOICE_ADDRESS.octets())
}

#[test]
fn an_address_given_up_is_nobodys_until_that_is_durable() {
    let mut server = Server::new(pool(20));
    server.lease(ON_VOICE, &Message::discover(mac(1)));
    let mut lab = pool(20);
    lab.phones.push(phone(mac(1), Some("10.250.1.99"), Vec::new()));
    server.site = Arc::new(lab);
    server.core.set_site(server.site.clone(), links(), server.now);
    let moved = server.decide(ON_VOICE, &select(1, 99).bytes());
    assert_eq!(moved.writes.len(), 2);

    let other = Message::discover(mac(2)).with(50, [10, 250, 1, 20]);
    assert_eq!(server.send(ON_VOICE, &other), Err(NoReply::PoolFull));
    assert_eq!(server.reply(ON_VOICE, &select(2, 20)).message_type(), 6);
    server.commit(&moved);
    assert_eq!(server.lease(ON_VOICE, &other).yiaddr(), ip("10.250.1.20"));
}

#[test]
fn a_client_waits_for_one_change_before_it_asks_for_another_address() {
    let mut server = Server::lab();
    let first = server.decide(ON_VOICE, &select(1, 20).bytes());
    assert_eq!(server.send(ON_VOICE, &select(1, 21)), Err(NoReply::Unsettled));
    server.core.failed(first.ticket.unwrap());
    assert_eq!(server.reply(ON_VOICE, &select(1, 21)).message_type(), 5);
    assert_eq!(server.core.lease_count(), 1);
}

#[test]
fn a_release_that_is_not_durable_frees_no_address_even_when_an_offer_of_it_ends() {
    let mut server = Server::new(pool(20));
    server.lease(ON_VOICE, &Message::discover(mac(1)));
    let release = Message::release(mac(1), ip("10.250.1.20"));
    let release = server.decide(ON_VOICE, &release.bytes());
    assert_eq!(release.reply, Err(NoReply::Released));
    assert_eq!(server.reply(ON_VOICE, &Message::discover(mac(1))).yiaddr(), ip("10.250.1.20"));
    server.wait(61);
    let other = Message::discover(mac(2));
    assert_eq!(server.send(ON_VOICE, &other), Err(NoReply::PoolFull));
    let events = server.commit(&release);
    assert!(matches!(&events[..], [Event::Released(_)]));
    assert!(server.send(ON_VOICE, &other).is_ok());
}

#[test]
fn an_offer_of_an_address_on_its_way_back_is_an_offer_like_others_once_it_is_back() {
    let mut server = Server::new(pool(20));
    server.lease(ON_VOICE, &Message::discover(mac(1)));
    let release = Message::release(mac(1), ip("10.250.1.20"));
    let release = server.decide(ON_VOICE, &release.bytes());
    server.reply(ON_VOICE, &Message::discover(mac(1)));
    server.commit(&release);
    let other = Message::discover(mac(2));
    assert_eq!(server.send(ON_VOICE, &other), Err(NoReply::PoolFull));
    // Nobody has taken it for five seconds, and there is no other.
    server.wait(5);
    assert_eq!(server.reply(ON_VOICE, &other).yiaddr(), ip("10.250.1.20"));
}

#[test]
fn a_renewal_that_fails_leaves_the_one_before_it() {
    let mut server = Server::lab();
    let first = server.decide(ON_VOICE, &select(1, 20).bytes());
    server.wait(100);
    let renewal = Message::request(mac(1)).using(ip("10.250.1.20")).bytes();
    let second = server.decide(ON_VOICE, &renewal);
    server.wait(100);
    let third = server.decide(ON_VOICE, &renewal);
    let events = server.commit(&first);
    assert_eq!(events, [Event::Acknowledged(server.disk[0].clone())]);
    server.commit(&second);
    server.core.failed(third.ticket.unwrap());
    assert_eq!(server.core.leases().collect::<Vec<_>>(), server.disk);
    assert_eq!(server.core.unsettled_count(), 0);
}

#[test]
fn a_retransmission_gives_up_what_the_first_request_did_should_that_one_fail() {
    let mut server = Server::new(pool(20));
    server.lease(ON_VOICE, &Message::discover(mac(1)));
    server.lease(ON_NATIVE, &Message::discover(mac(1)));
    let mut lab = pool(20);
    lab.phones.push(phone(mac(1), Some("10.250.1.99"), Vec::new()));
    server.site = Arc::new(lab);
    server.core.set_site(server.site.clone(), links(), server.now);
    let first = server.decide(ON_VOICE, &select(1, 99).bytes());
    let second = server.decide(ON_VOICE, &select(1, 99).bytes());
    assert_eq!((first.writes.len(), second.writes.len()), (3, 3));
    server.core.failed(first.ticket.unwrap());
    server.commit(&second);
    let live = server.disk.iter().filter(|lease| lease.is_live(server.now));
    let live: Vec<_> = live.map(|lease| lease.address).collect();
    assert_eq!(live, [ip("10.250.1.99")]);
    assert_eq!(server.core.unsettled_count(), 0);
}

#[test]
fn an_address_on_offer_to_the_one_whose_lease_is_not_durable_yet_is_missed_once() {
    let mut lab = pool(23);
    lab.scopes[0].reserved_share = 25;
    let mut server = Server::new(lab);
    let first = server.decide(ON_VOICE, &select(1, 20).bytes());
    // It has not heard, and begins anew.
    assert_eq!(server.reply(ON_VOICE, &Message::discover(mac(1))).yiaddr(), ip("10.250.1.20"));
    // One of four is for who is known; two are for strangers.
    for n in 2..4 {
        assert!(server.send(ON_VOICE, &Message::discover(mac(n))).is_ok(), "{n}");
    }
    let stranger = Message::discover(mac(4));
    assert_eq!(server.send(ON_VOICE, &stranger), Err(NoReply::ReservedShare));
    // However it ends, the count is the same.
    server.commit(&first);
    assert_eq!(server.send(ON_VOICE, &stranger), Err(NoReply::ReservedShare));
    let release = server.decide(ON_VOICE, &Message::release(mac(1), ip("10.250.1.20")).bytes());
    assert_eq!(server.send(ON_VOICE, &stranger), Err(NoReply::ReservedShare));
    server.commit(&release);
    assert_eq!(server.reply(ON_VOICE, &stranger).yiaddr(), ip("10.250.1.23"));
}
