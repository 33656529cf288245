//! The protocol state of a connection, without a socket and without a clock but the `now` it is given.
//!
//! A session outlives its links. [`Session::connected`] begins a link, [`Session::lost`] ends it; in between the link
//! calls [`Session::receive`], [`Session::write`] and [`Session::elapsed`]. The host's commands are taken at any time.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::BytesMut;
use tokio::time::Instant;

mod aliases;
mod clock;
mod deliveries;
mod in_flight;
mod keep_alive;
mod operation;
mod pace;
mod receive;
mod renewal;
mod request;
mod send;
mod subscriptions;
mod suspicion;
#[cfg(test)]
mod tests;

pub use receive::server_disconnect;
pub use renewal::Expiry;
pub use subscriptions::{FilterId, filter_matches};

use self::{
    deliveries::Deliveries,
    in_flight::{InFlight, Unacknowledged},
    keep_alive::KeepAlive,
    operation::{Operation, Publish},
    pace::Pace,
    renewal::Renewal,
    request::Request,
    subscriptions::Subscriptions,
    suspicion::{Suspect, Suspicion},
};
use crate::{
    authorizer::Login,
    error::{Code, Failure, Result, Stage},
    events::{Connected, Events},
    limits::quoted,
    options::{Level, Options, Qos0, WhenFull},
    shared::{Counters, Number, Shared},
    wire::{ConnAck, Connect, OutboundPublish, Version, encode_connect, encode_disconnect},
};

/// The number under which the host knows an operation.
pub type Token = u32;

/// What the host asks for. Everything in it has been checked and accepted.
pub enum Command {
    Publish {
        token: Token,
        packet: OutboundPublish,
        /// From when on it is not worth sending.
        expires: Option<Instant>,
    },
    Subscribe {
        token: Token,
        filters: Vec<Filter>,
    },
    Unsubscribe {
        token: Token,
        filters: Vec<Box<str>>,
    },
    /// Withdraws an operation that is not written on this link.
    Withdraw {
        token: Token,
    },
    /// The app has consumed `count` messages, the first of which has a number with this lower half.
    Consumed {
        from: u32,
        count: u32,
    },
    /// The host's answer to [`Events::credentials`].
    Credentials {
        attempt: u32,
        answer: Result<Answer>,
    },
    /// Ends the connection once everything accepted is settled, or after `timeout`.
    Disconnect {
        timeout: Duration,
    },
}

/// What one attempt logs in with.
pub struct Answer {
    pub login: Login,
    pub expiry: Option<Expiry>,
}

/// One filter of a SUBSCRIBE.
pub struct Filter {
    pub filter: Box<str>,
    pub id: FilterId,
    pub qos: u8,
}

/// What a packet asks of the link.
#[derive(Debug, PartialEq, Eq)]
pub enum Flow {
    Continue,
    /// Out of credit: the packet was not taken, and is to be offered again once [`Session::wants_to_read`].
    Stop,
}

/// Why the session wants its link to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The host asked for the end, and nothing is left to wait for.
    Done,
    /// A link with newer credentials is to follow.
    Renewing,
}

/// How many publishes go out behind a loss before the first is acknowledged.
const REOPENED: usize = 32;

