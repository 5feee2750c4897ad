//! Classes with conditions, classes of some scopes only, and what a phone of the inventory is known by.

use offhook_dhcp::Recognition;
use offhook_model::{
    BytesTest, Class, Condition, Evidence, EvidenceKind, Mac, Phone, PhoneKey, Send,
};
use proptest::prelude::*;

use crate::support::*;

const AUDIOCODES: Mac = Mac([0x00, 0x90, 0x8f, 0x12, 0x34, 0x56]);

fn is(text: &str) -> BytesTest {
    BytesTest::Is(text.as_bytes().into())
}

fn exact(bytes: &[u8]) -> BytesTest {
    BytesTest::Exact(bytes.into())
}

fn starts(bytes: &[u8]) -> BytesTest {
    BytesTest::Prefix(bytes.into())
}

fn like(text: &str) -> BytesTest {
    BytesTest::Pattern(text.as_bytes().into())
}

/// A class of its own that sends option 224, before the catalogue's.
fn special(condition: Condition) -> Class {
    let mut class = site().classes.remove(0);
    class.name = "special".into();
    class.evidence = Vec::new();
    class.boot_header = false;
    class.scope_options = Vec::new();
    class.options = vec![rule(224, b"special", Send::Always)];
    class.condition = Some(condition);
    class
}

fn server(condition: Condition) -> Server {
    let mut lab = site();
    lab.classes.push(special(condition));
    Server::new(lab)
}

/// Whether the phone that sends this is of the class.
fn meets(condition: &Condition, link: usize, message: &Message) -> bool {
    let mut server = server(condition.clone());
    let decision = server.decide(link, &message.bytes());
    let offer = Read::new(&decision.reply.unwrap().bytes);
    assert_eq!(offer.text(224).is_some(), decision.trace.recognition == Some(Recognition::Match));
    offer.text(224) == Some("special")
}

#[test]
fn every_leaf_looks_where_it_says() {
    let plain = Message::discover(AUDIOCODES);
    let with = |code, value: &[u8]| plain.clone().with(code, value);
    let polycom =
        b"\0\0\x36\x3d\x6f\x01\x07Polycom\x02\x10SoundPointIP-SPI\x04\x05SIP/4\x05\x09BR/";
    let blocks = b"\0\0\x36\x3d\x02ab\0\0\x04\x1b\x04\x01\x02cd\0\0\x36\x3d\x09zz";
    let agent = b"\x02\x03box\x01\x06port 7";
    let cases: Vec<(Condition, Message, Message)> = vec![
        (Condition::Option(60, is("abc")), with(60, b"ABC\0"), with(60, b"abcd")),
        (Condition::Option(60, BytesTest::Present), with(60, b"x"), plain.clone()),
        (Condition::Option(60, starts(b"Yea")), with(60, b"yealink"), with(60, b"ye")),
        (Condition::Option(60, starts(b"a\0")), with(60, b"a\0"), with(60, b"a")),
        (
            Condition::Option(60, like("*CP-79??G")),
            with(60, b"IP Phone CP-7911G\0"),
            with(60, b"CP-79G"),
        ),
        (Condition::Option(93, exact(&[0, 7])), with(93, &[0, 7]), with(93, &[7])),
        // What is no text has no letters, and its NULs count.
        (Condition::Option(93, exact(&[0, 0])), with(93, &[0, 0]), with(93, &[0])),
        (Condition::Option(93, exact(&[0, 0x41])), with(93, &[0, 0x41]), with(93, &[0, 0x61])),
        (
            Condition::CircuitId(BytesTest::ExactPrefix(b"\0\x04\0\x41".as_slice().into())),
            with(82, b"\x01\x06\0\x04\0\x41\x01\x05"),
            with(82, b"\x01\x06\0\x04\0\x61\x01\x05"),
        ),
        (Condition::UserClass(is("lobby")), with(77, b"\x05lobby"), with(77, b"\x06lobby2")),
        (Condition::UserClass(like("lob*")), with(77, b"\x02zz\x05lobby"), with(77, b"blob")),
        (
            Condition::PolycomField(2, starts(b"SoundPoint")),
            with(60, polycom),
            with(60, &polycom[..16]),
        ),
        (Condition::PolycomField(5, starts(b"BR")), with(60, polycom), with(60, &polycom[1..])),
        (Condition::VendorClassOf(1051, like("*cd")), with(124, blocks), with(124, &blocks[..7])),
        (Condition::VendorClassOf(13885, is("zz")), with(124, blocks), with(124, &blocks[..18])),
        (
            Condition::VendorClassOf(9, is("door")),
            with(124, b"\x00\x00\x00\x09\x08\x02ab\x04door"),
            with(124, b"\x00\x00\x00\x09\x08\x02ab\x04doo"),
        ),
        (Condition::VendorOptionsOf(1051, is("cd")), with(125, blocks), with(125, &blocks[..7])),
        (
            Condition::VendorOptionsOf(13885, BytesTest::Present),
            with(125, &blocks[..4]),
            with(125, &blocks[7..14]),
        ),
        (
            Condition::Hardware([0, 0x90, 0x8f, 0x12][..].into()),
            plain.clone(),
            Message::discover(mac(1)),
        ),
        (Condition::HostName(like("desk-?")), with(12, b"DESK-7\0"), with(12, b"desk-77")),
        (Condition::HostName(is("desk-7")), with(81, b"\0\0\0desk-7.lab"), with(81, b"\0\0\0desk")),
        (Condition::CircuitId(is("PORT 7")), with(82, agent), with(82, &agent[..5])),
        (Condition::RemoteId(like("b*")), with(82, agent), with(82, &agent[5..])),
        (
            Condition::Relay("10.250.1.0/24".parse().unwrap()),
            plain.clone().through(ip("10.250.1.1")),
            plain.clone().through(ip("10.0.0.1")),
        ),
    ];
    for (condition, met, unmet) in cases {
        assert!(meets(&condition, ON_VOICE, &met), "{condition:?}");
        assert!(!meets(&condition, ON_VOICE, &unmet), "{condition:?}");
        let not = Condition::Not(Box::new(condition.clone()));
        assert!(!meets(&not, ON_VOICE, &met) && meets(&not, ON_VOICE, &unmet), "{condition:?}");
        let yes = Condition::All(vec![]);
        let no = Condition::Any(vec![]);
        assert!(meets(&Condition::All(vec![yes, condition.clone()]), ON_VOICE, &met));
        assert!(!meets(&Condition::All(vec![condition.clone(), no.clone()]), ON_VOICE, &met));
        assert!(meets(&Condition::Any(vec![no, condition.clone()]), ON_VOICE, &met));
    }
    let scope = Condition::Scope(NATIVE);
    assert!(meets(&scope, ON_NATIVE, &plain) && !meets(&scope, ON_VOICE, &plain));
    let relayed = plain.through(ip("10.0.0.1"));
    assert!(meets(&scope, ON_VOICE, &relayed));
}

