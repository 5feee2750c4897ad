//! The server as clients see it: packets in, packets and lease writes out, on simulated time.

// Clippy knows helpers of tests by the attribute.
#[cfg(test)]
mod ahead;
#[cfg(test)]
mod clock;
#[cfg(test)]
mod conditions;
#[cfg(test)]
mod hop;
#[cfg(test)]
mod lease;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod model;
#[cfg(test)]
mod names;
#[cfg(test)]
mod options;
#[cfg(test)]
mod past_relay;
#[cfg(test)]
mod phones;
#[cfg(test)]
mod pools;
#[cfg(test)]
mod probes;
#[cfg(test)]
mod replies;
#[cfg(test)]
mod reservations;
#[cfg(test)]
mod serve;
#[cfg(test)]
mod settling;
#[cfg(test)]
mod shared;
#[cfg(test)]
mod support;
#[cfg(test)]
mod times;
#[cfg(test)]
mod transitions;
#[cfg(test)]
mod unoffered;
#[cfg(test)]
mod view;
#[cfg(test)]
mod wire;
