//! The DHCP core alone, without sockets and without a disk: processor time a message takes it, by how many leases there
//! are, how large the pool is and how full. What `tests/bench core` runs.
//!
//!     dhcpcore [--rounds N] [CASE ...]
//!
//!     leases    new clients, returning ones and renewals in random order, with 1,000 and with 1,000,000 leases there
//!     pools     new clients, in an empty pool of 4,000 and in one of 1,040,000
//!     full      new clients, in a pool of 65,000 that is empty and in one that is 99 % full
//!     refused   DISCOVERs of strangers, with a pool of 4,000, 65,000 or 1,040,000 of which nothing is left
//!
//! All of them without CASE. Prints one JSON object a line: the case, microseconds of processor time for each exchange
//! (DISCOVER and REQUEST) or message, the median of the rounds and the least. The clients' side is not counted.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use offhook_dhcp::{Arrival, Core, Decision, Link};
use offhook_model::{ClientId, Lease, LeaseState, Mac, ScopeId, Site, Time};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 32, 0, 1);
/// The first address of the pool, 10.32.1.0.
const FIRST: u32 = 0x0a20_0100;
const NOW: Time = Time::from_secs(1_800_000_000);
const LEASE: u64 = 12 * 3600;
/// Messages that are decided about together, as the program does.
const STEP: usize = 8;
/// Clients that are at it at a time.
const WINDOW: u32 = 64;

const DISCOVER: u8 = 1;
const REQUEST: u8 = 3;

/// As [`tests/bench`] configures it; conflict checks would wait for a network.
fn site(pool: u32) -> Result<Arc<Site>, Box<dyn Error>> {
    let last = Ipv4Addr::from_bits(FIRST + pool - 1);
    let text = format!(
        "[site]\nname = \"bench\"\nzone = \"lab.voip\"\ntime_offset = \"-05:00\"\n[dns]\nlisten = \"{SERVER}\"\n\
         [[scope]]\nname = \"voice\"\ninterface = \"srv0\"\nsubnet = \"10.32.0.0/12\"\n\
         pools = [\"{}-{last}\"]\nrouter = \"{SERVER}\"\nlease = \"{LEASE}s\"\nprobe = false\nreserved_share = 0\n\
         phones = false\n[dhcp]\nclient_rate = 0\n",
        Ipv4Addr::from_bits(FIRST),
    );
    let loaded = offhook_config::parse("bench.toml", Path::new(""), &text, NOW, &NoFiles);
    loaded.site.map(Arc::new).ok_or_else(|| loaded.diagnostics.render(false).into())
}

struct NoFiles;

impl offhook_config::Files for NoFiles {
    fn list(&self, _: &Path) -> Option<Vec<String>> {
        None
    }
}

/// A client's hardware address: no two that follow each other look alike.
fn mac(number: u32) -> Mac {
    let [a, b, c, d] = number.wrapping_mul(0x9e37_79b1).to_be_bytes();
    Mac([2, 0, a, b, c, d])
}

fn identifier(mac: Mac) -> [u8; 7] {
    let [a, b, c, d, e, f] = mac.0;
    [1, a, b, c, d, e, f]
}

fn lease(number: u32) -> Lease {
    let mac = mac(number);
    Lease {
        address: Ipv4Addr::from_bits(FIRST + number),
        client: ClientId::Option61(identifier(mac).into()),
        hardware: mac.into(),
        state: LeaseState::Bound,
        since: NOW,
        expires: NOW + Duration::from_secs(LEASE),
        scope: "voice".into(),
        class: None,
        host_name: None,
    }
}

