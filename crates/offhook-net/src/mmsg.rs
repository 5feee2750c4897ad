//! Many datagrams with one system call: recvmmsg(2) and sendmmsg(2) with packet information (ip(7)).
#![expect(
    unsafe_code,
    reason = "nix's recvmmsg cannot reuse its headers: it never resets their lengths"
)]

use std::io;
use std::mem::zeroed;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::poll::PollFlags;
use socket2::SockAddr;

use crate::poll::wait_for;

/// Most datagrams of one call.
pub(crate) const BATCH: usize = 64;

/// How long a send waits for room in the socket's buffer before it gives up.
pub(crate) const ROOM: Duration = Duration::from_millis(20);

/// Room for one in_pktinfo and its header, aligned as cmsghdr wants it.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; 64]);

/// What the kernel says of a received datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) len: usize,
    pub(crate) source: SocketAddrV4,
    pub(crate) destination: Ipv4Addr,
    pub(crate) local: Ipv4Addr,
    pub(crate) interface: u32,
    pub(crate) truncated: bool,
}

/// Where a datagram or frame goes.
pub(crate) struct Target<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) to: SockAddr,
    /// Source address and interface index, for UDP.
    pub(crate) from: Option<(Ipv4Addr, u32)>,
}

/// Receives up to [`BATCH`] datagrams, one into each of `slots`, and tells `received` of each in order.
/// Never waits. Returns how many there were.
pub(crate) fn receive<'a>(
    fd: BorrowedFd<'_>,
    slots: impl Iterator<Item = &'a mut [u8]>,
    mut received: impl FnMut(Received),
) -> io::Result<usize> {
    // SAFETY: these are plain C structures, for which all bits zero is a valid value.
    let (mut names, mut vectors, mut headers): (
        [libc::sockaddr_in; BATCH],
        [libc::iovec; BATCH],
        [libc::mmsghdr; BATCH],
    ) = unsafe { (zeroed(), zeroed(), zeroed()) };
    let mut controls = [Control([0; 64]); BATCH];

    let mut count = 0;
    for ((((slot, name), vector), header), control) in slots
        .zip(names.iter_mut())
        .zip(vectors.iter_mut())
        .zip(headers.iter_mut())
        .zip(controls.iter_mut())
    {
        vector.iov_base = slot.as_mut_ptr().cast();
        vector.iov_len = slot.len();
        header.msg_hdr.msg_name = (&raw mut *name).cast();
        header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_control = (&raw mut *control).cast();
        header.msg_hdr.msg_controllen = size_of::<Control>();
        count += 1;
    }

    let got = loop {
        // SAFETY: the first `count` headers point to names, vectors, controls and slots that all outlive this
        // function's use of them, with their true sizes; no time-out is given.
        let result = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        match Errno::result(result) {
            Ok(got) => break usize::try_from(got).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(0),
            Err(errno) => return Err(errno.into()),
        }
    };
    for (header, name) in headers.iter().zip(&names).take(got) {
        let info = packet_info(&header.msg_hdr);
        received(Received {
            len: header.msg_len as usize,
            source: SocketAddrV4::new(address(name.sin_addr), u16::from_be(name.sin_port)),
            destination: info.map_or(Ipv4Addr::UNSPECIFIED, |info| address(info.ipi_addr)),
            local: info.map_or(Ipv4Addr::UNSPECIFIED, |info| address(info.ipi_spec_dst)),
            interface: info.map_or(0, |info| u32::try_from(info.ipi_ifindex).unwrap_or_default()),
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        });
    }
    Ok(got)
}

