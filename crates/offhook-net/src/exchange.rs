//! Requests and their replies, many with one system call: the loop of a UDP server.
#![expect(
    unsafe_code,
    reason = "no library has recvmmsg and sendmmsg without an allocation per call"
)]

use std::io;
use std::mem::zeroed;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::null_mut;

use nix::errno::Errno;
use nix::libc;
use nix::poll::PollFlags;

use crate::mmsg::ROOM;
use crate::poll::wait_for;

/// Room for one request: any datagram there is. Only what one fills is ever touched. The odd cache lines keep the
/// beginnings of requests out of each other's place in the processor's cache.
const REQUEST: usize = 65_536 + 3 * 64;

/// Requests that came in together and what is sent back to those who asked, on a socket that is bound to one
/// address, so that replies leave from it. To be used again and again: nothing is allocated per call.
///
/// ```text
/// receive → serve → send → receive …
/// ```
#[derive(Debug)]
pub struct Exchanges {
    requests: Vec<u8>,
    replies: Vec<u8>,
    /// Room for one reply, octets.
    room: usize,
    peers: [Peer; Self::MOST],
    /// Octets of each request.
    received: [usize; Self::MOST],
    /// Octets of each reply; 0 when there is none.
    replied: [usize; Self::MOST],
    /// How many requests there are.
    count: usize,
}

/// A `sockaddr_in` or `sockaddr_in6`, as the kernel wrote it.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
struct Peer {
    bytes: [u8; size_of::<libc::sockaddr_in6>()],
    length: libc::socklen_t,
}

/// Sends one datagram without waiting, even on a blocking socket.
///
/// # Errors
/// As the kernel says; [`io::ErrorKind::WouldBlock`] when the socket takes no more for now.
pub fn send_now(socket: &UdpSocket, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    socket2::SockRef::from(socket).send_to_with_flags(bytes, &to.into(), flags).map(drop)
}

impl Exchanges {
    /// Most requests at once. Twice as many save little: the call itself is a small part of what 32 cost.
    pub const MOST: usize = 32;

    /// None yet, with this much room for each reply, in octets.
    pub fn new(room: usize) -> Self {
        let peer = Peer { bytes: [0; _], length: 0 };
        Self {
            requests: vec![0; Self::MOST * REQUEST],
            replies: vec![0; Self::MOST * room],
            room,
            peers: [peer; Self::MOST],
            received: [0; Self::MOST],
            replied: [0; Self::MOST],
            count: 0,
        }
    }

