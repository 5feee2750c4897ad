//! Packets of the phones of the guide, and what each is given, to the byte.

use offhook_dhcp::{Destination, Recognition};
use offhook_model::{EvidenceKind, Mac, Send};

use crate::support::*;

const AUDIOCODES: Mac = Mac([0x00, 0x90, 0x8f, 0x12, 0x34, 0x56]);
const POLYCOM: Mac = Mac([0x00, 0x04, 0xf2, 0xaa, 0xbb, 0xcc]);
const ELSEWHERE: Mac = Mac([0x52, 0x54, 0x00, 0x01, 0x02, 0x03]);

/// AudioCodes, Genesys, Interaction SIP Station.
const AUDIOCODES_LIST: [u8; 9] = [1, 3, 6, 15, 42, 2, 66, 67, 160];
/// SoundPoint 450 (fingerbank).
const POLYCOM_LIST: [u8; 10] = [1, 28, 160, 66, 3, 4, 42, 2, 6, 15];

/// The IP 601 sample of the UC Software administrator's guide.
const IP_601: &str = "0000363d 6f 0107506f6c79636f6d 0215536f756e64506f696e7449502d535049505f363031
    0310323334352d31313630352d3030312c32 041c5349502f5469702e585858582f30382d4a756e2d30372031303a3434
    051d42522f332e312e302e585858582f32382d4170722d30352031333a3330";

/// Hex digits, `'text'`, and `0*N` for N zero bytes.
fn bytes(notation: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, part) in notation.split('\'').enumerate() {
        if index % 2 == 1 {
            bytes.extend_from_slice(part.as_bytes());
            continue;
        }
        for word in part.split_whitespace() {
            if let Some(count) = word.strip_prefix("0*") {
                bytes.resize(bytes.len() + count.parse::<usize>().unwrap(), 0);
            } else {
                assert!(word.len() % 2 == 0, "{word}");
                let byte = |at| u8::from_str_radix(&word[at..at + 2], 16).unwrap();
                bytes.extend((0..word.len()).step_by(2).map(byte));
            }
        }
    }
    bytes
}

fn assert_bytes(reply: &[u8], notation: &str) {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(reply), hex(&bytes(notation)));
}

#[test]
fn a_440hd_in_the_voice_scope_is_offered_66_67_and_160_and_no_132() {
    let mut server = Server::lab();
    let discover = Message::discover(AUDIOCODES).asking(&AUDIOCODES_LIST).with(60, "440HD");
    let reply = server.send(ON_VOICE, &discover).unwrap();
    assert_bytes(
        &reply.bytes,
        "02010600 12345678 0000 0000 00000000 0afa0114 0a00000b 00000000
         00908f123456 0*10 0*64 '440hd.img' 0*119 63825363
         350102 36040afa0105 330400007080 3a0400003840 3b0400006270
         0104ffffff00 03040afa0101 06080afa01050afa0002 0f08'lab.voip' 2a040afa0106 0204ffffb9b0
         4209'10.0.0.11' 4309'440hd.img' a01e'http://provision.lab.voip:8088' ff",
    );
    let address = ip("10.250.1.20");
    assert_eq!(reply.to, Destination::Frame { hardware: AUDIOCODES, address });
}

#[test]
fn a_440hd_in_the_native_scope_also_gets_132_though_it_did_not_ask() {
    let mut server = Server::lab();
    let message = Message::discover(AUDIOCODES).asking(&AUDIOCODES_LIST).with(77, "440HD");
    let ack = server.lease(ON_NATIVE, &message.broadcast());
    assert_bytes(
        &ack.bytes,
        "02010600 12345678 0000 8000 00000000 0a000064 0a00000b 00000000
         00908f123456 0*10 0*64 '440hd.img' 0*119 63825363
         350105 36040a00000b 330400000e10 3a0400000708 3b0400000c4e
         0104ffffff00 03040a000001 06080afa01050afa0002 0f08'lab.voip' 2a040afa0106 0204ffffb9b0
         4209'10.0.0.11' 4309'440hd.img' a01e'http://provision.lab.voip:8088' 8403'100' ff",
    );
}

