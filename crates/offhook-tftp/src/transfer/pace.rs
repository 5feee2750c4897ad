//! How much of a window goes out at once.
//!
//! A client acknowledges whole windows, so a server cannot send less than what was agreed on without both waiting for
//! their timers (RFC 7440, section 4). After a loss that only our timer noticed it therefore sends the window in
//! smaller bursts, with pauses between: what overflowed somebody's queue does not do so again. A gap that the client
//! reports is mended at once and changes nothing: between bursts its report could not be told from the echo of a
//! repeated datagram.

use std::time::{Duration, Instant};

/// Blocks of the smallest burst.
const LEAST: u16 = 4;
/// Pauses between bursts.
const PAUSE: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_millis(20);

#[derive(Clone, Debug)]
pub(super) struct Pace {
    window: u16,
    /// Blocks sent at once; all of the window as long as nothing is lost.
    burst: u16,
    /// Blocks of the present burst that may still be sent.
    left: u16,
    /// When the next burst begins.
    resume: Option<Instant>,
}

impl Pace {
    pub(super) fn new(window: u16) -> Self {
        Self { window, burst: window, left: window, resume: None }
    }

    /// Whether one more block may be sent now.
    pub(super) fn allows(&self) -> bool {
        self.left > 0
    }

    /// A block was sent.
    pub(super) fn sent(&mut self) {
        self.left = self.left.saturating_sub(1);
    }

    /// A burst has ended before its window: the next one begins a quarter of a round trip later.
    pub(super) fn pause(&mut self, now: Instant, round_trip: Duration) {
        if !self.allows() && self.resume.is_none() {
            self.resume = Some(now + (round_trip / 4).clamp(*PAUSE.start(), *PAUSE.end()));
        }
    }

    /// When the next burst begins, in a pause.
    pub(super) fn resume_at(&self) -> Option<Instant> {
        self.resume
    }

    /// Ends the pause if it is over.
    pub(super) fn resume(&mut self, now: Instant) -> bool {
        let over = self.resume.take_if(|resume| *resume <= now).is_some();
        if over {
            self.left = self.burst;
        }
        over
    }

    /// A window begins, from wherever.
    pub(super) fn begin(&mut self) {
        self.left = self.burst;
        self.resume = None;
    }

    /// The end of the window was lost, or its ACK.
    pub(super) fn lost(&mut self) {
        self.burst = (self.burst / 2).max(LEAST.min(self.window));
    }

    /// A window arrived whole.
    pub(super) fn arrived(&mut self) {
        self.burst = self.burst.saturating_add((self.window / 8).max(1)).min(self.window);
    }
}
