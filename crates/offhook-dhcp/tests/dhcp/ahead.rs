//! Leases written when they are offered.

use std::time::Duration;

use offhook_dhcp::Ahead;
use offhook_model::{Lease, LeaseState, LeaseWrite};

use crate::support::*;

fn select(n: u8, offered: std::net::Ipv4Addr) -> Message {
    Message::request(mac(n)).with(50, offered.octets()).with(54, VOICE_ADDRESS.octets())
}

/// Offers an address, and what it foresees.
fn offer(server: &mut Server, discover: &Message) -> (std::net::Ipv4Addr, Option<Lease>) {
    let offered = server.reply(ON_VOICE, discover).yiaddr();
    (offered, server.foresee(ON_VOICE, &discover.bytes(), offered))
}

#[test]
fn what_is_foreseen_is_what_the_ack_writes_but_for_its_times() {
    let mut server = Server::lab();
    let named =
        |message: Message| message.with(12, b"phone").with(60, b"440HD").with(61, b"\x00it");
    let (offered, foreseen) = offer(&mut server, &named(Message::discover(mac(1))));
    let foreseen = foreseen.unwrap();
    assert_eq!((foreseen.address, foreseen.state), (offered, LeaseState::Bound));
    server.wait(20);
    let decision = server.decide(ON_VOICE, &named(select(1, offered)).bytes());
    let [LeaseWrite::Put(lease)] = &decision.writes[..] else { panic!("{:?}", decision.writes) };
    assert!(foreseen.expires >= lease.expires && foreseen.since < lease.since);
    let (since, expires) = (lease.since, lease.expires);
    assert_eq!(Lease { since, expires, ..foreseen }, *lease);
}

#[test]
fn it_covers_an_ack_at_the_last_moment_that_the_offer_is_held() {
    let mut server = Server::lab();
    let mut ahead = Ahead::default();
    let (offered, foreseen) = offer(&mut server, &Message::discover(mac(1)));
    assert!(ahead.note(foreseen.unwrap(), "fate"));
    server.wait(server.site.dhcp.offer_hold.as_secs());
    let decision = server.decide(ON_VOICE, &select(1, offered).bytes());
    assert_eq!(ahead.take(&decision.writes), Some("fate"));
    // Whoever asks again has it written anew.
    let decision = server.decide(ON_VOICE, &select(1, offered).bytes());
    assert_eq!(ahead.take(&decision.writes), None);
}

/// What a crash may leave: an end that is later by no more than an offer is held, until the true one is told.
#[test]
fn a_lease_written_ahead_ends_on_disk_as_acknowledged_as_soon_as_that_is_settled() {
    let mut server = Server::lab();
    let hold = server.site.dhcp.offer_hold;
    for (n, pause) in [(1, 0), (2, 1), (3, hold.as_secs())] {
        let mut ahead = Ahead::default();
        let (offered, foreseen) = offer(&mut server, &Message::discover(mac(n)));
        let foreseen = foreseen.unwrap();
        assert!(ahead.note(foreseen.clone(), ()));
        server.wait(pause);
        let decision = server.decide(ON_VOICE, &select(n, offered).bytes());
        assert!(ahead.take(&decision.writes).is_some());
        let [LeaseWrite::Put(lease)] = &decision.writes[..] else {
            panic!("{:?}", decision.writes)
        };
        assert!(foreseen.expires >= lease.expires && foreseen.expires <= lease.expires + hold);
        assert_eq!(ahead.outcomes(&server.core, false), [], "it is on its way");
        server.commit(&decision);
        assert_eq!(ahead.outcomes(&server.core, false), decision.writes, "{pause}");
    }
}

#[test]
fn a_lease_that_is_not_the_one_written_ahead_is_written_itself() {
    let mut server = Server::lab();
    let other: [fn(Message) -> Message; 3] = [
        |request| request.with(12, b"name"),
        |request| request.with(60, b"440HD"),
        |request| request.with(51, 0x0fff_ffff_u32.to_be_bytes()),
    ];
    server.site = std::sync::Arc::new({
        let mut lab = site();
        lab.scopes[0].times.max = Some(Duration::from_secs(48 * 3600));
        lab
    });
    server.core.set_site(server.site.clone(), links(), server.now);
    for (n, change) in (1..).zip(other) {
        let mut ahead = Ahead::default();
        let (offered, foreseen) = offer(&mut server, &Message::discover(mac(n)));
        assert!(ahead.note(foreseen.unwrap(), ()));
        let decision = server.decide(ON_VOICE, &change(select(n, offered)).bytes());
        assert_eq!(ahead.take(&decision.writes), None, "{:?}", decision.writes);
        server.commit(&decision);
        let outcome = ahead.outcomes(&server.core, false);
        assert_eq!(outcome, decision.writes);
    }
}

