//! Datagrams that come faster than they are looked at: the kernel keeps them, and tells of them only once.

use std::net::{SocketAddr, UdpSocket};

use crate::lab::{Lab, Netns, Server, Vlan, noise};
use crate::tftp_flood::Client;
use crate::tftp_settings::status;

const LISTENER: &str = "10.0.0.11:69";

fn office() -> (Lab, Server, Netns) {
    let lab = Lab::new();
    lab.image("440hd.img", &noise(100_000));
    let server = lab.serve();
    let phone = lab.machine(Vlan::Native, "10.0.0.50/24", "10.0.0.1");
    (lab, server, phone)
}

/// A transfer that was asked for with these options, and its port; its first packet is an OACK.
fn begin(phone: &Netns, options: &[(&str, &str)]) -> (Client, SocketAddr) {
    let client = Client::new(phone);
    let mut request = b"\0\x01440HD.img\0octet\0".to_vec();
    for (name, value) in options {
        request.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
    }
    let (answer, port) = client.ask(LISTENER.parse().unwrap(), &request);
    assert_eq!(answer[..2], [0, 6]);
    (client, port)
}

fn ack(block: u8) -> [u8; 4] {
    [0, 4, 0, block]
}

/// The next packet without what follows its number.
fn next(client: &UdpSocket) -> [u8; 4] {
    let mut buffer = [0; 600];
    client.recv(&mut buffer).expect("a packet");
    [buffer[0], buffer[1], buffer[2], buffer[3]]
}

#[test]
fn of_the_acknowledgements_of_a_window_the_last_one_counts() {
    let (_lab, server, phone) = office();
    let (client, port) = begin(&phone, &[("windowsize", "16"), ("timeout", "10")]);
    client.0.send_to(&ack(0), port).unwrap();
    for block in 1..=16 {
        assert_eq!(next(&client.0), [0, 3, 0, block]);
    }
    server.while_it_stands_still(|| {
        // The fifth came late, not never.
        client.0.send_to(&ack(4), port).unwrap();
        client.0.send_to(&ack(16), port).unwrap();
    });
    for block in 17..=32 {
        assert_eq!(next(&client.0), [0, 3, 0, block]);
    }
}

#[test]
fn in_lock_step_the_acknowledgement_is_found_behind_those_that_came_twice_or_are_nonsense() {
    let (_lab, server, phone) = office();
    let (client, port) = begin(&phone, &[("timeout", "10")]);
    for turn in 0..20_u8 {
        server.while_it_stands_still(|| {
            for _ in 0..turn * 10 {
                client.0.send_to(b"nonsense", port).unwrap();
            }
            for datagram in [ack(turn.saturating_sub(1)), ack(turn), ack(turn)] {
                client.0.send_to(&datagram, port).unwrap();
            }
        });
        assert_eq!(next(&client.0), [0, 3, 0, turn + 1]);
    }
}

#[test]
fn an_error_right_behind_an_acknowledgement_ends_the_transfer_before_anything_is_repeated() {
    let (lab, server, phone) = office();
    let (client, port) = begin(&phone, &[("timeout", "1")]);
    server.while_it_stands_still(|| {
        client.0.send_to(&ack(0), port).unwrap();
        client.0.send_to(b"\0\x05\0\0enough\0", port).unwrap();
    });
    assert_eq!(next(&client.0), [0, 3, 0, 1]);
    server.wait_for_log(&["TFTP transfer ended by the client", "enough"]);
    client.0.set_nonblocking(true).unwrap();
    assert!(client.0.recv(&mut [0; 600]).is_err(), "block 1 came again");
    assert_eq!(status(&lab)["tftp"]["active"], 0);
}

#[test]
fn strays_are_told_and_do_not_keep_the_client_from_its_file() {
    let (_lab, server, phone) = office();
    let (client, port) = begin(&phone, &[("timeout", "10")]);
    let strays: Vec<_> = (0..10).map(|_| Client::new(&phone)).collect();
    server.while_it_stands_still(|| {
        for stray in &strays {
            stray.0.send_to(&ack(0), port).unwrap();
            stray.0.send_to(b"\0\x05\0\0enough\0", port).unwrap();
        }
        client.0.send_to(&ack(0), port).unwrap();
    });
    assert_eq!(next(&client.0), [0, 3, 0, 1]);
    for stray in &strays {
        assert_eq!(next(&stray.0), [0, 5, 0, 5]);
    }
    assert_eq!(client.ask(port, &ack(1)).0[..4], [0, 3, 0, 2]);
}
