//! What happens to leases, one client at a time.

use crate::support::*;
use offhook_dhcp::{Destination, NoReply};

#[test]
fn a_discover_is_offered_what_its_request_then_gets() {
    let mut server = Server::lab();
    let ack = server.lease(ON_VOICE, &Message::discover(mac(1)).asking(&[1, 3, 6, 15, 51]));
    assert_eq!(ack.yiaddr(), ip("10.250.1.20"));
    assert_eq!(ack.codes(), [53, 54, 51, 58, 59, 1, 3, 6, 15]);
    assert_eq!(ack.option(51), Some(&28800_u32.to_be_bytes()[..]));
    assert_eq!(ack.option(58), Some(&14400_u32.to_be_bytes()[..]));
    assert_eq!(ack.option(59), Some(&25200_u32.to_be_bytes()[..]));
    assert_eq!(server.disk.len(), 1);
}

#[test]
fn nothing_is_written_for_an_offer_and_a_lease_is_before_its_ack() {
    let mut server = Server::lab();
    let offer = server.decide(ON_VOICE, &Message::discover(mac(1)).bytes());
    assert!(offer.reply.is_ok() && offer.writes.is_empty() && offer.ticket.is_none());
    let request = Message::request(mac(1)).with(50, [10, 250, 1, 20]).with(54, [10, 250, 1, 5]);
    let ack = server.decide(ON_VOICE, &request.bytes());
    assert_eq!(ack.writes.len(), 1);
    assert!(ack.ticket.is_some());
    assert_eq!(
        ack.reply.unwrap().to,
        Destination::Frame { hardware: mac(1), address: ip("10.250.1.20") }
    );
}

#[test]
fn a_failed_write_leaves_no_lease_behind() {
    let mut server = Server::lab();
    let request = Message::request(mac(1)).with(50, [10, 250, 1, 20]).with(54, [10, 250, 1, 5]);
    let ack = server.decide(ON_VOICE, &request.bytes());
    // Until it has failed the address is nobody else's.
    let other = server.reply(ON_VOICE, &Message::discover(mac(2)).with(50, [10, 250, 1, 20]));
    assert_eq!(other.yiaddr(), ip("10.250.1.21"));
    server.core.failed(ack.ticket.unwrap());
    assert_eq!(server.core.lease_count(), 0);
    let init_reboot = Message::request(mac(1)).with(50, [10, 250, 1, 20]);
    assert_eq!(server.send(ON_VOICE, &init_reboot), Err(NoReply::UnknownClient));
    let other = server.reply(ON_VOICE, &Message::discover(mac(3)).with(50, [10, 250, 1, 20]));
    assert_eq!(other.yiaddr(), ip("10.250.1.20"));
}

#[test]
fn a_retransmitted_request_gets_the_same_ack() {
    let mut server = Server::lab();
    let offer = server.reply(ON_VOICE, &Message::discover(mac(1)));
    let request =
        Message::request(mac(1)).with(50, offer.yiaddr().octets()).with(54, [10, 250, 1, 5]);
    let first = server.decide(ON_VOICE, &request.bytes());
    let again = server.decide(ON_VOICE, &request.bytes());
    assert_eq!(first.reply, again.reply);
    server.commit(&first);
    assert_eq!(server.commit(&again).len(), 1);
    let later = server.decide(ON_VOICE, &request.bytes());
    assert_eq!(first.reply, later.reply);
}

#[test]
fn a_client_that_has_chosen_us_and_names_no_address_gets_what_it_was_offered() {
    let mut server = Server::lab();
    let wish = Message::discover(mac(1)).with(50, [10, 250, 1, 77]);
    assert_eq!(server.reply(ON_VOICE, &wish).yiaddr(), ip("10.250.1.77"));
    let nameless = |n| Message::request(mac(n)).with(54, VOICE_ADDRESS.octets());
    let ack = server.reply(ON_VOICE, &nameless(1));
    assert_eq!((ack.message_type(), ack.yiaddr()), (5, ip("10.250.1.77")));
    // Again: what it has. Without an offer: what it would be offered.
    assert_eq!(server.reply(ON_VOICE, &nameless(1)).yiaddr(), ip("10.250.1.77"));
    assert_eq!(server.reply(ON_VOICE, &nameless(2)).yiaddr(), ip("10.250.1.20"));
    assert_eq!(server.disk.len(), 2);
    let of_nobody = Message::request(mac(3));
    assert_eq!(server.send(ON_VOICE, &of_nobody), Err(NoReply::NoAddress));
    let of_another = of_nobody.with(54, [10, 250, 1, 9]);
    assert_eq!(server.send(ON_VOICE, &of_another), Err(NoReply::OtherServer));
}

