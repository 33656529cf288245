//! Packet ids and what is unacknowledged under them.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    time::Duration,
};

use tokio::time::Instant;

use super::{Token, request::Kind};
use crate::wire::OutboundPublish;

/// How many packet ids MQTT has: 1 to 65,535, shared by all that is acknowledged (MQTT 5 section 2.2.1).
const PACKET_IDS: usize = u16::MAX as usize;

/// Everything written and not yet acknowledged. Grows with what is in flight, not with what could be.
pub(super) struct InFlight {
    entries: Entries,
    last_id: u16,
    /// Counts what was written, so that a deadline of an earlier use of an id is recognised.
    written: u64,
    publishes: usize,
    abandoned: usize,
    ack_timeout: Duration,
    /// In the order of writing, which is that of expiry as well. Acknowledged ones are skipped when they come first,
    /// and removed when they are the most.
    deadlines: VecDeque<Deadline>,
}

/// What waits for its acknowledgement.
pub(super) enum Unacknowledged {
    Publish {
        token: Token,
        packet: OutboundPublish,
    },
    /// The filters `first..first + count` of a SUBSCRIBE or UNSUBSCRIBE.
    Request {
        token: Token,
        kind: Kind,
        first: usize,
        count: usize,
    },
    /// Its outcome was reported as unknown; the server still owns the id.
    Abandoned { publish: bool },
}

type Entries = HashMap<u16, Entry, BuildHasherDefault<PacketIdHasher>>;

struct Entry {
    written: u64,
    what: Unacknowledged,
}

struct Deadline {
    at: Instant,
    packet_id: u16,
    written: u64,
}

impl InFlight {
    pub(super) fn new(ack_timeout: Duration) -> Self {
        Self {
            entries: Entries::default(),
            last_id: 0,
            written: 0,
            publishes: 0,
            abandoned: 0,
            ack_timeout,
            deadlines: VecDeque::new(),
        }
    }

    /// Operations whose outcome is still to come.
    pub(super) fn waiting(&self) -> usize {
        self.entries.len() - self.abandoned
    }

    /// QoS 1 publishes that count against Receive Maximum.
    pub(super) fn publishes(&self) -> usize {
        self.publishes
    }

    /// How many more packets can have an id.
    pub(super) fn free_ids(&self) -> usize {
        PACKET_IDS - self.entries.len()
    }

    /// Stores what is about to be written under the next free id. The caller has checked [`Self::free_ids`].
    pub(super) fn insert(&mut self, what: Unacknowledged, now: Instant) -> u16 {
        let packet_id = self.next_id();
        self.written += 1;
        self.publishes += usize::from(what.is_publish());
        self.deadlines.push_back(Deadline {
            at: now + self.ack_timeout,
            packet_id,
            written: self.written,
        });
        self.entries.insert(
            packet_id,
            Entry {
                written: self.written,
                what,
            },
        );
        if self.deadlines.len() > 2 * self.entries.len() + 64 {
            let entries = &self.entries;
            self.deadlines.retain(|deadline| deadline.stands(entries));
        }
        packet_id
    }

    pub(super) fn get(&self, packet_id: u16) -> Option<&Unacknowledged> {
        self.entries.get(&packet_id).map(|entry| &entry.what)
    }

    /// Takes out what `packet_id` acknowledges; the id is free again.
    pub(super) fn remove(&mut self, packet_id: u16) -> Option<Unacknowledged> {
        let what = self.entries.remove(&packet_id)?.what;
        // What was abandoned has left the window already.
        self.publishes -= usize::from(what.is_publish() && !what.is_abandoned());
        self.abandoned -= usize::from(what.is_abandoned());
        if self.entries.is_empty() {
            self.deadlines.clear();
        }
        Some(what)
    }

    /// When the next acknowledgement is overdue.
    pub(super) fn next_deadline(&mut self) -> Option<Instant> {
        while let Some(deadline) = self.deadlines.front() {
            if deadline.stands(&self.entries) {
                return Some(deadline.at);
            }
            self.deadlines.pop_front();
        }
        None
    }

    /// Abandons one operation whose acknowledgement is overdue, and hands it out.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Unacknowledged> {
        while self.next_deadline()? <= now {
            let deadline = self.deadlines.pop_front()?;
            let entry = self.entries.get_mut(&deadline.packet_id)?;
            let publish = entry.what.is_publish();
            let what = std::mem::replace(&mut entry.what, Unacknowledged::Abandoned { publish });
            if !what.is_abandoned() {
                self.abandoned += 1;
                // IoT Core never acknowledges what exceeds its quotas: a window that waited for that would close for
                // good, message by message.
                self.publishes -= usize::from(publish);
                return Some(what);
            }
        }
        None
    }

    /// Takes everything out, the first written first.
    pub(super) fn drain(&mut self) -> Vec<Unacknowledged> {
        let mut entries: Vec<Entry> = self.entries.drain().map(|(_, entry)| entry).collect();
        entries.sort_unstable_by_key(|entry| entry.written);
        self.deadlines.clear();
        self.publishes = 0;
        self.abandoned = 0;
        entries.into_iter().map(|entry| entry.what).collect()
    }

    fn next_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if !self.entries.contains_key(&self.last_id) {
                return self.last_id;
            }
        }
    }
}

