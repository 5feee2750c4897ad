//! The addresses of the provisioning server.
//!
//! Its name is in our own zone, as a rule, which the resolver of this machine need not know: the zone is asked first,
//! as it is served, so that of a switchover pair whose servers are watched a dead one comes last.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use offhook_dns::{Client, Outcome, Transport, answer};

use crate::dns::Publisher;

/// More addresses than these are not tried.
const MOST: usize = 8;

/// Finds addresses.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    zones: Option<Arc<Publisher>>,
}

impl Resolver {
    pub(super) fn new(zones: Option<Arc<Publisher>>) -> Self {
        Self { zones }
    }

    /// The addresses of a host, best first.
    ///
    /// # Errors
    /// Why there are none.
    pub(super) async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
        if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        // Short names are completed with our zone, whichever that is by now.
        let zones = self.zones.as_ref().filter(|_| !host.contains('.'));
        let zone = zones.and_then(|zones| zones.current().apexes().next());
        let full = zone.map(|zone| format!("{host}.{zone}"));
        for name in full.iter().map(String::as_str).chain([host]) {
            match self.in_our_zone(name) {
                Some(addresses) if addresses.is_empty() => {
                    return Err(format!("{name} has no address in our own zone"));
                }
                Some(addresses) => {
                    return Ok(addresses.into_iter().map(|it| SocketAddr::new(it, port)).collect());
                }
                None => {}
            }
        }
        let found = tokio::net::lookup_host((host, port)).await;
        let found: Vec<_> = found
            .map_err(|error| format!("{host} cannot be resolved: {error}"))?
            .take(MOST)
            .collect();
        match found.is_empty() {
            true => Err(format!("{host} has no address")),
            false => Ok(found),
        }
    }

    /// None: the name is in no zone of ours.
    fn in_our_zone(&self, host: &str) -> Option<Vec<IpAddr>> {
        let zones = self.zones.as_ref()?.current();
        let mut name = Name::from_ascii(host).ok()?;
        name.set_fqdn(true);
        let ask = |rtype| {
            let mut message = Message::query();
            message.add_query(Query::query(name.clone(), rtype));
            let packet = message.to_vec().ok()?;
            let client = Client { address: Ipv4Addr::LOCALHOST.into(), transport: Transport::Tcp };
            let Outcome::Reply(reply) = answer(&zones, &packet, client, &mut rand::rng()) else {
                return None;
            };
            let reply = Message::from_vec(&reply.encode().ok()?).ok()?;
            if !reply.metadata.authoritative {
                return None;
            }
            let addresses = reply.answers.iter().filter_map(|record| match &record.data {
                RData::A(address) => Some(IpAddr::V4(address.0)),
                RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                _ => None,
            });
            Some(addresses.take(MOST).collect::<Vec<_>>())
        };
        let mut all = ask(RecordType::A)?;
        all.extend(ask(RecordType::AAAA).unwrap_or_default());
        all.truncate(MOST);
        Some(all)
    }
}
