//! Upstreams that lie, stumble, are slow, silent or gone, on real sockets.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::dns::Count;

/// What an upstream saw.
#[derive(Clone, Default)]
struct Seen {
    count: Arc<AtomicUsize>,
    /// Source port and id of every question.
    from: Arc<Mutex<Vec<(u16, u16)>>>,
}

impl Seen {
    fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

/// An upstream that sends back whatever `script` makes of the number of the question and the question.
async fn scripted(
    script: impl Fn(usize, &Message) -> Vec<Vec<u8>> + Send + 'static,
) -> (SocketAddr, Seen) {
    let socket = UdpSocket::bind(LOOPBACK).await.unwrap();
    let address = socket.local_addr().unwrap();
    let seen = Seen::default();
    let record = seen.clone();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
            let asked = Message::from_vec(&buffer[..length]).unwrap();
            let number = record.count.fetch_add(1, Ordering::Relaxed);
            record.from.lock().unwrap().push((peer.port(), asked.metadata.id));
            for answer in script(number, &asked) {
                socket.send_to(&answer, peer).await.unwrap();
            }
        }
    });
    (address, seen)
}

/// The answer that `asked` is for.
fn good(asked: &Message, ttl: u32, last: u8) -> Message {
    let mut answer = Message::response(asked.metadata.id, OpCode::Query);
    answer.metadata.authentic_data = true;
    answer.add_query(asked.queries[0].clone());
    let owner = asked.queries[0].name().clone();
    answer.add_answer(Record::from_rdata(owner, ttl, RData::A(A::new(192, 0, 2, last))));
    answer
}

fn wire(message: &Message) -> Vec<u8> {
    message.to_vec().unwrap()
}

fn forwarding(servers: &[SocketAddr]) -> Running {
    Running::start(&site(&[(".", servers.to_vec())]))
}

fn www() -> Message {
    query("www.example.com.", RecordType::A)
}

fn last(message: &Message) -> Vec<u8> {
    addresses(message).iter().map(|address| address.octets()[3]).collect()
}

#[tokio::test]
async fn messages_that_answer_something_else_are_waited_out() {
    let (upstream, _) = scripted(|_, asked| {
        let mut other_id = good(asked, 60, 66);
        other_id.metadata.id ^= 1;
        let mut other_name = good(asked, 60, 66);
        other_name.queries.clear();
        other_name
            .add_query(Query::query(Name::from_ascii("evil.example.").unwrap(), RecordType::A));
        let mut no_response = good(asked, 60, 66);
        no_response.metadata.message_type = MessageType::Query;
        let mut messages: Vec<_> = [other_id, other_name, no_response].iter().map(wire).collect();
        messages.extend([b"".to_vec(), b"short".to_vec(), wire(&good(asked, 60, 1))]);
        messages
    })
    .await;
    let server = forwarding(&[upstream]);
    let answer = server.udp(&www()).await;
    assert_eq!(last(&answer), [1]);
    assert!(!answer.metadata.authentic_data && answer.metadata.recursion_available);
    assert_eq!(server.counters().of(Count::UpstreamForeign), 5);
}

#[tokio::test]
async fn an_answer_from_elsewhere_is_never_seen() {
    let elsewhere = Arc::new(UdpSocket::bind(LOOPBACK).await.unwrap());
    let socket = UdpSocket::bind(LOOPBACK).await.unwrap();
    let upstream = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        loop {
            let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
            let asked = Message::from_vec(&buffer[..length]).unwrap();
            elsewhere.send_to(&wire(&good(&asked, 60, 66)), peer).await.unwrap();
            socket.send_to(&wire(&good(&asked, 60, 1)), peer).await.unwrap();
        }
    });
    let server = forwarding(&[upstream]);
    assert_eq!(last(&server.udp(&www()).await), [1]);
    assert_eq!(server.counters().of(Count::UpstreamForeign), 0);
}

