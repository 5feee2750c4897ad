//! Reading the leases of a store that no server has open, without changing a byte of it.

use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use offhook_model::Lease;
use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use crate::error::{Fault, OpenError};
use crate::guard::guarded;
use crate::journal::{Bytes, Latest, NAMES, Segment};
use crate::store::{FILE_NAME, builder, check, load, refuse_journals};
use crate::tables;

/// How often a file that changed while it was being read is read again.
const TRIES: usize = 3;

/// Every lease of the store in `directory`, by address. Nothing is locked, made, repaired or migrated on disk:
/// that happens to a copy in memory, so it works on a store that a crash has left and on a read-only disk, and
/// never keeps a server from starting.
///
/// # Errors
/// There is no store or it may not be read, it is damaged, or a later release wrote it.
pub fn read(directory: &Path) -> Result<Vec<Lease>, OpenError> {
    let path = directory.join(FILE_NAME);
    let mut tries = TRIES;
    loop {
        let result = guarded(|| {
            // The journal first: what is folded meanwhile is then in both, and not in neither.
            let journals = NAMES.map(|name| fs::read(directory.join(name)));
            let copy = copy(&path).map_err(|error| match error.kind() {
                // Should the journals be there, the leases have not been: they are missing.
                io::ErrorKind::NotFound => {
                    refuse_journals(directory).err().unwrap_or(Fault::Io(error))
                }
                _ => Fault::Io(error),
            })?;
            let db = check(builder().create_with_backend(copy)?)?;
            let Some(id) = tables::journal(&db)? else {
                return tables::load(&db, Latest::new());
            };
            let open = |name: &str, journal: io::Result<Vec<u8>>| {
                let journal = journal.map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => {
                        Fault::Damaged(format!("its journal {name} is missing"))
                    }
                    _ => Fault::Beside(directory.join(name), error),
                })?;
                Segment::open(directory.join(name), Arc::new(Bytes(journal)), id)
            };
            let ([a, b], [first, second]) = (NAMES, journals);
            let segments = [open(a, first)?, open(b, second)?];
            Ok(load(&db, segments)?.1)
        });
        tries -= 1;
        match result {
            // A server may be writing it: every lease is covered by a total, so that half a commit shows.
            Err(Fault::Damaged(_) | Fault::Engine(_)) if tries > 0 => {}
            Err(Fault::Io(source)) => {
                return Err(OpenError::Io { action: "read the lease store", path, source });
            }
            Err(Fault::Beside(path, source)) => {
                return Err(OpenError::Io { action: "read the lease store's", path, source });
            }
            result => return result.map_err(|fault| fault.opening(path)),
        }
    }
}

fn copy(path: &Path) -> io::Result<InMemoryBackend> {
    let bytes = fs::read(path)?;
    let memory = InMemoryBackend::new();
    memory.set_len(u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
    memory.write(0, &bytes)?;
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use offhook_model::LeaseWrite;

    use super::*;
    use crate::Store;
    use crate::record::tests::lease;

    #[test]
    fn a_store_is_read_without_being_changed_whoever_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(directory.path()).unwrap();
        let leases: Vec<_> = (0..100).map(lease).collect();
        let writes: Vec<_> = leases.iter().cloned().map(LeaseWrite::Put).collect();
        store.commit(&writes).unwrap();
        // Open, as a crash would leave it.
        let files = || {
            NAMES
                .iter()
                .chain([&FILE_NAME])
                .map(|name| fs::read(directory.path().join(name)).unwrap())
        };
        let before: Vec<_> = files().collect();
        let found = read(directory.path()).unwrap();
        assert!(files().eq(before));
        let mut expected = leases;
        expected.sort_unstable_by_key(|lease| lease.address);
        assert_eq!(found, expected);

        drop(store);
        assert_eq!(read(directory.path()).unwrap(), expected);
        let files: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(files.len(), 4, "{files:?}");
    }

    #[test]
    fn what_is_not_there_is_not_made_and_what_is_damaged_is_said_to_be() {
        let directory = tempfile::tempdir().unwrap();
        let error = read(directory.path()).unwrap_err();
        assert!(
            matches!(&error, OpenError::Io { source, .. } if source.kind() == ErrorKind::NotFound),
            "{error}"
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);

        for content in ["", "not a store"] {
            fs::write(directory.path().join(FILE_NAME), content).unwrap();
            let error = read(directory.path()).unwrap_err();
            assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        }
    }
}
