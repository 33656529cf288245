use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use fastrand::Rng;

use super::kit::{Bench, Event};
use crate::testing::{
    Sent,
    server::{PINGRESP, connack, puback, puback_with, publish, resumed, suback, unsuback},
};

const STEPS: usize = 3_000;
const TOKENS: u32 = 200;

/// A host, a server and a network that do anything they may, at random.
struct Chaos {
    rng: Rng,
    bench: Bench,
    /// Tokens of accepted operations without an outcome. A token is used again as soon as it has one.
    open: BTreeSet<u32>,
    /// What the server has to answer, by packet id.
    unanswered: BTreeMap<u16, Sent>,
    /// Publishes of earlier links of this session that the server has not answered: number, and the link that last
    /// brought it.
    known: BTreeMap<u16, (usize, usize)>,
    /// The number of the link, or of the one that comes next.
    link: usize,
    online: bool,
    /// The publish that this link brought last.
    latest: Option<usize>,
    /// Numbers of the publishes that this session has brought.
    brought: BTreeSet<usize>,
    accepted: usize,
    settled: usize,
    arrived: u32,
}

#[test]
fn every_accepted_operation_has_exactly_one_outcome() {
    for seed in 0..20 {
        let mut rng = Rng::with_seed(seed);
        let mut bench = Bench::unconnected(|options| {
            options.receive_max_messages = Some(5.0);
            options.ack_timeout_ms = Some(3_000.0);
            options.keep_alive_seconds = Some(1.0);
        });
        bench.connect(&connack(rng.u16(3..30)));
        let mut chaos = Chaos {
            rng,
            bench,
            open: BTreeSet::new(),
            unanswered: BTreeMap::new(),
            known: BTreeMap::new(),
            link: 0,
            online: true,
            latest: None,
            brought: BTreeSet::new(),
            accepted: 0,
            settled: 0,
            arrived: 0,
        };
        for _ in 0..STEPS {
            chaos.step();
            chaos.check();
        }
        chaos.bench.take_commands();
        chaos.check();
        let left = chaos.open.len();
        assert_eq!(chaos.bench.close(), left, "seed {seed}");
        chaos.check();
        assert!(chaos.open.is_empty(), "seed {seed}: {:?}", chaos.open);
        assert_eq!(chaos.bench.shared.budget.messages(), 0, "seed {seed}");
        assert_eq!(chaos.settled, chaos.accepted);
        assert!(chaos.accepted > 200, "seed {seed} did nothing");
        assert!(chaos.link > 10, "seed {seed} has too few links");
    }
}

impl Chaos {
    fn step(&mut self) {
        if !self.online {
            return self.wait();
        }
        match self.rng.u8(..80) {
            0..20 => self.ask(),
            20..32 => self.write(),
            32..36 => self.bench.flushed(),
            36..50 => self.answer(),
            50..52 => self.answer_late(),
            52..56 => self.answer_wrongly(),
            56..60 => self.send_message(),
            60..64 => self.consume(),
            64..68 => self.withdraw(),
            68..72 => {
                let time = Duration::from_millis(self.rng.u64(..900));
                let _pings = self.bench.pass(time).expect("pings are answered");
                self.bench.receive(PINGRESP);
            }
            72..75 => self.bench.take_commands(),
            75..79 => {
                let stopped = self.rng.bool();
                self.bench.session.wants_to_read(stopped, self.bench.now);
            }
            _ => self.lose(),
        }
    }

    /// A step without a link.
    fn wait(&mut self) {
        match self.rng.u8(..8) {
            0..3 => self.ask(),
            3 => self.consume(),
            4 => self.withdraw(),
            5 => self.bench.now += Duration::from_secs(10),
            _ => self.connect(),
        }
    }

    fn consume(&mut self) {
        let from = self.rng.u32(..self.arrived.max(1));
        let count = self.rng.u32(..8);
        self.bench.consume(from, count);
    }

    fn withdraw(&mut self) {
        let token = self.rng.u32(..TOKENS);
        self.bench.handle.withdraw(token);
        self.bench.take_commands();
    }

    fn lose(&mut self) {
        let by_server = self.rng.bool();
        self.bench.lost(by_server);
        self.online = false;
        for (id, sent) in std::mem::take(&mut self.unanswered) {
            if let Sent::Publish { topic, .. } = sent {
                self.known.insert(id, (number(&topic), self.link));
            }
        }
        self.link += 1;
    }

    fn connect(&mut self) {
        let window = self.rng.u8(1..30);
        if self.rng.bool() {
            self.bench.connect(&resumed(&[0x21, 0, window]));
        } else {
            self.bench.connect(&connack(window.into()));
            self.known.clear();
            self.brought.clear();
        }
        self.online = true;
        self.latest = None;
    }