impl Deadline {
    /// Whether it is that of the present use of its id.
    fn stands(&self, entries: &Entries) -> bool {
        entries
            .get(&self.packet_id)
            .is_some_and(|entry| entry.written == self.written)
    }
}

impl Unacknowledged {
    fn is_publish(&self) -> bool {
        matches!(
            self,
            Self::Publish { .. } | Self::Abandoned { publish: true }
        )
    }

    fn is_abandoned(&self) -> bool {
        matches!(self, Self::Abandoned { .. })
    }
}

/// Packet ids are handed out in order by ourselves: spreading them needs one multiplication, and no seed.
#[derive(Default)]
struct PacketIdHasher(u64);

impl Hasher for PacketIdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u16(u16::from(*byte));
        }
    }

    fn write_u16(&mut self, id: u16) {
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    fn subscribe(token: Token) -> Unacknowledged {
        Unacknowledged::Request {
            token,
            kind: Kind::Subscribe,
            first: 0,
            count: 1,
        }
    }

    fn token(what: Unacknowledged) -> Token {
        match what {
            Unacknowledged::Publish { token, .. } | Unacknowledged::Request { token, .. } => token,
            Unacknowledged::Abandoned { .. } => Token::MAX,
        }
    }

    #[test]
    fn ids_start_at_1_and_wrap_around_past_those_in_use() {
        let now = Instant::now();
        let mut in_flight = InFlight::new(TIMEOUT);
        assert_eq!(in_flight.insert(subscribe(0), now), 1);
        for expected in 2..=u16::MAX {
            assert_eq!(in_flight.insert(subscribe(0), now), expected);
            in_flight.remove(expected);
        }
        assert_eq!(in_flight.insert(subscribe(0), now), 2);
    }

    #[test]
    fn all_ids_can_be_in_use_at_a_time() {
        let now = Instant::now();
        let mut in_flight = InFlight::new(TIMEOUT);
        while in_flight.free_ids() > 0 {
            in_flight.insert(subscribe(0), now);
        }
        assert_eq!(in_flight.waiting(), 65_535);
        in_flight.remove(700);
        assert_eq!(in_flight.insert(subscribe(0), now), 700);
    }

    #[test]
    fn an_overdue_operation_is_handed_out_once_and_its_id_stays_taken() {
        let start = Instant::now();
        let mut in_flight = InFlight::new(TIMEOUT);
        let id = in_flight.insert(subscribe(7), start);
        assert_eq!(in_flight.next_deadline(), Some(start + TIMEOUT));
        assert!(in_flight.expire(start).is_none());
        assert_eq!(in_flight.expire(start + TIMEOUT).map(token), Some(7));
        assert!(in_flight.expire(start + TIMEOUT).is_none());
        assert!(matches!(
            in_flight.get(id),
            Some(Unacknowledged::Abandoned { .. })
        ));
    }

    #[test]
    fn the_deadline_of_an_earlier_use_of_an_id_is_not_that_of_the_next() {
        let start = Instant::now();
        let later = start + Duration::from_secs(30);
        let mut in_flight = InFlight::new(TIMEOUT);
        let other = in_flight.insert(subscribe(0), start);
        let id = in_flight.insert(subscribe(1), start);
        in_flight.remove(id);
        in_flight.last_id = id - 1;
        assert_eq!(in_flight.insert(subscribe(2), later), id);
        in_flight.remove(other);
        assert_eq!(in_flight.next_deadline(), Some(later + TIMEOUT));
    }

    #[test]
    fn one_missing_acknowledgement_does_not_keep_the_deadlines_of_all_that_follow() {
        let now = Instant::now();
        let mut in_flight = InFlight::new(TIMEOUT);
        let missing = in_flight.insert(subscribe(0), now);
        for _ in 0..1_000 {
            let id = in_flight.insert(subscribe(1), now);
            in_flight.remove(id);
        }
        assert!(in_flight.deadlines.len() < 100);
        assert_eq!(in_flight.next_deadline(), Some(now + TIMEOUT));
        assert!(in_flight.get(missing).is_some());
    }

    #[test]
    fn draining_keeps_the_order_of_writing() {
        let now = Instant::now();
        let mut in_flight = InFlight::new(TIMEOUT);
        for token in 0..1_000 {
            in_flight.insert(subscribe(token), now);
        }
        let drained: Vec<Token> = in_flight.drain().into_iter().map(token).collect();
        assert_eq!(drained, (0..1_000).collect::<Vec<_>>());
        assert_eq!(in_flight.waiting(), 0);
    }
}
