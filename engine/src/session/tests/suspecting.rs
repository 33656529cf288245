//! A server that closes the connection over one operation, as IoT Core does where a policy denies it.

use super::kit::{Bench, Event, seconds};
use crate::{
    error::{Code, Failure, Stage},
    options::ConnectOptions,
    testing::{
        Sent, packet,
        server::{CONNACK, puback, resumed, suback, unsuback},
    },
};

const POISON: &str = "poison";

/// What the server makes of a link at its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Session,
    Nothing,
}

struct Server {
    bench: Bench,
    kept: Kept,
    version_3: bool,
    /// The ids of what it has taken, by topic, in order.
    taken: Vec<String>,
    /// How often it has closed.
    closes: usize,
    /// The most packets that came at once on the latest link.
    widest: usize,
}

impl Server {
    fn new(kept: Kept, change: impl FnOnce(&mut ConnectOptions)) -> Self {
        let mut version_3 = false;
        let bench = Bench::unconnected(|options| {
            options.keep_alive_seconds = Some(0.0);
            change(options);
            version_3 = options.mqtt_version == Some(3.0);
        });
        let mut server = Self {
            bench,
            kept,
            version_3,
            taken: Vec::new(),
            closes: 0,
            widest: 0,
        };
        server.link(Kept::Nothing);
        server
    }

    fn link(&mut self, kept: Kept) {
        let connack = match (self.version_3, kept) {
            (false, Kept::Session) => resumed(&[]),
            (false, Kept::Nothing) => CONNACK.to_vec(),
            (true, Kept::Session) => packet(0x20, &[&[1, 0]]),
            (true, Kept::Nothing) => packet(0x20, &[&[0, 0]]),
        };
        self.bench.connect(&connack);
    }

    /// Answers until nothing more comes, or something holds the poison: whether that was so.
    fn serve(&mut self) -> bool {
        self.widest = 0;
        loop {
            let sent = self.bench.write();
            self.bench.flushed();
            self.widest = self.widest.max(sent.len());
            if sent.is_empty() {
                return false;
            }
            for sent in sent {
                let answer = match &sent {
                    Sent::Publish { topic, .. } if topic == POISON => return true,
                    Sent::Subscribe { filters, .. } | Sent::Unsubscribe { filters, .. }
                        if filters.iter().any(|filter| filter == POISON) =>
                    {
                        return true;
                    }
                    Sent::Publish { topic, qos, id, .. } => {
                        self.taken.push(topic.clone());
                        match qos {
                            0 => continue,
                            _ => puback(*id),
                        }
                    }
                    Sent::Subscribe { id, filters } if self.version_3 => {
                        packet(0x90, &[&id.to_be_bytes(), &vec![1; filters.len()]])
                    }
                    Sent::Subscribe { id, filters } => suback(*id, &vec![1; filters.len()]),
                    Sent::Unsubscribe { id, .. } if self.version_3 => {
                        packet(0xb0, &[&id.to_be_bytes()])
                    }
                    Sent::Unsubscribe { id, filters } => unsuback(*id, &vec![0; filters.len()]),
                    other => panic!("{other:?}"),
                };
                self.bench.receive(&answer);
            }
        }
    }

    /// Links follow each other until the server has nothing more to close over.
    fn serve_all(&mut self) {
        while self.serve() {
            self.closes += 1;
            assert!(self.closes < 20, "it closes for ever");
            self.bench.lost(true);
            self.bench.now += seconds(1);
            self.link(self.kept);
        }
    }

    /// What was blamed, and what was told of the others.
    fn verdicts(&self) -> (Vec<Event>, Vec<Event>) {
        let blamed = |event: &Event| {
            matches!(
                event,
                Event::Failed {
                    code: Code::SuspectedPolicy,
                    ..
                } | Event::SubscriptionLost {
                    code: Code::SuspectedPolicy,
                    ..
                }
            )
        };
        self.bench.events.take().into_iter().partition(blamed)
    }
}

/// MQTT 5 with the session kept and lost, and MQTT 3.1.1 with a kept and a clean session.
fn servers() -> [Server; 4] {
    let version_3 = |options: &mut ConnectOptions| options.mqtt_version = Some(3.0);
    [
        Server::new(Kept::Session, |_| {}),
        Server::new(Kept::Nothing, |_| {}),
        Server::new(Kept::Nothing, version_3),
        Server::new(Kept::Session, |options| {
            options.mqtt_version = Some(3.0);
            options.clean_session = Some(false);
        }),
    ]
}

const fn failed(token: u32) -> Event {
    let code = Code::SuspectedPolicy;
    Event::Failed { token, code }
}

