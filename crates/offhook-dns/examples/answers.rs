//! What answers cost, in nanoseconds of processor time and without sockets, with few names and with many.
//!
//! ```sh
//! cargo run --release -p offhook-dns --example answers
//! ```
//!
//! Each line is one kind of question: the sample zone's mix (40 % A of the switchover name, 30 % SRV, 20 % A of a
//! server, 10 % names that do not exist), names of leases, names that nobody has asked before. "From memory" is how
//! the server answers; "each anew" is without the direct path. Then the zones change meanwhile, as they do when
//! leases come and go and when servers are probed. The last lines are what a change of the names costs, and how much
//! memory they take.

#![expect(clippy::unwrap_used, reason = "a tool that nobody depends on")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use offhook_dns::{
    Client, DIRECT_ROOM, Direct, NameBook, NameRules, Outcome, Transport, Zones, answer,
};
use offhook_model::{
    ClientId, HardwareAddress, Host, Lease, LeaseState, LeaseTimes, Mac, Origin, Scope, Serve,
    SipPorts, Site, Switchover, Time,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 250, 1, 20));

const NOW: Time = Time::from_secs(1_000_000);
const RULES: NameRules = NameRules { models: true, hosts: true, ttl: 60 };

/// How long each measurement takes.
const LONG: Duration = Duration::from_millis(300);

fn main() {
    // First, while nothing that was given back is used again.
    let octets = memory(1_000_000);
    println!("{:44} {:>12} {:>12}", "nanoseconds an answer", "100 names", "100,000");
    let [few, many] = [100, 100_000].map(zones);
    let mix = |n: u64| match n % 10 {
        0..=3 => query("provision.lab.voip", 1),
        4..=6 => query("_sip._udp.lab.voip", 33),
        7 | 8 => query("vm40ic1.lab.voip", 1),
        _ => query(&format!("nx{:04}.lab.voip", n % 1000 / 10), 1),
    };
    type Question<'a> = (&'a str, Box<dyn Fn(u64, u64) -> Vec<u8>>);
    let kinds: [Question<'_>; 4] = [
        ("the mix", Box::new(move |n, _| mix(n))),
        ("names of leases", Box::new(|n, names| query(&phone(n % names), 1))),
        ("addresses of leases", Box::new(|n, names| query(&reverse(n % names), 12))),
        ("names that are not there", Box::new(|n, _| query(&format!("nx{n}.lab.voip"), 1))),
    ];
    let report = |what: String, measure: &dyn Fn(&Leased, u64) -> f64| {
        let (few, many) = (measure(&few, 100), measure(&many, 100_000));
        println!("{what:44} {few:12.0} {many:12.0}");
    };
    for (what, question) in &kinds {
        for from_memory in [true, false] {
            let how = if from_memory { "from memory" } else { "each anew" };
            report(format!("{what}, {how}"), &|zones, names| {
                cost(&zones.zones, names, question, from_memory, None)
            });
        }
    }
    let (what, question) = &kinds[0];
    for changes in [1, 100, 1000] {
        report(format!("{what}, {changes} changes a second"), &|zones, names| {
            cost(&zones.zones, names, question, true, Some(Duration::from_secs(1) / changes))
        });
    }
    for (what, kind, together) in [
        ("a lease comes or goes, one by one", Change::Replacement, 1),
        ("a lease comes or goes, 1,000 together", Change::Replacement, 1000),
        ("a lease is renewed", Change::Renewal, 1),
    ] {
        report(what.into(), &|zones, _| change(zones, kind, together));
    }
    println!("a lease of 1,000,000 takes {octets:.0} octets");
}

/// Asks for [`LONG`]; nanoseconds an answer, those of changing the zones not counted.
fn cost(
    zones: &Arc<Zones>,
    names: u64,
    question: &dyn Fn(u64, u64) -> Vec<u8>,
    from_memory: bool,
    pause: Option<Duration>,
) -> f64 {
    let mut rng = SmallRng::seed_from_u64(1);
    let queries: Vec<_> =
        (0..200_000).map(|_| question(rng.random_range(0..u64::from(u32::MAX)), names)).collect();
    let mut direct = Direct::new(1);
    let mut room = [0; DIRECT_ROOM];
    let mut zones = Arc::clone(zones);
    let (mut answers, mut spent) = (0_u32, Duration::ZERO);
    while spent < LONG {
        for chunk in queries.chunks(1000) {
            let begun = processor_time();
            for query in chunk {
                if from_memory
                    && let Some(answered) = direct.answer(&zones, query, CLIENT, &mut room)
                {
                    black_box(answered);
                    continue;
                }
                let client = Client { address: CLIENT, transport: Transport::Udp };
                if let Outcome::Reply(reply) = answer(&zones, query, client, &mut rng) {
                    black_box(reply.encode().unwrap());
                }
            }
            let before = spent;
            spent += processor_time() - begun;
            answers += chunk.len() as u32;
            let due = |pause: Duration| spent.as_nanos() / pause.as_nanos();
            if pause.is_some_and(|pause| due(pause) > before.as_nanos() / pause.as_nanos()) {
                let mut changed = Zones::clone(&zones);
                changed.set_serial(changed.serial() + 1);
                zones = Arc::new(changed);
            }
        }
    }
    spent.as_nanos() as f64 / f64::from(answers)
}

