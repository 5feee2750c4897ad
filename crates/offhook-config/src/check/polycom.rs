//! TFTP and VLAN options for Polycom phones, which must not have them.

use offhook_model::{BytesTest, Condition, Evidence, PhoneKey, Send, Source};

use super::Context;
use crate::Code;
use crate::read::{ClassFacts, PhoneFacts};
use crate::report::{Problem, Span};

pub(super) fn check(context: &Context<'_>) {
    for class in &context.facts.classes {
        polycom_class(context, class);
    }
    for phone in &context.facts.phones {
        polycom_phone(context, phone);
    }
}

/// The class of the catalogue that must have neither 66, 67 nor 132.
fn polycom<'c>(context: &Context<'c>) -> Option<&'c ClassFacts> {
    context.catalogue.iter().find(|class| class.is_named("Polycom"))
}

const NOT_FOR_POLYCOM: [u8; 3] = [66, 67, 132];

fn tftp_for_polycom(context: &Context<'_>, span: &Span, code: u8, whose: &str) {
    context.report.push(
        Problem::error(
            Code::TftpForPolycom,
            span,
            format!("option {code} is not for Polycom phones, and {whose}"),
        )
        .label("Polycom phones are provisioned by option 160 alone")
        .hint("leave it out"),
    );
}

fn polycom_class(context: &Context<'_>, class: &ClassFacts) {
    let Some(polycom) = polycom(context) else { return };
    let name = class.name.value().map_or("?", String::as_str);
    let is_it = class.is_named_as(polycom);
    let alike = polycom.evidence().any(|other| {
        class.evidence().any(|own| alike(own, other))
            || class.condition.as_ref().is_some_and(|condition| asks_for(condition, other))
    });
    if !is_it && !alike {
        return;
    }
    let whose =
        if is_it { "this is their class".to_owned() } else { format!("`{name}` matches them") };
    for option in &class.options {
        if NOT_FOR_POLYCOM.contains(&option.rule.code) && option.rule.send != Send::Never {
            tftp_for_polycom(context, &option.span, option.rule.code, &whose);
        }
    }
    let Some(gives) = &class.gives else { return };
    // What is the catalogue's has no place in this file.
    let stated = matches!(gives.origin.source, Source::Config(_));
    for code in &gives.codes {
        if NOT_FOR_POLYCOM.contains(&code.value) {
            let span = if stated { &code.span } else { &class.span };
            tftp_for_polycom(context, span, code.value, &whose);
        }
    }
}

/// Whether a client that shows `own` may be one that shows `other`.
fn alike(own: &Evidence, other: &Evidence) -> bool {
    match (own, other) {
        (Evidence::VendorClass(text), Evidence::VendorClassPrefix(prefix)) => starts(text, prefix),
        (Evidence::VendorClassPrefix(text), Evidence::VendorClassPrefix(prefix)) => {
            overlap(text, prefix)
        }
        (Evidence::Oui(own), Evidence::Oui(other)) => own == other,
        (
            Evidence::VendorClassBinary { enterprise: own },
            Evidence::VendorClassBinary { enterprise: other },
        ) => own == other,
        _ => false,
    }
}

/// Whether a client that meets `condition` may be one that shows `other`, judged by what the condition asks for: what
/// it rules out elsewhere is not weighed.
fn asks_for(condition: &Condition, other: &Evidence) -> bool {
    match (condition, other) {
        (Condition::All(conditions) | Condition::Any(conditions), _) => {
            conditions.iter().any(|one| asks_for(one, other))
        }
        (Condition::Option(VENDOR_CLASS, test), Evidence::VendorClassPrefix(prefix)) => {
            may_start(test, prefix)
        }
        (Condition::Option(VENDOR_CLASS, test), Evidence::VendorClassBinary { enterprise }) => {
            may_start(test, &enterprise.to_be_bytes())
        }
        (Condition::PolycomField(..), Evidence::VendorClassBinary { .. }) => true,
        (
            Condition::VendorClassOf(own, _) | Condition::VendorOptionsOf(own, _),
            Evidence::VendorClassBinary { enterprise },
        ) => own == enterprise,
        (Condition::Hardware(own), Evidence::Oui(oui)) => own.starts_with(oui),
        _ => false,
    }
}

/// Option 60.
const VENDOR_CLASS: u8 = 60;

/// Whether a value that starts with `prefix` may pass a test, and not only because any value does.
fn may_start(test: &BytesTest, prefix: &[u8]) -> bool {
    match test {
        BytesTest::Present => false,
        BytesTest::Is(text) | BytesTest::Exact(text) => starts(text, prefix),
        BytesTest::Prefix(text) | BytesTest::ExactPrefix(text) => overlap(text, prefix),
        BytesTest::Pattern(pattern) => {
            let literal = pattern.split(|byte| matches!(byte, b'*' | b'?')).next();
            literal.is_some_and(|literal| overlap(literal, prefix))
        }
    }
}

fn starts(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Whether one of two starts of a text is the start of the other: `Poly` is that of `Polycom`, though `P` is that of
/// too many things to mean it.
fn overlap(own: &[u8], prefix: &[u8]) -> bool {
    const TELLING: usize = 4;
    starts(own, prefix) || (own.len() >= TELLING && starts(prefix, own))
}

fn polycom_phone(context: &Context<'_>, phone: &PhoneFacts) {
    let Some(polycom) = polycom(context) else { return };
    let whose = match (phone.class.value(), phone.key.as_ref().map(|key| &key.value)) {
        (Some(class), _) if polycom.is_named(class) => "this phone is of their class",
        (None, Some(PhoneKey::Mac(mac)))
            if polycom.evidence().any(|e| *e == Evidence::Oui(mac.oui())) =>
        {
            "this is one by its MAC address"
        }
        _ => return,
    };
    for option in &phone.options {
        if NOT_FOR_POLYCOM.contains(&option.rule.code) && option.rule.send != Send::Never {
            tftp_for_polycom(context, &option.span, option.rule.code, whose);
        }
    }
}
