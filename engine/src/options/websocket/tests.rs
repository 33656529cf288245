use super::*;
use crate::{
    error::Code,
    options::{ConnectOptions, Options},
};

fn validate(
    path: Option<&str>,
    credentials_in: Option<&str>,
    headers: &[(&str, &str)],
) -> Result<Options> {
    ConnectOptions {
        endpoint: "iot.example".to_owned(),
        transport: Some("websocket".to_owned()),
        websocket: Some(WebSocketOptions {
            path: path.map(str::to_owned),
            credentials_in: credentials_in.map(str::to_owned),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }),
        ..ConnectOptions::default()
    }
    .validate()
}

/// The message of a refusal that quotes no value.
fn refusal(validated: Result<Options>) -> String {
    let Err(failure) = validated else {
        panic!("accepted")
    };
    assert_eq!(failure.code(), Code::InvalidOption, "{failure:?}");
    assert!(!format!("{failure:?}").contains("s3cr3t"), "{failure:?}");
    failure.message().to_owned()
}

#[test]
fn the_default_is_mqtt_with_everything_in_connect() {
    let websocket = validate(None, None, &[]).ok().unwrap().websocket.unwrap();
    assert_eq!(websocket.path, "/mqtt");
    assert_eq!(websocket.credentials_in, Carrier::Connect);
    assert!(websocket.headers.is_empty());
}

#[test]
fn the_options_of_websocket_belong_to_its_transport() {
    for transport in [None, Some("tls")] {
        let options = ConnectOptions {
            endpoint: "iot.example".to_owned(),
            transport: transport.map(str::to_owned),
            websocket: Some(WebSocketOptions::default()),
            ..ConnectOptions::default()
        };
        assert!(refusal(options.validate()).contains("transport is 'tls'"));
    }
    let options = ConnectOptions {
        endpoint: "iot.example".to_owned(),
        transport: Some("wss".to_owned()),
        ..ConnectOptions::default()
    };
    assert!(refusal(options.validate()).contains("'tls' or 'websocket'"));
}

#[test]
fn paths_that_a_request_line_can_hold() {
    for path in ["/", "/mqtt", "/a/b?c=d&e=%20", "/?q=?'", "/~a!$&'()*+,;=:@"] {
        let websocket = validate(Some(path), None, &[]).ok().unwrap().websocket;
        assert_eq!(websocket.unwrap().path, path);
    }
    assert!(validate(Some(&format!("/{}", "x".repeat(8_191))), None, &[]).is_ok());
}

#[test]
fn paths_that_no_request_line_can_hold() {
    for (path, word) in [
        ("", "begin with '/'"),
        ("mqtt?s3cr3t", "begin with '/'"),
        ("wss://h/mqtt?s3cr3t", "begin with '/'"),
        ("/a b?s3cr3t", "white space"),
        ("/?s3cr3t\r\nX: y", "white space"),
        ("/?s3cr3t\0", "control character"),
        ("/?s3cr3tä", "beyond ASCII"),
        ("/?s3cr3t#a", "'#'"),
        (&format!("/?s3cr3t{}", "x".repeat(8_192)), "at most 8192"),
    ] {
        let message = refusal(validate(Some(path), None, &[]));
        assert!(message.starts_with("websocket.path"), "{message}");
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn carriers_by_their_names() {
    for (name, carrier) in [
        ("connect", Carrier::Connect),
        ("query", Carrier::Query),
        ("headers", Carrier::Headers),
    ] {
        let websocket = validate(None, Some(name), &[]).ok().unwrap().websocket;
        assert_eq!(websocket.unwrap().credentials_in, carrier);
    }
    let message = refusal(validate(None, Some("Query"), &[]));
    assert!(message.contains("websocket.credentialsIn"), "{message}");
}

#[test]
fn headers_that_can_be_written() {
    let long = "x".repeat(8_192);
    for header in [
        ("Host", "other.example"),
        ("X-Token", "a b\tc:~\"<>"),
        ("!#$%&'*+-.^_`|~09Az", "1"),
        ("Empty", ""),
        ("Long", &long),
    ] {
        let websocket = validate(None, None, &[header]).ok().unwrap().websocket;
        let given = (header.0.to_owned(), header.1.to_owned());
        assert_eq!(websocket.unwrap().headers, [given]);
    }
}

#[test]
fn names_that_no_header_has() {
    for name in [
        "", "a b", "a:", "a\r\nb", "a\0", "ä", "a\"", "a/b", "(a)", " a",
    ] {
        let message = refusal(validate(None, None, &[(name, "s3cr3t")]));
        assert!(message.contains("no valid name of a header"), "{message}");
        assert!(!message.contains(['\r', '\n', '\0']), "{message:?}");
    }
}

#[test]
fn values_that_no_header_has() {
    let long = format!("s3cr3t{}", "x".repeat(8_192));
    for (value, word) in [
        ("s3cr3t\r\nX: y", "line break"),
        ("s3cr3t\n", "line break"),
        ("s3cr3t\0", "control character"),
        ("s3cr3t\u{7f}", "control character"),
        ("s3cr3tä", "beyond ASCII"),
        (" s3cr3t", "white space"),
        ("s3cr3t\t", "white space"),
        (&long, "at most 8192"),
    ] {
        let message = refusal(validate(None, None, &[("X-Token", value)]));
        assert!(message.contains("X-Token"), "{message}");
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn headers_that_the_handshake_sets_itself() {
    for name in [
        "Connection",
        "UPGRADE",
        "content-length",
        "Transfer-Encoding",
        "Sec-WebSocket-Key",
        "sec-websocket-version",
        "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Extensions",
        "Sec-WebSocket-Accept",
    ] {
        let message = refusal(validate(None, None, &[(name, "s3cr3t")]));
        assert!(message.contains(name), "{message}");
        assert!(message.contains("sets itself"), "{message}");
    }
}

#[test]
fn a_header_comes_once_whatever_its_case() {
    let headers = [("X-A", "s3cr3t"), ("X-B", "1"), ("x-a", "s3cr3t")];
    let message = refusal(validate(None, None, &headers));
    assert!(message.contains("x-a twice"), "{message}");
}
