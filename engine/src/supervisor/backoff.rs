//! How long to wait before the next attempt.

use std::time::Duration;

use fastrand::Rng;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

/// When attempts follow each other.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// No delay after a failure is shorter. The growth starts from it too, and from 1 ms if it is less than that:
    /// nothing would ever grow from zero.
    pub min_delay: Duration,
    /// The cap: no delay after a failure is longer, unless `min_delay` is.
    pub max_delay: Duration,
    /// A link that lived so long worked, and its loss is the first trouble of a new row.
    pub stable_after: Duration,
    /// The time over which those who lose a stable link at the same moment come back.
    pub spread: Duration,
}

/// Why an attempt failed or a link was lost, as far as it matters to the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Trouble of the network: TCP, DNS, TLS, a timeout, a lost link.
    Transient,
    /// The server has too much to do: a close before CONNACK, reason 0x97 (quota exceeded), CONNACK 3 (server
    /// unavailable). Delays start higher.
    Overload,
    /// A certificate or a login was refused. Only someone can change that, so the delay is at the cap at once.
    Refused,
    /// Another connection with the same client id.
    TakenOver,
}

/// The delays of one connection, from one attempt to the next.
///
/// Every delay is drawn at random from a span that doubles up to the cap. A delay that is drawn first and cut to the
/// cap afterwards would be the same for everyone after a long outage, and a whole fleet would knock at once.
pub struct Backoff {
    schedule: Schedule,
    rng: Rng,
    /// How often the span has doubled.
    exponent: u32,
    /// Takeovers in a row.
    takeovers: u32,
}

const OVERLOAD_EXPONENT: u32 = 3;
const TAKEOVER_EXPONENT: u32 = 2;

impl Backoff {
    pub fn new(schedule: Schedule, rng: Rng) -> Self {
        Self {
            schedule,
            rng,
            exponent: 0,
            takeovers: 0,
        }
    }

    /// A link that had lived so long is followed by another in good order.
    pub fn after_renewal(&mut self, lived: Duration) {
        if lived >= self.schedule.stable_after {
            self.exponent = 0;
        }
    }

    /// An attempt failed: how long to wait.
    pub fn after_failure(&mut self, cause: Cause) -> Duration {
        if cause == Cause::TakenOver {
            return self.after_takeover();
        }
        let span = self.next_span(cause);
        self.delay(span)
    }

    /// A link that had lived so long was lost: how long to wait.
    pub fn after_loss(&mut self, cause: Cause, lived: Duration) -> Duration {
        let Schedule {
            min_delay,
            max_delay,
            stable_after,
            spread,
        } = self.schedule;
        let stable = lived >= stable_after;
        if stable {
            self.exponent = 0;
        }
        // Two clients with one id give each other links as long as their delays, which are stable ones in the end.
        if cause != Cause::TakenOver || lived > max_delay.saturating_add(stable_after) {
            self.takeovers = 0;
        }
        match cause {
            Cause::Transient if stable => self.draw(spread),
            Cause::Overload if stable => {
                // A server that sheds its clients must not get them back sooner than one that merely vanished.
                let span = self.next_span(cause).max(spread.saturating_sub(min_delay));
                self.delay(span)
            }
            _ => self.after_failure(cause),
        }
    }

    fn after_takeover(&mut self) -> Duration {
        let span = self.span(self.takeovers.saturating_add(TAKEOVER_EXPONENT));
        self.takeovers = self.takeovers.saturating_add(1);
        // Never soon, not even by chance: each return throws the other client out.
        self.delay(span / 2).saturating_add(span / 2)
    }

    /// The span for a cause, which makes the next one longer.
    fn next_span(&mut self, cause: Cause) -> Duration {
        let (exponent, kept) = match cause {
            Cause::Transient | Cause::TakenOver => (self.exponent, self.exponent),
            Cause::Overload => {
                let exponent = self.exponent.max(OVERLOAD_EXPONENT);
                (exponent, exponent)
            }
            // One refusal says nothing about the trouble of the network that may follow.
            Cause::Refused => (u32::MAX, self.exponent),
        };
        self.exponent = kept.saturating_add(1);
        self.span(exponent)
    }

    fn span(&self, exponent: u32) -> Duration {
        let Schedule {
            min_delay,
            max_delay,
            ..
        } = self.schedule;
        let base = min_delay.max(Duration::from_millis(1));
        1_u32
            .checked_shl(exponent)
            .and_then(|factor| base.checked_mul(factor))
            .unwrap_or(Duration::MAX)
            .min(max_delay.saturating_sub(min_delay))
    }

    fn delay(&mut self, span: Duration) -> Duration {
        self.schedule.min_delay.saturating_add(self.draw(span))
    }

    fn draw(&mut self, span: Duration) -> Duration {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.rng.u64(0..=nanos))
    }
}