#[test]
fn a_poison_publish_is_blamed_after_five_closes_and_the_others_arrive_in_order() {
    for mut server in servers() {
        server.bench.publish_all(1..=2);
        server.bench.publish_on(POISON, 3, 1);
        server.bench.publish_all(4..=6);
        server.serve_all();
        let (blamed, others) = server.verdicts();
        assert_eq!(blamed, [failed(3)]);
        // The first link took what was written before the poison: it completed something.
        assert_eq!(server.closes, 6);
        assert_eq!(server.taken, ["m/1", "m/2", "m/4", "m/5", "m/6"]);
        assert_eq!(others.len(), 5);
        assert_eq!(server.bench.shared.budget.messages(), 0);
    }
}

#[test]
fn five_closes_are_enough_where_nothing_was_completed() {
    for mut server in servers() {
        server.bench.publish_on(POISON, 1, 1);
        server.serve_all();
        assert_eq!(server.closes, 5);
        assert_eq!(server.verdicts().0, [failed(1)]);
    }
}

#[test]
fn the_blame_says_topic_and_what_closed_the_link() {
    let mut server = Server::new(Kept::Session, |_| {});
    server.bench.publish_on(POISON, 1, 1);
    server.serve_all();
    let failure = server.bench.events.last_failure();
    assert_eq!(failure.stage(), Stage::Operation);
    assert!(failure.message().contains("\"poison\""), "{failure}");
    assert!(
        failure
            .cause()
            .is_some_and(|cause| cause.contains("the test cuts it"))
    );
}

#[test]
fn subscriptions_that_are_made_again_on_each_link_do_not_hide_a_poison_publish() {
    for mut server in servers() {
        server.bench.subscribe(7, &["a", "b"]);
        server.serve_all();
        server.bench.publish_on(POISON, 1, 1);
        server.bench.publish_all([2]);
        server.serve_all();
        let (blamed, _) = server.verdicts();
        assert_eq!(blamed, [failed(1)]);
        // The first link completed the subscription.
        assert_eq!(server.closes, 6);
        assert_eq!(server.taken, ["m/2"]);
    }
}

#[test]
fn a_poison_filter_is_blamed_with_its_request() {
    for mut server in servers() {
        server.bench.subscribe(1, &["a", POISON]);
        server.bench.publish_all([2]);
        server.serve_all();
        let (blamed, others) = server.verdicts();
        assert_eq!(blamed, [failed(1)]);
        assert_eq!(others.len(), 1);
        assert!(
            server
                .bench
                .events
                .last_failure()
                .message()
                .contains("\"a\"")
        );
    }
}

#[test]
fn a_poison_filter_behind_others_of_one_request_is_blamed_too() {
    for mut server in servers() {
        let filters: Vec<String> = (0..9).map(|number| format!("f/{number}")).collect();
        let mut filters: Vec<&str> = filters.iter().map(String::as_str).collect();
        filters.push(POISON);
        server.bench.subscribe(1, &filters);
        server.serve_all();
        assert_eq!(server.verdicts().0, [failed(1)]);
        assert_eq!(server.closes, 5);
    }
}

#[test]
fn a_filter_that_became_poison_is_found_among_those_that_are_made_again() {
    for (kept, version) in [
        (Kept::Nothing, 3.0),
        (Kept::Nothing, 5.0),
        (Kept::Session, 5.0),
    ] {
        let mut server = Server::new(kept, |options| options.mqtt_version = Some(version));
        for number in 0..19 {
            server.bench.subscribe(number, &[&format!("f/{number}")]);
        }
        server.serve();
        server.bench.events.take();
        server.bench.lost(false);
        server.bench.now += seconds(1);
        server.link(Kept::Nothing);
        // From now on the policy denies one of them.
        let mut closes = 0;
        let code = Code::SuspectedPolicy;
        let lost = Event::SubscriptionLost { filter: 5, code };
        while !server.bench.events.take().contains(&lost) {
            assert!(closes < 20, "it closes for ever");
            if closes_over(&mut server, "f/5") {
                closes += 1;
                server.bench.lost(true);
                server.link(kept);
            }
        }
        assert_eq!(closes, 5);
        assert!(!closes_over(&mut server, "f/5"));
        server.bench.lost(false);
        server.link(Kept::Nothing);
        assert!(!closes_over(&mut server, "f/5"));
    }
}

/// Serves a link, and closes it over one filter: whether it came.
fn closes_over(server: &mut Server, poison: &str) -> bool {
    loop {
        let sent = server.bench.write();
        if sent.is_empty() {
            return false;
        }
        for sent in sent {
            let Sent::Subscribe { id, filters } = sent else {
                panic!("{sent:?}")
            };
            if filters.iter().any(|filter| filter == poison) {
                return true;
            }
            let codes = vec![1; filters.len()];
            let answer = match server.version_3 {
                true => packet(0x90, &[&id.to_be_bytes(), &codes]),
                false => suback(id, &codes),
            };
            server.bench.receive(&answer);
        }
    }
}

