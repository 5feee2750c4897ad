//! From an outcome to the message that says it.

use std::net::{Ipv4Addr, SocketAddrV4};

use dhcproto::v4::{CLIENT_PORT, MessageType, SERVER_PORT};

use crate::decide::{Context, Times};
use crate::wire::{Encoded, Field, Head, Rank, Value, code, encode, longest_message};
use crate::{Destination, Reply, fqdn};

/// A lease as the client is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) address: Ipv4Addr,
    pub(crate) times: Times,
}

/// An OFFER or an ACK: with terms for a lease, without for an INFORM. Also the codes left off for lack of room.
pub(crate) fn configuration(
    context: &Context<'_>,
    message: MessageType,
    terms: Option<Terms>,
) -> (Reply, Vec<u8>) {
    let asked = context.request.requested();
    let (reply, dropped) = configured(context, message, terms, asked);
    let Some(asked) = asked.filter(|_| dropped.contains(&code::CLASSLESS_ROUTES)) else {
        return (reply, dropped);
    };
    // Routes for which there is no room do not stand in for the router: without any, the client is deaf.
    let others: Vec<_> =
        asked.iter().copied().filter(|code| *code != code::CLASSLESS_ROUTES).collect();
    let (reply, mut dropped) = configured(context, message, terms, Some(&others));
    if !dropped.contains(&code::CLASSLESS_ROUTES) {
        dropped.push(code::CLASSLESS_ROUTES);
    }
    (reply, dropped)
}

fn configured(
    context: &Context<'_>,
    message: MessageType,
    terms: Option<Terms>,
    asked: Option<&[u8]>,
) -> (Reply, Vec<u8>) {
    let request = context.request;
    let plan = context.plan.as_ref();
    let class = context.class_rules().map(|class| &*class.name);
    let fqdn = terms.and_then(|_| fqdn::answer(context.setup, request, class));
    let mut fields = Vec::with_capacity(32);
    protocol(context, message, &mut fields);
    if let Some(terms) = terms {
        for (code, seconds) in [
            (code::LEASE_TIME, terms.times.lease),
            (code::RENEWAL_TIME, terms.times.renewal),
            (code::REBINDING_TIME, terms.times.rebinding),
        ] {
            fields.push(Field { code, value: Value::from(seconds), rank: Rank::Protocol });
        }
    }
    plan.select(asked, terms.is_some(), &mut fields);
    if let Some(name) = &fqdn {
        fields.push(Field { code: code::FQDN, value: Value::Bytes(name), rank: Rank::Usual });
    }
    // RFC 3011: a server that goes by it says so.
    let subnet = request.address(code::SUBNET_SELECTION);
    let counts = context.setup.site.dhcp.subnet_selection
        && request.relay_address(code::LINK_SELECTION).is_none();
    if let Some(subnet) = subnet.filter(|_| counts) {
        let value = Value::from(subnet);
        fields.push(Field { code: code::SUBNET_SELECTION, value, rank: Rank::Protocol });
    }
    client_id(context, &mut fields);

    let header = &request.header;
    let address = terms.map_or(Ipv4Addr::UNSPECIFIED, |terms| terms.address);
    let head = Head {
        // Table 3 of RFC 2131: an OFFER says nothing of ciaddr.
        ciaddr: match message {
            MessageType::Ack => header.ciaddr,
            _ => Ipv4Addr::UNSPECIFIED,
        },
        yiaddr: address,
        siaddr: plan.boot.siaddr.unwrap_or(Ipv4Addr::UNSPECIFIED),
        sname: &plan.boot.sname,
        file: &plan.boot.file,
        ..blank(context)
    };
    let to = match terms {
        Some(_) => to_lessee(context, address),
        None => to_informer(context),
    };
    finish(context, &head, &fields, message, to)
}

/// A NAK: broadcast, and through a relay with the broadcast flag set (RFC 2131, 4.3.2).
pub(crate) fn refusal(context: &Context<'_>, why: &'static str) -> (Reply, Vec<u8>) {
    let mut fields = Vec::with_capacity(4);
    protocol(context, MessageType::Nak, &mut fields);
    let text = Value::Bytes(why.as_bytes());
    fields.push(Field { code: code::MESSAGE, value: text, rank: Rank::Asked });
    client_id(context, &mut fields);
    let mut head = blank(context);
    let header = &context.request.header;
    let to = if header.is_relayed() {
        head.flags = header.flags.set_broadcast();
        relay(header.giaddr)
    } else {
        Destination::Broadcast
    };
    finish(context, &head, &fields, MessageType::Nak, to)
}

