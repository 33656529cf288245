//! What a connection has to tell JavaScript, kept in the form in which it crosses the boundary.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use engine::{
    Connected, Direction, Events, Failure, FilterId, Level, Message, PublishProperties, Token,
    Trace,
};

use crate::{
    environment::Bell,
    topics::{Known, Topics},
};

/// Payloads from this size on travel in a buffer of their own, so that a small message never keeps them alive.
pub(crate) const LARGE_PAYLOAD: usize = 2 * 1024;
/// The most room for words, bytes and values that is kept for the next records.
const KEPT_WORDS: usize = 4 * 1024;
const KEPT_BYTES: usize = 64 * 1024;
const KEPT_VALUES: usize = 256;
/// Discarded bytes that may lie in an outbox before it is tidied up.
const SLACK: usize = 64 * 1024;

/// The first word of a record: its kind in the lower 8 bits, flags of a message in the next 8, a count in the upper 16.
/// The other end is `lib/environment.ts`.
pub(crate) mod kind {
    /// [CONNECTION, index]: whose the following records are.
    pub(crate) const CONNECTION: u32 = 0;
    /// [PUBLISHED | text bytes << 16, token, packet id | reason << 16], the server's words in the arena
    pub(crate) const PUBLISHED: u32 = 1;
    /// [MESSAGE | flags | filters << 16, number, topic bytes or place, payload bytes, filter ids...], properties in the
    /// values
    pub(crate) const MESSAGE: u32 = 2;
    /// [SUBSCRIBED | filters << 16, token, packet id | text bytes << 16], codes and the server's words in the arena
    pub(crate) const SUBSCRIBED: u32 = 3;
    /// [UNSUBSCRIBED | filters << 16, token, packet id | text bytes << 16], as above
    pub(crate) const UNSUBSCRIBED: u32 = 4;
    /// [REFUSED | filters << 16, token, 0], codes in the arena, a failure in the values
    pub(crate) const REFUSED: u32 = 5;
    /// [FAILED, token], a failure in the values
    pub(crate) const FAILED: u32 = 6;
    /// [WITHDRAWN, token]
    pub(crate) const WITHDRAWN: u32 = 7;
    /// [CONNECTED], what was granted in the values
    pub(crate) const CONNECTED: u32 = 8;
    /// [CLOSED, unsettled, has failure], the failure in the values
    pub(crate) const CLOSED: u32 = 9;
    /// [LOG, level, bytes], the text in the arena
    pub(crate) const LOG: u32 = 10;
    /// [INTERRUPTED], a failure in the values
    pub(crate) const INTERRUPTED: u32 = 11;
    /// [ATTEMPTED, has failure, number, milliseconds to the next + 1 or 0], the failure in the values
    pub(crate) const ATTEMPTED: u32 = 12;
    /// [CREDENTIALS, has failure, number], the failure in the values
    pub(crate) const CREDENTIALS: u32 = 13;
    /// [CREDENTIALS_EXPIRED, number]
    pub(crate) const CREDENTIALS_EXPIRED: u32 = 14;
    /// [SUBSCRIPTION_LOST, filter id], a failure in the values
    pub(crate) const SUBSCRIPTION_LOST: u32 = 15;
    /// [TRACED | bytes of its kind << 8 | sent << 16, packet id or 0, bytes], the kind's name in the arena
    pub(crate) const TRACED: u32 = 16;
    /// [TOPIC | place << 16, bytes], the text in the arena: messages name it by its place from here on
    pub(crate) const TOPIC: u32 = 17;
}

pub(crate) mod flag {
    pub(crate) const QOS1: u32 = 1 << 8;
    pub(crate) const RETAIN: u32 = 1 << 9;
    pub(crate) const DUP: u32 = 1 << 10;
    /// The payload is in the values.
    pub(crate) const LARGE: u32 = 1 << 11;
    /// Not to be delivered any more.
    pub(crate) const DISCARDED: u32 = 1 << 12;
    /// The message has properties, in the values behind the payload.
    pub(crate) const PROPERTIES: u32 = 1 << 13;
    /// The topic is one of those that were kept.
    pub(crate) const KEPT: u32 = 1 << 14;
}

/// A record's values that are no numbers and no bytes.
pub(crate) enum Value {
    Failure(Failure),
    Connected(Box<Connected>),
    Payload(Box<[u8]>),
    Properties(Box<PublishProperties>),
}

