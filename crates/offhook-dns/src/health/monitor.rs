//! The state of one server, by the answers to its probes.
//!
//! | state   | good answer                                            | no good answer            |
//! |---------|--------------------------------------------------------|---------------------------|
//! | unknown | up                                                     | down at the `fall`-th     |
//! | up      | up                                                     | down at the `fall`-th     |
//! | down    | up at the `rise`-th, and no sooner than damping allows | down                      |
//!
//! **Going down is never damped**: a server that stops is down within `interval` × `fall` + 1 s, for a probe goes
//! out every period, whatever became of the ones before it.
//!
//! **Coming up is.** Each time a server goes down adds 1 to its penalty, of which half is forgiven in every
//! `damping`; while more than 1 is left, it does not come up. One that would have come up if it were not for that,
//! and then fails `fall` times again, has gone down once more. The first time in a while costs nothing, the next
//! ones up to one `damping`, and as the penalty is 4 at most, a server that has become steady is up after
//! 2 × `damping`, or after `rise` good answers if that is later.

use std::time::{Duration, Instant};

use offhook_model::Health;

use super::Failure;

/// What of the second after `interval` × `fall` the last time-out may take. The rest is for whoever asks, counts and
/// publishes.
const LAST_TIMEOUT: Duration = Duration::from_millis(800);

/// From an answer to the next probe of a server whose state is not known yet.
const HURRY: Duration = Duration::from_millis(100);

/// The greatest penalty.
const CEILING: f64 = 4.0;

/// The greatest penalty that a server may come up with.
const REUSE: f64 = 1.0;

/// Whether a server is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody knows yet: it counts as alive.
    Unknown,
    /// It is.
    Up,
    /// It is not, or has only just come back.
    Down,
}

/// A new state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The state before.
    pub from: State,
    /// The state now, which is known.
    pub to: State,
}

/// One server, watched. Times are the caller's and must not run backwards.
#[derive(Clone, Debug)]
pub struct Monitor {
    rise: u32,
    fall: u32,
    period: Duration,
    /// Half of a penalty is forgiven in this time, seconds; 0 is "at once".
    half_life: f64,
    state: State,
    /// Good answers in a row, and probes in a row without one; one of the two is 0.
    good: u32,
    bad: u32,
    /// While down: there were enough good answers in a row.
    has_risen: bool,
    penalty: f64,
    penalty_at: Instant,
    next: Instant,
    /// Probes begun.
    probes: u64,
    failures: u64,
    /// The probe after the latest one that found the server alive, and after the latest that did not.
    after_good: u64,
    after_bad: u64,
}

impl Monitor {
    /// A server that is asked for the first time at `first`.
    pub fn new(health: &Health, first: Instant) -> Self {
        Self {
            rise: health.rise.max(1),
            fall: health.fall.max(1),
            period: period(health),
            half_life: health.damping.as_secs_f64(),
            state: State::Unknown,
            good: 0,
            bad: 0,
            has_risen: false,
            penalty: 0.0,
            penalty_at: first,
            next: first,
            probes: 0,
            failures: 0,
            after_good: 0,
            after_bad: 0,
        }
    }

    /// The server is asked in another rhythm, or judged by other counts, from `now` on. What is known of it stays.
    pub fn adopt(&mut self, health: &Health, now: Instant) {
        self.penalty = self.penalty(now);
        self.penalty_at = now;
        self.rise = health.rise.max(1);
        self.fall = health.fall.max(1);
        self.period = period(health);
        self.half_life = health.damping.as_secs_f64();
        self.next = self.next.min(now + self.period);
    }

    /// What is known.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether it answers as it should, but has gone down too often lately to be up yet.
    pub fn is_held(&self) -> bool {
        self.state == State::Down && self.has_risen
    }

    /// Probes begun.
    pub fn probes(&self) -> u64 {
        self.probes
    }

    /// Probes that did not find the server alive.
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// When the next probe is due.
    pub fn next_probe(&self) -> Instant {
        self.next
    }

    /// Begins a probe, and says which one it is. The one after it is due a period after this one was, so that late
    /// callers and slow servers delay nothing.
    pub fn begin_probe(&mut self, now: Instant) -> u64 {
        let next = self.next + self.period;
        // After a long sleep, what was missed is not made up for.
        self.next = if next > now { next } else { now + self.period };
        let probe = self.probes;
        self.probes += 1;
        probe
    }

    /// Takes what became of a probe; what is older than what is known by now is of no interest.
    pub fn heard(
        &mut self,
        probe: u64,
        outcome: Result<(), &Failure>,
        now: Instant,
    ) -> Option<Change> {
        let change = match outcome {
            Ok(()) => self.heard_good(probe, now),
            Err(_) => self.heard_bad(probe, now),
        };
        if self.state == State::Unknown {
            self.next = self.next.min(now + HURRY);
        }
        change
    }

    fn heard_good(&mut self, probe: u64, now: Instant) -> Option<Change> {
        if probe < self.after_bad {
            return None;
        }
        self.after_good = self.after_good.max(probe + 1);
        self.bad = 0;
        self.good = self.good.saturating_add(1);
        match self.state {
            State::Up => None,
            State::Unknown => self.change(State::Up),
            State::Down => {
                self.has_risen |= self.good >= self.rise;
                let is_forgiven = self.penalty(now) <= REUSE;
                if self.good >= self.rise && is_forgiven { self.change(State::Up) } else { None }
            }
        }
    }

    fn heard_bad(&mut self, probe: u64, now: Instant) -> Option<Change> {
        self.failures += 1;
        if probe < self.after_good {
            return None;
        }
        self.after_bad = self.after_bad.max(probe + 1);
        self.good = 0;
        self.bad = self.bad.saturating_add(1);
        if self.bad < self.fall {
            return None;
        }
        match self.state {
            State::Unknown => self.change(State::Down),
            State::Up => {
                self.punish(now);
                self.change(State::Down)
            }
            State::Down => {
                if self.has_risen {
                    self.punish(now);
                }
                self.has_risen = false;
                None
            }
        }
    }

    fn change(&mut self, to: State) -> Option<Change> {
        let change = Change { from: self.state, to };
        self.state = to;
        self.has_risen = false;
        Some(change)
    }

    fn penalty(&self, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.penalty_at).as_secs_f64();
        if self.half_life > 0.0 { self.penalty * (-since / self.half_life).exp2() } else { 0.0 }
    }

    fn punish(&mut self, now: Instant) {
        self.penalty = (self.penalty(now) + 1.0).min(CEILING);
        self.penalty_at = now;
    }
}

/// From one probe to the next: the interval, shortened by as much as it takes for the last time-out to end in time.
fn period(health: &Health) -> Duration {
    let excess = health.timeout.saturating_sub(LAST_TIMEOUT) / health.fall.max(1);
    health.interval.saturating_sub(excess).max(Duration::from_millis(10))
}
