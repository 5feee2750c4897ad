//! The state machine, by its table.

use std::time::{Duration, Instant};

use offhook_model::{Health, Probe};

use crate::health::{Change, Failure, Monitor, State};

use State::{Down, Unknown, Up};

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn health(rise: u32, fall: u32) -> Health {
    Health {
        probe: Probe::SipUdp,
        port: 8060,
        interval: SECOND,
        timeout: SECOND / 2,
        rise,
        fall,
        damping: Duration::ZERO,
    }
}

/// A monitor, and the time by its own schedule.
struct Watch {
    monitor: Monitor,
    now: Instant,
}

impl Watch {
    fn new(health: &Health) -> Self {
        let now = Instant::now();
        Self { monitor: Monitor::new(health, now), now }
    }

    /// The next probe, answered at once.
    fn probe(&mut self, is_good: bool) -> Option<Change> {
        self.now = self.monitor.next_probe();
        let probe = self.monitor.begin_probe(self.now);
        let outcome = if is_good { Ok(()) } else { Err(&Failure::Refused) };
        self.monitor.heard(probe, outcome, self.now)
    }

    /// Goes on with good answers until the server is up; how long that took.
    fn until_up(&mut self) -> Duration {
        let start = self.now;
        for _ in 0..100_000 {
            self.probe(true);
            if self.monitor.state() == Up {
                return self.now - start;
            }
        }
        panic!("never up");
    }

    fn until_down(&mut self) -> Duration {
        let start = self.now;
        while self.monitor.state() != Down {
            self.probe(false);
        }
        self.now - start
    }
}

#[test]
fn answers_lead_from_state_to_state() {
    // `+` is a good answer, `-` is none; below each, the state after it.
    for (rise, fall, answers, states) in [
        (2, 3, "+++--+---+-++--+---", "uuuuuuuudddduuuuuud"),
        (2, 3, "---++", "??ddu"),
        (2, 3, "--+--+---", "??uuuuuud"),
        (1, 1, "+-+-+-", "udududd"),
        (1, 1, "-+", "du"),
        (3, 1, "+-+++", "udddu"),
        (3, 2, "+--++-++-+++", "uudddddddddu"),
        (1, 4, "----+----", "???duuuud"),
    ] {
        let mut watch = Watch::new(&health(rise, fall));
        assert_eq!(watch.monitor.state(), Unknown);
        for (place, (answer, expected)) in answers.chars().zip(states.chars()).enumerate() {
            let before = watch.monitor.state();
            let change = watch.probe(answer == '+');
            let after = watch.monitor.state();
            let shown = match after {
                Unknown => '?',
                Up => 'u',
                Down => 'd',
            };
            assert_eq!(shown, expected, "{rise}/{fall} {answers} at {place}");
            let told = (before != after).then_some(Change { from: before, to: after });
            assert_eq!(change, told, "{rise}/{fall} {answers} at {place}");
        }
        let failures = answers.chars().filter(|answer| *answer == '-').count() as u64;
        assert_eq!(watch.monitor.failures(), failures);
        assert_eq!(watch.monitor.probes(), answers.len() as u64);
    }
}

#[test]
fn a_server_nobody_knows_yet_is_asked_in_a_hurry_and_any_other_at_its_interval() {
    let mut watch = Watch::new(&health(2, 3));
    assert!(watch.until_down() <= SECOND / 4, "three refusals");
    let gaps = |watch: &mut Watch, answer| {
        let start = watch.now;
        for _ in 0..10 {
            watch.probe(answer);
        }
        watch.now - start
    };
    watch.probe(false);
    assert_eq!(gaps(&mut watch, false), 10 * SECOND);
    assert_eq!(gaps(&mut watch, true), 10 * SECOND);
    assert_eq!(watch.monitor.state(), Up);
    assert_eq!(gaps(&mut watch, true), 10 * SECOND);
    assert_eq!(watch.until_down(), 3 * SECOND);
}

#[test]
fn what_is_late_delays_nothing_and_what_was_missed_is_not_made_up_for() {
    let start = Instant::now();
    let mut monitor = Monitor::new(&health(2, 3), start);
    for n in 0..5 {
        assert_eq!(monitor.next_probe(), start + n * SECOND);
        monitor.begin_probe(start + n * SECOND + SECOND / 3);
    }
    let awake = start + 100 * SECOND;
    monitor.begin_probe(awake);
    assert_eq!(monitor.next_probe(), awake + SECOND);
}

#[test]
fn a_longer_timeout_has_probes_come_a_little_sooner() {
    for (interval, timeout, fall, period) in [
        (2000, 500, 3, 2000),
        (2000, 800, 1, 2000),
        (2000, 1000, 5, 1960),
        (5000, 5000, 1, 800),
        (10_000, 10_000, 3, 6933),
        (100, 100, 1, 100),
    ] {
        let health = Health {
            interval: Duration::from_millis(interval),
            timeout: Duration::from_millis(timeout),
            ..health(1, fall)
        };
        let start = Instant::now();
        let mut monitor = Monitor::new(&health, start);
        monitor.begin_probe(start);
        let next = monitor.next_probe() - start;
        assert_eq!(next.as_millis(), period, "{interval} {timeout} {fall}");
    }
}

