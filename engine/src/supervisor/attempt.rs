//! What an attempt to connect says when the server does not accept it.

use std::borrow::Cow;

use crate::{
    error::{Code, Failure, Result, Stage},
    options::{ALPN_MQTT, Options, is_default_endpoint},
    reason::{reason_name, return_code_name},
    transport::{self, Stream, is_foreign},
    wire::ConnAck,
};

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
        let offered = &options.tls.profile.alpn_protocols;
        let wanted = options.websocket.is_none()
            && (is_default_endpoint(&options.tls.server_name.to_str())
                || offered.iter().any(|name| name == ALPN_MQTT));
        let missed = wanted && protocol.as_deref().map(str::as_bytes) != Some(ALPN_MQTT);
        Self {
            protocol,
            missed,
            issuer: missed.then(|| transport::issuer(stream)).flatten(),
        }
    }

    /// A close before CONNACK on a link where the server did not select `mqtt` is most likely about that.
    pub(crate) fn explain(&self, failure: Failure, options: &Options) -> Failure {
        if failure.code() != Code::ClosedBeforeConnack || !self.missed {
            return failure;
        }
        let message = format!(
            "{} closed the connection after CONNECT and did not select the protocol `mqtt` (ALPN)",
            options.authority()
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
        options.authority(),
        if code < 0x80 {
            code.to_string()
        } else {
            format!("0x{code:02x}")
        }
    );
    Err(Failure::new(kind, Stage::Connack, message)
        .with_reason(code, connack.reason_string.clone()))
}
