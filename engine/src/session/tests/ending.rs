use std::time::Duration;

use bytes::BytesMut;

use super::{
    super::Ending,
    kit::{Bench, Event, seconds},
};
use crate::{
    error::{Code, Stage},
    testing::{
        Sent, packet, parse_all,
        server::{connack, disconnect, puback, publish, suback},
    },
};

/// What the session writes as its last packet.
fn goodbye(bench: &Bench) -> Vec<Sent> {
    let mut out = BytesMut::new();
    bench.session.disconnect(Ending::Done, &mut out);
    parse_all(bench.session.version(), &out)
}

fn ask_for_the_end(bench: &mut Bench, timeout: Duration) {
    bench.handle.disconnect(timeout);
    bench.take_commands();
}

#[test]
fn it_is_not_done_before_the_host_asks() {
    let bench = Bench::new(|_| {});
    assert!(bench.session.ending(bench.now).is_none());
}

#[test]
fn an_idle_connection_is_done_at_once() {
    let mut bench = Bench::new(|_| {});
    ask_for_the_end(&mut bench, seconds(5));
    assert!(bench.session.ending(bench.now).is_some());
}

#[test]
fn the_end_waits_for_what_was_accepted() {
    let mut bench = Bench::unconnected(|_| {});
    bench.connect(&connack(1));
    bench.publish(1, 1);
    bench.publish(2, 1);
    bench.publish(3, 0);
    bench.subscribe(4, &["a"]);
    ask_for_the_end(&mut bench, seconds(5));
    bench.write();
    bench.receive(&puback(1));
    assert!(bench.session.ending(bench.now).is_none());
    bench.write();
    bench.receive(&puback(2));
    assert!(bench.session.ending(bench.now).is_none());
    bench.receive(&suback(3, &[1]));
    assert!(bench.session.ending(bench.now).is_none());
    bench.flushed();
    assert!(bench.session.ending(bench.now).is_some());
    assert_eq!(bench.close(), 0);
}

#[test]
fn the_end_waits_no_longer_than_the_host_allows() {
    let mut bench = Bench::new(|_| {});
    bench.publish(1, 1);
    bench.write();
    ask_for_the_end(&mut bench, seconds(5));
    assert_eq!(bench.session.next_deadline(), Some(bench.now + seconds(5)));
    assert!(bench.session.ending(bench.now + seconds(4)).is_none());
    assert!(bench.session.ending(bench.now + seconds(5)).is_some());
}

#[test]
fn an_end_by_force_waits_for_nothing() {
    let mut bench = Bench::new(|_| {});
    bench.publish(1, 1);
    bench.write();
    ask_for_the_end(&mut bench, Duration::ZERO);
    assert!(bench.session.ending(bench.now).is_some());
}

#[test]
fn asking_again_can_hasten_the_end_and_not_put_it_off() {
    let mut bench = Bench::new(|_| {});
    bench.publish(1, 1);
    bench.write();
    ask_for_the_end(&mut bench, seconds(5));
    ask_for_the_end(&mut bench, seconds(60));
    assert!(bench.session.ending(bench.now + seconds(5)).is_some());
    ask_for_the_end(&mut bench, seconds(1));
    assert!(bench.session.ending(bench.now + seconds(1)).is_some());
}

#[test]
fn messages_that_the_app_has_not_consumed_do_not_hold_up_the_end() {
    let mut bench = Bench::new(|_| {});
    bench.receive(&publish(1, "t", b""));
    ask_for_the_end(&mut bench, seconds(5));
    assert!(bench.session.ending(bench.now).is_some());
}

#[test]
fn an_operation_that_timed_out_does_not_hold_up_the_end() {
    let mut bench = Bench::new(|options| options.keep_alive_seconds = Some(0.0));
    bench.publish(1, 1);
    bench.write();
    bench.pass(seconds(60)).unwrap();
    ask_for_the_end(&mut bench, seconds(5));
    assert!(bench.session.ending(bench.now).is_some());
}

#[test]
fn nothing_is_accepted_after_the_host_has_asked_for_the_end() {
    let mut bench = Bench::new(|_| {});
    ask_for_the_end(&mut bench, seconds(5));
    let refused = bench.handle.publish(1, "t", b"", 1, false);
    assert_eq!(refused.unwrap_err().code(), Code::Closed);
    let refused = bench.handle.unsubscribe(1, vec!["a".into()]);
    assert_eq!(refused.unwrap_err().code(), Code::Closed);
    assert_eq!(bench.shared.budget.messages(), 0);
}

#[test]
fn a_clean_session_ends_with_its_disconnect_and_a_kept_one_does_not() {
    let bench = Bench::new(|_| {});
    assert_eq!(goodbye(&bench), [Sent::Disconnect(Some(0))]);
    let bench = Bench::new(|options| options.clean_session = Some(false));
    assert_eq!(goodbye(&bench), [Sent::Disconnect(None)]);
    let bench = Bench::unconnected(|options| options.mqtt_version = Some(3.0));
    assert_eq!(goodbye(&bench), [Sent::Disconnect(None)]);
}

#[test]
fn everything_that_is_left_fails_once() {
    let mut bench = Bench::unconnected(|_| {});
    bench.connect(&connack(2));
    bench.publish(1, 0);
    bench.publish(2, 1);
    let filters: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
    bench.subscribe(3, &filters);
    bench.unsubscribe(4, &filters);
    bench.publish(5, 1);
    bench.publish(6, 1);
    bench.subscribe(7, &["a"]);
    bench.unsubscribe(8, &["a"]);
    bench.write();
    assert_eq!(bench.close(), 8);
    let mut outcomes = bench.events.take();
    outcomes.sort_by_key(Event::outcome_of);
    let code = Code::ConnectionLost;
    let expected: Vec<Event> = (1..=8).map(|token| Event::Failed { token, code }).collect();
    assert_eq!(outcomes, expected);
    assert_eq!(bench.shared.budget.messages(), 0);
    assert_eq!(bench.close(), 0);
}

#[test]
fn a_disconnect_of_the_server_keeps_its_code_and_its_words() {
    for (reason, code) in [
        (0x8e, Code::SessionTakenOver),
        (0x87, Code::ServerDisconnect),
        (0x97, Code::ServerDisconnect),
        (0xff, Code::ServerDisconnect),
    ] {
        let mut bench = Bench::new(|_| {});
        let failure = bench.refusal(&disconnect(reason));
        assert_eq!(failure.code(), code, "{reason:#x}");
        assert_eq!(failure.stage(), Stage::Session);
        assert_eq!(failure.reason_code(), Some(reason));
    }
    let mut bench = Bench::new(|_| {});
    let failure = bench.refusal(&packet(0xe0, &[&[0x98, 6, 0x1f, 0, 3], b"why"]));
    assert_eq!(failure.reason_string(), Some("why"));
}

#[test]
fn the_short_disconnect_of_a_server_is_an_end_too() {
    let mut bench = Bench::new(|_| {});
    let failure = bench.refusal(&packet(0xe0, &[]));
    assert_eq!(failure.code(), Code::ServerDisconnect);
    assert_eq!(failure.reason_code(), Some(0));
}
