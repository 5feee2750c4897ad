//! Finds the file of a request, on threads that may wait for the disk.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use offhook_model::Sha256;
use offhook_net::Waker;
use offhook_tftp::{NameError, Refusal, lookup};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tracing::{error, warn};

use super::Key;
use super::digests::{Digests, Mismatch};
use super::library::{Library, LibraryImage, unchanged};
use super::root::{OpenedFile, Root};
use super::session::printable;
use super::settings::Settings;
use super::throttle::Throttle;
use super::upstream::{Trouble, Upstream};

/// Lines a second about requests that are refused.
const LINES_PER_SECOND: u32 = 20;
/// Files looked up at the same time: a thread each.
const LOOKUPS: usize = 16;

/// A file that was written to less than this ago is waited for.
const QUIET: Duration = Duration::from_millis(100);
/// ... but no longer than that.
const COPIED: Duration = Duration::from_secs(5);

/// Where files come from.
pub(super) struct Finder {
    shared: Arc<Shared>,
    runtime: Handle,
    waker: Waker,
    done: (Sender<Found>, Receiver<Found>),
    /// Searches that have not come to their end.
    searching: Cell<usize>,
}

/// What all searches have in common, whatever they go by.
struct Shared {
    library: Library,
    lookups: Semaphore,
    digests: Digests,
    complaints: Complaints,
}

/// A search, by what was in force when it began.
#[derive(Clone)]
struct Search {
    shared: Arc<Shared>,
    settings: Arc<Settings>,
}

/// What came of a search.
pub(super) struct Found {
    /// Whose it is.
    pub(super) key: Key,
    /// What it went by, and what comes of it is to go by.
    pub(super) settings: Arc<Settings>,
    /// The path below the root and the file, or what the client is told.
    pub(super) result: Result<(Vec<u8>, LibraryImage), Refusal>,
}

/// Log lines about requests that are refused, at a bounded rate.
pub(super) struct Complaints(Throttle);

impl Complaints {
    /// Says that somebody was refused.
    pub(super) fn say(&self, peer: SocketAddr, name: &[u8], reason: &dyn std::fmt::Display) {
        let Some(suppressed) = self.0.permit(Instant::now()) else { return };
        let file = printable(name);
        warn!(client = %peer, file, %reason, suppressed, "TFTP request refused");
    }

    /// Says that somebody asked for what there is not, and what that should have been.
    async fn missing(&self, search: &Search, peer: SocketAddr, name: &[u8], reason: &Missing) {
        let Some(suppressed) = self.0.permit(Instant::now()) else { return };
        let file = printable(name);
        let Some(advice) = search.settings.families.advise(peer.ip(), name).await else {
            warn!(client = %peer, file, %reason, suppressed, "TFTP request refused");
            return;
        };
        let expected = advice.file().unwrap_or_default().to_owned();
        let there = match expected.as_str() {
            "" => false,
            file => {
                let (search, file) = (search.clone(), file.as_bytes().to_owned());
                tokio::task::spawn_blocking(move || {
                    search.root().is_ok_and(|root| search.open(&root, &file).is_ok())
                })
                .await
                .unwrap_or(false)
            }
        };
        let (family, hint) = (advice.family(), advice.hint(name, there));
        warn!(client = %peer, file, %reason, family, expected, hint, suppressed, "TFTP request refused");
    }

    fn damaged(&self, name: &[u8], mismatch: Mismatch) {
        if self.0.permit(Instant::now()).is_some() {
            damaged(&printable(name), mismatch);
        }
    }

    /// Says that the listener's socket has an error.
    pub(super) fn cannot_receive(&self, error: &io::Error) {
        if self.0.permit(Instant::now()).is_some() {
            warn!(%error, "cannot receive TFTP requests");
        }
    }
}

impl Finder {
    /// Looks in tasks of `runtime`, and uses `waker` when it has found something.
    pub(super) fn new(runtime: Handle, waker: Waker) -> Self {
        let shared = Shared {
            library: Library::new(waker.clone()),
            lookups: Semaphore::new(LOOKUPS),
            digests: Digests::default(),
            complaints: Complaints(Throttle::new(LINES_PER_SECOND)),
        };
        let shared = Arc::new(shared);
        Self { shared, runtime, waker, done: channel(), searching: Cell::new(0) }
    }

