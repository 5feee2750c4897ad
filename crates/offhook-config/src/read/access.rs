//! `[dns]`: what leases are called, and who is answered.

use offhook_model::{DnsAccess, DnsNames};

use super::network::non_empty;
use crate::report::Span;
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

/// Who is answered, and how often; and where it says whose questions are.
pub(super) fn access(table: &Table<'_>) -> (DnsAccess, Option<Span>) {
    let default = DnsAccess::default();
    let limit = |key, default| {
        let limit = table.field(key, |value| value.integer::<u32>(0, 1_000_000));
        limit.into_value().unwrap_or(default)
    };
    // An empty list is an answer to nobody, and more likely a mistake.
    let networks = |key| {
        let field = table.field(key, |value| non_empty(value, value.one_or_many(Value::network)?));
        let span = field.good().filter(|list| list.value.complete).map(|list| list.span.clone());
        let items = field.into_value().map(|list| list.items.into_iter().map(|item| item.value));
        (items.map(Iterator::collect), span)
    };
    let (allow, span) = networks("allow");
    let access = DnsAccess {
        allow,
        allow_forward: networks("allow_forward").0,
        transfer: networks("transfer").0.unwrap_or(default.transfer),
        rate_limit: limit("rate_limit", default.rate_limit),
        refusal_limit: limit("refusal_limit", default.refusal_limit),
    };
    (access, span)
}
