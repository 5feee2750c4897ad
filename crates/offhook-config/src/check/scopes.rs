//! Scopes: subnets, routers, voice VLANs.

use ipnetwork::Ipv4Network;

use super::Context;
use crate::Code;
use crate::read::ScopeFacts;
use crate::report::{Problem, Spanned};
use crate::words;

pub(super) fn check(context: &Context<'_>) {
    if context.facts.scopes.is_empty() && !context.facts.scopes_bad {
        context.report.push(
            Problem::error(Code::NoScope, &(0..0), "there is no [[scope]] to lease addresses from")
                .label("this file")
                .hint("add a [[scope]] with name, interface, subnet and pools"),
        );
    }
    overlaps(context);
    for scope in &context.facts.scopes {
        router(context, scope);
        voice(context, scope);
        without_addresses(context, scope);
    }
}

/// Each scope against those with a lower network address: only neighbours can overlap.
fn overlaps(context: &Context<'_>) {
    let mut subnets: Vec<&Spanned<Ipv4Network>> =
        context.facts.scopes.iter().filter_map(|scope| scope.subnet.good()).collect();
    subnets.sort_by_key(|subnet| (subnet.value.network(), subnet.value.prefix()));
    let mut widest: Option<&Spanned<Ipv4Network>> = None;
    for subnet in subnets {
        if let Some(other) = widest
            && other.value.contains(subnet.value.network())
        {
            // The later one in the file is the one to look at.
            let (first, second) = if other.span.start < subnet.span.start {
                (other, subnet)
            } else {
                (subnet, other)
            };
            context.report.push(
                Problem::error(
                    Code::OverlappingScopes,
                    &second.span,
                    format!("{} overlaps {}", second.value, first.value),
                )
                .label("shares addresses with another scope")
                .related(&first.span, "the other scope")
                .hint("one address can be in one scope only"),
            );
            continue;
        }
        widest = Some(subnet);
    }
}

fn router(context: &Context<'_>, scope: &ScopeFacts) {
    let (Some(router), Some(subnet)) = (scope.router.good(), scope.subnet.good()) else { return };
    let net = subnet.value;
    let problem = if !net.contains(router.value) {
        format!("the router {} is not in the subnet {net}", router.value)
    } else if router.value == net.network() || router.value == net.broadcast() {
        format!("{} is not an address that a router can have in {net}", router.value)
    } else {
        return;
    };
    context.report.push(
        Problem::error(Code::RouterOutsideSubnet, &router.span, problem)
            .label("cannot be reached from the scope")
            .related(&subnet.span, "the subnet")
            .hint("write the router's address in this subnet"),
    );
}

fn voice(context: &Context<'_>, scope: &ScopeFacts) {
    if let Some(voice) = scope.voice.good() {
        let named = |other: &&ScopeFacts| other.name.value() == Some(&voice.value);
        let Some(target) = context.facts.scopes.iter().find(named) else {
            let names = context.facts.scopes.iter().filter_map(|scope| scope.name.value());
            if context.facts.scopes_bad || context.facts.scopes.iter().any(|s| s.name.is_bad()) {
                return;
            }
            context.report.push(
                Problem::error(
                    Code::UnknownScope,
                    &voice.span,
                    format!("there is no scope `{}`", voice.value),
                )
                .label("no [[scope]] has this name")
                .hint(words::suggest(
                    &voice.value,
                    "scope",
                    names.map(String::as_str),
                )),
            );
            return;
        };
        if let Some(vlan) = scope.vlan.good() {
            context.report.push(
                Problem::error(
                    Code::VoiceScopeWithVoice,
                    &voice.span,
                    "a scope that is a VLAN itself names a voice scope",
                )
                .label("phones here are where they belong")
                .related(&vlan.span, "the VLAN of this scope")
                .hint("leave out `voice` here, or `vlan` if this is the native scope"),
            );
        } else if target.vlan.is_absent() && !context.report.is_section_damaged(target.span.start) {
            context.report.push(
                Problem::error(
                    Code::VoiceWithoutVlan,
                    &voice.span,
                    format!("the scope `{}` has no `vlan` to send phones to", voice.value),
                )
                .label("option 132 would be empty")
                .related(&target.span, "the voice scope")
                .hint("add `vlan` to the voice scope"),
            );
        }
        return;
    }
    native_without_voice(context, scope);
}

fn native_without_voice(context: &Context<'_>, scope: &ScopeFacts) {
    let stated = scope.options.iter().any(|option| option.rule.code == 132);
    // A scope that another one calls its voice scope lacks `vlan`, which is reported there.
    let name = scope.name.value();
    let is_voice =
        context.facts.scopes.iter().any(|other| name.is_some() && other.voice.value() == name);
    let is_native = scope.vlan.is_absent() && scope.voice.is_absent() && !is_voice;
    if !is_native
        || !scope.phones
        || stated
        || scope.subnet.is_bad()
        || context.report.is_section_damaged(scope.span.start)
        || context.facts.scopes_bad
        || context.facts.scopes.iter().any(|other| other.vlan.is_bad())
    {
        return;
    }
    let name = name.map_or("?", String::as_str);
    let tagged = context.facts.scopes.iter().find(|other| other.vlan.good().is_some());
    let problem = match tagged {
        Some(tagged) => {
            let voice = tagged.name.value().map_or("…", String::as_str);
            Problem::error(
                Code::NativeWithoutVoice,
                &scope.span,
                format!("phones in the scope `{name}` are not told their voice VLAN"),
            )
            .related(&tagged.span, "a scope with a VLAN")
            .hint(format!(
                "add: voice = \"{voice}\", or phones = false if there are no phones here"
            ))
        }
        None => Problem::warning(
            Code::NativeWithoutVoice,
            &scope.span,
            format!("the scope `{name}` has no VLAN, and there is no voice scope"),
        )
        .hint(
            "add `vlan` if this is the voice VLAN, or phones = false if there are no phones here",
        ),
    };
    context.report.push(problem.label("has neither `vlan` nor `voice`"));
}

fn without_addresses(context: &Context<'_>, scope: &ScopeFacts) {
    let Some(subnet) = scope.subnet.value() else { return };
    let empty = scope.pools.is_absent()
        || scope.pools.value().is_some_and(|p| p.items.is_empty() && p.complete);
    let reserved = context.facts.phones.iter().any(|phone| {
        phone.address.is_bad() || phone.address.value().is_some_and(|a| subnet.contains(*a))
    });
    if empty && !reserved && !context.report.is_section_damaged(scope.span.start) {
        context.report.push(
            Problem::warning(
                Code::ScopeWithoutAddresses,
                &scope.span,
                "this scope has no pool, and no phone has an address in it",
            )
            .label("nothing to lease")
            .hint("add: pools = [\"FIRST-LAST\"]"),
        );
    }
}
