//! DHCP clients that lease addresses, many at once, and time it: what `tests/bench` drives.
//!
//!     dhcpload --interface NAME --clients N [--window N] [--first N] [--broadcast] [--pause MS] [--retry MS]
//!              [--limit S]
//!
//! Each client has a MAC address of its own and does DISCOVER, OFFER, REQUEST, ACK. `--window` of them are at it at any
//! time, all of them without. A message without a reply is sent again after `--retry`, twice as long each time, and a
//! NAK starts the client anew. Prints one JSON object. Needs CAP_NET_RAW.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use offhook_model::Mac;
use offhook_net::{FrameSocket, Interface, UdpFrame};

const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
/// What the options of a message begin with (RFC 2131).
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const OPTIONS: usize = 240;
/// Added to a client's number for its transaction identifier.
const XID: u32 = 0x5000_0000;
/// Messages sent with one call.
const BATCH: usize = 64;

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;

struct Settings {
    interface: String,
    clients: u32,
    window: u32,
    first: u32,
    broadcast: bool,
    pause: Duration,
    retry: Duration,
    limit: Duration,
}

impl Settings {
    fn read() -> Result<Self, Box<dyn Error>> {
        let mut this = Self {
            interface: String::new(),
            clients: 1,
            window: u32::MAX,
            first: 0,
            broadcast: false,
            pause: Duration::ZERO,
            retry: Duration::from_secs(4),
            limit: Duration::from_secs(60),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            if name == "--broadcast" {
                this.broadcast = true;
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--interface" => this.interface = value,
                "--clients" => this.clients = value.parse()?,
                "--window" => this.window = value.parse()?,
                "--first" => this.first = value.parse()?,
                "--pause" => this.pause = Duration::from_millis(value.parse()?),
                "--retry" => this.retry = Duration::from_millis(value.parse()?),
                "--limit" => this.limit = Duration::from_secs(value.parse()?),
                _ => return Err(format!("no such flag: {name}").into()),
            }
        }
        Ok(this)
    }
}

/// How far a client has got.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Selecting,
    Requesting,
    Bound,
}

#[derive(Clone)]
struct Client {
    state: State,
    /// When it said its first DISCOVER.
    started: Instant,
    /// How often it has sent what it sent last.
    sent: u32,
    address: [u8; 4],
    server: [u8; 4],
    /// From its first DISCOVER to its ACK.
    took: Duration,
}

struct Load {
    settings: Settings,
    clients: Vec<Client>,
    outbox: Vec<u32>,
    /// When to send again: then, client, how often it had sent.
    timers: BinaryHeap<Reverse<(Instant, u32, u32)>>,
    bound: u32,
    naks: u32,
    retries: u32,
    last: Duration,
    begun: Instant,
}

fn mac(number: u32) -> Mac {
    let [a, b, c, d] = number.to_be_bytes();
    Mac([2, 0, a, b, c, d])
}

impl Load {
    fn new(settings: Settings) -> Self {
        let now = Instant::now();
        let client = Client {
            state: State::Waiting,
            started: now,
            sent: 0,
            address: [0; 4],
            server: [0; 4],
            took: Duration::ZERO,
        };
        Self {
            clients: vec![client; settings.clients as usize],
            settings,
            outbox: Vec::new(),
            timers: BinaryHeap::new(),
            bound: 0,
            naks: 0,
            retries: 0,
            last: Duration::ZERO,
            begun: now,
        }
    }

    fn message(&self, index: u32) -> Option<Vec<u8>> {
        let client = self.clients.get(index as usize)?;
        let mac = mac(self.settings.first + index);
        let mut bytes = vec![1, 1, 6, 0];
        bytes.extend((XID + index).to_be_bytes());
        bytes.extend([0, 0, if self.settings.broadcast { 0x80 } else { 0 }, 0]);
        bytes.resize(28, 0);
        bytes.extend(mac.0);
        bytes.resize(OPTIONS - COOKIE.len(), 0);
        bytes.extend(COOKIE);
        bytes.extend([53, 1, if client.state == State::Requesting { REQUEST } else { DISCOVER }]);
        bytes.extend([61, 7, 1]);
        bytes.extend(mac.0);
        if client.state == State::Requesting {
            bytes.extend([50, 4]);
            bytes.extend(client.address);
            bytes.extend([54, 4]);
            bytes.extend(client.server);
        }
        bytes.extend([55, 7, 1, 3, 6, 15, 42, 66, 120]);
        bytes.push(255);
        bytes.resize(300, 0);
        Some(bytes)
    }

    fn start(&mut self, index: u32, now: Instant) {
        if let Some(client) = self.clients.get_mut(index as usize) {
            client.state = State::Selecting;
            client.started = now;
            client.sent = 0;
            self.outbox.push(index);
        }
    }

