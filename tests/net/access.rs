//! Who is answered, how often, and who gets whole zones: dig, kdig, NSD as a secondary.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::lab::{Lab, Netns, PATIENCE, Vlan, output, run, said};
use crate::packet::*;

const SECONDARY: &str = "10.250.1.201";

fn dig(client: &Netns, words: &str) -> String {
    let mut command = client.command("dig");
    let printed =
        output(command.args(["@10.250.1.5", "+tries=1", "+time=3"]).args(words.split(' ')));
    said(&printed)
}

/// A machine on the voice link whose address is in no network of the site's.
fn stranger(lab: &Lab) -> Netns {
    let stranger = lab.client(Vlan::Voice);
    stranger.ip("addr add 192.0.2.66/24 dev eth0");
    stranger.ip("route add 10.250.1.5/32 dev eth0");
    lab.appliance.ip("route add 192.0.2.0/24 dev voice0");
    stranger
}

fn lab_with_secondary() -> (Lab, Netns) {
    let lab = Lab::changed(&[("[dns]\n", &format!("[dns]\ntransfer = [\"{SECONDARY}\"]\n"))]);
    let secondary = lab.machine(Vlan::Voice, &format!("{SECONDARY}/24"), "10.250.1.1");
    (lab, secondary)
}

#[test]
fn strangers_are_refused_and_everybody_of_the_site_is_answered() {
    let lab = Lab::new();
    let server = lab.serve();
    let stranger = stranger(&lab);
    for words in [
        "vm40ic1.lab.voip A",
        "+tcp vm40ic1.lab.voip A",
        "-x 10.250.1.151",
        "lab.voip SOA",
        "www.example.com A",
        "+noedns lab.voip ANY",
    ] {
        let whole = dig(&stranger, words);
        assert!(whole.contains("status: REFUSED"), "{words}:\n{whole}");
        assert!(whole.contains("ANSWER: 0, AUTHORITY: 0"), "{words}:\n{whole}");
        assert!(!whole.contains(" aa") && !whole.contains(" ra"), "{words}:\n{whole}");
    }
    server.wait_for_log(&["in no network that is answered", "192.0.2.66"]);
    for (vlan, address, router) in [
        (Vlan::Voice, "10.250.1.200/24", "10.250.1.1"),
        (Vlan::Native, "10.0.0.200/24", "10.0.0.1"),
    ] {
        let client = lab.machine(vlan, address, router);
        assert!(dig(&client, "vm40ic1.lab.voip A").contains("10.250.1.151"), "{vlan:?}");
    }
    assert!(dig(&lab.appliance, "vm40ic1.lab.voip A").contains("10.250.1.151"));
    let mut status = Command::new(env!("CARGO_BIN_EXE_offhook"));
    let status = run(status.args(["status", "--format", "json", "--state"]).arg(lab.state()));
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["dns"]["counts"]["denied"], 6, "{status}");
}

#[test]
fn who_is_answered_can_be_stated() {
    let lab =
        Lab::changed(&[("[dns]\n", "[dns]\nallow = [\"10.250.1.0/24\", \"192.0.2.0/24\"]\n")]);
    let _server = lab.serve();
    let whole = dig(&stranger(&lab), "vm40ic1.lab.voip A");
    assert!(whole.contains("10.250.1.151") && !whole.contains(" ra"), "{whole}");
    let native = lab.machine(Vlan::Native, "10.0.0.200/24", "10.0.0.1");
    assert!(dig(&native, "vm40ic1.lab.voip A").contains("status: REFUSED"));
}

/// Sends the query so many times at once; returns the answers that come within a second.
fn flood(client: &Netns, query: &[u8], times: usize) -> Vec<Vec<u8>> {
    client.enter(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect("10.250.1.5:53").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        // What comes back is taken meanwhile: it is more than waits in a socket.
        std::thread::scope(|scope| {
            let answers = scope.spawn(|| {
                let mut answers = Vec::new();
                let mut buffer = [0; 2048];
                while let Ok(length) = socket.recv(&mut buffer) {
                    answers.push(buffer[..length].to_vec());
                }
                answers
            });
            (0..times).for_each(|_| assert_eq!(socket.send(query).unwrap(), query.len()));
            answers.join().unwrap()
        })
    })
}

