//! The sockets the DHCP server receives on and answers from.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use offhook_dhcp::{Destination, Link, Reply};
use offhook_model::{Mac, Scope, ScopeId, Site};
use offhook_net::{
    ArpSocket, BindError, DhcpSocket, FrameSocket, Interface, Outgoing, Poller, UdpFrame, Waker,
    interfaces,
};
use tracing::{info, warn};

/// The UDP port DHCP servers and relays listen on.
const SERVER: u16 = 67;
/// The UDP port DHCP clients listen on.
const CLIENT: u16 = 68;
/// What a frame of Ethernet holds, octets.
const ETHERNET: u16 = 1500;

/// Why the DHCP server cannot start on an interface.
#[derive(Debug)]
pub(crate) enum StartError {
    /// The interface of a scope is not there, or cannot be looked at.
    Interface { scope: String, source: io::Error },
    /// No address of the interface lies in the scope's subnet: it would have nothing to answer from.
    NoAddress { scope: String, interface: String, subnet: String, found: Vec<Ipv4Addr> },
    /// The socket cannot be had.
    Bind(BindError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface { scope, source } => {
                write!(f, "cannot serve DHCP in scope {scope}: {source}")
            }
            Self::NoAddress { scope, interface, subnet, found } => {
                write!(
                    f,
                    "cannot serve DHCP in scope {scope}: interface {interface} has no address in {subnet}"
                )?;
                match found.as_slice() {
                    [] => write!(f, ", and none at all"),
                    found => write!(f, ", only {found:?}"),
                }
            }
            Self::Bind(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}

impl StartError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Interface { .. } => {
                Some("`ip link` lists the interfaces; systemd/network/ has examples".to_owned())
            }
            Self::NoAddress { interface, subnet, .. } => Some(format!(
                "give {interface} an address in {subnet} (`ip addr add … dev {interface}`), or correct `subnet`"
            )),
            Self::Bind(error) => error.hint(),
        }
    }
}

/// All sockets of the DHCP server. A socket is shared between the thread that receives and the ones that answer.
#[derive(Clone, Debug)]
pub(crate) struct Ports {
    sockets: Vec<Arc<DhcpSocket>>,
    links: Vec<Port>,
    /// One on each interface of a scope, for what clients without an address send to one of ours (RFC 2131, 4.4.4).
    unaddressed: Vec<Arc<FrameSocket>>,
    /// Whether the one socket is on all interfaces.
    everywhere: bool,
}

/// One address the server has on one interface.
#[derive(Clone, Debug)]
struct Port {
    /// Place in `sockets`; past its end when there is none on this interface.
    socket: usize,
    interface: Interface,
    prefix: u8,
    link: Link,
    /// For replies to clients that cannot answer ARP yet, and to everybody; none on an interface no scope is on.
    frames: Option<Arc<FrameSocket>>,
}

impl Port {
    /// What it is with another configuration: of the scope on its interface whose subnet its address is in, else of
    /// one that is.
    fn link_in(&self, site: &Site) -> Link {
        let on_it = || {
            let scopes = site.scope_ids();
            scopes.filter(|(_, scope)| scope.interface.as_ref() == Some(&self.interface.name))
        };
        let Link { address, mtu, .. } = self.link;
        let own = on_it().find(|(_, scope)| scope.subnet.contains(address));
        Link { scope: own.or_else(|| on_it().next()).map(|(id, _)| id), address, mtu }
    }

    /// Whether an address is of the same subnet.
    fn is_near(&self, address: Ipv4Addr) -> bool {
        (self.link.address.to_bits() ^ address.to_bits()) & self.mask() == 0
    }

    /// Whether an address is everybody's in the subnet. Two hosts have none for both (RFC 3021).
    fn is_broadcast(&self, address: Ipv4Addr) -> bool {
        self.prefix < 31 && address.to_bits() == self.link.address.to_bits() | !self.mask()
    }

    fn mask(&self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0)
    }
}

