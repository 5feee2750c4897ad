//! Opening the listeners: all of them, or an error for each that could not be.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

/// How often a free port is looked for that both protocols can have.
const PORT_ATTEMPTS: usize = 16;

/// What waits in a UDP socket while we are busy, octets.
const RECEIVE_BUFFER: usize = 4 << 20;

/// The listeners, open but not yet served: requests wait in their queues.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(super) listeners: Vec<Listener>,
}

impl Bound {
    /// Where it listens, over UDP and TCP alike.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.listeners.iter().map(|listener| listener.address)
    }
}

/// One address, both protocols.
#[derive(Debug)]
pub(super) struct Listener {
    address: SocketAddr,
    pub(super) udp: UdpSocket,
    pub(super) tcp: TcpListener,
}

/// Opens UDP and TCP sockets on every address. Port 0 takes one that is free for both.
///
/// `0.0.0.0` stands for each IPv4 address this host has now, a socket each: an answer must leave from the address
/// that was asked.
///
/// # Errors
/// Every listener that could not be had, not only the first.
pub(crate) fn bind(listen: &[SocketAddr]) -> Result<Bound, Vec<BindError>> {
    let mut addresses = BTreeSet::new();
    let mut listeners = Vec::new();
    let mut errors = Vec::new();
    for &address in listen {
        match concrete(address) {
            Ok(concrete) => addresses.extend(concrete),
            Err(source) => errors.push(BindError::new("UDP", address, source)),
        }
    }
    for address in addresses {
        match Listener::bind(address) {
            Ok(listener) => listeners.push(listener),
            Err(failed) => errors.extend(failed),
        }
    }
    if errors.is_empty() { Ok(Bound { listeners }) } else { Err(errors) }
}

fn concrete(address: SocketAddr) -> io::Result<Vec<SocketAddr>> {
    if address.ip() != IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
        return Ok(vec![address]);
    }
    let interfaces = offhook_net::interfaces()?;
    let own = interfaces.iter().flat_map(|interface| &interface.addresses);
    Ok(own.map(|&(own, _)| SocketAddr::from((own, address.port()))).collect())
}

impl Listener {
    fn bind(address: SocketAddr) -> Result<Self, Vec<BindError>> {
        let mut failed = Vec::new();
        let attempts = if address.port() == 0 { PORT_ATTEMPTS } else { 1 };
        for _ in 0..attempts {
            failed.clear();
            let udp = open_udp(address).map_err(|e| failed.push(BindError::new("UDP", address, e)));
            let port = udp.as_ref().map_or(address.port(), |(_, port)| *port);
            let address = SocketAddr::new(address.ip(), port);
            let tcp = open_tcp(address).map_err(|e| failed.push(BindError::new("TCP", address, e)));
            if let (Ok((udp, _)), Ok(tcp)) = (udp, tcp) {
                return Ok(Self { address, udp, tcp });
            }
        }
        Err(failed)
    }
}

fn open_udp(address: SocketAddr) -> io::Result<(UdpSocket, u16)> {
    // Without SO_REUSEADDR: with it, a second server could take half of our queries unnoticed.
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    // As much as the kernel grants (net.core.rmem_max): phones that boot together ask together.
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER);
    offhook_net::enlarge_send_buffer(&socket);
    let port = socket.local_addr()?.port();
    Ok((socket, port))
}

fn open_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    // The standard library sets SO_REUSEADDR, so that connections of a previous run do not hold up a restart.
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A listener could not be opened.
#[derive(Debug)]
pub(crate) struct BindError {
    protocol: &'static str,
    error: offhook_net::BindError,
}

impl BindError {
    fn new(protocol: &'static str, address: SocketAddr, source: io::Error) -> Self {
        let error = offhook_net::BindError { what: "DNS", address, interface: None, source };
        Self { protocol, error }
    }

    /// What the administrator can do about it; none where the error says it all.
    pub(crate) fn hint(&self) -> Option<String> {
        self.error.hint()
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offhook_net::BindError { what, address, source, .. } = &self.error;
        write!(f, "cannot bind {what} on {address} ({}): ", self.protocol)?;
        // The number that `io::Error` adds to the text tells an administrator nothing.
        match source.raw_os_error() {
            Some(errno) => f.write_str(nix::errno::Errno::from_raw(errno).desc()),
            None => source.fmt(f),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error.source)
    }
}
