//! What is believed of a message.

use super::*;

fn example() -> (Query, Message) {
    let query = query("www.example.com.", RecordType::A);
    let mut message = response(&query, ResponseCode::NoError);
    message.add_answer(record("WWW.example.com.", 300, a(1)));
    message.add_answer(record("www.example.com.", 200, a(2)));
    (query, message)
}

#[test]
fn the_answer_to_the_question_is_believed_with_one_ttl_a_set() {
    let (query, message) = example();
    let answer = answer(&query, &message);
    assert_eq!(answer.ttl(), 200);
    assert_eq!(
        lines(&answer, "wWw.example.com."),
        [
            vec![
                "wWw.example.com. 200 A 192.0.2.1".to_owned(),
                "wWw.example.com. 200 A 192.0.2.2".to_owned()
            ],
            vec![],
            vec![]
        ]
    );
}

#[test]
fn what_answers_another_question_or_none_is_foreign() {
    let (query, message) = example();
    let good = message.to_vec().unwrap();
    assert!(matches!(read(&query, &good), Response::Answer(_)));
    let changed = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        read(&query, &bytes)
    };
    assert_eq!(changed(0, 0x13), Response::Foreign, "another id");
    assert_eq!(changed(2, 0x01), Response::Foreign, "a query");
    assert_eq!(changed(2, 0xa8), Response::Foreign, "another opcode");
    assert_eq!(changed(5, 0), Response::Foreign, "no question");
    assert_eq!(changed(5, 2), Response::Foreign, "two questions");
    assert_eq!(changed(13, b'x'), Response::Foreign, "another name");
    assert_eq!(changed(30, 28), Response::Foreign, "another type");
    assert_eq!(changed(32, 3), Response::Foreign, "another class");
    assert_eq!(read(&query, &good[..11]), Response::Foreign);
    assert_eq!(read(&query, b""), Response::Foreign);
    assert!(matches!(changed(13, b'W'), Response::Answer(_)), "letter case does not count");
}

#[test]
fn a_message_that_ends_early_is_malformed_wherever_it_ends() {
    let (query, mut message) = example();
    message.add_authority(record("example.com.", 60, soa(30)));
    message.add_additional(record("ns.example.com.", 60, srv("x.example.com.")));
    let good = message.to_vec().unwrap();
    // Past the question, so that it is known to be the answer.
    for length in 33..good.len() {
        assert_eq!(read(&query, &good[..length]), Response::Malformed, "{length}");
    }
    let mut longer = good.clone();
    longer.push(0);
    assert!(matches!(read(&query, &longer), Response::Answer(_)));
}

#[test]
fn a_truncated_answer_is_no_answer() {
    let (query, mut message) = example();
    message.metadata.truncation = true;
    assert_eq!(read(&query, &message.to_vec().unwrap()), Response::Truncated);
}

#[test]
fn a_server_without_edns_is_asked_again_without() {
    let query = query("www.example.com.", RecordType::A);
    let header = |code: u8| [0x12, 0x34, 0x81, 0x80 | code, 0, 0, 0, 0, 0, 0, 0, 0];
    for code in [1, 4] {
        assert_eq!(read(&query, &header(code)), Response::NoEdns);
        let without = query.read(ID, false, &header(code), &LIMITS, &|_| true);
        assert!(matches!(without, Response::Failed(_)), "there is nothing left to leave out");
    }
    for (code, expected) in [
        (ResponseCode::FormErr, Response::NoEdns),
        (ResponseCode::NotImp, Response::NoEdns),
        (ResponseCode::ServFail, Response::Failed(ResponseCode::ServFail)),
        (ResponseCode::Refused, Response::Failed(ResponseCode::Refused)),
        (ResponseCode::NotAuth, Response::Failed(ResponseCode::NotAuth)),
    ] {
        assert_eq!(read(&query, &response(&query, code).to_vec().unwrap()), expected);
    }
    // The upper bits of BADVERS are in OPT.
    let mut badvers = response(&query, ResponseCode::BADVERS);
    badvers.set_edns(hickory_proto::op::Edns::new());
    assert_eq!(read(&query, &badvers.to_vec().unwrap()), Response::NoEdns);
    assert_eq!(read(&query, &header(0)), Response::Foreign, "an answer without its question");
    assert_eq!(read(&query, &header(2)), Response::Failed(ResponseCode::ServFail));
}

