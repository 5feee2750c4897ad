//! The bytes of files being sent, shared among the transfers that send them.
//!
//! A file of firmware size is read once, whole, however many phones ask for it, and forgotten with the last of them.
//! It cannot change under a transfer then: who began with the old image ends with the old image.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use offhook_tftp::Image;
use tokio::sync::OnceCell;

use super::root::{OpenedFile, Stamp};
use super::upstream::Spool;

/// The largest file that is held in memory; larger ones are read from disk block by block.
const MAX_SHARED: u64 = 64 << 20;
/// The most that is held in all.
const MAX_TOTAL: u64 = 256 << 20;

/// The files that are being sent.
#[derive(Debug, Default)]
pub(super) struct Library {
    shared: Mutex<HashMap<Stamp, Weak<Contents>>>,
}

/// One version of a file, read once its first reader has come.
#[derive(Debug, Default)]
pub(super) struct Contents {
    bytes: OnceCell<Box<[u8]>>,
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
    /// The bytes of a file as it is now.
    ///
    /// # Errors
    /// It could not be read, or was written to meanwhile.
    pub(super) async fn image(&self, opened: OpenedFile) -> io::Result<LibraryImage> {
        let Some(contents) = self.contents(opened.stamp) else {
            return Ok(LibraryImage::Streamed(opened));
        };
        contents
            .bytes
            .get_or_try_init(|| async {
                tokio::task::spawn_blocking(move || read_whole(&opened)).await?
            })
            .await?;
        Ok(LibraryImage::Shared(contents))
    }

    /// Where the bytes are shared; none for a file that is too large for that.
    fn contents(&self, stamp: Stamp) -> Option<Arc<Contents>> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(contents) = shared.get(&stamp).and_then(Weak::upgrade) {
            return Some(contents);
        }
        shared.retain(|_, contents| contents.strong_count() > 0);
        let held: u64 = shared.keys().map(|stamp| stamp.size).sum();
        if stamp.size > MAX_SHARED || held + stamp.size > MAX_TOTAL {
            return None;
        }
        let contents = Arc::new(Contents::default());
        shared.insert(stamp, Arc::downgrade(&contents));
        Some(contents)
    }
}

impl Image for LibraryImage {
    fn size(&self) -> Option<u64> {
        match self {
            Self::Shared(contents) => contents.bytes.get().map(|bytes| bytes.len() as u64),
            Self::Streamed(opened) => Some(opened.stamp.size),
            Self::Arriving(spool) => spool.size(),
        }
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Shared(contents) => {
                contents.bytes.get().map_or(Ok(0), |bytes| bytes.read_at(offset, into))
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

fn read_whole(opened: &OpenedFile) -> io::Result<Box<[u8]>> {
    let size = usize::try_from(opened.stamp.size).map_err(io::Error::other)?;
    let mut bytes = vec![0; size];
    opened.file.read_exact_at(&mut bytes, 0)?;
    unchanged(&opened.file, opened.stamp)?;
    Ok(bytes.into_boxed_slice())
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
