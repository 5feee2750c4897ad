//! What to do about a message, by its type: the server's half of RFC 2131.

mod discover;
mod inform;
mod release;
mod request;
mod terms;

use std::borrow::Cow;
use std::net::Ipv4Addr;

use dhcproto::v4::MessageType;
use offhook_model::{
    Class, ClassId, ClientId, Lease, LeaseWrite, Phone, Scope, ScopeId, Serve, Time,
};

pub(crate) use terms::Times;

use crate::core::Setup;
use crate::plan::Plan;
use crate::probe::Probes;
use crate::reply::{self, Terms};
use crate::table::{Asker, Grant, Provisional, Table};
use crate::wire::{Request, code};
use crate::{Arrival, Decision, Link, NoReply, Recognition, Trace, scope};

/// Everything known of a message before it is decided about.
pub(crate) struct Context<'a> {
    pub(crate) now: Time,
    pub(crate) setup: &'a Setup,
    pub(crate) arrival: &'a Arrival,
    pub(crate) link: &'a Link,
    pub(crate) request: &'a Request<'a>,
    pub(crate) scope: ScopeId,
    pub(crate) scope_rules: &'a Scope,
    /// The scopes of the client's link, its own among them.
    pub(crate) network: &'a [ScopeId],
    pub(crate) class: Option<ClassId>,
    /// Index in `Site::phones`, and the phone.
    pub(crate) phone: Option<(usize, &'a Phone)>,
    pub(crate) plan: Cow<'a, Plan>,
    /// The address of ours that the message was sent to, or else the link's: where replies come from.
    pub(crate) here: Ipv4Addr,
    /// What our replies call us: what the relay wants (RFC 5107), else what the client calls us, if that is one of
    /// our addresses.
    pub(crate) server_id: Ipv4Addr,
    /// Whether the message has waited for the answer to a probe.
    pub(crate) waited: bool,
}

impl Context<'_> {
    fn asker<'a>(&self, client: &'a ClientId) -> Asker<'a> {
        self.asker_in(self.scope, client)
    }

    /// The client, as far as another scope of its link is concerned.
    fn asker_in<'a>(&self, scope: ScopeId, client: &'a ClientId) -> Asker<'a> {
        Asker {
            scope,
            client,
            hardware: self.request.header.hardware,
            phone: self.phone.map(|(at, _)| at),
            class: self.class,
        }
    }

    /// The address kept for the phone, if it is one of this link, and its scope.
    fn reserved(&self) -> Option<(ScopeId, Ipv4Addr)> {
        let address = self.phone.and_then(|(_, phone)| phone.address)?;
        let scope = self.on_link(address)?;
        Some((scope, address))
    }

    /// The scope of this link whose subnet holds an address.
    fn on_link(&self, address: Ipv4Addr) -> Option<ScopeId> {
        self.setup.subnets.holding(address).filter(|scope| self.network.contains(scope))
    }

    pub(crate) fn class_rules(&self) -> Option<&Class> {
        self.class.and_then(|id| self.setup.site.class(id))
    }

    /// Whether the client was recognised as a phone: by its class, or from the inventory.
    fn is_recognised(&self) -> bool {
        self.class.is_some() || self.phone.is_some()
    }

    fn times(&self) -> Times {
        let wish = self.request.number(code::LEASE_TIME);
        Times::new(self.scope_rules, self.class_rules(), self.is_recognised(), wish)
    }

    fn terms(&self, address: Ipv4Addr) -> Terms {
        Terms { address, times: self.times() }
    }

    fn grant<'a>(&'a self, client: &'a ClientId, address: Ipv4Addr) -> Grant<'a> {
        const CLASS: [u8; 3] =
            [code::VENDOR_CLASS, code::USER_CLASS, code::VENDOR_CLASS_BY_ENTERPRISE];
        const NAME: [u8; 2] = [code::HOST_NAME, code::FQDN];
        let says = |codes: &[u8]| codes.iter().any(|code| self.request.option(*code).is_some());
        let is_listed =
            self.class.is_some() && self.phone.and_then(|(_, phone)| phone.class) == self.class;
        Grant {
            asker: self.asker(client),
            address,
            duration: self.times().duration(),
            scope_name: &self.scope_rules.name,
            class_name: self.class_rules().map(|class| &*class.name),
            host_name: crate::fqdn::own_name(&self.setup.site.zone, self.request),
            keeps_class: !says(&CLASS) && !is_listed,
            keeps_name: !says(&NAME),
            network: self.network,
            waited: self.waited,
        }
    }

    /// Whether the scope serves this client at all, so far as is known of it.
    fn is_served(&self) -> bool {
        match self.scope_rules.serve {
            Serve::All => true,
            Serve::Phones => self.is_recognised(),
            Serve::Inventory => self.phone.is_some(),
        }
    }

    /// Whether a relay tells of the client, or a switch that adds its option without being one.
    fn is_told_of(&self) -> bool {
        let request = self.request;
        request.header.is_relayed() || request.option(code::RELAY_AGENT).is_some()
    }

    /// Whether the client wrote to us alone: it has a route, and renews what it has from here.
    fn is_to_us_alone(&self) -> bool {
        to_us_alone(self.setup, self.arrival, self.request)
    }

    /// Whether the message names another server (option 54) as the one it is for.
    fn is_for_another(&self) -> bool {
        self.request
            .address(code::SERVER_ID)
            .is_some_and(|server| server != self.server_id && !self.setup.is_ours(server))
    }
}