pub struct Session {
    options: Arc<Options>,
    shared: Arc<Shared>,
    counters: Counters,
    /// Whether there is a link behind its CONNACK.
    online: bool,
    /// Whether there is none for the moment because it is renewed.
    renewing: bool,
    /// Whether the server has accepted a connection before: a session of ours may be there.
    established: bool,
    /// What the latest link can carry.
    granted: Granted,
    /// Accepted and not written on this link, in order.
    queue: VecDeque<Operation>,
    /// No operation in `queue` is worth dropping for its age before this.
    next_expiry: Option<Instant>,
    /// SUBSCRIBE and UNSUBSCRIBE of which something is written: one operation may take several packets.
    requests: HashMap<Token, Request>,
    in_flight: InFlight,
    /// Subscriptions to be made again, because the server has lost them.
    restore: VecDeque<Box<str>>,
    /// QoS 0 publishes in the link's buffer: done when so many bytes in all have left.
    flushing: VecDeque<(u64, Token)>,
    /// Bytes handed to the network so far.
    sent: u64,
    /// How many QoS 1 publishes may be unacknowledged at a time.
    window: usize,
    /// What of the window is open: all of it on a first link. Behind a loss it opens with each acknowledgement, so that
    /// links that last for a few kilobytes only get something done.
    opened: usize,
    pace: Pace,
    suspicion: Suspicion,
    subscriptions: Subscriptions,
    deliveries: Deliveries,
    inbound_aliases: aliases::Inbound,
    outbound_aliases: aliases::Outbound,
    keep_alive: KeepAlive,
    renewal: Renewal,
    /// The host knows that a renewal is not free of loss.
    warned_of_loss: bool,
    /// Number of the latest attempt.
    attempt: u32,
    /// The attempt for which the host was asked for credentials, until it has answered.
    asked: Option<u32>,
    answer: Option<Result<Answer>>,
    disconnect_by: Option<Instant>,
    matching: Vec<FilterId>,
}

/// What CONNACK granted that a queued operation may exceed.
struct Granted {
    maximum_packet_size: usize,
    maximum_qos: u8,
    retain_available: bool,
}

impl Session {
    pub fn new(options: Arc<Options>, shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        Self {
            counters: Counters::default(),
            online: false,
            renewing: false,
            established: false,
            granted: Granted {
                maximum_packet_size: usize::MAX,
                maximum_qos: 1,
                retain_available: true,
            },
            queue: VecDeque::new(),
            next_expiry: None,
            requests: HashMap::new(),
            in_flight: InFlight::new(options.ack_timeout),
            restore: VecDeque::new(),
            flushing: VecDeque::new(),
            sent: 0,
            window: 0,
            opened: 0,
            pace: Pace::new(
                options.limits.publishes_per_second,
                options.limits.bytes_per_second,
                now,
            ),
            suspicion: Suspicion::new(),
            subscriptions: Subscriptions::new(options.limits.parent_level_matches),
            deliveries: Deliveries::new(options.receive),
            inbound_aliases: aliases::Inbound::default(),
            outbound_aliases: aliases::Outbound::default(),
            keep_alive: KeepAlive::new(0, options.ping_timeout, now),
            renewal: Renewal::new(options.renew_after),
            warned_of_loss: false,
            attempt: 0,
            asked: None,
            answer: None,
            disconnect_by: None,
            matching: Vec::new(),
            options,
            shared,
        }
    }

    pub fn version(&self) -> Version {
        self.options.version
    }

    /// Whether the host wants records of this level.
    pub fn logs(&self, level: Level) -> bool {
        self.options.log_level >= Some(level)
    }

    /// Begins an attempt, and gives its number, counted from 1 through the life of the connection.
    pub fn begin_attempt(&mut self) -> u32 {
        self.attempt += 1;
        self.attempt
    }

    /// The number of the latest attempt.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Asks the host for the credentials of the attempt with this number.
    pub fn ask(&mut self, attempt: u32, last: Option<&Failure>, events: &mut impl Events) {
        self.asked = Some(attempt);
        self.answer = None;
        events.credentials(attempt, last);
    }

    /// The host's answer, if it has come.
    pub fn take_answer(&mut self) -> Option<Result<Answer>> {
        self.answer.take()
    }

    /// Nobody waits for the host's credentials any more: what it answers now is too late.
    pub fn stop_asking(&mut self, events: &mut impl Events) {
        self.answer = None;
        if let Some(attempt) = self.asked.take() {
            events.credentials_expired(attempt);
        }
    }

