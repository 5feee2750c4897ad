//! What is asked, and what answers mean.

use std::net::SocketAddr;

use offhook_model::Probe;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::health::{Failure, Inquiry, Progress};

use Failure::{Nonsense, Status};
use Progress::{Alive, Dead, Wait};

fn ask(probe: &Probe) -> Inquiry {
    let server: SocketAddr = "10.250.1.151:8060".parse().unwrap();
    let local: SocketAddr = "10.250.1.5:40001".parse().unwrap();
    Inquiry::new(probe, server, local, "provision.lab.voip", &mut rand::rng())
}

fn text(inquiry: &Inquiry) -> String {
    String::from_utf8(inquiry.request().unwrap().to_vec()).unwrap()
}

fn field<'t>(request: &'t str, name: &str) -> &'t str {
    let mut lines = request.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(field, _)| *field == name).unwrap_or_else(|| panic!("no {name}: {request}")).1
}

/// A response as a server makes it from the request (RFC 3261 section 8.2.6).
fn respond(request: &str, code: u16) -> String {
    let [via, from, to, call, sequence] =
        ["Via", "From", "To", "Call-ID", "CSeq"].map(|name| field(request, name));
    format!(
        "SIP/2.0 {code} Whatever\r\nVia: {via};received=10.250.1.5\r\nFrom: {from}\r\n\
         To: {to};tag=1\r\nCall-ID: {call}\r\nCSeq: {sequence}\r\nContent-Length: 0\r\n\r\n"
    )
}

#[test]
fn options_has_what_rfc_3261_wants_of_a_request() {
    for (probe, uri, via) in [
        (Probe::SipUdp, "sip:10.250.1.151:8060", "SIP/2.0/UDP 10.250.1.5:40001;branch=z9hG4bK"),
        (
            Probe::SipTcp,
            "sip:10.250.1.151:8060;transport=tcp",
            "SIP/2.0/TCP 10.250.1.5:40001;branch=z9hG4bK",
        ),
    ] {
        let request = text(&ask(&probe));
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, "");
        assert_eq!(head.lines().next().unwrap(), format!("OPTIONS {uri} SIP/2.0"));
        assert!(head.split("\r\n").all(|line| !line.contains(['\r', '\n'])));
        assert!(field(&request, "Via").starts_with(via), "{request}");
        assert_eq!(field(&request, "Max-Forwards"), "70");
        assert!(field(&request, "From").starts_with("<sip:offhook@10.250.1.5>;tag="));
        assert_eq!(field(&request, "To"), "<sip:10.250.1.151:8060>");
        assert_eq!(field(&request, "Content-Length"), "0");
        let sequence = field(&request, "CSeq").strip_suffix(" OPTIONS").unwrap();
        assert!((1..1 << 31).contains(&sequence.parse::<u32>().unwrap()));
    }
}

#[test]
fn no_two_questions_can_be_answered_alike() {
    for name in ["Via", "From", "Call-ID", "CSeq"] {
        let asked: std::collections::BTreeSet<_> =
            (0..50).map(|_| field(&text(&ask(&Probe::SipUdp)), name).to_owned()).collect();
        assert_eq!(asked.len(), 50, "{name}");
    }
    let (one, other) = (ask(&Probe::Tls), ask(&Probe::Tls));
    assert_ne!(one.request(), other.request());
}

#[test]
fn a_final_response_is_of_a_live_server_unless_it_says_that_it_cannot_serve() {
    for (code, means) in [
        (100, Wait),
        (180, Wait),
        (199, Wait),
        (200, Alive),
        (202, Alive),
        (302, Alive),
        (400, Alive),
        (401, Alive),
        (403, Alive),
        (404, Alive),
        (405, Alive),
        (407, Alive),
        (408, Dead(Status(408))),
        (420, Alive),
        (480, Alive),
        (481, Alive),
        (483, Alive),
        (486, Alive),
        (500, Dead(Status(500))),
        (501, Alive),
        (502, Dead(Status(502))),
        (503, Dead(Status(503))),
        (504, Dead(Status(504))),
        (505, Alive),
        (513, Alive),
        (580, Dead(Status(580))),
        (600, Alive),
        (603, Alive),
    ] {
        let mut udp = ask(&Probe::SipUdp);
        let response = respond(&text(&udp), code);
        assert_eq!(udp.datagram(response.as_bytes()), means, "{code}");
        let mut tcp = ask(&Probe::SipTcp);
        let response = respond(&text(&tcp), code);
        assert_eq!(tcp.stream(response.as_bytes()), means, "{code}");
    }
}