#[test]
fn a_polycom_with_the_binary_vendor_class_gets_160_and_neither_66_nor_67_nor_132() {
    for link in [ON_VOICE, ON_NATIVE] {
        let mut server = Server::lab();
        let list = [&POLYCOM_LIST[..], &[67, 132]].concat();
        let discover = Message::discover(ELSEWHERE).asking(&list).with(60, bytes(IP_601));
        let offer = server.reply(link, &discover);
        assert_eq!(offer.codes(), [53, 54, 51, 58, 59, 1, 160, 3, 42, 2, 6, 15]);
        assert_eq!(offer.text(160), Some("http://provision.lab.voip:8088"));
        assert_eq!(offer.siaddr(), NOBODY);
        assert_eq!(offer.file(), b"");
    }
    let mut server = Server::lab();
    let discover = Message::discover(POLYCOM).asking(&POLYCOM_LIST).with(60, bytes(IP_601));
    assert_bytes(
        &server.reply(ON_VOICE, &discover).bytes,
        "02010600 12345678 0000 0000 00000000 0afa0114 00000000 00000000
         0004f2aabbcc 0*10 0*64 0*128 63825363
         350102 36040afa0105 330400007080 3a0400003840 3b0400006270
         0104ffffff00 a01e'http://provision.lab.voip:8088' 03040afa0101 2a040afa0106 0204ffffb9b0
         06080afa01050afa0002 0f08'lab.voip' ff",
    );
}

#[test]
fn the_sample_vendor_class_is_116_bytes() {
    assert_eq!(bytes(IP_601).len(), 116);
}

#[test]
fn polycoms_are_known_by_text_by_address_and_by_a_binary_class_cut_short() {
    let mut shorter = bytes(IP_601);
    shorter.truncate(40);
    let cases: [(Mac, Option<Vec<u8>>, EvidenceKind); 6] = [
        (ELSEWHERE, Some(b"Poly-EdgeE350".to_vec()), EvidenceKind::VendorClass),
        (ELSEWHERE, Some(b"Poly-TrioC60\0".to_vec()), EvidenceKind::VendorClass),
        (ELSEWHERE, Some(b"Polycom-VVX410".to_vec()), EvidenceKind::VendorClass),
        (ELSEWHERE, Some(shorter), EvidenceKind::VendorClass),
        (POLYCOM, None, EvidenceKind::Oui),
        (POLYCOM, Some(b"udhcp 1.0".to_vec()), EvidenceKind::Oui),
    ];
    for (mac, vendor_class, kind) in cases {
        let mut server = Server::lab();
        let mut discover = Message::discover(mac).asking(&POLYCOM_LIST);
        if let Some(text) = &vendor_class {
            discover = discover.with(60, text);
        }
        let decision = server.decide(ON_VOICE, &discover.bytes());
        let expected = Some(class_id(&server.site, "Polycom"));
        assert_eq!(decision.trace.class, expected, "{vendor_class:?}");
        assert_eq!(decision.trace.recognition, Some(Recognition::Evidence(kind)));
        let offer = Read::new(&decision.reply.unwrap().bytes);
        assert!(offer.option(160).is_some() && offer.option(66).is_none());
    }
}

#[test]
fn the_enterprise_number_alone_makes_a_polycom() {
    for vendor_class in [
        "0000363d",
        "0000363d 00",
        "0000363d 6f 0*30",
        "0000363d 6f ffffffffffffffffffffffffffffff",
        "0000363d 05 0203e430",
    ] {
        let mut server = Server::lab();
        let discover = Message::discover(ELSEWHERE).with(60, bytes(vendor_class));
        let offer = server.reply(ON_VOICE, &discover);
        assert_eq!(offer.text(160), Some("http://provision.lab.voip:8088"), "{vendor_class}");
    }
    for vendor_class in ["0000363e 05 0203e430", "00363d", ""] {
        let mut server = Server::lab();
        let discover = Message::discover(ELSEWHERE).with(60, bytes(vendor_class));
        assert_eq!(server.reply(ON_VOICE, &discover).option(160), None, "{vendor_class}");
    }
}

