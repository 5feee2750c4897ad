//! A file while it arrives: one task writes it, and every transfer that sends it reads as far as it has come.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use nix::sys::memfd::{MFdFlags, memfd_create};
use offhook_tftp::Image;

use super::sink::Taken;

/// Octets copied at a time.
const CHUNK: usize = 256 << 10;

/// What has come of a file so far.
#[derive(Debug)]
pub(in crate::tftp) struct Spool {
    file: RwLock<Arc<File>>,
    size: Option<u64>,
    /// Octets that may be read.
    readable: AtomicU64,
    /// Whether the last octet is held back until it is known that the file is what its digest says: without it no
    /// client takes the file for complete.
    held: bool,
    end: OnceLock<Result<(), io::ErrorKind>>,
    /// Somebody waits for more.
    hungry: AtomicBool,
    /// The memory it has, if it is not on disk.
    taken: Taken,
}

impl Spool {
    /// An empty one. `size` is what it will have, if that is known.
    pub(super) fn new(file: File, size: Option<u64>, held: bool) -> Self {
        Self {
            file: RwLock::new(Arc::new(file)),
            size,
            readable: AtomicU64::new(0),
            held,
            end: OnceLock::new(),
            hungry: AtomicBool::new(false),
            taken: Taken::default(),
        }
    }

    pub(super) fn taken(&self) -> &Taken {
        &self.taken
    }

    /// What it will have, as far as that is known, octets.
    pub(super) fn expected(&self) -> u64 {
        self.size.unwrap_or_default()
    }

    /// Where it is written to.
    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Goes on in memory with what there is: for when there is no room on the disk. Waits for the disk.
    ///
    /// # Errors
    /// There is no memory, or what there is cannot be read.
    pub(super) fn move_to_memory(&self, written: u64) -> io::Result<()> {
        let (from, to) = (self.file(), in_memory()?);
        let (mut buffer, mut at) = (vec![0; CHUNK], 0);
        while at < written {
            let wanted = usize::try_from(written - at).unwrap_or(CHUNK).min(CHUNK);
            let part = buffer.get_mut(..wanted).unwrap_or_default();
            from.read_exact_at(part, at)?;
            to.write_all_at(part, at)?;
            at += wanted as u64;
        }
        *self.file.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(to);
        Ok(())
    }

    /// So many octets are written. True when somebody waits for them.
    pub(super) fn arrived(&self, written: u64) -> bool {
        self.readable.store(written.saturating_sub(self.held.into()), Ordering::SeqCst);
        self.hungry.swap(false, Ordering::SeqCst)
    }

    /// All of it is here, and what it should be. True when somebody waits for that.
    pub(super) fn complete(&self, written: u64) -> bool {
        self.readable.store(written, Ordering::SeqCst);
        let _ = self.end.set(Ok(()));
        self.hungry.swap(false, Ordering::SeqCst)
    }

    /// Nothing more will come: every transfer of it ends with an error. True when somebody waits.
    pub(super) fn fail(&self, kind: io::ErrorKind) -> bool {
        let _ = self.end.set(Err(kind));
        self.hungry.swap(false, Ordering::SeqCst)
    }

    /// Whether something went wrong.
    pub(super) fn is_broken(&self) -> bool {
        matches!(self.end.get(), Some(Err(_)))
    }

    fn read_now(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        // In this order: once it has ended no more becomes readable.
        let end = self.end.get().copied();
        let readable = self.readable.load(Ordering::SeqCst);
        match end {
            Some(Err(kind)) => Err(kind.into()),
            _ if offset < readable => {
                let count =
                    usize::try_from(readable - offset).unwrap_or(usize::MAX).min(into.len());
                self.file().read_at(into.get_mut(..count).unwrap_or_default(), offset)
            }
            Some(Ok(())) => Ok(0),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Image for Spool {
    fn size(&self) -> Option<u64> {
        self.size
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        match self.read_now(offset, into) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.hungry.store(true, Ordering::SeqCst);
                // More may have come before that was seen.
                self.read_now(offset, into)
            }
            read => read,
        }
    }
}

/// A file that is on no disk.
///
/// # Errors
/// There is no memory, or no file descriptor left.
pub(super) fn in_memory() -> io::Result<File> {
    Ok(File::from(memfd_create("offhook-tftp", MFdFlags::MFD_CLOEXEC)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(spool: &Spool, offset: u64) -> Result<Vec<u8>, io::ErrorKind> {
        let mut buffer = [0; 4];
        let count = spool.read_at(offset, &mut buffer).map_err(|error| error.kind())?;
        Ok(buffer[..count].to_vec())
    }

    #[test]
    fn what_has_come_can_be_read_and_the_rest_is_waited_for() {
        let spool = Spool::new(in_memory().unwrap(), Some(6), false);
        assert_eq!(read(&spool, 0), Err(io::ErrorKind::WouldBlock));
        spool.file().write_all_at(b"abc", 0).unwrap();
        assert!(spool.arrived(3), "somebody waits");
        assert!(!spool.arrived(3), "nobody does any more");
        assert_eq!(read(&spool, 1), Ok(b"bc".to_vec()));
        assert_eq!(read(&spool, 3), Err(io::ErrorKind::WouldBlock));
        spool.move_to_memory(3).unwrap();
        spool.file().write_all_at(b"def", 3).unwrap();
        assert!(spool.complete(6));
        assert_eq!((read(&spool, 2), read(&spool, 6)), (Ok(b"cdef".to_vec()), Ok(Vec::new())));
    }

    #[test]
    fn the_last_octet_is_held_back_until_the_digest_is_known() {
        let spool = Spool::new(in_memory().unwrap(), None, true);
        spool.file().write_all_at(b"abc", 0).unwrap();
        spool.arrived(3);
        assert_eq!(read(&spool, 0), Ok(b"ab".to_vec()));
        assert_eq!(read(&spool, 2), Err(io::ErrorKind::WouldBlock));
        assert!(spool.fail(io::ErrorKind::InvalidData) && spool.is_broken());
        assert_eq!(read(&spool, 2), Err(io::ErrorKind::InvalidData));
        assert_eq!(read(&spool, 0), Err(io::ErrorKind::InvalidData));
    }
}
