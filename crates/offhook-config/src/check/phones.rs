//! The inventory, and classes that nothing belongs to.

use super::Context;
use crate::Code;
use crate::report::Problem;
use crate::words;

pub(super) fn check(context: &Context<'_>) {
    let taken = context.taken();
    for phone in &context.facts.phones {
        if let Some(class) = phone.class.good() {
            context.known_class(&class.value, &class.span);
        }
        let Some(address) = phone.address.good() else { continue };
        if let Some((_, what, span)) = taken.iter().find(|(taken, ..)| *taken == address.value) {
            context.report.push(
                Problem::error(
                    Code::PhoneAddressTaken,
                    &address.span,
                    format!("{} is {what}", address.value),
                )
                .label("belongs to something else")
                .related(span, what.as_str())
                .hint("keep another address for this phone"),
            );
        }
        let scopes = &context.facts.scopes;
        let lost = scopes.iter().any(|scope| scope.subnet.is_bad()) || context.facts.scopes_bad;
        let mut subnets = scopes.iter().filter_map(|scope| scope.subnet.value());
        if !lost && !scopes.is_empty() && !subnets.any(|subnet| subnet.contains(address.value)) {
            let all = scopes.iter().filter_map(|scope| scope.subnet.value()).take(12);
            context.report.push(
                Problem::error(
                    Code::PhoneAddressOutsideScopes,
                    &address.span,
                    format!("{} is in no scope", address.value),
                )
                .label("in no scope")
                .hint(format!("the scopes are {}", words::list(all))),
            );
        }
    }
    for class in &context.facts.classes {
        let Some(name) = class.name.good() else { continue };
        let is_used = context.is_named(&name.value);
        if class.evidence().next().is_none()
            && class.condition.is_none()
            && !class.damaged
            && !is_used
        {
            context.report.push(
                Problem::warning(
                    Code::ClassNeverMatches,
                    &name.span,
                    format!("nothing is recognised as `{}`", name.value),
                )
                .label("no evidence, and no phone names it")
                .hint("add `vendor_class`, `vendor_class_prefix`, `user_class`, `oui` or `match`"),
            );
        }
    }
}
