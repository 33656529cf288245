//! What a session takes from its host, and what it does not.

use tokio::time::Instant;

use super::{
    Command, Session, Token,
    operation::{Operation, Publish},
    request::{Kind, Request},
};
use crate::{
    error::{Code, Failure, Stage},
    events::Events,
    limits::quoted,
    options::{Qos0, WhenFull},
};

impl Session {
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
        if request.kind() == Kind::Subscribe {
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
    pub(super) fn takes_qos0(&self) -> bool {
        self.online || self.renewing || self.options.qos0 == Qos0::Queue
    }

    /// Without a link, QoS 0 has nobody to go to.
    pub(super) fn reject_qos0(&mut self, events: &mut impl Events) {
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
}

fn not_connected(publish: &Publish) -> Failure {
    let message = format!(
        "there is no connection at the moment for the QoS 0 message on topic {}",
        quoted(publish.packet.topic())
    );
    Failure::new(Code::NotConnected, Stage::Operation, message)
}
