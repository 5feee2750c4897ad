//! What waits for the disk, and what is done about it then.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use offhook_dhcp::{Reply, Ticket, Trace};
use offhook_model::LeaseWrite;
use offhook_store::Batch;

use super::journal::Journal;
use super::ports::Ports;
use super::questions::Asked;
use super::worker::{Mail, Mailbox, STEP};
use crate::dns::Feed;

/// Replies to be sent: the link, and what is told of it.
pub(super) type Outbox = Vec<(usize, Reply, Trace)>;

/// What is handed to the lease writer.
#[derive(Default)]
pub(super) struct Job {
    /// A decision, if it is one.
    pub(super) change: Option<Pending>,
    /// A lease that may be asked for, if it is one.
    ahead: Option<Fate>,
    /// How many of the batch's writes are its own.
    writes: usize,
    /// They are outcomes of leases that were written ahead: to be told again should they be lost.
    is_outcomes: bool,
}

impl Job {
    /// A decision.
    pub(super) fn change(pending: Pending, writes: usize) -> Self {
        Self { change: Some(pending), writes, ..Self::default() }
    }

    /// A lease that may be asked for.
    pub(super) fn ahead(fate: Fate) -> Self {
        Self { ahead: Some(fate), writes: 1, ..Self::default() }
    }

    /// What became of so many leases that were written ahead.
    pub(super) fn outcomes(writes: usize) -> Self {
        Self { writes, is_outcomes: true, ..Self::default() }
    }

    /// Something that nobody waits for.
    pub(super) fn own(writes: usize) -> Self {
        Self { writes, ..Self::default() }
    }
}

/// Whether a lease that was written ahead ([`offhook_dhcp::Ahead`]) is on disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Fate(Arc<AtomicBool>);

