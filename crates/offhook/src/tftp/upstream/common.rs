//! What there is once, whichever provisioning server a configuration names.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::cache::Cache;
use super::sink::Memory;
use super::{CACHE, LINES_PER_SECOND};
use crate::dns::Publisher;
use crate::tftp::LateWaker;
use crate::tftp::counters::Counters;
use crate::tftp::throttle::Throttle;

/// Shared by every [`Upstream`](super::Upstream) that there is and was.
#[derive(Debug)]
pub(in crate::tftp) struct Common {
    /// The directory that a cache is in which is not given another.
    state: PathBuf,
    /// Our own zones.
    pub(super) zones: Option<Arc<Publisher>>,
    pub(super) counters: Arc<Counters>,
    /// A file that somebody waits for has grown.
    pub(super) waker: LateWaker,
    pub(super) memory: Memory,
    pub(super) lines: Throttle,
    /// Those in use: two that do not know of one another would remove each other's files.
    caches: Mutex<Vec<(PathBuf, Weak<Cache>)>>,
}

impl Common {
    pub(in crate::tftp) fn new(
        state: &Path,
        zones: Option<Arc<Publisher>>,
        counters: Arc<Counters>,
        waker: LateWaker,
    ) -> Self {
        Self {
            state: state.to_owned(),
            zones,
            counters,
            waker,
            memory: Memory::default(),
            lines: Throttle::new(LINES_PER_SECOND),
            caches: Mutex::default(),
        }
    }

    /// Where what is fetched is kept.
    pub(super) fn directory(&self, settings: &offhook_model::Upstream) -> PathBuf {
        settings.cache.clone().unwrap_or_else(|| self.state.join(CACHE))
    }

    /// The cache in a directory: the one that is in use, or a new one with these limits. Waits for the disk.
    ///
    /// # Errors
    /// The directory cannot be made or read.
    pub(super) fn cache(
        &self,
        directory: &Path,
        limit: u64,
        reserve: u64,
    ) -> io::Result<Arc<Cache>> {
        super::cache::make(directory)?;
        let mut caches = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        caches.retain(|(_, cache)| cache.strong_count() > 0);
        let used = caches.iter().find(|(path, _)| is_same(path, directory));
        let used = used.and_then(|(_, cache)| cache.upgrade());
        if let Some(cache) = used {
            return Ok(cache);
        }
        let cache = Arc::new(Cache::read(directory, limit, reserve)?);
        caches.push((directory.to_owned(), Arc::downgrade(&cache)));
        Ok(cache)
    }
}

/// Whether two paths lead to one directory, however they are spelled.
fn is_same(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| path.metadata().map(|it| (it.dev(), it.ino())).ok();
    one == other || id(one).is_some() && id(one) == id(other)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn there_is_one_cache_in_a_directory_however_it_is_spelled_and_for_as_long_as_it_is_used() {
        let directory = TempDir::new().unwrap();
        let at = |name: &str| directory.path().join(name);
        let common = Common::new(directory.path(), None, Arc::default(), LateWaker::default());
        let cache = |name: &str| common.cache(&at(name), 1000, 0).unwrap();
        let one = cache("one");
        std::os::unix::fs::symlink("one", at("link")).unwrap();
        for name in ["one", "./one", "link"] {
            assert!(Arc::ptr_eq(&one, &cache(name)), "{name}");
        }
        assert!(!Arc::ptr_eq(&one, &cache("two")));
        // Somebody empties it.
        std::fs::remove_dir(at("one")).unwrap();
        assert!(Arc::ptr_eq(&one, &cache("one")));
        // A fetch that was broken off: nobody writes it any more.
        std::fs::write(at("one/.new-1-1"), "a part").unwrap();
        drop(cache("one"));
        assert!(at("one/.new-1-1").exists());
        drop(one);
        drop(cache("one"));
        assert!(!at("one/.new-1-1").exists());
        assert!(common.caches.lock().unwrap().len() <= 1);
    }
}
