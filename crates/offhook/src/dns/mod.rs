//! The DNS server's shell: sockets, time-outs, upstream queries and logs around `offhook-dns`.
//!
//! Every address has a UDP and a TCP socket of its own, so that an answer leaves from the address that was
//! asked. UDP (`udp.rs`) and TCP (`tcp.rs`) hand the bytes of a request to the same [`Service`], and so give the same
//! answers.

mod bind;
mod connections;
mod counters;
mod first;
mod forward;
mod names;
mod notify;
mod pace;
mod publish;
mod reload;
mod service;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;
#[cfg(test)]
mod zone_file_tests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnetwork::Ipv4Network;
use offhook_dns::Zones;
use offhook_dns::forward::Upstream;
use offhook_model::{Dns, Site};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tracing::{error, info, warn};

pub(crate) use bind::{Bound, bind};
pub(crate) use counters::{Count, Counters};
pub(crate) use names::{Feed, Names};
pub(crate) use publish::Publisher;
pub(crate) use reload::Reload;

use service::Service;

/// How long to wait before a listener that ended unasked is started again.
const RESTART_PAUSE: Duration = Duration::from_millis(200);

/// A DNS server that runs.
#[derive(Debug)]
pub(crate) struct Server {
    /// Ends once every socket is closed.
    pub(crate) task: JoinHandle<()>,
    pub(crate) handle: Handle,
}

/// What the rest of the program may ask of the DNS server.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    service: Arc<Service>,
}

impl Handle {
    /// How often what happened.
    pub(crate) fn counters(&self) -> &Counters {
        self.service.counters()
    }

    /// The serial of every zone.
    pub(crate) fn serial(&self) -> u32 {
        self.service.zones().serial()
    }

    /// How many names leases have.
    pub(crate) fn lease_names(&self) -> usize {
        self.service.zones().lease_names().len()
    }

    /// What an address is called because of its lease, without a dot at the end.
    pub(crate) fn lease_name(&self, address: Ipv4Addr) -> Option<String> {
        let zones = self.service.zones();
        let label = zones.lease_names().label_of(address)?;
        let zone = zones.apexes().next()?;
        Some(format!("{}.{}", &*label, zone.trim_end_matches('.')))
    }

    /// Every upstream server, for which part of the name space, and what is known of it.
    pub(crate) fn upstreams(&self) -> Vec<(String, SocketAddr, Upstream)> {
        self.service.forwarder().upstreams()
    }

    /// How many answers of theirs are kept.
    pub(crate) fn cached(&self) -> usize {
        self.service.forwarder().cached()
    }
}

/// The zones of `site`, to be served and to be changed.
pub(crate) fn publish(site: &Site) -> Arc<Publisher> {
    Arc::new(Publisher::new(zones_of(site)))
}

/// The zones of `site`, and who is answered.
fn zones_of(site: &Site) -> Zones {
    let mut zones = Zones::from_site(site, 0);
    zones.allow(local_networks(&site.dns.listen));
    zones
}

/// The networks that our listeners are in.
fn local_networks(listen: &[SocketAddr]) -> Vec<Ipv4Network> {
    let interfaces = offhook_net::interfaces().unwrap_or_else(|error| {
        warn!(%error, "cannot list the interfaces: clients beside the scopes are refused");
        Vec::new()
    });
    let addresses = interfaces.iter().flat_map(|interface| &interface.addresses);
    let ours = |own: Ipv4Addr| listen.iter().any(|listener| listener.ip() == own);
    addresses
        .filter(|(own, _)| ours(*own))
        .filter_map(|(own, prefix)| Ipv4Network::new(*own, *prefix).ok())
        .collect()
}

/// Serves what `zones` publishes until `shutdown` says `true` or its sender is gone. Must be called inside the
/// runtime.
pub(crate) fn spawn(
    bound: Bound,
    zones: Arc<Publisher>,
    dns: &Dns,
    shutdown: watch::Receiver<bool>,
) -> Server {
    for address in bound.addresses() {
        info!(%address, "listening for DNS");
    }
    let service = Arc::new(Service::new(Arc::clone(&zones), dns));
    let handle = Handle { service: Arc::clone(&service) };
    let from = bound.addresses().find_map(|address| match address.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    let task = tokio::spawn(async move {
        let mut listeners = JoinSet::new();
        if let Some(from) = from {
            listeners.spawn(keep_running("NOTIFY", shutdown.clone(), {
                let shutdown = shutdown.clone();
                move || notify::serve(Arc::clone(&zones), from, shutdown.clone())
            }));
        }
        for listener in bound.listeners {
            let udp = Arc::new(listener.udp);
            listeners.spawn(keep_running("UDP", shutdown.clone(), {
                let (service, shutdown) = (Arc::clone(&service), shutdown.clone());
                move || udp::serve(Arc::clone(&service), Arc::clone(&udp), shutdown.clone())
            }));
            let tcp = Arc::new(listener.tcp);
            listeners.spawn(keep_running("TCP", shutdown.clone(), {
                let (service, shutdown) = (Arc::clone(&service), shutdown.clone());
                move || tcp::serve(Arc::clone(&service), Arc::clone(&tcp), shutdown.clone())
            }));
        }
        listeners.join_all().await;
    });
    Server { task, handle }
}

/// Runs a listener, and starts it again when it ends before it was told to: a phone has no other resolver.
async fn keep_running<F>(
    protocol: &'static str,
    mut shutdown: watch::Receiver<bool>,
    mut listener: impl FnMut() -> F,
) where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    loop {
        // A task of its own, so that a panic ends the listener, not the server.
        let mut task = JoinSet::new();
        task.spawn(listener());
        let reason = match task.join_next().await {
            Some(Ok(Ok(()))) | None => return,
            Some(Ok(Err(error))) => error.to_string(),
            Some(Err(error)) => error.to_string(),
        };
        error!(protocol, reason, "a DNS listener ended, starting it again");
        tokio::select! {
            () = tokio::time::sleep(RESTART_PAUSE) => {}
            () = told_to_stop(&mut shutdown) => return,
        }
    }
}

/// Waits until the program stops.
async fn told_to_stop(shutdown: &mut watch::Receiver<bool>) {
    // An error means that whoever could tell us is gone: that is the end as well.
    let _ = shutdown.wait_for(|stop| *stop).await;
}
