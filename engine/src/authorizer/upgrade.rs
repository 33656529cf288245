use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    encoding::normalise_signature,
    user_name::{self, Parameter},
};
use crate::{
    error::{Failure, Result},
    http_syntax::{check_header, check_target, is_token},
    secrets::is_secret,
};

/// Where authorizer name, token and signature travel (AWS IoT Core Developer Guide, "Connecting to AWS IoT Core by using
/// custom authentication"). User name and password are always in CONNECT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carrier {
    /// In the user name of CONNECT.
    #[default]
    Connect,
    /// In the query of the WebSocket's request.
    Query,
    /// In headers of the WebSocket's request.
    Headers,
}

/// What the caller wants in the request for a WebSocket. The headers may be secret, hence no `Debug`.
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

impl WebSocket {
    /// Whether the request may hold a login, be it written by hand.
    pub fn carries_login(&self) -> bool {
        self.credentials_in != Carrier::Connect
            || self.path.contains('?')
            || !self.headers.is_empty()
    }

    /// Whether the handshake sets this header itself.
    pub fn sets(name: &str) -> bool {
        OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// What the caller's own request says under this name, in its query or headers.
    pub(super) fn carried(&self, name: &str) -> Option<String> {
        user_name::value_of(&self.path, name).or_else(|| self.header(name).map(str::to_owned))
    }

    /// The header of this name, where it is not empty.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(other, value)| !value.is_empty() && other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// The request for a WebSocket, as far as it is the caller's. It holds secrets, hence no `Debug`.
pub struct Upgrade {
    /// Path and query.
    pub target: String,
    pub headers: Vec<(String, String)>,
}

const NO_HEADER: &str =
    "What no header can hold goes into websocket.credentialsIn: 'connect' or 'query'.";

impl Upgrade {
    /// The caller's request with the parameters in their place.
    pub(super) fn new(
        websocket: &WebSocket,
        parameters: &[Parameter],
        warnings: &mut Vec<String>,
    ) -> Result<Self> {
        let mut upgrade = Self {
            target: websocket.path.clone(),
            headers: websocket.headers.clone(),
        };
        match websocket.credentials_in {
            Carrier::Connect => {}
            Carrier::Query => {
                let path = &websocket.path;
                upgrade.target = user_name::compose("websocket.path", path, parameters, warnings)?;
                check_target(&upgrade.target).map_err(|_reason| {
                    Failure::option(
                        "the query of the WebSocket's request would be longer than 8,192 bytes, or hold a character that a URL does not allow",
                    )
                    .with_hint("Leave tokenEncoding out, or set it to 'percent'. What is long goes into websocket.credentialsIn: 'connect'.")
                })?;
            }
            Carrier::Headers => {
                for parameter in parameters {
                    upgrade.add(parameter)?;
                }
            }
        }
        Ok(upgrade)
    }

    /// What nobody gets to read: the values of the query, what stands beyond the first part of the path, and headers that
    /// may carry a secret.
    pub fn secrets(&self) -> Vec<String> {
        let of_headers = self
            .headers
            .iter()
            .filter(|(name, _)| !is_plain(name))
            .flat_map(|(_, value)| [Some(value.clone()), login_in(value)])
            .flatten();
        let path = self.target.split('?').next().unwrap_or_default();
        let of_path = path.split('/').skip(2).map(str::to_owned);
        user_name::values(&self.target)
            .chain(of_headers)
            .chain(of_path)
            .filter(|value| is_secret(value))
            .collect()
    }

    fn add(&mut self, Parameter { option, key, value }: &Parameter) -> Result<()> {
        // What a token's key has been taken for may be a secret: it is not quoted.
        let reason = if !is_token(key) {
            "is no valid name of a header"
        } else if WebSocket::sets(key) || key.eq_ignore_ascii_case("host") {
            "is the name of a header that the WebSocket handshake sets itself"
        } else {
            ""
        };
        if !reason.is_empty() {
            return Err(Failure::option(format!("tokenKeyName {reason}")).with_hint(NO_HEADER));
        }
        check_header(key, value).map_err(|failure| {
            Failure::option(format!("{option}: {}", failure.message())).with_hint(NO_HEADER)
        })?;
        let present = |(name, _): &&(String, String)| name.eq_ignore_ascii_case(key);
        match self.headers.iter().find(present) {
            None => self.headers.push((key.clone(), value.clone())),
            Some((_, other)) if other == value => {}
            Some((_, other))
                if key == user_name::SIGNATURE
                    && normalise_signature(other).as_ref() == Some(value) => {}
            Some(_) => {
                return Err(Failure::option(format!(
                    "{option} contradicts the header {key} in websocket.headers"
                )));
            }
        }
        Ok(())
    }
}

/// Whether a header says nothing that proves an identity. Its words stand in answers that have nothing to hide.
fn is_plain(name: &str) -> bool {
    [
        "accept",
        "accept-language",
        "host",
        "origin",
        "user-agent",
        user_name::AUTHORIZER_NAME,
    ]
    .iter()
    .any(|plain| plain.eq_ignore_ascii_case(name))
}

/// User name and password of Basic authentication (RFC 7617).
fn login_in(header: &str) -> Option<String> {
    let (scheme, login) = header.split_once(' ')?;
    let bytes = BASE64_STANDARD.decode(login.trim()).ok()?;
    scheme
        .eq_ignore_ascii_case("basic")
        .then(|| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests;
