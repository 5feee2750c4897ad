//! Phone families and other classes of clients, and single phones.

use std::net::Ipv4Addr;
use std::time::Duration;

use ipnetwork::Ipv4Network;

use crate::{BootFields, LeaseTimes, Mac, OptionRule, Origin, ScopeId};

/// Index of a class in [`crate::Site::classes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(pub u16);

/// A class of clients: a phone family of the built-in catalogue, or one the administrator added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// The unique name, as `[[class]]`, logs and `explain` use it: `440HD`.
    pub name: String,
    /// The phones it stands for, for people: `AudioCodes 440HD, Genesys 440HD`.
    pub label: String,
    /// How a client of this class is recognised; any one suffices.
    pub evidence: Vec<Evidence>,
    /// An expression that recognises a client of this class as well, before any evidence is looked at: what the
    /// administrator wrote as `match`.
    pub condition: Option<Condition>,
    /// The scopes the class exists in; all when empty.
    pub scopes: Vec<ScopeId>,
    /// How long a lease lasts for this class, in place of its scope's.
    pub lease: Option<Duration>,
    /// Bounds and timers of its leases, each in place of its scope's.
    pub times: LeaseTimes,
    /// Whether text options get a trailing NUL, for phones that want one.
    pub trailing_nul: bool,
    /// Options for this class in every scope.
    pub options: Vec<OptionRule>,
    /// Options for this class in some scopes only: 132 in a native one. More specific than `options`.
    pub scope_options: Vec<(ScopeId, Vec<OptionRule>)>,
    /// Whether the header fields `siaddr` and `file` repeat options 66 and 67, for boot loaders that read
    /// nothing else.
    pub boot_header: bool,
    /// Header fields that are stated, in place of those repeated and of the scope's.
    pub boot: BootFields,
    /// The firmware file of option 67, relative to the TFTP root.
    pub firmware: Option<String>,
    /// The line that defines the class.
    pub origin: Origin,
}

/// The order in which the kinds of evidence are tried, after the inventory: a name the phone says of itself
/// beats a guess from its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EvidenceKind {
    /// Option 60.
    VendorClass,
    /// Option 77, raw or as RFC 3004 length-prefixed instances.
    UserClass,
    /// The first three bytes of the hardware address.
    Oui,
    /// A DHCPINFORM that asks for an option only this class uses.
    InformRequests,
}

impl EvidenceKind {
    /// All kinds, strongest first.
    pub const ORDER: [Self; 4] =
        [Self::VendorClass, Self::UserClass, Self::Oui, Self::InformRequests];
}

/// One way to recognise a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Option 60 is exactly this, but for letter case and trailing NULs.
    VendorClass(Box<[u8]>),
    /// Option 60 starts with these bytes, letter case ignored.
    VendorClassPrefix(Box<[u8]>),
    /// Option 60 in Polycom's binary form: an enterprise number, a length byte, TLVs.
    VendorClassBinary {
        /// The enterprise number; 13885 is Polycom.
        enterprise: u32,
    },
    /// Option 77 is exactly this, raw or as one of its length-prefixed instances, but for letter case and
    /// trailing NULs.
    UserClass(Box<[u8]>),
    /// The hardware address starts with these bytes.
    Oui([u8; 3]),
    /// A DHCPINFORM whose option 55 lists this code. A Windows soft phone sends one; a PC that is no phone
    /// does not ask for 160.
    InformRequests(u8),
}

impl Evidence {
    /// Which step of the recognition order this belongs to.
    pub fn kind(&self) -> EvidenceKind {
        match self {
            Self::VendorClass(_) | Self::VendorClassPrefix(_) | Self::VendorClassBinary { .. } => {
                EvidenceKind::VendorClass
            }
            Self::UserClass(_) => EvidenceKind::UserClass,
            Self::Oui(_) => EvidenceKind::Oui,
            Self::InformRequests(_) => EvidenceKind::InformRequests,
        }
    }
}

