//! Other servers are asked, and what was kept of those before.

use std::sync::Arc;
use std::time::{Duration, Instant};

use offhook_model::{DnsCache, Site};

use super::*;
use crate::Zones;
use crate::forward::{Cache, Inquiry, Lookup, Step, Upstreams};

/// Zones that succeed `before`, with these servers asked by zone; the root is everything.
fn zones(before: Option<&Zones>, forward: &[(&str, &[&str])]) -> Zones {
    let mut site = Site::new("lab.voip".parse().unwrap());
    site.dns.forward = forward
        .iter()
        .map(|(zone, servers)| {
            let zone = (*zone != ".").then(|| zone.parse().unwrap());
            (zone, servers.iter().map(|server| server.parse().unwrap()).collect())
        })
        .collect();
    let mut zones = Zones::from_site(&site, 0);
    before.iter().for_each(|before| zones.succeed(before));
    zones
}

const ONE: &str = "10.0.0.1:53";
const TWO: &str = "10.0.0.2:53";

fn cache() -> Cache {
    Cache::new(&DnsCache { entries: 1000, ..DnsCache::default() })
}

#[test]
fn what_servers_said_that_are_asked_still_is_kept_and_nothing_else() {
    let asked = |owner| query(owner, RecordType::A);
    let (www, plain) = (asked("www.example."), asked("www.corp.example."));
    let chain = asked("alias.example.");
    let before = zones(None, &[(".", &[ONE])]);
    for (forward, kept) in [
        (&[(".", &[ONE] as &[_])][..], [true, true, true]),
        (&[(".", &[TWO])], [false; 3]),
        (&[(".", &[ONE, TWO])], [false; 3]),
        (&[("other.example", &[ONE])], [false; 3]),
        (&[("other.example", &[TWO]), (".", &[ONE])], [true, true, true]),
        // The same machine, for another part of the name space.
        (&[("corp.example", &[ONE]), (".", &[ONE])], [true, false, false]),
        (&[("corp.example", &[TWO]), (".", &[ONE])], [true, false, false]),
        (&[], [false; 3]),
    ] {
        let (mut cache, start) = (cache(), Instant::now());
        for query in [&www, &plain] {
            let mut message = response(query, ResponseCode::NoError);
            let owner = super::super::answer::library_name(query.name.as_wire()).unwrap();
            message.add_answer(Record::from_rdata(owner, 60, a(1)));
            cache.insert(query, &Arc::new(answer(query, &message)), start);
        }
        let mut message = response(&chain, ResponseCode::NoError);
        message.add_answer(record("alias.example.", 60, cname("www.corp.example.")));
        message.add_answer(record("www.corp.example.", 60, a(1)));
        cache.insert(&chain, &Arc::new(answer(&chain, &message)), start);
        let failed = asked("failed.example.");
        cache.fail(&failed, start);
        let units = cache.usage().0;

        assert_eq!(cache.follow(&before, &zones(Some(&before), forward), 0), None);
        let found = [&www, &plain, &chain]
            .map(|query| matches!(cache.look_up(query, start), Lookup::Fresh { .. }));
        assert_eq!(found, kept, "{forward:?}");
        assert_eq!(cache.len(), kept.iter().filter(|kept| **kept).count());
        assert_eq!(cache.usage().0, units / 3 * cache.len());
        assert_eq!(cache.look_up(&failed, start), Lookup::Missing);
    }
}

#[test]
fn that_an_alias_leads_nowhere_is_kept_as_long_as_they_are_asked_about_that() {
    let query = query("alias.example.", RecordType::A);
    let mut message = response(&query, ResponseCode::NXDomain);
    message.add_answer(record("alias.example.", 60, cname("none.corp.example.")));
    message.add_authority(record("example.", 60, soa(60)));
    let nowhere = Arc::new(answer(&query, &message));
    let before = zones(None, &[(".", &[ONE])]);
    for (forward, is_kept) in [
        (&[(".", &[ONE] as &[_])][..], true),
        (&[("other.example", &[TWO]), (".", &[ONE])], true),
        (&[("corp.example", &[TWO]), (".", &[ONE])], false),
    ] {
        let (mut cache, start) = (cache(), Instant::now());
        cache.insert(&query, &nowhere, start);
        cache.follow(&before, &zones(Some(&before), forward), 0);
        assert_eq!(cache.len(), usize::from(is_kept), "{forward:?}");
    }
}

#[test]
fn what_is_ours_from_now_on_is_nobody_elses_to_say() {
    let before = zones(None, &[(".", &[ONE])]);
    let mut site = Site::new("lab.voip".parse().unwrap());
    site.dns.forward = [(None, vec![ONE.parse().unwrap()])].into();
    site.hosts = vec![offhook_model::Host::new(
        "a.lab.voip".parse().unwrap(),
        [192, 0, 2, 9].into(),
        offhook_model::Origin::default("test"),
    )];
    let mut now = Zones::from_site(&site, 0);
    now.succeed(&before);
    let query = query("9.2.0.192.in-addr.arpa.", RecordType::PTR);
    let mut message = response(&query, ResponseCode::NoError);
    let owner = super::super::answer::library_name(query.name.as_wire()).unwrap();
    message.add_answer(Record::from_rdata(owner, 60, ns("x.example.")));
    let (mut cache, start) = (cache(), Instant::now());
    cache.insert(
        &query,
        &Arc::new(super::super::Answer { ttl: 60, ..answer(&query, &message) }),
        start,
    );
    let (_, servers) = before.upstreams.responsible(query.name.as_wire()).unwrap();
    assert!(before.asks(&query, servers) && !now.asks(&query, servers));
    cache.follow(&before, &now, 0);
    assert!(cache.is_empty());
}

