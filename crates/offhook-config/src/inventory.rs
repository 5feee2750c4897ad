//! The phone list: a CSV as CIC exports it, in either of the guide's two forms.
//!
//! A row that cannot be used is a warning with its own line and column, and the others are used.

use std::collections::HashMap;
use std::path::Path;

use offhook_model::{DomainName, Evidence, Mac, Origin, PhoneKey, Source};

use crate::place::BOM;
use crate::read::{ClassFacts, Facts};
use crate::report::{Problem, Report, Span};
use crate::{Code, Files};

/// A phone of the list.
pub(crate) struct Row {
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
) -> (Vec<Row>, Vec<SecondFile>) {
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
    /// The columns that a header names; nothing when it is no header.
    fn of_header<'c>(cells: impl Iterator<Item = &'c str>) -> Option<Self> {
        let cells: Vec<_> = cells.map(|cell| cell.trim().to_ascii_lowercase()).collect();
        let column = |name: &str| cells.iter().position(|cell| cell == name);
        Some(Self {
            count: cells.len(),
            name: column("name"),
            address: column("address")?,
            model: column("model"),
            template: column("template"),
            manufacturer: column("manufacturer"),
        })
    }

    /// The columns of a list without a header, by their number.
    fn of_count(count: usize) -> Option<Self> {
        FORMS.iter().find_map(|form| {
            Self::of_header(form.split(',')).filter(|columns| columns.count == count)
        })
    }
}

/// Everything read so far.
struct List<'f> {
    classes: Vec<&'f ClassFacts>,
    rows: Vec<Row>,
    /// The phones, and where each is: file and place.
    seen: HashMap<PhoneKey, (usize, Span)>,
}

impl List<'_> {
    fn read(&mut self, file: usize, text: &str, report: &Report) {
        let body = text.strip_prefix(BOM).unwrap_or(text);
        let first = text.len() - body.len();
        let delimiter = delimiter(body);
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(delimiter)
            .from_reader(body.as_bytes());
        let mut columns: Option<Columns> = None;
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
        let mut record = csv::StringRecord::new();
        loop {
            let start = reader.position().byte() as usize;
            if !matches!(reader.read_record(&mut record), Ok(true)) {
                break;
            }
            let end = reader.position().byte() as usize;
            let raw = body.get(start..end).unwrap_or_default();
            let line = Line::new(raw, first + start, delimiter);
            if record.iter().all(|cell| cell.trim().is_empty()) {
                continue;
            }
            if let Some(header) = Columns::of_header(record.iter()) {
                columns = Some(header);
                continue;
            }
            if columns.is_none() {
                columns = Columns::of_count(record.len());
            }
            let Some(columns) = &columns else {
                report.push(
                    Problem::error(
                        Code::InventoryColumns,
                        &line.span,
                        "this phone list has no column `Address`",
                    )
                    .label("not a header of a phone list")
                    .hint(format!("start it with: {}", FORM)),
                );
                return;
            };
            self.row(file, columns, &record, &line, report);
        }
    }

    fn row(
        &mut self,
        file: usize,
        columns: &Columns,
        record: &csv::StringRecord,
        line: &Line,
        report: &Report,
    ) {
        let surplus = record.iter().skip(columns.count).any(|cell| !cell.trim().is_empty());
        if record.len() < columns.count || surplus {
            let (found, expected) = (record.len(), columns.count);
            report.push(
                Problem::warning(
                    Code::InventoryRow,
                    &line.span,
                    format!("this row has {found} columns instead of {expected}"),
                )
                .label("skipped")
                .hint("put a cell that holds a comma in double quotes"),
            );
            return;
        }
        let cell = |column: Option<usize>| {
            column.and_then(|column| record.get(column)).map_or("", str::trim)
        };
        let text = cell(Some(columns.address));
        if text.is_empty() {
            return;
        }
        let span = line.cells.get(columns.address).unwrap_or(&line.span);
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
        self.rows.push(Row { key, name, class, origin: report.origin(&line.span) });
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

/// The comma, unless the first line has more of another: Excel writes what its country uses.
fn delimiter(text: &str) -> u8 {
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let count = |delimiter: u8| line.bytes().filter(|&byte| byte == delimiter).count();
    // Of equal counts the last one is taken.
    [b'\t', b';', b','].into_iter().max_by_key(|&delimiter| count(delimiter)).unwrap_or(b',')
}

/// A MAC address, or the first label of a computer's full name; reports what is neither.
fn key(text: &str, span: &Span, report: &Report) -> Option<PhoneKey> {
    let skipped = |code, message: String, hint: &str| {
        report.push(Problem::warning(code, span, message).label("this row is skipped").hint(hint));
        None
    };
    match text.parse::<Mac>() {
        Ok(mac) => return Some(PhoneKey::Mac(mac)),
        Err(error) if is_meant_as_mac(text) => {
            let hint = "write twelve hex digits, as in 00:90:8f:12:34:56";
            return skipped(Code::BadMac, format!("`{text}`: {error}"), hint);
        }
        Err(_) => {}
    }
    match text.parse::<DomainName>() {
        Ok(name) => name.labels().next().map(|label| PhoneKey::HostName(label.to_owned())),
        Err(_) => skipped(
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
        .filter(|c| !matches!(c, ':' | '-' | '.' | ' '))
        .collect::<String>()
        .to_ascii_lowercase();
    let of_a_phone = ["00908f", "0026fd", "0004f2", "64167f"].iter().any(|o| plain.starts_with(o));
    let all_hex = plain.bytes().all(|b| b.is_ascii_hexdigit());
    let has_digit = plain.bytes().any(|b| b.is_ascii_digit());
    text.contains(':') || of_a_phone || (all_hex && has_digit && (9..=15).contains(&plain.len()))
}

/// Where a row and its cells stand.
struct Line {
    span: Span,
    cells: Vec<Span>,
}

impl Line {
    fn new(raw: &str, start: usize, delimiter: u8) -> Self {
        let body = raw.trim_start_matches(['\r', '\n']);
        let start = start + (raw.len() - body.len());
        let body = body.trim_end_matches(['\r', '\n']);
        let mut cells = Vec::new();
        let (mut from, mut quoted) = (0, false);
        for (at, byte) in body.bytes().enumerate() {
            if byte == b'"' {
                quoted = !quoted;
            } else if byte == delimiter && !quoted {
                cells.push(start + from..start + at);
                from = at + 1;
            }
        }
        cells.push(start + from..start + body.len());
        Self { span: start..start + body.len(), cells }
    }
}
