//! What is not TOML: found one statement at a time, each blanked out so that the rest can be read.
//!
//! The parser recovers from an error by itself, but an open bracket or quote swallows the lines below it. So
//! the statement that holds the first error is overwritten with spaces, of the same length to keep every
//! offset, and the text is parsed again.

use toml::de::DeTable;

use crate::Code;
use crate::place::Lines;
use crate::report::{Problem, Span};

/// A text that is TOML, and what was taken out of it.
pub(crate) struct Mended {
    pub(crate) text: String,
    pub(crate) problems: Vec<Problem>,
    /// Where something was lost.
    pub(crate) damage: Vec<Span>,
    /// The header of a table was lost, and with it what the table is.
    pub(crate) sections_lost: bool,
    /// Errors that take nothing away: keys given again.
    pub(crate) repeated: Vec<(Span, String)>,
}

/// Statements that are taken out one by one; past these, errors are reported as the parser gives them.
const MOST_ROUNDS: usize = 200;
/// The same for large files, in bytes parsed.
const MOST_BYTES: usize = 8 << 20;
/// And of those no more than this.
const MOST_ERRORS: usize = 100;

pub(crate) fn mend(text: &str) -> Mended {
    let lines = Lines::new(text);
    let mut mended = Mended {
        text: text.to_owned(),
        problems: Vec::new(),
        damage: Vec::new(),
        sections_lost: false,
        repeated: Vec::new(),
    };
    mended.take_out_single_headers(text, &lines);
    let rounds = MOST_ROUNDS.min(MOST_BYTES / text.len().max(1) + 1);
    for round in 0.. {
        let (_, errors) = DeTable::parse_recoverable(&mended.text);
        let mut errors: Vec<_> = errors
            .iter()
            .map(|error| (error.span().unwrap_or(0..0), error.message().replace('\n', ", ")))
            .collect();
        errors.sort_by_key(|(span, _)| span.start);
        let (repeated, errors): (Vec<_>, Vec<_>) =
            errors.into_iter().partition(|(_, message)| is_repetition(message));
        mended.repeated = repeated;
        let Some((span, message)) = errors.first() else { break };
        let culprit = Culprit::find(&mended.text, &lines, span);
        if round >= rounds || !mended.take_out(&culprit, round, message, span) {
            for (span, message) in errors.iter().take(MOST_ERRORS) {
                let problem = Problem::error(Code::Syntax, span, message.clone());
                mended.problems.push(problem.label("not TOML").hint(CHECK));
            }
            // What else there is means nothing.
            mended.damage.push(0..text.len());
            mended.sections_lost = true;
            break;
        }
    }
    mended
}

fn is_repetition(message: &str) -> bool {
    message.starts_with("duplicate key") || message.starts_with("cannot extend value")
}

/// The lines that hold a mistake.
struct Culprit {
    /// From the start of its first line to the end of its last.
    lines: Span,
    /// It swallowed what follows it.
    open: bool,
}

impl Culprit {
    fn find(text: &str, lines: &Lines, error: &Span) -> Self {
        let start = lines.line_start(error.start);
        let end = lines.line_end(error.start);
        let line = text.get(start..end).unwrap_or_default();
        let at_end = line.trim().is_empty();
        if at_end {
            for quotes in ["\"\"\"", "'''"] {
                if text.matches(quotes).count() % 2 == 1
                    && let Some(open) = text.rfind(quotes)
                {
                    let lines = lines.line_start(open)..lines.line_end(open);
                    return Self { lines, open: true };
                }
            }
        }
        // A good statement in a bad place: one before it is still open.
        if at_end || (starts_statement(line) && DeTable::parse(line).is_ok()) {
            let mut before = start;
            while before > lines.first() {
                let next = before;
                before = lines.line_start(next - 1);
                let line = text.get(before..next).unwrap_or_default();
                if starts_statement(line) {
                    return Self { lines: before..next - 1, open: true };
                }
            }
        }
        Self { lines: start..end, open: false }
    }
}

/// Whether a broken line was meant as a header: `[[scope]`, `scope]]`.
fn is_like_header(statement: &str) -> bool {
    let code = without_comment(statement).trim();
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ' | ']');
    !code.contains('=')
        && (code.starts_with('[') || (code.ends_with(']') && code.chars().all(name)))
}

/// Whether a line looks like `key = …` or `[header]`.
fn starts_statement(line: &str) -> bool {
    let line = line.trim_start();
    let key =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '"' | '\'' | ' ');
    if let Some(header) = line.strip_prefix('[') {
        let name = header.trim_start_matches(['[', ' ']);
        return name.starts_with(|c: char| c.is_ascii_alphabetic()) && header.contains(']');
    }
    line.split_once('=').is_some_and(|(name, _)| !name.trim().is_empty() && name.chars().all(key))
}

/// Tables of which there are many.
const LISTS: [&str; 4] = ["host", "scope", "class", "phone"];

impl Mended {
    /// `[host]` beside `[[host]]`: one mistake, for which the parser would find fault with every other host.
    fn take_out_single_headers(&mut self, text: &str, lines: &Lines) {
        let mut start = lines.first();
        let mut number = 999;
        for line in text.get(start..).unwrap_or_default().split_inclusive('\n') {
            let span = start..start + line.trim_end_matches(['\r', '\n']).len();
            start += line.len();
            let Some(key) = without_comment(line)
                .trim()
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
                .and_then(|name| LISTS.iter().find(|list| **list == name.trim()))
            else {
                continue;
            };
            let list = format!("[[{key}]]");
            if !text.contains(&format!("\n{list}")) || number <= MOST_ROUNDS {
                continue;
            }
            self.problems.push(
                Problem::error(Code::WrongType, &span, "expected a list of tables, found a table")
                    .label("one pair of brackets")
                    .hint(format!("write {list}, with two pairs of brackets")),
            );
            let blank = " ".repeat(span.len());
            self.replace_header(&span, blank, number);
            number -= 1;
        }
    }

