//! Simulated phones against a scripted site: what they send, what they notice, and that they come to an end.

#[cfg(test)]
mod lab;

use std::net::Ipv4Addr;

use hickory_proto::op::ResponseCode;
use offhook_sim::{
    Action, DhcpFailure, Failure, Input, Level, Link, MessageKind, Mode, Phone, Renewal, Report,
    Subject, by_name,
};
use proptest::prelude::*;

use lab::{Lab, options_of};

const NORMAL: Mode = Mode::Normal(Link::Voice);

/// Name and detail of every step that failed.
fn failures(report: &Report) -> Vec<(String, String)> {
    report.failures().map(|step| (step.name.clone(), step.detail.clone())).collect()
}

/// The one step that failed.
#[track_caller]
fn only_failure(report: &Report) -> (Subject, Level, String) {
    assert_eq!(report.failures().count(), 1, "{report}");
    let step = report.failures().next().expect("one failed");
    (step.subject, step.level, step.detail.clone())
}

#[test]
fn every_family_passes_at_a_site_that_is_right() {
    let soft = Mode::Inform {
        address: Ipv4Addr::new(10, 0, 0, 50),
        prefix: 24,
        router: Some(Ipv4Addr::new(10, 0, 0, 1)),
    };
    for (family, mode) in [
        ("440HD", NORMAL),
        ("440HD", Mode::Normal(Link::Native)),
        ("440HD", Mode::Recovery),
        ("SoundPoint", NORMAL),
        ("SoundStation", NORMAL),
        ("VVX", NORMAL),
        ("EdgeE", NORMAL),
        ("SoftPhone", soft),
        ("PC", Mode::Normal(Link::Native)),
    ] {
        let (phone, report) = Lab::default().boot(family, mode);
        assert_eq!(failures(&report), [], "{family} {mode:?}\n{report}");
        assert_eq!(phone.record().retransmissions, 0);
        assert!(report.passes(Level::May) && report.verdict() == Ok(()));
    }
}

#[test]
fn a_station_says_who_it_is_in_a_discover_of_these_bytes() {
    let mut lab = Lab::default();
    let (phone, _) = lab.boot("440HD", NORMAL);
    let (link, discover) = &lab.requests[0];
    assert_eq!(*link, Link::Voice);
    assert_eq!(discover.len(), 300);
    assert_eq!(discover[..4], [1, 1, 6, 0]);
    assert_eq!(discover[8..12], [0; 4], "secs, no broadcast flag");
    assert_eq!(discover[28..34], phone.mac().0);
    let options = [
        b"\x63\x82\x53\x63\x35\x01\x01\x0c\x12440hd-00908f123456".as_slice(),
        b"\x3c\x05440HD\x4d\x05440HD\x37\x09\x01\x03\x06\x0f\x2a\x02\x42\x43\xa0\xff",
    ]
    .concat();
    assert_eq!(discover[236..236 + options.len()], options);
    let request = options_of(&lab.requests[1].1);
    assert_eq!(request[&53], [3]);
    assert_eq!(request[&50], [10, 250, 1, 20]);
    assert_eq!(request[&54], lab::DNS.octets());
}

#[test]
fn user_classes_come_raw_and_length_prefixed_and_the_broadcast_flag_set_and_clear() {
    let first = |family| {
        let mut lab = Lab::default();
        lab.boot(family, NORMAL);
        lab.requests[0].1.clone()
    };
    assert_eq!(options_of(&first("SIP100"))[&77], b"SIP100");
    assert_eq!(options_of(&first("SIP200"))[&77], b"\x06SIP200");
    assert_eq!(first("SIP100")[10], 0x80);
    assert_eq!(first("405")[10], 0);
}

#[test]
fn a_polycom_runs_dhcp_twice_and_asks_differently() {
    let mut lab = Lab::default();
    let (phone, _) = lab.boot("SoundPoint", NORMAL);
    let asked: Vec<_> = lab.requests.iter().map(|(_, r)| options_of(r)[&55].clone()).collect();
    // DISCOVER and REQUEST twice, and the renewal.
    assert_eq!(asked.len(), 5);
    assert!(!asked[0].contains(&160) && asked[2].contains(&160));
    assert_eq!(phone.record().leases.len(), 2);
    let cleared = lab.actions.iter().filter(|a| matches!(a, Action::ClearAddress { .. })).count();
    assert_eq!(cleared, 2, "between the two stages and at the end");
}

