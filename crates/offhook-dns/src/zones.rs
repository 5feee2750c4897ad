//! The snapshot that answers come from.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{Name, RData, Record};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use ipnetwork::Ipv4Network;
use offhook_model::HardwareAddress;

use crate::access::Access;
use crate::leases::LeaseNames;
use crate::name::{NameKey, suffixes};
use crate::named::hash;
use crate::nodes::{Found, Nodes};

/// Everything this server answers: its own zones, and whom it asks for the others. Immutable; a change makes a
/// new one, which shares with the old what did not change: a clone costs a few reference counts.
#[derive(Clone, Debug)]
pub struct Zones {
    /// Of every SOA record sent; what the records themselves say does not count.
    pub(crate) serial: u32,
    pub(crate) zones: Arc<Vec<Zone>>,
    pub(crate) nodes: Arc<Nodes>,
    pub(crate) upstreams: Arc<Upstreams>,
    /// What leases add to the zones; where both have a name, the zones do.
    pub(crate) leases: LeaseNames,
    pub(crate) access: Arc<Access>,
}

/// A zone we are authoritative for.
#[derive(Clone, Debug)]
pub(crate) struct Zone {
    pub(crate) apex: Name,
    /// The apex, as names are keyed by.
    pub(crate) key: NameKey,
    /// How long resolvers may keep the SOA itself; seconds.
    pub(crate) soa_ttl: u32,
    /// The SOA as it goes with "there is none": its TTL is how long that holds (RFC 2308 section 5).
    pub(crate) negative: Record,
    /// Whether the zone has delegations or DNAMEs: names below them are answered otherwise.
    pub(crate) has_cuts: bool,
    /// Of a reverse zone that is ours in part: the last octets of the addresses that are. What is not there and
    /// not among them is somebody else's.
    pub(crate) part: Option<Vec<RangeInclusive<u8>>>,
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        // All else follows from its records.
        self.key == other.key && self.part == other.part
    }
}

impl Zone {
    pub(crate) fn new(apex: Name, soa: SOA, soa_ttl: u32) -> Self {
        let ttl = soa_ttl.min(soa.minimum);
        let negative = Record::from_rdata(apex.clone(), ttl, RData::SOA(soa));
        Self { key: NameKey::of(&apex), apex, soa_ttl, negative, has_cuts: false, part: None }
    }

    /// Whether a name below the apex, in lower-case wire form, that does not exist is ours to say so of.
    fn has(&self, wire: &[u8]) -> bool {
        let Some(part) = &self.part else { return true };
        let apex = self.key.as_wire().len();
        let names: Vec<_> = suffixes(wire).take_while(|name| name.len() > apex).collect();
        let label = names.last().and_then(|name| name.get(1..name.len() - apex));
        let octet = label
            .and_then(|label| std::str::from_utf8(label).ok())
            .and_then(|text| text.parse::<u8>().ok().filter(|octet| octet.to_string() == text));
        octet.is_some_and(|octet| part.iter().any(|range| range.contains(&octet)))
    }
}

impl Zones {
    /// The apexes of the zones we are authoritative for, in presentation form, the forward zone first.
    pub fn apexes(&self) -> impl Iterator<Item = String> {
        self.zones.iter().map(|zone| zone.apex.to_ascii())
    }

