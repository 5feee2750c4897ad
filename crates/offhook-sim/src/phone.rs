//! A simulated phone: the boot sequence of the guide's check-list, without I/O and without a clock.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};

use hickory_proto::rr::RecordType;
use offhook_model::{Mac, Time};

use crate::client::{self, Client};
use crate::resolver::{Question, Resolver, reverse_name};
use crate::rng::Rng;
use crate::tftp::{self, Transfer};
use crate::value::{classful, host_of, is_vlan, prefix_of, text};
use crate::{
    Acknowledged, Action, Answer, Failure, Family, Fetched, Input, Kind, Link, Lookup,
    LookupFailure, Mode, Options, Record, RecordData, Renewal, Reply, Stage, Timing,
};

/// What is still to be done, in order.
#[derive(Clone, Debug)]
enum Goal {
    Lease(Link, Stage),
    Inform(Stage),
    /// Move to the voice VLAN because option 132 says so.
    Hop,
    Names,
    Ask(Question),
    Reverse,
    Firmware,
    /// Fetch from the server just looked up.
    FirmwareAtAnswer,
    Renew,
}

#[derive(Clone, Debug)]
enum Task {
    None,
    Lease(Client, Link, Stage),
    Inform(Client, Stage),
    Renew(Client),
    Lookup(Resolver),
    Fetch(Transfer),
}

/// A simulated phone. See the crate documentation for how it is driven.
#[derive(Clone, Debug)]
pub struct Phone {
    family: &'static Family,
    mac: Mac,
    mode: Mode,
    timing: Timing,
    rng: Rng,
    goals: VecDeque<Goal>,
    task: Task,
    actions: VecDeque<Action>,
    /// The link the phone has an address on.
    link: Option<Link>,
    started: Option<Time>,
    finished: bool,
    record: Record,
}

impl Phone {
    /// A phone that is about to be switched on. `seed` decides transaction ids, ports and jitter.
    pub fn new(family: &'static Family, mac: Mac, mode: Mode, seed: u64) -> Self {
        let recovery = family.recovery.filter(|_| mode == Mode::Recovery);
        let mut goals = VecDeque::new();
        match (mode, recovery) {
            (Mode::Inform { .. }, _) => {
                goals.extend(family.stages.iter().take(1).map(|stage| Goal::Inform(*stage)));
                goals.push_back(Goal::Names);
            }
            (_, Some(stage)) => goals.extend([
                Goal::Lease(Link::Native, stage),
                Goal::Hop,
                Goal::Lease(Link::Voice, stage),
                Goal::Firmware,
            ]),
            (Mode::Normal(_) | Mode::Recovery, None) => {
                let link = if let Mode::Normal(link) = mode { link } else { Link::Native };
                goals.extend(family.stages.iter().map(|stage| Goal::Lease(link, *stage)));
                goals.extend([Goal::Names, Goal::Renew]);
            }
        }
        Self {
            family,
            mac,
            mode,
            timing: Timing::default(),
            rng: Rng::new(seed),
            goals,
            task: Task::None,
            actions: VecDeque::new(),
            link: None,
            started: None,
            finished: false,
            record: Record::default(),
        }
    }

