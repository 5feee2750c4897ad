//! What a boot is worth.

use std::fmt;

/// How much the guide insists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Without it the phone does not come up, or comes up wrong.
    Must,
    /// It comes up, but not all of it works, or not for long.
    Should,
    /// It is better with it.
    May,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Must => "must",
            Self::Should => "should",
            Self::May => "may",
        })
    }
}

/// Whether a step is as the guide has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It is.
    Pass,
    /// It is not.
    Fail,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
        })
    }
}

/// What a step is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The boot as a whole.
    Boot,
    /// Address, times and form of a lease.
    Lease,
    /// An option that is to be given.
    Given(u8),
    /// An option that is not to be given.
    Withheld(u8),
    /// A DNS answer.
    Dns,
    /// The firmware.
    Tftp,
}

/// One thing the guide asks for, and how it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The lease it is about, as an index into [`crate::Record::leases`].
    pub lease: Option<usize>,
    /// What it is about.
    pub subject: Subject,
    /// What was asked for: `option 132: the voice VLAN`.
    pub name: String,
    /// How much the guide insists.
    pub level: Level,
    /// How it was.
    pub outcome: Outcome,
    /// The value given, or what is wrong with it.
    pub detail: String,
}

/// Every step of one boot, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The steps.
    pub steps: Vec<Step>,
}

impl Report {
    /// Whether every step of this level and of the stronger ones passed.
    pub fn passes(&self, level: Level) -> bool {
        self.failures().all(|step| step.level > level)
    }

    /// The strongest level at which a step failed; none when all passed.
    pub fn verdict(&self) -> Result<(), Level> {
        self.failures().map(|step| step.level).min().map_or(Ok(()), Err)
    }

    /// The steps that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.outcome == Outcome::Fail)
    }
}

impl fmt::Display for Report {
    /// One line a step.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| {
            let Step { name, level, outcome, detail, .. } = step;
            writeln!(f, "{level:<6}  {outcome}  {name}: {detail}")
        })
    }
}
