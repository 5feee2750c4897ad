//! SIGKILL in the middle of a boot storm of two thousand phones: whoever was acknowledged has its address afterwards,
//! and nobody else has it. And what is said when the last commit was cut short.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::lab::{Lab, PATIENCE, Server, Vlan, run};
use crate::packet::*;
use crate::storm::site;

const PHONES: u32 = 2000;

/// Who was acknowledged what.
type Acknowledged = BTreeMap<u32, Ipv4Addr>;

/// All phones ask at once, and the server is killed when so many have an address.
fn boot(card: &Card, phones: Range<u32>, server: Server, enough: usize) -> Acknowledged {
    let mut acknowledged = Acknowledged::new();
    let mut asking = phones;
    let mut server = Some(server);
    let mut deadline = Instant::now() + PATIENCE;
    loop {
        // A burst, with a look at what comes back between its parts.
        for n in asking.by_ref().take(50) {
            card.broadcast(&Message::new(DISCOVER, mac(n), n).with(60, b"440HD"));
        }
        while let Some(reply) =
            card.next(Duration::from_millis(if server.is_some() { 1 } else { 300 }))
        {
            let n = reply.xid();
            match reply.kind() {
                OFFER if server.is_some() => card.broadcast(
                    &Message::new(REQUEST, mac(n), n)
                        .with(60, b"440HD")
                        .with(50, reply.yiaddr().octets())
                        .with(54, reply.option(54).unwrap()),
                ),
                OFFER => {}
                ACK => assert_eq!(acknowledged.insert(n, reply.yiaddr()), None, "phone {n}"),
                kind => panic!("a reply of type {kind} for phone {n}"),
            }
            if acknowledged.len() >= enough
                && let Some(server) = server.take()
            {
                server.kill();
                // What it sent before it died is on its way yet.
                deadline = Instant::now() + PATIENCE;
            }
        }
        if server.is_none() {
            return acknowledged;
        }
        assert!(Instant::now() < deadline, "{} of {enough} ACKs", acknowledged.len());
    }
}

#[test]
fn sigkill_in_the_middle_of_a_storm_loses_no_lease_and_doubles_none() {
    let lab = Lab::with_config(&site());
    let client = lab.client(Vlan::Voice);
    let mut acknowledged = Acknowledged::new();
    for round in 0..3 {
        let server = lab.serve();
        let first = round * 10_000 + 1;
        let enough = 300 + 400 * round as usize;
        let got = client.enter(|| boot(&Card::open("eth0"), first..first + PHONES, server, enough));
        assert!(got.len() >= enough && got.len() < PHONES as usize, "{} ACKs", got.len());
        acknowledged.extend(got);

        let owners: HashMap<_, _> =
            acknowledged.iter().map(|(n, address)| (*address, *n)).collect();
        assert_eq!(owners.len(), acknowledged.len(), "two phones hold one address");
        let server = lab.serve();
        client.enter(|| {
            let card = Card::open("eth0");
            for (n, address) in &acknowledged {
                let xid = 0x5000_0000 + n;
                let reboot = Message::new(REQUEST, mac(*n), xid).with(50, address.octets());
                let reply = card.ask(&reboot).unwrap_or_else(|| panic!("silence for {address}"));
                assert_eq!((reply.kind(), reply.yiaddr()), (ACK, *address), "phone {n}");
            }
            // Those who were cut off begin again, and none gets what another one has.
            let cut_off = (first..first + PHONES).filter(|n| !acknowledged.contains_key(n));
            let again: Vec<_> = cut_off.take(100).collect();
            for n in again {
                let address = card.lease(mac(n), n, &[(60, b"440HD")]).yiaddr();
                assert!(!owners.contains_key(&address), "{address} is another phone's");
                assert_eq!(acknowledged.insert(n, address), None);
            }
        });
        assert_eq!(server.terminate(), Some(0));
    }
}

