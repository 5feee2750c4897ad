//! DHCPREQUEST in its four meanings (RFC 2131, 4.3.2 and table 4).

use std::net::Ipv4Addr;

use offhook_model::ClientId;

use super::{Context, Outcome, discover, told_before};
use crate::NoReply;
use crate::probe::Probes;
use crate::table::{Asker, Standing, Table};
use crate::wire::{Request, code};

/// What a REQUEST means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intent {
    /// Takes an offer: it names the server.
    Selecting,
    /// Comes back with an address it remembers.
    InitReboot,
    /// Extends the lease it uses: renewing when sent to us alone, rebinding when broadcast.
    Extending,
}

pub(super) fn request(
    context: &Context<'_>,
    table: &mut Table,
    probes: &mut Probes,
    client: &ClientId,
) -> Outcome {
    let request = context.request;
    let asker = context.asker(client);
    if context.is_for_another() {
        for scope in context.network {
            table.withdraw(&context.asker_in(*scope, client));
        }
        return Outcome::Silence(NoReply::OtherServer);
    }
    let names_server = request.address(code::SERVER_ID).is_some();
    let intent = intent(request).or_else(|| {
        // It has chosen us and does not say what it was offered: that, then, or what it would be.
        let address = discover::free(context, table, client).filter(|_| names_server)?;
        Some((Intent::Selecting, address))
    });
    let Some((intent, address)) = intent else {
        return Outcome::Silence(NoReply::NoAddress);
    };
    if table.is_unsettled_elsewhere(&asker, address) {
        return Outcome::Silence(NoReply::Unsettled);
    }
    if context.waited && table.has_gone_on(context.now, &asker, address) {
        return Outcome::Silence(NoReply::Superseded);
    }
    match verdict(context, table, &asker, intent, address) {
        Ok(()) => {
            let now = context.now;
            if is_to_be_probed(context, table, probes, &asker, intent, address)
                && let Some(until) = probes.known_at(now, context.scope, address)
            {
                table.hold_untold(now, &asker, address);
                return Outcome::Wait(address, until);
            }
            let mut grant = context.grant(client, address);
            // What the relay told when the lease began, it would tell again.
            if context.is_told_of() && told_before(context, table, &asker, address).is_some() {
                grant.keeps_class = false;
            }
            let provisional = table.grant(context.now, &grant);
            Outcome::Lease(address, provisional)
        }
        // Where another server may know better, a NAK is only for what was asked of us, or is known to be ours.
        Err(Outcome::Refuse(..))
            if !context.scope_rules.authoritative
                && !names_server
                && !table.is_in_our_hands(context.now, &asker, address) =>
        {
            Outcome::Silence(NoReply::NotAuthoritative)
        }
        Err(outcome) => outcome,
    }
}

/// What a REQUEST means, and the address it is about; `None` when it names none.
fn intent(request: &Request<'_>) -> Option<(Intent, Ipv4Addr)> {
    let ciaddr = Some(request.header.ciaddr).filter(|address| !address.is_unspecified());
    let wanted = request.address(code::REQUESTED_ADDRESS);
    let names_server = request.address(code::SERVER_ID).is_some();
    // Some clients name the server in a renewal too; then there is no option 50.
    match (names_server, wanted, ciaddr) {
        (true, Some(address), _) => Some((Intent::Selecting, address)),
        (_, _, Some(address)) => Some((Intent::Extending, address)),
        (false, Some(address), None) => Some((Intent::InitReboot, address)),
        (_, None, None) => None,
    }
}

/// The address a REQUEST is about.
pub(super) fn address(request: &Request<'_>) -> Option<Ipv4Addr> {
    intent(request).map(|(_, address)| address)
}

/// The state of a client that sends a REQUEST, `to_us_alone` or as a broadcast.
pub(super) fn state(request: &Request<'_>, to_us_alone: bool) -> Option<&'static str> {
    intent(request).map(|(intent, _)| match intent {
        Intent::Selecting => "selecting",
        Intent::InitReboot => "init-reboot",
        Intent::Extending if to_us_alone => "renewing",
        Intent::Extending => "rebinding",
    })
}

/// Whether the client may have the address.
fn verdict(
    context: &Context<'_>,
    table: &Table,
    asker: &Asker<'_>,
    intent: Intent,
    address: Ipv4Addr,
) -> Result<(), Outcome> {
    let refuse = |why| Err(Outcome::Refuse(Some(address), why));
    if !context.scope_rules.subnet.contains(address) {
        return refuse("wrong network");
    }
    // A phone that was given an address of its own meanwhile moves there as soon as it can.
    if let Some((scope, reserved)) = context.reserved().filter(|(_, reserved)| *reserved != address)
        && let there = context.asker_in(scope, asker.client)
        && matches!(table.standing(context.now, &there, reserved), Standing::Own | Standing::Free)
    {
        return refuse("another address is reserved for this client");
    }
    let lease = table.address_of(asker);
    // What the probes found in use may be in use by this very client.
    let says_so = intent == Intent::Extending;
    match table.standing_in_use(context.now, asker, address, says_so) {
        Standing::Own => return Ok(()),
        Standing::Free => {}
        Standing::Taken => return refuse("address in use by another client"),
        Standing::Withheld => return refuse("address was declined"),
        // Perhaps another server's to give: only who is known here is told.
        Standing::NotLeasable | Standing::Reserved
            if intent == Intent::InitReboot && lease.is_none() =>
        {
            return Err(Outcome::Silence(NoReply::UnknownClient));
        }
        Standing::NotLeasable => return refuse("address not available to this client"),
        // What it uses is nobody else's: better it goes on than that it is cut off.
        Standing::Reserved if intent == Intent::Extending => {
            return Err(Outcome::Silence(NoReply::ReservedShare));
        }
        Standing::Reserved => return refuse("reserved_share keeps address for known clients"),
    }
    let offer = table.offer_to(asker);
    match intent {
        Intent::Selecting => match offer {
            Some(offer) if offer != address => refuse("not the address that was offered"),
            // Also without an offer: a restart forgets offers, and the address is free.
            _ => Ok(()),
        },
        Intent::InitReboot if lease.is_some() => refuse("not this client's address"),
        // RFC 2131, 4.3.2: without a record of the client the server must remain silent.
        Intent::InitReboot => Err(Outcome::Silence(NoReply::UnknownClient)),
        Intent::Extending if lease.is_some() => refuse("not this client's address"),
        // Ibid.: it asks any server, and one may extend a lease it has no record of only where it has the authority.
        Intent::Extending if !context.scope_rules.authoritative && !context.is_to_us_alone() => {
            Err(Outcome::Silence(NoReply::UnknownClient))
        }
        // It uses the address, nobody else does, and it is ours to give: after a lost store that is every client. A NAK
        // would cut it off, silence would do so later.
        Intent::Extending => Ok(()),
    }
}

/// Whether it is to be found out first whether somebody uses the address: it was neither offered, which comes after a
/// probe, nor lately this client's.
fn is_to_be_probed(
    context: &Context<'_>,
    table: &Table,
    probes: &Probes,
    asker: &Asker<'_>,
    intent: Intent,
    address: Ipv4Addr,
) -> bool {
    // By ARP a client that uses the address answers for itself and is told by that; an echo says only that somebody
    // does.
    let tells = intent != Intent::Extending || probes.is_by_arp(context.scope);
    tells
        && table.offer_to(asker) != Some(address)
        && !table.was_lately_of(context.now, asker, address)
}
