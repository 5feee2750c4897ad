//! Raw frames: replies to clients that cannot answer ARP and to everybody on a link, and both ends of simulated phones.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use etherparse::IpDscp;
use nix::errno::Errno;
use nix::libc;
use nix::poll::PollFlags;
use nix::sys::socket::{self, MsgFlags};
use offhook_model::Mac;
use socket2::{Domain, SockAddr, SockFilter, Socket, Type};

use crate::mmsg::{self, Target};
use crate::options::{
    enlarge_receive_buffer, enlarge_send_buffer, hardware_address, ignore_outgoing, link_address,
    mtu, promiscuous,
};
use crate::poll::wait_for;
use crate::{Datagram, Frame, Interface, RecvBatch, UdpFrame};

/// An AF_PACKET socket on one interface, for IPv4 UDP. Needs CAP_NET_RAW. Non-blocking.
#[derive(Debug)]
pub struct FrameSocket {
    socket: Socket,
    interface: Interface,
    link: SockAddr,
    /// At most 63.
    dscp: AtomicU8,
}

impl FrameSocket {
    /// For sending only: protocol 0, so the kernel copies no frame into it.
    ///
    /// # Errors
    /// CAP_NET_RAW is missing.
    pub fn open(interface: &Interface) -> io::Result<Self> {
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        socket.set_nonblocking(true)?;
        enlarge_send_buffer(&socket);
        Ok(Self {
            socket,
            interface: interface.clone(),
            link: link_address(interface, libc::ETH_P_IP as u16),
            dscp: AtomicU8::new(0),
        })
    }

    /// For sending and receiving UDP to `port`, or to any port without one. `promiscuous` takes frames to any
    /// MAC address, as a crowd of simulated phones behind one interface needs. What this host sends itself
    /// on the interface is not received.
    ///
    /// # Errors
    /// CAP_NET_RAW is missing or the interface is gone.
    pub fn open_receiving(
        interface: &Interface,
        promiscuous: bool,
        port: Option<u16>,
    ) -> io::Result<Self> {
        let this = Self::open(interface)?;
        enlarge_receive_buffer(&this.socket)?;
        this.socket.attach_filter(&udp_filter(promiscuous, port))?;
        if promiscuous {
            self::promiscuous(&this.socket, interface)?;
        }
        // Last: only now does it receive, so nothing gets past the filter or in from other interfaces.
        this.socket.bind(&this.link)?;
        Ok(this)
    }

    /// For receiving what the kernel keeps from UDP sockets: datagrams to `port` at an address of somebody's, or at
    /// everybody's of a subnet, from clients without one (0.0.0.0), in frames to this host or to all. Those to
    /// 255.255.255.255 are not among them, nor are fragments, nor what is of a VLAN on top of the interface.
    ///
    /// # Errors
    /// CAP_NET_RAW is missing or the interface is gone.
    pub fn open_unaddressed(interface: &Interface, port: u16) -> io::Result<Self> {
        let this = Self::open(interface)?;
        this.socket.attach_filter(&unaddressed_filter(port))?;
        // Of all protocols, though only one gets past the filter: whoever taps one protocol has the kernel copy the
        // head of each of its packets, of all that DNS and TFTP receive; who taps all of them comes before IP.
        ignore_outgoing(&this.socket)?;
        this.socket.bind(&link_address(interface, libc::ETH_P_ALL as u16))?;
        Ok(this)
    }

    /// The interface it is on.
    pub fn interface(&self) -> &Interface {
        &self.interface
    }

    /// Whether the interface was deleted, perhaps made anew: it is of no use any more.
    pub fn is_stale(&self) -> bool {
        !self.interface.is_current()
    }

    /// Whether the interface has another hardware address by now, as a bridge has that gets another port: frames still
    /// leave with the one before. Of a socket that only sends, nothing is known.
    pub fn is_readdressed(&self) -> bool {
        let now = hardware_address(&self.socket);
        now.is_some_and(|now| self.interface.mac.is_some_and(|mac| mac != now))
    }

