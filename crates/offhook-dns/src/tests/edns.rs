//! OPT, sizes, truncation, and what is malformed.

use super::support::*;
use crate::{Ignored, Outcome, Transport, Zones, answer};

use rand::SeedableRng;

/// The lab with this many servers in the pair.
fn crowd(servers: u8) -> Zones {
    let mut site = lab();
    for number in 0..servers {
        let label = format!("a-rather-long-server-name-{number:03}.lab.voip");
        site.hosts.push(host(&label, [10, 250, 1, number]));
        site.switchovers[0].hosts.push((name(&label), [10, 250, 1, number].into()));
    }
    Zones::from_site(&site, 1)
}

#[test]
fn opt_comes_back_if_and_only_if_it_was_sent() {
    let everything = [
        ("vm40ic1.lab.voip", A, NOERROR),
        ("nothere.lab.voip", A, NXDOMAIN),
        ("lab.voip", 252, REFUSED),
        ("example.com", A, REFUSED),
        ("lab.voip", 41, FORMERR),
    ];
    for (owner, qtype, rcode) in everything {
        let without = Query::new(owner, qtype).ask_lab();
        assert_eq!((without.rcode, without.opt.len()), (rcode, 0), "{owner}");
        let with = Query::new(owner, qtype).opt(4096, 0, b"").ask_lab();
        assert_eq!((with.rcode, with.opt), (rcode, vec![(1232, 0, vec![])]), "{owner}");
    }
}

#[test]
fn do_is_copied_and_the_other_flags_of_opt_are_not() {
    let reply = Query::new("lab.voip", SOA).opt(1232, 0xffff, b"").ask_lab();
    assert_eq!(reply.opt, [(1232, 0x8000, vec![])]);
}

#[test]
fn a_version_to_come_is_badvers() {
    for version in [1, 2, 100, 255] {
        let reply = Query::new("vm40ic1.lab.voip", A).opt(1232, version << 16, b"").ask_lab();
        assert_eq!((reply.rcode, reply.answers.len()), (BADVERS, 0));
        assert_eq!(reply.opt[0].1 & 0x00ff_0000, 0, "our version is 0");
        assert!(!reply.aa());
    }
}

#[test]
fn unknown_options_are_ignored_and_not_echoed() {
    // NSID, client subnet, cookie, expire, one that nobody has.
    let options = [
        &[0, 3, 0, 0][..],
        &[0, 8, 0, 4, 0, 1, 0, 0],
        &[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0, 9, 0, 0],
        &[0xff, 0xf0, 0, 2, 1, 2],
    ];
    let reply = Query::new("vm40ic1.lab.voip", A).opt(1232, 0, &options.concat()).ask_lab();
    assert_eq!((reply.rcode, reply.answers.len()), (NOERROR, 1));
    assert_eq!(reply.opt, [(1232, 0, vec![])]);
}

#[test]
fn cookies_of_a_length_that_none_has_are_formerr() {
    let option =
        |code: u8, length: u8| [&[0, code, 0, length][..], &vec![1; length.into()]].concat();
    let ask = |version: u32, options: &[u8]| {
        let query = Query::new("vm40ic1.lab.voip", A).opt(1232, version << 16, options);
        let (udp, tcp) = (query.clone().ask_lab(), query.ask_tcp(&Zones::from_site(&lab(), 1)));
        assert_eq!((udp.rcode, &udp.opt), (tcp.rcode, &tcp.opt));
        assert_eq!(udp.opt.len(), 1);
        (udp.rcode, udp.answers.len())
    };
    for length in 0..=64 {
        let expected = match length {
            8 | 16..=40 => (NOERROR, 1),
            _ => (FORMERR, 0),
        };
        assert_eq!(ask(0, &option(10, length)), expected, "{length}");
        assert_eq!(ask(0, &[option(3, 0), option(10, length)].concat()), expected, "{length}");
        assert_eq!(ask(0, &[option(10, length), option(10, 8)].concat()), expected, "{length}");
        assert_eq!(ask(0, &[option(10, 8), option(10, length)].concat()), (NOERROR, 1), "{length}");
    }
    assert_eq!(ask(1, &option(10, 7)), (BADVERS, 0), "version 1 may have others");
}

#[test]
fn malformed_requests_are_formerr_with_what_could_be_read() {
    let plain = Query::new("vm40ic1.lab.voip", A);
    let two_opts = plain.clone().opt(1232, 0, b"").opt(1232, 0, b"").ask_lab();
    assert_eq!((two_opts.rcode, two_opts.opt.len(), two_opts.questions.len()), (FORMERR, 1, 1));

    let short_option = plain.clone().opt(1232, 0, &[0, 3, 0, 9, 1]).ask_lab();
    assert_eq!((short_option.rcode, short_option.opt.len()), (FORMERR, 1));

    let two_questions = plain.clone().question("lab.voip", SOA, 1).ask_lab();
    assert_eq!((two_questions.rcode, two_questions.questions.len()), (FORMERR, 0));

    let no_question = Query { questions: Vec::new(), ..plain.clone() }.ask_lab();
    assert_eq!(no_question.rcode, FORMERR);

    let zones = Zones::from_site(&lab(), 1);
    let bytes = plain.bytes();
    for length in 12..bytes.len() {
        let cut = reply(&zones, &bytes[..length], Transport::Udp, 0);
        assert_eq!((cut.rcode, cut.id, cut.answers.len()), (FORMERR, 0xabcd, 0), "cut at {length}");
    }

    let mut owned_opt = plain.clone().opt(1232, 0, b"").bytes();
    let at = bytes.len();
    owned_opt.splice(at..=at, wire_name("x"));
    assert_eq!(reply(&zones, &owned_opt, Transport::Udp, 0).rcode, FORMERR);

    let mut opt_as_answer = plain.opt(1232, 0, b"").bytes();
    opt_as_answer.swap(7, 11);
    assert_eq!(reply(&zones, &opt_as_answer, Transport::Udp, 0).rcode, FORMERR);
}

