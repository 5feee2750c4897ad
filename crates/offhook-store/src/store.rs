//! The store: opened once, committed to again and again.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use offhook_model::{Lease, LeaseWrite};
use redb::{Builder, Database, DatabaseError};

use crate::error::{CommitError, Fault, OpenError, is_full};
use crate::guard::guarded;
use crate::journal::fold::{Folder, Health};
use crate::journal::{BackingFile, Journal, Medium, NAMES, Segment, Torn};
use crate::migrate::{MIGRATIONS, migrate};
use crate::room::{self, Reserve, Room};
use crate::tables;

/// The database in the state directory.
pub const FILE_NAME: &str = "leases.redb";

/// Memory for pages of the database, bytes. The kernel's page cache has the rest.
const CACHE: usize = 16 << 20;

/// How long a store that failed is left alone before it is tried again.
const REST: Duration = Duration::from_millis(500);

/// Opens the database of an existing file. In other ways in tests, to make it fail.
pub(crate) type OpenDatabase =
    Box<dyn Fn(&Path, Arc<dyn Room>) -> Result<Database, DatabaseError> + Send>;

pub(crate) type OpenRoom = Box<dyn Fn(&Path) -> io::Result<Arc<dyn Room>>>;

/// How existing files are opened.
pub(crate) struct Disk {
    pub(crate) database: OpenDatabase,
    pub(crate) journal: Box<dyn Fn(BackingFile) -> Medium>,
    /// Of the directory they are in.
    pub(crate) room: OpenRoom,
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            database: Box::new(room::open_database),
            journal: Box::new(|file| Arc::new(file)),
            room: Box::new(|directory| Ok(Arc::new(Reserve::open(directory)?))),
        }
    }
}

/// The leases on disk, of this process alone.
pub struct Store {
    path: PathBuf,
    journal: Journal,
    folder: Folder,
    room: Arc<dyn Room>,
    torn: Option<Torn>,
    /// When the last commit failed, if it did, and why.
    failed: Option<(Instant, String)>,
    rest: Duration,
    /// Keeps other processes out. Dropped last.
    _lock: File,
}

impl Store {
    /// Opens the store in `directory` and returns it with every lease it holds, by address. The directory
    /// (mode 0700) and the files (mode 0600) are made when they are not there.
    ///
    /// After a crash a last commit that is not whole is left out: it was under way, and was not acknowledged. Damage
    /// done to that very commit looks the same, unless there was time for [`Store::settle`]; [`Store::torn`] tells of
    /// both. Any other damage is an error.
    ///
    /// # Errors
    /// Another process has it, the disk or its permissions do not allow it, a file is damaged or missing, or a
    /// later release wrote it. Whatever the error is, nothing is emptied.
    pub fn open(directory: &Path) -> Result<(Self, Vec<Lease>), OpenError> {
        Self::open_with(directory, Disk::default(), REST)
    }

    pub(crate) fn open_with(
        directory: &Path,
        disk: Disk,
        rest: Duration,
    ) -> Result<(Self, Vec<Lease>), OpenError> {
        let lock = lock(directory)?;
        let path = directory.join(FILE_NAME);
        let opened = guarded(|| {
            if !path.try_exists().map_err(Fault::Io)? {
                refuse_journals(directory)?;
                create(directory, &path)?;
            }
            let room = (disk.room)(directory).map_err(Fault::Io)?;
            let mut db = check((disk.database)(&path, Arc::clone(&room))?)?;
            let id = match tables::journal(&db)? {
                Some(id) => id,
                None => add_journals(directory, &mut db)?,
            };
            let segments = open_journals(directory, id, &disk.journal)?;
            let (mut journal, leases) = load(&db, segments)?;
            let torn = journal.scrub().map_err(Fault::Io)?;
            let frozen = journal.frozen();
            let (again, for_it) = (path.clone(), Arc::clone(&room));
            let reopen = Box::new(move || reopen(&again, &disk.database, &for_it));
            let folder = Folder::spawn(db, frozen, rest, Arc::clone(&room), reopen)?;
            Ok((journal, folder, room, torn, leases))
        });
        let (journal, folder, room, torn, leases) =
            opened.map_err(|fault| fault.opening(path.clone()))?;
        let store = Self { path, journal, folder, room, torn, failed: None, rest, _lock: lock };
        Ok((store, leases))
    }

    /// The database file. The journal files are beside it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes `writes` durable, in order, all or none of them: they are on disk when this returns.
    ///
    /// After a failure it is tried again by a later commit, half a second later at the earliest, and everything
    /// goes on from the last commit that succeeded. A batch that failed may turn out to be on disk all the same,
    /// when the failure came at the very end; it was not acknowledged, so nobody relies on it.
    ///
    /// # Errors
    /// The disk is full or failing, or the database is. Nothing in `writes` may be acknowledged.
    pub fn commit(&mut self, writes: &[LeaseWrite]) -> Result<(), CommitError> {
        if writes.is_empty() {
            return Ok(());
        }
        if let Some((at, why)) = &self.failed
            && at.elapsed() < self.rest
        {
            return Err(CommitError::Resting { why: why.clone() });
        }
        let result = guarded(|| self.append(writes));
        if let Some(frozen) = self.journal.frozen() {
            self.folder.fold(frozen);
        }
        let path = self.journal.active().path();
        let result = result.map_err(|fault| fault.committing(path.to_owned()));
        self.failed = result.as_ref().err().map(|error| (Instant::now(), error.to_string()));
        result
    }

