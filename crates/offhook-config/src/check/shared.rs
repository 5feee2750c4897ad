//! Scopes that share a link.

use std::collections::BTreeMap;

use super::Context;
use crate::Code;
use crate::read::ScopeFacts;
use crate::report::{Problem, Spanned};
use crate::words;

pub(super) fn check(context: &Context<'_>) {
    let mut networks: BTreeMap<&str, Vec<(&Spanned<String>, &ScopeFacts)>> = BTreeMap::new();
    for scope in &context.facts.scopes {
        if let Some(name) = scope.shared_network.good() {
            networks.entry(&name.value).or_default().push((name, scope));
        }
    }
    let lost = context.facts.scopes_bad
        || context.facts.scopes.iter().any(|scope| scope.shared_network.is_bad());
    for (name, members) in &networks {
        if let [(span, _)] = members.as_slice() {
            if !lost {
                let others = networks.keys().copied().filter(|other| other != name);
                let hint = match words::nearest(name, others) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "give every scope on this link the same name".to_owned(),
                };
                context.report.push(
                    Problem::warning(
                        Code::SharedNetworkAlone,
                        &span.span,
                        format!("only this scope is in the shared network `{name}`"),
                    )
                    .label("no other scope has this name")
                    .hint(hint),
                );
            }
            continue;
        }
        let vlans = members.iter().filter_map(|(_, scope)| scope.vlan.good());
        one_of(context, name, "VLAN", vlans);
        let interfaces = members.iter().filter_map(|(_, scope)| scope.interface.good());
        one_of(context, name, "interface", interfaces);
    }
}

/// Scopes on one link have one VLAN and one interface, where they say so.
fn one_of<'v, T: PartialEq + 'v>(
    context: &Context<'_>,
    name: &str,
    what: &str,
    values: impl Iterator<Item = &'v Spanned<T>>,
) {
    let mut values = values;
    let Some(first) = values.next() else { return };
    for other in values.filter(|other| other.value != first.value) {
        context.report.push(
            Problem::error(
                Code::SharedNetworkMismatch,
                &other.span,
                format!("the shared network `{name}` is on one link, and this is another {what}"),
            )
            .label(format!("another {what}"))
            .related(&first.span, format!("the {what} of its first scope"))
            .hint(format!("write the same {what}, or another `shared_network`")),
        );
    }
}
