//! A UDP port for one peer alone, as each TFTP transfer has one: its datagrams without a look for the way each time,
//! many of one size with as few system calls as can be (UDP segmentation offload, udp(7)), and strangers' apart.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, getsockopt, sendmsg, sockopt};
use rustix::net::{RecvFlags, SendFlags, recv, recvfrom, send};
use socket2::{Domain, Protocol, Socket, Type};

/// What the kernel takes at most in one call: octets of payload …
const MOST_OCTETS: usize = 65_507;
/// … and datagrams (UDP_MAX_SEGMENTS of older kernels).
const MOST_DATAGRAMS: usize = 64;

/// Two sockets on one port of this host: the kernel gives one of them what comes from the peer, and the other one what
/// anybody else sends there. Non-blocking.
#[derive(Debug)]
pub struct PeerSocket {
    socket: UdpSocket,
    strays: UdpSocket,
    /// Whether the kernel cuts trains of datagrams for this path.
    offload: bool,
}

impl PeerSocket {
    /// Takes a port that nobody has, of `local`'s address, whose own port counts only if it is not 0.
    ///
    /// # Errors
    /// There is no port or no file descriptor left, the address is not this host's, or there is no way to `peer`.
    pub fn open(local: SocketAddr, peer: SocketAddr) -> io::Result<Self> {
        let open = || {
            let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
            socket.set_nonblocking(true)?;
            Ok::<_, io::Error>(socket)
        };
        let (strays, socket) = (open()?, open()?);
        strays.bind(&local.into())?;
        // Only from now on: a port that is looked for must be nobody's. And only until both have it.
        strays.set_reuse_address(true)?;
        socket.set_reuse_address(true)?;
        socket.bind(&strays.local_addr()?)?;
        socket.connect(&peer.into())?;
        strays.set_reuse_address(false)?;
        socket.set_reuse_address(false)?;
        let this = Self { socket: socket.into(), strays: strays.into(), offload: true };
        // What came before it had a peer may be anybody's. There was hardly time for any.
        let mut nothing = [MaybeUninit::uninit(); 1];
        let _ = (0..MOST_DATAGRAMS).find(|_| this.receive(&mut nothing).is_err());
        Ok(this)
    }

