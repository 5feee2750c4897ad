//! Who is asked and when, on simulated time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::forward::{Change, Inquiry, Step, Upstreams};

/// What a server does with a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Answers(u64),
    Fails(u64),
    Refuses,
    Silent,
}

fn address(n: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, n as u8 + 1], 53))
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// What became of a question.
#[derive(Debug, PartialEq, Eq)]
struct Course {
    /// Who answered, and after how long.
    answer: Option<(usize, u64)>,
    /// When it was over, milliseconds.
    over: u64,
    /// Who was asked, and when.
    asked: Vec<(usize, u64)>,
    changes: Vec<Change>,
}

/// Puts a question to servers that behave like that; as the shell does it.
fn ask(servers: &[Server], upstreams: &mut Upstreams, now: &mut Instant) -> Course {
    let start = *now;
    let addresses: Vec<_> = (0..servers.len()).map(address).collect();
    let mut inquiry = Inquiry::new(&addresses, upstreams, start);
    let mut course = Course { answer: None, over: 0, asked: vec![], changes: vec![] };
    // (when, server, asked at, what), earliest first.
    let mut events: Vec<(Instant, usize, Instant, Option<Server>)> = Vec::new();
    let since = |at: Instant| (at - start).as_millis() as u64;
    loop {
        let until = match inquiry.step(upstreams, *now) {
            Step::Ask(server) | Step::Probe(server) => {
                let n = addresses.iter().position(|known| *known == server).unwrap();
                course.asked.push((n, since(*now)));
                match servers[n] {
                    Server::Answers(after) | Server::Fails(after) => {
                        events.push((*now + ms(after), n, *now, Some(servers[n])));
                    }
                    Server::Refuses => events.push((*now, n, *now, Some(servers[n]))),
                    Server::Silent => {}
                }
                events.push((*now + upstreams.patience(server), n, *now, None));
                events.sort_by_key(|event| event.0);
                continue;
            }
            Step::Wait(until) => until,
            Step::GiveUp => break,
        };
        if events.first().is_none_or(|event| event.0 > until) {
            *now = until;
            continue;
        }
        let (at, n, asked, what) = events.remove(0);
        *now = at;
        let server = address(n);
        match what {
            None => course.changes.extend(upstreams.missed(server, asked, at)),
            Some(Server::Refuses) => {
                course.changes.extend(upstreams.missed(server, asked, at));
                inquiry.failed(server, at);
            }
            Some(what) => {
                events.retain(|event| event.1 != n || event.2 != asked);
                course.changes.extend(upstreams.answered(server, at - asked, at));
                if matches!(what, Server::Answers(_)) {
                    course.answer = Some((n, since(at)));
                    break;
                }
                inquiry.failed(server, at);
            }
        }
    }
    course.over = since(*now);
    course
}

use Server::{Answers, Fails, Refuses, Silent};

#[test]
fn the_first_server_is_asked_and_nobody_else() {
    let (mut upstreams, mut now) = (Upstreams::default(), Instant::now());
    let course = ask(&[Answers(20), Answers(5)], &mut upstreams, &mut now);
    assert_eq!((course.answer, course.asked), (Some((0, 20)), vec![(0, 0)]));
}

#[test]
fn a_silent_first_server_costs_half_a_second_and_then_nothing() {
    let (mut upstreams, mut now) = (Upstreams::default(), Instant::now());
    let servers = [Silent, Answers(20)];
    let mut silent = None;
    for n in 0..10 {
        let course = ask(&servers, &mut upstreams, &mut now);
        let (who, after) = course.answer.unwrap();
        assert_eq!(who, 1);
        assert!(after <= 520, "{course:?}");
        if silent.is_some() {
            assert_eq!(after, 20, "{course:?}");
        }
        if course.changes.contains(&Change::Silent(address(0))) {
            silent = Some(n);
        }
        now += ms(100);
    }
    assert!(silent.is_some_and(|n| n < 4), "{silent:?}");
}

#[test]
fn a_silent_server_that_is_back_is_first_again_within_a_second() {
    let (mut upstreams, mut now) = (Upstreams::default(), Instant::now());
    while !upstreams.is_silent(address(0)) {
        ask(&[Silent, Answers(20)], &mut upstreams, &mut now);
    }
    let back = now;
    loop {
        let course = ask(&[Answers(3), Answers(20)], &mut upstreams, &mut now);
        assert!(course.answer.unwrap().1 <= 20, "nobody waits for a probe: {course:?}");
        if course.changes.iter().any(|change| matches!(change, Change::Back(..))) {
            break;
        }
        assert!(now - back < ms(1500));
        now += ms(50);
    }
    let course = ask(&[Answers(3), Answers(20)], &mut upstreams, &mut now);
    assert_eq!((course.answer, course.asked), (Some((0, 3)), vec![(0, 0)]));
}

