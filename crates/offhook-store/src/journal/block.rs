//! The blocks a journal consists of, and the batches they make up.
//!
//! A batch is everything that was made durable together. It is cut into blocks of 4,096 bytes, none of which it
//! shares with another batch, so that writing one never touches what was written before. Integers in network
//! byte order:
//!
//! | field    | bytes                                                    |
//! |----------|----------------------------------------------------------|
//! | checksum | 4: CRC-32 of the rest of the block                       |
//! | magic    | 4: `ohJ2`                                                |
//! | sequence | 8: number of the batch; each is one more than the last   |
//! | index    | 4: place of the block in its batch, from 0               |
//! | count    | 4: blocks in the batch                                   |
//! | whole    | 4: CRC-32 of the payload of the whole batch              |
//! | used     | 4: bytes of payload in this block                        |
//! | payload  | 4,064, zeros after the used ones                         |

/// Bytes of a block.
pub(crate) const BLOCK: usize = 4096;
/// Bytes before the payload.
const HEADER: usize = 32;
/// Bytes of payload in a block.
const ROOM: usize = BLOCK - HEADER;
const MAGIC: [u8; 4] = *b"ohJ2";

/// How many blocks a batch with this much payload takes. One without any takes one.
pub(crate) fn blocks_of(payload: usize) -> usize {
    payload.div_ceil(ROOM).max(1)
}

/// The blocks of a batch, in place of what `to` held.
pub(crate) fn write_batch(sequence: u64, payload: &[u8], to: &mut Vec<u8>) {
    let count = blocks_of(payload.len());
    let whole = crc32fast::hash(payload).to_be_bytes();
    to.clear();
    to.reserve(count * BLOCK);
    let mut rest = payload;
    for index in 0..count {
        let (used, after) = rest.split_at(rest.len().min(ROOM));
        rest = after;
        let start = to.len();
        to.extend([0; 4]);
        to.extend(MAGIC);
        to.extend(sequence.to_be_bytes());
        // A batch is bounded by what is in memory, far below 2^32 blocks.
        to.extend((index as u32).to_be_bytes());
        to.extend((count as u32).to_be_bytes());
        to.extend(whole);
        to.extend((used.len() as u32).to_be_bytes());
        to.extend(used);
        to.resize(start + BLOCK, 0);
        if let Some(block) = to.get_mut(start..) {
            seal(block);
        }
    }
}

/// Writes the checksum of a block into its first four bytes.
pub(crate) fn seal(block: &mut [u8]) {
    if let Some((checksum, rest)) = block.split_first_chunk_mut::<4>() {
        *checksum = crc32fast::hash(rest).to_be_bytes();
    }
}

/// Whether a block is as it was sealed.
pub(crate) fn is_sound(block: &[u8]) -> bool {
    block
        .split_first_chunk::<4>()
        .is_some_and(|(checksum, rest)| crc32fast::hash(rest) == u32::from_be_bytes(*checksum))
}

/// A block that is sound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block<'a> {
    pub(crate) sequence: u64,
    index: u32,
    count: u32,
    whole: u32,
    payload: &'a [u8],
}

impl<'a> Block<'a> {
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let magic = bytes.get(4..8)?;
        if magic != MAGIC || !is_sound(bytes) {
            return None;
        }
        let word = |at: usize| {
            let bytes = bytes.get(at..)?.first_chunk()?;
            Some(u32::from_be_bytes(*bytes))
        };
        let sequence = u64::from_be_bytes(*bytes.get(8..)?.first_chunk()?);
        let used = usize::try_from(word(28)?).ok()?;
        let payload = bytes.get(HEADER..)?.get(..used)?;
        Some(Self { sequence, index: word(16)?, count: word(20)?, whole: word(24)?, payload })
    }
}

/// A batch that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) sequence: u64,
    /// Place of its first block among those that were read.
    pub(crate) first: usize,
    pub(crate) blocks: usize,
    pub(crate) payload: Vec<u8>,
}

/// Puts batches together from blocks read one after the other.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    place: usize,
    part: Option<(Batch, u32, u32)>,
    /// The highest number on a sound block that is no part of a whole batch.
    loose: Option<u64>,
}

