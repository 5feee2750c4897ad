//! The DHCPv4 server without sockets and without a clock.
//!
//! A message goes one way: `wire::Request` (tolerant decoding) → `classify` → `scope` → `plan` → `decide` →
//! `reply` (ordered encoding). What comes out is a [`Decision`]: plain data, for a shell that has sockets and a
//! disk to carry out. A decision that changes a lease is provisional until the shell says that it is durable.

pub mod classify;
pub mod plan;
pub mod wire;

mod ahead;
mod condition;
mod core;
mod decide;
mod fqdn;
mod limit;
mod probe;
mod proxies;
mod reason;
mod reply;
mod scope;
mod table;
mod trace;
mod wall;

pub use dhcproto::v4::MessageType;

pub use crate::ahead::{Ahead, SPARE};
pub use crate::core::{Arrival, Core, Decision, Destination, Link, Outline, Reply, Ticket};
pub use crate::probe::{Probe, ProbeKind};
pub use crate::reason::NoReply;
pub use crate::trace::{Recognition, Trace};
pub use crate::wall::{ClockSet, beginning, is_set};
