//! The TFTP server's shell: sockets, files, time and logs around `offhook-tftp`.
//!
//! One thread waits for the well-known port and for the port of every transfer (`engine.rs`), and keeps the list of
//! who is being served (`clients.rs`). The file of a request is found by tasks of the runtime (`finder.rs`), below the
//! root (`root.rs`); its bytes are shared with whoever else reads it (`library.rs`). Then the thread drives the
//! state machine, on a port of the transfer's own (`session.rs`). What is not in the root may come from the
//! provisioning server (`upstream/`).

mod access;
mod advice;
mod clients;
mod counters;
mod digests;
mod eager;
mod engine;
mod finder;
mod library;
mod listener;
mod memory;
mod root;
mod session;
#[cfg(test)]
mod tests;
mod throttle;
mod upstream;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use offhook_model::{ImageDigests, Site, Tftp};
use offhook_tftp::{Limits, Rollover};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tracing::{debug, error, info};

pub(crate) use counters::{Count, Counters};
pub(crate) use digests::SUMS;
pub(crate) use listener::{Listener, bind};
pub(crate) use upstream::{CACHE, CachedFile, cached_files};

use crate::{dhcp, dns};
use access::Access;
use advice::{CurrentFamilies, Families};
use engine::Engine;
use upstream::Upstream;

/// How long to wait before the server is started again after it ended unasked.
const RESTART_PAUSE: Duration = Duration::from_millis(200);

/// As many open files as are ever useful here; each transfer has a socket.
const OPEN_FILES: u64 = 65_536;

/// What the server allows itself and others.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// What is granted to one transfer.
    pub(crate) limits: Limits,
    /// Transfers at a time; a request beyond is answered `busy`.
    pub(crate) transfers: usize,
    /// Transfers at a time for one client address. Many phones may be behind one.
    pub(crate) transfers_per_client: usize,
    /// Whether blocks are to fit the packets of the path, so that none is sent in fragments.
    pub(crate) whole_packets: bool,
    /// The differentiated services code point of every reply.
    pub(crate) dscp: u8,
    /// Who is answered.
    pub(crate) access: Access,
    /// What phones there are, and what they are told of.
    families: CurrentFamilies,
    /// What images are to be.
    images: ImageDigests,
    /// Where files come from that are not in the root.
    upstream: Option<Arc<Upstream>>,
}

/// Which client, among those there are and were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    index: u32,
    generation: u32,
}

impl From<Key> for u64 {
    fn from(Key { index, generation }: Key) -> Self {
        Self::from(index) << 32 | Self::from(generation)
    }
}

impl From<u64> for Key {
    fn from(token: u64) -> Self {
        Self { index: (token >> 32) as u32, generation: token as u32 }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            transfers: 16_384,
            transfers_per_client: 8192,
            whole_packets: true,
            dscp: 0,
            access: Access::default(),
            families: CurrentFamilies::default(),
            images: ImageDigests::default(),
            upstream: None,
        }
    }
}

impl Settings {
    /// As a configuration has it.
    fn new(site: &Site, tftp: &Tftp, leases: dhcp::Handle) -> Self {
        let stated = &tftp.limits;
        let whole = |number| usize::try_from(number).unwrap_or(usize::MAX);
        let limits = Limits {
            block_size: stated.block_size,
            window: stated.window,
            rollover: if stated.rollover == 1 { Rollover::ToOne } else { Rollover::ToZero },
            timeout: stated.timeout,
            retries: stated.retries,
            give_up: stated.give_up,
            ..Limits::default()
        };
        Self {
            limits,
            transfers: whole(stated.transfers),
            transfers_per_client: whole(stated.transfers_per_client),
            whole_packets: !stated.fragment,
            dscp: stated.dscp,
            access: Access::new(site, stated),
            families: Arc::new(ArcSwap::from_pointee(Families::new(site, Some(leases)))),
            images: tftp.images.clone(),
            upstream: None,
        }
    }

    /// Takes no more transfers than leave a quarter of the files that the process may have open to everything else:
    /// the leases, DNS, and the very answers of those that are refused.
    fn leave_files(&mut self, files: usize) {
        let most = (files / 4 * 3).max(1);
        if self.transfers > most {
            info!(
                most,
                files,
                stated = self.transfers,
                "fewer TFTP transfers at a time, for want of open files"
            );
            self.transfers = most;
        }
    }
}

