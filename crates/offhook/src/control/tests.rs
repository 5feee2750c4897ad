//! What passes a filter, and what is counted where.

use std::net::Ipv4Addr;
use std::path::Path;

use offhook_model::{ClientId, Lease, LeaseState, Mac, Site, Time};

use super::desk::{Tally, note};
use super::*;

fn lease(last: u8) -> Lease {
    let mac = Mac([0x00, 0x90, 0x8f, 0x12, 0x34, last]);
    Lease {
        address: Ipv4Addr::new(10, 250, 1, last),
        client: ClientId::Hardware(mac.into()),
        hardware: mac.into(),
        state: LeaseState::Bound,
        since: Time::from_secs(100),
        expires: Time::from_secs(200),
        scope: "voice".into(),
        class: Some("440HD".into()),
        host_name: None,
    }
}

fn lab() -> Site {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/lab.toml");
    offhook_config::load(&file).site.expect("the sample site")
}

#[test]
fn a_filter_wants_everything_it_names() {
    let now = Time::from_secs(150);
    let all = Filter { all: true, ..Filter::default() };
    let is_wanted = |filter: &Filter, lease: &Lease| filter.matches(lease, now);
    assert!(is_wanted(&Filter::default(), &lease(20)));
    for dead in [
        Lease { expires: now, ..lease(20) },
        Lease { state: LeaseState::Released, ..lease(20) },
        Lease { state: LeaseState::Declined, ..lease(20) },
    ] {
        assert!(!is_wanted(&Filter::default(), &dead), "{dead:?}");
        assert!(is_wanted(&all, &dead), "{dead:?}");
    }
    let voice = Filter { scope: Some("voice".to_owned()), ..Filter::default() };
    assert!(is_wanted(&voice, &lease(20)));
    assert!(!is_wanted(&voice, &Lease { scope: "native".into(), ..lease(20) }));
    let family = Filter { family: Some("440hd".to_owned()), ..Filter::default() };
    assert!(is_wanted(&family, &lease(20)));
    assert!(!is_wanted(&family, &Lease { class: None, ..lease(20) }));
    let phone = Filter { mac: lease(20).hardware.mac(), ..Filter::default() };
    assert!(is_wanted(&phone, &lease(20)) && !is_wanted(&phone, &lease(21)));
    let both = Filter { scope: Some("native".to_owned()), ..phone };
    assert!(!is_wanted(&both, &lease(20)));
}

#[test]
fn what_a_client_calls_itself_is_told_as_text_and_escaped_where_it_is_none() {
    let odd = Lease {
        client: ClientId::Option61([0, 0xff, 0x41].into()),
        host_name: Some(b"caf\xe9 \xc3\xa9\x1b[2J\n\\".as_slice().into()),
        ..lease(20)
    };
    let record = LeaseRecord::new(&odd, Time::from_secs(150));
    assert_eq!(record.host_name.as_deref(), Some("caf\\xe9 é\u{1b}[2J\n\\"));
    assert_eq!(record.client_id.as_deref(), Some("00ff41"));
    assert_eq!(record.state, State::Bound);
    assert_eq!(LeaseRecord::new(&odd, Time::from_secs(200)).state, State::Expired);
}

#[test]
fn a_request_is_read_as_it_was_written_and_unknown_filters_are_not_ignored() {
    let filter = Filter { mac: lease(20).hardware.mac(), all: true, ..Filter::default() };
    let asks = [
        Ask::Leases(filter),
        Ask::Status,
        Ask::Release { address: lease(20).address, mac: lease(20).hardware.mac() },
    ];
    for ask in asks {
        let request = Request { version: 1, ask };
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request, "{text}");
    }
    let by_hand = r#"{"version":1,"ask":{"leases":{}}}"#;
    let read: Request = serde_json::from_str(by_hand).unwrap();
    assert_eq!(read.ask, Ask::Leases(Filter::default()));
    for bad in [r#"{"version":1,"ask":{"leases":{"scop":"voice"}}}"#, r#"{"version":1}"#] {
        assert!(serde_json::from_str::<Request>(bad).is_err(), "{bad}");
    }
    let end = Response { version: 1, reply: Reply::End { note: None } };
    let text = serde_json::to_string(&end).unwrap();
    assert_eq!(serde_json::from_str::<Response>(&text).unwrap(), end);
}

#[test]
fn a_filter_that_nothing_can_pass_is_explained() {
    let scope = |name: &str| Filter { scope: Some(name.to_owned()), ..Filter::default() };
    let said = note(&scope("voize"), &lab()).unwrap();
    assert!(said.contains("voize") && said.contains("voice, native"), "{said}");
    assert_eq!(note(&scope("voice"), &lab()), None);
    let family = Filter { family: Some("440HX".to_owned()), ..Filter::default() };
    assert!(note(&family, &lab()).unwrap().contains("440HD"));
}

#[test]
fn every_address_of_a_pool_is_counted_once() {
    let mut site = lab();
    let voice = |last| Ipv4Addr::new(10, 250, 1, last);
    site.scopes[0].pools = vec!["10.250.1.20-10.250.1.29".parse().unwrap()];
    site.scopes[0].excluded = vec![voice(29)];
    // This machine's, in the pool and elsewhere.
    let ours = [voice(28), Ipv4Addr::new(10, 9, 9, 9)];
    let offered = vec![voice(22), voice(23), Ipv4Addr::new(10, 0, 0, 100)];
    let mut tally = Tally::new(&site, &ours, offered);
    tally.lease(voice(20), LeaseState::Bound);
    tally.lease(voice(21), LeaseState::Declined);
    // Offered to its holder again, and in a subnet but in no pool, and in no subnet at all.
    tally.lease(voice(22), LeaseState::Bound);
    tally.lease(voice(200), LeaseState::Bound);
    tally.lease(Ipv4Addr::new(192, 0, 2, 1), LeaseState::Bound);
    let scopes = tally.finish();
    let [voice, native] = &scopes[..] else { panic!("{scopes:?}") };
    assert_eq!((voice.name.as_str(), voice.pool, voice.leased), ("voice", 8, 3));
    assert_eq!((voice.declined, voice.offered, voice.free), (1, 1, 4));
    assert_eq!((native.leased, native.offered, native.free), (0, 1, native.pool - 1));
}