    /// What comes from others than the peer can be waited for with it.
    pub fn strays(&self) -> BorrowedFd<'_> {
        self.strays.as_fd()
    }

    /// Marks everything sent from now on with this DSCP, 0 to 63.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn set_dscp(&self, dscp: u8) -> io::Result<()> {
        set_dscp(&self.socket, dscp)?;
        set_dscp(&self.strays, dscp)
    }

    /// Octets of the largest packet, IP header included, that gets to the peer in one piece, as far as the kernel knows
    /// now. Only for IPv4; `None` when it is not known.
    pub fn path_mtu(&self) -> Option<u16> {
        if !self.socket.local_addr().ok()?.is_ipv4() {
            return None;
        }
        let octets = getsockopt(&self.socket, sockopt::IpMtu).ok()?;
        u16::try_from(octets.min(i32::from(u16::MAX))).ok().filter(|octets| *octets > 0)
    }

    /// The next datagram of the peer's. What `buffer` has no room for is cut off.
    ///
    /// # Errors
    /// As the kernel says; [`io::ErrorKind::WouldBlock`] when there is none now, and
    /// [`io::ErrorKind::ConnectionRefused`] when the peer has nobody for what was sent.
    pub fn receive<'a>(&self, buffer: &'a mut [MaybeUninit<u8>]) -> io::Result<&'a [u8]> {
        let ((bytes, _), _) = recv(&self.socket, buffer, RecvFlags::DONTWAIT)?;
        Ok(bytes)
    }

    /// The next datagram of anybody else's, and who sent it.
    ///
    /// # Errors
    /// As the kernel says; [`io::ErrorKind::WouldBlock`] when there is none now.
    pub fn receive_stray<'a>(
        &self,
        buffer: &'a mut [MaybeUninit<u8>],
    ) -> io::Result<(&'a [u8], SocketAddr)> {
        let ((bytes, _), _, from) = recvfrom(&self.strays, buffer, RecvFlags::DONTWAIT)?;
        let from = from.map(SocketAddr::try_from).transpose()?;
        Ok((bytes, from.ok_or(io::ErrorKind::InvalidData)?))
    }

    /// Sends a datagram to somebody else from the same port.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn answer_stray(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        self.strays.send_to(bytes, to)?;
        Ok(())
    }

    /// Sends `bytes` as datagrams of `segment` octets, the last of what is left, in order and without waiting. The
    /// kernel cuts them, many with one call, where it can for this path. Returns how many octets were sent: whole
    /// datagrams, all of them unless the socket takes no more for now.
    ///
    /// # Errors
    /// As the kernel says, when the first datagram could not be sent; [`io::ErrorKind::WouldBlock`] when there is no
    /// room for it now.
    pub fn send_train(&mut self, bytes: &[u8], segment: usize) -> io::Result<usize> {
        let segment = segment.max(1);
        let mut sent = 0;
        let mut is_second = false;
        while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            let together =
                if self.offload { (MOST_OCTETS / segment).clamp(1, MOST_DATAGRAMS) } else { 1 };
            let part = rest.get(..together * segment).unwrap_or(rest);
            let result = match u16::try_from(segment) {
                Ok(size) if part.len() > segment => self.send_together(part, size),
                _ => self.send_one(part),
            };
            match result {
                Ok(()) => {
                    sent += part.len();
                    is_second = false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && sent > 0 => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                // It may be about a datagram before this one, which the peer had nobody for.
                Err(_) if !is_second => is_second = true,
                // Without checksum offload, or with datagrams longer than the path takes, they go one by one.
                Err(_) if part.len() > segment => self.offload = false,
                Err(error) if sent == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(sent)
    }

    fn send_one(&self, bytes: &[u8]) -> io::Result<()> {
        send(&self.socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
        Ok(())
    }

    fn send_together(&self, bytes: &[u8], segment: u16) -> io::Result<()> {
        let control = [ControlMessage::UdpGsoSegments(&segment)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let to: Option<&SockaddrStorage> = None;
        sendmsg(self.socket.as_raw_fd(), &[IoSlice::new(bytes)], &control, flags, to)?;
        Ok(())
    }
}

/// What comes from the peer can be waited for with it.
impl AsFd for PeerSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Marks everything a socket sends from now on with this DSCP, 0 to 63.
///
/// # Errors
/// As the kernel says.
pub fn set_dscp(socket: &UdpSocket, dscp: u8) -> io::Result<()> {
    // The two lowest bits are congestion notification, which UDP has none of.
    let class = u32::from(dscp) << 2;
    let options = socket2::SockRef::from(socket);
    match socket.local_addr()?.is_ipv4() {
        true => options.set_tos_v4(class),
        false => options.set_tclass_v6(class),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// A server's end and its peer.
    fn pair() -> (PeerSocket, UdpSocket) {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let local = "127.0.0.1:0".parse().unwrap();
        (PeerSocket::open(local, client.local_addr().unwrap()).unwrap(), client)
    }

    /// What a socket has received by now, over the loopback interface where nothing is under way for long.
    fn soon<T>(mut receive: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match receive() {
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {}
                result => return result,
            }
        }
    }

    #[test]
    fn the_peer_and_others_are_heard_apart_and_answered_from_one_port() {
        let (server, client) = pair();
        let port = server.socket.local_addr().unwrap();
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        other.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        other.send_to(b"stray", port).unwrap();
        client.send_to(b"ACK", port).unwrap();
        let mut buffer = [MaybeUninit::uninit(); 100];
        assert_eq!(soon(|| server.receive(&mut buffer).map(<[u8]>::to_vec)).unwrap(), b"ACK");
        let (bytes, from) =
            soon(|| server.receive_stray(&mut buffer).map(|(bytes, from)| (bytes.to_vec(), from)))
                .unwrap();
        assert_eq!((&bytes[..], from), (&b"stray"[..], other.local_addr().unwrap()));
        for nothing in
            [server.receive(&mut buffer).map(drop), server.receive_stray(&mut buffer).map(drop)]
        {
            assert_eq!(nothing.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
        server.answer_stray(b"ERROR", from).unwrap();
        let mut answer = [0; 100];
        assert_eq!(other.recv_from(&mut answer).unwrap(), (5, port));
    }

    #[test]
    fn its_port_is_nobody_elses() {
        let (server, client) = pair();
        let port = server.socket.local_addr().unwrap();
        let intruder = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        intruder.set_reuse_address(true).unwrap();
        assert_eq!(intruder.bind(&port.into()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let peer = client.local_addr().unwrap();
        let many: Vec<_> = (0..500)
            .map(|_| PeerSocket::open("127.0.0.1:0".parse().unwrap(), peer).unwrap())
            .collect();
        let ports: std::collections::HashSet<_> =
            many.iter().map(|one| one.socket.local_addr().unwrap()).chain([port]).collect();
        assert_eq!(ports.len(), 501);
    }

    #[test]
    fn what_the_peer_has_nobody_for_costs_no_datagram_after_it() {
        let (mut server, client) = pair();
        let peer = client.local_addr().unwrap();
        drop(client);
        assert_eq!(server.send_train(b"DATA", 4).unwrap(), 4);
        let client = UdpSocket::bind(peer).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(server.send_train(b"again", 5).unwrap(), 5);
        let mut buffer = [0; 100];
        let length = client.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"again");
    }

    #[test]
    fn a_train_arrives_as_datagrams_of_its_segment_with_or_without_offload() {
        let (mut server, client) = pair();
        let bytes: Vec<u8> = (0..70_u8).flat_map(|number| vec![number; 700]).collect();
        let bytes = &bytes[..69 * 700 + 1];
        for offload in [true, false] {
            server.offload = offload;
            assert_eq!(server.send_train(bytes, 700).unwrap(), bytes.len());
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
        let (mut server, client) = pair();
        // Two of them fit no packet of any path, so the kernel does not cut them.
        let bytes = vec![7; 2 * 40_000];
        assert_eq!(server.send_train(&bytes, 40_000).unwrap(), bytes.len());
        let mut buffer = [0; 70_000];
        assert_eq!([0, 1].map(|_| client.recv(&mut buffer).unwrap()), [40_000; 2]);
    }

    #[test]
    fn the_path_to_ourselves_is_that_of_the_loopback_interface() {
        assert_eq!(pair().0.path_mtu(), Some(u16::MAX));
        let [local, peer] = ["[::1]:0", "[::1]:1"].map(|one| one.parse().unwrap());
        assert_eq!(PeerSocket::open(local, peer).unwrap().path_mtu(), None);
    }
}
