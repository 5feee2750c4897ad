//! Whose questions are answered.

use std::net::IpAddr;

use ipnetwork::Ipv4Network;
use offhook_model::Site;

/// Who may ask for what.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// Whose questions are answered, besides our own and those of `transfer`.
    networks: Vec<Ipv4Network>,
    /// Ourselves.
    own: Vec<IpAddr>,
    /// Who may have whole zones.
    transfer: Vec<Ipv4Network>,
    /// Whether `networks` follows from other facts, rather than being stated.
    is_derived: bool,
    /// Answers of one kind for one client a second, and refusals for one network; 0 is no limit.
    limits: (u32, u32),
}

impl Access {
    pub(crate) fn of(site: &Site) -> Self {
        let access = &site.dns.access;
        let subnets = site.scopes.iter().map(|scope| scope.subnet);
        let hosts = site.hosts.iter().map(|host| Ipv4Network::from(host.address));
        Self {
            networks: match &access.allow {
                Some(stated) => stated.clone(),
                None => subnets.chain(hosts).collect(),
            },
            own: site.dns.listen.iter().map(|listener| listener.ip().to_canonical()).collect(),
            transfer: access.transfer.clone(),
            is_derived: access.allow.is_none(),
            limits: (access.rate_limit, access.refusal_limit),
        }
    }

    /// Answers questions from these networks as well, unless the configuration states whose are answered.
    pub(crate) fn allow(&mut self, networks: impl IntoIterator<Item = Ipv4Network>) {
        if self.is_derived {
            self.networks.extend(networks);
        }
    }

    /// Whether a question of `client` is answered.
    pub(crate) fn answers(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        is_in(&self.networks, client)
            || client.is_loopback()
            || self.own.contains(&client)
            || is_in(&self.transfer, client)
    }

    /// How many answers and refusals are sent over UDP.
    pub(crate) fn limits(&self) -> (u32, u32) {
        self.limits
    }

    /// Who may have whole zones.
    pub(crate) fn transfer(&self) -> &[Ipv4Network] {
        &self.transfer
    }

    /// Whether `client` may have whole zones.
    pub(crate) fn transfers(&self, client: IpAddr) -> bool {
        is_in(&self.transfer, client.to_canonical())
    }
}

fn is_in(networks: &[Ipv4Network], client: IpAddr) -> bool {
    matches!(client, IpAddr::V4(v4) if networks.iter().any(|network| network.contains(v4)))
}