#[test]
fn a_response_to_anything_else_is_waited_past() {
    let mut asked = ask(&Probe::SipUdp);
    let request = text(&asked);
    let good = respond(&request, 200);
    let other = text(&ask(&Probe::SipUdp));
    let swap = |name: &str, with: &str| good.replace(field(&request, name), with);
    let sequence: u32 = field(&request, "CSeq").split(' ').next().unwrap().parse().unwrap();
    for wrong in [
        respond(&other, 200),
        respond(&other, 503),
        swap("Via", field(&other, "Via")),
        swap("Call-ID", field(&other, "Call-ID")),
        swap("CSeq", &format!("{} OPTIONS", sequence + 1)),
        swap("CSeq", &format!("{sequence} INVITE")),
        good.replace(";branch=", ";broken="),
        good.replace("Via:", "Vie:"),
        // Below another's Via, it is the other's.
        good.replace("\r\nVia:", "\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx\r\nVia:"),
        good.replace("SIP/2.0 200", "SIP/3.0 200"),
        good.replace("SIP/2.0 200", "SIP/2.0 2000"),
        good.replace("SIP/2.0 200", "SIP/2.0 099"),
        request.clone(),
        "\r\n\r\n".to_owned(),
        String::new(),
    ] {
        assert_eq!(asked.datagram(wrong.as_bytes()), Wait, "{wrong}");
    }
    assert_eq!(asked.datagram(&[0xff; 4096]), Wait);
    assert_eq!(asked.datagram(good.as_bytes()), Alive, "and the right one is still heard");
}

#[test]
fn every_spelling_of_a_response_is_read() {
    let mut asked = ask(&Probe::SipUdp);
    let request = text(&asked);
    let good = respond(&request, 200);
    let via = field(&good, "Via").to_owned();
    for spelling in [
        good.replace("\r\n", "\n"),
        good.replace("Via:", "v:").replace("Call-ID:", "i:"),
        good.replace("Via:", "VIA \t:").replace("CSeq:", "cseq:").replace("Call-ID:", "call-id  :"),
        good.replace(";branch=", "\r\n ;branch="),
        good.replace(";branch=", " ; BRANCH = "),
        good.replace(&via, &format!("{via}, SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKother")),
        good.replace(" OPTIONS", "   OPTIONS"),
        good.replace(" Whatever", ""),
        format!("\r\n\r\n{good}"),
        good.replace("\r\n\r\n", "\r\n\r\nv=0\r\n"),
        good.trim_end().to_owned(),
    ] {
        assert_eq!(asked.datagram(spelling.as_bytes()), Alive, "{spelling}");
    }
}

#[test]
fn a_stream_is_read_however_it_is_cut() {
    let asked = ask(&Probe::SipTcp);
    let request = text(&asked);
    let trying = respond(&request, 100).replace("Content-Length: 0\r\n\r\n", "l: 4\r\n\r\nbody");
    let theirs = "OPTIONS sip:us SIP/2.0\r\nContent-Length: 0\r\n\r\n";
    let whole = format!("\r\n{trying}\r\n\r\n{theirs}{}", respond(&request, 503));
    for size in 1..whole.len() {
        let mut asked = asked.clone();
        let mut answers = whole.as_bytes().chunks(size).map(|chunk| asked.stream(chunk));
        let verdict = answers.find(|answer| *answer != Wait);
        assert_eq!(verdict, Some(Dead(Status(503))), "{size}");
    }
}

