//! One read transfer, from the server's side.
//!
//! The image is cut into blocks numbered from 1. `base` is the last block acknowledged, `next` the last one sent
//! in the present window; a window is `base + 1 ..= base + window`. Going back means setting `next` to `base`.
//! Blocks are read again from the image when they are sent again, so a transfer keeps none of them.

mod pace;
mod timer;

use std::io;
use std::time::{Duration, Instant};

use crate::netascii::{Cursor, netascii_block, octet_block};
use crate::packet::data_header;
use crate::{Image, Limits, Mode, Packet, Refusal, Request, Rollover, Terms};
use pace::Pace;
use timer::Timer;

/// How a transfer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The client has acknowledged the last block.
    Complete,
    /// The last block is sent, and its acknowledgement never came. Clients that have all they want are often gone
    /// by then: no reason for an alarm.
    Unconfirmed,
    /// The client answered the OACK with an ERROR: it asked for the size only, or goes on with other options.
    Declined,
    /// The client sent an ERROR. A phone that has seen that its firmware is current does so too.
    Aborted {
        /// The code, whether known or not.
        code: u16,
        /// The text.
        message: Box<[u8]>,
    },
    /// The client fell silent.
    TimedOut,
    /// The image could not be read, or became shorter.
    Failed(io::ErrorKind),
}

/// What a transfer has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of the image in acknowledged blocks.
    pub bytes: u64,
    /// ACKs that acknowledged anything new, that of the OACK among them.
    pub progress: u64,
    /// Packets sent again.
    pub retransmitted: u64,
    /// Times the timer ran out.
    pub timeouts: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Position {
    /// How many blocks come before.
    block: u64,
    cursor: Cursor,
}

#[derive(Debug)]
enum Phase {
    /// The OACK is out, or to be sent; DATA 1 follows on the ACK of block 0.
    Negotiating {
        option_ack: Vec<u8>,
        send: bool,
        sent: u64,
    },
    Sending,
    /// An ERROR is to be sent, then it is over.
    Failing(io::ErrorKind),
    Over(Outcome),
}

/// What happened to the present window and the one before, so that a client's repeated ACK is believed when it
/// reports a gap, and never when it may be an echo of our own repetition.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    /// The present window was begun again.
    rewound: bool,
    /// ... and the client may have had it whole already: what it acknowledges now it may acknowledge twice.
    doubled: bool,
    /// The window before was.
    doubled_before: bool,
}

/// A read transfer: the server's side of it.
///
/// Drive it with [`handle`](Self::handle) and [`timeout`](Self::timeout), and after each of them send what
/// [`poll_transmit`](Self::poll_transmit) gives until it gives nothing, then look at [`outcome`](Self::outcome).
#[derive(Debug)]
pub struct Transfer<I> {
    image: I,
    mode: Mode,
    terms: Terms,
    rollover: Rollover,
    phase: Phase,
    base: Position,
    next: Position,
    /// The highest block ever sent.
    highest: u64,
    /// The number of the last block, once it was read.
    last: Option<u64>,
    /// The next block is not here yet: nothing can be sent before it is, and the client's silence means nothing.
    starved: bool,
    round: Round,
    timer: Timer,
    pace: Pace,
    stats: Stats,
}

impl<I: Image> Transfer<I> {
    /// A transfer of `image` for a request that [`crate::first_contact`] let through. Its first packet is ready.
    pub fn new(request: &Request<'_>, image: I, limits: &Limits, now: Instant) -> Self {
        let terms = Terms::negotiate(request.options, request.mode, image.size(), limits);
        let phase = match terms.option_ack() {
            Some(option_ack) => Phase::Negotiating { option_ack, send: true, sent: 0 },
            None => Phase::Sending,
        };
        Self {
            image,
            mode: request.mode,
            timer: Timer::new(limits, terms.timeout, now),
            rollover: limits.rollover,
            pace: Pace::new(terms.window),
            terms,
            phase,
            base: Position::default(),
            next: Position::default(),
            highest: 0,
            last: None,
            starved: false,
            round: Round::default(),
            stats: Stats::default(),
        }
    }

