//! From the facts of the file to a site, with everything derived that can be.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use offhook_model::{
    Class, ClassId, Dns, DomainName, Host, OptionRule, Origin, Phone, Pool, PoolUser, Proxy, Scope,
    ScopeId, Send, Site, Switchover, Tftp,
};

use crate::known::Offset;
use crate::options::Explicit;
use crate::read::{
    ClassFacts, Facts, GroupHosts, LEASE, PHONE_LEASE, PoolFacts, PoolUserFacts, ScopeFacts,
};
use crate::report::Report;

/// The site that the facts describe; nothing when one it cannot be without is missing.
pub(crate) fn site(
    facts: &Facts,
    catalogue: &[ClassFacts],
    base: &Path,
    report: &Report,
) -> Option<Site> {
    let zone = facts.site.zone.value()?.clone();
    let options = site_options(facts, report);
    let scopes = scopes(facts, catalogue, report)?;
    let addresses =
        scopes.iter().flat_map(|scope| &scope.pools).map(|pool| pool.range.count()).sum();
    let classes: Vec<_> = all_classes(facts, catalogue)
        .map(|class| self::class(class, facts, &options, &scopes, report))
        .collect();
    let tftp = facts.tftp.as_ref().and_then(|tftp| {
        Some(Tftp {
            listen: *tftp.listen.value()?,
            root: base.join(tftp.root.value()?),
            limits: tftp.limits.clone(),
            images: tftp.images(),
            upstream: tftp.upstream.as_ref().map(|it| it.resolve(base)),
        })
    });
    Some(Site {
        name: facts.site.name.value().cloned().unwrap_or_else(|| zone.to_string()),
        time_zone: facts
            .site
            .time
            .as_ref()
            .and_then(|time| Some(time.value.zone.as_ref()?.name.clone())),
        dhcp: facts.dhcp,
        dns: Dns {
            listen: facts.dns.listen.value()?.items.iter().map(|item| item.value).collect(),
            forward: facts
                .dns
                .forward
                .iter()
                .map(|(zone, servers)| (zone.value.clone(), servers.clone()))
                .collect(),
            ttl: facts.dns.ttl,
            negative_ttl: facts.dns.negative_ttl,
            cache: facts.dns.cache,
            names: facts.dns.names.resolve(addresses),
            access: facts.dns.access.clone(),
            naptr: facts.dns.naptr,
        },
        tftp,
        hosts: facts
            .hosts
            .iter()
            .map(|host| {
                Some(Host {
                    name: host.name.value()?.clone(),
                    address: *host.address.value()?,
                    ipv6: host.ipv6.value().copied(),
                    origin: report.origin(&host.span),
                })
            })
            .collect::<Option<_>>()?,
        switchovers: facts
            .switchovers
            .iter()
            .map(|switchover| {
                Some(Switchover {
                    provisioning: switchover.provisioning.value().cloned(),
                    sip: switchover.sip,
                    health: switchover.health.clone(),
                    order: switchover.order,
                    priority: switchover.priority.value().copied().unwrap_or_default(),
                    weight: switchover.weight,
                    ttl: switchover.ttl,
                    ..Switchover::new(
                        switchover.name.value()?.clone(),
                        servers(&switchover.hosts)?,
                        report.origin(&switchover.span),
                    )
                })
            })
            .collect::<Option<_>>()?,
        proxies: facts
            .proxies
            .iter()
            .map(|proxy| {
                Some(Proxy {
                    name: proxy.name.value()?.clone(),
                    hosts: servers(&proxy.hosts)?,
                    sip: proxy.sip,
                    health: proxy.health.clone(),
                    order: proxy.order,
                    ttl: proxy.ttl,
                    origin: report.origin(&proxy.span),
                })
            })
            .collect::<Option<_>>()?,
        records: facts.records.iter().map(|facts| facts.record.clone()).collect(),
        phones: phones(facts, catalogue, report)?,
        zone,
        scopes,
        classes,
        options,
    })
}

