use super::{
    super::Flow,
    kit::{Bench, Event, seconds},
};
use crate::{
    error::Code,
    options::ConnectOptions,
    shared::Number,
    testing::{
        packet,
        server::{CONNACK, puback, publish, resumed, suback},
    },
};

fn credit(messages: u32) -> impl FnOnce(&mut ConnectOptions) {
    move |options| options.receive_max_messages = Some(messages.into())
}

#[test]
fn a_message_arrives_as_it_was_sent() {
    let mut bench = Bench::new(|_| {});
    bench.receive(&publish(5, "a/b", b"hi"));
    assert_eq!(
        bench.events.take(),
        [Event::Message {
            number: 0,
            topic: "a/b".to_owned(),
            payload: b"hi".to_vec(),
            qos: 1,
            filters: Vec::new(),
        }]
    );
}

#[test]
fn a_puback_leaves_only_when_its_message_is_consumed() {
    let mut bench = Bench::new(|_| {});
    bench.receive(&publish(5, "t", b""));
    assert_eq!(bench.write_acks(), [0_u16; 0]);
    bench.consume(0, 1);
    assert_eq!(bench.write_acks(), [5]);
    assert_eq!(bench.write_acks(), [0_u16; 0]);
}

#[test]
fn pubacks_leave_in_order_of_receipt() {
    let mut bench = Bench::new(|_| {});
    for id in [30, 10, 20] {
        bench.receive(&publish(id, "t", b""));
    }
    bench.consume(2, 1);
    bench.consume(1, 1);
    assert_eq!(bench.write_acks(), [0_u16; 0]);
    bench.consume(0, 1);
    assert_eq!(bench.write_acks(), [30, 10, 20]);
}

#[test]
fn a_message_consumed_twice_is_acknowledged_once() {
    let mut bench = Bench::new(|_| {});
    for id in [1, 2] {
        bench.receive(&publish(id, "t", b""));
    }
    bench.consume(0, 1);
    assert_eq!(bench.write_acks(), [1]);
    bench.consume(0, 2);
    assert_eq!(bench.write_acks(), [2]);
}

#[test]
fn a_full_buffer_holds_back_no_puback() {
    let mut bench = Bench::new(|_| {});
    bench.receive(&publish(5, "t", b""));
    bench.consume(0, 1);
    assert_eq!(bench.write_behind(48 * 1024).len(), 1);
}

#[test]
fn out_of_credit_by_count_a_message_waits_until_there_is_credit_again() {
    let mut bench = Bench::new(credit(2));
    for id in [1, 2] {
        bench.receive(&publish(id, "t", b""));
    }
    let third = publish(3, "t", b"");
    assert_eq!(bench.offer(&third).unwrap(), Flow::Stop);
    assert!(!bench.session.wants_to_read(true, bench.now));
    bench.consume(0, 1);
    assert!(bench.session.wants_to_read(true, bench.now));
    bench.receive(&third);
    assert_eq!(bench.messages(), [0, 1, 2]);
}

#[test]
fn out_of_credit_by_bytes_a_message_waits_too() {
    let mut bench = Bench::new(|options| options.receive_max_bytes = Some(1_000.0));
    bench.receive(&publish(0, "t", &[0; 999]));
    assert_eq!(bench.offer(&publish(0, "t", b"")).unwrap(), Flow::Stop);
    bench.consume(0, 1);
    bench.receive(&publish(0, "t", b""));
}

#[test]
fn out_of_credit_reading_goes_on_while_an_acknowledgement_is_awaited() {
    let mut bench = Bench::new(credit(1));
    bench.receive(&publish(1, "t", b""));
    bench.publish(7, 1);
    bench.write();
    assert!(bench.session.wants_to_read(true, bench.now));
    bench.receive(&publish(2, "t", b""));
    bench.receive(&puback(1));
    assert!(!bench.session.wants_to_read(true, bench.now));
}

#[test]
fn out_of_credit_reading_goes_on_while_a_qos_0_publish_cannot_leave() {
    let mut bench = Bench::new(credit(1));
    bench.receive(&publish(1, "t", b""));
    bench.publish(7, 0);
    bench.write();
    assert!(bench.session.wants_to_read(true, bench.now));
    bench.receive(&publish(2, "t", b""));
    bench.flushed();
    assert!(!bench.session.wants_to_read(true, bench.now));
}

