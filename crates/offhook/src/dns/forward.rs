//! Asking somebody else: names outside our zones.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::op::{DnsRequest, DnsRequestOptions, Message, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, RecordType};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::tcp::TcpClientStream;
use hickory_resolver::net::udp::UdpClientStream;
use hickory_resolver::net::xfer::{DnsHandle, DnsRequestSender, FirstAnswer};
use offhook_dns::{Forward, Reply};
use tokio::sync::Semaphore;
use tracing::warn;

use crate::log::Throttle;

/// Questions asked at the same time; each has a socket of its own. More are answered SERVFAIL at once.
const IN_FLIGHT: usize = 256;

/// How long one upstream may take.
const PER_SERVER: Duration = Duration::from_secs(2);

/// How long all of them together may take: a resolver in a phone gives up after some five seconds.
const ALTOGETHER: Duration = Duration::from_millis(4500);

/// How often a question is put to one upstream over UDP within its time.
const UDP_ATTEMPTS: u8 = 3;

/// How long an upstream that did not answer is asked last.
const SHUNNED: Duration = Duration::from_secs(10);

/// Log lines about upstreams, at most so many a second.
const WARNINGS: u32 = 1;

/// Puts questions to upstream servers, one after the other, until one answers.
#[derive(Debug)]
pub(super) struct Forwarder {
    permits: Semaphore,
    /// Upstreams that lately did not answer, and since when.
    silent: Mutex<HashMap<SocketAddr, Instant>>,
    warnings: Mutex<Throttle>,
}

impl Forwarder {
    pub(super) fn new() -> Self {
        Self {
            permits: Semaphore::new(IN_FLIGHT),
            silent: Mutex::default(),
            warnings: Mutex::new(Throttle::new(WARNINGS)),
        }
    }

    /// What the client is to be sent: the first usable answer, else whatever an upstream said, else SERVFAIL.
    pub(super) async fn ask(&self, forward: Forward) -> Reply {
        let Ok(_permit) = self.permits.try_acquire() else {
            self.warn("too many questions at once", None, &forward);
            return forward.failed();
        };
        let deadline = Instant::now() + ALTOGETHER;
        let mut refusal = None;
        for server in self.in_order(&forward.servers) {
            let time = PER_SERVER.min(deadline.saturating_duration_since(Instant::now()));
            if time.is_zero() {
                break;
            }
            match exchange(server, &forward, time).await {
                Ok(answer) => {
                    self.silent().remove(&server);
                    let code = answer.metadata.response_code;
                    if matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
                        return forward.answered(answer);
                    }
                    refusal = Some(answer);
                }
                Err(error) => {
                    self.silent().insert(server, Instant::now());
                    self.warn(&error.to_string(), Some(server), &forward);
                }
            }
        }
        match refusal {
            Some(answer) => forward.answered(answer),
            None => forward.failed(),
        }
    }

    /// The servers as configured, those that lately did not answer last.
    fn in_order(&self, servers: &[SocketAddr]) -> Vec<SocketAddr> {
        let mut silent = self.silent();
        silent.retain(|_, since| since.elapsed() < SHUNNED);
        let mut servers = servers.to_vec();
        servers.sort_by_key(|server| silent.contains_key(server));
        servers
    }

    fn silent(&self) -> std::sync::MutexGuard<'_, HashMap<SocketAddr, Instant>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn warn(&self, error: &str, server: Option<SocketAddr>, forward: &Forward) {
        let pass = self.warnings.lock().unwrap_or_else(PoisonError::into_inner).pass();
        if let Some(suppressed) = pass {
            let server = server.map(tracing::field::display);
            warn!(server, name = %forward.question.name, error, suppressed, "no answer from upstream");
        }
    }
}

/// One question to one server: over UDP from a random port with a random id, over TCP when that is truncated.
async fn exchange(
    server: SocketAddr,
    forward: &Forward,
    time: Duration,
) -> Result<Message, NetError> {
    let attempt = async {
        let request = request(forward);
        let mut udp = UdpClientStream::builder(server, TokioRuntimeProvider::new())
            .with_timeout(Some(time))
            .with_max_retries(UDP_ATTEMPTS)
            .build();
        let answer = udp.send_message(request.clone()).first_answer().await?;
        if !answer.metadata.truncation {
            return Ok(answer.into_message());
        }
        // The provider owns the connection's task: dropping the last of it ends the connection.
        let provider = TokioRuntimeProvider::new();
        let tcp = TcpClientStream::exchange(server, None, time, None, provider.clone()).await?;
        Ok(tcp.send(request).first_answer().await?.into_message())
    };
    tokio::time::timeout(time, attempt).await.unwrap_or(Err(NetError::Timeout))
}

fn request(forward: &Forward) -> DnsRequest {
    let mut options = DnsRequestOptions::default();
    options.recursion_desired = forward.recursion_desired;
    options.edns_set_dnssec_ok = forward.dnssec_ok;
    let qtype = RecordType::from(forward.question.qtype);
    let mut query = Query::query(forward.question.name.clone(), qtype);
    query.set_query_class(DNSClass::from(forward.question.qclass));
    let mut request = DnsRequest::from_query(query, options);
    request.metadata.checking_disabled = forward.checking_disabled;
    request
}
