//! Both ends of a connection for tests: a host that writes down what it is told, and a server that reads what it is
//! sent.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

use crate::{
    error::{Code, Failure},
    events::{Connected, Events, Message},
    options::{ConnectOptions, Level, Options},
    session::Token,
    wire::{Version, next_frame},
};

/// What a host was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Connected,
    Message {
        number: u64,
        topic: String,
        payload: Vec<u8>,
        qos: u8,
        filters: Vec<u32>,
    },
    Published {
        token: Token,
        packet_id: u16,
        reason: u8,
    },
    Subscribed {
        token: Token,
        granted: Vec<u8>,
    },
    Refused {
        token: Token,
        codes: Vec<u8>,
    },
    Unsubscribed {
        token: Token,
        codes: Vec<u8>,
    },
    Withdrawn {
        token: Token,
    },
    Failed {
        token: Token,
        code: Code,
    },
    Closed {
        code: Option<Code>,
        unsettled: usize,
    },
}

impl Event {
    /// The operation that ends with it.
    pub fn outcome_of(&self) -> Option<Token> {
        match self {
            Self::Published { token, .. }
            | Self::Subscribed { token, .. }
            | Self::Refused { token, .. }
            | Self::Unsubscribed { token, .. }
            | Self::Withdrawn { token }
            | Self::Failed { token, .. } => Some(*token),
            Self::Connected | Self::Message { .. } | Self::Closed { .. } => None,
        }
    }
}

/// A host that writes everything down. Its clones share what they know.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Recorded>);

#[derive(Default)]
struct Recorded {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    events: Vec<Event>,
    failures: Vec<Failure>,
    connected: Option<Connected>,
    logs: Vec<(Level, String)>,
    /// QoS 0 messages that the app has not seen.
    unseen: VecDeque<u64>,
    flushes: usize,
    panic_on_message: bool,
    panic_on_outcome: bool,
}

