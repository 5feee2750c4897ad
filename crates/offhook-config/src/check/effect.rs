//! What is right as it stands and has no effect, or none that could be meant: all of it warnings.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use offhook_model::{AddressRange, ScopeId, Send, Serve, Source, registry};

use super::Context;
use crate::Code;
use crate::options::Explicit;
use crate::read::{ClassFacts, Facts, LEASE, PhoneFacts, PoolFacts, PoolUserFacts, ScopeFacts};
use crate::report::{Problem, Span, Spanned};
use crate::scalar::format_duration;

pub(super) fn check(context: &Context<'_>) {
    for (index, scope) in context.facts.scopes.iter().enumerate() {
        phone_lease(context, scope);
        unserved(context, scope);
        routers(context, &scope.options, &[scope]);
        all_excluded(context, scope);
        for pool in scope.pools.value().into_iter().flat_map(|pools| &pools.items) {
            pool_of_nobody(context, scope, index, pool);
        }
    }
    for (index, class) in context.facts.classes.iter().enumerate() {
        times_of_class(context, class);
        gives(context, class);
        is_another(context, index, class);
        let scopes: Vec<_> = scopes_of(context.facts, class).collect();
        routers(context, &class.options, &scopes);
    }
    let scopes: Vec<_> = context.facts.scopes.iter().collect();
    routers(context, &context.facts.options, &scopes);
    for phone in &context.facts.phones {
        routers(context, &phone.options, &scopes);
        class_of_phone(context, phone);
    }
}

/// The class of a phone exists where its address is.
fn class_of_phone(context: &Context<'_>, phone: &PhoneFacts) {
    let (Some(name), Some(address)) = (phone.class.good(), phone.address.value()) else { return };
    let Some(class) = context.class(&name.value).filter(|class| !class.damaged) else { return };
    let holds =
        |scope: &&ScopeFacts| scope.subnet.value().is_some_and(|net| net.contains(*address));
    let Some(scope) = context.facts.scopes.iter().find(holds) else { return };
    let Some(scope_name) = scope.name.value() else { return };
    if scopes_of(context.facts, class).any(|own| own.name.value() == Some(scope_name)) {
        return;
    }
    context.report.push(
        Problem::warning(
            Code::ClassNeverMatches,
            &name.span,
            format!("there is no class `{}` in the scope `{scope_name}`", name.value),
        )
        .label("has no effect where the phone's address is")
        .hint(format!("add `{scope_name}` to `scopes` of the class")),
    );
}

/// The scopes that a class exists in.
fn scopes_of<'f>(facts: &'f Facts, class: &ClassFacts) -> impl Iterator<Item = &'f ScopeFacts> {
    let is_its = |index: usize| {
        let id = u16::try_from(index).map(ScopeId).ok();
        class.scopes.as_ref().is_none_or(|scopes| scopes.iter().any(|own| Some(*own) == id))
    };
    facts.scopes.iter().enumerate().filter(move |(index, _)| is_its(*index)).map(|(_, scope)| scope)
}

/// What a class gives follows from a fact, or is stated.
fn gives(context: &Context<'_>, class: &ClassFacts) {
    let facts = context.facts;
    let Some(gives) = &class.gives else { return };
    // What a class of the catalogue gives is for any site.
    if facts.sections_lost || facts.scopes_bad || gives.origin.source == Source::Catalogue {
        return;
    }
    let levels = facts.scopes.iter().map(|scope| &scope.options);
    let levels = levels.chain([&facts.options, &class.options]);
    let stated: BTreeSet<u8> = levels.flatten().map(|option| option.rule.code).collect();
    for code in &gives.codes {
        let (is_missing, hint) = match code.value {
            66 => (facts.tftp.is_none(), "add [tftp] with listen and root"),
            67 => (class.firmware.is_none() && !class.damaged, "add `firmware` to the class"),
            132 => (
                scopes_of(facts, class).all(|scope| scope.voice.is_absent()),
                "let the class exist in a native scope, and add `voice` there",
            ),
            160 => (
                facts.switchovers.iter().all(|it| it.provisioning.is_absent()),
                "add `provisioning` to a [switchover]",
            ),
            _ => continue,
        };
        if !is_missing || stated.contains(&code.value) {
            continue;
        }
        let name = registry::by_code(code.value).map_or("", |option| option.name);
        context.report.push(
            Problem::warning(
                Code::NotDerivable,
                &code.span,
                format!("there is nothing that option {} ({name}) follows from", code.value),
            )
            .label("not sent")
            .hint(format!("{hint}, or leave it out")),
        );
    }
}

