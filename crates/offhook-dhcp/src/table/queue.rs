//! The addresses of a pool that become free, by when.
//!
//! A renewal takes an address out of its place in this order and puts it in anew, hours later. With a tree that would
//! be several places in memory that nobody has been at for hours; so nothing is taken out: an array says when each
//! address becomes free now, and what is in the order under another time is passed over when its turn comes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::Ipv4Addr;

use offhook_model::{AddressRange, Time};

/// Milliseconds that go into one bucket, as a power of two: a second or so.
const BUCKET: u32 = 10;

/// More than so many times what is valid may not be passed over, nor fewer than some.
const STALE: (usize, usize) = (4, 4096);

/// When addresses of a range become free; each at one time, or not at all.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    first: u32,
    /// By place in the range, in milliseconds; 0 for those that do not.
    when: Vec<u64>,
    /// Times and places in the range, all later than those in `next`.
    later: BTreeMap<u64, Vec<(u64, u32)>>,
    /// Those of the bucket whose time has begun, and what was put in late.
    next: BinaryHeap<Reverse<(u64, u32)>>,
    /// The end of that bucket.
    horizon: u64,
    len: usize,
    /// How many are in `later` and `next`, valid or not.
    kept: usize,
}

impl Queue {
    pub(super) fn new(range: AddressRange) -> Self {
        Self {
            first: range.first().to_bits(),
            // From the kernel in pages of zeros, when they are first looked at.
            when: vec![0; usize::try_from(range.count()).unwrap_or_default()],
            later: BTreeMap::new(),
            next: BinaryHeap::new(),
            horizon: 0,
            len: 0,
            kept: 0,
        }
    }

