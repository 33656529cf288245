//! The rates and counts of IoT Core.

use std::time::Duration;

use super::kit::{Bench, Event, seconds};
use crate::{
    error::Code,
    options::{Change, ConnectOptions},
    shared::Number,
    testing::{
        Sent,
        server::{CONNACK, connack, puback, resumed, suback, unsuback},
    },
};

const TICK: Duration = Duration::from_millis(10);

fn aws(change: impl FnOnce(&mut ConnectOptions)) -> Bench {
    Bench::new(|options| {
        options.limits = Some("aws-iot-core".to_owned());
        change(options);
    })
}

/// Acknowledges all that the session writes now; gives how many publishes that were.
fn served(bench: &mut Bench) -> usize {
    let mut publishes = 0;
    for sent in bench.write() {
        if let Sent::Publish { id, .. } = sent {
            publishes += 1;
            bench.receive(&puback(id));
        }
    }
    publishes
}

#[test]
fn a_hundred_publishes_leave_in_a_second_after_the_first_hundred() {
    let mut bench = aws(|_| {});
    bench.publish_all(0..400);
    assert_eq!(served(&mut bench), 100);
    for _ in 0..2 {
        let mut publishes = 0;
        for _ in 0..100 {
            bench.now += TICK;
            publishes += served(&mut bench);
        }
        assert_eq!(publishes, 100);
    }
    let outcomes = bench.events.take_outcomes();
    assert_eq!(outcomes, (0..300).collect::<Vec<_>>());
}

#[test]
fn what_is_written_again_counts_as_well() {
    // No more than a new link takes before the first acknowledgement.
    let rate = |options: &mut ConnectOptions| {
        options.limit_changes.publishes_per_second = Some(Change::To(25.0));
    };
    let mut bench = aws(rate);
    bench.publish_all(0..25);
    assert_eq!(bench.write().len(), 25);
    for _ in 0..3 {
        bench.reconnect(&resumed(&[]));
        assert_eq!(bench.write(), []);
        let due = bench.session.next_deadline().expect("a time");
        assert!(due <= bench.now + 4 * TICK + Duration::from_millis(1));
        bench.now += seconds(1);
        assert_eq!(bench.write().len(), 25);
    }
}

#[test]
fn the_time_for_which_something_is_held_back_is_shown() {
    let mut bench = aws(|_| {});
    bench.publish_all(0..150);
    // All that the window takes, and then the one that has to wait.
    served(&mut bench);
    served(&mut bench);
    let paced = |bench: &mut Bench| {
        bench.session.show(bench.now);
        bench.shared.number(Number::Paced)
    };
    assert_eq!(paced(&mut bench), 0);
    for _ in 0..50 {
        bench.now += TICK;
        served(&mut bench);
    }
    assert_eq!(paced(&mut bench), 500);
    bench.now += seconds(10);
    served(&mut bench);
    assert_eq!(paced(&mut bench), 500);
}

#[test]
fn without_a_link_nothing_is_held_back() {
    let mut bench = aws(|_| {});
    bench.publish_all(0..150);
    served(&mut bench);
    bench.now += TICK / 2;
    bench.lost(false);
    bench.now += seconds(100);
    assert_eq!(bench.session.next_deadline(), None);
    bench.session.show(bench.now);
    assert!(bench.shared.number(Number::Paced) < 10);
}

/// A session whose next publish, of QoS 0, is held back for its rate.
fn held(window: u16) -> Bench {
    let mut bench = Bench::unconnected(|options| {
        options.limits = Some("aws-iot-core".to_owned());
        options.keep_alive_seconds = Some(1_200.0);
    });
    bench.connect(&connack(window));
    for token in 0..101 {
        bench.publish(token, 0);
    }
    assert_eq!(bench.write().len(), 100);
    bench.flushed();
    assert!(bench.session.next_deadline() <= Some(bench.now + TICK * 2));
    bench
}

#[test]
fn a_rate_wakes_nobody_for_what_was_withdrawn_and_is_followed_by_what_waits_for_the_window() {
    let mut bench = Bench::unconnected(|options| {
        options.limits = Some("aws-iot-core".to_owned());
        options.keep_alive_seconds = Some(1_200.0);
    });
    bench.connect(&connack(1));
    bench.publish_all([1_000]);
    for token in 0..100 {
        bench.publish(token, 0);
    }
    bench.publish_all([1_001]);
    assert_eq!(bench.write().len(), 100);
    bench.flushed();
    bench.handle.withdraw(99);
    assert_eq!(bench.write(), []);
    bench.now += seconds(1);
    assert_eq!(bench.write(), []);
    assert!(bench.session.next_deadline() > Some(bench.now));
}

