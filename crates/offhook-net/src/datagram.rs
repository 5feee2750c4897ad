//! The UDP socket of the DHCP server.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::mmsg::{self, BATCH, Received, Target};
use crate::options::{enlarge_receive_buffer, enlarge_send_buffer};
use crate::{BindError, Interface};

/// Room for one datagram, bytes: of any length that UDP has, as a message that is cut off may be without its client
/// identifier, and be somebody else's. What is not used takes no memory. Not a power of two, so that the beginnings of
/// all slots, which is all that most have, are not in the same places of the processor's cache.
const SLOT: usize = (64 << 10) + 64;

/// A non-blocking UDP socket on 0.0.0.0 that knows where each datagram came from and says where each leaves.
#[derive(Debug)]
pub struct DhcpSocket {
    socket: Socket,
    interface: Option<Interface>,
    address: SocketAddrV4,
    receive_buffer: usize,
}

/// A datagram to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing<'a> {
    /// What is in it.
    pub bytes: &'a [u8],
    /// Where it goes. To 255.255.255.255 it needs an `interface`, unless its socket is bound to one.
    pub to: SocketAddrV4,
    /// Its source address, one of this host's; unspecified leaves the choice to the kernel.
    pub from: Ipv4Addr,
    /// Index of the interface it leaves by; 0 leaves the choice to the routing table.
    pub interface: u32,
}

impl DhcpSocket {
    /// Binds 0.0.0.0:`port`, only for what arrives on `interface` when one is given. `port` 0 is any free one.
    /// The receive buffer is as large as this process may make it, and so is the send buffer, up to 4 MiB.
    ///
    /// Neither SO_REUSEADDR nor SO_REUSEPORT: with them on both sides Linux lets two DHCP servers share a
    /// port, and each of them sees half of the traffic or all of it twice. Without, sockets bound to
    /// different interfaces do not conflict, and any other server on the port, on this interface or on all
    /// of them, is an error here.
    ///
    /// # Errors
    /// The port is taken, may not be bound by this user, or the interface is gone.
    pub fn bind(interface: Option<&Interface>, port: u16) -> Result<Self, BindError> {
        let wanted = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
        Self::open(interface, wanted).map_err(|source| BindError {
            what: "DHCP",
            address: SocketAddr::V4(wanted),
            interface: interface.map(|interface| interface.name.clone()),
            source,
        })
    }

    fn open(interface: Option<&Interface>, wanted: SocketAddrV4) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        socket.set_broadcast(true)?;
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        // Before bind: the conflict check of bind looks at the device.
        if let Some(interface) = interface {
            socket.bind_device(Some(interface.name.as_bytes()))?;
        }
        let receive_buffer = enlarge_receive_buffer(&socket)?;
        enlarge_send_buffer(&socket);
        socket.bind(&wanted.into())?;
        let address = socket.local_addr()?.as_socket_ipv4().unwrap_or(wanted);
        Ok(Self { socket, interface: interface.cloned(), address, receive_buffer })
    }

    /// The interface it is bound to.
    pub fn interface(&self) -> Option<&Interface> {
        self.interface.as_ref()
    }

    /// 0.0.0.0 and the port.
    pub fn local_address(&self) -> SocketAddrV4 {
        self.address
    }

    /// How many bytes of datagrams the kernel keeps until they are read, its bookkeeping included.
    pub fn receive_buffer(&self) -> usize {
        self.receive_buffer
    }

    /// Whether the interface it is bound to was deleted, perhaps made anew: it will never receive again.
    pub fn is_stale(&self) -> bool {
        self.interface.as_ref().is_some_and(|interface| !interface.is_current())
    }

    /// Marks everything sent from now on with this DSCP, 0 to 63.
    ///
    /// # Errors
    /// It is above 63.
    pub fn set_dscp(&self, dscp: u8) -> io::Result<()> {
        let dscp = etherparse::IpDscp::try_new(dscp).map_err(io::Error::other)?;
        self.socket.set_tos_v4(u32::from(dscp.value()) << 2)
    }

    /// Receives up to 64 datagrams, without waiting, in place of what `batch` held. Returns how many; 0 when
    /// there are none now.
    ///
    /// # Errors
    /// As the kernel says; [`crate::recovery`] says what to do then.
    pub fn recv_batch(&self, batch: &mut RecvBatch) -> io::Result<usize> {
        batch.received.clear();
        let RecvBatch { bytes, received } = batch;
        mmsg::receive(self.as_fd(), bytes.chunks_exact_mut(SLOT), |one| received.push(one))
    }

    /// Sends one datagram. Waits at most 20 ms for room in the socket's buffer.
    ///
    /// # Errors
    /// As the kernel says; [`crate::recovery`] says what to do then.
    pub fn send_to(
        &self,
        bytes: &[u8],
        to: SocketAddrV4,
        from: Ipv4Addr,
        interface: u32,
    ) -> io::Result<()> {
        let mut result = Ok(());
        self.send_batch(&[Outgoing { bytes, to, from, interface }], |_, error| result = Err(error));
        result
    }

    /// Sends many datagrams with few system calls, in order. One that fails is told to `failed` by its place
    /// and does not keep the others back. Returns how many were sent.
    pub fn send_batch(
        &self,
        datagrams: &[Outgoing<'_>],
        failed: impl FnMut(usize, io::Error),
    ) -> usize {
        let targets: Vec<Target<'_>> = datagrams
            .iter()
            .map(|datagram| Target {
                bytes: datagram.bytes,
                to: datagram.to.into(),
                from: Some((datagram.from, datagram.interface)),
            })
            .collect();
        mmsg::send(self.as_fd(), &targets, failed)
    }
}

