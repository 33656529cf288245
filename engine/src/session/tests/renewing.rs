//! A link that is ended in good order so that another follows with newer credentials.

use bytes::BytesMut;

use super::{
    super::{Ending, Expiry},
    kit::{Bench, Event, seconds},
};
use crate::{
    authorizer::Credentials,
    error::{Code, Failure, Stage},
    options::ConnectOptions,
    testing::{
        Sent, parse_all,
        server::{CONNACK, puback, publish, resumed},
    },
};

fn quiet(options: &mut ConnectOptions) {
    options.keep_alive_seconds = Some(0.0);
    options.ack_timeout_ms = Some(1_000_000.0);
}

fn asking(options: &mut ConnectOptions) {
    quiet(options);
    options.asks_credentials = true;
    options.credentials_timeout_ms = Some(10_000.0);
}

fn expiry(id: u64) -> Option<Expiry> {
    let after = seconds(1_000);
    Some(Expiry { id, after })
}

/// A connection without a credentials function that is about to be renewed.
fn unasked() -> Bench {
    let mut bench = Bench::new(|options| {
        quiet(options);
        options.reconnect.renew_after_seconds = Some(1_000.0);
    });
    bench.now += seconds(951);
    bench
}

/// A connection whose host was just asked for credentials.
fn asked(change: impl FnOnce(&mut ConnectOptions)) -> Bench {
    let mut bench = Bench::unconnected(|options| {
        asking(options);
        change(options);
    });
    assert_eq!(bench.session.begin_attempt(), 1);
    bench.connect_until(CONNACK, expiry(1));
    assert_eq!(bench.pass(seconds(799)).unwrap(), []);
    assert_eq!(bench.events.take(), []);
    bench.pass(seconds(152)).unwrap();
    assert_eq!(bench.events.take(), [Event::Credentials { attempt: 2 }]);
    bench
}

/// The host answers in time.
fn answered(change: impl FnOnce(&mut ConnectOptions)) -> Bench {
    let mut bench = asked(change);
    answer(&mut bench, 2);
    bench
}

fn answer(bench: &mut Bench, attempt: u32) {
    let credentials = Ok(Credentials::default());
    bench.handle.credentials(attempt, credentials, expiry(2));
    bench.take_commands();
}

fn refuse(bench: &mut Bench, failure: Failure) {
    bench.handle.credentials(2, Err(failure), None);
    bench.take_commands();
}

fn no_credentials() -> Failure {
    Failure::new(Code::Credentials, Stage::Credentials, "none")
}

/// The credentials of the second attempt failed; `next` says whether there is another.
fn attempted(next: bool) -> Event {
    Event::Attempted {
        number: 2,
        code: Some(Code::Credentials),
        next,
    }
}

fn ending(bench: &Bench) -> Option<Ending> {
    bench.session.ending(bench.now)
}

#[test]
fn without_a_credentials_function_it_begins_by_itself() {
    let mut bench = unasked();
    assert_eq!(ending(&bench), None);
    bench.pass(seconds(0)).unwrap();
    assert_eq!(ending(&bench), Some(Ending::Renewing));
    assert_eq!(bench.events.take(), []);
}

#[test]
fn nothing_new_is_written_while_acknowledgements_are_waited_for() {
    let mut bench = unasked();
    bench.publish_all([1]);
    bench.write();
    bench.pass(seconds(0)).unwrap();
    bench.publish_all([2]);
    bench.publish(3, 0);
    bench.subscribe(4, &["a"]);
    assert_eq!(bench.lines(), [""; 0]);
    assert_eq!(ending(&bench), None);
    bench.receive(&puback(1));
    assert_eq!(bench.lines(), [""; 0]);
    assert_eq!(ending(&bench), Some(Ending::Renewing));
    assert_eq!(bench.events.take_outcomes(), [1]);
}

#[test]
fn what_waits_during_a_renewal_follows_on_the_next_link() {
    let mut bench = unasked();
    bench.publish_all([1]);
    bench.write();
    bench.pass(seconds(0)).unwrap();
    bench.publish_all([2]);
    bench.write();
    bench.reconnect(&resumed(&[]));
    assert_eq!(bench.lines(), ["m/1 #1 dup", "m/2 #2"]);
}

