use fastrand::Rng;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyUsagePurpose, date_time_ymd};
use rustls::{ALL_VERSIONS, pki_types::CertificateDer};

use super::kit::{meet, refusal, tls};
use crate::{
    error::{Code, Failure, Stage},
    options::ConnectOptions,
    testing::{Authority, Identity},
    transport::tls::{is_foreign, issuer},
};

const ENDPOINT: &str = "abc-ats.iot.eu-west-1.amazonaws.com";

/// The failure over a certificate, which the client sees for what it is and tells so.
async fn untrusted(
    authority: &Authority,
    identity: &Identity,
    change: impl FnOnce(&mut ConnectOptions),
) -> Failure {
    let server = identity.server_config(&["mqtt"], ALL_VERSIONS);
    let failure = refusal(&tls(authority, change), server).await;
    assert_eq!(
        (failure.code(), failure.stage()),
        (Code::TlsCertificate, Stage::Tls),
        "{failure:?}"
    );
    assert!(failure.cause().is_some(), "{failure:?}");
    failure
}

async fn refused(change: impl FnOnce(&mut CertificateParams)) -> Failure {
    let authority = Authority::named("the issuer");
    untrusted(&authority, &authority.issue(change), |_| {}).await
}

#[tokio::test]
async fn an_expired_certificate_points_at_the_clock() {
    let failure = refused(|params| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    })
    .await;
    assert!(failure.message().contains("localhost:443 has expired"));
    assert!(failure.hint().contains("clock"));
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_yet_points_at_the_clock() {
    let failure = refused(|params| {
        params.not_before = date_time_ymd(3000, 1, 1);
        params.not_after = date_time_ymd(3001, 1, 1);
    })
    .await;
    assert!(failure.message().contains("is not valid yet"));
    assert!(failure.hint().contains("clock"));
}

#[tokio::test]
async fn a_certificate_for_another_name_points_at_endpoint_and_server_name() {
    let failure = refused(|params| {
        *params = CertificateParams::new(vec!["other.example".to_owned()]).unwrap();
    })
    .await;
    let message = failure.message();
    assert!(message.contains(" is for other.example, and not for localhost"));
    assert!(failure.hint().contains("tls.serverName"));
}

#[tokio::test]
async fn an_authority_that_is_not_trusted_is_named() {
    let identity = Authority::named("Nobody's CA").issue(|_| {});
    let failure = untrusted(&Authority::new(), &identity, |_| {}).await;
    let message = failure.message();
    assert!(message.contains("authority that is not trusted"));
    assert!(
        message.ends_with("its issuer is CN=Nobody's CA"),
        "{message}"
    );
    assert!(failure.hint().contains("tls.ca"));
}

#[tokio::test]
async fn a_self_signed_certificate_is_not_trusted() {
    let failure = untrusted(&Authority::new(), &Identity::self_signed(|_| {}), |_| {}).await;
    assert!(failure.message().contains("authority that is not trusted"));
    assert!(failure.hint().contains("tls.ca"));
}

#[tokio::test]
async fn a_self_signed_certificate_in_tls_ca_is_trusted() {
    let identity = Identity::self_signed(|_| {});
    let tls = tls(&Authority::new(), |options| {
        options.tls.ca = vec![identity.cert()];
    });
    let server = identity.server_config(&["mqtt"], ALL_VERSIONS);
    meet(&tls, server).await.0.unwrap();
}

