//! The one place where what is served changes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, Guard};
use offhook_dns::{LeaseNames, Zones};
use offhook_model::{HardwareAddress, ZoneNames};
use tokio::sync::watch;

/// Serials that pass in a second, and the most changes of one: half of the circle of serials (RFC 1982) is more than
/// a year.
const SERIALS: u64 = 64;

/// 2024-01-01, so that serials are small for years to come; nanoseconds since 1970.
const EPOCH: u128 = 1_704_067_200_000_000_000;

/// How long a serial lasts.
const TICK: Duration = Duration::from_nanos(1_000_000_000 / SERIALS);

/// Serials by which the clock may be behind and is waited for: the steps of a clock that is being set right slowly.
const AHEAD: u32 = 4;

/// The zones being served. Readers never wait; changes are made one at a time, and each has a serial of its own.
#[derive(Debug)]
pub(crate) struct Publisher {
    current: ArcSwap<Zones>,
    changing: Mutex<()>,
    /// Is told when another configuration is served.
    replaced: watch::Sender<()>,
}

/// One configuration after another.
#[derive(Debug)]
pub(super) struct Replaced {
    pub(super) before: Arc<Zones>,
    pub(super) now: Arc<Zones>,
}

impl Publisher {
    /// Serves `zones`, with a serial that is later than that of any earlier run.
    pub(crate) fn new(mut zones: Zones) -> Self {
        zones.set_serial(serial_of(SystemTime::now()));
        Self {
            current: ArcSwap::from_pointee(zones),
            changing: Mutex::new(()),
            replaced: watch::Sender::new(()),
        }
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
        zones.set_serial(next(before.serial()));
        self.current.store(Arc::new(zones));
        true
    }

    /// Serves the `zones` of another configuration in one step, with the names of leases that there are, or with these.
    /// The serial is the next one, unless every record is as it was.
    pub(super) fn replace(&self, mut zones: Zones, names: Option<LeaseNames>) -> Replaced {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.current.load_full();
        let is_same = names.is_none() && zones.has_records_of(&before);
        zones.set_lease_names(names.unwrap_or_else(|| before.lease_names().clone()));
        zones.succeed(&before);
        zones.set_serial(if is_same { before.serial() } else { next(before.serial()) });
        let now = Arc::new(zones);
        self.current.store(Arc::clone(&now));
        self.replaced.send_replace(());
        Replaced { before, now }
    }

    /// Learns when another configuration is served.
    pub(super) fn replacements(&self) -> watch::Receiver<()> {
        self.replaced.subscribe()
    }
}

impl ZoneNames for Publisher {
    fn is_taken(&self, label: &str, client: HardwareAddress) -> bool {
        self.current().is_label_taken(label, client)
    }
}

/// The serial after `before`; waits until there is one, a sixty-fourth of a second at most as a rule.
fn next(before: u32) -> u32 {
    std::thread::sleep(wait(before, serial_of(SystemTime::now())));
    next_serial(before, serial_of(SystemTime::now()))
}

/// The serial of a change: that of the time, for serials must grow from run to run (RFC 1912, section 2.2); or the next
/// one, when the clock was set back.
fn next_serial(before: u32, clock: u32) -> u32 {
    let next = before.wrapping_add(1);
    // RFC 1982: later is what is less than half of the circle ahead.
    if clock.wrapping_sub(next) < 1 << 31 { clock } else { next }
}

/// How long until the clock shows a later serial than `before`. A clock that is further behind was set back, and
/// nobody waits for that.
fn wait(before: u32, clock: u32) -> Duration {
    match before.wrapping_sub(clock) {
        ahead @ 0..AHEAD => TICK * (ahead + 1),
        _ => Duration::ZERO,
    }
}

fn serial_of(time: SystemTime) -> u32 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    // What does not fit goes round, as serials do.
    (since.saturating_sub(EPOCH) / TICK.as_nanos()) as u32
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
        let start = UNIX_EPOCH + Duration::from_nanos(EPOCH as u64);
        assert_eq!(serial_of(start), 0);
        assert_eq!(serial_of(start + TICK - Duration::from_nanos(1)), 0);
        assert_eq!(serial_of(start + TICK), 1);
        assert_eq!(serial_of(start + Duration::from_secs(3600)), 3600 * 64);
    }

    #[test]
    fn after_the_wait_the_clock_shows_a_later_serial_wherever_in_its_tick_it_was() {
        let start = UNIX_EPOCH + Duration::from_nanos(EPOCH as u64) + Duration::from_secs(9);
        for microseconds in 0..20_000 {
            let now = start + Duration::from_micros(microseconds);
            let clock = serial_of(now);
            for ahead in 0..AHEAD {
                let before = clock.wrapping_add(ahead);
                assert!(serial_of(now + wait(before, clock)) > before);
            }
        }
        assert_eq!(wait(99, 100), Duration::ZERO, "a serial that is over already");
        assert_eq!(wait(100 + AHEAD, 100), Duration::ZERO, "a clock set back");
        assert_eq!(wait(1, u32::MAX), TICK * 3, "round the circle");
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
        std::thread::sleep(wait(before, serial_of(SystemTime::now())));
        assert!(serial_of(SystemTime::now()).wrapping_sub(before).wrapping_sub(1) < 1 << 31);
    }
}
