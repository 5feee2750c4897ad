//! `offhook leases release`.

use std::path::Path;
use std::process::ExitCode;

use super::source::{Source, unexpected};
use super::{Stop, Target};
use crate::control::{Ask, Client, Failure, LeaseRecord, Reply, State};
use crate::exit;

/// Gives back what every target has; what cannot be given back keeps nothing else from being.
pub(super) fn release(state: &Path, targets: &[Target]) -> Result<ExitCode, Stop> {
    let Some(client) = Client::connect(state)? else {
        let failure = Failure::new(format!("no offhook runs in {}", state.display()))
            .hint("leases are given back by the running server; `--state` names its directory");
        return Err(failure.into());
    };
    let mut source = Source::Server(client);
    let mut code = ExitCode::SUCCESS;
    for target in targets {
        match of(&mut source, *target) {
            Ok(released) => {
                for LeaseRecord { address, mac, scope, .. } in released {
                    let _ = exit::printed(&format!("released {address}, {mac}, scope {scope}\n"));
                }
            }
            Err(stop) => code = stop.code(),
        }
    }
    Ok(code)
}

fn of(source: &mut Source, target: Target) -> Result<Vec<LeaseRecord>, Stop> {
    let requests = match target {
        Target::Address(address) => vec![Ask::Release { address, mac: None }],
        Target::Mac(mac) => {
            let mut leases = source.collect(&target.filter())?;
            leases.retain(|lease| lease.state == State::Bound);
            if leases.is_empty() {
                return Err(Failure::new(format!("{mac} has no lease"))
                    .hint(format!("`offhook leases --all --mac {mac}` lists what it had"))
                    .into());
            }
            let ask = |lease: LeaseRecord| Ask::Release { address: lease.address, mac: Some(mac) };
            leases.into_iter().map(ask).collect()
        }
    };
    let Source::Server(client) = source else { return Ok(Vec::new()) };
    let one = |ask| {
        client.ask(ask)?;
        match client.reply()? {
            Reply::Released(lease) => Ok(lease),
            _ => Err(Stop::from(unexpected())),
        }
    };
    requests.into_iter().map(one).collect()
}
