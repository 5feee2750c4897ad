//! Asking the provisioning server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName};
use hyper::{Request, Response, StatusCode};
use offhook_model::{Upstream, UpstreamUrl};
use rustls::ClientConfig;
use tokio::time::timeout;
use url::Url;

use super::attempt::{Answered, CONNECT, Connection, Question, causes, first_answer};
use super::cache::Description;
use super::page;
use super::resolve::Resolver;
use super::tls;
use super::trouble::Trouble;

/// Redirects followed for one file.
const REDIRECTS: usize = 5;
/// A longer validator is left out.
const LONGEST_VALIDATOR: usize = 512;

/// Asks for files.
#[derive(Debug)]
pub(super) struct Client {
    base: UpstreamUrl,
    patience: Duration,
    resolver: Resolver,
    /// Why there is nobody to trust.
    tls: Result<Arc<ClientConfig>, String>,
    is_secure: bool,
}

/// What the server has answered.
#[derive(Debug)]
pub(super) enum Answer {
    /// The file is what it was.
    Unchanged,
    /// This is the file.
    File(Body),
}

/// A file on its way.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) length: Option<u64>,
    /// Whether its end can be told from a connection that broke.
    pub(super) has_end: bool,
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
    /// Whether the server calls it a web page.
    pub(super) is_typed_as_page: bool,
    /// Where it came from, redirects included, and at which address.
    pub(super) url: String,
    pub(super) address: SocketAddr,
    /// What has come, and was only looked at.
    begun: Vec<u8>,
    incoming: Incoming,
    patience: Duration,
    _connection: Connection,
}

impl Client {
    /// Reads the certificates.
    pub(super) fn new(upstream: &Upstream, resolver: Resolver) -> Self {
        Self {
            base: upstream.url.clone(),
            patience: upstream.timeout,
            resolver,
            // Redirects may lead to https.
            tls: tls::config(upstream.ca.as_deref()),
            is_secure: upstream.url.secure,
        }
    }

    /// Why nothing can be asked, whatever it is.
    pub(super) fn broken(&self) -> Option<&str> {
        self.tls.as_ref().err().filter(|_| self.is_secure).map(String::as_str)
    }

    /// Asks for a file, if it has changed since `known`. The path stands as in a URL. Answers within the time that the
    /// server is given to be reached, and then to answer.
    ///
    /// # Errors
    /// [`Trouble`] says why there is no file.
    pub(super) async fn ask(
        &self,
        path: &str,
        known: Option<&Description>,
    ) -> Result<Answer, Trouble> {
        let text = format!("{}/{path}", self.base);
        let url = Url::parse(&text).map_err(|error| Trouble::Failed(format!("{text}: {error}")))?;
        let most = self.patience + CONNECT;
        match timeout(most, self.follow(url, known)).await {
            Ok(answered) => answered,
            Err(_) => {
                Err(Trouble::Failed(format!("{} does not answer within {most:?}", self.base)))
            }
        }
    }

    async fn follow(&self, mut url: Url, known: Option<&Description>) -> Result<Answer, Trouble> {
        for _ in 0..=REDIRECTS {
            let (address, (response, connection)) = self.at_any_address(&url, known).await?;
            let status = response.status();
            if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
                url = redirected(&url, response.headers())?;
                continue;
            }
            return answered(status, &url, response, known.is_some()).map(|head| match head {
                None => Answer::Unchanged,
                Some((length, incoming, headers)) => Answer::File(Body {
                    length,
                    has_end: length.is_some() || is_chunked(&headers),
                    etag: validator(&headers, header::ETAG),
                    last_modified: validator(&headers, header::LAST_MODIFIED),
                    is_typed_as_page: page::is_typed_so(&headers),
                    url: url.to_string(),
                    address,
                    begun: Vec::new(),
                    incoming,
                    patience: self.patience,
                    _connection: connection,
                }),
            });
        }
        Err(Trouble::Failed(format!("more than {REDIRECTS} redirects, the last to {url}")))
    }

    /// The answer of the first address that has one.
    async fn at_any_address(
        &self,
        url: &Url,
        known: Option<&Description>,
    ) -> Result<(SocketAddr, Answered), Trouble> {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or(80);
        let addresses = self.resolver.addresses(host, port).await.map_err(Trouble::Failed)?;
        let question = Question {
            request: request(url, known).map_err(Trouble::Failed)?,
            host: host.trim_start_matches('[').trim_end_matches(']').into(),
            tls: (url.scheme() == "https").then(|| self.tls.clone()),
            patience: self.patience,
        };
        first_answer(addresses, &question).await.map_err(Trouble::Failed)
    }
}

