//! SIGHUP: another configuration without a restart.

use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use crate::lab::{Lab, Server, Vlan};
use crate::packet::*;

/// Another configuration in the place of the one that is served.
fn rewrite(lab: &Lab, server: &Server, change: impl FnOnce(String) -> String) {
    let before = fs::read_to_string(lab.config()).unwrap();
    let after = change(before.clone());
    assert_ne!(after, before);
    fs::write(lab.config(), after).unwrap();
    server.hang_up();
}

fn seconds(reply: &Reply) -> u32 {
    u32::from_be_bytes(reply.option(51).unwrap().try_into().unwrap())
}

/// Opening a million leases takes a second, in which whoever sends a SIGHUP does not know what it would end.
#[test]
fn a_hangup_while_the_program_starts_is_for_afterwards() {
    let lab = Lab::new();
    let before = fs::read_to_string(lab.config()).unwrap();
    // It waits for what it reads until there is something.
    fs::remove_file(lab.config()).unwrap();
    nix::unistd::mkfifo(&lab.config(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let server = lab.start(&[]);
    let nonblocking = nix::libc::O_NONBLOCK;
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut pipe = loop {
        match fs::OpenOptions::new().write(true).custom_flags(nonblocking).open(lab.config()) {
            Ok(pipe) => break pipe,
            Err(error) => assert!(Instant::now() < deadline, "nobody reads: {error}"),
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    server.hang_up();
    let after = before.replace("lease = \"8h\"", "lease = \"2h\"");
    fs::remove_file(lab.config()).unwrap();
    fs::write(lab.config(), after).unwrap();
    pipe.write_all(before.as_bytes()).unwrap();
    drop(pipe);
    server.wait_for_log(&["configuration taken over"]);
    let log = server.log();
    assert!(log.find("serving") < log.find("configuration taken over"), "{log}");
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn a_new_configuration_is_served_without_a_restart_and_leases_stay() {
    let lab = Lab::new();
    let server = lab.serve();
    let client = lab.client(Vlan::Voice);
    let (first, kept) = client.enter(|| {
        let card = Card::open("eth0");
        let first = card.lease(mac(1), 1, &[]);
        assert_eq!(seconds(&first), 8 * 3600);
        (first.yiaddr(), "10.250.1.140".parse::<Ipv4Addr>().unwrap())
    });
    rewrite(&lab, &server, |text| {
        let text = text.replace("lease = \"8h\"", "lease = \"2h\"");
        format!("# A line more.\n{text}\n[[phone]]\nmac = \"{}\"\naddress = \"{kept}\"\n", mac(2))
    });
    server.wait_for_log(&["configuration taken over", "phones=1"]);
    client.enter(|| {
        let card = Card::open("eth0");
        let renewal = Message::new(REQUEST, mac(1), 2).from(first);
        let ack = card.ask(&renewal).expect("an ACK");
        assert_eq!((ack.kind(), ack.yiaddr(), seconds(&ack)), (ACK, first, 2 * 3600));
        assert_eq!(card.lease(mac(2), 3, &[]).yiaddr(), kept);
    });
    // Probing goes on as well, with sockets of its own.
    let squatted = "10.250.1.135";
    let _squatter = lab.machine(Vlan::Voice, &format!("{squatted}/24"), "10.250.1.1");
    client.enter(|| {
        let card = Card::open("eth0");
        let wish: Ipv4Addr = squatted.parse().unwrap();
        let discover = Message::new(DISCOVER, mac(3), 4).with(50, wish.octets());
        if let Some(offer) = card.ask(&discover) {
            assert_ne!(offer.yiaddr(), wish);
        }
    });
    server.wait_for_log(&["somebody else uses the address", squatted]);
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn a_configuration_with_an_error_or_one_that_takes_a_restart_changes_nothing() {
    let lab = Lab::new();
    let server = lab.serve();
    let client = lab.client(Vlan::Voice);
    let lease = |n| client.enter(|| seconds(&Card::open("eth0").lease(mac(n), n, &[])));
    let good = fs::read_to_string(lab.config()).unwrap();

    rewrite(&lab, &server, |text| text.replace("lease = \"8h\"", "lease = \"2h\"\nleese = 1"));
    server.wait_for_log(&["did you mean", "unknown-key"]);
    server.wait_for_log(&["the configuration has errors", "stays in force"]);
    assert_eq!(lease(1), 8 * 3600);

    fs::write(lab.config(), &good).unwrap();
    rewrite(&lab, &server, |text| {
        text.replace("lease = \"8h\"", "lease = \"2h\"").replace("\"10.250.1.5\"", "\"10.250.1.6\"")
    });
    server.wait_for_log(&["takes a restart", "listen in [dns]"]);
    assert_eq!(lease(2), 8 * 3600);

    fs::write(lab.config(), &good).unwrap();
    rewrite(&lab, &server, |text| {
        text.replace("lease = \"8h\"", "lease = \"2h\"").replace("\"native0\"", "\"native1\"")
    });
    server.wait_for_log(&["takes a restart", "scope native", "native1"]);
    assert_eq!(lease(3), 8 * 3600);

    fs::write(lab.config(), &good).unwrap();
    rewrite(&lab, &server, |text| text.replace("lease = \"8h\"", "lease = \"2h\""));
    server.wait_for_log(&["configuration taken over"]);
    assert_eq!(lease(4), 2 * 3600);
}
