use base64::{Engine, prelude::BASE64_STANDARD};

use super::*;
use crate::error::{Code, Stage};

/// What no message may repeat.
const SECRET: &str = "s3cr3t";

type Change = fn(&mut ConnectOptions);

fn options(change: Change) -> ConnectOptions {
    let mut options = ConnectOptions {
        endpoint: "iot.example".to_owned(),
        ..ConnectOptions::default()
    };
    change(&mut options);
    options
}

fn valid(change: Change) -> Options {
    match options(change).validate() {
        Ok(options) => options,
        Err(failure) => panic!("{failure}"),
    }
}

fn refusal(change: Change) -> Failure {
    match options(change).validate() {
        Ok(_) => panic!("accepted"),
        Err(failure) => failure,
    }
}

/// Each is refused with a message that holds all of the words beside it, and nothing secret.
fn assert_refused(code: Code, cases: &[(Change, &[&str])]) {
    for (index, (change, words)) in cases.iter().enumerate() {
        let failure = refusal(*change);
        assert_eq!(failure.code(), code, "{index}: {failure}");
        assert_eq!(failure.stage(), Stage::Options, "{index}");
        for word in *words {
            assert!(failure.message().contains(word), "{index}: {failure}");
        }
        assert!(!format!("{failure:?}").contains(SECRET), "{failure:?}");
    }
}

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

#[test]
fn an_endpoint_that_is_more_or_less_than_a_name() {
    assert_refused(
        Code::InvalidOption,
        &[
            (|o| o.endpoint = String::new(), &["endpoint", "empty"]),
            (
                |o| o.endpoint = format!("https://iot.example/?token={SECRET}"),
                &["endpoint", "URL"],
            ),
            (
                |o| o.endpoint = format!("mqtts://user:{SECRET}@iot.example"),
                &["endpoint", "URL"],
            ),
            (
                |o| o.endpoint = "iot.example:8883".to_owned(),
                &["endpoint", "the option port"],
            ),
            (
                |o| o.endpoint = "iot.example/mqtt".to_owned(),
                &["endpoint", "path"],
            ),
            (
                |o| o.endpoint = format!("{SECRET}@iot.example"),
                &["endpoint", "user"],
            ),
            (
                |o| o.endpoint = " iot.example".to_owned(),
                &["endpoint", "white space"],
            ),
            (
                |o| o.endpoint = "iot..example".to_owned(),
                &["endpoint", "\"iot..example\" is no valid host name"],
            ),
        ],
    );
}

#[test]
fn an_address_is_an_endpoint_too() {
    for endpoint in ["127.0.0.1", "::1"] {
        let mut options = options(|_| {});
        options.endpoint = endpoint.to_owned();
        assert!(options.validate().is_ok(), "{endpoint}");
    }
}

#[test]
fn numbers_out_of_their_range() {
    assert_refused(
        Code::InvalidOption,
        &[
            (|o| o.port = Some(0.0), &["port", "1 to 65535", "got 0"]),
            (|o| o.port = Some(65_536.0), &["port"]),
            (|o| o.port = Some(-1.0), &["port"]),
            (|o| o.port = Some(443.5), &["port", "whole number"]),
            (|o| o.port = Some(f64::NAN), &["port"]),
            (|o| o.port = Some(f64::INFINITY), &["port"]),
            (
                |o| o.keep_alive_seconds = Some(29.0),
                &["keepAliveSeconds", "30 to 1200"],
            ),
            (
                |o| o.keep_alive_seconds = Some(1_201.0),
                &["keepAliveSeconds"],
            ),
            (
                |o| {
                    o.limits = text("none");
                    o.keep_alive_seconds = Some(65_536.0);
                },
                &["keepAliveSeconds", "0 to 65535"],
            ),
            (|o| o.ping_timeout_ms = Some(0.0), &["pingTimeoutMs"]),
            (|o| o.connect_timeout_ms = Some(0.0), &["connectTimeoutMs"]),
            (
                |o| o.ack_timeout_ms = Some(2_147_483_648.0),
                &["ackTimeoutMs"],
            ),
            (
                |o| o.session_expiry_seconds = Some(4_294_967_296.0),
                &["sessionExpirySeconds"],
            ),
            (|o| o.queue_max_messages = Some(0.0), &["queue.maxMessages"]),
            (
                |o| o.queue_max_messages = Some(8_388_608.0),
                &["queue.maxMessages"],
            ),
            (|o| o.queue_max_bytes = Some(1e15), &["queue.maxBytes"]),
            (
                |o| o.receive_max_messages = Some(65_536.0),
                &["receive.maxMessages"],
            ),
            (|o| o.receive_max_bytes = Some(0.0), &["receive.maxBytes"]),
        ],
    );
}