#[test]
fn every_family_is_known_by_60_and_by_77_in_both_forms_on_both_links() {
    for (name, file) in FAMILIES {
        let prefixed = [&[name.len() as u8], name.as_bytes()].concat();
        let two = [&b"\x05other"[..], &prefixed].concat();
        let forms = [
            (60, name.as_bytes().to_vec()),
            (60, name.to_ascii_lowercase().into_bytes()),
            (60, format!("{name}\0\0").into_bytes()),
            (77, name.as_bytes().to_vec()),
            (77, format!("{name}\0").into_bytes()),
            (77, prefixed),
            (77, two),
        ];
        for (code, text) in forms {
            for link in [ON_VOICE, ON_NATIVE] {
                let mut server = Server::lab();
                let discover = Message::discover(ELSEWHERE).asking(&[1, 3, 6]).with(code, &text);
                let offer = server.reply(link, &discover);
                let vlan = (link == ON_NATIVE).then_some("100");
                assert_eq!(offer.text(66), Some("10.0.0.11"), "{name} by {code} {text:?}");
                assert_eq!(offer.text(67), Some(file));
                assert_eq!(offer.text(160), Some("http://provision.lab.voip:8088"));
                assert_eq!(offer.text(132), vlan);
                assert_eq!(offer.siaddr(), NATIVE_ADDRESS);
                assert_eq!(offer.file(), file.as_bytes());
            }
        }
    }
}

#[test]
fn a_user_class_is_found_however_its_length_was_counted() {
    let class = |text: &str| {
        let mut server = Server::lab();
        let discover = Message::discover(ELSEWHERE).with(77, bytes(text));
        server.reply(ON_VOICE, &discover).text(67).map(str::to_owned)
    };
    for text in [
        "06 '440HD' 00",
        "06 '440HD'",
        "04 '440HD'",
        "05 '440HD' 00",
        "05 '440HD' 09 'zz'",
        "05 'other' 06 '440HD'",
        "05 'other' 06 '440HD' 00 ff",
        "06 'other' 00 05 '440HD' 00",
        "02 'zz' 05 '440HD' 05 '420HD'",
    ] {
        assert_eq!(class(text).as_deref(), Some("440hd.img"), "{text}");
    }
    // The length is wrong, not the name.
    assert_eq!(class("03 '405HD'").as_deref(), Some("405hd.img"));
    for text in ["06 '440HDG'", "04 '440H'", "05 'x440HD'", "'x440HD'", "'440HDx'", "00", "ff", ""]
    {
        assert_eq!(class(text), None, "{text}");
    }
}

#[test]
fn option_60_beats_77_and_77_beats_the_address() {
    let mut server = Server::lab();
    let mut file = |message: Message| server.reply(ON_VOICE, &message).text(67).map(str::to_owned);
    let plain = Message::discover(AUDIOCODES);
    assert_eq!(file(plain.clone()), Some("440hd.img".into()));
    assert_eq!(file(plain.clone().with(77, "405")), Some("405.img".into()));
    assert_eq!(file(plain.clone().with(77, "405").with(60, "420HD")), Some("420hd.img".into()));
    // A vendor class nobody knows leaves the question open.
    assert_eq!(file(plain.with(60, "dhcpcd").with(77, "405HD")), Some("405hd.img".into()));
}

#[test]
fn the_inventory_beats_what_a_phone_says_of_itself() {
    let mut lab = site();
    lab.phones.push(offhook_model::Phone {
        class: Some(class_id(&lab, "SIP200")),
        ..phone(AUDIOCODES, None, vec![rule(15, b"other.zone", Send::IfRequested)])
    });
    let mut server = Server::new(lab);
    let discover = Message::discover(AUDIOCODES).asking(&AUDIOCODES_LIST).with(60, "440HD");
    let decision = server.decide(ON_VOICE, &discover.bytes());
    assert_eq!(decision.trace.recognition, Some(Recognition::Inventory));
    let offer = Read::new(&decision.reply.unwrap().bytes);
    assert_eq!(offer.text(67), Some("sip200.img"));
    assert_eq!(offer.text(15), Some("other.zone"));
}

