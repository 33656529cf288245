//! A login for people to read, with everything masked that may be a secret.

use super::{
    Login,
    encoding::decode,
    upgrade::Upgrade,
    user_name::{AUTHORIZER_NAME, SIGNATURE},
};

/// A user name beyond this is rather a token.
const SHOWN_BYTES: usize = 64;
/// A text with two dots that is shorter is a name of a host, say.
const MIN_JWT_BYTES: usize = 40;
/// The longest name of a token key that IoT Core takes.
const MAX_KEY_BYTES: usize = 128;
/// So many letters and digits in a row, mixed, are rather a key than a name.
const KEY_RUN: usize = 16;

impl Login {
    /// What is sent, and how IoT Core reads it (AWS IoT Core Developer Guide, "Connecting to AWS IoT Core by using
    /// custom authentication").
    pub fn describe(&self, endpoint: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let user_name = self.user_name.as_deref().unwrap_or_default();
        lines.push(match user_name {
            "" => "no user name in CONNECT".to_owned(),
            text => format!("user name in CONNECT: {}", masked(text)),
        });
        lines.push(match &self.password {
            None => "no password in CONNECT".to_owned(),
            Some(password) => format!("password in CONNECT: *** ({} bytes)", password.len()),
        });
        if let Some(upgrade) = &self.upgrade {
            lines.extend(describe_upgrade(upgrade));
        }
        lines.push(format!("IoT Core reads: {}", self.reading(endpoint)));
        lines
    }

    /// The parameters by what they mean, wherever they travel.
    fn reading(&self, endpoint: &str) -> String {
        let texts = [
            self.user_name.as_deref().unwrap_or_default(),
            self.upgrade.as_ref().map_or("", |upgrade| &upgrade.target),
        ];
        let mut parameters: Vec<(String, String)> =
            texts.iter().flat_map(|text| parameters(text)).collect();
        if let Some(upgrade) = &self.upgrade {
            parameters.extend(upgrade.headers.iter().cloned());
        }
        let find = |key: &str| {
            let found = parameters
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(key));
            found.map(|(_, value)| value.as_str())
        };
        let mut parts = vec![match find(AUTHORIZER_NAME) {
            Some(name) => format!("authorizer {name}"),
            None => format!("no authorizer's name, so the default one of {endpoint}"),
        }];
        for (name, value) in &parameters {
            let reserved = [AUTHORIZER_NAME, SIGNATURE]
                .iter()
                .any(|key| name.eq_ignore_ascii_case(key));
            if !reserved {
                parts.push(format!("{name} of {}", characters(value)));
            }
        }
        parts.push(match find(SIGNATURE) {
            Some(signature) => format!("a signature of {}", characters(signature)),
            None => "no signature".to_owned(),
        });
        parts.join("; ")
    }
}

fn characters(text: &str) -> String {
    match text.chars().count() {
        1 => "1 character".to_owned(),
        count => format!("{count} characters"),
    }
}

fn describe_upgrade(upgrade: &Upgrade) -> Vec<String> {
    let query = upgrade
        .target
        .split_once('?')
        .map_or("", |(_, query)| query);
    let path = upgrade.shown_path();
    let mut lines = vec![format!(
        "WebSocket request for {path}{}",
        masked_query(query)
    )];
    if !upgrade.headers.is_empty() {
        let headers = upgrade.headers.iter().map(|(name, value)| {
            if name.eq_ignore_ascii_case(AUTHORIZER_NAME) {
                format!("{name}: {value}")
            } else {
                format!("{name}: ***")
            }
        });
        lines.push(format!(
            "with headers {}",
            headers.collect::<Vec<_>>().join(", ")
        ));
    }
    lines
}

impl Upgrade {
    /// The path that is asked for, as far as it is no secret: beyond the first part it may be one.
    pub fn shown_path(&self) -> String {
        let path = self.target.split('?').next().unwrap_or_default();
        match path.get(1..).and_then(|rest| rest.find('/')) {
            Some(end) => format!("{}/***", &path[..=end]),
            None if looks_secret(path) => "/***".to_owned(),
            None => path.to_owned(),
        }
    }
}

/// The text with the values of its parameters masked, but for the authorizer's name.
fn masked(text: &str) -> String {
    let (base, query) = text.split_once('?').unwrap_or((text, ""));
    let mut shown = if looks_secret(base) { "***" } else { base }.to_owned();
    shown.push_str(&masked_query(query));
    shown
}

fn masked_query(query: &str) -> String {
    let items = query.split('&').filter(|item| !item.is_empty());
    let mut shown = String::new();
    for item in items {
        shown.push(if shown.is_empty() { '?' } else { '&' });
        match key_of(item) {
            Some(key) if decode(key).eq_ignore_ascii_case(AUTHORIZER_NAME) => shown.push_str(item),
            Some(key) => {
                shown.push_str(key);
                shown.push_str("=***");
            }
            None => shown.push_str("***"),
        }
    }
    shown
}

/// The name of a parameter. One without a value, as base64 with its padding looks, may be a secret itself.
pub(super) fn key_of(item: &str) -> Option<&str> {
    let (key, value) = item.split_once('=')?;
    let has_value = value.contains(|letter| letter != '=');
    (has_value && key.len() <= MAX_KEY_BYTES && !looks_secret(key)).then_some(key)
}