fn protocol(context: &Context<'_>, message: MessageType, fields: &mut Vec<Field<'_>>) {
    let number = Value::from(u8::from(message));
    fields.push(Field { code: code::MESSAGE_TYPE, value: number, rank: Rank::Protocol });
    let server = Value::from(context.server_id);
    fields.push(Field { code: code::SERVER_ID, value: server, rank: Rank::Protocol });
}

/// The client identifier is echoed in every reply as it came (RFC 6842), even one that is empty.
fn client_id<'a>(context: &Context<'a>, fields: &mut Vec<Field<'a>>) {
    if let Some(id) = context.request.option(code::CLIENT_ID) {
        let value = Value::Bytes(id);
        fields.push(Field { code: code::CLIENT_ID, value, rank: Rank::Protocol });
    }
}

fn blank<'a>(context: &Context<'_>) -> Head<'a> {
    let header = &context.request.header;
    Head {
        hardware: header.hardware,
        chaddr: header.chaddr,
        xid: header.xid,
        flags: header.flags,
        ciaddr: Ipv4Addr::UNSPECIFIED,
        yiaddr: Ipv4Addr::UNSPECIFIED,
        siaddr: Ipv4Addr::UNSPECIFIED,
        giaddr: header.giaddr,
        sname: &[],
        file: &[],
    }
}

fn relay(giaddr: Ipv4Addr) -> Destination {
    Destination::Relay(SocketAddrV4::new(giaddr, SERVER_PORT))
}

/// To a client that has its address. One on the link the message came from is written to by its hardware address: an
/// ARP request for every renewal would cost more than the reply, and the kernel keeps no more than a thousand. Who
/// broadcasts is on the link, whatever its address: it may be of a network the client has left.
fn unicast(context: &Context<'_>, address: Ipv4Addr) -> Destination {
    let Context { setup, link, arrival, .. } = *context;
    let header = &context.request.header;
    let on_link = link.scope.map(|id| setup.subnets.network(id));
    let mut on_link = on_link.into_iter().flatten().filter_map(|id| setup.site.scope(*id));
    let is_at_home = on_link.any(|scope| scope.subnet.contains(address));
    let is_heard = link.scope.is_some() && !setup.is_ours(arrival.destination);
    let is_near = !header.is_relayed() && (is_at_home || is_heard);
    match header.hardware.mac().filter(|_| is_near) {
        Some(hardware) => Destination::Frame { hardware, address },
        None if is_near && !is_at_home => Destination::Broadcast,
        None => Destination::Unicast(SocketAddrV4::new(address, CLIENT_PORT)),
    }
}

/// RFC 2131, 4.1: the relay, else the address the client has, else broadcast if it says so, else the address it is
/// about to have.
fn to_lessee(context: &Context<'_>, yiaddr: Ipv4Addr) -> Destination {
    let header = &context.request.header;
    if header.is_relayed() {
        relay(header.giaddr)
    } else if let Some(address) = header.client_address() {
        unicast(context, address)
    } else if header.flags.broadcast() {
        Destination::Broadcast
    } else if let Some(hardware) = header.hardware.mac() {
        Destination::Frame { hardware, address: yiaddr }
    } else {
        Destination::Broadcast
    }
}

/// RFC 2131, 4.3.5: to ciaddr itself, even where a relay forwarded the INFORM. Clients that leave it empty are
/// answered the way they came.
fn to_informer(context: &Context<'_>) -> Destination {
    let header = &context.request.header;
    if let Some(address) = header.client_address() {
        unicast(context, address)
    } else if header.is_relayed() {
        relay(header.giaddr)
    } else {
        unicast(context, *context.arrival.source.ip())
    }
}

fn finish(
    context: &Context<'_>,
    head: &Head<'_>,
    fields: &[Field<'_>],
    message: MessageType,
    to: Destination,
) -> (Reply, Vec<u8>) {
    let request = context.request;
    let relay = request.option(code::RELAY_AGENT);
    let limit = match to {
        Destination::Relay(_) => request.reply_limit(),
        // Who has no address yet puts no fragments together. Every link takes 576 octets, or nothing works on it.
        _ => request.reply_limit().min(longest_message(context.link.mtu)),
    };
    let Encoded { bytes, dropped } = encode(head, fields, relay, limit);
    (Reply { bytes, to, message, from: context.here }, dropped)
}
