use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use tokio::time::Instant;

use super::super::{Expiry, Filter, Flow, Session, Token};
use crate::{
    commands::{self, Receiver},
    error::{Code, Failure, Stage},
    handle::Handle,
    options::ConnectOptions,
    shared::Shared,
    testing::{Recorder, Sent, options, parse_all, server},
    wire::{Inbound, PublishProperties, Version, next_frame, read},
};

pub use crate::testing::Event;

/// A session between a host and a server that the test plays. Time stands still until the test moves it.
pub struct Bench {
    pub session: Session,
    pub handle: Handle,
    pub events: Recorder,
    pub shared: Arc<Shared>,
    pub now: Instant,
    commands: Receiver,
    version: Version,
}

impl Bench {
    /// With a window of 65,535 and the limits of MQTT alone, unless the test asks for others.
    pub fn new(change: impl FnOnce(&mut ConnectOptions)) -> Self {
        let mut bench = Self::unconnected(change);
        bench.connect(server::CONNACK);
        bench
    }

    pub fn unconnected(change: impl FnOnce(&mut ConnectOptions)) -> Self {
        let options = Arc::new(options(|options| {
            options.limits = Some("none".to_owned());
            change(options);
        }));
        let shared = Arc::new(Shared::new(options.queue));
        let (sender, commands) = commands::queue();
        Self {
            session: Session::new(options.clone(), shared.clone()),
            handle: Handle::new(options.clone(), shared.clone(), sender, None),
            events: Recorder::default(),
            shared,
            now: Instant::now(),
            commands,
            version: options.version,
        }
    }

    pub fn connect(&mut self, connack: &[u8]) {
        self.connect_until(connack, None);
    }

    /// With credentials that end so.
    pub fn connect_until(&mut self, connack: &[u8], expiry: Option<Expiry>) {
        let frame = next_frame(connack, usize::MAX).unwrap().unwrap();
        let Ok(Inbound::ConnAck(connack)) = read(self.version, &frame) else {
            panic!("no CONNACK")
        };
        self.session.connected(&connack, None, expiry, self.now);
    }

    /// The link is gone; the server closed it, or it broke otherwise.
    pub fn lost(&mut self, closed_by_server: bool) {
        self.take_commands();
        let failure = Failure::new(Code::ConnectionLost, Stage::Session, "the test cuts it");
        self.session
            .lost(&failure, closed_by_server, self.now, &mut self.events);
    }

    /// The link breaks, and another follows.
    pub fn reconnect(&mut self, connack: &[u8]) {
        self.lost(false);
        self.connect(connack);
    }

    pub fn publish(&mut self, token: Token, qos: u8) {
        self.publish_on("t", token, qos);
    }

    pub fn publish_on(&mut self, topic: &str, token: Token, qos: u8) {
        self.handle
            .publish(token, topic, b"payload", qos, false)
            .expect("accepted");
    }

    /// At QoS 1, on a topic that tells them apart: `m/` and the token.
    pub fn publish_all(&mut self, tokens: impl IntoIterator<Item = Token>) {
        for token in tokens {
            self.publish_on(&format!("m/{token}"), token, 1);
        }
    }

    /// Not worth sending after `expires_in`; on a topic like those of [`Self::publish_all`]. Time has to be tokio's.
    pub fn publish_within(&mut self, token: Token, qos: u8, expires_in: Duration) {
        let properties = PublishProperties::default();
        let topic = format!("m/{token}");
        self.handle
            .publish_with(token, &topic, b"", qos, false, properties, Some(expires_in))
            .expect("accepted");
    }

    /// Each filter has the token as its number.
    pub fn subscribe(&mut self, token: Token, filters: &[&str]) {
        let filters = filters
            .iter()
            .map(|filter| Filter {
                filter: (*filter).into(),
                id: token,
                qos: 1,
            })
            .collect();
        self.handle.subscribe(token, filters).expect("accepted");
    }

    pub fn unsubscribe(&mut self, token: Token, filters: &[&str]) {
        let filters = filters.iter().map(|filter| (*filter).into()).collect();
        self.handle.unsubscribe(token, filters).expect("accepted");
    }

