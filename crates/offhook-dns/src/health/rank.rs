//! What the states of servers change in the answers.
//!
//! Every record set with a record of a ranked server is ordered as a whole, so that a live pair of another site goes
//! before a dead one of this site. Records that belong to no watched server count as those of a live one. With
//! nothing live in a set, it is as if everything were.

use std::sync::Arc;

use hickory_proto::rr::rdata::SRV;
use hickory_proto::rr::{Name, RData, RecordType};
use offhook_model::{Group, Order, Site};

use crate::build::SERVICES;
use crate::name::{NameKey, below, wire_name};
use crate::nodes::RrSet;
use crate::zones::Zones;

/// The records of a site that the state of servers has a say in.
#[derive(Clone, Debug)]
pub struct Ranking {
    sets: Vec<Set>,
}

/// A record set, as it is with every server alive.
#[derive(Clone, Debug)]
struct Set {
    owner: Name,
    rtype: RecordType,
    ttl: u32,
    records: Vec<Ranked>,
}

#[derive(Clone, Debug)]
struct Ranked {
    data: RData,
    /// Whose it is: group and host, by their places in the site.
    server: Option<(usize, usize)>,
    order: Order,
}

impl Ranking {
    /// The records of every group of `site` that is answered in an order that depends on the states.
    pub fn new(site: &Site) -> Self {
        let zones = Zones::from_site(site, 0);
        let mut owners: Vec<(Name, RecordType)> = Vec::new();
        for group in site.groups().filter(|group| group.order != Order::Random) {
            let services = services(&group).map(|(owner, _)| (owner, RecordType::SRV));
            let addresses = wire_name(group.name).map(|owner| (owner, RecordType::A));
            for owned in addresses.into_iter().chain(services) {
                if !owners.contains(&owned) {
                    owners.push(owned);
                }
            }
        }
        let sets = owners.into_iter().filter_map(|(owner, rtype)| {
            let set = zones.nodes.node(NameKey::of(&owner).as_wire())?.rrset(rtype)?;
            let records = set.data.iter().map(|data| Ranked::new(site, &owner, data)).collect();
            Some(Set { owner, rtype, ttl: set.ttl, records })
        });
        Self { sets: sets.collect() }
    }

    /// Puts what follows from the states into `zones`; whether that is anything new. `is_alive` is asked by the places
    /// of a group (switchovers before proxy pools) and of a host in it.
    pub fn apply(&self, zones: &mut Zones, is_alive: impl Fn(usize, usize) -> bool) -> bool {
        let mut is_new = false;
        for set in &self.sets {
            let (data, ahead) = set.ranked(&is_alive);
            let now = zones.nodes.node(NameKey::of(&set.owner).as_wire());
            let now = now.and_then(|node| node.rrset(set.rtype));
            if now.is_some_and(|now| now.data == data && now.ahead == ahead) {
                continue;
            }
            let set_now = RrSet { rtype: set.rtype, ttl: set.ttl, data, ahead };
            is_new |= Arc::make_mut(&mut zones.nodes).set(&set.owner, set_now).is_some();
        }
        is_new
    }
}

impl Ranked {
    fn new(site: &Site, owner: &Name, data: &RData) -> Self {
        let found = site.groups().enumerate().find_map(|(place, group)| {
            let host = match data {
                RData::A(address) => {
                    let is_named = wire_name(group.name).is_some_and(|name| name == *owner);
                    let mut hosts = group.hosts.iter().filter(|_| is_named);
                    hosts.position(|(_, other)| *other == address.0)
                }
                RData::SRV(srv) => {
                    let mut ports = services(&group).filter(|(name, _)| name == owner);
                    let is_served = ports.any(|(_, port)| port == srv.port);
                    let mut hosts = group.hosts.iter().filter(|_| is_served);
                    hosts.position(|(host, _)| wire_name(host).is_some_and(|it| it == srv.target))
                }
                _ => None,
            };
            Some(((place, host?), group.order))
        });
        let order = found.map_or(Order::Random, |(_, order)| order);
        Self { data: data.clone(), server: found.map(|(server, _)| server), order }
    }
}

impl Set {
    /// The records as they are to be answered, and how many of them go before the others.
    fn ranked(&self, is_alive: impl Fn(usize, usize) -> bool) -> (Vec<RData>, usize) {
        let is_live = |record: &&Ranked| {
            let is_alive = record.server.is_none_or(|(group, host)| is_alive(group, host));
            record.order == Order::Random || is_alive
        };
        let (live, dead): (Vec<_>, Vec<_>) = self.records.iter().partition(is_live);
        let mut data: Vec<_> = live.iter().map(|record| record.data.clone()).collect();
        let ahead = data.len();
        if ahead == 0 {
            return (dead.into_iter().map(|record| record.data.clone()).collect(), 0);
        }
        let last = dead.into_iter().filter(|record| record.order == Order::ActiveFirst);
        data.extend(last.map(|record| self.behind(&record.data)));
        let ahead = if ahead == data.len() { 0 } else { ahead };
        (data, ahead)
    }

    /// An SRV record with a priority worse than that of any in this set.
    fn behind(&self, data: &RData) -> RData {
        let RData::SRV(srv) = data else { return data.clone() };
        let priorities = self.records.iter().filter_map(|record| match &record.data {
            RData::SRV(srv) => Some(srv.priority),
            _ => None,
        });
        let worst = priorities.max().unwrap_or_default();
        let priority = srv.priority.saturating_add(worst).saturating_add(1);
        RData::SRV(SRV::new(priority, srv.weight, srv.port, srv.target.clone()))
    }
}

/// Owners and ports of a group's SRV records.
fn services<'g>(group: &'g Group<'_>) -> impl Iterator<Item = (Name, u16)> + 'g {
    SERVICES.into_iter().filter_map(|(transport, labels, _)| {
        Some((below(&labels, group.domain)?, transport(group.sip)?))
    })
}
