//! SIGHUP: what DNS goes by changes while phones ask, all of it in one step, and what is known stays known.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message as DnsMessage, ResponseCode};
use hickory_proto::rr::RData;
use offhook_model::{ClientId, HardwareAddress, Lease, LeaseState, LeaseWrite, Mac, Time};
use serde_json::Value;

use crate::asked::ask;
use crate::lab::{Lab, Netns, PATIENCE, Server, Vlan, output, run, said};
use crate::packet::*;
use crate::sip::{Fake, Manner, Speech};

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
    let (lab, server, client) = office(&[]);
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
    rewrite(&lab, &server, TAKEN, |text| other(text).replace("lease = \"8h\"", "lease = \"2h\""));
    assert_eq!(dig(&client, "vm40ic2.lab.voip A"), "10.250.1.153");
    assert_eq!(seconds(9), 2 * 3600);
}

#[test]
fn the_name_of_a_phone_survives_and_one_that_the_configuration_takes_comes_back() {
    let (lab, server, client) = office(&[]);
    let phone = lab.client(Vlan::Voice);
    let lease = |n: u32| {
        let options: [(u8, &[u8]); 2] = [(60, b"440HD"), (12, b"desk")];
        phone.enter(|| Card::open("eth0").lease(mac(n), n, &options).yiaddr().to_string())
    };
    let address = lease(1);
    let model = format!("440hd-{}.lab.voip", mac(1).plain());
    let deadline = Instant::now() + PATIENCE;
    while dig(&client, "desk.lab.voip") != address {
        assert!(Instant::now() < deadline, "no name");
    }
    let is_named = |desk: &str, pointer: &str| {
        assert_eq!(dig(&client, &model), address);
        assert_eq!(dig(&client, "desk.lab.voip"), desk);
        assert_eq!(dig(&client, &format!("-x {address}")), format!("{pointer}."));
    };
    is_named(&address, "desk.lab.voip");
    let (model_first, at) =
        (&*format!("440hd-{}", mac(1).plain()), address.parse::<Ipv4Addr>().unwrap());
    let right = |_: &str, found: &[Ipv4Addr]| found == [at];
    meanwhile(&client, &[model_first], right, || {
        rewrite(&lab, &server, TAKEN, replace("port = 8088", "port = 8089"));
    });
    is_named(&address, "desk.lab.voip");

    let host = "[[host]]\nname = \"desk\"\naddress = \"10.250.1.161\"";
    rewrite(&lab, &server, TAKEN, append(host));
    is_named("10.250.1.161", &model);
    assert_eq!(dig(&client, "-x 10.250.1.161"), "desk.lab.voip.");
    // Renewed meanwhile, and wanted by another.
    lease(1);
    lease(2);
    is_named("10.250.1.161", &model);
    rewrite(&lab, &server, TAKEN, |text| text.replace(host, ""));
    is_named(&address, "desk.lab.voip");

    let off = |text: String| text.replace("[dns]\n", "[dns]\nhost_names = false\n");
    rewrite(&lab, &server, TAKEN, off);
    is_named("", &model);
    rewrite(&lab, &server, TAKEN, |text| text.replace("host_names = false", "lease_names = false"));
    assert_eq!(dig(&client, &model), "");
    assert_eq!(dig(&client, &format!("-x {address}")), "");
    rewrite(&lab, &server, TAKEN, |text| text.replace("lease_names = false\n", ""));
    is_named(&address, "desk.lab.voip");
    // And a phone that comes afterwards.
    lease(3);
    let third = format!("440hd-{}.lab.voip", mac(3).plain());
    let deadline = Instant::now() + PATIENCE;
    while dig(&client, &third).is_empty() {
        assert!(Instant::now() < deadline, "no name");
    }
}

