//! One fetch: the server is asked, and what it gives goes to whoever waits for it, and into the cache.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use offhook_model::Sha256;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::cache::{Description, Origin};
use super::http::{Answer, Body};
use super::names::{Target, file_name, url_path};
use super::page;
use super::sink::{Disk, Sink};
use super::spool::Spool;
use super::trouble::Trouble;
use super::{Count, Upstream};
use crate::tftp::digests::Mismatch;

/// Octets written at a time, at most.
const CHUNK: usize = 256 << 10;
/// A file that has not come by then will not come.
const LONGEST: Duration = Duration::from_secs(3600);

/// How far a fetch has come.
#[derive(Clone, Debug)]
pub(super) enum Progress {
    /// The server was not heard yet.
    Asking,
    /// It gives the file.
    Arriving(Arc<Spool>),
    /// What is kept is what it has.
    Unchanged,
    /// There is nothing.
    Failed(Trouble),
}

/// What came of a fetch.
enum Fetched {
    Unchanged,
    Whole(Box<Whole>),
}

/// A file that has come whole, and is what it should be.
struct Whole {
    spool: Arc<Spool>,
    origin: Origin,
    size: u64,
    sha256: Sha256,
    disk: Option<Disk>,
}

impl Upstream {
    /// Fetches a file and tells how it goes.
    pub(super) async fn fetch(
        self: Arc<Self>,
        target: Target,
        expected: Option<Sha256>,
        known: Option<Arc<Description>>,
        tell: watch::Sender<Progress>,
    ) {
        let began = Instant::now();
        let fetched = timeout(LONGEST, self.attempt(&target, expected, known, &tell)).await;
        let fetched = fetched.unwrap_or_else(|_| {
            let trouble = Trouble::Failed(format!("it has not come in {LONGEST:?}"));
            self.broken(&tell, &trouble);
            Err(trouble)
        });
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let file = file_name(&target.key);
        match fetched {
            Ok(Fetched::Unchanged) => {
                self.common.counters.count(Count::Unchanged);
                self.settle(&target, &tell, |file| {
                    file.checked = Some(Instant::now());
                    file.failed = None;
                });
                if let Some(suppressed) = self.common.lines.permit(Instant::now()) {
                    info!(
                        file,
                        ms,
                        suppressed,
                        "the provisioning server has the image that is in the cache"
                    );
                }
                tell.send_replace(Progress::Unchanged);
            }
            Ok(Fetched::Whole(whole)) => {
                let Whole { spool, origin, size, sha256, disk } = *whole;
                self.common.counters.count(Count::Fetched);
                self.common.counters.add(Count::FetchedOctets, size);
                let (url, address) = (origin.url.clone(), origin.address.clone());
                let disk = disk.filter(|_| self.is_current(&target, &tell));
                let kept = self.keep(&target, disk, origin, (size, sha256)).await;
                let passing = (!kept).then(|| (Arc::downgrade(&spool), expected));
                self.settle(&target, &tell, |file| {
                    file.checked = Some(Instant::now());
                    file.failed = None;
                    file.passing = passing;
                });
                if let Some(suppressed) = self.common.lines.permit(Instant::now()) {
                    info!(file, url, address, bytes = size, ms, %sha256, kept, suppressed, "fetched from the provisioning server");
                }
            }
            Err(trouble) => {
                self.common.counters.count(Count::FetchFailed);
                self.settle(&target, &tell, |file| {
                    file.failed = Some((Instant::now(), trouble.clone()))
                });
                self.complain(&file, ms, &trouble);
                if matches!(*tell.borrow(), Progress::Asking) {
                    tell.send_replace(Progress::Failed(trouble));
                }
            }
        }
    }

    /// Notes what came of a fetch, unless another one has taken its place.
    fn settle(
        &self,
        target: &Target,
        tell: &watch::Sender<Progress>,
        change: impl FnOnce(&mut super::File),
    ) {
        let mut files = self.files();
        if let Some(file) = files.get_mut(&target.key)
            && file.fetch.take_if(|fetch| fetch.is_told_by(tell)).is_some()
        {
            change(file);
        }
    }

    /// Whether those who ask now are to have what a fetch brings.
    fn is_current(&self, target: &Target, tell: &watch::Sender<Progress>) -> bool {
        let files = self.files();
        let fetch = files.get(&target.key).and_then(|file| file.fetch.as_ref());
        fetch.is_some_and(|fetch| fetch.is_told_by(tell))
            && !self.source.is_retired.load(Ordering::Relaxed)
    }

    fn complain(&self, file: &str, ms: u64, trouble: &Trouble) {
        let Some(suppressed) = self.common.lines.permit(Instant::now()) else { return };
        match trouble {
            Trouble::Damaged(Mismatch { expected, actual }) => error!(
                file, %actual, %expected, suppressed,
                hint = "have the right image put on the provisioning server, or correct its digest",
                "A FIRMWARE IMAGE FROM THE PROVISIONING SERVER IS NOT WHAT ITS DIGEST SAYS, and is refused to every phone"
            ),
            Trouble::Page(url) => error!(
                file,
                url,
                suppressed,
                hint = "open the URL on this machine: does it ask for a password, or is the image not there?",
                "THE PROVISIONING SERVER GIVES A WEB PAGE FOR A FIRMWARE IMAGE, and it is refused to every phone"
            ),
            reason => {
                warn!(file, ms, %reason, suppressed, "cannot be fetched from the provisioning server")
            }
        }
    }

