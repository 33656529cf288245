//! What follows a failure: the next attempt and when, or the end.

use std::time::Duration;

use super::backoff::{Backoff, Cause, Schedule};
use crate::{
    error::{Code, Failure, Stage},
    options::{InitialConnect, Options},
};

/// How long a link of another client with our id may have lived before ours was cut for it, and still be seen as such.
const PING_PONG: Duration = Duration::from_secs(60);
/// So many links in a row, all cut early, are a pattern.
const PATTERN: u32 = 3;

const DUPLICATE_HINT: &str = "The connection is cut again and again soon after it is made. Most likely two clients use one client id, and each ends the other's connection; MQTT 3.1.1 has no way to say so. Give every device, process and instance a client id of its own. Otherwise: the authorizer's policy denies something that the app does right after connecting.";

/// Decides after each failure.
pub(super) struct Retry {
    backoff: Backoff,
    after_loss: bool,
    stable_after: Duration,
    max_attempts: Option<u32>,
    stop_after_refusals: Option<u32>,
    retries_first: bool,
    /// Whether a server has accepted the connection at least once.
    established: bool,
    /// Attempts in a row that led to no stable link.
    failures: u32,
    /// Refusals in a row.
    refusals: u32,
    /// Links in a row that the server cut early without a word.
    cut: u32,
}

impl Retry {
    pub(super) fn new(options: &Options) -> Self {
        let reconnect = options.reconnect;
        let schedule = Schedule {
            min_delay: reconnect.min_delay,
            max_delay: reconnect.max_delay,
            stable_after: reconnect.stable_after,
            spread: reconnect.spread,
        };
        Self {
            backoff: Backoff::new(schedule, fastrand::Rng::new()),
            after_loss: reconnect.after_loss,
            stable_after: reconnect.stable_after,
            max_attempts: reconnect.max_attempts,
            stop_after_refusals: reconnect.stop_after_refusals,
            retries_first: options.initial_connect == InitialConnect::Retry,
            established: false,
            failures: 0,
            refusals: 0,
            cut: 0,
        }
    }

    /// The server accepted the connection.
    pub(super) fn connected(&mut self) {
        self.established = true;
        self.refusals = 0;
    }

    /// An attempt failed: how long to wait for the next, or none.
    pub(super) fn after_failure(&mut self, failure: &Failure) -> Option<Duration> {
        self.failures += 1;
        self.refusals = if is_refusal(failure) {
            self.refusals + 1
        } else {
            0
        };
        let again = if self.established {
            self.after_loss
        } else {
            self.retries_first
        };
        if !again || self.is_enough() || is_final(failure) {
            return None;
        }
        Some(self.backoff.after_failure(cause(failure)))
    }

    /// A link that had lived so long was lost: how long to wait for the next attempt, or none.
    pub(super) fn after_loss(&mut self, failure: &Failure, lived: Duration) -> Option<Duration> {
        self.failures = if lived >= self.stable_after {
            0
        } else {
            self.failures + 1
        };
        if !self.after_loss || self.is_enough() {
            return None;
        }
        Some(self.backoff.after_loss(cause(failure), lived))
    }

    /// A link that had lived so long was ended to be renewed: a success, if it was stable, and no failure in any case.
    pub(super) fn after_renewal(&mut self, lived: Duration) {
        if lived >= self.stable_after {
            self.failures = 0;
        }
        self.backoff.after_renewal(lived);
    }

    /// The failure of a link that was lost, with the hint that the pattern of all of them suggests.
    pub(super) fn explain(&mut self, failure: Failure, lived: Duration, silent: bool) -> Failure {
        self.cut = if silent && lived < PING_PONG {
            self.cut + 1
        } else {
            0
        };
        if self.cut >= PATTERN {
            return failure.with_hint(DUPLICATE_HINT);
        }
        failure
    }

    fn is_enough(&self) -> bool {
        let reached = |most: Option<u32>, count: u32| most.is_some_and(|most| count >= most);
        reached(self.max_attempts, self.failures)
            || reached(self.stop_after_refusals, self.refusals)
    }
}

/// Whether no other attempt can do better: an option is wrong, or the app says so of its credentials.
fn is_final(failure: &Failure) -> bool {
    match failure.code() {
        Code::InvalidOption | Code::IncompleteToken | Code::Internal => true,
        Code::Credentials => !failure.retryable(),
        _ => false,
    }
}

/// The server was there and did not let us in, or we did not trust it.
fn is_refusal(failure: &Failure) -> bool {
    failure.code() == Code::ClosedBeforeConnack || cause(failure) == Cause::Refused
}

