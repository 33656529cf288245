use std::{future::Future, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
};
use rustls::{ALL_VERSIONS, ServerConfig, pki_types::CertificateDer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

mod identity;
pub use identity::Identity;

/// A certificate authority of one test.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// What stands between it and the root, its own certificate first.
    chain: Vec<CertificateDer<'static>>,
    pub pem: String,
}

impl Authority {
    pub fn new() -> Self {
        Self::named("authority")
    }

    pub fn named(name: &str) -> Self {
        let key = key();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            chain: Vec::new(),
            pem,
        }
    }

    /// What a server needs to prove that it is `localhost`, unless `change` says otherwise.
    pub fn server_config(
        &self,
        alpn: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Arc<ServerConfig> {
        Arc::new(self.issue(change).server_config(alpn, ALL_VERSIONS))
    }
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

/// A server that takes connections as its test wants them.
pub struct Listener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener {
    /// The next connection, after its handshake.
    pub async fn next(&mut self) -> TlsStream<TcpStream> {
        let (stream, _) = self.listener.accept().await.unwrap();
        self.acceptor.accept(stream).await.unwrap()
    }
}

/// A server on a port of its own, which takes one connection unless it listens on.
pub struct Endpoint {
    pub port: u16,
    task: JoinHandle<()>,
}

impl Endpoint {
    /// Hands the connection to `play` as it is.
    pub async fn tcp<F: Future<Output = ()> + Send>(
        play: impl FnOnce(TcpStream) -> F + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            drop(listener);
            play(stream).await;
        });
        Self { port, task }
    }

    /// Hands over the listener, for as many connections as `play` takes.
    pub async fn listening<F: Future<Output = ()> + Send>(
        config: Arc<ServerConfig>,
        play: impl FnOnce(Listener) -> F + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let listener = Listener {
            listener,
            acceptor: TlsAcceptor::from(config),
        };
        let task = tokio::spawn(async move { play(listener).await });
        Self { port, task }
    }

    /// Shakes hands first; a connection whose handshake fails is not played.
    pub async fn tls<F: Future<Output = ()> + Send>(
        config: Arc<ServerConfig>,
        play: impl FnOnce(TlsStream<TcpStream>) -> F + Send + 'static,
    ) -> Self {
        Self::tcp(async move |stream| {
            if let Ok(stream) = TlsAcceptor::from(config).accept(stream).await {
                play(stream).await;
            }
        })
        .await
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}