#[test]
fn concurrent_clients_are_offered_different_addresses_and_each_the_same_again() {
    let mut server = Server::lab();
    let offers: Vec<_> =
        (0..130).map(|n| server.reply(ON_VOICE, &Message::discover(mac(n))).yiaddr()).collect();
    let different: std::collections::HashSet<_> = offers.iter().collect();
    assert_eq!(different.len(), 130);
    for (n, offered) in (0..130).zip(&offers) {
        assert_eq!(server.reply(ON_VOICE, &Message::discover(mac(n))).yiaddr(), *offered);
    }
    let one_more = Message::discover(mac(200));
    assert_eq!(server.send(ON_VOICE, &one_more), Err(NoReply::PoolFull));
    // Somebody who has not taken an offer for five seconds may have chosen another server, or be nobody at all.
    server.wait(3);
    server.reply(ON_VOICE, &Message::discover(mac(0)));
    server.wait(1);
    assert_eq!(server.send(ON_VOICE, &one_more), Err(NoReply::PoolFull));
    server.wait(1);
    assert_eq!(server.reply(ON_VOICE, &one_more).yiaddr(), offers[1]);
    assert_eq!(server.reply(ON_VOICE, &Message::discover(mac(0))).yiaddr(), offers[0]);
    assert_eq!(server.core.offer_count(), 130);
}

#[test]
fn an_offer_is_kept_for_as_long_as_the_site_says() {
    let mut lab = site();
    lab.dhcp.offer_hold = std::time::Duration::from_secs(12);
    let mut server = Server::new(lab);
    server.reply(ON_VOICE, &Message::discover(mac(1)));
    server.wait(11);
    server.core.tick(server.now);
    assert_eq!(server.core.offer_count(), 1);
    server.wait(1);
    server.core.tick(server.now);
    assert_eq!(server.core.offer_count(), 0);
}

#[test]
fn an_offer_is_withdrawn_when_the_client_chooses_another_server() {
    let mut server = Server::lab();
    let offer = server.reply(ON_VOICE, &Message::discover(mac(1)));
    let other = Message::request(mac(1)).with(50, [10, 250, 1, 99]).with(54, [10, 250, 1, 9]);
    assert_eq!(server.send(ON_VOICE, &other), Err(NoReply::OtherServer));
    assert_eq!(server.core.offer_count(), 0);
    let next = Message::discover(mac(2)).with(50, offer.yiaddr().octets());
    assert_eq!(server.reply(ON_VOICE, &next).yiaddr(), offer.yiaddr());
}

#[test]
fn a_flood_of_strangers_holds_no_more_than_the_pool() {
    let mut server = Server::lab();
    for n in 0..2000_u32 {
        let [a, b, c, d] = n.to_be_bytes();
        let stranger = offhook_model::Mac([2, 0, a, b, c, d]);
        let _ = server.send(ON_VOICE, &Message::discover(stranger));
        assert!(server.core.offer_count() <= 130);
    }
    server.wait(60);
    while server.core.tick(server.now) {}
    assert_eq!((server.core.offer_count(), server.core.lease_count()), (0, 0));
}

#[test]
fn a_returning_client_gets_its_address_and_the_longest_expired_goes_first() {
    let mut lab = site();
    lab.scopes[0].pools = vec!["10.250.1.20-10.250.1.22".parse().unwrap()];
    let mut server = Server::new(lab);
    for n in [1, 2, 3] {
        server.lease(ON_VOICE, &Message::discover(mac(n)));
        server.wait(10);
    }
    server.send(ON_VOICE, &Message::request(mac(1)).using(ip("10.250.1.20"))).unwrap();
    server.wait(9 * 3600);
    server.restart();
    // Client 2's lease ended first; client 3, who comes back, keeps its own.
    assert_eq!(server.lease(ON_VOICE, &Message::discover(mac(9))).yiaddr(), ip("10.250.1.21"));
    assert_eq!(server.lease(ON_VOICE, &Message::discover(mac(3))).yiaddr(), ip("10.250.1.22"));
    assert_eq!(server.lease(ON_VOICE, &Message::discover(mac(2))).yiaddr(), ip("10.250.1.20"));
    let first = Message::discover(mac(1));
    assert_eq!(server.send(ON_VOICE, &first), Err(NoReply::PoolFull));
    server.send(ON_VOICE, &Message::release(mac(9), ip("10.250.1.21"))).unwrap_err();
    assert_eq!(server.lease(ON_VOICE, &first).yiaddr(), ip("10.250.1.21"));
}

