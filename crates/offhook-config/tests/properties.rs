//! Whatever the file holds: no panic, and every place that is named lies inside it.

use std::path::Path;

/// A summer's day.
const NOW: Time = Time::from_secs(1_783_000_000);

use offhook_config::{Files, Loaded, parse};
use offhook_model::Time;
use proptest::prelude::*;

struct Nothing;

impl Files for Nothing {
    fn list(&self, _: &Path) -> Option<Vec<String>> {
        Some(vec!["sip100.img".to_owned()])
    }
}

const LAB: &str = include_str!("../../../config/lab.toml");
const REFERENCE: &str = include_str!("../../../config/offhook.reference.toml");

fn check(text: &str) -> Result<(), TestCaseError> {
    let Loaded { site, diagnostics } = parse("offhook.toml", Path::new(""), text, NOW, &Nothing);
    prop_assert_eq!(site.is_some(), diagnostics.is_ok(), "{}", text);
    let lines = text.split('\n').count() as u32;
    let mut last = 0;
    for diagnostic in &diagnostics {
        for span in
            std::iter::once(&diagnostic.span).chain(diagnostic.related.iter().map(|r| &r.span))
        {
            prop_assert!(text.get(span.clone()).is_some(), "{:?} {}", diagnostic, text);
        }
        prop_assert!(diagnostic.line >= 1 && diagnostic.line <= diagnostic.end_line);
        prop_assert!(diagnostic.end_line <= lines && diagnostic.column >= 1);
        prop_assert!(diagnostic.span.start >= last, "sorted");
        last = diagnostic.span.start;
    }
    diagnostics.render(true);
    let json: serde_json::Value = serde_json::from_str(&diagnostics.to_json()).expect("JSON");
    prop_assert_eq!(json.as_array().map(Vec::len), Some(diagnostics.iter().count()));
    Ok(())
}

/// A phone list of these bytes.
struct List(Vec<u8>);

impl Files for List {
    fn list(&self, _: &Path) -> Option<Vec<String>> {
        None
    }

    fn read(&self, _: &Path) -> std::io::Result<Vec<u8>> {
        Ok(self.0.clone())
    }
}

/// Text of TOML's own pieces, likelier to get past the first line than any text is.
fn toml_like() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "=",
        "\"",
        "'''",
        "\"\"\"",
        ",",
        "\n",
        "\r\n",
        "\r",
        "#",
        ".",
        " ",
        "\t",
        "\u{feff}",
        "ü",
        "site",
        "scope",
        "host",
        "class",
        "options",
        "name",
        "zone",
        "subnet",
        "pools",
        "10.0.0.1",
        "\"10.0.0.0/24\"",
        "\"10.0.0.1-10.0.0.9\"",
        "true",
        "42",
        "66",
        "hex",
        "send",
        "value",
        "[[scope]]\n",
        "[[class]]\n",
        "[site]\n",
        "[options]\n",
        "name = \"a\"\n",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// A good file with a few changes: bytes out, text in, lines swapped.
fn mutated() -> impl Strategy<Value = String> {
    let change = (any::<prop::sample::Index>(), 0..12usize, "[ -~\n\u{fc}]{0,4}");
    (prop::bool::ANY, prop::collection::vec(change, 1..5)).prop_map(|(lab, changes)| {
        let mut text = if lab { LAB } else { REFERENCE }.to_owned();
        for (at, out, put) in changes {
            let start = text.floor_char_boundary(at.index(text.len() + 1));
            let end = text.ceil_char_boundary((start + out).min(text.len()));
            text.replace_range(start..end, &put);
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_answered(text in "\\PC{0,200}") {
        check(&text)?;
    }

    #[test]
    fn anything_like_toml_is_answered(text in toml_like()) {
        check(&text)?;
    }

    #[test]
    fn a_good_file_with_mistakes_is_answered(text in mutated()) {
        check(&text)?;
    }

    #[test]
    fn any_phone_list_is_answered(
        header in prop::bool::ANY,
        list in "[a-f0-9:,;\"\n\r\t .\u{fc}\u{feff}z]{0,120}",
        bytes in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let header = if header { "Name,Model,Address\n" } else { "" };
        let list = [header.as_bytes(), list.as_bytes(), &bytes].concat();
        let text = format!("{LAB}\n[inventory]\nfile = \"phones.csv\"\n");
        let lines = list.iter().filter(|&&byte| byte == b'\n').count() as u32 + 1;
        let Loaded { site, diagnostics } = parse("a.toml", Path::new(""), &text, NOW, &List(list));
        prop_assert_eq!(site.is_some(), diagnostics.is_ok());
        for diagnostic in diagnostics.iter().filter(|d| &*d.file == "phones.csv") {
            prop_assert!(diagnostic.line >= 1 && diagnostic.end_line <= lines);
        }
        diagnostics.render(true);
        diagnostics.to_json();
    }
}
