//! When to send again: back-off (RFC 1123, section 4.2.3.2) and measured round trips (RFC 6298).

use std::time::{Duration, Instant};

use crate::Limits;

/// Round trips to be measured before one is trusted to be short. The first may be that of the OACK, and a window takes
/// longer on a slow link.
const SAMPLES: u32 = 2;

/// Losses that are no accident any more.
const LOSSES: u32 = 2;

#[derive(Debug)]
pub(super) struct Timer {
    /// `timeout` as the client negotiated it: then nothing is measured.
    negotiated: Option<Duration>,
    floor: Duration,
    floor_after_loss: Duration,
    ceiling: Duration,
    retries_allowed: u32,
    give_up: Duration,
    /// How long all retries take where no packet was ever lost: a transfer that has lost some is not given up sooner.
    patience: Duration,
    /// How often the timer ran out since the client last acknowledged anything new.
    retries: u32,
    /// How often packets had to be sent again, by the timer or for a gap, and were acknowledged then.
    losses: u32,
    round_trip: Option<RoundTrip>,
    /// How often it was measured.
    samples: u32,
    /// The shortest one there was.
    shortest: Option<Duration>,
    sent_at: Instant,
    progress_at: Instant,
    deadline: Instant,
}

#[derive(Clone, Copy, Debug)]
struct RoundTrip {
    smoothed: Duration,
    variation: Duration,
}

impl Timer {
    pub(super) fn new(limits: &Limits, negotiated: Option<Duration>, now: Instant) -> Self {
        let mut timer = Self {
            negotiated,
            floor: limits.timeout,
            floor_after_loss: limits.timeout_after_loss.min(limits.timeout),
            ceiling: limits.timeout_max,
            retries_allowed: limits.retries,
            give_up: limits.give_up,
            patience: Duration::ZERO,
            retries: 0,
            losses: 0,
            round_trip: None,
            samples: 0,
            shortest: None,
            sent_at: now,
            progress_at: now,
            deadline: now,
        };
        timer.sent(now);
        timer.patience = timer.whole_wait();
        timer
    }

    fn is_lossy(&self) -> bool {
        self.losses >= LOSSES && self.samples >= SAMPLES
    }

    /// All intervals together, as they are now.
    fn whole_wait(&self) -> Duration {
        let first = self.interval();
        let longest = self.ceiling.max(first);
        let mut wait = Duration::ZERO;
        for retry in 0..=self.retries_allowed {
            wait = wait.saturating_add(first.saturating_mul(1 << retry.min(16)).min(longest));
        }
        wait
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The present retransmission time-out, back-off included.
    pub(super) fn interval(&self) -> Duration {
        let first = self.negotiated.unwrap_or_else(|| {
            let floor = if self.is_lossy() { self.floor_after_loss } else { self.floor };
            let measured = self.round_trip.map_or(Duration::ZERO, |r| r.smoothed + r.variation * 4);
            measured.clamp(floor, self.ceiling.max(floor))
        });
        // What is lost once is sent again soon; what is lost twice may be a client that is busy.
        let soon = self.is_lossy() && self.negotiated.is_none() && self.retries > 0;
        let doubled = self.retries.min(16) + u32::from(soon);
        first.saturating_mul(1 << doubled).min(self.ceiling.max(first))
    }

    /// The round trip as measured; none is as good as nothing.
    pub(super) fn round_trip(&self) -> Duration {
        self.round_trip.map_or(Duration::ZERO, |round_trip| round_trip.smoothed)
    }

    /// Whether so much time has passed since something was sent that what comes now may be an answer to it. Half of
    /// the shortest round trip is enough for that: not all are alike.
    pub(super) fn may_be_answered(&self, now: Instant) -> bool {
        self.shortest.is_none_or(|shortest| now >= self.sent_at + shortest / 2)
    }

    /// A packet was sent.
    pub(super) fn sent(&mut self, now: Instant) {
        self.sent_at = now;
        self.deadline = now + self.interval();
    }

    /// Something new was acknowledged; `measurable` when that was sent once only (Karn's algorithm).
    pub(super) fn progress(&mut self, now: Instant, measurable: bool) {
        if self.retries > 0 {
            self.lost();
        }
        self.retries = 0;
        self.progress_at = now;
        if measurable {
            let sample = now.saturating_duration_since(self.sent_at);
            self.samples = self.samples.saturating_add(1);
            self.shortest = Some(self.shortest.map_or(sample, |shortest| shortest.min(sample)));
            self.round_trip = Some(match self.round_trip {
                None => RoundTrip { smoothed: sample, variation: sample / 2 },
                Some(RoundTrip { smoothed, variation }) => RoundTrip {
                    smoothed: (smoothed * 7 + sample) / 8,
                    variation: (variation * 3 + smoothed.abs_diff(sample)) / 4,
                },
            });
        }
        self.deadline = now + self.interval();
    }

    /// Something was lost, or the client has said that it misses something.
    pub(super) fn lost(&mut self) {
        self.losses = self.losses.saturating_add(1);
    }

    /// There is nothing to send yet, and so nothing to be acknowledged: the time that passes does not count.
    pub(super) fn wait(&mut self, now: Instant) {
        self.progress_at = now;
        self.deadline = now + self.interval();
    }

    /// The deadline has passed: true to send again, false to give up.
    pub(super) fn expired(&mut self, now: Instant) -> bool {
        let silent = now.saturating_duration_since(self.progress_at);
        let tried = self.retries >= self.retries_allowed && silent >= self.patience;
        if tried || (silent >= self.give_up && self.retries > 0) {
            return false;
        }
        self.retries += 1;
        self.deadline = now + self.interval();
        true
    }
}
