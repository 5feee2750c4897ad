//! `offhook leases` and `offhook status` beside a running server, and without one.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use offhook_model::{ClientId, Lease, LeaseState, LeaseWrite, Time};
use serde_json::Value;

use crate::lab::{Lab, Vlan, output, repository, said};
use crate::packet::*;

const NOBODY: Duration = Duration::from_millis(300);

/// `offhook WORDS --state …`, somewhere in New York.
fn offhook(lab: &Lab, words: &[&str]) -> Output {
    offhook_in(&lab.state(), words)
}

fn offhook_in(state: &Path, words: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command.arg("60").arg(env!("CARGO_BIN_EXE_offhook")).args(words).arg("--state").arg(state);
    output(command.env("TZ", "America/New_York"))
}

fn good(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", said(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn failed(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", said(output));
    assert!(output.stdout.is_empty(), "{}", said(output));
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn list(lab: &Lab, filter: &[&str]) -> Vec<Value> {
    let words = [&["leases", "--format", "json"], filter].concat();
    let text = good(&offhook(lab, &words));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn addresses(leases: &[Value]) -> Vec<&str> {
    leases.iter().map(|lease| lease["address"].as_str().unwrap()).collect()
}

/// The sample site with another pool, the last address of which strangers may have as well.
fn lab_with_pool(pool: &str) -> Lab {
    let text = fs::read_to_string(repository().join("config/lab.toml")).unwrap();
    let voice = "pools = [\"10.250.1.20-10.250.1.149\"]";
    let with_pool = text.replace(voice, &format!("pools = [\"{pool}\"]\nreserved_share = 0"));
    assert_ne!(with_pool, text);
    Lab::with_config(&with_pool)
}

#[test]
fn leases_are_listed_in_every_format_and_by_every_filter_with_and_without_a_server() {
    let lab = Lab::new();
    assert!(failed(&offhook(&lab, &["leases"])).contains("no offhook runs in"));
    let server = lab.serve();
    let mode = fs::metadata(lab.state().join("control.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(list(&lab, &[]), Vec::<Value>::new());

    let voice = lab.client(Vlan::Voice).enter(|| {
        let card = Card::open("eth0");
        let phone = card.lease(mac(1), 1, &[(60, b"440HD"), (12, b"reception")]).yiaddr();
        let id = [&[0xfe, 1, 2][..], b"pc"].concat();
        let pc = card.lease(mac(2), 2, &[(61, &id), (12, b"caf\xe9 \xc3\xa9\x1b[2J")]).yiaddr();
        [phone.to_string(), pc.to_string()]
    });
    let native = lab.client(Vlan::Native).enter(|| {
        let card = Card::open("eth0");
        card.lease(mac(3), 3, &[(60, b"420HD")]).yiaddr().to_string()
    });
    let phone_mac = mac(1).to_string();

    // Names follow a moment after the ACK.
    let deadline = Instant::now() + Duration::from_secs(10);
    while status(&lab)["dns"]["lease_names"].as_u64() < Some(5) {
        assert!(Instant::now() < deadline, "{}", status(&lab));
    }
    let all = list(&lab, &[]);
    let mut expected = [voice[0].as_str(), voice[1].as_str(), native.as_str()];
    expected.sort_unstable_by_key(|address| address.parse::<Ipv4Addr>().unwrap());
    assert_eq!(addresses(&all), expected, "in order of address");
    let phone = all.iter().find(|lease| lease["mac"] == phone_mac.as_str()).unwrap();
    assert_eq!(phone["scope"], "voice");
    assert_eq!(phone["family"], "440HD");
    assert_eq!(phone["host_name"], "reception");
    assert_eq!(phone["dns_name"], "reception.lab.voip");
    assert_eq!(phone["state"], "bound");
    assert_eq!(phone["client_id"], Value::Null);
    let remaining = phone["remaining_seconds"].as_u64().unwrap();
    assert!((8 * 3600 - 60..=8 * 3600).contains(&remaining), "{phone}");
    for time in ["acknowledged", "expires"] {
        let time = phone[time].as_str().unwrap();
        assert!(time.len() == 20 && time.ends_with('Z'), "{time}");
    }
    let pc = all.iter().find(|lease| lease["address"] == voice[1].as_str()).unwrap();
    assert_eq!(pc["client_id"], "fe01027063");
    assert_eq!(pc["host_name"], "caf\\xe9 é\u{1b}[2J", "what is text is as it is");

    assert_eq!(addresses(&list(&lab, &["--scope", "native"])), [&native]);
    assert_eq!(addresses(&list(&lab, &["--family", "440hd"])), [&voice[0]]);
    for notation in [phone_mac.clone(), mac(1).plain().to_uppercase()] {
        assert_eq!(addresses(&list(&lab, &["--mac", &notation])), [&voice[0]]);
    }
    assert_eq!(list(&lab, &["--scope", "voice", "--family", "420HD"]), Vec::<Value>::new());
    let nowhere = offhook(&lab, &["leases", "--scope", "voize"]);
    assert!(good(&nowhere).contains("address"));
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("there is no scope `voize`"));

    let table = good(&offhook(&lab, &["leases"]));
    let line = table.lines().find(|line| line.contains(&voice[0])).unwrap();
    for cell in [&phone_mac, "voice", "440HD", "reception", "bound", "7h 59m"] {
        assert!(line.contains(cell), "no {cell} in\n{table}");
    }
    assert!(!table.contains('\x1b'), "a host name reached the terminal as it was");
    let csv = good(&offhook(&lab, &["leases", "--format", "csv"]));
    let lines: Vec<_> = csv.lines().collect();
    assert_eq!(lines.len(), 4, "{csv}");
    assert!(lines[0].starts_with("address,mac,client_id,scope,family,host_name,dns_name,state,"));
    let start =
        format!("{},{phone_mac},,voice,440HD,reception,reception.lab.voip,bound,", voice[0]);
    assert!(lines.iter().any(|line| line.starts_with(&start)), "{csv}");

    // The same from the store, once the server is gone; nothing is left of its socket.
    assert_eq!(server.terminate(), Some(0));
    assert!(!lab.state().join("control.sock").exists());
    let without = |leases: &[Value]| {
        let mut leases = leases.to_vec();
        for lease in &mut leases {
            // Nobody answers DNS then.
            lease["dns_name"] = Value::Null;
            lease["remaining_seconds"] = Value::Null;
        }
        leases
    };
    let stored = offhook(&lab, &["leases", "--format", "json"]);
    let from_store: Vec<Value> = serde_json::from_str(&good(&stored)).unwrap();
    assert_eq!(without(&from_store), without(&all));
    assert!(String::from_utf8_lossy(&stored.stderr).contains("no offhook runs in"));
    assert_eq!(addresses(&list(&lab, &["--family", "440HD", "--scope", "voice"])), [&voice[0]]);
    for words in [&["status"][..], &["leases", "release", &native]] {
        assert!(failed(&offhook(&lab, words)).contains("hint:"), "{words:?}");
    }
}

#[test]
fn a_released_lease_is_offered_to_somebody_else_and_stays_released_after_a_crash() {
    let lab = lab_with_pool("10.250.1.20-10.250.1.21");
    let server = lab.serve();
    let client = lab.client(Vlan::Voice);
    let lease = |n| client.enter(|| Card::open("eth0").lease(mac(n), n, &[]).yiaddr().to_string());
    let (first, second) = (lease(1), lease(2));
    client.enter(|| {
        let card = Card::open("eth0");
        card.broadcast(&Message::new(DISCOVER, mac(3), 3));
        assert!(card.reply_within(3, NOBODY).is_none(), "there was no address left");
    });

    let told = good(&offhook(&lab, &["leases", "release", &first]));
    assert!(told.contains(&first) && told.contains(&mac(1).to_string()), "{told}");
    server.wait_for_log(&["release", &first, "by the administrator"]);
    assert_eq!(addresses(&list(&lab, &[])), [&second]);
    assert_eq!(lease(3), first, "the address goes to who waits for it");

    // By MAC address, and only what it has.
    good(&offhook(&lab, &["leases", "release", &mac(2).to_string()]));
    let gone = failed(&offhook(&lab, &["leases", "release", &mac(2).to_string()]));
    assert!(gone.contains("has no lease"), "{gone}");
    let gone = failed(&offhook(&lab, &["leases", "release", &second]));
    assert!(gone.contains("was given back"), "{gone}");
    let never = failed(&offhook(&lab, &["leases", "release", "10.250.1.149"]));
    assert!(never.contains("is not leased") && never.contains("hint:"), "{never}");
    let nonsense = offhook(&lab, &["leases", "release", "reception"]);
    assert_eq!(nonsense.status.code(), Some(2), "{}", said(&nonsense));

    // A socket left by a server that was killed is no server, and is replaced by the next one.
    server.kill();
    assert!(lab.state().join("control.sock").exists());
    assert_eq!(addresses(&list(&lab, &[])), [&first], "from the store as the crash left it");
    let _server = lab.serve();
    assert_eq!(addresses(&list(&lab, &[])), [&first]);
    let all = list(&lab, &["--all", "--mac", &mac(2).to_string()]);
    assert_eq!(addresses(&all), [&second]);
    assert_eq!(all[0]["state"], "released");
    assert_eq!(lease(4), second);
}

#[test]
fn a_declined_address_is_listed_and_can_be_freed() {
    let lab = lab_with_pool("10.250.1.20-10.250.1.20");
    let server = lab.serve();
    let client = lab.client(Vlan::Voice);
    client.enter(|| {
        let card = Card::open("eth0");
        let ack = card.lease(mac(1), 1, &[]);
        let decline = Message::new(DECLINE, mac(1), 2)
            .with(50, ack.yiaddr().octets())
            .with(54, ack.option(54).unwrap());
        card.broadcast(&decline);
        server.wait_for_log(&["decline", "10.250.1.20"]);
        assert_eq!(list(&lab, &[]), Vec::<Value>::new());
        assert_eq!(list(&lab, &["--all"])[0]["state"], "declined");
        let scope = &status(&lab)["scopes"][0];
        assert_eq!((scope["declined"].as_u64(), scope["free"].as_u64()), (Some(1), Some(0)));

        good(&offhook(&lab, &["leases", "release", "10.250.1.20"]));
        assert_eq!(card.lease(mac(2), 3, &[]).yiaddr(), ack.yiaddr());
    });
}

fn status(lab: &Lab) -> Value {
    serde_json::from_str(&good(&offhook(lab, &["status", "--format", "json"]))).unwrap()
}

#[test]
fn the_status_counts_addresses_answers_and_silences() {
    let lab = lab_with_pool("10.250.1.20-10.250.1.22");
    let _server = lab.serve();
    lab.client(Vlan::Voice).enter(|| {
        let card = Card::open("eth0");
        card.lease(mac(1), 1, &[]);
        card.lease(mac(2), 2, &[]);
        card.ask(&Message::new(DISCOVER, mac(3), 3)).expect("an OFFER");
        card.broadcast(&Message::new(DISCOVER, mac(4), 4));
        assert!(card.reply_within(4, NOBODY).is_none());
    });
    let status = status(&lab);
    assert_eq!((status["site"].as_str(), status["zone"].as_str()), (Some("lab"), Some("lab.voip")));
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["leases"], 2);
    assert_eq!(status["storage_failing"], false);
    let voice = &status["scopes"][0];
    let numbers = ["pool", "leased", "offered", "declined", "free"].map(|key| voice[key].as_u64());
    assert_eq!((voice["name"].as_str(), numbers), (Some("voice"), [3, 2, 1, 0, 0].map(Some)));
    let counts = ["offer", "ack", "nak"].map(|kind| status["counts"][kind].as_u64());
    assert_eq!(counts, [3, 2, 0].map(Some), "{status}");
    assert_eq!(status["silent"]["pool-full"], 1, "{status}");
    let text = good(&offhook(&lab, &["status"]));
    for said in ["serves lab (lab.voip)", "10.250.1.0/24", "ack 2", "pool-full 1"] {
        assert!(text.contains(said), "no {said} in\n{text}");
    }
}

#[test]
fn a_reservation_made_of_a_lease_keeps_the_address_for_its_phone() {
    let lab = lab_with_pool("10.250.1.20-10.250.1.21");
    let server = lab.serve();
    let client = lab.client(Vlan::Voice);
    let leased = client.enter(|| {
        let card = Card::open("eth0");
        card.lease(mac(1), 1, &[(60, b"440HD"), (12, b"x\n[[host]]")]).yiaddr().to_string()
    });
    let block = good(&offhook(&lab, &["leases", "reserve", &leased]));
    let lines: Vec<_> = block.lines().filter(|line| !line.starts_with('#')).collect();
    let (phone, address) = (format!("mac = \"{}\"", mac(1)), format!("address = \"{leased}\""));
    assert_eq!(lines, ["[[phone]]", &phone, &address], "{block}");

    let config = lab.config();
    let before = fs::read_to_string(&config).unwrap();
    let words = ["leases", "reserve", &mac(1).to_string(), "--append", config.to_str().unwrap()];
    assert_eq!(good(&offhook(&lab, &words)), block);
    let after = fs::read_to_string(&config).unwrap();
    assert!(after.starts_with(before.trim_end()) && after.ends_with(&block), "{after}");
    let twice = offhook(&lab, &words);
    assert_eq!(twice.status.code(), Some(78), "{}", said(&twice));
    assert!(said(&twice).contains("lab.toml") && said(&twice).contains(&mac(1).to_string()));
    assert_eq!(fs::read_to_string(&config).unwrap(), after);
    assert!(failed(&offhook(&lab, &["leases", "reserve", "10.250.1.99"])).contains("hint:"));

    good(&offhook(&lab, &["leases", "release", &leased]));
    assert_eq!(server.terminate(), Some(0));
    let _server = lab.serve();
    client.enter(|| {
        let card = Card::open("eth0");
        for n in 2..4 {
            card.broadcast(&Message::new(DISCOVER, mac(n), n));
            let offer = card.reply_within(n, NOBODY);
            assert!(offer.is_none_or(|offer| offer.yiaddr().to_string() != leased));
        }
        assert_eq!(card.lease(mac(1), 9, &[]).yiaddr().to_string(), leased);
    });
}

#[test]
fn a_long_list_and_clients_that_do_not_read_keep_no_phone_waiting() {
    const MANY: u32 = 20_000;
    let lab = lab_with_pool("10.250.1.20-10.250.1.149");
    {
        let (mut store, _) = offhook_store::Store::open(&lab.state()).unwrap();
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let put = |n: u32| {
            LeaseWrite::Put(Lease {
                address: Ipv4Addr::from_bits(0x0b00_0000 + n),
                client: ClientId::Hardware(mac(0x1_0000 + n).into()),
                hardware: mac(0x1_0000 + n).into(),
                state: LeaseState::Bound,
                since: Time::from_secs(now - 60),
                expires: Time::from_secs(now + 3600),
                scope: "elsewhere".into(),
                class: None,
                host_name: None,
            })
        };
        store.commit(&(0..MANY).map(put).collect::<Vec<_>>()).unwrap();
    }
    let _server = lab.serve();
    let connect = || UnixStream::connect(lab.state().join("control.sock")).unwrap();
    // Some ask for everything and read nothing, some say nothing at all.
    let mut idle: Vec<_> = (0..8).map(|_| connect()).collect();
    for stream in &mut idle[..4] {
        stream.write_all(b"{\"version\":1,\"ask\":{\"leases\":{}}}\n").unwrap();
    }
    let listing = || {
        let csv = good(&offhook(&lab, &["leases", "--format", "csv", "--scope", "elsewhere"]));
        let addresses: Vec<Ipv4Addr> = csv
            .lines()
            .skip(1)
            .map(|line| line.split(',').next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(addresses.len(), MANY as usize);
        assert!(addresses.is_sorted_by(|a, b| a < b));
    };
    std::thread::scope(|scope| {
        let list = scope.spawn(listing);
        lab.client(Vlan::Voice).enter(|| {
            let card = Card::open("eth0");
            let (mut n, mut meanwhile) = (0, 0);
            // One phone after the other until the list is there, or the pool is empty. None asks twice.
            while n < 20 || (n < 120 && !list.is_finished()) {
                n += 1;
                card.lease(mac(n), n, &[]);
                meanwhile += u32::from(!list.is_finished());
                std::thread::sleep(Duration::from_millis(10));
            }
            assert!(meanwhile > 0, "no phone got a lease until the list was there");
            let counts = &status(&lab)["counts"];
            assert_eq!((&counts["offer"], &counts["ack"]), (&n.into(), &n.into()));
        });
        list.join().unwrap();
    });

    // What is no request is answered, and a line without end is not kept.
    let say = |bytes: &[u8]| {
        let mut stream = connect();
        stream.write_all(bytes).unwrap();
        let mut line = String::new();
        let mut reader = BufReader::new(stream);
        reader.read_line(&mut line).unwrap();
        let reply: Value = serde_json::from_str(&line).unwrap();
        (reply["reply"]["failed"]["message"].as_str().unwrap().to_owned(), reader)
    };
    let (message, mut reader) = say(&[b'x'; 4096]);
    assert!(message.contains("4096"), "{message}");
    assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap(), 0);
    assert!(say(b"hello\n").0.contains("no sense"));
    assert!(say(b"{\"version\":2,\"ask\":\"status\"}\n").0.contains("version"));
    assert!(status(&lab)["leases"].as_u64().unwrap() >= u64::from(MANY));
}
