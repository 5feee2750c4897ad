//! When it pays to let questions gather.
//!
//! A system call, a wake-up and a trip through the network stack cost more than an answer, and the more questions
//! are taken at once the less of that each of them has to bear. Under a load that leaves the processor time to
//! sleep between two questions, waiting a moment before looking again nearly halves what a question costs. It does
//! nothing for those who ask when each of them waits for an answer before asking again: then they are waited for
//! instead. Which of the two it is cannot be seen, only tried: a little of the time the other way, and where fewer
//! questions come in by waiting than without, it is not waited.
//!
//! Below some 80,000 questions a second none of this happens, and nobody is kept waiting.

use std::time::{Duration, Instant};

use offhook_net::Exchanges;

/// Questions over which a rate is taken: 10 to 50 ms of a load that matters here.
const EPOCH: u32 = 4096;

/// The longest time between two questions, on average, at which waiting is considered.
const SPARSE: Duration = Duration::from_nanos(12_500);

/// How many questions are waited for; the longest wait for them; and how few say that waiting is over.
const WANTED: u32 = 24;
const LONGEST: Duration = Duration::from_micros(100);
const FEW: usize = 4;

/// How much longer an epoch may be by waiting, in percent: this much is chance.
const CHANCE: u32 = 8;

/// After how many epochs of waiting one goes without, to see what that is like.
const CHECK: u32 = 32;

/// Epochs until waiting is tried again where it did not pay: twice as many each time.
const BACKOFF: std::ops::RangeInclusive<u32> = 8..=1024;

