//! DNS over TCP, octet by octet.

use std::sync::atomic::{AtomicUsize, Ordering};

use offhook_dns::{Outcome, Transport};

use super::*;
use crate::dns::connections::Bounds;
use crate::dns::service::Service;
use crate::dns::{Count, publish};

const SHORT: Duration = Duration::from_millis(300);

/// A TCP server with bounds of its own.
struct Tcp {
    address: SocketAddr,
    service: Arc<Service>,
    _shutdown: watch::Sender<bool>,
}

impl Tcp {
    fn start(bounds: Bounds) -> Self {
        Self::with_site(&site(&[]), bounds)
    }

    fn with_site(site: &Site, bounds: Bounds) -> Self {
        let mut bound = bound();
        let listener = Arc::new(bound.listeners.remove(0).tcp);
        let address = listener.local_addr().unwrap();
        let service = Service::new(publish(site), &site.dns).bounded(bounds);
        let service = Arc::new(service);
        let (shutdown, told) = watch::channel(false);
        tokio::spawn(crate::dns::tcp::serve(Arc::clone(&service), listener, told));
        Self { address, service, _shutdown: shutdown }
    }

    async fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    fn count(&self, what: Count) -> u64 {
        self.service.counters().of(what)
    }
}

fn own() -> Message {
    query("vm40ic1.lab.voip.", RecordType::A)
}

/// Whether the server closed the connection, with nothing more to read.
async fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(soon(stream.read(&mut [0; 1])).await, Ok(0) | Err(_))
}

/// An upstream that answers over UDP once told to.
async fn held_back() -> (SocketAddr, watch::Sender<bool>, Arc<AtomicUsize>) {
    let socket = Arc::new(UdpSocket::bind(LOOPBACK).await.unwrap());
    let address = socket.local_addr().unwrap();
    let (release, released) = watch::channel(false);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        loop {
            let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            let asked = Message::from_vec(&buffer[..length]).unwrap();
            let mut answer = Message::response(asked.metadata.id, OpCode::Query);
            answer.add_query(asked.queries[0].clone());
            let owner = asked.queries[0].name().clone();
            answer.add_answer(Record::from_rdata(owner, 60, RData::A(A::new(192, 0, 2, 7))));
            let (socket, mut released) = (Arc::clone(&socket), released.clone());
            tokio::spawn(async move {
                released.wait_for(|released| *released).await.unwrap();
                socket.send_to(&answer.to_vec().unwrap(), peer).await.unwrap();
            });
        }
    });
    (address, release, asked)
}

#[tokio::test]
async fn an_answer_that_has_to_be_fetched_holds_up_none_that_is_there() {
    let (upstream, release, _) = held_back().await;
    let server = Tcp::with_site(&site(&[(".", vec![upstream])]), Bounds::default());
    let mut stream = server.connect().await;
    let (slow, fast) = (query("www.example.com.", RecordType::A), own());
    stream.write_all(&[framed(&slow), framed(&fast)].concat()).await.unwrap();
    let first = read_framed(&mut stream).await.unwrap();
    assert_eq!(first.metadata.id, fast.metadata.id);
    release.send(true).unwrap();
    let second = read_framed(&mut stream).await.unwrap();
    assert_eq!(second.metadata.id, slow.metadata.id);
    assert_eq!(addresses(&second), [Ipv4Addr::new(192, 0, 2, 7)]);
}

#[tokio::test]
async fn a_client_that_closes_its_half_gets_every_answer_first() {
    let (upstream, release, _) = held_back().await;
    let server = Tcp::with_site(&site(&[(".", vec![upstream])]), Bounds::default());
    let mut stream = server.connect().await;
    let queries = [query("www.example.com.", RecordType::A), own(), own()];
    stream.write_all(&queries.iter().flat_map(framed).collect::<Vec<_>>()).await.unwrap();
    stream.shutdown().await.unwrap();
    for _ in 0..2 {
        assert_eq!(read_framed(&mut stream).await.unwrap().answers.len(), 1);
    }
    release.send(true).unwrap();
    let last = read_framed(&mut stream).await.unwrap();
    assert_eq!(last.metadata.id, queries[0].metadata.id);
    assert!(is_closed(&mut stream).await);
}

