//! Validated configuration: what a host asks for, checked once, before any network traffic.

use std::{fs, time::Duration};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use crate::{
    authorizer::{Credentials, Login},
    budget::Budget,
    error::{Failure, Result},
    limits::Limits,
    wire::Version,
};

/// What a host asks for, nothing checked yet. Numbers are as wide as the host's, so that a wrong one can be named.
#[derive(Default)]
pub struct ConnectOptions {
    pub endpoint: String,
    pub port: Option<f64>,
    pub client_id: Option<String>,
    pub mqtt_version: Option<f64>,
    pub credentials: Credentials,
    /// PEM texts, each with one or several certificates.
    pub ca: Vec<Vec<u8>>,
    pub ca_file: Option<String>,
    pub keep_alive_seconds: Option<f64>,
    pub ping_timeout_ms: Option<f64>,
    pub connect_timeout_ms: Option<f64>,
    pub ack_timeout_ms: Option<f64>,
    pub clean_session: Option<bool>,
    pub session_expiry_seconds: Option<f64>,
    pub queue_max_messages: Option<f64>,
    pub queue_max_bytes: Option<f64>,
    pub receive_max_messages: Option<f64>,
    pub receive_max_bytes: Option<f64>,
    pub limits: Option<String>,
    pub log_level: Option<String>,
}

/// Options that can work.
pub struct Options {
    pub host: String,
    pub server_name: ServerName<'static>,
    pub port: u16,
    pub client_id: String,
    pub version: Version,
    pub login: Login,
    pub roots: Roots,
    pub keep_alive_seconds: u16,
    pub ping_timeout: Duration,
    pub connect_timeout: Duration,
    pub ack_timeout: Duration,
    pub clean_session: bool,
    /// MQTT 5 only.
    pub session_expiry_seconds: u32,
    pub queue: Bounds,
    pub receive: Bounds,
    pub limits: Limits,
    pub log_level: Option<Level>,
}

/// A bound by count and by bytes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub messages: u32,
    pub bytes: usize,
}

/// Which certificate authorities are trusted.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Roots {
    /// Those of the system, or Mozilla's where it has none.
    System,
    /// These alone.
    Only(Vec<CertificateDer<'static>>),
}

/// How much a log record matters; the first is the gravest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    /// In order, as users name them.
    pub const NAMES: [&'static str; 5] = ["error", "warn", "info", "debug", "trace"];

    pub fn as_str(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    fn parse(name: &str) -> Result<Option<Self>> {
        Ok(Some(match name {
            "none" => return Ok(None),
            "error" => Self::Error,
            "warn" => Self::Warn,
            "info" => Self::Info,
            "debug" => Self::Debug,
            "trace" => Self::Trace,
            _ => {
                return Err(Failure::option(format!(
                    "logLevel must be none, {}; got {name:?}",
                    Self::NAMES.join(", ")
                )));
            }
        }))
    }
}

impl ConnectOptions {
    /// Checks everything that can be checked without the network.
    ///
    /// Fails with `ERR_INVALID_OPTION` or `ERR_INCOMPLETE_TOKEN`; the message names the option.
    pub fn validate(self) -> Result<Options> {
        let limits = match self.limits.as_deref() {
            None | Some("aws-iot-core") => Limits::AWS_IOT_CORE,
            Some("none") => Limits::NONE,
            Some(other) => {
                return Err(Failure::option(format!(
                    "limits must be 'aws-iot-core' or 'none'; got {other:?}"
                )));
            }
        };
        let version = version(self.mqtt_version)?;
        let server_name = server_name(&self.endpoint)?;
        let clean_session = self.clean_session.unwrap_or(true);
        let client_id = client_id(self.client_id, clean_session, &limits)?;
        Ok(Options {
            host: self.endpoint,
            server_name,
            port: integer("port", self.port, 1..=65_535, 443)? as u16,
            client_id,
            version,
            login: self.credentials.login(version)?,
            roots: roots(&self.ca, self.ca_file.as_deref())?,
            keep_alive_seconds: keep_alive(self.keep_alive_seconds, &limits)?,
            ping_timeout: millis("pingTimeoutMs", self.ping_timeout_ms, 10_000)?,
            connect_timeout: millis("connectTimeoutMs", self.connect_timeout_ms, 30_000)?,
            ack_timeout: millis("ackTimeoutMs", self.ack_timeout_ms, 60_000)?,
            clean_session,
            session_expiry_seconds: integer(
                "sessionExpirySeconds",
                self.session_expiry_seconds,
                0..=u64::from(u32::MAX),
                3_600,
            )? as u32,
            queue: Bounds {
                messages: count(
                    "queue.maxMessages",
                    self.queue_max_messages,
                    Budget::MAX_MESSAGES,
                    10_000,
                )?,
                bytes: bytes("queue.maxBytes", self.queue_max_bytes, 64 << 20)?,
            },
            receive: Bounds {
                messages: count(
                    "receive.maxMessages",
                    self.receive_max_messages,
                    65_535,
                    1_000,
                )?,
                bytes: bytes("receive.maxBytes", self.receive_max_bytes, 16 << 20)?,
            },
            limits,
            log_level: self.log_level.as_deref().map_or(Ok(None), Level::parse)?,
        })
    }
}

fn version(given: Option<f64>) -> Result<Version> {
    match given {
        None => Ok(Version::V5),
        Some(5.0) => Ok(Version::V5),
        Some(3.0) => Ok(Version::V311),
        Some(4.0) => Err(Failure::option(
            "mqttVersion must be 3 or 5; for MQTT 3.1.1 write 3 (4 is its number on the wire)",
        )),
        Some(other) => Err(Failure::option(format!(
            "mqttVersion must be 5, or 3 for MQTT 3.1.1; got {other}"
        ))),
    }
}

fn server_name(endpoint: &str) -> Result<ServerName<'static>> {
    const WANTED: &str =
        "endpoint must be a host name alone, such as abc123-ats.iot.eu-west-1.amazonaws.com";
    let shape = if endpoint.is_empty() {
        "it is empty"
    } else if endpoint.contains("://") {
        "it is a URL: leave out the scheme and everything after the name"
    } else if endpoint.contains(['/', '?', '#', '@']) {
        "it holds more than a name: leave out path, query and user"
    } else if endpoint.contains(char::is_whitespace) {
        "it holds white space"
    } else if endpoint.contains(':') && endpoint.parse::<std::net::Ipv6Addr>().is_err() {
        "it holds a port: use the option port"
    } else {
        ""
    };
    if !shape.is_empty() {
        return Err(Failure::option(format!("{WANTED}; {shape}")));
    }
    ServerName::try_from(endpoint.to_owned())
        .map_err(|_| Failure::option(format!("{WANTED}; {endpoint:?} is no valid host name")))
}

