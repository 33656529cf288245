use super::*;
use crate::authorizer::TokenEncoding;

#[test]
fn headers_hold_name_signature_and_token_as_they_are() {
    let upgrade = upgrade(&full(), &with_headers(&[("X-Mine", "1")]));
    assert_eq!(upgrade.target, "/mqtt");
    assert_eq!(
        upgrade.headers,
        owned(&[
            ("X-Mine", "1"),
            (NAME, "FleetAuth"),
            (SIGNATURE, "mK1/z+=="),
            ("tok", JWT),
        ])
    );
}

#[test]
fn headers_hold_the_signature_in_base64_whatever_form_it_came_in() {
    for form in ["ab+/cw==", "ab-_cw", "ab%2B%2Fcw%3D%3D", "ab%2b_cw\r\n"] {
        let upgrade = upgrade(&signed("tok", "t", form), &with_headers(&[]));
        let signature = (SIGNATURE.to_owned(), "ab+/cw==".to_owned());
        assert!(upgrade.headers.contains(&signature), "{form}");
    }
}

#[test]
fn headers_hold_a_signature_that_is_made_here() {
    let credentials = Credentials {
        token_signature: None,
        token_signing_key: Some(include_bytes!("../../fixtures/rsa-2048.pem").to_vec()),
        ..signed("tok", "header.payload", "")
    };
    let upgrade = upgrade(&credentials, &with_headers(&[]));
    let signature = include_str!("../../fixtures/rsa-2048.signature");
    assert_eq!(upgrade.headers[0].1, signature);
}

#[test]
fn headers_are_percent_encoded_only_on_demand() {
    for (encoding, expected) in [
        (TokenEncoding::Auto, "a b%&?"),
        (TokenEncoding::Raw, "a b%&?"),
        (TokenEncoding::Percent, "a%20b%25%26%3F"),
    ] {
        let credentials = Credentials {
            token_encoding: encoding,
            ..signed("tok", "a b%&?", "AAAA")
        };
        let upgrade = upgrade(&credentials, &with_headers(&[]));
        assert_eq!(upgrade.headers[1].1, expected, "{encoding:?}");
    }
}

#[test]
fn headers_refuse_what_would_break_their_line() {
    for bad in [
        "s3cr3t\r\nX: 1",
        "s3cr3t\n",
        "s3cr3t\r",
        "s3cr3t\0",
        "s3cr3t\u{7f}",
        "s3cr3tä",
        " s3cr3t",
        "s3cr3t ",
    ] {
        for (credentials, option) in [
            (named(bad), "authorizerName: "),
            (signed("tok", bad, "AAAA"), "tokenValue: "),
            (signed(bad, "t", "AAAA"), "tokenKeyName "),
        ] {
            let failure = refusal(&credentials, &with_headers(&[]));
            assert!(failure.message().starts_with(option), "{failure:?}");
            assert!(failure.hint().contains("credentialsIn"), "{failure:?}");
        }
    }
}

#[test]
fn headers_of_the_handshake_are_no_place_for_a_token() {
    for key in [
        "Host",
        "connection",
        "Upgrade",
        "Sec-WebSocket-Key",
        "sec-websocket-protocol",
        "Content-Length",
        "Transfer-Encoding",
    ] {
        let failure = refusal(&signed(key, "s3cr3t", "AAAA"), &with_headers(&[]));
        assert!(failure.message().starts_with("tokenKeyName "), "{failure}");
    }
}

#[test]
fn headers_refuse_what_contradicts_those_of_the_caller() {
    let credentials = Credentials {
        authorizer_name: text("A"),
        ..signed("tok", "s3cr3t", "ab+/cw==")
    };
    for (header, option) in [
        (("X-Amz-CustomAuthorizer-Name", "a"), "authorizerName"),
        ((SIGNATURE, "s3cr3t"), "tokenSignature"),
        (("TOK", "S3cr3t"), "tokenValue"),
    ] {
        let failure = refusal(&credentials, &with_headers(&[header]));
        assert!(failure.message().starts_with(option), "{failure}");
        assert!(failure.message().contains("websocket.headers"), "{failure}");
    }
}

#[test]
fn headers_take_what_those_of_the_caller_say_too_once() {
    let given = [
        ("X-Amz-CustomAuthorizer-Name", "A"),
        ("X-AMZ-CUSTOMAUTHORIZER-SIGNATURE", "ab+/cw=="),
        ("TOK", "t"),
    ];
    let credentials = Credentials {
        authorizer_name: text("A"),
        ..signed("tok", "t", "ab-_cw")
    };
    let upgrade = upgrade(&credentials, &with_headers(&given));
    assert_eq!(upgrade.headers, owned(&given));
}

#[test]
fn headers_take_the_callers_signature_in_another_form() {
    for form in ["ab-_cw", "ab%2B%2Fcw%3D%3D"] {
        let given = [(SIGNATURE, form)];
        let credentials = signed("tok", "t", "ab+/cw==");
        let upgrade = upgrade(&credentials, &with_headers(&given));
        assert_eq!(upgrade.headers, owned(&[given[0], ("tok", "t")]));
    }
}