#[test]
fn in_recovery_mode_option_132_moves_the_phone_and_tftp_heals_it() {
    let mut lab = Lab::default();
    let (phone, report) = lab.boot("440HD", Mode::Recovery);
    let links: Vec<_> = phone.record().leases.iter().map(|lease| lease.link).collect();
    assert_eq!(links, [Link::Native, Link::Voice]);
    let fetched = phone.record().firmware.as_ref().unwrap();
    assert_eq!(
        (fetched.server.to_string().as_str(), &*fetched.file),
        ("10.0.0.11:69", "440hd.img")
    );
    assert_eq!(fetched.result.as_ref().unwrap().length(), 5000);
    let row = report.steps.iter().find(|step| step.subject == Subject::Given(132)).unwrap();
    assert_eq!((row.lease, row.detail.as_str()), (Some(0), "100"));
    assert!(report.steps.iter().any(|s| s.subject == Subject::Withheld(132) && s.lease == Some(1)));
    assert!(options_of(&lab.requests[0].1)[&55].ends_with(&[43, 132]));
}

#[test]
fn without_option_132_or_with_a_number_in_binary_the_phone_stays_in_recovery_mode() {
    let mut lab = Lab::tampering(|_, options| {
        options.remove(&132);
    });
    let (phone, report) = lab.boot("440HD", Mode::Recovery);
    assert_eq!(phone.record().failure, Some(Failure::Vlan(None)));
    assert_eq!(report.verdict(), Err(Level::Must));
    assert!(lab.requests.iter().all(|(link, _)| *link == Link::Native));

    for value in [vec![0, 100], b"0x64".to_vec(), b"4095".to_vec(), b"0".to_vec(), vec![]] {
        let given = value.clone();
        let mut lab = Lab::tampering(move |_, options| {
            options.insert(132, given.clone());
        });
        let (phone, _) = lab.boot("440HD", Mode::Recovery);
        assert!(matches!(phone.record().failure, Some(Failure::Vlan(Some(_)))), "{value:?}");
    }
}

/// Boots with one option changed, and says what failed.
fn tampered(
    family: &str,
    mode: Mode,
    code: u8,
    value: impl Into<Option<&'static [u8]>>,
) -> (Subject, Level, String) {
    let value = value.into();
    let mut lab = Lab::tampering(move |_, options| {
        match value {
            Some(value) => options.insert(code, value.to_vec()),
            None => options.remove(&code),
        };
    });
    let (_, report) = lab.boot(family, mode);
    only_failure(&report)
}

#[test]
fn a_wrong_value_fails_with_the_value_and_what_it_should_be() {
    use Level::{May, Must, Should};
    use Subject::{Given, Withheld};
    let native = Mode::Normal(Link::Native);
    for (family, mode, code, value, subject, level, detail) in [
        (
            "440HD",
            NORMAL,
            2,
            Some(&b"\x00\x00\x46\x50"[..]),
            Given(2),
            May,
            "18000 s instead of -18000",
        ),
        ("440HD", NORMAL, 3, None, Given(3), Should, "not given"),
        (
            "440HD",
            NORMAL,
            3,
            Some(&[10, 250, 1, 2]),
            Given(3),
            Should,
            "10.250.1.2 instead of [10.250.1.1]",
        ),
        (
            "440HD",
            NORMAL,
            15,
            Some(b"lab.voip\0"),
            Given(15),
            Should,
            "\"lab.voip\\0\" ends in NUL",
        ),
        ("440HD", NORMAL, 42, None, Given(42), May, "not given"),
        ("440HD", NORMAL, 4, Some(&[10, 250, 1, 6]), Withheld(4), Must, "both were given"),
        ("440HD", NORMAL, 132, Some(b"100"), Withheld(132), Must, "given: 100"),
        (
            "440HD",
            native,
            132,
            Some(&[0, 100]),
            Given(132),
            Must,
            "0064: not the decimal digits of a VLAN",
        ),
        ("440HD", native, 132, Some(b"101"), Given(132), Must, "101 instead of \"100\""),
        ("440HD", native, 132, None, Given(132), Must, "not given"),
        ("440HD", NORMAL, 51, None, Subject::Lease, Must, "option 51 is nothing"),
        ("PC", native, 160, Some(b"http://x"), Withheld(160), Must, "given: http://x"),
        ("PC", native, 67, Some(b"x.img"), Withheld(67), Must, "given: x.img"),
    ] {
        let found = tampered(family, mode, code, value);
        assert_eq!(found, (subject, level, detail.to_owned()), "{family} {code}");
    }
}

