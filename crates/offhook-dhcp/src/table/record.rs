//! Who a lease is of, in as few bytes as can be.

use offhook_model::{ClientId, HardwareAddress};

use super::directory::Key;

/// Longer host names are cut: a name has at most 255 bytes anywhere else.
const MAX_HOST_NAME: usize = 255;
/// What has room beside the lease itself: whoever finds a lease has its client at hand. A MAC address and the name of
/// nearly any phone.
const SHORT: usize = 30;

/// Hardware address, client identifier and host name: `hlen` and what is known of the identifier in the first byte,
/// `htype` and the address; the identifier's length in two bytes and the identifier, where it is another one than
/// those; then the name.
#[derive(Clone, Debug)]
pub(crate) struct Record(Bytes);

#[derive(Clone, Debug)]
enum Bytes {
    Short(u8, [u8; SHORT]),
    /// Boxed twice: one pointer here.
    Long(Box<Box<[u8]>>),
}

/// Above the five bits of `hlen`: there is no identifier, ...
const NO_ID: u8 = 0;
/// ... it is `htype` and the hardware address, as most are, ...
const SAME_ID: u8 = 1;
/// ... or it is another one.
const OWN_ID: u8 = 2;

/// A record in its parts.
#[derive(Default)]
struct Parts<'a> {
    id_kind: u8,
    /// `htype`, then the address.
    hardware: &'a [u8],
    id: &'a [u8],
    host_name: &'a [u8],
}

impl Record {
    pub(crate) fn new(
        client: &ClientId,
        hardware: HardwareAddress,
        host_name: Option<&[u8]>,
    ) -> Self {
        let id: Option<&[u8]> = match client {
            ClientId::Option61(id) => Some(id),
            ClientId::Hardware(_) => None,
        };
        // Without option 61 the hardware address *is* the identity, whatever a lease says beside it.
        let hardware = match client {
            ClientId::Option61(_) => hardware,
            ClientId::Hardware(identity) => *identity,
        };
        let is_same = |id: &[u8]| id.split_first() == Some((&hardware.htype(), hardware.bytes()));
        let (id_kind, id) = match id {
            None => (NO_ID, None),
            Some(id) if is_same(id) => (SAME_ID, None),
            Some(id) => (OWN_ID, Some(id)),
        };
        let id_len = u16::try_from(id.unwrap_or_default().len()).unwrap_or(u16::MAX);
        let id = id.map(|id| (id_len.to_be_bytes(), id.get(..usize::from(id_len)).unwrap_or(id)));
        let (id_len, id) = match &id {
            Some((len, id)) => (&len[..], *id),
            None => (&[][..], &[][..]),
        };
        let host_name = host_name.unwrap_or_default();
        let host_name = host_name.get(..MAX_HOST_NAME).unwrap_or(host_name);
        let fixed = [hardware.bytes().len() as u8 | id_kind << 5, hardware.htype()];
        let parts = [&fixed[..], hardware.bytes(), id_len, id, host_name];
        let len = parts.iter().map(|part| part.len()).sum();
        let mut short = [0; SHORT];
        let Some(room) = short.get_mut(..len) else {
            return Self(Bytes::Long(Box::new(parts.concat().into())));
        };
        room.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, from)| *to = *from);
        Self(Bytes::Short(len as u8, short))
    }

    fn bytes(&self) -> &[u8] {
        match &self.0 {
            Bytes::Short(len, bytes) => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Bytes::Long(bytes) => bytes,
        }
    }

    fn parts(&self) -> Parts<'_> {
        let Some((first, rest)) = self.bytes().split_first() else { return Parts::default() };
        let (id_kind, hlen) = (first >> 5, usize::from(first & 0x1f));
        let (hardware, rest) = rest.split_at_checked(1 + hlen).unwrap_or_default();
        let (id, host_name) = match rest.split_first_chunk() {
            Some((len, rest)) if id_kind == OWN_ID => {
                rest.split_at_checked(u16::from_be_bytes(*len).into()).unwrap_or_default()
            }
            _ if id_kind == SAME_ID => (hardware, rest),
            _ => (&[][..], rest),
        };
        Parts { id_kind, hardware, id, host_name }
    }

    pub(crate) fn key(&self, scope: u16) -> Key<'_> {
        let Parts { id_kind, hardware, id, .. } = self.parts();
        match hardware.split_first() {
            Some((htype, bytes)) if id_kind == NO_ID => Key { scope, htype: Some(*htype), bytes },
            _ => Key { scope, htype: None, bytes: id },
        }
    }

    pub(crate) fn client(&self) -> ClientId {
        match self.parts() {
            Parts { id_kind: NO_ID, .. } => ClientId::Hardware(self.hardware()),
            Parts { id, .. } => ClientId::Option61(id.into()),
        }
    }

    pub(crate) fn hardware(&self) -> HardwareAddress {
        let (htype, bytes) = self.parts().hardware.split_first().unwrap_or((&0, &[]));
        HardwareAddress::new(*htype, bytes)
    }

    pub(crate) fn host_name(&self) -> Option<&[u8]> {
        Some(self.parts().host_name).filter(|name| !name.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::table::entry::Entry;

    #[test]
    fn a_lease_has_one_line_of_the_cache() {
        assert!(size_of::<Option<Entry>>() <= 64, "{}", size_of::<Option<Entry>>());
    }

    #[test]
    fn a_phone_with_its_name_needs_no_memory_of_its_own() {
        let mac = HardwareAddress::new(1, &[0, 4, 0xf2, 1, 2, 3]);
        for client in [ClientId::Hardware(mac), ClientId::Option61([1, 0, 4, 0xf2, 1, 2, 3].into())]
        {
            let record = Record::new(&client, mac, Some(b"Polycom_0004f2010203"));
            assert!(matches!(record.0, Bytes::Short(..)));
        }
    }

    proptest! {
        #[test]
        fn a_record_says_what_it_was_made_of(
            htype in any::<u8>(),
            hardware in prop::collection::vec(any::<u8>(), 0..=16),
            id in prop::option::of(prop_oneof![
                prop::collection::vec(any::<u8>(), 1..40),
                prop::collection::vec(any::<u8>(), 500..600),
                Just(Vec::new()),
            ]),
            name in prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
        ) {
            let hardware = HardwareAddress::new(htype, &hardware);
            let client = match id {
                // As most clients make it.
                Some(id) if id.is_empty() => {
                    ClientId::Option61([&[htype][..], hardware.bytes()].concat().into())
                }
                Some(id) => ClientId::Option61(id.into()),
                None => ClientId::Hardware(hardware),
            };
            let record = Record::new(&client, hardware, name.as_deref());
            prop_assert_eq!(record.client(), client.clone());
            prop_assert_eq!(record.hardware(), hardware);
            let name = name.map(|name| name[..name.len().min(MAX_HOST_NAME)].to_vec());
            prop_assert_eq!(record.host_name(), name.as_deref().filter(|name| !name.is_empty()));
            prop_assert_eq!(record.key(7), Key::new(7, &client));
        }
    }
}
