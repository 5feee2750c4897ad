//! Files as blocks: as they are, or converted to netascii (RFC 764: LF goes out as CR LF, CR as CR NUL).

use std::io;

use crate::Image;
use crate::image::read_full;

/// Where in an image a block begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Cursor {
    /// The next byte to read.
    pub(crate) offset: u64,
    /// The second half of a pair whose first half ended the block before.
    pub(crate) pending: Option<u8>,
}

/// Appends up to `wanted` bytes of the image as it is to `out`, fewer at its end, and says where the next block
/// begins. On an error `out` is as it was.
pub(crate) fn octet_block<I: Image + ?Sized>(
    image: &I,
    from: Cursor,
    wanted: usize,
    out: &mut Vec<u8>,
) -> io::Result<Cursor> {
    let start = out.len();
    out.resize(start + wanted, 0);
    let read = read_full(image, from.offset, out.get_mut(start..).unwrap_or_default());
    out.truncate(start + read.as_ref().copied().unwrap_or(0));
    Ok(Cursor { offset: from.offset + read? as u64, pending: None })
}

/// As [`octet_block`], converted.
pub(crate) fn netascii_block<I: Image + ?Sized>(
    image: &I,
    from: Cursor,
    wanted: usize,
    out: &mut Vec<u8>,
) -> io::Result<Cursor> {
    let start = out.len();
    let full = start + wanted;
    let mut cursor = from;
    let mut chunk = [0; 512];
    out.extend(cursor.pending.take());
    while out.len() < full {
        // Every byte read becomes at least one byte sent, so no more than the room left is needed.
        let room = chunk.len().min(full - out.len());
        let into = chunk.get_mut(..room).unwrap_or_default();
        let count = match read_full(image, cursor.offset, into) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) => {
                out.truncate(start);
                return Err(error);
            }
        };
        for &byte in into.iter().take(count) {
            if out.len() >= full {
                break;
            }
            cursor.offset += 1;
            let (first, second) = match byte {
                b'\n' => (b'\r', Some(b'\n')),
                b'\r' => (b'\r', Some(0)),
                other => (other, None),
            };
            out.push(first);
            if out.len() < full {
                out.extend(second);
            } else {
                cursor.pending = second;
            }
        }
    }
    Ok(cursor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn converted(text: &[u8], block_size: usize) -> Vec<Vec<u8>> {
        let mut cursor = Cursor::default();
        let mut blocks = Vec::new();
        loop {
            let mut block = Vec::new();
            cursor = netascii_block(text, cursor, block_size, &mut block).unwrap();
            let last = block.len() < block_size;
            blocks.push(block);
            if last {
                return blocks;
            }
        }
    }

    #[test]
    fn a_pair_is_split_across_a_block_border() {
        assert_eq!(converted(b"1234567\nx", 8), [&b"1234567\r"[..], b"\nx"]);
        assert_eq!(converted(b"1234567\rx", 8), [&b"1234567\r"[..], b"\0x"]);
        assert_eq!(converted(b"123456\n", 8), [&b"123456\r\n"[..], b""]);
        assert_eq!(converted(b"1234567\n", 8), [&b"1234567\r"[..], b"\n"]);
        assert_eq!(converted(b"\r\n", 8), [&b"\r\0\r\n"[..]]);
    }

    proptest! {
        #[test]
        fn blocks_of_any_size_join_to_the_whole_conversion(
            text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..2000),
            block_size in 8..700_usize,
        ) {
            let whole: Vec<u8> = text
                .iter()
                .flat_map(|byte| match byte {
                    b'\n' => b"\r\n".to_vec(),
                    b'\r' => b"\r\0".to_vec(),
                    other => vec![*other],
                })
                .collect();
            let blocks = converted(&text, block_size);
            prop_assert!(blocks.iter().rev().skip(1).all(|block| block.len() == block_size));
            prop_assert_eq!(blocks.concat(), whole);
        }
    }
}
