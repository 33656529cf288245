//! When to ping, and when to give the server up.

use std::time::Duration;

use tokio::time::Instant;

/// The keep-alive of one link (MQTT 5 section 3.1.2.10).
///
/// A ping is due when nothing was sent for the interval, as the server demands, and also when nothing was received
/// for it: a link that only sends would otherwise never notice that nobody listens.
pub(super) struct KeepAlive {
    /// `None` turns pings off.
    interval: Option<Duration>,
    timeout: Duration,
    sent: Instant,
    received: Instant,
    ping: Option<Instant>,
    /// Nothing is read, so that no answer can be seen.
    deaf: bool,
}

/// What a deadline asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Ping,
    /// The ping was not answered in time.
    Dead,
}

impl KeepAlive {
    pub(super) fn new(seconds: u16, timeout: Duration, now: Instant) -> Self {
        Self {
            interval: (seconds > 0).then(|| Duration::from_secs(u64::from(seconds))),
            timeout,
            sent: now,
            received: now,
            ping: None,
            deaf: false,
        }
    }

    pub(super) fn sent(&mut self, now: Instant) {
        self.sent = now;
    }

    pub(super) fn received(&mut self, now: Instant) {
        self.received = now;
    }

    /// PINGREQ was written.
    pub(super) fn pinged(&mut self, now: Instant) {
        self.ping = Some(now);
    }

    /// PINGRESP came: the round trip, if it was asked for.
    pub(super) fn answered(&mut self, now: Instant) -> Option<Duration> {
        self.ping.take().map(|ping| now - ping)
    }

    /// Reading has stopped or gone on. After a pause everything counts as if it had just been sent and received.
    pub(super) fn set_deaf(&mut self, deaf: bool, now: Instant) {
        if self.deaf && !deaf {
            self.received = now;
            self.ping = self.ping.map(|_| now);
        }
        self.deaf = deaf;
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let interval = self.interval?;
        Some(match self.ping {
            _ if self.deaf => self.sent + interval,
            // On a slow network the answer comes behind much else, and that shows just as well that someone is there.
            Some(ping) => ping.max(self.received) + self.timeout,
            None => self.sent.min(self.received) + interval,
        })
    }

    pub(super) fn due(&self, now: Instant) -> Due {
        match self.deadline() {
            Some(deadline) if deadline <= now => match self.ping {
                Some(_) if !self.deaf => Due::Dead,
                _ => Due::Ping,
            },
            _ => Due::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn keep_alive(start: Instant) -> KeepAlive {
        KeepAlive::new(60, seconds(10), start)
    }

    #[test]
    fn an_idle_link_pings_after_the_interval_and_dies_without_an_answer() {
        let start = Instant::now();
        let mut keep_alive = keep_alive(start);
        assert_eq!(keep_alive.due(start + seconds(59)), Due::Nothing);
        assert_eq!(keep_alive.due(start + seconds(60)), Due::Ping);
        keep_alive.pinged(start + seconds(60));
        assert_eq!(keep_alive.due(start + seconds(69)), Due::Nothing);
        assert_eq!(keep_alive.due(start + seconds(70)), Due::Dead);
    }

    #[test]
    fn a_link_that_only_sends_pings_too() {
        let start = Instant::now();
        let mut keep_alive = keep_alive(start);
        keep_alive.sent(start + seconds(59));
        assert_eq!(keep_alive.due(start + seconds(60)), Due::Ping);
    }

    #[test]
    fn a_link_that_only_receives_pings_too() {
        let start = Instant::now();
        let mut keep_alive = keep_alive(start);
        keep_alive.received(start + seconds(59));
        assert_eq!(keep_alive.due(start + seconds(60)), Due::Ping);
    }

    #[test]
    fn an_answer_measures_the_round_trip() {
        let start = Instant::now();
        let mut keep_alive = keep_alive(start);
        keep_alive.pinged(start);
        assert_eq!(keep_alive.answered(start + seconds(2)), Some(seconds(2)));
        assert_eq!(keep_alive.answered(start + seconds(3)), None);
    }

    #[test]
    fn zero_turns_pings_off() {
        assert_eq!(
            KeepAlive::new(0, seconds(10), Instant::now()).deadline(),
            None
        );
    }

    #[test]
    fn while_nothing_is_read_pings_leave_and_no_answer_is_missed() {
        let start = Instant::now();
        let mut keep_alive = keep_alive(start);
        keep_alive.pinged(start);
        keep_alive.set_deaf(true, start + seconds(1));
        assert_eq!(keep_alive.due(start + seconds(60)), Due::Ping);
        keep_alive.sent(start + seconds(60));
        keep_alive.pinged(start + seconds(60));
        assert_eq!(keep_alive.due(start + seconds(100)), Due::Nothing);
        keep_alive.set_deaf(false, start + seconds(100));
        assert_eq!(keep_alive.due(start + seconds(109)), Due::Nothing);
        assert_eq!(keep_alive.due(start + seconds(110)), Due::Dead);
    }

    #[test]
    fn an_answer_behind_much_else_is_waited_for_while_bytes_arrive() {
        let start = Instant::now();
        let mut keep_alive = keep_alive(start);
        keep_alive.pinged(start + seconds(60));
        keep_alive.received(start + seconds(69));
        assert_eq!(keep_alive.due(start + seconds(78)), Due::Nothing);
        assert_eq!(keep_alive.due(start + seconds(79)), Due::Dead);
    }
}