#[test]
fn a_server_whose_http_answers_is_alive_unless_it_says_that_it_cannot_serve() {
    let probe = Probe::Http { path: "/status".to_owned() };
    let asked = ask(&probe);
    let request = text(&asked);
    assert!(request.starts_with("GET /status HTTP/1.1\r\n"), "{request}");
    assert_eq!(field(&request, "Host"), "provision.lab.voip:8060");
    assert_eq!(field(&request, "Connection"), "close");
    assert!(request.ends_with("\r\n\r\n"));
    for (answer, means) in [
        ("HTTP/1.1 200 OK\r\n\r\n", Alive),
        ("HTTP/1.0 404 Not Found\r\nServer: x\r\n\r\nbody", Alive),
        ("HTTP/1.1 301\r\n\r\n", Alive),
        ("HTTP/1.1 401 \n\n", Alive),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", Alive),
        ("HTTP/1.1 103 Early\r\n\r\n", Wait),
        ("HTTP/1.1 200 OK\r\n", Wait),
        ("HTTP/1.1 500 x\r\n\r\n", Dead(Status(500))),
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n", Dead(Status(503))),
        ("HTTP/1.1 600 x\r\n\r\n", Dead(Nonsense)),
        ("HTTP/1.1 2x0 x\r\n\r\n", Dead(Nonsense)),
        ("HTTP/9.1 200 OK\r\n\r\n", Dead(Nonsense)),
        ("SSH-2.0-x\r\n", Dead(Nonsense)),
        ("HTTP/1.1 100 x\r\n\r\nSIP/2.0 200 OK\r\n\r\n", Dead(Nonsense)),
    ] {
        assert_eq!(asked.clone().stream(answer.as_bytes()), means, "{answer}");
        let mut slow = asked.clone();
        let mut answers = answer.as_bytes().iter().map(|octet| slow.stream(&[*octet]));
        assert_eq!(answers.find(|answer| *answer != Wait).unwrap_or(Wait), means, "{answer}");
    }
}

#[test]
fn a_hello_is_one_that_tls_has_an_answer_to() {
    let asked = ask(&Probe::Tls);
    let hello = asked.request().unwrap();
    let length = usize::from(u16::from_be_bytes([hello[3], hello[4]]));
    assert_eq!((&hello[..3], hello[5], length + 5), (&[22, 3, 1][..], 1, hello.len()));
    assert_eq!(usize::from(u16::from_be_bytes([hello[7], hello[8]])) + 9, hello.len());
    for (answer, means) in [
        (&[22, 3, 3, 0, 90, 2, 0, 0, 86][..], Alive),
        (&[21, 3, 3, 0, 2, 2, 40], Alive),
        (&[22, 3, 3, 0, 90], Wait),
        (&[21, 3, 3, 0, 2, 2], Wait),
        (&[22, 3, 3, 0, 90, 14], Dead(Nonsense)),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Dead(Nonsense)),
        (&[22, 2], Dead(Nonsense)),
    ] {
        assert_eq!(asked.clone().stream(answer), means, "{answer:?}");
    }
}

#[test]
fn a_connection_that_ends_or_never_stops_is_no_answer() {
    for probe in [Probe::SipTcp, Probe::Tls, Probe::Http { path: "/".to_owned() }] {
        assert_eq!(ask(&probe).stream(b""), Dead(Failure::Closed), "{probe:?}");
    }
    assert!(ask(&Probe::Tcp).request().is_none());
    for (probe, start) in
        [(Probe::SipTcp, "SIP/2.0 200 OK\r\nX: "), (Probe::Http { path: "/".into() }, "HTTP/1.1 ")]
    {
        let mut asked = ask(&probe);
        assert_eq!(asked.stream(start.as_bytes()), Wait);
        let mut answers = (0..40).map(|_| asked.stream(&[b'x'; 1000]));
        let at = answers.position(|answer| answer == Dead(Nonsense));
        assert!(at.is_some_and(|at| at < 20), "{probe:?}: {at:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn no_answer_is_a_panic_or_taken_for_another_server_s(
        octets in prop::collection::vec(any::<u8>(), 0..600),
        seed: u64,
        at in 0..400_usize,
    ) {
        let server = "10.250.1.151:8060".parse().unwrap();
        let local = "10.250.1.5:40001".parse().unwrap();
        let probes = [Probe::SipUdp, Probe::SipTcp, Probe::Tls, Probe::Http { path: "/".into() }];
        for probe in probes {
            let rng = &mut StdRng::seed_from_u64(seed);
            let mut asked = Inquiry::new(&probe, server, local, "provision.lab.voip", rng);
            prop_assert!(asked.clone().datagram(&octets) != Alive);
            let _ = asked.stream(&octets);
            // One octet of a good response is another: it says the same, or nothing.
            if matches!(probe, Probe::SipUdp) {
                let mut response = respond(&text(&asked), 200).into_bytes();
                let place = at % response.len();
                response[place] ^= octets.first().copied().unwrap_or(1) | 1;
                let _ = asked.datagram(&response);
            }
        }
    }
}
