//! What TLS with the endpoint runs over.

use std::{io, net::SocketAddr};

use tokio::net::TcpStream;
use tokio_util::either::Either;

use super::tls::TlsStream;

/// TCP, to the endpoint or to a proxy, or TLS with a proxy.
pub type Socket = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// The other end of TCP, which may be a proxy's.
pub(super) fn peer_address(socket: &Socket) -> io::Result<SocketAddr> {
    match socket {
        Either::Left(tcp) => tcp.peer_addr(),
        Either::Right(tls) => tls.get_ref().0.peer_addr(),
    }
}
