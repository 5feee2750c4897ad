//! Who is answered, how often, and who gets whole zones.

use std::net::IpAddr;

use super::*;

#[test]
fn who_is_answered_how_often_and_who_gets_whole_zones_changes_at_once() {
    let (lab, server, client) = office(&[]);
    let stranger = lab.client(Vlan::Voice);
    stranger.ip("addr add 192.0.2.66/24 dev eth0");
    stranger.ip("route add 10.250.1.5/32 dev eth0");
    lab.appliance.ip("route add 192.0.2.0/24 dev voice0");
    let is_refused = |netns: &Netns| {
        let [udp, tcp] = ["+notcp", "+tcp"].map(|transport| {
            whole(netns, &format!("{transport} vm40ic1.lab.voip A")).contains("status: REFUSED")
        });
        assert_eq!(udp, tcp);
        udp
    };
    assert!(is_refused(&stranger) && !is_refused(&client));
    let before = serial(&client);
    rewrite(&lab, &server, TAKEN, replace("[dns]\n", "[dns]\nallow = [\"192.0.2.0/24\"]\n"));
    assert!(!is_refused(&stranger) && is_refused(&client));
    rewrite(&lab, &server, TAKEN, replace("allow = [\"192.0.2.0/24\"]\n", "rate_limit = 20\n"));
    assert!(is_refused(&stranger) && !is_refused(&client));
    assert_eq!(serial(&client), before, "no record has changed");

    // So many answers of 200 questions, whole ones.
    let answered = || {
        client.enter(|| {
            let socket = UdpSocket::bind("10.250.1.200:0").unwrap();
            socket.connect("10.250.1.5:53").unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            (0..200).for_each(|n| {
                socket.send(&ask("vm40ic1", A).octets(n)).unwrap();
            });
            let (mut whole, mut buffer) = (0, [0; 1500]);
            while socket.recv(&mut buffer).is_ok() {
                whole += usize::from(buffer[2] & 2 == 0);
            }
            whole
        })
    };
    let limited = answered();
    assert!((15..=60).contains(&limited), "{limited}");
    rewrite(&lab, &server, TAKEN, replace("rate_limit = 20\n", ""));
    assert_eq!(answered(), 200);

    // A secondary from now on: it gets the zone, and is told of what changes.
    let secondary = lab.machine(Vlan::Voice, "10.250.1.201/24", "10.250.1.1");
    assert!(whole(&secondary, "lab.voip AXFR").contains("Transfer failed"));
    let notify = secondary.enter(|| UdpSocket::bind("10.250.1.201:53").unwrap());
    notify.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut buffer = [0; 512];
        let (length, from) = notify.recv_from(&mut buffer).expect("a NOTIFY");
        assert_eq!(from.ip(), "10.250.1.5".parse::<IpAddr>().unwrap());
        assert_eq!(buffer[2] & 0xf8, 0x20, "opcode 4");
        buffer[2] |= 0x80;
        notify.send_to(&buffer[..length], from).unwrap();
        buffer[12..length].to_vec()
    };
    let transfer = "[dns]\ntransfer = [\"10.250.1.201\"]\n";
    rewrite(&lab, &server, TAKEN, replace("[dns]\n", transfer));
    let zones: Vec<_> = (0..3).map(|_| told()).collect();
    assert!(zones.iter().any(|zone| zone.starts_with(b"\x03lab\x04voip\0")), "{zones:?}");
    assert!(whole(&secondary, "lab.voip AXFR").contains("vm40ic1.lab.voip."));
    let start = Instant::now();
    while notify.set_read_timeout(Some(Duration::from_secs(3))).is_ok()
        && notify.recv_from(&mut [0; 512]).is_ok()
    {
        assert!(start.elapsed() < PATIENCE, "told for ever");
    }
    notify.set_read_timeout(Some(PATIENCE)).unwrap();
    rewrite(&lab, &server, TAKEN, |text| text.replace("10.250.1.152", "10.250.1.153"));
    told();
    rewrite(&lab, &server, TAKEN, |text| text.replace(transfer, "[dns]\n"));
    assert!(whole(&secondary, "lab.voip AXFR").contains("Transfer failed"));
    assert_eq!(server.terminate(), Some(0));
}
