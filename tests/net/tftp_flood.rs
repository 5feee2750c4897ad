//! Forged requests for files: real phones get theirs all the same, and the log stays short.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use offhook_net::{FrameSocket, Interface};

use crate::lab::{Lab, Netns, PATIENCE, Vlan, noise, repository};
use crate::tftp_settings::status;

const REQUEST: &[u8] = b"\0\x01440HD.img\0octet\0";

/// The sample site with room for so many transfers.
fn lab(transfers: u32) -> Lab {
    let text = std::fs::read_to_string(repository().join("config/lab.toml")).unwrap();
    let keys = format!("transfers = {transfers}\nroot = \"firmware\"");
    let lab = Lab::with_config(&text.replace("root = \"firmware\"", &keys));
    lab.image("440hd.img", &noise(10_000));
    lab
}

/// So many requests from addresses that nobody has.
fn forge(lab: &Lab, client: &Netns, requests: u16) {
    let server = lab.appliance.enter(|| Interface::named("native0").unwrap()).mac.unwrap();
    let frames = client.enter(|| FrameSocket::open(&Interface::named("eth0").unwrap()).unwrap());
    for n in 0..requests {
        let absent = Ipv4Addr::new(10, 0, 0, 204 + (n % 50) as u8);
        let from = SocketAddrV4::new(absent, 1024 + n);
        frames.send_udp(server, from, "10.0.0.11:69".parse().unwrap(), REQUEST).unwrap();
    }
}

/// A client's socket, and what it gets for what it sends.
pub(crate) struct Client(pub(crate) UdpSocket);

impl Client {
    pub(crate) fn new(netns: &Netns) -> Self {
        let socket = netns.enter(|| UdpSocket::bind("0.0.0.0:0").unwrap());
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    pub(crate) fn ask(&self, to: SocketAddr, datagram: &[u8]) -> (Vec<u8>, SocketAddr) {
        self.0.send_to(datagram, to).unwrap();
        let mut buffer = [0; 600];
        let (length, from) = self.0.recv_from(&mut buffer).expect("an answer");
        (buffer[..length].to_vec(), from)
    }

    /// Acknowledges a block, and waits for the next: the one before may have been sent again meanwhile.
    fn acknowledge(&self, to: SocketAddr, block: u8) {
        let mut answer = self.ask(to, &[0, 4, 0, block]).0;
        while answer[..4] == [0, 3, 0, block] {
            let length = self.0.recv(&mut answer).expect("the next block");
            answer.truncate(length);
        }
        assert_eq!(answer[..4], [0, 3, 0, block + 1]);
    }
}

#[test]
fn who_never_acknowledges_anything_makes_room_for_who_does() {
    let lab = lab(100);
    let server = lab.serve();
    let netns = lab.machine(Vlan::Native, "10.0.0.50/24", "10.0.0.1");
    let listener = "10.0.0.11:69".parse().unwrap();
    let (first, port) = Client::new(&netns).ask(listener, REQUEST);
    assert_eq!(first[..4], [0, 3, 0, 1], "its client is never heard again: {port}");
    let early = Client::new(&netns);
    let (_, port) = early.ask(listener, REQUEST);
    early.acknowledge(port, 1);

    forge(&lab, &netns, 300);
    let late = Client::new(&netns);
    let (busy, _) = late.ask(listener, REQUEST);
    assert_eq!(busy, b"\0\x05\0\0busy: too many transfers, try again later\0");
    let deadline = Instant::now() + PATIENCE;
    let (first, late_port) = loop {
        let answer = late.ask(listener, REQUEST);
        if answer.0[1] == 3 {
            break answer;
        }
        assert!(Instant::now() < deadline, "there is never any room");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(first[..4], [0, 3, 0, 1]);
    // However many make room, and for whomever: who acknowledges goes on.
    forge(&lab, &netns, 300);
    server.wait_for_log(&["ended to make room", "forged"]);
    late.acknowledge(late_port, 1);
    early.acknowledge(port, 2);
    let status = status(&lab);
    assert!(status["tftp"]["counts"]["ousted"].as_u64() >= Some(1), "{status}");
    assert!(status["tftp"]["active"].as_u64() <= Some(100), "{status}");
}

/// However long their file was looked for.
#[test]
fn who_waited_for_the_provisioning_server_makes_room_as_well() {
    let text = std::fs::read_to_string(repository().join("config/lab.toml")).unwrap();
    let keys = "root = \"firmware\"\ntransfers = 100\nupstream = \"http://10.0.0.11:8088\"";
    let lab = Lab::with_config(&text.replace("root = \"firmware\"", keys));
    let _server = lab.serve();
    let netns = lab.machine(Vlan::Native, "10.0.0.50/24", "10.0.0.1");
    let listener = lab.appliance.enter(|| TcpListener::bind("10.0.0.11:8088").unwrap());
    forge(&lab, &netns, 100);
    let (mut asked, _) = listener.accept().unwrap();
    while status(&lab)["tftp"]["active"] != 100 {
        std::thread::yield_now();
    }
    // Nobody of them can make room yet.
    let late = Client::new(&netns);
    let to = "10.0.0.11:69".parse().unwrap();
    assert_eq!(late.ask(to, REQUEST).0[1], 5);
    asked.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(asked.read(&mut [0; 2048]).unwrap() > 0);
    asked.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n").unwrap();
    asked.write_all(&noise(10_000)).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while late.ask(to, REQUEST).0[1] != 3 {
        assert!(Instant::now() < deadline, "there is never any room");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_flood_of_requests_is_a_few_lines_a_second_and_all_of_them_are_counted() {
    const FORGED: u16 = 3000;
    let lab = lab(16_384);
    let server = lab.serve();
    let netns = lab.machine(Vlan::Native, "10.0.0.50/24", "10.0.0.1");
    let begun = Instant::now();
    forge(&lab, &netns, FORGED);
    // The one after them.
    let (_, port) = Client::new(&netns).ask("10.0.0.11:69".parse().unwrap(), REQUEST);
    assert_ne!(port.port(), 69);
    let status = status(&lab);
    assert!(
        status["tftp"]["counts"]["requested"].as_u64() > Some(u64::from(FORGED) / 2),
        "{status}"
    );
    server.wait_for_log(&["TFTP request"]);
    let lines = server.log().lines().filter(|line| line.contains("TFTP request")).count();
    let seconds = begun.elapsed().as_secs() as usize + 1;
    assert!((1..=200 * (seconds + 1)).contains(&lines), "{lines} lines in {seconds} s");
}
