//! The TFTP server's shell: sockets, files, time and logs around `offhook-tftp`.
//!
//! One thread waits for the well-known port and for the port of every transfer (`engine.rs`), and keeps the list of
//! who is being served (`clients.rs`). What it goes by may be replaced while it runs (`settings.rs`): a request is served by
//! what was in force when it came. The file of a request is found by tasks of the runtime (`finder.rs`), below the
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
mod settings;
#[cfg(test)]
mod tests;
mod throttle;
mod upstream;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use offhook_model::{Site, Tftp};
use offhook_net::Waker;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tracing::{error, info};

pub(crate) use counters::{Count, Counters};
pub(crate) use digests::SUMS;
pub(crate) use listener::{Listener, bind};
pub(crate) use upstream::{CACHE, CachedFile, cached_files};

use crate::{dhcp, dns};
use engine::Engine;
use settings::{Current, Settings};
use upstream::{Common, Upstream};

/// How long to wait before the server is started again after it ended unasked.
const RESTART_PAUSE: Duration = Duration::from_millis(200);

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

/// The server while it runs.
#[derive(Debug)]
pub(crate) struct Running {
    /// Ends once every socket is closed.
    pub(crate) task: JoinHandle<()>,
    /// What it has done.
    pub(crate) counters: Arc<Counters>,
    current: Current,
    common: Arc<Common>,
    waker: LateWaker,
    leases: Option<dhcp::Handle>,
}

/// Another configuration, ready to be taken over.
#[derive(Debug)]
pub(crate) struct Prepared(Arc<Settings>);

impl Running {
    /// Makes everything ready to go by another configuration; nothing changes yet. None of a site without TFTP.
    ///
    /// # Errors
    /// Why it cannot be done: certificates or the cache's directory cannot be read.
    pub(crate) async fn prepare(&self, site: &Arc<Site>) -> Result<Option<Prepared>, String> {
        let (site, leases) = (Arc::clone(site), self.leases.clone());
        let (before, common) = (self.current.load_full(), Arc::clone(&self.common));
        let prepare = move || {
            let Some(tftp) = &site.tftp else { return Ok(None) };
            let mut settings = Settings::new(&site, tftp, leases);
            settings.leave_files(Some(&before));
            if let Some(upstream) = &tftp.upstream {
                let before = before.upstream.as_deref();
                settings.upstream = Some(Upstream::prepare(upstream, &common, before)?);
            }
            Ok(Some(Prepared(Arc::new(settings))))
        };
        let prepared = tokio::task::spawn_blocking(prepare).await;
        prepared.map_err(|error| format!("[tftp] could not be looked at: {error}"))?
    }

    /// Goes by another configuration from the next request on. Whoever asked before is served to the end by what was in
    /// force then.
    pub(crate) async fn commit(&self, Prepared(settings): Prepared) {
        let before = self.current.swap(Arc::clone(&settings));
        self.waker.wake();
        // A smaller cache is made so on the disk.
        let upstream = move || match (&settings.upstream, &before.upstream) {
            (Some(upstream), before) => upstream.take_over(before.as_deref()),
            (None, Some(before)) => before.retire(),
            (None, None) => {}
        };
        if let Err(error) = tokio::task::spawn_blocking(upstream).await {
            error!(%error, "the cache of firmware images may hold more than it should");
        }
    }
}

/// Ends the wait of the thread that serves, once there is one.
#[derive(Clone, Debug, Default)]
struct LateWaker(Arc<Mutex<Option<Waker>>>);

impl LateWaker {
    fn set(&self, waker: Waker) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker);
    }

    fn wake(&self) {
        if let Some(waker) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            waker.wake();
        }
    }
}

/// Serves the files below the root of a site until `shutdown` says `true` or its sender is gone. Must be called inside the
/// runtime. `leases` tells what a client is; `zones` and the state directory are for what comes from the provisioning
/// server.
pub(crate) fn spawn(
    listener: Listener,
    site: &Site,
    tftp: &Tftp,
    leases: dhcp::Handle,
    (zones, state): (Arc<dns::Publisher>, &Path),
    shutdown: watch::Receiver<bool>,
) -> Running {
    let counters = Arc::new(Counters::default());
    let waker = LateWaker::default();
    let common = Common::new(state, Some(zones), Arc::clone(&counters), waker.clone());
    let common = Arc::new(common);
    let mut settings = Settings::new(site, tftp, Some(leases.clone()));
    settings.upstream = tftp.upstream.as_ref().map(|it| Upstream::open(it, &common));
    spawn_counting(listener, settings, (common, counters, waker), Some(leases), shutdown)
}

/// As [`spawn`], whatever the site.
#[cfg(test)]
fn spawn_with(listener: Listener, settings: Settings, shutdown: watch::Receiver<bool>) -> Running {
    let (counters, waker) = (Arc::<Counters>::default(), LateWaker::default());
    let common = Common::new(Path::new("."), None, Arc::clone(&counters), waker.clone());
    spawn_counting(listener, settings, (Arc::new(common), counters, waker), None, shutdown)
}

fn spawn_counting(
    listener: Listener,
    mut settings: Settings,
    (common, counters, waker): (Arc<Common>, Arc<Counters>, LateWaker),
    leases: Option<dhcp::Handle>,
    shutdown: watch::Receiver<bool>,
) -> Running {
    settings.leave_files(None);
    info!(address = %listener.address(), root = %settings.root.display(), "serving TFTP");
    let current: Current = Arc::new(ArcSwap::from_pointee(settings));
    let serving = Serving {
        listener: Arc::new(listener),
        current: Arc::clone(&current),
        counters: Arc::clone(&counters),
        waker: waker.clone(),
    };
    let task = tokio::spawn(async move {
        while let Err(reason) = serving.serve(shutdown.clone()).await {
            error!(reason, "the TFTP server ended, starting it again");
            tokio::time::sleep(RESTART_PAUSE).await;
        }
    });
    Running { task, counters, current, common, waker, leases }
}

/// What stays when the thread that serves is started again.
struct Serving {
    listener: Arc<Listener>,
    current: Current,
    counters: Arc<Counters>,
    waker: LateWaker,
}

impl Serving {
    /// Serves until told to stop; an error is why it ended before.
    async fn serve(&self, mut shutdown: watch::Receiver<bool>) -> Result<(), String> {
        let stop = Arc::new(AtomicBool::new(false));
        let engine = Engine::new(
            Arc::clone(&self.listener),
            Arc::clone(&self.current),
            Handle::current(),
            Arc::clone(&self.counters),
            Arc::clone(&stop),
        )
        .map_err(|error| error.to_string())?;
        let waker = engine.waker();
        self.waker.set(waker.clone());
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
}
