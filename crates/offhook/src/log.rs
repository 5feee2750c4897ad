//! Logs: one structured line an event, on stderr.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::LogFormat;

/// How long lines gather before they are written together. With a boot storm's thousands of lines a second, a
/// system call for each would cost more than the leases.
const GATHER: Duration = Duration::from_millis(20);

/// The most that gathers while stderr takes nothing; more is dropped, for phones do not wait for logs. Bytes.
const MOST: usize = 4 << 20;

/// Sends every event of `level` and above to stderr; of the DNS library's own only what is wrong, for it tells
/// of every request. What is returned writes the last lines when it is dropped.
pub(crate) fn start(format: LogFormat, level: LevelFilter) -> Flush {
    let library = level.min(LevelFilter::WARN);
    let filter = Targets::new().with_default(level).with_target("hickory_proto", library);
    let lines = Lines(Arc::default());
    let flush = Flush(lines.clone());
    let writer = lines.clone();
    let _ = std::thread::Builder::new().name("log".into()).spawn(move || writer.write_for_ever());
    let layer = tracing_subscriber::fmt::layer().with_writer(lines).with_target(false);
    let registry = tracing_subscriber::registry();
    match format {
        LogFormat::Text => {
            let layer = layer.with_ansi(io::stderr().is_terminal());
            registry.with(layer.with_filter(filter)).init();
        }
        LogFormat::Json => {
            registry.with(layer.json().flatten_event(true).with_filter(filter)).init();
        }
    }
    flush
}

/// Lines on their way to stderr.
#[derive(Clone, Debug)]
struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    dropped: u64,
}

impl Lines {
    fn write_for_ever(&self) {
        loop {
            let empty = |waiting: &mut Waiting| waiting.bytes.is_empty();
            drop(self.0.changed.wait_while(self.lock(), empty));
            std::thread::sleep(GATHER);
            self.write_out();
        }
    }

    fn write_out(&self) {
        let Waiting { bytes, dropped } = std::mem::take(&mut *self.lock());
        let mut stderr = io::stderr().lock();
        // A reader that has gone away is no reason to end: phones need no log.
        let _ = stderr.write_all(&bytes);
        if dropped > 0 {
            let _ = writeln!(stderr, "{dropped} log lines were dropped: stderr took none");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = self.lock();
        if waiting.bytes.len() + line.len() > MOST {
            waiting.dropped += 1;
        } else {
            waiting.bytes.extend_from_slice(line);
        }
        let is_first = waiting.bytes.len() == line.len();
        drop(waiting);
        if is_first {
            self.0.changed.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self::Writer {
        self.clone()
    }
}

/// Writes what is still waiting when the program ends.
#[derive(Debug)]
pub(crate) struct Flush(Lines);

impl Drop for Flush {
    fn drop(&mut self) {
        self.0.write_out();
    }
}

/// Lets a burst of events through, then at most so many a second, and counts the rest: what strangers send must
/// not fill a disk with log lines.
#[derive(Debug)]
pub(crate) struct Throttle {
    per_second: u32,
    /// Events that may come at once, after a time with fewer.
    burst: u32,
    /// Those of them that still may.
    left: u32,
    /// Since when.
    window: Instant,
    suppressed: u64,
}

impl Throttle {
    /// At most `per_second` events in any one second.
    pub(crate) fn new(per_second: u32) -> Self {
        Self::with_burst(per_second, per_second)
    }

    /// At most `per_second` events a second in the long run, and `burst` of them at once.
    pub(crate) fn with_burst(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst, left: burst, window: Instant::now(), suppressed: 0 }
    }

    /// `Some(n)` when an event may be logged now, after `n` that were not.
    pub(crate) fn pass(&mut self) -> Option<u64> {
        let seconds = self.window.elapsed().as_secs();
        if seconds > 0 {
            self.window = Instant::now();
            let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
            let more = self.per_second.saturating_mul(seconds);
            self.left = self.left.saturating_add(more).min(self.burst);
        }
        let Some(left) = self.left.checked_sub(1) else {
            self.suppressed += 1;
            return None;
        };
        self.left = left;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_throttle_passes_a_burst_and_then_its_rate_and_says_what_it_left_out() {
        let mut throttle = Throttle::with_burst(2, 5);
        let passed = |throttle: &mut Throttle| {
            std::iter::repeat_with(|| throttle.pass()).take(10).flatten().collect::<Vec<_>>()
        };
        assert_eq!(passed(&mut throttle), [0; 5]);
        throttle.window -= Duration::from_secs(1);
        assert_eq!(passed(&mut throttle), [5, 0]);
        throttle.window -= Duration::from_secs(2);
        assert_eq!(passed(&mut throttle), [8, 0, 0, 0]);
        throttle.window -= Duration::from_secs(3600);
        assert_eq!(passed(&mut throttle), [6, 0, 0, 0, 0]);
    }
}
