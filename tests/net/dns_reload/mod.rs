//! SIGHUP: what DNS goes by changes while phones ask, all of it in one step, and what is known stays known.

mod known;
mod names;
mod upstreams;
mod who;

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message as DnsMessage, ResponseCode};
use hickory_proto::rr::RData;
use serde_json::Value;

use crate::asked::ask;
use crate::lab::{Lab, Netns, PATIENCE, Server, Vlan, output, run, said};
use crate::packet::*;

const A: u16 = 1;

/// The sample site with a machine that asks; it serves.
fn office(changes: &[(&str, &str)]) -> (Lab, Server, Netns) {
    let lab = Lab::changed(changes);
    let client = lab.machine(Vlan::Voice, "10.250.1.200/24", "10.250.1.1");
    let server = lab.serve();
    (lab, server, client)
}

fn dig(client: &Netns, words: &str) -> String {
    let mut command = client.command("dig");
    command.args(["@10.250.1.5", "+short", "+tries=1", "+time=3"]).args(words.split(' '));
    said(&output(&mut command)).trim().to_owned()
}

/// All of what dig says.
fn whole(client: &Netns, words: &str) -> String {
    let mut command = client.command("dig");
    said(&output(command.args(["@10.250.1.5", "+tries=1", "+time=3"]).args(words.split(' '))))
}

fn serial(client: &Netns) -> u32 {
    dig(client, "lab.voip SOA").split(' ').nth(2).unwrap().parse().unwrap()
}

fn status(lab: &Lab) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offhook"));
    command.args(["status", "--format", "json", "--state"]).arg(lab.state());
    serde_json::from_str(&run(&mut command)).unwrap()
}

/// Another configuration in the place of the one that is served, until a line with `outcome` is logged once more.
fn rewrite(lab: &Lab, server: &Server, outcome: &str, change: impl FnOnce(String) -> String) {
    let before = fs::read_to_string(lab.config()).unwrap();
    let after = change(before.clone());
    assert_ne!(after, before);
    fs::write(lab.config(), after).unwrap();
    reload(server, outcome);
}

fn reload(server: &Server, outcome: &str) {
    let lines = |server: &Server| server.log().matches(outcome).count();
    let before = lines(server);
    server.hang_up();
    let deadline = Instant::now() + PATIENCE;
    while lines(server) == before {
        assert!(Instant::now() < deadline, "no {outcome}:\n{}", server.log());
        std::thread::sleep(Duration::from_millis(2));
    }
}

const TAKEN: &str = "configuration taken over";

fn replace(from: &'static str, to: impl Into<String>) -> impl FnOnce(String) -> String {
    let to = to.into();
    move |text| {
        assert!(text.contains(from), "no {from} in:\n{text}");
        text.replacen(from, &to, 1)
    }
}

fn append(text: &str) -> impl FnOnce(String) -> String {
    move |before| format!("{before}\n{text}\n")
}

/// Asks one question after the other while `f` runs, each answered within a second; what each was answered, and how
/// many answers there were.
fn meanwhile(
    client: &Netns,
    names: &[&str],
    is_right: impl Fn(&str, &[Ipv4Addr]) -> bool + Sync,
    f: impl FnOnce(),
) -> usize {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            client.enter(|| {
                let socket = UdpSocket::bind("10.250.1.200:0").unwrap();
                socket.connect("10.250.1.5:53").unwrap();
                socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
                let (mut count, mut buffer) = (0, [0; 1500]);
                while !stop.load(Ordering::Relaxed) {
                    for name in names {
                        socket.send(&ask(name, A).octets(count as u16)).unwrap();
                        let length = socket.recv(&mut buffer).unwrap_or_else(|error| {
                            panic!("{name}: no answer after {count}: {error}")
                        });
                        let answer = DnsMessage::from_vec(&buffer[..length]).unwrap();
                        assert_eq!(answer.metadata.id, count as u16);
                        assert_eq!(answer.metadata.response_code, ResponseCode::NoError, "{name}");
                        let addresses: Vec<_> = answer
                            .answers
                            .iter()
                            .filter_map(|record| match record.data {
                                RData::A(address) => Some(address.0),
                                _ => None,
                            })
                            .collect();
                        assert!(is_right(name, &addresses), "{name}: {addresses:?}");
                        count += 1;
                    }
                }
                count
            })
        });
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let stop = Stop(&stop);
        f();
        drop(stop);
        asking.join().unwrap()
    })
}

