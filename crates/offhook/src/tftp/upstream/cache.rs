//! What was fetched, on disk.
//!
//! A file has two names here: its content under one with its digest in it, and a description that says which content it
//! is. Either is written elsewhere, synced and moved into place, the description last; what no description names is
//! removed when the program starts. The digest is looked at before a file is sent: whatever became of the disk, half a
//! file is never served.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::statvfs::fstatvfs;
use offhook_model::Sha256;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use tracing::{debug, info, warn};

use super::names::file_name;

/// What files being written are called at first.
const TEMPORARY: &str = ".new-";
/// What descriptions end with.
const DESCRIPTION: &str = ".fetched.json";
/// What contents end with.
const CONTENT: &str = ".fetched";
/// The longest part of a file's own name in those of the cache; what is cut is told apart by a digest.
const LONGEST: usize = 120;
/// A larger description is none.
const LARGEST_DESCRIPTION: u64 = 64 << 10;
/// Files kept, however small they are.
const MOST_FILES: usize = 4096;
/// How often it is noted that a file is in use.
const NOTED: Duration = Duration::from_secs(60);

/// The directory, and what is in it.
#[derive(Debug)]
pub(super) struct Cache {
    directory: PathBuf,
    /// The most it holds, and what it leaves free on its disk, octets.
    limit: AtomicU64,
    reserve: AtomicU64,
    inner: Mutex<Inner>,
    count: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    files: HashMap<String, Kept>,
    /// Octets that fetches under way may still write.
    promised: u64,
}

#[derive(Clone, Debug)]
struct Kept {
    description: Arc<Description>,
    used: SystemTime,
    /// ... as it is noted on disk.
    noted: SystemTime,
}

/// What is known of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Description {
    /// Its path, as it stands in names of files.
    pub(crate) name: String,
    /// The path below the upstream URL that it was found at.
    pub(crate) path: String,
    /// Where it came from, redirects included.
    pub(crate) url: String,
    /// The provisioning server that was asked for it.
    #[serde(default)]
    upstream: Option<String>,
    /// The file that holds it.
    content: String,
    /// Octets.
    pub(crate) size: u64,
    /// Its SHA-256 digest.
    pub(crate) sha256: String,
    /// What the server said of this version (RFC 9110, sections 8.8.2 and 8.8.3).
    pub(crate) etag: Option<String>,
    pub(crate) last_modified: Option<String>,
    /// Seconds since 1970.
    pub(crate) fetched: u64,
}

/// What a file that was fetched is to be described with.
#[derive(Clone, Debug, Default)]
pub(super) struct Origin {
    /// The provisioning server's URL.
    pub(super) upstream: String,
    pub(super) path: String,
    pub(super) url: String,
    /// The server's, for the log.
    pub(super) address: String,
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
}

/// A file being written. Removed with the value unless it was kept.
#[derive(Debug)]
pub(super) struct Temporary {
    path: PathBuf,
    pub(super) file: File,
    kept: bool,
}

/// Room that a fetch may use. Given back with the value.
#[derive(Debug)]
pub(super) struct Room {
    cache: Arc<Cache>,
    octets: u64,
}

impl Description {
    /// Where its content is, in the directory of the cache.
    pub(crate) fn content(&self, directory: &Path) -> PathBuf {
        directory.join(&self.content)
    }

    /// Whether it is the file of the provisioning server with this URL.
    pub(crate) fn is_of(&self, upstream: &str) -> bool {
        match &self.upstream {
            Some(own) => own == upstream,
            // From before that was noted.
            None => self.url.strip_prefix(upstream).is_some_and(|rest| rest.starts_with('/')),
        }
    }

    pub(super) fn digest(&self) -> Option<Sha256> {
        self.sha256.parse().ok()
    }
}

impl Cache {
    /// Makes the directory if there is none, reads what it holds, and removes what no description names.
    ///
    /// # Errors
    /// It cannot be made or read.
    pub(super) fn read(directory: &Path, limit: u64, reserve: u64) -> io::Result<Self> {
        make(directory)?;
        let mut inner = Inner::default();
        for (description, used) in descriptions(directory)? {
            let kept = Kept { description: Arc::new(description), used, noted: used };
            inner.files.insert(kept.description.name.clone(), kept);
        }
        for entry in fs::read_dir(directory)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_named = inner.files.values().any(|kept| {
                kept.description.content == name || description_name(&kept.description.name) == name
            });
            let is_ours = [TEMPORARY].iter().any(|start| name.starts_with(start))
                || [CONTENT, DESCRIPTION].iter().any(|end| name.ends_with(end));
            if is_ours && !is_named {
                info!(file = name, "removing what is left of a fetch that was broken off");
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Self {
            directory: directory.to_owned(),
            limit: AtomicU64::new(limit),
            reserve: AtomicU64::new(reserve),
            inner: Mutex::new(inner),
            count: AtomicU64::new(0),
        })
    }

