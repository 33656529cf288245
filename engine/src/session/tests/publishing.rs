use super::kit::{Bench, Event, seconds};
use crate::{
    error::{Code, Stage},
    options::Change,
    shared::Number,
    testing::server::{connack, puback, puback_with, suback},
};

fn published(token: u32, packet_id: u16) -> Event {
    Event::Published {
        token,
        packet_id,
        reason: 0,
    }
}

#[test]
fn a_qos_1_publish_ends_with_its_puback() {
    let mut bench = Bench::new(|_| {});
    bench.publish(7, 1);
    assert_eq!(bench.write_ids(), [1]);
    bench.flushed();
    assert_eq!(bench.events.take(), []);
    bench.receive(&puback(1));
    assert_eq!(bench.events.take(), [published(7, 1)]);
}

#[test]
fn a_qos_0_publish_ends_when_its_bytes_are_flushed_and_not_before() {
    let mut bench = Bench::new(|_| {});
    bench.publish(7, 0);
    assert_eq!(bench.write_ids(), [0]);
    assert_eq!(bench.events.take(), []);
    bench.flushed();
    assert_eq!(bench.events.take(), [published(7, 0)]);
}

#[test]
fn a_flush_ends_only_what_has_left_before_it() {
    let mut bench = Bench::new(|_| {});
    bench.publish(1, 0);
    bench.write();
    bench.publish(2, 0);
    bench.take_commands();
    let mut out = bytes::BytesMut::new();
    bench.session.write(bench.now, &mut out, &mut bench.events);
    bench.session.sent(out.len() - 1);
    bench.flushed();
    assert_eq!(bench.events.take(), [published(1, 0)]);
    bench.session.sent(1);
    bench.flushed();
    assert_eq!(bench.events.take(), [published(2, 0)]);
}

#[test]
fn acknowledgements_come_in_any_order() {
    let mut bench = Bench::new(|_| {});
    for token in 0..3 {
        bench.publish(token, 1);
    }
    assert_eq!(bench.write_ids(), [1, 2, 3]);
    for id in [3, 1, 2] {
        bench.receive(&puback(id));
    }
    assert_eq!(bench.events.take_outcomes(), [2, 0, 1]);
}

#[test]
fn a_puback_that_nobody_waits_for_changes_nothing() {
    let mut bench = Bench::new(|_| {});
    bench.receive(&puback(9));
    bench.publish(7, 1);
    bench.write();
    bench.receive(&puback(1));
    bench.receive(&puback(1));
    assert_eq!(bench.events.take_outcomes(), [7]);
    assert!(bench.events.logged("PUBACK for packet id 9"));
}

#[test]
fn an_answer_of_another_kind_does_not_end_a_publish() {
    let mut bench = Bench::new(|_| {});
    bench.publish(7, 1);
    bench.write();
    bench.receive(&suback(1, &[0]));
    assert_eq!(bench.events.take(), []);
    bench.receive(&puback(1));
    assert_eq!(bench.events.take_outcomes(), [7]);
}

#[test]
fn a_success_of_another_kind_keeps_its_code() {
    let mut bench = Bench::new(|_| {});
    bench.publish(7, 1);
    bench.write();
    bench.receive(&puback_with(1, 0x10));
    let reason = 0x10;
    let expected = Event::Published {
        token: 7,
        packet_id: 1,
        reason,
    };
    assert_eq!(bench.events.take(), [expected]);
}

#[test]
fn a_puback_that_refuses_says_topic_and_reason() {
    let mut bench = Bench::new(|_| {});
    bench.publish_on("a/b", 7, 1);
    bench.write();
    bench.receive(&puback_with(1, 0x87));
    let code = Code::PublishRejected;
    assert_eq!(bench.events.take(), [Event::Failed { token: 7, code }]);
    let failure = bench.events.last_failure();
    assert_eq!(failure.stage(), Stage::Operation);
    assert_eq!(failure.reason_code(), Some(0x87));
    assert!(failure.message().contains("\"a/b\": not authorized (0x87)"));
}

