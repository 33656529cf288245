use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio_tungstenite::{
    accept_hdr_async,
    tungstenite::handshake::server::{ErrorResponse, Request, Response as ServerResponse},
};

use super::*;
use crate::testing::options;

fn upgrade(target: &str, headers: &[(&str, &str)]) -> Upgrade {
    Upgrade {
        target: target.to_owned(),
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

/// What is requested, and what comes of an answer, which is made from the right value of `Sec-WebSocket-Accept`. Then
/// the server closes.
async fn play(
    upgrade: &Upgrade,
    options: &Options,
    answer: impl FnOnce(&str) -> Vec<u8>,
) -> (String, Result<WebSocket<DuplexStream>>) {
    let (near, mut far) = duplex(100_000);
    let server = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(far.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        far.write_all(&answer(&derive_accept_key(key_of(&head).as_bytes())))
            .await
            .unwrap();
        drop(far);
        head
    };
    let (opened, request) = tokio::join!(open(near, upgrade, options, "iot.example:443"), server);
    (request, opened)
}

fn key_of(request: &str) -> &str {
    let (_, rest) = request.split_once("Sec-WebSocket-Key: ").unwrap();
    rest.split_once("\r\n").unwrap().0
}

fn accepting(accept: &str) -> Vec<u8> {
    good(accept).join("\r\n").into_bytes()
}

/// The lines of an answer that opens.
fn good(accept: &str) -> Vec<String> {
    [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        &format!("Sec-WebSocket-Accept: {accept}"),
        "Sec-WebSocket-Protocol: mqtt",
        "",
        "",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// The failure over an answer to a plain request.
async fn refusal(answer: impl FnOnce(&str) -> Vec<u8>) -> Failure {
    refusal_of(&upgrade("/mqtt", &[]), answer).await
}

async fn refusal_of(upgrade: &Upgrade, answer: impl FnOnce(&str) -> Vec<u8>) -> Failure {
    let (_, opened) = play(upgrade, &options(|_| {}), answer).await;
    let failure = opened.err().expect("a refusal");
    let seen = (failure.code(), failure.stage());
    assert_eq!(seen, (Code::WebSocket, Stage::WebSocket), "{failure:?}");
    assert!(!failure.hint().is_empty(), "{failure:?}");
    failure
}

/// The request with the key left out.
async fn request_of(upgrade: &Upgrade, options: &Options) -> String {
    let (request, opened) = play(upgrade, options, accepting).await;
    opened.unwrap();
    request.replace(key_of(&request), "KEY")
}

#[tokio::test]
async fn a_websocket_is_requested() {
    let request = request_of(&upgrade("/mqtt?a=b", &[]), &options(|_| {})).await;
    let wanted = "GET /mqtt?a=b HTTP/1.1\r\nHost: iot.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: KEY\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
    assert_eq!(request, wanted);
}

#[tokio::test]
async fn headers_of_the_caller_follow_and_the_host_s_replaces_ours() {
    let upgrade = upgrade("/", &[("X-A", "b c"), ("hOst", "other:1"), ("x", "")]);
    let request = request_of(&upgrade, &options(|_| {})).await;
    let wanted = "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: KEY\r\nSec-WebSocket-Protocol: mqtt\r\nX-A: b c\r\nhOst: other:1\r\nx: \r\n\r\n";
    assert_eq!(request, wanted);
}

#[tokio::test]
async fn the_host_is_the_name_that_tls_asks_for_with_any_port_but_443() {
    for (endpoint, server_name, port, wanted) in [
        ("iot.example", None, 443, "iot.example"),
        ("iot.example", None, 8_443, "iot.example:8443"),
        ("192.0.2.1", Some("other.example"), 443, "other.example"),
        ("192.0.2.1", Some("other.example"), 1, "other.example:1"),
        ("2001:db8::1", None, 443, "[2001:db8::1]:443"),
        ("2001:db8::1", None, 444, "[2001:db8::1]:444"),
    ] {
        let options = options(|options| {
            options.endpoint = endpoint.to_owned();
            options.port = Some(port.into());
            options.tls.server_name = server_name.map(str::to_owned);
        });
        let request = request_of(&upgrade("/mqtt", &[]), &options).await;
        let host = format!("\r\nHost: {wanted}\r\n");
        assert!(request.contains(&host), "{request}");
    }
}

#[tokio::test]
async fn each_request_has_a_key_of_its_own() {
    let (upgrade, options) = (upgrade("/", &[]), options(|_| {}));
    let (first, _) = play(&upgrade, &options, accepting).await;
    let (second, _) = play(&upgrade, &options, accepting).await;
    assert_eq!(key_of(&first).len(), 24);
    assert_ne!(key_of(&first), key_of(&second));
}

#[tokio::test]
async fn a_server_of_the_crate_agrees() {
    let (near, far) = duplex(1_000);
    // What such a callback gives back is the crate's choice.
    #[allow(clippy::result_large_err)]
    let callback = |request: &Request,
                    mut response: ServerResponse|
     -> std::result::Result<ServerResponse, ErrorResponse> {
        let protocol = request.headers()["sec-websocket-protocol"].clone();
        response
            .headers_mut()
            .insert("sec-websocket-protocol", protocol);
        Ok(response)
    };
    let (upgrade, options) = (upgrade("/mqtt", &[]), options(|_| {}));
    let (opened, accepted) = tokio::join!(
        open(near, &upgrade, &options, "iot.example:443"),
        accept_hdr_async(far, callback)
    );
    accepted.unwrap();
    opened.unwrap();
}

#[tokio::test]
async fn answers_that_open() {
    let changes: [(&str, &str); 6] = [
        ("", ""),
        (
            "Sec-WebSocket-Protocol: mqtt",
            "sec-websocket-protocol:mqttv3.1",
        ),
        ("Connection: Upgrade", "connection: keep-alive, upgrade"),
        (
            "Connection: Upgrade",
            "Connection: keep-alive\r\nConnection: Upgrade",
        ),
        ("Upgrade: websocket", "upgrade: WebSocket"),
        (" 101 Switching Protocols", " 101"),
    ];
    for (from, to) in changes {
        let answer = |accept: &str| good(accept).join("\r\n").replace(from, to).into_bytes();
        let (_, opened) = play(&upgrade("/", &[]), &options(|_| {}), answer).await;
        opened.map(|_| ()).expect(to);
    }
}

#[tokio::test]
async fn a_frame_that_comes_with_the_answer_is_not_lost() {
    let answer = |accept: &str| [&accepting(accept)[..], b"\x82\x02hi"].concat();
    let (_, opened) = play(&upgrade("/", &[]), &options(|_| {}), answer).await;
    let mut read = Vec::new();
    opened.unwrap().read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"hi");
}

#[tokio::test]
async fn answers_of_101_that_open_nothing() {
    const NO_UPGRADE: &str = "its answer does not say that it upgrades to websocket";
    const KEY: &str = "the key in its answer does not belong to the request";
    for (from, to, what) in [
        ("Upgrade: websocket", "A: b", NO_UPGRADE),
        ("Upgrade: websocket", "Upgrade: h2c", NO_UPGRADE),
        ("Connection: Upgrade", "A: b", NO_UPGRADE),
        ("Connection: Upgrade", "Connection: close", NO_UPGRADE),
        ("Sec-WebSocket-Accept", "A", KEY),
        ("Accept: ", "Accept: x", KEY),
        (
            "Sec-WebSocket-Protocol: mqtt",
            "A: b",
            "it does not speak the protocol `mqtt`",
        ),
        (
            "Protocol: mqtt",
            "Protocol: wamp",
            "it selected another protocol than `mqtt`",
        ),
        (
            "Protocol: mqtt",
            "Protocol: mqtt, mqttv3.1",
            "it selected another protocol than `mqtt`",
        ),
        (
            "Connection",
            "Sec-WebSocket-Extensions: permessage-deflate\r\nConnection",
            "it uses an extension that was not offered",
        ),
    ] {
        let failure = refusal(|accept| {
            let answer = good(accept).join("\r\n");
            assert!(answer.contains(from));
            answer.replace(from, to).into_bytes()
        })
        .await;
        let message = format!("iot.example:443 opened no WebSocket: {what}");
        assert_eq!(failure.message(), message, "{to}");
        assert!(failure.hint().contains("websocket.path"), "{failure:?}");
    }
}

#[tokio::test]
async fn a_refusal_names_status_and_body() {
    for (answer, shown) in [
        ("401 Unauthorized\r\n\r\n", "401 Unauthorized"),
        (
            "403 Forbidden\r\nContent-Length: 29\r\n\r\n{\"message\":\r\n\"not \tallowed\"}\0more",
            "403 Forbidden: {\"message\": \"not allowed\"}",
        ),
        ("200 OK\r\n\r\n<html>", "200 OK: <html>"),
        ("301 Moved\r\nLocation: /x\r\n\r\ngone", "301 Moved: gone"),
        ("404\r\n\r\n", "404"),
    ] {
        let failure = refusal(|_| format!("HTTP/1.1 {answer}").into_bytes()).await;
        let message =
            format!("iot.example:443 answered the request for a WebSocket with HTTP {shown}");
        assert_eq!(failure.message(), message);
    }
}

#[tokio::test]
async fn a_refusal_that_repeats_a_credential_does_not_get_it_into_the_failure() {
    let upgrade = upgrade(
        "/mqtt?key=tok%2Fen-42&signature=aGVsbG8%3D&bare-value&x=p%C3%A4s",
        &[("X-Token", "header value"), ("X-Short", "a&b")],
    );
    for said in [
        "tok%2Fen-42",
        "tok/en-42",
        "aGVsbG8=",
        "aGVsbG8%3D",
        "bare-value",
        "päs",
        "p%c3%a4s",
        "header value",
        "header+value",
        "a&b",
        "a%26b",
        "a&amp;b",
    ] {
        for answer in [
            format!("HTTP/1.1 403 {said}\r\n\r\nbad {said}!"),
            format!("HTTP/1.1 403 \r\nA: {said}\r\n\r\n{said}"),
            format!("{said}\r\n\r\n"),
            format!("HTTP/1.1 101 {said}\r\nSec-WebSocket-Protocol: {said}\r\n\r\n{said}"),
        ] {
            let failure = refusal_of(&upgrade, |_| answer.into_bytes()).await;
            let shown = format!("{failure:?}");
            assert!(!shown.contains(said), "{shown}");
        }
    }
}

#[tokio::test]
async fn the_names_of_parameters_do_not_hide_what_a_server_says() {
    let upgrade = upgrade("/mqtt?x-token-name=42abc", &[("X-Header-Name", "43abc")]);
    let answer = b"HTTP/1.1 403 No\r\n\r\nno x-token-name, no X-Header-Name, no /mqtt";
    let failure = refusal_of(&upgrade, |_| answer.to_vec()).await;
    let end = "HTTP 403 No: no x-token-name, no X-Header-Name, no /mqtt";
    assert!(failure.message().ends_with(end), "{failure}");
}

#[tokio::test]
async fn a_server_that_speaks_no_http() {
    let failure = refusal(|_| b"\x20\x02\0\x05".to_vec()).await;
    let end = " answered the request for a WebSocket with something that is no HTTP";
    assert!(failure.message().ends_with(end), "{failure}");
}

#[tokio::test]
async fn a_server_whose_headers_have_no_end() {
    let failure = refusal(|_| [b"HTTP/1.1 101 OK\r\nA: ", &[b'a'; 20_000][..]].concat()).await;
    let end = " answered the request for a WebSocket with headers without end";
    assert!(failure.message().ends_with(end), "{failure}");
}

#[tokio::test]
async fn a_server_that_closes_without_an_answer() {
    for answer in ["", "HTTP/1.1 101 OK\r\n"] {
        let failure = refusal(|_| answer.as_bytes().to_vec()).await;
        let end = " closed the connection without an answer to the request for a WebSocket";
        assert!(failure.message().ends_with(end), "{failure}");
    }
}

#[tokio::test]
async fn a_server_that_takes_no_request_may_still_say_why() {
    let (near, mut far) = duplex(1_000);
    far.write_all(b"HTTP/1.1 503 Busy\r\n\r\n").await.unwrap();
    drop(far);
    let opened = open(
        near,
        &upgrade("/", &[]),
        &options(|_| {}),
        "iot.example:443",
    )
    .await;
    let failure = opened.err().unwrap();
    assert!(failure.message().ends_with("HTTP 503 Busy"), "{failure}");
}
