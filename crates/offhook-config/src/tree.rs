//! A view of the TOML tree that remembers which keys were asked for, so that the rest are unknown keys.

use std::cell::{Cell, RefCell};

use toml::de::{DeTable, DeValue};

use crate::Code;
use crate::report::{Problem, Report, Span, Spanned};
use crate::words::{self, nearest};

/// What became of a key: not there, there but wrong (and reported), or read.
#[derive(Clone, Debug)]
pub(crate) enum Field<T> {
    Absent,
    Bad,
    Good(Spanned<T>),
}

impl<T> Field<T> {
    pub(crate) fn good(&self) -> Option<&Spanned<T>> {
        match self {
            Self::Good(value) => Some(value),
            Self::Absent | Self::Bad => None,
        }
    }

    pub(crate) fn value(&self) -> Option<&T> {
        self.good().map(|spanned| &spanned.value)
    }

    pub(crate) fn into_value(self) -> Option<T> {
        match self {
            Self::Good(value) => Some(value.value),
            Self::Absent | Self::Bad => None,
        }
    }

    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    pub(crate) fn is_bad(&self) -> bool {
        matches!(self, Self::Bad)
    }
}

/// The good items of a list, and whether those are all of it.
#[derive(Clone, Debug)]
pub(crate) struct List<T> {
    pub(crate) items: Vec<Spanned<T>>,
    pub(crate) complete: bool,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { items: Vec::new(), complete: true }
    }
}

/// One value of the tree.
#[derive(Clone)]
pub(crate) struct Value<'a> {
    pub(crate) report: &'a Report,
    node: &'a DeValue<'a>,
    pub(crate) span: Span,
}

impl<'a> Value<'a> {
    fn new(report: &'a Report, node: &'a toml::Spanned<DeValue<'a>>) -> Self {
        Self { report, node: node.get_ref(), span: node.span() }
    }

    pub(crate) fn is_table(&self) -> bool {
        matches!(self.node, DeValue::Table(_))
    }

    pub(crate) fn is_list(&self) -> bool {
        matches!(self.node, DeValue::Array(_))
    }

    pub(crate) fn is_string(&self) -> bool {
        matches!(self.node, DeValue::String(_))
    }

    /// The string that stands there; nothing when it is none.
    pub(crate) fn as_str(&self) -> Option<&'a str> {
        match self.node {
            DeValue::String(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn is_boolean(&self) -> bool {
        matches!(self.node, DeValue::Boolean(_))
    }

    /// What stands there, with its article.
    pub(crate) fn found(&self) -> &'static str {
        match self.node {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        }
    }

    /// Reports that something else was expected; `expected` has its article.
    pub(crate) fn wrong_type(&self, expected: &str, hint: impl Into<Option<String>>) {
        let found = self.found();
        let hint = hint.into().or_else(|| match self.node {
            DeValue::Integer(number) if expected.starts_with("a string") => {
                Some(format!("put it in quotes: \"{}\"", number.as_str()))
            }
            DeValue::Float(number) if expected.starts_with("a string") => {
                Some(format!("put it in quotes: \"{}\"", number.as_str()))
            }
            DeValue::String(text)
                if expected.starts_with("an integer")
                    && !text.is_empty()
                    && text.bytes().all(|b| b.is_ascii_digit()) =>
            {
                Some(format!("leave out the quotes: {text}"))
            }
            DeValue::String(text)
                if expected == "true or false" && matches!(&**text, "true" | "false") =>
            {
                Some(format!("leave out the quotes: {text}"))
            }
            _ => Some(format!("write {expected}")),
        });
        self.report.push(
            Problem::error(
                Code::WrongType,
                &self.span,
                format!("expected {expected}, found {found}"),
            )
            .label(format!("expected {expected}"))
            .maybe_hint(hint),
        );
    }

    /// Reports a value that does not say what it should.
    pub(crate) fn bad(&self, code: Code, message: impl Into<String>, hint: impl Into<String>) {
        self.report
            .push(Problem::error(code, &self.span, message).label(code_label(code)).hint(hint));
    }

    pub(crate) fn string(&self) -> Option<&'a str> {
        self.string_for("a string", None)
    }

