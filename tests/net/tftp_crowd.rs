//! Many phones at once, and everything that they may leave half done.

use std::fs;
use std::net::UdpSocket;
use std::time::Instant;

use crate::lab::{Lab, PATIENCE, Server, Vlan, noise};
use crate::tftp_settings::exchange;

const SERVER: &str = "10.0.0.11:69";
/// Fewer than a process may have open files by default.
const PHONES: usize = 600;

fn open_files(server: &Server) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count()
}

fn resident_kib(server: &Server) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn wait_until(what: &str, server: &Server, is: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < deadline, "{what}: {} open files", open_files(server));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn transfers_that_are_aborted_begun_anew_or_never_were_any_leave_nothing_behind() {
    let lab = Lab::new();
    lab.image("440hd.img", &noise(16_000_000));
    lab.image("405.img", &noise(700));
    let server = lab.serve();
    let client = lab.machine(Vlan::Native, "10.0.0.50/24", "10.0.0.1");
    // Whatever is opened for the first transfer and kept is opened now.
    exchange(&client, &[b"\0\x01405.img\0octet\0", b"\0\x04\0\x01"]);
    exchange(&client, &[b"\0\x01440HD.img\0octet\0blksize\x008\0"]);
    let (files, memory) = (open_files(&server), resident_kib(&server));
    for round in 0..3 {
        let phones = client.enter(|| {
            let phones: Vec<UdpSocket> =
                (0..PHONES).map(|_| UdpSocket::bind("0.0.0.0:0").unwrap()).collect();
            let mut buffer = [0; 2000];
            for (number, phone) in phones.iter().enumerate() {
                phone.set_read_timeout(Some(PATIENCE)).unwrap();
                let window = 1 + (number + round) % 8;
                let request = format!("\0\x01440HD.img\0octet\0windowsize\0{window}\0");
                phone.send_to(request.as_bytes(), SERVER).unwrap();
                // Of no transfer, and of no meaning.
                phone.send_to(&request.as_bytes()[..number % 11], SERVER).unwrap();
                phone.send_to(&[0, (number % 256) as u8, 0, 1, 7], SERVER).unwrap();
            }
            for (number, phone) in phones.iter().enumerate() {
                // There are answers to the rest as well.
                let port = loop {
                    let (_, from) = phone.recv_from(&mut buffer).unwrap();
                    if buffer[1] == 6 {
                        break from;
                    }
                };
                match number % 4 {
                    // It wanted to know the size only.
                    0 => {}
                    // It has had enough of it.
                    1 | 2 => {
                        phone.send_to(b"\0\x04\0\0", port).unwrap();
                    }
                    // It was switched off, and on again.
                    _ => {
                        let again = b"\0\x01405.img\0octet\0";
                        phone.send_to(again, SERVER).unwrap();
                        let port = loop {
                            let (length, from) = phone.recv_from(&mut buffer).unwrap();
                            if from != port && buffer[1] == 3 && length == 516 {
                                break from;
                            }
                        };
                        phone.send_to(b"\0\x05\0\0enough\0", port).unwrap();
                    }
                }
                phone.send_to(b"\0\x05\0\x08enough\0", port).unwrap();
            }
            phones
        });
        drop(phones);
        wait_until("all", &server, || open_files(&server) <= files);
    }
    let grown = resident_kib(&server).saturating_sub(memory);
    assert!(grown < 32 << 10, "{grown} KiB more than before");
    // The rest of the building is served as ever.
    let answer = exchange(&client, &[b"\0\x01405.img\0octet\0"]);
    assert_eq!(answer[0][4..], noise(700)[..512]);
}
