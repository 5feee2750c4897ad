//! How many messages a client, or a circuit of a relay, may send: token buckets in memory of a fixed size.

use std::hash::{BuildHasher, Hash, RandomState};

use offhook_model::{Dhcp, Time};

use crate::NoReply;
use crate::wire::Request;

/// A bucket holds what comes in so many seconds.
const BURST: u64 = 4_000_000;
/// How many buckets share a place; the one that has been full for the longest goes first.
const WAYS: usize = 4;
/// How many places there are; with all ways, one mebibyte of buckets.
const PLACES: usize = 1 << 14;

/// Sub-option 1 of option 82 (RFC 3046, 2.0).
const CIRCUIT_ID: u8 = 1;

/// What a message may exceed.
#[derive(Default)]
pub(crate) struct Limits {
    clients: Option<Limiter>,
    circuits: Option<Limiter>,
}

impl Limits {
    pub(crate) fn new(dhcp: &Dhcp) -> Self {
        Self { clients: Limiter::new(dhcp.client_rate), circuits: Limiter::new(dhcp.circuit_rate) }
    }

    /// Takes over other rates; where they are the same, what was counted stays.
    pub(crate) fn set(&mut self, dhcp: &Dhcp) {
        for (limiter, rate) in
            [(&mut self.clients, dhcp.client_rate), (&mut self.circuits, dhcp.circuit_rate)]
        {
            if limiter.as_ref().map_or(0, |limiter| limiter.rate) != rate {
                *limiter = Limiter::new(rate);
            }
        }
    }

    /// Counts a message.
    ///
    /// # Errors
    /// [`NoReply::RateLimited`]: the client or the circuit has sent too many.
    pub(crate) fn pass(&mut self, now: Time, request: &Request<'_>) -> Result<(), NoReply> {
        let header = &request.header;
        let client = (header.hardware.htype(), header.hardware.bytes());
        // Without a hardware address there is a client identifier, or nothing to lease an address by.
        let id = if client.1.is_empty() { request.client_id() } else { None };
        if let Some(clients) = &mut self.clients
            && !clients.pass(now, (client, id))
        {
            return Err(NoReply::RateLimited);
        }
        if let Some(circuits) = &mut self.circuits
            && let Some(circuit) = request.agent_option(CIRCUIT_ID).filter(|_| header.is_relayed())
            && !circuits.pass(now, (header.giaddr, circuit))
        {
            return Err(NoReply::RateLimited);
        }
        Ok(())
    }
}

/// A bucket. Empty slots are buckets that are full of tokens, of nobody in particular.
#[derive(Clone, Copy, Default)]
struct Bucket {
    /// Who it is of: a hash, keyed at random so that nobody can aim at another's.
    owner: u64,
    /// When it will be full again; microseconds since the Unix epoch.
    full_at: u64,
}

struct Limiter {
    /// Messages a second.
    rate: u32,
    buckets: Vec<[Bucket; WAYS]>,
    hasher: RandomState,
}

impl Limiter {
    fn new(rate: u32) -> Option<Self> {
        (rate > 0).then(|| Self {
            rate,
            buckets: vec![[Bucket::default(); WAYS]; PLACES],
            hasher: RandomState::new(),
        })
    }

    fn pass(&mut self, now: Time, owner: impl Hash) -> bool {
        let now = now.as_millis().saturating_mul(1000);
        let cost = 1_000_000 / u64::from(self.rate);
        let owner = self.hasher.hash_one(owner);
        let place = (owner % PLACES as u64) as usize;
        let Some(ways) = self.buckets.get_mut(place) else { return true };
        let found = ways.iter().position(|bucket| bucket.owner == owner);
        let bucket = match found {
            Some(at) => ways.get_mut(at),
            None => ways.iter_mut().min_by_key(|bucket| bucket.full_at),
        };
        let Some(bucket) = bucket else { return true };
        if found.is_none() {
            *bucket = Bucket { owner, full_at: now };
        }
        // Emptier than empty: the clock was set back.
        if bucket.full_at > now + BURST {
            bucket.full_at = now;
        }
        let full_at = bucket.full_at.max(now) + cost;
        let passes = full_at <= now + BURST;
        if passes {
            bucket.full_at = full_at;
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Time = Time::from_secs(1_800_000_000);

    fn passed(limiter: &mut Limiter, at: Time, owner: u32, messages: u32) -> usize {
        (0..messages).filter(|_| limiter.pass(at, owner)).count()
    }

    #[test]
    fn a_burst_of_four_seconds_passes_and_then_so_many_a_second() {
        let mut limiter = Limiter::new(10).unwrap();
        assert_eq!(passed(&mut limiter, NOW, 1, 100), 40);
        assert_eq!(passed(&mut limiter, NOW + Duration::from_millis(99), 1, 100), 0);
        assert_eq!(passed(&mut limiter, NOW + Duration::from_secs(1), 1, 100), 10);
        assert_eq!(passed(&mut limiter, NOW + Duration::from_secs(60), 1, 100), 40);
        assert_eq!(passed(&mut limiter, NOW, 2, 100), 40);
    }

    #[test]
    fn a_clock_set_back_locks_nobody_out() {
        let mut limiter = Limiter::new(10).unwrap();
        passed(&mut limiter, NOW, 1, 100);
        assert_eq!(passed(&mut limiter, Time::from_secs(1_000_000), 1, 100), 40);
    }

    #[test]
    fn many_strangers_do_not_free_the_one_that_sends_too_much() {
        let mut limiter = Limiter::new(10).unwrap();
        passed(&mut limiter, NOW, 1, 100);
        for stranger in 1000..60_000 {
            limiter.pass(NOW, stranger);
        }
        assert_eq!(passed(&mut limiter, NOW, 1, 100), 0);
        assert_eq!(limiter.buckets.len() * WAYS, 65_536);
    }

    #[test]
    fn no_rate_is_no_limit() {
        assert!(Limiter::new(0).is_none());
        let mut fastest = Limiter::new(u32::MAX).unwrap();
        assert_eq!(passed(&mut fastest, NOW, 1, 1000), 1000);
    }
}