#[test]
fn provisioning_options_are_missed_even_when_they_were_not_asked_for_and_standard_ones_are_not() {
    let mut lab = Lab::tampering(|_, options| {
        options.remove(&160);
    });
    let (_, report) = lab.boot("SoundPoint", NORMAL);
    let missed = report.failures().filter(|step| step.subject == Subject::Given(160)).count();
    assert_eq!(missed, 2, "the first stage does not ask for 160");
    // The Edge E's list has no option 2.
    let mut lab = Lab::tampering(|_, options| {
        options.remove(&2);
    });
    let (_, report) = lab.boot("EdgeE", NORMAL);
    assert_eq!(failures(&report), []);
}

#[test]
fn a_polycom_that_gets_66_67_or_132_fails() {
    for code in [66, 67, 132] {
        let mut lab = Lab::tampering(move |_, options| {
            options.insert(code, b"100".to_vec());
        });
        let (_, report) = lab.boot("VVX", NORMAL);
        let failed: Vec<_> = report.failures().map(|step| (step.lease, step.subject)).collect();
        let wrong = Subject::Withheld(code);
        assert_eq!(failed, [(Some(0), wrong), (Some(1), wrong)]);
    }
}

#[test]
fn an_inform_that_is_answered_with_a_lease_fails() {
    let mode = Mode::Inform { address: Ipv4Addr::new(10, 0, 0, 50), prefix: 24, router: None };
    let found = tampered("SoftPhone", mode, 51, &[0, 0, 14, 16][..]);
    assert_eq!(found, (Subject::Lease, Level::Must, "00000e10".to_owned()));
    let mut lab = Lab::default();
    lab.boot("SoftPhone", mode);
    let (link, inform) = &lab.requests[0];
    assert_eq!((*link, &options_of(inform)[&53][..]), (Link::Native, &[8][..]));
    assert_eq!(inform[12..16], [10, 0, 0, 50], "ciaddr");
}

#[test]
fn dns_that_is_wrong_fails_where_it_is_wrong() {
    let mut lab = Lab { srv_additional: false, ..Lab::default() };
    let (_, report) = lab.boot("440HD", NORMAL);
    assert_eq!(report.failures().count(), 3, "{report}");
    assert!(failures(&report).iter().all(|(_, detail)| detail.ends_with("additional section")));

    let mut lab = Lab { naptr: ResponseCode::Refused, ..Lab::default() };
    let (_, report) = lab.boot("440HD", NORMAL);
    assert_eq!(only_failure(&report), (Subject::Dns, Level::Must, "Refused".to_owned()));

    let mut lab = Lab { negative_ttl: 3600, ..Lab::default() };
    let (_, report) = lab.boot("440HD", NORMAL);
    assert!(only_failure(&report).2.contains("3600 s"));

    // Only 160's host is another one: neither its full nor its short name resolves.
    let mut lab = Lab::tampering(|_, options| {
        options.insert(160, b"http://other.lab.voip:8088".to_vec());
    });
    let (_, report) = lab.boot("440HD", NORMAL);
    let dns: Vec<_> = report.failures().filter(|s| s.subject == Subject::Dns).collect();
    assert_eq!(dns.len(), 2);
    assert!(dns.iter().all(|step| step.detail == "NXDomain"));
}

#[test]
fn a_dns_server_that_is_silent_is_option_6s_fault() {
    let mut lab = Lab::losing(|n| n >= 2);
    let (_, report) = lab.boot("440HD", NORMAL);
    let row = report.failures().find(|step| step.subject == Subject::Given(6)).unwrap();
    assert_eq!(row.detail, "10.250.1.5 does not answer");
}

