use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::Ordering;

use offhook_model::{LeaseState, Time};
use proptest::prelude::*;

use super::*;
use crate::journal::{Frozen, fold};
use crate::read;
use crate::record::tests::{any_lease, lease};
use crate::test_disk::{MemoryFile, Op, Switches, replay};

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

/// A store in memory, without threads: folded when the test says so.
struct Rig {
    files: [MemoryFile; 3],
    db: Database,
    journal: Journal,
    frozen: Option<Frozen>,
}

impl Rig {
    const ID: u64 = 77;

    fn new() -> Self {
        let files = MemoryFile::all([const { Vec::new() }; 3]);
        let db = files[0].database().unwrap();
        tables::initialise(&db).unwrap();
        files[1..].iter().for_each(|file| Segment::initialise(file, Self::ID, 8).unwrap());
        tables::write_journal(&db, Self::ID).unwrap();
        drop(db);
        Self::open_files(files).unwrap().0
    }

    fn open(images: [Vec<u8>; 3]) -> Result<(Self, Vec<Lease>), Fault> {
        Self::open_files(MemoryFile::all(images))
    }

    fn open_files(files: [MemoryFile; 3]) -> Result<(Self, Vec<Lease>), Fault> {
        guarded(|| {
            let db = check(files[0].database()?)?;
            let id = tables::journal(&db)?.ok_or_else(|| Fault::Damaged("no journal".into()))?;
            let open = |n: usize| Segment::open(NAMES[n - 1].into(), files[n].medium(), id);
            let (mut journal, leases) = load(&db, [open(1)?, open(2)?])?;
            let frozen = journal.frozen();
            Ok((Self { files: files.clone(), db, journal, frozen }, leases))
        })
    }

    fn images(&self) -> [Vec<u8>; 3] {
        self.files.each_ref().map(MemoryFile::image)
    }

    fn commit(&mut self, writes: &[LeaseWrite]) {
        let leases = tables::count(&self.db).unwrap();
        self.journal.append(writes, leases, self.frozen.is_none(), || true).unwrap();
        self.frozen = self.journal.frozen().or(self.frozen.take());
    }

    /// Everything that can be folded is.
    fn fold(&mut self) {
        if let Some(mut frozen) = self.frozen.take() {
            while !fold::step(&self.db, &mut frozen, fold::STEP).unwrap() {}
        }
    }
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
        let mut rig = Rig::new();
        rig.commit(&writes);
        prop_assert_eq!(Rig::open(rig.images()).unwrap().1, model(&writes));
        rig.fold();
        prop_assert_eq!(Rig::open(rig.images()).unwrap().1, model(&writes));
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
    let link = directory.path().join("link");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    for path in [file, link] {
        let error = Store::open(&path).unwrap_err();
        assert!(error.to_string().ends_with("not a directory"), "{error}");
    }
}

/// Everything that can be wrong with a file, but for its bytes.
#[test]
fn what_is_no_lease_store_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE_NAME);
    // A redb file without our tables.
    let [other] = MemoryFile::all([Vec::new()]);
    drop(other.database().unwrap());
    let other = other.image();
    for bytes in [&b""[..], b"x", b"# not a database\n", &[0; 8192], &other] {
        fs::write(&path, bytes).unwrap();
        let error = Store::open(directory.path()).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{} bytes: {error}", bytes.len());
        assert!(error.hint().contains("/damaged && mv "), "{}", error.hint());
        // redb may have marked its own file as open and closed.
        if bytes.len() < other.len() {
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    }
}

/// The files of a store with 300 leases, cleanly closed, and what is in it. Some is in the database, some in a
/// file to be folded, some in the other.
fn sound_images() -> ([Vec<u8>; 3], Vec<Lease>) {
    let mut rig = Rig::new();
    let mut all = Vec::new();
    for batch in 0..50 {
        rig.commit(&writes(batch));
        all.extend(writes(batch));
        if batch == 25 {
            rig.fold();
        }
    }
    rig.journal.end().unwrap();
    assert!(rig.frozen.is_some() && tables::count(&rig.db).unwrap() > 0);
    (rig.images(), model(&all))
}

