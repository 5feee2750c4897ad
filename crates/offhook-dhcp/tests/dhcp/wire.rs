//! Properties of the wire format.

use std::net::Ipv4Addr;

use dhcproto::v4::Flags;
use dhcproto::{Decodable, Decoder, v4};
use offhook_dhcp::wire::{Field, Head, Rank, Request, Value, encode};
use offhook_model::HardwareAddress;
use proptest::prelude::*;

use crate::support::*;

fn head(file: &[u8]) -> Head<'_> {
    Head {
        hardware: mac(1).into(),
        chaddr: *b"\0\x11\x22\x33\x44\x01chaddr-end",
        xid: 7,
        flags: Flags::new(0x8001),
        ciaddr: ip("10.0.0.1"),
        yiaddr: ip("10.0.0.2"),
        siaddr: ip("10.0.0.3"),
        giaddr: ip("10.0.0.4"),
        sname: b"",
        file,
    }
}

fn field(code: u8, value: &[u8], rank: Rank) -> Field<'_> {
    Field { code, value: Value::Bytes(value), rank }
}

/// As if the client had sent it: our decoder reads requests only.
fn reread(mut bytes: Vec<u8>) -> Vec<(u8, Vec<u8>)> {
    bytes[0] = 1;
    let request = Request::decode(&bytes).unwrap();
    (1..255).filter_map(|code| request.option(code).map(|value| (code, value.to_vec()))).collect()
}

