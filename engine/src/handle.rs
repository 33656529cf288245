//! The host's end of a connection: checks what is asked for, reserves room for it, and sends it to the task.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    authorizer::Credentials,
    commands::{self, Sender},
    error::{Code, Failure, Result, Stage},
    limits::{Limits, quoted},
    options::{Options, WhenFull, needs_mqtt_5},
    session::{Answer, Command, Expiry, Filter, Token},
    shared::Shared,
    task::Task,
    wire::{OutboundPublish, PublishProperties, Version},
};

/// Commands that leave together at the latest.
const BATCH_COMMANDS: usize = 256;
/// Bytes that leave together at the latest.
const BATCH_BYTES: usize = 64 * 1024;
/// What the host's thread does itself at the most: one TLS record.
const HERE_BYTES: usize = 16 * 1024;

/// A topic that the limits of a connection have passed, for those who publish on it again and again.
pub struct Topic(Box<str>);

/// Lives where the host calls; dropping it ends the connection without a DISCONNECT, as the end of the process would.
pub struct Handle {
    options: Arc<Options>,
    shared: Arc<Shared>,
    commands: Sender,
    task: Option<Arc<Task>>,
    batch: Vec<Command>,
    batch_bytes: usize,
    /// The batch has a packet for the server.
    for_server: bool,
    disconnecting: bool,
}

impl Handle {
    pub(crate) fn new(
        options: Arc<Options>,
        shared: Arc<Shared>,
        commands: Sender,
        task: Option<Arc<Task>>,
    ) -> Self {
        Self {
            options,
            shared,
            commands,
            task,
            batch: Vec::new(),
            batch_bytes: 0,
            for_server: false,
            disconnecting: false,
        }
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Accepts a message, copied and encoded before the call returns; its outcome is reported under `token`.
    pub fn publish(
        &mut self,
        token: Token,
        topic: &str,
        payload: &[u8],
        qos: u8,
        retain: bool,
    ) -> Result<()> {
        self.check_open()?;
        self.options.limits.check_topic(topic)?;
        self.publish_checked(token, topic, payload, qos, retain)
    }

    /// The same on a topic of [`Handle::topic`].
    pub fn publish_on(
        &mut self,
        token: Token,
        topic: &Topic,
        payload: &[u8],
        qos: u8,
        retain: bool,
    ) -> Result<()> {
        self.publish_checked(token, &topic.0, payload, qos, retain)
    }

    /// Checks a topic once, for [`Handle::publish_on`] of this connection.
    pub fn topic(&self, topic: &str) -> Result<Topic> {
        self.options.limits.check_topic(topic)?;
        Ok(Topic(topic.into()))
    }

    /// [`Handle::publish`] for a message that says more about itself, or that is not worth sending after `expires_in`. In
    /// MQTT 5 that becomes its Message Expiry Interval too.
    #[allow(clippy::too_many_arguments, reason = "those of publish, and two")]
    pub fn publish_with(
        &mut self,
        token: Token,
        topic: &str,
        payload: &[u8],
        qos: u8,
        retain: bool,
        mut properties: PublishProperties,
        expires_in: Option<Duration>,
    ) -> Result<()> {
        self.check_open()?;
        self.options.limits.check_topic(topic)?;
        self.check_publish(topic, payload, qos, retain)?;
        let expires = expires_in.map(|after| Instant::now() + after);
        let packet = match self.options.version {
            Version::V311 if properties == PublishProperties::default() => {
                OutboundPublish::new(Version::V311, topic, payload, qos, retain)
            }
            Version::V311 => return Err(needs_mqtt_5("properties of a message")),
            Version::V5 => {
                properties
                    .check()
                    .map_err(|failure| failure.at(Stage::Operation))?;
                // What MQTT can carry at all; IoT Core counts the payload alone.
                Limits::NONE.check_payload(payload.len() + properties.size(), topic)?;
                properties.message_expiry_interval =
                    expires_in.map(|after| after.as_secs_f64().ceil().max(1.0) as u32);
                OutboundPublish::with_properties(topic, payload, qos, retain, &properties)
            }
        };
        self.push_publish(token, topic, packet, expires)
    }

    /// Accepts a subscription to one or several filters.
    pub fn subscribe(&mut self, token: Token, filters: Vec<Filter>) -> Result<()> {
        self.check_open()?;
        for wanted in &filters {
            check_qos(wanted.qos)?;
        }
        let bytes = self.check_filters(filters.iter().map(|wanted| &*wanted.filter))?;
        self.reserve(bytes)?;
        self.for_server = true;
        self.push(Command::Subscribe { token, filters }, bytes);
        Ok(())
    }

    /// Accepts the end of a subscription.
    pub fn unsubscribe(&mut self, token: Token, filters: Vec<Box<str>>) -> Result<()> {
        self.check_open()?;
        let bytes = self.check_filters(filters.iter().map(|filter| &**filter))?;
        // A full queue must not keep anyone from asking for less.
        self.shared.budget.take(bytes);
        self.for_server = true;
        self.push(Command::Unsubscribe { token, filters }, bytes);
        Ok(())
    }

    /// Answers [`crate::Events::credentials`]. What is not used any more, or not valid, costs nothing but this call.
    pub fn credentials(
        &mut self,
        attempt: u32,
        given: Result<Credentials>,
        expiry: Option<Expiry>,
    ) {
        let login = self.options.answered(attempt, given);
        let answer = login.map(|(_, login)| {
            let login = Arc::new(login);
            Answer { login, expiry }
        });
        self.push(Command::Credentials { attempt, answer }, 0);
        self.flush();
    }

    /// Takes an operation back if nothing of it was sent yet; its outcome is reported either way.
    pub fn withdraw(&mut self, token: Token) {
        self.push(Command::Withdraw { token }, 0);
        self.flush();
    }

    /// The app has consumed `count` messages from the one on whose number has this lower half.
    pub fn consumed(&mut self, from: u32, count: u32) {
        self.push(Command::Consumed { from, count }, 0);
    }

    /// Asks for the end once everything accepted is settled, or after `timeout`. Nothing is accepted any more.
    pub fn disconnect(&mut self, timeout: Duration) {
        self.disconnecting = true;
        self.push(Command::Disconnect { timeout }, 0);
        self.flush();
    }

    /// Sends what was gathered. A task that has ended has settled what it got; the host settles the rest.
    pub fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        self.send();
        self.commands.wake();
    }

