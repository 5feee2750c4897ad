//! Files from the provisioning server: what is not in the root is fetched from there once, however many phones ask,
//! sent to them while it arrives, and kept.
//!
//! A request goes one way: which file is meant (`names.rs`), whether it is kept and still good (`cache.rs`), else a
//! fetch is begun or joined (`fetch.rs`): it asks the server (`http.rs`, `resolve.rs`, `attempt.rs`, `tls.rs`) and writes what
//! comes to the disk (`sink.rs`), from where transfers read as far as it has come (`spool.rs`). Another server may take the
//! place of one (`change.rs`); some things are theirs together (`common.rs`).

mod attempt;
mod cache;
mod change;
mod common;
mod fetch;
mod http;
mod names;
mod page;
mod resolve;
mod sink;
mod spool;
mod tls;
mod trouble;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use offhook_model::{Sha256, Upstream as Settings};
use offhook_tftp::BootFiles;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout_at;
use tracing::{debug, warn};

use self::cache::{Cache, Description};
use self::fetch::Progress;
use self::http::Client;
use self::names::Target;
use super::counters::Count;
use super::digests::Digests;
use super::library::{Library, LibraryImage};
use super::root::{OpenedFile, Stamp};

pub(crate) use self::cache::{Description as CachedFile, descriptions as cached_files};
pub(super) use self::common::Common;
pub(super) use self::spool::Spool;
pub(super) use self::trouble::Trouble;

/// What the cache is called in the state directory.
pub(crate) const CACHE: &str = "tftp-cache";
/// Files fetched at the same time, of those that option 67 names, and of all others: strangers who ask for names that a
/// slow server takes its time over are not to keep phones from their images.
const FETCHES: usize = 16;
/// How long phones wait for the server when there is a copy from before: not as long as those who would have nothing.
const PATIENCE_WITH_COPY: Duration = Duration::from_secs(1);
/// For how long a file that the server has not is not asked for again.
const MISSING: Duration = Duration::from_secs(10);
/// ... nor one that it failed to give.
const FAILED: Duration = Duration::from_secs(3);
/// ... nor one that is not what it should be.
const DAMAGED: Duration = Duration::from_secs(30);
/// Files of which anything is remembered.
const MOST_FILES: usize = 4096;
/// Lines a second about what was fetched and what was not.
const LINES_PER_SECOND: u32 = 10;

/// The provisioning server, by one configuration, and what is kept of it.
#[derive(Debug)]
pub(crate) struct Upstream {
    settings: Settings,
    /// Its URL, which is what tells it from another.
    base: String,
    client: Client,
    directory: PathBuf,
    /// Or why it cannot be written.
    cache: Result<Arc<Cache>, String>,
    source: Arc<Source>,
    common: Arc<Common>,
}

/// What is known of a server, for as long as configurations name it.
#[derive(Debug)]
struct Source {
    files: Mutex<HashMap<Vec<u8>, File>>,
    boot_files: Semaphore,
    others: Semaphore,
    /// No configuration names it any more.
    is_retired: AtomicBool,
}

impl Default for Source {
    fn default() -> Self {
        Self {
            files: Mutex::default(),
            boot_files: Semaphore::new(FETCHES),
            others: Semaphore::new(FETCHES),
            is_retired: AtomicBool::new(false),
        }
    }
}

/// What is known of a file, beside what the cache knows.
#[derive(Debug, Default)]
struct File {
    fetch: Option<Fetch>,
    /// When the server last said that what is kept is what it has.
    checked: Option<Instant>,
    /// Why there was none, and when.
    failed: Option<(Instant, Trouble)>,
    /// What could not be kept, while somebody is sent it.
    passing: Option<(Weak<Spool>, Option<Sha256>)>,
}

/// A fetch under way.
#[derive(Debug)]
struct Fetch {
    began: Instant,
    progress: watch::Receiver<Progress>,
    /// What the file is to be.
    expected: Option<Sha256>,
}