#[test]
fn a_rate_wakes_nobody_for_what_waits_for_a_full_buffer() {
    let mut bench = held(10);
    bench.now += seconds(1);
    assert_eq!(bench.write_behind(64 * 1024), []);
    assert!(bench.session.next_deadline() > Some(bench.now));
    assert_eq!(bench.write().len(), 1);
}

#[test]
fn a_rate_wakes_nobody_while_the_connection_is_renewed() {
    let mut bench = Bench::unconnected(|options| {
        options.limits = Some("aws-iot-core".to_owned());
        options.keep_alive_seconds = Some(1_200.0);
        options.reconnect.renew_after_seconds = Some(100.0);
        options.ack_timeout_ms = Some(1_000_000.0);
    });
    bench.connect(CONNACK);
    bench.publish_all([1_000]);
    bench.write();
    bench.now += seconds(94);
    for token in 0..101 {
        bench.publish(token, 0);
    }
    bench.write();
    bench.flushed();
    bench.pass(seconds(1)).unwrap();
    assert_eq!(bench.write(), [], "it is renewed, and one publish waits");
    assert_eq!(bench.session.next_deadline(), Some(bench.now + seconds(5)));
}

#[test]
fn a_filter_beyond_fifty_is_refused_and_one_of_them_again_is_not() {
    let mut bench = aws(|_| {});
    let filters: Vec<String> = (0..50).map(|number| format!("f/{number}")).collect();
    let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
    bench.subscribe(1, &filters[..49]);
    bench.subscribe(2, &filters[40..]);
    bench.subscribe(3, &["f/0", "other"]);
    bench.subscribe(4, &["f/0", "f/0"]);
    bench.take_commands();
    let code = Code::Limit;
    assert_eq!(bench.events.take(), [Event::Failed { token: 3, code }]);
    assert!(bench.events.last_failure().message().contains("51"));
    assert_eq!(bench.shared.budget.messages(), 3);
}

/// A connection with fifty subscriptions, the last of which is in a packet of its own, with this id, and unanswered.
fn full() -> (Bench, u16) {
    let mut bench = aws(|_| {});
    let filters: Vec<String> = (0..49).map(|number| format!("f/{number}")).collect();
    let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
    bench.subscribe(1, &filters);
    bench.subscribe(2, &["last"]);
    let mut last = 0;
    for sent in bench.write() {
        let Sent::Subscribe { id, filters } = sent else {
            panic!("{sent:?}")
        };
        last = id;
        if filters != ["last"] {
            bench.receive(&suback(id, &vec![1; filters.len()]));
        }
    }
    bench.events.take();
    (bench, last)
}

/// Whether one more filter is taken.
fn has_room(bench: &mut Bench) -> bool {
    bench.subscribe(9, &["another"]);
    bench.take_commands();
    bench.events.take().is_empty()
}

#[test]
fn a_refusal_makes_room_for_another_filter() {
    let (mut bench, last) = full();
    bench.receive(&suback(last, &[0x87]));
    bench.events.take();
    assert!(has_room(&mut bench));
}

#[test]
fn an_unsubscribe_makes_room_for_another_filter_behind_it() {
    let (mut bench, _) = full();
    assert!(!has_room(&mut bench));
    bench.unsubscribe(3, &["f/7"]);
    bench.take_commands();
    assert!(has_room(&mut bench));
    bench.subscribe(4, &["f/7"]);
    bench.take_commands();
    let failed = Event::Failed {
        token: 4,
        code: Code::Limit,
    };
    assert_eq!(bench.events.take(), [failed], "only one is given up");
}

#[test]
fn a_withdrawn_subscription_makes_room_for_another_filter() {
    let (mut bench, _) = full();
    bench.lost(false);
    bench.connect(CONNACK);
    bench.handle.withdraw(2);
    bench.take_commands();
    bench.events.take();
    assert!(has_room(&mut bench));
}

#[test]
fn a_subscription_that_timed_out_counts_until_it_is_given_up() {
    let (mut bench, _) = full();
    let _pings = bench.pass(seconds(60)).unwrap();
    assert_eq!(bench.events.take_outcomes(), [2]);
    assert!(!has_room(&mut bench), "the server may have made it");
    bench.unsubscribe(3, &["last"]);
    assert_eq!(bench.lines(), ["unsubscribe #9 last"]);
    bench.receive(&unsuback(9, &[0]));
    bench.events.take();
    assert!(has_room(&mut bench));
}