/// What a message comes to.
pub(crate) enum Outcome {
    /// An address is offered.
    Offer(Ipv4Addr),
    /// An address is leased.
    Lease(Ipv4Addr, Provisional),
    /// The client may not use the address, for the reason given.
    Refuse(Option<Ipv4Addr>, &'static str),
    /// The client may have the address, if nobody uses it; that is known then.
    Wait(Ipv4Addr, Time),
    /// Configuration without a lease.
    Configure,
    /// An address is no longer leased; there is no reply.
    End(Ipv4Addr, NoReply, Provisional),
    /// Nothing happens.
    Silence(NoReply),
}

/// Decides about a message that could be read.
pub(crate) fn decide(
    setup: &Setup,
    table: &mut Table,
    probes: &mut Probes,
    now: Time,
    arrival: &Arrival,
    request: &Request<'_>,
    mut trace: Trace,
) -> Decision {
    trace.message = Some(request.message);
    trace.reason = state(setup, arrival, request);
    trace.host_name = request.own_name().map(Box::from);
    let mut context = match prepare(setup, now, arrival, request, None, &mut trace) {
        Ok(context) => context,
        Err(reason) => return silence(reason, trace),
    };
    let chooses = request.message == MessageType::Discover && context.network.len() > 1;
    if let Some(scope) = named(request).and_then(|address| context.on_link(address)) {
        if scope != context.scope {
            match prepare(setup, now, arrival, request, Some(scope), &mut trace) {
                Ok(other) => context = other,
                Err(reason) => return silence(reason, trace),
            }
        }
    } else if !chooses && !context.is_served() {
        // What names nothing on this link is answered by whichever scope of it serves the client.
        let mut theirs = trace.clone();
        let first = context.scope;
        let others = context.network.iter().filter(|scope| **scope != first);
        let mut others = others.filter_map(|scope| {
            let other = prepare(setup, now, arrival, request, Some(*scope), &mut theirs).ok()?;
            other.is_served().then_some(other)
        });
        if let Some(other) = others.next() {
            context = other;
            trace = theirs;
        }
    }
    past_the_relay(&mut context, table, &mut trace);
    // What ends a lease is taken from whoever holds one: it may say less of itself than when it got it, and there is
    // no answer for another server's client to hear.
    let ends = matches!(request.message, MessageType::Release | MessageType::Decline);
    if !ends && !chooses && !context.is_served() {
        return silence(NoReply::NotServed, trace);
    }
    table.settle(now, context.scope);
    let mut hold = None;
    let outcome = if request.message == MessageType::Inform {
        inform::inform(&context)
    } else {
        let client = match request.identity() {
            Ok(client) => client,
            Err(reason) => return silence(reason, trace),
        };
        let outcome = match request.message {
            MessageType::Discover if chooses => {
                let (chosen, outcome) = discover::on_link(context, table, &client, &mut trace);
                context = chosen;
                outcome
            }
            MessageType::Discover => discover::discover(&context, table, &client),
            MessageType::Request => request::request(&context, table, probes, &client),
            MessageType::Release => release::release(&context, table, &client),
            MessageType::Decline => release::decline(&context, table, &client),
            _ => Outcome::Silence(NoReply::MessageType),
        };
        if let Outcome::Offer(address) = outcome
            && !table.was_lately_of(now, &context.asker(&client), address)
        {
            hold = probes.hold(now, context.scope, address);
        }
        if let Outcome::Wait(_, until) = outcome {
            hold = Some(until);
        }
        trace.client = Some(client);
        outcome
    };
    Decision { hold, ..conclude(&context, outcome, trace) }
}

/// What is to be on disk before an ACK, should the client that sent a DISCOVER take the address it was offered.
pub(crate) fn foresee(
    setup: &Setup,
    table: &Table,
    now: Time,
    arrival: &Arrival,
    request: &Request<'_>,
    offered: Ipv4Addr,
    spare: u64,
) -> Option<Lease> {
    let scope = setup.subnets.holding(offered)?;
    let trace = &mut Trace::default();
    let context = prepare(setup, now, arrival, request, Some(scope), trace).ok()?;
    let client = request.identity().ok()?;
    table.foresee(now, &context.grant(&client, offered), spare)
}

/// The address a message is about; a DISCOVER only wishes.
fn named(request: &Request<'_>) -> Option<Ipv4Addr> {
    match request.message {
        MessageType::Request => request::address(request),
        MessageType::Decline => request.address(code::REQUESTED_ADDRESS),
        MessageType::Release | MessageType::Inform => Some(request.header.ciaddr),
        _ => None,
    }
}

/// Who is known by what its relay says renews without that: such a message goes past the relay. A phone is known by the
/// address it has, which is kept for nobody else, and a class is the one that the lease was granted to.
fn past_the_relay(context: &mut Context<'_>, table: &Table, trace: &mut Trace) {
    let Context { setup, request, now, .. } = *context;
    let header = &request.header;
    if header.is_relayed() || header.ciaddr.is_unspecified() {
        return;
    }
    let Ok(client) = request.identity() else { return };
    let asker = context.asker(&client);
    let kept = || table.kept_for(now, &asker, header.ciaddr);
    let is_stated = context.phone.is_some_and(|(_, phone)| !phone.is_only_listed());
    let phone = if is_stated { None } else { kept() };
    let phone = phone.and_then(|at| setup.site.phones.get(at).map(|phone| (at, phone)));
    let phone = phone.filter(|(_, phone)| phone.key.is_of_relay());
    let is_here =
        |id: &ClassId| setup.site.class(*id).is_some_and(|class| class.is_in(Some(context.scope)));
    let listed = phone.and_then(|(_, phone)| phone.class).filter(is_here);
    // What the message itself shows, or a phone list states, goes before.
    let is_shown = context.is_told_of() || trace.recognition == Some(Recognition::Inventory);
    let held = Some(header.ciaddr).filter(|held| !is_shown && table.is_live(now, *held));
    let told = held.and_then(|held| told_before(context, table, &asker, held));
    let by = if listed.is_some() { Recognition::Inventory } else { Recognition::Match };
    let class = listed.or(told);
    if phone.is_none() && class.is_none() {
        return;
    }
    if let Some((at, phone)) = phone {
        context.phone = Some((at, phone));
        trace.phone = Some(at);
    }
    if class.is_some() {
        context.class = class;
        trace.class = class;
        trace.recognition = Some(by);
    }
    let phone = context.phone.map(|(_, phone)| phone);
    if let Some(plan) = setup.plans.find(&setup.site, context.scope, context.class, phone) {
        context.plan = plan;
    }
}

/// The class that the client has an address as, or had it as last, if that is one that its relay told of.
fn told_before(
    context: &Context<'_>,
    table: &Table,
    asker: &Asker<'_>,
    address: Ipv4Addr,
) -> Option<ClassId> {
    let Context { setup, scope, .. } = *context;
    setup.classifier.told_by_relay(&setup.site, scope, || table.class_of(asker, address))
}

fn silence(reason: NoReply, trace: Trace) -> Decision {
    Decision { reply: Err(reason), writes: Vec::new(), ticket: None, hold: None, trace }
}

/// The state of the client that a message tells of (RFC 2131, figure 5); `None` for one that ends a lease.
fn state(setup: &Setup, arrival: &Arrival, request: &Request<'_>) -> Option<&'static str> {
    match request.message {
        MessageType::Discover => Some("discover"),
        MessageType::Inform => Some("inform"),
        MessageType::Request => request::state(request, to_us_alone(setup, arrival, request)),
        _ => None,
    }
}

/// What a relay forwards was broadcast, unless it had the client write to it (RFC 5107).
fn to_us_alone(setup: &Setup, arrival: &Arrival, request: &Request<'_>) -> bool {
    setup.is_ours(arrival.destination)
        && (!request.header.is_relayed() || request.server_id_override().is_some())
}

/// Selects the client's scope, unless it is chosen already, and recognises the client.
fn prepare<'a>(
    setup: &'a Setup,
    now: Time,
    arrival: &'a Arrival,
    request: &'a Request<'a>,
    chosen: Option<ScopeId>,
    trace: &mut Trace,
) -> Result<Context<'a>, NoReply> {
    let may_choose = setup.site.dhcp.subnet_selection;
    let link = setup.links.get(arrival.link).ok_or(NoReply::UnknownLink);
    let scope = link.and_then(|link| match chosen {
        Some(scope) => Ok(scope),
        None => scope::select(&setup.subnets, &setup.links, link, arrival, request, may_choose),
    });
    trace.scope = scope.ok();
    // Also one that is not answered: the log names it.
    let recognised = setup.classifier.recognise(&setup.site, request, trace.scope);
    trace.class = recognised.class;
    trace.recognition = recognised.by;
    trace.phone = recognised.phone;