    /// Takes what has come in, in place of what came before. When nothing has, waits for the first if the socket
    /// is a blocking one, at most its receive time-out. Returns how many requests there are now.
    ///
    /// # Errors
    /// As the kernel says; [`crate::recovery`] says what to do then.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.count = 0;
        self.replied = [0; Self::MOST];
        // SAFETY: these are plain C structures, for which all bits zero is a valid value.
        let (mut vectors, mut headers): ([libc::iovec; Self::MOST], [libc::mmsghdr; Self::MOST]) =
            unsafe { (zeroed(), zeroed()) };
        for (((slot, peer), vector), header) in self
            .requests
            .chunks_exact_mut(REQUEST)
            .zip(&mut self.peers)
            .zip(&mut vectors)
            .zip(&mut headers)
        {
            vector.iov_base = slot.as_mut_ptr().cast();
            vector.iov_len = slot.len();
            header.msg_hdr.msg_name = peer.bytes.as_mut_ptr().cast();
            header.msg_hdr.msg_namelen = size_of_val(&peer.bytes) as libc::socklen_t;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: all headers point to peers, vectors and slots that outlive the call, with their true sizes; no
        // time-out is given.
        let result = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                Self::MOST as libc::c_uint,
                libc::MSG_WAITFORONE as _,
                null_mut(),
            )
        };
        let count = match Errno::result(result) {
            Ok(count) => usize::try_from(count).unwrap_or_default(),
            Err(Errno::EINTR | Errno::EAGAIN) => 0,
            Err(errno) => return Err(errno.into()),
        };
        for ((header, peer), received) in
            headers.iter().zip(&mut self.peers).zip(&mut self.received).take(count)
        {
            peer.length = header.msg_hdr.msg_namelen;
            *received = header.msg_len as usize;
        }
        self.count = count;
        Ok(count)
    }

    /// Every request, oldest first.
    pub fn requests(&self) -> impl Iterator<Item = &[u8]> {
        let received = self.requests.chunks_exact(REQUEST).zip(&self.received).take(self.count);
        received.map(|(request, received)| request.get(..*received).unwrap_or(request))
    }

    /// Shows every request, oldest first, with its sender and room for the reply: `reply` says how many octets of
    /// it are to be sent, 0 for none.
    pub fn serve(&mut self, mut reply: impl FnMut(&[u8], SocketAddr, &mut [u8]) -> usize) {
        for ((((request, room), peer), received), replied) in self
            .requests
            .chunks_exact(REQUEST)
            .zip(self.replies.chunks_exact_mut(self.room))
            .zip(&self.peers)
            .zip(&self.received)
            .zip(&mut self.replied)
            .take(self.count)
        {
            let Some(peer) = peer.address() else { continue };
            *replied = reply(request.get(..*received).unwrap_or(request), peer, room);
        }
    }

    /// Sends the replies. One that cannot be sent is told to `failed` and does not keep the others back; when
    /// the socket takes no more for 20 ms, none of the rest can. Returns how many were sent.
    pub fn send(
        &mut self,
        socket: &UdpSocket,
        mut failed: impl FnMut(SocketAddr, io::Error),
    ) -> usize {
        // SAFETY: these are plain C structures, for which all bits zero is a valid value.
        let (mut vectors, mut headers): ([libc::iovec; Self::MOST], [libc::mmsghdr; Self::MOST]) =
            unsafe { (zeroed(), zeroed()) };
        let mut peers = [None; Self::MOST];
        let mut count = 0;
        for (((((reply, peer), &length), vector), header), place) in self
            .replies
            .chunks_exact_mut(self.room)
            .zip(&mut self.peers)
            .zip(&self.replied)
            .take(self.count)
            .filter(|(_, length)| **length > 0)
            .zip(&mut vectors)
            .zip(&mut headers)
            .zip(&mut peers)
        {
            vector.iov_base = reply.as_mut_ptr().cast();
            vector.iov_len = length.min(reply.len());
            header.msg_hdr.msg_name = peer.bytes.as_mut_ptr().cast();
            header.msg_hdr.msg_namelen = peer.length;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            *place = Some(*peer);
            count += 1;
        }
        let mut tell = |place: usize, errno: Errno| {
            if let Some(peer) = peers.get(place).copied().flatten().and_then(|p| p.address()) {
                failed(peer, errno.into());
            }
        };
        let (mut place, mut sent) = (0, 0);
        while let Some(rest) = headers.get_mut(place..count).filter(|rest| !rest.is_empty()) {
            // SAFETY: the first `count` headers point to peers, vectors and replies that all outlive the call,
            // with their true sizes.
            let result = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    rest.as_mut_ptr(),
                    rest.len() as libc::c_uint,
                    (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
                )
            };
            match Errno::result(result) {
                Ok(some) => {
                    let some = usize::try_from(some).unwrap_or_default();
                    place += some;
                    sent += some;
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    if !wait_for(socket.as_fd(), PollFlags::POLLOUT, Some(ROOM)).unwrap_or(false) {
                        (place..count).for_each(|place| tell(place, Errno::EAGAIN));
                        break;
                    }
                }
                Err(errno) => {
                    tell(place, errno);
                    place += 1;
                }
            }
        }
        sent
    }
}

