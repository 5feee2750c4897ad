//! Whether images are what they should be: SHA-256 digests, computed once for every version of a file.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use offhook_model::{ImageDigests, Sha256};
use offhook_tftp::{OpenError, Tree};
use sha2::Digest as _;
use tokio::sync::OnceCell;

use super::library::unchanged;
use super::root::{OpenedFile, Root, Stamp};

/// The file in the root that lists digests.
pub(crate) const SUMS: &str = "SHA256SUMS";
/// A list larger than this is none.
const LARGEST_SUMS: u64 = 4 << 20;
/// Versions of files whose digests are kept.
const MOST_KNOWN: usize = 1024;
/// Octets read at a time.
const CHUNK: usize = 256 << 10;

/// What images are to be, and what they are, whatever the configuration says of them.
#[derive(Debug, Default)]
pub(super) struct Digests {
    /// Those of the list in the root, as it was.
    sums: Mutex<Option<(Stamp, Arc<ImageDigests>)>>,
    /// The root as it was when it had no such list.
    without_sums: Mutex<Option<Stamp>>,
    known: Mutex<HashMap<Stamp, Arc<OnceCell<Sha256>>>>,
}

/// A file has another digest than it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    pub(super) expected: Sha256,
    pub(super) actual: Sha256,
}

impl Digests {
    /// What the file at this path is to be, as far as anything says so: the configuration, or the list in the root.
    /// Waits for the disk.
    ///
    /// # Errors
    /// There is a list, and it cannot be read: what it says is not known, and so not that all is well.
    pub(super) fn expected(
        &self,
        stated: &ImageDigests,
        root: &Root,
        path: &[u8],
    ) -> io::Result<Option<Sha256>> {
        let Ok(path) = std::str::from_utf8(path) else { return Ok(None) };
        if let Some(digest) = stated.of(path) {
            return Ok(Some(digest));
        }
        Ok(self.sums(root)?.and_then(|sums| sums.of(path)))
    }

    /// The names of all images of which something is said.
    pub(super) fn names(&self, stated: &ImageDigests, root: &Root) -> Vec<String> {
        let sums = self.sums(root).ok().flatten().unwrap_or_default();
        stated.0.iter().chain(&sums.0).map(|(name, _)| name.clone()).collect()
    }

    fn sums(&self, root: &Root) -> io::Result<Option<Arc<ImageDigests>>> {
        let directory = root.stamp()?;
        if *self.without_sums.lock().unwrap_or_else(PoisonError::into_inner) == Some(directory) {
            return Ok(None);
        }
        let opened = match root.open(SUMS.as_bytes()) {
            Ok(opened) => opened,
            Err(OpenError::NotFound) => {
                let known = directory.is_settled().then_some(directory);
                *self.without_sums.lock().unwrap_or_else(PoisonError::into_inner) = known;
                return Ok(None);
            }
            Err(OpenError::Outside | OpenError::Unreadable) => {
                return Err(io::Error::other(format!("{SUMS} cannot be read")));
            }
        };
        let mut kept = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((stamp, sums)) = &*kept
            && *stamp == opened.stamp
        {
            return Ok(Some(Arc::clone(sums)));
        }
        let size = usize::try_from(opened.stamp.size.min(LARGEST_SUMS)).unwrap_or_default();
        let mut text = vec![0; size];
        opened.file.read_exact_at(&mut text, 0)?;
        let (sums, _) = ImageDigests::from_sums(&text);
        let sums = Arc::new(sums);
        *kept = Some((opened.stamp, Arc::clone(&sums)));
        Ok(Some(sums))
    }

    /// Whether a file is what it should be. However many ask, each version of a file is read once.
    ///
    /// # Errors
    /// It could not be read, or was written to meanwhile.
    pub(super) async fn check(
        &self,
        opened: &OpenedFile,
        expected: Sha256,
    ) -> io::Result<Result<(), Mismatch>> {
        let known = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= MOST_KNOWN && !known.contains_key(&opened.stamp) {
                known.clear();
            }
            Arc::clone(known.entry(opened.stamp).or_default())
        };
        let actual = known
            .get_or_try_init(|| async {
                let file = OpenedFile { file: opened.file.try_clone()?, stamp: opened.stamp };
                tokio::task::spawn_blocking(move || digest(&file)).await?
            })
            .await?;
        let actual = *actual;
        Ok(if actual == expected { Ok(()) } else { Err(Mismatch { expected, actual }) })
    }
}

fn digest(opened: &OpenedFile) -> io::Result<Sha256> {
    let mut hash = sha2::Sha256::new();
    let (mut buffer, mut at) = (vec![0; CHUNK], 0);
    while at < opened.stamp.size {
        let count = opened.file.read_at(&mut buffer, at)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hash.update(buffer.get(..count).unwrap_or_default());
        at += count as u64;
    }
    unchanged(&opened.file, opened.stamp)?;
    Ok(Sha256(hash.finalize().into()))
}
