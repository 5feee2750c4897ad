//! Network namespaces, each with a thread that lives in it: a namespace belongs to a thread, so whatever is to
//! happen in one is sent to its thread. They vanish with the process.

use std::fs::File;
use std::io;
use std::sync::mpsc;
use std::thread;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};

use super::error::{Context, Error};
use super::net::Net;

type Job = Box<dyn FnOnce(&Net) + Send>;

/// What to do when the kernel has no room for another one.
const LIMIT: &str = "raise the kernel's limit: sysctl user.max_net_namespaces=1024";

/// A network namespace.
#[derive(Debug)]
pub(super) struct Namespace {
    name: &'static str,
    file: File,
    jobs: mpsc::Sender<Job>,
}

impl Namespace {
    /// A new namespace with nothing in it but a loopback interface that is down.
    ///
    /// # Errors
    /// The kernel refuses one.
    pub(super) fn new(name: &'static str) -> Result<Self, Error> {
        Self::start(name, true)
    }

    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// No thread, or no netlink socket, can be had.
    pub(super) fn current(name: &'static str) -> Result<Self, Error> {
        Self::start(name, false)
    }

    fn start(name: &'static str, fresh: bool) -> Result<Self, Error> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (opened, told) = mpsc::channel();
        let live = move || {
            let open = || {
                if fresh {
                    let made = unshare(CloneFlags::CLONE_NEWNET);
                    let full = made == Err(Errno::ENOSPC);
                    made.context(format_args!("make the network namespace `{name}`"))
                        .map_err(|error| if full { error.hint(LIMIT) } else { error })?;
                }
                let file = File::open("/proc/thread-self/ns/net")
                    .context(format_args!("open the network namespace `{name}`"))?;
                Ok((file, Net::open()?))
            };
            match open() {
                Err(error) => drop(opened.send(Err(error))),
                Ok((file, net)) => {
                    let _ = opened.send(Ok(file));
                    queue.iter().for_each(|job| job(&net));
                }
            }
        };
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(live)
            .context(format_args!("start the thread of `{name}`"))?;
        let file = told.recv().unwrap_or_else(|_| Err(dead(name)))?;
        Ok(Self { name, file, jobs })
    }

    /// A handle of the namespace, to move interfaces into it.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub(super) fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Runs `job` in the namespace and waits for it.
    ///
    /// # Errors
    /// Those of `job`; or its thread has died.
    pub(super) fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Net) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (done, told) = mpsc::channel();
        let job = move |net: &Net| drop(done.send(job(net)));
        self.jobs.send(Box::new(job)).map_err(|_| dead(self.name))?;
        told.recv().unwrap_or_else(|_| Err(dead(self.name)))
    }
}

fn dead(name: &str) -> Error {
    Error::new(format!("the thread of the network namespace `{name}` has died"))
}
