//! Which options a client gets: the rules of every level, the most specific one winning, code by code.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use offhook_model::registry::{self, Kind};
use offhook_model::{BootFields, Class, ClassId, OptionRule, Phone, ScopeId, Send, Site};

use crate::wire::vendor::sub_options;
use crate::wire::{Field, Rank, Value, code};

/// Where a rule stands; later is more specific.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// For every client.
    Site,
    /// For every client of a scope.
    Scope,
    /// For every client of a class.
    Class,
    /// For a class, in one scope.
    ClassInScope,
    /// For one phone.
    Phone,
}

/// Why a rule does not take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// A more specific rule has the same code.
    Overridden(Level),
    /// The most specific rule says never.
    Never,
    /// The server alone decides about this option.
    ServerManaged,
}

/// One rule that concerns a client, and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effective<'a> {
    /// The rule, with the line it comes from.
    pub rule: &'a OptionRule,
    /// Where it stands.
    pub level: Level,
    /// Why it has no effect; `None` when it has.
    pub withheld: Option<Withheld>,
}

/// Every rule that concerns a client, by code and then the most specific first: what `explain` prints, and what
/// replies are made from.
pub fn effective<'a>(
    site: &'a Site,
    scope: Option<ScopeId>,
    class: Option<ClassId>,
    phone: Option<&'a Phone>,
) -> Vec<Effective<'a>> {
    let scope_rules = scope.and_then(|id| site.scope(id)).map(|scope| &scope.options[..]);
    let class_entry = class.and_then(|id| site.class(id));
    let in_scope = class_entry.into_iter().flat_map(|class| {
        class.scope_options.iter().filter(|(id, _)| Some(*id) == scope).map(|(_, rules)| &rules[..])
    });
    let levels = [
        (Level::Site, Some(&site.options[..])),
        (Level::Scope, scope_rules),
        (Level::Class, class_entry.map(|class| &class.options[..])),
        (Level::Phone, phone.map(|phone| &phone.options[..])),
    ];
    let mut found: Vec<_> = levels
        .into_iter()
        .filter_map(|(level, rules)| rules.map(|rules| (level, rules)))
        .chain(in_scope.map(|rules| (Level::ClassInScope, rules)))
        .flat_map(|(level, rules)| {
            rules.iter().map(move |rule| Effective { rule, level, withheld: None })
        })
        .collect();
    // Within a level the last rule wins, as it does wherever a value is set twice: stable sort, read backwards.
    found.reverse();
    found.sort_by_key(|found| (found.rule.code, std::cmp::Reverse(found.level)));
    let mut winner: Option<(u8, Level)> = None;
    for effective in &mut found {
        let code = effective.rule.code;
        effective.withheld = match winner {
            _ if code::is_server_managed(code) => Some(Withheld::ServerManaged),
            Some((won, level)) if won == code => Some(Withheld::Overridden(level)),
            _ if effective.rule.send == Send::Never => Some(Withheld::Never),
            _ => None,
        };
        if winner.is_none_or(|(won, _)| won != code) {
            winner = Some((code, effective.level));
        }
    }
    found
}

/// The payload of an option as a client of a class gets it: text ends with one NUL where the class wants that.
pub fn payload<'a>(rule: &'a OptionRule, class: Option<&Class>) -> Cow<'a, [u8]> {
    let is_text = || registry::by_code(rule.code).is_some_and(|option| option.kind == Kind::Text);
    if !(rule.is_text || is_text()) || !class.is_some_and(|class| class.trailing_nul) {
        return Cow::Borrowed(&rule.value);
    }
    Cow::Owned([crate::wire::trim_nuls(&rule.value), b"\0"].concat())
}

/// 66 and 67 as sub-options: each as the client is given it, and what is `derived` where nobody states it.
fn boot_suboptions(found: &[Effective<'_>], derived: &[u8]) -> Box<[u8]> {
    let mut bytes = Vec::new();
    for code in [code::TFTP_SERVER, code::BOOT_FILE] {
        // The first of a code is the one that counts.
        let value = match found.iter().find(|found| found.rule.code == code) {
            Some(found) if found.withheld.is_none() => Some(&*found.rule.value),
            Some(_) => None,
            None => sub_options(derived).find(|(own, _)| *own == code).map(|(_, value)| value),
        };
        let value = value.map(crate::wire::trim_nuls).unwrap_or_default();
        if let Ok(len @ 1..) = u8::try_from(value.len()) {
            bytes.extend([code, len]);
            bytes.extend(value);
        }
    }
    bytes.into()
}

/// What `siaddr`, `sname` and `file` of a boot loader's reply say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootHeader {
    /// As stated, else the server of option 66, when it is an address.
    pub siaddr: Option<Ipv4Addr>,
    /// As stated; at most 63 bytes.
    pub sname: Box<[u8]>,
    /// As stated, else the file of option 67, without what follows a `;`; at most 127 bytes.
    pub file: Box<[u8]>,
}

/// The options of one kind of client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The rules that take effect, by code; none says never.
    rules: Vec<OptionRule>,
    /// The header fields, where they are stated or the class wants them.
    pub boot: BootHeader,
}

impl BootHeader {
    /// What a class states goes before what is repeated from its options, and that before what the scope states.
    fn state(&mut self, [scope, class]: [Option<&BootFields>; 2]) {
        let bytes = |text: &String| text.as_bytes().into();
        if let Some(scope) = scope {
            self.siaddr = self.siaddr.or(scope.next_server);
            self.sname = scope.server_name.as_ref().map(bytes).unwrap_or_default();
            if self.file.is_empty() {
                self.file = scope.boot_file.as_ref().map(bytes).unwrap_or_default();
            }
        }
        if let Some(class) = class {
            self.siaddr = class.next_server.or(self.siaddr);
            let own = |text: &Option<String>| text.as_ref().map(bytes);
            self.sname = own(&class.server_name).unwrap_or_else(|| std::mem::take(&mut self.sname));
            self.file = own(&class.boot_file).unwrap_or_else(|| std::mem::take(&mut self.file));
        }
    }
}