#[test]
fn one_wrong_byte_of_the_firmware_is_noticed() {
    let mut lab = Lab::default();
    lab.served[4321] ^= 1;
    let (_, report) = lab.boot("440HD", Mode::Recovery);
    let (subject, level, detail) = only_failure(&report);
    assert_eq!((subject, level), (Subject::Tftp, Level::Must));
    assert!(detail.starts_with("440hd.img: 5000 bytes"), "{detail}");
    let mut lab = Lab::default();
    lab.served.truncate(4999);
    let (_, report) = lab.boot("440HD", Mode::Recovery);
    assert_eq!(only_failure(&report).2, "440hd.img: 5000 bytes announced, 4999 came");
}

#[test]
fn a_lost_packet_is_sent_again_and_costs_time_only() {
    for lost in 0..14 {
        let mut lab = Lab::losing(move |n| n == lost);
        let (phone, report) = lab.boot("440HD", Mode::Recovery);
        // The last packet is the ACK of the last block: nobody misses it.
        let packets = 4 + 1 + 5;
        let expected = u32::from(lost < packets - 1);
        assert_eq!(phone.record().retransmissions, expected, "packet {lost}");
        assert_eq!(failures(&report), [], "packet {lost}");
    }
}

#[test]
fn a_phone_that_nobody_answers_gives_up_within_two_minutes() {
    let mut lab = Lab::losing(|_| true);
    let begin = lab.now;
    let (phone, report) = lab.boot("440HD", NORMAL);
    assert_eq!(phone.record().failure, Some(Failure::Dhcp(Link::Voice, DhcpFailure::NoOffer(4))));
    assert_eq!(only_failure(&report).2, "DHCP on the voice link: no OFFER after 4 DISCOVERs");
    let took = lab.now.since(begin).as_secs();
    assert!((45..=75).contains(&took), "4 + 8 + 16 + 32 s, more or less: {took}");
    let xids: Vec<_> = lab.requests.iter().map(|(_, request)| &request[4..8]).collect();
    assert!(xids.windows(2).all(|pair| pair[0] == pair[1]), "one transaction");
    let secs = u16::from_be_bytes([lab.requests[3].1[8], lab.requests[3].1[9]]);
    assert!(secs > 15, "secs counts from the first DISCOVER: {secs}");
}

#[test]
fn a_phone_that_is_refused_begins_again_twice() {
    let mut lab = Lab { refuse: 2, ..Lab::default() };
    let (_, report) = lab.boot("440HD", NORMAL);
    assert_eq!(failures(&report), []);
    let kinds: Vec<_> = lab.requests.iter().map(|(_, r)| options_of(r)[&53][0]).collect();
    assert_eq!(kinds, [1, 3, 1, 3, 1, 3, 3]);
    let mut lab = Lab { refuse: 3, ..Lab::default() };
    let (phone, _) = lab.boot("440HD", NORMAL);
    assert_eq!(phone.record().failure, Some(Failure::Dhcp(Link::Voice, DhcpFailure::Refused)));
}

#[test]
fn a_renewal_goes_to_the_server_and_a_refused_one_fails() {
    let mut lab = Lab::default();
    let (phone, _) = lab.boot("440HD", NORMAL);
    let address = Ipv4Addr::new(10, 250, 1, 20);
    assert_eq!(phone.record().renewal, Some(Renewal::Answered(MessageKind::Ack, address)));
    let unicast = lab.actions.iter().rev().find_map(|action| match action {
        Action::SendDhcp { source, destination, payload, .. } => {
            Some((*source, *destination, options_of(payload)))
        }
        _ => None,
    });
    let (source, destination, options) = unicast.unwrap();
    assert_eq!((source, destination), (address, lab::DNS));
    assert!(!options.contains_key(&50) && !options.contains_key(&54), "RFC 2131, table 5");

    let mut acks = 0;
    let mut lab = Lab::tampering(move |_, options| {
        acks += u8::from(options[&53] == [5]);
        if acks == 2 {
            options.insert(53, vec![6]);
        }
    });
    let (_, report) = lab.boot("440HD", NORMAL);
    assert_eq!(only_failure(&report).2, "refused (NAK)");
}

