//! The asking end of the control socket.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::protocol::{Ask, Reply, Request, Response, VERSION, Versioned};
use super::{Failure, SOCKET};

/// How long an answer may take. The server gives up on the thread it asks in less.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to the running server.
#[derive(Debug)]
pub(crate) struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the server whose state is in `state`; `None` when none runs there.
    ///
    /// # Errors
    /// There is one, but it cannot be reached.
    pub(crate) fn connect(state: &Path) -> Result<Option<Self>, Failure> {
        let path = state.join(SOCKET);
        let stream = match UnixStream::connect(&path) {
            Ok(stream) => stream,
            // A server that was killed leaves its socket behind.
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
            {
                return Ok(None);
            }
            Err(error) => {
                let failure =
                    Failure::new(format!("cannot ask the server on {}: {error}", path.display()));
                return Err(match error.kind() {
                    ErrorKind::PermissionDenied => {
                        failure.hint("only root and the user that offhook runs as may: try `sudo`")
                    }
                    _ => failure,
                });
            }
        };
        let timed = |stream: &UnixStream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))
        };
        timed(&stream).map_err(|error| lost(&path, &error))?;
        Ok(Some(Self { path, stream: BufReader::new(stream) }))
    }

    /// Asks something. Every reply to what was asked before must have been read.
    ///
    /// # Errors
    /// The server has gone away.
    pub(crate) fn ask(&mut self, ask: Ask) -> Result<(), Failure> {
        let request = Request { version: VERSION, ask };
        let mut line = serde_json::to_vec(&request)
            .map_err(|error| Failure::new(format!("cannot put the question: {error}")))?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line).map_err(|error| lost(&self.path, &error))
    }

    /// The next reply.
    ///
    /// # Errors
    /// What the server refused, and why; or it has gone away, or is of another release.
    pub(crate) fn reply(&mut self) -> Result<Reply, Failure> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).map_err(|error| lost(&self.path, &error))?;
        if line.is_empty() {
            let gone = io::Error::new(ErrorKind::UnexpectedEof, "it closed the connection");
            return Err(lost(&self.path, &gone));
        }
        match serde_json::from_slice::<Response>(&line) {
            Ok(Response { version: VERSION, reply: Reply::Failed(failure) }) => Err(failure),
            Ok(Response { version: VERSION, reply }) => Ok(reply),
            Ok(Response { version, .. }) => Err(other_version(version)),
            Err(error) => Err(match serde_json::from_slice(&line) {
                Ok(Versioned { version }) if version != VERSION => other_version(version),
                _ => Failure::new(format!("the server's answer makes no sense: {error}")),
            }),
        }
    }
}

fn other_version(version: u32) -> Failure {
    Failure::new(format!(
        "the server speaks version {version} of the control protocol, not {VERSION}"
    ))
    .hint("the running server is of another release: restart it")
}

fn lost(path: &Path, error: &io::Error) -> Failure {
    let path = path.display();
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Failure::new(format!(
            "the server on {path} has not answered for {} s",
            PATIENCE.as_secs()
        )),
        _ => Failure::new(format!("the server on {path} cannot be talked to: {error}")),
    }
}
