//! Who a client is: a phone of the inventory, a class, or nobody in particular.

use std::collections::HashMap;

use dhcproto::v4::MessageType;
use offhook_model::{ClassId, Evidence, EvidenceKind, Mac, PhoneKey, Site};

use crate::Recognition;
use crate::wire::{Request, code};

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

/// The evidence of a site, indexed: recognising a client costs the same however many classes and phones there are,
/// but for vendor-class prefixes.
///
/// Where several classes match by the same kind of evidence, the first in `Site::classes` wins.
#[derive(Debug, Default)]
pub struct Classifier {
    vendor: HashMap<Box<[u8]>, ClassId>,
    vendor_prefixes: Vec<(Box<[u8]>, ClassId)>,
    vendor_enterprises: Vec<(u32, ClassId)>,
    user: HashMap<Box<[u8]>, ClassId>,
    oui: HashMap<[u8; 3], ClassId>,
    inform: Vec<(u8, ClassId)>,
    phones_by_mac: HashMap<Mac, usize>,
    phones_by_name: HashMap<Box<[u8]>, usize>,
}

impl Classifier {
    /// Indexes a site.
    pub fn new(site: &Site) -> Self {
        let mut index = Self::default();
        for (id, class) in site.class_ids() {
            for evidence in &class.evidence {
                index.add(id, evidence);
            }
        }
        for (at, phone) in site.phones.iter().enumerate() {
            match &phone.key {
                PhoneKey::Mac(mac) => {
                    index.phones_by_mac.entry(*mac).or_insert(at);
                }
                PhoneKey::HostName(name) => {
                    index.phones_by_name.entry(comparable(name.as_bytes())).or_insert(at);
                }
                // No configuration makes one yet.
                PhoneKey::ClientId(_) | PhoneKey::CircuitId(_) => {}
            }
        }
        index
    }

    fn add(&mut self, id: ClassId, evidence: &Evidence) {
        match evidence {
            Evidence::VendorClass(text) => {
                self.vendor.entry(comparable(text)).or_insert(id);
            }
            Evidence::VendorClassPrefix(text) => {
                self.vendor_prefixes.push((text.to_ascii_lowercase().into(), id));
            }
            Evidence::VendorClassBinary { enterprise } => {
                self.vendor_enterprises.push((*enterprise, id));
            }
            Evidence::UserClass(text) => {
                self.user.entry(comparable(text)).or_insert(id);
            }
            Evidence::Oui(oui) => {
                self.oui.entry(*oui).or_insert(id);
            }
            Evidence::InformRequests(code) => self.inform.push((*code, id)),
        }
    }

    /// Recognises the sender of a message: inventory, then [`EvidenceKind::ORDER`].
    pub fn recognise(&self, site: &Site, request: &Request<'_>) -> Recognised {
        let phone = self.phone(request);
        if let Some(class) = phone.and_then(|at| site.phones.get(at)).and_then(|phone| phone.class)
        {
            return Recognised { phone, class: Some(class), by: Some(Recognition::Inventory) };
        }
        let found = EvidenceKind::ORDER
            .into_iter()
            .find_map(|kind| self.by_kind(kind, request).map(|class| (class, kind)));
        Recognised {
            phone,
            class: found.map(|(class, _)| class),
            by: found.map(|(_, kind)| Recognition::Evidence(kind)),
        }
    }

    fn phone(&self, request: &Request<'_>) -> Option<usize> {
        let by_mac = request.header.hardware.mac().and_then(|mac| self.phones_by_mac.get(&mac));
        if by_mac.is_some() || self.phones_by_name.is_empty() {
            return by_mac.copied();
        }
        let by_name = |name: &[u8]| self.phones_by_name.get(&comparable(name)).copied();
        request.host_name().and_then(by_name).or_else(|| request.fqdn_label().and_then(by_name))
    }

    fn by_kind(&self, kind: EvidenceKind, request: &Request<'_>) -> Option<ClassId> {
        match kind {
            EvidenceKind::VendorClass => self.by_vendor_class(request.option(code::VENDOR_CLASS)?),
            EvidenceKind::UserClass => self.by_user_class(request.option(code::USER_CLASS)?),
            EvidenceKind::Oui => self.oui.get(&request.header.hardware.mac()?.oui()).copied(),
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
                self.inform.iter().find(|(code, _)| asked.contains(code)).map(|(_, id)| *id)
            }
        }
    }

    fn by_vendor_class(&self, bytes: &[u8]) -> Option<ClassId> {
        let text = comparable(bytes);
        let exact = self.vendor.get(&text).copied();
        let prefix = self
            .vendor_prefixes
            .iter()
            .filter(|(prefix, _)| text.starts_with(prefix))
            .map(|(_, id)| *id)
            .min();
        let sender = enterprise(bytes);
        let binary = self
            .vendor_enterprises
            .iter()
            .filter(|(number, _)| Some(*number) == sender)
            .map(|(_, id)| *id)
            .min();
        [exact, prefix, binary].into_iter().flatten().min()
    }

    fn by_user_class(&self, bytes: &[u8]) -> Option<ClassId> {
        user_classes(bytes).find_map(|text| self.user.get(&comparable(text)).copied())
    }
}

/// Letter case and trailing NULs do not count.
fn comparable(bytes: &[u8]) -> Box<[u8]> {
    crate::wire::trim_nuls(bytes).to_ascii_lowercase().into()
}

/// The enterprise number that Polycom's binary option 60 begins with. What follows (a length byte, TLVs) is not looked
/// at: a phone whose TLVs were cut or damaged on the way is still that phone.
fn enterprise(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk::<4>().map(|number| u32::from_be_bytes(*number))
}

/// What option 77 may mean, likeliest first: all of it as raw text, all but a wrong length byte, then the instances of
/// RFC 3004.
fn user_classes(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    // Some count the NUL at the end of an instance and do not send it, or the other way round.
    let miscounted = bytes.split_first().filter(|(len, _)| **len < b' ').map(|(_, text)| text);
    let trimmed = crate::wire::trim_nuls(bytes);
    let again = (trimmed.len() != bytes.len()).then(|| instances(trimmed));
    [Some(bytes), miscounted]
        .into_iter()
        .flatten()
        .chain(instances(bytes))
        .chain(again.into_iter().flatten())
}

/// The instances of RFC 3004, up to the first whose length is wrong; one that lacks only its last byte is still told.
fn instances(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = bytes.split_first()?;
        let len = usize::from(*len);
        if len == rest.len() + 1 && len > 1 {
            bytes = &[];
            return Some(rest);
        }
        let (instance, rest) = rest.split_at_checked(len)?;
        bytes = rest;
        Some(instance)
    })
}