/// So many leases in the store of a lab, in 10.64.0.0/15.
fn fill(lab: &Lab, leases: u32) -> impl Fn(u32) -> (String, Ipv4Addr) + Sync {
    let hardware = |n: u32| {
        let [_, a, b, c] = n.to_be_bytes();
        HardwareAddress::from(Mac([0, 0x90, 0x8f, a, b, c]))
    };
    let address = |n: u32| Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(10, 64, 0, 1)) + n);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let since = Time::from_secs(now.as_secs());
    let (mut store, _) = offhook_store::Store::open(&lab.state()).unwrap();
    let all: Vec<_> = (0..leases)
        .map(|n| {
            LeaseWrite::Put(Lease {
                address: address(n),
                client: ClientId::Hardware(hardware(n)),
                hardware: hardware(n),
                state: LeaseState::Bound,
                since,
                expires: since + Duration::from_secs(86_400),
                scope: "big".into(),
                class: Some("440HD".into()),
                host_name: Some(format!("phone-{n}").into_bytes().into()),
            })
        })
        .collect();
    all.chunks(10_000).for_each(|some| store.commit(some).unwrap());
    move |n| {
        let [_, a, b, c] = n.to_be_bytes();
        (format!("440hd-00908f{a:02x}{b:02x}{c:02x}"), address(n))
    }
}

const BIG: &str = "[[scope]]\nname = \"big\"\nsubnet = \"10.64.0.0/15\"\nrouter = \"10.65.255.254\"\n\
                   pools = [\"10.64.0.1-10.65.255.253\"]\nlease = \"1d\"\nvoice = \"voice\"\n";

#[test]
fn a_hundred_thousand_names_survive_and_hold_up_nobody() {
    const LEASES: u32 = 100_000;
    let lab = Lab::changed(&[(
        "[[scope]]\nname = \"voice\"",
        &format!("{BIG}\n[[scope]]\nname = \"voice\""),
    )]);
    let named = fill(&lab, LEASES);
    let client = lab.machine(Vlan::Voice, "10.250.1.200/24", "10.250.1.1");
    let server = lab.serve();
    let names = || status(&lab)["dns"]["lease_names"].as_u64();
    assert_eq!(names(), Some(2 * u64::from(LEASES)));
    let some = [0, 7, LEASES / 2, LEASES - 1].map(&named);
    let labels = some.each_ref().map(|(label, _)| label.as_str());
    let right = |name: &str, found: &[Ipv4Addr]| match some.iter().find(|(label, _)| label == name)
    {
        Some((_, address)) => found == [*address],
        None => found.len() == 1,
    };
    let asked = meanwhile(&client, &[&labels[..], &["vm40ic2"]].concat(), right, || {
        for round in 0..4 {
            let (from, to) =
                [("10.250.1.152", "10.250.1.153"), ("10.250.1.153", "10.250.1.152")][round % 2];
            let begun = Instant::now();
            rewrite(&lab, &server, TAKEN, |text| text.replace(from, to));
            assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
            for (label, address) in &some {
                assert_eq!(dig(&client, &format!("{label}.lab.voip")), address.to_string());
                assert!(dig(&client, &format!("-x {address}")).starts_with("phone-"));
            }
        }
    });
    assert!(asked > 100, "{asked}");
    assert_eq!(names(), Some(2 * u64::from(LEASES)));
}

