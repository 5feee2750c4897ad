use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::Ordering;

use offhook_model::{LeaseState, Time};
use proptest::prelude::*;

use super::*;
use crate::record::tests::{any_lease, lease};
use crate::test_disk::{MemoryDisk, Op, Switches, replay};

fn put(n: u32) -> LeaseWrite {
    LeaseWrite::Put(lease(n))
}

/// What a store with these writes in it must hold.
fn model(writes: &[LeaseWrite]) -> Vec<Lease> {
    let mut leases = BTreeMap::new();
    for write in writes {
        match write {
            LeaseWrite::Put(lease) => drop(leases.insert(lease.address, lease.clone())),
            LeaseWrite::Remove(address) => drop(leases.remove(address)),
        }
    }
    leases.into_values().collect()
}

/// Writes of all kinds: new leases, changed ones, removals.
fn writes(batch: u32) -> Vec<LeaseWrite> {
    let mut writes: Vec<_> = (batch * 5..batch * 5 + 10).map(put).collect();
    let changed = Lease {
        state: LeaseState::Released,
        since: Time::from_secs(batch.into()),
        ..lease(batch * 3)
    };
    writes.push(LeaseWrite::Put(changed));
    writes.push(LeaseWrite::Remove(lease(batch * 2).address));
    writes
}

#[test]
fn what_was_committed_is_there_when_it_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("a/b");
    let (mut store, leases) = Store::open(&state).unwrap();
    assert_eq!(leases, []);
    let mut all = Vec::new();
    for batch in 0..20 {
        store.commit(&writes(batch)).unwrap();
        all.extend(writes(batch));
    }
    store.commit(&[]).unwrap();
    drop(store);
    assert_eq!(Store::open(&state).unwrap().1, model(&all));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&state), mode(&state.join(FILE_NAME))), (0o700, 0o600));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]
    #[test]
    fn any_lease_comes_back_as_it_was(
        leases in proptest::collection::vec(any_lease(), 1..20)
    ) {
        let writes: Vec<_> = leases.into_iter().map(LeaseWrite::Put).collect();
        let disk = MemoryDisk::default();
        let db = disk.open().unwrap();
        tables::initialise(&db).unwrap();
        tables::apply(&db, &writes).unwrap();
        prop_assert_eq!(tables::load(&db).unwrap(), model(&writes));
    }
}

#[test]
fn a_second_process_on_the_same_directory_is_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let _first = Store::open(directory.path()).unwrap();
    let error = Store::open(directory.path()).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    assert!(error.to_string().starts_with("another offhook is running"));
}

#[test]
fn a_later_format_is_refused_by_its_number_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    drop(Store::open(directory.path()).unwrap());
    let path = directory.path().join(FILE_NAME);
    let db = Database::open(&path).unwrap();
    let transaction = tables::begin(&db).unwrap();
    tables::write_version(&transaction, 7).unwrap();
    transaction.commit().unwrap();
    drop(db);
    let error = Store::open(directory.path()).unwrap_err();
    assert!(error.to_string().contains("format version 7"), "{error}");
    assert!(error.hint().contains("later release"));
    assert_eq!(tables::version(&Database::open(&path).unwrap()).unwrap(), 7);
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Store::open(&file.join("state")).unwrap_err();
    assert!(error.to_string().contains("file/state"), "{error}");
}

/// Everything that can be wrong with a file, but for its bytes.
#[test]
fn what_is_no_lease_store_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE_NAME);
    // A redb file without our tables.
    let other = MemoryDisk::default();
    drop(other.open().unwrap());
    let other = other.image.lock().unwrap().clone();
    for bytes in [&b""[..], b"x", b"# not a database\n", &[0; 8192], &other] {
        fs::write(&path, bytes).unwrap();
        let error = Store::open(directory.path()).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{} bytes: {error}", bytes.len());
        assert!(error.hint().contains("leases.redb.damaged"), "{}", error.hint());
        // redb may have marked its own file as open and closed.
        if bytes.len() < other.len() {
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    }
}

