//! How often what happened, since the program started.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use offhook_dhcp::NoReply;

/// What is counted beside silence, whose reasons have names of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    /// OFFERs sent.
    Offer,
    /// ACKs sent for leases.
    Ack,
    /// NAKs sent.
    Nak,
    /// ACKs sent for INFORMs.
    Inform,
    /// RELEASEs taken.
    Release,
    /// DECLINEs taken.
    Decline,
    /// Leases given back by the administrator.
    ReleasedByHand,
    /// Requests that went unanswered because too many leases waited for the disk.
    Overloaded,
    /// DISCOVERs that went unanswered because more waited than could be served.
    Shed,
    /// Requests that went unanswered because their lease could not be written.
    Unwritten,
    /// Replies that the kernel did not take.
    SendFailed,
    /// Times a socket did not receive.
    ReceiveFailed,
    /// Batches of leases that could not be written.
    CommitFailed,
}

impl Count {
    /// Everything, in the order of the declaration.
    pub(crate) const ALL: [Self; 13] = [
        Self::Offer,
        Self::Ack,
        Self::Nak,
        Self::Inform,
        Self::Release,
        Self::Decline,
        Self::ReleasedByHand,
        Self::Overloaded,
        Self::Shed,
        Self::Unwritten,
        Self::SendFailed,
        Self::ReceiveFailed,
        Self::CommitFailed,
    ];

    /// The name, lower case with hyphens; stable.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::Ack => "ack",
            Self::Nak => "nak",
            Self::Inform => "inform",
            Self::Release => "release",
            Self::Decline => "decline",
            Self::ReleasedByHand => "released-by-hand",
            Self::Overloaded => "overloaded",
            Self::Shed => "shed",
            Self::Unwritten => "unwritten",
            Self::SendFailed => "send-failed",
            Self::ReceiveFailed => "receive-failed",
            Self::CommitFailed => "commit-failed",
        }
    }
}

/// Counters that any thread may raise; reading them disturbs nobody.
#[derive(Debug)]
pub(crate) struct Counters {
    counts: [AtomicU64; Count::ALL.len()],
    silent: [AtomicU64; NoReply::ALL.len()],
    /// Whether the last batch could not be written.
    failing: AtomicBool,
    last_failure: Mutex<Option<(SystemTime, String)>>,
}

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            counts: [const { AtomicU64::new(0) }; Count::ALL.len()],
            silent: [const { AtomicU64::new(0) }; NoReply::ALL.len()],
            failing: AtomicBool::new(false),
            last_failure: Mutex::new(None),
        }
    }

    pub(super) fn count(&self, what: Count) {
        self.add(what, 1);
    }

    pub(super) fn add(&self, what: Count, times: u64) {
        if let Some(counter) = self.counts.get(what as usize) {
            counter.fetch_add(times, Ordering::Relaxed);
        }
    }

    pub(super) fn silent(&self, reason: NoReply) {
        if let Some(counter) = self.silent.get(reason as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
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
        self.counts.get(what as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// How often a message got no reply for `reason`.
    pub(crate) fn silences(&self, reason: NoReply) -> u64 {
        self.silent.get(reason as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
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
        let counters = Counters::new();
        for (times, what) in Count::ALL.into_iter().enumerate() {
            counters.add(what, times as u64);
        }
        for (times, what) in Count::ALL.into_iter().enumerate() {
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
        let counters = Counters::new();
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
