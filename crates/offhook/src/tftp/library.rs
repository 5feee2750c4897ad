//! The bytes of files being sent, shared among the transfers that send them.
//!
//! A file of firmware size is read once, whole, however many phones ask for it, and forgotten with the last of them.
//! It cannot change under a transfer then: who began with the old image ends with the old image. The first transfer
//! begins as soon as the beginning is read.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use offhook_net::Waker;
use offhook_tftp::Image;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

use super::memory::Memory;
use super::root::{OpenedFile, Stamp};
use super::upstream::Spool;

/// The largest file that is held in memory; larger ones are read from disk block by block.
const MAX_SHARED: u64 = 64 << 20;
/// The most that is held in all.
const MAX_TOTAL: u64 = 256 << 20;

/// Octets at the end of a file that tell whether it was written anew or only went on.
const TAIL: usize = 512;

/// Octets read at a time: a huge page.
const CHUNK: usize = 2 << 20;

/// The files that are being sent.
#[derive(Debug, Default)]
pub(super) struct Library {
    shared: Mutex<HashMap<Stamp, Weak<Contents>>>,
    waker: Option<Waker>,
}

/// One version of a file, read once its first reader has come.
#[derive(Debug)]
pub(super) struct Contents {
    size: u64,
    chunks: Box<[OnceLock<Memory>]>,
    /// Once the first chunk is read.
    begun: OnceCell<()>,
    /// Why the rest never comes.
    failed: OnceLock<io::ErrorKind>,
    /// Somebody waits for the next chunk.
    hungry: AtomicBool,
    /// The file, if somebody may have been in the middle of writing it when it was opened.
    fresh: OnceLock<File>,
}

/// The bytes one transfer sends.
#[derive(Debug)]
pub(super) enum LibraryImage {
    Shared(Arc<Contents>),
    Streamed(OpenedFile),
    /// It comes from the provisioning server.
    Arriving(Arc<Spool>),
}

impl Library {
    /// Uses `waker` whenever more has been read of a file that somebody waits for.
    pub(super) fn new(waker: Waker) -> Self {
        Self { shared: Mutex::default(), waker: Some(waker) }
    }

    /// The bytes of a file as it is now, once the first of them are here.
    ///
    /// # Errors
    /// It could not be read, or was written to meanwhile.
    pub(super) async fn image(&self, opened: OpenedFile) -> io::Result<LibraryImage> {
        let Some(contents) = self.contents(opened.stamp) else {
            return Ok(LibraryImage::Streamed(opened));
        };
        let begin = || async {
            let all = Arc::clone(&contents);
            let first = spawn_blocking(move || {
                if opened.stamp.is_fresh() {
                    let _ = all.fresh.set(opened.file.try_clone()?);
                }
                all.read(&opened, 0).map(|()| opened)
            });
            let (opened, rest, waker) = (first.await??, Arc::clone(&contents), self.waker.clone());
            if contents.chunks.len() > 1 {
                spawn_blocking(move || rest.read_rest(&opened, waker.as_ref()));
            }
            Ok::<_, io::Error>(())
        };
        contents.begun.get_or_try_init(begin).await?;
        Ok(LibraryImage::Shared(contents))
    }

    /// Where the bytes are shared; none for a file that is too large for that.
    fn contents(&self, stamp: Stamp) -> Option<Arc<Contents>> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = |contents: &Arc<Contents>| contents.failed.get().is_none();
        if let Some(contents) = shared.get(&stamp).and_then(Weak::upgrade).filter(whole) {
            return Some(contents);
        }
        shared.retain(|_, contents| contents.strong_count() > 0);
        let held: u64 = shared.keys().map(|stamp| stamp.size).sum();
        if stamp.size > MAX_SHARED || held + stamp.size > MAX_TOTAL {
            return None;
        }
        let contents = Arc::new(Contents::new(stamp.size));
        shared.insert(stamp, Arc::downgrade(&contents));
        Some(contents)
    }
}

impl Contents {
    fn new(size: u64) -> Self {
        let chunks = (0..size.div_ceil(CHUNK as u64)).map(|_| OnceLock::new()).collect();
        Self {
            size,
            chunks,
            begun: OnceCell::new(),
            failed: OnceLock::new(),
            hungry: AtomicBool::new(false),
            fresh: OnceLock::new(),
        }
    }

    /// Whether these are not all bytes there were to be: the file was being copied when it was opened, and has more by
    /// now after the very same end. One that was written anew since is another matter.
    fn is_part(&self) -> bool {
        let Some(file) = self.fresh.get() else { return false };
        if !file.metadata().is_ok_and(|now| now.len() > self.size) {
            return false;
        }
        let at = self.size.saturating_sub(TAIL as u64);
        let (mut ours, mut theirs) = ([0; TAIL], [0; TAIL]);
        let Ok(count) = self.read_at(at, &mut ours) else { return false };
        let theirs = theirs.get_mut(..count).unwrap_or_default();
        file.read_exact_at(theirs, at).is_ok()
            && ours.get(..count).is_some_and(|ours| *ours == *theirs)
    }

    /// Reads a chunk; there is none in an empty file.
    fn read(&self, opened: &OpenedFile, index: usize) -> io::Result<()> {
        let Some(chunk) = self.chunks.get(index) else { return Ok(()) };
        let begin = index as u64 * CHUNK as u64;
        let rest = usize::try_from(self.size - begin).unwrap_or(CHUNK);
        let mut bytes = Memory::new(rest.min(CHUNK))?;
        opened.file.read_exact_at(&mut bytes, begin)?;
        unchanged(&opened.file, opened.stamp)?;
        let _ = chunk.set(bytes);
        Ok(())
    }

