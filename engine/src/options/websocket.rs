//! How MQTT is carried over WebSocket.

use super::choice;
use crate::{
    authorizer::Carrier,
    error::{Failure, Result},
};

/// What a host asks for, nothing checked yet.
#[derive(Default)]
pub struct WebSocketOptions {
    pub path: Option<String>,
    /// `connect`, `query` or `headers`
    pub credentials_in: Option<String>,
    pub headers: Vec<(String, String)>,
}

/// What the upgrade request says. The headers may be secret, hence no `Debug`.
#[derive(Clone)]
pub struct WebSocket {
    pub path: String,
    pub credentials_in: Carrier,
    pub headers: Vec<(String, String)>,
}

/// What the upgrade itself is made of (RFC 6455, section 4.1; RFC 9112).
const OWN_HEADERS: [&str; 9] = [
    "connection",
    "content-length",
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "transfer-encoding",
    "upgrade",
];
/// More than any server takes.
const MAX_HEADER_BYTES: usize = 8_192;

impl WebSocketOptions {
    pub(super) fn validate(&self) -> Result<WebSocket> {
        let path = self.path.as_deref().unwrap_or("/mqtt");
        check_path(path)?;
        for (index, (name, value)) in self.headers.iter().enumerate() {
            check_header(name, value)?;
            if is_own_header(name) {
                return Err(Failure::option(format!(
                    "websocket.headers holds {name}, which the WebSocket handshake sets itself"
                )));
            }
            let twice = |(other, _): &(String, String)| other.eq_ignore_ascii_case(name);
            if self.headers[..index].iter().any(twice) {
                return Err(Failure::option(format!(
                    "websocket.headers holds {name} twice"
                )));
            }
        }
        Ok(WebSocket {
            path: path.to_owned(),
            credentials_in: match self.credentials_in.as_deref() {
                None | Some("connect") => Carrier::Connect,
                Some("query") => Carrier::Query,
                Some("headers") => Carrier::Headers,
                Some(other) => {
                    return Err(choice(
                        "websocket.credentialsIn",
                        "'connect', 'query' or 'headers'",
                        other,
                    ));
                }
            },
            headers: self.headers.clone(),
        })
    }
}

/// Whether a header can be written: what breaks a line would smuggle in another header (RFC 9110, section 5.5). The
/// value never shows in the failure.
pub(crate) fn check_header(name: &str, value: &str) -> Result<()> {
    if !is_token(name) {
        return Err(Failure::option(format!(
            "{name:?} is no valid name of a header: letters, digits and !#$%&'*+-.^_`|~ are"
        )));
    }
    if !value
        .bytes()
        .all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
    {
        return Err(Failure::option(format!(
            "the value of the header {name} holds a line break, a control character or one beyond ASCII"
        )));
    }
    if value.trim() != value {
        return Err(Failure::option(format!(
            "the value of the header {name} begins or ends with white space"
        )));
    }
    if value.len() > MAX_HEADER_BYTES {
        return Err(Failure::option(format!(
            "the value of the header {name} takes {} bytes; at most {MAX_HEADER_BYTES} are allowed",
            value.len()
        )));
    }
    Ok(())
}

/// Whether the handshake sets it itself.
pub(crate) fn is_own_header(name: &str) -> bool {
    OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name))
}

/// RFC 9110, section 5.6.2.
pub(crate) fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Whether it can stand in the request line (RFC 9112, section 3.2.1). It may hold a query, which may be secret.
pub(crate) fn check_path(path: &str) -> Result<()> {
    if !path.starts_with('/') {
        return Err(Failure::option("websocket.path must begin with '/'"));
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::option(
            "websocket.path holds white space, a control character or one beyond ASCII; such are percent-encoded",
        ));
    }
    if path.contains('#') {
        return Err(Failure::option(
            "websocket.path holds a '#', which no server gets to see",
        ));
    }
    if path.len() > MAX_HEADER_BYTES {
        return Err(Failure::option(format!(
            "websocket.path takes {} bytes; at most {MAX_HEADER_BYTES} are allowed",
            path.len()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
