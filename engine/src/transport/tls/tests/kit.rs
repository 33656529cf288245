use std::{io, sync::Arc};

use rustls::{ServerConfig, server::Acceptor};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor, server};

use crate::{
    error::Failure,
    options::{ConnectOptions, Tls},
    testing::{Authority, options},
    transport::tls::{TlsStream, config, failure, handshake},
};

pub type Client = TlsStream<DuplexStream>;
pub type Server = server::TlsStream<DuplexStream>;

/// TLS with `localhost` that trusts this authority alone.
pub fn tls(authority: &Authority, change: impl FnOnce(&mut ConnectOptions)) -> Tls {
    options(|options| {
        options.endpoint = "localhost".to_owned();
        options.tls.ca = vec![authority.pem.clone().into_bytes()];
        change(options);
    })
    .tls
}

/// What a handshake comes to on both sides.
pub async fn meet(tls: &Tls, server: ServerConfig) -> (io::Result<Client>, io::Result<Server>) {
    meet_again(tls, &Arc::new(server)).await
}

pub async fn meet_again(
    tls: &Tls,
    server: &Arc<ServerConfig>,
) -> (io::Result<Client>, io::Result<Server>) {
    let config = config(&tls.profile, tls.key_log.as_ref()).await.unwrap();
    let (near, far) = duplex(1 << 16);
    let acceptor = TlsAcceptor::from(server.clone());
    tokio::join!(
        handshake(config, tls.server_name.clone(), near),
        acceptor.accept(far)
    )
}

/// What is told of a handshake that the client does not accept.
pub async fn refusal(tls: &Tls, server: ServerConfig) -> Failure {
    let error = meet(tls, server).await.0.err().expect("a refusal");
    failure(
        &error,
        "localhost:443",
        &tls.server_name.to_str(),
        &tls.profile.alpn_protocols,
    )
}

/// One byte each way, so that everything behind the handshake has come.
pub async fn talk(client: &mut Client, server: &mut Server) -> io::Result<()> {
    server.write_all(b"s").await?;
    server.flush().await?;
    client.read_u8().await?;
    client.write_all(b"c").await?;
    client.flush().await?;
    server.read_u8().await?;
    Ok(())
}

/// What a client asks for before anything is encrypted.
#[derive(Debug, PartialEq, Eq)]
pub struct Hello {
    pub server_name: Option<String>,
    pub alpn: Vec<String>,
}

pub async fn hello(tls: &Tls) -> Hello {
    let config = config(&tls.profile, None).await.unwrap();
    let (near, far) = duplex(1 << 16);
    let asked = LazyConfigAcceptor::new(Acceptor::default(), far);
    let asked = tokio::select! {
        _ = handshake(config, tls.server_name.clone(), near) => panic!("nobody answers"),
        asked = asked => asked.unwrap(),
    };
    let hello = asked.client_hello();
    let alpn = hello.alpn().into_iter().flatten();
    Hello {
        server_name: hello.server_name().map(str::to_owned),
        alpn: alpn
            .map(|name| String::from_utf8(name.to_vec()).unwrap())
            .collect(),
    }
}
