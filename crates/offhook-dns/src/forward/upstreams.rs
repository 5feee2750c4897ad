//! What is known of the upstream servers: how fast they are, and whether they answer at all.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::query::Query;

/// What an answer is waited for before another server is asked as well: the bounds, and what it is as long as
/// nothing is known.
const WAIT_LEAST: Duration = Duration::from_millis(300);
const WAIT_MOST: Duration = Duration::from_millis(800);
const WAIT_FIRST: Duration = Duration::from_millis(500);

/// How often a silent server is tried again, when there is a question for it.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// A check that is not over by then never will be.
const CHECK_MOST: Duration = Duration::from_secs(10);

/// How long a server that did not take EDNS, or UDP, is asked without.
const DETOUR: Duration = Duration::from_secs(15 * 60);

/// Everything that is known of the upstream servers.
#[derive(Clone, Debug, Default)]
pub struct Upstreams {
    servers: BTreeMap<SocketAddr, Upstream>,
}

/// One upstream server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upstream {
    /// Mean time to an answer, and its mean deviation (RFC 6298); none before the first one.
    timing: Option<(Duration, Duration)>,
    /// When it was last seen to answer.
    last_answer: Option<Instant>,
    /// Since when it is taken for silent.
    silent_since: Option<Instant>,
    /// When it was last asked whether it is there, and whether that is still open.
    checked: Option<Instant>,
    checking: bool,
    /// Since when it is not known any more whether it is silent still; none once it was checked.
    in_doubt: Option<Instant>,
    /// How it is to be asked instead of with EDNS over UDP, and until when.
    detour: Option<(Way, Instant)>,
    /// Whether it ever gave an answer to a question with EDNS over UDP.
    takes_edns: bool,
    /// A question that it had an answer to.
    knows: Option<Query>,
    /// Questions that it answered, with whatever.
    pub answered: u64,
    /// Questions that it did not answer in its time.
    pub missed: u64,
}

/// How a server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Over UDP, with EDNS.
    Edns,
    /// Over UDP, without.
    Plain,
    /// Over TCP.
    Tcp,
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

    /// Whether there is to be a check, for there is none yet.
    fn begin_check(&mut self, now: Instant) -> bool {
        let lately = |at: Instant| now.saturating_duration_since(at) < CHECK_MOST;
        if self.checking && self.checked.is_some_and(lately) {
            return false;
        }
        self.checking = true;
        self.checked = Some(now);
        true
    }
}

impl Upstreams {
    /// Forgets every server but these: nobody else is asked any more.
    pub fn retain(&mut self, is_asked: impl Fn(SocketAddr) -> bool) {
        self.servers.retain(|server, _| is_asked(*server));
    }

    /// Silent servers may be there again, as far as anybody knows at `now`: each is checked with the next question for
    /// it, and asked, where there is nobody else, until that is over.
    pub(super) fn doubt(&mut self, now: Instant) {
        for state in self.servers.values_mut().filter(|state| state.silent_since.is_some()) {
            state.checked = None;
            state.in_doubt = Some(now);
        }
    }

    /// Every server that was ever asked and is asked still.
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
        state.last_answer = Some(now);
        state.timing = Some(match state.timing {
            None => (took, took / 2),
            Some((mean, deviation)) => {
                ((mean * 7 + took) / 8, (deviation * 3 + mean.abs_diff(took)) / 4)
            }
        });
        state.in_doubt = None;
        let since = state.silent_since.take()?;
        Some(Change::Back(server, now.saturating_duration_since(since)))
    }

    /// A server had an answer to this question: it will have one again, and sooner.
    pub fn knows(&mut self, server: SocketAddr, query: &Query) {
        let state = self.servers.entry(server).or_default();
        if state.knows.as_ref() != Some(query) {
            state.knows = Some(query.clone());
        }
    }

    /// What a server is asked to find out whether it is there: something that it answers at once if it does. Some
    /// answer no question about the `usual` one, the top of what they serve.
    pub fn check_question(&self, server: SocketAddr, usual: &Query) -> Query {
        let known = self.servers.get(&server).and_then(|state| state.knows.as_ref());
        known.unwrap_or(usual).clone()
    }

    /// A question was not answered in its time, or the network said that it never will be. Whether the server is
    /// to be checked: the name may be what is slow.
    pub fn missed(&mut self, server: SocketAddr, now: Instant) -> bool {
        let state = self.servers.entry(server).or_default();
        state.missed += 1;
        state.silent_since.is_none() && state.begin_check(now)
    }

    /// A check that began at `begun` is over without an answer, or with one, which was told before.
    pub fn checked(&mut self, server: SocketAddr, begun: Instant) -> Option<Change> {
        let state = self.servers.entry(server).or_default();
        state.checking = false;
        // What began before that says nothing about what is true since.
        state.in_doubt = state.in_doubt.filter(|since| begun < *since);
        let answers = state.last_answer.is_some_and(|at| at >= begun);
        if answers || state.silent_since.is_some() {
            return None;
        }
        state.silent_since = Some(begun);
        Some(Change::Silent(server))
    }

    /// A server did not take a question with EDNS.
    pub fn refused_edns(&mut self, server: SocketAddr, now: Instant) {
        self.servers.entry(server).or_default().detour = Some((Way::Plain, now + DETOUR));
    }

    /// A server took a question with EDNS over UDP.
    pub fn took_edns(&mut self, server: SocketAddr) {
        let state = self.servers.entry(server).or_default();
        state.takes_edns = true;
        state.detour = None;
    }

    /// A server gave an answer to a question that went this way, and a moment later none to one with EDNS over UDP:
    /// it, or something before it, drops those. One that ever took EDNS is not to lose it by an accident.
    pub fn took_detour(&mut self, server: SocketAddr, way: Way, now: Instant) {
        let state = self.servers.entry(server).or_default();
        if !state.takes_edns {
            state.detour = Some((way, now + DETOUR));
        }
    }

    /// How a server is asked.
    pub fn way(&self, server: SocketAddr, now: Instant) -> Way {
        match self.servers.get(&server).and_then(|state| state.detour) {
            Some((way, until)) if now < until => way,
            _ => Way::Edns,
        }
    }

    /// How a server is asked whether it is there, one time after the other: where it is not known what it takes, in
    /// every way.
    pub fn ways_to_check(&self, server: SocketAddr, now: Instant) -> [Way; 3] {
        let takes_edns = self.servers.get(&server).is_some_and(|state| state.takes_edns);
        match self.way(server, now) {
            Way::Edns if takes_edns => [Way::Edns; 3],
            Way::Edns => [Way::Edns, Way::Plain, Way::Tcp],
            Way::Plain => [Way::Plain, Way::Plain, Way::Edns],
            Way::Tcp => [Way::Tcp, Way::Edns, Way::Plain],
        }
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

    /// Whether a silent server is one that may be there again.
    pub(super) fn is_in_doubt(&self, server: SocketAddr) -> bool {
        self.servers.get(&server).is_some_and(|state| state.in_doubt.is_some())
    }

    /// Whether it is time to check a silent server; if so, the next time is later.
    pub(super) fn is_due(&mut self, server: SocketAddr, now: Instant) -> bool {
        let Some(state) = self.servers.get_mut(&server) else { return false };
        let is_due =
            state.checked.is_none_or(|at| now.saturating_duration_since(at) >= CHECK_EVERY);
        is_due && state.begin_check(now)
    }
}
