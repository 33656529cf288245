//! What MQTT 5 adds, in both directions.

use tokio::time;

use super::kit::{Bench, Event, seconds};
use crate::{
    error::Code,
    options::ConnectOptions,
    testing::{
        packet,
        server::{CONNACK, publish, resumed, suback},
    },
    wire::{Inbound, PublishProperties, Version, next_frame, read},
};

/// CONNACK without a session and with these properties.
fn connack_with(properties: &[u8]) -> Vec<u8> {
    packet(0x20, &[&[0, 0, properties.len() as u8], properties])
}

/// PUBLISH at QoS 0 with these properties.
fn publish_with(topic: &str, properties: &[u8]) -> Vec<u8> {
    let length = (topic.len() as u16).to_be_bytes();
    packet(
        0x30,
        &[
            &length,
            topic.as_bytes(),
            &[properties.len() as u8],
            properties,
        ],
    )
}

struct Written {
    topic: String,
    alias: Option<u16>,
    expiry: Option<u32>,
}

/// The publishes that the session writes now.
fn written(bench: &mut Bench) -> Vec<Written> {
    let bytes = bench.write_bytes();
    let mut rest = &bytes[..];
    let mut all = Vec::new();
    while let Some(frame) = next_frame(rest, usize::MAX).unwrap() {
        let Ok(Inbound::Publish(publish)) = read(Version::V5, &frame) else {
            panic!("no publish")
        };
        all.push(Written {
            topic: publish.topic.to_owned(),
            alias: publish.topic_alias,
            expiry: publish
                .properties
                .and_then(|properties| properties.message_expiry_interval),
        });
        rest = &rest[frame.len..];
    }
    all
}

/// Topic and alias of the publishes that the session writes now.
fn aliased(bench: &mut Bench) -> Vec<(String, Option<u16>)> {
    written(bench)
        .into_iter()
        .map(|written| (written.topic, written.alias))
        .collect()
}

fn topics(bench: &Bench) -> Vec<String> {
    let topic = |event| match event {
        Event::Message { topic, .. } => topic,
        other => panic!("{other:?}"),
    };
    bench.events.take().into_iter().map(topic).collect()
}

fn failed(token: u32, code: Code) -> Event {
    Event::Failed { token, code }
}

fn with_aliases(options: &mut ConnectOptions) {
    options.topic_aliases = Some(true);
}

// Topic aliases.

#[test]
fn a_topic_is_written_once_and_then_stands_behind_its_alias() {
    let mut bench = Bench::unconnected(with_aliases);
    bench.connect(&connack_with(&[0x22, 0, 2]));
    for topic in ["a", "b", "a", "c", "a", "b"] {
        bench.publish_on(topic, 1, 0);
    }
    let expected = [("a", 1), ("b", 2), ("", 1), ("c", 2), ("", 1), ("b", 2)];
    let expected = expected.map(|(topic, alias)| (topic.to_owned(), Some(alias)));
    assert_eq!(aliased(&mut bench), expected);
}

#[test]
fn without_the_option_or_the_servers_leave_there_are_no_aliases() {
    let off = |_: &mut ConnectOptions| {};
    let plain = vec![("a".to_owned(), None); 2];
    let mut bench = Bench::unconnected(off);
    bench.connect(&connack_with(&[0x22, 0, 2]));
    bench.publish_on("a", 1, 0);
    bench.publish_on("a", 2, 0);
    assert_eq!(aliased(&mut bench), plain);
    let mut bench = Bench::new(with_aliases);
    bench.publish_on("a", 1, 0);
    bench.publish_on("a", 2, 0);
    assert_eq!(aliased(&mut bench), plain);
}

#[test]
fn an_alias_ends_with_its_link_and_what_is_written_again_has_its_full_topic() {
    let mut bench = Bench::unconnected(with_aliases);
    bench.connect(&connack_with(&[0x22, 0, 2]));
    bench.publish_on("a", 1, 1);
    bench.publish_on("a", 2, 1);
    bench.write();
    bench.reconnect(&resumed(&[0x22, 0, 2]));
    bench.publish_on("a", 3, 1);
    bench.publish_on("a", 4, 1);
    let expected = [("a", None), ("a", None), ("a", Some(1)), ("", Some(1))];
    let expected = expected.map(|(topic, alias)| (topic.to_owned(), alias));
    assert_eq!(aliased(&mut bench), expected);
}

