//! The thread that owns the DHCP core.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::Duration;

use arc_swap::ArcSwap;
use offhook_dhcp::{Ahead, Arrival, ClockSet, Core, Decision, MessageType, SPARE, Ticket, Trace};
use offhook_model::{LeaseWrite, Site, Time};
use offhook_net::{FrameSocket, Poller, Ready, Recovery, RecvBatch, recovery};
use offhook_store::Writer;
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::backlog::{Backlog, Message};
use super::finish::{Fate, Job, Outbox, Pending, Then, finish, send};
use super::journal::Journal;
use super::ports::Ports;
use super::prober::{Held, Prober, Waiting};
use super::questions::Question;
use super::upkeep::Upkeep;
use super::vigil::Vigil;
use super::{Leases, WakeUp};
use crate::clock::{self, Clock};
use crate::dns::Feed;

/// The longest wait: how late an expired offer may be swept.
const TICK: Duration = Duration::from_secs(1);

/// How often the prober's sockets are looked at, however busy the others are; or when something has waited for them.
const PROBING: Duration = Duration::from_millis(5);

/// Messages decided about before the sockets are looked at again: some 100 µs, in which a boot storm does not fill
/// even the smallest receive buffer.
pub(super) const STEP: usize = 8;

/// Messages that come with one system call when there are as many.
const BATCH: usize = 64;

/// Leases that are written again with one batch, after the clock was set: few enough not to be felt.
const REWRITES: usize = 512;

/// Times a socket is read from before some messages are decided about, should more come than anybody could take in.
const RECEIVES: usize = 1024;

/// What other threads tell the worker.
#[derive(Debug)]
pub(super) enum Mail {
    /// These changes are on disk, and their replies are sent; whether some were written just now.
    Committed(Vec<Ticket>, bool),
    /// These changes are not on disk, and were not answered; nor are outcomes of these addresses.
    Failed(Vec<Ticket>, Vec<Ipv4Addr>),
    /// Somebody wants to know something, or to change it.
    Question(Question),
    /// Serve another configuration of the site, if that takes no other sockets; else, what it would take.
    Reload(Arc<Site>, oneshot::Sender<Result<(), Vec<String>>>),
    /// Finish.
    Stop,
}

/// Where other threads put [`Mail`].
#[derive(Clone, Debug)]
pub(super) struct Mailbox {
    sender: Sender<Mail>,
    waker: WakeUp,
}

impl Mailbox {
    pub(super) fn new(waker: WakeUp) -> (Self, Receiver<Mail>) {
        let (sender, receiver) = channel();
        (Self { sender, waker }, receiver)
    }

    /// Puts `mail` in and wakes the worker. One that has gone needs no mail.
    pub(super) fn post(&self, mail: Mail) {
        if self.sender.send(mail).is_ok() {
            self.waker.wake();
        }
    }
}

/// How a message is decided about: [`Core::handle`] or [`Core::resume`].
type Decide = fn(&mut Core, Time, &Arrival, &[u8]) -> Decision;

struct Worker {
    core: Core,
    ports: Arc<Ports>,
    /// The same, for the thread that writes and answers.
    ports_to_answer: Arc<ArcSwap<Ports>>,
    journal: Arc<Journal>,
    writer: Writer<Job>,
    ahead: Ahead<Fate>,
    /// What leaves once the next few messages are decided about.
    outbox: Outbox,
    names: Feed,
    clock: Clock,
    ticked: Time,
    backlog: Backlog,
    prober: Arc<Prober>,
    probed: Time,
    waiting: Waiting,
    /// Whether the last batch could not be written: nothing is offered that could not be acknowledged.
    storage_failed: bool,
    upkeep: Upkeep,
    vigil: Vigil,
}

