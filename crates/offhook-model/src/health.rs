//! How the servers of a switchover are watched, and what their state does to DNS answers.

use std::fmt;
use std::time::Duration;

/// In which order the servers of a switchover are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Random, whatever their state: what the guide asks for.
    #[default]
    Random,
    /// Live servers first in A answers and with the better SRV priority, the others after them.
    ActiveFirst,
    /// Live servers only.
    ActiveOnly,
}

impl Order {
    /// The word for it in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::ActiveFirst => "active-first",
            Self::ActiveOnly => "active-only",
        }
    }
}

/// How each server of a switchover is asked whether it is alive: `[switchover.health]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What it is asked.
    pub probe: Probe,
    /// At which port.
    pub port: u16,
    /// From one question to the next; at least 100 ms.
    pub interval: Duration,
    /// How long an answer is waited for; at least 10 ms, at most `interval`.
    pub timeout: Duration,
    /// Good answers in a row after which a server that was down is up; at least 1.
    pub rise: u32,
    /// Questions in a row without a good answer after which a server is down; at least 1.
    pub fall: u32,
    /// The half-life of the penalty that keeps a flapping server down; zero for none.
    pub damping: Duration,
}

/// A question that a live server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// SIP OPTIONS over UDP (RFC 3261 section 11).
    SipUdp,
    /// SIP OPTIONS over TCP.
    SipTcp,
    /// A TCP connection, no more.
    Tcp,
    /// The first step of a TLS handshake, whatever the certificate.
    Tls,
    /// HTTP GET of this path at the switchover's name.
    Http {
        /// Begins with `/`; printable ASCII without spaces.
        path: String,
    },
}

impl Probe {
    /// The word for it in the configuration.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::SipUdp => "sip-udp",
            Self::SipTcp => "sip-tcp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Http { .. } => "http",
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.probe.as_str(), self.port)
    }
}
