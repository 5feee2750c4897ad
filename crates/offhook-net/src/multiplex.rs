//! Waiting for thousands of sockets at once: epoll(7).

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::PollTimeout;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::poll::{Waker, poll_timeout};

/// Most events of one wait.
const EVENTS: usize = 256;
/// The token of the waker: no socket's.
const WAKER: u64 = u64::MAX - 1;

/// Waits for any of many sockets, or for a [`Waker`]. A socket that is closed is watched no more.
#[derive(Debug)]
pub struct Multiplexer {
    epoll: Epoll,
    event: Arc<EventFd>,
}

/// What a socket is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something to read, as long as there is something.
    Readable,
    /// Something to read, once when it comes: who is told reads until there is nothing left, or waits for what comes
    /// next. That is half the work for the kernel.
    Arrivals,
    /// As [`Self::Arrivals`], and room to write, once when there is some.
    ArrivalsAndRoom,
}

impl Interest {
    fn flags(self) -> EpollFlags {
        match self {
            Self::Readable => EpollFlags::EPOLLIN,
            Self::Arrivals => EpollFlags::EPOLLIN | EpollFlags::EPOLLET,
            Self::ArrivalsAndRoom => {
                EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET
            }
        }
    }
}

/// A socket something has happened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// What it was added with.
    pub token: u64,
    /// It has something to read, or an error to report.
    pub readable: bool,
}

/// What has happened. To be used again and again.
#[derive(Debug)]
pub struct Events {
    list: [EpollEvent; EVENTS],
    count: usize,
    woken: bool,
}

impl Default for Events {
    fn default() -> Self {
        Self { list: [EpollEvent::empty(); EVENTS], count: 0, woken: false }
    }
}

impl Events {
    /// The sockets something has happened to.
    pub fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        let sockets = self.list.iter().take(self.count).filter(|event| event.data() != WAKER);
        sockets.map(|event| Event {
            token: event.data(),
            readable: event.events() != EpollFlags::EPOLLOUT,
        })
    }

    /// Whether nothing has happened: the wait ended by its time-out.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether a [`Waker`] was used.
    pub fn woken(&self) -> bool {
        self.woken
    }
}

impl Multiplexer {
    /// # Errors
    /// The process has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        epoll.add(&event, EpollEvent::new(EpollFlags::EPOLLIN, WAKER))?;
        Ok(Self { epoll, event: Arc::new(event) })
    }

    /// A handle that ends the wait from elsewhere.
    pub fn waker(&self) -> Waker {
        Waker { event: Arc::clone(&self.event) }
    }

    /// Watches a socket, under any token below `u64::MAX - 1`.
    ///
    /// # Errors
    /// The kernel is out of memory, or the socket is watched already.
    pub fn add(&self, socket: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        Ok(self.epoll.add(socket, EpollEvent::new(interest.flags(), token))?)
    }

    /// Watches a socket for something else from now on, or anew for the same: what there is by now is told.
    ///
    /// # Errors
    /// It is not watched.
    pub fn modify(&self, socket: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        Ok(self.epoll.modify(socket, &mut EpollEvent::new(interest.flags(), token))?)
    }

    /// Waits until a socket is ready, a waker is used or `timeout` is over; without one, for ever. A time-out is
    /// rounded up to whole milliseconds. A signal ends the wait early, as the time-out would.
    ///
    /// # Errors
    /// As the kernel says: none that passes.
    pub fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.count = 0;
        events.woken = false;
        let timeout: PollTimeout = poll_timeout(timeout);
        match self.epoll.wait(&mut events.list, timeout) {
            Ok(count) => events.count = count,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        if events.list.iter().take(events.count).any(|event| event.data() == WAKER) {
            events.woken = true;
            // Fails only when another wait emptied it first.
            let _ = self.event.read();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    const LONG: Option<Duration> = Some(Duration::from_secs(10));

    #[test]
    fn of_many_sockets_the_ready_ones_are_told_and_closed_ones_never_again() {
        let multiplexer = Multiplexer::new().unwrap();
        let mut sockets: Vec<_> =
            (0..500).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        for (socket, token) in sockets.iter().zip(0..) {
            multiplexer.add(socket.as_fd(), token, Interest::Readable).unwrap();
        }
        let mut events = Events::default();
        sockets[0].send_to(b"x", sockets[321].local_addr().unwrap()).unwrap();
        multiplexer.wait(&mut events, LONG).unwrap();
        let expected = [Event { token: 321, readable: true }];
        assert_eq!(events.iter().collect::<Vec<_>>(), expected);
        sockets.truncate(321);
        multiplexer.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert_eq!(events.iter().count(), 0);
    }

    #[test]
    fn what_comes_is_told_as_long_as_it_is_there_or_once() {
        let multiplexer = Multiplexer::new().unwrap();
        let [level, edge] = [0, 1].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
        multiplexer.add(level.as_fd(), 1, Interest::Readable).unwrap();
        multiplexer.add(edge.as_fd(), 2, Interest::Arrivals).unwrap();
        let mut events = Events::default();
        let mut told = || {
            multiplexer.wait(&mut events, Some(Duration::ZERO)).unwrap();
            let mut tokens: Vec<_> = events.iter().map(|event| event.token).collect();
            tokens.sort_unstable();
            tokens
        };
        for _ in 0..2 {
            for socket in [&level, &edge] {
                socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
            }
            assert_eq!(told(), [1, 2]);
            assert_eq!(told(), [1]);
        }
        multiplexer.modify(edge.as_fd(), 2, Interest::Arrivals).unwrap();
        assert_eq!(told(), [1, 2]);
        assert_eq!(told(), [1]);
    }

    #[test]
    fn room_to_write_is_told_to_who_wants_to_know() {
        let multiplexer = Multiplexer::new().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        multiplexer.add(socket.as_fd(), 1, Interest::Arrivals).unwrap();
        let mut events = Events::default();
        multiplexer.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert_eq!(events.iter().count(), 0);
        multiplexer.modify(socket.as_fd(), 1, Interest::ArrivalsAndRoom).unwrap();
        multiplexer.wait(&mut events, LONG).unwrap();
        assert_eq!(events.iter().collect::<Vec<_>>(), [Event { token: 1, readable: false }]);
    }

    #[test]
    fn a_waker_ends_the_wait_and_only_once() {
        let multiplexer = Multiplexer::new().unwrap();
        multiplexer.waker().wake();
        let mut events = Events::default();
        multiplexer.wait(&mut events, LONG).unwrap();
        assert!(events.woken() && events.iter().count() == 0);
        multiplexer.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(!events.woken());
    }
}
