//! What is written again on another link, and in which order.

use super::kit::{Bench, Event, seconds};
use crate::{
    error::Code,
    testing::server::{CONNACK, connack, puback, resumed, suback, unsuback},
};

/// The session is kept, with a window of so many.
fn kept(window: u8) -> Vec<u8> {
    resumed(&[0x21, 0, window])
}

fn many(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("f/{number}")).collect()
}

fn subscribe_to(bench: &mut Bench, token: u32, count: usize) {
    let filters = many(count);
    let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
    bench.subscribe(token, &filters);
}

/// A connection with these subscriptions granted; ids up to `filters.len()` are used.
fn subscribed(filters: &[&str]) -> Bench {
    let mut bench = Bench::new(|_| {});
    for (filter, token) in filters.iter().zip(100..) {
        bench.subscribe(token, &[filter]);
    }
    bench.write();
    for id in 1..=filters.len() as u16 {
        bench.receive(&suback(id, &[1]));
    }
    bench.events.take();
    bench
}

// With the session kept.

#[test]
fn unacknowledged_publishes_are_written_again_under_their_ids_with_dup() {
    let mut bench = Bench::new(|_| {});
    bench.publish_all(1..=3);
    assert_eq!(bench.lines(), ["m/1 #1", "m/2 #2", "m/3 #3"]);
    bench.receive(&puback(2));
    bench.reconnect(&resumed(&[]));
    assert_eq!(bench.lines(), ["m/1 #1 dup", "m/3 #3 dup"]);
}

#[test]
fn nothing_new_overtakes_what_is_written_again() {
    let mut bench = Bench::unconnected(|_| {});
    bench.connect(&connack(2));
    bench.publish_all(1..=4);
    bench.publish(5, 0);
    bench.subscribe(6, &["a"]);
    assert_eq!(bench.lines(), ["m/1 #1", "m/2 #2"]);
    bench.lost(false);
    bench.publish_all([7]);
    bench.connect(&kept(1));
    assert_eq!(bench.lines(), ["m/1 #1 dup"]);
    bench.receive(&puback(1));
    assert_eq!(bench.lines(), ["m/2 #2 dup"]);
    bench.receive(&puback(2));
    assert_eq!(bench.lines(), ["m/3 #3"]);
    bench.receive(&puback(3));
    assert_eq!(bench.lines(), ["m/4 #4", "subscribe #5 a"]);
    bench.receive(&puback(4));
    assert_eq!(bench.lines(), ["m/7 #6"]);
}

#[test]
fn the_order_outlives_links_that_die_in_the_middle_of_it() {
    let mut bench = Bench::new(|_| {});
    bench.publish_all(1..=5);
    bench.write();
    for window in [2, 3, 1] {
        bench.reconnect(&kept(window));
        let first: Vec<String> = (1..=window).map(|n| format!("m/{n} #{n} dup")).collect();
        assert_eq!(bench.lines(), first);
    }
    bench.receive(&puback(1));
    assert_eq!(bench.lines(), ["m/2 #2 dup"]);
    bench.reconnect(&resumed(&[]));
    let rest = ["m/2 #2 dup", "m/3 #3 dup", "m/4 #4 dup", "m/5 #5 dup"];
    assert_eq!(bench.lines(), rest);
}

#[test]
fn the_order_is_that_of_the_first_writing_and_not_of_the_ids() {
    let mut bench = Bench::new(|_| {});
    for round in 0..65_534_u32 {
        bench.publish(0, 1);
        bench.write();
        bench.receive(&puback((round + 1) as u16));
    }
    bench.publish_all(1..=3);
    assert_eq!(bench.lines(), ["m/1 #65535", "m/2 #1", "m/3 #2"]);
    bench.reconnect(&resumed(&[]));
    let again = ["m/1 #65535 dup", "m/2 #1 dup", "m/3 #2 dup"];
    assert_eq!(bench.lines(), again);
}

#[test]
fn what_is_written_again_is_acknowledged_in_any_order() {
    let mut bench = Bench::new(|_| {});
    bench.publish_all(1..=3);
    bench.write();
    bench.reconnect(&resumed(&[]));
    bench.write();
    for id in [3, 1, 2] {
        bench.receive(&puback(id));
    }
    assert_eq!(bench.events.take_outcomes(), [3, 1, 2]);
    assert_eq!(bench.shared.budget.messages(), 0);
}

