use rustls::{
    ALL_VERSIONS,
    pki_types::{PrivateKeyDer, pem::PemObject},
    version::{TLS12, TLS13},
};

use super::kit::{meet, talk, tls};
use crate::{
    error::Code,
    options::Tls,
    testing::{Authority, Identity},
    transport::tls::{alert, failure},
};

const EC: &str = include_str!("../../../authorizer/fixtures/ec.pem");
const EC_SEC1: &str = include_str!("../../../authorizer/fixtures/ec-sec1.pem");
const ED25519: &str = include_str!("../../../authorizer/fixtures/ed25519.pem");
const RSA: &str = include_str!("../../../authorizer/fixtures/rsa-2048.pem");
const RSA_PKCS1: &str = include_str!("../../../authorizer/fixtures/rsa-2048-pkcs1.pem");

fn der(pem: &str) -> Vec<u8> {
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    key.secret_der().to_vec()
}

fn tls_with(authority: &Authority, identity: &Identity, key: Vec<u8>) -> Tls {
    tls(authority, |options| {
        options.tls.cert = Some(identity.cert());
        options.tls.key = Some(key);
    })
}

#[tokio::test]
async fn a_server_that_demands_a_certificate_gets_it_whatever_form_its_key_has() {
    let (authority, clients) = (Authority::new(), Authority::named("clients"));
    for (form, pkcs8, key) in [
        ("EC in PKCS#8", EC, EC.into()),
        ("EC in SEC1", EC, EC_SEC1.into()),
        ("EC in PKCS#8, DER", EC, der(EC)),
        ("EC in SEC1, DER", EC, der(EC_SEC1)),
        ("RSA in PKCS#8", RSA, RSA.into()),
        ("RSA in PKCS#1", RSA, RSA_PKCS1.into()),
        ("RSA in PKCS#8, DER", RSA, der(RSA)),
        ("RSA in PKCS#1, DER", RSA, der(RSA_PKCS1)),
        ("Ed25519", ED25519, ED25519.into()),
    ] {
        let identity = clients.issue_for_key(pkcs8);
        let tls = tls_with(&authority, &identity, key);
        for version in ALL_VERSIONS {
            let server = authority
                .issue(|_| {})
                .demanding_config(&clients, &[version]);
            let (client, server) = meet(&tls, server).await;
            let (mut client, mut server) = (client.unwrap(), server.unwrap());
            talk(&mut client, &mut server).await.unwrap();
            let shown = server.get_ref().1.peer_certificates().unwrap();
            assert_eq!(shown, identity.chain, "{form}");
        }
    }
}

#[tokio::test]
async fn a_chain_is_sent_whole() {
    let (authority, clients) = (Authority::new(), Authority::named("clients"));
    let identity = clients.intermediate("between").issue(|_| {});
    let tls = tls_with(&authority, &identity, identity.key());
    let server = authority
        .issue(|_| {})
        .demanding_config(&clients, ALL_VERSIONS);
    let server = meet(&tls, server).await.1.unwrap();
    let shown = server.get_ref().1.peer_certificates().unwrap();
    assert_eq!(shown.len(), 2);
    assert_eq!(shown, identity.chain);
}

#[tokio::test]
async fn a_certificate_is_not_shown_unasked() {
    let authority = Authority::new();
    let identity = authority.issue(|_| {});
    let tls = tls_with(&authority, &identity, identity.key());
    let server = authority
        .issue(|_| {})
        .server_config(&["mqtt"], ALL_VERSIONS);
    let server = meet(&tls, server).await.1.unwrap();
    assert!(server.get_ref().1.peer_certificates().is_none());
}

#[tokio::test]
async fn a_server_of_tls_1_3_that_misses_a_certificate_is_understood_after_the_handshake() {
    let (authority, clients) = (Authority::new(), Authority::named("clients"));
    let server = authority
        .issue(|_| {})
        .demanding_config(&clients, &[&TLS13]);
    let (client, _refused) = meet(&tls(&authority, |_| {}), server).await;
    let error = tokio::io::AsyncReadExt::read_u8(&mut client.unwrap()).await;
    let failure = alert(&error.unwrap_err(), "localhost:443").expect("an alert");
    assert_eq!(failure.code(), Code::Tls);
    assert!(
        failure.hint().contains("tls.cert and tls.key"),
        "{failure:?}"
    );
}

#[tokio::test]
async fn a_server_of_tls_1_2_that_misses_a_certificate_is_understood_during_the_handshake() {
    let (authority, clients) = (Authority::new(), Authority::named("clients"));
    let server = authority
        .issue(|_| {})
        .demanding_config(&clients, &[&TLS12]);
    let error = meet(&tls(&authority, |_| {}), server)
        .await
        .0
        .err()
        .unwrap();
    let failure = failure(&error, "localhost:443", "localhost", &[]);
    assert_eq!(failure.code(), Code::Tls);
    assert!(
        failure.hint().contains("tls.cert and tls.key"),
        "{failure:?}"
    );
}

#[test]
fn two_certificates_of_one_key_are_two_identities() {
    let (authority, clients) = (Authority::new(), Authority::named("clients"));
    let profile = |identity: &Identity| tls_with(&authority, identity, EC.into()).profile;
    let identity = clients.issue_for_key(EC);
    assert!(profile(&identity) == profile(&identity));
    assert!(profile(&identity) != profile(&clients.issue_for_key(EC)));
}