    fn by(&self, settings: &Arc<Settings>) -> Search {
        Search { shared: Arc::clone(&self.shared), settings: Arc::clone(settings) }
    }

    /// Says of every image that should be another, before the first phone asks for it.
    pub(super) fn check_all(&self, settings: &Arc<Settings>) {
        self.runtime.spawn(self.by(settings).check_all());
    }

    pub(super) fn complaints(&self) -> &Complaints {
        &self.shared.complaints
    }

    /// Begins a search; [`next`](Self::next) has what comes of it.
    pub(super) fn search(&self, key: Key, peer: SocketAddr, name: &[u8], settings: &Arc<Settings>) {
        let (search, waker, done) = (self.by(settings), self.waker.clone(), self.done.0.clone());
        let name: Box<[u8]> = name.into();
        self.searching.set(self.searching.get() + 1);
        self.runtime.spawn(async move {
            let (result, missing) = match search.find(&name).await {
                Ok(found) => (Ok(found), None),
                Err(missing) => (Err(Refusal::from(&missing)), Some(missing)),
            };
            // Fails only when the engine is gone.
            let settings = Arc::clone(&search.settings);
            let _ = done.send(Found { key, settings, result });
            waker.wake();
            let complaints = &search.shared.complaints;
            match missing {
                Some(
                    reason @ (Missing::Name(NameError::NotFound | NameError::Ambiguous)
                    | Missing::Upstream(Trouble::Missing(_))),
                ) => {
                    complaints.missing(&search, peer, &name, &reason).await;
                }
                Some(Missing::Digest(mismatch)) => {
                    complaints.damaged(&name, mismatch);
                }
                Some(reason) => complaints.say(peer, &name, &reason),
                None => {}
            }
        });
    }

    /// A search that has come to its end.
    pub(super) fn next(&self) -> Option<Found> {
        let found = self.done.1.try_recv().ok()?;
        self.searching.set(self.searching.get().saturating_sub(1));
        Some(found)
    }

    /// Whether there are searches that have not come to their end.
    pub(super) fn is_searching(&self) -> bool {
        self.searching.get() > 0
    }
}

/// Nothing is worse for a phone than the wrong firmware.
fn damaged(file: &str, Mismatch { expected, actual }: Mismatch) {
    error!(
        file, %actual, %expected,
        hint = "copy the image into the TFTP root again, or correct its digest",
        "A FIRMWARE IMAGE IS NOT WHAT ITS DIGEST SAYS, and is refused to every phone"
    );
}

impl Search {
    async fn find(&self, name: &[u8]) -> Result<(Vec<u8>, LibraryImage), Missing> {
        let missing = match self.find_in_root(name).await {
            Ok(found) => return Ok(found),
            Err(missing) => missing,
        };
        match &self.settings.upstream {
            Some(upstream) if missing.is_absent() => {
                self.find_upstream(upstream, name, missing).await
            }
            _ => Err(missing),
        }
    }

    async fn find_in_root(&self, name: &[u8]) -> Result<(Vec<u8>, LibraryImage), Missing> {
        let (deadline, mut has_waited) = (Instant::now() + COPIED, false);
        loop {
            let permit = self.shared.lookups.acquire().await;
            let (path, opened, expected) = self.opened(name).await?;
            let young = match unchanged(&opened.file, opened.stamp) {
                // One that is being emptied to be written anew still has its old time.
                Ok(()) if opened.stamp.size == 0 && !has_waited => Some(QUIET),
                Ok(()) => opened.stamp.age().and_then(|age| QUIET.checked_sub(age)),
                Err(_) => Some(QUIET),
            };
            if let Some(rest) = young.filter(|_| Instant::now() < deadline) {
                // It may be in the middle of being copied: what there is of it now would look like all of it.
                drop((permit, opened));
                has_waited = true;
                tokio::time::sleep(rest).await;
                continue;
            }
            self.check(&opened, expected).await?;
            let image = self.shared.library.image(opened).await.map_err(Missing::Unreadable)?;
            return Ok((path, image));
        }
    }

