//! The answers, seen from the wire: requests are bytes built by hand, replies are decoded by an independent
//! walk over the bytes, so that neither side of a test leans on the code under test.

mod access;
mod ahead;
mod behaviour;
mod build;
mod direct;
mod edns;
mod leases;
mod never;
mod records;
mod signature;
pub(crate) mod support;
mod voice;
