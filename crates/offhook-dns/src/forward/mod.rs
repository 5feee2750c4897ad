//! Names that somebody else serves: what is asked of upstream servers, what of their answers is believed, what is
//! kept, and which of them is asked next. No sockets and no clock: `now` is a parameter.
//!
//! ```text
//! Forward → Query → Cache (cache.rs) ─────────────────────────────→ Forward::resume → Reply
//!                 ↘ Inquiry (inquiry.rs): whom to ask, and when   ↗
//!                   Query::encode → … → Response (response.rs) → Answer (answer.rs)
//! ```
//!
//! An upstream is trusted for the names it was configured for, and for no others: the chain of aliases in its
//! answer is believed as far as it stays there, and what comes after is asked of whoever is responsible, ourselves
//! included. Everything in an answer that does not belong to the question is dropped.

mod answer;
mod cache;
mod follow;
mod inquiry;
mod query;
mod response;
mod resume;
mod upstreams;
mod wire;

#[cfg(test)]
mod tests;

pub use answer::Answer;
pub use cache::{Cache, Lookup};
pub use inquiry::{Inquiry, Step};
pub use query::Query;
pub use response::{Limits, Response};
pub use resume::{Fetched, Forward, Resumed, Trust};
pub use upstreams::{Change, Upstream, Upstreams, Way};