#[test]
fn a_version_that_does_not_exist() {
    assert_refused(
        Code::InvalidOption,
        &[
            (
                |o| o.mqtt_version = Some(4.0),
                &["mqttVersion", "for MQTT 3.1.1 write 3"],
            ),
            (|o| o.mqtt_version = Some(3.1), &["mqttVersion", "3.1"]),
            (|o| o.mqtt_version = Some(f64::NAN), &["mqttVersion"]),
        ],
    );
}

#[test]
fn a_client_id_that_cannot_be() {
    assert_refused(
        Code::InvalidOption,
        &[
            (
                |o| o.client_id = Some("x".repeat(129)),
                &["clientId", "129 bytes", "128"],
            ),
            (
                |o| o.client_id = Some("é".repeat(65)),
                &["clientId", "130 bytes"],
            ),
            (|o| o.client_id = text("a\0b"), &["clientId", "NUL"]),
            (
                |o| o.clean_session = Some(false),
                &["clientId", "cleanSession: false"],
            ),
            (
                |o| {
                    o.clean_session = Some(false);
                    o.client_id = text("");
                },
                &["clientId", "cleanSession: false"],
            ),
        ],
    );
}

#[test]
fn names_that_mean_nothing() {
    assert_refused(
        Code::InvalidOption,
        &[
            (|o| o.limits = text("aws"), &["limits", "'aws-iot-core'"]),
            (|o| o.log_level = text("loud"), &["logLevel", "trace"]),
        ],
    );
}

/// PEM that holds `der` as a certificate.
fn certificate_of(der: &[u8]) -> Vec<u8> {
    let body = BASE64_STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n").into_bytes()
}

