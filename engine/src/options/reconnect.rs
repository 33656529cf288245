//! How a connection comes to be, and what follows when it is lost.

use std::time::Duration;

use super::{choice, integer, millis};
use crate::error::{Failure, Result};

/// What a host asks for, nothing checked yet.
#[derive(Default)]
pub struct ReconnectOptions {
    /// `reconnect: false`
    pub never: bool,
    pub min_delay_ms: Option<f64>,
    pub max_delay_ms: Option<f64>,
    pub stable_after_ms: Option<f64>,
    pub spread_ms: Option<f64>,
    pub max_attempts: Option<f64>,
    pub stop_after_refusals: Option<f64>,
    pub renew_after_seconds: Option<f64>,
}

/// When attempts follow each other, and when none follows any more.
#[derive(Clone, Copy, Debug)]
pub struct Reconnect {
    /// Whether a link that was lost is followed by another.
    pub after_loss: bool,
    pub min_delay: Duration,
    /// The cap, below which every delay is drawn.
    pub max_delay: Duration,
    /// A link that has lived so long was a success.
    pub stable_after: Duration,
    /// Bound of the first delay after such a link.
    pub spread: Duration,
    /// Attempts in a row that lead to no stable link.
    pub max_attempts: Option<u32>,
    /// Refused logins and certificates in a row.
    pub stop_after_refusals: Option<u32>,
}

/// What the first attempt means to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialConnect {
    /// Its failure is the end.
    Fail,
    /// It is made again until it succeeds.
    Retry,
}

impl ReconnectOptions {
    pub(super) fn validate(&self) -> Result<Reconnect> {
        let delay = |name: &str, given: Option<f64>, default: u64| {
            integer(name, given, 0..=2_147_483_647, default).map(Duration::from_millis)
        };
        let count = |name: &str, given: Option<f64>| {
            given
                .map(|given| integer(name, Some(given), 1..=1_000_000_000, 1))
                .transpose()
                .map(|count| count.map(|count| count as u32))
        };
        // A bound that was not asked for gives way to one that was.
        let default_min = match self.max_delay_ms {
            Some(most) if (1.0..1_000.0).contains(&most) => most as u64,
            _ => 1_000,
        };
        let min_delay = delay("reconnect.minDelayMs", self.min_delay_ms, default_min)?;
        let default_cap = 120_000.max(min_delay.as_millis() as u64);
        let max_delay = millis("reconnect.maxDelayMs", self.max_delay_ms, default_cap)?;
        if max_delay < min_delay {
            return Err(Failure::option(format!(
                "reconnect.maxDelayMs must not be below minDelayMs; got {} and {}",
                max_delay.as_millis(),
                min_delay.as_millis()
            )));
        }
        Ok(Reconnect {
            after_loss: !self.never,
            min_delay,
            max_delay,
            stable_after: delay("reconnect.stableAfterMs", self.stable_after_ms, 30_000)?,
            spread: delay("reconnect.spreadMs", self.spread_ms, 2_000)?,
            max_attempts: count("reconnect.maxAttempts", self.max_attempts)?,
            stop_after_refusals: count("reconnect.stopAfterRefusals", self.stop_after_refusals)?,
        })
    }

    pub(super) fn renew_after(&self) -> Result<Option<Duration>> {
        let seconds = |given| integer("reconnect.renewAfterSeconds", Some(given), 75..=604_800, 75);
        let given = self.renew_after_seconds.map(seconds).transpose()?;
        Ok(given.map(Duration::from_secs))
    }
}

impl InitialConnect {
    pub(super) fn parse(given: Option<&str>) -> Result<Self> {
        match given {
            None | Some("fail") => Ok(Self::Fail),
            // To the host they differ, in when it has the connection; not here.
            Some("retry" | "background") => Ok(Self::Retry),
            Some(other) => Err(choice(
                "initialConnect",
                "'fail', 'retry' or 'background'",
                other,
            )),
        }
    }
}