/// An expression over what a client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Every one holds; true when empty.
    All(Vec<Condition>),
    /// One of them holds; false when empty.
    Any(Vec<Condition>),
    /// It does not hold.
    Not(Box<Condition>),
    /// An option passes a test.
    Option(u8, BytesTest),
    /// Option 77, raw or one of its RFC 3004 instances, passes a test.
    UserClass(BytesTest),
    /// A sub-field of Polycom's binary option 60 passes a test: 1 company, 2 part, 3 part number and revision,
    /// 4 application version, 5 updater version.
    PolycomField(u8, BytesTest),
    /// The vendor class data of this enterprise in option 124 passes a test.
    VendorClassOf(u32, BytesTest),
    /// The vendor options of this enterprise in option 125 pass a test.
    VendorOptionsOf(u32, BytesTest),
    /// The hardware address starts with these bytes.
    Hardware(Box<[u8]>),
    /// The host name (option 12, or the first label of option 81) passes a test.
    HostName(BytesTest),
    /// Sub-option 1 of option 82 passes a test.
    CircuitId(BytesTest),
    /// Sub-option 2 of option 82 passes a test.
    RemoteId(BytesTest),
    /// It came through a relay whose `giaddr` is in this network.
    Relay(Ipv4Network),
    /// It is served from this scope.
    Scope(ScopeId),
}

/// What is asked of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BytesTest {
    /// They are there at all.
    Present,
    /// They are this text, letter case and trailing NULs ignored.
    Is(Box<[u8]>),
    /// They start with this text, letter case ignored.
    Prefix(Box<[u8]>),
    /// They are just these bytes: what is no text has no letters, so that VLAN 65 is not VLAN 97.
    Exact(Box<[u8]>),
    /// They start with just these bytes.
    ExactPrefix(Box<[u8]>),
    /// They match a pattern in which `*` stands for any bytes and `?` for any one byte, letter case ignored.
    Pattern(Box<[u8]>),
}

/// What a phone of the inventory is known by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PhoneKey {
    /// Its hardware address.
    Mac(Mac),
    /// Its host name (option 12, or the first label of option 81), lower case: soft phones.
    HostName(String),
    /// Its client identifier (option 61).
    ClientId(Box<[u8]>),
    /// The circuit its relay names (option 82, sub-option 1): a switch port.
    CircuitId(Box<[u8]>),
    /// The remote end its relay names (option 82, sub-option 2): a switch, or a subscriber's line.
    RemoteId(Box<[u8]>),
    /// Both: circuits of several switches may have the same name.
    Port {
        /// Sub-option 2.
        remote: Box<[u8]>,
        /// Sub-option 1.
        circuit: Box<[u8]>,
    },
}

impl PhoneKey {
    /// Whether only its relay tells what the phone is known by.
    pub fn is_of_relay(&self) -> bool {
        matches!(self, Self::CircuitId(_) | Self::RemoteId(_) | Self::Port { .. })
    }
}

/// One phone of the inventory: `[[phone]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phone {
    /// What it is called in logs.
    pub name: Option<String>,
    /// What it is known by.
    pub key: PhoneKey,
    /// Its class, where the administrator says so; recognised from its packets otherwise.
    pub class: Option<ClassId>,
    /// The address kept for it, and for nobody else, in or outside of the pools.
    pub address: Option<Ipv4Addr>,
    /// Options for this phone alone: the most specific level.
    pub options: Vec<OptionRule>,
    /// The line that defines it.
    pub origin: Origin,
}

impl Class {
    /// Whether the class exists for the clients of a scope; without one, whether it exists for all.
    pub fn is_in(&self, scope: Option<ScopeId>) -> bool {
        self.scopes.is_empty() || scope.is_some_and(|scope| self.scopes.contains(&scope))
    }
}

impl Phone {
    /// Whether nothing is kept for it: no address, and no options.
    pub fn is_only_listed(&self) -> bool {
        self.address.is_none() && self.options.is_empty()
    }
}
