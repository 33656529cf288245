//! How TLS is to be spoken: trust, the client's own certificate, versions, names.

use std::{
    fs,
    hash::{Hash, Hasher},
    net::Ipv6Addr,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
};

use rustls::{
    Error as TlsError, KeyLog, KeyLogFile, RootCertStore,
    crypto::ring::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    sign::CertifiedKey,
};

use super::choice;
use crate::error::{Failure, Result};

/// How MQTT over TLS is announced on port 443 when a custom authorizer is to decide (AWS IoT Core developer guide,
/// "Device communication protocols").
pub const ALPN_MQTT: &[u8] = b"mqtt";

const LINE_BREAKS: &str = "PEM needs its line breaks: environment variables and templates often lose them, or hold \\n in their place.";

const ALONE: &str =
    "A custom authorizer alone needs neither of them; a client certificate beside it needs both.";

/// What a host asks for, nothing checked yet.
#[derive(Default)]
pub struct TlsOptions {
    /// PEM texts, each with one or several certificates.
    pub ca: Vec<Vec<u8>>,
    pub ca_file: Option<String>,
    /// PEM, the client's own certificate first.
    pub cert: Option<Vec<u8>>,
    /// PEM or DER: PKCS#8, PKCS#1 or SEC1.
    pub key: Option<Vec<u8>>,
    /// `TLSv1.2` or `TLSv1.3`
    pub min_version: Option<String>,
    pub alpn_protocols: Option<Vec<String>>,
    pub server_name: Option<String>,
    pub key_log: bool,
    /// Where the system's authorities are, by the host's environment.
    pub system: SystemStore,
}

/// How TLS is spoken with the endpoint.
#[derive(Clone)]
pub struct Tls {
    /// For SNI, and what the certificate has to be for.
    pub server_name: ServerName<'static>,
    pub profile: TlsProfile,
    /// Where the secrets of sessions go, for a tool that decrypts captured traffic. What it is follows from the profile.
    pub key_log: Option<Arc<dyn KeyLog>>,
}

/// What makes one configuration of TLS differ from another.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TlsProfile {
    pub roots: Roots,
    pub identity: Option<Identity>,
    pub min_version: TlsVersion,
    pub alpn_protocols: Vec<Vec<u8>>,
    pub logs_keys: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsVersion {
    V12,
    V13,
}

/// Which certificate authorities are trusted.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Roots {
    /// Those of the system, or Mozilla's where it has none.
    System(SystemStore),
    /// These alone.
    Only(Arc<[CertificateDer<'static>]>),
}

/// What moves or adds to the system's authorities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SystemStore {
    /// `SSL_CERT_FILE`
    pub file: Option<PathBuf>,
    /// `SSL_CERT_DIR`, one or a list as the system writes it.
    pub directory: Option<PathBuf>,
    /// `NODE_EXTRA_CA_CERTS`
    pub extra_file: Option<PathBuf>,
}

/// The client's own certificate with its key. It carries a secret, hence no `Debug`.
#[derive(Clone)]
pub struct Identity(pub Arc<CertifiedKey>);

// A certificate has one key, and that it is this one was checked.
impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.0.cert == other.0.cert
    }
}

impl Eq for Identity {}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.cert.hash(state);
    }
}

impl SystemStore {
    /// What is wrong with `NODE_EXTRA_CA_CERTS`. As with Node itself, it is no reason to fail.
    fn extra_file_warning(&self) -> Option<String> {
        const BEGINNING: &[u8] = b"-----BEGIN CERTIFICATE-----";
        static SEEN: Mutex<Option<PathBuf>> = Mutex::new(None);
        let path = self.extra_file.as_ref()?;
        // One that was found to be good is not read again for each connection.
        let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.as_ref() == Some(path) {
            return None;
        }
        let what = match fs::read(path) {
            Err(error) => format!("cannot be read: {error}"),
            Ok(pem) if pem.windows(BEGINNING.len()).any(|part| part == BEGINNING) => {
                *seen = Some(path.clone());
                return None;
            }
            Ok(_) => "holds no certificate in PEM".to_owned(),
        };
        Some(format!("NODE_EXTRA_CA_CERTS names {path:?}, which {what}"))
    }
}

