//! SIGKILL while fifty clients take leases: what was acknowledged is still theirs afterwards.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::lab::{Lab, Vlan};
use crate::packet::*;

const CLIENTS: u32 = 50;

#[test]
fn every_acknowledged_lease_outlives_sigkill_under_load() {
    let lab = Lab::new();
    let client = lab.client(Vlan::Voice);
    let acknowledged: Mutex<HashMap<u32, Ipv4Addr>> = Mutex::default();
    for round in 0..5 {
        let server = lab.serve();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // One thread sends for all, one hears for all: the load stays on while the server dies.
            scope.spawn(|| client.enter(|| load(round, &stop, &acknowledged)));
            // The kill lands in the middle of a load that is known to be acknowledged.
            let before = acknowledged.lock().unwrap().len();
            let deadline = std::time::Instant::now() + Duration::from_secs(10);
            while acknowledged.lock().unwrap().len() < (before + 10).min(CLIENTS as usize) {
                assert!(std::time::Instant::now() < deadline, "{}", server.log());
                std::thread::yield_now();
            }
            server.kill();
            stop.store(true, Ordering::Relaxed);
        });
    }

    let _server = lab.serve();
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.len() >= 40, "only {} leases were acknowledged", acknowledged.len());
    let owners: HashMap<_, _> = acknowledged.iter().map(|(n, address)| (address, n)).collect();
    assert_eq!(owners.len(), acknowledged.len(), "two clients hold one address");
    client.enter(|| {
        let card = Card::open("eth0");
        for (n, address) in &acknowledged {
            let xid = 0x5000_0000 + n;
            let reboot = Message::new(REQUEST, mac(*n), xid).with(50, address.octets());
            let reply = card.ask(&reboot).unwrap_or_else(|| panic!("silence for {address}"));
            assert_eq!((reply.kind(), reply.yiaddr()), (ACK, *address), "client {n}");
        }
        // Strangers get none of these.
        for n in 1000..1020 {
            let address = card.lease(mac(n), n, &[]).yiaddr();
            assert!(!owners.contains_key(&address), "{address} was given away");
        }
    });
}

/// Exchanges of all clients at once, over and over, until `stop`; every ACK is noted.
fn load(round: u32, stop: &AtomicBool, acknowledged: &Mutex<HashMap<u32, Ipv4Addr>>) {
    let card = Card::open("eth0");
    let mut turn = 0;
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        // The client's number is in the xid, with the kind of lease it is after.
        let xid = |n: u32| (round << 24) | (turn % 256) << 16 | n;
        (0..CLIENTS).for_each(|n| card.broadcast(&Message::new(DISCOVER, mac(n), xid(n))));
        while let Some(reply) = card.next(Duration::from_millis(100)) {
            let n = reply.xid() & 0xffff;
            match reply.kind() {
                OFFER => card.broadcast(
                    &Message::new(REQUEST, mac(n), reply.xid())
                        .with(50, reply.yiaddr().octets())
                        .with(54, reply.option(54).unwrap()),
                ),
                ACK => {
                    let before = acknowledged.lock().unwrap().insert(n, reply.yiaddr());
                    assert!(
                        before.is_none_or(|old| old == reply.yiaddr()),
                        "client {n} lost {before:?}"
                    );
                }
                kind => panic!("a reply of type {kind} for client {n}"),
            }
        }
    }
}
