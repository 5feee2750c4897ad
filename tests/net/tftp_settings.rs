//! What `[tftp]` says is what happens on the wire.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::lab::{Lab, Netns, PATIENCE, Server, Vlan, noise, repository, run};

const SERVER: &str = "10.0.0.11:69";

/// The sample site with more in `[tftp]`.
fn lab(keys: &str) -> Lab {
    let text = std::fs::read_to_string(repository().join("config/lab.toml")).unwrap();
    let text = text.replace("root = \"firmware\"", &format!("{keys}\nroot = \"firmware\""));
    let lab = Lab::with_config(&text);
    lab.image("440hd.img", &noise(100_000));
    lab
}

/// Sends datagrams to the server, one after the other, each once there was an answer to the one before; all answers.
pub(crate) fn exchange(client: &Netns, datagrams: &[&[u8]]) -> Vec<Vec<u8>> {
    client.enter(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut to: SocketAddr = SERVER.parse().unwrap();
        let mut answers = Vec::new();
        for datagram in datagrams {
            socket.send_to(datagram, to).unwrap();
            let mut buffer = vec![0; 70_000];
            let (length, from) = socket.recv_from(&mut buffer).expect("an answer");
            to = from;
            buffer.truncate(length);
            answers.push(buffer);
        }
        answers
    })
}

/// How many of so many transfers at a time are granted; the others are told that there are too many.
pub(crate) fn granted(client: &Netns, requests: usize) -> usize {
    let answers = client.enter(|| {
        let ask = |_| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.send_to(b"\0\x01440HD.img\0octet\0", SERVER).unwrap();
            let mut answer = [0; 600];
            socket.recv(&mut answer).expect("an answer, be it that there are too many");
            (answer[1], socket)
        };
        (0..requests).map(ask).collect::<Vec<_>>()
    });
    let of = |wanted| answers.iter().filter(|(kind, _)| *kind == wanted).count();
    assert_eq!(of(3) + of(5), requests);
    of(3)
}

pub(crate) fn status(lab: &Lab) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offhook"));
    let text = run(command.args(["status", "--format", "json", "--state"]).arg(lab.state()));
    serde_json::from_str(&text).unwrap()
}

#[test]
fn options_are_granted_as_far_as_the_configuration_says() {
    let lab = lab("block_size = 1024\nwindow = 4");
    let _server = lab.serve();
    let client = lab.machine(Vlan::Native, "10.0.0.50/24", "10.0.0.1");
    let request = b"\0\x01440HD.img\0octet\0blksize\x001468\0windowsize\x0016\0";
    let answers = exchange(&client, &[request]);
    assert_eq!(answers[0], b"\0\x06blksize\x001024\0windowsize\x004\0");
}

#[test]
fn blocks_fit_the_packets_of_the_path_unless_they_may_be_fragments() {
    let request: &[u8] = b"\0\x01440HD.img\0octet\0blksize\x0065464\0";
    for (keys, granted) in [("", "1468"), ("fragment = true", "65464")] {
        let lab = lab(keys);
        let _server = lab.serve();
        let client = lab.machine(Vlan::Native, "10.0.0.50/24", "10.0.0.1");
        let answers = exchange(&client, &[request, b"\0\x04\0\0"]);
        assert_eq!(answers[0], format!("\0\x06blksize\0{granted}\0").as_bytes());
        assert_eq!(answers[1].len(), granted.parse::<usize>().unwrap() + 4);
    }
}

#[test]
fn who_is_in_no_network_that_is_served_is_told_so_and_counted() {
    let lab = lab("allow = \"10.250.1.0/24\"");
    let server = lab.serve();
    let stranger = lab.machine(Vlan::Native, "10.0.0.50/24", "10.0.0.1");
    let phone = lab.machine(Vlan::Voice, "10.250.1.30/24", "10.250.1.1");
    let request: &[u8] = b"\0\x01440HD.img\0octet\0";
    let denied = b"\0\x05\0\x02access violation: this network is not served\0";
    assert_eq!(exchange(&stranger, &[request]), [denied]);
    // That there is no such file is not for strangers to know.
    assert_eq!(exchange(&stranger, &[b"\0\x01nothing\0octet\0"]), [denied]);
    assert_eq!(exchange(&phone, &[request])[0][..4], *b"\0\x03\0\x01");
    // This machine itself.
    assert_eq!(exchange(&lab.appliance, &[request])[0][..4], *b"\0\x03\0\x01");
    server.wait_for_log(&["TFTP request refused", "10.0.0.50", "not served"]);
    let status = status(&lab);
    let counts = &status["tftp"]["counts"];
    assert_eq!((&counts["refused-network"], &counts["requested"]), (&2.into(), &2.into()));
    assert_eq!(status["tftp"]["active"], 2);
}

