//! Whatever is asked: the direct path says what the other one may say, octet for octet, or leaves it to that.
//!
//! The input is one octet that chooses the client, then the request. It is asked three times, for the direct path
//! learns at the second, and once more after the zones have changed.
#![no_main]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use offhook_dns::{
    Client, DIRECT_ROOM, Direct, EveryOrder, NameBook, NameRules, Outcome, Transport, Zones, answer,
};
use offhook_model::{
    ClientId, Dns, HardwareAddress, Host, Lease, LeaseState, Mac, Origin, Record, SipPorts, Site,
    Switchover, Time, WireName,
};

/// Orders of one answer that are looked at; the site has none with more.
const ORDERS: usize = 64;

static ZONES: LazyLock<[Arc<Zones>; 2]> = LazyLock::new(|| {
    let site = site();
    let zones = Zones::from_site(&site, 1);
    let mut changed = zones.clone();
    changed.set_serial(2);
    let rules = NameRules { models: true, hosts: true, ttl: 300 };
    let mut book = NameBook::new(&site.zone, rules);
    let now = Time::from_secs(1_000_000);
    let hardware = HardwareAddress::from(Mac([0, 0x90, 0x8f, 0, 0, 1]));
    let lease = Lease {
        address: [10, 250, 1, 20].into(),
        client: ClientId::Hardware(hardware),
        hardware,
        state: LeaseState::Bound,
        since: now,
        expires: now + Duration::from_secs(3600),
        scope: "voice".into(),
        class: Some("440HD".into()),
        host_name: Some(b"desk".as_slice().into()),
    };
    book.put(now, &lease, |_| false);
    changed.set_lease_names(book.names().clone());
    [zones, changed].map(Arc::new)
});

fn wire_name(text: &str) -> WireName {
    WireName::from_labels(text.split('.').map(str::as_bytes)).expect("a name")
}

fn site() -> Site {
    let origin = Origin::default("fuzz");
    let name = |text: &str| text.parse().expect("a name");
    let pair = [("ic1.b", [10, 250, 1, 1]), ("ic2.b", [10, 250, 1, 2])];
    let record = |owner: &str, rtype, data: &[u8]| Record {
        owner: wire_name(owner),
        rtype,
        ttl: 60,
        data: data.into(),
        origin: origin.clone(),
    };
    let alias = |owner: &str, target: &str| record(owner, 5, wire_name(target).as_wire());
    Site {
        dns: Dns {
            listen: vec!["10.250.1.5:53".parse().expect("an address")],
            forward: BTreeMap::from([(Some(name("c")), vec![([10, 0, 0, 2], 53).into()])]),
            ..Dns::default()
        },
        hosts: pair.iter().map(|&(label, address)| Host::new(name(label), address.into(), origin.clone())).collect(),
        switchovers: vec![Switchover {
            sip: SipPorts { udp: Some(1), tcp: None, tls: None },
            ..Switchover::new(
                name("p.b"),
                pair.iter().map(|&(label, address)| (name(label), address.into())).collect(),
                origin.clone(),
            )
        }],
        records: vec![
            record("*.w.b", 1, &[192, 0, 2, 1]),
            record("t.b", 16, &[[255].as_slice(), &[b'x'; 255]].concat().repeat(3)),
            record("v.b", 28, &[1; 16]),
            record("s.b", 2, wire_name("n.s.b").as_wire()),
            record("n.s.b", 1, &[192, 0, 2, 2]),
            record("d.b", 39, wire_name("w.b").as_wire()),
            alias("a.b", "p.b"),
            alias("e.b", "nothing.b"),
            alias("f.b", "x.c"),
            alias("g.b", "g.b"),
        ],
        ..Site::new(name("b"))
    }
}

/// Everything that may be said; none when that is no answer of ours.
fn answers(zones: &Zones, request: &[u8], client: Client) -> Option<Vec<Vec<u8>>> {
    let (mut every, mut all) = (EveryOrder::default(), Vec::new());
    loop {
        match answer(zones, request, client, &mut every) {
            Outcome::Reply(reply) => all.push(reply.encode().expect("an answer that can be written")),
            _ => return None,
        }
        assert!(all.len() < ORDERS);
        if !every.advance() {
            return Some(all);
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&choice, request)) = input.split_first() else { return };
    let address: IpAddr = match choice & 3 {
        0 => [127, 0, 0, 1].into(),
        1 => [10, 250, 1, 5].into(),
        2 => [192, 0, 2, 9].into(),
        _ => [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into(),
    };
    let client = Client { address, transport: Transport::Udp };
    let mut direct = Direct::new(u64::from(choice));
    let mut room = [0; DIRECT_ROOM];
    for (zones, times) in ZONES.iter().zip([3, 1]) {
        let mut expected = None;
        for _ in 0..times {
            let Some(answered) = direct.answer(zones, request, address, &mut room) else { continue };
            let said = &room[..answered.length];
            assert_eq!(answered.rcode, said[3] & 15);
            let expected = expected.get_or_insert_with(|| answers(zones, request, client));
            let expected = expected.as_ref().expect("no answer of ours");
            assert!(expected.iter().any(|one| one == said), "{said:02x?}\nnot of {expected:02x?}");
        }
    }
});
