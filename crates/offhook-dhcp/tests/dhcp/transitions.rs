//! The state of an address and of a client, times every message: what comes of it.

use std::net::Ipv4Addr;

use offhook_dhcp::Reply;
use offhook_model::{PoolUser, Scope, Serve};

use crate::support::*;

const CLIENT: u8 = 1;
const OTHER: u8 = 2;
/// The address in question, and the first to be offered.
const A: Ipv4Addr = Ipv4Addr::new(10, 250, 1, 20);
/// One that is free.
const B: Ipv4Addr = Ipv4Addr::new(10, 250, 1, 77);

#[derive(Clone, Copy, Debug)]
enum State {
    Unknown,
    Offered,
    Bound,
    Expired,
    Released,
    Declined,
    BoundToOther,
    OfferedToOther,
    ExpiredOfOther,
}

const STATES: [State; 9] = [
    State::Unknown,
    State::Offered,
    State::Bound,
    State::Expired,
    State::Released,
    State::Declined,
    State::BoundToOther,
    State::OfferedToOther,
    State::ExpiredOfOther,
];

fn server_in(state: State) -> Server {
    let mut server = Server::lab();
    let other = Message::discover(mac(OTHER));
    let own = Message::discover(mac(CLIENT));
    match state {
        State::Unknown => {}
        State::Offered => assert_eq!(server.reply(ON_VOICE, &own).yiaddr(), A),
        State::OfferedToOther => assert_eq!(server.reply(ON_VOICE, &other).yiaddr(), A),
        State::BoundToOther | State::ExpiredOfOther => {
            assert_eq!(server.lease(ON_VOICE, &other).yiaddr(), A);
        }
        State::Bound | State::Expired | State::Released | State::Declined => {
            assert_eq!(server.lease(ON_VOICE, &own).yiaddr(), A);
        }
    }
    match state {
        State::Expired | State::ExpiredOfOther => server.wait(8 * 3600),
        State::Released => {
            server.send(ON_VOICE, &Message::release(mac(CLIENT), A)).unwrap_err();
        }
        State::Declined => {
            server.send(ON_VOICE, &Message::decline(mac(CLIENT), A)).unwrap_err();
        }
        _ => {}
    }
    server
}

fn outcome(result: Result<Reply, offhook_dhcp::NoReply>) -> String {
    match result.map(|reply| Read::new(&reply.bytes)) {
        Err(reason) => reason.to_string(),
        Ok(reply) => match (reply.message_type(), reply.yiaddr()) {
            (2, A) => "offer-A".into(),
            (2, _) => "offer".into(),
            (5, A) => "ack-A".into(),
            (5, B) => "ack-B".into(),
            (5, NOBODY) => "ack".into(),
            (5, _) => "ack-new".into(),
            (6, _) => "nak".into(),
            other => panic!("{other:?}"),
        },
    }
}

/// One row of the table: a message, and what comes of it in each of [`STATES`].
#[track_caller]
fn row(message: &Message, destination: Ipv4Addr, expected: [&str; 9]) {
    row_where(|_| {}, message, destination, expected);
}

/// The same, with another configuration since the state was reached.
#[track_caller]
fn row_where(
    rules: impl Fn(&mut Scope),
    message: &Message,
    destination: Ipv4Addr,
    expected: [&str; 9],
) {
    for (state, expected) in STATES.into_iter().zip(expected) {
        let mut server = server_in(state);
        let mut lab = site();
        rules(&mut lab.scopes[0]);
        server.core.set_site(lab.into(), links(), server.now);
        let source = std::net::SocketAddrV4::new(message.ciaddr, 68);
        let decision = server.decide_from(ON_VOICE, source, destination, &message.bytes());
        assert_eq!(decision.ticket.is_some(), !decision.writes.is_empty());
        let found = outcome(decision.reply);
        assert_eq!(found, expected, "in state {state:?}");
        let leases = ["ack-A", "ack-B", "ack-new", "released", "declined"].contains(&expected);
        assert_eq!(!decision.writes.is_empty(), leases, "in state {state:?}: {expected}");
    }
}

