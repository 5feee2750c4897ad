//! What the rest of the program asks the thread that owns the core. An answer takes it no longer than a burst of
//! datagrams: whatever may be long is asked for a page at a time.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use offhook_dhcp::{Core, Outline, Ticket};
use offhook_model::{Lease, LeaseWrite, Mac, Site, Time};
use tokio::sync::oneshot;

use super::counters::Counters;
use super::worker::{Mail, Mailbox};

/// Leases at a glance in one answer.
const GLANCE: usize = 4096;
/// Most leases that may be asked for at once.
pub(crate) const PAGE: usize = 500;
/// How long an answer is waited for. The thread answers within milliseconds unless something is very wrong.
const PATIENCE: Duration = Duration::from_secs(10);

/// A question, and where its answer goes.
#[derive(Debug)]
pub(super) enum Question {
    Outline { from: usize, answer: oneshot::Sender<Outlines> },
    Leases { addresses: Vec<Ipv4Addr>, answer: oneshot::Sender<Page> },
    Overview { answer: oneshot::Sender<Overview> },
    Release { address: Ipv4Addr, mac: Option<Mac>, answer: oneshot::Sender<Released> },
}

/// Some leases at a glance, and where to go on.
#[derive(Debug)]
pub(crate) struct Outlines {
    pub(crate) now: Time,
    pub(crate) leases: Vec<Outline>,
    pub(crate) next: Option<usize>,
}

/// Some leases in full.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) now: Time,
    pub(crate) leases: Vec<Lease>,
}

/// The table as a whole.
#[derive(Debug)]
pub(crate) struct Overview {
    pub(crate) now: Time,
    pub(crate) site: Arc<Site>,
    /// Addresses in the table, live or not.
    pub(crate) leases: usize,
    /// Changes that are not on disk yet.
    pub(crate) unsettled: usize,
    /// Addresses held for clients that were offered them.
    pub(crate) offered: Vec<Ipv4Addr>,
    /// The addresses of this machine.
    pub(crate) ours: Vec<Ipv4Addr>,
}

/// The lease as it was before it was given back.
pub(crate) type Released = Result<Lease, NotReleased>;

/// Why a lease was not given back.
#[derive(Debug)]
pub(crate) enum NotReleased {
    /// Nobody has the address, or no longer has it; the lease says who had it last.
    NotLeased(Option<Box<Lease>>),
    /// Somebody else has it by now.
    OtherHolder(Box<Lease>),
    /// It could not be written down.
    Unwritten(String),
}

/// A question that changes a lease: to be answered once the change is on disk.
#[derive(Debug)]
pub(super) struct Asked {
    lease: Lease,
    answer: oneshot::Sender<Released>,
}

impl Asked {
    /// The lease as it was.
    pub(super) fn lease(&self) -> &Lease {
        &self.lease
    }

    pub(super) fn done(self) {
        let _ = self.answer.send(Ok(self.lease));
    }

    pub(super) fn failed(self, why: String) {
        let _ = self.answer.send(Err(NotReleased::Unwritten(why)));
    }
}

impl Question {
    /// Answers, or returns what has to be on disk first. Who does not wait for the answer any more does not matter.
    pub(super) fn answer(
        self,
        core: &mut Core,
        now: Time,
    ) -> Option<(Ticket, Vec<LeaseWrite>, Asked)> {
        // What leases that come out of the core are timed by.
        let wall = core.wall(now);
        match self {
            Self::Outline { from, answer } => {
                let (leases, next) = core.outline(from, GLANCE);
                let _ = answer.send(Outlines { now: wall, leases, next });
            }
            Self::Leases { addresses, answer } => {
                let asked = addresses.iter().take(PAGE);
                let leases = asked.filter_map(|address| core.lease_at(*address)).collect();
                let _ = answer.send(Page { now: wall, leases });
            }
            Self::Overview { answer } => {
                let _ = answer.send(Overview {
                    now: wall,
                    site: Arc::clone(core.site()),
                    leases: core.lease_count(),
                    unsettled: core.unsettled_count(),
                    offered: core.offered().collect(),
                    ours: core.ours(),
                });
            }
            Self::Release { address, mac, answer } => {
                let lease = core.lease_at(address);
                let is_another =
                    |lease: &Lease| mac.is_some_and(|mac| lease.hardware.mac() != Some(mac));
                let refusal = match lease {
                    Some(lease) if lease.is_live(wall) && is_another(&lease) => {
                        NotReleased::OtherHolder(Box::new(lease))
                    }
                    Some(lease) => match core.release(now, address) {
                        Some((ticket, writes)) => {
                            return Some((ticket, writes, Asked { lease, answer }));
                        }
                        None => NotReleased::NotLeased(Some(Box::new(lease))),
                    },
                    None => NotReleased::NotLeased(None),
                };
                let _ = answer.send(Err(refusal));
            }
        }
        None
    }
}

/// The thread that owns the core is gone, or as good as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoAnswer;

/// Asks the running DHCP server; any number of tasks may have one.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    mailbox: Mailbox,
    counters: Arc<Counters>,
    started: Instant,
}

impl Handle {
    pub(super) fn new(mailbox: Mailbox, counters: Arc<Counters>) -> Self {
        Self { mailbox, counters, started: Instant::now() }
    }

    /// How often what happened.
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// For how long it has been running.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Leases at a glance from place `from` on (0 at first), in no order, as [`Core::outline`] tells them.
    ///
    /// # Errors
    /// The server does not answer.
    pub(crate) async fn outline(&self, from: usize) -> Result<Outlines, NoAnswer> {
        self.ask(|answer| Question::Outline { from, answer }).await
    }

    /// The leases of at most [`PAGE`] addresses, in their order; those that are gone are left out.
    ///
    /// # Errors
    /// The server does not answer.
    pub(crate) async fn leases(&self, addresses: Vec<Ipv4Addr>) -> Result<Page, NoAnswer> {
        self.ask(|answer| Question::Leases { addresses, answer }).await
    }

    /// The table as a whole.
    ///
    /// # Errors
    /// The server does not answer.
    pub(crate) async fn overview(&self) -> Result<Overview, NoAnswer> {
        self.ask(|answer| Question::Overview { answer }).await
    }

    /// Gives a lease back, if `mac` has it, or whoever has it without one. The answer comes when that is on disk.
    ///
    /// # Errors
    /// The server does not answer.
    pub(crate) async fn release(
        &self,
        address: Ipv4Addr,
        mac: Option<Mac>,
    ) -> Result<Released, NoAnswer> {
        self.ask(|answer| Question::Release { address, mac, answer }).await
    }

    /// Has it serve another configuration of the site; what stands in the way when something does, and nothing is
    /// changed.
    ///
    /// # Errors
    /// The server does not answer.
    pub(crate) async fn reload(
        &self,
        site: Arc<Site>,
    ) -> Result<Result<(), Vec<String>>, NoAnswer> {
        let (sender, receiver) = oneshot::channel();
        self.mailbox.post(Mail::Reload(site, sender));
        // A million leases have to be looked at again.
        match tokio::time::timeout(6 * PATIENCE, receiver).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(NoAnswer),
        }
    }

    async fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> Question,
    ) -> Result<T, NoAnswer> {
        let (sender, receiver) = oneshot::channel();
        self.mailbox.post(Mail::Question(question(sender)));
        match tokio::time::timeout(PATIENCE, receiver).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(NoAnswer),
        }
    }
}