fn cause(failure: &Failure) -> Cause {
    match failure.code() {
        Code::SessionTakenOver => Cause::TakenOver,
        // Quota exceeded, in CONNACK or DISCONNECT; server unavailable, in CONNACK of MQTT 3.1.1.
        _ if matches!(failure.reason_code(), Some(0x97 | 3)) => Cause::Overload,
        Code::ClosedBeforeConnack => Cause::Overload,
        // The same close, where ALPN is the likelier reason.
        Code::Alpn if failure.stage() == Stage::Connack => Cause::Overload,
        _ if failure.is_refusal() => Cause::Refused,
        // A front door that answers in HTTP, and not that the login is refused, has too much to do for all we know.
        Code::WebSocket => Cause::Overload,
        Code::ConnectRefused | Code::TlsCertificate => Cause::Refused,
        _ => Cause::Transient,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{options::ConnectOptions, testing::options};

    const STABLE: Duration = Duration::from_secs(30);
    const SHORT: Duration = Duration::from_secs(1);

    fn failure(code: Code) -> Failure {
        Failure::new(code, Stage::Connack, "a failure")
    }

    fn retry(change: fn(&mut ConnectOptions)) -> Retry {
        Retry::new(&options(|options| {
            options.reconnect.never = false;
            options.initial_connect = Some("retry".to_owned());
            change(options);
        }))
    }

    #[test]
    fn the_first_attempt_alone_is_the_end_where_it_is_to_fail() {
        let mut retry = retry(|options| options.initial_connect = None);
        assert_eq!(retry.after_failure(&failure(Code::Dns)), None);
        retry.connected();
        assert!(retry.after_failure(&failure(Code::Dns)).is_some());
    }

    #[test]
    fn without_reconnecting_the_first_attempt_may_still_be_repeated() {
        let mut retry = retry(|options| options.reconnect.never = true);
        assert!(retry.after_failure(&failure(Code::Dns)).is_some());
        retry.connected();
        assert_eq!(
            retry.after_loss(&failure(Code::ConnectionLost), STABLE),
            None
        );
    }

    #[test]
    fn attempts_in_a_row_are_counted_until_a_link_was_stable() {
        let mut retry = retry(|options| options.reconnect.max_attempts = Some(3.0));
        for code in [Code::Dns, Code::TlsCertificate] {
            assert!(retry.after_failure(&failure(code)).is_some());
        }
        retry.connected();
        let lost = failure(Code::ConnectionLost);
        assert!(retry.after_loss(&lost, STABLE).is_some());
        assert!(retry.after_loss(&lost, SHORT).is_some());
        assert!(retry.after_failure(&failure(Code::Dns)).is_some());
        assert_eq!(retry.after_failure(&failure(Code::Dns)), None);
    }

    #[test]
    fn a_renewal_is_no_failure_and_ends_a_row_of_them() {
        let mut retry = retry(|options| options.reconnect.max_attempts = Some(3.0));
        for _ in 0..2 {
            assert!(retry.after_failure(&failure(Code::Dns)).is_some());
        }
        retry.connected();
        retry.after_renewal(STABLE);
        for _ in 0..2 {
            let next = retry.after_failure(&failure(Code::Dns)).expect("another");
            assert!(next <= Duration::from_secs(3), "{next:?}");
        }
    }

    #[test]
    fn refusals_and_certificates_are_retried_at_the_cap_and_end_only_what_opted_in() {
        for code in [
            Code::NotAuthorized,
            Code::ConnectRefused,
            Code::TlsCertificate,
            Code::ProxyAuth,
        ] {
            let mut patient = retry(|_| {});
            let delays: Vec<Duration> = (0..1_000)
                .filter_map(|_| patient.after_failure(&failure(code)))
                .collect();
            assert_eq!(delays.len(), 1_000);
            let longest = delays.iter().max().expect("delays");
            assert!(*longest > Duration::from_secs(110), "{longest:?}");
            assert!(delays[0] >= SHORT);

            let mut strict = retry(|options| options.reconnect.stop_after_refusals = Some(2.0));
            assert!(strict.after_failure(&failure(code)).is_some());
            assert!(strict.after_failure(&failure(Code::Dns)).is_some());
            assert!(strict.after_failure(&failure(code)).is_some());
            assert_eq!(strict.after_failure(&failure(code)), None);
        }
    }

    #[test]
    fn a_websocket_is_refused_to_a_login_only_where_the_answer_says_so() {
        let mut strict = retry(|options| options.reconnect.stop_after_refusals = Some(1.0));
        let refused = failure(Code::WebSocket);
        assert!(strict.after_failure(&refused).is_some());
        assert_eq!(strict.after_failure(&refused.as_refusal()), None);
    }

    #[test]
    fn a_server_with_too_much_to_do_refuses_nobody() {
        let mut strict = retry(|options| options.reconnect.stop_after_refusals = Some(1.0));
        for reason in [3, 0x97] {
            let busy = failure(Code::ConnectRefused).with_reason(reason, None);
            assert!(strict.after_failure(&busy).is_some());
        }
        assert_eq!(strict.after_failure(&failure(Code::ConnectRefused)), None);
    }

    #[test]
    fn credentials_end_it_only_where_the_app_says_that_they_are_final() {
        let mut retry = retry(|_| {});
        assert!(retry.after_failure(&failure(Code::Credentials)).is_some());
        let last = failure(Code::Credentials).for_good();
        assert_eq!(retry.after_failure(&last), None);
    }

    #[test]
    fn the_third_early_cut_in_a_row_gets_the_hint_of_a_duplicate_client_id() {
        let mut retry = retry(|_| {});
        let lost = || failure(Code::ConnectionLost);
        let mut explain = |lived, silent| {
            let explained = retry.explain(lost(), lived, silent);
            explained.hint().to_owned()
        };
        let plain = lost().hint().to_owned();
        assert_eq!(explain(SHORT, true), plain);
        assert_eq!(explain(SHORT, true), plain);
        assert_eq!(explain(SHORT, true), DUPLICATE_HINT);
        assert_eq!(explain(SHORT, false), plain);
        assert_eq!(explain(SHORT, true), plain);
    }
}
