//! The rates of IoT Core, kept before anything is sent: it discards publishes and delays bytes beyond them.

use std::time::Duration;

use tokio::time::Instant;

#[cfg(test)]
mod tests;

/// Holds back what would exceed a rate of publishes or of bytes, which count in both directions together.
///
/// Each rate is a token bucket that holds one second's worth, is full at first and fills continuously.
pub(super) struct Pace {
    start: Instant,
    publishes: Option<Rate>,
    bytes: Option<Rate>,
    held: Option<Held>,
    /// How long something was held back before `held`.
    held_before: Duration,
}

struct Held {
    bytes: usize,
    since: Instant,
}

/// One rate, with time counted in ticks from the start of the [`Pace`].
///
/// A tick is so short that a nanosecond has as many as there are tokens a second, and each token takes a billion ticks
/// to come back whatever the rate: nothing is ever rounded, and no message needs a division.
struct Rate {
    per_second: u128,
    /// When the bucket is full again, if only what was sent has to be made up for.
    sent_made_up: u128,
    /// When it is full again after what was sent and what arrived. This lies up to two seconds ahead for what arrived:
    /// one for the whole bucket and one for the debt.
    all_made_up: u128,
    /// From when on the reserve collects the part of the rate that arrivals cannot take.
    reserve_from: u128,
}

/// The ticks in which one token comes back.
const TOKEN: u128 = 1_000_000_000;

/// A second's worth of time, in nanoseconds.
const SECOND: u128 = 1_000_000_000;

/// The part of a rate that no arrivals can take from what is sent: one in so many.
const RESERVED: u128 = 10;

/// How late a timer may be without loss to the reserve, in nanoseconds: small messages would not get their part of the
/// rate if each waited for a timer of its own.
const LATENESS: u128 = 10_000_000;

impl Pace {
    /// `None` turns a rate off, and so does zero.
    pub(super) fn new(
        publishes_per_second: Option<u32>,
        bytes_per_second: Option<u32>,
        now: Instant,
    ) -> Self {
        Self {
            start: now,
            publishes: publishes_per_second.and_then(Rate::new),
            bytes: bytes_per_second.and_then(Rate::new),
            held: None,
            held_before: Duration::ZERO,
        }
    }

    /// Takes room for a PUBLISH of so many bytes if there is room now. Otherwise it is held back until
    /// [`Self::deadline`], and is to be asked for again before any other.
    ///
    /// One that is larger than the whole bucket goes when the bucket is full, and leaves a debt.
    pub(super) fn admit(&mut self, bytes: usize, now: Instant) -> bool {
        if self.is_off() {
            return true;
        }
        let nanos = self.nanos(now);
        if self.held.is_none() {
            for (rate, _) in self.rates_mut(bytes) {
                rate.begin(nanos);
            }
        }
        let admitted = self
            .rates(bytes)
            .all(|(rate, tokens)| rate.ready(tokens) <= rate.ticks(nanos));
        if !admitted {
            self.held.get_or_insert(Held { bytes, since: now }).bytes = bytes;
            return false;
        }
        for (rate, tokens) in self.rates_mut(bytes) {
            rate.send(tokens, nanos);
        }
        self.release(now);
        true
    }

    /// A message of so many bytes came in: it counts as well, and cannot be held back.
    ///
    /// Arrivals leave a debt of at most one second's worth, and a tenth of the rate to what is sent.
    pub(super) fn arrived(&mut self, bytes: usize, now: Instant) {
        if self.is_off() {
            return;
        }
        let nanos = self.nanos(now);
        for (rate, tokens) in self.rates_mut(bytes) {
            rate.receive(tokens, nanos);
        }
    }

    /// When what is held back may go, in whole milliseconds as the timer counts them. Arrivals put it off.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let held = self.held.as_ref()?;
        let nanos = self
            .rates(held.bytes)
            .map(|(rate, tokens)| rate.ready(tokens).div_ceil(rate.per_second))
            .max()?;
        let millis = u64::try_from(nanos.div_ceil(1_000_000)).unwrap_or(u64::MAX);
        Some(self.start + Duration::from_millis(millis))
    }

    /// Nothing is held back any more: the queue became empty, or the link is gone.
    pub(super) fn release(&mut self, now: Instant) {
        if let Some(held) = self.held.take() {
            self.held_before += now - held.since;
        }
    }

    /// How long something was held back in all, up to now.
    pub(super) fn held_back(&self, now: Instant) -> Duration {
        let held = self.held.as_ref();
        self.held_before + held.map_or(Duration::ZERO, |held| now - held.since)
    }

    fn is_off(&self) -> bool {
        self.publishes.is_none() && self.bytes.is_none()
    }

    fn nanos(&self, now: Instant) -> u128 {
        (now - self.start).as_nanos()
    }

    /// The rates that are on, each with what one message of so many bytes takes from it.
    fn rates(&self, bytes: usize) -> impl Iterator<Item = (&Rate, usize)> {
        let publishes = self.publishes.iter().map(|rate| (rate, 1));
        publishes.chain(self.bytes.iter().map(move |rate| (rate, bytes)))
    }

    fn rates_mut(&mut self, bytes: usize) -> impl Iterator<Item = (&mut Rate, usize)> {
        let publishes = self.publishes.iter_mut().map(|rate| (rate, 1));
        publishes.chain(self.bytes.iter_mut().map(move |rate| (rate, bytes)))
    }
}

impl Rate {
    fn new(per_second: u32) -> Option<Self> {
        (per_second > 0).then(|| Self {
            per_second: u128::from(per_second),
            sent_made_up: 0,
            all_made_up: 0,
            reserve_from: 0,
        })
    }

    fn ticks(&self, nanos: u128) -> u128 {
        nanos * self.per_second
    }

    /// When so many tokens are there for what is sent, in ticks.
    fn ready(&self, tokens: usize) -> u128 {
        // The reserve is for what arrivals take away. What is sent keeps to the whole rate by itself in any case.
        let reserve = self.reserve_from + RESERVED * cost(tokens);
        let with_arrivals = self.filled(self.all_made_up, tokens).min(reserve);
        self.filled(self.sent_made_up, tokens).max(with_arrivals)
    }

    /// When a bucket that is full at some time has so many tokens, or is full if it never has so many.
    fn filled(&self, full: u128, tokens: usize) -> u128 {
        full.saturating_sub(self.ticks(SECOND).saturating_sub(cost(tokens)))
    }

    /// Something is to be sent that did not wait before. Until then there was nothing to collect for.
    fn begin(&mut self, nanos: u128) {
        let earliest = self.ticks(nanos.saturating_sub(LATENESS));
        self.reserve_from = self.reserve_from.max(earliest);
    }

    fn send(&mut self, tokens: usize, nanos: u128) {
        let now = self.ticks(nanos);
        let cost = cost(tokens);
        if self.filled(self.all_made_up, tokens) <= now {
            // There was room beside the arrivals. The reserve would only exceed the rate if it came on top of that.
            self.reserve_from = now;
        } else {
            self.reserve_from += RESERVED * cost;
        }
        self.sent_made_up = self.sent_made_up.max(now) + cost;
        self.all_made_up = self.all_made_up.max(now) + cost;
    }

    fn receive(&mut self, tokens: usize, nanos: u128) {
        let now = self.ticks(nanos);
        let in_debt = now + 2 * self.ticks(SECOND);
        let made_up = self.all_made_up.max(now) + cost(tokens);
        self.all_made_up = self.all_made_up.max(made_up.min(in_debt));
    }
}

/// The ticks in which so many tokens come back.
fn cost(tokens: usize) -> u128 {
    tokens as u128 * TOKEN
}
