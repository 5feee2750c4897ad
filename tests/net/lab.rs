//! The sample site in network namespaces: an appliance that runs the real program, an office with a bridge per
//! VLAN and a router, and as many client machines as a test wants. The kernel needs no 802.1Q for it: each VLAN is
//! its own link.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tempfile::TempDir;

/// How long anything may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A VLAN of the sample site, by the name of its bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vlan {
    Voice,
    Native,
}

impl Vlan {
    fn bridge(self) -> &'static str {
        match self {
            Self::Voice => "voice",
            Self::Native => "native",
        }
    }
}

/// A network namespace, deleted with the value.
#[derive(Debug)]
pub(crate) struct Netns(String);

impl Netns {
    fn new(role: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("oh{}-{n}-{role}", std::process::id());
        let netns = Self(name);
        run(Command::new("ip").args(["netns", "add", &netns.0]));
        netns.ip("link set lo up");
        netns
    }

    /// A namespace that is not plugged in anywhere.
    pub(crate) fn spare(role: &str) -> Self {
        Self::new(role)
    }

    /// The name, as `ip netns` has it.
    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    /// `ip WORDS` in this namespace.
    pub(crate) fn ip(&self, words: &str) {
        run(Command::new("ip").args(["-n", &self.0]).args(words.split(' ')));
    }

    /// A command that will run in this namespace, ended after [`PATIENCE`] whatever it does.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        let patience = PATIENCE.as_secs().to_string();
        command.args(["netns", "exec", &self.0, "timeout", "-k", "1", &patience]).arg(program);
        command
    }

    /// A command that goes on in this namespace until it is killed: what is started is the program itself.
    pub(crate) fn daemon(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0]).arg(program).stdout(Stdio::null());
        command
    }

    /// Runs `f` on a thread inside this namespace.
    pub(crate) fn enter<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let file = fs::File::open(format!("/run/netns/{}", self.0)).unwrap();
        std::thread::scope(|scope| {
            scope
                .spawn(move || {
                    nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                    f()
                })
                .join()
                .unwrap()
        })
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// The program under test, and every line it has logged.
pub(crate) struct Server {
    child: Child,
    log: Arc<(Mutex<Vec<String>>, Condvar)>,
}

