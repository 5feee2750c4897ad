//! Checks across sections: what is right by itself and wrong together.

mod addresses;
mod duplicates;
mod effect;
mod firmware;
mod lease;
mod options;
mod phones;
mod polycom;
mod pools;
mod records;
mod scopes;
mod servers;
mod shared;
mod upstream;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use crate::read::{ClassFacts, Facts};
use crate::report::{Problem, Report, Span};
use crate::{Code, Files, words};

/// What the checks look at.
pub(crate) struct Context<'f> {
    pub(crate) facts: &'f Facts,
    pub(crate) catalogue: &'f [ClassFacts],
    pub(crate) report: &'f Report,
}

pub(crate) fn all(
    facts: &Facts,
    catalogue: &[ClassFacts],
    base: &Path,
    files: &dyn Files,
    report: &Report,
) {
    let context = Context { facts, catalogue, report };
    addresses::check(&context);
    duplicates::check(&context);
    servers::check(&context);
    records::check(&context);
    scopes::check(&context);
    lease::check(&context);
    shared::check(&context);
    pools::check(&context);
    effect::check(&context);
    options::check(&context);
    polycom::check(&context);
    phones::check(&context);
    firmware::check(&context, base, files);
    upstream::check(&context, base, files);
}

impl<'f> Context<'f> {
    /// The administrator's classes before the catalogue's, which they hide by name.
    fn classes(&self) -> impl Iterator<Item = &'f ClassFacts> + Clone {
        crate::derive::all_classes(self.facts, self.catalogue)
    }

    fn class(&self, name: &str) -> Option<&'f ClassFacts> {
        self.classes().find(|class| class.is_named(name))
    }

    /// Whether a phone is said to be of this class.
    fn is_named(&self, class: &str) -> bool {
        let of_phones = self.facts.phones.iter().filter_map(|phone| phone.class.value());
        let of_rows = self.facts.rows.iter().filter_map(|row| row.class.as_ref());
        of_phones.chain(of_rows).any(|name| name.eq_ignore_ascii_case(class))
    }

    /// Reports a class that there is not, unless it may be one that could not be read.
    fn known_class(&self, name: &str, span: &Span) {
        if self.class(name).is_some()
            || self.facts.sections_lost
            || self.facts.classes.iter().any(|class| class.name.is_bad())
        {
            return;
        }
        let names = self.classes().filter_map(|class| class.name.value());
        self.report.push(
            Problem::error(Code::UnknownClass, span, format!("there is no class `{name}`"))
                .label("neither in this file nor in the catalogue")
                .hint(words::suggest(name, "class", names.map(String::as_str))),
        );
    }

    /// Every address that belongs to a machine, with what it is and where that stands.
    fn taken(&self) -> Vec<(Ipv4Addr, String, &'f Span)> {
        let mut all = Vec::new();
        for host in &self.facts.hosts {
            if let (Some(name), Some(address)) = (host.name.value(), host.address.good()) {
                all.push((address.value, format!("the host `{name}`"), &address.span));
            }
        }
        for router in self.facts.scopes.iter().filter_map(|scope| scope.router.good()) {
            all.push((router.value, "a router".to_owned(), &router.span));
        }
        let listeners = self.facts.dns.listen.value().into_iter().flat_map(|list| &list.items);
        for listener in listeners {
            if let IpAddr::V4(address) = listener.value.ip() {
                all.push((address, "the DNS server".to_owned(), &listener.span));
            }
        }
        if let Some(listener) = self.facts.tftp.as_ref().and_then(|tftp| tftp.listen.good())
            && let IpAddr::V4(address) = listener.value.ip()
        {
            all.push((address, "the TFTP server".to_owned(), &listener.span));
        }
        all
    }
}