#[test]
fn a_condition_beats_evidence_and_the_inventory_beats_both() {
    let mut lab = site();
    lab.classes.push(special(Condition::Hardware([0, 0x90, 0x8f][..].into())));
    // The first in site order wins among conditions.
    lab.classes.push(Class { name: "late".into(), ..special(Condition::All(vec![])) });
    let special = class_id(&lab, "special");
    let discover = Message::discover(AUDIOCODES).with(60, "440HD");
    let decision = Server::new(lab.clone()).decide(ON_VOICE, &discover.bytes());
    assert_eq!(decision.trace.class, Some(special));
    assert_eq!(decision.trace.recognition.unwrap().as_str(), "match");
    let class = Some(class_id(&lab, "SIP200"));
    lab.phones.push(Phone { class, ..phone(AUDIOCODES, None, Vec::new()) });
    let decision = Server::new(lab).decide(ON_VOICE, &discover.bytes());
    assert_eq!(decision.trace.recognition, Some(Recognition::Inventory));
    assert_eq!(decision.trace.class, class);
}

#[test]
fn a_class_of_some_scopes_does_not_exist_elsewhere() {
    let mut lab = site();
    let text = Evidence::VendorClass(b"440HD".as_slice().into());
    let by_text = Class {
        name: "native 440HD".into(),
        evidence: vec![text],
        condition: None,
        scopes: vec![NATIVE],
        ..special(Condition::All(vec![]))
    };
    let by_condition =
        Class { scopes: vec![NATIVE], ..special(Condition::Option(60, is("yealink"))) };
    lab.classes.splice(0..0, [by_text, by_condition]);
    let listed = Some(class_id(&lab, "special"));
    lab.phones.push(Phone { class: listed, ..phone(mac(9), None, Vec::new()) });
    let mut server = Server::new(lab);
    let mut class = |link, message: &Message| {
        let trace = server.decide(link, &message.bytes()).trace;
        let class =
            trace.class.and_then(|id| server.site.class(id)).map(|class| class.name.clone());
        (class, trace.recognition)
    };
    let name = |text: &str| Some(text.to_owned());
    let vendor = Some(Recognition::Evidence(EvidenceKind::VendorClass));
    let phone = Message::discover(mac(1)).with(60, "440HD");
    assert_eq!(class(ON_NATIVE, &phone), (name("native 440HD"), vendor));
    assert_eq!(class(ON_VOICE, &phone), (name("440HD"), vendor));
    let yealink = Message::discover(mac(2)).with(60, "yealink");
    assert_eq!(class(ON_NATIVE, &yealink), (name("special"), Some(Recognition::Match)));
    assert_eq!(class(ON_VOICE, &yealink), (None, None));
    let listed = Message::discover(mac(9)).with(60, "440HD");
    assert_eq!(class(ON_NATIVE, &listed), (name("special"), Some(Recognition::Inventory)));
    assert_eq!(class(ON_VOICE, &listed), (name("440HD"), vendor));
}

