use std::{sync::Arc, time::Duration};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex, split},
    sync::Mutex,
    time::{Instant, sleep},
};

use super::{
    super::{TURNS, WRITE_STALL},
    kit::{HoldingBack, Peer, Running, connected, connected_over},
};
use crate::{
    error::Code,
    options::ConnectOptions,
    testing::{
        Event, Sent, parse,
        server::{puback, publish},
    },
    wire::Version,
};

fn unlimited(options: &mut ConnectOptions) {
    options.queue_max_messages = Some(1_000_000.0);
    options.queue_max_bytes = Some(1e9);
    options.receive_max_messages = Some(65_535.0);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_reading_is_given_up_after_a_while() {
    let (mut running, _peer) = connected(1_000, |_| {}).await;
    let began = Instant::now();
    running.publish(1, &[0; 2_000], 0);
    assert_eq!(running.end_code().await, Code::WriteStalled);
    assert_eq!(began.elapsed().as_secs(), WRITE_STALL.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_reading_is_given_up_however_much_waits() {
    let (mut running, _peer) = connected(1_000, unlimited).await;
    for token in 0..100_000 {
        running.publish(token, &[0; 64], (token % 2) as u8);
    }
    assert_eq!(running.end_code().await, Code::WriteStalled);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_and_never_reads_is_given_up() {
    let (mut running, peer) = connected(1_000, |_| {}).await;
    let (mut reader, mut writer) = split(peer.stream);
    let sending = tokio::spawn(async move {
        while writer.write_all(&publish(0, "t", b"")).await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
        let _unread = reader.read_u8().await;
    });
    running.publish(1, &[0; 2_000], 0);
    assert_eq!(running.end_code().await, Code::WriteStalled);
    sending.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_slowly_is_not_given_up() {
    let (mut running, mut peer) = connected(100, |_| {}).await;
    running.publish(1, &[0; 1_000], 0);
    let mut left = 1_007;
    while left > 0 {
        sleep(WRITE_STALL - Duration::from_secs(1)).await;
        let mut some = [0; 50];
        left -= peer.stream.read(&mut some).await.unwrap();
    }
    assert_eq!(running.events.outcomes(1).await, [1]);
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_that_nobody_reads_stop_reading_in_the_end() {
    let (mut running, peer) = connected(100_000, |options| {
        options.receive_max_messages = Some(20_000.0);
    })
    .await;
    let (_reader, mut writer) = split(peer.stream);
    let sending = tokio::spawn(async move {
        let mut sent = 0_u16;
        while writer.write_all(&publish(sent + 1, "t", b"")).await.is_ok() {
            sent = (sent + 1) % u16::MAX;
        }
        sent
    });
    let mut consumed = 0;
    loop {
        // The clock moves when the link has done all that it can.
        sleep(Duration::from_millis(1)).await;
        let arrived = running.events.take().len() as u32;
        running.consume(consumed, arrived);
        consumed += arrived;
        if arrived == 0 || consumed > 70_000 {
            break;
        }
    }
    assert!((16_384 + 25_000..70_000).contains(&consumed), "{consumed}");
    assert_eq!(running.end_code().await, Code::WriteStalled);
    sending.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_takes_longer_than_a_poll_may_goes_on_by_itself() {
    let (running, mut peer) = connected(1 << 22, unlimited).await;
    // All at once: nothing wakes the link a second time.
    peer.send(&publish(0, "t", &[0; 64]).repeat(TURNS * 1_000))
        .await;
    assert_eq!(running.messages(TURNS * 1_000).await.len(), TURNS * 1_000);
}

/// What passes in each direction at the same time.
struct Flood {
    count: u32,
    /// The packet id of a message to the link; 0 at QoS 0.
    message_id: fn(u32) -> u16,
    publish_qos: fn(u32) -> u8,
}

impl Flood {
    /// Both directions at QoS 0 and 1 in turn.
    const fn mixed(count: u32) -> Self {
        Self {
            count,
            message_id: |number| (number % 2 * (number % 60_000 + 1)) as u16,
            publish_qos: |token| (token % 2) as u8,
        }
    }

    /// Lets everything pass, and checks that every message arrives and every operation ends.
    async fn pass(&self, mut running: Running, peer: Peer) {
        let Self {
            count,
            message_id,
            publish_qos,
        } = *self;
        let (mut from_link, to_link) = split(peer.stream);
        let to_link = Arc::new(Mutex::new(to_link));
        let answers = to_link.clone();
        let sending = tokio::spawn(async move {
            for number in 0..count {
                let packet = publish(message_id(number), "t", &[0; 64]);
                to_link.lock().await.write_all(&packet).await.unwrap();
            }
        });
        let answering = tokio::spawn(async move {
            let mut read = BytesMut::new();
            let mut acknowledged = 0;
            while from_link.read_buf(&mut read).await.unwrap() > 0 {
                while let Some((sent, length)) = parse(Version::V5, &read) {
                    read.advance(length);
                    match sent {
                        Sent::Publish { id, qos: 1, .. } => {
                            answers.lock().await.write_all(&puback(id)).await.unwrap();
                        }
                        Sent::PubAck(_) => acknowledged += 1,
                        _ => {}
                    }
                }
            }
            acknowledged
        });
        for token in 0..count {
            running.publish(token, &[0; 64], publish_qos(token));
        }
        let (mut arrived, mut settled) = (0, 0);
        while arrived < count || settled < count {
            let events = running
                .events
                .until("anything", |events| !events.is_empty())
                .await;
            let outcomes = events.iter().filter_map(Event::outcome_of).count() as u32;
            let messages = events.len() as u32 - outcomes;
            running.consume(arrived, messages);
            arrived += messages;
            settled += outcomes;
        }
        running.handle.disconnect(Duration::from_secs(5));
        running.end().await;
        sending.await.unwrap();
        let expected = (0..count).filter(|number| message_id(*number) > 0).count();
        assert_eq!(answering.await.unwrap(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_messages_pass_in_both_directions_at_once() {
    let (running, peer) = connected(64 * 1024, unlimited).await;
    Flood::mixed(100_000).pass(running, peer).await;
}

#[tokio::test(start_paused = true)]
async fn no_wake_up_is_lost_in_a_narrow_pipe() {
    for room in [1, 7, 100, 1_000] {
        let (running, peer) = connected(room, unlimited).await;
        Flood::mixed(500).pass(running, peer).await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_wake_up_is_lost_over_a_stream_that_holds_back() {
    for (room, limit) in [(64 * 1024, 64 * 1024), (1_000, 16 * 1024), (100, 10)] {
        let (near, far) = duplex(room);
        let near = HoldingBack::new(near, limit);
        let (running, peer) = connected_over(near, far, unlimited).await;
        Flood::mixed(2_000).pass(running, peer).await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_wake_up_is_lost_with_little_credit() {
    let (running, peer) = connected(1_000, |options| {
        unlimited(options);
        options.receive_max_messages = Some(3.0);
    })
    .await;
    // At QoS 0 what overflows would be dropped.
    let flood = Flood {
        message_id: |number| number as u16 + 1,
        ..Flood::mixed(2_000)
    };
    flood.pass(running, peer).await;
}

#[tokio::test(start_paused = true)]
async fn without_credit_reading_stops_and_goes_on_with_it() {
    let (mut running, mut peer) =
        connected(100, |options| options.receive_max_messages = Some(10.0)).await;
    let sending = tokio::spawn(async move {
        for _ in 0..3_000 {
            peer.send(&publish(0, "t", &[0; 90])).await;
        }
        peer
    });
    let mut next = 0;
    while next < 3_000 {
        // The clock moves when the link has stopped.
        sleep(Duration::from_secs(3_600)).await;
        let arrived = running.events.take().len() as u32;
        assert_eq!(arrived, 10);
        running.consume(next, arrived);
        next += arrived;
    }
    let _open = sending.await.unwrap();
    running.handle.disconnect(Duration::ZERO);
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_behind_messages_comes_without_credit_for_them() {
    let (mut running, mut peer) =
        connected(10_000, |options| options.receive_max_messages = Some(1.0)).await;
    for id in 1..=20 {
        peer.send(&publish(id, "t", b"")).await;
    }
    running.messages(1).await;
    running.publish(7, b"", 1);
    assert!(matches!(
        peer.next().await,
        Some(Sent::Publish { id: 1, .. })
    ));
    peer.send(&puback(1)).await;
    let outcome = |events: &[Event]| events.iter().any(|event| event.outcome_of() == Some(7));
    running.events.until("the outcome", outcome).await;
}

/// Reads until the end, and acknowledges what is to be acknowledged.
async fn answer(mut peer: Peer) {
    while let Some(sent) = peer.next().await {
        if let Sent::Publish { id, qos: 1, .. } = sent {
            peer.send(&puback(id)).await;
        }
    }
}

/// Sends everything that it has before it reads anything, as a simple server would.
async fn sends_before_it_reads(mut peer: Peer, count: usize) -> Peer {
    for _ in 0..count {
        peer.send(&publish(0, "t", &[0; 900])).await;
    }
    peer
}

#[tokio::test(start_paused = true)]
async fn a_large_message_does_not_stop_reading() {
    let (mut running, peer) = connected(1_000, |_| {}).await;
    running.publish(7, &[0; 200_000], 1);
    let sending = tokio::spawn(sends_before_it_reads(peer, 100));
    assert_eq!(running.messages(100).await.len(), 100);
    let answering = tokio::spawn(answer(sending.await.unwrap()));
    assert_eq!(running.events.outcomes(1).await, [7]);
    running.handle.disconnect(Duration::from_secs(5));
    running.end().await;
    answering.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_qos_0_publish_leaves_although_there_is_no_credit() {
    let (mut running, peer) =
        connected(1_000, |options| options.receive_max_messages = Some(1.0)).await;
    running.publish(7, &[0; 20_000], 0);
    let sending = tokio::spawn(sends_before_it_reads(peer, 100));
    let answering = tokio::spawn(answer(sending.await.unwrap()));
    let outcome = |events: &[Event]| events.iter().any(|event| event.outcome_of() == Some(7));
    running.events.until("the outcome", outcome).await;
    running.handle.disconnect(Duration::from_secs(5));
    running.end().await;
    answering.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn qos_0_outcomes_come_while_more_is_being_written() {
    let (near, far) = duplex(1_000);
    let near = HoldingBack::new(near, 16 * 1024);
    let (mut running, mut peer) = connected_over(near, far, |_| {}).await;
    for token in 0..1_000 {
        running.publish(token, &[0; 1_000], 0);
    }
    for _ in 0..200 {
        peer.next().await;
    }
    // The clock moves when the link has done all that it can.
    sleep(Duration::from_secs(1)).await;
    let outcomes = running.events.take_outcomes();
    assert!(outcomes.len() >= 150, "{}", outcomes.len());
    assert_eq!(outcomes, (0..outcomes.len() as u32).collect::<Vec<_>>());
}
