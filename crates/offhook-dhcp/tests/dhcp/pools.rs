//! Which pool a client's address comes from, and what is kept for clients that are known.

use offhook_dhcp::NoReply;
use offhook_model::{BytesTest, Condition, Mac, Pool, PoolUser, Serve, Site};

use crate::support::*;

fn pool(range: &str, only: &[PoolUser]) -> Pool {
    Pool { range: range.parse().unwrap(), only: only.to_vec() }
}

/// 20 and 21 for everybody, 30 and 31 for phones, 40 for the inventory, 50 for the 440HD.
fn divided() -> Site {
    let mut lab = site();
    let hd = class_id(&lab, "440HD");
    lab.phones.push(phone(mac(7), None, Vec::new()));
    lab.phones.push(phone(mac(8), None, Vec::new()));
    lab.scopes[0].pools = vec![
        pool("10.250.1.20-10.250.1.21", &[]),
        pool("10.250.1.30-10.250.1.31", &[PoolUser::Phones]),
        pool("10.250.1.40", &[PoolUser::Inventory]),
        pool("10.250.1.50", &[PoolUser::Class(hd)]),
    ];
    lab
}

fn last_byte(read: &Read) -> u8 {
    read.yiaddr().octets()[3]
}

fn phone_440(n: u8) -> Message {
    Message::discover(mac(n)).with(60, b"440HD")
}

fn phone_405(n: u8) -> Message {
    Message::discover(mac(n)).with(60, b"405")
}

#[test]
fn a_client_gets_an_address_only_where_it_is_admitted() {
    let mut server = Server::new(divided());
    for last in [20, 21] {
        assert_eq!(last_byte(&server.lease(ON_VOICE, &Message::discover(mac(last)))), last);
    }
    assert_eq!(server.send(ON_VOICE, &Message::discover(mac(22))), Err(NoReply::PoolFull));
    for wish in [30, 40, 50] {
        let wanted = [10, 250, 1, wish];
        let discover = Message::discover(mac(22)).with(50, wanted);
        assert_eq!(server.send(ON_VOICE, &discover), Err(NoReply::PoolFull));
        let request = Message::request(mac(22)).with(50, wanted).with(54, VOICE_ADDRESS.octets());
        assert_eq!(server.reply(ON_VOICE, &request).message_type(), 6);
    }
}

#[test]
fn pools_that_are_not_for_everybody_come_first() {
    let mut server = Server::new(divided());
    let mut got = |message: &Message| last_byte(&server.lease(ON_VOICE, message));
    assert_eq!(got(&phone_440(1)), 30);
    assert_eq!(got(&phone_405(2)), 31);
    assert_eq!(got(&phone_440(3)), 50);
    assert_eq!(got(&phone_405(4)), 20);
    assert_eq!(got(&Message::discover(mac(7))), 40);
    assert_eq!(got(&Message::discover(mac(8))), 21);
    assert_eq!(server.send(ON_VOICE, &phone_405(5)), Err(NoReply::PoolFull));
}

#[test]
fn who_is_no_longer_admitted_moves_at_the_next_renewal() {
    let mut server = Server::new(divided());
    let before = server.lease(ON_VOICE, &phone_440(1)).yiaddr();
    let renewal = Message::request(mac(1)).using(before);
    assert_eq!(server.reply(ON_VOICE, &renewal.clone().with(60, b"405")).message_type(), 5);
    assert_eq!(server.reply(ON_VOICE, &renewal).message_type(), 6);
    assert_eq!(last_byte(&server.lease(ON_VOICE, &Message::discover(mac(1)))), 20);
    assert_eq!(server.disk.len(), 1);
    assert_eq!(last_byte(&server.lease(ON_VOICE, &phone_405(2))), 31);
    assert_eq!(server.lease(ON_VOICE, &phone_405(3)).yiaddr(), before);
}

/// 20 for everybody, 30 for clients on ports of the third floor only, who get option 224.
fn by_floor(serve: Serve) -> Site {
    let mut lab = site();
    let mut floor = lab.classes.remove(0);
    floor.name = "floor".into();
    floor.evidence = Vec::new();
    floor.scope_options = Vec::new();
    floor.options = vec![rule(224, b"floor", offhook_model::Send::Always)];
    let port = BytesTest::Prefix(b"Gi3/"[..].into());
    floor.condition = Some(Condition::Any(vec![Condition::CircuitId(port)]));
    lab.classes.insert(0, floor);
    let floor = class_id(&lab, "floor");
    lab.scopes[0].serve = serve;
    lab.scopes[0].pools =
        vec![pool("10.250.1.20", &[]), pool("10.250.1.30", &[PoolUser::Class(floor)])];
    lab
}

