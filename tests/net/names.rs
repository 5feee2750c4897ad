//! Leases by name: from the ACK to the lease's end, forward and reverse, whoever the client is.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use offhook_model::Mac;
use offhook_net::{FrameSocket, Interface};

use crate::dhclient::Dhclient;
use crate::lab::{Lab, Netns, PATIENCE, Server, Vlan, output, run, said};
use crate::packet::*;

/// A machine that asks, beside the phones.
fn office() -> (Lab, Netns) {
    let lab = Lab::new();
    let client = lab.machine(Vlan::Voice, "10.250.1.200/24", "10.250.1.1");
    (lab, client)
}

fn dig(client: &Netns, words: &str) -> String {
    let words = words.split(' ');
    run(client.command("dig").args(["@10.250.1.5", "+tries=1", "+time=3", "+short"]).args(words))
        .trim()
        .to_owned()
}

/// Asks until the answer is this one: what follows from an event follows a moment later.
fn becomes(client: &Netns, words: &str, answer: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = dig(client, words);
        if said == answer {
            return;
        }
        assert!(Instant::now() < deadline, "{words} is {said:?}, not {answer:?}");
    }
}

fn offhook(lab: &Lab, words: &[&str]) -> String {
    let mut command = Command::new("timeout");
    command.arg("60").arg(env!("CARGO_BIN_EXE_offhook")).args(words);
    run(command.arg("--state").arg(lab.state()))
}

fn model(model: &str, mac: Mac) -> String {
    format!("{model}-{}.lab.voip", mac.plain())
}

#[test]
fn a_phone_answers_by_model_and_by_host_name_until_its_lease_ends() {
    let (lab, client) = office();
    let _server = lab.serve();
    let phone = mac(1);
    let name = model("440hd", phone);
    client.enter(|| {
        let card = Card::open("eth0");
        let with =
            |kind, xid| Message::new(kind, phone, xid).with(60, b"440HD").with(12, "Empfang Büro");
        let offer = card.ask(&with(DISCOVER, 1)).expect("an OFFER");
        // An offer is no lease.
        assert_eq!(dig(&client, &name), "");
        assert_eq!(dig(&client, &format!("-x {}", offer.yiaddr())), "");
        let address = offer.yiaddr().to_string();
        let request = |xid| {
            with(REQUEST, xid).with(50, offer.yiaddr().octets()).with(54, offer.option(54).unwrap())
        };
        assert_eq!(card.ask(&request(2)).unwrap().kind(), ACK);
        becomes(&client, &name, &address);
        for transport in ["+notcp", "+tcp"] {
            let asked = |words: &str| dig(&client, &format!("{transport} {words}"));
            assert_eq!(asked(&name), address);
            assert_eq!(asked("empfang-b-ro.lab.voip"), address);
            assert_eq!(asked(&name.to_uppercase()), address);
            assert_eq!(asked(&format!("-x {address}")), "empfang-b-ro.lab.voip.");
        }
        assert_eq!(dig(&client, &format!("{name} AAAA")), "");

        // Given back.
        let release = Message::new(RELEASE, phone, 3)
            .from(offer.yiaddr())
            .with(54, offer.option(54).unwrap());
        card.broadcast(&release);
        becomes(&client, &name, "");
        assert_eq!(dig(&client, "empfang-b-ro.lab.voip"), "");
        assert_eq!(dig(&client, &format!("-x {address}")), "");

        // Given back by the administrator.
        card.lease(phone, 4, &[(60, b"440HD")]);
        becomes(&client, &name, &address);
        offhook(&lab, &["leases", "release", &address]);
        becomes(&client, &name, "");

        // Declined.
        let ack = card.lease(phone, 5, &[(60, b"440HD")]);
        becomes(&client, &name, &ack.yiaddr().to_string());
        let decline = Message::new(DECLINE, phone, 6)
            .with(50, ack.yiaddr().octets())
            .with(54, ack.option(54).unwrap());
        card.broadcast(&decline);
        becomes(&client, &name, "");
    });
}

