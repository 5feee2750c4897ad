//! Logs: one structured line an event, on stderr.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::LogFormat;

/// Sends every event of `level` and above to stderr; of the DNS library's own only what is wrong, for it tells
/// of every request.
pub(crate) fn start(format: LogFormat, level: LevelFilter) {
    let library = level.min(LevelFilter::WARN);
    let filter = ["hickory_net", "hickory_proto", "hickory_resolver", "hickory_server"]
        .into_iter()
        .fold(Targets::new().with_default(level), |filter, name| filter.with_target(name, library));
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_target(false);
    let registry = tracing_subscriber::registry();
    match format {
        LogFormat::Text => {
            let lines = lines.with_ansi(io::stderr().is_terminal());
            registry.with(lines.with_filter(filter)).init();
        }
        LogFormat::Json => {
            registry.with(lines.json().flatten_event(true).with_filter(filter)).init()
        }
    }
}

/// Lets a burst of events through, then at most so many a second, and counts the rest: what strangers send must
/// not fill a disk with log lines.
#[derive(Debug)]
pub(crate) struct Throttle {
    per_second: u32,
    window: Instant,
    passed: u32,
    suppressed: u64,
}

impl Throttle {
    /// At most `per_second` events in any one second.
    pub(crate) fn new(per_second: u32) -> Self {
        Self { per_second, window: Instant::now(), passed: 0, suppressed: 0 }
    }

    /// `Some(n)` when an event may be logged now, after `n` that were not.
    pub(crate) fn pass(&mut self) -> Option<u64> {
        if self.window.elapsed() >= Duration::from_secs(1) {
            self.window = Instant::now();
            self.passed = 0;
        }
        if self.passed >= self.per_second {
            self.suppressed += 1;
            return None;
        }
        self.passed += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}
