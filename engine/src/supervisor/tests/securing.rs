use std::{future::Future, sync::Arc};

use rcgen::CertificateParams;
use rustls::{
    HandshakeKind::{Full, Resumed},
    ServerConfig,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpStream,
    sync::mpsc::unbounded_channel,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::kit::{assert_failure, reconnecting, refused_by, start};
use crate::{
    error::{Code, Failure, Stage},
    options::{ConnectOptions, ProxyOptions},
    testing::{Authority, Endpoint, server::CONNACK},
};

const DEFAULT_ENDPOINT: &str = "abc-ats.iot.eu-west-1.amazonaws.com";

fn list(names: &[&str]) -> Option<Vec<String>> {
    Some(names.iter().map(|name| (*name).to_owned()).collect())
}

/// A proxy that lets through to a server of its own, whose name needs no DNS so.
async fn behind_proxy<F: Future<Output = ()> + Send>(
    config: Arc<ServerConfig>,
    play: impl FnOnce(TlsStream<BufReader<TcpStream>>) -> F + Send + 'static,
) -> Endpoint {
    Endpoint::tcp(async move |stream| {
        let mut stream = BufReader::new(stream);
        read_head(&mut stream).await;
        let opened = b"HTTP/1.1 200 Connection established\r\n\r\n";
        stream.write_all(opened).await.unwrap();
        if let Ok(stream) = TlsAcceptor::from(config).accept(stream).await {
            play(stream).await;
        }
    })
    .await
}

/// The lines of a request up to the empty one.
async fn read_head(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        match line.trim_end() {
            "" => return lines,
            line => lines.push(line.to_owned()),
        }
    }
}

/// What is told where one of IoT Core's own endpoints, as far as its name goes, closes after CONNECT.
async fn closed_by_default_endpoint(
    issuer: &str,
    alpn: &[&str],
    change: impl FnOnce(&mut ConnectOptions),
) -> Failure {
    let authority = Authority::named(issuer);
    let config = authority.server_config(alpn, |params| {
        *params = CertificateParams::new(vec![DEFAULT_ENDPOINT.to_owned()]).unwrap();
    });
    let proxy = behind_proxy(config, async |mut stream| {
        let _connect = stream.read_u8().await;
    })
    .await;
    let running = start(443, &authority, |options| {
        options.endpoint = DEFAULT_ENDPOINT.to_owned();
        options.proxy = Some(ProxyOptions {
            scheme: "http".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: Some(proxy.port.into()),
            ..ProxyOptions::default()
        });
        change(options);
    });
    running.failure().await
}

#[tokio::test]
async fn a_default_endpoint_that_does_not_select_mqtt_closes_over_that() {
    for offered in [None, list(&["x-amzn-mqtt-ca"]), list(&[])] {
        let failure = closed_by_default_endpoint("authority", &[], |options| {
            options.tls.alpn_protocols = offered;
        })
        .await;
        assert_failure(&failure, Code::Alpn, Stage::Connack);
    }
}

#[tokio::test]
async fn a_default_endpoint_that_selects_mqtt_closes_over_something_else() {
    let failure = closed_by_default_endpoint("authority", &["mqtt"], |_| {}).await;
    assert_failure(&failure, Code::ClosedBeforeConnack, Stage::Connack);
}

#[tokio::test]
async fn where_alpn_is_lost_the_hint_says_who_has_issued_the_certificate() {
    for (issuer, foreign) in [("Corp Inspection CA", true), ("Amazon RSA 2048 M01", false)] {
        let failure = closed_by_default_endpoint(issuer, &[], |_| {}).await;
        let hint = failure.hint();
        assert!(hint.contains(&format!("issued by CN={issuer}.")), "{hint}");
        assert_eq!(hint.contains("That is not Amazon"), foreign, "{hint}");
        assert!(hint.starts_with("A custom authorizer over MQTT"), "{hint}");
    }
}

#[tokio::test]
async fn a_custom_domain_that_was_offered_mqtt_closes_over_that() {
    for offered in [None, list(&["other", "mqtt"])] {
        let failure = refused_by(
            &["other"][..usize::from(offered.is_some())],
            |options| options.tls.alpn_protocols = offered,
            async |mut server| server.answer(&[]).await,
        )
        .await;
        assert_failure(&failure, Code::Alpn, Stage::Connack);
        assert!(failure.hint().contains("issued by CN=authority"));
    }
}

#[tokio::test]
async fn a_custom_domain_that_was_not_offered_mqtt_closes_over_something_else() {
    for offered in [&[][..], &["other"]] {
        let failure = refused_by(
            &["mqtt", "other"],
            |options| options.tls.alpn_protocols = list(offered),
            async |mut server| server.answer(&[]).await,
        )
        .await;
        assert_failure(&failure, Code::ClosedBeforeConnack, Stage::Connack);
    }
}

/// Opens the WebSocket, waits for CONNECT and closes.
async fn close_websocket(stream: TlsStream<impl AsyncRead + AsyncWrite + Unpin>) {
    let mut stream = BufReader::new(stream);
    let head = read_head(&mut stream).await;
    let key = head
        .iter()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))
        .unwrap();
    let accept = derive_accept_key(key.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let _connect = stream.read_u8().await;
}

#[tokio::test]
async fn over_websocket_a_close_is_never_about_alpn() {
    for endpoint in [DEFAULT_ENDPOINT, "iot.example"] {
        let authority = Authority::new();
        let config = authority.server_config(&[], |params| {
            *params = CertificateParams::new(vec![endpoint.to_owned()]).unwrap();
        });
        let proxy = behind_proxy(config, close_websocket).await;
        let running = start(443, &authority, |options| {
            options.endpoint = endpoint.to_owned();
            options.transport = Some("websocket".to_owned());
            options.proxy = Some(ProxyOptions {
                scheme: "http".to_owned(),
                host: "127.0.0.1".to_owned(),
                port: Some(proxy.port.into()),
                ..ProxyOptions::default()
            });
        });
        let failure = running.failure().await;
        assert_failure(&failure, Code::ClosedBeforeConnack, Stage::Connack);
    }
}

#[tokio::test]
async fn the_next_link_resumes_the_tls_session_of_the_last() {
    let (tell, mut kinds) = unbounded_channel();
    let (running, _endpoint) = reconnecting(
        |_| {},
        async move |mut servers| {
            while let (server, _) = servers.answer(CONNACK).await
                && let Some(kind) = server.stream.get_ref().1.handshake_kind()
                && tell.send(kind).is_ok()
            {
                server.close().await;
            }
        },
    )
    .await;
    for expected in [Full, Resumed, Resumed] {
        assert_eq!(kinds.recv().await, Some(expected));
    }
    assert!(running.events.logged(", resumed"));
}

/// The name that the certificate is for is not the one that is connected to.
#[tokio::test]
async fn a_custom_domain_is_reached_by_another_name() {
    let authority = Authority::new();
    let config = authority.server_config(&["mqtt"], |params| {
        *params = CertificateParams::new(vec!["other.example".to_owned()]).unwrap();
    });
    let (tell, mut names) = unbounded_channel();
    let endpoint = Endpoint::tls(config, async move |mut stream| {
        let name = stream.get_ref().1.server_name().map(str::to_owned);
        tell.send(name).unwrap();
        let _end = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let _running = start(endpoint.port, &authority, |options| {
        options.tls.server_name = Some("other.example".to_owned());
    });
    let name = names.recv().await.expect("a handshake");
    assert_eq!(name.as_deref(), Some("other.example"));
}
