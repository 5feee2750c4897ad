//! What was received and not decided about yet.
//!
//! The kernel keeps few datagrams for a socket unless it is told otherwise (`systemd/sysctl.d/`), and a boot storm
//! brings thousands within milliseconds. So the sockets are emptied into here before every few decisions. When more
//! comes than can be served, the newest DISCOVERs go: their clients ask again by themselves and have lost nothing,
//! while a REQUEST is of a client that has an address or was promised one.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};

use offhook_net::Datagram;

/// Most DISCOVERs that wait: more than the phones of a large site.
const DISCOVERS: usize = 32_768;

/// Most bytes of messages that wait, DISCOVERs and others together.
const BYTES: usize = 32 << 20;

/// Others that are served for each DISCOVER while both wait.
const OTHERS: u32 = 7;

/// A message that waits.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) bytes: Box<[u8]>,
    pub(super) source: SocketAddrV4,
    pub(super) destination: Ipv4Addr,
    pub(super) interface: u32,
}

/// Messages that wait, in bounded memory.
#[derive(Debug)]
pub(super) struct Backlog {
    discovers: VecDeque<Message>,
    others: VecDeque<Message>,
    bytes: usize,
    most_discovers: usize,
    most_bytes: usize,
    /// Others served since the last DISCOVER.
    served: u32,
    shed: u64,
}

impl Backlog {
    pub(super) fn new() -> Self {
        Self::with_room(DISCOVERS, BYTES)
    }

    fn with_room(most_discovers: usize, most_bytes: usize) -> Self {
        Self {
            discovers: VecDeque::new(),
            others: VecDeque::new(),
            bytes: 0,
            most_discovers,
            most_bytes,
            served: 0,
            shed: 0,
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.discovers.is_empty() && self.others.is_empty()
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.discovers.len() + self.others.len()
    }

    /// What waits, more or less in the order in which it is served.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Message> {
        self.others.iter().chain(&self.discovers)
    }

    /// Whether all the room is taken by what is never shed. What comes then waits in the kernel.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= self.most_bytes && self.discovers.is_empty()
    }

    /// Puts a message at the end; DISCOVERs for which there is no room go, the newest first.
    pub(super) fn push(&mut self, datagram: &Datagram<'_>) {
        let message = Message {
            bytes: datagram.bytes.into(),
            source: datagram.source,
            destination: datagram.destination,
            interface: datagram.interface,
        };
        self.bytes += message.bytes.len();
        if is_discover(&message.bytes) {
            self.discovers.push_back(message);
        } else {
            self.others.push_back(message);
        }
        while (self.bytes > self.most_bytes || self.discovers.len() > self.most_discovers)
            && let Some(shed) = self.discovers.pop_back()
        {
            self.bytes -= shed.bytes.len();
            self.shed += 1;
        }
    }

    /// The message to be served next: the oldest of those that are never shed, and now and then the oldest
    /// DISCOVER, so that no flood of the former silences the latter.
    pub(super) fn pop(&mut self) -> Option<Message> {
        let message = if self.served < OTHERS || self.discovers.is_empty() {
            self.others.pop_front()
        } else {
            None
        };
        let message = match message {
            Some(message) => {
                self.served = self.served.saturating_add(1);
                message
            }
            None => {
                self.served = 0;
                self.discovers.pop_front()?
            }
        };
        self.bytes -= message.bytes.len();
        if self.is_empty() {
            // The room a storm took is not kept for ever.
            self.discovers.shrink_to(64);
            self.others.shrink_to(64);
        }
        Some(message)
    }

    /// How many messages were shed since this was last asked.
    pub(super) fn shed(&mut self) -> u64 {
        std::mem::take(&mut self.shed)
    }
}

