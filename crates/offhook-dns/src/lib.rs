//! Voice DNS: the zone, its reverse zones and the answers they give.
//!
//! [`Zones`] is an immutable snapshot of everything this server is authoritative for, derived from a site.
//! [`answer`] takes one message as it came from the wire and says what to do with it: send a [`Reply`], ask
//! somebody else ([`Forward`]), or stay silent ([`Ignored`]). No sockets, no clock, no logging: the shell in the
//! program brings those, and swaps in a new snapshot when the zone changes.
//!
//! ```text
//! bytes → Request (request.rs) → answer (answer.rs) → Respond (respond.rs) → Reply (reply.rs) → bytes
//!                                                        Zones::lookup (lookup.rs, zones.rs, nodes.rs)
//!   └──→ Direct (direct/) → bytes, as long as it remembers what that came to
//! Site → Zones (build.rs) → changes (change.rs) → Zones
//! Lease → NameBook → LeaseNames (leases/) → Zones
//! ```

mod access;
mod answer;
mod build;
mod change;
mod direct;
pub mod forward;
mod leases;
pub mod limit;
mod lookup;
mod name;
mod named;
mod nodes;
mod order;
mod rdata;
mod reply;
mod request;
mod respond;
mod reverse;
mod transfer;
mod zones;

pub mod health;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use answer::{Client, Outcome, Transport, answer};
pub use direct::{Answered, DIRECT_ROOM, Direct};
pub use forward::Forward;
pub use leases::{Label, LeaseNames, NameBook, Rules as NameRules};
pub use order::{EveryOrder, Order};
pub use reply::{Question, Reply};
pub use request::Ignored;
pub use transfer::Transfer;
pub use zones::Zones;

/// The largest UDP payload we send and advertise, bytes: the largest that fits every path unfragmented.
/// (RFC 9715, DNS flag day 2020.)
pub const UDP_PAYLOAD: u16 = 1232;

/// How long a TCP connection may be idle: what a client that asks is told (RFC 7828), and what the program has to
/// keep to.
pub const TCP_IDLE: Duration = Duration::from_secs(10);

/// The longest time "there is no such name" may be remembered, seconds, unless an SOA record of the configuration's
/// own says otherwise: phones that looked too early must not stay blind for longer.
pub const MAX_NEGATIVE_TTL: u32 = 60;