fn message(kind: u8, number: u32, ciaddr: Ipv4Addr, wanted: Option<Ipv4Addr>) -> Vec<u8> {
    let mac = mac(number);
    let mut bytes = vec![1, 1, 6, 0];
    bytes.extend(number.to_be_bytes());
    bytes.resize(12, 0);
    bytes.extend(ciaddr.octets());
    bytes.resize(28, 0);
    bytes.extend(mac.0);
    bytes.resize(236, 0);
    bytes.extend([99, 130, 83, 99, 53, 1, kind, 61, 7]);
    bytes.extend(identifier(mac));
    if let Some(wanted) = wanted {
        bytes.extend([50, 4]);
        bytes.extend(wanted.octets());
        bytes.extend([54, 4]);
        bytes.extend(SERVER.octets());
    }
    bytes.extend([55, 7, 1, 3, 6, 15, 42, 66, 120, 255]);
    bytes.resize(300, 0);
    bytes
}

/// The core, and the time it took.
struct Bench {
    core: Core,
    now: Time,
    spent: Duration,
}

impl Bench {
    fn new(site: &Arc<Site>, leases: u32) -> Self {
        let links = vec![Link { scope: Some(ScopeId(0)), address: SERVER, mtu: 1500 }];
        let leases = (0..leases).map(lease).collect();
        Self {
            core: Core::new(Arc::clone(site), links, leases, NOW),
            now: NOW,
            spent: Duration::ZERO,
        }
    }

    /// Decides about some messages, and has what comes of it made durable.
    fn handle(&mut self, messages: &[Vec<u8>]) -> Vec<Decision> {
        let source = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
        let arrival = Arrival { link: 0, source, destination: Ipv4Addr::BROADCAST };
        self.now = self.now + Duration::from_millis(1);
        let before = processor_time();
        let mut decisions = Vec::with_capacity(messages.len());
        for step in messages.chunks(STEP) {
            self.core.bring_near(step.iter().map(|bytes| (arrival, bytes.as_slice())));
            decisions.extend(step.iter().map(|bytes| self.core.handle(self.now, &arrival, bytes)));
        }
        for ticket in decisions.iter().filter_map(|decision| decision.ticket) {
            self.core.committed(ticket);
        }
        self.spent += processor_time().saturating_sub(before);
        decisions
    }

    /// Each of these clients asks for an address and takes it.
    fn exchange(&mut self, clients: &[u32]) {
        for some in clients.chunks(WINDOW as usize) {
            let none = Ipv4Addr::UNSPECIFIED;
            let discovers: Vec<_> =
                some.iter().map(|number| message(DISCOVER, *number, none, None)).collect();
            let offers = self.handle(&discovers);
            let requests: Vec<_> = some
                .iter()
                .zip(&offers)
                .map(|(number, offer)| message(REQUEST, *number, none, offer.trace.address))
                .collect();
            let acks = self.handle(&requests);
            assert!(acks.iter().all(|ack| ack.ticket.is_some()), "not everybody has an address");
        }
    }

    fn renew(&mut self, clients: &[u32]) {
        for some in clients.chunks(WINDOW as usize) {
            let renewal = |number: &u32| {
                message(REQUEST, *number, Ipv4Addr::from_bits(FIRST + *number), None)
            };
            let renewals: Vec<_> = some.iter().map(renewal).collect();
            let acks = self.handle(&renewals);
            assert!(acks.iter().all(|ack| ack.ticket.is_some()), "not everybody may renew");
        }
    }

    fn refuse(&mut self, clients: &[u32]) {
        for some in clients.chunks(WINDOW as usize) {
            let none = Ipv4Addr::UNSPECIFIED;
            let discovers: Vec<_> =
                some.iter().map(|number| message(DISCOVER, *number, none, None)).collect();
            let silence = self.handle(&discovers);
            assert!(silence.iter().all(|silence| silence.reply.is_err()), "an address was left");
        }
    }

    /// Microseconds for each of so many since the last time.
    fn each(&mut self, count: usize) -> f64 {
        std::mem::take(&mut self.spent).as_secs_f64() * 1e6 / count as f64
    }
}

fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

