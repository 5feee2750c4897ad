//! What holds whatever comes: PROPTEST_CASES raises the number of cases.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use offhook_model::DnsCache;
use proptest::prelude::*;

use super::*;
use crate::forward::answer::{Age, library_name};
use crate::forward::{Answer, Cache, Lookup};

const NAMES: [&str; 6] =
    ["a.example.", "b.example.", "c.example.", "example.", "x.lab.voip.", "other.test."];

fn data() -> impl Strategy<Value = RData> {
    prop_oneof![
        any::<u8>().prop_map(a),
        (0..NAMES.len()).prop_map(|n| cname(NAMES[n])),
        (0..NAMES.len()).prop_map(|n| srv(NAMES[n])),
        (0..NAMES.len()).prop_map(|n| ns(NAMES[n])),
        (0..100u32).prop_map(soa),
        Just(octets(39, b"\x07example\0")),
        Just(octets(46, b"\0\x01signature")),
        Just(octets(47, b"\x01z\0")),
    ]
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    let one = ((0..NAMES.len()), 0..200_000u32, data())
        .prop_map(|(owner, ttl, data)| record(NAMES[owner], ttl, data));
    prop::collection::vec(one, 0..12)
}

fn message(query: &Query, nxdomain: bool, sections: &[Vec<Record>; 3]) -> Message {
    let code = if nxdomain { ResponseCode::NXDomain } else { ResponseCode::NoError };
    let mut message = response(query, code);
    message.answers = sections[0].clone();
    message.authorities = sections[1].clone();
    message.additionals = sections[2].clone();
    message
}