impl Recorder {
    /// Everything told since the last call.
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.state().events)
    }

    /// The tokens of `take`, in order, of what is an outcome.
    pub fn take_outcomes(&self) -> Vec<Token> {
        self.take().iter().filter_map(Event::outcome_of).collect()
    }

    /// The last failure of an operation or of the connection.
    pub fn last_failure(&self) -> Failure {
        self.state().failures.last().expect("a failure").clone()
    }

    pub fn connected_as(&self) -> Connected {
        self.state().connected.clone().expect("connected")
    }

    pub fn logged(&self, text: &str) -> bool {
        self.state()
            .logs
            .iter()
            .any(|(_, message)| message.contains(text))
    }

    /// All log records as one text.
    pub fn log_text(&self) -> String {
        self.state()
            .logs
            .iter()
            .map(|(level, message)| format!("{} {message}\n", level.as_str()))
            .collect()
    }

    /// How often the connection's task has been polled to the end of a turn.
    pub fn flushes(&self) -> usize {
        self.state().flushes
    }

    /// The app sees the QoS 0 messages so far: they cannot be discarded any more.
    pub fn see_messages(&self) {
        self.state().unseen.clear();
    }

    pub fn panic_on_message(&self) {
        self.state().panic_on_message = true;
    }

    pub fn panic_on_outcome(&self) {
        self.state().panic_on_outcome = true;
    }

    /// Waits until `enough` holds for what was told, and takes it. With a paused clock it fails once nothing moves.
    pub async fn until(&self, what: &str, enough: impl Fn(&[Event]) -> bool) -> Vec<Event> {
        let waiting = async {
            loop {
                let changed = self.0.changed.notified();
                if enough(&self.state().events) {
                    return self.take();
                }
                changed.await;
            }
        };
        match timeout(Duration::from_secs(100_000), waiting).await {
            Ok(events) => events,
            Err(_) => panic!("waited in vain for {what}; told: {:?}", self.take()),
        }
    }

    /// Waits for so many outcomes, and gives the tokens in their order.
    pub async fn outcomes(&self, count: usize) -> Vec<Token> {
        let outcomes = |events: &[Event]| events.iter().filter_map(Event::outcome_of).count();
        self.until("outcomes", |events| outcomes(events) >= count)
            .await
            .iter()
            .filter_map(Event::outcome_of)
            .collect()
    }

    /// Waits for the end, and gives the code of its failure.
    pub async fn closed(&self) -> Option<Code> {
        let closed = |events: &[Event]| matches!(events.last(), Some(Event::Closed { .. }));
        match self.until("the end", closed).await.pop() {
            Some(Event::Closed { code, .. }) => code,
            other => panic!("{other:?}"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic that a test provokes leaves the state whole.
        self.0
            .state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn push(&self, event: Event) {
        let mut state = self.state();
        let panics = state.panic_on_outcome && event.outcome_of().is_some();
        state.events.push(event);
        drop(state);
        self.0.changed.notify_waiters();
        assert!(!panics, "provoked by an outcome");
    }
}

impl Events for Recorder {
    fn connected(&mut self, connected: &Connected) {
        self.state().connected = Some(connected.clone());
        self.push(Event::Connected);
    }

    fn message(&mut self, message: &Message<'_>) {
        assert!(!self.state().panic_on_message, "provoked by a message");
        if message.qos == 0 {
            self.state().unseen.push_back(message.number);
        }
        self.push(Event::Message {
            number: message.number,
            topic: message.topic.to_owned(),
            payload: message.payload.to_owned(),
            qos: message.qos,
            filters: message.filters.to_owned(),
        });
    }

    fn discard_oldest_qos0(&mut self) -> Option<u64> {
        let mut state = self.state();
        let oldest = state.unseen.pop_front()?;
        state
            .events
            .retain(|event| !matches!(event, Event::Message { number, .. } if *number == oldest));
        Some(oldest)
    }

    fn published(&mut self, token: Token, packet_id: u16, reason: u8) {
        self.push(Event::Published {
            token,
            packet_id,
            reason,
        });
    }

    fn subscribed(&mut self, token: Token, _packet_id: u16, granted: &[u8]) {
        let granted = granted.to_owned();
        self.push(Event::Subscribed { token, granted });
    }

    fn refused(&mut self, token: Token, codes: &[u8], failure: &Failure) {
        self.state().failures.push(failure.clone());
        let codes = codes.to_owned();
        self.push(Event::Refused { token, codes });
    }

    fn unsubscribed(&mut self, token: Token, _packet_id: u16, codes: &[u8]) {
        let codes = codes.to_owned();
        self.push(Event::Unsubscribed { token, codes });
    }

    fn withdrawn(&mut self, token: Token) {
        self.push(Event::Withdrawn { token });
    }

    fn failed(&mut self, token: Token, failure: &Failure) {
        self.state().failures.push(failure.clone());
        let code = failure.code();
        self.push(Event::Failed { token, code });
    }

    fn closed(&mut self, failure: Option<&Failure>, unsettled: usize) {
        self.state().failures.extend(failure.cloned());
        self.push(Event::Closed {
            code: failure.map(Failure::code),
            unsettled,
        });
    }

    fn log(&mut self, level: Level, message: &str) {
        self.state().logs.push((level, message.to_owned()));
    }

    fn flush(&mut self) {
        self.state().flushes += 1;
        self.0.changed.notify_waiters();
    }
}

/// Options that work, changed by the test.
pub fn options(change: impl FnOnce(&mut ConnectOptions)) -> Options {
    let mut options = ConnectOptions {
        endpoint: "iot.example".to_owned(),
        client_id: Some("client".to_owned()),
        log_level: Some("trace".to_owned()),
        ..ConnectOptions::default()
    };
    change(&mut options);
    match options.validate() {
        Ok(options) => options,
        Err(failure) => panic!("{failure}"),
    }
}

/// A packet as a server reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    Connect,
    Publish {
        id: u16,
        topic: String,
        payload: Vec<u8>,
        qos: u8,
    },
    PubAck(u16),
    Subscribe {
        id: u16,
        filters: Vec<String>,
    },
    Unsubscribe {
        id: u16,
        filters: Vec<String>,
    },
    PingReq,
    /// The session expiry in it.
    Disconnect(Option<u32>),
}

/// The first packet in `bytes` and its length, if it is whole.
pub fn parse(version: Version, bytes: &[u8]) -> Option<(Sent, usize)> {
    let frame = next_frame(bytes, usize::MAX).expect("well-formed")?;
    let mut body = Body(frame.body);
    let properties = |body: &mut Body<'_>| {
        if version == Version::V5 {
            let length = body.take(1)[0];
            body.take(length.into());
        }
    };
    let sent = match frame.header >> 4 {
        1 => Sent::Connect,
        3 => {
            let qos = frame.header >> 1 & 3;
            let topic = body.string();
            let id = if qos > 0 { body.u16() } else { 0 };
            properties(&mut body);
            Sent::Publish {
                id,
                topic,
                payload: body.0.to_owned(),
                qos,
            }
        }
        4 => Sent::PubAck(body.u16()),
        8 => {
            let id = body.u16();
            properties(&mut body);
            let mut filters = Vec::new();
            while !body.0.is_empty() {
                filters.push(body.string());
                body.take(1);
            }
            Sent::Subscribe { id, filters }
        }
        10 => {
            let id = body.u16();
            properties(&mut body);
            let mut filters = Vec::new();
            while !body.0.is_empty() {
                filters.push(body.string());
            }
            Sent::Unsubscribe { id, filters }
        }
        12 => Sent::PingReq,
        14 if body.0.is_empty() => Sent::Disconnect(None),
        14 => {
            let expiry = body.take(7)[3..].try_into().unwrap();
            Sent::Disconnect(Some(u32::from_be_bytes(expiry)))
        }
        other => panic!("a client sends no packet of type {other}"),
    };
    Some((sent, frame.len))
}