/// The IP_PKTINFO that came with a message.
fn packet_info(header: &libc::msghdr) -> Option<libc::in_pktinfo> {
    // SAFETY: the kernel filled in the header's control buffer and its length, and the buffer is alive.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: FIRSTHDR and NXTHDR return null or a pointer to a whole cmsghdr inside of the buffer.
    while let Some(control) = unsafe { message.as_ref() } {
        if control.cmsg_level == libc::IPPROTO_IP && control.cmsg_type == libc::IP_PKTINFO {
            // SAFETY: a message of this kind holds an in_pktinfo, at whatever alignment.
            return Some(unsafe {
                libc::CMSG_DATA(message).cast::<libc::in_pktinfo>().read_unaligned()
            });
        }
        // SAFETY: as above; `message` is from this header.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    None
}

/// Sends every target in order, in calls of up to [`BATCH`]. One that fails is told to `failed` by its place
/// and skipped. When there is no room in the socket's buffer for [`ROOM`], it and all after it fail with
/// [`io::ErrorKind::WouldBlock`]. Returns how many were sent.
pub(crate) fn send(
    fd: BorrowedFd<'_>,
    targets: &[Target<'_>],
    mut failed: impl FnMut(usize, io::Error),
) -> usize {
    let (mut sent, mut place) = (0, 0);
    while let Some(rest) = targets.get(place..).filter(|rest| !rest.is_empty()) {
        match send_some(fd, rest) {
            Ok(count) => {
                sent += count;
                place += count;
            }
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                if !wait_for(fd, PollFlags::POLLOUT, Some(ROOM)).unwrap_or(false) {
                    (place..targets.len()).for_each(|place| failed(place, Errno::EAGAIN.into()));
                    return sent;
                }
            }
            Err(errno) => {
                failed(place, errno.into());
                place += 1;
            }
        }
    }
    sent
}

/// One sendmmsg of the first [`BATCH`] targets; at least one was sent when it succeeds.
fn send_some(fd: BorrowedFd<'_>, targets: &[Target<'_>]) -> Result<usize, Errno> {
    // SAFETY: these are plain C structures, for which all bits zero is a valid value.
    let (mut vectors, mut headers): ([libc::iovec; BATCH], [libc::mmsghdr; BATCH]) =
        unsafe { (zeroed(), zeroed()) };
    let mut controls = [Control([0; 64]); BATCH];

    let mut count = 0;
    for (((target, vector), header), control) in
        targets.iter().zip(vectors.iter_mut()).zip(headers.iter_mut()).zip(controls.iter_mut())
    {
        // sendmmsg reads only; the structure has no const form.
        vector.iov_base = target.bytes.as_ptr().cast_mut().cast();
        vector.iov_len = target.bytes.len();
        header.msg_hdr.msg_name = target.to.as_ptr().cast_mut().cast();
        header.msg_hdr.msg_namelen = target.to.len();
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        if let Some(from) = target.from {
            header.msg_hdr.msg_control = (&raw mut *control).cast();
            put_packet_info(&mut header.msg_hdr, from);
        }
        count += 1;
    }
    // SAFETY: the first `count` headers point to vectors, controls, addresses and bytes that all outlive the
    // call, with their true sizes.
    let result = unsafe {
        libc::sendmmsg(
            fd.as_raw_fd(),
            headers.as_mut_ptr(),
            count,
            (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
        )
    };
    Errno::result(result).map(|sent| usize::try_from(sent).unwrap_or_default())
}

/// Writes an IP_PKTINFO into the header's control buffer, a whole [`Control`].
fn put_packet_info(header: &mut libc::msghdr, (source, interface): (Ipv4Addr, u32)) {
    let info = libc::in_pktinfo {
        ipi_ifindex: interface as libc::c_int,
        ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(source.octets()) },
        ipi_addr: libc::in_addr { s_addr: 0 },
    };
    let size = size_of::<libc::in_pktinfo>() as libc::c_uint;
    // SAFETY: CMSG_SPACE and CMSG_LEN only compute. The buffer is a `Control`, aligned for cmsghdr and larger
    // than CMSG_SPACE of an in_pktinfo, so FIRSTHDR is not null and CMSG_DATA has room for one.
    unsafe {
        header.msg_controllen = libc::CMSG_SPACE(size) as _;
        let message = libc::CMSG_FIRSTHDR(header);
        (*message).cmsg_level = libc::IPPROTO_IP;
        (*message).cmsg_type = libc::IP_PKTINFO;
        (*message).cmsg_len = libc::CMSG_LEN(size) as _;
        libc::CMSG_DATA(message).cast::<libc::in_pktinfo>().write_unaligned(info);
    }
}

fn address(address: libc::in_addr) -> Ipv4Addr {
    Ipv4Addr::from(address.s_addr.to_ne_bytes())
}
