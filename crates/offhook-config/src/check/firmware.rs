//! Firmware images in the TFTP root.

use std::collections::HashMap;
use std::path::Path;

use offhook_model::{ImageDigests, Source};

use super::Context;
use crate::report::{Problem, Span};
use crate::words;
use crate::{Code, Files};

pub(super) fn check(context: &Context<'_>, base: &Path, files: &dyn Files) {
    let Some(root) = context.facts.tftp.as_ref().and_then(|tftp| tftp.root.good()) else { return };
    let Some(names) = files.list(&base.join(&root.value)) else {
        context.report.push(
            Problem::warning(
                Code::FirmwareRootMissing,
                &root.span,
                format!("there is no directory `{}`", root.value),
            )
            .label("no such directory")
            .hint("make it, and put the firmware images there"),
        );
        return;
    };
    let mut by_lower: HashMap<String, Vec<&str>> = HashMap::new();
    for name in &names {
        by_lower.entry(name.to_lowercase()).or_default().push(name);
    }

    let upstream = context.facts.tftp.as_ref().and_then(|tftp| tftp.upstream.as_ref());
    let at = |name: &str| base.join(&root.value).join(name);
    let mut used: Vec<(&Span, &str)> = Vec::new();
    // Images of the catalogue have no line in this file: the root is where they are missing.
    let mut missing: Vec<&str> = Vec::new();
    for class in context.classes() {
        let Some((file, origin)) = &class.firmware else { continue };
        let own = matches!(origin.source, Source::Config(_));
        let span: &Span = if own { &file.span } else { &root.span };
        let found = by_lower.get(&file.value.to_lowercase()).map_or(&[][..], Vec::as_slice);
        match found {
            // All that option 67 names may be fetched.
            [] if upstream.is_some() => {}
            [] if own => missing_image(context, span, &[&file.value], &names),
            [] if !missing.contains(&file.value.as_str()) => missing.push(&file.value),
            [] => {}
            [name] => used.push((span, name)),
            several if several.contains(&file.value.as_str()) => {}
            several => context.report.push(
                Problem::warning(
                    Code::FirmwareAmbiguous,
                    span,
                    format!("`{}` matches {}", file.value, words::list(several)),
                )
                .label("more than one file but for letter case")
                .hint(format!("keep one of them, or name one exactly `{}`", file.value)),
            ),
        }
    }
    if !missing.is_empty() {
        missing_image(context, &root.span, &missing, &names);
    }

    let is_told = |name: &str| {
        let mut files = context.classes().filter_map(|class| class.firmware.as_ref());
        files.any(|(file, _)| file.value.eq_ignore_ascii_case(name))
    };
    let stated = context.facts.tftp.as_ref().map(|tftp| tftp.images.as_slice()).unwrap_or_default();
    for (file, _) in stated {
        match by_lower.get(&file.value.to_lowercase()).map_or(&[][..], Vec::as_slice) {
            [] if upstream.is_some_and(|it| is_told(&file.value) || it.allows(&file.value)) => {}
            [] => missing_image(context, &file.span, &[&file.value], &names),
            found => used.extend(found.iter().map(|name| (&file.span, *name))),
        }
    }
    let sums = sums(context, &root.span, &at(SUMS), files);
    let mut seen: Vec<&str> = Vec::new();
    for (span, name) in used {
        if !seen.contains(&name) {
            seen.push(name);
            size(context, span, name, files.size(&at(name)));
        }
    }
    let of_sums = sums.0.iter().filter_map(|(file, _)| by_lower.get(&file.to_lowercase()));
    let mut known: Vec<&str> = seen;
    known.extend(of_sums.flatten().copied());
    known.sort_unstable();
    known.dedup();
    for name in known {
        let exact = stated.iter().find(|(file, _)| file.value == name);
        let near = || stated.iter().find(|(file, _)| file.value.eq_ignore_ascii_case(name));
        let (span, expected) = match (exact.or_else(near), sums.of(name)) {
            (Some((file, digest)), _) => (&file.span, *digest),
            (None, Some(digest)) => (&root.span, digest),
            (None, None) => continue,
        };
        if let Some(actual) = files.sha256(&at(name)).filter(|actual| *actual != expected) {
            context.report.push(
                Problem::warning(Code::FirmwareDigest, span, format!("`{name}` is not the image it should be"))
                    .label("refused to every phone")
                    .hint(format!("its SHA-256 digest is {actual}, not {expected}: get it anew, or correct the digest")),
            );
        }
    }
}

/// The list of digests in the root.
const SUMS: &str = "SHA256SUMS";

fn sums(context: &Context<'_>, span: &Span, path: &Path, files: &dyn Files) -> ImageDigests {
    let bytes = match files.read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return ImageDigests::default();
        }
        Err(error) => {
            context.report.push(
                Problem::warning(Code::FirmwareSums, span, format!("cannot read {SUMS}: {error}"))
                    .label("no image that is not named in `images` is served")
                    .hint("check its permissions, or remove it"),
            );
            return ImageDigests::default();
        }
    };
    let (sums, bad) = ImageDigests::from_sums(&bytes);
    if let Some(line) = bad.first() {
        context.report.push(
            Problem::warning(
                Code::FirmwareSums,
                span,
                format!("line {line} of {SUMS} is no digest"),
            )
            .label(format!("{} such in all, ignored", bad.len()))
            .hint("write the output of `sha256sum *.img` there"),
        );
    }
    sums
}

/// Blocks of 512 bytes that numbers of 16 bits can count, the last of which is not full.
const COUNTABLE: u64 = 65_535 * 512 - 1;

fn size(context: &Context<'_>, span: &Span, name: &str, size: Option<u64>) {
    let (code, message, label, hint) = match size {
        Some(0) => (
            Code::FirmwareEmpty,
            format!("`{name}` is empty"),
            "nothing in it",
            "copy the image there again: a phone that is sent nothing does not recover",
        ),
        Some(size @ COUNTABLE..) if size > COUNTABLE => (
            Code::FirmwareTooLong,
            format!("`{name}` has {size} bytes: more than 65535 blocks of 512"),
            "block numbers begin again",
            "see whether its phones ask for larger blocks, and set `[tftp] rollover` to what they count on",
        ),
        _ => return,
    };
    context.report.push(Problem::warning(code, span, message).label(label).hint(hint));
}

fn missing_image(context: &Context<'_>, span: &Span, files: &[&str], names: &[String]) {
    let (message, label) = match files {
        [one] => (format!("`{one}` is not in the TFTP root"), "no such file, in any letter case"),
        many => (
            format!(
                "{} firmware images are not in the TFTP root: {}",
                many.len(),
                words::list(many)
            ),
            "no such files, in any letter case",
        ),
    };
    let near = match files {
        [one] => words::nearest(one, names.iter().map(String::as_str)),
        _ => None,
    };
    let hint = match near {
        Some(near) => format!("there is `{near}`"),
        None => "phones in recovery mode need the image of their model there".to_owned(),
    };
    context
        .report
        .push(Problem::warning(Code::FirmwareMissing, span, message).label(label).hint(hint));
}
