//! What the administrator sees of the table, and does to it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use offhook_dhcp::{NoReply, Outline};
use offhook_model::{Event, LeaseState, LeaseWrite};

use crate::support::*;

fn pages(server: &Server, limit: usize) -> Vec<Outline> {
    let (mut all, mut from) = (Vec::new(), Some(0));
    while let Some(place) = from {
        let (page, next) = server.core.outline(place, limit);
        assert!(page.len() <= limit);
        all.extend(page);
        from = next;
    }
    all
}

fn by_address(outlines: Vec<Outline>) -> BTreeMap<Ipv4Addr, Outline> {
    let count = outlines.len();
    let all: BTreeMap<_, _> = outlines.into_iter().map(|one| (one.address, one)).collect();
    assert_eq!(all.len(), count, "an address was told twice");
    all
}

#[test]
fn pages_of_any_size_tell_every_lease_once() {
    let mut server = Server::lab();
    for n in 1..=20 {
        server.lease(ON_VOICE, &Message::discover(mac(n)));
    }
    for limit in [1, 7, 20, 1000] {
        let all = by_address(pages(&server, limit));
        assert_eq!(all.len(), 20);
        for lease in server.core.leases() {
            let outline = all[&lease.address];
            assert_eq!((outline.state, outline.expires), (lease.state, lease.expires));
            assert_eq!(outline.mac, lease.hardware.mac());
            assert_eq!(server.core.lease_at(lease.address), Some(lease));
        }
    }
    assert_eq!(server.core.outline(1000, 10), (Vec::new(), None));
    assert_eq!(server.core.lease_at(ip("10.250.1.149")), None);
}

#[test]
fn leases_that_change_between_two_pages_are_told_once_all_the_same() {
    let mut server = Server::lab();
    let addresses: Vec<_> =
        (1..=10).map(|n| server.lease(ON_VOICE, &Message::discover(mac(n))).yiaddr()).collect();
    let (mut all, next) = server.core.outline(0, 5);
    for n in 1..=10 {
        let renewal = Message::request(mac(n)).using(addresses[usize::from(n) - 1]);
        server.reply(ON_VOICE, &renewal);
    }
    let release = server.decide(ON_VOICE, &Message::release(mac(3), addresses[2]).bytes());
    server.commit(&release);
    server.lease(ON_VOICE, &Message::discover(mac(99)));
    all.extend(server.core.outline(next.unwrap(), 100).0);
    assert_eq!(by_address(all).len(), 11);
}

#[test]
fn an_address_released_by_hand_is_the_next_clients_once_that_is_durable() {
    let mut lab = site();
    lab.scopes[0].pools = vec!["10.250.1.20-10.250.1.20".parse().unwrap()];
    let mut server = Server::new(lab);
    let address = server.lease(ON_VOICE, &Message::discover(mac(1))).yiaddr();
    let other = Message::discover(mac(2));
    assert_eq!(server.send(ON_VOICE, &other), Err(NoReply::PoolFull));

    let (ticket, writes) = server.core.release(server.now, address).unwrap();
    let [LeaseWrite::Put(lease)] = &writes[..] else { panic!("{writes:?}") };
    assert_eq!((lease.address, lease.state), (address, LeaseState::Released));
    assert_eq!(server.send(ON_VOICE, &other), Err(NoReply::PoolFull));
    assert_eq!(server.core.committed(ticket), [Event::Released(lease.clone())]);
    assert_eq!(server.core.release(server.now, address), None);
    assert_eq!(server.lease(ON_VOICE, &other).yiaddr(), address);
}

#[test]
fn a_release_by_hand_that_fails_changes_nothing() {
    let mut server = Server::lab();
    let address = server.lease(ON_VOICE, &Message::discover(mac(1))).yiaddr();
    let before: Vec<_> = server.core.leases().collect();
    let (ticket, _) = server.core.release(server.now, address).unwrap();
    server.core.failed(ticket);
    assert_eq!(server.core.leases().collect::<Vec<_>>(), before);
    assert_eq!(server.core.release(server.now, ip("10.250.1.149")), None);
}

#[test]
fn an_address_withheld_since_a_decline_is_free_when_released_by_hand() {
    let mut lab = site();
    lab.scopes[0].pools = vec!["10.250.1.20-10.250.1.21".parse().unwrap()];
    let mut server = Server::new(lab);
    let declined = server.lease(ON_VOICE, &Message::discover(mac(1))).yiaddr();
    let decline = server.decide(ON_VOICE, &Message::decline(mac(1), declined).bytes());
    server.commit(&decline);
    let second = server.lease(ON_VOICE, &Message::discover(mac(1))).yiaddr();
    assert_ne!(second, declined);
    let other = Message::discover(mac(2));
    assert_eq!(server.send(ON_VOICE, &other), Err(NoReply::PoolFull));

    let (ticket, writes) = server.core.release(server.now, declined).unwrap();
    assert_eq!(writes, [LeaseWrite::Remove(declined)]);
    assert_eq!(server.core.committed(ticket), []);
    assert_eq!(server.lease(ON_VOICE, &other).yiaddr(), declined);
    // Whoever declined it is still found by the address it has now.
    assert_eq!(server.reply(ON_VOICE, &Message::discover(mac(1))).yiaddr(), second);
}

#[test]
fn an_address_on_offer_is_told_until_it_is_leased() {
    let mut server = Server::lab();
    let offered = server.reply(ON_VOICE, &Message::discover(mac(1))).yiaddr();
    assert_eq!(server.core.offered().collect::<Vec<_>>(), [offered]);
    server.lease(ON_VOICE, &Message::discover(mac(1)));
    assert_eq!(server.core.offered().count(), 0);
}