/// The file of a store with 300 leases, cleanly closed, and what is in it.
fn sound_image() -> (Vec<u8>, Vec<Lease>) {
    let disk = MemoryDisk::default();
    let db = disk.open().unwrap();
    tables::initialise(&db).unwrap();
    let mut all = Vec::new();
    for batch in 0..50 {
        tables::apply(&db, &writes(batch)).unwrap();
        all.extend(writes(batch));
    }
    drop(db);
    let image = disk.image.lock().unwrap().clone();
    (image, model(&all))
}

/// Opens an image as [`Store::open`] would, and commits to it, which must not hurt what is there.
fn open_image(image: Vec<u8>) -> Result<Vec<Lease>, Fault> {
    let disk = MemoryDisk::with(image);
    guarded(|| {
        let (db, leases) = check(disk.open()?)?;
        let more: Vec<_> = (9000..9080).map(put).collect();
        for writes in more.chunks(40) {
            tables::apply(&db, writes)?;
        }
        let after = tables::load(&db).expect("a store that opened stays whole");
        assert!(after[..leases.len()] == leases && after.len() == leases.len() + more.len());
        Ok(leases)
    })
}

#[test]
fn a_truncated_store_is_refused_whatever_is_left_of_it() {
    let (image, leases) = sound_image();
    assert_eq!(open_image(image.clone()).unwrap(), leases);
    let lengths = (0..image.len()).step_by(image.len() / 61).chain([1, 63, 64, 319, 320, 4095]);
    for length in lengths.chain([image.len() - 4096, image.len() - 1]) {
        // What is cut off may have been free.
        if let Ok(found) = open_image(image[..length].to_vec()) {
            assert_eq!(found.len(), leases.len(), "cut to {length}");
            assert_eq!(found, leases, "cut to {length}");
        }
    }
    assert!(open_image(image[..image.len() / 2].to_vec()).is_err());
}

#[test]
fn a_store_with_flipped_bytes_is_whole_or_refused() {
    let (image, leases) = sound_image();
    let used = image.len() - image.iter().rev().take_while(|byte| **byte == 0).count();
    let (mut refused, mut whole) = (0, 0);
    for (i, place) in (0..320).chain((320..used).step_by(used / 150)).enumerate() {
        let mask = if i % 2 == 0 { 0xff } else { 1 << (place % 8) };
        let mut image = image.clone();
        image[place] ^= mask;
        match open_image(image) {
            Ok(found) => {
                assert!(found == leases, "{} leases, byte {place} ^ {mask}", found.len());
                whole += 1;
            }
            Err(Fault::Engine(what)) if what.contains("stays whole") => {
                panic!("byte {place} ^ {mask}: {what}")
            }
            Err(_) => refused += 1,
        }
    }
    // Both happen: some bytes mean nothing, others everything.
    assert!(refused > 20 && whole > 20, "{refused} refused, {whole} whole");
}

#[test]
fn a_lease_that_vanished_is_noticed_though_every_page_is_sound() {
    let disk = MemoryDisk::default();
    let db = disk.open().unwrap();
    tables::initialise(&db).unwrap();
    tables::apply(&db, &writes(0)).unwrap();
    let table = redb::TableDefinition::<u32, &[u8]>::new("leases");
    let transaction = db.begin_write().unwrap();
    transaction.open_table(table).unwrap().remove(lease(5).address.to_bits()).unwrap();
    transaction.commit().unwrap();
    let Err(Fault::Damaged(what)) = tables::load(&db) else { panic!("not noticed") };
    assert_eq!(what, "it holds 8 leases where 9 were written");
}

