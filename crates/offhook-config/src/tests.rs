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
        read::read(root, &CATALOGUE, Time::default(), Path::new(""), &Nothing);
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
        // A table inside of a table, with a header of its own.
        let inner = header.strip_suffix(']').map(|outer| format!("\n{outer}.{key}]\n"));
        if inner.is_some_and(|inner| REFERENCE.contains(&inner)) {
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

/// Wherever a value is read, a line with a wrong one: `SECTION.KEY: LINE`.
const WRONG: &str = include_str!("../tests/wrong-values.txt");

/// The section of `SECTION.KEY`.
fn header(place: &str) -> &str {
    place.rfind(']').map_or(place, |end| &place[..=end])
}

struct Nothing;

impl Files for Nothing {
    fn list(&self, _: &Path) -> Option<Vec<String>> {
        Some(Vec::new())
    }
}

/// A table, complete but for the key in question.
fn complete(header: &str) -> &'static [&'static str] {
    match header {
        "[site]" => &["zone = \"lab.voip\"", "time_zone = \"America/New_York\""],
        "[dns]" => &["listen = \"10.250.1.5\""],
        "[tftp]" => &["listen = \"10.250.1.5\"", "root = \"firmware\""],
        "[[scope]]" => &[
            "name = \"data\"",
            "subnet = \"10.9.0.0/24\"",
            "router = \"10.9.0.1\"",
            "phones = false",
        ],
        "[[class]]" => &["name = \"door\"", "oui = \"00:00:5e\""],
        "[[phone]]" => &["mac = \"00:90:8f:12:34:56\""],
        "[time]" => &["servers = \"10.250.1.6\""],
        "[switchover]" => {
            &["name = \"provision\"", "hosts = [\"one\", \"two\"]", "sip = { udp = 8060 }"]
        }
        "[[record]]" => &["name = \"sip\"", "type = \"CNAME\"", "value = \"proxies\""],
        "[[host]]" => &["name = \"vm40ic1\"", "address = \"10.250.1.151\""],
        "[[proxy]]" | "[[switchover]]" => &["name = \"it\"", "hosts = [\"vm40ic1\"]"],
        _ => &[],
    }
}

/// A file that is right but for `line`, which stands where `place` says.
fn with_mistake(place: &str, line: &str) -> String {
    let (section, key) = place.rsplit_once('.').unwrap();
    let at_top = section == "this file";
    // Values of options have keys of their own.
    let header = if section.contains(']') || at_top { header(place) } else { "[options]" };
    let is_identity = header == "[[phone]]"
        && matches!(key, "client_id" | "circuit_id" | "remote_id" | "host_name");
    let mut text = if at_top { format!("{line}\n") } else { String::new() };
    for table in ["[site]", "[dns]"].into_iter().chain((!at_top).then_some(header)) {
        if text.contains(&format!("{table}\n")) || at_top && table == format!("[{key}]") {
            continue;
        }
        text += &format!("{table}\n");
        if table == header {
            text += &format!("{line}\n");
        }
        let own = format!("{key} =");
        for other in complete(table) {
            let is_replaced = table == header && (other.starts_with(&own) || is_identity);
            // One of the two says where the site is in time.
            let is_rival = key == "time_offset" && other.starts_with("time_zone");
            if !is_replaced && !is_rival {
                text += &format!("{other}\n");
            }
        }
    }
    if header == "[switchover]" {
        text += "[[host]]\nname = \"one\"\naddress = \"10.250.1.151\"\n\
                 [[host]]\nname = \"two\"\naddress = \"10.250.1.152\"\n";
    }
    if !(at_top && key == "scope") {
        text += "[[scope]]\nname = \"voice\"\nvlan = 100\nsubnet = \"10.250.1.0/24\"\n\
                 pools = \"10.250.1.20-10.250.1.29\"\nrouter = \"10.250.1.1\"\n";
    }
    text
}

#[test]
fn a_wrong_value_of_every_key_is_told_what_would_be_right() {
    let mut told = String::new();
    for line in WRONG.lines() {
        let (place, line) = line.split_once(": ").unwrap();
        let text = with_mistake(place, line);
        let loaded = parse("offhook.toml", Path::new(""), &text, Time::default(), &Nothing);
        let mut errors = loaded.diagnostics.errors();
        let error = errors.next().unwrap_or_else(|| panic!("{line} is taken"));
        let at = text.lines().nth(error.line as usize - 1).unwrap_or_default();
        assert!(at == line || error.hint.is_some(), "{line}: reported at {at}");
        let hint = error.hint.as_deref().unwrap_or_default();
        told +=
            &format!("{place}\n  {line}\n  {}: {}\n  hint: {hint}\n\n", error.code, error.message);
    }
    insta::assert_snapshot!("wrong-values", told);

    let walked = with_tree(Source::Config("reference".into()), REFERENCE, |root| {
        read::read(root, &CATALOGUE, Time::default(), Path::new(""), &Nothing);
    });
    for key in walked.report.known_keys() {
        // Tables that may be single have their keys read from a list as well.
        let also = key.replace("[switchover]", "[[switchover]]");
        let is_shown = |key: &str| WRONG.lines().any(|line| line.starts_with(&format!("{key}: ")));
        assert!(is_shown(&key) || is_shown(&also), "{key} has no wrong value");
    }
}