/// Serves until [`Mail::Stop`]; then everything handed to the store is durable.
pub(super) fn run(
    site: Arc<Site>,
    journal: Journal,
    ports: Ports,
    poller: Poller,
    leases: Leases,
    (mailbox, mail): (Mailbox, Receiver<Mail>),
) {
    let wall = clock::wall();
    if !offhook_dhcp::is_set(wall) {
        warn!(
            "the clock of this machine is not set: leases are timed from the newest one until it is"
        );
    }
    let clock = Clock::start(offhook_dhcp::beginning(wall, &leases.kept));
    let ports = Arc::new(ports);
    let journal = Arc::new(journal);
    let prober = Arc::new(Prober::open(&ports, &ports.links(), &site));
    let Leases { store, kept, names, zone } = leases;
    let mut core = Core::new(site, ports.links(), kept, clock.now());
    core.set_names(zone);
    let upkeep = Upkeep::new(&store);
    let ports_to_answer = Arc::new(ArcSwap::from(Arc::clone(&ports)));
    let writer = {
        let ports = Arc::clone(&ports_to_answer);
        let (journal, names) = (Arc::clone(&journal), names.clone());
        Writer::spawn(store, move |batch| finish(batch, &ports.load(), &journal, &mailbox, &names))
    };
    let mut worker = Worker {
        core,
        ports,
        ports_to_answer,
        journal,
        writer,
        ahead: Ahead::default(),
        outbox: Outbox::new(),
        names,
        clock,
        ticked: clock.now(),
        backlog: Backlog::new(),
        prober,
        probed: Time::default(),
        waiting: Waiting::default(),
        storage_failed: false,
        upkeep,
        vigil: Vigil::new(clock.now()),
    };
    let mut batch = RecvBatch::new();
    worker.probe();
    while worker.serve(&poller, &mail, &mut batch) == Ended::Changed {}
    worker.tell_outcomes(true);
    worker.writer.close();
}

/// Why the worker serves no longer with the sockets it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Changed,
    Stopped,
}

impl Worker {
    fn serve(&mut self, poller: &Poller, mail: &Receiver<Mail>, batch: &mut RecvBatch) -> Ended {
        let (ports, prober) = (Arc::clone(&self.ports), Arc::clone(&self.prober));
        let mut descriptors = ports.descriptors();
        descriptors.extend(prober.descriptors());
        loop {
            if self.backlog.is_empty() {
                let ready =
                    poller.wait(&descriptors, Some(self.patience())).unwrap_or_else(|error| {
                        error!(%error, "waiting for DHCP sockets failed");
                        std::thread::sleep(TICK);
                        Ready::default()
                    });
                self.receive(batch, |place| ready.is_readable(place));
            } else {
                self.receive(batch, |_| true);
            }
            let messages = self.backlog.len();
            // What a client sends after its ACK finds its lease settled: the mail was there first.
            let ended = self.read_mail(mail);
            self.step();
            send(&self.ports, &self.journal, &mut self.outbox);
            self.vigil.look(self.clock.now(), messages);
            self.probe();
            let is_renewed = self.tick() && self.renew();
            self.rewrite();
            match ended {
                None if is_renewed => return Ended::Changed,
                None => {}
                Some(ended) => return ended,
            }
        }
    }

    /// Decides about the next few messages.
    fn step(&mut self) {
        let next = self.backlog.iter().take(STEP);
        let next = next.filter_map(|message| Some((self.arrival_of(message)?, &*message.bytes)));
        self.core.bring_near(next);
        for _ in 0..STEP {
            let Some(message) = self.backlog.pop() else { break };
            self.message(message, Core::handle);
        }
    }

    /// Empties the sockets into the backlog, as far as there is room.
    fn receive(&mut self, batch: &mut RecvBatch, is_readable: impl Fn(usize) -> bool) {
        let ports = Arc::clone(&self.ports);
        for (place, socket) in ports.sockets().iter().enumerate() {
            for _ in 0..RECEIVES {
                if !is_readable(place) || self.backlog.is_full() {
                    break;
                }
                match socket.recv_batch(batch) {
                    Ok(count) => {
                        batch.iter().for_each(|datagram| self.backlog.push(&datagram));
                        if count < BATCH {
                            break;
                        }
                    }
                    Err(error) if recovery(&error) == Recovery::Ignore => {}
                    Err(error) => {
                        self.journal.receive_failed(&error);
                        break;
                    }
                }
            }
        }
        let place = ports.sockets().len();
        for (place, socket) in (place..).zip(ports.unaddressed()) {
            if is_readable(place) {
                self.receive_unaddressed(socket, batch);
            }
        }
        match self.backlog.shed() {
            0 => {}
            shed => self.journal.shed(shed),
        }
    }