impl Fate {
    fn is_sealed(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn seal(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A decision that waits.
pub(super) struct Pending {
    pub(super) ticket: Ticket,
    pub(super) then: Then,
    /// What became of its writes when they were made ahead, if they were; and they.
    pub(super) written: Option<(Fate, Vec<LeaseWrite>)>,
}

/// What is done about it once it is durable.
pub(super) enum Then {
    /// The client is answered.
    Send { link: usize, reply: Reply, trace: Trace },
    /// Nobody is: an address was given back, or is in use.
    Note { link: Option<usize>, trace: Trace },
    /// Who asked for it, not being a client, is told.
    Tell(Asked),
    /// Nothing: it is what was on disk already.
    Nothing,
}

/// On the writer's thread, once a batch is durable or has failed: tells the core, then answers. In this order,
/// or a client that is quick to speak again would be met before its lease is settled.
pub(super) fn finish(
    batch: Batch<Job>,
    ports: &Ports,
    journal: &Journal,
    mailbox: &Mailbox,
    names: &Feed,
) {
    let Outcome { done, lost, untold, wrote, again, true_now } =
        outcome(batch.tickets, batch.writes, batch.result.is_ok());
    let tickets = |pending: &[Pending]| pending.iter().map(|one| one.ticket).collect();
    match &batch.result {
        Ok(()) => {
            mailbox.post(Mail::Committed(tickets(&done), wrote));
            journal.committed();
        }
        Err(error) => journal.commit_failed(error, lost.len()),
    }
    if batch.result.is_err() || !lost.is_empty() {
        mailbox.post(Mail::Failed(tickets(&lost), untold));
    }
    let mut outbox = Vec::with_capacity(STEP);
    for done in done {
        match done.then {
            Then::Send { link, reply, trace } => outbox.push((link, reply, trace)),
            Then::Note { link, trace } => journal.taken(&trace, ports, link),
            Then::Tell(asked) => {
                journal.released(asked.lease());
                asked.done();
            }
            Then::Nothing => {}
        }
        if outbox.len() >= STEP {
            send(ports, journal, &mut outbox);
            // On a single processor nobody empties the sockets meanwhile.
            std::thread::yield_now();
        }
    }
    send(ports, journal, &mut outbox);
    // After the replies, so that no lease has a name before its client has the lease.
    names.tell(again, true_now);
    for lost in lost {
        if let Then::Tell(asked) = lost.then {
            asked.failed(batch.result.as_ref().err().map(ToString::to_string).unwrap_or_default());
        }
    }
}

/// What a batch means for the decisions in it.
#[derive(Default)]
struct Outcome {
    /// Durable.
    done: Vec<Pending>,
    /// Not durable.
    lost: Vec<Pending>,
    /// Addresses whose outcome is not.
    untold: Vec<Ipv4Addr>,
    /// Whether there was anything to write.
    wrote: bool,
    /// What was on disk already, and is as true as before.
    again: Vec<LeaseWrite>,
    /// The writes of the others that are durable, in the order in which they became true. What was written ahead is not true
    /// yet, and its outcome was before.
    true_now: Vec<LeaseWrite>,
}

fn outcome(jobs: Vec<Job>, writes: Vec<LeaseWrite>, is_durable: bool) -> Outcome {
    let mut outcome = Outcome::default();
    let mut writes = writes.into_iter();
    for Job { mut change, ahead, writes: count, is_outcomes } in jobs {
        outcome.wrote |= count > 0;
        let own = writes.by_ref().take(count);
        if let Some(fate) = ahead {
            own.for_each(drop);
            if is_durable {
                fate.seal();
            }
            continue;
        }
        let before = change.as_mut().and_then(|pending| pending.written.take());
        // What it relies on was in a batch before this one, or in this one and before it.
        if is_durable && before.as_ref().is_none_or(|(fate, _)| fate.is_sealed()) {
            // An outcome is no news: it was told when it was acknowledged, and others may have been since.
            let is_again = matches!(&change, Some(Pending { then: Then::Nothing, .. }));
            match (is_outcomes, is_again) {
                (true, _) => own.for_each(drop),
                (_, true) => outcome.again.extend(own),
                _ => outcome.true_now.extend(own),
            }
            outcome.true_now.extend(before.into_iter().flat_map(|(_, writes)| writes));
            outcome.done.extend(change);
        } else {
            let addresses = own.map(|write| write.address());
            match is_outcomes {
                true => outcome.untold.extend(addresses),
                false => addresses.for_each(drop),
            }
            outcome.lost.extend(change);
        }
    }
    outcome
}

/// Sends replies, and tells how that went.
pub(super) fn send(ports: &Ports, journal: &Journal, outbox: &mut Outbox) {
    let replies: Vec<_> = outbox.iter().map(|(link, reply, _)| (*link, reply)).collect();
    ports.send(&replies, |place, result| {
        let Some((link, reply, trace)) = outbox.get(place) else { return };
        match result {
            Ok(()) => journal.answered(trace, reply, ports, *link),
            Err(error) => journal.send_failed(&error, reply, ports.interface(*link)),
        }
    });
    outbox.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(n: u8) -> LeaseWrite {
        LeaseWrite::Remove(Ipv4Addr::new(10, 0, 0, n))
    }

    /// A decision of a core that grants leases: there is no other way to a ticket.
    fn tickets(count: u8) -> Vec<Ticket> {
        let site = offhook_config::load(std::path::Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../config/lab.toml"
        )));
        let mut site = site.site.unwrap();
        site.scopes.iter_mut().for_each(|scope| scope.probe = false);
        let site = Arc::new(site);
        let links = vec![offhook_dhcp::Link {
            scope: site.scope_ids().next().map(|(id, _)| id),
            address: Ipv4Addr::new(10, 250, 1, 5),
            mtu: 1500,
        }];
        let now = offhook_model::Time::from_secs(1_700_000_000);
        let mut core = offhook_dhcp::Core::new(site, links, Vec::new(), now);
        let address = |n| Ipv4Addr::new(10, 250, 1, 20 + n);
        let grant = |n| {
            let mut bytes = vec![1, 1, 6, 0, 0, 0, 0, n];
            bytes.resize(28, 0);
            bytes.extend([2, 0, 0, 0, 0, n]);
            bytes.resize(236, 0);
            bytes.extend([99, 130, 83, 99, 53, 1, 3, 54, 4, 10, 250, 1, 5, 50, 4]);
            bytes.extend(address(n).octets());
            bytes.push(255);
            let arrival = offhook_dhcp::Arrival {
                link: 0,
                source: "0.0.0.0:68".parse().unwrap(),
                destination: Ipv4Addr::BROADCAST,
            };
            core.resume(now, &arrival, &bytes).ticket.expect("a ticket")
        };
        (0..count).map(grant).collect()
    }

    fn pending(ticket: Ticket, written: Option<(Fate, Vec<LeaseWrite>)>) -> Pending {
        Pending { ticket, then: Then::Note { link: Some(0), trace: Trace::default() }, written }
    }

    fn told(pending: &[Pending]) -> Vec<Ticket> {
        pending.iter().map(|one| one.ticket).collect()
    }

    #[test]
    fn an_ack_that_relies_on_what_was_written_ahead_leaves_only_if_that_is_on_disk() {
        let tickets = tickets(3);
        let (first, second) = (Fate::default(), Fate::default());
        let covered = |n: usize, fate: &Fate| {
            let written = Some((fate.clone(), vec![write(10 + n as u8)]));
            Job::change(pending(tickets[n], written), 0)
        };
        // In a batch that failed, and the next one has nothing to write.
        let failed = outcome(vec![Job::ahead(first.clone())], vec![write(1)], false);
        assert!(failed.wrote && failed.true_now.is_empty());
        let next = outcome(vec![covered(0, &first)], Vec::new(), true);
        assert_eq!((told(&next.done), told(&next.lost)), (vec![], vec![tickets[0]]));
        assert!(!next.wrote && next.true_now.is_empty());
        // In one batch, and a batch later.
        let jobs = vec![Job::ahead(second.clone()), covered(1, &second)];
        let same = outcome(jobs, vec![write(2)], true);
        assert_eq!((told(&same.done), told(&same.lost)), (vec![tickets[1]], vec![]));
        assert_eq!(same.true_now, [write(11)]);
        let later = outcome(vec![covered(2, &second)], Vec::new(), true);
        assert_eq!((told(&later.done), later.true_now), (vec![tickets[2]], vec![write(12)]));
    }

    #[test]
    fn what_was_only_offered_is_told_to_nobody() {
        let tickets = tickets(1);
        let jobs = vec![
            Job::own(2),
            Job::ahead(Fate::default()),
            Job::change(pending(tickets[0], None), 2),
        ];
        let writes: Vec<_> = (0..5).map(write).collect();
        let outcome = outcome(jobs, writes, true);
        assert_eq!(outcome.true_now, [0, 1, 3, 4].map(write));
        assert_eq!(told(&outcome.done), tickets);
    }

    #[test]
    fn an_outcome_is_told_once_however_often_it_is_written() {
        let fate = Fate::default();
        let tickets = tickets(1);
        let taken = Job::change(pending(tickets[0], Some((fate.clone(), vec![write(1)]))), 0);
        let acked = outcome(vec![Job::ahead(fate), taken], vec![write(9)], true);
        assert_eq!(acked.true_now, [write(1)]);
        let jobs = vec![Job::outcomes(2), Job::own(1)];
        let later = outcome(jobs, [1, 9, 5].map(write).into(), true);
        assert_eq!(later.true_now, [write(5)]);
        assert!(later.wrote && later.untold.is_empty());
    }

    #[test]
    fn a_lease_that_is_written_again_is_told_as_that() {
        let tickets = tickets(2);
        let again = Pending { then: Then::Nothing, ..pending(tickets[0], None) };
        let jobs = vec![Job::change(again, 2), Job::change(pending(tickets[1], None), 1)];
        let outcome = outcome(jobs, [1, 2, 3].map(write).into(), true);
        assert_eq!(outcome.again, [1, 2].map(write));
        assert_eq!(outcome.true_now, [write(3)]);
        assert_eq!(told(&outcome.done), tickets);
    }

    #[test]
    fn a_batch_that_failed_loses_everything_in_it() {
        let tickets = tickets(2);
        let fate = Fate::default();
        fate.seal();
        let jobs = vec![
            Job::change(pending(tickets[0], None), 1),
            Job::own(1),
            Job::outcomes(2),
            Job::change(pending(tickets[1], Some((fate, vec![write(1)]))), 0),
        ];
        let outcome = outcome(jobs, (0..4).map(write).collect(), false);
        assert_eq!((told(&outcome.lost), outcome.done.len()), (tickets, 0));
        assert!(outcome.true_now.is_empty());
        assert_eq!(outcome.untold, [2, 3].map(|n| write(n).address()));
    }
}
