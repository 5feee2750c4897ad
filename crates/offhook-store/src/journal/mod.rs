//! What was committed lately, in the order in which it was: where a commit becomes durable.
//!
//! A commit that goes into the database itself writes a page for every lease it touches; in here it writes some
//! blocks one after the other. There are two files that take turns: while commits go into the one, [`fold`]
//! brings the other into the database, and then that one is written over from its beginning. The database says
//! up to which batch it holds everything; what the files hold beyond that is read when the store is opened.
//!
//! A batch is written only when the one before it is on disk. So a batch that is not whole is damaged if there is one
//! after it; if there is none it was being written when the power went, and never acknowledged, as far as anybody can
//! tell. That is why an empty one is written when nothing was committed for a while.

mod block;
mod disk_cache;
pub(crate) mod fold;
mod medium;
mod segment;

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use offhook_model::{Lease, LeaseWrite};

use crate::error::Fault;
use crate::record;
use block::{Assembler, BLOCK, Batch, Block, blocks_of, write_batch};
#[cfg(test)]
pub(crate) use medium::Backing;
pub(crate) use medium::{BackingFile, Bytes, Medium};
pub(crate) use segment::{Reader, Segment};

/// The files in the state directory.
pub(crate) const NAMES: [&str; 2] = ["leases.journal-a", "leases.journal-b"];

/// Blocks from which on a file is folded, however few leases that is: 64 MiB.
const ENOUGH: usize = 64 << 8;
/// Blocks a file never has more of: 256 MiB. Commits wait for the folding then.
const MOST: usize = 256 << 8;

/// What a journal says of addresses: the lease, or that there is none.
pub(crate) type Latest = HashMap<Ipv4Addr, Option<Lease>>;

/// The two files, and where the next batch goes.
pub(crate) struct Journal {
    segments: [Segment; 2],
    /// Whether the second one is written.
    second: bool,
    /// Its block the next batch begins with.
    at: usize,
    /// Number of the next batch.
    next: u64,
    /// Changes in it.
    changes: usize,
    /// A batch was written where the next one goes, and nobody knows how much of it is on disk.
    in_doubt: bool,
    /// What is to be folded next.
    frozen: Option<Frozen>,
    /// What the last batch left that is not whole.
    torn: Option<Remains>,
    /// The last batch is there to end it: see [`Journal::end`].
    ended: bool,
    payload: Vec<u8>,
    blocks: Vec<u8>,
}

/// A file that is not written at present, and what of it is to be folded.
#[derive(Clone, Debug)]
pub(crate) struct Frozen {
    reader: Reader,
    at: usize,
    end: usize,
}

/// A batch's number, first block and how many it has.
type Place = (u64, usize, usize);

/// Blocks of a file where a batch was begun.
#[derive(Clone, Copy, Debug)]
struct Remains {
    second: bool,
    first: usize,
    blocks: usize,
}

impl Journal {
    /// Reads the journal of a database that holds everything up to the batch `folded`. Returns what it says beyond
    /// the database, too.
    pub(crate) fn open(segments: [Segment; 2], folded: u64) -> Result<(Self, Latest), Fault> {
        let [(first, loose), (second, also_loose)] = {
            let [one, other] = &segments;
            [scan(one, folded)?, scan(other, folded)?]
        };
        // The file with the lower numbers was written first.
        let is_second = match (first.first(), second.first()) {
            (Some(first), Some(second)) => first < second,
            (_, second) => second.is_some(),
        };
        let (older, newer) = if is_second { (first, second) } else { (second, first) };
        let mut last = folded;
        for (sequence, ..) in older.iter().chain(&newer) {
            if *sequence != last + 1 {
                return Err(Fault::Damaged(format!("its journal lacks batch {}", last + 1)));
            }
            last = *sequence;
        }
        if let Some(loose) = loose.max(also_loose).filter(|loose| *loose > last + 1) {
            let text = format!("batch {} of its journal is not readable, but {loose} is", last + 1);
            return Err(Fault::Damaged(text));
        }

        let mut this = Self {
            segments,
            second: is_second,
            at: newer.last().map_or(0, |(_, first, blocks)| first + blocks),
            next: last + 1,
            changes: 0,
            // What is left of a torn batch is of no batch that could become whole.
            in_doubt: false,
            frozen: None,
            torn: None,
            ended: true,
            payload: Vec::new(),
            blocks: Vec::new(),
        };
        let at = this.at;
        this.active_mut().has_blocks(at);
        for (second, first) in [(is_second, at), (!is_second, 0)] {
            let [one, other] = &this.segments;
            let segment = if second { other } else { one };
            let blocks = remains(segment, first, this.next).map_err(Fault::Io)?;
            if blocks > 0 {
                this.torn = Some(Remains { second, first, blocks });
            }
        }
        let mut latest = Latest::new();
        let reader = this.other().reader().map_err(Fault::Io)?;
        replay(&reader, &older, &mut latest)?;
        this.frozen = older.first().zip(older.last()).map(|(from, to)| Frozen {
            reader,
            at: from.1,
            end: to.1 + to.2,
        });
        let reader = this.active().reader().map_err(Fault::Io)?;
        this.changes = replay(&reader, &newer, &mut latest)?;
        this.ended = newer.last().is_none_or(|place| is_end(&reader, *place));
        Ok((this, latest))
    }

