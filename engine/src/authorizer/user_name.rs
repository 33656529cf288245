use super::encoding::{decode, normalise_signature};
use crate::error::{Failure, Result};

pub(super) const AUTHORIZER_NAME: &str = "x-amz-customauthorizer-name";
pub(super) const SIGNATURE: &str = "x-amz-customauthorizer-signature";

const ONCE: &str = "Write each parameter in one place: in its option, or in the query.";

/// An item that an option adds to the query.
pub(super) struct Parameter {
    /// The option to name when it contradicts the user name.
    pub(super) option: &'static str,
    /// Key and value as they are written.
    pub(super) key: String,
    pub(super) value: String,
}

/// Whether AWS gives the key a meaning of its own.
pub(super) fn is_reserved(key: &str) -> bool {
    [AUTHORIZER_NAME, SIGNATURE]
        .iter()
        .any(|reserved| reserved.eq_ignore_ascii_case(key))
}

/// The user's text with the parameters added to its query.
///
/// `place` is the option with the user's text. What the user wrote stays byte for byte, but for a `?` inside the query: IoT Core takes what follows the last one for
/// the query. A parameter that the user wrote too is accepted once if the two agree, else refused.
pub(super) fn compose(
    place: &str,
    text: &str,
    parameters: &[Parameter],
    warnings: &mut Vec<String>,
) -> Result<String> {
    let (base, query) = text.split_once('?').unwrap_or((text, ""));
    let mut slots = Slots::new(parameters);
    let mut composed = base.to_owned();
    let mut separator = '?';
    let mut append = |item: &str| {
        composed.push(separator);
        composed.push_str(item);
        separator = '&';
    };

    let escaped = query.replace('?', "%3F");
    for item in escaped.split('&').filter(|item| !item.is_empty()) {
        let (key, value) = item.split_once('=').unwrap_or((item, ""));
        match slots.insert(key, value) {
            Inserted::New => append(item),
            Inserted::Repeated => {}
            Inserted::Conflicting => {
                return Err(Failure::option(format!(
                    "{place} holds the parameter {} twice, with different values",
                    decode(key)
                ))
                .with_hint(ONCE));
            }
        }
        if value.contains('+') && decode(key).eq_ignore_ascii_case(SIGNATURE) {
            warnings.push(format!(
                "the signature inside {place} holds '+', which can be read as a space: write %2B, or use tokenSignature"
            ));
        }
    }
    for Parameter { option, key, value } in parameters {
        match slots.insert(key, value) {
            Inserted::New => append(&format!("{key}={value}")),
            Inserted::Repeated => {}
            Inserted::Conflicting => {
                return Err(Failure::option(format!(
                    "{option} contradicts the parameter {} in {place}",
                    decode(key)
                ))
                .with_hint(ONCE));
            }
        }
    }
    if query.contains('?') {
        warnings.push(format!(
            "{place} holds more than one '?': those after the first are written as %3F, because IoT Core takes what follows the last '?' for the parameters"
        ));
    }
    Ok(composed)
}

/// The value under this key in the query of a text, as it is read.
pub(super) fn value_of(text: &str, key: &str) -> Option<String> {
    let (_, query) = text.split_once('?')?;
    query.split('&').find_map(|item| {
        let (other, value) = item.split_once('=')?;
        (!value.is_empty() && decode(other).eq_ignore_ascii_case(key))
            .then(|| decode(value).into_owned())
    })
}

/// The values in the query of a text, as they are read. The authorizer's name is no secret.
pub(super) fn values(text: &str) -> impl Iterator<Item = String> {
    let query = text.split_once('?').map_or("", |(_, query)| query);
    query.split('&').filter_map(|item| {
        let (key, value) = item.split_once('=').unwrap_or(("", item));
        let is_name = decode(key).eq_ignore_ascii_case(AUTHORIZER_NAME);
        (!is_name).then(|| decode(value).into_owned())
    })
}

/// The keys that may come once, each with the value it came with.
struct Slots(Vec<(String, Option<String>)>);

enum Inserted {
    New,
    Repeated,
    Conflicting,
}

impl Slots {
    fn new(parameters: &[Parameter]) -> Self {
        let mut slots = Self(Vec::new());
        let keys = parameters.iter().map(|parameter| parameter.key.as_str());
        for key in [AUTHORIZER_NAME, SIGNATURE].into_iter().chain(keys) {
            let key = decode(key);
            if slots.find(&key).is_none() {
                slots.0.push((key.into_owned(), None));
            }
        }
        slots
    }

    /// An item with a key that is none of these is always new.
    fn insert(&mut self, key: &str, value: &str) -> Inserted {
        let Some((key, slot)) = self.find(&decode(key)) else {
            return Inserted::New;
        };
        let mut value = decode(value).into_owned();
        if *key == SIGNATURE {
            value = normalise_signature(&value).unwrap_or(value);
        }
        match slot {
            None => {
                *slot = Some(value);
                Inserted::New
            }
            Some(earlier) if *earlier == value => Inserted::Repeated,
            Some(_) => Inserted::Conflicting,
        }
    }

    fn find(&mut self, key: &str) -> Option<&mut (String, Option<String>)> {
        self.0
            .iter_mut()
            .find(|(slot, _)| slot.eq_ignore_ascii_case(key))
    }
}
