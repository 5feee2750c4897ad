//! Addresses that somebody has without asking: they are never given to a phone.

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::lab::{Lab, Netns, Vlan, repository, run};
use crate::packet::*;

const FIRST: &str = "10.250.1.20";

fn octets(address: &str) -> [u8; 4] {
    address.parse::<Ipv4Addr>().unwrap().octets()
}

#[test]
fn a_squatters_address_is_never_offered_and_the_log_names_it() {
    let lab = Lab::new();
    let _squatter = lab.machine(Vlan::Voice, &format!("{FIRST}/24"), "10.250.1.1");
    let server = lab.serve();
    lab.client(Vlan::Voice).enter(|| {
        let card = Card::open("eth0");
        // As soon as the server listens: what it offers was asked about all the same.
        for n in 1..=5 {
            let reply = card.lease(mac(n), n, &[]);
            assert_ne!(reply.yiaddr().to_string(), FIRST);
        }
        // Nor to who asks for it by name.
        let wish = Message::new(DISCOVER, mac(9), 9).with(50, octets(FIRST));
        assert_ne!(card.ask(&wish).expect("an OFFER").yiaddr().to_string(), FIRST);
        let request =
            Message::new(REQUEST, mac(9), 10).with(50, octets(FIRST)).with(54, [10, 250, 1, 5]);
        assert_eq!(card.ask(&request).expect("a NAK").kind(), NAK);
    });
    server.wait_for_log(&["somebody else uses the address", FIRST]);
    // Across a restart.
    server.kill();
    let _server = lab.serve();
    lab.client(Vlan::Voice).enter(|| {
        let card = Card::open("eth0");
        let wish = Message::new(DISCOVER, mac(11), 11).with(50, octets(FIRST));
        assert_ne!(card.ask(&wish).expect("an OFFER").yiaddr().to_string(), FIRST);
    });
}

#[test]
fn a_machine_that_answers_for_all_of_a_pool_is_told_of_and_keeps_no_phone_from_its_lease() {
    let lab = Lab::new();
    let proxy = lab.machine(Vlan::Voice, "10.250.1.19/24", "10.250.1.1");
    let all: String = (20..=149).map(|n| format!("addr add 10.250.1.{n}/24 dev eth0\n")).collect();
    let batch = lab.dir.path().join("batch");
    fs::write(&batch, all).unwrap();
    run(Command::new("ip").args(["-n", proxy.name(), "-batch"]).arg(&batch));
    let server = lab.serve();
    server.wait_for_log(&["a machine answers for more addresses than it can have"]);
    lab.client(Vlan::Voice).enter(|| {
        let card = Card::open("eth0");
        (1..60).for_each(|n| drop(card.lease(mac(n), n, &[])));
    });
    assert_eq!(server.log().matches("it is withheld").count(), 8);
}

#[test]
fn the_question_goes_out_before_the_offer_that_waits_for_its_answer() {
    let lab = Lab::new();
    // Beyond what is asked about ahead of time.
    let squatted = "10.250.1.120";
    let _squatter = lab.machine(Vlan::Voice, &format!("{squatted}/24"), "10.250.1.1");
    let _server = lab.serve();
    lab.client(Vlan::Voice).enter(|| {
        let card = Card::open("eth0");
        card.lease(mac(1), 1, &[]);
        for n in 2..8 {
            // Somebody else speaks just before.
            card.broadcast(&Message::new(DISCOVER, mac(1), 100 + n));
            let wish = Message::new(DISCOVER, mac(n), n).with(50, octets(squatted));
            if let Some(offer) = card.ask(&wish) {
                assert_ne!(offer.yiaddr().to_string(), squatted);
            }
        }
    });
}

#[test]
fn a_client_that_waits_for_a_probe_delays_nobody_and_the_next_waits_for_none() {
    let lab = Lab::new();
    let _server = lab.serve();
    lab.client(Vlan::Voice).enter(|| {
        let card = Card::open("eth0");
        card.lease(mac(1), 1, &[]);
        std::thread::sleep(Duration::from_millis(300));
        // One that asks for an address of its own choice, and one that takes what was probed ahead.
        card.broadcast(&Message::new(DISCOVER, mac(2), 2).with(50, octets("10.250.1.140")));
        let start = Instant::now();
        let quick = card.ask(&Message::new(DISCOVER, mac(3), 3)).expect("an OFFER");
        assert!(start.elapsed() < Duration::from_millis(80), "{:?}", start.elapsed());
        assert_ne!(quick.yiaddr().to_string(), "10.250.1.140");
        let slow = card.reply(2).expect("an OFFER");
        assert_eq!(slow.yiaddr().to_string(), "10.250.1.140");
        assert!(start.elapsed() >= Duration::from_millis(90), "{:?}", start.elapsed());
    });
}

