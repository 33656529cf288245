use std::time::Duration;

use tokio::{
    sync::{mpsc, oneshot},
    time,
};

use super::kit::{Running, Servers, reconnecting};
use crate::{
    authorizer::Credentials,
    error::{Code, Failure, Stage},
    options::ConnectOptions,
    session::Expiry,
    testing::{
        Event, Sent,
        server::{CONNACK, disconnect, puback, publish, resumed},
    },
};

const REFUSED: &[u8] = &[0x20, 3, 0, 0x87, 0];
/// Longer than any test.
const LONG_MS: f64 = 1_000_000.0;

const fn attempted(number: u32, code: Option<Code>) -> Event {
    Event::Attempted {
        number,
        code,
        next: code.is_some(),
    }
}

const fn last_attempted(number: u32, code: Code) -> Event {
    Event::Attempted {
        number,
        code: Some(code),
        next: false,
    }
}

const fn interrupted(code: Code) -> Event {
    Event::Interrupted { code }
}

const fn closed(code: Option<Code>) -> Event {
    Event::Closed { code, unsettled: 0 }
}

const LOST: Event = interrupted(Code::ConnectionLost);

async fn connected(running: &Running, times: usize) -> Vec<Event> {
    let is = |event: &&Event| **event == Event::Connected;
    let enough = |events: &[Event]| events.iter().filter(is).count() == times;
    running.events.until("a connection", enough).await
}

async fn ended(running: Running) -> Event {
    let (mut told, _) = running.end().await;
    told.pop().expect("an end")
}

/// A server that accepts, closes, and accepts the next for good.
async fn cut_once(mut servers: Servers) {
    servers.answer(CONNACK).await.0.close().await;
    servers.answer(&resumed(&[])).await.0.listen().await;
}

#[tokio::test]
async fn a_lost_link_is_followed_by_another() {
    let (running, _endpoint) = reconnecting(|_| {}, cut_once).await;
    let events = connected(&running, 2).await;
    let expected = [Event::Connected, LOST, attempted(2, None), Event::Connected];
    assert_eq!(events, expected);
    assert!(running.events.connected_as().session_present);
}

/// Whether each CONNECT of three starts clean, the first of which is refused.
async fn clean_starts(version: f64, clean_session: bool) -> Vec<bool> {
    let (see, mut seen) = mpsc::unbounded_channel();
    let change = |options: &mut ConnectOptions| {
        options.initial_connect = Some("retry".to_owned());
        options.mqtt_version = Some(version);
        options.clean_session = Some(clean_session);
    };
    let (_running, _endpoint) = reconnecting(change, async move |mut servers| {
        let accepted = match version {
            3.0 => &[0x20, 2, 0, 0],
            _ => CONNACK,
        };
        for answer in [&[], accepted, accepted] {
            let (server, clean) = servers.answer(answer).await;
            see.send(clean).unwrap();
            server.close().await;
        }
        servers.next().await.listen().await;
    })
    .await;
    let mut starts = Vec::new();
    while starts.len() < 3 {
        starts.push(seen.recv().await.expect("a CONNECT"));
    }
    starts
}

#[tokio::test]
async fn mqtt_5_starts_clean_until_a_connection_was_accepted() {
    assert_eq!(clean_starts(5.0, true).await, [true, true, false]);
}

#[tokio::test]
async fn a_clean_session_of_mqtt_3_1_1_starts_clean_each_time() {
    assert_eq!(clean_starts(3.0, true).await, [true; 3]);
}

#[tokio::test]
async fn a_session_that_is_to_be_kept_never_starts_clean() {
    for version in [3.0, 5.0] {
        assert_eq!(clean_starts(version, false).await, [false; 3]);
    }
}

