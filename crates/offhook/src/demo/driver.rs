//! Drives one simulated phone with real sockets, in the phone's namespace: frames for DHCP, and an address on the
//! interface and ordinary sockets for everything after.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use offhook_model::Mac;
use offhook_net::{FrameSocket, Interface, Poller};
use offhook_sim::{Action, Input, Link, Phone};

use super::error::{Context, Error};
use super::net::Net;
use super::office::interface;
use super::stop::Stop;
use crate::clock::{self, Clock};

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
const LINKS: [Link; 2] = [Link::Native, Link::Voice];
/// How often a wait looks whether the demo is to stop.
const GLANCE: Duration = Duration::from_millis(100);
/// Larger than any datagram of an Ethernet without jumbo frames.
const BUFFER: usize = 2048;

/// Boots the phone to its end.
///
/// # Errors
/// The sockets or interfaces fail, or the demo is told to stop; a phone that does not come up is no error.
pub(super) fn boot(net: &Net, mut phone: Phone, stop: &Stop) -> Result<Phone, Error> {
    let mut driver = Driver::plug_in(net, phone.mac())?;
    let clock = Clock::start(clock::wall());
    let result = loop {
        if let Err(error) = stop.check() {
            break Err(error);
        }
        match phone.poll(clock.now()) {
            Action::Done => break Ok(()),
            Action::Wait(until) => {
                let time = until.since(clock.now()).min(GLANCE);
                if let Err(error) = driver.wait(&mut phone, clock, time) {
                    break Err(error);
                }
            }
            action => {
                if let Err(error) = driver.act(action) {
                    break Err(error);
                }
            }
        }
    };
    driver.unplug()?;
    result.map(|()| phone)
}

struct Driver<'a> {
    net: &'a Net,
    mac: Mac,
    frames: Vec<(Link, FrameSocket)>,
    poller: Poller,
    /// Link, address and prefix length in use.
    address: Option<(Link, Ipv4Addr, u8)>,
    /// The socket of the port in use: phones do one thing at a time.
    udp: Option<(u16, UdpSocket)>,
    /// Keeps the kernel from telling the server that nobody listens on port 68.
    renewing: Option<UdpSocket>,
}

impl<'a> Driver<'a> {
    fn plug_in(net: &'a Net, mac: Mac) -> Result<Self, Error> {
        let open = |link| {
            let name = interface(link);
            net.set_mac(name, mac)?;
            let interface = Interface::named(name).context("use an interface")?;
            let socket = FrameSocket::open_receiving(&interface, false, Some(CLIENT_PORT))
                .context(format_args!("open a packet socket on `{name}`"))?;
            Ok((link, socket))
        };
        Ok(Self {
            net,
            mac,
            frames: LINKS.into_iter().map(open).collect::<Result<_, Error>>()?,
            poller: Poller::new().context("wait for packets")?,
            address: None,
            udp: None,
            renewing: None,
        })
    }

    fn unplug(mut self) -> Result<(), Error> {
        self.clear_address()
    }

    fn act(&mut self, action: Action) -> Result<(), Error> {
        match action {
            Action::SendDhcp { link, source, destination, payload } => {
                self.send_dhcp(link, source, destination, &payload).context("send DHCP")
            }
            Action::SetAddress { link, address, prefix, router } => {
                self.clear_address()?;
                self.net.add_address(interface(link), address, prefix)?;
                self.address = Some((link, address, prefix));
                if let Some(router) = router {
                    // A router that cannot be used is as good as none, and shows in what comes next.
                    let _ = self.net.add_default_route(router);
                }
                Ok(())
            }
            Action::ClearAddress { .. } => self.clear_address(),
            Action::SendUdp { port, destination, payload } => self
                .send_udp(port, destination, &payload)
                .context(format_args!("send to {destination}")),
            Action::Wait(_) | Action::Done => Ok(()),
        }
    }

    fn send_dhcp(
        &mut self,
        link: Link,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        payload: &[u8],
    ) -> io::Result<()> {
        let to = SocketAddrV4::new(destination, SERVER_PORT);
        if !destination.is_broadcast() {
            let socket = UdpSocket::bind(SocketAddrV4::new(source, CLIENT_PORT))?;
            let sent = socket.send_to(payload, to);
            self.renewing = Some(socket);
            return sent_or_lost(sent);
        }
        let from = SocketAddrV4::new(source, CLIENT_PORT);
        let Some((_, socket)) = self.frames.iter().find(|(on, _)| *on == link) else {
            return Ok(());
        };
        socket.send_udp_from(self.mac, Mac::BROADCAST, from, to, payload)
    }

    fn send_udp(&mut self, port: u16, to: SocketAddrV4, payload: &[u8]) -> io::Result<()> {
        let socket = match &mut self.udp {
            Some((bound, socket)) if *bound == port => socket,
            other => {
                let socket = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))?;
                socket.set_nonblocking(true)?;
                &mut other.insert((port, socket)).1
            }
        };
        sent_or_lost(socket.send_to(payload, to))
    }

    fn clear_address(&mut self) -> Result<(), Error> {
        self.udp = None;
        self.renewing = None;
        match self.address.take() {
            Some((link, address, prefix)) => {
                self.net.remove_address(interface(link), address, prefix)
            }
            None => Ok(()),
        }
    }

    /// Waits for packets, and gives the phone what there is.
    fn wait(&mut self, phone: &mut Phone, clock: Clock, time: Duration) -> Result<(), Error> {
        let frames = self.frames.iter().map(|(_, socket)| socket.as_fd());
        let sockets: Vec<_> =
            frames.chain(self.udp.iter().map(|(_, socket)| socket.as_fd())).collect();
        let ready = self.poller.wait(&sockets, Some(time)).context("wait for packets")?;
        let mut buffer = [0; BUFFER];
        for (place, (link, socket)) in self.frames.iter().enumerate() {
            if !ready.is_readable(place) {
                continue;
            }
            let frame = socket.recv(&mut buffer, Some(Duration::ZERO)).context("receive DHCP")?;
            if let Some(frame) = frame.filter(|frame| frame.source.port() == SERVER_PORT) {
                phone.handle(clock.now(), Input::Dhcp { link: *link, payload: frame.payload });
            }
        }
        if let Some((port, socket)) = &self.udp
            && ready.is_readable(self.frames.len())
            && let Ok((length, SocketAddr::V4(from))) = socket.recv_from(&mut buffer)
        {
            let payload = buffer.get(..length).unwrap_or_default();
            phone.handle(clock.now(), Input::Udp { port: *port, from, payload });
        }
        Ok(())
    }
}

/// Where nobody listens, or no way leads, a packet is lost as far as a phone can tell.
fn sent_or_lost(result: io::Result<usize>) -> io::Result<()> {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    match result {
        Err(error)
            if matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable) =>
        {
            Ok(())
        }
        result => result.map(drop),
    }
}