    /// Holds no more from now on, and forgets what is beyond. Waits for the disk.
    pub(super) fn set_limits(&self, limit: u64, reserve: u64) {
        self.limit.store(limit, Ordering::Relaxed);
        self.reserve.store(reserve, Ordering::Relaxed);
        let mut inner = self.lock();
        while inner.held("") > limit && inner.forget_oldest(self, "") {}
    }

    fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept of a file, if anything is.
    pub(super) fn find(&self, key: &[u8]) -> Option<Arc<Description>> {
        let inner = self.lock();
        inner.files.get(&file_name(key)).map(|kept| Arc::clone(&kept.description))
    }

    /// Opens what is kept. Waits for the disk.
    ///
    /// # Errors
    /// It is gone, or has another size: it is forgotten then.
    pub(super) fn open_content(&self, description: &Description) -> io::Result<File> {
        let opened = File::open(self.directory.join(&description.content));
        let opened = opened.and_then(|file| match file.metadata()?.len() == description.size {
            true => Ok(file),
            false => Err(io::Error::other("it has another size than it had")),
        });
        match opened {
            Ok(file) => {
                self.used(description);
                Ok(file)
            }
            Err(error) => {
                self.forget(description, &error);
                Err(error)
            }
        }
    }

    /// A file that is not what it was is not kept.
    pub(super) fn forget(&self, description: &Description, reason: &dyn std::fmt::Display) {
        let mut inner = self.lock();
        if inner.files.get(&description.name).is_some_and(|kept| *kept.description == *description)
        {
            warn!(file = description.name, %reason, "a file in the cache is not what it was, and is forgotten");
            inner.remove(self, &description.name);
        }
    }

    /// What is used is kept for longest; so it is known after a restart as well.
    fn used(&self, description: &Description) {
        let now = SystemTime::now();
        let mut inner = self.lock();
        let Some(kept) = inner.files.get_mut(&description.name) else { return };
        kept.used = now;
        if now.duration_since(kept.noted).is_ok_and(|since| since < NOTED) {
            return;
        }
        kept.noted = now;
        drop(inner);
        let path = self.directory.join(description_name(&description.name));
        let noted = OpenOptions::new().write(true).open(path).and_then(|it| it.set_modified(now));
        if let Err(error) = noted {
            debug!(%error, "cannot note that a cached file is in use");
        }
    }

    /// Room for so many octets of a file, made by forgetting what was not used for longest, but for that very file:
    /// until it is whole the version before is all there is.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn room(self: &Arc<Self>, octets: u64, key: &[u8]) -> Result<Room, String> {
        let mut room = Room { cache: Arc::clone(self), octets: 0 };
        room.grow(octets, key)?;
        Ok(room)
    }

    /// A new file to write to. Waits for the disk.
    ///
    /// # Errors
    /// The directory is not writable.
    pub(super) fn create(&self) -> io::Result<Temporary> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let path = self.directory.join(format!("{TEMPORARY}{}-{number}", std::process::id()));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Temporary { path, file, kept: false })
    }

    /// Keeps a file that is whole. Waits until it is on the disk.
    ///
    /// # Errors
    /// As the disk says; what was kept before is then still there.
    pub(super) fn keep(
        &self,
        key: &[u8],
        mut content: Temporary,
        origin: &Origin,
        (size, sha256): (u64, Sha256),
        room: Room,
    ) -> io::Result<()> {
        if size > self.limit() {
            return Err(io::Error::other("it does not fit into the cache any more"));
        }
        let name = file_name(key);
        let hex = sha256.to_string();
        let short = hex.get(..16).unwrap_or_default();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let description = Description {
            content: format!("{}.{short}{CONTENT}", stem(&name)),
            name: name.clone(),
            path: origin.path.clone(),
            url: origin.url.clone(),
            upstream: Some(origin.upstream.clone()),
            size,
            sha256: hex,
            etag: origin.etag.clone(),
            last_modified: origin.last_modified.clone(),
            fetched: since.as_secs(),
        };
        content.file.sync_all()?;
        let mut text = self.create()?;
        serde_json::to_writer_pretty(&mut text.file, &description)?;
        text.file.flush()?;
        text.file.sync_all()?;
        drop(room);
        let mut inner = self.lock();
        content.rename(&self.directory.join(&description.content))?;
        text.rename(&self.directory.join(description_name(&name)))?;
        sync_directory(&self.directory)?;
        let now = SystemTime::now();
        let kept = Kept { description: Arc::new(description), used: now, noted: now };
        let before = inner.files.insert(name.clone(), kept.clone());
        if let Some(before) = before.filter(|it| it.description.content != kept.description.content)
        {
            let _ = fs::remove_file(self.directory.join(&before.description.content));
        }
        inner.evict(self, 0, &name);
        Ok(())
    }

    /// What the disk has left for us.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub(super) fn free(&self) -> io::Result<u64> {
        let directory = File::open(&self.directory).or_else(|error| match error.kind() {
            // Somebody has emptied the cache by removing it.
            io::ErrorKind::NotFound => {
                make(&self.directory).and_then(|()| File::open(&self.directory))
            }
            _ => Err(error),
        });
        let disk = fstatvfs(directory?)?;
        let free = disk.blocks_available().saturating_mul(disk.fragment_size());
        Ok(free.saturating_sub(self.reserve.load(Ordering::Relaxed)))
    }
}