#[test]
fn under_suspicion_operations_go_out_one_at_a_time_until_one_is_acknowledged() {
    let mut bench = Bench::new(|_| {});
    bench.subscribe(1, &["a"]);
    bench.publish_all(2..=4);
    bench.publish(5, 0);
    assert_eq!(bench.lines().len(), 5);
    bench.flushed();
    for _ in 0..2 {
        bench.lost(true);
        bench.connect(&resumed(&[]));
        bench.lines();
    }
    bench.lost(true);
    bench.connect(&resumed(&[]));
    assert_eq!(bench.lines(), ["m/2 #2 dup"]);
    assert_eq!(bench.lines(), [""; 0]);
    bench.receive(&puback(2));
    assert_eq!(
        bench.lines(),
        ["m/3 #3 dup", "m/4 #4 dup", "subscribe #6 a"]
    );
}

#[test]
fn under_suspicion_a_qos_0_message_goes_alone_as_well() {
    let mut bench = Bench::new(|options| options.queue_qos0 = Some("queue".to_owned()));
    bench.publish_all([1]);
    for _ in 0..2 {
        bench.write();
        bench.lost(true);
        bench.connect(CONNACK);
    }
    bench.handle.withdraw(1);
    bench.publish(2, 0);
    bench.publish(3, 0);
    bench.publish_all([4]);
    for expected in ["t", "t", "m/4 #3"] {
        assert_eq!(bench.lines(), [expected]);
        assert_eq!(bench.lines(), [""; 0]);
        bench.flushed();
    }
}

#[test]
fn ends_that_are_not_the_servers_blame_nobody() {
    let mut bench = Bench::new(|_| {});
    bench.publish_all(1..=2);
    for _ in 0..20 {
        assert_eq!(bench.write().len(), 2, "no suspicion");
        bench.lost(false);
        bench.connect(&resumed(&[]));
    }
    assert_eq!(bench.events.take(), []);
}

#[test]
fn a_ping_without_an_answer_is_no_close_by_the_server() {
    let mut bench = Bench::new(|options| options.ack_timeout_ms = Some(1_000_000.0));
    bench.publish_all(1..=2);
    for _ in 0..20 {
        assert_eq!(bench.write().len(), 2, "no suspicion");
        let mut failure: Option<Failure> = None;
        while failure.is_none() {
            failure = bench.pass(seconds(1)).err();
        }
        assert_eq!(failure.map(|failure| failure.code()), Some(Code::KeepAlive));
        bench.lost(false);
        bench.connect(&resumed(&[]));
    }
    assert_eq!(bench.events.take(), []);
}

#[test]
fn qos_0_messages_that_the_server_closes_for_never_get_their_neighbours_blamed() {
    for mut server in servers() {
        for token in 0..20 {
            server.bench.publish_on(POISON, 100 + token, 0);
            server.bench.publish_all([token]);
            assert!(server.serve());
            server.bench.lost(true);
            server.bench.now += seconds(1);
            server.link(server.kept);
        }
        server.serve();
        let (blamed, _) = server.verdicts();
        assert_eq!(blamed, []);
        assert_eq!(server.taken.len(), 20);
    }
}

#[test]
fn closes_long_after_the_writing_blame_nobody() {
    let mut bench = Bench::new(|options| options.keep_alive_seconds = Some(0.0));
    bench.publish_all([1]);
    for _ in 0..20 {
        bench.write();
        bench.now += seconds(6);
        bench.lost(true);
        bench.connect(&resumed(&[]));
    }
    assert_eq!(bench.events.take(), []);
}

#[test]
fn a_second_poison_behind_the_first_is_found_as_well() {
    for mut server in servers() {
        server.bench.publish_on(POISON, 1, 1);
        server.bench.publish_on(POISON, 2, 1);
        server.bench.publish_all([3]);
        server.serve_all();
        let (blamed, _) = server.verdicts();
        assert_eq!(blamed, [failed(1), failed(2)]);
        assert_eq!(server.taken, ["m/3"]);
        // Suspicion stays until something succeeds: three more are enough.
        assert_eq!(server.closes, 8);
    }
}

#[test]
fn after_a_blame_the_window_is_that_of_before_once_something_is_acknowledged() {
    let mut server = Server::new(Kept::Session, |_| {});
    server.bench.publish_on(POISON, 1, 1);
    server.serve_all();
    server.bench.publish_all(2..=9);
    assert!(!server.serve());
    assert_eq!(server.widest, 7, "one alone, and then all");
}

#[test]
fn suspicion_ends_when_everything_is_made_again_and_nothing_else_waits() {
    let mut bench = Bench::new(|_| {});
    let filters: Vec<String> = (0..8).map(|number| format!("f/{number}")).collect();
    let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
    bench.subscribe(1, &filters);
    bench.write();
    bench.receive(&suback(1, &[1; 8]));
    bench.reconnect(CONNACK);
    for _ in 0..2 {
        assert_eq!(bench.write().len(), 1);
        bench.lost(true);
        bench.connect(CONNACK);
    }
    for id in 4..12 {
        assert_eq!(bench.write().len(), 1);
        bench.receive(&suback(id, &[1]));
    }
    bench.publish_all(2..=3);
    assert_eq!(bench.write().len(), 2);
}
