//! What an HTTP/1.1 server or proxy answers, bounded in size; time is bounded by whoever waits.

use std::{io, time::Duration};

use httparse::{EMPTY_HEADER, Response as Parser, Status};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::timeout,
};

use crate::secrets::repeats;

/// Of status line and headers together.
const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 100;
/// Answers that only say that there is one to come.
const MAX_INTERIM: usize = 10;
/// Of a body that says why something was refused.
const MAX_BODY_BYTES: usize = 1_024;
/// For the rest of such a body: what it says is worth no more.
const BODY_PATIENCE: Duration = Duration::from_secs(1);
/// Of what is shown of it.
const MAX_SHOWN_CHARS: usize = 200;
/// Status line and headers of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub status: u16,
    reason: String,
    /// In order, as they came; values that are no text are left out.
    headers: Vec<(String, String)>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoResponse {
    Io(io::Error),
    /// The other side closed before its answer was complete.
    Closed,
    /// Too many bytes or headers.
    TooLong,
    NotHttp,
}

impl Response {
    /// Reads the head of an answer. What came behind it is given too.
    pub(super) async fn read<S: AsyncRead + Unpin>(
        stream: &mut S,
    ) -> Result<(Self, Vec<u8>), NoResponse> {
        let mut bytes = Vec::new();
        let mut interim = 0;
        loop {
            if let Some((response, length)) = Self::parse(&bytes)? {
                if response.is_interim() {
                    bytes.drain(..length);
                    interim += 1;
                    if interim > MAX_INTERIM {
                        return Err(NoResponse::TooLong);
                    }
                    continue;
                }
                return Ok((response, bytes.split_off(length)));
            }
            if bytes.len() >= MAX_HEAD_BYTES {
                return Err(NoResponse::TooLong);
            }
            bytes.reserve(1_024);
            let room = (MAX_HEAD_BYTES - bytes.len()) as u64;
            match stream.take(room).read_buf(&mut bytes).await {
                Ok(0) => return Err(NoResponse::Closed),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(NoResponse::Closed);
                }
                Err(error) => return Err(NoResponse::Io(error)),
            }
        }
    }

    fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, NoResponse> {
        let mut headers = [EMPTY_HEADER; MAX_HEADERS];
        let mut parser = Parser::new(&mut headers);
        match parser.parse(bytes) {
            Ok(Status::Partial) => Ok(None),
            Ok(Status::Complete(length)) => {
                let text = |value: &[u8]| std::str::from_utf8(value).ok().map(str::to_owned);
                let response = Self {
                    status: parser.code.unwrap_or_default(),
                    reason: parser
                        .reason
                        .unwrap_or_default()
                        .chars()
                        .take(MAX_BODY_BYTES)
                        .collect(),
                    headers: parser
                        .headers
                        .iter()
                        .filter_map(|header| Some((header.name.to_owned(), text(header.value)?)))
                        .collect(),
                };
                Ok(Some((response, length)))
            }
            Err(httparse::Error::TooManyHeaders) => Err(NoResponse::TooLong),
            Err(_) => Err(NoResponse::NotHttp),
        }
    }

    /// Whether the answer proper is still to come (RFC 9110, section 15.2).
    fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// Every value of a header.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    /// Whether a header that is a list holds this word.
    pub(super) fn lists(&self, name: &str, word: &str) -> bool {
        self.all(name)
            .flat_map(|value| value.split(','))
            .any(|item| item.trim().eq_ignore_ascii_case(word))
    }

    /// Status and reason, for people to read. The reason phrase is left out where it repeats a secret.
    pub(super) fn status_line(&self, secrets: &[&str]) -> String {
        match shown(&self.reason, secrets) {
            Some(reason) => format!("{} {reason}", self.status),
            None => self.status.to_string(),
        }
    }

    /// The beginning of the body, for people to read: `None` where there is none, or where it repeats a secret.
    pub(super) async fn body<S: AsyncRead + Unpin>(
        &self,
        stream: &mut S,
        mut begun: Vec<u8>,
        secrets: &[&str],
    ) -> Option<String> {
        let length = self
            .all("content-length")
            .next()
            .and_then(|length| length.parse::<usize>().ok())
            .unwrap_or(MAX_BODY_BYTES)
            .min(MAX_BODY_BYTES);
        let missing = length.saturating_sub(begun.len()) as u64;
        // What has come until then is shown, however reading ended.
        let _whole = timeout(BODY_PATIENCE, stream.take(missing).read_to_end(&mut begun)).await;
        begun.truncate(length);
        if self.lists("transfer-encoding", "chunked")
            && let Ok(Status::Complete((size, chunk))) = httparse::parse_chunk_size(&begun)
        {
            begun.drain(..size);
            begun.truncate(usize::try_from(chunk).unwrap_or(usize::MAX));
        }
        shown(&String::from_utf8_lossy(&begun), secrets)
    }
}

/// Text of the other side on one line, bounded; `None` where nothing is left of it, or where it repeats a secret.
fn shown(text: &str, secrets: &[&str]) -> Option<String> {
    if secrets.iter().any(|secret| repeats(text, secret)) {
        return None;
    }
    let words: Vec<&str> = text
        .split(|letter: char| letter.is_control() || letter.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect();
    let text: String = words.join(" ").chars().take(MAX_SHOWN_CHARS).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests;
