//! How a session goes from one link to the next.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::time::Instant;

use super::{
    Expiry, Granted, Session, aliases, in_flight::Unacknowledged, keep_alive::KeepAlive,
    operation::Operation, request::Kind, suspicion::Suspect,
};
use crate::{
    authorizer::Login,
    error::{Code, Failure, Result, Stage},
    events::{Connected, Events},
    limits::quoted,
    options::Level,
    wire::{ConnAck, Connect, Version, encode_connect},
};

/// How many publishes go out behind a loss before the first is acknowledged.
const REOPENED: usize = 32;

impl Session {
    /// The CONNECT of a new link.
    pub fn connect(&mut self, login: &Arc<Login>) -> Result<BytesMut> {
        self.login = Some(login.clone());
        let options = &self.options;
        let mut out = BytesMut::new();
        encode_connect(
            &Connect {
                version: options.version,
                client_id: &options.client_id,
                clean_start: self.starts_clean(),
                keep_alive_seconds: options.keep_alive_seconds,
                user_name: login.user_name.as_deref(),
                password: login.password.as_deref(),
                will: options.will.as_deref(),
                session_expiry_seconds: Some(options.session_expiry_seconds),
                receive_maximum: Some(options.receive.messages as u16),
                maximum_packet_size: Some(u32::try_from(options.receive.bytes).unwrap_or(u32::MAX)),
                topic_alias_maximum: Some(aliases::INBOUND_MAXIMUM),
                user_properties: &options.user_properties,
            },
            &mut out,
        )?;
        Ok(out)
    }

    /// CONNACK accepted the connection: a link begins.
    pub fn connected(
        &mut self,
        connack: &ConnAck,
        alpn_protocol: Option<String>,
        expiry: Option<Expiry>,
        now: Instant,
    ) -> Connected {
        let options = &self.options;
        let in_flight = options.limits.in_flight.min(connack.receive_maximum);
        let keep_alive_seconds = connack
            .server_keep_alive
            .unwrap_or(options.keep_alive_seconds);
        let session_expiry_seconds = connack
            .session_expiry
            .unwrap_or(options.session_expiry_seconds);
        let connected = Connected {
            version: options.version,
            session_present: connack.session_present,
            keep_alive_seconds,
            in_flight,
            maximum_packet_size: connack.maximum_packet_size,
            maximum_qos: connack.maximum_qos,
            retain_available: connack.retain_available,
            session_expiry_seconds: (options.version == Version::V5)
                .then_some(session_expiry_seconds),
            topic_alias_maximum: connack.topic_alias_maximum,
            alpn_protocol,
        };
        self.window = usize::from(in_flight);
        self.opened = if self.established {
            REOPENED.min(self.window)
        } else {
            self.window
        };
        self.keep_alive = KeepAlive::new(keep_alive_seconds, options.ping_timeout, now);
        self.outbound_aliases = aliases::Outbound::new(if options.topic_aliases {
            connack.topic_alias_maximum
        } else {
            0
        });
        self.granted = Granted {
            session_expiry_seconds,
            maximum_packet_size: connack
                .maximum_packet_size
                .map_or(usize::MAX, |size| size as usize),
            maximum_qos: connack.maximum_qos,
            retain_available: connack.retain_available,
        };
        self.shared.grant(connack);
        self.suspicion.linked();
        self.renewal.linked(expiry, fastrand::f64(), now);
        self.resume(connack.session_present);
        self.established = true;
        self.online = true;
        self.renewing = false;
        connected
    }

    /// The link is gone. `closed_by_server`: by FIN, reset or DISCONNECT 0x87.
    pub fn lost(
        &mut self,
        failure: &Failure,
        closed_by_server: bool,
        now: Instant,
        events: &mut impl Events,
    ) {
        self.online = false;
        self.renewal.unlinked();
        self.stop_asking(events);
        self.pace.release(now);
        self.keep_alive = KeepAlive::new(0, self.options.ping_timeout, now);
        self.inbound_aliases = aliases::Inbound::default();
        self.outbound_aliases = aliases::Outbound::default();
        self.deliveries.unlink();
        for (_, token) in std::mem::take(&mut self.flushing) {
            events.failed(token, failure);
        }
        let alone = self.in_flight.sole().and_then(suspect);
        let outstanding = self.in_flight.outstanding();
        let convicted = self
            .suspicion
            .lost(closed_by_server, outstanding, alone, now);
        for other in self.in_flight.suspend().into_iter().rev() {
            if let Unacknowledged::Restore(filters) = other {
                for filter in filters.into_iter().rev() {
                    self.restore.push_front(filter);
                }
            }
        }
        self.queue.retain(Operation::is_whole);
        for request in self.requests.values_mut() {
            request.restart();
        }
        if let Some(convicted) = convicted {
            self.blame(convicted, failure, events);
        }
        if !self.takes_qos0() {
            self.reject_qos0(events);
        }
        self.show(now);
    }

