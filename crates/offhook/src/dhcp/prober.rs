//! Asks the network what [`offhook_dhcp::Core::probes`] wants to know, and holds what waits for it.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use offhook_dhcp::{Link, Probe, ProbeKind, Reply, Trace};
use offhook_model::{Mac, Time};
use offhook_net::{ArpSocket, EchoSocket};
use tracing::{debug, warn};

use super::backlog::Message;
use super::ports::Ports;

/// Answers taken in at a time, should somebody send more than anybody asked for.
const ANSWERS: usize = 256;

/// The sockets that ask. Where one cannot be had there is no asking: phones look for themselves.
#[derive(Debug, Default)]
pub(super) struct Prober {
    /// By link.
    arp: Vec<Option<ArpSocket>>,
    echo: Option<EchoSocket>,
}

impl Prober {
    /// Sockets for what the site wants probed.
    pub(super) fn open(ports: &Ports, links: &[Link], site: &offhook_model::Site) -> Self {
        let arp = links.iter().enumerate().map(|(link, port)| {
            let scope = site.scope(port.scope?).filter(|scope| scope.probe)?;
            // The first address of a scope is the one it is probed by.
            if links.iter().take(link).any(|other| other.scope == port.scope) {
                return None;
            }
            let opened = ports.open_arp(link)?;
            opened
                .inspect_err(|error| warn!(%error, scope = scope.name, "addresses are not probed"))
                .ok()
        });
        let is_relayed = |scope: &offhook_model::Scope| scope.probe && scope.interface.is_none();
        let echo = site.scopes.iter().any(is_relayed).then(EchoSocket::open);
        let echo = echo.and_then(|opened| {
            let told =
                opened.inspect_err(|error| warn!(%error, "addresses behind relays are not probed"));
            told.ok()
        });
        Self { arp: arp.collect(), echo }
    }

    /// What answers come in by.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let arp = self.arp.iter().flatten().map(AsFd::as_fd);
        arp.chain(self.echo.iter().map(AsFd::as_fd))
    }

    /// Asks. That there is no route, or no carrier, is an answer of a kind.
    pub(super) fn ask(&self, probe: &Probe) {
        let address = probe.address;
        let asked = match probe.kind {
            ProbeKind::Arp { link } => {
                self.arp.get(link).and_then(Option::as_ref).map(|arp| arp.probe(address))
            }
            ProbeKind::Icmp => self.echo.as_ref().map(|echo| echo.probe(address)),
        };
        if let Some(Err(error)) = asked {
            debug!(%address, %error, "a probe could not be sent");
        }
    }

    /// Who has told of an address since the last time, asked or not.
    pub(super) fn answers(&self) -> Vec<(Ipv4Addr, Option<Mac>)> {
        let mut answers = Vec::new();
        for arp in self.arp.iter().flatten() {
            while answers.len() < ANSWERS
                && let Ok(Some((address, mac))) = arp.recv()
            {
                answers.push((address, Some(mac)));
            }
        }
        while answers.len() < ANSWERS
            && let Some(Ok(Some(address))) = self.echo.as_ref().map(EchoSocket::recv)
        {
            answers.push((address, None));
        }
        answers
    }
}

/// What waits until it is known whether an address is free.
#[derive(Debug)]
pub(super) enum Held {
    /// An offer, to be sent unless somebody answers for the address.
    Offer { link: usize, reply: Reply, trace: Trace },
    /// A message, to be decided about again.
    Message(Message),
}

/// What waits, and until when; the core lets a few do so at a time.
#[derive(Debug, Default)]
pub(super) struct Waiting(Vec<(Time, Held)>);

impl Waiting {
    /// No more than this, come what may.
    const MOST: usize = 1024;

    /// Whether one more may wait.
    pub(super) fn has_room(&self) -> bool {
        self.0.len() < Self::MOST
    }

    /// Whether there was room for it.
    pub(super) fn hold(&mut self, until: Time, held: Held) -> bool {
        let has_room = self.has_room();
        if has_room {
            self.0.push((until, held));
        }
        has_room
    }

    /// The offers of an address do not leave.
    pub(super) fn drop(&mut self, address: Ipv4Addr) {
        self.0.retain(|(_, held)| match held {
            Held::Offer { trace, .. } => trace.address != Some(address),
            Held::Message(_) => true,
        });
    }

    /// What need not wait any more.
    pub(super) fn due(&mut self, now: Time) -> Vec<Held> {
        self.0.extract_if(.., |(until, _)| *until <= now).map(|(_, held)| held).collect()
    }

    /// How long it is until the next need not wait any more, if one waits.
    pub(super) fn next(&self, now: Time) -> Option<Duration> {
        self.0.iter().map(|(until, _)| until.since(now)).min()
    }
}
