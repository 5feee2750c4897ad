//! The answering end of the control socket.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::desk;
use super::protocol::{LONGEST_REQUEST, Reply, Request, Response, VERSION, Versioned};
use super::{Failure, SOCKET};
use crate::{dhcp, dns, health, tftp};

/// Most connections served at a time; more wait.
const CONNECTIONS: usize = 16;
/// How long a client may take for a request: from one answer to the next question.
const IDLE: Duration = Duration::from_secs(30);
/// How long a client may leave an answer unread.
const UNREAD: Duration = Duration::from_secs(30);

/// The socket, there to be connected to. Removed with the value.
#[derive(Debug)]
pub(crate) struct Bound {
    listener: std::os::unix::net::UnixListener,
    path: PathBuf,
}

/// Makes the socket in `state`, which must be this process's alone: what is there of the same name was left by one
/// that was killed, and is replaced.
///
/// # Errors
/// As the kernel says.
pub(crate) fn bind(state: &Path) -> io::Result<Bound> {
    let path = state.join(SOCKET);
    // Under another name until nobody else may connect to it.
    let new = state.join(format!("{SOCKET}.new"));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(&new)?;
    listener.set_nonblocking(true)?;
    fs::set_permissions(&new, Permissions::from_mode(0o600))?;
    fs::rename(&new, &path)?;
    Ok(Bound { listener, path })
}

impl Drop for Bound {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Who is asked on behalf of clients.
#[derive(Clone, Debug)]
pub(crate) struct Servers {
    pub(crate) dhcp: dhcp::Handle,
    pub(crate) dns: dns::Handle,
    pub(crate) health: health::Handle,
    /// What the TFTP server has done, if there is one.
    pub(crate) tftp: Option<Arc<tftp::Counters>>,
}

/// Serves until told to stop; the socket is gone once the task has ended. To be called inside of the runtime.
///
/// # Errors
/// The runtime does not take the socket.
pub(crate) fn spawn(
    bound: Bound,
    servers: Servers,
    mut stop: watch::Receiver<bool>,
) -> io::Result<JoinHandle<()>> {
    let listener = UnixListener::from_std(bound.listener.try_clone()?)?;
    Ok(tokio::spawn(async move {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let serve = async {
            loop {
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let servers = servers.clone();
                        tokio::spawn(async move {
                            if let Err(error) = connection(stream, &servers).await {
                                debug!(%error, "a control connection ended early");
                            }
                            drop(place);
                        });
                    }
                    Err(error) => {
                        warn!(%error, "the control socket does not accept");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
            }
        };
        tokio::select! {
            () = serve => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        drop(bound);
    }))
}

async fn connection(stream: UnixStream, servers: &Servers) -> io::Result<()> {
    let (reader, writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut to = Writer { writer };
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = (&mut reader).take(LONGEST_REQUEST as u64);
        timeout(IDLE, bounded.read_until(b'\n', &mut line)).await??;
        if line.is_empty() {
            return Ok(());
        }
        if !line.ends_with(b"\n") {
            // Where the next request begins is not known.
            let long = format!("a request is one line of at most {LONGEST_REQUEST} bytes");
            return to.send(Reply::Failed(Failure::new(long))).await;
        }
        match read(&line) {
            Ok(request) => desk::answer(request.ask, servers, &mut to).await?,
            Err(failure) => to.send(Reply::Failed(failure)).await?,
        }
    }
}

fn read(line: &[u8]) -> Result<Request, Failure> {
    let nonsense = |error| Failure::new(format!("the request makes no sense: {error}"));
    let Versioned { version } = serde_json::from_slice(line).map_err(nonsense)?;
    if version != VERSION {
        let versions =
            format!("the server speaks version {VERSION} of the control protocol, not {version}");
        let hint = "the running server is of another release: restart it";
        return Err(Failure::new(versions).hint(hint));
    }
    serde_json::from_slice(line).map_err(nonsense)
}

/// Where replies go.
pub(super) struct Writer {
    writer: OwnedWriteHalf,
}

impl Writer {
    /// Sends a reply and waits until it is taken.
    ///
    /// # Errors
    /// The client is gone, or does not read.
    pub(super) async fn send(&mut self, reply: Reply) -> io::Result<()> {
        let mut line = serde_json::to_vec(&Response { version: VERSION, reply })?;
        line.push(b'\n');
        timeout(UNREAD, self.writer.write_all(&line)).await?
    }
}
