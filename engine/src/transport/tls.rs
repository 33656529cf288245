//! TLS 1.2 and 1.3 by rustls: trust, identity, ALPN, and what a failed handshake means.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use rustls::{
    AlertDescription, ClientConfig, Error as TlsError, KeyLog, PeerIncompatible,
    SupportedProtocolVersion,
    client::{ClientSessionMemoryCache, ClientSessionStore, Resumption},
    crypto::ring,
    pki_types::ServerName,
    sign::SingleCertAndKey,
    version::{TLS12, TLS13},
};

use crate::{
    error::{Code, Failure, Result, Stage},
    options::{ALPN_MQTT, TlsProfile, TlsVersion},
};

mod certificate;
pub use certificate::is_foreign;
pub(super) use certificate::{issuer, refused_chain};
mod report;
pub(super) use report::describe;
mod store;
mod stream;
pub(super) use stream::{TlsStream, handshake};
#[cfg(test)]
mod tests;

static FROM_TLS12: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
static FROM_TLS13: &[&SupportedProtocolVersion] = &[&TLS13];

/// TLS sessions that are kept to be resumed, as many as rustls keeps itself.
const SESSIONS: usize = 256;

/// Configurations in use, so that connections share the trust store and resume each other's TLS sessions.
static CONFIGS: Mutex<Option<HashMap<TlsProfile, Weak<Config>>>> = Mutex::new(None);

/// What a handshake needs.
pub(super) struct Config {
    client: Arc<ClientConfig>,
    sessions: Arc<ClientSessionMemoryCache>,
}

impl Config {
    /// Lets go of a session whose secret is another at the server: otherwise TLS 1.2 would offer it for ever. rustls
    /// does that itself in its buffered interface only.
    fn forget(&self, server_name: &ServerName<'static>) {
        self.sessions.remove_tls12_session(server_name);
    }
}

/// The configuration for this profile, made once for all connections that use it at a time.
pub(super) async fn config(
    profile: &TlsProfile,
    key_log: Option<&Arc<dyn KeyLog>>,
) -> Result<Arc<Config>> {
    if let Some(config) = with_configs(|configs| configs.get(profile).and_then(Weak::upgrade)) {
        return Ok(config);
    }
    let made = Arc::new(make_config(profile, key_log).await?);
    Ok(with_configs(|configs| {
        configs.retain(|_, config| config.strong_count() > 0);
        match configs.get(profile).and_then(Weak::upgrade) {
            Some(earlier) => earlier,
            None => {
                configs.insert(profile.clone(), Arc::downgrade(&made));
                made
            }
        }
    }))
}

/// What a failed handshake with `at` means, whose certificate was to be for `host` and which was offered these protocols.
pub(super) fn failure(error: &io::Error, at: &str, host: &str, offered: &[Vec<u8>]) -> Failure {
    match tls_error(error) {
        Some(TlsError::AlertReceived(AlertDescription::NoApplicationProtocol))
            if offered.iter().all(|name| name != ALPN_MQTT) =>
        {
            Failure::new(
                Code::Alpn,
                Stage::Tls,
                format!("{at} does not speak {} (ALPN) on this port", names(offered)),
            )
            .with_hint("tls.alpnProtocols is what is offered. Left out, it is what IoT Core wants: `mqtt`, and nothing over WebSocket.")
            .with_cause(error)
        }
        Some(TlsError::AlertReceived(AlertDescription::NoApplicationProtocol)) => Failure::new(
            Code::Alpn,
            Stage::Tls,
            format!(
                "{at} does not speak {} (ALPN) on this port",
                names(offered)
            ),
        )
        .with_cause(error),
        Some(TlsError::InvalidCertificate(reason)) => certificate::failure(reason, at, host),
        Some(
            TlsError::AlertReceived(AlertDescription::ProtocolVersion)
            | TlsError::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ),
        ) => Failure::new(
            Code::Tls,
            Stage::Tls,
            format!("{at} speaks none of the TLS versions that are allowed here"),
        )
        .with_hint("Its security policy allows other versions than tls.minVersion: TLS 1.2 and 1.3 are supported.")
        .with_cause(error),
        // In TLS 1.2 the client's certificate is judged before the handshake is over.
        Some(TlsError::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::HandshakeFailure,
        )) => alert(error, at).unwrap_or_else(|| other(error, at)),
        _ => other(error, at),
    }
}

fn other(error: &io::Error, at: &str) -> Failure {
    if let Some(TlsError::InvalidMessage(_)) = tls_error(error) {
        let message = format!("{at} does not speak TLS on this port");
        return Failure::new(Code::Tls, Stage::Tls, message)
            .with_hint("Check the port: 443 for IoT Core, and the TLS port of another broker, mostly 8883. Port 1883 is one without TLS.")
            .with_cause(error);
    }
    let message = format!("the TLS handshake with {at} failed: {error}");
    Failure::new(Code::Tls, Stage::Tls, message).with_cause(error)
}

/// A TLS alert that came after the handshake: in TLS 1.3 a server judges the client only then.
pub fn alert(error: &io::Error, at: &str) -> Option<Failure> {
    let TlsError::AlertReceived(alert) = tls_error(error)? else {
        return None;
    };
    let message = format!("{at} ended the TLS connection: {alert:?}");
    Some(
        Failure::new(Code::Tls, Stage::Tls, message).with_hint(
            "If it wants a client certificate, this is not the port of a custom authorizer: use 443, and an endpoint or domain whose authentication is by custom authorizer. With CUSTOM_AUTH_X509 it wants both: give tls.cert and tls.key.",
        ),
    )
}

/// Protocols of ALPN, for people to read.
fn names(protocols: &[Vec<u8>]) -> String {
    let names: Vec<String> = protocols
        .iter()
        .map(|name| format!("`{}`", String::from_utf8_lossy(name)))
        .collect();
    match names.as_slice() {
        [name] => format!("the protocol {name}"),
        _ => format!("any of the protocols {}", names.join(", ")),
    }
}

fn tls_error(error: &io::Error) -> Option<&TlsError> {
    error.get_ref()?.downcast_ref::<TlsError>()
}

async fn make_config(profile: &TlsProfile, key_log: Option<&Arc<dyn KeyLog>>) -> Result<Config> {
    let cannot = |error: &dyn std::error::Error| {
        Failure::new(Code::Internal, Stage::Tls, "TLS cannot be set up").with_cause(error)
    };
    let roots = store::store(&profile.roots).await?;
    // The provider is named because a second one anywhere in the process would make the default ambiguous.
    let provider = Arc::new(ring::default_provider());
    let verifier =
        certificate::Verifier::new(roots, provider.clone()).map_err(|error| cannot(&error))?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(match profile.min_version {
            TlsVersion::V12 => FROM_TLS12,
            TlsVersion::V13 => FROM_TLS13,
        })
        .map_err(|error| cannot(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &profile.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.0.clone())))
        }
    };
    config.alpn_protocols.clone_from(&profile.alpn_protocols);
    if let Some(key_log) = key_log {
        config.key_log = key_log.clone();
    }
    let sessions = Arc::new(ClientSessionMemoryCache::new(SESSIONS));
    config.resumption = Resumption::store(sessions.clone());
    Ok(Config {
        client: Arc::new(config),
        sessions,
    })
}

fn with_configs<T>(use_configs: impl FnOnce(&mut HashMap<TlsProfile, Weak<Config>>) -> T) -> T {
    let mut configs = CONFIGS.lock().unwrap_or_else(PoisonError::into_inner);
    use_configs(configs.get_or_insert_default())
}