#[test]
fn discover() {
    // Unknown, Offered, Bound, Expired, Released, Declined, BoundToOther, OfferedToOther, ExpiredOfOther
    row(
        &Message::discover(mac(CLIENT)),
        BROADCAST,
        ["offer-A", "offer-A", "offer-A", "offer-A", "offer-A", "offer", "offer", "offer", "offer"],
    );
    row(
        &Message::discover(mac(CLIENT)).with(50, A.octets()),
        BROADCAST,
        [
            "offer-A", "offer-A", "offer-A", "offer-A", "offer-A", "offer", "offer", "offer",
            "offer-A",
        ],
    );
}

#[test]
fn request_that_selects_our_offer() {
    let request = Message::request(mac(CLIENT)).with(54, VOICE_ADDRESS.octets());
    row(
        &request.clone().with(50, A.octets()),
        BROADCAST,
        ["ack-A", "ack-A", "ack-A", "ack-A", "ack-A", "nak", "nak", "nak", "ack-A"],
    );
    // Another than was offered.
    row(
        &request.clone().with(50, B.octets()),
        BROADCAST,
        ["ack-B", "nak", "ack-B", "ack-B", "ack-B", "ack-B", "ack-B", "ack-B", "ack-B"],
    );
    row(&request.clone().with(50, [192, 168, 9, 9]), BROADCAST, ["nak"; 9]);
    row(&request.clone().with(50, [10, 250, 1, 5]), BROADCAST, ["nak"; 9]);
    // Without an address: what it was offered, has, or would be offered.
    row(
        &request,
        BROADCAST,
        ["ack-A", "ack-A", "ack-A", "ack-A", "ack-A", "ack-new", "ack-new", "ack-new", "ack-new"],
    );
}

#[test]
fn request_that_selects_another_server() {
    let request = Message::request(mac(CLIENT)).with(54, [10, 250, 1, 9]);
    row(&request.with(50, A.octets()), BROADCAST, ["other-server"; 9]);
}

#[test]
fn request_after_a_reboot() {
    let request = Message::request(mac(CLIENT));
    row(
        &request.clone().with(50, A.octets()),
        BROADCAST,
        [
            "unknown-client",
            "unknown-client",
            "ack-A",
            "ack-A",
            "ack-A",
            "nak",
            "nak",
            "nak",
            "unknown-client",
        ],
    );
    for address in [B, ip("10.250.1.250")] {
        row(
            &request.clone().with(50, address.octets()),
            BROADCAST,
            [
                "unknown-client",
                "unknown-client",
                "nak",
                "nak",
                "nak",
                "unknown-client",
                "unknown-client",
                "unknown-client",
                "unknown-client",
            ],
        );
    }
    row(&request.clone().with(50, [192, 168, 9, 9]), BROADCAST, ["nak"; 9]);
    row(&request, BROADCAST, ["no-address"; 9]);
}

#[test]
fn request_that_extends_a_lease() {
    for destination in [VOICE_ADDRESS, BROADCAST] {
        let request = Message::request(mac(CLIENT)).using(A);
        let extended = ["ack-A", "ack-A", "ack-A", "ack-A", "ack-A", "nak", "nak", "nak", "ack-A"];
        row(&request, destination, extended);
        // With the server named as well, which is wrong and happens.
        row(&request.with(54, VOICE_ADDRESS.octets()), destination, extended);
        row(
            &Message::request(mac(CLIENT)).using(B),
            destination,
            ["ack-B", "ack-B", "nak", "nak", "nak", "ack-B", "ack-B", "ack-B", "ack-B"],
        );
        row(&Message::request(mac(CLIENT)).using(ip("10.1.1.1")), destination, ["nak"; 9]);
    }
}

#[test]
fn release_and_decline() {
    let mut expected = ["not-holder"; 9];
    expected[2] = "released";
    row(&Message::release(mac(CLIENT), A), VOICE_ADDRESS, expected);
    expected[1..=2].fill("declined");
    row(&Message::decline(mac(CLIENT), A), BROADCAST, expected);
    row(&Message::release(mac(CLIENT), B), VOICE_ADDRESS, ["not-holder"; 9]);
    row(&Message::decline(mac(CLIENT), B), BROADCAST, ["not-holder"; 9]);
    row(&Message::new(4, mac(CLIENT)), BROADCAST, ["no-address"; 9]);
    row(&Message::new(7, mac(CLIENT)), BROADCAST, ["no-address"; 9]);
    let elsewhere = [10, 250, 1, 9];
    row(&Message::release(mac(CLIENT), A).with(54, elsewhere), VOICE_ADDRESS, ["other-server"; 9]);
    row(&Message::decline(mac(CLIENT), A).with(54, elsewhere), BROADCAST, ["other-server"; 9]);
}

