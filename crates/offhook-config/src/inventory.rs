//! The phone list: a CSV as CIC exports it, in either of the guide's two forms.
//!
//! A row that cannot be used is a warning with its own line and column, and the others are used.

use std::collections::HashMap;
use std::path::Path;

use offhook_model::{DomainName, Evidence, Mac, Origin, PhoneKey, Source};

use crate::cells::{self, Row};
use crate::place::BOM;
use crate::read::{ClassFacts, Facts};
use crate::report::{Problem, Report, Span};
use crate::{Code, Files};

/// A phone of the list.
pub(crate) struct ListedPhone {
    pub(crate) key: PhoneKey,
    pub(crate) name: Option<String>,
    /// The name of a class that there is.
    pub(crate) class: Option<String>,
    pub(crate) origin: Origin,
}

/// A file beside the configuration, and what was found in it.
pub(crate) struct SecondFile {
    pub(crate) report: Report,
    pub(crate) label: String,
    pub(crate) text: String,
}

/// A list larger than this is none: bytes.
pub(crate) const LARGEST: usize = 16 << 20;

/// Reads every list that the file names; what cannot be read at all is reported where it is named.
pub(crate) fn read(
    facts: &Facts,
    catalogue: &[ClassFacts],
    base: &Path,
    files: &dyn Files,
    report: &Report,
) -> (Vec<ListedPhone>, Vec<SecondFile>) {
    let classes: Vec<_> = crate::derive::all_classes(facts, catalogue).collect();
    let mut list = List { classes, rows: Vec::new(), seen: HashMap::new() };
    let mut read = Vec::new();
    let names = facts.inventory.value().into_iter().flat_map(|names| &names.items);
    for (number, name) in names.enumerate() {
        let path = base.join(&name.value);
        let label = path.display().to_string();
        let unreadable = |why: String| {
            report.push(
                Problem::error(
                    Code::InventoryUnreadable,
                    &name.span,
                    format!("cannot read the phone list `{label}`: {why}"),
                )
                .label("cannot be read")
                .hint("write its path relative to this file, and check its permissions"),
            );
        };
        match files.read(&path) {
            Err(error) => unreadable(error.to_string()),
            Ok(bytes) if bytes.len() > LARGEST => {
                unreadable(format!("it is larger than {} MiB", LARGEST >> 20));
            }
            Ok(bytes) => {
                let text = decoded(bytes);
                let report = Report::new(Source::Config(label.as_str().into()), &text);
                list.read(number, &text, &report);
                read.push(SecondFile { report, label, text });
            }
        }
    }
    (list.rows, read)
}

/// UTF-8, or UTF-16 where a byte order mark says so, as Windows redirects output, or else one character a byte, as
/// Excel saves a CSV: only names have such characters.
pub(crate) fn decoded(bytes: Vec<u8>) -> String {
    let order: Option<fn([u8; 2]) -> u16> = match bytes.first_chunk() {
        Some([0xff, 0xfe]) => Some(u16::from_le_bytes),
        Some([0xfe, 0xff]) => Some(u16::from_be_bytes),
        _ => None,
    };
    if let Some(order) = order {
        let units: Vec<_> = bytes.as_chunks().0.iter().copied().map(order).collect();
        return String::from_utf16_lossy(&units);
    }
    String::from_utf8(bytes)
        .unwrap_or_else(|error| error.as_bytes().iter().map(|&byte| char::from(byte)).collect())
}

/// Where the columns are that matter.
struct Columns {
    count: usize,
    name: Option<usize>,
    address: usize,
    model: Option<usize>,
    template: Option<usize>,
    manufacturer: Option<usize>,
}

/// The shorter one of the guide's two forms.
const FORM: &str = "Name,Template,Proxy Group,Extension,Identification Address,Label,Address";
/// Both of them.
const FORMS: [&str; 2] = [
    FORM,
    "Name,Type,Manufacturer,Model,Proxy Group,Extension,Identification Address,Label,Address",
];

impl Columns {
    /// The columns that a header names; nothing when it is no header. One that is not the first has a name, too: a
    /// phone may well be labelled "Address".
    fn of_header<'c>(cells: impl Iterator<Item = &'c str>, is_first: bool) -> Option<Self> {
        let cells: Vec<_> = cells.map(|cell| cell.trim().to_ascii_lowercase()).collect();
        let column = |name: &str| cells.iter().position(|cell| cell == name);
        let (name, address) = (column("name"), column("address")?);
        (is_first || name.is_some()).then(|| Self {
            count: cells.len(),
            name,
            address,
            model: column("model"),
            template: column("template"),
            manufacturer: column("manufacturer"),
        })
    }

    /// The columns of a list without a header, by their number.
    fn of_count(count: usize) -> Option<Self> {
        FORMS.iter().find_map(|form| {
            Self::of_header(form.split(','), true).filter(|columns| columns.count == count)
        })
    }
}