    let (link, scope) = (link?, scope?);
    let scope_rules = setup.site.scope(scope).ok_or(NoReply::NoScope)?;
    let phone = recognised.phone.and_then(|at| setup.site.phones.get(at).map(|phone| (at, phone)));
    let plan = setup
        .plans
        .find(&setup.site, scope, recognised.class, phone.map(|(_, phone)| phone))
        .ok_or(NoReply::NoScope)?;
    let named = request.address(code::SERVER_ID).filter(|server| setup.is_ours(*server));
    // A relay may know us by the address of another link: that is the one it gets answers from, and that its clients
    // can reach.
    let here = Some(arrival.destination).filter(|address| setup.is_ours(*address));
    let here = here.unwrap_or_else(|| address_in(setup, link, scope, request));
    Ok(Context {
        now,
        setup,
        arrival,
        link,
        request,
        scope,
        scope_rules,
        network: setup.subnets.network(scope),
        class: recognised.class,
        phone,
        plan,
        here,
        server_id: request.server_id_override().or(named).unwrap_or(here),
        waited: trace.waited,
    })
}

/// Our address on the link that a client can reach without a router, where we have one (RFC 2131, 4.1): the one in the
/// subnet it is served from, of several on its interface.
fn address_in(setup: &Setup, link: &Link, scope: ScopeId, request: &Request<'_>) -> Ipv4Addr {
    let interface = |scope| setup.site.scope(scope).and_then(|rules| rules.interface.as_ref());
    let shares = |other: &&Link| {
        let [one, other] = [link, *other].map(|link| link.scope.and_then(interface));
        one.is_some() && one == other
    };
    let is_its = |other: &&Link| other.scope == Some(scope);
    let beside = || setup.links.iter().filter(is_its).find(shares);
    let is_elsewhere = link.scope != Some(scope) && !request.header.is_relayed();
    is_elsewhere.then(beside).flatten().unwrap_or(link).address
}

