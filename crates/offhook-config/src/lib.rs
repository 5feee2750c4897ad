//! From TOML text to an [`offhook_model::Site`], with every diagnostic at once.
//!
//! [`load`] reads a file; [`parse`] does the same for a text, with no I/O but through [`Files`]. Either gives
//! a site or at least one error; warnings come with both. Facts are stated once: options 2, 6, 15, 42, 66,
//! 132 and 160 follow from them, each with the line it follows from.

mod cells;
mod check;
mod code;
mod derive;
mod diagnostic;
mod inventory;
mod known;
mod names;
mod options;
mod place;
mod read;
mod render;
mod report;
mod scalar;
mod syntax;
mod tree;
mod words;
mod zone;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use offhook_model::{Sha256, Site, Source, Time};
use toml::de::{DeTable, DeValue};

pub use code::Code;
pub use diagnostic::{Diagnostic, Diagnostics, Related, Severity};

use read::ClassFacts;
#[cfg(test)]
mod tests;

use report::{Problem, Report, Span};
use tree::Table;

/// What became of a configuration.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The site; there is one if and only if there is no error.
    pub site: Option<Site>,
    /// Every error and warning.
    pub diagnostics: Diagnostics,
}

/// What the configuration asks of the file system.
pub trait Files {
    /// The regular files in `directory` and below, by their names relative to it, with `/` between
    /// directories; `None` when there is no such directory. An implementation may stop after some ten
    /// thousand.
    fn list(&self, directory: &Path) -> Option<Vec<String>>;

    /// What the file at `path` holds: a phone list or a zone file. By default there is none.
    ///
    /// # Errors
    /// Whatever keeps it from being read. An implementation may stop after some ten million bytes.
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        let _ = path;
        Err(std::io::ErrorKind::NotFound.into())
    }

    /// The size of a firmware image; by default that is not known.
    fn size(&self, path: &Path) -> Option<u64> {
        let _ = path;
        None
    }

    /// The digest of a firmware image; by default that is not known.
    fn sha256(&self, path: &Path) -> Option<Sha256> {
        let _ = path;
        None
    }
}

/// A file larger than this is no configuration: bytes.
const LARGEST: usize = 4 << 20;

/// Reads the configuration at `path` and lists the TFTP root it names. A file that cannot be read is a
/// diagnostic as any other.
pub fn load(path: &Path) -> Loaded {
    load_from(path, &OnDisk { digests: false })
}

/// As [`load`], and reads the firmware images of which a digest is stated: that may take seconds.
pub fn inspect(path: &Path) -> Loaded {
    load_from(path, &OnDisk { digests: true })
}

fn load_from(path: &Path, files: &OnDisk) -> Loaded {
    let label = path.display().to_string();
    let failed = |code, message: String, hint: &str| {
        let report = Report::new(Source::Config(label.as_str().into()), "");
        report.push(Problem::error(code, &(0..0), message).hint(hint));
        Loaded { site: None, diagnostics: report.finish(&label, "") }
    };
    let too_large = || {
        let message = format!("the file is larger than {} MiB", LARGEST >> 20);
        failed(Code::FileTooLarge, message, "name the configuration, not an image or a log")
    };
    let unreadable = |error: std::io::Error| {
        let message = format!("cannot read `{label}`: {error}");
        failed(Code::UnreadableFile, message, "check the path and its permissions")
    };
    let bytes = match read_file(path, LARGEST) {
        Ok(bytes) => bytes,
        Err(error) => return unreadable(error),
    };
    if bytes.len() > LARGEST {
        return too_large();
    }
    let base = path.parent().unwrap_or(Path::new(""));
    match std::str::from_utf8(&bytes) {
        Ok(text) => parse(&label, base, text, now(), files),
        Err(error) => {
            let good =
                String::from_utf8_lossy(bytes.get(..error.valid_up_to()).unwrap_or_default());
            let report = Report::new(Source::Config(label.as_str().into()), &good);
            report.push(
                Problem::error(
                    Code::NotUtf8,
                    &(good.len()..good.len()),
                    "the file is not UTF-8 from here on",
                )
                .label("not UTF-8")
                .hint("save the file as UTF-8; an editor may have used another encoding"),
            );
            Loaded { site: None, diagnostics: report.finish(&label, &good) }
        }
    }
}