/// So many of the numbers below `end`, in no order; the same every time, any number of times over.
fn shuffled(end: u32, count: u32) -> Vec<u32> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as u32 % end
    };
    (0..count).map(|_| next()).collect()
}

fn tell(case: &str, mut figures: Vec<f64>) {
    figures.sort_by(f64::total_cmp);
    let median = figures.get(figures.len() / 2).copied().unwrap_or_default();
    let least = figures.first().copied().unwrap_or_default();
    println!("{{\"case\": \"{case}\", \"us\": {median:.3}, \"least_us\": {least:.3}}}");
}

fn leases(rounds: u32) -> Result<(), Box<dyn Error>> {
    const NEW: u32 = 4096;
    const OLD: u32 = 32_768;
    let site = site(1_040_000)?;
    let mut benches = [1000, 1_000_000].map(|count| (count, Bench::new(&site, count)));
    let mut figures = [const { [Vec::new(), Vec::new(), Vec::new()] }; 2];
    // In turns, so that the machine's mood meets both.
    for round in 0..rounds {
        for ((count, bench), [new, returning, renewing]) in benches.iter_mut().zip(&mut figures) {
            let strangers: Vec<_> = (0..NEW).map(|n| 0x1000_0000 + round * NEW + n).collect();
            bench.exchange(&strangers);
            new.push(bench.each(strangers.len()));
            let old = shuffled(*count, OLD);
            bench.exchange(&old);
            returning.push(bench.each(old.len()));
            bench.renew(&old);
            renewing.push(bench.each(old.len()));
        }
    }
    for ((count, _), kinds) in benches.iter().zip(figures) {
        for (kind, figures) in ["new", "returning", "renewing"].into_iter().zip(kinds) {
            tell(&format!("leases {count}: {kind}"), figures);
        }
    }
    Ok(())
}

/// New clients in a pool of which some is leased, each time anew.
fn fresh(
    rounds: u32,
    name: &str,
    pools: [(u32, u32); 2],
    count: u32,
) -> Result<(), Box<dyn Error>> {
    let mut figures = [const { Vec::new() }; 2];
    for _ in 0..rounds {
        for ((pool, leased), figures) in pools.iter().zip(&mut figures) {
            let mut bench = Bench::new(&site(*pool)?, *leased);
            let clients: Vec<_> = (0..count).map(|n| 0x1000_0000 + n).collect();
            bench.exchange(&clients);
            figures.push(bench.each(clients.len()));
        }
    }
    for ((pool, leased), figures) in pools.iter().zip(figures) {
        tell(&format!("{name} {pool}, {leased} leased: new"), figures);
    }
    Ok(())
}

fn refused(rounds: u32) -> Result<(), Box<dyn Error>> {
    for pool in [4000, 65_000, 1_040_000] {
        let mut bench = Bench::new(&site(pool)?, pool);
        let strangers: Vec<_> = (0..16_384).map(|n| 0x1000_0000 + n).collect();
        let figures = (0..rounds).map(|_| {
            bench.refuse(&strangers);
            bench.each(strangers.len())
        });
        tell(&format!("refused {pool}: a DISCOVER"), figures.collect());
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut rounds = 9;
    let mut cases = Vec::new();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--rounds" => rounds = words.next().ok_or("--rounds needs a value")?.parse()?,
            "leases" | "pools" | "full" | "refused" => cases.push(word),
            _ => return Err(format!("no such case: {word}").into()),
        }
    }
    let is_wanted = |case: &str| cases.is_empty() || cases.iter().any(|wanted| wanted == case);
    if is_wanted("leases") {
        leases(rounds)?;
    }
    if is_wanted("pools") {
        fresh(rounds, "pool", [(4000, 0), (1_040_000, 0)], 3000)?;
    }
    if is_wanted("full") {
        fresh(rounds, "pool", [(65_000, 0), (65_000, 64_350)], 640)?;
    }
    if is_wanted("refused") {
        refused(rounds)?;
    }
    Ok(())
}
