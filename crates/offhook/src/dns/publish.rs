//! The one place where what is served changes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, Guard};
use offhook_dns::Zones;
use offhook_model::{HardwareAddress, ZoneNames};

/// Serials that pass in a second, and the most changes of one: half of the circle of serials (RFC 1982) is more than
/// a year.
const SERIALS: u128 = 64;

/// 2024-01-01, so that serials are small for years to come; milliseconds since 1970.
const EPOCH: u128 = 1_704_067_200_000;

/// How long a serial lasts.
const TICK: Duration = Duration::from_nanos(1_000_000_000 / SERIALS as u64);

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
    /// `change` returns `false`: then nothing has changed. Returns whether something has. Waits for the next serial if
    /// it must: a sixty-fourth of a second.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Zones) -> bool) -> bool {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.current.load();
        let mut zones = Zones::clone(&before);
        if !change(&mut zones) {
            return false;
        }
        let mut clock = serial_of(SystemTime::now());
        if clock == before.serial() {
            std::thread::sleep(TICK);
            clock = serial_of(SystemTime::now());
        }
        zones.set_serial(next_serial(before.serial(), clock));
        self.current.store(Arc::new(zones));
        true
    }
}

impl ZoneNames for Publisher {
    fn is_taken(&self, label: &str, client: HardwareAddress) -> bool {
        self.current().is_label_taken(label, client)
    }
}

/// The serial of a change: that of the time, for serials must grow from run to run (RFC 1912, section 2.2); or the next
/// one, when the clock was set back.
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
    use offhook_model::Site;

    use super::*;

    #[test]
    fn serials_follow_the_clock_and_never_go_back() {
        assert_eq!(next_serial(100, 100), 101);
        assert_eq!(next_serial(100, 90), 101, "a clock set back");
        assert_eq!(next_serial(100, 5000), 5000);
        assert_eq!(next_serial(u32::MAX, 3), 3, "round the circle by the clock");
        assert_eq!(next_serial(u32::MAX, u32::MAX - 5), 0, "round the circle by one");
        let start = UNIX_EPOCH + Duration::from_millis(EPOCH as u64);
        assert_eq!(serial_of(start), 0);
        assert_eq!(serial_of(start + TICK - Duration::from_millis(1)), 0);
        assert_eq!(serial_of(start + Duration::from_secs(3600)), 3600 * 64);
    }

    #[test]
    fn however_much_changes_the_next_run_starts_with_a_later_serial() {
        let site = Site::new("lab.voip".parse().unwrap());
        let publisher = Publisher::new(Zones::from_site(&site, 0));
        let mut before = publisher.current().serial();
        for _ in 0..5 {
            assert!(publisher.change(|_| true));
            let serial = publisher.current().serial();
            assert!(serial.wrapping_sub(before) < 1 << 31 && serial != before);
            before = serial;
        }
        std::thread::sleep(TICK);
        assert!(serial_of(SystemTime::now()).wrapping_sub(before).wrapping_sub(1) < 1 << 31);
    }
}
