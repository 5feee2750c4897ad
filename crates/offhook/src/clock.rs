//! The only clock of the lease core.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use offhook_model::Time;

/// Wall-clock time that never runs backwards: read once at start, then advanced by the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    wall: Time,
    at: Instant,
}

impl Clock {
    /// Anchors the clock at this moment.
    pub(crate) fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { wall: Time::default() + wall, at: Instant::now() }
    }

    /// The current time.
    pub(crate) fn now(&self) -> Time {
        self.wall + self.at.elapsed()
    }
}