impl Ports {
    /// Opens what `site` needs: a socket on the interface of each scope or, when some scope is reached through
    /// relays only, one for all interfaces.
    ///
    /// # Errors
    /// Everything that stands in the way, not just the first thing.
    pub(crate) fn open(site: &Site) -> Result<Self, Vec<StartError>> {
        let mut errors = Vec::new();
        let mut links = Vec::new();
        for (id, scope) in site.scope_ids() {
            let Some(name) = &scope.interface else { continue };
            match scope_link(id, scope, name) {
                Ok(port) => links.push(port),
                Err(error) => errors.push(error),
            }
        }
        let mut sockets = Vec::new();
        let everywhere = site.scopes.iter().any(|scope| scope.interface.is_none());
        if !everywhere {
            // Scopes that share an interface share its socket.
            let mut bound: Vec<u32> = Vec::new();
            for port in &mut links {
                let index = port.interface.index;
                if let Some(place) = bound.iter().position(|other| *other == index) {
                    port.socket = place;
                    continue;
                }
                port.socket = bound.len();
                bound.push(index);
                match DhcpSocket::bind(Some(&port.interface), SERVER) {
                    Ok(socket) => sockets.push(Arc::new(socket)),
                    Err(error) => errors.push(StartError::Bind(error)),
                }
            }
        } else {
            match DhcpSocket::bind(None, SERVER) {
                Ok(socket) => sockets.push(Arc::new(socket)),
                Err(error) => errors.push(StartError::Bind(error)),
            }
        }
        let mut unaddressed: Vec<Arc<FrameSocket>> = Vec::new();
        for Port { interface, link, .. } in &links {
            if unaddressed.iter().any(|other| other.interface().index == interface.index) {
                continue;
            }
            match FrameSocket::open_unaddressed(interface, SERVER) {
                Ok(socket) => unaddressed.push(Arc::new(socket)),
                Err(source) => errors.push(no_frames(link.address, interface, source)),
            }
        }
        links.extend(other_links(&links, everywhere));
        let this = Self { sockets, links, unaddressed, everywhere };
        this.mark(site.dhcp.dscp);
        if errors.is_empty() { Ok(this) } else { Err(errors) }
    }

    /// Marks all replies from now on with this DSCP.
    pub(crate) fn mark(&self, dscp: u8) {
        let sockets = self.sockets.iter().map(|socket| socket.set_dscp(dscp));
        let frames = self.links.iter().filter_map(|port| port.frames.as_ref());
        for error in
            sockets.chain(frames.map(|frames| frames.set_dscp(dscp))).filter_map(Result::err)
        {
            warn!(%error, dscp, "replies are not marked");
        }
    }

    /// The links as the core knows them, by place.
    pub(crate) fn links(&self) -> Vec<Link> {
        self.links.iter().map(|port| port.link).collect()
    }

    /// What they are in a configuration.
    pub(crate) fn links_in(&self, site: &Site) -> Vec<Link> {
        self.links.iter().map(|port| port.link_in(site)).collect()
    }

    /// The same links for another configuration of the site.
    ///
    /// # Errors
    /// What it needs of the machine that was not opened at the start, for people.
    pub(crate) fn links_for(&self, site: &Site) -> Result<Vec<Link>, Vec<String>> {
        let mut errors = Vec::new();
        let links = self.links_in(site);
        for (id, scope) in site.scope_ids() {
            let Some(interface) = &scope.interface else {
                if !self.everywhere {
                    let name = &scope.name;
                    errors
                        .push(format!("scope {name} is reached through relays only, as none was"));
                }
                continue;
            };
            let is_its = |port: &Port| {
                port.interface.name == *interface
                    && scope.subnet.contains(port.link.address)
                    && port.frames.is_some()
                    && self.sockets.get(port.socket).is_some()
            };
            let mut own = self.links.iter().zip(&links).filter(|(_, link)| link.scope == Some(id));
            if !own.any(|(port, _)| is_its(port)) {
                let Scope { name, subnet, .. } = scope;
                errors.push(format!(
                    "scope {name} is on {interface}, where nothing in {subnet} was listened on"
                ));
            }
        }
        if errors.is_empty() { Ok(links) } else { Err(errors) }
    }

