//! HTTP GET of the provisioning URL (RFC 9110, RFC 9112).
//!
//! A server whose HTTP answers is alive, whether or not there is something at that path: 2xx, 3xx and 4xx. One that
//! answers 5xx has nothing for a phone either.

use super::inquiry::{status, take_head};
use super::{Failure, Progress};

const VERSION: &[u8] = b"HTTP/1.";

/// A GET.
#[derive(Clone, Debug)]
pub(super) struct Get {
    request: Vec<u8>,
}

impl Get {
    pub(super) fn new(path: &str, name: &str, port: u16) -> Self {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {name}:{port}\r\nUser-Agent: offhook\r\nAccept: */*\r\n\
             Connection: close\r\n\r\n"
        );
        Self { request: request.into_bytes() }
    }

    pub(super) fn request(&self) -> &[u8] {
        &self.request
    }

    /// Takes all that has come.
    pub(super) fn stream(&self, received: &mut Vec<u8>) -> Progress {
        loop {
            if !received.iter().zip(VERSION).all(|(octet, expected)| octet == expected) {
                return Progress::Dead(Failure::Nonsense);
            }
            let Some(head) = take_head(received) else { return Progress::Wait };
            let line = head
                .get(VERSION.len()..)
                .filter(|line| line.starts_with(b"0") || line.starts_with(b"1"));
            return match line.and_then(|line| status(line.get(1..)?, b" ")) {
                // An interim response: the final one follows.
                Some(100..200) => continue,
                Some(200..500) => Progress::Alive,
                Some(code @ 500..600) => Progress::Dead(Failure::Status(code)),
                _ => Progress::Dead(Failure::Nonsense),
            };
        }
    }
}
