//! How often what happened in the DNS server, since the program started.

use crate::counters::{Counts, counts};

counts! {
    /// Messages that came in, over UDP or TCP.
    Received "received"
    /// Those answered by the direct path: the common question, over UDP.
    Direct "direct"
    /// Those met with silence: scraps, and answers that nobody asked for.
    Ignored "ignored"
    /// Answers with the code NOERROR, "there is none of this type" among them.
    NoError "noerror"
    /// Answers with the code NXDOMAIN: there is no such name.
    NxDomain "nxdomain"
    /// Answers with the code REFUSED: not our zone, not our client, an update, a transfer.
    Refused "refused"
    /// Answers with the code SERVFAIL: no upstream could say.
    ServFail "servfail"
    /// Answers with the code FORMERR: what was asked was malformed.
    FormErr "formerr"
    /// Answers with another code, such as NOTIMP or BADVERS.
    OtherCode "other-code"
    /// Questions that were refused because of who asked.
    Denied "denied"
    /// Answers that were left out or cut down because their client is sent too many.
    RateLimited "rate-limited"
    /// Whole zones that were sent to secondaries.
    Transfer "transfer"
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
    /// Idle TCP connections that were closed to make room for new ones.
    TcpDisplaced "tcp-displaced"
    /// TCP connections that were closed because the client did not take its answers in time.
    TcpStalled "tcp-stalled"
}

impl Count {
    /// Of answers with this code.
    pub(super) fn of_rcode(rcode: u16) -> Self {
        match rcode {
            0 => Self::NoError,
            1 => Self::FormErr,
            2 => Self::ServFail,
            3 => Self::NxDomain,
            5 => Self::Refused,
            _ => Self::OtherCode,
        }
    }
}

/// Counters that any thread may raise; reading them disturbs nobody.
#[derive(Debug, Default)]
pub(crate) struct Counters(Counts<{ Count::ALL.len() }>);

impl Counters {
    pub(super) fn count(&self, what: Count) {
        self.add(what, 1);
    }

    pub(super) fn add(&self, what: Count, times: u64) {
        self.0.add(what as usize, times);
    }

    /// How often `what` happened.
    pub(crate) fn of(&self, what: Count) -> u64 {
        self.0.of(what as usize)
    }
}

/// What one thread has counted lately: raising a shared counter for each of 400,000 queries a second would cost
/// more than the queries.
#[derive(Debug, Default)]
pub(super) struct Tally {
    direct: [u64; 16],
    received: u64,
}

impl Tally {
    /// A message came in.
    pub(super) fn received(&mut self) {
        self.received += 1;
    }

    /// The direct path has answered it with this code.
    pub(super) fn answered(&mut self, rcode: u8) {
        if let Some(count) = self.direct.get_mut(usize::from(rcode)) {
            *count += 1;
        }
    }

    /// Adds everything to the counters, and begins anew.
    pub(super) fn publish(&mut self, counters: &Counters) {
        let counted = std::mem::take(self);
        counters.add(Count::Received, counted.received);
        for (rcode, times) in (0..).zip(counted.direct).filter(|(_, times)| *times > 0) {
            counters.add(Count::Direct, times);
            counters.add(Count::of_rcode(rcode), times);
        }
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
            (0..times).for_each(|_| counters.count(what));
        }
        for (times, &what) in Count::ALL.iter().enumerate() {
            assert_eq!(counters.of(what), times as u64, "{}", what.as_str());
        }
        let names: BTreeSet<_> = Count::ALL.iter().map(|what| what.as_str()).collect();
        assert_eq!(names.len(), Count::ALL.len());
    }

    #[test]
    fn a_tally_is_added_once() {
        let (counters, mut tally) = (Counters::default(), Tally::default());
        for rcode in [0, 0, 3, 5, 9, 16] {
            tally.received();
            tally.answered(rcode);
        }
        tally.publish(&counters);
        tally.publish(&counters);
        let expected = [
            (Count::Received, 6),
            (Count::Direct, 5),
            (Count::NoError, 2),
            (Count::NxDomain, 1),
            (Count::Refused, 1),
            (Count::OtherCode, 1),
            (Count::ServFail, 0),
        ];
        for (what, times) in expected {
            assert_eq!(counters.of(what), times, "{}", what.as_str());
        }
    }
}
