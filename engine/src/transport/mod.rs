//! Bytes to the endpoint: name to address, TCP, TLS.

mod dial;

mod tls;
pub use tls::alert;

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::{
    deadline::Deadline,
    error::{Result, Stage},
    options::Options,
};

/// An open road to the endpoint.
pub type Stream = TlsStream<TcpStream>;

/// Opens a road to the endpoint; the stage of a failure says how far it got.
pub async fn open(options: &Options, deadline: &Deadline) -> Result<Stream> {
    // The system's roots may have to be read from disk: that goes on beside DNS and TCP.
    let (config, tcp) = tokio::join!(
        deadline.within(Stage::Tls, tls::config(&options.roots)),
        dial::dial(&options.host, options.port, deadline)
    );
    deadline
        .within(Stage::Tls, tls::handshake(config?, options, tcp?))
        .await
}

/// What was agreed on, in words for the log.
pub fn describe(stream: &Stream) -> String {
    let (tcp, connection) = stream.get_ref();
    format!(
        "TLS established with {}: {}, {}, ALPN {}",
        tcp.peer_addr().map_or_else(
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
        alpn_protocol(stream).as_deref().unwrap_or("none")
    )
}

/// The protocol that the server selected in TLS (ALPN), if it selected one.
pub fn alpn_protocol(stream: &Stream) -> Option<String> {
    let (_tcp, connection) = stream.get_ref();
    connection
        .alpn_protocol()
        .map(|protocol| String::from_utf8_lossy(protocol).into_owned())
}
