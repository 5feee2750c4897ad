//! TFTP clients that fetch one file, many at once, compare it byte for byte, and time it: what `tests/bench-tftp` drives.
//!
//!     tftpload --server ADDRESS[:PORT] --file NAME --copy PATH [--clients N] [--block OCTETS] [--window BLOCKS]
//!              [--lose PERCENT] [--retry MS] [--tries N] [--limit S]
//!
//! `--copy` is the file as it should arrive. `--block` and `--window` are asked for as `blksize` and `windowsize`. With
//! `--lose` that share of all datagrams is dropped between each client and the network, in both directions. What goes
//! unanswered for `--retry` is sent again, `--tries` times. Prints one JSON object.

use std::error::Error;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use offhook_net::{Events, Interest, Multiplexer};
use offhook_tftp::Packet;

/// How often clients look whether they have waited for too long.
const LOOK: Duration = Duration::from_millis(20);
/// Datagrams that a client takes before another has its turn.
const TURN: usize = 64;
/// As much of a window waits for its client as the kernel grants.
const RECEIVE_BUFFER: usize = 4 << 20;

struct Settings {
    server: SocketAddr,
    file: String,
    copy: Vec<u8>,
    clients: usize,
    block: u32,
    window: u32,
    lose: f64,
    retry: Duration,
    tries: u32,
    limit: Duration,
}

impl Settings {
    fn read() -> Result<Self, Box<dyn Error>> {
        let mut this = Self {
            server: SocketAddr::from(([127, 0, 0, 1], 69)),
            file: String::new(),
            copy: Vec::new(),
            clients: 1,
            block: 0,
            window: 0,
            lose: 0.0,
            retry: Duration::from_secs(1),
            tries: 6,
            limit: Duration::from_secs(120),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--server" => {
                    let address = value.parse().or_else(|_| format!("{value}:69").parse());
                    this.server = address.map_err(|_| format!("no address: {value}"))?;
                }
                "--file" => this.file = value,
                "--copy" => this.copy = std::fs::read(value)?,
                "--clients" => this.clients = value.parse()?,
                "--block" => this.block = value.parse()?,
                "--window" => this.window = value.parse()?,
                "--lose" => this.lose = value.parse::<f64>()?.clamp(0.0, 100.0) / 100.0,
                "--retry" => this.retry = Duration::from_millis(value.parse()?),
                "--tries" => this.tries = value.parse()?,
                "--limit" => this.limit = Duration::from_secs(value.parse()?),
                _ => return Err(format!("no such flag: {name}").into()),
            }
        }
        Ok(this)
    }

    fn request(&self) -> Vec<u8> {
        let mut request = format!("\0\x01{}\0octet\0", self.file);
        for (name, value) in [("blksize", self.block), ("windowsize", self.window)] {
            if value > 0 {
                request += &format!("{name}\0{value}\0");
            }
        }
        request.into_bytes()
    }

    fn lost(&self) -> bool {
        self.lose > 0.0 && rand::random_bool(self.lose)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Asking,
    Reading,
    Done,
    Failed,
}

struct Client {
    socket: UdpSocket,
    state: State,
    /// The port that the server has chosen for the transfer.
    peer: SocketAddr,
    block_size: usize,
    window: u64,
    /// Blocks received in order.
    blocks: u64,
    acknowledged: u64,
    /// A gap was reported already.
    reported: bool,
    /// When it last sent, or received something new.
    since: Instant,
    tries: u32,
    took: Duration,
}

#[derive(Default)]
struct Counts {
    octets: u64,
    repeated: u64,
    /// Datagrams that were sent again because time ran out.
    resent: u64,
    error: String,
}

struct Load {
    settings: Settings,
    request: Vec<u8>,
    clients: Vec<Client>,
    counts: Counts,
    busy: usize,
    begun: Instant,
}

impl Client {
    fn send(&mut self, settings: &Settings, request: &[u8], now: Instant) {
        self.since = now;
        self.acknowledged = self.blocks;
        if settings.lost() {
            return;
        }
        // What the kernel does not take is lost, and sent again like anything that is.
        let _ = match self.state {
            State::Asking => self.socket.send_to(request, settings.server),
            _ => {
                let [.., high, low] = self.blocks.to_be_bytes();
                self.socket.send_to(&[0, 4, high, low], self.peer)
            }
        };
    }

    fn end(&mut self, state: State, took: Duration) {
        self.state = state;
        self.took = took;
    }
}