    /// As [`Self::receive`], of a socket that hears what is for others as well.
    fn receive_unaddressed(&mut self, socket: &FrameSocket, batch: &mut RecvBatch) {
        for _ in 0..BATCH {
            if self.backlog.is_full() {
                return;
            }
            match socket.recv_datagram(batch) {
                Ok(Some(datagram)) => {
                    if self.ports.is_ours(datagram.destination, datagram.interface) {
                        self.backlog.push(&datagram);
                    }
                }
                Ok(None) => return,
                Err(error) if recovery(&error) == Recovery::Ignore => {}
                Err(error) => return self.journal.receive_failed(&error),
            }
        }
    }

    /// Handles everything in the mailbox.
    fn read_mail(&mut self, mail: &Receiver<Mail>) -> Option<Ended> {
        loop {
            match mail.try_recv() {
                Ok(Mail::Committed(tickets, wrote)) => {
                    if wrote && std::mem::take(&mut self.storage_failed) {
                        info!("leases can be written again: DHCP answers");
                    }
                    for ticket in tickets {
                        // Later: metrics and the timeline follow from these events.
                        let _events = self.core.committed(ticket);
                    }
                }
                Ok(Mail::Failed(tickets, untold)) => {
                    self.storage_failed = true;
                    self.ahead.untold(untold);
                    tickets.into_iter().for_each(|ticket| self.core.failed(ticket));
                }
                Ok(Mail::Question(question)) => {
                    if let Some((ticket, writes, asked)) =
                        question.answer(&mut self.core, self.clock.now())
                    {
                        self.submit(writes, ticket, Then::Tell(asked));
                    }
                }
                Ok(Mail::Reload(site, answer)) => {
                    let reloaded = self.reload(site);
                    let is_reloaded = reloaded.is_ok();
                    let _ = answer.send(reloaded);
                    if is_reloaded {
                        return Some(Ended::Changed);
                    }
                }
                Ok(Mail::Stop) | Err(TryRecvError::Disconnected) => return Some(Ended::Stopped),
                Err(TryRecvError::Empty) => return None,
            }
        }
    }

    /// Takes over another configuration, or changes nothing.
    fn reload(&mut self, site: Arc<Site>) -> Result<(), Vec<String>> {
        let links = self.ports.links_for(&site)?;
        self.prober = Arc::new(Prober::open(&self.ports, &links, &site));
        self.ports.mark(site.dhcp.dscp);
        self.journal.set_site(Arc::clone(&site));
        self.core.set_site(site, links, self.clock.now());
        // What waits for a probe was decided by the configuration before: its client asks again.
        self.waiting = Waiting::default();
        Ok(())
    }

    /// Takes new sockets on interfaces that were deleted and are there again, or have another hardware address; false
    /// when there is nothing new.
    fn renew(&mut self) -> bool {
        let lost = self.ports.lost().into_iter();
        let lost = lost.map(|name| (name, "an interface is there again: DHCP goes on there"));
        let other = self.ports.readdressed().into_iter();
        let other =
            other.map(|name| (name, "an interface has another hardware address: it is used"));
        let changed: Vec<_> =
            lost.chain(other).map(|(name, what)| (name.to_owned(), what)).collect();
        let mut is_renewed = false;
        for (interface, what) in changed {
            match self.ports.renewed(&interface) {
                Ok(Some(ports)) => {
                    ports.mark(self.core.site().dhcp.dscp);
                    self.ports = Arc::new(ports);
                    is_renewed = true;
                    info!(%interface, "{what}");
                }
                Ok(None) => {}
                Err(error) => self.upkeep.cannot_renew(&interface, error.to_string()),
            }
        }
        if is_renewed {
            self.ports_to_answer.store(Arc::clone(&self.ports));
            let site = self.core.site();
            self.prober = Arc::new(Prober::open(&self.ports, &self.ports.links_in(site), site));
        }
        is_renewed
    }

