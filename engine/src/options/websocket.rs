//! How MQTT is carried over WebSocket.

use super::choice;
use crate::{
    authorizer::{Carrier, WebSocket},
    error::{Failure, Result},
    http_syntax::{check_header, check_target},
};

/// What a host asks for, nothing checked yet.
#[derive(Default)]
pub struct WebSocketOptions {
    pub path: Option<String>,
    /// `connect`, `query` or `headers`
    pub credentials_in: Option<String>,
    pub headers: Vec<(String, String)>,
}

impl WebSocketOptions {
    pub(super) fn validate(&self) -> Result<WebSocket> {
        let path = self.path.as_deref().unwrap_or("/mqtt");
        check_target(path)?;
        for (index, (name, value)) in self.headers.iter().enumerate() {
            check_header(name, value)?;
            if WebSocket::sets(name) {
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

#[cfg(test)]
mod tests;
