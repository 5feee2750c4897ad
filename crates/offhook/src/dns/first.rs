//! Who claimed a name first, kept over a restart.
//!
//! Leases tell when they were last renewed, not when a name was claimed. So, of the names that several claim (few, or
//! none), whose they are is in a small file of its own. It is written once a second at most. Without it, or where it is
//! damaged, the order of renewals has to do.

use std::fs;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use tracing::debug;

/// Of each contested name the address of its first claimant.
pub(super) type Holders = Vec<(Box<str>, Ipv4Addr)>;

/// The file, and what is in it.
#[derive(Debug)]
pub(super) struct FirstHolders {
    file: PathBuf,
    written: Holders,
}

impl FirstHolders {
    /// What the file in this directory says; nothing when there is none.
    pub(super) fn load(state: &Path) -> Self {
        let file = state.join("names");
        let text = fs::read(&file).unwrap_or_default();
        let lines = String::from_utf8_lossy(&text);
        let read = |line: &str| {
            let (label, address) = line.split_once(' ')?;
            Some((label.into(), address.parse().ok()?))
        };
        let written = lines.lines().filter_map(read).collect();
        Self { file, written }
    }

    /// What is in the file.
    pub(super) fn holders(&self) -> &Holders {
        &self.written
    }

    /// Writes what has changed. What cannot be written is tried again with the next change.
    pub(super) fn save(&mut self, mut holders: Holders) {
        holders.sort_unstable();
        if holders == self.written {
            return;
        }
        match self.write(&holders) {
            Ok(()) => self.written = holders,
            Err(error) => {
                debug!(%error, file = %self.file.display(), "who came first is not kept");
            }
        }
    }

    /// Whole, or not at all.
    fn write(&self, holders: &Holders) -> io::Result<()> {
        let new = self.file.with_extension("new");
        let mut out = io::BufWriter::new(fs::File::create(&new)?);
        for (label, address) in holders {
            writeln!(out, "{label} {address}")?;
        }
        out.flush()?;
        drop(out);
        fs::rename(&new, &self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_came_first_is_read_as_it_was_written_and_damage_is_passed_over() {
        let state = tempfile::tempdir().unwrap();
        let mut first = FirstHolders::load(state.path());
        assert!(first.holders().is_empty());
        let address = |last| Ipv4Addr::new(10, 0, 0, last);
        first.save(vec![("sip".into(), address(7)), ("desk".into(), address(9))]);
        let sorted = vec![("desk".into(), address(9)), ("sip".into(), address(7))];
        assert_eq!(*FirstHolders::load(state.path()).holders(), sorted);
        let file = state.path().join("names");
        fs::write(&file, b"desk 10.0.0.9\nsip 10.0.0\n\xff\n10.0.0.3\n").unwrap();
        let damaged = FirstHolders::load(state.path());
        assert_eq!(*damaged.holders(), vec![("desk".into(), address(9))]);
    }
}