#[test]
fn a_declined_address_is_nobodys_for_a_day_across_a_restart() {
    let mut lab = site();
    lab.scopes[0].pools = vec!["10.250.1.20-10.250.1.20".parse().unwrap()];
    let mut server = Server::new(lab);
    server.lease(ON_VOICE, &Message::discover(mac(1)));
    let address = ip("10.250.1.20");
    let decline = server.decide(ON_VOICE, &Message::decline(mac(1), address).bytes());
    assert_eq!(decline.reply, Err(NoReply::Declined));
    let events = server.commit(&decline);
    assert!(
        matches!(&events[..], [offhook_model::Event::Declined(lease)] if lease.address == address)
    );
    server.wait(24 * 3600 - 1);
    server.restart();
    for n in [1, 2] {
        assert_eq!(server.send(ON_VOICE, &Message::discover(mac(n))), Err(NoReply::PoolFull));
    }
    server.wait(1);
    assert_eq!(server.lease(ON_VOICE, &Message::discover(mac(2))).yiaddr(), address);
}

#[test]
fn an_acknowledged_lease_is_acknowledged_again_after_a_restart() {
    let mut server = Server::lab();
    let ack = server.lease(ON_VOICE, &Message::discover(mac(1)).with(61, b"\xff\0\0\0\x01id"));
    server.restart();
    let reboot =
        Message::request(mac(1)).with(61, b"\xff\0\0\0\x01id").with(50, ack.yiaddr().octets());
    assert_eq!(server.reply(ON_VOICE, &reboot).yiaddr(), ack.yiaddr());
    // The same machine without its identifier is another client.
    let other = Message::request(mac(1)).with(50, ack.yiaddr().octets());
    assert_eq!(server.reply(ON_VOICE, &other).message_type(), 6);
    assert_ne!(server.reply(ON_VOICE, &Message::discover(mac(1))).yiaddr(), ack.yiaddr());
}

#[test]
fn a_client_may_hold_a_lease_in_each_scope() {
    let mut lab = site();
    lab.scopes[1].voice = None;
    let mut server = Server::new(lab);
    let native = server.lease(ON_NATIVE, &Message::discover(mac(1)));
    let voice = server.lease(ON_VOICE, &Message::discover(mac(1)));
    assert_eq!((native.yiaddr(), voice.yiaddr()), (ip("10.0.0.100"), ip("10.250.1.20")));
    assert_eq!(server.disk.len(), 2);
    assert_eq!(server.disk[0].scope, "native".into());
}

#[test]
fn a_reserved_address_is_for_its_phone_alone_in_or_outside_of_the_pool() {
    let mut lab = site();
    lab.phones.push(phone(mac(1), Some("10.250.1.20"), Vec::new()));
    lab.phones.push(phone(mac(2), Some("10.250.1.200"), Vec::new()));
    lab.scopes[0].excluded.push(ip("10.250.1.21"));
    let mut server = Server::new(lab);
    let stranger = server.reply(ON_VOICE, &Message::discover(mac(9)).with(50, [10, 250, 1, 20]));
    assert_eq!(stranger.yiaddr(), ip("10.250.1.22"));
    for wish in [20, 21, 200] {
        let request =
            Message::request(mac(9)).with(50, [10, 250, 1, wish]).with(54, [10, 250, 1, 5]);
        assert_eq!(server.reply(ON_VOICE, &request).message_type(), 6);
    }
    assert_eq!(server.lease(ON_VOICE, &Message::discover(mac(1))).yiaddr(), ip("10.250.1.20"));
    assert_eq!(server.lease(ON_VOICE, &Message::discover(mac(2))).yiaddr(), ip("10.250.1.200"));
    // Its boot loader goes by the hardware address, its firmware by an identifier: the same phone.
    let firmware = Message::discover(mac(1)).with(61, b"\x01\x00\x11\x22\x33\x44\x01");
    assert_eq!(server.lease(ON_VOICE, &firmware).yiaddr(), ip("10.250.1.20"));
    // In the native scope it has no address kept.
    assert_eq!(server.lease(ON_NATIVE, &Message::discover(mac(1))).yiaddr(), ip("10.0.0.100"));
}

