//! Options in the form a class wants them, options that came in pieces, and those that choose a subnet.

use offhook_dhcp::NoReply;
use offhook_model::{BootFields, OptionRule, Send};

use crate::support::*;

#[test]
fn text_ends_with_one_nul_for_a_class_that_wants_it_and_the_boot_file_does_not() {
    let mut lab = site();
    let class = usize::from(class_id(&lab, "440HD").0);
    lab.classes[class].trailing_nul = true;
    lab.classes[class].options.push(rule(14, b"dump\0\0", Send::Always));
    lab.classes[class].options.push(rule(43, b"\x01\x01a", Send::Always));
    for (code, text) in [(224, &b"of no type"[..]), (225, b"ended\0")] {
        let written = OptionRule { is_text: true, ..rule(code, text, Send::Always) };
        lab.classes[class].options.push(written);
    }
    let mut server = Server::new(lab);
    let ack = server.lease(ON_NATIVE, &Message::discover(mac(1)).with(60, "440HD"));
    assert_eq!(ack.text(66), Some("10.0.0.11\0"));
    assert_eq!(ack.text(67), Some("440hd.img\0"));
    assert_eq!(ack.text(160), Some("http://provision.lab.voip:8088\0"));
    assert_eq!(ack.text(132), Some("100\0"));
    // From the site, too; what has one gets no second.
    assert_eq!(ack.text(15), Some("lab.voip\0"));
    assert_eq!(ack.text(14), Some("dump\0"));
    assert_eq!((ack.text(224), ack.text(225)), (Some("of no type\0"), Some("ended\0")));
    assert_eq!(ack.option(43), Some(&b"\x01\x01a"[..]));
    assert_eq!(ack.option(6).unwrap().len(), 8);
    assert_eq!((ack.file(), ack.siaddr()), (&b"440hd.img"[..], NATIVE_ADDRESS));
    let other = server.lease(ON_NATIVE, &Message::discover(mac(2)).with(60, "420HD"));
    assert_eq!(other.text(15), Some("lab.voip"));
}

#[test]
fn option_43_repeats_the_66_and_67_that_this_very_phone_is_given() {
    let mut lab = site();
    let class = usize::from(class_id(&lab, "440HD").0);
    let derived = b"\x42\x0910.0.0.11\x43\x09440hd.img";
    let nested = OptionRule { repeats_boot: true, ..rule(43, derived, Send::IfRequested) };
    lab.classes[class].options.push(nested);
    let scope = vec![rule(66, b"10.9.9.9", Send::Always)];
    lab.classes[class].scope_options.push((VOICE, scope));
    let own = |last, rule| phone(mac(last), None, vec![rule]);
    lab.phones.push(own(7, rule(67, b"test.img", Send::Always)));
    lab.phones.push(own(8, rule(66, b"", Send::Never)));
    lab.phones.push(own(9, rule(66, b"tftp\0", Send::Always)));
    let neither = [66, 67].map(|code| rule(code, b"", Send::Never)).to_vec();
    lab.phones.push(phone(mac(10), None, neither));
    let mut server = Server::new(lab);
    let mut nested = |link, last| {
        let discover = Message::discover(mac(last)).with(60, "440HD").asking(&[1, 43]);
        server.reply(link, &discover).option(43).map(<[u8]>::to_vec)
    };
    let some = |bytes: &[u8]| Some(bytes.to_vec());
    assert_eq!(nested(ON_NATIVE, 1), some(derived));
    assert_eq!(nested(ON_VOICE, 2), some(b"\x42\x0810.9.9.9\x43\x09440hd.img"));
    assert_eq!(nested(ON_NATIVE, 7), some(b"\x42\x0910.0.0.11\x43\x08test.img"));
    assert_eq!(nested(ON_NATIVE, 8), some(b"\x43\x09440hd.img"));
    assert_eq!(nested(ON_NATIVE, 9), some(b"\x42\x04tftp\x43\x09440hd.img"));
    assert_eq!(nested(ON_NATIVE, 10), None, "an option 43 of nothing");
}

/// Every option of the message in pieces of `size` bytes, all first pieces before all second ones.
fn in_pieces(message: &Message, size: usize) -> Vec<u8> {
    let mut split = message.clone();
    let longest = message.options.iter().map(|(_, value)| value.len()).max().unwrap();
    split.options = (0..longest.div_ceil(size))
        .flat_map(|round| {
            let piece = move |value: &Vec<u8>| value.chunks(size).nth(round).map(<[u8]>::to_vec);
            message.options.iter().filter_map(move |(code, value)| Some((*code, piece(value)?)))
        })
        .collect();
    split.bytes()
}