fn client_id(given: Option<String>, clean_session: bool, limits: &Limits) -> Result<String> {
    match given.filter(|id| !id.is_empty()) {
        Some(id) if id.len() > limits.client_id_bytes => Err(Failure::option(format!(
            "clientId has {} bytes; at most {} are allowed",
            id.len(),
            limits.client_id_bytes
        ))),
        Some(id) if id.contains('\0') => Err(Failure::option("clientId holds a NUL character")),
        Some(id) => Ok(id),
        None if clean_session => Ok(format!("client-{}", uuid())),
        None => Err(Failure::option(
            "clientId is missing: with cleanSession: false the server keeps the session under it",
        )),
    }
}

fn keep_alive(given: Option<f64>, limits: &Limits) -> Result<u16> {
    let range = &limits.keep_alive_seconds;
    let range = u64::from(*range.start())..=u64::from(*range.end());
    Ok(integer("keepAliveSeconds", given, range, 60)? as u16)
}

fn roots(ca: &[Vec<u8>], ca_file: Option<&str>) -> Result<Roots> {
    let mut certificates = Vec::new();
    for pem in ca {
        read_certificates("tls.ca", pem, &mut certificates)?;
    }
    if let Some(path) = ca_file {
        let pem = fs::read(path).map_err(|error| {
            Failure::option(format!("tls.caFile {path:?} cannot be read: {error}"))
        })?;
        read_certificates(&format!("tls.caFile {path:?}"), &pem, &mut certificates)?;
    }
    Ok(if certificates.is_empty() && ca.is_empty() {
        Roots::System
    } else {
        Roots::Only(certificates)
    })
}

fn read_certificates(
    option: &str,
    pem: &[u8],
    into: &mut Vec<CertificateDer<'static>>,
) -> Result<()> {
    let before = into.len();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| {
            Failure::option(format!("{option} is not valid PEM")).with_cause(error)
        })?;
        RootCertStore::empty()
            .add(certificate.clone())
            .map_err(|error| {
                Failure::option(format!("{option} holds a certificate that cannot be read"))
                    .with_cause(error)
            })?;
        into.push(certificate);
    }
    if into.len() == before {
        return Err(Failure::option(format!(
            "{option} holds no certificate: PEM with -----BEGIN CERTIFICATE----- is needed"
        )));
    }
    Ok(())
}

fn millis(name: &str, given: Option<f64>, default: u64) -> Result<Duration> {
    // The bound of JavaScript's own timers.
    integer(name, given, 1..=2_147_483_647, default).map(Duration::from_millis)
}

fn count(name: &str, given: Option<f64>, most: u32, default: u64) -> Result<u32> {
    integer(name, given, 1..=u64::from(most), default).map(|count| count as u32)
}

fn bytes(name: &str, given: Option<f64>, default: u64) -> Result<usize> {
    integer(name, given, 1..=Budget::MAX_BYTES, default).map(|bytes| bytes as usize)
}

fn integer(
    name: &str,
    given: Option<f64>,
    range: std::ops::RangeInclusive<u64>,
    default: u64,
) -> Result<u64> {
    let Some(value) = given else {
        return Ok(default);
    };
    let whole = value as u64;
    if value.fract() == 0.0 && value >= 0.0 && range.contains(&whole) {
        return Ok(whole);
    }
    Err(Failure::option(format!(
        "{name} must be a whole number from {} to {}; got {value}",
        range.start(),
        range.end()
    )))
}

/// A random (version 4) UUID. Unique is all that it needs to be.
fn uuid() -> String {
    let bits =
        fastrand::u128(..) & !(0xf000 << 64) & !(0xc000 << 48) | (0x4000 << 64) | (0x8000 << 48);
    let hex = format!("{bits:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

#[cfg(test)]
mod tests;
