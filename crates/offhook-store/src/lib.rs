//! Leases on disk: group commit, load, migrate.
//!
//! One redb file, `leases.redb`, in the state directory: the last word on every address that was ever
//! acknowledged. [`Store`] opens it, checks it and commits to it; [`Writer`] does the commits on a thread of
//! its own, many at a time, because the cost of a durable commit is in the waiting and hardly in its size.
//!
//! What is acknowledged is never lost: a commit that succeeded is on disk, one that failed changes nothing
//! that was there before, and a file that is damaged is refused, not emptied.

mod error;
mod migrate;
mod record;
mod snapshot;
mod store;
mod tables;
mod writer;

#[cfg(test)]
mod test_disk;

pub use error::{CommitError, OpenError};
pub use snapshot::read;
pub use store::{FILE_NAME, Store};
pub use tables::VERSION;
pub use writer::{Batch, Refused, SubmitError, Writer};
