use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Context,
    time::Duration,
};

use tokio::{
    io::{DuplexStream, duplex},
    time::{Instant, sleep, timeout},
};

use super::{
    super::{KEPT_BYTES, Link, SCRATCH},
    kit::{Peer, connected, start_watching},
};
use crate::{
    commands::{self, Receiver},
    error::Code,
    handle::Handle,
    session::Session,
    shared::Shared,
    testing::{
        Recorder, Sent, Wakes, options,
        server::{self, CONNACK, publish},
    },
};

/// A link that runs only while the test lets it, so that it can be looked into.
struct Stepped {
    link: Link<DuplexStream>,
    session: Session,
    shared: Arc<Shared>,
    handle: Handle,
    commands: Receiver,
    events: Recorder,
}

impl Stepped {
    async fn connected() -> (Self, Peer) {
        let (near, far) = duplex(1 << 24);
        let options = Arc::new(options(|options| {
            options.limits = Some("none".to_owned());
            options.keep_alive_seconds = Some(0.0);
        }));
        let shared = Arc::new(Shared::new(options.queue));
        let (sender, commands) = commands::queue();
        let mut stepped = Self {
            link: Link::new(near, &options),
            session: Session::new(options.clone(), shared.clone()),
            handle: Handle::new(options.clone(), shared.clone(), sender, None),
            shared,
            commands,
            events: Recorder::default(),
        };
        let mut peer = Peer::new(far);
        peer.send(CONNACK).await;
        let connect = stepped.session.connect(&options.login).expect("a CONNECT");
        let connack = stepped.link.connect(&connect, &options).await;
        stepped
            .session
            .connected(&connack.unwrap(), None, None, Instant::now());
        assert_eq!(peer.next().await, Some(Sent::Connect { clean: true }));
        (stepped, peer)
    }

    /// Runs the link until it has done all that it can.
    async fn run(&mut self) {
        let running = self
            .link
            .run(&mut self.session, &mut self.commands, &mut self.events);
        timeout(Duration::from_secs(1), running)
            .await
            .expect_err("it goes on");
    }

