//! What is known of the upstream servers: how fast they are, and whether they answer at all.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What an answer is waited for before another server is asked as well: the bounds, and what it is as long as
/// nothing is known.
const WAIT_LEAST: Duration = Duration::from_millis(300);
const WAIT_MOST: Duration = Duration::from_millis(800);
const WAIT_FIRST: Duration = Duration::from_millis(500);

/// A server is taken for silent after so many questions in a row without an answer …
const SILENT_AFTER: u32 = 3;
/// … over at least this time: one lost burst is no more than that.
const SILENT_FOR: Duration = Duration::from_secs(1);

/// How often a silent server is tried again, when there is a question for it.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// How long a server that did not take EDNS is asked without.
const PLAIN_FOR: Duration = Duration::from_secs(15 * 60);

/// Everything that is known of the upstream servers.
#[derive(Debug, Default)]
pub struct Upstreams {
    servers: BTreeMap<SocketAddr, Upstream>,
}

/// One upstream server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upstream {
    /// Mean time to an answer, and its mean deviation (RFC 6298); none before the first one.
    timing: Option<(Duration, Duration)>,
    /// Questions in a row without an answer.
    unanswered: u32,
    /// When the first of those was asked.
    unanswered_since: Option<Instant>,
    /// Since when it is taken for silent.
    silent_since: Option<Instant>,
    /// When it was last tried although silent.
    probed: Option<Instant>,
    plain_until: Option<Instant>,
    /// Questions that it answered, with whatever.
    pub answered: u64,
    /// Questions that it did not answer in its time.
    pub missed: u64,
}

/// A server that begins or ceases to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It does not answer any more.
    Silent(SocketAddr),
    /// It answers again, after so long.
    Back(SocketAddr, Duration),
}

impl Upstream {
    /// Since when it does not answer; none while it does.
    pub fn silent_since(&self) -> Option<Instant> {
        self.silent_since
    }

    /// The mean time to an answer; none before the first one.
    pub fn round_trip(&self) -> Option<Duration> {
        self.timing.map(|(mean, _)| mean)
    }
}

impl Upstreams {
    /// Every server that was ever asked.
    pub fn iter(&self) -> impl Iterator<Item = (SocketAddr, &Upstream)> {
        self.servers.iter().map(|(address, server)| (*address, server))
    }

    /// What is known of a server; none when it was never asked.
    pub fn get(&self, server: SocketAddr) -> Option<&Upstream> {
        self.servers.get(&server)
    }

    /// A server answered a question after `took`, with whatever.
    pub fn answered(&mut self, server: SocketAddr, took: Duration, now: Instant) -> Option<Change> {
        let state = self.servers.entry(server).or_default();
        state.answered += 1;
        state.unanswered = 0;
        state.unanswered_since = None;
        state.probed = None;
        state.timing = Some(match state.timing {
            None => (took, took / 2),
            Some((mean, deviation)) => {
                ((mean * 7 + took) / 8, (deviation * 3 + mean.abs_diff(took)) / 4)
            }
        });
        let since = state.silent_since.take()?;
        Some(Change::Back(server, now.saturating_duration_since(since)))
    }

    /// A question asked at `asked` was not answered in its time, or the network said that it never will be.
    pub fn missed(&mut self, server: SocketAddr, asked: Instant, now: Instant) -> Option<Change> {
        let state = self.servers.entry(server).or_default();
        state.missed += 1;
        state.unanswered = state.unanswered.saturating_add(1);
        let since = *state.unanswered_since.get_or_insert(asked);
        if state.silent_since.is_none()
            && state.unanswered >= SILENT_AFTER
            && now.saturating_duration_since(since) >= SILENT_FOR
        {
            state.silent_since = Some(since);
            state.probed = Some(now);
            return Some(Change::Silent(server));
        }
        None
    }

    /// A server did not take a question with EDNS.
    pub fn refused_edns(&mut self, server: SocketAddr, now: Instant) {
        self.servers.entry(server).or_default().plain_until = Some(now + PLAIN_FOR);
    }

    /// Whether a server is asked with EDNS.
    pub fn takes_edns(&self, server: SocketAddr, now: Instant) -> bool {
        let plain_until = self.servers.get(&server).and_then(|state| state.plain_until);
        plain_until.is_none_or(|until| now >= until)
    }

    /// How long an answer is waited for before another server is asked as well.
    pub fn patience(&self, server: SocketAddr) -> Duration {
        match self.servers.get(&server).and_then(|state| state.timing) {
            Some((mean, deviation)) => (mean + deviation * 4).clamp(WAIT_LEAST, WAIT_MOST),
            None => WAIT_FIRST,
        }
    }

    /// Whether a server does not answer, as far as is known.
    pub fn is_silent(&self, server: SocketAddr) -> bool {
        self.servers.get(&server).is_some_and(|state| state.silent_since.is_some())
    }

    /// Whether none of these answers, as far as is known: whoever asks should not be kept waiting for long.
    pub fn all_silent(&self, servers: &[SocketAddr]) -> bool {
        servers.iter().all(|server| self.is_silent(*server))
    }

    /// Whether it is time to try a silent server again; if so, the next time is later.
    pub(super) fn probe(&mut self, server: SocketAddr, now: Instant) -> bool {
        let Some(state) = self.servers.get_mut(&server) else { return false };
        let due = state.probed.is_none_or(|at| now.saturating_duration_since(at) >= PROBE_EVERY);
        if due {
            state.probed = Some(now);
        }
        due
    }
}
