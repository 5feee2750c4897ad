//! The only clocks of the lease core: one that elapses, and the one on the wall.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use offhook_model::Time;

/// Time that only elapses, also while the machine is suspended, whatever is done to the clock on the wall.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    beginning: Time,
    started: Duration,
}

impl Clock {
    /// Starts the clock at this time.
    pub(crate) fn start(beginning: Time) -> Self {
        Self { beginning, started: since_boot() }
    }

    /// The current time.
    pub(crate) fn now(&self) -> Time {
        self.beginning + since_boot().saturating_sub(self.started)
    }
}

/// What the clock on the wall shows.
pub(crate) fn wall() -> Time {
    Time::default() + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn since_boot() -> Duration {
    // Every Linux since 2.6.39 has it.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_starts_where_it_is_told_to_and_elapses() {
        let beginning = Time::from_secs(1000);
        let clock = Clock::start(beginning);
        let first = clock.now();
        assert!(first.since(beginning) < Duration::from_secs(5), "{first}");
        while clock.now() == first {}
        assert!(clock.now() > first);
    }

    #[test]
    fn the_wall_clock_is_the_systems() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        assert!(wall().as_secs().abs_diff(now.as_secs()) <= 1);
    }
}
