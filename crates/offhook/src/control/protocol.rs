//! What is said on the control socket.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use offhook_model::{ClientId, Lease, LeaseState, Mac, Time};
use serde::{Deserialize, Serialize};

use super::Failure;
use crate::health::ServerStatus;

/// The version of the protocol. Another one is refused: both ends come from one package, and differ only while it
/// is being replaced.
pub(super) const VERSION: u32 = 1;

/// The longest request, bytes.
pub(super) const LONGEST_REQUEST: usize = 4096;

/// One line from a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) version: u32,
    pub(crate) ask: Ask,
}

/// The part of a request or response that every version has.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Versioned {
    pub(super) version: u32,
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Ask {
    /// Which leases there are: [`Reply::Leases`] any number of times, then [`Reply::End`].
    Leases(Filter),
    /// To give an address back: [`Reply::Released`].
    Release {
        address: Ipv4Addr,
        /// Only if this phone has it.
        #[serde(default, with = "optional_mac")]
        mac: Option<Mac>,
    },
    /// How the server is: [`Reply::Status`].
    Status,
}

/// Which leases; all that are live by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Filter {
    /// Those of one scope, by name.
    pub(crate) scope: Option<String>,
    /// Those of one phone family or other class, letter case ignored.
    pub(crate) family: Option<String>,
    /// Those of one hardware address.
    #[serde(with = "optional_mac")]
    pub(crate) mac: Option<Mac>,
    /// The one of this address.
    pub(crate) address: Option<Ipv4Addr>,
    /// Expired, released and declined ones as well.
    pub(crate) all: bool,
}

impl Filter {
    /// Whether a lease is wanted.
    pub(crate) fn matches(&self, lease: &Lease, now: Time) -> bool {
        let scope = self.scope.as_deref();
        (self.all || lease.is_live(now))
            && self.address.is_none_or(|address| lease.address == address)
            && self.mac.is_none_or(|mac| lease.hardware.mac() == Some(mac))
            && scope.is_none_or(|scope| *lease.scope == *scope)
            && self.family.as_deref().is_none_or(|family| {
                lease.class.as_deref().is_some_and(|class| class.eq_ignore_ascii_case(family))
            })
    }
}

/// One line from the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Response {
    pub(crate) version: u32,
    pub(crate) reply: Reply,
}

/// What the server answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reply {
    /// Some leases, and the server's time when it looked, in milliseconds since the Unix epoch.
    Leases { now: u64, leases: Vec<LeaseRecord> },
    /// There are no more.
    End {
        /// When there were none: what may be wrong with the filter.
        #[serde(default)]
        note: Option<String>,
    },
    /// The lease as it was before it was given back.
    Released(LeaseRecord),
    /// How the server is.
    Status(Box<Status>),
    /// It cannot be had.
    Failed(Failure),
}

/// A lease as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct LeaseRecord {
    pub(crate) address: Ipv4Addr,
    /// `00:90:8f:12:34:56`; of other hardware its type, a slash and hex digits.
    pub(crate) mac: String,
    /// Option 61 in hex, of clients that send it.
    pub(crate) client_id: Option<String>,
    pub(crate) scope: String,
    pub(crate) family: Option<String>,
    /// Option 12 as text; bytes that are none are escaped (`\xe9`), and nothing else: whoever prints it takes care of
    /// the rest, for clients write what they like.
    pub(crate) host_name: Option<String>,
    /// What its address is called in DNS now.
    #[serde(default)]
    pub(crate) dns_name: Option<String>,
    pub(crate) state: State,
    /// When it was last acknowledged (or declined, or released); milliseconds since the Unix epoch.
    pub(crate) acknowledged: u64,
    /// When it ends, likewise.
    pub(crate) expires: u64,
}

/// What an address is to its last holder, now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    Bound,
    Expired,
    Released,
    Declined,
}

impl State {
    /// The name, lower case.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Bound => "bound",
            Self::Expired => "expired",
            Self::Released => "released",
            Self::Declined => "declined",
        }
    }
}

impl LeaseRecord {
    /// A lease as it is at `now`.
    pub(crate) fn new(lease: &Lease, now: Time) -> Self {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            address: lease.address,
            mac: lease.hardware.to_string(),
            client_id: match &lease.client {
                ClientId::Option61(id) if !id.is_empty() => Some(hex(id)),
                // Nobody's, or somebody's without.
                ClientId::Option61(_) | ClientId::Hardware(_) => None,
            },
            scope: lease.scope.to_string(),
            family: lease.class.as_deref().map(str::to_owned),
            host_name: lease.host_name.as_deref().map(text),
            dns_name: None,
            state: match lease.state {
                LeaseState::Bound if now < lease.expires => State::Bound,
                LeaseState::Bound => State::Expired,
                LeaseState::Released => State::Released,
                LeaseState::Declined => State::Declined,
            },
            acknowledged: lease.since.as_millis(),
            expires: lease.expires.as_millis(),
        }
    }
}