#[test]
fn an_acknowledgement_that_timed_out_is_not_awaited() {
    let mut bench = Bench::new(credit(1));
    bench.receive(&publish(1, "t", b""));
    bench.publish(7, 1);
    bench.write();
    bench.pass(seconds(60)).unwrap();
    assert!(!bench.session.wants_to_read(true, bench.now));
    assert_eq!(bench.offer(&publish(2, "t", b"")).unwrap(), Flow::Stop);
}

/// A session out of credit whose host has three QoS 0 messages, and an operation that waits.
fn overflowing() -> Bench {
    let mut bench = Bench::new(credit(3));
    for _ in 0..3 {
        bench.receive(&publish(0, "t", b"x"));
    }
    bench.publish(7, 1);
    bench.write();
    bench
}

#[test]
fn out_of_credit_the_oldest_qos_0_message_makes_room_for_a_new_one() {
    let mut bench = overflowing();
    bench.receive(&publish(0, "t", b"x"));
    bench.receive(&publish(0, "t", b"x"));
    assert_eq!(bench.messages(), [2, 3, 4]);
    bench.session.show(bench.now);
    assert_eq!(bench.shared.number(Number::Dropped), 2);
}

#[test]
fn a_new_qos_0_message_is_dropped_where_no_older_one_can_be() {
    let mut bench = overflowing();
    bench.events.see_messages();
    bench.receive(&publish(0, "t", b"x"));
    assert_eq!(bench.messages(), [0, 1, 2]);
    bench.session.show(bench.now);
    assert_eq!(bench.shared.number(Number::Dropped), 1);
}

#[test]
fn small_messages_do_not_make_room_for_large_ones_one_by_one() {
    let mut bench = Bench::new(|options| {
        options.receive_max_messages = Some(100.0);
        options.receive_max_bytes = Some(1_000.0);
    });
    for _ in 0..99 {
        bench.receive(&publish(0, "t", &[0; 9]));
    }
    bench.receive(&publish(0, "t", &[0; 9]));
    bench.publish(7, 1);
    bench.write();
    bench.receive(&publish(0, "t", &[0; 499]));
    bench.receive(&publish(0, "t", &[0; 499]));
    let bytes = |event: &Event| match event {
        Event::Message { topic, payload, .. } => topic.len() + payload.len(),
        _ => 0,
    };
    let held: usize = bench.events.take().iter().map(bytes).sum();
    assert!(held <= 1_000 + 500, "{held}");
}

#[test]
fn a_qos_1_message_is_never_dropped() {
    let mut bench = overflowing();
    for id in 1..=10 {
        bench.receive(&publish(id, "t", b"x"));
    }
    assert_eq!(bench.messages(), (0..13).collect::<Vec<_>>());
    bench.consume(0, 13);
    assert_eq!(bench.write_acks(), (1..=10).collect::<Vec<_>>());
}

#[test]
fn a_whole_window_of_large_messages_is_held_however_small_the_bound() {
    let mut bench = Bench::new(|options| options.receive_max_bytes = Some(1_000.0));
    bench.publish(7, 1);
    bench.write();
    for id in 1..=100 {
        bench.receive(&publish(id, "t", &[0; 900]));
    }
    assert_eq!(bench.events.take().len(), 100);
}

#[test]
fn a_server_that_floods_with_qos_1_messages_is_left() {
    let mut bench = Bench::new(|_| {});
    bench.publish(7, 1);
    bench.write();
    let megabyte = vec![0; 1 << 20];
    for id in 1..=64 {
        bench.receive(&publish(id, "t", &megabyte));
    }
    let failure = bench.refusal(&publish(65, "t", b""));
    assert_eq!(failure.code(), Code::Protocol);
}

#[test]
fn dropped_messages_hold_back_no_puback() {
    let mut bench = overflowing();
    bench.receive(&publish(9, "t", b"x"));
    bench.receive(&publish(0, "t", b"x"));
    bench.consume(3, 1);
    assert_eq!(bench.write_acks(), [9]);
}

#[test]
fn a_topic_alias_beyond_those_offered_is_refused() {
    let mut bench = Bench::new(|_| {});
    let aliased = packet(0x30, &[&[0, 1], b"t", &[3, 0x23, 1, 1]]);
    assert_eq!(bench.refusal(&aliased).code(), Code::Protocol);
}

