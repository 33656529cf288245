use base64::{Engine, prelude::BASE64_STANDARD};

use super::*;
use crate::{
    error::Code,
    options::{ConnectOptions, Options},
    testing::{Authority, Identity},
};

const EC: &str = include_str!("../../authorizer/fixtures/ec.pem");
const RSA: &str = include_str!("../../authorizer/fixtures/rsa-2048.pem");
const ENDPOINT: &str = "abc-ats.iot.eu-west-1.amazonaws.com";

fn validate(change: impl FnOnce(&mut ConnectOptions)) -> Result<Options> {
    let mut options = ConnectOptions {
        endpoint: "iot.example".to_owned(),
        ..ConnectOptions::default()
    };
    change(&mut options);
    options.validate()
}

fn refusal(change: impl FnOnce(&mut ConnectOptions)) -> Failure {
    match validate(change) {
        Ok(_) => panic!("accepted"),
        Err(failure) => {
            assert_eq!(failure.code(), Code::InvalidOption, "{failure:?}");
            failure
        }
    }
}

fn warnings(change: impl FnOnce(&mut ConnectOptions)) -> Vec<String> {
    match validate(change) {
        Ok(options) => options.warnings,
        Err(failure) => panic!("{failure:?}"),
    }
}

fn client() -> Identity {
    Authority::new().issue_for_key(EC)
}

fn give(options: &mut ConnectOptions, identity: &Identity) {
    options.tls.cert = Some(identity.cert());
    options.tls.key = Some(identity.key());
}

/// No line of the key shows, nor a piece of it.
fn assert_not_quoted(failure: &Failure, key: &[u8]) {
    let told = format!("{failure:?}");
    let key = String::from_utf8_lossy(key);
    for line in key.lines().filter(|line| !line.starts_with("-----")) {
        for piece in line.as_bytes().chunks(8).filter(|piece| piece.len() == 8) {
            let piece = String::from_utf8_lossy(piece);
            assert!(!told.contains(&*piece), "{told}");
        }
    }
}

#[test]
fn a_certificate_and_its_key_come_together() {
    let client = client();
    for (cert, key, message) in [
        (
            Some(client.cert()),
            None,
            "tls.cert is given without tls.key",
        ),
        (
            None,
            Some(client.key()),
            "tls.key is given without tls.cert",
        ),
    ] {
        let failure = refusal(|options| {
            options.tls.cert = cert;
            options.tls.key = key;
        });
        assert_eq!(failure.message(), message);
        assert_not_quoted(&failure, &client.key());
    }
}

#[test]
fn a_key_that_cannot_be_used_is_refused_and_not_quoted() {
    fn fixture(name: &str) -> Vec<u8> {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/authorizer/fixtures/");
        fs::read(format!("{directory}{name}")).unwrap()
    }
    let encrypted = fixture("rsa-2048-encrypted.pem");
    let encrypted_der = {
        let text = String::from_utf8(encrypted.clone()).unwrap();
        let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        BASE64_STANDARD.decode(body).unwrap()
    };
    let broken_pem = RSA.replace('M', "*").into_bytes();
    let cut = RSA.split_at(800).0.as_bytes().to_vec();
    for (key, words) in [
        (encrypted, "tls.key is encrypted"),
        (
            fixture("rsa-2048-encrypted-pkcs1.pem"),
            "tls.key is encrypted",
        ),
        (encrypted_der, "tls.key is no private key"),
        (fixture("rsa-1024.pem"), "tls.key cannot be used"),
        (
            fixture("rsa-2048-public.pem"),
            "tls.key holds no private key",
        ),
        (fixture("certificate.pem"), "tls.key holds no private key"),
        (fixture("bundle.p12"), "tls.key "),
        (b"s3cr3ts3cr3t".to_vec(), "tls.key holds no private key"),
        (b"0s3cr3ts3cr3t".to_vec(), "tls.key is no private key"),
        (vec![0xff; 64], "tls.key holds no private key"),
        (Vec::new(), "tls.key holds no private key"),
        (broken_pem, "tls.key holds no private key"),
        (cut, "tls.key holds no private key"),
        (
            RSA.replace("MII", "AAA").into_bytes(),
            "tls.key cannot be used",
        ),
        (fixture("rsa-2048.pem"), "tls.key is not the key of"),
    ] {
        let failure = refusal(|options| {
            options.tls.cert = Some(client().cert());
            options.tls.key = Some(key.clone());
        });
        assert!(failure.message().starts_with(words), "{failure:?}");
        assert_not_quoted(&failure, &key);
    }
}

