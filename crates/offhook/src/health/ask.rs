//! One probe of one server: a socket of its own, a question, an answer or the end of the time for it.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use offhook_dns::health::{Failure, Inquiry, Progress};
use offhook_model::Probe;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout_at;

/// The largest piece of an answer that is read at a time. A datagram may be longer, what matters is at its beginning.
const PIECE: usize = 8 << 10;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server's fault, as far as anybody can tell.
    Theirs(Failure),
    /// Ours: it says nothing about the server.
    Ours(io::Error),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Theirs(failure)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        let failure = match error.kind() {
            ErrorKind::ConnectionRefused => Failure::Refused,
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
                Failure::Unreachable
            }
            ErrorKind::TimedOut => Failure::TimedOut,
            ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
            | ErrorKind::NotConnected => Failure::Closed,
            // No more descriptors, ports or memory, or our own firewall.
            _ => return Self::Ours(error),
        };
        Self::Theirs(failure)
    }
}

/// Asks `server`, which is one of the switchover `name`, until `deadline`. The source is what routing says.
pub(super) async fn ask(
    probe: Probe,
    server: SocketAddr,
    name: Arc<str>,
    deadline: Instant,
) -> Result<(), Trouble> {
    let answer = async {
        match probe {
            Probe::SipUdp => over_udp(&probe, server, &name).await,
            Probe::SipTcp | Probe::Tcp | Probe::Tls | Probe::Http { .. } => {
                over_tcp(&probe, server, &name).await
            }
        }
    };
    match timeout_at(deadline.into(), answer).await {
        Ok(answer) => answer,
        Err(_) => Err(Failure::TimedOut.into()),
    }
}

/// A socket that is connected hears nobody but the server, and of ICMP errors; its port is a new one each time.
async fn over_udp(probe: &Probe, server: SocketAddr, name: &str) -> Result<(), Trouble> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.connect(server).await?;
    let mut inquiry = Inquiry::new(probe, server, socket.local_addr()?, name, &mut rand::rng());
    socket.send(inquiry.request().unwrap_or_default()).await?;
    let mut buffer = vec![0; PIECE];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match inquiry.datagram(buffer.get(..length).unwrap_or_default()) {
            Progress::Wait => {}
            Progress::Alive => return Ok(()),
            Progress::Dead(failure) => return Err(failure.into()),
        }
    }
}

async fn over_tcp(probe: &Probe, server: SocketAddr, name: &str) -> Result<(), Trouble> {
    let mut stream = TcpStream::connect(server).await?;
    let mut inquiry = Inquiry::new(probe, server, stream.local_addr()?, name, &mut rand::rng());
    let Some(request) = inquiry.request() else { return Ok(()) };
    stream.write_all(request).await?;
    let mut buffer = vec![0; PIECE];
    loop {
        let length = stream.read(&mut buffer).await?;
        match inquiry.stream(buffer.get(..length).unwrap_or_default()) {
            Progress::Wait => {}
            Progress::Alive => return Ok(()),
            Progress::Dead(failure) => return Err(failure.into()),
        }
    }
}