    /// The same, and this thread does the work if it is small: it takes less time than to wake the task's thread, which
    /// goes on with whatever is left. Gives whether it did.
    pub fn flush_here(&mut self) -> bool {
        if self.batch.is_empty() {
            return false;
        }
        let small = self.for_server && self.batch_bytes <= HERE_BYTES;
        let alone = self.send();
        let done = small && alone && self.run_here();
        if !done {
            self.commands.wake();
        }
        done
    }

    fn send(&mut self) -> bool {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        self.for_server = false;
        self.commands.send(batch)
    }

    /// Gives false where the task is busy, or does something else than to drive a link.
    fn run_here(&self) -> bool {
        let Some(task) = self.task.as_ref().filter(|_| self.shared.is_linked()) else {
            return false;
        };
        let _hosted = self.shared.hosting();
        task.run_here()
    }

    fn publish_checked(
        &mut self,
        token: Token,
        topic: &str,
        payload: &[u8],
        qos: u8,
        retain: bool,
    ) -> Result<()> {
        self.check_publish(topic, payload, qos, retain)?;
        let packet = OutboundPublish::new(self.options.version, topic, payload, qos, retain);
        self.push_publish(token, topic, packet, None)
    }

    /// Everything but the topic.
    fn check_publish(&self, topic: &str, payload: &[u8], qos: u8, retain: bool) -> Result<()> {
        self.check_open()?;
        self.options.limits.check_payload(payload.len(), topic)?;
        check_qos(qos)?;
        if qos > self.shared.maximum_qos() {
            return Err(limit(
                "the server takes QoS 0 only (Maximum QoS of its CONNACK)",
            ));
        }
        if retain && !self.shared.retain_available() {
            return Err(limit(
                "the server stores no messages (Retain Available of its CONNACK)",
            ));
        }
        Ok(())
    }

    fn push_publish(
        &mut self,
        token: Token,
        topic: &str,
        packet: OutboundPublish,
        expires: Option<Instant>,
    ) -> Result<()> {
        let maximum = self.shared.maximum_packet_size();
        if packet.len() > maximum {
            return Err(Failure::new(
                Code::PayloadTooLarge,
                Stage::Operation,
                format!(
                    "the packet for topic {} has {} bytes; the server takes {maximum} (Maximum Packet Size of its CONNACK)",
                    quoted(topic),
                    packet.len()
                ),
            ));
        }
        let bytes = packet.len();
        self.reserve(bytes)?;
        self.for_server = true;
        self.push(
            Command::Publish {
                token,
                packet,
                expires,
            },
            bytes,
        );
        Ok(())
    }

    fn reserve(&self, bytes: usize) -> Result<()> {
        match self.options.when_full {
            WhenFull::Reject => self.shared.budget.reserve(bytes),
            // The task makes room.
            WhenFull::DropOldest => {
                self.shared.budget.take(bytes);
                Ok(())
            }
        }
    }

    fn push(&mut self, command: Command, bytes: usize) {
        if self.batch.capacity() == 0 {
            self.batch = commands::spare();
        }
        self.batch.push(command);
        self.batch_bytes += bytes;
        if self.batch.len() >= BATCH_COMMANDS || self.batch_bytes >= BATCH_BYTES {
            self.flush();
        }
    }

    fn check_open(&self) -> Result<()> {
        if self.disconnecting || self.shared.is_closed() {
            return Err(Failure::new(
                Code::Closed,
                Stage::Operation,
                "the connection is closed",
            ));
        }
        Ok(())
    }

    fn check_filters<'a>(&self, filters: impl ExactSizeIterator<Item = &'a str>) -> Result<usize> {
        const MOST: usize = 1_000;
        if filters.len() == 0 || filters.len() > MOST {
            let message = format!(
                "between 1 and {MOST} topic filters are needed; got {}",
                filters.len()
            );
            return Err(Failure::new(Code::InvalidTopic, Stage::Operation, message));
        }
        let mut bytes = 0;
        for filter in filters {
            self.options.limits.check_filter(filter)?;
            bytes += filter.len();
        }
        Ok(bytes)
    }
}

fn check_qos(qos: u8) -> Result<()> {
    match qos {
        0 | 1 => Ok(()),
        2 => Err(limit("QoS 2 does not exist on IoT Core; use 1")),
        _ => Err(limit("qos must be 0 or 1")),
    }
}

fn limit(message: &str) -> Failure {
    Failure::new(Code::Limit, Stage::Operation, message)
}

#[cfg(test)]
mod tests;
