//! Validated configuration: what a host asks for, checked once, before any network traffic.

use std::{sync::Arc, time::Duration};

use crate::{
    authorizer::{Credentials, Login, WebSocket},
    budget::Budget,
    error::{Failure, Result},
    limits::Limits,
    wire::{PublishProperties, Version, Will, check_connect_properties},
};

mod answer;
mod lint;
mod proxy;
pub use proxy::{Authority, Proxy, ProxyLogin, ProxyOptions, ProxyScheme};
mod reconnect;
pub use reconnect::{InitialConnect, Reconnect, ReconnectOptions};
mod tls;
pub use tls::{
    ALPN_MQTT, Roots, SystemStore, Tls, TlsOptions, TlsProfile, TlsVersion, is_default_endpoint,
};
mod websocket;
pub use websocket::WebSocketOptions;

/// What a host asks for, nothing checked yet. Numbers are as wide as the host's, so that a wrong one can be named.
#[derive(Default)]
pub struct ConnectOptions {
    pub endpoint: String,
    pub port: Option<f64>,
    pub client_id: Option<String>,
    pub mqtt_version: Option<f64>,
    pub credentials: Credentials,
    /// Whether the host is asked for credentials before each attempt; `credentials` completes what it answers.
    pub asks_credentials: bool,
    pub credentials_timeout_ms: Option<f64>,
    /// `tls` or `websocket`
    pub transport: Option<String>,
    pub websocket: Option<WebSocketOptions>,
    pub tls: TlsOptions,
    pub proxy: Option<ProxyOptions>,
    pub keep_alive_seconds: Option<f64>,
    pub ping_timeout_ms: Option<f64>,
    pub connect_timeout_ms: Option<f64>,
    pub ack_timeout_ms: Option<f64>,
    pub clean_session: Option<bool>,
    pub session_expiry_seconds: Option<f64>,
    pub will: Option<Will>,
    /// User properties of CONNECT.
    pub user_properties: Vec<(String, String)>,
    pub topic_aliases: Option<bool>,
    pub initial_connect: Option<String>,
    pub reconnect: ReconnectOptions,
    pub queue_max_messages: Option<f64>,
    pub queue_max_bytes: Option<f64>,
    pub queue_when_full: Option<String>,
    pub queue_qos0: Option<String>,
    pub receive_max_messages: Option<f64>,
    pub receive_max_bytes: Option<f64>,
    pub limits: Option<String>,
    /// What replaces single limits of IoT Core.
    pub limit_changes: LimitChanges,
    pub log_level: Option<String>,
}

/// Single limits, changed or turned off.
#[derive(Default)]
pub struct LimitChanges {
    pub publishes_per_second: Option<Change>,
    pub bytes_per_second: Option<Change>,
    pub in_flight: Option<Change>,
    pub subscriptions: Option<Change>,
}

/// What is done to a limit.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    Off,
    To(f64),
}

/// Options that can work. What most connections do without is in boxes.
pub struct Options {
    pub host: String,
    pub port: u16,
    pub tls: Tls,
    /// `None`: MQTT over TLS.
    pub websocket: Option<WebSocket>,
    pub proxy: Option<Box<Proxy>>,
    /// What is legal and unlikely to work.
    pub warnings: Vec<String>,
    pub client_id: String,
    /// None was given.
    pub client_id_made_up: bool,
    pub version: Version,
    /// What is logged in with where the host is not asked.
    pub login: Arc<Login>,
    /// The fixed part of what the host answers, where it is asked.
    pub credentials: Option<Box<Credentials>>,
    pub credentials_timeout: Duration,
    pub keep_alive_seconds: u16,
    pub ping_timeout: Duration,
    pub connect_timeout: Duration,
    pub ack_timeout: Duration,
    pub clean_session: bool,
    /// MQTT 5 only.
    pub session_expiry_seconds: u32,
    pub will: Option<Box<Will>>,
    /// MQTT 5 only.
    pub user_properties: Vec<(String, String)>,
    /// Whether this side uses topic aliases where the server takes them. MQTT 5 only.
    pub topic_aliases: bool,
    pub initial_connect: InitialConnect,
    pub reconnect: Reconnect,
    /// `reconnect.renewAfterSeconds`
    pub renew_after: Option<Duration>,
    pub queue: Bounds,
    pub when_full: WhenFull,
    pub qos0: Qos0,
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

/// What happens to a message for which `queue` has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    Reject,
    /// The oldest that is not on its way makes room.
    DropOldest,
}