/// All packets in `bytes`, which end with the last one.
pub fn parse_all(version: Version, mut bytes: &[u8]) -> Vec<Sent> {
    let mut all = Vec::new();
    while let Some((sent, length)) = parse(version, bytes) {
        all.push(sent);
        bytes = &bytes[length..];
    }
    assert!(bytes.is_empty(), "an incomplete packet: {bytes:02x?}");
    all
}

struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().unwrap())
    }

    fn string(&mut self) -> String {
        let length = self.u16();
        String::from_utf8(self.take(length.into()).to_owned()).unwrap()
    }
}

/// A packet with the length that its body has.
pub fn packet(header: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut packet = vec![header];
    let mut length = body.len();
    while length >= 0x80 {
        packet.push(length as u8 | 0x80);
        length >>= 7;
    }
    packet.push(length as u8);
    packet.extend(body);
    packet
}

/// What a server of MQTT 5 sends.
pub mod server {
    use super::packet;

    pub const CONNACK: &[u8] = &[0x20, 3, 0, 0, 0];
    pub const PINGRESP: &[u8] = &[0xd0, 0];

    /// CONNACK with Receive Maximum.
    pub fn connack(receive_maximum: u16) -> Vec<u8> {
        let properties = receive_maximum.to_be_bytes();
        packet(0x20, &[&[0, 0, 3, 0x21], &properties])
    }

    pub fn puback(id: u16) -> Vec<u8> {
        packet(0x40, &[&id.to_be_bytes()])
    }

    pub fn puback_with(id: u16, reason: u8) -> Vec<u8> {
        packet(0x40, &[&id.to_be_bytes(), &[reason]])
    }

    pub fn suback(id: u16, codes: &[u8]) -> Vec<u8> {
        packet(0x90, &[&id.to_be_bytes(), &[0], codes])
    }

    pub fn unsuback(id: u16, codes: &[u8]) -> Vec<u8> {
        packet(0xb0, &[&id.to_be_bytes(), &[0], codes])
    }

    pub fn disconnect(reason: u8) -> Vec<u8> {
        packet(0xe0, &[&[reason]])
    }

    /// PUBLISH at QoS 0 if `id` is 0, else at QoS 1.
    pub fn publish(id: u16, topic: &str, payload: &[u8]) -> Vec<u8> {
        let length = (topic.len() as u16).to_be_bytes();
        let id_bytes = id.to_be_bytes();
        let (header, id_bytes) = match id {
            0 => (0x30, &[][..]),
            _ => (0x32, &id_bytes[..]),
        };
        packet(
            header,
            &[&length, topic.as_bytes(), id_bytes, &[0], payload],
        )
    }
}
