//! The wall clock, which may be wrong, and set while the server runs.
//!
//! The server runs on time that only elapses: what is called `now` everywhere in this crate advances by a second in a
//! second, whatever anybody does to the clock on the wall. So no lease ends early because the clock was set forward,
//! and none lasts because it was set back. On disk and on paper times are the wall clock's, for those of two runs have
//! nothing else in common: a lease that leaves the crate has the difference added, and when the clock is set, every
//! lease is to be written again.
//!
//! A start has only the wall clock and the leases of earlier runs to go by:
//!
//! - A clock that shows less than [`SET`] has not been set: a machine without a battery. Time goes on from the newest
//!   lease, if that is from better days, until the clock is set.
//! - A lease from the future, or from a clock that was not set, was granted by a clock that was wrong. It may have been
//!   granted just now.
//! - When the newest lease is [`LONG`] past, the clock is years ahead, or the server was away for long. What was leased
//!   when it went may still be.
//!
//! Each errs in that an address is kept for longer than need be, by no more than one lease.

use std::time::Duration;

use offhook_model::{Lease, Time};

/// A clock that shows less than this, the beginning of 2025, is not set.
pub(crate) const SET: Time = Time::from_secs(1_735_689_600);

/// No lease has been granted or renewed for so long: half a year.
const LONG: Duration = Duration::from_secs(182 * 86_400);

/// What is not worth writing every lease again.
const TOLERANCE: Duration = Duration::from_secs(3);

/// The wall clock was set, by so much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockSet {
    /// To later than it was.
    Forward(Duration),
    /// To earlier.
    Back(Duration),
}

/// What the wall clock shows, by the time that elapses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wall {
    /// Milliseconds that it is ahead.
    ahead: i64,
}

impl Wall {
    /// What it shows, showed or will show then.
    pub(crate) fn at(self, time: Time) -> Time {
        Time::from_millis(time.as_millis().saturating_add_signed(self.ahead))
    }

    /// It shows `wall` at `now`. Nothing when it has not been set meanwhile, or not been set at all.
    pub(crate) fn follow(&mut self, now: Time, wall: Time) -> Option<ClockSet> {
        let shown = self.at(now);
        if wall < SET && shown >= SET {
            return None;
        }
        let (forward, back) = (wall.since(shown), shown.since(wall));
        if forward.max(back) <= TOLERANCE {
            return None;
        }
        let ahead = i128::from(wall.as_millis()) - i128::from(now.as_millis());
        self.ahead = i64::try_from(ahead).unwrap_or_default();
        Some(if forward > back { ClockSet::Forward(forward) } else { ClockSet::Back(back) })
    }
}

/// What `now` is to be at a start at which the wall clock shows `wall` and the store has these leases.
pub fn beginning(wall: Time, leases: &[Lease]) -> Time {
    let newest = newest(leases);
    if wall < SET { wall.max(newest) } else { wall }
}

/// Whether the wall clock has been set since the machine was built.
pub fn is_set(wall: Time) -> bool {
    wall >= SET
}

fn newest(leases: &[Lease]) -> Time {
    leases.iter().map(|lease| lease.since).max().unwrap_or_default()
}

/// What to make of the times of stored leases.
pub(crate) struct Hindsight {
    now: Time,
    newest: Time,
}

impl Hindsight {
    pub(crate) fn new(now: Time, leases: &[Lease]) -> Self {
        Self { now, newest: newest(leases) }
    }

    /// Changes a lease whose times cannot be what they are; tells whether it did.
    pub(crate) fn correct(&self, lease: &mut Lease) -> bool {
        let Self { now, newest } = *self;
        let lasts = lease.expires.since(lease.since);
        let gap = now.since(newest);
        if lease.since > now || (lease.since < SET && now >= SET) {
            lease.since = now;
            lease.expires = now + lasts;
        } else if gap >= LONG && lease.expires > newest {
            lease.since = lease.since + gap;
            lease.expires = lease.expires + gap;
        } else {
            return false;
        }
        true
    }
}
