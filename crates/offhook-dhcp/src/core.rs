//! The server itself: a message in, a decision out.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use dhcproto::v4::MessageType;
use offhook_model::{
    Event, HardwareAddress, Lease, LeaseState, LeaseWrite, Mac, PhoneKey, ScopeId, Site, Time,
    ZoneNames,
};

use crate::classify::Classifier;
use crate::limit::Limits;
use crate::plan::Plans;
use crate::probe::{Probe, Probes};
use crate::proxies::Proxies;
use crate::scope::Subnets;
use crate::table::Table;
use crate::wire::{Glance, Header, Request};
use crate::{ClockSet, NoReply, Trace, decide};

/// One interface that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The scope of clients on it; none when it is only there for relays.
    pub scope: Option<ScopeId>,
    /// Our address there: the server identifier.
    pub address: Ipv4Addr,
    /// The longest IP datagram that leaves in one frame, in octets.
    pub mtu: u16,
}

/// How a message came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Index of the interface in the links.
    pub link: usize,
    /// Who sent the datagram.
    pub source: SocketAddrV4,
    /// Where it was sent to: ours, or a broadcast address.
    pub destination: Ipv4Addr,
}

/// A change that waits for the store. Redeemed once, with [`Core::committed`] or [`Core::failed`]; what is written
/// is written in the order of issue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(crate) u64);

/// Where a reply goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To the relay, by the kernel's routes.
    Relay(SocketAddrV4),
    /// To a client that has its address, elsewhere than on the link, by the kernel's routes.
    Unicast(SocketAddrV4),
    /// To 255.255.255.255:68 on the link the message came from.
    Broadcast,
    /// To a client on the link the message came from, without asking for its hardware address: it does not answer
    /// ARP yet, or need not.
    Frame {
        /// Destination of the frame.
        hardware: Mac,
        /// Destination of the packet, port 68.
        address: Ipv4Addr,
    },
}

/// A reply, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The DHCP message.
    pub bytes: Vec<u8>,
    /// Where it goes.
    pub to: Destination,
    /// OFFER, ACK or NAK.
    pub message: MessageType,
    /// The source address it must have: the one of ours that the message was sent to, else the link's.
    pub from: Ipv4Addr,
}

/// What to do about a message.
///
/// With a `ticket`, the `writes` are made first; once they are durable [`Core::committed`] is called and the reply
/// may leave. Without one, the reply may leave at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The reply, or why there is none.
    pub reply: Result<Reply, NoReply>,
    /// Changes of the lease store, to be made together.
    pub writes: Vec<LeaseWrite>,
    /// What to redeem once they are made, or not.
    pub ticket: Option<Ticket>,
    /// An offer is to wait until then, and not to leave at all if its address turns out to be in use:
    /// [`Core::in_use`]. A message without a reply is to be handed over again then, with [`Core::resume`].
    pub hold: Option<Time>,
    /// For the log.
    pub trace: Trace,
}

/// A lease at a glance: what it takes to count leases, and to find some among very many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outline {
    /// The address.
    pub address: Ipv4Addr,
    /// What it is to its last holder.
    pub state: LeaseState,
    /// When that ends.
    pub expires: Time,
    /// The holder's, when its hardware address is an Ethernet one.
    pub mac: Option<Mac>,
}

/// What follows from the configuration and stays the same until the next one.
pub(crate) struct Setup {
    pub(crate) site: Arc<Site>,
    pub(crate) links: Vec<Link>,
    pub(crate) subnets: Subnets,
    pub(crate) classifier: Classifier,
    pub(crate) plans: Plans,
    names: Option<Arc<dyn ZoneNames>>,
}

impl Setup {
    fn new(site: Arc<Site>, links: Vec<Link>, names: Option<Arc<dyn ZoneNames>>) -> Self {
        Self {
            subnets: Subnets::new(&site),
            classifier: Classifier::new(&site),
            plans: Plans::new(&site),
            links,
            site,
            names,
        }
    }

