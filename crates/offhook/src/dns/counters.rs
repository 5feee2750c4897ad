//! How often what happened in the DNS server, since the program started.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counts {
    ($($(#[$doc:meta])+ $variant:ident $name:literal)+) => {
        /// What is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Count {
            $($(#[$doc])+ $variant,)+
        }

        impl Count {
            /// Everything, in the order of the declaration.
            pub(crate) const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name, lower case with hyphens; stable.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

counts! {
    /// Questions that went to the forwarder: about names that are not ours.
    Forwarded "forwarded"
    /// Of those, the ones answered from the cache.
    CacheHit "cache-hit"
    /// Those answered with what had expired, because no upstream answered in time.
    CacheStale "cache-stale"
    /// Those that waited for the answer to an equal question.
    Coalesced "coalesced"
    /// Those answered SERVFAIL: no upstream had a usable answer in time.
    ForwardFailed "forward-failed"
    /// Those answered SERVFAIL because too many were being asked already.
    ForwardOverloaded "forward-overloaded"
    /// Questions sent upstream, repetitions included.
    UpstreamAsked "upstream-asked"
    /// Answers of upstreams that were of use.
    UpstreamAnswered "upstream-answered"
    /// Questions that an upstream did not answer in its time.
    UpstreamSilent "upstream-silent"
    /// Questions that could not be sent or were rejected by the network.
    UpstreamUnreachable "upstream-unreachable"
    /// Questions that an upstream answered with SERVFAIL, REFUSED or the like.
    UpstreamFailed "upstream-failed"
    /// Messages from an upstream's address that answer another question, or none.
    UpstreamForeign "upstream-foreign"
    /// Answers that are malformed, or contradict themselves.
    UpstreamMalformed "upstream-malformed"
    /// Answers that were asked for again over TCP because they were truncated.
    UpstreamTruncated "upstream-truncated"
    /// TCP connections that clients opened.
    TcpOpened "tcp-opened"
    /// TCP connections that were closed at once: too many from one address, or altogether.
    TcpRefused "tcp-refused"
    /// Idle TCP connections that were closed to make room for new ones.
    TcpDisplaced "tcp-displaced"
    /// TCP connections that were closed because the client did not take its answers in time.
    TcpStalled "tcp-stalled"
}

/// Counters that any thread may raise; reading them disturbs nobody.
#[derive(Debug)]
pub(crate) struct Counters([AtomicU64; Count::ALL.len()]);

impl Counters {
    pub(super) fn new() -> Self {
        Self([const { AtomicU64::new(0) }; Count::ALL.len()])
    }

    pub(super) fn count(&self, what: Count) {
        if let Some(counter) = self.0.get(what as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often `what` happened.
    pub(crate) fn of(&self, what: Count) -> u64 {
        self.0.get(what as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_counter_is_its_own_and_has_its_own_name() {
        let counters = Counters::new();
        for (times, &what) in Count::ALL.iter().enumerate() {
            (0..times).for_each(|_| counters.count(what));
        }
        for (times, &what) in Count::ALL.iter().enumerate() {
            assert_eq!(counters.of(what), times as u64, "{}", what.as_str());
        }
        let names: BTreeSet<_> = Count::ALL.iter().map(|what| what.as_str()).collect();
        assert_eq!(names.len(), Count::ALL.len());
    }
}
