//! Secrets in the words of others: a server or proxy may repeat what it was sent.

use base64::{Engine, prelude::BASE64_STANDARD};
use percent_encoding::percent_decode_str;

/// Whether a text holds a part of a secret, as it is or in a form in which servers write it: percent-encoded, in HTML or
/// JSON, in base64 (a Lambda gets the password so) or in hexadecimal digits.
pub fn repeats(text: &str, secret: &str) -> bool {
    holds(text, secret)
        || encodings(secret.as_bytes())
            .iter()
            .any(|(text_of, encoded)| holds(&text_of(text), encoded))
}

fn holds(text: &str, secret: &str) -> bool {
    let readings = readings(text);
    let mut runs = secret
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter(|run| run.len() >= MIN_SECRET_RUN)
        .peekable();
    if runs.peek().is_none() {
        return !secret.is_empty() && readings.iter().any(|text| text.contains(secret));
    }
    runs.any(|run| readings.iter().any(|text| holds_run(text, run)))
}

fn holds_run(text: &str, run: &str) -> bool {
    let part = run.len().min(MAX_SECRET_PART);
    (0..=run.len() - part).any(|start| text.contains(&run[start..start + part]))
        // The text may end in the middle of it.
        || (MIN_SECRET_RUN..run.len()).any(|length| text.ends_with(&run[..length]))
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

/// How a text has to be read, and how a secret is written in it then.
type Encoding = (fn(&str) -> String, String);

/// In hexadecimal digits and in base64, wherever in a longer text it may begin there.
fn encodings(secret: &[u8]) -> Vec<Encoding> {
    let hex = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut encodings: Vec<Encoding> = vec![(str::to_ascii_lowercase, hex)];
    for before in 0..3 {
        // Groups of three bytes that hold nothing but the secret.
        let skipped = (3 - before) % 3;
        let whole = secret.len().saturating_sub(skipped) / 3 * 3;
        if let Some(groups) = secret.get(skipped..skipped + whole)
            && !groups.is_empty()
        {
            encodings.push((of_url, BASE64_STANDARD.encode(groups)));
        }
    }
    encodings
}

/// With the letters of base64 in place of those of base64url.
fn of_url(text: &str) -> String {
    text.replace('-', "+").replace('_', "/")
}

/// A text as it is, out of a URL, and out of HTML or JSON.
fn readings(text: &str) -> [String; 4] {
    let form = text.replace('+', " ");
    [
        text.to_owned(),
        percent_decode_str(&form).decode_utf8_lossy().into_owned(),
        unescaped(text),
        ESCAPES
            .iter()
            .fold(text.to_owned(), |text, (escape, letter)| {
                text.replace(escape, letter)
            }),
    ]
}

/// With `\u00e9` and the like read as the characters that they are.
fn unescaped(text: &str) -> String {
    let mut parts = text.split("\\u");
    let mut units: Vec<u16> = parts.next().unwrap_or_default().encode_utf16().collect();
    for part in parts {
        let code = part
            .get(..4)
            .and_then(|digits| u16::from_str_radix(digits, 16).ok());
        units.extend(code);
        let rest = if code.is_some() { &part[4..] } else { part };
        units.extend(rest.encode_utf16());
    }
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;

    use super::*;

    #[test]
    fn a_secret_is_found_in_every_form_in_which_servers_write_it() {
        for secret in [
            "Zq7-drizzle-4410",
            "пароль-секрет",
            "a+b/c=d&e f",
            "\u{1f600}!!\u{1f600}",
        ] {
            let bytes = secret.as_bytes();
            let hex: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
            let json: String = secret
                .encode_utf16()
                .map(|unit| format!("\\u{unit:04x}"))
                .collect();
            let percent: String = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
            for form in [
                secret.to_owned(),
                hex,
                json,
                percent,
                BASE64_STANDARD.encode(bytes),
                BASE64_URL_SAFE_NO_PAD.encode(bytes),
                BASE64_STANDARD.encode(format!("me:{secret}")),
                BASE64_STANDARD.encode(format!("user:{secret}")),
                BASE64_STANDARD.encode(format!("users:{secret}, no")),
            ] {
                let text = format!("refused: {form}.");
                assert!(repeats(&text, secret), "{text}");
            }
        }
    }

    #[test]
    fn other_words_hold_none() {
        for secret in ["Zq7-drizzle-4410", "hunter2", "пароль"] {
            for text in [
                "",
                "Not authorized",
                "the policy does not allow iot:Connect for thermostat-7 (request 7d1c2f0a-55aa-4711-9d3e)",
            ] {
                assert!(!repeats(text, secret), "{text} {secret}");
            }
        }
    }
}
