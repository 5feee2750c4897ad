//! Firmware images in the TFTP root.

use std::collections::HashMap;
use std::path::Path;

use offhook_model::Source;

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

    // Images of the catalogue have no line in this file: the root is where they are missing.
    let mut missing: Vec<&str> = Vec::new();
    for class in context.classes() {
        let Some((file, origin)) = &class.firmware else { continue };
        let own = matches!(origin.source, Source::Config(_));
        let span: &Span = if own { &file.span } else { &root.span };
        let found = by_lower.get(&file.value.to_lowercase()).map_or(&[][..], Vec::as_slice);
        match found {
            [] if own => missing_image(context, span, &[&file.value], &names),
            [] if !missing.contains(&file.value.as_str()) => missing.push(&file.value),
            [] | [_] => {}
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