impl TlsOptions {
    pub(super) fn validate(
        &self,
        endpoint: &str,
        over_websocket: bool,
        warnings: &mut Vec<String>,
    ) -> Result<Tls> {
        let identity = self.identity()?;
        let alpn_protocols = match &self.alpn_protocols {
            Some(protocols) => alpn(protocols)?,
            None if over_websocket => Vec::new(),
            None => vec![ALPN_MQTT.to_vec()],
        };
        let offers_mqtt = alpn_protocols.iter().any(|protocol| protocol == ALPN_MQTT);
        if over_websocket && offers_mqtt {
            warnings.push(
                "tls.alpnProtocols holds 'mqtt' and transport is 'websocket': IoT Core does not take that; leave alpnProtocols out"
                    .to_owned(),
            );
        }
        if identity.is_some() && over_websocket {
            warnings.push(
                "tls.cert is given and transport is 'websocket': IoT Core takes a client certificate beside an authorizer over MQTT only"
                    .to_owned(),
            );
        } else if identity.is_some()
            && offers_mqtt
            && is_default_endpoint(self.server_name.as_deref().unwrap_or(endpoint))
        {
            warnings.push(
                "tls.cert is given with ALPN 'mqtt' on one of IoT Core's default endpoints, which fails there: a certificate beside an authorizer needs the endpoint of a domain configuration with CUSTOM_AUTH_X509; a custom authorizer alone needs no certificate"
                    .to_owned(),
            );
        }
        let key_log = self.key_log.then(|| key_log(warnings)).flatten();
        let logs_keys = key_log.is_some();
        // It is checked whatever SNI says: it goes into requests.
        let of_endpoint = server_name("endpoint", endpoint)?;
        Ok(Tls {
            server_name: match &self.server_name {
                Some(name) => server_name("tls.serverName", name)?,
                None => of_endpoint,
            },
            key_log,
            profile: TlsProfile {
                roots: self.roots(warnings)?,
                identity,
                min_version: match self.min_version.as_deref() {
                    None | Some("TLSv1.2") => TlsVersion::V12,
                    Some("TLSv1.3") => TlsVersion::V13,
                    Some(other) => {
                        return Err(choice("tls.minVersion", "'TLSv1.2' or 'TLSv1.3'", other));
                    }
                },
                alpn_protocols,
                logs_keys,
            },
        })
    }

    fn roots(&self, warnings: &mut Vec<String>) -> Result<Roots> {
        let mut certificates = Vec::new();
        for pem in &self.ca {
            read_authorities("tls.ca", pem, &mut certificates)?;
        }
        if let Some(path) = &self.ca_file {
            if path.contains("-----BEGIN") || path.contains('\n') {
                return Err(Failure::option(
                    "tls.caFile holds PEM text in place of the path of a file",
                )
                .with_hint("Give the path. tls.ca takes the text."));
            }
            let pem = fs::read(path).map_err(|error| {
                Failure::option(format!("tls.caFile {path:?} cannot be read: {error}")).with_hint(
                    "A path that does not begin at the root begins where the process was started.",
                )
            })?;
            read_authorities(&format!("tls.caFile {path:?}"), &pem, &mut certificates)?;
        }
        if !certificates.is_empty() || !self.ca.is_empty() {
            return Ok(Roots::Only(shared(certificates)));
        }
        warnings.extend(self.system.extra_file_warning());
        Ok(Roots::System(self.system.clone()))
    }

    fn identity(&self) -> Result<Option<Identity>> {
        let (cert, key) = match (&self.cert, &self.key) {
            (None, None) => return Ok(None),
            (Some(cert), Some(key)) => (cert, key),
            (Some(_), None) => {
                return Err(Failure::option("tls.cert is given without tls.key").with_hint(ALONE));
            }
            (None, Some(_)) => {
                return Err(Failure::option("tls.key is given without tls.cert").with_hint(ALONE));
            }
        };
        let chain = read_certificates("tls.cert", cert)?;
        let key = private_key(key)?;
        // What a library says of a key could quote it: no cause.
        let key = any_supported_type(&key).map_err(|_error| {
            Failure::option(
                "tls.key cannot be used: RSA of 2,048 to 4,096 bits, ECDSA P-256 or P-384, and Ed25519 are supported",
            )
        })?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(|error| match error {
            TlsError::InconsistentKeys(_) => Failure::option(
                "tls.key is not the key of the first certificate of tls.cert",
            )
            .with_hint(
                "tls.cert begins with the client's own certificate; intermediate ones follow it.",
            ),
            // Of the certificate alone, which is no secret.
            error => Failure::option("tls.cert begins with a certificate that cannot be used")
                .with_hint("An X.509 certificate of version 3 is needed.")
                .with_cause(error),
        })?;
        Ok(Some(Identity(Arc::new(certified))))
    }
}

