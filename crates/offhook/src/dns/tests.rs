//! Real sockets on loopback: both protocols, upstreams that are well, slow, dead and truncating, real tools.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use offhook_dns::Zones;
use offhook_model::{Dns, DomainName, Host, Origin, SipPorts, Site, Switchover};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;

mod forward;
mod reload;
mod tcp;

use super::{Bound, Count, Handle, Publisher, bind, spawn};

const LOOPBACK: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

fn name(text: &str) -> DomainName {
    text.parse().unwrap()
}

fn site(forward: &[(&str, Vec<SocketAddr>)]) -> Site {
    let pair = [("vm40ic1.lab.voip", [10, 250, 1, 151]), ("vm40ic2.lab.voip", [10, 250, 1, 152])];
    let origin = Origin::default("test");
    Site {
        name: "lab".into(),
        dns: Dns {
            listen: vec!["10.250.1.5:53".parse().unwrap()],
            forward: forward
                .iter()
                .map(|(zone, servers)| ((*zone != ".").then(|| name(zone)), servers.clone()))
                .collect::<BTreeMap<_, _>>(),
            ..Dns::default()
        },
        hosts: pair
            .iter()
            .map(|&(host, address)| Host::new(name(host), address.into(), origin.clone()))
            .collect(),
        switchovers: vec![Switchover {
            sip: SipPorts { udp: Some(8060), tcp: Some(8060), tls: Some(8061) },
            ..Switchover::new(
                name("provision.lab.voip"),
                pair.iter().map(|&(host, address)| (name(host), address.into())).collect(),
                origin,
            )
        }],
        ..Site::new(name("lab.voip"))
    }
}

/// A server on a port of its own, ended with the test.
struct Running {
    address: SocketAddr,
    zones: Arc<Publisher>,
    shutdown: watch::Sender<bool>,
    task: JoinHandle<()>,
    handle: Handle,
}

impl Running {
    fn start(site: &Site) -> Self {
        let bound = bound();
        let address = bound.addresses().next().unwrap();
        let zones = super::publish(site);
        let (shutdown, told) = watch::channel(false);
        let super::Server { task, handle } = spawn(bound, Arc::clone(&zones), &site.dns, told);
        Self { address, zones, shutdown, task, handle }
    }

    fn counters(&self) -> &super::Counters {
        self.handle.counters()
    }

    async fn udp(&self, query: &Message) -> Message {
        let socket = UdpSocket::bind(LOOPBACK).await.unwrap();
        socket.send_to(&query.to_vec().unwrap(), self.address).await.unwrap();
        let mut buffer = [0; 4096];
        let (length, from) = soon(socket.recv_from(&mut buffer)).await.unwrap();
        assert_eq!(from, self.address);
        Message::from_vec(&buffer[..length]).unwrap()
    }

    async fn tcp(&self, query: &Message) -> Message {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(&framed(query)).await.unwrap();
        read_framed(&mut stream).await.unwrap()
    }
}

fn bound() -> Bound {
    bind(&[LOOPBACK.into()]).unwrap()
}

async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("no answer in time")
}

fn query(owner: &str, rtype: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(owner).unwrap(), rtype));
    message
}

fn framed(message: &Message) -> Vec<u8> {
    let wire = message.to_vec().unwrap();
    [&(wire.len() as u16).to_be_bytes()[..], &wire].concat()
}

async fn read_framed(stream: &mut TcpStream) -> Option<Message> {
    let length = soon(stream.read_u16()).await.ok()?;
    let mut wire = vec![0; usize::from(length)];
    soon(stream.read_exact(&mut wire)).await.ok()?;
    Some(Message::from_vec(&wire).unwrap())
}