fn conclude(context: &Context<'_>, outcome: Outcome, mut trace: Trace) -> Decision {
    let none = (None, Vec::new());
    let some = |(ticket, writes): Provisional| -> (_, Vec<LeaseWrite>) { (Some(ticket), writes) };
    let (reply, (ticket, writes)) = match outcome {
        Outcome::Offer(address) => {
            trace.address = Some(address);
            let terms = Some(context.terms(address));
            (Ok(reply::configuration(context, MessageType::Offer, terms)), none)
        }
        Outcome::Lease(address, provisional) => {
            trace.address = Some(address);
            let terms = Some(context.terms(address));
            (Ok(reply::configuration(context, MessageType::Ack, terms)), some(provisional))
        }
        Outcome::Refuse(address, why) => {
            trace.address = address;
            trace.refusal = Some(why);
            (Ok(reply::refusal(context, why)), none)
        }
        Outcome::Wait(address, _) => {
            trace.address = Some(address);
            (Err(NoReply::Probing), none)
        }
        Outcome::Configure => {
            trace.address = Some(context.request.header.ciaddr);
            (Ok(reply::configuration(context, MessageType::Ack, None)), none)
        }
        Outcome::End(address, reason, provisional) => {
            trace.address = Some(address);
            (Err(reason), some(provisional))
        }
        Outcome::Silence(reason) => (Err(reason), none),
    };
    let reply = reply.map(|(reply, dropped)| {
        trace.dropped = dropped;
        reply
    });
    Decision { reply, writes, ticket, hold: None, trace }
}
