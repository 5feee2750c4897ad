//! One question's way through the servers that may answer it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::upstreams::Upstreams;

/// How long all servers together may take: a resolver in a phone gives up after some five seconds.
const ALTOGETHER: Duration = Duration::from_millis(4500);

/// How often one server is asked, the first time included.
const MOST_TRIES: u32 = 4;

/// Whom to ask next, and when: the servers in their order, each when the one before has not answered in its time
/// or has failed, then all again with more patience. Those known to be silent come last, and one of them is tried
/// beside the others now and then.
#[derive(Clone, Debug)]
pub struct Inquiry {
    servers: Vec<Target>,
    /// Silent servers whose turn it is to be checked.
    checks: Vec<SocketAddr>,
    deadline: Instant,
    /// When the next server is asked, whatever the others do.
    next: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Target {
    server: SocketAddr,
    tries: u32,
    failed: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send the question to this server, and say what comes of it.
    Ask(SocketAddr),
    /// Find out whether this server is back, with the question or with another; nobody waits for that.
    Check(SocketAddr),
    /// Wait for an answer until then.
    Wait(Instant),
    /// There is nobody left to ask, or no time.
    GiveUp,
}

impl Inquiry {
    /// A question for `servers`, asked at `now`.
    pub fn new(servers: &[SocketAddr], upstreams: &mut Upstreams, now: Instant) -> Self {
        let (silent, live): (Vec<_>, Vec<_>) =
            servers.iter().partition(|server| upstreams.is_silent(**server));
        let due: Vec<SocketAddr> =
            silent.iter().copied().filter(|server| upstreams.is_due(*server, now)).collect();
        let hopeless = live.is_empty();
        // With nobody else to ask, a silent server is asked as any other, but only when it is checked, or was not since a
        // reload.
        let may_be_back =
            |server: &SocketAddr| due.contains(server) || upstreams.is_in_doubt(*server);
        let order = match hopeless {
            true => silent.into_iter().filter(may_be_back).collect(),
            false => [live, silent].concat(),
        };
        Self {
            servers: order
                .into_iter()
                .map(|server| Target { server, tries: 0, failed: false })
                .collect(),
            checks: due,
            deadline: now + ALTOGETHER,
            next: now,
        }
    }

    /// Whether there is nobody to ask: all are silent, and each was tried a moment ago.
    pub fn is_over(&self) -> bool {
        self.servers.iter().all(|target| target.failed)
    }

    /// What to do at `now`. Once there is nothing to ask for the moment, it is [`Step::Wait`] or [`Step::GiveUp`].
    pub fn step(&mut self, upstreams: &Upstreams, now: Instant) -> Step {
        if now >= self.deadline || self.is_over() {
            return Step::GiveUp;
        }
        // The first to be asked is one that most likely answers.
        let is_asked = self.servers.iter().any(|target| target.tries > 0);
        if is_asked && let Some(server) = self.checks.pop() {
            return Step::Check(server);
        }
        if now < self.next {
            return Step::Wait(self.next.min(self.deadline));
        }
        let open = self.servers.iter_mut().filter(|target| !target.failed);
        let Some(target) = open.min_by_key(|target| target.tries) else { return Step::GiveUp };
        if target.tries >= MOST_TRIES {
            return Step::Wait(self.deadline);
        }
        self.next = now + upstreams.patience(target.server) * (1 << target.tries);
        target.tries += 1;
        Step::Ask(target.server)
    }

    /// A server said that it has no answer, or the network that it is not there: the next one is asked at once.
    pub fn failed(&mut self, server: SocketAddr, now: Instant) {
        for target in self.servers.iter_mut().filter(|target| target.server == server) {
            target.failed = true;
        }
        // Those that were asked already have the time that they were given.
        if self.servers.iter().any(|target| !target.failed && target.tries == 0) {
            self.next = now;
        }
    }
}