/// An upstream that answers every question with `code` and 192.0.2.`last`, and says TC over UDP if told to.
fn upstream(last: u8, code: ResponseCode, truncate: bool) -> SocketAddr {
    let mut bound = bound();
    let listener = bound.listeners.remove(0);
    let address = listener.udp.local_addr().unwrap();
    let answer = move |wire: &[u8], truncated: bool| {
        let query = Message::from_vec(wire).unwrap();
        assert_eq!(query.metadata.message_type, MessageType::Query);
        let mut answer = Message::response(query.metadata.id, OpCode::Query);
        answer.metadata.response_code = code;
        answer.metadata.authoritative = true;
        answer.metadata.truncation = truncated;
        answer.add_query(query.queries[0].clone());
        answer.set_edns(Edns::new());
        if code == ResponseCode::NoError && !truncated {
            let owner = query.queries[0].name().clone();
            answer.add_answer(Record::from_rdata(owner, 60, RData::A(A::new(192, 0, 2, last))));
        }
        answer
    };
    tokio::spawn(async move {
        let socket = UdpSocket::from_std(listener.udp).unwrap();
        let mut buffer = [0; 4096];
        loop {
            let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
            let answer = answer(&buffer[..length], truncate).to_vec().unwrap();
            socket.send_to(&answer, peer).await.unwrap();
        }
    });
    tokio::spawn(async move {
        let listener = TcpListener::from_std(listener.tcp).unwrap();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let query = read_framed(&mut stream).await.unwrap();
            let answer = framed(&answer(&query.to_vec().unwrap(), false));
            stream.write_all(&answer).await.unwrap();
        }
    });
    address
}

/// An upstream that takes questions and says nothing; alive as long as the socket.
async fn dead() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(LOOPBACK).await.unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

fn addresses(message: &Message) -> Vec<Ipv4Addr> {
    let mut found: Vec<Ipv4Addr> = message
        .answers
        .iter()
        .filter_map(|record| match record.data {
            RData::A(A(address)) => Some(address),
            _ => None,
        })
        .collect();
    found.sort();
    found
}

#[tokio::test]
async fn both_protocols_give_the_same_answer() {
    let server = Running::start(&site(&[]));
    let mut version_one = query("lab.voip.", RecordType::SOA);
    version_one.set_edns(Edns::new().set_version(1).clone());
    let mut with_opt = query("provision.lab.voip.", RecordType::A);
    with_opt.set_edns(Edns::new().set_dnssec_ok(true).clone());
    let mut update = query("lab.voip.", RecordType::SOA);
    update.metadata.op_code = OpCode::Update;
    let mut two_questions = query("lab.voip.", RecordType::SOA);
    two_questions.add_query(Query::query(Name::root(), RecordType::A));
    let queries = [
        query("Vm40IC1.lab.voip.", RecordType::A),
        query("_sip._udp.lab.voip.", RecordType::SRV),
        query("nothere.lab.voip.", RecordType::A),
        query("_udp.lab.voip.", RecordType::NAPTR),
        query("151.1.250.10.in-addr.arpa.", RecordType::PTR),
        query("example.com.", RecordType::A),
        query("lab.voip.", RecordType::AXFR),
        version_one,
        with_opt,
        update,
        two_questions,
    ];
    for query in &queries {
        let (mut udp, mut tcp) = (server.udp(query).await, server.tcp(query).await);
        for message in [&mut udp, &mut tcp] {
            message.answers.sort_by_key(|record| record.to_string());
            message.additionals.sort_by_key(|record| record.to_string());
        }
        assert_eq!(udp, tcp);
        assert_eq!(udp.metadata.id, query.metadata.id);
    }
    let answer = server.udp(&queries[0]).await;
    assert_eq!(addresses(&answer), [Ipv4Addr::new(10, 250, 1, 151)]);
    assert_eq!(answer.queries[0].name().to_ascii(), "Vm40IC1.lab.voip.");
}