#[test]
fn a_packet_that_would_grow_beyond_what_the_server_takes_goes_without_an_alias() {
    let mut bench = Bench::unconnected(with_aliases);
    // Topic `t`, payload of 7 bytes, QoS 1: 15 bytes.
    bench.connect(&connack_with(&[0x22, 0, 2, 0x27, 0, 0, 0, 19]));
    bench.publish(1, 1);
    assert_eq!(aliased(&mut bench), [("t".to_owned(), None)]);
}

#[test]
fn the_server_may_use_aliases_and_the_host_sees_topics() {
    let mut bench = Bench::new(|_| {});
    bench.receive(&publish_with("a", &[0x23, 0, 32]));
    bench.receive(&publish_with("", &[0x23, 0, 32]));
    bench.receive(&publish_with("b", &[0x23, 0, 32]));
    bench.receive(&publish_with("", &[0x23, 0, 32]));
    assert_eq!(topics(&bench), ["a", "a", "b", "b"]);
}

#[test]
fn an_alias_of_another_link_stands_for_nothing() {
    let mut bench = Bench::new(|_| {});
    bench.receive(&publish_with("a", &[0x23, 0, 1]));
    bench.reconnect(&resumed(&[]));
    let failure = bench.refusal(&publish_with("", &[0x23, 0, 1]));
    assert_eq!(failure.code(), Code::Protocol);
}

#[test]
fn an_alias_that_was_not_offered_ends_the_link() {
    let mut bench = Bench::new(|_| {});
    let failure = bench.refusal(&publish_with("a", &[0x23, 0, 33]));
    assert_eq!(failure.code(), Code::Protocol);
}

#[test]
fn an_alias_that_came_with_a_dropped_message_is_known() {
    let mut bench = Bench::new(|options| options.receive_max_messages = Some(1.0));
    bench.publish(7, 1);
    bench.write();
    bench.receive(&publish(1, "t", b""));
    bench.receive(&publish_with("a", &[0x23, 0, 1]));
    bench.consume(0, 1);
    bench.events.take();
    bench.receive(&publish_with("", &[0x23, 0, 1]));
    assert_eq!(topics(&bench), ["a"]);
}

// Properties and words.

#[test]
fn the_properties_of_a_message_reach_the_host() {
    let mut bench = Bench::new(|_| {});
    bench.receive(&publish_with(
        "a",
        &[0x01, 1, 0x08, 0, 1, b'r', 0x09, 0, 1, 7],
    ));
    bench.receive(&publish_with("a", &[]));
    let expected = PublishProperties {
        payload_format: Some(1),
        response_topic: Some("r".to_owned()),
        correlation_data: Some(vec![7]),
        ..PublishProperties::default()
    };
    assert_eq!(bench.events.properties(), [Some(expected), None]);
}

#[test]
fn the_words_of_every_acknowledgement_reach_the_host() {
    let mut bench = Bench::new(|_| {});
    bench.publish_all([1]);
    bench.subscribe(2, &["a"]);
    bench.unsubscribe(3, &["a"]);
    bench.write();
    let words = |text: &[u8]| [&[0x1f, 0, text.len() as u8], text].concat();
    let with = |header, id, between: &[u8], text: &[u8], codes: &[u8]| {
        let words = words(text);
        let length = [words.len() as u8];
        packet(header, &[&[0, id], between, &length, &words, codes])
    };
    bench.receive(&with(0x40, 1, &[0x10], b"one", &[]));
    bench.receive(&with(0x90, 2, &[], b"two", &[1]));
    bench.receive(&with(0xb0, 3, &[], b"three", &[0]));
    assert_eq!(bench.events.said(), ["one", "two", "three"]);
}

#[test]
fn the_words_of_a_refusal_reach_the_host() {
    let mut bench = Bench::new(|_| {});
    bench.publish_all([1]);
    bench.subscribe(2, &["a"]);
    bench.write();
    bench.receive(&packet(0x40, &[&[0, 1, 0x87, 6, 0x1f, 0, 3], b"why"]));
    let failure = bench.events.last_failure();
    assert_eq!(failure.reason_string(), Some("why"));
    bench.receive(&packet(0x90, &[&[0, 2, 6, 0x1f, 0, 3], b"not", &[0x87]]));
    let failure = bench.events.last_failure();
    assert_eq!(failure.reason_string(), Some("not"));
}