    /// Removes what is left of a batch that is not whole, and tells of it: once, for the next batch takes its place
    /// and may be shorter.
    pub(crate) fn scrub(&mut self) -> io::Result<Option<Torn>> {
        let Some(Remains { second, first, blocks }) = self.torn else { return Ok(None) };
        let [one, other] = &self.segments;
        let segment = if second { other } else { one };
        segment.write(first, &vec![0; blocks * BLOCK])?;
        self.torn = None;
        Ok(Some(Torn { file: segment.path().to_owned(), bytes: (blocks * BLOCK) as u64 }))
    }

    /// What is to be folded before the next turn, told once. To be asked after every [`Journal::append`], one that
    /// failed included.
    pub(crate) fn frozen(&mut self) -> Option<Frozen> {
        self.frozen.take()
    }

    /// The file that is written.
    pub(crate) fn active(&self) -> &Segment {
        let [first, second] = &self.segments;
        if self.second { second } else { first }
    }

    fn active_mut(&mut self) -> &mut Segment {
        let [first, second] = &mut self.segments;
        if self.second { second } else { first }
    }

    fn other(&self) -> &Segment {
        let [first, second] = &self.segments;
        if self.second { first } else { second }
    }

    /// Whether the file is as long as it may become: nothing goes into it before the other one is folded.
    pub(crate) fn is_full(&self) -> bool {
        self.at >= MOST
    }

    /// Makes `writes` durable as one batch. `leases` is about how many there are in all; `may_turn` says that the
    /// other file is folded, so that this one can be once it is long enough; `may_grow` whether more room may be taken
    /// on the disk, asked when there is too little.
    ///
    /// # Errors
    /// It is not durable, as far as is known, and can be tried again or given up: the next one takes its place.
    pub(crate) fn append(
        &mut self,
        writes: &[LeaseWrite],
        leases: u64,
        may_turn: bool,
        may_grow: impl Fn() -> bool,
    ) -> io::Result<()> {
        let mut payload = std::mem::take(&mut self.payload);
        payload.clear();
        writes.iter().for_each(|write| put_change(write, &mut payload));
        let result = self
            .make_room(blocks_of(payload.len()), leases, may_turn, may_grow)
            .and_then(|()| self.write(&payload));
        self.payload = payload;
        if result.is_ok() {
            self.changes += writes.len();
            self.ended = false;
        }
        result
    }

    /// Writes a batch without changes behind the others: damage to the last one of them can be told from one
    /// that was being written when the power went. There is always room for it.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        if !self.ended && self.at < self.active().capacity() {
            self.write(&[])?;
            self.ended = true;
        }
        Ok(())
    }

    fn write(&mut self, payload: &[u8]) -> io::Result<()> {
        let mut blocks = std::mem::take(&mut self.blocks);
        write_batch(self.next, payload, &mut blocks);
        self.in_doubt = true;
        let written = self.active().write(self.at, &blocks);
        self.blocks = blocks;
        written?;
        self.in_doubt = false;
        self.at += blocks_of(payload.len());
        self.next += 1;
        Ok(())
    }

    /// Whether a batch fits, and one to end with.
    fn has_room(&self, count: usize) -> bool {
        self.at + count < self.active().capacity()
    }

    /// Makes room for a batch: in this file, or in the other one.
    fn make_room(
        &mut self,
        count: usize,
        leases: u64,
        may_turn: bool,
        may_grow: impl Fn() -> bool,
    ) -> io::Result<()> {
        if self.has_room(count) {
            return Ok(());
        }
        if may_turn && self.at > 0 && self.frozen.is_none() {
            // Folding costs less for each lease the more of them there are.
            let is_worth_it = self.changes as u64 >= leases / 4 || self.at >= ENOUGH;
            // A full disk has room in the other file yet.
            if is_worth_it || !may_grow() || self.grow(count).is_err() {
                self.turn()?;
            }
            if self.has_room(count) {
                return Ok(());
            }
        }
        if may_grow() {
            self.grow(count)
        } else {
            Err(io::Error::new(io::ErrorKind::StorageFull, "the disk is full"))
        }
    }

    fn grow(&mut self, count: usize) -> io::Result<()> {
        let blocks = self.at + count + 1;
        self.active_mut().grow(blocks)
    }

    /// Goes over to the other file.
    pub(crate) fn turn(&mut self) -> io::Result<()> {
        if self.in_doubt && self.at < self.active().capacity() {
            // Else the same number might be found in both files.
            self.active().write(self.at, &[0; BLOCK])?;
        }
        self.frozen = Some(Frozen { reader: self.active().reader()?, at: 0, end: self.at });
        self.second = !self.second;
        self.at = 0;
        self.changes = 0;
        self.in_doubt = false;
        Ok(())
    }
}