    /// The longest IP datagram that the interface takes in one frame, in octets.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn mtu(&self) -> io::Result<u16> {
        mtu(&self.socket, &self.interface)
    }

    /// Marks everything sent from now on with this DSCP, 0 to 63.
    ///
    /// # Errors
    /// It is above 63.
    pub fn set_dscp(&self, dscp: u8) -> io::Result<()> {
        let dscp = IpDscp::try_new(dscp).map_err(io::Error::other)?;
        self.dscp.store(dscp.value(), Ordering::Relaxed);
        Ok(())
    }

    /// Sends a datagram in a frame of its own, from the interface's MAC address; no ARP. Waits at most 20 ms
    /// for room in the socket's buffer.
    ///
    /// # Errors
    /// As the kernel says ([`crate::recovery`] says what to do then), or the payload is too long.
    pub fn send_udp(
        &self,
        destination_mac: Mac,
        source: SocketAddrV4,
        destination: SocketAddrV4,
        payload: &[u8],
    ) -> io::Result<()> {
        self.send_udp_from(self.mac(), destination_mac, source, destination, payload)
    }

    /// [`Self::send_udp`] with another source MAC address than the interface's.
    ///
    /// # Errors
    /// As [`Self::send_udp`].
    pub fn send_udp_from(
        &self,
        source_mac: Mac,
        destination_mac: Mac,
        source: SocketAddrV4,
        destination: SocketAddrV4,
        payload: &[u8],
    ) -> io::Result<()> {
        let frame = UdpFrame { source_mac, destination_mac, source, destination, payload };
        let mut result = Ok(());
        self.send_batch(&[frame], |_, error| result = Err(error));
        result
    }

    /// Sends many frames with few system calls, in order. One that fails is told to `failed` by its place and
    /// does not keep the others back. Returns how many were sent.
    pub fn send_batch(
        &self,
        frames: &[UdpFrame<'_>],
        mut failed: impl FnMut(usize, io::Error),
    ) -> usize {
        let mut bytes =
            Vec::with_capacity(frames.iter().map(|frame| frame.payload.len() + 42).sum());
        let mut ends = Vec::with_capacity(frames.len());
        let dscp = IpDscp::try_new(self.dscp.load(Ordering::Relaxed)).unwrap_or(IpDscp::ZERO);
        for (place, frame) in frames.iter().enumerate() {
            match frame.write_marked(dscp, &mut bytes) {
                Ok(()) => ends.push((place, bytes.len())),
                Err(error) => failed(place, error.into()),
            }
        }
        let mut start = 0;
        let targets: Vec<Target<'_>> = ends
            .iter()
            .map(|(_, end)| {
                let bytes = bytes.get(start..*end).unwrap_or_default();
                start = *end;
                Target { bytes, to: self.link.clone(), from: None }
            })
            .collect();
        mmsg::send(self.as_fd(), &targets, |target, error| {
            failed(ends.get(target).map_or(target, |(place, _)| *place), error);
        })
    }

    /// The next UDP frame, read into `buffer`; none when there was none for `timeout`, which without one is
    /// waited for for ever and with zero not at all. A frame longer than `buffer` is dropped, as is
    /// everything that is not a whole UDP datagram.
    ///
    /// # Errors
    /// As the kernel says; [`crate::recovery`] says what to do then.
    pub fn recv<'a>(
        &self,
        buffer: &'a mut [u8],
        timeout: Option<Duration>,
    ) -> io::Result<Option<Frame<'a>>> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            match socket::recv(self.socket.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC) {
                // Twice, because a borrow that is returned from a loop ends with the function.
                Ok(len) if buffer.get(..len).and_then(Frame::parse).is_some() => {
                    return Ok(buffer.get(..len).and_then(Frame::parse));
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
                    if left == Some(Duration::ZERO)
                        || !wait_for(self.as_fd(), PollFlags::POLLIN, left)? && deadline.is_some()
                    {
                        return Ok(None);
                    }
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// The next UDP datagram, without waiting, read into the room of `batch`; none when there is none now.
    ///
    /// # Errors
    /// As [`Self::recv`].
    pub fn recv_datagram<'a>(&self, batch: &'a mut RecvBatch) -> io::Result<Option<Datagram<'a>>> {
        let frame = self.recv(batch.room(), Some(Duration::ZERO))?;
        Ok(frame.map(|frame| Datagram {
            bytes: frame.payload,
            source: frame.source,
            destination: *frame.destination.ip(),
            local: *frame.destination.ip(),
            interface: self.interface.index,
            truncated: false,
        }))
    }

    /// The interface's hardware address.
    pub fn mac(&self) -> Mac {
        self.interface.mac.unwrap_or(Mac([0; 6]))
    }
}

