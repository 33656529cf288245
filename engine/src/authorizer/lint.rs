//! What is legal in credentials and unlikely to get in.

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    Credentials, TokenEncoding, WebSocket,
    description::key_of,
    encoding::{decode, encode_value, normalise_signature},
    given, user_name,
};
use crate::limits::quoted;

/// The bytes of a signature by an RSA key of 2,048, 3,072 and 4,096 bits.
const SIGNATURE_BYTES: [usize; 3] = [256, 384, 512];
/// Those of one that IoT Core does not take: a key of 1,024 bits.
const SHORT_SIGNATURE_BYTES: usize = 128;

/// What looks wrong whatever the time is. A JWT's own life is for [`super::Login::warnings_at`].
pub(super) fn warnings(credentials: &Credentials, websocket: Option<&WebSocket>) -> Vec<String> {
    let username = given(&credentials.username).unwrap_or_default();
    let password = credentials.password.as_deref();
    let password = password.and_then(|password| std::str::from_utf8(password).ok());
    [
        given(&credentials.authorizer_name).and_then(|name| odd_name("authorizerName", name)),
        password.and_then(|password| blank_edge("password", password)),
        given(&credentials.token_key_name).and_then(|key| blank_edge("tokenKeyName", key)),
        given(&credentials.token_value)
            .and_then(|token| blank_edge("tokenValue", token))
            .map(|warning| format!("{warning}; the signature is over these bytes too")),
        given(&credentials.token_signature)
            .and_then(|signature| odd_signature("tokenSignature", signature)),
        unencoded(username),
    ]
    .into_iter()
    .flatten()
    .chain(
        written(username, websocket, user_name::AUTHORIZER_NAME).filter_map(|(place, name)| {
            odd_name(&format!("the authorizer's name inside {place}"), &name)
        }),
    )
    .chain(
        written(username, websocket, user_name::SIGNATURE).filter_map(|(place, signature)| {
            odd_signature(&format!("the signature inside {place}"), &signature)
        }),
    )
    .collect()
}

/// What the caller wrote under this name in texts of his own, with the options that hold it.
fn written(
    username: &str,
    websocket: Option<&WebSocket>,
    name: &str,
) -> impl Iterator<Item = (&'static str, String)> {
    [
        ("username", user_name::value_of(username, name)),
        (
            "websocket.path",
            websocket.and_then(|websocket| user_name::value_of(&websocket.path, name)),
        ),
        (
            "websocket.headers",
            websocket.and_then(|websocket| websocket.header(name).map(str::to_owned)),
        ),
    ]
    .into_iter()
    .filter_map(|(place, value)| Some((place, value?)))
}

/// A name that AWS does not allow: CreateAuthorizer takes `[\w=,@-]+`.
fn odd_name(what: &str, name: &str) -> Option<String> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "_=,@-".contains(letter);
    let place = if name.starts_with(char::is_whitespace) {
        "begins with"
    } else if name.ends_with(char::is_whitespace) {
        "ends with"
    } else if name.contains(char::is_whitespace) {
        "holds"
    } else {
        let odd = name.chars().find(|letter| !allowed(*letter))?;
        return Some(format!(
            "{what} {} holds {}, and AWS allows letters, digits, _, =, comma, @ and - alone: not the ARN, but the name",
            quoted(name),
            quoted(&odd.to_string())
        ));
    };
    let name = quoted(name);
    Some(format!(
        "{what} {name} {place} white space, which no authorizer has in its name"
    ))
}

/// The caller's own query is sent as it is, whatever its values hold.
fn unencoded(username: &str) -> Option<String> {
    let (_, query) = username.split_once('?')?;
    // A `?` is encoded, and has a warning of its own.
    let query = query.replace('?', "%3F");
    let item = query.split('&').find(|item| {
        let (key, value) = item.split_once('=').unwrap_or(("", item));
        let key = decode(key);
        // So have a name that AWS does not allow, and a signature with `+`.
        let value = if key.eq_ignore_ascii_case(user_name::SIGNATURE) {
            value.replace('+', "%2B")
        } else {
            value.to_owned()
        };
        !key.eq_ignore_ascii_case(user_name::AUTHORIZER_NAME)
            && encode_value(&value, TokenEncoding::Auto) != value
    })?;
    let place = match key_of(item) {
        Some(key) => format!("its parameter {}", quoted(&decode(key))),
        None => "a parameter".to_owned(),
    };
    Some(format!(
        "username holds in {place} a character that has to be percent-encoded, such as +, #, % or a space"
    ))
}

/// Secrets are read from files, whose last line ends with a line feed.
fn blank_edge(option: &str, text: &str) -> Option<String> {
    let blank = |letter: &char| letter.is_whitespace();
    let (place, letter) = match text.chars().next_back().filter(blank) {
        Some(letter) => ("ends with", letter),
        None => ("begins with", text.chars().next().filter(blank)?),
    };
    let what = if letter == '\n' {
        "a line feed"
    } else {
        "white space"
    };
    Some(format!(
        "{option} {place} {what}, as it does where it was read from a file"
    ))
}