#[test]
fn a_puback_for_an_earlier_link_settles_what_was_not_written_again_yet() {
    let mut bench = Bench::new(|_| {});
    bench.publish_all(1..=3);
    bench.write();
    bench.reconnect(&kept(1));
    assert_eq!(bench.lines(), ["m/1 #1 dup"]);
    bench.receive(&puback(2));
    assert_eq!(bench.events.take_outcomes(), [2]);
    bench.receive(&puback(1));
    assert_eq!(bench.lines(), ["m/3 #3 dup"]);
}

#[test]
fn a_puback_for_an_earlier_link_opens_the_window_no_further() {
    let mut bench = Bench::new(|_| {});
    bench.publish_all(1..=3);
    bench.write();
    bench.reconnect(&kept(1));
    bench.write();
    bench.receive(&puback(3));
    assert_eq!(bench.lines(), [""; 0]);
}

#[test]
fn the_id_of_an_abandoned_publish_is_not_used_on_the_next_link() {
    let mut bench = Bench::new(|options| options.keep_alive_seconds = Some(0.0));
    bench.publish_all([1]);
    bench.write();
    bench.pass(seconds(60)).unwrap();
    let code = Code::AckTimeout;
    assert_eq!(bench.events.take(), [Event::Failed { token: 1, code }]);
    bench.reconnect(&resumed(&[]));
    assert_eq!(bench.lines(), [""; 0], "it is not written again");
    for _ in 0..65_534 {
        bench.publish(2, 1);
        let id = bench.write_ids()[0];
        assert_ne!(id, 1);
        bench.receive(&puback(id));
    }
    // Its late acknowledgement frees the id.
    bench.receive(&puback(1));
    bench.publish(2, 1);
    assert_eq!(bench.write_ids(), [1]);
}

#[test]
fn the_acknowledgement_clock_restarts_on_a_resend_and_stands_still_without_a_link() {
    let mut bench = Bench::new(|options| options.keep_alive_seconds = Some(0.0));
    bench.publish_all([1]);
    bench.write();
    bench.pass(seconds(59)).unwrap();
    bench.lost(false);
    assert_eq!(bench.session.next_deadline(), None);
    bench.now += seconds(3_600);
    bench.connect(&resumed(&[]));
    assert_eq!(bench.session.next_deadline(), None);
    bench.write();
    assert_eq!(bench.session.next_deadline(), Some(bench.now + seconds(60)));
    bench.pass(seconds(59)).unwrap();
    assert_eq!(bench.events.take(), []);
    bench.pass(seconds(1)).unwrap();
    assert_eq!(bench.events.take_outcomes(), [1]);
}

#[test]
fn what_waits_behind_the_window_to_be_written_again_has_no_clock() {
    let mut bench = Bench::new(|options| options.keep_alive_seconds = Some(0.0));
    bench.publish_all(1..=2);
    bench.write();
    bench.reconnect(&kept(1));
    bench.write();
    bench.pass(seconds(60)).unwrap();
    assert_eq!(bench.events.take_outcomes(), [1]);
    assert_eq!(bench.lines(), ["m/2 #2 dup"]);
    bench.pass(seconds(59)).unwrap();
    assert_eq!(bench.events.take_outcomes(), [0; 0]);
}

#[test]
fn subscriptions_are_not_made_again_where_the_session_is_kept() {
    let mut bench = subscribed(&["a"]);
    bench.reconnect(&resumed(&[]));
    assert_eq!(bench.lines(), [""; 0]);
}

// With the session lost.

#[test]
fn messages_of_a_lost_session_go_first_under_new_ids_without_dup() {
    let mut bench = Bench::unconnected(|_| {});
    bench.connect(&connack(3));
    bench.publish_all(1..=4);
    bench.write();
    bench.receive(&puback(2));
    bench.reconnect(CONNACK);
    assert_eq!(bench.lines(), ["m/1 #4", "m/3 #5", "m/4 #6"]);
}

#[test]
fn the_order_outlives_several_lost_sessions() {
    let mut bench = Bench::new(|_| {});
    bench.publish_all(1..=4);
    bench.write();
    bench.reconnect(&connack(2));
    assert_eq!(bench.lines(), ["m/1 #5", "m/2 #6"]);
    bench.reconnect(&connack(1));
    assert_eq!(bench.lines(), ["m/1 #7"]);
    bench.reconnect(&kept(2));
    assert_eq!(bench.lines(), ["m/1 #7 dup", "m/2 #8"]);
    bench.reconnect(CONNACK);
    assert_eq!(bench.lines(), ["m/1 #9", "m/2 #10", "m/3 #11", "m/4 #12"]);
}

