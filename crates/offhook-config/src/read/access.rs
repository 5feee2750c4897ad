//! `[dns]`: what leases are called, and who is answered.

use offhook_model::{DnsAccess, DnsNames};

use super::network::non_empty;
use crate::report::Span;
use crate::tree::{Table, Value};

/// Addresses in pools up to which leases have names unless the configuration says otherwise. A lease's take some 160
/// octets of memory, nearly as many as the lease: a site of this size can spare them, and a carrier's may not want them.
const NAMED: u64 = 524_288;

/// What leases are called, as far as it is stated.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NamesFacts {
    leases: Option<bool>,
    hosts: Option<bool>,
}

impl NamesFacts {
    /// What holds where there are pools of so many addresses.
    pub(crate) fn resolve(self, addresses: u64) -> DnsNames {
        let default = DnsNames::default();
        DnsNames {
            leases: self.leases.unwrap_or(default.leases && addresses <= NAMED),
            hosts: self.hosts.unwrap_or(default.hosts),
        }
    }
}

/// What leases are called.
pub(super) fn names(table: &Table<'_>) -> NamesFacts {
    let flag = |key| table.field(key, Value::boolean).into_value();
    NamesFacts { leases: flag("lease_names"), hosts: flag("host_names") }
}

/// Where the file says who is answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct AccessSpans {
    /// Whose questions are.
    pub(crate) allow: Option<Span>,
    /// For whom others are asked.
    pub(crate) forward: Option<Span>,
}

/// Who is answered, and how often; and where it says so.
pub(super) fn access(table: &Table<'_>) -> (DnsAccess, AccessSpans) {
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
    let (allow, allow_span) = networks("allow");
    let (allow_forward, forward) = networks("allow_forward");
    let access = DnsAccess {
        allow,
        allow_forward,
        transfer: networks("transfer").0.unwrap_or(default.transfer),
        rate_limit: limit("rate_limit", default.rate_limit),
        refusal_limit: limit("refusal_limit", default.refusal_limit),
    };
    (access, AccessSpans { allow: allow_span, forward })
}
