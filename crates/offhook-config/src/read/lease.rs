//! How long a lease lasts: the same keys in `[[scope]]` and `[[class]]`.

use std::time::Duration;

use offhook_model::LeaseTimes;

use crate::tree::{Field, Table, Value};

/// A lease, unless the file says otherwise.
pub(crate) const LEASE: Duration = Duration::from_secs(8 * 3600);
/// A lease of a phone that is to move on, unless its scope's is shorter still.
pub(crate) const PHONE_LEASE: Duration = Duration::from_secs(3600);

/// A lease, its bounds and its timers.
#[derive(Clone)]
pub(crate) struct LeaseFacts {
    pub(crate) lease: Field<Duration>,
    pub(crate) min: Field<Duration>,
    pub(crate) max: Field<Duration>,
    pub(crate) renew: Field<Duration>,
    pub(crate) rebind: Field<Duration>,
}

impl LeaseFacts {
    pub(crate) fn read(table: &Table<'_>) -> Self {
        table.expect(&["lease", "min_lease", "max_lease", "renew", "rebind"]);
        let time = |key| table.field(key, duration);
        Self {
            lease: time("lease"),
            min: time("min_lease"),
            max: time("max_lease"),
            renew: time("renew"),
            rebind: time("rebind"),
        }
    }

    /// Each key that is not stated is the other's.
    pub(crate) fn or(self, base: Self) -> Self {
        let or = |own: Field<Duration>, base| if own.is_absent() { base } else { own };
        Self {
            lease: or(self.lease, base.lease),
            min: or(self.min, base.min),
            max: or(self.max, base.max),
            renew: or(self.renew, base.renew),
            rebind: or(self.rebind, base.rebind),
        }
    }

    /// Bounds and timers, as far as they are stated.
    pub(crate) fn times(&self) -> LeaseTimes {
        LeaseTimes {
            max: self.max.value().copied(),
            min: self.min.value().copied(),
            renew: self.renew.value().copied(),
            rebind: self.rebind.value().copied(),
        }
    }
}

/// A year is more than anybody means, and seconds fit into option 51.
pub(crate) fn duration(value: &Value<'_>) -> Option<Duration> {
    value.duration(1, 366 * 86_400)
}
