//! A bounded rate of log lines about what others do wrong.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// Lets through so many a second, and counts the rest.
#[derive(Debug)]
pub(super) struct Throttle {
    per_second: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    began: Option<Instant>,
    used: u32,
    suppressed: u64,
}

impl Throttle {
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second, state: Mutex::default() }
    }

    /// Whether a line may be written now; if so, how many were not since the last one.
    pub(super) fn permit(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.began.is_none_or(|began| now.saturating_duration_since(began) >= SECOND) {
            state.began = Some(now);
            state.used = 0;
        }
        if state.used >= self.per_second {
            state.suppressed += 1;
            return None;
        }
        state.used += 1;
        Some(std::mem::take(&mut state.suppressed))
    }
}

/// The lines of all transfers, each kind at a rate of its own: who forges requests is not to fill the disk, nor to hide
/// those who do transfer something. [`Counters`](super::Counters) has all of them.
#[derive(Debug)]
pub(super) struct Lines {
    /// A transfer begins.
    pub(super) begun: Throttle,
    /// It ends, and its client has acknowledged some of it.
    pub(super) ended: Throttle,
    /// It ends, and its client has never been heard.
    pub(super) silent: Throttle,
}

impl Default for Lines {
    fn default() -> Self {
        Self { begun: Throttle::new(200), ended: Throttle::new(200), silent: Throttle::new(20) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_a_second_pass_and_the_next_says_how_many_did_not() {
        let throttle = Throttle::new(2);
        let start = Instant::now();
        let at = |millis| throttle.permit(start + Duration::from_millis(millis));
        assert_eq!([at(0), at(1), at(2), at(999)], [Some(0), Some(0), None, None]);
        assert_eq!([at(1000), at(1001), at(1002)], [Some(2), Some(0), None]);
        assert_eq!(at(9000), Some(1));
    }
}
