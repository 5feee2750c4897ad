//! From a zone file to answers: whatever is taken from it can be served.

use std::path::Path;

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use offhook_config::{Files, parse};
use offhook_dns::{Client, Outcome, Transport, Zones, answer};
use offhook_model::{Site, Time};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::SmallRng;

const SITE: &str = r#"
    [site]
    zone = "lab.voip"
    [dns]
    listen = ["10.250.1.5"]
    zone_file = "lab.zone"
    [[scope]]
    name = "voice"
    subnet = "10.250.1.0/25"
    pools = ["10.250.1.20-10.250.1.99"]
    router = "10.250.1.1"
    phones = false
"#;

/// One zone file.
struct ZoneFile(String);

impl Files for ZoneFile {
    fn list(&self, _: &Path) -> Option<Vec<String>> {
        None
    }

    fn read(&self, _: &Path) -> std::io::Result<Vec<u8>> {
        Ok(self.0.clone().into_bytes())
    }
}

fn site(zone: &str) -> Option<Site> {
    let zone = ZoneFile(zone.to_owned());
    parse("site.toml", Path::new(""), SITE, Time::default(), &zone).site
}

const OWNERS: [&str; 12] = [
    "@",
    "a",
    "b",
    "*",
    "*.a",
    "a.b",
    "c.b.a",
    "x\\.y",
    "\\000",
    "7.1.250.10.in-addr.arpa.",
    "d",
    "e.d",
];

/// Data with its type, now and then with a mistake.
fn data() -> impl Strategy<Value = String> {
    let name = prop::sample::select(&["a", "b.a", "@", "x.d", ".", "y.example.", "*.a"][..]);
    let octets = prop::collection::vec(any::<u8>(), 0..6);
    let hex = |octets: &[u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    prop_oneof![
        any::<[u8; 4]>().prop_map(|[a, b, c, d]| format!("A {a}.{b}.{c}.{d}")),
        any::<u128>().prop_map(|bits| format!("AAAA {}", std::net::Ipv6Addr::from_bits(bits))),
        (prop::sample::select(&["CNAME", "NS", "DNAME", "PTR"][..]), name.clone())
            .prop_map(|(rtype, name)| format!("{rtype} {name}")),
        (any::<u16>(), name.clone()).prop_map(|(n, name)| format!("MX {n} {name}")),
        (any::<[u16; 3]>(), name.clone())
            .prop_map(|([a, b, c], name)| format!("SRV {a} {b} {c} {name}")),
        (any::<[u16; 2]>(), "[sa]?", name.clone()).prop_map(|([a, b], flag, name)| format!(
            "NAPTR {a} {b} \"{flag}\" \"SIP+D2U\" \"\" {name}"
        )),
        (name.clone(), any::<[u32; 5]>()).prop_map(|(name, [a, b, c, d, e])| format!(
            "SOA {name} {name} {a} {} {} {} {}",
            b >> 1,
            c >> 1,
            d >> 1,
            e >> 1
        )),
        "[a-z \\\\]{0,300}".prop_map(|text| format!("TXT \"{text}\"")),
        (any::<u16>(), octets.clone()).prop_map(move |(rtype, octets)| format!(
            "TYPE{rtype} \\# {} {}",
            octets.len(),
            hex(&octets)
        )),
        (
            prop::sample::select(&["TXT", "HINFO", "RP", "CAA", "SOA", "LOC", "ANY"][..]),
            "[ -~]{0,20}"
        )
            .prop_map(|(rtype, text)| format!("{rtype} {text}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_taken_from_a_zone_file_can_be_served(
        lines in prop::collection::vec((prop::sample::select(&OWNERS[..]), data()), 1..8),
    ) {
        let text: String =
            lines.iter().map(|(owner, data)| format!("{owner} 60 {data}\n")).collect();
        let Some(site) = site(&text) else { return Ok(()) };
        let zones = Zones::from_site(&site, 1);
        for record in &site.records {
            let owner = record.owner.to_string().replace('*', "z");
            let Ok(owner) = Name::from_ascii(&owner) else { continue };
            for qtype in [record.rtype, 1, 33, 255] {
                let mut request = Message::query();
                request.add_query(Query::query(owner.clone(), RecordType::from(qtype)));
                let request = request.to_vec().unwrap();
                for transport in [Transport::Udp, Transport::Tcp] {
                    let client = Client { address: [127, 0, 0, 1].into(), transport };
                    let mut order = SmallRng::seed_from_u64(1);
                    match answer(&zones, &request, client, &mut order) {
                        Outcome::Reply(reply) => {
                            let wire = reply.encode();
                            prop_assert!(wire.is_ok(), "{}{:?}", text, wire);
                            let limit = if transport == Transport::Udp { 512 } else { 65_535 };
                            prop_assert!(wire.unwrap().len() <= limit);
                        }
                        other => prop_assert!(false, "{}{:?}", text, other),
                    }
                }
            }
        }
    }
}

#[test]
fn a_record_is_served_as_it_stands_in_the_file() {
    // Owner, type, and the octets of the data, which are not compressed.
    for (line, qtype, data) in [
        ("x 60 A 192.0.2.1", 1, &[192, 0, 2, 1][..]),
        ("x 60 TXT \"a;b\" c", 16, b"\x03a;b\x01c"),
        ("x 60 SRV 1 2 3 Y.", 33, b"\0\x01\0\x02\0\x03\x01Y\0"),
        ("x 60 TYPE65280 \\# 2 beef", 65280, b"\xbe\xef"),
        ("x 60 TYPE1 \\# 4 c0000201", 1, &[192, 0, 2, 1]),
        ("x 60 CAA 0 issue \"ca\"", 257, b"\0\x05issueca"),
        ("x 60 URI 1 2 \"sip:a@b\"", 256, b"\0\x01\0\x02sip:a@b"),
        ("x 60 HINFO \"\" b", 13, b"\0\x01b"),
        ("x 60 TYPE65281 \\# 0", 65281, b""),
    ] {
        let zones = Zones::from_site(&site(line).unwrap(), 1);
        let mut request = Message::query();
        let owner = Name::from_ascii("x.lab.voip.").unwrap();
        request.add_query(Query::query(owner, RecordType::from(qtype)));
        let client = Client { address: [127, 0, 0, 1].into(), transport: Transport::Udp };
        let mut order = SmallRng::seed_from_u64(1);
        let Outcome::Reply(reply) = answer(&zones, &request.to_vec().unwrap(), client, &mut order)
        else {
            panic!("{line} is not answered");
        };
        let wire = reply.encode().unwrap();
        // Header, question, and a record whose name is a pointer.
        let record = &wire[12 + 12 + 4..];
        assert_eq!(record[..4], [&[0xc0, 12][..], &u16::to_be_bytes(qtype)].concat(), "{line}");
        assert_eq!(record[6..10], [0, 0, 0, 60], "{line}");
        assert_eq!(record[10..12], u16::to_be_bytes(data.len() as u16), "{line}");
        assert_eq!(&record[12..12 + data.len()], data, "{line}");
    }
}