    /// Sweeps what has run out, once a second however busy the wire is; true when it was time for it.
    fn tick(&mut self) -> bool {
        let now = self.clock.now();
        if now.since(self.ticked) < TICK {
            return false;
        }
        self.ticked = now;
        self.core.tick(now);
        let set = self.core.follow(now, clock::wall());
        match set {
            Some(ClockSet::Forward(by)) => clock_set("forward", by),
            Some(ClockSet::Back(by)) => clock_set("back", by),
            None => {}
        }
        self.names.wall_is(now, self.core.wall(now));
        if self.storage_failed {
            // Forgetting an address nobody can have changes nothing, but shows whether the disk takes writes again.
            let probe = LeaseWrite::Remove(Ipv4Addr::UNSPECIFIED);
            let _ = self.writer.submit(vec![probe], Job::own(1));
        } else {
            // What was written ahead has the times of before.
            self.tell_outcomes(set.is_some());
        }
        self.upkeep.look(&self.ports);
        true
    }

    fn message(&mut self, message: Message, decide: Decide) {
        let Some(arrival) = self.arrival_of(&message) else { return };
        let link = arrival.link;
        let now = self.clock.now();
        let Decision { reply, writes, ticket, hold, trace } =
            decide(&mut self.core, now, &arrival, &message.bytes);
        if let (Err(reason), Some(until)) = (&reply, hold) {
            let (reason, source) = (*reason, message.source);
            if self.hold(until, Held::Message(message)) {
                return;
            }
            return self.journal.silent(&trace, reason, &self.ports, link, source);
        }
        let reply = match reply {
            Ok(reply) => Some(reply),
            // A RELEASE or DECLINE that was taken is told once it is durable.
            Err(_) if ticket.is_some() => None,
            Err(reason) => {
                self.journal.silent(&trace, reason, &self.ports, link, message.source);
                None
            }
        };
        match ticket {
            Some(ticket) => {
                let then = match reply {
                    Some(reply) => Then::Send { link, reply, trace },
                    None => Then::Note { link: Some(link), trace },
                };
                self.submit(writes, ticket, then);
            }
            None => {
                if let Some(reply) = reply
                    .filter(|reply| !(self.storage_failed && reply.message == MessageType::Offer))
                {
                    if let (MessageType::Offer, Some(offered)) = (reply.message, trace.address) {
                        self.write_ahead(now, &arrival, &message.bytes, offered);
                    }
                    match hold {
                        Some(until) if self.waiting.has_room() => {
                            self.hold(until, Held::Offer { link, reply, trace });
                        }
                        // If too many wait, its client finds out by itself whether somebody uses the address.
                        _ => self.outbox.push((link, reply, trace)),
                    }
                }
            }
        }
    }

    fn arrival_of(&self, message: &Message) -> Option<Arrival> {
        let &Message { source, destination, interface, .. } = message;
        Some(Arrival { link: self.ports.link_of(interface, destination)?, source, destination })
    }

    /// Lets something wait for what is asked of the network, if there is room.
    fn hold(&mut self, until: Time, held: Held) -> bool {
        // The question goes out now, not when the answer is due.
        self.probed = Time::default();
        self.waiting.hold(until, held)
    }

    /// Writes leases again whose times on disk are not right any more, some of them whenever the last are done.
    fn rewrite(&mut self) {
        if self.storage_failed {
            return;
        }
        let Some((ticket, writes)) = self.core.rewrite(REWRITES) else { return };
        self.submit(writes, ticket, Then::Nothing);
    }

