//! A lease as the table keeps it: 64 bytes, and no allocation unless its client has much to say.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use offhook_model::{ClientId, Lease, LeaseState, Time};

use super::directory::{Held, Key};
use super::record::Record;
use crate::Outline;
use crate::wall::Wall;

/// The scope of an address that lies in no subnet of the site.
pub(crate) const NO_SCOPE: u16 = u16::MAX;

/// Whose an address is that somebody was found to use: no client has an identifier like that. The hardware address
/// beside it is the one that answered.
pub(crate) fn nobody() -> ClientId {
    ClientId::Option61(Box::default())
}

/// An address and who has it, or had it last.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) address: Ipv4Addr,
    /// Index of the scope whose subnet holds the address, or [`NO_SCOPE`].
    pub(crate) scope: u16,
    pub(crate) scope_name: Name,
    pub(crate) class_name: Name,
    pub(crate) state: LeaseState,
    pub(crate) since: Time,
    pub(crate) expires: Time,
    pub(crate) record: Record,
}

impl Entry {
    pub(crate) fn from_lease(lease: &Lease, scope: u16, names: &mut Names) -> Self {
        Self {
            address: lease.address,
            scope,
            scope_name: names.intern(&lease.scope),
            class_name: lease.class.as_deref().map_or(Name::NONE, |class| names.intern(class)),
            state: lease.state,
            since: lease.since,
            expires: lease.expires,
            record: Record::new(&lease.client, lease.hardware, lease.host_name.as_deref()),
        }
    }

    pub(crate) fn to_lease(&self, names: &Names, wall: Wall) -> Lease {
        Lease {
            address: self.address,
            client: self.record.client(),
            hardware: self.record.hardware(),
            state: self.state,
            since: wall.at(self.since),
            expires: wall.at(self.expires),
            scope: names.text(self.scope_name).unwrap_or_default().into(),
            class: names.text(self.class_name).map(Box::from),
            host_name: self.record.host_name().map(Box::from),
        }
    }

    pub(crate) fn outline(&self, wall: Wall) -> Outline {
        let Self { address, state, expires, .. } = *self;
        Outline { address, state, expires: wall.at(expires), mac: self.record.hardware().mac() }
    }

    pub(crate) fn is_live(&self, now: Time) -> bool {
        self.state == LeaseState::Bound && now < self.expires
    }

    pub(crate) fn is_withheld(&self, now: Time) -> bool {
        self.state == LeaseState::Declined && now < self.expires
    }

    /// Whether it is withheld because somebody was found to use it, and not because a client said so.
    pub(crate) fn is_found_in_use(&self) -> bool {
        self.state == LeaseState::Declined
            && self.record.key(self.scope) == Key::new(self.scope, &nobody())
    }

    /// Whether it belongs to this client. What was declined belongs to nobody.
    pub(crate) fn belongs_to(&self, client: &ClientId) -> bool {
        self.state != LeaseState::Declined
            && self.record.key(self.scope) == Key::new(self.scope, client)
    }
}

impl Held for Entry {
    fn address(&self) -> Ipv4Addr {
        self.address
    }

    fn key(&self) -> Option<Key<'_>> {
        (self.state != LeaseState::Declined).then(|| self.record.key(self.scope))
    }
}

/// A text kept once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name(u16);

impl Name {
    pub(crate) const NONE: Self = Self(u16::MAX);
}

/// Names of scopes and classes, those of leases included whose scope or class is gone from the configuration.
#[derive(Debug, Default)]
pub(crate) struct Names {
    texts: Vec<Box<str>>,
    index: HashMap<Box<str>, Name>,
}

impl Names {
    pub(crate) fn intern(&mut self, text: &str) -> Name {
        if let Some(name) = self.index.get(text) {
            return *name;
        }
        // Only configurations and what they once were make names; 65,535 of them are no such thing.
        let Some(next) = u16::try_from(self.texts.len()).ok().filter(|next| *next != u16::MAX)
        else {
            return Name::NONE;
        };
        self.texts.push(text.into());
        self.index.insert(text.into(), Name(next));
        Name(next)
    }

    pub(crate) fn text(&self, name: Name) -> Option<&str> {
        self.texts.get(usize::from(name.0)).map(AsRef::as_ref)
    }
}
