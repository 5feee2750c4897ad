//! DHCPDISCOVER: which address to offer (RFC 2131, 4.3.1).

use offhook_model::ClientId;

use super::{Context, Outcome};
use crate::NoReply;
use crate::table::{Standing, Table};
use crate::wire::code;

/// The address kept for the phone, else the one offered before, else the one it had, else the one it asks for,
/// else the one that nobody has had for the longest time.
pub(super) fn discover(context: &Context<'_>, table: &mut Table, client: &ClientId) -> Outcome {
    let asker = context.asker(client);
    let wishes = [
        context.reserved(),
        table.offer_of(&asker),
        table.address_of(&asker),
        context.request.address(code::REQUESTED_ADDRESS),
    ];
    let wish = wishes.into_iter().flatten().find(|address| {
        matches!(table.standing(context.now, &asker, *address), Standing::Own | Standing::Free)
    });
    match wish.or_else(|| table.next_free(context.now, &asker)) {
        Some(address) => {
            table.hold(context.now, &asker, address);
            Outcome::Offer(address)
        }
        None => Outcome::Silence(NoReply::PoolFull),
    }
}
