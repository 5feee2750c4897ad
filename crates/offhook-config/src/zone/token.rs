//! The words of a zone file, each with its place.

use super::Fault;
use crate::Code;
use crate::place::BOM;
use crate::report::Span;

/// A word, or what stands between two quotes; escapes are still in it.
#[derive(Clone, Debug)]
pub(super) struct Token<'t> {
    pub(super) text: &'t str,
    pub(super) is_quoted: bool,
    pub(super) span: Span,
}

impl Token<'_> {
    /// The octets that the text stands for (RFC 1035 section 5.1): `\DDD` is one by its number, and `\` before
    /// anything else takes that literally.
    pub(super) fn octets(&self) -> Result<Vec<u8>, Fault> {
        let mut octets = Vec::with_capacity(self.text.len());
        let mut rest = self.text.bytes().enumerate();
        while let Some((at, octet)) = rest.next() {
            if octet == b'\\' {
                octets.push(self.escape(at, &mut rest)?);
            } else {
                octets.push(octet);
            }
        }
        Ok(octets)
    }

    /// The octet of an escape that begins at `at` of the text, of which `rest` is what comes after the backslash.
    pub(super) fn escape(
        &self,
        at: usize,
        rest: &mut impl Iterator<Item = (usize, u8)>,
    ) -> Result<u8, Fault> {
        let bad = |length: usize| {
            let start = self.text_start() + at;
            let end = (start + length).min(self.span.end);
            Fault::new(
                &(start..end),
                "this is no escape",
                "write \\ and three decimal digits up to 255, or \\ and the character itself",
            )
        };
        let Some((_, first)) = rest.next() else { return Err(bad(1)) };
        if !first.is_ascii_digit() {
            return Ok(first);
        }
        let mut number = u16::from(first - b'0');
        for _ in 0..2 {
            match rest.next() {
                Some((_, digit)) if digit.is_ascii_digit() => {
                    number = number * 10 + u16::from(digit - b'0');
                }
                _ => return Err(bad(4)),
            }
        }
        u8::try_from(number).map_err(|_| bad(4))
    }

    /// Where the text begins in the file: after the quote, if there is one.
    pub(super) fn text_start(&self) -> usize {
        self.span.start + usize::from(self.is_quoted)
    }
}

/// The words of one line, or of several that parentheses hold together.
#[derive(Clone, Debug)]
pub(super) struct Entry<'t> {
    /// Never empty.
    pub(super) tokens: Vec<Token<'t>>,
    /// Whether the line begins with white space: its record has the name of the one before.
    pub(super) is_indented: bool,
}

/// Reads a text entry by entry; after a fault, goes on with the line after.
#[derive(Debug)]
pub(super) struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: if text.starts_with(BOM) { BOM.len() } else { 0 } }
    }

    /// The words of a text that is one entry, however many lines it has.
    pub(super) fn words(text: &'t str) -> Result<Vec<Token<'t>>, Fault> {
        let mut lexer = Self::new(text);
        let mut tokens = Vec::new();
        while lexer.at < text.len() {
            match lexer.piece()? {
                Piece::Token(token) => tokens.push(token),
                Piece::Open(_) | Piece::Close(_) | Piece::End => {}
            }
        }
        Ok(tokens)
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Goes on after the line that `at` is in.
    fn skip_line(&mut self, at: usize) {
        let rest = self.text.get(at..).unwrap_or_default();
        self.at = rest.find('\n').map_or(self.text.len(), |length| at + length + 1);
    }

    fn entry(&mut self) -> Result<Entry<'t>, Fault> {
        let is_indented = self.rest().starts_with([' ', '\t']);
        let mut tokens = Vec::new();
        let mut open: Option<Span> = None;
        loop {
            match self.piece() {
                Ok(Piece::Token(token)) => tokens.push(token),
                Ok(Piece::Open(span)) if open.is_none() => open = Some(span),
                Ok(Piece::Open(span)) => {
                    self.skip_line(span.start);
                    return Err(syntax(&span, "a parenthesis inside of another", "leave it out"));
                }
                Ok(Piece::Close(span)) => {
                    if open.take().is_none() {
                        self.skip_line(span.start);
                        let message = "this parenthesis closes nothing";
                        return Err(syntax(&span, message, "leave it out, or open one before it"));
                    }
                }
                Ok(Piece::End) => match open {
                    Some(span) if self.at >= self.text.len() => {
                        self.skip_line(span.start);
                        let message = "this parenthesis is never closed";
                        return Err(syntax(&span, message, "close it after the last item"));
                    }
                    Some(_) => {}
                    None => return Ok(Entry { tokens, is_indented }),
                },
                Err(fault) => {
                    self.skip_line(fault.span.start);
                    return Err(fault);
                }
            }
        }
    }

    /// What comes next, white space and comments aside.
    fn piece(&mut self) -> Result<Piece<'t>, Fault> {
        loop {
            let start = self.at;
            let Some(first) = self.rest().chars().next() else { return Ok(Piece::End) };
            self.at += first.len_utf8();
            match first {
                '\n' => return Ok(Piece::End),
                ';' => self.at = start + self.rest_of_line(start),
                '(' => return Ok(Piece::Open(start..self.at)),
                ')' => return Ok(Piece::Close(start..self.at)),
                '"' => return self.quoted(start),
                ' ' | '\t' | '\r' => {}
                _ => return Ok(Piece::Token(self.word(start))),
            }
        }
    }

    fn rest_of_line(&self, start: usize) -> usize {
        let rest = self.text.get(start..).unwrap_or_default();
        rest.find('\n').unwrap_or(rest.len())
    }

    fn word(&mut self, start: usize) -> Token<'t> {
        let rest = self.text.get(start..).unwrap_or_default();
        let mut escaped = false;
        let length = rest.find(|c: char| {
            let is_over = !escaped && matches!(c, ' ' | '\t' | ';' | '(' | ')' | '"');
            escaped = c == '\\' && !escaped;
            is_over || matches!(c, '\n' | '\r')
        });
        self.at = start + length.unwrap_or(rest.len());
        let text = self.text.get(start..self.at).unwrap_or_default();
        Token { text, is_quoted: false, span: start..self.at }
    }

    fn quoted(&mut self, start: usize) -> Result<Piece<'t>, Fault> {
        let mut escaped = false;
        let length = self.rest().find(|c: char| {
            let is_over = (c == '"' && !escaped) || c == '\n';
            escaped = c == '\\' && !escaped;
            is_over
        });
        let end = length.map(|length| self.at + length);
        match end.filter(|&end| self.text.as_bytes().get(end) == Some(&b'"')) {
            Some(end) => {
                let text = self.text.get(self.at..end).unwrap_or_default();
                self.at = end + 1;
                Ok(Piece::Token(Token { text, is_quoted: true, span: start..self.at }))
            }
            None => Err(syntax(
                &(start..start + 1),
                "this quote is not closed on its line",
                "close it; a longer text is several strings",
            )),
        }
    }
}

