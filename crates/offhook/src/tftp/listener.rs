//! The socket at the well-known port.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::libc;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use offhook_net::BindError;

/// A whole building asks at once; the kernel grants what `net.core.rmem_max` allows of it.
const RECEIVE_BUFFER: usize = 4 << 20;

/// The listener: requests wait in its queue, served or not.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: UdpSocket,
    address: SocketAddr,
}

/// A datagram that came to the well-known port.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) length: usize,
    pub(super) peer: SocketAddr,
    /// The address it was sent to, with port 0: what a socket is bound to that answers it.
    pub(super) local: SocketAddr,
}

/// Opens the socket that requests come to. On `0.0.0.0` or `[::]` the kernel is asked to tell for each request which
/// address it was sent to: it is answered from there.
///
/// # Errors
/// The address is in use, not on this host, or its port not for this user to bind.
pub(crate) fn bind(listen: SocketAddr) -> Result<Listener, BindError> {
    open(listen).map_err(|source| BindError {
        what: "TFTP",
        address: listen,
        interface: None,
        source,
    })
}

fn open(listen: SocketAddr) -> io::Result<Listener> {
    let socket = UdpSocket::bind(listen)?;
    socket.set_nonblocking(true)?;
    match listen.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        }
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
        _ => {}
    }
    // A smaller buffer serves as well, only not as many at once.
    let _ = setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER);
    let address = socket.local_addr()?;
    Ok(Listener { socket, address })
}

impl Listener {
    /// Where it listens: a port that was given as 0 is known now.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes one datagram, without waiting.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there is none, or as the kernel says.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut control = nix::cmsg_space!(libc::in6_pktinfo, libc::in_pktinfo);
        let mut parts = [IoSliceMut::new(buffer)];
        let message = recvmsg::<SockaddrStorage>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::MSG_DONTWAIT,
        )?;
        let peer = message
            .address
            .and_then(socket_address)
            .ok_or_else(|| io::Error::other("a datagram without a sender"))?;
        let mut local = self.address.ip();
        for control in message.cmsgs()? {
            match control {
                // The address to answer from: the one asked, or the interface's own after a broadcast.
                ControlMessageOwned::Ipv4PacketInfo(info) => {
                    local = Ipv4Addr::from_bits(u32::from_be(info.ipi_spec_dst.s_addr)).into();
                }
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    local = Ipv6Addr::from(info.ipi6_addr.s6_addr).into();
                }
                _ => {}
            }
        }
        let local = match (local, peer) {
            // A link-local address means nothing without its link, and that is the peer's.
            (IpAddr::V6(local), SocketAddr::V6(peer)) => {
                SocketAddrV6::new(local, 0, 0, peer.scope_id()).into()
            }
            _ => SocketAddr::new(local, 0),
        };
        Ok(Received { length: message.bytes, peer, local })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn socket_address(address: SockaddrStorage) -> Option<SocketAddr> {
    match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(v4), _) => Some(SocketAddr::new(v4.ip().into(), v4.port())),
        (_, Some(v6)) => {
            Some(SocketAddrV6::new(v6.ip(), v6.port(), v6.flowinfo(), v6.scope_id()).into())
        }
        _ => None,
    }
}
