use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::Instant,
};

use super::{
    super::End,
    kit::{connected, start},
};
use crate::{
    error::Code,
    testing::{
        Sent,
        server::{self, CONNACK, disconnect, puback, publish},
    },
};

#[tokio::test(start_paused = true)]
async fn a_closed_connection_is_lost() {
    let (running, peer) = connected(1_000, |_| {}).await;
    drop(peer);
    assert_eq!(running.end_code().await, Code::ConnectionLost);
}

#[tokio::test(start_paused = true)]
async fn a_malformed_packet_ends_the_link() {
    let (running, mut peer) = connected(1_000, |_| {}).await;
    peer.send(&[0x36, 2, 0, 0]).await;
    assert_eq!(running.end_code().await, Code::Protocol);
}

#[tokio::test(start_paused = true)]
async fn a_packet_larger_than_announced_ends_the_link_before_it_has_come() {
    let (running, mut peer) =
        connected(1_000, |options| options.receive_max_bytes = Some(1_000.0)).await;
    peer.send(&publish(0, "t", &[0; 1_000])[..10]).await;
    assert_eq!(running.end_code().await, Code::Protocol);
}

#[tokio::test(start_paused = true)]
async fn what_comes_before_a_malformed_packet_counts() {
    let (mut running, mut peer) = connected(1_000, |_| {}).await;
    running.publish(7, b"", 1);
    peer.next().await;
    peer.send(&[&puback(1)[..], &[0x36, 2, 0, 0]].concat())
        .await;
    assert_eq!(running.events.outcomes(1).await, [7]);
    assert_eq!(running.end_code().await, Code::Protocol);
}

#[tokio::test(start_paused = true)]
async fn a_disconnect_before_the_close_says_why() {
    let (running, mut peer) = connected(1_000, |_| {}).await;
    peer.send(&disconnect(0x8e)).await;
    drop(peer);
    assert_eq!(running.end_code().await, Code::SessionTakenOver);
}

/// A server that has gone: nothing can be written, and only then its last packet arrives.
struct Gone {
    connack: &'static [u8],
    last: Vec<u8>,
    failed: bool,
}

impl AsyncRead for Gone {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.connack.is_empty() {
            buffer.put_slice(std::mem::take(&mut self.connack));
            return Poll::Ready(Ok(()));
        }
        if !self.failed {
            return Poll::Pending;
        }
        buffer.put_slice(&std::mem::take(&mut self.last));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Gone {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes[0] == 0x10 {
            return Poll::Ready(Ok(bytes.len()));
        }
        self.failed = true;
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_disconnect_is_read_although_nothing_can_be_written_any_more() {
    let gone = |last| Gone {
        connack: CONNACK,
        last,
        failed: false,
    };
    let mut running = start(gone(disconnect(0x8e)), |_| {});
    running.publish(7, b"", 1);
    assert_eq!(running.end_code().await, Code::SessionTakenOver);
    let mut running = start(gone(Vec::new()), |_| {});
    running.publish(7, b"", 1);
    let failure = running.failure().await;
    assert_eq!(failure.code(), Code::ConnectionLost);
    assert_eq!(failure.cause(), Some("broken pipe"));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_gone_ends_the_link_without_a_disconnect() {
    let (running, mut peer) = connected(1_000, |_| {}).await;
    let super::kit::Running { handle, .. } = running;
    drop(handle);
    assert_eq!(peer.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_graceful_end_writes_disconnect_last_and_closes() {
    let (mut running, mut peer) = connected(1_000, |_| {}).await;
    running.publish(1, b"", 1);
    running.publish(2, b"", 0);
    running.handle.disconnect(Duration::from_secs(5));
    assert!(matches!(
        peer.next().await,
        Some(Sent::Publish { id: 1, .. })
    ));
    assert!(matches!(
        peer.next().await,
        Some(Sent::Publish { id: 0, .. })
    ));
    peer.send(&puback(1)).await;
    assert_eq!(peer.next().await, Some(Sent::Disconnect(Some(0))));
    assert_eq!(peer.next().await, None);
    assert_eq!(running.events.take_outcomes().len(), 2);
    assert!(matches!(running.end().await, End::Disconnected));
}

#[tokio::test(start_paused = true)]
async fn disconnect_leaves_behind_what_a_slow_peer_has_not_taken_yet() {
    let (mut running, mut peer) = connected(64, |_| {}).await;
    for id in 1..=100 {
        peer.send(&publish(id, "t", b"")).await;
    }
    running.messages(100).await;
    running.handle.consumed(0, 100);
    running.handle.disconnect(Duration::from_secs(5));
    // Only when the link has done all that it can does the peer begin to read.
    tokio::time::sleep(Duration::from_millis(500)).await;
    for id in 1..=100 {
        assert_eq!(peer.next().await, Some(Sent::PubAck(id)));
    }
    assert_eq!(peer.next().await, Some(Sent::Disconnect(Some(0))));
    assert_eq!(peer.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_graceful_end_waits_no_longer_than_it_may() {
    let (mut running, _peer) = connected(1_000, |_| {}).await;
    running.publish(1, b"", 1);
    running.handle.disconnect(Duration::from_secs(5));
    let asked = Instant::now();
    assert!(matches!(running.end().await, End::Disconnected));
    // And as long as the server may take to close its side.
    assert_eq!(asked.elapsed().as_secs(), 5 + 1);
}

#[tokio::test(start_paused = true)]
async fn an_end_by_force_does_not_wait_for_a_peer_that_takes_nothing() {
    let (mut running, _peer) = connected(64, |_| {}).await;
    running.publish(1, &[0; 1_000], 1);
    running.handle.disconnect(Duration::ZERO);
    let asked = Instant::now();
    assert!(matches!(running.end().await, End::Disconnected));
    assert!(asked.elapsed() < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_answer_a_ping_is_given_up() {
    let (running, mut peer) =
        connected(1_000, |options| options.keep_alive_seconds = Some(60.0)).await;
    let began = Instant::now();
    assert_eq!(peer.next().await, Some(Sent::PingReq));
    assert_eq!(began.elapsed().as_secs(), 60);
    assert_eq!(running.end_code().await, Code::KeepAlive);
    assert_eq!(began.elapsed().as_secs(), 70);
}

#[tokio::test(start_paused = true)]
async fn pings_go_on_as_long_as_they_are_answered() {
    let (running, mut peer) =
        connected(1_000, |options| options.keep_alive_seconds = Some(60.0)).await;
    let began = Instant::now();
    for minute in 1..=100 {
        assert_eq!(peer.next().await, Some(Sent::PingReq));
        assert_eq!(began.elapsed().as_secs(), minute * 60);
        peer.send(server::PINGRESP).await;
    }
    peer.stream.shutdown().await.unwrap();
    assert_eq!(running.end_code().await, Code::ConnectionLost);
}
