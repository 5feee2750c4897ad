//! What a simulated phone was given: plain facts, judged elsewhere.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use crate::{Fingerprint, Link, MessageKind, Options, Reply, Stage};

/// Everything one boot yielded, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Each DHCPACK that was acted on.
    pub leases: Vec<Acknowledged>,
    /// The unicast renewal at the end of a normal boot.
    pub renewal: Option<Renewal>,
    /// Each DNS question and what came of it.
    pub lookups: Vec<Lookup>,
    /// The firmware fetched in recovery mode.
    pub firmware: Option<Fetched>,
    /// What ended the boot early.
    pub failure: Option<Failure>,
    /// Packets sent again because no answer came in time.
    pub retransmissions: u32,
    /// From the first packet to the last.
    pub elapsed: Duration,
}

impl Record {
    /// The last lease on a link.
    pub fn lease(&self, link: Link) -> Option<&Acknowledged> {
        self.leases.iter().rev().find(|lease| lease.link == link)
    }
}

/// A DHCPACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// Where.
    pub link: Link,
    /// What was said and asked for at this stage.
    pub stage: Stage,
    /// The address the phone has now: `yiaddr`, or its own after a DHCPINFORM.
    pub address: Ipv4Addr,
    /// Whether it answers a DHCPINFORM.
    pub inform: bool,
    /// The server's message.
    pub reply: Reply,
    /// From the first DISCOVER (or INFORM) to the ACK.
    pub took: Duration,
}

impl Acknowledged {
    /// The options given.
    pub fn options(&self) -> &Options {
        &self.reply.options
    }
}

/// How the renewal went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Answered; for which address.
    Answered(MessageKind, Ipv4Addr),
    /// Not answered.
    Silence,
}

/// A DNS question and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// Why the phone asks.
    pub purpose: &'static str,
    /// The server asked: the first of option 6.
    pub server: Ipv4Addr,
    /// The name, without a trailing dot.
    pub name: String,
    /// The type: `A`, `SRV`, `PTR`, `NAPTR`.
    pub kind: &'static str,
    /// The answer.
    pub result: Result<Answer, LookupFailure>,
}

/// A DNS answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The response code as it is written: `NoError`, `NXDomain`, `Refused`.
    pub code: String,
    /// Whether the code is NOERROR.
    pub ok: bool,
    /// Whether the TC bit is set.
    pub truncated: bool,
    /// The answer section.
    pub answers: Vec<RecordData>,
    /// Names and addresses of the A records in the additional section.
    pub additional: Vec<(String, Ipv4Addr)>,
    /// How long "there is none" may be kept: the lesser of the TTL and the minimum of the SOA in the authority
    /// section, in seconds.
    pub negative_ttl: Option<u32>,
}

/// The data of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordData {
    /// An address.
    A(Ipv4Addr),
    /// A name an address belongs to.
    Ptr(String),
    /// A server.
    Srv {
        /// Lower first.
        priority: u16,
        /// Share among equals.
        weight: u16,
        /// Its port.
        port: u16,
        /// Its name.
        target: String,
    },
    /// Another type; its number.
    Other(u16),
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupFailure {
    /// Option 6 names no server.
    NoServer,
    /// What the phone was given makes no name.
    BadName,
    /// Nothing came back.
    Silence,
    /// What came back cannot be read.
    Malformed,
}

impl fmt::Display for LookupFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoServer => "no DNS server was given",
            Self::BadName => "not a name that can be asked for",
            Self::Silence => "no answer",
            Self::Malformed => "an answer that cannot be read",
        })
    }
}

/// A TFTP transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The server asked.
    pub server: SocketAddrV4,
    /// The file asked for.
    pub file: String,
    /// What came.
    pub result: Result<Fingerprint, TftpFailure>,
}

/// Why a transfer failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TftpFailure {
    /// The server stopped answering.
    Silence,
    /// The server's ERROR: code and text.
    Error(u16, String),
    /// A packet that no server should send; what is wrong with it.
    Protocol(&'static str),
    /// The length announced by `tsize`, and the length that came.
    Size(u64, u64),
}

impl fmt::Display for TftpFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silence => f.write_str("the server stopped answering"),
            Self::Error(code, text) => write!(f, "error {code}: {text}"),
            Self::Protocol(what) => f.write_str(what),
            Self::Size(announced, came) => write!(f, "{announced} bytes announced, {came} came"),
        }
    }
}

/// What ends a boot early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No address on this link.
    Dhcp(Link, DhcpFailure),
    /// In recovery mode, what option 132 was; none when it was not there.
    Vlan(Option<String>),
    /// In recovery mode, an option that names the firmware's server or file is missing or cannot be used.
    Firmware(u8),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dhcp(link, failure) => write!(f, "DHCP on the {link} link: {failure}"),
            Self::Vlan(None) => f.write_str("no option 132: stays in recovery mode"),
            Self::Vlan(Some(value)) => {
                write!(f, "option 132 is `{value}`, no VLAN: stays in recovery mode")
            }
            Self::Firmware(code) => write!(f, "no usable option {code}: stays in recovery mode"),
        }
    }
}

/// Why DHCP gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DhcpFailure {
    /// No OFFER after so many DISCOVERs.
    NoOffer(u32),
    /// No answer to any REQUEST for the address offered.
    NoAck,
    /// Refused time and again.
    Refused,
    /// No answer to a DHCPINFORM.
    NoAnswer,
}

impl fmt::Display for DhcpFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoOffer(tries) => write!(f, "no OFFER after {tries} DISCOVERs"),
            Self::NoAck => f.write_str("an OFFER, but no ACK"),
            Self::Refused => f.write_str("every REQUEST was refused (NAK)"),
            Self::NoAnswer => f.write_str("no answer to DHCPINFORM"),
        }
    }
}