impl Load {
    fn new(settings: Settings, multiplexer: &Multiplexer) -> Result<Self, Box<dyn Error>> {
        let begun = Instant::now();
        let mut clients = Vec::with_capacity(settings.clients);
        let any = if settings.server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        for number in 0..settings.clients {
            let socket = UdpSocket::bind(any)?;
            socket.set_nonblocking(true)?;
            socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER)?;
            multiplexer.add(socket.as_fd(), number as u64, Interest::Readable)?;
            clients.push(Client {
                socket,
                state: State::Asking,
                peer: settings.server,
                block_size: 512,
                window: 1,
                blocks: 0,
                acknowledged: 0,
                reported: false,
                since: begun,
                tries: 0,
                took: Duration::ZERO,
            });
        }
        let (request, busy) = (settings.request(), clients.len());
        Ok(Self { settings, request, clients, counts: Counts::default(), busy, begun })
    }

    fn run(&mut self, multiplexer: &Multiplexer) -> io::Result<()> {
        self.begun = Instant::now();
        for client in &mut self.clients {
            client.send(&self.settings, &self.request, self.begun);
        }
        let (mut events, mut buffer) = (Events::default(), vec![0; 70_000]);
        let mut looked = self.begun;
        while self.busy > 0 && self.begun.elapsed() < self.settings.limit {
            multiplexer.wait(&mut events, Some(LOOK))?;
            let now = Instant::now();
            for event in events.iter() {
                for _ in 0..TURN {
                    let Some(client) = self.clients.get(event.token as usize) else { break };
                    let Ok((length, from)) = client.socket.recv_from(&mut buffer) else { break };
                    if !self.settings.lost() {
                        let datagram = buffer.get(..length).unwrap_or_default();
                        self.hear(event.token as usize, datagram, from, now);
                    }
                }
            }
            if now.duration_since(looked) >= LOOK {
                looked = now;
                self.look(now);
            }
        }
        Ok(())
    }

    /// Clients whose time has run out send again, or give up.
    fn look(&mut self, now: Instant) {
        let Self { settings, request, clients, counts, busy, begun: _ } = self;
        for client in clients {
            let waiting = matches!(client.state, State::Asking | State::Reading);
            if !waiting || now.duration_since(client.since) < settings.retry {
                continue;
            }
            client.tries += 1;
            if client.tries > settings.tries {
                client.end(State::Failed, Duration::ZERO);
                *busy -= 1;
            } else {
                counts.resent += 1;
                client.reported = false;
                client.send(settings, request, now);
            }
        }
    }

    fn hear(&mut self, number: usize, datagram: &[u8], from: SocketAddr, now: Instant) {
        let Self { settings, request, clients, counts, busy, begun } = self;
        let Some(client) = clients.get_mut(number) else { return };
        let Ok(packet) = Packet::decode(datagram) else { return };
        match client.state {
            State::Asking => client.peer = from,
            State::Reading if client.peer == from => {}
            // The last ACK was lost.
            State::Done if matches!(packet, Packet::Data { .. }) => {
                return client.send(settings, request, now);
            }
            _ => return,
        }
        match packet {
            Packet::OptionAck(options) if client.blocks == 0 => {
                for (name, value) in options.iter() {
                    let value = String::from_utf8_lossy(value).parse::<u32>().unwrap_or_default();
                    match name {
                        b"blksize" => client.block_size = value as usize,
                        b"windowsize" => client.window = value.into(),
                        _ => {}
                    }
                }
                (client.state, client.tries) = (State::Reading, 0);
                client.send(settings, request, now);
            }
            Packet::Data { block, payload } => {
                client.state = State::Reading;
                if block != (client.blocks + 1) as u16 {
                    counts.repeated += 1;
                    // A gap is reported at once, and once only (RFC 7440, section 4).
                    let ahead = block.wrapping_sub(client.blocks as u16) < 0x8000;
                    if ahead && client.window > 1 && !std::mem::replace(&mut client.reported, true)
                    {
                        client.send(settings, request, now);
                    }
                    // The same block again: its ACK was lost.
                    if client.blocks > 0 && block == client.blocks as u16 {
                        client.send(settings, request, now);
                    }
                    return;
                }
                let at = client.blocks as usize * client.block_size;
                let right = settings.copy.get(at..at + payload.len()) == Some(payload);
                client.blocks += 1;
                (client.since, client.tries, client.reported) = (now, 0, false);
                counts.octets += payload.len() as u64;
                let last = payload.len() < client.block_size;
                if !right || (last && at + payload.len() != settings.copy.len()) {
                    counts.error = format!("block {} is not what it should be", client.blocks);
                    client.end(State::Failed, Duration::ZERO);
                    *busy -= 1;
                    return;
                }
                if last || client.blocks - client.acknowledged >= client.window {
                    client.send(settings, request, now);
                }
                if last {
                    client.end(State::Done, now.duration_since(*begun));
                    *busy -= 1;
                }
            }
            Packet::Error { message, .. } => {
                counts.error = String::from_utf8_lossy(message).into_owned();
                client.end(State::Failed, Duration::ZERO);
                *busy -= 1;
            }
            _ => {}
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let multiplexer = Multiplexer::new()?;
    let mut load = Load::new(Settings::read()?, &multiplexer)?;
    load.run(&multiplexer)?;
    let seconds = load.begun.elapsed().as_secs_f64();
    let of = |state| load.clients.iter().filter(move |client| client.state == state);
    let mut took: Vec<Duration> = of(State::Done).map(|client| client.took).collect();
    took.sort_unstable();
    let middle = took.get(took.len() / 2).copied().unwrap_or_default();
    let last = took.last().copied().unwrap_or_default();
    let granted = load.clients.first().map_or((0, 0), |client| (client.block_size, client.window));
    let said = serde_json::json!({
        "done": took.len(), "failed": load.clients.len() - took.len(), "seconds": seconds,
        "octets": load.counts.octets, "median_s": middle.as_secs_f64(), "last_s": last.as_secs_f64(),
        "block": granted.0, "window": granted.1, "resent": load.counts.resent,
        "repeated": load.counts.repeated, "error": load.counts.error,
    });
    println!("{said}");
    Ok(())
}
