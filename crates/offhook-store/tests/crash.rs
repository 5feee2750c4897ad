//! SIGKILL at any moment: what was acknowledged is there afterwards. And a disk that is really full.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use offhook_model::{ClientId, HardwareAddress, Lease, LeaseState, LeaseWrite, Time};
use offhook_store::{Batch, Store, Writer};

/// Says to the test program that it is the one to be killed, and where its store is.
const STATE: &str = "OFFHOOK_STORE_STATE";
/// The first address it writes.
const FIRST: &str = "OFFHOOK_STORE_FIRST";

fn lease(address: Ipv4Addr) -> Lease {
    let [a, b, c, d] = address.octets();
    let hardware = HardwareAddress::new(1, &[2, 0, a, b, c, d]);
    Lease {
        address,
        client: ClientId::Hardware(hardware),
        hardware,
        state: LeaseState::Bound,
        since: Time::from_secs(1),
        expires: Time::from_secs(2),
        scope: "voice".into(),
        class: None,
        host_name: None,
    }
}

/// The child: commits leases without end, and prints each address once its lease is on disk.
fn commit_until_killed(state: &Path, first: u32) {
    let (store, _) = Store::open(state).expect("the store opens after every kill");
    let writer = Writer::spawn(store, |batch: Batch<Ipv4Addr>| {
        batch.result.expect("a commit");
        let mut out = std::io::stdout().lock();
        for address in batch.tickets {
            writeln!(out, "acknowledged {address}!").expect("the parent listens");
        }
        out.flush().expect("the parent listens");
    });
    // Bounded, should nobody kill it: 60 s at the most.
    let started = Instant::now();
    for address in (first..).map(Ipv4Addr::from) {
        if started.elapsed() > Duration::from_secs(60) {
            return;
        }
        while writer.backlog() > 100 {
            std::thread::yield_now();
        }
        writer.submit(vec![LeaseWrite::Put(lease(address))], address).expect("room in the queue");
    }
}

#[test]
fn every_acknowledged_lease_survives_sigkill_at_any_moment() {
    if let (Some(state), Ok(first)) = (std::env::var_os(STATE), std::env::var(FIRST)) {
        return commit_until_killed(Path::new(&state), first.parse().unwrap());
    }
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    for round in 0..12_u32 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "every_acknowledged_lease_survives_sigkill_at_any_moment"])
            .arg("--nocapture")
            .env(STATE, directory.path())
            .env(FIRST, (0x0a00_0000 + round * 0x1_0000).to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut take = |line: std::io::Result<String>| {
            // The last line may be cut off: then nobody heard the acknowledgement.
            let line = line.ok()?;
            let address = line.strip_prefix("acknowledged ")?.strip_suffix('!')?;
            acknowledged.insert(address.parse::<Ipv4Addr>().ok()?);
            Some(())
        };
        // At another moment of the commit every time.
        let heard = lines.by_ref().filter_map(&mut take).take(50 + 13 * round as usize).count();
        std::thread::sleep(Duration::from_micros(u64::from(round) * 317));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(heard > 0, "round {round}: the child committed nothing");
        lines.for_each(|line| {
            take(line);
        });

        let (store, leases) = Store::open(directory.path()).unwrap();
        let kept: BTreeSet<Ipv4Addr> = leases.iter().map(|lease| lease.address).collect();
        let lost: Vec<_> = acknowledged.difference(&kept).collect();
        assert!(lost.is_empty(), "round {round}: lost {lost:?}");
        assert!(leases.iter().all(|found| *found == lease(found.address)));
        drop(store);
    }
    assert!(acknowledged.len() > 1000, "only {} leases", acknowledged.len());
}

/// A file system of 4 MiB, in a mount namespace of the test's own: needs `unshare` and `mount`, and user
/// namespaces when not run as root; fails without.
#[test]
fn a_really_full_disk_heals_once_there_is_room_again() {
    if let Some(state) = std::env::var_os(STATE) {
        return fill_and_free(Path::new(&state));
    }
    let directory = tempfile::tempdir().unwrap();
    let run = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c"])
        .arg("mount -t tmpfs -o size=4m none \"$0\" && exec \"$@\"")
        .arg(directory.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "a_really_full_disk_heals_once_there_is_room_again", "--nocapture"])
        .env(STATE, directory.path())
        .output()
        .expect("unshare cannot be run");
    let [out, err] = [&run.stdout, &run.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(run.status.success() && out.contains("1 passed"), "{}\n{out}\n{err}", run.status);
}

fn fill_and_free(state: &Path) {
    let batch = |round: u32| -> Vec<LeaseWrite> {
        let first = 0x0a00_0000 + round * 100;
        (first..first + 100).map(|address| LeaseWrite::Put(lease(address.into()))).collect()
    };
    let (mut store, _) = Store::open(state).expect("a store");
    store.commit(&batch(0)).expect("there is room at first");
    // Somebody else takes all the room there is.
    let ballast = state.join("ballast");
    let mut file = std::fs::File::create(&ballast).expect("a file");
    while file.write_all(&[1; 4096]).is_ok() {}
    let mut committed = 1;
    let error = loop {
        assert!(committed < 1000, "the disk was never full");
        match store.commit(&batch(committed)) {
            Ok(()) => committed += 1,
            Err(error) => break error,
        }
    };
    assert!(error.is_full(), "{error}");

    // Still full after the rest, and after another one there is room.
    std::thread::sleep(Duration::from_millis(600));
    let error = store.commit(&batch(committed)).expect_err("still full");
    assert!(error.is_full(), "{error}");
    std::fs::remove_file(&ballast).expect("removed");
    drop(file);
    std::thread::sleep(Duration::from_millis(600));
    for round in committed..committed + 20 {
        store.commit(&batch(round)).expect("room again");
    }
    drop(store);
    let (_, leases) = Store::open(state).expect("a store");
    assert_eq!(leases.len() as u32, (committed + 20) * 100);
}