impl AsFd for DhcpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Room for 64 datagrams, to be used again and again: 256 KiB.
#[derive(Debug)]
pub struct RecvBatch {
    bytes: Box<[u8]>,
    received: Vec<Received>,
}

/// A received datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// What was in it, as far as there was room.
    pub bytes: &'a [u8],
    /// Who sent it.
    pub source: SocketAddrV4,
    /// The address it was sent to: 255.255.255.255, or one of this host's.
    pub destination: Ipv4Addr,
    /// The host's own address it arrived at; for a broadcast the one the kernel would answer from, 0.0.0.0
    /// when the interface has none.
    pub local: Ipv4Addr,
    /// Index of the interface it came in by.
    pub interface: u32,
    /// It was longer than 4,096 bytes, and the rest is lost.
    pub truncated: bool,
}

impl RecvBatch {
    /// An empty one.
    pub fn new() -> Self {
        Self { bytes: vec![0; BATCH * SLOT].into(), received: Vec::with_capacity(BATCH) }
    }

    /// All its room, to be used otherwise; it holds no datagrams any more.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        self.received.clear();
        &mut self.bytes
    }

    /// The datagrams of the last [`DhcpSocket::recv_batch`], oldest first.
    pub fn iter(&self) -> impl Iterator<Item = Datagram<'_>> {
        self.received.iter().zip(self.bytes.chunks_exact(SLOT)).map(|(one, slot)| Datagram {
            bytes: slot.get(..one.len).unwrap_or(slot),
            source: one.source,
            destination: one.destination,
            local: one.local,
            interface: one.interface,
            truncated: one.truncated,
        })
    }
}

impl Default for RecvBatch {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;
    use crate::Poller;

    const LO: Ipv4Addr = Ipv4Addr::LOCALHOST;

    fn on_loopback(socket: &DhcpSocket) -> SocketAddrV4 {
        SocketAddrV4::new(LO, socket.local_address().port())
    }

    /// Receives until there were `count`, two seconds at most.
    fn receive(
        socket: &DhcpSocket,
        count: usize,
    ) -> Vec<(Vec<u8>, SocketAddrV4, Ipv4Addr, u32, bool)> {
        let (poller, mut batch, mut all) = (Poller::new().unwrap(), RecvBatch::new(), Vec::new());
        while all.len() < count {
            let ready = poller.wait(&[socket.as_fd()], Some(Duration::from_secs(2))).unwrap();
            assert!(ready.is_readable(0), "only {} of {count} arrived", all.len());
            assert!(socket.recv_batch(&mut batch).unwrap() <= BATCH);
            all.extend(
                batch
                    .iter()
                    .map(|d| (d.bytes.to_vec(), d.source, d.destination, d.interface, d.truncated)),
            );
        }
        all
    }

