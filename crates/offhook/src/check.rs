//! `offhook check`: every error and warning at once.

use std::io::IsTerminal;
use std::process::ExitCode;

use crate::cli::{CheckArgs, OutputFormat};
use crate::exit;

/// Prints the diagnostics of a configuration on stdout. Exits with 0 when it could run, with 78 when not.
pub(crate) fn main(args: &CheckArgs) -> ExitCode {
    let loaded = offhook_config::inspect(&args.config.config);
    let text = match args.format {
        OutputFormat::Json => format!("{}\n", loaded.diagnostics.to_json()),
        OutputFormat::Text => loaded.diagnostics.render(std::io::stdout().is_terminal()),
    };
    let printed = exit::printed(&text);
    if args.format == OutputFormat::Text {
        eprintln!("{}", summary(&loaded));
    }
    if loaded.site.is_none() { ExitCode::from(exit::CONFIG) } else { printed }
}

fn summary(loaded: &offhook_config::Loaded) -> String {
    let count = |n: usize, what: &str| match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    };
    let verdict = match &loaded.site {
        Some(site) => format!("site {site} can run"),
        None => "this configuration cannot run".to_owned(),
    };
    let errors = loaded.diagnostics.errors().count();
    let warnings = loaded.diagnostics.warnings().count();
    format!("{verdict}: {}, {}", count(errors, "error"), count(warnings, "warning"))
}