#[test]
fn no_name_is_published_before_its_phone_has_the_ack() {
    const PHONES: u32 = 100;
    let (lab, client) = office();
    let _server = lab.serve();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Asks for all names over and over.
        scope.spawn(|| {
            client.enter(|| {
                let socket = UdpSocket::bind("10.250.1.200:0").unwrap();
                while !stop.load(Ordering::Relaxed) {
                    for n in 0..PHONES {
                        let _ = socket.send_to(&query(n), "10.250.1.5:53");
                    }
                    std::thread::sleep(Duration::from_micros(200));
                }
            });
        });
        // Whatever becomes of this thread, the other one ends.
        let _stop = Stop(&stop);
        client.enter(|| {
            // One socket sees both protocols in the order in which they come.
            let seen = FrameSocket::open_receiving(&Interface::named("eth0").unwrap(), true, None);
            let seen = seen.unwrap();
            let card = Card::open("eth0");
            let with = |kind, n| Message::new(kind, mac(n), n).with(60, b"440HD");
            let mut acknowledged: HashMap<u32, Ipv4Addr> = HashMap::new();
            let mut named = HashSet::new();
            let deadline = Instant::now() + PATIENCE;
            let mut buffer = [0; 4096];
            (0..PHONES).for_each(|n| card.broadcast(&with(DISCOVER, n)));
            while named.len() < PHONES as usize {
                assert!(Instant::now() < deadline, "{} names", named.len());
                let frame = seen.recv(&mut buffer, Some(Duration::from_secs(1))).unwrap();
                let Some(frame) = frame else { continue };
                match frame.source.port() {
                    67 => {
                        let reply = Reply {
                            bytes: frame.payload.to_vec(),
                            destination_mac: frame.destination_mac,
                            destination: frame.destination,
                            source: frame.source,
                        };
                        let n = reply.xid();
                        if reply.kind() == OFFER {
                            let request = with(REQUEST, n)
                                .with(50, reply.yiaddr().octets())
                                .with(54, reply.option(54).unwrap());
                            card.broadcast(&request);
                        } else {
                            assert_eq!(reply.kind(), ACK);
                            acknowledged.insert(n, reply.yiaddr());
                        }
                    }
                    53 => {
                        let (n, address) = answer(frame.payload);
                        let Some(address) = address else { continue };
                        assert_eq!(acknowledged.get(&n), Some(&address), "phone {n} has no ACK");
                        named.insert(n);
                    }
                    _ => {}
                }
            }
        });
    });
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_lease_that_is_not_on_disk_has_neither_an_ack_nor_a_name() {
    let (lab, client) = office();
    let server = lab.serve();
    // Whatever waits for the disk waits so much longer from now on.
    const HELD: Duration = Duration::from_secs(2);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o", "/dev/null", "-e", "trace=fdatasync,pwrite64"]);
    let delay = format!("inject=fdatasync,pwrite64:delay_enter={}", HELD.as_micros());
    strace.args(["-e", &delay, "-p", &server.pid().to_string()]);
    let strace = Server::spawn(&mut strace);
    strace.wait_for_log(&["attached with"]);
    client.enter(|| {
        let card = Card::open("eth0");
        let begun = Instant::now();
        let offer = card.ask(&Message::new(DISCOVER, mac(1), 1)).expect("an OFFER");
        let request = Message::new(REQUEST, mac(1), 2)
            .with(50, offer.yiaddr().octets())
            .with(54, offer.option(54).unwrap());
        card.broadcast(&request);
        let (mut looks, mut ack) = (0, None);
        while begun.elapsed() < HELD && ack.is_none() {
            let name = dig(&client, &model("client", mac(1)));
            ack = card.reply_within(2, Duration::from_millis(20));
            // On a busy machine a look may take longer than the disk.
            if begun.elapsed() < HELD {
                assert_eq!((&*name, ack.is_some()), ("", false));
                looks += 1;
            }
        }
        assert!(looks > 0, "there was no time to look");
        let ack = ack.or_else(|| card.reply_within(2, PATIENCE)).unwrap();
        assert_eq!(ack.kind(), ACK);
        becomes(&client, &model("client", mac(1)), &offer.yiaddr().to_string());
    });
}

#[test]
fn a_name_waits_for_an_ack_that_is_held_up_on_its_way_out() {
    let (lab, client) = office();
    let server = lab.serve();
    client.enter(|| {
        let card = Card::open("eth0");
        let offer = card.ask(&Message::new(DISCOVER, mac(1), 1)).expect("an OFFER");
        // From now on a reply of DHCP, and nothing else, takes a second from the decision to send it to the wire.
        let mut strace = Command::new("strace");
        strace.args(["-o", "/dev/null", "-e", "trace=sendmmsg,sendmsg,sendto"]);
        strace.args(["-e", "inject=sendmmsg,sendmsg,sendto:delay_enter=1000000"]);
        let threads = server.threads("dhcp");
        strace.args(threads.iter().flat_map(|thread| ["-p", thread]));
        let strace = Server::spawn(&mut strace);
        for thread in &threads {
            strace.wait_for_log(&[thread, "attached"]);
        }
        let request = Message::new(REQUEST, mac(1), 2)
            .with(50, offer.yiaddr().octets())
            .with(54, offer.option(54).unwrap());
        card.broadcast(&request);
        let asked = Instant::now();
        let ack = loop {
            let answer = dig(&client, &model("client", mac(1)));
            // An answer that was given after the ACK came after it.
            if let Some(ack) = card.reply_within(2, Duration::from_millis(5)) {
                break ack;
            }
            assert_eq!(answer, "", "a name after {:?}, and no ACK", asked.elapsed());
            assert!(asked.elapsed() < PATIENCE);
        };
        assert_eq!(ack.kind(), ACK);
        assert!(asked.elapsed() > Duration::from_millis(900), "the ACK was not held up");
        becomes(&client, &model("client", mac(1)), &offer.yiaddr().to_string());
    });
}