// Message Expiry Interval.

#[tokio::test(start_paused = true)]
async fn the_message_expiry_interval_is_what_is_left_of_its_life() {
    let mut bench = Bench::unconnected(|options| options.queue_qos0 = Some("queue".to_owned()));
    bench.publish_within(1, 1, seconds(100));
    bench.publish_within(2, 0, seconds(100));
    bench.take_commands();
    bench.now += seconds(30);
    bench.connect(CONNACK);
    let expiries = |bench: &mut Bench| -> Vec<Option<u32>> {
        written(bench)
            .iter()
            .map(|written| written.expiry)
            .collect()
    };
    assert_eq!(expiries(&mut bench), [Some(70), Some(70)]);
    bench.lost(false);
    bench.now += seconds(20);
    bench.connect(&resumed(&[]));
    assert_eq!(expiries(&mut bench), [Some(50)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_written_does_not_expire_any_more() {
    let mut bench = Bench::new(|options| options.keep_alive_seconds = Some(0.0));
    bench.publish_within(1, 1, seconds(2));
    bench.write();
    bench.pass(seconds(3)).unwrap();
    assert_eq!(bench.events.take(), []);
    bench.reconnect(&resumed(&[]));
    let expiries: Vec<_> = written(&mut bench).iter().map(|one| one.expiry).collect();
    assert_eq!(expiries, [Some(1)], "0 would be no message at all");
}

#[tokio::test(start_paused = true)]
async fn a_life_counts_from_the_call() {
    let mut bench = Bench::new(|_| {});
    bench.publish_within(1, 1, seconds(10));
    time::advance(seconds(4)).await;
    bench.now = time::Instant::now();
    let expiries: Vec<_> = written(&mut bench).iter().map(|one| one.expiry).collect();
    assert_eq!(expiries, [Some(6)]);
}

// What a later CONNACK takes no more.

#[test]
fn what_a_later_link_does_not_take_fails_alone() {
    for (properties, code) in [
        (&[0x27, 0, 0, 0, 18][..], Code::PayloadTooLarge),
        (&[0x24, 0], Code::Limit),
        (&[0x25, 0], Code::Limit),
    ] {
        for kept in [true, false] {
            let mut bench = Bench::new(|options| options.queue_qos0 = Some("queue".to_owned()));
            bench.publish_on("s", 1, 0);
            let retain = code == Code::Limit;
            let topic = "a-longer-topic";
            // One that an earlier link has written, and one that waits.
            bench.handle.publish(2, topic, b"", 1, retain).unwrap();
            bench.write();
            bench.flushed();
            bench.events.take();
            bench.lost(false);
            bench.handle.publish(3, topic, b"", 1, retain).unwrap();
            bench.publish_on("s", 4, 0);
            match kept {
                true => bench.connect(&resumed(properties)),
                false => bench.connect(&connack_with(properties)),
            }
            assert_eq!(bench.lines(), ["s"]);
            let events = bench.events.take();
            assert_eq!(events, [failed(2, code), failed(3, code)], "{properties:?}");
            bench.flushed();
            assert_eq!(bench.shared.budget.messages(), 0);
        }
    }
}

#[test]
fn a_session_kept_goes_on_beside_what_it_takes_no_more() {
    let mut bench = Bench::new(|_| {});
    bench.publish_all([1]);
    bench.handle.publish(2, "t", b"", 1, true).unwrap();
    bench.publish_all([3]);
    bench.subscribe(4, &["a"]);
    bench.write();
    bench.reconnect(&resumed(&[0x25, 0]));
    let lines = bench.lines();
    assert_eq!(lines, ["m/1 #1 dup", "m/3 #3 dup", "subscribe #5 a"]);
    assert_eq!(bench.events.take(), [failed(2, Code::Limit)]);
    bench.receive(&suback(5, &[1]));
    assert_eq!(bench.events.take_outcomes(), [4]);
}
