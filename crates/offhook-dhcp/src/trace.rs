//! What a log line needs to know about a message.

use std::net::Ipv4Addr;

use dhcproto::v4::MessageType;
use offhook_model::{ClassId, ClientId, EvidenceKind, HardwareAddress, ScopeId};

/// How a client's class became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Recognition {
    /// The inventory says so.
    Inventory,
    /// The class's own condition holds.
    Match,
    /// From the packet.
    Evidence(EvidenceKind),
}

impl Recognition {
    /// The name, lower case with hyphens; stable.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inventory => "inventory",
            Self::Match => "match",
            Self::Evidence(EvidenceKind::VendorClass) => "vendor-class",
            Self::Evidence(EvidenceKind::UserClass) => "user-class",
            Self::Evidence(EvidenceKind::Oui) => "oui",
            Self::Evidence(EvidenceKind::InformRequests) => "inform-requests",
        }
    }
}

/// What became known of a message on its way; filled as far as it came. Nothing is formatted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The message type that came in.
    pub message: Option<MessageType>,
    /// The state of the client that it tells of (RFC 2131, figure 5): `discover`, `selecting`, `init-reboot`,
    /// `renewing`, `rebinding`, or `inform`. There for every reply.
    pub reason: Option<&'static str>,
    /// Transaction id.
    pub xid: Option<u32>,
    /// `htype` and `chaddr`.
    pub hardware: Option<HardwareAddress>,
    /// Who a lease belongs to.
    pub client: Option<ClientId>,
    /// Whether it has waited for the answer to a probe.
    pub waited: bool,
    /// The relay it came through.
    pub relay: Option<Ipv4Addr>,
    /// The scope it is served from.
    pub scope: Option<ScopeId>,
    /// What the client was recognised as.
    pub class: Option<ClassId>,
    /// How.
    pub recognition: Option<Recognition>,
    /// Index in `Site::phones` when the client is in the inventory.
    pub phone: Option<usize>,
    /// The address the message is about: offered, leased, refused or given back.
    pub address: Option<Ipv4Addr>,
    /// Why a REQUEST was refused, when it was.
    pub refusal: Option<&'static str>,
    /// The first label of option 81, else option 12 without trailing NULs.
    pub host_name: Option<Box<[u8]>>,
    /// Codes of options left off because the client does not take a message that long.
    pub dropped: Vec<u8>,
}