/// Whether a text that should be none may be a secret: long, or made like a key, or with parameters that lost their `?`.
pub(super) fn looks_secret(text: &str) -> bool {
    let mut runs = text.split(|letter: char| !letter.is_ascii_alphanumeric());
    let like_a_key = runs.any(|run| {
        run.len() >= KEY_RUN
            && run.bytes().any(|byte| byte.is_ascii_digit())
            && run.bytes().any(|byte| byte.is_ascii_alphabetic())
    });
    let like_a_jwt = text.len() > MIN_JWT_BYTES && text.matches('.').count() == 2;
    text.len() > SHOWN_BYTES || text.contains(['=', '&']) || like_a_key || like_a_jwt
}

/// Names and values in the query of a text, as they are read.
fn parameters(text: &str) -> Vec<(String, String)> {
    let query = text.split_once('?').map_or("", |(_, query)| query);
    let items = query.split('&').filter(|item| !item.is_empty());
    items
        .map(|item| match key_of(item) {
            Some(key) => (
                decode(key).into_owned(),
                decode(&item[key.len() + 1..]).into_owned(),
            ),
            None => ("***".to_owned(), item.to_owned()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::{
        authorizer::{Carrier, Credentials, WebSocket},
        wire::Version,
    };

    fn signed() -> Credentials {
        Credentials {
            authorizer_name: Some("Fleet".to_owned()),
            username: Some("me?SDK=x".to_owned()),
            password: Some(b"sesame".to_vec()),
            token_key_name: Some("tok".to_owned()),
            token_value: Some("a b".to_owned()),
            token_signature: Some("YWJj".to_owned()),
            ..Credentials::default()
        }
    }

    fn described(credentials: &Credentials, websocket: Option<&WebSocket>) -> Vec<String> {
        let login = credentials.login(Version::V5, websocket).ok().unwrap();
        login.describe("e:443")
    }

    #[test]
    fn values_are_masked_and_the_authorizer_is_named() {
        assert_eq!(
            described(&signed(), None),
            [
                "user name in CONNECT: me?SDK=***&x-amz-customauthorizer-name=Fleet&x-amz-customauthorizer-signature=***&tok=***",
                "password in CONNECT: *** (6 bytes)",
                "IoT Core reads: authorizer Fleet; SDK of 1 character; tok of 3 characters; a signature of 4 characters",
            ]
        );
    }

    #[test]
    fn headers_and_query_are_read_too() {
        let websocket = WebSocket {
            path: "/mqtt?key=secret".to_owned(),
            credentials_in: Carrier::Headers,
            headers: vec![("X-Key".to_owned(), "secret".to_owned())],
        };
        let lines = described(&signed(), Some(&websocket));
        assert_eq!(lines[2], "WebSocket request for /mqtt?key=***");
        assert_eq!(
            lines[3],
            "with headers X-Key: ***, x-amz-customauthorizer-name: Fleet, x-amz-customauthorizer-signature: ***, tok: ***"
        );
        assert!(lines[4].starts_with("IoT Core reads: authorizer Fleet; "));
        assert!(!lines.concat().contains("secret"));
    }

    #[test]
    fn a_login_with_nothing_in_it_says_so() {
        assert_eq!(
            described(&Credentials::default(), None),
            [
                "no user name in CONNECT",
                "no password in CONNECT",
                "IoT Core reads: no authorizer's name, so the default one of e:443; no signature",
            ]
        );
    }

    #[test]
    fn a_user_name_that_looks_like_a_token_is_masked() {
        for token in [
            "e".repeat(65),
            format!("{}.{}.c", "a".repeat(20), "b".repeat(20)),
        ] {
            let credentials = Credentials {
                username: Some(token.clone()),
                ..Credentials::default()
            };
            assert_eq!(
                described(&credentials, None)[0],
                "user name in CONNECT: ***"
            );
        }
    }

    #[test]
    fn a_user_name_that_is_made_like_a_key_or_lost_its_mark_is_masked() {
        for username in ["sk_live_0123456789abcdef", "token=SECRET&a=b"] {
            let credentials = Credentials {
                username: Some(username.to_owned()),
                ..Credentials::default()
            };
            assert_eq!(
                described(&credentials, None)[0],
                "user name in CONNECT: ***"
            );
        }
    }

    #[test]
    fn base64_without_a_name_is_no_name() {
        let credentials = Credentials {
            username: Some("me?c2VjcmV0dG9rZW4=".to_owned()),
            ..Credentials::default()
        };
        let lines = described(&credentials, None);
        assert_eq!(lines[0], "user name in CONNECT: me?***");
        assert!(!lines.concat().contains("c2VjcmV0"));
    }

    #[test]
    fn a_path_is_shown_as_far_as_its_first_part() {
        let websocket = WebSocket {
            path: "/mqtt/SECRETPATH?key=x".to_owned(),
            credentials_in: Carrier::Connect,
            headers: Vec::new(),
        };
        let lines = described(&Credentials::default(), Some(&websocket));
        assert_eq!(lines[2], "WebSocket request for /mqtt/***?key=***");
    }

    #[test]
    fn a_parameter_without_a_name_is_masked_whole() {
        let credentials = Credentials {
            username: Some("me?secret".to_owned()),
            ..Credentials::default()
        };
        let lines = described(&credentials, None);
        assert_eq!(lines[0], "user name in CONNECT: me?***");
        assert!(!lines.concat().contains("secret"));
    }
}