    /// Whether a label of the zone is not this client's to have.
    pub(crate) fn is_taken(&self, label: &str, client: HardwareAddress) -> bool {
        if let Some(names) = &self.names {
            return names.is_taken(label, client);
        }
        let name = format!("{label}.{}", self.site.zone);
        let hosts = self.site.hosts.iter().map(|host| &host.name);
        let pairs = self.site.switchovers.iter().map(|pair| &pair.name);
        hosts.chain(pairs).any(|taken| taken.as_str().eq_ignore_ascii_case(&name))
    }

    /// The addresses of this machine.
    fn ours(&self) -> Vec<Ipv4Addr> {
        self.links.iter().map(|link| link.address).collect()
    }

    /// Whether the address is one of ours.
    pub(crate) fn is_ours(&self, address: Ipv4Addr) -> bool {
        self.links.iter().any(|link| link.address == address)
    }

    /// Whether the address is kept for a phone with this hardware address.
    fn is_kept_for(&self, address: Ipv4Addr, mac: Mac) -> bool {
        let phones = self.site.phones.iter();
        phones
            .filter(|phone| phone.address == Some(address))
            .any(|phone| phone.key == PhoneKey::Mac(mac))
    }
}

/// A DHCPv4 server without sockets, clock or disk. One thread owns it.
pub struct Core {
    setup: Setup,
    table: Table,
    limits: Limits,
    probes: Probes,
    proxies: Proxies,
}

impl Core {
    /// Overdue offers dropped with every message.
    const SWEEP: usize = 4;

    /// A server for a site, with the leases the store has kept. `links` are the interfaces served. `now` is what
    /// [`crate::beginning`] says it is, and from there on what has elapsed since: it is not set when the wall clock is.
    pub fn new(site: Arc<Site>, links: Vec<Link>, leases: Vec<Lease>, now: Time) -> Self {
        let setup = Setup::new(site, links, None);
        let table = Table::new(&setup.site, &setup.subnets, &setup.ours(), leases, now);
        let limits = Limits::new(&setup.site.dhcp);
        let probes = Probes::new(&setup.site, &setup.links);
        Self { setup, table, limits, probes, proxies: Proxies::default() }
    }

    /// Goes by these names when clients are told whether they have theirs (RFC 4702), rather than by those of the hosts.
    pub fn set_names(&mut self, names: Arc<dyn ZoneNames>) {
        self.setup.names = Some(names);
    }

