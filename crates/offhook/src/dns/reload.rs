//! Another configuration in the place of the one that is served.
//!
//! Whatever may fail is done before ([`Reload::prepare`]). Then all of it goes over at once, between one query and the
//! next ([`Reload::commit`]): the thread that keeps the names works out which of them the configuration leaves to leases,
//! the watch over the servers says what is known of those that stay, and waits until both are published; and the
//! forwarder drops what was said by those who are not asked any more. What is asked meanwhile is answered from what was
//! before.

use std::sync::Arc;

use offhook_dns::Zones;
use offhook_model::Site;
use tokio::runtime::Handle as Runtime;
use tracing::error;

use super::names::{Keeping, Names};
use super::publish::Publisher;
use super::service::Service;
use super::{Handle, zones_of};
use crate::health;

/// Has another configuration served.
#[derive(Debug)]
pub(crate) struct Reload {
    service: Arc<Service>,
    zones: Arc<Publisher>,
    names: Option<Keeping>,
    health: health::Reloads,
}

/// The servers of a configuration, about to be watched instead of those before.
#[derive(Clone, Debug)]
pub(super) struct Servers {
    pub(super) site: Arc<Site>,
    health: health::Reloads,
    runtime: Runtime,
}

impl Servers {
    /// Puts what is known of them into the zones of that configuration. As long as there is the value that is returned,
    /// nothing else becomes known: until the zones are published. Waits; not to be called inside the runtime.
    pub(super) fn settle(&self, zones: &mut Zones) -> health::Standing {
        self.runtime.block_on(self.settled(zones))
    }

    async fn settled(&self, zones: &mut Zones) -> health::Standing {
        let standing = self.health.take_over(&self.site).await;
        standing.apply(zones);
        standing
    }
}

/// A configuration that can be served.
#[derive(Debug)]
pub(crate) struct Prepared {
    site: Arc<Site>,
    zones: Zones,
}

impl Reload {
    pub(crate) fn new(
        server: &Handle,
        zones: Arc<Publisher>,
        names: &Names,
        health: health::Reloads,
    ) -> Self {
        Self { service: Arc::clone(&server.service), zones, names: names.keeping(), health }
    }

    /// What it takes a restart for, if there is anything.
    pub(crate) fn takes_a_restart(&self, site: &Site) -> Option<&'static str> {
        let begins = site.dns.names.leases && self.names.is_none();
        begins.then_some("lease_names, which was off at the start")
    }

    /// Gets everything ready, and changes nothing. None when that is not possible.
    pub(crate) async fn prepare(&self, site: &Arc<Site>) -> Option<Prepared> {
        let site = Arc::clone(site);
        let build = move || Prepared { zones: zones_of(&site), site };
        tokio::task::spawn_blocking(build).await.ok()
    }

    /// Serves what was prepared.
    pub(crate) async fn commit(&self, prepared: Prepared) {
        let Prepared { site, zones } = prepared;
        let cache = site.dns.cache;
        let servers = Servers { site, health: self.health.clone(), runtime: Runtime::current() };
        let replaced = match &self.names {
            None => Err(Box::new((servers, zones))),
            Some(names) => names.replace(servers, zones).await.inspect_err(|_| {
                error!("names of leases are not kept any more: restart offhook");
            }),
        };
        let replaced = match replaced {
            Ok(replaced) => replaced,
            Err(left) => {
                let (servers, mut zones) = *left;
                let _standing = servers.settled(&mut zones).await;
                self.zones.replace(zones, None)
            }
        };
        self.service.forwarder().follow(&replaced.before, &replaced.now, &cache);
    }
}