/// What a request has to wait for.
enum Joined {
    /// This fetch, which has begun then.
    Fetch(watch::Receiver<Progress>, Instant),
    Passing(Arc<Spool>),
    Refused(Trouble),
    /// A fetch has ended since the cache was looked at.
    Again,
}

/// A file from the cache, open and looked at.
struct Copy {
    description: Arc<Description>,
    opened: OpenedFile,
}

impl Upstream {
    /// The file that a client's name means; none when nothing of that kind is fetched.
    pub(super) fn file(&self, name: &[u8], files: &BootFiles) -> Option<Target> {
        names::target(name, files, &self.settings)
    }

    /// A file, from the cache or as it arrives. `expected` is what it is to be, as far as anything says so.
    ///
    /// # Errors
    /// [`Trouble`] says why there is none.
    pub(super) async fn image(
        self: &Arc<Self>,
        target: &Target,
        expected: Option<Sha256>,
        library: &Library,
        digests: &Digests,
    ) -> Result<LibraryImage, Trouble> {
        let (copy, joined) = loop {
            let looked = Instant::now();
            let copy = self.copy(&target.key, expected, digests).await;
            // What is just what it should be need not be asked for.
            if copy.is_some() && (expected.is_some() || self.is_fresh(&target.key)) {
                break (copy, None);
            }
            let known = copy.as_ref().map(|copy| Arc::clone(&copy.description));
            match self.join(target, expected, known, looked) {
                Joined::Again => {}
                joined => break (copy, Some(joined)),
            }
        };
        let trouble = match joined {
            None | Some(Joined::Again) => None,
            Some(Joined::Passing(spool)) => return Ok(LibraryImage::Arriving(spool)),
            Some(Joined::Refused(trouble)) => Some(trouble),
            Some(Joined::Fetch(progress, began)) => {
                match settled(progress, began, copy.is_some()).await {
                    Some(Progress::Arriving(spool)) if !spool.is_broken() => {
                        return Ok(LibraryImage::Arriving(spool));
                    }
                    Some(Progress::Failed(trouble)) => Some(trouble),
                    Some(_) | None => None,
                }
            }
        };
        match (copy, trouble) {
            (copy, Some(trouble)) if copy.is_none() || !trouble.passes() => Err(trouble),
            (Some(copy), trouble) => {
                if let Some(reason) = trouble
                    && let Some(suppressed) = self.common.lines.permit(Instant::now())
                {
                    let file = &copy.description.name;
                    warn!(file, %reason, suppressed, "served from the cache: the provisioning server gives nothing");
                }
                self.common.counters.count(Count::FromCache);
                let image = library.image(copy.opened).await;
                image.map_err(|error| Trouble::Failed(format!("the cache cannot be read: {error}")))
            }
            (None, _) => Err(Trouble::Failed("the fetch of it ended without a word".to_owned())),
        }
    }

    /// What is kept of a file, if it is what it was, and what it is to be: as its digest says, or else as this server
    /// has it, and no other.
    async fn copy(
        self: &Arc<Self>,
        key: &[u8],
        expected: Option<Sha256>,
        digests: &Digests,
    ) -> Option<Copy> {
        let cache = Arc::clone(self.cache.as_ref().ok()?);
        let (key, base) = (key.to_owned(), self.base.clone());
        let open = move || {
            let description = cache.find(&key)?;
            let digest = description.digest()?;
            let is_it = match expected {
                Some(expected) => expected == digest,
                None => description.is_of(&base),
            };
            if !is_it {
                return None;
            }
            let file = cache.open_content(&description).ok()?;
            let stamp = Stamp::of(&file.metadata().ok()?);
            Some((Copy { description, opened: OpenedFile { file, stamp } }, digest))
        };
        let (copy, digest) = tokio::task::spawn_blocking(open).await.ok()??;
        match digests.check(&copy.opened, digest).await {
            Ok(Ok(())) => Some(copy),
            Ok(Err(mismatch)) => {
                let (cache, reason) = (self.cache.as_ref().ok()?, Trouble::Damaged(mismatch));
                cache.forget(&copy.description, &reason);
                None
            }
            Err(error) => {
                debug!(%error, "cannot read the cache");
                None
            }
        }
    }

