//! Whether what a server gives for a file is a web page: one that asks for a password, as a captive portal or the server
//! itself has it, or an error that calls itself a success. A phone that took it for firmware would be none the wiser.

use hyper::header::{self, HeaderMap};

/// How documents begin that are pages, whatever the server calls them. Lower case.
const BEGINNINGS: [&[u8]; 6] =
    [b"<!doctype html", b"<html", b"<head", b"<body", b"<script", b"<meta"];
/// Octets looked at to tell text from an image.
const HEAD: usize = 512;
/// The mark that text in UTF-8 may begin with.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Whether a path is that of a page, so that one is what is wanted.
pub(super) fn may_be_page(path: &[u8]) -> bool {
    [&b".htm"[..], b".html", b".xhtml"].iter().any(|end| {
        path.len()
            .checked_sub(end.len())
            .and_then(|at| path.get(at..))
            .is_some_and(|it| it.eq_ignore_ascii_case(end))
    })
}

/// Whether the server calls it a page.
pub(super) fn is_typed_so(headers: &HeaderMap) -> bool {
    let Some(media) = headers.get(header::CONTENT_TYPE) else { return false };
    let media =
        media.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    [&b"text/html"[..], b"application/xhtml+xml"]
        .iter()
        .any(|page| media.eq_ignore_ascii_case(page))
}

/// Whether a document is a page by how it begins; none while more of it has to be seen. What is called a page must be
/// text: servers that know no images may call them so.
pub(super) fn begins_as_page(head: &[u8], is_typed_so: bool) -> Option<bool> {
    let head = head.get(..HEAD).unwrap_or(head);
    if !is_text(head) {
        return Some(false);
    }
    let text = head.strip_prefix(MARK).unwrap_or(head).trim_ascii_start();
    let is_longer =
        |begin: &&[u8]| text.len() < begin.len() && begin.starts_with(&text.to_ascii_lowercase());
    let begins =
        |begin: &&[u8]| text.get(..begin.len()).is_some_and(|it| it.eq_ignore_ascii_case(begin));
    if BEGINNINGS.iter().any(begins) {
        return Some(true);
    }
    match head.len() < HEAD
        && (is_typed_so || BEGINNINGS.iter().any(is_longer) || MARK.starts_with(head))
    {
        true => None,
        false => Some(is_typed_so),
    }
}

/// Whether there is nothing in it that text has not. A letter may be cut at the end.
fn is_text(head: &[u8]) -> bool {
    let is_control = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
    !head.iter().any(is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_told_from_images_by_how_they_begin() {
        for (head, typed, other) in [
            (&b"<!DOCTYPE html><html>"[..], Some(true), Some(true)),
            (b"\xef\xbb\xbf\r\n <HTML lang=en>", Some(true), Some(true)),
            (b"<script>location='/login'", Some(true), Some(true)),
            (b"<!doc", None, None),
            (b"", None, None),
            (b"\xef", None, None),
            (b"\n\n", None, None),
            (b"Please log in", None, Some(false)),
            (&[b'x'; 512], Some(true), Some(false)),
            (b"<?xml version=\"1.0\"?>", None, Some(false)),
            (b"\x7fELF", Some(false), Some(false)),
            (b"\x27\x05\x19\x56", Some(false), Some(false)),
            (b"<html>\0", Some(false), Some(false)),
        ] {
            let found = [true, false].map(|is_typed| begins_as_page(head, is_typed));
            assert_eq!(found, [typed, other], "{}", head.escape_ascii());
        }
    }

    #[test]
    fn a_page_is_what_is_wanted_where_the_name_says_so() {
        let names = ["a.html", "b/A.HTM", "a.img", "html", ""];
        assert_eq!(
            names.map(|name| may_be_page(name.as_bytes())),
            [true, true, false, false, false]
        );
    }

    #[test]
    fn what_the_server_calls_a_page_is_known_with_parameters_and_in_any_case() {
        for (media, is_page) in [
            ("text/html", true),
            ("Text/HTML; charset=utf-8", true),
            ("application/octet-stream", false),
            ("text/plain", false),
        ] {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, media.parse().unwrap())]);
            assert_eq!(is_typed_so(&headers), is_page, "{media}");
        }
        assert!(!is_typed_so(&HeaderMap::new()));
    }
}
