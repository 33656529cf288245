//! What the host's thread and the connection's task both see, without a lock.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::{budget::Budget, options::Bounds, wire::ConnAck};

/// One connection's shared state.
pub struct Shared {
    pub budget: Budget,
    /// Nothing is accepted any more.
    closed: AtomicBool,
    /// The task drives a link, which the host may do as well.
    linked: AtomicBool,
    /// The host is running the task.
    hosted: AtomicBool,
    maximum_packet_size: AtomicU32,
    retain_available: AtomicBool,
    maximum_qos: AtomicU32,
    numbers: [AtomicU64; Number::COUNT],
}

pub struct Hosting<'a>(&'a Shared);

impl Drop for Hosting<'_> {
    fn drop(&mut self) {
        self.0.hosted.store(false, Ordering::Relaxed);
    }
}

/// The figures that a connection counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    MessagesSent,
    MessagesReceived,
    BytesSent,
    BytesReceived,
    InFlight,
    Queued,
    Dropped,
    /// Milliseconds for which something was held back to keep IoT Core's rates.
    Paced,
    /// Microseconds; 0 before the first.
    Ping,
}

impl Number {
    pub const COUNT: usize = 9;
}

/// The figures as the connection's task counts them, before it shows them.
#[derive(Clone, Copy, Default)]
pub struct Counters([u64; Number::COUNT]);

impl Counters {
    pub fn add(&mut self, number: Number, amount: u64) {
        self.0[number as usize] += amount;
    }

    pub fn set(&mut self, number: Number, value: u64) {
        self.0[number as usize] = value;
    }
}

impl Shared {
    pub fn new(queue: Bounds) -> Self {
        Self {
            budget: Budget::new(queue),
            closed: AtomicBool::new(false),
            linked: AtomicBool::new(false),
            hosted: AtomicBool::new(false),
            maximum_packet_size: AtomicU32::new(u32::MAX),
            retain_available: AtomicBool::new(true),
            maximum_qos: AtomicU32::new(1),
            numbers: Default::default(),
        }
    }

    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    pub fn set_linked(&self, linked: bool) {
        self.linked.store(linked, Ordering::Relaxed);
    }

    pub fn is_linked(&self) -> bool {
        self.linked.load(Ordering::Relaxed)
    }

    /// Says that the host is running the task, until it is dropped.
    pub fn hosting(&self) -> Hosting<'_> {
        self.hosted.store(true, Ordering::Relaxed);
        Hosting(self)
    }

    pub fn is_hosted(&self) -> bool {
        self.hosted.load(Ordering::Relaxed)
    }

    /// Keeps what CONNACK granted, for the checks of the host's thread.
    pub fn grant(&self, connack: &ConnAck) {
        let maximum = connack.maximum_packet_size.unwrap_or(u32::MAX);
        self.maximum_packet_size.store(maximum, Ordering::Relaxed);
        self.retain_available
            .store(connack.retain_available, Ordering::Relaxed);
        self.maximum_qos
            .store(u32::from(connack.maximum_qos), Ordering::Relaxed);
    }

    pub fn maximum_packet_size(&self) -> usize {
        self.maximum_packet_size.load(Ordering::Relaxed) as usize
    }

    pub fn retain_available(&self) -> bool {
        self.retain_available.load(Ordering::Relaxed)
    }

    pub fn maximum_qos(&self) -> u8 {
        self.maximum_qos.load(Ordering::Relaxed) as u8
    }

    /// Shows the figures to the host.
    pub fn show(&self, counters: &Counters) {
        for (shown, counted) in self.numbers.iter().zip(counters.0) {
            shown.store(counted, Ordering::Relaxed);
        }
    }

    pub fn number(&self, number: Number) -> u64 {
        self.numbers[number as usize].load(Ordering::Relaxed)
    }
}
