//! The server on loopback: raw datagrams, real clients, real files.

mod clients;
mod files;
mod wire;

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::watch;

use super::{Settings, bind, spawn_with};

/// A served directory; the server ends with it.
struct Served {
    directory: TempDir,
    address: SocketAddr,
    _shutdown: watch::Sender<bool>,
}

impl Served {
    fn new() -> Self {
        Self::with(Settings::default(), "127.0.0.1")
    }

    fn with(settings: Settings, ip: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let root = directory.path().join("root");
        std::fs::create_dir(&root).unwrap();
        Self::serving(directory, root, settings, ip)
    }

    fn serving(directory: TempDir, root: PathBuf, mut settings: Settings, ip: &str) -> Self {
        let bound = bind(SocketAddr::new(ip.parse().unwrap(), 0)).unwrap();
        let address = bound.address();
        let (shutdown, told) = watch::channel(false);
        settings.root = root;
        drop(spawn_with(bound, settings, told));
        Self { directory, address, _shutdown: shutdown }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("root").join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }
}

/// A file of this size that is the same at no two places.
fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

/// A client's socket.
struct Client(UdpSocket);

impl Client {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Self(socket)
    }

    fn send(&self, to: SocketAddr, datagram: &[u8]) -> &Self {
        self.0.send_to(datagram, to).unwrap();
        self
    }

    fn ask(&self, server: &Served, name: &str) -> (Vec<u8>, SocketAddr) {
        self.send(server.address, format!("\0\x01{name}\0octet\0").as_bytes()).receive()
    }

    fn receive(&self) -> (Vec<u8>, SocketAddr) {
        let mut buffer = vec![0; 70_000];
        let (length, from) = self.0.recv_from(&mut buffer).expect("the server answers");
        buffer.truncate(length);
        (buffer, from)
    }

    fn hears_nothing_for(&self, millis: u64) {
        self.0.set_read_timeout(Some(Duration::from_millis(millis))).unwrap();
        let heard = self.0.recv_from(&mut [0; 600]);
        assert!(heard.is_err(), "heard {heard:?}");
        self.0.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    }
}

fn ack(block: u16) -> [u8; 4] {
    let [high, low] = block.to_be_bytes();
    [0, 4, high, low]
}

fn data(block: u16, payload: &[u8]) -> Vec<u8> {
    let [high, low] = block.to_be_bytes();
    [&[0, 3, high, low], payload].concat()
}