/// The server while it runs.
#[derive(Debug)]
pub(crate) struct Running {
    /// Ends once every socket is closed.
    pub(crate) task: JoinHandle<()>,
    /// What it has done.
    pub(crate) counters: Arc<Counters>,
    families: CurrentFamilies,
}

impl Running {
    /// Goes by the classes and phones of another configuration from here on. The rest takes a restart.
    pub(crate) fn reload(&self, site: &Site) {
        self.families.store(Arc::new(self.families.load().renewed(site)));
    }
}

/// Serves the files below the root of a site until `shutdown` says `true` or its sender is gone. Must be called inside the
/// runtime. `leases` tells what a client is; `zones` and the state directory are for what comes from the provisioning
/// server. The root is looked up anew for every request: it may come
/// later, or be replaced by another.
pub(crate) fn spawn(
    listener: Listener,
    site: &Site,
    tftp: &Tftp,
    leases: dhcp::Handle,
    (zones, state): (Arc<dns::Publisher>, &Path),
    shutdown: watch::Receiver<bool>,
) -> Running {
    let counters = Arc::new(Counters::default());
    let mut settings = Settings::new(site, tftp, leases);
    settings.upstream = tftp.upstream.as_ref().map(|upstream| {
        Arc::new(Upstream::open(upstream, state, Some(zones), Arc::clone(&counters)))
    });
    spawn_counting(listener, tftp.root.clone(), settings, counters, shutdown)
}

/// As [`spawn`], whatever the site.
#[cfg(test)]
fn spawn_with(
    listener: Listener,
    root: PathBuf,
    settings: Settings,
    shutdown: watch::Receiver<bool>,
) -> Running {
    spawn_counting(listener, root, settings, Arc::default(), shutdown)
}

fn spawn_counting(
    listener: Listener,
    root: PathBuf,
    mut settings: Settings,
    counters: Arc<Counters>,
    shutdown: watch::Receiver<bool>,
) -> Running {
    settings.leave_files(allow_open_files());
    let listener = Arc::new(listener);
    info!(address = %listener.address(), root = %root.display(), "serving TFTP");
    let counted = Arc::clone(&counters);
    let families = Arc::clone(&settings.families);
    let task = tokio::spawn(async move {
        while let Err(reason) = serve(&listener, &root, &settings, &counted, shutdown.clone()).await
        {
            error!(reason, "the TFTP server ended, starting it again");
            tokio::time::sleep(RESTART_PAUSE).await;
        }
    });
    Running { task, counters, families }
}

/// Serves until told to stop; an error is why it ended before.
async fn serve(
    listener: &Arc<Listener>,
    root: &Path,
    settings: &Settings,
    counters: &Arc<Counters>,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), String> {
    let stop = Arc::new(AtomicBool::new(false));
    let engine = Engine::new(
        Arc::clone(listener),
        root.to_owned(),
        settings.clone(),
        Handle::current(),
        Arc::clone(counters),
        Arc::clone(&stop),
    )
    .map_err(|error| error.to_string())?;
    let waker = engine.waker();
    let (ended, mut end) = oneshot::channel();
    let thread = move || {
        // When it panics, `ended` is dropped, and that says it.
        let _ = ended.send(engine.run());
    };
    std::thread::Builder::new()
        .name("tftp".into())
        .spawn(thread)
        .map_err(|error| error.to_string())?;
    let told = async move {
        // An error means that whoever could tell us is gone: that is the end as well.
        let _ = shutdown.wait_for(|stop| *stop).await;
    };
    tokio::select! {
        biased;
        result = &mut end => {
            return result.map_err(|_| "panicked".to_owned())?.map_err(|error| error.to_string());
        }
        () = told => {}
    }
    stop.store(true, Ordering::Relaxed);
    waker.wake();
    let _ = end.await;
    Ok(())
}

/// A thousand phones need more than the 1,024 files a process may have open by default; how many more is the
/// administrator's to say by the hard limit. Returns how many it may have open now.
fn allow_open_files() -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 1024 };
    let wanted = OPEN_FILES.min(hard).max(soft);
    let granted = match setrlimit(Resource::RLIMIT_NOFILE, wanted, hard) {
        Ok(()) => wanted,
        Err(error) => {
            debug!(%error, soft, "cannot raise the limit of open files");
            soft
        }
    };
    usize::try_from(granted).unwrap_or(usize::MAX)
}
