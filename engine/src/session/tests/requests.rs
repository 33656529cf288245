use super::kit::{Bench, Event, seconds};
use crate::{
    error::Code,
    testing::{
        Sent, packet,
        server::{CONNACK, connack, puback, publish, resumed, suback, unsuback},
    },
};

fn many(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("f/{number}")).collect()
}

fn texts(filters: &[String]) -> Vec<&str> {
    filters.iter().map(String::as_str).collect()
}

/// The numbers of the filters that a message on `topic` belongs to.
fn filters_of(bench: &mut Bench, topic: &str) -> Vec<u32> {
    bench.receive(&publish(0, topic, b""));
    match bench.events.take().pop() {
        Some(Event::Message { filters, .. }) => filters,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_subscription_ends_with_the_qos_of_each_filter() {
    let mut bench = Bench::new(|_| {});
    bench.subscribe(7, &["a", "b"]);
    let filters = vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(bench.write(), [Sent::Subscribe { id: 1, filters }]);
    bench.receive(&suback(1, &[1, 0]));
    let granted = vec![1, 0];
    assert_eq!(
        bench.events.take(),
        [Event::Subscribed { token: 7, granted }]
    );
}

#[test]
fn more_than_8_filters_take_several_packets_and_have_one_outcome_in_their_order() {
    let mut bench = Bench::new(|_| {});
    let filters = many(20);
    bench.subscribe(7, &texts(&filters));
    let expected: Vec<Sent> = filters
        .chunks(8)
        .zip(1..)
        .map(|(chunk, id)| Sent::Subscribe {
            id,
            filters: chunk.to_vec(),
        })
        .collect();
    assert_eq!(bench.write(), expected);
    bench.receive(&suback(3, &[0, 1, 0, 1]));
    bench.receive(&suback(1, &[0; 8]));
    assert_eq!(bench.events.take(), []);
    bench.receive(&suback(2, &[1; 8]));
    let granted = [&[0; 8][..], &[1; 8], &[0, 1, 0, 1]].concat();
    assert_eq!(
        bench.events.take(),
        [Event::Subscribed { token: 7, granted }]
    );
    assert_eq!(bench.shared.budget.messages(), 0);
}

#[test]
fn a_refused_filter_refuses_the_request_and_names_it() {
    let mut bench = Bench::new(|_| {});
    let filters = many(9);
    bench.subscribe(7, &texts(&filters));
    bench.write();
    bench.receive(&suback(1, &[1, 1, 1, 0x87, 1, 1, 1, 1]));
    bench.receive(&suback(2, &[0x97]));
    let codes = vec![1, 1, 1, 0x87, 1, 1, 1, 1, 0x97];
    assert_eq!(bench.events.take(), [Event::Refused { token: 7, codes }]);
    let failure = bench.events.last_failure();
    assert_eq!(failure.code(), Code::SubscribeRejected);
    assert_eq!(failure.reason_code(), Some(0x87));
    for text in [
        "2 of 9",
        "\"f/3\": not authorized (0x87)",
        "\"f/8\": quota exceeded (0x97)",
    ] {
        assert!(failure.message().contains(text), "{failure}");
    }
}

#[test]
fn the_reason_string_of_any_packet_is_kept() {
    let mut bench = Bench::new(|_| {});
    bench.subscribe(7, &["a"]);
    bench.write();
    bench.receive(&packet(0x90, &[&[0, 1, 6, 0x1f, 0, 3], b"why", &[0x87]]));
    assert_eq!(bench.events.last_failure().reason_string(), Some("why"));
}

#[test]
fn a_suback_with_too_few_or_too_many_codes_ends_the_link() {
    for codes in [&[1][..], &[1, 1, 1]] {
        let mut bench = Bench::new(|_| {});
        bench.subscribe(7, &["a", "b"]);
        bench.write();
        assert_eq!(bench.refusal(&suback(1, codes)).code(), Code::Protocol);
        bench.close();
        assert_eq!(bench.events.take_outcomes(), [7]);
    }
}

#[test]
fn an_unsuback_with_too_many_codes_ends_the_link() {
    let mut bench = Bench::new(|_| {});
    bench.unsubscribe(7, &["a"]);
    bench.write();
    assert_eq!(bench.refusal(&unsuback(1, &[0, 0])).code(), Code::Protocol);
}

#[test]
fn messages_belong_to_a_filter_from_the_moment_it_is_asked_for() {
    let mut bench = Bench::new(|_| {});
    assert_eq!(filters_of(&mut bench, "a/b"), []);
    bench.subscribe(7, &["a/+"]);
    bench.write();
    assert_eq!(filters_of(&mut bench, "a/b"), [7]);
}

#[test]
fn messages_belong_to_no_filter_that_was_refused() {
    let mut bench = Bench::new(|_| {});
    bench.subscribe(7, &["a", "b"]);
    bench.write();
    bench.receive(&suback(1, &[0x80, 1]));
    bench.events.take();
    assert_eq!(filters_of(&mut bench, "a"), []);
    assert_eq!(filters_of(&mut bench, "b"), [7]);
}

#[test]
fn an_unsubscribe_of_many_filters_has_one_outcome_in_their_order() {
    let mut bench = Bench::new(|_| {});
    let filters = many(10);
    bench.subscribe(1, &texts(&filters));
    bench.write();
    bench.receive(&suback(1, &[1; 8]));
    bench.receive(&suback(2, &[1; 2]));
    bench.events.take();
    bench.unsubscribe(2, &texts(&filters));
    assert_eq!(bench.write().len(), 2);
    bench.receive(&unsuback(4, &[0x11, 0]));
    assert_eq!(bench.events.take(), []);
    assert_eq!(filters_of(&mut bench, "f/1"), [1]);
    bench.receive(&unsuback(3, &[0; 8]));
    let codes = vec![0, 0, 0, 0, 0, 0, 0, 0, 0x11, 0];
    assert_eq!(
        bench.events.take(),
        [Event::Unsubscribed { token: 2, codes }]
    );
    assert_eq!(filters_of(&mut bench, "f/1"), []);
    assert_eq!(bench.shared.budget.messages(), 0);
}

#[test]
fn an_unsuback_of_mqtt_3_1_1_has_no_codes_and_counts_for_all() {
    let mut bench = Bench::unconnected(|options| options.mqtt_version = Some(3.0));
    bench.connect(&[0x20, 2, 0, 0]);
    bench.unsubscribe(7, &["a", "b"]);
    bench.write();
    bench.receive(&packet(0xb0, &[&[0, 1]]));
    let codes = vec![0, 0];
    assert_eq!(
        bench.events.take(),
        [Event::Unsubscribed { token: 7, codes }]
    );
}

#[test]
fn a_subscription_made_again_survives_the_answer_to_the_earlier_unsubscribe() {
    let mut bench = Bench::new(|_| {});
    bench.subscribe(1, &["a"]);
    bench.unsubscribe(2, &["a"]);
    bench.subscribe(3, &["a"]);
    bench.write();
    bench.receive(&suback(1, &[1]));
    bench.receive(&unsuback(2, &[0]));
    bench.receive(&suback(3, &[1]));
    assert_eq!(bench.events.take_outcomes(), [1, 2, 3]);
    assert_eq!(filters_of(&mut bench, "a"), [3]);
}

#[test]
fn requests_wait_for_no_window() {
    let mut bench = Bench::unconnected(|_| {});
    bench.connect(&connack(1));
    bench.publish(1, 1);
    bench.subscribe(2, &["a"]);
    bench.unsubscribe(3, &["b"]);
    assert_eq!(bench.write().len(), 3);
}

#[test]
fn a_request_that_times_out_in_several_packets_has_one_outcome() {
    let mut bench = Bench::new(|_| {});
    let filters = many(24);
    bench.subscribe(7, &texts(&filters));
    bench.write();
    bench.receive(&suback(2, &[1; 8]));
    bench.pass(seconds(60)).unwrap();
    let code = Code::AckTimeout;
    assert_eq!(bench.events.take(), [Event::Failed { token: 7, code }]);
    assert_eq!(bench.shared.budget.messages(), 0);
    for id in [1, 3, 3] {
        bench.receive(&suback(id, &[1; 8]));
    }
    assert_eq!(bench.events.take(), []);
}

#[test]
fn a_late_answer_does_not_touch_the_next_operation_of_the_same_token() {
    let mut bench = Bench::new(|_| {});
    bench.subscribe(7, &["a"]);
    bench.write();
    bench.pass(seconds(60)).unwrap();
    bench.events.take();
    bench.subscribe(7, &["b"]);
    bench.write();
    bench.receive(&suback(1, &[0x87]));
    assert_eq!(bench.events.take(), []);
    bench.receive(&suback(2, &[1]));
    let granted = vec![1];
    assert_eq!(
        bench.events.take(),
        [Event::Subscribed { token: 7, granted }]
    );
}

#[test]
fn a_puback_does_not_answer_a_request() {
    let mut bench = Bench::new(|_| {});
    bench.subscribe(7, &["a"]);
    bench.write();
    bench.receive(&puback(1));
    assert_eq!(bench.events.take(), []);
    bench.receive(&suback(1, &[1]));
    assert_eq!(bench.events.take_outcomes(), [7]);
}

#[test]
fn what_one_request_was_granted_and_then_refused_on_another_link_is_gone() {
    let mut bench = Bench::new(|_| {});
    let filters = many(9);
    bench.subscribe(1, &texts(&filters));
    bench.write();
    bench.receive(&suback(1, &[1; 8]));
    // The second packet is not answered any more: the request is asked for as a whole.
    bench.reconnect(&resumed(&[]));
    bench.write();
    bench.receive(&suback(3, &[0x87, 1, 1, 1, 1, 1, 1, 1]));
    bench.receive(&suback(4, &[1]));
    assert_eq!(bench.events.take_outcomes(), [1]);
    assert_eq!(filters_of(&mut bench, "f/0"), [0; 0]);
    assert_eq!(filters_of(&mut bench, "f/1"), [1]);
}

#[test]
fn a_subscription_that_is_asked_for_again_outlives_the_refusal_to_restore_it() {
    let mut bench = Bench::new(|_| {});
    bench.subscribe(1, &["a/+"]);
    bench.write();
    bench.receive(&suback(1, &[1]));
    bench.reconnect(CONNACK);
    bench.write();
    bench.subscribe(2, &["a/+"]);
    bench.write();
    bench.receive(&suback(2, &[0x87]));
    bench.receive(&suback(3, &[1]));
    bench.events.take();
    assert_eq!(filters_of(&mut bench, "a/b"), [2]);
    bench.reconnect(CONNACK);
    assert_eq!(bench.lines(), ["subscribe #4 a/+"]);
}

#[test]
fn a_request_that_timed_out_takes_nothing_from_the_next_one_with_its_number() {
    let mut bench = Bench::new(|options| options.keep_alive_seconds = Some(0.0));
    let filters: Vec<String> = (0..10).map(|number| format!("f/{number}")).collect();
    let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
    bench.subscribe(7, &filters);
    // Its second packet is written later than its first.
    bench.take_commands();
    bench.write_behind(48 * 1024 - 1);
    bench.pass(seconds(30)).unwrap();
    bench.write();
    bench.pass(seconds(30)).unwrap();
    assert_eq!(bench.events.take_outcomes(), [7]);
    bench.unsubscribe(7, &["a"]);
    bench.write();
    // Neither the age of the old packet nor its late answer is about the new request.
    bench.pass(seconds(30)).unwrap();
    bench.receive(&suback(2, &[0, 0]));
    assert_eq!(bench.events.take_outcomes(), []);
    bench.receive(&unsuback(3, &[0]));
    assert_eq!(bench.events.take_outcomes(), [7]);
}