/// Records in order: words, the bytes and the values that belong to them.
#[derive(Default)]
pub(crate) struct Records {
    pub(crate) words: Vec<u32>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) values: VecDeque<Value>,
}

/// How much of each kind one record has.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) words: usize,
    pub(crate) bytes: usize,
    pub(crate) values: usize,
}

impl Records {
    /// The room without the records, if there is not too much of it to be kept.
    pub(crate) fn emptied(mut self) -> Option<Self> {
        self.words.clear();
        self.bytes.clear();
        self.values.clear();
        let kept = self.words.capacity() <= KEPT_WORDS
            && self.bytes.capacity() <= KEPT_BYTES
            && self.values.capacity() <= KEPT_VALUES;
        kept.then_some(self)
    }

    /// The extent of the record that begins at `word`.
    pub(crate) fn extent(&self, word: usize) -> Extent {
        let first = self.words[word];
        let count = (first >> 16) as usize;
        let (words, bytes, values) = match first & 0xff {
            kind::PUBLISHED => (3, count, 0),
            kind::MESSAGE => {
                let of = |word: u32, absent: u32| {
                    if first & absent == 0 {
                        word as usize
                    } else {
                        0
                    }
                };
                let large = first & flag::LARGE != 0;
                (
                    4 + count,
                    of(self.words[word + 2], flag::KEPT) + of(self.words[word + 3], flag::LARGE),
                    usize::from(large) + usize::from(first & flag::PROPERTIES != 0),
                )
            }
            kind::SUBSCRIBED | kind::UNSUBSCRIBED => {
                (3, count + (self.words[word + 2] >> 16) as usize, 0)
            }
            kind::REFUSED => (3, count, 1),
            kind::FAILED | kind::SUBSCRIPTION_LOST => (2, 0, 1),
            kind::CONNECTED | kind::INTERRUPTED => (1, 0, 1),
            kind::CLOSED => (3, 0, self.words[word + 2] as usize),
            kind::ATTEMPTED => (4, 0, self.words[word + 1] as usize),
            kind::CREDENTIALS => (3, 0, self.words[word + 1] as usize),
            kind::TRACED => (3, (first >> 8 & 0xff) as usize, 0),
            kind::LOG => (3, self.words[word + 2] as usize, 0),
            kind::TOPIC => (2, self.words[word + 1] as usize, 0),
            _ => (2, 0, 0),
        };
        Extent {
            words,
            bytes,
            values,
        }
    }

    fn push_log(&mut self, level: Level, message: &str) {
        self.words
            .extend([kind::LOG, level as u32, message.len() as u32]);
        self.bytes.extend_from_slice(message.as_bytes());
    }

    /// `said` are words of the server, at most 65,535 bytes as everything that MQTT carries.
    fn push_codes(
        &mut self,
        kind: u32,
        token: Token,
        packet_id: u16,
        codes: &[u8],
        said: Option<&str>,
    ) {
        let said = said.unwrap_or_default();
        self.words.extend([
            kind | (codes.len() as u32) << 16,
            token,
            u32::from(packet_id) | (said.len() as u32) << 16,
        ]);
        self.bytes.extend_from_slice(codes);
        self.bytes.extend_from_slice(said.as_bytes());
    }

    /// A record that may have a failure; its second word says so.
    fn push_with(&mut self, kind: u32, failure: Option<&Failure>, rest: &[u32]) {
        self.words.extend([kind, u32::from(failure.is_some())]);
        self.words.extend_from_slice(rest);
        self.values.extend(failure.cloned().map(Value::Failure));
    }

