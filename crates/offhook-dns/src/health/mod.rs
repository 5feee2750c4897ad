//! Which servers of a switchover are alive: what they are asked, what their answers mean, when that changes
//! their state, and what their state changes in answers to DNS queries. No sockets, no clock.
//!
//! ```text
//! Monitor (monitor.rs): when to ask, up or down ← Inquiry (sip.rs, http.rs, tls.rs): what to ask, and what the answer means
//! ```

mod http;
mod inquiry;
mod monitor;
mod rank;
mod sip;
mod tls;

#[cfg(test)]
mod tests;

pub use inquiry::{Failure, Inquiry, Progress};
pub use monitor::{Change, Monitor, State};
pub use rank::Ranking;