/// The power goes at any moment: of what was written since the last sync any part may be on disk, in
/// sectors. Every acknowledged batch must be there, and nothing of a later one but a whole one.
#[test]
fn power_lost_at_any_moment_loses_nothing_acknowledged() {
    const BATCHES: u32 = 12;
    const SECTOR: usize = 512;
    let disk = MemoryDisk::default();
    let db = disk.open().unwrap();
    tables::initialise(&db).unwrap();
    disk.note(Op::Acknowledged);
    for batch in 0..BATCHES {
        tables::apply(&db, &writes(batch)).unwrap();
        disk.note(Op::Acknowledged);
    }
    let log = disk.log.lock().unwrap().clone();
    let states: Vec<Vec<Lease>> = (0..=BATCHES)
        .map(|batches| model(&(0..batches).flat_map(writes).collect::<Vec<_>>()))
        .collect();

    // A small generator is enough, and the same cuts every time.
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed >> 33
    };
    let first = log.iter().position(|op| matches!(op, Op::Acknowledged)).unwrap();
    for cut in first + 1..=log.len() {
        let synced = log[..cut].iter().rposition(|op| matches!(op, Op::Sync)).unwrap();
        let acknowledged = log[..cut].iter().filter(|op| matches!(op, Op::Acknowledged)).count();
        let mut image = Vec::new();
        log[..synced].iter().for_each(|op| replay(op, &mut image));
        for op in &log[synced..cut] {
            match op {
                Op::Write(offset, data) => {
                    for (i, sector) in data.chunks(SECTOR).enumerate() {
                        if random() % 2 == 0 {
                            let op = Op::Write(offset + i * SECTOR, sector.to_vec());
                            replay(&op, &mut image);
                        }
                    }
                }
                op => replay(op, &mut image),
            }
        }
        let found = open_image(image)
            .unwrap_or_else(|fault| panic!("cut at {cut} of {}: {fault:?}", log.len()));
        let may_be = &states[acknowledged - 1..(acknowledged + 1).min(states.len())];
        assert!(may_be.contains(&found), "cut at {cut} of {}", log.len());
    }
}

#[test]
fn a_full_disk_fails_commits_loses_nothing_and_heals_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let switches = Switches::default();
    drop(Store::open(directory.path()).unwrap());
    let (store, _) = Store::open_with(directory.path(), switches.opener()).unwrap();
    let mut store = store.without_rest();
    let mut all = Vec::new();
    for round in 0..4 {
        store.commit(&writes(round)).unwrap();
        all.extend(writes(round));
        switches.full.store(true, Ordering::SeqCst);
        for n in 0..3 {
            let error = store.commit(&[put(5000 + n)]).unwrap_err();
            assert!(error.is_full(), "{error}");
            assert!(error.to_string().contains(FILE_NAME), "{error}");
        }
        switches.full.store(false, Ordering::SeqCst);
    }
    store.commit(&[put(6000)]).unwrap();
    all.push(put(6000));
    drop(store);
    let leases = Store::open(directory.path()).unwrap().1;
    assert_eq!(leases, model(&all));
}

#[test]
fn a_sync_that_fails_and_a_panic_are_failed_commits_too() {
    let directory = tempfile::tempdir().unwrap();
    let switches = Switches::default();
    drop(Store::open(directory.path()).unwrap());
    let (store, _) = Store::open_with(directory.path(), switches.opener()).unwrap();
    let mut store = store.without_rest();
    store.commit(&[put(1)]).unwrap();
    for (switch, text) in
        [(&switches.sync_fails, "the disk broke"), (&switches.panics, "the disk panics")]
    {
        switch.store(true, Ordering::SeqCst);
        let error = store.commit(&[put(2)]).unwrap_err();
        assert!(error.to_string().contains(text) && !error.is_full(), "{error}");
        switch.store(false, Ordering::SeqCst);
        store.commit(&[put(3)]).unwrap();
    }
    drop(store);
    let addresses: Vec<Ipv4Addr> =
        Store::open(directory.path()).unwrap().1.iter().map(|lease| lease.address).collect();
    assert!(addresses.contains(&lease(1).address) && addresses.contains(&lease(3).address));
}

#[test]
fn a_store_that_failed_rests_before_it_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let switches = Switches::default();
    drop(Store::open(directory.path()).unwrap());
    let (mut store, _) = Store::open_with(directory.path(), switches.opener()).unwrap();
    store.rest = Duration::from_millis(100);
    switches.full.store(true, Ordering::SeqCst);
    assert!(store.commit(&[put(1)]).unwrap_err().is_full());
    switches.full.store(false, Ordering::SeqCst);
    assert!(matches!(store.commit(&[put(1)]), Err(CommitError::Resting { .. })));
    std::thread::sleep(Duration::from_millis(120));
    store.commit(&[put(1)]).unwrap();
}
