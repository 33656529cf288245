//! What an attempt to connect says when the server does not accept it.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use crate::{
    authorizer::{Circumstances, Login, WebSocket},
    error::{Code, Failure, Result, Stage},
    options::{ALPN_MQTT, Options, is_default_endpoint},
    reason::{reason_name, refusal_hint, return_code_name},
    transport::{self, Stream, is_foreign},
    wire::ConnAck,
};

/// Of a DISCONNECT in place of CONNACK.
const NOT_AUTHORIZED: u8 = 0x87;

/// A refusal of the request for a WebSocket, where the login was to come in CONNECT.
const NO_LOGIN_YET: &str = "It is not the login, which comes in CONNECT only: a firewall, proxy or web server answers in the endpoint's place, or the endpoint is no IoT data endpoint (its name holds `-ats`).";

/// What TLS has agreed on as to the protocol inside it.
pub(crate) struct Alpn {
    pub protocol: Option<String>,
    /// Whether `mqtt` should have been selected, and was not.
    missed: bool,
    /// Who issued the server's certificate, where that matters.
    issuer: Option<String>,
}

impl Alpn {
    pub(crate) fn of(stream: &Stream, options: &Options) -> Self {
        let protocol = transport::alpn_protocol(stream).map(Cow::into_owned);
        let wanted = options.websocket.is_none()
            && (is_default_endpoint(&options.tls.server_name.to_str()) || offers_mqtt(options));
        let missed = wanted && protocol.as_deref().map(str::as_bytes) != Some(ALPN_MQTT);
        Self {
            protocol,
            missed,
            issuer: missed.then(|| transport::issuer(stream)).flatten(),
        }
    }

    /// Why CONNECT was not accepted, as far as it can be known here; `waited` is how long the answer took.
    pub(crate) fn explain(
        &self,
        failure: Failure,
        login: &Login,
        options: &Options,
        waited: Duration,
        now: SystemTime,
    ) -> Failure {
        let lead = match failure.code() {
            // On a link where the server did not select `mqtt` it is most likely about that.
            Code::ClosedBeforeConnack if self.missed => return self.missing(&failure, options),
            Code::ClosedBeforeConnack => "This is how IoT Core refuses a login without a word. ",
            Code::NotAuthorized => "",
            Code::ServerDisconnect if failure.reason_code() == Some(NOT_AUTHORIZED) => "",
            _ => return failure,
        };
        let sent = Circumstances {
            lacks_alpn: options.websocket.is_none()
                && (options.port == 443 || !offers_mqtt(options))
                && self.protocol.as_deref().map(str::as_bytes) != Some(ALPN_MQTT),
            waited,
            ..circumstances(options, login)
        };
        failure.with_hint(format!("{lead}{}", login.known.hint(&sent, now)))
    }

    fn missing(&self, failure: &Failure, options: &Options) -> Failure {
        let message = format!(
            "{} closed the connection after CONNECT and did not select the protocol `mqtt` (ALPN)",
            options.peer()
        );
        let mut alpn = Failure::new(Code::Alpn, Stage::Connack, message);
        if let Some(issuer) = &self.issuer {
            let who = if is_foreign(issuer, &options.tls.server_name.to_str()) {
                "That is not Amazon: a proxy or firewall that inspects TLS stands between and strips ALPN. Have it let this endpoint through untouched, or use transport: 'websocket', which needs no ALPN."
            } else {
                "If that is not who should have issued it, a proxy or firewall that inspects TLS stands between and strips ALPN."
            };
            let hint = format!(
                "{} The certificate was issued by {issuer}. {who}",
                alpn.hint()
            );
            alpn = alpn.with_hint(hint);
        }
        match failure.cause() {
            Some(cause) => alpn.with_cause(cause),
            None => alpn,
        }
    }
}

/// The failure of a road; where the request for a WebSocket carried the login and was refused, why that may be.
pub(crate) fn explain_road(
    failure: Failure,
    login: &Login,
    options: &Options,
    now: SystemTime,
) -> Failure {
    if failure.code() != Code::WebSocket || !failure.is_refusal() {
        return failure;
    }
    let request = options.websocket.as_ref();
    if !request.is_some_and(WebSocket::carries_login) {
        return failure.with_hint(NO_LOGIN_YET);
    }
    failure.with_hint(format!(
        "The login in the request was refused, or the endpoint is no IoT data endpoint. {}",
        login.known.hint(&circumstances(options, login), now)
    ))
}

/// What a login is sent with, before anything is known of the connection.
fn circumstances<'a>(options: &'a Options, login: &'a Login) -> Circumstances<'a> {
    Circumstances {
        client_id: &options.client_id,
        client_id_made_up: options.client_id_made_up,
        keeps_session: !options.clean_session,
        will: options
            .will
            .as_ref()
            .map(|will| (&*will.topic, will.retain)),
        host: &options.host,
        warnings: &login.warnings,
        wrong_port: options.wrong_port(),
        lacks_server_name: options.tls.sends_no_server_name(),
        lacks_alpn: false,
        has_certificate: options.tls.profile.identity.is_some(),
        waited: Duration::ZERO,
    }
}

fn offers_mqtt(options: &Options) -> bool {
    let offered = &options.tls.profile.alpn_protocols;
    offered.iter().any(|name| name == ALPN_MQTT)
}

/// Whether CONNACK accepts.
pub(crate) fn check(connack: &ConnAck, options: &Options) -> Result<()> {
    let code = connack.code;
    if code == 0 {
        return Ok(());
    }
    // A server that knows MQTT 3.1.1 only refuses MQTT 5 with a code of the older version.
    let name = if code < 0x80 {
        return_code_name(code)
    } else {
        reason_name(code)
    };
    // Of both versions: brokers mix them up.
    let login = matches!(code, 4 | 5 | 7 | 0x86 | 0x87 | 0x8c);
    let kind = if login {
        Code::NotAuthorized
    } else {
        Code::ConnectRefused
    };
    let message = format!(
        "{} refused the connection: {name} (CONNACK {})",
        options.peer(),
        if code < 0x80 {
            code.to_string()
        } else {
            format!("0x{code:02x}")
        }
    );
    let failure = Failure::new(kind, Stage::Connack, message)
        .with_reason(code, connack.reason_string.clone());
    Err(match refusal_hint(code) {
        Some(hint) if !login => failure.with_hint(hint),
        _ => failure,
    })
}
