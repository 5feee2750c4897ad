//! Images that are not in the TFTP root come from the provisioning server: nginx, on the address that the zone has for
//! it. What phones get is compared byte for byte, and what was asked of the server read from its log.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::lab::{Lab, Netns, PATIENCE, Vlan, noise, output, repository, run, said};

const SERVER: &str = "10.0.0.11:69";
const URL: &str = "upstream = \"http://provision.lab.voip:8088\"\n";
/// What is told when the provisioning server gives nothing.
const NOTHING: (u16, &str) = (0, "the provisioning server does not give the file, try again later");

/// The sample site, and the machine that both servers of the switchover pair are.
pub(crate) struct Site {
    pub(crate) lab: Lab,
    machine: Netns,
    files: PathBuf,
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
        let text = fs::read_to_string(repository().join("config/lab.toml")).unwrap();
        let root = "root = \"firmware\"";
        assert!(text.contains(root));
        let lab = Lab::with_config(&text.replace(root, &format!("{root}\n{keys}")));
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
struct Phone {
    socket: UdpSocket,
    to: SocketAddr,
    request: Vec<u8>,
    got: Vec<u8>,
    size: Option<usize>,
    next: u16,
    is_over: bool,
}

type Refused = (u16, String);

impl Phone {
    /// Asks, and waits for nothing.
    fn ask(name: &str) -> Self {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let request = format!("\0\x01{name}\0octet\0blksize\x001024\0tsize\x000\0").into_bytes();
        let to = SERVER.parse().unwrap();
        socket.send_to(&request, to).unwrap();
        Self { socket, to, request, got: Vec::new(), size: None, next: 0, is_over: false }
    }

    /// Goes on until it has so many octets, or all, or was refused.
    fn until(&mut self, octets: usize) -> Result<(), Refused> {
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

    fn all(mut self) -> Result<Vec<u8>, Refused> {
        self.until(usize::MAX)?;
        assert!(self.size.is_none_or(|size| size == self.got.len()), "another size than told");
        Ok(self.got)
    }
}

fn fetch(phone: &Netns, name: &str) -> Result<Vec<u8>, Refused> {
    phone.enter(|| Phone::ask(name).all())
}

fn assert_same(got: Result<Vec<u8>, Refused>, expected: &[u8]) {
    let got = got.unwrap_or_else(|refused| panic!("refused: {refused:?}"));
    assert_eq!(got.len(), expected.len());
    assert!(got == expected, "other bytes");
}

fn refused(code: u16, text: &str) -> Result<Vec<u8>, Refused> {
    Err((code, text.to_owned()))
}

fn digest(content: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), content).unwrap();
    run(Command::new("sha256sum").arg(file.path())).split(' ').next().unwrap().to_owned()
}

#[test]
fn an_image_is_fetched_once_kept_and_served_when_the_server_is_gone() {
    let site = Site::new(URL);
    let image = noise(3_000_001);
    site.put("440hd.img", &image);
    let nginx = site.nginx("");
    let server = site.lab.serve();
    let phone = site.phone();
    assert_eq!(site.listing().0["cache"]["files"], serde_json::json!([]));
    for name in ["440HD.img", "440hd.img", "/440HD.IMG", "http://10.0.0.11/440hd.img;x.cfg"] {
        assert_same(fetch(&phone, name), &image);
    }
    let requests = nginx.requests();
    assert_eq!(requests.last().unwrap(), "GET /440hd.img 200", "{requests:?}");
    assert_eq!(requests.iter().filter(|it| it.ends_with("200")).count(), 1, "{requests:?}");
    let line = server.wait_for_log(&["fetched from the provisioning server", "bytes=3000001"]);
    assert!(line.contains(&digest(&image)) && line.contains("kept=true"), "{line}");
    let (listing, code) = site.listing();
    let kept = &listing["cache"]["files"][0];
    assert_eq!((&kept["sha256"], &kept["state"]), (&digest(&image).into(), &"verified".into()));
    assert_eq!(code, Some(0), "what can be fetched is not missing: {listing}");

    drop(nginx);
    // Still fresh; after a restart nobody has said so.
    assert_same(fetch(&phone, "440hd.img"), &image);
    server.kill();
    let server = site.lab.serve();
    let began = Instant::now();
    assert_same(fetch(&phone, "440hd.img"), &image);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    server.wait_for_log(&["served from the cache: the provisioning server gives nothing"]);
    assert_eq!(site.count("upstream-from-cache"), 1);
    assert!(site.count("upstream-failed") >= 1);
}

