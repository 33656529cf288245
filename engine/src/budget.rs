//! How much is accepted and not yet settled, counted where it is accepted and where it is settled.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{
    error::{Code, Failure, Result, Stage},
    options::Bounds,
};

/// A bound by count and by bytes that two threads share without a lock: the count in the upper 24 bits of one number,
/// the bytes in the lower 40.
pub struct Budget {
    bounds: Bounds,
    used: AtomicU64,
}

const ONE_MESSAGE: u64 = 1 << 40;

impl Budget {
    pub const MAX_MESSAGES: u32 = (1 << 23) - 1;
    pub const MAX_BYTES: u64 = (1 << 39) - 1;

    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            used: AtomicU64::new(0),
        }
    }

    /// Takes room for one operation of so many bytes, or fails with `ERR_QUEUE_FULL`.
    ///
    /// An empty budget takes any single operation, so that one larger than `queue.maxBytes` can be sent at all.
    pub fn reserve(&self, bytes: usize) -> Result<()> {
        let wanted = ONE_MESSAGE + bytes as u64;
        let used = self.used.fetch_add(wanted, Ordering::Relaxed);
        let (messages, used_bytes) = split(used);
        let fits = messages < self.bounds.messages && used_bytes + bytes <= self.bounds.bytes;
        if fits || messages == 0 {
            return Ok(());
        }
        self.used.fetch_sub(wanted, Ordering::Relaxed);
        Err(Failure::new(
            Code::QueueFull,
            Stage::Operation,
            format!(
                "the queue is full: {messages} operations with {used_bytes} bytes are accepted and not settled (queue.maxMessages {}, queue.maxBytes {})",
                self.bounds.messages, self.bounds.bytes
            ),
        ))
    }

    /// Takes room even where there is none, for what makes room in the end.
    pub fn take(&self, bytes: usize) {
        self.used
            .fetch_add(ONE_MESSAGE + bytes as u64, Ordering::Relaxed);
    }

    /// Whether more is taken than there is room for. One operation alone always has room.
    pub fn is_exceeded(&self) -> bool {
        let (messages, bytes) = split(self.used.load(Ordering::Relaxed));
        messages > 1 && (messages > self.bounds.messages || bytes > self.bounds.bytes)
    }

    /// Gives back what was taken.
    pub fn release(&self, bytes: usize) {
        self.used
            .fetch_sub(ONE_MESSAGE + bytes as u64, Ordering::Relaxed);
    }

    /// Operations accepted and not settled.
    pub fn messages(&self) -> u32 {
        split(self.used.load(Ordering::Relaxed)).0
    }
}

fn split(used: u64) -> (u32, usize) {
    ((used / ONE_MESSAGE) as u32, (used % ONE_MESSAGE) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_by_count_and_by_bytes_and_comes_back() {
        let budget = Budget::new(Bounds {
            messages: 2,
            bytes: 100,
        });
        budget.reserve(10).expect("room");
        budget.reserve(10).expect("room");
        assert_eq!(
            budget.reserve(10).map_err(|failure| failure.code()),
            Err(Code::QueueFull)
        );
        budget.release(10);
        assert_eq!(
            budget.reserve(91).map_err(|failure| failure.code()),
            Err(Code::QueueFull)
        );
        budget.reserve(90).expect("room");
        assert_eq!(budget.messages(), 2);
    }

    #[test]
    fn what_two_threads_take_and_give_back_at_the_same_time_adds_up() {
        let budget = Budget::new(Bounds {
            messages: 50,
            bytes: 1_000,
        });
        let (accepted, settled) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for bytes in settled {
                    budget.release(bytes);
                }
            });
            for bytes in 0..200_000 {
                let bytes = bytes % 40;
                if budget.reserve(bytes).is_ok() {
                    assert!(budget.messages() <= 50);
                    accepted.send(bytes).unwrap();
                }
            }
            drop(accepted);
        });
        assert_eq!(budget.used.into_inner(), 0);
    }

    #[test]
    fn an_operation_larger_than_the_bound_can_be_sent_alone() {
        let budget = Budget::new(Bounds {
            messages: 2,
            bytes: 100,
        });
        budget.reserve(1_000).expect("alone");
        assert!(budget.reserve(1).is_err());
    }
}