    /// Has what there is of the clients of some messages fetched, of all at a time, where there is so much of it that it
    /// lies far: then deciding about one after the other, at once, takes less time. Changes nothing else.
    pub fn bring_near<'a>(&self, messages: impl Iterator<Item = (Arrival, &'a [u8])>) {
        if !self.table.is_vast() {
            return;
        }
        let client = |(arrival, bytes): (Arrival, &'a [u8])| {
            let glance = Glance::at(bytes).filter(|glance| !glance.is_about_offer)?;
            let here = || self.setup.links.get(arrival.link)?.scope;
            // What RFC 3527 and RFC 3011 add is not worth the look.
            let relay = Some(glance.giaddr).filter(|relay| !relay.is_unspecified());
            let scope = relay.map_or_else(here, |relay| self.setup.subnets.holding(relay))?;
            Some((scope, glance))
        };
        let clients: Vec<_> = messages.filter_map(client).collect();
        self.table.bring_near(&clients);
    }

    /// Decides about one datagram. What it changes is provisional until the ticket is redeemed; nobody else is
    /// given the address meanwhile.
    pub fn handle(&mut self, now: Time, arrival: &Arrival, bytes: &[u8]) -> Decision {
        self.decide(now, arrival, bytes, true)
    }

    /// The same about a message that was to wait: [`Decision::hold`].
    pub fn resume(&mut self, now: Time, arrival: &Arrival, bytes: &[u8]) -> Decision {
        self.decide(now, arrival, bytes, false)
    }

    fn decide(&mut self, now: Time, arrival: &Arrival, bytes: &[u8], is_new: bool) -> Decision {
        self.table.expire_offers(now, Self::SWEEP);
        let mut trace = Trace { waited: !is_new, ..Trace::default() };
        let result = Header::read(bytes).and_then(|header| {
            trace.xid = Some(header.xid);
            trace.hardware = Some(header.hardware);
            trace.relay = header.is_relayed().then_some(header.giaddr);
            Request::read(header, bytes)
        });
        let limits = &mut self.limits;
        let mut pass =
            |request: &Request<'_>| if is_new { limits.pass(now, request) } else { Ok(()) };
        let result = result.and_then(|request| pass(&request).map(|()| request));
        match result {
            Ok(request) => {
                let Self { setup, table, probes, .. } = self;
                decide::decide(setup, table, probes, now, arrival, &request, trace)
            }
            Err(reason) => {
                Decision { reply: Err(reason), writes: Vec::new(), ticket: None, hold: None, trace }
            }
        }
    }

    /// The lease that is to be durable before the ACK may leave, should the client whose DISCOVER this is take the
    /// address it was offered; `None` when more than that is to be. For a shell that would rather write it while the
    /// client makes up its mind: the writes of the ACK are then this lease and no more, but for its times, of which
    /// `expires` is the latest that it may be. `None` as well when others could come to miss the address, as it is not
    /// the client's own and fewer than `spare` more are free. What becomes of it is known when the address [`Core::is_settled`].
    pub fn foresee(
        &self,
        now: Time,
        arrival: &Arrival,
        discover: &[u8],
        offered: Ipv4Addr,
        spare: u64,
    ) -> Option<Lease> {
        let header = Header::read(discover).ok()?;
        let request = Request::read(header, discover).ok()?;
        decide::foresee(&self.setup, &self.table, now, arrival, &request, offered, spare)
    }

    /// Whether an address is neither on offer nor changed by a decision whose ticket was not redeemed yet:
    /// [`Core::lease_at`] is what is to be on disk about it.
    pub fn is_settled(&self, address: Ipv4Addr) -> bool {
        self.table.is_settled(address)
    }

    /// The writes of a decision are durable: its reply may leave. Tells what became true.
    pub fn committed(&mut self, ticket: Ticket) -> Vec<Event> {
        self.table.committed(ticket)
    }

    /// The writes of a decision could not be made: its reply must not leave, and what it changed is undone.
    pub fn failed(&mut self, ticket: Ticket) {
        self.table.failed(ticket);
    }

    /// Drops offers whose time is over, a bounded number of them; tells whether there may be more.
    pub fn tick(&mut self, now: Time) -> bool {
        const STEP: usize = 256;
        self.table.expire_offers(now, STEP) == STEP
    }

    /// What is to be asked of the network now, so that addresses are known to be free when they are offered. To be
    /// called after every batch of messages, and a few times a second: it costs next to nothing when there is nothing.
    pub fn probes(&mut self, now: Time) -> Vec<Probe> {
        while let Some(scope) = self.probes.due(now) {
            self.table.settle(now, scope);
            for address in self.table.upcoming(now, scope, self.probes.stock()) {
                self.probes.ask_ahead(now, scope, address);
            }
        }
        self.probes.take()
    }

    /// Somebody answered a probe: the address is withheld from everyone as if it had been declined, and an offer of it
    /// is withdrawn. Provisional until the ticket is redeemed; nothing when the answer is to no probe of ours, comes from
    /// the client or the phone the address is held for, or from a machine that answers for too many, or the address was
    /// leased meanwhile.
    pub fn in_use(
        &mut self,
        now: Time,
        address: Ipv4Addr,
        by: Option<Mac>,
    ) -> Option<(Ticket, Vec<LeaseWrite>)> {
        let is_its =
            |by| self.table.is_held_for(address, by) || self.setup.is_kept_for(address, by);
        if !self.probes.is_asked(now, address) || by.is_some_and(is_its) {
            return None;
        }
        let scope = self.setup.subnets.holding(address)?;
        if by.is_some_and(|by| !self.proxies.believe(now, by, address)) {
            return None;
        }
        let name = &self.setup.site.scope(scope)?.name;
        let withheld = self.table.withhold(now, scope, name, address, by)?;
        self.probes.forget(address);
        Some(withheld)
    }

    /// Machines that have answered for so many addresses that they cannot have them all, each once: from now on they
    /// are not believed about others. To be called after [`Core::in_use`].
    pub fn proxies(&mut self) -> Vec<Mac> {
        self.proxies.news()
    }

    /// What the wall clock shows at `now`; to be told about once a second. All leases that come out of here have its
    /// times. When it was set since, how; and all leases will be [`Core::rewrite`]s.
    pub fn follow(&mut self, now: Time, wall: Time) -> Option<ClockSet> {
        self.table.follow(now, wall)
    }

    /// What the wall clock shows at `now`, as far as that is known. What leases that came out of here are to be
    /// compared with.
    pub fn wall(&self, now: Time) -> Time {
        self.table.wall(now)
    }

    /// Leases that are on disk with times that the wall clock has since proved wrong, at most `limit` of them. One
    /// ticket is out at a time: there may be more once it is redeemed.
    pub fn rewrite(&mut self, limit: usize) -> Option<(Ticket, Vec<LeaseWrite>)> {
        self.table.rewrite(limit)
    }

    /// Takes over a new configuration. Leases and changes on their way to the store are kept; where addresses are
    /// given out differently, offers are forgotten. What was to wait for a probe is not to be resumed: it was decided by
    /// the configuration before.
    pub fn set_site(&mut self, site: Arc<Site>, links: Vec<Link>, _now: Time) {
        self.setup = Setup::new(site, links, self.setup.names.take());
        self.table.set_site(&self.setup.site, &self.setup.subnets, &self.setup.ours());
        self.limits.set(&self.setup.site.dhcp);
        self.probes = Probes::new(&self.setup.site, &self.setup.links);
    }

    /// The configuration being served.
    pub fn site(&self) -> &Arc<Site> {
        &self.setup.site
    }

    /// The addresses of this machine, which are leased to nobody.
    pub fn ours(&self) -> Vec<Ipv4Addr> {
        self.setup.ours()
    }

    /// Every lease, expired, released and declined ones included, and those on their way to the store; in no order.
    pub fn leases(&self) -> impl Iterator<Item = Lease> + '_ {
        self.table.leases()
    }

    /// How many leases [`Core::leases`] has.
    pub fn lease_count(&self) -> usize {
        self.table.len()
    }

    /// Leases at a glance, in no order, a page at a time: at most `limit` from place `from` on (0 at first), and the
    /// place to go on from; `None` at the end. A lease that stays throughout is told once, whatever else changes
    /// between two pages, but for [`Core::set_site`].
    pub fn outline(&self, from: usize, limit: usize) -> (Vec<Outline>, Option<usize>) {
        self.table.outline(from, limit)
    }

    /// The lease of an address, expired, released and declined ones included.
    pub fn lease_at(&self, address: Ipv4Addr) -> Option<Lease> {
        self.table.lease_at(address)
    }

    /// Gives an address back in the name of its holder, or no longer withholds a declined one: as a decision,
    /// provisional until the ticket is redeemed. `None` when the address is neither leased nor withheld.
    pub fn release(&mut self, now: Time, address: Ipv4Addr) -> Option<(Ticket, Vec<LeaseWrite>)> {
        self.table.give_back(now, address)
    }

    /// Addresses held for clients that were offered them, in no order.
    pub fn offered(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.table.offered()
    }

    /// How many addresses are held for clients that were offered them.
    pub fn offer_count(&self) -> usize {
        self.table.offers()
    }

    /// How many tickets have not been redeemed.
    pub fn unsettled_count(&self) -> usize {
        self.table.unsettled()
    }
}