#[test]
fn names_that_break_the_rules_are_formerr() {
    let zones = Zones::from_site(&lab(), 1);
    let ask = |owner: &[u8]| {
        let mut bytes = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        bytes.extend(owner);
        bytes.extend([0, 1, 0, 1]);
        reply(&zones, &bytes, Transport::Udp, 0).rcode
    };
    assert_eq!(ask(&[0xc0, 12]), FORMERR, "a pointer to itself");
    assert_eq!(ask(&[0xc0, 0]), FORMERR, "a pointer into the header");
    assert_eq!(ask(b"\x41abc\0"), FORMERR, "a label type nobody has");
    assert_eq!(ask(&[&[63; 64].repeat(4)[..], b"\0"].concat()), FORMERR, "257 octets");
    let longest = [&[63; 64].repeat(3)[..], &[61; 62], b"\0"].concat();
    assert_eq!((longest.len(), ask(&longest)), (255, REFUSED));
    assert_eq!(ask(b"\x03a\x00b\x03lab\x04voip\0"), NXDOMAIN, "a zero in a label is legal");
}

#[test]
fn octets_after_the_message_do_no_harm() {
    let mut bytes = Query::new("vm40ic1.lab.voip", A).bytes();
    bytes.extend([0, 0, 0]);
    let zones = Zones::from_site(&lab(), 1);
    assert_eq!(reply(&zones, &bytes, Transport::Udp, 0).answers.len(), 1);
}

#[test]
fn responses_and_scraps_are_met_with_silence() {
    let zones = Zones::from_site(&lab(), 1);
    let mut rng = rand::rngs::StdRng::seed_from_u64(0);
    let mut silent = |packet: &[u8]| match answer(&zones, packet, phone(Transport::Udp), &mut rng) {
        Outcome::Ignore(why) => why,
        other => panic!("{other:?}"),
    };
    let response = Query::new("lab.voip", A).flags(0x8100).bytes();
    assert_eq!(silent(&response), Ignored::Response);
    assert_eq!(silent(&response[..20]), Ignored::Response, "a malformed one too");
    for length in 0..12 {
        assert_eq!(silent(&Query::new("lab.voip", A).bytes()[..length]), Ignored::Short);
    }
}

#[test]
fn udp_answers_stay_within_what_was_asked_and_tcp_has_them_whole() {
    let zones = crowd(120);
    let query = Query::new("provision.lab.voip", A);
    let sizes =
        [(None, 512), (Some(0), 512), (Some(511), 512), (Some(700), 700), (Some(65535), 1232)];
    for (payload, limit) in sizes {
        let query = match payload {
            Some(payload) => query.clone().opt(payload, 0, b""),
            None => query.clone(),
        };
        let reply = query.ask(&zones);
        assert!(reply.tc() && reply.wire.len() <= limit, "{payload:?}: {}", reply.wire.len());
        assert!(reply.wire.len() > limit - 16, "{payload:?}: room is left unused");
        assert_eq!((reply.rcode, reply.opt.len()), (NOERROR, usize::from(payload.is_some())));
        let whole = query.ask_tcp(&zones);
        assert_eq!((whole.tc(), whole.answers.len()), (false, 122));
    }
}

#[test]
fn additional_records_are_left_out_before_anything_is_truncated() {
    let zones = crowd(6);
    let plain = Query::new("_sip._udp.lab.voip", SRV).ask(&zones);
    assert!(!plain.tc() && plain.wire.len() <= 512);
    assert_eq!(plain.answers.len(), 8);
    assert!(plain.additionals.len() < 8, "the test needs a tighter fit");
    let roomy = Query::new("_sip._udp.lab.voip", SRV).opt(1232, 0, b"").ask(&zones);
    assert_eq!((roomy.tc(), roomy.additionals.len()), (false, 8));
}

#[test]
fn a_whole_message_is_as_rfc_1035_has_it() {
    let reply = Query::new("mytimeserver.lab.voip", A).opt(1232, 0, b"").ask_lab();
    let mut expected = vec![0xab, 0xcd, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 1];
    expected.extend(b"\x0cmytimeserver\x03lab\x04voip\0\0\x01\0\x01");
    expected.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 10, 250, 1, 6]);
    expected.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    assert_eq!(reply.wire, expected);
}
