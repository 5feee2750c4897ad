//! Rows and cells of a CSV file (RFC 4180), each with its place.
//!
//! A quote that is never closed, or closed in the middle of a cell, costs its own line alone: the next row begins with
//! the next line.

use std::borrow::Cow;

use crate::report::Span;

/// One row of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row<'t> {
    /// All of it, without the end of its line.
    pub(crate) span: Span,
    /// At least one.
    pub(crate) cells: Vec<Cell<'t>>,
    /// Whether every quote that begins a cell ends it as well.
    pub(crate) is_whole: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell<'t> {
    /// Where it stands, with its quotes.
    pub(crate) span: Span,
    /// What it says, without them.
    pub(crate) text: Cow<'t, str>,
}

/// The rows of `text`, empty lines left out; `start` is where it stands in the file.
pub(crate) fn rows(text: &str, start: usize, delimiter: u8) -> impl Iterator<Item = Row<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let blank = text.get(at..)?.bytes().take_while(|byte| is_end(*byte)).count();
        at += blank;
        let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
        let (mut row, len) = row(rest, delimiter);
        let from = start + at;
        row.span = from..from + len;
        for cell in &mut row.cells {
            cell.span = from + cell.span.start..from + cell.span.end;
        }
        at += len;
        Some(row)
    })
}

fn is_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// The first row, and its length.
fn row(text: &str, delimiter: u8) -> (Row<'_>, usize) {
    let mut cells = Vec::new();
    let mut at = 0;
    loop {
        let Some(cell) = cell(text, at, delimiter) else {
            let line = text.bytes().position(is_end).unwrap_or(text.len());
            let text = Cow::Borrowed(text.get(..line).unwrap_or(text));
            let cells = vec![Cell { span: 0..line, text }];
            return (Row { span: 0..line, cells, is_whole: false }, line);
        };
        at = cell.span.end;
        cells.push(cell);
        if text.as_bytes().get(at) != Some(&delimiter) {
            return (Row { span: 0..at, cells, is_whole: true }, at);
        }
        at += 1;
    }
}

/// The cell that begins at `from`; none where its quotes are wrong.
fn cell(text: &str, from: usize, delimiter: u8) -> Option<Cell<'_>> {
    let ends = |byte: u8| byte == delimiter || is_end(byte);
    let rest = text.get(from..)?;
    let Some(quoted) = rest.strip_prefix('"') else {
        let len = rest.bytes().position(ends).unwrap_or(rest.len());
        return Some(Cell { span: from..from + len, text: Cow::Borrowed(rest.get(..len)?) });
    };
    let mut close = 0;
    loop {
        close += quoted.get(close..)?.find('"')?;
        if quoted.as_bytes().get(close + 1) != Some(&b'"') {
            break;
        }
        close += 2;
    }
    let tail = quoted.get(close + 1..)?;
    let len = tail.bytes().position(ends).unwrap_or(tail.len());
    if !tail.get(..len)?.trim().is_empty() {
        return None;
    }
    let inner = quoted.get(..close)?;
    let text = match inner.contains('"') {
        true => Cow::Owned(inner.replace("\"\"", "\"")),
        false => Cow::Borrowed(inner),
    };
    Some(Cell { span: from..from + close + 2 + len, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(bool, Vec<String>)> {
        let row =
            |row: Row<'_>| (row.is_whole, row.cells.iter().map(|c| c.text.to_string()).collect());
        rows(text, 0, b',').map(row).collect()
    }

    fn whole(cells: &[&str]) -> (bool, Vec<String>) {
        (true, cells.iter().map(|cell| (*cell).to_owned()).collect())
    }

    #[test]
    fn cells_are_told_apart_as_rfc_4180_has_it() {
        assert_eq!(
            read("a,b\r\nc,\n\n,\rd"),
            [whole(&["a", "b"]), whole(&["c", ""]), whole(&["", ""]), whole(&["d"])]
        );
        assert_eq!(
            read("\"a,\"\"b\"\"\",\"\" ,5\" x,\"c\nd\"\ne"),
            [whole(&["a,\"b\"", "", "5\" x", "c\nd"]), whole(&["e"])]
        );
        assert_eq!(read(""), []);
        assert_eq!(read("\r\n\n"), []);
    }

    #[test]
    fn a_wrong_quote_costs_its_own_line_alone() {
        for line in ["\"a,b", "a,\"b", "\"a\"b,c", "a,\"\"\"", "\""] {
            let damaged = (false, vec![line.to_owned()]);
            let others = [whole(&["c", "d, e"]), whole(&["f", ""])];
            let expected = [&[damaged][..], &others].concat();
            assert_eq!(read(&format!("{line}\nc,\"d, e\"\nf,")), expected, "{line}");
        }
    }

    #[test]
    fn every_place_is_that_of_the_file() {
        let text = "x\n\"a, b\",c\n\"d\n";
        let found: Vec<_> = rows(text, 10, b',').collect();
        let at = |span: &Span| text.get(span.start - 10..span.end - 10).unwrap().to_owned();
        assert_eq!(
            found.iter().map(|row| at(&row.span)).collect::<Vec<_>>(),
            ["x", "\"a, b\",c", "\"d"]
        );
        let cells: Vec<_> = found.iter().flat_map(|row| &row.cells).map(|c| at(&c.span)).collect();
        assert_eq!(cells, ["x", "\"a, b\"", "c", "\"d"]);
    }
}