    /// How many addresses become free, or have become so.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn when(&mut self, address: Ipv4Addr) -> Option<(u32, &mut u64)> {
        let place = address.to_bits().checked_sub(self.first)?;
        Some((place, self.when.get_mut(place as usize)?))
    }

    /// When an address becomes free, if it does.
    pub(super) fn at(&self, address: Ipv4Addr) -> Option<Time> {
        let place = address.to_bits().checked_sub(self.first)?;
        let at = self.when.get(place as usize).copied().filter(|at| *at != 0)?;
        Some(Time::from_millis(at))
    }

    /// Puts an address in that is not in. A time of 0 is none.
    pub(super) fn insert(&mut self, free_at: Time, address: Ipv4Addr) {
        let at = free_at.as_millis().max(1);
        let Some((place, when)) = self.when(address) else { return };
        if std::mem::replace(when, at) == 0 {
            self.len += 1;
        }
        self.kept += 1;
        if at < self.horizon {
            self.next.push(Reverse((at, place)));
        } else {
            self.later.entry(at >> BUCKET).or_default().push((at, place));
        }
        if self.kept > self.len * STALE.0 + STALE.1 {
            self.tidy();
        }
    }

    /// Takes an address out; whether it was in.
    pub(super) fn remove(&mut self, address: Ipv4Addr) -> bool {
        let was_in = self.when(address).is_some_and(|(_, when)| std::mem::take(when) != 0);
        self.len -= usize::from(was_in);
        was_in
    }

    /// Takes out the address that has become free first, if one has.
    pub(super) fn pop(&mut self, now: Time) -> Option<(Time, Ipv4Addr)> {
        let now = now.as_millis();
        loop {
            while let Some(Reverse((at, place))) = self.next.peek().copied()
                && at <= now
            {
                self.next.pop();
                self.kept -= 1;
                if let Some(when) = self.when.get_mut(place as usize).filter(|when| **when == at) {
                    *when = 0;
                    self.len -= 1;
                    return Some((Time::from_millis(at), Ipv4Addr::from_bits(self.first + place)));
                }
            }
            // What is left there is of the bucket that has begun, and not due.
            let bucket = self.later.first_entry().filter(|entry| entry.key() << BUCKET <= now)?;
            self.horizon = (bucket.key() + 1) << BUCKET;
            self.next.extend(bucket.remove().into_iter().map(Reverse));
        }
    }

    /// Forgets what would be passed over.
    fn tidy(&mut self) {
        /// No time has it.
        const SEEN: u64 = 1 << 63;
        let Self { when, later, next, .. } = self;
        let mut is_first = |at: u64, place: u32| {
            let when = when.get_mut(place as usize).filter(|when| **when == at);
            when.map(|when| *when |= SEEN).is_some()
        };
        next.retain(|Reverse((at, place))| is_first(*at, *place));
        later.retain(|_, bucket| {
            bucket.retain(|(at, place)| is_first(*at, *place));
            !bucket.is_empty()
        });
        let kept = next.iter().map(|Reverse((_, place))| place);
        for place in kept.chain(later.values().flatten().map(|(_, place)| place)) {
            if let Some(when) = when.get_mut(*place as usize) {
                *when &= !SEEN;
            }
        }
        self.kept = self.len;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Op {
        Insert(u64, u8),
        Remove(u8),
        Pop(u64),
        Tidy,
    }

    fn op() -> impl Strategy<Value = Op> {
        let time = prop_oneof![0..5000_u64, 0..60_000_u64];
        prop_oneof![
            4 => (time.clone(), 0..20_u8).prop_map(|(at, address)| Op::Insert(at, address)),
            2 => (0..20_u8).prop_map(Op::Remove),
            3 => time.prop_map(Op::Pop),
            1 => Just(Op::Tidy),
        ]
    }

    fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, last)
    }

    proptest! {
        #[test]
        fn it_is_a_set_in_order_of_time(ops in prop::collection::vec(op(), 1..200)) {
            let range = AddressRange::new(address(0), address(19)).unwrap();
            let mut queue = Queue::new(range);
            let mut set: BTreeSet<(u64, Ipv4Addr)> = BTreeSet::new();
            let mut now = 0;
            for op in ops {
                match op {
                    Op::Insert(at, last) => {
                        // Now, lately or later.
                        let at = (now + at).saturating_sub(500).max(1);
                        set.retain(|(_, other)| *other != address(last));
                        queue.remove(address(last));
                        set.insert((at, address(last)));
                        queue.insert(Time::from_millis(at), address(last));
                    }
                    Op::Remove(last) => {
                        let before = set.len();
                        set.retain(|(_, other)| *other != address(last));
                        prop_assert_eq!(queue.remove(address(last)), set.len() < before);
                    }
                    Op::Pop(by) => {
                        now += by;
                        let due = set.first().copied().filter(|(at, _)| *at <= now);
                        set.retain(|one| Some(*one) != due);
                        let due = due.map(|(at, address)| (Time::from_millis(at), address));
                        prop_assert_eq!(queue.pop(Time::from_millis(now)), due);
                    }
                    Op::Tidy => queue.tidy(),
                }
                prop_assert_eq!(queue.len(), set.len());
                for last in 0..20 {
                    let kept = set.iter().find(|(_, other)| *other == address(last));
                    let at = queue.at(address(last)).map(Time::as_millis);
                    prop_assert_eq!(at, kept.map(|(at, _)| *at));
                }
            }
        }
    }

    #[test]
    fn who_renews_all_the_time_takes_no_more_memory_for_it() {
        let range = AddressRange::new(address(0), address(19)).unwrap();
        let mut queue = Queue::new(range);
        for at in 1..1_000_000_u64 {
            queue.remove(address(7));
            // Also an offer of the same lease time and again.
            queue.insert(Time::from_millis(at / 3 + 3_600_000), address(7));
        }
        assert_eq!(queue.len(), 1);
        assert!(queue.kept <= STALE.0 + STALE.1 + 1, "{}", queue.kept);
        let buckets: usize = queue.later.values().map(Vec::len).sum();
        assert_eq!(buckets, queue.kept);
    }
}
