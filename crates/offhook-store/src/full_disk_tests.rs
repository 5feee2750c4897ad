//! Disks that are really full: small file systems in mount namespaces of the tests' own. They need `unshare` and
//! `mount`, and user namespaces when not run as root; they fail without.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use offhook_model::{Lease, LeaseWrite};

use crate::error::CommitError;
use crate::record::tests::lease;
use crate::room::{Reserve, Room, open_database};
use crate::store::{Disk, Store};
use crate::tables;

const STATE: &str = "OFFHOOK_SMALL_DISK";
const MOMENT: Duration = Duration::from_millis(1);

/// Runs `test` in a directory that is a file system of that size. `name` is the test's own: it is run once more, in
/// the namespace.
fn on_a_disk_of(size: &str, name: &str, test: impl FnOnce(&Path)) {
    if let Some(state) = std::env::var_os(STATE) {
        return test(Path::new(&state));
    }
    let directory = tempfile::tempdir().unwrap();
    let run = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c"])
        .arg(format!("mount -t tmpfs -o size={size} none \"$0\" && exec \"$@\""))
        .arg(directory.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("store::full_disk_tests::{name}"), "--nocapture"])
        .env(STATE, directory.path())
        .output()
        .expect("unshare cannot be run");
    let [out, err] = [&run.stdout, &run.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(run.status.success() && out.contains("1 passed"), "{}\n{out}\n{err}", run.status);
}

/// Somebody else's files, which take all the room there is.
struct Ballast<'a>(&'a Path);

impl Ballast<'_> {
    /// In files of this many bytes, to be removed one by one.
    fn fill(&self, each: usize) {
        for n in 0.. {
            let path = self.0.join(format!("ballast-{n}"));
            if !path.exists() && File::create(path).unwrap().write_all(&vec![1; each]).is_err() {
                break;
            }
        }
    }

    /// Removes one; false when there is none.
    fn remove_one(&self) -> bool {
        let name = |entry: &fs::DirEntry| entry.file_name().into_string().unwrap();
        let mut entries = fs::read_dir(self.0).unwrap().map(Result::unwrap);
        let found = entries.find(|entry| name(entry).starts_with("ballast-"));
        found.is_some_and(|entry| fs::remove_file(entry.path()).is_ok())
    }

    fn remove(&self) {
        while self.remove_one() {}
    }
}

#[test]
fn room_is_kept_from_others_and_given_back_piece_by_piece() {
    on_a_disk_of("3m", "room_is_kept_from_others_and_given_back_piece_by_piece", |directory| {
        let reserve = Reserve::open(directory).unwrap();
        let ballast = Ballast(directory);
        assert!(reserve.is_left() && reserve.restore());
        ballast.fill(1 << 16);
        assert!(!reserve.is_left());
        let mut file = File::create(directory.join("ballast-other")).unwrap();
        let mut pieces = 0;
        while reserve.lend() {
            pieces += 1;
            file.write_all(&[1; 60 << 10]).unwrap();
            assert!(!reserve.restore());
        }
        assert_eq!(pieces, 16);
        assert!(file.write_all(&[1; 100 << 10]).is_err());
        // Another process finds what this one left.
        drop(reserve);
        let reserve = Reserve::open(directory).unwrap();
        assert!(!reserve.is_left() && !reserve.restore());
        ballast.remove();
        assert!(reserve.is_left() && reserve.restore());
        assert_eq!(fs::metadata(directory.join("leases.reserve")).unwrap().len(), 1 << 20);
    });
}

#[test]
fn on_a_very_small_disk_nothing_is_kept() {
    on_a_disk_of("1900k", "on_a_very_small_disk_nothing_is_kept", |directory| {
        let reserve = Reserve::open(directory).unwrap();
        assert!(reserve.is_left() && !reserve.restore() && !reserve.lend());
        File::create(directory.join("other")).unwrap().write_all(&[1; 1800 << 10]).unwrap();
    });
}

#[test]
fn the_database_finds_room_on_a_full_disk() {
    on_a_disk_of("4m", "the_database_finds_room_on_a_full_disk", |directory| {
        drop(Store::open(directory).unwrap());
        let room: Arc<dyn Room> = Arc::new(Reserve::open(directory).unwrap());
        assert!(room.restore());
        Ballast(directory).fill(1 << 14);
        let path = directory.join("leases.redb");
        let db = open_database(&path, Arc::clone(&room)).unwrap();
        let leases: Vec<_> = (0..2000).map(lease).collect();
        let bytes: Vec<_> = leases.iter().map(crate::record::tests::encoded).collect();
        let all =
            || leases.iter().zip(&bytes).map(|(lease, bytes)| (lease.address, Some(&**bytes)));
        tables::fold(&db, all(), 1).unwrap();
        assert!(!room.is_left());
        drop(db);
        drop(room);
        assert_eq!(Store::open(directory).unwrap().1.len(), 2000);
    });
}

/// A disk nobody looks at before it is full, and nothing kept: what is left is the order in which room is taken.
struct Careless;

impl Room for Careless {
    fn is_left(&self) -> bool {
        true
    }

    fn lend(&self) -> bool {
        false
    }

    fn restore(&self) -> bool {
        true
    }
}

fn careless() -> Disk {
    Disk {
        database: Box::new(open_database),
        room: Box::new(|directory| {
            let reserve = Reserve::open(directory)?;
            while reserve.lend() {}
            Ok(Arc::new(Careless))
        }),
        ..Disk::default()
    }
}

