//! Room on the disk: whether there is any, and some that is kept for the database.
//!
//! Leases are committed in room that was taken before, but to bring them into the database takes new pages, and while
//! that cannot be done the journal's room is used up. So some is kept in a file of its own, and given back to the file
//! system when the database finds no other; and the journal grows only while all of it is there.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::fstatvfs;
use redb::backends::FileBackend;
use redb::{Database, DatabaseError, StorageBackend};

use crate::error::is_full;
use crate::store::builder;

/// The file in the state directory.
pub(crate) const NAME: &str = "leases.reserve";

/// Bytes that are kept.
const KEPT: u64 = 1 << 20;
/// Bytes that are given back at a time.
const PIECE: u64 = 64 << 10;
/// Bytes that others must find on the disk before any are kept: on a very small one the leases need them more.
const SPARE: u64 = 1 << 20;
/// Bytes below which the disk is as good as full.
const LEAST: u64 = 64 << 10;

/// What the store asks of the disk it is on.
pub(crate) trait Room: Send + Sync {
    /// Whether there is any that is not kept.
    fn is_left(&self) -> bool;
    /// Gives back some that is kept; false when none is.
    fn lend(&self) -> bool;
    /// Keeps as much as there is to be; false when there is not enough.
    fn restore(&self) -> bool;
}

/// The room on the disk of a directory.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    directory: File,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Made when it is first needed: on a disk without room for its name nothing is kept.
    file: Option<File>,
    kept: u64,
}

impl Reserve {
    /// Of a directory that is there. What can be kept now is.
    ///
    /// # Errors
    /// It is not a directory.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        let this = Self {
            path: directory.join(NAME),
            directory: File::open(directory)?,
            state: Mutex::default(),
        };
        this.restore();
        Ok(this)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that anybody may have. Unknown where the file system does not tell.
    fn free(&self) -> Option<u64> {
        let found = fstatvfs(&self.directory).ok()?;
        Some(found.blocks_available().saturating_mul(found.fragment_size()))
    }
}

impl State {
    fn file(&mut self, path: &Path) -> io::Result<&File> {
        match &mut self.file {
            Some(file) => Ok(file),
            none => {
                let mut options = OpenOptions::new();
                options.write(true).create(true).truncate(false).mode(0o600);
                let file = options.open(path)?;
                self.kept = file.metadata()?.len();
                Ok(none.insert(file))
            }
        }
    }

    /// Makes the file as long as that, of room that nobody else can have; or leaves it as it is.
    fn keep(&mut self, path: &Path, bytes: u64) -> io::Result<()> {
        let file = self.file(path)?;
        let from = file.metadata()?.len();
        if from < bytes {
            take(file, from, bytes).inspect_err(|_| drop(file.set_len(from)))?;
            self.kept = bytes;
        }
        Ok(())
    }
}

impl Room for Reserve {
    fn is_left(&self) -> bool {
        if self.free().is_none_or(|free| free >= LEAST) {
            return true;
        }
        // The file system may keep the last of it for whom this runs as.
        let mut state = self.lock();
        let kept = state.kept;
        let found = state.keep(&self.path, kept + LEAST);
        if let Some(file) = state.file.as_ref().filter(|_| found.is_ok())
            && file.set_len(kept).is_ok()
        {
            state.kept = kept;
        }
        !found.is_err_and(|error| is_full(&error))
    }

    fn lend(&self) -> bool {
        let mut state = self.lock();
        let left = state.kept.saturating_sub(PIECE);
        match &state.file {
            Some(file) if left < state.kept && file.set_len(left).is_ok() => {
                state.kept = left;
                true
            }
            _ => false,
        }
    }

    fn restore(&self) -> bool {
        let mut state = self.lock();
        // What an earlier run kept.
        let known = state.file(&self.path).is_ok();
        if state.kept >= KEPT {
            return true;
        }
        let missing = KEPT - state.kept;
        known
            && self.free().is_none_or(|free| free >= missing + SPARE)
            && state.keep(&self.path, KEPT).is_ok()
    }
}

/// Takes the room between two places of a file, the first of which is its end.
fn take(file: &File, from: u64, to: u64) -> io::Result<()> {
    let (start, length) = (i64::try_from(from), i64::try_from(to - from));
    let (Ok(start), Ok(length)) = (start, length) else {
        return Err(io::ErrorKind::FileTooLarge.into());
    };
    match fallocate(file, FallocateFlags::empty(), start, length) {
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => {
            let zeros = [0; 4096];
            let mut place = from;
            while place < to {
                let some = usize::try_from(to - place).unwrap_or(usize::MAX).min(zeros.len());
                file.write_all_at(zeros.get(..some).unwrap_or(&zeros), place)?;
                place += some as u64;
            }
            file.sync_data()
        }
        result => Ok(result?),
    }
}

/// Opens the database of an existing file. When the disk is full it gets what is kept.
pub(crate) fn open_database(path: &Path, room: Arc<dyn Room>) -> Result<Database, DatabaseError> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    if file.metadata()?.len() == 0 {
        // It would be made anew.
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is empty").into());
    }
    builder().create_with_backend(Lent { file: FileBackend::new(file)?, room })
}

/// A file that gets what is kept when the disk is full. It is not locked: the directory is.
struct Lent {
    file: FileBackend,
    room: Arc<dyn Room>,
}

impl std::fmt::Debug for Lent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Lent").field(&self.file).finish()
    }
}

impl Lent {
    fn lending(&self, write: impl Fn() -> io::Result<()>) -> io::Result<()> {
        loop {
            match write() {
                // As often as there are pieces.
                Err(error) if is_full(&error) && self.room.lend() => {}
                result => return result,
            }
        }
    }
}

impl StorageBackend for Lent {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.lending(|| self.file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        // Once this has failed nobody knows what is on disk: it is not tried twice.
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.lending(|| self.file.write(offset, data))
    }
}
