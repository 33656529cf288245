//! Renewing a connection before the server cuts it.
//!
//! An authorizer's answer bounds every connection (`disconnectAfterInSeconds`, 24 hours at most), and tokens expire. One
//! client id allows no overlap, so the link is ended in good order and made anew: credentials first, then nothing new is
//! sent, acknowledgements are waited for, DISCONNECT, and connect.

use std::time::Duration;

use tokio::time::Instant;

/// Not sooner than this after a connect.
const REST: Duration = Duration::from_secs(60);
/// For acknowledgements, before DISCONNECT.
const DRAIN: Duration = Duration::from_secs(5);
/// Between two tries to get credentials while the link still lives.
const RETRY: Duration = Duration::from_secs(30);

/// When credentials end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Tells one expiry from another: the host's own number for it.
    pub id: u64,
    pub after: Duration,
}

/// The renewal of one connection.
pub(super) struct Renewal {
    /// `reconnect.renewAfterSeconds`.
    after: Option<Duration>,
    phase: Phase,
    /// The expiry for which a renewal was begun: one is enough.
    served: Option<u64>,
    /// That of the credentials in use.
    current: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Waiting {
        until: Instant,
    },
    /// The host was asked for credentials.
    Asking {
        until: Instant,
    },
    /// Nothing new is sent.
    Draining {
        until: Instant,
    },
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    /// Ask for credentials, or begin to drain where there is nobody to ask.
    Begin,
    /// The host has not answered in time.
    Overdue,
}

impl Renewal {
    pub(super) fn new(after: Option<Duration>) -> Self {
        Self {
            after,
            phase: Phase::Idle,
            served: None,
            current: None,
        }
    }

    /// A link is up, with credentials that end so. `share` is drawn for each connection, 0 to 1.
    pub(super) fn linked(&mut self, expiry: Option<Expiry>, share: f64, now: Instant) {
        self.current = expiry.map(|expiry| expiry.id);
        let expiring = expiry
            .filter(|expiry| self.served != Some(expiry.id))
            .map(|expiry| expiry.after);
        let life = [expiring, self.after].into_iter().flatten().min();
        self.phase = match life {
            None => Phase::Idle,
            Some(life) => Phase::Waiting {
                until: now + life.mul_f64(0.80 + 0.15 * share).max(REST),
            },
        };
    }

    /// The link is gone: what was under way is over.
    pub(super) fn unlinked(&mut self) {
        self.phase = Phase::Idle;
    }

    /// The host was asked.
    pub(super) fn asked(&mut self, timeout: Duration, now: Instant) {
        self.phase = Phase::Asking {
            until: now + timeout,
        };
    }

    /// There are credentials for the next link.
    pub(super) fn drain(&mut self, now: Instant) {
        self.served = self.current;
        self.phase = Phase::Draining { until: now + DRAIN };
    }

    /// The host has no credentials now. Gives when it is asked again: not on this link, if it never will have any.
    pub(super) fn failed(&mut self, retryable: bool, now: Instant) -> Option<Duration> {
        self.phase = if retryable {
            Phase::Waiting { until: now + RETRY }
        } else {
            Phase::Idle
        };
        retryable.then_some(RETRY)
    }

    /// There will be no credentials on this link.
    pub(super) fn give_up(&mut self) {
        self.phase = Phase::Idle;
    }

    pub(super) fn is_asking(&self) -> bool {
        matches!(self.phase, Phase::Asking { .. })
    }

    pub(super) fn is_draining(&self) -> bool {
        matches!(self.phase, Phase::Draining { .. })
    }

    /// Whether the link is to be ended now.
    pub(super) fn is_due(&self, settled: bool, now: Instant) -> bool {
        matches!(self.phase, Phase::Draining { until } if settled || until <= now)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Idle => None,
            Phase::Waiting { until } | Phase::Asking { until } | Phase::Draining { until } => {
                Some(until)
            }
        }
    }

    pub(super) fn step(&self, now: Instant) -> Step {
        match self.phase {
            Phase::Waiting { until } if until <= now => Step::Begin,
            Phase::Asking { until } if until <= now => Step::Overdue,
            _ => Step::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn expiry(id: u64, after: u64) -> Option<Expiry> {
        Some(Expiry {
            id,
            after: seconds(after),
        })
    }

    fn begins(renewal: &Renewal, start: Instant) -> Option<Duration> {
        renewal.deadline().map(|at| at - start)
    }

    #[test]
    fn it_begins_at_80_to_95_percent_of_what_is_left() {
        let start = Instant::now();
        let mut renewal = Renewal::new(None);
        for (share, expected) in [(0.0, 2_880), (1.0, 3_420)] {
            renewal.linked(expiry(1, 3_600), share, start);
            let begins = begins(&renewal, start).expect("a renewal");
            assert!(begins.abs_diff(seconds(expected)) < Duration::from_millis(1));
        }
        assert_eq!(renewal.step(start + seconds(3_419)), Step::Nothing);
        assert_eq!(renewal.step(start + seconds(3_421)), Step::Begin);
    }

    #[test]
    fn the_sooner_of_expiry_and_option_counts() {
        let start = Instant::now();
        let mut renewal = Renewal::new(Some(seconds(1_000)));
        renewal.linked(expiry(1, 3_600), 0.0, start);
        assert_eq!(begins(&renewal, start), Some(seconds(800)));
        renewal.linked(expiry(2, 500), 0.0, start);
        assert_eq!(begins(&renewal, start), Some(seconds(400)));
        renewal.linked(None, 0.0, start);
        assert_eq!(begins(&renewal, start), Some(seconds(800)));
    }

    #[test]
    fn it_never_begins_within_a_minute_of_a_connect() {
        let start = Instant::now();
        let mut renewal = Renewal::new(None);
        renewal.linked(expiry(1, 10), 0.0, start);
        assert_eq!(begins(&renewal, start), Some(seconds(60)));
    }

    #[test]
    fn one_expiry_is_renewed_once() {
        let start = Instant::now();
        let mut renewal = Renewal::new(None);
        renewal.linked(expiry(1, 100), 0.0, start);
        renewal.asked(seconds(30), start);
        renewal.drain(start);
        renewal.linked(expiry(1, 40), 0.0, start);
        assert_eq!(begins(&renewal, start), None);
        renewal.linked(expiry(2, 100), 0.0, start);
        assert_eq!(begins(&renewal, start), Some(seconds(80)));
    }

    #[test]
    fn draining_ends_when_all_is_settled_or_after_five_seconds() {
        let start = Instant::now();
        let mut renewal = Renewal::new(None);
        renewal.drain(start);
        assert!(!renewal.is_due(false, start + seconds(4)));
        assert!(renewal.is_due(true, start));
        assert!(renewal.is_due(false, start + seconds(5)));
        renewal.unlinked();
        assert!(!renewal.is_due(true, start + seconds(5)));
    }

    #[test]
    fn an_answer_that_does_not_come_is_overdue() {
        let start = Instant::now();
        let mut renewal = Renewal::new(None);
        renewal.asked(seconds(30), start);
        assert_eq!(renewal.step(start + seconds(29)), Step::Nothing);
        assert_eq!(renewal.step(start + seconds(30)), Step::Overdue);
        let next = renewal.failed(true, start + seconds(30));
        assert_eq!(next, Some(seconds(30)));
        assert_eq!(renewal.step(start + seconds(60)), Step::Begin);
    }
}