impl AsFd for FrameSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
const LOAD_HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const LOAD_HALF_AFTER_IP: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_IND) as u16;
const IP_HEADER_LENGTH: u16 = (libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH) as u16;
const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const IF_BITS: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
const PACKET_TYPE: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE) as u32;
const VLAN_TAG: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_VLAN_TAG) as u32;

/// A classic BPF program over an Ethernet frame: IPv4, UDP, no fragment but the first, to `port`; and for this
/// host, or for anybody when `promiscuous`: on veth and on a bridge, others' frames come in without asking.
fn udp_filter(promiscuous: bool, port: Option<u16>) -> Vec<SockFilter> {
    // No packet has type 255.
    let unwanted_type = if promiscuous { 0xff } else { u32::from(libc::PACKET_OTHERHOST) };
    let port_or_any = match port {
        Some(port) => SockFilter::new(IF_EQUAL, 0, 1, u32::from(port)),
        None => SockFilter::new(IF_EQUAL, 0, 0, 0),
    };
    // Jumps count the instructions to skip: none, or to the last, which drops the frame.
    vec![
        SockFilter::new(LOAD_BYTE, 0, 0, PACKET_TYPE),
        SockFilter::new(IF_EQUAL, 10, 0, unwanted_type),
        SockFilter::new(LOAD_HALF, 0, 0, 12),
        SockFilter::new(IF_EQUAL, 0, 8, 0x0800),
        SockFilter::new(LOAD_BYTE, 0, 0, 23),
        SockFilter::new(IF_EQUAL, 0, 6, 17),
        SockFilter::new(LOAD_HALF, 0, 0, 20),
        SockFilter::new(IF_BITS, 4, 0, 0x1fff),
        SockFilter::new(IP_HEADER_LENGTH, 0, 0, 14),
        SockFilter::new(LOAD_HALF_AFTER_IP, 0, 0, 14 + 2),
        port_or_any,
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

/// A classic BPF program over an Ethernet frame for this host: IPv4, UDP, in one piece, from 0.0.0.0, not to
/// 255.255.255.255, and to `port`; without a VLAN tag, or with one that has only a priority.
fn unaddressed_filter(port: u16) -> Vec<SockFilter> {
    // Every frame that comes in goes through it: what nearly all of them fail is first.
    // Jumps count the instructions to skip: none, or to the last, which drops the frame.
    vec![
        SockFilter::new(LOAD_WORD, 0, 0, 26),
        SockFilter::new(IF_EQUAL, 0, 16, 0),
        SockFilter::new(LOAD_BYTE, 0, 0, PACKET_TYPE),
        SockFilter::new(IF_EQUAL, 14, 0, u32::from(libc::PACKET_OTHERHOST)),
        SockFilter::new(LOAD_HALF, 0, 0, VLAN_TAG),
        SockFilter::new(IF_BITS, 12, 0, 0x0fff),
        SockFilter::new(LOAD_HALF, 0, 0, 12),
        SockFilter::new(IF_EQUAL, 0, 10, 0x0800),
        SockFilter::new(LOAD_BYTE, 0, 0, 23),
        SockFilter::new(IF_EQUAL, 0, 8, 17),
        SockFilter::new(LOAD_WORD, 0, 0, 30),
        SockFilter::new(IF_EQUAL, 6, 0, u32::MAX),
        SockFilter::new(LOAD_HALF, 0, 0, 20),
        SockFilter::new(IF_BITS, 4, 0, 0x3fff),
        SockFilter::new(IP_HEADER_LENGTH, 0, 0, 14),
        SockFilter::new(LOAD_HALF_AFTER_IP, 0, 0, 14 + 2),
        SockFilter::new(IF_EQUAL, 0, 1, u32::from(port)),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}
