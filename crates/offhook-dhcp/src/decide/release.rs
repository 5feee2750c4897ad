//! DHCPRELEASE and DHCPDECLINE: only the holder is believed (RFC 2131, 4.3.3 and 4.3.4).

use offhook_model::ClientId;

use super::{Context, Outcome};
use crate::NoReply;
use crate::table::Table;
use crate::wire::code;

/// Gives `ciaddr` back.
pub(super) fn release(context: &Context<'_>, table: &mut Table, client: &ClientId) -> Outcome {
    if context.is_for_another() {
        return Outcome::Silence(NoReply::OtherServer);
    }
    let address = context.request.header.ciaddr;
    if address.is_unspecified() {
        return Outcome::Silence(NoReply::NoAddress);
    }
    match table.release(context.now, &context.asker(client), address) {
        Some(provisional) => Outcome::End(address, NoReply::Released, provisional),
        None => not_holder(context),
    }
}

/// Withholds the address of option 50: the client found it in use, be it one that it has only been offered.
pub(super) fn decline(context: &Context<'_>, table: &mut Table, client: &ClientId) -> Outcome {
    if context.is_for_another() {
        return Outcome::Silence(NoReply::OtherServer);
    }
    let Some(address) = context.request.address(code::REQUESTED_ADDRESS) else {
        return Outcome::Silence(NoReply::NoAddress);
    };
    match table.decline(context.now, &context.asker(client), address, &context.scope_rules.name) {
        Some(provisional) => Outcome::End(address, NoReply::Declined, provisional),
        None => not_holder(context),
    }
}

fn not_holder(context: &Context<'_>) -> Outcome {
    let served = context.is_served();
    Outcome::Silence(if served { NoReply::NotHolder } else { NoReply::NotServed })
}
