//! What may be there only once.

use std::collections::HashMap;
use std::hash::Hash;

use offhook_model::PhoneKey;

use super::Context;
use crate::Code;
use crate::read::ScopeFacts;
use crate::report::{Problem, Span, Spanned};

pub(super) fn check(context: &Context<'_>) {
    let facts = context.facts;
    let hosts = facts.hosts.iter().filter_map(|host| host.name.good());
    let switchovers = facts.switchovers.iter().filter_map(|switchover| switchover.name.good());
    let proxies = facts.proxies.iter().filter_map(|proxy| proxy.name.good());
    twice(context, Code::DuplicateHost, hosts.chain(switchovers).chain(proxies), |name| {
        (
            format!("the name `{name}` is given twice"),
            "give each host, switchover and proxy pool a name of its own".to_owned(),
        )
    });
    let addresses = facts.hosts.iter().filter_map(|host| host.address.good());
    twice(context, Code::DuplicateAddress, addresses, |address| {
        (
            format!("{address} is the address of two hosts"),
            "give each host an address of its own; its PTR record can name only one".to_owned(),
        )
    });
    let ipv6 = facts.hosts.iter().filter_map(|host| host.ipv6.good());
    twice(context, Code::DuplicateAddress, ipv6, |address| {
        (
            format!("{address} is the address of two hosts"),
            "give each host an address of its own; its PTR record can name only one".to_owned(),
        )
    });
    let scopes = facts.scopes.iter().filter_map(|scope| scope.name.good());
    twice(context, Code::DuplicateScope, scopes, |name| {
        (format!("two scopes are called `{name}`"), "give each scope a name of its own".to_owned())
    });
    interfaces(context);
    let classes: Vec<_> = facts
        .classes
        .iter()
        .filter_map(|class| class.name.good())
        .map(|name| Spanned::new(name.value.to_ascii_lowercase(), name.span.clone()))
        .collect();
    twice(context, Code::DuplicateClass, classes.iter(), |name| {
        (
            format!("two classes are called `{name}`, letter case aside"),
            "put all keys into one [[class]]".to_owned(),
        )
    });
    let phones = facts.phones.iter().filter_map(|phone| phone.key.as_ref());
    twice(context, Code::DuplicatePhone, phones, |key| {
        let hint = match key {
            PhoneKey::CircuitId(_) => {
                "leave one of the two out; for ports of two switches, add `remote_id` to each"
            }
            _ => "leave one of the two out",
        };
        let name = match key {
            PhoneKey::Mac(mac) => mac.to_string(),
            PhoneKey::HostName(name) => name.clone(),
            PhoneKey::ClientId(id) | PhoneKey::CircuitId(id) | PhoneKey::RemoteId(id) => {
                id.escape_ascii().to_string()
            }
            PhoneKey::Port { remote, circuit } => {
                format!("{}, {}", remote.escape_ascii(), circuit.escape_ascii())
            }
        };
        (format!("the phone `{name}` is listed twice"), hint.to_owned())
    });
    let addresses = facts.phones.iter().filter_map(|phone| phone.address.good());
    twice(context, Code::DuplicateAddress, addresses, |address| {
        (
            format!("{address} is kept for two phones"),
            "give each phone an address of its own".to_owned(),
        )
    });
    vlans(context);
    listeners(context);
}

/// Several scopes on one interface must be said to share it.
fn interfaces(context: &Context<'_>) {
    let mut first: HashMap<&String, (&Span, &ScopeFacts)> = HashMap::new();
    for scope in &context.facts.scopes {
        let Some(name) = scope.interface.good() else { continue };
        let Some((span, other)) = first.get(&name.value) else {
            first.insert(&name.value, (&name.span, scope));
            continue;
        };
        if share(scope, other) || scope.shared_network.is_bad() || other.shared_network.is_bad() {
            continue;
        }
        context.report.push(
            Problem::error(
                Code::DuplicateInterface,
                &name.span,
                format!("two scopes are on the interface `{}`", name.value),
            )
            .label("given again here")
            .related(span, "first given here")
            .hint(
                "a broadcast on one interface is answered from one scope; for two subnets on one \
                 link, add the same `shared_network` to both",
            ),
        );
    }
}

/// Whether both state the same shared network.
fn share(one: &ScopeFacts, other: &ScopeFacts) -> bool {
    one.shared_network.value().is_some()
        && one.shared_network.value() == other.shared_network.value()
}

/// Sites behind relays may reuse a VLAN number, so that this is no error.
fn vlans(context: &Context<'_>) {
    let mut first: HashMap<u16, (&Span, &ScopeFacts)> = HashMap::new();
    for scope in &context.facts.scopes {
        let Some(vlan) = scope.vlan.good() else { continue };
        if let Some((first, other)) = first.get(&vlan.value) {
            if share(scope, other) {
                continue;
            }
            context.report.push(
                Problem::warning(
                    Code::DuplicateVlan,
                    &vlan.span,
                    format!("two scopes are VLAN {}", vlan.value),
                )
                .label("the same VLAN")
                .related(first, "first given here")
                .hint("leave it so only where the scopes are on different sites"),
            );
        } else {
            first.insert(vlan.value, (&vlan.span, scope));
        }
    }
}

/// DNS and TFTP have ports of their own; the same address and port twice cannot be bound.
fn listeners(context: &Context<'_>) {
    let dns = context.facts.dns.listen.value().into_iter().flat_map(|list| &list.items);
    let tftp = context.facts.tftp.iter().filter_map(|tftp| tftp.listen.good());
    twice(context, Code::DuplicateListener, dns.chain(tftp), |listener| {
        (format!("{listener} is listened on twice"), "leave one of the two out".to_owned())
    });
}

/// Reports every value that was there before.
fn twice<'v, T: Eq + Hash + 'v>(
    context: &Context<'_>,
    code: Code,
    values: impl IntoIterator<Item = &'v Spanned<T>>,
    words: impl Fn(&T) -> (String, String),
) {
    let mut first: HashMap<&T, &Span> = HashMap::new();
    for value in values {
        if let Some(first) = first.get(&value.value) {
            let (message, hint) = words(&value.value);
            context.report.push(
                Problem::error(code, &value.span, message)
                    .label("given again here")
                    .related(first, "first given here")
                    .hint(hint),
            );
        } else {
            first.insert(&value.value, &value.span);
        }
    }
}