/// The query for the name of phone `n`, which is its id.
fn query(n: u32) -> Vec<u8> {
    let mut bytes = (n as u16).to_be_bytes().to_vec();
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in model("440hd", mac(n)).split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

/// Which phone an answer is about, and the address when it has one.
fn answer(bytes: &[u8]) -> (u32, Option<Ipv4Addr>) {
    let n = u32::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    let found = bytes[7] == 1;
    let address = found.then(|| bytes.last_chunk::<4>().copied().unwrap().into());
    (n, address)
}

#[test]
fn names_are_back_before_dns_answers_after_sigkill() {
    let (lab, client) = office();
    let server = lab.serve();
    let leased: Vec<_> = client.enter(|| {
        let card = Card::open("eth0");
        (0..20)
            .map(|n| {
                let host = format!("desk-{n}");
                let ack = card.lease(mac(n), n, &[(60, b"440HD"), (12, host.as_bytes())]);
                (n, ack.yiaddr().to_string())
            })
            .collect()
    });
    let serial = |client: &Netns| -> u32 {
        let soa = dig(client, "lab.voip SOA");
        soa.split(' ').nth(2).unwrap().parse().unwrap()
    };
    becomes(&client, "desk-19.lab.voip", &leased[19].1);
    let before = serial(&client);
    server.kill();
    let server = lab.start(&[]);
    server.wait_for_log(&["listening for DNS"]);
    for (n, address) in &leased {
        assert_eq!(dig(&client, &model("440hd", mac(*n))), *address);
        assert_eq!(dig(&client, &format!("desk-{n}.lab.voip")), *address);
        assert_eq!(dig(&client, &format!("-x {address}")), format!("desk-{n}.lab.voip."));
    }
    server.wait_for_log(&["serving", "scopes"]);
    let after = serial(&client);
    assert!(after > before, "{before} {after}");
    client.enter(|| {
        Card::open("eth0").lease(mac(99), 99, &[(12, b"late")]);
    });
    becomes(&client, "late.lab.voip", &dig(&client, &model("client", mac(99))));
    assert!(serial(&client) > after);
}

#[test]
fn a_name_goes_to_the_first_of_two_and_never_to_one_beside_a_server_s() {
    let (lab, client) = office();
    let _server = lab.serve();
    client.enter(|| {
        let card = Card::open("eth0");
        let lease = |n: u32, host: &str| {
            card.lease(mac(n), n, &[(12, host.as_bytes())]).yiaddr().to_string()
        };
        let [first, second, impostor] = [lease(1, "desk"), lease(2, "desk"), lease(3, "vm40ic1")];
        becomes(&client, &model("client", mac(3)), &impostor);
        assert_eq!(dig(&client, "desk.lab.voip"), first);
        assert_eq!(dig(&client, &format!("-x {second}")), format!("{}.", model("client", mac(2))));
        assert_eq!(dig(&client, "vm40ic1.lab.voip"), "10.250.1.151");
        assert_eq!(
            dig(&client, &format!("-x {impostor}")),
            format!("{}.", model("client", mac(3)))
        );
        // RFC 4702: what a client is told of its name is so. S is 1, O is 2, N is 8.
        let told = |n: u32, name: &str| {
            let asked = [&[1, 0, 0], name.as_bytes()].concat();
            let ack = card.lease(mac(n), n, &[(81, &asked)]);
            (ack.option(81).unwrap()[0], ack.yiaddr().to_string())
        };
        for taken in ["desk", "vm40ic1.lab.voip", "pc.example.com"] {
            assert_eq!(told(4, taken).0, 2 | 8, "{taken}");
        }
        let (flags, lobby) = told(5, "lobby");
        assert_eq!(flags, 1);
        becomes(&client, "lobby.lab.voip", &lobby);
        assert_eq!(dig(&client, "pc.lab.voip"), "");

        offhook(&lab, &["leases", "release", &first]);
        becomes(&client, "desk.lab.voip", &second);
        assert_eq!(dig(&client, &format!("-x {second}")), "desk.lab.voip.");
    });
}

#[test]
fn an_expired_lease_has_no_name() {
    let lab = Lab::changed(&[("lease = \"8h\"", "lease = \"9s\"\nmin_lease = \"1s\"")]);
    let client = lab.machine(Vlan::Voice, "10.250.1.200/24", "10.250.1.1");
    let _server = lab.serve();
    let taken = Instant::now();
    let address = client
        .enter(|| Card::open("eth0").lease(mac(1), 1, &[(12, b"brief")]).yiaddr().to_string());
    becomes(&client, "brief.lab.voip", &address);
    let ttl =
        run(client.command("dig").args(["@10.250.1.5", "+noall", "+answer", "brief.lab.voip"]));
    assert_eq!(ttl.split_whitespace().nth(1), Some("3"), "a third of the lease: {ttl}");
    becomes(&client, "brief.lab.voip", "");
    let lived = taken.elapsed();
    assert!(lived >= Duration::from_millis(8900) && lived < PATIENCE, "{lived:?}");
    assert_eq!(dig(&client, &format!("-x {address}")), "");
}

#[test]
fn a_phone_that_moves_to_the_voice_vlan_is_found_there() {
    let (lab, client) = office();
    let _server = lab.serve();
    let name = model("440hd", mac(1));
    let lease = |vlan, xid| {
        lab.client(vlan).enter(|| {
            let ack = Card::open("eth0").lease(mac(1), xid, &[(60, b"440HD")]);
            ack.yiaddr().to_string()
        })
    };
    let native = lease(Vlan::Native, 1);
    becomes(&client, &name, &native);
    assert_eq!(dig(&client, &format!("-x {native}")), format!("{name}."));
    let voice = lease(Vlan::Voice, 2);
    becomes(&client, &name, &voice);
    becomes(&client, &format!("-x {native}"), "");
    assert_eq!(dig(&client, &format!("-x {voice}")), format!("{name}."));
}

#[test]
fn dhclient_and_udhcpc_are_found_by_the_names_they_send() {
    let (lab, client) = office();
    let _server = lab.serve();
    for (sends, name) in [
        ("send host-name \"Polycom_64167f97e4f6\";", "polycom_64167f97e4f6"),
        (
            "send fqdn.fqdn \"pc-7.lab.voip.\"; send fqdn.server-update on; send fqdn.encoded on;",
            "pc-7",
        ),
        (
            "send fqdn.fqdn \"pc-8\"; send fqdn.server-update on; send host-name \"not-this\";",
            "pc-8",
        ),
    ] {
        let machine = lab.client(Vlan::Voice);
        let dhclient = Dhclient::new(&lab, &machine, sends);
        let address = dhclient.bind("BOUND")["new_ip_address"].clone();
        becomes(&client, &format!("{name}.lab.voip"), &address);
        assert_eq!(dig(&client, &format!("-x {address}")), format!("{name}.lab.voip."));
        dhclient.release();
        becomes(&client, &format!("{name}.lab.voip"), "");
    }
    assert_eq!(dig(&client, "polycom-64167f97e4f6.lab.voip"), "");
    assert_eq!(dig(&client, "not-this.lab.voip"), "");

    let machine = lab.client(Vlan::Voice);
    let sends = ["-V", "440HD", "-x", "hostname:440hd-x", "-F", "lobby"];
    let given = crate::udhcpc::udhcpc(&lab, &machine, &sends);
    becomes(&client, "lobby.lab.voip", &given["ip"]);
    let printed = run(client.command("nslookup").args([&given["ip"], "10.250.1.5"]));
    assert!(printed.contains("name = lobby.lab.voip."), "{printed}");
}

#[test]
fn names_of_leases_can_be_switched_off() {
    for (keys, model_answers) in [("lease_names = false", false), ("host_names = false", true)] {
        let lab = Lab::changed(&[("[dns]\n", &format!("[dns]\n{keys}\n"))]);
        let client = lab.machine(Vlan::Voice, "10.250.1.200/24", "10.250.1.1");
        let _server = lab.serve();
        let [address, later] = client.enter(|| {
            let card = Card::open("eth0");
            let lease = |n| card.lease(mac(n), n, &[(60, b"440HD"), (12, b"desk")]).yiaddr();
            [lease(1), lease(2)].map(|address| address.to_string())
        });
        if model_answers {
            becomes(&client, &model("440hd", mac(2)), &later);
            assert_eq!(dig(&client, &model("440hd", mac(1))), address);
        } else {
            assert_eq!(dig(&client, &model("440hd", mac(1))), "");
        }
        assert_eq!(dig(&client, "desk.lab.voip"), "", "{keys}");
        let out = output(client.command("dig").args(["@10.250.1.5", "desk.lab.voip"]));
        assert!(said(&out).contains("NXDOMAIN"), "{}", said(&out));
    }
}
