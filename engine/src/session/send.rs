//! What a session writes, and in which order.

use bytes::BytesMut;
use tokio::time::Instant;

use super::{
    Session, Token,
    in_flight::Unacknowledged,
    operation::{Operation, Publish},
    request::Request,
};
use crate::{
    error::{Code, Failure, Stage},
    events::Events,
    limits::quoted,
    shared::Number,
    wire::{OutboundPublish, encode_puback, encode_subscribe},
};

/// Above this many bytes in the link's buffer nothing more is written into it.
const WRITE_AHEAD: usize = 48 * 1024;

/// What [`Session::write_next`] leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// There may be more to write at once.
    More,
    /// The first to go waits for its time.
    Paced,
    /// There is nothing, or what there is waits for something else than time.
    Blocked,
}

impl Session {
    /// Writes what may be written now: PUBACKs first, then publishes of earlier links, subscriptions to be made again
    /// and what is queued, while the window and the buffer have room. Gives whether anything but PUBACKs was written.
    pub fn write(&mut self, now: Instant, out: &mut BytesMut, events: &mut impl Events) -> bool {
        let before = out.len();
        while let Some(packet_id) = self.deliveries.next_ack() {
            encode_puback(packet_id, out);
        }
        let acknowledged = out.len();
        let mut next = Next::Blocked;
        if !self.renewal.is_draining() {
            next = Next::More;
            while next == Next::More && out.len() < WRITE_AHEAD {
                next = self.write_next(now, out, events);
            }
        }
        // What waits for something else has no time at which it is due: the link would wake for it over and over.
        if next != Next::Paced {
            self.pace.release(now);
        }
        if out.len() > before {
            self.keep_alive.sent(now);
        }
        out.len() > acknowledged
    }

    /// Everything handed to the network so far has left for it.
    pub fn flushed(&mut self, events: &mut impl Events) {
        while let Some((_, token)) = self.flushing.pop_front_if(|(end, _)| *end <= self.sent) {
            events.published(token, 0, 0, None);
        }
    }

