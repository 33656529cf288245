//! What a session does because of time alone.

use bytes::BytesMut;
use tokio::time::Instant;

use super::{
    Answer, Session,
    in_flight::Unacknowledged,
    keep_alive::Due,
    operation::{Operation, Publish},
    renewal::Step,
    send::expired,
};
use crate::{
    error::{Code, Failure, Result, Stage},
    events::Events,
    limits::quoted,
    options::Level,
    shared::Number,
    wire::encode_pingreq,
};

impl Session {
    /// Bytes have arrived.
    pub fn received(&mut self, bytes: usize, now: Instant) {
        self.keep_alive.received(now);
        self.counters.add(Number::BytesReceived, bytes as u64);
    }

    /// Whether the link may read: there is credit, or an operation waits for the server, which must not wait behind
    /// messages. `stopped` says whether a packet was refused with [`super::Flow::Stop`].
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
            self.renewal.deadline(),
            self.pace.deadline(),
            self.next_expiry,
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
                        "{} did not answer a ping within {} ms",
                        self.options.peer(),
                        self.options.ping_timeout.as_millis()
                    ),
                ));
            }
        }
        while let Some(overdue) = self.in_flight.expire(now) {
            self.abandon(overdue, events);
        }
        self.renew(now, events);
        self.expire(now, events);
        Ok(())
    }

    /// Ends what has waited too long.
    pub fn expire(&mut self, now: Instant, events: &mut impl Events) {
        if self.next_expiry.is_none_or(|next| next > now) {
            return;
        }
        self.next_expiry = None;
        let mut next: Option<Instant> = None;
        let (budget, suspicion) = (&self.shared.budget, &mut self.suspicion);
        self.queue.retain(|operation| {
            let Operation::Publish(publish) = operation else {
                return true;
            };
            let Some(expires) = publish.expires else {
                return true;
            };
            if expires > now {
                next = Some(next.map_or(expires, |earlier| earlier.min(expires)));
                return true;
            }
            budget.release(publish.packet.len());
            suspicion.forget(publish.token);
            events.failed(publish.token, &expired(publish));
            false
        });
        self.note_expiry(next);
    }

    /// An operation that is not worth sending later is in the queue.
    pub(super) fn note_expiry(&mut self, expires: Option<Instant>) {
        if let Some(expires) = expires {
            self.next_expiry = Some(self.next_expiry.map_or(expires, |next| next.min(expires)));
        }
    }

    /// The host has answered for an attempt; only the one that it was last asked for counts.
    pub(super) fn take_credentials(
        &mut self,
        attempt: u32,
        answer: Result<Answer>,
        now: Instant,
        events: &mut impl Events,
    ) {
        if self.asked != Some(attempt) {
            events.log(
                Level::Debug,
                &format!("credentials for attempt {attempt} came too late"),
            );
            return;
        }
        self.asked = None;
        if let Ok(Answer {
            expiry: Some(expiry),
            ..
        }) = &answer
            && expiry.after.is_zero()
        {
            events.log(
                Level::Warn,
                "credentials() returned credentials that have ended already: expiresAt is in the past, or this machine's clock is wrong",
            );
        }
        if !self.renewal.is_asking() {
            self.answer = Some(answer);
            return;
        }
        match answer {
            Ok(answer) => {
                self.answer = Some(Ok(answer));
                self.begin_draining(now, events);
            }
            Err(failure) => {
                let next = self.renewal.failed(failure.retryable(), now);
                events.log(Level::Warn, &format!("no renewal now: {failure}"));
                events.attempted(attempt, Some(&failure), next);
            }
        }
    }

    fn renew(&mut self, now: Instant, events: &mut impl Events) {
        match self.renewal.step(now) {
            Step::Nothing => {}
            Step::Begin if self.disconnect_by.is_some() => self.renewal.give_up(),
            Step::Begin if self.options.asks_credentials() => {
                let attempt = self.begin_attempt();
                self.renewal.asked(self.options.credentials_timeout, now);
                self.ask(attempt, None, events);
            }
            Step::Begin => self.begin_draining(now, events),
            Step::Overdue => {
                self.stop_asking(events);
                let failure = self.options.unanswered();
                let next = self.renewal.failed(true, now);
                events.log(Level::Warn, &format!("no renewal now: {failure}"));
                events.attempted(self.attempt, Some(&failure), next);
            }
        }
    }

    fn begin_draining(&mut self, now: Instant, events: &mut impl Events) {
        if !self.is_kept() && !self.warned_of_loss {
            self.warned_of_loss = true;
            events.log(
                Level::Warn,
                "the connection is renewed, and without a session that the server keeps (MQTT 5, or cleanSession: false) messages in the gap are lost",
            );
        }
        events.log(Level::Info, "renewing the connection");
        self.renewal.drain(now);
    }

    fn abandon(&mut self, overdue: Unacknowledged, events: &mut impl Events) {
        let (token, what) = match overdue {
            Unacknowledged::Publish(Publish { token, packet, .. }) => {
                self.shared.budget.release(packet.len());
                (
                    token,
                    format!("the message on topic {}", quoted(packet.topic())),
                )
            }
            Unacknowledged::Request { token, first, .. } => {
                let Some(request) = self.requests.remove(&token) else {
                    return;
                };
                self.in_flight.abandon_request(token);
                self.queue
                    .retain(|operation| operation.is_whole() || operation.token() != token);
                self.shared.budget.release(request.size());
                (
                    token,
                    format!("the request for filter {}", quoted(request.filter(first))),
                )
            }
            Unacknowledged::Restore(filters) => {
                events.log(
                    Level::Warn,
                    "the server has not answered a subscription that is made again: it is asked once more",
                );
                self.restore.extend(filters);
                return;
            }
            Unacknowledged::Abandoned { .. } => return,
        };
        self.suspicion.forget(token);
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