#[test]
fn what_does_not_belong_to_the_question_is_dropped() {
    let (query, mut message) = example();
    message.add_answer(record("www.evil.example.", 300, a(66)));
    message.add_answer(record("www.example.com.", 300, mx("mail.example.com.")));
    message.add_authority(record("example.com.", 300, ns("ns.evil.example.")));
    message.add_authority(record("evil.example.", 300, soa(60)));
    message.add_additional(record("ns.evil.example.", 300, a(66)));
    message.add_additional(record("www.example.com.", 300, a(66)));
    message.set_edns(hickory_proto::op::Edns::new());
    let [answers, authorities, additionals] = lines(&answer(&query, &message), "www.example.com.");
    assert_eq!((answers.len(), authorities.len(), additionals.len()), (2, 0, 0));
    assert!(answers.iter().all(|line| !line.contains("66")), "{answers:?}");
}

#[test]
fn the_addresses_of_servers_go_with_them_unless_the_upstream_has_no_say_about_them() {
    let query = query("_sip._udp.example.com.", RecordType::SRV);
    let mut message = response(&query, ResponseCode::NoError);
    for target in ["sip1.example.com.", "sip.lab.voip."] {
        message.add_answer(record("_sip._udp.example.com.", 300, srv(target)));
        message.add_additional(record(target, 40, a(1)));
    }
    message.add_additional(record("sip2.example.com.", 300, a(2)));
    let answer = answer(&query, &message);
    assert_eq!(lines(&answer, "x.")[2], ["sip1.example.com. 40 A 192.0.2.1"]);
    assert_eq!(answer.ttl(), 300, "help may expire before the answer");
}

#[test]
fn aliases_are_followed_in_whatever_order_they_come() {
    let query = query("a.example.com.", RecordType::A);
    let mut message = response(&query, ResponseCode::NoError);
    message.add_answer(record("c.example.net.", 30, a(1)));
    message.add_answer(record("B.example.com.", 20, cname("c.example.net.")));
    message.add_answer(record("a.example.com.", 10, cname("b.EXAMPLE.com.")));
    message.add_answer(record("a.example.com.", 10, cname("elsewhere.example.")));
    let answer = answer(&query, &message);
    assert_eq!(
        lines(&answer, "a.example.com.")[0],
        [
            "a.example.com. 10 CNAME b.EXAMPLE.com.",
            "B.example.com. 20 CNAME c.example.net.",
            "c.example.net. 30 A 192.0.2.1"
        ]
    );
    assert_eq!((answer.ttl(), answer.next), (10, None));
}

#[test]
fn aliases_that_go_round_are_malformed() {
    let query = query("a.example.com.", RecordType::A);
    let mut message = response(&query, ResponseCode::NoError);
    message.add_answer(record("a.example.com.", 10, cname("b.example.com.")));
    message.add_answer(record("b.example.com.", 10, cname("A.example.com.")));
    assert_eq!(read(&query, &message.to_vec().unwrap()), Response::Malformed);
    let mut itself = response(&query, ResponseCode::NoError);
    itself.add_answer(record("a.example.com.", 10, cname("a.example.com.")));
    assert_eq!(read(&query, &itself.to_vec().unwrap()), Response::Malformed);
    let mut long = response(&query, ResponseCode::NoError);
    let owner =
        |n: u32| if n == 0 { "a.example.com.".to_owned() } else { format!("{n}.example.com.") };
    for n in 0..40 {
        long.add_answer(record(&owner(n), 10, cname(&owner(n + 1))));
    }
    assert_eq!(read(&query, &long.to_vec().unwrap()), Response::Malformed);
}

#[test]
fn what_an_alias_leads_to_is_not_believed_of_one_who_is_not_asked_for_it() {
    for code in [ResponseCode::NoError, ResponseCode::NXDomain] {
        let query = query("www.example.com.", RecordType::A);
        let mut message = response(&query, code);
        message.add_answer(record("www.example.com.", 300, cname("vm40ic1.lab.voip.")));
        message.add_answer(record("vm40ic1.lab.voip.", 300, a(66)));
        message.add_authority(record("lab.voip.", 300, soa(60)));
        let answer = answer(&query, &message);
        assert_eq!(
            lines(&answer, "www.example.com."),
            [vec!["www.example.com. 300 CNAME vm40ic1.lab.voip.".to_owned()], vec![], vec![]]
        );
        assert_eq!(answer.next, Some(wire("vm40ic1.lab.voip.")));
        assert_eq!(answer.response_code(), ResponseCode::NoError);
    }
}

