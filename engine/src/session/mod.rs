//! The protocol state of a connection, without a socket and without a clock but the `now` it is given.
//!
//! A session outlives its links. [`Session::connected`] begins a link, [`Session::lost`] ends it; in between the link
//! calls [`Session::receive`], [`Session::write`] and [`Session::elapsed`]. The host's commands are taken at any time.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::BytesMut;
use tokio::time::Instant;

mod aliases;
mod clock;
mod deliveries;
mod in_flight;
mod intake;
mod keep_alive;
mod links;
mod operation;
mod pace;
mod receive;
mod renewal;
mod request;
mod send;
mod subscriptions;
mod suspicion;
#[cfg(test)]
mod tests;

pub use receive::server_disconnect;
pub use renewal::Expiry;
pub use subscriptions::{FilterId, filter_matches};

use self::{
    deliveries::Deliveries,
    in_flight::{InFlight, Unacknowledged},
    keep_alive::KeepAlive,
    operation::{Operation, Publish},
    pace::Pace,
    renewal::Renewal,
    request::Request,
    subscriptions::Subscriptions,
    suspicion::Suspicion,
};
use crate::{
    authorizer::Login,
    error::{Failure, Result},
    events::Events,
    options::{Level, Options},
    shared::{Counters, Number, Shared},
    wire::{OutboundPublish, Version, encode_disconnect},
};

/// The number under which the host knows an operation.
pub type Token = u32;

/// What the host asks for. Everything in it has been checked and accepted.
pub enum Command {
    Publish {
        token: Token,
        packet: OutboundPublish,
        /// From when on it is not worth sending.
        expires: Option<Instant>,
    },
    Subscribe {
        token: Token,
        filters: Vec<Filter>,
    },
    Unsubscribe {
        token: Token,
        filters: Vec<Box<str>>,
    },
    /// Withdraws an operation that is not written on this link.
    Withdraw {
        token: Token,
    },
    /// The app has consumed `count` messages, the first of which has a number with this lower half.
    Consumed {
        from: u32,
        count: u32,
    },
    /// The host's answer to [`Events::credentials`].
    Credentials {
        attempt: u32,
        answer: Result<Answer>,
    },
    /// Ends the connection once everything accepted is settled, or after `timeout`.
    Disconnect {
        timeout: Duration,
    },
}

/// What one attempt logs in with.
pub struct Answer {
    pub login: Arc<Login>,
    pub expiry: Option<Expiry>,
}

/// One filter of a SUBSCRIBE.
pub struct Filter {
    pub filter: Box<str>,
    pub id: FilterId,
    pub qos: u8,
}

/// What a packet asks of the link.
#[derive(Debug, PartialEq, Eq)]
pub enum Flow {
    Continue,
    /// Out of credit: the packet was not taken, and is to be offered again once [`Session::wants_to_read`].
    Stop,
}

/// Why the session wants its link to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The host asked for the end, and nothing is left to wait for.
    Done,
    /// A link with newer credentials is to follow.
    Renewing,
}

pub struct Session {
    options: Arc<Options>,
    shared: Arc<Shared>,
    counters: Counters,
    /// Of the latest link.
    login: Option<Arc<Login>>,
    /// Whether there is a link behind its CONNACK.
    online: bool,
    /// Whether there is none for the moment because it is renewed.
    renewing: bool,
    /// Whether the server has accepted a connection before: a session of ours may be there.
    established: bool,
    /// What the latest link can carry.
    granted: Granted,
    /// Accepted and not written on this link, in order.
    queue: VecDeque<Operation>,
    /// No operation in `queue` is worth dropping for its age before this.
    next_expiry: Option<Instant>,
    /// SUBSCRIBE and UNSUBSCRIBE of which something is written: one operation may take several packets.
    requests: HashMap<Token, Request>,
    in_flight: InFlight,
    /// Subscriptions to be made again, because the server has lost them.
    restore: VecDeque<Box<str>>,
    /// QoS 0 publishes in the link's buffer: done when so many bytes in all have left.
    flushing: VecDeque<(u64, Token)>,
    /// Bytes handed to the network so far.
    sent: u64,
    /// How many QoS 1 publishes may be unacknowledged at a time.
    window: usize,
    /// What of the window is open: all of it on a first link. Behind a loss it opens with each acknowledgement, so that
    /// links that last for a few kilobytes only get something done.
    opened: usize,
    pace: Pace,
    suspicion: Suspicion,
    subscriptions: Subscriptions,
    deliveries: Deliveries,
    inbound_aliases: aliases::Inbound,
    outbound_aliases: aliases::Outbound,
    keep_alive: KeepAlive,
    renewal: Renewal,
    /// The host knows that a renewal is not free of loss.
    warned_of_loss: bool,
    /// Number of the latest attempt.
    attempt: u32,
    /// The attempt for which the host was asked for credentials, until it has answered.
    asked: Option<u32>,
    answer: Option<Result<Answer>>,
    disconnect_by: Option<Instant>,
    matching: Vec<FilterId>,
}

/// What CONNACK granted that a queued operation may exceed.
struct Granted {
    session_expiry_seconds: u32,
    maximum_packet_size: usize,
    maximum_qos: u8,
    retain_available: bool,
}

