//! The one place where what is served changes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, Guard};
use offhook_dns::Zones;

/// Serials that pass in a second by themselves.
const SERIALS: u128 = 16;

/// 2024-01-01, so that serials are small for years to come; milliseconds since 1970.
const EPOCH: u128 = 1_704_067_200_000;

/// The zones being served. Readers never wait; changes are made one at a time, and each has a serial of its own.
#[derive(Debug)]
pub(crate) struct Publisher {
    current: ArcSwap<Zones>,
    changing: Mutex<()>,
}

impl Publisher {
    /// Serves `zones`, with a serial that is later than that of any earlier run.
    pub(crate) fn new(mut zones: Zones) -> Self {
        zones.set_serial(serial_of(SystemTime::now()));
        Self { current: ArcSwap::from_pointee(zones), changing: Mutex::new(()) }
    }

    /// What is served at this moment.
    pub(crate) fn current(&self) -> Guard<Arc<Zones>> {
        self.current.load()
    }

    /// Makes one change, or as many as belong together, and serves the result under the next serial, unless
    /// `change` returns `false`: then nothing has changed. Returns whether something has.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Zones) -> bool) -> bool {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.current.load();
        let mut zones = Zones::clone(&before);
        if !change(&mut zones) {
            return false;
        }
        zones.set_serial(next_serial(before.serial(), serial_of(SystemTime::now())));
        self.current.store(Arc::new(zones));
        true
    }
}

/// The serial of a change: that of the time, or the next one when more has changed than time has passed. Serials
/// follow the clock, for they must grow from run to run (RFC 1912, section 2.2), and run ahead of it only after
/// more than [`SERIALS`] changes a second.
fn next_serial(before: u32, clock: u32) -> u32 {
    let next = before.wrapping_add(1);
    // RFC 1982: later is what is less than half of the circle ahead.
    if clock.wrapping_sub(next) < 1 << 31 { clock } else { next }
}

fn serial_of(time: SystemTime) -> u32 {
    let millis = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    // What does not fit goes round, as serials do.
    (millis.saturating_sub(EPOCH) * SERIALS / 1000) as u32
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn serials_follow_the_clock_and_never_go_back() {
        assert_eq!(next_serial(100, 100), 101, "two changes at one time");
        assert_eq!(next_serial(100, 90), 101, "more changes than time, or a clock set back");
        assert_eq!(next_serial(100, 5000), 5000);
        assert_eq!(next_serial(u32::MAX, 3), 3, "round the circle by the clock");
        assert_eq!(next_serial(u32::MAX, u32::MAX - 5), 0, "round the circle by one");
        let start = UNIX_EPOCH + Duration::from_millis(EPOCH as u64);
        assert_eq!(serial_of(start), 0);
        assert_eq!(serial_of(start + Duration::from_millis(62)), 0);
        assert_eq!(serial_of(start + Duration::from_secs(3600)), 3600 * 16);
    }
}
