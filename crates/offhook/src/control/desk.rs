//! Answers to what is asked on the control socket.

use std::collections::HashSet;
use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use offhook_dhcp::NoReply;
use offhook_model::{LeaseState, Scope, Site, Time};

use super::Failure;
use super::protocol::{
    Ask, DnsStatus, Filter, LeaseRecord, Reply, ScopeStatus, Status, StorageError, TftpStatus,
    UpstreamStatus,
};
use super::server::{Servers, Writer};
use crate::dhcp::{Count, Handle, NoAnswer, NotReleased, PAGE};
use crate::{dns, tftp};

/// Why a question has no answer.
enum Unanswered {
    /// To be told to the client.
    Told(Failure),
    /// The client cannot be told anything any more.
    Gone(io::Error),
}

impl From<NoAnswer> for Unanswered {
    fn from(NoAnswer: NoAnswer) -> Self {
        Self::Told(
            Failure::new("the DHCP server does not answer")
                .hint("it is being stopped, or its log tells why"),
        )
    }
}

impl From<io::Error> for Unanswered {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

/// Answers one question.
///
/// # Errors
/// The client is gone.
pub(super) async fn answer(ask: Ask, servers: &Servers, to: &mut Writer) -> io::Result<()> {
    let dhcp = &servers.dhcp;
    let answered = match ask {
        Ask::Leases(filter) => leases(&filter, servers, to).await,
        Ask::Release { address, mac } => match dhcp.release(address, mac).await {
            Ok(released) => {
                let now = Time::default();
                let reply = match released {
                    Ok(lease) => Reply::Released(LeaseRecord::new(&lease, now)),
                    Err(why) => Reply::Failed(not_released(address, why)),
                };
                to.send(reply).await.map_err(Unanswered::Gone)
            }
            Err(error) => Err(error.into()),
        },
        Ask::Status => match status(servers).await {
            Ok(status) => to.send(Reply::Status(Box::new(status))).await.map_err(Unanswered::Gone),
            Err(error) => Err(error.into()),
        },
    };
    match answered {
        Ok(()) => Ok(()),
        Err(Unanswered::Told(failure)) => to.send(Reply::Failed(failure)).await,
        Err(Unanswered::Gone(error)) => Err(error),
    }
}

/// First which addresses, at a glance and four bytes each, then their leases by address: a page of them at a time,
/// each only once the one before is with the client.
async fn leases(filter: &Filter, servers: &Servers, to: &mut Writer) -> Result<(), Unanswered> {
    let Servers { dhcp, dns, .. } = servers;
    let addresses = match filter.address {
        Some(address) => vec![address],
        None => addresses(filter, dhcp).await?,
    };
    let mut found = false;
    for addresses in addresses.chunks(PAGE) {
        let page = dhcp.leases(addresses.to_vec()).await?;
        let wanted = page.leases.iter().filter(|lease| filter.matches(lease, page.now));
        let named = |lease| {
            let record = LeaseRecord::new(lease, page.now);
            LeaseRecord { dns_name: dns.lease_name(record.address), ..record }
        };
        let leases: Vec<_> = wanted.map(named).collect();
        if !leases.is_empty() {
            found = true;
            to.send(Reply::Leases { now: page.now.as_millis(), leases }).await?;
        }
    }
    let note = if found { None } else { note(filter, &dhcp.overview().await?.site) };
    Ok(to.send(Reply::End { note }).await?)
}

async fn addresses(filter: &Filter, dhcp: &Handle) -> Result<Vec<Ipv4Addr>, NoAnswer> {
    let (mut addresses, mut from) = (Vec::new(), Some(0));
    while let Some(place) = from {
        let outlines = dhcp.outline(place).await?;
        let wanted = outlines.leases.iter().filter(|lease| {
            let live = lease.state == LeaseState::Bound && outlines.now < lease.expires;
            (filter.all || live) && filter.mac.is_none_or(|mac| lease.mac == Some(mac))
        });
        addresses.extend(wanted.map(|lease| lease.address));
        from = outlines.next;
    }
    // A reload between two pages may have put a lease into both.
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

/// What may be wrong with a filter that nothing passes.
pub(super) fn note(filter: &Filter, site: &Site) -> Option<String> {
    let list = |names: Vec<&str>| names.join(", ");
    if let Some(wanted) = &filter.scope
        && !site.scopes.iter().any(|scope| scope.name == *wanted)
    {
        let names = site.scopes.iter().map(|scope| scope.name.as_str()).collect();
        return Some(format!("there is no scope `{wanted}` in this site, only {}", list(names)));
    }
    if let Some(wanted) = &filter.family
        && !site.classes.iter().any(|class| class.name.eq_ignore_ascii_case(wanted))
    {
        let names = site.classes.iter().map(|class| class.name.as_str()).collect();
        return Some(format!("there is no family `{wanted}` in this site, only {}", list(names)));
    }
    None
}

fn not_released(address: Ipv4Addr, why: NotReleased) -> Failure {
    let list = "`offhook leases --all` lists every address and who had it last";
    match why {
        NotReleased::NotLeased(None) => Failure::new(format!("{address} is not leased")).hint(list),
        NotReleased::NotLeased(Some(lease)) => {
            let ended = match lease.state {
                LeaseState::Released => "was given back",
                LeaseState::Bound | LeaseState::Declined => "has expired",
            };
            let mac = lease.hardware;
            Failure::new(format!("{address} is not leased: the lease of {mac} {ended}"))
        }
        NotReleased::OtherHolder(lease) => {
            Failure::new(format!("{address} is leased to {} by now", lease.hardware)).hint(list)
        }
        NotReleased::Unwritten(error) => {
            Failure::new(format!("{address} was not released: {error}"))
                .hint("the lease is as it was; try again once leases can be written")
        }
    }
}

async fn status(Servers { dhcp, dns, health, tftp }: &Servers) -> Result<Status, NoAnswer> {
    let overview = dhcp.overview().await?;
    let mut tally = Tally::new(&overview.site, &overview.ours, overview.offered);
    let mut from = Some(0);
    while let Some(place) = from {
        let outlines = dhcp.outline(place).await?;
        for lease in &outlines.leases {
            if outlines.now < lease.expires {
                tally.lease(lease.address, lease.state);
            }
        }
        from = outlines.next;
    }
    let counters = dhcp.counters();
    let silent = NoReply::ALL.iter().map(|reason| (reason.to_string(), counters.silences(*reason)));
    let now = i64::try_from(overview.now.as_secs()).unwrap_or(i64::MAX);
    Ok(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        site: overview.site.name.clone(),
        zone: overview.site.zone.to_string(),
        pid: std::process::id(),
        now: iso(now),
        uptime_seconds: dhcp.uptime().as_secs(),
        storage_failing: counters.is_failing(),
        last_storage_error: counters
            .last_failure()
            .map(|(at, message)| StorageError { at: iso(seconds(at)), message }),
        leases: overview.leases as u64,
        unsettled: overview.unsettled as u64,
        scopes: tally.finish(),
        counts: Count::ALL
            .iter()
            .map(|what| (what.as_str().to_owned(), counters.of(*what)))
            .collect(),
        silent: silent.filter(|(_, times)| *times > 0).collect(),
        dns: dns_status(dns),
        servers: health.servers(),
        tftp: tftp.as_deref().map(tftp_status),
    })
}

fn dns_status(dns: &dns::Handle) -> DnsStatus {
    let counts = dns::Count::ALL
        .iter()
        .map(|&what| (what.as_str().to_owned(), dns.counters().of(what)))
        .collect();
    let whole = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let upstreams = dns.upstreams().into_iter().map(|(zone, server, known)| UpstreamStatus {
        zone,
        server,
        silent_seconds: known.silent_since().map(|since| since.elapsed().as_secs()),
        round_trip_ms: known.round_trip().map(whole),
        answered: known.answered,
        missed: known.missed,
    });
    let mut upstreams: Vec<_> = upstreams.collect();
    upstreams.sort_by(|a, b| a.zone.cmp(&b.zone));
    DnsStatus {
        counts,
        serial: dns.serial(),
        lease_names: dns.lease_names() as u64,
        cached: dns.cached() as u64,
        upstreams,
    }
}

fn tftp_status(counters: &tftp::Counters) -> TftpStatus {
    let counts = tftp::Count::ALL.iter();
    TftpStatus {
        counts: counts.map(|&what| (what.as_str().to_owned(), counters.of(what))).collect(),
        active: counters.active(),
    }
}

fn seconds(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn iso(seconds: i64) -> String {
    Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default()
}

/// Counts addresses by scope.
pub(super) struct Tally<'a> {
    /// In order of address.
    scopes: Vec<Counted<'a>>,
    /// Offered, and neither leased nor withheld as far as is known.
    offered: HashSet<Ipv4Addr>,
}

struct Counted<'a> {
    place: usize,
    scope: &'a Scope,
    /// Not anybody's, though in a pool.
    kept: HashSet<Ipv4Addr>,
    used: u64,
    status: ScopeStatus,
}

