//! What a TLS handshake has agreed on, for people to read.

use rustls::{CommonState, ProtocolVersion, RootCertStore, pki_types::CertificateDer};
use x509_cert::{
    Certificate,
    der::{Decode, Encode},
};

use super::{certificate, store};
use crate::options::TlsProfile;

/// Version, cipher suite, the certificates with names and dates, and the authority that they end at.
pub(in crate::transport) async fn describe(
    connection: &CommonState,
    profile: &TlsProfile,
) -> Vec<String> {
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "an unknown version of TLS",
    };
    let suite = connection
        .negotiated_cipher_suite()
        .and_then(|suite| suite.suite().as_str())
        .unwrap_or("unknown cipher suite");
    let mut seen = vec![format!("{version}, {suite}")];
    let Some(chain) = connection.peer_certificates() else {
        return seen;
    };
    seen.extend(chain.iter().map(certificate::describe));
    if let Ok(roots) = store::store(&profile.roots).await {
        seen.extend(root_of(chain, &roots).map(|name| format!("trusted for its root {name}")));
    }
    seen
}

/// The subject of the trusted authority that issued one of these certificates, the last one first.
fn root_of(chain: &[CertificateDer<'_>], roots: &RootCertStore) -> Option<String> {
    chain.iter().rev().find_map(|certificate| {
        let certificate = Certificate::from_der(certificate).ok()?;
        let issuer = certificate.tbs_certificate().issuer();
        let encoded = issuer.to_der().ok()?;
        // A trust anchor keeps the name without the tag and length in front.
        let trusted = |subject: &[u8]| {
            let header = encoded.len().checked_sub(subject.len());
            header.is_some_and(|header| (2..=5).contains(&header)) && encoded.ends_with(subject)
        };
        let found = roots
            .roots
            .iter()
            .any(|root| trusted(root.subject.as_ref()));
        found.then(|| issuer.to_string())
    })
}
