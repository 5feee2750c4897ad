//! Names of other zones, with unbound on either side: what a phone gets through its only resolver.

use std::collections::HashSet;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use offhook_net::{FrameSocket, Interface};

use crate::lab::{Lab, Netns, PATIENCE, Vlan, output, repository, run, said};

/// The sample site with somebody for every other name.
fn lab_with(forward: &str) -> Lab {
    let lab = fs::read_to_string(repository().join("config/lab.toml")).unwrap();
    let line = "forward = { \"lab.local\" = [\"10.250.0.2\"] }";
    assert!(lab.contains(line));
    Lab::with_config(&lab.replace(line, forward))
}

/// unbound in a namespace, ended with the value.
struct Unbound {
    child: Child,
}

impl Unbound {
    /// `config` is what goes into its `server:` clause, and more clauses after it.
    fn start(lab: &Lab, netns: &Netns, address: &str, config: &str) -> Self {
        let path = lab.dir.path().join(format!("unbound-{address}.conf"));
        let text = format!(
            "server:\n  interface: {address}\n  access-control: 0.0.0.0/0 allow\n  do-daemonize: no\n  \
             username: \"\"\n  chroot: \"\"\n  pidfile: \"\"\n  use-syslog: no\n  logfile: \"\"\n  \
             module-config: iterator\n  do-not-query-localhost: no\n  num-threads: 1\n{config}\n\
             remote-control:\n  control-enable: no\n"
        );
        fs::write(&path, text).unwrap();
        let child = netns
            .daemon("unbound")
            .args(["-d", "-c"])
            .arg(&path)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let unbound = Self { child };
        let deadline = Instant::now() + PATIENCE;
        while !output(netns.command("dig").args([
            &format!("@{address}"),
            "+tries=1",
            "+time=1",
            "id.server",
            "CH",
            "TXT",
        ]))
        .status
        .success()
        {
            assert!(Instant::now() < deadline, "unbound does not start: {}", path.display());
            std::thread::yield_now();
        }
        unbound
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A zone `example.`, with `www` at 192.0.2.`last`.
fn example(last: u8) -> String {
    let long: String = (0..40)
        .map(|n| format!("  local-data: 'big.example. 300 IN TXT \"{n:02}{}\"'\n", "x".repeat(90)))
        .collect();
    format!(
        "  local-zone: \"example.\" static\n  \
         local-data: 'example. 300 IN SOA ns.example. admin.example. 1 3600 600 86400 600'\n  \
         local-data: 'www.example. 300 IN A 192.0.2.{last}'\n  \
         local-data: 'short.example. 2 IN A 192.0.2.{last}'\n  \
         local-data: 'phone.example. 300 IN CNAME vm40ic1.lab.voip.'\n  \
         local-data: 'sip.example. 300 IN SRV 0 0 5060 www.example.'\n{long}"
    )
}

fn dig(client: &Netns, words: &str) -> String {
    run(client.command("dig").args(["@10.250.1.5", "+tries=1", "+time=6"]).args(words.split(' ')))
}

fn short(client: &Netns, words: &str) -> String {
    dig(client, &format!("+short {words}")).trim().to_owned()
}

/// The TTL of the first answer.
fn ttl(client: &Netns, words: &str) -> u32 {
    let printed = dig(client, &format!("+noall +answer {words}"));
    printed.split_whitespace().nth(1).unwrap_or_else(|| panic!("{printed}")).parse().unwrap()
}

/// What has been asked of a machine since this was begun.
struct Asked(FrameSocket);

impl Asked {
    fn of(netns: &Netns) -> Self {
        let open = || FrameSocket::open_receiving(&Interface::named("eth0").unwrap(), true, None);
        Self(netns.enter(|| open().unwrap()))
    }

    /// The first labels of the names that it was asked for until now, in lower case.
    fn names(&self) -> HashSet<String> {
        let mut buffer = [0; 4096];
        let mut names = HashSet::new();
        while let Some(frame) = self.0.recv(&mut buffer, Some(Duration::ZERO)).unwrap() {
            if frame.destination.port() == 53 {
                let (length, name) = frame.payload[12..].split_first().unwrap();
                let label = String::from_utf8_lossy(&name[..usize::from(*length)]);
                names.insert(label.to_ascii_lowercase());
            }
        }
        names
    }
}

fn status(lab: &Lab) -> serde_json::Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offhook"));
    command.args(["status", "--format", "json", "--state"]).arg(lab.state());
    serde_json::from_str(&run(&mut command)).unwrap()
}

#[test]
fn unbound_answers_through_us_and_we_remember() {
    let lab = lab_with("forward = { \".\" = [\"10.250.1.201\"] }");
    let upstream = lab.machine(Vlan::Voice, "10.250.1.201/24", "10.250.1.1");
    let unbound = Unbound::start(&lab, &upstream, "10.250.1.201", &example(1));
    let server = lab.serve();
    let client = lab.machine(Vlan::Voice, "10.250.1.200/24", "10.250.1.1");

    for transport in ["+notcp", "+tcp"] {
        assert_eq!(short(&client, &format!("{transport} www.example A")), "192.0.2.1");
    }
    let whole = dig(&client, "WwW.Example A");
    assert!(whole.contains("WwW.Example.") && whole.contains("flags: qr rd ra;"), "{whole}");
    let gone = dig(&client, "gone.example A");
    assert!(gone.contains("NXDOMAIN") && gone.contains("\t60\tIN\tSOA\t"), "{gone}");
    let none = dig(&client, "www.example NAPTR");
    assert!(none.contains("NOERROR") && none.contains("ANSWER: 0"), "{none}");
    assert!(none.contains("\t60\tIN\tSOA\t"), "{none}");
    assert_eq!(short(&client, "sip.example SRV"), "0 0 5060 www.example.");
    // Truncated over UDP on both sides; whole over TCP, from the upstream and to the client.
    let truncated = dig(&client, "+ignore big.example TXT");
    assert!(truncated.contains(" tc "), "{truncated}");
    assert_eq!(short(&client, "big.example TXT").lines().count(), 40);
    // Where an alias leads into our zone, our zone is asked.
    assert_eq!(short(&client, "phone.example A"), "vm40ic1.lab.voip.\n10.250.1.151");
    // Nobody is asked without RD.
    assert!(dig(&client, "+norecurse www.example A").contains("status: REFUSED"));

    let before = ttl(&client, "www.example A");
    drop(unbound);
    while ttl(&client, "www.example A") >= before {}
    assert_eq!(short(&client, "www.example A"), "192.0.2.1", "it is known still");
    assert!(dig(&client, "gone.example A").contains("NXDOMAIN"), "so is that it is not there");
    let begun = Instant::now();
    assert!(dig(&client, "other.example A").contains("status: SERVFAIL"));
    assert!(begun.elapsed() < Duration::from_secs(5));
    let dns = &status(&lab)["dns"];
    assert!(dns["counts"]["cache-hit"].as_u64() >= Some(3), "{dns}");
    assert!(dns["counts"]["upstream-truncated"].as_u64() >= Some(1), "{dns}");
    assert!(dns["cached"].as_u64() >= Some(5), "{dns}");
    server.terminate();
}

#[test]
fn a_silent_server_is_passed_over_said_so_and_taken_back() {
    let lab = lab_with("forward = { \".\" = [\"10.250.1.201\", \"10.250.1.202\"] }");
    let machines = ["10.250.1.201", "10.250.1.202"];
    let mut netns = Vec::new();
    let mut unbounds = Vec::new();
    for (n, address) in machines.iter().enumerate() {
        let machine = lab.machine(Vlan::Voice, &format!("{address}/24"), "10.250.1.1");
        let zone = "  local-zone: \"example.\" redirect\n".to_owned()
            + &format!("  local-data: 'example. 1 IN A 192.0.2.{}'\n", n + 1);
        unbounds.push(Unbound::start(&lab, &machine, address, &zone));
        netns.push(machine);
    }
    let server = lab.serve();
    let client = lab.machine(Vlan::Voice, "10.250.1.200/24", "10.250.1.1");
    assert_eq!(short(&client, "a.example A"), "192.0.2.1", "in their order");

    // It takes questions and says nothing, as a machine that hangs does.
    unbounds[0].signal(Signal::SIGSTOP);
    let mut n = 0;
    let slowest = Instant::now();
    while !server.log().contains("upstream 10.250.1.201 does not answer") {
        n += 1;
        let begun = Instant::now();
        assert_eq!(short(&client, &format!("{n}.example A")), "192.0.2.2");
        assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
        assert!(slowest.elapsed() < PATIENCE);
    }
    // From now on clients wait for the other one, and it is asked to see whether it is back: once a second.
    let asked = [0, 1].map(|n| Asked::of(&netns[n]));
    let (begun, names) = (Instant::now(), 20);
    for n in 0..names {
        assert_eq!(short(&client, &format!("known{n}.example A")), "192.0.2.2");
    }
    let checks = begun.elapsed().as_secs() as usize + 2;
    let asked = asked.map(|asked| asked.names().len());
    assert!(asked[0] <= checks && asked[1] == names, "{asked:?} {checks}");
    let upstreams = status(&lab)["dns"]["upstreams"].clone();
    assert_eq!(upstreams[0]["server"], "10.250.1.201:53");
    assert!(upstreams[0]["silent_seconds"].is_u64() && upstreams[1]["silent_seconds"].is_null());

    unbounds[0].signal(Signal::SIGCONT);
    let begun = Instant::now();
    while short(&client, &format!("{n}.again.example A")) != "192.0.2.1" {
        n += 1;
        assert!(begun.elapsed() < Duration::from_secs(5), "it is not taken back");
    }
    server.wait_for_log(&["upstream 10.250.1.201 answers again"]);
    server.terminate();
}

#[test]
fn stale_answers_bridge_the_time_until_somebody_answers() {
    let lab = lab_with("forward = { \".\" = [\"10.250.1.201\"] }");
    let upstream = lab.machine(Vlan::Voice, "10.250.1.201/24", "10.250.1.1");
    let unbound = Unbound::start(&lab, &upstream, "10.250.1.201", &example(1));
    let server = lab.serve();
    let client = lab.machine(Vlan::Voice, "10.250.1.200/24", "10.250.1.1");
    assert_eq!(short(&client, "short.example A"), "192.0.2.1");
    unbound.signal(Signal::SIGSTOP);
    // Its two seconds pass.
    let deadline = Instant::now() + PATIENCE;
    while ttl(&client, "short.example A") != 30 {
        assert!(Instant::now() < deadline);
    }
    server.wait_for_log(&["upstream 10.250.1.201 does not answer"]);
    // The upstream is tried now and then, and whoever waited for that would wait a second. How long an answer takes here
    // without is told by others; that the machine paused is no reason to fail, unless it is so each time.
    let waited = || {
        let (mut slowest, mut others) = (Duration::ZERO, Duration::ZERO);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(6) {
            let asked = Instant::now();
            let whole = dig(&client, "short.example A");
            slowest = slowest.max(asked.elapsed());
            assert!(whole.contains("\t30\tIN\tA\t192.0.2.1"), "{whole}");
            assert!(whole.contains("EDE: 3 (Stale Answer)"), "{whole}");
            let asked = Instant::now();
            assert_eq!(short(&client, "vm40ic1.lab.voip A"), "10.250.1.151");
            others = others.max(asked.elapsed());
        }
        slowest > others + Duration::from_millis(700)
    };
    assert!((0..3).any(|_| !waited()), "stale answers wait for the upstream");
    // What was never asked for fails, and soon, now that this is known.
    let begun = Instant::now();
    let failed = dig(&client, "www.example A");
    assert!(failed.contains("SERVFAIL") && failed.contains("EDE: 22"), "{failed}");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    unbound.signal(Signal::SIGCONT);
    let begun = Instant::now();
    while ttl(&client, "short.example A") == 30 {
        assert!(begun.elapsed() < Duration::from_secs(4), "it stays stale");
    }
    server.terminate();
}

#[test]
fn unbound_resolves_through_us() {
    let lab = lab_with("forward = { \".\" = [\"10.250.1.201\"] }");
    let upstream = lab.machine(Vlan::Voice, "10.250.1.201/24", "10.250.1.1");
    let _upstream = Unbound::start(&lab, &upstream, "10.250.1.201", &example(1));
    let server = lab.serve();
    for (last, transport) in [(202, ""), (203, "  tcp-upstream: yes\n")] {
        let address = format!("10.250.1.{last}");
        let machine = lab.machine(Vlan::Voice, &format!("{address}/24"), "10.250.1.1");
        // Names without SRV or NSEC of their own, 0x20 and all.
        let config = format!(
            "{transport}  use-caps-for-id: yes\n  qname-minimisation: no\n  \
             local-zone: \"10.in-addr.arpa.\" transparent\n\
             forward-zone:\n  name: \".\"\n  forward-addr: 10.250.1.5\n"
        );
        let _client = Unbound::start(&lab, &machine, &address, &config);
        let ask = |words: &str| {
            let mut dig = machine.command("dig");
            dig.args([&format!("@{address}"), "+short", "+tries=1", "+time=6"]);
            run(dig.args(words.split(' '))).trim().to_owned()
        };
        assert_eq!(ask("www.example A"), "192.0.2.1", "{transport}");
        assert_eq!(ask("vm40ic2.lab.voip A"), "10.250.1.152", "{transport}");
        assert_eq!(ask("-x 10.250.1.151"), "vm40ic1.lab.voip.", "{transport}");
        assert_eq!(ask("phone.example A"), "vm40ic1.lab.voip.\n10.250.1.151", "{transport}");
        assert_eq!(ask("_sip._udp.lab.voip SRV").lines().count(), 2, "{transport}");
        assert_eq!(ask("big.example TXT").lines().count(), 40, "{transport}");
        assert_eq!(ask("gone.lab.voip A"), "", "{transport}");
    }
    server.terminate();
}

#[test]
fn dig_and_kdig_keep_a_connection_open_and_pipeline() {
    let lab = lab_with("forward = { \".\" = [\"10.250.1.201\"] }");
    let upstream = lab.machine(Vlan::Voice, "10.250.1.201/24", "10.250.1.1");
    let _upstream = Unbound::start(&lab, &upstream, "10.250.1.201", &example(1));
    let server = lab.serve();
    let client = lab.machine(Vlan::Voice, "10.250.1.200/24", "10.250.1.1");
    let names = ["vm40ic1.lab.voip", "www.example", "vm40ic2.lab.voip", "provision.lab.voip"];
    for program in ["dig", "kdig"] {
        let before = status(&lab)["dns"]["counts"]["tcp-opened"].as_u64().unwrap();
        let mut command = client.command(program);
        command.args(["@10.250.1.5", "+tcp", "+keepopen", "+short"]);
        let printed = run(command.args(names));
        let mut lines: Vec<_> = printed.lines().collect();
        lines.sort_unstable();
        lines.dedup();
        assert_eq!(lines, ["10.250.1.151", "10.250.1.152", "192.0.2.1"], "{program}: {printed}");
        assert_eq!(printed.lines().count(), 5, "{program}: {printed}");
        let after = status(&lab)["dns"]["counts"]["tcp-opened"].as_u64().unwrap();
        assert_eq!(after - before, 1, "{program} opened more than one connection");
    }
    // All at once, before any answer.
    let idle = Instant::now();
    client.enter(|| {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect("10.250.1.5:53").unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut wire = Vec::new();
        for id in 0..200u16 {
            let message = [
                &id.to_be_bytes()[..],
                b"\x01\0\0\x01\0\0\0\0\0\0\x07vm40ic1\x03lab\x04voip\0\0\x01\0\x01",
            ];
            let message = message.concat();
            wire.extend_from_slice(&(message.len() as u16).to_be_bytes());
            wire.extend_from_slice(&message);
        }
        stream.write_all(&wire).unwrap();
        let mut ids = std::collections::HashSet::new();
        for _ in 0..200 {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut message).unwrap();
            ids.insert([message[0], message[1]]);
        }
        assert_eq!(ids.len(), 200);
        // Then nothing: it is closed, after some ten seconds.
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    });
    assert!((8..15).contains(&idle.elapsed().as_secs()), "{:?}", idle.elapsed());
    server.terminate();
}

