//! The real program, serving the sample site as a child process in the appliance's namespace.
//!
//! Nothing of it outlives the demo: dropping [`Server`] ends it, and should the demo be killed, the kernel does.
//! For the latter the child is `offhook demo --serve DIR`, which asks the kernel for SIGTERM at its parent's
//! death ([`become_server`]) and then becomes `offhook run`.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};

use super::error::{Context, Error};
use super::namespace::Namespace;
use super::office::Office;
use super::site::Files;
use super::stop::Stop;

const READY_WITHIN: Duration = Duration::from_secs(10);
const STOPPED_WITHIN: Duration = Duration::from_secs(3);
/// How much of the log is shown when the server ends unasked.
const LAST_LINES: usize = 20;
const DNS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 250, 1, 5), 53);
/// `lab.voip SOA`.
const QUERY: &[u8] =
    b"\x0f\x0f\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03lab\x04voip\x00\x00\x06\x00\x01";

/// The running servers.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    log: std::path::PathBuf,
}

impl Server {
    /// Starts the servers and waits until they answer.
    ///
    /// # Errors
    /// They end, or are not ready within ten seconds; their last words are in the message.
    pub(super) fn start(office: &Office, directory: &Path, stop: &Stop) -> Result<Self, Error> {
        let files = Files::within(directory);
        let program = std::env::current_exe().context("find this program")?;
        let log = File::create(&files.log).context("write the servers' log")?;
        let mut command = Command::new(program);
        command
            .args(["demo", "--serve"])
            .arg(directory)
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        // The child inherits the namespace of the thread that makes it; the kernel takes the end of that thread
        // for the end of the parent, and it lasts as long as the namespace.
        let child = office.appliance.run(move |_| command.spawn().context("start the servers"))?;
        let mut server = Self { child, log: files.log };
        let deadline = Instant::now() + READY_WITHIN;
        while !answers(&office.switch)? {
            server.check()?;
            stop.check()?;
            if Instant::now() > deadline {
                return Err(server.failed("the servers are not ready after 10 s"));
            }
        }
        Ok(server)
    }

    /// # Errors
    /// The servers have ended; their last words are in the message.
    pub(super) fn check(&mut self) -> Result<(), Error> {
        match self.child.try_wait().context("look after the servers")? {
            None => Ok(()),
            Some(status) => Err(self.failed(&format!("the servers ended unasked: {status}"))),
        }
    }

    /// Ends the servers as systemd would, and waits for it.
    ///
    /// # Errors
    /// They did not end in time, or not with success.
    pub(super) fn stop(mut self) -> Result<(), Error> {
        self.check()?;
        match self.terminate().context("end the servers")? {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(self.failed(&format!("the servers ended badly: {status}"))),
            None => Err(self.failed("the servers did not end 3 s after SIGTERM")),
        }
    }

    fn terminate(&mut self) -> io::Result<Option<std::process::ExitStatus>> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(Some(status));
        }
        // Not reaped yet, so the pid is still the child's.
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM)?;
        let deadline = Instant::now() + STOPPED_WITHIN;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            sleep(Duration::from_millis(10));
        }
        Ok(None)
    }

    fn failed(&self, what: &str) -> Error {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default();
        Error::new(format!("{what}\n\n{}", last.join("\n")))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !matches!(self.terminate(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Whether the DNS server answers within a tenth of a second.
fn answers(from: &Namespace) -> Result<bool, Error> {
    from.run(|_| {
        let ask = || {
            let socket = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
            socket.connect(DNS)?;
            socket.set_read_timeout(Some(Duration::from_millis(100)))?;
            socket.send(QUERY)?;
            let mut answer = [0; 512];
            let length = socket.recv(&mut answer)?;
            Ok::<_, io::Error>(answer.get(..length.min(2)) == QUERY.get(..2))
        };
        Ok(ask().unwrap_or_else(|_| {
            // Refused at once: not to ask a thousand times a second.
            sleep(Duration::from_millis(20));
            false
        }))
    })
}

/// `offhook demo --serve DIR`: becomes `offhook run`, and ends with the demo. Returns only when it cannot.
pub(super) fn become_server(directory: &Path) -> ExitCode {
    let files = Files::within(directory);
    let run = || {
        set_pdeathsig(Signal::SIGTERM).context("ask for a signal when the demo ends")?;
        if getppid() == Pid::from_raw(1) {
            return Err(Error::new("the demo has ended"));
        }
        let program = std::env::current_exe().context("find this program")?;
        let mut run = Command::new(program);
        run.arg("run").arg("--config").arg(&files.config).arg("--state").arg(&files.state);
        Err(run.exec()).context("become the server")
    };
    if let Err::<(), _>(error) = run() {
        eprintln!("{error}");
    }
    ExitCode::FAILURE
}
