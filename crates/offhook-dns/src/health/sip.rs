//! SIP OPTIONS (RFC 3261 section 11), as proxies and registrars are asked whether they are there.
//!
//! A response to OPTIONS is the one that an INVITE would get, so that any final response comes from a live server:
//! also 401 and 407 (it wants to know who asks), 404, 405, 480, 481 and 486. Those that say that it cannot serve are
//! failures: 503, which clients are to go elsewhere for (section 21.5.4); 500, 502, 504 and 580; and 408, which
//! a proxy sends when nobody answered it. 501, 505 and 513 are about the request: who sends them is alive.
//!
//! A response is one to this request when the branch of its topmost Via, its Call-ID and its CSeq are those that
//! were sent (sections 8.1.3.3 and 17.1.3); anything else is waited past, as provisional responses are.

use std::net::SocketAddr;

use rand::{Rng, RngExt};

use super::inquiry::{host, status, take_head, token};
use super::{Failure, Progress};

const VERSION: &[u8] = b"SIP/2.0 ";

/// What SIP goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    Udp,
    Tcp,
}

/// An OPTIONS request.
#[derive(Clone, Debug)]
pub(super) struct Options {
    request: Vec<u8>,
    branch: String,
    call_id: String,
    sequence: u32,
}

impl Options {
    pub(super) fn new(
        carrier: Carrier,
        server: SocketAddr,
        local: SocketAddr,
        rng: &mut impl Rng,
    ) -> Self {
        let (transport, parameter) = match carrier {
            Carrier::Udp => ("UDP", ""),
            Carrier::Tcp => ("TCP", ";transport=tcp"),
        };
        let branch = format!("z9hG4bK{}", token(rng));
        let call_id = token(rng);
        let tag = token(rng);
        let sequence = rng.random_range(1..1 << 31);
        let (us, our_port) = (host(local.ip()), local.port());
        let (them, their_port) = (host(server.ip()), server.port());
        // `rport` (RFC 3581) has the answer come to where the request came from.
        let request = format!(
            "OPTIONS sip:{them}:{their_port}{parameter} SIP/2.0\r\n\
             Via: SIP/2.0/{transport} {us}:{our_port};branch={branch};rport\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:offhook@{us}>;tag={tag}\r\n\
             To: <sip:{them}:{their_port}>\r\n\
             Call-ID: {call_id}\r\n\
             CSeq: {sequence} OPTIONS\r\n\
             Accept: application/sdp\r\n\
             User-Agent: offhook\r\n\
             Content-Length: 0\r\n\r\n"
        );
        Self { request: request.into_bytes(), branch, call_id, sequence }
    }

    pub(super) fn request(&self) -> &[u8] {
        &self.request
    }

    /// Takes a datagram: one message.
    pub(super) fn datagram(&self, datagram: &[u8]) -> Progress {
        let mut message = datagram.to_vec();
        let head = take_head(&mut message);
        self.response(&head.unwrap_or(message))
    }

    /// Takes all that has come: messages one after the other, with empty lines between them for all it matters.
    pub(super) fn stream(&self, received: &mut Vec<u8>) -> Progress {
        loop {
            let before = received.clone();
            let Some(head) = take_head(received) else { return Progress::Wait };
            if !is_sip(&head) {
                return Progress::Dead(Failure::Nonsense);
            }
            let progress = self.response(&head);
            if progress != Progress::Wait {
                return progress;
            }
            // Over a stream every message says how long its body is (section 18.3).
            let body = fields(&head).find(|(name, _)| is_field(name, "content-length", "l"));
            let Some(length) = body.map_or(Some(0), |(_, value)| value.trim().parse().ok()) else {
                return Progress::Dead(Failure::Nonsense);
            };
            if received.len() < length {
                *received = before;
                return Progress::Wait;
            }
            received.drain(..length);
        }
    }

    fn response(&self, head: &[u8]) -> Progress {
        let Some(code) = status(head, VERSION) else { return Progress::Wait };
        if code < 200 || !self.is_answered_by(head) {
            return Progress::Wait;
        }
        match code {
            408 | 500 | 502 | 503 | 504 | 580 => Progress::Dead(Failure::Status(code)),
            _ => Progress::Alive,
        }
    }

    fn is_answered_by(&self, head: &[u8]) -> bool {
        let mut via = None;
        let (mut same_call, mut same_sequence) = (false, false);
        for (name, value) in fields(head) {
            if is_field(&name, "via", "v") {
                via.get_or_insert(value);
            } else if is_field(&name, "call-id", "i") {
                same_call = value.trim() == self.call_id;
            } else if is_field(&name, "cseq", "cseq") {
                let mut words = value.split_ascii_whitespace();
                same_sequence = words.next().and_then(|number| number.parse().ok())
                    == Some(self.sequence)
                    && words.next() == Some("OPTIONS");
            }
        }
        same_call && same_sequence && via.is_some_and(|via| branch(&via) == Some(&self.branch))
    }
}

/// Whether it is a response, or a request that the server has for us.
fn is_sip(head: &[u8]) -> bool {
    let line = head.split(|&octet| octet == b'\n').next().unwrap_or_default();
    head.starts_with(VERSION) || line.trim_ascii_end().ends_with(b" SIP/2.0")
}

/// The branch of the first of the values of a Via field.
fn branch(via: &str) -> Option<&str> {
    let first = via.split(',').next()?;
    first.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("branch").then(|| value.trim())
    })
}

fn is_field(name: &str, long: &str, short: &str) -> bool {
    name.eq_ignore_ascii_case(long) || name.eq_ignore_ascii_case(short)
}

/// Names and values of the header fields, lines that continue others joined to them (section 7.3.1).
fn fields(head: &[u8]) -> impl Iterator<Item = (String, String)> {
    let text = String::from_utf8_lossy(head);
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines().skip(1).take_while(|line| !line.is_empty()) {
        match lines.last_mut() {
            Some(before) if line.starts_with([' ', '\t']) => before.push_str(line),
            _ => lines.push(line.to_owned()),
        }
    }
    lines.into_iter().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.trim().to_owned(), value.to_owned()))
    })
}
