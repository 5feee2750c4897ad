//! Where leases come from: the running server, else the store it left.

use std::path::Path;

use offhook_model::Lease;

use super::Stop;
use crate::clock;
use crate::control::{Ask, Client, Failure, Filter, LeaseRecord, Reply};

/// Leases of a store that are handed on at a time.
const SOME: usize = 4096;

/// The running server, or what is on disk.
pub(super) enum Source {
    /// A server runs.
    Server(Client),
    /// None does.
    Store(Vec<Lease>),
}

impl Source {
    /// The server whose state is in `state`, else the store there. Says so when it is the store.
    pub(super) fn open(state: &Path) -> Result<Self, Failure> {
        if let Some(client) = Client::connect(state)? {
            return Ok(Self::Server(client));
        }
        let leases = offhook_store::read(state).map_err(|error| {
            use offhook_store::OpenError;
            let nothing = matches!(&error, OpenError::Io { source, .. }
                if source.kind() == std::io::ErrorKind::NotFound);
            if nothing {
                let state = state.display();
                return Failure::new(format!(
                    "no offhook runs in {state}, and none has left leases there"
                ))
                .hint("`--state` names the directory that `offhook run` was given");
            }
            match &error {
                OpenError::Io { source, .. }
                    if source.kind() == std::io::ErrorKind::PermissionDenied =>
                {
                    Failure::new(error.to_string())
                        .hint("only root and the user that offhook runs as may: try `sudo`")
                }
                _ => Failure::new(error.to_string()).hint(error.hint()),
            }
        })?;
        eprintln!("no offhook runs in {}: these are the leases it has left there", state.display());
        Ok(Self::Store(leases))
    }

    /// Hands the leases that pass `filter` to `each` in order of address, some at a time, each time with what time
    /// it is; returns what may be wrong with the filter when there are none.
    pub(super) fn leases(
        &mut self,
        filter: &Filter,
        mut each: impl FnMut(u64, Vec<LeaseRecord>) -> Result<(), Stop>,
    ) -> Result<Option<String>, Stop> {
        match self {
            Self::Server(client) => {
                client.ask(Ask::Leases(filter.clone()))?;
                loop {
                    match client.reply()? {
                        Reply::Leases { now, leases } => each(now, leases)?,
                        Reply::End { note } => return Ok(note),
                        _ => return Err(unexpected().into()),
                    }
                }
            }
            Self::Store(leases) => {
                let now = offhook_dhcp::beginning(clock::wall(), leases);
                let mut wanted = leases.iter().filter(|lease| filter.matches(lease, now));
                loop {
                    let some = wanted.by_ref().take(SOME).map(|lease| LeaseRecord::new(lease, now));
                    let some: Vec<_> = some.collect();
                    if some.is_empty() {
                        return Ok(None);
                    }
                    each(now.as_millis(), some)?;
                }
            }
        }
    }

    /// All of them at once: for filters that few pass.
    pub(super) fn collect(&mut self, filter: &Filter) -> Result<Vec<LeaseRecord>, Stop> {
        let mut all = Vec::new();
        self.leases(filter, |_, leases| {
            all.extend(leases);
            Ok(())
        })?;
        Ok(all)
    }
}

/// A reply to something else than was asked.
pub(crate) fn unexpected() -> Failure {
    Failure::new("the server answered something else than was asked")
}
