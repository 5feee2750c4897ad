//! How long processors may take to wake up.
#![expect(unsafe_code, reason = "a descriptor that was passed to the process is a number at first")]

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, RawFd};

/// What the kernel is told it with. Only root may open it.
const DEVICE: &str = "/dev/cpu_dma_latency";

/// What it is called when it comes from the service manager (systemd.service(5), `OpenFile=`).
const PASSED_AS: &str = "cpu_dma_latency";

/// Microseconds that stand for no demand at all (`PM_QOS_CPU_LATENCY_DEFAULT_VALUE`).
const ANY: i32 = 2_000_000_000;

/// A demand on the kernel of how long idle processors may take to wake up (the kernel's documentation,
/// `power/pm_qos_interface`). It ends with the process at the latest.
#[derive(Debug)]
pub struct CpuLatency {
    demand: File,
}

impl CpuLatency {
    /// One that demands nothing yet, by what the service manager has passed or by the device itself.
    ///
    /// # Errors
    /// The kernel has no such device, or this process may not open it.
    pub fn open() -> io::Result<Self> {
        if let Some(number) = passed() {
            // SAFETY: the service manager has opened it for this process, and nothing else here closes it.
            let passed = unsafe { BorrowedFd::borrow_raw(number) };
            return Ok(Self { demand: passed.try_clone_to_owned()?.into() });
        }
        Ok(Self { demand: File::options().write(true).open(DEVICE)? })
    }

    /// Demands that processors wake up at once, so they do not go to sleep at all; or does so no longer.
    ///
    /// # Errors
    /// Whatever the kernel says; nothing has changed then.
    pub fn keep_awake(&self, awake: bool) -> io::Result<()> {
        let micros = if awake { 0 } else { ANY };
        (&self.demand).write_all(&micros.to_ne_bytes())
    }
}

fn passed() -> Option<RawFd> {
    let mut passed = sd_notify::listen_fds_with_names().ok()?;
    passed.find(|(_, name)| name == PASSED_AS).map(|(number, _)| number)
}
