//! Who is asked and when, on simulated time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::forward::{Change, Inquiry, Step, Upstreams, Way};

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
}

/// What happens at some time.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A question, of the running inquiry or an earlier one, has its answer or failure.
    Answer { question: u32, server: usize, asked: Instant, what: Server },
    /// A question was not answered in its time.
    Late { question: u32, server: usize, asked: Instant },
    /// A check has its answer.
    There { server: usize, asked: Instant },
    /// The time of a check is over.
    Checked { server: usize, asked: Instant },
}

/// Servers and time.
struct World {
    upstreams: Upstreams,
    now: Instant,
    events: Vec<(Instant, Event)>,
    question: u32,
    changes: Vec<Change>,
}

impl World {
    fn new() -> Self {
        let upstreams = Upstreams::default();
        Self { upstreams, now: Instant::now(), events: vec![], question: 0, changes: vec![] }
    }

    fn at(&mut self, after: Duration, event: Event) {
        self.events.push((self.now + after, event));
        self.events.sort_by_key(|event| event.0);
    }

    fn check(&mut self, n: usize, behaves: Server) {
        let asked = self.now;
        if let Answers(after) | Fails(after) = behaves
            && after < 1500
        {
            self.at(ms(after), Event::There { server: n, asked });
        }
        self.at(ms(1500), Event::Checked { server: n, asked });
    }

    /// Lets time pass, without a question.
    fn pass(&mut self, servers: &[Server], time: u64) {
        let until = self.now + ms(time);
        while self.events.first().is_some_and(|event| event.0 <= until) {
            self.happen(servers, None);
        }
        self.now = until;
    }

    /// The next event; the answer to the running question, if it is one.
    fn happen(
        &mut self,
        servers: &[Server],
        inquiry: Option<&mut Inquiry>,
    ) -> Option<(usize, Instant)> {
        let (at, event) = self.events.remove(0);
        self.now = at;
        match event {
            Event::Late { question, server, asked } => {
                let is_open = self.events.iter().any(|(_, event)| {
                    matches!(event, Event::Answer { question: q, server: s, asked: a, .. }
                        if *q == question && *s == server && *a == asked)
                });
                let never = matches!(servers[server], Silent);
                if (is_open || never) && self.upstreams.missed(address(server), at) {
                    self.check(server, servers[server]);
                }
            }
            Event::There { server, asked } => {
                self.changes.extend(self.upstreams.answered(address(server), at - asked, at));
            }
            Event::Checked { server, asked } => {
                self.changes.extend(self.upstreams.checked(address(server), asked));
            }
            Event::Answer { server, what: Refuses, question, .. } => {
                if self.upstreams.missed(address(server), at) {
                    self.check(server, Refuses);
                }
                if let Some(inquiry) = inquiry.filter(|_| question == self.question) {
                    inquiry.failed(address(server), at);
                }
            }
            Event::Answer { question, server, asked, what } => {
                self.changes.extend(self.upstreams.answered(address(server), at - asked, at));
                if question == self.question && matches!(what, Answers(_)) {
                    return Some((server, at));
                }
                if let Some(inquiry) = inquiry.filter(|_| question == self.question) {
                    inquiry.failed(address(server), at);
                }
            }
        }
        None
    }

    /// Puts a question to servers that behave like that; as the shell does it.
    fn ask(&mut self, servers: &[Server]) -> Course {
        let start = self.now;
        let addresses: Vec<_> = (0..servers.len()).map(address).collect();
        let mut inquiry = Inquiry::new(&addresses, &mut self.upstreams, start);
        let mut course = Course { answer: None, over: 0, asked: vec![] };
        self.question += 1;
        let question = self.question;
        let since = |at: Instant| (at - start).as_millis() as u64;
        let index = |server| addresses.iter().position(|known| *known == server).unwrap();
        loop {
            let until = match inquiry.step(&self.upstreams, self.now) {
                Step::Ask(server) => {
                    let (n, asked) = (index(server), self.now);
                    course.asked.push((n, since(asked)));
                    let after = match servers[n] {
                        Answers(after) | Fails(after) => Some(after),
                        Refuses => Some(0),
                        Silent => None,
                    };
                    if let Some(after) = after {
                        let what = servers[n];
                        self.at(ms(after), Event::Answer { question, server: n, asked, what });
                    }
                    let patience = self.upstreams.patience(server);
                    self.at(patience, Event::Late { question, server: n, asked });
                    continue;
                }
                Step::Check(server) => {
                    self.check(index(server), servers[index(server)]);
                    continue;
                }
                Step::Wait(until) => until,
                Step::GiveUp => break,
            };
            if self.events.first().is_none_or(|event| event.0 > until) {
                self.now = until;
                continue;
            }
            if let Some((n, at)) = self.happen(servers, Some(&mut inquiry)) {
                course.answer = Some((n, since(at)));
                break;
            }
        }
        course.over = since(self.now);
        course
    }
}

