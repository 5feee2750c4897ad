//! `[dns.cache]`.

use offhook_model::DnsCache;

use crate::tree::Table;

/// What the table inside of `[dns]` says, and the defaults for the rest.
pub(super) fn read(dns: &Table<'_>) -> DnsCache {
    let default = DnsCache::default();
    let cache = dns.field("cache", |value| {
        let table = value.table("[dns.cache]")?;
        let entries = table.field("entries", |value| value.integer::<u32>(0, 10_000_000));
        // RFC 8767 section 4: a week is the most that any TTL means.
        let max_ttl = table.field("max_ttl", |value| value.duration(1, 604_800));
        let negative_ttl = table.field("negative_ttl", |value| value.duration(1, 10_800));
        let stale = table.field("stale", |value| value.duration(0, 604_800));
        table.finish();
        Some(DnsCache {
            entries: entries.into_value().unwrap_or(default.entries),
            max_ttl: max_ttl.into_value().unwrap_or(default.max_ttl),
            negative_ttl: negative_ttl.into_value().unwrap_or(default.negative_ttl),
            stale: stale.into_value().unwrap_or(default.stale),
        })
    });
    cache.into_value().unwrap_or(default)
}
