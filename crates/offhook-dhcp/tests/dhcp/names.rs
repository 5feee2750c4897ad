//! Option 81 (RFC 4702), and what a client is called.

use std::sync::Arc;

use offhook_model::{DnsNames, HardwareAddress, ZoneNames};
use proptest::prelude::*;

use crate::support::*;

const S: u8 = 1;
const O: u8 = 2;
const E: u8 = 4;
const N: u8 = 8;

fn asked(flags: u8, name: &[u8]) -> Message {
    Message::discover(mac(1)).with(81, [&[flags, 0, 0], name].concat())
}

/// Flags and name of the answer, in the ACK as in the OFFER.
fn answer(flags: u8, name: &[u8]) -> (u8, Vec<u8>) {
    let mut server = Server::lab();
    let offer = server.reply(ON_VOICE, &asked(flags, name));
    let ack = server.lease(ON_VOICE, &asked(flags, name));
    assert_eq!(offer.option(81), ack.option(81));
    let value = ack.option(81).unwrap();
    assert_eq!(value[1..3], [255, 255], "result codes are deprecated");
    (value[0], value[3..].to_vec())
}

#[test]
fn the_flags_say_who_updates_the_zone() {
    let ours = b"\x04pc-7\x03lab\x04voip\x00";
    let foreign = b"\x04pc-7\x07example\x00";
    for (name, flags, told) in [
        (&ours[..], S, S),
        (ours, 0, S | O),
        (ours, N, N),
        // Not allowed; no update is what both can live with.
        (ours, N | S, N | O),
        // What only a server sets, and what is reserved, means nothing from a client.
        (ours, S | O | 0xf0, S),
        (foreign, S, N | O),
        (foreign, 0, N),
        (foreign, N, N),
    ] {
        assert_eq!(answer(E | flags, name), (E | told, name.to_vec()), "{flags:#x}");
    }
}

#[test]
fn a_partial_name_is_completed_in_the_encoding_it_came_in() {
    let full = b"\x04pc-7\x03lab\x04voip\x00";
    assert_eq!(answer(E | S, b"\x04pc-7"), (E | S, full.to_vec()));
    assert_eq!(
        answer(E | S, b"\x04pc-7\x03LAB\x04voip"),
        (E | S, b"\x04pc-7\x03LAB\x04voip\x00".to_vec())
    );
    // Deeper in the zone than leases have names.
    let two = b"\x02pc\x04desk\x03lab\x04voip\x00";
    assert_eq!(answer(E | S, b"\x02pc\x04desk"), (E | N | O, two.to_vec()));
    for (name, told) in [
        ("pc-7", "pc-7.lab.voip"),
        ("pc-7\0", "pc-7.lab.voip"),
        ("PC-7.lab.voip", "PC-7.lab.voip"),
        ("pc-7.lab.voip.", "pc-7.lab.voip."),
        ("pc 7!.lab.voip", "pc-7.lab.voip"),
        ("--.pc-7.lab.voip", "pc-7.lab.voip"),
    ] {
        assert_eq!(answer(S, name.as_bytes()), (S, told.as_bytes().to_vec()), "{name}");
    }
    assert_eq!(answer(S, b"pc-7.example"), (N | O, b"pc-7.example".to_vec()));
    // Damaged: what came before counts, and is not full.
    assert_eq!(answer(E | S, b"\x04pc-7\x3fexam"), (E | S, full.to_vec()));
    assert_eq!(answer(E | S, b"\x04pc-7\xc0\x0c"), (E | S, full.to_vec()));
}

#[test]
fn a_name_too_long_or_of_a_server_is_not_taken() {
    let long = [&[63][..], &[b'a'; 63]].concat().repeat(4);
    let (flags, name) = answer(E | S, &long);
    assert_eq!((flags, name[0], name.len()), (E | S, 63, 64 + 10));
    let mut lab = site();
    lab.hosts.push(offhook_model::Host::new(
        "vm40ic1.lab.voip".parse().unwrap(),
        ip("10.250.1.151"),
        offhook_model::Origin::default("test"),
    ));
    let mut server = Server::new(lab);
    let ack = server.lease(ON_VOICE, &asked(S, b"VM40IC1"));
    assert_eq!(ack.option(81), Some(&b"\x0a\xff\xffVM40IC1.lab.voip"[..]));
}

#[test]
fn a_client_that_leaves_its_name_to_us_is_called_by_model_and_address() {
    let mut server = Server::lab();
    let phone = asked(S, b"").with(60, "440HD").with(12, "ignored");
    let ack = server.lease(ON_VOICE, &phone);
    assert_eq!(ack.option(81), Some(&b"\x01\xff\xff440hd-001122334401.lab.voip"[..]));
    let pc = Message::discover(mac(2)).with(81, [S | E, 0, 0]);
    let ack = server.reply(ON_VOICE, &pc);
    assert_eq!(ack.option(81), Some(&b"\x05\xff\xff\x13client-001122334402\x03lab\x04voip\0"[..]));
}

#[test]
fn option_81_is_answered_with_a_lease_only_and_only_when_sent() {
    let mut server = Server::lab();
    let everything: Vec<u8> = (1..255).collect();
    let plain = Message::discover(mac(1)).asking(&everything);
    assert_eq!(server.reply(ON_VOICE, &plain).option(81), None);
    let short = Message::discover(mac(1)).with(81, [0, 0]);
    assert_eq!(server.reply(ON_VOICE, &short).option(81), None);
    let inform = Message::inform(mac(1), ip("10.250.1.99")).with(81, b"\0\0\0pc");
    assert_eq!(server.reply(ON_VOICE, &inform).option(81), None);
}

