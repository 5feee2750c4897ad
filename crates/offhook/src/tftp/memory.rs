//! Memory for large images.
//!
//! Filling fresh memory costs more than the copying where every page of it has to be fetched from the kernel with a
//! fault of its own, 4 KiB each. So large pieces ask for huge pages, and get them where the kernel has some.

use std::io;
use std::ops::{Deref, DerefMut};

use memmap2::{Advice, MmapMut};

/// Pieces that are mapped: those that a huge page holds, less would waste the rest of it.
const MAPPED: usize = 2 << 20;

/// So many octets, zero at first.
#[derive(Debug)]
pub(super) enum Memory {
    Small(Box<[u8]>),
    Mapped(MmapMut),
}

impl Memory {
    /// # Errors
    /// There is no memory left.
    pub(super) fn new(octets: usize) -> io::Result<Self> {
        if octets < MAPPED {
            return Ok(Self::Small(vec![0; octets].into()));
        }
        let mapped = MmapMut::map_anon(octets)?;
        // Small pages do as well, slower.
        let _ = mapped.advise(Advice::HugePage);
        Ok(Self::Mapped(mapped))
    }
}

impl Deref for Memory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Small(bytes) => bytes,
            Self::Mapped(bytes) => bytes,
        }
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Small(bytes) => bytes,
            Self::Mapped(bytes) => bytes,
        }
    }
}
