//! DHCPDISCOVER: which address to offer (RFC 2131, 4.3.1).

use std::net::Ipv4Addr;

use offhook_model::{ClientId, ScopeId};

use super::{Context, Outcome, prepare};
use crate::table::{Standing, Table};
use crate::wire::code;
use crate::{NoReply, Trace};

pub(super) fn discover(context: &Context<'_>, table: &mut Table, client: &ClientId) -> Outcome {
    let asker = context.asker(client);
    let found = free(context, table, client).or_else(|| table.take_unclaimed(context.now, &asker));
    offer(context, table, client, found)
}

/// As [`discover`], where several scopes are on the client's link: the one it has an address of, else the first with an
/// address for it. Also the context of the scope that was chosen.
pub(super) fn on_link<'a>(
    first: Context<'a>,
    table: &mut Table,
    client: &ClientId,
    trace: &mut Trace,
) -> (Context<'a>, Outcome) {
    let Context { setup, now, arrival, request, .. } = first;
    let order = order(&first, table, client);
    let mut silence = NoReply::NotServed;
    for take_unclaimed in [false, true] {
        for scope in &order {
            let Ok(context) = prepare(setup, now, arrival, request, Some(*scope), trace) else {
                continue;
            };
            if !context.is_served() {
                continue;
            }
            table.settle(now, *scope);
            if !take_unclaimed {
                silence = nothing(&context, table, client, silence);
            }
            let found = if take_unclaimed {
                table.take_unclaimed(now, &context.asker(client))
            } else {
                free(&context, table, client)
            };
            if found.is_some() {
                let outcome = offer(&context, table, client, found);
                return (context, outcome);
            }
        }
    }
    (first, Outcome::Silence(silence))
}

/// The scopes of the client's link, the likeliest first.
fn order(context: &Context<'_>, table: &Table, client: &ClientId) -> Vec<ScopeId> {
    let wish = context.request.address(code::REQUESTED_ADDRESS);
    let mut order = context.network.to_vec();
    order.sort_by_cached_key(|scope| {
        let asker = context.asker_in(*scope, client);
        let own = table.address_of(&asker);
        let is_its = |address| {
            matches!(table.standing(context.now, &asker, address), Standing::Own | Standing::Free)
        };
        match own {
            _ if context.reserved().is_some_and(|(kept, _)| kept == *scope) => 0,
            _ if table.offer_of(&asker).is_some() => 1,
            Some(own) if table.is_live(context.now, own) => 2,
            Some(own) if is_its(own) => 3,
            _ if wish.and_then(|wish| context.on_link(wish)) == Some(*scope) => 4,
            _ => 5,
        }
    });
    order
}

/// The address kept for the phone, else the one offered before, else the one it had, else the one it asks for,
/// else the one that nobody has had for the longest time.
pub(super) fn free(
    context: &Context<'_>,
    table: &mut Table,
    client: &ClientId,
) -> Option<Ipv4Addr> {
    let asker = context.asker(client);
    let wishes = [
        context.reserved().filter(|(scope, _)| *scope == context.scope).map(|(_, kept)| kept),
        table.offer_of(&asker),
        table.address_of(&asker),
        context.request.address(code::REQUESTED_ADDRESS),
    ];
    let wish = wishes.into_iter().flatten().find(|address| {
        matches!(table.standing(context.now, &asker, *address), Standing::Own | Standing::Free)
    });
    wish.or_else(|| table.next_free(context.now, &asker))
}

/// Why there is no address for a client in this scope; in those before, it was for the reason `before`.
fn nothing(context: &Context<'_>, table: &Table, client: &ClientId, before: NoReply) -> NoReply {
    let is_reserved = before == NoReply::ReservedShare;
    if is_reserved || table.is_only_reserved(&context.asker(client)) {
        NoReply::ReservedShare
    } else {
        NoReply::PoolFull
    }
}

fn offer(
    context: &Context<'_>,
    table: &mut Table,
    client: &ClientId,
    found: Option<Ipv4Addr>,
) -> Outcome {
    let Some(address) = found else {
        return Outcome::Silence(nothing(context, table, client, NoReply::PoolFull));
    };
    for scope in context.network {
        table.withdraw(&context.asker_in(*scope, client));
    }
    table.hold(context.now, &context.asker(client), address);
    Outcome::Offer(address)
}
