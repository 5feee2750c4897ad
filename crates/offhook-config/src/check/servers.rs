//! Listeners, forwarding, switchovers, and the name in option 160.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnetwork::Ipv4Network;
use offhook_model::{DomainName, Send};

use super::Context;
use crate::Code;
use crate::options::Explicit;
use crate::read::{Facts, ScopeFacts, SwitchoverFacts};
use crate::report::{Problem, Span, Spanned};
use crate::words;

pub(super) fn check(context: &Context<'_>) {
    let facts = context.facts;
    let dns: Vec<_> = facts.dns.listen.value().into_iter().flat_map(|list| &list.items).collect();
    for listener in &dns {
        this_listener(context, listener, 53, "DNS", 6);
    }
    let tftp = facts.tftp.as_ref().and_then(|tftp| tftp.listen.good());
    if let Some(listener) = tftp {
        this_listener(context, listener, 69, "TFTP", 66);
        for scope in scopes_without_own(facts, 66).filter(|scope| scope.phones) {
            unreachable(context, scope, &[listener], Code::TftpUnreachable, "phones", "TFTP", 66);
        }
    }
    if facts.dns.listen.value().is_some_and(|list| list.complete) {
        for scope in scopes_without_own(facts, 6) {
            unreachable(context, scope, &dns, Code::DnsUnreachable, "clients", "DNS", 6);
        }
    }
    allowed(context, &dns);
    open(context);
    forward(context);
    for switchover in &facts.switchovers {
        let Some(hosts) = switchover.hosts.good() else { continue };
        pair(context, &hosts.value.items, hosts.value.complete, &hosts.span, "switchover");
    }
    for proxy in &facts.proxies {
        let Some(hosts) = proxy.hosts.good() else { continue };
        pair(context, &hosts.value.items, hosts.value.complete, &hosts.span, "proxy pool");
    }
    shared(context);
    provisioning(context);
}

/// Scopes whose clients are told the listener itself.
fn scopes_without_own(facts: &Facts, code: u8) -> impl Iterator<Item = &ScopeFacts> {
    let site = facts.options.iter().any(|option| option.rule.code == code);
    facts
        .scopes
        .iter()
        .filter(move |scope| !site && !scope.options.iter().any(|o| o.rule.code == code))
}

fn this_listener(
    context: &Context<'_>,
    listener: &Spanned<SocketAddr>,
    port: u16,
    server: &str,
    option: u8,
) {
    if listener.value.ip().is_unspecified() {
        context.report.push(
            Problem::error(
                Code::UnspecifiedListener,
                &listener.span,
                format!("{} is no address that option {option} could name", listener.value.ip()),
            )
            .label("every address of the machine")
            .hint(format!("write the address at which phones reach the {server} server")),
        );
    }
    if listener.value.port() != port {
        context.report.push(
            Problem::warning(
                Code::NonstandardPort,
                &listener.span,
                format!("phones ask port {port}, not {}", listener.value.port()),
            )
            .label("phones will not find it")
            .hint(format!("leave the port out, unless something forwards {port} to it")),
        );
    }
}

fn unreachable(
    context: &Context<'_>,
    scope: &ScopeFacts,
    listeners: &[&Spanned<SocketAddr>],
    code: Code,
    who: &str,
    server: &str,
    option: u8,
) {
    let (Some(subnet), true) = (scope.subnet.value(), scope.router.is_absent()) else { return };
    if context.report.is_section_damaged(scope.span.start) {
        return;
    }
    // A route to the server is as good as a router.
    if scope.options.iter().any(|option| matches!(option.rule.code, 3 | 33 | 121)) {
        return;
    }
    let addresses: Vec<Ipv4Addr> = listeners
        .iter()
        .filter_map(|listener| match listener.value.ip() {
            IpAddr::V4(address) if !address.is_unspecified() => Some(address),
            _ => None,
        })
        .collect();
    let (Some(first), Some(address)) = (listeners.first(), addresses.first()) else { return };
    if addresses.iter().any(|address| subnet.contains(*address)) {
        return;
    }
    let name = scope.name.value().map_or("?", String::as_str);
    context.report.push(
        Problem::error(
            code,
            &scope.span,
            format!("{who} in the scope `{name}` cannot reach the {server} server {address}"),
        )
        .label(format!("no `router`, and {address} is not in {subnet}"))
        .related(&first.span, format!("option {option}"))
        .hint("add a `router`, or listen on an address in this subnet"),
    );
}