#[test]
fn options_in_pieces_are_read_as_if_they_were_whole() {
    let long = |first: &[u8], len: usize| [first, &vec![b'x'; len]].concat();
    let relay = long(b"\x01\x06port 7\x02\xff", 255);
    let message = Message::discover(mac(1))
        .with(61, long(b"\0", 300))
        .with(60, "440HD")
        .with(77, long(b"\x05lobby\xf0", 240))
        .with(81, b"\x05\0\0\x04pc-7\x03lab\x04voip\x00")
        .with(124, b"\0\0\x36\x3d\x02ab\0\0\x04\x1b\x02cd")
        .with(125, long(b"\0\0\x36\x3d\xff", 255))
        .with(43, long(b"\x01\x01", 400))
        .with(82, &relay)
        .asking(&[1, 3, 6, 15, 66, 67, 160])
        .with(57, 1500_u16.to_be_bytes())
        .through(ip("10.250.1.1"));
    let mut server = Server::lab();
    let whole = server.reply(ON_VOICE, &message);
    assert_eq!(whole.option(61).unwrap().len(), 301);
    assert_eq!(whole.option(82), Some(&relay[..]));
    assert_eq!(whole.option(81), Some(&b"\x05\xff\xff\x04pc-7\x03lab\x04voip\x00"[..]));
    assert_eq!(whole.text(67), Some("440hd.img"));
    for size in [1, 2, 7, 100, 255] {
        let mut server = Server::lab();
        let decision = server.decide(ON_VOICE, &in_pieces(&message, size));
        assert_eq!(decision.reply.unwrap().bytes, whole.bytes, "pieces of {size}");
    }
}

#[test]
fn an_option_of_the_configuration_longer_than_255_bytes_goes_out_in_pieces_in_its_place() {
    let mut lab = site();
    let long: Vec<u8> = (0..600_u16).map(|n| n as u8).collect();
    lab.options.push(rule(43, &long, Send::IfRequested));
    let mut server = Server::new(lab);
    let discover = Message::discover(mac(1)).asking(&[6, 43, 15]).with(57, [5, 0xdc]);
    let offer = server.reply(ON_VOICE, &discover);
    assert_eq!(offer.codes(), [53, 54, 51, 58, 59, 6, 43, 15, 1]);
    assert_eq!(offer.option(43), Some(&long[..]));
    let at = 240 + 3 + 6 * 4 + 10;
    let heads = [at, at + 257, at + 514].map(|at| [offer.bytes[at], offer.bytes[at + 1]]);
    assert_eq!(heads, [[43, 255], [43, 255], [43, 90]]);
}

#[test]
fn option_57_bounds_a_reply_and_576_is_its_least() {
    let mut lab = site();
    lab.options.push(rule(43, &[7; 900], Send::IfRequested));
    for (size, longest, fits) in [
        (None, 548, false),
        (Some(0), 548, false),
        (Some(300), 548, false),
        (Some(1000), 972, false),
        (Some(1400), 1372, true),
        (Some(u16::MAX), 1472, true),
    ] {
        let mut server = Server::new(lab.clone());
        let mut discover = Message::discover(mac(1)).asking(&[43, 15]);
        if let Some(size) = size {
            discover = discover.with(57, size.to_be_bytes());
        }
        let decision = server.decide(ON_VOICE, &discover.bytes());
        let reply = decision.reply.unwrap();
        assert!((300..=longest).contains(&reply.bytes.len()), "{size:?}");
        let offer = Read::new(&reply.bytes);
        assert_eq!((offer.option(43).is_some(), offer.option(15).is_some()), (fits, true));
        assert_eq!(decision.trace.dropped, if fits { vec![] } else { vec![43] });
    }
}

#[test]
fn an_option_that_no_reply_has_room_for_takes_no_other_along() {
    let mut lab = site();
    let class = usize::from(class_id(&lab, "440HD").0);
    lab.classes[class].options.push(rule(224, &[7; 900], Send::Always));
    lab.classes[class].options.push(rule(225, &[7; 90], Send::Always));
    let discover = Message::discover(mac(1)).with(60, "440HD").asking(&[1, 3, 6, 15, 42]);
    let decision = Server::new(lab).decide(ON_VOICE, &discover.bytes());
    let offer = Read::new(&decision.reply.unwrap().bytes);
    assert_eq!(decision.trace.dropped, [224]);
    for code in [1, 3, 6, 15, 42, 66, 67, 160, 225] {
        assert!(offer.option(code).is_some(), "{code}");
    }
}

