use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::*;
use crate::record::tests::lease;
use crate::test_disk::Switches;

fn put(n: u32) -> Vec<LeaseWrite> {
    vec![LeaseWrite::Put(lease(n))]
}

/// A writer whose batches come out of a channel, at most one of them unread.
fn writer(directory: &Path, capacity: usize) -> (Writer<u32>, Receiver<Batch<u32>>) {
    let (store, _) = Store::open(directory).unwrap();
    let (tell, told) = std::sync::mpsc::sync_channel(0);
    let writer = Writer::with_capacity(store, capacity, move |batch| {
        // The last batches of a test may find nobody to listen.
        let _ = tell.send(batch);
    });
    (writer, told)
}

#[test]
fn tickets_come_back_in_order_each_batch_as_much_as_has_gathered() {
    let directory = tempfile::tempdir().unwrap();
    let (writer, told) = writer(directory.path(), QUEUE);
    writer.submit(put(0), 0).unwrap();
    // The first batch is under way, or done and waiting to be told, once the queue is empty.
    let started = Instant::now();
    while writer.backlog() > 0 {
        assert!(started.elapsed() < Duration::from_secs(5));
        thread::yield_now();
    }
    for n in 1..3000 {
        writer.submit(put(n), n).unwrap();
    }
    let batches: Vec<_> = (0..4).map(|_| told.recv().unwrap()).collect();
    assert!(batches.iter().all(|batch| batch.result.is_ok()));
    let sizes: Vec<usize> = batches.iter().map(|batch| batch.tickets.len()).collect();
    assert_eq!(sizes, [1, BATCH, BATCH, 3000 - 1 - 2 * BATCH]);
    let tickets: Vec<u32> = batches.into_iter().flat_map(|batch| batch.tickets).collect();
    assert_eq!(tickets, (0..3000).collect::<Vec<_>>());
    writer.close();
    assert_eq!(Store::open(directory.path()).unwrap().1.len(), 3000);
}

#[test]
fn what_is_told_as_done_is_on_disk_already() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(directory.path()).unwrap();
    let (tell, told) = channel();
    let copy = tempfile::tempdir().unwrap();
    let from = directory.path().to_owned();
    let to = copy.path().to_owned();
    let writer = Writer::spawn(store, move |batch: Batch<u32>| {
        // The files as they are at this moment, as after a SIGKILL.
        let state = to.join(batch.tickets[0].to_string());
        std::fs::create_dir(&state).unwrap();
        for file in std::fs::read_dir(&from).unwrap().map(Result::unwrap) {
            std::fs::copy(file.path(), state.join(file.file_name())).unwrap();
        }
        tell.send((state, batch.tickets)).unwrap();
    });
    for n in 0..10 {
        writer.submit(put(n), n).unwrap();
    }
    drop(writer);
    let mut acknowledged = 0;
    for (state, tickets) in told {
        acknowledged += tickets.len();
        assert_eq!(Store::open(&state).unwrap().1.len(), acknowledged);
    }
    assert_eq!(acknowledged, 10);
}

#[test]
fn a_full_queue_refuses_without_waiting_and_gives_the_ticket_back() {
    let directory = tempfile::tempdir().unwrap();
    let (writer, told) = writer(directory.path(), 5);
    let refused = (0..100).find_map(|n| writer.submit(put(n), n).err()).unwrap();
    assert_eq!(refused.reason, Refused::Full);
    let last = refused.ticket;
    let mut tickets = Vec::new();
    while tickets.last() != Some(&(last - 1)) {
        tickets.extend(told.recv_timeout(Duration::from_secs(5)).unwrap().tickets);
    }
    assert_eq!(tickets, (0..last).collect::<Vec<_>>());
    writer.submit(put(200), 200).unwrap();
    assert_eq!(told.recv().unwrap().tickets, [200]);
}

#[test]
fn a_full_disk_fails_its_batches_and_later_ones_succeed_again() {
    let directory = tempfile::tempdir().unwrap();
    drop(Store::open(directory.path()).unwrap());
    let switches = Switches::default();
    let (store, _) = Store::open_with(directory.path(), switches.disk(), Duration::ZERO).unwrap();
    let (tell, told) = channel();
    let writer = Writer::spawn(store, move |batch| tell.send(batch).unwrap());
    for (round, full) in [false, true, true, false, true, false].into_iter().enumerate() {
        switches.full.store(full, Ordering::SeqCst);
        writer.submit(put(round as u32), round).unwrap();
        let batch = told.recv_timeout(Duration::from_secs(5)).unwrap();
        assert_eq!((batch.tickets, batch.result.is_err()), (vec![round], full));
        if let Err(error) = batch.result {
            assert!(error.is_full(), "{error}");
        }
    }
    writer.close();
    let leases = Store::open(directory.path()).unwrap().1;
    for kept in [0, 3, 5] {
        assert!(leases.contains(&lease(kept)), "{kept}");
    }
}

#[test]
fn a_panic_in_done_ends_the_thread_and_everybody_learns_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(directory.path()).unwrap();
    let writer = Writer::spawn(store, |_: Batch<u32>| panic!("on purpose"));
    writer.submit(put(0), 0).unwrap();
    let started = Instant::now();
    let error = loop {
        assert!(started.elapsed() < Duration::from_secs(5));
        match writer.submit(put(1), 1) {
            Err(error) if error.reason == Refused::Gone => break error,
            _ => {}
        }
    };
    assert_eq!(error.ticket, 1);
    assert!(thread::spawn(move || writer.close()).join().is_err());
    // And the store was closed all the same.
    assert!(!Store::open(directory.path()).unwrap().1.is_empty());
}
