//! A wall clock that is wrong, and one that is set while the server runs.

use std::time::Duration;

use offhook_dhcp::{ClockSet, Core, NoReply, beginning, is_set};
use offhook_model::{LeaseState, LeaseWrite, Site, Time};

use crate::support::*;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
const YEAR: u64 = 365 * DAY;
/// What a machine without a battery thinks it is.
const UNSET: Time = Time::from_secs(40);

/// Pools of two, leases of eight hours.
fn small() -> Site {
    let mut lab = site();
    lab.scopes[0].pools = vec!["10.250.1.20-10.250.1.21".parse().unwrap()];
    lab
}

/// A server, what the wall clock shows beside it, and its disk.
struct Clocked {
    server: Server,
    /// The wall clock and the server's time when the wall clock was last set.
    wall: (Time, Time),
}

impl Clocked {
    fn new(wall: Time) -> Self {
        let mut server = Server::new(small());
        server.now = beginning(wall, &[]);
        server.restart();
        let now = server.now;
        Self { server, wall: (wall, now) }
    }

    fn wall(&self) -> Time {
        self.wall.0 + self.server.now.since(self.wall.1)
    }

    fn set(&mut self, wall: Time) -> Option<ClockSet> {
        self.wall = (wall, self.server.now);
        let set = self.server.core.follow(self.server.now, wall);
        self.rewrite();
        set
    }

    fn rewrite(&mut self) {
        while let Some((ticket, writes)) = self.server.core.rewrite(1) {
            assert_eq!(self.server.core.rewrite(1), None, "one at a time");
            write(&mut self.server.disk, &writes);
            assert_eq!(self.server.core.committed(ticket), []);
        }
    }

    /// SIGKILL, and a start at which the wall clock shows this.
    fn restart(&mut self, wall: Time) {
        let now = beginning(wall, &self.server.disk);
        let leases = self.server.disk.clone();
        self.server.core = Core::new(self.server.site.clone(), links(), leases, now);
        self.server.now = now;
        self.wall = (wall, now);
        assert_eq!(self.server.core.follow(now, wall), None);
        self.rewrite();
    }

    fn wait(&mut self, seconds: u64) {
        self.server.wait(seconds);
        assert_eq!(self.server.core.follow(self.server.now, self.wall()), None);
    }

    fn lease(&mut self, n: u8) -> u8 {
        self.server.lease(ON_VOICE, &Message::discover(mac(n))).yiaddr().octets()[3]
    }

    fn is_full(&mut self) -> bool {
        self.server.send(ON_VOICE, &Message::discover(mac(99))) == Err(NoReply::PoolFull)
    }

    #[track_caller]
    fn assert_ends_in(&self, n: u8, seconds: u64) {
        let wall = self.server.core.wall(self.server.now);
        let is_its = |lease: &&offhook_model::Lease| lease.hardware == mac(n).into();
        let told: Vec<_> = self.server.core.leases().collect();
        for leases in [&told, &self.server.disk] {
            let lease = leases.iter().find(is_its).unwrap();
            assert_eq!(lease.expires.as_secs(), wall.as_secs() + seconds, "{lease:?} at {wall}");
        }
    }
}

const NOW: Time = Time::from_secs(1_800_000_000);

fn ago(time: Time, seconds: u64) -> Time {
    Time::from_secs(time.as_secs() - seconds)
}

fn later(time: Time, seconds: u64) -> Time {
    time + Duration::from_secs(seconds)
}

#[test]
fn leases_run_on_for_as_long_as_they_were_to_whatever_the_clock_is_set_to() {
    for wall in [later(NOW, 30 * YEAR), ago(NOW, YEAR), later(NOW, 9 * HOUR), ago(NOW, 9 * HOUR)] {
        let mut clocked = Clocked::new(NOW);
        assert_eq!((clocked.lease(1), clocked.lease(2)), (20, 21));
        clocked.wait(HOUR);
        let shown = clocked.wall();
        let by = wall.since(shown).max(shown.since(wall));
        let set = if wall > shown { ClockSet::Forward(by) } else { ClockSet::Back(by) };
        assert_eq!(clocked.set(wall), Some(set));
        assert_eq!(clocked.server.core.wall(clocked.server.now), wall);
        clocked.assert_ends_in(1, 7 * HOUR);
        assert!(clocked.is_full());
        clocked.wait(7 * HOUR - 1);
        assert!(clocked.is_full());
        // It is over when it was to be, neither at once nor never.
        clocked.wait(1);
        assert_eq!(clocked.lease(3), 20);
        clocked.assert_ends_in(3, 8 * HOUR);
    }
}