    fn is_fresh(&self, key: &[u8]) -> bool {
        let files = self.files();
        let checked = files.get(key).and_then(|file| file.checked);
        checked.is_some_and(|checked| checked.elapsed() < self.settings.refresh)
    }

    fn files(&self) -> MutexGuard<'_, HashMap<Vec<u8>, File>> {
        self.source.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the fetch of a file that is under way, or begins one, unless there was no use in that a moment ago.
    /// `looked` is when it was not in the cache, or not known to be good.
    fn join(
        self: &Arc<Self>,
        target: &Target,
        expected: Option<Sha256>,
        known: Option<Arc<Description>>,
        looked: Instant,
    ) -> Joined {
        let now = Instant::now();
        let mut files = self.files();
        if files.len() >= MOST_FILES {
            files.retain(|_, file| file.is_worth_knowing(now));
            if files.len() >= MOST_FILES {
                files.retain(|_, file| file.fetch.is_some());
            }
        }
        let file = files.entry(target.key.clone()).or_default();
        // When it is to be another one meanwhile, that goes to those who asked before.
        if let Some(fetch) = &file.fetch
            && fetch.progress.has_changed().is_ok()
            && fetch.expected == expected
        {
            return Joined::Fetch(fetch.progress.clone(), fetch.began);
        }
        if let Some((spool, was_expected)) = &file.passing
            && let Some(spool) = spool.upgrade()
            && *was_expected == expected
            && file.checked.is_some_and(|at| at.elapsed() < self.settings.refresh)
        {
            return Joined::Passing(spool);
        }
        if file.checked.is_some_and(|checked| checked > looked) {
            return Joined::Again;
        }
        if let Some(trouble) = file.trouble(now, expected) {
            return Joined::Refused(trouble.clone());
        }
        let (tell, progress) = watch::channel(Progress::Asking);
        file.fetch = Some(Fetch { began: now, progress: progress.clone(), expected });
        drop(files);
        let fetch = Arc::clone(self).fetch(target.clone(), expected, known, tell);
        tokio::spawn(fetch);
        Joined::Fetch(progress, now)
    }
}

impl Fetch {
    fn is_told_by(&self, tell: &watch::Sender<Progress>) -> bool {
        self.progress.same_channel(&tell.subscribe())
    }
}

impl File {
    /// Why it need not be asked for, at this moment.
    fn trouble(&self, now: Instant, expected: Option<Sha256>) -> Option<&Trouble> {
        let (at, trouble) = self.failed.as_ref()?;
        let hold = match trouble {
            Trouble::Missing(_) | Trouble::Forbidden(_) | Trouble::TooLarge(_) => MISSING,
            Trouble::Damaged(mismatch) if expected == Some(mismatch.expected) => DAMAGED,
            // It is to be another one now.
            Trouble::Damaged(_) => return None,
            Trouble::Page(_) | Trouble::Failed(_) => FAILED,
        };
        (now.saturating_duration_since(*at) < hold).then_some(trouble)
    }

    fn is_worth_knowing(&self, now: Instant) -> bool {
        let recently = self
            .failed
            .as_ref()
            .is_some_and(|(at, _)| now.saturating_duration_since(*at) < DAMAGED);
        self.fetch.is_some() || self.checked.is_some() || recently
    }
}

/// What a fetch has come to, as far as it matters to a request; none when that takes too long, or nobody will say.
async fn settled(
    mut progress: watch::Receiver<Progress>,
    began: Instant,
    has_copy: bool,
) -> Option<Progress> {
    let settled = async {
        let settled = progress.wait_for(|progress| !matches!(progress, Progress::Asking)).await;
        settled.ok().map(|progress| progress.clone())
    };
    match has_copy {
        true => timeout_at((began + PATIENCE_WITH_COPY).into(), settled).await.ok()?,
        false => settled.await,
    }
}
