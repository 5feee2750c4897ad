//! One of the two files of a journal.
//!
//! It begins with two copies of a head that are written in turn, so that one of them is always whole, and goes
//! on with blocks of batches. Every block of it was written with zeros before it is used: overwriting them costs
//! less to make durable than making the file longer, and needs no room on the disk.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::block::{BLOCK, is_sound, seal};
use super::medium::{Backing, BackingFile, Medium};
use crate::error::{Fault, is_full};

/// Copies of the head.
const HEADS: usize = 2;
/// Blocks a new file has room for, and by how many it grows: 1 MiB. Less in tests, so that both happen often.
pub(crate) const STEP: usize = if cfg!(test) { 8 } else { 256 };
/// Blocks a new file has room for on a disk that is too small for a step: a batch of the longest that there are.
const LEAST: usize = if cfg!(test) { 4 } else { 32 };
const MAGIC: &[u8; 20] = b"offhook journal\x00\x00\x00\x00\x02";

/// A journal file.
pub(crate) struct Segment {
    path: PathBuf,
    medium: Medium,
    store: u64,
    /// How often the head was written.
    writes: u64,
    /// Blocks that can be written without making the file longer.
    capacity: usize,
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Segment {
    /// Makes an empty file for a store, in place of what has its name; a short one where the disk has no more room. It
    /// is durable when this returns, but for its name.
    pub(crate) fn create(path: &Path, store: u64) -> io::Result<()> {
        let new = path.with_extension("new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        let file = BackingFile::open(&new)?;
        Self::initialise(&file, store, STEP).or_else(|error| {
            if !is_full(&error) {
                return Err(error);
            }
            file.set_len(0)?;
            Self::initialise(&file, store, LEAST)
        })?;
        File::open(&new)?.sync_all()?;
        fs::rename(&new, path)
    }

    /// Writes an empty journal file with room for so many blocks.
    pub(crate) fn initialise(medium: &dyn Backing, store: u64, blocks: usize) -> io::Result<()> {
        lengthen(medium, 0, HEADS + blocks)?;
        for writes in 0..HEADS as u64 {
            medium.write(place_of(writes), &head(store, writes, blocks))?;
        }
        medium.sync()
    }

    /// Opens a file of a store.
    pub(crate) fn open(path: PathBuf, medium: Medium, store: u64) -> Result<Self, Fault> {
        let damaged = |what: &str| {
            Fault::Damaged(format!(
                "its journal {} {what}",
                path.file_name().unwrap_or_default().display()
            ))
        };
        let length = medium.len().map_err(Fault::Io)?;
        let mut newest = None;
        for place in 0..HEADS as u64 {
            let mut bytes = [0; BLOCK];
            if length < place_of(place) + BLOCK as u64 {
                return Err(damaged("is cut off"));
            }
            medium.read(place_of(place), &mut bytes).map_err(Fault::Io)?;
            newest = newest.max(read_head(&bytes));
        }
        let Some((writes, capacity, owner)) = newest else {
            return Err(damaged("is not readable"));
        };
        if owner != store {
            return Err(damaged("belongs to another store"));
        }
        if length < ((HEADS + capacity) * BLOCK) as u64 {
            return Err(damaged("is cut off"));
        }
        Ok(Self { path, medium, store, writes, capacity })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Notes that there are blocks up to this one, should the head that says so be the one that was damaged.
    pub(crate) fn has_blocks(&mut self, blocks: usize) {
        self.capacity = self.capacity.max(blocks);
    }

    /// For reading while others write elsewhere: everything that is in the file now.
    ///
    /// # Errors
    /// As the kernel says.
    pub(crate) fn reader(&self) -> io::Result<Reader> {
        Reader::of(&self.medium)
    }

    /// Makes room for `blocks` in all, a step more at the least. Nothing that was there is touched.
    pub(crate) fn grow(&mut self, blocks: usize) -> io::Result<()> {
        let capacity = blocks.next_multiple_of(STEP);
        let lengthened = lengthen(&*self.medium, HEADS + self.capacity, HEADS + capacity);
        if lengthened.is_err() {
            // Half of it is of no use here, and others may need it.
            let _ = self.medium.set_len(((HEADS + self.capacity) * BLOCK) as u64);
        }
        lengthened?;
        // Should this fail, the next attempt writes the same copy, and the other one stays as it is.
        let writes = self.writes + 1;
        let head = head(self.store, writes, capacity);
        self.medium.write_through(place_of(writes % HEADS as u64), &head)?;
        (self.writes, self.capacity) = (writes, capacity);
        Ok(())
    }

    /// Writes blocks and waits until they are on disk. There must be room for them.
    pub(crate) fn write(&self, first: usize, blocks: &[u8]) -> io::Result<()> {
        self.medium.write_through(((HEADS + first) * BLOCK) as u64, blocks)
    }
}

/// Writes zeros from one block up to another, and waits until they are on disk.
fn lengthen(medium: &dyn Backing, from: usize, to: usize) -> io::Result<()> {
    static ZEROS: [u8; 16 * BLOCK] = [0; 16 * BLOCK];
    // An earlier attempt may have made it longer already.
    if medium.len()? < (to * BLOCK) as u64 {
        medium.set_len((to * BLOCK) as u64)?;
    }
    for first in (from..to).step_by(16) {
        let length = (to - first).min(16) * BLOCK;
        medium.write((first * BLOCK) as u64, ZEROS.get(..length).unwrap_or(&ZEROS))?;
    }
    medium.sync()
}

fn place_of(head: u64) -> u64 {
    head * BLOCK as u64
}

/// A head: checksum, magic, how often it was written, capacity, store.
fn head(store: u64, writes: u64, capacity: usize) -> Vec<u8> {
    let mut block = vec![0; 4];
    block.extend(MAGIC);
    block.extend(writes.to_be_bytes());
    block.extend((capacity as u64).to_be_bytes());
    block.extend(store.to_be_bytes());
    block.resize(BLOCK, 0);
    seal(&mut block);
    block
}

fn read_head(block: &[u8]) -> Option<(u64, usize, u64)> {
    let numbers = block.get(4..)?.strip_prefix(MAGIC)?;
    let number = |at: usize| Some(u64::from_be_bytes(*numbers.get(at * 8..)?.first_chunk()?));
    let found = (number(0)?, usize::try_from(number(1)?).ok()?, number(2)?);
    is_sound(block).then_some(found)
}

/// Reads the blocks of a file.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    medium: Medium,
    end: usize,
}

impl Reader {
    /// Of a file that may be no journal at all.
    pub(crate) fn of(medium: &Medium) -> io::Result<Self> {
        let blocks = usize::try_from(medium.len()? / BLOCK as u64).unwrap_or(usize::MAX);
        Ok(Self { medium: Arc::clone(medium), end: blocks.saturating_sub(HEADS) })
    }

    /// Calls `each` with the blocks from `first` up to, but not including, `end`, until it says that it is enough.
    pub(crate) fn blocks(
        &self,
        first: usize,
        end: usize,
        mut each: impl FnMut(&[u8]) -> bool,
    ) -> io::Result<()> {
        const MANY: usize = 64;
        let mut bytes = vec![0; MANY * BLOCK];
        let end = end.min(self.end);
        for first in (first..end).step_by(MANY) {
            let length = (end - first).min(MANY) * BLOCK;
            let Some(some) = bytes.get_mut(..length) else { break };
            self.medium.read(((HEADS + first) * BLOCK) as u64, some)?;
            if !some.chunks_exact(BLOCK).all(&mut each) {
                break;
            }
        }
        Ok(())
    }

    /// How many blocks there are.
    pub(crate) fn len(&self) -> usize {
        self.end
    }
}