/// Whoever it is recognised by is of a class before it.
fn is_another(context: &Context<'_>, index: usize, class: &ClassFacts) {
    let Some(name) = class.name.good() else { return };
    let others = context.facts.classes.iter().take(index);
    let before: Vec<_> = others.filter(|other| other.scopes.is_none() && !other.damaged).collect();
    let first = |evidence| before.iter().find(|other| other.evidence().any(|own| own == evidence));
    let first: Option<Vec<_>> = class.evidence().map(first).collect();
    let Some(Some(first)) = first.map(|classes| classes.first().copied()) else { return };
    if class.condition.is_some() || class.damaged || context.is_named(&name.value) {
        return;
    }
    let Some(other) = first.name.good() else { return };
    context.report.push(
        Problem::warning(
            Code::ClassNeverMatches,
            &name.span,
            format!("nothing is recognised as `{}`", name.value),
        )
        .label("recognised as a class before it")
        .related(&other.span, "the first class that matches counts")
        .hint("put both into one [[class]], or recognise this one by something else"),
    );
}

/// `phone_lease` is for phones that are to move on.
fn phone_lease(context: &Context<'_>, scope: &ScopeFacts) {
    let (Some(lease), Some(vlan)) = (scope.phone_lease.good(), scope.vlan.good()) else { return };
    context.report.push(
        Problem::warning(
            Code::LeaseTimes,
            &lease.span,
            "`phone_lease` holds in native scopes only, and this one is a VLAN",
        )
        .label("has no effect here")
        .related(&vlan.span, "the VLAN")
        .hint("write it in the native scope, or `lease` here"),
    );
}

/// There is no inventory.
fn lists_nobody(context: &Context<'_>) -> bool {
    let facts = context.facts;
    let is_none = facts.phones.is_empty() && facts.rows.is_empty() && facts.inventory.is_absent();
    is_none && !facts.sections_lost
}

/// `serve = "inventory"`, and no inventory.
fn unserved(context: &Context<'_>, scope: &ScopeFacts) {
    if scope.serve == Serve::Inventory && lists_nobody(context) {
        context.report.push(
            Problem::warning(
                Code::ScopeWithoutAddresses,
                &scope.span,
                "this scope serves listed phones only, and none is listed",
            )
            .label("nobody is answered")
            .hint("add a [[phone]] or an [inventory], or write serve = \"phones\""),
        );
    }
}

/// `exclude` that leaves nothing of the pools.
fn all_excluded(context: &Context<'_>, scope: &ScopeFacts) {
    let (Some(exclude), Some(pools)) = (scope.exclude.good(), scope.pools.value()) else { return };
    let mut excluded: Vec<_> = exclude.value.items.iter().map(|range| range.value).collect();
    excluded.sort_by_key(AddressRange::first);
    let is_gone = |pool: &AddressRange| {
        let mut free = Some(pool.first());
        for range in &excluded {
            if free.is_some_and(|free| range.contains(free)) {
                free = range.last().to_bits().checked_add(1).map(Ipv4Addr::from_bits);
            }
        }
        free.is_none_or(|free| free > pool.last())
    };
    let is_known = pools.complete && !pools.items.is_empty();
    if is_known && pools.items.iter().all(|pool| is_gone(&pool.value.range)) {
        context.report.push(
            Problem::warning(
                Code::ScopeWithoutAddresses,
                &exclude.span,
                "every address of the pools is excluded",
            )
            .label("nothing is left to lease")
            .hint("exclude less, or leave `pools` out"),
        );
    }
}

/// Routers stated as an option are as far away as one stated as `router` would be: those of a scope outside of its
/// subnet, others outside of all subnets that they may be sent in.
fn routers(context: &Context<'_>, options: &[Explicit], scopes: &[&ScopeFacts]) {
    let subnets: Option<Vec<_>> = scopes.iter().map(|scope| scope.subnet.good()).collect();
    let is_known = |subnets: &Vec<_>| !subnets.is_empty() && !context.facts.scopes_bad;
    let Some(subnets) = subnets.filter(is_known) else { return };
    let stated = options.iter().filter(|option| {
        option.rule.code == 3 && option.rule.send != Send::Never && !option.broken
    });
    for option in stated {
        let routers = option.rule.value.as_chunks().0.iter().map(|&octets: &[u8; 4]| octets.into());
        let is_near = |router: &Ipv4Addr| subnets.iter().any(|net| net.value.contains(*router));
        for router in routers.filter(|router| !is_near(router)) {
            let (message, hint) = match subnets.as_slice() {
                [one] => (
                    format!("the router {router} is not in the subnet {}", one.value),
                    "write the router's address in this subnet",
                ),
                _ => (
                    format!("the router {router} is in the subnet of no scope"),
                    "write an address in the subnet of its clients, or `router` in each scope",
                ),
            };
            let mut problem = Problem::warning(Code::RouterOutsideSubnet, &option.span, message)
                .label("cannot be reached from there")
                .hint(hint);
            if let [one] = subnets.as_slice() {
                problem = problem.related(&one.span, "the subnet");
            }
            context.report.push(problem);
        }
    }
}

