//! What the host asks for while there is no link.

use super::kit::{Bench, Event, seconds};
use crate::{
    error::Code,
    options::ConnectOptions,
    testing::server::{CONNACK, connack, puback, resumed},
};

fn failed(token: u32, code: Code) -> Event {
    Event::Failed { token, code }
}

fn queueing(options: &mut ConnectOptions) {
    options.queue_qos0 = Some("queue".to_owned());
}

fn dropping(options: &mut ConnectOptions) {
    options.queue_when_full = Some("drop-oldest".to_owned());
    options.queue_max_messages = Some(3.0);
}

#[test]
fn qos_0_has_nobody_to_go_to_before_the_first_link_and_between_two() {
    let mut bench = Bench::unconnected(|_| {});
    bench.publish(1, 0);
    bench.take_commands();
    bench.connect(CONNACK);
    bench.lost(false);
    bench.publish(2, 0);
    bench.take_commands();
    let code = Code::NotConnected;
    assert_eq!(bench.events.take(), [failed(1, code), failed(2, code)]);
    assert_eq!(bench.shared.budget.messages(), 0);
    bench.connect(CONNACK);
    assert_eq!(bench.lines(), [""; 0]);
}

#[test]
fn qos_0_waits_in_its_place_where_the_host_wants_that() {
    let mut bench = Bench::unconnected(queueing);
    bench.publish_all([1]);
    bench.publish_on("zero", 2, 0);
    bench.publish_all([3]);
    bench.take_commands();
    assert_eq!(bench.events.take(), []);
    bench.connect(CONNACK);
    assert_eq!(bench.lines(), ["m/1 #1", "zero", "m/3 #2"]);
}

#[test]
fn qos_0_that_has_not_left_the_buffer_fails_with_its_link_in_either_mode() {
    for mode in ["queue", "reject"] {
        let mut bench = Bench::new(|options| options.queue_qos0 = Some(mode.to_owned()));
        bench.publish(1, 0);
        bench.write();
        bench.lost(false);
        assert_eq!(bench.events.take(), [failed(1, Code::ConnectionLost)]);
        bench.connect(CONNACK);
        assert_eq!(bench.lines(), [""; 0]);
        bench.flushed();
        assert_eq!(bench.events.take(), []);
        assert_eq!(bench.shared.budget.messages(), 0);
    }
}

#[test]
fn qos_0_behind_the_window_is_rejected_when_the_link_is_lost() {
    let mut bench = Bench::unconnected(|_| {});
    bench.connect(&connack(1));
    bench.publish_all(1..=2);
    bench.publish(3, 0);
    bench.write();
    bench.lost(false);
    assert_eq!(bench.events.take(), [failed(3, Code::NotConnected)]);
}

#[test]
fn everything_else_waits_in_order_over_all_kinds() {
    let mut bench = Bench::new(|_| {});
    bench.lost(false);
    bench.publish_all([1]);
    bench.subscribe(2, &["a"]);
    bench.publish_all([3]);
    bench.unsubscribe(4, &["b"]);
    bench.take_commands();
    assert_eq!(bench.events.take(), []);
    bench.connect(CONNACK);
    let expected = ["m/1 #1", "subscribe #2 a", "m/3 #3", "unsubscribe #4 b"];
    assert_eq!(bench.lines(), expected);
}

#[test]
fn what_waits_can_be_withdrawn_and_what_was_written_cannot() {
    let mut bench = Bench::new(|_| {});
    bench.publish_all([1]);
    bench.write();
    bench.lost(false);
    bench.publish_all([2]);
    bench.subscribe(3, &["a"]);
    for token in 1..=3 {
        bench.handle.withdraw(token);
    }
    bench.take_commands();
    let withdrawn = [2, 3].map(|token| Event::Withdrawn { token });
    assert_eq!(bench.events.take(), withdrawn);
    assert_eq!(bench.shared.budget.messages(), 1);
    bench.connect(&resumed(&[]));
    assert_eq!(bench.lines(), ["m/1 #1 dup"]);
}