#[test]
fn messages_are_taken_and_acknowledged_during_a_renewal() {
    let mut bench = unasked();
    bench.publish_all([1]);
    bench.write();
    bench.pass(seconds(0)).unwrap();
    bench.receive(&publish(7, "t", b""));
    bench.consume(0, 1);
    assert_eq!(bench.write_acks(), [7]);
}

#[test]
fn acknowledgements_are_waited_for_five_seconds_at_the_most() {
    let mut bench = unasked();
    bench.publish_all([1]);
    bench.write();
    bench.pass(seconds(0)).unwrap();
    assert_eq!(bench.session.next_deadline(), Some(bench.now + seconds(5)));
    bench.pass(seconds(4)).unwrap();
    assert_eq!(ending(&bench), None);
    bench.pass(seconds(1)).unwrap();
    assert_eq!(ending(&bench), Some(Ending::Renewing));
    assert_eq!(bench.events.take(), []);
}

#[test]
fn a_qos_0_message_that_has_not_left_is_waited_for_too() {
    let mut bench = unasked();
    bench.publish(1, 0);
    bench.write();
    bench.pass(seconds(0)).unwrap();
    assert_eq!(ending(&bench), None);
    bench.flushed();
    assert_eq!(ending(&bench), Some(Ending::Renewing));
}

#[test]
fn the_disconnect_of_a_renewal_does_not_end_the_session() {
    let bench = Bench::new(|_| {});
    let mut out = BytesMut::new();
    bench.session.disconnect(Ending::Renewing, &mut out);
    let sent = parse_all(bench.session.version(), &out);
    assert_eq!(sent, [Sent::Disconnect(None)]);
}

#[test]
fn the_link_goes_on_until_the_host_has_answered() {
    let mut bench = asked(|_| {});
    bench.publish_all([1]);
    assert_eq!(bench.lines(), ["m/1 #1"]);
    assert_eq!(ending(&bench), None);
    bench.receive(&puback(1));
    answer(&mut bench, 2);
    assert_eq!(ending(&bench), Some(Ending::Renewing));
    let given = bench.session.take_answer();
    assert!(given.is_some_and(|given| given.is_ok_and(|given| given.expiry == expiry(2))));
}

#[test]
fn an_answer_that_does_not_come_in_time_is_asked_for_again_in_thirty_seconds() {
    let mut bench = asked(|_| {});
    bench.pass(seconds(10)).unwrap();
    let expired = Event::CredentialsExpired { attempt: 2 };
    assert_eq!(bench.events.take(), [expired, attempted(true)]);
    answer(&mut bench, 2);
    assert_eq!(ending(&bench), None, "it is too late");
    bench.pass(seconds(29)).unwrap();
    assert_eq!(bench.events.take(), []);
    bench.pass(seconds(1)).unwrap();
    assert_eq!(bench.events.take(), [Event::Credentials { attempt: 3 }]);
    answer(&mut bench, 3);
    assert_eq!(ending(&bench), Some(Ending::Renewing));
}

#[test]
fn a_failure_is_asked_over_again_and_one_for_good_is_not() {
    let mut bench = asked(|_| {});
    refuse(&mut bench, no_credentials());
    assert_eq!(bench.events.take(), [attempted(true)]);
    bench.pass(seconds(30)).unwrap();
    assert_eq!(bench.events.take(), [Event::Credentials { attempt: 3 }]);
    let mut bench = asked(|_| {});
    refuse(&mut bench, no_credentials().for_good());
    assert_eq!(bench.events.take(), [attempted(false)]);
    assert_eq!(bench.session.next_deadline(), None);
    assert_eq!(ending(&bench), None);
    bench.publish_all([1]);
    assert_eq!(bench.lines(), ["m/1 #1"]);
}

#[test]
fn a_link_that_is_lost_during_a_renewal_is_followed_by_one_that_asks_anew() {
    let mut bench = asked(|_| {});
    bench.lost(true);
    let expired = Event::CredentialsExpired { attempt: 2 };
    assert_eq!(bench.events.take(), [expired]);
    assert_eq!(bench.session.begin_attempt(), 3);
    let mut bench = answered(|_| {});
    bench.lost(true);
    assert!(
        bench.session.take_answer().is_none(),
        "it may be old by then"
    );
    assert_eq!(bench.session.next_deadline(), None);
}

