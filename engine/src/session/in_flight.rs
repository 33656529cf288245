//! Packet ids and what is unacknowledged under them.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    time::Duration,
};

use tokio::time::Instant;

use super::{Token, operation::Publish, request::Kind};

/// How many packet ids MQTT has: 1 to 65,535, shared by all that is acknowledged (MQTT 5 section 2.2.1).
const PACKET_IDS: usize = u16::MAX as usize;

/// Everything that has an id. Grows with what is in flight, not with what could be.
///
/// To have an id and to be outstanding, written on the link that is up, are two states: the ids of publishes outlive a
/// link, because the server may have kept the session.
pub(super) struct InFlight {
    entries: Entries,
    last_id: u16,
    /// Counts what was written, so that a deadline of an earlier use of an id is recognised.
    written: u64,
    /// Publishes that are outstanding and not abandoned.
    publishes: usize,
    /// Everything that is outstanding and not abandoned.
    outstanding: usize,
    abandoned: usize,
    ack_timeout: Duration,
    /// In the order of writing, which is that of expiry as well. Acknowledged ones are skipped when they come first,
    /// and removed when they are the most.
    deadlines: VecDeque<Deadline>,
    /// Publishes of earlier links that are to be written again on this one, in their first order.
    again: VecDeque<u16>,
}

/// What waits for its acknowledgement.
pub(super) enum Unacknowledged {
    Publish(Publish),
    /// The filters `first..first + count` of a SUBSCRIBE or UNSUBSCRIBE.
    Request {
        token: Token,
        kind: Kind,
        first: usize,
        count: usize,
    },
    /// Subscriptions that are made again because the server has lost them.
    Restore(Box<[Box<str>]>),
    /// Its outcome was reported as unknown; the server still owns the id.
    Abandoned {
        publish: bool,
    },
}

type Entries = HashMap<u16, Entry, BuildHasherDefault<PacketIdHasher>>;