#[test]
fn phones_have_the_beginning_long_before_the_server_has_sent_the_end_and_ask_it_once() {
    let site = Site::new(URL);
    let image = noise(300_000);
    site.put("440hd.img", &image);
    // Some three seconds for all of it.
    let nginx = site.nginx("limit_rate 80k;");
    let server = site.lab.serve();
    let machine = site.phone();
    machine.enter(|| {
        let began = Instant::now();
        let mut first = Phone::ask("440hd.img");
        first.until(1).unwrap();
        assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
        assert_eq!(first.size, Some(300_000), "the size is told though little of it is here");
        let others: Vec<_> = (0..40).map(|_| Phone::ask("440HD.img")).collect();
        std::thread::scope(|scope| {
            let running: Vec<_> =
                others.into_iter().map(|phone| scope.spawn(move || phone.all())).collect();
            assert_same(first.all(), &image);
            assert!(began.elapsed() > Duration::from_millis(1500), "{:?}", began.elapsed());
            running.into_iter().for_each(|it| assert_same(it.join().unwrap(), &image));
        });
    });
    assert_eq!(nginx.wait_for(1), ["GET /440hd.img 200"]);
    assert_eq!(site.count("upstream-fetched"), 1);
    drop(server);
}

#[test]
fn a_thousand_requests_at_once_are_one_to_the_server() {
    let site = Site::new(URL);
    let image = noise(100_000);
    site.put("440hd.img", &image);
    let nginx = site.nginx("");
    let _server = site.lab.serve();
    site.phone().enter(|| {
        let phones: Vec<_> = (0..1000).map(|_| Phone::ask("440hd.img")).collect();
        for phone in phones {
            assert_same(phone.all(), &image);
        }
    });
    assert_eq!(nginx.wait_for(1), ["GET /440hd.img 200"]);
}

#[test]
fn where_nobody_answers_phones_are_told_so_at_once() {
    let site = Site::new(&format!("{URL}upstream_timeout = \"2s\"\n"));
    let server = site.lab.serve();
    let phone = site.phone();
    // Nobody listens there.
    let began = Instant::now();
    assert_eq!(fetch(&phone, "440hd.img"), refused(NOTHING.0, NOTHING.1));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    server.wait_for_log(&["cannot be fetched", "10.250.1.151:8088", "Connection refused"]);
    server.wait_for_log(&["TFTP request refused", "440hd.img", "10.250.1.152:8088"]);
    // Nobody is there at all.
    site.machine.ip("link set eth0 down");
    std::thread::sleep(Duration::from_secs(3));
    let began = Instant::now();
    assert_eq!(fetch(&phone, "405.img"), refused(NOTHING.0, NOTHING.1));
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    // The rest is served as ever.
    site.lab.image("430hd.img", b"in the root");
    assert_same(fetch(&phone, "430hd.img"), b"in the root");
    assert_eq!(site.count("refused-upstream"), 2);
}