    fn append(&mut self, writes: &[LeaseWrite]) -> Result<(), Fault> {
        if !self.room.is_left() {
            // The journal may have room of its own yet: that is for when somebody sees to the disk.
            return Err(Fault::Io(io::Error::new(io::ErrorKind::StorageFull, "the disk is full")));
        }
        if self.journal.is_full() {
            self.folder.wait()?;
        }
        let Self { journal, folder, room, .. } = self;
        let (is_idle, leases) = folder.status();
        // What room there is goes to the folding first: without it the journal would only grow.
        let may_grow = || !folder.is_failing() && room.restore();
        match journal.append(writes, leases, is_idle, may_grow) {
            Err(error) if is_full(&error) && !is_idle => {
                folder.wait()?;
                journal.append(writes, leases, true, may_grow).map_err(Fault::Io)
            }
            result => result.map_err(Fault::Io),
        }
    }

    /// The last commit of an earlier run, if it was found not whole and left out when this was opened.
    pub fn torn(&self) -> Option<&Torn> {
        self.torn.as_ref()
    }

    /// To be called when nothing was committed for a while: after that, damage to the last commit is known for what it
    /// is when the store is opened again, however this run ends.
    pub fn settle(&mut self) {
        // What is acknowledged does not depend on it.
        if self.failed.is_none() {
            let _ = guarded(|| self.journal.end().map_err(Fault::Io));
        }
    }

    /// What keeps the journal from being brought into the database, if anything does. Commits go on as long as the
    /// journal has room.
    pub fn health(&self) -> Health {
        self.folder.health()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.settle();
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

fn reopen(path: &Path, open: &OpenDatabase, room: &Arc<dyn Room>) -> Result<Database, Fault> {
    // A failed sync leaves pages in the page cache that look written and are not. Without them redb sees
    // what the disk has, and goes back to the last commit that is whole there.
    if let Ok(file) = File::open(path) {
        let _ = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    }
    Ok(open(path, Arc::clone(room))?)
}

/// Makes the directory and keeps it from other processes for as long as the file lives.
fn lock(directory: &Path) -> Result<File, OpenError> {
    let failed =
        |action| move |source| OpenError::Io { action, path: directory.to_owned(), source };
    let created = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    created.map_err(|error| {
        // What is there is a file, or a link that leads nowhere.
        let is_there = error.kind() == io::ErrorKind::AlreadyExists;
        let error = if is_there { io::ErrorKind::NotADirectory.into() } else { error };
        failed("create the state directory")(error)
    })?;
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
    sync_directory(directory).map_err(Fault::Io)
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Brings a database up to date, having made sure of it.
pub(crate) fn check(mut db: Database) -> Result<Database, Fault> {
    // redb trusts what it reads unless it is asked not to. The pages of the leases are covered by their own
    // totals; a wrong list of free pages would let a later commit overwrite them. False means that it was
    // wrong and is right now, and then the totals are what tells whether anything is lost.
    db.check_integrity()?;
    migrate(&db, MIGRATIONS)?;
    Ok(db)
}

/// Reads a database and its journal.
pub(crate) fn load(db: &Database, segments: [Segment; 2]) -> Result<(Journal, Vec<Lease>), Fault> {
    let (journal, latest) = Journal::open(segments, tables::folded(db)?)?;
    Ok((journal, tables::load(db, latest)?))
}

/// Makes the journal files of a database that has none: a new one, or one of format version 1.
fn add_journals(directory: &Path, db: &mut Database) -> Result<u64, Fault> {
    refuse_journals(directory)?;
    // Nothing but unlike that of any other store.
    let id = RandomState::new().hash_one(directory);
    let created: io::Result<()> =
        NAMES.iter().try_for_each(|name| Segment::create(&directory.join(name), id));
    created.and_then(|()| sync_directory(directory)).map_err(Fault::Io)?;
    tables::write_journal(db, id)?;
    Ok(id)
}

/// Journal files that no database knows of are left of an attempt to make a store, and then there is nothing in
/// them; or the database is gone.
pub(crate) fn refuse_journals(directory: &Path) -> Result<(), Fault> {
    for name in NAMES {
        let path = directory.join(name);
        match BackingFile::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Fault::Beside(path, error)),
            Ok(file) => {
                let medium: Medium = Arc::new(file);
                if !crate::journal::is_unused(&medium).map_err(Fault::Io)? {
                    let text =
                        format!("there are leases in {name} that belong to another {FILE_NAME}");
                    return Err(Fault::Damaged(text));
                }
            }
        }
    }
    Ok(())
}

fn open_journals(
    directory: &Path,
    id: u64,
    wrap: &dyn Fn(BackingFile) -> Medium,
) -> Result<[Segment; 2], Fault> {
    let open = |name: &str| {
        let path = directory.join(name);
        let file = BackingFile::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Fault::Damaged(format!("its journal {name} is missing")),
            _ => Fault::Beside(path.clone(), error),
        })?;
        Segment::open(path.clone(), wrap(file), id).map_err(|fault| fault.beside(&path))
    };
    let [first, second] = NAMES;
    Ok([open(first)?, open(second)?])
}

#[cfg(test)]
#[path = "full_disk_tests.rs"]
mod full_disk_tests;
#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
#[cfg(test)]
#[path = "torn_tests.rs"]
mod torn_tests;
