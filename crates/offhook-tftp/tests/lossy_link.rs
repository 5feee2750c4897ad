//! A transfer and a small client at two ends of a link that loses, repeats and reorders, on simulated time. Whatever
//! the schedule: the exact file or a clean end, never a wrong file, never one that is stuck.

#![cfg(test)]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use offhook_tftp::{
    FirstContact, Image, Limits, Outcome, Packet, Rollover, Transfer, first_contact,
};
use proptest::prelude::*;

/// What happens to one datagram: it arrives once for each of these, so many milliseconds later.
type Fate = Vec<u16>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    /// Ignores what it has already had, as U-Boot does: only its own timer repeats an ACK.
    Silent,
    /// Acknowledges again whatever it has already had, as most do.
    Chatty,
}

/// A port of the server: 0 is the well-known one, others belong to a transfer each.
type Port = u64;

/// A reading client of RFC 1350, 2347, 2348 and 7440.
struct Client {
    request: Vec<u8>,
    /// The transfer it has heard from first: the port that answered.
    peer: Option<Port>,
    habit: Habit,
    rollover: Rollover,
    netascii: bool,
    block_size: usize,
    window: u64,
    /// The last block had, from 0; none before the first answer.
    had: Option<u64>,
    unacknowledged: u64,
    file: Vec<u8>,
    state: State,
    tries: u32,
    deadline: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Reading,
    /// It has the file, and lingers to repeat its last ACK.
    Done,
    GaveUp,
    Refused,
}

const CLIENT_TIMEOUT: Duration = Duration::from_millis(2700);
const CLIENT_TRIES: u32 = 12;

impl Client {
    fn wire(&self, block: u64) -> u16 {
        match self.rollover {
            Rollover::ToOne if block > 0 => ((block - 1) % 0xffff + 1) as u16,
            _ => block as u16,
        }
    }

    fn ack(&mut self, out: &mut Vec<Vec<u8>>) {
        self.unacknowledged = 0;
        let block = self.wire(self.had.unwrap_or(0));
        out.push(Packet::Ack { block }.to_vec());
    }

    fn receive(&mut self, now: Instant, from: Port, datagram: &[u8], out: &mut Vec<Vec<u8>>) {
        if *self.peer.get_or_insert(from) != from {
            // RFC 1350 has it answer ERROR 5; the transfer there ends by its own timer as well.
            return;
        }
        match Packet::decode(datagram).expect("the server sends packets") {
            Packet::OptionAck(options) if self.had.is_none_or(|had| had == 0) => {
                for (name, value) in options.iter() {
                    let value = String::from_utf8(value.to_vec()).unwrap().parse().unwrap();
                    match name {
                        b"blksize" => self.block_size = value,
                        b"windowsize" => self.window = value as u64,
                        _ => {}
                    }
                }
                // An OACK that comes again is acknowledged again: its ACK may be lost.
                self.had = Some(0);
                self.deadline = now + CLIENT_TIMEOUT;
                self.ack(out);
            }
            Packet::Data { block, payload } => self.data(now, block, payload, out),
            Packet::Error { .. } if self.state == State::Reading => self.state = State::Refused,
            _ => {}
        }
    }

    fn data(&mut self, now: Instant, block: u16, payload: &[u8], out: &mut Vec<Vec<u8>>) {
        let next = self.had.unwrap_or(0) + 1;
        if self.state == State::Reading && block == self.wire(next) {
            assert!(payload.len() <= self.block_size);
            self.file.extend_from_slice(payload);
            self.had = Some(next);
            self.unacknowledged += 1;
            self.tries = 0;
            self.deadline = now + CLIENT_TIMEOUT;
            if payload.len() < self.block_size {
                self.state = State::Done;
                self.ack(out);
            } else if self.unacknowledged >= self.window {
                self.ack(out);
            }
            return;
        }
        let ahead = block.wrapping_sub(self.wire(next)) < 0x8000;
        if (ahead && self.window > 1) || self.habit == Habit::Chatty {
            self.ack(out);
        }
    }