#[test]
fn what_the_server_has_not_or_does_not_give_is_refused_and_not_asked_for_again_and_again() {
    let site = Site::new(URL);
    let nginx = site.nginx(
        "location = /405.img { return 403; }\nlocation = /430hd.img { return 503; }\n\
         location = /430HD.img { return 503; }\nlocation = /sip100.img { return 410; }",
    );
    let server = site.lab.serve();
    let phone = site.phone();
    for _ in 0..3 {
        assert_eq!(fetch(&phone, "other.img"), refused(1, "file not found"));
        assert_eq!(fetch(&phone, "405.img"), refused(2, "access violation: not a readable file"));
        assert_eq!(fetch(&phone, "430hd.img"), refused(NOTHING.0, NOTHING.1));
    }
    let requests = nginx.requests();
    let times = |what: &str| requests.iter().filter(|it| *it == what).count();
    assert_eq!(times("GET /other.img 404"), 1, "{requests:?}");
    assert_eq!(times("GET /405.img 403"), 1, "{requests:?}");
    // Either of the pair.
    assert_eq!(times("GET /430hd.img 503"), 2, "{requests:?}");
    assert_eq!(requests.len(), 4, "{requests:?}");
    server.wait_for_log(&["TFTP request refused", "other.img", "404"]);
    server.wait_for_log(&["TFTP request refused", "405.img", "403"]);
    server.wait_for_log(&["TFTP request refused", "430hd.img", "503"]);
}

#[test]
fn nothing_is_asked_for_but_what_the_catalogue_and_the_patterns_have() {
    let site = Site::new(&format!("{URL}upstream_names = [\"fw-*.bin\", \"sub/*\"]\n"));
    for name in ["secret.cfg", "x.img", "fw-1.bin", "405.img"] {
        site.put(name, name.as_bytes());
    }
    fs::create_dir(site.files.join("sub")).unwrap();
    site.put("sub/a file %20?#.x", b"in sub");
    let nginx = site.nginx("");
    let _server = site.lab.serve();
    let phone = site.phone();
    assert_same(fetch(&phone, "FW-1.bin").or(fetch(&phone, "fw-1.bin")), b"fw-1.bin");
    assert_same(fetch(&phone, "405.img"), b"405.img");
    assert_same(fetch(&phone, "sub\\a file %20?#.x"), b"in sub");
    for name in
        ["secret.cfg", "x.img", "sub/../secret.cfg", "%2e%2e/secret.cfg", "http://h/secret.cfg"]
    {
        assert!(fetch(&phone, name).is_err(), "{name}");
    }
    let requests = nginx.requests().join("\n");
    assert!(!requests.contains("secret") && !requests.contains("x.img"), "{requests}");
    assert!(requests.contains("GET /sub/a%20file%20%2520%3F%23.x 200"), "{requests}");
}

#[test]
fn redirects_on_the_same_host_are_followed_and_no_others() {
    let site = Site::new(URL);
    site.put("real.img", b"the image");
    let nginx = site.nginx(
        "location = /440hd.img { return 302 /real.img; }\n\
         location = /405.img { return 301 http://10.250.1.152:8088/real.img; }\n\
         location = /430hd.img { return 302 /430hd.img; }",
    );
    let server = site.lab.serve();
    let phone = site.phone();
    assert_same(fetch(&phone, "440hd.img"), b"the image");
    assert_eq!(fetch(&phone, "405.img"), refused(NOTHING.0, NOTHING.1));
    assert_eq!(fetch(&phone, "430hd.img"), refused(NOTHING.0, NOTHING.1));
    server.wait_for_log(&["405.img", "not followed"]);
    server.wait_for_log(&["430hd.img", "more than 5 redirects"]);
    let requests = nginx.requests();
    assert_eq!(
        requests.iter().filter(|it| it.contains("/430hd.img 302")).count(),
        6,
        "{requests:?}"
    );
}