/// Opens images as [`Store::open`] would, and goes on with them, which must not hurt what is there.
fn open_images(images: [Vec<u8>; 3]) -> Result<Vec<Lease>, Fault> {
    let (mut rig, leases) = Rig::open(images)?;
    let more: Vec<_> = (9000..9080).map(put).collect();
    for (i, writes) in more.chunks(2).enumerate() {
        rig.commit(writes);
        if i % 16 == 15 {
            rig.fold();
        }
    }
    drop(rig.db);
    let (rig, after) = Rig::open_files(rig.files).expect("a store that opened stays whole");
    assert!(after[..leases.len()] == leases && after.len() == leases.len() + more.len());
    drop(rig);
    Ok(leases)
}

#[test]
fn a_truncated_store_is_refused_whatever_is_left_of_it() {
    let (images, leases) = sound_images();
    assert_eq!(open_images(images.clone()).unwrap(), leases);
    for (file, image) in images.iter().enumerate() {
        let lengths = (0..image.len()).step_by(image.len() / 31).chain([1, 63, 64, 319, 320, 4095]);
        let mut refused = 0;
        for length in lengths.chain([image.len() / 2, image.len() - 4096, image.len() - 1]) {
            let mut images = images.clone();
            images[file].truncate(length);
            // What is cut off of the database may have been free.
            match open_images(images) {
                Ok(found) => assert!(found == leases && file == 0, "file {file} cut to {length}"),
                Err(_) => refused += 1,
            }
        }
        assert!(refused > 20, "file {file}");
    }
}

#[test]
fn a_store_with_flipped_bytes_is_whole_or_refused() {
    let (images, leases) = sound_images();
    for (file, image) in images.iter().enumerate() {
        let used = image.len() - image.iter().rev().take_while(|byte| **byte == 0).count();
        let (mut refused, mut whole) = (0, 0);
        for (i, place) in (0..320).step_by(3).chain((320..used).step_by(used / 80)).enumerate() {
            let mask = if i % 2 == 0 { 0xff } else { 1 << (place % 8) };
            let mut images = images.clone();
            images[file][place] ^= mask;
            match open_images(images) {
                Ok(found) => {
                    let count = found.len();
                    assert!(found == leases, "{count} leases, file {file}, byte {place} ^ {mask}");
                    whole += 1;
                }
                Err(Fault::Engine(what)) if what.contains("stays whole") => {
                    panic!("file {file}, byte {place} ^ {mask}: {what}")
                }
                Err(_) => refused += 1,
            }
        }
        // Both happen: some bytes mean nothing, others everything.
        assert!(refused > 20 && whole > 20, "file {file}: {refused} refused, {whole} whole");
    }
}

#[test]
fn a_lease_that_vanished_is_noticed_though_every_page_is_sound() {
    let mut rig = Rig::new();
    rig.commit(&writes(0));
    rig.journal.turn().unwrap();
    rig.frozen = rig.journal.frozen();
    rig.fold();
    let table = redb::TableDefinition::<u32, &[u8]>::new("leases");
    let transaction = rig.db.begin_write().unwrap();
    transaction.open_table(table).unwrap().remove(lease(5).address.to_bits()).unwrap();
    transaction.commit().unwrap();
    drop(rig.db);
    let Err(Fault::Damaged(what)) = Rig::open_files(rig.files) else { panic!("not noticed") };
    assert_eq!(what, "it holds 8 leases where 9 were written");
}

