//! SIP servers and phones for the tests of health: fakes that misbehave on command, sipp as a registrar, and baresip as
//! a phone.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::lab::{Netns, repository};

/// How a fake server treats those who ask it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Answers 200 at once.
    Good,
    /// Answers 503 at once.
    Failing,
    /// Takes what comes and says nothing.
    Silent,
    /// Answers 200, after this.
    Slow(Duration),
    /// Has nobody listening on its port.
    Refusing,
    /// Is no more: the end of the thread.
    Ended,
}

/// What a fake server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    SipUdp,
    SipTcp,
    Http,
}

/// A server in a namespace, ended with the value.
pub(crate) struct Fake {
    manner: Arc<Mutex<Manner>>,
    /// What it was sent, each request once.
    pub(crate) heard: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

/// How long a fake waits for anything before it looks at its manner again.
const TICK: Duration = Duration::from_millis(5);

impl Fake {
    pub(crate) fn start(netns: &Netns, speech: Speech, address: [u8; 4], port: u16) -> Self {
        let manner = Arc::new(Mutex::new(Manner::Good));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let at = SocketAddr::from((Ipv4Addr::from(address), port));
        let namespace = fs::File::open(format!("/run/netns/{}", netns.name())).unwrap();
        let (told, hearing) = (Arc::clone(&manner), Arc::clone(&heard));
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let mut ready = Some(ready);
            loop {
                let now = *told.lock().unwrap();
                match (now, speech) {
                    (Manner::Ended, _) => return,
                    (Manner::Refusing, _) => std::thread::sleep(TICK),
                    (_, Speech::SipUdp) => over_udp(at, &told, &hearing, ready.take()),
                    (_, Speech::SipTcp | Speech::Http) => {
                        over_tcp(at, speech, &told, &hearing, ready.take());
                    }
                }
            }
        });
        is_ready.recv().unwrap();
        Self { manner, heard, thread: Some(thread) }
    }

    pub(crate) fn set(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.set(Manner::Ended);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

type Ready = Option<std::sync::mpsc::Sender<()>>;

/// Serves until the socket is to be closed.
fn over_udp(at: SocketAddr, told: &Mutex<Manner>, heard: &Mutex<Vec<String>>, ready: Ready) {
    let socket = UdpSocket::bind(at).unwrap();
    socket.set_read_timeout(Some(TICK)).unwrap();
    ready.map(|ready| ready.send(()));
    let mut buffer = [0; 2048];
    loop {
        let received = socket.recv_from(&mut buffer);
        let manner = *told.lock().unwrap();
        if matches!(manner, Manner::Refusing | Manner::Ended) {
            return;
        }
        let Ok((length, from)) = received else { continue };
        let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if let Some(answer) = answer(Speech::SipUdp, &request, manner) {
            let _ = socket.send_to(answer.as_bytes(), from);
        }
        heard.lock().unwrap().push(request);
    }
}

fn over_tcp(
    at: SocketAddr,
    speech: Speech,
    told: &Mutex<Manner>,
    heard: &Mutex<Vec<String>>,
    ready: Ready,
) {
    let listener = TcpListener::bind(at).unwrap();
    listener.set_nonblocking(true).unwrap();
    ready.map(|ready| ready.send(()));
    let mut open = Vec::new();
    loop {
        let manner = *told.lock().unwrap();
        if matches!(manner, Manner::Refusing | Manner::Ended) {
            return;
        }
        let Ok((mut stream, _)) = listener.accept() else {
            std::thread::sleep(TICK);
            continue;
        };
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 2048];
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read(&mut buffer) {
                Ok(length) if length > 0 => request.extend_from_slice(&buffer[..length]),
                _ => break,
            }
        }
        let request = String::from_utf8_lossy(&request).into_owned();
        match answer(speech, &request, manner) {
            Some(answer) => {
                let _ = stream.write_all(answer.as_bytes());
            }
            None => open.push(stream),
        }
        heard.lock().unwrap().push(request);
    }
}

fn answer(speech: Speech, request: &str, manner: Manner) -> Option<String> {
    let code = match manner {
        Manner::Good => 200,
        Manner::Failing => 503,
        Manner::Slow(after) => {
            std::thread::sleep(after);
            200
        }
        Manner::Silent | Manner::Refusing | Manner::Ended => return None,
    };
    if speech == Speech::Http {
        return Some(format!("HTTP/1.1 {code} Whatever\r\nContent-Length: 0\r\n\r\n"));
    }
    let mut fields = String::new();
    for name in ["Via:", "From:", "To:", "Call-ID:", "CSeq:"] {
        fields += request.lines().find(|line| line.starts_with(name))?;
        fields += if name == "To:" { ";tag=fake\r\n" } else { "\r\n" };
    }
    Some(format!("SIP/2.0 {code} Whatever\r\n{fields}Content-Length: 0\r\n\r\n"))
}

/// A program in a namespace, killed with the value.
pub(crate) struct Program {
    child: Child,
    /// Where it writes what it is sent.
    pub(crate) messages: PathBuf,
}

impl Program {
    /// SIGKILL, and wait until it is gone: by its own id, and no other process.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// What sipp has noted so far of what it received and sent.
    pub(crate) fn messages(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.messages).unwrap_or_default()).into_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end();
    }
}

/// sipp on port 8060 as a registrar that answers REGISTER and OPTIONS, over UDP (`u1`) or TCP (`t1`).
pub(crate) fn registrar(
    netns: &Netns,
    transport: &str,
    address: &str,
    directory: &Path,
) -> Program {
    let messages = directory.join(format!("{address}-{}.log", netns.name()));
    let scenario = repository().join("tests/net/registrar.xml");
    let mut command = netns.daemon("sipp");
    command.arg("-sf").arg(scenario).args(["-i", address, "-p", "8060", "-t", transport]);
    // A phone registers again under the same Call-ID, which is no message of a dead call.
    command.args(["-nostdin", "-deadcall_wait", "0", "-timeout", "120"]);
    command.arg("-trace_msg").arg("-message_file").arg(&messages);
    command.current_dir(directory).stdin(Stdio::null()).stderr(Stdio::null());
    Program { child: command.spawn().unwrap(), messages }
}

/// baresip as a phone at `address` that asks the resolver 10.250.1.5 and registers as `account`.
pub(crate) fn phone(netns: &Netns, address: &str, account: &str, directory: &Path) -> Program {
    let home = directory.join(format!("phone-{}", netns.name()));
    fs::create_dir_all(&home).unwrap();
    let config = format!(
        "sip_listen {address}\nsip_transports udp\nmodule_path /usr/lib/baresip/modules\n\
         module_app account.so\ndns_server 10.250.1.5:53\n"
    );
    fs::write(home.join("config"), config).unwrap();
    fs::write(home.join("accounts"), format!("{account}\n")).unwrap();
    fs::write(home.join("contacts"), "").unwrap();
    let output = fs::File::create(home.join("output")).unwrap();
    let mut command = netns.daemon("baresip");
    command.arg("-f").arg(&home).stdin(Stdio::null());
    command.stdout(output.try_clone().unwrap()).stderr(output);
    Program { child: command.spawn().unwrap(), messages: home.join("output") }
}