    /// A string that stands for `expected`.
    pub(crate) fn string_for(&self, expected: &str, hint: Option<String>) -> Option<&'a str> {
        match self.node {
            DeValue::String(text) => Some(text),
            _ => {
                self.wrong_type(expected, hint);
                None
            }
        }
    }

    /// A string with something in it.
    pub(crate) fn text(&self) -> Option<String> {
        let text = self.string()?;
        if text.trim().is_empty() {
            self.bad(
                Code::EmptyValue,
                "this must not be empty",
                "write something, or leave the key out",
            );
            return None;
        }
        Some(text.to_owned())
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        match self.node {
            DeValue::Boolean(value) => Some(*value),
            _ => {
                self.wrong_type("true or false", None);
                None
            }
        }
    }

    /// The integer that stands there, whatever its size; nothing when it is none.
    pub(crate) fn as_integer(&self) -> Option<i128> {
        match self.node {
            DeValue::Integer(number) => {
                Some(i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(i128::MAX))
            }
            _ => None,
        }
    }

    /// An integer within bounds, both included.
    pub(crate) fn integer<T: TryFrom<i128>>(&self, least: i128, most: i128) -> Option<T> {
        let Some(number) = self.as_integer() else {
            self.wrong_type("an integer", None);
            return None;
        };
        if !(least..=most).contains(&number) {
            self.bad(
                Code::OutOfRange,
                format!("{} is not between {least} and {most}", self.source_text(number)),
                format!("write a number from {least} to {most}"),
            );
            return None;
        }
        T::try_from(number).ok()
    }

    fn source_text(&self, number: i128) -> String {
        if number == i128::MAX { "this number".to_owned() } else { format!("`{number}`") }
    }

    /// The elements of a list.
    pub(crate) fn elements(&self) -> Vec<Value<'a>> {
        match self.node {
            DeValue::Array(items) => {
                items.iter().map(|item| Value::new(self.report, item)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// One value, or a list of them; bad elements are reported by `read` and left out.
    pub(crate) fn one_or_many<T>(&self, read: impl Fn(&Value<'a>) -> Option<T>) -> Option<List<T>> {
        if !self.is_list() {
            let value = read(self)?;
            let items = vec![Spanned::new(value, self.span.clone())];
            return Some(List { items, complete: true });
        }
        let mut list = List::default();
        for element in self.elements() {
            match read(&element) {
                Some(value) => list.items.push(Spanned::new(value, element.span)),
                None => list.complete = false,
            }
        }
        Some(list)
    }

    /// A list; bad elements are reported by `read` and left out.
    pub(crate) fn list<T>(
        &self,
        of: &str,
        read: impl Fn(&Value<'a>) -> Option<T>,
    ) -> Option<List<T>> {
        if !self.is_list() {
            self.wrong_type(&format!("a list of {of}"), self.in_brackets());
            return None;
        }
        self.one_or_many(read)
    }

    fn in_brackets(&self) -> Option<String> {
        self.is_string().then(|| "put it in brackets: [\"…\"]".to_owned())
    }

    /// A table; `section` is its name in messages and in the list of known keys.
    pub(crate) fn table(&self, section: &str) -> Option<Table<'a>> {
        match self.node {
            DeValue::Table(table) => {
                Some(Table::new(self.report, table, self.span.clone(), section))
            }
            _ => {
                self.wrong_type("a table", table_hint(section));
                None
            }
        }
    }
}

fn table_hint(section: &str) -> Option<String> {
    // Anything below a section is likelier written in one line.
    let is_section = section.starts_with('[') && section.ends_with(']');
    Some(match is_section {
        true => format!("start a table: {section}"),
        false => "write a table in braces: { key = value }".to_owned(),
    })
}

/// What stands under the offending text when there is nothing better to say.
fn code_label(code: Code) -> String {
    let mut label = code.description().to_owned();
    if let Some(first) = label.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    label
}

struct Entry<'a> {
    key: &'a str,
    key_span: Span,
    value: &'a toml::Spanned<DeValue<'a>>,
}

/// One table of the tree.
pub(crate) struct Table<'a> {
    pub(crate) report: &'a Report,
    /// The header, or the braces with what is between them.
    pub(crate) span: Span,
    section: String,
    entries: Vec<Entry<'a>>,
    taken: RefCell<Vec<&'a str>>,
    is_reported: Cell<bool>,
}

impl<'a> Table<'a> {
    pub(crate) fn new(
        report: &'a Report,
        table: &'a DeTable<'a>,
        span: Span,
        section: &str,
    ) -> Self {
        let mut entries: Vec<_> = table
            .iter()
            .map(|(key, value)| Entry { key: key.get_ref(), key_span: key.span(), value })
            .collect();
        entries.sort_by_key(|entry| entry.key_span.start);
        Self {
            report,
            span,
            section: section.to_owned(),
            entries,
            taken: RefCell::default(),
            is_reported: Cell::new(false),
        }
    }

    /// Every key with its value, in the order of the file: for tables whose keys are names.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Spanned<&'a str>, Option<Value<'a>>)> + '_ {
        self.entries.iter().map(|entry| {
            let value = Value::new(self.report, entry.value);
            let value = (!self.is_lost(&value)).then_some(value);
            (Spanned::new(entry.key, entry.key_span.clone()), value)
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// Whether there is a key that was not asked for.
    pub(crate) fn has_unknown(&self) -> bool {
        let taken = self.taken.borrow();
        self.entries.iter().any(|entry| !taken.contains(&entry.key))
    }

    /// Names keys that will be asked for: one of them is no misspelling of another.
    pub(crate) fn expect(&self, keys: &[&'static str]) {
        let mut taken = self.taken.borrow_mut();
        for key in keys {
            if !taken.contains(key) {
                taken.push(key);
            }
        }
    }

    /// Counts a key as asked for that [`Table::all`] gave.
    pub(crate) fn take(&self, key: &'a str) {
        self.taken.borrow_mut().push(key);
    }

    /// Whether the value is not what was meant, because the syntax is broken there.
    fn is_lost(&self, value: &Value<'a>) -> bool {
        let is_section = match value.node {
            DeValue::Table(_) => !self.report.is_inline(&value.span),
            // The tables of a list of tables have headers, one of an inline list has braces.
            DeValue::Array(items) => items
                .iter()
                .any(|item| item.get_ref().is_table() && !self.report.is_inline(&item.span())),
            _ => false,
        };
        !is_section && self.report.is_damaged(&value.span)
    }

    /// The value of `key`, when it is there and was read.
    pub(crate) fn field<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Value<'a>) -> Option<T>,
    ) -> Field<T> {
        self.report.know(&self.section, key);
        self.expect(&[key]);
        let Some(entry) = self.entries.iter().find(|entry| entry.key == key) else {
            // A misspelt key is reported as unknown; that it seems to be missing is no second mistake.
            return if self.has_near(key) { Field::Bad } else { Field::Absent };
        };
        let value = Value::new(self.report, entry.value);
        if self.is_lost(&value) {
            return Field::Bad;
        }
        match read(&value) {
            Some(read) => Field::Good(Spanned::new(read, value.span)),
            None => Field::Bad,
        }
    }

    /// As [`Table::field`], and reports a missing key.
    pub(crate) fn required<T>(
        &self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&Value<'a>) -> Option<T>,
    ) -> Field<T> {
        let field = self.field(key, read);
        if !field.is_absent() {
            return field;
        }
        // The key may stand where the syntax is broken; and an empty table is one mistake, however many keys
        // it lacks.
        let is_said = self.entries.is_empty() && self.is_reported.replace(true);
        if !self.is_damaged() && !is_said {
            self.report.push(
                Problem::error(
                    Code::MissingKey,
                    &self.span,
                    format!("`{key}` is missing in {}", self.section),
                )
                .label(format!("has no `{key}`"))
                .hint(format!("add: {key} = {example}")),
            );
        }
        Field::Bad
    }

    /// Whether some unknown key is most likely a misspelling of this one.
    pub(crate) fn has_near(&self, key: &str) -> bool {
        let taken = self.taken.borrow();
        self.entries.iter().any(|entry| {
            // Keys of very different length are different keys: `vendor_class`, `vendor_class_prefix`.
            entry.key.len().abs_diff(key.len()) <= 2
                && !taken.contains(&entry.key)
                && nearest(entry.key, [key]).is_some()
        })
    }

    /// Whether something of this table may have been lost to broken syntax.
    pub(crate) fn is_damaged(&self) -> bool {
        self.report.is_section_damaged(self.span.start)
    }

    /// Reports every key that was not asked for.
    pub(crate) fn finish(&self) {
        let taken = self.taken.borrow();
        for entry in &self.entries {
            if taken.contains(&entry.key) || self.report.is_damaged(&entry.key_span) {
                continue;
            }
            let what = if entry.value.get_ref().is_table() || is_tables(entry.value.get_ref()) {
                "table"
            } else {
                "key"
            };
            // What others call it is no misspelling.
            let other = match entry.key {
                "and" => "all",
                "or" => "any",
                key => key,
            };
            let same = taken.iter().copied().find(|key| *key == other);
            let hint = match same.or_else(|| nearest(entry.key, taken.iter().copied())) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("allowed here: {}", words::list(taken.iter())),
            };
            self.report.push(
                Problem::error(
                    Code::UnknownKey,
                    &entry.key_span,
                    format!("unknown {what} `{}` in {}", entry.key, self.section),
                )
                .label(format!("no such {what}"))
                .hint(hint),
            );
        }
    }
}

fn is_tables(value: &DeValue<'_>) -> bool {
    value.as_array().is_some_and(|array| array.iter().any(|item| item.get_ref().is_table()))
}
