//! What is kept, and for how long.

use std::sync::Arc;
use std::time::{Duration, Instant};

use offhook_model::DnsCache;

use super::*;
use crate::forward::{Answer, Cache, Lookup};

const SECOND: Duration = Duration::from_secs(1);

fn settings(entries: u32) -> DnsCache {
    DnsCache { entries, stale: Duration::from_secs(3600), ..DnsCache::default() }
}

fn kept(query: &Query, ttl: u32) -> Arc<Answer> {
    let mut message = response(query, ResponseCode::NoError);
    let owner = crate::forward::answer::library_name(query.name.as_wire()).unwrap();
    message.add_answer(Record::from_rdata(owner, ttl, a(1)));
    Arc::new(answer(query, &message))
}

fn numbered(n: usize) -> Query {
    query(&format!("{n}.example.com."), RecordType::A)
}

#[test]
fn an_answer_holds_for_its_ttl_then_is_stale_then_gone() {
    let (query, start) = (numbered(0), Instant::now());
    let mut cache = Cache::new(&settings(10));
    assert_eq!(cache.look_up(&query, start), Lookup::Missing);
    let answer = kept(&query, 100);
    cache.insert(&query, &answer, start);
    for (after, age, expiring) in [(0, 0, false), (89, 89, false), (90, 90, true), (99, 99, true)] {
        let expected = Lookup::Fresh { answer: Arc::clone(&answer), age, expiring };
        assert_eq!(cache.look_up(&query, start + SECOND * after), expected);
    }
    let stale = Lookup::Stale { answer: Arc::clone(&answer), failed: false };
    assert_eq!(cache.look_up(&query, start + SECOND * 100), stale);
    assert_eq!(cache.look_up(&query, start + SECOND * 3699), stale);
    assert_eq!(cache.look_up(&query, start + SECOND * 3700), Lookup::Missing);
}

#[test]
fn without_stale_an_expired_answer_is_gone() {
    let (query, start) = (numbered(0), Instant::now());
    let mut cache = Cache::new(&DnsCache { stale: Duration::ZERO, ..settings(10) });
    cache.insert(&query, &kept(&query, 5), start);
    assert_eq!(cache.look_up(&query, start + SECOND * 5), Lookup::Missing);
}

#[test]
fn a_failure_is_remembered_for_a_second_and_beside_what_is_stale() {
    let (query, start) = (numbered(0), Instant::now());
    let mut cache = Cache::new(&settings(10));
    cache.fail(&query, start);
    assert_eq!(cache.look_up(&query, start + SECOND / 2), Lookup::Failed);
    assert_eq!(cache.look_up(&query, start + SECOND), Lookup::Missing);
    let answer = kept(&query, 5);
    cache.insert(&query, &answer, start);
    let later = start + SECOND * 10;
    cache.fail(&query, later);
    assert_eq!(
        cache.look_up(&query, later),
        Lookup::Stale { answer: Arc::clone(&answer), failed: true }
    );
    assert_eq!(cache.look_up(&query, later + SECOND), Lookup::Stale { answer, failed: false });
    assert_eq!(cache.len(), 1, "failures take no answer's place");
}

#[test]
fn failures_are_forgotten_once_there_is_an_answer() {
    let (query, start) = (numbered(0), Instant::now());
    let mut cache = Cache::new(&settings(10));
    cache.fail(&query, start);
    cache.insert(&query, &kept(&query, 5), start);
    assert!(matches!(cache.look_up(&query, start), Lookup::Fresh { .. }));
    cache.insert(&query, &kept(&query, 0), start);
    assert_eq!(cache.look_up(&query, start), Lookup::Missing, "the newest answer was for once");
}

#[test]
fn what_is_asked_for_stays_and_what_is_not_goes() {
    let start = Instant::now();
    let mut cache = Cache::new(&settings(100));
    let wanted = numbered(100_000);
    cache.insert(&wanted, &kept(&wanted, 60), start);
    for n in 0..1000 {
        assert!(matches!(cache.look_up(&wanted, start), Lookup::Fresh { .. }), "{n}");
        cache.insert(&numbered(n), &kept(&numbered(n), 60), start);
        let (used, capacity) = cache.usage();
        assert!(used <= capacity);
    }
    assert!(cache.len() > 40, "{}", cache.len());
    cache.clear();
    assert!(cache.is_empty() && cache.usage().0 == 0);
    assert_eq!(cache.look_up(&wanted, start), Lookup::Missing);
}

#[test]
fn a_long_answer_counts_as_several_and_the_longest_are_not_kept() {
    let start = Instant::now();
    let long = |n: usize, records: u32| {
        let query = numbered(n);
        let mut message = response(&query, ResponseCode::NoError);
        for m in 0..records {
            let address = RData::A(A(std::net::Ipv4Addr::from_bits(m)));
            message.add_answer(record(&format!("{n}.example.com."), 60, address));
        }
        (Arc::new(answer(&query, &message)), query)
    };
    let mut cache = Cache::new(&settings(100));
    let (answer, query) = long(1, 100);
    cache.insert(&query, &answer, start);
    assert_eq!(cache.len(), 1);
    assert!(cache.usage().0 > 3, "{:?}", cache.usage());
    let (answer, query) = long(2, 1000);
    cache.insert(&query, &answer, start);
    assert_eq!(cache.look_up(&query, start), Lookup::Missing);
    let mut none = Cache::new(&settings(0));
    none.insert(&numbered(1), &kept(&numbered(1), 60), start);
    assert!(none.is_empty());
}