    fn send(&mut self, socket: &FrameSocket) {
        let outbox = std::mem::take(&mut self.outbox);
        for some in outbox.chunks(BATCH) {
            let messages: Vec<_> = some.iter().filter_map(|index| self.message(*index)).collect();
            let frames: Vec<_> = some
                .iter()
                .zip(&messages)
                .map(|(index, payload)| UdpFrame {
                    source_mac: mac(self.settings.first + index),
                    destination_mac: Mac::BROADCAST,
                    source: CLIENT,
                    destination: SERVER,
                    payload,
                })
                .collect();
            // One that is lost is sent again like one that the network loses.
            socket.send_batch(&frames, |_, _| {});
            let now = Instant::now();
            for index in some {
                let Some(client) = self.clients.get_mut(*index as usize) else { continue };
                let wait = self.settings.retry * (1 << client.sent.min(4));
                client.sent += 1;
                self.retries += u32::from(client.sent > 1);
                self.timers.push(Reverse((now + wait, *index, client.sent)));
            }
        }
    }

    fn hear(&mut self, payload: &[u8]) -> Option<()> {
        let xid = u32::from_be_bytes(*payload.get(4..)?.first_chunk()?);
        let index = xid.checked_sub(XID)?;
        let number = self.settings.first + index;
        let client = self.clients.get_mut(index as usize)?;
        if payload.get(28..34)? != mac(number).0 {
            return None;
        }
        let [kind] = option(payload, 53)?.first_chunk()?;
        match (*kind, client.state) {
            (OFFER, State::Selecting) => {
                client.state = State::Requesting;
                client.sent = 0;
                client.address = *payload.get(16..)?.first_chunk()?;
                client.server = *option(payload, 54)?.first_chunk()?;
                self.outbox.push(index);
            }
            (ACK, State::Requesting) => {
                client.state = State::Bound;
                client.took = client.started.elapsed();
                self.bound += 1;
                self.last = self.begun.elapsed();
            }
            (NAK, State::Requesting) => {
                self.naks += 1;
                client.state = State::Selecting;
                client.sent = 0;
                self.outbox.push(index);
            }
            _ => {}
        }
        Some(())
    }

    fn run(&mut self, socket: &FrameSocket) -> std::io::Result<()> {
        let mut buffer = vec![0; 2048];
        let mut next = 0;
        self.begun = Instant::now();
        let deadline = self.begun + self.settings.limit;
        while self.bound < self.settings.clients && Instant::now() < deadline {
            let now = Instant::now();
            while next < self.settings.clients && next - self.bound < self.settings.window {
                if !self.settings.pause.is_zero() {
                    std::thread::sleep(self.settings.pause);
                }
                self.start(next, Instant::now());
                next += 1;
            }
            while let Some(Reverse((_, index, sent))) =
                self.timers.peek().copied().filter(|Reverse((at, ..))| *at <= now)
            {
                self.timers.pop();
                let client = self.clients.get(index as usize);
                let is_waiting = |client: &Client| {
                    client.sent == sent
                        && matches!(client.state, State::Selecting | State::Requesting)
                };
                if client.is_some_and(is_waiting) {
                    self.outbox.push(index);
                }
            }
            self.send(socket);
            let mut wait = Duration::from_millis(10);
            for _ in 0..BATCH {
                let Some(frame) = socket.recv(&mut buffer, Some(wait))? else { break };
                let _ = self.hear(frame.payload);
                wait = Duration::ZERO;
            }
        }
        Ok(())
    }
}

fn option(payload: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut options = payload.get(OPTIONS..)?;
    loop {
        match options {
            [0, rest @ ..] => options = rest,
            [255, ..] | [] | [_] => return None,
            [code, length, rest @ ..] => {
                let (value, after) = rest.split_at_checked(usize::from(*length))?;
                if *code == wanted {
                    return Some(value);
                }
                options = after;
            }
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let settings = Settings::read()?;
    let interface = Interface::named(&settings.interface)?;
    let socket = FrameSocket::open_receiving(&interface, true, Some(68))?;
    let mut load = Load::new(settings);
    load.run(&socket)?;
    let mut took: Vec<Duration> = load
        .clients
        .iter()
        .filter(|client| client.state == State::Bound)
        .map(|client| client.took)
        .collect();
    took.sort_unstable();
    let micros = |share: usize| {
        let place = (took.len() * share / 100).min(took.len().saturating_sub(1));
        took.get(place).map_or(0, Duration::as_micros)
    };
    println!(
        "{{\"bound\": {}, \"seconds\": {:.4}, \"p50_us\": {}, \"p99_us\": {}, \"retries\": {}, \"naks\": {}}}",
        load.bound,
        load.last.as_secs_f64(),
        micros(50),
        micros(99),
        load.retries,
        load.naks,
    );
    Ok(())
}
