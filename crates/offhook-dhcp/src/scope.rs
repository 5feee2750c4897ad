//! Which scope a message is served from.

use std::net::Ipv4Addr;

use offhook_model::{Scope, ScopeId, Site};

use crate::wire::{Request, code};
use crate::{Arrival, Link, NoReply};

/// The subnets of a site, in order of address, and which of them share a link.
#[derive(Debug, Default)]
pub(crate) struct Subnets {
    subnets: Vec<(Ipv4Addr, Ipv4Addr, ScopeId)>,
    /// By scope: itself, then the others of its link in the order of the file.
    networks: Vec<Vec<ScopeId>>,
}

impl Subnets {
    /// Indexes a site.
    pub(crate) fn new(site: &Site) -> Self {
        let mut subnets: Vec<_> = site
            .scope_ids()
            .map(|(id, scope)| (scope.subnet.network(), scope.subnet.broadcast(), id))
            .collect();
        subnets.sort_unstable();
        let networks = site.scope_ids().map(|(id, scope)| {
            let others = site.scope_ids().filter(|(other, _)| *other != id);
            let on_link = others.filter(|(_, other)| share_link(scope, other));
            std::iter::once(id).chain(on_link.map(|(other, _)| other)).collect()
        });
        Self { networks: networks.collect(), subnets }
    }

    /// The scopes of a link: this one first.
    pub(crate) fn network(&self, scope: ScopeId) -> &[ScopeId] {
        self.networks.get(usize::from(scope.0)).map(AsRef::as_ref).unwrap_or_default()
    }

    /// The scope whose subnet holds the address.
    pub(crate) fn holding(&self, address: Ipv4Addr) -> Option<ScopeId> {
        let after = self.subnets.partition_point(|(first, ..)| *first <= address);
        let (_, last, id) = self.subnets.get(after.checked_sub(1)?)?;
        (address <= *last).then_some(*id)
    }
}

/// Whether two scopes are on one link: by name, or by having one interface.
fn share_link(one: &Scope, other: &Scope) -> bool {
    let same = |one: &Option<String>, other: &Option<String>| one.is_some() && one == other;
    same(&one.shared_network, &other.shared_network) || same(&one.interface, &other.interface)
}

/// The scope of a message: the relay's (RFC 3527: the one it selects), else that of a client that writes to us alone
/// and so has a route, else the interface's. It may be one of several on its link.
///
/// # Errors
/// [`NoReply::UnknownRelay`], [`NoReply::UnknownSubnet`], [`NoReply::NoScope`].
pub(crate) fn select(
    subnets: &Subnets,
    links: &[Link],
    link: &Link,
    arrival: &Arrival,
    request: &Request<'_>,
    may_choose: bool,
) -> Result<ScopeId, NoReply> {
    let header = &request.header;
    let wish = request.address(code::SUBNET_SELECTION).filter(|_| may_choose);
    if header.is_relayed() {
        let linked = request.relay_address(code::LINK_SELECTION);
        if let Some(subnet) = linked.or_else(|| wish.is_none().then_some(header.giaddr)) {
            return subnets.holding(subnet).ok_or(NoReply::UnknownRelay);
        }
    }
    if let Some(subnet) = wish {
        return subnets.holding(subnet).ok_or(NoReply::UnknownSubnet);
    }
    let to_us_alone = links.iter().any(|link| link.address == arrival.destination);
    if to_us_alone
        && !header.ciaddr.is_unspecified()
        && let Some(scope) = subnets.holding(header.ciaddr)
    {
        return Ok(scope);
    }
    link.scope.ok_or(NoReply::NoScope)
}
