//! Bytes to the endpoint: name to address, TCP, proxy, TLS, WebSocket.

/// Bytes below the frames.
mod arrivals;
/// Addresses to a TCP connection.
mod dial;
/// Names to addresses.
mod dns;
/// Answers of HTTP, for proxies and WebSocket.
mod http;
/// Work that several wait for.
mod in_flight;
/// Through a proxy.
mod proxy;
/// What TLS with the endpoint runs over.
mod socket;
/// The whole road, open.
mod stream;
/// TLS with the endpoint, or with a proxy.
mod tls;
/// The same road, gone slowly.
mod walk;
/// MQTT in WebSocket frames.
mod websocket;
use arrivals::Counted;
pub use stream::{Stream, alpn_protocol, arrived, describe, issuer};

use std::sync::Arc;

use tokio::sync::OnceCell;
use tokio_util::either::Either;

use crate::{
    authorizer::Upgrade,
    deadline::Deadline,
    error::{Result, Stage},
    options::{Options, Proxy, ProxyScheme, TlsProfile},
};
use socket::Socket;
pub use tls::{alert, is_foreign};
pub use walk::{Passage, Witness};
#[cfg(test)]
pub use websocket::closed;
pub use websocket::{breach, close_code};

/// The way of one connection to its endpoint, which it goes anew with each attempt.
pub struct Transport {
    options: Arc<Options>,
    /// Kept from attempt to attempt, so that TLS sessions resume.
    endpoint_tls: OnceCell<Arc<tls::Config>>,
    proxy_tls: OnceCell<Arc<tls::Config>>,
}

impl Transport {
    pub fn new(options: Arc<Options>) -> Self {
        Self {
            options,
            endpoint_tls: OnceCell::new(),
            proxy_tls: OnceCell::new(),
        }
    }

    /// Opens a road to the endpoint; the stage of a failure says how far it got. `upgrade` is the request for a
    /// WebSocket.
    pub async fn open(&self, upgrade: Option<&Upgrade>, deadline: &Deadline) -> Result<Stream> {
        let tls = &self.options.tls;
        // The system's roots may have to be read from disk: that goes on beside DNS and TCP.
        let (config, socket) = tokio::join!(
            deadline.within(Stage::Tls, self.endpoint_tls()),
            self.reach(deadline)
        );
        let (config, socket) = (config?, socket?);
        let at = self.options.peer();
        let handshake = async {
            tls::handshake(config, tls.server_name.clone(), socket)
                .await
                .map_err(|error| {
                    let offered = &tls.profile.alpn_protocols;
                    tls::failure(&error, &at, &tls.server_name.to_str(), offered)
                })
        };
        let stream = deadline.within(Stage::Tls, handshake).await?;
        match upgrade {
            None => Ok(Either::Left(Box::new(stream))),
            Some(upgrade) => {
                let stream = Counted::new(stream);
                let opening = websocket::open(stream, upgrade, &self.options, &at);
                let stream = deadline.within(Stage::WebSocket, opening).await?;
                Ok(Either::Right(Box::new(stream)))
            }
        }
    }

    /// Directly or through a proxy, as far as TLS with the endpoint.
    async fn reach(&self, deadline: &Deadline) -> Result<Socket> {
        let Options { host, port, .. } = &*self.options;
        let sockets = dial::SocketOptions::of(&self.options);
        match &self.options.proxy {
            None => {
                let lookup = dns::lookup(host, *port);
                let addresses = deadline.within(Stage::Dns, lookup).await?;
                let at = self.options.authority().to_string();
                let dialing = dial::connect(&addresses, &sockets, &at);
                let tcp = deadline.within(Stage::Tcp, dialing).await?;
                Ok(Either::Left(tcp))
            }
            Some(proxy) => {
                let reaching = async {
                    let tls = self.proxy_tls(proxy).await?;
                    proxy::reach(proxy, tls, &sockets, host, *port).await
                };
                deadline.within(Stage::Proxy, reaching).await
            }
        }
    }

    async fn endpoint_tls(&self) -> Result<Arc<tls::Config>> {
        let tls = &self.options.tls;
        let make = || tls::config(&tls.profile, tls.key_log.as_ref());
        self.endpoint_tls.get_or_try_init(make).await.cloned()
    }

    /// The same trust as with the endpoint, and nothing of the endpoint's own.
    async fn proxy_tls(&self, proxy: &Proxy) -> Result<Option<Arc<tls::Config>>> {
        if proxy.scheme != ProxyScheme::Https {
            return Ok(None);
        }
        let tls = &self.options.tls;
        let profile = TlsProfile {
            identity: None,
            alpn_protocols: Vec::new(),
            ..tls.profile.clone()
        };
        let make = || tls::config(&profile, tls.key_log.as_ref());
        self.proxy_tls
            .get_or_try_init(make)
            .await
            .cloned()
            .map(Some)
    }
}