impl Server {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let log = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let (stderr, lines) = (child.stderr.take().unwrap(), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.0.lock().unwrap().push(line);
                lines.1.notify_all();
            }
            lines.0.lock().unwrap().push("<end of log>".to_owned());
            lines.1.notify_all();
        });
        Self { child, log }
    }

    /// Waits until a line holds every one of `parts`, and returns it.
    pub(crate) fn wait_for_log(&self, parts: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.log.0.lock().unwrap();
        loop {
            if let Some(line) =
                lines.iter().find(|line| parts.iter().all(|part| line.contains(part)))
            {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let ended = lines.iter().any(|line| line == "<end of log>");
            assert!(!left.is_zero() && !ended, "no line with {parts:?} in:\n{}", lines.join("\n"));
            lines = self.log.1.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Waits until so many lines hold this.
    pub(crate) fn wait_for_lines(&self, part: &str, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.log.0.lock().unwrap();
        while lines.iter().filter(|line| line.contains(part)).count() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not {count} times {part:?} in:\n{}", lines.join("\n"));
            lines = self.log.1.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Every line logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.0.lock().unwrap().join("\n")
    }

    /// Of the program itself.
    pub(crate) fn pid(&self) -> Pid {
        // `ip netns exec` execs: the child is the program itself.
        Pid::from_raw(self.child.id() as i32)
    }

    /// The ids of its threads of this name.
    pub(crate) fn threads(&self, name: &str) -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let is_it = |task: &std::path::PathBuf| {
            std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
        };
        let found = tasks.map(|task| task.unwrap().path()).filter(is_it);
        found.map(|task| task.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }

    /// SIGKILL, and wait until it is gone.
    pub(crate) fn kill(mut self) {
        kill(self.pid(), Signal::SIGKILL).unwrap();
        self.child.wait().unwrap();
    }

    /// SIGHUP: the configuration is to be read again.
    pub(crate) fn hang_up(&self) {
        kill(self.pid(), Signal::SIGHUP).unwrap();
    }

    /// Does something while all of its threads stand still, as on a machine that has something else to do.
    pub(crate) fn while_it_stands_still(&self, body: impl FnOnce()) {
        kill(self.pid(), Signal::SIGSTOP).unwrap();
        let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOWAIT;
        waitid(Id::Pid(self.pid()), flags).unwrap();
        body();
        kill(self.pid(), Signal::SIGCONT).unwrap();
    }

    /// SIGTERM; returns the exit code.
    pub(crate) fn terminate(self) -> Option<i32> {
        kill(self.pid(), Signal::SIGTERM).unwrap();
        self.wait()
    }

    /// Waits for the program to end by itself; returns the exit code.
    pub(crate) fn wait(mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the program does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The sample site: namespaces, a scratch directory with the configuration, and firmware images.
pub(crate) struct Lab {
    pub(crate) dir: TempDir,
    pub(crate) appliance: Netns,
    pub(crate) office: Netns,
    clients: AtomicU32,
}

impl Lab {
    /// Namespaces and files, with `config/lab.toml` as it is committed. Nothing runs yet.
    pub(crate) fn new() -> Self {
        Self::with_config(&fs::read_to_string(repository().join("config/lab.toml")).unwrap())
    }

    /// The same with something else in the configuration.
    pub(crate) fn changed(changes: &[(&str, &str)]) -> Self {
        let mut text = fs::read_to_string(repository().join("config/lab.toml")).unwrap();
        for (from, to) in changes {
            assert!(text.contains(from), "no {from}");
            text = text.replacen(from, to, 1);
        }
        Self::with_config(&text)
    }

    /// The same with another configuration.
    pub(crate) fn with_config(text: &str) -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "namespace tests need root: run them with tests/run"
        );
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("lab.toml"), text).unwrap();
        fs::create_dir(dir.path().join("firmware")).unwrap();

        let office = Netns::new("office");
        for (vlan, router) in [(Vlan::Voice, "10.250.1.1/24"), (Vlan::Native, "10.0.0.1/24")] {
            let bridge = vlan.bridge();
            office.ip(&format!(
                "link add {bridge} type bridge forward_delay 0 stp_state 0 mcast_snooping 0"
            ));
            office.ip(&format!("link set {bridge} up"));
            office.ip(&format!("addr add {router} dev {bridge}"));
        }
        office.enter(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap());

        let lab =
            Self { dir, appliance: Netns::new("appliance"), office, clients: AtomicU32::new(0) };
        lab.plug(&lab.appliance, "voice0", Vlan::Voice);
        lab.plug(&lab.appliance, "native0", Vlan::Native);
        lab.appliance.ip("addr add 10.250.1.5/24 dev voice0");
        lab.appliance.ip("addr add 10.0.0.11/24 dev native0");
        lab
    }

    /// A new machine in the office with `eth0` in `vlan`.
    pub(crate) fn client(&self, vlan: Vlan) -> Netns {
        let netns = Netns::new("client");
        self.plug(&netns, "eth0", vlan);
        netns
    }

    /// Puts an interface into `netns` whose other end is in the office's bridge.
    pub(crate) fn plug(&self, netns: &Netns, interface: &str, vlan: Vlan) {
        let port = format!("port{}", self.clients.fetch_add(1, Ordering::Relaxed));
        self.office
            .ip(&format!("link add {port} type veth peer name {interface} netns {}", netns.name()));
        self.office.ip(&format!("link set {port} master {} up", vlan.bridge()));
        netns.ip(&format!("link set {interface} up"));
        self.wait_until_forwarding(&port);
    }

    /// A bridge hears of a port's carrier a moment late, and drops every frame until then.
    fn wait_until_forwarding(&self, port: &str) {
        let deadline = Instant::now() + PATIENCE;
        let mut show = Command::new("ip");
        show.args(["-n", self.office.name(), "-d", "link", "show", port]);
        while !run(&mut show).contains("state forwarding") {
            assert!(Instant::now() < deadline, "{port} does not forward: {}", run(&mut show));
            std::thread::yield_now();
        }
    }

    /// A machine in `vlan` with an address nobody leased to it.
    pub(crate) fn machine(&self, vlan: Vlan, address: &str, router: &str) -> Netns {
        let netns = self.client(vlan);
        netns.ip(&format!("addr add {address} dev eth0"));
        netns.ip(&format!("route add default via {router}"));
        netns
    }

    /// `offhook run` in the appliance, as soon as it serves.
    pub(crate) fn serve(&self) -> Server {
        self.serve_with(&[])
    }

    /// The same, with more flags.
    pub(crate) fn serve_with(&self, flags: &[&str]) -> Server {
        let server = self.start(flags);
        server.wait_for_log(&["serving", "scopes"]);
        server
    }

    /// `offhook run` in the appliance, without waiting for anything.
    pub(crate) fn start(&self, flags: &[&str]) -> Server {
        let mut command = self.appliance.daemon(env!("CARGO_BIN_EXE_offhook"));
        command.arg("run").arg("--config").arg(self.config()).args(flags);
        if !flags.contains(&"--state") {
            command.arg("--state").arg(self.state());
        }
        Server::spawn(&mut command)
    }

    /// The configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("lab.toml")
    }

    /// The directory of the lease store.
    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Puts a file into the TFTP root.
    pub(crate) fn image(&self, name: &str, content: &[u8]) {
        fs::write(self.dir.path().join("firmware").join(name), content).unwrap();
    }
}

/// The root of the repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Runs a command that has to succeed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = output(command);
    assert!(output.status.success(), "{command:?}\n{}", said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command that may fail.
pub(crate) fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// What a command printed.
pub(crate) fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Bytes that look like nothing else: the same for the same `size`.
pub(crate) fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ size as u64;
    (0..size)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}