#[test]
fn a_phone_is_known_by_mac_then_client_id_then_port_then_circuit_then_remote_end_then_host_name() {
    let mut lab = site();
    let keys = [
        (PhoneKey::HostName("desk-7".into()), "name"),
        (PhoneKey::RemoteId(b"r".as_slice().into()), "remote"),
        (PhoneKey::CircuitId(b"port 7".as_slice().into()), "circuit"),
        (
            PhoneKey::Port { remote: b"r".as_slice().into(), circuit: b"port 8".as_slice().into() },
            "port",
        ),
        (PhoneKey::ClientId(b"\0id".as_slice().into()), "client"),
        (PhoneKey::Mac(mac(1)), "mac"),
    ];
    for (key, text) in keys {
        let options = vec![rule(15, text.as_bytes(), Send::Always)];
        lab.phones.push(Phone { key, ..phone(mac(1), None, options) });
    }
    let mut server = Server::new(lab);
    let mut known =
        |message: Message| server.reply(ON_VOICE, &message).text(15).unwrap().to_owned();
    let by_name = |last| Message::discover(mac(last)).with(12, "Desk-7");
    let by_remote = |last| by_name(last).with(82, b"\x02\x01r\x01\x06port 9");
    let by_port = |last| by_name(last).with(82, b"\x02\x01r\x01\x06port 8");
    let by_circuit = |last| by_name(last).with(82, b"\x02\x01r\x01\x06port 7");
    let by_client = |last| by_circuit(last).with(61, b"\0id");
    assert_eq!(known(by_name(2)), "name");
    assert_eq!(known(by_remote(6)), "remote");
    assert_eq!(known(by_circuit(3)), "circuit");
    assert_eq!(known(by_port(7)), "port");
    // The same port of another switch, or of none.
    assert_eq!(known(by_name(8).with(82, b"\x02\x01s\x01\x06port 8")), "name");
    assert_eq!(known(by_name(10).with(82, b"\x01\x06port 8")), "name");
    assert_eq!(known(by_client(4)), "client");
    assert_eq!(known(by_client(1)), "mac");
    // Exactly, to the last byte.
    let other = Message::discover(mac(5)).with(61, b"\0id2").with(82, b"\x01\x05port ");
    assert_eq!(known(other), "lab.voip");
}

fn bytes() -> impl Strategy<Value = Box<[u8]>> {
    prop::collection::vec(prop_oneof![any::<u8>(), Just(b'*'), Just(0)], 0..6)
        .prop_map(Vec::into_boxed_slice)
}

fn tests() -> impl Strategy<Value = BytesTest> {
    prop_oneof![
        Just(BytesTest::Present),
        bytes().prop_map(BytesTest::Is),
        bytes().prop_map(BytesTest::Prefix),
        bytes().prop_map(BytesTest::Exact),
        bytes().prop_map(BytesTest::ExactPrefix),
        bytes().prop_map(BytesTest::Pattern),
    ]
}

fn conditions() -> impl Strategy<Value = Condition> {
    let number = prop_oneof![Just(13885_u32), any::<u32>()];
    let leaf = prop_oneof![
        (any::<u8>(), tests()).prop_map(|(code, test)| Condition::Option(code, test)),
        tests().prop_map(Condition::UserClass),
        (0..7_u8, tests()).prop_map(|(field, test)| Condition::PolycomField(field, test)),
        (number.clone(), tests()).prop_map(|(number, test)| Condition::VendorClassOf(number, test)),
        (number, tests()).prop_map(|(number, test)| Condition::VendorOptionsOf(number, test)),
        bytes().prop_map(Condition::Hardware),
        tests().prop_map(Condition::HostName),
        tests().prop_map(Condition::CircuitId),
        tests().prop_map(Condition::RemoteId),
        Just(Condition::Relay("10.0.0.0/8".parse().unwrap())),
        Just(Condition::Scope(NATIVE)),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Condition::All),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Condition::Any),
            inner.prop_map(|one| Condition::Not(Box::new(one))),
        ]
    })
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn any_condition_holds_or_does_not_for_any_bytes_and_its_negation_says_the_opposite(
        condition in conditions(),
        values in prop::collection::vec(
            (
                prop::sample::select(vec![12, 43, 60, 77, 81, 82, 124, 125]),
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..40),
                    prop::collection::vec(any::<u8>(), 0..40)
                        .prop_map(|tail| [&[0, 0, 0x36, 0x3d][..], &tail].concat()),
                ],
            ),
            0..9,
        ),
    ) {
        let mut message = Message::discover(mac(1));
        message.options.extend(values);
        let not = Condition::Not(Box::new(condition.clone()));
        prop_assert_ne!(meets(&condition, ON_VOICE, &message), meets(&not, ON_VOICE, &message));
    }
}