#[test]
fn a_changed_image_is_noticed_and_a_transfer_that_began_with_the_old_one_ends_with_it() {
    let site = Site::new(&format!("{URL}upstream_refresh = 0\n"));
    let (old, new) = (noise(200_000), noise(200_001));
    site.put("440hd.img", &old);
    let nginx = site.nginx("");
    let _server = site.lab.serve();
    let phone = site.phone();
    let slow = phone.enter(|| {
        let mut slow = Phone::ask("440hd.img");
        slow.until(5000).unwrap();
        slow
    });
    site.wait_for_cached(2);
    let cached = phone.enter(|| {
        let mut cached = Phone::ask("440hd.img");
        cached.until(5000).unwrap();
        cached
    });
    assert_eq!(nginx.wait_for(2), ["GET /440hd.img 200", "GET /440hd.img 304"]);
    site.put("440hd.img", &new);
    assert_same(fetch(&phone, "440hd.img"), &new);
    site.wait_for_cached(2);
    assert_same(fetch(&phone, "440hd.img"), &new);
    phone.enter(|| {
        assert_same(slow.all(), &old);
        assert_same(cached.all(), &old);
    });
    assert_eq!(
        nginx.wait_for(4)[2..],
        ["GET /440hd.img 200".to_owned(), "GET /440hd.img 304".to_owned()]
    );
    let (listing, _) = site.listing();
    assert_eq!(listing["cache"]["files"][0]["sha256"], digest(&new));
    assert_eq!(site.cached().len(), 2, "nothing is left of the old one: {:?}", site.cached());
    assert_eq!(site.count("upstream-unchanged"), 2);
}

#[test]
fn a_server_that_dies_in_the_middle_leaves_phones_with_an_error_and_nothing_behind() {
    let site = Site::new(URL);
    let image = noise(1_000_000);
    site.put("440hd.img", &image);
    let nginx = site.nginx("limit_rate 100k;");
    let server = site.lab.serve();
    let phone = site.phone();
    phone.enter(|| {
        let mut dying = Phone::ask("440hd.img");
        dying.until(20_000).unwrap();
        drop(nginx);
        assert_eq!(dying.all(), refused(NOTHING.0, NOTHING.1));
    });
    server.wait_for_log(&["cannot be fetched", "broken off"]);
    assert_eq!(site.wait_for_cached(0), [""; 0]);
    // It is there again, and so is the image, once that may be tried.
    let _nginx = site.nginx("");
    let deadline = Instant::now() + PATIENCE;
    loop {
        match fetch(&phone, "440hd.img") {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(100)),
            got => break assert_same(got, &image),
        }
    }
}

#[test]
fn a_server_that_falls_silent_is_given_up() {
    let site = Site::new(&format!("{URL}upstream_timeout = \"1s\"\n"));
    site.put("440hd.img", &noise(1_000_000));
    let nginx = site.nginx("limit_rate 100k;");
    let server = site.lab.serve();
    site.phone().enter(|| {
        let mut waiting = Phone::ask("440hd.img");
        waiting.until(20_000).unwrap();
        let stop = |signal| kill(Pid::from_raw(nginx.child.id() as i32), signal).unwrap();
        stop(Signal::SIGSTOP);
        let began = Instant::now();
        assert_eq!(waiting.all(), refused(NOTHING.0, NOTHING.1));
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        stop(Signal::SIGCONT);
    });
    server.wait_for_log(&["cannot be fetched", "nothing came for 1s"]);
    assert_eq!(site.wait_for_cached(0), [""; 0]);
}

#[test]
fn a_file_that_ends_before_its_length_is_no_file() {
    let site = Site::new(URL);
    site.put("440hd.img", &noise(1_000_000));
    let nginx = site.nginx("limit_rate 100k;");
    let server = site.lab.serve();
    let phone = site.phone();
    phone.enter(|| {
        let mut phone = Phone::ask("440hd.img");
        phone.until(20_000).unwrap();
        let file = fs::OpenOptions::new().write(true).open(site.files.join("440hd.img")).unwrap();
        file.set_len(200_000).unwrap();
        assert_eq!(phone.all(), refused(NOTHING.0, NOTHING.1));
    });
    server.wait_for_log(&["cannot be fetched", "broken off"]);
    assert_eq!(site.wait_for_cached(0), [""; 0]);
    drop(nginx);
}