    /// Takes a packet from the client. Anything but an ACK that fits and an ERROR is ignored.
    pub fn handle(&mut self, now: Instant, packet: &Packet<'_>) {
        match (&self.phase, packet) {
            (Phase::Over(_) | Phase::Failing(_), _) => {}
            (Phase::Negotiating { .. }, Packet::Error { .. }) => self.end(Outcome::Declined),
            (_, Packet::Error { code, message }) => {
                self.end(Outcome::Aborted { code: *code, message: (*message).into() });
            }
            (Phase::Negotiating { sent: 1.., .. }, Packet::Ack { block: 0 }) => {
                self.phase = Phase::Sending;
                self.stats.progress += 1;
                self.timer.progress(now, self.stats.retransmitted == 0);
            }
            (Phase::Sending, Packet::Ack { block }) => self.acknowledged(now, *block),
            _ => {}
        }
    }

    /// The client has sent its request once more. When nothing of this transfer was acknowledged yet, its first
    /// packet is sent again and the result is true; else a new transfer is to replace this one.
    pub fn request_repeated(&mut self) -> bool {
        match &mut self.phase {
            Phase::Negotiating { send, .. } => *send = true,
            Phase::Sending if self.base.block == 0 && self.terms.accepted.is_empty() => {
                self.next = self.base;
                self.pace.begin();
            }
            _ => return false,
        }
        true
    }

    /// Looks at the clock: past the [`deadline`](Self::deadline) the rest of a window goes out, or the present one is
    /// sent again, or the transfer given up. Before it nothing happens; nor while the image has to wait for its bytes,
    /// but that it is to be asked for them once more.
    pub fn timeout(&mut self, now: Instant) {
        if self.pace.resume(now)
            || matches!(self.phase, Phase::Over(_))
            || now < self.timer.deadline()
        {
            return;
        }
        if self.starved {
            self.timer.wait(now);
            return;
        }
        self.stats.timeouts += 1;
        if !self.timer.expired(now) {
            let all_sent = self.last.is_some_and(|last| self.next.block == last);
            self.end(if all_sent { Outcome::Unconfirmed } else { Outcome::TimedOut });
            return;
        }
        match &mut self.phase {
            Phase::Negotiating { send, .. } => *send = true,
            _ => {
                self.pace.lost();
                self.rewind(true);
            }
        }
    }

