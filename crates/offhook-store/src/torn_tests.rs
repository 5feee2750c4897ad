//! The last batch of the journal: torn, damaged, or neither.

use std::fs;
use std::path::Path;

use offhook_model::{Lease, LeaseWrite};
use tempfile::TempDir;

use crate::journal::{NAMES, Torn};
use crate::record::tests::lease;
use crate::store::Store;

const BLOCK: usize = 4096;
/// Before the first batch of a file.
const HEADS: usize = 2 * BLOCK;

fn put(n: u32) -> LeaseWrite {
    LeaseWrite::Put(lease(n))
}

fn leases(count: u32) -> Vec<Lease> {
    (0..count).map(lease).collect()
}

/// The files as they are at this moment: what a SIGKILL leaves.
fn killed(from: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

/// Changes bytes of the journal file that is written first.
fn change(directory: &Path, place: usize, change: impl Fn(&mut [u8])) {
    let path = directory.join(NAMES[0]);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes[place..]);
    fs::write(path, bytes).unwrap();
}

fn torn(directory: &Path) -> (Option<Torn>, Vec<Lease>) {
    let (store, leases) = Store::open(directory).unwrap();
    (store.torn().cloned(), leases)
}

/// A store with three batches of one lease each, as after SIGKILL; settled or not.
fn three(settled: bool) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(directory.path()).unwrap();
    (0..3).for_each(|n| store.commit(&[put(n)]).unwrap());
    if settled {
        store.settle();
    }
    killed(directory.path())
}

type Damage = fn(&mut [u8]);

#[test]
fn a_last_batch_that_is_not_whole_is_left_out_and_told_once() {
    let cases: [(usize, Damage); 3] = [
        (40, |bytes| bytes[0] ^= 1),
        (0, |bytes| bytes[..40].fill(0)),
        (512, |bytes| bytes[..BLOCK - 512].fill(0xa5)),
    ];
    for (place, damage) in cases {
        let directory = three(false);
        change(directory.path(), HEADS + 2 * BLOCK + place, damage);
        let found = torn(directory.path());
        let file = directory.path().join(NAMES[0]);
        assert_eq!(found, (Some(Torn { file, bytes: BLOCK as u64 }), leases(2)));
        assert_eq!(torn(directory.path()), (None, leases(2)));
    }
}

#[test]
fn a_batch_of_several_blocks_is_told_by_any_of_them() {
    let many: Vec<_> = (3..153).map(put).collect();
    for lost in 0..3 {
        let directory = three(false);
        {
            let (mut store, _) = Store::open(directory.path()).unwrap();
            store.commit(&many).unwrap();
            // Not closed in good order.
            let copy = killed(directory.path());
            drop(store);
            for name in NAMES {
                fs::copy(copy.path().join(name), directory.path().join(name)).unwrap();
            }
        }
        change(directory.path(), HEADS + (3 + lost) * BLOCK, |bytes| bytes[..BLOCK].fill(0));
        let (found, kept) = torn(directory.path());
        assert!(found.is_some_and(|torn| torn.bytes >= 2 * BLOCK as u64), "block {lost}");
        assert_eq!(kept, leases(3));
        assert_eq!(torn(directory.path()).0, None);
    }
}

#[test]
fn once_settled_damage_to_the_last_batch_is_refused() {
    let directory = three(true);
    assert_eq!(torn(directory.path()), (None, leases(3)));
    let directory = three(true);
    change(directory.path(), HEADS + 2 * BLOCK + 40, |bytes| bytes[0] ^= 1);
    let error = Store::open(directory.path()).unwrap_err();
    assert!(error.to_string().contains("its journal lacks batch 3"), "{error}");
    // And a clean stop settles it.
    let directory = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(directory.path()).unwrap();
    store.commit(&[put(0)]).unwrap();
    drop(store);
    change(directory.path(), HEADS + 40, |bytes| bytes[0] ^= 1);
    assert!(Store::open(directory.path()).is_err());
}

/// What was written in an earlier round is no part of a batch of this one, wherever it stops.
#[test]
fn a_file_that_is_used_again_has_nothing_torn_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(directory.path()).unwrap();
    for n in 0..60_u32 {
        let many = if n.is_multiple_of(7) { 80 } else { 1 };
        store.commit(&(0..many).map(|i| put(n + i)).collect::<Vec<_>>()).unwrap();
        if n.is_multiple_of(5) {
            store.settle();
        }
        let copy = killed(directory.path());
        assert_eq!(torn(copy.path()).0, None, "after batch {n}");
    }
}
