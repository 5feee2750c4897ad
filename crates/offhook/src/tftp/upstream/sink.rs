//! Where the octets of a fetch go: to the disk, or to memory when that has no room.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use offhook_model::Sha256;
use sha2::Digest as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;

use super::cache::{Cache, Room, Temporary};
use super::spool::{Spool, in_memory};
use super::trouble::Trouble;

/// Octets in memory are counted by these.
const UNIT: u64 = 64 << 10;
/// Room for a file whose length is not known is taken in these.
const STEP: u64 = 1 << 20;
/// Octets after which the disk is waited for: the leases may be on the same one, and are not to wait for all of an image.
const SYNC: u64 = 4 << 20;

/// What is in memory of all fetches, octets: what finds no room on the disk, while phones are sent it.
const MEMORY: u64 = 64 << 20;

/// Bounds what all fetches may have in memory.
#[derive(Clone, Debug)]
pub(super) struct Memory(Arc<Semaphore>);

impl Default for Memory {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new((MEMORY / UNIT) as usize)))
    }
}

/// Memory that is taken. Given back with the value.
#[derive(Debug, Default)]
pub(super) struct Taken(Mutex<Vec<OwnedSemaphorePermit>>);

impl Taken {
    fn units(&self) -> u64 {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.iter().map(|permit| permit.num_permits() as u64).sum()
    }

    /// Takes more until there are so many octets.
    fn reach(&self, memory: &Memory, octets: u64) -> Result<(), Trouble> {
        let units = octets.div_ceil(UNIT).saturating_sub(self.units());
        if units == 0 {
            return Ok(());
        }
        let permit = u32::try_from(units)
            .ok()
            .and_then(|units| Arc::clone(&memory.0).try_acquire_many_owned(units).ok())
            .ok_or_else(|| {
                Trouble::Failed("there is no room for it, on the disk or in memory".to_owned())
            })?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(permit);
        Ok(())
    }
}

/// One fetch's.
#[derive(Debug)]
pub(super) struct Sink {
    spool: Arc<Spool>,
    disk: Option<Disk>,
    memory: Memory,
    key: Vec<u8>,
    hash: sha2::Sha256,
    written: u64,
    /// What is on the disk for good.
    synced: u64,
    most: u64,
}

/// A file on disk, and the room it may take.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) cache: Arc<Cache>,
    pub(super) file: Temporary,
    pub(super) room: Room,
}

impl Sink {
    /// Waits for the disk.
    ///
    /// # Errors
    /// There is no room at all.
    pub(super) fn open(
        cache: Option<&Arc<Cache>>,
        memory: &Memory,
        key: &[u8],
        (length, most): (Option<u64>, u64),
        held: bool,
    ) -> Result<Self, Trouble> {
        let disk = cache.and_then(|cache| {
            let opened = cache.room(length.unwrap_or(STEP), key).and_then(|room| {
                let file = cache.create().map_err(|error| error.to_string())?;
                let handle = file.file.try_clone().map_err(|error| error.to_string())?;
                Ok((Disk { cache: Arc::clone(cache), file, room }, handle))
            });
            opened.map_err(|reason| not_kept(key, &reason)).ok()
        });
        let failed = |error: io::Error| Trouble::Failed(format!("no file to write to: {error}"));
        let (disk, file) = match disk {
            Some((disk, file)) => (Some(disk), file),
            None => (None, in_memory().map_err(failed)?),
        };
        let spool = Arc::new(Spool::new(file, length, held));
        if disk.is_none() {
            spool.taken().reach(memory, length.unwrap_or(0))?;
        }
        Ok(Self {
            spool,
            disk,
            memory: memory.clone(),
            key: key.to_owned(),
            hash: sha2::Sha256::new(),
            written: 0,
            synced: 0,
            most,
        })
    }

    pub(super) fn spool(&self) -> &Arc<Spool> {
        &self.spool
    }

    /// Writes what has come. Waits for the disk. True when somebody waits for it.
    ///
    /// # Errors
    /// It is too much, or there is no room.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<bool, Trouble> {
        let end = self.written + bytes.len() as u64;
        if end > self.most {
            return Err(Trouble::TooLarge(self.most));
        }
        if let Err(reason) = self.write_to_disk(bytes, end) {
            not_kept(&self.key, &reason);
            self.spool.taken().reach(&self.memory, end.max(self.spool.expected()))?;
            let moved = self.spool.move_to_memory(self.written);
            moved.map_err(|error| Trouble::Failed(format!("no memory for it: {error}")))?;
            self.disk = None;
        }
        if self.disk.is_none() {
            self.spool.taken().reach(&self.memory, end)?;
            let written = self.spool.file().write_all_at(bytes, self.written);
            written.map_err(|error| Trouble::Failed(format!("no memory for it: {error}")))?;
        }
        self.hash.update(bytes);
        self.written = end;
        Ok(self.spool.arrived(end))
    }

    fn write_to_disk(&mut self, bytes: &[u8], end: u64) -> Result<(), String> {
        let Some(disk) = &mut self.disk else { return Ok(()) };
        if end > disk.room.octets() {
            disk.room.grow(STEP.max(end - disk.room.octets()), &self.key)?;
        } else if disk.cache.free().is_ok_and(|free| free == 0) {
            return Err("the disk has nothing more to spare".to_owned());
        }
        self.spool.file().write_all_at(bytes, self.written).map_err(|error| error.to_string())
    }

    /// Whether much of it is not on the disk for good yet.
    pub(super) fn is_sync_due(&self) -> bool {
        self.disk.is_some() && self.written - self.synced >= SYNC
    }

    /// Puts it there. Waits for the disk. An error is one of keeping it, and found again then.
    pub(super) fn sync(&mut self) {
        self.synced = self.written;
        if let Some(disk) = &self.disk {
            let _ = disk.file.file.sync_data();
        }
    }

    /// How much there is, what its digest is, and the file if it is on disk.
    pub(super) fn finish(self) -> (u64, Sha256, Option<Disk>) {
        (self.written, Sha256(self.hash.finalize().into()), self.disk)
    }
}

fn not_kept(key: &[u8], reason: &str) {
    warn!(
        file = %key.escape_ascii(), reason,
        "a file from the provisioning server is not kept: it is sent to phones that ask now"
    );
}