#[test]
fn authorities_that_cannot_be_read() {
    assert_refused(
        Code::InvalidOption,
        &[
            (
                |o| o.tls.ca_file = text("/does/not/exist.pem"),
                &["tls.caFile", "/does/not/exist.pem", "cannot be read"],
            ),
            (
                // A file that is there, and is no PEM.
                |o| o.tls.ca_file = text(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")),
                &["tls.caFile", "no certificate"],
            ),
            (
                |o| o.tls.ca = vec![Vec::new()],
                &["tls.ca", "no certificate"],
            ),
            (
                |o| o.tls.ca = vec![SECRET.into()],
                &["tls.ca", "no certificate"],
            ),
            (
                // A key in place of a certificate.
                |o| o.tls.ca = vec![include_bytes!("../authorizer/fixtures/ec.pem").into()],
                &["tls.ca", "no certificate"],
            ),
            (
                |o| {
                    o.tls.ca =
                        vec![b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n".into()]
                },
                &["tls.ca", "not valid PEM"],
            ),
            (
                |o| o.tls.ca = vec![certificate_of(b"nothing of the kind")],
                &["tls.ca", "cannot be read"],
            ),
            (
                // One good one does not excuse the other.
                |o| {
                    o.tls.ca = vec![
                        include_bytes!("../authorizer/fixtures/certificate.pem").into(),
                        Vec::new(),
                    ];
                },
                &["tls.ca", "no certificate"],
            ),
        ],
    );
}

#[test]
fn credentials_that_contradict_each_other() {
    assert_refused(
        Code::InvalidOption,
        &[
            (
                |o| {
                    o.credentials.username = text("u?x-amz-customauthorizer-name=A");
                    o.credentials.authorizer_name = text("B");
                },
                &["authorizerName"],
            ),
            (
                |o| {
                    o.mqtt_version = Some(3.0);
                    o.credentials.password = Some(SECRET.into());
                },
                &["password", "MQTT 3.1.1"],
            ),
            (
                |o| {
                    o.credentials.token_key_name = text("key");
                    o.credentials.token_value = text(SECRET);
                    o.credentials.token_signature = text("s3cr3t!!");
                },
                &["tokenSignature", "base64"],
            ),
            (
                |o| {
                    o.credentials.token_key_name = text("key");
                    o.credentials.token_value = text(SECRET);
                    o.credentials.token_signing_key =
                        Some(include_bytes!("../authorizer/fixtures/ec.pem").into());
                },
                &["tokenSigningKey", "RSA"],
            ),
        ],
    );
}

#[test]
fn a_token_of_which_something_is_missing() {
    assert_refused(
        Code::IncompleteToken,
        &[
            (
                |o| o.credentials.token_value = text(SECRET),
                &["tokenKeyName", "tokenSignature"],
            ),
            (
                |o| {
                    o.credentials.token_value = text(SECRET);
                    o.credentials.token_key_name = text("key");
                },
                &["tokenSignature"],
            ),
            (
                |o| o.credentials.token_signature = text(SECRET),
                &["tokenKeyName", "tokenValue"],
            ),
        ],
    );
}

#[test]
fn what_is_not_given_has_the_default_of_the_contract() {
    let options = valid(|_| {});
    assert_eq!(options.port, 443);
    assert_eq!(options.version, Version::V5);
    assert_eq!(options.keep_alive_seconds, 60);
    assert_eq!(options.ping_timeout, Duration::from_secs(10));
    assert_eq!(options.connect_timeout, Duration::from_secs(30));
    assert_eq!(options.ack_timeout, Duration::from_secs(60));
    assert!(options.clean_session);
    assert_eq!(options.session_expiry_seconds, 3_600);
    assert_eq!(
        (options.queue.messages, options.queue.bytes),
        (10_000, 64 << 20)
    );
    assert_eq!(
        (options.receive.messages, options.receive.bytes),
        (1_000, 16 << 20)
    );
    assert_eq!(options.limits.payload_bytes, 128 * 1024);
    assert_eq!(options.log_level, None);
    assert!(options.tls.profile.roots == Roots::System(SystemStore::default()));
}

#[test]
fn the_edges_of_each_range_are_within_it() {
    let options = valid(|o| {
        o.port = Some(65_535.0);
        o.keep_alive_seconds = Some(30.0);
        o.client_id = Some("x".repeat(128));
        o.receive_max_messages = Some(65_535.0);
    });
    assert_eq!(options.port, 65_535);
    assert_eq!(
        valid(|o| o.keep_alive_seconds = Some(1_200.0)).keep_alive_seconds,
        1_200
    );
    let unlimited = valid(|o| {
        o.limits = text("none");
        o.keep_alive_seconds = Some(0.0);
    });
    assert_eq!(unlimited.keep_alive_seconds, 0);
}

#[test]
fn a_client_id_is_made_where_none_is_given() {
    let made = valid(|_| {}).client_id;
    let parts: Vec<usize> = made.split('-').map(str::len).collect();
    assert_eq!(parts, [6, 8, 4, 4, 4, 12], "{made}");
    // The version and the variant of a random UUID.
    assert_eq!(made.as_bytes()[21], b'4', "{made}");
    assert!(b"89ab".contains(&made.as_bytes()[26]), "{made}");
    assert_ne!(made, valid(|_| {}).client_id);
}

#[test]
fn authorities_from_text_and_file_count_together() {
    let options = valid(|o| {
        let file = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/src/authorizer/fixtures/certificate.pem"
        );
        o.tls.ca = vec![include_bytes!("../authorizer/fixtures/certificate.pem").into()];
        o.tls.ca_file = text(file);
    });
    let Roots::Only(certificates) = options.tls.profile.roots else {
        panic!("the system's")
    };
    assert_eq!(certificates.len(), 2);
}

#[test]
fn connections_that_trust_the_same_authorities_hold_one_list_of_them() {
    const CERTIFICATE: &[u8] = include_bytes!("../authorizer/fixtures/certificate.pem");
    let list = || match valid(|o| o.tls.ca = vec![CERTIFICATE.into()])
        .tls
        .profile
        .roots
    {
        Roots::Only(certificates) => certificates,
        Roots::System(_) => panic!("the system's"),
    };
    let first = list();
    assert!(Arc::ptr_eq(&first, &list()));
    let two = valid(|o| o.tls.ca = vec![CERTIFICATE.into(), CERTIFICATE.into()]);
    assert!(matches!(two.tls.profile.roots, Roots::Only(other) if other.len() == 2));
}

#[test]
fn a_log_level_takes_what_is_graver_too() {
    assert_eq!(
        valid(|o| o.log_level = text("warn")).log_level,
        Some(Level::Warn)
    );
    assert_eq!(valid(|o| o.log_level = text("none")).log_level, None);
    assert!(Level::Error < Level::Warn);
    for name in Level::NAMES {
        let mut options = options(|_| {});
        options.log_level = text(name);
        let level = options.validate().ok().and_then(|valid| valid.log_level);
        assert_eq!(level.map(Level::as_str), Some(name));
    }
}

#[test]
fn a_bound_of_the_delay_that_was_not_given_gives_way_to_the_other() {
    let short = valid(|options| options.reconnect.max_delay_ms = Some(500.0)).reconnect;
    assert_eq!(short.min_delay, Duration::from_millis(500));
    let long = valid(|options| options.reconnect.min_delay_ms = Some(500_000.0)).reconnect;
    assert_eq!(long.max_delay, Duration::from_secs(500));
}

#[test]
fn nothing_to_log_in_with() {
    let words = "nothing to log in with is given";
    let of_aws = |change: Change| {
        let mut given = options(change);
        given.endpoint = "abc-ats.iot.eu-west-1.amazonaws.com".to_owned();
        match given.validate() {
            Ok(options) => options,
            Err(failure) => panic!("{failure}"),
        }
    };
    let login = |change: Change| of_aws(change).login.warnings.concat();
    assert!(login(|_| {}).starts_with(words));
    // Another broker may want nothing.
    assert!(valid(|_| {}).login.warnings.is_empty());
    let websocket: Change = |o| o.transport = text("websocket");
    assert!(login(websocket).starts_with(words));
    let changes: [Change; 4] = [
        |o| o.credentials.authorizer_name = text("Fleet"),
        |o| o.credentials.username = text("me"),
        |o| o.credentials.password = Some(b"p".to_vec()),
        |o| {
            o.transport = text("websocket");
            o.websocket = Some(WebSocketOptions {
                path: text("/mqtt?key=v"),
                ..WebSocketOptions::default()
            });
        },
    ];
    for (index, change) in changes.into_iter().enumerate() {
        assert_eq!(login(change), "", "{index}");
    }
    // It is the host that is asked.
    let asking = of_aws(|o| o.asks_credentials = true);
    assert!(asking.login.warnings.is_empty());
    let (_, login) = asking.answered(1, Ok(Credentials::default())).ok().unwrap();
    assert!(login.warnings.concat().starts_with(words));
}
