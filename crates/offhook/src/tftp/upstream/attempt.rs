//! Which of the server's addresses answers.
//!
//! Those of a switchover pair are as good as one another, and one of them may be dead: the next is asked when one fails,
//! cannot be reached at once, or lets us wait. Whoever answers first is it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

/// How long it may take to reach an address.
pub(super) const CONNECT: Duration = Duration::from_secs(3);
/// An address that is not reached by then is not the only one any more that is tried.
const HURRY: Duration = Duration::from_secs(1);
/// How often that is looked at.
const TICK: Duration = Duration::from_millis(100);

/// What is asked, and how.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) request: Request<Empty<Bytes>>,
    /// The name that a certificate has to have.
    pub(super) host: Arc<str>,
    /// For https: whom to trust, or why there is nobody.
    pub(super) tls: Option<Result<Arc<ClientConfig>, String>>,
    /// How long an answer may take.
    pub(super) patience: Duration,
}

/// The head of an answer, and what drives the rest of it.
pub(super) type Answered = (Response<Incoming>, Connection);
type Connected = (SendRequest<Empty<Bytes>>, Connection);

/// Drives the connection; ends it when dropped.
#[derive(Debug)]
pub(super) struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The first answer of any address.
///
/// # Errors
/// Why none of them has one.
pub(super) async fn first_answer(
    addresses: Vec<SocketAddr>,
    question: &Question,
) -> Result<(SocketAddr, Answered), String> {
    let share = question.patience / u32::try_from(addresses.len()).unwrap_or(1).max(1);
    let mut waiting = addresses.into_iter();
    let mut asked = JoinSet::new();
    let mut latest: Option<(Instant, Arc<AtomicBool>)> = None;
    let mut failures = Vec::new();
    loop {
        let is_next_due = latest.as_ref().is_none_or(|(began, is_reached)| {
            let patience = if is_reached.load(Ordering::Relaxed) { share } else { HURRY };
            asked.is_empty() || began.elapsed() >= patience
        });
        if is_next_due && let Some(address) = waiting.next() {
            let is_reached = Arc::new(AtomicBool::new(false));
            latest = Some((Instant::now(), Arc::clone(&is_reached)));
            let question = question.clone();
            asked.spawn(async move { (address, question.ask(address, &is_reached).await) });
        }
        if asked.is_empty() {
            return Err(failures.join("; "));
        }
        tokio::select! {
            Some(ended) = asked.join_next() => match ended {
                Ok((address, Ok(answered))) => return Ok((address, answered)),
                Ok((address, Err(reason))) => failures.push(format!("{address}: {reason}")),
                Err(error) => failures.push(error.to_string()),
            },
            () = sleep(TICK), if waiting.len() > 0 => {}
        }
    }
}

impl Question {
    async fn ask(self, address: SocketAddr, is_reached: &AtomicBool) -> Result<Answered, String> {
        let most = CONNECT.min(self.patience);
        let connected = timeout(most, self.connect(address)).await;
        let connected = connected.map_err(|_| format!("cannot connect within {most:?}"))?;
        let (mut sender, connection) = connected?;
        is_reached.store(true, Ordering::Relaxed);
        let response = timeout(self.patience, sender.send_request(self.request)).await;
        let response = response
            .map_err(|_| format!("no answer within {:?}", self.patience))?
            .map_err(|error| format!("no answer: {}", causes(&error)))?;
        match response.status() {
            // Of a pair, the other one may be well.
            status if status.is_server_error() => Err(format!("answers {status}")),
            _ => Ok((response, connection)),
        }
    }

    async fn connect(&self, address: SocketAddr) -> Result<Connected, String> {
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| format!("cannot connect: {error}"))?;
        let _ = stream.set_nodelay(true);
        let tls = match &self.tls {
            None => return handshake(stream).await,
            Some(tls) => TlsConnector::from(tls.clone()?),
        };
        let name = ServerName::try_from(self.host.to_string())
            .map_err(|error| format!("no name for TLS: {error}"))?;
        let stream = tls.connect(name, stream).await;
        handshake(stream.map_err(|error| format!("TLS: {error}"))?).await
    }
}

async fn handshake<S>(stream: S) -> Result<Connected, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| causes(&error))?;
    // How it ends is seen where its answer is read.
    let task = tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok((sender, Connection(task)))
}

/// An error with what caused it.
pub(super) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
