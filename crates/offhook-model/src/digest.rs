//! What firmware images are to be: SHA-256 digests by name.

use std::fmt;
use std::str::FromStr;

/// A SHA-256 digest (FIPS 180-4).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256(pub [u8; 32]);

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is not 64 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseSha256Error;

impl fmt::Display for ParseSha256Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the 64 hex digits of a SHA-256 digest")
    }
}

impl std::error::Error for ParseSha256Error {}

impl FromStr for Sha256 {
    type Err = ParseSha256Error;

    fn from_str(text: &str) -> Result<Self, ParseSha256Error> {
        let mut digest = [0; 32];
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != digest.len() || !rest.is_empty() {
            return Err(ParseSha256Error);
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(ParseSha256Error);
        for (byte, &[high, low]) in digest.iter_mut().zip(pairs) {
            *byte = (digit(high)? << 4 | digit(low)?) as u8;
        }
        Ok(Self(digest))
    }
}

/// Digests of files below the TFTP root, by their paths relative to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageDigests(pub Vec<(String, Sha256)>);

impl ImageDigests {
    /// What the file at this path is to be: the digest of exactly this name, else the one of a name that differs in
    /// letter case only.
    pub fn of(&self, path: &str) -> Option<Sha256> {
        let exact = self.0.iter().find(|(name, _)| name == path);
        let found =
            exact.or_else(|| self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(path)));
        found.map(|(_, digest)| *digest)
    }

    /// Reads what `sha256sum` prints, with `--tag` or without, and the numbers of the lines (from 1) that are none of
    /// its. Empty lines and those that begin with `#` say nothing. A list that was made on Windows may be UTF-16, or
    /// begin with a byte order mark: were it not read, its images would be served unchecked.
    pub fn from_sums(list: &[u8]) -> (Self, Vec<usize>) {
        let text = decoded(list);
        let (mut all, mut bad) = (Vec::new(), Vec::new());
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match tagged(line).or_else(|| plain(line)) {
                Some((name, digest)) => all.push((name.to_owned(), digest)),
                None => bad.push(index + 1),
            }
        }
        (Self(all), bad)
    }
}

/// The text of a list: UTF-16 where a byte order mark says so, else UTF-8.
fn decoded(list: &[u8]) -> String {
    let order: Option<fn([u8; 2]) -> u16> = match list {
        [0xff, 0xfe, ..] => Some(u16::from_le_bytes),
        [0xfe, 0xff, ..] => Some(u16::from_be_bytes),
        _ => None,
    };
    let text = match order {
        Some(unit) => {
            let units: Vec<u16> = list.as_chunks::<2>().0.iter().copied().map(unit).collect();
            String::from_utf16_lossy(&units)
        }
        None => String::from_utf8_lossy(list).into_owned(),
    };
    text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)
}

/// A line of `sha256sum`: the digest, a space, a space or a `*` for binary, and the name.
fn plain(line: &str) -> Option<(&str, Sha256)> {
    let (digest, name) = line.split_once([' ', '\t'])?;
    let name = name.trim_start();
    Some((below_root(name.strip_prefix('*').unwrap_or(name))?, digest.parse().ok()?))
}

/// A line of `sha256sum --tag`, as BSD's `sha256` prints it.
fn tagged(line: &str) -> Option<(&str, Sha256)> {
    let (name, digest) =
        line.strip_prefix("SHA256")?.trim_start().strip_prefix('(')?.rsplit_once(')')?;
    let digest = digest.trim_start().strip_prefix('=')?;
    Some((below_root(name)?, digest.trim().parse().ok()?))
}

/// A name as paths below the root are spelled.
fn below_root(mut name: &str) -> Option<&str> {
    while let Some(rest) = name.strip_prefix("./").or_else(|| name.strip_prefix('/')) {
        name = rest;
    }
    Some(name).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_read_as_they_are_written() {
        let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let digest: Sha256 = text.parse().unwrap();
        assert_eq!((digest.to_string(), digest.0[0], digest.0[31]), (text.to_owned(), 0xe3, 0x55));
        assert_eq!(text.to_uppercase().parse(), Ok(digest));
        for wrong in ["", "e3", &text[1..], &format!("{text}0"), &text.replace('e', "g")] {
            assert_eq!(wrong.parse::<Sha256>(), Err(ParseSha256Error), "{wrong}");
        }
    }

    #[test]
    fn sums_are_read_as_sha256sum_prints_them() {
        let [one, two] = [1, 2].map(|byte| Sha256([byte; 32]));
        let text = format!(
            "# images\n{one}  440HD.img\r\n\n{two} *./sub/a b.img\n{one}\nnonsense  405.img\n"
        );
        let (sums, bad) = ImageDigests::from_sums(text.as_bytes());
        let names: Vec<_> = sums.0.iter().map(|(name, digest)| (name.as_str(), *digest)).collect();
        assert_eq!(names, [("440HD.img", one), ("sub/a b.img", two)]);
        assert_eq!(bad, [5, 6]);
        assert_eq!((sums.of("440hd.IMG"), sums.of("405.img")), (Some(one), None));
    }

    #[test]
    fn sums_are_read_in_every_form_that_tools_write_them() {
        let digest = Sha256([0xab; 32]);
        let upper = digest.to_string().to_uppercase();
        let utf16 = |text: &str, bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            text.encode_utf16().flat_map(bytes).collect()
        };
        let marked = format!("\u{feff}{digest}  440HD.img\r\n");
        for list in [
            format!("SHA256 (440HD.img) = {digest}\n").into_bytes(),
            format!("SHA256(440HD.img)= {digest}").into_bytes(),
            format!("{upper} *440HD.img").into_bytes(),
            format!("{digest}\t440HD.img\n").into_bytes(),
            format!("{digest}  /440HD.img\n").into_bytes(),
            marked.clone().into_bytes(),
            utf16(&marked, u16::to_le_bytes),
            utf16(&marked, u16::to_be_bytes),
        ] {
            let read = ImageDigests::from_sums(&list);
            let expected = ImageDigests(vec![("440HD.img".to_owned(), digest)]);
            assert_eq!(read, (expected, vec![]), "{}", list.escape_ascii());
        }
        for list in
            ["SHA256 (440HD.img) = ab", "SHA256 () = ", "MD5 (440HD.img) = ab", "SHA256 440HD.img"]
        {
            assert_eq!(
                ImageDigests::from_sums(list.as_bytes()),
                (ImageDigests::default(), vec![1]),
                "{list}"
            );
        }
    }
}
