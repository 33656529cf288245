use super::kit::{Running, against};
use crate::testing::{Endpoint, Event, server::CONNACK};

const PUBLISHED: Event = Event::Published {
    token: 7,
    packet_id: 0,
    reason: 0,
};

/// Connected to a server that listens.
async fn connected() -> (Running, Endpoint) {
    let (running, endpoint) = against(
        &["mqtt"],
        |options| options.limits = Some("none".to_owned()),
        async move |mut server| {
            server.answer(CONNACK).await;
            server.listen().await;
        },
    )
    .await;
    running
        .events
        .until("a connection", |told| told.contains(&Event::Connected))
        .await;
    running.events.take();
    (running, endpoint)
}

fn publish(running: &mut Running, bytes: usize) {
    running
        .handle
        .publish(7, "t", &vec![0; bytes], 0, false)
        .expect("accepted");
}

#[tokio::test]
async fn a_small_message_leaves_before_the_task_is_woken() {
    let (mut running, _endpoint) = connected().await;
    publish(&mut running, 100);
    running.handle.flush_here();
    assert_eq!(running.events.take(), [PUBLISHED]);
}

#[tokio::test]
async fn a_large_one_leaves_by_the_task() {
    let (mut running, _endpoint) = connected().await;
    publish(&mut running, 20_000);
    running.handle.flush_here();
    assert_eq!(running.events.take(), []);
    running
        .events
        .until("an outcome", |told| told.contains(&PUBLISHED))
        .await;
}

#[tokio::test]
async fn a_host_that_wants_no_work_does_none() {
    let (mut running, _endpoint) = connected().await;
    publish(&mut running, 100);
    running.handle.flush();
    assert_eq!(running.events.take(), []);
    running
        .events
        .until("an outcome", |told| told.contains(&PUBLISHED))
        .await;
}
