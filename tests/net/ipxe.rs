//! iPXE in QEMU: a boot loader that nobody here wrote takes a lease of ours and boots a file of ours.

use std::io::Read as _;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::lab::{Lab, noise, repository};

/// An emulated machine needs its time, above all beside other tests.
const PATIENCE: Duration = Duration::from_secs(120);

/// What option 60 of a network card's boot ROM begins with.
const CLASS: &str = r#"
[[class]]
name = "PXE"
vendor_class_prefix = "PXEClient"
firmware = "boot.ipxe"
gives = ["tftp-server-name", "bootfile-name"]
boot_header = true
"#;

/// What the boot ROM is given to run: it says so on its console, fetches a second file, and says how large it is.
const SCRIPT: &str = "#!ipxe
echo offhook: running a script from ${next-server} on ${net0/ip}
imgfetch --name second tftp://${next-server}/SECOND.IMG || goto failed
imgstat
chain tftp://${next-server}/third.ipxe || goto failed
:failed
echo offhook: this did not work
shell
";

/// A machine without a disk; it ends with the test.
struct Machine {
    qemu: Child,
    console: Receiver<Vec<u8>>,
    shown: Vec<u8>,
}

impl Machine {
    /// Boots from a network card that is plugged into the native VLAN.
    fn boot(lab: &Lab, card: &str) -> Self {
        lab.office.ip("tuntap add tap0 mode tap");
        lab.office.ip("link set tap0 master native up");
        let mut command = lab.office.daemon("timeout");
        command.args(["-k", "1", "150", "qemu-system-x86_64", "-accel", "tcg", "-m", "64"]);
        command.args(["-nographic", "-no-reboot", "-monitor", "none", "-boot", "n"]);
        command.args(["-netdev", "tap,id=lan,ifname=tap0,script=no,downscript=no", "-device"]);
        command.arg(format!("{card},netdev=lan,mac=52:54:00:12:34:56"));
        let mut qemu = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let (said, console) = channel();
        let mut serial = qemu.stdout.take().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = serial.read(&mut buffer) {
                if said.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { qemu, console, shown: Vec::new() }
    }

    /// Waits until the console has shown this.
    fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.shown().contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.console.recv_timeout(left) {
                Ok(more) => self.shown.extend(more),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("the console does not show {text:?}:\n{}", self.shown())
                }
            }
        }
    }

    /// What the console has shown, without what moves its cursor.
    fn shown(&self) -> String {
        let mut text = String::new();
        let mut bytes = self.shown.iter().copied();
        while let Some(byte) = bytes.next() {
            match byte {
                0x1b => while bytes.next().is_some_and(|byte| !byte.is_ascii_alphabetic()) {},
                byte => text.push(char::from(byte)),
            }
        }
        text
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // `timeout` passes SIGTERM on to the machine.
        let pid = nix::unistd::Pid::from_raw(self.qemu.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.qemu.wait();
    }
}

#[test]
fn ipxe_takes_a_lease_and_boots_what_we_serve() {
    const SECOND: usize = 5_000_000;
    let text = std::fs::read_to_string(repository().join("config/lab.toml")).unwrap();
    let lab = Lab::with_config(&format!("{text}\n{CLASS}"));
    lab.image("boot.ipxe", SCRIPT.as_bytes());
    lab.image("second.img", &noise(SECOND));
    // A script that can be run to its end only if every byte of it has come.
    let mut third = String::from("#!ipxe\nset count:int32 0\n");
    (0..2000).for_each(|line| third += &format!("# {line:0>60}\ninc count\n"));
    third += "echo offhook: counted ${count} lines\nsleep 100\n";
    lab.image("third.ipxe", third.as_bytes());
    let server = lab.serve();
    let mut machine = Machine::boot(&lab, "virtio-net-pci");
    machine.wait_for("offhook: running a script from 10.0.0.11 on 10.0.0.1");
    machine.wait_for(&format!("second : {SECOND} bytes"));
    machine.wait_for("offhook: counted 2000 lines");
    server.wait_for_log(&["52:54:00:12:34:56", "PXE"]);
    server.wait_for_log(&["TFTP transfer done", "boot.ipxe"]);
    server.wait_for_log(&["TFTP transfer done", "SECOND.IMG", "bytes=5000000"]);
    assert!(!machine.shown().contains("did not work"), "{}", machine.shown());
}
