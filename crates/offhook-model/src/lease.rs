//! Leases.

use std::net::Ipv4Addr;

use crate::{ClientId, HardwareAddress, Time};

/// What an address is to its last holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeaseState {
    /// Acknowledged; live until `expires`, remembered for its holder afterwards.
    Bound,
    /// Given back. Anybody may have it, its last holder first.
    Released,
    /// Declined: somebody else uses it. Withheld from everyone until `expires`.
    Declined,
}

/// An address and who has it, or had it last. What the lease store keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address: the key.
    pub address: Ipv4Addr,
    /// Who it belongs to.
    pub client: ClientId,
    /// The link-layer address it was acknowledged to.
    pub hardware: HardwareAddress,
    /// What it is to its holder.
    pub state: LeaseState,
    /// When it was last acknowledged (or declined, or released).
    pub since: Time,
    /// When it ends.
    pub expires: Time,
    /// The name of the scope. Names outlive the order of scopes in a file.
    pub scope: Box<str>,
    /// The name of the class it was served as.
    pub class: Option<Box<str>>,
    /// What the client called itself: the first label of option 81, else option 12; bytes, not text.
    pub host_name: Option<Box<[u8]>>,
}

impl Lease {
    /// Whether the address is its holder's at `now`.
    pub fn is_live(&self, now: Time) -> bool {
        self.state == LeaseState::Bound && now < self.expires
    }
}

/// One change to the lease store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseWrite {
    /// Insert or replace the lease of its address.
    Put(Lease),
    /// Forget the address.
    Remove(Ipv4Addr),
}

impl LeaseWrite {
    /// Whose lease it is about.
    pub fn address(&self) -> Ipv4Addr {
        match self {
            Self::Put(lease) => lease.address,
            Self::Remove(address) => *address,
        }
    }
}