#[tokio::test]
async fn what_is_accepted_without_a_link_is_sent_on_the_next() {
    let (go, gone) = oneshot::channel();
    let (mut running, _endpoint) = reconnecting(
        |_| {},
        async move |mut servers| {
            servers.answer(CONNACK).await.0.close().await;
            gone.await.unwrap();
            let (mut server, _) = servers.answer(&resumed(&[])).await;
            while let Some(sent) = server.next().await {
                if let Sent::Publish { id, dup, .. } = sent {
                    assert!(!dup);
                    server.send(&puback(id)).await;
                }
            }
        },
    )
    .await;
    let lost = |events: &[Event]| events.contains(&LOST);
    running.events.until("the loss", lost).await;
    running.publish(1);
    running.publish(2);
    go.send(()).unwrap();
    assert_eq!(running.events.outcomes(2).await, [1, 2]);
}

#[tokio::test]
async fn what_was_not_acknowledged_is_sent_again_on_the_next_link() {
    let (mut running, _endpoint) = reconnecting(
        |_| {},
        async |mut servers| {
            let (mut server, _) = servers.answer(CONNACK).await;
            assert!(matches!(
                server.next().await,
                Some(Sent::Publish { dup: false, .. })
            ));
            server.close().await;
            let (mut server, _) = servers.answer(&resumed(&[])).await;
            assert!(matches!(
                server.next().await,
                Some(Sent::Publish {
                    id: 1,
                    dup: true,
                    ..
                })
            ));
            server.send(&puback(1)).await;
            server.listen().await;
        },
    )
    .await;
    running.publish(1);
    assert_eq!(running.events.outcomes(1).await, [1]);
}

#[tokio::test]
async fn refusals_after_a_success_are_not_the_end() {
    let (running, _endpoint) = reconnecting(
        |_| {},
        async |mut servers| {
            servers.answer(CONNACK).await.0.close().await;
            servers.answer(REFUSED).await.0.close().await;
            servers.answer(&[]).await.0.close().await;
            servers.answer(CONNACK).await.0.listen().await;
        },
    )
    .await;
    let events = connected(&running, 2).await;
    let expected = [
        Event::Connected,
        LOST,
        attempted(2, Some(Code::NotAuthorized)),
        attempted(3, Some(Code::ClosedBeforeConnack)),
        attempted(4, None),
        Event::Connected,
    ];
    assert_eq!(events, expected);
}

