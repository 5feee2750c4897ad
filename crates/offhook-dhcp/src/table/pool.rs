//! The addresses of a scope that are given out, in the order in which they are.
//!
//! Every address that is not kept for a phone is in one of these states at a time: never used (at or past the
//! cursor), free, waiting for its lease to end, on offer, or changing. The last two are the table's; they are only
//! counted here.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use offhook_model::{AddressRange, PoolUser, Scope, Site, Time};

use super::Asker;
use super::queue::Queue;

/// An offer that nobody has taken up by then may be given to another client when there is nothing else.
const CLAIM: Duration = Duration::from_secs(5);

/// A share of large pools is not more than this: a pool for 60,000 may well be 99 % full.
const MOST_RESERVED: u64 = 128;

/// More addresses kept for phones than this are not looked through time and again.
const FEW_RESERVED: usize = 256;

/// To whom an address is on offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// To a client nobody knows.
    Stranger = 0,
    /// To one that is in the inventory, or has been here before.
    Known = 1,
    /// To the one that has it now, or was found to use it: it is not to be taken back.
    Holder = 2,
}

/// One range.
#[derive(Clone, Debug)]
struct Pool {
    range: AddressRange,
    /// Who may have an address of it; everybody when empty.
    only: Vec<PoolUser>,
    /// How many addresses of the range are given out from here.
    size: u64,
    /// The next address that may never have been used; past the range when there is none. Addresses below it
    /// either have an entry, an offer or a pending change, or are in `free` or `waiting`.
    cursor: u64,
    /// What has been used and is free, by the time it became so (zero: once offered and never leased).
    free: BTreeSet<(Time, Ipv4Addr)>,
    /// What becomes free, by when. Moved to `free` a few at a time.
    waiting: Queue,
    /// What is on offer, and since when, by [`Claim`].
    offered: [BTreeSet<(Time, Ipv4Addr)>; 3],
    /// How many addresses have changes that are not durable, those on offer aside.
    changing: u64,
}

impl Pool {
    fn admits(&self, asker: &Asker<'_>) -> bool {
        self.only.is_empty()
            || self.only.iter().any(|user| match user {
                PoolUser::Phones => asker.class.is_some() || asker.phone.is_some(),
                PoolUser::Inventory => asker.phone.is_some(),
                PoolUser::Class(class) => asker.class == Some(*class),
            })
    }

    fn fresh(&mut self) -> Option<Ipv4Addr> {
        if self.cursor > u64::from(self.range.last().to_bits()) {
            return None;
        }
        let address = Ipv4Addr::from_bits(self.cursor as u32);
        self.cursor += 1;
        // Until it is offered it belongs to those that are free, so that it cannot be lost.
        self.free.insert((Time::default(), address));
        Some(address)
    }

    /// The one that has been free for the longest time, of those that were used.
    fn longest(&self, now: Time) -> Option<(Time, Ipv4Addr)> {
        self.free.first().copied().filter(|(free_at, _)| *free_at <= now)
    }

    /// How many addresses are free at least: those that have become so just now may be missing.
    fn count_free(&self) -> u64 {
        let on_offer: usize = self.offered.iter().map(BTreeSet::len).sum();
        let out = self.waiting.len() + on_offer;
        self.size.saturating_sub(out as u64).saturating_sub(self.changing)
    }
}

/// The addresses of a scope.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pools {
    pools: Vec<Pool>,
    /// What is never given out: as stated, and what this machine has itself.
    excluded: HashSet<Ipv4Addr>,
    /// Addresses kept for a phone, in or outside of the pools, and the index of that phone.
    reserved: HashMap<Ipv4Addr, usize>,
    /// The share of the addresses, in percent, that clients nobody knows leave free.
    reserved_share: u8,
}

impl Pools {
    /// The pools of a scope, but for what is in use here: `ours`.
    pub(crate) fn new(site: &Site, scope: &Scope, ours: &[Ipv4Addr]) -> Self {
        let reserved: HashMap<_, _> = site
            .phones
            .iter()
            .enumerate()
            .filter_map(|(at, phone)| phone.address.map(|address| (address, at)))
            .filter(|(address, _)| scope.subnet.contains(*address) && !ours.contains(address))
            .collect();
        let excluded: HashSet<_> = scope.excluded.iter().chain(ours).copied().collect();
        let pools = scope.pools.iter().map(|pool| {
            let kept = reserved.keys().filter(|address| !excluded.contains(*address));
            let gone = kept.chain(&excluded).filter(|address| pool.range.contains(**address));
            Pool {
                range: pool.range,
                only: pool.only.clone(),
                size: pool.range.count().saturating_sub(gone.count() as u64),
                cursor: u64::from(pool.range.first().to_bits()),
                free: BTreeSet::new(),
                waiting: Queue::new(pool.range),
                offered: Default::default(),
                changing: 0,
            }
        });
        let pools = pools.collect();
        Self { pools, excluded, reserved, reserved_share: scope.reserved_share }
    }