    /// With other waiting times.
    #[must_use]
    pub fn with_timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// Its family.
    pub fn family(&self) -> &'static Family {
        self.family
    }

    /// Its hardware address.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// How it came up.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What it was given so far.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The next thing to do. Call it again until it says [`Action::Wait`] or [`Action::Done`].
    pub fn poll(&mut self, now: Time) -> Action {
        let started = *self.started.get_or_insert(now);
        loop {
            if let Some(action) = self.actions.pop_front() {
                return action;
            }
            if self.finished {
                return Action::Done;
            }
            match self.deadline() {
                Some(deadline) if now < deadline => return Action::Wait(deadline),
                Some(_) => self.on_timeout(now),
                None => self.advance(now),
            }
            self.record.elapsed = now.since(started);
        }
    }

    /// Takes what arrived. What is not for this phone, or cannot be read, changes nothing.
    pub fn handle(&mut self, now: Time, input: Input<'_>) {
        match input {
            Input::Dhcp { link, payload } => {
                if let Ok(reply) = Reply::parse(payload) {
                    self.on_reply(link, reply, now);
                }
            }
            Input::Udp { port, from, payload } => self.on_datagram(port, from, payload, now),
        }
        if let Some(started) = self.started {
            self.record.elapsed = now.since(started);
        }
    }

    fn deadline(&self) -> Option<Time> {
        match &self.task {
            Task::None => None,
            Task::Lease(client, ..) | Task::Inform(client, _) | Task::Renew(client) => {
                Some(client.deadline())
            }
            Task::Lookup(resolver) => Some(resolver.deadline),
            Task::Fetch(transfer) => Some(transfer.deadline),
        }
    }

    fn on_timeout(&mut self, now: Time) {
        match &mut self.task {
            Task::None => {}
            Task::Lease(client, ..) | Task::Inform(client, _) | Task::Renew(client) => {
                let progress = client.on_timeout(now, &mut self.rng);
                self.on_dhcp(progress, now);
            }
            Task::Lookup(resolver) => match resolver.on_timeout(now) {
                Some(query) => {
                    self.record.retransmissions += 1;
                    let (port, destination) = (resolver.port, resolver.server);
                    self.actions.push_back(Action::SendUdp { port, destination, payload: query });
                }
                None => self.finish_lookup(Err(LookupFailure::Silence)),
            },
            Task::Fetch(transfer) => {
                let progress = transfer.on_timeout(now);
                self.record.retransmissions += u32::from(progress.send.is_some());
                self.on_transfer(progress);
            }
        }
    }

    fn on_reply(&mut self, link: Link, reply: Reply, now: Time) {
        let native = matches!(self.mode, Mode::Inform { .. }).then_some(Link::Native);
        let (client, expected) = match &mut self.task {
            Task::Lease(client, link, _) => (client, Some(*link)),
            Task::Inform(client, _) => (client, native),
            Task::Renew(client) => (client, self.link),
            _ => return,
        };
        if expected == Some(link) {
            let progress = client.on_reply(reply, now, &mut self.rng);
            self.on_dhcp(progress, now);
        }
    }

    fn on_datagram(&mut self, port: u16, from: SocketAddrV4, payload: &[u8], now: Time) {
        match &mut self.task {
            Task::Lookup(resolver) if resolver.port == port => {
                if let Some(result) = resolver.on_datagram(from, payload) {
                    self.finish_lookup(result);
                }
            }
            Task::Fetch(transfer) if transfer.port == port => {
                let progress = transfer.on_datagram(from, payload, now);
                self.on_transfer(progress);
            }
            _ => {}
        }
    }

    fn on_dhcp(&mut self, progress: client::Progress, now: Time) {
        match progress {
            client::Progress::Wait => {}
            client::Progress::Send(packet) => self.send_dhcp(packet),
            client::Progress::Resend(packet) => {
                self.record.retransmissions += 1;
                self.send_dhcp(packet);
            }
            client::Progress::Answered(reply) => self.on_answered(reply, now),
            client::Progress::Failed(failure) => match &self.task {
                Task::Renew(_) => {
                    self.record.renewal = Some(Renewal::Silence);
                    self.task = Task::None;
                }
                Task::Lease(_, link, _) => self.fail(Failure::Dhcp(*link, failure)),
                _ => self.fail(Failure::Dhcp(Link::Native, failure)),
            },
        }
    }

    fn on_answered(&mut self, reply: Reply, now: Time) {
        match std::mem::replace(&mut self.task, Task::None) {
            Task::Lease(client, link, stage) => {
                let address = reply.yiaddr;
                self.set_address(
                    link,
                    address,
                    prefix_of(&reply.options).unwrap_or_else(|| classful(address)),
                    reply.options.addresses(3).and_then(|routers| routers.first().copied()),
                );
                let took = now.since(client.started());
                self.record.leases.push(Acknowledged {
                    link,
                    stage,
                    address,
                    inform: false,
                    reply,
                    took,
                });
            }
            Task::Inform(client, stage) => {
                let Mode::Inform { address, .. } = self.mode else { return };
                let took = now.since(client.started());
                self.record.leases.push(Acknowledged {
                    link: Link::Native,
                    stage,
                    address,
                    inform: true,
                    reply,
                    took,
                });
            }
            Task::Renew(_) => {
                self.record.renewal = Some(Renewal::Answered(reply.kind, reply.yiaddr));
            }
            other => self.task = other,
        }
    }

    fn on_transfer(&mut self, progress: tftp::Progress) {
        let Task::Fetch(transfer) = &self.task else { return };
        if let Some((destination, payload)) = progress.send {
            let port = transfer.port;
            self.actions.push_back(Action::SendUdp { port, destination, payload });
        }
        if let Some(result) = progress.done {
            let (server, file) = (transfer.server, transfer.file.clone());
            self.record.firmware = Some(Fetched { server, file, result });
            self.task = Task::None;
        }
    }

    fn finish_lookup(&mut self, result: Result<Answer, LookupFailure>) {
        if let Task::Lookup(resolver) = std::mem::replace(&mut self.task, Task::None) {
            let server = *resolver.server.ip();
            self.record_lookup(resolver.question, server, result);
        }
    }

    fn record_lookup(
        &mut self,
        question: Question,
        server: Ipv4Addr,
        result: Result<Answer, LookupFailure>,
    ) {
        self.record.lookups.push(Lookup {
            purpose: question.purpose,
            server,
            name: question.name,
            kind: question.kind.into(),
            result,
        });
    }

    fn fail(&mut self, failure: Failure) {
        self.record.failure = Some(failure);
        self.task = Task::None;
        self.goals.clear();
    }

    fn send_dhcp(&mut self, packet: client::Packet) {
        let link = match &self.task {
            Task::Lease(_, link, _) => *link,
            _ => self.link.unwrap_or(Link::Native),
        };
        let client::Packet { source, destination, payload } = packet;
        self.actions.push_back(Action::SendDhcp { link, source, destination, payload });
    }

    fn set_address(&mut self, link: Link, address: Ipv4Addr, prefix: u8, router: Option<Ipv4Addr>) {
        self.link = Some(link);
        self.actions.push_back(Action::SetAddress { link, address, prefix, router });
    }

    fn clear_address(&mut self) {
        if let Some(link) = self.link.take() {
            self.actions.push_back(Action::ClearAddress { link });
        }
    }

    /// Options of the lease in use.
    fn options(&self) -> Option<&Options> {
        self.record.leases.last().map(Acknowledged::options)
    }

    /// Begins the next goal; the last one done, switches off.
    fn advance(&mut self, now: Time) {
        let Some(goal) = self.goals.pop_front() else {
            self.clear_address();
            self.finished = true;
            return;
        };
        let (family, mac, timing) = (self.family, self.mac, self.timing);
        match goal {
            Goal::Lease(link, stage) => {
                self.clear_address();
                let (client, packet) =
                    Client::discover(family, mac, stage, timing, now, &mut self.rng);
                self.task = Task::Lease(client, link, stage);
                self.send_dhcp(packet);
            }
            Goal::Inform(stage) => {
                let Mode::Inform { address, prefix, router } = self.mode else { return };
                self.set_address(Link::Native, address, prefix, router);
                let (client, packet) =
                    Client::inform(family, mac, stage, timing, address, now, &mut self.rng);
                self.task = Task::Inform(client, stage);
                self.send_dhcp(packet);
            }
            Goal::Hop => {
                let value = self.options().and_then(|options| options.get(132));
                if !value.is_some_and(is_vlan) {
                    let value = value.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
                    self.fail(Failure::Vlan(value));
                }
            }
            Goal::Names => {
                let questions = self.options().map(|options| questions(self.family, options));
                self.goals = questions.into_iter().flatten().chain(self.goals.drain(..)).collect();
            }
            Goal::Ask(question) => self.ask(question, now),
            Goal::Reverse => {
                if let Some(address) = a_server(&self.record.lookups) {
                    let name = reverse_name(address);
                    self.ask(Question::new("server's name", name, RecordType::PTR), now);
                }
            }
            Goal::Firmware => self.find_firmware(now),
            Goal::FirmwareAtAnswer => {
                let addresses = self.record.lookups.last().and_then(|lookup| {
                    lookup.result.as_ref().ok()?.answers.iter().find_map(a_record)
                });
                self.fetch(addresses, now);
            }
            Goal::Renew => {
                let Some(lease) = self.record.leases.last() else { return };
                let Some(server) = client::server_of(&lease.reply) else { return };
                let whose = (lease.address, server);
                let stage = lease.stage;
                let (client, packet) =
                    Client::renew(family, mac, stage, timing, whose, now, &mut self.rng);
                self.task = Task::Renew(client);
                self.send_dhcp(packet);
            }
        }
    }

    fn ask(&mut self, question: Question, now: Time) {
        let servers = self.options().and_then(|options| options.addresses(6));
        let Some(server) = servers.and_then(|servers| servers.first().copied()) else {
            let none = Ipv4Addr::UNSPECIFIED;
            return self.record_lookup(question, none, Err(LookupFailure::NoServer));
        };
        match Resolver::ask(question.clone(), server, self.timing, now, &mut self.rng) {
            Ok((resolver, payload)) => {
                let (port, destination) = (resolver.port, resolver.server);
                self.task = Task::Lookup(resolver);
                self.actions.push_back(Action::SendUdp { port, destination, payload });
            }
            Err(failure) => self.record_lookup(question, server, Err(failure)),
        }
    }

    /// Where the firmware is: option 66 is an address, a name, or a URL of either.
    fn find_firmware(&mut self, now: Time) {
        let host = self.options().and_then(|options| text(options, 66)).map(host_of);
        let Some(host) = host.filter(|host| !host.is_empty()).map(str::to_owned) else {
            return self.fail(Failure::Firmware(66));
        };
        match host.parse() {
            Ok(address) => self.fetch(Some(address), now),
            Err(_) => {
                self.goals.push_front(Goal::FirmwareAtAnswer);
                self.ask(Question::new("TFTP server", host, RecordType::A), now);
            }
        }
    }

    fn fetch(&mut self, server: Option<Ipv4Addr>, now: Time) {
        let Some(server) = server else { return self.fail(Failure::Firmware(66)) };
        // `fw.img;config.cfg` names two files.
        let file = self
            .options()
            .and_then(|options| text(options, 67))
            .and_then(|text| text.split(';').next())
            .filter(|file| !file.is_empty())
            .map(str::to_owned);
        let Some(file) = file else { return self.fail(Failure::Firmware(67)) };
        let (transfer, (destination, payload)) =
            Transfer::start(server, &file, self.timing, now, &mut self.rng);
        let port = transfer.port;
        self.task = Task::Fetch(transfer);
        self.actions.push_back(Action::SendUdp { port, destination, payload });
    }
}