#[test]
fn an_encrypted_key_points_at_the_way_to_decrypt_it() {
    let failure = refusal(|options| {
        options.tls.cert = Some(client().cert());
        let key = include_bytes!("../../authorizer/fixtures/rsa-2048-encrypted.pem");
        options.tls.key = Some(key.to_vec());
    });
    assert!(failure.hint().contains("createPrivateKey"));
}

#[test]
fn a_certificate_that_cannot_be_read_is_refused_by_its_own_name() {
    let pem = |body: &str| {
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n").into_bytes()
    };
    for (cert, words) in [
        (Vec::new(), "tls.cert holds no certificate"),
        (
            b"nothing of the kind".to_vec(),
            "tls.cert holds no certificate",
        ),
        (EC.into(), "tls.cert holds no certificate"),
        (pem("!"), "tls.cert is not valid PEM"),
        (
            pem("MAMCAQE="),
            "tls.cert begins with a certificate that cannot be used",
        ),
    ] {
        let failure = refusal(|options| {
            options.tls.cert = Some(cert);
            options.tls.key = Some(EC.into());
        });
        assert!(failure.message().starts_with(words), "{failure:?}");
        assert_not_quoted(&failure, EC.as_bytes());
    }
}

/// As an environment variable or a careless template leaves it: the parser then takes the whole text for one line.
#[test]
fn pem_without_line_breaks_is_explained_and_not_quoted() {
    let joined = |separator: &str| {
        let both = [client().cert(), EC.into()].concat();
        let text = String::from_utf8(both).unwrap();
        text.lines().collect::<Vec<_>>().join(separator)
    };
    for text in [
        joined(" "),
        joined(""),
        joined("\\n"),
        joined(" ") + " more",
    ] {
        for authority in [false, true] {
            let failure = refusal(|options| {
                if authority {
                    options.tls.ca = vec![text.clone().into_bytes()];
                } else {
                    options.tls.cert = Some(text.clone().into_bytes());
                    options.tls.key = Some(EC.into());
                }
            });
            assert!(
                failure.message().contains("is not valid PEM"),
                "{failure:?}"
            );
            assert!(failure.hint().contains("line breaks"), "{failure:?}");
            assert_not_quoted(&failure, text.as_bytes());
            // Bytes in decimal can be read as well.
            assert!(
                !format!("{failure:?}").contains("45, 45, 45"),
                "{failure:?}"
            );
        }
    }
}

/// As `openssl x509 -req` makes it where it is told of no extensions; the key is its own.
#[test]
fn a_certificate_of_version_1_is_not_taken_for_that_of_another_key() {
    let failure = refusal(|options| {
        options.tls.cert = Some(include_bytes!("../fixtures/ec-version-1.pem").to_vec());
        options.tls.key = Some(EC.into());
    });
    let message = failure.message();
    assert!(message.contains("tls.cert begins with"), "{failure:?}");
    assert!(failure.cause().unwrap().contains("Version"), "{failure:?}");
}

#[test]
fn a_chain_in_the_wrong_order_is_explained() {
    let mut chain = Authority::new().intermediate("between").issue(|_| {});
    chain.chain.reverse();
    let failure = refusal(|options| give(options, &chain));
    assert!(failure.message().contains("first certificate of tls.cert"));
    assert!(failure.hint().contains("client's own certificate"));
}

#[test]
fn certificate_and_key_may_lie_in_one_file() {
    let client = client();
    let both = [client.key(), client.cert()].concat();
    let options = validate(|options| {
        options.tls.cert = Some(both.clone());
        options.tls.key = Some(both);
    });
    assert!(options.is_ok_and(|options| options.tls.profile.identity.is_some()));
}

#[test]
fn a_certificate_where_mqtt_is_offered_fits_no_default_endpoint() {
    let cases: &[(&str, Option<&[&str]>, bool)] = &[
        (ENDPOINT, None, true),
        ("ABC-ATS.IOT.eu-west-1.amazonaws.com.", None, true),
        ("abc.ats.iot.cn-north-1.amazonaws.com.cn", None, true),
        (ENDPOINT, Some(&["a", "mqtt"]), true),
        (ENDPOINT, Some(&["x-amzn-mqtt-ca"]), false),
        (ENDPOINT, Some(&[]), false),
        ("iot.example", None, false),
    ];
    for (endpoint, alpn, warns) in cases {
        let warnings = warnings(|options| {
            options.endpoint = (*endpoint).to_owned();
            options.tls.alpn_protocols =
                alpn.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
            give(options, &client());
        });
        assert_eq!(
            warnings.len(),
            usize::from(*warns),
            "{endpoint} {warnings:?}"
        );
        assert!(
            warnings
                .iter()
                .all(|text| text.contains("CUSTOM_AUTH_X509"))
        );
    }
}

