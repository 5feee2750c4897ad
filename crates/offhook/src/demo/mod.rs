//! `offhook demo`: the sample site, served by this program to a phone of every family, on one machine.
//!
//! Three network namespaces are an office ([`office`]); the real program serves `config/lab.toml` in one of them
//! ([`server`]); simulated phones boot in another, one after the other, over real sockets ([`driver`]). The host's
//! network is not touched, and nothing is left behind: namespaces vanish with the process, the servers end with
//! it, and the scratch directory is removed, also after Ctrl-C.

mod driver;
mod error;
mod namespace;
mod net;
mod office;
mod server;
mod site;
mod stop;
mod table;
mod userns;

use std::io::IsTerminal;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use offhook_sim::requirements::{self, Expected};
use offhook_sim::{FAMILIES, Family, Kind, Link, Mode, Phone, Timing};
use tempfile::TempDir;

use self::error::{Context, Error};
use self::office::Office;
use self::server::Server;
use self::stop::Stop;
use self::table::Boot;
use self::userns::Isolation;
use crate::cli::OutputFormat;
use crate::exit;

/// The soft phone's PC has its address from somebody else.
const SOFT_PHONE: Mode = Mode::Inform {
    address: Ipv4Addr::new(10, 0, 0, 50),
    prefix: 24,
    router: Some(Ipv4Addr::new(10, 0, 0, 1)),
};

/// Nothing gets lost on a wire of this kind, and nobody likes to wait.
const TIMING: Timing = Timing {
    dhcp: Duration::from_secs(1),
    dhcp_attempts: 3,
    dns: Duration::from_secs(1),
    dns_attempts: 3,
    tftp: Duration::from_secs(1),
    tftp_attempts: 4,
};

/// Arguments of `offhook demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    format: OutputFormat,
    /// Keep the scratch directory, with the configuration, the leases and the servers' log
    #[arg(long)]
    keep: bool,
    /// Serve the site of this directory: what the demo starts itself as
    #[arg(long, value_name = "DIR", hide = true)]
    serve: Option<PathBuf>,
}

/// Boots every phone and prints what each was given. Exits with 0 when all came up as the guide requires.
///
/// Must be called while the process has one thread only.
pub(crate) fn main(args: DemoArgs) -> ExitCode {
    if let Some(directory) = &args.serve {
        return server::become_server(directory);
    }
    let boots = match run(&args) {
        Ok(boots) => boots,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let text = match args.format {
        OutputFormat::Text => table::text(&boots),
        OutputFormat::Json => format!("{:#}\n", table::json(&boots)),
    };
    let printed = exit::printed(&text);
    if boots.iter().all(Boot::passed) { printed } else { ExitCode::FAILURE }
}

fn run(args: &DemoArgs) -> Result<Vec<Boot>, Error> {
    let isolation = userns::enter()?;
    let stop = Stop::on_signals()?;
    let scratch = TempDir::with_prefix("offhook-demo-").context("make a scratch directory")?;
    let result = serve_and_boot(isolation, &scratch, &stop);
    if args.keep {
        eprintln!("kept: {}", scratch.keep().display());
    } else {
        scratch.close().context("remove the scratch directory")?;
    }
    result
}

fn serve_and_boot(
    isolation: Isolation,
    scratch: &TempDir,
    stop: &Stop,
) -> Result<Vec<Boot>, Error> {
    let privilege = match isolation {
        Isolation::Root => "as root",
        Isolation::User => "in a user namespace",
    };
    eprintln!("making an office of three network namespaces, {privilege}");
    let office = Office::build()?;
    let expected = site::Files::within(scratch.path()).write()?;
    eprintln!("serving config/lab.toml");
    let mut server = Server::start(&office, scratch.path(), stop)?;
    let boots = boot_all(&office, &mut server, &expected, stop)?;
    server.stop()?;
    Ok(boots)
}

/// One phone of every family in normal operation, then every one that has a recovery mode in that.
fn phones() -> impl Iterator<Item = (&'static Family, Mode)> {
    let normal = FAMILIES.iter().map(|family| match family.kind {
        Kind::Station | Kind::Polycom => (family, Mode::Normal(Link::Voice)),
        Kind::SoftPhone => (family, SOFT_PHONE),
        Kind::Pc => (family, Mode::Normal(Link::Native)),
    });
    let recovery = FAMILIES.iter().filter(|family| family.recovery.is_some());
    normal.chain(recovery.map(|family| (family, Mode::Recovery)))
}

fn boot_all(
    office: &Office,
    server: &mut Server,
    expected: &Expected,
    stop: &Stop,
) -> Result<Vec<Boot>, Error> {
    let mut boots = Vec::new();
    let terminal = std::io::stderr().is_terminal();
    for (n, (family, mode)) in (1_u32..).zip(phones()) {
        let phone = Phone::new(family, family.mac(0xd0_0000 + n), mode, n.into());
        let phone = phone.with_timing(TIMING);
        if terminal {
            eprint!("\r\x1b[Kbooting {} ({})", family.label, phone.mac());
        }
        let told = stop.clone();
        let phone = office.phone.run(move |net| driver::boot(net, phone, &told))?;
        server.check()?;
        let report = requirements::check(&phone, expected);
        boots.push(Boot { phone, report });
    }
    if terminal {
        eprintln!("\r\x1b[Kbooted {} phones", boots.len());
    } else {
        eprintln!("booted {} phones", boots.len());
    }
    Ok(boots)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use offhook_model::Time;
    use offhook_sim::Action;

    use super::*;

    #[test]
    fn every_family_boots_and_every_one_with_a_recovery_mode_recovers() {
        let all: Vec<_> = phones().map(|(family, mode)| (family.name, mode)).collect();
        let names: BTreeSet<_> = all.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), FAMILIES.len());
        let recovering: Vec<_> =
            all.iter().filter(|(_, mode)| *mode == Mode::Recovery).map(|(name, _)| *name).collect();
        assert_eq!(recovering, ["SIP100", "SIP200", "405", "405HD", "420HD", "430HD", "440HD"]);
        for name in ["SoundPoint", "VVX", "SoftPhone", "PC"] {
            assert!(names.contains(name));
        }
    }

    #[test]
    fn a_phone_that_nobody_answers_is_a_row_that_failed_and_says_why() {
        let (family, mode) = phones().next().unwrap();
        let mut phone = Phone::new(family, family.mac(1), mode, 1).with_timing(TIMING);
        let mut now = Time::from_secs(1);
        loop {
            match phone.poll(now) {
                Action::Wait(until) => now = until,
                Action::Done => break,
                _ => {}
            }
        }
        assert!(now.as_secs() < 10, "the demo is over soon whatever happens: {now}");
        let report = requirements::check(&phone, &Expected::default());
        let boots = [Boot { phone, report }];
        assert!(!boots[0].passed());
        let text = table::text(&boots);
        assert!(text.contains("│ SIP100 ┆ normal ┆"), "{text}");
        assert!(text.contains("┆ FAIL    │"), "{text}");
        let why = "✗ SIP100, normal: must boot sequence: DHCP on the voice link: no OFFER after 3 DISCOVERs";
        assert!(text.contains(why), "{text}");
        assert!(
            text.ends_with("0 of 1 phones booted as the guide requires (1 checks)\n"),
            "{text}"
        );
        assert_eq!(table::json(&boots)["failed"], 1);
    }
}
