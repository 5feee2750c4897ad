//! The DHCP server's shell: sockets and threads around [`offhook_dhcp::Core`].
//!
//! One thread owns the core and all its sockets' receiving ends ([`worker`]). Replies that change no lease leave
//! from there at once; those that do go to the lease writer's thread first and leave when their batch is durable.

mod backlog;
mod counters;
mod finish;
mod journal;
mod ports;
mod prober;
mod questions;
mod upkeep;
mod vigil;
mod worker;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use offhook_model::{Lease, Site};
use offhook_net::Waker;
use offhook_store::Store;

use crate::dns::{Feed, Publisher};
pub(crate) use counters::{Count, Counters};
use journal::Journal;
pub(crate) use ports::Ports;
pub(crate) use questions::{Handle, NoAnswer, NotReleased, PAGE};
use worker::{Mail, Mailbox};

/// The leases, and who is to know of their changes.
#[derive(Debug)]
pub(crate) struct Leases {
    /// Where they are kept.
    pub(crate) store: Store,
    /// What it has kept.
    pub(crate) kept: Vec<Lease>,
    /// Is told what has become of leases once it is durable and the clients are answered.
    pub(crate) names: Feed,
    /// Who has which name.
    pub(crate) zone: Arc<Publisher>,
}

/// A running DHCP server.
#[derive(Debug)]
pub(crate) struct Server {
    mailbox: Mailbox,
    handle: Handle,
    thread: JoinHandle<()>,
}

impl Server {
    /// Starts serving `site` on `ports`. `stopped` is called when the thread
    /// ends, whyever it does.
    ///
    /// # Errors
    /// When the kernel grants no more threads or descriptors.
    pub(crate) fn start(
        site: Arc<Site>,
        ports: Ports,
        leases: Leases,
        stopped: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        ports.announce(&site);
        let (waker, poller) = ports.poller()?;
        let (mailbox, mail) = Mailbox::new(waker);
        let counters = Arc::new(Counters::default());
        let handle = Handle::new(mailbox.clone(), Arc::clone(&counters));
        let journal = Journal::new(Arc::clone(&site), counters);
        let post = (mailbox.clone(), mail);
        let thread = std::thread::Builder::new().name("dhcp".into()).spawn(move || {
            // Told even when the worker panics: a server that answers no phone must not look alive.
            let _stopped = OnDrop(Some(stopped));
            worker::run(site, journal, ports, poller, leases, post);
        })?;
        Ok(Self { mailbox, handle, thread })
    }

    /// What the rest of the program asks it with.
    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Stops answering, waits until everything handed to the lease store is durable, and returns whether the
    /// thread ended in good order.
    pub(crate) fn stop(self) -> bool {
        self.mailbox.post(Mail::Stop);
        self.thread.join().is_ok()
    }
}

struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call();
        }
    }
}

/// Wakes whoever waits for `waker` after a letter was put into a mailbox.
type WakeUp = Waker;
