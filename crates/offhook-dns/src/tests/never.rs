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

/// A zone with everything that leads from one name to another.
static LINKED: LazyLock<Zones> = LazyLock::new(|| {
    let records = [
        ("a", CNAME, "b.lab.voip."),
        ("b", CNAME, "x.w.lab.voip."),
        ("*.w", CNAME, "provision.lab.voip."),
        ("*.c", A, "192.0.2.1"),
        ("*.c", MX, "10 a.lab.voip."),
        ("d", NS, "ns.d.lab.voip."),
        ("d", NS, "ns.e.lab.voip."),
        ("ns.d", A, "192.0.2.2"),
        ("ns.e", AAAA, "2001:db8::2"),
        ("x.d", TXT, "somebody else's"),
        ("o", DNAME, "c.lab.voip."),
        ("p", DNAME, "d.lab.voip."),
        ("e", CNAME, "x.d.lab.voip."),
        ("f", CNAME, "www.example.com."),
        ("g", SRV, "1 2 3 y.c.lab.voip."),
        ("h", NAPTR, "1 2 \"s\" \"SIP+D2U\" \"\" g.lab.voip."),
        ("i", NAPTR, "1 2 \"a\" \"SIP+D2U\" \"\" ns.d.lab.voip."),
        ("@", MX, "10 mail.lab.voip."),
        ("mail", A, "192.0.2.3"),
    ];
    Zones::from_site(&lab_with(&records), 1)
});

/// Whether `name` is `top`, or below it.
fn is_within(name: &str, top: &str) -> bool {
    name == top || name.ends_with(&format!(".{top}"))
}

/// The name that some data leads to: its last word.
fn target(data: &str) -> String {
    data.rsplit(' ').next().unwrap_or_default().to_lowercase()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn an_answer_has_no_name_but_those_that_the_question_leads_to_and_their_glue(
        labels in prop::collection::vec(
            prop::sample::select(&["a", "b", "w", "c", "d", "e", "f", "g", "h", "i", "o", "p", "x", "ns", "*"][..]),
            0..4,
        ),
        qtype in prop::sample::select(&[A, AAAA, NS, CNAME, SOA, MX, TXT, SRV, NAPTR, DNAME, DS, ANY][..]),
        tcp in any::<bool>(),
    ) {
        let asked = format!("{}.lab.voip.", labels.join(".")).trim_start_matches('.').to_owned();
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        let reply = reply(&LINKED, &Query::new(&asked, qtype).bytes(), transport, 0);
        let mut names = vec![asked.clone()];
        let mut servers = Vec::new();
        for rr in &reply.answers {
            let owner = rr.owner.to_lowercase();
            let renames = rr.rtype == DNAME && names.iter().any(|name| is_within(name, &owner));
            prop_assert!(names.contains(&owner) || renames, "{} is answered with {}", asked, owner);
            match rr.rtype {
                CNAME => names.push(target(&rr.data)),
                NS | MX | SRV | NAPTR => servers.push(target(&rr.data)),
                _ => {}
            }
        }
        for rr in &reply.authorities {
            let owner = rr.owner.to_lowercase();
            prop_assert!(matches!(rr.rtype, SOA | NS));
            let last = names.last().unwrap();
            prop_assert!(is_within(last, &owner), "{} is not above {}", owner, last);
            if rr.rtype == NS {
                prop_assert!(owner != "lab.voip." && !reply.data().contains(&"somebody else's"));
                servers.push(target(&rr.data));
            }
        }
        for rr in &reply.additionals {
            let owner = rr.owner.to_lowercase();
            prop_assert!(servers.contains(&owner), "{} has nothing to do with {}", owner, asked);
            if rr.rtype == SRV {
                servers.push(target(&rr.data));
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
            Outcome::Transfer(_) => panic!("nobody may have zones"),
        };
        let reply = Reply::read(&wire);
        prop_assert_eq!(&wire[..2], &packet[..2]);
        prop_assert_eq!(reply.flags & 0x8000, 0x8000);
        let limit = if transport == Transport::Udp { 1232 } else { 65535 };
        prop_assert!(wire.len() <= limit);
    }
    Ok(())
}
