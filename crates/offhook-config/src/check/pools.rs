//! Pools: inside their subnet, apart from each other, free of machines.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use offhook_model::AddressRange;

use super::Context;
use crate::Code;
use crate::read::{PoolFacts, PoolUserFacts, ScopeFacts};
use crate::report::{Problem, Span, Spanned};

/// More excluded addresses than this are a pool that was drawn wrong.
const MOST_EXCLUDED: u64 = 65_536;

pub(super) fn check(context: &Context<'_>) {
    overlaps(context);
    let mut taken: BTreeMap<Ipv4Addr, Vec<(String, &Span)>> = BTreeMap::new();
    for (address, what, span) in context.taken() {
        taken.entry(address).or_default().push((what, span));
    }
    for scope in &context.facts.scopes {
        let pools = scope.pools.value().into_iter().flat_map(|pools| &pools.items);
        for pool in pools {
            if outside(context, scope, pool) {
                continue;
            }
            ends(context, scope, pool);
            users(context, pool);
            holds(context, scope, pool, &taken);
        }
        excluded(context, scope);
    }
}

/// Classes that a pool is for are looked up now that all are known.
fn users(context: &Context<'_>, pool: &Spanned<PoolFacts>) {
    for user in &pool.value.only {
        if let PoolUserFacts::Class(name) = &user.value {
            context.known_class(name, &user.span);
        }
    }
}

fn overlaps(context: &Context<'_>) {
    let mut pools: Vec<&Spanned<PoolFacts>> = context
        .facts
        .scopes
        .iter()
        .filter_map(|scope| scope.pools.value())
        .flat_map(|pools| &pools.items)
        .collect();
    pools.sort_by_key(|pool| (pool.value.range.first(), pool.value.range.last()));
    let mut widest: Option<&Spanned<PoolFacts>> = None;
    for pool in pools {
        if let Some(other) = widest
            && other.value.range.overlaps(&pool.value.range)
        {
            let (first, second) =
                if other.span.start < pool.span.start { (other, pool) } else { (pool, other) };
            context.report.push(
                Problem::error(
                    Code::OverlappingPools,
                    &second.span,
                    format!(
                        "the pools {} and {} share addresses",
                        first.value.range, second.value.range
                    ),
                )
                .label("overlaps another pool")
                .related(&first.span, "the other pool")
                .hint("let one end before the other begins"),
            );
            if other.value.range.last() >= pool.value.range.last() {
                continue;
            }
        }
        widest = Some(pool);
    }
}

fn outside(context: &Context<'_>, scope: &ScopeFacts, pool: &Spanned<PoolFacts>) -> bool {
    let Some(subnet) = scope.subnet.good() else { return false };
    let net = subnet.value;
    if net.contains(pool.value.range.first()) && net.contains(pool.value.range.last()) {
        return false;
    }
    let (first, last) = (net.network().to_bits() + 1, net.broadcast().to_bits() - 1);
    context.report.push(
        Problem::error(
            Code::PoolOutsideSubnet,
            &pool.span,
            format!("the pool {} is not in the subnet {net}", pool.value.range),
        )
        .label("outside of the subnet")
        .related(&subnet.span, "the subnet")
        .hint(format!(
            "addresses in this subnet are {}-{}",
            Ipv4Addr::from_bits(first),
            Ipv4Addr::from_bits(last)
        )),
    );
    true
}

fn is_excluded(scope: &ScopeFacts, address: Ipv4Addr) -> bool {
    scope
        .exclude
        .value()
        .is_some_and(|exclude| exclude.items.iter().any(|range| range.value.contains(address)))
}

fn ends(context: &Context<'_>, scope: &ScopeFacts, pool: &Spanned<PoolFacts>) {
    let Some(subnet) = scope.subnet.good() else { return };
    let net = subnet.value;
    for (address, what) in
        [(net.network(), "network address"), (net.broadcast(), "broadcast address")]
    {
        if pool.value.range.contains(address) && !is_excluded(scope, address) {
            context.report.push(
                Problem::error(
                    Code::PoolHoldsNetwork,
                    &pool.span,
                    format!("the pool holds {address}, the {what} of {net}"),
                )
                .label(format!("holds the {what}"))
                .related(&subnet.span, "the subnet")
                .hint(match what {
                    "network address" => "start one address higher",
                    _ => "end one address lower",
                }),
            );
        }
    }
}

fn holds(
    context: &Context<'_>,
    scope: &ScopeFacts,
    pool: &Spanned<PoolFacts>,
    taken: &BTreeMap<Ipv4Addr, Vec<(String, &Span)>>,
) {
    // A list that was only read in part may exclude just this address.
    if scope.exclude.is_bad() || scope.exclude.value().is_some_and(|exclude| !exclude.complete) {
        return;
    }
    for (&address, holders) in taken.range(pool.value.range.first()..=pool.value.range.last()) {
        let Some((what, span)) = holders.first() else { continue };
        if is_excluded(scope, address) {
            continue;
        }
        context.report.push(
            Problem::error(
                Code::PoolHoldsAddress,
                &pool.span,
                format!("the pool holds {address}, which is {what}"),
            )
            .label("would be leased to a client")
            .related(span, what.as_str())
            .hint(format!("shrink the pool, or add: exclude = [\"{address}\"]")),
        );
    }
}

fn excluded(context: &Context<'_>, scope: &ScopeFacts) {
    let Some(exclude) = scope.exclude.good() else { return };
    let Some(pools) = scope.pools.value().filter(|pools| pools.complete) else { return };
    let mut count = 0;
    for range in &exclude.value.items {
        let mut inside = 0;
        for pool in &pools.items {
            let first = range.value.first().max(pool.value.range.first());
            let last = range.value.last().min(pool.value.range.last());
            inside += AddressRange::new(first, last).map_or(0, |both| both.count());
        }
        count += inside;
        if inside == 0 {
            context.report.push(
                Problem::warning(
                    Code::ExcludeOutsidePools,
                    &range.span,
                    format!("{} is in no pool of this scope", range.value),
                )
                .label("excludes nothing")
                .hint("addresses outside of the pools are never leased anyway"),
            );
        }
    }
    if count > MOST_EXCLUDED {
        context.report.push(
            Problem::error(
                Code::ExcludeTooLarge,
                &exclude.span,
                format!("{count} addresses are excluded"),
            )
            .label(format!("more than {MOST_EXCLUDED}"))
            .hint("draw the pools around them instead"),
        );
    }
}