#[test]
fn an_alias_without_its_target_is_followed_and_one_whose_target_has_none_is_not() {
    let query = query("www.example.com.", RecordType::A);
    let mut message = response(&query, ResponseCode::NoError);
    message.add_answer(record("www.example.com.", 300, cname("web.example.com.")));
    assert_eq!(answer(&query, &message).next, Some(wire("web.example.com.")));
    message.add_authority(record("example.com.", 600, soa(50)));
    let negative = answer(&query, &message);
    assert_eq!((negative.next.as_deref(), negative.ttl()), (None, 50));
    message.metadata.response_code = ResponseCode::NXDomain;
    assert_eq!(answer(&query, &message).response_code(), ResponseCode::NXDomain);
}

#[test]
fn a_negative_answer_holds_as_long_as_its_soa_says_and_not_longer_than_we_say() {
    let query = query("gone.example.com.", RecordType::A);
    for (ttl, minimum, expected) in [(600, 50, 50), (20, 50, 20), (3600, 3600, 60), (0, 60, 0)] {
        let mut message = response(&query, ResponseCode::NXDomain);
        message.add_authority(record("example.com.", ttl, soa(minimum)));
        message.add_authority(record("example.com.", 600, ns("ns.example.com.")));
        let answer = answer(&query, &message);
        assert_eq!(answer.ttl(), expected, "{ttl} {minimum}");
        let [answers, authorities, _] = lines(&answer, "gone.example.com.");
        assert!(answers.is_empty());
        assert_eq!(authorities.len(), 1, "{authorities:?}");
        assert!(authorities[0].starts_with(&format!("example.com. {expected} SOA")));
    }
}

#[test]
fn a_negative_answer_without_a_soa_of_its_own_is_for_once() {
    let query = query("gone.example.com.", RecordType::A);
    for owner in ["evil.example.", "www.gone.example.com.", "example.net."] {
        let mut message = response(&query, ResponseCode::NXDomain);
        message.add_authority(record(owner, 600, soa(60)));
        let answer = answer(&query, &message);
        assert_eq!((answer.ttl(), lines(&answer, "x.")[1].len()), (0, 0), "{owner}");
    }
}

#[test]
fn records_for_a_name_that_does_not_exist_are_malformed() {
    let (query, mut message) = example();
    message.metadata.response_code = ResponseCode::NXDomain;
    assert_eq!(read(&query, &message.to_vec().unwrap()), Response::Malformed);
}

#[test]
fn a_referral_is_no_answer() {
    let query = query("www.example.com.", RecordType::A);
    let mut message = response(&query, ResponseCode::NoError);
    message.add_authority(record("com.", 600, ns("a.gtld.example.")));
    assert_eq!(read(&query, &message.to_vec().unwrap()), Response::Referral);
    message.metadata.authoritative = true;
    assert_eq!(
        answer(&query, &message).ttl(),
        0,
        "whoever serves the zone may say NODATA like that"
    );
}

#[test]
fn ttls_are_bounded_and_those_with_the_sign_bit_are_zero() {
    let query = query("www.example.com.", RecordType::A);
    for (ttl, expected) in [(604_800, 86_400), (u32::MAX, 0), (0x8000_0000, 0), (0, 0)] {
        let mut message = response(&query, ResponseCode::NoError);
        message.add_answer(record("www.example.com.", ttl, a(1)));
        assert_eq!(answer(&query, &message).ttl(), expected);
    }
}

#[test]
fn what_is_not_understood_passes_through_as_it_came() {
    let query = query("www.example.com.", RecordType::from(65_280));
    let mut message = response(&query, ResponseCode::NoError);
    message.add_answer(record("www.example.com.", 60, octets(65_280, b"\xc0\x0c\x01anything")));
    message.add_answer(record("www.example.com.", 60, octets(65_280, b"")));
    let answer = answer(&query, &message);
    assert_eq!(answer.answers[0].data, [b"\xc0\x0c\x01anything".as_slice().into(), Box::default()]);
}

