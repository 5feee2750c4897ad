//! A TFTP read client like the boot loaders': `octet`, `tsize`, `blksize 1468`, `timeout 5`.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use offhook_model::Time;

use crate::rng::Rng;
use crate::{Fingerprint, TftpFailure, Timing};

/// What U-Boot asks for: an Ethernet frame full.
const BLOCK_SIZE: u16 = 1468;
const DEFAULT_BLOCK_SIZE: u16 = 512;
/// No image of a phone is as large; a server that never stops is one that failed.
const MAX_LENGTH: u64 = 256 << 20;
const STRAY: &[u8] = b"\x00\x05\x00\x05unknown transfer\x00";
const REFUSED: &[u8] = b"\x00\x05\x00\x08option not asked for\x00";

/// What an event led to: a packet to send, and the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) send: Option<(SocketAddrV4, Vec<u8>)>,
    pub(crate) done: Option<Result<Fingerprint, TftpFailure>>,
}

impl Progress {
    fn fail(failure: TftpFailure) -> Self {
        Self { send: None, done: Some(Err(failure)) }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    pub(crate) file: String,
    pub(crate) server: SocketAddrV4,
    /// Ours. U-Boot takes 1024 and something up to 3071 more.
    pub(crate) port: u16,
    /// The port the server answers from, once it has.
    peer: Option<SocketAddrV4>,
    block_size: u16,
    announced: Option<u64>,
    /// The block number expected next.
    next: u16,
    content: Fingerprint,
    last_sent: (SocketAddrV4, Vec<u8>),
    silent: u32,
    attempts: u32,
    wait: Duration,
    pub(crate) deadline: Time,
}

impl Transfer {
    /// The read request goes out at once.
    pub(crate) fn start(
        server: Ipv4Addr,
        file: &str,
        timing: Timing,
        now: Time,
        rng: &mut Rng,
    ) -> (Self, (SocketAddrV4, Vec<u8>)) {
        let server = SocketAddrV4::new(server, 69);
        let mut request = vec![0, 1];
        for field in [file, "octet", "timeout", "5", "tsize", "0", "blksize"] {
            request.extend(field.bytes().filter(|&byte| byte != 0).chain([0]));
        }
        request.extend(BLOCK_SIZE.to_string().bytes().chain([0]));
        let transfer = Self {
            file: file.to_owned(),
            server,
            port: 1024 + rng.below(3072),
            peer: None,
            block_size: DEFAULT_BLOCK_SIZE,
            announced: None,
            next: 1,
            content: Fingerprint::EMPTY,
            last_sent: (server, request.clone()),
            silent: 0,
            attempts: timing.tftp_attempts,
            wait: timing.tftp,
            deadline: now + timing.tftp,
        };
        (transfer, (server, request))
    }

    /// Nothing came in time: the last packet again, or the end.
    pub(crate) fn on_timeout(&mut self, now: Time) -> Progress {
        self.silent += 1;
        if self.silent >= self.attempts {
            return Progress::fail(TftpFailure::Silence);
        }
        self.deadline = now + self.wait;
        Progress { send: Some(self.last_sent.clone()), done: None }
    }

    pub(crate) fn on_datagram(
        &mut self,
        from: SocketAddrV4,
        payload: &[u8],
        now: Time,
    ) -> Progress {
        if from.ip() != self.server.ip() {
            return Progress::default();
        }
        if self.peer.is_some_and(|peer| peer != from) {
            // RFC 1350, 4: a stray port is told so, and the transfer goes on; an ERROR is never answered.
            let answer = (!payload.starts_with(&[0, 5])).then(|| (from, STRAY.to_vec()));
            return Progress { send: answer, done: None };
        }
        match payload {
            [0, 3, a, b, data @ ..] => self.on_data(from, u16::from_be_bytes([*a, *b]), data, now),
            [0, 5, a, b, text @ ..] => Progress::fail(TftpFailure::Error(
                u16::from_be_bytes([*a, *b]),
                String::from_utf8_lossy(text.split(|&byte| byte == 0).next().unwrap_or_default())
                    .into_owned(),
            )),
            [0, 6, options @ ..] => self.on_oack(from, options, now),
            _ => Progress::fail(TftpFailure::Protocol("a packet that is not DATA, ERROR or OACK")),
        }
    }

    fn on_oack(&mut self, from: SocketAddrV4, options: &[u8], now: Time) -> Progress {
        if self.content.length() > 0 || self.next != 1 {
            return Progress::default();
        }
        if self.peer.is_none() {
            match accept(options) {
                Ok((block_size, announced)) => {
                    self.block_size = block_size;
                    self.announced = announced;
                }
                Err(what) => {
                    return Progress {
                        send: Some((from, REFUSED.to_vec())),
                        done: Some(Err(TftpFailure::Protocol(what))),
                    };
                }
            }
            self.peer = Some(from);
        }
        self.acknowledge(from, 0, now)
    }