#[test]
fn an_offer_not_taken_is_undone_on_disk_when_it_is_nobodys_any_more() {
    let mut server = Server::lab();
    let gone = server.lease(ON_VOICE, &Message::discover(mac(1))).yiaddr();
    server.reply(ON_VOICE, &select(1, gone));
    let release = Message::release(mac(1), gone);
    let _ = server.send(ON_VOICE, &release);
    let before = server.disk.clone();

    // One address that somebody had, one that nobody had.
    let wish = Message::discover(mac(2)).with(50, gone.octets());
    let mut ahead = Ahead::default();
    for discover in [wish, Message::discover(mac(3))] {
        let (_, foreseen) = offer(&mut server, &discover);
        let lease = foreseen.unwrap();
        write(&mut server.disk, &[LeaseWrite::Put(lease.clone())]);
        assert!(ahead.note(lease, ()));
    }
    assert_eq!(ahead.outcomes(&server.core, false), [], "they are on offer yet");
    server.wait(server.site.dhcp.offer_hold.as_secs() + 1);
    server.core.tick(server.now);
    let outcomes = ahead.outcomes(&server.core, false);
    assert_eq!(outcomes.len(), 2);
    write(&mut server.disk, &outcomes);
    assert_eq!(server.disk, before);
    assert_eq!(ahead.outcomes(&server.core, true), [], "each is told once");
    ahead.untold(outcomes.iter().map(LeaseWrite::address));
    let mut again = ahead.outcomes(&server.core, false);
    again.sort_by_key(|write| outcomes.iter().position(|told| told == write));
    assert_eq!(again, outcomes, "the disk was full");
    assert_eq!(ahead.outcomes(&server.core, true), []);
}

#[test]
fn a_client_that_would_give_something_up_is_not_foreseen() {
    let mut server = Server::lab();
    server.lease(ON_VOICE, &Message::discover(mac(1)));
    let mut lab = site();
    lab.phones.push(phone(mac(1), Some("10.250.1.99"), Vec::new()));
    server.site = std::sync::Arc::new(lab);
    server.core.set_site(server.site.clone(), links(), server.now);
    let (offered, foreseen) = offer(&mut server, &Message::discover(mac(1)));
    assert_eq!((offered, foreseen), (ip("10.250.1.99"), None));
    // Nor one that has something in the scope it comes from.
    server.lease(ON_NATIVE, &Message::discover(mac(2)));
    assert_eq!(offer(&mut server, &Message::discover(mac(2))).1, None);
    // Nor anything but the address on offer, or to anybody else.
    let discover = Message::discover(mac(3));
    let (offered, foreseen) = offer(&mut server, &discover);
    assert!(foreseen.is_some());
    assert_eq!(server.foresee(ON_VOICE, &discover.bytes(), ip("10.250.1.77")), None);
    assert_eq!(server.foresee(ON_VOICE, &Message::discover(mac(4)).bytes(), offered), None);
}

#[test]
fn those_who_take_nothing_have_no_more_than_a_few_written() {
    let mut server = Server::lab();
    let mut ahead = Ahead::default();
    let mut written = 0;
    for n in 1..100 {
        let (_, foreseen) = offer(&mut server, &Message::discover(mac(n)));
        if ahead.has_room() {
            written += 1;
            assert!(ahead.note(foreseen.unwrap(), ()));
        }
    }
    assert_eq!(written, 8);
    server.wait(server.site.dhcp.offer_hold.as_secs() + 1);
    server.core.tick(server.now);
    let outcomes = ahead.outcomes(&server.core, false);
    assert!(outcomes.len() == 8 && outcomes.iter().all(|one| matches!(one, LeaseWrite::Remove(_))));
    assert!(ahead.has_room());
}

#[test]
fn a_client_that_considers_a_shorter_lease_keeps_the_one_it_has() {
    let mut server = Server::lab();
    let lease = server.lease(ON_VOICE, &Message::discover(mac(1)));
    let held = server.core.lease_at(lease.yiaddr()).unwrap();
    let discover = Message::discover(mac(1)).with(51, 60_u32.to_be_bytes());
    let (offered, foreseen) = offer(&mut server, &discover);
    let foreseen = foreseen.unwrap();
    assert_eq!((offered, foreseen.expires), (held.address, held.expires));
    // Taken, it is no longer than it says.
    let request = select(1, offered).with(51, 60_u32.to_be_bytes());
    let decision = server.decide(ON_VOICE, &request.bytes());
    let [LeaseWrite::Put(short)] = &decision.writes[..] else { panic!("{:?}", decision.writes) };
    assert!(short.expires < held.expires);
}

