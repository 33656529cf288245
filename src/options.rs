//! Options as JavaScript passes them: types are checked there, everything else in the engine.

use std::path::PathBuf;

use engine::{
    Change, ConnectOptions, Credentials, LimitChanges, ProxyOptions, PublishProperties,
    ReconnectOptions, SystemStore, TlsOptions, TokenEncoding, WebSocketOptions, Will,
};
use napi::{Either, bindgen_prelude::Uint8Array};
use napi_derive::napi;

use crate::properties::{NativeProperties, pairs};

#[napi(object, object_to_js = false)]
pub struct NativeCredentials {
    pub authorizer_name: Option<String>,
    pub username: Option<String>,
    pub password: Option<Uint8Array>,
    pub token_key_name: Option<String>,
    pub token_value: Option<String>,
    pub token_signature: Option<String>,
    pub token_signing_key: Option<Uint8Array>,
    pub token_encoding: Option<String>,
}

#[napi(object, object_to_js = false)]
pub struct NativeWill {
    pub topic: String,
    pub payload: Uint8Array,
    pub qos: u32,
    pub retain: bool,
    pub delay_seconds: u32,
    pub properties: Option<NativeProperties>,
}

#[napi(object, object_to_js = false)]
pub struct NativeReconnect {
    pub never: bool,
    pub min_delay_ms: Option<f64>,
    pub max_delay_ms: Option<f64>,
    pub stable_after_ms: Option<f64>,
    pub spread_ms: Option<f64>,
    pub max_attempts: Option<f64>,
    pub stop_after_refusals: Option<f64>,
    pub renew_after_seconds: Option<f64>,
}

#[napi(object, object_to_js = false)]
pub struct NativeWebSocket {
    pub path: Option<String>,
    pub credentials_in: Option<String>,
    /// Name, value, name, value.
    pub headers: Vec<String>,
}

#[napi(object, object_to_js = false)]
pub struct NativeTls {
    pub ca: Option<Vec<Uint8Array>>,
    pub ca_file: Option<String>,
    pub cert: Option<Uint8Array>,
    pub key: Option<Uint8Array>,
    pub min_version: Option<String>,
    pub alpn_protocols: Option<Vec<String>>,
    pub server_name: Option<String>,
    pub key_log: Option<bool>,
    /// Where the environment says that the system's authorities are.
    pub ssl_cert_file: Option<String>,
    pub ssl_cert_dir: Option<String>,
    pub extra_ca_file: Option<String>,
}

#[napi(object, object_to_js = false)]
pub struct NativeProxy {
    pub scheme: String,
    pub host: String,
    pub port: Option<f64>,
    pub username: Option<String>,
    pub password: Option<String>,
}

#[napi(object, object_to_js = false)]
pub struct NativeOptions {
    pub endpoint: String,
    pub port: Option<f64>,
    pub client_id: Option<String>,
    pub mqtt_version: Option<f64>,
    pub credentials: NativeCredentials,
    pub asks_credentials: bool,
    pub credentials_timeout_ms: Option<f64>,
    pub transport: Option<String>,
    pub websocket: Option<NativeWebSocket>,
    pub tls: NativeTls,
    pub proxy: Option<NativeProxy>,
    pub keep_alive_seconds: Option<f64>,
    pub ping_timeout_ms: Option<f64>,
    pub connect_timeout_ms: Option<f64>,
    pub ack_timeout_ms: Option<f64>,
    pub clean_session: Option<bool>,
    pub session_expiry_seconds: Option<f64>,
    pub will: Option<NativeWill>,
    pub user_properties: Vec<String>,
    pub topic_aliases: Option<bool>,
    pub initial_connect: Option<String>,
    pub reconnect: NativeReconnect,
    pub queue_max_messages: Option<f64>,
    pub queue_max_bytes: Option<f64>,
    pub queue_when_full: Option<String>,
    pub queue_qos0: Option<String>,
    pub receive_max_messages: Option<f64>,
    pub receive_max_bytes: Option<f64>,
    pub limits: Option<String>,
    /// A number replaces a limit, `false` turns it off.
    pub publishes_per_second: Option<Either<bool, f64>>,
    pub bytes_per_second: Option<Either<bool, f64>>,
    pub in_flight: Option<Either<bool, f64>>,
    pub subscriptions: Option<Either<bool, f64>>,
    pub log_level: Option<String>,
}

impl TryFrom<NativeOptions> for ConnectOptions {
    type Error = engine::Failure;

