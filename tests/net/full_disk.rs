//! The disk of the lease store is full, again and again: no ACK, a loud error, and everything as before once there is
//! room.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::lab::{Lab, Netns, PATIENCE, Server, Vlan, run};
use crate::packet::*;

/// A file system of its own, gone with the value: it is mounted nowhere but in a mount namespace that one process holds.
pub(crate) struct SmallDisk {
    holder: Child,
    mount: PathBuf,
}

impl SmallDisk {
    /// In memory.
    pub(crate) fn new(lab: &Lab, size: &str) -> Self {
        Self::mount(lab, &format!("mount -t tmpfs -o size={size} none \"$0\""))
    }

    /// ext4 with or without some features, on a disk that has a cache and counts what it is told.
    pub(crate) fn ext4(lab: &Lab, features: &str) -> Self {
        let image = lab.dir.path().join("image");
        File::create(&image).unwrap().set_len(64 << 20).unwrap();
        run(Command::new("mkfs.ext4").args(["-q", "-O", features]).arg(&image));
        Self::mount(lab, &format!("mount -o loop '{}' \"$0\"", image.display()))
    }

    fn mount(lab: &Lab, command: &str) -> Self {
        let mount = lab.dir.path().join("small");
        fs::create_dir(&mount).unwrap();
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c"])
            .arg(format!("{command} && echo mounted && exec cat"))
            .arg(&mount)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "mounted\n");
        Self { holder, mount }
    }

    /// The directory, as every process finds it.
    pub(crate) fn path(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.mount.strip_prefix("/").unwrap())
    }

    /// The name of the disk.
    pub(crate) fn device(&self) -> String {
        let mounts = fs::read_to_string(format!("/proc/{}/mounts", self.holder.id())).unwrap();
        let mount = self.mount.to_str().unwrap();
        let line = mounts.lines().find(|line| line.split(' ').nth(1) == Some(mount)).unwrap();
        line.split(' ').next().unwrap().strip_prefix("/dev/").unwrap().to_owned()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    /// Somebody else's file takes all the room there is.
    fn fill(&self) {
        let mut file = File::create(self.path().join("ballast")).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.path().join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn serve(lab: &Lab, state: &Path) -> Server {
    lab.serve_with(&["--state", state.to_str().unwrap()])
}

/// Clients, and what was acknowledged to them.
struct Clients {
    netns: Netns,
    acknowledged: HashMap<u32, Ipv4Addr>,
    next: u32,
}

impl Clients {
    /// New ones get leases.
    fn lease(&mut self, count: u32) {
        let (first, last) = (self.next, self.next + count);
        self.next = last;
        let got = self.netns.enter(|| {
            let card = Card::open("eth0");
            (first..last).map(|n| (n, card.lease(mac(n), n, &[]).yiaddr())).collect::<Vec<_>>()
        });
        self.acknowledged.extend(got);
    }

    /// New ones and old ones ask and ask; returns how many ACKs there were.
    fn try_to_lease(&mut self) -> usize {
        let old: Vec<_> = self.acknowledged.iter().map(|(n, address)| (*n, *address)).collect();
        let new = self.next;
        self.next += 2;
        let got = self.netns.enter(|| {
            let card = Card::open("eth0");
            let mut acknowledged = Vec::new();
            for n in new..new + 2 {
                card.broadcast(&Message::new(DISCOVER, mac(n), n));
                let patience = Duration::from_millis(1200);
                let Some(offer) = card.reply_within(n, patience) else { continue };
                let request = Message::new(REQUEST, mac(n), n)
                    .with(50, offer.yiaddr().octets())
                    .with(54, offer.option(54).unwrap());
                card.broadcast(&request);
                if let Some(reply) = card.reply_within(n, Duration::from_millis(300)) {
                    assert_eq!(reply.kind(), ACK);
                    acknowledged.push((n, reply.yiaddr()));
                }
            }
            for (n, address) in old.into_iter().take(2) {
                let xid = 0x7000_0000 + n;
                let renewal = Message::new(REQUEST, mac(n), xid).with(50, address.octets());
                card.broadcast(&renewal);
                if card.reply_within(xid, Duration::from_millis(300)).is_some() {
                    acknowledged.push((n, address));
                }
            }
            acknowledged
        });
        let count = got.len();
        self.acknowledged.extend(got);
        count
    }

    /// Waits until a new one is acknowledged.
    fn lease_again(&mut self, server: &Server) {
        let deadline = Instant::now() + PATIENCE;
        while self.try_to_lease() < 4 {
            assert!(Instant::now() < deadline, "no lease though there is room:\n{}", server.log());
        }
    }

    /// Every one of them still has its address, and no two have the same.
    fn assert_held(&self) {
        let mut addresses: Vec<_> = self.acknowledged.values().collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), self.acknowledged.len(), "two clients have one address");
        self.netns.enter(|| {
            let card = Card::open("eth0");
            for (n, address) in &self.acknowledged {
                let xid = 0x5000_0000 + n;
                let reboot = Message::new(REQUEST, mac(*n), xid).with(50, address.octets());
                let reply = card.ask(&reboot).unwrap_or_else(|| panic!("silence for {address}"));
                assert_eq!((reply.kind(), reply.yiaddr()), (ACK, *address), "client {n}");
            }
        });
    }
}

#[test]
fn a_full_disk_is_told_loudly_and_heals_by_itself_however_often_and_across_restarts() {
    let lab = Lab::new();
    let disk = SmallDisk::new(&lab, "6m");
    let asker = lab.machine(Vlan::Voice, "10.250.1.200/24", "10.250.1.1");
    let mut clients =
        Clients { netns: lab.client(Vlan::Voice), acknowledged: HashMap::new(), next: 1 };
    let mut server = serve(&lab, &disk.state());
    clients.lease(10);
    for round in 0..3 {
        disk.fill();
        assert_eq!(clients.try_to_lease(), 0, "acknowledged on a full disk");
        server.wait_for_log(&["ERROR", "leases cannot be written", "disk is full"]);
        // All else goes on.
        let words = ["@10.250.1.5", "+tries=1", "+time=3", "+short", "vm40ic1.lab.voip", "A"];
        assert_eq!(run(asker.command("dig").args(words)).trim(), "10.250.1.151");
        if round == 1 {
            server.kill();
            server = serve(&lab, &disk.state());
            assert_eq!(clients.try_to_lease(), 0, "acknowledged on a full disk after a restart");
        }
        disk.free();
        clients.lease_again(&server);
        server.wait_for_log(&["leases can be written again"]);
        clients.lease(5);
    }
    server.kill();
    let server = serve(&lab, &disk.state());
    clients.assert_held();
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn a_disk_of_a_mebibyte_is_enough_for_an_office() {
    for size in ["1m", "2m"] {
        let lab = Lab::new();
        let disk = SmallDisk::new(&lab, size);
        let mut clients =
            Clients { netns: lab.client(Vlan::Voice), acknowledged: HashMap::new(), next: 1 };
        let server = serve(&lab, &disk.state());
        clients.lease(10);
        disk.fill();
        assert_eq!(clients.try_to_lease(), 0, "acknowledged on a full disk of {size}");
        disk.free();
        clients.lease_again(&server);
        // More than fits into what was taken at first.
        (0..20).for_each(|_| clients.assert_held());
        server.kill();
        let server = serve(&lab, &disk.state());
        clients.assert_held();
        assert_eq!(server.terminate(), Some(0));
    }
}
