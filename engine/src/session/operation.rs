//! What the host has asked for and nothing was written of.

use super::{Token, request::Request};
use crate::wire::OutboundPublish;

pub(super) enum Operation {
    Publish {
        token: Token,
        packet: OutboundPublish,
    },
    Request {
        token: Token,
        request: Request,
    },
}

impl Operation {
    pub(super) fn token(&self) -> Token {
        match self {
            Self::Publish { token, .. } | Self::Request { token, .. } => *token,
        }
    }

    /// What it takes of the budget.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Publish { packet, .. } => packet.len(),
            Self::Request { request, .. } => request.size(),
        }
    }
}
