//! Every diagnostic, as people and programs see it.

use std::path::Path;

use offhook_config::{Code, Diagnostics, Files, Loaded, load, parse};
use offhook_model::{Sha256, Time};

/// A summer's day.
const NOW: Time = Time::from_secs(1_783_000_000);

/// A TFTP root with an image for every family, and one under two names.
struct Root;

impl Files for Root {
    fn list(&self, directory: &Path) -> Option<Vec<String>> {
        let names = [
            "sip100.img",
            "SIP200.IMG",
            "405.img",
            "405hd.img",
            "420HD.img",
            "430hd.img",
            "440hd.img",
            "Twice.img",
            "TWICE.img",
        ];
        directory.ends_with("firmware").then(|| names.map(str::to_owned).to_vec())
    }

    fn size(&self, path: &Path) -> Option<u64> {
        Some(match path.parent()?.parent()?.file_name()?.to_str()? {
            "empty" if path.ends_with("440hd.img") => 0,
            "long" if path.ends_with("440hd.img") => 65_535 * 512,
            _ => 65_535 * 512 - 1,
        })
    }

    fn sha256(&self, _: &Path) -> Option<Sha256> {
        Some(Sha256([1; 32]))
    }

    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        if path.ends_with("sums/firmware/SHA256SUMS") {
            return Ok(format!("{}  440HD.img\nnonsense\n", Sha256([1; 32])).into_bytes());
        }
        let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
        std::fs::read(cases.join(path.file_name().unwrap_or_default()))
    }
}

fn read(text: &str) -> Loaded {
    parse("offhook.toml", Path::new("/etc/offhook"), text, NOW, &Root)
}

fn case(code: Code) -> Option<String> {
    let path = format!("{}/tests/cases/{code}.toml", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).ok()
}

fn codes(diagnostics: &Diagnostics) -> Vec<&'static str> {
    diagnostics.iter().map(|d| d.code.name()).collect()
}

/// Codes of what is wrong with the file itself, which no text shows.
const OF_FILES: [Code; 3] = [Code::UnreadableFile, Code::NotUtf8, Code::FileTooLarge];

#[test]
fn every_code_has_a_case_that_gives_it_and_nothing_else() {
    for &code in Code::ALL.iter().filter(|code| !OF_FILES.contains(code)) {
        let text = case(code).unwrap_or_else(|| panic!("no case for {code}"));
        let Loaded { site, diagnostics } = read(&text);
        assert_eq!(codes(&diagnostics), [code.name()], "{}", diagnostics.render(false));
        assert_eq!(site.is_some(), diagnostics.is_ok(), "{code}");
        for diagnostic in &diagnostics {
            assert!(diagnostic.hint.is_some(), "{code} has no hint");
            assert!(!diagnostic.label.is_empty(), "{code} has no label");
            assert!(!diagnostic.message.ends_with('.'), "{code}");
        }
        insta::assert_snapshot!(code.name(), diagnostics.render(false));
    }
}

#[test]
fn a_file_that_cannot_be_read_is_a_diagnostic() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("offhook.toml");
    assert_eq!(codes(&load(&path).diagnostics), ["unreadable-file"]);

    std::fs::write(&path, b"[site]\nname = \"Z\xfcrich\"\n").unwrap();
    let loaded = load(&path);
    assert_eq!(codes(&loaded.diagnostics), ["not-utf8"]);
    let place = loaded.diagnostics.iter().map(|d| (d.line, d.column)).next();
    assert_eq!(place, Some((2, 10)));
    insta::assert_snapshot!(
        "not-utf8",
        loaded.diagnostics.render(false).replace(path.to_str().unwrap(), "offhook.toml")
    );

    std::fs::write(&path, " ".repeat((4 << 20) + 1)).unwrap();
    assert_eq!(codes(&load(&path).diagnostics), ["file-too-large"]);
}

#[test]
fn a_pipe_beside_the_file_holds_up_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let (path, pipe) = (directory.path().join("offhook.toml"), directory.path().join("phones.csv"));
    assert!(std::process::Command::new("mkfifo").arg(pipe).status().unwrap().success());
    let lab = include_str!("../../../config/lab.toml");
    std::fs::write(&path, format!("{lab}\n[inventory]\nfile = \"phones.csv\"\n")).unwrap();
    let loaded = load(&path);
    let found: Vec<_> = loaded.diagnostics.errors().map(|error| error.code.name()).collect();
    assert_eq!(found, ["inventory-unreadable"]);
}

#[test]
fn an_unreadable_file_names_itself() {
    let loaded = load(Path::new("no/such/offhook.toml"));
    assert!(loaded.site.is_none());
    insta::assert_snapshot!("unreadable-file", loaded.diagnostics.render(false));
}

const TEN: &str = include_str!("ten-mistakes.toml");