#[test]
fn the_oldest_that_is_not_on_its_way_makes_room() {
    let mut bench = Bench::new(dropping);
    bench.publish_all([1]);
    bench.write();
    bench.lost(false);
    bench.publish_all(2..=5);
    bench.take_commands();
    let code = Code::QueueFull;
    assert_eq!(bench.events.take(), [failed(2, code), failed(3, code)]);
    assert_eq!(bench.shared.budget.messages(), 3);
    bench.connect(&resumed(&[]));
    assert_eq!(bench.lines(), ["m/1 #1 dup", "m/4 #2", "m/5 #3"]);
    for id in 1..=3 {
        bench.receive(&puback(id));
    }
    assert_eq!(bench.shared.budget.messages(), 0);
}

#[test]
fn requests_are_never_dropped_for_messages() {
    let mut bench = Bench::unconnected(dropping);
    bench.subscribe(1, &["a"]);
    bench.publish_all([2]);
    bench.unsubscribe(3, &["b"]);
    bench.publish_all([4]);
    bench.take_commands();
    assert_eq!(bench.events.take(), [failed(2, Code::QueueFull)]);
    bench.publish_all([5]);
    bench.take_commands();
    assert_eq!(bench.events.take(), [failed(4, Code::QueueFull)]);
    bench.connect(CONNACK);
    assert_eq!(
        bench.lines(),
        ["subscribe #1 a", "unsubscribe #2 b", "m/5 #3"]
    );
}

#[test]
fn bytes_make_room_as_well_and_one_message_alone_always_fits() {
    let mut bench = Bench::unconnected(|options| {
        options.queue_when_full = Some("drop-oldest".to_owned());
        options.queue_max_bytes = Some(50.0);
    });
    bench.publish_all(1..=2);
    bench.handle.publish(3, "t", &[0; 100], 1, false).unwrap();
    bench.take_commands();
    let code = Code::QueueFull;
    assert_eq!(bench.events.take(), [failed(1, code), failed(2, code)]);
    bench.publish_all([4]);
    bench.take_commands();
    assert_eq!(bench.events.take(), [failed(3, code)]);
    assert_eq!(bench.shared.budget.messages(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_life_ends_while_waiting_without_a_link() {
    let mut bench = Bench::unconnected(|_| {});
    bench.publish_within(1, 1, seconds(10));
    bench.publish_within(2, 1, seconds(5));
    bench.publish_all([3]);
    bench.take_commands();
    let start = bench.now;
    assert_eq!(bench.session.next_deadline(), Some(start + seconds(5)));
    bench.session.expire(start + seconds(4), &mut bench.events);
    assert_eq!(bench.events.take(), []);
    bench.session.expire(start + seconds(5), &mut bench.events);
    assert_eq!(bench.events.take(), [failed(2, Code::Expired)]);
    assert_eq!(bench.session.next_deadline(), Some(start + seconds(10)));
    bench.session.expire(start + seconds(10), &mut bench.events);
    assert_eq!(bench.events.take(), [failed(1, Code::Expired)]);
    assert_eq!(bench.session.next_deadline(), None);
    assert_eq!(bench.shared.budget.messages(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_life_ends_while_waiting_behind_the_window() {
    let mut bench = Bench::unconnected(|options| options.keep_alive_seconds = Some(0.0));
    bench.connect(&connack(1));
    bench.publish_all([1]);
    bench.publish_within(2, 1, seconds(5));
    bench.write();
    assert_eq!(bench.session.next_deadline(), Some(bench.now + seconds(5)));
    bench.pass(seconds(5)).unwrap();
    assert_eq!(bench.events.take(), [failed(2, Code::Expired)]);
    assert_eq!(bench.session.next_deadline(), Some(bench.now + seconds(55)));
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_when_a_link_comes_is_not_sent() {
    let mut bench = Bench::unconnected(|_| {});
    bench.publish_within(1, 1, seconds(5));
    bench.publish_all([2]);
    bench.take_commands();
    bench.now += seconds(5);
    bench.connect(CONNACK);
    assert_eq!(bench.lines(), ["m/2 #1"]);
    assert_eq!(bench.events.take(), [failed(1, Code::Expired)]);
}

#[tokio::test(start_paused = true)]
async fn a_life_does_not_end_for_what_is_to_be_written_again() {
    let mut bench = Bench::new(|_| {});
    bench.publish_within(1, 1, seconds(5));
    bench.write();
    bench.lost(false);
    bench.now += seconds(6);
    bench.session.expire(bench.now, &mut bench.events);
    assert_eq!(bench.session.next_deadline(), None);
    bench.connect(&resumed(&[]));
    assert_eq!(bench.lines(), ["m/1 #1 dup"]);
    assert_eq!(bench.events.take(), []);
}
