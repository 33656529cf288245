//! What a connection tells its host.

use std::time::Duration;

use crate::{
    error::Failure,
    options::Level,
    session::{FilterId, Token},
    wire::{PublishProperties, Trace, Version},
};

/// Implemented by each host. Every accepted operation ends in exactly one of `published`, `subscribed`, `refused`,
/// `unsubscribed`, `withdrawn` and `failed`. Calls come from the connection's task, which [`crate::Handle::flush_here`]
/// runs as well, and must not block.
pub trait Events: Send {
    /// CONNACK accepted the connection: the first time, again after [`Self::interrupted`], or, without that in between,
    /// because it was renewed.
    fn connected(&mut self, connected: &Connected);

    /// The connection is lost, and being made again.
    fn interrupted(&mut self, failure: &Failure);

    /// An attempt to connect has ended. With a failure, the next one follows after `next`, if there is one.
    fn attempted(&mut self, number: u32, failure: Option<&Failure>, next: Option<Duration>);

    /// The attempt of this number needs credentials, to be given by [`crate::Handle::credentials`]. `last` is why the
    /// one before it failed.
    fn credentials(&mut self, attempt: u32, last: Option<&Failure>);

    /// Credentials for this attempt are not wanted any more.
    fn credentials_expired(&mut self, attempt: u32);

    /// A message arrived; the host gives credit back by its number once it is consumed.
    fn message(&mut self, message: &Message<'_>);

    /// Takes the oldest QoS 0 message that the app has not seen yet out of the host's buffer, and gives its number.
    fn discard_oldest_qos0(&mut self) -> Option<u64>;

    /// A publish is acknowledged; at QoS 0 its bytes have left (packet id and reason are 0). `words` are the server's own,
    /// here and below.
    fn published(&mut self, token: Token, packet_id: u16, reason: u8, words: Option<&str>);

    /// Every filter is granted: the QoS of each.
    fn subscribed(&mut self, token: Token, packet_id: u16, granted: &[u8], words: Option<&str>);

    /// At least one filter is refused: the code of each, below 0x80 where it is granted.
    fn refused(&mut self, token: Token, codes: &[u8], failure: &Failure);

    /// UNSUBACK came: the code of each filter.
    fn unsubscribed(&mut self, token: Token, packet_id: u16, codes: &[u8], words: Option<&str>);

    /// A filter that was granted is so no more: the server lost it and does not take it again.
    fn subscription_lost(&mut self, filter: FilterId, failure: &Failure);

    /// An operation was cancelled, and will not be sent.
    fn withdrawn(&mut self, token: Token);

    fn failed(&mut self, token: Token, failure: &Failure);

    /// The end: nothing follows. `failure` is `None` after a disconnect that the host asked for.
    fn closed(&mut self, failure: Option<&Failure>, unsettled: usize);

    fn log(&mut self, level: Level, message: &str);

    /// Something looks suspicious in options or credentials: for the log whatever its level is.
    fn warned(&mut self, warning: &str) {
        self.log(Level::Warn, warning);
    }

    /// A packet went or came, at [`Level::Trace`] alone.
    fn traced(&mut self, packet: &Trace) {
        self.log(Level::Trace, &packet.to_string());
    }

    /// The connection's task has said all that it has to say for now.
    fn flush(&mut self);
}

/// What the server granted.
#[derive(Clone, Debug)]
pub struct Connected {
    pub version: Version,
    pub session_present: bool,
    pub keep_alive_seconds: u16,
    pub in_flight: u16,
    pub maximum_packet_size: Option<u32>,
    pub maximum_qos: u8,
    pub retain_available: bool,
    /// MQTT 5 only.
    pub session_expiry_seconds: Option<u32>,
    /// How many topic aliases the server takes.
    pub topic_alias_maximum: u16,
    pub alpn_protocol: Option<String>,
}

/// A message that arrived.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub number: u64,
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub qos: u8,
    pub retain: bool,
    pub dup: bool,
    /// MQTT 5 only.
    pub properties: Option<&'a PublishProperties>,
    /// The filters of the app that match.
    pub filters: &'a [u32],
}
