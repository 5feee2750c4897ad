//! Socket options and requests that neither nix nor socket2 offers as we need them.
#![expect(unsafe_code, reason = "system calls with structures that no library wraps")]

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use offhook_model::Mac;
use socket2::SockAddr;

use crate::Interface;

/// How large a receive buffer is asked for, bytes: more than 10,000 datagrams of a boot storm at the kernel's
/// accounting of some 2.3 KiB each.
const RECEIVE_BUFFER: usize = 32 << 20;

/// Makes the receive buffer as large as allowed, up to [`RECEIVE_BUFFER`]; returns what it is now, bytes.
pub(crate) fn enlarge_receive_buffer(socket: &socket2::Socket) -> io::Result<usize> {
    // Beyond net.core.rmem_max needs CAP_NET_ADMIN; up to it needs nothing.
    if setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    }
    // The kernel keeps twice what was asked for, half of it for its own bookkeeping.
    Ok(socket.recv_buffer_size()? / 2)
}

/// How large a send buffer is asked for, bytes: what the kernel can have waiting for ARP, a datagram of some 0.8 KiB
/// for each of the 1,024 neighbours it looks for at a time, several times over.
const SEND_BUFFER: usize = 4 << 20;

/// Makes the send buffer as large as allowed, up to 4 MiB. Answers to hosts that do not answer ARP, because they were
/// switched off or their addresses are forged, fill it for the seconds they are looked for, and while it is full
/// nobody is answered: with the default of 208 KiB a hundred such questions a second suffice.
///
/// A smaller one serves as well, only not through such a time, so what cannot be had is no error.
pub fn enlarge_send_buffer(socket: &impl AsFd) {
    // Beyond net.core.wmem_max needs CAP_NET_ADMIN; up to it needs nothing.
    if setsockopt(socket, sockopt::SndBufForce, &SEND_BUFFER).is_err() {
        let _ = setsockopt(socket, sockopt::SndBuf, &SEND_BUFFER);
    }
}

/// Sends every datagram whole or, when the link does not take one as long, not at all: fragments can be forged
/// (RFC 9715), and so can the message that a router on the way wants them.
///
/// # Errors
/// As the kernel says.
pub fn never_fragment(socket: &std::net::UdpSocket) -> io::Result<()> {
    let (level, name, value) = match socket.local_addr()? {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE),
        SocketAddr::V6(_) => {
            (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE)
        }
    };
    // SAFETY: both options are ints.
    unsafe { set(socket, level, name, &value) }
}

/// Takes frames addressed to any MAC, not only the interface's, as long as the socket lives.
pub(crate) fn promiscuous(socket: &impl AsFd, interface: &Interface) -> io::Result<()> {
    let request = libc::packet_mreq {
        mr_ifindex: interface.index as libc::c_int,
        mr_type: libc::PACKET_MR_PROMISC as libc::c_ushort,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    // SAFETY: the option is a packet_mreq.
    unsafe { set(socket, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request) }
}

/// Takes nothing that this host sends, and costs what it sends nothing. Linux 4.20.
pub(crate) fn ignore_outgoing(socket: &impl AsFd) -> io::Result<()> {
    let value: libc::c_int = 1;
    // SAFETY: the option is an int.
    unsafe { set(socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &value) }
}

/// Sets an option of a socket.
///
/// # Safety
/// `value` must be of the type that the kernel takes for this option.
unsafe fn set<T: Copy>(
    socket: &impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: `value` is a T for the whole call, its size is passed along, and the caller says that a T is right.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const *value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    Errno::result(result)?;
    Ok(())
}

/// The address of an interface for a packet socket that speaks this protocol (ETH_P_IP, ETH_P_ARP, ETH_P_ALL).
pub(crate) fn link_address(interface: &Interface, protocol: u16) -> SockAddr {
    let link = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as libc::c_ushort,
        sll_protocol: protocol.to_be(),
        sll_ifindex: interface.index as libc::c_int,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let mut storage = socket2::SockAddrStorage::zeroed();
    // SAFETY: sockaddr_ll is one of the address types that sockaddr_storage has room and alignment for.
    *unsafe { storage.view_as::<libc::sockaddr_ll>() } = link;
    // SAFETY: the storage was filled with a sockaddr_ll just above, and this is its length.
    unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as libc::socklen_t) }
}

/// The hardware address that the interface a packet socket is bound to has now; none without such an interface, or for
/// one that is not Ethernet.
pub(crate) fn hardware_address(socket: &socket2::Socket) -> Option<Mac> {
    let bound = socket.local_addr().ok()?;
    if i32::from(bound.family()) != libc::AF_PACKET {
        return None;
    }
    let mut storage = bound.as_storage();
    // SAFETY: sockaddr_ll is one of the address types that sockaddr_storage has room and alignment for; every byte of it
    // is valid, and those that the kernel did not write are zero.
    let link = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    let address = link.sll_addr.first_chunk::<6>().filter(|_| link.sll_halen == 6)?;
    Some(Mac(*address))
}

/// How much an interface takes in one frame, in octets; 65535 for more than that, as of `lo`.
pub(crate) fn mtu(socket: &socket2::Socket, interface: &Interface) -> io::Result<u16> {
    // SAFETY: an ifreq of zeros is one: an empty name, and a union of numbers and addresses.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero: names are shorter.
    let room = request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1);
    for (to, from) in room.zip(interface.name.bytes()) {
        *to = from as libc::c_char;
    }
    // SAFETY: the descriptor is open, and the kernel writes no more than an ifreq, which outlives the call.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU, &mut request) })?;
    // SAFETY: SIOCGIFMTU has filled in this number, and any bits are one.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    Ok(u16::try_from(mtu).unwrap_or(u16::MAX))
}