#[test]
fn many_reloads_one_after_the_other_leave_the_last_one_in_force_and_memory_as_it_was() {
    let lab = Lab::changed(&[(
        "[[scope]]\nname = \"voice\"",
        &format!("{BIG}\n[[scope]]\nname = \"voice\""),
    )]);
    let named = fill(&lab, 3000);
    let client = lab.machine(Vlan::Voice, "10.250.1.200/24", "10.250.1.1");
    let server = lab.serve();
    let good = fs::read_to_string(lab.config()).unwrap();
    let write = |last: u8| {
        // In one step, as editors do: it is read at any time.
        let new = lab.dir.path().join("new.toml");
        fs::write(&new, good.replace("10.250.1.152", &format!("10.250.1.{last}"))).unwrap();
        fs::rename(new, lab.config()).unwrap();
    };
    let resident = || {
        let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let round = |times: u32| {
        for n in 0..times {
            write(160 + (n % 20) as u8);
            server.hang_up();
            server.hang_up();
            if n % 5 == 0 {
                reload(&server, TAKEN);
            }
        }
        write(199);
        let deadline = Instant::now() + PATIENCE;
        // Signals that come while one is heeded are one.
        server.hang_up();
        while dig(&client, "vm40ic2.lab.voip A") != "10.250.1.199" {
            assert!(Instant::now() < deadline, "{}", server.log());
        }
    };
    round(60);
    let before = resident();
    round(60);
    round(60);
    let after = resident();
    assert!(after < before + 4096, "{before} KiB, then {after} KiB");
    let (label, address) = named(2999);
    assert_eq!(dig(&client, &format!("{label}.lab.voip")), address.to_string());
    assert!(!server.log().contains("ERROR"), "{}", server.log());
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn a_dead_server_stays_out_of_the_answers_and_what_is_known_stays_known() {
    let watched = "order = \"active-only\"\nhealth = { probe = \"sip-udp\", interval = \"300ms\", \
                   timeout = \"200ms\", rise = 2, fall = 2, damping = 0 }\nsip = {";
    let lab = Lab::changed(&[("sip = {", watched)]);
    let machine = |address: &str| lab.machine(Vlan::Voice, address, "10.250.1.1");
    let machines = [machine("10.250.1.151/24"), machine("10.250.1.152/24")];
    let client = machine("10.250.1.200/24");
    let first = Fake::start(&machines[0], Speech::SipUdp, [10, 250, 1, 151], 8060);
    let _second = Fake::start(&machines[1], Speech::SipUdp, [10, 250, 1, 152], 8060);
    let server = lab.serve();
    let servers = || status(&lab)["servers"].as_array().unwrap().clone();
    let becomes = |place: usize, state: &str| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = servers();
            if now[place]["state"] == *state {
                return now[place].clone();
            }
            assert!(Instant::now() < deadline, "not {state}: {now:?}");
        }
    };
    becomes(0, "up");
    becomes(1, "up");
    first.set(Manner::Silent);
    let dead = becomes(0, "down");
    let right = |_: &str, found: &[Ipv4Addr]| is_set(found, &["10.250.1.152"]);
    meanwhile(&client, &["provision"], right, || {
        let before = serial(&client);
        rewrite(&lab, &server, TAKEN, replace("lease = \"8h\"", "lease = \"2h\""));
        reload(&server, TAKEN);
        assert_eq!(serial(&client), before, "nothing new");
        // Beside it a host, in another rhythm, and a pool that nobody knows anything of.
        rewrite(&lab, &server, TAKEN, |text| {
            text.replace("interval = \"300ms\"", "interval = \"250ms\"")
                + "\n[[host]]\nname = \"fax\"\naddress = \"10.250.1.160\"\n[[proxy]]\n\
                   name = \"pool\"\nhosts = [\"fax\"]\norder = \"active-only\"\n\
                   health = { probe = \"tcp\", port = 5060, interval = \"1s\", fall = 9 }\n"
        });
        let now = servers();
        assert_eq!(now.len(), 3, "{now:?}");
        assert_eq!(now[0]["state"], "down");
        assert_eq!((&now[0]["since"], &now[0]["changes"]), (&dead["since"], &dead["changes"]));
        assert!(now[0]["probes"].as_u64() >= dead["probes"].as_u64(), "{now:?}");
        assert_eq!((&now[1]["state"], &now[2]["state"]), (&"up".into(), &"unknown".into()));
        assert_eq!(dig(&client, "pool.lab.voip A"), "10.250.1.160");
    });
    // It is asked still, and comes back.
    first.set(Manner::Good);
    let back = becomes(0, "up");
    assert_eq!(back["changes"].as_u64(), dead["changes"].as_u64().map(|it| it + 1));
    // Asked otherwise it is another server; and down again.
    first.set(Manner::Silent);
    becomes(0, "down");
    rewrite(&lab, &server, TAKEN, |text| {
        let pool = text.find("[[host]]\nname = \"fax\"").unwrap();
        text[..pool].to_owned()
    });
    assert_eq!(servers().len(), 2);
    assert_eq!(dig(&client, "provision.lab.voip A"), "10.250.1.152");
    // Not watched any more: all of them.
    rewrite(&lab, &server, TAKEN, |text| {
        let begin = text.find("order = \"active-only\"").unwrap();
        let end = text.find("sip = {").unwrap();
        format!("{}{}", &text[..begin], &text[end..])
    });
    assert_eq!(dig(&client, "provision.lab.voip A").lines().count(), 2);
    assert!(servers().is_empty());
    // And watched again, of which nothing is known.
    rewrite(&lab, &server, TAKEN, replace("sip = {", watched));
    assert_eq!(dig(&client, "provision.lab.voip A").lines().count(), 2);
    becomes(0, "down");
    assert_eq!(dig(&client, "provision.lab.voip A"), "10.250.1.152");
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn who_is_answered_how_often_and_who_gets_whole_zones_changes_at_once() {
    let (lab, server, client) = office(&[]);
    let stranger = lab.client(Vlan::Voice);
    stranger.ip("addr add 192.0.2.66/24 dev eth0");
    stranger.ip("route add 10.250.1.5/32 dev eth0");
    lab.appliance.ip("route add 192.0.2.0/24 dev voice0");
    let is_refused = |netns: &Netns| {
        let [udp, tcp] = ["+notcp", "+tcp"].map(|transport| {
            whole(netns, &format!("{transport} vm40ic1.lab.voip A")).contains("status: REFUSED")
        });
        assert_eq!(udp, tcp);
        udp
    };
    assert!(is_refused(&stranger) && !is_refused(&client));
    let before = serial(&client);
    rewrite(&lab, &server, TAKEN, replace("[dns]\n", "[dns]\nallow = [\"192.0.2.0/24\"]\n"));
    assert!(!is_refused(&stranger) && is_refused(&client));
    rewrite(&lab, &server, TAKEN, replace("allow = [\"192.0.2.0/24\"]\n", "rate_limit = 20\n"));
    assert!(is_refused(&stranger) && !is_refused(&client));
    assert_eq!(serial(&client), before, "no record has changed");

    // So many answers of 200 questions, whole ones.
    let answered = || {
        client.enter(|| {
            let socket = UdpSocket::bind("10.250.1.200:0").unwrap();
            socket.connect("10.250.1.5:53").unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            (0..200).for_each(|n| {
                socket.send(&ask("vm40ic1", A).octets(n)).unwrap();
            });
            let (mut whole, mut buffer) = (0, [0; 1500]);
            while socket.recv(&mut buffer).is_ok() {
                whole += usize::from(buffer[2] & 2 == 0);
            }
            whole
        })
    };
    let limited = answered();
    assert!((15..=60).contains(&limited), "{limited}");
    rewrite(&lab, &server, TAKEN, replace("rate_limit = 20\n", ""));
    assert_eq!(answered(), 200);

    // A secondary from now on: it gets the zone, and is told of what changes.
    let secondary = lab.machine(Vlan::Voice, "10.250.1.201/24", "10.250.1.1");
    assert!(whole(&secondary, "lab.voip AXFR").contains("Transfer failed"));
    let notify = secondary.enter(|| UdpSocket::bind("10.250.1.201:53").unwrap());
    notify.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut buffer = [0; 512];
        let (length, from) = notify.recv_from(&mut buffer).expect("a NOTIFY");
        assert_eq!(from.ip(), "10.250.1.5".parse::<IpAddr>().unwrap());
        assert_eq!(buffer[2] & 0xf8, 0x20, "opcode 4");
        buffer[2] |= 0x80;
        notify.send_to(&buffer[..length], from).unwrap();
        buffer[12..length].to_vec()
    };
    let transfer = "[dns]\ntransfer = [\"10.250.1.201\"]\n";
    rewrite(&lab, &server, TAKEN, replace("[dns]\n", transfer));
    let zones: Vec<_> = (0..2).map(|_| told()).collect();
    assert!(zones.iter().any(|zone| zone.starts_with(b"\x03lab\x04voip\0")), "{zones:?}");
    assert!(whole(&secondary, "lab.voip AXFR").contains("vm40ic1.lab.voip."));
    let start = Instant::now();
    while notify.set_read_timeout(Some(Duration::from_secs(3))).is_ok()
        && notify.recv_from(&mut [0; 512]).is_ok()
    {
        assert!(start.elapsed() < PATIENCE, "told for ever");
    }
    notify.set_read_timeout(Some(PATIENCE)).unwrap();
    rewrite(&lab, &server, TAKEN, |text| text.replace("10.250.1.152", "10.250.1.153"));
    told();
    rewrite(&lab, &server, TAKEN, |text| text.replace(transfer, "[dns]\n"));
    assert!(whole(&secondary, "lab.voip AXFR").contains("Transfer failed"));
    assert_eq!(server.terminate(), Some(0));
}

