//! Waiting for sockets, with a way for other threads to end the wait.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// Waits for any of several sockets to have something to read, or for a [`Waker`].
#[derive(Debug)]
pub struct Poller {
    event: Arc<EventFd>,
}

/// Ends the wait of its [`Poller`] from another thread. A wake-up before the wait is not lost: the next wait
/// returns at once. Several before one wait are one.
#[derive(Clone, Debug)]
pub struct Waker {
    pub(crate) event: Arc<EventFd>,
}

/// What ended a wait. Neither when it was the time-out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// A [`Waker`] was used.
    pub woken: bool,
    readable: Vec<bool>,
}

impl Ready {
    /// Whether the socket at this place of the list has something to read, an error to report included.
    pub fn is_readable(&self, place: usize) -> bool {
        self.readable.get(place).copied().unwrap_or_default()
    }

    /// Whether nothing happened before the time-out.
    pub fn is_empty(&self) -> bool {
        !self.woken && !self.readable.contains(&true)
    }
}

impl Poller {
    /// # Errors
    /// The process has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Self { event: Arc::new(event) })
    }

    /// A handle that ends the wait from elsewhere.
    pub fn waker(&self) -> Waker {
        Waker { event: Arc::clone(&self.event) }
    }

    /// Waits until a socket of `sockets` has something to read, a waker is used or `timeout` is over; without
    /// one, for ever. A time-out is rounded up to whole milliseconds. A signal ends the wait early, as the
    /// time-out would.
    ///
    /// # Errors
    /// The kernel is out of memory.
    pub fn wait(&self, sockets: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<Ready> {
        let mut fds: Vec<PollFd<'_>> = sockets
            .iter()
            .copied()
            .chain([self.event.as_fd()])
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        match nix::poll::poll(&mut fds, poll_timeout(timeout)) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Ready::default()),
            Err(errno) => return Err(errno.into()),
        }
        let mut readable: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(true)).collect();
        let woken = readable.pop().unwrap_or_default();
        if woken {
            // Fails only when another wait emptied it first.
            let _ = self.event.read();
        }
        Ok(Ready { woken, readable })
    }
}

impl Waker {
    /// Ends the wait, or the next one.
    pub fn wake(&self) {
        // Fails only when the counter is full, and then the poller is being woken already.
        let _ = self.event.write(1);
    }
}

/// Waits until `fd` is ready for `what`; false when `timeout` was over first.
pub(crate) fn wait_for(
    fd: BorrowedFd<'_>,
    what: PollFlags,
    timeout: Option<Duration>,
) -> io::Result<bool> {
    match nix::poll::poll(&mut [PollFd::new(fd, what)], poll_timeout(timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

pub(crate) fn poll_timeout(timeout: Option<Duration>) -> PollTimeout {
    timeout.map_or(PollTimeout::NONE, |timeout| {
        let millis = timeout.as_nanos().div_ceil(1_000_000);
        PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
    })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::thread;

    use super::*;

    const LONG: Option<Duration> = Some(Duration::from_secs(10));

    #[test]
    fn the_socket_with_a_datagram_is_the_readable_one() {
        let [idle, busy] = [0, 1].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
        busy.send_to(b"x", busy.local_addr().unwrap()).unwrap();
        let ready = Poller::new().unwrap().wait(&[idle.as_fd(), busy.as_fd()], LONG).unwrap();
        assert!(!ready.is_readable(0) && ready.is_readable(1) && !ready.woken);
        assert!(!ready.is_readable(2));
    }

    #[test]
    fn a_waker_ends_the_wait_once_before_it_or_during_it() {
        let poller = Poller::new().unwrap();
        let waker = poller.waker();
        waker.wake();
        waker.clone().wake();
        assert!(poller.wait(&[], LONG).unwrap().woken);
        assert!(poller.wait(&[], Some(Duration::ZERO)).unwrap().is_empty());
        let other = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            waker.wake();
        });
        assert!(poller.wait(&[], LONG).unwrap().woken);
        other.join().unwrap();
    }

    #[test]
    fn a_wait_for_nothing_ends_with_its_time_out() {
        let idle = UdpSocket::bind("127.0.0.1:0").unwrap();
        let ready = Poller::new().unwrap().wait(&[idle.as_fd()], Some(Duration::from_nanos(1)));
        assert!(ready.unwrap().is_empty());
    }
}