#[test]
fn a_class_that_only_the_relay_tells_stays_when_its_client_writes_past_the_relay() {
    for serve in [Serve::All, Serve::Phones] {
        let mut server = Server::new(by_floor(serve));
        let relay = ip("10.250.1.1");
        let port = |message: Message, port: &[u8]| {
            message.through(relay).with(82, [&[1, port.len() as u8][..], port].concat())
        };
        let ack = server.lease(ON_VOICE, &port(Message::discover(mac(1)), b"Gi3/7"));
        assert_eq!((last_byte(&ack), ack.text(224)), (30, Some("floor")));
        let renewal = Message::request(mac(1)).using(ack.yiaddr());
        for _ in 0..2 {
            for message in [renewal.clone(), renewal.clone().with(60, b"440HD")] {
                let ack = server.reply(ON_VOICE, &message);
                assert_eq!((ack.message_type(), ack.text(224)), (5, Some("floor")));
            }
            let inform = server.reply(ON_VOICE, &Message::inform(mac(1), ack.yiaddr()));
            assert_eq!(inform.text(224), Some("floor"));
            server.restart();
        }
        // What the relay says now goes before that, and nobody else is of the class for knowing the address.
        let moved = port(renewal.clone(), b"Gi9/1").with(60, b"440HD");
        assert_eq!(server.reply(ON_VOICE, &moved).message_type(), 6);
        let other = Message::request(mac(2)).using(ack.yiaddr()).with(60, b"440HD");
        assert_eq!(server.reply(ON_VOICE, &other).message_type(), 6);
    }
}

#[test]
fn an_expired_phones_address_is_reused_within_its_pool() {
    let mut server = Server::new(divided());
    let first = server.lease(ON_VOICE, &phone_405(1)).yiaddr();
    server.wait(60);
    server.lease(ON_VOICE, &phone_405(2));
    server.wait(9 * 3600);
    server.restart();
    assert_eq!(server.lease(ON_VOICE, &phone_405(3)).yiaddr(), first);
}

#[test]
fn an_address_of_this_machine_is_nobody_elses_even_in_a_pool_or_kept_for_a_phone() {
    let ours = VOICE_ADDRESS.octets();
    let neighbours = [ours[3] - 1, ours[3] + 1];
    let [first, last] = neighbours.map(|last| format!("10.250.1.{last}"));
    let mut lab = site();
    lab.scopes[0].pools = vec![pool(&format!("{first}-{last}"), &[])];
    lab.scopes[0].reserved_share = 0;
    lab.phones.push(phone(mac(7), Some("10.250.1.5"), Vec::new()));
    let mut server = Server::new(lab);
    for reloaded in [false, true] {
        let wishing = Message::discover(mac(7)).with(50, ours);
        assert_ne!(server.reply(ON_VOICE, &wishing).yiaddr(), VOICE_ADDRESS);
        for client in [7, 8] {
            let leased = server.lease(ON_VOICE, &Message::discover(mac(client)));
            assert_ne!(leased.yiaddr(), VOICE_ADDRESS);
        }
        assert_eq!(server.send(ON_VOICE, &Message::discover(mac(9))), Err(NoReply::PoolFull));
        for client in [7, 9] {
            let request = Message::request(mac(client)).with(50, ours).with(54, ours);
            assert_eq!(server.reply(ON_VOICE, &request).message_type(), 6);
            let using = Message::request(mac(client)).using(VOICE_ADDRESS);
            assert_eq!(server.reply(ON_VOICE, &using).message_type(), 6);
        }
        if !reloaded {
            server.core.set_site(server.site.clone(), links(), server.now);
        }
    }
}

fn flood(server: &mut Server, count: u32) -> Vec<u8> {
    flood_as(server, count, |message| message)
}

fn flood_as(server: &mut Server, count: u32, as_if: impl Fn(Message) -> Message) -> Vec<u8> {
    let stranger = |n: u32| {
        let [_, b, c, d] = n.to_be_bytes();
        as_if(Message::discover(Mac([2, 0xee, b, c, d, 1])))
    };
    let replies = (0..count).filter_map(|n| server.send(ON_VOICE, &stranger(n)).ok());
    replies.map(|reply| last_byte(&Read::new(&reply.bytes))).collect()
}

fn shared(share: u8) -> Server {
    let mut lab = site();
    lab.scopes[0].pools = vec![pool("10.250.1.20-10.250.1.29", &[])];
    lab.scopes[0].reserved_share = share;
    lab.phones.push(phone(mac(7), None, Vec::new()));
    Server::new(lab)
}