    /// The CONNECT of a new link.
    pub fn connect(&self, login: &Login) -> Result<BytesMut> {
        let options = &self.options;
        let mut out = BytesMut::new();
        encode_connect(
            &Connect {
                version: options.version,
                client_id: &options.client_id,
                clean_start: self.starts_clean(),
                keep_alive_seconds: options.keep_alive_seconds,
                user_name: login.user_name.as_deref(),
                password: login.password.as_deref(),
                will: options.will.as_ref(),
                session_expiry_seconds: Some(options.session_expiry_seconds),
                receive_maximum: Some(options.receive.messages as u16),
                maximum_packet_size: Some(u32::try_from(options.receive.bytes).unwrap_or(u32::MAX)),
                topic_alias_maximum: Some(aliases::INBOUND_MAXIMUM),
                user_properties: &options.user_properties,
            },
            &mut out,
        )?;
        Ok(out)
    }

    /// CONNACK accepted the connection: a link begins.
    pub fn connected(
        &mut self,
        connack: &ConnAck,
        alpn_protocol: Option<String>,
        expiry: Option<Expiry>,
        now: Instant,
    ) -> Connected {
        let options = &self.options;
        let in_flight = options.limits.in_flight.min(connack.receive_maximum);
        let keep_alive_seconds = connack
            .server_keep_alive
            .unwrap_or(options.keep_alive_seconds);
        let session_expiry_seconds = connack
            .session_expiry
            .unwrap_or(options.session_expiry_seconds);
        let connected = Connected {
            version: options.version,
            session_present: connack.session_present,
            keep_alive_seconds,
            in_flight,
            maximum_packet_size: connack.maximum_packet_size,
            maximum_qos: connack.maximum_qos,
            retain_available: connack.retain_available,
            session_expiry_seconds: (options.version == Version::V5)
                .then_some(session_expiry_seconds),
            topic_alias_maximum: connack.topic_alias_maximum,
            alpn_protocol,
        };
        self.window = usize::from(in_flight);
        self.opened = if self.established {
            REOPENED.min(self.window)
        } else {
            self.window
        };
        self.keep_alive = KeepAlive::new(keep_alive_seconds, options.ping_timeout, now);
        self.outbound_aliases = aliases::Outbound::new(if options.topic_aliases {
            connack.topic_alias_maximum
        } else {
            0
        });
        self.granted = Granted {
            maximum_packet_size: connack
                .maximum_packet_size
                .map_or(usize::MAX, |size| size as usize),
            maximum_qos: connack.maximum_qos,
            retain_available: connack.retain_available,
        };
        self.shared.grant(connack);
        self.suspicion.linked();
        self.renewal.linked(expiry, fastrand::f64(), now);
        self.resume(connack.session_present);
        self.established = true;
        self.online = true;
        self.renewing = false;
        connected
    }

    /// The link is gone. `closed_by_server`: by FIN, reset or DISCONNECT 0x87.
    pub fn lost(
        &mut self,
        failure: &Failure,
        closed_by_server: bool,
        now: Instant,
        events: &mut impl Events,
    ) {
        self.online = false;
        self.renewal.unlinked();
        self.stop_asking(events);
        self.pace.release(now);
        self.keep_alive = KeepAlive::new(0, self.options.ping_timeout, now);
        self.inbound_aliases = aliases::Inbound::default();
        self.outbound_aliases = aliases::Outbound::default();
        self.deliveries.unlink();
        for (_, token) in std::mem::take(&mut self.flushing) {
            events.failed(token, failure);
        }
        let alone = self.in_flight.sole().and_then(suspect);
        let outstanding = self.in_flight.outstanding();
        let convicted = self
            .suspicion
            .lost(closed_by_server, outstanding, alone, now);
        for other in self.in_flight.suspend().into_iter().rev() {
            if let Unacknowledged::Restore(filters) = other {
                for filter in filters.into_iter().rev() {
                    self.restore.push_front(filter);
                }
            }
        }
        self.queue.retain(Operation::is_whole);
        for request in self.requests.values_mut() {
            request.restart();
        }
        if let Some(convicted) = convicted {
            self.blame(convicted, failure, events);
        }
        if !self.takes_qos0() {
            self.reject_qos0(events);
        }
        self.show(now);
    }