#[test]
fn a_phone_is_found_by_its_host_name_or_by_the_first_label_of_its_full_name() {
    let mut lab = site();
    lab.phones.push(offhook_model::Phone {
        key: offhook_model::PhoneKey::HostName("desk-7".into()),
        class: Some(class_id(&lab, "SoftPhone")),
        ..phone(ELSEWHERE, None, Vec::new())
    });
    let mut server = Server::new(lab);
    let full_name = b"\x00\x00\x00DESK-7.lab.local";
    for message in [
        Message::discover(mac(1)).with(12, "Desk-7\0"),
        Message::discover(mac(2)).with(81, full_name),
        Message::discover(mac(4)).with(12, "DESK-7.lab.local."),
    ] {
        assert!(server.reply(ON_NATIVE, &message).option(160).is_some());
    }
    let other = Message::discover(mac(3)).with(12, "desk-70");
    assert_eq!(server.reply(ON_NATIVE, &other).option(160), None);
}

#[test]
fn a_pc_that_asks_for_everything_gets_no_provisioning_option() {
    for link in [ON_VOICE, ON_NATIVE] {
        let mut server = Server::lab();
        let discover = Message::discover(ELSEWHERE)
            .with(61, b"\x01\x52\x54\x00\x01\x02\x03")
            .with(12, "DESKTOP-1")
            .with(60, "MSFT 5.0")
            .asking(&[1, 3, 6, 15, 31, 33, 43, 44, 46, 47, 66, 67, 119, 121, 132, 160, 249, 252]);
        let offer = server.reply(link, &discover);
        assert_eq!(offer.codes(), [53, 54, 51, 58, 59, 1, 3, 6, 15, 61]);
        assert_eq!(offer.siaddr(), NOBODY);
        assert_eq!(offer.file(), b"");
    }
}

#[test]
fn a_soft_phone_that_informs_gets_160_and_no_lease() {
    let mut server = Server::lab();
    let inform = Message::inform(ELSEWHERE, ip("10.0.0.42"))
        .with(61, b"\x01\x52\x54\x00\x01\x02\x03")
        .with(60, "MSFT 5.0")
        .asking(&[6, 160]);
    let decision =
        server.decide_from(ON_NATIVE, "10.0.0.42:68".parse().unwrap(), BROADCAST, &inform.bytes());
    assert!(decision.writes.is_empty() && decision.ticket.is_none());
    let reply = decision.reply.unwrap();
    let address = ip("10.0.0.42");
    assert_eq!(reply.to, Destination::Frame { hardware: ELSEWHERE, address });
    assert_bytes(
        &reply.bytes,
        "02010600 12345678 0000 0000 0a00002a 00000000 00000000 00000000
         525400010203 0*10 0*64 0*128 63825363
         350105 36040a00000b 06080afa01050afa0002 a01e'http://provision.lab.voip:8088'
         3d0701525400010203 ff",
    );
    assert_eq!(server.core.lease_count(), 0);
}

#[test]
fn an_inform_that_does_not_ask_for_160_comes_from_a_pc() {
    let mut server = Server::lab();
    let inform = Message::inform(ELSEWHERE, ip("10.0.0.42")).asking(&[6, 15, 252]);
    assert_eq!(server.reply(ON_NATIVE, &inform).codes(), [53, 54, 6, 15]);
}

#[test]
fn an_inform_for_160_from_another_makers_phone_is_no_soft_phones() {
    let mut server = Server::lab();
    let inform = Message::inform(ELSEWHERE, ip("10.0.0.42")).asking(&[6, 160]);
    for text in ["Cisco Systems, Inc. IP Phone CP-7911G\0", "yealink", "snomD725", "MSF"] {
        let reply = server.reply(ON_NATIVE, &inform.clone().with(60, text));
        assert_eq!(reply.codes(), [53, 54, 6], "{text}");
    }
    for message in [inform.clone(), inform.clone().with(60, "MSFT 5.0"), inform.with(60, "MSFT")] {
        assert_eq!(server.reply(ON_NATIVE, &message).codes(), [53, 54, 6, 160]);
    }
}

