//! Who is being served, and who may be: one transfer per address and port, or two while it is not known which of
//! them the client is at.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::Key;
use super::session::{Session, Stage};
use super::settings::Settings;

/// How long a client that has acknowledged nothing keeps its place when others need it: until it has been answered
/// twice. Whoever forges requests never acknowledges anything.
const HEARING: Duration = Duration::from_secs(2);

/// Everybody who is being served.
#[derive(Debug, Default)]
pub(super) struct Clients {
    slots: Vec<Slot>,
    free: Vec<u32>,
    current: HashMap<SocketAddr, Key>,
    per_client: HashMap<IpAddr, usize>,
    /// Everybody who is answered and may not have acknowledged anything yet, and since when, oldest first; some are gone.
    unheard: VecDeque<(Instant, Key)>,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    client: Option<Client>,
}

/// One request, and what has come of it.
#[derive(Debug)]
pub(super) struct Client {
    /// Who asks, and from where it is answered.
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) request: Box<[u8]>,
    /// The transfer, once its file is found.
    pub(super) session: Option<Session>,
    /// It may answer, and send nothing on its own account.
    pub(super) muted: bool,
    /// When its timer is looked at next.
    pub(super) alarm: Option<Instant>,
    /// There are two transfers for this client: the first to make progress is the one that stays.
    contested: bool,
    /// The transfer this one is about to replace. The same request once more may come from a phone that has begun
    /// anew, or late, from one that is well into its transfer: whose ACK comes first says which.
    before: Option<Key>,
}

/// What is to be done with a request.
#[derive(Debug)]
pub(super) enum Admission {
    /// It is on its way to being answered already.
    Ignore,
    /// It was answered, and the answer lost: this transfer sends it again.
    Repeat(Key),
    /// There is no room for one more.
    Busy,
    /// It is a new one. The same client's others end with it, and somebody silent may have to make room for it.
    New { key: Key, ended: Vec<Client>, ousted: Option<SocketAddr> },
}

impl Clients {
    pub(super) fn client(&mut self, key: Key) -> Option<&mut Client> {
        let slot = self.slots.get_mut(key.index as usize)?;
        slot.client.as_mut().filter(|_| slot.generation == key.generation)
    }

    /// How many are being served.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Decides on a request, by the limits that are in force.
    pub(super) fn admit(
        &mut self,
        request: &[u8],
        (local, peer): (SocketAddr, SocketAddr),
        settings: &Settings,
        now: Instant,
    ) -> Admission {
        let (mut ended, mut ousted) = (Vec::new(), None);
        let mut before = None;
        if let Some(old) = self.current.get(&peer).copied() {
            let Some(client) = self.client(old) else { return Admission::Ignore };
            let same = *client.request == *request;
            // The same request once more, come before anything of the transfer was acknowledged.
            match client.session.as_ref().map(Session::stage) {
                None if same => return Admission::Ignore,
                Some(Stage::Answered) if same => return Admission::Repeat(old),
                _ => {}
            }
            let older = client.before.take();
            if same {
                // It is silenced until it is known whose this request is.
                client.muted = true;
                client.contested = true;
                before = Some(old);
            }
            ended.extend(older.and_then(|older| self.take(older)));
            if !same {
                // The client has begun anew from the same port, as U-Boot does.
                ended.extend(self.take(old));
            }
        } else if self.per_client.get(&peer.ip()) >= Some(&settings.transfers_per_client) {
            return Admission::Busy;
        } else if self.len() >= settings.transfers {
            ousted = self.oust(now);
            if ousted.is_none() {
                return Admission::Busy;
            }
        }
        let key = self.insert(Client {
            peer,
            local,
            request: request.into(),
            session: None,
            muted: false,
            alarm: None,
            contested: before.is_some(),
            before,
        });
        self.current.insert(peer, key);
        Admission::New { key, ended, ousted }
    }

    /// A transfer has made progress. If there are two for this client that ends the other one, which is returned.
    pub(super) fn progressed(&mut self, key: Key) -> Option<Client> {
        let client = self.client(key)?;
        client.muted = false;
        if !std::mem::take(&mut client.contested) {
            return None;
        }
        let (peer, before) = (client.peer, client.before.take());
        let current = self.current.get(&peer).copied()?;
        if current == key {
            return before.and_then(|before| self.take(before));
        }
        // It is the older one, and stays.
        if self.client(current)?.before.take() != Some(key) {
            return None;
        }
        self.current.insert(peer, key);
        self.take(current)
    }

    /// Takes a client out; the transfer it was to replace goes on in its place.
    pub(super) fn remove(&mut self, key: Key) -> Option<Client> {
        let mut client = self.take(key)?;
        let Some(current) = self.current.get(&client.peer).copied() else { return Some(client) };
        if current == key {
            self.current.remove(&client.peer);
            if let Some(before) = client.before.take()
                && let Some(older) = self.client(before)
            {
                older.contested = false;
                older.muted = false;
                self.current.insert(client.peer, before);
            }
        } else if let Some(newer) = self.client(current) {
            newer.before.take_if(|before| *before == key);
        }
        Some(client)
    }

    /// Takes out who has been silent for longest, if that is long enough.
    fn oust(&mut self, now: Instant) -> Option<SocketAddr> {
        while let Some(&(since, key)) = self.unheard.front() {
            let is_unheard = self.is_unheard(key);
            if is_unheard && now.saturating_duration_since(since) < HEARING {
                return None;
            }
            self.unheard.pop_front();
            if is_unheard {
                return self.remove(key).map(|client| client.peer);
            }
        }
        None
    }

    /// Notes that a client is answered from now on, and has acknowledged nothing yet. Those who have since then are
    /// forgotten when they are many.
    pub(super) fn listen_for(&mut self, key: Key, now: Instant) {
        if self.unheard.len() > 2 * self.slots.len() + 64 {
            let mut unheard = std::mem::take(&mut self.unheard);
            unheard.retain(|(_, key)| self.is_unheard(*key));
            self.unheard = unheard;
        }
        self.unheard.push_back((now, key));
    }

    /// Whether a client is there, has been answered, and has acknowledged nothing.
    fn is_unheard(&mut self, key: Key) -> bool {
        let session = self.client(key).and_then(|client| client.session.as_ref());
        session.is_some_and(|session| session.stage() == Stage::Answered)
    }

    fn insert(&mut self, client: Client) -> Key {
        *self.per_client.entry(client.peer.ip()).or_default() += 1;
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let mut key = Key { index, generation: 0 };
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.client = Some(client);
            key.generation = slot.generation;
        }
        key
    }

    fn take(&mut self, key: Key) -> Option<Client> {
        let slot = self.slots.get_mut(key.index as usize)?;
        let client = slot.client.take_if(|_| slot.generation == key.generation)?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.index);
        let ip = client.peer.ip();
        if let Some(count) = self.per_client.get_mut(&ip) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.per_client.remove(&ip);
            }
        }
        Some(client)
    }
}