fn query(name: &str) -> Vec<u8> {
    let mut bytes = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

fn is_truncated(answer: &[u8]) -> bool {
    answer[2] & 2 != 0
}

#[test]
fn a_flood_of_strangers_is_answered_with_a_few_refusals_and_phones_are_not_limited() {
    let lab = Lab::new();
    let _server = lab.serve();
    let query = query("vm40ic1.lab.voip");
    let answers = flood(&stranger(&lab), &query, 400);
    assert!(answers.iter().all(|answer| answer.len() <= query.len() && answer[3] & 15 == 5));
    let (cut, whole): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| is_truncated(answer));
    // The flood may fall into two seconds.
    assert!((10..=20).contains(&whole.len()), "{} whole", whole.len());
    assert!((180..=200).contains(&cut.len()), "{} cut", cut.len());

    let phone = lab.machine(Vlan::Voice, "10.250.1.200/24", "10.250.1.1");
    let answers = flood(&phone, &query, 200);
    assert_eq!(answers.iter().filter(|answer| !is_truncated(answer)).count(), 200);
}

#[test]
fn a_stated_limit_holds_for_everybody_and_the_truncated_half_is_answered_over_tcp() {
    let lab = Lab::changed(&[("[dns]\n", "[dns]\nrate_limit = 20\nrefusal_limit = 0\n")]);
    let _server = lab.serve();
    let phone = lab.machine(Vlan::Voice, "10.250.1.200/24", "10.250.1.1");
    let answers = flood(&phone, &query("vm40ic1.lab.voip"), 200);
    let whole = answers.iter().filter(|answer| !is_truncated(answer)).count();
    assert!((20..=40).contains(&whole), "{whole}");
    assert!(answers.len() > whole + 70, "{} of 200", answers.len());
    assert!(dig(&phone, "+tcp vm40ic1.lab.voip A").contains("10.250.1.151"));
    let strangers = flood(&stranger(&lab), &query("vm40ic1.lab.voip"), 100);
    assert_eq!(strangers.iter().filter(|answer| !is_truncated(answer)).count(), 100);
}

/// `dig axfr`, a record a line.
fn axfr(client: &Netns, zone: &str) -> Vec<String> {
    let printed = dig(client, &format!("+onesoa +noall +answer {zone} AXFR"));
    printed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn whole_zones_are_for_secondaries_only() {
    let (lab, secondary) = lab_with_secondary();
    let server = lab.serve();
    let phone = lab.machine(Vlan::Voice, "10.250.1.200/24", "10.250.1.1");
    let leased = phone.enter(|| {
        Card::open("eth0").lease(mac(1), 1, &[(60, b"440HD"), (12, b"desk")]).yiaddr().to_string()
    });
    let deadline = Instant::now() + PATIENCE;
    while !dig(&secondary, "desk.lab.voip A").contains(&leased) {
        assert!(Instant::now() < deadline, "no name");
    }

    let zone = axfr(&secondary, "lab.voip");
    let model = format!("440hd-{}.lab.voip. 60 IN A {leased}", mac(1).plain());
    for expected in [
        model.as_str(),
        &format!("desk.lab.voip. 60 IN A {leased}"),
        "vm40ic1.lab.voip. 300 IN A 10.250.1.151",
        "_sip._udp.lab.voip. 30 IN SRV 0 0 8060 vm40ic1.lab.voip.",
        "provision.lab.voip. 30 IN A 10.250.1.152",
    ] {
        assert!(zone.iter().any(|line| line == expected), "no {expected} in\n{}", zone.join("\n"));
    }
    assert!(zone[0].contains(" SOA "), "{}", zone[0]);
    let reverse = axfr(&secondary, "1.250.10.in-addr.arpa");
    let last = leased.rsplit('.').next().unwrap();
    let pointer = format!("{last}.1.250.10.in-addr.arpa. 60 IN PTR desk.lab.voip.");
    assert!(reverse.contains(&pointer), "{}", reverse.join("\n"));
    server.wait_for_log(&["zone transferred", "lab.voip", SECONDARY]);

    let kdig = run(secondary.command("kdig").args(["@10.250.1.5", "lab.voip", "AXFR"]));
    let records = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().filter(|line| !line.starts_with(';') && !line.is_empty());
        lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    assert_eq!(records(&kdig), zone.iter().cloned().collect());

    // Nothing new since what it has; everything since an older one.
    let serial: u32 = zone[0].split(' ').nth(6).unwrap().parse().unwrap();
    let since = |serial: u32| dig(&secondary, &format!("+noall +answer lab.voip IXFR={serial}"));
    assert_eq!(since(serial).lines().filter(|line| line.contains("SOA")).count(), 1);
    assert!(since(serial.wrapping_sub(1)).contains("desk.lab.voip."));

    for words in ["lab.voip AXFR", "lab.voip IXFR=1", "1.250.10.in-addr.arpa AXFR"] {
        let whole = dig(&phone, words);
        assert!(whole.contains("Transfer failed"), "{words}:\n{whole}");
        assert!(!whole.contains("vm40ic1"), "{words}:\n{whole}");
    }
}

/// NSD as a secondary of both zones.
struct Nsd<'a> {
    machine: &'a Netns,
    daemon: Child,
}