#[test]
fn a_commit_that_was_cut_short_is_told_at_the_next_start() {
    let lab = Lab::new();
    let server = lab.serve();
    let client = lab.client(Vlan::Voice);
    let kept = client.enter(|| Card::open("eth0").lease(mac(1), 1, &[]).yiaddr());
    server.kill();
    // As the disk has it when the power goes while a block is written: behind the last whole one, a part of it.
    let path = lab.state().join("leases.journal-a");
    let mut bytes = fs::read(&path).unwrap();
    let used = bytes.chunks(4096).rposition(|block| block.iter().any(|byte| *byte != 0)).unwrap();
    bytes[(used + 1) * 4096 + 512..][..512].fill(0xa5);
    fs::write(&path, bytes).unwrap();

    let server = lab.serve();
    let told = "not whole and was left out: if the stop cut it short, nothing that was acknowledged is lost";
    server.wait_for_log(&["WARN", told, "bytes=4096"]);
    let reboot = Message::new(REQUEST, mac(1), 2).with(50, kept.octets());
    let reply = client.enter(|| Card::open("eth0").ask(&reboot)).unwrap();
    assert_eq!((reply.kind(), reply.yiaddr()), (ACK, kept));
    server.kill();
    // It is told once.
    assert!(!lab.serve().log().contains("not whole"));
}

/// A client alone has its lease written while it reads the offer, and its ACK does not wait for the disk any more.
#[test]
fn a_client_alone_keeps_its_lease_though_the_server_dies_with_its_ack() {
    let lab = Lab::new();
    let client = lab.client(Vlan::Voice);
    let mut acknowledged = Acknowledged::new();
    let mut server = lab.serve();
    for n in 1..=6 {
        let address = client.enter(|| {
            let address = Card::open("eth0").lease(mac(n), n, &[]).yiaddr();
            server.kill();
            address
        });
        assert_eq!(acknowledged.insert(n, address), None);
        server = lab.serve();
        client.enter(|| {
            let card = Card::open("eth0");
            for (n, address) in &acknowledged {
                let reboot = Message::new(REQUEST, mac(*n), 100 + n).with(50, address.octets());
                let reply = card.ask(&reboot).unwrap_or_else(|| panic!("silence for {address}"));
                assert_eq!((reply.kind(), reply.yiaddr()), (ACK, *address), "phone {n}");
            }
        });
    }
    let addresses: HashMap<_, _> = acknowledged.iter().map(|(n, address)| (address, n)).collect();
    assert_eq!(addresses.len(), acknowledged.len(), "two phones hold one address");
}

#[test]
fn an_offer_that_nobody_took_is_no_lease() {
    let lab = Lab::new();
    let client = lab.client(Vlan::Voice);
    let offered = |n| {
        let discover = Message::new(DISCOVER, mac(n), n);
        client.enter(|| Card::open("eth0").ask(&discover)).expect("an OFFER").yiaddr()
    };
    let listed = || {
        let state = lab.state();
        let words = ["leases", "--format", "csv", "--state", state.to_str().unwrap()];
        run(lab.appliance.command(env!("CARGO_BIN_EXE_offhook")).args(words))
    };
    let server = lab.serve();
    let first = offered(1);
    assert!(!listed().contains(&first.to_string()), "{}", listed());
    assert_eq!(server.terminate(), Some(0));
    assert!(!listed().contains(&first.to_string()), "{}", listed());
}

#[test]
fn a_phone_offered_less_than_it_has_still_has_it_after_a_power_cut() {
    let lab = Lab::new();
    let client = lab.client(Vlan::Voice);
    let ask =
        |message: &Message| client.enter(|| Card::open("eth0").ask(message)).expect("a reply");
    let ends = || {
        let state = lab.state();
        let words = ["leases", "--format", "csv", "--state", state.to_str().unwrap()];
        let listed = run(lab.appliance.command(env!("CARGO_BIN_EXE_offhook")).args(words));
        let mut lines = listed.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let at = lines.next().and_then(|names| names.iter().position(|name| *name == "expires"));
        lines.map(|cells| cells[at.expect("a column")].to_owned()).collect::<Vec<_>>()
    };
    let server = lab.serve();
    let offered = ask(&Message::new(DISCOVER, mac(1), 1)).yiaddr();
    let request = Message::new(REQUEST, mac(1), 2).with(50, offered.octets());
    assert_eq!(ask(&request.with(54, [10, 250, 1, 5])).kind(), ACK);
    let told = ends();
    let less = Message::new(DISCOVER, mac(1), 3).with(51, 60_u32.to_be_bytes());
    assert_eq!(ask(&less).yiaddr(), offered);
    assert_eq!((told.len(), &ends()), (1, &told));
    server.kill();
    assert_eq!(ends(), told);
}