#[test]
fn signatures_and_proofs_come_only_to_those_who_want_them() {
    let signature = |covered: u16| {
        octets(
            46,
            &[&covered.to_be_bytes()[..], &[8, 2, 0, 0, 0, 0], &[0; 10], b"\x03com\0s"].concat(),
        )
    };
    let message = |query: &Query| {
        let mut message = response(query, ResponseCode::NoError);
        message.add_answer(record("www.example.com.", 60, a(1)));
        message.add_answer(record("www.example.com.", 60, signature(1)));
        message.add_answer(record("www.example.com.", 60, signature(28)));
        message.add_authority(record("example.com.", 60, octets(47, b"\x01z\0")));
        message.add_authority(record("example.com.", 60, signature(47)));
        message
    };
    let mut query = query("www.example.com.", RecordType::A);
    let plain = answer(&query, &message(&query));
    assert_eq!((plain.answers.len(), plain.authorities.len()), (1, 0));
    query.dnssec_ok = true;
    let signed = answer(&query, &message(&query));
    let types = |sets: &[crate::forward::answer::Set]| -> Vec<_> {
        sets.iter().map(|set| (set.rtype, set.data.len())).collect()
    };
    assert_eq!(types(&signed.answers), [(1, 1), (46, 1)]);
    assert_eq!(types(&signed.authorities), [(47, 1), (46, 1)]);
}

#[test]
fn a_dname_comes_with_the_alias_that_it_makes() {
    let query = query("www.old.example.com.", RecordType::A);
    let mut message = response(&query, ResponseCode::NoError);
    message.add_answer(record("old.example.com.", 60, octets(39, b"\x03new\x07example\x03com\0")));
    message.add_answer(record("www.old.example.com.", 60, cname("www.new.example.com.")));
    message.add_answer(record("www.new.example.com.", 60, a(1)));
    let good = answer(&query, &message);
    let types: Vec<_> = good.answers.iter().map(|set| set.rtype).collect();
    assert_eq!(types, [39, 5, 1]);
    let mut other = response(&query, ResponseCode::NoError);
    other.add_answer(record("old.example.com.", 60, octets(39, b"\x04evil\0")));
    other.add_answer(record("www.old.example.com.", 60, cname("www.new.example.com.")));
    other.add_answer(record("www.new.example.com.", 60, a(1)));
    let types: Vec<_> = answer(&query, &other).answers.iter().map(|set| set.rtype).collect();
    assert_eq!(types, [5, 1], "this DNAME makes another alias");
}

#[test]
fn pointers_lead_backwards_or_nowhere() {
    let query = query("www.example.com.", RecordType::A);
    let (_, message) = example();
    let good = message.to_vec().unwrap();
    // The owner of the first record, right after the question.
    for (pointer, is_good) in [
        ([0xc0, 12], true),
        ([0xc0, 33], false),
        ([0xc0, 35], false),
        ([0xc0, 0], false),
        ([0xff, 0xff], false),
        ([0x80, 12], false),
        ([0x40, 12], false),
    ] {
        let mut bytes = good[..33].to_vec();
        bytes[7] = 1;
        bytes.extend_from_slice(&pointer);
        bytes.extend_from_slice(&[0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1]);
        let read = read(&query, &bytes);
        assert_eq!(matches!(read, Response::Answer(_)), is_good, "{pointer:?} {read:?}");
        assert_eq!(read == Response::Malformed, !is_good, "{pointer:?}");
    }
}

#[test]
fn record_data_has_the_length_of_its_type() {
    let query = query("www.example.com.", RecordType::A);
    for (rtype, data, is_good) in [
        (1, &[192, 0, 2, 1][..], true),
        (1, &[192, 0, 2], false),
        (1, &[192, 0, 2, 1, 1], false),
        (28, &[0; 16], true),
        (28, &[0; 4], false),
        (5, b"\x01a\0", true),
        (5, b"\x01a\0\0", false),
        (15, &[0], false),
        (33, b"\0\0\0\0\0\0\x01a\0", true),
        (35, b"\0\0\0\0\x01S\0\0\0", true),
        (35, b"\0\0\0\0\x01S\0\0", false),
        (16, b"", true),
    ] {
        let mut message = response(&query, ResponseCode::NoError);
        message.add_additional(record("x.example.com.", 60, octets(rtype, data)));
        let read = read(&query, &message.to_vec().unwrap());
        assert_eq!(matches!(read, Response::Answer(_)), is_good, "{rtype} {data:?}");
    }
}