#[tokio::test]
async fn tcp_takes_pipelined_and_split_messages() {
    let server = Running::start(&site(&[]));
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let queries: Vec<_> = (0..50).map(|_| query("vm40ic2.lab.voip.", RecordType::A)).collect();
    stream.write_all(&queries.iter().flat_map(framed).collect::<Vec<_>>()).await.unwrap();
    for query in &queries {
        let answer = read_framed(&mut stream).await.unwrap();
        assert_eq!(answer.metadata.id, query.metadata.id);
        assert_eq!(addresses(&answer).len(), 1);
    }
    let last = query("provision.lab.voip.", RecordType::A);
    for octet in framed(&last) {
        stream.write_all(&[octet]).await.unwrap();
        stream.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(addresses(&read_framed(&mut stream).await.unwrap()).len(), 2);
}

#[tokio::test]
async fn a_burst_of_queries_is_answered_whole() {
    let server = Running::start(&site(&[]));
    let socket = UdpSocket::bind(LOOPBACK).await.unwrap();
    let wire = query("vm40ic1.lab.voip.", RecordType::A).to_vec().unwrap();
    for _ in 0..100 {
        socket.send_to(&wire, server.address).await.unwrap();
    }
    let mut buffer = [0; 512];
    for _ in 0..100 {
        soon(socket.recv_from(&mut buffer)).await.unwrap();
    }
}

#[tokio::test]
async fn every_message_is_counted_once_with_the_code_of_its_answer() {
    let server = Running::start(&site(&[]));
    let pair = query("provision.lab.voip.", RecordType::A);
    for _ in 0..5 {
        assert_eq!(addresses(&server.udp(&pair).await).len(), 2);
    }
    server.udp(&query("nobody.lab.voip.", RecordType::A)).await;
    server.udp(&query("example.com.", RecordType::A)).await;
    server.tcp(&query("vm40ic1.lab.voip.", RecordType::A)).await;
    server.tcp(&query("nobody.lab.voip.", RecordType::A)).await;
    let mut malformed = query("lab.voip.", RecordType::SOA);
    malformed.add_query(Query::query(Name::root(), RecordType::A));
    server.udp(&malformed).await;
    for (what, times) in [
        (Count::Received, 10),
        // The first time a pair is asked for, it goes the other way; so does what is refused.
        (Count::Direct, 5),
        (Count::NoError, 6),
        (Count::NxDomain, 2),
        (Count::Refused, 1),
        (Count::FormErr, 1),
        (Count::ServFail, 0),
        (Count::OtherCode, 0),
        (Count::Ignored, 0),
    ] {
        assert_eq!(server.counters().of(what), times, "{}", what.as_str());
    }
}

#[tokio::test]
async fn responses_and_scraps_get_no_answer_and_break_nothing() {
    let server = Running::start(&site(&[]));
    let socket = UdpSocket::bind(LOOPBACK).await.unwrap();
    let mut response = query("vm40ic1.lab.voip.", RecordType::A).to_vec().unwrap();
    response[2] |= 0x80;
    socket.send_to(&response, server.address).await.unwrap();
    socket.send_to(&response[..14], server.address).await.unwrap();
    socket.send_to(b"", server.address).await.unwrap();
    socket.send_to(b"hello", server.address).await.unwrap();
    // The answer to this one is the first that comes back.
    let wire = query("lab.voip.", RecordType::SOA).to_vec().unwrap();
    socket.send_to(&wire, server.address).await.unwrap();
    let mut buffer = [0; 512];
    let (length, _) = soon(socket.recv_from(&mut buffer)).await.unwrap();
    assert_eq!((&buffer[..2], buffer[..length].len() > 12), (&wire[..2], true));
}

#[tokio::test]
async fn a_swapped_snapshot_is_what_the_next_query_sees() {
    let server = Running::start(&site(&[]));
    let question = query("late.lab.voip.", RecordType::A);
    assert_eq!(server.udp(&question).await.metadata.response_code, ResponseCode::NXDomain);
    let mut changed = site(&[]);
    changed.hosts[0].name = name("late.lab.voip");
    let before = server.zones.current().serial();
    server.zones.change(|zones| {
        *zones = Zones::from_site(&changed, 0);
        true
    });
    assert!(server.zones.current().serial() > before);
    assert!(!server.zones.change(|_| false));
    assert_eq!(addresses(&server.udp(&question).await).len(), 1);
    assert_eq!(addresses(&server.tcp(&question).await).len(), 1);
}

#[tokio::test]
async fn other_zones_are_asked_of_whom_the_configuration_names() {
    let (local, rest) =
        (upstream(1, ResponseCode::NoError, false), upstream(2, ResponseCode::NoError, false));
    let server = Running::start(&site(&[("lab.local", vec![local]), (".", vec![rest])]));
    for (owner, last) in [("PC.lab.local.", 1), ("time.example.com.", 2)] {
        for answer in [
            server.udp(&query(owner, RecordType::A)).await,
            server.tcp(&query(owner, RecordType::A)).await,
        ] {
            assert_eq!(addresses(&answer), [Ipv4Addr::new(192, 0, 2, last)], "{owner}");
            assert!(answer.metadata.recursion_available && !answer.metadata.authoritative);
            assert_eq!(
                (answer.edns, answer.queries[0].name().to_ascii()),
                (None, owner.to_owned())
            );
        }
    }
    let ours = server.udp(&query("nothere.lab.voip.", RecordType::A)).await;
    assert_eq!(
        (ours.metadata.response_code, ours.metadata.authoritative),
        (ResponseCode::NXDomain, true)
    );
}

#[tokio::test]
async fn a_truncated_upstream_answer_is_fetched_over_tcp() {
    let server = Running::start(&site(&[(".", vec![upstream(7, ResponseCode::NoError, true)])]));
    let answer = server.udp(&query("big.example.com.", RecordType::A)).await;
    assert_eq!(addresses(&answer), [Ipv4Addr::new(192, 0, 2, 7)]);
    assert!(!answer.metadata.truncation);
}

#[tokio::test]
async fn negative_answers_come_through_and_failures_go_to_the_next_server() {
    let nothing = upstream(0, ResponseCode::NXDomain, false);
    let failing = upstream(0, ResponseCode::ServFail, false);
    let refusing = upstream(0, ResponseCode::Refused, false);
    let well = upstream(9, ResponseCode::NoError, false);
    let server = Running::start(&site(&[
        ("nothing.example", vec![nothing, well]),
        ("failing.example", vec![failing, refusing, well]),
        ("refusing.example", vec![refusing]),
    ]));
    let code =
        async |owner: &str| server.udp(&query(owner, RecordType::A)).await.metadata.response_code;
    assert_eq!(code("a.nothing.example.").await, ResponseCode::NXDomain);
    assert_eq!(code("a.failing.example.").await, ResponseCode::NoError);
    // That they refuse says nothing about the name, and a phone is to ask its other resolver.
    assert_eq!(code("a.refusing.example.").await, ResponseCode::ServFail);
}

#[tokio::test]
async fn a_dead_upstream_costs_one_wait_and_only_dead_ones_are_servfail() {
    let (_first, one) = dead().await;
    let well = upstream(3, ResponseCode::NoError, false);
    let server = Running::start(&site(&[("a.example", vec![one, well]), ("b.example", vec![one])]));
    let question = query("x.a.example.", RecordType::A);
    let begun = Instant::now();
    assert_eq!(addresses(&server.udp(&question).await).len(), 1);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let again = Instant::now();
    assert_eq!(addresses(&server.udp(&question).await).len(), 1);
    assert!(again.elapsed() < Duration::from_secs(1), "the dead one is asked last now");
    let failed = server.udp(&query("x.b.example.", RecordType::A)).await;
    assert_eq!(failed.metadata.response_code, ResponseCode::ServFail);
    assert!(failed.metadata.recursion_available);
    // Our own zone does not wait for anybody.
    let (slow, begun) = (query("y.b.example.", RecordType::A), Instant::now());
    let (_, own) = tokio::join!(server.udp(&slow), async {
        server.udp(&query("vm40ic1.lab.voip.", RecordType::A)).await;
        begun.elapsed()
    });
    assert!(own < Duration::from_secs(1), "{own:?}");
}

#[tokio::test]
async fn every_listener_that_cannot_be_had_is_named_with_its_protocol_and_why() {
    let taken = bound();
    let address = taken.addresses().next().unwrap();
    let foreign: SocketAddr = "192.0.2.1:53".parse().unwrap();
    let errors = bind(&[address, foreign]).unwrap_err();
    let mut texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    texts.sort();
    let expected: Vec<_> = [("TCP", address), ("UDP", address)]
        .iter()
        .map(|(protocol, _)| {
            format!("cannot bind DNS on {address} ({protocol}): Address already in use")
        })
        .chain(["TCP", "UDP"].map(|protocol| {
            format!("cannot bind DNS on 192.0.2.1:53 ({protocol}): Cannot assign requested address")
        }))
        .collect();
    assert_eq!(texts, expected);
    assert!(errors.iter().all(|error| error.hint().is_some()));
}

#[tokio::test]
async fn every_own_address_stands_in_for_the_unspecified_one() {
    let bound = bind(&["0.0.0.0:0".parse().unwrap()]).unwrap();
    let addresses: Vec<_> = bound.addresses().map(|address| address.ip()).collect();
    assert!(addresses.contains(&Ipv4Addr::LOCALHOST.into()));
    assert!(addresses.iter().all(|address| !address.is_unspecified()));
}

#[tokio::test]
async fn told_to_stop_it_closes_every_socket() {
    let server = Running::start(&site(&[]));
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    server.udp(&query("lab.voip.", RecordType::SOA)).await;
    server.shutdown.send(true).unwrap();
    soon(server.task).await.unwrap();
    assert_eq!(soon(stream.read(&mut [0; 1])).await.unwrap_or(0), 0);
    bind(&[server.address]).unwrap();
}

/// Runs a tool against the server, off the runtime's threads; stdout and stderr.
async fn tool(program: &'static str, arguments: &[&str], input: &str) -> String {
    let input = input.to_owned();
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let run = move || {
        use std::io::Write;
        let mut child = Command::new(program)
            .args(&arguments)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} (bind9-dnsutils, knot-dnsutils): {error}"));
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    soon(tokio::task::spawn_blocking(run)).await.unwrap()
}

#[tokio::test]
async fn dig_kdig_nslookup_and_nsupdate_understand_us() {
    let server = Running::start(&site(&[]));
    let port = server.address.port().to_string();
    let dig = async |program, arguments: &[&str]| {
        let arguments = [&["@127.0.0.1", "-p", &port], arguments].concat();
        tool(program, &arguments, "").await
    };
    for program in ["dig", "kdig"] {
        let srv = dig(program, &["_sip._udp.lab.voip", "SRV"]).await;
        assert!(srv.contains("NOERROR") && srv.contains("0 0 8060 vm40ic2.lab.voip."), "{srv}");
        assert!(srv.contains("10.250.1.151"), "the additional section: {srv}");
        let ptr = dig(program, &["-x", "10.250.1.151", "+short"]).await;
        assert_eq!(ptr.trim(), "vm40ic1.lab.voip.");
        let tcp = dig(program, &["+tcp", "provision.lab.voip", "+short"]).await;
        assert_eq!(tcp.lines().count(), 2, "{tcp}");
    }
    let negative = dig("dig", &["nothere.lab.voip"]).await;
    assert!(negative.contains("NXDOMAIN") && negative.contains("\t30\tIN\tSOA"), "{negative}");
    for (arguments, expected) in [
        (&["+edns=1", "+noednsneg", "lab.voip", "SOA"][..], "BADVERS"),
        (&["CH", "TXT", "version.bind"], "REFUSED"),
        (&["AXFR", "lab.voip"], "Transfer failed"),
        (&["+opcode=15", "lab.voip"], "NOTIMP"),
        (&["+bufsize=512", "+ednsopt=100:00", "lab.voip", "SOA"], "NOERROR"),
    ] {
        let output = dig("dig", arguments).await;
        assert!(
            output.contains(expected) && !output.contains("WARNING: Mess"),
            "{arguments:?}: {output}"
        );
    }
    let nslookup =
        tool("nslookup", &[&format!("-port={port}"), "provision.lab.voip", "127.0.0.1"], "").await;
    assert!(nslookup.contains("10.250.1.151") && nslookup.contains("10.250.1.152"), "{nslookup}");

    let script = format!(
        "server 127.0.0.1 {port}\nzone lab.voip\nupdate add evil.lab.voip 300 A 192.0.2.66\n\
         update delete vm40ic1.lab.voip\nsend\n"
    );
    for transport in [&[][..], &["-v"]] {
        let refused = tool("nsupdate", transport, &script).await;
        assert!(refused.contains("update failed: REFUSED"), "{transport:?}: {refused}");
    }
    assert_eq!(dig("dig", &["evil.lab.voip", "+short"]).await, "");
}
