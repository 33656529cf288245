use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use fastrand::Rng;

use super::kit::{Bench, Event};
use crate::testing::{
    Sent,
    server::{PINGRESP, connack, puback, puback_with, publish, suback, unsuback},
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
    }
}

impl Chaos {
    fn step(&mut self) {
        match self.rng.u8(..20) {
            0..5 => self.ask(),
            5..8 => self.write(),
            8 => self.bench.flushed(),
            9..13 => self.answer(),
            13 => self.answer_wrongly(),
            14 => self.send_message(),
            15 => {
                let from = self.rng.u32(..self.arrived.max(1));
                let count = self.rng.u32(..8);
                self.bench.consume(from, count);
            }
            16 => {
                let token = self.rng.u32(..TOKENS);
                self.bench.handle.withdraw(token);
                self.bench.take_commands();
            }
            17 => {
                let time = Duration::from_millis(self.rng.u64(..900));
                let _pings = self.bench.pass(time).expect("pings are answered");
                self.bench.receive(PINGRESP);
            }
            18 => self.bench.take_commands(),
            _ => {
                let stopped = self.rng.bool();
                self.bench.session.wants_to_read(stopped, self.bench.now);
            }
        }
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
            2 => self.bench.publish(token, 0),
            _ => self.bench.publish(token, 1),
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
            let earlier = self.unanswered.insert(id, sent);
            assert_eq!(earlier, None, "id {id} is in use twice");
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
