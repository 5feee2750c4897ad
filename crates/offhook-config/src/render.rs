//! Diagnostics as text for people and as JSON for programs.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::place::Lines;

/// A place that takes more lines than this shows its first line only.
const MOST_LINES: u32 = 12;

impl Diagnostics {
    /// Every diagnostic with the offending text underlined and a hint, a blank line between each two.
    pub fn render(&self, color: bool) -> String {
        let lines = Lines::new(&self.text);
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let blocks: Vec<_> =
            self.list.iter().map(|diagnostic| self.block(diagnostic, &lines, &renderer)).collect();
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
        let main = self.shown(lines, &diagnostic.span);
        // Only the lines that matter, so that the cost does not grow with the file.
        let mut snippets = vec![(main.clone(), vec![])];
        if let Some((_, annotations)) = snippets.first_mut() {
            let annotation = AnnotationKind::Primary.span(main.relative(&diagnostic.span));
            annotations.push(match diagnostic.label.as_str() {
                "" => annotation,
                label => annotation.label(label),
            });
        }
        for related in &diagnostic.related {
            let shown = self.shown(lines, &related.span);
            let annotation = AnnotationKind::Context.span(shown.relative(&related.span));
            snippets.push((shown, vec![annotation.label(&*related.label)]));
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

    /// The whole lines that hold `span`.
    fn shown(&self, lines: &Lines, span: &std::ops::Range<usize>) -> Shown<'_> {
        let start = lines.line_start(span.start);
        let (line, _) = lines.place(span.start);
        let (last, _) = lines.place(span.end);
        let end = if last - line > MOST_LINES { span.start } else { span.end };
        let end = lines.line_end(end);
        let text = self.text.get(start..end).unwrap_or_default();
        Shown { text: text.strip_suffix('\r').unwrap_or(text), start, line }
    }

    /// One JSON array of objects: `code`, `severity`, `file`, `line`, `column`, `end_line`, `end_column`,
    /// `message`, `label`, `hint`, `text` (the offending text) and `related` (places with labels).
    pub fn to_json(&self) -> String {
        let lines = Lines::new(&self.text);
        let list: Vec<_> = self
            .list
            .iter()
            .map(|d| Json {
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
                text: self.text.get(d.span.clone()).unwrap_or_default(),
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

#[derive(Clone)]
struct Shown<'t> {
    text: &'t str,
    start: usize,
    line: u32,
}

impl Shown<'_> {
    fn relative(&self, span: &std::ops::Range<usize>) -> std::ops::Range<usize> {
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