    /// How long there is nothing to do but to listen.
    fn patience(&self) -> Duration {
        let now = self.clock.now();
        let tick = self.vigil.patience(now).min(TICK);
        self.waiting.next(now).map_or(tick, |next| next.min(tick))
    }

    /// Learns which addresses are in use, sends the offers that waited for that, and asks about more.
    fn probe(&mut self) {
        let now = self.clock.now();
        let is_due = self.waiting.next(now) == Some(Duration::ZERO);
        if now.since(self.probed) < PROBING && !is_due {
            return;
        }
        self.probed = now;
        for (address, by) in self.prober.answers() {
            let Some((ticket, writes)) = self.core.in_use(now, address, by) else { continue };
            self.waiting.drop(address);
            // Told as if it had been declined, by the one that has it.
            let site = self.core.site();
            let scope = site.scope_ids().find(|(_, scope)| scope.subnet.contains(address));
            let interface = scope.and_then(|(_, scope)| scope.interface.as_deref());
            let link = interface.and_then(|name| self.ports.on(name));
            let trace = Trace {
                message: Some(MessageType::Decline),
                hardware: by.map(Into::into),
                address: Some(address),
                scope: scope.map(|(id, _)| id),
                ..Trace::default()
            };
            self.submit(writes, ticket, Then::Note { link, trace });
        }
        for by in self.core.proxies() {
            self.journal.proxy(by);
        }
        for held in self.waiting.due(now) {
            match held {
                Held::Offer { .. } if self.storage_failed => {}
                Held::Offer { link, reply, trace } => self.outbox.push((link, reply, trace)),
                Held::Message(message) => self.message(message, Core::resume),
            }
        }
        send(&self.ports, &self.journal, &mut self.outbox);
        for probe in self.core.probes(now) {
            self.prober.ask(&probe);
        }
    }

    fn submit(&mut self, mut writes: Vec<LeaseWrite>, ticket: Ticket, then: Then) {
        // What was written ahead comes before this in the queue, and this is done when that is.
        let written = self.ahead.take(&writes).map(|fate| (fate, std::mem::take(&mut writes)));
        let change = Job::change(Pending { ticket, then, written }, writes.len());
        let Err(full) = self.writer.submit(writes, change) else { return };
        let why = full.to_string();
        if let Some(pending) = full.ticket.change {
            self.core.failed(pending.ticket);
            if let Then::Tell(asked) = pending.then {
                asked.failed(why);
            }
        }
        self.journal.overloaded();
    }

    /// Writes the lease of an offer while its client reads it, if the disk has nothing else to do.
    fn write_ahead(&mut self, now: Time, arrival: &Arrival, discover: &[u8], offered: Ipv4Addr) {
        let is_quiet = !self.storage_failed && self.backlog.is_empty() && self.writer.is_idle();
        if !is_quiet || !self.ahead.has_room() {
            return;
        }
        let Some(lease) = self.core.foresee(now, arrival, discover, offered, SPARE) else { return };
        let write = vec![LeaseWrite::Put(lease.clone())];
        let fate = Fate::default();
        if self.ahead.note(lease, fate.clone()) {
            // Should there be no room for it, its fate is never sealed.
            let _ = self.writer.submit(write, Job::ahead(fate));
        }
    }

    /// Writes what became of leases that were written ahead, as far as it is known; of `all` when nothing more will be.
    fn tell_outcomes(&mut self, all: bool) {
        let outcomes = self.ahead.outcomes(&self.core, all);
        if !outcomes.is_empty() {
            let addresses: Vec<_> = outcomes.iter().map(LeaseWrite::address).collect();
            if self.writer.submit(outcomes, Job::outcomes(addresses.len())).is_err() {
                self.ahead.untold(addresses);
            }
        }
    }
}

fn clock_set(whither: &str, by: Duration) {
    let seconds = by.as_secs();
    warn!(
        seconds,
        "the clock of this machine was set {whither}: leases go on for as long as they were to"
    );
}
