//! One question to one server.
//!
//! A socket of its own for each, whose port the kernel chooses at random, and a random id: whoever wants to answer
//! in the server's stead has to guess both. The socket is connected, so that the kernel drops what comes from
//! anywhere else.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use offhook_dns::forward::{Answer, Query, Response, Trust, Way};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::{Count, Shared, lock};

/// The largest answer over UDP that is taken: more than we ever say we take.
const LARGEST: usize = 4096;

/// After so many messages that answer something else, somebody is guessing: TCP cannot be guessed.
const FOREIGN: u32 = 16;

/// How long an answer over TCP may take, from the beginning of the connection.
const TCP: Duration = Duration::from_secs(3);

/// A check sends questions with this pause between them, and waits so long for an answer to any of them.
const CHECK_PAUSE: Duration = Duration::from_millis(400);
const CHECK: Duration = Duration::from_millis(1500);

/// A question, and what is believed of those who answer it.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) query: Query,
    /// What they answer at once if they are there, as long as nothing better is known.
    pub(super) check: Query,
    pub(super) trust: Trust,
}

/// What `server` answers; none when that is of no use, or it cannot be reached. Waits as long as it is let.
pub(super) async fn ask(
    shared: &Arc<Shared>,
    server: SocketAddr,
    question: &Arc<Ask>,
) -> Option<Answer> {
    let _socket = shared.sockets.acquire().await.ok()?;
    let asked = Instant::now();
    let (patience, way) = {
        let upstreams = lock(&shared.upstreams);
        (upstreams.patience(server), upstreams.way(server, asked))
    };
    let exchange = exchange(shared, server, question, way);
    tokio::pin!(exchange);
    let response = tokio::select! {
        response = &mut exchange => response,
        () = sleep(patience) => {
            shared.counters.count(Count::UpstreamSilent);
            missed(shared, server, question);
            exchange.await
        }
    };
    let now = Instant::now();
    let query = &question.query;
    match response {
        Ok(response) => {
            shared.tell(lock(&shared.upstreams).answered(server, now - asked, now));
            match response {
                Response::Answer(answer) => {
                    shared.counters.count(Count::UpstreamAnswered);
                    lock(&shared.upstreams).knows(server, query);
                    return Some(answer);
                }
                // A name whose own servers are in trouble: that happens.
                Response::Failed(code @ ResponseCode::ServFail) => {
                    shared.counters.count(Count::UpstreamFailed);
                    debug!(%server, question = %query, %code, "an upstream has no answer");
                }
                Response::Failed(code) => {
                    shared.counters.count(Count::UpstreamFailed);
                    shared.complain(server, query, &format!("has no answer: {code}"));
                }
                Response::Referral => {
                    shared.counters.count(Count::UpstreamFailed);
                    shared.complain(server, query, "is no resolver, and does not serve this zone");
                }
                Response::Foreign
                | Response::Malformed
                | Response::Truncated
                | Response::NoEdns => {
                    shared.counters.count(Count::UpstreamMalformed);
                    shared.complain(server, query, "gives a malformed answer");
                }
            }
        }
        Err(error) => {
            shared.counters.count(Count::UpstreamUnreachable);
            missed(shared, server, question);
            // When that lasts it is said that the server does not answer.
            debug!(%server, question = %query, %error, "an upstream cannot be asked");
        }
    }
    None
}

/// A server did not answer: whether that is because of the name, or because it is gone, is to be found out.
fn missed(shared: &Arc<Shared>, server: SocketAddr, question: &Arc<Ask>) {
    let is_due = lock(&shared.upstreams).missed(server, Instant::now());
    if is_due {
        check(shared, server, question);
    }
}

/// Finds out whether a server is there, by a task of its own.
pub(super) fn check(shared: &Arc<Shared>, server: SocketAddr, question: &Arc<Ask>) {
    let (shared, question) = (Arc::clone(shared), Arc::clone(question));
    tokio::spawn(async move {
        let begun = Instant::now();
        let mut tries = JoinSet::new();
        let ways = lock(&shared.upstreams).ways_to_check(server, begun);
        for (number, way) in (0..).zip(ways) {
            let (shared, question) = (Arc::clone(&shared), Arc::clone(&question));
            tries.spawn(async move {
                sleep(CHECK_PAUSE * number).await;
                is_there(&shared, server, &question, way).await
            });
        }
        let any = async {
            while let Some(done) = tries.join_next().await {
                if done.is_ok_and(|answered| answered) {
                    return;
                }
            }
        };
        let _ = timeout(CHECK, any).await;
        shared.tell(lock(&shared.upstreams).checked(server, begun));
    });
}

