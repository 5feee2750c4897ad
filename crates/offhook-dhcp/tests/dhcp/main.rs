//! The server as clients see it: packets in, packets and lease writes out, on simulated time.

mod lease;
mod support;
