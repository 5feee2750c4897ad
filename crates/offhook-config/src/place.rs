//! Byte offsets to lines and columns.

use std::ops::Range;

/// The lines of a text.
pub(crate) struct Lines {
    text: Box<str>,
    /// Where each line starts; a byte order mark is no part of the first.
    starts: Vec<usize>,
}

pub(crate) const BOM: &str = "\u{feff}";

impl Lines {
    pub(crate) fn new(text: &str) -> Self {
        let first = if text.starts_with(BOM) { BOM.len() } else { 0 };
        let newlines = text.bytes().enumerate().filter(|&(_, b)| b == b'\n').map(|(i, _)| i + 1);
        Self { text: text.into(), starts: std::iter::once(first).chain(newlines).collect() }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Where the first line starts.
    pub(crate) fn first(&self) -> usize {
        self.starts.first().copied().unwrap_or(0)
    }

    /// The same range, inside the text and on character boundaries.
    pub(crate) fn clamp(&self, span: Range<usize>) -> Range<usize> {
        let first = self.starts.first().copied().unwrap_or(0);
        let start = self.text.floor_char_boundary(span.start.max(first));
        let end = self.text.ceil_char_boundary(span.end.max(start));
        start..end
    }

    /// Line and column (in characters) of an offset, both from 1.
    pub(crate) fn place(&self, offset: usize) -> (u32, u32) {
        let line = self.starts.partition_point(|&start| start <= offset).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..offset.max(start)).unwrap_or_default();
        (line as u32, before.chars().count() as u32 + 1)
    }

    /// How many lines two offsets are apart.
    pub(crate) fn distance(&self, one: usize, other: usize) -> u32 {
        let line = |offset: usize| self.starts.partition_point(|&start| start <= offset) as u32;
        line(one).abs_diff(line(other))
    }

    /// Where the line of `offset` ends, its newline not included.
    pub(crate) fn line_end(&self, offset: usize) -> usize {
        let line = self.starts.partition_point(|&start| start <= offset);
        self.starts.get(line).map_or(self.text.len(), |next| next - 1)
    }

    /// Where the line of `offset` starts.
    pub(crate) fn line_start(&self, offset: usize) -> usize {
        let line = self.starts.partition_point(|&start| start <= offset).max(1);
        self.starts.get(line - 1).copied().unwrap_or(0)
    }
}
