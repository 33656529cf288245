use std::{future::Future, time::Duration};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::server::TlsStream;

use crate::{
    error::{Code, Failure, Stage},
    handle::Handle,
    options::ConnectOptions,
    supervisor::connect,
    testing::{Authority, Endpoint, Event, Listener, Recorder, Sent, options, parse},
    wire::Version,
};

/// A connection to `localhost`, and the host's end of it.
pub struct Running {
    pub handle: Handle,
    pub events: Recorder,
    task: JoinHandle<()>,
}

pub fn start(
    port: u16,
    authority: &Authority,
    change: impl FnOnce(&mut ConnectOptions),
) -> Running {
    let events = Recorder::default();
    let options = options(|options| {
        options.endpoint = "localhost".to_owned();
        options.port = Some(port.into());
        options.tls.ca = vec![authority.pem.clone().into_bytes()];
        change(options);
    });
    let (handle, task) = connect(options, events.clone());
    Running {
        handle,
        events,
        task: tokio::spawn(task),
    }
}

impl Running {
    pub fn publish(&mut self, token: u32) {
        self.handle
            .publish(token, "t", b"", 1, false)
            .expect("accepted");
        self.handle.flush();
    }

    /// Waits for the end, and gives everything that was told.
    pub async fn end(self) -> (Vec<Event>, Recorder) {
        timeout(Duration::from_secs(100), self.task)
            .await
            .expect("an end")
            .expect("no panic");
        (self.events.take(), self.events)
    }

    /// The host goes, and the connection is told of nothing any more; gives what it says at its end.
    pub async fn abandon(self) -> Vec<Event> {
        drop(self.handle);
        timeout(Duration::from_secs(100), self.task)
            .await
            .expect("an end")
            .expect("no panic");
        self.events.take()
    }

    /// The failure of a connection that is told of nothing else.
    pub async fn failure(self) -> Failure {
        let (told, events) = self.end().await;
        assert!(
            matches!(
                told[..],
                [Event::Closed {
                    code: Some(_),
                    unsettled: 0
                }]
            ),
            "{told:?}"
        );
        events.last_failure()
    }
}

/// Connects to a server that speaks TLS and plays `play`, and gives the failure.
pub async fn refused_by<F: Future<Output = ()> + Send>(
    alpn: &[&str],
    change: impl FnOnce(&mut ConnectOptions),
    play: impl FnOnce(Server) -> F + Send + 'static,
) -> Failure {
    let (running, _endpoint) = against(alpn, change, play).await;
    running.failure().await
}

/// Connects to a server that speaks TLS and plays `play`.
pub async fn against<F: Future<Output = ()> + Send>(
    alpn: &[&str],
    change: impl FnOnce(&mut ConnectOptions),
    play: impl FnOnce(Server) -> F + Send + 'static,
) -> (Running, Endpoint) {
    let authority = Authority::new();
    let config = authority.server_config(alpn, |_| {});
    let endpoint = Endpoint::tls(config, async move |stream| play(Server::new(stream)).await).await;
    let running = start(endpoint.port, &authority, change);
    (running, endpoint)
}

/// Connects again and again, as soon as it may, to a server that plays `play`.
pub async fn reconnecting<F: Future<Output = ()> + Send>(
    change: impl FnOnce(&mut ConnectOptions),
    play: impl FnOnce(Servers) -> F + Send + 'static,
) -> (Running, Endpoint) {
    let authority = Authority::new();
    let config = authority.server_config(&["mqtt"], |_| {});
    let play = async move |listener| play(Servers(listener)).await;
    let endpoint = Endpoint::listening(config, play).await;
    let running = start(endpoint.port, &authority, |options| {
        options.limits = Some("none".to_owned());
        options.reconnect.never = false;
        options.reconnect.min_delay_ms = Some(0.0);
        options.reconnect.max_delay_ms = Some(1.0);
        options.reconnect.spread_ms = Some(0.0);
        change(options);
    });
    (running, endpoint)
}

/// The server's ends of the connections that follow each other.
pub struct Servers(Listener);

impl Servers {
    pub async fn next(&mut self) -> Server {
        Server::new(self.0.next().await)
    }

    /// The next connection, after CONNECT and this answer; gives whether it starts clean, too.
    pub async fn answer(&mut self, bytes: &[u8]) -> (Server, bool) {
        let mut server = self.next().await;
        let Some(Sent::Connect { clean }) = server.next().await else {
            panic!("no CONNECT")
        };
        server.send(bytes).await;
        (server, clean)
    }
}

/// The server's end of a connection.
pub struct Server {
    pub stream: TlsStream<TcpStream>,
    read: BytesMut,
}

impl Server {
    fn new(stream: TlsStream<TcpStream>) -> Self {
        Self {
            stream,
            read: BytesMut::new(),
        }
    }

    /// The next packet; `None` at the end, however it comes.
    pub async fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some((sent, length)) = parse(Version::V5, &self.read) {
                self.read.advance(length);
                return Some(sent);
            }
            if self.stream.read_buf(&mut self.read).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// Waits for CONNECT and answers.
    pub async fn answer(&mut self, bytes: &[u8]) {
        assert_eq!(self.next().await, Some(Sent::Connect { clean: true }));
        self.send(bytes).await;
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Reads until the client closes.
    pub async fn listen(mut self) {
        while self.next().await.is_some() {}
    }

    pub async fn close(mut self) {
        let _closed = self.stream.shutdown().await;
    }
}

pub fn assert_failure(failure: &Failure, code: Code, stage: Stage) {
    assert_eq!(
        (failure.code(), failure.stage()),
        (code, stage),
        "{failure:?}"
    );
    assert!(!failure.hint().is_empty(), "{failure:?}");
}
