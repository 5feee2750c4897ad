//! Another configuration in the place of the one that is served.
//!
//! Whatever may take its time or fail is done before ([`Reload::prepare`]). Then all of it goes over at once, between
//! one query and the next ([`Reload::commit`]): the watch over the servers says what is known of those that stay, the
//! thread that keeps the names gives leases those that the configuration leaves to them and publishes both, and the
//! forwarder drops what was said by those who are not asked any more. What is asked meanwhile is answered from what was
//! before.

use std::sync::Arc;

use offhook_dns::Zones;
use offhook_model::Site;
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

    /// Gets everything ready, and changes nothing. None when that is not possible.
    pub(crate) async fn prepare(&self, site: &Arc<Site>) -> Option<Prepared> {
        let site = Arc::clone(site);
        let build = move || Prepared { zones: zones_of(&site), site };
        tokio::task::spawn_blocking(build).await.ok()
    }

    /// Serves what was prepared.
    pub(crate) async fn commit(&self, prepared: Prepared) {
        let Prepared { site, mut zones } = prepared;
        let health = self.health.take_over(&site).await;
        health.apply(&mut zones);
        let replaced = match &self.names {
            Some(names) => names.replace(&site, zones).await,
            None => Err(zones),
        };
        let replaced = replaced.unwrap_or_else(|zones| {
            error!("names of leases are not kept any more: restart offhook");
            self.zones.replace(zones, None)
        });
        // From here on, what is found out about the servers is published again.
        drop(health);
        self.service.forwarder().follow(&replaced.before, &replaced.now, &site.dns.cache);
    }
}
