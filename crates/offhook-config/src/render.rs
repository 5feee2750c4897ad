//! Diagnostics as text for people and as JSON for programs.

use std::ops::Range;
use std::sync::LazyLock;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::place::Lines;

/// A place that takes more lines than this shows its first line only.
const MOST_LINES: u32 = 12;

/// Places less than this many lines apart are shown together.
const NEAR: u32 = 100;

impl Diagnostics {
    /// Every diagnostic with the offending text underlined and a hint, a blank line between each two.
    pub fn render(&self, color: bool) -> String {
        let files = self.files();
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let blocks: Vec<_> = self
            .list
            .iter()
            .map(|diagnostic| self.block(diagnostic, lines_of(&files, diagnostic), &renderer))
            .collect();
        let mut text = blocks.join("\n\n");
        if !text.is_empty() {
            text.push('\n');
        }
        text
    }

    fn block(&self, diagnostic: &Diagnostic, lines: &Lines, renderer: &Renderer) -> String {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(&*diagnostic.message).id(diagnostic.code.name());
        let mut group = Group::with_title(title);
        let annotation = |shown: &Shown<'_>, kind: AnnotationKind, span, label: &'_ str| {
            let annotation = kind.span(shown.relative(span));
            if label.is_empty() { annotation } else { annotation.label(label.to_owned()) }
        };
        // Only the lines that matter, so that the cost does not grow with the file; places near to the
        // mistake share a snippet with it.
        let (near, far): (Vec<_>, Vec<_>) = diagnostic
            .related
            .iter()
            .partition(|related| lines.distance(related.span.start, diagnostic.span.start) < NEAR);
        let near_spans = near.iter().map(|related| &related.span);
        let main = self.shown(lines, &diagnostic.span, near_spans);
        let mut annotations =
            vec![annotation(&main, AnnotationKind::Primary, &diagnostic.span, &diagnostic.label)];
        for related in near {
            annotations.push(annotation(
                &main,
                AnnotationKind::Context,
                &related.span,
                &related.label,
            ));
        }
        let mut snippets = vec![(main, annotations)];
        for related in far {
            let shown = self.shown(lines, &related.span, []);
            let annotation =
                annotation(&shown, AnnotationKind::Context, &related.span, &related.label);
            snippets.push((shown, vec![annotation]));
        }
        for (shown, annotations) in snippets {
            let snippet = Snippet::source(shown.text)
                .line_start(shown.line as usize)
                .path(&*diagnostic.file)
                .annotations(annotations);
            group = group.element(snippet);
        }
        if let Some(hint) = &diagnostic.hint {
            group = group.element(Level::HELP.with_name("hint").message(&**hint));
        }
        renderer.render(&[group])
    }

    /// The lines of every file.
    fn files(&self) -> Vec<(&str, Lines)> {
        self.texts.iter().map(|(file, text)| (&**file, Lines::new(text))).collect()
    }

    /// The whole lines that hold `span` and the places `near` to it.
    fn shown<'s, 'l>(
        &self,
        lines: &'l Lines,
        span: &Range<usize>,
        near: impl IntoIterator<Item = &'s Range<usize>>,
    ) -> Shown<'l> {
        let last =
            if lines.distance(span.start, span.end) > MOST_LINES { span.start } else { span.end };
        let (mut first, mut last) = (span.start, last);
        for other in near {
            first = first.min(other.start);
            last = last.max(other.start);
        }
        let start = lines.line_start(first);
        let text = lines.text().get(start..lines.line_end(last)).unwrap_or_default();
        let text = text.strip_suffix('\r').unwrap_or(text);
        Shown { text, start, line: lines.place(first).0 }
    }

    /// One JSON array of objects: `code`, `severity`, `file`, `line`, `column`, `end_line`, `end_column`,
    /// `message`, `label`, `hint`, `text` (the offending text) and `related` (places with labels).
    pub fn to_json(&self) -> String {
        let files = self.files();
        let list: Vec<_> = self
            .list
            .iter()
            .map(|d| (d, lines_of(&files, d)))
            .map(|(d, lines)| Json {
                code: d.code.name(),
                severity: d.severity,
                file: &d.file,
                line: d.line,
                column: d.column,
                end_line: d.end_line,
                end_column: d.end_column,
                message: &d.message,
                label: &d.label,
                hint: d.hint.as_deref(),
                text: lines.text().get(d.span.clone()).unwrap_or_default(),
                related: d
                    .related
                    .iter()
                    .map(|related| {
                        let (line, column) = lines.place(related.span.start);
                        JsonRelated { line, column, label: &related.label }
                    })
                    .collect(),
            })
            .collect();
        serde_json::to_string_pretty(&list).unwrap_or_else(|_| "[]".to_owned())
    }
}

/// The lines of the file that `diagnostic` points into.
fn lines_of<'l>(files: &'l [(&str, Lines)], diagnostic: &Diagnostic) -> &'l Lines {
    static NOTHING: LazyLock<Lines> = LazyLock::new(|| Lines::new(""));
    let found = files.iter().find(|(file, _)| *file == &*diagnostic.file);
    found.map_or(&NOTHING, |(_, lines)| lines)
}

#[derive(Clone)]
struct Shown<'t> {
    text: &'t str,
    start: usize,
    line: u32,
}

impl Shown<'_> {
    fn relative(&self, span: &Range<usize>) -> Range<usize> {
        let place = |offset: usize| {
            self.text.floor_char_boundary(offset.saturating_sub(self.start).min(self.text.len()))
        };
        place(span.start)..place(span.end)
    }
}

#[derive(serde::Serialize)]
struct Json<'d> {
    code: &'static str,
    severity: Severity,
    file: &'d str,
    line: u32,
    column: u32,
    end_line: u32,
    end_column: u32,
    message: &'d str,
    label: &'d str,
    hint: Option<&'d str>,
    text: &'d str,
    related: Vec<JsonRelated<'d>>,
}

#[derive(serde::Serialize)]
struct JsonRelated<'d> {
    line: u32,
    column: u32,
    label: &'d str,
}
