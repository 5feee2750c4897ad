//! Linux sockets: UDP with packet information, raw frames, probes, interfaces; and what else only the kernel can do.
//!
//! Everything blocking or polled, nothing asynchronous: the DHCP loop is a thread with a [`Poller`], the DNS loop
//! one that waits in [`Exchanges::receive`]. This is
//! the only crate of the workspace that may hold `unsafe`, and only for recvmmsg, sendmmsg,
//! socket options that no library has, a thread's priority and a descriptor that systemd has passed.

mod datagram;
mod error;
mod exchange;
mod frame;
mod interface;
mod latency;
mod mmsg;
mod multiplex;
mod options;
mod packet;
mod peer;
mod poll;
mod probe;
mod thread;

pub use datagram::{Datagram, DhcpSocket, Outgoing, RecvBatch};
pub use error::{BindError, Recovery, recovery};
pub use exchange::{Exchanges, send_now};
pub use frame::{Frame, FrameError, UdpFrame};
pub use interface::{Interface, interfaces};
pub use latency::CpuLatency;
pub use multiplex::{Event, Events, Interest, Multiplexer};
pub use options::{enlarge_send_buffer, never_fragment};
pub use packet::FrameSocket;
pub use peer::{PeerSocket, set_dscp};
pub use poll::{Poller, Ready, Waker};
pub use probe::{ArpSocket, EchoSocket};
pub use thread::give_way;
