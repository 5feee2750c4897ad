//! How long a lease lasts, and when its client is to renew it.

use std::time::Duration;

use offhook_model::{Class, LeaseTimes, Scope};

/// No lease is shorter because the client asks for it, unless what it would get anyway is: a phone that renews every
/// second is a fault, not a wish.
const SHORTEST_WISH: Duration = Duration::from_secs(60);

/// The times of a lease in whole seconds. T1 < T2 < lease, as far as a lease of one or two seconds has room for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    /// Option 51.
    pub(crate) lease: u32,
    /// Option 58: T1.
    pub(crate) renewal: u32,
    /// Option 59: T2.
    pub(crate) rebinding: u32,
}

impl Times {
    /// What a client gets. `known` is whether it was recognised as a phone, by its class or from the inventory;
    /// `wish` is option 51, seconds.
    ///
    /// A phone in a native scope, from which it is to move on, gets that scope's `phone_lease`, and no longer one whatever its
    /// class says or it asks for: it is not to stay. A shorter one it may get. A class beats its scope in all else.
    pub(crate) fn new(
        scope: &Scope,
        class: Option<&Class>,
        known: bool,
        wish: Option<u32>,
    ) -> Self {
        let moving_on = scope.phone_lease.filter(|_| known && scope.vlan.is_none());
        let of_class = class.and_then(|class| class.lease);
        let shorter = moving_on.into_iter().chain(of_class).min();
        let usual = shorter.unwrap_or(scope.lease);
        let said = |of: fn(&LeaseTimes) -> Option<Duration>| {
            class.and_then(|class| of(&class.times)).or_else(|| of(&scope.times))
        };
        let lease = match wish {
            Some(wish) => {
                let longest = said(|times| times.max).unwrap_or(usual);
                let longest = moving_on.map_or(longest, |short| short.min(longest));
                let shortest = said(|times| times.min).unwrap_or(SHORTEST_WISH);
                Duration::from_secs(wish.into()).max(shortest).min(longest)
            }
            None => usual,
        };
        let lease = seconds(lease);
        // A configured time that a short lease has no room for gives way to the usual share of it (RFC 2131, 4.4.5).
        let rebinding = said(|times| times.rebind)
            .map(seconds)
            .filter(|rebinding| *rebinding < lease)
            .unwrap_or_else(|| lease - lease.div_ceil(8));
        let renewal = said(|times| times.renew)
            .map(seconds)
            .filter(|renewal| *renewal < rebinding)
            .unwrap_or_else(|| (lease / 2).min(rebinding.saturating_sub(1)));
        Self { lease, renewal, rebinding }
    }

    pub(crate) fn duration(self) -> Duration {
        Duration::from_secs(self.lease.into())
    }
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
