//! `offhook firmware`: what is in the TFTP root, and whose it is.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use offhook_model::{ImageDigests, Sha256, Site, Tftp, Upstream};
use serde::Serialize;
use sha2::Digest as _;

use crate::cli::{ConfigArg, OutputFormat, StateArg};
use crate::exit;
use crate::tftp::{CACHE, CachedFile, SUMS, cached_files};

/// More files than any TFTP root has.
const MOST_FILES: usize = 10_000;
/// Directories in directories.
const DEEPEST: usize = 8;
/// Octets read at a time.
const CHUNK: usize = 256 << 10;

#[derive(Debug, Args)]
pub(crate) struct FirmwareArgs {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// List the files in the TFTP root and in the cache: size, SHA-256 digest, and the phones that are told of them
    ///
    /// Reads every file. Exits with 0 when each image that phones are told of is there, or can be fetched, and is what
    /// its digest says, with 1 when not, with 78 when the configuration cannot be read.
    List(ListArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    state: StateArg,
    /// How it is printed
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    format: OutputFormat,
}

/// What is in the root, and what should be.
#[derive(Debug, Serialize)]
struct Listing {
    root: PathBuf,
    images: Vec<Image>,
    /// What was fetched from the provisioning server and kept, if there is one.
    cache: Option<Cache>,
}

/// What was fetched and kept.
#[derive(Debug, Serialize)]
struct Cache {
    /// The provisioning server.
    upstream: String,
    directory: PathBuf,
    /// Octets of all files, and the most there may be.
    size: u64,
    limit: u64,
    files: Vec<Cached>,
}

/// One file of those.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Cached {
    /// The path below the URL of the provisioning server that it is asked for by.
    name: String,
    /// `verified`; or `damaged` or `elsewhere`: then it is fetched again.
    state: State,
    size: u64,
    sha256: String,
    /// Where it came from.
    url: String,
    /// When, as RFC 3339 has it, UTC.
    fetched: String,
    /// When it was last sent to a phone, give or take a minute.
    used: String,
    etag: Option<String>,
    last_modified: Option<String>,
}

/// One file.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Image {
    /// The path below the root; of a missing image the name that phones are told.
    name: String,
    state: State,
    /// Octets; none when it is missing.
    size: Option<u64>,
    /// None when it cannot be read.
    sha256: Option<String>,
    /// What the digest is to be, where anything says so.
    expected: Option<String>,
    /// Phone families and other classes whose option 67 it is.
    families: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// It is there, and nothing says what it is to be.
    There,
    /// It is what its digest says.
    Verified,
    /// It is not: phones are refused.
    Damaged,
    Empty,
    Unreadable,
    Missing,
    /// It is not in the root, and kept since it was fetched.
    Cached,
    /// It is kept, and came from another provisioning server than the one that is asked now. It is sent only where that
    /// is what its digest is to be.
    Elsewhere,
    /// It is fetched when a phone asks for it.
    Upstream,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::There => "there",
            Self::Verified => "verified",
            Self::Damaged => "DAMAGED",
            Self::Empty => "EMPTY",
            Self::Unreadable => "UNREADABLE",
            Self::Missing => "MISSING",
            Self::Cached => "cached",
            Self::Elsewhere => "elsewhere",
            Self::Upstream => "upstream",
        }
    }
}