    fn on_data(&mut self, from: SocketAddrV4, block: u16, data: &[u8], now: Time) -> Progress {
        if block != self.next {
            // Boot loaders ignore a block they have: their own timer sends the ACK again.
            return Progress::default();
        }
        if data.len() > usize::from(self.block_size) {
            return Progress::fail(TftpFailure::Protocol("a block larger than agreed"));
        }
        self.peer = Some(from);
        self.content.extend(data);
        // Past block 65535 comes block 0.
        self.next = self.next.wrapping_add(1);
        if self.content.length() > MAX_LENGTH {
            return Progress::fail(TftpFailure::Protocol("a file that does not end"));
        }
        let mut progress = self.acknowledge(from, block, now);
        if data.len() < usize::from(self.block_size) {
            let came = self.content.length();
            progress.done = Some(match self.announced {
                Some(announced) if announced != came => Err(TftpFailure::Size(announced, came)),
                _ => Ok(self.content),
            });
        }
        progress
    }

    fn acknowledge(&mut self, to: SocketAddrV4, block: u16, now: Time) -> Progress {
        let [a, b] = block.to_be_bytes();
        self.last_sent = (to, vec![0, 4, a, b]);
        self.silent = 0;
        self.deadline = now + self.wait;
        Progress { send: Some(self.last_sent.clone()), done: None }
    }
}

/// Block size and announced length of an OACK, which may hold only what was asked (RFC 2347).
fn accept(options: &[u8]) -> Result<(u16, Option<u64>), &'static str> {
    let Some(fields) = options.strip_suffix(&[0]) else {
        return Err("an OACK that does not end in NUL");
    };
    let fields: Vec<_> = fields.split(|&byte| byte == 0).collect();
    let (pairs, rest) = fields.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("an OACK with a name and no value");
    }
    let (mut block_size, mut announced) = (DEFAULT_BLOCK_SIZE, None);
    for [name, value] in pairs {
        let number: u64 = str::from_utf8(value)
            .ok()
            .and_then(|value| value.parse().ok())
            .ok_or("an OACK with a value that is no number")?;
        match name.to_ascii_lowercase().as_slice() {
            b"blksize" if (8..=u64::from(BLOCK_SIZE)).contains(&number) => {
                block_size = number as u16;
            }
            b"blksize" => return Err("a block size larger than asked, or less than 8"),
            b"timeout" if number == 5 => {}
            b"timeout" => return Err("a timeout other than the one asked"),
            b"tsize" => announced = Some(number),
            _ => return Err("an OACK with an option that was not asked"),
        }
    }
    Ok((block_size, announced))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rng::Rng;

    const NOW: Time = Time::from_secs(1_000);
    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 11);
    const PEER: SocketAddrV4 = SocketAddrV4::new(SERVER, 40_000);

    fn start() -> (Transfer, Vec<u8>) {
        let timing = Timing { tftp_attempts: 3, ..Timing::default() };
        let (transfer, (to, request)) =
            Transfer::start(SERVER, "440hd.img", timing, NOW, &mut Rng::new(7));
        assert_eq!(to, SocketAddrV4::new(SERVER, 69));
        (transfer, request)
    }

    fn data(block: u16, bytes: &[u8]) -> Vec<u8> {
        let mut packet = vec![0, 3];
        packet.extend(block.to_be_bytes());
        packet.extend(bytes);
        packet
    }

    fn ack(block: u16) -> Option<(SocketAddrV4, Vec<u8>)> {
        let [a, b] = block.to_be_bytes();
        Some((PEER, vec![0, 4, a, b]))
    }

    #[test]
    fn the_request_is_u_boots() {
        let (transfer, request) = start();
        assert_eq!(
            request,
            b"\x00\x01440hd.img\0octet\0timeout\x005\0tsize\x000\0blksize\x001468\0"
        );
        assert!((1024..4096).contains(&transfer.port));
    }

    #[test]
    fn a_file_comes_in_negotiated_blocks_and_ends_with_a_short_one() {
        let (mut transfer, _) = start();
        let oack = b"\x00\x06timeout\x005\0tsize\x001478\0blksize\x001468\0";
        assert_eq!(transfer.on_datagram(PEER, oack, NOW).send, ack(0));
        // Sent again because our ACK was lost: answered again.
        assert_eq!(transfer.on_datagram(PEER, oack, NOW).send, ack(0));
        let first = transfer.on_datagram(PEER, &data(1, &[7; 1468]), NOW);
        assert_eq!(first, Progress { send: ack(1), done: None });
        // A block it has is not acknowledged again, and neither is an OACK that comes late.
        assert_eq!(transfer.on_datagram(PEER, &data(1, &[7; 1468]), NOW), Progress::default());
        assert_eq!(transfer.on_datagram(PEER, oack, NOW), Progress::default());
        let last = transfer.on_datagram(PEER, &data(2, &[8; 10]), NOW);
        let whole: Vec<u8> = [7; 1468].into_iter().chain([8; 10]).collect();
        assert_eq!(last, Progress { send: ack(2), done: Some(Ok(Fingerprint::of(&whole))) });
    }

    #[test]
    fn a_server_without_options_sends_512_at_a_time_and_an_empty_last_block() {
        let (mut transfer, _) = start();
        assert_eq!(transfer.on_datagram(PEER, &data(1, &[1; 512]), NOW).send, ack(1));
        let last = transfer.on_datagram(PEER, &data(2, &[]), NOW);
        assert_eq!(last.done, Some(Ok(Fingerprint::of(&[1; 512]))));
        let (mut transfer, _) = start();
        let large = transfer.on_datagram(PEER, &data(1, &[1; 513]), NOW);
        assert!(matches!(large.done, Some(Err(TftpFailure::Protocol(_)))));
    }

    #[test]
    fn block_65535_is_followed_by_block_0() {
        let (mut transfer, _) = start();
        transfer.next = u16::MAX;
        assert_eq!(transfer.on_datagram(PEER, &data(65535, &[1; 512]), NOW).send, ack(65535));
        assert_eq!(transfer.on_datagram(PEER, &data(0, &[1; 512]), NOW).send, ack(0));
    }

    #[test]
    fn a_length_other_than_announced_is_a_failure() {
        let (mut transfer, _) = start();
        transfer.on_datagram(PEER, b"\x00\x06tsize\x0011\0", NOW);
        let last = transfer.on_datagram(PEER, &data(1, &[1; 10]), NOW);
        assert_eq!(last.done, Some(Err(TftpFailure::Size(11, 10))));
    }

    #[test]
    fn an_oack_may_hold_only_what_was_asked() {
        for bad in [
            b"\x00\x06windowsize\x004\0".as_slice(),
            b"\x00\x06blksize\x001469\0",
            b"\x00\x06blksize\x007\0",
            b"\x00\x06timeout\x001\0",
            b"\x00\x06tsize\0many\0",
            b"\x00\x06tsize\0",
            b"\x00\x06tsize\x001",
        ] {
            let (mut transfer, _) = start();
            let progress = transfer.on_datagram(PEER, bad, NOW);
            assert_eq!(progress.send, Some((PEER, REFUSED.to_vec())), "{bad:?}");
            assert!(matches!(progress.done, Some(Err(TftpFailure::Protocol(_)))), "{bad:?}");
        }
    }

    #[test]
    fn a_stray_port_is_told_so_and_the_transfer_goes_on() {
        let (mut transfer, _) = start();
        transfer.on_datagram(PEER, &data(1, &[1; 512]), NOW);
        let stray = SocketAddrV4::new(SERVER, 40_001);
        let told = transfer.on_datagram(stray, &data(2, &[9]), NOW);
        assert_eq!(told, Progress { send: Some((stray, STRAY.to_vec())), done: None });
        assert_eq!(transfer.on_datagram(stray, STRAY, NOW), Progress::default());
        let elsewhere = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 40_000);
        assert_eq!(transfer.on_datagram(elsewhere, &data(2, &[9]), NOW), Progress::default());
        assert!(transfer.on_datagram(PEER, &data(2, &[1]), NOW).done.unwrap().is_ok());
    }

    #[test]
    fn silence_is_answered_with_the_last_packet_and_ends_the_transfer_at_last() {
        let (mut transfer, request) = start();
        let again = transfer.on_timeout(NOW);
        assert_eq!(again.send, Some((SocketAddrV4::new(SERVER, 69), request)));
        transfer.on_datagram(PEER, &data(1, &[1; 512]), NOW);
        assert_eq!(transfer.on_timeout(NOW).send, ack(1));
        assert_eq!(transfer.on_timeout(NOW).send, ack(1));
        assert_eq!(transfer.on_timeout(NOW).done, Some(Err(TftpFailure::Silence)));
    }

    #[test]
    fn an_error_ends_it_with_the_servers_words() {
        let (mut transfer, _) = start();
        let progress = transfer.on_datagram(PEER, b"\x00\x05\x00\x01File not found\0", NOW);
        let failure = TftpFailure::Error(1, "File not found".to_owned());
        assert_eq!(progress, Progress::fail(failure));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_datagrams_are_taken_without_panic(
            packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20),
            opcode in 0u8..8,
        ) {
            let (mut transfer, _) = start();
            for mut packet in packets {
                if let [a, b, ..] = packet.as_mut_slice() {
                    (*a, *b) = (0, opcode);
                }
                let _ = transfer.on_datagram(PEER, &packet, NOW);
            }
        }
    }
}