#[test]
fn a_lease_is_named_by_81_or_by_12_and_never_by_both() {
    type Bytes = Option<&'static [u8]>;
    let cases: [(Bytes, Bytes, Bytes); 9] = [
        (Some(b"twelve\0"), None, Some(b"twelve")),
        (Some(b"twelve"), Some(b"\x01\0\0eighty-one.lab.voip"), Some(b"eighty-one")),
        (Some(b"twelve"), Some(b"\x05\0\0\x03pc7"), Some(b"pc7")),
        (Some(b"twelve"), Some(b"\x08\0\0eighty-one"), None),
        (Some(b"twelve"), Some(b"\x01\0\0"), None),
        (Some(b"twelve"), Some(b"\x01\0\0pc.example"), None),
        (None, Some(b"\x01\0\0pc.desk.lab.voip"), None),
        (None, Some(b"\x01\0\0--.pc-7.lab.voip"), Some(b"pc-7")),
        (None, Some(b"\0\0\0pc 8.LAB.voip"), Some(b"pc 8")),
    ];
    for (twelve, eighty_one, named) in cases {
        let mut server = Server::lab();
        let mut message = Message::discover(mac(1));
        for (code, value) in [(12, twelve), (81, eighty_one)] {
            if let Some(value) = value {
                message = message.with(code, value);
            }
        }
        server.lease(ON_VOICE, &message);
        assert_eq!(server.disk[0].host_name.as_deref(), named, "{twelve:?} {eighty_one:?}");
    }
}

#[test]
fn a_lease_that_goes_on_keeps_what_a_renewal_does_not_say() {
    let mut server = Server::lab();
    let booting = Message::discover(mac(1)).with(60, "440HD").with(12, "desk");
    let address = server.lease(ON_VOICE, &booting).yiaddr();
    let renewal = || Message::request(mac(1)).using(address);
    let mut is = |message: &Message, class: Option<&str>, name: Option<&str>| {
        server.reply(ON_VOICE, message);
        let lease = &server.disk[0];
        assert_eq!(lease.class.as_deref(), class);
        assert_eq!(lease.host_name.as_deref(), name.map(str::as_bytes));
    };
    is(&renewal(), Some("440HD"), Some("desk"));
    is(&renewal().with(12, "door"), Some("440HD"), Some("door"));
    is(&renewal().with(60, "430HD"), Some("430HD"), Some("door"));
    is(&renewal().with(60, "something else"), None, Some("door"));
    // Its name is to be in no DNS.
    is(&renewal().with(12, "door").with(81, [N, 0, 0, b'x']), None, None);
    is(&renewal(), None, None);
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn any_option_81_gets_a_name_that_can_be_one(payload in prop::collection::vec(any::<u8>(), 3..300)) {
        let mut server = Server::lab();
        let reply = server.reply(ON_VOICE, &Message::discover(mac(1)).with(81, &payload));
        let value = reply.option(81).unwrap();
        prop_assert_eq!(value[0] & E, payload[0] & E);
        prop_assert!(value[0] & 0xf0 == 0 && (value[0] & N == 0 || value[0] & S == 0));
        prop_assert_eq!(value[0] & O != 0, (value[0] ^ payload[0]) & S != 0);
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        if value[0] & E == 0 {
            prop_assert!(value.len() <= 3 + 254 && value[3..].iter().all(allowed));
            return Ok(());
        }
        let mut rest = &value[3..];
        prop_assert!(rest.len() <= 255);
        while let Some((len, tail)) = rest.split_first() {
            prop_assert!(*len < 64);
            prop_assert!(*len > 0 || tail.is_empty());
            prop_assert!(tail[..usize::from(*len)].iter().all(allowed));
            rest = &tail[usize::from(*len)..];
        }
    }
}

/// `desk` belongs to client 9, everything else is free.
#[derive(Debug)]
struct Desk;

impl ZoneNames for Desk {
    fn is_taken(&self, label: &str, client: HardwareAddress) -> bool {
        label.eq_ignore_ascii_case("desk") && client != mac(9).into()
    }
}

#[test]
fn nobody_is_told_to_have_a_name_that_dns_gives_to_another() {
    let mut server = Server::lab();
    server.core.set_names(Arc::new(Desk));
    let mut told = |n, name: &[u8]| {
        let asked = [&[S, 0, 0], name].concat();
        let ack = server.lease(ON_VOICE, &Message::discover(mac(n)).with(81, asked));
        ack.option(81).unwrap()[0]
    };
    assert_eq!(told(1, b"Desk"), N | O);
    assert_eq!(told(9, b"desk.lab.voip"), S);
    assert_eq!(told(2, b"lobby"), S);
    assert_eq!(told(3, b"wpad"), N | O, "nobody's to have");
}

#[test]
fn where_leases_have_no_names_nobody_is_told_to_have_one() {
    for (leases, hosts, own, models) in
        [(false, true, N | O, N | O), (true, false, N | O, S), (true, true, S, S)]
    {
        let mut lab = site();
        lab.dns.names = DnsNames { leases, hosts };
        let mut server = Server::new(lab);
        for (n, name, flags) in [(1, &b"pc"[..], own), (2, b"", models)] {
            let asked = [&[S, 0, 0], name].concat();
            let ack = server.lease(ON_VOICE, &Message::discover(mac(n)).with(81, asked));
            assert_eq!(ack.option(81).unwrap()[0], flags, "{leases} {hosts} {name:?}");
        }
    }
}
