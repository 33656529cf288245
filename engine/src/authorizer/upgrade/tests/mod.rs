mod headers;
mod query;
mod random;

use super::*;
use crate::{
    authorizer::{Credentials, Login},
    error::{Code, Failure, Stage},
    wire::Version::{V5, V311},
};

const NAME: &str = "x-amz-customauthorizer-name";
const SIGNATURE: &str = "x-amz-customauthorizer-signature";
const JWT: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJk-_0ifQ.c2ln-_0";

fn websocket(credentials_in: Carrier) -> WebSocket {
    WebSocket {
        path: "/mqtt".to_owned(),
        credentials_in,
        headers: Vec::new(),
    }
}

fn at(path: &str) -> WebSocket {
    WebSocket {
        path: path.to_owned(),
        ..websocket(Carrier::Query)
    }
}

fn with_headers(headers: &[(&str, &str)]) -> WebSocket {
    WebSocket {
        headers: owned(headers),
        ..websocket(Carrier::Headers)
    }
}

fn owned(headers: &[(&str, &str)]) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn named(name: &str) -> Credentials {
    Credentials {
        authorizer_name: text(name),
        ..Credentials::default()
    }
}

fn signed(key: &str, token: &str, signature: &str) -> Credentials {
    Credentials {
        token_key_name: text(key),
        token_value: text(token),
        token_signature: text(signature),
        ..Credentials::default()
    }
}

fn full() -> Credentials {
    Credentials {
        username: text("thermostat-7"),
        password: Some(b"p4ss".to_vec()),
        authorizer_name: text("FleetAuth"),
        ..signed("tok", JWT, "mK1/z+==")
    }
}

fn login(credentials: &Credentials, websocket: &WebSocket) -> Login {
    match credentials.compose(V5, Some(websocket)) {
        Ok(login) => login,
        Err(failure) => panic!("{failure:?}"),
    }
}

/// Of credentials that cause no warning.
fn upgrade(credentials: &Credentials, websocket: &WebSocket) -> Upgrade {
    let login = login(credentials, websocket);
    assert!(login.warnings.is_empty(), "{:?}", login.warnings);
    login.upgrade.expect("a request")
}

fn target(credentials: &Credentials, path: &str) -> String {
    upgrade(credentials, &at(path)).target
}

/// A refusal that quotes nothing.
fn refusal(credentials: &Credentials, websocket: &WebSocket) -> Failure {
    let Err(failure) = credentials.compose(V5, Some(websocket)) else {
        panic!("accepted")
    };
    assert_eq!(failure.code(), Code::InvalidOption, "{failure:?}");
    assert_eq!(failure.stage(), Stage::Options, "{failure:?}");
    assert!(!format!("{failure:?}").contains("s3cr3t"), "{failure:?}");
    failure
}

fn assert_in_connect(login: &Login) {
    assert_eq!(login.user_name.as_deref(), Some("thermostat-7"));
    assert_eq!(login.password.as_deref(), Some(&b"p4ss"[..]));
}

#[test]
fn the_carrier_connect_leaves_the_request_to_the_caller() {
    let websocket = WebSocket {
        path: "/mqtt?a=b?c".to_owned(),
        headers: owned(&[("X-Mine", "1"), (NAME, "Other")]),
        ..websocket(Carrier::Connect)
    };
    let login = login(&full(), &websocket);
    assert!(login.user_name.unwrap().contains(NAME));
    let upgrade = login.upgrade.unwrap();
    assert_eq!(upgrade.target, websocket.path);
    assert_eq!(upgrade.headers, websocket.headers);
}

#[test]
fn mqtt_over_tls_has_no_request() {
    assert!(full().compose(V5, None).unwrap().upgrade.is_none());
}

#[test]
fn query_and_headers_leave_user_name_and_password_in_connect() {
    for carrier in [Carrier::Query, Carrier::Headers] {
        assert_in_connect(&login(&full(), &websocket(carrier)));
    }
}

/// The authorizer's name is no part of the user name here.
#[test]
fn a_password_needs_a_user_name_in_3_1_1_whatever_travels_in_the_request() {
    let credentials = Credentials {
        username: None,
        ..full()
    };
    for carrier in [Carrier::Query, Carrier::Headers] {
        let Err(failure) = credentials.compose(V311, Some(&websocket(carrier))) else {
            panic!("accepted")
        };
        assert!(failure.message().starts_with("password is given without"));
        assert!(!failure.hint().contains("authorizerName"), "{failure:?}");
        assert!(failure.hint().contains("Set username"), "{failure:?}");
    }
}