/// As `openssl req -x509` makes it.
#[tokio::test]
async fn an_authoritys_own_certificate_is_called_so() {
    let identity = Identity::self_signed(|params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    let failure = untrusted(&Authority::new(), &identity, |options| {
        options.tls.ca = vec![identity.cert()];
    })
    .await;
    let message = failure.message();
    assert!(message.contains("is that of an authority"), "{failure:?}");
    assert!(failure.hint().contains("CA:TRUE"), "{failure:?}");
}

#[tokio::test]
async fn a_missing_intermediate_certificate_is_among_the_likely_causes() {
    let root = Authority::new();
    let mut identity = root.intermediate("between").issue(|_| {});
    identity.chain.truncate(1);
    let failure = untrusted(&root, &identity, |_| {}).await;
    let message = failure.message();
    assert!(message.contains("authority that is not trusted"));
    assert!(message.ends_with("its issuer is CN=between"), "{message}");
    assert!(
        failure
            .hint()
            .contains("intermediate certificate is missing")
    );
}

#[tokio::test]
async fn an_intermediate_certificate_that_is_sent_counts() {
    let root = Authority::new();
    let identity = root.intermediate("between").issue(|_| {});
    assert_eq!(identity.chain.len(), 2);
    let server = identity.server_config(&["mqtt"], ALL_VERSIONS);
    meet(&tls(&root, |_| {}), server).await.0.unwrap();
}

#[tokio::test]
async fn a_certificate_for_another_purpose_leaves_the_reason_to_the_cause() {
    let failure = refused(|params| {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    })
    .await;
    assert!(failure.message().contains("was not accepted"));
    let cause = failure.cause().unwrap();
    assert!(cause.contains("server authentication"), "{failure:?}");
}

/// A trusted certificate, presented by somebody who has another key.
#[tokio::test]
async fn a_server_without_the_key_of_its_certificate_is_no_matter_of_authorities() {
    let authority = Authority::new();
    for version in ALL_VERSIONS {
        let mut liar = authority.issue(|_| {});
        liar.chain = authority.issue(|_| {}).chain;
        let server = liar.server_config(&["mqtt"], &[version]);
        let failure = refusal(&tls(&authority, |_| {}), server).await;
        assert_eq!(failure.code(), Code::TlsCertificate);
        let message = failure.message();
        assert!(
            message.contains("does not belong to its key"),
            "{failure:?}"
        );
        assert!(!failure.hint().contains("tls.ca"), "{failure:?}");
    }
}

#[tokio::test]
async fn somebody_elses_authority_on_a_default_endpoint_is_an_inspecting_proxy() {
    for (name, inspects) in [
        ("Corp Inspection CA", true),
        ("Amazon RSA 2048 M01", false),
        ("Starfield Services Root Certificate Authority - G2", false),
    ] {
        let identity = Authority::named(name).issue(|params| {
            *params = CertificateParams::new(vec![ENDPOINT.to_owned()]).unwrap();
        });
        let failure = untrusted(&Authority::new(), &identity, |options| {
            options.endpoint = ENDPOINT.to_owned();
        })
        .await;
        let hint = failure.hint();
        assert_eq!(
            hint.contains("inspects TLS stands between"),
            inspects,
            "{hint}"
        );
        assert_eq!(hint.contains(name), inspects, "{hint}");
        assert_ne!(hint.contains("leave tls.ca out"), inspects, "{hint}");
    }
}

#[tokio::test]
async fn a_custom_domain_may_have_any_authority() {
    let identity = Authority::named("Corp Inspection CA").issue(|_| {});
    let failure = untrusted(&Authority::new(), &identity, |_| {}).await;
    assert!(!failure.hint().contains("stands between"));
}

#[test]
fn only_default_endpoints_have_issuers_that_are_foreign() {
    for (issuer, host, foreign) in [
        ("CN=Corp", ENDPOINT, true),
        ("CN=Corp", "ABC-ATS.IOT.EU-WEST-1.AMAZONAWS.COM.", true),
        ("CN=Corp", "abc.ats.iot.cn-north-1.amazonaws.com.cn", true),
        ("CN=Amazon RSA 2048 M01,O=Amazon,C=US", ENDPOINT, false),
        ("CN=Corp", "iot.example", false),
        ("CN=Corp", "iot.amazonaws.com.example", false),
    ] {
        assert_eq!(is_foreign(issuer, host), foreign, "{issuer} {host}");
    }
}

/// The issuer as it shows in a message.
fn issuer_named(name: &str) -> Option<String> {
    issuer(&Authority::named(name).issue(|_| {}).chain[0])
}

#[test]
fn an_issuers_control_characters_do_not_show() {
    let shown = issuer_named("a\r\nb\u{1b}[31m\0c\u{7f}\u{9b}d").unwrap();
    assert!(!shown.contains(char::is_control), "{shown:?}");
    assert!(shown.starts_with("CN=a"), "{shown:?}");
}

/// What would make the rest of a line read otherwise.
#[test]
fn an_issuers_direction_and_line_marks_do_not_show() {
    let shown = issuer_named("a\u{202e}b\u{2066}c\u{2028}d\u{200f}e").unwrap();
    assert_eq!(shown, "CN=abcde");
}

#[test]
fn an_issuers_letters_of_other_scripts_show() {
    assert_eq!(issuer_named("Behörde 認証局").unwrap(), "CN=Behörde 認証局");
}

#[test]
fn a_long_issuer_is_cut() {
    for letter in ["x", "ä", "\u{202e}y"] {
        let shown = issuer_named(&letter.repeat(10_000)).unwrap();
        assert_eq!(shown.chars().count(), 200);
    }
}

#[test]
fn an_issuer_without_a_name_is_none() {
    let identity = Identity::self_signed(|params| {
        params.distinguished_name.remove(DnType::CommonName);
    });
    assert_eq!(issuer(&identity.chain[0]), None);
}

#[tokio::test]
async fn what_is_no_certificate_is_refused_without_an_issuer() {
    let authority = Authority::new();
    for garbage in [&b""[..], b"0", b"garbage", &[0x30, 0x82, 0xff, 0xff, 1]] {
        let mut identity = authority.issue(|_| {});
        identity.chain = vec![CertificateDer::from(garbage.to_vec())];
        let server = identity.server_config(&["mqtt"], ALL_VERSIONS);
        let failure = refusal(&tls(&authority, |_| {}), server).await;
        assert!(
            matches!(failure.code(), Code::Tls | Code::TlsCertificate),
            "{failure:?}"
        );
        assert!(!failure.message().contains("issuer"), "{failure:?}");
    }
}

#[test]
fn no_bytes_make_the_issuer_panic_or_show_more_than_it_may() {
    let mut rng = Rng::with_seed(0x7469_6c73);
    let whole = Authority::named("name").issue(|_| {}).chain[0].to_vec();
    for round in 0..20_000 {
        let mut bytes = if round % 4 == 0 {
            (0..rng.usize(0..200)).map(|_| rng.u8(..)).collect()
        } else {
            whole.clone()
        };
        for _ in 0..rng.usize(0..4) {
            if !bytes.is_empty() {
                let at = rng.usize(..bytes.len());
                bytes[at] = rng.u8(..);
            }
        }
        if rng.u8(..4) == 0 {
            bytes.truncate(rng.usize(..=bytes.len()));
        }
        if let Some(shown) = issuer(&CertificateDer::from(bytes)) {
            assert!(shown.chars().count() <= 200 && !shown.contains(char::is_control));
        }
    }
}
