//! What must never happen, whatever comes.

use std::sync::LazyLock;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::support::*;
use crate::{Outcome, Transport, Zones, answer};

static LAB: LazyLock<Zones> = LazyLock::new(|| Zones::from_site(&lab(), 1));

/// Names of ours, and neighbours of them.
fn owners() -> impl Strategy<Value = String> {
    let label = prop_oneof![
        Just("lab".to_string()),
        Just("voip".to_string()),
        Just("_sip".to_string()),
        Just("_udp".to_string()),
        Just("provision".to_string()),
        Just("vm40ic1".to_string()),
        Just("in-addr".to_string()),
        Just("arpa".to_string()),
        Just("10".to_string()),
        Just("250".to_string()),
        "[a-zA-Z0-9_-]{1,12}",
    ];
    prop::collection::vec(label, 0..6).prop_map(|labels| labels.join("."))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_are_answered_or_ignored_within_the_limit(
        packet in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        check(&packet)?;
    }

    #[test]
    fn a_damaged_request_is_answered_or_ignored_within_the_limit(
        owner in owners(),
        qtype in prop_oneof![Just(A), Just(SRV), Just(ANY), Just(NS), any::<u16>()],
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        options in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut packet = Query::new(&owner, qtype).opt(4096, 0, &options).bytes();
        for (at, octet) in damage {
            let at = at.index(packet.len());
            packet[at] = octet;
        }
        check(&packet)?;
        packet.truncate(cut.index(packet.len()));
        check(&packet)?;
    }

    #[test]
    fn an_answer_has_no_name_but_the_one_asked_for_its_targets_and_the_zones(
        owner in owners(),
        qtype in prop_oneof![Just(A), Just(SRV), Just(ANY), Just(NS), Just(SOA), Just(PTR)],
    ) {
        let zones = &*LAB;
        let mut rng = StdRng::seed_from_u64(0);
        let query = Query::new(&owner, qtype).bytes();
        if let Outcome::Reply(reply) = answer(zones, &query, phone(Transport::Udp), &mut rng) {
            let reply = Reply::read(&reply.encode().unwrap());
            let asked = reply.questions[0].0.clone();
            for rr in &reply.answers {
                prop_assert_eq!(&rr.owner, &asked);
            }
            for rr in &reply.authorities {
                prop_assert!(zones.apexes().any(|apex| apex == rr.owner));
                prop_assert!(asked.to_lowercase().ends_with(&rr.owner));
            }
            for rr in &reply.additionals {
                prop_assert!(reply.answers.iter().any(|answer| answer.data.ends_with(&rr.owner)));
            }
        }
    }
}

fn check(packet: &[u8]) -> Result<(), TestCaseError> {
    let zones = &*LAB;
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut rng = StdRng::seed_from_u64(0);
        let wire = match answer(zones, packet, phone(transport), &mut rng) {
            Outcome::Ignore(_) => {
                prop_assert!(packet.len() < 12 || packet[2] & 0x80 != 0);
                continue;
            }
            Outcome::Reply(reply) => reply.encode().unwrap(),
            Outcome::Forward(forward) => forward.failed().encode().unwrap(),
        };
        let reply = Reply::read(&wire);
        prop_assert_eq!(&wire[..2], &packet[..2]);
        prop_assert_eq!(reply.flags & 0x8000, 0x8000);
        let limit = if transport == Transport::Udp { 1232 } else { 65535 };
        prop_assert!(wire.len() <= limit);
    }
    Ok(())
}