impl<'t> Iterator for Lexer<'t> {
    type Item = Result<Entry<'t>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.at < self.text.len() {
            match self.entry() {
                Ok(entry) if entry.tokens.is_empty() => {}
                other => return Some(other),
            }
        }
        None
    }
}

enum Piece<'t> {
    Token(Token<'t>),
    Open(Span),
    Close(Span),
    /// Of the line, or of the text.
    End,
}

fn syntax(span: &Span, message: &str, hint: &str) -> Fault {
    Fault::new(span, message, hint).of(Code::ZoneFileSyntax)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<Vec<&str>> {
        let entries = Lexer::new(text).map(Result::unwrap);
        entries.map(|entry| entry.tokens.iter().map(|token| token.text).collect()).collect()
    }

    #[test]
    fn parentheses_join_lines_and_comments_end_with_theirs() {
        let text =
            "a ( b ; one ) comment\n\n  c\r\n) d ; x\n ; nothing\n e\\;f \"g ; (h\" i\"j\"\n";
        assert_eq!(texts(text), [vec!["a", "b", "c", "d"], vec!["e\\;f", "g ; (h", "i", "j"]]);
        let indented: Vec<_> = Lexer::new(text).map(|entry| entry.unwrap().is_indented).collect();
        assert_eq!(indented, [false, true]);
        assert_eq!(texts("last"), [["last"]]);
        assert!(texts(" \n;\n\t\n").is_empty());
    }

    #[test]
    fn what_is_not_closed_is_a_fault_where_it_is_opened_and_the_next_line_is_read() {
        for (text, at) in [
            ("a \"b\nc d\n", 2),
            ("a ( b\nc d\n", 2),
            ("a b )\nc d\n", 4),
            ("a (b (\nc d\n", 5),
            ("a \"b\\\"\nc d\n", 2),
        ] {
            let entries: Vec<_> = Lexer::new(text).collect();
            let fault = entries[0].as_ref().unwrap_err();
            assert_eq!(fault.span.start, at, "{text}");
            let last = entries.last().unwrap().as_ref().unwrap();
            assert_eq!((entries.len(), last.tokens[0].text), (2, "c"), "{text}");
        }
    }

    #[test]
    fn escapes_stand_for_octets() {
        let octets = |text: &str| {
            Token { text, is_quoted: false, span: 10..10 + text.len() }.octets().map_err(|e| e.span)
        };
        assert_eq!(octets("a\\065\\\\\\\"\\000"), Ok(b"aA\\\"\0".to_vec()));
        assert_eq!(octets("a\\256b"), Err(11..15));
        assert_eq!(octets("a\\1"), Err(11..13));
        assert_eq!(octets("\\"), Err(10..11));
        assert_eq!(octets("é"), Ok("é".as_bytes().to_vec()));
    }
}