/// What a change of one of the leases costs in nanoseconds, `each` of them served as a snapshot by itself or a thousand
/// together: some lease goes and comes back, or is renewed. The leases are at hand, the names are not.
fn change(site: &Leased, change: Change, together: usize) -> f64 {
    let mut book = NameBook::new(&"lab.voip".parse().unwrap(), RULES);
    fill(&mut book, site.leases);
    let mut served = Arc::clone(&site.zones);
    let mut rng = SmallRng::seed_from_u64(1);
    let (mut spent, mut times) = (Duration::ZERO, 0_u32);
    while spent < LONG {
        let numbers: Vec<_> = (0..1000).map(|_| rng.random_range(0..site.leases)).collect();
        let leases: Vec<_> = numbers.into_iter().map(lease).collect();
        let renewed = NOW + Duration::from_secs(1);
        let begun = processor_time();
        for leases in leases.chunks(together) {
            let mut publish = |book: &mut NameBook| {
                let Some(names) = book.changed().cloned() else { return };
                let mut changed = Zones::clone(&served);
                changed.set_lease_names(names);
                changed.set_serial(changed.serial() + 1);
                served = Arc::new(changed);
            };
            if change == Change::Replacement {
                leases.iter().for_each(|lease| book.remove(lease.address));
                publish(&mut book);
            }
            for lease in leases {
                let renewal = Lease { since: renewed, expires: lease.expires, ..lease.clone() };
                book.put(NOW, &renewal, |name| site.zones.is_taken(name));
            }
            publish(&mut book);
        }
        spent += processor_time() - begun;
        times += 1000 * if change == Change::Replacement { 2 } else { 1 };
    }
    spent.as_nanos() as f64 / f64::from(times)
}

#[derive(Clone, Copy, PartialEq)]
enum Change {
    Replacement,
    Renewal,
}

/// Octets of memory a lease with two names takes.
fn memory(leases: u64) -> f64 {
    let resident = || {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * 4096.0
    };
    let before = resident();
    let mut book = NameBook::new(&"lab.voip".parse().unwrap(), RULES);
    fill(&mut book, leases);
    let each = (resident() - before) / leases as f64;
    drop(book);
    each
}

/// What this thread has used so far.
fn processor_time() -> Duration {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(statistics.split(' ').next().unwrap().parse().unwrap())
}

fn phone(number: u64) -> String {
    format!("440hd-00908f{number:06x}.lab.voip")
}

fn reverse(number: u64) -> String {
    let [_, a, b, c] = (number as u32).to_be_bytes();
    format!("{c}.{b}.{a}.10.in-addr.arpa")
}

/// The sample zone, with leases.
struct Leased {
    zones: Arc<Zones>,
    leases: u64,
}

fn zones(leases: u64) -> Leased {
    let mut site = Site::new("lab.voip".parse().unwrap());
    site.dns.listen = vec!["10.250.1.5:53".parse().unwrap()];
    let pair = [("vm40ic1.lab.voip", [10, 250, 1, 151]), ("vm40ic2.lab.voip", [10, 250, 1, 152])];
    let hosts = pair.map(|(name, address)| (name.parse().unwrap(), Ipv4Addr::from(address)));
    let origin = Origin::default("example");
    let name = "provision.lab.voip".parse().unwrap();
    site.switchovers.push(Switchover {
        sip: SipPorts { udp: Some(8060), tcp: Some(8060), tls: Some(8061) },
        ..Switchover::new(name, hosts.to_vec(), origin.clone())
    });
    let hosts = hosts.map(|(name, address)| Host::new(name, address, origin.clone()));
    site.hosts.extend(hosts);
    site.scopes.push(scope());
    let mut zones = Zones::from_site(&site, 1);
    let mut book = NameBook::new(&site.zone, RULES);
    fill(&mut book, leases);
    zones.set_lease_names(book.names().clone());
    Leased { zones: Arc::new(zones), leases }
}

fn fill(book: &mut NameBook, leases: u64) {
    (0..leases).for_each(|number| book.put(NOW, &lease(number), |_| false));
}

fn lease(number: u64) -> Lease {
    let [_, a, b, c] = (number as u32).to_be_bytes();
    let hardware = HardwareAddress::from(Mac([0x00, 0x90, 0x8f, a, b, c]));
    Lease {
        address: Ipv4Addr::new(10, a, b, c),
        client: ClientId::Hardware(hardware),
        hardware,
        state: LeaseState::Bound,
        since: NOW,
        expires: NOW + Duration::from_secs(3600),
        scope: "voice".into(),
        class: Some("440HD".into()),
        host_name: Some(format!("desk-{number}").into_bytes().into()),
    }
}

/// All of 10.0.0.0/8: for its reverse zone.
fn scope() -> Scope {
    Scope {
        name: "voice".into(),
        interface: None,
        vlan: None,
        subnet: "10.0.0.0/8".parse().unwrap(),
        pools: Vec::new(),
        excluded: Vec::new(),
        router: None,
        lease: Duration::from_secs(3600),
        times: LeaseTimes::default(),
        boot: offhook_model::BootFields::default(),
        phone_lease: None,
        serve: Serve::All,
        authoritative: true,
        probe: false,
        reserved_share: 0,
        shared_network: None,
        voice: None,
        options: Vec::new(),
        origin: Origin::default("example"),
    }
}

fn query(name: &str, qtype: u8) -> Vec<u8> {
    let mut wire = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        wire.push(label.len() as u8);
        wire.extend(label.as_bytes());
    }
    wire.extend([0, 0, qtype, 0, 1]);
    wire
}
