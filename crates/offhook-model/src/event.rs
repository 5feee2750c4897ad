//! What happened, told to the rest of the program once it is true.

use crate::Lease;

/// A change of a lease that is durable: DNS names, metrics and the timeline follow from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A lease was acknowledged, for the first time or again.
    Acknowledged(Lease),
    /// A lease was given back.
    Released(Lease),
    /// An address was found to be in use by somebody else.
    Declined(Lease),
}