/// Prints what is asked.
pub(crate) fn main(args: &FirmwareArgs) -> ExitCode {
    let Subcommands::List(args) = &args.command;
    let loaded = offhook_config::load(&args.config.config);
    let Some(site) = loaded.site else {
        eprint!("{}", loaded.diagnostics.render(io::stderr().is_terminal()));
        return ExitCode::from(exit::CONFIG);
    };
    let Some(tftp) = &site.tftp else {
        eprintln!("this site has no [tftp]: there is no firmware to list");
        return ExitCode::FAILURE;
    };
    let listing = match list(&site, tftp, &args.state.dir()) {
        Ok(listing) => listing,
        Err(error) => {
            eprintln!("cannot list {}: {error}", tftp.root.display());
            return ExitCode::FAILURE;
        }
    };
    let printed = match args.format {
        OutputFormat::Text => exit::printed(&text(&listing)),
        OutputFormat::Json => match serde_json::to_string_pretty(&listing) {
            Ok(json) => exit::printed(&format!("{json}\n")),
            Err(_) => ExitCode::FAILURE,
        },
    };
    let bad = |image: &Image| {
        use State::{Damaged, Empty, Missing, Unreadable};
        matches!(image.state, Damaged | Empty | Unreadable | Missing)
    };
    if listing.images.iter().any(bad) { ExitCode::FAILURE } else { printed }
}

fn list(site: &Site, tftp: &Tftp, state: &Path) -> io::Result<Listing> {
    let cache = tftp.upstream.as_ref().map(|upstream| cache(upstream, state));
    let mut names = match files(&tftp.root) {
        // All there is may come from elsewhere.
        Err(error) if error.kind() == io::ErrorKind::NotFound && cache.is_some() => Vec::new(),
        names => names?,
    };
    names.retain(|name| name != SUMS);
    names.sort_unstable();
    let sums = match fs::read(tftp.root.join(SUMS)) {
        Ok(bytes) => ImageDigests::from_sums(&bytes).0,
        Err(_) => ImageDigests::default(),
    };
    let mut families: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for class in &site.classes {
        if let Some(file) = &class.firmware {
            families.entry(file).or_default().push(class.name.clone());
        }
    }
    let mut images = Vec::new();
    for name in names {
        // As a request is answered: exactly this name, or the only one but for letter case.
        let exact = |file: &str| file == name;
        let near = |file: &str| file.eq_ignore_ascii_case(&name);
        let told = match families.keys().copied().find(|file| exact(file)) {
            Some(file) => families.remove(file),
            None => {
                let file = families.keys().copied().find(|file| near(file));
                file.and_then(|file| families.remove(file))
            }
        };
        let expected = tftp.images.of(&name).or_else(|| sums.of(&name));
        images.push(image(&tftp.root, name, expected, told.unwrap_or_default()));
    }
    for (name, families) in families {
        let expected = tftp.images.of(name).or_else(|| sums.of(name)).map(|it| it.to_string());
        let kept = cache.as_ref().and_then(|cache| {
            let kept = cache.files.iter().find(|file| file.name.eq_ignore_ascii_case(name));
            kept.filter(|file| match (file.state, &expected) {
                (State::Verified, None) => true,
                (State::Verified | State::Elsewhere, Some(expected)) => *expected == file.sha256,
                _ => false,
            })
        });
        let state = match (&cache, kept) {
            (None, _) => State::Missing,
            (Some(_), None) => State::Upstream,
            (Some(_), Some(_)) => State::Cached,
        };
        let (size, sha256) = (kept.map(|kept| kept.size), kept.map(|kept| kept.sha256.clone()));
        images.push(Image { name: name.to_owned(), state, size, sha256, expected, families });
    }
    Ok(Listing { root: tftp.root.clone(), images, cache })
}

/// What the server has kept; nothing when it never ran.
fn cache(upstream: &Upstream, state: &Path) -> Cache {
    let directory = upstream.cache.clone().unwrap_or_else(|| state.join(CACHE));
    let time = |at: SystemTime| {
        jiff::Timestamp::try_from(at).map(|at| format!("{at:.0}")).unwrap_or_default()
    };
    let url = upstream.url.to_string();
    let file = |(file, used): (CachedFile, SystemTime)| {
        let actual = read(&file.content(&directory)).map(|(_, digest)| digest.to_string());
        let is_ours = file.is_of(&url);
        let is_whole = actual.is_ok_and(|actual| actual == file.sha256);
        Cached {
            name: file.path,
            state: match is_whole {
                true if is_ours => State::Verified,
                true => State::Elsewhere,
                false => State::Damaged,
            },
            size: file.size,
            sha256: file.sha256,
            url: file.url,
            fetched: time(UNIX_EPOCH + Duration::from_secs(file.fetched)),
            used: time(used),
            etag: file.etag,
            last_modified: file.last_modified,
        }
    };
    let files = cached_files(&directory).unwrap_or_else(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            eprintln!("cannot list {}: {error}", directory.display());
        }
        Vec::new()
    });
    let files: Vec<_> = files.into_iter().map(file).collect();
    Cache {
        upstream: upstream.url.to_string(),
        size: files.iter().map(|file| file.size).sum(),
        limit: upstream.cache_size,
        directory,
        files,
    }
}

