//! What went wrong with a socket, and what to do about it.

use std::error::Error;
use std::net::SocketAddr;
use std::{fmt, io};

use nix::errno::Errno;

/// A listener could not be made. For any of the servers: DHCP, DNS, TFTP.
#[derive(Debug)]
pub struct BindError {
    /// The service: `DHCP`, `DNS`, `TFTP`.
    pub what: &'static str,
    /// Where it was to listen.
    pub address: SocketAddr,
    /// The interface it was to be bound to, when it was to be bound to one.
    pub interface: Option<String>,
    /// Why it could not.
    pub source: io::Error,
}

impl BindError {
    /// What the administrator can do about it, in one sentence; none where the error says it all.
    pub fn hint(&self) -> Option<String> {
        let port = self.address.port();
        Some(match errno(&self.source)? {
            Errno::EADDRINUSE => {
                let who = match self.what {
                    "DHCP" => "another DHCP server, such as dnsmasq or dhcpd",
                    "DNS" => "another resolver, such as systemd-resolved or dnsmasq",
                    "TFTP" => "another TFTP server, such as tftpd-hpa",
                    _ => "another program",
                };
                format!("is {who} running? `ss -lnp 'sport = {port}'` shows which")
            }
            Errno::EACCES | Errno::EPERM => {
                "run as root, or grant CAP_NET_BIND_SERVICE and CAP_NET_RAW".to_owned()
            }
            Errno::ENODEV | Errno::ENXIO => match &self.interface {
                Some(name) => {
                    format!("there is no interface `{name}`; `ip link` lists those there are")
                }
                None => "the interface does not exist; `ip link` lists those there are".to_owned(),
            },
            Errno::EADDRNOTAVAIL => format!(
                "{} is not on any interface of this host; `ip address` lists those that are",
                self.address.ip()
            ),
            _ => return None,
        })
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot bind {} on {}", self.what, self.address)?;
        if let Some(interface) = &self.interface {
            write!(f, " (interface {interface})")?;
        }
        // The number that `io::Error` adds to the text tells an administrator nothing.
        match errno(&self.source) {
            Some(errno) => write!(f, ": {}", errno.desc()),
            None => write!(f, ": {}", self.source),
        }
    }
}

impl Error for BindError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// What a receive or send loop does after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// The socket is as good as before: drop the packet at hand and go on.
    Ignore,
    /// The socket is of no use any more: close it and make it again, after a pause.
    Reopen,
}

/// What to do after `error` on a UDP or packet socket.
///
/// Ignored, because the next packet may do better on the same socket:
/// - interrupted, would block: nothing happened;
/// - `ECONNREFUSED`, `EHOSTUNREACH`, `ENETUNREACH`, `EHOSTDOWN`, `ENOPROTOOPT`, `EPROTO`: an ICMP error that
///   somebody answered an earlier packet with, or a destination without a route;
/// - `ENETDOWN`: the link is down; the socket receives again once it is up;
/// - `ENOBUFS`, `ENOMEM`: a full queue or a short moment without memory;
/// - `EMSGSIZE`: this packet is too large for the link;
/// - `EPERM`, `EACCES`: a firewall dropped this packet;
/// - `EINVAL`, `EADDRNOTAVAIL`: this packet's source address is not on this host (any more).
///
/// Everything else, `ENODEV` and `ENXIO` (the interface is gone) among it, means a new socket.
pub fn recovery(error: &io::Error) -> Recovery {
    match errno(error) {
        Some(
            Errno::EINTR
            | Errno::EAGAIN
            | Errno::ECONNREFUSED
            | Errno::EHOSTUNREACH
            | Errno::ENETUNREACH
            | Errno::EHOSTDOWN
            | Errno::ENOPROTOOPT
            | Errno::EPROTO
            | Errno::ENETDOWN
            | Errno::ENOBUFS
            | Errno::ENOMEM
            | Errno::EMSGSIZE
            | Errno::EPERM
            | Errno::EACCES
            | Errno::EINVAL
            | Errno::EADDRNOTAVAIL,
        ) => Recovery::Ignore,
        Some(_) => Recovery::Reopen,
        // Not from the kernel: a frame that could not be built, or no room in time.
        None => Recovery::Ignore,
    }
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind_error(errno: Errno) -> BindError {
        BindError {
            what: "DHCP",
            address: "0.0.0.0:67".parse().unwrap(),
            interface: Some("voice0".to_owned()),
            source: errno.into(),
        }
    }

    #[test]
    fn a_bind_error_says_what_where_and_why() {
        let error = bind_error(Errno::EADDRINUSE);
        assert_eq!(
            error.to_string(),
            "cannot bind DHCP on 0.0.0.0:67 (interface voice0): Address already in use"
        );
        assert!(error.hint().unwrap().contains("dnsmasq"));
    }

    #[test]
    fn every_usual_cause_has_a_hint() {
        for (errno, expected) in [
            (Errno::EADDRINUSE, "sport = 67"),
            (Errno::EACCES, "CAP_NET_BIND_SERVICE"),
            (Errno::EPERM, "CAP_NET_RAW"),
            (Errno::ENODEV, "no interface `voice0`"),
            (Errno::EADDRNOTAVAIL, "0.0.0.0 is not on any interface"),
        ] {
            let hint = bind_error(errno).hint().unwrap();
            assert!(hint.contains(expected), "{errno}: {hint}");
        }
        assert_eq!(bind_error(Errno::ENOMEM).hint(), None);
    }

    #[test]
    fn a_refused_port_is_ignored_and_a_vanished_interface_reopens() {
        for errno in [Errno::ECONNREFUSED, Errno::ENETDOWN, Errno::EINTR, Errno::EAGAIN] {
            assert_eq!(recovery(&errno.into()), Recovery::Ignore, "{errno}");
        }
        for errno in [Errno::ENODEV, Errno::ENXIO, Errno::EBADF] {
            assert_eq!(recovery(&errno.into()), Recovery::Reopen, "{errno}");
        }
    }
}