/// What a phone of this family looks up once it has these options.
fn questions(family: &Family, options: &Options) -> Vec<Goal> {
    let ask = |purpose, name: String, kind| Goal::Ask(Question::new(purpose, name, kind));
    let mut goals = Vec::new();
    if family.kind == Kind::Pc {
        return goals;
    }
    let host = text(options, 160).map(host_of).filter(|host| host.parse::<Ipv4Addr>().is_err());
    let zone = text(options, 15);
    if let Some(host) = host {
        goals.push(ask("provisioning", host.to_owned(), RecordType::A));
    }
    if family.kind == Kind::SoftPhone {
        return goals;
    }
    let Some(zone) = zone else { return goals };
    if let Some(bare) = host.and_then(|host| host.split('.').next()) {
        goals.push(ask("provisioning, short name", format!("{bare}.{zone}"), RecordType::A));
    }
    for service in ["_sip._udp", "_sip._tcp", "_sips._tcp"] {
        goals.push(ask("SIP servers", format!("{service}.{zone}"), RecordType::SRV));
    }
    goals.push(Goal::Reverse);
    goals.push(ask("SIP transports", zone.to_owned(), RecordType::NAPTR));
    goals
}

/// The address of some server the SRV answers named.
fn a_server(lookups: &[Lookup]) -> Option<Ipv4Addr> {
    let answers = lookups.iter().filter_map(|lookup| lookup.result.as_ref().ok());
    answers
        .filter(|answer| answer.answers.iter().any(|data| matches!(data, RecordData::Srv { .. })))
        .find_map(|answer| answer.additional.first())
        .map(|(_, address)| *address)
}

fn a_record(data: &RecordData) -> Option<Ipv4Addr> {
    match data {
        RecordData::A(address) => Some(*address),
        _ => None,
    }
}