#[tokio::test]
async fn it_ends_after_so_many_attempts_in_a_row_without_a_stable_link() {
    let (running, _endpoint) = reconnecting(
        |options| options.reconnect.max_attempts = Some(3.0),
        async |mut servers| {
            servers.answer(CONNACK).await.0.close().await;
            servers.answer(REFUSED).await.0.close().await;
            servers.answer(CONNACK).await.0.close().await;
        },
    )
    .await;
    let (told, _) = running.end().await;
    let expected = [
        Event::Connected,
        LOST,
        attempted(2, Some(Code::NotAuthorized)),
        attempted(3, None),
        Event::Connected,
        closed(Some(Code::ConnectionLost)),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn it_ends_after_so_many_refusals_in_a_row_where_the_host_wants_that() {
    let (running, _endpoint) = reconnecting(
        |options| options.reconnect.stop_after_refusals = Some(2.0),
        async |mut servers| {
            servers.answer(CONNACK).await.0.close().await;
            servers.answer(REFUSED).await.0.close().await;
            servers.answer(REFUSED).await.0.close().await;
        },
    )
    .await;
    let (told, _) = running.end().await;
    let code = Code::NotAuthorized;
    let expected = [
        Event::Connected,
        LOST,
        attempted(2, Some(code)),
        last_attempted(3, code),
        closed(Some(code)),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn without_reconnecting_a_lost_link_is_the_end() {
    let (running, _endpoint) =
        reconnecting(|options| options.reconnect.never = true, cut_once).await;
    let (told, _) = running.end().await;
    let expected = [Event::Connected, closed(Some(Code::ConnectionLost))];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn the_first_attempt_is_repeated_where_the_host_wants_that() {
    let (running, _endpoint) = reconnecting(
        |options| options.initial_connect = Some("retry".to_owned()),
        async |mut servers| {
            servers.answer(REFUSED).await.0.close().await;
            servers.answer(CONNACK).await.0.listen().await;
        },
    )
    .await;
    let code = Some(Code::NotAuthorized);
    let expected = [attempted(1, code), attempted(2, None), Event::Connected];
    assert_eq!(connected(&running, 1).await, expected);
}

#[tokio::test]
async fn the_first_attempt_alone_is_the_end_otherwise() {
    let (running, _endpoint) = reconnecting(
        |_| {},
        async |mut servers| servers.answer(REFUSED).await.0.close().await,
    )
    .await;
    assert_eq!(ended(running).await, closed(Some(Code::NotAuthorized)));
}

// Credentials.

fn asking(options: &mut ConnectOptions) {
    options.asks_credentials = true;
    options.initial_connect = Some("retry".to_owned());
}

fn answer(running: &mut Running, attempt: u32) {
    let credentials = Ok(Credentials::default());
    running.handle.credentials(attempt, credentials, None);
}

async fn asked(running: &Running, attempt: u32) -> Vec<Event> {
    let is_asked = |events: &[Event]| events.contains(&Event::Credentials { attempt });
    running.events.until("the question", is_asked).await
}

#[tokio::test]
async fn credentials_are_asked_for_before_each_attempt() {
    let (mut running, _endpoint) = reconnecting(asking, async |mut servers| {
        servers.answer(REFUSED).await.0.close().await;
        servers.answer(CONNACK).await.0.close().await;
        servers.answer(CONNACK).await.0.listen().await;
    })
    .await;
    let question = |attempt| Event::Credentials { attempt };
    assert_eq!(asked(&running, 1).await, [question(1)]);
    answer(&mut running, 1);
    let refused = attempted(1, Some(Code::NotAuthorized));
    assert_eq!(asked(&running, 2).await, [refused, question(2)]);
    answer(&mut running, 2);
    let accepted = attempted(2, None);
    let expected = [accepted, Event::Connected, LOST, question(3)];
    assert_eq!(asked(&running, 3).await, expected);
    answer(&mut running, 3);
    let expected = [attempted(3, None), Event::Connected];
    assert_eq!(connected(&running, 1).await, expected);
}

#[tokio::test]
async fn credentials_that_do_not_come_in_time_are_asked_for_again() {
    let (mut running, _endpoint) = reconnecting(
        |options| {
            asking(options);
            options.credentials_timeout_ms = Some(50.0);
        },
        async |mut servers| servers.answer(CONNACK).await.0.listen().await,
    )
    .await;
    let mut told = asked(&running, 2).await;
    let expected = [
        Event::Credentials { attempt: 1 },
        Event::CredentialsExpired { attempt: 1 },
        attempted(1, Some(Code::Credentials)),
        Event::Credentials { attempt: 2 },
    ];
    assert_eq!(told, expected);
    // On a slow machine the second question may expire as well.
    while !told.contains(&Event::Connected) {
        for event in &told {
            if let Event::Credentials { attempt } = event {
                answer(&mut running, attempt - 1);
                answer(&mut running, *attempt);
            }
        }
        let any = |events: &[Event]| !events.is_empty();
        told = running.events.until("more", any).await;
    }
    assert!(running.events.logged("attempt 1 came too late"));
}

#[tokio::test]
async fn credentials_that_fail_are_asked_for_again_and_those_that_fail_for_good_are_the_end() {
    let (mut running, _endpoint) = reconnecting(asking, cut_once).await;
    let failure = || Failure::new(Code::Credentials, Stage::Credentials, "none today");
    asked(&running, 1).await;
    running.handle.credentials(1, Err(failure()), None);
    let failed = attempted(1, Some(Code::Credentials));
    let question = Event::Credentials { attempt: 2 };
    assert_eq!(asked(&running, 2).await, [failed, question]);
    running
        .handle
        .credentials(2, Err(failure().for_good()), None);
    let (told, events) = running.end().await;
    let code = Code::Credentials;
    assert_eq!(told, [last_attempted(2, code), closed(Some(code))]);
    assert!(events.last_failure().message().contains("none today"));
}

// The host wants no connection any more.

/// What ends it, and must do so at once.
#[derive(Clone, Copy, Debug)]
enum Leave {
    Disconnect,
    Gone,
}

impl Leave {
    /// What is told at the end.
    async fn told(self, mut running: Running) -> Vec<Event> {
        running.events.take();
        match self {
            Self::Disconnect => {
                running.handle.disconnect(Duration::from_secs(1_000));
                running.end().await.0
            }
            Self::Gone => running.abandon().await,
        }
    }
}

const LEAVES: [Leave; 2] = [Leave::Disconnect, Leave::Gone];

#[tokio::test]
async fn leaving_while_credentials_are_asked_for_ends_it() {
    for leave in LEAVES {
        let (running, _endpoint) = reconnecting(asking, cut_once).await;
        asked(&running, 1).await;
        let expected = [Event::CredentialsExpired { attempt: 1 }, closed(None)];
        assert_eq!(leave.told(running).await, expected, "{leave:?}");
    }
}

#[tokio::test]
async fn leaving_during_the_back_off_ends_it() {
    for leave in LEAVES {
        let slow = |options: &mut ConnectOptions| {
            options.reconnect.min_delay_ms = Some(LONG_MS);
            options.reconnect.max_delay_ms = Some(LONG_MS);
        };
        let (running, _endpoint) = reconnecting(slow, cut_once).await;
        let lost = |events: &[Event]| events.contains(&LOST);
        running.events.until("the loss", lost).await;
        assert_eq!(leave.told(running).await, [closed(None)], "{leave:?}");
    }
}

#[tokio::test]
async fn leaving_during_a_later_attempt_ends_it() {
    for leave in LEAVES {
        let (see, seen) = oneshot::channel();
        let (running, _endpoint) = reconnecting(
            |_| {},
            async move |mut servers| {
                servers.answer(CONNACK).await.0.close().await;
                let (server, _) = servers.answer(&[]).await;
                see.send(()).unwrap();
                server.listen().await;
            },
        )
        .await;
        seen.await.unwrap();
        assert_eq!(leave.told(running).await, [closed(None)], "{leave:?}");
    }
}

#[tokio::test]
async fn what_waits_when_the_host_leaves_without_a_link_fails_at_once() {
    let slow = |options: &mut ConnectOptions| {
        options.reconnect.min_delay_ms = Some(LONG_MS);
        options.reconnect.max_delay_ms = Some(LONG_MS);
    };
    let (mut running, _endpoint) = reconnecting(slow, cut_once).await;
    let lost = |events: &[Event]| events.contains(&LOST);
    running.events.until("the loss", lost).await;
    running.publish(1);
    let code = Code::Closed;
    let failed = Event::Failed { token: 1, code };
    let closed = Event::Closed {
        code: None,
        unsettled: 1,
    };
    assert_eq!(Leave::Disconnect.told(running).await, [failed, closed]);
}

#[tokio::test]
async fn a_life_that_ends_during_the_back_off_is_told_then() {
    let slow = |options: &mut ConnectOptions| {
        options.reconnect.min_delay_ms = Some(LONG_MS);
        options.reconnect.max_delay_ms = Some(LONG_MS);
    };
    let (mut running, _endpoint) = reconnecting(slow, cut_once).await;
    let lost = |events: &[Event]| events.contains(&LOST);
    running.events.until("the loss", lost).await;
    let (properties, life) = (Default::default(), Duration::from_millis(1));
    running
        .handle
        .publish_with(1, "t", b"", 1, false, properties, Some(life))
        .expect("accepted");
    running.handle.flush();
    running.events.outcomes(1).await;
    assert_eq!(running.events.last_failure().code(), Code::Expired);
}

// When.

#[tokio::test]
async fn two_connects_of_one_client_id_are_a_second_apart_under_the_limits_of_iot_core() {
    let (running, _endpoint) = reconnecting(
        |options| options.limits = Some("aws-iot-core".to_owned()),
        cut_once,
    )
    .await;
    connected(&running, 2).await;
    let wait = waits(&running)[0];
    // A second, less what the first link lived.
    assert!((500..=1_000).contains(&wait), "{wait}");
}

/// The milliseconds that it waited before each further attempt, as it says.
fn waits(running: &Running) -> Vec<u64> {
    let log = running.events.log_text();
    log.lines()
        .filter_map(|line| line.split_once("next attempt in ")?.1.strip_suffix(" ms"))
        .filter_map(|millis| millis.parse().ok())
        .collect()
}

#[tokio::test]
async fn two_attempts_are_a_second_apart_under_the_limits_of_iot_core() {
    let (running, _endpoint) = reconnecting(
        |options| {
            options.limits = Some("aws-iot-core".to_owned());
            options.initial_connect = Some("retry".to_owned());
        },
        async |mut servers| {
            servers.answer(REFUSED).await.0.listen().await;
        },
    )
    .await;
    let any = |events: &[Event]| !events.is_empty();
    running.events.until("the refusal", any).await;
    let delay = running.events.delays()[0];
    // A second, less what the answer took.
    assert!(delay > Duration::from_millis(500), "{delay:?}");
    assert!(delay <= Duration::from_secs(1), "{delay:?}");
}

// Renewal.

/// A connection that is renewed after its time, and how its two links were seen by the server.
async fn renewed(change: fn(&mut ConnectOptions), life: Option<Expiry>) -> (Vec<Event>, Vec<Sent>) {
    let (see, mut seen) = mpsc::unbounded_channel();
    let change = |options: &mut ConnectOptions| {
        options.keep_alive_seconds = Some(0.0);
        change(options);
    };
    let (mut running, _endpoint) = reconnecting(change, async move |mut servers| {
        for connack in [CONNACK.to_vec(), resumed(&[])] {
            let mut server = servers.next().await;
            while let Some(sent) = server.next().await {
                if matches!(sent, Sent::Connect { .. }) {
                    server.send(&connack).await;
                }
                see.send(sent).unwrap();
            }
            server.close().await;
        }
    })
    .await;
    let mut told = Vec::new();
    if life.is_some() {
        told.extend(asked(&running, 1).await);
        running
            .handle
            .credentials(1, Ok(Credentials::default()), life);
    }
    told.extend(connected(&running, 1).await);
    // Only now: nothing must time out on the way.
    time::pause();
    time::advance(Duration::from_secs(100)).await;
    time::resume();
    if life.is_some() {
        told.extend(asked(&running, 2).await);
        running
            .handle
            .credentials(2, Ok(Credentials::default()), None);
    }
    told.extend(connected(&running, 1).await);
    let mut sent = Vec::new();
    while sent.len() < 3 {
        sent.push(seen.recv().await.expect("another packet"));
    }
    (told, sent)
}

/// The session is kept in between, and not ended.
fn assert_seamless(sent: &[Sent]) {
    let expected = [
        Sent::Connect { clean: true },
        Sent::Disconnect(None),
        Sent::Connect { clean: false },
    ];
    assert_eq!(sent, expected);
}

#[tokio::test]
async fn a_renewal_is_no_interruption() {
    let renewing = |options: &mut ConnectOptions| {
        options.reconnect.renew_after_seconds = Some(75.0);
    };
    let (told, sent) = renewed(renewing, None).await;
    let expected = [Event::Connected, attempted(2, None), Event::Connected];
    assert_eq!(told, expected);
    assert_seamless(&sent);
}

#[tokio::test]
async fn a_renewal_with_credentials_asks_for_them_once_and_is_no_interruption() {
    let life = Expiry {
        id: 1,
        after: Duration::from_secs(100),
    };
    let (told, sent) = renewed(|options| options.asks_credentials = true, Some(life)).await;
    let expected = [
        Event::Credentials { attempt: 1 },
        Event::Connected,
        Event::Credentials { attempt: 2 },
        attempted(2, None),
        Event::Connected,
    ];
    assert_eq!(told, expected);
    assert_seamless(&sent);
}

#[tokio::test]
async fn a_renewal_that_does_not_connect_is_an_interruption_after_all() {
    let (running, _endpoint) = reconnecting(
        |options| {
            options.keep_alive_seconds = Some(0.0);
            options.reconnect.renew_after_seconds = Some(75.0);
        },
        async |mut servers| {
            servers.answer(CONNACK).await.0.listen().await;
            servers.answer(REFUSED).await.0.close().await;
            servers.answer(CONNACK).await.0.listen().await;
        },
    )
    .await;
    connected(&running, 1).await;
    time::pause();
    time::advance(Duration::from_secs(75)).await;
    time::resume();
    let code = Code::NotAuthorized;
    let expected = [
        interrupted(code),
        attempted(2, Some(code)),
        attempted(3, None),
        Event::Connected,
    ];
    assert_eq!(connected(&running, 1).await, expected);
}

#[tokio::test]
async fn a_disconnect_in_the_gap_of_a_renewal_still_sends_what_was_accepted() {
    let (go, gone) = oneshot::channel();
    let (see, seen) = oneshot::channel();
    let (tell, told) = oneshot::channel();
    let (mut running, _endpoint) = reconnecting(
        |options| {
            options.keep_alive_seconds = Some(0.0);
            options.reconnect.renew_after_seconds = Some(75.0);
        },
        async move |mut servers| {
            servers.answer(CONNACK).await.0.listen().await;
            let mut server = servers.next().await;
            assert_eq!(server.next().await, Some(Sent::Connect { clean: false }));
            see.send(()).unwrap();
            gone.await.unwrap();
            server.send(&resumed(&[])).await;
            let Some(Sent::Publish { id, .. }) = server.next().await else {
                panic!("no publish")
            };
            server.send(&puback(id)).await;
            tell.send(server.next().await).unwrap();
            server.close().await;
        },
    )
    .await;
    connected(&running, 1).await;
    time::pause();
    time::advance(Duration::from_secs(75)).await;
    time::resume();
    seen.await.unwrap();
    running.publish(7);
    running.handle.disconnect(Duration::from_secs(60));
    go.send(()).unwrap();
    let (events, _) = running.end().await;
    let outcomes: Vec<_> = events.iter().filter_map(Event::outcome_of).collect();
    assert_eq!(outcomes, [7]);
    assert!(
        !events
            .iter()
            .any(|event| matches!(event, Event::Failed { .. }))
    );
    let closed = Event::Closed {
        code: None,
        unsettled: 0,
    };
    assert_eq!(events.last(), Some(&closed));
    assert_eq!(told.await.unwrap(), Some(Sent::Disconnect(Some(0))));
}

// Others.

#[tokio::test]
async fn a_takeover_is_told_and_each_return_waits_longer() {
    let (running, _endpoint) = reconnecting(
        |options| {
            options.reconnect.min_delay_ms = Some(1.0);
            options.reconnect.max_delay_ms = Some(LONG_MS);
        },
        async |mut servers| {
            for _ in 0..5 {
                let (mut server, _) = servers.answer(CONNACK).await;
                server.send(&disconnect(0x8e)).await;
                server.listen().await;
            }
            servers.answer(CONNACK).await.0.listen().await;
        },
    )
    .await;
    let mut told = connected(&running, 6).await;
    told.retain(|event| matches!(event, Event::Interrupted { .. }));
    assert_eq!(told, vec![interrupted(Code::SessionTakenOver); 5]);
    let waits = waits(&running);
    assert_eq!(waits.len(), 5);
    // Between half and all of a span that doubles, from 4 ms.
    for (wait, span) in waits.iter().zip([4, 8, 16, 32, 64]) {
        assert!((span / 2..=span + 1).contains(wait), "{waits:?}");
    }
}

#[tokio::test]
async fn a_panic_of_the_host_on_a_later_link_ends_in_closed() {
    let (mut running, _endpoint) = reconnecting(
        |_| {},
        async |mut servers| {
            servers.answer(CONNACK).await.0.close().await;
            let (mut server, _) = servers.answer(CONNACK).await;
            server.next().await;
            server.send(&publish(1, "t", b"")).await;
            server.listen().await;
        },
    )
    .await;
    connected(&running, 2).await;
    running.events.panic_on_message();
    running.publish(1);
    let (told, _) = running.end().await;
    let code = Code::Internal;
    let expected = [
        Event::Failed { token: 1, code },
        Event::Closed {
            code: Some(code),
            unsettled: 1,
        },
    ];
    assert_eq!(told, expected);
}