/// Whose clients are told to ask us, and then refused.
fn allowed(context: &Context<'_>, listeners: &[&Spanned<SocketAddr>]) {
    let dns = &context.facts.dns;
    let (Some(stated), Some(span)) = (&dns.access.allow, &dns.access_spans.allow) else { return };
    for scope in scopes_without_own(context.facts, 6).filter(|_| !listeners.is_empty()) {
        let Some(subnet) = scope.subnet.good() else { continue };
        let holds = |network: &Ipv4Network| {
            network.contains(subnet.value.network()) && network.contains(subnet.value.broadcast())
        };
        if stated.iter().any(holds) {
            continue;
        }
        let name = scope.name.value().map_or("?", String::as_str);
        context.report.push(
            Problem::warning(
                Code::ScopeNotAllowed,
                span,
                format!(
                    "clients in the scope `{name}` are told to ask this server, which refuses them"
                ),
            )
            .label(format!("{} is in none of these networks", subnet.value))
            .related(&subnet.span, "the subnet")
            .hint(format!("add \"{}\", or leave `allow` out", subnet.value)),
        );
    }
}

/// A resolver that answers the whole world is made use of to flood others.
fn open(context: &Context<'_>) {
    let dns = &context.facts.dns;
    let is_open = |networks: &Option<Vec<Ipv4Network>>| {
        // Wider than what any one organisation has.
        networks.iter().flatten().any(|network| network.prefix() < 8)
    };
    let Some(span) = &dns.access_spans.forward else { return };
    if dns.forward.is_empty() || !is_open(&dns.access.allow) || !is_open(&dns.access.allow_forward)
    {
        return;
    }
    context.report.push(
        Problem::warning(
            Code::OpenResolver,
            span,
            "other servers are asked for anybody in the world: an open resolver",
        )
        .label("wider than any site")
        .hint("name the networks of the site, or leave `allow_forward` out: it is the scopes then"),
    );
}

fn forward(context: &Context<'_>) {
    let listeners: Vec<_> =
        context.facts.dns.listen.value().into_iter().flat_map(|list| &list.items).collect();
    for (zone, servers) in &context.facts.dns.forward {
        let own = |server: &&SocketAddr| listeners.iter().any(|own| own.value == **server);
        if let Some(server) = servers.iter().find(own) {
            context.report.push(
                Problem::error(
                    Code::ForwardToSelf,
                    &zone.span,
                    format!("{} is this very server: it would ask itself", server.ip()),
                )
                .label("forwarded to `[dns] listen`")
                .hint("name the server that serves this zone"),
            );
        }
    }
    let Some(own) = context.facts.site.zone.good() else { return };
    for (zone, _) in &context.facts.dns.forward {
        let inside = zone.value.as_ref().is_some_and(|zone| zone.is_within(&own.value));
        if inside {
            context.report.push(
                Problem::error(
                    Code::ForwardOwnZone,
                    &zone.span,
                    "names in the site's own zone are not forwarded",
                )
                .label("answered here")
                .related(&own.span, "the zone")
                .hint("leave it out, and give each server a [[host]]"),
            );
        }
        let Some(octets) = zone.value.as_ref().and_then(reverse_octets) else { continue };
        let scopes = context.facts.scopes.iter().filter_map(|scope| scope.subnet.good());
        if let Some(subnet) = scopes.into_iter().find(|subnet| has_all(subnet.value, &octets)) {
            context.report.push(
                Problem::warning(
                    Code::ForwardOwnAddresses,
                    &zone.span,
                    format!("names of addresses in {} are not forwarded", subnet.value),
                )
                .label("answered here")
                .related(&subnet.span, "the subnet")
                .hint("leave it out: nobody is ever asked for these"),
            );
        }
    }
}

/// The octets of the address that a name in `in-addr.arpa` stands for, most significant first; none for others.
fn reverse_octets(zone: &DomainName) -> Option<Vec<u8>> {
    let name = zone.as_str().strip_suffix(".in-addr.arpa")?;
    name.rsplit('.').map(|label| label.parse().ok()).collect()
}

/// Whether every address that begins with these octets is in `subnet`.
fn has_all(subnet: Ipv4Network, octets: &[u8]) -> bool {
    let ends = [0, u8::MAX].map(|rest| {
        let mut address = [rest; 4];
        address.iter_mut().zip(octets).for_each(|(to, from)| *to = *from);
        subnet.contains(address.into())
    });
    octets.len() <= 4 && ends == [true; 2]
}