#[test]
fn by_default_the_scopes_and_the_networks_of_the_listener_are_served() {
    let lab = lab("");
    let _server = lab.serve();
    lab.office.ip("addr add 192.0.2.1/24 dev native");
    let stranger = lab.machine(Vlan::Native, "192.0.2.50/24", "192.0.2.1");
    lab.appliance.ip("route add 192.0.2.0/24 dev native0");
    let request: &[u8] = b"\0\x01440HD.img\0octet\0";
    let denied = b"\0\x05\0\x02access violation: this network is not served\0";
    assert_eq!(exchange(&stranger, &[request]), [denied]);
    stranger.ip("addr add 10.0.0.50/24 dev eth0");
    stranger.ip("addr del 192.0.2.50/24 dev eth0");
    assert_eq!(exchange(&stranger, &[request])[0][..4], *b"\0\x03\0\x01");
}

#[test]
fn what_was_transferred_is_in_the_status() {
    let lab = lab("");
    let server = lab.serve();
    let client = lab.machine(Vlan::Native, "10.0.0.50/24", "10.0.0.1");
    let file = lab.dir.path().join("fetched");
    run(client
        .command("tftp")
        .args(["-m", "octet", "10.0.0.11", "-c", "get", "440HD.img"])
        .arg(&file));
    exchange(&client, &[b"\0\x01nothing\0octet\0"]);
    exchange(&client, &[b"\0\x02new\0octet\0"]);
    server.wait_for_log(&["TFTP transfer done"]);
    let counts = &status(&lab)["tftp"]["counts"];
    for (what, times) in
        [("done", 1), ("octets", 100_000), ("refused-not-found", 1), ("refused-write", 1)]
    {
        assert_eq!(counts[what], times, "{what}: {counts}");
    }
}

#[test]
fn a_quarter_of_the_open_files_is_left_to_everything_but_transfers() {
    let lab = lab("");
    let mut command = lab.appliance.daemon("prlimit");
    command.arg("--nofile=200:200").arg(env!("CARGO_BIN_EXE_offhook")).arg("run");
    command.arg("--config").arg(lab.config()).arg("--state").arg(lab.state());
    let server = Server::spawn(&mut command);
    server.wait_for_log(&["fewer TFTP transfers at a time", "most=75"]);
    server.wait_for_log(&["serving", "scopes"]);
    let client = lab.machine(Vlan::Native, "10.0.0.50/24", "10.0.0.1");
    assert_eq!(granted(&client, 80), 75);
    // And there is still room to say so.
    assert_eq!(status(&lab)["tftp"]["active"], 75);
}

#[test]
fn every_reply_has_the_code_point_of_the_configuration() {
    let lab = lab("dscp = \"af11\"");
    let _server = lab.serve();
    let client = lab.machine(Vlan::Native, "10.0.0.50/24", "10.0.0.1");
    for request in [&b"\0\x01440HD.img\0octet\0"[..], b"\0\x01nothing\0octet\0", b"\0\x07"] {
        let class = client.enter(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            socket2::SockRef::from(&socket).set_recv_tos_v4(true).unwrap();
            socket.send_to(request, SERVER).unwrap();
            received_class(&socket)
        });
        assert_eq!(class, 10 << 2, "{}", request.escape_ascii());
    }
}

/// The type of service of the next datagram.
fn received_class(socket: &UdpSocket) -> u8 {
    use std::os::fd::AsRawFd;

    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    let (mut buffer, mut control) = ([0; 2000], nix::cmsg_space!(u8));
    let mut parts = [std::io::IoSliceMut::new(&mut buffer)];
    let message =
        recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty());
    let message = message.unwrap();
    let mut class = message.cmsgs().unwrap().filter_map(|control| match control {
        ControlMessageOwned::Ipv4Tos(class) => Some(class),
        _ => None,
    });
    class.next().expect("the type of service is told")
}