    /// Logs where it listens.
    pub(crate) fn announce(&self, site: &Site) {
        for port in self.links.iter().filter(|port| self.sockets.get(port.socket).is_some()) {
            let scope = port.link.scope.and_then(|id| site.scope(id));
            let scope = scope.map_or("-", |scope| scope.name.as_str());
            info!(interface = %port.interface.name, address = %port.link.address, scope, "listening for DHCP");
        }
        for port in &self.links {
            let address = port.link.address;
            let holds = |scope: &&Scope| {
                let in_pool = scope.pools.iter().any(|pool| pool.range.contains(address));
                in_pool && !scope.excluded.contains(&address)
            };
            for scope in site.scopes.iter().filter(holds) {
                warn!(
                    scope = scope.name, %address, interface = %port.interface.name,
                    hint = "leave it out of the pool, or add it to `exclude`",
                    "a pool holds an address of this machine: it is not leased"
                );
            }
        }
    }

    /// Something to wait with for these sockets, and to end the wait with.
    pub(crate) fn poller(&self) -> io::Result<(Waker, Poller)> {
        let poller = Poller::new()?;
        Ok((poller.waker(), poller))
    }

    /// The sockets, for waiting and receiving.
    pub(crate) fn sockets(&self) -> &[Arc<DhcpSocket>] {
        &self.sockets
    }

    /// The sockets for clients without an address that know one of ours. What they receive may be for somebody else.
    pub(crate) fn unaddressed(&self) -> &[Arc<FrameSocket>] {
        &self.unaddressed
    }

