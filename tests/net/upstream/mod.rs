//! Images that are not in the TFTP root come from the provisioning server: nginx, on the address that the zone has for
//! it. What phones get is compared byte for byte, and what was asked of the server read from its log.

mod faults;
mod fetching;
mod keeping;
mod reloading;

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{Lab, Netns, PATIENCE, Vlan, noise, output, repository, run};

const SERVER: &str = "10.0.0.11:69";
const URL: &str = "upstream = \"http://provision.lab.voip:8088\"\n";
/// What is told when the provisioning server gives nothing.
const NOTHING: (u16, &str) = (0, "the provisioning server does not give the file, try again later");

/// The sample site, and the machine that both servers of the switchover pair are.
struct Site {
    lab: Lab,
    machine: Netns,
    files: PathBuf,
}

/// The sample site's configuration with more in `[tftp]`.
fn text(keys: &str) -> String {
    let text = fs::read_to_string(repository().join("config/lab.toml")).unwrap();
    let root = "root = \"firmware\"";
    assert!(text.contains(root));
    text.replace(root, &format!("{root}\n{keys}"))
}

/// nginx, as long as it is wanted.
struct Nginx {
    child: Child,
    log: PathBuf,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Nginx {
    /// Every request so far: `GET /440hd.img 200`.
    fn requests(&self) -> Vec<String> {
        fs::read_to_string(&self.log).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// The same, once there are so many.
    fn wait_for(&self, count: usize) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let requests = self.requests();
            if requests.len() >= count {
                return requests;
            }
            assert!(Instant::now() < deadline, "{count} requests: {requests:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Site {
    /// With more in `[tftp]`.
    fn new(keys: &str) -> Self {
        let lab = Lab::with_config(&text(keys));
        let machine = lab.machine(Vlan::Voice, "10.250.1.151/24", "10.250.1.1");
        machine.ip("addr add 10.250.1.152/24 dev eth0");
        let files = lab.dir.path().join("www");
        fs::create_dir(&files).unwrap();
        Self { lab, machine, files }
    }

    fn put(&self, name: &str, content: &[u8]) {
        // Another file, as a copy or an upload makes it: nginx may be sending the one before.
        let new = self.files.join(".new");
        fs::write(&new, content).unwrap();
        fs::rename(new, self.files.join(name)).unwrap();
    }

    /// Starts nginx, with more for its server.
    fn nginx(&self, more: &str) -> Nginx {
        let directory = self.lab.dir.path();
        let at = |name: &str| directory.join(name).display().to_string();
        let (config, log) = (directory.join("nginx.conf"), directory.join("access.log"));
        let _ = fs::remove_file(&log);
        let own = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|part| format!("{part}_temp_path {};\n", at(part)))
            .concat();
        let text = format!(
            "user root;\ndaemon off;\nmaster_process off;\npid {};\nerror_log {} info;\nevents {{}}\n\
             http {{\n{own}log_format plain '$request_method $request_uri $status';\naccess_log {} plain;\n\
             types {{}}\ndefault_type application/octet-stream;\nopen_file_cache off;\nsendfile off;\n\
             server {{ listen 8088;\nroot {};\n{more}\n}} }}\n",
            at("nginx.pid"),
            at("nginx.log"),
            log.display(),
            self.files.display(),
        );
        fs::write(&config, text).unwrap();
        let mut command = self.machine.daemon("nginx");
        command.arg("-p").arg(directory).arg("-c").arg(&config);
        let mut child =
            command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("nginx is installed");
        let deadline = Instant::now() + PATIENCE;
        let listens =
            || self.machine.enter(|| std::net::TcpStream::connect("10.250.1.151:8088").is_ok());
        while !listens() {
            let said = || fs::read_to_string(directory.join("nginx.log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "nginx does not listen: {}", said());
            assert!(child.try_wait().unwrap().is_none(), "nginx has ended: {}", said());
            std::thread::sleep(Duration::from_millis(5));
        }
        Nginx { child, log }
    }

    fn phone(&self) -> Netns {
        self.lab.machine(Vlan::Native, "10.0.0.50/24", "10.0.0.1")
    }

    fn cache(&self) -> PathBuf {
        self.lab.state().join("tftp-cache")
    }

    /// The files in the cache, in order.
    fn cached(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.cache())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Waits until so many files are in the cache: what is sent may not be kept yet.
    fn wait_for_cached(&self, count: usize) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let names = self.cached();
            let are_done = !names.iter().any(|name| name.starts_with(".new-"));
            if names.len() == count && are_done {
                return names;
            }
            assert!(Instant::now() < deadline, "{count} files: {names:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// `offhook firmware list`, and its exit code.
    fn listing(&self) -> (Value, Option<i32>) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_offhook"));
        command.args(["firmware", "list", "--format", "json", "--config"]).arg(self.lab.config());
        let listed = output(command.arg("--state").arg(self.lab.state()));
        (serde_json::from_slice(&listed.stdout).unwrap(), listed.status.code())
    }

    fn count(&self, what: &str) -> u64 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_offhook"));
        command.args(["status", "--format", "json", "--state"]).arg(self.lab.state());
        let status: Value = serde_json::from_str(&run(&mut command)).unwrap();
        status["tftp"]["counts"][what].as_u64().unwrap_or_else(|| panic!("no {what}: {status}"))
    }
}

/// A phone in the middle of a transfer, in lock step with blocks of 1,024.
pub(crate) struct Phone {
    socket: UdpSocket,
    to: SocketAddr,
    request: Vec<u8>,
    got: Vec<u8>,
    size: Option<usize>,
    next: u16,
    is_over: bool,
}

pub(crate) type Refused = (u16, String);

impl Phone {
    /// Asks, and waits for nothing.
    pub(crate) fn ask(name: &str) -> Self {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let request = format!("\0\x01{name}\0octet\0blksize\x001024\0tsize\x000\0").into_bytes();
        let to = SERVER.parse().unwrap();
        socket.send_to(&request, to).unwrap();
        Self { socket, to, request, got: Vec::new(), size: None, next: 0, is_over: false }
    }

    /// Repeats nothing before that.
    pub(crate) fn is_patient(&self, patience: Duration) {
        self.socket.set_read_timeout(Some(patience)).unwrap();
    }

    /// Goes on until it has so many octets, or all, or was refused.
    pub(crate) fn until(&mut self, octets: usize) -> Result<(), Refused> {
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 2000];
        while !self.is_over && self.got.len() < octets {
            assert!(Instant::now() < deadline, "stuck after {} octets", self.got.len());
            let Ok((length, from)) = self.socket.recv_from(&mut buffer) else {
                // As phones do: the request once more, or the last ACK.
                let _ = match self.next {
                    0 => self.socket.send_to(&self.request, self.to),
                    next => self.acknowledge(next - 1),
                };
                continue;
            };
            self.to = from;
            let packet = &buffer[..length];
            match packet[..2] {
                [0, 5] => {
                    let text = String::from_utf8_lossy(&packet[4..length - 1]).into_owned();
                    return Err((u16::from_be_bytes([packet[2], packet[3]]), text));
                }
                [0, 6] => {
                    let text = String::from_utf8_lossy(&packet[2..]).into_owned();
                    let mut words = text.split('\0');
                    self.size = words
                        .find(|word| *word == "tsize")
                        .map(|_| words.next().unwrap().parse().unwrap());
                    self.next = 1;
                    self.acknowledge(0).unwrap();
                }
                [0, 3] if packet[2..4] == self.next.to_be_bytes() => {
                    self.got.extend_from_slice(&packet[4..]);
                    self.is_over = packet.len() < 4 + 1024;
                    self.acknowledge(self.next).unwrap();
                    self.next = self.next.wrapping_add(1);
                }
                [0, 3] => {}
                _ => panic!("{}", packet.escape_ascii()),
            }
        }
        Ok(())
    }

    fn acknowledge(&self, block: u16) -> std::io::Result<usize> {
        let [high, low] = block.to_be_bytes();
        self.socket.send_to(&[0, 4, high, low], self.to)
    }

    pub(crate) fn all(mut self) -> Result<Vec<u8>, Refused> {
        self.until(usize::MAX)?;
        assert!(self.size.is_none_or(|size| size == self.got.len()), "another size than told");
        Ok(self.got)
    }
}

pub(crate) fn fetch(phone: &Netns, name: &str) -> Result<Vec<u8>, Refused> {
    phone.enter(|| Phone::ask(name).all())
}

pub(crate) fn assert_same(got: Result<Vec<u8>, Refused>, expected: &[u8]) {
    let got = got.unwrap_or_else(|refused| panic!("refused: {refused:?}"));
    assert_eq!(got.len(), expected.len());
    assert!(got == expected, "other bytes");
}

fn refused(code: u16, text: &str) -> Result<Vec<u8>, Refused> {
    Err((code, text.to_owned()))
}

pub(crate) fn digest(content: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), content).unwrap();
    run(Command::new("sha256sum").arg(file.path())).split(' ').next().unwrap().to_owned()
}
