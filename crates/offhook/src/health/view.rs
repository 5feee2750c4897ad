//! What is known of the servers, for whoever asks.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// A server that is watched, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServerStatus {
    /// The name of the switchover or proxy pool.
    pub(crate) group: String,
    /// In which order that is answered: `random`, `active-first` or `active-only`.
    pub(crate) order: String,
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    /// What it is asked, and at which port.
    pub(crate) probe: String,
    pub(crate) state: ServerState,
    /// Since when; ISO 8601, UTC.
    pub(crate) since: String,
    /// Whether it answers, but has gone down too often lately to be up yet.
    pub(crate) held: bool,
    /// Why a probe last failed, and when.
    pub(crate) last_failure: Option<LastFailure>,
    /// How long its latest good answer took.
    pub(crate) milliseconds: Option<u64>,
    /// Probes since the start, those among them without a good answer, and changes between up and down.
    pub(crate) probes: u64,
    pub(crate) failures: u64,
    pub(crate) changes: u64,
}

/// Whether a server is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ServerState {
    Unknown,
    Up,
    Down,
}

impl ServerState {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// Why a probe failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastFailure {
    /// ISO 8601, UTC.
    pub(crate) at: String,
    pub(crate) why: String,
}

/// The servers that are watched, as they are now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handle {
    servers: Arc<Mutex<Vec<ServerStatus>>>,
}

impl Handle {
    /// All of them, by group; none when nobody is watched.
    pub(crate) fn servers(&self) -> Vec<ServerStatus> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows these, and no others.
    pub(super) fn replace(&self, all: Vec<ServerStatus>) {
        *self.servers.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }

    pub(super) fn set(&self, place: usize, status: ServerStatus) {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = servers.get_mut(place) {
            *server = status;
        }
    }
}