/// Options with codes of their own, 53 first; no 52, 55, 57 or 82.
fn options() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let code = (1..=254_u8).prop_filter("managed", |code| ![52, 53, 55, 57, 82].contains(code));
    let value = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..40),
        1 => prop::collection::vec(any::<u8>(), 250..600),
    ];
    prop::collection::btree_map(code, value, 0..12)
        .prop_map(|map| std::iter::once((53, vec![1])).chain(map).collect())
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn encode_then_decode_is_the_identity(
        options in options(),
        relay in proptest::option::of(prop::collection::vec(any::<u8>(), 0..300)),
    ) {
        let rank = |code| if code == 53 { Rank::Protocol } else { Rank::Asked };
        let fields: Vec<_> =
            options.iter().map(|(code, value)| field(*code, value, rank(*code))).collect();
        // 1,472 bytes may not do; what is left off is named, what is there is whole.
        let encoded = encode(&head(b""), &fields, relay.as_deref(), 1472);
        prop_assert!(encoded.bytes.len() >= 300 && encoded.bytes.len() <= 1472);
        let mut expected: Vec<_> = options
            .into_iter()
            .filter(|(code, _)| !encoded.dropped.contains(code))
            .chain(relay.map(|relay| (82, relay)))
            .collect();
        expected.sort();
        let mut found = reread(encoded.bytes);
        found.retain(|(code, _)| *code != 52);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_reply_is_never_longer_than_the_client_takes(
        options in options(),
        limit in 548..1472_usize,
        file in prop::sample::select(vec![&b""[..], b"440hd.img"]),
    ) {
        let fields: Vec<_> = options
            .iter()
            .enumerate()
            .map(|(at, (code, value))| {
                let rank = if at == 0 { Rank::Protocol } else { Rank::Asked };
                field(*code, value, rank)
            })
            .collect();
        let encoded = encode(&head(file), &fields, None, limit);
        prop_assert!(encoded.bytes.len() <= limit);
        prop_assert_eq!(&encoded.bytes[240..243], &[53, 1, 1]);
        prop_assert!(file.is_empty() || encoded.bytes[108..236].starts_with(file));
        // Every option is there or named as left off.
        let found = reread(encoded.bytes);
        prop_assert_eq!(
            found.iter().filter(|(code, _)| *code != 52).count() + encoded.dropped.len(),
            fields.len()
        );
    }

    #[test]
    fn what_is_not_left_off_reads_back_whole_however_little_room_there_is(
        options in options(),
        ranks in prop::collection::vec(0..3_usize, 13),
        relay in proptest::option::of(prop::collection::vec(any::<u8>(), 0..120)),
        limit in 548..1472_usize,
        file in prop::sample::select(vec![&b""[..], b"440hd.img"]),
    ) {
        const RANKS: [Rank; 3] = [Rank::Always, Rank::Usual, Rank::Asked];
        const PIECES: usize = 32;
        let fields: Vec<_> = options
            .iter()
            .zip(ranks)
            .map(|((code, value), rank)| {
                let rank = if *code == 53 { Rank::Protocol } else { RANKS[rank] };
                field(*code, value, rank)
            })
            .collect();
        let encoded = encode(&head(file), &fields, relay.as_deref(), limit);
        prop_assert!((300..=limit).contains(&encoded.bytes.len()));
        prop_assert_eq!(&encoded.bytes[240..243], &[53, 1, 1]);
        let mut tail = vec![];
        for piece in relay.iter() {
            tail.extend_from_slice(&[82, piece.len() as u8]);
            tail.extend_from_slice(piece);
        }
        tail.push(255);
        let end = encoded.bytes.len() - encoded.bytes.iter().rev().take_while(|byte| **byte == 0).count();
        prop_assert!(encoded.bytes[..end].ends_with(&tail));
        // Nothing less important is there in place of what was left off and would have fitted: only what is smaller than
        // that has the rest of the room, and what pieces take besides may make some of it.
        let cost = |field: &Field<'_>| field.value.as_slice().len() + 2;
        for dropped in fields.iter().filter(|field| encoded.dropped.contains(&field.code)) {
            let kept = |field: &&Field<'_>| {
                !encoded.dropped.contains(&field.code) && field.rank > dropped.rank
            };
            let instead: usize = fields.iter().filter(kept).map(cost).sum();
            prop_assert!(instead < cost(dropped) + PIECES, "{dropped:?}: {instead}");
        }
        let mut expected: Vec<_> = options
            .iter()
            .filter(|(code, _)| !encoded.dropped.contains(code))
            .cloned()
            .chain(relay.map(|relay| (82, relay)))
            .collect();
        expected.sort();
        let mut found = reread(encoded.bytes);
        found.retain(|(code, _)| *code != 52);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
        let _ = Request::decode(&bytes);
    }

    #[test]
    fn any_options_get_a_reply_or_a_reason(
        kind in 0..10_u8,
        options in prop::collection::vec(any::<u8>(), 0..400),
        codes in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..9)), 0..20),
        header in any::<[u8; 28]>(),
        hlen in 0..17_u8,
        relayed in any::<bool>(),
        link in 0..3_usize,
    ) {
        let mut message = Message::new(kind, mac(1));
        message.options.extend(codes.into_iter().filter(|(code, _)| *code != 0 && *code != 255));
        let mut bytes = message.bytes();
        bytes[3..28].copy_from_slice(&header[3..]);
        bytes[2] = hlen;
        if !relayed {
            bytes[24..28].fill(0);
        }
        bytes.pop();
        bytes.extend_from_slice(&options);
        let mut server = Server::lab();
        let decision = server.decide(link, &bytes);
        if let Ok(reply) = &decision.reply {
            // dhcproto reads it too, and to the end.
            let read = v4::Message::decode(&mut Decoder::new(&reply.bytes)).unwrap();
            prop_assert_eq!(read.opcode(), v4::Opcode::BootReply);
            prop_assert!(read.opts().msg_type().is_some());
            Read::new(&reply.bytes);
        }
        server.commit(&decision);
        prop_assert_eq!(server.core.unsettled_count(), 0);
    }
}

