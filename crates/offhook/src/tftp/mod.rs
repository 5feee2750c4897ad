//! The TFTP server's shell: sockets, files, time and logs around `offhook-tftp`.
//!
//! One task reads the well-known port and keeps the list of who is being served (`server.rs`). Every request gets a
//! task and a port of its own (`session.rs`), which finds the file below the root (`root.rs`), shares its bytes with
//! whoever else reads it (`library.rs`) and drives the state machine.

mod library;
mod listener;
mod root;
mod server;
mod session;
#[cfg(test)]
mod tests;
mod throttle;

use std::path::PathBuf;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use offhook_tftp::Limits;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::debug;

pub(crate) use listener::{Bound, bind};

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
}

impl Default for Settings {
    fn default() -> Self {
        Self { limits: Limits::default(), transfers: 4096, transfers_per_client: 2048 }
    }
}

/// Serves the files below `root` until `shutdown` says `true` or its sender is gone. Must be called inside the
/// runtime; the handle ends once every socket is closed. The root is looked up anew for every request: it may come
/// later, or be replaced by another.
pub(crate) fn spawn(
    bound: Bound,
    root: PathBuf,
    shutdown: watch::Receiver<bool>,
) -> JoinHandle<()> {
    spawn_with(bound, root, Settings::default(), shutdown)
}

/// As [`spawn`], with limits other than the default ones.
pub(crate) fn spawn_with(
    bound: Bound,
    root: PathBuf,
    settings: Settings,
    shutdown: watch::Receiver<bool>,
) -> JoinHandle<()> {
    allow_open_files();
    tokio::spawn(server::serve(bound, root, settings, shutdown))
}

/// A thousand phones need more than the 1,024 files a process may have open by default; how many more is the
/// administrator's to say by the hard limit.
fn allow_open_files() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let wanted = OPEN_FILES.min(hard);
    if soft < wanted
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)
    {
        debug!(%error, soft, "cannot raise the limit of open files");
    }
}
