use rcgen::CertificateParams;
use rustls::{
    ALL_VERSIONS,
    ProtocolVersion::{TLSv1_2, TLSv1_3},
    version::{TLS12, TLS13},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::kit::{Hello, hello, meet, refusal, tls};
use crate::{
    error::{Code, Stage},
    options::WebSocketOptions,
    testing::Authority,
    transport::tls::{config, failure, handshake},
};

#[tokio::test]
async fn the_highest_version_that_both_speak_is_spoken() {
    let authority = Authority::new();
    for (min_version, server, agreed) in [
        (None, &[&TLS12][..], TLSv1_2),
        (None, &[&TLS13], TLSv1_3),
        (None, ALL_VERSIONS, TLSv1_3),
        (Some("TLSv1.2"), &[&TLS12], TLSv1_2),
        (Some("TLSv1.3"), &[&TLS13], TLSv1_3),
        (Some("TLSv1.3"), ALL_VERSIONS, TLSv1_3),
    ] {
        let tls = tls(&authority, |options| {
            options.tls.min_version = min_version.map(str::to_owned);
        });
        let server = authority.issue(|_| {}).server_config(&["mqtt"], server);
        let client = meet(&tls, server).await.0.unwrap();
        let version = client.get_ref().1.protocol_version();
        assert_eq!(version, Some(agreed), "{min_version:?}");
    }
}

#[tokio::test]
async fn a_server_below_the_lowest_version_is_refused_by_the_name_of_the_option() {
    let authority = Authority::new();
    let tls = tls(&authority, |options| {
        options.tls.min_version = Some("TLSv1.3".to_owned());
    });
    let server = authority.issue(|_| {}).server_config(&["mqtt"], &[&TLS12]);
    let failure = refusal(&tls, server).await;
    assert_eq!((failure.code(), failure.stage()), (Code::Tls, Stage::Tls));
    let message = failure.message();
    assert!(message.contains("none of the TLS versions"), "{failure:?}");
    assert!(failure.hint().contains("tls.minVersion"), "{failure:?}");
}

/// It answers with its own version, as old servers do, and sends no alert.
#[tokio::test]
async fn a_server_that_answers_in_an_older_version_is_refused_alike() {
    for version in [1, 2, 3] {
        let tls = tls(&Authority::new(), |options| {
            options.tls.min_version = Some("TLSv1.3".to_owned());
        });
        let config = config(&tls.profile, None).await.unwrap();
        let (near, mut far) = duplex(1 << 16);
        let answer = async {
            far.read_u8().await.unwrap();
            // ServerHello: version, random, no session, a cipher suite, no compression, no extensions.
            let hello = [&[3, version][..], &[7; 32], &[0, 0xc0, 0x2f, 0]].concat();
            let message = [&[2, 0, 0, hello.len() as u8][..], &hello].concat();
            let record = [&[22, 3, version, 0, message.len() as u8][..], &message].concat();
            far.write_all(&record).await.unwrap();
            far
        };
        let (refused, _far) = tokio::join!(handshake(config, tls.server_name, near), answer);
        let failure = failure(&refused.err().unwrap(), "localhost:443", "localhost", &[]);
        assert_eq!(failure.code(), Code::Tls);
        let message = failure.message();
        assert!(message.contains("none of the TLS versions"), "{failure:?}");
    }
}

fn asked(server_name: &str, alpn: &[&str]) -> Hello {
    Hello {
        server_name: Some(server_name.to_owned()),
        alpn: alpn.iter().map(|name| (*name).to_owned()).collect(),
    }
}

#[tokio::test]
async fn mqtt_over_tls_offers_mqtt_and_nothing_else() {
    let tls = tls(&Authority::new(), |_| {});
    assert_eq!(hello(&tls).await, asked("localhost", &["mqtt"]));
}

#[tokio::test]
async fn websocket_offers_nothing() {
    let tls = tls(&Authority::new(), |options| {
        options.transport = Some("websocket".to_owned());
        options.websocket = Some(WebSocketOptions::default());
    });
    assert_eq!(hello(&tls).await, asked("localhost", &[]));
}

#[tokio::test]
async fn a_list_is_offered_as_it_was_given() {
    for transport in ["tls", "websocket"] {
        for list in [&["b", "mqtt", "a"][..], &["x-amzn-mqtt-ca"], &[]] {
            let tls = tls(&Authority::new(), |options| {
                options.transport = Some(transport.to_owned());
                let list = list.iter().map(|name| (*name).to_owned()).collect();
                options.tls.alpn_protocols = Some(list);
            });
            assert_eq!(hello(&tls).await, asked("localhost", list), "{transport}");
        }
    }
}

#[tokio::test]
async fn the_server_name_takes_the_place_of_the_endpoint_in_sni() {
    let tls = tls(&Authority::new(), |options| {
        options.tls.server_name = Some("other.example".to_owned());
    });
    assert_eq!(hello(&tls).await, asked("other.example", &["mqtt"]));
}

#[tokio::test]
async fn an_address_goes_without_sni() {
    let tls = tls(&Authority::new(), |options| {
        options.endpoint = "127.0.0.1".to_owned();
    });
    assert_eq!(hello(&tls).await.server_name, None);
}

#[tokio::test]
async fn the_certificate_is_to_be_for_the_server_name() {
    let authority = Authority::new();
    for (certified, accepted) in [("other.example", true), ("localhost", false)] {
        let tls = tls(&authority, |options| {
            options.tls.server_name = Some("other.example".to_owned());
        });
        let identity = authority.issue(|params| {
            *params = CertificateParams::new(vec![certified.to_owned()]).unwrap();
        });
        let server = identity.server_config(&["mqtt"], ALL_VERSIONS);
        let client = meet(&tls, server).await.0;
        assert_eq!(client.is_ok(), accepted, "{certified}");
    }
}

/// The root's own dot keeps search domains out of DNS, and no certificate has it.
#[tokio::test]
async fn a_dot_at_the_end_of_the_endpoint_is_neither_sent_nor_missed() {
    let authority = Authority::new();
    let tls = tls(&authority, |options| {
        options.endpoint = "iot.example.".to_owned();
    });
    assert_eq!(hello(&tls).await, asked("iot.example", &["mqtt"]));
    let identity = authority.issue(|params| {
        *params = CertificateParams::new(vec!["iot.example".to_owned()]).unwrap();
    });
    let server = identity.server_config(&["mqtt"], ALL_VERSIONS);
    meet(&tls, server).await.0.unwrap();
}

#[tokio::test]
async fn a_server_that_speaks_none_of_the_protocols_is_told_by_their_names() {
    let authority = Authority::new();
    let tls = tls(&authority, |options| {
        options.tls.alpn_protocols = Some(vec!["h2".to_owned(), "x".to_owned()]);
    });
    let config = config(&tls.profile, None).await.unwrap();
    let (near, far) = duplex(1 << 16);
    let acceptor = tokio_rustls::TlsAcceptor::from(authority.server_config(&["mqtt"], |_| {}));
    let (refused, _server) = tokio::join!(
        handshake(config, tls.server_name.clone(), near),
        acceptor.accept(far)
    );
    let offered = &tls.profile.alpn_protocols;
    let failure = failure(
        &refused.err().unwrap(),
        "localhost:443",
        "localhost",
        offered,
    );
    assert_eq!(failure.code(), Code::Alpn);
    assert!(failure.message().contains("`h2`, `x`"), "{failure}");
}
