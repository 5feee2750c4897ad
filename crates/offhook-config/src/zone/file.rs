//! Zone files in master-file format (RFC 1035 section 5, RFC 2308 section 4).

use std::path::{Path, PathBuf};

use offhook_model::{Record, Source, WireName};

use super::token::{Entry, Lexer, Token};
use super::{Base, Fault, RecordFacts, name, rdata, rtype};
use crate::inventory::{self, SecondFile};
use crate::report::{Problem, Report, Span, Spanned};
use crate::{Code, Files};

/// Files that include one another, at most so deep.
const DEEPEST: usize = 8;

/// Files that are read altogether.
const MOST_FILES: usize = 100;

/// Records that are read altogether.
const MOST_RECORDS: usize = 500_000;

/// Mistakes that are told of one file: with more it is another kind of file.
const MOST_FAULTS: usize = 50;

/// What is read into.
pub(crate) struct ZoneFiles<'f> {
    files: &'f dyn Files,
    zone: WireName,
    /// Of records without one where no `$TTL` is; seconds.
    ttl: u32,
    pub(crate) records: Vec<RecordFacts>,
    pub(crate) read: Vec<SecondFile>,
}

/// Reads the zone files called `names`, which are relative to `base`; what cannot be read at all is reported where
/// it is named. Names in them are completed with `zone`, until an `$ORIGIN` says otherwise.
pub(crate) fn read<'f>(
    names: &[Spanned<String>],
    zone: WireName,
    ttl: u32,
    base: &Path,
    files: &'f dyn Files,
    report: &Report,
) -> ZoneFiles<'f> {
    let mut all = ZoneFiles { files, zone, ttl, records: Vec::new(), read: Vec::new() };
    for name in names {
        let origin = all.zone.clone();
        if let Err(why) = all.file(&base.join(&name.value), origin, 0) {
            report.push(unreadable(&name.value, &why).problem(&name.span));
        }
    }
    all
}

fn unreadable(name: &str, why: &str) -> Fault {
    Fault::new(
        &(0..0),
        format!("cannot read the zone file `{name}`: {why}"),
        "write its path relative to the file that names it, and check its permissions",
    )
    .of(Code::ZoneFileUnreadable)
}

impl ZoneFiles<'_> {
    /// Reads one file; the reason when that cannot be done at all.
    fn file(&mut self, path: &Path, origin: WireName, depth: usize) -> Result<(), String> {
        if depth >= DEEPEST || self.read.len() >= MOST_FILES {
            return Err("too many files that include one another".to_owned());
        }
        let bytes = self.files.read(path).map_err(|error| error.to_string())?;
        if bytes.len() > inventory::LARGEST {
            return Err(format!("it is larger than {} MiB", inventory::LARGEST >> 20));
        }
        let text = inventory::decoded(bytes);
        let label = path.display().to_string();
        let source = Source::Config(label.as_str().into());
        let number = self.read.len();
        // The number is taken before files that are included take theirs.
        let empty = Report::new(source.clone(), "");
        self.read.push(SecondFile { report: empty, label: label.clone(), text: String::new() });
        let report = Report::new(source, &text);
        let mut reader = Reader {
            all: self,
            report: &report,
            path,
            number,
            depth,
            base: Base::Origin(origin),
            default_ttl: None,
            last_ttl: None,
            owner: Owner::None,
            has_signature: false,
        };
        let mut faults = 0;
        for entry in Lexer::new(&text) {
            if reader.all.records.len() >= MOST_RECORDS {
                break;
            }
            let result = entry.and_then(|entry| reader.entry(&entry));
            if let Err(fault) = result {
                let span = fault.span.clone();
                report.push(fault.problem(&span));
                faults += 1;
                if faults == MOST_FAULTS {
                    let message = "this and much before it is not as a zone file has it";
                    let hint = "is this a zone file? What follows was not read";
                    let fault = Fault::new(&span, message, hint).of(Code::ZoneFileSyntax);
                    report.push(fault.problem(&span));
                    break;
                }
            }
        }
        if let Some(file) = self.read.get_mut(number) {
            *file = SecondFile { report, label, text };
        }
        Ok(())
    }
}

/// The name of the record before, for those that state none.
enum Owner {
    None,
    /// It could not be read, which was reported.
    Bad,
    Good(WireName),
}

/// One file being read.
struct Reader<'r, 'f> {
    all: &'r mut ZoneFiles<'f>,
    report: &'r Report,
    path: &'r Path,
    number: usize,
    depth: usize,
    base: Base,
    /// `$TTL`.
    default_ttl: Option<u32>,
    /// The last TTL that a record stated.
    last_ttl: Option<u32>,
    owner: Owner,
    has_signature: bool,
}

impl Reader<'_, '_> {
    fn entry(&mut self, entry: &Entry<'_>) -> Result<(), Fault> {
        let Some((first, rest)) = entry.tokens.split_first() else { return Ok(()) };
        if entry.is_indented {
            return match &self.owner {
                Owner::Good(owner) => {
                    let owner = owner.clone();
                    self.record(&owner, first, &entry.tokens)
                }
                Owner::Bad => Ok(()),
                Owner::None => Err(Fault::new(
                    &first.span,
                    "there is no record before this one to take the name of",
                    "begin the line with a name; @ is the zone itself",
                )),
            };
        }
        if first.text.starts_with('$') && !first.is_quoted {
            return self.directive(first, rest);
        }
        self.owner = Owner::Bad;
        let owner = name::read(first, &self.base)?;
        self.owner = Owner::Good(owner.clone());
        self.record(&owner, first, rest)
    }