    fn timeout(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        self.tries += 1;
        if self.state != State::Reading || self.tries > CLIENT_TRIES {
            self.deadline = now + Duration::from_secs(1_000_000);
            if self.state == State::Reading {
                self.state = State::GaveUp;
            }
            return;
        }
        self.deadline = now + CLIENT_TIMEOUT;
        match self.had {
            None => out.push(self.request.clone()),
            Some(_) => self.ack(out),
        }
    }

    /// The file as it would be on the client's disk.
    fn file(&self) -> Vec<u8> {
        if !self.netascii {
            return self.file.clone();
        }
        let mut text = Vec::new();
        let mut bytes = self.file.iter().copied();
        while let Some(byte) = bytes.next() {
            text.push(match byte {
                b'\r' => match bytes.next() {
                    Some(b'\n') => b'\n',
                    Some(0) => b'\r',
                    other => panic!("CR before {other:?} in netascii"),
                },
                other => other,
            });
        }
        text
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Server,
    Client,
}

/// Datagrams under way, by arrival, then by order of sending.
struct Link {
    fates: std::vec::IntoIter<Fate>,
    under_way: BTreeMap<(Instant, u64), (End, Port, Vec<u8>)>,
    sent: u64,
    /// Whether requests may arrive twice or late as well. One that arrives in the midst of its own transfer ends
    /// that, as it has to: it cannot be told from the request of a phone that has started anew.
    echoes_requests: bool,
}

impl Link {
    fn send(&mut self, now: Instant, to: End, port: Port, datagram: Vec<u8>) {
        // Past the end of the schedule the link is perfect: then everything has to come to an end.
        let mut fate = self.fates.next().unwrap_or_else(|| vec![1]);
        if port == 0 && !self.echoes_requests {
            fate.truncate(1);
            fate.fill(0);
        }
        for delay in fate {
            self.sent += 1;
            let arrival = now + Duration::from_millis(delay.into());
            self.under_way.insert((arrival, self.sent), (to, port, datagram.clone()));
        }
    }
}

/// An image that may still be on its way.
#[derive(Clone)]
struct Arriving {
    bytes: Arc<[u8]>,
    here: Rc<Cell<usize>>,
    size_is_told: bool,
}

/// Octets of an image that arrive together.
const CHUNK: usize = 700;

impl Image for Arriving {
    fn size(&self) -> Option<u64> {
        self.size_is_told.then_some(self.bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let here = &self.bytes[..self.here.get()];
        match here.read_at(offset, into) {
            Ok(0) if here.len() < self.bytes.len() => Err(io::ErrorKind::WouldBlock.into()),
            read => read,
        }
    }
}

#[derive(Clone, Debug)]
struct Setup {
    size: usize,
    block_size: usize,
    window: usize,
    habit: Habit,
    rollover: Rollover,
    netascii: bool,
    /// How many milliseconds after the one before each chunk of the image arrives; the rest is there from the start.
    arrivals: Vec<u16>,
    size_is_told: bool,
}

struct Report {
    state: State,
    outcomes: Vec<Outcome>,
    datagrams: u64,
    retransmitted: u64,
}

fn run(setup: &Setup, fates: Vec<Fate>, echoes_requests: bool) -> Report {
    let image: Arc<[u8]> = (0..setup.size)
        .map(|i| match (i as u32).wrapping_mul(2_654_435_761) >> 24 {
            // Many line ends, for netascii.
            0..40 => b'\n',
            40..80 => b'\r',
            other => other as u8,
        })
        .collect();
    let limits = Limits { rollover: setup.rollover, ..Limits::default() };
    let mode = if setup.netascii { "netascii" } else { "octet" };
    let mut request = format!("\0\x01f\0{mode}\0");
    if setup.block_size != 512 {
        request += &format!("blksize\0{}\0", setup.block_size);
    }
    if setup.window > 1 {
        request += &format!("windowsize\0{}\0", setup.window);
    }
    let start = Instant::now();
    let mut now = start;
    let mut arrivals: Vec<(Instant, usize)> = Vec::new();
    for (pause, chunk) in setup.arrivals.iter().zip(0..image.len().div_ceil(CHUNK)) {
        let before = arrivals.last().map_or(start, |(at, _)| *at);
        let here = image.len().min((chunk + 1) * CHUNK);
        arrivals.push((before + Duration::from_millis((*pause).into()), here));
    }
    if let Some((_, last)) = arrivals.last_mut() {
        *last = image.len();
    }
    let here = Rc::new(Cell::new(if arrivals.is_empty() { image.len() } else { 0 }));
    let image = Arriving { bytes: image, here, size_is_told: setup.size_is_told };
    let mut client = Client {
        request: request.clone().into_bytes(),
        peer: None,
        habit: setup.habit,
        rollover: setup.rollover,
        netascii: setup.netascii,
        block_size: 512,
        window: 1,
        had: None,
        unacknowledged: 0,
        file: Vec::new(),
        state: State::Reading,
        tries: 0,
        deadline: now + CLIENT_TIMEOUT,
    };
    let mut link =
        Link { fates: fates.into_iter(), under_way: BTreeMap::new(), sent: 0, echoes_requests };
    // The server holds one transfer for this client, as the program does: a later request replaces it.
    let mut transfer: Option<Transfer<Arriving>> = None;
    let mut port = 0;
    let mut outcomes = Vec::new();
    let mut retransmitted = 0;
    link.send(now, End::Server, 0, request.into_bytes());
    let mut out = Vec::new();
    for _ in 0..200_000 {
        if let Some((_, here)) = arrivals.iter().rfind(|(at, _)| *at <= now) {
            image.here.set(*here);
        }
        let mut answers = Vec::new();
        if let Some((&(arrival, _), _)) = link.under_way.first_key_value()
            && arrival <= now
            && let Some((_, (end, at, datagram))) = link.under_way.pop_first()
        {
            match (end, first_contact(&datagram)) {
                (End::Client, _) => client.receive(now, at, &datagram, &mut answers),
                (End::Server, FirstContact::Read(request)) => {
                    if !transfer.as_mut().is_some_and(Transfer::request_repeated) {
                        transfer = Some(Transfer::new(&request, image.clone(), &limits, now));
                        port += 1;
                    }
                }
                (End::Server, _) if at == port => {
                    if let (Some(transfer), Ok(packet)) = (&mut transfer, Packet::decode(&datagram))
                    {
                        transfer.handle(now, &packet);
                    }
                }
                (End::Server, _) => {}
            }
        }
        if client.deadline <= now {
            client.timeout(now, &mut answers);
        }
        for answer in answers {
            link.send(now, End::Server, client.peer.unwrap_or(0), answer);
        }
        if let Some(running) = &mut transfer {
            running.timeout(now);
            while let Some(segment) = running.poll_transmit(now, &mut out, 16) {
                for datagram in out.chunks(segment) {
                    link.send(now, End::Client, port, datagram.to_vec());
                }
                out.clear();
            }
            if let Some(outcome) = running.outcome() {
                outcomes.push(outcome.clone());
                retransmitted += running.stats().retransmitted;
                if *outcome == Outcome::Complete {
                    assert_eq!(
                        client.state,
                        State::Done,
                        "complete without a client that has it all"
                    );
                }
                transfer = None;
            }
        }
        if client.state == State::Done {
            assert!(client.file() == *image.bytes, "a wrong file of {} bytes", client.file.len());
        }
        let next = link
            .under_way
            .first_key_value()
            .map(|((arrival, _), _)| *arrival)
            .into_iter()
            .chain(transfer.as_ref().and_then(Transfer::deadline))
            .chain((client.state == State::Reading).then_some(client.deadline))
            .chain(arrivals.iter().map(|(at, _)| *at).find(|at| *at > now && transfer.is_some()))
            .min();
        let Some(next) = next else {
            return Report { state: client.state, outcomes, datagrams: link.sent, retransmitted };
        };
        now = now.max(next);
        assert!(now.duration_since(start) < Duration::from_secs(4000), "stuck");
    }
    panic!("a storm: {} datagrams", link.sent);
}

fn setup() -> impl Strategy<Value = Setup> {
    let size =
        prop_oneof![proptest::sample::select(vec![0_usize, 511, 512, 513, 1024]), 0..9000_usize,];
    (size, proptest::sample::select(vec![512_usize, 8, 64, 1428]), 1..20_usize, any::<[bool; 3]>())
        .prop_map(|(size, block_size, window, [chatty, to_one, netascii])| Setup {
            size: if block_size == 8 { size / 16 } else { size },
            block_size,
            window: if window > 12 { 1 } else { window },
            habit: if chatty { Habit::Chatty } else { Habit::Silent },
            rollover: if to_one { Rollover::ToOne } else { Rollover::ToZero },
            netascii,
            arrivals: Vec::new(),
            size_is_told: true,
        })
}

/// As [`setup`], with an image that arrives while it is sent, now and then more slowly than a client waits for.
fn arriving() -> impl Strategy<Value = Setup> {
    let pause = prop_oneof![4 => 0..100_u16, 2 => 0..1500_u16, 1 => 0..9000_u16];
    let arrivals = proptest::collection::vec(pause, 1..20);
    (setup(), arrivals, any::<bool>()).prop_map(|(setup, arrivals, size_is_told)| Setup {
        arrivals,
        size_is_told,
        ..setup
    })
}

fn fates(loss: u32) -> impl Strategy<Value = Vec<Fate>> {
    let delay = prop_oneof![6 => 0..5_u16, 2 => 0..100_u16, 1 => 0..4000_u16];
    let fate = prop_oneof![
        loss => Just(Vec::new()),
        20 => delay.clone().prop_map(|delay| vec![delay]),
        2 => proptest::collection::vec(delay, 2..4),
    ];
    proptest::collection::vec(fate, 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_schedule_ends_in_the_exact_file_or_a_clean_error(setup in setup(), fates in fates(6)) {
        let report = run(&setup, fates, true);
        prop_assert_ne!(report.state, State::Reading);
        prop_assert_ne!(report.state, State::Refused);
        let clean = |outcome: &Outcome| {
            matches!(outcome, Outcome::Complete | Outcome::Unconfirmed | Outcome::TimedOut)
        };
        prop_assert!(report.outcomes.iter().all(clean), "{:?}", report.outcomes);
    }

    #[test]
    fn a_link_that_loses_little_always_delivers(setup in setup(), fates in fates(1)) {
        prop_assert_eq!(run(&setup, fates, false).state, State::Done);
    }

    #[test]
    fn an_image_that_arrives_while_it_is_sent_is_sent_whole(setup in arriving(), fates in fates(1)) {
        prop_assert_eq!(run(&setup, fates, false).state, State::Done);
    }

    #[test]
    fn an_image_that_arrives_over_a_bad_link_ends_in_the_exact_file_or_a_clean_error(
        setup in arriving(),
        fates in fates(6),
    ) {
        let report = run(&setup, fates, true);
        prop_assert!(matches!(report.state, State::Done | State::GaveUp), "{:?}", report.state);
    }

    #[test]
    fn a_link_that_repeats_everything_does_not_multiply_the_packets(setup in setup()) {
        let once = run(&setup, vec![vec![1]; 5000], false);
        let twice = run(&setup, vec![vec![1, 2]; 5000], false);
        prop_assert_eq!(once.state, State::Done);
        prop_assert_eq!(twice.state, State::Done);
        prop_assert_eq!(once.retransmitted, 0);
        // Each datagram arrives twice, and a chatty client answers each; one window in two may be believed lost.
        prop_assert!(twice.datagrams <= once.datagrams * 8 + 100,
            "{} instead of {}", twice.datagrams, once.datagrams);
        if setup.window == 1 {
            prop_assert_eq!(twice.retransmitted, 0);
        }
    }
}
