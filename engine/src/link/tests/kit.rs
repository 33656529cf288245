use std::{
    io,
    pin::Pin,
    sync::{Arc, atomic::AtomicU64},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex},
    task::JoinHandle,
    time::timeout,
};

use super::super::End;
use crate::{
    bare::connect_over,
    error::{Code, Failure},
    handle::Handle,
    options::ConnectOptions,
    testing::{Recorder, Sent, options, parse, server},
    wire::Version,
};

/// A running link, and the host's end of it.
pub struct Running {
    pub handle: Handle,
    pub events: Recorder,
    task: JoinHandle<End>,
}

/// The server's end of a pipe.
pub struct Peer {
    pub stream: DuplexStream,
    read: BytesMut,
}

/// A link and a server that have exchanged CONNECT and CONNACK over a pipe with room for so many bytes.
pub async fn connected(room: usize, change: impl FnOnce(&mut ConnectOptions)) -> (Running, Peer) {
    let (near, far) = duplex(room);
    connected_over(near, far, change).await
}

pub async fn connected_over<S>(
    near: S,
    far: DuplexStream,
    change: impl FnOnce(&mut ConnectOptions),
) -> (Running, Peer)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let running = start(near, change);
    let mut peer = Peer::new(far);
    assert_eq!(peer.next().await, Some(Sent::Connect { clean: true }));
    peer.send(server::CONNACK).await;
    (running, peer)
}

/// A link that begins with CONNECT.
pub fn start<S>(stream: S, change: impl FnOnce(&mut ConnectOptions)) -> Running
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    start_watching(stream, Arc::default(), change)
}

/// The same. It has the limits of MQTT alone, and pings only if the test asks for them.
/// `arrived` counts what arrives below the stream.
pub fn start_watching<S>(
    stream: S,
    arrived: Arc<AtomicU64>,
    change: impl FnOnce(&mut ConnectOptions),
) -> Running
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let options = options(|options| {
        options.limits = Some("none".to_owned());
        options.keep_alive_seconds = Some(0.0);
        options.log_level = None;
        change(options);
    });
    let events = Recorder::default();
    let (handle, task) = connect_over(stream, Some(arrived), options, events.clone());
    let task = tokio::spawn(task);
    Running {
        handle,
        events,
        task,
    }
}

impl Running {
    pub fn publish(&mut self, token: u32, payload: &[u8], qos: u8) {
        self.handle
            .publish(token, "t", payload, qos, false)
            .expect("accepted");
        self.handle.flush();
    }

    pub fn consume(&mut self, from: u32, count: u32) {
        self.handle.consumed(from, count);
        self.handle.flush();
    }

    /// Waits until so many messages have arrived, and gives their numbers.
    pub async fn messages(&self, count: usize) -> Vec<u64> {
        use crate::testing::Event::Message;
        let is_message = |event: &&_| matches!(event, Message { .. });
        let enough = |events: &[_]| events.iter().filter(is_message).count() >= count;
        self.events
            .until("messages", enough)
            .await
            .iter()
            .filter_map(|event| match event {
                Message { number, .. } => Some(*number),
                _ => None,
            })
            .collect()
    }

    pub async fn end(self) -> End {
        timeout(Duration::from_secs(100_000), self.task)
            .await
            .expect("an end")
            .expect("no panic")
    }

    pub async fn failure(self) -> Failure {
        match self.end().await {
            End::Failed(failure) => failure,
            other => panic!("{other:?}"),
        }
    }

    pub async fn end_code(self) -> Code {
        self.failure().await.code()
    }
}

impl Peer {
    pub fn new(stream: DuplexStream) -> Self {
        Self {
            stream,
            read: BytesMut::new(),
        }
    }

    /// The next packet, or `None` at the end.
    pub async fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some((sent, length)) = parse(Version::V5, &self.read) {
                self.read.advance(length);
                return Some(sent);
            }
            let reading = self.stream.read_buf(&mut self.read);
            let count = timeout(Duration::from_secs(100_000), reading)
                .await
                .expect("a packet")
                .expect("no failure");
            if count == 0 {
                assert!(self.read.is_empty(), "an incomplete packet");
                return None;
            }
        }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        let sending = self.stream.write_all(bytes);
        timeout(Duration::from_secs(100_000), sending)
            .await
            .expect("room")
            .expect("no failure");
    }
}

/// Holds back up to `limit` bytes, as TLS does: a flush is done when all of them have left.
pub struct HoldingBack<S> {
    stream: S,
    limit: usize,
    held: BytesMut,
}

impl<S> HoldingBack<S> {
    pub fn new(stream: S, limit: usize) -> Self {
        Self {
            stream,
            limit,
            held: BytesMut::new(),
        }
    }
}

impl<S: AsyncWrite + Unpin> HoldingBack<S> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.held))?;
            self.held.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HoldingBack<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HoldingBack<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Err(error)) = self.poll_drain(cx) {
            return Poll::Ready(Err(error));
        }
        let room = self.limit - self.held.len();
        if room == 0 {
            return Poll::Pending;
        }
        let taken = room.min(bytes.len());
        self.held.extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
