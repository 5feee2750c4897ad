//! Datagram by datagram.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn each_transfer_has_a_port_of_its_own_at_the_address_asked() {
    let server = Served::new();
    server.put("f", &bytes(600));
    let (one, two) = (Client::new(), Client::new());
    let (first, one_port) = one.ask(&server, "f");
    let (_, two_port) = two.ask(&server, "f");
    assert_eq!(first, data(1, &bytes(600)[..512]));
    assert_eq!((one_port.ip(), two_port.ip()), (server.address.ip(), server.address.ip()));
    assert_ne!(one_port, two_port);
    assert_ne!(one_port, server.address);
    assert_eq!(one.send(one_port, &ack(1)).receive(), (data(2, &bytes(600)[512..]), one_port));
    one.send(one_port, &ack(2)).hears_nothing_for(100);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_wildcard_address_answers_come_from_the_address_asked() {
    let server = Served::with(Settings::default(), "0.0.0.0");
    server.put("f", b"x");
    for address in ["127.0.0.1", "127.0.0.2", "127.9.9.9"] {
        let asked = SocketAddr::new(address.parse().unwrap(), server.address.port());
        for (request, answer) in [
            (&b"\0\x01f\0octet\0"[..], &b"\0\x03\0\x01x"[..]),
            (b"\0\x01nothing\0octet\0", b"\0\x05\0\x01file not found\0"),
            (b"\0\x07", b"\0\x05\0\x04illegal operation: not a TFTP request\0"),
        ] {
            let client = Client::new();
            let (packet, from) = client.send(asked, request).receive();
            assert_eq!(packet, answer);
            assert_eq!(from.ip(), asked.ip());
            client.send(from, &ack(1));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_served_is_refused_with_its_code() {
    let server = Served::new();
    server.put("f", b"untouched");
    for (request, answer) in [
        (
            &b"\0\x02f\0octet\0"[..],
            &b"\0\x05\0\x02access violation: offhook serves files, it takes none\0"[..],
        ),
        (
            b"\0\x02new\0netascii\0",
            b"\0\x05\0\x02access violation: offhook serves files, it takes none\0",
        ),
        (b"\0\x01f\0mail\0", b"\0\x05\0\x04illegal operation: mail is not supported\0"),
        (b"\0\x01f\0banana\0", b"\0\x05\0\x04illegal operation: unknown transfer mode\0"),
        (b"\0\x01nothing\0octet\0", b"\0\x05\0\x01file not found\0"),
        (
            b"\0\x01../f\0octet\0",
            b"\0\x05\0\x02access violation: the name leads out of the served directory\0",
        ),
        (b"\0\x01\0octet\0", b"\0\x05\0\x01file not found\0"),
        (b"\0\x04\0\x01", b"\0\x05\0\x05unknown transfer ID\0"),
    ] {
        let (packet, _) = Client::new().send(server.address, request).receive();
        assert_eq!(packet, answer, "{}", packet.escape_ascii());
    }
    assert_eq!(std::fs::read(server.path("f")).unwrap(), b"untouched");
    assert!(!server.path("new").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn rubbish_and_errors_are_met_with_silence_and_service_goes_on() {
    let server = Served::new();
    server.put("f", b"x");
    let client = Client::new();
    for rubbish in [&b""[..], b"\0", b"\0\x05\0\x01gone\0", b"\0\x05"] {
        client.send(server.address, rubbish);
    }
    client.hears_nothing_for(100);
    // Larger than any request, and nothing that could be its file.
    let long = [b"\0\x01", &[b'a'; 20_000][..], b"\0octet\0"].concat();
    assert!(client.send(server.address, &long).receive().0.starts_with(b"\0\x05\0"));
    assert_eq!(client.ask(&server, "f").0, data(1, b"x"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stray_port_is_told_and_the_transfer_goes_on() {
    let server = Served::new();
    server.put("f", &bytes(1000));
    let (client, stray) = (Client::new(), Client::new());
    let (_, port) = client.ask(&server, "f");
    assert_eq!(stray.send(port, &ack(1)).receive().0, b"\0\x05\0\x05unknown transfer ID\0");
    stray.send(port, b"\0\x05\0\x05no, you\0").hears_nothing_for(50);
    assert_eq!(client.send(port, &ack(1)).receive().0, data(2, &bytes(1000)[512..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_request_from_the_same_port_replaces_the_old_transfer() {
    let server = Served::new();
    server.put("a", &bytes(2000));
    server.put("b", b"other");
    let client = Client::new();
    let (_, old) = client.ask(&server, "a");
    assert_eq!(client.send(old, &ack(1)).receive().0, data(2, &bytes(2000)[512..1024]));
    // The same file again, as after a reboot, and then another one.
    let (packet, again) = client.ask(&server, "a");
    assert_eq!(packet, data(1, &bytes(2000)[..512]));
    let (packet, new) = client.ask(&server, "b");
    assert_eq!(packet, data(1, b"other"));
    assert!(old != again && again != new && new != old);
    client.send(old, &ack(2)).send(again, &ack(1)).hears_nothing_for(200);
    client.send(new, &ack(1)).hears_nothing_for(1200);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_reboot_the_new_transfer_goes_on_and_the_old_one_is_over() {
    let server = Served::new();
    server.put("f", &bytes(2000));
    let client = Client::new();
    let (_, old) = client.ask(&server, "f");
    client.send(old, &ack(1)).receive();
    let (packet, new) = client.ask(&server, "f");
    assert_eq!(packet, data(1, &bytes(2000)[..512]));
    assert_eq!(client.send(new, &ack(1)).receive(), (data(2, &bytes(2000)[512..1024]), new));
    std::thread::sleep(Duration::from_millis(50));
    client.send(old, &ack(2)).hears_nothing_for(100);
    assert_eq!(client.send(new, &ack(2)).receive(), (data(3, &bytes(2000)[1024..1536]), new));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_two_transfers_are_in_question_only_the_new_ones_timer_is_at_work() {
    let server = Served::new();
    server.put("f", &bytes(2000));
    let client = Client::new();
    let (_, old) = client.ask(&server, "f");
    client.send(old, &ack(1)).receive();
    let (packet, new) = client.ask(&server, "f");
    assert_eq!(client.receive(), (packet, new));
    client.hears_nothing_for(700);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_copy_of_a_request_does_not_end_its_transfer() {
    let server = Served::new();
    server.put("f", &bytes(5000));
    let client = Client::new();
    let (_, port) = client.ask(&server, "f");
    client.send(port, &ack(1)).receive();
    for answer in [None, Some(b"\0\x05\0\x05unknown transfer ID\0")] {
        // The copy is answered from another port, which a client that reads on takes no notice of, or refuses.
        let (packet, other) = client.ask(&server, "f");
        assert_eq!(packet, data(1, &bytes(5000)[..512]));
        assert_ne!(other, port);
        if let Some(answer) = answer {
            client.send(other, answer);
            std::thread::sleep(Duration::from_millis(50));
        }
        let block = 2 + u16::from(answer.is_some());
        let start = usize::from(block) * 512;
        let next = data(block + 1, &bytes(5000)[start..start + 512]);
        assert_eq!(client.send(port, &ack(block)).receive(), (next.clone(), port));
        // Nothing more from the other port, and this one's timer is at work again.
        assert_eq!(client.receive(), (next, port));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_repeated_before_its_first_ack_is_answered_by_the_same_transfer() {
    let server = Served::new();
    server.put("f", &bytes(600));
    let client = Client::new();
    let (first, port) = client.ask(&server, "f");
    assert_eq!(client.ask(&server, "f"), (first, port));
    client.hears_nothing_for(100);
    assert_eq!(client.send(port, &ack(1)).receive().1, port);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_own_timer_sends_again() {
    let server = Served::new();
    server.put("f", b"x");
    let client = Client::new();
    let (first, _) = client.ask(&server, "f");
    let asked = Instant::now();
    assert_eq!(client.receive().0, first);
    let waited = asked.elapsed();
    assert!((Duration::from_millis(950)..Duration::from_secs(2)).contains(&waited), "{waited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_transfers_are_told_so_and_room_is_made_when_one_ends() {
    for settings in [
        Settings { transfers: 2, ..Settings::default() },
        Settings { transfers_per_client: 2, ..Settings::default() },
    ] {
        let server = Served::with(settings, "127.0.0.1");
        server.put("f", b"x");
        let clients = [Client::new(), Client::new(), Client::new()];
        let (_, port) = clients[0].ask(&server, "f");
        clients[1].ask(&server, "f");
        let (packet, _) = clients[2].ask(&server, "f");
        assert_eq!(packet, b"\0\x05\0\0busy: too many transfers, try again later\0");
        // A client that starts anew takes no more room than before.
        clients[1].send(server.address, b"\0\x01F\0octet\0");
        assert_eq!(clients[1].receive().0, data(1, b"x"));
        clients[0].send(port, &ack(1));
        let served = (0..50).any(|_| {
            std::thread::sleep(Duration::from_millis(20));
            clients[2].ask(&server, "f").0 == data(1, b"x")
        });
        assert!(served);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_root_every_request_is_an_unknown_file_until_the_root_comes() {
    let directory = TempDir::new().unwrap();
    let root = directory.path().join("root");
    let server = Served::serving(directory, root.clone(), Settings::default(), "127.0.0.1");
    let (packet, _) = Client::new().ask(&server, "f");
    assert_eq!(packet, b"\0\x05\0\x01file not found\0");
    std::fs::create_dir(root).unwrap();
    server.put("f", b"x");
    assert_eq!(Client::new().ask(&server, "f").0, data(1, b"x"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_ends_with_the_image_it_began_with() {
    let server = Served::new();
    let (old, new) = (bytes(1000), vec![b'n'; 1200]);
    for in_place in [false, true] {
        server.put("f", &old);
        let client = Client::new();
        let (_, port) = client.ask(&server, "f");
        if in_place {
            server.put("f", &new);
        } else {
            server.put("g", &new);
            std::fs::rename(server.path("g"), server.path("f")).unwrap();
        }
        assert_eq!(client.send(port, &ack(1)).receive().0, data(2, &old[512..]), "{in_place}");
        client.send(port, &ack(2));
        assert_eq!(Client::new().ask(&server, "f").0, data(1, &new[..512]), "{in_place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_ends_when_told() {
    let bound = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = bound.address();
    let (shutdown, told) = watch::channel(false);
    let handle = spawn_with(bound, Settings::default(), told);
    shutdown.send(true).unwrap();
    handle.task.await.unwrap();
    // The port is free again.
    bind(address).unwrap();
}

#[test]
fn an_address_that_cannot_be_had_is_named_with_the_reason_and_a_hint() {
    let taken = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let error = bind(taken.address()).unwrap_err();
    let expected = format!("cannot bind TFTP on {}: Address already in use", taken.address());
    assert_eq!(error.to_string(), expected);
    assert!(error.hint().unwrap().contains("another TFTP server"));
    let error = bind("192.0.2.1:69".parse().unwrap()).unwrap_err();
    assert!(error.to_string().contains("192.0.2.1:69"), "{error}");
    assert!(error.hint().is_some());
}
