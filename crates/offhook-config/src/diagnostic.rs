//! What is wrong with a configuration, and where.

use std::ops::Range;
use std::sync::Arc;

use crate::Code;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The site could not run, or a phone would surely fail.
    Error,
    /// Anything else worth a look: an image that is not there yet.
    Warning,
}

/// One mistake, with its place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// Which kind of mistake; stable over releases.
    pub code: Code,
    /// One sentence without a full stop.
    pub message: String,
    /// The file: as it was named to [`crate::load`], or one that it names.
    pub file: Arc<str>,
    /// The line of the offending text, from 1.
    pub line: u32,
    /// Its column in characters, from 1.
    pub column: u32,
    /// The line where the offending text ends.
    pub end_line: u32,
    /// The column after its last character.
    pub end_column: u32,
    /// The offending bytes of the file; empty where something is missing.
    pub span: Range<usize>,
    /// What to write under the offending text; may be empty.
    pub label: String,
    /// Other places that have to do with it.
    pub related: Vec<Related>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// A second place in the same file that belongs to a diagnostic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Related {
    /// Its bytes.
    pub span: Range<usize>,
    /// What it has to do with the mistake: `first defined here`.
    pub label: String,
}

/// All diagnostics of a configuration, by position; those of a file that it names come last.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    /// The texts that the diagnostics point into, by the names of their files.
    pub(crate) texts: Vec<(Arc<str>, Arc<str>)>,
    pub(crate) list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Adds those of a file that the first one names.
    pub(crate) fn append(&mut self, other: Self) {
        self.texts.extend(other.texts);
        self.list.extend(other.list);
    }

    /// Every diagnostic, in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }

    /// The errors, in the order of the file.
    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter().filter(|d| d.severity == Severity::Error)
    }

    /// The warnings, in the order of the file.
    pub fn warnings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter().filter(|d| d.severity == Severity::Warning)
    }

    /// Whether there is no error; warnings may remain.
    pub fn is_ok(&self) -> bool {
        self.errors().next().is_none()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