impl Inner {
    fn held(&self, but: &str) -> u64 {
        let others = self.files.iter().filter(|(name, _)| *name != but);
        others.map(|(_, kept)| kept.description.size).sum()
    }

    /// Forgets what was not used for longest until there is room for `more`. False when there is none even so.
    fn evict(&mut self, cache: &Cache, more: u64, but: &str) -> bool {
        // What never fits is no reason to forget anything.
        if self.promised.saturating_add(more) > cache.limit() {
            return false;
        }
        loop {
            let own = if more == 0 { "" } else { but };
            let fits = self.held(own).saturating_add(self.promised).saturating_add(more);
            if fits <= cache.limit() && self.files.len() < MOST_FILES {
                return true;
            }
            if !self.forget_oldest(cache, but) {
                return false;
            }
        }
    }

    /// Forgets what was not used for longest. False when there is nothing.
    fn forget_oldest(&mut self, cache: &Cache, but: &str) -> bool {
        let others = self.files.iter().filter(|(name, _)| *name != but);
        let Some((name, _)) = others.min_by_key(|(_, kept)| kept.used) else { return false };
        let name = name.clone();
        info!(file = name, "removed from the cache, to make room for others");
        self.remove(cache, &name);
        true
    }

    fn remove(&mut self, cache: &Cache, name: &str) {
        let Some(kept) = self.files.remove(name) else { return };
        // The description first: a content without one is nothing.
        for file in [description_name(name), kept.description.content.clone()] {
            if let Err(error) = fs::remove_file(cache.directory.join(&file)) {
                debug!(file, %error, "cannot remove from the cache");
            }
        }
    }
}

impl Room {
    /// Makes it larger.
    ///
    /// # Errors
    /// Why it cannot be.
    pub(super) fn grow(&mut self, more: u64, key: &[u8]) -> Result<(), String> {
        let cache = Arc::clone(&self.cache);
        let free = cache.free().map_err(|error| format!("cannot look at the disk: {error}"))?;
        let mut inner = cache.lock();
        if inner.promised.saturating_add(more) > free {
            return Err(format!("the disk has less than {more} bytes to spare"));
        }
        if !inner.evict(&cache, more.max(1), &file_name(key)) {
            return Err(format!("it does not fit into a cache of {} bytes", cache.limit()));
        }
        inner.promised = inner.promised.saturating_add(more);
        self.octets += more;
        Ok(())
    }

    pub(super) fn octets(&self) -> u64 {
        self.octets
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut inner = self.cache.lock();
        inner.promised = inner.promised.saturating_sub(self.octets);
    }
}

impl Temporary {
    fn rename(&mut self, to: &Path) -> io::Result<()> {
        fs::rename(&self.path, to)?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What a cache holds, each with when it was last used. Waits for the disk.
///
/// # Errors
/// There is no such directory, or it cannot be read.
pub(crate) fn descriptions(directory: &Path) -> io::Result<Vec<(Description, SystemTime)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with(DESCRIPTION) || name.starts_with('.') || all.len() >= MOST_FILES {
            continue;
        }
        let Ok(metadata) = entry.metadata() else { continue };
        if !metadata.is_file() || metadata.len() > LARGEST_DESCRIPTION {
            continue;
        }
        let Ok(text) = fs::read(entry.path()) else { continue };
        let Ok(description) = serde_json::from_slice::<Description>(&text) else { continue };
        let content = &description.content;
        let size = fs::symlink_metadata(directory.join(content));
        // A description leads nowhere but to a file beside it.
        let plain =
            !content.contains('/') && content.ends_with(CONTENT) && !content.starts_with('.');
        let whole = size.is_ok_and(|it| it.is_file() && it.len() == description.size);
        if plain && whole && description_name(&description.name) == name {
            let used = metadata.modified().unwrap_or(UNIX_EPOCH);
            all.push((description, used));
        }
    }
    all.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
    Ok(all)
}

/// The file that describes another.
fn description_name(name: &str) -> String {
    format!("{}{DESCRIPTION}", stem(name))
}

/// A name that is not too long for a file.
fn stem(name: &str) -> String {
    if name.len() <= LONGEST {
        return name.to_owned();
    }
    // Names are ASCII; what is cut in the middle of an encoded byte is still a name.
    let digest = Sha256(sha2::Sha256::digest(name.as_bytes()).into()).to_string();
    format!("{}-{}", name.get(..LONGEST).unwrap_or_default(), digest.get(..32).unwrap_or_default())
}

/// Nobody else is to put images there.
pub(super) fn make(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