#[tokio::test]
async fn whoever_guesses_ids_is_met_with_tcp() {
    let guess = |asked: &Message, n: u16| {
        let mut guess = good(asked, 60, 66);
        guess.metadata.id = asked.metadata.id.wrapping_add(n);
        wire(&guess)
    };
    // The address that answers over TCP is guessed at over UDP.
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let upstream = listener.local_addr().unwrap();
    let socket = UdpSocket::bind(upstream).await.unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
        let asked = Message::from_vec(&buffer[..length]).unwrap();
        for n in 1..100 {
            // The asking socket is gone before the last one.
            let _ = socket.send_to(&guess(&asked, n), peer).await;
        }
    });
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let asked = read_framed(&mut stream).await.unwrap();
        stream.write_all(&framed(&good(&asked, 60, 1))).await.unwrap();
    });
    assert_eq!(last(&forwarding(&[upstream]).udp(&www()).await), [1]);
}

#[tokio::test]
async fn every_question_has_a_port_and_an_id_of_its_own() {
    let (upstream, seen) = scripted(|_, asked| vec![wire(&good(asked, 60, 1))]).await;
    let server = forwarding(&[upstream]);
    for n in 0..200 {
        server.udp(&query(&format!("{n}.example.com."), RecordType::A)).await;
    }
    let from = seen.from.lock().unwrap().clone();
    let ports: HashSet<_> = from.iter().map(|(port, _)| port).collect();
    let ids: HashSet<_> = from.iter().map(|(_, id)| id).collect();
    // By chance some are equal; with one in thirty thousand, hardly ever six of two hundred.
    assert_eq!(from.len(), 200);
    assert!(ports.len() > 194 && ids.len() > 194, "{} {}", ports.len(), ids.len());
    let rising = from.windows(2).filter(|pair| pair[0].0 < pair[1].0).count();
    assert!((60..140).contains(&rising), "ports follow one another: {rising}");
}

#[tokio::test]
async fn an_answer_is_asked_for_once_and_given_to_all() {
    let (upstream, seen) = scripted(|_, asked| vec![wire(&good(asked, 60, 1))]).await;
    let server = forwarding(&[upstream]);
    for spelling in ["www.example.com.", "WWW.Example.COM.", "www.EXAMPLE.com."] {
        let answer = server.udp(&query(spelling, RecordType::A)).await;
        assert_eq!(last(&answer), [1]);
        assert_eq!(answer.queries[0].name().to_ascii(), spelling);
        assert_eq!(answer.answers[0].name.to_ascii(), spelling);
    }
    assert_eq!(last(&server.tcp(&www()).await), [1]);
    assert_eq!((seen.count(), server.counters().of(Count::CacheHit)), (1, 3));
    server.udp(&query("www.example.com.", RecordType::AAAA)).await;
    assert_eq!(seen.count(), 2, "another type is another question");
}

#[tokio::test]
async fn equal_questions_at_the_same_time_are_one() {
    let asked_for: Arc<Mutex<Vec<RecordType>>> = Arc::default();
    let types = Arc::clone(&asked_for);
    // The first of its questions is answered only when asked again.
    let (upstream, _) = scripted(move |n, asked| {
        types.lock().unwrap().push(asked.queries[0].query_type());
        if n == 0 { vec![] } else { vec![wire(&good(asked, 60, 1))] }
    })
    .await;
    let server = forwarding(&[upstream]);
    let mut asking = tokio::task::JoinSet::new();
    let address = server.address;
    for _ in 0..20 {
        asking.spawn(async move {
            let socket = UdpSocket::bind(LOOPBACK).await.unwrap();
            socket.send_to(&wire(&www()), address).await.unwrap();
            let mut buffer = [0; 512];
            let (length, _) = soon(socket.recv_from(&mut buffer)).await.unwrap();
            Message::from_vec(&buffer[..length]).unwrap()
        });
    }
    for answer in asking.join_all().await {
        assert_eq!(last(&answer), [1]);
    }
    // Beside them it is checked whether the server is there, by a question about the root.
    let addresses =
        asked_for.lock().unwrap().iter().filter(|rtype| **rtype == RecordType::A).count();
    assert_eq!(addresses, 2);
    assert_eq!(server.counters().of(Count::Coalesced), 19);
}