impl Counted<'_> {
    fn is_dynamic(&self, address: Ipv4Addr) -> bool {
        self.scope.pools.iter().any(|pool| pool.range.contains(address))
            && !self.kept.contains(&address)
    }
}

impl<'a> Tally<'a> {
    pub(super) fn new(site: &'a Site, ours: &[Ipv4Addr], offered: Vec<Ipv4Addr>) -> Self {
        let reserved = site.phones.iter().filter_map(|phone| phone.address);
        let reserved: HashSet<_> = reserved.filter(|address| !ours.contains(address)).collect();
        let scopes = site.scopes.iter().enumerate().map(|(place, scope)| {
            let in_subnet = |address: &&Ipv4Addr| scope.subnet.contains(**address);
            let reserved: HashSet<_> = reserved.iter().filter(in_subnet).copied().collect();
            let in_pool =
                |address: &&Ipv4Addr| scope.pools.iter().any(|pool| pool.range.contains(**address));
            let count = reserved.len() as u64;
            let kept: HashSet<_> =
                reserved.into_iter().chain(scope.excluded.iter().chain(ours).copied()).collect();
            let whole: u64 = scope.pools.iter().map(|pool| pool.range.count()).sum();
            let status = ScopeStatus {
                name: scope.name.clone(),
                subnet: scope.subnet.to_string(),
                interface: scope.interface.clone(),
                pool: whole.saturating_sub(kept.iter().filter(in_pool).count() as u64),
                reserved: count,
                ..ScopeStatus::default()
            };
            Counted { place, scope, kept, used: 0, status }
        });
        let mut scopes: Vec<_> = scopes.collect();
        scopes.sort_unstable_by_key(|counted| counted.scope.subnet.network());
        Self { scopes, offered: offered.into_iter().collect() }
    }