/// A pool for classes none of which exists in the scope, or for an inventory that there is not.
fn pool_of_nobody(
    context: &Context<'_>,
    scope: &ScopeFacts,
    index: usize,
    pool: &Spanned<PoolFacts>,
) {
    let id = u16::try_from(index).map(ScopeId).ok();
    let elsewhere = |user: &Spanned<PoolUserFacts>| match &user.value {
        PoolUserFacts::Class(name) => context.class(name).is_some_and(|class| {
            let scopes = class.scopes.as_ref();
            !class.damaged && scopes.is_some_and(|ids| !ids.iter().any(|own| Some(*own) == id))
        }),
        PoolUserFacts::Inventory => lists_nobody(context),
        PoolUserFacts::Phones => false,
    };
    let Some(first) = pool.value.only.first() else { return };
    if !pool.value.only.iter().all(elsewhere) {
        return;
    }
    let name = scope.name.value().map_or("?", String::as_str);
    context.report.push(
        Problem::warning(
            Code::ClassNeverMatches,
            &first.span,
            format!("nobody may have an address of {} here", pool.value.range),
        )
        .label(match first.value {
            PoolUserFacts::Class(_) => format!("no such class in the scope `{name}`"),
            PoolUserFacts::Phones | PoolUserFacts::Inventory => "no phone is listed".to_owned(),
        })
        .hint(match first.value {
            PoolUserFacts::Class(_) => {
                format!("add `{name}` to `scopes` of the class, or leave the pool out")
            }
            PoolUserFacts::Phones | PoolUserFacts::Inventory => {
                "add a [[phone]] or an [inventory], or leave the pool out".to_owned()
            }
        }),
    );
}

/// The times of a class that has its scope's lease, against the leases of all the scopes that it exists in. Where it has
/// none that fits, the server goes by the lease.
fn times_of_class(context: &Context<'_>, class: &ClassFacts) {
    let times = &class.lease;
    if !times.lease.is_absent() || context.facts.scopes_bad {
        return;
    }
    let leases: Option<Vec<(Duration, Option<&Span>)>> = scopes_of(context.facts, class)
        .map(|scope| match &scope.lease.lease {
            lease if lease.is_bad() => None,
            lease => Some(lease.good().map_or((LEASE, None), |it| (it.value, Some(&it.span)))),
        })
        .collect();
    let Some(leases) = leases.filter(|leases| !leases.is_empty()) else { return };
    let report =
        |name: &str, time: &Spanned<Duration>, must: &str, lease: (Duration, Option<&Span>)| {
            let (time, at) = (time.value, &time.span);
            let shown = |time: Duration| format_duration(time.as_secs());
            let mut problem = Problem::warning(
                Code::LeaseTimes,
                at,
                format!(
                    "`{name}` ({}) must {must} the lease, which is the scope's ({})",
                    shown(time),
                    shown(lease.0)
                ),
            )
            .label("has no effect")
            .hint("state `lease` in the class as well, or another time here");
            if let Some(span) = lease.1 {
                problem = problem.related(span, "the lease");
            }
            context.report.push(problem);
        };
    let longest = leases.iter().copied().max_by_key(|lease| lease.0);
    let shortest = leases.iter().copied().min_by_key(|lease| lease.0);
    let (Some(longest), Some(shortest)) = (longest, shortest) else { return };
    for (name, time) in [("renew", times.renew.good()), ("rebind", times.rebind.good())] {
        if let Some(time) = time.filter(|time| time.value >= longest.0) {
            report(name, time, "be shorter than", longest);
        }
    }
    if let Some(min) = times.min.good().filter(|min| min.value > longest.0) {
        report("min_lease", min, "not be longer than", longest);
    }
    if let Some(max) = times.max.good().filter(|max| max.value < shortest.0) {
        report("max_lease", max, "not be shorter than", shortest);
    }
}