    /// When [`timeout`](Self::timeout) is due; none once the transfer is over.
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Over(_) => None,
            _ => {
                let timer = self.timer.deadline();
                Some(self.pace.resume_at().map_or(timer, |resume| resume.min(timer)))
            }
        }
    }

    /// Appends the datagrams to be sent now to `out`, at most `most` of them, and says how long each is; the last
    /// may be shorter. None: there is nothing to send, or the image has to wait for its bytes.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>, most: usize) -> Option<usize> {
        if most == 0 {
            return None;
        }
        let start = out.len();
        match &mut self.phase {
            Phase::Over(_) => return None,
            Phase::Negotiating { option_ack, send, sent } => {
                if !std::mem::take(send) {
                    return None;
                }
                self.stats.retransmitted += u64::from(*sent > 0);
                *sent += 1;
                out.extend_from_slice(option_ack);
            }
            Phase::Sending => {
                let full = 4 + usize::from(self.terms.block_size);
                for _ in 0..most {
                    if !self.may_send() {
                        break;
                    }
                    if !self.pace.allows() {
                        self.pace.pause(now, self.timer.round_trip());
                        break;
                    }
                    match self.write_block(out) {
                        Ok(()) => self.starved = false,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            self.starved = true;
                            break;
                        }
                        Err(error) => {
                            self.phase = Phase::Failing(error.kind());
                            break;
                        }
                    }
                }
                if out.len() == start {
                    // Reading may have failed at once: then the ERROR is what there is to send.
                    return match self.phase {
                        Phase::Failing(_) => self.poll_transmit(now, out, most),
                        _ => None,
                    };
                }
                self.timer.sent(now);
                return Some(full.min(out.len() - start));
            }
            Phase::Failing(kind) => {
                let kind = *kind;
                out.extend(Refusal::from(kind).packet());
                self.end(Outcome::Failed(kind));
            }
        }
        self.timer.sent(now);
        Some(out.len() - start)
    }

    /// Whether the image has to wait for the bytes that are to be sent next: to be asked again once there are more.
    pub fn is_starved(&self) -> bool {
        self.starved && !matches!(self.phase, Phase::Over(_))
    }

    /// How it ended, once it has.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.phase {
            Phase::Over(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// What it has cost so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// What was agreed on.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The image.
    pub fn image(&self) -> &I {
        &self.image
    }

    fn may_send(&self) -> bool {
        let window_end = self.base.block + u64::from(self.terms.window);
        self.next.block < self.last.unwrap_or(u64::MAX).min(window_end)
    }

    fn write_block(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let number = self.next.block + 1;
        let start = out.len();
        out.extend(data_header(self.wire(number)));
        let cursor = self.read_block(self.next.cursor, out).inspect_err(|_| out.truncate(start))?;
        if out.len() - start < 4 + usize::from(self.terms.block_size) {
            self.last = Some(number);
        }
        self.next = Position { block: number, cursor };
        self.pace.sent();
        self.stats.retransmitted += u64::from(number <= self.highest);
        self.highest = self.highest.max(number);
        Ok(())
    }

    fn read_block(&self, from: Cursor, out: &mut Vec<u8>) -> io::Result<Cursor> {
        let wanted = usize::from(self.terms.block_size);
        match self.mode {
            Mode::Netascii => netascii_block(&self.image, from, wanted, out),
            _ => octet_block(&self.image, from, wanted, out),
        }
    }

    fn acknowledged(&mut self, now: Instant, block: u16) {
        let ahead = self.blocks_ahead(block);
        if ahead == 0 {
            self.acknowledged_again(now, block);
            return;
        }
        let number = self.base.block + ahead;
        // Old, or of a block that was never sent.
        if number > self.highest {
            return;
        }
        let position =
            if number == self.next.block { Ok(self.next) } else { self.position(number) };
        match position {
            Ok(position) => self.base = position,
            // The bytes were here when the block was sent. Should they be gone, the timer will find out.
            Err(_) => return,
        }
        self.stats.bytes = self.base.cursor.offset;
        self.stats.progress += 1;
        if self.last == Some(number) {
            self.end(Outcome::Complete);
            return;
        }
        let whole = number == self.next.block && !self.round.rewound;
        self.timer.progress(now, whole);
        self.round = Round { doubled_before: self.round.doubled, ..Round::default() };
        if number < self.next.block {
            // The client misses what comes next: a window is acknowledged in the middle only then.
            self.timer.lost();
            self.rewind(false);
        } else {
            self.next = self.base;
            if whole {
                self.pace.arrived();
            }
            self.pace.begin();
        }
    }

    /// In lock step an ACK that comes twice never causes anything (the Sorcerer's Apprentice). In a window it may be
    /// how the client says that the first block is missing (RFC 7440, section 4): believed once, and not when
    /// it may be an echo of a window that it received twice, nor when it comes sooner than the client can have seen
    /// anything of this window.
    fn acknowledged_again(&mut self, now: Instant, block: u16) {
        let Round { rewound, doubled_before, .. } = self.round;
        let report = self.terms.window > 1
            && block == self.wire(self.base.block)
            && self.next.block > self.base.block
            && !rewound
            && !doubled_before
            && self.timer.may_be_answered(now);
        if report {
            self.rewind(true);
        }
    }

    fn rewind(&mut self, doubled: bool) {
        self.next = self.base;
        self.round.rewound = true;
        self.round.doubled |= doubled;
        self.pace.begin();
    }

    /// Where block `number` ends; it is in the present window.
    fn position(&self, number: u64) -> io::Result<Position> {
        if self.mode != Mode::Netascii && self.last.is_none_or(|last| number < last) {
            let offset = number * u64::from(self.terms.block_size);
            return Ok(Position { block: number, cursor: Cursor { offset, pending: None } });
        }
        let mut position = self.base;
        let mut scratch = Vec::with_capacity(self.terms.block_size.into());
        while position.block < number {
            scratch.clear();
            let cursor = self.read_block(position.cursor, &mut scratch)?;
            position = Position { block: position.block + 1, cursor };
        }
        Ok(position)
    }

    fn wire(&self, number: u64) -> u16 {
        match (self.rollover, number) {
            (_, 0) => 0,
            (Rollover::ToZero, _) => number as u16,
            (Rollover::ToOne, _) => ((number - 1) % 0xffff + 1) as u16,
        }
    }

    /// How far after `base` the next block lies whose number on the wire is this.
    fn blocks_ahead(&self, block: u16) -> u64 {
        match self.rollover {
            Rollover::ToZero => block.wrapping_sub(self.base.block as u16).into(),
            Rollover::ToOne => (u64::from(block) + 0xffff - self.base.block % 0xffff) % 0xffff,
        }
    }

    fn end(&mut self, outcome: Outcome) {
        self.phase = Phase::Over(outcome);
    }
}

impl<I> Transfer<I> {
    /// The time that a packet sent now is given before it is sent again.
    pub fn retransmission_timeout(&self) -> Duration {
        self.timer.interval()
    }
}
