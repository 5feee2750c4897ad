//! `offhook run`: opens everything, then serves until it is told to stop.

use std::fmt::Display;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use offhook_config::{Diagnostic, Loaded, Severity};
use offhook_model::Site;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

use crate::cli::{LogFormat, RunArgs};
use crate::{control, dhcp, dns, exit, health, log, reload, tftp};

/// How long anything may take that goes on after the servers have ended.
const LEFTOVERS: Duration = Duration::from_secs(1);

/// How often it is looked whether the offset of the site's time zone has changed: daylight saving, or a clock that was
/// wrong when the machine booted.
const ZONE: Duration = Duration::from_secs(5);

/// Serves in the foreground. Exits with 0 after SIGTERM or SIGINT, with 78 when the configuration cannot run, and
/// with 1 when something it needs cannot be had.
pub(crate) fn main(args: &RunArgs) -> ExitCode {
    let _flush = log::start(args.log_format, args.log_level);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "cannot start the runtime");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async {
        // From now on SIGHUP ends nothing: one that comes while everything is opened is for afterwards.
        let hangups = match signal(SignalKind::hangup()) {
            Ok(hangups) => hangups,
            Err(error) => {
                error!(%error, "cannot wait for signals");
                return ExitCode::FAILURE;
            }
        };
        let Loaded { site, diagnostics } = offhook_config::load(&args.config.config);
        if site.is_none() && args.log_format == LogFormat::Text {
            // For whoever stands before the terminal: with the line, underlined.
            eprint!("{}", diagnostics.render(std::io::stderr().is_terminal()));
        } else {
            diagnostics.iter().for_each(log_diagnostic);
        }
        let Some(site) = site else { return ExitCode::from(exit::CONFIG) };
        let site = Arc::new(site);
        let Some(opened) = Opened::open(&site, args) else { return ExitCode::FAILURE };
        opened.serve(site, &args.config.config, hangups).await
    });
    // All that matters has ended. What still waits for a disk or a resolver elsewhere is not waited for.
    runtime.shutdown_timeout(LEFTOVERS);
    code
}

/// Everything the program needs of the machine: all of it, or it does not start.
struct Opened {
    dhcp: dhcp::Ports,
    dns: dns::Bound,
    tftp: Option<tftp::Listener>,
    store: offhook_store::Store,
    leases: Vec<offhook_model::Lease>,
    /// The directory of the store.
    state: PathBuf,
    /// Nothing that phones need.
    control: Option<control::Bound>,
}

impl Opened {
    /// Tries everything, says all that cannot be had, and only then gives up.
    fn open(site: &Site, args: &RunArgs) -> Option<Self> {
        let dhcp = dhcp::Ports::open(site)
            .map_err(|errors| errors.iter().for_each(|error| say(error, error.hint())));
        let dns = dns::bind(&site.dns.listen)
            .map_err(|errors| errors.iter().for_each(|error| say(error, error.hint())));
        let tftp = site
            .tftp
            .as_ref()
            .map(|tftp| tftp::bind(tftp.listen))
            .transpose()
            .map_err(|error| say(&error, error.hint()));
        let state = args.state_dir();
        let store =
            offhook_store::Store::open(&state).map_err(|error| say(&error, Some(error.hint())));
        let (store, leases) = store.ok()?;
        if let Some(torn) = store.torn() {
            say_torn(torn);
        }
        let (dhcp, dns, tftp) = (dhcp.ok()?, dns.ok()?, tftp.ok()?);
        // The state directory is this process's alone now.
        let control = control::bind(&state).map_err(|error| no_control(&error)).ok();
        Some(Self { dhcp, dns, tftp, store, leases, state, control })
    }