#[test]
fn what_is_meant_for_others_changes_nothing() {
    let mut lab = Lab::default();
    let family = by_name("440HD").unwrap();
    let mut phone = Phone::new(family, family.mac(1), NORMAL, 1);
    let Action::SendDhcp { payload, .. } = phone.poll(lab.now) else { panic!() };
    let mut offer = vec![0; 240];
    offer[..3].copy_from_slice(&[2, 1, 6]);
    offer[4..8].copy_from_slice(&payload[4..8]);
    offer[16..20].copy_from_slice(&[10, 250, 1, 20]);
    offer[28..34].copy_from_slice(&phone.mac().0);
    offer[236..].copy_from_slice(&[99, 130, 83, 99]);
    offer.extend([53, 1, 2, 54, 4, 10, 250, 1, 5, 255]);
    let unanswered = |phone: &mut Phone, link, bytes: &[u8]| {
        phone.handle(lab.now, Input::Dhcp { link, payload: bytes });
        matches!(phone.poll(lab.now), Action::Wait(_))
    };
    let mut other_xid = offer.clone();
    other_xid[7] ^= 1;
    let mut other_mac = offer.clone();
    other_mac[33] ^= 1;
    let mut no_server = offer.clone();
    no_server[243] = 55;
    for bytes in [&other_xid, &other_mac, &no_server, &offer[..239].to_vec()] {
        assert!(unanswered(&mut phone, Link::Voice, bytes));
    }
    assert!(unanswered(&mut phone, Link::Native, &offer), "another link");
    assert!(!unanswered(&mut phone, Link::Voice, &offer));
    lab.requests.clear();
}

#[test]
fn a_polycom_takes_the_offer_that_says_where_its_configuration_is() {
    let family = by_name("VVX").unwrap();
    let mut phone = Phone::new(family, family.mac(1), NORMAL, 1);
    let now = Lab::default().now;
    let Action::SendDhcp { payload, .. } = phone.poll(now) else { panic!() };
    for (server, url) in [(9, &[][..]), (5, &[160, 1, b'x'])] {
        let mut offer = vec![0; 240];
        offer[..3].copy_from_slice(&[2, 1, 6]);
        offer[4..8].copy_from_slice(&payload[4..8]);
        offer[16..20].copy_from_slice(&[10, 250, 1, server]);
        offer[28..34].copy_from_slice(&phone.mac().0);
        offer[236..].copy_from_slice(&[99, 130, 83, 99]);
        offer.extend([53, 1, 2, 54, 4, 10, 250, 1, server]);
        offer.extend(url);
        phone.handle(now, Input::Dhcp { link: Link::Voice, payload: &offer });
    }
    let Action::Wait(until) = phone.poll(now) else { panic!("it waits for more") };
    assert!(until.since(now).as_millis() <= 200);
    let Action::SendDhcp { payload, .. } = phone.poll(until) else { panic!() };
    assert_eq!(options_of(&payload)[&54], [10, 250, 1, 5]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn whatever_is_lost_a_boot_ends_and_what_was_fetched_is_whole(
        losses in prop::collection::vec(prop::bool::weighted(0.3), 60),
        recovery in any::<bool>(),
    ) {
        let mut lab = Lab::losing(move |n| losses.get(n).copied().unwrap_or(false));
        let mode = if recovery { Mode::Recovery } else { NORMAL };
        let (phone, report) = lab.boot("440HD", mode);
        if let Some(fetched) = &phone.record().firmware && let Ok(came) = &fetched.result {
            prop_assert_eq!(came, &offhook_sim::Fingerprint::of(&lab.image));
        }
        prop_assert!(phone.record().elapsed.as_secs() < 600);
        prop_assert_eq!(phone.record().failure.is_some(), report.steps.last().unwrap().detail != "complete");
    }

    #[test]
    fn any_datagrams_at_any_point_of_a_boot_are_taken_without_panic(
        noise in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..80)), 1..30),
        seed in any::<u64>(),
    ) {
        let mut lab = Lab::default();
        let family = by_name("440HD").unwrap();
        let mut phone = Phone::new(family, family.mac(1), Mode::Recovery, seed);
        for (udp, bytes) in &noise {
            match phone.poll(lab.now) {
                Action::Wait(until) => lab.now = until,
                Action::Done => break,
                _ => {}
            }
            let input = if *udp {
                Input::Udp { port: 1024, from: "10.0.0.11:69".parse().unwrap(), payload: bytes }
            } else {
                Input::Dhcp { link: Link::Native, payload: bytes }
            };
            phone.handle(lab.now, input);
        }
    }
}
