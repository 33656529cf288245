//! The proxy through which the endpoint is reached.

use std::fmt;

use rustls::pki_types::ServerName;

use super::integer;
use crate::error::{Failure, Result};

/// What a host asks for, nothing checked yet. Names are as they are read, not as a URL writes them.
#[derive(Default)]
pub struct ProxyOptions {
    /// `http`, `https` or `socks5`
    pub scheme: String,
    pub host: String,
    pub port: Option<f64>,
    pub username: Option<String>,
    pub password: Option<String>,
}

/// A proxy, as it is shown: `http://proxy.example:3128`. It carries a secret, hence no `Debug`.
#[derive(Clone)]
pub struct Proxy {
    pub scheme: ProxyScheme,
    pub host: String,
    /// For TLS with the proxy itself.
    pub server_name: ServerName<'static>,
    pub port: u16,
    pub login: Option<ProxyLogin>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyScheme {
    /// HTTP CONNECT in clear text.
    Http,
    /// HTTP CONNECT inside TLS.
    Https,
    Socks5,
}

#[derive(Clone)]
pub struct ProxyLogin {
    pub username: String,
    pub password: String,
}

impl ProxyOptions {
    pub(super) fn validate(&self) -> Result<Proxy> {
        let (scheme, default_port) = match self.scheme.as_str() {
            "http" => (ProxyScheme::Http, 80),
            "https" => (ProxyScheme::Https, 443),
            "socks5" => (ProxyScheme::Socks5, 1_080),
            _ => {
                return Err(Failure::option(
                    "proxy must begin with http://, https:// or socks5://",
                )
                .with_hint("SOCKS 4 is not supported, nor are PAC files."));
            }
        };
        Ok(Proxy {
            scheme,
            // Not quoted: with an `@` in the password that is not encoded, it is a piece of it.
            server_name: ServerName::try_from(self.host.clone()).map_err(|_invalid| {
                Failure::option("the host of proxy is no valid host name").with_hint(
                    "A proxy is written http://user:password@host:port, user name and password percent-encoded: @ is %40, : is %3A, / is %2F.",
                )
            })?,
            host: self.host.clone(),
            port: integer("the port of proxy", self.port, 1..=65_535, default_port)? as u16,
            login: self.login(scheme)?,
        })
    }

    fn login(&self, scheme: ProxyScheme) -> Result<Option<ProxyLogin>> {
        let username = self.username.clone().unwrap_or_default();
        let password = self.password.clone().unwrap_or_default();
        if username.is_empty() && password.is_empty() {
            return Ok(None);
        }
        if scheme == ProxyScheme::Socks5 {
            // RFC 1929, section 2.
            for (what, text) in [("user name", &username), ("password", &password)] {
                if !(1..=255).contains(&text.len()) {
                    return Err(Failure::option(format!(
                        "the {what} of proxy has {} bytes; SOCKS 5 takes 1 to 255",
                        text.len()
                    )));
                }
            }
        } else if username.contains(':') {
            // RFC 7617, section 2.
            return Err(Failure::option(
                "the user name of proxy holds a ':', which HTTP's Basic authentication does not allow",
            ));
        }
        Ok(Some(ProxyLogin { username, password }))
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            ProxyScheme::Http => "http",
            ProxyScheme::Https => "https",
            ProxyScheme::Socks5 => "socks5",
        };
        let host = Authority(&self.host, self.port);
        write!(formatter, "{scheme}://{host}")
    }
}

/// `host:port`, an IPv6 address in brackets (RFC 3986, section 3.2.2).
pub struct Authority<'a>(pub &'a str, pub u16);

impl fmt::Display for Authority<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(host, port) = self;
        if host.contains(':') {
            write!(formatter, "[{host}]:{port}")
        } else {
            write!(formatter, "{host}:{port}")
        }
    }
}

#[cfg(test)]
mod tests;
