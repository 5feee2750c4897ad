//! Which scope a message is served from.

use std::net::Ipv4Addr;

use offhook_model::{ScopeId, Site};

use crate::wire::{Request, code};
use crate::{Arrival, Link, NoReply};

/// The subnets of a site, in order of address.
#[derive(Debug, Default)]
pub(crate) struct Subnets(Vec<(Ipv4Addr, Ipv4Addr, ScopeId)>);

impl Subnets {
    /// Indexes a site.
    pub(crate) fn new(site: &Site) -> Self {
        let mut subnets: Vec<_> = site
            .scope_ids()
            .map(|(id, scope)| (scope.subnet.network(), scope.subnet.broadcast(), id))
            .collect();
        subnets.sort_unstable();
        Self(subnets)
    }

    /// The scope whose subnet holds the address.
    pub(crate) fn holding(&self, address: Ipv4Addr) -> Option<ScopeId> {
        let after = self.0.partition_point(|(first, ..)| *first <= address);
        let (_, last, id) = self.0.get(after.checked_sub(1)?)?;
        (address <= *last).then_some(*id)
    }
}

/// The scope of a message: the relay's (RFC 3527: the one it selects), else that of a client that writes to us alone and so has a route, else the
/// interface's.
///
/// # Errors
/// [`NoReply::UnknownRelay`], [`NoReply::NoScope`].
pub(crate) fn select(
    subnets: &Subnets,
    links: &[Link],
    link: &Link,
    arrival: &Arrival,
    request: &Request<'_>,
) -> Result<ScopeId, NoReply> {
    let header = &request.header;
    if header.is_relayed() {
        let subnet = request.relay_address(code::LINK_SELECTION).unwrap_or(header.giaddr);
        return subnets.holding(subnet).ok_or(NoReply::UnknownRelay);
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
