//! What a session does with what the server sends.

use tokio::time::Instant;

use super::{Flow, Session, in_flight::Unacknowledged, request::Kind};
use crate::{
    error::{Code, Failure, Result, Stage},
    events::{Events, Message},
    limits::quoted,
    options::Level,
    reason::reason_name,
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
            Inbound::Publish(publish) => return self.deliver(&publish, events),
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

    /// The answer to a SUBSCRIBE or UNSUBSCRIBE.
    fn answer(&mut self, kind: Kind, ack: &SubAck<'_>, events: &mut impl Events) -> Result<()> {
        let (token, first, count) = match self.in_flight.get(ack.packet_id) {
            Some(Unacknowledged::Request {
                token,
                kind: asked,
                first,
                count,
            }) if *asked == kind => (*token, *first, *count),
            // A late answer to what was given up frees its id.
            Some(Unacknowledged::Abandoned { publish: false }) => {
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
        self.in_flight.remove(ack.packet_id);
        // Without the request it was given up, for another of its packets.
        let Some(request) = self.requests.get_mut(&token) else {
            return Ok(());
        };
        request.take_answer(first..first + count, ack, &mut self.subscriptions);
        if !request.is_answered() {
            return Ok(());
        }
        let Some(request) = self.requests.remove(&token) else {
            return Ok(());
        };
        self.shared.budget.release(request.size());
        match (kind, request.refusal()) {
            (Kind::Subscribe, None) => events.subscribed(token, ack.packet_id, request.codes()),
            (Kind::Subscribe, Some(refusal)) => events.refused(token, request.codes(), &refusal),
            (Kind::Unsubscribe, _) => events.unsubscribed(token, ack.packet_id, request.codes()),
        }
        Ok(())
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
    let message = format!(
        "the server ended the connection: {} (0x{code:02x})",
        reason_name(code)
    );
    Failure::new(kind, Stage::Session, message).with_reason(code, string)
}
