//! NOTIFY (RFC 1996): secondaries are told when the zones have changed, those that `transfer` names one by one.
//!
//! Who is not reached finds out by itself, a minute later at the most: the SOA says when to look.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnetwork::Ipv4Network;
use offhook_dns::Zones;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::{Instant, interval};
use tracing::debug;

use super::{Publisher, told_to_stop};

/// How often secondaries are told at most, however often the zones change, and told again when they do not answer.
const EVERY: Duration = Duration::from_secs(2);

/// How often a secondary is told of one change.
const TRIES: u32 = 3;

/// Secondaries that are told.
const MOST: usize = 32;

const PORT: u16 = 53;

/// The response bit.
const QR: u8 = 0x80;

/// The machines among these networks.
fn secondaries(transfer: &[Ipv4Network]) -> Vec<SocketAddr> {
    let machines = transfer.iter().filter(|network| network.prefix() == 32);
    machines.map(|network| SocketAddr::from((network.ip(), PORT))).take(MOST).collect()
}

/// Tells secondaries until the program stops, from an address that they know.
pub(super) async fn serve(
    zones: Arc<Publisher>,
    from: Ipv4Addr,
    mut shutdown: watch::Receiver<bool>,
) -> std::io::Result<()> {
    tokio::select! {
        never = tell_whoever_there_is(&zones, from) => match never? {},
        () = told_to_stop(&mut shutdown) => Ok(()),
    }
}

async fn tell_whoever_there_is(
    zones: &Publisher,
    from: Ipv4Addr,
) -> std::io::Result<std::convert::Infallible> {
    let stated = |zones: &Zones| secondaries(zones.transfer_networks());
    let mut replacements = zones.replacements();
    loop {
        if stated(&zones.current()).is_empty() {
            // The publisher is ours as well: it does not go.
            let _ = replacements.changed().await;
            continue;
        }
        let socket = UdpSocket::bind((from, 0)).await?;
        tell(zones, &socket, stated, EVERY).await?;
    }
}

/// Tells those that are `stated`, as long as there are any.
async fn tell(
    zones: &Publisher,
    socket: &UdpSocket,
    stated: impl Fn(&Zones) -> Vec<SocketAddr>,
    every: Duration,
) -> std::io::Result<()> {
    let mut ticks = interval(every);
    // Of which serial who was told.
    let mut told = (None, Vec::new());
    // Messages that were not answered yet, by their ids.
    let mut open: HashMap<u16, (SocketAddr, Vec<u8>)> = HashMap::new();
    let mut tries = 0;
    let mut buffer = [0; 512];
    loop {
        ticks.tick().await;
        let (serial, messages, secondaries) = {
            let zones = zones.current();
            (zones.serial(), zones.notifications(), stated(&zones))
        };
        if secondaries.is_empty() {
            return Ok(());
        }
        let now = (Some(serial), secondaries);
        if told != now {
            let (before, known) = std::mem::replace(&mut told, now);
            tries = 0;
            let is_new = before != told.0;
            open.retain(|_, (secondary, _)| !is_new && told.1.contains(secondary));
            let untold = |secondary: &&SocketAddr| is_new || !known.contains(secondary);
            for message in &messages {
                for secondary in told.1.iter().filter(untold) {
                    let id: u16 = rand::random();
                    let message = [&id.to_be_bytes(), message.as_slice()].concat();
                    open.insert(id, (*secondary, message));
                }
            }
        }
        if tries < TRIES {
            tries += 1;
            for (secondary, message) in open.values() {
                if let Err(error) = socket.send_to(message, *secondary).await {
                    debug!(%secondary, %error, "cannot tell a secondary that the zones have changed");
                }
            }
        }
        let until = Instant::now() + every / 2;
        while !open.is_empty() {
            match tokio::time::timeout_at(until, socket.recv_from(&mut buffer)).await {
                Ok(Ok((length, peer))) => {
                    let Some(&[id0, id1, flags, ..]) = buffer.get(..length) else { continue };
                    let id = u16::from_be_bytes([id0, id1]);
                    if flags & QR != 0 && open.get(&id).is_some_and(|(asked, _)| *asked == peer) {
                        open.remove(&id);
                    }
                }
                // One of them is not there, which the next try finds out again.
                Ok(Err(_)) => {}
                Err(_) => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use offhook_dns::Zones;
    use offhook_model::Site;

    use super::*;

    #[test]
    fn machines_are_told_and_networks_are_not() {
        let networks = ["10.0.0.0/24", "10.0.0.9/32", "10.0.0.10/31"].map(|it| it.parse().unwrap());
        assert_eq!(secondaries(&networks), ["10.0.0.9:53".parse().unwrap()]);
    }

    #[tokio::test]
    async fn who_does_not_answer_is_told_three_times_and_who_does_once_for_each_change() {
        let zones = Publisher::new(Zones::from_site(&Site::new("lab.voip".parse().unwrap()), 0));
        let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
        let [ours, silent, other] = [bind(), bind(), bind()].map(async |it| it.await.unwrap());
        let (ours, silent, other) = (ours.await, silent.await, other.await);
        let peers = [&silent, &other].map(|socket| socket.local_addr().unwrap());
        let mut buffer = [0; 512];
        let play = async {
            for change in 0..2 {
                let (length, from) = other.recv_from(&mut buffer).await.unwrap();
                // One question of opcode 4: for the SOA of the zone, from its primary.
                assert_eq!(buffer[2..12], [0x24, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
                assert_eq!(&buffer[12..length], b"\x03lab\x04voip\0\0\x06\0\x01");
                buffer[2] |= QR;
                other.send_to(&buffer[..length], from).await.unwrap();
                if change == 0 {
                    let mut received = Vec::new();
                    for _ in 0..3 {
                        let (length, _) = silent.recv_from(&mut buffer).await.unwrap();
                        received.push(buffer[..length].to_vec());
                    }
                    assert_eq!(received[0], received[2]);
                    assert!(zones.change(|_| true));
                }
            }
        };
        tokio::select! {
            ended = tell(&zones, &ours, |_| peers.to_vec(), Duration::from_millis(100)) => panic!("{ended:?}"),
            () = play => {}
        }
        assert!(other.try_recv_from(&mut [0; 512]).is_err(), "told again");
    }
}
