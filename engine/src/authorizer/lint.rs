//! What is legal in credentials and unlikely to get in.

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{Credentials, encoding::normalise_signature, given, user_name};
use crate::limits::quoted;

/// The bytes of a signature by an RSA key of 2,048, 3,072 and 4,096 bits.
const SIGNATURE_BYTES: [usize; 3] = [256, 384, 512];

/// What looks wrong whatever the time is. A JWT's own life is for [`super::Login::warnings_at`].
pub(super) fn warnings(credentials: &Credentials) -> Vec<String> {
    let username = given(&credentials.username).unwrap_or_default();
    let in_user_name = user_name::value_of(username, user_name::SIGNATURE);
    [
        given(&credentials.authorizer_name).and_then(white_space),
        given(&credentials.token_signature)
            .and_then(|signature| odd_length("tokenSignature", signature)),
        in_user_name.and_then(|signature| odd_length("the signature inside username", &signature)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn white_space(name: &str) -> Option<String> {
    let place = if name.starts_with(char::is_whitespace) {
        "begins with"
    } else if name.ends_with(char::is_whitespace) {
        "ends with"
    } else if name.contains(char::is_whitespace) {
        "holds"
    } else {
        return None;
    };
    let name = quoted(name);
    Some(format!(
        "authorizerName {name} {place} white space, which no authorizer has in its name"
    ))
}

fn odd_length(what: &str, signature: &str) -> Option<String> {
    let bytes = BASE64_STANDARD
        .decode(normalise_signature(signature)?)
        .ok()?;
    let length = bytes.len();
    (!SIGNATURE_BYTES.contains(&length)).then(|| {
        format!(
            "{what} has {length} bytes, and no RSA key signs so: it is 256 with 2,048 bits, 384 with 3,072, 512 with 4,096. A part of it may be missing, or it was encoded twice"
        )
    })
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;

    use super::*;

    fn of(change: impl FnOnce(&mut Credentials)) -> Vec<String> {
        let mut credentials = Credentials::default();
        change(&mut credentials);
        warnings(&credentials)
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