    /// The link was ended in good order, and the next one follows at once: to the host there is a connection all the time.
    pub fn renewing(&mut self, now: Instant, events: &mut impl Events) {
        self.renewing = true;
        let message = "the connection was ended to be renewed";
        let over = Failure::new(Code::ConnectionLost, Stage::Session, message);
        self.lost(&over, false, now, events);
    }

    /// The link that was to follow a renewal does not come at once.
    pub fn interrupted(&mut self, events: &mut impl Events) {
        self.renewing = false;
        if !self.takes_qos0() {
            self.reject_qos0(events);
        }
    }

    /// Takes what the host asks for.
    pub fn command(&mut self, command: Command, now: Instant, events: &mut impl Events) {
        match command {
            Command::Publish {
                token,
                packet,
                expires,
            } => self.accept(
                Publish {
                    token,
                    packet,
                    expires,
                    order: None,
                },
                events,
            ),
            Command::Subscribe { token, filters } => {
                let request = Request::subscribe(filters, self.filters_per_packet());
                self.accept_request(token, request, events);
            }
            Command::Unsubscribe { token, filters } => {
                let request = Request::unsubscribe(filters, self.filters_per_packet());
                self.accept_request(token, request, events);
            }
            Command::Withdraw { token } => self.withdraw(token, events),
            Command::Consumed { from, count } => {
                let number = self.deliveries.number(from);
                self.deliveries.consume(number, u64::from(count));
            }
            Command::Credentials { attempt, answer } => {
                self.take_credentials(attempt, answer, now, events)
            }
            Command::Disconnect { timeout } => {
                let by = now + timeout;
                self.disconnect_by = Some(self.disconnect_by.map_or(by, |earlier| earlier.min(by)));
                // No link is to follow this one: what was accepted leaves on it.
                self.renewal.give_up();
                self.stop_asking(events);
            }
        }
    }

    /// Whether the host has asked for the end.
    pub fn is_disconnecting(&self) -> bool {
        self.disconnect_by.is_some()
    }

    /// Whether the link is to end now, and why.
    pub fn ending(&self, now: Instant) -> Option<Ending> {
        let settled = || self.in_flight.outstanding() == 0 && self.flushing.is_empty();
        if let Some(by) = self.disconnect_by {
            let done = self.queue.is_empty() && self.in_flight.waiting() == 0 && settled();
            return (done || by <= now).then_some(Ending::Done);
        }
        self.renewal
            .is_due(settled(), now)
            .then_some(Ending::Renewing)
    }

    /// Writes the DISCONNECT of a graceful end.
    pub fn disconnect(&self, ending: Ending, out: &mut BytesMut) {
        // A session that was to start from nothing leaves nothing behind.
        let ends_session = ending == Ending::Done && self.options.clean_session;
        encode_disconnect(self.options.version, 0, ends_session.then_some(0), out);
    }

    /// Whether a session of ours outlives its link at the server.
    pub fn is_kept(&self) -> bool {
        match self.options.version {
            Version::V311 => !self.options.clean_session,
            Version::V5 => self.options.session_expiry_seconds > 0,
        }
    }

    /// Settles everything that is left with `failure`; gives the number of operations.
    pub fn close(&mut self, failure: &Failure, now: Instant, events: &mut impl Events) -> usize {
        self.stop_asking(events);
        let mut settled = 0;
        for (_, token) in std::mem::take(&mut self.flushing) {
            events.failed(token, failure);
            settled += 1;
        }
        for unacknowledged in self.in_flight.drain() {
            if let Unacknowledged::Publish(Publish { token, packet, .. }) = unacknowledged {
                self.shared.budget.release(packet.len());
                events.failed(token, failure);
                settled += 1;
            }
        }
        for (token, request) in std::mem::take(&mut self.requests) {
            self.shared.budget.release(request.size());
            events.failed(token, failure);
            settled += 1;
        }
        for operation in std::mem::take(&mut self.queue) {
            if operation.is_whole() {
                self.shared.budget.release(operation.size());
                events.failed(operation.token(), failure);
                settled += 1;
            }
        }
        self.show(now);
        settled
    }

