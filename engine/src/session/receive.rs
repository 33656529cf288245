//! What a session does with what the server sends.

use std::{ops::Range, sync::Arc};

use tokio::time::Instant;

use super::{Flow, Session, Token, in_flight::Unacknowledged, request::Kind};
use crate::{
    authorizer::Login,
    error::{Code, Failure, Result, Stage},
    events::{Events, Message},
    limits::quoted,
    options::Level,
    reason::{disconnect_hint, reason_name},
    secrets::repeats,
    shared::Number,
    wire::{Ack, Inbound, Publish, Reason, SubAck, Version},
};

impl Session {
    /// Takes one packet. A failure ends the link.
    pub fn receive(
        &mut self,
        packet: Inbound<'_>,
        now: Instant,
        events: &mut impl Events,
    ) -> Result<Flow> {
        match packet {
            Inbound::Publish(publish) => return self.deliver(&publish, now, events),
            Inbound::PubAck(ack) => self.puback(&ack, events),
            Inbound::SubAck(ack) => self.answer(Kind::Subscribe, &ack, events)?,
            Inbound::UnsubAck(ack) => self.answer(Kind::Unsubscribe, &ack, events)?,
            Inbound::PingResp => {
                if let Some(round_trip) = self.keep_alive.answered(now) {
                    let micros = round_trip.as_micros().max(1) as u64;
                    self.counters.set(Number::Ping, micros);
                }
            }
            Inbound::Disconnect(_) if self.options.version == Version::V311 => {
                return Err(Failure::protocol(
                    "the server sent DISCONNECT, which MQTT 3.1.1 leaves to the client",
                ));
            }
            Inbound::Disconnect(reason) => return Err(server_disconnect(reason)),
            Inbound::ConnAck(_) => {
                return Err(Failure::protocol("the server sent a second CONNACK"));
            }
        }
        Ok(Flow::Continue)
    }

    fn deliver(
        &mut self,
        publish: &Publish<'_>,
        now: Instant,
        events: &mut impl Events,
    ) -> Result<Flow> {
        if let Some(alias) = publish.topic_alias {
            self.inbound_aliases.note(publish.topic, alias)?;
        }
        // The app has it, and the server has not heard yet: one acknowledgement is for both.
        if publish.qos > 0 && self.deliveries.is_repeated(publish.packet_id) {
            return Ok(Flow::Continue);
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
        self.pace.arrived(size, now);
        let topic = match publish.topic_alias {
            Some(alias) => self.inbound_aliases.topic(alias),
            None => publish.topic,
        };
        self.matching.clear();
        self.subscriptions.matching(topic, &mut self.matching);
        let number = self.deliveries.push(publish.packet_id, size);
        events.message(&Message {
            number,
            topic,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            dup: publish.dup,
            properties: publish.properties.as_deref(),
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
            Some(Unacknowledged::Publish(_) | Unacknowledged::Abandoned { publish: true }) => {}
            _ => return self.unknown("PUBACK", ack.packet_id, events),
        }
        self.suspicion.acknowledged();
        self.opened = self.window.min(self.opened + 1);
        let Some(Unacknowledged::Publish(publish)) = self.in_flight.remove(ack.packet_id) else {
            return;
        };
        let packet = &publish.packet;
        self.shared.budget.release(packet.len());
        let code = &ack.reason.code;
        let string = self.words(ack.reason.string.as_deref());
        if *code < 0x80 {
            events.published(publish.token, ack.packet_id, *code, string);
            return;
        }
        let message = format!(
            "the server refused the message on topic {}: {} (0x{code:02x})",
            quoted(packet.topic()),
            reason_name(*code)
        );
        let failure = Failure::new(Code::PublishRejected, Stage::Operation, message);
        events.failed(
            publish.token,
            &failure.with_reason(*code, string.map(str::to_owned)),
        );
    }

    /// The words of the server, unless they repeat a secret.
    fn words<'a>(&self, said: Option<&'a str>) -> Option<&'a str> {
        let secrets = |login: &Arc<Login>| login.secrets();
        said.filter(|said| {
            let secrets = self.login.as_ref().map(secrets).unwrap_or_default();
            !secrets.iter().any(|secret| repeats(said, secret))
        })
    }