    fn directive(&mut self, directive: &Token<'_>, rest: &[Token<'_>]) -> Result<(), Fault> {
        let argument = |at: usize, example: &str| {
            rest.get(at).ok_or_else(|| {
                let message = format!("`{}` says nothing", directive.text);
                syntax(&directive.span, message, format!("write {} {example}", directive.text))
            })
        };
        let mut most = 1;
        match directive.text.to_ascii_uppercase().as_str() {
            "$ORIGIN" => {
                let origin = name::read(argument(0, "example.com.")?, &self.base)?;
                self.base = Base::Origin(origin);
            }
            "$TTL" => {
                let token = argument(0, "1h")?;
                let ttl = rdata::period(token.text).ok_or_else(|| {
                    syntax(
                        &token.span,
                        format!("`{}` is not a time", token.text),
                        "write seconds, or numbers with w, d, h, m or s".to_owned(),
                    )
                })?;
                self.default_ttl = Some(ttl);
            }
            "$INCLUDE" => {
                most = 2;
                self.include(argument(0, "other.zone")?, rest.get(1))?;
            }
            "$GENERATE" => {
                return Err(syntax(
                    &directive.span,
                    "`$GENERATE` is not known here".to_owned(),
                    "write the records out; phones get their names from their leases".to_owned(),
                ));
            }
            _ => {
                return Err(syntax(
                    &directive.span,
                    format!("there is no directive `{}`", directive.text),
                    "write $ORIGIN, $TTL or $INCLUDE; a name that begins with $ as \\$".to_owned(),
                ));
            }
        }
        match rest.get(most) {
            Some(surplus) => Err(syntax(
                &surplus.span,
                format!("`{}` is too much for `{}`", surplus.text, directive.text),
                "leave it out".to_owned(),
            )),
            None => Ok(()),
        }
    }

    /// The origin and the last name here are the same after the other file as before.
    fn include(&mut self, file: &Token<'_>, origin: Option<&Token<'_>>) -> Result<(), Fault> {
        let Base::Origin(current) = &self.base else { return Ok(()) };
        let origin = match origin {
            Some(origin) => name::read(origin, &self.base)?,
            None => current.clone(),
        };
        let name = file.octets()?;
        let name = String::from_utf8_lossy(&name);
        let path: PathBuf = self.path.parent().unwrap_or(Path::new("")).join(&*name);
        self.all
            .file(&path, origin, self.depth + 1)
            .map_err(|why| Fault { span: file.span.clone(), ..unreadable(&name, &why) })
    }

    /// A record: TTL and class in either order, each at most once, then type and data.
    fn record(
        &mut self,
        owner: &WireName,
        first: &Token<'_>,
        tokens: &[Token<'_>],
    ) -> Result<(), Fault> {
        let end = tokens.last().unwrap_or(first).span.end;
        let end = end..end;
        let mut tokens = tokens.iter();
        let (mut ttl, mut has_class) = (None, false);
        let rtype = loop {
            let Some(token) = tokens.next() else {
                return Err(Fault::new(
                    &end,
                    "this record has no type",
                    "write name, TTL, IN, type and data; the TTL and IN may be left out",
                ));
            };
            if ttl.is_none() && token.text.starts_with(|c: char| c.is_ascii_digit()) {
                let stated = rdata::period(token.text).ok_or_else(|| {
                    Fault::new(
                        &token.span,
                        format!("`{}` is not a TTL", token.text),
                        "write seconds, or numbers with w, d, h, m or s, up to 2147483647 seconds",
                    )
                })?;
                ttl = Some(stated);
            } else if !has_class && let Some(is_in) = class(token.text) {
                if !is_in {
                    return Err(Fault::new(
                        &token.span,
                        format!("there are no records of class {} here", token.text),
                        "write IN, or leave the class out",
                    ));
                }
                has_class = true;
            } else {
                break rdata::holdable(token.text, &token.span)?;
            }
        };
        if ttl.is_some() {
            self.last_ttl = ttl;
        }
        if rtype::is_of_a_signature(rtype) {
            self.signature(rtype, first);
            return Ok(());
        }
        let data = rdata::read(rtype, tokens.as_slice(), &end, &self.base)?;
        self.all.records.push(RecordFacts {
            record: Record {
                owner: owner.to_lowercase(),
                rtype,
                ttl: ttl.or(self.default_ttl).or(self.last_ttl).unwrap_or(self.all.ttl),
                data: data.into(),
                origin: self.report.origin(&first.span),
            },
            file: Some(self.number),
            span: first.span.start..end.end,
            owner_span: first.span.clone(),
        });
        Ok(())
    }

    /// Said once a file: a signed zone is full of them.
    fn signature(&mut self, rtype: u16, first: &Token<'_>) {
        if !std::mem::replace(&mut self.has_signature, true) {
            let name = rtype::name_of_type(rtype);
            self.report.push(
                Problem::warning(
                    Code::SignedZone,
                    &first.span,
                    format!(
                        "this zone file is signed; its {name} records and the like are not served"
                    ),
                )
                .label("passed over, and so are others")
                .hint("name the file that the signed one was made from"),
            );
        }
    }
}

/// Whether a text is a class, and then whether it is IN.
fn class(text: &str) -> Option<bool> {
    let text = text.to_ascii_uppercase();
    match text.as_str() {
        "IN" => Some(true),
        "CS" | "CH" | "HS" | "NONE" | "ANY" => Some(false),
        _ => text.strip_prefix("CLASS")?.parse::<u16>().ok().map(|number| number == 1),
    }
}

fn syntax(span: &Span, message: String, hint: String) -> Fault {
    Fault::new(span, message, hint).of(Code::ZoneFileSyntax)
}