    /// Hands what the host has asked for to the session.
    pub fn take_commands(&mut self) {
        self.handle.flush();
        for command in self.commands.try_recv() {
            self.session.command(command, self.now, &mut self.events);
        }
    }

    /// What the session writes now into a buffer that holds so much already.
    pub fn write_behind(&mut self, held: usize) -> Vec<Sent> {
        self.take_commands();
        let mut out = BytesMut::zeroed(held);
        self.session.write(self.now, &mut out, &mut self.events);
        self.session.sent(out.len() - held);
        parse_all(self.version, &out[held..])
    }

    /// What the session writes now, not flushed yet.
    pub fn write(&mut self) -> Vec<Sent> {
        self.write_behind(0)
    }

    /// What the session writes now, each packet in a few words.
    pub fn lines(&mut self) -> Vec<String> {
        self.write().iter().map(line).collect()
    }

    /// The bytes that the session writes now.
    pub fn write_bytes(&mut self) -> BytesMut {
        self.take_commands();
        let mut out = BytesMut::new();
        self.session.write(self.now, &mut out, &mut self.events);
        self.session.sent(out.len());
        out
    }

    pub fn flushed(&mut self) {
        self.session.flushed(&mut self.events);
    }

    /// The packet ids of the publishes that the session writes now.
    pub fn write_ids(&mut self) -> Vec<u16> {
        self.write()
            .into_iter()
            .map(|sent| match sent {
                Sent::Publish { id, .. } => id,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    /// The ids that the session acknowledges now.
    pub fn write_acks(&mut self) -> Vec<u16> {
        self.write()
            .into_iter()
            .map(|sent| match sent {
                Sent::PubAck(id) => id,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    /// Offers one packet to the session.
    pub fn offer(&mut self, packet: &[u8]) -> Result<Flow, Failure> {
        let frame = next_frame(packet, usize::MAX).unwrap().unwrap();
        let inbound = read(self.version, &frame)?;
        self.session.receive(inbound, self.now, &mut self.events)
    }

    /// The session takes a packet.
    pub fn receive(&mut self, packet: &[u8]) {
        match self.offer(packet) {
            Ok(flow) => assert_eq!(flow, Flow::Continue),
            Err(failure) => panic!("{failure}"),
        }
    }

    /// A packet ends the link: how.
    pub fn refusal(&mut self, packet: &[u8]) -> Failure {
        self.offer(packet).expect_err("an end")
    }

    /// The app has consumed these messages.
    pub fn consume(&mut self, from: u32, count: u32) {
        self.handle.consumed(from, count);
        self.take_commands();
    }

    /// Time passes; gives what the session sends because of it.
    pub fn pass(&mut self, time: Duration) -> Result<Vec<Sent>, Failure> {
        self.now += time;
        let mut out = BytesMut::new();
        self.session
            .elapsed(self.now, &mut out, &mut self.events)
            .map(|()| parse_all(self.version, &out))
    }

    pub fn close(&mut self) -> usize {
        let failure = Failure::new(Code::ConnectionLost, Stage::Session, "the test ends it");
        self.session.close(&failure, self.now, &mut self.events)
    }

    /// The numbers of the messages that arrived since the last call.
    pub fn messages(&self) -> Vec<u64> {
        self.events
            .take()
            .iter()
            .filter_map(|event| match event {
                Event::Message { number, .. } => Some(*number),
                _ => None,
            })
            .collect()
    }
}

/// A packet in a few words.
fn line(sent: &Sent) -> String {
    match sent {
        Sent::Publish { qos: 0, topic, .. } => topic.clone(),
        Sent::Publish { id, topic, dup, .. } => {
            format!("{topic} #{id}{}", if *dup { " dup" } else { "" })
        }
        Sent::Subscribe { id, filters } => format!("subscribe #{id} {}", filters.join(",")),
        Sent::Unsubscribe { id, filters } => format!("unsubscribe #{id} {}", filters.join(",")),
        Sent::PubAck(id) => format!("puback #{id}"),
        other => format!("{other:?}"),
    }
}

pub const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