/// Decides how long to wait before questions are taken again.
#[derive(Debug)]
pub(super) struct Pace {
    mode: Mode,
    /// Epochs that the mode has left.
    left: u32,
    backoff: u32,
    began: Option<Instant>,
    questions: u32,
    /// How long the last epoch of the other mode was.
    other: Duration,
    wait: Duration,
    /// Whether the last batch was waited for.
    waited: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// No waiting: few questions, or it does not pay.
    Prompt,
    /// One epoch of waiting, to be held against one without.
    Trying,
    /// Waiting pays.
    Gathering,
    /// One epoch without, to see whether it still does.
    Checking,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            mode: Mode::Prompt,
            left: 0,
            backoff: *BACKOFF.start(),
            began: None,
            questions: 0,
            other: Duration::ZERO,
            wait: Duration::ZERO,
            waited: false,
        }
    }

    /// How long to wait after so many questions were answered at once; none is not at all. `now` is asked for once
    /// in an epoch.
    pub(super) fn after(
        &mut self,
        answered: usize,
        now: impl FnOnce() -> Instant,
    ) -> Option<Duration> {
        self.questions = self.questions.saturating_add(answered as u32);
        if self.questions >= EPOCH {
            self.turn(now());
        }
        if self.waited && answered < FEW {
            self.prompt(*BACKOFF.start());
        }
        // After as many as there is room for, there may be more already.
        self.waited =
            answered < Exchanges::MOST && matches!(self.mode, Mode::Trying | Mode::Gathering);
        self.waited.then_some(self.wait)
    }

    /// An epoch is over.
    fn turn(&mut self, now: Instant) {
        let questions = std::mem::take(&mut self.questions);
        let Some(began) = self.began.replace(now) else { return };
        let spent = now.saturating_duration_since(began);
        let gap = spent / questions;
        if gap > SPARSE {
            return match self.mode {
                Mode::Trying => self.back_off(),
                _ => self.prompt(0),
            };
        }
        self.wait = (gap * WANTED).min(LONGEST);
        let pays = |waiting: Duration, without: Duration| waiting <= without * (100 + CHANCE) / 100;
        // Epochs are not all of the same number of questions.
        let spent = gap * EPOCH;
        self.left = self.left.saturating_sub(1);
        match self.mode {
            Mode::Prompt if self.left > 0 => {}
            Mode::Prompt => self.enter(Mode::Trying, spent),
            Mode::Trying if pays(spent, self.other) => {
                self.backoff = *BACKOFF.start();
                self.gather();
            }
            Mode::Trying => self.back_off(),
            Mode::Gathering if self.left > 0 => {}
            Mode::Gathering => self.enter(Mode::Checking, spent),
            Mode::Checking if pays(self.other, spent) => self.gather(),
            Mode::Checking => self.back_off(),
        }
    }

    fn enter(&mut self, mode: Mode, other: Duration) {
        (self.mode, self.other) = (mode, other);
    }

    fn gather(&mut self) {
        (self.mode, self.left) = (Mode::Gathering, CHECK);
    }

    fn back_off(&mut self) {
        self.prompt(self.backoff);
        self.backoff = (self.backoff * 2).min(*BACKOFF.end());
    }

    fn prompt(&mut self, epochs: u32) {
        (self.mode, self.left) = (Mode::Prompt, epochs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a batch costs besides its questions, a question, and the wake-up from a wait; nanoseconds.
    const BATCH: u64 = 1_000;
    const QUESTION: u64 = 2_000;
    const WAKE: u64 = 3_000;

    /// What happens within `seconds`: questions answered a second, processor time each, and the share of batches
    /// that were waited for. `arrivals` says how many questions have come in by a time, given how many were
    /// answered by then.
    fn simulate(seconds: u64, mut arrivals: impl FnMut(u64, u64) -> u64) -> (f64, f64, f64) {
        let begun = Instant::now();
        let mut pace = Pace::new();
        let (mut time, mut busy, mut answered, mut batches, mut waits) = (0, 0, 0, 0, 0);
        while time < seconds * 1_000_000_000 {
            let batch =
                arrivals(time, answered).saturating_sub(answered).min(Exchanges::MOST as u64);
            if batch == 0 {
                // Asleep until the next one.
                time += 500;
                continue;
            }
            let cost = BATCH + batch * QUESTION;
            (time, busy) = (time + cost, busy + cost);
            answered += batch;
            batches += 1;
            let now = || begun + Duration::from_nanos(time);
            if let Some(wait) = pace.after(batch as usize, now) {
                waits += 1;
                time += wait.as_nanos() as u64 + WAKE;
                busy += WAKE;
            }
        }
        let rate = answered as f64 / seconds as f64;
        (rate, busy as f64 / answered as f64, waits as f64 / batches as f64)
    }

    /// So many questions a second, whatever is answered.
    fn steady(rate: u64) -> impl FnMut(u64, u64) -> u64 {
        move |time, _| (u128::from(time) * u128::from(rate) / 1_000_000_000) as u64
    }

    /// One client that has so many questions in flight, and needs `each` nanoseconds to ask one.
    fn in_flight(most: u64, each: u64) -> impl FnMut(u64, u64) -> u64 {
        let (mut asked, mut at) = (0, 0);
        move |time, answered| {
            while asked < answered + most && at < time {
                asked += 1;
                at += each;
            }
            if asked == answered + most {
                at = at.max(time);
            }
            asked
        }
    }

    #[test]
    fn nobody_waits_while_there_is_little_to_do() {
        for rate in [10, 1_000, 10_000, 50_000, 70_000] {
            let (answered, _, waited) = simulate(3, steady(rate));
            assert_eq!((answered.round(), waited), (rate as f64, 0.0), "{rate}");
        }
    }

    #[test]
    fn a_load_that_leaves_time_is_gathered() {
        for rate in [100_000, 200_000, 300_000] {
            let (answered, cost, waited) = simulate(3, steady(rate));
            assert!((answered - rate as f64).abs() < 100.0, "{rate}: {answered}");
            // One by one, each would cost 3,000.
            assert!(waited > 0.0 && cost < 2_450.0, "{rate}: {waited} {cost}");
        }
    }

    #[test]
    fn those_who_wait_for_their_answers_are_not_kept_waiting() {
        for most in [1, 5, 10, 20] {
            let (alone, _, _) = simulate(10, in_flight(most, 2_500));
            let slowest = 1e9 / (BATCH as f64 / most as f64 + 2_500.0 + QUESTION as f64);
            assert!(alone > slowest * 0.95, "{most} in flight: {alone} of {slowest}");
        }
    }

    #[test]
    fn a_load_that_ends_is_not_waited_for() {
        let mut rush = steady(200_000);
        let calm = |time: u64| 400_000 + (time - 2_000_000_000) / 100_000;
        let arrivals = move |time: u64, answered: u64| {
            if time < 2_000_000_000 { rush(time, answered) } else { calm(time) }
        };
        let begun = Instant::now();
        let mut pace = Pace::new();
        let (mut time, mut answered, mut late) = (0, 0, 0);
        let mut arrivals = arrivals;
        while time < 3_000_000_000 {
            let batch =
                arrivals(time, answered).saturating_sub(answered).min(Exchanges::MOST as u64);
            time += if batch == 0 { 500 } else { BATCH + batch * QUESTION };
            answered += batch;
            if batch > 0
                && let Some(wait) =
                    pace.after(batch as usize, || begun + Duration::from_nanos(time))
            {
                late += u32::from(time > 2_000_100_000);
                time += wait.as_nanos() as u64;
            }
        }
        assert!(late <= 1, "{late} times");
    }
}
