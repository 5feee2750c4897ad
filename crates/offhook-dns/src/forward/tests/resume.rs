//! From pieces to a client's answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use hickory_proto::op::Edns;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::forward::{Fetched, Forward, Resumed};
use crate::tests::support;
use crate::{Client, Outcome, Reply, Transport, Zones};

/// The sample site, with somebody for every other name.
fn zones() -> Arc<Zones> {
    let mut site = support::lab();
    site.dns.forward = BTreeMap::from([
        (Some("lab.local".parse().unwrap()), vec!["10.250.0.2:53".parse().unwrap()]),
        (None, vec!["10.250.0.3:53".parse().unwrap()]),
    ]);
    Arc::new(Zones::from_site(&site, 1))
}

const CLIENT: Client = Client {
    address: std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
    transport: Transport::Udp,
};

fn ask_with(zones: &Zones, owner: &str, edns: bool) -> Outcome {
    let mut message = Message::query();
    message.metadata.id = 77;
    message.metadata.recursion_desired = true;
    message.add_query(Asked::query(name(owner), RecordType::A));
    if edns {
        message.set_edns(Edns::new());
    }
    crate::answer(zones, &message.to_vec().unwrap(), CLIENT, &mut StdRng::seed_from_u64(1))
}

fn forward(zones: &Zones, owner: &str) -> Forward {
    match ask_with(zones, owner, true) {
        Outcome::Forward(forward) => forward,
        other => panic!("{other:?}"),
    }
}

/// What comes of it when the upstream says this.
fn told(zones: &Arc<Zones>, forward: Forward, code: ResponseCode, records: &[Record]) -> Resumed {
    told_stale(zones, forward, code, records, false)
}

fn told_stale(
    zones: &Arc<Zones>,
    forward: Forward,
    code: ResponseCode,
    records: &[Record],
    stale: bool,
) -> Resumed {
    let query = forward.query();
    let mut message = response(&query, code);
    for record in records {
        match record.record_type() {
            RecordType::SOA => message.add_authority(record.clone()),
            _ => message.add_answer(record.clone()),
        };
    }
    let trust = forward.trust(Arc::clone(zones));
    let packet = message.to_vec().unwrap();
    let Response::Answer(answer) = query.read(ID, true, &packet, &LIMITS, &|n| trust.covers(n))
    else {
        panic!("not believed");
    };
    let answer = Arc::new(answer);
    let fetched = if stale { Fetched::stale(answer) } else { Fetched::fresh(answer, 10) };
    forward.resume(&fetched, zones, CLIENT, &mut StdRng::seed_from_u64(1))
}

fn reply(resumed: Resumed) -> Reply {
    match resumed {
        Resumed::Complete(reply) => reply,
        other => panic!("{other:?}"),
    }
}

fn onward(resumed: Resumed) -> Forward {
    match resumed {
        Resumed::Onward(forward) => forward,
        other => panic!("{other:?}"),
    }
}

/// `owner TTL TYPE data` of the answer section, as it is on the wire.
fn sent(reply: &Reply) -> Vec<String> {
    let message = Message::from_vec(&reply.encode().unwrap()).unwrap();
    let line = |record: &Record| {
        format!("{} {} {} {}", record.name, record.ttl, record.record_type(), record.data)
    };
    message.answers.iter().map(line).collect()
}

fn extended_error(reply: &Reply) -> Option<u16> {
    use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
    match reply.edns.as_ref()?.option(EdnsCode::from(15))? {
        EdnsOption::Unknown(15, data) => Some(u16::from_be_bytes(*data.first_chunk()?)),
        _ => None,
    }
}

#[test]
fn the_client_gets_its_own_question_flags_and_spelling_and_what_is_left_of_the_ttl() {
    let zones = zones();
    let forward = forward(&zones, "WwW.Example.com.");
    let records = [record("www.example.com.", 300, a(1))];
    let reply = reply(told(&zones, forward, ResponseCode::NoError, &records));
    assert_eq!(sent(&reply), ["WwW.Example.com. 290 A 192.0.2.1"]);
    let message = Message::from_vec(&reply.encode().unwrap()).unwrap();
    assert_eq!(message.queries[0].name().to_ascii(), "WwW.Example.com.");
    let flags = message.metadata;
    assert_eq!(
        (flags.id, flags.recursion_available, flags.authoritative, flags.authentic_data),
        (77, true, false, false)
    );
    assert_eq!(extended_error(&reply), None);
}

