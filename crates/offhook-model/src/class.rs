//! Phone families and other classes of clients, and single phones.

use std::net::Ipv4Addr;

use crate::{Mac, OptionRule, Origin, ScopeId};

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
    /// Options for this class in every scope.
    pub options: Vec<OptionRule>,
    /// Options for this class in some scopes only: 132 in a native one. More specific than `options`.
    pub scope_options: Vec<(ScopeId, Vec<OptionRule>)>,
    /// Whether the header fields `siaddr` and `file` repeat options 66 and 67, for boot loaders that read
    /// nothing else.
    pub boot_header: bool,
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

/// What a phone of the inventory is known by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PhoneKey {
    /// Its hardware address.
    Mac(Mac),
    /// Its host name (option 12, or the first label of option 81), lower case: soft phones.
    HostName(String),
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
