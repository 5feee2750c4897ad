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

    /// Reads what `sha256sum` prints, and the numbers of the lines (from 1) that are none of its. Empty lines and
    /// those that begin with `#` say nothing.
    pub fn from_sums(text: &str) -> (Self, Vec<usize>) {
        let (mut all, mut bad) = (Vec::new(), Vec::new());
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let read = line.split_once(' ').and_then(|(digest, name)| {
                // The second column is a space, or a `*` for binary.
                let name = name.strip_prefix([' ', '*']).unwrap_or(name);
                let name = name.strip_prefix("./").unwrap_or(name).trim_end();
                Some((name.to_owned(), digest.parse().ok()?)).filter(|_| !name.is_empty())
            });
            match read {
                Some(read) => all.push(read),
                None => bad.push(index + 1),
            }
        }
        (Self(all), bad)
    }
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
        let (sums, bad) = ImageDigests::from_sums(&text);
        let names: Vec<_> = sums.0.iter().map(|(name, digest)| (name.as_str(), *digest)).collect();
        assert_eq!(names, [("440HD.img", one), ("sub/a b.img", two)]);
        assert_eq!(bad, [5, 6]);
        assert_eq!((sums.of("440hd.IMG"), sums.of("405.img")), (Some(one), None));
    }
}