/// Bytes as text, as far as they are UTF-8.
fn text(bytes: &[u8]) -> String {
    let chunks = bytes.utf8_chunks();
    chunks.fold(String::new(), |text, chunk| {
        let invalid: String = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")).collect();
        text + chunk.valid() + &invalid
    })
}

/// How the server is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Of the program.
    pub(crate) version: String,
    pub(crate) site: String,
    pub(crate) zone: String,
    pub(crate) pid: u32,
    /// The server's time; ISO 8601, UTC.
    pub(crate) now: String,
    pub(crate) uptime_seconds: u64,
    /// Whether leases cannot be written now: then DHCP acknowledges none.
    pub(crate) storage_failing: bool,
    /// When leases last could not be written, and why.
    pub(crate) last_storage_error: Option<StorageError>,
    /// Addresses in the lease store, live or not.
    pub(crate) leases: u64,
    /// Changes on their way to the disk.
    pub(crate) unsettled: u64,
    pub(crate) scopes: Vec<ScopeStatus>,
    /// How often what was answered or went wrong since the start.
    pub(crate) counts: BTreeMap<String, u64>,
    /// How often there was no reply since the start, by reason; reasons that never occurred are left out.
    pub(crate) silent: BTreeMap<String, u64>,
    #[serde(default)]
    pub(crate) dns: DnsStatus,
    /// The servers that are watched; none when nobody is.
    #[serde(default)]
    pub(crate) servers: Vec<ServerStatus>,
    /// The TFTP server, if there is one.
    #[serde(default)]
    pub(crate) tftp: Option<TftpStatus>,
}

/// The TFTP server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TftpStatus {
    /// How often what happened since the start.
    pub(crate) counts: BTreeMap<String, u64>,
    /// Transfers under way.
    pub(crate) active: u64,
}

/// The DNS server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct DnsStatus {
    /// How often what happened since the start.
    pub(crate) counts: BTreeMap<String, u64>,
    /// Of every zone now.
    pub(crate) serial: u32,
    /// Names that leases have now.
    pub(crate) lease_names: u64,
    /// Answers of upstream servers in the cache.
    pub(crate) cached: u64,
    pub(crate) upstreams: Vec<UpstreamStatus>,
}

/// An upstream server, for one part of the name space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UpstreamStatus {
    /// What it is asked about; `.` is everything else.
    pub(crate) zone: String,
    pub(crate) server: SocketAddr,
    /// How long it has not answered; none while it does, as far as is known.
    pub(crate) silent_seconds: Option<u64>,
    /// Mean time to an answer; none before the first one.
    pub(crate) round_trip_ms: Option<u64>,
    /// Questions that it answered in any way.
    pub(crate) answered: u64,
    /// Questions that it did not answer in time.
    pub(crate) missed: u64,
}

/// When leases could not be written, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StorageError {
    /// ISO 8601, UTC.
    pub(crate) at: String,
    pub(crate) message: String,
}

/// The addresses of a scope.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ScopeStatus {
    pub(crate) name: String,
    pub(crate) subnet: String,
    pub(crate) interface: Option<String>,
    /// Addresses of the pools, those left out that are excluded or kept for a phone.
    pub(crate) pool: u64,
    /// Addresses that are leased, in the pools or not.
    pub(crate) leased: u64,
    /// Addresses held for a client that was offered them and has not asked for them yet.
    pub(crate) offered: u64,
    /// Addresses withheld because a client found them in use.
    pub(crate) declined: u64,
    /// Addresses kept for phones of the inventory, leased or not.
    pub(crate) reserved: u64,
    /// Addresses of the pools that nobody has.
    pub(crate) free: u64,
}

/// Serde for a MAC address as text.
mod optional_mac {
    use offhook_model::Mac;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    #[expect(clippy::ref_option, reason = "the signature is serde's")]
    pub(super) fn serialize<S: Serializer>(mac: &Option<Mac>, to: S) -> Result<S::Ok, S::Error> {
        mac.map(|mac| mac.to_string()).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Mac>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse()).transpose().map_err(D::Error::custom)
    }
}