    /// The answer to a SUBSCRIBE or UNSUBSCRIBE.
    fn answer(&mut self, kind: Kind, ack: &SubAck<'_>, events: &mut impl Events) -> Result<()> {
        let count = match self.in_flight.get(ack.packet_id) {
            Some(Unacknowledged::Request {
                kind: asked, count, ..
            }) if *asked == kind => *count,
            Some(Unacknowledged::Restore(filters)) if kind == Kind::Subscribe => filters.len(),
            // A late answer to what was given up frees its id.
            Some(Unacknowledged::Abandoned { publish: false }) => {
                self.suspicion.acknowledged();
                self.in_flight.remove(ack.packet_id);
                return Ok(());
            }
            _ => {
                self.unknown(kind.answer(), ack.packet_id, events);
                return Ok(());
            }
        };
        // UNSUBACK of MQTT 3.1.1 has no codes.
        if ack.codes.len() != count && !(kind == Kind::Unsubscribe && ack.codes.is_empty()) {
            return Err(Failure::protocol(format!(
                "the server answered {count} filters with {} codes in {}",
                ack.codes.len(),
                kind.answer()
            )));
        }
        let ack = &SubAck {
            string: self.words(ack.string.as_deref()).map(str::to_owned),
            ..*ack
        };
        match self.in_flight.remove(ack.packet_id) {
            Some(Unacknowledged::Request { token, first, .. }) => {
                self.answer_request(token, first..first + count, ack, events);
            }
            Some(Unacknowledged::Restore(filters)) => {
                self.answer_restore(&filters, ack, events);
                if self.has_nothing_to_write() && self.in_flight.waiting() == 0 {
                    self.suspicion.acknowledged();
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn answer_request(
        &mut self,
        token: Token,
        filters: Range<usize>,
        ack: &SubAck<'_>,
        events: &mut impl Events,
    ) {
        // Without the request it was given up, for another of its packets.
        let Some(request) = self.requests.get_mut(&token) else {
            self.suspicion.acknowledged();
            return;
        };
        request.take_answer(filters, ack, &mut self.subscriptions);
        if !request.is_answered() {
            return;
        }
        let Some(request) = self.requests.remove(&token) else {
            return;
        };
        self.suspicion.acknowledged();
        self.shared.budget.release(request.size());
        let (id, codes, words) = (ack.packet_id, request.codes(), request.reason_string());
        match (request.kind(), request.refusal()) {
            (Kind::Subscribe, None) => events.subscribed(token, id, codes, words),
            (Kind::Subscribe, Some(refusal)) => events.refused(token, codes, &refusal),
            (Kind::Unsubscribe, _) => events.unsubscribed(token, id, codes, words),
        }
    }

    /// Subscriptions that were made again: those that the server refuses now have ended.
    fn answer_restore(&mut self, filters: &[Box<str>], ack: &SubAck<'_>, events: &mut impl Events) {
        for (filter, code) in filters.iter().zip(ack.codes) {
            if *code < 0x80 {
                continue;
            }
            let message = format!(
                "the server had lost the session, and refused to subscribe to {} again: {} (0x{code:02x})",
                quoted(filter),
                reason_name(*code)
            );
            let failure = Failure::new(Code::SubscribeRejected, Stage::Operation, message)
                .with_reason(*code, ack.string.clone());
            self.lose_subscription(filter, &failure, events);
        }
    }

    fn unknown(&self, packet: &str, packet_id: u16, events: &mut impl Events) {
        if self.logs(Level::Debug) {
            let message =
                format!("{packet} for packet id {packet_id}, under which nothing is waiting");
            events.log(Level::Debug, &message);
        }
    }
}

/// What a DISCONNECT of the server means.
pub fn server_disconnect(reason: Reason) -> Failure {
    let Reason { code, string } = reason;
    let kind = if code == 0x8e {
        Code::SessionTakenOver
    } else {
        Code::ServerDisconnect
    };
    let name = match code {
        0 => "normal disconnection",
        code => reason_name(code),
    };
    let message = format!("the server ended the connection: {name} (0x{code:02x})");
    let failure = Failure::new(kind, Stage::Session, message).with_reason(code, string);
    match disconnect_hint(code) {
        Some(hint) if kind == Code::ServerDisconnect => failure.with_hint(hint),
        _ => failure,
    }
}