#[test]
fn publishes_and_requests_keep_their_order_over_several_lost_sessions() {
    let mut bench = Bench::new(|_| {});
    bench.publish_all([1]);
    bench.subscribe(2, &["a"]);
    bench.publish_all([3]);
    bench.unsubscribe(4, &["b"]);
    let order = |lines: Vec<String>| -> Vec<String> {
        let first = |line: &String| line.split(" #").next().unwrap_or_default().to_owned();
        lines.iter().map(first).collect()
    };
    let expected = ["m/1", "subscribe", "m/3", "unsubscribe"];
    assert_eq!(order(bench.lines()), expected);
    for _ in 0..3 {
        bench.reconnect(CONNACK);
        assert_eq!(order(bench.lines()), expected);
    }
    bench.reconnect(&resumed(&[]));
    let messages_first = ["m/1", "m/3", "subscribe", "unsubscribe"];
    assert_eq!(order(bench.lines()), messages_first);
    bench.reconnect(CONNACK);
    assert_eq!(order(bench.lines()), expected);
}

#[test]
fn subscriptions_are_made_again_before_anything_else_in_batches_of_eight() {
    let mut bench = Bench::new(|_| {});
    subscribe_to(&mut bench, 1, 17);
    bench.write();
    for (id, count) in [(1, 8), (2, 8), (3, 1)] {
        bench.receive(&suback(id, &vec![1; count]));
    }
    bench.publish_all([2]);
    bench.write();
    bench.reconnect(CONNACK);
    bench.publish_all([3]);
    let lines = bench.lines();
    assert_eq!(lines.len(), 5);
    let filters = many(17);
    for (line, batch) in lines.iter().zip(filters.chunks(8)) {
        assert!(line.ends_with(&batch.join(",")), "{line}");
    }
    assert_eq!(lines[3..], ["m/2 #8", "m/3 #9"]);
}

#[test]
fn only_what_was_granted_and_not_given_up_is_made_again() {
    let mut bench = subscribed(&["a", "b", "c"]);
    bench.unsubscribe(1, &["b"]);
    bench.subscribe(2, &["refused"]);
    bench.write();
    bench.receive(&unsuback(4, &[0]));
    bench.receive(&suback(5, &[0x87]));
    bench.reconnect(CONNACK);
    assert_eq!(bench.lines(), ["subscribe #6 a,c"]);
}

#[test]
fn what_is_given_up_before_it_could_be_made_again_is_not() {
    let mut bench = subscribed(&["a"]);
    bench.unsubscribe(1, &["a"]);
    bench.write();
    bench.reconnect(CONNACK);
    // Asked for once more, since nobody knows whether the server took it.
    let lines = bench.lines();
    assert_eq!(lines, ["subscribe #3 a", "unsubscribe #4 a"]);
    bench.receive(&unsuback(4, &[0]));
    bench.reconnect(CONNACK);
    assert_eq!(bench.lines(), [""; 0]);
}

#[test]
fn a_refused_restore_ends_that_subscription_alone() {
    let mut bench = subscribed(&["a", "b"]);
    bench.reconnect(CONNACK);
    assert_eq!(bench.lines(), ["subscribe #3 a,b"]);
    bench.receive(&suback(3, &[0x87, 1]));
    let code = Code::SubscribeRejected;
    let lost = Event::SubscriptionLost { filter: 100, code };
    assert_eq!(bench.events.take(), [lost]);
    assert_eq!(bench.events.last_failure().reason_code(), Some(0x87));
    bench.reconnect(CONNACK);
    assert_eq!(bench.lines(), ["subscribe #4 b"]);
}

#[test]
fn an_interrupted_restore_goes_on_even_where_the_session_is_kept_then() {
    let mut bench = Bench::new(|_| {});
    subscribe_to(&mut bench, 1, 16);
    bench.write();
    for id in [1, 2] {
        bench.receive(&suback(id, &[1; 8]));
    }
    bench.reconnect(CONNACK);
    let filters = many(16);
    assert_eq!(bench.lines().len(), 2);
    bench.receive(&suback(3, &[1; 8]));
    bench.reconnect(&resumed(&[]));
    let rest = format!("subscribe #5 {}", filters[8..].join(","));
    assert_eq!(bench.lines(), [rest]);
    bench.receive(&suback(5, &[1; 8]));
    bench.reconnect(&resumed(&[]));
    assert_eq!(bench.lines(), [""; 0]);
}

