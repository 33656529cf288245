use std::time::Duration;

use rcgen::{CertificateParams, date_time_ymd};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::oneshot,
    time,
};

use super::kit::{against, assert_failure, refused_by, start};
use crate::{
    error::{Code, Failure, Stage},
    testing::{
        Authority, Endpoint, Event, packet,
        server::{CONNACK, disconnect, publish},
    },
};

const MQTT: &[&str] = &["mqtt"];

#[tokio::test]
async fn a_name_that_does_not_resolve() {
    let running = start(443, &Authority::new(), |options| {
        options.endpoint = "nothing.invalid".to_owned();
    });
    let failure = running.failure().await;
    assert_failure(&failure, Code::Dns, Stage::Dns);
    assert!(failure.message().contains("nothing.invalid"));
}

#[tokio::test]
async fn a_port_where_nobody_listens() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let failure = start(port, &Authority::new(), |_| {}).failure().await;
    assert_failure(&failure, Code::Tcp, Stage::Tcp);
    assert!(
        failure
            .message()
            .contains(&format!("localhost:{port}: 127.0.0.1:{port}: "))
    );
}

#[tokio::test]
async fn a_server_that_answers_tls_with_something_else() {
    let endpoint = Endpoint::tcp(async |mut stream| {
        let _hello = stream.read_u8().await;
        let _sent = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _closed = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let failure = start(endpoint.port, &Authority::new(), |_| {})
        .failure()
        .await;
    assert_failure(&failure, Code::Tls, Stage::Tls);
}

#[tokio::test]
async fn a_server_that_closes_during_the_handshake() {
    let endpoint = Endpoint::tcp(async |mut stream| {
        let _hello = stream.read_u8().await;
    })
    .await;
    let failure = start(endpoint.port, &Authority::new(), |_| {})
        .failure()
        .await;
    assert_failure(&failure, Code::Tls, Stage::Tls);
}

/// The failure over the certificate of a server that has the trusted authority.
async fn certificate_failure(change: impl FnOnce(&mut CertificateParams)) -> Failure {
    let authority = Authority::new();
    let config = authority.server_config(MQTT, change);
    let endpoint = Endpoint::tls(config, async |_| {}).await;
    start(endpoint.port, &authority, |_| {}).failure().await
}

#[tokio::test]
async fn a_certificate_of_an_authority_that_is_not_trusted() {
    // The second has the name of the trusted one and another key.
    for name in ["other", "authority"] {
        let config = Authority::named(name).server_config(MQTT, |_| {});
        let endpoint = Endpoint::tls(config, async |_| {}).await;
        let running = start(endpoint.port, &Authority::named("authority"), |_| {});
        let failure = running.failure().await;
        assert_failure(&failure, Code::TlsCertificate, Stage::Tls);
        assert!(failure.message().contains("authority that is not trusted"));
    }
}

#[tokio::test]
async fn without_tls_ca_the_system_decides_which_authorities_are_trusted() {
    let authority = Authority::new();
    let config = authority.server_config(MQTT, |_| {});
    let endpoint = Endpoint::tls(config, async |_| {}).await;
    let running = start(endpoint.port, &authority, |options| options.tls.ca.clear());
    let failure = running.failure().await;
    assert_failure(&failure, Code::TlsCertificate, Stage::Tls);
}

#[tokio::test]
async fn an_expired_certificate() {
    let failure = certificate_failure(|params| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    })
    .await;
    assert_failure(&failure, Code::TlsCertificate, Stage::Tls);
    assert!(failure.message().contains("has expired"));
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_yet() {
    let failure = certificate_failure(|params| {
        params.not_before = date_time_ymd(3000, 1, 1);
        params.not_after = date_time_ymd(3001, 1, 1);
    })
    .await;
    assert_failure(&failure, Code::TlsCertificate, Stage::Tls);
    assert!(failure.message().contains("is not valid yet"));
    assert!(failure.hint().contains("clock"));
}

#[tokio::test]
async fn a_certificate_for_another_name() {
    let failure = certificate_failure(|params| {
        *params = CertificateParams::new(vec!["other.example".to_owned()]).unwrap();
    })
    .await;
    assert_failure(&failure, Code::TlsCertificate, Stage::Tls);
    assert!(
        failure
            .message()
            .contains("is for other.example, and not for")
    );
}

#[tokio::test]
async fn a_server_that_refuses_the_protocol_mqtt() {
    let failure = refused_by(&["x-amzn-mqtt-ca"], |_| {}, async |_| {}).await;
    assert_failure(&failure, Code::Alpn, Stage::Tls);
}

#[tokio::test]
async fn a_close_before_connack_where_mqtt_was_selected() {
    let failure = refused_by(MQTT, |_| {}, async |mut server| server.answer(&[]).await).await;
    assert_failure(&failure, Code::ClosedBeforeConnack, Stage::Connack);
}

#[tokio::test]
async fn a_close_before_connack_where_mqtt_was_not_selected() {
    let failure = refused_by(&[], |_| {}, async |mut server| server.answer(&[]).await).await;
    assert_failure(&failure, Code::Alpn, Stage::Connack);
}

#[tokio::test]
async fn a_server_that_selects_no_protocol_is_no_failure() {
    let (running, _endpoint) = against(
        &[],
        |_| {},
        async |mut server| {
            server.answer(CONNACK).await;
            server.listen().await;
        },
    )
    .await;
    running
        .events
        .until("the connection", |events| events == [Event::Connected])
        .await;
    assert_eq!(running.events.connected_as().alpn_protocol, None);
}

#[tokio::test]
async fn the_host_hears_what_was_granted() {
    let (running, _endpoint) = against(
        MQTT,
        |_| {},
        async |mut server| {
            let properties = b"\x11\x00\x00\x00\x07\x21\x00\x05\x13\x00\x28\x24\x00\x25\x00";
            let length = [0, 0, properties.len() as u8];
            server.answer(&packet(0x20, &[&length, properties])).await;
            server.listen().await;
        },
    )
    .await;
    let connected = |events: &[Event]| events == [Event::Connected];
    running.events.until("the connection", connected).await;
    let granted = running.events.connected_as();
    assert_eq!(granted.alpn_protocol.as_deref(), Some("mqtt"));
    assert_eq!(granted.in_flight, 5);
    assert_eq!(granted.keep_alive_seconds, 40);
    assert_eq!(granted.session_expiry_seconds, Some(7));
    assert_eq!(granted.maximum_qos, 0);
    assert!(!granted.retain_available);
}

#[tokio::test]
async fn every_refusal_in_connack_of_mqtt_3_1_1() {
    for (code, expected, name) in [
        (
            1,
            Code::ConnectRefused,
            "unacceptable protocol version (CONNACK 1)",
        ),
        (2, Code::ConnectRefused, "client identifier rejected"),
        (3, Code::ConnectRefused, "server unavailable"),
        (4, Code::NotAuthorized, "bad user name or password"),
        (5, Code::NotAuthorized, "not authorized (CONNACK 5)"),
        (7, Code::NotAuthorized, "not authorized"),
        (42, Code::ConnectRefused, "unknown"),
        (0x87, Code::NotAuthorized, "not authorized (CONNACK 0x87)"),
    ] {
        let version_3 = |options: &mut crate::ConnectOptions| options.mqtt_version = Some(3.0);
        let failure = refused_by(MQTT, version_3, async move |mut server| {
            server.answer(&[0x20, 2, 0, code]).await;
            server.listen().await;
        })
        .await;
        assert_failure(&failure, expected, Stage::Connack);
        assert_eq!(failure.reason_code(), Some(code));
        assert!(failure.message().contains(name), "{failure}");
    }
}

#[tokio::test]
async fn every_refusal_in_connack_of_mqtt_5() {
    for (code, expected, name) in [
        // A server that knows MQTT 3.1.1 only refuses with its own CONNACK.
        (1, Code::ConnectRefused, "unacceptable protocol version"),
        (0x80, Code::ConnectRefused, "unspecified error"),
        (0x85, Code::ConnectRefused, "client identifier not valid"),
        (0x86, Code::NotAuthorized, "bad user name or password"),
        (0x87, Code::NotAuthorized, "not authorized (CONNACK 0x87)"),
        (0x8c, Code::NotAuthorized, "bad authentication method"),
        (0x97, Code::ConnectRefused, "quota exceeded"),
        (0xfe, Code::ConnectRefused, "unknown"),
    ] {
        let failure = refused_by(
            MQTT,
            |_| {},
            async move |mut server| {
                server.answer(&[0x20, 2, 0, code]).await;
                server.listen().await;
            },
        )
        .await;
        assert_failure(&failure, expected, Stage::Connack);
        assert_eq!(failure.reason_code(), Some(code));
        assert!(failure.message().contains(name), "{failure}");
    }
}

#[tokio::test]
async fn a_refusal_keeps_the_reason_of_the_server() {
    let failure = refused_by(
        MQTT,
        |_| {},
        async |mut server| {
            let refusal = packet(0x20, &[&[0, 0x87, 6, 0x1f, 0, 3], b"why"]);
            server.answer(&refusal).await;
            server.listen().await;
        },
    )
    .await;
    assert_eq!(failure.reason_string(), Some("why"));
}

#[tokio::test]
async fn a_packet_other_than_connack() {
    for answer in [publish(0, "t", b""), b"HTTP/1.1 400".to_vec(), vec![0, 0]] {
        let failure = refused_by(
            MQTT,
            |_| {},
            async move |mut server| {
                server.answer(&answer).await;
                server.listen().await;
            },
        )
        .await;
        assert_failure(&failure, Code::Protocol, Stage::Connack);
    }
}

#[tokio::test]
async fn a_disconnect_in_place_of_connack() {
    let failure = refused_by(
        MQTT,
        |_| {},
        async |mut server| {
            server.answer(&disconnect(0x97)).await;
            server.listen().await;
        },
    )
    .await;
    assert_failure(&failure, Code::ServerDisconnect, Stage::Connack);
    assert_eq!(failure.reason_code(), Some(0x97));
}

/// Lets the time to connect run out as soon as the server has seen what it waits for.
async fn run_out(seen: oneshot::Receiver<()>) {
    seen.await.unwrap();
    time::pause();
    time::advance(Duration::from_secs(31)).await;
    time::resume();
}

#[tokio::test]
async fn a_server_that_never_shakes_hands() {
    let (see, seen) = oneshot::channel();
    let endpoint = Endpoint::tcp(async move |mut stream| {
        stream.read_u8().await.unwrap();
        see.send(()).unwrap();
        let _closed = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let running = start(endpoint.port, &Authority::new(), |_| {});
    run_out(seen).await;
    assert_failure(&running.failure().await, Code::ConnectTimeout, Stage::Tls);
}

#[tokio::test]
async fn a_server_that_never_answers_connect() {
    let (see, seen) = oneshot::channel();
    let (running, _endpoint) = against(
        MQTT,
        |_| {},
        async move |mut server| {
            server.answer(&[]).await;
            see.send(()).unwrap();
            server.listen().await;
        },
    )
    .await;
    run_out(seen).await;
    let failure = running.failure().await;
    assert_failure(&failure, Code::ConnectTimeout, Stage::Connack);
    assert!(failure.message().contains("30000 ms"));
}

#[tokio::test]
async fn no_secret_is_logged_or_told() {
    const SECRETS: [&str; 3] = ["pass-secret", "token-secret", "c2lnbmF0dXJlLXNlY3JldA"];
    for answer in [CONNACK, &[0x20, 2, 0, 0x87]] {
        let (mut running, _endpoint) = against(
            MQTT,
            |options| {
                options.credentials.username = Some("user".to_owned());
                options.credentials.password = Some(SECRETS[0].into());
                options.credentials.token_key_name = Some("key".to_owned());
                options.credentials.token_value = Some(SECRETS[1].to_owned());
                options.credentials.token_signature = Some(SECRETS[2].to_owned());
            },
            async move |mut server| {
                server.answer(answer).await;
                server.listen().await;
            },
        )
        .await;
        running.publish(1);
        let told = |events: &[Event]| !events.is_empty();
        running.events.until("the server's answer", told).await;
        running.handle.disconnect(Duration::ZERO);
        let (_, events) = running.end().await;
        let log = events.log_text();
        assert!(log.contains("connecting to localhost"));
        for secret in SECRETS {
            assert!(!log.contains(secret), "{log}");
        }
    }
}

/// What every refusal of a login may be about, in order.
const REASONS: [&str; 5] = [
    "isAuthenticated: false; ",
    "iot:Connect for the client id \"client\"; ",
    "no default authorizer",
    "(aws lambda add-permission); ",
    "invalid answer. On localhost the log of custom-authorizer-local tells which",
];

fn assert_lists_reasons(failure: &Failure) {
    let hint = failure.hint();
    let places: Vec<usize> = REASONS
        .iter()
        .map(|reason| {
            hint.find(reason)
                .unwrap_or_else(|| panic!("{reason}: {hint}"))
        })
        .collect();
    assert!(places.is_sorted(), "{hint}");
    assert!(failure.retryable());
}

#[tokio::test]
async fn a_silent_close_and_a_refusal_carry_the_same_list() {
    let closed = refused_by(MQTT, |_| {}, async |mut server| server.answer(&[]).await).await;
    assert_failure(&closed, Code::ClosedBeforeConnack, Stage::Connack);
    assert!(closed.hint().starts_with("This is how IoT Core refuses"));
    assert_lists_reasons(&closed);
    for (answer, code) in [
        (vec![0x20, 3, 0, 0x87, 0], Code::NotAuthorized),
        (disconnect(0x87), Code::ServerDisconnect),
    ] {
        let play = async move |mut server: super::kit::Server| server.answer(&answer).await;
        let refused = refused_by(MQTT, |_| {}, play).await;
        assert_failure(&refused, code, Stage::Connack);
        assert_lists_reasons(&refused);
    }
}

/// It expired in 1970.
#[tokio::test]
async fn a_jwt_that_has_expired_is_told_to_the_log_and_leads_the_list() {
    let jwt = "eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjF9.c2ln";
    let (running, _endpoint) = against(
        MQTT,
        |options| options.credentials.password = Some(jwt.into()),
        async |mut server| server.answer(&[]).await,
    )
    .await;
    let (_, events) = running.end().await;
    let failure = events.last_failure();
    let words = "password is a JWT that expired ";
    assert!(
        failure.hint().contains(&format!("likelihood: {words}")),
        "{failure:?}"
    );
    let [warning] = failure.warnings() else {
        panic!("{failure:?}")
    };
    assert!(warning.starts_with(words), "{warning}");
    assert!(events.log_text().contains(&format!("warn {words}")));
    assert!(!format!("{failure:?}{}", events.log_text()).contains("c2ln"));
}