#[test]
fn a_second_connack_is_refused() {
    let mut bench = Bench::new(|_| {});
    let failure = bench.refusal(crate::testing::server::CONNACK);
    assert_eq!(failure.code(), Code::Protocol);
}

// More than one link.

#[test]
fn what_an_earlier_link_brought_is_never_acknowledged_on_another() {
    let mut bench = Bench::new(|_| {});
    bench.receive(&publish(1, "t", b""));
    bench.receive(&publish(2, "t", b""));
    bench.consume(0, 1);
    bench.reconnect(&resumed(&[]));
    bench.consume(1, 1);
    assert_eq!(bench.write_acks(), [0_u16; 0]);
}

#[test]
fn what_the_server_sends_again_on_another_link_is_handed_out_and_acknowledged_there() {
    let mut bench = Bench::new(|_| {});
    bench.receive(&publish(1, "t", b""));
    assert_eq!(bench.messages(), [0]);
    bench.reconnect(&resumed(&[]));
    bench.receive(&publish(1, "t", b""));
    assert_eq!(bench.messages(), [1]);
    // The first holds nothing back, consumed or not.
    bench.consume(1, 1);
    assert_eq!(bench.write_acks(), [1]);
}

#[test]
fn what_the_server_sends_again_on_the_same_link_is_handed_out_and_acknowledged_once() {
    let mut bench = Bench::new(|_| {});
    for _ in 0..3 {
        bench.receive(&publish(1, "t", b""));
    }
    assert_eq!(bench.messages(), [0]);
    bench.consume(0, 1);
    assert_eq!(bench.write_acks(), [1]);
    // The id is free: this is another message.
    bench.receive(&publish(1, "t", b""));
    assert_eq!(bench.messages(), [1]);
    bench.consume(1, 1);
    assert_eq!(bench.write_acks(), [1]);
}

#[test]
fn what_the_server_sends_again_under_another_id_is_another_message() {
    let mut bench = Bench::new(|_| {});
    bench.receive(&publish(1, "t", b"x"));
    bench.receive(&publish(2, "t", b"x"));
    assert_eq!(bench.messages(), [0, 1]);
    bench.consume(0, 2);
    assert_eq!(bench.write_acks(), [1, 2]);
}

#[test]
fn a_message_sent_again_takes_no_credit_where_there_is_none() {
    let mut bench = Bench::new(credit(1));
    bench.receive(&publish(1, "t", b""));
    assert_eq!(bench.offer(&publish(1, "t", b"")).unwrap(), Flow::Continue);
    assert_eq!(bench.offer(&publish(2, "t", b"")).unwrap(), Flow::Stop);
}

#[test]
fn messages_of_earlier_links_take_credit_until_they_are_consumed() {
    let mut bench = Bench::new(credit(2));
    bench.receive(&publish(1, "t", b""));
    bench.receive(&publish(2, "t", b""));
    bench.reconnect(&resumed(&[]));
    assert_eq!(bench.offer(&publish(1, "t", b"")).unwrap(), Flow::Stop);
    bench.consume(0, 1);
    assert!(bench.session.wants_to_read(true, bench.now));
    bench.receive(&publish(1, "t", b""));
    assert_eq!(bench.offer(&publish(2, "t", b"")).unwrap(), Flow::Stop);
    bench.consume(1, 1);
    bench.receive(&publish(2, "t", b""));
    bench.consume(2, 2);
    assert_eq!(bench.write_acks(), [1, 2]);
}

#[test]
fn messages_match_subscriptions_of_earlier_links() {
    let mut bench = Bench::new(|_| {});
    bench.subscribe(7, &["a/+"]);
    bench.write();
    bench.receive(&suback(1, &[1]));
    for connack in [resumed(&[]), CONNACK.to_vec()] {
        bench.events.take();
        bench.reconnect(&connack);
        // Before it could be made again as well.
        bench.receive(&publish(0, "a/b", b""));
        let events = bench.events.take();
        let matches =
            |event: &Event| matches!(event, Event::Message { filters, .. } if filters[..] == [7]);
        assert!(events.iter().all(matches), "{events:?}");
    }
}
