//! Judging the server's certificate as rustls does, and saying whose it was where it is not accepted.

use std::{error, fmt, io, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, Error as TlsError, OtherError, RootCertStore,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use x509_cert::{Certificate, der::Decode, time::Time};

use crate::{
    error::{Code, Failure, Stage},
    options::is_default_endpoint,
};

/// A name beyond this is cut.
const MAX_NAME_CHARS: usize = 200;
/// Names of a certificate that a message holds.
const MOST_NAMES: usize = 3;

/// rustls's own verifier, whose refusal names the issuer.
#[derive(Debug)]
pub(super) struct Verifier(Arc<WebPkiServerVerifier>);

/// A certificate that was not accepted, with those that came along.
#[derive(Debug)]
struct Refused {
    reason: CertificateError,
    issuer: Option<String>,
    chain: Vec<String>,
}

impl Verifier {
    pub(super) fn new(
        roots: Arc<RootCertStore>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, impl error::Error> {
        WebPkiServerVerifier::builder_with_provider(roots, provider)
            .build()
            .map(Self)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let verdict =
            self.0
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        verdict.map_err(|error| match error {
            TlsError::InvalidCertificate(reason) => {
                let issuer = issuer(end_entity);
                let chain = [end_entity].into_iter().chain(intermediates);
                let refused = OtherError(Arc::new(Refused {
                    reason,
                    issuer,
                    chain: chain.map(describe).collect(),
                }));
                TlsError::InvalidCertificate(CertificateError::Other(refused))
            }
            other => other,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.0
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.0
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(formatter)
    }
}

impl error::Error for Refused {}

/// The certificates that a handshake failed for, in lines for people.
pub(in crate::transport) fn refused_chain(error: &io::Error) -> Vec<String> {
    let Some(TlsError::InvalidCertificate(CertificateError::Other(OtherError(other)))) =
        super::tls_error(error)
    else {
        return Vec::new();
    };
    other
        .downcast_ref::<Refused>()
        .map_or_else(Vec::new, |refused| refused.chain.clone())
}

/// Whose a certificate is, who issued it and when it is valid.
pub(super) fn describe(certificate: &CertificateDer<'_>) -> String {
    let Ok(certificate) = Certificate::from_der(certificate) else {
        return "a certificate that cannot be read".to_owned();
    };
    let content = certificate.tbs_certificate();
    let validity = content.validity();
    let day = |time: Time| time.to_date_time().to_string();
    format!(
        "certificate of {}, issued by {}, valid from {} to {}",
        cleaned(&content.subject().to_string()),
        cleaned(&content.issuer().to_string()),
        day(validity.not_before),
        day(validity.not_after)
    )
}

/// Who issued a certificate, for people to read. It comes from the other side: what it says is cut and cleaned.
pub(in crate::transport) fn issuer(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let issuer = cleaned(&certificate.tbs_certificate().issuer().to_string());
    (!issuer.is_empty()).then_some(issuer)
}

fn cleaned(name: &str) -> String {
    let shown = name.chars().filter(|letter| !is_hidden(*letter));
    shown.take(MAX_NAME_CHARS).collect()
}

/// What does not show itself and changes how the rest of a line shows: control characters, marks of direction and lines.
fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// What it means that the certificate of `at`, which was to be for `host`, was not accepted.
pub(super) fn failure(error: &CertificateError, at: &str, host: &str) -> Failure {
    let refused = match error {
        CertificateError::Other(OtherError(other)) => other.downcast_ref::<Refused>(),
        _ => None,
    };
    let reason = refused.map_or(error, |refused| &refused.reason);
    let issuer = refused.and_then(|refused| refused.issuer.as_deref());
    let (what, hint) = match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
            "has expired",
            "Check this machine's clock first: a wrong date makes every certificate look expired. Otherwise the server needs a new certificate.".to_owned(),
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
            "is not valid yet",
            "This machine's clock is behind: devices without a battery-backed clock start in the past until they have synchronised.".to_owned(),
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            "is for another name",
            "Check the endpoint for a typing error, or for an address in place of its name. Where endpoint is only the way to a custom domain, set tls.serverName to that domain.".to_owned(),
        ),
        // Of the handshake, which the verdict on the certificate does not hold.
        CertificateError::BadSignature if refused.is_none() => (
            "does not belong to its key",
            "The server showed a certificate and could not prove that it is its own: certificate and key do not fit each other there, or something on the way pretends to be it.".to_owned(),
        ),
        // What `openssl req -x509` makes, and is refused whether it is trusted or not.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => (
            "is that of an authority",
            "A server needs a certificate that is no authority's (CA:TRUE), also where it is self-signed: make one without, and put it or its authority into tls.ca.".to_owned(),
        ),
        // A bad signature: the authority has the name of a trusted one, and another key, as when it was made anew.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => (
            "comes from an authority that is not trusted here",
            untrusted_hint(issuer, host),
        ),
        _ => (
            "was not accepted",
            "The cause names what is wrong with it; the server needs a valid certificate.".to_owned(),
        ),
    };
    let issued = issuer.map_or_else(String::new, |issuer| format!("; its issuer is {issuer}"));
    let message = match names(reason) {
        Some(names) => {
            format!("the certificate of {at} is for {names}, and not for {host}{issued}")
        }
        None => format!("the certificate of {at} {what} (for {host}){issued}"),
    };
    Failure::new(Code::TlsCertificate, Stage::Tls, message)
        .with_hint(hint)
        .with_cause(reason)
}

/// The names that a certificate is for, where it is not for the one that was asked for.
fn names(reason: &CertificateError) -> Option<String> {
    let CertificateError::NotValidForNameContext { presented, .. } = reason else {
        return None;
    };
    // They come as `DnsName("example.com")`.
    let names: Vec<&str> = presented
        .iter()
        .filter_map(|name| name.split('"').nth(1))
        .take(MOST_NAMES)
        .collect();
    let more = presented.len().saturating_sub(names.len());
    let rest = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    (!names.is_empty()).then(|| cleaned(&names.join(", ")) + &rest)
}

/// Why nobody here vouches for it, the likeliest first.
fn untrusted_hint(issuer: Option<&str>, host: &str) -> String {
    const PRIVATE: &str = "A private authority belongs into tls.ca, and so does that of a proxy that inspects TLS, or into NODE_EXTRA_CA_CERTS. A server whose intermediate certificate is missing fails so too.";
    match issuer {
        Some(issuer) if is_foreign(issuer, host) => format!(
            "It was issued by {issuer}, and IoT Core's are issued by Amazon: a proxy or firewall that inspects TLS stands between. Have it let this endpoint through untouched, since it strips ALPN as well; otherwise add its authority to tls.ca or NODE_EXTRA_CA_CERTS."
        ),
        _ if is_default_endpoint(host) => {
            format!(
                "For IoT Core's own endpoints use the name that holds `-ats` and leave tls.ca out. {PRIVATE}"
            )
        }
        _ => PRIVATE.to_owned(),
    }
}

/// Whether somebody else than Amazon vouches for one of IoT Core's own endpoints.
pub fn is_foreign(issuer: &str, host: &str) -> bool {
    // Endpoints without `-ats` still have one by VeriSign's successors.
    let known = ["Amazon", "Starfield", "VeriSign", "Symantec", "DigiCert"];
    is_default_endpoint(host) && !known.iter().any(|name| issuer.contains(name))
}