impl<'a> Nsd<'a> {
    fn start(lab: &Lab, machine: &'a Netns) -> Self {
        let dir = lab.dir.path().join("nsd");
        fs::create_dir(&dir).unwrap();
        let config = dir.join("nsd.conf");
        let at = dir.display();
        let zones = ["lab.voip", "1.250.10.in-addr.arpa"].map(|zone| {
            format!(
                "zone:\n name: {zone}\n zonefile: {zone}.zone\n request-xfr: 10.250.1.5 NOKEY\n \
                 allow-notify: 10.250.1.5 NOKEY\n"
            )
        });
        let text = format!(
            "server:\n ip-address: {SECONDARY}\n username: \"\"\n zonesdir: {at}\n database: \"\"\n pidfile: {at}/pid\n \
             xfrdfile: {at}/xfrd.state\n xfrdir: {at}\n zonelistfile: {at}/zone.list\n server-count: 1\n\
             remote-control:\n control-enable: yes\n control-interface: {at}/control\n{}",
            zones.concat()
        );
        fs::write(&config, text).unwrap();
        let mut command = machine.daemon("nsd");
        let daemon = command.args(["-d", "-c"]).arg(&config).stderr(Stdio::null()).spawn().unwrap();
        Self { machine, daemon }
    }

    fn ask(&self, words: &str) -> String {
        let mut command = self.machine.command("dig");
        let server = format!("@{SECONDARY}");
        said(&output(
            command.args([&server, "+short", "+tries=1", "+time=1"]).args(words.split(' ')),
        ))
        .trim()
        .to_owned()
    }

    fn becomes(&self, words: &str, answer: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.ask(words) != answer {
            assert!(Instant::now() < deadline, "{words}: {}, not {answer}", self.ask(words));
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Nsd<'_> {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        // Its children follow it.
    }
}

#[test]
fn a_secondary_has_the_zones_with_the_phones_in_them_and_follows() {
    let (lab, secondary) = lab_with_secondary();
    let _server = lab.serve();
    let lease = |n: u32, host: &str| -> Ipv4Addr {
        lab.client(Vlan::Voice)
            .enter(|| Card::open("eth0").lease(mac(n), n, &[(12, host.as_bytes())]).yiaddr())
    };
    let first = lease(1, "first");
    let nsd = Nsd::start(&lab, &secondary);
    nsd.becomes("first.lab.voip A", &first.to_string());
    nsd.becomes(&format!("-x {first}"), "first.lab.voip.");
    assert_eq!(nsd.ask("vm40ic1.lab.voip A"), "10.250.1.151");
    assert_eq!(nsd.ask("_sip._tcp.lab.voip SRV").lines().count(), 2);

    let second = lease(2, "second");
    // It is told: by itself it would look after a minute.
    nsd.becomes("second.lab.voip A", &second.to_string());
    let serial = |printed: String| printed.split(' ').nth(2).map(str::to_owned);
    let ours = serial(dig(&secondary, "+short lab.voip SOA"));
    assert_eq!(serial(nsd.ask("lab.voip SOA")), ours);
}