/// Name and address of each host; nothing when one is not known.
fn servers(hosts: &GroupHosts) -> Option<Vec<(DomainName, Ipv4Addr)>> {
    let hosts = &hosts.value()?.items;
    hosts.iter().map(|host| Some((host.value.0.clone(), host.value.1?))).collect()
}

/// The administrator's classes before the catalogue's, which they hide by name.
pub(crate) fn all_classes<'f>(
    facts: &'f Facts,
    catalogue: &'f [ClassFacts],
) -> impl Iterator<Item = &'f ClassFacts> + Clone {
    let hidden = |base: &&ClassFacts| !facts.classes.iter().any(|own| own.is_named_as(base));
    facts.classes.iter().chain(catalogue.iter().filter(hidden))
}

fn rule(code: u8, value: impl Into<Vec<u8>>, send: Send, origin: Origin) -> OptionRule {
    let value = value.into().into_boxed_slice();
    let (is_text, follows_time_zone, repeats_boot) = (false, false, false);
    OptionRule { code, value, send, is_text, follows_time_zone, repeats_boot, origin }
}

fn octets(addresses: impl IntoIterator<Item = Ipv4Addr>) -> Vec<u8> {
    addresses.into_iter().flat_map(|address| address.octets()).collect()
}

/// The derived rules, but for those that an explicit one replaces.
fn merged(derived: Vec<OptionRule>, explicit: &[Explicit]) -> Vec<OptionRule> {
    let explicit: Vec<_> = explicit.iter().map(|option| option.rule.clone()).collect();
    let stays = |rule: &OptionRule| !explicit.iter().any(|other| other.code == rule.code);
    let mut rules: Vec<_> = derived.into_iter().filter(stays).chain(explicit.clone()).collect();
    rules.sort_by_key(|rule| rule.code);
    rules
}

/// 2, 4 or 42, 6, 15, 100 and 101.
fn site_options(facts: &Facts, report: &Report) -> Vec<OptionRule> {
    let mut rules = Vec::new();
    if let Some(time) = &facts.site.time {
        let (offset, derived) = match facts.time.offset {
            Offset::Standard => (time.value.standard, "the standard offset of the time zone"),
            Offset::Current => (time.value.current, "the current offset of the time zone"),
        };
        let origin = report.derived(&time.span, derived);
        rules.push(OptionRule {
            follows_time_zone: facts.time.offset == Offset::Current && time.value.zone.is_some(),
            ..rule(2, offset.to_be_bytes(), Send::IfRequested, origin)
        });
        if let Some(zone) = &time.value.zone {
            let origin = report.derived(&time.span, "the name of the time zone");
            rules.push(rule(101, zone.name.as_str(), Send::IfRequested, origin));
            if let Some(posix) = zone.posix {
                let origin = report.derived(&time.span, "the POSIX rule of the time zone");
                rules.push(rule(100, posix, Send::IfRequested, origin));
            }
        }
    }
    if let Some(servers) = facts.time.servers.good() {
        let origin = report.derived(&servers.span, "the addresses of the time servers");
        let value = octets(servers.value.items.iter().map(|server| server.value));
        rules.push(rule(facts.time.code, value, Send::IfRequested, origin));
    }
    if let Some(listen) = facts.dns.listen.good() {
        let addresses: Vec<_> = listen
            .value
            .items
            .iter()
            .filter_map(|listener| match listener.value.ip() {
                IpAddr::V4(address) if !address.is_unspecified() => Some(address),
                _ => None,
            })
            .collect();
        if !addresses.is_empty() {
            let origin = report.derived(&listen.span, "the DNS listener");
            rules.push(rule(6, octets(addresses), Send::IfRequested, origin));
        }
    }
    if let Some(zone) = facts.site.zone.good() {
        let origin = report.derived(&zone.span, "the voice zone");
        rules.push(rule(15, zone.value.as_str(), Send::IfRequested, origin));
    }
    merged(rules, &facts.options)
}