impl Assembler {
    /// Takes the next block; returns the batch it completes.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Option<Batch> {
        let place = self.place;
        self.place += 1;
        let block = Block::read(bytes);
        let part = match (self.part.take(), block) {
            (Some((mut batch, count, whole)), Some(block))
                if block.sequence == batch.sequence
                    && usize::try_from(block.index) == Ok(batch.blocks)
                    && (block.count, block.whole) == (count, whole) =>
            {
                batch.payload.extend(block.payload);
                batch.blocks += 1;
                Some((batch, count, whole))
            }
            (before, block) => {
                self.forget(before);
                match block {
                    Some(block) if block.index == 0 => {
                        let payload = block.payload.to_vec();
                        let batch =
                            Batch { sequence: block.sequence, first: place, blocks: 1, payload };
                        Some((batch, block.count, block.whole))
                    }
                    Some(block) => {
                        self.loose = self.loose.max(Some(block.sequence));
                        None
                    }
                    None => None,
                }
            }
        };
        match part {
            Some((batch, count, whole)) if usize::try_from(count) == Ok(batch.blocks) => {
                if crc32fast::hash(&batch.payload) == whole {
                    return Some(batch);
                }
                self.forget(Some((batch, count, whole)));
            }
            part => self.part = part,
        }
        None
    }

    /// The highest number seen on a block outside of every whole batch, once all blocks were pushed.
    pub(crate) fn loose(mut self) -> Option<u64> {
        let part = self.part.take();
        self.forget(part);
        self.loose
    }

    fn forget(&mut self, part: Option<(Batch, u32, u32)>) {
        self.loose = self.loose.max(part.map(|(batch, ..)| batch.sequence));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(sequence: u64, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_batch(sequence, payload, &mut bytes);
        bytes
    }

    /// Number, first block and payload of each batch.
    type Found = Vec<(u64, usize, Vec<u8>)>;

    fn assemble(bytes: &[u8]) -> (Found, Option<u64>) {
        let mut assembler = Assembler::default();
        let found = bytes.chunks(BLOCK).filter_map(|block| assembler.push(block));
        let found = found.map(|batch| (batch.sequence, batch.first, batch.payload)).collect();
        (found, assembler.loose())
    }

    #[test]
    fn batches_of_any_length_come_back_from_their_blocks() {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for (sequence, length) in [0, 1, ROOM - 1, ROOM, ROOM + 1, 5 * ROOM].into_iter().enumerate()
        {
            let payload: Vec<u8> = (0..length).map(|i| (i * 31 + length) as u8).collect();
            expected.push((sequence as u64, bytes.len() / BLOCK, payload.clone()));
            bytes.extend(blocks(sequence as u64, &payload));
        }
        assert_eq!(assemble(&bytes), (expected, None));
    }

    #[test]
    fn a_batch_with_any_block_missing_changed_or_of_another_attempt_is_none() {
        let whole = blocks(7, &[1; 3 * ROOM]);
        let other = blocks(7, &[2; 3 * ROOM]);
        for place in 0..3 {
            let range = place * BLOCK..(place + 1) * BLOCK;
            for replacement in [vec![0; BLOCK], other[range.clone()].to_vec()] {
                let mut torn = whole.clone();
                torn[range.clone()].copy_from_slice(&replacement);
                assert_eq!(assemble(&torn), (vec![], Some(7)), "block {place}");
            }
        }
        assert_eq!(assemble(&whole[..2 * BLOCK]), (vec![], Some(7)));
        for place in 0..BLOCK {
            let mut flipped = blocks(1, b"lease");
            flipped[place] ^= 1 << (place % 8);
            assert_eq!(assemble(&flipped), (vec![], None), "byte {place}");
        }
    }

    #[test]
    fn what_follows_a_torn_batch_is_read_all_the_same() {
        let torn = &blocks(3, &[1; 2 * ROOM])[..BLOCK];
        let bytes = [torn, &blocks(2, b"old"), &[0; BLOCK], &blocks(9, b"new")].concat();
        let (found, loose) = assemble(&bytes);
        let numbers: Vec<u64> = found.into_iter().map(|(sequence, ..)| sequence).collect();
        assert_eq!((numbers, loose), (vec![2, 9], Some(3)));
    }
}