#[test]
fn a_cisco_7911_is_served_as_the_stranger_it_is() {
    let mut server = Server::lab();
    let id = b"\x01\x52\x54\x00\x01\x02\x03";
    let discover = Message::discover(ELSEWHERE)
        .broadcast()
        .with(60, b"Cisco Systems, Inc. IP Phone CP-7911G\0")
        .with(61, id)
        .asking(&[1, 66, 6, 3, 15, 150, 35]);
    let reply = server.send(ON_VOICE, &discover).unwrap();
    assert_eq!(reply.to, Destination::Broadcast);
    assert_bytes(
        &reply.bytes,
        "02010600 12345678 0000 8000 00000000 0afa0114 00000000 00000000
         525400010203 0*10 0*64 0*128 63825363
         350102 36040afa0105 330400007080 3a0400003840 3b0400006270
         0104ffffff00 06080afa01050afa0002 03040afa0101 0f08'lab.voip' 3d0701525400010203 ff",
    );
}

#[test]
fn malformed_options_cost_a_phone_neither_its_class_nor_its_lease() {
    let mut server = Server::lab();
    let broken = Message::discover(AUDIOCODES)
        .with(12, b"\xff\xfe\xc3\x28")
        .with(51, b"\x00\x01")
        .with(57, b"\x02")
        .with(50, b"\x0a")
        .with(222, b"")
        .asking(&[1, 3, 15, 66, 3, 4, 66, 66, 1])
        .with(60, b"420HD\0");
    let offer = server.reply(ON_VOICE, &broken);
    assert_eq!(offer.codes(), [53, 54, 51, 58, 59, 1, 3, 15, 66, 67, 160]);
    assert_eq!(offer.text(67), Some("420hd.img"));

    let mut cut = broken.bytes();
    cut.pop();
    cut.extend_from_slice(b"\x0c\x40phone");
    let offer = Read::new(&server.decide(ON_VOICE, &cut).reply.unwrap().bytes);
    assert_eq!(offer.text(67), Some("420hd.img"));
}

#[test]
fn a_long_client_identifier_costs_a_phone_no_option() {
    for len in [7, 150, 180, 200, 220, 240, 254, 255] {
        let mut id = vec![0xab; len];
        id[0] = 0;
        for link in [ON_VOICE, ON_NATIVE] {
            let mut server = Server::lab();
            let discover = Message::discover(AUDIOCODES)
                .with(60, "Polycom-VVX410")
                .with(61, &id)
                .asking(&AUDIOCODES_LIST);
            let reply = server.send(link, &discover).unwrap();
            assert!(reply.bytes.len() <= 548);
            let offer = Read::new(&reply.bytes);
            for code in [1, 3, 6, 15, 42, 2, 160, 61] {
                assert!(offer.option(code).is_some(), "{code} with an identifier of {len}");
            }
            assert_eq!(offer.option(61), Some(&id[..]));

            // Here `file` is taken: what is merely asked for goes first.
            let discover = Message::discover(AUDIOCODES)
                .with(60, "440HD")
                .with(61, &id)
                .with(82, b"\x01\x04port")
                .through(ip(if link == ON_VOICE { "10.250.1.1" } else { "10.0.0.1" }))
                .asking(&AUDIOCODES_LIST);
            let reply = server.send(link, &discover).unwrap();
            assert!(reply.bytes.len() <= 548);
            let offer = Read::new(&reply.bytes);
            let vlan = (link == ON_NATIVE).then_some("100");
            for code in [1, 6, 66, 67, 160] {
                assert!(offer.option(code).is_some(), "{code} with an identifier of {len}");
            }
            assert_eq!(offer.text(132), vlan);
            assert_eq!(offer.option(61), Some(&id[..]));
            // With nothing left to go, `file` itself does.
            assert_eq!(
                offer.bytes[108..].starts_with(b"440hd.img\0"),
                len < 254 || link == ON_VOICE
            );
            assert_eq!(offer.option(82), Some(&b"\x01\x04port"[..]));
        }
    }
}

#[test]
fn a_phone_without_option_55_gets_all_that_there_is() {
    let mut server = Server::lab();
    let offer = server.reply(ON_VOICE, &Message::discover(AUDIOCODES).with(60, "440HD"));
    assert_eq!(offer.codes(), [53, 54, 51, 58, 59, 1, 2, 3, 6, 15, 42, 66, 67, 160]);
}
