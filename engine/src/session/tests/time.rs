use super::kit::{Bench, Event, seconds};
use crate::{
    error::{Code, Stage},
    options::ConnectOptions,
    shared::Number,
    testing::{
        Sent, packet,
        server::{PINGRESP, puback, publish},
    },
};

fn no_pings(options: &mut ConnectOptions) {
    options.keep_alive_seconds = Some(0.0);
}

#[test]
fn nothing_is_due_on_an_idle_connection_without_pings() {
    let mut bench = Bench::new(no_pings);
    assert_eq!(bench.session.next_deadline(), None);
}

#[test]
fn the_acknowledgement_clock_runs_from_the_writing_of_the_packet() {
    let mut bench = Bench::new(no_pings);
    bench.publish(7, 1);
    bench.take_commands();
    bench.pass(seconds(100)).unwrap();
    assert_eq!(bench.session.next_deadline(), None);
    bench.write();
    assert_eq!(bench.session.next_deadline(), Some(bench.now + seconds(60)));
    bench.pass(seconds(59)).unwrap();
    assert_eq!(bench.events.take(), []);
    bench.pass(seconds(1)).unwrap();
    let code = Code::AckTimeout;
    assert_eq!(bench.events.take(), [Event::Failed { token: 7, code }]);
    assert!(bench.events.last_failure().message().contains("\"t\""));
}

#[test]
fn a_late_puback_after_the_timeout_is_no_second_outcome() {
    let mut bench = Bench::new(no_pings);
    bench.publish(7, 1);
    bench.write();
    bench.pass(seconds(60)).unwrap();
    assert_eq!(bench.events.take_outcomes(), [7]);
    bench.receive(&puback(1));
    assert_eq!(bench.close(), 0);
    assert_eq!(bench.events.take(), []);
    assert_eq!(bench.shared.budget.messages(), 0);
}

#[test]
fn a_ping_leaves_when_nothing_was_sent_for_the_interval() {
    let mut bench = Bench::new(|_| {});
    assert_eq!(bench.session.next_deadline(), Some(bench.now + seconds(60)));
    assert_eq!(bench.pass(seconds(59)).unwrap(), []);
    assert_eq!(bench.pass(seconds(1)).unwrap(), [Sent::PingReq]);
    assert_eq!(bench.session.next_deadline(), Some(bench.now + seconds(10)));
}

#[test]
fn what_is_sent_and_received_puts_the_ping_off() {
    let mut bench = Bench::new(|_| {});
    bench.pass(seconds(30)).unwrap();
    bench.publish(7, 1);
    bench.write();
    bench.session.received(4, bench.now);
    assert_eq!(bench.pass(seconds(59)).unwrap(), []);
    assert_eq!(bench.pass(seconds(1)).unwrap(), [Sent::PingReq]);
}

#[test]
fn a_ping_without_an_answer_ends_the_link() {
    let mut bench = Bench::new(|options| options.ping_timeout_ms = Some(5_000.0));
    bench.pass(seconds(60)).unwrap();
    bench.pass(seconds(4)).unwrap();
    let failure = bench.pass(seconds(1)).unwrap_err();
    assert_eq!(failure.code(), Code::KeepAlive);
    assert_eq!(failure.stage(), Stage::Session);
}

#[test]
fn an_answered_ping_is_measured() {
    let mut bench = Bench::new(|_| {});
    bench.pass(seconds(60)).unwrap();
    bench.pass(seconds(2)).unwrap();
    bench.session.received(2, bench.now);
    bench.receive(PINGRESP);
    bench.session.show(bench.now);
    assert_eq!(bench.shared.number(Number::Ping), 2_000_000);
    assert_eq!(bench.session.next_deadline(), Some(bench.now + seconds(58)));
}

#[test]
fn the_server_sets_the_interval_if_it_wants_to() {
    let mut bench = Bench::unconnected(|_| {});
    bench.connect(&packet(0x20, &[&[0, 0, 3, 0x13, 0, 7]]));
    assert_eq!(bench.pass(seconds(7)).unwrap(), [Sent::PingReq]);
    let mut bench = Bench::unconnected(|_| {});
    bench.connect(&packet(0x20, &[&[0, 0, 3, 0x13, 0, 0]]));
    assert_eq!(bench.session.next_deadline(), None);
}

/// A session that does not read any more, since the app has not consumed its one message.
fn deaf(change: impl FnOnce(&mut ConnectOptions)) -> Bench {
    let mut bench = Bench::new(|options| {
        options.receive_max_messages = Some(1.0);
        change(options);
    });
    bench.receive(&publish(1, "t", b""));
    assert!(!bench.session.wants_to_read(true, bench.now));
    bench
}

#[test]
fn while_nothing_is_read_pings_leave_and_no_answer_is_missed() {
    let mut bench = deaf(|_| {});
    for _ in 0..5 {
        assert_eq!(bench.pass(seconds(60)).unwrap(), [Sent::PingReq]);
    }
    bench.consume(0, 1);
    assert!(bench.session.wants_to_read(true, bench.now));
    bench.pass(seconds(9)).unwrap();
    let failure = bench.pass(seconds(1)).unwrap_err();
    assert_eq!(failure.code(), Code::KeepAlive);
}

#[test]
fn an_operation_written_at_the_end_of_a_pause_has_its_own_time_and_no_more() {
    let mut bench = deaf(no_pings);
    bench.pass(seconds(3_600)).unwrap();
    bench.publish(7, 1);
    bench.write();
    assert!(bench.session.wants_to_read(true, bench.now));
    bench.pass(seconds(60)).unwrap();
    assert_eq!(bench.events.take_outcomes(), [7]);
}