/// The power goes at any moment: of what was written to a file since its last sync any part may be on disk, in
/// sectors, and a sector may be neither old nor new. Every acknowledged batch must be there, and nothing of a
/// later one but a whole one.
#[test]
fn power_lost_at_any_moment_loses_nothing_acknowledged() {
    const BATCHES: u32 = 60;
    const SECTOR: usize = 512;
    // Of different sizes, some of several blocks.
    let batch = |n: u32| -> Vec<LeaseWrite> {
        let many = if n.is_multiple_of(7) { 90 } else { 0 };
        writes(n).into_iter().chain((n..n + many).map(put)).collect()
    };
    let mut rig = Rig::new();
    rig.files[0].note(Op::Acknowledged);
    let mut turns = 0;
    for n in 0..BATCHES {
        rig.commit(&batch(n));
        rig.files[0].note(Op::Acknowledged);
        if n % 11 == 10 {
            turns += u32::from(rig.frozen.is_some());
            rig.fold();
        }
    }
    assert!(turns > 2, "only {turns} turns");
    let grown = rig.files[1..].iter().any(|file| file.image().len() > (2 + 8) * 4096);
    assert!(grown, "no file grew");
    let log = rig.files[0].log();
    let states: Vec<Vec<Lease>> = (0..=BATCHES)
        .map(|batches| model(&(0..batches).flat_map(batch).collect::<Vec<_>>()))
        .collect();

    // A small generator is enough, and the same cuts every time.
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed >> 33
    };
    let first = log.iter().position(|(_, op)| matches!(op, Op::Acknowledged)).unwrap();
    let mut torn = 0;
    for cut in first + 1..=log.len() {
        let done = &log[..cut];
        let acknowledged = done.iter().filter(|(_, op)| matches!(op, Op::Acknowledged)).count();
        let mut images = [const { Vec::new() }; 3];
        for (file, image) in images.iter_mut().enumerate() {
            let ops: Vec<&Op> =
                done.iter().filter(|(number, _)| *number == file).map(|(_, op)| op).collect();
            let synced = ops.iter().rposition(|op| matches!(op, Op::Sync)).unwrap();
            ops[..synced].iter().for_each(|op| replay(op, image));
            for op in &ops[synced..] {
                let Op::Write(offset, data) = op else {
                    replay(op, image);
                    continue;
                };
                for (i, sector) in data.chunks(SECTOR).enumerate() {
                    let garbage = file > 0 && random().is_multiple_of(16);
                    let sector = if garbage { vec![0xa5; sector.len()] } else { sector.to_vec() };
                    if garbage || random().is_multiple_of(2) {
                        replay(&Op::Write(offset + i * SECTOR, sector), image);
                    }
                }
            }
        }
        let found = open_images(images)
            .unwrap_or_else(|fault| panic!("cut at {cut} of {}: {fault:?}", log.len()));
        let may_be = &states[acknowledged - 1..(acknowledged + 1).min(states.len())];
        assert!(may_be.contains(&found), "cut at {cut} of {}", log.len());
        torn += u32::from(found != states[acknowledged - 1]);
    }
    assert!(torn > 0, "no batch outlived the power without its acknowledgement");
}

/// As the release before this format wrote it, on an administrator's disk.
fn version_one(directory: &Path, leases: &[Lease]) {
    let db = builder().create(directory.join(FILE_NAME)).unwrap();
    let transaction = db.begin_write().unwrap();
    {
        let (mut count, mut sum) = (0, 0_u64);
        let mut table =
            transaction.open_table(redb::TableDefinition::<u32, &[u8]>::new("leases")).unwrap();
        for lease in leases {
            let bytes = crate::record::tests::encoded(lease);
            count += 1;
            sum = sum.wrapping_add(crate::record::checksum(&bytes).into());
            table.insert(lease.address.to_bits(), bytes.as_slice()).unwrap();
        }
        let mut meta =
            transaction.open_table(redb::TableDefinition::<&str, u64>::new("meta")).unwrap();
        for (key, value) in [("version", 1), ("count", count), ("sum", sum)] {
            meta.insert(key, value).unwrap();
        }
    }
    transaction.commit().unwrap();
}

