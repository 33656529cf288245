//! What the host has asked for and nothing was written of on this link.

use tokio::time::Instant;

use super::{Token, request::Request};
use crate::wire::OutboundPublish;

pub(super) enum Operation {
    Publish(Publish),
    Request {
        token: Token,
        request: Request,
    },
    /// One packet of a request that has begun to be written.
    Packet {
        token: Token,
        first: usize,
        count: usize,
    },
}

/// A message on its way out.
pub(super) struct Publish {
    pub(super) token: Token,
    pub(super) packet: OutboundPublish,
    /// From when on it is not worth sending.
    pub(super) expires: Option<Instant>,
    /// The place in the order of what was first written; `None` as long as it was not. It outlives lost sessions, as
    /// that of a request does.
    pub(super) order: Option<u64>,
}

impl Operation {
    pub(super) fn token(&self) -> Token {
        match self {
            Self::Publish(Publish { token, .. })
            | Self::Request { token, .. }
            | Self::Packet { token, .. } => *token,
        }
    }

    /// Whether it can be taken out of the queue without anything else.
    pub(super) fn is_whole(&self) -> bool {
        !matches!(self, Self::Packet { .. })
    }

    /// What it takes of the budget.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Publish(publish) => publish.packet.len(),
            Self::Request { request, .. } => request.size(),
            Self::Packet { .. } => 0,
        }
    }

    pub(super) fn expires(&self) -> Option<Instant> {
        match self {
            Self::Publish(publish) => publish.expires,
            _ => None,
        }
    }
}

impl Publish {
    /// Writes what is left of its life into it (MQTT 5 section 3.3.2.3.3).
    pub(super) fn age(&mut self, now: Instant) {
        if let Some(expires) = self.expires {
            let left = expires.saturating_duration_since(now).as_secs_f64().ceil();
            self.packet.set_message_expiry((left as u32).max(1));
        }
    }
}
