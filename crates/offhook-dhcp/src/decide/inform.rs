//! DHCPINFORM: configuration for a client that has its address from elsewhere (RFC 2131, 4.3.5).

use super::{Context, Outcome};
use crate::NoReply;

/// Answered whatever the address is: a soft phone's was leased by somebody else.
pub(super) fn inform(context: &Context<'_>) -> Outcome {
    let header = &context.request.header;
    let nowhere = header.client_address().is_none()
        && !header.is_relayed()
        && context.arrival.source.ip().is_unspecified();
    if nowhere { Outcome::Silence(NoReply::NoReturnAddress) } else { Outcome::Configure }
}
