use super::*;
use crate::authorizer::TokenEncoding;

#[test]
fn query_writes_name_signature_and_token_in_this_order() {
    let websocket = WebSocket {
        headers: owned(&[("X-Mine", "1")]),
        ..at("/mqtt")
    };
    let upgrade = upgrade(&full(), &websocket);
    assert_eq!(
        upgrade.target,
        format!("/mqtt?{NAME}=FleetAuth&{SIGNATURE}=mK1%2Fz%2B%3D%3D&tok={JWT}")
    );
    assert_eq!(upgrade.headers, websocket.headers);
}

#[test]
fn query_without_credentials_is_the_path() {
    let nothing = Credentials::default();
    assert_eq!(target(&nothing, "/mqtt"), "/mqtt");
    assert_eq!(target(&nothing, "/mqtt?a=b"), "/mqtt?a=b");
}

#[test]
fn query_encodes_what_a_url_does_not_allow() {
    for (token, expected) in [
        ("a b", "a%20b"),
        ("a\"b<c>d", "a%22b%3Cc%3Ed"),
        ("a[b]c\\d", "a%5Bb%5Dc%5Cd"),
        ("a^b`c{d|e}f", "a%5Eb%60c%7Bd%7Ce%7Df"),
        ("a&b?c#d+e", "a%26b%3Fc%23d%2Be"),
        ("ä€", "%C3%A4%E2%82%AC"),
        ("\r\n\0\u{7f}", "%0D%0A%00%7F"),
        ("a%2Bb", "a%2Bb"),
        ("100%", "100%25"),
        ("a=b/c:d;e@f,g!h$i'(j)*~", "a=b/c:d;e@f,g!h$i'(j)*~"),
    ] {
        let target = target(&signed("tok", token, "AAAA"), "/mqtt");
        assert_eq!(target, format!("/mqtt?{SIGNATURE}=AAAA&tok={expected}"));
    }
    let target = target(&signed("my=[tok]", "t", "AAAA"), "/mqtt");
    assert_eq!(target, format!("/mqtt?{SIGNATURE}=AAAA&my%3D%5Btok%5D=t"));
}

#[test]
fn query_with_percent_encodes_all_but_what_is_unreserved() {
    let credentials = Credentials {
        token_encoding: TokenEncoding::Percent,
        ..signed("t k", "a%2B/[ä]", "AAAA")
    };
    assert_eq!(
        target(&credentials, "/mqtt"),
        format!("/mqtt?{SIGNATURE}=AAAA&t%20k=a%252B%2F%5B%C3%A4%5D")
    );
}

#[test]
fn query_follows_that_of_the_path() {
    assert_eq!(
        target(&named("A"), "/mqtt?x=%2f&flag&y=1"),
        format!("/mqtt?x=%2f&flag&y=1&{NAME}=A")
    );
}

#[test]
fn query_takes_what_the_path_says_too_once() {
    let path = format!("/mqtt?X-Amz-CustomAuthorizer-Name=A%2D1&{SIGNATURE}=ab-_cw&Tok=t");
    let credentials = Credentials {
        authorizer_name: text("A-1"),
        ..signed("tok", "t", "ab+/cw==")
    };
    assert_eq!(target(&credentials, &path), path);
}

#[test]
fn query_refuses_what_contradicts_the_path() {
    let credentials = Credentials {
        authorizer_name: text("A"),
        ..signed("tok", "s3cr3t", "ab+/cw==")
    };
    for (item, option) in [
        (format!("{NAME}=B"), "authorizerName contradicts"),
        (format!("{SIGNATURE}=s3cr3t"), "tokenSignature contradicts"),
        ("tok=s3cr3t2".to_owned(), "tokenValue contradicts"),
        (
            "tok=s3cr3t&tok=s3cr3t2".to_owned(),
            "websocket.path holds the parameter tok twice",
        ),
    ] {
        let failure = refusal(&credentials, &at(&format!("/mqtt?{item}")));
        assert!(failure.message().starts_with(option), "{failure}");
        assert!(failure.message().contains("websocket.path"), "{failure}");
    }
}

#[test]
fn a_further_question_mark_in_the_path_is_escaped_with_a_warning() {
    let login = login(&named("A"), &at("/mqtt?url=http://h/p?q"));
    let target = login.upgrade.unwrap().target;
    assert_eq!(target, format!("/mqtt?url=http://h/p%3Fq&{NAME}=A"));
    assert!(login.warnings[0].starts_with("websocket.path"));
}

#[test]
fn query_refuses_raw_text_that_no_request_line_can_hold() {
    for token in ["s3cr3t token", "s3cr3t\r\n", "s3cr3tä", "s3cr3t#"] {
        let credentials = Credentials {
            token_encoding: TokenEncoding::Raw,
            ..signed("tok", token, "AAAA")
        };
        let failure = refusal(&credentials, &at("/mqtt"));
        assert!(failure.hint().contains("tokenEncoding"), "{failure:?}");
    }
}

#[test]
fn query_takes_raw_text_as_it_is_and_warns_where_it_comes_apart() {
    let raw = |token| Credentials {
        token_encoding: TokenEncoding::Raw,
        ..signed("tok", token, "AAAA")
    };
    let plain = login(&raw("a%+|b"), &at("/mqtt"));
    assert_eq!(
        plain.upgrade.unwrap().target,
        format!("/mqtt?{SIGNATURE}=AAAA&tok=a%+|b")
    );
    assert!(plain.warnings[0].starts_with("tokenValue holds a character"));
    let broken = login(&raw("a&b"), &at("/mqtt"));
    assert!(broken.warnings[0].starts_with("tokenValue holds &"));
    let in_headers = login(&raw("a&b"), &websocket(Carrier::Headers));
    assert!(in_headers.warnings.is_empty());
}

#[test]
fn query_has_at_most_8_192_bytes() {
    let room = 8_192 - format!("/mqtt?{SIGNATURE}=AAAA&tok=").len();
    let target = target(&signed("tok", &"x".repeat(room), "AAAA"), "/mqtt");
    assert_eq!(target.len(), 8_192);
    let long = format!("s3cr3t{}", "x".repeat(room));
    let failure = refusal(&signed("tok", &long, "AAAA"), &at("/mqtt"));
    assert!(failure.message().contains("8,192"), "{failure}");
}