    fn held(&self) -> usize {
        self.link.inbound.capacity() + self.link.outbound.capacity()
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_link_holds_no_buffers() {
    let (mut stepped, mut peer) = Stepped::connected().await;
    stepped
        .handle
        .publish(1, "t", &[0; 10_000], 1, false)
        .unwrap();
    stepped.handle.flush();
    peer.send(&publish(1, "t", &[0; 50_000])).await;
    stepped.run().await;
    assert_eq!(stepped.events.take().len(), 1);
    assert!(matches!(peer.next().await, Some(Sent::Publish { .. })));
    assert_eq!(stepped.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn only_the_incomplete_packet_is_kept() {
    let (mut stepped, mut peer) = Stepped::connected().await;
    peer.send(&publish(0, "t", &[0; 1_000_000])).await;
    peer.send(&publish(0, "t", &[0; 100])[..50]).await;
    stepped.run().await;
    assert_eq!(stepped.events.take().len(), 1);
    assert!((50..1_000).contains(&stepped.held()), "{}", stepped.held());
}

#[tokio::test(start_paused = true)]
async fn a_buffer_that_has_grown_large_is_given_back() {
    let (mut stepped, mut peer) = Stepped::connected().await;
    let large = vec![0; 8 * KEPT_BYTES];
    stepped.handle.publish(1, "t", &large, 0, false).unwrap();
    stepped.handle.flush();
    stepped.run().await;
    assert!(matches!(peer.next().await, Some(Sent::Publish { .. })));
    assert_eq!(stepped.held(), 0);
    let mut scratch = SCRATCH.take().unwrap();
    assert!(!scratch.outbound.try_reclaim(KEPT_BYTES + 1));
}

#[tokio::test(start_paused = true)]
async fn the_buffer_of_a_thread_is_used_again() {
    let (mut stepped, _peer) = Stepped::connected().await;
    stepped
        .handle
        .publish(1, "t", &[0; 10_000], 0, false)
        .unwrap();
    stepped.handle.flush();
    stepped.run().await;
    let mut scratch = SCRATCH.take().unwrap();
    assert!(scratch.outbound.try_reclaim(10_000));
}

#[tokio::test(start_paused = true)]
async fn an_idle_link_is_not_polled() {
    let (mut running, mut peer) = connected(1_000, |_| {}).await;
    running.publish(1, b"", 0);
    running.events.outcomes(1).await;
    peer.next().await;
    let before = running.events.flushes();
    sleep(Duration::from_secs(1_000_000)).await;
    assert!(running.events.flushes() - before < 20);
}

#[tokio::test(start_paused = true)]
async fn a_ping_costs_a_few_polls_and_no_more() {
    let (running, mut peer) =
        connected(1_000, |options| options.keep_alive_seconds = Some(60.0)).await;
    assert_eq!(peer.next().await, Some(Sent::PingReq));
    peer.send(server::PINGRESP).await;
    let before = running.events.flushes();
    for _ in 0..100 {
        assert_eq!(peer.next().await, Some(Sent::PingReq));
        peer.send(server::PINGRESP).await;
    }
    let polls = running.events.flushes() - before;
    assert!(polls <= 400, "{polls}");
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_takes_longer_than_a_ping_shows_that_the_server_is_there() {
    let (near, far) = duplex(1_000);
    let arrived = Arc::new(AtomicU64::new(0));
    let running = start_watching(near, arrived.clone(), |options| {
        options.keep_alive_seconds = Some(60.0);
        options.ping_timeout_ms = Some(10_000.0);
    });
    let mut peer = Peer::new(far);
    assert_eq!(peer.next().await, Some(Sent::Connect { clean: true }));
    peer.send(CONNACK).await;
    assert_eq!(peer.next().await, Some(Sent::PingReq));
    let pinged = Instant::now();
    sleep(Duration::from_secs(9)).await;
    arrived.fetch_add(1, Ordering::Relaxed);
    assert_eq!(running.end_code().await, Code::KeepAlive);
    assert!(pinged.elapsed() >= Duration::from_secs(19));
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_never_ends_does_not_keep_a_link() {
    let (near, far) = duplex(1_000);
    let arrived = Arc::new(AtomicU64::new(0));
    let running = start_watching(near, arrived.clone(), |options| {
        options.keep_alive_seconds = Some(60.0);
        options.ping_timeout_ms = Some(10_000.0);
    });
    let mut peer = Peer::new(far);
    assert_eq!(peer.next().await, Some(Sent::Connect { clean: true }));
    peer.send(CONNACK).await;
    assert_eq!(peer.next().await, Some(Sent::PingReq));
    let trickle = async {
        loop {
            sleep(Duration::from_secs(5)).await;
            arrived.fetch_add(1, Ordering::Relaxed);
        }
    };
    let ended = timeout(Duration::from_secs(400), running.end_code());
    tokio::select! {
        code = ended => assert_eq!(code.expect("an end"), Code::KeepAlive),
        () = trickle => unreachable!(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_that_waits_for_room_is_not_polled() {
    let (mut running, _peer) = connected(1_000, |_| {}).await;
    running.publish(1, &[0; 100_000], 0);
    sleep(Duration::from_secs(1)).await;
    let before = running.events.flushes();
    sleep(Duration::from_secs(25)).await;
    assert_eq!(running.events.flushes(), before);
}

#[tokio::test(start_paused = true)]
async fn what_follows_a_link_does_not_begin_on_the_thread_of_the_host() {
    let (mut stepped, peer) = Stepped::connected().await;
    drop(peer);
    let hosting = stepped.shared.hosting();
    let mut running = pin!(stepped.link.run(
        &mut stepped.session,
        &mut stepped.commands,
        &mut stepped.events
    ));
    let wakes = Wakes::default();
    let waker = wakes.waker();
    let mut cx = Context::from_waker(&waker);
    assert!(running.as_mut().poll(&mut cx).is_pending());
    assert!(!stepped.shared.is_linked());
    assert_eq!(wakes.take(), 1);
    drop(hosting);
    assert!(running.as_mut().poll(&mut cx).is_ready());
}
