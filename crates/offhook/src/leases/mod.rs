//! `offhook leases`: who has which address, and what to do about it.

mod append;
mod list;
mod release;
mod reserve;
mod row;
mod source;
mod target;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Subcommand, ValueEnum};
use offhook_model::Mac;

pub(crate) use row::duration;
pub(crate) use source::unexpected;
use target::Target;

use crate::cli::{Cli, StateArg};
use crate::control::Failure;
use crate::exit;

#[derive(Debug, Args)]
pub(crate) struct LeasesArgs {
    #[command(subcommand)]
    command: Option<LeasesCommand>,
    #[command(flatten)]
    state: StateArg,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum LeasesCommand {
    /// Give leases back, so that somebody else can have the addresses
    ///
    /// Through the running server, and on disk when this returns. A declined address is no longer withheld. The
    /// phone itself is not told: it uses its address until it renews or restarts.
    Release(ReleaseArgs),
    /// Print `[[phone]]` blocks that keep leased addresses for their phones
    ///
    /// A reservation is a fact of the site, and facts are stated once, in the configuration: what is printed on
    /// stdout belongs there, by hand or with --append.
    Reserve(ReserveArgs),
}

#[derive(Debug, Default, Args)]
struct ListArgs {
    /// Only leases of this scope
    #[arg(long, value_name = "SCOPE")]
    scope: Option<String>,
    /// Only leases of this phone family or other class, as `offhook families` names it
    #[arg(long, value_name = "FAMILY")]
    family: Option<String>,
    /// Only leases of this phone, in any notation of MAC addresses
    #[arg(long, value_name = "MAC")]
    mac: Option<Mac>,
    /// Expired, released and declined leases as well
    #[arg(long)]
    all: bool,
    /// How leases are printed
    ///
    /// Times in the table are local time, in JSON and CSV they are UTC.
    #[arg(long, value_enum, default_value_t)]
    format: ListFormat,
}

impl ListArgs {
    fn is_default(&self) -> bool {
        let Self { scope, family, mac, all, format } = self;
        let filtered = scope.is_some() || family.is_some() || mac.is_some() || *all;
        !filtered && *format == ListFormat::default()
    }
}

/// For people, for programs, for spreadsheets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum ListFormat {
    #[default]
    Table,
    Json,
    Csv,
}

#[derive(Debug, Args)]
struct ReleaseArgs {
    /// Leased addresses, or MAC addresses of phones, which give back all that they have
    #[arg(required = true, value_name = "ADDRESS|MAC")]
    targets: Vec<Target>,
}

#[derive(Debug, Args)]
struct ReserveArgs {
    /// Leased addresses, or MAC addresses of phones
    #[arg(required = true, value_name = "ADDRESS|MAC")]
    targets: Vec<Target>,
    /// Append the blocks to this configuration as well, if it can run with them
    ///
    /// The file is replaced in one step, or not at all; the exit code is 78 when it could not run.
    #[arg(long, value_name = "FILE")]
    append: Option<std::path::PathBuf>,
}

/// Lists leases, gives some back, or prints reservations. Exits with 0, or with 1 when that cannot be had.
pub(crate) fn main(args: &LeasesArgs) -> ExitCode {
    if args.command.is_some() && !args.list.is_default() {
        let message = "filters and --format are for the list of leases, not for its subcommands";
        Cli::command().error(ErrorKind::ArgumentConflict, message).exit();
    }
    let state = args.state.dir();
    let done = match &args.command {
        None => list::list(&state, &args.list),
        Some(LeasesCommand::Release(release)) => release::release(&state, &release.targets),
        Some(LeasesCommand::Reserve(reserve)) => {
            reserve::reserve(&state, &reserve.targets, reserve.append.as_deref())
        }
    };
    done.unwrap_or_else(|stop| stop.code())
}

/// Why a command ends early.
#[derive(Debug)]
enum Stop {
    /// To be said.
    Failed(Failure),
    /// The reader of stdout has what it wants (`offhook leases | head`).
    Closed,
    /// The configuration cannot run; that has been said.
    Config,
}

impl Stop {
    fn code(self) -> ExitCode {
        match self {
            Self::Failed(failure) => {
                eprintln!("{failure}");
                ExitCode::FAILURE
            }
            Self::Closed => ExitCode::SUCCESS,
            Self::Config => ExitCode::from(exit::CONFIG),
        }
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(Failure::new(format!("cannot write to stdout: {error}"))),
        }
    }
}
