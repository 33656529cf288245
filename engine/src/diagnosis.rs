//! One attempt to connect, watched from stage to stage, and what the policy allows after it.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::BytesMut;
use tokio::time::{Instant, timeout};

use crate::{
    authorizer::Login,
    deadline::Deadline,
    error::{Code, Failure, Result, Stage},
    limits::quoted,
    link::Link,
    options::Options,
    reason::reason_name,
    supervisor::attempt::{Alpn, check, explain_road},
    transport::{self, Passage, Stream, Transport, Witness},
    wire::{
        ConnAck, Connect, Inbound, OutboundPublish, Version, encode_connect, encode_disconnect,
        encode_subscribe, encode_unsubscribe,
    },
};

/// What a diagnosis may do.
pub struct Probes {
    /// Whether CONNECT is sent. Without, it stops before, for this reason.
    pub skip_connect: Option<String>,
    /// The client id may belong to a session that others use: it is neither begun anew nor ended.
    pub keep_session: bool,
    /// A filter to subscribe to.
    pub topic: Option<String>,
    /// Whether a message is published to `topic` as well.
    pub publish: bool,
}

impl Probes {
    /// Whether the topic can be asked for at all.
    pub fn check(&self, options: &Options) -> Result<()> {
        let Some(topic) = &self.topic else {
            return Ok(());
        };
        let mut checked = options.limits.check_filter(topic);
        if self.publish {
            checked = checked.and_then(|()| options.limits.check_topic(topic));
        }
        checked.map_err(|failure| failure.at(Stage::Options))
    }

    /// What is going to be done, before it is.
    fn announce(&self) -> String {
        if self.skip_connect.is_some() {
            return "CONNECT will not be sent, so the authorizer's Lambda will not run".to_owned();
        }
        let published = match &self.topic {
            Some(topic) if self.publish => format!(
                ", and publish to {}: subscribers and rules get the message {}",
                quoted(topic),
                String::from_utf8_lossy(PROBE_PAYLOAD)
            ),
            _ => String::new(),
        };
        format!(
            "this will connect once, so the authorizer's Lambda will run once at the most{published}"
        )
    }
}

/// How long a probe may take.
const PROBE_PATIENCE: Duration = Duration::from_secs(10);
/// What a session that is taken over lives on for at the least. How long it had is not told, and no session of IoT Core
/// lives longer (AWS IoT Core message broker and protocol limits and quotas).
const LEAST_EXPIRY_SECONDS: u32 = 604_800;
/// Why the subscription is not tried where there was a session.
const WOULD_STAY: &str = "a session was there, and the subscription would stay in it or change one that it has: try it with a client id that has none";
/// What a published probe says.
const PROBE_PAYLOAD: &[u8] = br#"{"probe":"custom-authorizer-connect"}"#;
/// The reason code that says that the policy does not allow it.
const NOT_AUTHORIZED: u8 = 0x87;
const SUBSCRIBE_ID: u16 = 1;
const UNSUBSCRIBE_ID: u16 = 2;
const PUBLISH_ID: u16 = 3;

/// Goes the way of a connection once, without a Will and without a second attempt; `witness` hears of each part. The
/// failure is that of the part at which it ended. Once `stop` is ready it ends, and takes back what it has begun.
pub async fn diagnose(
    options: Arc<Options>,
    login: &Login,
    probes: &Probes,
    stop: impl Future<Output = ()> + Send,
    witness: &mut Witness<'_>,
) -> Result<()> {
    let secrets = login.secrets();
    // A server may repeat what it was sent.
    let concealed = |failure: Failure| failure.without(&secrets);
    let mut concealing = |mut passage: Passage| {
        passage.failure = passage.failure.map(concealed);
        witness(passage);
    };
    look(options, login, probes, stop, &mut concealing)
        .await
        .map_err(concealed)
}

async fn look(
    options: Arc<Options>,
    login: &Login,
    probes: &Probes,
    stop: impl Future<Output = ()> + Send,
    witness: &mut Witness<'_>,
) -> Result<()> {
    let mut stop = pin!(stop);
    let mut seen = login.describe(&options.authority().to_string());
    seen.push(probes.announce());
    witness(Passage::of("login", seen));
    let deadline = Deadline::of_attempt(&options);
    let transport = Transport::new(options.clone());
    let arriving = async {
        let stream = transport
            .walk(login.upgrade.as_ref(), &deadline, witness)
            .await
            .map_err(|failure| explain_road(failure, login, &options, SystemTime::now()))?;
        if let Some(reason) = &probes.skip_connect {
            witness(Passage::skipped("connack", reason));
            return Ok(None);
        }
        let visit = Visit::begin(stream, &options, login, probes, &deadline, witness);
        visit.await.map(Some)
    };
    let arrived = tokio::select! {
        biased;
        () = &mut stop => return Ok(()),
        arrived = arriving => arrived?,
    };
    let Some(mut visit) = arrived else {
        return Ok(());
    };
    let probed = tokio::select! {
        biased;
        () = &mut stop => Ok(()),
        probed = visit.probe(probes, witness) => probed,
    };
    visit.end(probes).await;
    probed
}

