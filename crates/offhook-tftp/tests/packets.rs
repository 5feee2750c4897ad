//! Packets and option negotiation, byte by byte.

#![cfg(test)]

use std::time::Duration;

use offhook_tftp::{
    DecodeError, FirstContact, Limits, Mode, Options, Packet, Refusal, Request, Terms,
    first_contact, stray_reply,
};
use proptest::prelude::*;

fn request(bytes: &[u8]) -> Request<'_> {
    match Packet::decode(bytes) {
        Ok(Packet::ReadRequest(request)) => request,
        other => panic!("{other:?}"),
    }
}

fn pairs(options: Options<'_>) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    options.iter().map(|(name, value)| (text(name), text(value))).collect()
}

#[test]
fn the_request_of_u_boot_is_read() {
    let bytes = b"\0\x01440HD.img\0octet\0timeout\x005\0tsize\x000\0blksize\x001468\0";
    let request = request(bytes);
    assert_eq!((request.name, request.mode), (&b"440HD.img"[..], Mode::Octet));
    let expected = [("timeout", "5"), ("tsize", "0"), ("blksize", "1468")];
    assert_eq!(pairs(request.options), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    assert_eq!(Packet::ReadRequest(request).to_vec(), bytes);
}

#[test]
fn sloppy_requests_are_read() {
    for (bytes, mode, options) in [
        (&b"\0\x01f\0OcTeT\0"[..], Mode::Octet, 0),
        (b"\0\x01f\0octet", Mode::Octet, 0),
        (b"\0\x01f\0NETASCII\0", Mode::Netascii, 0),
        (b"\0\x01f\0mail\0", Mode::Mail, 0),
        (b"\0\x01f\0banana\0", Mode::Unknown, 0),
        (b"\0\x01f\0octet\0\0\0\0\0", Mode::Octet, 0),
        (b"\0\x01f\0octet\0blksize", Mode::Octet, 0),
        (b"\0\x01f\0octet\0blksize\0", Mode::Octet, 0),
        (b"\0\x01f\0octet\0blksize\x001428", Mode::Octet, 1),
        (b"\0\x01f\0octet\0blksize\0\0", Mode::Octet, 1),
        (b"\0\x01f\0octet\0blksize\x001428\0tsize", Mode::Octet, 1),
    ] {
        let request = request(bytes);
        let label = bytes.escape_ascii();
        assert_eq!(request.name, b"f", "{label}");
        assert_eq!(request.mode, mode, "{label}");
        assert_eq!(request.options.iter().count(), options, "{label}");
    }
}

#[test]
fn what_is_no_packet_says_why() {
    for (bytes, error) in [
        (&b""[..], DecodeError::Short),
        (b"\0", DecodeError::Short),
        (b"\0\x01", DecodeError::NoMode),
        (b"\0\x01name", DecodeError::NoMode),
        (b"\0\x01name\0", DecodeError::NoMode),
        (b"\0\x01name\0\0", DecodeError::NoMode),
        (b"\0\x03\0", DecodeError::Short),
        (b"\0\x04\0", DecodeError::Short),
        (b"\0\0", DecodeError::Opcode(0)),
        (b"\0\x07", DecodeError::Opcode(7)),
        (b"\x01\0", DecodeError::Opcode(256)),
    ] {
        assert_eq!(Packet::decode(bytes), Err(error), "{}", bytes.escape_ascii());
    }
}

#[test]
fn an_ack_may_be_padded_and_an_error_unterminated() {
    assert_eq!(Packet::decode(b"\0\x04\x01\x02padding"), Ok(Packet::Ack { block: 0x102 }));
    let error = Packet::Error { code: 8, message: b"no" };
    assert_eq!(Packet::decode(b"\0\x05\0\x08no"), Ok(error));
    assert_eq!(Packet::decode(b"\0\x05\0\x08no\0more"), Ok(error));
}

#[test]
fn first_contact_answers_what_is_wrong_and_never_an_error() {
    for (bytes, refusal, start) in [
        (&b"\0\x02f\0octet\0"[..], Refusal::ReadOnly, &b"\0\x05\0\x02access violation"[..]),
        (b"\0\x02f\0mail\0", Refusal::Mail, b"\0\x05\0\x04"),
        (b"\0\x01f\0mail\0", Refusal::Mail, b"\0\x05\0\x04"),
        (b"\0\x01f\0banana\0", Refusal::UnknownMode, b"\0\x05\0\x04"),
        (b"\0\x01f", Refusal::Malformed, b"\0\x05\0\x04"),
        (b"\0\x09f", Refusal::Malformed, b"\0\x05\0\x04"),
        (b"\0\x03\0\x01data", Refusal::UnknownTransfer, b"\0\x05\0\x05"),
        (b"\0\x04\0\x01", Refusal::UnknownTransfer, b"\0\x05\0\x05"),
        (b"\0\x06tsize\x000\0", Refusal::UnknownTransfer, b"\0\x05\0\x05"),
    ] {
        let FirstContact::Refuse(seen, _) = first_contact(bytes) else {
            panic!("{} was not refused", bytes.escape_ascii());
        };
        assert_eq!(seen, refusal, "{}", bytes.escape_ascii());
        let packet = seen.packet();
        assert!(packet.starts_with(start), "{}", packet.escape_ascii());
        assert_eq!(packet.iter().skip(4).position(|byte| *byte == 0), Some(packet.len() - 5));
    }
    for bytes in [&b""[..], b"\0", b"\0\x05", b"\0\x05\0", b"\0\x05\0\x01", b"\0\x05\0\x01gone\0"] {
        assert_eq!(first_contact(bytes), FirstContact::Ignore, "{}", bytes.escape_ascii());
        assert_eq!(stray_reply(bytes), None, "{}", bytes.escape_ascii());
    }
    assert_eq!(stray_reply(b"\0\x04\0\x01"), Some(b"\0\x05\0\x05unknown transfer ID\0".to_vec()));
}

/// What is asked, what the OACK holds (`/` stands for NUL), the block size and the window.
#[test]
fn options_are_granted_as_the_table_says() {
    const SIZE: u64 = 20_000_000;
    for (asked, oack, block_size, window) in [
        ("", None, 512, 1),
        ("blksize/1428/", Some("blksize/1428/"), 1428, 1),
        ("blksize/8/", Some("blksize/8/"), 8, 1),
        ("blksize/65464/", Some("blksize/65464/"), 65464, 1),
        ("blksize/65465/", Some("blksize/65464/"), 65464, 1),
        ("blksize/99999999999999999999999/", Some("blksize/65464/"), 65464, 1),
        ("blksize/7/", None, 512, 1),
        ("blksize/0/", None, 512, 1),
        ("blksize/-1/", None, 512, 1),
        ("blksize//", None, 512, 1),
        ("blksize/1428x/", None, 512, 1),
        ("blksize/ 1428/", None, 512, 1),
        ("blksize/0x400/", None, 512, 1),
        ("blksize/1428/blksize/8/", Some("blksize/1428/"), 1428, 1),
        ("blksize/zzz/blksize/8/", None, 512, 1),
        ("BLKSIZE/1428/", Some("BLKSIZE/1428/"), 1428, 1),
        ("blksize2/1428/rollover/0/multicast//", None, 512, 1),
        ("utimeout/500/blksize/1024/", Some("blksize/1024/"), 1024, 1),
        ("tsize/0/", Some("tsize/20000000/"), 512, 1),
        ("tsize/77/", Some("tsize/20000000/"), 512, 1),
        ("tsize/-1/", None, 512, 1),
        ("timeout/1/", Some("timeout/1/"), 512, 1),
        ("timeout/255/", Some("timeout/255/"), 512, 1),
        ("timeout/0/", None, 512, 1),
        ("timeout/256/", None, 512, 1),
        ("timeout/-1/", None, 512, 1),
        ("windowsize/16/", Some("windowsize/16/"), 512, 16),
        ("windowsize/1/", Some("windowsize/1/"), 512, 1),
        ("windowsize/65535/", Some("windowsize/64/"), 512, 64),
        ("windowsize/0/", None, 512, 1),
        (
            "timeout/5/tsize/0/blksize/1468/windowsize/4/",
            Some("timeout/5/tsize/20000000/blksize/1468/windowsize/4/"),
            1468,
            4,
        ),
    ] {
        let bytes = asked.replace('/', "\0");
        let options = Options::new(bytes.as_bytes());
        let terms = Terms::negotiate(options, Mode::Octet, Some(SIZE), &Limits::default());
        let expected = oack.map(|text| [b"\0\x06", text.replace('/', "\0").as_bytes()].concat());
        assert_eq!(terms.option_ack(), expected, "{asked}");
        assert_eq!((terms.block_size, terms.window), (block_size, window), "{asked}");
    }
}

#[test]
fn netascii_leaves_tsize_out() {
    let options = Options::new(b"tsize\x000\0timeout\x003\0");
    let terms = Terms::negotiate(options, Mode::Netascii, Some(10), &Limits::default());
    assert_eq!(terms.option_ack().unwrap(), b"\0\x06timeout\x003\0");
    assert_eq!(terms.timeout, Some(Duration::from_secs(3)));
    let terms = Terms::negotiate(
        Options::new(b"tsize\x000\0"),
        Mode::Netascii,
        Some(10),
        &Limits::default(),
    );
    assert_eq!(terms.option_ack(), None);
}

#[test]
fn an_empty_file_leaves_tsize_out_because_curl_refuses_0() {
    let options = Options::new(b"tsize\x000\0blksize\x00512\0timeout\x006\0");
    let terms = Terms::negotiate(options, Mode::Octet, Some(0), &Limits::default());
    assert_eq!(terms.option_ack().unwrap(), b"\0\x06blksize\x00512\0timeout\x006\0");
}

#[test]
fn a_smaller_limit_is_what_a_client_gets() {
    let limits = Limits { block_size: 1468, window: 8, ..Limits::default() };
    let options = Options::new(b"blksize\x0065464\0windowsize\x0064\0");
    let terms = Terms::negotiate(options, Mode::Octet, None, &limits);
    assert_eq!(terms.option_ack().unwrap(), b"\0\x06blksize\x001468\0windowsize\x008\0");
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(1..=255_u8, 1..20)
}

proptest! {
    #[test]
    fn any_bytes_decode_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = Packet::decode(&bytes);
        let _ = first_contact(&bytes);
        let _ = stray_reply(&bytes);
    }

    #[test]
    fn any_options_negotiate_to_something_usable(
        opcode in 1..7_u8,
        bytes in proptest::collection::vec(
            prop_oneof![Just(0), Just(b'1'), any::<u8>()], 0..200),
        name in prop_oneof![Just("blksize"), Just("tsize"), Just("timeout"), Just("windowsize")],
    ) {
        let packet = [&[0, opcode][..], b"f\0octet\0", name.as_bytes(), b"\0", &bytes].concat();
        if let Ok(Packet::ReadRequest(request)) = Packet::decode(&packet) {
            let terms = Terms::negotiate(request.options, request.mode, Some(1), &Limits::default());
            prop_assert!((8..=65464).contains(&terms.block_size));
            prop_assert!((1..=64).contains(&terms.window));
            prop_assert!(terms.option_ack().is_none_or(|oack| oack.len() < 512));
        }
    }

    #[test]
    fn encode_then_decode_is_the_identity(
        name in text(),
        options in proptest::collection::vec((text(), text()), 0..5),
        payload in proptest::collection::vec(any::<u8>(), 0..600),
        block: u16,
        code: u16,
        message in text(),
    ) {
        let bytes: Vec<u8> =
            options.iter().flat_map(|(n, v)| [n, &[0][..], v, &[0]].concat()).collect();
        let request = Request { name: &name, mode: Mode::Netascii, options: Options::new(&bytes) };
        for packet in [
            Packet::ReadRequest(request),
            Packet::WriteRequest(request),
            Packet::Data { block, payload: &payload },
            Packet::Ack { block },
            Packet::Error { code, message: &message },
            Packet::OptionAck(Options::new(&bytes)),
        ] {
            let datagram = packet.to_vec();
            prop_assert_eq!(Packet::decode(&datagram), Ok(packet));
        }
        let read: Vec<_> =
            request.options.iter().map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
        prop_assert_eq!(read, options);
    }
}
