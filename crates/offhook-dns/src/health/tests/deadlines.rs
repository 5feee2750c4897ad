//! Servers that die and come back at any moment, on simulated time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use offhook_model::{Health, Probe};
use proptest::prelude::*;

use crate::health::{Failure, Monitor, State};

/// How a dead server shows that it is.
#[derive(Clone, Copy, Debug)]
enum Death {
    /// It says nothing.
    Silent,
    /// Its machine refuses, or it answers 503: at once.
    Prompt,
    /// It answers, after the time-out.
    Slow,
}

/// A server, its monitor, and whoever asks it.
struct World {
    health: Health,
    start: Instant,
    monitor: Monitor,
    /// Outcomes on their way: when, which probe, whether it is good.
    coming: BTreeMap<(Duration, u64), bool>,
    now: Duration,
}

impl World {
    fn new(health: Health) -> Self {
        let start = Instant::now();
        let monitor = Monitor::new(&health, start);
        Self { health, start, monitor, coming: BTreeMap::new(), now: Duration::ZERO }
    }

    /// Runs until `end`, with a server that is alive or dead all that time; when it changed its state, and to what.
    fn run(
        &mut self,
        end: Duration,
        alive: Option<Death>,
        trip: Duration,
    ) -> Vec<(Duration, State)> {
        let mut changes = Vec::new();
        loop {
            let probe_at = self.monitor.next_probe() - self.start;
            let outcome_at = self.coming.first_key_value().map(|((at, _), _)| *at);
            let next = outcome_at.map_or(probe_at, |at| at.min(probe_at)).max(self.now);
            if next >= end {
                self.now = end;
                return changes;
            }
            self.now = next;
            let now = self.start + self.now;
            if outcome_at.is_some_and(|at| at <= probe_at) {
                let ((_, probe), good) = self.coming.pop_first().unwrap();
                let outcome = if good { Ok(()) } else { Err(&Failure::TimedOut) };
                if let Some(change) = self.monitor.heard(probe, outcome, now) {
                    changes.push((self.now, change.to));
                }
                continue;
            }
            let probe = self.monitor.begin_probe(now);
            let (after, good) = match alive {
                None => (trip, true),
                Some(Death::Prompt) => (trip, false),
                Some(Death::Silent | Death::Slow) => (self.health.timeout, false),
            };
            self.coming.insert((self.now + after, probe), good);
        }
    }
}

fn healths() -> impl Strategy<Value = Health> {
    let times = (100..20_000_u64).prop_flat_map(|interval| {
        (Just(interval), 10..=interval.min(10_000), 1..6_u32, 1..6_u32, 0..100_000_u64)
    });
    times.prop_map(|(interval, timeout, rise, fall, damping)| Health {
        probe: Probe::SipUdp,
        port: 8060,
        interval: Duration::from_millis(interval),
        timeout: Duration::from_millis(timeout),
        rise,
        fall,
        damping: Duration::from_millis(damping),
    })
}

fn deaths() -> impl Strategy<Value = Death> {
    prop_oneof![Just(Death::Silent), Just(Death::Prompt), Just(Death::Slow)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// `phases`: how long the server lives and is dead, in thousandths of the interval.
    #[test]
    fn a_server_that_stops_is_down_in_time_and_one_that_is_back_is_up_in_time(
        health in healths(),
        phases in prop::collection::vec((1..30_000_u32, 1..30_000_u32, deaths()), 1..12),
        trip in 0..1000_u32,
    ) {
        let thousandths = |n: u32| health.interval * n / 1000;
        let trip = health.timeout * trip / 1001;
        // What the guide to the keys promises, less what publishing may take.
        let in_time = health.interval * health.fall + Duration::from_millis(951);
        let Health { interval, timeout, .. } = health;
        let damped = 2 * health.damping + 2 * timeout + interval;
        let risen = interval * (health.rise + 1) + timeout;
        let back = damped.max(risen) + Duration::from_millis(1);
        let mut world = World::new(health.clone());
        for (alive, dead, death) in phases {
            let start = world.now;
            world.run(start + thousandths(alive), None, trip);
            let steady = world.now - start;
            if steady >= back {
                prop_assert_eq!(world.monitor.state(), State::Up, "steady for {:?}", steady);
            }
            let (was, died) = (world.monitor.state(), world.now);
            world.run(died + thousandths(dead), Some(death), trip);
            let down = world.monitor.state() == State::Down;
            // One that nobody knew about has no time to keep but that to the first verdict.
            prop_assert!(down || world.now - died < in_time, "{was:?}, dead for {dead}");
        }
        let start = world.now;
        world.run(start + in_time + interval, Some(Death::Silent), trip);
        prop_assert_eq!(world.monitor.state(), State::Down);
        let changes = world.run(start + in_time + interval + back, None, trip);
        prop_assert_eq!(changes.last().map(|(_, state)| *state), Some(State::Up));
    }

    #[test]
    fn a_verdict_comes_quickly(health in healths(), death in deaths(), alive: bool) {
        let mut world = World::new(health.clone());
        let each = health.timeout + Duration::from_millis(101);
        let (fate, expected) = if alive { (None, State::Up) } else { (Some(death), State::Down) };
        world.run(each * health.fall + Duration::from_millis(1), fate, health.timeout / 2);
        prop_assert_eq!(world.monitor.state(), expected);
    }
}
