//! How often what happened, since the program started.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use offhook_dhcp::NoReply;

use crate::counters::{Counts, counts};

// Silence is counted by its reasons, which have names of their own.
counts! {
    /// OFFERs sent.
    Offer "offer"
    /// ACKs sent for leases.
    Ack "ack"
    /// NAKs sent.
    Nak "nak"
    /// ACKs sent for INFORMs.
    Inform "inform"
    /// RELEASEs taken.
    Release "release"
    /// DECLINEs taken.
    Decline "decline"
    /// Leases given back by the administrator.
    ReleasedByHand "released-by-hand"
    /// Requests that went unanswered because too many leases waited for the disk.
    Overloaded "overloaded"
    /// DISCOVERs that went unanswered because more waited than could be served.
    Shed "shed"
    /// Requests that went unanswered because their lease could not be written.
    Unwritten "unwritten"
    /// Replies that the kernel did not take.
    SendFailed "send-failed"
    /// Times a socket did not receive.
    ReceiveFailed "receive-failed"
    /// Batches of leases that could not be written.
    CommitFailed "commit-failed"
}

/// Counters that any thread may raise; reading them disturbs nobody.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    counts: Counts<{ Count::ALL.len() }>,
    silent: Counts<{ NoReply::ALL.len() }>,
    /// Whether the last batch could not be written.
    failing: AtomicBool,
    last_failure: Mutex<Option<(SystemTime, String)>>,
}

impl Counters {
    pub(super) fn count(&self, what: Count) {
        self.add(what, 1);
    }

    pub(super) fn add(&self, what: Count, times: u64) {
        self.counts.add(what as usize, times);
    }

    pub(super) fn silent(&self, reason: NoReply) {
        self.silent.add(reason as usize, 1);
    }

    /// A batch is on disk.
    pub(super) fn committed(&self) {
        self.failing.store(false, Ordering::Relaxed);
    }

    /// A batch is not on disk, and that many messages go unanswered. Without an `error` the one before still holds.
    pub(super) fn commit_failed(&self, error: Option<String>, unanswered: u64) {
        self.count(Count::CommitFailed);
        self.add(Count::Unwritten, unanswered);
        self.failing.store(true, Ordering::Relaxed);
        if let Some(error) = error {
            let mut last = self.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
            *last = Some((SystemTime::now(), error));
        }
    }

    /// How often `what` happened.
    pub(crate) fn of(&self, what: Count) -> u64 {
        self.counts.of(what as usize)
    }

    /// How often a message got no reply for `reason`.
    pub(crate) fn silences(&self, reason: NoReply) -> u64 {
        self.silent.of(reason as usize)
    }

    /// Whether the last batch of leases could not be written: then none is acknowledged.
    pub(crate) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// When a batch last could not be written, and why.
    pub(crate) fn last_failure(&self) -> Option<(SystemTime, String)> {
        self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_its_own() {
        let counters = Counters::default();
        for (times, &what) in Count::ALL.iter().enumerate() {
            counters.add(what, times as u64);
        }
        for (times, &what) in Count::ALL.iter().enumerate() {
            assert_eq!(counters.of(what), times as u64, "{}", what.as_str());
        }
        for (times, reason) in NoReply::ALL.iter().enumerate() {
            (0..times).for_each(|_| counters.silent(*reason));
        }
        for (times, reason) in NoReply::ALL.iter().enumerate() {
            assert_eq!(counters.silences(*reason), times as u64, "{reason}");
        }
    }

    #[test]
    fn a_failed_batch_is_remembered_after_the_next_has_succeeded() {
        let counters = Counters::default();
        assert!(!counters.is_failing() && counters.last_failure().is_none());
        counters.commit_failed(Some("disk full".to_owned()), 2);
        counters.commit_failed(None, 1);
        assert!(counters.is_failing());
        counters.committed();
        assert!(!counters.is_failing());
        assert_eq!(counters.last_failure().unwrap().1, "disk full");
        assert_eq!((counters.of(Count::CommitFailed), counters.of(Count::Unwritten)), (2, 3));
    }
}
