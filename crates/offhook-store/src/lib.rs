//! Leases on disk: group commit, load, migrate.
//!
//! In the state directory: `leases.redb`, a database of every address that was ever acknowledged; two journal files
//! with what was committed since and is not in it yet; and some room for when the disk is full. [`Store`] opens and checks them and commits to the
//! journal, which a thread folds into the database; [`Writer`] does the commits on a thread of its own, many at a
//! time, because the cost of a durable commit is in the waiting and hardly in its size.
//!
//! What is acknowledged is never lost: a commit that succeeded is on disk, one that failed changes nothing
//! that was there before, and a file that is damaged is refused, not emptied.

mod error;
mod guard;
mod journal;
mod migrate;
mod record;
mod room;
mod snapshot;
mod store;
mod tables;
mod writer;

#[cfg(test)]
mod test_disk;

pub use error::{CommitError, OpenError};
pub use journal::Torn;
pub use journal::fold::Health;
pub use snapshot::read;
pub use store::{FILE_NAME, Store};
pub use tables::VERSION;
pub use writer::{Batch, Refused, SubmitError, Writer};
