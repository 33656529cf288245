//! The request that turns HTTP into WebSocket, and what is to be thought of the answer (RFC 6455, section 4).

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};

use super::WebSocket;
use crate::{
    authorizer::Upgrade,
    error::{Code, Failure, Result, Stage},
    options::{Authority, Options},
    transport::http::{NoResponse, Response},
};

/// MQTT's name in the protocols of WebSocket (MQTT 5, section 6).
const PROTOCOL: &str = "mqtt";
/// What servers for older clients say to the same.
const OLD_PROTOCOL: &str = "mqttv3.1";

/// Opens a WebSocket over `stream`, which leads to what a failure calls `at`. A failure never holds the request, which may carry credentials.
pub(in crate::transport) async fn open<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    upgrade: &Upgrade,
    options: &Options,
    at: &str,
) -> Result<WebSocket<S>> {
    let key = generate_key();
    let sent = async {
        let request = request(upgrade, options, &key);
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await
    };
    // The refusal may have come before all of the request had left.
    let sent = sent.await;
    let (response, rest) = match Response::read(&mut stream).await {
        Ok(answered) => answered,
        Err(reason) => {
            let failure = no_response(at, reason);
            return Err(match (failure.cause(), sent) {
                (None, Err(error)) => failure.with_cause(error),
                _ => failure,
            });
        }
    };
    if response.status != 101 {
        let secrets = upgrade.secrets();
        let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
        let status = response.status_line(&secrets);
        let body = response.body(&mut stream, rest, &secrets).await;
        let said = body.map_or_else(String::new, |body| format!(": {body}"));
        let failure = failure(format!(
            "{at} answered the request for a WebSocket with HTTP {status}{said}"
        ));
        return Err(match response.status {
            401 | 403 => failure.as_refusal(),
            _ => failure,
        });
    }
    check(&response, &key).map_err(|what| {
        failure(format!("{at} opened no WebSocket: {what}")).with_hint(
            "Something between here and the endpoint answers in its place, or what is there is no MQTT server: check endpoint, port and websocket.path.",
        )
    })?;
    Ok(WebSocket::new(stream, rest, options.receive.bytes).await)
}

fn request(upgrade: &Upgrade, options: &Options, key: &str) -> String {
    let mut request = format!("GET {} HTTP/1.1\r\n", upgrade.target);
    let mut header = |name: &str, value: &str| {
        request.push_str(name);
        request.push_str(": ");
        request.push_str(value);
        request.push_str("\r\n");
    };
    let given = |name: &str| {
        let mut names = upgrade.headers.iter().map(|(name, _)| name);
        names.any(|other| other.eq_ignore_ascii_case(name))
    };
    if !given("host") {
        header("Host", &host(options));
    }
    header("Connection", "Upgrade");
    header("Upgrade", "websocket");
    header("Sec-WebSocket-Version", "13");
    header("Sec-WebSocket-Key", key);
    header("Sec-WebSocket-Protocol", PROTOCOL);
    for (name, value) in &upgrade.headers {
        header(name, value);
    }
    request.push_str("\r\n");
    request
}

/// The name that TLS asked for; a server may choose by either.
fn host(options: &Options) -> String {
    let name = options.tls.server_name.to_str();
    match options.port {
        443 if !name.contains(':') => name.into_owned(),
        port => Authority(&name, port).to_string(),
    }
}

/// Whether the answer opens what was asked for (RFC 6455, section 4.1).
fn check(response: &Response, key: &str) -> std::result::Result<(), String> {
    if !response.lists("upgrade", "websocket") || !response.lists("connection", "upgrade") {
        return Err("its answer does not say that it upgrades to websocket".to_owned());
    }
    let mut accepts = response.all("sec-websocket-accept");
    if accepts.next() != Some(derive_accept_key(key.as_bytes()).as_str()) {
        return Err("the key in its answer does not belong to the request".to_owned());
    }
    if response.all("sec-websocket-extensions").next().is_some() {
        return Err("it uses an extension that was not offered".to_owned());
    }
    match response.all("sec-websocket-protocol").next() {
        Some(PROTOCOL | OLD_PROTOCOL) => Ok(()),
        Some(_) => Err(format!("it selected another protocol than `{PROTOCOL}`")),
        None => Err(format!("it does not speak the protocol `{PROTOCOL}`")),
    }
}

fn no_response(at: &str, reason: NoResponse) -> Failure {
    match reason {
        NoResponse::Closed => failure(format!(
            "{at} closed the connection without an answer to the request for a WebSocket"
        )),
        NoResponse::Io(error) => crate::transport::tls::alert(&error, at).unwrap_or_else(|| {
            failure(format!(
                "the connection to {at} broke before the request for a WebSocket was answered"
            ))
            .with_cause(error)
        }),
        NoResponse::TooLong => failure(format!(
            "{at} answered the request for a WebSocket with headers without end"
        )),
        NoResponse::NotHttp => failure(format!(
            "{at} answered the request for a WebSocket with something that is no HTTP"
        )),
    }
}

fn failure(message: String) -> Failure {
    Failure::new(Code::WebSocket, Stage::WebSocket, message)
}

#[cfg(test)]
mod tests;
