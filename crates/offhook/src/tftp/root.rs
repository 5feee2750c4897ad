//! The served directory, and files opened below it and nowhere else.
//!
//! The names that come here hold no `..`. What is left are symbolic links: the kernel resolves the path and refuses
//! to leave the root on the way (`openat2` with `RESOLVE_BENEATH`). Where it refuses for a link that is absolute, or
//! has no `openat2`, the path is resolved by hand, and walked again from the root without following any link.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::Mode;
use offhook_tftp::{OpenError, Tree};

/// Directory entries looked at in a search without regard to case.
const MAX_ENTRIES: usize = 100_000;
/// How long ago the last change must be for the next one to have another time, seconds.
const SETTLED: i64 = 2;
/// The longest that a copy pauses between two writes, as a rule.
const FRESH: Duration = Duration::from_millis(500);
/// `openat2` asks to be called again while somebody renames directories.
const ATTEMPTS: usize = 8;

/// The root as it was when it was opened: a whole request is answered from there, even if another takes its place.
#[derive(Debug)]
pub(super) struct Root {
    directory: OwnedFd,
    path: PathBuf,
}

/// A regular file, open for reading.
#[derive(Debug)]
pub(super) struct OpenedFile {
    pub(super) file: File,
    pub(super) stamp: Stamp,
}

/// What tells one version of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    pub(super) size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether any later change shows: clocks of file systems are coarse, and two changes in a row may have one time.
    pub(super) fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        i64::try_from(now).is_ok_and(|now| self.changed.0 < now - SETTLED)
    }

    /// Whether it was written to so short a time ago that whoever did may not be done.
    pub(super) fn is_fresh(&self) -> bool {
        self.age().is_none_or(|age| age < FRESH)
    }

    /// How long ago it was written to; none where clocks do not agree on that.
    pub(super) fn age(&self) -> Option<Duration> {
        let (seconds, nanos) = self.modified;
        let since = Duration::new(seconds.try_into().ok()?, nanos.try_into().ok()?);
        SystemTime::now().duration_since(UNIX_EPOCH.checked_add(since)?).ok()
    }

    /// Whether the bytes of both are the same. Without `ctime`: a rename or a new link changes that and no byte.
    pub(super) fn same_content(&self, other: &Self) -> bool {
        Self { changed: other.changed, ..*self } == *other
    }
}

impl Root {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self { directory: open(path, flags, Mode::empty())?, path: path.to_owned() })
    }

    /// What tells the directory from itself after an entry was added, removed or replaced.
    ///
    /// # Errors
    /// As the kernel says.
    pub(super) fn stamp(&self) -> io::Result<Stamp> {
        Ok(Stamp::of(&File::from(self.directory.try_clone()?).metadata()?))
    }

    fn resolve(&self, path: &[u8], flags: OFlag) -> Result<OwnedFd, OpenError> {
        let path = Path::new(OsStr::from_bytes(path));
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        for _ in 0..ATTEMPTS {
            match openat2(&self.directory, path, how) {
                Ok(file) => return Ok(file),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                // A link out of the root, or an absolute one; or, from kernels and sandboxes without it, no openat2.
                Err(Errno::EXDEV | Errno::ENOSYS | Errno::EPERM | Errno::EINVAL) => {
                    return self.resolve_by_hand(path, flags);
                }
                Err(errno) => return Err(refusal(errno)),
            }
        }
        Err(OpenError::NotFound)
    }

    /// Where the path leads, links and all, is asked first; then that path, which has no links, is walked from the
    /// root. A link put there in between is not followed.
    pub(super) fn resolve_by_hand(&self, path: &Path, flags: OFlag) -> Result<OwnedFd, OpenError> {
        let real = |path: &Path| {
            fs::canonicalize(path)
                .map_err(|error| refusal(Errno::from_raw(error.raw_os_error().unwrap_or(0))))
        };
        let (root, target) = (real(&self.path)?, real(&self.path.join(path))?);
        let inside = target.strip_prefix(&root).map_err(|_| OpenError::Outside)?;
        let on_the_way = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut components = inside.iter().peekable();
        let mut directory = self.directory.try_clone().map_err(|_| OpenError::Unreadable)?;
        while let Some(component) = components.next() {
            let last = components.peek().is_none();
            let flags =
                if last { flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC } else { on_the_way };
            directory = openat(&directory, component, flags, Mode::empty()).map_err(refusal)?;
        }
        if inside.as_os_str().is_empty() {
            return openat(&directory, ".", flags, Mode::empty()).map_err(refusal);
        }
        Ok(directory)
    }
}

impl Tree for Root {
    type File = OpenedFile;

    fn open(&self, path: &[u8]) -> Result<OpenedFile, OpenError> {
        // First without opening it in earnest: opening a FIFO or a device may do things.
        let probe = File::from(self.resolve(path, OFlag::O_PATH)?);
        regular(&probe)?;
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let file = File::from(self.resolve(path, flags)?);
        let metadata = regular(&file)?;
        Ok(OpenedFile { file, stamp: Stamp::of(&metadata) })
    }

    fn list(&self, directory: &[u8], entry: &mut dyn FnMut(&[u8])) {
        let directory = if directory.is_empty() { b"." } else { directory };
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NONBLOCK;
        let Ok(mut directory) =
            self.resolve(directory, flags).and_then(|fd| Dir::from_fd(fd).map_err(refusal))
        else {
            return;
        };
        for found in directory.iter().take(MAX_ENTRIES).flatten() {
            match found.file_name().to_bytes() {
                b"." | b".." => {}
                name => entry(name),
            }
        }
    }
}

fn regular(file: &File) -> Result<Metadata, OpenError> {
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(metadata),
        _ => Err(OpenError::Unreadable),
    }
}

fn refusal(errno: Errno) -> OpenError {
    match errno {
        Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG | Errno::ELOOP => OpenError::NotFound,
        Errno::EXDEV => OpenError::Outside,
        _ => OpenError::Unreadable,
    }
}
