use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, duplex};

use super::{
    super::Link,
    kit::{Peer, connected, start},
};
use crate::{
    error::{Code, Stage},
    testing::{
        Event, Sent, options,
        server::{CONNACK, publish},
    },
    transport::closed,
};

fn message(number: u64, payload: &[u8]) -> Event {
    Event::Message {
        number,
        topic: "t".to_owned(),
        payload: payload.to_owned(),
        qos: 0,
        filters: Vec::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn connack_and_what_follows_it_may_be_cut_anywhere() {
    let bytes = [CONNACK, &publish(0, "t", b"1"), &publish(0, "t", b"2")].concat();
    for cut in 0..=bytes.len() {
        let (near, far) = duplex(1_000);
        let running = start(near, |_| {});
        let mut peer = Peer::new(far);
        assert_eq!(peer.next().await, Some(Sent::Connect { clean: true }));
        peer.send(&bytes[..cut]).await;
        // The clock moves once the link has done all that it can.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        peer.send(&bytes[cut..]).await;
        let arrived = running
            .events
            .until("both", |events| events.len() == 2)
            .await;
        assert_eq!(arrived, [message(0, b"1"), message(1, b"2")], "{cut}");
    }
}

#[tokio::test(start_paused = true)]
async fn packets_may_come_byte_by_byte_in_both_directions() {
    let (mut running, mut peer) = connected(1, |_| {}).await;
    peer.send(&publish(0, "t", &[7; 300])).await;
    assert_eq!(running.messages(1).await, [0]);
    running.publish(1, &[8; 300], 0);
    let Some(Sent::Publish { payload, .. }) = peer.next().await else {
        panic!()
    };
    assert_eq!(payload, [8; 300]);
    assert_eq!(running.events.outcomes(1).await, [1]);
}

#[tokio::test(start_paused = true)]
async fn a_close_before_connack_has_its_own_code() {
    for sent in [0, 2] {
        let (near, far) = duplex(1_000);
        let running = start(near, |_| {});
        let mut peer = Peer::new(far);
        peer.next().await;
        peer.send(&CONNACK[..sent]).await;
        drop(peer);
        let failure = running.failure().await;
        assert_eq!(failure.code(), Code::ClosedBeforeConnack);
        assert_eq!(failure.stage(), Stage::Connack);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_comes_before_connect_has_left_is_read() {
    let (near, mut far) = duplex(8);
    // The server answers and closes without having read.
    far.write_all(&[0x20, 3, 0, 0x87, 0]).await.unwrap();
    drop(far);
    let options = crate::testing::options(|_| {});
    let shared = std::sync::Arc::new(crate::shared::Shared::new(options.queue));
    let options = std::sync::Arc::new(options);
    let mut session = crate::session::Session::new(options.clone(), shared);
    let mut link = super::super::Link::new(near, &options);
    let connect = session.connect(&options.login).unwrap();
    let connack = link.connect(&connect, &options).await.unwrap();
    assert_eq!(connack.code, 0x87);
}

#[tokio::test(start_paused = true)]
async fn a_packet_in_place_of_connack_is_named() {
    let (near, far) = duplex(1_000);
    let running = start(near, |_| {});
    let mut peer = Peer::new(far);
    peer.next().await;
    peer.send(&publish(0, "t", b"")).await;
    let failure = running.failure().await;
    assert_eq!(failure.code(), Code::Protocol);
    assert!(failure.message().contains("PUBLISH in place of CONNACK"));
}

/// A stream that takes nothing and says why it ended.
struct Refusing;

impl AsyncRead for Refusing {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Err(closed(1008, "because")))
    }
}

impl AsyncWrite for Refusing {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn what_the_server_said_counts_more_than_that_it_took_nothing() {
    let options = options(|_| {});
    let failure = Link::new(Refusing, &options)
        .connect(b"CONNECT", &options)
        .await
        .unwrap_err();
    assert_eq!(failure.code(), Code::ClosedBeforeConnack);
    let said = "WebSocket closed with 1008: because";
    assert_eq!(failure.cause(), Some(said));
}