    async fn serve(self, mut site: Arc<Site>, file: &Path, mut hangups: Signal) -> ExitCode {
        let (shutdown, told) = watch::channel(false);
        let (died, mut deaths) = mpsc::unbounded_channel();
        let kept = self.leases.len();

        let zones = dns::publish(&site);
        let (health, reloads, watching) = health::spawn(&site, &zones, told.clone());
        let names = dns::Names::start(&site, &self.leases, &self.state, Arc::clone(&zones));
        let (names, named) = match names {
            Ok(started) => started,
            Err(error) => {
                error!(%error, "cannot start DNS");
                return ExitCode::FAILURE;
            }
        };
        let leases = dhcp::Leases {
            store: self.store,
            kept: self.leases,
            names: names.feed(),
            zone: Arc::clone(&zones),
        };
        let dhcp = dhcp::Server::start(Arc::clone(&site), self.dhcp, leases, move || {
            let _ = died.send("DHCP");
        });
        let dhcp = match dhcp {
            Ok(server) => server,
            Err(error) => {
                error!(%error, "cannot start DHCP");
                return ExitCode::FAILURE;
            }
        };
        let files = self.tftp.zip(site.tftp.as_ref()).map(|(bound, tftp)| {
            let near = (Arc::clone(&zones), self.state.as_path());
            tftp::spawn(bound, &site, tftp, dhcp.handle(), near, told.clone())
        });
        let counted = files.as_ref().map(|files| Arc::clone(&files.counters));
        // A phone that has a lease has a name, whoever asks first.
        let _ = named.await;
        let dns = dns::spawn(self.dns, Arc::clone(&zones), &site.dns, told.clone());
        let live_dns = dns::Reload::new(&dns.handle, zones, &names, reloads);
        let control = self
            .control
            .map(|bound| {
                let (dhcp, dns) = (dhcp.handle(), dns.handle);
                let servers = control::Servers { dhcp, dns, health, tftp: counted };
                control::spawn(bound, servers, told)
            })
            .and_then(|control| control.map_err(|error| no_control(&error)).ok());
        // Whoever is told that this serves may stop it at once.
        let stop = stop_signal();
        tokio::pin!(stop);
        info!(site = %site.name, zone = %site.zone, scopes = site.scopes.len(), leases = kept, "serving");
        notify(sd_notify::NotifyState::Ready);

        let mut watch_zone = tokio::time::interval(ZONE);
        watch_zone.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut offset = None;
        let ended = loop {
            tokio::select! {
                stop = &mut stop => break stop,
                dead = deaths.recv() => {
                    break Err(format!("{} ended unasked", dead.unwrap_or("DHCP")));
                }
                _ = hangups.recv() => {
                    notify(sd_notify::NotifyState::Reloading);
                    // Whoever else is to go by it from then on is told here.
                    site =
                        reload::reload(file, site, &dhcp.handle(), &live_dns, files.as_ref()).await;
                    notify(sd_notify::NotifyState::Ready);
                    // It may have changed while the file was read.
                    offset = None;
                }
                _ = watch_zone.tick() => {
                    let now = reload::offset(&site);
                    if let Some(seconds) = now.filter(|_| now != offset) {
                        site = reload::follow_offset(site, seconds, &dhcp.handle()).await;
                    }
                    offset = now;
                }
            }
        };
        notify(sd_notify::NotifyState::Stopping);
        let _ = shutdown.send(true);
        // Its socket is gone before the next process may have the state directory.
        if let Some(control) = control {
            let _ = control.await;
        }
        let orderly = tokio::task::spawn_blocking(move || dhcp.stop()).await.unwrap_or(false);
        let _ = dns.task.await;
        let _ = watching.await;
        names.stop();
        if let Some(files) = files {
            let _ = files.task.await;
        }
        match ended {
            Ok(signal) if orderly => {
                info!(signal, "stopped");
                ExitCode::SUCCESS
            }
            Ok(_) => ExitCode::FAILURE,
            Err(error) => {
                error!(%error, "stopped");
                ExitCode::FAILURE
            }
        }
    }
}

fn say_torn(torn: &offhook_store::Torn) {
    warn!(
        file = %torn.file.display(), bytes = torn.bytes,
        hint = "if nothing was killed and no power was lost, look at the disk: damage done later looks the same, and then \
                what was acknowledged in the last second before the stop is forgotten until those phones renew",
        "the last commit of the lease store is not whole and was left out: if the stop cut it short, nothing that was \
         acknowledged is lost, for an acknowledgement waits until its commit is whole"
    );
}

fn no_control(error: &std::io::Error) {
    warn!(%error, "`offhook leases` and `offhook status` cannot ask this server: no control socket");
}

pub(crate) fn log_diagnostic(diagnostic: &Diagnostic) {
    let Diagnostic { code, message, file, line, column, hint, .. } = diagnostic;
    let (code, hint) = (code.name(), hint.as_deref().unwrap_or_default());
    match diagnostic.severity {
        Severity::Error => error!(code, %file, line, column, hint, "{message}"),
        Severity::Warning => warn!(code, %file, line, column, hint, "{message}"),
    }
}

/// Waits for a signal to stop; from the call on, not only once it is waited for.
fn stop_signal() -> impl Future<Output = Result<&'static str, String>> {
    let install = |kind| signal(kind).map_err(|error| format!("cannot wait for signals: {error}"));
    let (term, int) = (install(SignalKind::terminate()), install(SignalKind::interrupt()));
    async move {
        let (mut term, mut int) = (term?, int?);
        tokio::select! {
            _ = term.recv() => Ok("SIGTERM"),
            _ = int.recv() => Ok("SIGINT"),
        }
    }
}

fn notify(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!(%error, "systemd could not be told");
    }
}

fn say(error: &dyn Display, hint: Option<String>) {
    match hint {
        Some(hint) => error!(hint, "{error}"),
        None => error!("{error}"),
    }
}