impl Plan {
    fn new(site: &Site, scope: ScopeId, class: Option<ClassId>, phone: Option<&Phone>) -> Self {
        let class_entry = class.and_then(|id| site.class(id));
        let found = effective(site, Some(scope), class, phone);
        let value = |rule: &OptionRule| match rule.repeats_boot {
            true => Some(boot_suboptions(&found, &rule.value)).filter(|value| !value.is_empty()),
            false => Some(payload(rule, class_entry).into()),
        };
        let rules: Vec<_> = found
            .iter()
            .filter(|found| found.withheld.is_none())
            .filter_map(|found| {
                Some(OptionRule { value: value(found.rule)?, ..found.rule.clone() })
            })
            .collect();
        let mut plan = Self { rules, boot: BootHeader::default() };
        if class_entry.is_some_and(|class| class.boot_header) {
            plan.boot = plan.boot_header();
        }
        let stated = [site.scope(scope).map(|scope| &scope.boot), class_entry.map(|c| &c.boot)];
        plan.boot.state(stated);
        plan
    }

    fn rule(&self, code: u8) -> Option<&OptionRule> {
        let at = self.rules.binary_search_by_key(&code, |rule| rule.code).ok()?;
        self.rules.get(at)
    }

    fn boot_header(&self) -> BootHeader {
        let text = |code| self.rule(code).map(|rule| crate::wire::trim_nuls(&rule.value));
        let siaddr = text(code::TFTP_SERVER)
            .and_then(|server| std::str::from_utf8(server).ok())
            .and_then(|server| server.parse().ok());
        let file = text(code::BOOT_FILE)
            .and_then(|file| file.split(|&byte| byte == b';').next())
            .filter(|file| file.len() <= 127)
            .unwrap_or_default();
        BootHeader { siaddr, file: file.into(), ..BootHeader::default() }
    }

    /// What a client gets: what it asked for in its order, then what it gets unasked; everything when it sends no
    /// option 55, but for what only who asks may be told (RFC 8925, 3.3). With an address comes its mask. The mask comes
    /// before the router (RFC 2132, 3.5), and classless routes, where asked for, instead of the router and of routes of
    /// whole classes (RFC 3442).
    pub fn select<'a>(
        &'a self,
        asked: Option<&[u8]>,
        with_address: bool,
        fields: &mut Vec<Field<'a>>,
    ) {
        let mut done = [false; 256];
        let routed = asked.is_some_and(|codes| codes.contains(&code::CLASSLESS_ROUTES))
            && self.rule(code::CLASSLESS_ROUTES).is_some();
        for replaced in [code::ROUTERS, code::STATIC_ROUTES] {
            if let Some(done) = done.get_mut(usize::from(replaced)) {
                *done = routed;
            }
        }
        let mut push = |rule: &'a OptionRule| {
            let Some(done) = done.get_mut(usize::from(rule.code)) else { return };
            if std::mem::replace(done, true) {
                return;
            }
            let rank = match (rule.send, rule.code) {
                (Send::Always, _) | (_, code::SUBNET_MASK | code::DNS_SERVERS) => Rank::Always,
                (_, code::ROUTERS | code::CLASSLESS_ROUTES | code::DOMAIN_NAME) => Rank::Usual,
                _ => Rank::Asked,
            };
            fields.push(Field { code: rule.code, value: Value::Bytes(&rule.value), rank });
        };
        let is_due = |rule: &OptionRule| {
            rule.send == Send::Always
                || with_address && rule.code == code::SUBNET_MASK
                || asked.map_or(rule.code != code::IPV6_ONLY, |codes| codes.contains(&rule.code))
        };
        for code in asked.unwrap_or_default() {
            if *code == code::ROUTERS
                && !routed
                && self.rule(code::ROUTERS).is_some()
                && let Some(mask) = self.rule(code::SUBNET_MASK).filter(|rule| is_due(rule))
            {
                push(mask);
            }
            if let Some(rule) = self.rule(*code) {
                push(rule);
            }
        }
        self.rules.iter().filter(|rule| is_due(rule)).for_each(push);
    }
}

/// The plans of a site: one for every scope and class, made once.
#[derive(Debug, Default)]
pub struct Plans(Vec<Vec<Plan>>);

impl Plans {
    /// Makes them.
    pub fn new(site: &Site) -> Self {
        let classes = || std::iter::once(None).chain(site.class_ids().map(|(id, _)| Some(id)));
        let plans = site
            .scope_ids()
            .map(|(scope, _)| classes().map(|class| Plan::new(site, scope, class, None)).collect());
        Self(plans.collect())
    }

    /// The plan of a client. Made anew for the few phones that have options of their own.
    pub fn find(
        &self,
        site: &Site,
        scope: ScopeId,
        class: Option<ClassId>,
        phone: Option<&Phone>,
    ) -> Option<Cow<'_, Plan>> {
        if phone.is_some_and(|phone| !phone.options.is_empty()) {
            return Some(Cow::Owned(Plan::new(site, scope, class, phone)));
        }
        let class = class.map_or(0, |id| usize::from(id.0) + 1);
        self.0.get(usize::from(scope.0))?.get(class).map(Cow::Borrowed)
    }
}