#[test]
fn what_would_be_missed_is_not_written_before_it_is_taken() {
    let mut server = Server::lab();
    let mut lab = site();
    lab.scopes[0].pools = vec!["10.250.1.20-10.250.1.83".parse().unwrap()];
    lab.phones.push(phone(mac(9), Some("10.250.1.99"), Vec::new()));
    server.site = std::sync::Arc::new(lab);
    server.core.set_site(server.site.clone(), links(), server.now);
    let offer = |server: &mut Server, discover: &Message, spare| {
        let offered = server.reply(ON_VOICE, discover).yiaddr();
        server.foresee_with(ON_VOICE, &discover.bytes(), offered, spare)
    };
    // Of 64 addresses one is on offer.
    assert_eq!(offer(&mut server, &Message::discover(mac(1)), 64), None);
    assert!(offer(&mut server, &Message::discover(mac(1)), 63).is_some());
    // What is kept for one phone, or leased to it, nobody else could have.
    assert!(offer(&mut server, &Message::discover(mac(9)), 64).is_some());
    server.lease(ON_VOICE, &Message::discover(mac(1)));
    assert!(offer(&mut server, &Message::discover(mac(1)), 64).is_some());
}

#[test]
fn of_one_client_no_second_lease_is_written_ahead() {
    let mut server = Server::lab();
    let mut ahead = Ahead::default();
    let wish = |last| Message::discover(mac(1)).with(50, [10, 250, 1, last]);
    let (first, foreseen) = offer(&mut server, &wish(30));
    assert!(ahead.note(foreseen.clone().unwrap(), ()));
    assert!(ahead.note(foreseen.unwrap(), ()), "the same once more");
    // It goes to another server, and comes back.
    let elsewhere = Message::request(mac(1)).with(50, first.octets()).with(54, [10, 250, 1, 9]);
    assert!(server.send(ON_VOICE, &elsewhere).is_err());
    let (second, foreseen) = offer(&mut server, &wish(31));
    assert_ne!(first, second);
    assert!(!ahead.note(foreseen.clone().unwrap(), ()));
    let other = offer(&mut server, &Message::discover(mac(2))).1;
    assert!(ahead.note(other.unwrap(), ()));
    // Once the disk has been told that the first is nobody's it may.
    assert_eq!(ahead.outcomes(&server.core, false), [LeaseWrite::Remove(first)]);
    assert!(ahead.note(foreseen.unwrap(), ()));
}

#[test]
fn what_is_foreseen_is_older_than_anything_that_is_granted_even_at_once() {
    let mut server = Server::lab();
    let (offered, foreseen) = offer(&mut server, &Message::discover(mac(1)));
    let decision = server.decide(ON_VOICE, &select(1, offered).bytes());
    let [LeaseWrite::Put(lease)] = &decision.writes[..] else { panic!("{:?}", decision.writes) };
    assert!(foreseen.unwrap().since < lease.since);
}

#[test]
fn who_asks_again_and_again_takes_no_more_of_the_room_than_once() {
    let mut server = Server::lab();
    let mut ahead = Ahead::default();
    for _ in 0..20 {
        let (_, foreseen) = offer(&mut server, &Message::discover(mac(1)));
        assert!(ahead.note(foreseen.unwrap(), ()));
        assert!(ahead.has_room());
    }
}

#[test]
fn writes_of_more_than_the_lease_are_made_themselves() {
    let mut server = Server::lab();
    let mut ahead = Ahead::default();
    let (offered, foreseen) = offer(&mut server, &Message::discover(mac(1)));
    assert!(ahead.note(foreseen.unwrap(), ()));
    let decision = server.decide(ON_VOICE, &select(1, offered).bytes());
    let more = [&decision.writes[..], &[LeaseWrite::Remove(ip("10.250.1.99"))]].concat();
    assert_eq!(ahead.take(&more), None);
}

#[test]
fn nothing_is_foreseen_while_the_address_changes_or_a_decline_is_to_be_written_with_the_next_lease()
{
    let mut server = Server::lab();
    let discover = Message::discover(mac(1));
    let address = server.lease(ON_VOICE, &discover).yiaddr();
    let renewal = server.decide(ON_VOICE, &Message::request(mac(1)).using(address).bytes());
    assert_eq!(offer(&mut server, &discover), (address, None));
    server.commit(&renewal);
    assert!(server.foresee(ON_VOICE, &discover.bytes(), address).is_some());

    let other = server.lease(ON_VOICE, &Message::discover(mac(2))).yiaddr();
    let decline = server.decide(ON_VOICE, &Message::decline(mac(2), other).bytes());
    server.core.failed(decline.ticket.unwrap());
    assert_eq!(server.foresee(ON_VOICE, &discover.bytes(), address), None);
    // Until the address is somebody's again.
    server.wait(24 * 3600);
    server.lease(ON_VOICE, &Message::discover(mac(2)).with(50, other.octets()));
    assert!(offer(&mut server, &discover).1.is_some());
}