#[test]
fn an_alias_into_our_zone_is_answered_by_us_whatever_the_upstream_says() {
    let zones = zones();
    let forward = forward(&zones, "www.example.com.");
    let records = [
        record("www.example.com.", 300, cname("vm40ic1.lab.voip.")),
        record("vm40ic1.lab.voip.", 300, a(66)),
    ];
    let reply = reply(told(&zones, forward, ResponseCode::NoError, &records));
    assert_eq!(
        sent(&reply),
        ["www.example.com. 290 CNAME vm40ic1.lab.voip.", "vm40ic1.lab.voip. 300 A 10.250.1.151"]
    );
}

#[test]
fn an_alias_to_what_we_do_not_have_is_nxdomain_with_our_soa() {
    let zones = zones();
    let forward = forward(&zones, "www.example.com.");
    let records = [record("www.example.com.", 300, cname("nothere.lab.voip."))];
    let reply = reply(told(&zones, forward, ResponseCode::NoError, &records));
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!((reply.answers.len(), reply.authorities.len()), (1, 1));
}

#[test]
fn an_alias_to_another_zone_is_asked_of_whoever_serves_that() {
    let zones = zones();
    let first = forward(&zones, "www.lab.local.");
    assert_eq!(*first.servers, ["10.250.0.2:53".parse().unwrap()]);
    let records = [
        record("www.lab.local.", 300, cname("www.example.com.")),
        record("www.example.com.", 300, a(66)),
    ];
    let second = onward(told(&zones, first, ResponseCode::NoError, &records));
    assert_eq!(*second.servers, ["10.250.0.3:53".parse().unwrap()]);
    assert_eq!(second.query(), query("www.example.com.", RecordType::A));
    let records = [record("www.example.com.", 300, a(2))];
    let reply = reply(told(&zones, second, ResponseCode::NoError, &records));
    assert_eq!(
        sent(&reply),
        ["www.lab.local. 290 CNAME www.example.com.", "www.example.com. 290 A 192.0.2.2"]
    );
    assert_eq!(reply.question.as_ref().unwrap().name.to_ascii(), "www.lab.local.");
}

#[test]
fn an_alias_to_what_nobody_is_asked_about_is_believed_with_its_target() {
    let zones = Arc::new(Zones::from_site(&support::lab(), 1));
    let forward = forward(&zones, "www.lab.local.");
    let records = [
        record("www.lab.local.", 300, cname("www.example.com.")),
        record("www.example.com.", 300, a(2)),
    ];
    let reply = reply(told(&zones, forward, ResponseCode::NoError, &records));
    assert_eq!(sent(&reply).len(), 2);
    let Outcome::Reply(refused) = ask_with(&zones, "www.example.com.", true) else { panic!() };
    assert_eq!(refused.metadata.response_code, ResponseCode::Refused, "and for that answer only");
}

#[test]
fn an_alias_without_target_to_what_nobody_is_asked_about_is_the_answer() {
    let zones = Arc::new(Zones::from_site(&support::lab(), 1));
    let forward = forward(&zones, "www.lab.local.");
    let records = [record("www.lab.local.", 300, cname("www.example.com."))];
    let reply = reply(told(&zones, forward, ResponseCode::NoError, &records));
    assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
    assert_eq!(sent(&reply), ["www.lab.local. 290 CNAME www.example.com."]);
}