#[test]
fn inform() {
    row(&Message::inform(mac(CLIENT), A), BROADCAST, ["ack"; 9]);
    row(&Message::inform(mac(CLIENT), ip("172.16.0.9")), VOICE_ADDRESS, ["ack"; 9]);
}

/// What a row of a silent scope is made of.
const fn always(reason: &str) -> [&str; 9] {
    [reason; 9]
}

#[test]
fn requests_where_another_server_may_know_better() {
    let modest = |scope: &mut Scope| scope.authoritative = false;
    let (unknown, silent) = ("unknown-client", "not-authoritative");
    let request = Message::request(mac(CLIENT));
    let selecting = request.clone().with(54, VOICE_ADDRESS.octets());
    // What is asked of us by name is answered as ever.
    row_where(
        modest,
        &selecting.clone().with(50, A.octets()),
        BROADCAST,
        ["ack-A", "ack-A", "ack-A", "ack-A", "ack-A", "nak", "nak", "nak", "ack-A"],
    );
    row_where(modest, &selecting.with(50, [192, 168, 9, 9]), BROADCAST, always("nak"));
    row_where(
        modest,
        &request.clone().with(50, A.octets()),
        BROADCAST,
        [unknown, unknown, "ack-A", "ack-A", "ack-A", "nak", "nak", silent, unknown],
    );
    row_where(
        modest,
        &request.clone().with(50, B.octets()),
        BROADCAST,
        [unknown, unknown, silent, silent, silent, unknown, unknown, unknown, unknown],
    );
    row_where(modest, &request.clone().with(50, [192, 168, 9, 9]), BROADCAST, always(silent));
    row_where(
        modest,
        &request.clone().using(A),
        VOICE_ADDRESS,
        ["ack-A", "ack-A", "ack-A", "ack-A", "ack-A", "nak", "nak", silent, "ack-A"],
    );
    // Whoever asks any server may be another's: without a record of it there is no authority to extend its lease.
    row_where(
        modest,
        &request.clone().using(A),
        BROADCAST,
        [unknown, unknown, "ack-A", "ack-A", "ack-A", "nak", "nak", silent, unknown],
    );
    row_where(modest, &request.using(ip("10.1.1.1")), BROADCAST, always(silent));
}

#[test]
fn a_client_that_is_not_served_any_more() {
    for serve in [Serve::Phones, Serve::Inventory] {
        let rules = |scope: &mut Scope| scope.serve = serve;
        let request = Message::request(mac(CLIENT));
        for message in [
            Message::discover(mac(CLIENT)),
            request.clone().with(50, A.octets()).with(54, VOICE_ADDRESS.octets()),
            request.clone().with(50, A.octets()),
            request.clone().with(50, [192, 168, 9, 9]),
            request.using(A),
            Message::inform(mac(CLIENT), A),
        ] {
            row_where(rules, &message, BROADCAST, always("not-served"));
        }
        let mut expected = always("not-served");
        expected[2] = "released";
        row_where(rules, &Message::release(mac(CLIENT), A), VOICE_ADDRESS, expected);
        expected[1..=2].fill("declined");
        row_where(rules, &Message::decline(mac(CLIENT), A), BROADCAST, expected);
    }
}

#[test]
fn a_client_that_the_pool_does_not_admit_any_more() {
    let rules = |scope: &mut Scope| scope.pools[0].only = vec![PoolUser::Phones];
    let unknown = "unknown-client";
    let request = Message::request(mac(CLIENT));
    row_where(rules, &Message::discover(mac(CLIENT)), BROADCAST, always("pool-full"));
    row_where(
        rules,
        &request.clone().with(50, A.octets()).with(54, VOICE_ADDRESS.octets()),
        BROADCAST,
        always("nak"),
    );
    // Offers are forgotten with the old rules.
    row_where(
        rules,
        &request.clone().with(50, A.octets()),
        BROADCAST,
        [unknown, unknown, "nak", "nak", "nak", "nak", "nak", unknown, unknown],
    );
    row_where(rules, &request.using(A), VOICE_ADDRESS, always("nak"));
    let mut expected = always("not-holder");
    expected[2] = "released";
    row_where(rules, &Message::release(mac(CLIENT), A), VOICE_ADDRESS, expected);
}