/// Leases for addresses never used before, until no more can be committed.
fn commit_until_full(store: &mut Store, next: &mut u32, all: &mut Vec<Lease>) -> usize {
    for done in 0..20_000 {
        let leases: Vec<_> = (*next..*next + 20).map(lease).collect();
        let writes: Vec<_> = leases.iter().cloned().map(LeaseWrite::Put).collect();
        match store.commit(&writes) {
            Ok(()) => all.extend(leases),
            Err(CommitError::Resting { .. }) => return done,
            Err(error) => {
                assert!(error.is_full(), "{error}");
                return done;
            }
        }
        *next += 20;
    }
    panic!("the disk was never full");
}

fn addresses(leases: &[Lease]) -> BTreeSet<Ipv4Addr> {
    leases.iter().map(|lease| lease.address).collect()
}

/// With every piece of room that comes back the journal is folded first; else it would take one piece after the other
/// and be no nearer to being used again from its beginning.
#[test]
fn what_room_comes_back_goes_to_the_database_first() {
    on_a_disk_of("4m", "what_room_comes_back_goes_to_the_database_first", |directory| {
        let (mut store, _) = Store::open_with(directory, careless(), MOMENT).unwrap();
        let health = store.health();
        let (mut next, mut all) = (0, Vec::new());
        let ballast = Ballast(directory);
        for round in 0..4 {
            ballast.fill(1 << 14);
            (0..8).for_each(|_| assert!(ballast.remove_one()));
            commit_until_full(&mut store, &mut next, &mut all);
            wait_for(|| health.trouble().is_some(), "the trouble is told");
            let journals = || {
                ["a", "b"].map(|end| {
                    fs::metadata(directory.join(format!("leases.journal-{end}"))).unwrap().len()
                })
            };
            let (steps, before) = (health.steps(), journals());
            let mut removed = 0;
            while health.trouble().is_some() {
                assert!(ballast.remove_one(), "round {round}: no room is enough");
                removed += 1;
                commit_until_full(&mut store, &mut next, &mut all);
                std::thread::sleep(MOMENT * 5);
                // Where a part was folded the journal may have some of what is left, before the next part fails.
                if health.steps() == steps {
                    assert_eq!(journals(), before, "round {round}: the journal took it");
                }
            }
            assert!(removed > 0);
            ballast.remove();
            let first = all.len();
            // Some more, so that the next round begins with a journal in use.
            let writes: Vec<_> = (next..next + 20).map(lease).collect();
            wait_for(
                || {
                    store
                        .commit(&writes.iter().cloned().map(LeaseWrite::Put).collect::<Vec<_>>())
                        .is_ok()
                },
                "there is room again",
            );
            all.extend(writes);
            next += 20;
            assert!(all.len() > first);
            if round == 2 {
                // A restart is no cure, and needs none.
                drop(store);
                let found;
                (store, found) = Store::open_with(directory, careless(), MOMENT).unwrap();
                assert!(addresses(&found) == addresses(&all));
                break;
            }
        }
        drop(store);
        assert!(addresses(&Store::open(directory).unwrap().1) == addresses(&all));
    });
}

#[test]
fn a_disk_full_any_number_of_times_heals_and_a_restart_finds_everything() {
    const NAME: &str = "a_disk_full_any_number_of_times_heals_and_a_restart_finds_everything";
    on_a_disk_of("5m", NAME, |directory| {
        let (mut store, _) = Store::open_with(directory, Disk::default(), MOMENT).unwrap();
        let (mut next, mut all) = (0, Vec::new());
        let ballast = Ballast(directory);
        for round in 0..4 {
            ballast.fill(1 << 15);
            let done = commit_until_full(&mut store, &mut next, &mut all);
            assert_eq!(done, 0, "round {round}: acknowledged on a full disk");
            if round % 2 == 1 {
                // It stops on a full disk and starts there again.
                drop(store);
                let found;
                (store, found) = Store::open_with(directory, Disk::default(), MOMENT).unwrap();
                assert!(addresses(&found) == addresses(&all), "round {round}");
                commit_until_full(&mut store, &mut next, &mut all);
            }
            ballast.remove();
            for _ in 0..200 {
                let leases: Vec<_> = (next..next + 20).map(lease).collect();
                let writes: Vec<_> = leases.iter().cloned().map(LeaseWrite::Put).collect();
                wait_for(|| store.commit(&writes).is_ok(), "there is room again");
                all.extend(leases);
                next += 20;
            }
        }
        drop(store);
        assert!(addresses(&Store::open(directory).unwrap().1) == addresses(&all));
    });
}

fn wait_for(mut condition: impl FnMut() -> bool, what: &str) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(10), "never: {what}");
        std::thread::sleep(MOMENT);
    }
}

#[test]
fn a_file_that_is_empty_is_not_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("leases.redb");
    File::create(&path).unwrap();
    let room: Arc<dyn Room> = Arc::new(Reserve::open(directory.path()).unwrap());
    let error = open_database(&path, room).map(drop).unwrap_err();
    let io = matches!(&error, redb::DatabaseError::Storage(redb::StorageError::Io(error))
        if error.kind() == io::ErrorKind::UnexpectedEof);
    assert!(io && fs::metadata(&path).unwrap().len() == 0, "{error}");
}
