//! How long leases last, and when they are renewed.

use std::time::Duration;

use offhook_model::{LeaseTimes, Site};
use proptest::prelude::*;

use crate::support::*;

fn seconds(read: &Read, code: u8) -> u32 {
    u32::from_be_bytes(read.option(code).unwrap().try_into().unwrap())
}

fn times(read: &Read) -> (u32, u32, u32) {
    (seconds(read, 51), seconds(read, 58), seconds(read, 59))
}

fn secs(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

fn plain(n: u8) -> Message {
    Message::discover(mac(n))
}

fn phone_440() -> Message {
    plain(1).with(60, b"440HD")
}

fn with_class(change: impl FnOnce(&mut offhook_model::Class)) -> Site {
    let mut lab = site();
    let id = class_id(&lab, "440HD");
    change(&mut lab.classes[usize::from(id.0)]);
    lab
}

#[test]
fn a_class_has_its_own_lease_time_and_the_store_the_same() {
    let mut server = Server::new(with_class(|class| class.lease = secs(1000)));
    assert_eq!(times(&server.lease(ON_VOICE, &phone_440())), (1000, 500, 875));
    assert_eq!(server.disk[0].expires, server.now + Duration::from_secs(1000));
    assert_eq!(times(&server.lease(ON_VOICE, &plain(2))), (28800, 14400, 25200));
}

#[test]
fn timers_of_a_class_beat_those_of_its_scope_one_by_one() {
    let mut lab = with_class(|class| class.times.renew = secs(600));
    lab.scopes[0].times =
        LeaseTimes { renew: secs(3000), rebind: secs(20000), ..Default::default() };
    let mut server = Server::new(lab);
    assert_eq!(times(&server.lease(ON_VOICE, &phone_440())), (28800, 600, 20000));
    assert_eq!(times(&server.lease(ON_VOICE, &plain(2))), (28800, 3000, 20000));
    // A lease cut short has no room for them.
    let short = plain(3).with(51, 900_u32.to_be_bytes());
    assert_eq!(times(&server.lease(ON_VOICE, &short)), (900, 450, 787));
}

#[test]
fn a_client_gets_the_time_it_asks_for_within_bounds() {
    let mut server = Server::lab();
    for (wish, lease) in
        [(0, 60), (59, 60), (61, 61), (28800, 28800), (28801, 28800), (u32::MAX, 28800)]
    {
        let ack = server.lease(ON_VOICE, &plain(1).with(51, wish.to_be_bytes()));
        assert_eq!(seconds(&ack, 51), lease, "asked for {wish}");
    }
    let mut lab = with_class(|class| class.times.max = secs(90_000));
    lab.scopes[0].times = LeaseTimes { min: secs(300), max: secs(40_000), ..Default::default() };
    let mut server = Server::new(lab);
    for (message, wish, lease) in [
        (plain(1), 1_u32, 300),
        (plain(1), 35_000, 35_000),
        (plain(1), 50_000, 40_000),
        (phone_440(), 50_000, 50_000),
        (phone_440(), u32::MAX, 90_000),
        (phone_440(), 299, 300),
    ] {
        let ack = server.lease(ON_VOICE, &message.with(51, wish.to_be_bytes()));
        assert_eq!(seconds(&ack, 51), lease, "asked for {wish}");
    }
    // Who asks for nothing gets what is usual, whatever the longest is.
    assert_eq!(seconds(&server.lease(ON_VOICE, &plain(1)), 51), 28800);
}

#[test]
fn a_scope_with_shorter_leases_than_a_minute_keeps_them() {
    let mut lab = site();
    lab.scopes[0].lease = Duration::from_secs(20);
    let mut server = Server::new(lab);
    assert_eq!(times(&server.lease(ON_VOICE, &plain(1))), (20, 10, 17));
    assert_eq!(seconds(&server.lease(ON_VOICE, &plain(1).with(51, [0, 0, 0, 9])), 51), 20);
}

#[test]
fn recognised_phones_get_a_short_lease_where_they_are_to_move_on() {
    let mut lab = with_class(|class| class.lease = secs(86400));
    for scope in &mut lab.scopes {
        scope.phone_lease = secs(120);
    }
    lab.phones.push(phone(mac(7), None, Vec::new()));
    let mut server = Server::new(lab);
    assert_eq!(times(&server.lease(ON_NATIVE, &phone_440())), (120, 60, 105));
    assert_eq!(seconds(&server.lease(ON_NATIVE, &plain(7)), 51), 120);
    assert_eq!(seconds(&server.lease(ON_NATIVE, &plain(2)), 51), 3600);
    // By LLDP they move on as well.
    let mut elsewhere = (*server.site).clone();
    elsewhere.scopes[1].voice = None;
    assert_eq!(seconds(&Server::new(elsewhere).lease(ON_NATIVE, &phone_440()), 51), 120);
    // There is nowhere to move on to from the voice scope.
    assert_eq!(seconds(&server.lease(ON_VOICE, &phone_440()), 51), 86400);
    assert_eq!(seconds(&server.lease(ON_VOICE, &plain(7)), 51), 28800);
}

#[test]
fn a_lease_of_a_class_that_is_shorter_holds_also_where_its_phones_are_to_move_on() {
    let mut lab = with_class(|class| class.lease = secs(60));
    lab.scopes[1].phone_lease = secs(120);
    let mut server = Server::new(lab);
    assert_eq!(times(&server.lease(ON_NATIVE, &phone_440())), (60, 30, 52));
    let wish = phone_440().with(51, 3600_u32.to_be_bytes());
    assert_eq!(seconds(&server.lease(ON_NATIVE, &wish), 51), 60);
}

#[test]
fn a_phone_that_is_to_move_on_gets_no_longer_lease_by_asking_for_one() {
    let mut lab = with_class(|class| {
        class.times = LeaseTimes { min: secs(600), max: secs(86400), ..Default::default() };
    });
    lab.scopes[1].phone_lease = secs(300);
    lab.scopes[1].times.max = secs(86400);
    lab.phones.push(phone(mac(7), None, Vec::new()));
    let mut server = Server::new(lab);
    for (message, wish, lease) in [
        (phone_440(), 36_000_u32, 300),
        (phone_440(), u32::MAX, 300),
        (phone_440(), 200, 300),
        (plain(7), 36_000, 300),
        (plain(7), 200, 200),
        (plain(2), 36_000, 36_000),
    ] {
        let ack = server.lease(ON_NATIVE, &message.with(51, wish.to_be_bytes()));
        assert_eq!(seconds(&ack, 51), lease, "asked for {wish}");
    }
    // A bound that is shorter still holds for phones as well.
    let mut lab = (*server.site).clone();
    lab.scopes[1].times.max = secs(100);
    let ack = Server::new(lab).lease(ON_NATIVE, &plain(7).with(51, [0, 0, 255, 255]));
    assert_eq!(seconds(&ack, 51), 100);
}

#[test]
fn an_inform_is_told_no_times() {
    let mut server = Server::new(with_class(|class| class.times.renew = secs(600)));
    let ack =
        server.reply(ON_VOICE, &Message::inform(mac(1), ip("10.250.1.77")).with(60, b"440HD"));
    for code in [51, 58, 59] {
        assert_eq!(ack.option(code), None);
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn t1_is_before_t2_is_before_the_end(
        lease in 3..100_000_u64,
        times in proptest::array::uniform4(proptest::option::of(0..120_000_u64)),
        wish in proptest::option::of(any::<u32>()),
    ) {
        let mut lab = site();
        lab.scopes[0].lease = Duration::from_secs(lease);
        let [min, max, renew, rebind] = times.map(|time| time.map(Duration::from_secs));
        lab.scopes[0].times = LeaseTimes { min, max: max.map(|max| max.max(Duration::from_secs(3))), renew, rebind };
        let mut message = plain(1);
        if let Some(wish) = wish {
            message = message.with(51, wish.to_be_bytes());
        }
        let (lease, t1, t2) = self::times(&Server::new(lab).lease(ON_VOICE, &message));
        prop_assert!(t1 < t2 && t2 < lease, "{t1} {t2} {lease}");
    }
}