#[test]
fn aliases_that_go_round_over_two_servers_end() {
    let zones = zones();
    let first = forward(&zones, "a.lab.local.");
    let records = [record("a.lab.local.", 300, cname("b.example.com."))];
    let second = onward(told(&zones, first, ResponseCode::NoError, &records));
    let records = [record("b.example.com.", 300, cname("a.lab.local."))];
    let reply = reply(told(&zones, second, ResponseCode::NoError, &records));
    assert_eq!((reply.metadata.response_code, sent(&reply)), (ResponseCode::ServFail, vec![]));

    let mut next = forward(&zones, "0.lab.local.");
    for n in 0..20 {
        let zone = |n: u32| if n.is_multiple_of(2) { "lab.local." } else { "example.com." };
        let alias = cname(&format!("{}.{}", n + 1, zone(n + 1)));
        let records = [record(&format!("{n}.{}", zone(n)), 300, alias)];
        match told(&zones, next, ResponseCode::NoError, &records) {
            Resumed::Onward(forward) => next = forward,
            Resumed::Complete(reply) => {
                assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
                return;
            }
        }
    }
    panic!("it goes on for ever");
}

#[test]
fn a_stale_answer_says_so_and_holds_for_half_a_minute() {
    let zones = zones();
    let records = [record("www.example.com.", 300, a(1))];
    let forwarded = forward(&zones, "www.example.com.");
    let stale = reply(told_stale(&zones, forwarded, ResponseCode::NoError, &records, true));
    assert_eq!(sent(&stale), ["www.example.com. 30 A 192.0.2.1"]);
    assert_eq!(extended_error(&stale), Some(3));
    let forwarded = forward(&zones, "www.example.com.");
    let records = [record("example.com.", 300, soa(60))];
    let stale = reply(told_stale(&zones, forwarded, ResponseCode::NXDomain, &records, true));
    assert_eq!((stale.authorities[0].ttl, extended_error(&stale)), (30, Some(19)));
}

#[test]
fn a_failure_is_servfail_with_a_reason_for_those_who_can_read_it() {
    let zones = zones();
    let failed = forward(&zones, "www.example.com.").failed();
    assert_eq!(failed.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(extended_error(&failed), Some(22));
    let size = failed.encode().unwrap().len();
    assert_eq!(size, 12 + 21 + 11 + 6);
    let Outcome::Forward(plain) = ask_with(&zones, "www.example.com.", false) else { panic!() };
    assert!(plain.failed().edns.is_none());
}

#[test]
fn without_rd_and_for_other_classes_nobody_is_asked() {
    let zones = zones();
    let mut message = Message::query();
    message.metadata.recursion_desired = false;
    message.add_query(Asked::query(name("www.example.com."), RecordType::A));
    let packet = message.to_vec().unwrap();
    let answer = |packet: &[u8]| match crate::answer(
        &zones,
        packet,
        CLIENT,
        &mut StdRng::seed_from_u64(1),
    ) {
        Outcome::Reply(reply) => reply,
        other => panic!("{other:?}"),
    };
    let refused = answer(&packet);
    assert_eq!(refused.metadata.response_code, ResponseCode::Refused);
    message.metadata.recursion_desired = true;
    let mut any = message.to_vec().unwrap();
    *any.last_mut().unwrap() = 255;
    let refused = answer(&any);
    assert_eq!(refused.metadata.response_code, ResponseCode::Refused);
}

#[test]
fn a_long_answer_is_truncated_over_udp_and_whole_over_tcp() {
    let zones = zones();
    let records: Vec<_> = (0..200).map(|n| record("www.example.com.", 300, a(n))).collect();
    let forwarded = forward(&zones, "www.example.com.");
    let udp = reply(told(&zones, forwarded, ResponseCode::NoError, &records)).encode().unwrap();
    assert!(udp.len() <= 1232 && udp[2] & 2 != 0);
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Asked::query(name("www.example.com."), RecordType::A));
    let tcp = Client { transport: Transport::Tcp, ..CLIENT };
    let packet = message.to_vec().unwrap();
    let Outcome::Forward(forward) =
        crate::answer(&zones, &packet, tcp, &mut StdRng::seed_from_u64(1))
    else {
        panic!("not forwarded");
    };
    let whole = reply(told(&zones, forward, ResponseCode::NoError, &records));
    assert_eq!(sent(&whole).len(), 200);
}