/// Everything read so far.
struct List<'f> {
    classes: Vec<&'f ClassFacts>,
    rows: Vec<ListedPhone>,
    /// The phones, and where each is: file and place.
    seen: HashMap<PhoneKey, (usize, Span)>,
}

impl List<'_> {
    fn read(&mut self, file: usize, text: &str, report: &Report) {
        let body = text.strip_prefix(BOM).unwrap_or(text);
        let first = text.len() - body.len();
        if body.trim().is_empty() {
            // What is left of a list that could not be written whole, likely.
            let problem = Problem::warning(
                Code::InventoryColumns,
                &(first..text.len()),
                "this phone list is empty",
            );
            let hint = format!("write at least the header: {FORM}");
            report.push(problem.label("no phone is known by it").hint(hint));
            return;
        }
        let mut columns: Option<Columns> = None;
        // What stands before the header, or is none.
        let mut above = Vec::new();
        for row in cells::rows(body, first, delimiter(body)) {
            let cells = row.cells.iter().map(|cell| &*cell.text);
            if row.cells.iter().all(|cell| cell.text.trim().is_empty()) || is_separator(&row) {
                continue;
            }
            if let Some(header) = Columns::of_header(cells, columns.is_none()) {
                columns = Some(header);
                continue;
            }
            if columns.is_none() && row.is_whole {
                columns = Columns::of_count(row.cells.len());
            }
            match &columns {
                Some(columns) => self.row(file, columns, &row, report),
                None => above.push(row.span),
            }
        }
        let is_list = columns.is_some();
        for span in above.iter().take(if is_list { usize::MAX } else { 1 }) {
            let problem = match is_list {
                true => Problem::warning(
                    Code::InventoryRow,
                    span,
                    "this row before the header is no phone",
                )
                .label("skipped")
                .hint("leave it out"),
                false => Problem::error(
                    Code::InventoryColumns,
                    span,
                    "this phone list has no column `Address`",
                )
                .label("not a header of a phone list")
                .hint(format!("start it with: {FORM}")),
            };
            report.push(problem);
        }
    }

    fn row(&mut self, file: usize, columns: &Columns, row: &Row<'_>, report: &Report) {
        let mut surplus = row.cells.iter().skip(columns.count);
        let skipped = |message: String, hint: &str| {
            let problem = Problem::warning(Code::InventoryRow, &row.span, message);
            report.push(problem.label("skipped").hint(hint));
        };
        if !row.is_whole {
            let hint = "put a quote at both ends of a cell, and twice where it is meant";
            return skipped("a quote in this row is not closed".to_owned(), hint);
        }
        let (found, expected) = (row.cells.len(), columns.count);
        if found < expected || surplus.any(|cell| !cell.text.trim().is_empty()) {
            let message = format!("this row has {found} columns instead of {expected}");
            return skipped(message, "put a cell that holds a comma in double quotes");
        }
        let cell = |column: Option<usize>| {
            column.and_then(|column| row.cells.get(column)).map_or("", |cell| cell.text.trim())
        };
        let text = cell(Some(columns.address));
        if text.is_empty() {
            return;
        }
        let span = row.cells.get(columns.address).map_or(&row.span, |cell| &cell.span);
        let Some(key) = key(text, span, report) else { return };
        if let Some((other, first)) = self.seen.get(&key) {
            let problem = Problem::warning(
                Code::DuplicatePhone,
                span,
                format!("the phone `{text}` is listed twice"),
            )
            .label("skipped")
            .hint("leave one of the two out");
            report.push(if *other == file {
                problem.related(first, "first listed here")
            } else {
                problem
            });
            return;
        }
        let class = self.class(
            &key,
            [cell(columns.model), cell(columns.template)],
            cell(columns.manufacturer),
        );
        let name = Some(cell(columns.name)).filter(|name| !name.is_empty()).map(str::to_owned);
        self.seen.insert(key.clone(), (file, span.clone()));
        self.rows.push(ListedPhone { key, name, class, origin: report.origin(&row.span) });
    }

    /// The class that the row's words name. A class that is only guessed from addresses is never named: what
    /// the phone says of itself is worth more.
    fn class(&self, key: &PhoneKey, models: [&str; 2], manufacturer: &str) -> Option<String> {
        let is_guess = |class: &ClassFacts| {
            let mut evidence = class.evidence().peekable();
            class.condition.is_none()
                && evidence.peek().is_some()
                && evidence.all(|evidence| matches!(evidence, Evidence::Oui(_)))
        };
        let named = || self.classes.iter().filter(|class| !is_guess(class));
        let is_exact = |class: &ClassFacts, text: &str| {
            let label = class.label.as_deref().unwrap_or_default();
            class.is_named(text) || label.split(',').any(|l| l.trim().eq_ignore_ascii_case(text))
        };
        // A number alone is the number of many things.
        let is_among = |class: &ClassFacts, text: &str| {
            let name = class.name.value().map_or("", String::as_str);
            name.len() > 3
                && name.contains(|c: char| c.is_ascii_alphabetic())
                && text.split(|c: char| !c.is_alphanumeric()).any(|w| w.eq_ignore_ascii_case(name))
        };
        let [model, template] = models;
        let mut found = [model, template]
            .into_iter()
            .filter(|text| !text.is_empty())
            .find_map(|text| named().find(|class| is_exact(class, text)));
        found = found.or_else(|| {
            let texts = [model, template, manufacturer];
            texts.into_iter().find_map(|text| named().find(|class| is_among(class, text)))
        });
        if matches!(key, PhoneKey::HostName(_)) {
            found = found.or_else(|| named().find(|class| class.is_named("SoftPhone")));
        }
        found.and_then(|class| class.name.value().cloned())
    }
}