impl Session {
    pub fn new(options: Arc<Options>, shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        Self {
            counters: Counters::default(),
            login: None,
            online: false,
            renewing: false,
            established: false,
            granted: Granted {
                session_expiry_seconds: options.session_expiry_seconds,
                maximum_packet_size: usize::MAX,
                maximum_qos: 1,
                retain_available: true,
            },
            queue: VecDeque::new(),
            next_expiry: None,
            requests: HashMap::new(),
            in_flight: InFlight::new(options.ack_timeout),
            restore: VecDeque::new(),
            flushing: VecDeque::new(),
            sent: 0,
            window: 0,
            opened: 0,
            pace: Pace::new(
                options.limits.publishes_per_second,
                options.limits.bytes_per_second,
                now,
            ),
            suspicion: Suspicion::new(),
            subscriptions: Subscriptions::new(options.limits.parent_level_matches),
            deliveries: Deliveries::new(options.receive),
            inbound_aliases: aliases::Inbound::default(),
            outbound_aliases: aliases::Outbound::default(),
            keep_alive: KeepAlive::new(0, options.ping_timeout, now),
            renewal: Renewal::new(options.renew_after),
            warned_of_loss: false,
            attempt: 0,
            asked: None,
            answer: None,
            disconnect_by: None,
            matching: Vec::new(),
            options,
            shared,
        }
    }

    pub fn version(&self) -> Version {
        self.options.version
    }

    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Whether the host wants records of this level.
    pub fn logs(&self, level: Level) -> bool {
        self.options.log_level >= Some(level)
    }

    /// Begins an attempt, and gives its number, counted from 1 through the life of the connection.
    pub fn begin_attempt(&mut self) -> u32 {
        self.attempt += 1;
        self.attempt
    }

    /// The number of the latest attempt.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Asks the host for the credentials of the attempt with this number.
    pub fn ask(&mut self, attempt: u32, last: Option<&Failure>, events: &mut impl Events) {
        self.asked = Some(attempt);
        self.answer = None;
        events.credentials(attempt, last);
    }

    /// The host's answer, if it has come.
    pub fn take_answer(&mut self) -> Option<Result<Answer>> {
        self.answer.take()
    }

    /// Nobody waits for the host's credentials any more: what it answers now is too late.
    pub fn stop_asking(&mut self, events: &mut impl Events) {
        self.answer = None;
        if let Some(attempt) = self.asked.take() {
            events.credentials_expired(attempt);
        }
    }

    /// Whether an operation is written on this link and not acknowledged.
    pub fn has_outstanding(&self) -> bool {
        self.in_flight.outstanding() > 0
    }

    /// Whether there is no link for the moment because it is renewed.
    pub fn is_renewing(&self) -> bool {
        self.renewing
    }

    /// Whether the host has asked for the end.
    pub fn is_disconnecting(&self) -> bool {
        self.disconnect_by.is_some()
    }

    /// Whether the time is over that the host gave what was accepted.
    pub fn is_disconnect_due(&self, now: Instant) -> bool {
        self.disconnect_by.is_some_and(|by| by <= now)
    }

    /// Whether the link is to end now, and why.
    pub fn ending(&self, now: Instant) -> Option<Ending> {
        let settled = || self.in_flight.outstanding() == 0 && self.flushing.is_empty();
        if let Some(by) = self.disconnect_by {
            let done = self.queue.is_empty() && self.in_flight.waiting() == 0 && settled();
            return (done || by <= now).then_some(Ending::Done);
        }
        self.renewal
            .is_due(settled(), now)
            .then_some(Ending::Renewing)
    }

    /// Writes the DISCONNECT of a graceful end.
    pub fn disconnect(&self, ending: Ending, out: &mut BytesMut) {
        // A session that was to start from nothing leaves nothing behind.
        let ends_session = ending == Ending::Done && self.options.clean_session;
        encode_disconnect(self.options.version, 0, ends_session.then_some(0), out);
    }

    /// Whether a session of ours outlives its link at the server.
    pub fn is_kept(&self) -> bool {
        match self.options.version {
            Version::V311 => !self.options.clean_session,
            Version::V5 => self.granted.session_expiry_seconds > 0,
        }
    }

    /// Settles everything that is left with `failure`; gives the number of operations.
    pub fn close(&mut self, failure: &Failure, now: Instant, events: &mut impl Events) -> usize {
        self.stop_asking(events);
        let mut settled = 0;
        for (_, token) in std::mem::take(&mut self.flushing) {
            events.failed(token, failure);
            settled += 1;
        }
        for unacknowledged in self.in_flight.drain() {
            if let Unacknowledged::Publish(Publish { token, packet, .. }) = unacknowledged {
                self.shared.budget.release(packet.len());
                events.failed(token, failure);
                settled += 1;
            }
        }
        for (token, request) in std::mem::take(&mut self.requests) {
            self.shared.budget.release(request.size());
            events.failed(token, failure);
            settled += 1;
        }
        for operation in std::mem::take(&mut self.queue) {
            if operation.is_whole() {
                self.shared.budget.release(operation.size());
                events.failed(operation.token(), failure);
                settled += 1;
            }
        }
        self.show(now);
        settled
    }

    /// Shows the figures to the host's thread.
    pub fn show(&mut self, now: Instant) {
        self.counters
            .set(Number::InFlight, self.in_flight.waiting() as u64);
        self.counters.set(Number::Queued, self.queue.len() as u64);
        let paced = self.pace.held_back(now).as_millis() as u64;
        self.counters.set(Number::Paced, paced);
        self.shared.show(&self.counters);
    }

    /// Whether an operation is written and has no outcome yet: its acknowledgement is still to come, or its bytes have
    /// not left because the server may not read before its own are read.
    fn is_waiting(&self) -> bool {
        self.in_flight.outstanding() > 0 || !self.flushing.is_empty()
    }

    /// Whether nothing is to be written, again or for the first time. What earlier links left counts as waiting.
    fn has_nothing_to_write(&self) -> bool {
        self.queue.is_empty() && self.restore.is_empty()
    }

    fn filters_per_packet(&self) -> usize {
        self.options.limits.filters_per_subscribe
    }
}