    /// A lease, or a withheld address, whose time is not over.
    pub(super) fn lease(&mut self, address: Ipv4Addr, state: LeaseState) {
        if state == LeaseState::Released {
            return;
        }
        self.offered.remove(&address);
        let Some(counted) = self.holding(address) else { return };
        counted.used += u64::from(counted.is_dynamic(address));
        match state {
            LeaseState::Declined => counted.status.declined += 1,
            _ => counted.status.leased += 1,
        }
    }

    /// The counts, in the order of the configuration.
    pub(super) fn finish(mut self) -> Vec<ScopeStatus> {
        for address in std::mem::take(&mut self.offered) {
            let Some(counted) = self.holding(address) else { continue };
            counted.used += u64::from(counted.is_dynamic(address));
            counted.status.offered += 1;
        }
        self.scopes.sort_unstable_by_key(|counted| counted.place);
        let free = |counted: Counted<'_>| ScopeStatus {
            free: counted.status.pool.saturating_sub(counted.used),
            ..counted.status
        };
        self.scopes.into_iter().map(free).collect()
    }

    fn holding(&mut self, address: Ipv4Addr) -> Option<&mut Counted<'a>> {
        let after = self.scopes.partition_point(|one| one.scope.subnet.network() <= address);
        let counted = self.scopes.get_mut(after.checked_sub(1)?)?;
        counted.scope.subnet.contains(address).then_some(counted)
    }
}