    fn push_message(&mut self, message: &Message<'_>, known: Known) {
        let topic = message.topic.as_bytes();
        let (kept, second) = match known {
            Known::No => (false, topic.len() as u32),
            Known::At(place) => (true, place),
            Known::FromNow(place) => {
                self.words
                    .extend([kind::TOPIC | place << 16, topic.len() as u32]);
                self.bytes.extend_from_slice(topic);
                (true, place)
            }
        };
        let large = message.payload.len() >= LARGE_PAYLOAD;
        // A message that matches more filters than a count can hold is still delivered, to that many of them.
        let filters = &message.filters[..message.filters.len().min(usize::from(u16::MAX))];
        let mut first = kind::MESSAGE | (filters.len() as u32) << 16;
        for (set, flag) in [
            (message.qos > 0, flag::QOS1),
            (message.retain, flag::RETAIN),
            (message.dup, flag::DUP),
            (large, flag::LARGE),
            (message.properties.is_some(), flag::PROPERTIES),
            (kept, flag::KEPT),
        ] {
            first |= if set { flag } else { 0 };
        }
        self.words.extend([
            first,
            message.number as u32,
            second,
            message.payload.len() as u32,
        ]);
        self.words.extend_from_slice(filters);
        if !kept {
            self.bytes.extend_from_slice(topic);
        }
        if large {
            self.values
                .push_back(Value::Payload(message.payload.into()));
        } else {
            self.bytes.extend_from_slice(message.payload);
        }
        if let Some(properties) = message.properties {
            self.values
                .push_back(Value::Properties(Box::new(properties.clone())));
        }
    }
}

/// Shared by a connection's task, which fills it, and its JavaScript thread, which empties it.
pub(crate) struct Outbox {
    /// The connection's number in its environment.
    pub(crate) index: u32,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    records: Records,
    topics: Topics,
    /// Whether the environment knows that there is something.
    listed: bool,
    /// Up to where no QoS 0 message is left to discard: word, byte, value.
    searched: (usize, usize, usize),
    /// Numbers of full 64-bit length are made from the lower halves that the records hold.
    last_number: u64,
    discarded_bytes: usize,
}

impl Outbox {
    pub(crate) fn new(index: u32) -> Self {
        Self {
            index,
            inner: Mutex::default(),
        }
    }

    /// Takes everything out.
    pub(crate) fn take(&self) -> Records {
        let mut inner = self.lock();
        inner.listed = false;
        inner.searched = (0, 0, 0);
        inner.discarded_bytes = 0;
        std::mem::take(&mut inner.records)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Marks the oldest QoS 0 message and gives its number.
    fn discard_oldest_qos0(&mut self) -> Option<u64> {
        while self.searched.0 < self.records.words.len() {
            let word = self.searched.0;
            let first = self.records.words[word];
            let extent = self.records.extent(word);
            let wanted =
                first & 0xff == kind::MESSAGE && first & (flag::QOS1 | flag::DISCARDED) == 0;
            if wanted {
                self.records.words[word] |= flag::DISCARDED;
                self.discarded_bytes += extent.bytes;
                if first & flag::LARGE != 0 {
                    self.records.values[self.searched.2] = Value::Payload(Box::default());
                }
            }
            let number = self
                .records
                .words
                .get(word + 1)
                .copied()
                .unwrap_or_default();
            self.searched.0 += extent.words;
            self.searched.1 += extent.bytes;
            self.searched.2 += extent.values;
            if wanted {
                if self.discarded_bytes > SLACK
                    && self.discarded_bytes > self.records.bytes.len() / 2
                {
                    self.tidy_up();
                }
                return Some(
                    self.last_number - u64::from((self.last_number as u32).wrapping_sub(number)),
                );
            }
        }
        None
    }

    /// Removes what was discarded. Each byte is moved at most once for every byte that was discarded.
    fn tidy_up(&mut self) {
        let old = std::mem::take(&mut self.records);
        let mut values = old.values;
        let (mut word, mut byte) = (0, 0);
        let words = old.words;
        let view = Records {
            words,
            bytes: old.bytes,
            values: VecDeque::new(),
        };
        let mut searched = self.searched.0;
        let mut kept = (0, 0, 0);
        while word < view.words.len() {
            let extent = view.extent(word);
            let discarded =
                view.words[word] & 0xff == kind::MESSAGE && view.words[word] & flag::DISCARDED != 0;
            let its_values = values.drain(..extent.values);
            if discarded {
                drop(its_values);
            } else {
                self.records.values.extend(its_values);
                self.records
                    .words
                    .extend_from_slice(&view.words[word..word + extent.words]);
                self.records
                    .bytes
                    .extend_from_slice(&view.bytes[byte..byte + extent.bytes]);
            }
            word += extent.words;
            byte += extent.bytes;
            if word <= searched {
                kept = (
                    self.records.words.len(),
                    self.records.bytes.len(),
                    self.records.values.len(),
                );
            } else {
                searched = 0;
            }
        }
        self.searched = kept;
        self.discarded_bytes = 0;
    }
}

/// The connection's end of an outbox.
pub(crate) struct OutboxEvents {
    outbox: Arc<Outbox>,
    bell: Arc<Bell>,
    log_level: Option<Level>,
}

impl OutboxEvents {
    pub(crate) fn new(outbox: Arc<Outbox>, bell: Arc<Bell>, log_level: Option<Level>) -> Self {
        Self {
            outbox,
            bell,
            log_level,
        }
    }