    /// The descriptors of [`Ports::sockets`] and [`Ports::unaddressed`], in the same order.
    pub(crate) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let unaddressed = self.unaddressed.iter().map(|socket| socket.as_fd());
        self.sockets.iter().map(|socket| socket.as_fd()).chain(unaddressed).collect()
    }

    /// Interfaces of scopes that were deleted, each once: nothing comes in there any more, also where they were made anew.
    pub(crate) fn lost(&self) -> Vec<&str> {
        let stale = self.unaddressed.iter().filter(|socket| socket.is_stale());
        stale.map(|socket| socket.interface().name.as_str()).collect()
    }

    /// Interfaces of scopes with another hardware address than they had, each once: replies and probes say the old one.
    pub(crate) fn readdressed(&self) -> Vec<&str> {
        let other = self.unaddressed.iter().filter(|socket| socket.is_readdressed());
        other.map(|socket| socket.interface().name.as_str()).collect()
    }

    /// The same, in the same places, with new sockets on an interface that was deleted and is there again with all the
    /// addresses that scopes have on it, or that has another hardware address.
    ///
    /// # Errors
    /// It is there again, but the sockets cannot be had.
    pub(crate) fn renewed(&self, name: &str) -> Result<Option<Self>, StartError> {
        let Ok(interface) = Interface::named(name) else { return Ok(None) };
        let own = |port: &&Port| port.interface.name == interface.name && port.frames.is_some();
        let is_back = |port: &Port| interface.addresses.contains(&(port.link.address, port.prefix));
        if !self.links.iter().filter(own).all(is_back) {
            return Ok(None);
        }
        let mut this = self.clone();
        let no_frames = |source| no_frames(Ipv4Addr::UNSPECIFIED, &interface, source);
        for socket in &mut this.unaddressed {
            if socket.interface().name == interface.name {
                let opened = FrameSocket::open_unaddressed(&interface, SERVER);
                *socket = Arc::new(opened.map_err(no_frames)?);
            }
        }
        for socket in &mut this.sockets {
            let is_its = socket.interface().is_some_and(|other| other.name == interface.name);
            if is_its && socket.is_stale() {
                let opened = DhcpSocket::bind(Some(&interface), SERVER);
                *socket = Arc::new(opened.map_err(StartError::Bind)?);
            }
        }
        for port in &mut this.links {
            if port.interface.name == interface.name {
                port.interface = interface.clone();
                if port.frames.is_some() {
                    let opened = FrameSocket::open(&interface);
                    port.frames = Some(Arc::new(opened.map_err(no_frames)?));
                }
            }
        }
        Ok(Some(this))
    }

    /// Whether what comes to an address on an interface is for us: it is one of ours, or everybody's on the link.
    pub(crate) fn is_ours(&self, address: Ipv4Addr, interface: u32) -> bool {
        self.links.iter().any(|port| {
            let on_link = || port.interface.index == interface && port.is_broadcast(address);
            port.link.address == address || on_link()
        })
    }

    /// The link a datagram came in by: the one with the address it was sent to, else the first on its interface.
    pub(crate) fn link_of(&self, interface: u32, destination: Ipv4Addr) -> Option<usize> {
        let on_interface = |port: &&Port| port.interface.index == interface;
        let place = |found: &Port| self.links.iter().position(|port| std::ptr::eq(port, found));
        self.links
            .iter()
            .filter(on_interface)
            .find(|port| port.link.address == destination)
            .or_else(|| self.links.iter().find(on_interface))
            .and_then(place)
    }

    /// A socket for ARP on a link.
    pub(crate) fn open_arp(&self, link: usize) -> Option<io::Result<ArpSocket>> {
        self.links.get(link).map(|port| ArpSocket::open(&port.interface))
    }

    /// The first link on this interface.
    pub(crate) fn on(&self, interface: &str) -> Option<usize> {
        self.links.iter().position(|port| port.interface.name == interface)
    }

    /// The name of a link's interface, for logs.
    pub(crate) fn interface(&self, link: usize) -> &str {
        self.links.get(link).map_or("?", |port| &port.interface.name)
    }

    /// Sends replies where the core said, each to a client or relay that was heard on its link, with as few system
    /// calls as can be: a client on the same machine, or a relay, wakes up once for many. Says of each in order how
    /// that went.
    pub(crate) fn send(
        &self,
        replies: &[(usize, &Reply)],
        mut sent: impl FnMut(usize, io::Result<()>),
    ) {
        let ways: Vec<_> = replies.iter().map(|(link, reply)| self.way(*link, reply)).collect();
        let mut place = 0;
        for run in ways.chunk_by(Way::is_with) {
            let mut errors: Vec<(usize, io::Error)> = Vec::new();
            let failed = |place, error| errors.push((place, error));
            match run.first() {
                Some(Way::Frame(socket, _)) => {
                    let frames: Vec<_> = run.iter().filter_map(Way::frame).collect();
                    socket.send_batch(&frames, failed);
                }
                Some(Way::Datagram(socket, _)) => {
                    let datagrams: Vec<_> = run.iter().filter_map(Way::datagram).collect();
                    socket.send_batch(&datagrams, failed);
                }
                Some(Way::Nowhere) | None => {}
            }
            errors.sort_by_key(|(place, _)| *place);
            let mut errors = errors.into_iter().peekable();
            for at in 0..run.len() {
                let error = errors.next_if(|(failed, _)| *failed == at);
                sent(place + at, error.map_or(Ok(()), |(_, error)| Err(error)));
            }
            place += run.len();
        }
    }

    fn way<'a>(&'a self, link: usize, reply: &'a Reply) -> Way<'a> {
        let Some(port) = self.links.get(link) else { return Way::Nowhere };
        match &reply.to {
            Destination::Relay(to) | Destination::Unicast(to) => self.route(port, *to, reply),
            // The kernel would hand this machine a copy of its own datagram, which costs as much again. It does know what
            // a link looks like that is not Ethernet.
            Destination::Broadcast => {
                let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT);
                match port.frames.as_ref().filter(|_| port.interface.mac.is_some()) {
                    Some(frames) => framed(frames, Mac::BROADCAST, everybody, reply),
                    None => self.through(port, everybody, reply, port.interface.index),
                }
            }
            Destination::Frame { hardware, address } => {
                let to = SocketAddrV4::new(*address, CLIENT);
                match &port.frames {
                    Some(frames) => framed(frames, *hardware, to, reply),
                    // No scope is on this interface: only what has an address can be heard there.
                    None => self.route(port, to, reply),
                }
            }
        }
    }

    /// To a host that answers ARP, through the routing table. A socket bound to one interface cannot reach the
    /// others, so it is sent from the one whose subnet the host is in, where there is one.
    fn route<'a>(&'a self, heard_on: &'a Port, to: SocketAddrV4, reply: &'a Reply) -> Way<'a> {
        let near = |port: &&Port| port.is_near(*to.ip()) && self.sockets.get(port.socket).is_some();
        let port = self.links.iter().find(near).unwrap_or(heard_on);
        self.through(port, to, reply, 0)
    }

    fn through<'a>(
        &'a self,
        port: &Port,
        to: SocketAddrV4,
        reply: &'a Reply,
        interface: u32,
    ) -> Way<'a> {
        let Some(socket) = self.sockets.get(port.socket) else { return Way::Nowhere };
        Way::Datagram(socket, Outgoing { bytes: &reply.bytes, to, from: reply.from, interface })
    }
}

