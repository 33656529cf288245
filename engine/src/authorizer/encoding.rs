use std::borrow::Cow;

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use percent_encoding::{
    AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode,
};

use super::TokenEncoding;

/// A value as it is written into the query.
pub(super) fn encode_value(text: &str, encoding: TokenEncoding) -> Cow<'_, str> {
    encode(text, encoding, BREAKS_QUERY)
}

/// A key as it is written into the query: the first `=` ends it.
pub(super) fn encode_key(text: &str, encoding: TokenEncoding) -> Cow<'_, str> {
    encode(text, encoding, BREAKS_KEY)
}

/// What was written for a query, made fit for that of a URL; `raw` stays as it is.
pub(super) fn encode_url(written: &str, encoding: TokenEncoding) -> Cow<'_, str> {
    match encoding {
        TokenEncoding::Raw => written.into(),
        TokenEncoding::Auto | TokenEncoding::Percent => {
            utf8_percent_encode(written, BREAKS_URL).into()
        }
    }
}

/// What a reader of the query gets. A `+` stays one: no source says that IoT Core takes it for a space.
pub(super) fn decode(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

/// A signature as standard base64 with padding, from any form in which it is handed around; `None` if it is not base64.
///
/// It is decoded as a check, never guessed from the look of it: peers take any `%` for "already encoded".
pub(super) fn normalise_signature(text: &str) -> Option<String> {
    let decoded = percent_decode_str(text.trim()).decode_utf8().ok()?;
    let mut base64: String = decoded
        .trim()
        .trim_end_matches('=')
        .chars()
        // `openssl base64` without -A breaks lines.
        .filter(|letter| !matches!(letter, '\r' | '\n'))
        .map(|letter| match letter {
            '-' => '+',
            '_' => '/',
            other => other,
        })
        .collect();
    LENIENT
        .decode(&base64)
        .ok()
        .filter(|bytes| !bytes.is_empty())?;
    while !base64.len().is_multiple_of(4) {
        base64.push('=');
    }
    Some(base64)
}

/// RFC 3986, section 2.3.
const NOT_UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What cannot stand in a value of the query. A `%` is looked at apart; non-ASCII is always encoded.
const BREAKS_QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'&').add(b'?').add(b'#').add(b'+');

const BREAKS_KEY: &AsciiSet = &BREAKS_QUERY.add(b'=');

/// What RFC 3986 has no place for in a query; the `%` of what is encoded stays.
const BREAKS_URL: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Accepts what others sign and encode: padding or none, and bits beyond the last byte.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

fn encode<'a>(text: &'a str, encoding: TokenEncoding, breaks: &'static AsciiSet) -> Cow<'a, str> {
    match encoding {
        TokenEncoding::Raw => text.into(),
        TokenEncoding::Percent => utf8_percent_encode(text, NOT_UNRESERVED).into(),
        TokenEncoding::Auto => encode_what_breaks(text, breaks),
    }
}

/// Encodes the characters of `breaks`, and each `%` that does not begin an encoded byte already.
fn encode_what_breaks<'a>(text: &'a str, breaks: &'static AsciiSet) -> Cow<'a, str> {
    let Some((first, rest)) = text.split_once('%') else {
        return utf8_percent_encode(text, breaks).into();
    };
    let mut encoded = utf8_percent_encode(first, breaks).to_string();
    for part in rest.split('%') {
        let is_escape = matches!(part.as_bytes(), [high, low, ..]
            if high.is_ascii_hexdigit() && low.is_ascii_hexdigit());
        encoded.push_str(if is_escape { "%" } else { "%25" });
        encoded.extend(utf8_percent_encode(part, breaks));
    }
    encoded.into()
}