    /// What is not in the root, the provisioning server may have.
    async fn find_upstream(
        &self,
        upstream: &Arc<Upstream>,
        name: &[u8],
        missing: Missing,
    ) -> Result<(Vec<u8>, LibraryImage), Missing> {
        let target = upstream.file(name, &self.settings.families.boot_files());
        let Some(target) = target else { return Err(missing) };
        let (search, key) = (self.clone(), target.key.clone());
        let expected = tokio::task::spawn_blocking(move || match search.root() {
            Ok(root) => search.expected(&root, &key),
            Err(_) => {
                Ok(std::str::from_utf8(&key).ok().and_then(|it| search.settings.images.of(it)))
            }
        });
        let expected = expected.await.map_err(Missing::Task)??;
        let Shared { library, digests, .. } = &*self.shared;
        let image = upstream.image(&target, expected, library, digests).await;
        Ok((target.key, image.map_err(Missing::Upstream)?))
    }

    /// Whether a file is what it should be, as far as anything says so.
    async fn checked(&self, name: &[u8]) -> Result<(), Missing> {
        let (_, opened, expected) = self.opened(name).await?;
        self.check(&opened, expected).await
    }

    /// A file, and what it should be, as far as anything says so.
    async fn opened(&self, name: &[u8]) -> Result<(Vec<u8>, OpenedFile, Option<Sha256>), Missing> {
        let (search, name) = (self.clone(), Box::from(name));
        let find = move || {
            let root = search.root()?;
            let (path, opened) = search.open(&root, &name)?;
            let expected = search.expected(&root, &path)?;
            Ok((path, opened, expected))
        };
        tokio::task::spawn_blocking(find).await.map_err(Missing::Task)?
    }

    async fn check(&self, opened: &OpenedFile, expected: Option<Sha256>) -> Result<(), Missing> {
        let Some(expected) = expected else { return Ok(()) };
        let checked = self.shared.digests.check(opened, expected).await;
        checked.map_err(Missing::Unreadable)?.map_err(Missing::Digest)
    }

    async fn check_all(self) {
        let search = self.clone();
        let names = tokio::task::spawn_blocking(move || {
            let names = |root| search.shared.digests.names(&search.settings.images, &root);
            search.root().map(names).unwrap_or_default()
        });
        for name in names.await.unwrap_or_default() {
            if let Err(Missing::Digest(mismatch)) = self.checked(name.as_bytes()).await {
                damaged(&name, mismatch);
            }
        }
    }

    fn root(&self) -> Result<Root, Missing> {
        let path = &self.settings.root;
        Root::open(path).map_err(|error| Missing::Root(path.display().to_string(), error))
    }

    fn expected(&self, root: &Root, path: &[u8]) -> Result<Option<Sha256>, Missing> {
        let expected = self.shared.digests.expected(&self.settings.images, root, path);
        expected.map_err(Missing::Unreadable)
    }

    fn open(&self, root: &Root, name: &[u8]) -> Result<(Vec<u8>, OpenedFile), Missing> {
        let found = lookup(name, root).or_else(|error| match error {
            NameError::NotFound | NameError::Ambiguous => {
                let spellings = self.settings.families.boot_files().spellings(name);
                spellings.iter().find_map(|name| lookup(name, root).ok()).ok_or(error)
            }
            _ => Err(error),
        });
        let found = found.map_err(Missing::Name)?;
        Ok((found.path, found.file))
    }
}

/// Why there is no file to send, for the log; the client is told less.
#[derive(Debug)]
enum Missing {
    Root(String, io::Error),
    Name(NameError),
    Unreadable(io::Error),
    Digest(Mismatch),
    Upstream(Trouble),
    Task(tokio::task::JoinError),
}

impl Missing {
    /// Whether there is simply no such file in the root.
    fn is_absent(&self) -> bool {
        matches!(self, Self::Root(..) | Self::Name(NameError::NotFound))
    }
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Root(path, error) => write!(f, "the TFTP root {path} cannot be opened: {error}"),
            Self::Name(error) => error.fmt(f),
            Self::Unreadable(error) => error.fmt(f),
            Self::Digest(Mismatch { expected, actual }) => {
                write!(f, "its SHA-256 digest is {actual}, not {expected}")
            }
            Self::Upstream(trouble) => trouble.fmt(f),
            Self::Task(error) => error.fmt(f),
        }
    }
}

impl From<&Missing> for Refusal {
    fn from(missing: &Missing) -> Self {
        match missing {
            Missing::Root(..) => Self::NotFound,
            Missing::Name(error) => (*error).into(),
            Missing::Digest(_) => Self::Damaged,
            Missing::Upstream(trouble) => trouble.into(),
            Missing::Unreadable(_) | Missing::Task(_) => Self::Failed,
        }
    }
}
