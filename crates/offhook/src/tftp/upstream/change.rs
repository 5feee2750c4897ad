//! A provisioning server takes the place of another, or of itself with other limits, while phones are being served.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use offhook_model::Upstream as Settings;
use tracing::{error, info};

use super::Upstream;
use super::common::Common;
use super::fetch::Progress;
use super::http::Client;
use super::resolve::Resolver;

impl Upstream {
    /// Opens the cache and reads the certificates: waits for the disk. What does not work is said, and done without.
    pub(in crate::tftp) fn open(settings: &Settings, common: &Arc<Common>) -> Arc<Self> {
        let upstream = Self::new(settings, common, None);
        if let Err(reason) = &upstream.cache {
            error!(
                directory = %common.directory(settings).display(), error = reason,
                hint = "see to its permissions, or name another directory: `[tftp] cache`",
                "the cache of firmware images cannot be used: nothing that is fetched is kept"
            );
        }
        if let Some(reason) = upstream.client.broken() {
            error!(reason, url = %settings.url, "firmware images cannot be fetched");
        }
        upstream.take_over(None);
        Arc::new(upstream)
    }

    /// The same in the place of `before`, for [`take_over`](Self::take_over). Nothing changes yet.
    ///
    /// # Errors
    /// What does not work of it, and did before.
    pub(in crate::tftp) fn prepare(
        settings: &Settings,
        common: &Arc<Common>,
        before: Option<&Self>,
    ) -> Result<Arc<Self>, String> {
        let upstream = Self::new(settings, common, before);
        if let Err(reason) = &upstream.cache
            && before
                .is_none_or(|before| before.cache.is_ok() || before.directory != upstream.directory)
        {
            let directory = upstream.directory.display();
            return Err(format!(
                "the cache of firmware images, {directory}, cannot be used: {reason}"
            ));
        }
        if let Some(reason) = upstream.client.broken()
            && before.is_none_or(|before| before.client.broken() != Some(reason))
        {
            return Err(format!(
                "firmware images cannot be fetched from {}: {reason}",
                settings.url
            ));
        }
        Ok(Arc::new(upstream))
    }

    fn new(settings: &Settings, common: &Arc<Common>, before: Option<&Self>) -> Self {
        let (base, directory) = (settings.url.to_string(), common.directory(settings));
        let cache = common.cache(&directory, settings.cache_size, settings.cache_reserve);
        let same = before.filter(|before| before.base == base && before.directory == directory);
        Self {
            client: Client::new(settings, Resolver::new(common.zones.clone())),
            cache: cache.map_err(|error| error.to_string()),
            source: same.map(|before| Arc::clone(&before.source)).unwrap_or_default(),
            common: Arc::clone(common),
            settings: settings.clone(),
            base,
            directory,
        }
    }

    /// It is the one from now on. Waits for the disk, where the cache may hold less than it did.
    pub(in crate::tftp) fn take_over(&self, before: Option<&Self>) {
        if let Ok(cache) = &self.cache {
            cache.set_limits(self.settings.cache_size, self.settings.cache_reserve);
        }
        match before {
            Some(before) if Arc::ptr_eq(&before.source, &self.source) => self.ask_again(),
            _ => {
                let (url, directory) = (&self.base, self.directory.display());
                info!(url, cache = %directory, "images that are not in the TFTP root are fetched");
                before.into_iter().for_each(Self::retire);
            }
        }
    }

    /// It is not any more: what it fetches goes to the phones that wait for it, and nowhere else.
    pub(in crate::tftp) fn retire(&self) {
        self.source.is_retired.store(true, Ordering::Relaxed);
    }

    /// What failed may be what was put right; and a server that has not answered yet may not be asked as it is to be.
    fn ask_again(&self) {
        let mut files = self.files();
        for file in files.values_mut() {
            file.failed = None;
            file.fetch.take_if(|fetch| matches!(*fetch.progress.borrow(), Progress::Asking));
        }
    }
}
