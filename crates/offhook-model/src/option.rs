//! DHCP options as the configuration means them to be sent.

use std::fmt;
use std::sync::Arc;

/// When an option goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Send {
    /// In every reply that carries configuration, asked for or not. Provisioning options of a phone family.
    Always,
    /// When option 55 lists it, or when the client sends no option 55 at all.
    IfRequested,
    /// Never, whatever a less specific level says.
    Never,
}

/// The file a fact was read from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The administrator's file; the path as it was given.
    Config(Arc<str>),
    /// The catalogue of phone families built into the program.
    Catalogue,
    /// A default of the program, with no line in any file.
    Default,
}

/// Where a value comes from, for `explain`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The file.
    pub source: Source,
    /// The line there, from 1; 0 for [`Source::Default`].
    pub line: u32,
    /// How the value follows from that line, when it is derived: `the DNS listener`.
    pub derived: Option<&'static str>,
}

impl Origin {
    /// A default of the program, for the reason given.
    pub const fn default(derived: &'static str) -> Self {
        Self { source: Source::Default, line: 0, derived: Some(derived) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Config(path) => write!(f, "{path}:{}", self.line)?,
            Source::Catalogue => write!(f, "catalogue:{}", self.line)?,
            Source::Default => f.write_str("default")?,
        }
        match self.derived {
            Some(derived) => write!(f, " ({derived})"),
            None => Ok(()),
        }
    }
}

/// One option at one level of precedence: site, scope, class, class in a scope, or phone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionRule {
    /// The option code, 1 to 254.
    pub code: u8,
    /// The payload as it goes on the wire, without code and length; more than 255 bytes are split (RFC 3396).
    pub value: Box<[u8]>,
    /// When it is sent.
    pub send: Send,
    /// Whether `value` was written as text where the option may be anything: one of [`Kind::Text`](crate::registry::Kind)
    /// always is.
    pub is_text: bool,
    /// Whether `value` is the offset from UTC that is in force in [`Site::time_zone`](crate::Site::time_zone).
    pub follows_time_zone: bool,
    /// Whether `value` is 66 and 67 as sub-options, for boot loaders that look nowhere else: what a client is given in
    /// those options themselves goes before.
    pub repeats_boot: bool,
    /// The line that says so.
    pub origin: Origin,
}
