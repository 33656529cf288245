//! What the engine has told, kept until the host takes it: as in the Node face, without the boundary behind it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use engine::{Connected, Events, Failure, FilterId, Level, Message, Token};
use tokio::sync::Notify;

use crate::Result;

/// Filled by the connection's task, emptied by the host, which a bell wakes.
#[derive(Default)]
pub struct Outbox {
    inner: Mutex<Inner>,
    bell: Notify,
}

#[derive(Default)]
struct Inner {
    told: Told,
    /// Whether there is something that the bell was not rung for.
    unrung: bool,
}

/// What was told since the last time.
#[derive(Default)]
pub struct Told {
    pub connected: bool,
    pub subscribed: bool,
    pub published: usize,
    pub messages: Vec<Arrival>,
    /// Topics and payloads, one behind the other.
    pub bytes: Vec<u8>,
    /// What went wrong, or that it is over.
    end: Option<String>,
}

/// Where a message lies in the bytes.
pub struct Arrival {
    pub number: u32,
    pub topic: usize,
    pub payload: usize,
}

impl Outbox {
    /// The connection's end of it.
    pub fn events(self: &Arc<Self>) -> impl Events + use<> {
        Teller(self.clone())
    }

    /// Waits until something was told, and takes it.
    pub async fn next(&self) -> Result<Told> {
        self.bell.notified().await;
        let told = std::mem::take(&mut self.lock().told);
        match told.end {
            Some(end) => Err(end.into()),
            None => Ok(told),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Teller(Arc<Outbox>);

impl Teller {
    fn tell(&self, tell: impl FnOnce(&mut Told)) {
        let mut inner = self.0.lock();
        tell(&mut inner.told);
        inner.unrung = true;
    }

    fn end(&self, end: String) {
        self.tell(|told| told.end = Some(end));
    }
}

impl Events for Teller {
    fn connected(&mut self, _connected: &Connected) {
        self.tell(|told| told.connected = true);
    }

    fn message(&mut self, message: &Message<'_>) {
        self.tell(|told| {
            told.messages.push(Arrival {
                number: message.number as u32,
                topic: message.topic.len(),
                payload: message.payload.len(),
            });
            told.bytes.extend_from_slice(message.topic.as_bytes());
            told.bytes.extend_from_slice(message.payload);
        });
    }

    fn published(&mut self, _: Token, _packet_id: u16, _reason: u8, _words: Option<&str>) {
        self.tell(|told| told.published += 1);
    }

    fn subscribed(&mut self, _: Token, _packet_id: u16, _granted: &[u8], _words: Option<&str>) {
        self.tell(|told| told.subscribed = true);
    }

    fn flush(&mut self) {
        if std::mem::take(&mut self.0.lock().unrung) {
            self.0.bell.notify_one();
        }
    }

    fn closed(&mut self, failure: Option<&Failure>, _unsettled: usize) {
        self.end(failure.map_or("closed".to_owned(), Failure::to_string));
    }

    // Everything else has no place in a benchmark.

    fn interrupted(&mut self, failure: &Failure) {
        self.end(failure.to_string());
    }

    fn refused(&mut self, _: Token, _codes: &[u8], failure: &Failure) {
        self.end(failure.to_string());
    }

    fn subscription_lost(&mut self, _: FilterId, failure: &Failure) {
        self.end(failure.to_string());
    }

    fn failed(&mut self, _: Token, failure: &Failure) {
        self.end(failure.to_string());
    }

    fn discard_oldest_qos0(&mut self) -> Option<u64> {
        None
    }

    fn attempted(&mut self, _number: u32, _failure: Option<&Failure>, _next: Option<Duration>) {}
    fn credentials(&mut self, _attempt: u32, _last: Option<&Failure>) {}
    fn credentials_expired(&mut self, _attempt: u32) {}
    fn unsubscribed(&mut self, _: Token, _packet_id: u16, _codes: &[u8], _words: Option<&str>) {}
    fn withdrawn(&mut self, _: Token) {}
    fn log(&mut self, _level: Level, _message: &str) {}
}