#[test]
fn a_reload_while_leases_are_written_again_leaves_none_out() {
    let mut clocked = Clocked::new(NOW);
    assert_eq!((clocked.lease(1), clocked.lease(2)), (20, 21));
    clocked.wait(HOUR);
    // The first one is the latest to be renewed.
    assert_eq!(clocked.lease(1), 20);
    let wall = later(NOW, YEAR);
    clocked.wall = (wall, clocked.server.now);
    let Server { core, now, disk, .. } = &mut clocked.server;
    assert!(matches!(core.follow(*now, wall), Some(ClockSet::Forward(_))));
    let (ticket, writes) = core.rewrite(1).unwrap();
    let mut wider = small();
    wider.scopes[0].pools = vec!["10.250.1.20-10.250.1.22".parse().unwrap()];
    core.set_site(wider.into(), links(), *now);
    write(disk, &writes);
    core.committed(ticket);
    clocked.rewrite();
    clocked.assert_ends_in(1, 8 * HOUR);
    clocked.assert_ends_in(2, 7 * HOUR);
}

#[test]
fn what_is_on_disk_after_the_clock_was_set_is_right_for_the_next_start() {
    for wall in [later(NOW, 30 * YEAR), ago(NOW, YEAR)] {
        let mut clocked = Clocked::new(NOW);
        clocked.lease(1);
        clocked.wait(HOUR);
        clocked.lease(2);
        clocked.set(wall);
        clocked.wait(HOUR);
        let wall = clocked.wall();
        clocked.restart(wall);
        clocked.assert_ends_in(1, 6 * HOUR);
        clocked.assert_ends_in(2, 7 * HOUR);
        assert!(clocked.is_full());
    }
}

#[test]
fn a_declined_address_stays_withheld_for_as_long_as_it_was_to_be() {
    let mut clocked = Clocked::new(NOW);
    clocked.lease(1);
    let decline = Message::decline(mac(1), ip("10.250.1.20"));
    assert_eq!(clocked.server.send(ON_VOICE, &decline), Err(NoReply::Declined));
    clocked.lease(2);
    clocked.set(later(NOW, YEAR));
    assert!(clocked.is_full());
    clocked.wait(DAY);
    assert_eq!((clocked.lease(3), clocked.lease(4)), (21, 20));
}

#[test]
fn what_the_clock_is_off_by_every_day_is_not_worth_a_word() {
    let mut clocked = Clocked::new(NOW);
    clocked.lease(1);
    let off = NOW + Duration::from_secs(3);
    assert_eq!(clocked.server.core.follow(clocked.server.now, off), None);
    assert_eq!(clocked.server.core.rewrite(10), None);
    let off = off + Duration::from_millis(1);
    assert_eq!(
        clocked.server.core.follow(clocked.server.now, off),
        Some(ClockSet::Forward(Duration::from_millis(3001)))
    );
    assert!(clocked.server.core.rewrite(10).is_some());
}

#[test]
fn a_machine_without_a_clock_gives_no_address_away_that_was_leased_before_it_went_down() {
    let mut clocked = Clocked::new(NOW);
    clocked.lease(1);
    clocked.wait(HOUR);
    clocked.lease(2);
    clocked.restart(UNSET);
    assert!(clocked.is_full());
    // Time goes on from where it was; nothing from 1970 comes on disk.
    clocked.wait(7 * HOUR);
    assert_eq!(clocked.lease(3), 20);
    clocked.assert_ends_in(3, 8 * HOUR);
    assert_eq!(clocked.server.core.wall(clocked.server.now), later(NOW, 8 * HOUR));
    clocked.restart(UNSET);
    assert!(clocked.is_full());
    // The network has told the time: it was away for three days.
    let right = later(NOW, 3 * DAY);
    assert_eq!(clocked.set(right), Some(ClockSet::Forward(Duration::from_secs(64 * HOUR))));
    clocked.assert_ends_in(2, HOUR);
    clocked.assert_ends_in(3, 8 * HOUR);
    clocked.restart(right);
    assert!(clocked.is_full());
}

#[test]
fn leases_of_a_machine_that_never_knew_the_time_are_kept_when_it_does() {
    let mut clocked = Clocked::new(UNSET);
    assert_eq!((clocked.lease(1), clocked.lease(2)), (20, 21));
    clocked.wait(HOUR);
    // The power goes, and the clock is right afterwards: nobody knows how old the leases are.
    clocked.restart(NOW);
    clocked.assert_ends_in(1, 8 * HOUR);
    assert!(clocked.is_full());
    clocked.wait(8 * HOUR);
    assert_eq!(clocked.lease(3), 20);
    // Or the network tells it while the server runs.
    let mut clocked = Clocked::new(UNSET);
    clocked.lease(1);
    clocked.wait(HOUR);
    assert!(clocked.set(NOW).is_some());
    clocked.assert_ends_in(1, 7 * HOUR);
}

#[test]
fn a_lease_from_before_the_clock_was_set_is_kept_beside_those_from_after() {
    let mut server = Server::new(small());
    for n in [1, 2] {
        server.lease(ON_VOICE, &Message::discover(mac(n)));
    }
    // A crash came before it was written again.
    (server.disk[0].since, server.disk[0].expires) = (UNSET, later(UNSET, 8 * HOUR));
    server.restart();
    assert_eq!(server.send(ON_VOICE, &Message::discover(mac(3))), Err(NoReply::PoolFull));
}