#[test]
fn strangers_get_no_recursion() {
    let lab = lab_with("forward = { \".\" = [\"10.250.1.201\"] }");
    let upstream = lab.machine(Vlan::Voice, "10.250.1.201/24", "10.250.1.1");
    let _upstream = Unbound::start(&lab, &upstream, "10.250.1.201", &example(1));
    let server = lab.serve();
    lab.appliance.ip("route add 192.168.77.0/24 dev voice0");
    let stranger = lab.machine(Vlan::Voice, "192.168.77.7/24", "192.168.77.1");
    stranger.ip("route add 10.250.1.5/32 dev eth0");
    let friend = lab.machine(Vlan::Voice, "10.250.1.200/24", "10.250.1.1");
    assert_eq!(short(&friend, "www.example A"), "192.0.2.1");
    for transport in ["+notcp", "+tcp"] {
        let refused = dig(&stranger, &format!("{transport} www.example A"));
        assert!(refused.contains("status: REFUSED"), "cached or not: {refused}");
        assert!(!refused.contains(" ra"), "{refused}");
    }
    server.terminate();
}

#[test]
fn dead_upstreams_and_a_flood_of_names_fill_no_log() {
    let lab = lab_with("forward = { \".\" = [\"10.250.1.201\", \"10.250.1.202\"] }");
    let server = lab.serve();
    let client = lab.machine(Vlan::Voice, "10.250.1.200/24", "10.250.1.1");
    let answers = client.enter(|| {
        let socket = std::net::UdpSocket::bind("10.250.1.200:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
        let mut answers = 0;
        let mut buffer = [0; 512];
        let mut hear = || {
            let heard = socket.recv(&mut buffer).is_ok();
            assert!(!heard || buffer[3] & 0xf == 2, "SERVFAIL");
            answers += u16::from(heard);
            heard
        };
        // More at a time than are waited for on behalf of one client, and not more than a socket's buffer holds.
        let mut waiting = 0;
        for n in 0..2000u16 {
            let name = format!("\x05n{n:04}\x07example\0");
            let id = n.to_be_bytes();
            let query = [&id[..], b"\x01\0\0\x01\0\0\0\0\0\0", name.as_bytes(), b"\0\x01\0\x01"];
            socket.send_to(&query.concat(), "10.250.1.5:53").unwrap();
            waiting += 1;
            if waiting == 200 {
                waiting = if hear() { waiting - 1 } else { 0 };
            }
        }
        while waiting > 0 && hear() {
            waiting -= 1;
        }
        answers
    });
    assert!(answers > 1500, "{answers} of 2000 answered; the others were lost on the way");
    let begun = Instant::now();
    assert_eq!(short(&client, "vm40ic1.lab.voip A"), "10.250.1.151");
    assert!(begun.elapsed() < Duration::from_secs(1));
    let lines = server.log().lines().filter(|line| line.contains("upstream")).count();
    assert!(lines < 30, "{}", server.log());
    let output = said(&output(
        Command::new(env!("CARGO_BIN_EXE_offhook")).args(["status", "--state"]).arg(lab.state()),
    ));
    assert!(output.contains("upstream 10.250.1.201:53 for ."), "{output}");
    assert!(output.contains("forward-overloaded"), "{output}");
    server.terminate();
}
