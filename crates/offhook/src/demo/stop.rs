//! Ctrl-C: the demo ends as it would at its end, so that nothing is left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::signal::unix::{SignalKind, signal};

use super::error::{Context, Error};

/// Whether the demo was told to stop.
#[derive(Clone, Debug, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// From now on, SIGINT, SIGTERM and SIGHUP are noted here instead of ending the process; a second one ends it.
    ///
    /// # Errors
    /// The process may not wait for signals.
    pub(super) fn on_signals() -> Result<Self, Error> {
        let stop = Self::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        let runtime = runtime.context("start a runtime")?;
        let entered = runtime.enter();
        let wait_for = |kind| signal(kind).context("wait for signals");
        let mut int = wait_for(SignalKind::interrupt())?;
        let mut term = wait_for(SignalKind::terminate())?;
        let mut hup = wait_for(SignalKind::hangup())?;
        drop(entered);
        let told = stop.clone();
        let wait = move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = int.recv() => {}
                        _ = term.recv() => {}
                        _ = hup.recv() => {}
                    }
                    if told.0.swap(true, Ordering::Relaxed) {
                        std::process::exit(130);
                    }
                }
            });
        };
        thread::Builder::new().name("signals".to_owned()).spawn(wait).context("start a thread")?;
        Ok(stop)
    }

    /// # Errors
    /// The demo was told to stop.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.0.load(Ordering::Relaxed) { Err(Error::new("interrupted")) } else { Ok(()) }
    }
}
