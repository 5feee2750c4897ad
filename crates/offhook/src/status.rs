//! `offhook status`: how the running server is.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};

use crate::cli::{OutputFormat, StateArg};
use crate::control::{Ask, Client, Failure, Reply, Status, TftpStatus, UpstreamStatus};
use crate::exit;
use crate::health::{ServerState, ServerStatus};
use crate::leases::{duration, unexpected};

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    state: StateArg,
    /// How it is printed
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    format: OutputFormat,
}

/// Prints how the running server is. Exits with 0 when it answers, and with 1 when none does.
pub(crate) fn main(args: &StatusArgs) -> ExitCode {
    match ask(args) {
        Ok(status) => match args.format {
            OutputFormat::Text => exit::printed(&text(&status)),
            OutputFormat::Json => match serde_json::to_string_pretty(&status) {
                Ok(json) => exit::printed(&format!("{json}\n")),
                Err(_) => ExitCode::FAILURE,
            },
        },
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn ask(args: &StatusArgs) -> Result<Status, Failure> {
    let state = args.state.dir();
    let Some(mut client) = Client::connect(&state)? else {
        return Err(Failure::new(format!("no offhook runs in {}", state.display()))
            .hint("`--state` names the directory that `offhook run` was given"));
    };
    client.ask(Ask::Status)?;
    match client.reply()? {
        Reply::Status(status) => Ok(*status),
        _ => Err(unexpected()),
    }
}

fn upstream_line(upstream: &UpstreamStatus) -> String {
    let UpstreamStatus { zone, server, answered, missed, .. } = upstream;
    let state = match (upstream.silent_seconds, upstream.round_trip_ms) {
        (Some(seconds), _) => format!("DOES NOT ANSWER since {}", duration(seconds)),
        (None, Some(ms)) => format!("answers in {ms} ms"),
        (None, None) => "was not asked yet".to_owned(),
    };
    format!("upstream {server} for {zone} {state}: {answered} answered, {missed} not in time")
}

fn text(status: &Status) -> String {
    let Status { version, site, zone, pid, leases, unsettled, .. } = status;
    let up = duration(status.uptime_seconds);
    let mut text = format!("offhook {version} serves {site} ({zone}), up {up}, process {pid}\n");
    let _ = writeln!(
        text,
        "{leases} addresses in the lease store, {unsettled} changes on their way to it"
    );
    if let Some(error) = &status.last_storage_error {
        let what = if status.storage_failing {
            "LEASES CANNOT BE WRITTEN, and none is acknowledged; the last try failed at"
        } else {
            "leases are written again; the last time they could not be was at"
        };
        let _ = writeln!(text, "{what} {}: {}", error.at, error.message);
    }
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header([
        "scope",
        "subnet",
        "interface",
        "pool",
        "leased",
        "offered",
        "declined",
        "reserved",
        "free",
    ]);
    for scope in &status.scopes {
        let numbers =
            [scope.pool, scope.leased, scope.offered, scope.declined, scope.reserved, scope.free];
        let interface = scope.interface.clone().unwrap_or_default();
        let names = [scope.name.clone(), scope.subnet.clone(), interface];
        table.add_row(names.into_iter().chain(numbers.map(|number| number.to_string())));
    }
    for column in 3..9 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let _ = writeln!(text, "\n{table}\n");
    if !status.servers.is_empty() {
        let _ = writeln!(text, "{}\n", servers(&status.servers));
    }
    let dns = &status.dns;
    let _ = writeln!(text, "zone serial {}, {} names of leases", dns.serial, dns.lease_names);
    for upstream in &status.dns.upstreams {
        let _ = writeln!(text, "{}", upstream_line(upstream));
    }
    for (title, counts) in [
        ("since the start", &status.counts),
        ("no reply", &status.silent),
        ("DNS", &status.dns.counts),
    ]
    .into_iter()
    .chain(status.tftp.as_ref().map(|tftp| ("TFTP", &tftp.counts)))
    {
        let counts: Vec<_> = counts
            .iter()
            .filter(|(_, times)| **times > 0)
            .map(|(name, times)| format!("{name} {times}"))
            .collect();
        let counts = if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") };
        let _ = writeln!(text, "{title}: {counts}");
    }
    if let Some(TftpStatus { active: active @ 1.., .. }) = status.tftp {
        let _ = writeln!(text, "{active} TFTP transfers are under way");
    }
    text
}

/// The servers that are watched, and a line for each group that none of is up.
fn servers(servers: &[ServerStatus]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header([
        "group",
        "server",
        "address",
        "probe",
        "state",
        "since",
        "probes",
        "failed",
        "changes",
        "last failure",
    ]);
    for server in servers {
        let state = match (server.state, server.milliseconds) {
            (ServerState::Down, _) if server.held => "down, held".to_owned(),
            (ServerState::Up, Some(milliseconds)) => format!("up, {milliseconds} ms"),
            (state, _) => state.as_str().to_owned(),
        };
        let failure = server.last_failure.as_ref();
        table.add_row([
            server.group.clone(),
            server.name.clone(),
            server.address.to_string(),
            server.probe.clone(),
            state,
            server.since.clone(),
            server.probes.to_string(),
            server.failures.to_string(),
            server.changes.to_string(),
            failure.map(|last| format!("{}, {}", last.why, last.at)).unwrap_or_default(),
        ]);
    }
    for column in 6..9 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = table.to_string();
    for group in servers.chunk_by(|a, b| a.group == b.group) {
        if let Some(ServerStatus { group: name, order, .. }) = group.first()
            && order != "random"
            && group.iter().all(|server| server.state == ServerState::Down)
        {
            let _ = write!(text, "\nNO SERVER OF {name} IS UP: all are answered as if they were");
        }
    }
    text
}
