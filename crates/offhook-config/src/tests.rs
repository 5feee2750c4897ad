//! What only the inside of the crate can see.

use super::*;

const REFERENCE: &str = include_str!("../../../config/offhook.reference.toml");

/// The lines of the first table with this header, or all.
fn section(header: &str) -> String {
    // A second table of the same kind may show what the first cannot.
    let header = format!("\n{header}\n");
    let tables: Vec<_> = REFERENCE
        .split(&header)
        .skip(1)
        .map(|rest| rest.split("\n[").next().unwrap_or_default())
        .collect();
    if tables.is_empty() { REFERENCE.to_owned() } else { tables.join("\n") }
}

#[test]
fn the_reference_shows_every_key_there_is() {
    let walked = with_tree(Source::Config("reference".into()), REFERENCE, |root| {
        read::read(root, &CATALOGUE, Time::default());
    });
    let known = walked.report.known_keys();
    assert!(known.len() > 60, "{known:?}");
    for key in known {
        let (header, key) = key.rsplit_once('.').unwrap();
        if header == "this file" {
            let shown = [format!("\n[{key}]\n"), format!("\n[[{key}]]\n")];
            assert!(shown.iter().any(|shown| REFERENCE.contains(shown)), "{key}");
            continue;
        }
        let text = section(header);
        let is_shown = text.match_indices(&format!("{key} =")).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '-')
        });
        assert!(is_shown, "{header} {key}");
    }
}

#[test]
fn the_catalogue_is_without_mistakes() {
    let walked = with_tree(Source::Catalogue, catalogue_toml(), read::read_classes);
    let diagnostics = walked.report.finish("catalogue", catalogue_toml());
    assert_eq!(diagnostics.iter().count(), 0, "{}", diagnostics.render(false));
    assert_eq!(walked.result.len(), 10);
}
