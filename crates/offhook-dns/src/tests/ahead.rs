//! Whether the direct path looked ahead or not is nothing that anybody can tell from what it says.

use std::sync::Arc;

use offhook_model::{HardwareAddress, Lease, Mac};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};

use super::leases::{NOW, lease};
use super::support::*;
use crate::{DIRECT_ROOM, Direct, NameBook, NameRules, Zones};

/// Hosts, and leases: more than are answered without looking ahead.
const MANY: u32 = 6000;

/// Two phones want each name; the first has it, until it is gone.
fn phone(number: u32) -> Lease {
    let [_, _, a, b] = number.to_be_bytes();
    let hardware = HardwareAddress::from(Mac([0, 0x90, 0x8f, 1, a, b]));
    let lease = lease([10, 101, a, b], 0, &format!("desk-{}", number / 2));
    Lease { hardware, client: offhook_model::ClientId::Hardware(hardware), ..lease }
}

/// As they are, and when one of two phones has gone and another one has its address.
fn snapshots() -> [Arc<Zones>; 2] {
    let mut site = lab();
    for number in 0..MANY {
        let [_, _, a, b] = number.to_be_bytes();
        site.hosts.push(host(&format!("host{number}.lab.voip"), [10, 100, a, b]));
    }
    for subnet in ["10.100.0.0/16", "10.101.0.0/16"] {
        site.scopes.push(lab_with_subnets(&[subnet]).scopes.remove(0));
    }
    let mut zones = Zones::from_site(&site, 1);
    let rules = NameRules { models: true, hosts: true, ttl: 300 };
    let mut book = NameBook::new(&name("lab.voip"), rules);
    (0..MANY).for_each(|number| book.put(NOW, &phone(number), |wire| zones.is_taken(wire)));
    zones.set_lease_names(book.changed().unwrap().clone());
    let before = zones.clone();
    for number in (0..MANY).step_by(2) {
        book.remove(phone(number).address);
        let next = Lease { address: phone(number).address, ..phone(MANY + number) };
        book.put(NOW, &next, |wire| zones.is_taken(wire));
    }
    zones.set_lease_names(book.changed().unwrap().clone());
    for zones in [&before, &zones] {
        assert!(zones.nodes.are_many() && zones.leases.are_many());
    }
    [before, zones].map(Arc::new)
}

fn question(rng: &mut StdRng) -> Vec<u8> {
    // Few enough that questions about one of two phones often come beside such about the other.
    let number = rng.random_range(0..12_u32) * 499;
    let [_, _, a, b] = number.to_be_bytes();
    let owner = match rng.random_range(0..8) {
        0 => format!("host{number}.lab.voip"),
        1 => format!("{b}.{a}.100.10.in-addr.arpa"),
        2 => format!("440HD-00908f01{a:02x}{b:02x}.lab.voip"),
        3 => format!("desk-{}.lab.voip", number / 2),
        4 => format!("{b}.{a}.101.10.in-addr.arpa"),
        5 => format!("nothere{number}.lab.voip"),
        6 => "provision.lab.voip".to_owned(),
        _ => format!("x.desk-{}.lab.voip", number / 2),
    };
    let mut packet = Query::new(&owner, *[A, A, A, 12, AAAA].choose(rng).unwrap()).bytes();
    if rng.random_ratio(1, 20) {
        packet.truncate(rng.random_range(0..packet.len()));
    }
    packet
}

#[test]
fn looking_ahead_changes_no_answer() {
    let snapshots = snapshots();
    let rng = &mut StdRng::seed_from_u64(1);
    let [mut plain, mut ahead] = [Direct::new(1), Direct::new(1)];
    let mut answered = 0;
    for round in 0..3000 {
        let mut batch: Vec<_> = (0..rng.random_range(1..40)).map(|_| question(rng)).collect();
        let mut zones = &snapshots[round / 100 % 2];
        ahead.look_ahead(zones, batch.iter().map(Vec::as_slice));
        match rng.random_range(0..4) {
            // Even when what is asked afterwards is not what was looked at.
            0 => batch.shuffle(rng),
            1 => zones = &snapshots[rng.random_range(0..2)],
            _ => {}
        }
        for packet in &batch {
            let client = ["10.250.1.20", "203.0.113.1"][usize::from(rng.random_ratio(1, 9))];
            let client = client.parse().unwrap();
            let [expected, said] = [&mut plain, &mut ahead].map(|direct| {
                let mut room = [0; DIRECT_ROOM];
                let answered = direct.answer(zones, packet, client, &mut room);
                answered.map(|answered| room[..answered.length].to_vec())
            });
            assert_eq!(said, expected, "{packet:02x?}");
            answered += usize::from(said.is_some());
        }
    }
    assert!(answered > 30_000, "{answered}");
}
