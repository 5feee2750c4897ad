//! Any bytes: read or refused, and what was read survives being written.
#![no_main]

mod site;
#[expect(dead_code, reason = "the tests use all of it")]
#[path = "../../tests/dhcp/support.rs"]
mod support;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use offhook_dhcp::classify::Classifier;
use offhook_dhcp::wire::{Field, Head, Rank, Request, Value, encode};
use offhook_model::{ScopeId, Site};

static SITE: LazyLock<(Site, Classifier)> = LazyLock::new(|| {
    let site = site::site();
    let classifier = Classifier::new(&site);
    (site, classifier)
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(request) = Request::decode(bytes) else { return };
    let (site, classifier) = &*SITE;
    classifier.recognise(site, &request, Some(ScopeId(0)));
    let _ = (request.identity(), request.own_name(), request.host_name(), request.requested());
    let limit = request.reply_limit();

    let codes = (1..255).filter(|code| ![52, 53, 55, 57, 82].contains(code));
    let mut fields = vec![Field { code: 53, value: Value::Byte([1]), rank: Rank::Protocol }];
    fields.extend(codes.filter_map(|code| {
        let rank = [Rank::Always, Rank::Usual, Rank::Asked][usize::from(code) % 3];
        request.option(code).map(|value| Field { code, value: Value::Bytes(value), rank })
    }));
    let header = &request.header;
    let head = Head {
        hardware: header.hardware,
        chaddr: header.chaddr,
        xid: header.xid,
        flags: header.flags,
        ciaddr: header.ciaddr,
        yiaddr: header.ciaddr,
        siaddr: header.ciaddr,
        giaddr: header.giaddr,
        sname: if header.secs % 3 == 0 { b"" } else { b"tftp" },
        file: if header.secs % 2 == 0 { b"" } else { b"440hd.img" },
    };
    let relay = request.option(82).filter(|value| value.len() < 250);
    let mut encoded = encode(&head, &fields, relay, limit);
    assert!((300..=limit).contains(&encoded.bytes.len()));
    encoded.bytes[0] = 1;
    let again = Request::decode(&encoded.bytes).unwrap();
    for field in &fields {
        let expected = (!encoded.dropped.contains(&field.code)).then_some(field.value.as_slice());
        assert_eq!(again.option(field.code), expected);
    }
    assert_eq!(again.option(82), relay);
});