fn scopes(facts: &Facts, catalogue: &[ClassFacts], report: &Report) -> Option<Vec<Scope>> {
    facts
        .scopes
        .iter()
        .map(|scope| {
            let subnet = *scope.subnet.value()?;
            let pools = scope.pools.value().into_iter().flat_map(|pools| &pools.items);
            let pools: Option<Vec<Pool>> =
                pools.map(|pool| self::pool(&pool.value, facts, catalogue)).collect();
            let lease = scope.lease.lease.value().copied().unwrap_or(LEASE);
            let voice = match scope.voice.value() {
                Some(name) => Some(scope_id(facts, name)?),
                None => None,
            };
            Some(Scope {
                name: scope.name.value()?.clone(),
                interface: scope.interface.value().cloned(),
                vlan: scope.vlan.value().copied(),
                subnet,
                excluded: excluded(scope),
                pools: pools?,
                router: scope.router.value().copied(),
                lease,
                times: scope.lease.times(),
                phone_lease: scope
                    .phone_lease
                    .value()
                    .copied()
                    .or_else(|| voice.map(|_| lease.min(PHONE_LEASE))),
                serve: scope.serve,
                authoritative: scope.authoritative,
                probe: scope.probe,
                reserved_share: scope.reserved_share,
                shared_network: scope.shared_network.value().cloned(),
                voice,
                boot: scope.boot.clone(),
                options: scope_options(scope, &facts.options, report),
                origin: report.origin(&scope.span),
            })
        })
        .collect()
}

fn pool(pool: &PoolFacts, facts: &Facts, catalogue: &[ClassFacts]) -> Option<Pool> {
    let user = |user: &PoolUserFacts| {
        Some(match user {
            PoolUserFacts::Phones => PoolUser::Phones,
            PoolUserFacts::Inventory => PoolUser::Inventory,
            PoolUserFacts::Class(name) => PoolUser::Class(class_id(facts, catalogue, name)?),
        })
    };
    let only = pool.only.iter().map(|only| user(&only.value)).collect::<Option<_>>()?;
    Some(Pool { range: pool.range, only })
}

fn class_id(facts: &Facts, catalogue: &[ClassFacts], name: &str) -> Option<ClassId> {
    let index = all_classes(facts, catalogue).position(|class| class.is_named(name))?;
    u16::try_from(index).ok().map(ClassId)
}

pub(crate) fn scope_id(facts: &Facts, name: &str) -> Option<ScopeId> {
    let index = facts.scopes.iter().position(|scope| scope.name.value().is_some_and(|n| n == name));
    index.and_then(|index| u16::try_from(index).ok()).map(ScopeId)
}

/// The addresses of `exclude` that are in a pool, each once.
fn excluded(scope: &ScopeFacts) -> Vec<Ipv4Addr> {
    let (Some(exclude), Some(pools)) = (scope.exclude.value(), scope.pools.value()) else {
        return Vec::new();
    };
    let mut all = BTreeSet::new();
    for range in &exclude.items {
        for pool in &pools.items {
            let first = range.value.first().max(pool.value.range.first());
            let last = range.value.last().min(pool.value.range.last());
            if let Ok(both) = offhook_model::AddressRange::new(first, last) {
                all.extend(both.iter());
            }
        }
    }
    all.into_iter().collect()
}

/// 1, 3 and 28. What `site` states of 1 and 28 is not derived: what is written goes before what follows from it.
fn scope_options(scope: &ScopeFacts, site: &[Explicit], report: &Report) -> Vec<OptionRule> {
    let mut rules = Vec::new();
    if let Some(subnet) = scope.subnet.good() {
        let origin = report.derived(&subnet.span, "the mask of the subnet");
        rules.push(rule(1, subnet.value.mask().octets(), Send::IfRequested, origin));
        let origin = report.derived(&subnet.span, "the broadcast address of the subnet");
        rules.push(rule(28, subnet.value.broadcast().octets(), Send::IfRequested, origin));
        rules.retain(|rule| !site.iter().any(|stated| stated.rule.code == rule.code));
    }
    if let Some(router) = scope.router.good() {
        let origin = report.derived(&router.span, "the router of the scope");
        rules.push(rule(3, router.value.octets(), Send::IfRequested, origin));
    }
    merged(rules, &scope.options)
}