#[tokio::test]
async fn a_server_that_knows_no_edns_is_asked_without_from_then_on() {
    let (upstream, seen) = scripted(|_, asked| {
        if asked.edns.is_some() {
            let mut formerr = Message::response(asked.metadata.id, OpCode::Query);
            formerr.metadata.response_code = ResponseCode::FormErr;
            return vec![wire(&formerr)];
        }
        vec![wire(&good(asked, 60, 1))]
    })
    .await;
    let server = forwarding(&[upstream]);
    let mut with_opt = www();
    with_opt.set_edns(Edns::new());
    let answer = server.udp(&with_opt).await;
    assert_eq!(last(&answer), [1]);
    assert_eq!(answer.edns.unwrap().max_payload(), 1232, "our own EDNS is our own");
    assert_eq!(seen.count(), 2);
    server.udp(&query("two.example.com.", RecordType::A)).await;
    assert_eq!(seen.count(), 3);
}

#[tokio::test]
async fn a_server_that_drops_edns_or_udp_is_asked_in_the_way_that_it_takes() {
    let (plain, seen) = scripted(|_, asked| match asked.edns {
        Some(_) => Vec::new(),
        None => vec![wire(&good(asked, 60, 1))],
    })
    .await;
    let (tcp, over_udp) = scripted(|_, _| Vec::new()).await;
    let listener = TcpListener::bind(tcp).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let length = stream.read_u16().await.unwrap();
            let mut message = vec![0; length.into()];
            stream.read_exact(&mut message).await.unwrap();
            let answer = wire(&good(&Message::from_vec(&message).unwrap(), 60, 2));
            stream.write_u16(answer.len() as u16).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    let server = Running::start(&site(&[("p.example", vec![plain]), ("t.example", vec![tcp])]));
    let (first, second) =
        (query("a.p.example.", RecordType::A), query("a.t.example.", RecordType::A));
    let (first, second) = tokio::join!(server.udp(&first), server.udp(&second));
    assert_eq!((last(&first), last(&second)), (vec![1], vec![2]));
    // What it takes once to find out is not done again.
    let (before, before_tcp) = (seen.count(), over_udp.count());
    assert_eq!(last(&server.udp(&query("b.p.example.", RecordType::A)).await), [1]);
    assert_eq!(last(&server.udp(&query("b.t.example.", RecordType::A)).await), [2]);
    assert_eq!((seen.count() - before, over_udp.count() - before_tcp), (1, 0));
}

#[tokio::test]
async fn garbage_and_contradictions_go_to_the_next_server_at_once() {
    let garbage = |asked: &Message| {
        let mut bytes = wire(&good(asked, 60, 66));
        let length = bytes.len();
        bytes.truncate(length - 3);
        vec![bytes]
    };
    let round = |asked: &Message| {
        let mut message = good(asked, 60, 66);
        let owner = asked.queries[0].name().clone();
        let alias = RData::CNAME(hickory_proto::rr::rdata::CNAME(owner.clone()));
        message.answers = vec![Record::from_rdata(owner, 60, alias)];
        vec![wire(&message)]
    };
    let (first, _) = scripted(move |_, asked| garbage(asked)).await;
    let (second, _) = scripted(move |_, asked| round(asked)).await;
    let (third, _) = scripted(|_, asked| vec![wire(&good(asked, 60, 3))]).await;
    let server = forwarding(&[first, second, third]);
    let begun = Instant::now();
    assert_eq!(last(&server.udp(&www()).await), [3]);
    assert!(begun.elapsed() < Duration::from_millis(300), "{:?}", begun.elapsed());
    assert_eq!(server.counters().of(Count::UpstreamMalformed), 2);
}

#[tokio::test]
async fn a_truncated_answer_that_tcp_does_not_complete_goes_to_the_next_server() {
    let truncated = |_: usize, asked: &Message| {
        let mut message = good(asked, 60, 66);
        message.metadata.truncation = true;
        vec![wire(&message)]
    };
    // One without TCP, one that ends in the middle, and one that begins and says no more.
    let (first, _) = scripted(truncated).await;
    let (second, _) = scripted(truncated).await;
    let (third, _) = scripted(truncated).await;
    let (broken, hanging) =
        (TcpListener::bind(second).await.unwrap(), TcpListener::bind(third).await.unwrap());
    tokio::spawn(async move {
        let mut kept = Vec::new();
        loop {
            tokio::select! {
                accepted = broken.accept() => {
                    accepted.unwrap().0.write_all(&[0, 200, 1, 2, 3]).await.unwrap();
                }
                accepted = hanging.accept() => kept.push(accepted.unwrap()),
            }
        }
    });
    let (last_one, _) = scripted(|_, asked| vec![wire(&good(asked, 60, 4))]).await;
    let server = forwarding(&[first, second, third, last_one]);
    let begun = Instant::now();
    assert_eq!(last(&server.udp(&www()).await), [4]);
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
    assert_eq!(server.counters().of(Count::UpstreamTruncated), 3);
}

