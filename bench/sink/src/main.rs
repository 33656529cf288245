//! A TLS server for MQTT 3.1.1 and 5 that accepts everything: it acknowledges in batches and floods on request.
//!
//! `bench-sink DIR` writes `ca.pem`, `server.pem` and `server.key` into DIR and prints one line of JSON with its ports.
//! Then it prints one line for each connection that ended. It ends when its standard input does.

mod certificate;
mod connection;
mod flood;
mod packet;
mod websocket;

use std::{
    error::Error,
    io::{Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use rustls::{
    ServerConfig,
    crypto::ring::{Ticketer, default_provider},
    server::NoServerSessionStorage,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::{certificate::Certificate, connection::Record, websocket::WebSocket};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let directory = std::env::args_os()
        .nth(1)
        .map(PathBuf::from)
        .ok_or("usage: bench-sink DIRECTORY")?;
    let certificate = Certificate::new()?;
    certificate.write(&directory)?;

    let full = listen(acceptor(&certificate, Kind::Full)?, false).await?;
    let resuming = listen(acceptor(&certificate, Kind::Resuming)?, false).await?;
    let websocket = listen(acceptor(&certificate, Kind::WebSocket)?, true).await?;
    print(&format!(
        r#"{{"port":{full},"resumingPort":{resuming},"websocketPort":{websocket},"ca":{:?}}}"#,
        directory.join("ca.pem").display().to_string(),
    ));
    tokio::task::spawn_blocking(|| {
        let _ended = std::io::stdin().read_to_end(&mut Vec::new());
    })
    .await?;
    Ok(())
}

/// What a port is for.
#[derive(PartialEq, Eq)]
enum Kind {
    /// Every handshake is a full one: no tickets, and no session kept.
    Full,
    Resuming,
    /// Full as well, and without ALPN `mqtt`.
    WebSocket,
}

fn acceptor(certificate: &Certificate, kind: Kind) -> Result<TlsAcceptor> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificate.chain(), certificate.key()?)?;
    // A client that offers none gets none; one that offers others only is refused, as IoT Core does.
    config.alpn_protocols = match kind {
        Kind::WebSocket => vec![b"http/1.1".to_vec()],
        Kind::Full | Kind::Resuming => vec![b"mqtt".to_vec()],
    };
    if kind == Kind::Resuming {
        config.ticketer = Ticketer::new()?;
    } else {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves a free port of the loopback addresses.
async fn listen(acceptor: TlsAcceptor, websocket: bool) -> Result<u16> {
    let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = v4.local_addr()?.port();
    // `localhost` may be either; a machine without IPv6 does without.
    let v6 = TcpListener::bind(SocketAddr::from((Ipv6Addr::LOCALHOST, port))).await;
    for listener in [Some(v4), v6.ok()].into_iter().flatten() {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, acceptor.clone(), websocket));
            }
        });
    }
    Ok(port)
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, websocket: bool) {
    let mut record = Record::default();
    let served = async {
        stream.set_nodelay(true)?;
        let stream = acceptor.accept(stream).await?;
        let (_, tls) = stream.get_ref();
        record.tls = tls
            .protocol_version()
            .map(|version| format!("{version:?}"))
            .unwrap_or_default();
        record.alpn = tls.alpn_protocol() == Some(b"mqtt");
        record.resumed = tls.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
        if websocket {
            connection::run(WebSocket::accept(stream).await?, &mut record).await
        } else {
            connection::run(stream, &mut record).await
        }
    };
    let error = served.await.err().map(|error| error.to_string());
    print(&record.json(error.as_deref()));
}

fn print(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _closed = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}
