//! The running server's view, for `offhook leases`, `status` and whatever else asks.
//!
//! A Unix socket in the state directory, for its owner and root alone. A client writes a [`Request`] as one line of
//! JSON and reads lines of JSON, each a [`Response`]; then it may ask again. Answers of any length come a page at a
//! time, and a page is only made once the one before was read: a slow reader costs nobody else anything.

mod client;
mod desk;
mod failure;
mod protocol;
mod server;

#[cfg(test)]
mod tests;

pub(crate) use client::Client;
pub(crate) use failure::Failure;
pub(crate) use protocol::{
    Ask, Filter, LeaseRecord, Reply, State, Status, TftpStatus, UpstreamStatus,
};
pub(crate) use server::{Bound, Servers, bind, spawn};

#[cfg(test)]
use protocol::{Request, Response};

/// The socket in the state directory.
pub(crate) const SOCKET: &str = "control.sock";