fn find(rules: &[OptionRule], code: u8) -> Option<&OptionRule> {
    rules.iter().find(|rule| rule.code == code)
}

/// A class with everything it gives.
///
/// What a class gives comes from the most specific level that states it: the class itself, the scope, the
/// site, or the fact it is derived from. Values that differ by scope become rules of the class in that scope.
fn class(
    class: &ClassFacts,
    facts: &Facts,
    site: &[OptionRule],
    scopes: &[Scope],
    report: &Report,
) -> Class {
    let mut everywhere = Vec::new();
    let mut by_scope: Vec<Vec<OptionRule>> = vec![Vec::new(); scopes.len()];
    let own = |code: u8| class.options.iter().any(|option| option.rule.code == code);

    for code in class.withholds.iter().flat_map(|codes| codes.codes.iter().map(|c| c.value)) {
        let origin = class.withholds.as_ref().map_or(class.origin.clone(), |c| c.origin.clone());
        let origin = Origin { derived: Some("withheld from this class"), ..origin };
        everywhere.push(rule(code, [], Send::Never, origin));
    }
    let withheld = |code: u8| class.withholds.as_ref().is_some_and(|codes| codes.contains(code));

    for code in class.gives.iter().flat_map(|codes| codes.codes.iter().map(|c| c.value)) {
        if own(code) || withheld(code) {
            continue;
        }
        let send = if code == 43 { Send::IfRequested } else { Send::Always };
        let raise = |rule: &OptionRule| OptionRule {
            send: if rule.send == Send::Never { Send::Never } else { send },
            ..rule.clone()
        };
        if let Some(stated) = find(site, code) {
            everywhere.push(raise(stated));
        } else if code != 132
            && let Some((value, origin)) = derived(code, class, facts, report)
        {
            let rule = rule(code, value, send, origin);
            everywhere.push(OptionRule { repeats_boot: code == 43, ..rule });
        }
        for (scope, rules) in scopes.iter().zip(&mut by_scope) {
            if let Some(stated) = find(&scope.options, code) {
                rules.push(raise(stated));
            } else if code == 132
                && find(site, code).is_none()
                && let Some((value, origin)) = vlan(scope, facts, report)
            {
                rules.push(rule(code, value, send, origin));
            }
        }
    }

    for code in class.always.iter().flat_map(|codes| codes.codes.iter().map(|c| c.value)) {
        if own(code) || withheld(code) {
            continue;
        }
        for (scope, rules) in scopes.iter().zip(&mut by_scope) {
            let stated = find(&scope.options, code).or_else(|| find(site, code));
            if let Some(stated) = stated.filter(|stated| stated.send != Send::Never) {
                rules.push(OptionRule { send: Send::Always, ..stated.clone() });
            }
        }
    }

    let by_scope = by_scope
        .into_iter()
        .enumerate()
        .filter(|(_, rules)| !rules.is_empty())
        .map(|(index, rules)| (ScopeId(index as u16), merged(rules, &[])))
        .collect();
    let mut options = merged(everywhere, &class.options);
    for rule in &mut options {
        if rule.send == Send::IfRequested
            && class.always.as_ref().is_some_and(|always| always.contains(rule.code))
        {
            rule.send = Send::Always;
        }
    }
    let name = class.name.value().cloned().unwrap_or_default();
    Class {
        label: class.label.clone().unwrap_or_else(|| name.clone()),
        name,
        evidence: class.evidence().cloned().collect(),
        condition: class.condition.clone(),
        scopes: class.scopes.clone().unwrap_or_default(),
        lease: class.lease.lease.value().copied(),
        times: class.lease.times(),
        trailing_nul: class.trailing_nul.unwrap_or(false),
        options,
        scope_options: by_scope,
        boot_header: class.boot_header.unwrap_or(false),
        boot: class.boot.clone(),
        firmware: class.firmware.as_ref().map(|(file, _)| file.value.clone()),
        origin: class.origin.clone(),
    }
}