    fn push(&self, push: impl FnOnce(&mut Records)) {
        push(&mut self.inner().records);
    }

    /// The outbox, with room for what is going to be pushed.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.outbox.lock();
        if inner.records.words.capacity() == 0 {
            inner.records = self.bell.spare();
        }
        inner
    }
}

impl Events for OutboxEvents {
    fn connected(&mut self, connected: &Connected) {
        self.push(|records| {
            records.words.push(kind::CONNECTED);
            records
                .values
                .push_back(Value::Connected(Box::new(connected.clone())));
        });
    }

    fn message(&mut self, message: &Message<'_>) {
        let mut inner = self.inner();
        inner.last_number = message.number;
        let known = inner.topics.look(message.topic);
        inner.records.push_message(message, known);
    }

    fn discard_oldest_qos0(&mut self) -> Option<u64> {
        self.outbox.lock().discard_oldest_qos0()
    }

    fn interrupted(&mut self, failure: &Failure) {
        self.push(|records| {
            records.words.push(kind::INTERRUPTED);
            records.values.push_back(Value::Failure(failure.clone()));
        });
    }

    fn attempted(&mut self, number: u32, failure: Option<&Failure>, next: Option<Duration>) {
        let next = next.map_or(0, |next| {
            u32::try_from(next.as_millis()).map_or(u32::MAX, |millis| millis.saturating_add(1))
        });
        self.push(|records| records.push_with(kind::ATTEMPTED, failure, &[number, next]));
    }

    fn credentials(&mut self, attempt: u32, last: Option<&Failure>) {
        self.push(|records| records.push_with(kind::CREDENTIALS, last, &[attempt]));
    }

    fn credentials_expired(&mut self, attempt: u32) {
        self.push(|records| records.words.extend([kind::CREDENTIALS_EXPIRED, attempt]));
    }

    fn published(&mut self, token: Token, packet_id: u16, reason: u8, said: Option<&str>) {
        let said = said.unwrap_or_default();
        let first = kind::PUBLISHED | (said.len() as u32) << 16;
        let result = u32::from(packet_id) | u32::from(reason) << 16;
        self.push(|records| {
            records.words.extend([first, token, result]);
            records.bytes.extend_from_slice(said.as_bytes());
        });
    }

    fn subscribed(&mut self, token: Token, packet_id: u16, granted: &[u8], said: Option<&str>) {
        self.push(|records| records.push_codes(kind::SUBSCRIBED, token, packet_id, granted, said));
    }

    fn refused(&mut self, token: Token, codes: &[u8], failure: &Failure) {
        self.push(|records| {
            records.push_codes(kind::REFUSED, token, 0, codes, None);
            records.values.push_back(Value::Failure(failure.clone()));
        });
    }

    fn unsubscribed(&mut self, token: Token, packet_id: u16, codes: &[u8], said: Option<&str>) {
        self.push(|records| records.push_codes(kind::UNSUBSCRIBED, token, packet_id, codes, said));
    }

    fn subscription_lost(&mut self, filter: FilterId, failure: &Failure) {
        self.push(|records| {
            records.words.extend([kind::SUBSCRIPTION_LOST, filter]);
            records.values.push_back(Value::Failure(failure.clone()));
        });
    }

    fn withdrawn(&mut self, token: Token) {
        self.push(|records| records.words.extend([kind::WITHDRAWN, token]));
    }

    fn failed(&mut self, token: Token, failure: &Failure) {
        self.push(|records| {
            records.words.extend([kind::FAILED, token]);
            records.values.push_back(Value::Failure(failure.clone()));
        });
    }