    #[test]
    fn many_datagrams_arrive_in_order_with_source_destination_and_interface() {
        let lo = Interface::named("lo").unwrap();
        let server = DhcpSocket::bind(Some(&lo), 0).unwrap();
        let client = DhcpSocket::bind(None, 0).unwrap();
        let payloads: Vec<[u8; 2]> = (0..150_u16).map(u16::to_be_bytes).collect();
        // 127.0.0.2 and .3 are loopback's as well: the destination is not just any own address.
        let outgoing: Vec<Outgoing<'_>> = payloads
            .iter()
            .map(|bytes| Outgoing {
                bytes,
                to: SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 2), server.local_address().port()),
                from: Ipv4Addr::new(127, 0, 0, 3),
                interface: lo.index,
            })
            .collect();
        assert_eq!(client.send_batch(&outgoing, |i, error| panic!("{i}: {error}")), 150);
        let source = SocketAddrV4::new([127, 0, 0, 3].into(), client.local_address().port());
        for (received, payload) in receive(&server, 150).into_iter().zip(&payloads) {
            let expected = (payload.to_vec(), source, Ipv4Addr::new(127, 0, 0, 2), lo.index, false);
            assert_eq!(received, expected);
        }
        assert_eq!(server.recv_batch(&mut RecvBatch::new()).unwrap(), 0, "and no more");
    }

    #[test]
    fn a_datagram_is_whole_however_long_it_is() {
        let server = DhcpSocket::bind(None, 0).unwrap();
        let to = on_loopback(&server);
        let longest = 65_535 - 20 - 8;
        server.send_to(&vec![7; longest], to, Ipv4Addr::UNSPECIFIED, 0).unwrap();
        server.send_to(&[8; 4097], to, LO, 0).unwrap();
        let received = receive(&server, 2);
        assert_eq!((received[0].0.len(), received[0].4), (longest, false));
        assert_eq!((received[1].0.len(), received[1].4), (4097, false));
    }

    #[test]
    fn a_port_that_anybody_else_has_is_an_error_even_when_they_would_share_it() {
        let other = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        other.set_reuse_address(true).unwrap();
        other.set_reuse_port(true).unwrap();
        other.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0).into()).unwrap();
        let port = other.local_addr().unwrap().as_socket_ipv4().unwrap().port();
        for interface in [None, Some(Interface::named("lo").unwrap())] {
            let error = DhcpSocket::bind(interface.as_ref(), port).unwrap_err();
            assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse, "{interface:?}");
            assert!(error.to_string().starts_with(&format!("cannot bind DHCP on 0.0.0.0:{port}")));
        }
    }

    #[test]
    fn an_interface_that_is_gone_is_a_bind_error_with_a_hint() {
        let gone = Interface { name: "nosuch0".into(), ..Interface::named("lo").unwrap() };
        let error = DhcpSocket::bind(Some(&gone), 0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot bind DHCP on 0.0.0.0:0 (interface nosuch0): No such device"
        );
        assert!(error.hint().unwrap().contains("nosuch0"));
    }

    #[test]
    fn one_datagram_that_cannot_leave_does_not_keep_the_others_back() {
        let server = DhcpSocket::bind(None, 0).unwrap();
        let good = Outgoing { bytes: b"x", to: on_loopback(&server), from: LO, interface: 0 };
        // TEST-NET is on no interface of this host.
        let bad = Outgoing { from: Ipv4Addr::new(192, 0, 2, 1), ..good };
        let mut failed = Vec::new();
        assert_eq!(server.send_batch(&[bad, good, bad, good], |i, _| failed.push(i)), 2);
        assert_eq!((failed, receive(&server, 2).len()), (vec![0, 2], 2));
    }

    #[test]
    fn a_refused_send_is_no_reason_to_reopen() {
        let server = DhcpSocket::bind(None, 0).unwrap();
        let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let SocketAddr::V4(closed) = closed else { panic!("not IPv4") };
        for _ in 0..3 {
            if let Err(error) = server.send_to(b"x", closed, LO, 0) {
                assert_eq!(crate::recovery(&error), crate::Recovery::Ignore);
            }
            assert_eq!(server.recv_batch(&mut RecvBatch::new()).unwrap_or(0), 0);
        }
    }

    #[test]
    fn the_receive_buffer_holds_more_than_the_default() {
        let server = DhcpSocket::bind(None, 0).unwrap();
        let plain = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        assert!(server.receive_buffer() >= plain.recv_buffer_size().unwrap() / 2);
    }
}
