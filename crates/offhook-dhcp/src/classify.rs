//! Who a client is: a phone of the inventory, a class, or nobody in particular.

use std::collections::HashMap;

use dhcproto::v4::MessageType;
use offhook_model::{Class, ClassId, Evidence, EvidenceKind, Mac, Phone, PhoneKey, ScopeId, Site};

use crate::wire::vendor::{enterprise, user_classes};
use crate::wire::{Request, code, trim_nuls};
use crate::{Recognition, condition};

/// What a client was recognised as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recognised {
    /// Index in `Site::phones`.
    pub phone: Option<usize>,
    /// The class.
    pub class: Option<ClassId>,
    /// How the class became known.
    pub by: Option<Recognition>,
}

/// The classes that claim one piece of evidence, in site order: which of them exist depends on the scope.
type Claims = Vec<ClassId>;

/// Phones by something they send, or their relay does: places in `Site::phones`.
type PhonesBy = HashMap<Box<[u8]>, usize>;

/// The evidence of a site, indexed: recognising a client costs the same however many classes and phones there are,
/// but for conditions and vendor-class prefixes.
///
/// Where several classes match by the same kind of evidence, the first in `Site::classes` wins.
#[derive(Debug, Default)]
pub struct Classifier {
    conditional: Claims,
    vendor: HashMap<Box<[u8]>, Claims>,
    vendor_prefixes: Vec<(Box<[u8]>, ClassId)>,
    vendor_enterprises: Vec<(u32, ClassId)>,
    user: HashMap<Box<[u8]>, Claims>,
    oui: HashMap<[u8; 3], Claims>,
    inform: Vec<(u8, ClassId)>,
    phones_by_mac: HashMap<Mac, usize>,
    phones_by_client_id: PhonesBy,
    phones_by_circuit: PhonesBy,
    phones_by_remote: PhonesBy,
    /// By remote end, then by circuit.
    phones_by_port: HashMap<Box<[u8]>, PhonesBy>,
    phones_by_name: PhonesBy,
    /// Classes that clients are of because of what their relay says.
    of_relay: Claims,
}

/// A message, and the scope it is to be served from.
#[derive(Clone, Copy)]
struct Sighting<'a> {
    site: &'a Site,
    request: &'a Request<'a>,
    scope: Option<ScopeId>,
}

impl Sighting<'_> {
    /// Whether the class exists where the client is.
    fn has(&self, id: ClassId) -> bool {
        self.site.class(id).is_some_and(|class| class.is_in(self.scope))
    }

    /// The first class that exists there.
    fn first(&self, claims: Option<&Claims>) -> Option<ClassId> {
        claims?.iter().copied().find(|id| self.has(*id))
    }
}

impl Classifier {
    /// Indexes a site.
    pub fn new(site: &Site) -> Self {
        let mut index = Self::default();
        for (id, class) in site.class_ids() {
            if class.condition.is_some() {
                index.conditional.push(id);
            }
            for evidence in &class.evidence {
                index.add(id, evidence);
            }
            if class.condition.as_ref().is_some_and(condition::asks_relay) {
                index.of_relay.push(id);
            }
        }
        let on_ports = site.phones.iter().filter(|phone| phone.key.is_of_relay());
        index.of_relay.extend(on_ports.filter_map(|phone| phone.class));
        index.of_relay.sort_unstable();
        index.of_relay.dedup();
        for (at, phone) in site.phones.iter().enumerate() {
            match &phone.key {
                PhoneKey::Mac(mac) => index.phones_by_mac.entry(*mac).or_insert(at),
                PhoneKey::ClientId(id) => index.phones_by_client_id.entry(id.clone()).or_insert(at),
                PhoneKey::CircuitId(id) => index.phones_by_circuit.entry(id.clone()).or_insert(at),
                PhoneKey::RemoteId(id) => index.phones_by_remote.entry(id.clone()).or_insert(at),
                PhoneKey::Port { remote, circuit } => {
                    let circuits = index.phones_by_port.entry(remote.clone()).or_default();
                    circuits.entry(circuit.clone()).or_insert(at)
                }
                PhoneKey::HostName(name) => {
                    index.phones_by_name.entry(comparable(name.as_bytes())).or_insert(at)
                }
            };
        }
        index
    }

    fn add(&mut self, id: ClassId, evidence: &Evidence) {
        match evidence {
            Evidence::VendorClass(text) => {
                self.vendor.entry(comparable(text)).or_default().push(id);
            }
            Evidence::VendorClassPrefix(text) => {
                self.vendor_prefixes.push((text.to_ascii_lowercase().into(), id));
            }
            Evidence::VendorClassBinary { enterprise } => {
                self.vendor_enterprises.push((*enterprise, id));
            }
            Evidence::UserClass(text) => self.user.entry(comparable(text)).or_default().push(id),
            Evidence::Oui(oui) => self.oui.entry(*oui).or_default().push(id),
            Evidence::InformRequests(code) => self.inform.push((*code, id)),
        }
    }

