//! The state machine of a transfer on simulated time: which packet causes which, and when.

#![cfg(test)]

mod images;

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use offhook_tftp::{Image, Limits, Mode, Options, Outcome, Packet, Request, Rollover, Transfer};

/// A transfer, its clock, and what it has sent.
struct Bench<I> {
    transfer: Transfer<I>,
    start: Instant,
    now: Instant,
}

fn bytes(size: usize) -> Arc<[u8]> {
    (0..size).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

fn options(text: &str) -> Vec<u8> {
    text.replace('/', "\0").into_bytes()
}

impl<I: Image> Bench<I> {
    fn with(image: I, mode: Mode, asked: &str, limits: &Limits) -> Self {
        let asked = options(asked);
        let request = Request { name: b"f", mode, options: Options::new(&asked) };
        let now = Instant::now();
        Self { transfer: Transfer::new(&request, image, limits, now), start: now, now }
    }

    fn new(image: I, asked: &str) -> Self {
        Self::with(image, Mode::Octet, asked, &Limits::default())
    }

    /// What it sends now, datagram by datagram.
    fn sent(&mut self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut out = Vec::new();
        while let Some(segment) = self.transfer.poll_transmit(self.now, &mut out, 7) {
            all.extend(out.chunks(segment).map(<[u8]>::to_vec));
            out.clear();
        }
        all
    }

    /// The numbers of the DATA packets it sends now.
    fn blocks(&mut self) -> Vec<u16> {
        let number = |packet: Vec<u8>| match Packet::decode(&packet) {
            Ok(Packet::Data { block, .. }) => block,
            other => panic!("{other:?}"),
        };
        self.sent().into_iter().map(number).collect()
    }

    fn ack(&mut self, block: u16) -> &mut Self {
        self.transfer.handle(self.now, &Packet::Ack { block });
        self
    }

    fn error(&mut self, code: u16) -> &mut Self {
        self.transfer.handle(self.now, &Packet::Error { code, message: b"" });
        self
    }

    fn wait(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self.transfer.timeout(self.now);
        self
    }

    /// Lets the timer run out, and says at which millisecond since the start that was.
    fn wait_for_timer(&mut self) -> Option<u128> {
        self.now = self.transfer.deadline()?;
        self.transfer.timeout(self.now);
        Some(self.now.duration_since(self.start).as_millis())
    }

    fn outcome(&self) -> Option<&Outcome> {
        self.transfer.outcome()
    }
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Reads the whole file in lock step; returns it and the number of blocks.
fn read_all<I: Image>(bench: &mut Bench<I>) -> (Vec<u8>, u64) {
    let mut file = Vec::new();
    let mut blocks = 0;
    while bench.outcome().is_none() {
        for packet in bench.sent() {
            let Ok(Packet::Data { block, payload }) = Packet::decode(&packet) else { panic!() };
            file.extend_from_slice(payload);
            blocks += 1;
            bench.ack(block);
        }
    }
    (file, blocks)
}

#[test]
fn without_options_data_1_comes_at_once() {
    let mut bench = Bench::new(bytes(600), "unknown/1/");
    let file = bytes(600);
    assert_eq!(bench.sent(), [[b"\0\x03\0\x01", &file[..512]].concat()]);
    bench.ack(1);
    assert_eq!(bench.sent(), [[b"\0\x03\0\x02", &file[512..]].concat()]);
    assert_eq!(bench.ack(2).outcome(), Some(&Outcome::Complete));
    assert_eq!(bench.transfer.deadline(), None);
    assert!(bench.sent().is_empty());
    assert_eq!(bench.transfer.stats().bytes, 600);
    assert_eq!(bench.transfer.stats().retransmitted, 0);
}

#[test]
fn files_of_every_border_size_end_in_a_short_block() {
    for (size, blocks) in [(0, 1), (511, 1), (512, 2), (513, 2), (1024, 3)] {
        let mut bench = Bench::new(bytes(size), "");
        let (file, seen) = read_all(&mut bench);
        assert_eq!((file.as_slice(), seen), (&bytes(size)[..], blocks), "{size}");
        assert_eq!(bench.outcome(), Some(&Outcome::Complete));
    }
}

#[test]
fn data_1_follows_the_ack_of_the_oack_and_nothing_else() {
    let mut bench = Bench::new(bytes(10), "tsize/0/blksize/8/");
    assert_eq!(bench.sent(), [b"\0\x06tsize\x0010\0blksize\x008\0"]);
    assert!(bench.ack(1).sent().is_empty());
    assert_eq!(bench.ack(0).sent(), [[b"\0\x03\0\x01", &bytes(10)[..8]].concat()]);
    assert!(bench.ack(0).sent().is_empty());
}

#[test]
fn an_ack_before_the_oack_is_sent_does_nothing() {
    let mut bench = Bench::new(bytes(10), "tsize/0/");
    bench.ack(0);
    assert_eq!(bench.sent().len(), 1);
    assert_eq!(bench.ack(0).blocks(), [1]);
}

#[test]
fn an_old_ack_never_causes_a_packet() {
    let mut bench = Bench::new(bytes(5000), "");
    assert_eq!(bench.blocks(), [1]);
    assert_eq!(bench.ack(1).blocks(), [2]);
    for _ in 0..10 {
        assert!(bench.ack(1).sent().is_empty());
        assert!(bench.wait(ms(50)).ack(0).sent().is_empty());
    }
    assert_eq!(bench.ack(2).blocks(), [3]);
    assert!(bench.ack(1).ack(2).ack(0).sent().is_empty());
    assert_eq!(bench.transfer.stats().retransmitted, 0);
}

#[test]
fn an_ack_of_a_block_that_was_never_sent_is_ignored() {
    let mut bench = Bench::new(bytes(5000), "");
    assert_eq!(bench.blocks(), [1]);
    assert!(bench.ack(2).ack(3).ack(0xffff).sent().is_empty());
    assert_eq!(bench.ack(1).blocks(), [2]);
}

#[test]
fn packets_that_are_no_ack_are_ignored() {
    let mut bench = Bench::new(bytes(5000), "");
    assert_eq!(bench.blocks(), [1]);
    let request = Request { name: b"f", mode: Mode::Octet, options: Options::default() };
    for packet in [
        Packet::ReadRequest(request),
        Packet::WriteRequest(request),
        Packet::Data { block: 1, payload: b"x" },
        Packet::OptionAck(Options::default()),
    ] {
        bench.transfer.handle(bench.now, &packet);
        assert!(bench.sent().is_empty());
    }
    assert_eq!(bench.ack(1).blocks(), [2]);
}

#[test]
fn the_timer_sends_again_with_back_off_and_then_gives_up() {
    let mut bench = Bench::new(bytes(5000), "");
    assert_eq!(bench.blocks(), [1]);
    assert!(bench.wait(ms(999)).sent().is_empty());
    let mut times = Vec::new();
    while let Some(time) = bench.wait_for_timer() {
        times.push(time);
        if bench.outcome().is_none() {
            assert_eq!(bench.blocks(), [1]);
        }
    }
    assert_eq!(times, [1000, 3000, 7000, 15000, 23000, 31000, 39000]);
    assert_eq!(bench.outcome(), Some(&Outcome::TimedOut));
    assert!(bench.sent().is_empty(), "a client that is gone is told nothing");
    assert_eq!(bench.transfer.stats().retransmitted, 6);
}

#[test]
fn a_negotiated_timeout_is_the_first_interval() {
    let mut bench = Bench::new(bytes(5000), "timeout/5/");
    assert_eq!(bench.sent(), [b"\0\x06timeout\x005\0"]);
    assert_eq!(bench.wait_for_timer(), Some(5000));
    assert_eq!(bench.sent(), [b"\0\x06timeout\x005\0"]);
    assert_eq!(bench.wait_for_timer(), Some(13000));
}

#[test]
fn a_negotiated_timeout_of_minutes_is_bounded_too() {
    let mut bench = Bench::new(bytes(5000), "timeout/255/");
    bench.sent();
    let mut times = Vec::new();
    while let Some(time) = bench.wait_for_timer() {
        bench.sent();
        times.push(time);
    }
    assert_eq!(times, [255_000, 510_000]);
}

#[test]
fn progress_resets_the_back_off_and_a_lossy_link_is_retried_sooner() {
    let mut bench = Bench::new(bytes(5000), "");
    bench.sent();
    bench.wait_for_timer();
    bench.sent();
    assert_eq!(bench.transfer.retransmission_timeout(), ms(2000));
    assert_eq!(bench.ack(1).blocks(), [2]);
    // How long a round trip takes is not known yet: the link may be slow, and not lossy.
    assert_eq!(bench.transfer.retransmission_timeout(), ms(1000));
    assert_eq!(bench.ack(2).blocks(), [3]);
    assert_eq!(bench.ack(3).blocks(), [4]);
    // One loss may be an accident.
    assert_eq!(bench.transfer.retransmission_timeout(), ms(1000));
    bench.wait_for_timer();
    bench.sent();
    assert_eq!(bench.ack(4).blocks(), [5]);
    assert_eq!(bench.transfer.retransmission_timeout(), ms(50));
}

#[test]
fn a_gap_that_the_client_reports_has_the_timer_run_faster_too() {
    let mut bench = Bench::new(bytes(20_000), "windowsize/4/");
    bench.sent();
    assert_eq!(bench.ack(0).blocks(), [1, 2, 3, 4]);
    assert_eq!(bench.ack(4).blocks(), [5, 6, 7, 8]);
    assert_eq!(bench.transfer.retransmission_timeout(), ms(1000));
    assert_eq!(bench.ack(6).blocks(), [7, 8, 9, 10]);
    assert_eq!(bench.transfer.retransmission_timeout(), ms(1000));
    assert_eq!(bench.ack(10).blocks(), [11, 12, 13, 14]);
    assert_eq!(bench.ack(12).blocks(), [13, 14, 15, 16]);
    assert_eq!(bench.transfer.retransmission_timeout(), ms(50));
}

#[test]
fn a_transfer_that_has_lost_a_packet_is_not_given_up_sooner_than_another() {
    let intervals = |loses: bool| {
        let mut bench = Bench::new(bytes(5000), "");
        assert_eq!(bench.blocks(), [1]);
        assert_eq!(bench.ack(1).blocks(), [2]);
        for block in 2..5 {
            assert_eq!(bench.ack(block).blocks(), [block + 1]);
            if loses {
                bench.wait_for_timer();
                bench.sent();
            }
        }
        assert_eq!(bench.ack(5).blocks(), [6]);
        let (mut intervals, mut last) =
            (Vec::new(), bench.now.duration_since(bench.start).as_millis());
        while let Some(at) = bench.wait_for_timer() {
            intervals.push(at - std::mem::replace(&mut last, at));
            bench.sent();
        }
        assert_eq!(bench.outcome(), Some(&Outcome::TimedOut));
        intervals
    };
    let (usual, lossy) = (intervals(false), intervals(true));
    assert_eq!(usual, [1000, 2000, 4000, 8000, 8000, 8000, 8000]);
    assert_eq!(lossy, [50, 200, 400, 800, 1600, 3200, 6400, 8000, 8000, 8000, 8000]);
}

#[test]
fn round_trips_longer_than_the_timer_stretch_it() {
    let mut bench = Bench::new(bytes(50_000), "");
    for block in 1..20 {
        assert_eq!(bench.blocks(), [block]);
        bench.now += ms(900);
        bench.ack(block);
    }
    let timeout = bench.transfer.retransmission_timeout();
    assert!((ms(1000)..ms(1300)).contains(&timeout), "{timeout:?}");
    for block in 20..40 {
        assert_eq!(bench.blocks(), [block]);
        bench.now += ms(1800);
        bench.ack(block);
    }
    let timeout = bench.transfer.retransmission_timeout();
    assert!((ms(1800)..ms(3000)).contains(&timeout), "{timeout:?}");
}

#[test]
fn a_lost_last_ack_is_no_alarm() {
    let mut bench = Bench::new(bytes(10), "");
    bench.sent();
    while bench.wait_for_timer().is_some() {
        bench.sent();
    }
    assert_eq!(bench.outcome(), Some(&Outcome::Unconfirmed));
}

#[test]
fn an_error_ends_it_in_silence() {
    let mut bench = Bench::new(bytes(5000), "");
    bench.sent();
    assert!(bench.error(3).ack(1).sent().is_empty());
    assert_eq!(bench.outcome(), Some(&Outcome::Aborted { code: 3, message: (*b"").into() }));
    assert_eq!(bench.wait_for_timer(), None);
}

#[test]
fn error_8_after_the_oack_is_a_size_probe() {
    let mut bench = Bench::new(bytes(5000), "tsize/0/");
    bench.sent();
    assert!(bench.error(8).sent().is_empty());
    assert_eq!(bench.outcome(), Some(&Outcome::Declined));
}

#[test]
fn a_repeated_request_repeats_the_first_packet_and_replaces_a_running_transfer() {
    let mut bench = Bench::new(bytes(5000), "tsize/0/");
    bench.sent();
    assert!(bench.transfer.request_repeated());
    assert_eq!(bench.sent(), [b"\0\x06tsize\x005000\0"]);
    assert_eq!(bench.ack(0).blocks(), [1]);
    assert!(!bench.transfer.request_repeated());

    let mut bench = Bench::new(bytes(5000), "");
    assert_eq!(bench.blocks(), [1]);
    assert!(bench.transfer.request_repeated());
    assert_eq!(bench.blocks(), [1]);
    bench.ack(1);
    assert!(!bench.transfer.request_repeated());
}

#[test]
fn a_window_goes_out_at_once_and_its_last_ack_brings_the_next() {
    let mut bench = Bench::new(bytes(5000), "windowsize/4/");
    assert_eq!(bench.sent(), [b"\0\x06windowsize\x004\0"]);
    assert_eq!(bench.ack(0).blocks(), [1, 2, 3, 4]);
    assert_eq!(bench.ack(4).blocks(), [5, 6, 7, 8]);
    assert_eq!(bench.ack(8).blocks(), [9, 10]);
    assert_eq!(bench.ack(10).outcome(), Some(&Outcome::Complete));
}

#[test]
fn an_ack_inside_a_window_reports_a_gap_once() {
    let mut bench = Bench::new(bytes(9000), "windowsize/4/");
    bench.sent();
    assert_eq!(bench.ack(0).blocks(), [1, 2, 3, 4]);
    assert_eq!(bench.ack(2).blocks(), [3, 4, 5, 6]);
    assert!(bench.ack(2).ack(2).sent().is_empty());
    assert_eq!(bench.ack(6).blocks(), [7, 8, 9, 10]);
}

#[test]
fn after_a_timeout_a_window_goes_out_in_smaller_bursts_which_grow_again() {
    let mut bench = Bench::new(bytes(60_000), "windowsize/16/");
    bench.sent();
    assert_eq!(bench.ack(0).blocks().len(), 16);
    // Half at once, the rest after a pause that is no retransmission.
    assert_eq!(bench.wait_for_timer(), Some(1000));
    assert_eq!(bench.blocks(), (1..=8).collect::<Vec<_>>());
    assert_eq!(bench.wait_for_timer(), Some(1001));
    assert_eq!(bench.blocks(), (9..=16).collect::<Vec<_>>());
    assert_eq!((bench.transfer.stats().timeouts, bench.blocks().len()), (1, 0));
    // Again: a quarter. An ACK in a pause ends it.
    bench.wait_for_timer();
    assert_eq!(bench.blocks(), (1..=4).collect::<Vec<_>>());
    assert_eq!(bench.ack(4).blocks(), (5..=8).collect::<Vec<_>>());
    let mut bursts = vec![];
    let (mut acknowledged, mut last) = (4, 8);
    while bursts.last() != Some(&16) {
        while last < acknowledged + 16 {
            bench.wait_for_timer();
            last += bench.blocks().len() as u16;
        }
        acknowledged = last;
        let burst = bench.ack(last).blocks().len();
        last += burst as u16;
        bursts.push(burst);
    }
    assert_eq!(bursts, [6, 8, 10, 12, 14, 16]);
    assert_eq!(bench.transfer.stats().timeouts, 2);
}

#[test]
fn an_ack_before_a_window_reports_its_first_block_missing_but_echoes_die_out() {
    let mut bench = Bench::new(bytes(20_000), "windowsize/4/");
    bench.sent();
    assert_eq!(bench.ack(0).blocks(), [1, 2, 3, 4]);
    assert_eq!(bench.ack(0).blocks(), [1, 2, 3, 4]);
    assert!(bench.ack(0).sent().is_empty());
    // The client had the window after all, and acknowledges both copies: that must not double the next one.
    assert_eq!(bench.ack(4).blocks(), [5, 6, 7, 8]);
    assert!(bench.ack(4).sent().is_empty());
    assert_eq!(bench.ack(8).blocks(), [9, 10, 11, 12]);
    assert_eq!(bench.ack(8).blocks(), [9, 10, 11, 12]);
}

#[test]
fn an_ack_that_comes_twice_on_a_link_that_repeats_everything_repeats_no_window() {
    let mut bench = Bench::new(bytes(20_000), "windowsize/4/");
    bench.sent();
    assert_eq!(bench.wait(ms(10)).ack(0).blocks(), [1, 2, 3, 4]);
    for round in 0..5 {
        let last = round * 4;
        assert!(bench.wait(ms(1)).ack(last).sent().is_empty(), "{round}");
        let next = [1, 2, 3, 4].map(|block| last + 4 + block);
        assert_eq!(bench.wait(ms(9)).ack(last + 4).blocks(), next);
    }
    // As late as the client can have seen that its first block is missing.
    assert_eq!(bench.wait(ms(5)).ack(20).blocks(), [21, 22, 23, 24]);
}

#[test]
fn a_window_that_timed_out_may_be_acknowledged_late() {
    let mut bench = Bench::new(bytes(9000), "windowsize/4/");
    bench.sent();
    assert_eq!(bench.ack(0).blocks(), [1, 2, 3, 4]);
    bench.wait(ms(1000));
    // The ACK was under way: block 5 follows, and 1 to 4 need not be sent again.
    assert_eq!(bench.ack(4).blocks(), [5, 6, 7, 8]);
    bench.wait(ms(1000));
    assert_eq!(bench.blocks(), [5, 6, 7, 8]);
    assert_eq!(bench.ack(6).blocks(), [7, 8, 9, 10]);
}

/// 32 MiB and more without memory: byte `i` is a hash of `i`.
struct Virtual(u64);

fn virtual_byte(i: u64) -> u8 {
    (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

impl Image for Virtual {
    fn size(&self) -> Option<u64> {
        Some(self.0)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let count = into.len().min(self.0.saturating_sub(offset) as usize);
        for (byte, i) in into[..count].iter_mut().zip(offset..) {
            *byte = virtual_byte(i);
        }
        Ok(count)
    }
}

#[test]
fn block_numbers_roll_over_to_0_or_1() {
    const SIZE: u64 = 65535 * 8 + 1 + 8 * 65535;
    for (rollover, asked, after) in [
        (Rollover::ToZero, "blksize/8/", 0),
        (Rollover::ToOne, "blksize/8/", 1),
        (Rollover::ToZero, "blksize/8/windowsize/7/", 0),
        (Rollover::ToOne, "blksize/8/windowsize/7/", 1),
    ] {
        let limits = Limits { rollover, ..Limits::default() };
        let mut bench = Bench::with(Virtual(SIZE), Mode::Octet, asked, &limits);
        bench.sent();
        bench.ack(0);
        let (mut offset, mut before) = (0, 0);
        let mut rolled = 0;
        while bench.outcome().is_none() {
            let packets = bench.sent();
            assert!(!packets.is_empty(), "stuck at {offset} with {rollover:?} {asked}");
            for packet in packets {
                let Ok(Packet::Data { block, payload }) = Packet::decode(&packet) else { panic!() };
                let expected = if before == 0xffff { after } else { before + 1 };
                rolled += u32::from(before == 0xffff);
                assert_eq!(block, expected);
                assert!(payload.iter().zip(offset..).all(|(byte, i)| *byte == virtual_byte(i)));
                offset += payload.len() as u64;
                before = block;
            }
            bench.ack(before);
        }
        assert_eq!((offset, rolled), (SIZE, 2 - u32::from(after == 0)), "{rollover:?} {asked}");
        assert_eq!(bench.outcome(), Some(&Outcome::Complete));
    }
}

#[test]
fn a_file_of_more_than_65535_blocks_of_512_arrives() {
    let mut bench = Bench::new(Virtual(65535 * 512 + 1), "");
    let (mut offset, mut blocks) = (0, 0_u64);
    while bench.outcome().is_none() {
        for packet in bench.sent() {
            let Ok(Packet::Data { block, payload }) = Packet::decode(&packet) else { panic!() };
            assert_eq!(payload.first().copied(), Some(virtual_byte(offset)));
            offset += payload.len() as u64;
            blocks += 1;
            bench.ack(block);
        }
    }
    assert_eq!((offset, blocks), (65535 * 512 + 1, 65536));
}

#[test]
fn netascii_is_converted_and_resent_across_block_borders() {
    let text: Arc<[u8]> = b"1234567\n\r\nabcdefgh\n".as_slice().into();
    let limits = Limits::default();
    let mut bench = Bench::with(text, Mode::Netascii, "blksize/8/windowsize/3/tsize/0/", &limits);
    assert_eq!(bench.sent(), [b"\0\x06blksize\x008\0windowsize\x003\0"]);
    let data = |block: u8, payload: &[u8]| [&[0, 3, 0, block], payload].concat();
    let (one, two, three) =
        (data(1, b"1234567\r"), data(2, b"\n\r\0\r\nabc"), data(3, b"defgh\r\n"));
    assert_eq!(bench.ack(0).sent(), [one, two.clone(), three.clone()]);
    // A gap after block 1: what follows begins in the middle of a pair.
    assert_eq!(bench.ack(1).sent(), [two, three]);
    assert_eq!(bench.ack(3).outcome(), Some(&Outcome::Complete));
}
