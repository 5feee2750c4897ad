//! Addresses that no machine can have, or at which no phone can reach one.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::Context;
use crate::Code;
use crate::report::{Problem, Spanned};

pub(super) fn check(context: &Context<'_>) {
    let facts = context.facts;
    let dns: Vec<_> = facts.dns.listen.value().into_iter().flat_map(|list| &list.items).collect();
    // A second listener for IPv6 clients is well; phones need the IPv4 one.
    let only_ipv6 = dns.iter().all(|listener| listener.value.is_ipv6());
    for listener in dns {
        this_listener(context, listener, "DNS", only_ipv6);
    }
    if let Some(listener) = facts.tftp.as_ref().and_then(|tftp| tftp.listen.good()) {
        this_listener(context, listener, "TFTP", true);
    }
    for address in facts.hosts.iter().filter_map(|host| host.address.good()) {
        machine(context, address, "a host");
    }
    for address in facts.scopes.iter().filter_map(|scope| scope.router.good()) {
        // A router at the edge of its subnet is a matter of the scope.
        if let Some(what) = never_a_machine(address.value) {
            unusable(context, address, what, "a router");
        }
    }
    for address in facts.phones.iter().filter_map(|phone| phone.address.good()) {
        machine(context, address, "a phone");
    }
    let hosts: Vec<_> = facts.hosts.iter().filter_map(|host| host.address.value()).collect();
    for server in facts.time.servers.value().into_iter().flat_map(|list| &list.items) {
        if !hosts.contains(&&server.value) {
            machine(context, server, "a time server");
        }
    }
}

fn this_listener(
    context: &Context<'_>,
    listener: &Spanned<SocketAddr>,
    server: &str,
    needs_ipv4: bool,
) {
    match listener.value.ip() {
        IpAddr::V6(address) if needs_ipv4 => context.report.push(
            Problem::error(
                Code::UnusableAddress,
                &listener.span,
                format!("phones cannot be told of {address}: DHCPv4 names IPv4 addresses only"),
            )
            .label("an IPv6 address")
            .hint(format!("give the {server} server an IPv4 address")),
        ),
        IpAddr::V6(_) => {}
        IpAddr::V4(address) if address.is_loopback() => context.report.push(
            Problem::warning(
                Code::UnusableAddress,
                &listener.span,
                format!("no phone reaches {address}, which is every machine itself"),
            )
            .label("a loopback address")
            .hint(format!("write the address at which phones reach the {server} server")),
        ),
        // 0.0.0.0 has a code of its own.
        IpAddr::V4(address) if address.is_unspecified() => {}
        IpAddr::V4(address) => {
            let address = Spanned::new(address, listener.span.clone());
            machine(context, &address, &format!("the {server} server"));
        }
    }
}

/// Reports an address that cannot be a machine's, or is the first or last one of a scope's subnet.
fn machine(context: &Context<'_>, address: &Spanned<Ipv4Addr>, whose: &str) {
    let reserved = never_a_machine(address.value).or_else(|| {
        let subnets = context.facts.scopes.iter().filter_map(|scope| scope.subnet.value());
        subnets.filter(|subnet| subnet.prefix() < 31).find_map(|subnet| match address.value {
            it if it == subnet.network() => Some("the network address of a scope"),
            it if it == subnet.broadcast() => Some("the broadcast address of a scope"),
            _ => None,
        })
    });
    if let Some(what) = reserved {
        unusable(context, address, what, whose);
    }
}

fn never_a_machine(address: Ipv4Addr) -> Option<&'static str> {
    match address {
        it if it.is_unspecified() => Some("no address at all"),
        it if it.is_loopback() => Some("a loopback address"),
        it if it.is_multicast() => Some("a multicast address"),
        it if it.is_broadcast() => Some("the broadcast address"),
        _ => None,
    }
}

fn unusable(context: &Context<'_>, address: &Spanned<Ipv4Addr>, what: &str, whose: &str) {
    context.report.push(
        Problem::error(
            Code::UnusableAddress,
            &address.span,
            format!("{} cannot be the address of {whose}", address.value),
        )
        .label(what)
        .hint("write an address that a machine can have"),
    );
}
