//! Names on a tree in memory: which spelling finds which file. The shell's tests ask the same of a real one.

#![cfg(test)]

use std::collections::BTreeMap;

use offhook_tftp::{NameError, OpenError, RequestedName, Tree, lookup};
use proptest::prelude::*;

/// Paths and what opening them gives; directories follow from the paths.
struct Files(BTreeMap<Vec<u8>, Result<(), OpenError>>);

impl Files {
    fn new(paths: &[&str]) -> Self {
        Self(paths.iter().map(|path| (path.as_bytes().to_vec(), Ok(()))).collect())
    }
}

impl Tree for Files {
    type File = ();

    fn open(&self, path: &[u8]) -> Result<(), OpenError> {
        let inside =
            path.split(|byte| *byte == b'/').all(|part| !matches!(part, b"" | b"." | b".."));
        assert!(inside, "{} was opened", path.escape_ascii());
        let directory = [path, b"/"].concat();
        if self.0.keys().any(|file| file.starts_with(&directory)) {
            return Err(OpenError::Unreadable);
        }
        self.0.get(path).copied().unwrap_or(Err(OpenError::NotFound))
    }

    fn list(&self, directory: &[u8], entry: &mut dyn FnMut(&[u8])) {
        let prefix = if directory.is_empty() { Vec::new() } else { [directory, b"/"].concat() };
        let mut names: Vec<_> = self
            .0
            .keys()
            .filter_map(|path| path.strip_prefix(&prefix[..]))
            .filter_map(|rest| rest.split(|byte| *byte == b'/').next())
            .collect();
        names.dedup();
        names.into_iter().for_each(entry);
    }
}

#[test]
fn names_are_found_as_phones_spell_them() {
    let files = Files::new(&[
        "420hd.img",
        "440HD.img",
        "both.img",
        "BOTH.img",
        "Both.img",
        "only.img",
        "Only.img",
        "sub/Boot.cfg",
        "SUB2/deep/x.bin",
        "back\\slash",
        "%2e%2e",
        "umlaut-\u{e4}.img",
        "foo..img",
        "...",
    ]);
    let not_found = Err(NameError::NotFound);
    let table: &[(&[u8], Result<&str, NameError>)] = &[
        (b"420hd.img", Ok("420hd.img")),
        (b"420HD.IMG", Ok("420hd.img")),
        (b"440hd.img", Ok("440HD.img")),
        (b"/420hd.img", Ok("420hd.img")),
        (b"//420HD.img", Ok("420hd.img")),
        (b"./420hd.img", Ok("420hd.img")),
        (b"\\420hd.img", Ok("420hd.img")),
        (b".\\420HD.img", Ok("420hd.img")),
        (b"/./\\420HD.img", Ok("420hd.img")),
        (b"both.img", Ok("both.img")),
        (b"Both.img", Ok("Both.img")),
        (b"boTH.img", Err(NameError::Ambiguous)),
        (b"sub/Boot.cfg", Ok("sub/Boot.cfg")),
        (b"/SUB/boot.CFG", Ok("sub/Boot.cfg")),
        (b"sub\\Boot.cfg", Ok("sub/Boot.cfg")),
        (b"\\sub\\boot.cfg", Ok("sub/Boot.cfg")),
        (b"sub//Boot.cfg", Ok("sub/Boot.cfg")),
        (b"sub/./Boot.cfg", Ok("sub/Boot.cfg")),
        (b"sub2/DEEP/X.bin", Ok("SUB2/deep/x.bin")),
        (b"back\\slash", Ok("back\\slash")),
        (b"foo..img", Ok("foo..img")),
        (b"...", Ok("...")),
        (b"%2e%2e", Ok("%2e%2e")),
        ("umlaut-\u{e4}.IMG".as_bytes(), Ok("umlaut-\u{e4}.img")),
        (b"umlaut-\xe4.img", not_found),
        (b"%2e%2e/etc/passwd", not_found),
        (b"nothing.img", not_found),
        (b"/etc/passwd", not_found),
        (b"C:\\Windows\\win.ini", not_found),
        (b"sub", Err(NameError::Unreadable)),
        (b"420hd.img/x", not_found),
        (b"", Err(NameError::Empty)),
        (b"/", Err(NameError::Empty)),
        (b"/./", Err(NameError::Empty)),
        (b".", Err(NameError::Empty)),
        (b"\\./", not_found),
        (b"..", Err(NameError::Outside)),
        (b"../420hd.img", Err(NameError::Outside)),
        (b"sub/../420hd.img", Err(NameError::Outside)),
        (b"sub\\..\\420hd.img", Err(NameError::Outside)),
        (b"/../etc/passwd", Err(NameError::Outside)),
        (b"..\\..\\etc\\passwd", Err(NameError::Outside)),
        (b".../..", Err(NameError::Outside)),
        (b"....//420hd.img", not_found),
        (b"\xff\xfe\xfd", not_found),
    ];
    for (name, expected) in table {
        let found = lookup(name, &files).map(|found| String::from_utf8(found.path).unwrap());
        assert_eq!(found, expected.map(str::to_owned), "{}", name.escape_ascii());
    }
}

#[test]
fn overlong_names_are_not_found() {
    let files = Files::new(&["a"]);
    assert_eq!(lookup(&[b'a'; 256], &files), Err(NameError::TooLong));
    assert_eq!(lookup(&b"a/".repeat(5000), &files), Err(NameError::TooLong));
    assert_eq!(lookup(&[b'a'; 255], &files), Err(NameError::NotFound));
}

#[test]
fn what_cannot_be_opened_is_said_and_is_no_rival() {
    let mut files = Files::new(&["a.img", "B.img"]);
    files.0.insert(b"A.img".to_vec(), Err(OpenError::Unreadable));
    files.0.insert(b"out".to_vec(), Err(OpenError::Outside));
    assert_eq!(lookup(b"A.img", &files).unwrap_err(), NameError::Unreadable);
    assert_eq!(lookup(b"a.IMG", &files).unwrap().path, b"a.img");
    assert_eq!(lookup(b"out", &files).unwrap_err(), NameError::Outside);
    assert_eq!(lookup(b"OUT", &files).unwrap_err(), NameError::Outside);
}

#[test]
fn a_tree_full_of_spellings_is_given_up() {
    let names: Vec<String> = (0..256_u32)
        .map(|i| {
            (0..8).map(|bit| if i >> bit & 1 == 0 { 'a' } else { 'A' }).collect::<String>() + "/x"
        })
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let found = lookup(b"aaaaaaaa/X", &Files::new(&names));
    assert_eq!(found.unwrap_err(), NameError::Ambiguous);
}

proptest! {
    #[test]
    fn no_name_leaves_the_root(
        name in proptest::collection::vec(
            prop_oneof![Just(b'.'), Just(b'/'), Just(b'\\'), Just(b'a'), Just(b'%'), any::<u8>()],
            0..40),
    ) {
        if let Ok(name) = RequestedName::parse(&name) {
            for path in name.paths() {
                prop_assert!(!path.contains(&0));
                for part in path.split(|byte| *byte == b'/') {
                    prop_assert!(!matches!(part, b"" | b"." | b".."));
                }
            }
        }
        // The tree asserts the same of everything that is opened.
        let _ = lookup(&name, &Files::new(&["a", "a/a", "A"]));
    }
}
