//! Whether what a client sends meets the condition of a class.

use offhook_model::{BytesTest, Condition, ScopeId};

use crate::wire::vendor::{
    enterprise, enterprise_blocks, instances, polycom_fields, sub_options, user_classes,
};
use crate::wire::{Request, code, trim_nuls};

/// Polycom's enterprise number.
const POLYCOM: u32 = 13885;

/// Whether a message, to be served from `scope`, meets a condition. A test of what did not come fails, so that `Not`
/// of it holds.
pub(crate) fn holds(condition: &Condition, request: &Request<'_>, scope: Option<ScopeId>) -> bool {
    let option =
        |code, test: &BytesTest| request.option(code).is_some_and(|value| passes(test, value));
    match condition {
        Condition::All(conditions) => conditions.iter().all(|one| holds(one, request, scope)),
        Condition::Any(conditions) => conditions.iter().any(|one| holds(one, request, scope)),
        Condition::Not(condition) => !holds(condition, request, scope),
        Condition::Option(code, test) => option(*code, test),
        Condition::UserClass(test) => request
            .option(code::USER_CLASS)
            .is_some_and(|value| user_classes(value).any(|text| passes(test, text))),
        Condition::PolycomField(number, test) => request
            .option(code::VENDOR_CLASS)
            .filter(|value| enterprise(value) == Some(POLYCOM))
            .is_some_and(|value| {
                polycom_fields(value).any(|(code, field)| code == *number && passes(test, field))
            }),
        Condition::VendorClassOf(number, test) => {
            by_enterprise(request, code::VENDOR_CLASS_BY_ENTERPRISE, *number, |data| {
                // All of it as one, or any one item (RFC 3925, 3).
                passes(test, data) || instances(data).any(|item| passes(test, item))
            })
        }
        Condition::VendorOptionsOf(number, test) => {
            by_enterprise(request, code::VENDOR_OPTIONS_BY_ENTERPRISE, *number, |data| {
                // All of them as one, or any one alone.
                passes(test, data) || sub_options(data).any(|(_, value)| passes(test, value))
            })
        }
        Condition::Hardware(prefix) => request.header.hardware.bytes().starts_with(prefix),
        Condition::HostName(test) => [request.host_name(), request.fqdn_label()]
            .into_iter()
            .flatten()
            .any(|name| passes(test, name)),
        Condition::CircuitId(test) => agent(request, code::CIRCUIT_ID, test),
        Condition::RemoteId(test) => agent(request, code::REMOTE_ID, test),
        Condition::Relay(network) => {
            request.header.is_relayed() && network.contains(request.header.giaddr)
        }
        Condition::Scope(id) => scope == Some(*id),
    }
}

/// Whether a condition is about what a relay says, which is not there when a client writes to us alone.
pub(crate) fn asks_relay(condition: &Condition) -> bool {
    match condition {
        Condition::All(conditions) | Condition::Any(conditions) => {
            conditions.iter().any(asks_relay)
        }
        Condition::Not(condition) => asks_relay(condition),
        Condition::Option(option, _) => *option == code::RELAY_AGENT,
        Condition::CircuitId(_) | Condition::RemoteId(_) | Condition::Relay(_) => true,
        _ => false,
    }
}

fn by_enterprise(
    request: &Request<'_>,
    code: u8,
    number: u32,
    passes: impl Fn(&[u8]) -> bool,
) -> bool {
    request.option(code).is_some_and(|value| {
        enterprise_blocks(value).any(|(sender, data)| sender == number && passes(data))
    })
}

fn agent(request: &Request<'_>, sub_option: u8, test: &BytesTest) -> bool {
    request.agent_option(sub_option).is_some_and(|value| passes(test, value))
}

/// Letter case and trailing NULs do not count in what is compared with text.
fn passes(test: &BytesTest, value: &[u8]) -> bool {
    match test {
        BytesTest::Present => true,
        BytesTest::Is(bytes) => trim_nuls(value).eq_ignore_ascii_case(trim_nuls(bytes)),
        BytesTest::Prefix(bytes) => {
            value.get(..bytes.len()).is_some_and(|start| start.eq_ignore_ascii_case(bytes))
        }
        BytesTest::Exact(bytes) => *value == **bytes,
        BytesTest::ExactPrefix(bytes) => value.starts_with(bytes),
        BytesTest::Pattern(pattern) => matches(trim_nuls(pattern), trim_nuls(value)),
    }
}

/// Whether a value matches a pattern of `*`, `?` and letters. Goes back to the last `*` only, which is enough: no more
/// steps than the product of both lengths.
fn matches(pattern: &[u8], value: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    // Behind the last `*`, and how far it reaches.
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = value.get(from) {
        match pattern.get(at) {
            Some(b'*') => {
                at += 1;
                star = Some((at, from));
            }
            Some(b'?') => {
                at += 1;
                from += 1;
            }
            Some(letter) if letter.eq_ignore_ascii_case(byte) => {
                at += 1;
                from += 1;
            }
            _ => match &mut star {
                Some((behind, reach)) => {
                    *reach += 1;
                    (at, from) = (*behind, *reach);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at).all(|letter| *letter == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_is_any_bytes_and_a_question_mark_one() {
        let cases: &[(&str, &str, bool)] = &[
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("?", "", false),
            ("440hd-*", "440HD-0011", true),
            ("440hd-*", "440HD", false),
            ("*-??", "a-b-cd", true),
            ("*-??", "a-b-cde", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("a**c", "abbc", true),
            ("*ab", "aab", true),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), *expected, "{pattern} {text}");
        }
    }

    /// The definition, letter by letter.
    fn slowly(pattern: &[u8], value: &[u8]) -> bool {
        match (pattern.split_first(), value.split_first()) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some((b'*', rest)), _) => (0..=value.len()).any(|at| slowly(rest, &value[at..])),
            (Some((b'?', rest)), Some((_, value))) => slowly(rest, value),
            (Some((a, rest)), Some((b, value))) => a == b && slowly(rest, value),
            (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn patterns_match_what_their_definition_says(
            pattern in "[ab*?]{0,7}",
            value in "[ab]{0,9}",
        ) {
            let (pattern, value) = (pattern.as_bytes(), value.as_bytes());
            prop_assert_eq!(matches(pattern, value), slowly(pattern, value));
        }
    }
}
