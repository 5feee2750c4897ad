//! Emptying the cache of a disk, and no more than that.
//!
//! What is written in place of other blocks past the page cache is with the disk when the write returns, though perhaps
//! only in the disk's own cache. Emptying that is the last thing a sync of the file does. Before it, ext4 writes the
//! inode if there is no journal that would keep it, for the time of the change in it: one of three times that a batch
//! waits for the disk. There, a directory is synced instead that hardly anybody changes, the root of the file system:
//! of a sync of that, nothing is left but what the disk is told.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, fstatfs, openat, statx};

use super::block::BLOCK;

/// What ext2, ext3 and ext4 call themselves.
const EXT4: u64 = 0xEF53;

/// The cache of the disk that a file is on.
#[derive(Debug)]
pub(super) struct DiskCache {
    /// Of the same file system.
    root: File,
}

impl DiskCache {
    /// Where emptying it makes durable what was written directly in place of blocks of `file`, which is at `path`, and
    /// costs less than a sync of the file: on ext4 without a journal, as far as can be told. None everywhere else.
    pub(super) fn of(file: &File, path: &Path) -> Option<Self> {
        let is_ext4 = fstatfs(file).is_ok_and(|found| u64::try_from(found.f_type) == Ok(EXT4));
        if !is_ext4 || !is_direct(file) || has_journal(file) || !is_in_place(file) {
            return None;
        }
        Some(Self { root: root(file, path).ok()? })
    }

    /// Returns once everything that the disk was given is safe.
    pub(super) fn empty(&self) -> io::Result<()> {
        self.root.sync_data()
    }
}

/// Whether writes in units of our blocks go past the page cache: not of files that are encrypted, for instance.
fn is_direct(file: &File) -> bool {
    let is_unit = |octets: u32| (1..=BLOCK).contains(&(octets as usize));
    statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).is_ok_and(|found| {
        found.stx_mask & StatxFlags::DIOALIGN.bits() != 0
            && is_unit(found.stx_dio_mem_align)
            && is_unit(found.stx_dio_offset_align)
    })
}

/// Whether every block of the file has its place on the disk, and the disk knows it: not where a backup was put back
/// that leaves blocks of zeros out, or only just now. A write would give it one, and nothing but a sync of the file
/// writes that down.
fn is_in_place(file: &File) -> bool {
    let is_full = |found: fs::Metadata| found.blocks().saturating_mul(512) >= found.len();
    file.sync_all().is_ok() && file.metadata().is_ok_and(is_full)
}

/// Whether there is one, or nobody knows.
fn has_journal(file: &File) -> bool {
    let task = || {
        let device = file.metadata()?.dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let device = fs::read_link(format!("/sys/dev/block/{major}:{minor}"))?;
        let name = device.file_name().ok_or(io::ErrorKind::NotFound)?;
        fs::read_to_string(Path::new("/sys/fs/ext4").join(name).join("journal_task"))
    };
    task().map_or(true, |task: String| task.trim_end() != "<none>")
}

/// The uppermost directory above `path` that is on the same file system as `file` and may be read.
fn root(file: &File, path: &Path) -> io::Result<File> {
    let (device, mut seen) = (file.metadata()?.dev(), None);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut next = File::open(path.parent().unwrap_or(Path::new("/")));
    let mut root = Err(io::ErrorKind::NotFound.into());
    while let Ok(directory) = next {
        let found = directory.metadata()?;
        if found.dev() != device || seen.replace(found.ino()) == Some(found.ino()) {
            break;
        }
        next = openat(&directory, "..", flags, Mode::empty()).map(File::from).map_err(Into::into);
        root = Ok(directory);
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_a_hole_in_it_is_not_in_place() {
        let directory = tempfile::tempdir().unwrap();
        let file = File::create(directory.path().join("file")).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[1; 4 * BLOCK], 0).unwrap();
        assert!(is_in_place(&file));
        file.set_len(64 * BLOCK as u64).unwrap();
        assert!(!is_in_place(&file), "what is not there cannot be written in place");
    }
}
