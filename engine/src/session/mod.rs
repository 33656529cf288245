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
mod subscriptions;
#[cfg(test)]
mod tests;

pub use subscriptions::{FilterId, filter_matches};

use self::{
    deliveries::Deliveries,
    in_flight::{InFlight, Unacknowledged},
    keep_alive::{Due, KeepAlive},
    subscriptions::Subscriptions,
};
use crate::{
    error::{Code, Failure, Result, Stage},
    events::{Connected, Events, Message},
    limits::quoted,
    options::{Level, Options},
    reason::reason_name,
    shared::{Counters, Number, Shared},
    wire::{
        Ack, ConnAck, Connect, Inbound, OutboundPublish, Publish, Reason, SubAck, Version,
        encode_connect, encode_disconnect, encode_pingreq, encode_puback, encode_subscribe,
        encode_unsubscribe,
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

enum Operation {
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
}

struct Request {
    filters: Vec<(Box<str>, u64)>,
    codes: Vec<u8>,
    /// Packets that are not acknowledged yet.
    packets: usize,
    reason_string: Option<String>,
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
                self.queue
                    .push_back(Operation::Subscribe { token, filters });
            }
            Command::Unsubscribe { token, filters } => {
                self.queue
                    .push_back(Operation::Unsubscribe { token, filters });
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

    /// Takes one packet. A failure ends the link.
    pub fn receive(
        &mut self,
        packet: Inbound<'_>,
        now: Instant,
        events: &mut impl Events,
    ) -> Result<Flow> {
        match packet {
            Inbound::Publish(publish) => return self.deliver(&publish, events),
            Inbound::PubAck(ack) => self.puback(&ack, events),
            Inbound::SubAck(ack) => self.suback(&ack, events)?,
            Inbound::UnsubAck(ack) => self.unsuback(&ack, events)?,
            Inbound::PingResp => {
                if let Some(round_trip) = self.keep_alive.answered(now) {
                    let micros = round_trip.as_micros().max(1) as u64;
                    self.counters.set(Number::Ping, micros);
                }
            }
            Inbound::Disconnect(reason) => return Err(server_disconnect(reason)),
            Inbound::ConnAck(_) => {
                return Err(Failure::protocol("the server sent a second CONNACK"));
            }
        }
        Ok(Flow::Continue)
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
            Some(Operation::Subscribe { filters, .. }) => self.has_ids(filters.len()),
            Some(Operation::Unsubscribe { filters, .. }) => self.has_ids(filters.len()),
        };
        if !writable {
            return false;
        }
        match self.queue.pop_front() {
            None => return false,
            Some(Operation::Publish { token, packet }) => {
                self.write_publish(token, packet, now, out)
            }
            Some(Operation::Subscribe { token, filters }) => {
                self.write_subscribe(token, &filters, now, out);
            }
            Some(Operation::Unsubscribe { token, filters }) => {
                self.write_unsubscribe(token, &filters, now, out);
            }
        }
        true
    }

    /// Whether there are packet ids for a request with so many filters.
    fn has_ids(&self, filters: usize) -> bool {
        self.in_flight.free_ids() >= filters.div_ceil(self.options.limits.filters_per_subscribe)
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

    fn write_subscribe(
        &mut self,
        token: Token,
        filters: &[Filter],
        now: Instant,
        out: &mut BytesMut,
    ) {
        let per_packet = self.options.limits.filters_per_subscribe;
        let requested = filters
            .iter()
            .map(|wanted| {
                let request = self.subscriptions.insert(&wanted.filter, wanted.id);
                (wanted.filter.clone(), request)
            })
            .collect();
        self.requests
            .insert(token, Request::new(requested, per_packet));
        for (index, chunk) in filters.chunks(per_packet).enumerate() {
            let what = Unacknowledged::Subscribe {
                token,
                first: index * per_packet,
                count: chunk.len(),
            };
            let packet_id = self.in_flight.insert(what, now);
            let wanted: Vec<(&str, u8)> = chunk
                .iter()
                .map(|wanted| (&*wanted.filter, wanted.qos))
                .collect();
            encode_subscribe(self.options.version, packet_id, &wanted, out);
        }
    }

    fn write_unsubscribe(
        &mut self,
        token: Token,
        filters: &[Box<str>],
        now: Instant,
        out: &mut BytesMut,
    ) {
        let per_packet = self.options.limits.filters_per_subscribe;
        let requested = filters
            .iter()
            .map(|filter| {
                let request = self.subscriptions.request(filter).unwrap_or_default();
                (filter.clone(), request)
            })
            .collect();
        self.requests
            .insert(token, Request::new(requested, per_packet));
        for (index, chunk) in filters.chunks(per_packet).enumerate() {
            let what = Unacknowledged::Unsubscribe {
                token,
                first: index * per_packet,
                count: chunk.len(),
            };
            let packet_id = self.in_flight.insert(what, now);
            let filters: Vec<&str> = chunk.iter().map(|filter| &**filter).collect();
            encode_unsubscribe(self.options.version, packet_id, &filters, out);
        }
    }

    fn deliver(&mut self, publish: &Publish<'_>, events: &mut impl Events) -> Result<Flow> {
        if publish.topic_alias.is_some() {
            // We announce no Topic Alias Maximum, so every alias is out of range (MQTT 5 section 3.3.2.3.4).
            return Err(Failure::protocol(
                "the server sent a topic alias that it was not offered",
            ));
        }
        let size = publish.topic.len() + publish.payload.len();
        if !self.deliveries.has_credit() {
            if !self.is_waiting() {
                return Ok(Flow::Stop);
            }
            if publish.qos == 0 {
                if !self.make_room(size, events) {
                    return Ok(Flow::Continue);
                }
            } else if self.deliveries.is_flooded() {
                return Err(Failure::protocol(
                    "the server sent far more unacknowledged messages than `receive` allows",
                ));
            }
        }
        self.counters.add(Number::MessagesReceived, 1);
        self.matching.clear();
        self.subscriptions
            .matching(publish.topic, &mut self.matching);
        let number = self.deliveries.push(publish.packet_id, size);
        events.message(&Message {
            number,
            topic: publish.topic,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            dup: publish.dup,
            filters: &self.matching,
        });
        Ok(Flow::Continue)
    }

    /// Drops QoS 0 messages, the oldest first, until there is credit, or room in place of theirs for one of `size`
    /// bytes. If they are not enough, the new one is dropped as well.
    fn make_room(&mut self, size: usize, events: &mut impl Events) -> bool {
        let mut freed = 0;
        loop {
            self.counters.add(Number::Dropped, 1);
            let Some(number) = events.discard_oldest_qos0() else {
                return false;
            };
            freed += self.deliveries.consume(number, 1);
            if self.deliveries.has_credit() || freed >= size {
                return true;
            }
        }
    }

    fn puback(&mut self, ack: &Ack, events: &mut impl Events) {
        match self.in_flight.get(ack.packet_id) {
            Some(Unacknowledged::Publish { .. } | Unacknowledged::Abandoned { publish: true }) => {}
            _ => return self.unknown("PUBACK", ack.packet_id, events),
        }
        let Some(Unacknowledged::Publish { token, packet }) = self.in_flight.remove(ack.packet_id)
        else {
            return;
        };
        self.shared.budget.release(packet.len());
        let Reason { code, string } = &ack.reason;
        if *code < 0x80 {
            events.published(token, ack.packet_id, *code);
            return;
        }
        let message = format!(
            "the server refused the message on topic {}: {} (0x{code:02x})",
            quoted(packet.topic()),
            reason_name(*code)
        );
        let failure = Failure::new(Code::PublishRejected, Stage::Operation, message);
        events.failed(token, &failure.with_reason(*code, string.clone()));
    }

    fn suback(&mut self, ack: &SubAck<'_>, events: &mut impl Events) -> Result<()> {
        let Some((token, first, count)) =
            self.in_flight
                .get(ack.packet_id)
                .and_then(|what| match what {
                    Unacknowledged::Subscribe {
                        token,
                        first,
                        count,
                    } => Some((*token, *first, *count)),
                    _ => None,
                })
        else {
            self.acknowledge_abandoned("SUBACK", ack.packet_id, events);
            return Ok(());
        };
        if ack.codes.len() != count {
            return Err(Failure::protocol(format!(
                "the server answered {count} filters with {} codes",
                ack.codes.len()
            )));
        }
        self.in_flight.remove(ack.packet_id);
        let Some(request) = self.requests.get_mut(&token) else {
            return Ok(());
        };
        for ((filter, number), code) in request.filters[first..].iter().zip(ack.codes) {
            if *code < 0x80 {
                self.subscriptions.grant(filter);
            } else {
                self.subscriptions.refuse(filter, *number);
            }
        }
        let Some(done) = self.answer(token, first, ack) else {
            return Ok(());
        };
        if done.codes.iter().all(|code| *code < 0x80) {
            events.subscribed(token, ack.packet_id, &done.codes);
        } else {
            events.refused(token, &done.codes, &subscribe_rejected(&done));
        }
        Ok(())
    }

    fn unsuback(&mut self, ack: &SubAck<'_>, events: &mut impl Events) -> Result<()> {
        let Some((token, first, count)) =
            self.in_flight
                .get(ack.packet_id)
                .and_then(|what| match what {
                    Unacknowledged::Unsubscribe {
                        token,
                        first,
                        count,
                    } => Some((*token, *first, *count)),
                    _ => None,
                })
        else {
            self.acknowledge_abandoned("UNSUBACK", ack.packet_id, events);
            return Ok(());
        };
        if !ack.codes.is_empty() && ack.codes.len() != count {
            return Err(Failure::protocol(format!(
                "the server answered {count} filters with {} codes",
                ack.codes.len()
            )));
        }
        self.in_flight.remove(ack.packet_id);
        let Some(request) = self.requests.get_mut(&token) else {
            return Ok(());
        };
        for (filter, number) in &request.filters[first..first + count] {
            self.subscriptions.remove(filter, *number);
        }
        if let Some(done) = self.answer(token, first, ack) {
            events.unsubscribed(token, ack.packet_id, &done.codes);
        }
        Ok(())
    }

    /// Notes the codes of one packet; gives the whole request once each of its packets is acknowledged.
    fn answer(&mut self, token: Token, first: usize, ack: &SubAck<'_>) -> Option<Request> {
        let request = self.requests.get_mut(&token)?;
        request.codes[first..first + ack.codes.len()].copy_from_slice(ack.codes);
        request.reason_string = request.reason_string.take().or_else(|| ack.string.clone());
        request.packets -= 1;
        if request.packets > 0 {
            return None;
        }
        let done = self.requests.remove(&token)?;
        self.shared.budget.release(done.size());
        Some(done)
    }

    /// A late answer to what was given up frees its id; any other is only worth a note, since IoT Core promises no
    /// order of acknowledgements.
    fn acknowledge_abandoned(&mut self, packet: &str, packet_id: u16, events: &mut impl Events) {
        match self.in_flight.get(packet_id) {
            Some(Unacknowledged::Abandoned { publish: false }) => {
                drop(self.in_flight.remove(packet_id))
            }
            _ => self.unknown(packet, packet_id, events),
        }
    }

    fn unknown(&self, packet: &str, packet_id: u16, events: &mut impl Events) {
        if self.logs(Level::Debug) {
            let message =
                format!("{packet} for packet id {packet_id}, under which nothing is waiting");
            events.log(Level::Debug, &message);
        }
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
            Unacknowledged::Subscribe { token, first, .. }
            | Unacknowledged::Unsubscribe { token, first, .. } => {
                // The other packets of the same request have nobody to report to.
                let Some(request) = self.requests.remove(&token) else {
                    return;
                };
                self.shared.budget.release(request.size());
                (
                    token,
                    format!(
                        "the request for filter {}",
                        quoted(&request.filters[first].0)
                    ),
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

impl Operation {
    fn token(&self) -> Token {
        match self {
            Self::Publish { token, .. }
            | Self::Subscribe { token, .. }
            | Self::Unsubscribe { token, .. } => *token,
        }
    }

    /// What it took of the budget.
    fn size(&self) -> usize {
        match self {
            Self::Publish { packet, .. } => packet.len(),
            Self::Subscribe { filters, .. } => {
                filters.iter().map(|wanted| wanted.filter.len()).sum()
            }
            Self::Unsubscribe { filters, .. } => filters.iter().map(|filter| filter.len()).sum(),
        }
    }
}

impl Request {
    fn new(filters: Vec<(Box<str>, u64)>, per_packet: usize) -> Self {
        Self {
            codes: vec![0; filters.len()],
            packets: filters.len().div_ceil(per_packet),
            filters,
            reason_string: None,
        }
    }

    fn size(&self) -> usize {
        self.filters.iter().map(|(filter, _)| filter.len()).sum()
    }
}

fn subscribe_rejected(request: &Request) -> Failure {
    let refused: Vec<String> = request
        .filters
        .iter()
        .zip(&request.codes)
        .filter(|(_, code)| **code >= 0x80)
        .map(|((filter, _), code)| {
            format!("{}: {} (0x{code:02x})", quoted(filter), reason_name(*code))
        })
        .collect();
    let first = request
        .codes
        .iter()
        .copied()
        .find(|code| *code >= 0x80)
        .unwrap_or(0x80);
    let message = format!(
        "the server refused {} of {} filters: {}",
        refused.len(),
        request.filters.len(),
        refused.join("; ")
    );
    Failure::new(Code::SubscribeRejected, Stage::Operation, message)
        .with_reason(first, request.reason_string.clone())
}

fn server_disconnect(reason: Reason) -> Failure {
    let Reason { code, string } = reason;
    let kind = if code == 0x8e {
        Code::SessionTakenOver
    } else {
        Code::ServerDisconnect
    };
    let message = format!(
        "the server ended the connection: {} (0x{code:02x})",
        reason_name(code)
    );
    Failure::new(kind, Stage::Session, message).with_reason(code, string)
}