use Server::{Answers, Fails, Refuses, Silent};

#[test]
fn the_first_server_is_asked_and_nobody_else() {
    let course = World::new().ask(&[Answers(20), Answers(5)]);
    assert_eq!((course.answer, course.asked), (Some((0, 20)), vec![(0, 0)]));
}

#[test]
fn a_silent_first_server_costs_half_a_second_and_then_nothing() {
    let (servers, mut world) = ([Silent, Answers(20)], World::new());
    let begun = world.now;
    while world.changes.is_empty() {
        let (who, after) = world.ask(&servers).answer.unwrap();
        assert_eq!(who, 1);
        assert!(after <= 520, "{after}");
        world.pass(&servers, 100);
        assert!(world.now - begun < ms(3000));
    }
    assert_eq!(world.changes, [Change::Silent(address(0))]);
    assert_eq!(world.ask(&servers).answer, Some((1, 20)));
}

#[test]
fn a_silent_server_that_is_back_is_first_again_soon() {
    let mut world = World::new();
    while world.changes.is_empty() {
        world.ask(&[Silent, Answers(20)]);
        world.pass(&[Silent, Answers(20)], 100);
    }
    let (back, servers) = (world.now, [Answers(3), Answers(20)]);
    while world.changes.len() < 2 {
        let course = world.ask(&servers);
        assert!(course.answer.unwrap().1 <= 20, "nobody waits for a check: {course:?}");
        world.pass(&servers, 50);
        assert!(world.now - back < ms(3000));
    }
    assert!(matches!(world.changes[1], Change::Back(server, _) if server == address(0)));
    let course = world.ask(&servers);
    assert_eq!((course.answer, course.asked), (Some((0, 3)), vec![(0, 0)]));
}

#[test]
fn servers_that_fail_or_are_not_there_cost_no_wait() {
    let mut world = World::new();
    let course = world.ask(&[Fails(5), Refuses, Fails(5), Answers(5)]);
    assert_eq!(course.answer, Some((3, 15)));
    let course = world.ask(&[Fails(5), Refuses]);
    assert_eq!((course.answer, course.over), (None, 5), "with nobody left it is over at once");
}

#[test]
fn a_name_that_takes_long_makes_nobody_silent() {
    // What the check asks is answered at once; only this name takes its time.
    let mut world = World::new();
    let server = address(0);
    let now = world.now;
    assert!(world.upstreams.missed(server, now), "to be checked");
    for n in 0..20 {
        assert!(!world.upstreams.missed(server, now + ms(n)), "once");
    }
    world.upstreams.answered(server, ms(5), now + ms(5));
    assert_eq!(world.upstreams.checked(server, now), None);
    assert!(!world.upstreams.is_silent(server));
    assert!(world.upstreams.missed(server, now + ms(1600)), "and again, the next time");
    let silent = world.upstreams.checked(server, now + ms(1600));
    assert_eq!(silent, Some(Change::Silent(server)));
    let back = world.upstreams.answered(server, ms(5), now + ms(2600));
    assert_eq!(back, Some(Change::Back(server, ms(1000))));
}

#[test]
fn a_server_is_checked_with_what_it_knows() {
    let mut upstreams = Upstreams::default();
    let [usual, known] =
        ["example.", "www.example."].map(|owner| super::query(owner, super::RecordType::NS));
    assert_eq!(upstreams.check_question(address(0), &usual), usual);
    upstreams.knows(address(0), &known);
    assert_eq!(upstreams.check_question(address(0), &usual), known);
    assert_eq!(upstreams.check_question(address(1), &usual), usual);
}

