//! Where the reader puts what it finds wrong, and how byte offsets become lines and columns.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use offhook_model::{Origin, Source};

use crate::diagnostic::{Diagnostic, Diagnostics, Related, Severity};
use crate::{Code, place::Lines};

/// A byte range of the file.
pub(crate) type Span = Range<usize>;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Spanned<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

impl<T> Spanned<T> {
    pub(crate) fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

/// A diagnostic that does not know its line yet.
#[must_use = "a problem must be pushed to the report"]
pub(crate) struct Problem {
    severity: Severity,
    code: Code,
    span: Span,
    message: String,
    label: String,
    related: Vec<Related>,
    hint: Option<String>,
}

impl Problem {
    pub(crate) fn error(code: Code, span: &Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            span: span.clone(),
            message: message.into(),
            label: String::new(),
            related: Vec::new(),
            hint: None,
        }
    }

    pub(crate) fn warning(code: Code, span: &Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message) }
    }

    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    pub(crate) fn related(mut self, span: &Span, label: impl Into<String>) -> Self {
        self.related.push(Related { span: span.clone(), label: label.into() });
        self
    }
}

/// Everything found wrong with one text.
pub(crate) struct Report {
    source: Source,
    lines: Lines,
    problems: RefCell<Vec<Problem>>,
    /// Keys that the reader asked for, as `section.key`: what the reference configuration must show.
    known: RefCell<BTreeSet<String>>,
    damage: Vec<Span>,
    headers: Vec<usize>,
    sections_lost: bool,
    any_error: Cell<bool>,
}

/// More than this is a wrong file, not a file with mistakes.
const MOST: usize = 1000;

impl Report {
    pub(crate) fn new(source: Source, text: &str) -> Self {
        Self {
            source,
            lines: Lines::new(text),
            problems: RefCell::default(),
            known: RefCell::default(),
            damage: Vec::new(),
            headers: Vec::new(),
            sections_lost: false,
            any_error: Cell::new(false),
        }
    }

    /// Tells where the syntax is broken, and where tables start.
    pub(crate) fn set_damage(
        &mut self,
        damage: Vec<Span>,
        mut headers: Vec<usize>,
        sections_lost: bool,
    ) {
        headers.sort_unstable();
        self.damage = damage;
        self.headers = headers;
        self.sections_lost = sections_lost;
    }

    pub(crate) fn push(&self, problem: Problem) {
        let mut problems = self.problems.borrow_mut();
        // Bounded, whatever the file; the first error is always kept, so that there is no site.
        let is_first_error = problem.severity == Severity::Error && !self.any_error.replace(true);
        if is_first_error || problems.len() < 10 * MOST {
            problems.push(problem);
        }
    }

    /// Whether the syntax is broken in `span` or in the rest of its last line: what was read from there is
    /// not what was meant.
    pub(crate) fn is_damaged(&self, span: &Span) -> bool {
        let end = self.lines.line_end(span.end);
        self.damage.iter().any(|d| d.start <= end && span.start <= d.end)
    }

    /// Whether the syntax is broken somewhere between the table header that starts at `start` and the next.
    pub(crate) fn is_section_damaged(&self, start: usize) -> bool {
        let next = self.headers.partition_point(|&header| header <= start);
        let end = self.headers.get(next).copied().unwrap_or(usize::MAX);
        self.damage.iter().any(|d| d.end >= start && d.start < end)
    }

    /// Whether `span` starts on the line after the one that `before` starts on.
    pub(crate) fn is_next_line(&self, before: &Span, span: &Span) -> bool {
        before.start < span.start && self.lines.distance(before.start, span.start) == 1
    }

    /// Whether the value at `span` is an inline table.
    pub(crate) fn is_inline(&self, span: &Span) -> bool {
        self.lines.text().as_bytes().get(span.start) == Some(&b'{')
    }

    /// What stands in the file at `span`.
    pub(crate) fn source(&self, span: &Span) -> &str {
        self.lines.text().get(span.clone()).unwrap_or_default()
    }

    /// In how many places the file says `word`, whatever it means there; spaces, hyphens and letter case do
    /// not count.
    pub(crate) fn mentions(&self, word: &str) -> usize {
        let plain = |text: &str| text.to_ascii_lowercase().replace([' ', '\t', '-', '_'], "");
        let (text, word) = (plain(self.lines.text()), plain(word));
        let is_inside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        text.match_indices(&word)
            .filter(|(at, _)| {
                let (before, after) = text.split_at(*at);
                let after = after.strip_prefix(word.as_str()).unwrap_or_default();
                !is_inside(before.chars().next_back()) && !is_inside(after.chars().next())
            })
            .count()
    }

    /// Whether the header of some table was lost, so that a table that seems to be missing may be there.
    pub(crate) fn are_sections_lost(&self) -> bool {
        self.sections_lost
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.any_error.get()
    }

    pub(crate) fn know(&self, section: &str, key: &str) {
        self.known.borrow_mut().insert(format!("{section}.{key}"));
    }

    #[cfg(test)]
    pub(crate) fn known_keys(&self) -> BTreeSet<String> {
        self.known.borrow().clone()
    }

    /// The line of `span`, as the origin of a fact that is written there.
    pub(crate) fn origin(&self, span: &Span) -> Origin {
        Origin { source: self.source.clone(), line: self.lines.place(span.start).0, derived: None }
    }

    /// The line of `span`, as the origin of something derived from what is written there.
    pub(crate) fn derived(&self, span: &Span, derived: &'static str) -> Origin {
        Origin { derived: Some(derived), ..self.origin(span) }
    }

    pub(crate) fn finish(self, file: &str, text: &str) -> Diagnostics {
        let file: Arc<str> = file.into();
        let mut problems = self.problems.into_inner();
        // Errors first, so that what is cut off is never the only error.
        problems.sort_by_key(|p| (p.severity, p.span.start));
        problems.truncate(MOST);
        problems.sort_by_key(|p| (p.span.start, p.span.end, p.severity));
        let list = problems
            .into_iter()
            .map(|problem| {
                let span = self.lines.clamp(problem.span);
                let (line, column) = self.lines.place(span.start);
                let (end_line, end_column) = self.lines.place(span.end);
                Diagnostic {
                    severity: problem.severity,
                    code: problem.code,
                    message: problem.message,
                    file: file.clone(),
                    line,
                    column,
                    end_line,
                    end_column,
                    span,
                    label: problem.label,
                    related: problem
                        .related
                        .into_iter()
                        .map(|r| Related { span: self.lines.clamp(r.span), label: r.label })
                        .collect(),
                    hint: problem.hint,
                }
            })
            .collect();
        Diagnostics { texts: vec![(file, text.into())], list }
    }
}
