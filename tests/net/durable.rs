//! What the disk has been told when an ACK leaves: the lease, and then to empty its own cache.

use std::fs;

use crate::full_disk::SmallDisk;
use crate::lab::{Lab, Vlan};
use crate::packet::*;

/// Writes and flushes that a disk has done (Documentation/block/stat).
fn done(device: &str) -> (u64, u64) {
    let text = fs::read_to_string(format!("/sys/block/{device}/stat")).unwrap();
    let numbers: Vec<u64> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
    (numbers[6], numbers[15])
}

/// File systems that take other ways to the disk.
#[test]
fn a_lease_is_on_the_disk_and_out_of_its_cache_before_its_ack() {
    for features in ["^has_journal", "has_journal"] {
        let lab = Lab::new();
        let disk = SmallDisk::ext4(&lab, features);
        let image = lab.dir.path().join("image");
        let server = lab.serve_with(&["--state", disk.state().to_str().unwrap()]);
        let device = disk.device();
        lab.client(Vlan::Native).enter(|| {
            let card = Card::open("eth0");
            for n in 0x0051_7e01..0x0051_7e06 {
                let (sectors, flushes) = done(&device);
                card.lease(mac(n), n, &[]);
                let bytes = fs::read(&image).unwrap();
                let after = done(&device);
                assert!(after.1 > flushes && after.0 >= sectors + 8, "{features}: {after:?}");
                let is_there = bytes.windows(6).any(|some| some == mac(n).0);
                assert!(is_there, "{features}: the lease of client {n} is not on the disk");
            }
        });
        assert_eq!(server.terminate(), Some(0));
    }
}