#[test]
fn a_phone_moves_to_the_address_reserved_for_it_meanwhile_and_leaves_one_lease() {
    let mut server = Server::lab();
    let before = server.lease(ON_VOICE, &Message::discover(mac(1))).yiaddr();
    let mut lab = site();
    lab.phones.push(phone(mac(1), Some("10.250.1.99"), Vec::new()));
    server.site = std::sync::Arc::new(lab);
    server.core.set_site(server.site.clone(), links(), server.now);
    let renewal = Message::request(mac(1)).using(before);
    assert_eq!(server.reply(ON_VOICE, &renewal).message_type(), 6);
    assert_eq!(server.lease(ON_VOICE, &Message::discover(mac(1))).yiaddr(), ip("10.250.1.99"));
    assert_eq!(server.disk.len(), 1);
    assert_eq!(server.core.lease_count(), 1);
    assert_eq!(
        server.lease(ON_VOICE, &Message::discover(mac(2)).with(50, before.octets())).yiaddr(),
        before
    );
}

#[test]
fn leases_outside_of_the_pools_are_kept_and_not_renewed() {
    let mut server = Server::lab();
    let ack = server.lease(ON_VOICE, &Message::discover(mac(1)));
    let mut lab = site();
    lab.scopes[0].pools = vec!["10.250.1.60-10.250.1.69".parse().unwrap()];
    server.site = std::sync::Arc::new(lab);
    server.core.set_site(server.site.clone(), links(), server.now);
    assert_eq!(server.core.lease_count(), 1);
    let reboot = Message::request(mac(1)).with(50, ack.yiaddr().octets());
    assert_eq!(server.reply(ON_VOICE, &reboot).message_type(), 6);
    assert_eq!(server.lease(ON_VOICE, &Message::discover(mac(1))).yiaddr(), ip("10.250.1.60"));
}

#[test]
fn a_clock_set_back_takes_no_lease_and_blocks_no_address() {
    let mut lab = site();
    lab.scopes[0].pools = vec!["10.250.1.20-10.250.1.21".parse().unwrap()];
    let mut server = Server::new(lab);
    let ack = server.lease(ON_VOICE, &Message::discover(mac(1)));
    server.reply(ON_VOICE, &Message::discover(mac(2)));
    server.now = offhook_model::Time::from_secs(1000);
    let reboot = Message::request(mac(1)).with(50, ack.yiaddr().octets());
    assert_eq!(server.reply(ON_VOICE, &reboot).yiaddr(), ack.yiaddr());
    assert_eq!(server.reply(ON_VOICE, &Message::discover(mac(3))).yiaddr(), ip("10.250.1.21"));
}

