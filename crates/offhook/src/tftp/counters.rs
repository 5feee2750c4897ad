//! How often what happened in the TFTP server, since the program started.

use std::sync::atomic::{AtomicU64, Ordering};

use offhook_tftp::{Outcome, Refusal};

use crate::counters::{Counts, counts};

counts! {
    /// Requests to read a file, repetitions included.
    Requested "requested"
    /// Transfers that ended with the last acknowledgement.
    Done "done"
    /// Those whose last acknowledgement never came.
    Unconfirmed "unconfirmed"
    /// Those that ended with their options: the client wanted to know the size, or asks again with others.
    Declined "declined"
    /// Those the client ended with an ERROR.
    Aborted "aborted"
    /// Those given up because the client was silent.
    TimedOut "timed-out"
    /// Those that failed because of their file or their socket.
    Broken "broken"
    /// Those that a new request from the same port ended.
    Replaced "replaced"
    /// Those ended to make room for others, because their clients had acknowledged nothing.
    Ousted "ousted"
    /// Octets of files that were acknowledged.
    Octets "octets"
    /// Requests for files that are not there.
    NotFound "refused-not-found"
    /// Requests for files out of the root, or that may not be read.
    Access "refused-access"
    /// Requests from networks that are not served.
    Denied "refused-network"
    /// Requests to write a file.
    Write "refused-write"
    /// Datagrams that are no request, or ask for what there is not.
    Illegal "refused-illegal"
    /// Requests beyond the number of transfers.
    Busy "refused-busy"
    /// Requests for images whose digest is not the one stated.
    Digest "refused-digest"
    /// Requests for what the provisioning server does not give.
    Upstream "refused-upstream"
    /// Requests that failed because of this machine.
    Failed "refused-failed"
    /// Files fetched from the provisioning server.
    Fetched "upstream-fetched"
    /// Octets of those.
    FetchedOctets "upstream-octets"
    /// Files in the cache of which the provisioning server says that they are what it has.
    Unchanged "upstream-unchanged"
    /// Requests answered with a file from the cache.
    FromCache "upstream-from-cache"
    /// Files that could not be fetched.
    FetchFailed "upstream-failed"
}

impl From<Refusal> for Count {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotFound => Self::NotFound,
            Refusal::OutsideRoot | Refusal::Unreadable => Self::Access,
            Refusal::Denied => Self::Denied,
            Refusal::ReadOnly => Self::Write,
            Refusal::Mail
            | Refusal::UnknownMode
            | Refusal::Malformed
            | Refusal::UnknownTransfer => Self::Illegal,
            Refusal::Busy => Self::Busy,
            Refusal::Damaged => Self::Digest,
            Refusal::Upstream => Self::Upstream,
            Refusal::Failed => Self::Failed,
        }
    }
}

/// Counters that any thread may raise; reading them disturbs nobody.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    counts: Counts<{ Count::ALL.len() }>,
    active: AtomicU64,
}

impl Counters {
    pub(super) fn count(&self, what: Count) {
        self.add(what, 1);
    }

    pub(super) fn add(&self, what: Count, more: u64) {
        self.counts.add(what as usize, more);
    }

    /// How a transfer ended, and how many octets were acknowledged.
    pub(super) fn ended(&self, outcome: Option<&Outcome>, octets: u64) {
        self.count(match outcome {
            Some(Outcome::Complete) => Count::Done,
            Some(Outcome::Unconfirmed) => Count::Unconfirmed,
            Some(Outcome::Declined) => Count::Declined,
            Some(Outcome::Aborted { .. }) => Count::Aborted,
            Some(Outcome::TimedOut) => Count::TimedOut,
            Some(Outcome::Failed(_)) | None => Count::Broken,
        });
        self.add(Count::Octets, octets);
    }

    pub(super) fn set_active(&self, transfers: usize) {
        self.active.store(transfers as u64, Ordering::Relaxed);
    }

    /// How often `what` happened.
    pub(crate) fn of(&self, what: Count) -> u64 {
        self.counts.of(what as usize)
    }

    /// Transfers under way.
    pub(crate) fn active(&self) -> u64 {
        self.active.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_counter_is_its_own_and_has_its_own_name() {
        let counters = Counters::default();
        for (times, &what) in Count::ALL.iter().enumerate() {
            counters.add(what, times as u64);
        }
        for (times, &what) in Count::ALL.iter().enumerate() {
            assert_eq!(counters.of(what), times as u64, "{}", what.as_str());
        }
        let names: BTreeSet<_> = Count::ALL.iter().map(|what| what.as_str()).collect();
        assert_eq!(names.len(), Count::ALL.len());
    }
}
