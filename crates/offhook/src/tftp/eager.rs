//! When it pays to look for the next datagram at once instead of sleeping until it comes.
//!
//! A client in lock step sends its next ACK a round trip after its block, and where that is some 30 µs, as between
//! virtual machines or over a short fast link, most of it is the time that this thread needs to wake up. So where the
//! last wait was that short, the thread stays awake for as long again before it sleeps. Whoever else wants the
//! processor goes first. Phones are farther away than that: with them the thread sleeps as ever. And where many are
//! served nobody's round trip matters much, but the processor does: then it stays awake for a moment only, no longer
//! than it takes to fall asleep and to be woken.

use std::io;
use std::time::{Duration, Instant};

use offhook_net::{Events, Multiplexer};

/// Waits that are worth staying awake for.
const SHORT: Duration = Duration::from_micros(150);

/// How long to stay awake where many are served.
const MOMENT: Duration = Duration::from_micros(20);

/// Transfers at a time up to which a client's round trip counts for more than the processor.
pub(super) const FEW: usize = 4;

/// Waits for sockets, awake or asleep.
#[derive(Debug, Default)]
pub(super) struct Eager {
    /// The last wait was short.
    stay: bool,
}

impl Eager {
    /// As [`Multiplexer::wait`], while there are so many transfers.
    ///
    /// # Errors
    /// As that has.
    pub(super) fn wait(
        &mut self,
        multiplexer: &Multiplexer,
        events: &mut Events,
        timeout: Option<Duration>,
        transfers: usize,
    ) -> io::Result<()> {
        let most = if transfers <= FEW { SHORT } else { MOMENT };
        let began = Instant::now();
        let awake = timeout.map_or(most, |timeout| timeout.min(most));
        while self.stay && began.elapsed() < awake {
            multiplexer.wait(events, Some(Duration::ZERO))?;
            if !events.is_empty() {
                return Ok(());
            }
            std::thread::yield_now();
        }
        multiplexer.wait(events, timeout)?;
        self.stay = !events.is_empty() && began.elapsed() < SHORT;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use offhook_net::Interest;

    use super::*;

    #[test]
    fn it_stays_awake_after_a_short_wait_and_sleeps_after_a_long_one() {
        let multiplexer = Multiplexer::new().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        multiplexer.add(socket.as_fd(), 1, Interest::Readable).unwrap();
        let (mut eager, mut events) = (Eager::default(), Events::default());
        let mut stayed = |transfers| {
            let stay = eager.stay;
            let timeout = Some(Duration::from_millis(10));
            eager.wait(&multiplexer, &mut events, timeout, transfers).unwrap();
            (stay, events.is_empty())
        };
        for transfers in [1, FEW + 1] {
            assert_eq!(stayed(transfers), (false, true));
            socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
            // Even a machine that is busy has it within a few tries.
            assert!((0..1000).any(|_| stayed(transfers) == (true, false)));
            socket.recv(&mut [0; 1]).unwrap();
            assert!(stayed(transfers).1);
        }
    }
}
