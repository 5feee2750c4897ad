//! Watching the servers of switchovers and proxy pools: sockets, clock and log around `offhook_dns::health`.
//!
//! One task has all monitors and begins a probe whenever one is due; each probe is a task and a socket of its own,
//! so that a server that does not answer holds up no other, and DNS does not notice any of it. What they find goes
//! into the answers in one step (`Publisher`), and into [`Handle`] for `offhook status`.

mod ask;
mod reload;
mod view;
mod watch;

pub(crate) use reload::{Reloads, Standing};
pub(crate) use view::{Handle, ServerState, ServerStatus};
pub(crate) use watch::spawn;