/// What a provisioning option is, from the facts of the site.
pub(crate) fn derived(
    code: u8,
    class: &ClassFacts,
    facts: &Facts,
    report: &Report,
) -> Option<(Vec<u8>, Origin)> {
    match code {
        66 => {
            let listen = facts.tftp.as_ref()?.listen.good()?;
            let text = listen.value.ip().to_string();
            Some((text.into_bytes(), report.derived(&listen.span, "the TFTP listener")))
        }
        67 => {
            let (file, origin) = class.firmware.as_ref()?;
            let origin = Origin { derived: Some("the firmware of the class"), ..origin.clone() };
            Some((file.value.clone().into_bytes(), origin))
        }
        160 => facts.switchovers.iter().find_map(|switchover| {
            let provisioning = switchover.provisioning.good()?;
            let name = switchover.name.value()?;
            let url = format!("{}://{name}:{}", provisioning.value.scheme, provisioning.value.port);
            let origin = report.derived(&provisioning.span, "the switchover's provisioning URL");
            Some((url.into_bytes(), origin))
        }),
        43 => {
            let own = |code: u8| {
                class
                    .options
                    .iter()
                    .chain(&facts.options)
                    .find(|option| option.rule.code == code && option.rule.send != Send::Never)
                    .map(|option| option.rule.value.to_vec())
            };
            let mut bytes = Vec::new();
            let mut origin = None;
            for code in [66, 67] {
                let fact = derived(code, class, facts, report);
                let Some(value) = own(code).or_else(|| Some(fact.clone()?.0)) else { continue };
                let Ok(len) = u8::try_from(value.len()) else { continue };
                bytes.extend([code, len]);
                bytes.extend(value);
                origin = origin.or(fact.map(|(_, origin)| origin));
            }
            let origin = origin.unwrap_or_else(|| class.origin.clone());
            let origin = Origin { derived: Some("66 and 67 as sub-options"), ..origin };
            (!bytes.is_empty()).then_some((bytes, origin))
        }
        _ => None,
    }
}

/// The VLAN that phones of a native scope belong in.
fn vlan(scope: &Scope, facts: &Facts, report: &Report) -> Option<(Vec<u8>, Origin)> {
    let voice = facts.scopes.get(usize::from(scope.voice?.0))?;
    let vlan = voice.vlan.good()?;
    let origin = report.derived(&vlan.span, "the VLAN of the voice scope");
    Some((vlan.value.to_string().into_bytes(), origin))
}

/// The file's own phones, and those of its lists. What the file says of a phone of a list adds to its row.
fn phones(facts: &Facts, catalogue: &[ClassFacts], report: &Report) -> Option<Vec<Phone>> {
    let class = |name: Option<&String>| match name {
        Some(name) => class_id(facts, catalogue, name).map(Some),
        None => Some(None),
    };
    let mut phones = Vec::new();
    for phone in &facts.phones {
        phones.push(Phone {
            name: phone.name.value().cloned(),
            key: phone.key.as_ref()?.value.clone(),
            class: class(phone.class.value())?,
            address: phone.address.value().copied(),
            options: merged(Vec::new(), &phone.options),
            origin: report.origin(&phone.span),
        });
    }
    let own: HashMap<_, _> =
        phones.iter().enumerate().map(|(index, phone)| (phone.key.clone(), index)).collect();
    for row in &facts.rows {
        let of_row = class(row.class.as_ref())?;
        if let Some(phone) = own.get(&row.key).and_then(|&index| phones.get_mut(index)) {
            phone.name = phone.name.take().or_else(|| row.name.clone());
            phone.class = phone.class.or(of_row);
            continue;
        }
        phones.push(Phone {
            name: row.name.clone(),
            key: row.key.clone(),
            class: of_row,
            address: None,
            options: Vec::new(),
            origin: row.origin.clone(),
        });
    }
    Some(phones)
}
