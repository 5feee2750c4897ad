//! Whatever an upstream answers: nothing that the question does not lead to reaches a client, and what does can be
//! written, within the client's limits.
//!
//! The input is one octet that chooses the question, then the upstream's message without its id and question; where
//! the answer goes on with another question, the next message follows after two octets of ones.
#![no_main]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use hickory_proto::rr::{Name, RData, RecordType};
use libfuzzer_sys::fuzz_target;
use offhook_dns::forward::{Cache, Fetched, Limits, Lookup, Response, Resumed};
use offhook_dns::{Client, Forward, Outcome, Reply, Transport, Zones, answer};
use offhook_model::{Dns, DnsCache, Site};
use rand::SeedableRng;
use rand::rngs::SmallRng;

const ID: u16 = 0x1234;
const LIMITS: Limits = Limits { max_ttl: 86_400, negative_ttl: 60 };
const TYPES: [u16; 8] = [1, 28, 5, 33, 15, 35, 255, 16];

static ZONES: LazyLock<Arc<Zones>> = LazyLock::new(|| {
    let site = Site {
        dns: Dns {
            listen: vec!["10.250.1.5:53".parse().expect("an address")],
            forward: BTreeMap::from([
                (Some("b".parse().expect("a name")), vec![([10, 0, 0, 2], 53).into()]),
                (None, vec![([10, 0, 0, 3], 53).into()]),
            ]),
            ..Dns::default()
        },
        ..Site::new("lab.voip".parse().expect("a name"))
    };
    Arc::new(Zones::from_site(&site, 1))
});

/// A question about `a.`, over UDP or TCP.
fn question(choice: u8) -> (Forward, Client) {
    let qtype = TYPES[usize::from(choice & 7)];
    let dnssec = choice & 8 != 0;
    let client = Client {
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        transport: if choice & 16 != 0 { Transport::Tcp } else { Transport::Udp },
    };
    let mut request = b"\0\x07\x01\0\0\x01\0\0\0\0\0\x01\x01A\0".to_vec();
    request.extend_from_slice(&qtype.to_be_bytes());
    request.extend_from_slice(b"\0\x01\0\0\x29\x04\0\0\0");
    request.extend_from_slice(&[if dnssec { 0x80 } else { 0 }, 0, 0, 0]);
    match answer(&ZONES, &request, client, &mut SmallRng::seed_from_u64(1)) {
        Outcome::Forward(forward) => (forward, client),
        other => panic!("{other:?}"),
    }
}

/// Every record belongs to the chain of aliases that begins at the question.
fn check(reply: &Reply, transport: Transport, qtype: u16) {
    let wire = reply.encode().expect("what was read can be written");
    let most = if transport == Transport::Udp { 1024 } else { 65_535 };
    assert!(wire.len() <= most, "{} octets", wire.len());
    let mut chain: Vec<Name> = reply.question.iter().map(|question| question.name.clone()).collect();
    for record in &reply.answers {
        let of_chain = chain.contains(&record.name);
        let dname = u16::from(record.record_type()) == 39;
        assert!(of_chain || dname && chain.iter().any(|name| record.name.zone_of(name)), "{record}");
        if let RData::CNAME(alias) = &record.data
            && qtype != 5
            && qtype != 255
        {
            chain.push(alias.0.clone());
        }
    }
    for record in &reply.authorities {
        let leads_there = record.record_type() != RecordType::SOA
            || chain.iter().any(|name| record.name.zone_of(name));
        assert!(leads_there, "{record}");
    }
    assert!(!reply.metadata.authentic_data);
}

fuzz_target!(|input: &[u8]| {
    let Some((&choice, mut rest)) = input.split_first() else { return };
    let (mut forward, client) = question(choice);
    let qtype = TYPES[usize::from(choice & 7)];
    let mut cache = Cache::new(&DnsCache { entries: 4, ..DnsCache::default() });
    let mut now = Instant::now();
    for _ in 0..16 {
        let query = forward.query();
        let asked = query.encode(ID, false);
        // As the input has it, and once more with what every answer begins with in place.
        let trust = forward.trust(Arc::clone(&ZONES));
        let trusts = |name: &[u8]| trust.covers(name);
        let _ = query.read(ID, true, rest, &LIMITS, &trusts);
        let end = rest.windows(2).position(|two| two == b"\xff\xff").unwrap_or(rest.len());
        let (message, after) = rest.split_at(end);
        rest = after.get(2..).unwrap_or_default();
        let Some((head, body)) = message.split_first_chunk::<5>() else { break };
        let [flags, code, answers, authorities, additionals] = *head;
        let mut packet = ID.to_be_bytes().to_vec();
        packet.extend_from_slice(&[0x80 | flags & 0x06, code & 0x1f]);
        packet.extend_from_slice(&[0, 1, 0, answers, 0, authorities, 0, additionals]);
        packet.extend_from_slice(&asked[12..]);
        packet.extend_from_slice(body);
        let Response::Answer(piece) = query.read(ID, true, &packet, &LIMITS, &trusts) else {
            check(&forward.failed(), client.transport, qtype);
            return;
        };
        let piece = Arc::new(piece);
        cache.insert(&query, &piece, now);
        now += Duration::from_secs(u64::from(code));
        let fetched = match cache.look_up(&query, now) {
            Lookup::Fresh { answer, age, .. } => {
                assert!(age < answer.ttl());
                Fetched::fresh(answer, age)
            }
            Lookup::Stale { answer, .. } => Fetched::stale(answer),
            Lookup::Failed | Lookup::Missing => Fetched::fresh(piece, 0),
        };
        match forward.resume(&fetched, &ZONES, client, &mut SmallRng::seed_from_u64(1)) {
            Resumed::Complete(reply) => {
                check(&reply, client.transport, qtype);
                return;
            }
            Resumed::Onward(next) => forward = next,
        }
    }
});
