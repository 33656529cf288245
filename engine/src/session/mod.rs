//! The protocol state of a connection, without a socket and without a clock but the `now` it is given.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::BytesMut;
use tokio::time::Instant;

mod deliveries;
mod in_flight;
mod keep_alive;
mod operation;
mod receive;
mod request;
mod subscriptions;
#[cfg(test)]
mod tests;

pub use receive::server_disconnect;
pub use subscriptions::{FilterId, filter_matches};

use self::{
    deliveries::Deliveries,
    in_flight::{InFlight, Unacknowledged},
    keep_alive::{Due, KeepAlive},
    operation::Operation,
    request::Request,
    subscriptions::Subscriptions,
};
use crate::{
    error::{Code, Failure, Result, Stage},
    events::{Connected, Events},
    limits::quoted,
    options::{Level, Options},
    shared::{Counters, Number, Shared},
    wire::{
        ConnAck, Connect, OutboundPublish, Version, encode_connect, encode_disconnect,
        encode_pingreq, encode_puback,
    },
};

/// The number under which the host knows an operation.
pub type Token = u32;

/// What the host asks for. Everything in it has been checked and accepted.
pub enum Command {
    Publish {
        token: Token,
        packet: OutboundPublish,
    },
    Subscribe {
        token: Token,
        filters: Vec<Filter>,
    },
    Unsubscribe {
        token: Token,
        filters: Vec<Box<str>>,
    },
    /// Withdraws an operation of which nothing was sent yet.
    Withdraw {
        token: Token,
    },
    /// The app has consumed `count` messages, the first of which has a number with this lower half.
    Consumed {
        from: u32,
        count: u32,
    },
    /// Ends the connection once everything accepted is settled, or after `timeout`.
    Disconnect {
        timeout: Duration,
    },
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

/// Above this many bytes in the link's buffer nothing more is written into it.
const WRITE_AHEAD: usize = 48 * 1024;

pub struct Session {
    options: Arc<Options>,
    shared: Arc<Shared>,
    counters: Counters,
    /// Accepted and not yet written, in order.
    queue: VecDeque<Operation>,
    /// SUBSCRIBE and UNSUBSCRIBE of which something is written: one operation may take several packets.
    requests: HashMap<Token, Request>,
    in_flight: InFlight,
    /// QoS 0 publishes in the link's buffer: done when so many bytes in all have left.
    flushing: VecDeque<(u64, Token)>,
    /// Bytes handed to the network so far.
    sent: u64,
    /// How many QoS 1 publishes may be unacknowledged at a time.
    window: usize,
    subscriptions: Subscriptions,
    deliveries: Deliveries,
    keep_alive: KeepAlive,
    disconnect_by: Option<Instant>,
    matching: Vec<FilterId>,
}

impl Session {
    pub fn new(options: Arc<Options>, shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        Self {
            counters: Counters::default(),
            queue: VecDeque::new(),
            requests: HashMap::new(),
            in_flight: InFlight::new(options.ack_timeout),
            flushing: VecDeque::new(),
            sent: 0,
            window: 0,
            subscriptions: Subscriptions::new(options.limits.parent_level_matches),
            deliveries: Deliveries::new(options.receive),
            keep_alive: KeepAlive::new(0, options.ping_timeout, now),
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

    /// Writes CONNECT for a new link.
    pub fn connect(&self, out: &mut BytesMut) -> Result<()> {
        let options = &self.options;
        encode_connect(
            &Connect {
                version: options.version,
                client_id: &options.client_id,
                clean_start: options.clean_session,
                keep_alive_seconds: options.keep_alive_seconds,
                user_name: options.login.user_name.as_deref(),
                password: options.login.password.as_deref(),
                session_expiry_seconds: Some(options.session_expiry_seconds),
                receive_maximum: Some(options.receive.messages as u16),
                maximum_packet_size: Some(u32::try_from(options.receive.bytes).unwrap_or(u32::MAX)),
            },
            out,
        )
    }

    /// CONNACK accepted the connection.
    pub fn connected(
        &mut self,
        connack: &ConnAck,
        alpn_protocol: Option<String>,
        now: Instant,
    ) -> Connected {
        let options = &self.options;
        let in_flight = options.limits.in_flight.min(connack.receive_maximum);
        let keep_alive_seconds = connack
            .server_keep_alive
            .unwrap_or(options.keep_alive_seconds);
        self.window = usize::from(in_flight);
        self.keep_alive = KeepAlive::new(keep_alive_seconds, options.ping_timeout, now);
        self.shared.grant(connack);
        Connected {
            version: options.version,
            session_present: connack.session_present,
            keep_alive_seconds,
            in_flight,
            maximum_packet_size: connack.maximum_packet_size,
            maximum_qos: connack.maximum_qos,
            retain_available: connack.retain_available,
            session_expiry_seconds: (options.version == Version::V5).then(|| {
                connack
                    .session_expiry
                    .unwrap_or(options.session_expiry_seconds)
            }),
            alpn_protocol,
        }
    }

    /// Takes what the host asks for.
    pub fn command(&mut self, command: Command, now: Instant, events: &mut impl Events) {
        match command {
            Command::Publish { token, packet } => {
                self.queue.push_back(Operation::Publish { token, packet });
            }
            Command::Subscribe { token, filters } => {
                let request = Request::subscribe(filters, self.filters_per_packet());
                self.queue.push_back(Operation::Request { token, request });
            }
            Command::Unsubscribe { token, filters } => {
                let request = Request::unsubscribe(filters, self.filters_per_packet());
                self.queue.push_back(Operation::Request { token, request });
            }
            Command::Withdraw { token } => self.withdraw(token, events),
            Command::Consumed { from, count } => {
                let number = self.deliveries.number(from);
                self.deliveries.consume(number, u64::from(count));
            }
            Command::Disconnect { timeout } => {
                let by = now + timeout;
                self.disconnect_by = Some(self.disconnect_by.map_or(by, |earlier| earlier.min(by)));
            }
        }
    }

    /// Writes what may be written now: PUBACKs first, then what is queued, while the window and the buffer have room.
    /// Gives whether anything but PUBACKs was written.
    pub fn write(&mut self, now: Instant, out: &mut BytesMut) -> bool {
        let before = out.len();
        while let Some(packet_id) = self.deliveries.next_ack() {
            encode_puback(packet_id, out);
        }
        let acknowledged = out.len();
        while out.len() < WRITE_AHEAD && self.write_next(now, out) {}
        if out.len() > before {
            self.keep_alive.sent(now);
        }
        out.len() > acknowledged
    }

    /// Everything handed to the network so far has left for it.
    pub fn flushed(&mut self, events: &mut impl Events) {
        while let Some((_, token)) = self.flushing.pop_front_if(|(end, _)| *end <= self.sent) {
            events.published(token, 0, 0);
        }
    }

    /// Bytes have arrived.
    pub fn received(&mut self, bytes: usize, now: Instant) {
        self.keep_alive.received(now);
        self.counters.add(Number::BytesReceived, bytes as u64);
    }

    /// Bytes have been handed to the network.
    pub fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
        self.counters.set(Number::BytesSent, self.sent);
    }

    /// Whether the link may read: there is credit, or an operation waits for the server, which must not wait behind
    /// messages. `stopped` says whether a packet was refused with [`Flow::Stop`].
    pub fn wants_to_read(&mut self, stopped: bool, now: Instant) -> bool {
        let wanted = !stopped || self.deliveries.has_credit() || self.is_waiting();
        self.keep_alive.set_deaf(!wanted, now);
        wanted
    }

    /// When [`Self::elapsed`] wants to be called next.
    pub fn next_deadline(&mut self) -> Option<Instant> {
        let deadlines = [
            self.keep_alive.deadline(),
            self.in_flight.next_deadline(),
            self.disconnect_by,
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Does what is due at `now`. A failure ends the link.
    pub fn elapsed(
        &mut self,
        now: Instant,
        out: &mut BytesMut,
        events: &mut impl Events,
    ) -> Result<()> {
        match self.keep_alive.due(now) {
            Due::Nothing => {}
            Due::Ping => {
                encode_pingreq(out);
                self.keep_alive.sent(now);
                self.keep_alive.pinged(now);
            }
            Due::Dead => {
                return Err(Failure::new(
                    Code::KeepAlive,
                    Stage::Session,
                    format!(
                        "{}:{} did not answer a ping within {} ms",
                        self.options.host,
                        self.options.port,
                        self.options.ping_timeout.as_millis()
                    ),
                ));
            }
        }
        while let Some(overdue) = self.in_flight.expire(now) {
            self.abandon(overdue, events);
        }
        Ok(())
    }

    /// Whether the host asked for the end and nothing is left to wait for.
    pub fn is_done(&self, now: Instant) -> bool {
        self.disconnect_by.is_some_and(|by| {
            let settled = self.queue.is_empty() && !self.is_waiting();
            settled || by <= now
        })
    }

    /// Writes the DISCONNECT of a graceful end.
    pub fn disconnect(&self, out: &mut BytesMut) {
        // A session that was to start from nothing leaves nothing behind.
        let expiry = self.options.clean_session.then_some(0);
        encode_disconnect(self.options.version, 0, expiry, out);
    }

    /// Settles everything that is left with `failure`; gives the number of operations.
    pub fn close(&mut self, failure: &Failure, events: &mut impl Events) -> usize {
        let mut settled = 0;
        for (_, token) in std::mem::take(&mut self.flushing) {
            events.failed(token, failure);
            settled += 1;
        }
        for unacknowledged in self.in_flight.drain() {
            if let Unacknowledged::Publish { token, packet } = unacknowledged {
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
            self.shared.budget.release(operation.size());
            events.failed(operation.token(), failure);
            settled += 1;
        }
        self.show();
        settled
    }

    /// Shows the figures to the host's thread.
    pub fn show(&mut self) {
        self.counters
            .set(Number::InFlight, self.in_flight.waiting() as u64);
        self.counters.set(Number::Queued, self.queue.len() as u64);
        self.shared.show(&self.counters);
    }

    /// Whether an operation is written and has no outcome yet: its acknowledgement is still to come, or its bytes have
    /// not left because the server may not read before its own are read.
    fn is_waiting(&self) -> bool {
        self.in_flight.waiting() > 0 || !self.flushing.is_empty()
    }

    fn write_next(&mut self, now: Instant, out: &mut BytesMut) -> bool {
        let writable = match self.queue.front() {
            None => false,
            Some(Operation::Publish { packet, .. }) => {
                packet.qos() == 0
                    || (self.in_flight.publishes() < self.window && self.in_flight.free_ids() > 0)
            }
            Some(Operation::Request { request, .. }) => {
                self.in_flight.free_ids() >= request.packets().count()
            }
        };
        if !writable {
            return false;
        }
        match self.queue.pop_front() {
            None => return false,
            Some(Operation::Publish { token, packet }) => {
                self.write_publish(token, packet, now, out)
            }
            Some(Operation::Request { token, request }) => {
                self.write_request(token, request, now, out)
            }
        }
        true
    }

    fn filters_per_packet(&self) -> usize {
        self.options.limits.filters_per_subscribe
    }

    fn write_publish(
        &mut self,
        token: Token,
        packet: OutboundPublish,
        now: Instant,
        out: &mut BytesMut,
    ) {
        self.counters.add(Number::MessagesSent, 1);
        if packet.qos() == 0 {
            packet.write(0, false, out);
            self.shared.budget.release(packet.len());
            self.flushing
                .push_back((self.sent + out.len() as u64, token));
            return;
        }
        let packet_id = self
            .in_flight
            .insert(Unacknowledged::Publish { token, packet }, now);
        if let Some(Unacknowledged::Publish { packet, .. }) = self.in_flight.get(packet_id) {
            packet.write(packet_id, false, out);
        }
    }

    fn write_request(
        &mut self,
        token: Token,
        mut request: Request,
        now: Instant,
        out: &mut BytesMut,
    ) {
        request.number(&mut self.subscriptions);
        for (first, count) in request.packets() {
            let kind = request.kind();
            let what = Unacknowledged::Request {
                token,
                kind,
                first,
                count,
            };
            let packet_id = self.in_flight.insert(what, now);
            request.encode(self.options.version, packet_id, first..first + count, out);
        }
        self.requests.insert(token, request);
    }

    fn withdraw(&mut self, token: Token, events: &mut impl Events) {
        let Some(index) = self
            .queue
            .iter()
            .position(|operation| operation.token() == token)
        else {
            return;
        };
        if let Some(operation) = self.queue.remove(index) {
            self.shared.budget.release(operation.size());
            events.withdrawn(token);
        }
    }

    fn abandon(&mut self, overdue: Unacknowledged, events: &mut impl Events) {
        let (token, what) = match overdue {
            Unacknowledged::Publish { token, packet } => {
                self.shared.budget.release(packet.len());
                (
                    token,
                    format!("the message on topic {}", quoted(packet.topic())),
                )
            }
            Unacknowledged::Request { token, first, .. } => {
                // The other packets of the same request have nobody to report to.
                let Some(request) = self.requests.remove(&token) else {
                    return;
                };
                self.shared.budget.release(request.size());
                (
                    token,
                    format!("the request for filter {}", quoted(request.filter(first))),
                )
            }
            Unacknowledged::Abandoned { .. } => return,
        };
        let message = format!(
            "{} ms after it was sent, the server has not acknowledged {what}; its outcome is unknown",
            self.options.ack_timeout.as_millis()
        );
        events.failed(
            token,
            &Failure::new(Code::AckTimeout, Stage::Operation, message),
        );
    }
}