#[tokio::test]
async fn every_message_and_every_answer_is_counted() {
    let server = Tcp::with_site(&site(&[(".", vec![LOOPBACK.into()])]), Bounds::default());
    let mut stream = server.connect().await;
    for asked in 1..=3 {
        stream.write_all(&framed(&own())).await.unwrap();
        read_framed(&mut stream).await.unwrap();
        assert_eq!((server.count(Count::Received), server.count(Count::NoError)), (asked, asked));
    }
    let forward = |name| {
        let packet = query(name, RecordType::A).to_vec().unwrap();
        match server.service.decide(&packet, LOOPBACK.into(), Transport::Tcp) {
            Outcome::Forward(forward) => forward,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(server.count(Count::ServFail), 0);
    server.service.overloaded(forward("www.example.com."));
    assert_eq!((server.count(Count::ForwardOverloaded), server.count(Count::ServFail)), (1, 1));
}

#[tokio::test]
async fn what_is_no_request_is_passed_over() {
    let server = Tcp::start(Bounds::default());
    let mut stream = server.connect().await;
    let query = own();
    let mut response = query.to_vec().unwrap();
    response[2] |= 0x80;
    let length = (response.len() as u16).to_be_bytes();
    let empty: &[u8] = &[0, 0];
    let short: &[u8] = &[0, 3, 1, 2, 3];
    let wire = [empty, empty, short, &length, &response, &framed(&query)].concat();
    stream.write_all(&wire).await.unwrap();
    let answer = read_framed(&mut stream).await.unwrap();
    assert_eq!((answer.metadata.id, answer.answers.len()), (query.metadata.id, 1));
}

#[tokio::test]
async fn the_longest_message_is_read_whole_and_answered() {
    let server = Tcp::start(Bounds::default());
    let mut stream = server.connect().await;
    // A query, then the octets of one that nobody can read.
    let mut long = own().to_vec().unwrap();
    long[11] = 9;
    long.resize(65_535, 0xff);
    stream.write_all(&[&[0xff, 0xff][..], &long, &framed(&own())].concat()).await.unwrap();
    let first = read_framed(&mut stream).await.unwrap();
    assert_eq!(first.metadata.response_code, ResponseCode::FormErr);
    assert_eq!(read_framed(&mut stream).await.unwrap().answers.len(), 1);
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_used_one_is_not() {
    let server = Tcp::start(Bounds { idle: SHORT, ..Bounds::default() });
    let mut idle = server.connect().await;
    let begun = Instant::now();
    assert!(is_closed(&mut idle).await);
    assert!(begun.elapsed() >= SHORT);
    let mut used = server.connect().await;
    let mut used_for = Duration::ZERO;
    // Open for several times as long as an idle one.
    let begun = Instant::now();
    while used_for < SHORT * 3 {
        used.write_all(&framed(&own())).await.unwrap();
        assert_eq!(read_framed(&mut used).await.expect("open").answers.len(), 1);
        used_for = begun.elapsed();
    }
    assert!(is_closed(&mut used).await);
}

#[tokio::test]
async fn octets_that_make_no_request_do_not_keep_a_connection_open() {
    let server = Tcp::start(Bounds { idle: SHORT, ..Bounds::default() });
    let begun = Instant::now();
    let mut slow = server.connect().await;
    let mut empty = server.connect().await;
    let dripping = async {
        let request = framed(&own());
        for octet in request.iter().cycle().take(request.len() - 1) {
            if slow.write_all(&[*octet]).await.is_err() {
                break;
            }
            tokio::time::sleep(SHORT / 8).await;
        }
        is_closed(&mut slow).await
    };
    let nothing = async {
        while empty.write_all(&[0, 0]).await.is_ok() {
            tokio::time::sleep(SHORT / 8).await;
        }
    };
    let (closed, ()) = tokio::join!(dripping, nothing);
    assert!(closed);
    assert!(begun.elapsed() < SHORT * 8, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_connection_that_waits_for_an_answer_is_not_idle() {
    let (upstream, release, asked) = held_back().await;
    let bounds = Bounds { idle: SHORT, ..Bounds::default() };
    let server = Tcp::with_site(&site(&[(".", vec![upstream])]), bounds);
    let mut stream = server.connect().await;
    stream.write_all(&framed(&query("www.example.com.", RecordType::A))).await.unwrap();
    // Asked a second time: longer than a connection may be idle.
    while asked.load(Ordering::Relaxed) < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    release.send(true).unwrap();
    assert_eq!(read_framed(&mut stream).await.expect("open").answers.len(), 1);
    assert!(is_closed(&mut stream).await);
}

#[tokio::test]
async fn a_client_that_takes_no_answers_is_not_read_from_and_then_closed() {
    let server = Tcp::start(Bounds { stalled: SHORT, ..Bounds::default() });
    let mut stream = server.connect().await;
    let request = framed(&query("_sip._udp.lab.voip.", RecordType::SRV)).repeat(100);
    let mut sent = 0;
    // Until it does not take any more, or closes.
    while let Ok(Ok(written)) = tokio::time::timeout(SHORT / 2, stream.write(&request)).await {
        sent += written;
        assert!(sent < 64 << 20, "it takes requests without end");
    }
    while server.count(Count::TcpStalled) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Everybody else is served.
    let mut other = server.connect().await;
    other.write_all(&framed(&own())).await.unwrap();
    assert_eq!(read_framed(&mut other).await.unwrap().answers.len(), 1);
}

#[tokio::test]
async fn one_client_has_only_so_many_connections_and_its_newest_is_served() {
    let server = Tcp::start(Bounds { most_per_client: 3, ..Bounds::default() });
    let mut streams = Vec::new();
    for _ in 0..50 {
        let mut stream = server.connect().await;
        stream.write_all(&framed(&own())).await.unwrap();
        assert!(read_framed(&mut stream).await.is_some());
        streams.push(stream);
    }
    for (n, stream) in streams.iter_mut().enumerate() {
        if n < 47 {
            assert!(is_closed(stream).await, "{n}");
        } else {
            stream.write_all(&framed(&own())).await.unwrap();
            assert!(read_framed(stream).await.is_some(), "{n}");
        }
    }
    assert_eq!(server.count(Count::TcpDisplaced), 47);
}

#[tokio::test]
async fn a_client_that_asks_is_told_how_long_it_may_be_idle() {
    use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
    let server = Running::start(&site(&[]));
    let mut asking = own();
    let mut edns = Edns::new();
    edns.options_mut().insert(EdnsOption::Unknown(11, Vec::new()));
    asking.set_edns(edns);
    let told = |answer: Message| answer.edns.unwrap().option(EdnsCode::from(11)).cloned();
    let tenths = EdnsOption::Unknown(11, vec![0, 100]);
    assert_eq!(told(server.tcp(&asking).await), Some(tenths));
    assert_eq!(told(server.udp(&asking).await), None, "there is no connection");
}

#[tokio::test]
async fn when_there_are_too_many_the_idlest_is_closed_and_nobody_is_kept_out() {
    let server = Tcp::start(Bounds { most: 4, ..Bounds::default() });
    let mut idle = Vec::new();
    for _ in 0..4 {
        let mut stream = server.connect().await;
        stream.write_all(&framed(&own())).await.unwrap();
        read_framed(&mut stream).await.unwrap();
        idle.push(stream);
    }
    let mut late = server.connect().await;
    late.write_all(&framed(&own())).await.unwrap();
    assert!(read_framed(&mut late).await.is_some());
    assert!(is_closed(&mut idle[0]).await);
    assert_eq!(server.count(Count::TcpDisplaced), 1);
    idle[1].write_all(&framed(&own())).await.unwrap();
    assert!(read_framed(&mut idle[1]).await.is_some());
}

#[tokio::test]
async fn more_questions_than_may_wait_are_answered_all_the_same() {
    let (upstream, release, _) = held_back().await;
    let server = Tcp::with_site(&site(&[(".", vec![upstream])]), Bounds::default());
    let mut stream = server.connect().await;
    // More than one connection may have waiting.
    let queries: Vec<_> =
        (0..150).map(|n| query(&format!("{n}.example.com."), RecordType::A)).collect();
    let wire: Vec<u8> = queries.iter().flat_map(framed).collect();
    stream.write_all(&wire).await.unwrap();
    stream.shutdown().await.unwrap();
    release.send(true).unwrap();
    let mut ids: Vec<_> = Vec::new();
    for _ in &queries {
        let answer = read_framed(&mut stream).await.unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        ids.push(answer.metadata.id);
    }
    let mut expected: Vec<_> = queries.iter().map(|query| query.metadata.id).collect();
    ids.sort_unstable();
    expected.sort_unstable();
    assert_eq!(ids, expected);
}
