//! Datagrams of one size to one address, with as few system calls as can be, UDP segmentation offload (udp(7)); and
//! the single one that answers them.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg, sockopt};
use rustix::net::{RecvFlags, SendFlags, SocketAddrAny, recvfrom, sendto};
use socket2::{Domain, Protocol, Socket, Type};

/// What the kernel takes at most in one call: octets of payload …
const MOST_OCTETS: usize = 65_507;
/// … and datagrams (UDP_MAX_SEGMENTS of older kernels).
const MOST_DATAGRAMS: usize = 64;

/// Sends `bytes` as datagrams of `segment` octets, the last of what is left, in order and without waiting. `offload`
/// leaves the cutting to the kernel, many with one call; it is cleared where the kernel or the way to `to` does not
/// have it. Returns how many octets were sent: whole datagrams, all of them unless the socket takes no more for now.
///
/// # Errors
/// As the kernel says, when the first datagram could not be sent; [`io::ErrorKind::WouldBlock`] when there is no
/// room for it now.
pub fn send_train(
    socket: &UdpSocket,
    to: SocketAddr,
    bytes: &[u8],
    segment: usize,
    offload: &mut bool,
) -> io::Result<usize> {
    let segment = segment.max(1);
    let mut sent = 0;
    while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
        let together = if *offload { (MOST_OCTETS / segment).clamp(1, MOST_DATAGRAMS) } else { 1 };
        let part = rest.get(..together * segment).unwrap_or(rest);
        let result = match u16::try_from(segment) {
            Ok(size) if part.len() > segment => {
                send_together(socket, part, size, &SockaddrStorage::from(to))
            }
            _ => sendto(socket, part, SendFlags::DONTWAIT | SendFlags::NOSIGNAL, &to)
                .map(drop)
                .map_err(io::Error::from),
        };
        match result {
            Ok(()) => sent += part.len(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && sent > 0 => break,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
            // Without checksum offload, or with datagrams longer than the path takes, they go one by one.
            Err(_) if part.len() > segment => *offload = false,
            Err(error) if sent == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(sent)
}

fn send_together(
    socket: &UdpSocket,
    bytes: &[u8],
    segment: u16,
    to: &SockaddrStorage,
) -> io::Result<()> {
    let control = [ControlMessage::UdpGsoSegments(&segment)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendmsg(socket.as_raw_fd(), &[IoSlice::new(bytes)], &control, flags, Some(to))?;
    Ok(())
}

/// The next datagram, without waiting, and who sent it. What `buffer` has no room for is cut off.
///
/// # Errors
/// As the kernel says; [`io::ErrorKind::WouldBlock`] when there is none now.
pub fn receive_one<'a>(
    socket: &UdpSocket,
    buffer: &'a mut [MaybeUninit<u8>],
) -> io::Result<(&'a [u8], SocketAddr)> {
    let ((bytes, _), _, from) = recvfrom(socket, buffer, RecvFlags::DONTWAIT)?;
    let from = from.map(|from: SocketAddrAny| SocketAddr::try_from(from)).transpose()?;
    let from = from.ok_or(io::ErrorKind::InvalidData)?;
    Ok((bytes, from))
}

/// Octets of the largest packet, IP header included, that gets from `local` to `peer` in one piece, as far as the
/// kernel knows now. Only for IPv4; `None` when there is no way, or it is not known.
pub fn path_mtu(local: SocketAddr, peer: SocketAddr) -> Option<u16> {
    if !peer.is_ipv4() {
        return None;
    }
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).ok()?;
    socket.bind(&SocketAddr::new(local.ip(), 0).into()).ok()?;
    socket.connect(&peer.into()).ok()?;
    let octets = nix::sys::socket::getsockopt(&socket, sockopt::IpMtu).ok()?;
    u16::try_from(octets.min(i32::from(u16::MAX))).ok().filter(|octets| *octets > 0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn pair() -> (UdpSocket, UdpSocket) {
        let [server, client] = [0, 1].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        (server, client)
    }

    #[test]
    fn a_train_arrives_as_datagrams_of_its_segment_with_or_without_offload() {
        let (server, client) = pair();
        let bytes: Vec<u8> = (0..70_u8).flat_map(|number| vec![number; 700]).collect();
        let bytes = &bytes[..69 * 700 + 1];
        for offload in [true, false] {
            let mut offload = offload;
            let to = client.local_addr().unwrap();
            assert_eq!(send_train(&server, to, bytes, 700, &mut offload).unwrap(), bytes.len());
            let mut buffer = [0; 70_000];
            for number in 0..70_u8 {
                let length = client.recv(&mut buffer).unwrap();
                let expected = if number == 69 { 1 } else { 700 };
                assert_eq!((length, buffer[0], buffer[length - 1]), (expected, number, number));
            }
        }
    }

    #[test]
    fn datagrams_too_long_for_the_path_go_one_by_one() {
        let (server, client) = pair();
        // Two of them fit no packet of any path, so the kernel does not cut them.
        let bytes = vec![7; 2 * 40_000];
        let mut offload = true;
        let to = client.local_addr().unwrap();
        assert_eq!(send_train(&server, to, &bytes, 40_000, &mut offload).unwrap(), bytes.len());
        let mut buffer = [0; 70_000];
        assert_eq!([0, 1].map(|_| client.recv(&mut buffer).unwrap()), [40_000; 2]);
    }

    #[test]
    fn the_path_to_ourselves_is_that_of_the_loopback_interface() {
        let (server, client) = pair();
        let mtu = path_mtu(server.local_addr().unwrap(), client.local_addr().unwrap());
        assert_eq!(mtu, Some(u16::MAX));
        assert_eq!(path_mtu("[::1]:0".parse().unwrap(), "[::1]:1".parse().unwrap()), None);
    }
}