#[test]
fn classless_routes_stand_in_for_the_router_and_static_routes_where_they_are_asked_for() {
    let mut lab = site();
    lab.options.push(rule(121, b"\0\x0a\xfa\x01\x01", Send::IfRequested));
    lab.options.push(rule(33, b"\x0a\0\0\0\x0a\xfa\x01\x01", Send::IfRequested));
    let mut server = Server::new(lab);
    let mut codes =
        |list: &[u8]| server.reply(ON_VOICE, &Message::discover(mac(1)).asking(list)).codes();
    assert_eq!(codes(&[1, 3, 121, 6]), [53, 54, 51, 58, 59, 1, 121, 6]);
    assert_eq!(codes(&[33, 121, 6]), [53, 54, 51, 58, 59, 121, 6, 1]);
    assert_eq!(codes(&[3, 1, 6]), [53, 54, 51, 58, 59, 1, 3, 6]);
    assert_eq!(codes(&[33, 3, 6]), [53, 54, 51, 58, 59, 33, 1, 3, 6]);
}

#[test]
fn classless_routes_that_have_no_room_do_not_stand_in_for_the_router() {
    let mut lab = site();
    lab.options.push(rule(121, &[0; 600], Send::IfRequested));
    let discover = Message::discover(mac(1)).asking(&[121, 3, 6]);
    let decision = Server::new(lab).decide(ON_VOICE, &discover.bytes());
    let offer = Read::new(&decision.reply.unwrap().bytes);
    assert_eq!(decision.trace.dropped, [121]);
    assert_eq!(offer.codes(), [53, 54, 51, 58, 59, 1, 3, 6]);
}

#[test]
fn option_118_chooses_the_subnet_only_where_the_site_lets_it() {
    let native = ip("10.0.0.0").octets();
    let choosing = Message::discover(mac(1)).with(118, native);
    let mut server = Server::lab();
    let offer = server.reply(ON_VOICE, &choosing);
    assert_eq!((offer.yiaddr(), offer.option(118)), (ip("10.250.1.20"), None));

    let mut lab = site();
    lab.dhcp.subnet_selection = true;
    let mut server = Server::new(lab);
    let ack = server.lease(ON_VOICE, &choosing);
    assert_eq!((ack.yiaddr(), ack.option(118)), (ip("10.0.0.100"), Some(&native[..])));
    let relayed = server.send(ON_VOICE, &choosing.clone().through(ip("10.9.9.9"))).unwrap();
    assert_eq!(Read::new(&relayed.bytes).yiaddr(), ip("10.0.0.100"));
    // The relay's word goes before the client's (RFC 3527).
    let linked = choosing.through(ip("10.9.9.9")).with(82, b"\x05\x04\x0a\xfa\x01\x00");
    let linked = server.reply(ON_VOICE, &linked);
    assert_eq!((linked.yiaddr(), linked.option(118)), (ip("10.250.1.20"), None));
    let elsewhere = Message::discover(mac(2)).with(118, [192, 168, 1, 0]);
    assert_eq!(server.send(ON_VOICE, &elsewhere), Err(NoReply::UnknownSubnet));
    let plain = server.reply(ON_VOICE, &Message::discover(mac(3)));
    assert_eq!((plain.yiaddr(), plain.option(118)), (ip("10.250.1.21"), None));
}