    fn closed(&mut self, failure: Option<&Failure>, unsettled: usize) {
        let unsettled = u32::try_from(unsettled).unwrap_or(u32::MAX);
        self.push(|records| {
            records
                .words
                .extend([kind::CLOSED, unsettled, u32::from(failure.is_some())]);
            records.values.extend(failure.cloned().map(Value::Failure));
        });
    }

    fn log(&mut self, level: Level, message: &str) {
        if self.log_level >= Some(level) {
            self.push(|records| records.push_log(level, message));
        }
    }

    fn warned(&mut self, warning: &str) {
        self.push(|records| records.push_log(Level::Warn, warning));
    }

    fn traced(&mut self, packet: &Trace) {
        if self.log_level < Some(Level::Trace) {
            return;
        }
        let name = packet.kind.as_bytes();
        let sent = u32::from(packet.direction == Direction::Sent);
        let first = kind::TRACED | (name.len() as u32) << 8 | sent << 16;
        let id = packet.id.map_or(0, u32::from);
        self.push(|records| {
            records.words.extend([first, id, packet.bytes as u32]);
            records.bytes.extend_from_slice(name);
        });
    }

    fn flush(&mut self) {
        let mut inner = self.outbox.lock();
        if inner.listed || inner.records.words.is_empty() {
            return;
        }
        inner.listed = true;
        drop(inner);
        self.bell.announce(&self.outbox);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u64, qos: u8, payload: &[u8]) -> Message<'_> {
        Message {
            number,
            topic: "t",
            payload,
            qos,
            retain: false,
            dup: false,
            properties: None,
            filters: &[7],
        }
    }

    fn inner(messages: &[(u64, u8, usize)]) -> Inner {
        let mut inner = Inner::default();
        for (number, qos, size) in messages {
            inner.last_number = *number;
            inner.records.push_message(
                &message(*number, *qos, &vec![*number as u8; *size]),
                Known::No,
            );
        }
        inner
    }

    /// Number, first payload byte and size of every message that would be delivered.
    fn delivered(inner: &Inner) -> Vec<(u32, u8, usize)> {
        let records = &inner.records;
        let (mut word, mut byte, mut value) = (0, 0, 0);
        let mut delivered = Vec::new();
        while word < records.words.len() {
            let extent = records.extent(word);
            let payload = match records.values.get(value) {
                Some(Value::Payload(payload)) if extent.values == 1 => payload,
                _ => &records.bytes[byte + 1..byte + extent.bytes],
            };
            if records.words[word] & flag::DISCARDED == 0 {
                delivered.push((records.words[word + 1], payload[0], payload.len()));
            }
            word += extent.words;
            byte += extent.bytes;
            value += extent.values;
        }
        delivered
    }

    #[test]
    fn the_oldest_qos_0_message_is_discarded_first_and_qos_1_never() {
        let mut inner = inner(&[
            (1, 1, 10),
            (2, 0, 10),
            (3, 0, 5_000),
            (4, 1, 5_000),
            (5, 0, 10),
        ]);
        assert_eq!(inner.discard_oldest_qos0(), Some(2));
        assert_eq!(inner.discard_oldest_qos0(), Some(3));
        assert_eq!(inner.discard_oldest_qos0(), Some(5));
        assert_eq!(inner.discard_oldest_qos0(), None);
        assert_eq!(delivered(&inner), [(1, 1, 10), (4, 4, 5_000)]);
    }

    #[test]
    fn numbers_beyond_32_bits_are_whole() {
        let start = u64::from(u32::MAX);
        let mut inner = inner(&[(start, 0, 1), (start + 1, 0, 1)]);
        assert_eq!(inner.discard_oldest_qos0(), Some(start));
        assert_eq!(inner.discard_oldest_qos0(), Some(start + 1));
    }

    #[test]
    fn discarded_bytes_do_not_pile_up() {
        let mut inner = Inner::default();
        for number in 1..=10_000_u64 {
            if number > 10 {
                assert_eq!(inner.discard_oldest_qos0(), Some(number - 10));
            }
            inner.last_number = number;
            inner
                .records
                .push_message(&message(number, 0, &[number as u8; 1_000]), Known::No);
        }
        let expected: Vec<_> = (9_991..=10_000_u32)
            .map(|number| (number, number as u8, 1_000))
            .collect();
        assert_eq!(delivered(&inner), expected);
        assert!(inner.records.bytes.len() < 2 * (SLACK + 10 * 1_001));
    }
}
