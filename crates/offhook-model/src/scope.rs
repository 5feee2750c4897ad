//! Scopes: subnets in which addresses are leased.

use std::net::Ipv4Addr;
use std::str::FromStr;
use std::time::Duration;

use ipnetwork::Ipv4Network;

use crate::{AddressRange, BootFields, ClassId, OptionRule, Origin, RangeError};

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
    pub pools: Vec<Pool>,
    /// Addresses inside the pools that are never leased: hosts, routers and listeners.
    pub excluded: Vec<Ipv4Addr>,
    /// The default gateway: option 3.
    pub router: Option<Ipv4Addr>,
    /// How long a lease lasts; whole seconds.
    pub lease: Duration,
    /// Bounds of the lease time and its T1 and T2.
    pub times: LeaseTimes,
    /// How long a lease lasts for phones in a scope that is no VLAN, which are to move on to one; `lease` without it.
    pub phone_lease: Option<Duration>,
    /// Who is answered at all.
    pub serve: Serve,
    /// Whether a REQUEST for an address that is wrong here is refused with a NAK rather than ignored
    /// (RFC 2131, 4.3.2). Off where another server may know better.
    pub authoritative: bool,
    /// Whether an address is probed (ARP on the link, ICMP through a relay) before it is offered to a client that
    /// did not have it lately.
    pub probe: bool,
    /// The share of the pools, in percent and rounded down, that only the inventory and returning clients may use up;
    /// of large pools, 128 addresses at most. What a client says it is does not count.
    pub reserved_share: u8,
    /// Scopes of one name share a link (and its relay's `giaddr`): a client gets an address of any of them.
    pub shared_network: Option<String>,
    /// The scope the phones of this native scope belong in: option 132 is its VLAN.
    pub voice: Option<ScopeId>,
    /// Header fields for every client in this scope.
    pub boot: BootFields,
    /// Options for every client in this scope, 1 and 3 included.
    pub options: Vec<OptionRule>,
    /// The line that defines it.
    pub origin: Origin,
}

/// Addresses to lease, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The addresses.
    pub range: AddressRange,
    /// Who may have them; everybody when empty.
    pub only: Vec<PoolUser>,
}

impl From<AddressRange> for Pool {
    fn from(range: AddressRange) -> Self {
        Self { range, only: Vec::new() }
    }
}

impl FromStr for Pool {
    type Err = RangeError;

    /// A range for everybody.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<AddressRange>().map(Self::from)
    }
}

/// Who a pool is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolUser {
    /// Any client that was recognised as a class, or is in the inventory.
    Phones,
    /// Phones of the inventory.
    Inventory,
    /// Clients of one class.
    Class(ClassId),
}

/// Whom a scope answers. Everybody else is met with silence, so that another server on the link can serve them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Serve {
    /// Everybody.
    #[default]
    All,
    /// Clients of a known class, and the inventory.
    Phones,
    /// The inventory.
    Inventory,
}

/// Bounds and timers of a lease, as far as they are said; a class's beat its scope's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LeaseTimes {
    /// The longest lease a client may ask for (option 51); by default as long as it would get anyway.
    pub max: Option<Duration>,
    /// The shortest; by default a minute.
    pub min: Option<Duration>,
    /// T1 (option 58); by default half of the lease.
    pub renew: Option<Duration>,
    /// T2 (option 59); by default seven eighths.
    pub rebind: Option<Duration>,
}