/// The names that the question leads to by the aliases in `answer`.
fn chain(answer: &Answer, from: &str) -> Vec<Vec<u8>> {
    let mut chain = vec![wire(from)];
    for set in &answer.answers {
        if set.rtype == 5 {
            assert!(set.owner.eq_ignore_ascii_case(chain.last().unwrap()), "{answer:?}");
            assert_eq!(set.data.len(), 1);
            chain.push(set.data[0].to_ascii_lowercase());
        }
    }
    chain
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_answer_has_nothing_that_the_question_does_not_lead_to(
        sections in [records(), records(), records()],
        nxdomain in any::<bool>(),
        dnssec_ok in any::<bool>(),
        qtype in prop_oneof![Just(1u16), Just(33), Just(255), Just(16)],
    ) {
        let query = Query { dnssec_ok, ..query("a.example.", RecordType::from(qtype)) };
        let packet = message(&query, nxdomain, &sections).to_vec().unwrap();
        if let Response::Answer(answer) = read(&query, &packet) {
            let chain = if qtype == 255 { vec![wire("a.example.")] } else { chain(&answer, "a.example.") };
            let ours = wire("lab.voip.");
            for set in &answer.answers {
                let owner = set.owner.to_ascii_lowercase();
                let is_dname = set.rtype == 39 && chain.iter().any(|name| name.ends_with(&owner));
                prop_assert!(chain.contains(&owner) || is_dname, "{:?}", answer);
                prop_assert!(!owner.ends_with(&ours), "{:?}", answer);
                prop_assert!(
                    [qtype, 5, 39].contains(&set.rtype) || qtype == 255 || dnssec_ok && set.rtype == 46
                );
            }
            for set in &answer.authorities {
                let last = chain.last().unwrap();
                let is_soa = set.rtype == 6 && last.ends_with(&set.owner.to_ascii_lowercase());
                prop_assert!(is_soa || dnssec_ok && [46, 47].contains(&set.rtype), "{:?}", answer);
            }
            for set in &answer.additionals {
                let named = answer.answers.iter().flat_map(|set| &set.data);
                let owner = set.owner.to_ascii_lowercase();
                prop_assert!(named.clone().any(|data| data.to_ascii_lowercase().ends_with(&owner)));
                prop_assert!(!owner.ends_with(&ours));
            }
            if let Some(next) = &answer.next {
                prop_assert_eq!(next, chain.last().unwrap());
                prop_assert!(answer.authorities.is_empty() && answer.additionals.is_empty());
            }
            let kept = answer.answers.iter().chain(&answer.authorities);
            prop_assert!(kept.clone().all(|set| set.ttl >= answer.ttl() && set.ttl <= LIMITS.max_ttl));
        }
    }

    #[test]
    fn whatever_comes_is_read_without_harm(
        sections in [records(), records(), records()],
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        length in any::<prop::sample::Index>(),
    ) {
        let query = query("a.example.", RecordType::A);
        let mut packet = message(&query, false, &sections).to_vec().unwrap();
        for (at, to) in changes {
            let at = at.index(packet.len());
            packet[at] = to;
        }
        packet.truncate(length.index(packet.len() + 1));
        if let Response::Answer(answer) = read(&query, &packet) {
            let asked = crate::Question { name: name("a.example."), qtype: 1, qclass: 1 };
            for record in answer.answer_records(&asked, Age::Seconds(0)) {
                let mut wire = Vec::new();
                let mut encoder = hickory_proto::serialize::binary::BinEncoder::new(&mut wire);
                hickory_proto::serialize::binary::BinEncodable::emit(&record, &mut encoder).unwrap();
            }
        }
    }

    #[test]
    fn the_cache_never_gives_what_has_expired_nor_more_than_it_was_told_nor_grows(
        entries in 0..40u32,
        steps in prop::collection::vec((0..60usize, 0..30u32, 0..4u8, 0..3000u64), 1..120),
    ) {
        let stale = Duration::from_secs(20);
        let mut cache = Cache::new(&DnsCache { entries, stale, ..DnsCache::default() });
        let mut told: HashMap<usize, (Instant, u32)> = HashMap::new();
        let mut now = Instant::now();
        for (n, ttl, what, passes) in steps {
            now += Duration::from_millis(passes);
            let query = query(&format!("{n}.example."), RecordType::A);
            match what {
                0 => {
                    let mut message = response(&query, ResponseCode::NoError);
                    let owner = library_name(query.name.as_wire()).unwrap();
                    message.add_answer(Record::from_rdata(owner, ttl, a(n as u8)));
                    cache.insert(&query, &Arc::new(answer(&query, &message)), now);
                    told.insert(n, (now, ttl));
                }
                1 => cache.fail(&query, now),
                _ => {}
            }
            let told = told.get(&n).map(|(at, ttl)| (now - *at, Duration::from_secs((*ttl).into()), *ttl));
            match cache.look_up(&query, now) {
                Lookup::Fresh { age, .. } => {
                    let (passed, life, ttl) = told.unwrap();
                    prop_assert!(passed < life && age < ttl);
                    prop_assert_eq!(u64::from(age), passed.as_secs());
                }
                Lookup::Stale { .. } => {
                    let (passed, life, _) = told.unwrap();
                    prop_assert!(passed >= life && passed < life + stale);
                }
                Lookup::Failed | Lookup::Missing => {}
            }
            let (used, capacity) = cache.usage();
            prop_assert!(used <= capacity && cache.len() <= entries as usize);
        }
    }

    #[test]
    fn a_ttl_only_ever_gets_shorter(ttl in 1..100u32, times in prop::collection::vec(0..20u64, 1..12)) {
        let query = query("a.example.", RecordType::A);
        let mut message = response(&query, ResponseCode::NoError);
        message.add_answer(record("a.example.", ttl, a(1)));
        message.add_answer(record("a.example.", ttl + 5, a(2)));
        let mut cache = Cache::new(&DnsCache::default());
        let mut now = Instant::now();
        cache.insert(&query, &Arc::new(answer(&query, &message)), now);
        let asked = crate::Question { name: name("a.example."), qtype: 1, qclass: 1 };
        let mut last = ttl;
        for passes in times {
            now += Duration::from_secs(passes);
            let Lookup::Fresh { answer, age, .. } = cache.look_up(&query, now) else { break };
            for record in answer.answer_records(&asked, Age::Seconds(age)) {
                prop_assert!(record.ttl > 0 && record.ttl <= last, "{} after {}", record.ttl, last);
                last = record.ttl;
            }
        }
    }
}
