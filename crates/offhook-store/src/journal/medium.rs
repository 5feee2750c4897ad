//! The file a segment is in: read and lengthened as any other, written past the page cache.
//!
//! A segment's blocks are overwritten in place, in room that was written before, so that making a batch durable
//! needs no change of the file system's own records. Such a write costs least when the kernel is spared the page
//! cache too: one call (`O_DIRECT`, `O_DSYNC`) that returns when the disk has said that it is safe, its own cache
//! included; or two, where one would write more than the blocks ([`DiskCache`]). File systems that cannot do that get a
//! write and a sync, which promise the same.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::block::BLOCK;
use super::disk_cache::DiskCache;

/// A file, or what stands for one in tests.
pub(crate) type Medium = Arc<dyn Backing>;

/// What a segment does with its file. Nothing written is durable before the next sync, but for what
/// [`Backing::write_through`] writes.
pub(crate) trait Backing: Debug + Send + Sync {
    /// Its length, bytes.
    fn len(&self) -> io::Result<u64>;
    /// Fills `out` from there on.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
    /// Makes it longer, with zeros, or shorter.
    fn set_len(&self, len: u64) -> io::Result<()>;
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes everything written durable.
    fn sync(&self) -> io::Result<()>;
    /// Writes whole blocks in place of others and returns once they are durable.
    fn write_through(&self, offset: u64, blocks: &[u8]) -> io::Result<()> {
        self.write(offset, blocks)?;
        self.sync()
    }
}

/// A copy of a file that is only read.
#[derive(Debug)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Backing for Bytes {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = self.0.get(start..).and_then(|rest| rest.get(..out.len()));
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A file on disk.
#[derive(Debug)]
pub(crate) struct BackingFile {
    file: File,
    direct: Option<Direct>,
}

/// The same file, opened once more.
#[derive(Debug)]
struct Direct {
    file: File,
    /// What has to be emptied after a write, if the write does not see to it.
    cache: Option<DiskCache>,
    buffer: Mutex<Vec<u8>>,
    /// The file system took the flags and not the write.
    refused: AtomicBool,
}

impl BackingFile {
    /// Opens a file that is there.
    ///
    /// # Errors
    /// It is not, or may not be read or written.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let cache = DiskCache::of(&file, path);
        let synced = if cache.is_some() { OFlag::empty() } else { OFlag::O_DSYNC };
        let flags = OFlag::O_DIRECT | synced;
        let direct = OpenOptions::new().write(true).custom_flags(flags.bits()).open(path).ok();
        let direct = direct.map(|file| Direct {
            file,
            cache,
            buffer: Mutex::default(),
            refused: AtomicBool::new(false),
        });
        Ok(Self { file, direct })
    }

    /// Without writes past the page cache.
    #[cfg(test)]
    pub(crate) fn open_cached(path: &Path) -> io::Result<Self> {
        Ok(Self { direct: None, ..Self::open(path)? })
    }

    /// Whether what [`Backing::write_through`] writes goes past the page cache.
    #[cfg(test)]
    pub(crate) fn is_direct(&self) -> bool {
        self.direct.as_ref().is_some_and(|direct| !direct.refused.load(Ordering::Relaxed))
    }
}

impl Backing for BackingFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write_through(&self, offset: u64, blocks: &[u8]) -> io::Result<()> {
        if let Some(direct) = &self.direct
            && direct.write(offset, blocks)?
        {
            return Ok(());
        }
        self.write(offset, blocks)?;
        self.sync()
    }
}

impl Direct {
    /// False when it has to be done in another way.
    fn write(&self, offset: u64, blocks: &[u8]) -> io::Result<bool> {
        if self.refused.load(Ordering::Relaxed) || !blocks.len().is_multiple_of(BLOCK) {
            return Ok(false);
        }
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        // A disk reads memory in units of its own blocks, none of which is longer than ours.
        let room = blocks.len() + BLOCK;
        if buffer.len() < room {
            buffer.resize(room, 0);
        }
        let start = buffer.as_ptr().align_offset(BLOCK);
        let Some(aligned) = buffer.get_mut(start..).and_then(|rest| rest.get_mut(..blocks.len()))
        else {
            return Ok(false);
        };
        aligned.copy_from_slice(blocks);
        match self.file.write_all_at(aligned, offset) {
            Ok(()) => self.cache.as_ref().map_or(Ok(()), DiskCache::empty).map(|()| true),
            // Blocks longer than ours, or a file system that looks at the flags only now.
            Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {
                self.refused.store(true, Ordering::Relaxed);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_past_the_cache_is_what_everybody_reads() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        for open in [BackingFile::open, BackingFile::open_cached] {
            let mut expected = vec![0; 64 * BLOCK];
            std::fs::write(&path, &expected).unwrap();
            let file = open(&path).unwrap();
            for n in 1..=12_u8 {
                // Now in place of what the cache has, now of what it has not.
                let first = usize::from(n) * 4;
                let bytes = vec![n; (usize::from(n) % 5 + 1) * BLOCK];
                let place = first * BLOCK..first * BLOCK + bytes.len();
                if n.is_multiple_of(3) {
                    file.write(place.start as u64, &bytes).unwrap();
                } else {
                    file.write_through(place.start as u64, &bytes).unwrap();
                }
                expected[place].copy_from_slice(&bytes);
                let mut found = vec![0; expected.len()];
                file.read(0, &mut found).unwrap();
                assert!(found == expected && std::fs::read(&path).unwrap() == expected, "{n}");
            }
            assert_eq!(
                file.is_direct(),
                file.direct.is_some(),
                "the flags were taken, the write not"
            );
        }
    }

    #[test]
    fn what_is_no_whole_block_is_written_all_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, [0; 2 * BLOCK]).unwrap();
        let file = BackingFile::open(&path).unwrap();
        file.write_through(3, b"lease").unwrap();
        assert_eq!(std::fs::read(&path).unwrap()[..9], *b"\0\0\0lease\0");
    }
}