#[test]
fn sigkill_in_the_middle_of_a_fetch_leaves_no_half_file() {
    let site = Site::new(URL);
    let image = noise(1_000_000);
    site.put("440hd.img", &image);
    let nginx = site.nginx("limit_rate 200k;");
    let server = site.lab.serve();
    let phone = site.phone();
    phone.enter(|| Phone::ask("440hd.img").until(100_000)).unwrap();
    server.kill();
    let left = site.cached();
    assert!(left.len() == 1 && left[0].starts_with(".new-"), "{left:?}");
    drop(nginx);
    let _server = site.lab.serve();
    assert_eq!(site.cached(), [""; 0]);
    assert_eq!(fetch(&phone, "440hd.img"), refused(NOTHING.0, NOTHING.1));
    drop(_server);
    let nginx = site.nginx("");
    let _server = site.lab.serve();
    assert_same(fetch(&phone, "440hd.img"), &image);
    assert_eq!(nginx.wait_for(1), ["GET /440hd.img 200"]);
}

#[test]
fn a_cached_file_that_was_damaged_is_never_served() {
    let site = Site::new(URL);
    let image = noise(100_000);
    site.put("440hd.img", &image);
    let nginx = site.nginx("");
    let phone = site.phone();
    for damage in [
        (|file: &Path| fs::write(file, vec![0; 100_000]).unwrap()) as fn(&Path),
        |file| fs::OpenOptions::new().write(true).open(file).unwrap().set_len(50_000).unwrap(),
        |file| fs::remove_file(file).unwrap(),
    ] {
        let server = site.lab.serve();
        assert_same(fetch(&phone, "440hd.img"), &image);
        let names = site.wait_for_cached(2);
        let content = names.iter().find(|name| name.ends_with(".fetched")).unwrap();
        damage(&site.cache().join(content));
        // Whether it is noticed under the running server or by the next one.
        assert_same(fetch(&phone, "440hd.img"), &image);
        drop(server);
    }
    assert_eq!(nginx.requests().iter().filter(|it| it.ends_with("200")).count(), 4);
}

#[test]
fn an_image_that_is_not_what_its_digest_says_never_arrives_whole() {
    let (good, bad) = (noise(300_000), noise(300_001));
    let site = Site::new(&format!("{URL}images = {{ \"440HD.img\" = \"{}\" }}\n", digest(&good)));
    site.lab.image("SHA256SUMS", format!("{}  405.img\n", digest(&good)).as_bytes());
    for name in ["440hd.img", "405.img"] {
        site.put(name, &bad);
    }
    let nginx = site.nginx("");
    let server = site.lab.serve();
    let phone = site.phone();
    let damaged = refused(0, "the file is damaged: its digest is not the one stated");
    for name in ["440HD.img", "405.img"] {
        for _ in 0..2 {
            assert_eq!(fetch(&phone, name), damaged, "{name}");
        }
        let file = name.to_lowercase();
        let line = server
            .wait_for_log(&["FROM THE PROVISIONING SERVER IS NOT WHAT ITS DIGEST SAYS", &file]);
        assert!(line.contains(&digest(&good)) && line.contains(&digest(&bad)), "{line}");
    }
    assert_eq!(site.wait_for_cached(0), [""; 0]);
    let before = nginx.requests().len();
    // Put right, and the digest with it: that one is asked for anew at once.
    site.put("405.img", &noise(5000));
    site.lab.image("SHA256SUMS", format!("{}  405.img\n", digest(&noise(5000))).as_bytes());
    assert_same(fetch(&phone, "405.img"), &noise(5000));
    assert!(nginx.requests().len() > before);
    // What is just what it should be is not asked for again, whatever the server has by then.
    site.put("405.img", &bad);
    site.wait_for_cached(2);
    drop(server);
    let _server = site.lab.serve();
    assert_same(fetch(&phone, "405.img"), &noise(5000));
}

