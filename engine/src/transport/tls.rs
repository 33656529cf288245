//! TLS 1.2 and 1.3 by rustls: trust, ALPN, and what a failed handshake means.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use rustls::{
    AlertDescription, CertificateError, ClientConfig, Error as TlsError, RootCertStore,
    crypto::ring,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::OnceCell,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    error::{Code, Failure, Result, Stage},
    options::{Options, Roots},
};

/// How MQTT over TLS is announced on port 443 when a custom authorizer is to decide (AWS IoT Core developer guide,
/// "Device communication protocols").
const ALPN_MQTT: &[u8] = b"mqtt";

/// How much rustls may hold back, one record: with more, a slow network that takes some of it looks as if it took none.
const WRITE_AHEAD: usize = 16 * 1024;

/// Configurations in use, so that connections share the trust store and resume each other's TLS sessions.
static CONFIGS: Mutex<Option<HashMap<Roots, Weak<ClientConfig>>>> = Mutex::new(None);

/// The configuration for these roots, made once for all connections that use it at a time.
pub(super) async fn config(roots: &Roots) -> Result<Arc<ClientConfig>> {
    if let Some(config) = with_configs(|configs| configs.get(roots).and_then(Weak::upgrade)) {
        return Ok(config);
    }
    let store = match roots {
        Roots::System => system_roots().await?,
        Roots::Only(certificates) => {
            let mut store = RootCertStore::empty();
            for certificate in certificates {
                store.add(certificate.clone()).map_err(|error| {
                    Failure::option(
                        "a certificate of tls.ca or tls.caFile cannot be used as a trust anchor",
                    )
                    .with_cause(error)
                })?;
            }
            Arc::new(store)
        }
    };
    let made = Arc::new(client_config(store)?);
    Ok(with_configs(|configs| {
        configs.retain(|_, config| config.strong_count() > 0);
        match configs.get(roots).and_then(Weak::upgrade) {
            Some(earlier) => earlier,
            None => {
                configs.insert(roots.clone(), Arc::downgrade(&made));
                made
            }
        }
    }))
}

/// Shakes hands with the endpoint. SNI is always the endpoint's name.
pub(super) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    config: Arc<ClientConfig>,
    options: &Options,
    stream: S,
) -> Result<TlsStream<S>> {
    TlsConnector::from(config)
        .connect_with(options.server_name.clone(), stream, |connection| {
            connection.set_buffer_limit(Some(WRITE_AHEAD));
        })
        .await
        .map_err(|error| handshake_failure(&error, options))
}

/// A TLS alert that came after the handshake: in TLS 1.3 a server judges the client only then.
pub fn alert(error: &io::Error, at: &str) -> Option<Failure> {
    let TlsError::AlertReceived(alert) = error.get_ref()?.downcast_ref::<TlsError>()? else {
        return None;
    };
    let message = format!("{at} ended the TLS connection: {alert:?}");
    Some(
        Failure::new(Code::Tls, Stage::Tls, message).with_hint(
            "If it wants a client certificate, this is not the port of a custom authorizer: use 443, and an endpoint or domain whose authentication is by custom authorizer.",
        ),
    )
}

fn client_config(roots: Arc<RootCertStore>) -> Result<ClientConfig> {
    // The provider is named because a second one anywhere in the process would make the default ambiguous.
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| {
            Failure::new(Code::Internal, Stage::Tls, "TLS cannot be set up").with_cause(error)
        })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_MQTT.to_vec()];
    Ok(config)
}

/// The system's trust store, read once a process; Mozilla's where the system has none.
async fn system_roots() -> Result<Arc<RootCertStore>> {
    static STORE: OnceCell<Arc<RootCertStore>> = OnceCell::const_new();
    let load = || async {
        tokio::task::spawn_blocking(|| {
            let mut store = RootCertStore::empty();
            // Systems carry certificates that nobody can parse; the others still count.
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            }
            Arc::new(store)
        })
        .await
        .map_err(|error| {
            Failure::new(
                Code::Internal,
                Stage::Tls,
                "the system's trust store cannot be read",
            )
            .with_cause(error)
        })
    };
    STORE.get_or_try_init(load).await.cloned()
}

fn with_configs<T>(use_configs: impl FnOnce(&mut HashMap<Roots, Weak<ClientConfig>>) -> T) -> T {
    let mut configs = CONFIGS.lock().unwrap_or_else(PoisonError::into_inner);
    use_configs(configs.get_or_insert_default())
}

fn handshake_failure(error: &io::Error, options: &Options) -> Failure {
    let at = format!("{}:{}", options.host, options.port);
    match error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<TlsError>())
    {
        Some(TlsError::AlertReceived(AlertDescription::NoApplicationProtocol)) => Failure::new(
            Code::Alpn,
            Stage::Tls,
            format!("{at} does not speak the protocol `mqtt` (ALPN) on this port"),
        ),
        Some(TlsError::InvalidCertificate(reason)) => {
            certificate_failure(reason, &at, &options.host)
        }
        _ => Failure::new(
            Code::Tls,
            Stage::Tls,
            format!("the TLS handshake with {at} failed: {error}"),
        ),
    }
    .with_cause(error)
}

fn certificate_failure(reason: &CertificateError, at: &str, host: &str) -> Failure {
    let (what, hint) = match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
            "has expired",
            "Check this machine's clock first: a wrong date makes every certificate look expired. Otherwise the server needs a new certificate.",
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
            "is not valid yet",
            "This machine's clock is behind: devices without a battery-backed clock start in the past until they have synchronised.",
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            "is for another name",
            "Check the endpoint for a typing error, or for an address in place of its name.",
        ),
        // A bad signature: the authority has the name of a trusted one, and another key, as when it was made anew.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => (
            "comes from an authority that is not trusted here",
            "For IoT Core's own endpoints use the name that holds `-ats` and leave tls.ca out. A proxy that inspects TLS shows its own issuer: add its authority to tls.ca. A private authority belongs there as well.",
        ),
        _ => (
            "was not accepted",
            "The cause names what is wrong with it; the server needs a valid certificate.",
        ),
    };
    let message = format!("the certificate of {at} {what} (for {host})");
    Failure::new(Code::TlsCertificate, Stage::Tls, message).with_hint(hint)
}

#[cfg(test)]
mod tests;