#[test]
fn ten_mistakes_give_ten_diagnostics_each_with_its_place() {
    let loaded = read(TEN);
    assert!(loaded.site.is_none());
    let places: Vec<_> =
        loaded.diagnostics.iter().map(|d| (d.code.name(), d.line, d.column)).collect();
    assert_eq!(places.len(), 10, "{}", loaded.diagnostics.render(false));
    // Every mistake is marked in the file by a comment with its code.
    for (code, line, _) in &places {
        let text = TEN.lines().nth(*line as usize - 1).unwrap();
        assert!(text.contains(&format!("# {code}")), "line {line}: {code}");
    }
    insta::assert_snapshot!("ten-mistakes", loaded.diagnostics.render(false));
}

#[test]
fn json_has_the_same_and_the_offending_text() {
    insta::assert_snapshot!("json", read(TEN).diagnostics.to_json());
}

#[test]
fn color_is_only_color() {
    let diagnostics = read(TEN).diagnostics;
    let colored = diagnostics.render(true);
    assert!(colored.contains("\u{1b}["));
    let mut plain = String::new();
    let mut rest = colored.as_str();
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    plain.push_str(rest);
    assert_eq!(plain, diagnostics.render(false));
}

#[test]
fn line_endings_marks_and_tabs_move_nothing() {
    let plain = read(TEN).diagnostics;
    let crlf = read(&TEN.replace('\n', "\r\n")).diagnostics;
    let marked = read(&format!("\u{feff}{TEN}")).diagnostics;
    let places = |diagnostics: &Diagnostics| {
        diagnostics
            .iter()
            .map(|d| (d.code, d.line, d.column, d.end_line, d.end_column, d.message.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(places(&crlf), places(&plain));
    assert_eq!(crlf.render(false), plain.render(false));
    assert_eq!(marked.render(false), plain.render(false));
    assert_eq!(places(&marked), places(&plain));
    // A tab is one character, as is an umlaut.
    let text = "[site]\n\tname = \"Zürich\"  # ü\n\tzöne = 1\n\tzone = \"ü\"\n";
    let columns: Vec<_> = read(text).diagnostics.iter().map(|d| (d.line, d.column)).collect();
    assert!(columns.contains(&(4, 9)), "{columns:?}");
    let text = LAB.replace("[\"10.250.1.5\"]  ", "[\"10.250.1.5\", \"ü\", \"10.250.1.300\"]");
    let places: Vec<_> =
        read(&text).diagnostics.iter().map(|d| (d.line, d.column, d.end_column)).collect();
    assert_eq!(places, [(9, 25, 28), (9, 30, 44)]);
}

#[test]
fn an_empty_file_says_what_is_missing() {
    let empty = read("").diagnostics;
    assert_eq!(codes(&empty), ["missing-key", "missing-key", "no-scope"]);
    insta::assert_snapshot!("empty", empty.render(false));
    assert_eq!(codes(&read("\u{feff}# nothing\r\n").diagnostics), codes(&empty));
}

#[test]
fn a_huge_file_of_nonsense_is_answered_soon_and_in_bounds() {
    let nonsense = "[[[ = \"\n".repeat(10_000);
    let diagnostics = read(&nonsense).diagnostics;
    assert!(diagnostics.iter().count() <= 300);
    assert!(diagnostics.render(false).len() < 4 << 20);
    let keys: String = (0..20_000).map(|n| format!("k{n} = {n}\n")).collect();
    assert_eq!(read(&keys).diagnostics.iter().count(), 1000);
    let twice: String = (0..5_000).map(|n| format!("a = {n}\nk{n} = 1\n")).collect();
    assert!(!read(&twice).diagnostics.is_ok());
    let long = format!("[site]\nzone = \"{}\"\n", "x".repeat(1 << 20));
    assert!(!read(&long).diagnostics.is_ok());
}

/// Broken statements of each kind, with what follows them still read: one diagnostic for the break, one for
/// the unknown key further down.
#[test]
fn broken_syntax_hides_nothing_that_follows() {
    for broken in [
        "listen = 10.250.1.5",
        "listen = ",
        "listen = \"10.250.1.5",
        "listen = [\"10.250.1.5\"",
        "listen = [\"10.250.1.5\",",
        "listen = [\"10.250.1.5\" \"10.250.1.6\"]",
        "listen = \"\"\"10.250.1.5",
        "listen \"10.250.1.5\"",
        "listen: \"10.250.1.5\"",
        "forward = { \"lab.local\" = [\"10.250.0.2\"]",
        "// listen",
        "listen = yes",
    ] {
        let text = format!(
            "[site]\nzone = \"lab.voip\"\n\n[dns]\n{broken}\n\n[[scope]]\nname = \"voice\"\nvlan = 100\n\
             subnet = \"10.250.1.0/24\"\npools = [\"10.250.1.20-10.250.1.149\"]\nruter = \"10.250.1.1\"\n"
        );
        let diagnostics = read(&text).diagnostics;
        assert_eq!(
            codes(&diagnostics),
            ["syntax", "unknown-key"],
            "{broken}\n{}",
            diagnostics.render(false)
        );
        let line = diagnostics.iter().map(|d| d.line).next();
        assert_eq!(line, Some(5), "{broken}");
    }
}

const LAB: &str = include_str!("../../../config/lab.toml");

#[test]
fn a_broken_header_is_one_mistake() {
    for broken in ["[[scope]", "[[scope", "[scope]]", "[[sco pe]]", "[[]]", "scope]]", "[[scope]]]"]
    {
        let text = LAB.replacen("[[scope]]", broken, 1);
        let diagnostics = read(&text).diagnostics;
        assert_eq!(codes(&diagnostics), ["syntax"], "{broken}\n{}", diagnostics.render(false));
    }
    for (from, to, code) in [
        ("[[scope]]", "[scope]", "wrong-type"),
        ("[[host]]", "[host]", "wrong-type"),
        ("[[scope]]", "[[scoop]]", "unknown-key"),
        ("[site]", "[[site]]", "wrong-type"),
        ("[[host]]", "[[host]]\n[[host]]", "missing-key"),
    ] {
        let diagnostics = read(&LAB.replacen(from, to, 1)).diagnostics;
        assert_eq!(codes(&diagnostics), [code], "{to}\n{}", diagnostics.render(false));
    }
}

/// Lines of the sample site, each with a mistake that much else depends on.
#[test]
fn what_only_follows_from_a_mistake_is_not_reported() {
    for (from, to, code) in [
        ("zone = \"lab.voip\"", "zone = \"lab voip\"", "bad-name"),
        ("zone = \"lab.voip\"", "zome = \"lab.voip\"", "unknown-key"),
        ("vlan = 100", "vlan = \"100\"", "wrong-type"),
        ("vlan = 100", "valn = 100", "unknown-key"),
        ("vlan = 100", "", "voice-without-vlan"),
        ("name = \"vm40ic1\"", "name = 1", "wrong-type"),
        ("address = \"10.250.1.6\"", "address = \"10.250.1\"", "bad-address"),
        ("address = \"10.250.1.6\"", "", "missing-key"),
        ("name = \"voice\"", "name = voice", "syntax"),
        ("subnet = \"10.250.1.0/24\"", "subnet = \"10.250.1.0\"", "bad-subnet"),
        ("router = \"10.0.0.1\"", "ruoter = \"10.0.0.1\"", "unknown-key"),
        ("pools = [\"10.0.0", "pool = [\"10.0.0", "unknown-key"),
        ("voice = \"voice\"", "vioce = \"voice\"", "unknown-key"),
        ("hosts = [\"vm40ic1\", \"vm40ic2\"]", "hosts = [\"vm40ic1\", 2]", "wrong-type"),
        ("listen = [\"10.250.1.5\"]", "listen = [10.250.1.5]", "syntax"),
        ("listen = \"10.0.0.11\"", "listen = \"10.0.0.x\"", "bad-listener"),
        ("[dns]", "[dsn]", "unknown-key"),
    ] {
        assert!(LAB.contains(from), "{from}");
        let diagnostics = read(&LAB.replacen(from, to, 1)).diagnostics;
        assert_eq!(codes(&diagnostics), [code], "{to}\n{}", diagnostics.render(false));
    }
}

#[test]
fn a_zone_or_host_that_cannot_be_read_hides_no_other_mistake() {
    let lab = include_str!("../../../config/lab.toml");
    let mistakes = [
        ("zone = \"lab.voip\"", "zone = \"lab..voip\"", "bad-name"),
        ("servers = [\"mytimeserver\"]", "servers = [\"mytimeservr\"]", "time-server-unresolvable"),
        (
            "hosts = [\"vm40ic1\", \"vm40ic2\"]",
            "hosts = [\"vm40ic1\", \"vm40ic3\"]",
            "unknown-host",
        ),
    ];
    let mut text = lab.to_owned();
    for (right, wrong, _) in mistakes {
        assert!(text.contains(right), "{right}");
        text = text.replacen(right, wrong, 1);
    }
    let mut expected: Vec<_> = mistakes.iter().map(|(.., code)| *code).collect();
    let mut found = codes(&read(&text).diagnostics);
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
    // A host whose name is unreadable excuses a reference to it, and no other.
    let text = lab.replacen("name = \"mytimeserver\"", "name = \"my timeserver\"", 1).replacen(
        "\"vm40ic2\"]",
        "\"vm40ic3\"]",
        1,
    );
    assert_eq!(codes(&read(&text).diagnostics), ["bad-name", "unknown-host"]);
}