#[test]
fn what_is_older_than_what_is_known_is_of_no_interest() {
    let start = Instant::now();
    let mut monitor = Monitor::new(&health(1, 1), start);
    let [first, second, third] = [0, 1, 2].map(|n| monitor.begin_probe(start + n * SECOND));
    assert_eq!(monitor.heard(second, Ok(()), start).map(|change| change.to), Some(Up));
    assert_eq!(monitor.heard(first, Err(&Failure::TimedOut), start), None);
    assert_eq!(monitor.state(), Up);
    let refused = monitor.heard(third, Err(&Failure::Refused), start);
    assert_eq!(refused.map(|change| change.to), Some(Down));

    // Failures count whatever their order.
    let mut monitor = Monitor::new(&health(1, 3), start);
    let [first, second, third] = [0, 1, 2].map(|n| monitor.begin_probe(start + n * SECOND));
    for probe in [third, first] {
        assert_eq!(monitor.heard(probe, Err(&Failure::TimedOut), start), None);
    }
    assert_eq!(monitor.heard(first, Ok(()), start), None, "older than the third");
    let last = monitor.heard(second, Err(&Failure::TimedOut), start);
    assert_eq!(last.map(|change| change.to), Some(Down));
}

#[test]
fn the_first_time_down_costs_nothing_and_the_next_ones_do() {
    let damping = 60 * SECOND;
    let health = Health { damping, ..health(2, 3) };
    let mut watch = Watch::new(&health);
    watch.probe(true);
    watch.until_down();
    assert_eq!(watch.until_up(), 2 * SECOND);
    watch.until_down();
    let second = watch.until_up();
    assert!((50 * SECOND..=60 * SECOND).contains(&second), "{second:?}");
    watch.until_down();
    let third = watch.until_up();
    assert!((50 * SECOND..=61 * SECOND).contains(&third), "{third:?}");
    // After a day, it is as if nothing had been.
    for _ in 0..86_400 {
        watch.probe(true);
    }
    watch.until_down();
    assert!(watch.until_up() <= 3 * SECOND);
    // And without damping, it never is anything else.
    let mut plain = Watch::new(&Health { damping: Duration::ZERO, ..health.clone() });
    plain.probe(true);
    for _ in 0..20 {
        plain.until_down();
        assert_eq!(plain.until_up(), 2 * SECOND);
    }
    // A server that was down from the start has not gone down.
    let mut down = Watch::new(&health);
    down.until_down();
    assert!(down.until_up() <= 3 * SECOND);
}

#[test]
fn another_rhythm_and_other_counts_change_nothing_that_is_known() {
    let mut watch = Watch::new(&Health { damping: 60 * SECOND, ..health(2, 3) });
    watch.probe(true);
    watch.until_down();
    watch.until_up();
    watch.until_down();
    let (probes, failures) = (watch.monitor.probes(), watch.monitor.failures());
    let quick = Health { interval: SECOND / 10, damping: 6 * SECOND, ..health(3, 4) };
    watch.monitor.adopt(&quick, watch.now);
    assert_eq!(watch.monitor.state(), Down);
    assert_eq!((watch.monitor.probes(), watch.monitor.failures()), (probes, failures));
    assert!(watch.monitor.next_probe() <= watch.now + SECOND / 10);
    // The penalty stays, and is forgiven as fast as it is from now on.
    let up = watch.until_up();
    assert!((5 * SECOND..=6 * SECOND).contains(&up), "{up:?}");
    assert_eq!(watch.until_down(), 4 * SECOND / 10);
    // A long interval does not put off what is due soon.
    watch.monitor.adopt(&Health { interval: 100 * SECOND, ..quick }, watch.now);
    assert!(watch.monitor.next_probe() <= watch.now + SECOND / 10);
}

#[test]
fn a_server_that_comes_and_goes_stays_down_until_it_is_steady() {
    let damping = 30 * SECOND;
    let mut watch = Watch::new(&Health { damping, ..health(2, 3) });
    watch.probe(true);
    let mut changes = 0;
    // Five seconds here, five seconds gone, for an hour.
    for _ in 0..360 {
        for answer in [false, false, false, false, false, true, true, true, true, true] {
            changes += u32::from(watch.probe(answer).is_some());
        }
    }
    assert!(changes < 8, "{changes} changes in an hour");
    assert_eq!(watch.monitor.state(), Down);
    assert!(watch.monitor.is_held());
    assert!(watch.until_up() <= 2 * damping + SECOND);
    assert!(!watch.monitor.is_held());
    assert_eq!(watch.until_down(), 3 * SECOND, "going down is never damped");
}
