//! One probe: what is sent, and what the answer says.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use offhook_model::Probe;
use rand::Rng;

use super::http::Get;
use super::sip::{Carrier, Options};
use super::tls::Hello;

/// The most octets of an answer that are looked at.
const LONGEST: usize = 16 << 10;

/// Why a probe did not find its server alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There was no answer in time.
    TimedOut,
    /// There is a machine, and nobody listens there.
    Refused,
    /// There is no way to it, or no such machine.
    Unreachable,
    /// It ended the connection before it had answered.
    Closed,
    /// It answered something else than the protocol that it was asked in.
    Nonsense,
    /// It answered that it cannot serve: the status code of a SIP or HTTP response.
    Status(u16),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("timed out"),
            Self::Refused => f.write_str("refused"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Closed => f.write_str("closed the connection"),
            Self::Nonsense => f.write_str("answered nonsense"),
            Self::Status(code) => write!(f, "answered {code}"),
        }
    }
}

/// What octets from the server mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing yet, or nothing to this question: there may be more.
    Wait,
    /// The server is alive.
    Alive,
    /// It is not, or cannot serve.
    Dead(Failure),
}

/// A question to one server, and the answer as far as it has come.
#[derive(Clone, Debug)]
pub struct Inquiry {
    asked: Asked,
    /// What has come over a stream.
    received: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Asked {
    /// Nothing: the connection is all.
    Nothing,
    Options(Options),
    Get(Get),
    Hello(Hello),
}

impl Inquiry {
    /// A question to `server` from `local`, the two ends of the socket that it is sent through. `name` is what phones
    /// call the server's switchover by; `rng` makes it unlike any other question.
    pub fn new(
        probe: &Probe,
        server: SocketAddr,
        local: SocketAddr,
        name: &str,
        rng: &mut impl Rng,
    ) -> Self {
        let asked = match probe {
            Probe::Tcp => Asked::Nothing,
            Probe::SipUdp => Asked::Options(Options::new(Carrier::Udp, server, local, rng)),
            Probe::SipTcp => Asked::Options(Options::new(Carrier::Tcp, server, local, rng)),
            Probe::Http { path } => Asked::Get(Get::new(path, name, server.port())),
            Probe::Tls => Asked::Hello(Hello::new(name, rng)),
        };
        Self { asked, received: Vec::new() }
    }

    /// What is to be sent; nothing when the connection itself is the answer.
    pub fn request(&self) -> Option<&[u8]> {
        match &self.asked {
            Asked::Nothing => None,
            Asked::Options(options) => Some(options.request()),
            Asked::Get(get) => Some(get.request()),
            Asked::Hello(hello) => Some(hello.request()),
        }
    }

    /// Takes a datagram from the server.
    pub fn datagram(&mut self, datagram: &[u8]) -> Progress {
        match &self.asked {
            Asked::Options(options) => options.datagram(datagram),
            Asked::Nothing | Asked::Get(_) | Asked::Hello(_) => Progress::Wait,
        }
    }

    /// Takes what has come over the connection since the last time; nothing at all is its end.
    pub fn stream(&mut self, octets: &[u8]) -> Progress {
        if octets.is_empty() {
            return Progress::Dead(Failure::Closed);
        }
        self.received.extend_from_slice(octets);
        let progress = match &self.asked {
            Asked::Nothing => Progress::Alive,
            Asked::Options(options) => options.stream(&mut self.received),
            Asked::Get(get) => get.stream(&mut self.received),
            Asked::Hello(hello) => hello.stream(&self.received),
        };
        match progress {
            Progress::Wait if self.received.len() > LONGEST => Progress::Dead(Failure::Nonsense),
            progress => progress,
        }
    }
}

/// Removes a whole header section from the beginning of `received`, empty lines before it included; none while its
/// end has not come. Lines may end in LF alone.
pub(super) fn take_head(received: &mut Vec<u8>) -> Option<Vec<u8>> {
    let start = received.iter().position(|octet| !matches!(octet, b'\r' | b'\n'))?;
    let text = received.get(start..)?;
    let ends = text.windows(2).zip(1..).filter(|(two, _)| *two == b"\n\n").map(|(_, end)| end + 1);
    let ends = ends
        .chain(text.windows(3).zip(1..).filter(|(t, _)| *t == b"\n\r\n").map(|(_, end)| end + 2));
    let end = start + ends.min()?;
    let rest = received.split_off(end);
    let mut head = std::mem::replace(received, rest);
    head.drain(..start);
    Some(head)
}

/// The code of a status line, `VERSION CODE …`.
pub(super) fn status(head: &[u8], version: &[u8]) -> Option<u16> {
    let rest = head.strip_prefix(version)?;
    let (code, rest) = rest.split_at_checked(3)?;
    if !matches!(rest.first(), Some(b' ' | b'\r' | b'\n')) || !code.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(code).ok()?.parse().ok().filter(|code| (100..700).contains(code))
}

/// Digits that nobody guesses.
pub(super) fn token(rng: &mut impl Rng) -> String {
    format!("{:016x}{:016x}", rng.next_u64(), rng.next_u64())
}

/// An address as URIs and header fields have it.
pub(super) fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}
