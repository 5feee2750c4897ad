//! What names in the file stand for besides hosts: scopes, and the offsets of the site's time zone.

use std::cell::Cell;

use offhook_model::ScopeId;

use crate::Code;
use crate::names::Names;
use crate::read::{ScopeFacts, SiteFacts, SiteTime};
use crate::report::Problem;
use crate::tree::Value;
use crate::words;

/// Which offset of a time zone is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offset {
    /// Without daylight saving.
    Standard,
    /// The one in force.
    Current,
}

/// The part of [`Names`] that is no host's.
#[derive(Default)]
pub(crate) struct Known {
    /// Where the site is in time, and whether that could not be read.
    time: Option<SiteTime>,
    time_bad: bool,
    /// The offset in force in a time zone was asked for, as the value of an option.
    asked_current: Cell<bool>,
    /// The names of the scopes, in their order; none where one could not be read.
    scopes: Vec<Option<String>>,
    scopes_incomplete: bool,
}

impl Known {
    /// Whether the offset in force in a time zone was asked for since this was asked: by the option that was just read,
    /// if that is asked of every one.
    pub(crate) fn asked_current(&self) -> bool {
        self.asked_current.take()
    }
}

impl Names {
    pub(crate) fn set_time(&mut self, site: &SiteFacts) {
        self.known.time = site.time.as_ref().map(|time| time.value.clone());
        self.known.time_bad = site.time_bad;
    }

    /// The site's offset from UTC, in seconds; reports that `value` asks for what the file does not say.
    pub(crate) fn offset(&self, value: &Value<'_>, which: Offset) -> Option<i32> {
        if self.known.time.is_none() && !self.known.time_bad {
            value.bad(
                Code::BadTimeOffset,
                "the site has no time zone to take the offset from",
                "add `time_zone` in [site], or write an offset such as \"-05:00\"",
            );
        }
        let time = self.known.time.as_ref()?;
        Some(match which {
            Offset::Standard => time.standard,
            Offset::Current => time.current,
        })
    }

    /// The same for an option, which is to follow the clock if it is the offset in force in a time zone.
    pub(crate) fn offset_of_option(&self, value: &Value<'_>, which: Offset) -> Option<i32> {
        let offset = self.offset(value, which)?;
        let has_zone = self.known.time.as_ref().is_some_and(|time| time.zone.is_some());
        self.known.asked_current.set(which == Offset::Current && has_zone);
        Some(offset)
    }

    pub(crate) fn add_scopes(&mut self, scopes: &[ScopeFacts], incomplete: bool) {
        let known = &mut self.known;
        known.scopes = scopes.iter().map(|scope| scope.name.value().cloned()).collect();
        known.scopes_incomplete = incomplete || known.scopes.contains(&None);
    }

    /// The scope that `value` names; reports one that there is not.
    pub(crate) fn scope(&self, value: &Value<'_>) -> Option<ScopeId> {
        let text = value.string_for("a string with a scope's name", None)?;
        let found = self.known.scopes.iter().position(|name| name.as_deref() == Some(text));
        if found.is_none() && !self.known.scopes_incomplete {
            let names = self.known.scopes.iter().flatten().map(String::as_str);
            value.report.push(
                Problem::error(
                    Code::UnknownScope,
                    &value.span,
                    format!("there is no scope `{text}`"),
                )
                .label("no [[scope]] has this name")
                .hint(words::suggest(text, "scope", names)),
            );
        }
        found.and_then(|index| u16::try_from(index).ok()).map(ScopeId)
    }
}
