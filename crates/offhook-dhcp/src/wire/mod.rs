//! The wire format: tolerant decoding of what clients send, ordered encoding of what goes out.

pub mod code;
pub(crate) mod encode;
pub(crate) mod fqdn;
mod glance;
pub(crate) mod request;
pub(crate) mod vendor;

pub use encode::{Encoded, Field, Head, Rank, Value, encode};
pub(crate) use glance::Glance;
pub use request::{Header, Request};
pub(crate) use request::{longest_message, trim_nuls};

/// Bytes of the fixed header with the magic cookie: where the options begin.
pub const HEADER: usize = 240;

/// Where `sname` lies in a message.
pub const SNAME: std::ops::Range<usize> = 44..108;

/// Where `file` lies in a message.
pub const FILE: std::ops::Range<usize> = 108..236;
