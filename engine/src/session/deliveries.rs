//! Credit for what was received: what the app has not consumed yet, and the PUBACKs that wait for it.

use std::{
    collections::{HashSet, VecDeque},
    hash::BuildHasherDefault,
};

use super::in_flight::PacketIdHasher;
use crate::options::Bounds;

/// Every PUBLISH that was handed to the host and is not both consumed and acknowledged, in order of receipt.
///
/// Deliveries are numbered through the life of a session; the host names them by that number.
pub(super) struct Deliveries {
    bounds: Bounds,
    queue: VecDeque<Delivery>,
    /// Number of the first in `queue`.
    first: u64,
    /// Number of the first whose PUBACK is still to be decided.
    next_ack: u64,
    unconsumed: u32,
    unconsumed_bytes: usize,
    /// Ids of this link whose PUBACK is still to be written.
    unacknowledged: HashSet<u16, BuildHasherDefault<PacketIdHasher>>,
}

/// What is held of messages beyond the user's bound at the least, before the server counts as hostile.
const FLOOD_BYTES: usize = 64 << 20;

struct Delivery {
    /// 0 where there is nothing to acknowledge: QoS 0, or a link that is gone.
    packet_id: u16,
    bytes: u32,
    consumed: bool,
}

impl Deliveries {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            queue: VecDeque::new(),
            first: 0,
            next_ack: 0,
            unconsumed: 0,
            unconsumed_bytes: 0,
            unacknowledged: HashSet::default(),
        }
    }

    /// Whether a message with this id is here and not acknowledged: the server has sent it once more.
    pub(super) fn is_repeated(&self, packet_id: u16) -> bool {
        self.unacknowledged.contains(&packet_id)
    }

    /// The link is gone: what it brought cannot be acknowledged any more, and is sent again by a server that kept the
    /// session.
    pub(super) fn unlink(&mut self) {
        for delivery in &mut self.queue {
            delivery.packet_id = 0;
        }
        self.unacknowledged = HashSet::default();
    }

    /// Whether the app has room for another message.
    pub(super) fn has_credit(&self) -> bool {
        self.unconsumed < self.bounds.messages && self.unconsumed_bytes < self.bounds.bytes
    }

    /// Whether the server has sent more than any that keeps to MQTT would: all ids, or many times the bytes.
    ///
    /// It does not know of the bytes, so a whole window of large messages has to fit, however small the user's bound:
    /// that of IoT Core is 100 messages of 128 KiB.
    pub(super) fn is_flooded(&self) -> bool {
        self.unconsumed >= u32::from(u16::MAX)
            || self.unconsumed_bytes >= FLOOD_BYTES.max(self.bounds.bytes.saturating_mul(4))
    }

    /// Takes a message into account and gives it its number. `packet_id` is 0 at QoS 0.
    pub(super) fn push(&mut self, packet_id: u16, bytes: usize) -> u64 {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.unconsumed += 1;
        self.unconsumed_bytes += bytes as usize;
        if packet_id != 0 {
            self.unacknowledged.insert(packet_id);
        }
        self.queue.push_back(Delivery {
            packet_id,
            bytes,
            consumed: false,
        });
        self.first + self.queue.len() as u64 - 1
    }

    /// The app has consumed `count` messages from number `from` on; gives their bytes. Numbers it has consumed before
    /// are ignored.
    pub(super) fn consume(&mut self, from: u64, count: u64) -> usize {
        let start = from.saturating_sub(self.first);
        let end = from
            .saturating_add(count)
            .saturating_sub(self.first)
            .min(self.queue.len() as u64);
        let before = self.unconsumed_bytes;
        for index in start..end {
            let delivery = &mut self.queue[index as usize];
            if !delivery.consumed {
                delivery.consumed = true;
                self.unconsumed -= 1;
                self.unconsumed_bytes -= delivery.bytes as usize;
            }
        }
        before - self.unconsumed_bytes
    }

    /// The number that `low` is the lower half of: the one that is nearest to what is waiting.
    pub(super) fn number(&self, low: u32) -> u64 {
        let distance = low.wrapping_sub(self.first as u32) as i32;
        self.first.wrapping_add_signed(distance.into())
    }

    /// The next packet id to acknowledge: in order of receipt (MQTT 5 section 4.6), so one that is not consumed holds
    /// back those behind it.
    pub(super) fn next_ack(&mut self) -> Option<u16> {
        let mut ack = None;
        while let Some(delivery) = self.queue.get((self.next_ack - self.first) as usize) {
            if delivery.packet_id != 0 && !delivery.consumed {
                break;
            }
            self.next_ack += 1;
            if delivery.packet_id != 0 {
                ack = Some(delivery.packet_id);
                self.unacknowledged.remove(&delivery.packet_id);
                break;
            }
        }
        while self.first < self.next_ack && self.queue.front().is_some_and(|front| front.consumed) {
            self.queue.pop_front();
            self.first += 1;
        }
        if self.queue.is_empty() {
            self.queue.shrink_to(64);
        }
        ack
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deliveries() -> Deliveries {
        Deliveries::new(Bounds {
            messages: 3,
            bytes: 100,
        })
    }

    fn acks(deliveries: &mut Deliveries) -> Vec<u16> {
        std::iter::from_fn(|| deliveries.next_ack()).collect()
    }

    #[test]
    fn acknowledgements_leave_in_order_of_receipt() {
        let mut deliveries = deliveries();
        let first = deliveries.push(10, 1);
        let second = deliveries.push(11, 1);
        deliveries.consume(second, 1);
        assert_eq!(acks(&mut deliveries), [0_u16; 0]);
        deliveries.consume(first, 1);
        assert_eq!(acks(&mut deliveries), [10, 11]);
    }

    #[test]
    fn an_unconsumed_qos_0_message_holds_back_no_acknowledgement() {
        let mut deliveries = deliveries();
        deliveries.push(0, 1);
        let second = deliveries.push(11, 1);
        deliveries.consume(second, 1);
        assert_eq!(acks(&mut deliveries), [11]);
        assert_eq!(deliveries.unconsumed, 1);
    }

    #[test]
    fn credit_ends_by_count_and_by_bytes_and_comes_back() {
        let mut deliveries = deliveries();
        for _ in 0..3 {
            assert!(deliveries.has_credit());
            deliveries.push(0, 1);
        }
        assert!(!deliveries.has_credit());
        deliveries.consume(0, 3);
        assert!(deliveries.has_credit());
        deliveries.push(0, 100);
        assert!(!deliveries.has_credit());
    }

    #[test]
    fn consuming_twice_or_what_never_came_gives_no_credit() {
        let mut deliveries = deliveries();
        deliveries.push(5, 10);
        deliveries.consume(0, 1);
        deliveries.consume(0, 100);
        deliveries.consume(7, 2);
        assert_eq!((deliveries.unconsumed, deliveries.unconsumed_bytes), (0, 0));
        assert_eq!(acks(&mut deliveries), [5]);
        assert_eq!(acks(&mut deliveries), [0_u16; 0]);
    }

    #[test]
    fn the_lower_half_of_a_number_is_enough_to_find_it() {
        let mut deliveries = deliveries();
        deliveries.first = u64::from(u32::MAX);
        deliveries.next_ack = deliveries.first;
        deliveries.push(0, 1);
        let second = deliveries.push(0, 1);
        assert_eq!(second, 1 << 32);
        assert_eq!(deliveries.number(second as u32), second);
    }

    #[test]
    fn a_range_that_begins_before_what_is_waiting_counts_for_the_rest() {
        let mut deliveries = deliveries();
        for packet_id in 1..=3 {
            deliveries.push(packet_id, 1);
        }
        deliveries.consume(0, 1);
        assert_eq!(acks(&mut deliveries), [1]);
        deliveries.consume(deliveries.number(0), 3);
        assert_eq!(acks(&mut deliveries), [2, 3]);
    }

    #[test]
    fn what_another_link_brought_is_not_acknowledged_and_still_gives_credit_back() {
        let mut deliveries = deliveries();
        for packet_id in 1..=3 {
            deliveries.push(packet_id, 1);
        }
        deliveries.unlink();
        deliveries.consume(0, 1);
        assert_eq!(acks(&mut deliveries), [0_u16; 0]);
        assert!(deliveries.has_credit());
        let number = deliveries.push(1, 1);
        deliveries.consume(number, 1);
        assert_eq!(acks(&mut deliveries), [1]);
        assert_eq!(deliveries.unconsumed, 2);
    }

    #[test]
    fn a_message_is_repeated_until_its_acknowledgement_is_written() {
        let mut deliveries = deliveries();
        deliveries.push(7, 1);
        assert!(deliveries.is_repeated(7));
        deliveries.consume(0, 1);
        assert!(deliveries.is_repeated(7));
        assert_eq!(acks(&mut deliveries), [7]);
        assert!(!deliveries.is_repeated(7));
    }
}
