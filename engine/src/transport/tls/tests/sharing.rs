use std::{
    fmt,
    sync::{Arc, Mutex},
};

use rustls::{
    ALL_VERSIONS,
    HandshakeKind::{Full, Resumed},
    KeyLog,
    version::{TLS12, TLS13},
};

use super::kit::{meet, meet_again, talk, tls};
use crate::{
    options::{ConnectOptions, TlsProfile},
    testing::{Authority, Identity},
    transport::tls::{config, with_configs},
};

fn profile(authority: &Authority, change: impl FnOnce(&mut ConnectOptions)) -> TlsProfile {
    tls(authority, change).profile
}

#[tokio::test]
async fn connections_with_equal_profiles_share_a_configuration() {
    let authority = Authority::new();
    let identity = authority.issue(|_| {});
    let profile = || {
        profile(&authority, |options| {
            options.tls.cert = Some(identity.cert());
            options.tls.key = Some(identity.key());
        })
    };
    let first = config(&profile(), None).await.unwrap();
    let second = config(&profile(), None).await.unwrap();
    assert!(Arc::ptr_eq(&first, &second));
}

#[tokio::test]
async fn each_part_of_the_profile_makes_a_configuration_of_its_own() {
    let authority = Authority::new();
    let (one, other) = (authority.issue(|_| {}), authority.issue(|_| {}));
    let with = |identity: &Identity| {
        profile(&authority, |options| {
            options.tls.cert = Some(identity.cert());
            options.tls.key = Some(identity.key());
        })
    };
    let profiles = [
        profile(&authority, |_| {}),
        profile(&Authority::new(), |_| {}),
        profile(&authority, |options| {
            options.tls.min_version = Some("TLSv1.3".to_owned());
        }),
        profile(&authority, |options| {
            options.tls.alpn_protocols = Some(Vec::new());
        }),
        TlsProfile {
            logs_keys: true,
            ..profile(&authority, |_| {})
        },
        with(&one),
        with(&other),
    ];
    let mut configs = Vec::new();
    for profile in &profiles {
        let config = config(profile, None).await.unwrap();
        assert!(configs.iter().all(|other| !Arc::ptr_eq(other, &config)));
        configs.push(config);
    }
}

#[tokio::test]
async fn a_configuration_that_nobody_uses_is_forgotten() {
    let abandoned = profile(&Authority::new(), |_| {});
    let made = config(&abandoned, None).await.unwrap();
    let weak = Arc::downgrade(&made);
    drop(made);
    assert!(weak.upgrade().is_none());
    let _next = config(&profile(&Authority::new(), |_| {}), None)
        .await
        .unwrap();
    assert!(!with_configs(|configs| configs.contains_key(&abandoned)));
}

#[tokio::test]
async fn a_second_connection_resumes_the_session_of_the_first() {
    for version in ALL_VERSIONS {
        let authority = Authority::new();
        let tls = tls(&authority, |_| {});
        // As a connection holds it from attempt to attempt.
        let _kept = config(&tls.profile, None).await.unwrap();
        let server = authority.issue(|_| {}).server_config(&["mqtt"], &[version]);
        let server = Arc::new(server);
        for (round, kind) in [Full, Resumed, Resumed].into_iter().enumerate() {
            let (near, far) = meet_again(&tls, &server).await;
            let (mut near, mut far) = (near.unwrap(), far.unwrap());
            talk(&mut near, &mut far).await.unwrap();
            let client = near.get_ref().1;
            assert_eq!(client.handshake_kind(), Some(kind), "{version:?} {round}");
            assert_eq!(client.alpn_protocol(), Some(&b"mqtt"[..]));
            assert!(client.peer_certificates().is_some());
        }
    }
}

#[tokio::test]
async fn a_session_of_another_identity_is_not_resumed() {
    let (authority, clients) = (Authority::new(), Authority::named("clients"));
    for version in [&TLS12, &TLS13] {
        let server = authority.issue(|_| {});
        let server = Arc::new(server.demanding_config(&clients, &[version]));
        let mut kept = Vec::new();
        for _ in 0..2 {
            let identity = clients.issue(|_| {});
            let tls = tls(&authority, |options| {
                options.tls.cert = Some(identity.cert());
                options.tls.key = Some(identity.key());
            });
            kept.push(config(&tls.profile, None).await.unwrap());
            let (near, far) = meet_again(&tls, &server).await;
            let (mut near, mut far) = (near.unwrap(), far.unwrap());
            talk(&mut near, &mut far).await.unwrap();
            assert_eq!(near.get_ref().1.handshake_kind(), Some(Full));
        }
    }
}

#[derive(Default)]
struct Noted(Mutex<Vec<String>>);

impl KeyLog for Noted {
    fn log(&self, label: &str, _client_random: &[u8], _secret: &[u8]) {
        self.0.lock().unwrap().push(label.to_owned());
    }
}

impl fmt::Debug for Noted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Noted")
    }
}

#[tokio::test]
async fn the_secrets_of_a_session_go_to_the_key_log_that_was_given() {
    let authority = Authority::new();
    for (version, label) in [
        (&TLS12, "CLIENT_RANDOM"),
        (&TLS13, "CLIENT_TRAFFIC_SECRET_0"),
    ] {
        let noted = Arc::new(Noted::default());
        let mut tls = tls(&authority, |options| options.tls.key_log = true);
        tls.key_log = Some(noted.clone());
        let server = authority.issue(|_| {}).server_config(&["mqtt"], &[version]);
        meet(&tls, server).await.0.unwrap();
        let noted = noted.0.lock().unwrap();
        assert!(noted.iter().any(|noted| noted == label), "{noted:?}");
    }
}

#[tokio::test]
async fn without_a_key_log_nothing_is_logged() {
    let tls = tls(&Authority::new(), |_| {});
    assert!(tls.key_log.is_none());
    let config = config(&tls.profile, None).await.unwrap();
    assert!(!config.client.key_log.will_log("CLIENT_RANDOM"));
}