/// The last batch of the journal that was not whole when the store was opened, and is not part of it: it was being
/// written when the program or the machine was stopped, and then nobody was told of it; or it was damaged since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The journal file it is in.
    pub file: PathBuf,
    /// The bytes of it that were found there.
    pub bytes: u64,
}

/// How many blocks from there on bear something of the batch with this number, or of none that was ever whole.
fn remains(segment: &Segment, first: usize, number: u64) -> io::Result<usize> {
    /// No batch is longer: its submissions are counted.
    const LONGEST: usize = 4096;
    let (mut found, mut place) = (0, 0);
    let take = |bytes: &[u8]| {
        let is_its = match Block::read(bytes) {
            Some(block) => block.sequence >= number,
            None => found == place && bytes.iter().any(|byte| *byte != 0),
        };
        place += 1;
        if is_its {
            found = place;
        }
        true
    };
    segment.reader()?.blocks(first, first + LONGEST, take)?;
    Ok(found)
}

/// Whether a batch is one to end with.
fn is_end(reader: &Reader, (_, first, blocks): Place) -> bool {
    let mut assembler = Assembler::default();
    let mut is_end = false;
    let take = |block: &[u8]| {
        is_end = assembler.push(block).is_some_and(|batch| batch.payload.is_empty());
        true
    };
    blocks == 1 && reader.blocks(first, first + blocks, take).is_ok() && is_end
}

/// Whether a journal file was never written to since it was made.
pub(crate) fn is_unused(medium: &Medium) -> io::Result<bool> {
    let reader = Reader::of(medium)?;
    let mut blank = true;
    reader.blocks(0, reader.len(), |block| {
        blank &= block.iter().all(|byte| *byte == 0);
        blank
    })?;
    Ok(blank)
}

/// Finds the batches of a file beyond `folded`, in the order of their blocks, and the highest number that is on a
/// block of none of them.
fn scan(segment: &Segment, folded: u64) -> Result<(Vec<Place>, Option<u64>), Fault> {
    let reader = segment.reader().map_err(Fault::Io)?;
    let (mut places, mut assembler) = (Vec::new(), Assembler::default());
    let take = |block: &[u8]| {
        if let Some(batch) = assembler.push(block).filter(|batch| batch.sequence > folded) {
            places.push((batch.sequence, batch.first, batch.blocks));
        }
        true
    };
    reader.blocks(0, reader.len(), take).map_err(Fault::Io)?;
    Ok((places, assembler.loose()))
}

/// Reads the changes of batches that [`scan`] found; returns how many.
fn replay(reader: &Reader, places: &[Place], to: &mut Latest) -> Result<usize, Fault> {
    let (Some((_, first, _)), Some((last, start, count))) = (places.first(), places.last()) else {
        return Ok(0);
    };
    let (mut changes, mut result, mut assembler) = (0, Ok(()), Assembler::default());
    let take = |block: &[u8]| {
        let Some(Batch { sequence, payload, .. }) = assembler.push(block) else { return true };
        result = each_change(&payload, |address, record| {
            changes += 1;
            let lease = match record {
                Some(record) => Some(record::decode(address, record)?),
                None => None,
            };
            to.insert(address, lease);
            Some(())
        })
        .ok_or_else(|| Fault::Damaged(format!("batch {sequence} of its journal makes no sense")));
        result.is_ok() && sequence < *last
    };
    reader.blocks(*first, start + count, take).map_err(Fault::Io)?;
    result.map(|()| changes)
}

/// A change: 0 and the address, or 1, the address, the length of the record (4 bytes) and the record.
fn put_change(write: &LeaseWrite, to: &mut Vec<u8>) {
    match write {
        LeaseWrite::Remove(address) => {
            to.push(0);
            to.extend(address.octets());
        }
        LeaseWrite::Put(lease) => {
            to.push(1);
            to.extend(lease.address.octets());
            let mut record = Vec::with_capacity(128);
            record::encode(lease, &mut record);
            to.extend((record.len() as u32).to_be_bytes());
            to.extend(record);
        }
    }
}

/// Calls `each` with every change of a batch: the address, and the record unless it is a removal.
fn each_change<'a>(
    payload: &'a [u8],
    mut each: impl FnMut(Ipv4Addr, Option<&'a [u8]>) -> Option<()>,
) -> Option<()> {
    let mut rest = payload;
    while let Some((kind, after)) = rest.split_first() {
        let (address, after) = after.split_first_chunk::<4>()?;
        let (record, after) = match kind {
            0 => (None, after),
            1 => {
                let (length, after) = after.split_first_chunk::<4>()?;
                let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
                let (record, after) = after.split_at_checked(length)?;
                (Some(record), after)
            }
            _ => return None,
        };
        each(Ipv4Addr::from(*address), record)?;
        rest = after;
    }
    Some(())
}