    /// Whether both give out the same addresses to the same clients, whatever is out just now.
    pub(crate) fn same_rules(&self, other: &Self) -> bool {
        let rules = |pools: &Self| {
            let rules = pools.pools.iter().map(|pool| (pool.range, pool.only.clone()));
            rules.collect::<Vec<_>>()
        };
        rules(self) == rules(other)
            && self.excluded == other.excluded
            && self.reserved == other.reserved
            && self.reserved_share == other.reserved_share
    }

    /// The ranges addresses are given out from.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = AddressRange> {
        self.pools.iter().map(|pool| pool.range)
    }

    /// Every address kept for a phone, in no order, where there are not very many.
    pub(crate) fn few_reserved(&self) -> impl Iterator<Item = Ipv4Addr> {
        let few = self.reserved.len() <= FEW_RESERVED;
        self.reserved.keys().copied().filter(move |_| few)
    }

    /// The phone an address is kept for.
    pub(crate) fn reserved_for(&self, address: Ipv4Addr) -> Option<usize> {
        self.reserved.get(&address).copied()
    }

    /// Whether the client may have the address of a pool, as far as the pool goes.
    pub(crate) fn admits(&self, asker: &Asker<'_>, address: Ipv4Addr) -> bool {
        self.is_dynamic(address)
            && self.pools.iter().any(|pool| pool.range.contains(address) && pool.admits(asker))
    }

    /// Whether the address is given out from a pool rather than kept for a phone or for nobody.
    fn is_dynamic(&self, address: Ipv4Addr) -> bool {
        self.pools.iter().any(|pool| pool.range.contains(address))
            && !self.excluded.contains(&address)
            && !self.reserved.contains_key(&address)
    }

    /// Whether the cursor has passed an address of a pool.
    pub(crate) fn has_passed(&self, address: Ipv4Addr) -> bool {
        self.pools
            .iter()
            .any(|pool| pool.range.contains(address) && u64::from(address.to_bits()) < pool.cursor)
    }

    /// Whether a client nobody knows may take one more address: the share is one of all addresses it could get.
    pub(crate) fn has_room_for_strangers(&self, asker: &Asker<'_>) -> bool {
        if self.reserved_share == 0 {
            return true;
        }
        let size: u64 = self.admitting(asker).map(|pool| pool.size).sum();
        let share = (size * u64::from(self.reserved_share) / 100).min(MOST_RESERVED);
        self.free_for(asker) > share
    }

    /// How many of the addresses a client could get are free at least.
    pub(crate) fn free_for(&self, asker: &Asker<'_>) -> u64 {
        self.admitting(asker).map(Pool::count_free).sum()
    }

    fn admitting<'a>(&'a self, asker: &'a Asker<'_>) -> impl Iterator<Item = &'a Pool> {
        self.pools.iter().filter(|pool| pool.admits(asker))
    }

    /// Takes an address out of the order.
    pub(crate) fn dequeue(&mut self, address: Ipv4Addr, free_at: Time) {
        if let Some(pool) = self.pool(address)
            && !pool.waiting.remove(address)
        {
            pool.free.remove(&(free_at, address));
        }
    }

    /// Puts an address into the order.
    pub(crate) fn enqueue(&mut self, address: Ipv4Addr, free_at: Time) {
        if let Some(pool) = self.pool(address) {
            let never_used = free_at == Time::default();
            if never_used {
                pool.free.insert((free_at, address));
            } else {
                pool.waiting.insert(free_at, address);
            }
        }
    }

    /// When an address of a pool becomes free, unless that it has is known already.
    pub(crate) fn free_at(&self, address: Ipv4Addr) -> Option<Time> {
        self.pools.iter().find(|pool| pool.range.contains(address))?.waiting.at(address)
    }

    /// Counts an address as on offer, or no longer.
    pub(crate) fn count_offer(&mut self, address: Ipv4Addr, since: Time, claim: Claim, on: bool) {
        if let Some(pool) = self.pool(address)
            && let Some(offered) = pool.offered.get_mut(claim as usize)
        {
            if on {
                offered.insert((since, address));
            } else {
                offered.remove(&(since, address));
            }
        }
    }

    /// Counts an address as changing, or no longer.
    pub(crate) fn count_change(&mut self, address: Ipv4Addr, on: bool) {
        if let Some(pool) = self.pool(address) {
            let after =
                if on { pool.changing.checked_add(1) } else { pool.changing.checked_sub(1) };
            pool.changing = after.unwrap_or_default();
        }
    }

    /// Moves at most `limit` addresses of each pool that have become free to where they are counted so.
    pub(crate) fn settle(&mut self, now: Time, limit: usize) {
        for pool in &mut self.pools {
            let due = std::iter::from_fn(|| pool.waiting.pop(now));
            pool.free.extend(due.take(limit));
        }
    }

    /// The address for a client that has none: from the pools that are not for everybody first; there one never
    /// used, else the one whose lease ended first. Looks at every address at most once in its life before that is
    /// an answer from what was used.
    pub(crate) fn next(
        &mut self,
        now: Time,
        asker: &Asker<'_>,
        in_use: impl Fn(Ipv4Addr) -> bool,
    ) -> Option<Ipv4Addr> {
        self.skip(&in_use);
        // What was given back by this very message.
        self.settle(now, 1);
        [false, true].into_iter().find_map(|open| {
            let mut tier = self
                .pools
                .iter_mut()
                .filter(|pool| pool.only.is_empty() == open && pool.admits(asker));
            tier.find_map(Pool::fresh).or_else(|| {
                let tier = self
                    .pools
                    .iter()
                    .filter(|pool| pool.only.is_empty() == open && pool.admits(asker));
                tier.filter_map(|pool| pool.longest(now)).min().map(|(_, address)| address)
            })
        })
    }

    /// The address that was offered the longest ago, and long enough, of those the client may have. Where a share is
    /// reserved, what was offered to a client that is known is not for one that is not.
    pub(crate) fn unclaimed(&self, now: Time, asker: &Asker<'_>, known: bool) -> Option<Ipv4Addr> {
        let oldest = |claim: Claim| {
            let pools = self.admitting(asker);
            let oldest =
                pools.filter_map(|pool| pool.offered.get(claim as usize)?.first()).min()?;
            (now.since(oldest.0) >= CLAIM).then_some(oldest.1)
        };
        let all = known || self.reserved_share == 0;
        oldest(Claim::Stranger).or_else(|| all.then(|| oldest(Claim::Known)).flatten())
    }

    /// At most `limit` addresses of each pool that are given out next.
    pub(crate) fn upcoming(
        &self,
        now: Time,
        limit: usize,
        in_use: impl Fn(Ipv4Addr) -> bool,
    ) -> Vec<Ipv4Addr> {
        let mut found = Vec::new();
        for pool in &self.pools {
            // What is not given out is skipped here too, but not without end.
            let fresh = (pool.cursor..=u64::from(pool.range.last().to_bits())).take(8 * limit);
            let fresh = fresh.map(|bits| Ipv4Addr::from_bits(bits as u32));
            let fresh = fresh.filter(|address| {
                !self.excluded.contains(address)
                    && !self.reserved.contains_key(address)
                    && !in_use(*address)
            });
            let used = pool.free.iter().filter(|(at, _)| *at <= now);
            found.extend(fresh.chain(used.map(|(_, address)| *address).take(limit)).take(limit));
        }
        found
    }

    /// Moves every cursor past what cannot be given out, once and for all.
    pub(crate) fn skip(&mut self, in_use: impl Fn(Ipv4Addr) -> bool) {
        let Self { pools, excluded, reserved, .. } = self;
        for pool in pools {
            while pool.cursor <= u64::from(pool.range.last().to_bits()) {
                let address = Ipv4Addr::from_bits(pool.cursor as u32);
                if !excluded.contains(&address)
                    && !reserved.contains_key(&address)
                    && !in_use(address)
                {
                    break;
                }
                pool.cursor += 1;
            }
        }
    }

    /// The pool an address is given out from.
    fn pool(&mut self, address: Ipv4Addr) -> Option<&mut Pool> {
        if !self.is_dynamic(address) {
            return None;
        }
        self.pools.iter_mut().find(|pool| pool.range.contains(address))
    }
}
