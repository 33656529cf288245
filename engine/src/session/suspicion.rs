//! Which operation the server keeps closing the connection for.

use std::time::Duration;

use tokio::time::Instant;

use super::Token;

/// Closes in a row that arouse suspicion.
const AROUSED: u32 = 2;
/// Closes over one operation alone that convict it.
const CONVICTED: u32 = 3;
/// A close later than this after the operation was written is not about it.
const SOON: Duration = Duration::from_secs(5);

/// IoT Core answers what a policy denies by closing the connection, in MQTT 3.1.1 without a word. Sent again after each
/// reconnect it would be closed for ever; a bad link looks alike, and nobody may be blamed for that.
///
/// Suspicion begins after two closes in a row by the server on links that carried an unacknowledged operation and
/// completed none. From then on operations go out one at a time, until one is completed. One that was out alone at
/// three such closes, each soon after it was written, is to blame.
pub(super) struct Suspicion {
    closes: u32,
    suspect: Option<(Suspect, u32)>,
    /// An operation was completed on this link.
    completed: bool,
    /// When the latest operation was written.
    written: Option<Instant>,
    /// When the latest message was written that nobody acknowledges: it may be what the server closes for.
    qos0_written: Option<Instant>,
}

/// What may be to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Suspect {
    Publish(Token),
    Request(Token),
    /// A subscription that is made again.
    Filter(Box<str>),
}

impl Suspicion {
    pub(super) fn new() -> Self {
        Self {
            closes: 0,
            suspect: None,
            completed: false,
            written: None,
            qos0_written: None,
        }
    }

    /// Whether operations go out one at a time.
    pub(super) fn is_aroused(&self) -> bool {
        self.closes >= AROUSED
    }

    /// A new link.
    pub(super) fn linked(&mut self) {
        self.completed = false;
        self.written = None;
        self.qos0_written = None;
    }

    pub(super) fn wrote(&mut self, now: Instant) {
        self.written = Some(now);
    }

    pub(super) fn wrote_qos0(&mut self, now: Instant) {
        self.qos0_written = Some(now);
    }

    /// An acknowledgement that completes something clears it. One that does not is given anew on each link, to a
    /// subscription that is made again or to the first packet of a large request, and would hide for ever what stands
    /// behind it.
    pub(super) fn acknowledged(&mut self) {
        self.completed = true;
        self.closes = 0;
        self.suspect = None;
    }

    /// The operation has ended otherwise; its number may be used again.
    pub(super) fn forget(&mut self, token: Token) {
        let ended = |suspect: &Suspect| match suspect {
            Suspect::Publish(other) | Suspect::Request(other) => *other == token,
            Suspect::Filter(_) => false,
        };
        if self
            .suspect
            .as_ref()
            .is_some_and(|(suspect, _)| ended(suspect))
        {
            self.suspect = None;
        }
    }