/// At most one byte more than `most`.
fn read_file(path: &Path, most: usize) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(most as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The clock, for the current offset of a time zone.
fn now() -> Time {
    let millis = jiff::Timestamp::now().as_millisecond();
    Time::from_millis(u64::try_from(millis).unwrap_or_default())
}

/// Reads the configuration in `text`. `label` is the file's name in diagnostics, `base` the directory that
/// relative paths start from, and `now` the moment whose offset from UTC is the current one.
pub fn parse(label: &str, base: &Path, text: &str, now: Time, files: &dyn Files) -> Loaded {
    let source = Source::Config(label.into());
    let walked = with_tree(source, text, |root| {
        let report = root.report;
        let mut facts = read::read(root, &CATALOGUE, now, base, files);
        let (rows, mut lists) = inventory::read(&facts, &CATALOGUE, base, files, report);
        facts.rows = rows;
        check::all(&facts, &CATALOGUE, base, files, report);
        // A fact that is missing although nothing was reported would be a mistake of this crate's own.
        let site = derive::site(&facts, &CATALOGUE, base, report);
        lists.append(&mut facts.zone_files);
        let bad = report.has_errors() || lists.iter().any(|list| list.report.has_errors());
        (site.filter(|_| !bad), lists)
    });
    let (site, lists) = walked.result;
    let mut diagnostics = walked.report.finish(label, text);
    for list in lists {
        diagnostics.append(list.report.finish(&list.label, &list.text));
    }
    Loaded { site, diagnostics }
}

/// A tree that was walked, and what was found in it.
struct Walked<T> {
    report: Report,
    result: T,
}

/// Parses `text`, reports what is not TOML, and walks the rest.
fn with_tree<T>(source: Source, text: &str, walk: impl FnOnce(&Table<'_>) -> T) -> Walked<T> {
    let mended = syntax::mend(text);
    let (tree, _) = DeTable::parse_recoverable(&mended.text);
    let tree = tree.get_ref();
    let mut report = Report::new(source, text);
    mended.problems.into_iter().for_each(|problem| report.push(problem));
    // A whole block of repeated keys is one mistake: the header above it is not there.
    let mut sections_lost = mended.sections_lost;
    let mut before: Option<&Span> = None;
    for (span, message) in mended.repeated.iter().take(MOST_REPEATED) {
        if before.is_some_and(|before| report.is_next_line(before, span)) {
            sections_lost = true;
        } else {
            report.push(repeated(tree, text, span, message));
        }
        before = Some(span);
    }
    let mut headers = Vec::new();
    collect_headers(tree, &mended.text, &mut headers);
    report.set_damage(mended.damage, headers, sections_lost);
    let result = walk(&Table::new(&report, tree, 0..0, "this file"));
    Walked { report, result }
}

/// Repeated keys past these are of no use to anybody, and each costs a look at the whole tree.
const MOST_REPEATED: usize = 200;

/// A key or a table that is there already.
fn repeated(tree: &DeTable<'_>, text: &str, span: &Span, message: &str) -> Problem {
    let key = text.get(span.clone()).unwrap_or_default();
    let message = match message.starts_with("duplicate key") {
        true => format!("`{key}` is given twice"),
        false => format!("`{key}` is no table that could be added to"),
    };
    let problem = Problem::error(Code::DuplicateKey, span, message)
        .label("given again here")
        .hint("leave one of them out, or start a new table above it");
    match syntax::first_definition(tree, key, span.start) {
        Some(first) => problem.related(&first, "first given here"),
        None => problem,
    }
}

/// Where tables with a header of their own start.
fn collect_headers(table: &DeTable<'_>, text: &str, headers: &mut Vec<usize>) {
    let mut add = |value: &toml::Spanned<DeValue<'_>>| {
        if let DeValue::Table(inner) = value.get_ref() {
            let start = value.span().start;
            if text.get(start..).is_some_and(|rest| rest.starts_with('[')) {
                headers.push(start);
            }
            collect_headers(inner, text, headers);
        }
    };
    for value in table.values() {
        add(value);
        if let DeValue::Array(array) = value.get_ref() {
            array.iter().for_each(&mut add);
        }
    }
}

/// The catalogue of phone families built into the program, as TOML.
pub fn catalogue_toml() -> &'static str {
    include_str!("catalogue.toml")
}

static CATALOGUE: LazyLock<Vec<ClassFacts>> =
    LazyLock::new(|| with_tree(Source::Catalogue, catalogue_toml(), read::read_classes).result);

/// The file system itself.
struct OnDisk {
    /// Whether images are read for their digests.
    digests: bool,
}

/// More files than any TFTP root has.
const MOST_FILES: usize = 10_000;

impl Files for OnDisk {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        use std::os::unix::fs::FileTypeExt as _;

        // Whoever opens one that nobody writes to waits for ever.
        if std::fs::metadata(path)?.file_type().is_fifo() {
            return Err(std::io::Error::other("it is a pipe"));
        }
        read_file(path, inventory::LARGEST)
    }

    fn size(&self, path: &Path) -> Option<u64> {
        Some(std::fs::metadata(path).ok()?.len())
    }

    fn sha256(&self, path: &Path) -> Option<Sha256> {
        use std::io::Read as _;

        use sha2::Digest as _;
        let mut file = std::fs::File::open(path).ok().filter(|_| self.digests)?;
        let (mut hash, mut buffer) = (sha2::Sha256::new(), vec![0; 256 << 10]);
        loop {
            match file.read(&mut buffer).ok()? {
                0 => break,
                count => hash.update(buffer.get(..count).unwrap_or_default()),
            }
        }
        Some(Sha256(hash.finalize().into()))
    }

    fn list(&self, directory: &Path) -> Option<Vec<String>> {
        std::fs::read_dir(directory).ok()?;
        let mut names = Vec::new();
        let mut pending: Vec<(PathBuf, String, u8)> = vec![(directory.into(), String::new(), 0)];
        while let Some((path, prefix, depth)) = pending.pop() {
            let Ok(entries) = std::fs::read_dir(&path) else { continue };
            for entry in entries.flatten().take(MOST_FILES) {
                let Ok(kind) = entry.file_type() else { continue };
                let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
                if kind.is_dir() && depth < 8 {
                    pending.push((entry.path(), format!("{name}/"), depth + 1));
                } else if kind.is_file() || (kind.is_symlink() && entry.path().is_file()) {
                    names.push(name);
                }
                if names.len() + pending.len() >= MOST_FILES {
                    return Some(names);
                }
            }
        }
        Some(names)
    }
}

pub use read::offset_at;
pub(crate) use read::{read_non_empty, read_time_offset};