/// Whether the first option 53 says DISCOVER. Anything that cannot be read is left to those who know how.
fn is_discover(message: &[u8]) -> bool {
    const OPTIONS: usize = 240;
    let mut options = message.get(OPTIONS..).unwrap_or_default();
    loop {
        match options {
            [0, rest @ ..] => options = rest,
            [53, 1, kind, ..] => return *kind == 1,
            [255, ..] | [] | [_] => return false,
            [_, length, rest @ ..] => {
                options = rest.get(usize::from(*length)..).unwrap_or_default()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISCOVER: u8 = 1;
    const REQUEST: u8 = 3;

    fn message(kind: u8, number: u8) -> Vec<u8> {
        let mut bytes = vec![0; 240];
        bytes[7] = number;
        bytes.extend([0, 61, 2, 53, 1, 53, 1, kind, 255]);
        bytes
    }

    fn push(backlog: &mut Backlog, kind: u8, number: u8) {
        let bytes = message(kind, number);
        backlog.push(&Datagram {
            bytes: &bytes,
            source: "10.0.0.1:68".parse().unwrap(),
            destination: Ipv4Addr::BROADCAST,
            local: Ipv4Addr::UNSPECIFIED,
            interface: 1,
            truncated: false,
        });
    }

    fn all(backlog: &mut Backlog) -> Vec<(bool, u8)> {
        std::iter::from_fn(|| backlog.pop())
            .map(|message| (is_discover(&message.bytes), message.bytes[7]))
            .collect()
    }

    #[test]
    fn a_discover_is_known_by_its_message_type_and_nothing_else() {
        assert!(is_discover(&message(DISCOVER, 0)));
        assert!(!is_discover(&message(REQUEST, 0)));
        let whole = message(DISCOVER, 0);
        for length in 0..248 {
            assert!(!is_discover(&whole[..length]), "cut to {length}");
        }
        for options in [&[61, 200, 53][..], &[255, 53, 1, 1], &[53, 2, 1, 1], &[61]] {
            assert!(!is_discover(&[&[0; 240], options].concat()), "{options:?}");
        }
    }

    #[test]
    fn the_newest_discovers_are_shed_and_counted_and_never_a_request() {
        let mut backlog = Backlog::with_room(3, usize::MAX);
        for number in 0..6 {
            push(&mut backlog, DISCOVER, number);
            push(&mut backlog, REQUEST, number);
        }
        assert_eq!((backlog.shed(), backlog.shed()), (3, 0));
        let served = all(&mut backlog);
        let discovers: Vec<u8> =
            served.iter().filter(|(is, _)| *is).map(|(_, number)| *number).collect();
        assert_eq!(discovers, [0, 1, 2]);
        assert_eq!(served.len(), 9);
    }

    #[test]
    fn requests_take_the_room_of_discovers_and_then_the_kernel_has_to_keep_them() {
        let size = message(REQUEST, 0).len();
        let mut backlog = Backlog::with_room(10, 4 * size);
        (0..4).for_each(|number| push(&mut backlog, DISCOVER, number));
        for number in 0..4 {
            assert!(!backlog.is_full());
            push(&mut backlog, REQUEST, number);
        }
        assert!(backlog.is_full());
        assert_eq!(backlog.shed(), 4);
        assert_eq!(all(&mut backlog), [(false, 0), (false, 1), (false, 2), (false, 3)]);
        assert!(!backlog.is_full() && backlog.is_empty());
    }

    #[test]
    fn requests_go_first_but_do_not_starve_discovers() {
        let mut backlog = Backlog::new();
        (0..3).for_each(|number| push(&mut backlog, DISCOVER, number));
        (0..20).for_each(|number| push(&mut backlog, REQUEST, number));
        let served = all(&mut backlog);
        let places: Vec<usize> = (0..served.len()).filter(|place| served[*place].0).collect();
        assert_eq!(places, [7, 15, 22]);
        let requests: Vec<u8> =
            served.iter().filter(|(is, _)| !is).map(|(_, number)| *number).collect();
        assert_eq!(requests, (0..20).collect::<Vec<_>>());
    }
}