#[test]
fn the_host_hears_once_that_a_renewal_without_a_kept_session_can_lose_messages() {
    const WARNING: &str = "messages in the gap are lost";
    let bench = answered(|_| {});
    assert!(!bench.events.logged(WARNING));
    let mut bench = answered(|options| options.session_expiry_seconds = Some(0.0));
    assert!(bench.events.logged(WARNING));
    bench.reconnect(CONNACK);
    bench.connect_until(CONNACK, expiry(3));
    bench.pass(seconds(951)).unwrap();
    answer(&mut bench, 3);
    assert_eq!(ending(&bench), Some(Ending::Renewing));
    assert_eq!(bench.events.log_text().matches(WARNING).count(), 1);
}

// The host ends the connection meanwhile.

#[test]
fn a_disconnect_during_a_renewal_still_sends_what_was_accepted() {
    let mut bench = unasked();
    bench.publish_all([1]);
    bench.write();
    bench.pass(seconds(0)).unwrap();
    bench.publish_all([2]);
    assert_eq!(bench.lines(), [""; 0]);
    bench.handle.disconnect(seconds(60));
    assert_eq!(bench.lines(), ["m/2 #2"]);
    bench.receive(&puback(1));
    assert_eq!(ending(&bench), None);
    bench.receive(&puback(2));
    assert_eq!(ending(&bench), Some(Ending::Done));
    assert_eq!(bench.events.take_outcomes(), [1, 2]);
}

#[test]
fn a_disconnect_while_the_host_is_asked_needs_no_answer_any_more() {
    let mut bench = asked(|_| {});
    bench.publish_all([1]);
    bench.handle.disconnect(seconds(60));
    bench.take_commands();
    let expired = Event::CredentialsExpired { attempt: 2 };
    assert_eq!(bench.events.take(), [expired]);
    answer(&mut bench, 2);
    assert_eq!(bench.lines(), ["m/1 #1"]);
    bench.receive(&puback(1));
    assert_eq!(ending(&bench), Some(Ending::Done));
}

#[test]
fn no_renewal_begins_after_a_disconnect() {
    let mut bench = unasked();
    bench.publish_all([1]);
    bench.write();
    bench.handle.disconnect(seconds(60));
    bench.take_commands();
    bench.pass(seconds(1)).unwrap();
    bench.receive(&puback(1));
    assert_eq!(ending(&bench), Some(Ending::Done));
}

#[test]
fn a_qos_0_message_in_the_gap_waits_for_the_link_that_follows_at_once() {
    let mut bench = unasked();
    bench.pass(seconds(0)).unwrap();
    bench.publish(1, 0);
    assert_eq!(bench.write(), []);
    bench.session.renewing(bench.now, &mut bench.events);
    bench.publish(2, 0);
    bench.take_commands();
    assert_eq!(bench.events.take(), []);
    bench.connect(&resumed(&[]));
    assert_eq!(bench.write_ids(), [0, 0]);
}

#[test]
fn a_qos_0_message_fails_once_the_link_does_not_follow_at_once() {
    let mut bench = unasked();
    bench.pass(seconds(0)).unwrap();
    bench.session.renewing(bench.now, &mut bench.events);
    bench.publish(1, 0);
    bench.take_commands();
    assert_eq!(bench.events.take(), []);
    bench.session.interrupted(&mut bench.events);
    bench.publish(2, 0);
    bench.take_commands();
    let failed = |token| Event::Failed {
        token,
        code: Code::NotConnected,
    };
    assert_eq!(bench.events.take(), [failed(1), failed(2)]);
}

#[test]
fn credentials_that_have_ended_already_are_told_of() {
    let mut bench = Bench::unconnected(asking);
    bench.session.ask(1, None, &mut bench.events);
    let ended = Expiry {
        id: 1,
        after: seconds(0),
    };
    let credentials = Ok(Credentials::default());
    bench.handle.credentials(1, credentials, Some(ended));
    bench.take_commands();
    assert!(bench.events.logged("have ended already"));
}
