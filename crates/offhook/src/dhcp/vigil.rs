//! Keeps the processors awake while a client waits.
//!
//! A processor with nothing to do sleeps, and takes some time to wake up: for a message, for each of the two answers of
//! the disk that an ACK waits for, for the client's next message. For one client alone that is most of the time it
//! waits, and half of it can be spared by asking the kernel not to let the processors sleep until its exchange is
//! over. That costs energy; so it is done while few ask, for many keep the processors awake by themselves, and for a
//! small part of all time at most.

use std::time::Duration;

use offhook_model::Time;
use offhook_net::CpuLatency;
use tracing::debug;

/// How long after a message its client's next one is waited for, or another client's.
const LINGER: Duration = Duration::from_millis(50);

/// Messages that come at once from a few clients. More are a crowd.
const FEW: usize = 2;

/// Most time awake at a stretch, and of all time the part that is not exceeded in the long run, as a divisor.
const STRETCH: Duration = Duration::from_secs(2);
const PART: u32 = 20;

/// The watch, and who keeps it.
#[derive(Debug)]
pub(super) struct Vigil {
    watch: Watch,
    /// None where the kernel does not take such demands, or not from us.
    latency: Option<CpuLatency>,
}

impl Vigil {
    pub(super) fn new(now: Time) -> Self {
        let latency = CpuLatency::open();
        match &latency {
            Ok(_) => debug!("processors stay awake while a client waits"),
            Err(error) => debug!(%error, "processors may sleep while a client waits"),
        }
        Self { watch: Watch::new(now), latency: latency.ok() }
    }

    /// To be called once what cannot wait is done, with how many messages had come together.
    pub(super) fn look(&mut self, now: Time, messages: usize) {
        let Some(latency) = &self.latency else { return };
        let before = self.watch.is_kept;
        self.watch.look(now, messages);
        let after = self.watch.is_kept;
        if after != before
            && let Err(error) = latency.keep_awake(after)
        {
            debug!(%error, "processors may sleep while a client waits");
            self.latency = None;
        }
    }

    /// How long there is nothing to look after.
    pub(super) fn patience(&self, now: Time) -> Duration {
        if self.watch.is_kept { self.watch.until.since(now) } else { Duration::MAX }
    }
}

/// When to be awake.
#[derive(Debug)]
struct Watch {
    is_kept: bool,
    /// When the last of few messages will have been long ago, or the credit is used up.
    until: Time,
    /// When the last crowd will.
    crowded: Time,
    /// How long it may still be kept.
    credit: Duration,
    /// When that was true.
    counted: Time,
}

impl Watch {
    fn new(now: Time) -> Self {
        Self { is_kept: false, until: now, crowded: now, credit: STRETCH, counted: now }
    }

    fn look(&mut self, now: Time, messages: usize) {
        let passed = now.since(self.counted);
        self.counted = now;
        self.credit = if self.is_kept {
            self.credit.saturating_sub(passed)
        } else {
            (self.credit + passed / PART).min(STRETCH)
        };
        match messages {
            0 => {}
            1..=FEW => self.until = now + LINGER.min(self.credit),
            _ => self.crowded = now + LINGER,
        }
        // It begins when it can go on for a while, not to begin and end all the time.
        let is_affordable = self.is_kept || self.credit >= LINGER;
        self.is_kept = is_affordable && now < self.until && now >= self.crowded;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_millis(1_000_000 + millis)
    }

    #[test]
    fn it_is_kept_from_a_message_on_until_the_next_would_have_come() {
        let mut watch = Watch::new(at(0));
        watch.look(at(10), 0);
        assert!(!watch.is_kept, "for nobody");
        watch.look(at(20), 1);
        assert!(watch.is_kept);
        watch.look(at(60), 1);
        watch.look(at(109), 0);
        assert!(watch.is_kept, "the last message was not 50 ms ago");
        watch.look(at(110), 0);
        assert!(!watch.is_kept);
    }

    #[test]
    fn a_crowd_is_left_alone_until_it_has_gone() {
        let mut watch = Watch::new(at(0));
        watch.look(at(10), 2);
        assert!(watch.is_kept);
        watch.look(at(11), 3);
        assert!(!watch.is_kept);
        watch.look(at(60), 1);
        assert!(!watch.is_kept);
        watch.look(at(61), 1);
        assert!(watch.is_kept);
    }

    #[test]
    fn clients_one_after_the_other_have_two_seconds_at_a_stretch() {
        let mut watch = Watch::new(at(0));
        let kept = (0..10_000).filter(|millis| {
            watch.look(at(*millis), 1);
            watch.is_kept
        });
        // And then the twentieth part of what is left.
        assert!((2_000..=2_410).contains(&kept.count()));
    }

    proptest! {
        /// Whatever comes, and whenever it is looked.
        #[test]
        fn it_is_kept_for_a_twentieth_of_all_time_at_most_but_for_one_stretch(
            looks in prop::collection::vec((0..200_u64, 0..4_usize), 1..2_000),
        ) {
            let mut watch = Watch::new(at(0));
            let (mut now, mut kept) = (0, 0);
            for (pause, messages) in looks {
                // The worker looks again when the watch is to end.
                let left = watch.until.since(at(now)).as_millis() as u64;
                let pause = if watch.is_kept { pause.min(left) } else { pause };
                now += pause;
                kept += if watch.is_kept { pause } else { 0 };
                watch.look(at(now), messages);
            }
            prop_assert!(kept <= 2_000 + now / 20, "{kept} of {now} ms");
        }
    }
}