/// What is asked of the server.
struct Request {
    what: String,
    /// For an answer that says no.
    refused: Code,
    /// What the policy has to allow.
    action: String,
}

impl Request {
    fn missing(&self) -> String {
        format!(
            "The authorizer's policy does not seem to allow {}. Next likely: a topic below `$` that may not be used, or a limit that is exceeded.",
            self.action
        )
    }
}

/// A connection that looks around.
struct Visit<'a> {
    link: Link<Stream>,
    options: &'a Options,
    session_present: bool,
}

impl<'a> Visit<'a> {
    async fn begin(
        stream: Stream,
        options: &'a Options,
        login: &Login,
        probes: &Probes,
        deadline: &Deadline,
        witness: &mut Witness<'_>,
    ) -> Result<Self> {
        let clock = Instant::now();
        let connect = connect_packet(options, login, probes)?;
        let alpn = Alpn::of(&stream, options);
        let arrived = transport::arrived(&stream);
        let mut link = Link::new(stream, options);
        if let Some(arrived) = arrived {
            link.watch(arrived);
        }
        let answer = deadline
            .within(Stage::Connack, link.connect(&connect, options))
            .await;
        let outcome = answer
            .and_then(|connack| check(&connack, options).map(|()| connack))
            .map_err(|failure| {
                alpn.explain(failure, login, options, clock.elapsed(), SystemTime::now())
            });
        let mut seen = vec![format!(
            "CONNECT as {:?} over {}, without a Will",
            options.client_id, options.version
        )];
        if let Ok(connack) = &outcome {
            seen.push(describe(connack, options.version));
            if probes.keep_session && !connack.session_present {
                seen.push(match options.version {
                    Version::V311 => "a session was begun, which IoT Core keeps for an hour".to_owned(),
                    Version::V5 => format!(
                        "a session was begun, which ends with this; where the server closes first, it keeps it for {} s",
                        connack
                            .session_expiry
                            .unwrap_or_else(|| expiry(options, probes))
                    ),
                });
            }
        }
        witness(Passage {
            took: clock.elapsed(),
            failure: outcome.as_ref().err().cloned(),
            ..Passage::of("connack", seen)
        });
        let connack = outcome?;
        Ok(Self {
            link,
            options,
            session_present: connack.session_present,
        })
    }

    async fn probe(&mut self, probes: &Probes, witness: &mut Witness<'_>) -> Result<()> {
        let Some(topic) = &probes.topic else {
            return Ok(());
        };
        let subscribed = self.probe_subscribe(topic, witness).await;
        // A server that has closed takes nothing more; one that has answered does.
        match subscribed {
            Err(failure) if failure.code() != Code::SubscribeRejected => {
                if probes.publish {
                    witness(Passage::skipped(
                        "publish",
                        "the connection was over by then",
                    ));
                }
                return Err(failure);
            }
            _ if !probes.publish => return subscribed,
            _ => {}
        }
        let clock = Instant::now();
        let published = self.publish(topic).await;
        let seen = vec![format!("PUBLISH to {} with QoS 1", quoted(topic))];
        witness(Passage {
            took: clock.elapsed(),
            failure: published.as_ref().err().cloned(),
            ..Passage::of("publish", seen)
        });
        subscribed.and(published)
    }

    async fn probe_subscribe(&mut self, topic: &str, witness: &mut Witness<'_>) -> Result<()> {
        if self.session_present {
            witness(Passage::skipped("subscribe", WOULD_STAY));
            return Ok(());
        }
        let clock = Instant::now();
        let subscribed = self.subscribe(topic).await;
        let seen = vec![format!("SUBSCRIBE to {}", quoted(topic))];
        witness(Passage {
            took: clock.elapsed(),
            failure: subscribed.as_ref().err().cloned(),
            ..Passage::of("subscribe", seen)
        });
        subscribed
    }

    async fn subscribe(&mut self, filter: &str) -> Result<()> {
        let mut packet = BytesMut::new();
        encode_subscribe(
            self.options.version,
            SUBSCRIBE_ID,
            &[(filter, 1)],
            &mut packet,
        );
        let request = Request {
            what: format!("SUBSCRIBE to {}", quoted(filter)),
            refused: Code::SubscribeRejected,
            action: format!("iot:Subscribe on topicfilter/{filter}"),
        };
        self.ask(&packet, &request, |inbound| match inbound {
            Inbound::SubAck(ack) if ack.packet_id == SUBSCRIBE_ID => {
                Some((ack.codes.first().copied().unwrap_or(0x80), ack.string))
            }
            _ => None,
        })
        .await
    }