/// Whether a row is the line `sep=;` with which Excel states the separator.
fn is_separator(row: &Row<'_>) -> bool {
    let [cell, rest @ ..] = row.cells.as_slice() else { return false };
    let is_said = |text: &str| text.len() <= 5 && text.to_ascii_lowercase().starts_with("sep=");
    is_said(cell.text.trim()) && rest.iter().all(|cell| cell.text.is_empty())
}

/// The comma, unless the header has more of another: Excel writes what its country uses.
fn delimiter(text: &str) -> u8 {
    let count = |line: &str, delimiter: u8| line.bytes().filter(|&byte| byte == delimiter).count();
    // Of equal counts the last one is taken.
    let of_line = |line: &str| {
        let most = [b'\t', b';', b','].into_iter().max_by_key(|&delimiter| count(line, delimiter));
        most.filter(|&delimiter| count(line, delimiter) > 0)
    };
    let is_header = |line: &&str| line.to_ascii_lowercase().contains("address");
    let header = text.lines().filter(is_header).find_map(of_line);
    header.or_else(|| text.lines().find_map(of_line)).unwrap_or(b',')
}

/// A MAC address, or the first label of a computer's full name; reports what is neither.
fn key(text: &str, span: &Span, report: &Report) -> Option<PhoneKey> {
    let skipped = |code, message: String, hint: &str| {
        report.push(Problem::warning(code, span, message).label("this row is skipped").hint(hint));
        None
    };
    match text.parse::<Mac>() {
        Ok(mac) if !mac.is_of_a_device() => {
            let message = format!("`{text}` is not the address of one device");
            return skipped(Code::BadMac, message, "write the address that is on its label");
        }
        Ok(mac) => return Some(PhoneKey::Mac(mac)),
        Err(error) if is_meant_as_mac(text) => {
            let hint = "write twelve hex digits, as in 00:90:8f:12:34:56";
            return skipped(Code::BadMac, format!("`{text}`: {error}"), hint);
        }
        Err(_) => {}
    }
    // No computer is called 10.1.2.3.
    let name = text.parse::<DomainName>().ok().filter(|_| text.contains(char::is_alphabetic));
    match name {
        Some(name) => name.labels().next().map(|label| PhoneKey::HostName(label.to_owned())),
        None => skipped(
            Code::InventoryRow,
            format!("`{text}` is neither a MAC address nor the name of a computer"),
            "write twelve hex digits, or the full name of a soft phone's computer",
        ),
    }
}

/// Whether a text that is no MAC address is likelier a misspelt one than the name of a computer.
fn is_meant_as_mac(text: &str) -> bool {
    let plain: String = text
        .chars()
        .filter(|c| !matches!(c, ':' | '-' | '.' | ' ' | '_'))
        .collect::<String>()
        .to_ascii_lowercase();
    let plain = plain.strip_prefix("0x").unwrap_or(&plain);
    // Letters that are read as digits.
    let read = plain.replace('o', "0").replace(['l', 'i'], "1");
    let is_hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    let digits = plain.bytes().filter(u8::is_ascii_digit).count();
    // Anywhere: others write `SEP` before it, or the name of the phone.
    let of_a_phone = ["00908f", "0026fd", "0004f2", "64167f"].iter().any(|oui| read.contains(oui));
    let has_length = (9..=15).contains(&plain.len()) && digits > 0 && is_hex(plain);
    let looks_like_one = read.len() == 12 && digits >= 6 && is_hex(&read);
    text.contains(':') || of_a_phone || has_length || looks_like_one
}