    /// Recognises the sender of a message to be served from `scope`: inventory, then the conditions of classes, then
    /// [`EvidenceKind::ORDER`].
    pub fn recognise(
        &self,
        site: &Site,
        request: &Request<'_>,
        scope: Option<ScopeId>,
    ) -> Recognised {
        let sighting = Sighting { site, request, scope };
        let (phone, listed) = self.phone(site, request);
        if let Some(class) = listed.filter(|id| sighting.has(*id)) {
            return Recognised { phone, class: Some(class), by: Some(Recognition::Inventory) };
        }
        let by_condition = || {
            let meets = |id: &ClassId| {
                let condition = site.class(*id).and_then(|class| class.condition.as_ref());
                condition.is_some_and(|condition| condition::holds(condition, request, scope))
            };
            let found = self.conditional.iter().copied();
            found
                .filter(|id| sighting.has(*id))
                .find(meets)
                .map(|class| (class, Recognition::Match))
        };
        let by_evidence = || {
            EvidenceKind::ORDER.into_iter().find_map(|kind| {
                let class = self.by_kind(kind, &sighting)?;
                Some((class, Recognition::Evidence(kind)))
            })
        };
        let found = by_condition().or_else(by_evidence);
        Recognised { phone, class: found.map(|(class, _)| class), by: found.map(|(_, by)| by) }
    }

    /// The class that has the name `held`, if it is one of the scope that clients are of because of what their relay
    /// says.
    pub fn told_by_relay<'a>(
        &self,
        site: &Site,
        scope: ScopeId,
        held: impl FnOnce() -> Option<&'a str>,
    ) -> Option<ClassId> {
        if self.of_relay.is_empty() {
            return None;
        }
        let name = held()?;
        let is_it = |class: &Class| class.name == name && class.is_in(Some(scope));
        self.of_relay.iter().copied().find(|id| site.class(*id).is_some_and(is_it))
    }

    /// The phone of the inventory, and its class: by what is hardest to change first. Who is only listed, in a phone
    /// list as a rule, is the phone of its port or name as well, if something is kept for that.
    fn phone(&self, site: &Site, request: &Request<'_>) -> (Option<usize>, Option<ClassId>) {
        let by_mac = || self.phones_by_mac.get(&request.header.hardware.mac()?).copied();
        let by_client_id = || self.phones_by_client_id.get(request.client_id()?).copied();
        let circuit = || request.agent_option(code::CIRCUIT_ID);
        let remote = || request.agent_option(code::REMOTE_ID);
        let by_port = || self.phones_by_port.get(remote()?)?.get(circuit()?).copied();
        let by_circuit = || self.phones_by_circuit.get(circuit()?).copied();
        let by_remote = || self.phones_by_remote.get(remote()?).copied();
        let by_name = || {
            if self.phones_by_name.is_empty() {
                return None;
            }
            // The inventory has first labels only, and a computer may send its full name (RFC 2132, 3.14).
            let first = |name| <[u8]>::split(name, |byte| *byte == b'.').next();
            let names = [request.host_name().and_then(first), request.fqdn_label()];
            names
                .into_iter()
                .flatten()
                .find_map(|name| self.phones_by_name.get(&comparable(name)).copied())
        };
        let ways: [&dyn Fn() -> Option<usize>; 6] =
            [&by_mac, &by_client_id, &by_port, &by_circuit, &by_remote, &by_name];
        let mut known = ways.iter().filter_map(|way| way());
        let Some(first) = known.next() else { return (None, None) };
        let phone = |at: usize| site.phones.get(at);
        let at = match phone(first).is_some_and(Phone::is_only_listed) {
            true => known.find(|at| !phone(*at).is_some_and(Phone::is_only_listed)),
            false => None,
        };
        let at = at.unwrap_or(first);
        let class = |at: usize| phone(at).and_then(|phone| phone.class);
        (Some(at), class(at).or_else(|| class(first)))
    }

    fn by_kind(&self, kind: EvidenceKind, sighting: &Sighting<'_>) -> Option<ClassId> {
        let request = sighting.request;
        match kind {
            EvidenceKind::VendorClass => {
                self.by_vendor_class(request.option(code::VENDOR_CLASS)?, sighting)
            }
            EvidenceKind::UserClass => user_classes(request.option(code::USER_CLASS)?)
                .find_map(|text| sighting.first(self.user.get(&comparable(text)))),
            EvidenceKind::Oui => {
                sighting.first(self.oui.get(&request.header.hardware.mac()?.oui()))
            }
            EvidenceKind::InformRequests => {
                // Phones of other makers ask so too, and say who they are.
                let vendor = request.option(code::VENDOR_CLASS).filter(|text| !text.is_empty());
                let is_windows = vendor.is_none_or(|text| {
                    text.get(..4).is_some_and(|text| text.eq_ignore_ascii_case(b"MSFT"))
                });
                if request.message != MessageType::Inform || !is_windows {
                    return None;
                }
                let asked = request.requested()?;
                self.inform
                    .iter()
                    .filter(|(code, _)| asked.contains(code))
                    .map(|(_, id)| *id)
                    .find(|id| sighting.has(*id))
            }
        }
    }

    fn by_vendor_class(&self, bytes: &[u8], sighting: &Sighting<'_>) -> Option<ClassId> {
        let text = comparable(bytes);
        let sender = enterprise(bytes);
        let exact = sighting.first(self.vendor.get(&text));
        let prefix = self.vendor_prefixes.iter();
        let prefix = prefix.filter(|(prefix, _)| text.starts_with(prefix)).map(|(_, id)| *id);
        let binary = self.vendor_enterprises.iter();
        let binary = binary.filter(|(number, _)| Some(*number) == sender).map(|(_, id)| *id);
        prefix.chain(binary).filter(|id| sighting.has(*id)).chain(exact).min()
    }
}

/// Letter case and trailing NULs do not count.
fn comparable(bytes: &[u8]) -> Box<[u8]> {
    trim_nuls(bytes).to_ascii_lowercase().into()
}