    /// Shows the figures to the host's thread.
    pub fn show(&mut self, now: Instant) {
        self.counters
            .set(Number::InFlight, self.in_flight.waiting() as u64);
        self.counters.set(Number::Queued, self.queue.len() as u64);
        let paced = self.pace.held_back(now).as_millis() as u64;
        self.counters.set(Number::Paced, paced);
        self.shared.show(&self.counters);
    }

    /// Whether an operation is written and has no outcome yet: its acknowledgement is still to come, or its bytes have
    /// not left because the server may not read before its own are read.
    fn is_waiting(&self) -> bool {
        self.in_flight.outstanding() > 0 || !self.flushing.is_empty()
    }

    /// Whether nothing is to be written, again or for the first time. What earlier links left counts as waiting.
    fn has_nothing_to_write(&self) -> bool {
        self.queue.is_empty() && self.restore.is_empty()
    }

    fn filters_per_packet(&self) -> usize {
        self.options.limits.filters_per_subscribe
    }

    /// Whether CONNECT starts from nothing (Clean Start; Clean Session in MQTT 3.1.1).
    fn starts_clean(&self) -> bool {
        let resumes = match self.options.version {
            // A session that starts clean ends with its link.
            Version::V311 => false,
            Version::V5 => self.established,
        };
        self.options.clean_session && !resumes
    }

    /// Puts in order what is to be written on a new link: with the session kept, publishes go first, under their ids;
    /// without it, subscriptions are made again, and everything unfinished is asked for anew.
    fn resume(&mut self, session_present: bool) {
        let mut anew: Vec<(u64, Operation)> = self
            .requests
            .drain()
            .map(|(token, request)| {
                let order = request.order.unwrap_or_default();
                (order, Operation::Request { token, request })
            })
            .collect();
        if !session_present {
            let publishes = self.in_flight.take_publishes();
            anew.extend(
                publishes
                    .into_iter()
                    .map(|(order, publish)| (order, Operation::Publish(publish))),
            );
            self.restore = self.subscriptions.granted().into();
        }
        anew.sort_unstable_by_key(|(order, _)| *order);
        for (_, operation) in anew.into_iter().rev() {
            self.note_expiry(operation.expires());
            self.queue.push_front(operation);
        }
    }

    fn accept(&mut self, publish: Publish, events: &mut impl Events) {
        if publish.packet.qos() == 0 && !self.takes_qos0() {
            self.shared.budget.release(publish.packet.len());
            events.failed(publish.token, &not_connected(&publish));
            return;
        }
        self.note_expiry(publish.expires);
        self.queue.push_back(Operation::Publish(publish));
        if self.options.when_full == WhenFull::DropOldest {
            self.drop_oldest(events);
        }
    }

    fn accept_request(&mut self, token: Token, mut request: Request, events: &mut impl Events) {
        if request.kind() == request::Kind::Subscribe {
            let count = self.subscriptions.count_with(request.filters());
            let most = self.options.limits.subscriptions;
            if most.is_some_and(|most| count > most) {
                self.shared.budget.release(request.size());
                let message = format!(
                    "{count} topic filters would be subscribed to on one connection; at most {} are allowed",
                    most.unwrap_or_default()
                );
                events.failed(
                    token,
                    &Failure::new(Code::Limit, Stage::Operation, message).with_hint(
                        "IoT Core allows 50 subscriptions a connection and closes it beyond that. Use filters with wildcards, or several connections.",
                    ),
                );
                return;
            }
        }
        request.number(&mut self.subscriptions);
        self.queue.push_back(Operation::Request { token, request });
    }

    fn withdraw(&mut self, token: Token, events: &mut impl Events) {
        let is_it = |operation: &Operation| operation.token() == token && operation.is_whole();
        let Some(index) = self.queue.iter().position(is_it) else {
            return;
        };
        if let Some(operation) = self.queue.remove(index) {
            self.shared.budget.release(operation.size());
            if let Operation::Request { request, .. } = &operation {
                request.withdraw(&mut self.subscriptions);
            }
            self.suspicion.forget(token);
            events.withdrawn(token);
        }
    }

