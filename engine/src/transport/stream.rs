//! One type for every road, so that a link is compiled once.

use std::{
    borrow::Cow,
    io,
    pin::Pin,
    sync::{Arc, atomic::AtomicU64},
    task::{Context, Poll},
};

use rustls::ClientConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::{arrivals::Counted, socket::Socket, tls, websocket::WebSocket};

/// An open road to the endpoint.
pub enum Stream {
    Tls(Box<TlsStream<Socket>>),
    WebSocket(Box<WebSocket<Counted<TlsStream<Socket>>>>),
}

impl Stream {
    /// The protocol that the server selected in TLS (ALPN), if it selected one.
    pub fn alpn_protocol(&self) -> Option<Cow<'_, str>> {
        let (_, connection) = self.tls();
        connection.alpn_protocol().map(String::from_utf8_lossy)
    }

    /// Who issued the server's certificate.
    pub fn issuer(&self) -> Option<String> {
        let (_, connection) = self.tls();
        tls::issuer(connection.peer_certificates()?.first()?)
    }

    /// How many bytes have arrived so far, where what is read is only a part of that.
    pub fn arrived(&self) -> Option<Arc<AtomicU64>> {
        match self {
            Self::Tls(_) => None,
            Self::WebSocket(stream) => Some(stream.get_ref().arrived()),
        }
    }

    /// What was agreed on, in words for the log.
    pub fn describe(&self) -> String {
        let (socket, connection) = self.tls();
        format!(
            "{} established over {}: {}, {}{}, ALPN {}",
            match self {
                Self::Tls(_) => "TLS",
                Self::WebSocket(_) => "WebSocket",
            },
            socket.peer_address().map_or_else(
                |_| "an unknown address".to_owned(),
                |address| address.to_string()
            ),
            connection
                .protocol_version()
                .and_then(|version| version.as_str())
                .unwrap_or("unknown version"),
            connection
                .negotiated_cipher_suite()
                .and_then(|suite| suite.suite().as_str())
                .unwrap_or("unknown cipher suite"),
            match connection.handshake_kind() {
                Some(rustls::HandshakeKind::Resumed) => ", resumed",
                _ => "",
            },
            self.alpn_protocol().as_deref().unwrap_or("none")
        )
    }

    fn tls(&self) -> (&Socket, &ClientConnection) {
        match self {
            Self::Tls(stream) => stream.get_ref(),
            Self::WebSocket(stream) => stream.get_ref().get_ref().get_ref(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::WebSocket(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::WebSocket(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::WebSocket(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::WebSocket(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
