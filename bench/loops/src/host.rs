//! The host of a connection: the loops of `worker.mjs`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use engine::{Filter, Handle};

use crate::{Outbox, Result};

const TOPIC: &str = "bench/publish";
const BARRIER: &str = "bench/barrier";
const FILTER_ID: u32 = 1;

/// Works with a connection from one thread, while its task may run on another.
pub struct Host {
    handle: Handle,
    outbox: Arc<Outbox>,
}

/// How many messages, and of what kind.
#[derive(Clone, Copy)]
pub struct Load {
    pub qos: u8,
    pub size: usize,
    pub count: usize,
}

impl Host {
    pub fn new(handle: Handle, outbox: Arc<Outbox>) -> Self {
        Self { handle, outbox }
    }

    /// Waits for CONNACK.
    pub async fn connected(&mut self) -> Result<()> {
        while !self.outbox.next().await?.connected {}
        Ok(())
    }

    /// `window` publishes at a time, each followed by the next.
    pub async fn publish(&mut self, load: Load, window: usize) -> Result<()> {
        let Load { qos, size, count } = load;
        let topic = self.handle.topic(TOPIC)?;
        let payload = vec![b'x'; size];
        let mut begun = 0;
        let mut done = 0;
        while done < count {
            while begun < count && begun - done < window {
                self.handle
                    .publish_on(begun as u32, &topic, &payload, qos, false)?;
                begun += 1;
            }
            self.handle.flush_here();
            done += self.outbox.next().await?.published;
        }
        Ok(())
    }

    /// One publish that is acknowledged only when all that went before has arrived.
    pub async fn barrier(&mut self, size: usize) -> Result<()> {
        let payload = vec![b'x'; size];
        self.handle.publish(0, BARRIER, &payload, 1, false)?;
        self.handle.flush_here();
        while self.outbox.next().await?.published == 0 {}
        Ok(())
    }

    /// Counts what arrives on a filter; gives the time from the first message to the last.
    pub async fn receive(&mut self, filter: &str, load: Load) -> Result<Duration> {
        let wanted = Filter {
            filter: filter.into(),
            id: FILTER_ID,
            qos: load.qos,
        };
        self.handle.subscribe(0, vec![wanted])?;
        self.handle.flush_here();
        let mut first = None;
        let mut received = 0;
        while received < load.count {
            let told = self.outbox.next().await?;
            let [from, ..] = &told.messages[..] else {
                continue;
            };
            first.get_or_insert_with(Instant::now);
            // Credit goes back in ranges, as in the Node face.
            let (from, count) = (from.number, told.messages.len());
            let mut rest = &told.bytes[..];
            for arrival in &told.messages {
                let (message, others) = rest.split_at(arrival.topic + arrival.payload);
                let (_topic, payload) = message.split_at(arrival.topic);
                if payload.len() != load.size {
                    return Err("a message of another size".into());
                }
                rest = others;
            }
            self.handle.consumed(from, count as u32);
            self.handle.flush_here();
            received += count;
        }
        Ok(first.map_or(Duration::ZERO, |first| first.elapsed()))
    }

    /// Asks for the end, which is that of the connection's task.
    pub fn disconnect(&mut self) {
        self.handle.disconnect(Duration::from_secs(5));
    }
}