fn is_set(addresses: &[Ipv4Addr], expected: &[&str]) -> bool {
    let mut sorted: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    sorted.sort();
    sorted == expected
}
#[test]
fn hosts_records_and_services_change_in_one_step_and_nobody_goes_unanswered_meanwhile() {
    let (lab, server, client) = office(&[]);
    let old = ["10.250.1.151", "10.250.1.152"];
    let new = ["10.250.1.151", "10.250.1.153"];
    let right = |name: &str, found: &[Ipv4Addr]| match name {
        "vm40ic1" => is_set(found, &old[..1]),
        "vm40ic2" => is_set(found, &old[1..]) || is_set(found, &new[1..]),
        _ => is_set(found, &old) || is_set(found, &new),
    };
    let mut last = serial(&client);
    let asked = meanwhile(&client, &["provision", "vm40ic2", "vm40ic1"], right, || {
        for round in 0..6 {
            let (from, to) = if round % 2 == 0 { (old[1], new[1]) } else { (new[1], old[1]) };
            rewrite(&lab, &server, TAKEN, |text| text.replace(from, to));
            assert_eq!(dig(&client, "vm40ic2.lab.voip A"), to);
            assert_eq!(dig(&client, &format!("-x {to}")), "vm40ic2.lab.voip.");
            assert_eq!(dig(&client, &format!("-x {from}")), "");
            let next = serial(&client);
            assert!(next.wrapping_sub(last) < 1 << 31 && next != last, "{next} after {last}");
            last = next;
        }
    });
    assert!(asked > 100, "{asked}");
    // The same again, and what only DHCP goes by, are nothing new.
    reload(&server, TAKEN);
    rewrite(&lab, &server, TAKEN, replace("lease = \"8h\"", "lease = \"2h\""));
    rewrite(&lab, &server, TAKEN, |text| format!("# A line more.\n\n{text}"));
    assert_eq!(serial(&client), last);

    rewrite(&lab, &server, TAKEN, |text| {
        let text = text.replace("sip = { udp = 8060", "sip = { udp = 9060");
        let text = text.replace("[dns]\n", "[dns]\nttl = 77\n");
        text + "\n[[proxy]]\nname = \"proxies\"\nhosts = [\"vm40ic1\"]\n\
                [[record]]\nname = \"note\"\ntype = \"TXT\"\nvalue = \"hello\"\n"
    });
    assert_eq!(dig(&client, "note.lab.voip TXT"), "\"hello\"");
    assert_eq!(dig(&client, "proxies.lab.voip A"), "10.250.1.151");
    assert!(dig(&client, "_sip._udp.lab.voip SRV").lines().all(|line| line.contains(" 9060 ")));
    assert!(whole(&client, "vm40ic1.lab.voip A").contains("\t77\tIN\tA"));
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn a_zone_file_and_subnets_are_read_again() {
    let far = "[[scope]]\nname = \"far\"\nsubnet = \"10.78.0.0/24\"\nrouter = \"10.78.0.1\"\n\
               pools = [\"10.78.0.100-10.78.0.199\"]\nphones = false\n";
    let voice = "[[scope]]\nname = \"voice\"";
    let lab = Lab::changed(&[
        ("[dns]\n", "[dns]\nzone_file = \"lab.zone\"\n"),
        (voice, &format!("{far}\n{voice}")),
    ]);
    let zone = lab.dir.path().join("lab.zone");
    fs::write(&zone, "$TTL 60\nprinter A 10.250.1.30\n").unwrap();
    let client = lab.machine(Vlan::Voice, "10.250.1.200/24", "10.250.1.1");
    let server = lab.serve();
    assert_eq!(dig(&client, "printer.lab.voip A"), "10.250.1.30");
    let before = serial(&client);
    fs::write(&zone, "$TTL 60\nprinter A 10.250.1.31\nscanner A 10.250.1.32\n").unwrap();
    reload(&server, TAKEN);
    assert_eq!(dig(&client, "printer.lab.voip A"), "10.250.1.31");
    assert_eq!(dig(&client, "scanner.lab.voip A"), "10.250.1.32");
    assert!(serial(&client) > before);
    // One with a mistake changes nothing, whatever else is right.
    fs::write(&zone, "$TTL 60\nprinter A 10.250.1.33\nscanner A 10.250.1\n").unwrap();
    rewrite(
        &lab,
        &server,
        "stays in force",
        append("[[host]]\nname = \"fax\"\naddress = \"10.250.1.160\""),
    );
    assert_eq!(dig(&client, "printer.lab.voip A"), "10.250.1.31");
    assert!(whole(&client, "fax.lab.voip A").contains("NXDOMAIN"));

    // Another subnet: its reverse zone, and whoever asks from there.
    fs::write(&zone, "$TTL 60\n").unwrap();
    let elsewhere = lab.client(Vlan::Voice);
    elsewhere.ip("addr add 10.77.0.9/24 dev eth0");
    elsewhere.ip("route add 10.250.1.5/32 dev eth0");
    lab.appliance.ip("route add 10.77.0.0/24 dev voice0");
    for words in ["fax.lab.voip A", "+tcp fax.lab.voip A"] {
        assert!(whole(&elsewhere, words).contains("status: REFUSED"));
    }
    assert!(whole(&client, "-x 10.77.0.1").contains("status: REFUSED"));
    rewrite(&lab, &server, TAKEN, |text| text.replace("10.78.0.", "10.77.0."));
    for words in ["fax.lab.voip A", "+tcp fax.lab.voip A"] {
        assert!(whole(&elsewhere, words).contains("10.250.1.160"), "{words}");
    }
    assert!(whole(&client, "-x 10.77.0.1").contains("status: NXDOMAIN"));
    rewrite(&lab, &server, TAKEN, |text| text.replace("10.77.0.", "10.78.0."));
    for words in ["fax.lab.voip A", "+tcp fax.lab.voip A"] {
        assert!(whole(&elsewhere, words).contains("status: REFUSED"), "{words}");
    }
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn all_goes_over_or_nothing() {
    // Or names of leases would have serials of their own.
    let (lab, server, client) = office(&[("[dns]\n", "[dns]\nlease_names = false\n")]);
    let good = fs::read_to_string(lab.config()).unwrap();
    let other = |text: String| text.replace("10.250.1.152", "10.250.1.153");
    let seconds = |n| {
        let phone = lab.client(Vlan::Voice);
        let reply = phone.enter(|| Card::open("eth0").lease(mac(n), n, &[]));
        u32::from_be_bytes(reply.option(51).unwrap().try_into().unwrap())
    };
    for (n, (from, to, said)) in (0..).zip([
        // DHCP would need another socket, DNS too, TFTP as well; and a name that leases have.
        ("\"native0\"", "\"native1\"", "scope native"),
        ("listen = [\"10.250.1.5\"]", "listen = [\"10.250.1.6\"]", "listen in [dns]"),
        ("zone = \"lab.voip\"", "zone = \"lab.example\"", "the name of the zone"),
        ("lease = \"1h\"", "lease = \"1h\"\nleese = 1", "the configuration has errors"),
    ]) {
        let before = serial(&client);
        rewrite(&lab, &server, "stays in force", |text| {
            other(replace(from, to)(text)).replace("lease = \"8h\"", "lease = \"2h\"")
        });
        server.wait_for_log(&[said]);
        assert_eq!(dig(&client, "vm40ic2.lab.voip A"), "10.250.1.152", "{said}");
        assert_eq!(serial(&client), before);
        assert_eq!(seconds(n + 1), 8 * 3600, "{said}");
        fs::write(lab.config(), &good).unwrap();
    }
    let line = server.wait_for_log(&["takes a restart", "listen in [dns]"]);
    assert!(!line.contains("host"), "{line}");
    // Who began without names of leases has not kept what they would be.
    let named = replace("lease_names = false", "lease_names = true");
    rewrite(&lab, &server, "stays in force", |text| other(named(text)));
    server.wait_for_log(&["takes a restart", "\"lease_names, which was off at the start\""]);
    assert_eq!(dig(&client, "vm40ic2.lab.voip A"), "10.250.1.152");
    fs::write(lab.config(), &good).unwrap();
    rewrite(&lab, &server, TAKEN, |text| other(text).replace("lease = \"8h\"", "lease = \"2h\""));
    assert_eq!(dig(&client, "vm40ic2.lab.voip A"), "10.250.1.153");
    assert_eq!(seconds(9), 2 * 3600);
}