/// Answers every A question with 192.0.2.`last`, for an hour.
fn upstream(netns: &Netns, address: &str, last: u8) {
    let socket = netns.enter(|| UdpSocket::bind((address, 53)).unwrap());
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let asked = DnsMessage::from_vec(&buffer[..length]).unwrap();
            let query = asked.queries[0].clone();
            let mut answer =
                DnsMessage::response(asked.metadata.id, hickory_proto::op::OpCode::Query);
            answer.metadata.recursion_available = true;
            if query.name().to_ascii().starts_with("quit.") {
                return;
            }
            if query.query_type() == hickory_proto::rr::RecordType::A {
                let data = RData::A(hickory_proto::rr::rdata::A::new(192, 0, 2, last));
                let record =
                    hickory_proto::rr::Record::from_rdata(query.name().clone(), 3600, data);
                answer.add_answer(record);
            }
            answer.add_query(query);
            let _ = socket.send_to(&answer.to_vec().unwrap(), from);
        }
    });
}

#[test]
fn other_upstreams_are_asked_at_once_and_what_is_known_of_those_that_stay_is_kept() {
    let forward = "forward = { \"lab.local\" = [\"10.250.0.2\"] }";
    let with = |servers: &str| format!("forward = {{ {servers} }}");
    let both = with("\"one.example\" = [\"10.250.1.211\"], \"two.example\" = [\"10.250.1.212\"]");
    let (lab, server, client) = office(&[(forward, &both)]);
    let machines = ["10.250.1.211", "10.250.1.212", "10.250.1.213"].map(|address| {
        let machine = lab.machine(Vlan::Voice, &format!("{address}/24"), "10.250.1.1");
        let last = address.rsplit('.').next().unwrap().parse().unwrap();
        upstream(&machine, address, last);
        machine
    });
    assert_eq!(dig(&client, "a.one.example A"), "192.0.2.211");
    assert_eq!(dig(&client, "a.two.example A"), "192.0.2.212");
    let counts = |what: &str| status(&lab)["dns"]["counts"][what].as_u64().unwrap();
    let (asked, before) = (counts("upstream-asked"), serial(&client));

    let other = "\"one.example\" = [\"10.250.1.213\"], \"two.example\" = [\"10.250.1.212\"], \
                 \"lab.local\" = [\"10.250.1.222\", \"10.250.1.213\"]";
    rewrite(&lab, &server, TAKEN, |text| text.replace(&both, &with(other)));
    assert_eq!(dig(&client, "a.one.example A"), "192.0.2.213", "not what the other one said");
    assert_eq!(dig(&client, "+tcp a.one.example A"), "192.0.2.213");
    assert_eq!(dig(&client, "a.two.example A"), "192.0.2.212");
    assert_eq!(counts("upstream-asked"), asked + 1, "that of the other zone is kept");
    assert_eq!(serial(&client), before, "no record has changed");

    // Somebody who does not answer is not waited for again after a reload.
    let deadline = Instant::now() + PATIENCE;
    let mut n = 0;
    while !server.log().contains("upstream 10.250.1.222 does not answer") {
        assert!(Instant::now() < deadline, "{}", server.log());
        assert_eq!(dig(&client, &format!("{n}.lab.local A")), "192.0.2.213");
        n += 1;
    }
    rewrite(&lab, &server, TAKEN, replace("port = 8088", "port = 8089"));
    let begun = Instant::now();
    assert_eq!(dig(&client, "later.lab.local A"), "192.0.2.213");
    assert!(begun.elapsed() < Duration::from_millis(400), "{:?}", begun.elapsed());
    let upstreams = status(&lab)["dns"]["upstreams"].as_array().unwrap().clone();
    let silent = |server: &str| {
        let of = upstreams.iter().find(|it| it["server"] == *server);
        of.unwrap_or_else(|| panic!("{upstreams:?}"))["silent_seconds"].is_u64()
    };
    assert!(silent("10.250.1.222:53") && !silent("10.250.1.213:53"));

    // Nobody is asked any more.
    rewrite(&lab, &server, TAKEN, |text| text.replace(&with(other), ""));
    for name in ["a.one.example", "a.two.example", "0.lab.local"] {
        assert!(whole(&client, &format!("{name} A")).contains("status: REFUSED"), "{name}");
    }
    assert_eq!(status(&lab)["dns"]["cached"], 0);
    assert_eq!(status(&lab)["dns"]["upstreams"].as_array().unwrap().len(), 0);
    for (machine, last) in machines.iter().zip(211..) {
        let _ = output(machine.command("dig").args([
            &format!("@10.250.1.{last}"),
            "+tries=1",
            "+time=1",
            "quit.example",
        ]));
    }
    assert_eq!(server.terminate(), Some(0));
}
