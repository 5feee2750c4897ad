//! Servers of a switchover that die, dawdle, refuse, fail and flap, what DNS makes of it, and phones that follow.

use std::collections::HashSet;
use std::net::UdpSocket;
use std::process::Stdio;
use std::time::{Duration, Instant};

use hickory_proto::op::Message;
use serde_json::Value;

use crate::asked::ask;
use crate::lab::{Lab, Netns, PATIENCE, Server, Vlan, output, repository, run, said};
use crate::sip::{Fake, Manner, Program, Speech, phone, registrar};

/// The type of an address record.
const A: u16 = 1;
const FIRST: [u8; 4] = [10, 250, 1, 151];
const SECOND: [u8; 4] = [10, 250, 1, 152];

/// An office with both servers of the pair as machines, and a client; nothing runs yet.
struct Office {
    lab: Lab,
    machines: [Netns; 2],
    client: Netns,
}

impl Office {
    /// The sample site with these lines in its switchover.
    fn new(lines: &str) -> Self {
        let text = std::fs::read_to_string(repository().join("config/lab.toml")).unwrap();
        let text = text.replace("sip = {", &format!("{lines}\nsip = {{"));
        assert!(text.contains(lines));
        let lab = Lab::with_config(&text);
        let machine = |address: &str| lab.machine(Vlan::Voice, address, "10.250.1.1");
        let machines = [machine("10.250.1.151/24"), machine("10.250.1.152/24")];
        let client = machine("10.250.1.200/24");
        Self { lab, machines, client }
    }

    fn dig(&self, words: &str) -> Vec<String> {
        let mut command = self.client.command("dig");
        command.args(["@10.250.1.5", "+short", "+tries=1", "+time=3"]).args(words.split(' '));
        run(&mut command).lines().map(str::to_owned).collect()
    }