    /// Reports the culprit and overwrites it; `false` when there is nothing left to overwrite.
    fn take_out(&mut self, culprit: &Culprit, round: usize, message: &str, error: &Span) -> bool {
        let statement = self.text.get(culprit.lines.clone()).unwrap_or_default().to_owned();
        if statement.trim().is_empty() {
            return false;
        }
        self.problems.push(describe(&statement, culprit, message, error));
        let is_header = !culprit.open && is_like_header(&statement);
        let blank: String = statement
            .bytes()
            .map(|b| if matches!(b, b'\n' | b'\r') { b.into() } else { ' ' })
            .collect();
        if is_header {
            return self.replace_header(&culprit.lines, blank, round);
        }
        self.text.replace_range(culprit.lines.clone(), &blank);
        self.damage.push(culprit.lines.clone());
        true
    }
}

impl Mended {
    /// Another header takes the place of a broken one, lest its keys go to the table before.
    fn replace_header(&mut self, lines: &Span, mut blank: String, number: usize) -> bool {
        self.sections_lost = true;
        // Short, as the one it replaces may be; no key of ours starts like this.
        let header = format!("[-{number}]");
        if header.len() <= blank.trim_end_matches(['\r', '\n']).len() {
            blank.replace_range(..header.len(), &header);
        }
        self.text.replace_range(lines.clone(), &blank);
        self.damage.push(lines.clone());
        true
    }
}

const CHECK: &str = "check quotes, brackets and commas on this line";

/// What is wrong with a statement, as a person would say it.
fn describe(statement: &str, culprit: &Culprit, message: &str, error: &Span) -> Problem {
    let place = |part: &str| {
        // `part` is a slice of `statement`.
        let start = culprit.lines.start + (part.as_ptr() as usize - statement.as_ptr() as usize);
        start..start + part.len()
    };
    let problem = |span: &Span, message: &str, label: &str, hint: String| {
        Problem::error(Code::Syntax, span, message).label(label).hint(hint)
    };
    let first = statement.lines().next().unwrap_or_default();
    let value = first.split_once('=').map(|(_, value)| value.trim());
    if culprit.open {
        let value = value.unwrap_or(first.trim());
        let (what, close) = match value.chars().next() {
            Some('[') => ("list", "]"),
            Some('{') => ("table", "}"),
            _ if value.starts_with("'''") => ("string", "'''"),
            _ => ("string", "\"\"\""),
        };
        return problem(
            &place(value),
            &format!("this {what} is not closed"),
            &format!("no `{close}` follows"),
            format!("add a `{close}`"),
        );
    }
    let code = value.map(without_comment);
    match code {
        Some("") => {
            let end = place(first.trim_end()).end;
            problem(
                &(error.start.min(end)..end),
                "there is no value after the `=`",
                "no value",
                "write a value, or leave the key out".to_owned(),
            )
        }
        Some(value) if value.matches('"').count() % 2 == 1 => problem(
            &place(value),
            "this string is not closed",
            "no closing `\"`",
            "add a `\"`".to_owned(),
        ),
        Some(value) if !value.contains(['"', '\'', '[', '{', '=']) => {
            let plain = value.trim_matches(['"', '\'']);
            problem(
                &place(value),
                &format!("`{value}` is not a TOML value"),
                "not a TOML value",
                match value.to_ascii_lowercase().as_str() {
                    "yes" | "on" | "true" => "write true".to_owned(),
                    "no" | "off" | "false" => "write false".to_owned(),
                    _ => format!("strings need quotes: \"{plain}\""),
                },
            )
        }
        Some(_) => problem(error, message, "not TOML", CHECK.to_owned()),
        None => {
            let text = without_comment(first.trim());
            let hint = if first.trim_start().starts_with("[[") {
                "a table of a list starts with [[name]]"
            } else if first.trim_start().starts_with('[') {
                "a table starts with [name]"
            } else if text.contains(':') {
                "TOML has `key = value`, with `=`"
            } else if text.starts_with("//") || text.starts_with(';') {
                "comments start with `#`"
            } else {
                "write key = value, [table] or [[table]]"
            };
            problem(&place(text), message, "not TOML", hint.to_owned())
        }
    }
}

/// The text before a `#` that is not in quotes.
fn without_comment(text: &str) -> &str {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (c, quote) {
            ('#', None) => return text.get(..at).unwrap_or(text).trim_end(),
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            _ => {}
        }
    }
    text.trim_end()
}

/// The last key of this text before `before`: what a repeated one repeats.
pub(crate) fn first_definition(table: &DeTable<'_>, text: &str, before: usize) -> Option<Span> {
    let name = text.trim_matches(['"', '\'']);
    let mut found: Option<Span> = None;
    let mut pending = vec![table];
    while let Some(table) = pending.pop() {
        for (key, value) in table {
            let span = key.span();
            let later = found.as_ref().is_none_or(|found| span.start > found.start);
            if key.get_ref() == name && span.start < before && later {
                found = Some(span);
            }
            match value.get_ref() {
                toml::de::DeValue::Table(inner) => pending.push(inner),
                toml::de::DeValue::Array(array) => {
                    pending.extend(array.iter().filter_map(|item| item.get_ref().as_table()));
                }
                _ => {}
            }
        }
    }
    found
}