    /// Makes room for the newest: the oldest publishes that are not on their way are dropped.
    fn drop_oldest(&mut self, events: &mut impl Events) {
        while self.shared.budget.is_exceeded() {
            let is_publish = |operation: &Operation| matches!(operation, Operation::Publish(_));
            let Some(index) = self.queue.iter().position(is_publish) else {
                return;
            };
            let Some(Operation::Publish(publish)) = self.queue.remove(index) else {
                return;
            };
            self.shared.budget.release(publish.packet.len());
            self.suspicion.forget(publish.token);
            let message = format!(
                "the message on topic {} was dropped for newer ones: the queue is full",
                quoted(publish.packet.topic())
            );
            events.failed(
                publish.token,
                &Failure::new(Code::QueueFull, Stage::Operation, message),
            );
        }
    }

    /// Whether a QoS 0 message may wait.
    fn takes_qos0(&self) -> bool {
        self.online || self.renewing || self.options.qos0 == Qos0::Queue
    }

    /// Without a link, QoS 0 has nobody to go to.
    fn reject_qos0(&mut self, events: &mut impl Events) {
        let budget = &self.shared.budget;
        self.queue.retain(|operation| {
            let Operation::Publish(publish) = operation else {
                return true;
            };
            if publish.packet.qos() == 0 {
                budget.release(publish.packet.len());
                events.failed(publish.token, &not_connected(publish));
            }
            publish.packet.qos() > 0
        });
    }

    /// What the server keeps closing the connection for ends here.
    fn blame(&mut self, convicted: Suspect, last: &Failure, events: &mut impl Events) {
        let failure = |what: String| {
            let message = format!(
                "the server closed the connection again and again over {what}, each time when nothing else was on its way"
            );
            Failure::new(Code::SuspectedPolicy, Stage::Operation, message).with_cause(last)
        };
        match convicted {
            Suspect::Publish(token) => {
                let Some(id) = self.in_flight.id_of(token) else {
                    return;
                };
                if let Some(Unacknowledged::Publish(publish)) = self.in_flight.remove(id) {
                    self.shared.budget.release(publish.packet.len());
                    let topic = quoted(publish.packet.topic());
                    events.failed(token, &failure(format!("the message on topic {topic}")));
                }
            }
            Suspect::Request(token) => {
                if let Some(request) = self.requests.remove(&token) {
                    self.shared.budget.release(request.size());
                    request.withdraw(&mut self.subscriptions);
                    let filter = quoted(request.filter(0));
                    events.failed(token, &failure(format!("the request for filter {filter}")));
                }
            }
            Suspect::Filter(filter) => {
                self.restore.retain(|other| *other != filter);
                let what = format!("the subscription to {}", quoted(&filter));
                self.lose_subscription(&filter, &failure(what), events);
            }
        }
    }

    fn lose_subscription(&mut self, filter: &str, failure: &Failure, events: &mut impl Events) {
        if let Some(id) = self.subscriptions.lose(filter) {
            events.log(Level::Warn, &failure.to_string());
            events.subscription_lost(id, failure);
        }
    }
}

/// What may be blamed for a close.
fn suspect(unacknowledged: &Unacknowledged) -> Option<Suspect> {
    match unacknowledged {
        Unacknowledged::Publish(publish) => Some(Suspect::Publish(publish.token)),
        Unacknowledged::Request { token, .. } => Some(Suspect::Request(*token)),
        // Under suspicion they go one by one.
        Unacknowledged::Restore(filters) if filters.len() == 1 => {
            filters.first().cloned().map(Suspect::Filter)
        }
        Unacknowledged::Restore(_) | Unacknowledged::Abandoned { .. } => None,
    }
}

fn not_connected(publish: &Publish) -> Failure {
    let message = format!(
        "there is no connection at the moment for the QoS 0 message on topic {}",
        quoted(publish.packet.topic())
    );
    Failure::new(Code::NotConnected, Stage::Operation, message)
}