#[tokio::test]
async fn a_server_that_is_not_there_costs_nothing_and_a_silent_one_little() {
    let gone = {
        let (_socket, address) = dead().await;
        address
    };
    let (_silent_socket, silent) = dead().await;
    let (well, _) = scripted(|_, asked| vec![wire(&good(asked, 60, 1))]).await;
    let server = Running::start(&site(&[
        ("gone.example", vec![gone, well]),
        ("silent.example", vec![silent, well]),
        ("all.example", vec![gone, gone]),
    ]));
    for (owner, most) in [("a.gone.example.", 300), ("a.silent.example.", 900)] {
        let begun = Instant::now();
        assert_eq!(last(&server.udp(&query(owner, RecordType::A)).await), [1]);
        assert!(begun.elapsed() < Duration::from_millis(most), "{owner} {:?}", begun.elapsed());
    }
    let begun = Instant::now();
    let failed = server.udp(&query("a.all.example.", RecordType::A)).await;
    assert_eq!(failed.metadata.response_code, ResponseCode::ServFail);
    assert!(begun.elapsed() < Duration::from_millis(300), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_has_expired_is_given_while_nobody_answers_and_not_after() {
    let answers = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let does = Arc::clone(&answers);
    let (upstream, seen) = scripted(move |n, asked| {
        if does.load(Ordering::Relaxed) { vec![wire(&good(asked, 1, n as u8))] } else { vec![] }
    })
    .await;
    let server = forwarding(&[upstream]);
    assert_eq!(last(&server.udp(&www()).await), [0]);
    answers.store(false, Ordering::Relaxed);
    // Asked until it has expired.
    let stale = loop {
        let answer = server.udp(&www()).await;
        assert_eq!(last(&answer), [0], "with nobody else to ask it is the answer");
        if answer.answers[0].ttl == 30 {
            break answer;
        }
    };
    assert!(!stale.metadata.authoritative);
    assert!(server.counters().of(Count::CacheStale) >= 1);
    answers.store(true, Ordering::Relaxed);
    let before = seen.count();
    while last(&server.udp(&www()).await) == [0] {}
    assert!(seen.count() > before);
}

#[tokio::test]
async fn what_has_expired_is_given_when_servers_fail_as_well() {
    let (upstream, _) = scripted(|n, asked| {
        let mut answer = good(asked, 1, 1);
        if n > 0 {
            answer.metadata.response_code = ResponseCode::ServFail;
            answer.answers.clear();
        }
        vec![wire(&answer)]
    })
    .await;
    let server = forwarding(&[upstream]);
    assert_eq!(last(&server.udp(&www()).await), [1]);
    loop {
        let answer = server.udp(&www()).await;
        assert_eq!(last(&answer), [1]);
        if answer.answers[0].ttl == 30 {
            break;
        }
    }
    let other = server.udp(&query("other.example.com.", RecordType::A)).await;
    assert_eq!(other.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn a_name_that_takes_long_holds_up_no_other() {
    // As a resolver does whose question about one name is answered by nobody.
    let (upstream, _) = scripted(|_, asked| {
        let is_slow = asked.queries[0].name().to_ascii().starts_with("slow");
        if is_slow { vec![] } else { vec![wire(&good(asked, 60, 1))] }
    })
    .await;
    let server = forwarding(&[upstream]);
    let slow = query("slow.example.com.", RecordType::A);
    let (failed, ()) = tokio::join!(server.udp(&slow), async {
        let begun = Instant::now();
        let mut n = 0;
        while begun.elapsed() < Duration::from_secs(4) {
            n += 1;
            let asked = Instant::now();
            let answer = server.udp(&query(&format!("{n}.example.com."), RecordType::A)).await;
            assert_eq!(last(&answer), [1]);
            assert!(asked.elapsed() < Duration::from_millis(400), "{:?}", asked.elapsed());
            tokio::time::sleep(Duration::from_millis(1500)).await;
        }
    });
    assert_eq!(failed.metadata.response_code, ResponseCode::ServFail);
    let known = &server.handle.upstreams()[0].2;
    assert!(known.silent_since().is_none() && known.missed > 1, "{known:?}");
}

#[tokio::test]
async fn one_client_cannot_keep_everybody_waiting() {
    let (_socket, silent) = dead().await;
    let server = forwarding(&[silent]);
    let socket = UdpSocket::bind(LOOPBACK).await.unwrap();
    for n in 0..200 {
        let question = query(&format!("{n}.example.com."), RecordType::A);
        socket.send_to(&wire(&question), server.address).await.unwrap();
    }
    let begun = Instant::now();
    let mut buffer = [0; 512];
    for _ in 0..200 - 128 {
        let (length, _) = soon(socket.recv_from(&mut buffer)).await.unwrap();
        let answer = Message::from_vec(&buffer[..length]).unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    }
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(server.counters().of(Count::ForwardOverloaded), 200 - 128);
    assert_eq!(server.udp(&query("vm40ic1.lab.voip.", RecordType::A)).await.answers.len(), 1);
}

#[tokio::test]
async fn a_server_that_stopped_while_much_was_asked_of_it_is_asked_soon_after_it_is_back() {
    let answers = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let does = Arc::clone(&answers);
    let (upstream, _) = scripted(move |_, asked| {
        if does.load(Ordering::Relaxed) { vec![wire(&good(asked, 60, 1))] } else { vec![] }
    })
    .await;
    let server = forwarding(&[upstream]);
    for last in 1..=2 {
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, last), 0)).await.unwrap();
        for n in 0..120 {
            let question = query(&format!("{n}.{last}.example.com."), RecordType::A);
            socket.send_to(&wire(&question), server.address).await.unwrap();
        }
    }
    // Until all that is given up, and it is known to be silent: every moment somebody else asks.
    let begun = Instant::now();
    let mut names = (0..).map(|n| query(&format!("{n}.example."), RecordType::A));
    while begun.elapsed() < Duration::from_millis(4800) {
        let answer = server.udp(&names.next().unwrap()).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(server.handle.upstreams()[0].2.silent_since().is_some());
    assert!(server.counters().of(Count::ForwardOverloaded) > 240 - 192);
    answers.store(true, Ordering::Relaxed);
    let back = Instant::now();
    while last(&server.udp(&names.next().unwrap()).await) != [1] {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(back.elapsed() < Duration::from_secs(4), "{:?}", back.elapsed());
}

#[tokio::test]
async fn an_alias_into_our_zone_is_ours_whatever_the_upstream_says() {
    let (upstream, _) = scripted(|_, asked| {
        let mut message = good(asked, 60, 66);
        let owner = asked.queries[0].name().clone();
        let target = Name::from_ascii("vm40ic1.lab.voip.").unwrap();
        let alias = RData::CNAME(hickory_proto::rr::rdata::CNAME(target.clone()));
        let lie = RData::A(A::new(192, 0, 2, 66));
        message.answers =
            vec![Record::from_rdata(owner, 60, alias), Record::from_rdata(target, 60, lie)];
        vec![wire(&message)]
    })
    .await;
    let server = forwarding(&[upstream]);
    for _ in 0..2 {
        let answer = server.udp(&www()).await;
        assert_eq!(addresses(&answer), [Ipv4Addr::new(10, 250, 1, 151)]);
        assert_eq!(answer.answers.len(), 2);
    }
}

#[tokio::test]
async fn without_rd_nobody_is_asked() {
    let (upstream, seen) = scripted(|_, asked| vec![wire(&good(asked, 60, 1))]).await;
    let server = forwarding(&[upstream]);
    server.udp(&www()).await;
    let mut snooping = www();
    snooping.metadata.recursion_desired = false;
    let answer = server.udp(&snooping).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
    assert_eq!(seen.count(), 1);
}