    /// The host asks for something.
    fn ask(&mut self) {
        let token = self.rng.u32(..TOKENS);
        if self.open.contains(&token) {
            return;
        }
        let names: Vec<String> = (0..self.rng.usize(1..20))
            .map(|_| format!("f/{}", self.rng.u8(..30)))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        match self.rng.u8(..6) {
            0 => self.bench.subscribe(token, &names),
            1 => self.bench.unsubscribe(token, &names),
            kind => {
                let topic = format!("m/{}", self.accepted);
                self.bench.publish_on(&topic, token, u8::from(kind > 2));
            }
        }
        self.open.insert(token);
        self.accepted += 1;
    }

    /// The session writes; no id may be in use twice.
    fn write(&mut self) {
        let held = self.rng.usize(..50_000);
        for sent in self.bench.write_behind(held) {
            let id = match &sent {
                Sent::Publish { id, qos: 1, .. }
                | Sent::Subscribe { id, .. }
                | Sent::Unsubscribe { id, .. } => *id,
                _ => continue,
            };
            if let Sent::Publish { topic, dup, .. } = &sent {
                self.take_publish(id, number(topic), *dup);
            }
            let earlier = self.unanswered.insert(id, sent);
            assert_eq!(earlier, None, "id {id} is in use twice");
        }
    }

    /// What comes again does so under its id, and what comes for the first time in its order.
    fn take_publish(&mut self, id: u16, number: usize, dup: bool) {
        let earlier = self.known.remove(&id);
        let latest = self.latest.replace(number);
        assert!(
            latest.is_none_or(|latest| latest < number),
            "{number} is overtaken by {latest:?} on one link"
        );
        if dup {
            let known = earlier.map(|(known, _)| known);
            assert_eq!(known, Some(number), "id {id} is another message");
            return;
        }
        // What was given up on the link before the last one has given its id up too.
        let in_use = earlier.is_some_and(|(_, link)| link + 1 >= self.link);
        assert!(!in_use, "the server may still know id {id}");
        let latest = self.brought.last().copied();
        assert!(
            latest.is_none_or(|latest| latest < number),
            "{number} is overtaken by {latest:?}"
        );
        self.brought.insert(number);
    }

    /// The server answers what the link before this one brought.
    fn answer_late(&mut self) {
        let last = |(_, link): &(usize, usize)| link + 1 == self.link;
        let ids: Vec<u16> = self
            .known
            .iter()
            .filter(|(_, known)| last(known))
            .map(|(id, _)| *id)
            .collect();
        if let Some(id) = self.rng.choice(ids) {
            self.known.remove(&id);
            self.bench.receive(&puback(id));
        }
    }

    /// The server answers anything that it has not answered, or answered late.
    fn answer(&mut self) {
        let ids: Vec<u16> = self.unanswered.keys().copied().collect();
        let Some(id) = self.rng.choice(ids) else {
            return;
        };
        let answer = match self.unanswered.remove(&id) {
            Some(Sent::Publish { .. }) if self.rng.bool() => puback(id),
            Some(Sent::Publish { .. }) => puback_with(id, 0x97),
            Some(Sent::Subscribe { filters, .. }) => {
                suback(id, &self.codes(&[0, 1, 0x87], filters.len()))
            }
            Some(Sent::Unsubscribe { filters, .. }) => {
                unsuback(id, &self.codes(&[0, 0x11], filters.len()))
            }
            other => panic!("{other:?}"),
        };
        self.bench.receive(&answer);
        // The same once more: nobody waits for it now.
        if self.rng.bool() {
            self.bench.receive(&answer);
        }
    }

    /// The server answers what was never asked, or with a packet of another kind.
    fn answer_wrongly(&mut self) {
        let id = self.rng.u16(1..);
        match self.unanswered.get(&id) {
            Some(Sent::Publish { .. }) => self.bench.receive(&suback(id, &[0])),
            Some(_) => self.bench.receive(&puback(id)),
            None => self.bench.receive(&unsuback(id, &[0])),
        }
    }

    fn send_message(&mut self) {
        let id = self.rng.u16(..3);
        let _taken_or_not = self.bench.offer(&publish(id, "f/1", b"x")).expect("no end");
        self.arrived += 1;
    }

    fn codes(&mut self, of: &[u8], count: usize) -> Vec<u8> {
        (0..count).map(|_| of[self.rng.usize(..of.len())]).collect()
    }

    /// Every outcome is that of an open operation.
    fn check(&mut self) {
        for event in self.bench.events.take() {
            if let Some(token) = event.outcome_of() {
                let open = self.open.remove(&token);
                assert!(open, "a second outcome: {event:?}");
                self.settled += 1;
            }
            assert!(!matches!(event, Event::Closed { .. }));
        }
    }
}

/// The number in a topic of [`Chaos::ask`].
fn number(topic: &str) -> usize {
    topic.trim_start_matches("m/").parse().expect("a number")
}
