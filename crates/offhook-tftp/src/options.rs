//! Option negotiation: RFC 2347, 2348, 2349 and 7440.

use std::fmt;
use std::time::Duration;

use crate::packet::option_ack_header;
use crate::{MAX_BLOCK_SIZE, Mode};

/// The options of a RRQ, WRQ or OACK: pairs of NUL-terminated strings, as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Options<'a>(&'a [u8]);

impl<'a> Options<'a> {
    /// From bytes as they stand in a packet. Any bytes will do.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The bytes as they stand in a packet.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Name and value of each option, in order. Without those of an empty name (padding), and without a last one
    /// that has no value; a last value without its NUL counts.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut strings = self.0.strip_suffix(&[0]).unwrap_or(self.0).split(|byte| *byte == 0);
        std::iter::from_fn(move || Some((strings.next()?, strings.next()?)))
            .filter(|(name, _)| !name.is_empty())
    }
}

impl fmt::Display for Options<'_> {
    /// `blksize=1468 tsize=0`, at most the first eight; what is no printable ASCII is escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.iter().take(8).enumerate() {
            let space = if index == 0 { "" } else { " " };
            let name = name.get(..32).unwrap_or(name);
            let value = value.get(..32).unwrap_or(value);
            write!(f, "{space}{}={}", name.escape_ascii(), value.escape_ascii())?;
        }
        Ok(())
    }
}

/// An option this server knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OptionName {
    /// `blksize`, RFC 2348: bytes in a block.
    BlockSize,
    /// `tsize`, RFC 2349: bytes in the file.
    TransferSize,
    /// `timeout`, RFC 2349: seconds before a retransmission.
    Timeout,
    /// `windowsize`, RFC 7440: blocks between two ACKs.
    WindowSize,
}

impl OptionName {
    const ALL: [Self; 4] = [Self::BlockSize, Self::TransferSize, Self::Timeout, Self::WindowSize];

    /// The name as the RFCs spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BlockSize => "blksize",
            Self::TransferSize => "tsize",
            Self::Timeout => "timeout",
            Self::WindowSize => "windowsize",
        }
    }

    fn parse(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|known| name.eq_ignore_ascii_case(known.as_str().as_bytes()))
    }
}

/// How block numbers go on after 65,535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Rollover {
    /// To 0, as nearly every client has it.
    #[default]
    ToZero,
    /// To 1.
    ToOne,
}

/// What the server is willing to do for one transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest `blksize` granted, in bytes: 8 to 65,464.
    pub block_size: u16,
    /// The largest `windowsize` granted, in blocks: 1 to [`Limits::MAX_WINDOW`].
    pub window: u16,
    /// How block numbers roll over.
    pub rollover: Rollover,
    /// The first retransmission comes this long after the packet, unless the client negotiates its own `timeout`
    /// or measured round trips need longer.
    pub timeout: Duration,
    /// As `timeout` for the first repetition of a packet, once the transfer has lost some and its round trips are
    /// known: a link that loses is not to stand still for long. The next one comes four times as long after that.
    pub timeout_after_loss: Duration,
    /// Back-off ends here, unless `timeout` starts above it.
    pub timeout_max: Duration,
    /// Retransmissions without any progress before a transfer is given up.
    pub retries: u32,
    /// After this long without any progress a transfer is given up even with retransmissions left, once it has had
    /// one: a client may negotiate time-outs of minutes.
    pub give_up: Duration,
}

impl Limits {
    /// The largest window for which an ACK's 16 bits still say without doubt which block is meant.
    pub const MAX_WINDOW: u16 = 32767;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            block_size: MAX_BLOCK_SIZE,
            window: 64,
            rollover: Rollover::ToZero,
            timeout: Duration::from_secs(1),
            timeout_after_loss: Duration::from_millis(50),
            timeout_max: Duration::from_secs(8),
            retries: 6,
            give_up: Duration::from_secs(120),
        }
    }
}

/// One option of an OACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Which one.
    pub name: OptionName,
    /// The name in the client's own spelling: one that compares it exactly finds it again.
    pub spelling: Box<[u8]>,
    /// The value granted.
    pub value: u64,
}

/// What client and server have agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Bytes in a block.
    pub block_size: u16,
    /// Blocks in a window; 1 is RFC 1350's lock step.
    pub window: u16,
    /// The `timeout` the client asked for, when that was accepted.
    pub timeout: Option<Duration>,
    /// The options to acknowledge, in the order they were asked; none: no OACK.
    pub accepted: Vec<Accepted>,
}

impl Terms {
    /// Negotiates. `size` is the image's in bytes, where known. Of a repeated option the first counts; an option
    /// that is unknown, or whose value is no number or out of range, is left out, as if it had not been asked.
    pub fn negotiate(options: Options<'_>, mode: Mode, size: Option<u64>, limits: &Limits) -> Self {
        let mut terms = Self { block_size: 512, window: 1, timeout: None, accepted: Vec::new() };
        let mut seen = Vec::with_capacity(OptionName::ALL.len());
        for (spelling, value) in options.iter() {
            let Some(name) = OptionName::parse(spelling) else { continue };
            if seen.contains(&name) {
                continue;
            }
            seen.push(name);
            let granted =
                number(value).and_then(|value| terms.grant(name, value, mode, size, limits));
            if let Some(value) = granted {
                terms.accepted.push(Accepted { name, spelling: spelling.into(), value });
            }
        }
        terms
    }

    fn grant(
        &mut self,
        name: OptionName,
        asked: u64,
        mode: Mode,
        size: Option<u64>,
        limits: &Limits,
    ) -> Option<u64> {
        match name {
            OptionName::BlockSize => {
                let most = limits.block_size.clamp(8, MAX_BLOCK_SIZE);
                self.block_size = at_most(asked, most, 8)?;
                Some(self.block_size.into())
            }
            OptionName::WindowSize => {
                let most = limits.window.clamp(1, Limits::MAX_WINDOW);
                self.window = at_most(asked, most, 1)?;
                Some(self.window.into())
            }
            OptionName::Timeout => {
                // Never another value than the one asked: RFC 2349 has it echoed or left out.
                let seconds = (1..=255).contains(&asked).then_some(asked)?;
                self.timeout = Some(Duration::from_secs(seconds));
                Some(seconds)
            }
            // In netascii the number of bytes sent is not known before they are, so it is left out. So is that of
            // an empty file: curl takes a `tsize` of 0 for an error.
            OptionName::TransferSize => size.filter(|size| mode == Mode::Octet && *size > 0),
        }
    }

    /// The OACK, when there is anything to acknowledge.
    pub fn option_ack(&self) -> Option<Vec<u8>> {
        if self.accepted.is_empty() {
            return None;
        }
        let mut packet = option_ack_header().to_vec();
        for Accepted { spelling, value, .. } in &self.accepted {
            packet.extend_from_slice(spelling);
            packet.push(0);
            packet.extend_from_slice(value.to_string().as_bytes());
            packet.push(0);
        }
        Some(packet)
    }
}

impl fmt::Display for Terms {
    /// `blksize=1468 tsize=16777216`: what was accepted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Accepted { name, value, .. }) in self.accepted.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{}={value}", name.as_str())?;
        }
        Ok(())
    }
}

fn at_most(asked: u64, most: u16, least: u64) -> Option<u16> {
    (asked >= least).then(|| u16::try_from(asked).unwrap_or(u16::MAX).min(most))
}

/// Decimal digits and nothing else; a number too large for 64 bits is as good as the largest.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = text.iter().fold(0_u64, |value, digit| {
        value.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    });
    Some(value)
}
