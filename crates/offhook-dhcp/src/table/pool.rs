//! The addresses of a scope that anybody may get, in the order in which they are given out.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;

use offhook_model::{AddressRange, Scope, Site, Time};

/// One range.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pool {
    range: AddressRange,
    /// The next address that may never have been used; past the range when there is none. Addresses below it
    /// either have an entry, an offer or a pending change, or are in `queue`.
    cursor: u64,
    /// When each address becomes free, or became so: those with an entry, and those that were offered once and
    /// never leased (at time zero). What is offered, or changing, is not in here.
    queue: BTreeSet<(Time, Ipv4Addr)>,
}

/// The addresses of a scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pools {
    pools: Vec<Pool>,
    excluded: HashSet<Ipv4Addr>,
    /// Addresses kept for a phone, in or outside of the pools, and the index of that phone.
    reserved: HashMap<Ipv4Addr, usize>,
}

impl Pools {
    pub(crate) fn new(site: &Site, scope: &Scope) -> Self {
        let pools = scope.pools.iter().map(|pool| Pool {
            range: pool.range,
            cursor: u64::from(pool.range.first().to_bits()),
            queue: BTreeSet::new(),
        });
        let reserved = site
            .phones
            .iter()
            .enumerate()
            .filter_map(|(at, phone)| phone.address.map(|address| (address, at)))
            .filter(|(address, _)| scope.subnet.contains(*address));
        Self {
            pools: pools.collect(),
            excluded: scope.excluded.iter().copied().collect(),
            reserved: reserved.collect(),
        }
    }

    /// Whether both give out the same addresses, whatever is out just now.
    pub(crate) fn same_rules(&self, other: &Self) -> bool {
        let ranges = |pools: &Self| pools.pools.iter().map(|pool| pool.range).collect::<Vec<_>>();
        ranges(self) == ranges(other)
            && self.excluded == other.excluded
            && self.reserved == other.reserved
    }

    /// The phone an address is kept for.
    pub(crate) fn reserved_for(&self, address: Ipv4Addr) -> Option<usize> {
        self.reserved.get(&address).copied()
    }

    /// Whether anybody may get the address.
    pub(crate) fn is_dynamic(&self, address: Ipv4Addr) -> bool {
        self.pools.iter().any(|pool| pool.range.contains(address))
            && !self.excluded.contains(&address)
            && !self.reserved.contains_key(&address)
    }

    /// Whether the address is given out here, to anybody or to one phone.
    pub(crate) fn gives_out(&self, address: Ipv4Addr) -> bool {
        self.pools.iter().any(|pool| pool.range.contains(address))
            || self.reserved.contains_key(&address)
    }

    /// Whether the cursor has passed an address of a pool.
    pub(crate) fn has_passed(&self, address: Ipv4Addr) -> bool {
        self.pools
            .iter()
            .any(|pool| pool.range.contains(address) && u64::from(address.to_bits()) < pool.cursor)
    }

    /// Takes an address out of the order.
    pub(crate) fn dequeue(&mut self, address: Ipv4Addr, free_at: Time) {
        if let Some(pool) = self.pool(address) {
            pool.queue.remove(&(free_at, address));
        }
    }

    /// Puts an address into the order.
    pub(crate) fn enqueue(&mut self, address: Ipv4Addr, free_at: Time) {
        if self.is_dynamic(address)
            && let Some(pool) = self.pool(address)
        {
            pool.queue.insert((free_at, address));
        }
    }

    /// The address that has been free the longest: one never used, else the one whose lease ended first. Looks at
    /// every address at most once in its life before that is an answer from the queue.
    pub(crate) fn next(
        &mut self,
        now: Time,
        in_use: impl Fn(Ipv4Addr) -> bool,
    ) -> Option<Ipv4Addr> {
        self.skip(&in_use);
        for pool in &mut self.pools {
            if pool.cursor <= u64::from(pool.range.last().to_bits()) {
                let address = Ipv4Addr::from_bits(pool.cursor as u32);
                pool.cursor += 1;
                // Until it is offered it belongs to the queue, so that it cannot be lost.
                pool.queue.insert((Time::default(), address));
                return Some(address);
            }
        }
        let longest = self.pools.iter().filter_map(|pool| pool.queue.first()).min()?;
        (longest.0 <= now).then_some(longest.1)
    }

    /// Moves every cursor past what cannot be given out, once and for all.
    pub(crate) fn skip(&mut self, in_use: impl Fn(Ipv4Addr) -> bool) {
        let Self { pools, excluded, reserved } = self;
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

    fn pool(&mut self, address: Ipv4Addr) -> Option<&mut Pool> {
        self.pools.iter_mut().find(|pool| pool.range.contains(address))
    }
}
