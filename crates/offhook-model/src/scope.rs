//! Scopes: subnets in which addresses are leased.

use std::net::Ipv4Addr;
use std::time::Duration;

use ipnetwork::Ipv4Network;

use crate::{AddressRange, OptionRule, Origin};

/// Index of a scope in [`crate::Site::scopes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeId(pub u16);

/// A subnet in which addresses are leased: `[[scope]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The unique name.
    pub name: String,
    /// The interface whose broadcasts are answered from this scope; none for a scope that only relays reach.
    pub interface: Option<String>,
    /// The 802.1Q VLAN the scope is, 1 to 4094; none for an untagged (native) one.
    pub vlan: Option<u16>,
    /// The subnet; its address part is the network address.
    pub subnet: Ipv4Network,
    /// Where addresses are taken from; all inside the subnet, none overlapping.
    pub pools: Vec<AddressRange>,
    /// Addresses inside the pools that are never leased: hosts, routers and listeners.
    pub excluded: Vec<Ipv4Addr>,
    /// The default gateway: option 3.
    pub router: Option<Ipv4Addr>,
    /// How long a lease lasts; whole seconds.
    pub lease: Duration,
    /// The scope the phones of this native scope belong in: option 132 is its VLAN.
    pub voice: Option<ScopeId>,
    /// Options for every client in this scope, 1 and 3 included.
    pub options: Vec<OptionRule>,
    /// The line that defines it.
    pub origin: Origin,
}