/// What happens to a QoS 0 message without a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos0 {
    Queue,
    Reject,
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

impl Options {
    /// Whether the host is asked for credentials before each attempt.
    pub fn asks_credentials(&self) -> bool {
        self.credentials.is_some()
    }

    /// The endpoint as it is shown, and asked of a proxy for: `host:port`.
    pub fn authority(&self) -> Authority<'_> {
        Authority(&self.host, self.port)
    }

    /// What is wrong with the port, where that is known.
    pub fn wrong_port(&self) -> Option<String> {
        lint::other_port(&self.host, &self.tls.server_name.to_str(), self.port)
    }

    /// The endpoint for messages about what happens behind the proxy, where there is one.
    pub fn peer(&self) -> String {
        match &self.proxy {
            None => self.authority().to_string(),
            Some(proxy) => format!("{} through the proxy {proxy}", self.authority()),
        }
    }
}

impl ConnectOptions {
    /// Checks everything that can be checked without the network.
    ///
    /// Fails with `ERR_INVALID_OPTION` or `ERR_INCOMPLETE_TOKEN`; the message names the option.
    pub fn validate(self) -> Result<Options> {
        let limits = limits(self.limits.as_deref(), &self.limit_changes)?;
        let version = version(self.mqtt_version)?;
        let mut warnings = Vec::new();
        let websocket = websocket(self.transport.as_deref(), self.websocket.as_ref())?;
        let tls = self
            .tls
            .validate(&self.endpoint, websocket.is_some(), &mut warnings)?;
        let clean_session = self.clean_session.unwrap_or(true);
        let port = integer("port", self.port, 1..=65_535, 443)? as u16;
        let own_id = self.client_id.as_deref();
        warnings.extend(lint::warnings(
            &self.endpoint,
            &tls.server_name.to_str(),
            port,
            own_id,
        ));
        let client_id_made_up = own_id.is_none_or(str::is_empty);
        let client_id = client_id(self.client_id, clean_session, &limits)?;
        let login = if self.asks_credentials {
            check_completed(&self.credentials)?;
            Login::default()
        } else {
            answer::login(&self.credentials, version, websocket.as_ref(), &tls)?
        };
        if let Some(will) = &self.will {
            check_will(will, version, &limits)?;
        }
        if version == Version::V311 && !self.user_properties.is_empty() {
            return Err(needs_mqtt_5("connectProperties"));
        }
        check_connect_properties(&self.user_properties)?;
        if version == Version::V311 && self.topic_aliases == Some(true) {
            return Err(needs_mqtt_5("topicAliases"));
        }
        let reconnect = self.reconnect.validate()?;
        Ok(Options {
            host: self.endpoint,
            tls,
            websocket,
            proxy: self
                .proxy
                .map(|proxy| proxy.validate().map(Box::new))
                .transpose()?,
            warnings,
            port,
            client_id,
            client_id_made_up,
            version,
            login: Arc::new(login),
            credentials: self.asks_credentials.then(|| Box::new(self.credentials)),
            credentials_timeout: millis(
                "credentialsTimeoutMs",
                self.credentials_timeout_ms,
                30_000,
            )?,
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
            will: self.will.map(Box::new),
            user_properties: self.user_properties,
            topic_aliases: self.topic_aliases.unwrap_or(false),
            initial_connect: InitialConnect::parse(self.initial_connect.as_deref())?,
            renew_after: self.reconnect.renew_after()?,
            reconnect,
            when_full: match self.queue_when_full.as_deref() {
                None | Some("reject") => WhenFull::Reject,
                Some("drop-oldest") => WhenFull::DropOldest,
                Some(other) => {
                    return Err(choice("queue.whenFull", "'reject' or 'drop-oldest'", other));
                }
            },
            qos0: match self.queue_qos0.as_deref() {
                None | Some("reject") => Qos0::Reject,
                Some("queue") => Qos0::Queue,
                Some(other) => return Err(choice("queue.qos0", "'queue' or 'reject'", other)),
            },
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

/// `None`: MQTT over TLS.
fn websocket(
    transport: Option<&str>,
    given: Option<&WebSocketOptions>,
) -> Result<Option<WebSocket>> {
    match (transport, given) {
        (None | Some("tls"), None) => Ok(None),
        (None | Some("tls"), Some(_)) => Err(Failure::option(
            "websocket is given, and transport is 'tls'",
        )
        .with_hint("Set transport: 'websocket', or leave websocket out.")),
        (Some("websocket"), None) => WebSocketOptions::default().validate().map(Some),
        (Some("websocket"), Some(given)) => given.validate().map(Some),
        (Some(other), _) => Err(choice("transport", "'tls' or 'websocket'", other)),
    }
}

/// Which limits hold.
fn limits(given: Option<&str>, changes: &LimitChanges) -> Result<Limits> {
    let mut limits = match given {
        None | Some("aws-iot-core") => Limits::AWS_IOT_CORE,
        Some("none") => Limits::NONE,
        Some(other) => return Err(choice("limits", "'aws-iot-core' or 'none'", other)),
    };
    let change = |name: &str, change: Option<Change>, present: Option<u64>, most: u64| {
        Ok(match change {
            None => present,
            Some(Change::Off) => None,
            Some(Change::To(value)) => Some(integer(name, Some(value), 1..=most, 1)?),
        })
    };
    let most = u64::from(u32::MAX);
    let present = limits.publishes_per_second.map(u64::from);
    limits.publishes_per_second = change(
        "limits.publishesPerSecond",
        changes.publishes_per_second,
        present,
        most,
    )?
    .map(|rate| rate as u32);
    let present = limits.bytes_per_second.map(u64::from);
    limits.bytes_per_second = change(
        "limits.bytesPerSecond",
        changes.bytes_per_second,
        present,
        most,
    )?
    .map(|rate| rate as u32);
    let present = Some(u64::from(limits.in_flight));
    let most = u64::from(u16::MAX);
    limits.in_flight =
        change("limits.inFlight", changes.in_flight, present, most)?.unwrap_or(most) as u16;
    let present = limits.subscriptions.map(|count| count as u64);
    limits.subscriptions = change(
        "limits.subscriptions",
        changes.subscriptions,
        present,
        1_000_000,
    )?
    .map(|count| count as usize);
    Ok(limits)
}

/// What the host answers is used as a whole, so that a secret of another attempt never goes with it.
fn check_completed(credentials: &Credentials) -> Result<()> {
    for (name, given) in [
        ("password", credentials.password.is_some()),
        ("tokenValue", credentials.token_value.is_some()),
        ("tokenSignature", credentials.token_signature.is_some()),
    ] {
        if given {
            return Err(Failure::option(format!(
                "{name} and credentials are both given; what credentials() returns is used as a whole"
            ))
            .with_hint("Return it from credentials(). authorizerName, username, tokenKeyName and tokenSigningKey may stay in the options."));
        }
    }
    Ok(())
}

fn check_will(will: &Will, version: Version, limits: &Limits) -> Result<()> {
    limits
        .check_topic(&will.topic)
        .and_then(|()| limits.check_payload(will.payload.len(), &will.topic))
        .map_err(|failure| Failure::option(format!("will: {}", failure.message())))?;
    if will.qos > 1 {
        return Err(Failure::option(
            "will.qos must be 0 or 1: IoT Core refuses a connection whose will has QoS 2",
        ));
    }
    if version == Version::V311 && will.delay_seconds > 0 {
        return Err(needs_mqtt_5("will.delaySeconds"));
    }
    if version == Version::V311 && will.properties != PublishProperties::default() {
        return Err(needs_mqtt_5("will.properties"));
    }
    will.check(version)
}

/// The failure for what exists in MQTT 5 only.
pub fn needs_mqtt_5(what: &str) -> Failure {
    Failure::option(format!("{what}: MQTT 3.1.1 has none; use mqttVersion: 5"))
}

fn choice(name: &str, wanted: &str, given: &str) -> Failure {
    Failure::option(format!("{name} must be {wanted}; got {given:?}"))
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
        )
        .with_hint(
            "Give each device one of its own that stays the same, such as its serial number.",
        )),
    }
}

fn keep_alive(given: Option<f64>, limits: &Limits) -> Result<u16> {
    let range = &limits.keep_alive_seconds;
    let range = u64::from(*range.start())..=u64::from(*range.end());
    Ok(integer("keepAliveSeconds", given, range, 60)? as u16)
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