fn odd_signature(what: &str, signature: &str) -> Option<String> {
    // Hex passes for base64, with a credible length even.
    let hex = signature.trim();
    if hex.bytes().all(|digit| digit.is_ascii_hexdigit())
        && SIGNATURE_BYTES.contains(&(hex.len() / 2))
        && hex.len().is_multiple_of(2)
    {
        return Some(format!(
            "{what} is hex; base64 is wanted (openssl base64 -A)"
        ));
    }
    let bytes = BASE64_STANDARD
        .decode(normalise_signature(signature)?)
        .ok()?;
    match bytes.len() {
        length if SIGNATURE_BYTES.contains(&length) => None,
        SHORT_SIGNATURE_BYTES => Some(format!(
            "{what} has 128 bytes: it is by a key of 1,024 bits, which is too short"
        )),
        length => Some(format!(
            "{what} has {length} bytes, as by no key that IoT Core takes: it is 256 with 2,048 bits, 384 with 3,072, 512 with 4,096. A part of it may be missing, or it was encoded twice"
        )),
    }
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;

    use super::*;
    use crate::authorizer::Carrier;

    fn of(change: impl FnOnce(&mut Credentials)) -> Vec<String> {
        let mut credentials = Credentials::default();
        change(&mut credentials);
        warnings(&credentials, None)
    }

    /// Over a WebSocket with this query and these headers.
    fn of_websocket(query: &str, headers: &[(&str, &str)]) -> Vec<String> {
        let websocket = WebSocket {
            path: format!("/mqtt?{query}"),
            credentials_in: Carrier::Connect,
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        };
        warnings(&Credentials::default(), Some(&websocket))
    }

    fn of_signature(signature: &str) -> Vec<String> {
        of(|credentials| credentials.token_signature = Some(signature.to_owned()))
    }

    #[test]
    fn white_space_around_or_in_an_authorizers_name() {
        for (name, words) in [
            (" Fleet", "begins with"),
            ("Fleet\n", "ends with"),
            ("My Fleet", "holds"),
        ] {
            let warnings = of(|credentials| credentials.authorizer_name = Some(name.to_owned()));
            assert_eq!(warnings.len(), 1, "{name:?}");
            assert!(
                warnings[0].starts_with(&format!("authorizerName {name:?} {words} white space")),
                "{warnings:?}"
            );
        }
        assert!(
            of(|credentials| credentials.authorizer_name = Some("Fleet".to_owned())).is_empty()
        );
    }

    #[test]
    fn characters_that_no_authorizers_name_has() {
        for (name, odd) in [
            ("arn:aws:iot:eu-west-1:1:authorizer/Fleet", "\":\""),
            ("a/b", "\"/\""),
            ("<name>", "\"<\""),
            ("Fl\u{200b}eet", "\"\\u{200b}\""),
            ("Flöte", "\"ö\""),
        ] {
            let warnings = [
                of(|credentials| credentials.authorizer_name = Some(name.to_owned())),
                of(|credentials| {
                    credentials.username =
                        Some(format!("me?{}={name}", user_name::AUTHORIZER_NAME));
                }),
                of_websocket(&format!("{}={name}", user_name::AUTHORIZER_NAME), &[]),
                of_websocket("", &[(user_name::AUTHORIZER_NAME, name)]),
            ]
            .concat();
            let inside = "the authorizer's name inside";
            for (at, what) in [
                "authorizerName".to_owned(),
                format!("{inside} username"),
                format!("{inside} websocket.path"),
                format!("{inside} websocket.headers"),
            ]
            .into_iter()
            .enumerate()
            {
                let expected = format!("{what} {name:?} holds {odd}, and AWS allows");
                assert!(warnings[at].starts_with(&expected), "{warnings:?}");
            }
            assert_eq!(warnings.len(), 4, "{warnings:?}");
        }
        for name in ["Fleet_7", "a=b,c@d-e"] {
            assert!(of_websocket("", &[(user_name::AUTHORIZER_NAME, name)]).is_empty());
        }
    }

    #[test]
    fn characters_that_break_the_users_own_query() {
        let of_query =
            |query: &str| of(|credentials| credentials.username = Some(format!("me?{query}")));
        for value in ["a b", "a#b", "100%", "%4", "a+b", "ä", "a\tb"] {
            let warnings = of_query(&format!("SDK=x&tok={value}&more={value}"));
            assert_eq!(
                warnings,
                [
                    "username holds in its parameter \"tok\" a character that has to be percent-encoded, such as +, #, % or a space"
                ],
                "{value}"
            );
        }
        let secret = "sk_live_0123456789abcdef";
        for query in [format!("{secret}+"), format!("{secret}=a+b")] {
            let warnings = of_query(&query);
            assert!(
                warnings[0].starts_with("username holds in a parameter a character"),
                "{warnings:?}"
            );
            assert!(!warnings[0].contains("sk_live"), "{warnings:?}");
        }
        let signature = BASE64_STANDARD.encode([0xfb; 256]);
        for query in [
            "tok=a%20b%2B",
            "SDK=IoTDeviceSDK/JS&Metadata=(k=v;k=v)",
            "url=http://h/p?a",
            &format!("{}={signature}", user_name::SIGNATURE),
        ] {
            assert!(of_query(query).is_empty(), "{query}");
        }
        assert!(of(|credentials| credentials.username = Some("a b+ä".to_owned())).is_empty());
    }

    #[test]
    fn white_space_around_what_was_read_from_a_file() {
        for (text, words) in [
            ("s3cr3t\n", "ends with a line feed"),
            ("s3cr3t\r\n", "ends with a line feed"),
            ("s3cr3t ", "ends with white space"),
            (" s3cr3t", "begins with white space"),
        ] {
            let text = || Some(text.to_owned());
            let warnings = of(|credentials| {
                credentials.password = text().map(String::into_bytes);
                credentials.token_key_name = text();
                credentials.token_value = text();
            });
            assert_eq!(warnings.len(), 3, "{warnings:?}");
            for (warning, option) in warnings
                .iter()
                .zip(["password", "tokenKeyName", "tokenValue"])
            {
                assert!(
                    warning.starts_with(&format!("{option} {words}")),
                    "{warning}"
                );
                assert!(!warning.contains("s3cr3t"), "{warning}");
            }
            assert!(warnings[2].ends_with("the signature is over these bytes too"));
        }
        let inside = of(|credentials| credentials.password = Some(b"a b\nc".to_vec()));
        assert!(inside.is_empty(), "{inside:?}");
        let binary = of(|credentials| credentials.password = Some(vec![0xff, b'\n']));
        assert!(binary.is_empty(), "{binary:?}");
    }

    #[test]
    fn a_signature_that_no_key_makes() {
        for length in [1, 255, 257, 344, 511, 513] {
            let signature = BASE64_STANDARD.encode(vec![7; length]);
            let warnings = of_signature(&signature);
            assert_eq!(warnings.len(), 1, "{length}");
            let expected = format!("tokenSignature has {length} bytes");
            assert!(warnings[0].starts_with(&expected), "{warnings:?}");
            assert!(!warnings[0].contains(&signature[..4]), "{warnings:?}");
        }
    }

    #[test]
    fn a_signature_as_long_as_a_key_makes_it_in_each_of_its_forms() {
        for length in SIGNATURE_BYTES {
            let bytes = vec![0xfb; length];
            let plain = BASE64_STANDARD.encode(&bytes);
            let forms = [
                plain.replace('+', "%2B").replace('=', "%3D"),
                BASE64_URL_SAFE_NO_PAD.encode(&bytes),
                plain,
            ];
            for signature in forms {
                assert!(of_signature(&signature).is_empty(), "{length}");
            }
        }
    }

    #[test]
    fn a_signature_by_a_key_that_is_too_short() {
        let [warning] = &of_signature(&BASE64_STANDARD.encode([7; 128]))[..] else {
            panic!("one warning is due")
        };
        assert!(warning.ends_with("by a key of 1,024 bits, which is too short"));
    }

    #[test]
    fn a_signature_in_hex() {
        for length in SIGNATURE_BYTES {
            for digits in ["fb", "FB"] {
                let warnings = of_signature(&digits.repeat(length));
                assert_eq!(
                    warnings,
                    ["tokenSignature is hex; base64 is wanted (openssl base64 -A)"]
                );
            }
        }
    }

    #[test]
    fn a_signature_in_the_request_for_a_websocket() {
        let key = user_name::SIGNATURE;
        let warnings = of_websocket(
            &format!("{key}=AAAA"),
            &[("X-Amz-CustomAuthorizer-Signature", "AAAAAAAA")],
        );
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].starts_with("the signature inside websocket.path has 3 bytes"));
        assert!(warnings[1].starts_with("the signature inside websocket.headers has 6 bytes"));
        let whole = BASE64_STANDARD.encode([7; 256]);
        assert!(of_websocket("", &[(key, &whole)]).is_empty());
    }

    #[test]
    fn a_signature_in_the_users_own_query() {
        let user_name = |signature: &str| {
            let key = user_name::SIGNATURE;
            of(|credentials| credentials.username = Some(format!("me?tok=t&{key}={signature}")))
        };
        let warnings = user_name("AAAA");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with("the signature inside username has 3 bytes"));
        let whole = BASE64_STANDARD.encode([7; 256]).replace('=', "%3D");
        assert!(user_name(&whole).is_empty());
    }
}
