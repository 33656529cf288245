use std::time::Duration;

use tokio::sync::oneshot;

use super::kit::{Running, against};
use crate::{
    error::Code,
    testing::{
        Endpoint, Event, Sent,
        server::{CONNACK, puback, publish},
    },
};

const MQTT: &[&str] = &["mqtt"];

fn failed(token: u32, code: Code) -> Event {
    Event::Failed { token, code }
}

fn closed(code: Option<Code>, unsettled: usize) -> Event {
    Event::Closed { code, unsettled }
}

#[tokio::test]
async fn a_disconnect_while_connecting_ends_it_without_a_failure() {
    let (see, seen) = oneshot::channel();
    let (mut running, _endpoint) = against(
        MQTT,
        |_| {},
        async move |mut server| {
            server.answer(&[]).await;
            see.send(()).unwrap();
            server.listen().await;
        },
    )
    .await;
    seen.await.unwrap();
    running.handle.disconnect(Duration::from_secs(5));
    let (told, _) = running.end().await;
    assert_eq!(told, [closed(None, 0)]);
}

#[tokio::test]
async fn a_host_that_is_gone_while_connecting_ends_it() {
    let (see, seen) = oneshot::channel();
    let (running, _endpoint) = against(
        MQTT,
        |_| {},
        async move |mut server| {
            server.answer(&[]).await;
            see.send(()).unwrap();
            server.listen().await;
        },
    )
    .await;
    seen.await.unwrap();
    assert_eq!(running.abandon().await, [closed(None, 0)]);
}

#[tokio::test]
async fn what_is_asked_for_while_connecting_is_sent_once_connected() {
    let (go, gone) = oneshot::channel();
    let (mut running, _endpoint) = against(
        MQTT,
        |_| {},
        async move |mut server| {
            gone.await.unwrap();
            server.answer(CONNACK).await;
            while let Some(sent) = server.next().await {
                if let Sent::Publish { id, .. } = sent {
                    server.send(&puback(id)).await;
                }
            }
        },
    )
    .await;
    running.publish(1);
    running.publish(2);
    running.handle.withdraw(2);
    // The task takes what was asked for before the server answers.
    tokio::task::yield_now().await;
    go.send(()).unwrap();
    let mut outcomes = running.events.outcomes(2).await;
    outcomes.sort_unstable();
    assert_eq!(outcomes, [1, 2]);
}

#[tokio::test]
async fn what_is_asked_for_while_connecting_fails_with_the_connection() {
    let (go, gone) = oneshot::channel();
    let (mut running, _endpoint) = against(
        MQTT,
        |_| {},
        async move |mut server| {
            gone.await.unwrap();
            server.answer(&[0x20, 2, 0, 0x87]).await;
            server.listen().await;
        },
    )
    .await;
    running.publish(1);
    tokio::task::yield_now().await;
    go.send(()).unwrap();
    let (told, _) = running.end().await;
    let code = Code::NotAuthorized;
    assert_eq!(told, [failed(1, code), closed(Some(code), 1)]);
}

#[tokio::test]
async fn what_is_asked_for_before_a_disconnect_while_connecting_has_an_outcome() {
    let (mut running, _endpoint) =
        against(MQTT, |_| {}, async |server| server.listen().await).await;
    running.handle.publish(1, "t", b"", 1, false).unwrap();
    running.handle.disconnect(Duration::from_secs(5));
    let (told, _) = running.end().await;
    assert_eq!(told, [failed(1, Code::Closed), closed(None, 1)]);
}

#[tokio::test]
async fn what_is_left_at_the_end_fails_with_the_reason_of_the_end() {
    let (mut running, _endpoint) = against(
        MQTT,
        |_| {},
        async |mut server| {
            server.answer(CONNACK).await;
            assert!(matches!(server.next().await, Some(Sent::Publish { .. })));
            server.close().await;
        },
    )
    .await;
    let connected = |events: &[Event]| events == [Event::Connected];
    running.events.until("the connection", connected).await;
    running.publish(1);
    let shared_is_closed = |running: &Running| running.handle.shared().is_closed();
    assert!(!shared_is_closed(&running));
    let events = running
        .events
        .until("the end", |events| events.len() == 2)
        .await;
    let code = Code::ConnectionLost;
    assert_eq!(events, [failed(1, code), closed(Some(code), 1)]);
    assert!(shared_is_closed(&running));
    let refused = running.handle.publish(2, "t", b"", 1, false);
    assert_eq!(refused.unwrap_err().code(), Code::Closed);
    assert_eq!(running.handle.shared().budget.messages(), 0);
}

#[tokio::test]
async fn a_graceful_end_reports_no_failure() {
    let (mut running, _endpoint) = against(
        MQTT,
        |_| {},
        async |mut server| {
            server.answer(CONNACK).await;
            server.listen().await;
        },
    )
    .await;
    let connected = |events: &[Event]| events == [Event::Connected];
    running.events.until("the connection", connected).await;
    running.handle.disconnect(Duration::from_secs(5));
    running.handle.disconnect(Duration::from_secs(5));
    let (told, _) = running.end().await;
    assert_eq!(told, [closed(None, 0)]);
}

/// A connection whose server sends a message once it has got a publish.
async fn with_a_message() -> (Running, Endpoint) {
    let (mut running, endpoint) = against(
        MQTT,
        |_| {},
        async |mut server| {
            server.answer(CONNACK).await;
            server.next().await;
            server.send(&publish(1, "t", b"")).await;
            server.listen().await;
        },
    )
    .await;
    running.publish(7);
    (running, endpoint)
}

#[tokio::test]
async fn a_panic_of_the_host_settles_everything_and_reports_the_end() {
    let (running, _endpoint) = with_a_message().await;
    running.events.panic_on_message();
    let (mut told, events) = running.end().await;
    told.retain(|event| *event != Event::Connected);
    let code = Code::Internal;
    assert_eq!(told, [failed(7, code), closed(Some(code), 1)]);
    let failure = events.last_failure();
    assert_eq!(failure.cause(), Some("provoked by a message"));
}

#[tokio::test]
async fn a_panic_over_an_outcome_at_the_end_does_not_hide_the_end() {
    let (running, _endpoint) = with_a_message().await;
    running.events.panic_on_message();
    running.events.panic_on_outcome();
    let (mut told, _) = running.end().await;
    let code = Some(Code::Internal);
    assert_eq!(told.pop(), Some(closed(code, 0)));
}