    /// The link was ended in good order, and the next one follows at once: to the host there is a connection all the time.
    pub fn renewing(&mut self, now: Instant, events: &mut impl Events) {
        self.renewing = true;
        let message = "the connection was ended to be renewed";
        let over = Failure::new(Code::ConnectionLost, Stage::Session, message);
        self.lost(&over, false, now, events);
    }

    /// What the server owes an answer, the oldest of it: the packet, and what a policy has to allow for it.
    pub fn unanswered(&self) -> Option<(String, String)> {
        match self.in_flight.oldest_outstanding()? {
            Unacknowledged::Publish(publish) => {
                let topic = publish.packet.topic();
                let retained = if publish.packet.retain() {
                    " and iot:RetainPublish"
                } else {
                    ""
                };
                Some((
                    format!("PUBLISH to {}", quoted(topic)),
                    format!("iot:Publish{retained} on topic/{topic}"),
                ))
            }
            Unacknowledged::Request { token, .. } => {
                let request = self.requests.get(token)?;
                let filter = request.filter(0);
                (request.kind() == Kind::Subscribe).then(|| of_subscribe(filter))
            }
            Unacknowledged::Restore(filters) => filters.first().map(|filter| of_subscribe(filter)),
            Unacknowledged::Abandoned { .. } => None,
        }
    }

    /// The link that was to follow a renewal does not come at once.
    pub fn interrupted(&mut self, events: &mut impl Events) {
        self.renewing = false;
        if !self.takes_qos0() {
            self.reject_qos0(events);
        }
    }

    /// Whether CONNECT starts from nothing (Clean Start; Clean Session in MQTT 3.1.1).
    fn starts_clean(&self) -> bool {
        let resumes = match self.options.version {
            // A session that starts clean ends with its link.
            Version::V311 => false,
            Version::V5 => self.established,
        };
        self.options.clean_session && !resumes
    }

    /// Puts in order what is to be written on a new link: with the session kept, publishes go first, under their ids;
    /// without it, subscriptions are made again, and everything unfinished is asked for anew.
    fn resume(&mut self, session_present: bool) {
        let mut anew: Vec<(u64, Operation)> = self
            .requests
            .drain()
            .map(|(token, request)| {
                let order = request.order.unwrap_or_default();
                (order, Operation::Request { token, request })
            })
            .collect();
        if !session_present {
            let publishes = self.in_flight.take_publishes();
            anew.extend(
                publishes
                    .into_iter()
                    .map(|(order, publish)| (order, Operation::Publish(publish))),
            );
            self.restore = self.subscriptions.granted().into();
        }
        anew.sort_unstable_by_key(|(order, _)| *order);
        for (_, operation) in anew.into_iter().rev() {
            self.note_expiry(operation.expires());
            self.queue.push_front(operation);
        }
    }

    /// What the server keeps closing the connection for ends here.
    fn blame(&mut self, convicted: Suspect, last: &Failure, events: &mut impl Events) {
        let failure = |what: String| {
            let message = format!(
                "the server closed the connection again and again over {what}, each time when nothing else was on its way"
            );
            Failure::new(Code::SuspectedPolicy, Stage::Operation, message).with_cause(last)
        };
        match convicted {
            Suspect::Publish(token) => {
                let Some(id) = self.in_flight.id_of(token) else {
                    return;
                };
                if let Some(Unacknowledged::Publish(publish)) = self.in_flight.remove(id) {
                    self.shared.budget.release(publish.packet.len());
                    let topic = quoted(publish.packet.topic());
                    events.failed(token, &failure(format!("the message on topic {topic}")));
                }
            }
            Suspect::Request(token) => {
                if let Some(request) = self.requests.remove(&token) {
                    self.shared.budget.release(request.size());
                    request.withdraw(&mut self.subscriptions);
                    let filter = quoted(request.filter(0));
                    events.failed(token, &failure(format!("the request for filter {filter}")));
                }
            }
            Suspect::Filter(filter) => {
                self.restore.retain(|other| *other != filter);
                let what = format!("the subscription to {}", quoted(&filter));
                self.lose_subscription(&filter, &failure(what), events);
            }
        }
    }

    pub(super) fn lose_subscription(
        &mut self,
        filter: &str,
        failure: &Failure,
        events: &mut impl Events,
    ) {
        if let Some(id) = self.subscriptions.lose(filter) {
            events.log(Level::Warn, &failure.to_string());
            events.subscription_lost(id, failure);
        }
    }
}

fn of_subscribe(filter: &str) -> (String, String) {
    (
        format!("SUBSCRIBE to {}", quoted(filter)),
        format!("iot:Subscribe on topicfilter/{filter}"),
    )
}

/// What may be blamed for a close.
fn suspect(unacknowledged: &Unacknowledged) -> Option<Suspect> {
    match unacknowledged {
        Unacknowledged::Publish(publish) => Some(Suspect::Publish(publish.token)),
        Unacknowledged::Request { token, .. } => Some(Suspect::Request(*token)),
        // Under suspicion they go one by one.
        Unacknowledged::Restore(filters) if filters.len() == 1 => {
            filters.first().cloned().map(Suspect::Filter)
        }
        Unacknowledged::Restore(_) | Unacknowledged::Abandoned { .. } => None,
    }
}