/// Whether IoT Core has made this endpoint, and port and ALPN alone choose how a client proves itself there.
pub fn is_default_endpoint(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    (host.contains(".iot.") || host.contains(".iot-fips."))
        && (host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn"))
}

impl Tls {
    /// TLS has names for servers, and none for addresses (RFC 6066, section 3).
    pub fn sends_no_server_name(&self) -> bool {
        matches!(self.server_name, ServerName::IpAddress(_))
    }
}

/// The host name, checked for what people paste in its place.
pub(super) fn server_name(option: &str, given: &str) -> Result<ServerName<'static>> {
    let wanted = format!(
        "{option} must be a host name alone, such as abc123-ats.iot.eu-west-1.amazonaws.com"
    );
    let shape = if given.is_empty() {
        "it is empty"
    } else if given.contains("://") {
        "it is a URL: leave out the scheme and everything after the name"
    } else if given.contains(['/', '?', '#', '@']) {
        "it holds more than a name: leave out path, query and user"
    } else if given.contains(char::is_whitespace) {
        "it holds white space"
    } else if given.starts_with('[') {
        "an IPv6 address is written without brackets, its port in the option port"
    } else if given.contains(':') && given.parse::<Ipv6Addr>().is_err() {
        "it holds a port: use the option port"
    } else {
        ""
    };
    let refused = |what: &str| {
        let failure = Failure::option(format!("{wanted}; {what}"));
        match option {
            "endpoint" => failure.with_hint(
                "`aws iot describe-endpoint --endpoint-type iot:Data-ATS` prints the name.",
            ),
            _ => failure,
        }
    };
    if !shape.is_empty() {
        return Err(refused(shape));
    }
    ServerName::try_from(given.to_owned())
        .map_err(|_| refused(&format!("{given:?} is no valid host name")))
}

fn read_certificates(option: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<std::result::Result<Vec<_>, _>>()
        // What the parser says quotes lines, and a key may lie in the same text: no cause.
        .map_err(|_error| {
            Failure::option(format!("{option} is not valid PEM")).with_hint(LINE_BREAKS)
        })?;
    if certificates.is_empty() {
        return Err(Failure::option(format!(
            "{option} holds no certificate: PEM with -----BEGIN CERTIFICATE----- is needed"
        )));
    }
    Ok(certificates)
}

fn read_authorities(
    option: &str,
    pem: &[u8],
    into: &mut Vec<CertificateDer<'static>>,
) -> Result<()> {
    for certificate in read_certificates(option, pem)? {
        RootCertStore::empty()
            .add(certificate.clone())
            .map_err(|error| {
                Failure::option(format!("{option} holds a certificate that cannot be read"))
                    .with_cause(error)
            })?;
        into.push(certificate);
    }
    Ok(())
}

/// One list for all connections that trust the same.
fn shared(certificates: Vec<CertificateDer<'static>>) -> Arc<[CertificateDer<'static>]> {
    static LISTS: Mutex<Vec<Weak<[CertificateDer<'static>]>>> = Mutex::new(Vec::new());
    let mut lists = LISTS.lock().unwrap_or_else(PoisonError::into_inner);
    lists.retain(|list| list.strong_count() > 0);
    let mut earlier = lists.iter().filter_map(Weak::upgrade);
    if let Some(list) = earlier.find(|list| **list == *certificates) {
        return list;
    }
    let list = Arc::from(certificates);
    lists.push(Arc::downgrade(&list));
    list
}

fn private_key(given: &[u8]) -> Result<PrivateKeyDer<'static>> {
    if !given.starts_with(b"0") {
        let text = String::from_utf8_lossy(given);
        if text.contains("ENCRYPTED") {
            return Err(Failure::option("tls.key is encrypted").with_hint(
                "Decrypt it first: crypto.createPrivateKey({ key, passphrase }) gives a KeyObject that tls.key takes.",
            ));
        }
        // What the parser says could quote the key: no cause.
        return PrivateKeyDer::from_pem_slice(given).map_err(|_error| {
            Failure::option(
                "tls.key holds no private key: PEM with -----BEGIN PRIVATE KEY-----, RSA PRIVATE KEY or EC PRIVATE KEY is needed",
            )
            .with_hint(LINE_BREAKS)
        });
    }
    PrivateKeyDer::try_from(given.to_vec())
        .map_err(|_| Failure::option("tls.key is no private key in PKCS#8, PKCS#1 or SEC1"))
}

fn alpn(protocols: &[String]) -> Result<Vec<Vec<u8>>> {
    protocols
        .iter()
        .map(|protocol| {
            // RFC 7301, section 3.1.
            if (1..=255).contains(&protocol.len()) {
                Ok(protocol.clone().into_bytes())
            } else {
                Err(Failure::option(
                    "each of tls.alpnProtocols must have 1 to 255 bytes",
                ))
            }
        })
        .collect()
}

/// One for all: a process has one such file. `None` where it has none, now or later.
fn key_log(warnings: &mut Vec<String>) -> Option<Arc<dyn KeyLog>> {
    static FILE: OnceLock<Arc<KeyLogFile>> = OnceLock::new();
    if std::env::var_os("SSLKEYLOGFILE").is_none_or(|path| path.is_empty()) {
        warnings.push("tls.keyLog is on, and SSLKEYLOGFILE names no file".to_owned());
        return None;
    }
    warnings.push(
        "tls.keyLog is on: whoever has the file that SSLKEYLOGFILE names can read this connection"
            .to_owned(),
    );
    Some(FILE.get_or_init(|| Arc::new(KeyLogFile::new())).clone())
}

#[cfg(test)]
mod tests;
