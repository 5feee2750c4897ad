//! Lease times that fit together: bounds around the lease, T1 before T2 before its end.

use std::time::Duration;

use super::Context;
use crate::Code;
use crate::read::{LEASE, LeaseFacts};
use crate::report::{Problem, Span};
use crate::scalar::format_duration;
use crate::tree::Field;

pub(super) fn check(context: &Context<'_>) {
    for scope in &context.facts.scopes {
        short(context, &scope.lease);
        // A lease that could not be read is unknown, not the default.
        let lease = match scope.lease.lease.is_bad() {
            true => None,
            false => Some(scope.lease.lease.value().copied().unwrap_or(LEASE)),
        };
        order(context, &scope.lease, lease);
    }
    for class in &context.facts.classes {
        // A class without a lease of its own has its scope's.
        order(context, &class.lease, class.lease.lease.value().copied());
    }
}

fn short(context: &Context<'_>, facts: &LeaseFacts) {
    let Some(lease) = facts.lease.good() else { return };
    if lease.value < Duration::from_secs(60) {
        context.report.push(
            Problem::warning(
                Code::ShortLease,
                &lease.span,
                format!("a lease of {} s is renewed all the time", lease.value.as_secs()),
            )
            .label("less than a minute")
            .hint("an hour is short for a native scope, eight are usual for a voice scope"),
        );
    }
}

/// One time, what it is called, and where it is stated, if it is.
#[derive(Clone, Copy)]
struct Named<'f> {
    name: &'static str,
    time: Duration,
    span: Option<&'f Span>,
}

fn order(context: &Context<'_>, facts: &LeaseFacts, lease: Option<Duration>) {
    let [min, max, renew, rebind] = [
        named("min_lease", &facts.min),
        named("max_lease", &facts.max),
        named("renew", &facts.renew),
        named("rebind", &facts.rebind),
    ];
    let default = |name, time| Named { name, time, span: None };
    let lease = named("lease", &facts.lease).or(lease.map(|time| default("lease", time)));
    in_order(context, min, lease.or(max), false);
    in_order(context, lease, max, false);
    if renew.is_none() && rebind.is_none() {
        return;
    }
    // Where only one of the two timers is stated, the other is its usual share of the lease.
    let share = |name, numerator: u32, denominator: u32| {
        lease.map(|lease| default(name, lease.time * numerator / denominator))
    };
    let (t1, t2) = (renew.or(share("renew", 1, 2)), rebind.or(share("rebind", 7, 8)));
    if in_order(context, t2, lease, true) {
        in_order(context, t1, t2, true);
    }
}

fn named<'f>(name: &'static str, field: &'f Field<Duration>) -> Option<Named<'f>> {
    field.good().map(|time| Named { name, time: time.value, span: Some(&time.span) })
}

/// Reports `first` above `second`, or equal to it where it must be below; true when there is nothing to report.
fn in_order(
    context: &Context<'_>,
    first: Option<Named<'_>>,
    second: Option<Named<'_>>,
    strictly: bool,
) -> bool {
    let (Some(first), Some(second)) = (first, second) else { return true };
    if first.time < second.time || (!strictly && first.time == second.time) {
        return true;
    }
    // The later one of those that are stated is the one to look at.
    let (at, other) = match (first.span, second.span) {
        (Some(first), Some(second)) if second.start > first.start => (second, Some(first)),
        (Some(first), second) => (first, second),
        (None, Some(second)) => (second, None),
        (None, None) => return true,
    };
    let shown = |time: &Named<'_>| {
        let default = if time.span.is_none() { " by default" } else { "" };
        format!("`{}` ({}{default})", time.name, format_duration(time.time.as_secs()))
    };
    let must = if strictly { "must be shorter than" } else { "must not be longer than" };
    let mut problem = Problem::error(
        Code::LeaseTimes,
        at,
        format!("{} {must} {}", shown(&first), shown(&second)),
    )
    .label("does not fit")
    .hint("keep to min_lease ≤ lease ≤ max_lease, and renew < rebind < lease");
    if let Some(other) = other {
        problem = problem.related(other, "the other one");
    }
    context.report.push(problem);
    false
}