/// How a reply leaves.
enum Way<'a> {
    Frame(&'a FrameSocket, UdpFrame<'a>),
    Datagram(&'a DhcpSocket, Outgoing<'a>),
    /// There is no socket for it.
    Nowhere,
}

impl<'a> Way<'a> {
    /// Whether one system call may do for both.
    fn is_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Frame(one, _), Self::Frame(other, _)) => std::ptr::eq(*one, *other),
            (Self::Datagram(one, _), Self::Datagram(other, _)) => std::ptr::eq(*one, *other),
            _ => false,
        }
    }

    fn frame(&self) -> Option<UdpFrame<'a>> {
        match self {
            Self::Frame(_, frame) => Some(*frame),
            _ => None,
        }
    }

    fn datagram(&self) -> Option<Outgoing<'a>> {
        match self {
            Self::Datagram(_, datagram) => Some(*datagram),
            _ => None,
        }
    }
}

fn framed<'a>(
    frames: &'a FrameSocket,
    destination_mac: Mac,
    destination: SocketAddrV4,
    reply: &'a Reply,
) -> Way<'a> {
    let (source_mac, source) = (frames.mac(), SocketAddrV4::new(reply.from, SERVER));
    let payload = reply.bytes.as_slice();
    Way::Frame(frames, UdpFrame { source_mac, destination_mac, source, destination, payload })
}

fn scope_link(id: ScopeId, scope: &Scope, name: &str) -> Result<Port, StartError> {
    let broken = |source| StartError::Interface { scope: scope.name.clone(), source };
    let interface = Interface::named(name).map_err(broken)?;
    let own = interface.addresses.iter().find(|(address, _)| scope.subnet.contains(*address));
    let Some(&(address, prefix)) = own else {
        return Err(StartError::NoAddress {
            scope: scope.name.clone(),
            interface: name.to_owned(),
            subnet: scope.subnet.to_string(),
            found: interface.addresses.iter().map(|(address, _)| *address).collect(),
        });
    };
    let frames =
        FrameSocket::open(&interface).map_err(|source| no_frames(address, &interface, source))?;
    let mtu = frames.mtu().unwrap_or(ETHERNET);
    let frames = Some(Arc::new(frames));
    Ok(Port { socket: 0, interface, prefix, link: Link { scope: Some(id), address, mtu }, frames })
}

fn no_frames(address: Ipv4Addr, interface: &Interface, source: io::Error) -> StartError {
    StartError::Bind(BindError {
        what: "raw DHCP frames",
        address: SocketAddrV4::new(address, SERVER).into(),
        interface: Some(interface.name.clone()),
        source,
    })
}

/// A link for every other address of this host: each names the server as well (RFC 2131, 4.1), and relays may send to
/// it. One on the interface of a scope is as good as the address of that scope. Where no socket is on an interface,
/// nothing comes in.
fn other_links(taken: &[Port], everywhere: bool) -> Vec<Port> {
    let all = interfaces().unwrap_or_default();
    let is_taken = |address| taken.iter().any(|port| port.link.address == address);
    let other = |interface: &Interface, &(address, prefix): &(Ipv4Addr, u8)| {
        let on_it = taken.iter().filter(|port| port.interface.index == interface.index);
        let beside = on_it.min_by_key(|port| !port.is_near(address));
        let no_socket = if everywhere { 0 } else { usize::MAX };
        Port {
            socket: beside.map_or(no_socket, |port| port.socket),
            interface: interface.clone(),
            prefix,
            link: Link {
                scope: beside.and_then(|port| port.link.scope),
                address,
                mtu: beside.map_or(ETHERNET, |port| port.link.mtu),
            },
            frames: beside.and_then(|_| FrameSocket::open(interface).ok()).map(Arc::new),
        }
    };
    all.iter()
        .flat_map(|interface| interface.addresses.iter().map(move |own| (interface, own)))
        .filter(|(_, (address, _))| !is_taken(*address))
        .map(|(interface, own)| other(interface, own))
        .collect()
}