#[test]
fn an_address_declined_as_soon_as_it_was_offered_is_nobodys_across_a_restart() {
    let mut server = Server::lab();
    let discover = Message::discover(mac(1));
    let address = server.reply(ON_VOICE, &discover).yiaddr();
    // Nobody else's word counts, nor that of a client to which it was not offered.
    let stranger = Message::decline(mac(2), address);
    assert_eq!(server.send(ON_VOICE, &stranger), Err(NoReply::NotHolder));
    let decline = server.decide(ON_VOICE, &Message::decline(mac(1), address).bytes());
    assert_eq!(decline.reply, Err(NoReply::Declined));
    assert_eq!(server.core.offer_count(), 0);
    let events = server.commit(&decline);
    let [offhook_model::Event::Declined(lease)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((lease.address, &*lease.scope), (address, "voice"));
    for _ in 0..2 {
        for n in [1, 2] {
            let wish = Message::discover(mac(n)).with(50, address.octets());
            assert_ne!(server.reply(ON_VOICE, &wish).yiaddr(), address);
        }
        server.restart();
    }
    server.wait(24 * 3600);
    let wish = Message::discover(mac(2)).with(50, address.octets());
    assert_eq!(server.lease(ON_VOICE, &wish).yiaddr(), address);
}

#[test]
fn what_a_boot_loader_was_offered_it_does_not_decline_once_its_firmware_has_it() {
    let mut lab = site();
    lab.phones.push(phone(mac(1), Some("10.250.1.77"), Vec::new()));
    let mut server = Server::new(lab);
    let address = server.reply(ON_VOICE, &Message::discover(mac(1))).yiaddr();
    let firmware = |message: Message| message.with(61, b"firmware");
    let taking = Message::request(mac(1)).with(50, address.octets());
    let taking = firmware(taking.with(54, VOICE_ADDRESS.octets()));
    assert_eq!(server.reply(ON_VOICE, &taking).yiaddr(), address);
    let late = Message::decline(mac(1), address);
    assert_eq!(server.send(ON_VOICE, &late), Err(NoReply::NotHolder));
    let renewal = firmware(Message::request(mac(1)).using(address));
    assert_eq!(server.reply(ON_VOICE, &renewal).message_type(), 5);
}

#[test]
fn a_decline_that_could_not_be_written_is_written_with_the_clients_next_lease() {
    let mut server = Server::lab();
    let wish = Message::discover(mac(1)).with(50, [10, 250, 1, 21]);
    assert_eq!(server.lease(ON_VOICE, &wish).yiaddr(), ip("10.250.1.21"));
    let decline = Message::decline(mac(1), ip("10.250.1.21"));
    let decision = server.decide(ON_VOICE, &decline.bytes());
    server.core.failed(decision.ticket.unwrap());
    // It is in use by somebody else all the same.
    let next = server.lease(ON_VOICE, &Message::discover(mac(1)));
    assert_eq!(next.yiaddr(), ip("10.250.1.20"));
    server.restart();
    let other = server.reply(ON_VOICE, &Message::discover(mac(2)).with(50, [10, 250, 1, 20]));
    assert_eq!(other.yiaddr(), ip("10.250.1.22"));
    let other = server.reply(ON_VOICE, &Message::discover(mac(3)).with(50, [10, 250, 1, 21]));
    assert_eq!(other.yiaddr(), ip("10.250.1.23"));
}

#[test]
fn a_decline_that_could_not_be_written_is_over_for_the_client_that_gets_the_address_again() {
    let mut server = Server::lab();
    let wish = Message::discover(mac(1)).with(50, [10, 250, 1, 21]);
    server.lease(ON_VOICE, &wish);
    let decline = server.decide(ON_VOICE, &Message::decline(mac(1), ip("10.250.1.21")).bytes());
    server.core.failed(decline.ticket.unwrap());
    server.wait(24 * 3600);
    assert_eq!(server.lease(ON_VOICE, &wish).yiaddr(), ip("10.250.1.21"));
    let [lease] = &server.disk[..] else { panic!("{:?}", server.disk) };
    assert_eq!(lease.state, offhook_model::LeaseState::Bound);
}

#[test]
fn what_a_client_has_declined_is_not_its_own_when_the_time_is_over() {
    let mut server = Server::lab();
    let address = server.lease(ON_VOICE, &Message::discover(mac(1))).yiaddr();
    let _ = server.send(ON_VOICE, &Message::decline(mac(1), address));
    server.wait(24 * 3600);
    let reboot = Message::request(mac(1)).with(50, address.octets());
    assert_eq!(server.send(ON_VOICE, &reboot), Err(NoReply::UnknownClient));
}

#[test]
fn what_was_offered_is_offered_again_though_what_the_client_had_is_free_meanwhile() {
    let mut server = Server::lab();
    let had = server.lease(ON_VOICE, &Message::discover(mac(1))).yiaddr();
    server.wait(8 * 3600);
    let wish = Message::discover(mac(2)).with(50, had.octets());
    assert_eq!(server.reply(ON_VOICE, &wish).yiaddr(), had);
    let offered = server.reply(ON_VOICE, &Message::discover(mac(1))).yiaddr();
    assert_ne!(offered, had);
    let elsewhere = Message::request(mac(2)).with(50, had.octets()).with(54, [10, 250, 1, 9]);
    assert_eq!(server.send(ON_VOICE, &elsewhere), Err(NoReply::OtherServer));
    assert_eq!(server.reply(ON_VOICE, &Message::discover(mac(1))).yiaddr(), offered);
}