    /// Bytes have been handed to the network.
    pub fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
        self.counters.set(Number::BytesSent, self.sent);
    }

    /// Writes one packet, or settles one operation without.
    fn write_next(&mut self, now: Instant, out: &mut BytesMut, events: &mut impl Events) -> Next {
        if self.suspicion.is_aroused() && self.is_waiting() {
            return Next::Blocked;
        }
        // Nothing overtakes what earlier links left unacknowledged.
        if let Some(packet_id) = self.in_flight.next_again() {
            return self.write_again(packet_id, now, out, events);
        }
        if !self.restore.is_empty() {
            return self.write_restore(now, out);
        }
        match self.queue.front() {
            None => Next::Blocked,
            Some(Operation::Publish(publish)) => {
                if let Some(failure) = self.unsendable(publish, now) {
                    self.drop_front(&failure, events);
                    return Next::More;
                }
                let (qos, len) = (publish.packet.qos(), publish.packet.len());
                let room =
                    self.in_flight.publishes() < self.opened && self.in_flight.free_ids() > 0;
                if qos > 0 && !room {
                    return Next::Blocked;
                }
                if !self.pace.admit(len, now) {
                    return Next::Paced;
                }
                if let Some(Operation::Publish(publish)) = self.queue.pop_front() {
                    self.write_publish(publish, now, out);
                }
                Next::More
            }
            Some(Operation::Request { .. }) => {
                if let Some(Operation::Request { token, request }) = self.queue.pop_front() {
                    self.begin_request(token, request);
                }
                Next::More
            }
            Some(Operation::Packet { .. }) => {
                if self.in_flight.free_ids() == 0 {
                    return Next::Blocked;
                }
                if let Some(Operation::Packet {
                    token,
                    first,
                    count,
                }) = self.queue.pop_front()
                {
                    self.write_packet(token, first, count, now, out);
                }
                Next::More
            }
        }
    }

    fn write_again(
        &mut self,
        packet_id: u16,
        now: Instant,
        out: &mut BytesMut,
        events: &mut impl Events,
    ) -> Next {
        let Some(Unacknowledged::Publish(publish)) = self.in_flight.get(packet_id) else {
            return Next::Blocked;
        };
        if let Some(failure) = self.not_granted(publish) {
            if let Some(Unacknowledged::Publish(publish)) = self.in_flight.remove(packet_id) {
                self.settle(publish.token, publish.packet.len(), &failure, events);
            }
            return Next::More;
        }
        if self.in_flight.publishes() >= self.opened {
            return Next::Blocked;
        }
        if !self.pace.admit(publish.packet.len(), now) {
            return Next::Paced;
        }
        self.suspicion.wrote(now);
        if let Some((packet_id, publish)) = self.in_flight.write_again(now) {
            publish.age(now);
            publish.packet.write(packet_id, true, out);
        }
        Next::More
    }

    fn write_restore(&mut self, now: Instant, out: &mut BytesMut) -> Next {
        if self.in_flight.free_ids() == 0 {
            return Next::Blocked;
        }
        let most = if self.suspicion.is_aroused() {
            1
        } else {
            self.filters_per_packet()
        };
        let count = self.restore.len().min(most);
        // What was given up meanwhile is not made again.
        let filters: Box<[Box<str>]> = self
            .restore
            .drain(..count)
            .filter(|filter| self.subscriptions.get(filter).is_some())
            .collect();
        if filters.is_empty() {
            return Next::More;
        }
        self.suspicion.wrote(now);
        let packet_id = self.in_flight.insert(Unacknowledged::Restore(filters), now);
        if let Some(Unacknowledged::Restore(filters)) = self.in_flight.get(packet_id) {
            let wanted: Vec<(&str, u8)> = filters
                .iter()
                .filter_map(|filter| Some((&**filter, self.subscriptions.get(filter)?.1)))
                .collect();
            encode_subscribe(self.options.version, packet_id, &wanted, out);
        }
        Next::More
    }

    fn write_publish(&mut self, mut publish: Publish, now: Instant, out: &mut BytesMut) {
        self.counters.add(Number::MessagesSent, 1);
        publish.age(now);
        let fits = publish.packet.len() + OutboundPublish::ALIAS_GROWTH
            <= self.granted.maximum_packet_size;
        let alias = (self.outbound_aliases.is_on() && fits)
            .then(|| self.outbound_aliases.assign(publish.packet.topic()));
        if publish.packet.qos() == 0 {
            self.suspicion.wrote_qos0(now);
            write_packet(&publish, 0, alias, out);
            self.shared.budget.release(publish.packet.len());
            self.flushing
                .push_back((self.sent + out.len() as u64, publish.token));
            return;
        }
        self.suspicion.wrote(now);
        let packet_id = self.in_flight.insert(Unacknowledged::Publish(publish), now);
        if let Some(Unacknowledged::Publish(publish)) = self.in_flight.get(packet_id) {
            write_packet(publish, packet_id, alias, out);
        }
    }

    /// A request comes to the front: from here on its packets stand in its place.
    fn begin_request(&mut self, token: Token, mut request: Request) {
        request.order.get_or_insert(self.in_flight.next_order());
        let packets: Vec<_> = request.packets().collect();
        for (first, count) in packets.into_iter().rev() {
            self.queue.push_front(Operation::Packet {
                token,
                first,
                count,
            });
        }
        self.requests.insert(token, request);
    }

    fn write_packet(
        &mut self,
        token: Token,
        first: usize,
        count: usize,
        now: Instant,
        out: &mut BytesMut,
    ) {
        // Without the request it was given up, for another of its packets.
        let Some(request) = self.requests.get(&token) else {
            return;
        };
        self.suspicion.wrote(now);
        let what = Unacknowledged::Request {
            token,
            kind: request.kind(),
            first,
            count,
        };
        let packet_id = self.in_flight.insert(what, now);
        request.encode(self.options.version, packet_id, first..first + count, out);
    }

    /// Why a message in the queue cannot be sent now.
    fn unsendable(&self, publish: &Publish, now: Instant) -> Option<Failure> {
        if publish.expires.is_some_and(|expires| expires <= now) {
            return Some(expired(publish));
        }
        self.not_granted(publish)
    }

    /// Why a message that was accepted cannot be sent on this link, which takes less than an earlier one.
    fn not_granted(&self, publish: &Publish) -> Option<Failure> {
        let packet = &publish.packet;
        let topic = || quoted(packet.topic());
        let granted = &self.granted;
        if packet.len() > granted.maximum_packet_size {
            let message = format!(
                "the packet for topic {} has {} bytes; the server takes {} now (Maximum Packet Size of its CONNACK)",
                topic(),
                packet.len(),
                granted.maximum_packet_size
            );
            return Some(Failure::new(
                Code::PayloadTooLarge,
                Stage::Operation,
                message,
            ));
        }
        let lacking = if packet.qos() > granted.maximum_qos {
            "QoS 1"
        } else if packet.retain() && !granted.retain_available {
            "retained messages"
        } else {
            return None;
        };
        let message = format!(
            "the server takes no {lacking} any more (its CONNACK says so), as the message on topic {} needs",
            topic()
        );
        Some(Failure::new(Code::Limit, Stage::Operation, message))
    }

    /// The first in the queue ends without being sent.
    fn drop_front(&mut self, failure: &Failure, events: &mut impl Events) {
        if let Some(operation) = self.queue.pop_front() {
            self.settle(operation.token(), operation.size(), failure, events);
        }
    }

    fn settle(&mut self, token: Token, size: usize, failure: &Failure, events: &mut impl Events) {
        self.shared.budget.release(size);
        self.suspicion.forget(token);
        events.failed(token, failure);
    }
}

/// The failure of a message that has waited too long.
pub(super) fn expired(publish: &Publish) -> Failure {
    let message = format!(
        "the message on topic {} waited longer than its expiresInMs",
        quoted(publish.packet.topic())
    );
    Failure::new(Code::Expired, Stage::Operation, message)
}

fn write_packet(publish: &Publish, packet_id: u16, alias: Option<(u16, bool)>, out: &mut BytesMut) {
    match alias {
        None => publish.packet.write(packet_id, false, out),
        Some((alias, known)) => publish
            .packet
            .write_aliased(packet_id, false, alias, known, out),
    }
}
