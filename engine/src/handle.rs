//! The host's end of a connection: checks what is asked for, reserves room for it, and sends it to the task.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

use crate::{
    error::{Code, Failure, Result, Stage},
    limits::quoted,
    options::Options,
    session::{Command, Filter, Token},
    shared::Shared,
    wire::OutboundPublish,
};

/// Commands that leave together at the latest.
const BATCH_COMMANDS: usize = 256;
/// Bytes that leave together at the latest.
const BATCH_BYTES: usize = 64 * 1024;

/// Lives where the host calls; dropping it ends the connection without a DISCONNECT, as the end of the process would.
pub struct Handle {
    options: Arc<Options>,
    shared: Arc<Shared>,
    commands: mpsc::UnboundedSender<Vec<Command>>,
    batch: Vec<Command>,
    batch_bytes: usize,
    disconnecting: bool,
}

impl Handle {
    pub(crate) fn new(
        options: Arc<Options>,
        shared: Arc<Shared>,
        commands: mpsc::UnboundedSender<Vec<Command>>,
    ) -> Self {
        Self {
            options,
            shared,
            commands,
            batch: Vec::new(),
            batch_bytes: 0,
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
        let limits = &self.options.limits;
        limits.check_topic(topic)?;
        limits.check_payload(payload.len(), topic)?;
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
        let packet = OutboundPublish::new(self.options.version, topic, payload, qos, retain);
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
        self.shared.budget.reserve(bytes)?;
        self.push(Command::Publish { token, packet }, bytes);
        Ok(())
    }

    /// Accepts a subscription to one or several filters.
    pub fn subscribe(&mut self, token: Token, filters: Vec<Filter>) -> Result<()> {
        self.check_open()?;
        for wanted in &filters {
            check_qos(wanted.qos)?;
        }
        let bytes = self.check_filters(filters.iter().map(|wanted| &*wanted.filter))?;
        self.shared.budget.reserve(bytes)?;
        self.push(Command::Subscribe { token, filters }, bytes);
        Ok(())
    }

    /// Accepts the end of a subscription.
    pub fn unsubscribe(&mut self, token: Token, filters: Vec<Box<str>>) -> Result<()> {
        self.check_open()?;
        let bytes = self.check_filters(filters.iter().map(|filter| &**filter))?;
        // A full queue must not keep anyone from asking for less.
        self.shared.budget.take(bytes);
        self.push(Command::Unsubscribe { token, filters }, bytes);
        Ok(())
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
        let room = self.batch.len();
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(room));
        self.batch_bytes = 0;
        let _ended = self.commands.send(batch);
    }

    fn push(&mut self, command: Command, bytes: usize) {
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