#[test]
fn an_interrupted_restore_keeps_its_order() {
    let mut bench = Bench::new(|_| {});
    subscribe_to(&mut bench, 1, 80);
    bench.write();
    for id in 1..=10 {
        bench.receive(&suback(id, &[1; 8]));
    }
    bench.reconnect(CONNACK);
    assert_eq!(bench.lines().len(), 10);
    bench.reconnect(&resumed(&[]));
    let filters = many(80);
    for (line, batch) in bench.lines().iter().zip(filters.chunks(8)) {
        assert!(line.ends_with(&batch.join(",")), "{line}");
    }
}

#[test]
fn a_restore_that_was_never_written_is_made_on_the_next_link() {
    let mut bench = subscribed(&["a"]);
    bench.reconnect(CONNACK);
    bench.reconnect(&resumed(&[]));
    assert_eq!(bench.lines(), ["subscribe #2 a"]);
}

#[test]
fn an_unanswered_restore_is_asked_for_again_after_the_ack_timeout() {
    let mut bench = subscribed(&["a"]);
    bench.reconnect(CONNACK);
    assert_eq!(bench.lines(), ["subscribe #2 a"]);
    bench.pass(seconds(60)).unwrap();
    assert_eq!(bench.lines(), ["subscribe #3 a"]);
    // Neither the late answer nor the other is an outcome of anything.
    bench.receive(&suback(2, &[0x87]));
    bench.receive(&suback(3, &[1]));
    assert_eq!(bench.events.take(), []);
    bench.reconnect(CONNACK);
    assert_eq!(bench.lines(), ["subscribe #4 a"]);
}

#[test]
fn behind_a_loss_the_window_opens_with_each_acknowledgement() {
    let mut bench = Bench::new(|_| {});
    bench.publish_all(0..500);
    assert_eq!(bench.write().len(), 500, "a first link takes all at once");
    for connack in [resumed(&[]), CONNACK.to_vec()] {
        bench.reconnect(&connack);
        let first = bench.write_ids();
        assert_eq!(first.len(), 32);
        for id in &first[..10] {
            bench.receive(&puback(*id));
            assert_eq!(bench.write().len(), 2);
        }
    }
}

// Requests.

#[test]
fn a_request_that_was_interrupted_half_way_is_asked_for_as_a_whole_and_answered_once() {
    for connack in [CONNACK.to_vec(), resumed(&[])] {
        let mut bench = Bench::new(|_| {});
        subscribe_to(&mut bench, 1, 10);
        assert_eq!(bench.lines().len(), 2);
        bench.receive(&suback(2, &[0x87, 0x87]));
        bench.lost(false);
        assert_eq!(bench.events.take(), []);
        bench.connect(&connack);
        assert_eq!(bench.lines().len(), 2);
        bench.receive(&suback(3, &[1; 8]));
        assert_eq!(bench.events.take(), []);
        bench.receive(&suback(4, &[0, 1]));
        let granted = vec![1, 1, 1, 1, 1, 1, 1, 1, 0, 1];
        let expected = Event::Subscribed { token: 1, granted };
        assert_eq!(bench.events.take(), [expected]);
        assert_eq!(bench.shared.budget.messages(), 0);
    }
}

#[test]
fn an_interrupted_unsubscribe_is_asked_for_again_and_answered_once() {
    for connack in [CONNACK.to_vec(), resumed(&[])] {
        let mut bench = Bench::new(|_| {});
        bench.unsubscribe(1, &["a", "b"]);
        assert_eq!(bench.lines(), ["unsubscribe #1 a,b"]);
        bench.reconnect(&connack);
        assert_eq!(bench.lines(), ["unsubscribe #2 a,b"]);
        // For the earlier link: nobody waits for it.
        bench.receive(&unsuback(1, &[0, 0]));
        assert_eq!(bench.events.take(), []);
        bench.receive(&unsuback(2, &[0, 0x11]));
        let codes = vec![0, 0x11];
        let expected = Event::Unsubscribed { token: 1, codes };
        assert_eq!(bench.events.take(), [expected]);
    }
}

#[test]
fn a_request_that_timed_out_is_not_asked_for_again() {
    let mut bench = Bench::new(|options| options.keep_alive_seconds = Some(0.0));
    bench.subscribe(1, &["a"]);
    bench.write();
    bench.pass(seconds(60)).unwrap();
    assert_eq!(bench.events.take_outcomes(), [1]);
    bench.reconnect(CONNACK);
    assert_eq!(bench.lines(), [""; 0]);
}
