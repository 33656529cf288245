//! What an attempt to connect says when the server does not accept it.

use crate::{
    error::{Code, Failure, Result, Stage},
    options::Options,
    reason::{reason_name, return_code_name},
    wire::ConnAck,
};

/// A close before CONNACK on a link where the server did not select `mqtt` is most likely about that.
pub(super) fn without_alpn(
    failure: Failure,
    alpn_protocol: Option<&str>,
    options: &Options,
) -> Failure {
    if failure.code() != Code::ClosedBeforeConnack || alpn_protocol == Some("mqtt") {
        return failure;
    }
    let message = format!(
        "{}:{} closed the connection after CONNECT and did not select the protocol `mqtt` (ALPN)",
        options.host, options.port
    );
    let alpn = Failure::new(Code::Alpn, Stage::Connack, message);
    match failure.cause() {
        Some(cause) => alpn.with_cause(cause),
        None => alpn,
    }
}

/// Whether CONNACK accepts.
pub(super) fn check(connack: &ConnAck, options: &Options) -> Result<()> {
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
        "{}:{} refused the connection: {name} (CONNACK {})",
        options.host,
        options.port,
        if code < 0x80 {
            code.to_string()
        } else {
            format!("0x{code:02x}")
        }
    );
    Err(Failure::new(kind, Stage::Connack, message)
        .with_reason(code, connack.reason_string.clone()))
}
