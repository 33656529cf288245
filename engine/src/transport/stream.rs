//! The whole road, open: one type for every kind, so that a link is compiled once.

use std::{
    borrow::Cow,
    sync::{Arc, atomic::AtomicU64},
};

use rustls::{CommonState, HandshakeKind};
use tokio_util::either::Either;

use super::{
    arrivals::Counted,
    socket::{Socket, peer_address},
    tls::{self, TlsStream},
    websocket::WebSocket,
};

/// An open road to the endpoint: TLS, or a WebSocket inside.
pub type Stream = Either<Box<TlsStream<Socket>>, Box<WebSocket<Counted<TlsStream<Socket>>>>>;

/// The protocol that the server selected in TLS (ALPN), if it selected one.
pub fn alpn_protocol(stream: &Stream) -> Option<Cow<'_, str>> {
    let (_, connection) = tls(stream);
    connection.alpn_protocol().map(String::from_utf8_lossy)
}

/// Who issued the server's certificate.
pub fn issuer(stream: &Stream) -> Option<String> {
    let (_, connection) = tls(stream);
    tls::issuer(connection.peer_certificates()?.first()?)
}

/// How many bytes have arrived so far, where what is read is only a part of that.
pub fn arrived(stream: &Stream) -> Option<Arc<AtomicU64>> {
    match stream {
        Either::Left(_) => None,
        Either::Right(websocket) => Some(websocket.get_ref().arrived()),
    }
}

/// What was agreed on, in words for the log.
pub fn describe(stream: &Stream) -> String {
    let (socket, connection) = tls(stream);
    format!(
        "{} established over {}: {}, {}{}, ALPN {}",
        match stream {
            Either::Left(_) => "TLS",
            Either::Right(_) => "WebSocket",
        },
        peer_address(socket).map_or_else(
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
            Some(HandshakeKind::Resumed) => ", resumed",
            _ => "",
        },
        alpn_protocol(stream).as_deref().unwrap_or("none")
    )
}

fn tls(stream: &Stream) -> (&Socket, &CommonState) {
    match stream {
        Either::Left(tls) => tls.get_ref(),
        Either::Right(websocket) => websocket.get_ref().get_ref().get_ref(),
    }
}
