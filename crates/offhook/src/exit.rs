//! Exit codes, and writing to stdout without dying of a closed pipe.

use std::io::{self, Write};
use std::process::ExitCode;

/// The configuration cannot run: `EX_CONFIG` of sysexits.h. systemd does not restart the service on it.
pub(crate) const CONFIG: u8 = 78;

/// Writes `text` to stdout. A reader that has gone away (`offhook … | head`) is no failure.
pub(crate) fn printed(text: &str) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}
