//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::demo::DemoArgs;
use crate::firmware::FirmwareArgs;
use crate::leases::LeasesArgs;
use crate::status::StatusArgs;

/// Where the configuration is when `--config` does not say.
pub(crate) const DEFAULT_CONFIG: &str = "/etc/offhook/offhook.toml";

/// DHCP, voice DNS and TFTP recovery for a voice VLAN, from one TOML file.
#[derive(Debug, Parser)]
#[command(name = "offhook", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve in the foreground
    Run(RunArgs),
    /// Check a configuration: every error and warning at once
    ///
    /// Exits with 0 when `offhook run` could run with it, with 78 when not.
    Check(CheckArgs),
    /// Boot one phone of every family against the sample site, in network namespaces of its own
    ///
    /// Needs no network, no configuration and no root.
    Demo(DemoArgs),
    /// Print the built-in catalogue of phone families
    Families,
    /// List the firmware images: sizes, digests, and whose they are
    Firmware(FirmwareArgs),
    /// List leases, give them back, or turn them into reservations
    ///
    /// Asks the running server or, when none runs, reads the leases it has left.
    Leases(LeasesArgs),
    /// Print how the running server is
    ///
    /// Addresses by scope, how often what was answered, and what was not and why.
    Status(StatusArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArg {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// The directory that keeps the leases
    ///
    /// Made if it does not exist. Without this flag it is the first directory of $STATE_DIRECTORY, which systemd
    /// sets, else /var/lib/offhook.
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// How log lines look, on stderr
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// The least severe events that are logged: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", env = "OFFHOOK_LOG", default_value = "info")]
    pub(crate) log_level: tracing_subscriber::filter::LevelFilter,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// How diagnostics are printed
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    pub(crate) format: OutputFormat,
}

/// For people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    Text,
    Json,
}

/// One line an event, as `key=value` or as a JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Which server's state is meant.
#[derive(Debug, Args)]
pub(crate) struct StateArg {
    /// The state directory of the server
    ///
    /// Without this flag it is the first directory of $STATE_DIRECTORY, else /var/lib/offhook.
    #[arg(long, value_name = "DIR", global = true)]
    state: Option<PathBuf>,
}

impl StateArg {
    /// `--state`, else what `offhook run` takes without it.
    pub(crate) fn dir(&self) -> PathBuf {
        state_dir(self.state.as_ref())
    }
}

impl RunArgs {
    /// `--state`, else the first of `$STATE_DIRECTORY`, else `/var/lib/offhook`.
    pub(crate) fn state_dir(&self) -> PathBuf {
        state_dir(self.state.as_ref())
    }
}

fn state_dir(flag: Option<&PathBuf>) -> PathBuf {
    let from_systemd = || {
        let all = std::env::var_os("STATE_DIRECTORY")?;
        std::env::split_paths(&all).next().filter(|path| !path.as_os_str().is_empty())
    };
    flag.cloned().or_else(from_systemd).unwrap_or_else(|| "/var/lib/offhook".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
