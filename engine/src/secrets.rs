//! Secrets in the words of others: a server or proxy may repeat what it was sent.

use percent_encoding::percent_decode_str;

/// Whether a text holds a part of a secret, however that is encoded: letters and digits are the same in URLs, HTML and
/// JSON.
pub fn repeats(text: &str, secret: &str) -> bool {
    let mut runs = secret
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter(|run| run.len() >= MIN_SECRET_RUN)
        .peekable();
    if runs.peek().is_none() {
        return !secret.is_empty() && readings(text).iter().any(|text| text.contains(secret));
    }
    runs.any(|run| {
        let part = run.len().min(MAX_SECRET_PART);
        (0..=run.len() - part).any(|start| text.contains(&run[start..start + part]))
            // The text may end in the middle of it.
            || (MIN_SECRET_RUN..run.len()).any(|length| text.ends_with(&run[..length]))
    })
}

/// Whether a text is long enough to be one: what is shorter stands in every other word.
pub fn is_secret(text: &str) -> bool {
    let is_word = text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    text.len()
        >= if is_word {
            MIN_SECRET_RUN
        } else {
            MIN_SECRET_RUN - 1
        }
}

/// A run of letters and digits that is shorter tells nothing of a secret.
const MIN_SECRET_RUN: usize = 4;
/// Of a run that is longer, a part so long tells too much. Much shorter parts are words that others use too.
const MAX_SECRET_PART: usize = 16;
/// How HTML and JSON write what is no letter or digit, in the order in which it is read back.
const ESCAPES: [(&str, &str); 9] = [
    ("&lt;", "<"),
    ("&gt;", ">"),
    ("&quot;", "\""),
    ("&#39;", "'"),
    ("&#x27;", "'"),
    ("&amp;", "&"),
    ("\\\"", "\""),
    ("\\/", "/"),
    ("\\\\", "\\"),
];

/// A text as it is, out of a URL, and out of HTML or JSON.
fn readings(text: &str) -> [String; 3] {
    let form = text.replace('+', " ");
    [
        text.to_owned(),
        percent_decode_str(&form).decode_utf8_lossy().into_owned(),
        ESCAPES
            .iter()
            .fold(text.to_owned(), |text, (escape, letter)| {
                text.replace(escape, letter)
            }),
    ]
}
