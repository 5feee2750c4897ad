//! What is known of a lease, packed.

use std::net::Ipv4Addr;
use std::ops::Deref;
use std::sync::atomic::AtomicU64;

use offhook_model::{HardwareAddress, Time};

use super::words::{Edit, Place, Words, load, units};

/// Names that one lease may have.
pub(super) const LABELS: usize = 3;

/// Octets of the longest label.
const LABEL: usize = 63;

/// Words before the texts: the owner's; address, TTL, pointer and ranks; lengths.
const HEAD: usize = 3;

/// Words after the texts, at which no reader looks.
const TAIL: usize = 3;

/// Octets of the texts at most: a hardware address with its type, and the labels.
const TEXTS: usize = (17 + LABELS * LABEL).next_multiple_of(8);

/// The place of a record's pointer that leads nowhere yet, but takes the place of one that led somewhere.
pub(super) const UNSETTLED: u8 = 0xff;

/// A lease that is live, and what it is called.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) address: Ipv4Addr,
    /// Of its DNS records at most, seconds; less than 256.
    pub(super) ttl: u32,
    /// Which of its labels its PTR record has, counted from one; zero for none.
    pub(super) pointer: u8,
    /// Those of its labels that are host names, a bit each.
    ranks: u8,
    pub(super) expires: Time,
    /// When to look whether it has ended, never after `expires`.
    pub(super) looked_at: Time,
    /// Its latest acknowledgement.
    pub(super) last: u64,
    /// Of the hardware address with its type, and of the labels.
    lengths: [u8; 1 + LABELS],
    texts: [u8; TEXTS],
}

/// By what a name is claimed, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Model,
    HostName,
}

impl Record {
    /// `labels`, at most [`LABELS`] of them: what it claims, the best for its PTR record first.
    pub(super) fn new<'a>(
        address: Ipv4Addr,
        hardware: HardwareAddress,
        ttl: u32,
        labels: impl Iterator<Item = (&'a str, Rank)>,
    ) -> Self {
        let time = Time::default();
        let mut record = Self {
            address,
            ttl,
            pointer: 0,
            ranks: 0,
            expires: time,
            looked_at: time,
            last: 0,
            lengths: [0; 1 + LABELS],
            texts: [0; TEXTS],
        };
        let mut end = 0;
        let mut add = |lengths: &mut [u8; 1 + LABELS], place: usize, text: &[u8]| {
            if let (Some(length), Some(to)) =
                (lengths.get_mut(place), record.texts.get_mut(end..end + text.len()))
            {
                to.copy_from_slice(text);
                end += text.len();
                // A label has at most 63 octets, and a hardware address 16.
                *length = text.len() as u8;
            }
        };
        let mut lengths = [0; 1 + LABELS];
        let hardware = [&[hardware.htype()], hardware.bytes()].concat();
        add(&mut lengths, 0, &hardware);
        for (place, (label, rank)) in labels.take(LABELS).enumerate() {
            add(&mut lengths, 1 + place, label.as_bytes());
            record.ranks |= u8::from(rank == Rank::HostName) << place;
        }
        record.lengths = lengths;
        record
    }

    pub(super) fn read(words: &Words, at: Place) -> Self {
        let block = words.block(at);
        let head = load(block, 1).to_le_bytes();
        let [a, b, c, d, ttl, pointer, ranks, _] = head;
        let [hardware, first, second, third, ..] = load(block, 2).to_le_bytes();
        let lengths = [hardware, first, second, third];
        let end = HEAD + words_of(lengths);
        let time = |place| Time::from_millis(load(block, end + place));
        let mut record = Self {
            address: Ipv4Addr::new(a, b, c, d),
            ttl: ttl.into(),
            pointer,
            ranks,
            expires: time(0),
            looked_at: time(1),
            last: load(block, end + 2),
            lengths,
            texts: [0; TEXTS],
        };
        for (to, place) in record.texts.chunks_exact_mut(8).zip(HEAD..end) {
            to.copy_from_slice(&load(block, place).to_le_bytes());
        }
        record
    }

    /// The address and TTL of a record that claims this label.
    pub(super) fn address_of(words: &Words, at: Place, label: &[u8]) -> Option<(Ipv4Addr, u32)> {
        let block = words.block(at);
        let [hardware, lengths @ .., _, _, _, _] = load(block, 2).to_le_bytes();
        let mut start = usize::from(hardware);
        for length in lengths.into_iter().map(usize::from).take_while(|length| *length > 0) {
            if length == label.len() && is_text(block, start, label) {
                let [a, b, c, d, ttl, ..] = load(block, 1).to_le_bytes();
                return Some((Ipv4Addr::new(a, b, c, d), ttl.into()));
            }
            start += length;
        }
        None
    }

    /// When to look whether the lease of a record has ended, and its address.
    pub(super) fn look(words: &Words, at: Place) -> (Time, Ipv4Addr) {
        let block = words.block(at);
        let [a, b, c, d, ..] = load(block, 1).to_le_bytes();
        let [hardware, first, second, third, ..] = load(block, 2).to_le_bytes();
        let end = HEAD + words_of([hardware, first, second, third]);
        (Time::from_millis(load(block, end + 1)), Ipv4Addr::new(a, b, c, d))
    }

    /// How long its block is.
    pub(super) fn units(&self) -> usize {
        units(HEAD + words_of(self.lengths) + TAIL)
    }

    pub(super) fn hardware(&self) -> HardwareAddress {
        match self.text(0).split_first() {
            Some((htype, bytes)) => HardwareAddress::new(*htype, bytes),
            None => HardwareAddress::new(0, &[]),
        }
    }