    /// Reads all but the first chunk.
    fn read_rest(&self, opened: &OpenedFile, waker: Option<&Waker>) {
        for index in 1..self.chunks.len() {
            let result = self.read(opened, index);
            let failed = result.map_err(|error| self.failed.set(error.kind())).is_err();
            if self.hungry.swap(false, Ordering::SeqCst)
                && let Some(waker) = waker
            {
                waker.wake();
            }
            if failed {
                return;
            }
            // Who sends what is here goes first.
            std::thread::yield_now();
        }
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let chunk = usize::try_from(offset / CHUNK as u64).unwrap_or(usize::MAX);
        let Some(chunk) = self.chunks.get(chunk) else { return Ok(0) };
        let bytes = chunk.get().or_else(|| {
            self.hungry.store(true, Ordering::SeqCst);
            // It may have come before that was seen.
            chunk.get()
        });
        match (bytes, self.failed.get()) {
            (Some(bytes), _) => bytes.read_at(offset % CHUNK as u64, into),
            (None, Some(kind)) => Err((*kind).into()),
            (None, None) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Image for LibraryImage {
    fn size(&self) -> Option<u64> {
        match self {
            Self::Shared(contents) => Some(contents.size),
            Self::Streamed(opened) => Some(opened.stamp.size),
            Self::Arriving(spool) => spool.size(),
        }
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Shared(contents) => {
                let count = contents.read_at(offset, into)?;
                // Without its last block no client takes it for complete.
                match offset + count as u64 >= contents.size && contents.is_part() {
                    true => Err(io::Error::other("it is being written: this was a part of it")),
                    false => Ok(count),
                }
            }
            // Straight from the page cache, as a rule: not worth another thread.
            Self::Streamed(opened) => {
                let count = opened.file.read_at(into, offset)?;
                unchanged(&opened.file, opened.stamp)?;
                Ok(count)
            }
            Self::Arriving(spool) => spool.read_at(offset, into),
        }
    }
}

/// Half of the old image and half of the new one would be worse than none.
pub(super) fn unchanged(file: &File, stamp: Stamp) -> io::Result<()> {
    let now = Stamp::of(&file.metadata()?);
    if now.same_content(&stamp) {
        Ok(())
    } else {
        Err(io::Error::other("the file was written to while it was sent"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use offhook_tftp::Tree;
    use tempfile::TempDir;

    use super::super::root::Root;
    use super::*;

    #[tokio::test]
    async fn what_is_being_copied_is_not_sent_to_its_end_and_what_is_written_anew_is() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("f");
        for size in [0, 10, CHUNK + 5] {
            let whole: Vec<u8> = (0..size + 100).map(|at| (at % 251) as u8).collect();
            let (library, mut byte) = (Library::default(), [0]);
            let mut last = |image: &LibraryImage| {
                let read = image.read_at((size as u64).saturating_sub(1), &mut byte);
                read.map_err(|error| error.kind())
            };
            let open = || async {
                std::fs::write(&path, whole.get(..size).unwrap()).unwrap();
                // However long this takes.
                let soon = SystemTime::now() + Duration::from_secs(60);
                File::options().write(true).open(&path).unwrap().set_modified(soon).unwrap();
                let opened = Root::open(directory.path()).unwrap().open(b"f").unwrap();
                library.image(opened).await.unwrap()
            };
            let image = open().await;
            while last(&image) == Err(io::ErrorKind::WouldBlock) {
                tokio::task::yield_now().await;
            }
            assert_eq!(last(&image), Ok(size.min(1)), "as far as anybody knows this is all");
            std::fs::write(&path, &whole).unwrap();
            assert_eq!(last(&image), Err(io::ErrorKind::Other), "{size}: it goes on");
            std::fs::write(&path, vec![255; size + 100]).unwrap();
            if size > 0 {
                assert_eq!(last(&image), Ok(1), "{size}: another one was written");
            }
            std::fs::write(&path, b"").unwrap();
            assert_eq!(last(&image), Ok(size.min(1)), "{size}: another one is about to be");
        }
    }

    #[tokio::test]
    async fn what_loses_its_end_while_it_is_read_ends_in_an_error_and_is_read_anew_for_the_next() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("f");
        std::fs::write(&path, vec![1; 3 * CHUNK]).unwrap();
        let open = || Root::open(directory.path()).unwrap().open(b"f").unwrap();
        let (library, opened) = (Library::default(), open());
        let contents = library.contents(opened.stamp).unwrap();
        contents.read(&opened, 0).unwrap();
        let mut byte = [0];
        let mut at = |contents: &Contents, chunk: usize| {
            let read = contents.read_at((chunk * CHUNK) as u64, &mut byte);
            read.map_err(|error| error.kind())
        };
        assert_eq!(
            [0, 1, 3].map(|chunk| at(&contents, chunk)),
            [Ok(1), Err(io::ErrorKind::WouldBlock), Ok(0)]
        );
        assert!(Arc::ptr_eq(&contents, &library.contents(opened.stamp).unwrap()));
        File::options().write(true).open(&path).unwrap().set_len(2 * CHUNK as u64).unwrap();
        contents.read_rest(&opened, None);
        assert_eq!(at(&contents, 0), Ok(1));
        assert!(matches!(at(&contents, 2), Err(kind) if kind != io::ErrorKind::WouldBlock));
        assert!(!Arc::ptr_eq(&contents, &library.contents(opened.stamp).unwrap()));
        let LibraryImage::Shared(next) = library.image(open()).await.unwrap() else {
            panic!("a small file is shared")
        };
        assert_eq!((next.size, at(&next, 0)), (2 * CHUNK as u64, Ok(1)));
    }
}