fn pair(
    context: &Context<'_>,
    hosts: &[Spanned<(DomainName, Option<Ipv4Addr>)>],
    complete: bool,
    span: &Span,
    what: &str,
) {
    let mut first: HashMap<&DomainName, &Span> = HashMap::new();
    for host in hosts {
        if let Some(first) = first.get(&host.value.0) {
            context.report.push(
                Problem::error(
                    Code::SwitchoverHostTwice,
                    &host.span,
                    format!("`{}` is twice in this {what}", host.value.0),
                )
                .label("given again here")
                .related(first, "first given here")
                .hint("name another server"),
            );
            return;
        }
        first.insert(&host.value.0, &host.span);
    }
    if !complete {
        return;
    }
    if hosts.is_empty() {
        context.report.push(
            Problem::error(Code::SwitchoverEmpty, span, format!("this {what} has no hosts"))
                .label("no hosts")
                .hint("name its servers"),
        );
    } else if hosts.len() == 1 {
        context.report.push(
            Problem::warning(Code::SwitchoverSingle, span, format!("this {what} has one host"))
                .label("nobody to switch over to")
                .hint("name the second server, if there is one"),
        );
    }
}

/// SRV records of several switchovers are those of one name: their priorities say whom phones try first.
fn shared(context: &Context<'_>) {
    let switchovers = &context.facts.switchovers;
    for (index, one) in switchovers.iter().enumerate() {
        if !one.priority.is_absent() {
            continue;
        }
        let has_transport_of = |other: &&SwitchoverFacts| {
            let pairs = [
                (one.sip.udp, other.sip.udp),
                (one.sip.tcp, other.sip.tcp),
                (one.sip.tls, other.sip.tls),
            ];
            pairs.iter().any(|(a, b)| a.is_some() && b.is_some())
        };
        let mut before = switchovers.iter().take(index).filter(has_transport_of);
        let is_default =
            |other: &&SwitchoverFacts| other.priority.value().copied().unwrap_or_default() == 0;
        if let Some(first) = before.find(is_default) {
            context.report.push(
                Problem::warning(
                    Code::SwitchoverShared,
                    &one.span,
                    "the SRV records of this switchover are mixed with those of another",
                )
                .label("has no `priority`: phones take any server of the two")
                .related(&first.span, "of the same priority")
                .hint("add: priority = 10, to have phones try it last; or 0, if it is meant so"),
            );
        }
    }
}

/// The host of every URL in option 160 that the file states.
fn provisioning(context: &Context<'_>) {
    let facts = context.facts;
    let levels = facts
        .scopes
        .iter()
        .map(|scope| &scope.options)
        .chain(facts.classes.iter().map(|class| &class.options))
        .chain(facts.phones.iter().map(|phone| &phone.options))
        .chain([&facts.options]);
    for option in levels.flatten() {
        if option.rule.code == 160 && !option.broken && option.rule.send != Send::Never {
            url_host(context, option);
        }
    }
}

fn bad_url(context: &Context<'_>, option: &Explicit, text: &str, label: &str) {
    context.report.push(
        Problem::error(
            Code::BadProvisioningUrl,
            &option.span,
            format!("phones cannot be provisioned from `{text}`"),
        )
        .label(label)
        .hint("write `http://HOST:PORT`, or another of ftp, tftp, http and https"),
    );
}

fn url_host(context: &Context<'_>, option: &Explicit) {
    let text = String::from_utf8_lossy(&option.rule.value);
    let Some((scheme, rest)) = text.split_once("://") else {
        bad_url(context, option, &text, "no scheme");
        return;
    };
    if !["ftp", "tftp", "http", "https"].iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
        bad_url(context, option, &text, "not a scheme that phones know");
        return;
    }
    let authority = rest.split(['/', ';', '?']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let (host, port) = host.split_once(':').unwrap_or((host, "80"));
    if port.parse::<u16>().unwrap_or_default() == 0 {
        bad_url(context, option, &text, "not a port");
        return;
    }
    if host.is_empty() {
        bad_url(context, option, &text, "no host");
        return;
    }
    let Some(zone) = context.facts.site.zone.value() else { return };
    if host.parse::<Ipv4Addr>().is_ok() {
        return;
    }
    // A bare name is completed with option 15; one with dots is asked for as it is.
    let name = match host.contains('.') {
        true => host.parse(),
        false => DomainName::qualify(host, zone),
    };
    let found = name.as_ref().is_ok_and(|name| {
        context.facts.names.knows(name)
            || context.facts.dns.forward.iter().any(|(forwarded, _)| {
                !name.is_within(zone)
                    && forwarded.value.as_ref().is_none_or(|zone| name.is_within(zone))
            })
    });
    if found {
        return;
    }
    let known: Vec<_> = context.facts.names.short().collect();
    let hint = match words::nearest(host, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "add a [[host]] with this name, or forward its zone in `[dns] forward`".to_owned(),
    };
    context.report.push(
        Problem::error(
            Code::ProvisioningUnresolvable,
            &option.span,
            format!("phones cannot resolve `{host}`, the host of option 160"),
        )
        .label("no address in the zone, and not forwarded")
        .hint(hint),
    );
}