    /// What it claims, the best for its PTR record first.
    pub(super) fn labels(&self) -> impl Iterator<Item = (&[u8], Rank)> {
        (0..LABELS).map_while(|place| {
            let text = self.text(1 + place);
            let rank = if self.ranks >> place & 1 == 1 { Rank::HostName } else { Rank::Model };
            (!text.is_empty()).then_some((text, rank))
        })
    }

    /// By what it claims a label, if it does.
    pub(super) fn rank_of(&self, label: &[u8]) -> Option<Rank> {
        self.labels().find(|(own, _)| *own == label).map(|(_, rank)| rank)
    }

    /// The label of its PTR record, if it has one.
    pub(super) fn pointer(&self) -> Option<Label> {
        let place = usize::from(self.pointer).checked_sub(1)?;
        self.labels().nth(place).map(|(label, _)| Label::new(label))
    }

    fn text(&self, place: usize) -> &[u8] {
        let length = |place: usize| self.lengths.get(place).copied().map_or(0, usize::from);
        let start = (0..place).map(length).sum::<usize>();
        self.texts.get(start..start + length(place)).unwrap_or_default()
    }

    fn tail(&self) -> [u64; TAIL] {
        [self.expires.as_millis(), self.looked_at.as_millis(), self.last]
    }

    fn head(&self) -> u64 {
        let [a, b, c, d] = self.address.octets();
        // A minute at most.
        u64::from_le_bytes([a, b, c, d, self.ttl as u8, self.pointer, self.ranks, 0])
    }
}

/// Whether the texts of a record have this one so many octets from their beginning.
fn is_text(block: &[AtomicU64], start: usize, text: &[u8]) -> bool {
    let (mut place, skipped) = (HEAD + start / 8, (start % 8) * 8);
    let mut word = load(block, place) >> skipped;
    let mut left = 64 - skipped;
    // Eight octets at a time, put together from two words.
    text.chunks(8).all(|chunk| {
        let mut octets = [0; 8];
        octets.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
        let wanted = u64::from_le_bytes(octets);
        place += 1;
        let next = load(block, place);
        let found = if left == 64 { word } else { word | next << left };
        word = next >> skipped;
        left = 64 - skipped;
        let mask = u64::MAX >> (64 - 8 * chunk.len());
        found & mask == wanted
    })
}

/// Words that texts of these lengths take.
fn words_of(lengths: [u8; 1 + LABELS]) -> usize {
    lengths.map(usize::from).iter().sum::<usize>().div_ceil(8)
}

impl Edit<'_> {
    pub(super) fn put_record(&mut self, record: &Record) -> Place {
        let [hardware, first, second, third] = record.lengths;
        let lengths = u64::from_le_bytes([hardware, first, second, third, 0, 0, 0, 0]);
        let texts = record.texts.as_chunks::<8>().0.iter().map(|text| u64::from_le_bytes(*text));
        let texts = texts.take(words_of(record.lengths));
        self.put(
            record.units(),
            [record.head(), lengths].into_iter().chain(texts).chain(record.tail()),
        )
    }

    /// Changes what no reader looks at.
    pub(super) fn set_tail(&mut self, at: Place, record: &Record) {
        for (place, word) in (HEAD + words_of(record.lengths)..).zip(record.tail()) {
            self.set(at, place, word);
        }
    }

    /// Changes where the PTR record of a record leads that no snapshot leads to.
    pub(super) fn set_pointer(&mut self, at: Place, record: &Record) {
        self.set(at, 1, record.head());
    }
}

/// A label in lower case, by itself.
#[derive(Clone, Copy)]
pub struct Label {
    length: u8,
    text: [u8; LABEL],
}

impl Label {
    /// What is longer than a label is cut.
    fn new(label: &[u8]) -> Self {
        let mut text = [0; LABEL];
        let length = label.len().min(LABEL);
        text.iter_mut().zip(label).for_each(|(to, from)| *to = *from);
        Self { length: length as u8, text }
    }
}

impl Deref for Label {
    type Target = str;

    fn deref(&self) -> &str {
        let text = self.text.get(..usize::from(self.length)).unwrap_or_default();
        // Labels of leases are ASCII.
        std::str::from_utf8(text).unwrap_or_default()
    }
}

impl std::fmt::Debug for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::words::Arena;
    use super::*;

    proptest! {
        #[test]
        fn a_label_is_found_where_it_is_without_reading_the_whole_record(
            hardware in prop::collection::vec(any::<u8>(), 0..=16),
            labels in prop::collection::vec("[a-c]{1,20}|[a-c]{60,63}", 0..=LABELS),
            other in "[a-c]{1,20}",
            (place, ttl) in (any::<usize>(), 0..256_u32),
        ) {
            let address = Ipv4Addr::new(10, 1, 2, 3);
            let hardware = HardwareAddress::new(1, &hardware);
            let claims = labels.iter().map(|label| (label.as_str(), Rank::Model));
            let record = Record::new(address, hardware, ttl, claims);
            let (mut words, mut arena) = (Words::new(), Arena::new());
            let at = Edit { words: &mut words, arena: &mut arena }.put_record(&record);
            let mut asked = labels.clone();
            asked.push(other);
            for label in labels {
                // Much the same, but for one octet.
                let mut near = label.clone().into_bytes();
                let place = place % near.len();
                near[place] = b'd';
                asked.push(String::from_utf8(near).unwrap());
                asked.push(label[place..].to_owned());
                asked.push(label + "a");
            }
            for label in asked {
                let expected = record.rank_of(label.as_bytes()).map(|_| (address, ttl));
                let found = Record::address_of(&words, at, label.as_bytes());
                prop_assert_eq!(found, expected, "{}", label);
            }
        }
    }
}