#[test]
fn the_window_is_the_smaller_of_own_limit_and_receive_maximum() {
    for (limits, receive_maximum, window) in [
        ("aws-iot-core", 65_535, 100),
        ("aws-iot-core", 3, 3),
        ("none", 200, 200),
    ] {
        let mut bench = Bench::unconnected(|options| {
            options.limits = Some(limits.to_owned());
            options.limit_changes.publishes_per_second = Some(Change::Off);
        });
        bench.connect(&connack(receive_maximum));
        for token in 0..300 {
            bench.publish(token, 1);
        }
        assert_eq!(bench.write().len(), window, "{limits} {receive_maximum}");
        assert_eq!(bench.write(), []);
        bench.receive(&puback(2));
        assert_eq!(bench.write_ids(), [window as u16 + 1]);
    }
}

#[test]
fn nothing_overtakes_a_publish_that_waits_for_the_window() {
    let mut bench = Bench::unconnected(|_| {});
    bench.connect(&connack(1));
    bench.publish(1, 1);
    bench.publish(2, 1);
    bench.publish(3, 0);
    assert_eq!(bench.write_ids(), [1]);
    bench.receive(&puback(1));
    assert_eq!(bench.write_ids(), [2, 0]);
}

#[test]
fn an_id_that_is_in_flight_is_passed_over() {
    let mut bench = Bench::new(|_| {});
    bench.publish(0, 1);
    assert_eq!(bench.write_ids(), [1]);
    for round in 0..65_534_u32 {
        bench.publish(1, 1);
        let expected = (round + 2) as u16;
        assert_eq!(bench.write_ids(), [expected]);
        bench.receive(&puback(expected));
    }
    bench.publish(1, 1);
    assert_eq!(bench.write_ids(), [2]);
}

#[test]
fn more_is_not_written_while_the_buffer_is_full() {
    let mut bench = Bench::new(|_| {});
    bench.publish(1, 0);
    assert_eq!(bench.write_behind(48 * 1024), []);
    assert_eq!(bench.write_behind(48 * 1024 - 1).len(), 1);
}

#[test]
fn what_is_never_acknowledged_does_not_close_the_window_for_good() {
    let mut bench = Bench::unconnected(|_| {});
    bench.connect(&connack(1));
    bench.publish(1, 1);
    bench.publish(2, 1);
    bench.publish(3, 1);
    bench.write();
    bench.pass(seconds(60)).unwrap();
    let code = Code::AckTimeout;
    assert_eq!(bench.events.take(), [Event::Failed { token: 1, code }]);
    // Its id stays taken, and its late acknowledgement opens the window no further.
    assert_eq!(bench.write_ids(), [2]);
    bench.receive(&puback(1));
    assert_eq!(bench.events.take(), []);
    assert_eq!(bench.write(), []);
}

#[test]
fn the_budget_is_taken_until_the_outcome() {
    let mut bench = Bench::new(|_| {});
    bench.publish(1, 1);
    bench.publish(2, 0);
    assert_eq!(bench.shared.budget.messages(), 2);
    bench.write();
    bench.flushed();
    assert_eq!(bench.shared.budget.messages(), 1);
    bench.receive(&puback(1));
    assert_eq!(bench.shared.budget.messages(), 0);
}

#[test]
fn what_is_queued_and_not_sent_can_be_withdrawn() {
    let mut bench = Bench::unconnected(|_| {});
    bench.connect(&connack(1));
    bench.publish(1, 1);
    bench.publish(2, 1);
    bench.subscribe(3, &["a"]);
    assert_eq!(bench.write_ids(), [1]);
    for token in [1, 2, 3] {
        bench.handle.withdraw(token);
    }
    bench.take_commands();
    assert_eq!(bench.events.take_outcomes(), [2, 3]);
    bench.receive(&puback(1));
    assert_eq!(bench.events.take(), [published(1, 1)]);
    assert_eq!(bench.write(), []);
    assert_eq!(bench.shared.budget.messages(), 0);
}

#[test]
fn the_figures_say_what_waits_where() {
    let mut bench = Bench::unconnected(|_| {});
    bench.connect(&connack(2));
    for token in 0..5 {
        bench.publish(token, 1);
    }
    bench.write();
    bench.session.show(bench.now);
    let figure = |number| bench.shared.number(number);
    assert_eq!(figure(Number::InFlight), 2);
    assert_eq!(figure(Number::Queued), 3);
    assert_eq!(figure(Number::MessagesSent), 2);
}