    /// The link is gone. `closed_by_server`: by FIN, reset or DISCONNECT 0x87. `outstanding` operations had no outcome;
    /// `alone` is what was out if it was the only one. Gives what is to blame.
    pub(super) fn lost(
        &mut self,
        closed_by_server: bool,
        outstanding: usize,
        alone: Option<Suspect>,
        now: Instant,
    ) -> Option<Suspect> {
        if !closed_by_server || outstanding == 0 || self.completed {
            if !self.is_aroused() {
                self.closes = 0;
            }
            return None;
        }
        let was_aroused = self.is_aroused();
        self.closes = self.closes.saturating_add(1);
        let soon = |written: Option<Instant>| written.is_some_and(|written| now - written <= SOON);
        let suspect =
            alone.filter(|_| was_aroused && soon(self.written) && !soon(self.qos0_written))?;
        let count = match self.suspect.take() {
            Some((earlier, count)) if earlier == suspect => count + 1,
            _ => 1,
        };
        if count >= CONVICTED {
            return Some(suspect);
        }
        self.suspect = Some((suspect, count));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLISH: Suspect = Suspect::Publish(7);

    struct Links {
        suspicion: Suspicion,
        now: Instant,
    }

    impl Links {
        fn new() -> Self {
            Self {
                suspicion: Suspicion::new(),
                now: Instant::now(),
            }
        }

        /// A link on which `suspect` is written alone, and which the server closes after so many milliseconds.
        fn closed_over(&mut self, suspect: &Suspect, after: u64) -> Option<Suspect> {
            self.suspicion.linked();
            self.suspicion.wrote(self.now);
            self.now += Duration::from_millis(after);
            self.suspicion
                .lost(true, 1, Some(suspect.clone()), self.now)
        }
    }

    #[test]
    fn the_third_close_over_one_operation_alone_convicts_it_once_suspicion_is_aroused() {
        let mut links = Links::new();
        let verdicts: Vec<_> = (0..5).map(|_| links.closed_over(&PUBLISH, 10)).collect();
        assert_eq!(verdicts, [None, None, None, None, Some(PUBLISH)]);
        assert!(links.suspicion.is_aroused(), "until something succeeds");
    }

    #[test]
    fn two_closes_arouse_it_and_one_does_not() {
        let mut links = Links::new();
        links.closed_over(&PUBLISH, 10);
        assert!(!links.suspicion.is_aroused());
        links.closed_over(&PUBLISH, 10);
        assert!(links.suspicion.is_aroused());
    }

    #[test]
    fn a_close_with_several_outstanding_arouses_and_blames_nobody() {
        let mut links = Links::new();
        for _ in 0..10 {
            links.suspicion.linked();
            links.suspicion.wrote(links.now);
            assert_eq!(links.suspicion.lost(true, 2, None, links.now), None);
        }
        assert!(links.suspicion.is_aroused());
    }

    #[test]
    fn an_acknowledgement_clears_it() {
        let mut links = Links::new();
        for _ in 0..4 {
            links.closed_over(&PUBLISH, 10);
        }
        links.suspicion.acknowledged();
        assert!(!links.suspicion.is_aroused());
        let verdicts: Vec<_> = (0..5).map(|_| links.closed_over(&PUBLISH, 10)).collect();
        assert_eq!(verdicts, [None, None, None, None, Some(PUBLISH)]);
    }

    #[test]
    fn a_link_that_completed_something_does_not_count() {
        let mut links = Links::new();
        for _ in 0..10 {
            links.suspicion.linked();
            links.suspicion.wrote(links.now);
            links.suspicion.acknowledged();
            let verdict = links.suspicion.lost(true, 1, Some(PUBLISH), links.now);
            assert_eq!(verdict, None);
            assert!(!links.suspicion.is_aroused());
        }
    }

    #[test]
    fn an_end_that_is_no_close_by_the_server_breaks_the_row() {
        let mut links = Links::new();
        for _ in 0..10 {
            links.closed_over(&PUBLISH, 10);
            links.suspicion.linked();
            links.suspicion.wrote(links.now);
            let verdict = links.suspicion.lost(false, 1, Some(PUBLISH), links.now);
            assert_eq!(verdict, None);
            assert!(!links.suspicion.is_aroused());
        }
    }

    #[test]
    fn a_close_on_a_link_without_operations_breaks_the_row() {
        let mut links = Links::new();
        for _ in 0..10 {
            links.closed_over(&PUBLISH, 10);
            links.suspicion.linked();
            assert_eq!(links.suspicion.lost(true, 0, None, links.now), None);
            assert!(!links.suspicion.is_aroused());
        }
    }

    #[test]
    fn other_ends_do_not_end_what_is_aroused_and_add_nothing_to_it() {
        let mut links = Links::new();
        for _ in 0..4 {
            links.closed_over(&PUBLISH, 10);
        }
        for _ in 0..10 {
            links.suspicion.linked();
            links.suspicion.wrote(links.now);
            let verdict = links.suspicion.lost(false, 1, Some(PUBLISH), links.now);
            assert_eq!(verdict, None);
            assert!(links.suspicion.is_aroused());
        }
        assert_eq!(links.closed_over(&PUBLISH, 10), Some(PUBLISH));
    }

    #[test]
    fn a_close_long_after_the_operation_was_written_is_not_about_it() {
        let mut links = Links::new();
        for _ in 0..10 {
            assert_eq!(links.closed_over(&PUBLISH, 5_001), None);
        }
        for _ in 0..2 {
            assert_eq!(links.closed_over(&PUBLISH, 5_000), None);
        }
        assert_eq!(links.closed_over(&PUBLISH, 5_000), Some(PUBLISH));
    }

    #[test]
    fn a_message_without_acknowledgement_may_be_to_blame_instead() {
        let mut links = Links::new();
        for _ in 0..10 {
            links.suspicion.linked();
            links.suspicion.wrote_qos0(links.now);
            links.suspicion.wrote(links.now);
            let verdict = links.suspicion.lost(true, 1, Some(PUBLISH), links.now);
            assert_eq!(verdict, None);
        }
    }

    #[test]
    fn closes_over_different_operations_do_not_add_up() {
        let mut links = Links::new();
        for token in 0..20 {
            let verdict = links.closed_over(&Suspect::Publish(token % 2), 10);
            assert_eq!(verdict, None);
        }
    }

    #[test]
    fn a_number_that_is_used_again_begins_without_a_past() {
        let mut links = Links::new();
        for _ in 0..4 {
            links.closed_over(&PUBLISH, 10);
        }
        links.suspicion.forget(7);
        assert_eq!(links.closed_over(&PUBLISH, 10), None);
    }
}