#[test]
fn all_of_a_large_cache_is_gone_through_and_its_places_are_used_again() {
    let before = zones(None, &[(".", &[ONE])]);
    let now = zones(Some(&before), &[(".", &[TWO])]);
    let (mut cache, start) = (cache(), Instant::now());
    for round in 0..3 {
        for n in 0..500 {
            let query = query(&format!("{n}.example."), RecordType::A);
            let mut message = response(&query, ResponseCode::NoError);
            message.add_answer(record(&format!("{n}.example."), 60, a(1)));
            cache.insert(&query, &Arc::new(answer(&query, &message)), start);
        }
        assert_eq!((cache.len(), cache.places()), (500, 500), "{round}");
        let (mut place, mut parts) = (Some(0), 0);
        while let Some(from) = place {
            place = cache.follow(&before, &now, from);
            parts += 1;
        }
        assert!(cache.is_empty() && cache.usage().0 == 0 && parts > 1);
    }
}

#[test]
fn a_shorter_life_holds_for_what_is_kept_already() {
    let second = Duration::from_secs(1);
    let start = Instant::now() + second * 100_000;
    let (yes, no) = (query("yes.example.", RecordType::A), query("no.example.", RecordType::A));
    let mut message = response(&yes, ResponseCode::NoError);
    message.add_answer(record("yes.example.", 1000, a(1)));
    let positive = Arc::new(answer(&yes, &message));
    let mut message = response(&no, ResponseCode::NXDomain);
    message.add_authority(record("example.", 1000, soa(1000)));
    let negative = Arc::new(answer(&no, &message));
    assert_eq!((positive.ttl(), negative.ttl()), (1000, 60));
    let mut cache = cache();
    cache.insert(&yes, &positive, start);
    cache.insert(&no, &negative, start);
    let settings = |max, negative| DnsCache {
        entries: 1000,
        max_ttl: second * max,
        negative_ttl: second * negative,
        ..DnsCache::default()
    };
    // As often as one likes, and back again.
    for (max, negative) in [(300, 20), (300, 20), (86_400, 60)] {
        cache.set(&settings(max, negative));
        let fresh = |cache: &mut Cache, query, after: u32| {
            matches!(cache.look_up(query, start + second * after), Lookup::Fresh { .. })
        };
        assert!(fresh(&mut cache, &yes, 299) && !fresh(&mut cache, &yes, 300));
        assert!(fresh(&mut cache, &no, 19) && !fresh(&mut cache, &no, 20));
        match cache.look_up(&yes, start + second) {
            Lookup::Fresh { age, .. } => assert_eq!(age, 701),
            other => panic!("{other:?}"),
        }
    }
    cache.set(&DnsCache { entries: 1, ..settings(300, 20) });
    assert!(cache.len() <= 1 && cache.usage().0 <= 1);
}

#[test]
fn what_is_known_of_servers_that_are_asked_still_is_kept() {
    let (one, two) = (ONE.parse().unwrap(), TWO.parse().unwrap());
    let mut upstreams = Upstreams::default();
    let start = Instant::now();
    for server in [one, two] {
        upstreams.missed(server, start);
        upstreams.checked(server, start);
    }
    upstreams.follow(&zones(None, &[("example", &[TWO]), (".", &["10.0.0.3:53"])]), start);
    assert!(upstreams.is_silent(two));
    assert!(upstreams.get(one).is_none());
}

#[test]
fn a_silent_server_that_is_all_there_is_after_a_reload_is_asked_at_once_until_it_was_checked() {
    let (one, start) = (ONE.parse().unwrap(), Instant::now());
    let mut upstreams = Upstreams::default();
    upstreams.missed(one, start);
    upstreams.checked(one, start);
    let ms = |n| start + Duration::from_millis(n);
    let steps = |upstreams: &mut Upstreams, at| {
        let mut inquiry = Inquiry::new(&[one], upstreams, at);
        let steps = std::iter::repeat_with(|| inquiry.step(upstreams, at));
        steps.take_while(|step| matches!(step, Step::Ask(_) | Step::Check(_))).collect::<Vec<_>>()
    };
    // Another zone's question had it checked, and that is under way.
    let both = [Step::Ask(one), Step::Check(one)];
    assert_eq!(steps(&mut upstreams, ms(1500)), both);
    assert_eq!(steps(&mut upstreams, ms(1600)), []);

    upstreams.follow(&zones(None, &[(".", &[ONE])]), ms(1600));
    assert!(upstreams.is_silent(one), "as far as is known");
    assert_eq!(steps(&mut upstreams, ms(1601)), both);
    // The question for the other kind of address comes with the first one, and before its answer.
    assert_eq!(steps(&mut upstreams, ms(1602)), [Step::Ask(one)]);
    assert_eq!(upstreams.checked(one, ms(1500)), None);
    assert_eq!(steps(&mut upstreams, ms(1603))[0], Step::Ask(one), "that was before the reload");
    let (mut back, mut dead) = (upstreams.clone(), upstreams);
    assert!(back.answered(one, Duration::from_millis(5), ms(1606)).is_some());
    assert_eq!(steps(&mut back, ms(1607)), [Step::Ask(one)]);
    assert_eq!(dead.checked(one, ms(1601)), None, "said before");
    assert_eq!(steps(&mut dead, ms(2500)), [], "it was checked, and is not there");
    assert!(!steps(&mut dead, ms(5000)).is_empty());
}