impl Body {
    /// The next octets; none at the end of the file.
    ///
    /// # Errors
    /// The server was silent for too long, or ended before the end of the file.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Trouble> {
        if !self.begun.is_empty() {
            return Ok(Some(std::mem::take(&mut self.begun).into()));
        }
        self.receive().await
    }

    /// Whether it is a web page, by how it begins: somebody between us and the server wants a password, or the server
    /// itself has something to say, and calls that a success.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub(super) async fn is_page(&mut self) -> Result<bool, Trouble> {
        loop {
            if let Some(is_page) = page::begins_as_page(&self.begun, self.is_typed_as_page) {
                return Ok(is_page);
            }
            match self.receive().await? {
                Some(bytes) => self.begun.extend_from_slice(&bytes),
                // All of it.
                None => return Ok(self.is_typed_as_page && !self.begun.is_empty()),
            }
        }
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, Trouble> {
        loop {
            let frame = match timeout(self.patience, self.incoming.frame()).await {
                Ok(frame) => frame,
                Err(_) => {
                    let reason = format!("nothing came for {:?}", self.patience);
                    return Err(Trouble::Failed(reason));
                }
            };
            match frame {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => {
                    return Err(Trouble::Failed(format!("broken off: {}", causes(&error))));
                }
            }
        }
    }

    /// What is here already, without waiting.
    pub(super) async fn ready(&mut self) -> Option<Result<Option<Bytes>, Trouble>> {
        // Polled once before its time is over.
        timeout(Duration::ZERO, self.next()).await.ok()
    }
}

fn request(url: &Url, known: Option<&Description>) -> Result<Request<Empty<Bytes>>, String> {
    let host = url.host_str().unwrap_or_default();
    let host = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let path = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let mut request = Request::get(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, concat!("offhook/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "*/*")
        .header(header::ACCEPT_ENCODING, "identity")
        .header(header::CONNECTION, "close");
    if let Some(known) = known {
        let validators = [
            (header::IF_NONE_MATCH, &known.etag),
            (header::IF_MODIFIED_SINCE, &known.last_modified),
        ];
        for (name, value) in validators {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
    }
    request.body(Empty::new()).map_err(|error| error.to_string())
}

type Head = (Option<u64>, Incoming, HeaderMap);

/// What an answer that is no redirect comes to; none when the file is what it was.
fn answered(
    status: StatusCode,
    url: &Url,
    response: Response<Incoming>,
    is_known: bool,
) -> Result<Option<Head>, Trouble> {
    match status {
        StatusCode::OK => {}
        StatusCode::NOT_MODIFIED if is_known => return Ok(None),
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            return Err(Trouble::Missing(format!("{url} answers {status}")));
        }
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
            return Err(Trouble::Forbidden(format!("{url} answers {status}")));
        }
        _ => return Err(Trouble::Failed(format!("{url} answers {status}"))),
    }
    let (parts, incoming) = response.into_parts();
    let headers = parts.headers;
    if let Some(coding) = coding(&headers) {
        let coding = coding.escape_ascii();
        return Err(Trouble::Failed(format!("{url} answers with the file encoded as {coding}")));
    }
    let length = hyper::body::Body::size_hint(&incoming).exact();
    Ok(Some((length, incoming, headers)))
}

/// Where a redirect leads: anywhere on the same host, and never from https to http.
fn redirected(from: &Url, headers: &HeaderMap) -> Result<Url, Trouble> {
    let failed = |what: String| Trouble::Failed(format!("{from} redirects {what}"));
    let to = headers.get(header::LOCATION).and_then(|to| to.to_str().ok());
    let to = to.ok_or_else(|| failed("to nowhere".to_owned()))?;
    let to = from.join(to).map_err(|error| failed(format!("to `{to}`: {error}")))?;
    let as_safe = matches!((from.scheme(), to.scheme()), (_, "https") | ("http", "http"));
    if !as_safe || to.host_str() != from.host_str() || !to.username().is_empty() {
        return Err(failed(format!(
            "to {to}, which is not followed: another host, or not as safe"
        )));
    }
    Ok(to)
}

/// What the file is wrapped in, beside the chunks that HTTP itself takes it out of.
fn coding(headers: &HeaderMap) -> Option<&[u8]> {
    let plain = [(header::CONTENT_ENCODING, "identity"), (header::TRANSFER_ENCODING, "chunked")];
    plain.into_iter().find_map(|(name, plain)| {
        let values = headers.get_all(name).iter().map(|value| value.as_bytes());
        let mut codings =
            values.flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
        codings.find(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(plain.as_bytes()))
    })
}

fn is_chunked(headers: &HeaderMap) -> bool {
    let coding = headers.get(header::TRANSFER_ENCODING).map(|coding| coding.as_bytes());
    coding.is_some_and(|coding| coding.to_ascii_lowercase().ends_with(b"chunked"))
}

fn validator(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    (value.len() <= LONGEST_VALIDATOR).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_on_the_host_and_as_safe_as_they_were() {
        let from = |from: &str, to: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::LOCATION, to.parse().unwrap());
            redirected(&Url::parse(from).unwrap(), &headers).map(|url| url.to_string()).ok()
        };
        let http = "http://host:8088/fw/a.img";
        for (to, leads) in [
            ("/b/a.img", Some("http://host:8088/b/a.img")),
            ("b.img?x=1", Some("http://host:8088/fw/b.img?x=1")),
            ("https://HOST:8089/fw/a.img", Some("https://host:8089/fw/a.img")),
            ("http://other/fw/a.img", None),
            ("//other/a.img", None),
            ("http://host@other/a.img", None),
            ("http://other@host/a.img", None),
            ("ftp://host/a.img", None),
            ("file:///etc/passwd", None),
        ] {
            assert_eq!(from(http, to).as_deref(), leads, "{to}");
        }
        assert_eq!(from("https://host/a.img", "http://host/a.img"), None);
    }
}