#[test]
fn a_flood_of_strangers_leaves_the_reserved_share_to_clients_that_are_known() {
    let mut server = shared(25);
    let returning = server.lease(ON_VOICE, &Message::discover(mac(1))).yiaddr();
    server.wait(9 * 3600);
    // The address of the returning client is free by now, and one of ten: two of them are reserved.
    let taken = flood(&mut server, 100);
    assert_eq!(taken.len(), 8, "{taken:?}");
    assert_eq!(server.lease(ON_VOICE, &Message::discover(mac(1))).yiaddr(), returning);
    // Not by asking for one, either.
    let wish = Message::request(mac(9)).with(50, [10, 250, 1, 28]).with(54, VOICE_ADDRESS.octets());
    assert_eq!(server.reply(ON_VOICE, &wish).message_type(), 6);
    // Nor by claiming to be a phone.
    assert_eq!(server.send(ON_VOICE, &phone_440(3)), Err(NoReply::ReservedShare));
    server.lease(ON_VOICE, &Message::discover(mac(7)));
    assert_eq!(server.send(ON_VOICE, &phone_440(3)), Err(NoReply::PoolFull));
}

#[test]
fn a_flood_of_strangers_that_decline_all_they_are_offered_leaves_that_share_as_well() {
    let mut server = shared(25);
    let returning = server.lease(ON_VOICE, &Message::discover(mac(1))).yiaddr();
    let _ = server.send(ON_VOICE, &Message::release(mac(1), returning));
    let mut withheld = 0;
    for n in 0..100 {
        let Ok(offer) = server.send(ON_VOICE, &Message::discover(mac(100 + n))) else { continue };
        let offered = Read::new(&offer.bytes).yiaddr();
        let decline = server.decide(ON_VOICE, &Message::decline(mac(100 + n), offered).bytes());
        assert_eq!(decline.reply, Err(NoReply::Declined));
        server.commit(&decline);
        withheld += 1;
    }
    assert_eq!(withheld, 8);
    server.lease(ON_VOICE, &Message::discover(mac(1)));
    server.lease(ON_VOICE, &Message::discover(mac(7)));
}

#[test]
fn a_flood_of_strangers_that_claim_to_be_phones_leaves_a_share_of_the_pools_for_phones() {
    let mut lab = site();
    lab.scopes[0].pools = vec![
        pool("10.250.1.20-10.250.1.29", &[]),
        pool("10.250.1.30-10.250.1.39", &[PoolUser::Phones]),
    ];
    lab.scopes[0].reserved_share = 20;
    lab.phones.push(phone(mac(7), None, Vec::new()));
    let mut server = Server::new(lab);
    let returning = server.lease(ON_VOICE, &phone_440(1)).yiaddr();
    let _ = server.send(ON_VOICE, &Message::release(mac(1), returning));
    let as_phone = |mut message: Message| {
        message.mac.0[5] = 2;
        message.with(60, b"440HD")
    };
    assert_eq!(flood_as(&mut server, 100, as_phone).len(), 16);
    // Of the open pool alone, two addresses are for known clients; four are left of it.
    assert_eq!(flood(&mut server, 100).len(), 2);
    server.lease(ON_VOICE, &Message::discover(mac(7)));
    server.lease(ON_VOICE, &phone_440(1));
}

#[test]
fn a_flood_from_one_scope_of_a_link_to_the_next_is_told_apart_from_full_pools() {
    let mut lab = site();
    for scope in &mut lab.scopes {
        scope.shared_network = Some("floor".into());
        scope.reserved_share = 50;
    }
    lab.scopes[0].pools = vec![pool("10.250.1.20-10.250.1.21", &[])];
    lab.scopes[1].pools = vec![pool("10.0.0.100", &[])];
    let mut server = Server::new(lab);
    assert_eq!(flood(&mut server, 10).len(), 2);
    assert_eq!(server.send(ON_VOICE, &Message::discover(mac(2))), Err(NoReply::ReservedShare));
}

#[test]
fn a_share_of_a_small_pool_is_nothing_and_of_a_large_one_is_not_much() {
    for (last, share, left) in
        [("10.250.1.20", 90, 0), ("10.250.1.28", 10, 0), ("10.250.1.29", 10, 1)]
    {
        let mut lab = site();
        lab.scopes[0].pools = vec![pool(&format!("10.250.1.20-{last}"), &[])];
        lab.scopes[0].reserved_share = share;
        let size = lab.scopes[0].pools[0].range.count() as usize;
        assert_eq!(flood(&mut Server::new(lab), 100).len(), size - left);
    }
    let mut lab = site();
    lab.scopes[0].subnet = "10.250.0.0/16".parse().unwrap();
    lab.scopes[0].pools = vec![pool("10.250.2.0-10.250.9.255", &[])];
    lab.scopes[0].reserved_share = 90;
    assert_eq!(flood(&mut Server::new(lab), 3000).len(), 2048 - 128);
}

