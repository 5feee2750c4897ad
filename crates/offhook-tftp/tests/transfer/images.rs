//! Images that do not become what they were said to be, or are not all here yet.

use super::*;

/// An image that is shorter than it says, fails, or is not all here yet.
struct Odd {
    available: Cell<u64>,
    then: io::ErrorKind,
}

impl Image for Odd {
    fn size(&self) -> Option<u64> {
        Some(5000)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let count = into.len().min(self.available.get().saturating_sub(offset) as usize);
        match self.then {
            io::ErrorKind::UnexpectedEof => Ok(count),
            kind if count < into.len() => Err(kind.into()),
            _ => Ok(count),
        }
    }
}

#[test]
fn an_image_that_became_shorter_or_unreadable_is_an_error_not_a_short_file() {
    for then in [io::ErrorKind::UnexpectedEof, io::ErrorKind::PermissionDenied] {
        let mut bench = Bench::new(Odd { available: Cell::new(700), then }, "");
        assert_eq!(bench.blocks(), [1]);
        let sent = bench.ack(1).sent();
        assert_eq!(sent.len(), 1, "{then}");
        assert!(sent[0].starts_with(b"\0\x05\0\0"), "{then}");
        assert_eq!(bench.outcome(), Some(&Outcome::Failed(then)));
    }
}

#[test]
fn an_image_still_arriving_is_waited_for() {
    let image = Odd { available: Cell::new(600), then: io::ErrorKind::WouldBlock };
    let mut bench = Bench::new(image, "");
    assert_eq!(bench.blocks(), [1]);
    assert!(bench.ack(1).sent().is_empty());
    assert!(bench.outcome().is_none());
    bench.transfer.image().available.set(5000);
    assert_eq!(bench.blocks(), [2]);
}

#[test]
fn a_wait_for_the_image_is_not_held_against_the_client() {
    let image = Odd { available: Cell::new(600), then: io::ErrorKind::WouldBlock };
    let mut bench = Bench::new(image, "");
    assert_eq!(bench.blocks(), [1]);
    assert!(bench.ack(1).sent().is_empty() && bench.transfer.is_starved());
    // Ten minutes, with a client that repeats its ACK now and then.
    for _ in 0..600 {
        bench.wait_for_timer().unwrap();
        assert!(bench.ack(1).sent().is_empty());
        assert_eq!(bench.outcome(), None);
    }
    assert_eq!((bench.transfer.stats().timeouts, bench.transfer.stats().retransmitted), (0, 0));
    bench.transfer.image().available.set(5000);
    assert_eq!(bench.blocks(), [2]);
    assert!(!bench.transfer.is_starved());
    // From here on it counts again, and from here on only.
    let mut repeated = 0;
    while bench.wait_for_timer().is_some() && bench.outcome().is_none() {
        repeated += bench.blocks().len();
    }
    assert_eq!((repeated, bench.outcome()), (6, Some(&Outcome::TimedOut)));
}

#[test]
fn a_window_that_has_not_all_arrived_is_sent_as_far_as_it_has_and_not_repeated_meanwhile() {
    let image = Odd { available: Cell::new(1100), then: io::ErrorKind::WouldBlock };
    let mut bench = Bench::new(image, "windowsize/4/");
    bench.sent();
    assert_eq!(bench.ack(0).blocks(), [1, 2]);
    for _ in 0..10 {
        bench.wait_for_timer().unwrap();
        assert_eq!(bench.blocks(), [0; 0]);
    }
    bench.transfer.image().available.set(1600);
    assert_eq!(bench.blocks(), [3]);
    // The client has missed one of those before.
    assert_eq!(bench.ack(1).blocks(), [2, 3]);
    bench.transfer.image().available.set(5000);
    assert_eq!(bench.blocks(), [4, 5]);
}

#[test]
fn why_an_image_never_came_is_told_to_the_client() {
    for (then, text) in [
        (io::ErrorKind::InvalidData, "the file is damaged: its digest is not the one stated"),
        (
            io::ErrorKind::ConnectionAborted,
            "the provisioning server does not give the file, try again later",
        ),
        (io::ErrorKind::PermissionDenied, "the server failed to read the file"),
    ] {
        let mut bench = Bench::new(Odd { available: Cell::new(0), then }, "");
        assert_eq!(bench.sent(), [[b"\0\x05\0\0", text.as_bytes(), b"\0"].concat()]);
        assert_eq!(bench.outcome(), Some(&Outcome::Failed(then)));
    }
}
