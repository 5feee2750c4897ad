//! What can go wrong with the lease store, told to an administrator.

use std::path::PathBuf;
use std::{any, io};

/// The store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("another offhook is running on the state directory {}", .directory.display())]
    Locked {
        /// The state directory.
        directory: PathBuf,
    },
    /// A directory or file cannot be made, read or written: permissions, a full or read-only disk.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was being done: `create the directory`.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it could not.
        source: io::Error,
    },
    /// It holds something else than was written to it.
    #[error("the lease store {} is damaged: {what}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A later release wrote it.
    #[error(
        "the lease store {} has format version {found}, and this offhook knows versions up to {known}",
        .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The latest version this program knows.
        known: u64,
    },
}

impl OpenError {
    /// What the administrator can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Locked { .. } => {
                "stop it first, or give each its own `--state` directory".to_owned()
            }
            Self::Io { source, .. } if is_full(source) => {
                "make room on the disk, for leases 4 MiB at least".to_owned()
            }
            Self::Io { .. } => {
                "the state directory must be on a writable disk and belong to the user offhook runs as, with \
                 all files in it"
                    .to_owned()
            }
            Self::Damaged { path, .. } => format!(
                "restore all of {0}/leases.* from a backup; or start without them (`mkdir {0}/damaged && mv \
                 {0}/leases.* {0}/damaged/`): phones keep their addresses when they next renew, but until all \
                 have, an address may be given out twice",
                path.parent().unwrap_or(path).display()
            ),
            Self::Newer { .. } => "run the later release, or restore the file from before it".to_owned(),
        }
    }
}

/// A batch is not on disk, as far as is known; nothing in it may be acknowledged. Everything committed earlier
/// is intact.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The disk is full, read-only or broken.
    #[error("cannot write to the lease store {}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why it could not.
        source: io::Error,
    },
    /// The database refused or gave up.
    #[error("the lease store {} failed: {what}", .path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What it said, panics included.
        what: String,
    },
    /// An earlier batch failed a moment ago, and the store has not been tried again yet.
    #[error("{why} (a moment ago; not tried again yet)")]
    Resting {
        /// What was said of that batch.
        why: String,
    },
}

impl CommitError {
    /// Whether it is for want of room on the disk.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_full(source))
    }
}

pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// Whatever went wrong inside, before it is known what that means to whom.
#[derive(Debug)]
pub(crate) enum Fault {
    Io(io::Error),
    /// The same, of a file that is not the database.
    Beside(PathBuf, io::Error),
    /// Not what was written.
    Damaged(String),
    Newer(u64),
    Locked,
    /// Neither the disk nor the file: the database itself.
    Engine(String),
}

impl Fault {
    /// Whether it is for want of room on the disk.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Io(error) | Self::Beside(_, error) if is_full(error))
    }

    /// Names the file that an error of the disk is of.
    pub(crate) fn beside(self, path: &std::path::Path) -> Self {
        match self {
            Self::Io(error) => Self::Beside(path.to_owned(), error),
            fault => fault,
        }
    }
}

impl From<redb::Error> for Fault {
    fn from(error: redb::Error) -> Self {
        use io::ErrorKind::{InvalidData, UnexpectedEof};
        match error {
            // How redb says that a file is no redb file, or ends too early.
            redb::Error::Io(error) if matches!(error.kind(), InvalidData | UnexpectedEof) => {
                Self::Damaged(error.to_string())
            }
            redb::Error::Io(error) => Self::Io(error),
            redb::Error::DatabaseAlreadyOpen => Self::Locked,
            redb::Error::Corrupted(what) => Self::Damaged(what),
            error @ (redb::Error::UpgradeRequired(_)
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::TableDoesNotExist(_)) => Self::Damaged(error.to_string()),
            error => Self::Engine(error.to_string()),
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) | Self::Beside(_, error) => error.fmt(f),
            Self::Damaged(what) | Self::Engine(what) => f.write_str(what),
            Self::Newer(found) => write!(f, "it has format version {found} now"),
            Self::Locked => f.write_str("another process has it"),
        }
    }
}

/// So that `?` takes any of redb's errors.
macro_rules! from_redb {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for Fault {
            fn from(error: redb::$error) -> Self {
                redb::Error::from(error).into()
            }
        }
    )*};
}

from_redb!(
    CommitError,
    DatabaseError,
    SetDurabilityError,
    StorageError,
    TableError,
    TransactionError
);

impl Fault {
    pub(crate) fn opening(self, path: PathBuf) -> OpenError {
        match self {
            Self::Io(source) => OpenError::Io { action: "open the lease store", path, source },
            Self::Beside(path, source) => {
                OpenError::Io { action: "open the lease store's", path, source }
            }
            Self::Damaged(what) | Self::Engine(what) => OpenError::Damaged { path, what },
            Self::Newer(found) => OpenError::Newer { path, found, known: crate::VERSION },
            Self::Locked => {
                OpenError::Locked { directory: path.parent().map(Into::into).unwrap_or(path) }
            }
        }
    }

    pub(crate) fn committing(self, path: PathBuf) -> CommitError {
        match self {
            Self::Io(source) => CommitError::Io { path, source },
            Self::Beside(path, source) => CommitError::Io { path, source },
            fault => CommitError::Failed { path, what: fault.to_string() },
        }
    }

    /// What a panic inside of redb said: it checks some of what it reads with assertions.
    pub(crate) fn panicked(payload: &(dyn any::Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or("of unknown cause");
        Self::Engine(format!("the database cannot go on: {text}"))
    }
}
