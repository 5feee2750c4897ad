//! From the name a client asks for to a file below the root.
//!
//! A name is tried as it is, then as the unique one that differs in letter case only; then the same once more
//! without a leading `/`, `./` or `\`, and at last with `\` between directories read as `/`. What reaches a
//! [`Tree`] is always relative and free of `..`, so that only a symbolic link could still lead out: those are
//! the tree's to refuse.

use std::collections::VecDeque;

/// A name is as long as a path may be.
const MAX_NAME: usize = 4096;
/// Linux file systems have no longer ones.
const MAX_COMPONENT: usize = 255;
/// How many directories a search without regard to case looks into before it gives up: only a tree full of names
/// that differ in nothing but case comes near.
const MAX_DIRECTORIES: usize = 64;

/// The files below the root, as the server sees them. Paths are relative, of `/`-separated components, none of them
/// empty, `.` or `..`; the empty path is the root.
pub trait Tree {
    /// An opened file.
    type File;

    /// Opens a regular file, never leaving the root on the way, whatever links there are.
    ///
    /// # Errors
    /// [`OpenError`] when there is none, or it is not to be read.
    fn open(&self, path: &[u8]) -> Result<Self::File, OpenError>;

    /// Calls `entry` with the name of each entry of a directory; with none when it cannot be listed.
    fn list(&self, directory: &[u8], entry: &mut dyn FnMut(&[u8]));
}

/// Why a path could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpenError {
    /// There is nothing of that name.
    NotFound,
    /// A link leads out of the root.
    Outside,
    /// It may not be read, or is no regular file.
    Unreadable,
}

/// Why a name leads to no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NameError {
    /// No name at all, or nothing but separators.
    #[error("the name is empty")]
    Empty,
    /// Longer than any file's.
    #[error("the name is too long")]
    TooLong,
    /// A component is `..`, or a link leads out of the root.
    #[error("the name leads out of the root")]
    Outside,
    /// There is no such file.
    #[error("there is no such file")]
    NotFound,
    /// There is none of exactly this name, and several that differ in letter case only.
    #[error("several files differ from the name in letter case only")]
    Ambiguous,
    /// It may not be read, or is no regular file.
    #[error("it is not a readable file")]
    Unreadable,
}

/// A file that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<F> {
    /// The path below the root it was found at.
    pub path: Vec<u8>,
    /// The file.
    pub file: F,
}

/// A name as a client asked for it, as the paths it may stand for, best first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestedName {
    paths: Vec<Vec<u8>>,
}

impl RequestedName {
    /// Reads a name from the wire. Bytes need not be UTF-8, and `%2e` means itself.
    ///
    /// # Errors
    /// [`NameError::Empty`], [`NameError::TooLong`], or [`NameError::Outside`] for a component `..`, whether `/` or
    /// `\` is around it.
    pub fn parse(name: &[u8]) -> Result<Self, NameError> {
        if name.len() > MAX_NAME {
            return Err(NameError::TooLong);
        }
        if name.split(is_separator).any(|component| component == b"..") {
            return Err(NameError::Outside);
        }
        if name.contains(&0) {
            return Err(NameError::NotFound);
        }
        let mut paths: Vec<Vec<u8>> = Vec::new();
        let mut add = |path: Option<Vec<u8>>| {
            paths.extend(path.filter(|path| !path.is_empty()));
            paths.dedup();
        };
        let stripped = strip_leading(name);
        // An absolute name means nothing below the root until its leading slash is gone.
        add((!name.starts_with(b"/")).then(|| join(name, |byte| *byte == b'/')).flatten());
        add(join(stripped, |byte| *byte == b'/'));
        add(join(stripped, is_separator));
        match paths.is_empty() {
            false => Ok(Self { paths }),
            true if name.split(is_separator).all(is_nothing) => Err(NameError::Empty),
            true => Err(NameError::TooLong),
        }
    }

    /// The paths it may stand for, best first: relative, without empty, `.` or `..` components.
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.paths.iter().map(Vec::as_slice)
    }
}

/// Finds and opens the file that a client's name means.
///
/// # Errors
/// [`NameError`] says why there is none. An exact match that cannot be opened is final: nothing else is tried.
pub fn lookup<T: Tree>(name: &[u8], tree: &T) -> Result<Found<T::File>, NameError> {
    let name = RequestedName::parse(name)?;
    for path in name.paths() {
        match tree.open(path) {
            Ok(file) => return Ok(Found { path: path.to_vec(), file }),
            Err(OpenError::NotFound) => {}
            Err(OpenError::Outside) => return Err(NameError::Outside),
            Err(OpenError::Unreadable) => return Err(NameError::Unreadable),
        }
        match ignoring_case(path, tree) {
            Err(NameError::NotFound) => {}
            found => return found,
        }
    }
    Err(NameError::NotFound)
}

/// The one file whose path differs from `path` in letter case only. Directories and what cannot be opened are no
/// rivals to it.
fn ignoring_case<T: Tree>(path: &[u8], tree: &T) -> Result<Found<T::File>, NameError> {
    let mut level = VecDeque::from([Vec::new()]);
    let mut visited = 0;
    for component in path.split(|byte| *byte == b'/') {
        for _ in 0..level.len() {
            let Some(directory) = level.pop_front() else { break };
            visited += 1;
            if visited > MAX_DIRECTORIES {
                return Err(NameError::Ambiguous);
            }
            tree.list(&directory, &mut |entry| {
                if entry.eq_ignore_ascii_case(component) && level.len() < MAX_DIRECTORIES {
                    let mut path = directory.clone();
                    if !path.is_empty() {
                        path.push(b'/');
                    }
                    path.extend_from_slice(entry);
                    level.push_back(path);
                }
            });
        }
    }
    let mut found = None;
    let mut failure = NameError::NotFound;
    for path in level {
        match tree.open(&path) {
            Ok(_) if found.is_some() => return Err(NameError::Ambiguous),
            Ok(file) => found = Some(Found { path, file }),
            Err(OpenError::NotFound) => {}
            Err(OpenError::Outside) => failure = NameError::Outside,
            Err(OpenError::Unreadable) => failure = NameError::Unreadable,
        }
    }
    found.ok_or(failure)
}

fn is_nothing(component: &[u8]) -> bool {
    matches!(component, b"" | b".")
}

fn is_separator(byte: &u8) -> bool {
    matches!(byte, b'/' | b'\\')
}

/// Without any number of leading `/`, `\`, `./` and `.\`.
fn strip_leading(mut name: &[u8]) -> &[u8] {
    while let [b'/' | b'\\', rest @ ..] | [b'.', b'/' | b'\\', rest @ ..] = name {
        name = rest;
    }
    name
}

/// The components between separators, without empty ones and `.`, joined by `/`. None when one of them is longer
/// than a file name may be.
fn join(name: &[u8], separator: impl Fn(&u8) -> bool) -> Option<Vec<u8>> {
    let mut path = Vec::with_capacity(name.len());
    for component in name.split(separator).filter(|part| !is_nothing(part)) {
        if component.len() > MAX_COMPONENT {
            return None;
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(component);
    }
    Some(path)
}
