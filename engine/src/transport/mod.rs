//! Bytes to the endpoint: name to address, TCP, TLS.

mod dial;

mod tls;

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::{error::Result, options::Options};

/// An open road to the endpoint.
pub type Stream = TlsStream<TcpStream>;

/// Opens a road to the endpoint; the stage of a failure says how far it got.
pub async fn open(options: &Options) -> Result<Stream> {
    // The system's roots may have to be read from disk: that goes on beside DNS and TCP.
    let (config, tcp) = tokio::join!(
        tls::config(&options.roots),
        dial::dial(&options.host, options.port)
    );
    tls::handshake(config?, options, tcp?).await
}

/// The protocol that the server selected in TLS (ALPN), if it selected one.
pub fn alpn_protocol(stream: &Stream) -> Option<String> {
    let (_tcp, connection) = stream.get_ref();
    connection
        .alpn_protocol()
        .map(|protocol| String::from_utf8_lossy(protocol).into_owned())
}