    /// What secondaries are sent when something has changed, for every zone: NOTIFY (RFC 1996 section 3), without the
    /// two octets of the id before it.
    pub fn notifications(&self) -> Vec<Vec<u8>> {
        // Opcode 4, AA, one question: SOA, IN.
        let head = [0x24, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let message = |zone: &Zone| [&head, zone.key.as_wire(), &[0, 6, 0, 1]].concat();
        self.zones.iter().map(message).collect()
    }

    /// The serial of every zone.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// The same zones with another serial: what a change of them must have.
    pub fn set_serial(&mut self, serial: u32) {
        self.serial = serial;
    }

    /// Whether questions of `client` are answered, rather than refused.
    pub fn answers(&self, client: IpAddr) -> bool {
        self.access.answers(client)
    }

    /// How many answers of one kind one client is given a second over UDP, and how many refusals one network; 0 is no
    /// limit.
    pub fn rate_limits(&self) -> (u32, u32) {
        self.access.limits()
    }

    /// Who may have whole zones.
    pub fn transfer_networks(&self) -> &[Ipv4Network] {
        self.access.transfer()
    }

    /// Whether the zones of the configuration are the same as in `other`, record by record, the names of leases and the
    /// serial aside.
    pub fn has_records_of(&self, other: &Self) -> bool {
        self.zones == other.zones && self.nodes == other.nodes
    }

    /// Comes after `before`: what is known of servers that are asked as they were then is still right, whoever
    /// compares them by the list that they are in.
    pub fn succeed(&mut self, before: &Self) {
        for (top, servers) in &mut Arc::make_mut(&mut self.upstreams).servers {
            if let Some(same) = before.upstreams.servers.get(top).filter(|same| *same == servers) {
                *servers = Arc::clone(same);
            }
        }
    }

    /// Answers questions from these networks as well, unless the configuration states whose are answered.
    pub fn allow(&mut self, networks: impl IntoIterator<Item = Ipv4Network>) {
        Arc::make_mut(&mut self.access).allow(networks);
    }

    /// The names of leases.
    pub fn lease_names(&self) -> &LeaseNames {
        &self.leases
    }

    /// Whether the configuration or another client has the name of a label in the forward zone.
    pub fn is_label_taken(&self, label: &str, client: HardwareAddress) -> bool {
        let name = self.leases.wire(&label.to_ascii_lowercase());
        self.is_taken(&name) || self.leases.is_anothers(label, client)
    }

    /// The same zones with other names of leases.
    pub fn set_lease_names(&mut self, names: LeaseNames) {
        self.leases = names;
    }

    /// How many names exist in all zones together, empty non-terminals included and those of leases not.
    pub fn names(&self) -> usize {
        self.nodes.iter().count()
    }

    /// Which parts of the name space somebody else is asked about, in presentation form, and who is.
    pub fn forwards(&self) -> impl Iterator<Item = (String, &[SocketAddr])> {
        let name = |top: &NameKey| Name::read(&mut BinDecoder::new(top.as_wire()));
        self.upstreams
            .servers
            .iter()
            .map(move |(top, servers)| (name(top).unwrap_or_default().to_ascii(), servers.as_ref()))
    }

    /// Whether a name in lower-case wire form is in none of our zones.
    pub(crate) fn is_outside(&self, wire: &[u8]) -> bool {
        matches!(self.find(wire), (Found::Outside, _))
    }

    /// Where a name in lower-case wire form is, with the zone it is in.
    pub(crate) fn find<'n>(&self, wire: &'n [u8]) -> (Found<'_, 'n>, Option<&Zone>) {
        self.find_by(wire, hash(wire))
    }

    /// The same when the hash of the name is known.
    pub(crate) fn find_by<'n>(&self, wire: &'n [u8], hash: u64) -> (Found<'_, 'n>, Option<&Zone>) {
        let found = self.nodes.find(wire, hash);
        let zone = match &found {
            Found::Node(node) | Found::Missing { closest: node, .. } => self.zones.get(node.zone()),
            Found::Outside => None,
        };
        match (&found, zone) {
            (Found::Missing { .. }, Some(zone)) if !zone.has(wire) => (Found::Outside, None),
            _ => (found, zone),
        }
    }
}

/// Who is asked for names outside our zones, and on whose behalf.
#[derive(Clone, Debug, Default)]
pub(crate) struct Upstreams {
    /// By the top of what they serve; the root is everything.
    pub(crate) servers: HashMap<NameKey, Arc<[SocketAddr]>>,
    /// Networks we ask for.
    pub(crate) networks: Vec<Ipv4Network>,
    /// Single addresses we ask for: our own.
    pub(crate) addresses: Vec<IpAddr>,
}

impl Upstreams {
    /// The longest configured suffix of a name in lower-case wire form, and its servers.
    pub(crate) fn responsible(&self, wire: &[u8]) -> Option<(&NameKey, &Arc<[SocketAddr]>)> {
        if self.servers.is_empty() {
            return None;
        }
        suffixes(wire).find_map(|suffix| self.servers.get_key_value(suffix))
    }

    /// Whether somebody is asked on behalf of `client`: that is what "recursion available" says.
    pub(crate) fn available_to(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        !self.servers.is_empty()
            && (client.is_loopback()
                || self.addresses.contains(&client)
                || matches!(client, IpAddr::V4(v4) if self.networks.iter().any(|net| net.contains(v4))))
    }
}