struct Entry {
    /// The place in the order in which things were first written.
    order: u64,
    /// Of the latest writing.
    written: u64,
    outstanding: bool,
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
            outstanding: 0,
            abandoned: 0,
            ack_timeout,
            deadlines: VecDeque::new(),
            again: VecDeque::new(),
        }
    }

    /// What has an id and no outcome yet, written on this link or to be written again.
    pub(super) fn waiting(&self) -> usize {
        self.entries.len() - self.abandoned
    }

    /// What is written on this link and has no outcome yet.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// The first of it.
    pub(super) fn oldest_outstanding(&self) -> Option<&Unacknowledged> {
        let outstanding = self.entries.values().filter(|entry| entry.outstanding);
        outstanding
            .min_by_key(|entry| entry.written)
            .map(|entry| &entry.what)
    }

    /// QoS 1 publishes that count against Receive Maximum.
    pub(super) fn publishes(&self) -> usize {
        self.publishes
    }

    /// How many more packets can have an id.
    pub(super) fn free_ids(&self) -> usize {
        PACKET_IDS - self.entries.len()
    }

    /// The place in the order of what is first written next.
    pub(super) fn next_order(&self) -> u64 {
        self.written + 1
    }

    /// Stores what is about to be written under the next free id. The caller has checked [`Self::free_ids`].
    pub(super) fn insert(&mut self, what: Unacknowledged, now: Instant) -> u16 {
        let packet_id = self.next_id();
        let earlier = match &what {
            Unacknowledged::Publish(publish) => publish.order,
            _ => None,
        };
        self.entries.insert(
            packet_id,
            Entry {
                order: earlier.unwrap_or(self.next_order()),
                written: 0,
                outstanding: false,
                what,
            },
        );
        self.write(packet_id, now);
        packet_id
    }

    pub(super) fn get(&self, packet_id: u16) -> Option<&Unacknowledged> {
        self.entries.get(&packet_id).map(|entry| &entry.what)
    }

    /// Takes out what `packet_id` acknowledges; the id is free again.
    pub(super) fn remove(&mut self, packet_id: u16) -> Option<Unacknowledged> {
        let Entry {
            what, outstanding, ..
        } = self.entries.remove(&packet_id)?;
        // What was abandoned has left the window already.
        if what.is_abandoned() {
            self.abandoned -= 1;
        } else if outstanding {
            self.outstanding -= 1;
            self.publishes -= usize::from(what.is_publish());
        }
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
                self.outstanding -= 1;
                self.publishes -= usize::from(publish);
                return Some(what);
            }
        }
        None
    }

    /// What is left of a request that was given up has no outcome any more; the host may use its number again.
    pub(super) fn abandon_request(&mut self, given_up: Token) {
        for entry in self.entries.values_mut() {
            let of_it =
                matches!(entry.what, Unacknowledged::Request { token, .. } if token == given_up);
            if of_it {
                entry.what = Unacknowledged::Abandoned { publish: false };
                self.abandoned += 1;
                self.outstanding -= 1;
            }
        }
    }

    /// The link is gone. Publishes keep their ids and are to be written again; what else was written is handed out, and
    /// its ids are free, since no later link can bring its answer. It comes in the order of writing.
    ///
    /// What was abandoned keeps its id for one more link, on which an answer might still come.
    pub(super) fn suspend(&mut self) -> Vec<Unacknowledged> {
        let mut others = Vec::new();
        let mut ids: Vec<(u64, u16)> = self
            .entries
            .iter()
            .map(|(id, entry)| (entry.order, *id))
            .collect();
        ids.sort_unstable();
        self.again.clear();
        for (_, id) in ids {
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            let was_outstanding = std::mem::take(&mut entry.outstanding);
            let stays = match entry.what {
                Unacknowledged::Publish(_) => {
                    self.again.push_back(id);
                    true
                }
                Unacknowledged::Abandoned { publish } => publish && was_outstanding,
                Unacknowledged::Request { .. } | Unacknowledged::Restore(_) => false,
            };
            if stays {
                continue;
            }
            if let Some(entry) = self.entries.remove(&id) {
                if entry.what.is_abandoned() {
                    self.abandoned -= 1;
                } else {
                    others.push(entry.what);
                }
            }
        }
        self.publishes = 0;
        self.outstanding = 0;
        self.deadlines.clear();
        others
    }

    /// The publish of an earlier link that is to be written next, with its id.
    pub(super) fn next_again(&mut self) -> Option<u16> {
        while let Some(id) = self.again.front().copied() {
            let pending = self
                .entries
                .get(&id)
                .is_some_and(|entry| !entry.outstanding && !entry.what.is_abandoned());
            if pending {
                return Some(id);
            }
            // Acknowledged by an answer that the earlier link did not bring any more.
            self.again.pop_front();
        }
        None
    }

    /// What [`Self::next_again`] gave is about to be written.
    pub(super) fn write_again(&mut self, now: Instant) -> Option<(u16, &mut Publish)> {
        let id = self.again.pop_front()?;
        self.write(id, now);
        match self.entries.get_mut(&id).map(|entry| &mut entry.what) {
            Some(Unacknowledged::Publish(publish)) => Some((id, publish)),
            _ => None,
        }
    }

    /// The session is lost, and all ids with it: gives the publishes with their places in the order, which they keep.
    pub(super) fn take_publishes(&mut self) -> Vec<(u64, Publish)> {
        self.again.clear();
        self.deadlines.clear();
        self.publishes = 0;
        self.outstanding = 0;
        self.abandoned = 0;
        self.entries
            .drain()
            .filter_map(|(_, entry)| match entry.what {
                Unacknowledged::Publish(mut publish) => {
                    publish.order = Some(entry.order);
                    Some((entry.order, publish))
                }
                _ => None,
            })
            .collect()
    }

    /// Takes everything out, the first written first.
    pub(super) fn drain(&mut self) -> Vec<Unacknowledged> {
        let mut entries: Vec<Entry> = self.entries.drain().map(|(_, entry)| entry).collect();
        entries.sort_unstable_by_key(|entry| entry.order);
        self.take_publishes();
        entries.into_iter().map(|entry| entry.what).collect()
    }

    /// The only thing that is outstanding, if it is the only one.
    pub(super) fn sole(&self) -> Option<&Unacknowledged> {
        if self.outstanding != 1 {
            return None;
        }
        self.entries
            .values()
            .find(|entry| entry.outstanding && !entry.what.is_abandoned())
            .map(|entry| &entry.what)
    }

    /// The id of a publish.
    pub(super) fn id_of(&self, token: Token) -> Option<u16> {
        self.entries
            .iter()
            .find(|(_, entry)| match &entry.what {
                Unacknowledged::Publish(publish) => publish.token == token,
                _ => false,
            })
            .map(|(id, _)| *id)
    }

    /// An entry goes out on this link: its clock starts.
    fn write(&mut self, packet_id: u16, now: Instant) {
        self.written += 1;
        let Some(entry) = self.entries.get_mut(&packet_id) else {
            return;
        };
        entry.written = self.written;
        entry.outstanding = true;
        self.outstanding += 1;
        self.publishes += usize::from(entry.what.is_publish());
        self.deadlines.push_back(Deadline {
            at: now + self.ack_timeout,
            packet_id,
            written: self.written,
        });
        if self.deadlines.len() > 2 * self.entries.len() + 64 {
            let entries = &self.entries;
            self.deadlines.retain(|deadline| deadline.stands(entries));
        }
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
        matches!(self, Self::Publish(_) | Self::Abandoned { publish: true })
    }

    fn is_abandoned(&self) -> bool {
        matches!(self, Self::Abandoned { .. })
    }
}

/// Packet ids are handed out in order by ourselves: spreading them needs one multiplication, and no seed.
#[derive(Default)]
pub(super) struct PacketIdHasher(u64);

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
            Unacknowledged::Publish(Publish { token, .. })
            | Unacknowledged::Request { token, .. } => token,
            Unacknowledged::Restore(_) | Unacknowledged::Abandoned { .. } => Token::MAX,
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
