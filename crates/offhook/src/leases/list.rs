//! `offhook leases`: the list.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use jiff::tz::TimeZone;

use super::row::{COLUMNS, Row, TITLES, cells};
use super::source::Source;
use super::{ListArgs, ListFormat, Stop};
use crate::control::{Failure, Filter, LeaseRecord};

pub(super) fn list(state: &Path, args: &ListArgs) -> Result<ExitCode, Stop> {
    let filter = Filter {
        scope: args.scope.clone(),
        family: args.family.clone(),
        mac: args.mac,
        address: None,
        all: args.all,
    };
    let mut source = Source::open(state)?;
    let mut printer = Printer::new(args.format, BufWriter::new(io::stdout().lock()))?;
    let mut count = 0;
    let note = source.leases(&filter, |now, leases| {
        count += leases.len();
        leases.into_iter().try_for_each(|lease| printer.lease(lease, now))
    })?;
    let zone = printer.finish()?;
    if args.format == ListFormat::Table {
        let leases = if count == 1 { "lease" } else { "leases" };
        eprintln!("{count} {leases}; times are of {}", name(&zone));
    }
    if let Some(note) = note {
        eprintln!("{note}");
    }
    Ok(ExitCode::SUCCESS)
}

fn name(zone: &TimeZone) -> String {
    zone.iana_name().map_or_else(|| "this machine".to_owned(), str::to_owned)
}

/// Leases of one table, which is as wide as the widest of them and so is printed at its end: of a million at once it
/// would take gigabytes.
const OF_ONE_TABLE: usize = 10_000;

/// Prints leases one by one; in tables some at a time.
enum Printer<W: Write> {
    Table { table: Box<Table>, is_first: bool, zone: TimeZone, to: W },
    Json { any: bool, to: W },
    Csv { to: Box<csv::Writer<W>> },
}

impl<W: Write> Printer<W> {
    fn new(format: ListFormat, mut to: W) -> Result<Self, Stop> {
        Ok(match format {
            ListFormat::Table => {
                Self::Table { table: table(), is_first: true, zone: TimeZone::system(), to }
            }
            ListFormat::Json => {
                to.write_all(b"[")?;
                Self::Json { any: false, to }
            }
            ListFormat::Csv => {
                // The header is there even when no lease is.
                let mut to = csv::WriterBuilder::new().has_headers(false).from_writer(to);
                to.write_record(COLUMNS).map_err(csv_error)?;
                Self::Csv { to: Box::new(to) }
            }
        })
    }

    fn lease(&mut self, lease: LeaseRecord, now: u64) -> Result<(), Stop> {
        match self {
            Self::Table { table, is_first, zone, to } => {
                table.add_row(cells(lease, now, zone));
                if table.row_count() >= OF_ONE_TABLE {
                    let full = std::mem::replace(table, self::table());
                    writeln!(to, "{full}")?;
                    *is_first = false;
                }
            }
            Self::Json { any, to } => {
                to.write_all(if std::mem::replace(any, true) { b",\n " } else { b"\n " })?;
                serde_json::to_writer(to, &Row::new(lease, now)).map_err(io::Error::from)?;
            }
            Self::Csv { to } => {
                to.serialize(Row::new(lease, now).for_spreadsheet()).map_err(csv_error)?;
            }
        }
        Ok(())
    }

    /// The time zone that times were printed in.
    fn finish(self) -> Result<TimeZone, Stop> {
        match self {
            Self::Table { table, is_first, zone, mut to } => {
                if is_first || !table.is_empty() {
                    writeln!(to, "{table}")?;
                }
                to.flush()?;
                Ok(zone)
            }
            Self::Json { any, mut to } => {
                to.write_all(if any { b"\n]\n" } else { b"]\n" })?;
                to.flush()?;
                Ok(TimeZone::UTC)
            }
            Self::Csv { mut to } => {
                to.flush()?;
                Ok(TimeZone::UTC)
            }
        }
    }
}

/// One without leases.
fn table() -> Box<Table> {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(TITLES);
    Box::new(table)
}

fn csv_error(error: csv::Error) -> Stop {
    let said = error.to_string();
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error.into(),
        _ => Failure::new(format!("cannot write CSV: {said}")).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::{NOW, record};
    use super::*;

    fn printed(format: ListFormat, leases: &[LeaseRecord]) -> String {
        let mut text = Vec::new();
        let mut printer = Printer::new(format, &mut text).unwrap();
        for lease in leases {
            printer.lease(lease.clone(), NOW).unwrap();
        }
        printer.finish().unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn json_is_one_array_with_every_field() {
        let text = printed(ListFormat::Json, &[record(20), record(21)]);
        let leases: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            leases[1],
            serde_json::json!({
                "address": "10.250.1.21",
                "mac": "00:90:8f:12:34:15",
                "client_id": null,
                "scope": "voice",
                "family": "440HD",
                "host_name": "reception",
                "dns_name": "reception.lab.voip",
                "state": "bound",
                "acknowledged": "2026-11-20T21:58:59Z",
                "expires": "2026-11-21T05:58:59Z",
                "remaining_seconds": 28_739,
            })
        );
        assert_eq!(leases.as_array().unwrap().len(), 2);
        assert_eq!(printed(ListFormat::Json, &[]), "[]\n");
    }

    #[test]
    fn csv_has_a_header_and_quotes_what_needs_it() {
        let odd = LeaseRecord { host_name: Some("a,\"b\"".to_owned()), family: None, ..record(20) };
        assert_eq!(
            printed(ListFormat::Csv, &[odd]),
            "address,mac,client_id,scope,family,host_name,dns_name,state,acknowledged,expires,\
             remaining_seconds\n\
             10.250.1.20,00:90:8f:12:34:14,,voice,,\"a,\"\"b\"\"\",reception.lab.voip,bound,\
             2026-11-20T21:58:59Z,2026-11-21T05:58:59Z,28739\n"
        );
        assert_eq!(printed(ListFormat::Csv, &[]).lines().count(), 1);
    }

    #[test]
    fn the_table_has_a_line_a_lease() {
        let text = printed(ListFormat::Table, &[record(20), record(21)]);
        let line = text.lines().find(|line| line.contains("10.250.1.21")).unwrap();
        for cell in ["00:90:8f:12:34:15", "voice", "440HD", "reception", "bound", "7h 58m"] {
            assert!(line.contains(cell), "no {cell} in\n{text}");
        }
        assert_eq!(text.lines().count(), 6, "{text}");
    }

    #[test]
    fn very_many_leases_are_several_tables() {
        let leases = vec![record(20); 2 * OF_ONE_TABLE];
        // Four lines around each.
        let lines = |count| printed(ListFormat::Table, &leases[..count]).lines().count();
        assert_eq!(lines(0), lines(1) - 1);
        assert_eq!(lines(OF_ONE_TABLE), OF_ONE_TABLE + 4);
        assert_eq!(lines(OF_ONE_TABLE + 1), OF_ONE_TABLE + 1 + 8);
        assert_eq!(lines(2 * OF_ONE_TABLE), 2 * OF_ONE_TABLE + 8);
    }
}
