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
    wire::PublishProperties,
};

/// What a host was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Connected,
    Interrupted {
        code: Code,
    },
    /// With whether another follows.
    Attempted {
        number: u32,
        code: Option<Code>,
        next: bool,
    },
    Credentials {
        attempt: u32,
    },
    CredentialsExpired {
        attempt: u32,
    },
    SubscriptionLost {
        filter: u32,
        code: Code,
    },
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
            Self::Connected
            | Self::Interrupted { .. }
            | Self::Attempted { .. }
            | Self::Credentials { .. }
            | Self::CredentialsExpired { .. }
            | Self::SubscriptionLost { .. }
            | Self::Message { .. }
            | Self::Closed { .. } => None,
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
    /// The server's words about operations.
    said: Vec<String>,
    /// Until the next attempts.
    delays: Vec<Duration>,
    properties: Vec<Option<PublishProperties>>,
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

    /// What the server said about operations that went well.
    pub fn said(&self) -> Vec<String> {
        self.state().said.clone()
    }

    /// How long it was to take until each next attempt.
    pub fn delays(&self) -> Vec<Duration> {
        self.state().delays.clone()
    }

    /// The properties of every message so far.
    pub fn properties(&self) -> Vec<Option<PublishProperties>> {
        self.state().properties.clone()
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
        match timeout(Duration::from_secs(60), waiting).await {
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

    fn interrupted(&mut self, failure: &Failure) {
        self.state().failures.push(failure.clone());
        let code = failure.code();
        self.push(Event::Interrupted { code });
    }

    fn attempted(&mut self, number: u32, failure: Option<&Failure>, next: Option<Duration>) {
        self.state().delays.extend(next);
        // The first attempt of most tests goes without saying.
        if number > 1 || next.is_some() {
            self.push(Event::Attempted {
                number,
                code: failure.map(Failure::code),
                next: next.is_some(),
            });
        }
    }

    fn credentials(&mut self, attempt: u32, _last: Option<&Failure>) {
        self.push(Event::Credentials { attempt });
    }

    fn credentials_expired(&mut self, attempt: u32) {
        self.push(Event::CredentialsExpired { attempt });
    }

    fn message(&mut self, message: &Message<'_>) {
        assert!(!self.state().panic_on_message, "provoked by a message");
        self.state().properties.push(message.properties.cloned());
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

    fn published(&mut self, token: Token, packet_id: u16, reason: u8, said: Option<&str>) {
        self.state().said.extend(said.map(str::to_owned));
        self.push(Event::Published {
            token,
            packet_id,
            reason,
        });
    }

    fn subscribed(&mut self, token: Token, _: u16, granted: &[u8], said: Option<&str>) {
        self.state().said.extend(said.map(str::to_owned));
        let granted = granted.to_owned();
        self.push(Event::Subscribed { token, granted });
    }

    fn refused(&mut self, token: Token, codes: &[u8], failure: &Failure) {
        self.state().failures.push(failure.clone());
        let codes = codes.to_owned();
        self.push(Event::Refused { token, codes });
    }

    fn unsubscribed(&mut self, token: Token, _: u16, codes: &[u8], said: Option<&str>) {
        self.state().said.extend(said.map(str::to_owned));
        let codes = codes.to_owned();
        self.push(Event::Unsubscribed { token, codes });
    }

    fn subscription_lost(&mut self, filter: u32, failure: &Failure) {
        self.state().failures.push(failure.clone());
        let code = failure.code();
        self.push(Event::SubscriptionLost { filter, code });
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
    // A test that wants to see more than one link says so.
    options.reconnect.never = true;
    change(&mut options);
    match options.validate() {
        Ok(options) => options,
        Err(failure) => panic!("{failure}"),
    }
}