fn image(root: &Path, name: String, expected: Option<Sha256>, families: Vec<String>) -> Image {
    let read = read(&root.join(&name));
    let state = match (&read, expected) {
        (Err(_), _) => State::Unreadable,
        (Ok((0, _)), _) => State::Empty,
        (Ok(_), None) => State::There,
        (Ok((_, actual)), Some(expected)) if *actual == expected => State::Verified,
        (Ok(_), Some(_)) => State::Damaged,
    };
    let (size, sha256) = match read {
        Ok((size, digest)) => (Some(size), Some(digest.to_string())),
        Err(_) => (None, None),
    };
    let expected = expected.map(|digest| digest.to_string());
    Image { name, state, size, sha256, expected, families }
}

/// Size and digest.
fn read(path: &Path) -> io::Result<(u64, Sha256)> {
    let mut file = File::open(path)?;
    let (mut hash, mut buffer, mut size) = (sha2::Sha256::new(), vec![0; CHUNK], 0);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((size, Sha256(hash.finalize().into()))),
            count => {
                hash.update(buffer.get(..count).unwrap_or_default());
                size += count as u64;
            }
        }
    }
}

/// The regular files below a directory, hidden ones left out.
fn files(root: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(root)?;
    let (mut names, mut pending) = (Vec::new(), vec![(root.to_owned(), String::new(), 0)]);
    while let Some((directory, prefix, depth)) = pending.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten().take(MOST_FILES) {
            let name = entry.file_name().to_string_lossy().into_owned();
            // Through links, as they are served.
            let Ok(metadata) = fs::metadata(entry.path()) else { continue };
            if name.starts_with('.') || names.len() >= MOST_FILES {
                continue;
            }
            let name = format!("{prefix}{name}");
            if metadata.is_file() {
                names.push(name);
            } else if metadata.is_dir() && depth < DEEPEST {
                pending.push((entry.path(), format!("{name}/"), depth + 1));
            }
        }
    }
    Ok(names)
}

fn text(listing: &Listing) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["image", "state", "size", "families", "SHA-256"]);
    for image in &listing.images {
        table.add_row([
            // Names are whatever somebody called a file.
            image.name.escape_debug().to_string(),
            image.state.as_str().to_owned(),
            image.size.map(|size| size.to_string()).unwrap_or_default(),
            image.families.join(", "),
            image.sha256.clone().unwrap_or_default(),
        ]);
    }
    if let Some(column) = table.column_mut(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let root = format!("{}\n{table}\n", listing.root.display());
    match &listing.cache {
        Some(cache) => format!("{root}\n{}", text_of_cache(cache)),
        None => root,
    }
}

fn text_of_cache(cache: &Cache) -> String {
    let Cache { upstream, directory, size, limit, files } = cache;
    let directory = directory.display();
    let title = format!("{directory}: {size} of {limit} bytes, fetched from {upstream}\n");
    if files.is_empty() {
        return title;
    }
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["cached", "state", "size", "fetched", "last sent", "SHA-256"]);
    for file in files {
        table.add_row([
            file.name.escape_debug().to_string(),
            file.state.as_str().to_owned(),
            file.size.to_string(),
            file.fetched.clone(),
            file.used.clone(),
            file.sha256.clone(),
        ]);
    }
    if let Some(column) = table.column_mut(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("{title}{table}\n")
}
