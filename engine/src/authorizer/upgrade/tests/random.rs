use fastrand::Rng;
use percent_encoding::percent_decode_str;

use super::*;
use crate::authorizer::TokenEncoding;

/// A text of what breaks lines, queries and headers.
fn random(rng: &mut Rng) -> String {
    const LETTERS: [&str; 24] = [
        "a",
        "Z",
        "0",
        "?",
        "&",
        "=",
        "%",
        "%41",
        "+",
        " ",
        "#",
        "ä",
        "\n",
        "\r",
        "\0",
        "/",
        "\"",
        "<",
        "[",
        "\\",
        "|",
        "x-amz-",
        "\t",
        "\u{10ffff}",
    ];
    let len = rng.usize(1..8);
    (0..len).map(|_| *rng.choice(&LETTERS).unwrap()).collect()
}

#[test]
fn any_credentials_make_a_target_that_is_valid_and_reads_back() {
    let mut rng = Rng::with_seed(0x7175_6572);
    for _ in 0..20_000 {
        let (name, key, token) = (random(&mut rng), random(&mut rng), random(&mut rng));
        let mut credentials = Credentials {
            authorizer_name: Some(name.clone()),
            token_encoding: TokenEncoding::Percent,
            ..signed(&key, &token, "ab+/cw==")
        };
        let percent = target(&credentials, "/mqtt?mine=1");
        check_target(&percent).unwrap();
        let (path, query) = percent.split_once('?').unwrap();
        assert_eq!(path, "/mqtt");
        let decode = |text| percent_decode_str(text).decode_utf8().unwrap().into_owned();
        let items: Vec<(String, String)> = query
            .split('&')
            .map(|item| item.split_once('=').unwrap())
            .map(|(key, value)| (decode(key), decode(value)))
            .collect();
        let expected = [
            ("mine", "1"),
            (NAME, &*name),
            (SIGNATURE, "ab+/cw=="),
            (&*key, &*token),
        ];
        assert_eq!(items, owned(&expected), "{percent}");
        credentials.token_encoding = TokenEncoding::Auto;
        check_target(&target(&credentials, "/mqtt?mine=1")).unwrap();
    }
}

#[test]
fn no_credentials_bring_a_line_break_into_a_header() {
    let mut rng = Rng::with_seed(0x6865_6164);
    let mut accepted = 0;
    for _ in 0..50_000 {
        let key = rng.choice(["tok", "x-token", "To k", "t\n"]).unwrap();
        let credentials = Credentials {
            authorizer_name: Some(random(&mut rng)),
            token_encoding: *rng
                .choice(&[
                    TokenEncoding::Auto,
                    TokenEncoding::Raw,
                    TokenEncoding::Percent,
                ])
                .unwrap(),
            ..signed(key, &random(&mut rng), "ab+/cw==")
        };
        let Ok(login) = credentials.compose(V5, Some(&websocket(Carrier::Headers))) else {
            continue;
        };
        accepted += 1;
        for (name, value) in login.upgrade.unwrap().headers {
            let line = format!("{name}: {value}");
            assert!(
                line.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~')),
                "{line:?}"
            );
            assert!(!name.contains([' ', ':']), "{name:?}");
        }
    }
    assert!(accepted > 1_000, "{accepted}");
}