    /// The addresses of the provisioning name, in the order of the answer. Without a process, which would take the
    /// machine's time from the server that is timed.
    fn addresses(&self) -> Vec<String> {
        let answer = self.client.enter(|| {
            let socket = UdpSocket::bind("10.250.1.200:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
            socket.send_to(&ask("provision", A).octets(1), "10.250.1.5:53").unwrap();
            let mut answer = [0; 512];
            let length = socket.recv(&mut answer).expect("an answer");
            Message::from_vec(&answer[..length]).unwrap()
        });
        answer.answers.iter().map(|record| record.data.to_string()).collect()
    }

    /// Priority and first label of the target of each SRV record, sorted.
    fn services(&self) -> Vec<(u16, String)> {
        let lines = self.dig("_sip._udp.lab.voip SRV");
        let mut found: Vec<_> = lines
            .iter()
            .map(|line| {
                let words: Vec<_> = line.split(' ').collect();
                (words[0].parse().unwrap(), words[3].split('.').next().unwrap().to_owned())
            })
            .collect();
        found.sort();
        found
    }

    fn serial(&self) -> u32 {
        self.dig("lab.voip SOA")[0].split(' ').nth(2).unwrap().parse().unwrap()
    }

    /// Asks until the addresses are these, in any order; how long it took to the question with that answer.
    fn wait_for(&self, expected: &[&str]) -> Duration {
        let start = Instant::now();
        let expected: HashSet<_> = expected.iter().map(|address| (*address).to_owned()).collect();
        loop {
            let asked = start.elapsed();
            let found: HashSet<_> = self.addresses().into_iter().collect();
            if found == expected {
                return asked;
            }
            assert!(asked < PATIENCE, "still {found:?}, not {expected:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn status(&self) -> Value {
        let mut command = self.lab.appliance.command(env!("CARGO_BIN_EXE_offhook"));
        command.args(["status", "--format", "json", "--state"]).arg(self.lab.state());
        serde_json::from_str(&run(&mut command)).unwrap()
    }

    /// Asks for the status until every watched server has this state.
    fn wait_for_states(&self, states: [&str; 2]) -> Value {
        let start = Instant::now();
        loop {
            let status = self.status();
            let servers = status["servers"].as_array().unwrap();
            if servers.iter().map(|server| server["state"].as_str().unwrap()).eq(states) {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "still not {states:?}: {status:#}");
        }
    }
}

const PAIR: [&str; 2] = ["10.250.1.151", "10.250.1.152"];

/// The interval of these tests, and what their servers have to be out of the answers in: interval × fall + 1 s.
const INTERVAL: Duration = Duration::from_millis(300);
const IN_TIME: Duration = Duration::from_millis(300 * 2 + 1000);

fn health(order: &str, probe: &str, more: &str) -> String {
    format!(
        "order = \"{order}\"\nhealth = {{ probe = \"{probe}\", interval = \"300ms\", \
         timeout = \"200ms\", rise = 2, fall = 2{more} }}"
    )
}

fn sip_pair(office: &Office) -> [Fake; 2] {
    let [first, second] = &office.machines;
    [
        Fake::start(first, Speech::SipUdp, FIRST, 8060),
        Fake::start(second, Speech::SipUdp, SECOND, 8060),
    ]
}

#[test]
fn a_server_that_fails_in_any_way_is_out_of_the_answers_in_time_and_comes_back() {
    let office = Office::new(&health("active-only", "sip-udp", ", damping = 0"));
    let [first, second] = sip_pair(&office);
    let server = office.lab.serve();
    office.wait_for_states(["up", "up"]);
    let mut serial = office.serial();
    for (manner, why) in [
        (Manner::Failing, "answered 503"),
        (Manner::Silent, "timed out"),
        (Manner::Slow(Duration::from_millis(250)), "timed out"),
        (Manner::Refusing, "refused"),
    ] {
        first.set(manner);
        let gone = office.wait_for(&PAIR[1..]);
        assert!(gone < IN_TIME, "{manner:?}: {gone:?}");
        assert_eq!(office.services(), [(0, "vm40ic2".to_owned())], "{manner:?}");
        let line = server.wait_for_log(&["WARN", "a server is down", why, "vm40ic1.lab.voip"]);
        assert!(line.contains("10.250.1.151") && line.contains("sip-udp 8060"), "{line}");
        let later = office.serial();
        assert!(later > serial, "{later} after {serial}");
        let status = office.status();
        let [dead, live] = &status["servers"].as_array().unwrap()[..] else { panic!("{status}") };
        assert_eq!((&dead["state"], &live["state"]), (&"down".into(), &"up".into()), "{status}");
        assert_eq!(dead["last_failure"]["why"], why, "{status}");

        first.set(Manner::Good);
        let back = office.wait_for(&PAIR);
        assert!(back < 3 * INTERVAL + Duration::from_secs(1), "{manner:?}: {back:?}");
        assert!(office.serial() > later);
        serial = office.serial();
    }
    // No more a machine than a server.
    office.machines[1].ip("link set eth0 down");
    let gone = office.wait_for(&PAIR[..1]);
    assert!(gone < IN_TIME, "{gone:?}");
    assert!(second.heard.lock().unwrap().len() > 10);
    let status = office.status();
    assert!(status["servers"][0]["changes"].as_u64() >= Some(8), "{status:#}");
    assert!(status["servers"][1]["changes"].as_u64() >= Some(1), "{status:#}");
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn live_servers_come_first_and_have_the_better_priority() {
    let office = Office::new(&health("active-first", "sip-udp", ", damping = 0"));
    let [first, second] = sip_pair(&office);
    let _server = office.lab.serve();
    office.wait_for_states(["up", "up"]);
    let both = |priority| [(0, "vm40ic1".to_owned()), (priority, "vm40ic2".to_owned())];
    assert_eq!(office.services(), both(0));
    let leaders = |times: usize| {
        let answers = (0..times).map(|_| office.addresses());
        let both = answers.inspect(|answer| assert_eq!(answer.len(), 2, "{answer:?}"));
        both.map(|answer| answer[0].clone()).collect::<HashSet<_>>()
    };
    assert_eq!(leaders(40).len(), 2);

    second.set(Manner::Refusing);
    office.wait_for_states(["up", "down"]);
    assert_eq!(leaders(20), HashSet::from([PAIR[0].to_owned()]));
    assert_eq!(office.services(), both(1));

    // With nobody alive, it is as if everybody were.
    first.set(Manner::Failing);
    office.wait_for_states(["down", "down"]);
    assert_eq!(office.services(), both(0));
    assert_eq!(leaders(40).len(), 2);
    let mut command = office.lab.appliance.command(env!("CARGO_BIN_EXE_offhook"));
    let text = run(command.args(["status", "--state"]).arg(office.lab.state()));
    assert!(text.contains("NO SERVER OF provision.lab.voip IS UP"), "{text}");
    assert!(text.contains("answered 503"), "{text}");

    second.set(Manner::Good);
    office.wait_for_states(["down", "up"]);
    assert_eq!(leaders(20), HashSet::from([PAIR[1].to_owned()]));
    assert_eq!(office.services(), [(0, "vm40ic2".to_owned()), (1, "vm40ic1".to_owned())]);
}

#[test]
fn with_every_server_dead_all_are_answered_and_it_is_said() {
    let office = Office::new(&health("active-only", "sip-udp", ""));
    let server = office.lab.serve();
    // Nobody has listened since the start: known at once, not after the interval and its multiples.
    let line = server.wait_for_log(&["no server is up", "provision.lab.voip"]);
    assert!(line.contains("ERROR"), "{line}");
    office.wait_for_states(["down", "down"]);
    office.wait_for(&PAIR);
    assert_eq!(office.services().len(), 2);
}

#[test]
fn in_random_order_servers_are_watched_and_answered_alike() {
    let office = Office::new(&health("random", "sip-udp", ""));
    let [first, _second] = sip_pair(&office);
    first.set(Manner::Failing);
    let _server = office.lab.serve();
    let serial = office.serial();
    office.wait_for_states(["down", "up"]);
    assert_eq!(office.services(), [(0, "vm40ic1".to_owned()), (0, "vm40ic2".to_owned())]);
    let leaders: HashSet<_> = (0..40).map(|_| office.addresses()[0].clone()).collect();
    assert_eq!(leaders.len(), 2);
    assert_eq!(office.serial(), serial, "nothing has changed");
}

#[test]
fn nobody_is_asked_unless_the_configuration_says_so() {
    let office = Office::new("");
    let fakes = sip_pair(&office);
    let server = office.lab.serve();
    assert_eq!(office.status()["servers"], Value::Array(Vec::new()));
    // As long as probes would have been on their way.
    let end = Instant::now() + 3 * INTERVAL;
    while Instant::now() < end {
        assert_eq!(office.addresses().len(), 2);
    }
    assert_eq!(server.terminate(), Some(0));
    assert!(fakes.iter().all(|fake| fake.heard.lock().unwrap().is_empty()));
}

#[test]
fn a_server_that_comes_and_goes_is_kept_out_until_it_is_steady() {
    let office = Office::new(&health("active-only", "sip-udp", ", damping = \"6s\""));
    let [first, _second] = sip_pair(&office);
    let _server = office.lab.serve();
    office.wait_for_states(["up", "up"]);
    first.set(Manner::Failing);
    office.wait_for(&PAIR[1..]);
    first.set(Manner::Good);
    let once = office.wait_for(&PAIR);
    assert!(once < 3 * INTERVAL + Duration::from_secs(1), "the first time costs nothing: {once:?}");

    first.set(Manner::Failing);
    let gone = office.wait_for(&PAIR[1..]);
    // A damped one would be six seconds late.
    assert!(gone < IN_TIME + Duration::from_secs(2), "going down is never damped: {gone:?}");
    first.set(Manner::Good);
    let start = Instant::now();
    while office.status()["servers"][0]["held"] != true {
        assert!(start.elapsed() < PATIENCE, "{:#}", office.status());
    }
    assert_eq!(office.addresses(), PAIR[1..]);
    office.wait_for(&PAIR);
    let twice = start.elapsed();
    assert!(twice > 4 * INTERVAL, "{twice:?}");
    assert!(twice < Duration::from_secs(2 * 6 + 2), "{twice:?}");
}

#[test]
fn probes_keep_their_pace_whatever_becomes_of_them() {
    let office = Office::new(&health("active-only", "sip-udp", ""));
    let [first, second] = sip_pair(&office);
    let _server = office.lab.serve();
    office.wait_for_states(["up", "up"]);
    first.set(Manner::Silent);
    office.wait_for(&PAIR[1..]);
    let count = |fake: &Fake| fake.heard.lock().unwrap().len();
    let (start, before) = (Instant::now(), [count(&first), count(&second)]);
    while start.elapsed() < Duration::from_secs(3) {
        office.addresses();
    }
    for (fake, before) in [&first, &second].into_iter().zip(before) {
        let asked = (count(fake) - before) as u128;
        let due = start.elapsed().as_millis() / INTERVAL.as_millis();
        assert!(due.abs_diff(asked) <= 2, "{asked} probes in {due} intervals");
    }
    let requests = second.heard.lock().unwrap().clone();
    let lines = |name: &str| {
        let found = requests.iter().filter_map(|request| {
            request.lines().find(|line| line.starts_with(name)).map(str::to_owned)
        });
        found.collect::<HashSet<_>>()
    };
    for unique in ["Via:", "From:", "Call-ID:", "CSeq:"] {
        assert_eq!(lines(unique).len(), requests.len(), "{unique}");
    }
    assert!(lines("Via:").iter().all(|via| via.starts_with("Via: SIP/2.0/UDP 10.250.1.5:")));
}

/// A pair that is probed over TCP, as it fails in every way.
fn over_tcp(probe: &str, more: &str, speech: Speech, port: u16, ways: &[(Manner, &str)]) {
    let office = Office::new(&health("active-only", probe, more));
    let [first, second] = &office.machines;
    let first = Fake::start(first, speech, FIRST, port);
    let second = Fake::start(second, speech, SECOND, port);
    let server = office.lab.serve();
    office.wait_for_states(["up", "up"]);
    for &(manner, why) in ways {
        first.set(manner);
        let gone = office.wait_for(&PAIR[1..]);
        assert!(gone < IN_TIME, "{manner:?}: {gone:?}");
        server.wait_for_log(&["a server is down", why]);
        first.set(Manner::Good);
        office.wait_for(&PAIR);
    }
    let heard = second.heard.lock().unwrap();
    match speech {
        Speech::Http => {
            assert!(heard[0].starts_with("GET /status HTTP/1.1\r\n"), "{}", heard[0]);
            assert!(heard[0].contains("\r\nHost: provision.lab.voip:8088\r\n"), "{}", heard[0]);
        }
        _ if probe == "tcp" => assert_eq!(heard[0], ""),
        _ => assert!(heard[0].contains("Via: SIP/2.0/TCP 10.250.1.5:"), "{}", heard[0]),
    }
}

#[test]
fn options_are_asked_over_tcp() {
    let ways = [
        (Manner::Failing, "answered 503"),
        (Manner::Silent, "timed out"),
        (Manner::Slow(Duration::from_millis(400)), "timed out"),
        (Manner::Refusing, "refused"),
    ];
    over_tcp("sip-tcp", ", damping = 0", Speech::SipTcp, 8060, &ways);
}

#[test]
fn a_page_is_asked_for_over_http() {
    let ways = [
        (Manner::Failing, "answered 503"),
        (Manner::Silent, "timed out"),
        (Manner::Refusing, "refused"),
    ];
    over_tcp("http", ", damping = 0, path = \"/status\"", Speech::Http, 8088, &ways);
}

#[test]
fn a_connection_is_enough_where_no_more_is_asked() {
    let ways = [(Manner::Refusing, "refused")];
    over_tcp("tcp", ", damping = 0", Speech::SipTcp, 8060, &ways);
}

#[test]
fn a_tls_server_is_alive_when_it_greets() {
    let office = Office::new(&health("active-only", "tls", ", damping = 0"));
    let directory = office.lab.dir.path();
    run(office.client.command("openssl").current_dir(directory).args([
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "key.pem",
        "-out",
        "cert.pem",
        "-subj",
        "/CN=provision.lab.voip",
        "-days",
        "2",
    ]));
    let greeter = |machine: &Netns, only: &str| {
        let mut command = machine.daemon("openssl");
        command.args([
            "s_server", "-quiet", "-accept", "8061", "-key", "key.pem", "-cert", "cert.pem",
        ]);
        command.arg(only).current_dir(directory).stdin(Stdio::null()).stderr(Stdio::null());
        Server::spawn(&mut command)
    };
    let first = greeter(&office.machines[0], "-tls1_2");
    let second = greeter(&office.machines[1], "-tls1_3");
    let server = office.lab.serve();
    office.wait_for_states(["up", "up"]);
    first.kill();
    assert!(office.wait_for(&PAIR[1..]) < IN_TIME);
    server.wait_for_log(&["a server is down", "tls 8061", "refused"]);
    // Something else than TLS on that port is none.
    let _plain = Fake::start(&office.machines[0], Speech::Http, FIRST, 8061);
    let start = Instant::now();
    while office.status()["servers"][0]["last_failure"]["why"] != "answered nonsense" {
        assert!(start.elapsed() < PATIENCE, "{:#}", office.status());
    }
    second.kill();
}

#[test]
fn sipp_and_baresip_answer_what_they_are_asked() {
    let office = Office::new(&health("active-only", "sip-udp", ""));
    let directory = office.lab.dir.path();
    let registrar = registrar(&office.machines[0], "u1", PAIR[0], directory);
    let address = format!("{}:8060", PAIR[1]);
    let user = phone(&office.machines[1], &address, "<sip:7@10.250.1.152>;regint=0", directory);
    let server = office.lab.serve();
    let status = office.wait_for_states(["up", "up"]);
    assert!(registrar.messages().contains("OPTIONS sip:10.250.1.151:8060 SIP/2.0"));
    user.kill();
    assert!(office.wait_for(&PAIR[..1]) < IN_TIME, "{status:#}");
    server.wait_for_log(&["a server is down", "vm40ic2.lab.voip", "refused"]);
}

#[test]
fn sipp_answers_over_tcp() {
    let office = Office::new(&health("active-only", "sip-tcp", ""));
    let directory = office.lab.dir.path();
    let start = |place: usize| registrar(&office.machines[place], "t1", PAIR[place], directory);
    let [first, second] = [start(0), start(1)];
    let server = office.lab.serve();
    office.wait_for_states(["up", "up"]);
    assert!(second.messages().contains("OPTIONS sip:10.250.1.152:8060;transport=tcp SIP/2.0"));
    first.kill();
    assert!(office.wait_for(&PAIR[1..]) < IN_TIME);
    server.wait_for_log(&["a server is down", "vm40ic1.lab.voip", "sip-tcp 8060", "refused"]);
}

/// How many REGISTERs each of two registrars has had.
fn registrations(registrars: &[Option<Program>; 2]) -> [usize; 2] {
    registrars.each_ref().map(|registrar| {
        let messages = registrar.as_ref().map(Program::messages).unwrap_or_default();
        messages.matches("\nREGISTER sip:").count()
    })
}

/// Waits for another REGISTER than those `before`; which of the two had it.
fn next_registration(registrars: &[Option<Program>; 2], before: [usize; 2]) -> usize {
    let start = Instant::now();
    loop {
        let mut counts = registrations(registrars).into_iter().zip(before);
        if let Some(place) = counts.position(|(now, before)| now > before) {
            return place;
        }
        assert!(start.elapsed() < PATIENCE, "the phone does not register");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A phone that registers every few seconds finds the other server as soon as the one it has is stopped: a phone that
/// walked the SRV records by itself would not before half a minute had passed (RFC 3261 timer F).
fn a_phone_follows(order: &str, account: &str) {
    let office = Office::new(&health(order, "sip-udp", ", damping = 0"));
    let directory = office.lab.dir.path();
    let start = |place: usize| registrar(&office.machines[place], "u1", PAIR[place], directory);
    let mut registrars = [Some(start(0)), Some(start(1))];
    let server = office.lab.serve();
    office.wait_for_states(["up", "up"]);
    let _phone = phone(&office.client, "10.250.1.200:5060", account, directory);
    let active = next_registration(&registrars, [0, 0]);
    let other = 1 - active;

    registrars[active].take().unwrap().kill();
    let stopped = Instant::now();
    assert_eq!(next_registration(&registrars, registrations(&registrars)), other);
    let took = stopped.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    server.wait_for_log(&["a server is down", &format!("vm40ic{}.lab.voip", active + 1)]);

    // And back again, once the first one runs and the other one is stopped.
    registrars[active] = Some(start(active));
    office.wait_for_states(["up", "up"]);
    registrars[other].take().unwrap().kill();
    assert_eq!(next_registration(&registrars, registrations(&registrars)), active);
}

#[test]
fn a_phone_that_looks_up_srv_records_follows_the_live_server() {
    a_phone_follows("active-only", "<sip:440@lab.voip;transport=udp>;auth_pass=none;regint=5");
}

#[test]
fn a_phone_that_looks_up_naptr_records_takes_the_better_priority() {
    a_phone_follows("active-first", "<sip:440@lab.voip>;auth_pass=none;regint=5");
}

#[test]
fn a_phone_that_has_one_name_and_a_port_follows_the_live_server() {
    let account = "<sip:440@provision.lab.voip:8060;transport=udp>;auth_pass=none;regint=5";
    a_phone_follows("active-only", account);
}

#[test]
fn check_says_which_servers_cannot_be_watched() {
    let office = Office::new("health = { probe = \"tls\", interval = \"1s\", timeout = \"2s\" }");
    let mut command = office.client.command(env!("CARGO_BIN_EXE_offhook"));
    let output = output(command.args(["check", "--config"]).arg(office.lab.config()));
    assert_eq!(output.status.code(), Some(78), "{}", said(&output));
    assert!(said(&output).contains("probe-times"), "{}", said(&output));
}