    async fn publish(&mut self, topic: &str) -> Result<()> {
        let mut packet = BytesMut::new();
        OutboundPublish::new(self.options.version, topic, PROBE_PAYLOAD, 1, false).write(
            PUBLISH_ID,
            false,
            &mut packet,
        );
        let request = Request {
            what: format!("PUBLISH to {}", quoted(topic)),
            refused: Code::PublishRejected,
            action: format!("iot:Publish on topic/{topic}"),
        };
        self.ask(&packet, &request, |inbound| match inbound {
            Inbound::PubAck(ack) if ack.packet_id == PUBLISH_ID => {
                Some((ack.reason.code, ack.reason.string))
            }
            _ => None,
        })
        .await
    }

    /// Sends a request and waits for reason code and words of its answer. IoT Core denies without one, by closing.
    async fn ask(
        &mut self,
        packet: &[u8],
        request: &Request,
        take: impl FnMut(Inbound<'_>) -> Option<(u8, Option<String>)>,
    ) -> Result<()> {
        let peer = self.options.peer();
        let Request { what, .. } = request;
        let asking = self.link.ask(packet, self.options, take);
        let failure = match timeout(PROBE_PATIENCE, asking).await {
            Ok(Ok((code, _))) if code < 0x80 => return Ok(()),
            Ok(Ok((code, words))) => {
                let name = reason_name(code);
                let message = format!("{peer} refused {what}: {name} (0x{code:02x})");
                let failure = Failure::new(request.refused, Stage::Operation, message);
                return Err(match code {
                    0x80 | NOT_AUTHORIZED => failure.with_hint(request.missing()),
                    _ => failure,
                }
                .with_reason(code, words));
            }
            Err(_) => {
                let seconds = PROBE_PATIENCE.as_secs();
                let message = format!("{peer} did not answer {what} within {seconds} s");
                return Err(Failure::new(Code::AckTimeout, Stage::Operation, message));
            }
            Ok(Err(failure)) => failure,
        };
        let is_policy = match failure.code() {
            Code::ConnectionLost => true,
            Code::ServerDisconnect => failure.reason_code() == Some(NOT_AUTHORIZED),
            _ => false,
        };
        if !is_policy {
            return Err(failure);
        }
        let message = format!("{peer} closed the connection in answer to {what}");
        let suspected = Failure::new(Code::SuspectedPolicy, Stage::Operation, message)
            .with_hint(request.missing());
        Err(match failure.reason_code() {
            Some(code) => suspected.with_reason(code, failure.reason_string().map(str::to_owned)),
            None => suspected,
        })
    }

    /// Leaves nothing behind that was not there before.
    async fn end(mut self, probes: &Probes) {
        let version = self.options.version;
        let mut goodbye = BytesMut::new();
        if !self.session_present {
            if let Some(topic) = &probes.topic {
                encode_unsubscribe(version, UNSUBSCRIBE_ID, &[topic], &mut goodbye);
            }
            let expiry = (probes.keep_session && version == Version::V5).then_some(0);
            encode_disconnect(version, 0, expiry, &mut goodbye);
        } else {
            encode_disconnect(version, 0, None, &mut goodbye);
        }
        self.link.say_goodbye(&goodbye).await;
    }
}

fn connect_packet(options: &Options, login: &Login, probes: &Probes) -> Result<BytesMut> {
    let mut out = BytesMut::new();
    let connect = Connect {
        version: options.version,
        client_id: &options.client_id,
        clean_start: !probes.keep_session,
        keep_alive_seconds: options.keep_alive_seconds,
        user_name: login.user_name.as_deref(),
        password: login.password.as_deref(),
        will: None,
        session_expiry_seconds: Some(expiry(options, probes)),
        receive_maximum: None,
        maximum_packet_size: Some(u32::try_from(options.receive.bytes).unwrap_or(u32::MAX)),
        topic_alias_maximum: None,
        user_properties: &options.user_properties,
    };
    encode_connect(&connect, &mut out)?;
    Ok(out)
}

/// With 0 the session ends with the connection.
fn expiry(options: &Options, probes: &Probes) -> u32 {
    if probes.keep_session {
        options.session_expiry_seconds.max(LEAST_EXPIRY_SECONDS)
    } else {
        0
    }
}

fn describe(connack: &ConnAck, version: Version) -> String {
    let session = if connack.session_present {
        "a session was there"
    } else {
        "no session was there"
    };
    match version {
        Version::V311 => format!("CONNACK: accepted; {session}"),
        Version::V5 => format!(
            "CONNACK: accepted; {session}; keep-alive {}, Receive Maximum {}",
            connack.server_keep_alive.map_or_else(
                || "as asked for".to_owned(),
                |seconds| format!("{seconds} s")
            ),
            connack.receive_maximum
        ),
    }
}
