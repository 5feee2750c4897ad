//! DHCP packets put together and taken apart by hand, so that nothing of the program checks itself.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use offhook_model::Mac;
use offhook_net::{FrameSocket, Interface};

pub(crate) const DISCOVER: u8 = 1;
pub(crate) const OFFER: u8 = 2;
pub(crate) const REQUEST: u8 = 3;
pub(crate) const DECLINE: u8 = 4;
pub(crate) const ACK: u8 = 5;
pub(crate) const NAK: u8 = 6;
pub(crate) const RELEASE: u8 = 7;
pub(crate) const INFORM: u8 = 8;

const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// A message from a client, to be changed at will before it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) xid: u32,
    pub(crate) mac: Mac,
    pub(crate) flags: u16,
    pub(crate) ciaddr: Ipv4Addr,
    pub(crate) giaddr: Ipv4Addr,
    pub(crate) options: Vec<(u8, Vec<u8>)>,
}

impl Message {
    /// A message of `kind` with nothing but option 53.
    pub(crate) fn new(kind: u8, mac: Mac, xid: u32) -> Self {
        let (ciaddr, giaddr) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED);
        Self { xid, mac, flags: 0, ciaddr, giaddr, options: vec![(53, vec![kind])] }
    }

    pub(crate) fn with(mut self, code: u8, value: impl AsRef<[u8]>) -> Self {
        self.options.push((code, value.as_ref().to_vec()));
        self
    }

    pub(crate) fn broadcast(mut self) -> Self {
        self.flags = 0x8000;
        self
    }

    pub(crate) fn from(mut self, ciaddr: Ipv4Addr) -> Self {
        self.ciaddr = ciaddr;
        self
    }

    pub(crate) fn relayed(mut self, giaddr: Ipv4Addr) -> Self {
        self.giaddr = giaddr;
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![1, 1, 6, u8::from(!self.giaddr.is_unspecified())];
        bytes.extend(self.xid.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(self.flags.to_be_bytes());
        bytes.extend(self.ciaddr.octets());
        bytes.extend([0; 8]);
        bytes.extend(self.giaddr.octets());
        bytes.extend(self.mac.0);
        bytes.extend([0; 10 + 64 + 128]);
        bytes.extend(COOKIE);
        for (code, value) in &self.options {
            bytes.extend([*code, u8::try_from(value.len()).unwrap()]);
            bytes.extend(value);
        }
        bytes.push(255);
        bytes
    }
}

/// A reply, and the frame it came in.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) bytes: Vec<u8>,
    pub(crate) destination_mac: Mac,
    pub(crate) destination: SocketAddrV4,
    pub(crate) source: SocketAddrV4,
}

impl Reply {
    pub(crate) fn xid(&self) -> u32 {
        u32::from_be_bytes(self.bytes[4..8].try_into().unwrap())
    }

    fn address(&self, at: usize) -> Ipv4Addr {
        Ipv4Addr::from(<[u8; 4]>::try_from(&self.bytes[at..at + 4]).unwrap())
    }

    pub(crate) fn yiaddr(&self) -> Ipv4Addr {
        self.address(16)
    }

    pub(crate) fn siaddr(&self) -> Ipv4Addr {
        self.address(20)
    }

    pub(crate) fn file(&self) -> &[u8] {
        let file = &self.bytes[108..236];
        &file[..file.iter().position(|byte| *byte == 0).unwrap_or(file.len())]
    }

    pub(crate) fn kind(&self) -> u8 {
        self.option(53).expect("option 53")[0]
    }

    pub(crate) fn option(&self, code: u8) -> Option<Vec<u8>> {
        self.options().into_iter().find(|(c, _)| *c == code).map(|(_, value)| value)
    }

    pub(crate) fn text(&self, code: u8) -> Option<String> {
        self.option(code).map(|value| String::from_utf8(value).unwrap())
    }

    /// Every option in the order of the wire.
    pub(crate) fn options(&self) -> Vec<(u8, Vec<u8>)> {
        assert_eq!(self.bytes[236..240], COOKIE);
        let (mut at, mut options) = (240, Vec::new());
        loop {
            match self.bytes[at] {
                0 => at += 1,
                255 => return options,
                code => {
                    let end = at + 2 + usize::from(self.bytes[at + 1]);
                    options.push((code, self.bytes[at + 2..end].to_vec()));
                    at = end;
                }
            }
        }
    }
}

/// A network card that speaks DHCP for any MAC address, in the namespace of the calling thread.
pub(crate) struct Card {
    frames: FrameSocket,
}

impl Card {
    pub(crate) fn open(interface: &str) -> Self {
        let interface = Interface::named(interface).unwrap();
        Self { frames: FrameSocket::open_receiving(&interface, true, None).unwrap() }
    }

    /// Broadcasts as a client without an address does.
    pub(crate) fn broadcast(&self, message: &Message) {
        self.send(&message.bytes(), message.mac);
    }

    fn send(&self, bytes: &[u8], from: Mac) {
        let nobody = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
        let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
        self.frames.send_udp_from(from, Mac([0xff; 6]), nobody, everybody, bytes).unwrap();
    }

    /// The next reply for `xid`, waited for two seconds.
    pub(crate) fn reply(&self, xid: u32) -> Option<Reply> {
        self.reply_within(xid, Duration::from_secs(2))
    }

    pub(crate) fn reply_within(&self, xid: u32, patience: Duration) -> Option<Reply> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            if let Some(reply) = self.next(left)
                && reply.xid() == xid
            {
                return Some(reply);
            }
        }
    }

    /// The next reply whatever its xid.
    pub(crate) fn next(&self, patience: Duration) -> Option<Reply> {
        let deadline = Instant::now() + patience;
        let mut buffer = [0; 4096];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let frame = self.frames.recv(&mut buffer, Some(left)).unwrap()?;
            if frame.source.port() == 67 && frame.payload.len() >= 240 && frame.payload[0] == 2 {
                return Some(Reply {
                    bytes: frame.payload.to_vec(),
                    destination_mac: frame.destination_mac,
                    destination: frame.destination,
                    source: frame.source,
                });
            }
        }
    }

    /// Sends and waits for the answer.
    pub(crate) fn ask(&self, message: &Message) -> Option<Reply> {
        self.broadcast(message);
        self.reply(message.xid)
    }

    /// Broadcasts any bytes and waits a moment for an answer to `xid`.
    pub(crate) fn ask_bytes(&self, bytes: &[u8], mac: Mac, xid: u32) -> Option<Reply> {
        self.send(bytes, mac);
        self.reply_within(xid, Duration::from_millis(500))
    }

    /// DISCOVER to ACK; returns the ACK.
    pub(crate) fn lease(&self, mac: Mac, xid: u32, options: &[(u8, &[u8])]) -> Reply {
        let with =
            |kind| options.iter().fold(Message::new(kind, mac, xid), |m, (c, v)| m.with(*c, v));
        let offer = self.ask(&with(DISCOVER)).expect("an OFFER");
        assert_eq!(offer.kind(), OFFER);
        let request = with(REQUEST)
            .with(50, offer.yiaddr().octets())
            .with(54, offer.option(54).expect("a server identifier"));
        let ack = self.ask(&request).expect("an ACK");
        assert_eq!(ack.kind(), ACK);
        assert_eq!(ack.yiaddr(), offer.yiaddr());
        ack
    }
}

/// A locally administered address, the same for the same `n`.
pub(crate) fn mac(n: u32) -> Mac {
    let [a, b, c, d] = n.to_be_bytes();
    Mac([0x02, 0x4f, a, b, c, d])
}