#[test]
fn a_client_without_a_hardware_address_is_served_by_its_identifier() {
    let mut server = Server::lab();
    let mut bytes = Message::discover(mac(1)).with(61, b"\xff\0\0\0\x01id").bytes();
    bytes[2] = 0;
    bytes[3] = 9;
    bytes[8..10].copy_from_slice(&[0x12, 0x34]);
    let reply = server.decide(ON_VOICE, &bytes).reply.unwrap();
    assert_eq!(reply.to, offhook_dhcp::Destination::Broadcast);
    // hlen and chaddr as they came; hops and secs are the client's way, not the answer's.
    assert_eq!(reply.bytes[..4], [2, 1, 0, 0]);
    assert_eq!(reply.bytes[8..10], [0, 0]);
    assert_eq!(reply.bytes[28..34], mac(1).0);
    assert_eq!(Read::new(&reply.bytes).option(61), Some(&b"\xff\0\0\0\x01id"[..]));
    let mut nobody = Message::discover(mac(1)).bytes();
    nobody[2] = 0;
    assert_eq!(server.decide(ON_VOICE, &nobody).reply, Err(NoReply::NoIdentity));
    for hlen in [17, 255] {
        nobody[2] = hlen;
        assert_eq!(server.decide(ON_VOICE, &nobody).reply, Err(NoReply::HardwareLength));
    }
}

#[test]
fn a_nak_says_why_and_nothing_else() {
    let mut server = Server::lab();
    let request = Message::request(mac(1))
        .with(50, [192, 168, 1, 1])
        .with(60, "440HD")
        .with(61, b"\0id")
        .with(81, b"\x01\0\0pc")
        .asking(&[1, 3, 6, 66])
        .through(ip("10.250.1.1"))
        .with(82, b"\x01\x01p");
    let nak = server.reply(ON_VOICE, &request);
    assert_eq!(nak.codes(), [53, 54, 56, 61, 82]);
    assert_eq!(nak.bytes[8..12], [0, 0, 0x80, 0]);
    assert!(nak.bytes[12..24].iter().all(|byte| *byte == 0));
    assert!(nak.bytes[44..236].iter().all(|byte| *byte == 0));
}

#[test]
fn header_fields_are_a_class_s_else_repeated_from_its_options_else_the_scope_s() {
    let fields = |server: &str, name: &str, file: &str| BootFields {
        next_server: Some(ip(server)),
        server_name: Some(name.into()),
        boot_file: Some(file.into()),
    };
    let mut lab = site();
    lab.scopes[0].boot = fields("192.0.2.1", "scope", "scope.img");
    let door = class_id(&lab, "405HD");
    lab.classes[usize::from(door.0)].boot = fields("192.0.2.2", "class", "class.img");
    let far = class_id(&lab, "420HD");
    lab.classes[usize::from(far.0)].options.push(rule(67, &[b'x'; 128], Send::Always));
    let mut server = Server::new(lab);
    let mut header = |message: &Message| {
        let reply = server.reply(ON_VOICE, message);
        let text = |range: std::ops::Range<usize>| {
            let field = &reply.bytes[range];
            let end = field.iter().position(|byte| *byte == 0).unwrap();
            String::from_utf8(field[..end].to_vec()).unwrap()
        };
        (reply.siaddr().to_string(), text(44..108), text(108..236))
    };
    let told = |server: &str, name: &str, file: &str| (server.into(), name.into(), file.into());
    let phone = |model: &str| Message::discover(mac(1)).with(60, model);
    assert_eq!(header(&Message::discover(mac(1))), told("192.0.2.1", "scope", "scope.img"));
    assert_eq!(header(&phone("440HD")), told("10.0.0.11", "scope", "440hd.img"));
    assert_eq!(header(&phone("405HD")), told("192.0.2.2", "class", "class.img"));
    let inform = Message::inform(mac(1), ip("10.250.1.77"));
    assert_eq!(header(&inform), told("192.0.2.1", "scope", "scope.img"));
    // Half a name would be another file's.
    assert_eq!(header(&phone("420HD")), told("10.0.0.11", "scope", "scope.img"));
    // A NAK has none of it (RFC 2131, table 3).
    let wrong = Message::request(mac(1)).with(50, [9; 4]);
    assert_eq!(header(&wrong), told("0.0.0.0", "", ""));
}

#[test]
fn a_server_name_gives_its_place_up_only_for_what_a_phone_is_provisioned_by() {
    for (send, length, kept) in [(Send::Always, 300, true), (Send::Always, 420, false)] {
        let mut lab = site();
        lab.scopes[0].boot.server_name = Some("tftp.lab.voip".into());
        lab.options.push(rule(224, &vec![7; length], send));
        let mut server = Server::new(lab);
        let reply = server.reply(ON_VOICE, &Message::discover(mac(1)).asking(&[1]));
        assert_eq!(reply.option(224).map(<[u8]>::len), Some(length));
        assert_eq!(reply.bytes[44..].starts_with(b"tftp.lab.voip\0"), kept, "{length}");
    }
}