#[test]
fn strangers_that_wait_take_over_from_strangers_and_not_from_clients_that_are_known() {
    let mut server = shared(50);
    let returning = server.lease(ON_VOICE, &phone_440(2)).yiaddr();
    let _ = server.send(ON_VOICE, &Message::release(mac(2), returning));
    let phones = [server.reply(ON_VOICE, &phone_440(2)), server.reply(ON_VOICE, &phone_440(7))];
    let first = flood(&mut server, 100);
    assert_eq!(first.len(), 3);
    server.wait(5);
    let mut second = flood(&mut server, 200);
    second.sort_unstable();
    assert_eq!(second, first);
    for (n, offered) in [(2, &phones[0]), (7, &phones[1])] {
        assert_eq!(server.lease(ON_VOICE, &phone_440(n)).yiaddr(), offered.yiaddr());
    }
}

#[test]
fn without_a_share_strangers_may_have_everything() {
    assert_eq!(flood(&mut shared(0), 100).len(), 10);
    assert_eq!(flood(&mut shared(100), 100).len(), 0);
}

#[test]
fn the_count_of_what_is_free_survives_failures_releases_and_reloads() {
    let mut server = shared(90);
    for round in 0..20 {
        let request =
            Message::request(mac(2)).with(50, [10, 250, 1, 20]).with(54, VOICE_ADDRESS.octets());
        let ack = server.decide(ON_VOICE, &request.bytes());
        match round % 3 {
            0 => server.core.failed(ack.ticket.unwrap()),
            1 => {
                let mut other = (*server.site).clone();
                other.scopes[0].excluded = vec![ip("10.250.1.29")];
                server.core.set_site(other.into(), links(), server.now);
                server.commit(&ack);
                server.core.set_site(server.site.clone(), links(), server.now);
            }
            _ => drop(server.commit(&ack)),
        }
        let release = Message::release(mac(2), ip("10.250.1.20"));
        let _ = server.send(ON_VOICE, &release);
        server.wait(60);
        server.core.tick(server.now);
        assert_eq!(flood(&mut server, 30).len(), 1, "round {round}");
        server.wait(60);
    }
}

#[test]
fn a_decline_is_held_for_as_long_as_the_site_says() {
    let mut lab = site();
    lab.scopes[0].pools = vec![pool("10.250.1.20", &[])];
    lab.dhcp.decline_hold = std::time::Duration::from_secs(600);
    let mut server = Server::new(lab);
    let address = server.lease(ON_VOICE, &Message::discover(mac(1))).yiaddr();
    let _ = server.send(ON_VOICE, &Message::decline(mac(1), address));
    server.wait(599);
    assert_eq!(server.send(ON_VOICE, &Message::discover(mac(2))), Err(NoReply::PoolFull));
    server.wait(1);
    assert_eq!(server.lease(ON_VOICE, &Message::discover(mac(2))).yiaddr(), address);
}

#[test]
fn an_offer_of_the_address_its_client_has_is_not_taken_back() {
    let mut lab = site();
    lab.scopes[0].pools = vec![pool("10.250.1.20", &[])];
    let mut server = Server::new(lab);
    server.lease(ON_VOICE, &Message::discover(mac(1)));
    server.reply(ON_VOICE, &Message::discover(mac(1)));
    server.wait(10);
    assert_eq!(server.send(ON_VOICE, &Message::discover(mac(2))), Err(NoReply::PoolFull));
    // Nor once its renewal is on disk.
    let renewal = Message::request(mac(1)).using(ip("10.250.1.20"));
    let renewal = server.decide(ON_VOICE, &renewal.bytes());
    server.reply(ON_VOICE, &Message::discover(mac(1)));
    server.commit(&renewal);
    server.wait(10);
    assert_eq!(server.send(ON_VOICE, &Message::discover(mac(2))), Err(NoReply::PoolFull));
    assert_eq!(server.core.offer_count(), 1);
}

#[test]
fn an_offer_of_the_address_its_client_nearly_had_is_an_offer_like_others() {
    let mut lab = site();
    lab.scopes[0].pools = vec![pool("10.250.1.20", &[])];
    let mut server = Server::new(lab);
    server.lease(ON_VOICE, &Message::discover(mac(1)));
    server.wait(8 * 3600);
    let renewal = Message::request(mac(1)).using(ip("10.250.1.20"));
    let renewal = server.decide(ON_VOICE, &renewal.bytes());
    server.reply(ON_VOICE, &Message::discover(mac(1)));
    server.core.failed(renewal.ticket.unwrap());
    server.wait(10);
    assert_eq!(last_byte(&server.lease(ON_VOICE, &Message::discover(mac(2)))), 20);
}