#[test]
fn files_and_the_cache_are_only_as_large_as_they_may_be() {
    let site = Site::new(&format!(
        "{URL}upstream_file_size = \"600 KiB\"\ncache_size = \"1 MiB\"\nupstream_names = \"*.bin\"\n"
    ));
    for (name, size) in
        [("a.bin", 500_000), ("b.bin", 400_000), ("c.bin", 300_000), ("huge.bin", 700_000)]
    {
        site.put(name, &noise(size));
    }
    let nginx = site.nginx("");
    let server = site.lab.serve();
    let phone = site.phone();
    assert_same(fetch(&phone, "a.bin"), &noise(500_000));
    site.wait_for_cached(2);
    assert_same(fetch(&phone, "b.bin"), &noise(400_000));
    site.wait_for_cached(4);
    // In use again: the other one has to make room.
    assert_eq!(fetch(&phone, "huge.bin"), refused(NOTHING.0, NOTHING.1));
    server.wait_for_log(&["huge.bin", "more than the 614400 bytes"]);
    assert_same(fetch(&phone, "c.bin"), &noise(300_000));
    server.wait_for_log(&["removed from the cache", "a.bin"]);
    assert_eq!(site.wait_for_cached(4).join(" ").matches("a.bin").count(), 0);
    let kept: u64 =
        fs::read_dir(site.cache()).unwrap().map(|it| it.unwrap().metadata().unwrap().size()).sum();
    assert!(kept < 1 << 20, "{kept}");
    drop(nginx);
    assert_same(fetch(&phone, "b.bin"), &noise(400_000));
}

#[test]
fn a_disk_without_room_to_spare_is_not_written_to_and_phones_are_served_all_the_same() {
    // More than any disk has.
    let site = Site::new(&format!("{URL}cache_reserve = \"16000 GiB\"\n"));
    let image = noise(3_000_000);
    site.put("440hd.img", &image);
    let _nginx = site.nginx("");
    let server = site.lab.serve();
    let phone = site.phone();
    assert_same(fetch(&phone, "440hd.img"), &image);
    server.wait_for_log(&["not kept", "bytes to spare"]);
    assert_eq!(site.cached(), [""; 0]);
    let line = server.wait_for_log(&["fetched from the provisioning server"]);
    assert!(line.contains("kept=false"), "{line}");
}

#[test]
fn the_server_is_asked_by_https_when_a_given_authority_vouches_for_it() {
    let https = "upstream = \"https://provision.lab.voip:8089\"\nupstream_ca = \"ca.pem\"\n";
    let site = Site::new(https);
    let at = |name: &str| site.lab.dir.path().join(name);
    let openssl = |words: &str| {
        run(Command::new("openssl").args(words.split(' ')).current_dir(site.lab.dir.path()))
    };
    for (name, subject) in [("ca", "/CN=An authority"), ("other", "/CN=Another")] {
        let command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
        run(Command::new("openssl")
            .args(command.split(' '))
            .args([
                "-keyout",
                &format!("{name}.key"),
                "-out",
                &format!("{name}.pem"),
                "-subj",
                subject,
            ])
            .current_dir(site.lab.dir.path()));
    }
    fs::write(at("names"), "subjectAltName=DNS:provision.lab.voip\n").unwrap();
    openssl(
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout web.key -out web.csr -subj /CN=web",
    );
    openssl(
        "x509 -req -in web.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out web.pem",
    );
    site.put("440hd.img", b"the image");
    let _nginx = site.nginx(&format!(
        "listen 8089 ssl;\nssl_certificate {};\nssl_certificate_key {};",
        at("web.pem").display(),
        at("web.key").display()
    ));
    let phone = site.phone();
    {
        let _server = site.lab.serve();
        assert_same(fetch(&phone, "440hd.img"), b"the image");
    }
    // An authority that vouches for others only.
    fs::remove_dir_all(site.cache()).unwrap();
    fs::copy(at("other.pem"), at("ca.pem")).unwrap();
    let server = site.lab.serve();
    assert_eq!(fetch(&phone, "440hd.img"), refused(NOTHING.0, NOTHING.1));
    server.wait_for_log(&["cannot be fetched", "TLS"]);
}

