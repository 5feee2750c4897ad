//! The store: opened once, committed to again and again.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use offhook_model::{Lease, LeaseWrite};
use redb::{Builder, Database, DatabaseError};

use crate::error::{CommitError, Fault, OpenError};
use crate::migrate::{MIGRATIONS, migrate};
use crate::tables;

/// The file in the state directory.
pub const FILE_NAME: &str = "leases.redb";

/// Memory for pages of the file, bytes. The kernel's page cache has the rest.
const CACHE: usize = 16 << 20;

/// How long a store that failed is left alone before it is opened again. Opening reads the whole file.
const REST: Duration = Duration::from_millis(500);

/// Opens the database of an existing file. Another one in tests, to make it fail.
pub(crate) type Opener = Box<dyn Fn(&Path) -> Result<Database, DatabaseError> + Send>;

/// The leases on disk, of this process alone.
pub struct Store {
    path: PathBuf,
    open: Opener,
    /// None after a failure: redb refuses everything after an I/O error until it is opened anew, which
    /// brings back the last commit that is whole.
    db: Option<Database>,
    failed_at: Option<Instant>,
    rest: Duration,
    /// Keeps other processes out, between closing and opening again as well. Dropped last.
    _lock: File,
}

impl Store {
    /// Opens the store in `directory` and returns it with every lease it holds, by address. The directory
    /// (mode 0700) and the file (mode 0600) are made when they are not there.
    ///
    /// After a crash a last commit that is not whole is dropped: it was under way. Damage done to that very
    /// commit while the program was down looks the same; any other damage is an error.
    ///
    /// # Errors
    /// Another process has it, the disk or its permissions do not allow it, the file is damaged, or a later
    /// release wrote it. Whatever the error is, nothing is emptied.
    pub fn open(directory: &Path) -> Result<(Self, Vec<Lease>), OpenError> {
        Self::open_with(directory, Box::new(|path| builder().open(path)))
    }

    pub(crate) fn open_with(
        directory: &Path,
        open: Opener,
    ) -> Result<(Self, Vec<Lease>), OpenError> {
        let lock = lock(directory)?;
        let path = directory.join(FILE_NAME);
        let (db, leases) = guarded(|| {
            if !path.try_exists().map_err(Fault::Io)? {
                create(directory, &path)?;
            }
            check(open(&path)?)
        })
        .map_err(|fault| fault.opening(path.clone()))?;
        let store = Self { path, open, db: Some(db), failed_at: None, rest: REST, _lock: lock };
        Ok((store, leases))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes `writes` durable, in order, all or none of them: they are on disk when this returns.
    ///
    /// After a failure the file is opened again by a later commit, half a second later at the earliest, and
    /// everything goes on from the last commit that succeeded. A batch that failed may turn out to be on disk
    /// all the same, when the failure came at the very end; it was not acknowledged, so nobody relies on it.
    ///
    /// # Errors
    /// The disk is full or failing, or the database is. Nothing in `writes` may be acknowledged.
    pub fn commit(&mut self, writes: &[LeaseWrite]) -> Result<(), CommitError> {
        if self.failed_at.is_some_and(|at| at.elapsed() < self.rest) {
            return Err(CommitError::Resting { path: self.path.clone() });
        }
        let result = guarded(|| {
            let db = match self.db.take() {
                Some(db) => db,
                None => self.reopen()?,
            };
            tables::apply(&db, writes)?;
            self.db = Some(db);
            Ok(())
        });
        // After a failure `db` was dropped above, with whatever state it was in.
        self.failed_at = result.is_err().then(Instant::now);
        result.map_err(|fault| fault.committing(self.path.clone()))
    }

    fn reopen(&self) -> Result<Database, Fault> {
        // A failed sync leaves pages in the page cache that look written and are not. Without them redb sees
        // what the disk has, and goes back to the last commit that is whole there.
        if let Ok(file) = File::open(&self.path) {
            let _ = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        }
        Ok((self.open)(&self.path)?)
    }

    #[cfg(test)]
    pub(crate) fn without_rest(mut self) -> Self {
        self.rest = Duration::ZERO;
        self
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

pub(crate) fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    builder
}

/// Makes the directory and keeps it from other processes for as long as the file lives.
fn lock(directory: &Path) -> Result<File, OpenError> {
    let failed =
        |action| move |source| OpenError::Io { action, path: directory.to_owned(), source };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(failed("create the state directory"))?;
    let lock = File::open(directory).map_err(failed("open the state directory"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { directory: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed("lock the state directory")(source)),
    }
}

/// Makes an empty store, under another name until it is complete: a file with the right name that has no
/// tables is a damaged one, never a new one.
fn create(directory: &Path, path: &Path) -> Result<(), Fault> {
    let new = directory.join(format!("{FILE_NAME}.new"));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Fault::Io(error)),
        _ => {}
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .map_err(Fault::Io)?;
    tables::initialise(&builder().create_file(file)?)?;
    File::open(&new).and_then(|file| file.sync_all()).map_err(Fault::Io)?;
    fs::rename(&new, path).map_err(Fault::Io)?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(Fault::Io)
}

/// Brings a database up to date and reads it, having made sure of it.
pub(crate) fn check(mut db: Database) -> Result<(Database, Vec<Lease>), Fault> {
    // redb trusts what it reads unless it is asked not to. The pages of the leases are covered by their own
    // totals; a wrong list of free pages would let a later commit overwrite them. False means that it was
    // wrong and is right now, and then the totals are what tells whether anything is lost.
    db.check_integrity()?;
    migrate(&db, MIGRATIONS)?;
    let leases = tables::load(&db)?;
    Ok((db, leases))
}

/// Runs something that may panic: redb checks some of what it reads with assertions.
pub(crate) fn guarded<T>(run: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    // Nothing that the closures touch is looked at after a panic, but for being dropped.
    catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|payload| Err(Fault::panicked(payload.as_ref())))
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