#[test]
fn servers_that_fail_or_are_not_there_cost_no_wait() {
    let (mut upstreams, mut now) = (Upstreams::default(), Instant::now());
    let course = ask(&[Fails(5), Refuses, Fails(5), Answers(5)], &mut upstreams, &mut now);
    assert_eq!(course.answer, Some((3, 15)));
    let course = ask(&[Fails(5), Refuses], &mut upstreams, &mut now);
    assert_eq!((course.answer, course.over), (None, 5), "with nobody left it is over at once");
}

#[test]
fn a_single_slow_server_is_waited_for() {
    let (mut upstreams, mut now) = (Upstreams::default(), Instant::now());
    let course = ask(&[Answers(3000)], &mut upstreams, &mut now);
    assert_eq!(course.answer, Some((0, 3000)));
    assert!(course.asked.len() <= 4, "{course:?}");
}

#[test]
fn nobody_waits_longer_than_a_phone_and_nobody_is_asked_without_end() {
    let (mut upstreams, mut now) = (Upstreams::default(), Instant::now());
    for count in 1..6 {
        let course = ask(&vec![Silent; count], &mut Upstreams::default(), &mut now);
        assert_eq!((course.answer, course.over), (None, 4500));
        let most = (0..count).map(|n| course.asked.iter().filter(|(who, _)| *who == n).count());
        assert!(most.max().unwrap() <= 4, "{course:?}");
    }
    let course = ask(&[Silent], &mut upstreams, &mut now);
    assert_eq!(course.changes, [Change::Silent(address(0))], "said once");
}

#[test]
fn when_all_are_known_to_be_silent_it_is_over_at_once_but_for_one_try_a_second() {
    let (mut upstreams, mut now) = (Upstreams::default(), Instant::now());
    let servers = [Silent, Silent];
    while !(upstreams.is_silent(address(0)) && upstreams.is_silent(address(1))) {
        ask(&servers, &mut upstreams, &mut now);
    }
    now += ms(2000);
    let addresses = [address(0), address(1)];
    let mut tries = 0;
    for _ in 0..50 {
        let mut inquiry = Inquiry::new(&addresses, &mut upstreams, now);
        assert!(upstreams.all_silent(&addresses));
        match inquiry.step(&upstreams, now) {
            Step::GiveUp => {}
            Step::Ask(_) => tries += 1,
            step => panic!("{step:?}"),
        }
        now += ms(100);
    }
    assert_eq!(tries, 5, "five seconds");
    let course = ask(&[Answers(5), Silent], &mut upstreams, &mut now);
    assert_eq!(course.answer, Some((0, 5)), "whoever is tried and answers has answered");
}

#[test]
fn one_lost_burst_makes_nobody_silent() {
    let mut upstreams = Upstreams::default();
    let now = Instant::now();
    upstreams.answered(address(0), ms(5), now);
    for _ in 0..100 {
        assert_eq!(upstreams.missed(address(0), now, now + ms(300)), None);
    }
    assert!(!upstreams.is_silent(address(0)));
    let change = upstreams.missed(address(0), now + ms(900), now + ms(1200));
    assert_eq!(change, Some(Change::Silent(address(0))));
    let back = upstreams.answered(address(0), ms(5), now + ms(2000));
    assert_eq!(back, Some(Change::Back(address(0), ms(2000))));
}

#[test]
fn patience_follows_the_round_trip_within_bounds() {
    let mut upstreams = Upstreams::default();
    let now = Instant::now();
    assert_eq!(upstreams.patience(address(0)), ms(500));
    for _ in 0..20 {
        upstreams.answered(address(0), ms(2), now);
    }
    assert_eq!(upstreams.patience(address(0)), ms(300));
    for _ in 0..20 {
        upstreams.answered(address(0), ms(450), now);
    }
    let patience = upstreams.patience(address(0));
    assert!(patience > ms(450) && patience < ms(800), "{patience:?}");
    for _ in 0..50 {
        upstreams.answered(address(0), ms(3000), now);
    }
    assert_eq!(upstreams.patience(address(0)), ms(800));
}

#[test]
fn a_flapping_server_never_keeps_anybody_from_the_other_one() {
    let (mut upstreams, mut now) = (Upstreams::default(), Instant::now());
    for n in 0..200 {
        let first = if n / 7 % 2 == 0 { Silent } else { Answers(4) };
        let course = ask(&[first, Answers(20)], &mut upstreams, &mut now);
        assert!(course.answer.is_some_and(|(_, after)| after <= 820), "{course:?}");
        now += ms(130);
    }
}

#[test]
fn a_server_without_edns_is_asked_without_for_a_while() {
    let (mut upstreams, now) = (Upstreams::default(), Instant::now());
    assert!(upstreams.takes_edns(address(0), now));
    upstreams.refused_edns(address(0), now);
    assert!(!upstreams.takes_edns(address(0), now + Duration::from_secs(899)));
    assert!(upstreams.takes_edns(address(0), now + Duration::from_secs(900)));
}