/// Whether a server answers what goes this way; if so, it may be how it is asked from now on.
async fn is_there(shared: &Shared, server: SocketAddr, question: &Ask, way: Way) -> bool {
    let Ask { check, trust, .. } = question;
    let asked = Instant::now();
    let check = lock(&shared.upstreams).check_question(server, check);
    let answered = match way {
        Way::Edns => over_edns(shared, server, &check, trust).await.is_ok(),
        Way::Plain => over_udp(shared, server, &check, trust, false).await.is_ok(),
        Way::Tcp => over_tcp(shared, server, &check, trust, false).await.is_ok(),
    };
    if !answered {
        return false;
    }
    let now = Instant::now();
    shared.tell(lock(&shared.upstreams).answered(server, now - asked, now));
    let usual = lock(&shared.upstreams).way(server, now);
    if way != Way::Edns && way != usual {
        // It may have come back just now.
        let again = timeout(CHECK_PAUSE, over_edns(shared, server, &check, trust)).await;
        if !matches!(again, Ok(Ok(_))) {
            lock(&shared.upstreams).took_detour(server, way, Instant::now());
        }
    }
    true
}

/// The usual way if nothing else is known, without EDNS if need be, over TCP if need be.
async fn exchange(
    shared: &Shared,
    server: SocketAddr,
    question: &Ask,
    way: Way,
) -> io::Result<Response> {
    let Ask { query, trust, .. } = question;
    let mut way = way;
    let mut response = match way {
        Way::Edns => over_edns(shared, server, query, trust).await?,
        Way::Plain => over_udp(shared, server, query, trust, false).await?,
        Way::Tcp => Response::Truncated,
    };
    if response == Response::NoEdns {
        way = Way::Plain;
        response = over_udp(shared, server, query, trust, false).await?;
    }
    if response == Response::Truncated {
        if way != Way::Tcp {
            shared.counters.count(Count::UpstreamTruncated);
        }
        response = over_tcp(shared, server, query, trust, way != Way::Plain).await?;
    }
    if response == Response::NoEdns {
        response = over_tcp(shared, server, query, trust, false).await?;
    }
    Ok(response)
}

/// Over UDP with EDNS; what that says about the server is kept in mind.
async fn over_edns(
    shared: &Shared,
    server: SocketAddr,
    query: &Query,
    trust: &Trust,
) -> io::Result<Response> {
    let response = over_udp(shared, server, query, trust, true).await?;
    match response {
        Response::NoEdns => lock(&shared.upstreams).refused_edns(server, Instant::now()),
        Response::Answer(_) | Response::Failed(_) | Response::Referral => {
            lock(&shared.upstreams).took_edns(server);
        }
        // Whoever guesses ids makes it that.
        Response::Truncated | Response::Malformed | Response::Foreign => {}
    }
    Ok(response)
}

async fn over_udp(
    shared: &Shared,
    server: SocketAddr,
    query: &Query,
    trust: &Trust,
    edns: bool,
) -> io::Result<Response> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    let id = rand::random();
    shared.counters.count(Count::UpstreamAsked);
    socket.send(&query.encode(id, edns)).await?;
    let mut buffer = vec![0; LARGEST];
    let limits = *lock(&shared.limits);
    for _ in 0..FOREIGN {
        let length = socket.recv(&mut buffer).await?;
        let packet = buffer.get(..length).unwrap_or_default();
        match query.read(id, edns, packet, &limits, &|name| trust.covers(name)) {
            Response::Foreign => shared.counters.count(Count::UpstreamForeign),
            response => return Ok(response),
        }
    }
    Ok(Response::Truncated)
}

async fn over_tcp(
    shared: &Shared,
    server: SocketAddr,
    query: &Query,
    trust: &Trust,
    edns: bool,
) -> io::Result<Response> {
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        let id = rand::random();
        let message = query.encode(id, edns);
        // A question is some hundred octets.
        let framed = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
        shared.counters.count(Count::UpstreamAsked);
        stream.write_all(&framed).await?;
        let length = stream.read_u16().await?;
        let mut packet = vec![0; usize::from(length)];
        stream.read_exact(&mut packet).await?;
        let limits = *lock(&shared.limits);
        Ok(query.read(id, edns, &packet, &limits, &|name| trust.covers(name)))
    };
    timeout(TCP, exchange).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()))
}