#[test]
fn every_header_field_is_where_it_belongs() {
    let encoded = encode(&head(b"boot"), &[field(53, &[5], Rank::Protocol)], None, 548);
    assert_eq!(encoded.bytes[..12], [2, 1, 6, 0, 0, 0, 0, 7, 0, 0, 0x80, 1]);
    let addresses: Vec<_> = encoded.bytes[12..28]
        .chunks(4)
        .map(|octets| Ipv4Addr::from(<[u8; 4]>::try_from(octets).unwrap()))
        .collect();
    assert_eq!(addresses, ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"].map(ip));
    assert_eq!(&encoded.bytes[28..44], b"\0\x11\x22\x33\x44\x01chaddr-end");
    assert_eq!(&encoded.bytes[108..113], b"boot\0");
    assert_eq!(encoded.bytes.len(), 300);
}

#[test]
fn what_does_not_fit_goes_to_file_and_sname_and_the_relays_option_stays_last_outside() {
    let long = [7; 120];
    let codes = [128, 129, 130];
    let mut fields = vec![field(53, &[5], Rank::Protocol)];
    fields.extend(codes.map(|code| field(code, &long, Rank::Always)));
    fields.push(field(12, b"short", Rank::Asked));
    let encoded = encode(&head(b""), &fields, Some(b"\x01\x02ab"), 548);
    assert_eq!(encoded.dropped, []);
    let read = Read::new(&encoded.bytes);
    assert_eq!(read.codes(), [53, 52, 128, 129, 12, 82, 130]);
    assert_eq!(read.option(52), Some(&[1][..]));
    assert_eq!(encoded.bytes[108..110], [130, 120]);
    assert_eq!(encoded.bytes[108 + 122], 255);
    let end = encoded.bytes.iter().rposition(|byte| *byte == 255).unwrap();
    assert_eq!(&encoded.bytes[end - 6..=end], b"\x52\x04\x01\x02ab\xff");
}

#[test]
fn an_option_longer_than_any_part_is_cut_over_all_of_them_in_the_order_clients_join() {
    let long: Vec<u8> = (0..400).map(|n| n as u8).collect();
    let fields = [field(53, &[5], Rank::Protocol), field(43, &long, Rank::Asked)];
    let encoded = encode(&head(b""), &fields, Some(b"\x01\x01p"), 548);
    assert_eq!(encoded.dropped, []);
    assert_eq!(encoded.bytes.len(), 548);
    assert_eq!(encoded.bytes[240..248], [53, 1, 5, 52, 1, 1, 43, 255]);
    assert_eq!(encoded.bytes[108], 43);
    assert_eq!(encoded.bytes[548 - 6..], *b"\x52\x03\x01\x01p\xff");
    let read = Read::new(&encoded.bytes);
    assert_eq!(read.codes(), [53, 52, 43, 82]);
    assert_eq!(read.option(43), Some(&long[..]));
}

#[test]
fn an_option_that_only_the_main_part_can_hold_stays_whole_there_while_small_ones_give_way() {
    let routes: Vec<u8> = (0..262_u16).map(|n| n as u8).collect();
    let fields = [
        field(53, &[1], Rank::Protocol),
        field(54, &[10, 0, 0, 1], Rank::Protocol),
        field(51, &[0, 0, 0, 120], Rank::Protocol),
        field(58, &[0, 0, 0, 60], Rank::Protocol),
        field(59, &[0, 0, 0, 105], Rank::Protocol),
        field(121, &routes, Rank::Usual),
        field(1, &[255, 255, 255, 0], Rank::Always),
        field(6, &[8, 8, 8, 8, 1, 1, 1, 1], Rank::Always),
    ];
    let encoded = encode(&head(b""), &fields, None, 548);
    assert!(encoded.dropped.is_empty() && encoded.bytes.len() <= 548);
    let main = &encoded.bytes[240..];
    let at = main.windows(2).position(|pair| pair == [121, 255]).unwrap();
    assert_eq!(main[at + 257..at + 259], [121, 7]);
    assert_eq!(encoded.bytes[108..110], [6, 8]);
    let read = reread(encoded.bytes);
    assert!(fields.iter().all(|field| {
        read.iter().any(|(code, value)| *code == field.code && value == field.value.as_slice())
    }));
}

#[test]
fn one_option_that_fits_nowhere_takes_no_other_along() {
    let long = [7; 600];
    let fields = [
        field(53, &[5], Rank::Protocol),
        field(43, &long, Rank::Asked),
        field(42, &[1; 4], Rank::Asked),
        field(160, b"http://p", Rank::Always),
        field(2, &[2; 4], Rank::Asked),
    ];
    let encoded = encode(&head(b"440hd.img"), &fields, None, 548);
    assert_eq!(encoded.dropped, [43]);
    assert_eq!(Read::new(&encoded.bytes).codes(), [53, 42, 160, 2]);
}

#[test]
fn what_makes_a_reply_a_reply_stays_outside_of_file_and_sname() {
    for len in [180, 255, 300, 512] {
        let id = vec![9; len];
        let fields = [
            field(53, &[5], Rank::Protocol),
            field(54, &[1; 4], Rank::Protocol),
            field(51, &[2; 4], Rank::Protocol),
            field(160, &[3; 50], Rank::Always),
            field(15, &[4; 60], Rank::Usual),
            field(61, &id, Rank::Protocol),
        ];
        let encoded = encode(&head(b""), &fields, Some(&[5; 20]), 548);
        let read = Read::new(&encoded.bytes);
        assert_eq!(encoded.dropped, [], "{len}");
        assert_eq!(read.option(160), Some(&[3; 50][..]));
        assert_eq!(read.option(61), Some(&id[..]));
        // Only an identifier too long for all parts together makes a reply longer than the client takes.
        assert_eq!(encoded.bytes.len() > 548, len == 512, "{len}");
        // Then it is longer by no more than it takes to keep that whole: 21 are of what comes with it.
        let needed = 240 + 3 + 21 + len + 2 * len.div_ceil(255) + 22 + 1;
        assert!(encoded.bytes.len() <= needed.max(548), "{len}: {}", encoded.bytes.len());
        assert!(encoded.bytes.ends_with(&[5, 255]) || encoded.bytes.len() == 300);
        for code in [53, 54, 51] {
            assert!(encoded.bytes[240..].windows(2).any(|pair| pair[0] == code));
        }
    }
}

#[test]
fn a_long_option_of_the_relay_displaces_no_message_type_and_cuts_no_address() {
    for len in 200..600 {
        let relay = vec![6; len];
        let fields = [
            field(53, &[5], Rank::Protocol),
            field(54, &[1; 4], Rank::Protocol),
            field(51, &[2; 4], Rank::Protocol),
            field(58, &[3; 4], Rank::Protocol),
            field(59, &[4; 4], Rank::Protocol),
            field(1, &[255; 4], Rank::Always),
            field(61, &[9; 7], Rank::Protocol),
        ];
        let encoded = encode(&head(b""), &fields, Some(&relay), 548);
        assert_eq!(encoded.bytes[240..243], [53, 1, 5], "{len}");
        assert_eq!(encoded.dropped, [], "{len}");
        let whole = |code, value: &[u8]| {
            let option = [&[code, value.len() as u8], value].concat();
            encoded.bytes.windows(option.len()).any(|bytes| bytes == option)
        };
        for field in fields {
            assert!(whole(field.code, field.value.as_slice()), "{} beside {len}", field.code);
        }
        // Beside the relay's option, there is room for the header, what is not in `file`, and the end.
        let least = 240 + 3 + 3 + len + 2 * len.div_ceil(255) + 1;
        assert!(encoded.bytes.len() <= least.max(548), "{len}: {}", encoded.bytes.len());
    }
}

#[test]
fn the_least_important_option_is_left_off_first() {
    let long = [7; 200];
    let fields = [
        field(53, &[5], Rank::Protocol),
        field(15, &long, Rank::Asked),
        field(160, &long, Rank::Always),
        field(119, &long, Rank::Asked),
    ];
    let encoded = encode(&head(b"440hd.img"), &fields, None, 548);
    assert_eq!(encoded.dropped, [15, 119]);
    assert_eq!(Read::new(&encoded.bytes).codes(), [53, 160]);
}

#[test]
fn small_options_give_way_to_a_long_one_that_matters_more_and_no_more_of_them_than_needed() {
    let long = [7; 450];
    let fields = [
        field(53, &[5], Rank::Protocol),
        field(15, &[1; 20], Rank::Asked),
        field(43, &long, Rank::Always),
        field(119, &[2; 40], Rank::Asked),
    ];
    // Main part, `file` and `sname` hold 483 octets of a long option, beside 53 and 52.
    let encoded = encode(&head(b""), &fields, None, 548);
    assert_eq!(encoded.dropped, [119]);
    let read = Read::new(&encoded.bytes);
    assert_eq!(read.option(43), Some(&long[..]));
    assert_eq!(read.option(15), Some(&[1; 20][..]));
}

#[test]
fn a_hardware_address_of_another_kind_is_echoed_as_it_is() {
    let hardware = HardwareAddress::new(32, &[9; 16]);
    let head = Head { hardware, chaddr: [9; 16], ..head(b"") };
    let encoded = encode(&head, &[field(53, &[5], Rank::Protocol)], None, 548);
    assert_eq!(encoded.bytes[1..3], [32, 16]);
    assert_eq!(encoded.bytes[28..44], [9; 16]);
}
