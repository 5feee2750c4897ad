//! Asking whether somebody has an address: by ARP on a link, by ICMP echo anywhere else.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{self, MsgFlags};
use offhook_model::Mac;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::Interface;
use crate::options::link_address;

/// Ethernet header and ARP packet, without padding.
const ARP_FRAME: usize = 42;
/// What comes before the addresses of an ARP packet for IPv4 over Ethernet, but for the operation.
const ARP_HEAD: [u8; 6] = [0, 1, 8, 0, 6, 4];
/// The IPv4 header is 20 octets at least, the ICMP one 8.
const ICMP_PACKET: usize = 28;

/// An AF_PACKET socket for ARP on one interface. Needs CAP_NET_RAW. Non-blocking.
#[derive(Debug)]
pub struct ArpSocket {
    socket: Socket,
    link: SockAddr,
    mac: Mac,
}

impl ArpSocket {
    /// # Errors
    /// CAP_NET_RAW is missing, the interface is gone, or it is not an Ethernet.
    pub fn open(interface: &Interface) -> io::Result<Self> {
        let mac = interface.mac.ok_or(io::ErrorKind::Unsupported)?;
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        socket.set_nonblocking(true)?;
        let link = link_address(interface, libc::ETH_P_ARP as u16);
        socket.bind(&link)?;
        Ok(Self { socket, link, mac })
    }

    /// Asks who has an address, in nobody's name, so that no ARP cache learns of it (RFC 5227, 2.1.1).
    ///
    /// # Errors
    /// As the kernel says.
    pub fn probe(&self, address: Ipv4Addr) -> io::Result<()> {
        self.socket.send_to(&arp_probe(self.mac, address), &self.link).map(|_| ())
    }

    /// The next that tells of an address it has, by a reply or otherwise; none when there is none waiting.
    ///
    /// # Errors
    /// As the kernel says; [`crate::recovery`] says what to do then.
    pub fn recv(&self) -> io::Result<Option<(Ipv4Addr, Mac)>> {
        let mut buffer = [0; 128];
        loop {
            match socket::recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(len) => {
                    let owner = buffer.get(..len).and_then(arp_sender);
                    if let Some(owner) = owner.filter(|(_, mac)| *mac != self.mac) {
                        return Ok(Some(owner));
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for ArpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn arp_probe(mac: Mac, address: Ipv4Addr) -> [u8; ARP_FRAME] {
    let mut frame = [0; ARP_FRAME];
    let parts: [&[u8]; 8] =
        [&[0xff; 6], &mac.0, &[8, 6], &ARP_HEAD, &[0, 1], &mac.0, &[0; 4 + 6], &address.octets()];
    for (to, from) in frame.iter_mut().zip(parts.into_iter().flatten()) {
        *to = *from;
    }
    frame
}

/// The sender of an ARP packet, when it says what address it has.
fn arp_sender(frame: &[u8]) -> Option<(Ipv4Addr, Mac)> {
    let packet = frame.strip_prefix(frame.get(..12)?)?.strip_prefix(&[8, 6])?;
    let (_operation, rest) = packet.strip_prefix(&ARP_HEAD)?.split_first_chunk::<2>()?;
    let (mac, rest) = rest.split_first_chunk::<6>()?;
    let address = Ipv4Addr::from(*rest.first_chunk::<4>()?);
    (!address.is_unspecified()).then_some((address, Mac(*mac)))
}

/// A raw ICMP socket. Needs CAP_NET_RAW. Non-blocking.
#[derive(Debug)]
pub struct EchoSocket {
    socket: Socket,
    id: u16,
}

impl EchoSocket {
    /// # Errors
    /// CAP_NET_RAW is missing.
    pub fn open() -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, id: std::process::id() as u16 })
    }

    /// Sends an echo request.
    ///
    /// # Errors
    /// As the kernel says: no route, among others.
    pub fn probe(&self, address: Ipv4Addr) -> io::Result<()> {
        let to = SocketAddrV4::new(address, 0);
        self.socket.send_to(&echo_request(self.id), &to.into()).map(|_| ())
    }

    /// The next that answered an echo request of ours; none when there is none waiting.
    ///
    /// # Errors
    /// As the kernel says; [`crate::recovery`] says what to do then.
    pub fn recv(&self) -> io::Result<Option<Ipv4Addr>> {
        let mut buffer = [0; 128];
        loop {
            match socket::recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(len) => {
                    let packet = buffer.get(..len).unwrap_or_default();
                    if let Some(owner) = echo_reply(packet, self.id) {
                        return Ok(Some(owner));
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for EchoSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Type 8, code 0, checksum, identifier, sequence number.
fn echo_request(id: u16) -> [u8; 8] {
    let [high, low] = id.to_be_bytes();
    // RFC 1071, over 0x0800 and the identifier: all else is zero.
    let sum = 0x0800_u32 + u32::from(id);
    let [sum_high, sum_low] = (!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes();
    [8, 0, sum_high, sum_low, high, low, 0, 0]
}

/// The sender of an IPv4 packet that is an echo reply with this identifier.
fn echo_reply(packet: &[u8], id: u16) -> Option<Ipv4Addr> {
    if packet.len() < ICMP_PACKET {
        return None;
    }
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let from = Ipv4Addr::from(*packet.get(12..)?.first_chunk::<4>()?);
    let [kind, code, _, _, high, low, ..] = *packet.get(header..)?.first_chunk::<8>()?;
    (kind == 0 && code == 0 && u16::from_be_bytes([high, low]) == id).then_some(from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    #[test]
    fn a_probe_is_a_broadcast_in_nobodys_name() {
        let expected = [
            &[0xff; 6][..],
            &MAC.0,
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
            &MAC.0,
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 250, 1, 20],
        ]
        .concat();
        let probe = arp_probe(MAC, Ipv4Addr::new(10, 250, 1, 20));
        assert_eq!(probe[..], expected[..]);
        // Another server's probe says nothing of who has the address.
        assert_eq!(arp_sender(&probe), None);
    }

    #[test]
    fn the_owner_is_the_sender() {
        let mut reply = arp_probe(MAC, Ipv4Addr::UNSPECIFIED);
        reply[21] = 2;
        reply[28..32].copy_from_slice(&[10, 250, 1, 20]);
        assert_eq!(arp_sender(&reply), Some((Ipv4Addr::new(10, 250, 1, 20), MAC)));
        for length in 0..32 {
            assert_eq!(arp_sender(&reply[..length]), None);
        }
        reply[13] = 0;
        assert_eq!(arp_sender(&reply), None);
    }

    #[test]
    fn an_echo_request_sums_to_all_ones() {
        for id in [0, 1, 0x1234, 0xf7ff, 0xf800, 0xffff] {
            let sum: u32 = echo_request(id)
                .chunks(2)
                .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
                .sum();
            assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "{id:#x}");
        }
    }

    #[test]
    fn only_an_answer_to_us_counts() {
        let mut packet = vec![0x45; 20];
        packet[12..16].copy_from_slice(&[10, 1, 2, 3]);
        packet.extend([0, 0, 0, 0, 0x12, 0x34, 0, 0]);
        assert_eq!(echo_reply(&packet, 0x1234), Some(Ipv4Addr::new(10, 1, 2, 3)));
        assert_eq!(echo_reply(&packet, 0x1235), None);
        packet[20] = 8;
        assert_eq!(echo_reply(&packet, 0x1234), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parsers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = (arp_sender(&bytes), echo_reply(&bytes, 7));
        }
    }
}