#[test]
fn check_misses_no_image_that_can_be_fetched() {
    let site = Site::new(&format!("{URL}images = {{ \"odd.bin\" = \"{}\" }}\n", digest(b"odd")));
    let mut check = Command::new(env!("CARGO_BIN_EXE_offhook"));
    let printed = said(&output(check.args(["check", "--config"]).arg(site.lab.config())));
    // Only of the one that may not be fetched.
    assert!(printed.contains("`odd.bin` is not in the TFTP root"), "{printed}");
    assert!(printed.contains("0 errors, 1 warning"), "{printed}");
}

#[test]
fn a_file_whose_length_is_not_told_is_sent_without_one() {
    let site = Site::new(URL);
    let image = noise(300_000);
    site.put("440hd.img", &image);
    // What looks for server-side includes cannot say how long the result will be.
    let _nginx = site.nginx("ssi on;\nssi_types *;");
    let _server = site.lab.serve();
    let machine = site.phone();
    machine.enter(|| {
        let mut phone = Phone::ask("440hd.img");
        phone.until(1).unwrap();
        assert_eq!(phone.size, None);
        assert_same(phone.all(), &image);
    });
    site.wait_for_cached(2);
    // From the cache it has one.
    machine.enter(|| {
        let mut phone = Phone::ask("440hd.img");
        phone.until(1).unwrap();
        assert_eq!(phone.size, Some(300_000));
    });
}

#[test]
fn a_file_whose_end_cannot_be_told_from_a_broken_connection_is_taken_by_its_digest_only() {
    let good = noise(50_000);
    let site = Site::new(&format!("{URL}images = {{ \"405.img\" = \"{}\" }}\n", digest(&good)));
    let server = site.lab.serve();
    // As HTTP/1.0 has it.
    let listener = site.machine.enter(|| std::net::TcpListener::bind("0.0.0.0:8088").unwrap());
    let body = good.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n");
            let _ = stream.write_all(&body);
        }
    });
    let phone = site.phone();
    assert_eq!(fetch(&phone, "440hd.img"), refused(NOTHING.0, NOTHING.1));
    server.wait_for_log(&["440hd.img", "does not say how long the file is"]);
    assert_same(fetch(&phone, "405.img"), &good);
}

#[test]
fn when_one_server_of_the_pair_is_dead_the_other_one_is_asked() {
    let site = Site::new(&format!("{URL}upstream_timeout = \"2s\"\n"));
    let names = ["405.img", "405hd.img", "420hd.img", "430hd.img", "440hd.img", "sip100.img"];
    for name in names {
        site.put(name, name.as_bytes());
    }
    let _nginx = site.nginx("");
    site.machine.ip("addr del 10.250.1.152/24 dev eth0");
    let _server = site.lab.serve();
    let phone = site.phone();
    // Whichever comes first.
    for name in names {
        assert_same(fetch(&phone, name), name.as_bytes());
    }
}

#[test]
fn a_server_that_hangs_holds_up_nobody_who_wants_something_else() {
    let site = Site::new(URL);
    site.lab.image("440hd.img", b"in the root");
    let nginx = site.nginx("");
    let server = site.lab.serve();
    kill(Pid::from_raw(nginx.child.id() as i32), Signal::SIGSTOP).unwrap();
    let phone = site.phone();
    phone.enter(|| {
        let waiting: Vec<_> = (0..64).map(|n| Phone::ask(&format!("{n}.img"))).collect();
        let began = Instant::now();
        for _ in 0..20 {
            assert_same(Phone::ask("440HD.img").all(), b"in the root");
        }
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        for phone in waiting {
            assert_eq!(phone.all(), refused(NOTHING.0, NOTHING.1));
        }
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    });
    server.wait_for_log(&["cannot be fetched", "too many other files"]);
}