    fn try_from(given: NativeOptions) -> engine::Result<Self> {
        Ok(Self {
            endpoint: given.endpoint,
            port: given.port,
            client_id: given.client_id,
            mqtt_version: given.mqtt_version,
            credentials: given.credentials.try_into()?,
            asks_credentials: given.asks_credentials,
            credentials_timeout_ms: given.credentials_timeout_ms,
            transport: given.transport,
            websocket: given.websocket.map(WebSocketOptions::from),
            tls: given.tls.into(),
            proxy: given.proxy.map(ProxyOptions::from),
            keep_alive_seconds: given.keep_alive_seconds,
            ping_timeout_ms: given.ping_timeout_ms,
            connect_timeout_ms: given.connect_timeout_ms,
            ack_timeout_ms: given.ack_timeout_ms,
            clean_session: given.clean_session,
            session_expiry_seconds: given.session_expiry_seconds,
            will: given.will.map(Will::from),
            user_properties: pairs(given.user_properties),
            topic_aliases: given.topic_aliases,
            initial_connect: given.initial_connect,
            reconnect: given.reconnect.into(),
            queue_max_messages: given.queue_max_messages,
            queue_max_bytes: given.queue_max_bytes,
            queue_when_full: given.queue_when_full,
            queue_qos0: given.queue_qos0,
            receive_max_messages: given.receive_max_messages,
            receive_max_bytes: given.receive_max_bytes,
            limits: given.limits,
            limit_changes: LimitChanges {
                publishes_per_second: change(given.publishes_per_second),
                bytes_per_second: change(given.bytes_per_second),
                in_flight: change(given.in_flight),
                subscriptions: change(given.subscriptions),
            },
            log_level: given.log_level,
        })
    }
}

impl TryFrom<NativeCredentials> for Credentials {
    type Error = engine::Failure;

    fn try_from(given: NativeCredentials) -> engine::Result<Self> {
        Ok(Self {
            authorizer_name: given.authorizer_name,
            username: given.username,
            password: given.password.map(|password| password.to_vec()),
            token_key_name: given.token_key_name,
            token_value: given.token_value,
            token_signature: given.token_signature,
            token_signing_key: given.token_signing_key.map(|key| key.to_vec()),
            token_encoding: token_encoding(given.token_encoding.as_deref())?,
        })
    }
}

impl From<NativeWebSocket> for WebSocketOptions {
    fn from(given: NativeWebSocket) -> Self {
        Self {
            path: given.path,
            credentials_in: given.credentials_in,
            headers: pairs(given.headers),
        }
    }
}

impl From<NativeTls> for TlsOptions {
    fn from(given: NativeTls) -> Self {
        Self {
            ca: given
                .ca
                .unwrap_or_default()
                .iter()
                .map(|pem| pem.to_vec())
                .collect(),
            ca_file: given.ca_file,
            cert: given.cert.map(|cert| cert.to_vec()),
            key: given.key.map(|key| key.to_vec()),
            min_version: given.min_version,
            alpn_protocols: given.alpn_protocols,
            server_name: given.server_name,
            key_log: given.key_log.unwrap_or(false),
            system: SystemStore {
                file: given.ssl_cert_file.map(PathBuf::from),
                directory: given.ssl_cert_dir.map(PathBuf::from),
                extra_file: given.extra_ca_file.map(PathBuf::from),
            },
        }
    }
}

impl From<NativeProxy> for ProxyOptions {
    fn from(given: NativeProxy) -> Self {
        Self {
            scheme: given.scheme,
            host: given.host,
            port: given.port,
            username: given.username,
            password: given.password,
        }
    }
}

impl From<NativeWill> for Will {
    fn from(given: NativeWill) -> Self {
        Self {
            topic: given.topic,
            payload: given.payload.to_vec(),
            qos: u8::try_from(given.qos).unwrap_or(u8::MAX),
            retain: given.retain,
            delay_seconds: given.delay_seconds,
            properties: given
                .properties
                .map(PublishProperties::from)
                .unwrap_or_default(),
        }
    }
}

impl From<NativeReconnect> for ReconnectOptions {
    fn from(given: NativeReconnect) -> Self {
        Self {
            never: given.never,
            min_delay_ms: given.min_delay_ms,
            max_delay_ms: given.max_delay_ms,
            stable_after_ms: given.stable_after_ms,
            spread_ms: given.spread_ms,
            max_attempts: given.max_attempts,
            stop_after_refusals: given.stop_after_refusals,
            renew_after_seconds: given.renew_after_seconds,
        }
    }
}

/// `true` asks for what is there anyway.
fn change(given: Option<Either<bool, f64>>) -> Option<Change> {
    match given? {
        Either::A(true) => None,
        Either::A(false) => Some(Change::Off),
        Either::B(value) => Some(Change::To(value)),
    }
}

fn token_encoding(given: Option<&str>) -> engine::Result<TokenEncoding> {
    match given {
        None | Some("auto") => Ok(TokenEncoding::Auto),
        Some("raw") => Ok(TokenEncoding::Raw),
        Some("percent") => Ok(TokenEncoding::Percent),
        Some(other) => Err(engine::Failure::option(format!(
            "tokenEncoding must be 'auto', 'raw' or 'percent'; got {other:?}"
        ))),
    }
}