#[test]
fn a_clock_that_is_lost_while_the_server_runs_is_not_followed() {
    let mut clocked = Clocked::new(NOW);
    clocked.lease(1);
    assert_eq!(clocked.server.core.follow(clocked.server.now, UNSET), None);
    clocked.assert_ends_in(1, 8 * HOUR);
    assert!(is_set(NOW) && !is_set(UNSET));
}

#[test]
fn leases_from_the_future_may_have_been_granted_just_now() {
    // A clock that was years ahead when the server was killed, and is right when it starts again.
    let mut clocked = Clocked::new(later(NOW, 20 * YEAR));
    clocked.lease(1);
    clocked.wait(HOUR);
    clocked.restart(NOW);
    clocked.assert_ends_in(1, 8 * HOUR);
    assert_eq!(clocked.lease(2), 21);
    assert!(clocked.is_full());
    clocked.wait(8 * HOUR);
    assert_eq!(clocked.lease(3), 20);
}

#[test]
fn a_start_at_which_the_clock_is_years_ahead_ends_no_lease() {
    let mut clocked = Clocked::new(NOW);
    clocked.lease(1);
    clocked.wait(7 * HOUR);
    clocked.lease(2);
    clocked.restart(later(NOW, 20 * YEAR));
    clocked.assert_ends_in(1, HOUR);
    clocked.assert_ends_in(2, 8 * HOUR);
    assert!(clocked.is_full());
    let now = later(NOW, 7 * HOUR);
    let ahead = Duration::from_secs(20 * YEAR - 7 * HOUR);
    assert_eq!(clocked.set(now), Some(ClockSet::Back(ahead)));
    clocked.assert_ends_in(1, HOUR);
    clocked.wait(HOUR);
    assert_eq!(clocked.lease(3), 20);
    // A month is a holiday.
    clocked.restart(later(now, 31 * DAY));
    assert_eq!((clocked.lease(4), clocked.lease(5)), (21, 20));
}

#[test]
fn a_lease_that_changes_while_all_are_written_again_is_written_last() {
    let mut server = Server::new(small());
    server.lease(ON_VOICE, &Message::discover(mac(1)));
    server.lease(ON_VOICE, &Message::discover(mac(2)));
    let renewal = Message::request(mac(1)).using(ip("10.250.1.20")).bytes();
    let before = server.decide(ON_VOICE, &renewal);
    server.core.follow(server.now, later(NOW, YEAR));
    let put = |writes: &[LeaseWrite]| match writes {
        [LeaseWrite::Put(lease)] => (lease.address, lease.state, lease.since),
        other => panic!("{other:?}"),
    };
    let (ticket, writes) = server.core.rewrite(10).unwrap();
    assert_eq!(put(&writes), (ip("10.250.1.21"), LeaseState::Bound, later(NOW, YEAR)));
    server.core.failed(ticket);
    // Nothing was changed by that, and it is tried again.
    assert_eq!(server.core.unsettled_count(), 1);
    let (ticket, writes) = server.core.rewrite(10).unwrap();
    assert_eq!(put(&writes).0, ip("10.250.1.21"));
    server.core.committed(ticket);
    assert_eq!(server.core.rewrite(10), None);
    server.commit(&before);
    let (ticket, writes) = server.core.rewrite(10).unwrap();
    assert_eq!(put(&writes), (ip("10.250.1.20"), LeaseState::Bound, later(NOW, YEAR)));
    server.core.committed(ticket);
    assert_eq!(server.core.rewrite(10), None);
}

#[test]
fn what_a_crash_has_left_a_client_beside_its_lease_never_takes_its_place() {
    for others in [[21, 22], [22, 21]] {
        for written in 0..=3 {
            let mut server = Server::lab();
            let address = server.lease(ON_VOICE, &Message::discover(mac(1))).yiaddr();
            let own = server.disk[0].clone();
            // Both were offered and written before; the higher of them has the higher number as well.
            for (earlier, last) in (1..).zip(others) {
                let since = Time::from_millis(own.since.as_millis() - earlier);
                let address = std::net::Ipv4Addr::new(10, 250, 1, last);
                server.disk.push(offhook_model::Lease { address, since, ..own.clone() });
            }
            server.disk.sort_by_key(|lease| lease.address);
            // The clock is set back while the server is away, and that has not been written down when it goes again.
            let wall = Time::from_secs(server.now.as_secs() - 10 * HOUR);
            server.restart_at(wall);
            for _ in 0..written {
                if let Some((ticket, writes)) = server.core.rewrite(1) {
                    write(&mut server.disk, &writes);
                    server.core.committed(ticket);
                }
            }
            server.restart_at(wall);
            let wish = Message::discover(mac(2)).with(50, address.octets());
            assert_ne!(server.reply(ON_VOICE, &wish).yiaddr(), address, "{others:?} {written}");
            let reboot = Message::request(mac(1)).with(50, address.octets());
            assert_eq!(server.reply(ON_VOICE, &reboot).message_type(), 5, "{others:?} {written}");
        }
    }
}