#[test]
fn a_certificate_over_websocket_is_warned_of() {
    for endpoint in [ENDPOINT, "iot.example"] {
        let warnings = warnings(|options| {
            options.endpoint = endpoint.to_owned();
            options.transport = Some("websocket".to_owned());
            give(options, &client());
        });
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with("tls.cert is given and transport is 'websocket'"));
    }
}

#[test]
fn a_certificate_is_something_to_log_in_with() {
    let options = validate(|options| give(options, &client())).ok().unwrap();
    assert!(options.login.warnings.is_empty());
}

#[test]
fn mqtt_in_alpn_over_websocket_is_warned_of() {
    let warnings = |alpn: &str| {
        warnings(|options| {
            options.transport = Some("websocket".to_owned());
            options.tls.alpn_protocols = Some(vec![alpn.to_owned()]);
        })
    };
    assert!(warnings("mqtt")[0].starts_with("tls.alpnProtocols holds 'mqtt'"));
    assert!(warnings("http/1.1").is_empty());
}

#[test]
fn an_own_key_log_is_warned_of() {
    let options = validate(|options| options.tls.key_log = true).ok().unwrap();
    assert_eq!(options.warnings.len(), 1);
    assert!(options.warnings[0].starts_with("tls.keyLog is on"));
    // The tests' environment names no file.
    assert!(options.warnings[0].contains("names no file"));
    assert!(options.tls.key_log.is_none() && !options.tls.profile.logs_keys);
}

#[test]
fn nothing_unusual_is_not_warned_of() {
    for transport in ["tls", "websocket"] {
        let warnings = warnings(|options| options.transport = Some(transport.to_owned()));
        assert!(warnings.is_empty(), "{warnings:?}");
    }
}

#[test]
fn versions_below_1_2_and_names_of_other_kinds_are_refused() {
    for version in ["TLSv1.1", "1.3", "tlsv1.3", "TLSv1.4", ""] {
        let failure = refusal(|options| options.tls.min_version = Some(version.to_owned()));
        assert!(failure.message().contains("tls.minVersion"), "{failure}");
    }
}

#[test]
fn a_protocol_has_1_to_255_bytes() {
    for (length, valid) in [(0, false), (1, true), (255, true), (256, false)] {
        let given = validate(|options| {
            options.tls.alpn_protocols = Some(vec!["x".repeat(length)]);
        });
        match given {
            Ok(_) => assert!(valid, "{length}"),
            Err(failure) => {
                assert!(!valid && failure.message().contains("tls.alpnProtocols"));
            }
        }
    }
}

#[test]
fn a_server_name_that_is_no_name_is_refused_by_its_own_name() {
    for name in ["", "https://h", "h/p", "h:1", "a b", "a..b", "user@h"] {
        let failure = refusal(|options| options.tls.server_name = Some(name.to_owned()));
        assert!(failure.message().starts_with("tls.serverName"), "{failure}");
    }
}

#[test]
fn an_endpoint_that_is_no_name_is_refused_beside_a_server_name_too() {
    for endpoint in ["a HTTP/1.1\r\nX: 1\r\nY", "https://a.example/mqtt", ""] {
        let failure = refusal(|options| {
            options.endpoint = endpoint.to_owned();
            options.tls.server_name = Some("iot.example".to_owned());
        });
        assert!(failure.message().starts_with("endpoint"), "{failure}");
    }
}

#[test]
fn brackets_are_not_taken_for_a_port() {
    let failure = refusal(|options| options.endpoint = "[::1]".to_owned());
    assert!(failure.message().contains("brackets"), "{failure}");
}

#[test]
fn extra_authorities_that_cannot_be_used_are_warned_of() {
    let fixture = |name: &str| {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/authorizer/fixtures/");
        format!("{file}{name}").into()
    };
    for (name, warned) in [
        ("certificate.pem", None),
        ("ec.pem", Some("holds no certificate")),
        ("none.pem", Some("cannot be read")),
    ] {
        let warnings = warnings(|options| options.tls.system.extra_file = Some(fixture(name)));
        let warning = warnings.first().map(String::as_str);
        assert_eq!(warning.is_some(), warned.is_some(), "{warnings:?}");
        assert!(
            warning.is_none_or(|warning| warning.contains("NODE_EXTRA_CA_CERTS")
                && warning.contains(warned.unwrap_or_default())),
            "{warnings:?}"
        );
    }
}
