//! Options as JavaScript passes them: types are checked there, everything else in the engine.

use engine::{ConnectOptions, Credentials, TokenEncoding};
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;

#[napi(object, object_to_js = false)]
pub struct NativeOptions {
    pub endpoint: String,
    pub port: Option<f64>,
    pub client_id: Option<String>,
    pub mqtt_version: Option<f64>,
    pub authorizer_name: Option<String>,
    pub username: Option<String>,
    pub password: Option<Uint8Array>,
    pub token_key_name: Option<String>,
    pub token_value: Option<String>,
    pub token_signature: Option<String>,
    pub token_signing_key: Option<Uint8Array>,
    pub token_encoding: Option<String>,
    pub ca: Option<Vec<Uint8Array>>,
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

impl TryFrom<NativeOptions> for ConnectOptions {
    type Error = engine::Failure;

    fn try_from(given: NativeOptions) -> engine::Result<Self> {
        Ok(Self {
            endpoint: given.endpoint,
            port: given.port,
            client_id: given.client_id,
            mqtt_version: given.mqtt_version,
            credentials: Credentials {
                authorizer_name: given.authorizer_name,
                username: given.username,
                password: given.password.map(|password| password.to_vec()),
                token_key_name: given.token_key_name,
                token_value: given.token_value,
                token_signature: given.token_signature,
                token_signing_key: given.token_signing_key.map(|key| key.to_vec()),
                token_encoding: token_encoding(given.token_encoding.as_deref())?,
            },
            ca: given
                .ca
                .unwrap_or_default()
                .iter()
                .map(|pem| pem.to_vec())
                .collect(),
            ca_file: given.ca_file,
            keep_alive_seconds: given.keep_alive_seconds,
            ping_timeout_ms: given.ping_timeout_ms,
            connect_timeout_ms: given.connect_timeout_ms,
            ack_timeout_ms: given.ack_timeout_ms,
            clean_session: given.clean_session,
            session_expiry_seconds: given.session_expiry_seconds,
            queue_max_messages: given.queue_max_messages,
            queue_max_bytes: given.queue_max_bytes,
            receive_max_messages: given.receive_max_messages,
            receive_max_bytes: given.receive_max_bytes,
            limits: given.limits,
            log_level: given.log_level,
        })
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