impl Peer {
    /// None when it is of neither family, as it is when nobody sent anything.
    fn address(&self) -> Option<SocketAddr> {
        let bytes = self.bytes.get(..self.length as usize)?;
        let &[family0, family1, port0, port1, ..] = bytes else { return None };
        let port = u16::from_be_bytes([port0, port1]);
        match libc::c_int::from(u16::from_ne_bytes([family0, family1])) {
            libc::AF_INET => {
                let address: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
                Some(SocketAddr::from((Ipv4Addr::from(address), port)))
            }
            libc::AF_INET6 => {
                let flow: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
                let address: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
                let scope: [u8; 4] = bytes.get(24..28)?.try_into().ok()?;
                Some(SocketAddr::V6(SocketAddrV6::new(
                    Ipv6Addr::from(address),
                    port,
                    u32::from_be_bytes(flow),
                    u32::from_ne_bytes(scope),
                )))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LONG: Option<Duration> = Some(Duration::from_secs(10));

    fn sockets(address: &str) -> (UdpSocket, UdpSocket) {
        let [server, client] = [0, 1].map(|_| UdpSocket::bind((address, 0)).unwrap());
        server.set_read_timeout(LONG).unwrap();
        client.set_read_timeout(LONG).unwrap();
        client.connect(server.local_addr().unwrap()).unwrap();
        (server, client)
    }

    /// The request back to front; none to those that begin with a zero.
    fn backwards(request: &[u8], _: SocketAddr, room: &mut [u8]) -> usize {
        if request.first() == Some(&0) {
            return 0;
        }
        let backwards: Vec<u8> = request.iter().rev().copied().collect();
        room[..backwards.len()].copy_from_slice(&backwards);
        backwards.len()
    }

    #[test]
    fn everybody_is_answered_in_order_over_either_family() {
        for address in ["127.0.0.1", "::1"] {
            let (server, client) = sockets(address);
            let other = UdpSocket::bind((address, 0)).unwrap();
            other.set_read_timeout(LONG).unwrap();
            for number in 1..=100_u8 {
                client.send(&[number, 7]).unwrap();
                client.send(&[0, number]).unwrap();
            }
            other.send_to(b"other", server.local_addr().unwrap()).unwrap();
            let mut exchanges = Exchanges::new(16);
            let (mut received, mut sent) = (0, 0);
            while received < 201 {
                received += exchanges.receive(&server).unwrap();
                exchanges.serve(|request, peer, room| {
                    let expected = if request == b"other" { &other } else { &client };
                    assert_eq!(peer, expected.local_addr().unwrap());
                    backwards(request, peer, room)
                });
                sent += exchanges.send(&server, |peer, error| panic!("{peer}: {error}"));
            }
            assert_eq!((received, sent), (201, 101));
            let mut buffer = [0; 16];
            for number in 1..=100_u8 {
                assert_eq!(client.recv(&mut buffer).unwrap(), 2);
                assert_eq!(buffer[..2], [7, number]);
            }
            assert_eq!(other.recv(&mut buffer).unwrap(), 5);
            assert_eq!(buffer[..5], *b"rehto");
        }
    }

    #[test]
    fn the_largest_datagram_there_is_comes_whole() {
        let (server, client) = sockets("127.0.0.1");
        let mut exchanges = Exchanges::new(16);
        for size in [65_507, 0, 1] {
            client.send(&vec![9; size]).unwrap();
            assert_eq!(exchanges.receive(&server).unwrap(), 1);
            assert!(exchanges.requests().map(<[u8]>::len).eq([size]));
            let mut seen = None;
            exchanges.serve(|request, _, _| {
                seen = Some((request.len(), request.iter().all(|octet| *octet == 9)));
                0
            });
            assert_eq!(seen, Some((size, true)));
            assert_eq!(exchanges.send(&server, |_, error| panic!("{error}")), 0);
        }
    }

    #[test]
    fn a_wait_for_nothing_ends_with_the_sockets_time_out() {
        let (server, _client) = sockets("127.0.0.1");
        server.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let mut exchanges = Exchanges::new(16);
        assert_eq!(exchanges.receive(&server).unwrap(), 0);
        exchanges.serve(|_, _, _| panic!("nothing came"));
    }

    #[test]
    fn one_reply_that_cannot_leave_does_not_keep_the_others_back() {
        let (server, client) = sockets("127.0.0.1");
        for request in [b"aa", b"bb", b"cc"] {
            client.send(request).unwrap();
        }
        // Longer than a datagram can be.
        let mut exchanges = Exchanges::new(70_000);
        assert_eq!(exchanges.receive(&server).unwrap(), 3);
        exchanges.serve(|request, peer, room| match request {
            b"bb" => room.len(),
            _ => backwards(request, peer, room),
        });
        let mut failed = Vec::new();
        let sent = exchanges.send(&server, |peer, error| failed.push((peer, error.raw_os_error())));
        let expected = (client.local_addr().unwrap(), Some(Errno::EMSGSIZE as i32));
        assert_eq!((sent, failed), (2, vec![expected]));
        let mut buffer = [0; 16];
        assert_eq!(client.recv(&mut buffer).unwrap(), 2);
        assert_eq!(client.recv(&mut buffer).unwrap(), 2);
        assert_eq!(buffer[..2], *b"cc");
    }
}
