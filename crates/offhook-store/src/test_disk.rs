//! Disks that fail, and disks that forget what was not synced, for tests.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use redb::backends::FileBackend;
use redb::{Database, StorageBackend};

use crate::journal::{Backing, BackingFile, Medium};
use crate::room::Room;
use crate::store::{Disk, builder};

/// A disk that can be full, fail or panic, as its switches say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Switches {
    pub(crate) full: Arc<AtomicBool>,
    pub(crate) sync_fails: Arc<AtomicBool>,
    pub(crate) panics: Arc<AtomicBool>,
}

impl Switches {
    /// Opens real files whose writes obey the switches.
    pub(crate) fn disk(&self) -> Disk {
        let [switches, others, room] = [(); 3].map(|()| self.clone());
        Disk {
            database: Box::new(move |path, _| {
                let file = std::fs::OpenOptions::new().read(true).write(true).open(path)?;
                let file = FileBackend::new(file)?;
                builder().create_with_backend(Switched { file, switches: switches.clone() })
            }),
            journal: Box::new(move |file| Arc::new(Switched { file, switches: others.clone() })),
            room: Box::new(move |_| Ok(Arc::new(room.clone()))),
        }
    }

    fn check(&self) -> io::Result<()> {
        assert!(!self.panics.load(Ordering::SeqCst), "the disk panics");
        match self.full.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }

    fn check_sync(&self) -> io::Result<()> {
        match self.sync_fails.load(Ordering::SeqCst) {
            true => Err(io::Error::other("the disk broke")),
            false => Ok(()),
        }
    }
}

impl Room for Switches {
    fn is_left(&self) -> bool {
        !self.full.load(Ordering::SeqCst)
    }

    fn lend(&self) -> bool {
        false
    }

    fn restore(&self) -> bool {
        self.is_left()
    }
}

#[derive(Debug)]
struct Switched<F> {
    file: F,
    switches: Switches,
}

impl Backing for Switched<BackingFile> {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.switches.check()?;
        self.file.set_len(len)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.switches.check()?;
        self.file.write(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.switches.check_sync()?;
        self.file.sync()
    }

    fn write_through(&self, offset: u64, blocks: &[u8]) -> io::Result<()> {
        self.switches.check()?;
        self.switches.check_sync()?;
        self.file.write_through(offset, blocks)
    }
}

impl StorageBackend for Switched<FileBackend> {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.switches.check()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.switches.check_sync()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.switches.check()?;
        self.file.write(offset, data)
    }
}

/// What happened to a file.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Write(usize, Vec<u8>),
    SetLen(usize),
    Sync,
    /// Said by the test: everything before was acknowledged.
    Acknowledged,
}

/// What happened to which file, in order.
type Log = Arc<Mutex<Vec<(usize, Op)>>>;

/// A file in memory that remembers everything that was done to it and to those beside it.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryFile {
    number: usize,
    image: Arc<Mutex<Vec<u8>>>,
    log: Log,
}

impl MemoryFile {
    /// One file for each of these images.
    pub(crate) fn all<const N: usize>(images: [Vec<u8>; N]) -> [Self; N] {
        let (log, mut number) = (Log::default(), 0);
        images.map(|image| {
            number += 1;
            let image = Arc::new(Mutex::new(image));
            Self { number: number - 1, image, log: Arc::clone(&log) }
        })
    }

    pub(crate) fn image(&self) -> Vec<u8> {
        self.image.lock().unwrap().clone()
    }

    /// What happened to all files.
    pub(crate) fn log(&self) -> Vec<(usize, Op)> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn database(&self) -> Result<Database, redb::DatabaseError> {
        builder().create_with_backend(self.clone())
    }

    pub(crate) fn medium(&self) -> Medium {
        Arc::new(self.clone())
    }

    pub(crate) fn note(&self, op: Op) {
        self.log.lock().unwrap().push((self.number, op));
    }
}

/// Does `op` to `image`.
pub(crate) fn replay(op: &Op, image: &mut Vec<u8>) {
    match op {
        Op::Write(offset, data) => {
            let end = offset + data.len();
            if image.len() < end {
                image.resize(end, 0);
            }
            image[*offset..end].copy_from_slice(data);
        }
        Op::SetLen(len) => image.resize(*len, 0),
        Op::Sync | Op::Acknowledged => {}
    }
}

impl Backing for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        StorageBackend::len(self)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        StorageBackend::read(self, offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        StorageBackend::set_len(self, len)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        StorageBackend::write(self, offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

impl StorageBackend for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.image.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let image = self.image.lock().unwrap();
        let bytes = image.get(offset as usize..).and_then(|rest| rest.get(..out.len()));
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let op = Op::SetLen(len as usize);
        replay(&op, &mut self.image.lock().unwrap());
        self.note(op);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.note(Op::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let op = Op::Write(offset as usize, data.to_vec());
        replay(&op, &mut self.image.lock().unwrap());
        self.note(op);
        Ok(())
    }
}