#[test]
fn a_store_of_version_1_opens_and_keeps_every_lease() {
    let directory = tempfile::tempdir().unwrap();
    let leases: Vec<_> = (0..500).map(lease).collect();
    version_one(directory.path(), &leases);
    assert_eq!(crate::read(directory.path()).unwrap(), leases, "read before it is migrated");
    let (mut store, found) = Store::open(directory.path()).unwrap();
    assert_eq!(found, leases);
    store.commit(&[put(500), LeaseWrite::Remove(lease(0).address)]).unwrap();
    drop(store);
    let expected: Vec<_> = (1..501).map(lease).collect();
    assert_eq!(Store::open(directory.path()).unwrap().1, expected);
    let db = Database::open(directory.path().join(FILE_NAME)).unwrap();
    assert_eq!(tables::version(&db).unwrap(), 2);
}

/// Stops where a crash may: the journal files are made first, then noted.
#[test]
fn a_migration_that_a_crash_cut_short_is_taken_up_again() {
    let directory = tempfile::tempdir().unwrap();
    version_one(directory.path(), &[lease(1)]);
    Segment::create(&directory.path().join(NAMES[0]), 1).unwrap();
    assert_eq!(Store::open(directory.path()).unwrap().1, [lease(1)]);
    assert_eq!(Store::open(directory.path()).unwrap().1, [lease(1)]);
}

#[test]
fn a_file_of_the_store_that_is_missing_or_another_s_is_noticed_and_nothing_is_emptied() {
    let [one, other] = [1, 2].map(|n| {
        let directory = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(directory.path()).unwrap();
        store.commit(&[put(n)]).unwrap();
        directory
    });
    for name in NAMES {
        let path = one.path().join(name);
        let kept = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let error = Store::open(one.path()).unwrap_err();
        assert!(error.to_string().contains(&format!("{name} is missing")), "{error}");
        fs::copy(other.path().join(name), &path).unwrap();
        let error = Store::open(one.path()).unwrap_err();
        assert!(error.to_string().contains("another store"), "{error}");
        fs::remove_file(&path).unwrap();
        // What may not be opened, whoever asks.
        fs::create_dir(&path).unwrap();
        for error in [Store::open(one.path()).unwrap_err(), read(one.path()).unwrap_err()] {
            assert!(matches!(&error, OpenError::Io { path: of, .. } if *of == path), "{error}");
        }
        fs::remove_dir(&path).unwrap();
        fs::write(&path, kept).unwrap();
    }
    fs::rename(one.path().join(FILE_NAME), one.path().join("moved")).unwrap();
    for error in [Store::open(one.path()).unwrap_err(), read(one.path()).unwrap_err()] {
        assert!(error.to_string().contains("belong to another leases.redb"), "{error}");
    }
    fs::rename(one.path().join("moved"), one.path().join(FILE_NAME)).unwrap();
    assert_eq!(Store::open(one.path()).unwrap().1, [lease(1)]);
}

#[test]
fn a_full_disk_fails_commits_loses_nothing_and_heals_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let switches = Switches::default();
    drop(Store::open(directory.path()).unwrap());
    let (mut store, _) =
        Store::open_with(directory.path(), switches.disk(), Duration::ZERO).unwrap();
    let mut all = Vec::new();
    for round in 0..4 {
        store.commit(&writes(round)).unwrap();
        all.extend(writes(round));
        switches.full.store(true, Ordering::SeqCst);
        for n in 0..3 {
            let error = store.commit(&[put(5000 + n)]).unwrap_err();
            assert!(error.is_full(), "{error}");
            assert!(error.to_string().contains("leases.journal-"), "{error}");
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
    let (mut store, _) =
        Store::open_with(directory.path(), switches.disk(), Duration::ZERO).unwrap();
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
    let rest = Duration::from_millis(100);
    let (mut store, _) = Store::open_with(directory.path(), switches.disk(), rest).unwrap();
    switches.full.store(true, Ordering::SeqCst);
    let first = store.commit(&[put(1)]).unwrap_err();
    assert!(first.is_full());
    switches.full.store(false, Ordering::SeqCst);
    let second = store.commit(&[put(1)]).unwrap_err();
    assert!(matches!(second, CommitError::Resting { .. }));
    assert!(second.to_string().starts_with(&first.to_string()), "it does not say why: {second}");
    std::thread::sleep(Duration::from_millis(120));
    store.commit(&[put(1)]).unwrap();
}
