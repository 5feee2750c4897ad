//! Options at the wrong level: 4 with 42, 132 in a voice scope, vendors' codes for all, and what is stated nowhere.

use std::collections::BTreeSet;

use offhook_model::{Send, registry};

use super::Context;
use crate::Code;
use crate::options::Explicit;
use crate::read::class::{DERIVABLE, STANDARD};
use crate::report::{Problem, Span};

pub(super) fn check(context: &Context<'_>) {
    four_and_forty_two(context);
    for option in &context.facts.options {
        for_everyone(context, option, "the site");
    }
    for scope in &context.facts.scopes {
        for option in &scope.options {
            for_everyone(context, option, "a scope");
        }
    }
    vlan_in_voice_scope(context);
    always(context);
}

/// What a class is to get in every reply is to be there.
fn always(context: &Context<'_>) {
    let facts = context.facts;
    if facts.sections_lost || facts.scopes_bad {
        return;
    }
    for class in &facts.classes {
        let levels = facts.scopes.iter().map(|scope| &scope.options);
        let levels = levels.chain([&facts.options, &class.options]);
        let stated: BTreeSet<u8> = levels.flatten().map(|option| option.rule.code).collect();
        for code in class.always.iter().flat_map(|codes| &codes.codes) {
            let is_given = class.gives.as_ref().is_some_and(|gives| gives.contains(code.value));
            if STANDARD.contains(&code.value) || stated.contains(&code.value) || is_given {
                continue;
            }
            let hint = match DERIVABLE.contains(&code.value) {
                true => {
                    "add it to `gives`, or set it in `options`, of the class, a scope or the site"
                }
                false => "set it in `options`, of the class, a scope or the site",
            };
            context.report.push(
                Problem::error(
                    Code::NotDerivable,
                    &code.span,
                    format!(
                        "option {} is stated neither by the site nor by a scope or this class",
                        code.value
                    ),
                )
                .label("nothing to send")
                .hint(hint),
            );
        }
    }
}

/// Levels of options that one client may get together, least specific first.
type Stack<'e> = [&'e [Explicit]];

/// The key that sets `code` effectively: the most specific, unless it withholds.
fn effective<'e>(stack: &Stack<'e>, code: u8) -> Option<&'e Explicit> {
    stack.iter().rev().find_map(|level| level.iter().find(|option| option.rule.code == code))
}

fn four_and_forty_two(context: &Context<'_>) {
    let facts = context.facts;
    let mut seen = BTreeSet::new();
    let mut check = |stack: &Stack<'_>| {
        let derived = facts.time.servers.good().map(|servers| (facts.time.code, &servers.span));
        let place = |code: u8| match effective(stack, code) {
            Some(option) => (option.rule.send != Send::Never).then_some(&option.span),
            None => derived.filter(|(own, _)| *own == code).map(|(_, span)| span),
        };
        let (Some(four), Some(forty_two)) = (place(4), place(42)) else { return };
        let (first, second) =
            if four.start < forty_two.start { (four, forty_two) } else { (forty_two, four) };
        if !seen.insert((first.start, second.start)) {
            return;
        }
        context.report.push(
            Problem::error(
                Code::Both4And42,
                second,
                "a client would be given time servers in option 4 and in option 42",
            )
            .label("the second one")
            .related(first, "the first one")
            .hint("leave one of them out, or withhold it here with { send = \"never\" }"),
        );
    };
    let sets = |options: &[Explicit]| options.iter().any(|o| matches!(o.rule.code, 4 | 42));
    let none: &[Explicit] = &[];
    let site = facts.options.as_slice();
    check(&[site]);
    let scopes: Vec<_> = facts
        .scopes
        .iter()
        .map(|scope| scope.options.as_slice())
        .filter(|options| sets(options))
        .collect();
    let classes: Vec<_> = facts
        .classes
        .iter()
        .map(|class| class.options.as_slice())
        .filter(|options| sets(options))
        .collect();
    for scope in scopes.iter().copied().chain([none]) {
        for class in classes.iter().copied().chain([none]) {
            check(&[site, scope, class]);
        }
        for phone in facts.phones.iter().filter(|phone| sets(&phone.options)) {
            let class = phone.class.value().and_then(|name| context.class(name));
            let class = class.map_or(none, |class| class.options.as_slice());
            check(&[site, scope, class, &phone.options]);
        }
    }
}

/// Codes from 128 up mean something else to every vendor; 66 and 67 are for some phones only.
fn for_everyone(context: &Context<'_>, option: &Explicit, level: &str) {
    let code = option.rule.code;
    if option.rule.send == Send::Never || (code < 128 && !matches!(code, 66 | 67)) {
        return;
    }
    let name = registry::by_code(code).map_or(String::new(), |o| format!(" ({})", o.name));
    context.report.push(
        Problem::warning(
            Code::VendorOptionForEveryone,
            &option.span,
            format!("option {code}{name} of {level} goes to every client that asks for it"),
        )
        .label(if code >= 128 {
            "other vendors mean something else by it"
        } else {
            "not for every phone"
        })
        .hint("set it in a [[class]], where only the phones it is meant for get it"),
    );
}

/// 132 is for phones that are not where they belong.
fn vlan_in_voice_scope(context: &Context<'_>) {
    let facts = context.facts;
    let Some((voice, vlan)) =
        facts.scopes.iter().find_map(|scope| Some((scope, scope.vlan.good()?)))
    else {
        return;
    };
    let report = |option: &Explicit, vlan: &Span, hint: String| {
        if option.rule.code == 132 && option.rule.send != Send::Never {
            context.report.push(
                Problem::error(
                    Code::VlanOptionInVoiceScope,
                    &option.span,
                    "option 132 would be sent in a scope that is a VLAN itself",
                )
                .label("wanted in native scopes only")
                .related(vlan, "the VLAN of that scope")
                .hint(hint),
            );
        }
    };
    for scope in &facts.scopes {
        let Some(vlan) = scope.vlan.good() else { continue };
        for option in &scope.options {
            report(option, &vlan.span, "leave it out here".to_owned());
        }
    }
    let name = voice.name.value().map_or("…", String::as_str);
    let hint =
        format!("leave it out; `voice = \"{name}\"` in the native scope sends it there alone");
    let general = facts
        .classes
        .iter()
        .map(|class| &class.options)
        .chain(facts.phones.iter().map(|phone| &phone.options))
        .chain([&facts.options]);
    for option in general.flatten() {
        report(option, &vlan.span, hint.clone());
    }
}
