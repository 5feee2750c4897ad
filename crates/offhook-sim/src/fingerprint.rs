//! Telling a whole file from a damaged one without keeping it.

use std::fmt;

/// Length and 128-bit FNV-1a hash of a file. Two images that differ anywhere have different ones; a thousand
/// simulated phones can fetch an image without a thousand copies of it in memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    length: u64,
    hash: u128,
}

impl Fingerprint {
    /// That of an empty file.
    pub const EMPTY: Self = Self { length: 0, hash: 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d };

    /// That of a whole file.
    pub fn of(bytes: &[u8]) -> Self {
        let mut all = Self::EMPTY;
        all.extend(bytes);
        all
    }

    /// Adds the next bytes of the file.
    pub fn extend(&mut self, bytes: &[u8]) {
        const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
        for &byte in bytes {
            self.hash = (self.hash ^ u128::from(byte)).wrapping_mul(PRIME);
        }
        self.length += bytes.len() as u64;
    }

    /// Bytes in the file.
    pub fn length(&self) -> u64 {
        self.length
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, fnv {:032x}", self.length, self.hash)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_add_up_to_the_whole_and_a_changed_byte_shows() {
        let mut pieces = Fingerprint::EMPTY;
        pieces.extend(b"sip1");
        pieces.extend(b"00.img");
        assert_eq!(pieces, Fingerprint::of(b"sip100.img"));
        assert_ne!(pieces, Fingerprint::of(b"sip100.imG"));
        assert_ne!(Fingerprint::of(&[0]), Fingerprint::of(&[0, 0]));
        // The reference vectors of the FNV authors.
        assert_eq!(Fingerprint::of(b"a").hash, 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
    }
}