#[test]
fn a_request_without_an_offer_waits_for_the_probe_and_is_refused_when_somebody_answers() {
    let lab = Lab::new();
    let (free, squatted) = ("10.250.1.130", "10.250.1.131");
    let _squatter = lab.machine(Vlan::Voice, &format!("{squatted}/24"), "10.250.1.1");
    let server = lab.serve();
    let select = |n, address| {
        Message::new(REQUEST, mac(n), n).with(50, octets(address)).with(54, [10, 250, 1, 5])
    };
    lab.client(Vlan::Voice).enter(|| {
        let card = Card::open("eth0");
        card.lease(mac(9), 9, &[]);
        let start = Instant::now();
        assert_eq!(card.ask(&select(1, free)).expect("an ACK").kind(), ACK);
        assert!(start.elapsed() >= Duration::from_millis(90), "{:?}", start.elapsed());
        assert_eq!(card.ask(&select(2, squatted)).expect("a NAK").kind(), NAK);
        // Now it is its own.
        let start = Instant::now();
        assert_eq!(card.ask(&select(1, free)).expect("an ACK").kind(), ACK);
        assert!(start.elapsed() < Duration::from_millis(80), "{:?}", start.elapsed());
    });
    server.wait_for_log(&["somebody else uses the address", squatted]);
    server.wait_for_log(&["ack", free, "selecting"]);
}

#[test]
fn a_client_that_renews_an_address_the_server_has_no_record_of_goes_on() {
    // One that nobody has looked at yet, and one that was looked at before any client came, and found to be in use.
    for (address, is_found) in [("10.250.1.132", false), ("10.250.1.21", true)] {
        let lab = Lab::new();
        // The machine answers for the address it has.
        let client = lab.machine(Vlan::Voice, &format!("{address}/24"), "10.250.1.1");
        let server = lab.serve();
        if is_found {
            server.wait_for_log(&["somebody else uses the address", address]);
        }
        client.enter(|| {
            let card = Card::open("eth0");
            let own = offhook_net::Interface::named("eth0").unwrap().mac.unwrap();
            let renewal = Message::new(REQUEST, own, 1).from(address.parse().unwrap());
            card.broadcast(&renewal);
            assert_eq!(card.reply(1).expect("an ACK").kind(), ACK, "{address}");
        });
    }
}

#[test]
fn a_scope_may_do_without_probes() {
    let config = fs::read_to_string(repository().join("config/lab.toml")).unwrap();
    let lab = Lab::with_config(&config.replace("[[scope]]\n", "[[scope]]\nprobe = false\n"));
    let _squatter = lab.machine(Vlan::Voice, &format!("{FIRST}/24"), "10.250.1.1");
    let _server = lab.serve();
    lab.client(Vlan::Voice).enter(|| {
        let offer = Card::open("eth0").ask(&Message::new(DISCOVER, mac(1), 1)).expect("an OFFER");
        assert_eq!(offer.yiaddr().to_string(), FIRST);
    });
}

#[test]
fn behind_a_relay_a_squatter_is_found_by_its_echo() {
    let lab = fs::read_to_string(repository().join("config/lab.toml")).unwrap();
    let remote = "[[scope]]\nname = \"remote\"\nvlan = 200\nsubnet = \"10.9.0.0/24\"\npools = [\"10.9.0.50-10.9.0.60\"]\nrouter = \"10.9.0.1\"\n";
    let lab = Lab::with_config(&format!("{lab}\n{remote}"));
    let branch = lab.machine(Vlan::Native, "10.0.0.2/24", "10.0.0.1");
    let squatter = Netns::spare("squatter");
    branch.ip(&format!("link add lan type veth peer name eth0 netns {}", squatter.name()));
    branch.ip("link set lan up");
    branch.ip("addr add 10.9.0.1/24 dev lan");
    branch.enter(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap());
    squatter.ip("link set eth0 up");
    squatter.ip("addr add 10.9.0.52/24 dev eth0");
    squatter.ip("route add default via 10.9.0.1");
    lab.appliance.ip("route add 10.9.0.0/24 via 10.0.0.2");
    let server = lab.serve();
    server.wait_for_log(&[
        "somebody else uses the address",
        "10.9.0.52",
        "scope=\"remote\"",
        "interface=\"-\"",
    ]);
}

#[test]
fn who_is_found_to_use_an_address_is_told_with_the_network_it_is_in() {
    for (vlan, address, network) in [
        (Vlan::Voice, "10.250.1.20", ["scope=\"voice\"", "interface=\"voice0\""]),
        (Vlan::Native, "10.0.0.100", ["scope=\"native\"", "interface=\"native0\""]),
    ] {
        let lab = Lab::new();
        let router = if vlan == Vlan::Voice { "10.250.1.1" } else { "10.0.0.1" };
        let _squatter = lab.machine(vlan, &format!("{address}/24"), router);
        let server = lab.serve();
        let line = server.wait_for_log(&["somebody else uses the address", address]);
        assert!(network.iter().all(|part| line.contains(part)), "{line}");
    }
}