    async fn attempt(
        &self,
        target: &Target,
        expected: Option<Sha256>,
        known: Option<Arc<Description>>,
        tell: &watch::Sender<Progress>,
    ) -> Result<Fetched, Trouble> {
        let fetches = match target.is_boot_file {
            true => &self.source.boot_files,
            false => &self.source.others,
        };
        let slot = timeout(self.settings.timeout, fetches.acquire()).await;
        let _slot =
            slot.map_err(|_| Trouble::Failed("too many other files are being fetched".to_owned()))?;
        let mut paths: Vec<String> = Vec::new();
        let found = known.iter().map(|known| known.path.clone());
        for path in found.chain(target.spellings.iter().map(|path| url_path(path))) {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        let mut missing = None;
        for path in paths {
            let known = known.as_deref().filter(|known| known.path == path);
            match self.client.ask(&path, known).await {
                Ok(Answer::Unchanged) => return Ok(Fetched::Unchanged),
                Ok(Answer::File(body)) => {
                    return self.receive(target, expected, path, body, tell).await;
                }
                Err(trouble @ Trouble::Missing(_)) => {
                    missing.get_or_insert(trouble);
                }
                Err(trouble) => return Err(trouble),
            }
        }
        Err(missing.unwrap_or_else(|| Trouble::Missing("it has no name".to_owned())))
    }

    async fn receive(
        &self,
        target: &Target,
        expected: Option<Sha256>,
        path: String,
        mut body: Body,
        tell: &watch::Sender<Progress>,
    ) -> Result<Fetched, Trouble> {
        let most = self.settings.file_size;
        match body.length {
            Some(0) => return Err(Trouble::Failed(format!("{} is empty", body.url))),
            Some(length) if length > most => return Err(Trouble::TooLarge(most)),
            // Half of it would look like all of it, unless its digest says otherwise.
            None if !body.has_end && expected.is_none() => {
                let reason = format!("{} does not say how long the file is", body.url);
                return Err(Trouble::Failed(reason));
            }
            _ => {}
        }
        // With a digest nobody has to guess.
        if expected.is_none() && !page::may_be_page(&target.key) && body.is_page().await? {
            return Err(Trouble::Page(body.url));
        }
        let (cache, memory) = (self.cache.clone().ok(), self.common.memory.clone());
        let (key, length) = (target.key.clone(), body.length);
        let sink = blocking(move || {
            Sink::open(cache.as_ref(), &memory, &key, (length, most), expected.is_some())
        });
        let sink = sink.await??;
        let spool = Arc::clone(sink.spool());
        tell.send_replace(Progress::Arriving(Arc::clone(&spool)));
        let origin = Origin {
            upstream: self.base.clone(),
            path,
            url: body.url.clone(),
            address: body.address.to_string(),
            etag: body.etag.clone(),
            last_modified: body.last_modified.clone(),
        };
        let received =
            self.copy_all(body, sink).await.and_then(|(size, sha256, disk)| match expected {
                _ if size == 0 => Err(Trouble::Failed(format!("{} is empty", origin.url))),
                Some(expected) if expected != sha256 => {
                    Err(Trouble::Damaged(Mismatch { expected, actual: sha256 }))
                }
                _ => Ok((size, sha256, disk)),
            });
        match received {
            Ok((size, sha256, disk)) => {
                if spool.complete(size) {
                    self.common.waker.wake();
                }
                Ok(Fetched::Whole(Box::new(Whole { spool, origin, size, sha256, disk })))
            }
            Err(trouble) => {
                self.broken(tell, &trouble);
                Err(trouble)
            }
        }
    }

    /// Ends the transfers that a fetch has begun.
    fn broken(&self, tell: &watch::Sender<Progress>, trouble: &Trouble) {
        if let Progress::Arriving(spool) = &*tell.borrow()
            && spool.fail(trouble.kind())
        {
            self.common.waker.wake();
        }
    }

    async fn copy_all(
        &self,
        mut body: Body,
        mut sink: Sink,
    ) -> Result<(u64, Sha256, Option<Disk>), Trouble> {
        let mut is_over = false;
        while !is_over {
            let mut bytes = match body.next().await? {
                Some(bytes) => bytes.to_vec(),
                None => break,
            };
            let mut broken = None;
            // As much as is here already goes with it.
            while bytes.len() < CHUNK && !is_over {
                match body.ready().await {
                    None => break,
                    Some(Ok(Some(more))) => bytes.extend_from_slice(&more),
                    Some(Ok(None)) => is_over = true,
                    Some(Err(trouble)) => {
                        broken = Some(trouble);
                        is_over = true;
                    }
                }
            }
            let (back, written) = blocking(move || {
                let written = sink.write(&bytes);
                (sink, written)
            })
            .await?;
            sink = back;
            if written? {
                self.common.waker.wake();
            }
            if sink.is_sync_due() {
                sink = blocking(move || {
                    sink.sync();
                    sink
                })
                .await?;
            }
            if let Some(trouble) = broken {
                return Err(trouble);
            }
        }
        Ok(sink.finish())
    }

    /// Puts what was fetched into the cache; false when it cannot be kept.
    async fn keep(
        &self,
        target: &Target,
        disk: Option<Disk>,
        origin: Origin,
        what: (u64, Sha256),
    ) -> bool {
        let Some(Disk { cache, file, room }) = disk else { return false };
        let key = target.key.clone();
        let kept = blocking(move || cache.keep(&key, file, &origin, what, room)).await;
        match kept {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                warn!(%error, "what was fetched cannot be kept");
                false
            }
            Err(trouble) => {
                warn!(%trouble, "what was fetched cannot be kept");
                false
            }
        }
    }
}

/// Runs what waits for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Trouble> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|error| Trouble::Failed(format!("the fetch of it ended: {error}")))
}