#[test]
fn a_check_that_never_ends_is_not_waited_for() {
    let (mut upstreams, now) = (Upstreams::default(), Instant::now());
    assert!(upstreams.missed(address(0), now));
    assert!(!upstreams.missed(address(0), now + ms(9999)));
    assert!(upstreams.missed(address(0), now + ms(10_000)));
}

#[test]
fn a_single_slow_server_is_waited_for() {
    let mut world = World::new();
    let course = world.ask(&[Answers(3000)]);
    assert_eq!(course.answer, Some((0, 3000)));
    assert!(course.asked.len() <= 4, "{course:?}");
}

#[test]
fn nobody_waits_longer_than_a_phone_and_nobody_is_asked_without_end() {
    for count in 1..6 {
        let course = World::new().ask(&vec![Silent; count]);
        assert_eq!((course.answer, course.over), (None, 4500));
        let most = (0..count).map(|n| course.asked.iter().filter(|(who, _)| *who == n).count());
        assert!(most.max().unwrap() <= 4, "{course:?}");
    }
    let mut world = World::new();
    world.ask(&[Silent]);
    world.ask(&[Silent]);
    assert_eq!(world.changes, [Change::Silent(address(0))], "said once");
}

#[test]
fn when_all_are_known_to_be_silent_it_is_over_at_once_but_for_a_try_now_and_then() {
    let (servers, mut world) = ([Silent, Silent], World::new());
    while world.changes.len() < 2 {
        world.ask(&servers);
    }
    world.pass(&servers, 5000);
    let addresses = [address(0), address(1)];
    assert!(world.upstreams.all_silent(&addresses));
    let mut tries = 0;
    for _ in 0..100 {
        let mut inquiry = Inquiry::new(&addresses, &mut world.upstreams, world.now);
        if !inquiry.is_over() {
            tries += 1;
            while let Step::Ask(server) | Step::Check(server) =
                inquiry.step(&world.upstreams, world.now)
            {
                let n = usize::from(server == address(1));
                if world.events.is_empty() || n == 1 {
                    world.check(n, Silent);
                }
            }
        }
        world.pass(&servers, 100);
    }
    assert!((4..=10).contains(&tries), "{tries} in ten seconds");
    world.pass(&servers, 5000);
    let course = world.ask(&[Answers(5), Silent]);
    assert_eq!(course.answer, Some((0, 5)), "whoever is tried and answers has answered");
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
    let mut world = World::new();
    for n in 0..200 {
        let first = if n / 7 % 2 == 0 { Silent } else { Answers(4) };
        let course = world.ask(&[first, Answers(20)]);
        assert!(course.answer.is_some_and(|(_, after)| after <= 820), "{course:?}");
        world.pass(&[first, Answers(20)], 130);
    }
    assert!(world.changes.len() > 2, "{:?}", world.changes);
}

#[test]
fn a_server_without_edns_is_asked_without_for_a_while() {
    let (mut upstreams, now) = (Upstreams::default(), Instant::now());
    assert_eq!(upstreams.way(address(0), now), Way::Edns);
    upstreams.refused_edns(address(0), now);
    assert_eq!(upstreams.way(address(0), now + Duration::from_secs(899)), Way::Plain);
    assert_eq!(upstreams.way(address(0), now + Duration::from_secs(900)), Way::Edns);
}

#[test]
fn a_server_that_never_took_edns_is_looked_for_in_every_way_and_others_keep_it() {
    let (mut upstreams, now) = (Upstreams::default(), Instant::now());
    let ways = [Way::Edns, Way::Plain, Way::Tcp];
    assert_eq!(upstreams.ways_to_check(address(0), now), ways);
    upstreams.took_detour(address(0), Way::Tcp, now);
    assert_eq!(upstreams.way(address(0), now), Way::Tcp);
    assert!(ways.iter().all(|way| upstreams.ways_to_check(address(0), now).contains(way)));
    upstreams.took_edns(address(0));
    assert_eq!(upstreams.way(address(0), now), Way::Edns);
    upstreams.took_detour(address(0), Way::Plain, now);
    assert_eq!(upstreams.way(address(0), now), Way::Edns);
    assert_eq!(upstreams.ways_to_check(address(0), now), [Way::Edns; 3]);
}
