//! `[dns]`: what leases are called, and who is answered.

use offhook_model::DnsNames;

use crate::tree::{Table, Value};

/// What leases are called.
pub(super) fn names(table: &Table<'_>) -> DnsNames {
    let default = DnsNames::default();
    let flag = |key, default| table.field(key, Value::boolean).into_value().unwrap_or(default);
    DnsNames {
        leases: flag("lease_names", default.leases),
        hosts: flag("host_names", default.hosts),
    }
}
